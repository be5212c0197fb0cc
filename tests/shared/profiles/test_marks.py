"""Controls that a table marks are known without being named."""

import pandas as pd
import pytest

from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.steps.marks import marked_controls
from poolvox.shared.profiles.tables.datasets import ObjectTables

GENES = ["TP53", "ntc", "safe", "TP53", ""]


@pytest.mark.parametrize(
    ("marks", "given", "controls"),
    [
        ([False, True, True, False, False], {}, ("ntc", "safe")),
        # Guides of a gene that others share are found by their mark.
        ([True, False, False, False, False], {}, ("Metadata_Control == True",)),
        ([False, True, True, False, False], {"controls": ["safe"]}, ("safe",)),
        (["no", "yes", "yes", "no", "no"], {}, ("nontargeting",)),
        (None, {}, ("nontargeting",)),
    ],
)
def test_what_the_configuration_says_comes_first(tmp_path, marks, given, controls):
    frame = pd.DataFrame({"Metadata_Gene": GENES, "Nuclei_Shape_Area_um2": 1.0})
    if marks is not None:
        frame["Metadata_Control"] = marks
    frame.to_parquet(tmp_path / "objects.parquet")
    config = ProfilesConfig.model_validate(given)
    assert (
        marked_controls(config, ObjectTables((tmp_path / "objects.parquet",))).controls == controls
    )
