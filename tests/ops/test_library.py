from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.planted import library_of

from poolvox.ops.decoys import make_decoys
from poolvox.ops.library import LibrarySpec, load_library, make_library
from poolvox.ops.words import WordIndex, decode_words, encode, nearest_distance, pack
from poolvox.shared.errors import InputError

DATA = Path(__file__).parents[2] / "../shared/data/ops"
SPEC = LibrarySpec(file="library.csv", guide="guide", gene="gene")


def table(*barcodes, guides=None, genes=None):
    n = len(barcodes)
    return pd.DataFrame(
        {
            "barcode": barcodes,
            "guide": guides or [f"g{i}" for i in range(n)],
            "gene": genes or [f"G{i}" for i in range(n)],
        }
    )


def test_words_keep_the_order_of_the_file_and_their_names():
    library = make_library(table("TTTTA", "ACGTA", "CCGTA"), SPEC, 4)
    assert library.words.tolist() == ["TTTT", "ACGT", "CCGT"]
    assert library.guides.tolist() == ["g0", "g1", "g2"]
    assert library.next_base.tolist() == [0, 0, 0]
    assert library.contiguous


def test_a_word_of_several_guides_is_kept_but_names_none():
    library = make_library(table("ACGTA", "ACGTC", "TTTTA", genes=["X", "X", "Y"]), SPEC, 4)
    assert library.words.tolist() == ["ACGT", "TTTT"]
    assert library.ambiguous.tolist() == [True, False]
    assert library.guides.tolist() == ["", "g2"]
    assert library.genes.tolist() == ["X", "Y"]  # both guides are of one gene
    assert library.report.count("ambiguous") == 2
    assert library.entries["word"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("barcode", "kind", "word"),
    [
        ("acgtc", "lower case", "ACGTC"),
        ("ACGUC", "U", "ACGTC"),
        ("AC GTC", "spaces", "ACGTC"),
        ("ACGNC", "letters", None),
        ("ACG", "length", None),
        ("", "empty", None),
        ("AAAAA", "homopolymer", "AAAAA"),
        ("GATTT", "low distance", "GATTT"),
        ("GATTA", "duplicate", "GATTA"),
    ],
)
def test_findings_are_reported_and_mended_where_they_can_be(barcode, kind, word):
    frame = table("GATTA", "TCCGC", "CTTAG", barcode, guides=["a", "b", "c", "a"])
    library = make_library(frame, SPEC, 5)
    assert library.report.count(kind) >= 1
    assert kind in str(library.report)
    assert (word in library.words) == (word is not None)


def test_skipped_cycles_take_the_positions_that_were_imaged():
    spec = SPEC.model_copy(update={"cycles": (1, 2, 3, 5)})
    library = make_library(table("ACGTA", "TTTCC"), spec, 4)
    assert library.words.tolist() == ["ACGA", "TTTC"]
    assert not library.contiguous


@pytest.mark.parametrize("cycles", [(1, 2, 3), (0, 1, 2, 3), (1, 1, 2, 3), (4, 3, 2, 1)])
def test_wrong_lists_of_cycles_are_refused(cycles):
    with pytest.raises(InputError, match=r"library\.cycles"):
        make_library(table("ACGTA"), SPEC.model_copy(update={"cycles": cycles}), 4)


def test_two_barcodes_are_read_one_after_the_other():
    frame = pd.DataFrame({"one": ["ACGT", "CCCC"], "two": ["TTAA", "GGAA"]})
    spec = LibrarySpec(file="l.csv", barcode=("one", "two"), cycles=((1, 2, 3), (1, 2)))
    library = make_library(frame, spec, 5)
    assert library.words.tolist() == ["ACGTT", "CCCGG"]
    assert decode_words(library.part(1)).tolist() == ["GG", "TT"]
    with pytest.raises(InputError, match="two lists"):
        make_library(frame, spec.model_copy(update={"cycles": None}), 5)


def test_barcodes_shorter_than_the_cycles_are_an_error():
    with pytest.raises(InputError, match="shorter than the 6 cycles"):
        make_library(table("ACGTA", "TTTTA"), SPEC, 6)


def test_a_wrong_column_says_what_there_is(tmp_path):
    path = tmp_path / "library.tsv"
    path.write_text("\ufeffname\tcode\ta b\nx\tACGT\t1\ny\tTTTT\t2\n", encoding="utf-8")
    assert len(load_library(LibrarySpec(file=path, barcode="code"), 4)) == 2
    with pytest.raises(InputError, match="it has name, code, a b"):
        load_library(LibrarySpec(file=path), 4)
    with pytest.raises(InputError, match="does not exist"):
        load_library(LibrarySpec(file=tmp_path / "none.csv"), 4)


@pytest.mark.parametrize("name", ["nontargeting", "Non-Targeting", "NON_TARGETING_12"])
def test_controls_are_found_in_genes_and_guides(name):
    library = make_library(table("ACGT", "TTTT", genes=[name, "G"]), SPEC, 4)
    assert library.controls.tolist() == [True, False]
    library = make_library(table("ACGT", "TTTT", guides=["x", name]), SPEC, 4)
    assert library.controls.tolist() == [False, True]


def test_short_words_for_controls_stand_apart_from_other_letters():
    names = ["NT", "nt-3", "NTRK1", "ANTXR1", "neg_NT"]
    frame = table("AAAC", "CCCA", "GGGT", "TTTG", "ACGT", genes=names)
    spec = SPEC.model_copy(update={"controls": "NT"})
    assert make_library(frame, spec, 4).controls.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("controls", "found"),
    [
        (("non-targeting", "intergenic"), [True, True, False, False, False]),
        ("NTC*", [False, False, True, False, False]),
        (("nt?_*",), [False, False, True, False, False]),
        ("ntc", [False, False, True, False, False]),
        ((), [False] * 5),
        ("g[1]", [False, False, False, False, True]),
    ],
)
def test_controls_may_have_several_names_and_patterns_are_whole_names(controls, found):
    names = ["Non Targeting 3", "INTERGENIC_7", "NTC_1", "KCNTC1", "G[1]"]
    frame = table("AAAC", "CCCA", "GGGT", "TTTG", "ACGT", genes=names)
    spec = SPEC.model_copy(update={"controls": controls})
    assert make_library(frame, spec, 4).controls.tolist() == found


def test_findings_are_summed_up_the_gravest_first():
    frame = table("ACGTA", "acgtc", "NNNNN", "TTTTT", "GATTC", genes=["A", "B", "C", "2-Sep", "E"])
    summary = make_library(frame, SPEC, 4).report.summary()
    assert summary["rows"].tolist() == [1, 2, 1, 1]
    assert summary["which"].tolist() == ["3", "1, 2", "4", "2"]
    for text, part in zip(summary["what"], ["left out", "several guides", "Excel", "upper case"]):
        assert part in text


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ACGT", min_size=7, max_size=7), min_size=1, max_size=30))
def test_letters_and_numbers_are_one_to_one(sequences):
    codes = encode(sequences)
    assert decode_words(codes).tolist() == sequences
    index = WordIndex(np.unique(pack(codes)), 7)
    assert np.array_equal(np.unique(pack(codes))[index.find(pack(codes))], pack(codes))


@pytest.mark.parametrize("length", [4, 12, 13, 20, 32])
def test_index_finds_what_is_there_and_nothing_else(length):
    rng = np.random.default_rng(length)
    codes = rng.integers(0, 4, (150, length)).astype(np.uint8)
    words = np.unique(pack(codes))
    rng.shuffle(words)
    index = WordIndex(words, length)
    assert np.array_equal(index.find(words), np.arange(len(words)))
    others = pack(rng.integers(0, 4, (5000, length)).astype(np.uint8))
    assert np.array_equal(index.find(others) >= 0, np.isin(others, words))


def test_nearest_distance_agrees_with_counting():
    codes = np.random.default_rng(0).integers(0, 4, (60, 5)).astype(np.uint8)
    codes = codes[np.unique(pack(codes), return_index=True)[1]]
    far = (codes[:, None] != codes[None]).sum(axis=2)
    np.fill_diagonal(far, 9)
    assert np.array_equal(nearest_distance(codes), np.minimum(far.min(axis=1), 3))


@pytest.mark.parametrize(("count", "cycles"), [(40, 6), (800, 8), (5000, 11)])
def test_decoys_match_the_library(count, cycles):
    library = library_of(count, cycles, np.random.default_rng(1))
    decoys = make_decoys(library, np.random.default_rng(2))
    assert len(decoys) == count
    assert not np.isin(pack(decoys.codes), pack(library.codes)).any()
    assert len(np.unique(pack(decoys.codes))) == count
    own = np.bincount(nearest_distance(library.codes), minlength=4)
    assert np.array_equal(
        np.bincount(nearest_distance(decoys.codes, library.codes), minlength=4), own
    )
    shares = [[(c == b).mean(axis=0) for b in range(4)] for c in (library.codes, decoys.codes)]
    assert np.abs(np.subtract(*shares)).max() < 4 * np.sqrt(0.25 / count)
    again = make_decoys(library, np.random.default_rng(2))
    assert np.array_equal(again.codes, decoys.codes)


def test_decoys_keep_the_distance_of_a_designed_library():
    codes = np.array([[a, b, (a + b) % 4, (a + 2 * b) % 4, a] for a in range(4) for b in range(4)])
    library = make_library(
        pd.DataFrame({"barcode": decode_words(codes.astype(np.uint8))}), LibrarySpec(file="l"), 5
    )
    decoys = make_decoys(library, np.random.default_rng(0))
    least = library.report.min_distance
    assert least >= 2
    assert nearest_distance(decoys.codes, library.codes).min() >= 1
    assert decoys.note if decoys.min_distance < least else True


def test_a_crowded_library_says_so():
    library = library_of(150, 4, np.random.default_rng(0))
    decoys = make_decoys(library, np.random.default_rng(0))
    assert len(decoys) == 4**4 - 150
    assert decoys.ratio < 0.9
    assert "coarse" in decoys.note


@pytest.mark.skipif(not DATA.is_dir(), reason="the public data are not beside the checkout")
@pytest.mark.parametrize(
    ("file", "options", "cycles", "words"),
    [
        ("hela_screen/library.csv.gz", {"barcode": "sgRNA", "gene": "gene_symbol"}, 11, 20445),
        ("libraries/CP228_codebook.csv", {"barcode": "sgRNA", "gene": "gene_symbol"}, 9, 184),
        ("libraries/CROPseq_NFkB_library.csv", {"gene": "gene_symbol"}, 12, 5738),
        ("libraries/blainey_example_barcodes.csv", {"guide": "sgRNA"}, 12, 40),
        ("iss_mouse_brain/taglist.csv", {"barcode": "Code", "gene": "Name"}, 4, 50),
    ],
)
def test_real_libraries_are_read(file, options, cycles, words):
    library = load_library(LibrarySpec(file=DATA / file, **options), cycles)
    assert len(library) == words
    assert len(make_decoys(library, np.random.default_rng(0))) == words
