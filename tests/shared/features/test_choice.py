"""How groups are named, given options, and added by users."""

import sys
from importlib.metadata import EntryPoint
from typing import Annotated

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.config import Model, dump_config, load_config
from poolvox.shared.errors import ConfigError
from poolvox.shared.features import (
    FeatureGroups,
    choose_groups,
    extensions,
    find_objects,
    group_tokens,
    known_groups,
    measure,
    register,
    registry,
)
from poolvox.shared.features.choice import name_of, read_choices, split_choices
from poolvox.shared.features.granularity import GranularityOptions
from poolvox.shared.features.texture import TextureOptions

OWN = """
from dataclasses import dataclass
from poolvox.shared.features import Feature, register

@dataclass(frozen=True)
class Options:
    times: float = 1.0

@register("Reach", features=[Feature("Voxels", "count", "voxels")], options=Options(), common=False)
def reach(objects, options):
    return {"Voxels": objects.counts * options.times}
"""


class Config(Model):
    features: Annotated[FeatureGroups, known_groups(3, also=("graph",))] = ("shape",)


@pytest.fixture(autouse=True)
def groups_are_put_back(monkeypatch):
    monkeypatch.setattr(registry, "_GROUPS", dict(registry._GROUPS))
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("_poolvox_groups_") or name == "lab_reach":
            del sys.modules[name]


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "lab_reach.py"
    path.write_text(OWN)
    return path


def written(folder, text):
    path = folder / "run.yaml"
    path.write_text(text)
    return load_config(path, Config).features


def test_options_are_the_same_in_whatever_way_they_are_given(tmp_path):
    objects = TextureOptions(distances_um=(1.0, 2.0), levels=64)
    line = "texture: {levels: 64, distances_um: [1, 2]}"
    [group] = choose_groups([line], 2)
    assert group.options == objects
    block = "features:\n- texture:\n    levels: 64\n    distances_um: [1, 2]\n- shape\n"
    mapping = "features: {texture: {levels: 64, distances_um: [1, 2]}, shape: }"
    quoted = f"features: ['{line}', shape]"
    for text in (block, mapping, quoted):
        chosen = choose_groups(written(tmp_path, text), 3)
        assert [group.key for group in chosen] == ["texture", "shape"]
        assert chosen[0].options == objects
    # What a choice says itself comes before an object; what it does not say, after it.
    [group] = choose_groups(["texture: {levels: 16}"], 2, [objects])
    assert group.options == TextureOptions(distances_um=(1.0, 2.0), levels=16)


def test_configurations_load_to_what_they_were_written_from(tmp_path):
    text = "features: [shape, graph, granularity: {radii_um: [1, 2.5]}]"
    (tmp_path / "run.yaml").write_text(text)
    config = load_config(tmp_path / "run.yaml", Config)
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml", Config) == config
    assert choose_groups(config.features[2:], 3)[0].options == GranularityOptions((1.0, 2.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("features: [textur]", "did you mean 'texture'.*graph are groups without options"),
        ("features: [texture: {level: 3}]", "no option 'level': did you mean 'levels'"),
        ("features: [texture: {levels: many}]", "option levels: got 'many'"),
        ("features: [texture: {levels: 1}]", "texture.levels is 1: expected a number at least 2"),
        ("features: [texture: {distances_um: []}]", r"distances_um is \[\]: expected one or more"),
        ("features: [granularity: {radii_um: [2, 1]}]", "growing"),
        ("features: [granularity: {radii_um: [1, 1.0000001]}]", "growing"),
        ("features: [granularity: 3]", "got 3, expected options such as"),
        ("features: [radial: {shells: 0}]", "radial.shells is 0"),
        ("features: [shape, shape]", "'shape' is asked for twice"),
        ("features: [zernike]", "measures images of"),
        ("features: [shape: {size: 3}]", "'shape' has no options, got size"),
        ("features: [none_here.py:reach]", "there is no file .*none_here.py"),
        ("features: [none_here.at_all:reach]", "cannot import 'none_here.at_all'"),
        ("features: ['texture: {levels']", "expected a group such as"),
    ],
)
def test_mistakes_are_told_with_file_and_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        written(tmp_path, f"\n{text}\n")
    assert str(caught.value).startswith(str(tmp_path / "run.yaml") + ":2")


def test_lines_are_split_outside_of_brackets(tmp_path):
    line = "shape, texture: {levels: 64, sigmas_um: [1, 2]}, a/b.py:reach: {times: 2}"
    parts = split_choices(line)
    assert [name_of(part) for part in parts] == ["shape", "texture", "a/b.py:reach"]
    assert read_choices(line) == tuple(parts)
    assert read_choices(None) is None
    (tmp_path / "run.yaml").write_text("pipeline: ops\nfeatures: [shape, radial: {shells: 3}]\n")
    assert read_choices(str(tmp_path / "run.yaml")) == ("shape", 'radial: {"shells": 3}')
    (tmp_path / "none.yaml").write_text("pipeline: ops\n")
    with pytest.raises(ConfigError, match="called `features`"):
        read_choices(str(tmp_path / "none.yaml"))


def test_a_file_beside_the_configuration_adds_a_group(own):
    labels = np.array([[1, 1, 0, 2]])
    chosen = written(own.parent, "features: [lab_reach.py:reach: {times: 3}]")
    assert name_of(chosen[0]) == f"{own}:reach"
    table = measure(labels, spacing=1, groups=chosen)
    assert table["Nuclei_Reach_Voxels"].tolist() == [6, 3]
    # The next version of the file is measured with, and makes another token.
    before = group_tokens(["shape", *chosen, "graph"])
    own.write_text(OWN.replace("objects.counts", "100 + objects.counts"))
    table = measure(labels, spacing=1, groups=[f"{own}:reach"])
    assert table["Nuclei_Reach_Voxels"].tolist() == [102, 101]
    after = group_tokens(["shape", *chosen, "graph"])
    assert before[::2] == after[::2] == ["shape", "graph"]
    assert before[1] != after[1]


def test_a_module_or_an_installed_package_adds_a_group(own, monkeypatch):
    monkeypatch.syspath_prepend(own.parent)
    objects = find_objects(np.array([[1, 1]]), spacing=1)
    [group] = choose_groups(["lab_reach:reach: {times: 2}"], 2)
    assert group.measure(objects, group.options)["Voxels"].tolist() == [4]
    monkeypatch.delitem(registry._GROUPS, "reach")
    monkeypatch.delitem(sys.modules, "lab_reach")
    point = EntryPoint("reach", "lab_reach", extensions.GROUP)
    monkeypatch.setattr(extensions, "entry_points", lambda group: [point])
    assert choose_groups(["reach"], 3)[0].name == "Reach"


def test_modules_that_hold_no_such_group(own, tmp_path):
    with pytest.raises(ConfigError, match="registers no group of features 'grasp'"):
        choose_groups([f"{own}:grasp"], 2)
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    with pytest.raises(ConfigError, match=r"cannot import .*broken.py.*ZeroDivisionError"):
        choose_groups([f"{broken}:grasp"], 2)


def test_groups_of_this_package_are_not_replaced():
    with pytest.raises(ConfigError, match="'Shape' in poolvox: give yours another name"):
        register("Shape", features=[])(lambda objects, options: {})


def test_columns_follow_the_options_given_in_words():
    rng = np.random.default_rng(0)
    labels = np.ones((12, 12), int)
    groups = ["texture: {distances_um: [1], sigmas_um: [1]}", "granularity: {radii_um: [1, 2]}"]
    words = measure(labels, {"a": rng.random((12, 12))}, spacing=1, groups=groups)
    assert [c for c in words if "Granularity" in c] == [
        "Nuclei_Granularity_Spectrum_a_1um",
        "Nuclei_Granularity_Spectrum_a_2um",
    ]
    rng = np.random.default_rng(0)
    options = [TextureOptions((1.0,), sigmas_um=(1.0,)), GranularityOptions((1.0, 2.0))]
    objects = measure(
        labels,
        {"a": rng.random((12, 12))},
        spacing=1,
        groups=["texture", "granularity"],
        options=options,
    )
    pd.testing.assert_frame_equal(words, objects)
