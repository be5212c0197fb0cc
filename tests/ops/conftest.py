from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from poolvox.ops.simulate import Guides, ScreenParams, preset, simulate_screen

WELLS = ("A1", "B2")


def tiny(tiles: int = 2) -> ScreenParams:
    """Two wells of small, clean tiles, quick to run."""
    params = preset("clean")
    layout = replace(params.layout, shape=(192, 192), cells=50)
    return replace(
        params,
        seed=5,
        wells=WELLS,
        tiles=tiles,
        cycles=7,
        layout=layout,
        guides=Guides(genes=12, guides_per_gene=2, controls=4),
        camera=replace(params.camera, drift=3.0),
    )


@pytest.fixture(scope="session")
def raw_screen(tmp_path_factory) -> Path:
    """Folder of a simulated screen; only to be read."""
    out = tmp_path_factory.mktemp("screen")
    simulate_screen(out, tiny())
    return out


@pytest.fixture
def screen(raw_screen, tmp_path) -> Path:
    """Configuration of a screen of its own, whose files are links to those that are shared."""
    for source in raw_screen.rglob("*"):
        target = tmp_path / "screen" / source.relative_to(raw_screen)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif source.suffix == ".tif":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(source)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return tmp_path / "screen" / "config.yaml"


@pytest.fixture
def change():
    """Change values of a configuration file."""

    def apply(path: Path, **blocks: dict) -> None:
        config = yaml.safe_load(path.read_text())
        for name, values in blocks.items():
            config[name] = {**config.get(name, {}), **values}
        path.write_text(yaml.safe_dump(config))

    return apply
