"""Folders of StarDist models: found, checked, and understood without loading TensorFlow.

A folder holds `config.json`, weights (`*.h5`) and, as a rule, `thresholds.json`, as StarDist writes
them. `poolvox.json` beside them is ours and optional; it tells what the network was trained on:

    {"object_diameter": [6.0, 14.0, 14.0],   voxels, median over the training nuclei
     "voxel_size": [2.0, 0.5, 0.5],          micrometres, or null for a mixture
     "percentiles": [1.0, 99.8],             of the intensity, become 0 and 1
     "refine": true}                         outlines are moved to the edges in the stack afterwards
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolvox.shared.errors import InputError

__all__ = ["DEFAULT", "ModelFolder", "has_default", "read_model"]

Triple = tuple[float, float, float]
Whole = tuple[int, int, int]

# The network that ships with the package.
DEFAULT = Path(__file__).parent / "default"
# What StarDist takes where it finds no thresholds.
PROBABILITY, OVERLAP = 0.5, 0.4
# What StarDist's own examples scale intensities by.
PERCENTILES = (1.0, 99.8)
# Names that a configuration may give its rays; StarDist evaluates the name as code.
RAYS = (
    "Rays_Cartesian",
    "Rays_Explicit",
    "Rays_GoldenSpiral",
    "Rays_Octo",
    "Rays_SubDivide",
    "Rays_Tetra",
)
# Steps of the output's grid, in voxels, that StarDist can build.
GRIDS = (1, 2, 4, 8, 16)
HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as its files describe it.

    Attributes
    ----------
    path : the folder
    config : StarDist's configuration
    weights : the file of weights
    prob, nms : thresholds of the probability and of the overlap
    diameter : (z, y, x) of a training nucleus, voxels; None where nobody wrote it down
    percentiles : of the intensity, that become 0 and 1
    refine : outlines are moved to the edges in the stack afterwards
    notes : what is worth knowing
    """

    path: Path
    config: Mapping[str, Any]
    weights: Path
    prob: float
    nms: float
    diameter: Triple | None = None
    percentiles: tuple[float, float] = PERCENTILES
    refine: bool = False
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Whole:
        """Voxels per place of the network's output, by axis."""
        return _whole(self.config["grid"])

    @property
    def division(self) -> Whole:
        """Sizes and offsets of what the network is given must be multiples of this."""
        if self.config["backbone"] != "unet":
            return self.grid
        depth = int(self.config["unet_n_depth"])
        z, y, x = (
            int(p) ** depth * g for p, g in zip(self.config["unet_pool"], self.grid, strict=True)
        )
        return z, y, x

    @property
    def reach(self) -> Whole:
        """How far the input lies that an output depends on, in voxels, by axis."""
        z, y, x = (_reach(self.config, self.division[axis], axis) for axis in range(3))
        return z, y, x

    @property
    def rays(self) -> int:
        """Number of rays."""
        return int(self.config["n_rays"])

    @property
    def method(self) -> str:
        """What it is, in words."""
        limits = f"probability above {self.prob:.3g}, overlap {self.nms:.3g}"
        return f"network {self.path.name}, {limits}"

    def digest(self) -> str:
        """Hash of all that a result depends on."""
        total = hashlib.sha256(self.weights.read_bytes())
        known = (self.prob, self.nms, self.diameter, self.percentiles, self.refine)
        total.update(json.dumps([dict(self.config), known], sort_keys=True).encode())
        return total.hexdigest()


def has_default() -> bool:
    """Tell whether a network ships with this version."""
    return (DEFAULT / "config.json").is_file()


def read_model(model: str | Path) -> ModelFolder:
    """Read and check a model's folder.

    Parameters
    ----------
    model : `default`, or a folder

    Raises
    ------
    InputError
        where something is missing or broken
    """
    folder = DEFAULT if str(model) == "default" else Path(model).expanduser()
    if str(model) == "default" and not has_default():
        raise InputError("model: default: no network ships with this version; use classical")
    if not folder.is_dir():
        raise InputError(
            f"model {str(model)!r} is no folder: give default, classical, or the folder of a "
            "StarDist model with config.json, thresholds.json and weights_best.h5"
        )
    config = _read_json(folder / "config.json")
    if config is None:
        raise InputError(f"{folder} has no config.json, so it is no StarDist model")
    _check_config(config, folder)
    prob, nms, notes = _thresholds(folder)
    diameter, percentiles, refine = _training(folder)
    weights = _find_weights(folder)
    return ModelFolder(folder, config, weights, prob, nms, diameter, percentiles, refine, notes)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold names and values, got a {type(found).__name__}")
    return found


def _check_config(config: Mapping[str, Any], folder: Path) -> None:
    where = folder / "config.json"
    rays = config.get("rays_json")
    if config.get("n_dim") != 3 or not isinstance(rays, Mapping):
        raise InputError(f"{where} is not of a 3D StarDist model (n_dim is {config.get('n_dim')})")
    if rays.get("name") not in RAYS:
        known = ", ".join(RAYS)
        raise InputError(f"{where}: rays {rays.get('name')!r} are not known; expected {known}")
    if config.get("n_channel_in") != 1:
        raise InputError(
            f"{where}: the network takes {config.get('n_channel_in')} channels; expected 1, nuclei"
        )
    if config.get("backbone") not in ("unet", "resnet"):
        raise InputError(f"{where}: backbone {config.get('backbone')!r}; expected unet or resnet")
    needed = ["grid", "n_rays", f"{config['backbone']}_kernel_size"]
    needed += ["unet_n_depth", "unet_pool"] if config["backbone"] == "unet" else ["resnet_n_blocks"]
    missing = [name for name in needed if name not in config]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}")
    grid = config["grid"]
    if len(grid) != 3 or any(g not in GRIDS for g in grid):
        raise InputError(f"{where}: grid must be three of {GRIDS}, got {grid}")


def _thresholds(folder: Path) -> tuple[float, float, tuple[str, ...]]:
    path = folder / "thresholds.json"
    found = _read_json(path)
    if found is None:
        note = f"{folder.name} has no thresholds.json: {PROBABILITY} and {OVERLAP} are taken"
        return PROBABILITY, OVERLAP, (note,)
    values = [found.get("prob"), found.get("nms")]
    if not all(isinstance(v, int | float) and 0 < v < 1 for v in values):
        raise InputError(f"{path}: prob and nms must lie between 0 and 1, got {values}")
    return float(values[0]), float(values[1]), ()  # type: ignore[arg-type]


def _training(folder: Path) -> tuple[Triple | None, tuple[float, float], bool]:
    path = folder / "poolvox.json"
    found = _read_json(path) or {}
    diameter, percentiles = found.get("object_diameter"), found.get("percentiles", PERCENTILES)
    if diameter is not None and not _numbers(diameter, 3, 0, math.inf):
        raise InputError(f"{path}: object_diameter must be three sizes in voxels, got {diameter}")
    if not _numbers(percentiles, 2, -1e-9, 100 + 1e-9) or percentiles[0] >= percentiles[1]:
        raise InputError(f"{path}: percentiles must be two, from 0 to 100, got {percentiles}")
    refine = found.get("refine", False)
    if not isinstance(refine, bool):
        raise InputError(f"{path}: refine must be true or false, got {refine}")
    z, y, x = diameter or (0, 0, 0)
    size = (float(z), float(y), float(x)) if diameter else None
    return size, (float(percentiles[0]), float(percentiles[1])), refine


def _numbers(values: Any, count: int, low: float, high: float) -> bool:
    if not isinstance(values, list | tuple) or len(values) != count:
        return False
    return all(isinstance(v, int | float) and low < v < high for v in values)


def _find_weights(folder: Path) -> Path:
    """The file StarDist would take: the newest, `best` before others."""
    files = [path for end in ("*.h5", "*.hdf5") for path in folder.glob(end)]
    if not files:
        raise InputError(f"{folder} has no weights: expected weights_best.h5 beside config.json")
    best = [path for path in files if "best" in path.name] or files
    chosen = max(best, key=lambda path: (path.stat().st_mtime, path.name))
    with chosen.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            raise InputError(
                f"{chosen} holds no weights (it is not HDF5; {chosen.stat().st_size} bytes): copy "
                "it anew, with git lfs pull if it came from a repository"
            )
    return chosen


def _reach(config: Mapping[str, Any], division: int, axis: int) -> int:
    """Farthest input that an output depends on, over all positions within the division."""
    grid = int(config["grid"][axis])
    back = _unet_input if config["backbone"] == "unet" else _resnet_input
    farthest = 0
    for place in range(division // grid):
        low, high = back(config, axis, place, place)
        farthest = max(farthest, place * grid - low, high - place * grid)
    return farthest


def _unet_input(config: Mapping[str, Any], axis: int, low: int, high: int) -> tuple[int, int]:
    """Range of inputs behind a range of outputs of a U-Net."""
    half, pool = config["unet_kernel_size"][axis] // 2, config["unet_pool"][axis]
    wide = half * config.get("unet_n_conv_per_depth", 2)

    def behind(level: int, low: int, high: int) -> tuple[int, int]:
        low, high = low - wide, high + wide
        if level == config["unet_n_depth"]:
            return low, high
        deep_low, deep_high = behind(level + 1, low // pool, high // pool)
        low, high = min(low, deep_low * pool), max(high, deep_high * pool + pool - 1)
        return low - wide, high + wide

    after = half if config.get("net_conv_after_unet", 0) else 0
    low, high = behind(0, low - after, high + after)
    for step in reversed(_grid_steps(config, axis)):
        low, high = low * step - wide, high * step + step - 1 + wide
    return low, high


def _resnet_input(config: Mapping[str, Any], axis: int, low: int, high: int) -> tuple[int, int]:
    """Range of inputs behind a range of outputs of a residual network."""
    half = config["resnet_kernel_size"][axis] // 2
    after = half if config.get("net_conv_after_resnet", 0) else 0
    low, high = low - after, high + after
    steps = _grid_steps(config, axis)
    steps += [1] * (config["resnet_n_blocks"] - len(steps))
    for step in reversed(steps):
        wide = half * (config.get("resnet_n_conv_per_block", 3) - 1)
        low, high = (low - wide) * step - half, (high + wide) * step + half + step - 1
    return low - 4, high + 4


def _grid_steps(config: Mapping[str, Any], axis: int) -> list[int]:
    """Factors by which the network's first layers reach the grid, along one axis."""
    pooled, steps = [1, 1, 1], []
    grid = _whole(config["grid"])
    while pooled != list(grid):
        factors = [2 if g > p else 1 for g, p in zip(grid, pooled)]
        pooled = [p * f for p, f in zip(pooled, factors)]
        steps.append(factors[axis])
    return steps


def _whole(values: Any) -> Whole:
    z, y, x = (int(v) for v in values)
    return z, y, x
