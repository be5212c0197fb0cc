from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from poolvox.shared.errors import InputError, StoreError
from poolvox.shared.store import join_tables, read_table, write_table


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "Cells_Shape_Area_um2": [1.5, np.nan, np.inf],
            "Metadata_Well": ["A1", "A1", "B2"],
            "Metadata_Barcode": ["", "", ""],
            "Metadata_Gene": pd.Categorical(["TP53", "", "TP53"]),
            "Metadata_Label": np.array([1, 2**60 + 1, 3]),
            "QC_Edge": [True, False, True],
            "Call_Posterior": np.array([0.1, 0.2, np.nan], "float32"),
        },
        index=[7, 8, 9],
    )


def test_what_is_written_comes_back(frame, tmp_path):
    back = read_table(write_table(frame, tmp_path / "new" / "t.parquet"))
    pd.testing.assert_frame_equal(back[frame.columns], frame.reset_index(drop=True))
    keys = [column.startswith("Metadata_") for column in back]
    assert keys == sorted(keys, reverse=True), "Metadata_ columns first"
    assert list(back)[4:] == ["Cells_Shape_Area_um2", "QC_Edge", "Call_Posterior"]


def test_equal_tables_are_equal_files(frame, tmp_path):
    first = write_table(frame, tmp_path / "a.parquet")
    second = write_table(frame.copy().reset_index(drop=True), tmp_path / "b.parquet")
    assert first.read_bytes() == second.read_bytes()


def test_missing_numbers_are_nan_and_not_null(frame, tmp_path):
    table = pq.read_table(write_table(frame, tmp_path / "t.parquet"))
    assert all(column.null_count == 0 for column in table.columns)
    assert set(table.schema.metadata) == {b"poolvox"}


def test_columns_come_in_the_order_asked_for(frame, tmp_path):
    path = write_table(frame, tmp_path / "t.parquet")
    assert list(read_table(path, ["QC_Edge", "Metadata_Well"])) == ["QC_Edge", "Metadata_Well"]
    with pytest.raises(InputError, match=r"no columns \['Cell'\]; it has: Metadata_Well"):
        read_table(path, ["Cell"])


@pytest.mark.parametrize("rows", [0, 1])
def test_short_tables_keep_their_columns(frame, tmp_path, rows):
    back = read_table(write_table(frame[:rows], tmp_path / "t.parquet"))
    assert len(back) == rows
    assert set(back) == set(frame)
    assert back["Metadata_Label"].dtype == "int64"


def test_text_has_one_type_on_disk_whatever_pandas_calls_it(tmp_path):
    files = set()
    for index, kind in enumerate(["object", "string", "string[pyarrow]"]):
        frame = pd.DataFrame({"Metadata_Well": pd.Series(["A1", ""], dtype=kind)})
        files.add(write_table(frame, tmp_path / f"{index}.parquet").read_bytes())
    assert len(files) == 1


def test_a_failed_write_leaves_the_old_table_and_no_rest(frame, tmp_path):
    path = write_table(frame, tmp_path / "t.parquet")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="'Odd' cannot be stored"):
        write_table(frame.assign(Odd=[1, "x", object()]), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


def test_doubled_columns_are_refused(frame, tmp_path):
    doubled = pd.concat([frame, frame[["QC_Edge"]]], axis=1)
    with pytest.raises(StoreError, match="QC_Edge"):
        write_table(doubled, tmp_path / "t.parquet")


def test_what_is_no_table_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="not a readable Parquet"):
        read_table(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="does not exist"):
        read_table(tmp_path / "u.parquet")


@pytest.mark.parametrize("cuts", [(), (1,), (0, 2), (3,)])
def test_joined_parts_are_written_as_the_whole(frame, tmp_path, cuts):
    # Categories are not text: their order is that of the part they come from.
    frame = frame.drop(columns="Metadata_Gene")
    whole = write_table(frame, tmp_path / "whole.parquet").read_bytes()
    edges = [0, *cuts, len(frame)]
    parts = []
    for start, stop in pairwise(edges):
        part = frame.iloc[start:stop]
        if not len(part):  # such as a tile without reads: its columns have no types of their own
            part = part.astype(object)
        parts.append(write_table(part, tmp_path / f"{start}-{stop}.parquet"))
    joined = join_tables(parts)
    assert write_table(joined, tmp_path / "joined.parquet").read_bytes() == whole


def test_joined_tables_without_rows_have_their_columns(frame, tmp_path):
    path = write_table(frame.iloc[:0], tmp_path / "t.parquet")
    assert join_tables([path, path]).column_names[0] == "Metadata_Well"
    assert len(join_tables([path, path])) == 0
