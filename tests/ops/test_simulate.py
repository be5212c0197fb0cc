from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from scipy.spatial import cKDTree

from poolvox.ops.simulate import (
    Camera,
    Chemistry,
    Faults,
    Guides,
    Layout,
    Phenotype,
    ScreenParams,
    preset,
    simulate_screen,
    simulate_tile,
)
from poolvox.ops.simulate.reads import (
    decay_profile,
    make_library,
    mixing_matrix,
    phasing_matrix,
    read_intensities,
    sequences_to_codes,
)
from poolvox.shared.errors import InputError
from poolvox.shared.imaging.warp import resample

SMALL = ScreenParams(
    layout=Layout(shape=(160, 192), cells=60), cycles=5, guides=Guides(genes=10, controls=4)
)
EVEN = Chemistry(
    mixing=tuple(tuple(float(i == j) for j in range(4)) for i in range(4)),
    gains=(1.0, 1.0, 1.0, 1.0),
    phasing=0,
    prephasing=0,
    decay=(0, 0),
    exposure_jump=1,
    read_spread=0,
    cycle_spread=0,
)


@pytest.fixture(scope="module")
def tile():
    return simulate_tile(preset("default"), np.random.default_rng(1))


def test_the_same_seed_gives_the_same_tile():
    (a, _), (b, _), (c, _) = (
        simulate_tile(SMALL, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert a.shape == (5, 5, 160, 192)
    assert a.dtype == np.uint16
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_layout_is_that_of_real_cells(tile):
    _, truth = tile
    points = truth.cells[["y", "x"]].to_numpy()
    nearest = cKDTree(points).query(points, 2)[0][:, 1]
    assert np.percentile(nearest, [5, 50]) == pytest.approx([10, 14.4], rel=0.15)
    assert truth.cells["nucleus_area"].median() == pytest.approx(89, rel=0.1)
    with_reads = truth.cells["reads"] > 0
    assert 0.45 < with_reads.mean() < 0.67
    assert truth.cells["reads"][with_reads].mean() == pytest.approx(1.65, rel=0.15)


def test_labels_and_table_agree(tile):
    _, truth = tile
    cells = truth.cells
    at = truth.nuclei[np.rint(cells["y"]).astype(int), np.rint(cells["x"]).astype(int)]
    assert np.mean(at == cells["label"]) > 0.98
    assert set(np.unique(truth.nuclei)) <= {0, *cells["label"]}
    assert np.all(truth.bodies[truth.nuclei > 0] == truth.nuclei[truth.nuclei > 0])


def test_reads_lie_in_their_cells_and_carry_their_barcodes(tile):
    _, truth = tile
    reads = truth.reads[truth.reads["label"] > 0]
    rows = reads["y"].round().clip(0, truth.bodies.shape[0] - 1).astype(int)
    columns = reads["x"].round().clip(0, truth.bodies.shape[1] - 1).astype(int)
    assert np.mean(truth.bodies[rows, columns] == reads["label"]) > 0.85
    cells = truth.cells.set_index("label").loc[reads["label"]]
    own = reads["barcode"].to_numpy()
    assert np.all((own == cells["barcode"].to_numpy()) | (own == cells["barcode_2"].to_numpy()))


def test_spots_and_nuclei_move_as_the_truth_says():
    params = replace(SMALL, chemistry=EVEN, camera=Camera(snr=200, drift=9, chromatic=1, specks=0))
    images, truth = simulate_tile(params, np.random.default_rng(3))
    reads = truth.reads
    inner = reads[reads["y"].between(12, 147) & reads["x"].between(12, 179)]
    codes = sequences_to_codes(inner["barcode"].tolist())
    for t in range(5):
        for base, letter in enumerate("GTAC"):
            on = inner[["y", "x"]].to_numpy()[codes[:, t] == "ACGT".index(letter)]
            rows, columns = np.rint(truth.transforms[t][1 + base].apply(on)).astype(int).T
            bright = images[t, 1 + base, rows, columns]
            assert np.all(bright > 4.0 * np.median(images[t, 1 + base]))
        nuclei = resample(images[t, 0].astype(np.float32), truth.transforms[t][0])
        inside = truth.nuclei[16:-16, 16:-16] > 0
        bright, dark = (nuclei[16:-16, 16:-16][m] for m in (inside, ~inside))
        assert np.median(bright) > 4 * np.median(dark)


def test_spots_have_the_signal_to_noise_ratio_asked():
    camera = Camera(snr=25, drift=0, chromatic=0, autofluorescence=0, vignetting=0, specks=0)
    layout = Layout(shape=(400, 400), cells=150, reads=1, stray=0)
    chemistry = replace(EVEN, gains=(1.0, 4.0, 0.5, 2.0))
    params = replace(SMALL, layout=layout, chemistry=chemistry, camera=replace(camera, debris=0))
    images, truth = simulate_tile(params, np.random.default_rng(0))
    codes = sequences_to_codes(truth.reads["barcode"].tolist())
    at = tuple(truth.reads[["y", "x"]].round().astype(int).clip(0, 399).to_numpy().T)
    ratios = []
    for base, letter in enumerate("GTAC"):
        plane = images[0, 1 + base].astype(float)
        noise = 1.4826 * np.median(np.abs(plane - np.median(plane)))
        on = codes[:, 0] == "ACGT".index(letter)
        ratios.append(np.median(plane[at][on] - np.median(plane)) / noise)
    # Pixels beside the centre of a spot are a little dimmer than its peak.
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(25, rel=0.15)


def test_phasing_shares_add_up():
    shares = phasing_matrix(6, 0.1, 0.05)
    assert np.all(shares >= 0)
    assert shares[0].sum() == pytest.approx(0.9)
    assert np.all(shares.sum(axis=1) <= 1 + 1e-12)
    assert shares[1].sum() == pytest.approx(1 - 0.1**2)
    assert np.array_equal(phasing_matrix(6, 0, 0)[:, :6], np.eye(6))


def test_decay_has_its_jump_and_mean_one():
    profile = decay_profile(9, Chemistry(decay=(0.1, 0.03), exposure_cycle=5, exposure_jump=1.4))
    assert np.exp(np.log(profile).mean()) == pytest.approx(1)
    assert profile[1] / profile[0] == pytest.approx(0.9)
    assert profile[4] / profile[3] == pytest.approx(1.4 * 0.97)


def test_colours_come_from_the_table():
    two = Chemistry(
        channels=("red", "green"),
        code=((1, 1), (1, 0), (0, 0), (0, 1)),
        gains=(1, 1),
        phasing=0,
        prephasing=0,
        read_spread=0,
        cycle_spread=0,
        decay=(0, 0),
        exposure_jump=1,
    )
    light = read_intensities(np.array([[0, 1, 2, 3, 0, 0]]), two, 4, np.random.default_rng(0))
    assert light[0] == pytest.approx(np.array([[1, 1], [1, 0], [0, 0], [0, 1]]))
    assert np.array_equal(mixing_matrix(two), np.eye(2))
    images, _ = simulate_tile(replace(SMALL, chemistry=two), np.random.default_rng(0))
    assert images.shape[1] == 3


def test_crosstalk_follows_the_order_of_the_channels():
    mixing = mixing_matrix(Chemistry(channels=("G", "T", "A", "C")))
    assert mixing[2, 3] == 0.47  # dye of A in the channel of C
    assert mixing[1, 0] == 0.52  # dye of T in the channel of G


def test_library_keeps_its_distance_or_says_that_it_cannot():
    guides = Guides(genes=30, guides_per_gene=3, controls=10, min_distance=3)
    library = make_library(guides, 9, np.random.default_rng(0))
    codes = sequences_to_codes(library["barcode"].tolist())
    distance = (codes[:, None] != codes[None]).sum(axis=2)
    assert distance[~np.eye(100, dtype=bool)].min() >= 3
    assert (library["gene_symbol"] == "nontargeting").sum() == 10
    with pytest.raises(InputError, match="more cycles"):
        make_library(guides, 3, np.random.default_rng(0))


def test_a_screen_is_written_with_its_faults(tmp_path):
    faults = Faults(
        missing_tiles=("A2/1",),
        dropped_cycles=(("A1/1", 2),),
        blank_cycles=(("A1/2", 3),),
        blurred_cycles=(("A2/2", 4),),
    )
    params = replace(SMALL, wells=("A1", "A2"), tiles=2, faults=faults, phenotype=Phenotype(hits=2))
    config = yaml.safe_load(simulate_screen(tmp_path, params).read_text())
    assert config["raw"]["sbs"]["channels"] == ["DAPI", "G", "T", "A", "C"]
    written = {str(p.relative_to(tmp_path / "raw")) for p in tmp_path.rglob("raw/c*/*.tif")}
    assert len(written) == 4 * 5 - 5 - 1
    assert "c1/W-A1_T-1_C-1.tif" in written
    assert "c2/W-A1_T-1_C-2.tif" not in written
    assert not tifffile.imread(tmp_path / "raw/c3/W-A1_T-2_C-3.tif").any()
    sharp, blurred = (
        tifffile.imread(tmp_path / f"raw/c4/W-A{well}_T-2_C-4.tif")[3].astype(float)
        for well in (1, 2)
    )
    assert np.ptp(sharp) > 2 * np.ptp(blurred)
    cells = pd.read_parquet(tmp_path / "truth/cells.parquet")
    assert set(zip(cells["well"], cells["tile"])) == {(w, t) for w in ("A1", "A2") for t in "12"}
    for name in ("reads", "shifts", "mixing", "phasing", "gains", "hits", "phenotype_cells"):
        assert len(pd.read_parquet(tmp_path / f"truth/{name}.parquet"))


def test_files_carry_their_pixel_size(tmp_path):
    simulate_screen(tmp_path, replace(SMALL, tiles=1, cycles=4, guides=Guides(4, 2, 2)))
    with tifffile.TiffFile(tmp_path / "raw/c1/W-A1_T-1_C-1.tif") as file:
        assert file.series[0].axes == "CYX"
        up, down = file.pages[0].tags["XResolution"].value
        assert down / up == pytest.approx(1.3, rel=1e-3)
        assert file.imagej_metadata["unit"] == "um"


def test_another_chemistry_is_written_as_a_table(tmp_path):
    two = replace(
        EVEN,
        channels=("red", "green"),
        code=((0, 0), (1, 0), (1, 1), (0, 1)),
        mixing=None,
        gains=(1, 1),
    )
    params = replace(SMALL, tiles=1, chemistry=two)
    config = yaml.safe_load(simulate_screen(tmp_path, params).read_text())
    assert config["raw"]["sbs"]["channels"] == ["DAPI", "red", "green"]
    assert config["chemistry"] == {"A": [], "C": ["red"], "G": ["red", "green"], "T": ["green"]}


def test_hits_change_the_marker_and_the_phenotype_shows_it(tmp_path):
    params = replace(
        SMALL, layout=replace(SMALL.layout, untransduced=0.1), tiles=3, phenotype=Phenotype(hits=5)
    )
    simulate_screen(tmp_path, params)
    truth = {
        name: pd.read_parquet(tmp_path / f"truth/{name}.parquet")
        for name in ("cells", "phenotype_cells", "hits")
    }
    keys = ["well", "tile", "label"]
    cells = truth["cells"].merge(truth["phenotype_cells"], on=keys, suffixes=("", "_pheno"))
    hit = cells["gene"].isin(truth["hits"]["gene"])
    assert cells[hit]["marker"].median() > 1.5 * cells[~hit]["marker"].median()
    image = tifffile.imread(tmp_path / "raw/pheno/W-A1_T-1.tif")
    assert image.shape == (2, 320, 384)
    first = cells[cells["tile"] == "1"]
    rows, columns = first["y_pheno"].round().astype(int), first["x_pheno"].round().astype(int)
    inside = rows.between(0, 319) & columns.between(0, 383)
    seen = image[0, rows[inside], columns[inside]]
    assert np.median(seen) > 3 * np.median(image[0])


def test_a_screen_with_more_tiles_begins_with_the_same(tmp_path):
    for name, tiles in (("few", 1), ("more", 2)):
        simulate_screen(tmp_path / name, replace(SMALL, tiles=tiles))
    first = [(tmp_path / name / "raw/c3/W-A1_T-1_C-3.tif").read_bytes() for name in ("few", "more")]
    assert first[0] == first[1]
