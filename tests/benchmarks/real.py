"""Calls on real data, beside the published chain, for `ops.py`.

The data lie in `shared/data/ops` beside the checkout: one tile of a HeLa screen (Feldman et al.,
cheeseman-lab/OpticalPooledScreens, MIT) and an in-situ sequencing tile of mouse brain
(gerstung-lab/postcode, MIT).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from poolvox.ops.align import align_tile
from poolvox.ops.chemistry import Chemistry, resolve_chemistry
from poolvox.ops.classic import classic_peaks, classic_reads, classic_spots, estimate_classic
from poolvox.ops.codebook import Codebook, find_strangers
from poolvox.ops.decode import decode_reads
from poolvox.ops.decoys import make_decoys
from poolvox.ops.library import Library, LibrarySpec, make_library
from poolvox.ops.rates import fit_error_model
from poolvox.ops.signal import apply_corrections, estimate_corrections
from poolvox.ops.spots import find_spots, sample_bases

DATA = Path(__file__).parents[2] / "../shared/data/ops"
SEEDS = 5
ANCHOR = (0,)
# Peaks of the published chain that are looked at; further ones are noise.
MOST_SPOTS = 1000


# Strongest spots at which the chains are compared, and those that the verdict is about.
SPOTS = (250, 500, 900)
JUDGED = 500


def real_tables() -> tuple[list[str], tuple[float, float, float, float]]:
    """Lines to print, and four numbers.

    Share of HeLa reads mapped where no more go to decoys than with the original chain, and by how
    much it is above that chain's; share of valid codes among the strongest ISS spots, and by how
    much it is above that of the largest base. All in percent, not-a-number without the data.
    """
    if not DATA.is_dir():
        return [f"skipped: {DATA} is not there"], (np.nan,) * 4
    screen, mapped = hela()
    tile, valid = brain()
    lines = [
        "HeLa screen (cheeseman-lab/OpticalPooledScreens, MIT), reads in cells:",
        *screen,
        "mouse brain tile (gerstung-lab/postcode, MIT), 50 codes of 4 bases, valid codes in %:",
        *tile,
    ]
    return lines, (*mapped, *valid)


def hela() -> tuple[list[str], tuple[float, float]]:
    table = pd.read_csv(DATA / "hela_screen" / "A2_100_bases.csv.gz")
    wide = table.pivot_table(
        index=["read", "cell"], columns=["cycle", "channel"], values="intensity"
    )
    columns = pd.MultiIndex.from_product([sorted(table["cycle"].unique()), list("ACGT")])
    light = wide.reindex(columns=columns).to_numpy(np.float32).reshape(len(wide), -1, 4)
    cell = wide.index.get_level_values("cell").to_numpy()
    guides = pd.read_csv(DATA / "hela_screen" / "library.csv.gz")
    spec = LibrarySpec(file="library.csv", barcode="sgRNA", guide="sgRNA", gene="gene_symbol")
    library = make_library(guides, spec, light.shape[1])
    inside, odd = cell > 0, cell % 2 == 1
    light, odd = light[inside], odd[inside]
    whole = np.ones(len(light), bool)
    runs = {
        "all reads": [(whole, whole)],
        "halves of the cells, rates from the other": [(odd, ~odd), (~odd, odd)],
    }
    lines, numbers = [], []
    for name, halves in runs.items():
        classic, posterior, sure = compare(light, library, halves)
        numbers.append((posterior[0], posterior[0] - classic[0]))
        lines += [
            f"  {len(light)} reads, means of {SEEDS} sets of decoys; {name}",
            f"    classic    mapped {classic[0]:5.1f} %   to decoys {classic[1]:5.2f} %",
            f"    posterior  mapped {posterior[0]:5.1f} %   to decoys {posterior[1]:5.2f} % (cut)",
            f"    posterior  mapped {sure[0]:5.1f} %   to decoys {sure[1]:5.2f} % (over 0.5)",
        ]
    return lines, numbers[0]


def compare(
    light: np.ndarray, library: Library, halves: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Percent of reads mapped to library and decoys, (3 chains, 2).

    Corrections and rates of errors are found from the first reads of each of `halves`, and used on
    the second.
    """
    chemistry = resolve_chemistry("four-colour", "ACGT")
    shares = []
    classic = classic_reads(light, chemistry, estimate_classic(light, chemistry), library)
    mapped = (classic["Read_Barcode"] != "").mean()
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        decoys = make_decoys(library, rng)
        names = Codebook.make(library, decoys).words[len(library) :]
        old = (mapped, classic["Read_Sequence"].isin(names).mean())
        scores = np.full((3, len(light)), -1.0)
        for known, other in halves:
            corrections = estimate_corrections(light[known], chemistry, rng=rng)
            signals = apply_corrections(light, corrections)
            loglik, steady = signals.loglik, signals.steady
            codebook = Codebook.make(library, decoys, find_strangers(loglik[known], library))
            model = fit_error_model(loglik[known], codebook, rng=rng, steady=steady[known])
            calls = decode_reads(loglik[other], codebook, model, steady=steady[other])
            usable = (calls.candidates[:, 0] >= 0) & (calls.posterior > 0.5)
            scores[:, other] = calls.score, calls.decoy, usable
        shares.append((old, at_decoy_rate(scores, old[1]), at_decoy_rate(scores, 1.0)))
    return 100 * np.mean(shares, axis=0)


def at_decoy_rate(reads: np.ndarray, most: float) -> tuple[float, float]:
    """Most reads that map while no more than a share of `most` goes to decoys; and that share.

    Parameters
    ----------
    reads : (3, read) score, whether it is a decoy's, whether the read is called at all
    """
    score, decoy, usable = reads
    order = np.argsort(-score, kind="stable")
    order = order[usable[order] > 0]
    decoys = np.cumsum(decoy[order]) / len(score)
    mapped = np.cumsum(1 - decoy[order]) / len(score)
    last = int((decoys <= most).sum()) - 1
    return (float(mapped[last]), float(decoys[last])) if last >= 0 else (0.0, 0.0)


def brain() -> tuple[list[str], tuple[float, float]]:
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
    signals = apply_corrections(light, corrections)
    loglik, steady = signals.loglik, signals.steady
    model = fit_error_model(loglik, codebook, rng=rng, steady=steady)
    calls = decode_reads(loglik, codebook, model, steady=steady)
    valid = np.stack([library_share(loglik.argmax(axis=2), library), calls.called], axis=1)
    valid = 100 * valid[np.argsort(-spots["snr"].to_numpy(), kind="stable")]
    old, light = old_chain(images[:, 1:], chemistry, library)
    # At the published chain's own spots and light, so that all see the same reads.
    corrections = estimate_corrections(light[:JUDGED], chemistry, rng=rng)
    signals = apply_corrections(light, corrections)
    loglik, steady = signals.loglik, signals.steady
    model = fit_error_model(loglik, codebook, rng=rng, steady=steady)
    same = decode_reads(loglik, codebook, model, steady=steady).called
    rows = np.stack([old, library_share(loglik.argmax(axis=2), library), same], axis=1) * 100
    lines = [
        "  strongest   its spots: published, our largest, posterior   our spots: largest, posterior"
    ]
    for count in SPOTS:
        theirs = "{:12.1f}{:12.1f}{:12.1f}".format(*rows[:count].mean(axis=0))
        ours = "{:20.1f}{:12.1f}".format(*valid[:count].mean(axis=0))
        lines.append(f"  {min(count, len(valid)):9d}{theirs}{ours}")
    largest, posterior = valid[:JUDGED].mean(axis=0)
    return lines, (float(posterior), float(posterior - largest))


def old_chain(
    images: np.ndarray, chemistry: Chemistry, library: Library
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the code of each spot of the published chain is valid, strongest first; its light."""
    light, spread = classic_spots(images)
    rows, columns = classic_peaks(spread, 0.0).T
    order = np.argsort(-spread[rows, columns], kind="stable")
    values = light[:, :, rows[order], columns[order]].transpose(2, 0, 1).astype(float)
    values = values[:MOST_SPOTS]
    scaled = values / np.maximum(np.percentile(values, 98, axis=0), 1.0)
    dyes = chemistry.code.argmax(axis=1)
    valid = library_share(scaled[..., dyes].argmax(axis=2), library)
    return valid, values.astype(np.float32)


def library_share(codes: np.ndarray, library: Library) -> np.ndarray:
    weight = 4 ** np.arange(codes.shape[1])
    return np.isin(codes @ weight, library.codes.astype(np.int64) @ weight)
