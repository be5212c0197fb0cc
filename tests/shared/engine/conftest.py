import sys
from pathlib import Path

import pytest

# Worker processes import the units of these tests by name, so the checkout has to be on the path.
sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.shared.engine.small import write_raw


@pytest.fixture
def raw(tmp_path):
    write_raw(tmp_path / "raw", range(4))
    return tmp_path / "raw"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "screen"
