import gzip

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles import Record, annotate, read_annotation


@pytest.fixture
def objects():
    return pd.DataFrame(
        {
            "Metadata_Plate": ["P1", "P1", "P2", "P1"],
            "Metadata_Well": ["A1", "B12", "A1", "C3"],
            "Metadata_Guide": ["g1", "", None, "g2"],
            "Cells_Area": [1.0, 2.0, 3.0, 4.0],
        },
        index=[9, 9, 1, 0],
    )


@pytest.mark.parametrize(
    "wells", [["A1", "B12", "C3"], ["A01", "b12", "C03"], ["a001", "B12", "c3"]]
)
def test_wells_match_however_they_are_written(objects, wells):
    plate = pd.DataFrame({"well": wells, "Treatment": ["DMSO", "X", "Y"], "dose": [0.0, 1.5, 3.0]})
    record = Record()
    found = annotate(objects, plate, on="Metadata_Well", record=record)
    assert found.Metadata_Treatment.tolist() == ["DMSO", "X", "DMSO", "Y"]
    assert found.Metadata_Dose.tolist() == [0, 1.5, 0, 3]
    assert list(found) == [
        *("Metadata_Plate", "Metadata_Well", "Metadata_Guide"),
        *("Metadata_Treatment", "Metadata_Dose", "Cells_Area"),
    ]
    assert found.index.tolist() == objects.index.tolist()
    assert record.frame["what"].tolist() == ["added", "added"]


def test_several_keys_and_other_names(objects):
    table = pd.DataFrame({"barcode": ["P2", "P1"], "position": ["A01", "A01"], "Gene": ["b", "a"]})
    record = Record()
    on = {"Metadata_Plate": "barcode", "Metadata_Well": "position"}
    found = annotate(objects, table, on=on, record=record)
    assert found.Metadata_Gene.tolist()[::2] == ["a", "b"]
    assert found.Metadata_Gene.isna().tolist() == [False, True, False, True]
    assert record.frame.query("what == 'skipped'")["name"].tolist() == ["P1 B12", "P1 C3"]


def test_no_name_finds_nobody(objects):
    library = pd.DataFrame({"Metadata_Guide": ["g1", "g2", np.nan, ""], "gene": list("abcd")})
    found = annotate(objects, library, on="Metadata_Guide")
    assert found.Metadata_Gene.tolist()[0] == "a"
    assert found.Metadata_Gene.isna().tolist() == [False, True, True, False]


def test_numbers_and_categories_match_text(objects):
    objects["Metadata_Tile"] = pd.Categorical(["1", "2", "3", "10"])
    table = pd.DataFrame({"Tile": [1.0, 2.0, 10.0], "focus": [0.1, 0.2, 0.3]})
    assert annotate(objects, table, on="Tile").Metadata_Focus.tolist()[:2] == [0.1, 0.2]


def test_what_is_wrong_is_told(objects):
    doubled = pd.DataFrame({"Well": ["A1", "A01"], "x": [1, 2]})
    with pytest.raises(InputError, match="stand twice in the table, first A1"):
        annotate(objects, doubled, on="Well")
    with pytest.raises(InputError, match="no column 'Nope' in the objects"):
        annotate(objects, doubled, on="Nope")
    other = pd.DataFrame({"Well": ["A1", "B12"], "Metadata_Plate": ["P1", "P1"]})
    with pytest.raises(InputError, match="Metadata_Plate is there already, and differs in 1 rows"):
        annotate(objects, other, on="Well")
    same = other[other.Well == "B12"]
    assert list(annotate(objects, same, on="Well")) == list(objects)


def test_tables_are_read_as_they_are(tmp_path):
    text = "Gene,Well,n\nNA,A1,1\nnone,A2,\n"
    (tmp_path / "map.csv").write_text(text)
    (tmp_path / "map.tsv").write_text(text.replace(",", "\t"))
    (tmp_path / "map.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "excel.csv").write_text(text.replace(",", ";"), encoding="utf-8-sig")
    for name in ("map.csv", "map.tsv", "map.csv.gz", "excel.csv"):
        table = read_annotation(tmp_path / name)
        assert table.Gene.tolist() == ["NA", "none"]
        assert np.isnan(table.n[1])
    with pytest.raises(InputError, match=r"map\.xlsx does not exist"):
        read_annotation(tmp_path / "map.xlsx")
    (tmp_path / "map.csv").write_text("")
    with pytest.raises(InputError, match="not a readable table"):
        read_annotation(tmp_path / "map.csv")
