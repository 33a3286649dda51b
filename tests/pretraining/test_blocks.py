"""Blocks: every token of a document in exactly one, none of two documents unless asked; and the dev split."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.pretraining.blocks import Blocks, Inputs, Masking, Pack, Special, Table, split
from bertcli.pretraining.corpus import Corpus
from bertcli.tasks.base import IGNORED

CLS, SEP, MASK, FIRST = 2, 3, 4, 5
SPECIAL = Special(CLS, SEP)
MASKING = Masking("word", 0.5, MASK, np.arange(FIRST, 900))
Array = np.ndarray[Any, Any]


def corpus_of(sizes: Sequence[int]) -> Corpus:
    """Documents of one sentence, whose ids are 5, 6, 7, ... throughout."""
    ends = np.cumsum(np.array(sizes, np.int64))
    ids = np.arange(sum(sizes)) + FIRST
    documents = np.stack([ends, np.arange(len(sizes)) + 1], -1)
    return Corpus(ids.astype("<u4"), np.ones(len(ids), "u1"), ends, documents, {})


def batches(table: Table, seed: int = 0) -> list[Inputs]:
    """All blocks, a batch for each length."""
    random = np.random.Generator(np.random.PCG64DXSM(seed))
    return [table.batch(np.flatnonzero(table.lengths == length), random) for length in np.unique(table.lengths)]


def original(found: Inputs) -> Array:
    return np.where(found.targets == IGNORED, found.ids, found.targets)


def texts(table: Table) -> list[list[int]]:
    """The blocks without what stands around them, in the order of the corpus."""
    whole = [row for found in batches(table) for row in original(found).tolist()]
    assert all(row[0] == CLS and row[-1] == SEP for row in whole)
    return sorted(row[1:-1] for row in whole)


CORPORA = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@settings(max_examples=100)
@given(sizes=CORPORA, length=st.integers(8, 20), data=st.data())
def test_every_token_is_in_one_block_of_its_document(sizes: list[int], length: int, data: st.DataObject) -> None:
    corpus = corpus_of(sizes)
    documents = np.array(sorted(data.draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1))))
    begins, ends = corpus.bounds
    wanted = []
    for begin, end in zip(begins[documents].tolist(), ends[documents].tolist(), strict=True):
        tokens = corpus.ids[begin:end].tolist()
        wanted += [tokens[i : i + length - 2] for i in range(0, len(tokens), length - 2)]
    table = Blocks(corpus, documents, length, "document", SPECIAL, MASKING)
    assert texts(table) == wanted
    assert table.lengths.max() <= length


@settings(max_examples=100)
@given(sizes=CORPORA, length=st.integers(8, 20))
def test_across_documents_only_the_last_block_is_short(sizes: list[int], length: int) -> None:
    corpus = corpus_of(sizes)
    table = Blocks(corpus, np.arange(len(sizes)), length, "across", SPECIAL, MASKING)
    ids, begins = corpus.ids.tolist(), [0, *np.cumsum(sizes).tolist()]
    stream = [token for i in range(len(sizes)) for token in [*ids[begins[i] : begins[i + 1]], SEP]][:-1]
    blocks = [row[1:-1] for found in batches(table) for row in original(found).tolist()]
    wanted = [stream[i : i + length - 2] for i in range(0, len(stream), length - 2)]
    assert sorted(blocks) == sorted(wanted)
    assert (table.lengths[:-1] == length).all()


def test_separators_are_never_masked() -> None:
    corpus = corpus_of([3] * 200)
    (found,) = batches(
        Blocks(corpus, np.arange(200), 41, "across", SPECIAL, Masking("token", 0.9, MASK, np.arange(5, 9)))
    )[-1:]
    assert (found.targets != IGNORED).mean() > 0.5
    assert not np.isin(found.targets, [CLS, SEP]).any()
    assert found.type_ids is None and found.relation is None


def test_masks_change_with_the_seed_and_the_text_does_not() -> None:
    table = Blocks(corpus_of([300]), np.arange(1), 32, "document", SPECIAL, MASKING)
    first, again, other = (batches(table, seed) for seed in (1, 1, 2))
    assert all((one.ids == two.ids).all() for one, two in zip(first, again, strict=True))
    assert any((one.ids != two.ids).any() for one, two in zip(first, other, strict=True))
    assert all((original(one) == original(two)).all() for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("pack", "wanted"),
    [
        # the token that the next block begins with is not in sight, [SEP] is where the document ends
        ("document", {(2, 5, 6, 7, 3): [5, 6, 7, 0, 0], (2, 8, 9, 3): [8, 9, 3, 0], (2, 10, 3): [10, 3, 0]}),
        ("across", {(2, 5, 6, 7, 3): [5, 6, 7, 0, 0], (2, 8, 9, 3, 3): [8, 9, 3, 0, 0], (2, 10, 3): [10, 0, 0]}),
    ],
)  # fmt: skip
def test_causal_targets_are_the_next_tokens(pack: Pack, wanted: dict[tuple[int, ...], list[int]]) -> None:
    found = batches(Blocks(corpus_of([5, 1]), np.arange(2), 5, pack, SPECIAL, None))
    rows = {
        tuple(ids): [0 if target == IGNORED else target for target in targets]
        for one in found
        for ids, targets in zip(one.ids.tolist(), one.targets.tolist(), strict=True)
    }
    assert rows == wanted


def test_ids_of_16_bits_do_not_overflow() -> None:
    corpus = corpus_of([10])
    small = Corpus((corpus.ids + 65_520).astype("<u2"), corpus.starts, corpus.sentences, corpus.documents, {})
    (found,) = batches(Blocks(small, np.arange(1), 16, "document", Special(70_000, 70_001), MASKING))
    assert original(found).tolist() == [[70_000, *range(65_525, 65_535), 70_001]]
    assert found.ids.dtype == found.targets.dtype == np.int64


def test_places_beyond_32_bits() -> None:
    size = 3 << 30
    zero = np.broadcast_to(np.zeros(1, "<u2"), size)  # a corpus that takes no memory
    documents = np.array([[size - 100, 1], [size, 2]])
    corpus: Any = SimpleNamespace(ids=zero, starts=zero, bounds=(np.array([0, size - 100]), documents[:, 0]))
    for pack, count in (("document", (size - 100) // 1_000_000 + 2), ("across", size // 1_000_000 + 1)):
        table = Blocks(corpus, np.arange(2), 1_000_002, pack, SPECIAL, None)
        assert len(table.lengths) == count and table.starts[-1] > 1 << 31
        assert table.batch(np.array([len(table.lengths) - 1]), np.random.default_rng(0)).ids.shape[0] == 1


def test_no_text_has_no_blocks() -> None:
    for pack in ("document", "across"):
        table = Blocks(corpus_of([3]), np.zeros(0, np.int64), 8, pack, SPECIAL, MASKING)
        assert len(table.lengths) == 0


# The split.


@settings(max_examples=200)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=300), wanted=st.integers(0, 2000), least=st.integers(1, 2)
)
def test_a_document_is_in_one_part(sizes: list[int], wanted: int, least: int) -> None:
    corpus = corpus_of(sizes)
    train, dev = split(corpus, wanted, least)
    assert sorted([*train.tolist(), *dev.tolist()]) == list(range(len(sizes)))
    assert train.tolist() == sorted(train.tolist()) and dev.tolist() == sorted(dev.tolist())
    assert sum(sizes[i] for i in dev) <= min(wanted, sum(sizes) // 50)
    assert len(dev) == 0 or (len(dev) >= least and len(train) >= least)


def test_the_split_is_stable_and_near_the_wish() -> None:
    corpus = corpus_of([10] * 5000)
    _, dev = split(corpus, 300)
    assert len(dev) == 30
    assert (split(corpus, 300)[1] == dev).all()
    assert set(dev.tolist()) <= set(split(corpus, 600)[1].tolist())
    assert dev.min() < 1500 and dev.max() > 3500  # from all over the corpus


def test_a_large_document_does_not_keep_small_ones_from_dev() -> None:
    sizes = [*[5000] * 50, *[10] * 500]
    _, dev = split(corpus_of(sizes), 1000)
    assert len(dev) == 100 and dev.min() >= 50


def test_dev_does_not_leave_one_document_to_train_pairs_on() -> None:
    corpus = corpus_of([1000, 5, 5])
    assert [len(part) for part in split(corpus, 100, 1)] == [1, 2]
    assert [len(part) for part in split(corpus, 100, 2)] == [3, 0]


def test_dev_has_pairs_where_these_are_trained_on(make_corpus: Callable[[Any], Corpus]) -> None:
    corpus = make_corpus([[[5], [6]] if i % 10 == 0 else [[7, 8]] for i in range(1000)])
    train, dev = split(corpus, 30, 1, sentences=2)
    assert len(dev) == 15 and not (dev % 10).any() and len(train) == 985
    assert (split(corpus, 30)[1] % 10).any()


def test_the_split_of_a_written_corpus(make_corpus: Callable[[Any], Corpus]) -> None:
    corpus = make_corpus([[[5, 6], [7]], [[8]]])
    assert [bound.tolist() for bound in corpus.bounds] == [[0, 3], [3, 4]]
    assert texts(Blocks(corpus, np.arange(2), 8, "document", SPECIAL, MASKING)) == [[5, 6, 7], [8]]
