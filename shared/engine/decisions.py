"""Which units still hold: tokens of the plan against what the journal says was done."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from poolvox.shared.engine.inputs import Digest, Names, fingerprints, identity, stamp
from poolvox.shared.engine.journal import Past, Record
from poolvox.shared.engine.layout import Layout, output_name
from poolvox.shared.engine.plan import Unit
from poolvox.shared.engine.tokens import base_token, token

__all__ = ["ABSENT", "Ledger", "foretell"]

# In the place of the token of a unit that left nothing: it failed, was skipped or never ran.
ABSENT = "-"


class Ledger:
    """Tokens of the units of a plan, and what of an earlier run is still good."""

    def __init__(self, layout: Layout, journal: Past, output: Path) -> None:
        """Hash what is known of each unit before any work."""
        self._units = layout.units
        self._journal = journal
        self._output = os.fspath(output)
        self._bases = {key: base_token(unit) for key, unit in layout.units.items()}
        self._name = Names(output)
        # Identity of the inputs of each unit as the survey found them; None if not known.
        self._identities: dict[str, str | None] = {}
        # Token of what lies on the disk of each unit that is settled in this run.
        self.at: dict[str, str] = {}

    def hash_changed(self, *, threads: int) -> int:
        """Identify the inputs of done units; read those whose size or time is new, count them."""
        done = (unit for key, unit in self._units.items() if self._record(key, "done"))
        paths = {os.fspath(path) for unit in done for path in unit.inputs}
        hashes = {path: digest.hash for path in paths if (digest := self.known(path)) is not None}
        read = fingerprints(sorted(paths - hashes.keys()), threads=threads)
        self.learn(read)
        self._identify(hashes | {path: digest.hash for path, digest in read.items()})
        return len(read)

    def trust_unchanged(self) -> None:
        """Identify the inputs of done units without reading any: what is new counts as changed."""
        paths = {os.fspath(path) for unit in self._units.values() for path in unit.inputs}
        found = {path: self.known(path) for path in paths}
        self._identify({path: "" if d is None else d.hash for path, d in found.items()})

    def _identify(self, hashes: Mapping[str, str]) -> None:
        for key, unit in self._units.items():
            if self._record(key, "done"):
                self._identities[key] = identity(unit.inputs, hashes)

    def known(self, path: str) -> Digest | None:
        """Hash of an input, if it was read before and has not been touched since."""
        digest = self._journal.digests.get(self._name(path))
        return digest if digest is not None and digest.stamp == stamp(path) else None

    def learn(self, digests: Mapping[str, Digest]) -> None:
        """Keep hashes of inputs, for this run and the next."""
        found = {path: digest for path, digest in digests.items() if digest.stamp[0] >= 0}
        self._journal.remember({self._name(path): digest for path, digest in found.items()})

    def survey(self) -> dict[str, str]:
        """Foretell the state of every unit: `done`, `stale`, `failed` or `pending`."""
        at: dict[str, str] = {}
        states: dict[str, str] = {}
        for key, unit in self._units.items():
            record = self._journal.records.get(key)
            inputs = self._identities.get(key)
            expected = "" if inputs is None else self._token(unit, inputs, at)
            if record is None or record.state in ("begun", "skipped"):
                states[key] = "pending"
            elif record.state == "failed":
                states[key], expected = "failed", ABSENT
            else:
                holds = expected == record.token and self.is_there(record)
                states[key] = "done" if holds else "stale"
            at[key] = expected
        return states

    def still_good(self, key: str) -> bool:
        """Tell whether a unit was done just like this, and its files are there."""
        record = self._record(key, "done")
        if record is None or not self.is_there(record):
            return False
        inputs = self._identities.get(key)
        return inputs is not None and record.token == self._token(self._units[key], inputs, self.at)

    def token(self, key: str, hashes: Mapping[str, str]) -> str:
        """Token of a unit whose needs are settled."""
        unit = self._units[key]
        return self._token(unit, identity(unit.inputs, hashes), self.at)

    def on_disk(self, key: str) -> str:
        """Token of what an earlier run left of a unit that this run does not touch."""
        record = self._record(key, "done")
        return record.token if record is not None and self.is_there(record) else ABSENT

    def is_there(self, record: Record) -> bool:
        """Tell whether the outputs of a done unit exist, files in their size."""
        return all(_is_there(f"{self._output}/{n}", f) for n, f in record.outputs.items())

    def outputs(self, key: str) -> dict[str, str]:
        """Outputs of a unit: name below the run's folder -> path."""
        names = (output_name(path, self._output) for path in self._units[key].outputs)
        return {name: os.path.join(self._output, *name.split("/")) for name in names}

    def _record(self, key: str, state: str) -> Record | None:
        record = self._journal.records.get(key)
        return record if record is not None and record.state == state else None

    def _token(self, unit: Unit, inputs: str, at: Mapping[str, str]) -> str:
        needs = ((need, at[need]) for need in unit.needs)
        return token(self._bases[unit.key], inputs, needs)


def foretell(layout: Layout, output: Path, past: Past) -> dict[str, str]:
    """Foretell the state of every unit as `Ledger.survey` does, without reading any input."""
    ledger = Ledger(layout, past, output)
    ledger.trust_unchanged()
    return ledger.survey()


def _is_there(path: str, facts: tuple[int, str] | None) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    # What is in a folder is looked at by `verify` only: a store has many files.
    return facts is None or stat.S_ISDIR(found.st_mode) or found.st_size == facts[0]
