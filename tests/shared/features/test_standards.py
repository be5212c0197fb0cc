"""Values published by others: the IBSI digital phantom, cp_measure, CellProfiler, LSTree."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from poolvox.shared.features import measure
from poolvox.shared.features.granularity import GranularityOptions
from poolvox.shared.features.intensity import IntensityOptions
from poolvox.shared.features.texture import TextureOptions
from poolvox.shared.imaging.distance import distance_to

DATA = Path(__file__).parents[3] / "../shared/data"

# Image Biomarker Standardisation Initiative, doi:10.1148/radiol.2020191145; 0 is outside.
PHANTOM = """
1 4 4 1 1  1 4 6 1 1  4 1 6 4 1  4 4 6 4 1
1 4 4 1 1  1 1 6 1 1  0 1 3 1 1  4 4 6 1 1
1 4 4 0 0  1 1 1 1 1  1 1 0 1 1  1 1 6 1 1
1 4 4 0 0  1 1 1 1 1  1 1 1 1 1  1 1 6 1 1
"""
FIRST_ORDER = {
    "Mean": 2.15, "Skewness": 1.08, "Kurtosis": -0.355, "Median": 1, "Min": 1, "Max": 6,
    "MAD": 0, "RMS": 2.77, "CV": 0.812, "Entropy": 1.27,
}  # fmt: skip
# 3D, averaged over directions.
CO_OCCURRENCE = {
    "JointMaximum": 0.503, "JointVariance": 3.1, "Entropy": 2.4, "DifferenceAverage": 1.43,
    "DifferenceVariance": 3.06, "DifferenceEntropy": 1.56, "SumAverage": 4.29, "SumVariance": 7.07,
    "SumEntropy": 1.92, "AngularSecondMoment": 0.303, "Contrast": 5.32,
    "InverseDifferenceMoment": 0.618, "Correlation": 0.157, "Information1": -0.157,
    "Information2": 0.52,
}  # fmt: skip


@pytest.fixture(scope="module")
def phantom():
    grey = np.array(PHANTOM.split(), dtype=int).reshape(4, 4, 5)
    options = [TextureOptions(distances_um=(1.0,), levels=6), IntensityOptions(bins=6)]
    groups = ["intensity", "texture"]
    return measure(grey > 0, {"i": grey}, spacing=1, groups=groups, options=options).iloc[0]


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_phantom_first_order(phantom, name):
    assert phantom[f"Nuclei_Intensity_{name}_i"] == pytest.approx(FIRST_ORDER[name], abs=0.005)


def test_phantom_variance_energy_and_percentiles(phantom):
    assert phantom["Nuclei_Intensity_Std_i"] ** 2 == pytest.approx(3.05, abs=0.005)
    assert phantom["Nuclei_Intensity_RMS_i"] ** 2 * 74 == pytest.approx(567)
    assert phantom["Nuclei_Intensity_Quantile_i_75"] == 4


@pytest.mark.parametrize("name", CO_OCCURRENCE)
def test_phantom_co_occurrence(phantom, name):
    found = phantom[f"Nuclei_Texture_{name}_i_1um"]
    assert found == pytest.approx(CO_OCCURRENCE[name], abs=0.006)


def peers(labels, image, group, **options):
    from cp_measure.bulk import get_core_measurements

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_core_measurements()[group](labels, image, **options)


@pytest.mark.parametrize("scene", ["scene2d", "scene3d"])
def test_intensity_equals_cp_measure(scene, request):
    labels, images, _ = request.getfixturevalue(scene)
    ours = measure(labels, images, spacing=np.ones(labels.ndim), groups=["intensity"])
    theirs = peers(labels, images["a"], "intensity")
    same = {
        "Integrated": "IntegratedIntensity", "Mean": "MeanIntensity", "Std": "StdIntensity",
        "Min": "MinIntensity", "Max": "MaxIntensity", "Median": "MedianIntensity",
        "MAD": "MADIntensity", "EdgeIntegrated": "IntegratedIntensityEdge",
        "EdgeMean": "MeanIntensityEdge", "EdgeStd": "StdIntensityEdge",
        "MassDisplacement_um": "MassDisplacement",
    }  # fmt: skip
    for mine, other in same.items():
        found = ours[f"Nuclei_Intensity_{mine}_a"]
        np.testing.assert_allclose(found, theirs[f"Intensity_{other}"], rtol=1e-9, err_msg=mine)
    for quarter, other in ((25, "LowerQuartile"), (75, "UpperQuartile")):
        found = ours[f"Nuclei_Intensity_Quantile_a_{quarter}"]
        np.testing.assert_allclose(found, theirs[f"Intensity_{other}Intensity"], rtol=1e-9)


@pytest.mark.parametrize("scene", ["scene2d", "scene3d"])
def test_colocalisation_equals_cp_measure(scene, request):
    from cp_measure.bulk import get_correlation_measurements

    labels, images, spacing = request.getfixturevalue(scene)
    ours = measure(labels, images, spacing=spacing, groups=["colocalisation"])
    a, b = images["a"] / 65535, images["b"] / 65535
    theirs = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peers_of_pairs = get_correlation_measurements()
        if labels.ndim == 3:
            # Seconds of scanning, and the same code as in 2D.
            del peers_of_pairs["costes"]
        for name, function in peers_of_pairs.items():
            # The scan from above is Costes' own; their default halves intervals instead.
            scan = {"scale_max": 65535, "fast_costes": "Accurate"} if name == "costes" else {}
            theirs |= function(a, b, labels, **scan)
    for name in ("Pearson", "Slope"):
        found = ours[f"Nuclei_Colocalisation_{name}_a_b"]
        np.testing.assert_allclose(found, theirs[f"Correlation_{name}"], rtol=1e-9)
    for name, rtol in (("Manders", 1e-9), ("RWC", 1e-9), ("Costes", 0.03)):
        for side, number in (("first", 1), ("second", 2)):
            if f"Correlation_{name}_{number}" not in theirs:
                continue
            found = ours[f"Nuclei_Colocalisation_{name}_a_b_{side}"]
            expected = np.asarray(theirs[f"Correlation_{name}_{number}"])
            # Their thresholds come down in grey levels, and may stop at none at all.
            known = np.isfinite(expected)
            np.testing.assert_allclose(found[known], expected[known], rtol=rtol, err_msg=name)
            assert known.mean() > 0.8


@pytest.mark.parametrize("scene", ["scene2d", "scene3d"])
def test_texture_equals_cp_measure(scene, request):
    """Mean and range over directions, on the same grey levels, at a step of one voxel."""
    labels, images, _ = request.getfixturevalue(scene)
    image = images["a"]
    bytes_ = (1 + 40 * (image - image.min()) / np.ptp(image)).astype(np.uint8)
    options = [TextureOptions(distances_um=(1.0,), levels=256, bin_width=1.0)]
    ours = measure(labels, {"a": bytes_}, spacing=1.0, groups=["texture"], options=options)
    theirs = peers(labels, bytes_, "texture", scale=1)
    same = {
        "AngularSecondMoment", "Contrast", "Correlation", "InverseDifferenceMoment",
        "SumVariance", "SumEntropy", "Entropy", "DifferenceEntropy",
    }  # fmt: skip
    renamed = {"Variance": "JointVariance", "InfoMeas1": "Information1"}
    renamed |= {"InfoMeas2": "Information2"} | {name: name for name in same}
    for other, mine in renamed.items():
        each = np.array(
            [theirs[f"{other}_1_{d:02d}_256"] for d in range(4 if image.ndim == 2 else 13)]
        )
        stem = f"Nuclei_Texture_{mine}"
        np.testing.assert_allclose(ours[f"{stem}_a_1um"], each.mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose(ours[f"{stem}Range_a_1um"], np.ptp(each, axis=0), rtol=1e-8)


def test_zernike_equals_cp_measure(scene2d):
    labels, images, spacing = scene2d
    ours = measure(labels, spacing=spacing, groups=["zernike"]).filter(like="Magnitude")
    ours.columns = [name.split("Magnitude_")[1] for name in ours.columns]
    theirs = pd.DataFrame(peers(labels, images["a"], "zernike"))
    theirs.columns = [name.split("Zernike_")[1] for name in theirs.columns]
    difference = np.abs(ours[theirs.columns] - theirs).max(axis=1)
    # Pixels exactly on the circle are left out by centrosome when rounding puts them outside.
    assert len(theirs.columns) == 30
    assert difference.max() < 0.05
    assert difference.min() < 1e-9


def test_radial_and_granularity_follow_cp_measure(scene2d):
    labels, images, _ = scene2d
    options = [GranularityOptions(radii_um=tuple(range(1, 9)))]
    groups = ["radial", "granularity"]
    ours = measure(labels, images, spacing=1.0, groups=groups, options=options)
    theirs = peers(labels, images["a"], "radial_distribution")
    for ring in range(1, 5):
        found = ours[f"Nuclei_Radial_FracAtD_a_{ring}of4"]
        # Distance to the centre is straight with us, along the grid with them.
        expected = theirs[f"RadialDistribution_FracAtD_{ring}of4"]
        assert np.abs(found - expected).max() < 0.06
    spectrum = ours.filter(like="Granularity")
    assert (spectrum.to_numpy() >= 0).all()
    assert (spectrum.filter(like="_a_").sum(axis=1) <= 100 + 1e-3).all()


@pytest.mark.parametrize("time", [301, 303])
def test_lstree_table(time):
    """LSTree (MIT): the authors' own volumes and radii of an intestinal organoid."""
    folder = DATA / "organoid3d/budding_organoid"
    if not folder.exists():
        pytest.skip("the public data set is not beside this checkout")
    table = pd.read_csv(folder / f"T{time:04d}_features.csv")
    for region, column, feature in (
        ("nuclei", "nuclei_volume", "Volume_um3"),
        ("cell", "cell_volume", "Volume_um3"),
        ("nuclei", "nuclei_max_radius", "MaxRadius_um"),
    ):
        labels = tifffile.imread(folder / f"T{time:04d}_{region}_labels.tif")
        spacing = (2.0, 0.26, 0.26)
        ours = measure(labels, spacing=spacing, groups=["shape"])
        ours = ours.set_index("Metadata_Label")[f"Nuclei_Shape_{feature}"]
        theirs = published(table, column)
        common = ours.index.intersection(theirs.index)
        assert len(common) >= 11
        if feature == "MaxRadius_um":
            merged = radii_within_all(labels, spacing)[common]
            np.testing.assert_allclose(merged, theirs[common], rtol=1e-6)
            # Theirs runs on into a nucleus that touches; where none does, it is the same.
            differ = ~np.isclose(ours[common], theirs[common], rtol=1e-6)
            assert differ.sum() <= 2
            assert (ours[common] <= theirs[common] * (1 + 1e-6)).all()
            continue
        np.testing.assert_allclose(ours[common], theirs[common], rtol=1e-6)


def radii_within_all(labels, spacing):
    """Largest distance of a voxel of each object to background, other objects being no border."""
    found = {}
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            inside = np.pad(labels[box], 1)
            depth = distance_to(inside == 0, spacing=spacing)
            found[label] = float(depth[inside == label].max())
    return pd.Series(found)


def published(table, column):
    region, name = column.split("_", 1)
    rows = table[table["feature_name"].isin([column, name])]
    rows = rows[rows["region"] == region] if (rows["region"] == region).any() else rows
    return rows.set_index("object_id")["feature_value"].astype(float)


CELLPROFILER = {
    # ours: theirs, relative tolerance. The files hold the drawn masks, up to 1 % off those that
    # were measured, and images before their background was taken off: the difference of the means
    # is, here.
    "Shape_Area_um2": ("AreaShape_Area", 0.01),
    "Shape_Extent": ("AreaShape_Extent", 0.02),
    "Shape_EquivalentDiameter_um": ("AreaShape_EquivalentDiameter", 0.01),
    "Shape_MajorAxis_um": ("AreaShape_MajorAxisLength", 0.01),
    "Shape_MinorAxis_um": ("AreaShape_MinorAxisLength", 0.01),
    "Shape_Eccentricity": ("AreaShape_Eccentricity", 0.01),
    "Shape_EulerNumber": ("AreaShape_EulerNumber", 0),
    "Shape_MaxRadius_um": ("AreaShape_MaximumRadius", 0.01),
    "Shape_MeanRadius_um": ("AreaShape_MeanRadius", 0.02),
    "Shape_MedianRadius_um": ("AreaShape_MedianRadius", 0.02),
    "Shape_Solidity": ("AreaShape_Solidity", 0.025),
    "Shape_Perimeter_um": ("AreaShape_Perimeter", 0.06),
    "Zernike_Magnitude_0_0": ("AreaShape_Zernike_0_0", 0.015),
    "Intensity_Std_DAPI": ("Intensity_StdIntensity_DAPI", 0.02),
    "Colocalisation_Pearson_DAPI_GFP": ("Correlation_Correlation_DAPI_GFP", 0.04),
    "Radial_MeanFrac_DAPI_1of4": ("RadialDistribution_MeanFrac_DAPI_1of4", 0.06),
    "Radial_MeanFrac_DAPI_2of4": ("RadialDistribution_MeanFrac_DAPI_2of4", 0.01),
    "Radial_MeanFrac_DAPI_3of4": ("RadialDistribution_MeanFrac_DAPI_3of4", 0.015),
    "Radial_MeanFrac_DAPI_4of4": ("RadialDistribution_MeanFrac_DAPI_4of4", 0.05),
    "Intensity_Integrated_DAPI": ("Intensity_IntegratedIntensity_DAPI", 0.01),
    "Intensity_Median_DAPI": ("Intensity_MedianIntensity_DAPI", 0.005),
    "Intensity_MAD_DAPI": ("Intensity_MADIntensity_DAPI", 0.05),
    "Intensity_Max_DAPI": ("Intensity_MaxIntensity_DAPI", 0.005),
    "Intensity_Quantile_DAPI_25": ("Intensity_LowerQuartileIntensity_DAPI", 0.005),
    "Intensity_EdgeMean_DAPI": ("Intensity_MeanIntensityEdge_DAPI", 0.045),
    "Intensity_MassDisplacement_um_DAPI": ("Intensity_MassDisplacement_DAPI", 0.03),
    "Colocalisation_Overlap_DAPI_GFP": ("Correlation_Overlap_DAPI_GFP", 0.01),
    "Colocalisation_K_DAPI_GFP_first": ("Correlation_K_DAPI_GFP", 0.01),
    "Colocalisation_K_DAPI_GFP_second": ("Correlation_K_GFP_DAPI", 0.015),
    "Colocalisation_Manders_DAPI_GFP_first": ("Correlation_Manders_DAPI_GFP", 0.005),
    "Colocalisation_Manders_DAPI_GFP_second": ("Correlation_Manders_GFP_DAPI", 0.005),
}
# Means over directions. What weighs the distance (contrast and its kin) is left out: steps of
# three pixels along both axes are three along a diagonal there, two here.
CELLPROFILER_TEXTURE = {
    "Entropy": ("Entropy", 0.06),
    "SumEntropy": ("SumEntropy", 0.01),
    "DifferenceEntropy": ("DifferenceEntropy", 0.04),
    "JointVariance": ("Variance", 0.04),
    "Information2": ("InfoMeas2", 0.015),
}


def test_cellprofiler_table():
    """CytoDataFrame (BSD-3): CellProfiler's own values for five nuclei."""
    folder = DATA / "ops/cell_painting"
    if not folder.exists():
        pytest.skip("the public data set is not beside this checkout")
    table = pd.read_parquet(folder / "cellprofiler_features.parquet")
    assert len(table) == 5
    for _, row in table.iterrows():
        ours = measure_painted(folder, row)
        for mine, (other, rtol) in CELLPROFILER.items():
            expected = pytest.approx(row[f"Nuclei_{other}"], rel=rtol, abs=1e-9)
            assert ours[f"Nuclei_{mine}"] == expected, mine
        for mine, (other, rtol) in CELLPROFILER_TEXTURE.items():
            columns = [c for c in table if c.startswith(f"Nuclei_Texture_{other}_DAPI_3_")]
            expected = pytest.approx(row[columns].astype(float).mean(), rel=rtol)
            assert ours[f"Nuclei_Texture_{mine}_DAPI_3um"] == expected, mine
        # Widths between centres of pixels there, between corners here; angles from the y axis.
        for mine, other in (("FeretMax", "MaxFeretDiameter"), ("FeretMin", "MinFeretDiameter")):
            wider = ours[f"Nuclei_Shape_{mine}_um"] - row[f"Nuclei_AreaShape_{other}"]
            assert 0.8 < wider < 2.2
        turn = ours["Nuclei_Shape_Orientation_degree"] + row["Nuclei_AreaShape_Orientation"] - 90
        assert np.sin(np.radians(turn)) == pytest.approx(0, abs=0.02)


def measure_painted(folder, row):
    names = {channel: row[f"Image_FileName_{channel}"] for channel in ("DAPI", "GFP")}
    images = {c: tifffile.imread(folder / "images" / n) / 65535 for c, n in names.items()}
    stem = Path(names["DAPI"]).stem
    nuclei = ndimage.label(tifffile.imread(folder / "masks" / f"{stem}_MaskNuclei.tiff"))[0]
    y, x = (round(row[f"Nuclei_AreaShape_Center_{axis}"]) for axis in "YX")
    one = (nuclei == nuclei[y, x]).astype(np.uint8)
    for channel, image in images.items():
        mean = row[f"Nuclei_Intensity_MeanIntensity_{channel}"]
        images[channel] = image - (image[one > 0].mean() - mean)
    groups = ["shape", "zernike", "intensity", "radial", "colocalisation", "texture"]
    # Grey levels are 256 equal parts of the whole range there.
    texture = TextureOptions(distances_um=(3.0,), levels=256, bin_width=1 / 255)
    return measure(one, images, spacing=1.0, groups=groups, options=[texture]).iloc[0]
