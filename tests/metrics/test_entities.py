"""Entities against seqeval, and tags in every scheme there and back."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval import metrics as seqeval
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2

from bertcli.data.readers import read
from bertcli.errors import RecordError
from bertcli.metrics import entities
from bertcli.metrics.entities import SCHEMES, Span

TYPES = st.sampled_from(["PER", "LOC", "a-b"])


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Spans that do not overlap, and the number of words."""
    found, place = [], 0
    for gap, length, kind in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), TYPES), max_size=6)):
        found.append(Span(place + gap, place + gap + length, kind))
        place += gap + length
    return found, place + draw(st.integers(0, 2))


@given(sentences(), st.sampled_from(["iob1", "iob2", "bioes"]))
def test_tags_and_spans_are_inverse(sentence: tuple[list[Span], int], scheme: entities.Scheme) -> None:
    found, count = sentence
    assert entities.spans(entities.tags(found, count, scheme)) == found


@given(st.lists(sentences(), min_size=1, max_size=5), st.sampled_from(SCHEMES))
def test_the_scheme_is_recognised_or_makes_no_difference(
    data: list[tuple[list[Span], int]], scheme: entities.Scheme
) -> None:
    tagged = [entities.tags(found, count, scheme) for found, count in data]
    seen = entities.recognise(tagged)
    assert [entities.tags(entities.spans(own), len(own), seen) for own in tagged] == tagged


@given(st.lists(st.tuples(sentences(), sentences()), min_size=1, max_size=6))
def test_scores_are_seqevals_in_strict_mode(pairs: list[tuple[tuple[list[Span], int], tuple[list[Span], int]]]) -> None:
    counts = [max(one[1], other[1]) for one, other in pairs]
    gold = [entities.tags(one[0], count) for (one, _), count in zip(pairs, counts, strict=True)]
    guess = [entities.tags(other[0], count) for (_, other), count in zip(pairs, counts, strict=True)]
    result = entities.score(gold, guess)
    strict = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    if any("B" in tag for own in gold + guess for tag in own):
        assert (result["precision"] or 0) == pytest.approx(seqeval.precision_score(gold, guess, **strict))
        assert (result["recall"] or 0) == pytest.approx(seqeval.recall_score(gold, guess, **strict))
        assert (result["f1"] or 0) == pytest.approx(seqeval.f1_score(gold, guess, **strict))
        assert (result["macro_f1"] or 0) == pytest.approx(seqeval.f1_score(gold, guess, average="macro", **strict))
    if sum(counts):
        assert result["token_accuracy"] == pytest.approx(seqeval.accuracy_score(gold, guess))


def test_types_that_end_alike_are_two_types() -> None:
    assert entities.tags([Span(0, 1, "X-LOC"), Span(1, 2, "LOC")], 2, "iob1") == ["I-X-LOC", "I-LOC"]


TAGS = st.lists(st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y"]), min_size=1, max_size=9)


@given(TAGS)
def test_tags_in_any_order_are_read_as_conlleval_reads_them(tags: list[str]) -> None:
    """seqeval's default mode follows conlleval; its strict mode knows only tags that are well formed."""
    assert [(span.type, span.start, span.end - 1) for span in entities.spans(tags)] == get_entities(tags)


@given(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=5))
def test_scores_of_tags_in_any_order_are_those_of_conlleval(pairs: list[tuple[list[str], list[str]]]) -> None:
    gold = [one[: len(other)] for one, other in pairs]
    guess = [other[: len(one)] for one, other in pairs]
    result = entities.score(gold, guess)
    for name in ("precision", "recall", "f1"):
        own = getattr(seqeval, f"{name}_score")(gold, guess, zero_division=0)
        assert (result[name] or 0) == pytest.approx(own)


DATA = Path(__file__).parents[3] / "shared" / "data" / "open"


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize(
    "file", ["wnut17/emerging.test.annotated", "btc/btc.dev", "uner_zh_gsdsimp/zh_gsdsimp-ud-test.iob2.xz"]
)
def test_scores_on_real_tags_are_seqevals_in_strict_mode_type_by_type(file: str) -> None:
    gold = [record.fields["tags"] for record in read([str(DATA / file)], input_format="conll")]
    source = random.Random(5)
    guess = [entities.tags(_disturbed(entities.spans(own), source), len(own)) for own in gold]
    result = entities.score(gold, guess)
    report = seqeval.classification_report(gold, guess, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    assert result["token_accuracy"] == pytest.approx(seqeval.accuracy_score(gold, guess))
    names = {"precision": "precision", "recall": "recall", "f1": "f1-score", "support": "support"}
    for kind, own in [("micro avg", result), *result["per_class"].items()]:
        assert {name: own[name] for name in names} == {name: pytest.approx(report[kind][names[name]]) for name in names}
    assert 0.3 < result["f1"] < 0.9


def _disturbed(gold: list[Span], source: random.Random) -> list[Span]:
    """Some are gone, cut at their end, or of another's type."""
    kinds = [span.type for span in gold]
    kept = [span for span in gold if source.random() < 0.8]
    cut = [span._replace(end=max(span.start + 1, span.end - (source.random() < 0.2))) for span in kept]
    return [span._replace(type=source.choice(kinds)) for span in cut]


@given(st.lists(st.lists(st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y"]), max_size=8), max_size=4))
def test_no_tag_inside_an_entity_is_lost(data: list[list[str]]) -> None:
    for tags in data:
        covered = {i for span in entities.spans(tags) for i in range(span.start, span.end)}
        assert covered == {i for i, tag in enumerate(tags) if tag != "O"}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-PER I-PER O I-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
        ("B-PER B-PER I-LOC", [(0, 1, "PER"), (1, 2, "PER"), (2, 3, "LOC")]),
        ("S-PER E-PER I-PER", [(0, 1, "PER"), (1, 2, "PER"), (2, 3, "PER")]),
        ("B-PER L-PER U-LOC _", [(0, 2, "PER"), (2, 3, "LOC")]),
        ("B-PER M-PER E-PER S-LOC", [(0, 3, "PER"), (3, 4, "LOC")]),  # BMES
        ("B-PER M-PER E-PER W-LOC", [(0, 3, "PER"), (3, 4, "LOC")]),  # BMEWO
    ],
)
def test_what_no_scheme_writes_is_read_as_conlleval_does(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert entities.spans(tags.split()) == expected


@pytest.mark.parametrize("tag", ["PER", "B-", "X-PER", "-PER", "BB-PER"])
def test_what_is_no_tag_is_a_fault(tag: str) -> None:
    with pytest.raises(RecordError, match="is no tag; tags are"):
        entities.spans([tag])
