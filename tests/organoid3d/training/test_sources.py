import numpy as np
import pandas as pd
import pytest
import tifffile

from poolvox.organoid3d.training import find_sources, read_source
from poolvox.organoid3d.training.plan import TrainOptions, hold_out
from poolvox.shared.errors import InputError
from poolvox.shared.store import create_plate

SHAPE = (6, 20, 24)
VOXEL = (2.0, 0.5, 0.5)


def write(path, array, voxel=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = (
        {}
        if voxel is None
        else {f"PhysicalSize{axis}": step for axis, step in zip("ZYX", voxel, strict=True)}
    )
    metadata = {"axes": "ZYX", **sizes}
    tifffile.imwrite(path, array, ome=voxel is not None, metadata=metadata)
    return path


def stack(seed=0):
    return np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.uint16)


def labels(names=(1, 2)):
    drawn = np.zeros(SHAPE, np.uint16)
    for number, name in enumerate(names):
        drawn[1:4, 2 + 8 * number : 8 + 8 * number, 3:9] = name
    return drawn


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b.c"):
        write(tmp_path / f"stacks/{name}.ome.tif", stack(), VOXEL)
        write(tmp_path / f"labels/{name}_labels.tif", labels())
    return tmp_path


def test_folders_are_paired_by_name(folders):
    found = find_sources(folders / "stacks", folders / "labels")
    assert [(s.name, s.labels.name) for s in found] == [
        ("a", "a_labels.tif"),
        ("b.c", "b.c_labels.tif"),
    ]
    read = read_source(found[0])
    assert read.spacing == VOXEL
    assert (read.labels == labels()).all()
    assert (read.image == stack()).all()


def test_labels_may_lie_beside_their_stacks(tmp_path):
    write(tmp_path / "a.tif", stack())
    write(tmp_path / "a_labels.tif", labels())
    found = find_sources(tmp_path, tmp_path, voxel_size=VOXEL)
    assert [(s.stack.name, s.labels.name) for s in found] == [("a.tif", "a_labels.tif")]


def test_a_table_names_everything(folders):
    table = pd.DataFrame(
        {
            "stack": ["stacks/a.ome.tif", "stacks/b.c.ome.tif"],
            "labels": ["labels/a_labels.tif", "labels/b.c_labels.tif"],
            "voxel_z": [3, None],
            "voxel_y": [1, None],
            "voxel_x": [1, None],
            "use": ["train", "test"],
        }
    )
    table.to_csv(folders / "stacks.csv", index=False)
    found = find_sources(folders / "stacks.csv")
    assert [read_source(s).spacing for s in found] == [(3.0, 1.0, 1.0), VOXEL]
    train, test = hold_out(found, seed=0)
    assert [s.name for s in train] == ["a"]
    assert [s.name for s in test] == ["b.c"]


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 0), (3, 1), (10, 2)])
def test_a_fifth_of_the_stacks_is_kept_apart(folders, count, held):
    one = find_sources(folders / "stacks", folders / "labels")[0]
    train, test = hold_out([one] * count, seed=3)
    assert (len(train), len(test)) == (count - held, held)


def test_names_of_labels_with_gaps_are_closed_and_specks_dropped(tmp_path):
    drawn = labels((40, 7))
    drawn[5, 19, 23] = 99
    pair = write(tmp_path / "a.tif", stack()), write(tmp_path / "b.tif", drawn)
    read = read_source(find_sources(*pair, voxel_size=VOXEL)[0])
    assert np.unique(read.labels).tolist() == [0, 1, 2]
    assert ((read.labels > 0) == (labels() > 0)).all()


@pytest.mark.parametrize(
    ("image", "truth", "voxel", "message"),
    [
        (stack(), labels(), None, "voxel size: give --voxel-size"),
        (stack()[:5], labels(), VOXEL, r"is \(5, 20, 24\), its labels .* are \(6, 20, 24\)"),
        (stack(), np.zeros(SHAPE, np.uint8), VOXEL, "no object"),
        (stack(), labels().astype(np.float32) / 3, VOXEL, "fractions"),
        (stack(), -labels().astype(np.int16), VOXEL, "negative"),
        (np.full(SHAPE, np.nan, np.float32), labels(), VOXEL, "not finite"),
    ],
)
def test_bad_pairs_are_told_plainly(tmp_path, image, truth, voxel, message):
    pair = write(tmp_path / "a.tif", image), write(tmp_path / "b.tif", truth)
    with pytest.raises(InputError, match=message):
        read_source(find_sources(*pair, voxel_size=voxel)[0])


def test_stacks_without_labels_are_named(folders):
    write(folders / "stacks/lone.tif", stack())
    with pytest.raises(InputError, match=r"1 of 3 stacks .*lone\.tif; a_labels\.tif, b\.c_labels"):
        find_sources(folders / "stacks", folders / "labels")


def test_wrong_arguments(folders):
    with pytest.raises(InputError, match="there is no"):
        find_sources(folders / "nowhere", folders / "labels")
    with pytest.raises(InputError, match="give its labels"):
        find_sources(folders / "stacks")
    with pytest.raises(InputError, match="two files or two folders"):
        find_sources(folders / "stacks", folders / "labels/a_labels.tif")
    (folders / "t.csv").write_text("stack,label\na,b\n")
    with pytest.raises(InputError, match="lacks the columns labels"):
        find_sources(folders / "t.csv")


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"simulated": -1}, {"simulated_part": 2.0}, {"rate": 0.0}]
)
def test_impossible_options(change):
    with pytest.raises(InputError):
        TrainOptions(**change)


def test_stacks_of_a_plate_bring_their_voxel_size_and_their_labels(tmp_path):
    plate = create_plate(tmp_path / "p.zarr", wells={"A1": ["0", "1"]}, name="P1")
    pixels = np.stack([stack(), stack(1)])
    for tile in plate["A1"].tiles:
        image = plate["A1"][tile]
        step = dict(zip("zyx", VOXEL, strict=True))
        image.write(pixels, axes="czyx", spacing=step, channels=["marker", "nuclei"])
        image.write_labels("nuclei", labels().astype(np.uint32))
    tiles = ["p.zarr/A/1/0", "p.zarr/A/1/1"]
    rows = pd.DataFrame({"stack": tiles, "labels": [f"{tile}/labels/nuclei" for tile in tiles]})
    rows.to_csv(tmp_path / "stacks.csv", index=False)
    found = find_sources(tmp_path / "stacks.csv", channel="nuclei")
    read = [read_source(source) for source in found]
    assert [r.spacing for r in read] == [VOXEL, VOXEL]
    assert all((r.image == stack(1)).all() and (r.labels == labels()).all() for r in read)
    with pytest.raises(InputError, match="--channel"):
        read_source(find_sources(tmp_path / "stacks.csv")[0])
