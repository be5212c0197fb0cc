"""Shape of objects: size, surface, widths, axes, convexity, topology."""

from __future__ import annotations

from typing import Any

import numpy as np

from poolvox.shared.features.hull import hull_measures
from poolvox.shared.features.kernels import Floats, Layout, kernel
from poolvox.shared.features.moments import principal_axes
from poolvox.shared.features.objects import Objects
from poolvox.shared.features.ordering import median_of
from poolvox.shared.features.registry import Feature, register
from poolvox.shared.features.surface import border_measure, euler_number, patterns
from poolvox.shared.features.topology import components_and_holes

__all__ = ["describe_shape", "measure_shape"]

CROFTON = "doi:10.54294/sqhkxj"
IBSI = "doi:10.1148/radiol.2020191145"
FERET_MIN = {
    2: (
        "least distance of two parallel lines that hold the hull of the pixels' "
        "corners between them"
    ),
    3: (
        "least distance of two parallel planes, one of them on a face of the hull "
        "of the voxels' corners"
    ),
}


def describe_shape(ndim: int, options: Any = None) -> tuple[Feature, ...]:
    """What the group returns for `ndim` axes."""
    return (*_size(ndim), *_axes(ndim), *_structure(ndim))


def _size(ndim: int) -> tuple[Feature, ...]:
    size, unit, s = ("Volume", "um3", "V") if ndim == 3 else ("Area", "um2", "A")
    positive, share = "(0, inf)", "(0, 1]"
    if ndim == 3:
        border = (
            Feature(
                "Surface_um2",
                "um2",
                (
                    "S: crossings of the border by lines in 13 directions, Crofton, weighted "
                    "by the spherical Voronoi cell of the direction in micrometres; the "
                    "image's border counts as background. CellProfiler triangulates and reads "
                    "8 to 20 % more"
                ),
                CROFTON,
                positive,
            ),
            Feature(
                "Sphericity",
                "",
                "(36 pi V^2)^(1/3) / S; a ball has 1, noise of the grid can lift it a little above",
                IBSI,
                "(0, ~1.1]",
            ),
        )
    else:
        border = (
            Feature(
                "Perimeter_um",
                "um",
                (
                    "P: crossings of the border by lines in 4 directions, Crofton, weighted by "
                    "the angle nearest to each in micrometres; holes included. CellProfiler "
                    "counts border pixels by type, which differs by a few percent"
                ),
                CROFTON,
                positive,
            ),
            Feature(
                "FormFactor",
                "",
                "4 pi A / P^2; a disk has 1, noise of the grid can lift it a little above",
                "",
                "(0, ~1.1]",
            ),
        )
    power = "(6 V / pi)^(1/3)" if ndim == 3 else "(4 A / pi)^(1/2)"
    return (
        Feature(
            f"{size}_{unit}", unit, f"{s}: number of voxels times the voxel's size", IBSI, positive
        ),
        *border,
        Feature("EquivalentDiameter_um", "um", power, "", positive),
        Feature("Extent", "", f"{s} over that of the bounding box", "", share),
        Feature(
            f"Hull{size}_{unit}",
            unit,
            (
                f"{size.lower()} of the convex hull of the voxels' corners. CellProfiler "
                "counts pixels of the drawn hull"
            ),
            "",
            positive,
        ),
        Feature("Solidity", "", f"{s} over that of the hull", "", share),
        Feature(
            "FeretMax_um",
            "um",
            (
                "greatest distance of two corners of the hull: the maximum diameter. "
                "CellProfiler measures between centres of pixels, one diagonal less"
            ),
            "",
            positive,
        ),
        Feature("FeretMin_um", "um", FERET_MIN[ndim], "", positive),
    )


def _axes(ndim: int) -> tuple[Feature, ...]:
    moments = (
        "l1 >= l2 >= ...: eigenvalues of the second moments in micrometres, each "
        "voxel with its own extent (spacing^2 / 12)"
    )
    length = "2 sqrt(5 li)" if ndim == 3 else "4 sqrt(li)"
    names = ("Major", "Middle", "Minor") if ndim == 3 else ("Major", "Minor")
    axes = tuple(
        Feature(
            f"{name}Axis_um",
            "um",
            (
                f"{length}, full axis {i} of the ellips{'oid' if ndim == 3 else 'e'} of "
                f"equal moments; {moments}"
            ),
            "",
            "(0, inf)",
        )
        for i, name in enumerate(names, 1)
    )
    ratio = Feature("Elongation", "", f"sqrt(l2 / l1), 1 when round; {moments}", IBSI, "(0, 1]")
    strain = Feature(
        "Strain",
        "",
        (
            "ln(ai / (product of all axes)^(1/ndim)): eigenvalues of the true strain "
            "that makes a ball into the ellipsoid of equal moments, largest first, sum "
            "0"
        ),
        "doi:10.1242/dev.204225",
        "(-inf, inf)",
        tuple(str(i + 1) for i in range(ndim)),
    )
    if ndim == 2:
        return (
            *axes,
            ratio,
            Feature("Eccentricity", "", "sqrt(1 - l2 / l1)", "", "[0, 1)"),
            Feature(
                "Orientation_degree",
                "degree",
                (
                    "angle of the major axis to the x axis, towards y, NaN when round; "
                    "CellProfiler's is from the y axis: 90 minus this"
                ),
                "",
                "(-90, 90]",
            ),
            strain,
        )
    return (
        *axes,
        ratio,
        Feature("Flatness", "", "sqrt(l3 / l1), 1 when round", IBSI, "(0, 1]"),
        Feature(
            "Anisotropy", "", "fractional anisotropy sqrt(3/2) |l - mean l| / |l|", "", "[0, 1]"
        ),
        Feature(
            "OrientationPolar_degree",
            "degree",
            "angle of the major axis to the z axis; NaN when round",
            "",
            "[0, 90]",
        ),
        Feature(
            "OrientationAzimuth_degree",
            "degree",
            (
                "angle of the major axis in the plane to the x axis, towards y; NaN when "
                "round or upright"
            ),
            "",
            "(-90, 90]",
        ),
        strain,
    )


def _structure(ndim: int) -> tuple[Feature, ...]:
    size, unit = ("Volume", "um3") if ndim == 3 else ("Area", "um2")
    inside = (
        "distance from a voxel's centre to the nearest centre outside, with "
        "spacing; the image's border counts as outside"
    )
    return (
        Feature(
            "EulerNumber",
            "count",
            "parts - tunnels + cavities, voxels that share a corner being connected",
            "doi:10.1007/978-3-540-78275-9_31",
            "(-inf, inf)",
        ),
        Feature("Components", "count", "connected parts (corners connect)", "", "[1, inf)"),
        Feature(
            f"Hole{size}_{unit}",
            unit,
            "background enclosed by the object (faces connect)",
            "",
            "[0, inf)",
        ),
        Feature(
            "MaxRadius_um",
            "um",
            f"largest of: {inside}. LSTree's runs on into objects that touch",
            "",
            "(0, inf)",
        ),
        Feature("MeanRadius_um", "um", f"mean of: {inside}", "", "(0, inf)"),
        Feature("MedianRadius_um", "um", f"median of: {inside}", "", "(0, inf)"),
    )


@register("Shape", features=describe_shape)
def measure_shape(objects: Objects, options: Any = None) -> dict[str, Floats]:
    """Measure the shape of every object; see `describe_shape` for what and how."""
    three = objects.ndim == 3
    size = objects.counts * objects.voxel_size
    name, unit = ("Volume", "um3") if three else ("Area", "um2")
    counted = patterns(objects)
    border, hull = border_measure(objects, counted), hull_measures(objects)
    parts, holes = components_and_holes(objects)
    radii = objects.reduce(_radii, np.empty((len(objects), 3)), objects.border_distance)
    sides = np.diff(objects.layout.box.reshape(-1, 3, 2), axis=2)[:, :, 0]
    found = {
        f"{name}_{unit}": size,
        "EquivalentDiameter_um": np.cbrt(6 * size / np.pi) if three else np.sqrt(4 * size / np.pi),
        "Extent": objects.counts / sides.prod(axis=1),
        f"Hull{name}_{unit}": hull["volume"],
        "Solidity": size / hull["volume"],
        "FeretMax_um": hull["longest"],
        "FeretMin_um": hull["narrowest"],
        "EulerNumber": euler_number(counted),
        "Components": parts,
        f"Hole{name}_{unit}": holes * objects.voxel_size,
        "MaxRadius_um": radii[:, 0],
        "MeanRadius_um": radii[:, 1],
        "MedianRadius_um": radii[:, 2],
        **_measure_axes(objects),
    }
    if three:
        return found | {"Surface_um2": border, "Sphericity": np.cbrt(36 * np.pi * size**2) / border}
    return found | {"Perimeter_um": border, "FormFactor": 4 * np.pi * size / border**2}


def _measure_axes(objects: Objects) -> dict[str, Floats]:
    values, vectors = principal_axes(objects)
    lengths = np.sqrt(values * (20 if objects.ndim == 3 else 16))
    logs = np.log(lengths)
    found = {
        "MajorAxis_um": lengths[:, 0],
        "MinorAxis_um": lengths[:, -1],
        "Elongation": lengths[:, 1] / lengths[:, 0],
        "Strain": logs - logs.mean(axis=1, keepdims=True),
    }
    # Equal axes have no direction: what the solver returns then is an accident of rounding.
    round_ = values[:, 0] - values[:, 1] <= 1e-9 * values[:, 0]
    major = np.where(round_[:, None], np.nan, vectors[:, :, 0])
    azimuth = _half_turn(major[:, -2], major[:, -1])
    if objects.ndim == 2:
        found["Eccentricity"] = np.sqrt(np.maximum(1 - values[:, 1] / values[:, 0], 0))
        return found | {"Orientation_degree": azimuth}
    spread = values - values.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(values, axis=1)
    return found | {
        "MiddleAxis_um": lengths[:, 1],
        "Flatness": lengths[:, 2] / lengths[:, 0],
        "Anisotropy": np.sqrt(1.5) * np.linalg.norm(spread, axis=1) / norm,
        "OrientationPolar_degree": np.degrees(np.arccos(np.minimum(np.abs(major[:, 0]), 1))),
        "OrientationAzimuth_degree": azimuth,
    }


def _half_turn(y: Floats, x: Floats) -> Floats:
    """Angle of an axis, which has no sign, in (-90, 90]; NaN where it has no length."""
    flipped = np.where(x < 0, -1.0, 1.0)
    angle = np.degrees(np.arctan2(y * flipped, x * flipped))
    angle = np.where(angle <= -90, 90.0, angle)
    return np.where(np.hypot(y, x) > 1e-9, angle, np.nan)


@kernel
def _radii(layout: Layout, distance: Floats, out: Floats, start: int, stop: int) -> None:
    for k in range(start, stop):
        inside = distance[layout.voxels[k] : layout.voxels[k + 1]]
        out[k, 0], out[k, 1], out[k, 2] = inside.max(), inside.mean(), median_of(inside)
