"""The profiles of a screen: what its tables of objects say about guides and genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from poolvox.ops.folder import Folder
from poolvox.ops.objects import ObjectChannels, describe_objects
from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.tables.datasets import ObjectTables

__all__ = ["profile_screen"]

# Cells below which there is nothing to compare.
MIN_CELLS: Final = 20
LEARNED_PARTS: Final = "parts/learned"


def profile_screen(
    folder: Folder,
    config: ProfilesConfig,
    channels: ObjectChannels,
    groups: Sequence[str],
    *,
    threads: int | None = None,
) -> dict[str, Any]:
    """Make the profiles of a run from its table of objects; too few cells are told, no failure.

    Features that are learned from images are learned from the nuclear stain, unless channels are
    named: base channels spell the barcodes.

    Parameters
    ----------
    threads : that work side by side, one per core if None; they change no result
    """
    from poolvox.shared.engine.resources import cores
    from poolvox.shared.profiles.learn.encoder import learned_objects
    from poolvox.shared.profiles.normalise.quality import TooFewPass
    from poolvox.shared.profiles.recipe import make_profiles

    objects = ObjectTables((folder.table("objects"),))
    out = folder.root / "profiles"
    if objects.rows < MIN_CELLS:
        few = f"no profiles: {objects.rows} cells were measured, {MIN_CELLS} or more are needed"
        return {"objects": objects.rows, "warnings": [few]}
    stain = (channels.nuclear,) if channels.nuclear is not None else ()
    path, learned = learned_objects(
        folder.table("objects"),
        folder.plate,
        config.embeddings,
        folder.root / LEARNED_PARTS,
        channels=stain,
    )
    try:
        made = make_profiles(path, config, out, fewest=MIN_CELLS, threads=threads or cores())
    except TooFewPass as few_pass:
        told = [*learned.get("warnings", ()), f"no profiles: {few_pass}"]
        return {**few_pass.facts, **learned, "warnings": told}
    describe_objects(groups).to_csv(out / "dictionary.csv", index=False, lineterminator="\n")
    return {**made.facts, **learned}
