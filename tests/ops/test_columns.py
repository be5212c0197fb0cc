import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from poolvox.ops.columns import LibraryColumns, guess_columns, read_library
from poolvox.ops.library import LibrarySpec, load_library
from poolvox.ops.template import write_template
from poolvox.shared.errors import InputError

DATA = Path(__file__).parents[2] / "../shared/data/ops"

LIBRARIES = {
    "as poolvox writes it": (
        "barcode,sgRNA,gene_symbol\nACGT,GGCA,nontargeting\nTTGC,CCAT,Actb",
        LibraryColumns("barcode", "sgRNA", "gene_symbol", ("nontargeting",)),
    ),
    "the guide is the barcode": (
        "sgRNA,gene_symbol,prefix_length,dialout\nACGT,Actb,4,0\nTTGC,NTC_1,4,1",
        LibraryColumns("sgRNA", "sgRNA", "gene_symbol", ("ntc",)),
    ),
    "codes of genes": (
        "Name,Code\nActb,AACG\nTh,TGGT",
        LibraryColumns("Code", None, "Name", ("nontargeting",)),
    ),
    "other separators and letters": (
        "guide_id;Target gene;seq\ng1;non-targeting;acgu\ng2;Negative;ttgc",
        LibraryColumns("seq", "guide_id", "Target gene", ("nontargeting",)),
    ),
    "ids of genes name no guides": (
        "tag,gene,gene_id\nACGT,Kcntc,1\nTTGC,Th,2",
        LibraryColumns("tag", None, "gene", ("nontargeting",)),
    ),
    "some cells are empty or wrong": (
        "barcode,name\n" + "\n".join(["ACGT,a"] * 18 + [",b", "ACGN,c"]),
        LibraryColumns("barcode", None, "name", ("nontargeting",)),
    ),
    "no barcodes": (
        "Gene,R1,R2\nA,0,1\nB,1,0",
        LibraryColumns(None, None, "Gene", ("nontargeting",)),
    ),
    "no rows": ("barcode,sgRNA\n", LibraryColumns(None, "sgRNA", None, ("nontargeting",))),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_columns_are_told_by_names_and_content(name, tmp_path):
    text, expected = LIBRARIES[name]
    path = tmp_path / "library.csv"
    path.write_text(text)
    assert guess_columns(read_library(path)) == expected


def test_a_large_library_is_judged_by_its_first_rows_its_controls_by_all():
    names = ["Actb"] * 20_000 + ["negative_7"]
    found = guess_columns(pd.DataFrame({"barcode": "ACGT", "gene": names}))
    assert found == LibraryColumns("barcode", None, "gene", ("negative",))


TABLE = "sgRNA,gene_symbol,barcode\ng1,Actb,ACGTT\ng2,µ-chain,TTGCA\n"


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "with a mark": TABLE.encode("utf-8-sig"),
        "UTF-16": TABLE.encode("utf-16"),
        "of Excel on Windows": TABLE.replace("\n", "\r\n").encode("cp1252"),
        "ends of lines of old": TABLE.replace("\n", "\r").encode(),
        "semicolons": TABLE.replace(",", ";").encode(),
        "tabs": TABLE.replace(",", "\t").encode(),
        "spaces round cells": TABLE.replace(",", " , ").encode(),
        "blank columns and rows": TABLE.replace("\n", ",,\n").encode() + b",,,,\n,,,,\n\n",
        "remarks above": b"# screen 12, 2024\n" + TABLE.encode(),
        "quotes": TABLE.replace("Actb", '"Actb"').encode(),
        # Without a time: names of tests hold the bytes, and are the same in all processes.
        "compressed": gzip.compress(TABLE.encode(), mtime=0),
    }.items(),
)
def test_tables_are_read_as_spreadsheets_and_scripts_write_them(name, data, tmp_path):
    path = tmp_path / "library.csv"
    path.write_bytes(data)
    frame = read_library(path)
    assert frame.columns.tolist() == ["sgRNA", "gene_symbol", "barcode"]
    rows = [["g1", "Actb", "ACGTT"], ["g2", "µ-chain", "TTGCA"]]
    assert frame.to_numpy().tolist() == rows, name


def test_one_column_has_no_separator(tmp_path):
    path = tmp_path / "library.csv"
    path.write_text("barcode\nACGTT\nTTGCA\n")
    assert read_library(path).to_dict("list") == {"barcode": ["ACGTT", "TTGCA"]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"ACGTTGCA,Actb\nTTGCAACG,Th\n", "begins with a barcode, ACGTTGCA: write a first line"),
        (b"PK\x03\x04rest", "save it as CSV"),
        (b"\x00\x01\x02", "is no text"),
        (b"\x1f\x8bcut", "cannot be read"),
        (b"a,b\n1,2\n1,2,3\n", "row 3 has 3 cells, the names of the columns are 2 (a, b)"),
    ],
)
def test_what_is_no_table_is_told_and_init_writes_it_down(data, said, tmp_path):
    (tmp_path / "raw").mkdir()
    path = tmp_path / "library.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=re.escape(said)):
        read_library(path)
    for cycle in (1, 2):
        tifffile.imwrite(tmp_path / f"raw/c{cycle}_A1_s1.tif", np.zeros((8, 8), np.uint16))
    text = write_template(tmp_path / "raw")
    assert said in text
    assert "# barcode: ?" in text


def test_a_table_that_names_no_library_is_passed_over(tmp_path):
    (tmp_path / "positions.csv").write_text("tile,x,y\n1,0,0\n")
    tifffile.imwrite(tmp_path / "c1_A1_s1.tif", np.zeros((8, 8), np.uint16))
    assert "no library was found" in write_template(tmp_path)
    (tmp_path / "sheet.csv").write_text("Code\nACGT\nTTGC\n")
    assert yaml.safe_load(write_template(tmp_path))["library"]["barcode"] == "Code"


@pytest.mark.parametrize(
    ("names", "controls"),
    [
        (["Non-Targeting Control", "Intergenic_3", "Th"], ("nontargeting", "intergenic")),
        (["positive control", "NTC_1"], ("ntc",)),
        (["sg-neg-control", "Negative"], ("negative",)),
        (["safe_harbor_1", "negative_regulator"], ("safeharbor",)),
        (["NT", "NTRK1", "positive control"], ("nt",)),
        (["LUC", "EGFP_2", "TP53"], ("luc", "egfp")),
    ],
)
def test_controls_of_several_kinds_are_named(names, controls):
    frame = pd.DataFrame({"barcode": "ACGT", "gene": names})
    assert guess_columns(frame).controls == controls


@pytest.mark.skipif(not DATA.is_dir(), reason="the public data is not beside the checkout")
@pytest.mark.parametrize(
    ("file", "barcode", "gene"),
    [
        ("libraries/CP228_codebook.csv", "sgRNA", "gene_symbol"),
        ("libraries/blainey_example_barcodes.csv", "barcode", None),
        ("hela_screen/library.csv.gz", "sgRNA", "gene_symbol"),
        ("iss_mouse_brain/taglist.csv", "Code", "Name"),
    ],
)
def test_columns_of_real_libraries(file, barcode, gene):
    found = guess_columns(read_library(DATA / file))
    assert (found.barcode, found.gene) == (barcode, gene)


def test_init_names_the_library_beside_the_images_and_its_columns(tmp_path):
    for cycle in (1, 2):
        for channel in ("DAPI", "G", "T", "A", "C"):
            path = tmp_path / f"raw/c{cycle}_A1_s1_{channel}.tif"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, np.zeros((8, 8), np.uint16))
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with gzip.open(tmp_path / "my_library.csv.gz", "wt") as file:
        file.write("Guide name,Gene,Bar code\nx-1,Actb,ACGT\nx-2,safe,TTGC\n")
    block = yaml.safe_load(write_template(tmp_path / "raw"))["library"]
    assert block["guide"] == "Guide name"
    assert block["barcode"] == "Bar code"
    library = load_library(LibrarySpec.model_validate(block), 2)
    assert library.words.tolist() == ["AC", "TT"]
    assert library.guides.tolist() == ["x-1", "x-2"]
