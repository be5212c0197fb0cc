import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from poolvox.ops.columns import LibraryColumns, guess_columns, read_library
from poolvox.ops.library import LibrarySpec, load_library
from poolvox.ops.template import write_template

DATA = Path(__file__).parents[2] / "../shared/data/ops"

LIBRARIES = {
    "as poolvox writes it": (
        "barcode,sgRNA,gene_symbol\nACGT,GGCA,nontargeting\nTTGC,CCAT,Actb",
        LibraryColumns("barcode", "sgRNA", "gene_symbol", "nontargeting"),
    ),
    "the guide is the barcode": (
        "sgRNA,gene_symbol,prefix_length,dialout\nACGT,Actb,4,0\nTTGC,NTC_1,4,1",
        LibraryColumns("sgRNA", "sgRNA", "gene_symbol", "ntc"),
    ),
    "codes of genes": (
        "Name,Code\nActb,AACG\nTh,TGGT",
        LibraryColumns("Code", None, "Name", "nontargeting"),
    ),
    "other separators and letters": (
        "guide_id;Target gene;seq\ng1;non-targeting;acgu\ng2;Negative;ttgc",
        LibraryColumns("seq", "guide_id", "Target gene", "nontargeting"),
    ),
    "ids of genes name no guides": (
        "tag,gene,gene_id\nACGT,Kcntc,1\nTTGC,Th,2",
        LibraryColumns("tag", None, "gene", "nontargeting"),
    ),
    "some cells are empty or wrong": (
        "barcode,name\n" + "\n".join(["ACGT,a"] * 18 + [",b", "ACGN,c"]),
        LibraryColumns("barcode", None, "name", "nontargeting"),
    ),
    "no barcodes": ("Gene,R1,R2\nA,0,1\nB,1,0", LibraryColumns(None, None, "Gene", "nontargeting")),
    "no rows": ("barcode,sgRNA\n", LibraryColumns(None, "sgRNA", None, "nontargeting")),
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
    assert found == LibraryColumns("barcode", None, "gene", "negative")


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
