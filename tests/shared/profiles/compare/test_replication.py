import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.replication import percent_matching, percent_replicating


def wells(active, *, compounds=40, replicates=4, seed=0):
    """Compounds of which the first `active` do something; neighbours in pairs do the same."""
    rng = np.random.default_rng(seed)
    compound = np.repeat(np.arange(compounds), replicates)
    shift = 1.5 * rng.standard_normal((compounds // 2, 20))[compound // 2]
    values = rng.standard_normal((len(compound), 20)) + shift * (compound < active)[:, None]
    frame = pd.DataFrame(values, columns=[f"F{k}" for k in range(20)])
    frame["Metadata_Compound"] = [f"c{k:02}" for k in compound]
    frame["Metadata_Class"] = [f"m{k // 2:02}" for k in compound]
    return frame


def test_active_compounds_replicate():
    found = percent_replicating(wells(20), by="Metadata_Compound")
    agrees = found.table.set_index("Metadata_Compound")["Replication_Agrees"]
    assert agrees[:20].all()
    assert agrees[20:].sum() <= 5
    assert found.percent == pytest.approx(100 * agrees.mean())
    assert (found.table["Replication_Pairs"] == 6).all()


def test_by_chance_one_in_twenty_does():
    percent = [
        percent_replicating(wells(0, seed=k), by="Metadata_Compound").percent for k in (1, 2)
    ]
    assert np.mean(percent) < 15


def test_matching_counts_pairs_of_different_compounds_only():
    found = percent_matching(wells(20), by="Metadata_Class", differ="Metadata_Compound")
    assert (found.table["Replication_Pairs"] == 16).all()
    assert found.table["Replication_Agrees"][:10].all()
    # Replicates of one compound are no match of a class.
    alone = wells(20).assign(Metadata_Class=lambda f: f["Metadata_Compound"])
    none = percent_matching(alone, by="Metadata_Class", differ="Metadata_Compound")
    assert np.isnan(none.percent)


def test_order_does_not_matter_and_single_replicates_are_not_judged():
    frame = wells(6, compounds=12)
    one = percent_replicating(frame, by="Metadata_Compound")
    two = percent_replicating(frame.sample(frac=1, random_state=0), by=["Metadata_Compound"])
    pd.testing.assert_frame_equal(one.table, two.table)
    single = percent_replicating(frame.drop_duplicates("Metadata_Compound"), by="Metadata_Compound")
    assert np.isnan(single.percent)
    assert not single.table["Replication_Agrees"].any()
    with pytest.raises(InputError, match="Metadata_Guide"):
        percent_replicating(frame, by="Metadata_Guide")
