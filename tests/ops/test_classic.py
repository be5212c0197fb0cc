from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.benchmarks.real import at_decoy_rate
from tests.ops.planted import four_colours, library_of

from poolvox.ops.chemistry import resolve_chemistry
from poolvox.ops.classic import (
    ClassicCorrection,
    classic_cells,
    classic_peaks,
    classic_reads,
    classic_spots,
    estimate_classic,
)
from poolvox.ops.codebook import Codebook, find_strangers
from poolvox.ops.decode import decode_reads
from poolvox.ops.decoys import make_decoys
from poolvox.ops.library import LibrarySpec, load_library
from poolvox.ops.rates import fit_error_model
from poolvox.ops.signal import apply_corrections, estimate_corrections
from poolvox.ops.words import decode_words
from poolvox.shared.errors import InputError

# A real screen (cheeseman-lab/OpticalPooledScreens, MIT).
HELA = Path(__file__).parents[2] / "../shared/data/ops/hela_screen"
needs_hela = pytest.mark.skipif(
    not HELA.is_dir(), reason="the public data are not beside the checkout"
)
ORIGINAL = ClassicCorrection(
    np.array([659.0, 991.0, 227.0, 174.0]),
    np.array(
        [
            [0.63527675, 0.26569384, 0.06988153, 0.05458979],
            [0.2426424, 0.54441052, 0.06559638, 0.05558988],
            [0.06103458, 0.0943355, 0.57210522, 0.27296185],
            [0.06104627, 0.09556014, 0.29241687, 0.61685849],
        ]
    ),
)


@pytest.fixture(scope="module")
def hela():
    """Bases (read, cycle, channel), channels, the original's reads in the same order, library."""
    table = pd.read_csv(HELA / "A2_100_bases.csv.gz").sort_values(["read", "cycle"], kind="stable")
    channels = list(dict.fromkeys(table["channel"]))
    shape = (table["read"].nunique(), table["cycle"].nunique(), len(channels))
    bases = table["intensity"].to_numpy(np.float32).reshape(shape)
    reads = pd.read_csv(HELA / "A2_100_reads.csv.gz").set_index("read")
    spec = LibrarySpec(file=HELA / "library.csv.gz", barcode="sgRNA", gene="gene_symbol")
    return bases, channels, reads.loc[table["read"].unique()], load_library(spec, shape[1])


@needs_hela
def test_the_original_reads_come_out_exactly(hela):
    bases, channels, original, library = hela
    reads = classic_reads(bases, resolve_chemistry("four-colour", channels), ORIGINAL, library)
    assert np.array_equal(reads["Read_Sequence"], original["barcode"])
    quality = original[[f"Q_{i}" for i in range(11)]].to_numpy()
    assert reads.filter(like="Read_Quality").to_numpy() == pytest.approx(quality, abs=1e-12)
    inside = original["cell"].to_numpy() > 0
    assert (reads["Read_Barcode"] != "")[inside].mean() == pytest.approx(0.681, abs=0.001)


@needs_hela
def test_own_parameters_come_near_the_original(hela):
    bases, channels, original, _ = hela
    chemistry = resolve_chemistry("four-colour", channels)
    inside = original["cell"].to_numpy() > 0
    reads = classic_reads(bases, chemistry, estimate_classic(bases[inside], chemistry))
    assert (reads["Read_Sequence"].to_numpy() == original["barcode"].to_numpy()).mean() > 0.9


@needs_hela
def test_more_reads_map_than_by_the_original_with_no_more_decoys(hela):
    bases, channels, original, library = hela
    chemistry = resolve_chemistry("four-colour", channels)
    inside = original["cell"].to_numpy() > 0
    published = classic_reads(bases, chemistry, ORIGINAL)["Read_Sequence"].to_numpy()[inside]
    rng = np.random.default_rng(0)
    loglik = apply_corrections(bases, estimate_corrections(bases, chemistry, rng=rng)).loglik
    strangers = find_strangers(loglik, library)
    assert strangers["sequence"].iloc[0] == "GTTTCAGAGCT"  # the vector without a guide
    rates = []
    for seed in range(5):
        decoys = make_decoys(library, np.random.default_rng(seed))
        codebook = Codebook.make(library, decoys, strangers)
        model = fit_error_model(loglik, codebook, rng=np.random.default_rng(seed))
        calls = decode_reads(loglik, codebook, model)
        usable = (calls.candidates[:, 0] >= 0) & (calls.posterior > 0.5)
        reads = np.stack([calls.score.astype(float), calls.decoy, usable])[:, inside]
        allowed = np.isin(published, decode_words(decoys.codes)).mean()
        rates.append((*at_decoy_rate(reads, allowed), allowed))
    mapped, decoy, published_decoy = np.mean(rates, axis=0)
    assert mapped > 0.74
    assert decoy <= published_decoy


def test_crosstalk_is_undone():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (500, 6))
    mixing = np.array([[1, 0.3, 0, 0], [0.4, 1, 0, 0], [0, 0, 1, 0.5], [0.1, 0, 0.3, 1]])
    light = (np.eye(4)[codes] @ mixing.T * np.exp(0.3 * rng.standard_normal((500, 6, 1))) * 1000)[
        ..., [2, 3, 0, 1]
    ]
    chemistry = four_colours("GTAC")
    correction = estimate_classic(light, chemistry)
    reads = classic_reads(light, chemistry, correction)
    assert np.array_equal(reads["Read_Sequence"], decode_words(codes.astype(np.uint8)))
    own = np.diagonal(correction.crosstalk)
    assert np.isfinite(correction.crosstalk).all()
    assert (own > 0.5).all()


def test_a_channel_that_never_leads_does_no_harm():
    light = np.random.default_rng(0).random((50, 5, 4)) + 10 * np.eye(4)[0]
    assert np.isfinite(estimate_classic(light, four_colours("ACGT")).crosstalk).all()


def test_quality_of_a_base():
    identity = ClassicCorrection(np.ones(4), np.eye(4))
    bases = np.array([[[1000.0, 100, 0, 0], [500, 1000, 0, 0]]])
    reads = classic_reads(bases, four_colours("ACGT"), identity)
    assert reads["Read_Sequence"].tolist() == ["AC"]
    assert reads["Read_Quality_1"][0] == pytest.approx(0.661, abs=1e-3)
    assert reads["Read_Quality_2"][0] == pytest.approx(0.200, abs=1e-3)


def test_cells_take_mapped_barcodes_first():
    library = library_of(20, 6, np.random.default_rng(0))
    one, two = library.words[:2]
    other = "ACACAC" if "ACACAC" not in library.words else "GTGTGT"
    reads = pd.DataFrame({"Read_Sequence": [other, other, one, two, two, one, other, one]})
    cells = classic_cells(reads, np.array([1, 1, 1, 2, 2, 2, 3, 0]), library)
    assert cells["Metadata_Label"].tolist() == [1, 2, 3]
    assert cells["Metadata_Barcode"].tolist() == [one, two, ""]
    assert cells["Call_Reads"].tolist() == [1, 2, 1]
    assert cells["Call_SecondBarcode"].tolist() == [other, one, ""]
    assert cells["Call_ReadsTotal"].tolist() == [3, 3, 1]
    assert not cells["Call_Tied"].any()


def test_images_are_filtered_as_published():
    images = np.full((3, 4, 40, 40), 100, np.uint16)
    images[0, 1, 20, 11] = images[1, 2, 20, 11] = images[2, 1, 20, 11] = 4000
    light, spread = classic_spots(images)
    assert light.shape == images.shape
    assert light.dtype == np.uint16
    assert light[0, 1, 21, 12] == light[0, 1, 20, 11] > 500
    assert light[0, 0].max() == 0
    assert classic_peaks(spread, 50).tolist() == [[20, 11]]


def test_other_chemistries_are_refused():
    chemistry = resolve_chemistry("two-colour", ["r", "g"])
    with pytest.raises(InputError, match="four colours only"):
        estimate_classic(np.ones((5, 4, 2)), chemistry)
