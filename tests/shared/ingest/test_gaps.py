import pytest

from poolvox.shared.ingest import TileKey
from poolvox.shared.ingest.gaps import find_gaps


def plate(**wells):
    """Tiles of wells, from the numbers that each has."""
    return [TileKey("P1", well, str(n)) for well, tiles in wells.items() for n in tiles]


def test_a_whole_plate_has_no_gaps():
    assert find_gaps(plate(A1=range(25), A2=range(25), B1=range(25))) == []
    assert find_gaps([]) == []


def test_a_well_is_held_against_the_others():
    found = find_gaps(plate(A1=range(25), A2=range(23), B1=range(25)))
    assert found == [("well A2", "has no tiles 23, 24, which most other wells have")]


def test_of_two_wells_each_may_lack_what_the_other_has():
    found = find_gaps(plate(A1=range(1, 10), A2=range(2, 11)))
    assert found == [
        ("well A1", "has no tile 10, which the other well has"),
        ("well A2", "has no tile 1, which the other well has"),
    ]


def test_a_tile_that_one_well_has_beyond_the_others_is_no_gap():
    assert find_gaps(plate(A1=range(26), A2=range(25), B1=range(25))) == []


def test_numbers_that_go_on_from_well_to_well_are_no_gaps():
    assert find_gaps(plate(A1=range(25), A2=range(25, 50), B1=range(50, 75))) == []


def test_a_number_that_no_well_has():
    numbers = [n for n in range(1, 26) if n != 7]
    assert find_gaps(plate(A1=numbers)) == [
        ("well A1", "has no tile 7, though tiles go from 1 to 25")
    ]
    both = find_gaps(plate(A1=numbers, A2=numbers))
    assert both == [("all wells", "have no tile 7, though tiles go from 1 to 25")]


def test_numbers_that_are_few_among_many_do_not_count_tiles():
    assert find_gaps(plate(A1=[102, 107])) == []


def test_names_that_are_no_numbers_are_compared_too():
    tiles = [TileKey("P1", w, f"r{r}c{c}") for w in ("A1", "A2", "A3") for r in "12" for c in "12"]
    assert find_gaps(tiles) == []
    assert find_gaps(tiles[1:]) == [("well A1", "has no tile r1c1, which most other wells have")]


def test_many_are_counted_and_plates_named():
    tiles = [*plate(A1=range(40), A2=range(30)), TileKey("P2", "A1", "0")]
    (place, text), *rest = find_gaps(tiles)
    assert (place, rest) == ("plate P1, well A2", [])
    assert "30, 31, 32, 33, 34 and 5 more" in text


@pytest.mark.parametrize("key", [TileKey("P1", "A1", "", "3"), TileKey("P1", "A1", "2", "3")])
def test_organoids_are_not_counted(key):
    assert find_gaps([key, *plate(A1=[2], A2=[2])]) == []
