"""Folders as instruments and people leave them, guessed, and then read with that very guess."""

import json

import numpy as np
import pytest
import tifffile
import yaml

from poolvox.shared.errors import InputError
from poolvox.shared.ingest import RawSpec, guess, raw_block, scan
from poolvox.shared.ingest.names import group_names

PIXELS = np.arange(48, dtype=np.uint16).reshape(6, 8)
GUID = "1A2B3C4D-0000-4711-AAAA-0123456789AB"


def lay(folder, *names, data=PIXELS, **options):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, data, photometric="minisblack", **options)


def each(template, **axes):
    """All names of a template, for every combination of the values."""
    names = [template]
    for axis, values in axes.items():
        names = [name.replace(f"<{axis}>", str(value)) for name in names for value in values]
    return names


LAYOUTS = {
    "imagexpress": (
        "organoid3d",
        each("Exp_Plate_7/TimePoint_1/Exp_<w>_s<s>_w<c>.TIF", w=["A01", "B12"], s=[1, 2], c=[1, 2]),
        "ImageXpress (MetaXpress)",
        "Exp_Plate_7/TimePoint_1/Exp_{well}_s{tile}_w{channel}.TIF",
        {"wells": ("A1", "B12"), "tiles": 4, "channels": ("1", "2"), "cycles": ()},
    ),
    "imagexpress z and time": (
        "organoid3d",
        each(f"TimePoint_<t>/ZStep_<z>/a_b_<w>_s<s>_w<c>{GUID}.tif",
             t=[1, 2], z=[1, 2, 3], w=["A01"], s=[1, 2], c=[1, 2]),
        "ImageXpress (MetaXpress)",
        "TimePoint_{cycle}/ZStep_{z}/a_b_{well}_s{tile}_w{channel:1}{_:36}.tif",
        {"wells": ("A1",), "tiles": 2, "channels": ("1", "2"), "cycles": ("1", "2"), "planes": 3},
    ),
    "harmony": (
        "organoid3d",
        each("p__2024-Measurement 1/Images/r0<r>c<c>f<f>p<p>-ch<h>sk1fk1fl1.tiff",
             r=[1, 2], c=["03", "12"], f=["01", "02"], p=["01", "02"], h=[1, 2]),
        "Opera Phenix or Operetta (Harmony)",
        "p__2024-Measurement 1/Images/r{row}c{col}f{tile}p{z}-ch{channel}sk1fk{_}fl{_}.tiff",
        {"wells": ("A3", "A12", "B3", "B12"), "tiles": 8, "channels": ("1", "2"), "planes": 2},
    ),
    "cellvoyager": (
        "ops",
        each("AssayPlate_Greiner_#655090_<w>_T0001F<f>L01A0<c>Z<z>C0<c>.tif",
             w=["B03", "C04"], f=["001", "002"], z=["01", "02"], c=[1, 2]),
        "CellVoyager (Yokogawa)",
        "AssayPlate_Greiner_#655090_{well}_T0001F{tile}L{_}A{_}Z{z}C{channel}.tif",
        {"wells": ("B3", "C4"), "tiles": 4, "channels": ("01", "02"), "planes": 2, "cycles": ()},
    ),
    "micromanager stacks": (
        "ops",
        each("scan_1/scan_1_MMStack_<w>-Site_<s>.ome.tif", w=["A1", "B2"], s=[0, 1]),
        "Micro-Manager",
        "scan_1/scan_1_MMStack_{well}-Site_{tile}.ome.tif",
        {"wells": ("A1", "B2"), "tiles": 4},
    ),
    "micromanager files": (
        "ops",
        each("Pos<p>/img_channel00<c>_position00<p>_time000000000_z00<z>.tif",
             p=[0, 1], c=[0, 1], z=[0, 1]),
        "Micro-Manager",
        "Pos{tile}/img_channel{channel}_position{tile}_time000000000_z{z}.tif",
        {"tiles": 2, "channels": ("000", "001"), "planes": 2},
    ),
    "pooled screen": (
        "ops",
        each("10X_c<c>-SBS-<c>/10X_c<c>-SBS-<c>_<w>_Tile-<t>.sbs.tif", c=[1, 2, 10], w=["A1", "A2"],
             t=[102, 103]),
        "",
        "10X_c{cycle}-SBS-{cycle}/10X_c{cycle}-SBS-{cycle}_{well}_Tile-{tile}.sbs.tif",
        {"wells": ("A1", "A2"), "tiles": 4, "cycles": ("1", "2", "10")},
    ),
    "gallery": (
        "ops",
        each("images/2020_01_02_B/images/P1/20X_c<c>_SBS-<c>/<w>_s<s>_DAPI.tif",
             c=[1, 2], w=["A1", "A2"], s=[1, 2]),
        "",
        "images/2020_01_02_B/images/P1/20X_c{cycle}_SBS-{cycle}/{well}_s{tile}_DAPI.tif",
        {"wells": ("A1", "A2"), "tiles": 4, "cycles": ("1", "2")},
    ),
    "design": (
        "ops",
        each("raw/c<c>/W-<w>_T-<t>_C-<c>.tif", c=[1, 2, 3], w=["A1", "B2"], t=[1, 2]),
        "",
        "raw/c{cycle}/W-{well}_T-{tile}_C-{cycle}.tif",
        {"wells": ("A1", "B2"), "tiles": 4, "cycles": ("1", "2", "3")},
    ),
    "dyes": (
        "ops",
        each("<w>/field <f> <d>.tif", w=["A1", "A2"], f=[1, 2], d=["DAPI", "Cy3", "Cy5"]),
        "",
        "{well}/field {tile} {channel}.tif",
        {"tiles": 4, "channels": ("Cy3", "Cy5", "DAPI")},
    ),
    "organoids": (
        "organoid3d",
        each("stacks/<w>_<o>.tif", w=["A1", "B3"], o=[3, 4]),
        "",
        "stacks/{well}_{organoid}.tif",
        {"wells": ("A1", "B3"), "tiles": 4},
    ),
    "one well": (
        "ops",
        each("A1_<t>.tif", t=[1, 2]),
        "",
        "{well}_{tile}.tif",
        {"wells": ("A1",), "tiles": 2},
    ),
    "channels C1 to C3": (
        "organoid3d",
        each("organoid<o>_C<c>.tif", o=[1, 2], c=[1, 2, 3]),
        "",
        "organoid{organoid}_C{channel}.tif",
        {"tiles": 2, "channels": ("1", "2", "3")},
    ),
    "plate in a folder with a date": (
        "ops",
        each("20240101_P17/<w>/F<t>_cyc<c>.tif", w=["A1", "B2"], t=["001", "002"], c=["01", "02"]),
        "",
        "20240101_P17/{well}/F{tile}_cyc{cycle}.tif",
        {"wells": ("A1", "B2"), "tiles": 4, "cycles": ("1", "2")},
    ),
    "plates that vary": (
        "ops",
        each("day_P<p>/<w>/F<t>_cyc<c>.tif", p=[1, 2], w=["A1", "B2"], t=[1, 2], c=[1, 2]),
        "",
        "day_P{plate}/{well}/F{tile}_cyc{cycle}.tif",
        {"wells": ("A1", "B2"), "tiles": 8, "cycles": ("1", "2")},
    ),
    "exports of NIS-Elements": (
        "ops",
        [f"round_{c}/Well{w}_Point{w}_000{t}_ChannelDAPI,Cy3_Seq000{t}.tif"
         for c in (1, 2) for w in ("A1", "B2") for t in (0, 1)],
        "Nikon (NIS-Elements)",
        "round_{cycle}/Well{well}_Point{_}_{tile}_ChannelDAPI,Cy3_Seq{_}.tif",
        {"wells": ("A1", "B2"), "tiles": 4, "cycles": ("1", "2")},
    ),
    "folders of bases": (
        "ops",
        each("<d>/Cycle <c>/r0<r>c02f<t>.tiff", d=["DAPI", *"ACGT"], c=[1, 2], r=[1, 2], t=[1, 2]),
        "",
        "{channel}/Cycle {cycle}/r{row}c{col}f{tile}.tiff",
        {"wells": ("A2", "B2"), "tiles": 4, "channels": ("A", "C", "DAPI", "G", "T")},
    ),
    "cycles told by dates": (
        "ops",
        each("<d>/<w>_pos<t>.tif", d=["2024-03-28", "2024-04-02"], w=["A1", "B2"], t=[1, 2]),
        "",
        "{cycle}/{well}_pos{tile}.tif",
        {"wells": ("A1", "B2"), "tiles": 4, "cycles": ("2024-03-28", "2024-04-02")},
    ),
    "cycles in folders that differ in words": (
        "ops",
        each("<d>/<w>_<t>.tif", d=["20240103_SBS1", "20240105_SBS2_again", "240112_SBS10 late"],
             w=["A1", "B2"], t=[1, 2]),
        "",
        "*SBS{cycle}*/{well}_{tile}.tif",
        {"wells": ("A1", "B2"), "tiles": 4, "cycles": ("1", "2", "10")},
    ),
    "plates in folders that differ in words": (
        "ops",
        each("<p>/c<c>/<w>_<t>.tif", p=["Mouse A", "Häuser_B"], c=[1, 2], w=["A1", "B2"], t=[1, 2]),
        "",
        "{plate}/c{cycle}/{well}_{tile}.tif",
        {"wells": ("A1", "B2"), "tiles": 8, "cycles": ("1", "2")},
    ),
    "cycles in folders of numbers": (
        "ops",
        each("<c>/<w>_<t>.tif", c=[1, 2, 3], w=["A1", "B2"], t=[1, 2]),
        "",
        "{cycle}/{well}_{tile}.tif",
        {"wells": ("A1", "B2"), "tiles": 4, "cycles": ("1", "2", "3")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", LAYOUTS)
def test_a_known_layout_is_guessed_and_read(tmp_path, key):
    pipeline, names, vendor, pattern, facts = LAYOUTS[key]
    lay(tmp_path, *names)
    found = guess(tmp_path, pipeline)
    assert (found.vendor, found.files) == (vendor, pattern)
    assert found.count == len(names)
    assert not found.others
    assert {name: getattr(found, name) for name in facts} == facts
    spec = RawSpec(files=found.files, channels=found.channels, exclude=found.exclude)
    manifest = scan(spec, tmp_path)
    assert manifest.problems.empty, manifest.summary()
    assert len(manifest.tiles) == found.tiles


@pytest.mark.parametrize("key", LAYOUTS)
@pytest.mark.parametrize("size", [None, 0.325])
def test_the_block_for_the_configuration_is_yaml_that_is_valid(tmp_path, key, size):
    pipeline, names, *_ = LAYOUTS[key]
    options = {"ome": True, "metadata": {"PhysicalSizeX": size, "PhysicalSizeY": size}}
    lay(tmp_path, *names, **(options if size else {}))
    found = guess(tmp_path, pipeline)
    block = yaml.safe_load(raw_block(found))["raw"]
    spec = RawSpec(**block[found.role])
    assert scan(spec, tmp_path).problems.empty
    if pipeline == "ops":
        assert spec.pixel_size == size


def test_wavelengths_with_number_and_name_are_channels():
    names = each("p1_B02_z<z>_<c>.tif", z=["001", "002"], c=["w1DAPI", "w2Actin", "w3GFP 488"])
    (group,) = group_names(names, "organoid3d")
    assert group.pattern.endswith("_{well}_z{z}_{channel}.tif")
    assert len(group.names) == 6
    # Ids of MetaXpress begin with a letter at times, and are no names.
    text = "p_A01_s1_w1B2C3D4E5-F6A7-4890-AAAA-BBBBCCCCDDDD.tif"
    assert "{channel}" not in group_names([text], "organoid3d")[0].pattern


def test_thumbnails_are_left_out(tmp_path):
    names = each("p_<w>_s<s>_w1.TIF", w=["A01", "B01"], s=[1, 2])
    lay(tmp_path, *names, *(name.replace("_w1", "_w1_thumb") for name in names))
    found = guess(tmp_path, "ops")
    assert found.count == 4
    spec = RawSpec(**yaml.safe_load(raw_block(found))["raw"]["sbs"])
    assert scan(spec, tmp_path).problems.empty


HARMONY_5 = """<?xml version="1.0" encoding="utf-8"?>
<EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5"><Images>{}</Images>
</EvaluationInputData>"""
HARMONY_IMAGE = (
    '<Image Version="1"><URL>r01c02f0{f}p0{p}-ch{c}sk1fk1fl1.tiff</URL><Row>1</Row><Col>2</Col>'
    "<FieldID>{f}</FieldID><PlaneID>{p}</PlaneID><ChannelID>{c}</ChannelID>"
    '<ChannelName>{name}</ChannelName><ImageResolutionX Unit="m">6.5E-07</ImageResolutionX>'
    '<PositionX Unit="m">{x}</PositionX><PositionY Unit="m">-0.0002</PositionY>'
    '<PositionZ Unit="m">{z}</PositionZ></Image>'
)


@pytest.mark.parametrize("name", ["Index.idx.xml", "Index.xml"])
def test_harmony_index_gives_names_pixel_size_step_and_positions(tmp_path, name):
    from poolvox.shared.ingest.vendors import read_harmony

    lay(
        tmp_path, *each("Images/r01c02f0<f>p0<p>-ch<c>sk1fk1fl1.tiff", f=[1, 2], p=[1, 2], c=[1, 2])
    )
    images = "".join(
        HARMONY_IMAGE.format(f=f, p=p, c=c, name=["DAPI &amp; co", "GFP"][c - 1], x=f * 1e-4,
                             z=p * 2e-6)
        for f in (1, 2) for p in (1, 2) for c in (1, 2)
    )  # fmt: skip
    (tmp_path / "Images" / name).write_text("\ufeff" + HARMONY_5.format(images), "utf-8")
    found = guess(tmp_path, "organoid3d")
    assert found.channels == {"DAPI & co": "1", "GFP": "2"}
    assert found.spacing == {"y": 0.65, "x": 0.65, "z": 2.0}
    spec = RawSpec(**yaml.safe_load(raw_block(found))["raw"]["stacks"])
    assert spec.voxel_size == (2.0, 0.65, 0.65)
    assert scan(spec, tmp_path).channels == ("DAPI & co", "GFP")
    places = read_harmony(tmp_path).positions
    assert [(p.well, p.tile, p.y, p.x) for p in places] == [
        ("A2", "1", 200.0, 100.0),
        ("A2", "2", 200.0, 200.0),
    ]


def test_harmony_maps_of_newer_versions_are_read(tmp_path):
    lay(tmp_path, *each("Images/r01c02f01p01-ch<c>sk1fk1fl1.tiff", c=[1, 2]))
    entries = "".join(
        f'<Entry ChannelID="{c}"><ChannelName>N{c}</ChannelName>'
        '<ImageResolutionX Unit="m">1.49E-07</ImageResolutionX></Entry>'
        for c in (1, 2)
    )
    (tmp_path / "Images/Index.xml").write_text(f"<E><Maps><Map>{entries}</Map></Maps></E>")
    found = guess(tmp_path, "ops")
    assert found.channels == {"N1": "1", "N2": "2"}
    assert found.pixel_size == pytest.approx(0.149)


def test_damaged_or_hostile_metadata_are_noted_and_not_used(tmp_path):
    lay(tmp_path, "Images/r01c02f01p01-ch1sk1fk1fl1.tiff")
    index = tmp_path / "Images/Index.xml"
    index.write_text('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>')
    assert any("document type" in note for note in guess(tmp_path, "ops").notes)
    index.write_text("<a><b></a>")
    assert any("cannot be read" in note for note in guess(tmp_path, "ops").notes)


def test_cellvoyager_metadata_give_pixel_size_names_and_step(tmp_path):
    lay(tmp_path, *LAYOUTS["cellvoyager"][1])
    space = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
    (tmp_path / "MeasurementDetail.mrf").write_text(
        f'<bts:MeasurementDetail {space}><bts:MeasurementChannel bts:Ch="1" '
        'bts:HorizontalPixelDimension="0.1625" /></bts:MeasurementDetail>'
    )
    records = "".join(
        f'<bts:MeasurementRecord bts:Type="{kind}" bts:Row="2" bts:Column="3" bts:FieldIndex="1" '
        f'bts:X="10.5" bts:Y="-3" bts:Z="{z * 1.5}" bts:Ch="1">x</bts:MeasurementRecord>'
        for kind, z in (("IMG", 1), ("IMG", 2), ("ERR", 9))
    )
    text = f"<bts:MeasurementData {space}>{records}</bts:MeasurementData>"
    (tmp_path / "MeasurementData.mlf").write_text(text)
    (tmp_path / "s.mes").write_text(
        f'<bts:MeasurementSetting {space}><bts:Channel bts:Ch="1" bts:Target="DAPI"/>'
        '<bts:Channel bts:Ch="2" bts:Target="A647"/></bts:MeasurementSetting>'
    )  # fmt: skip
    found = guess(tmp_path, "ops")
    assert found.channels == {"DAPI": "01", "A647": "02"}
    assert found.spacing == {"y": 0.1625, "x": 0.1625, "z": 1.5}


def test_micromanager_metadata_give_names_and_sizes(tmp_path):
    lay(tmp_path, *LAYOUTS["micromanager files"][1])
    summary = {"ChNames": ["DAPI", "Cy3"], "z-step_um": -0.5}
    content = {"Summary": summary, "FrameKey-0-0-0": {"PixelSizeUm": 0.32}}
    (tmp_path / "Pos0/metadata.txt").write_text(json.dumps(content))
    found = guess(tmp_path, "ops")
    assert found.channels == {"DAPI": "000", "Cy3": "001"}
    assert found.spacing == {"y": 0.32, "x": 0.32, "z": 0.5}
    (tmp_path / "Pos0/metadata.txt").write_text(json.dumps(content)[:-4])
    assert any("not complete" in note for note in guess(tmp_path, "ops").notes)


def test_metaxpress_names_its_wavelengths(tmp_path):
    lay(tmp_path, *LAYOUTS["imagexpress"][1])
    (tmp_path / "Exp_Plate_7/Exp.HTD").write_text(
        '"HTSInfoFile", Version 1.0\n"NWavelengths", 2\n"WaveName1", "DAPI"\n"WaveName2", "FITC"\n'
    )
    assert guess(tmp_path, "ops").channels == {"DAPI": "1", "FITC": "2"}


def test_phenotype_images_beside_the_cycles_are_a_group_of_their_own(tmp_path):
    lay(tmp_path, *LAYOUTS["design"][1], data=np.stack([PIXELS] * 5))
    lay(tmp_path, *each("raw/pheno/W-<w>_T-<t>.tif", w=["A1", "B2"], t=range(9)), metadata=None)
    found = guess(tmp_path, "ops")
    assert (found.role, found.files) == ("sbs", LAYOUTS["design"][3])
    assert [(g.role, g.files) for g in found.others] == [
        ("phenotype", "raw/pheno/W-{well}_T-{tile}.tif")
    ]
    assert found.channels == tuple(f"channel{k}" for k in range(1, 6))
    assert any("channels" in note for note in found.notes)
    block = yaml.safe_load(raw_block(found))["raw"]
    for role in ("sbs", "phenotype"):
        assert scan(RawSpec(**block[role]), tmp_path).problems.empty


def test_labels_beside_the_images_are_not_taken_for_them(tmp_path):
    lay(tmp_path, *each("labels/A1_<o>.tif", o=[1, 2]), *each("images/A1_<o>.tif", o=[1, 2]))
    found = guess(tmp_path, "ops")
    assert found.files == "images/{well}_{tile}.tif"
    assert not found.others
    assert any("labels/{well}_{tile}.tif, are left out" in note for note in found.notes)


def test_words_that_differ_are_channels_and_time_points_are_stacks(tmp_path):
    stack = np.stack([PIXELS] * 9)
    lay(tmp_path, *each("T<t>_<c>.tif", t=["0301", "0303"], c=["nuclei", "membrane"]),
        *each("T<t>_nuclei_labels.tif", t=["0301", "0303"]), data=stack, metadata=None)  # fmt: skip
    found = guess(tmp_path, "organoid3d")
    assert (found.files, found.axes) == ("T{organoid}_{channel}.tif", "zyx")
    assert found.channels == ("membrane", "nuclei")
    spec = RawSpec(**yaml.safe_load(raw_block(found))["raw"]["stacks"])
    assert scan(spec, tmp_path).shape == (2, 9, 6, 8)


def test_the_number_of_a_channel_beside_its_name_is_ignored(tmp_path):
    names = [f"B{w}_01_{k}_{t}_{dye}_001.tif" for w in (7, 8) for t in (1, 2)
             for k, dye in ((1, "DAPI"), (2, "GFP"), (3, "RFP"))]  # fmt: skip
    lay(tmp_path, *names)
    found = guess(tmp_path, "ops")
    assert found.files == "{well}_01_{_}_{tile}_{channel}_001.tif"


def test_colours_that_no_place_has_both_of_are_no_channels(tmp_path):
    lay(tmp_path, "EGFP_d0_5.tif", "EGFP_d4_16.tif", "mCherry_d0_39.tif", "mCherry_d4_112.tif")
    found = guess(tmp_path, "organoid3d")
    assert found.files == "{_}_d{_}_{organoid}.tif"
    assert any("no place has two" in note for note in found.notes)
    assert found.tiles == 4


def test_files_with_names_of_their_own_are_tiles(tmp_path):
    lay(tmp_path, "images/afa272dc01.tif", "images/ec48x143.tif", "images/zebra.tif")
    found = guess(tmp_path, "ops")
    assert (found.files, found.tiles) == ("images/{tile}.tif", 3)


def test_what_is_unclear_is_said(tmp_path):
    lay(tmp_path, *each("A1_<a>_<b>.tif", a=[1, 2], b=[5, 6]))
    found = guess(tmp_path, "ops")
    assert any("taken for the tile" in note for note in found.notes)
    assert any("unclear what 5, 6" in note for note in found.notes)
    assert all(f"# {note}" in raw_block(found) for note in found.notes)


def test_stacks_without_metadata_are_taken_for_z_and_it_is_said(tmp_path):
    lay(tmp_path, "A1_1.tif", data=np.stack([PIXELS] * 20), metadata=None)
    found = guess(tmp_path, "organoid3d")
    assert (found.axes, found.channels) == ("zyx", ("channel1",))
    assert any("20 pages" in note for note in found.notes)
    spec = RawSpec(**yaml.safe_load(raw_block(found))["raw"]["stacks"])
    assert scan(spec, tmp_path).shape == (1, 20, 6, 8)


def test_init_says_how_to_name_channels_and_that_plates_run_apart(tmp_path):
    lay(tmp_path, *each("plate<p>/c<c>_A1_s1_ch<k>.tif", p=[1, 2], c=[1, 2], k=[1, 2]))
    notes = " ".join(guess(tmp_path, "ops").notes)
    assert "numbers only: name them in this order, e.g. [DAPI, G, T, A, C]" in notes
    assert "plates 1, 2: each is a run of its own" in notes


def test_one_bad_file_does_not_stop_a_guess(tmp_path):
    lay(tmp_path, *each("A1_<t>.tif", t=[2, 3]))
    (tmp_path / "A1_1.tif").write_bytes(b"")
    found = guess(tmp_path, "ops")
    assert found.count == 3
    assert any("0 bytes" in note for note in found.notes)


@pytest.mark.parametrize("name", [None, "notes.txt", ".hidden.tif"])
def test_a_folder_without_images_is_an_error(tmp_path, name):
    if name:
        (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match="holds no image"):
        guess(tmp_path, "ops")
    with pytest.raises(InputError, match="no folder"):
        guess(tmp_path / "absent", "ops")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["DAPI", "Größe"] * 3, ("DAPI", "Größe")),
        (["a.tif", "b.tif"] * 3, ("channel1", "channel2")),
        (["DAPI"] * 6, ("channel1", "channel2")),
        (["1", "2", "3", "4", "5", "6"], ("channel1", "channel2")),
        (["DAPI", ""] * 3, ("channel1", "channel2")),
        (None, ("channel1", "channel2")),
    ],
)
def test_labels_of_imagej_that_each_channel_has_to_itself_are_its_name(
    tmp_path, labels, names, order
):
    pixels = np.arange(3 * 2 * 6 * 8, dtype=np.uint16).reshape(3, 2, 6, 8)
    metadata = {"axes": "ZCYX"} | ({"Labels": labels} if labels else {})
    for well in ("A1", "A2"):
        path = tmp_path / f"{well}_T-1.tif"
        tifffile.imwrite(path, pixels, imagej=True, metadata=metadata, byteorder=order)
    assert guess(tmp_path, "ops").channels == names
    manifest = scan(RawSpec(files="{well}_T-{tile}.tif"), tmp_path)
    assert manifest.channels == (names if names[0] == "DAPI" else ("0", "1"))
    np.testing.assert_array_equal(manifest.read(manifest.tiles[0]), pixels.swapaxes(0, 1))


def test_labels_of_imagej_that_are_damaged_are_ignored(tmp_path):
    path = tmp_path / "A1_T-1.tif"
    pixels = np.zeros((2, 6, 8), np.uint16)
    metadata = {"axes": "CYX", "Labels": ["DAPI", "G"]}
    for damage in (b"XXXX\x00", b"JIJI\xff", b"\x00" * 5):
        tifffile.imwrite(path, pixels, imagej=True, metadata=metadata, byteorder="<")
        data = path.read_bytes()
        place = data.index(b"JIJI")
        path.write_bytes(data[:place] + damage + data[place + len(damage) :])
        assert guess(tmp_path, "ops").channels == ("channel1", "channel2")
