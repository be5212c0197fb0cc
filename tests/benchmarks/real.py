"""Calls on real data, beside the published chain, for `ops.py`.

The data lie in `shared/data/ops` beside the checkout: one tile of a HeLa screen (Feldman et al.,
cheeseman-lab/OpticalPooledScreens, MIT) and an in-situ sequencing tile of mouse brain
(gerstung-lab/postcode, MIT).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from poolvox.ops.align import align_tile
from poolvox.ops.chemistry import resolve_chemistry
from poolvox.ops.classic import classic_peaks, classic_reads, classic_spots, estimate_classic
from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import ReadCalls, decode_reads
from poolvox.ops.decoys import make_decoys
from poolvox.ops.library import Library, LibrarySpec, make_library
from poolvox.ops.rates import fit_error_model
from poolvox.ops.signal import apply_corrections, estimate_corrections
from poolvox.ops.spots import find_spots, sample_bases

DATA = Path(__file__).parents[2] / "../shared/data/ops"
SEEDS = 5
ANCHOR = (0,)


def real_tables() -> Iterator[str]:
    if not DATA.is_dir():
        yield f"skipped: {DATA} is not there"
        return
    yield "HeLa screen (cheeseman-lab/OpticalPooledScreens, MIT), reads in cells:"
    yield from hela()
    yield "mouse brain tile (gerstung-lab/postcode, MIT), 50 codes of 4 bases:"
    yield from brain()


def hela() -> Iterator[str]:
    table = pd.read_csv(DATA / "hela_screen" / "A2_100_bases.csv.gz")
    order = ["A", "C", "G", "T"]
    wide = table.pivot_table(
        index=["read", "cell"], columns=["cycle", "channel"], values="intensity"
    )
    wide = wide.reindex(
        columns=pd.MultiIndex.from_product([sorted(table["cycle"].unique()), order])
    )
    light = wide.to_numpy(np.float32).reshape(len(wide), -1, 4)
    inside = wide.index.get_level_values("cell").to_numpy() > 0
    guides = pd.read_csv(DATA / "hela_screen" / "library.csv.gz")
    spec = LibrarySpec(file="library.csv", barcode="sgRNA", guide="sgRNA", gene="gene_symbol")
    library = make_library(guides, spec, light.shape[1])
    yield from compare(light[inside], library, "original chain 68.1 %; target 74 %")


def compare(light: np.ndarray, library: Library, note: str) -> Iterator[str]:
    """Reads mapped to library and decoys, by the published chain and by the posterior."""
    chemistry = resolve_chemistry("four-colour", "ACGT")
    shares = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        decoys = make_decoys(library, rng)
        names = Codebook.make(library, decoys).words[len(library) :]
        classic = classic_reads(light, chemistry, estimate_classic(light, chemistry), library)
        sequence = classic["Read_Sequence"]
        old = ((classic["Read_Barcode"] != "").mean(), sequence.isin(names).mean())
        corrections = estimate_corrections(light, chemistry, rng=rng)
        loglik = apply_corrections(light, corrections).loglik
        codebook = Codebook.make(library, decoys)
        calls = decode_reads(loglik, codebook, fit_error_model(loglik, codebook, rng=rng))
        shares.append((*old, *at_decoy_rate(calls, old[1]), *at_decoy_rate(calls, 1.0)))
    mean = 100 * np.mean(shares, axis=0)
    yield f"  {len(light)} reads, means of {SEEDS} sets of decoys ({note})"
    yield f"  classic    mapped {mean[0]:5.1f} %   to decoys {mean[1]:5.2f} %"
    yield f"  posterior  mapped {mean[2]:5.1f} %   to decoys {mean[3]:5.2f} %   (cut there)"
    yield f"  posterior  mapped {mean[4]:5.1f} %   to decoys {mean[5]:5.2f} %   (all over 0.5)"


def at_decoy_rate(calls: ReadCalls, most: float) -> tuple[float, float]:
    """Most reads that map while no more than a share of `most` goes to decoys; and that share."""
    usable = (calls.candidates[:, 0] >= 0) & (calls.posterior > 0.5)
    order = np.argsort(-calls.score, kind="stable")
    order = order[usable[order]]
    decoys = np.cumsum(calls.decoy[order]) / len(calls)
    mapped = np.cumsum(~calls.decoy[order]) / len(calls)
    last = int((decoys <= most).sum()) - 1
    return (float(mapped[last]), float(decoys[last])) if last >= 0 else (0.0, 0.0)


def brain() -> Iterator[str]:
    folder = DATA / "iss_mouse_brain"
    images = np.stack([tifffile.imread(folder / f"cycle{k}.tif") for k in range(1, 5)])
    codes = pd.read_csv(folder / "taglist.csv", encoding="utf-8-sig")
    spec = LibrarySpec(file="taglist.csv", barcode="Code", guide="Name", gene=None)
    library = make_library(codes, spec, 4)
    codebook = Codebook.make(library, make_decoys(library, np.random.default_rng(0)))
    chemistry = resolve_chemistry("four-colour", "GTAC")
    bases, rng = (1, 2, 3, 4), np.random.default_rng(0)
    alignment = align_tile(images, bases=bases, nuclear=None)
    spots = find_spots(images, alignment.transforms, ANCHOR)
    light = np.nan_to_num(sample_bases(images, alignment.transforms, spots, bases).intensity)
    corrections = estimate_corrections(light, chemistry, rng=rng)
    loglik = apply_corrections(light, corrections).loglik
    calls = decode_reads(loglik, codebook, fit_error_model(loglik, codebook, rng=rng))
    strongest = np.argsort(-spots["snr"].to_numpy(), kind="stable")
    best = library_share(loglik.argmax(axis=2), library)[strongest]
    called = calls.called[strongest]
    old = old_chain(images[:, 1:], chemistry, library)
    yield "  spots (strongest)   published spots, 98th percentile   ours, largest   ours, posterior"
    for count in sorted({250, 500, 1000, 2000, min(len(spots), len(old))}):
        if count <= min(len(spots), len(old)):
            row = [100 * part[:count].mean() for part in (old, best, called)]
            yield f"  {count:17d} {row[0]:34.1f} {row[1]:15.1f} {row[2]:17.1f}"


def old_chain(images: np.ndarray, chemistry, library: Library) -> np.ndarray:
    """Whether the code of each spot of the published chain is valid, strongest first."""
    light, spread = classic_spots(images)
    rows, columns = classic_peaks(spread, 0.0).T
    order = np.argsort(-spread[rows, columns], kind="stable")
    values = light[:, :, rows[order], columns[order]].transpose(2, 0, 1).astype(float)
    strong = values[: min(len(values), 2000)]
    values = values / np.maximum(np.percentile(strong, 98, axis=0), 1.0)
    dyes = chemistry.code.argmax(axis=1)
    return library_share(values[..., dyes].argmax(axis=2), library)


def library_share(codes: np.ndarray, library: Library) -> np.ndarray:
    weight = 4 ** np.arange(codes.shape[1])
    return np.isin(codes @ weight, library.codes.astype(np.int64) @ weight)
