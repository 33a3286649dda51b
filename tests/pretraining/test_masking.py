"""Masks: the rate and 80/10/10 hold over 10,000 rows, English and Chinese; words stay whole, special tokens alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bertcli.pretraining.blocks import Masking
from bertcli.pretraining.encoding import Encoder
from bertcli.pretraining.settings import Mask
from bertcli.pretraining.vocabulary import SPECIAL
from bertcli.tasks.base import IGNORED

KINDS: tuple[Mask, ...] = ("token", "word", "span")
PAD, UNK, CLS, SEP, MASK = range(5)
TOKENS = 30_000
ORDINARY = np.arange(5, TOKENS)
ROWS, LENGTH = 10_000, 64
ENGLISH = "hello, the unwatchable films were not very watchable: a film that is so watchable, so very long - and dull!"
CHINESE = "我在北京大学看电影,他很喜欢这个地方。中文、电影和北京烤鸭!"
Array = np.ndarray[Any, Any]


def masking(kind: Mask, rate: float = 0.15) -> Masking:
    return Masking(kind, rate, MASK, ORDINARY)


def draw(*seeds: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64DXSM(seeds))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Array, Array]]:
    """Ids and word starts of a language, the same text over and over."""
    pieces = "hello the un ##watch ##able film ##s were not very watch a that is so long and dull , : # - !".split()
    vocabulary = dict.fromkeys([*SPECIAL, *pieces, *CHINESE])
    made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = tmp_path_factory.mktemp("words") / "list.txt"
    words.write_text("北京大学\n电影\n喜欢\n这个\n地方\n中文\n北京\n烤鸭\n", encoding="utf-8")

    def encode(language: str) -> tuple[Array, Array]:
        encoder = Encoder(made.to_str(), None if language == "English" else str(words))
        found = encoder.encode([ENGLISH if language == "English" else CHINESE])
        return found.ids, found.starts

    return encode


def rows(ids: Array, starts: Array) -> tuple[Array, Array, Array]:
    """ROWS blocks [CLS] text [SEP] [PAD]..., of all sizes from 2 to LENGTH, each from another place of the text."""
    places = np.arange(LENGTH)[None] + np.arange(ROWS)[:, None]
    ends = np.arange(ROWS)[:, None] % (LENGTH - 2) + 1  # where [SEP] is
    free = (np.arange(LENGTH)[None] > 0) & (np.arange(LENGTH)[None] < ends)
    whole = np.where(free, ids[places % len(ids)], PAD)
    whole[:, 0] = CLS
    np.put_along_axis(whole, ends, SEP, 1)
    return whole, free, starts[places % len(ids)]


@pytest.mark.parametrize(("language", "rate"), [("English", 0.15), ("Chinese", 0.15), ("English", 0.3)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_shares_hold(text: Callable[[str], tuple[Array, Array]], kind: Mask, language: str, rate: float) -> None:
    rounds = 8 if kind == "span" else 1  # a span has one fate, so there are fewer
    ids, free, starts = (np.tile(part, (rounds, 1)) for part in rows(*text(language)))
    masked, targets = masking(kind, rate).apply(ids, free, starts, draw(1))
    chosen = targets != IGNORED
    assert not (chosen & ~free).any()
    assert (targets[chosen] == ids[chosen]).all() and (masked[~chosen] == ids[~chosen]).all()
    assert chosen[:ROWS].sum() / free[:ROWS].sum() == pytest.approx(rate, abs=0.003)
    replaced, kept = masked[chosen] == MASK, masked[chosen] == ids[chosen]
    assert replaced.mean() == pytest.approx(0.8, abs=0.003)
    assert kept.mean() == pytest.approx(0.1, abs=0.003)
    assert np.isin(masked[chosen & (masked != MASK)], ORDINARY).all()
    assert len(np.unique(masked[chosen][~replaced & ~kept])) > 3_000


@pytest.mark.parametrize("language", ["English", "Chinese"])
@pytest.mark.parametrize("kind", ["word", "span"])
def test_whole_words_are_masked(text: Callable[[str], tuple[Array, Array]], kind: Mask, language: str) -> None:
    ids, free, starts = rows(*text(language))
    _, targets = masking(kind).apply(ids, free, starts, draw(2))
    chosen = targets != IGNORED
    inside = free[:, 1:] & free[:, :-1] & ~starts[:, 1:]
    assert inside.sum() > 50_000
    assert (chosen[:, 1:] == chosen[:, :-1])[inside].all()


def test_punctuation_is_a_word_of_its_own(text: Callable[[str], tuple[Array, Array]]) -> None:
    ids, free, starts = rows(*text("English"))
    chosen = masking("word").apply(ids, free, starts, draw(3))[1] != IGNORED
    hello, comma = text("English")[0][:2]
    both = free[:, 1:] & (ids[:, :-1] == hello) & (ids[:, 1:] == comma)
    assert len({*zip(chosen[:, :-1][both].tolist(), chosen[:, 1:][both].tolist(), strict=True)}) == 4


def test_each_row_has_its_share(text: Callable[[str], tuple[Array, Array]]) -> None:
    ids, free, starts = rows(*text("English"))
    counts = (masking("token").apply(ids, free, starts, draw(4))[1] != IGNORED).sum(1)
    assert (np.abs(counts - 0.15 * free.sum(1)) < 1).all()


def test_every_place_is_as_likely(text: Callable[[str], tuple[Array, Array]]) -> None:
    ids, starts = np.full((20_000, 20), 7), np.ones((20_000, 20), bool)
    for kind in ("token", "word"):
        chosen = masking(kind, 0.17).apply(ids, starts, starts, draw(5))[1] != IGNORED
        assert chosen.mean(0) == pytest.approx(0.17, abs=0.012)


def test_spans_are_runs_and_replaced_as_a_whole() -> None:
    ids, free = np.full((2000, 200), 7), np.ones((2000, 200), bool)
    masked, targets = masking("span").apply(ids, free, free, draw(6))
    chosen = targets != IGNORED
    inside = chosen[:, 1:] & chosen[:, :-1]
    alike = ((masked == MASK)[:, 1:] == (masked == MASK)[:, :-1])[inside]
    # spans of 3.8 words on average (SpanBERT, section 3.1), some of them neighbours, which may differ
    assert 0.7 < inside.sum() / chosen.sum() < 0.85
    assert alike.mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_masks_differ_between_epochs_and_rows_but_not_between_runs(kind: Mask) -> None:
    ids, free = np.full((50, 64), 7), np.ones((50, 64), bool)
    first, again, other = (masking(kind).apply(ids, free, free, draw(0, epoch)) for epoch in (1, 1, 2))
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert ((first[1] != other[1]).any(1)).all()
    assert len(np.unique(first[1], axis=0)) == 50


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_mask_is_fine(kind: Mask) -> None:
    for shape in ((3, 4), (0, 4), (2, 0)):
        ids, free = np.full(shape, SEP), np.zeros(shape, bool)
        masked, targets = masking(kind).apply(ids, free, free, draw(0))
        assert (masked == ids).all() and (targets == IGNORED).all() and targets.shape == shape
    ids, free = np.full((2, 3), 9), np.ones((2, 3), bool)
    assert (masking(kind, 0).apply(ids, free, free, draw(0))[1] == IGNORED).all()


@settings(max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    rate=st.floats(0, 0.99),
    marks=st.tuples(st.integers(1, 4), st.integers(1, 12)).flatmap(lambda shape: arrays(bool, (2, *shape))),
    seed=st.integers(0, 99),
)
def test_any_rows(kind: Mask, rate: float, marks: Array, seed: int) -> None:
    free, starts = marks
    ids = np.where(free, 9, SEP)
    masked, targets = masking(kind, rate).apply(ids, free, starts, draw(seed))
    chosen = targets != IGNORED
    assert not (chosen & ~free).any() and (masked[~chosen] == ids[~chosen]).all()
    if kind != "token":
        inside = free[:, 1:] & free[:, :-1] & ~starts[:, 1:]
        assert (chosen[:, 1:] == chosen[:, :-1])[inside].all()


def test_long_words_take_no_more_than_their_share() -> None:
    ids = np.full((20_000, 30), 9)
    starts = np.tile(np.arange(30) % 15 == 0, (20_000, 1))  # two words of 15 tokens
    for kind in ("word", "span"):
        chosen = masking(kind).apply(ids, np.ones_like(starts), starts, draw(7))[1] != IGNORED
        assert chosen.mean() == pytest.approx(0.15, abs=0.006)


def test_the_word_list_of_the_chinese_text_is_used(text: Callable[[str], tuple[Array, Array]], tmp_path: Path) -> None:
    _, starts = text("Chinese")
    begins = np.flatnonzero(starts).tolist()
    cut = [CHINESE[begin:end] for begin, end in zip(begins, [*begins[1:], len(CHINESE)], strict=True)]
    assert cut[:6] == ["我", "在", "北京大学", "看", "电影", ","]
