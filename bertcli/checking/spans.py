"""Entities and answers that are not where the tokens are. Knows the two tasks that have such, and no format."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from bertcli.checking.findings import Findings
from bertcli.data.records import Record
from bertcli.errors import RecordError
from bertcli.metrics.entities import OUTSIDE, SCHEMES, Scheme, spans, tags
from bertcli.tasks import question_answering as qa
from bertcli.tasks import token_classification as ner
from bertcli.tasks._entity_labels import gold_of_tags, tags_of, triples
from bertcli.tasks.base import BaseTask
from bertcli.tokenizer import Features

Doubts = Iterator[tuple[str, str]]  # code and message


def doubts(task: BaseTask, record: Record, gold: Any) -> Doubts:
    """What is odd about the entities or answers of a record, gold its target."""
    if isinstance(task, ner.Task):
        yield from _entities(task, record, gold)
    elif isinstance(task, qa.Task):
        yield from _answers(gold)


def _entities(task: ner.Task, record: Record, gold: ner.Gold) -> Doubts:
    """Those of a text that are lost, as ner.gold_of_text decides it, each with its reason."""
    if not gold.lost:
        return
    text, places = task.words(record)
    begins, ends = {start for start, _ in places}, {end for _, end in places}
    covered = 0
    for start, end, kind in sorted(triples(record), key=lambda item: (item[0], -item[1])):
        shown = f"{kind} {start}-{end} '{text[start:end]:.40}'"
        if start not in begins or end not in ends:
            yield "misplaced-entity", f"{shown}, in '{_around(text, places, start, end):.60}'"
        elif start < covered:
            yield "overlapping-entity", shown
        else:
            covered = end


def _around(text: str, places: Sequence[tuple[int, int]], start: int, end: int) -> str:
    """The words that a span touches."""
    own = [place for place in places if place[0] < end and place[1] > start]
    return text[own[0][0] : own[-1][1]] if own else ""


def check_scheme(records: Sequence[Record], field: str, findings: Findings) -> None:
    """Tags of records with tokens that break the scheme which most sentences keep."""
    kept = [_schemes(tags_of(record, field)) for record in records]
    votes = Counter(scheme for own in kept for scheme in own)
    usual = max(SCHEMES, key=lambda scheme: votes[scheme])
    for record, own in zip(records, kept, strict=True):
        if usual not in own:
            try:
                gold_of_tags(record, field, usual)
            except RecordError as error:
                findings.add_all("tag-scheme", record, error)


def _schemes(given: Sequence[str]) -> list[Scheme]:
    """Those in which these tags could be written."""
    own = ["O" if tag in OUTSIDE else tag.replace("L-", "E-", 1).replace("U-", "S-", 1) for tag in given]
    found = spans(own)
    return [scheme for scheme in SCHEMES if tags(found, len(own), scheme) == own]


def _answers(gold: qa.Gold) -> Doubts:
    shown = ", ".join(f"'{answer:.40}'" for answer in dict.fromkeys(gold.answers))
    if gold.lost:
        yield "lost-answer", f"{gold.lost} of {len(gold.answers)}: {shown}"
    if gold.moved:
        nearest = f"; the nearest is at {gold.target[0]}" if gold.target and len(gold.answers) == 1 else ""
        yield "misplaced-answer", f"{gold.moved} of {len(gold.answers)}: {shown}{nearest}"


def borders(task: BaseTask, record: Record, features: Features) -> Doubts:
    """An answer that begins or ends inside a token. features: all of the context in one window. Raises RecordError."""
    places: Any = features.windows[0].places
    if not (isinstance(task, qa.Task) and places):
        return
    target = task.label(record).target
    if target is None or target == qa.NO_ANSWER:
        return
    start, end = target
    own = [place for place in places if place[0] < end and place[1] > start]
    if own and (own[0][0] < start or own[-1][1] > end):
        context = task.texts(record)["context"]
        yield "answer-border", f"'{context[start:end]:.40}' in '{context[own[0][0] : own[-1][1]]:.60}'"
