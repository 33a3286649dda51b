"""Pairs: half of them true, no wrong next sentence that is the true one, segments and relations as BERT has them."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, processors

from bertcli import tokenizer
from bertcli.errors import UsageError
from bertcli.pretraining.blocks import CorpusData, Inputs, Masking, Pairs, Relation, Special
from bertcli.pretraining.corpus import Corpus
from bertcli.pretraining.settings import PretrainSettings
from bertcli.tasks.base import IGNORED

CLS, SEP, MASK, FIRST = 2, 3, 4, 5
SPECIAL = Special(CLS, SEP)
MASKING = Masking("word", 0.5, MASK, np.arange(FIRST, 900))
LENGTH = 32
Array = np.ndarray[Any, Any]
Documents = Sequence[Sequence[Sequence[int]]]
MakeCorpus = Callable[[Documents], Corpus]


def draw(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64DXSM(seed))


def pairs(
    corpus: Corpus, kind: Relation, *, length: int = LENGTH, seed: int = 0, documents: Array | None = None
) -> Pairs:
    documents = np.arange(len(corpus.documents)) if documents is None else documents
    return Pairs(corpus, documents, length, kind, SPECIAL, MASKING, draw(seed))


def numbered(counts: Sequence[int], longest: int, seed: int = 0) -> list[list[list[int]]]:
    """Documents of so many sentences of 1 to `longest` tokens; every id but once."""
    sizes, begin = draw(seed).integers(1, longest + 1, sum(counts)).tolist(), FIRST
    documents: list[list[list[int]]] = []
    for count in counts:
        documents.append([])
        for size in (sizes.pop() for _ in range(count)):
            documents[-1].append(list(range(begin, begin + size)))
            begin += size
    return documents


def rows(table: Pairs) -> list[tuple[list[int], list[int], int]]:
    """A, B and relation of each pair, read from the ranges."""
    ids = table.corpus.ids.tolist()
    return [
        (ids[first[0] : first[1]], ids[second[0] : second[1]], relation)
        for first, second, relation in zip(
            table.first.tolist(), table.second.tolist(), table.relation.tolist(), strict=True
        )
    ]


@pytest.fixture
def many(make_corpus: MakeCorpus) -> Corpus:
    return make_corpus(numbered([2, 3, 40, 200, 7] * 60, 9))


def owner(corpus: Corpus, token: int) -> int:
    return int(np.searchsorted(corpus.documents[:, 0], token - FIRST, side="right"))


def test_half_are_true_and_these_follow(many: Corpus) -> None:
    found = rows(pairs(many, "nsp"))
    assert len(found) > 4000
    assert np.mean([relation for _, _, relation in found]) == pytest.approx(0.5, abs=0.02)
    for first, second, relation in found:
        assert first == list(range(first[0], first[-1] + 1)) and second == list(range(second[0], second[-1] + 1))
        same = owner(many, first[0]) == owner(many, second[0])
        assert owner(many, first[0]) == owner(many, first[-1]) and owner(many, second[0]) == owner(many, second[-1])
        assert same == (relation == 0)
        assert (second[0] == first[-1] + 1) or relation


def test_parts_begin_at_sentences_and_fill_the_room(many: Corpus) -> None:
    begins = {FIRST, *(many.sentences + FIRST).tolist()}
    sizes, cut = [], 0
    for first, second, _ in rows(pairs(many, "nsp")):
        assert {first[0], first[-1] + 1, second[0]} <= begins
        cut += second[-1] + 1 not in begins
        sizes.append(len(first) + len(second) + 3)
    assert max(sizes) <= LENGTH and cut < 0.01 * len(sizes)
    assert np.mean(sizes) > 0.7 * LENGTH


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_all_text_but_a_last_sentence_is_in_a_pair(many: Corpus, kind: Relation) -> None:
    found = rows(pairs(many, kind))
    seen = {token for one, two, relation in found for token in (one if relation and kind == "nsp" else one + two)}
    ends = (many.sentences + FIRST).tolist()
    begins = dict(zip(ends, [FIRST, *ends], strict=False))
    lasts = {token for end in many.documents[:, 0].tolist() for token in range(begins[end + FIRST], end + FIRST)}
    left = set(range(FIRST, FIRST + len(many.ids))) - seen
    assert left <= lasts and len(left) < 0.05 * len(many.ids)


def test_the_length_does_not_tell_the_relation(make_corpus: MakeCorpus) -> None:
    table = pairs(make_corpus(numbered([400] * 120, 3)), "nsp", length=64)
    short = table.lengths < 45
    assert short.sum() > 200
    assert table.relation[short].mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("case", ["twice", "longer", "shorter"])
def test_a_copy_does_not_give_the_true_sentence_as_a_wrong_one(make_corpus: MakeCorpus, case: str) -> None:
    documents = numbered([4] * 6, 5)
    copies = {
        "twice": documents,
        "longer": [[*document, [9000 + i]] for i, document in enumerate(documents)],
        "shorter": [document[:-1] for document in documents],
    }[case]
    corpus = make_corpus([*copies, *documents])
    wrong = 0
    for seed in range(40):
        table = pairs(corpus, "nsp", length=64, seed=seed)
        for first, second, relation in rows(table):
            own = next(
                document for document in documents + copies if first[-1] in [token for s in document for token in s]
            )
            following = [s for before, s in pairwise(own) if before[-1] == first[-1]]
            if relation and following:
                assert second[: len(following[0])] != following[0][: len(second)] or len(second) < len(following[0])
                wrong += 1
    assert wrong > 200


def test_where_all_sentences_are_the_same_nothing_is_called_wrong(make_corpus: MakeCorpus) -> None:
    table = pairs(make_corpus([[[5, 6], [5, 6]]] * 30), "nsp")
    assert len(table.relation) == 30 and not table.relation.any()
    copies = rows(pairs(make_corpus([[[5, 6], [7]]] * 30), "nsp"))
    assert {(second[0], relation) for _, second, relation in copies} == {(7, 0), (5, 1)}


def test_a_wrong_sentence_comes_from_anywhere_but_its_own_document(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(numbered([30] * 4, 3))
    found = {
        (owner(corpus, first[0]), owner(corpus, second[0]))
        for seed in range(10)
        for first, second, relation in rows(pairs(corpus, "nsp", seed=seed))
        if relation
    }
    assert found == {(one, other) for one in range(4) for other in range(4) if one != other}
    part = pairs(corpus, "nsp", documents=np.array([1, 3]))
    assert {owner(corpus, text[0]) for first, second, _ in rows(part) for text in (first, second)} == {1, 3}
    begins = {second[0] for seed in range(40) for _, second, r in rows(pairs(corpus, "nsp", seed=seed)) if r}
    assert len(begins) > 100  # of 120 sentences


def test_long_sentences_are_cut(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus([[list(range(5, 205))], [list(range(300, 401)), [500]]])
    for kind in ("nsp", "sop"):
        found = rows(pairs(corpus, kind))
        assert max(len(first) + len(second) + 3 for first, second, _ in found) <= LENGTH
        assert {token for first, second, _ in found for token in first + second} >= set(range(5, 190))


def test_sentence_order_swaps_half(many: Corpus) -> None:
    found = rows(pairs(many, "sop"))
    assert np.mean([relation for _, _, relation in found]) == pytest.approx(0.5, abs=0.02)
    assert all(
        (second[-1] + 1 == first[0]) if relation else (first[-1] + 1 == second[0]) for first, second, relation in found
    )
    assert all(owner(many, first[0]) == owner(many, second[0]) for first, second, _ in found)


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_batches_are_pairs_with_their_segments(many: Corpus, kind: Relation) -> None:
    table = pairs(many, kind)
    wanted = rows(table)
    for length in np.unique(table.lengths)[::7]:
        own = np.flatnonzero(table.lengths == length)
        found: Inputs = table.batch(own, draw(1))
        assert found.type_ids is not None and found.relation is not None
        whole = np.where(found.targets == IGNORED, found.ids, found.targets)
        for row, segments, (first, second, relation), label in zip(
            whole.tolist(), found.type_ids.tolist(), [wanted[i] for i in own], found.relation, strict=True
        ):
            assert row == [CLS, *first, SEP, *second, SEP]
            assert segments == [0] * (len(first) + 2) + [1] * (len(second) + 1)
            assert label == relation
        assert not np.isin(found.targets, [CLS, SEP]).any()


def test_epochs_differ_and_runs_do_not(many: Corpus) -> None:
    first, again, other = (rows(pairs(many, "nsp", seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_a_run_that_goes_on_takes_the_steps_that_it_would_have_taken(many: Corpus) -> None:
    """Epochs of pairs have more text or less, and blocks as large as a step may be too few for all its steps."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word"]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    settings = PretrainSettings(
        output="o", objective="mlm+nsp", lengths=((LENGTH, 1.0),), batch_tokens=LENGTH, epochs=4, dev_tokens=0
    )
    data = CorpusData(settings, many, tokenizer.Tokenizer(backend, LENGTH))
    steps = [[key.seeds for key in keys] for keys in data.schedule(0)]
    assert len(steps) == data.phases[0].stop
    per_epoch = data.phases[0].steps_per_epoch
    for done in (per_epoch - 1, 3 * per_epoch - 1, 3 * per_epoch):
        assert [[key.seeds for key in keys] for keys in data.schedule(done)] == steps[done:]


def test_what_gives_no_pairs_is_refused(make_corpus: MakeCorpus) -> None:
    one = make_corpus([[[5], [6], [7]]])
    with pytest.raises(UsageError) as raised:
        pairs(one, "nsp")
    assert str(raised.value) == (
        "the corpus is one document, which has no other to take a wrong next sentence from; separate documents by "
        "blank lines, or train with --objective mlm or mlm+sop."
    )
    assert len(rows(pairs(one, "sop"))) == 1
    for kind in ("nsp", "sop"):
        with pytest.raises(UsageError) as raised:
            pairs(make_corpus([[[5, 6]], [[7, 8]]]), kind)
        assert str(raised.value) == "no document has two sentences, so there are no pairs; train with --objective mlm."
