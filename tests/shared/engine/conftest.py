import pytest

from .small import write_raw


@pytest.fixture
def raw(tmp_path):
    write_raw(tmp_path / "raw", range(4))
    return tmp_path / "raw"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "screen"
