import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolvox.shared.errors import ConfigError, InputError
from poolvox.shared.ingest import Pattern, RawSpec
from poolvox.shared.ingest.files import find_files
from poolvox.shared.ingest.pattern import normalise, well_name
from poolvox.shared.sorting import natural

CASES = [
    ("W-{well}_T-{tile}.tif", "W-A01_T-3.tif", {"well": "A01", "tile": "3"}),
    ("{well}_{tile}.tif", "A1_3_thumb.tif", None),
    ("{well}_{tile}.tif", "A1_3.tiff", None),
    ("c{cycle}/T-{tile}_C-{cycle}.tif", "c2/T-1_C-2.tif", {"cycle": "2", "tile": "1"}),
    ("c{cycle}/T-{tile}_C-{cycle}.tif", "c2/T-1_C-3.tif", None),
    ("c{cycle}/T-{tile}_C-{cycle:2}.tif", "c2/T-1_C-02.tif", {"cycle": "2", "tile": "1"}),
    ("c{cycle}/T-{tile}_C-{cycle:2}.tif", "c2/T-1_C-03.tif", None),
    (
        "r{row}c{col}f{tile}p{z}.tiff",
        "r01c12f03p10.tiff",
        {"row": "01", "col": "12", "tile": "03", "z": "10"},
    ),
    (
        "F{tile:3}L{_}Z{z:2}C{channel:2}.tif",
        "F001L01Z02C03.tif",
        {"tile": "001", "z": "02", "channel": "03"},
    ),
    ("F{tile:3}.tif", "F01.tif", None),
    ("{well}_*.tif", "B02_anything at all.tif", {"well": "B02"}),
    ("**/{well}.tif", "a/b/c/H12.tif", {"well": "H12"}),
    ("**/{well}.tif", "H12.tif", {"well": "H12"}),
    ("*/{well}.tif", "a/b/H12.tif", None),
    ("a [1] (x)/{well}.tif", "H12.tif", {"well": "H12"}),
    ("größe/{organoid} µm.tif", "7 µm.tif", {"organoid": "7"}),
    ("{{{well}}}.tif", "{A1}.tif", {"well": "A1"}),
    ("{plate}_{well}.tif", "my plate_2_A1.tif", {"plate": "my plate_2", "well": "A1"}),
    ("{well}/w{channel}.tif", "A - 1/wDAPI (2).tif", {"well": "A - 1", "channel": "DAPI (2)"}),
    (r"raw\{well}\{tile}.tif", "A1/2.tif", {"well": "A1", "tile": "2"}),
    ("img_{tile}.tif", "img_٣.tif", {"tile": "٣"}),
    # A wildcard does not cut a number in two.
    ("*SBS{cycle}*/{well}.tif", "1_SBS10_late/A1.tif", {"cycle": "10", "well": "A1"}),
    ("c{cycle}{_}/{well}.tif", "c10/A1.tif", {"cycle": "10", "well": "A1"}),
    ("{tile}0.tif", "100.tif", {"tile": "10"}),
]


@pytest.mark.parametrize(("text", "path", "values"), CASES)
def test_a_pattern_gives_the_values_of_its_fields(text, path, values):
    assert Pattern(text).match(path) == values


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{wel}.tif", "{well}"),
        ("{well.tif", "brace"),
        ("well}.tif", "brace"),
        ("{tile:x}.tif", "width"),
        ("{tile:0}.tif", "width"),
        ("{row}.tif", "only one"),
        ("{row}{col}{well}.tif", "keep one"),
        ("", "empty"),
    ],
)
def test_a_wrong_pattern_is_refused_with_the_reason(text, says):
    with pytest.raises(ConfigError, match=says):
        _ = Pattern(text).regex


LETTERS = st.text("abcXYZ é-", max_size=4)
VALUES = {
    "plate": st.text("abcP-123", min_size=1, max_size=6),
    "well": st.builds("{}{}".format, st.sampled_from("ABCH"), st.integers(1, 24)),
    "tile": st.integers(0, 9999).map(str),
    "cycle": st.integers(1, 20).map(str),
    "z": st.integers(0, 300).map(str),
    "organoid": st.integers(0, 99).map(str),
    "channel": st.sampled_from(["DAPI", "Cy5.5", "w1", "FITC - GFP"]),
}


@given(data=st.data())
def test_what_a_pattern_writes_it_reads_again(data):
    names = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, unique=True))
    repeated = [*names, *data.draw(st.lists(st.sampled_from(names), max_size=2))]
    pieces, values = [], {}
    for name in repeated:
        width = data.draw(st.sampled_from([None, 4])) if name in {"tile", "cycle", "z"} else None
        between = data.draw(st.sampled_from(["_", "/", "__x_", "_é_", "/a b_"]))
        pieces.append(f"{{{name}:{width}}}{between}" if width else f"{{{name}}}{between}")
        values[name] = values.get(name) or data.draw(VALUES[name])
    pattern = Pattern("".join(pieces) + "end.tif")
    found = pattern.match(pattern.format(values))
    assert found is not None
    assert {k: normalise(k, v) for k, v in found.items()} == {
        k: normalise(k, v) for k, v in values.items()
    }


def test_wells_have_one_name():
    names = ["A1", "a01", "A001", "A - 1", "A-1", "1"]
    assert {well_name(name) for name in names} == {"A1"}
    assert [well_name(str(row), "03") for row in (1, 8, 26, 27, 32)] == [
        "A3",
        "H3",
        "Z3",
        "AA3",
        "AF3",
    ]
    assert well_name("b", "3") == "B3"


def test_numbers_sort_as_numbers():
    texts = ["t10", "t9", "t09", "a/2", "a/10", "b"]
    assert sorted(texts, key=natural) == ["a/2", "a/10", "b", "t09", "t9", "t10"]
    assert sorted(texts, key=natural) == sorted(texts, key=natural)


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_files_are_found_once_in_natural_order_below_the_folder_only(tmp_path):
    make(tmp_path, "raw/c10/1.tif", "raw/c2/1.tif", "raw/c2/old/1.tif", "raw/x/1.tif", "1.tif")
    spec = RawSpec(files=("raw/c{cycle}/{tile}.tif", "raw/?{cycle:2}/{tile}.tif"))
    found = [file.path[len(str(tmp_path)) + 1 :] for file in find_files(spec, tmp_path)]
    assert found == ["raw/c2/1.tif", "raw/c10/1.tif"]


def test_absolute_patterns_and_excluded_names(tmp_path):
    make(tmp_path, "raw/A1_1.tif", "raw/A1_2.tif", "raw/A1_2_thumb9.tif")
    spec = RawSpec(files=f"{tmp_path}/raw/{{well}}_*.tif", exclude=("*_thumb*",))
    assert len(find_files(spec, tmp_path / "elsewhere")) == 2


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("raw/W-{well}_S-{tile}.tif", r"agrees up to 'W-A1_'.*'T-3.tif' where 'S-' is expected"),
        ("raw/W-{well}_T-{tile}.tiff", r"agrees up to 'W-A1_T-3.tif', then ends where 'f'"),
        ("raw/W-{well}_T-{tile}", r"then has '.tif' where 'the end' is expected"),
        ("rwa/W-{well}.tif", r"no folder 'rwa'.*did you mean 'raw'"),
        ("empty/{well}.tif", "is empty"),
    ],
)
def test_a_pattern_that_matches_nothing_says_where_it_broke(tmp_path, pattern, says):
    make(tmp_path, "raw/W-A1_T-3.tif", "raw/notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=says):
        find_files(RawSpec(files=pattern), tmp_path)


def test_two_values_of_one_field_are_named(tmp_path):
    make(tmp_path, "c1/C-2.tif")
    with pytest.raises(InputError, match="occurs twice has two values"):
        find_files(RawSpec(files="c{cycle}/C-{cycle}.tif"), tmp_path)


def test_a_link_that_leads_back_is_not_followed(tmp_path):
    make(tmp_path, "raw/a/A1.tif", "more/B1.tif")
    (tmp_path / "raw/a/back").symlink_to(tmp_path / "raw")
    (tmp_path / "raw/there").symlink_to(tmp_path / "more")
    found = find_files(RawSpec(files="raw/**/{well}.tif"), tmp_path)
    assert [file.values["well"] for file in found] == ["A1", "B1"]


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    make(tmp_path, "raw/c1/A1.tif", "raw/c2/A1.tif", "raw/private/A1.tif")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith(("c2", "private")):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"no permission to look into .*c2"):
        find_files(RawSpec(files="raw/c{cycle}/{well}.tif"), tmp_path)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"channels": []}, "empty"),
        ({"channels": ["a", "a"]}, "twice"),
        ({"channels": {"a": "w1", "b": "w1"}}, "twice"),
        ({"axes": "cy"}, "axes"),
        ({"axes": "yxx"}, "axes"),
        ({"axes": "qyx"}, "axes"),
        ({"pixel_size": 0}, "greater than 0"),
        ({"pixel_size": float("nan")}, "finite"),
        ({"voxel_size": [1, 2]}, "voxel_size"),
        ({"pixel_size": 1, "voxel_size": [1, 1, 1]}, "not both"),
        ({"files": []}, "no pattern"),
        ({"files": ["{well}.tif", "{tile}.tif"]}, "same fields"),
        ({"files": "{wel}.tif"}, "{well}"),
        ({"pixelsize": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_specification_is_refused_with_the_reason(values, says):
    with pytest.raises(ValueError, match=says):
        RawSpec(**{"files": "{well}.tif", **values})


def test_a_specification_takes_numbers_for_names():
    spec = RawSpec(files="{well}.tif", channels={"DAPI": 1}, cycles=[1, 2], axes="CYX")
    assert (spec.channels, spec.cycles, spec.axes) == ({"DAPI": "1"}, ("1", "2"), "cyx")
    assert RawSpec(files="a.tif", channels=["DAPI", "auto", "auto"]).names == (
        "DAPI",
        "auto",
        "auto",
    )
