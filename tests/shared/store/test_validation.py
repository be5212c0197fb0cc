import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from poolvox.shared.errors import StoreError
from poolvox.shared.store import create_image, create_plate, open_plate, validate

PIXELS = np.arange(600 * 20, dtype="uint16").reshape(1, 600, 20)
SPACING = {"y": 1.0, "x": 1.0}
BROKEN = Path(__file__).parents[3] / "../shared/data/broken/plate_level0_missing.zarr"


@pytest.fixture(params=["0.5", "0.4"])
def plate(request, tmp_path):
    plate = create_plate(tmp_path / "p.zarr", {"A1": ["0"], "A2": ["0"]}, ngff=request.param)
    for well in plate:
        image = plate[well]["0"].write(PIXELS, axes="cyx", spacing=SPACING)
        image.write_labels("nuclei", PIXELS[0] // 100)
    return plate


def change(group, edit):
    """Edit the NGFF part of a group's metadata."""
    path = next(p for p in (group / "zarr.json", group / ".zattrs") if p.is_file())
    node = json.loads(path.read_text())
    edit(node["attributes"]["ome"] if path.name == "zarr.json" else node)
    path.write_text(json.dumps(node))


FIELD, LABEL = "A/1/0", "A/1/0/labels/nuclei"

BREACHES = {
    "row index": ("", lambda o: o["plate"]["wells"][0].update(rowIndex=1), "indexed as B/1"),
    "no index": ("", lambda o: o["plate"]["wells"][0].pop("rowIndex"), "must point into lists"),
    "row name": ("", lambda o: o["plate"]["rows"][0].update(name="A_"), "alphanumeric"),
    "doubled column": ("", lambda o: o["plate"]["columns"][1].update(name="1"), "different"),
    "acquisition id": ("", lambda o: o["plate"]["acquisitions"][0].update(id=-1), "ids must be"),
    "no wells": ("", lambda o: o["plate"].update(wells=[]), "plate.wells is empty"),
    "ghost well": (
        "",
        lambda o: o["plate"]["wells"].append({"path": "B/1", "rowIndex": 1, "columnIndex": 0}),
        "is no well",
    ),
    "field name": (
        "A/1",
        lambda o: o["well"]["images"].append({"path": "a_b"}),
        "letters and digits only",
    ),
    "ghost field": ("A/1", lambda o: o["well"]["images"].append({"path": "9"}), "is no image"),
    "no axes": (FIELD, lambda o: o["multiscales"][0].update(axes=["c", "y", "x"]), "a list of"),
    "axis order": (FIELD, lambda o: o["multiscales"][0]["axes"].reverse(), "time, channel, space"),
    "two channels": (
        FIELD,
        lambda o: o["multiscales"][0]["axes"][1].update(type="channel"),
        "at most 1 time, 1 channel",
    ),
    "no scale": (
        FIELD,
        lambda o: o["multiscales"][0]["datasets"][0].update(coordinateTransformations=[]),
        "expected a scale",
    ),
    "level order": (FIELD, lambda o: o["multiscales"][0]["datasets"].reverse(), "large to small"),
    "color": (FIELD, lambda o: o["omero"]["channels"][0].update(color="red"), "6 hexadecimal"),
    "window": (FIELD, lambda o: o["omero"]["channels"][0]["window"].pop("end"), r"lacks \['end'\]"),
    "ghost label": ("A/1/0/labels", lambda o: o["labels"].append("cells"), "is no image"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_the_rules_is_named(plate, breach):
    where, edit, told = BREACHES[breach]
    assert validate(plate.path).valid
    change(plate.path / where, edit)
    found = validate(plate.path)
    assert not found.valid
    errors = " ".join(p.message for p in found.problems if p.severity == "error")
    assert re.search(told, errors)


def test_missing_arrays_and_interruptions_are_named(plate):
    shutil.rmtree(plate.path / "A/2/0/1")
    plate["A1"]["0"].create(PIXELS.shape, "u2", axes="cyx", spacing=SPACING)
    found = validate(plate.path)
    told = {p.where: p.message for p in found.problems if p.severity == "error"}
    assert "interrupted" in told["A/1/0"]
    assert "level 1 ('1')" in told["A/2/0"]
    assert not any(verdict.opens for verdict in found.viewers)
    assert "2 errors" in found.text()


def test_planned_but_unwritten_tiles_are_a_warning(plate):
    create_plate(plate.path, {"A1": ["5", "x"], "B1": ["0"]}, ngff=plate.ngff)
    found = validate(plate.path)
    assert found.valid
    assert {p.where: p.message for p in found.problems} == {
        "A/1": "2 of 3 planned tiles are not finished: 5, x",
        "B/1": "was planned, but no field of it was finished",
    }


def test_labels_of_other_levels_or_without_their_block_are_a_warning(plate):
    change(plate.path / LABEL, lambda o: o["multiscales"][0]["datasets"].pop())
    change(plate.path / LABEL, lambda o: o.pop("image-label"))
    found = validate(plate.path)
    assert found.valid
    messages = " ".join(p.message for p in found.problems)
    assert "1 levels, the image 2" in messages
    assert "no image-label" in messages
    napari = found.viewers[0]
    assert napari.opens
    assert "skips labels nuclei" in napari.text()


def verdict(path, viewer):
    return next(v for v in validate(path).viewers if v.viewer == viewer)


def test_vizarr_and_mobie_want_another_version_where_they_do(plate):
    is_04 = plate.ngff == "0.4"
    assert ("never shows labels" in verdict(plate.path, "vizarr").text()) != is_04
    assert verdict(plate.path, "MoBIE").opens == is_04
    assert verdict(plate.path, "Bio-Formats").opens == is_04


def test_mobie_wants_a_name_that_ends_in_zarr(plate):
    moved = plate.path.rename(plate.path.with_name("plate"))
    assert "must end in .zarr" in verdict(moved, "MoBIE").text()


def test_napari_misses_fields(plate):
    create_plate(plate.path, {"A1": ["1"]}, ngff=plate.ngff)
    plate["A1"]["1"].write(PIXELS[:, :50], axes="cyx", spacing=SPACING)
    text = verdict(plate.path, "napari").text()
    assert "shows field 0 of each well only" in text
    assert "they differ" in text
    plate["A1"]["1"].write(PIXELS[0], axes="yx", spacing=SPACING)
    assert not verdict(plate.path, "napari").opens


def test_an_image_alone_and_a_well_alone_can_be_checked(plate, tmp_path):
    assert validate(plate.path / "A/1").kind == "well"
    assert validate(plate.path / FIELD).kind == "image"
    image = create_image(tmp_path / "i.zarr").write(PIXELS, axes="cyx", spacing=SPACING)
    assert validate(image.path).text().splitlines()[0].endswith("image, OME-Zarr 0.5: valid")


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is not an OME-Zarr group"):
        validate(tmp_path)
    assert not validate(create_plate(tmp_path / "p.zarr", {}).path).valid


JUNK = (None, 7, -1.5, "x", [], [7], {}, {"a": []}, [None])


def spots(value, path=()):
    """Every place in a JSON document."""
    yield path
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    for key, item in inner.items() if isinstance(inner, dict) else ():
        yield from spots(item, (*path, key))


def look_at_all_of(path):
    """What readers of a store ask it."""
    validate(path).text()
    plate = open_plate(path)
    assert isinstance(plate.name, str)
    assert len(plate.acquisitions) >= 0
    for well in plate:
        for tile in plate[well]:
            image = plate[well][tile]
            assert len(image.channels) == image.image().sizes.get("c", 0)
            assert all(image.labels(name).ndim for name in image.label_names)


@pytest.mark.parametrize("group", ["", "A/1", FIELD, f"{FIELD}/labels", LABEL])
def test_metadata_of_any_form_end_in_a_clear_message(plate, group):
    path = next(
        p for p in (plate.path / group / "zarr.json", plate.path / group / ".zattrs") if p.is_file()
    )
    whole = path.read_text()
    for number, spot in enumerate(spots(json.loads(whole))):
        # Every kind of junk at every place takes a minute: each place gets the next two kinds.
        for junk in (JUNK[2 * number % len(JUNK)], JUNK[(2 * number + 1) % len(JUNK)]):
            node = {"": json.loads(whole)}
            block = node
            for key in ("", *spot)[:-1]:
                block = block[key]
            block[("", *spot)[-1]] = junk
            path.write_text(json.dumps(node[""]))
            with suppress(StoreError):
                look_at_all_of(plate.path)
    path.write_text(whole)


@pytest.mark.skipif(not BROKEN.exists(), reason="the public data are not beside the checkout")
def test_a_real_plate_without_its_first_level():
    found = validate(BROKEN)
    assert [(p.severity, p.where) for p in found.problems] == [("error", "B/03/0")]
    assert "level 0 ('0') is in the metadata, but its array is missing" in found.text()
    image = open_plate(BROKEN)["B03"][0]
    with pytest.raises(StoreError, match="present: 1, 2, 3, 4"):
        image.image()
    assert image.image(1).sizes == {"c": 1, "z": 2, "y": 1080, "x": 2560}
    assert image.image(1).max() > 0
    assert image.labels("nuclei", 3).ndim == 3
