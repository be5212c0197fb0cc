"""Run SCALLOPS 1.x on one tile, inside an environment of its own, for the comparison in `ops.py`.

    PYTHON scallops_tile.py TILE.npz OUT.parquet [FOLDER]

`TILE.npz` holds images (cycle, channel, Y, X) with the nuclear stain first, labels (Y, X), bases
(the letter of each base channel) and barcodes (already cut to the cycles). The chain is the one of
its documentation: align, LoG, standard deviation over cycles, peaks, crosstalk by medians, argmax,
correction of one mismatch, most supported barcode per label. The seconds of CPU of one pass with
the automatic threshold are printed as JSON. The table has one row per label and choice, so that
the best choice can be taken: threshold, mismatches, crosstalk by medians or by its other method,
cycles aligned alone or channels as well (which fails where channels have little in common). For the
choices of threshold only the last step is repeated: which barcode has most reads in each label, by
the rule of the package, whose own function is compared with it once.

With FOLDER, which holds one TIFF per cycle, the pass is timed from files instead, with its own
segmentation (watershed for nuclei and cells; its default, StarDist, needs weights from the net).
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import xarray as xr
from scallops.reads import (
    apply_channel_crosstalk_matrix,
    assign_barcodes_to_labels,
    channel_crosstalk_matrix,
    correct_mismatches,
    decode_max,
    peaks_to_bases,
)
from scallops.registration.crosscorrelation import align_image
from scallops.segmentation.watershed import segment_cells_watershed, segment_nuclei_watershed
from scallops.spots import find_peaks, max_filter, peak_thresholds_from_reads, std, transform_log

# Shares of the peaks that a threshold leaves out; crosstalk is estimated above the automatic one.
THRESHOLD_QUANTILES = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95)
CROSSTALK = ("median", "li_and_speed")
# Nuclei of the simulator, square pixels.
NUCLEUS_AREA = (20, 1500)


def align(images: np.ndarray, channels: bool = True):
    stack = xr.DataArray(images[:, :, None], dims=("t", "c", "z", "y", "x"))
    return align_image(
        stack,
        align_within_time_channels=list(range(1, images.shape[1])) if channels else None,
        align_between_time_channel=0,
        filter_percentiles=(0, 90),
    )


def detect(aligned):
    log = transform_log(aligned.isel(c=slice(1, None), z=0))
    return max_filter(log), find_peaks(std(log))


def segment(aligned) -> np.ndarray:
    low, high = NUCLEUS_AREA
    stain = np.asarray(aligned.isel(t=0, c=0, z=0))
    nuclei = segment_nuclei_watershed(
        aligned, threshold=float(np.median(stain)), area_min=low, area_max=high
    )
    cells = segment_cells_watershed(
        aligned, nuclei, cyto_channel=list(range(1, aligned.sizes["c"]))
    )
    return np.asarray(cells[0] if isinstance(cells, tuple) else cells)


def read(maxed, peaks, labels, bases, barcodes, method="median"):
    spots = peaks_to_bases(maxed, peaks, labels=labels, bases=bases)
    crosstalk = channel_crosstalk_matrix(spots, method=method)
    return decode_max(apply_channel_crosstalk_matrix(spots, crosstalk), barcodes)


def cells_of(reads: pd.DataFrame) -> pd.DataFrame:
    matched = reads[reads["barcode_match"]]
    return assign_barcodes_to_labels(matched) if len(matched) else pd.DataFrame()


def one_pass(maxed, peaks, labels, bases, barcodes) -> tuple[float, pd.DataFrame]:
    reads = read(maxed, peaks, labels, bases, barcodes)
    reads = correct_mismatches(reads, barcodes, n_mismatches=1)
    threshold = float(peak_thresholds_from_reads(reads)["threshold"].iloc[0])
    reads = reads[reads["peak"] > threshold]
    cells_of(reads)
    return threshold, reads


def sweep(maxed, peaks, labels, bases, barcodes, threshold: float) -> list[pd.DataFrame]:
    cuts = [threshold, *peaks["peak"].quantile(THRESHOLD_QUANTILES)]
    usable = peaks[peaks["peak"] > min(cuts)].reset_index(drop=True)
    tables = []
    for method in CROSSTALK:
        try:
            spots = peaks_to_bases(maxed, usable, labels=labels, bases=bases)
            strong = spots.isel(read=np.flatnonzero(spots["peak"].values > threshold))
            crosstalk = channel_crosstalk_matrix(strong, method=method)
            exact = decode_max(apply_channel_crosstalk_matrix(spots, crosstalk), barcodes)
        except (ValueError, IndexError, np.linalg.LinAlgError):
            continue  # its estimate of crosstalk can fail on few reads
        corrected = correct_mismatches(exact.copy(), barcodes, n_mismatches=1)
        for mismatches, reads in enumerate((exact, corrected)):
            for cut in cuts:
                cells = most_supported(reads[reads["peak"] > cut])
                chosen = {"threshold": cut, "mismatches": mismatches, "crosstalk": method}
                tables.append(cells.assign(**chosen))
    return tables


def most_supported(reads: pd.DataFrame) -> pd.DataFrame:
    """The first barcode of every label, as `assign_barcodes_to_labels` ranks them."""
    matched = reads[reads["barcode_match"] & (reads["label"] > 0)]
    groups = matched.groupby(["label", "barcode"], as_index=False)
    sums = groups.agg(Q_mean=("Q_mean", "sum"), peak=("peak", "sum"), count=("peak", "size"))
    sums = sums.sort_values(["label", "Q_mean", "peak"], ascending=[True, False, False])
    first = sums.drop_duplicates("label")[["label", "barcode", "count"]]
    return first.rename(columns={"barcode": "barcode_0", "count": "barcode_count_0"})


def same_rule(reads: pd.DataFrame) -> float:
    """Share of labels for which `most_supported` and the package name one barcode."""
    theirs = cells_of(reads[reads["label"] > 0])
    if "label" in theirs.columns:
        theirs = theirs.set_index("label")
    ours = most_supported(reads).set_index("label")["barcode_0"]
    return float((ours == theirs["barcode_0"].reindex(ours.index)).mean())


def from_files(folder: Path, bases, barcodes) -> None:
    files = sorted(folder.glob("*.tif"))
    aligned = align(np.stack([tifffile.imread(file) for file in files]))
    labels = segment(aligned)
    one_pass(*detect(aligned), labels, bases, barcodes)


def main() -> None:
    warnings.simplefilter("ignore")
    tile = np.load(sys.argv[1])
    images, labels, bases = tile["images"], tile["labels"], [str(b) for b in tile["bases"]]
    barcodes = pd.DataFrame({"barcode": tile["barcodes"].astype(str)})
    # Once on a corner, so that what is compiled or loaded at first use is not counted.
    corner = images[:, :, :256, :256]
    one_pass(*detect(align(corner)), labels[:256, :256], bases, barcodes)

    start = time.process_time()
    aligned = align(images)
    after_align = time.process_time()
    maxed, peaks = detect(aligned)
    detected = time.process_time()
    threshold, reads = one_pass(maxed, peaks, labels, bases, barcodes)
    end = time.process_time()
    seconds = {
        "cpu_s": end - start,
        "align_s": after_align - start,
        "detect_s": detected - after_align,
        "call_s": end - detected,
        "same_rule": same_rule(reads),
    }
    if len(sys.argv) > 3:
        start = time.process_time()
        from_files(Path(sys.argv[3]), bases, barcodes)
        seconds["files_cpu_s"] = time.process_time() - start
    made = sweep(maxed, peaks, labels, bases, barcodes, threshold)
    tables = [each.assign(channels=1) for each in made]
    maxed, peaks = detect(align(images, channels=False))
    tables += [
        t.assign(channels=0) for t in sweep(maxed, peaks, labels, bases, barcodes, threshold)
    ]
    table = pd.concat(tables, ignore_index=True)
    table.assign(label=table["label"].astype("int64")).to_parquet(sys.argv[2])
    print(json.dumps(seconds))


main()
