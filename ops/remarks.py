"""What is known of a screen before any work: how its channels, cycles and library are taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from poolvox.ops.library import Library, LibrarySpec
from poolvox.ops.steps import Optics
from poolvox.shared.ingest import Manifest

__all__ = ["describe_screen"]

# How many cycles are named.
NAMED = 12


def describe_screen(
    manifest: Manifest, optics: Optics, library: Library, spec: LibrarySpec
) -> Iterator[tuple[str, str]]:
    """Name what is there and how it will be read, each with a text of one line."""
    y, x = optics.spacing
    pixel = f"{y:g}" if y == x else f"{y:g} x {x:g}"
    height, width = manifest.sizes["y"], manifest.sizes["x"]
    yield "images", f"{height} x {width} pixels of {pixel} micrometres, {manifest.dtype.name}"
    yield "channels", _channels(optics, manifest.cycles)
    yield "cycles", _cycles(manifest.cycles)
    if gap := _gap(manifest.cycles):
        yield from _tell_gap(gap, manifest.cycles, spec)
    yield "library", _library(library)
    found = library.report.summary()
    for rows, what, which in zip(found["rows"], found["what"], found["which"]):
        yield "", f"{_count(rows, 'row')}: {what} (row {which})"
    if not library.controls.any():
        names = (spec.controls,) if isinstance(spec.controls, str) else spec.controls
        yield "", f"no guide or gene is called {' or '.join(names)}: correct library.controls"
    yield from (("note", text) for text in manifest.notes)


def _channels(optics: Optics, cycles: Sequence[str]) -> str:
    bases = ", ".join(optics.channels[k] for k in optics.bases)
    order = "in an order that the library will tell" if optics.find_order else _lit(optics)
    nuclei = "none" if optics.nuclear is None else optics.channels[optics.nuclear]
    if any(c == optics.nuclear for _, c in optics.absent):
        nuclei += f" of cycle {cycles[optics.stained]}"
    return f"nuclei {nuclei}; bases {bases}" + (f" ({order})" if order else "")


def _lit(optics: Optics) -> str:
    """Which bases light up in which channel, where the names of the channels do not say it."""
    chemistry = optics.chemistry
    columns = zip(*chemistry.table, strict=True)
    lit = ["".join(base for base, on in zip("ACGT", column) if on) for column in columns]
    if [name.upper() for name in chemistry.channels] == lit:
        return f"{chemistry.dark} is dark" if chemistry.dark else ""
    return ", ".join(f"{bases} in {name}" for name, bases in zip(chemistry.channels, lit))


def _cycles(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
    return f"{len(names)} ({shown})"


def _gap(names: Sequence[str]) -> list[int]:
    """Numbers that are left out between the first and the last cycle."""
    if not all(name.isdecimal() for name in names):
        return []
    numbers = {int(name) for name in names}
    return sorted(set(range(min(numbers), max(numbers))) - numbers) if numbers else []


def _tell_gap(
    gap: Sequence[int], names: Sequence[str], spec: LibrarySpec
) -> Iterator[tuple[str, str]]:
    """Ask for the bases that were read: a cycle may have been skipped, or done again."""
    if spec.cycles is not None:
        return
    shown, first = ", ".join(map(str, gap)), min(map(int, names))
    bases = ", ".join(str(int(name) - first + 1) for name in names)
    yield (
        "",
        (
            f"cycle {shown} is missing: if its base was not read, give library.cycles: [{bases}]; "
            f"as it is, the first {len(names)} bases are looked for"
        ),
    )


def _library(library: Library) -> str:
    guides, genes = (library.entries[name] for name in ("guide", "gene"))
    of_genes = f" of {_count(genes.nunique(), 'gene')}" if genes.nunique() > 1 else ""
    controls = int(library.controls[library.entries["word"]].sum())
    near = library.report.min_distance
    return (
        f"{_count(guides.nunique(), 'guide')}{of_genes}, {controls:,} of them controls; "
        f"{_count(len(library), 'barcode')} of {library.cycles} bases"
        + (f", {near} or more of them different" if near else "")
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
