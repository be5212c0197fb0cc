"""Hard and unusual input: each the right result or one clear error, by both methods."""

import numpy as np
import pytest
import tifffile
import xarray as xr

from poolvox.organoid3d.config import Organoid3dConfig, RawStacks
from poolvox.organoid3d.nuclei import find_nuclei
from poolvox.organoid3d.pipeline import pipeline
from poolvox.organoid3d.simulate import FieldSpec, OrganoidSpec, simulate_field
from poolvox.shared.config import load_config
from poolvox.shared.engine import Options, run_plan
from poolvox.shared.errors import InputError
from poolvox.shared.evaluate import evaluate_labels
from poolvox.shared.ingest import scan
from poolvox.shared.store import open_plate, read_table

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SPACING = (2.0, 0.6, 0.6)
METHODS = ("classical", "default")


def made(nuclei, spacing=SPACING, seed=0, **traits):
    spec = FieldSpec((OrganoidSpec("solid", nuclei, 12.0, **traits),), spacing)
    return simulate_field(spec, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def some():
    return made(9)


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return request.param


@pytest.fixture(scope="module")
def expected(some, method):
    found = find_nuclei(some.image[0], spacing=SPACING, model=method)
    assert evaluate_labels(some.nuclei, found.labels, threshold=0.5).main.f1 > 0.75
    assert not any("turned round" in note or "finite" in note for note in found.notes)
    return found.labels


def broken(image):
    holes = image.astype(np.float32)
    holes[4:6, 3:9, 3:9] = np.nan
    holes[0, 0, 0] = np.inf
    return holes


@pytest.mark.parametrize(
    ("change", "note"),
    [
        pytest.param(lambda image: image / 65535.0, "", id="float 0 to 1"),
        pytest.param(lambda image: (image / image.max() * 255).astype(np.uint8), "", id="8-bit"),
        pytest.param(lambda image: image.max() - image, "turned round", id="inverted"),
        pytest.param(broken, "not finite", id="NaN"),
        pytest.param(lambda image: image.astype(">i4") - 500, "", id="negative, big-endian"),
    ],
)
def test_numbers_of_any_kind_give_the_same_nuclei(some, method, expected, change, note):
    found = find_nuclei(change(some.image[0]), spacing=SPACING, model=method)
    assert evaluate_labels(expected, found.labels, threshold=0.5).main.f1 > 0.9
    assert found.labels.max() == expected.max()
    told = [text for text in found.notes if "turned round" in text or "finite" in text]
    assert [note in text for text in told] == [True] * bool(note)


def test_anisotropy_of_9(method):
    field = made(12, (4.5, 0.5, 0.5))
    found = find_nuclei(field.image[0], spacing=field.spacing, model=method)
    assert evaluate_labels(field.nuclei, found.labels, threshold=0.5).main.f1 > 0.6


def test_a_single_nucleus(method):
    field = made(1)
    found = find_nuclei(field.image[0], spacing=SPACING, model=method)
    assert evaluate_labels(field.nuclei, found.labels, threshold=0.5).main.f1 == 1


@pytest.mark.parametrize("noise", [0, 8])
@pytest.mark.parametrize("shape", [(12, 48, 48), (2, 30, 30), (1, 9, 9)])
def test_an_empty_field(method, shape, noise):
    image = np.random.default_rng(0).normal(200, noise, shape)
    found = find_nuclei(image, spacing=SPACING, model=method)
    assert not found.labels.any()
    assert found.labels.shape == shape


@pytest.mark.parametrize("planes", [1, 2])
def test_one_plane_and_two(method, planes):
    spec = FieldSpec((OrganoidSpec("cyst", 40),), SPACING)
    field = simulate_field(spec, np.random.default_rng(1))
    middle = field.image.shape[1] // 2
    cut = np.s_[middle : middle + planes]
    found = find_nuclei(field.image[0][cut], spacing=SPACING, model=method)
    assert "2D" in found.notes[-1]
    assert ("classical" in found.notes[-1]) == (method == "default")
    assert evaluate_labels(field.nuclei[cut], found.labels, threshold=0.4).main.recall >= 0.5


def test_z_last(some, method, expected):
    last = np.moveaxis(some.image[0], 0, 2)
    steps = dict(zip("zyx", SPACING, strict=True))
    named = xr.DataArray(last, dims=("y", "x", "z"), attrs={"spacing": steps})
    assert (find_nuclei(named, model=method).labels == expected).all()
    with pytest.raises(InputError, match="are the axes mixed up"):
        find_nuclei(last, spacing=SPACING[::-1], model=method)
    side = min(last.shape[:2])
    with pytest.raises(InputError, match="z seems to be the last axis"):
        find_nuclei(last[:side, :side], spacing=SPACING, model=method)
    with pytest.raises(InputError, match="z seems to be the last axis"):
        find_nuclei(last[:side, : side - 8, :12], spacing=SPACING, model=method)
    with pytest.raises(InputError, match="choose one channel"):
        find_nuclei(xr.DataArray(last[None], dims=("c", "y", "x", "z")).expand_dims(t=2))


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        (None, "voxel size is missing"),
        (1.0, "voxel size is missing or incomplete"),
        ((2, 0.6), "voxel size is missing or incomplete"),
        ((2, 0.6, None), "voxel size is missing or incomplete"),
        ((0, 0.6, 0.6), "impossible"),
        ((2000, 600, 600), "impossible"),
        ((20, 10, 10), "show no nuclei"),
        ((0.6, 0.6, 2.0), "implausible"),
        (("a", 1, 1), "must be numbers"),
    ],
)
def test_missing_and_wrong_voxel_sizes(some, method, spacing, message):
    with pytest.raises(InputError, match=message):
        find_nuclei(some.image[0], spacing=spacing, model=method)


def write(folder, stacks, method, extra="voxel_size: [2, 0.6, 0.6]"):
    (folder / "stacks").mkdir(parents=True)
    for name, pixels in stacks.items():
        tifffile.imwrite(folder / "stacks" / f"{name}.tif", pixels)
    (folder / "config.yaml").write_text(
        f"output: out\npipeline: organoid3d\nnuclei: {{model: {method}}}\n"
        "raw: {stacks: {files: 'stacks/{well}_{organoid}.tif', channels: [nuclei], "
        f"{extra}}}}}\n"
    )
    return load_config(folder / "config.yaml", Organoid3dConfig)


def run(config):
    options = Options(workers=1, steps=("tables",))
    return run_plan(pipeline.plan(config), config.output, options=options)


def test_odd_stacks_go_through_the_pipeline_side_by_side(tmp_path, some, method):
    image, single = some.image[0], made(1).image[0]
    empty = np.random.default_rng(0).normal(200, 8, (12, 48, 48)).astype(np.uint16)
    stacks = {
        "A1_whole": image,
        "A1_empty": empty,
        "A1_single": single,
        "A1_plane": image[len(image) // 2][None],
        "A1_two": image[len(image) // 2 :][:2],
        "A1_dark": image.max() - image,
        "A1_last": np.moveaxis(image, 0, 2)[:60, :60],
    }
    config = write(tmp_path, stacks, method)
    summary = run(config)
    assert list(summary.failed) == ["segment/P1-A1-last"]
    assert "z seems to be the last axis" in str(summary.failed)
    nuclei = read_table(config.output / "tables" / "nuclei.parquet")
    count = nuclei["Metadata_Organoid"].value_counts()
    assert count["single"] == 1
    assert "empty" not in count
    assert count["dark"] == count["whole"] > 6
    assert count["plane"] >= 1
    assert count["two"] >= 1
    organoids = read_table(config.output / "tables" / "organoids.parquet")
    bare = set(organoids["Metadata_Organoid"][organoids["QC_Empty"]])
    # What noise alone looks like is flagged, not counted as an organoid like others.
    assert bare <= {"empty"}
    assert "holds no nucleus" in organoids.set_index("Metadata_Organoid").loc["empty", "QC_Reason"]
    sections = pipeline.sections(config)
    assert len(sections[0].figures) == 6


@pytest.mark.parametrize("kind", ["8-bit", "float", "z last"])
def test_numbers_of_any_kind_go_through_the_pipeline(tmp_path, some, expected, method, kind):
    image = some.image[0]
    if kind == "8-bit":
        config = write(tmp_path, {"A1_1": (image / image.max() * 255).astype(np.uint8)}, method)
    elif kind == "float":
        config = write(tmp_path, {"A1_1": broken(image / np.float32(65535))}, method)
    else:
        turned = {"A1_1": np.moveaxis(image, 0, 2)}
        config = write(tmp_path, turned, method, "voxel_size: [2, 0.6, 0.6], axes: yxz")
    assert not run(config).failed
    labels = open_plate(config.output / "stacks.zarr")["A1"]["1"].labels("nuclei").to_numpy()
    assert evaluate_labels(expected, labels, threshold=0.5).main.f1 > 0.85


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("axes: zyx", "voxel size is missing"),
        ("voxel_size: [2000, 600, 600]", "impossible"),
        ("voxel_size: [0.6, 0.6, 2]", "implausible"),
    ],
)
def test_the_pipeline_refuses_wrong_voxel_sizes_before_any_work(tmp_path, some, extra, message):
    config = write(tmp_path, {"A1_1": some.image[0]}, "classical", extra)
    with pytest.raises(InputError, match=message):
        pipeline.plan(config)


def test_stacks_may_differ_in_size_whatever_their_names_say(tmp_path):
    for name, shape in (("A1", (5, 20, 20)), ("B1", (7, 30, 24))):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.ones(shape, np.uint16))
    given = {"files": "{well}.tif", "axes": "zyx", "voxel_size": [2, 0.6, 0.6]}
    manifest = scan(RawStacks.model_validate({"stacks": given}).stacks, tmp_path)
    assert manifest.bad == {}
    assert [manifest.shape_of(tile)[-3:] for tile in manifest.tiles] == [(5, 20, 20), (7, 30, 24)]
