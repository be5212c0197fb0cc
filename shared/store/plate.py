"""HCS plates: wells, fields and acquisitions, made in advance and entered as they are written.

The tiles that a plate shall have stand in our own metadata from the start. NGFF's lists name what
is there: a field enters its well when it is finished, a well its plate with its first field. So
viewers never meet a listed image that does not exist, and a failed tile costs only itself.
Tiles stand in the natural order of their names, so a plate does not depend on who came first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from poolvox.shared.errors import StoreError
from poolvox.shared.sorting import natural
from poolvox.shared.store.cycles import CycleStack
from poolvox.shared.store.images import Image
from poolvox.shared.store.metadata import NGFF, Document, locked, read_document, require_document

__all__ = ["Plate", "Well", "create_plate", "open_plate", "parse_well"]

# Rows and columns of the plates that are sold; NGFF lists what is physically there.
PLATE_FORMATS: Final = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))

WELL: Final = re.compile(r"([A-Za-z]{1,2})[-_/ ]?(\d{1,2})")
FIELD: Final = re.compile(r"[A-Za-z0-9]+")

# Viewers take an acquisition 0 for none.
FIRST_ACQUISITION: Final = 1


def parse_well(name: str) -> tuple[str, int]:
    """Row letters and column number of a well.

    Examples
    --------
    >>> parse_well("b03")
    ('B', 3)
    """
    match = WELL.fullmatch(name.strip())
    if not match:
        raise StoreError(f"well {name!r}: expected row letters and a column number, such as A1")
    return match[1].upper(), int(match[2])


def create_plate(
    path: Path | str,
    wells: Mapping[str, Sequence[str] | Mapping[str, int]],
    *,
    name: str | None = None,
    ngff: NGFF = "0.5",
    acquisitions: Sequence[str] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Plate:
    """Make a plate, or add wells and tiles to the one that is here; what is here stays.

    Parameters
    ----------
    path : folder of the store; MoBIE wants its name to end in `.zarr`
    wells : names of the tiles of each well; or, with several acquisitions, tile -> acquisition
    name : of the plate; by default that of the folder
    ngff : version; must be that of the plate when there is one already
    acquisitions : their names, numbered from 1
    meta : our own metadata: cycles, chemistry, anything JSON can hold

    Examples
    --------
    >>> plate = create_plate("P1.zarr", {"A1": ["0", "1"]}, name="P1")    # doctest: +SKIP
    """
    root = Path(path)
    sorted_wells = sorted(wells, key=_well_order)
    with locked(root):
        document = read_document(root)
        if document is None:
            document = Document(ngff, {"plate": _new_plate(name or root.stem, ngff, acquisitions)})
        elif "plate" not in document.ome:
            raise StoreError(f"{root} is no plate: choose another folder, or remove it")
        elif document.ngff != ngff:
            raise StoreError(f"{root} is a plate of NGFF {document.ngff}, not {ngff}: choose one")
        before = (repr(document.own), repr(document.ome))
        document.own.update(meta or {})
        declared = document.own.setdefault("wells", [])
        declared += [w for w in map(_well_path, sorted_wells) if w not in declared]
        _list_physical(document.ome["plate"], declared)
        if before != (repr(document.own), repr(document.ome)):
            document.write(root)
    for well in sorted_wells:
        _declare_tiles(root, document, _well_path(well), wells[well])
    return Plate(root)


def open_plate(path: Path | str) -> Plate:
    """Open a plate of NGFF 0.4 or 0.5, whoever wrote it."""
    root = Path(path)
    document = require_document(root)
    if "plate" not in document.ome:
        kind = "an image: use open_image" if "multiscales" in document.ome else "no plate"
        raise StoreError(f"{root} is {kind}")
    return Plate(root)


class Plate:
    """Wells by name: `plate["A1"]["7"]` is tile 7, `plate["A1"][0]` the first one."""

    def __init__(self, path: Path) -> None:
        """Point at a plate that is here; use `open_plate` or `create_plate`."""
        self.path = path

    def __repr__(self) -> str:
        """Show the path."""
        return f"Plate({str(self.path)!r})"

    @property
    def name(self) -> str:
        """Of the plate; of the folder where it has none."""
        return str(require_document(self.path).ome["plate"].get("name") or self.path.stem)

    @property
    def ngff(self) -> NGFF:
        """Version of the store."""
        return require_document(self.path).ngff

    @property
    def meta(self) -> dict[str, Any]:
        """Our own metadata: cycles, chemistry."""
        own = require_document(self.path).own
        return {key: value for key, value in own.items() if key != "wells"}

    @property
    def wells(self) -> list[str]:
        """Names of the wells, row by row, whether written already or not."""
        return list(self._paths())

    @property
    def acquisitions(self) -> dict[int, str]:
        """Names of the acquisitions by number."""
        entries = require_document(self.path).ome["plate"].get("acquisitions", [])
        numbered = [entry for entry in entries if isinstance(entry.get("id"), int)]
        return {entry["id"]: str(entry.get("name", entry["id"])) for entry in numbered}

    def __iter__(self) -> Iterator[str]:
        """Names of the wells."""
        return iter(self.wells)

    def __len__(self) -> int:
        """Number of wells."""
        return len(self.wells)

    def __contains__(self, well: str) -> bool:
        """Whether the plate has a well; A1 and A01 are the same."""
        return parse_well(well) in map(parse_well, self._paths())

    def __getitem__(self, well: str) -> Well:
        """Get a well; A1 and A01 are the same."""
        for name, path in self._paths().items():
            if parse_well(name) == parse_well(well):
                return Well(self.path, path)
        raise StoreError(f"{self.path} has no well {well!r}; it has: {', '.join(self.wells)}")

    def _paths(self) -> dict[str, str]:
        document = require_document(self.path)
        listed = [str(well["path"]) for well in document.ome["plate"].get("wells", [])]
        paths = {*document.own.get("wells", []), *listed}
        names = {path.replace("/", ""): path for path in paths}
        return dict(sorted(names.items(), key=lambda item: _well_order(item[0])))


class Well:
    """The tiles of one well, by name or by number."""

    def __init__(self, plate: Path, path: str) -> None:
        """Point at the well with `path` (row/column) in the plate."""
        self.name = path.replace("/", "")
        self.path = plate / path
        self._plate = plate
        self._place = path

    def __repr__(self) -> str:
        """Show the path."""
        return f"Well({str(self.path)!r})"

    @property
    def tiles(self) -> list[str]:
        """Names of the tiles, 2 before 10."""
        return list(self._fields())

    def __iter__(self) -> Iterator[str]:
        """Names of the tiles."""
        return iter(self.tiles)

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.tiles)

    def __getitem__(self, tile: str | int) -> Image:
        """Get a tile by its name, or by its number in the order of `tiles`."""
        fields = self._fields()
        names = list(fields)
        if isinstance(tile, int) and -len(names) <= tile < len(names):
            tile = names[tile]
        if tile not in fields:
            shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
            raise StoreError(f"{self.path} has no tile {tile!r}; it has: {shown or 'none'}")
        parts = fields[str(tile)]
        images = [self.path / part for part in parts]
        if len(parts) > 1:
            return CycleStack(images)
        return Field(images[0], self._plate, self._place)

    def _fields(self) -> dict[str, list[str]]:
        """Field paths by tile; several where each cycle is an acquisition of its own."""
        document = require_document(self.path)
        declared = document.own.get("tiles")
        if declared:
            return {str(tile["name"]): [str(tile["path"])] for tile in declared}
        rounds: dict[int, list[str]] = {}
        for image in document.ome.get("well", {}).get("images", []):
            rounds.setdefault(int(image.get("acquisition", 0)), []).append(str(image["path"]))
        first, *later = [rounds[number] for number in sorted(rounds)] or [[]]
        if any(len(paths) != len(first) for paths in later):
            counts = {number: len(paths) for number, paths in sorted(rounds.items())}
            raise StoreError(f"{self.path}: fields per acquisition differ, {counts}")
        return {path: [path, *(paths[i] for paths in later)] for i, path in enumerate(first)}


class Field(Image):
    """An image that enters its well, and the well its plate, when it is finished."""

    def __init__(self, path: Path, plate: Path, well: str) -> None:
        """Point at a field that knows its well."""
        super().__init__(path)
        self._plate = plate
        self._well = well

    @property
    def ngff(self) -> NGFF:
        """That of the plate."""
        return require_document(self._plate).ngff

    def _register(self) -> None:
        group = self._plate / self._well
        with locked(group):
            document = require_document(group)
            images = document.ome.setdefault("well", _new_well(document.ngff))["images"]
            if self.path.name in (image["path"] for image in images):
                return
            declared = {tile["path"]: tile for tile in document.own.get("tiles", [])}
            tile = declared.get(self.path.name, {})
            number = int(tile.get("acquisition", FIRST_ACQUISITION))
            images.append({"path": self.path.name, "acquisition": number})
            order = {path: index for index, path in enumerate(declared)}
            images.sort(key=lambda image: order.get(image["path"], len(order)))
            document.write(group)
        _enter_well(self._plate, self._well, len(images))


def _enter_well(root: Path, well: str, fields: int) -> None:
    with locked(root):
        document = require_document(root)
        plate = document.ome["plate"]
        known = any(entry["path"] == well for entry in plate["wells"])
        if known and plate.get("field_count", 0) >= fields:
            return
        plate["field_count"] = max(fields, plate.get("field_count", 0))
        if not known:
            row, column = well.split("/")
            rows, columns = ([one["name"] for one in plate[k]] for k in ("rows", "columns"))
            place = {"rowIndex": rows.index(row), "columnIndex": columns.index(column)}
            plate["wells"].append({"path": well, **place})
            plate["wells"].sort(key=lambda one: (one["rowIndex"], one["columnIndex"]))
        document.write(root)


def _new_plate(name: str, ngff: NGFF, acquisitions: Sequence[str] | None) -> dict[str, Any]:
    names = acquisitions or [name]
    listed = [{"id": i, "name": str(one)} for i, one in enumerate(names, FIRST_ACQUISITION)]
    empty: dict[str, Any] = {"rows": [], "columns": [], "wells": []}
    # The text of 0.5 still asks for a version here, besides the one of `ome`.
    return {"version": ngff, "name": name, "acquisitions": listed, **empty}


def _new_well(ngff: NGFF) -> dict[str, Any]:
    return {"version": ngff, "images": []}


def _list_physical(plate: dict[str, Any], wells: Sequence[str]) -> None:
    """List all rows and columns of the smallest plate on sale that has these wells."""
    placed = [_well_order(well) for well in wells]
    placed.append((len(plate["rows"]), len(plate["columns"])))
    last_row, last_column = (max(numbers) for numbers in zip(*placed))
    for rows, columns in PLATE_FORMATS:
        if last_row <= rows and last_column <= columns:
            break
    else:
        rows, columns = last_row, last_column
    plate["rows"] = [{"name": _row_name(i)} for i in range(1, rows + 1)]
    plate["columns"] = [{"name": str(i)} for i in range(1, columns + 1)]
    for entry in plate["wells"]:
        row, column = parse_well(entry["path"].replace("/", ""))
        entry |= {"rowIndex": _row_number(row) - 1, "columnIndex": column - 1}


def _declare_tiles(
    root: Path, plate: Document, well: str, tiles: Sequence[str] | Mapping[str, int]
) -> None:
    rounds = dict(tiles) if isinstance(tiles, Mapping) else {}
    numbers = [one.get("id") for one in plate.ome["plate"].get("acquisitions", [])]
    with locked(root / well):
        document = read_document(root / well) or Document(plate.ngff)
        declared = document.own.setdefault("tiles", [])
        before = len(declared)
        names, taken = ({str(tile[k]) for tile in declared} for k in ("name", "path"))
        for name in dict.fromkeys(map(str, tiles)):
            number = rounds.get(name, FIRST_ACQUISITION)
            if numbers and number not in numbers:
                raise StoreError(f"tile {name!r}: acquisition {number} is none of {numbers}")
            if name in names:
                continue
            path = _field_path(name, taken)
            taken.add(path)
            declared.append({"path": path, "name": name, "acquisition": number})
        declared.sort(key=lambda tile: natural(str(tile["name"])))
        if len(declared) != before or not document.ome:
            document.ome.setdefault("well", _new_well(plate.ngff))
            document.write(root / well)


def _field_path(tile: str, taken: set[str]) -> str:
    """The tile's own name where NGFF allows it, else a number; MoBIE finds digits only."""
    if FIELD.fullmatch(tile) and tile not in taken:
        return tile
    number = len(taken)
    while str(number) in taken:
        number += 1
    return str(number)


def _well_path(well: str) -> str:
    row, column = parse_well(well)
    return f"{row}/{column}"


def _well_order(well: str) -> tuple[int, int]:
    row, column = parse_well(well)
    return _row_number(row), column


def _row_number(row: str) -> int:
    """1 for A, 26 for Z, 27 for AA."""
    number = 0
    for letter in row:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def _row_name(number: int) -> str:
    return chr(ord("A") + number - 1) if number <= 26 else "A" + _row_name(number - 26)
