"""Plans that cannot be run are refused by name, before any work."""

from functools import partial
from pathlib import Path

import pytest

from poolvox.shared.engine import Options, Unit, run_plan
from poolvox.shared.engine.layout import lay_out
from poolvox.shared.engine.selection import matches, select_units
from poolvox.shared.errors import EngineError

OUT = Path("/somewhere/out")
unit = partial(Unit, step="s", call=dict)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([unit("a"), unit("a")], "two units of the plan are called 'a'"),
        ([unit("a", needs=("b",))], "'a' needs 'b', which the plan does not have"),
        ([unit("a", needs=("a",))], "in a circle: a -> a"),
        (
            [unit("c", needs=("b",)), unit("b", needs=("d",)), unit("d", needs=("c",)), unit("x")],
            "in a circle: b -> d -> c -> b",
        ),
        (
            [unit("a", outputs=(OUT / "t",)), unit("b", outputs=(OUT / "t/",))],
            "'a' and 'b' would both write t",
        ),
        ([unit("a", outputs=(OUT,))], "not inside the run's folder"),
        ([unit("a", outputs=(OUT / "../raw",))], "not inside the run's folder"),
        ([unit("a", outputs=(OUT / "journal/x",))], "belongs to the engine"),
        ([unit("a", outputs=(OUT / "z",)), unit("b", outputs=(OUT / "z/l",))], "it must need 'a'"),
        ([unit("a", inputs=(OUT / "t",), outputs=(OUT / "t",))], "its input would be lost"),
        (
            [unit("a", outputs=(OUT / "t",)), unit("b", inputs=(OUT / "t",))],
            "under `needs` instead",
        ),
    ],
)
def test_a_wrong_plan_is_named(units, message):
    with pytest.raises(EngineError) as caught:
        lay_out(units, OUT)
    assert message in str(caught.value)


def test_parameters_must_be_json(tmp_path):
    with pytest.raises(EngineError, match="parameters of unit 'a' cannot be written as JSON"):
        run_plan([unit("a", params={"file": Path("x")})], tmp_path)


def test_order_keeps_to_the_plan_where_needs_allow():
    units = [unit("c", needs=("z",)), unit("b"), unit("z"), unit("a", needs=("b",))]
    assert list(lay_out(units, OUT).units) == ["b", "z", "c", "a"]


def test_nested_outputs_may_be_needed_through_others():
    outer = unit("outer", outputs=(OUT / "z",))
    inner = unit("inner", needs=("between",), outputs=(OUT / "z/labels/nuclei",))
    lay_out([outer, unit("between", needs=("outer",)), inner], OUT)


WHERE = {"plate": "P1", "well": "A1", "tile": "3"}


@pytest.mark.parametrize(
    ("pattern", "where", "fits", "fits_strictly"),
    [
        ("A1", WHERE, True, True),
        ("A1/3", WHERE, True, True),
        ("A1/4", WHERE, False, False),
        ("A?", WHERE, True, True),
        ("B*", WHERE, False, False),
        ("P1/A1/3", WHERE, True, True),
        ("P1", WHERE, False, False),
        ("*/3", WHERE, True, True),
        ("well=A1", WHERE, True, True),
        ("well=A1,tile=4", WHERE, False, False),
        ("plate=P*", WHERE, True, True),
        ("row=A", WHERE, True, False),
        ("A1/3", {"plate": "P1", "well": "A1"}, True, False),
        ("A1/3", {"plate": "P1", "well": "B1"}, False, False),
        ("A1", {"plate": "P1"}, True, False),
        ("A1", {}, True, False),
        ("well=A1", {"plate": "P1"}, True, False),
    ],
)
def test_places(pattern, where, fits, fits_strictly):
    assert matches(pattern, where) is fits
    assert matches(pattern, where, strict=True) is fits_strictly


PLAN = [
    Unit("align/1", "align", dict, where=WHERE),
    Unit("align/2", "align", dict, where={**WHERE, "well": "B1"}),
    Unit("decode/1", "decode", dict, needs=("align/1",), where=WHERE),
    Unit("decode/2", "decode", dict, needs=("align/2",), where={**WHERE, "well": "B1"}),
    Unit(
        "plate", "plate", dict, needs=("decode/1", "decode/2"), where={"plate": "P1"}, tolerant=True
    ),
]


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, {"align/1", "align/2", "decode/1", "decode/2", "plate"}),
        ({"only": ("A1",)}, {"align/1", "decode/1", "plate"}),
        ({"exclude": ("A1",)}, {"align/2", "decode/2", "plate"}),
        ({"only": ("?1",), "exclude": ("well=B1",)}, {"align/1", "decode/1", "plate"}),
        ({"steps": ("align",)}, {"align/1", "align/2"}),
        ({"steps": ("decode",), "only": ("A1",)}, {"align/1", "decode/1"}),
    ],
)
def test_selection(options, chosen):
    assert select_units(lay_out(PLAN, OUT), Options(**options)) == chosen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": ("decod",)}, "did you mean 'decode'?"),
        ({"only": ("C1",)}, "no unit is at 'C1'; a place looks like P1/A1/3 (plate=P1"),
        ({"exclude": ("row=A",)}, "no unit is at 'row=A'"),
    ],
)
def test_a_selection_of_nothing_is_refused(options, message):
    with pytest.raises(EngineError) as caught:
        select_units(lay_out(PLAN, OUT), Options(**options))
    assert message in str(caught.value)


def test_only_uses_what_lies_there(tmp_path):
    run_plan(PLAN, tmp_path, options=Options(only=("A1",)))
    summary = run_plan(PLAN, tmp_path)
    assert summary.reused == ("align/1", "decode/1")
    # Now the plate has one tile more to look at.
    assert summary.done == ("align/2", "decode/2", "plate")
    assert run_plan(PLAN, tmp_path, options=Options(only=("B1",))).done == ()


def test_a_hard_need_outside_the_selection_is_no_failure(tmp_path):
    units = [*PLAN[:4], Unit("all", "plate", dict, needs=("decode/1", "decode/2"))]
    summary = run_plan(units, tmp_path, options=Options(only=("A1",)))
    assert summary.skipped == {"all": "needs decode/2, which is not part of this run and not done"}
    assert summary.exit_code == 0
