"""What one file holds: axes, types and spacing of every kind of file, read back exactly."""

import json

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolvox.shared.errors import InputError
from poolvox.shared.ingest import RawSpec, scan
from poolvox.shared.ingest.omexml import micrometres, parse_xml
from poolvox.shared.ingest.readers import describe
from poolvox.shared.store import create_image, create_plate

RNG = np.random.default_rng(5)


def pixels(*shape, dtype="uint16"):
    return RNG.integers(0, 200, shape).astype(dtype)


def read(folder, **spec):
    manifest = scan(RawSpec(**{"files": "{tile}.tif", **spec}), folder)
    assert not len(manifest.problems), manifest.summary()
    return manifest, manifest.read(manifest.tiles[0])


def bare(path, data, **options):
    """Pages without any metadata, as many instruments write them."""
    tifffile.imwrite(path, data, photometric="minisblack", metadata=None, **options)


IMAGE = (7, 9)
KINDS = [
    # name, how it is written, axes of the array, shape, options of the specification
    ("plain", {"metadata": None}, "YX", IMAGE, {}),
    ("shaped", {}, "CYX", (5, *IMAGE), {"channels": list("abcde")}),
    ("ome", {"ome": True, "metadata": {"axes": "CYX"}}, "CYX", (4, *IMAGE), {}),
    ("ome_all", {"ome": True, "metadata": {"axes": "TZCYX"}}, "TZCYX", (2, 3, 4, *IMAGE), {}),
    ("ome_order", {"ome": True, "metadata": {"axes": "TCZYX"}}, "TCZYX", (2, 3, 4, *IMAGE), {}),
    ("imagej", {"imagej": True, "metadata": {"axes": "TZCYX"}}, "TZCYX", (2, 3, 4, *IMAGE), {}),
    ("imagej_z", {"imagej": True, "metadata": {"axes": "ZYX"}}, "ZYX", (3, *IMAGE), {}),
    ("bare_c", {"metadata": None}, "CYX", (5, *IMAGE), {"channels": list("abcde")}),
    ("bare_auto", {"metadata": None}, "CYX", (3, *IMAGE), {"channels": ["a", "auto", "auto"]}),
    (
        "bare_z",
        {"metadata": None},
        "ZYX",
        (6, *IMAGE),
        {"channels": ["a"], "voxel_size": [2, 1, 1]},
    ),
    ("bare_t", {"metadata": None}, "TYX", (3, *IMAGE), {"channels": ["a"], "cycles": [1, 2, 3]}),
    (
        "given_zc",
        {"metadata": None},
        "ZCYX",
        (6, 2, *IMAGE),
        {"channels": ["a", "b"], "axes": "zcyx"},
    ),
    (
        "given_cz",
        {"metadata": None},
        "CZYX",
        (2, 6, *IMAGE),
        {"channels": ["a", "b"], "axes": "czyx"},
    ),
    (
        "given_as_said",
        {"imagej": True, "metadata": {"axes": "TZCYX"}},
        "TZCYX",
        (2, 3, 4, *IMAGE),
        {"axes": "tzcyx"},
    ),
    ("z_last", {}, "YXZ", (*IMAGE, 6), {"channels": ["a"], "axes": "yxz"}),
    ("c_last", {}, "YXC", (*IMAGE, 5), {"axes": "yxc"}),
    ("not_rgb", {"planarconfig": "contig"}, "YXC", (*IMAGE, 4), {}),
    ("called_rgb", {"photometric": "rgb", "planarconfig": "separate"}, "CYX", (3, *IMAGE), {}),
    ("planar", {"planarconfig": "separate"}, "CYX", (4, *IMAGE), {}),
    (
        "tiled",
        {"tile": (16, 16), "compression": "zlib"},
        "CYX",
        (2, 40, 33),
        {"channels": ["a", "b"]},
    ),
    ("bigtiff", {"bigtiff": True, "metadata": None}, "CYX", (2, *IMAGE), {"channels": ["a", "b"]}),
    (
        "big_endian",
        {"byteorder": ">", "metadata": None},
        "CYX",
        (2, *IMAGE),
        {"channels": ["a", "b"]},
    ),
    ("lzw", {"compression": "lzw", "predictor": 2}, "YX", IMAGE, {}),
    ("zstd", {"compression": "zstd"}, "YX", IMAGE, {}),
]


@pytest.mark.parametrize(
    ("options", "axes", "shape", "spec"), [k[1:] for k in KINDS], ids=[k[0] for k in KINDS]
)
def test_every_kind_of_tiff_is_read_as_it_was_written(tmp_path, options, axes, shape, spec):
    data = pixels(*shape)
    options = {"photometric": "minisblack", **options}
    if options.pop("imagej", False):
        options.pop("photometric")
        options["imagej"] = True
    tifffile.imwrite(tmp_path / "1.tif", data, **options)
    manifest, got = read(tmp_path, **spec)
    wanted = data.transpose(sorted(range(data.ndim), key=lambda k: "TCZYX".index(axes[k])))
    if "C" not in axes:
        wanted = np.expand_dims(wanted, wanted.ndim - 2 - ("Z" in axes))
    assert manifest.axes == "".join(a for a in "tczyx" if a.upper() in axes + "C")
    assert manifest.shape == got.shape
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int16", "float32", ">f4", "uint32"])
def test_every_type_keeps_its_values(tmp_path, dtype):
    data = pixels(*IMAGE, dtype=dtype)
    bare(tmp_path / "1.tif", data, byteorder=">" if dtype.startswith(">") else "<")
    manifest, got = read(tmp_path)
    assert manifest.dtype == got.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(got[0], data)


def test_twelve_bit_samples_are_unpacked(tmp_path):
    data = (np.arange(64, dtype=np.uint16).reshape(8, 8) * 65) % 4096
    packed = np.packbits(
        ((data.reshape(-1, 1) >> np.arange(11, -1, -1)) & 1).astype(np.uint8).reshape(8, -1), axis=1
    )
    write_by_hand(tmp_path / "1.tif", packed.tobytes(), 8, 8, bits=12)
    manifest, got = read(tmp_path)
    assert manifest.dtype == np.uint16
    np.testing.assert_array_equal(got[0], data)


def write_by_hand(path, raw, height, width, *, bits, planes=1, description="", extra=()):
    """Write a TIFF of one page tag by tag, as no library would."""
    text = description.encode() + b"\0"
    count = 9 + bool(description) + len(extra)
    end = 8 + 2 + count * 12 + 4
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 1), (273, 4, 1, end + len(text)), (277, 3, 1, 1), (278, 4, 1, height)]
    tags += [(279, 4, 1, len(raw) // planes), *extra]
    tags += [(270, 2, len(text), end)] if description else []
    entries = b"".join(
        tag.to_bytes(2, "little")
        + kind.to_bytes(2, "little")
        + n.to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, kind, n, value in sorted(tags)
    )
    head = b"II*\0\x08\0\0\0" + count.to_bytes(2, "little") + entries + bytes(4)
    path.write_bytes(head + text + raw)


def test_an_imagej_stack_behind_one_page_is_read_plane_by_plane(tmp_path):
    # ImageJ writes stacks of more than 4 GB so: one page, the other planes simply follow.
    data = pixels(2, 3, *IMAGE)
    text = (
        "ImageJ=1.53t\nimages=6\nchannels=3\nslices=2\nhyperstack=true\nunit=micron\nspacing=2.5\n"
    )
    write_by_hand(tmp_path / "1.tif", data.tobytes(), *IMAGE, bits=16, planes=6, description=text)
    manifest, got = read(tmp_path)
    assert manifest.axes == "czyx"
    assert manifest.spacing["z"] == 2.5
    np.testing.assert_array_equal(got, data.transpose(1, 0, 2, 3))


def test_an_imagej_stack_that_ends_too_early_is_truncated(tmp_path):
    text = "ImageJ=1.53t\nimages=6\nslices=6\n"
    raw = pixels(5, *IMAGE).tobytes()
    write_by_hand(tmp_path / "1.tif", raw, *IMAGE, bits=16, planes=5, description=text)
    with pytest.raises(InputError, match="not copied completely"):
        scan(RawSpec(files="{tile}.tif"), tmp_path)


def test_planes_of_an_ome_set_are_those_of_this_file_only(tmp_path):
    # Two files, one per channel; both carry the description of the whole set.
    data = pixels(2, 3, *IMAGE)
    planes = [
        f'<TiffData IFD="{z}" FirstC="{c}" FirstZ="{z}" PlaneCount="1">'
        f'<UUID FileName="set_C{c}.ome.tif">urn:uuid:{c}</UUID></TiffData>'
        for c in (0, 1)
        for z in range(3)
    ]
    for c in (0, 1):
        xml = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{c}"><Image ID="Image:0"><Pixels DimensionOrder="XYZCT" SizeX="9" '
            f'SizeY="7" SizeZ="3" SizeC="2" SizeT="1" PhysicalSizeX="325" PhysicalSizeXUnit="nm" '
            f'PhysicalSizeY="0.325" PhysicalSizeZ="0.002" PhysicalSizeZUnit="mm" Type="uint16">'
            f'<Channel Name="DAPI"/><Channel Name="GFP"/>{"".join(planes)}</Pixels></Image></OME>'
        )
        bare(tmp_path / f"set_C{c}.ome.tif", data[c], description=xml)
    manifest = scan(
        RawSpec(files="set_C{channel}.ome.tif", channels={"DAPI": 0, "GFP": 1}), tmp_path
    )
    assert manifest.spacing == {"z": 2.0, "y": 0.325, "x": 0.325}
    assert manifest.channels == ("DAPI", "GFP")
    np.testing.assert_array_equal(manifest.read(manifest.tiles[0]), data)
    (tmp_path / "set_C1.ome.tif").unlink()
    alone, got = read(tmp_path, files="set_C0.ome.tif")
    assert alone.channels == ("DAPI",)
    np.testing.assert_array_equal(got[0], data[0])


def test_several_images_of_one_file_are_tiles(tmp_path):
    data = pixels(3, 2, *IMAGE)
    with tifffile.TiffWriter(tmp_path / "all.ome.tif", ome=True) as writer:
        for image in data:
            writer.write(image, photometric="minisblack", metadata={"axes": "CYX"})
    manifest = scan(RawSpec(files="all.ome.tif"), tmp_path)
    assert [key.tile for key in manifest.tiles] == ["1", "2", "3"]
    for key, image in zip(manifest.tiles, data):
        np.testing.assert_array_equal(manifest.read(key), image)


def test_thumbnails_in_the_chain_of_pages_are_no_planes(tmp_path):
    data = pixels(2, *IMAGE)
    with tifffile.TiffWriter(tmp_path / "1.tif") as writer:
        for image in data:
            writer.write(image, photometric="minisblack", metadata=None)
            writer.write(image[::2, ::2], photometric="minisblack", metadata=None, subfiletype=1)
    _, got = read(tmp_path, channels=["a", "b"])
    np.testing.assert_array_equal(got, data)


UNCLEAR = [
    ("two meanings", (5, *IMAGE), {}, "could be cycles, channels, z planes: say which with axes"),
    ("count differs", (10, *IMAGE), {"channels": list("abcde")}, "10 pages.*5 channels"),
    ("both fit", (5, *IMAGE), {"channels": list("abcde"), "cycles": [1, 2, 3, 4, 5]}, "axes"),
    ("twice as long", (5, 5, *IMAGE), {"channels": list("abcde")}, "5 x 5 pages.*axes"),
    (
        "two of one length",
        (5, 5, *IMAGE),
        {"channels": list("abcde"), "voxel_size": [2, 1, 1]},
        "5 x 5 pages.*axes",
    ),
    ("does not divide", (7, *IMAGE), {"channels": ["a", "b"], "axes": "zcyx"}, "do not divide"),
    ("too few axes", (6, *IMAGE), {"axes": "yx"}, "do not divide"),
    ("transposed", (4, 3, *IMAGE), {"axes": "yxz"}, "4 axes"),
]


@pytest.mark.parametrize(
    ("shape", "spec", "says"), [u[1:] for u in UNCLEAR], ids=[u[0] for u in UNCLEAR]
)
def test_what_is_unclear_asks_for_axes(tmp_path, shape, spec, says):
    tifffile.imwrite(tmp_path / "1.tif", pixels(*shape), photometric="minisblack")
    with pytest.raises(InputError, match=says):
        scan(RawSpec(**{"files": "{tile}.tif", **spec}), tmp_path)


def test_a_file_that_says_z_where_channels_are_meant_names_the_remedy(tmp_path):
    data = pixels(5, *IMAGE)
    tifffile.imwrite(tmp_path / "1.tif", data, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match=r"z planes are the channels, give axes: cyx"):
        scan(RawSpec(files="{tile}.tif", channels=list("abcde")), tmp_path)
    _, got = read(tmp_path, channels=list("abcde"), axes="cyx")
    np.testing.assert_array_equal(got, data)


def test_a_picture_in_colours_is_refused_and_may_be_declared_channels(tmp_path):
    data = pixels(*IMAGE, 3, dtype="uint8")
    tifffile.imwrite(tmp_path / "1.tif", data, photometric="rgb")
    with pytest.raises(InputError, match="RGB"):
        scan(RawSpec(files="{tile}.tif"), tmp_path)
    _, got = read(tmp_path, axes="yxc")
    np.testing.assert_array_equal(got, data.transpose(2, 0, 1))


def test_a_name_and_its_file_must_not_both_give_an_axis(tmp_path):
    tifffile.imwrite(tmp_path / "1_w2.tif", pixels(3, *IMAGE), ome=True, metadata={"axes": "CYX"})
    with pytest.raises(InputError, match="3 channels, but its name gives one"):
        scan(RawSpec(files="{tile}_w{channel}.tif"), tmp_path)


def metamorph(path, state="on"):
    props = {"spatial-calibration-state": state, "spatial-calibration-x": "0.65"}
    props |= {"spatial-calibration-y": "0.65", "spatial-calibration-units": "um"}
    body = "".join(f'<prop id="{k}" type="string" value="{v}"/>' for k, v in props.items())
    bare(path, pixels(*IMAGE), description=f"<MetaData>{body}</MetaData>")


def stack(path):
    raw = pixels(3, *IMAGE).tobytes()
    # UIC1: pairs of id and offset of the calibration; UIC2: its count is the number of planes.
    write_by_hand(path, raw, *IMAGE, bits=16, planes=3, extra=((33628, 4, 3, 0), (33629, 5, 3, 8)))
    content = bytearray(path.read_bytes())
    place = len(content)
    values = [4, place + 24, 5, place + 32, 6, place + 40]
    content += np.array(values, "<u4").tobytes() + np.array([13, 20, 13, 40], "<u4").tobytes()
    content += (3).to_bytes(4, "little") + b"um\0"
    at = content.index((33628).to_bytes(2, "little")) + 8
    content[at : at + 4] = place.to_bytes(4, "little")
    path.write_bytes(content)


def imagej(path, unit, resolution, shape=IMAGE, **metadata):
    metadata |= {"axes": "ZYX"[-len(shape) :], "unit": unit}
    tifffile.imwrite(path, pixels(*shape), imagej=True, resolution=resolution, metadata=metadata)


def ome(path):
    sizes = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, pixels(*IMAGE), ome=True, metadata={"axes": "YX", **sizes})


SPACINGS = [
    ("ome", {"y": 0.5, "x": 0.25}, ome),
    ("imagej", {"z": 3.0, "y": 0.5, "x": 0.25},
     lambda p: imagej(p, "um", (4.0, 2.0), (2, *IMAGE), spacing=3.0)),
    ("imagej_nm", {"y": 0.1, "x": 0.1}, lambda p: imagej(p, "nm", (0.01, 0.01))),
    ("imagej_pixel", {"y": None, "x": None}, lambda p: imagej(p, "pixel", (4, 4))),
    ("inch", {"y": None, "x": None},
     lambda p: bare(p, pixels(*IMAGE), resolution=(72, 72), resolutionunit="INCH")),
    ("metaxpress", {"y": 0.65, "x": 0.65}, metamorph),
    ("uncalibrated", {"y": None, "x": None}, lambda p: metamorph(p, "off")),
    ("stk", {"z": None, "y": 0.325, "x": 0.65}, stack),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spacing", "write"), [s[1:] for s in SPACINGS], ids=[s[0] for s in SPACINGS]
)
def test_spacing_is_read_in_micrometres(tmp_path, spacing, write):
    write(tmp_path / "1.tif")
    many = "z" in spacing
    manifest, _ = read(tmp_path, **({"axes": "zyx"} if many else {}))
    assert manifest.spacing == pytest.approx(spacing)


def test_given_spacing_comes_first_and_disagreement_is_noted(tmp_path):
    imagej(tmp_path / "1.tif", "um", (2, 2))
    manifest, _ = read(tmp_path, pixel_size=0.65)
    assert manifest.spacing == {"y": 0.65, "x": 0.65}
    assert [note for note in manifest.notes if "0.5" in note and "0.65" in note]
    manifest, _ = read(tmp_path, pixel_size=0.5001)
    assert manifest.notes == ()


LENGTHS = [("1", None, 1), (2, "mm", 2000), ("3", "Å", 3e-4), (1, r"\u00B5m", 1), (1, "µm", 1)]
NO_LENGTHS = [("0", "um"), ("-1", "um"), ("nan", "um"), ("x", "um"), (1, "px"), (None, "um")]


@pytest.mark.parametrize(
    ("value", "unit", "length"), [*LENGTHS, *((value, unit, None) for value, unit in NO_LENGTHS)]
)
def test_lengths(value, unit, length):
    assert micrometres(value, unit) == length


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>',
        b"\xff\xfe" + "<!DOCTYPE a><a/>".encode("utf-16-le"),
    ],
)
def test_xml_with_a_document_type_is_refused(text):
    with pytest.raises(InputError, match="document type"):
        parse_xml(text)


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused_but_breaks_nothing(tmp_path, data):
    kind = data.draw(st.sampled_from(["ome", "imagej", "bigtiff"]))
    path = tmp_path / "1.tif"
    options = {kind: True} | ({} if kind == "imagej" else {"photometric": "minisblack"})
    tifffile.imwrite(path, np.ones((4, *IMAGE), np.uint16), **options)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, 2 * len(content)))])
    try:
        manifest = scan(RawSpec(files="{tile}.tif", axes="zyx"), tmp_path)
        assert manifest.bytes > 0
        if manifest.bytes < 2**20:
            manifest.read(manifest.tiles[0])
    except InputError:
        return


def test_ome_zarr_images_and_plates_are_read(tmp_path):
    data = pixels(3, 2, *IMAGE)
    options = {"axes": "cyx", "spacing": {"y": 0.5, "x": 0.5}, "channels": ["DAPI", "GFP"]}
    plate = create_plate(tmp_path / "plate.zarr", {"A1": ["0", "1"], "B2": ["0"]})
    for (well, tile), image in zip([("A1", "0"), ("A1", "1"), ("B2", "0")], data):
        plate[well][tile].write(image, **options)
    manifest = scan(RawSpec(files="plate.zarr"), tmp_path)
    assert [(k.well, k.tile) for k in manifest.tiles] == [("A1", "0"), ("A1", "1"), ("B2", "0")]
    assert manifest.channels == ("DAPI", "GFP")
    for key, image in zip(manifest.tiles, data):
        np.testing.assert_array_equal(manifest.read(key), image)
    # A tile depends on its own image, so that another one does not make it be done again.
    assert manifest.files_of(manifest.tiles[1]) == (tmp_path / "plate.zarr" / "A" / "1" / "1",)
    create_image(tmp_path / "A1_7.zarr").write(data[0], **options)
    manifest = scan(RawSpec(files="{well}_{organoid}.zarr"), tmp_path)
    assert manifest.tiles[0].organoid == "7"
    assert manifest.spacing == {"y": 0.5, "x": 0.5}
    np.testing.assert_array_equal(manifest.read(manifest.tiles[0]), data[0])


@pytest.mark.parametrize(
    ("unit", "size", "spacing"),
    [
        ("micrometer", 1.0, {"y": 1.0, "x": 1.0}),
        ("nanometer", 500.0, {"y": 0.5, "x": 0.5}),
        (None, 0.5, {"y": 0.5, "x": 0.5}),
        # What writers leave that were told no pixel size: pixels, not micrometres.
        (None, 1.0, {}),
        ("pixel", 1.0, {}),
    ],
)
def test_ome_zarr_without_a_pixel_size_has_none(tmp_path, unit, size, spacing):
    create_image(tmp_path / "A1_7.zarr").write(
        pixels(1, 2, *IMAGE)[0], axes="cyx", spacing={"y": size, "x": size}
    )
    path = tmp_path / "A1_7.zarr" / "zarr.json"
    document = json.loads(path.read_text())
    for axis in document["attributes"]["ome"]["multiscales"][0]["axes"]:
        axis.pop("unit", None)
        if axis["type"] == "space" and unit is not None:
            axis["unit"] = unit
    path.write_text(json.dumps(document))
    assert describe(tmp_path / "A1_7.zarr").spacing == spacing


def test_a_tile_of_a_store_that_was_never_written_costs_itself_alone(tmp_path):
    plate = create_plate(tmp_path / "plate.zarr", {"A1": ["0", "1"]})
    plate["A1"]["1"].write(pixels(2, *IMAGE), axes="cyx", spacing={"y": 1, "x": 1})
    manifest = scan(RawSpec(files="plate.zarr"), tmp_path)
    assert [k.tile for k in manifest.bad] == ["0"]
    assert manifest.read(manifest.tiles[1]).shape == (2, *IMAGE)
