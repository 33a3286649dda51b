"""Faults of labelled data, found before it is trained on.

All checks go in the order of fine-tuning: read, accept, decide, label; then comes what training cannot see. The task
judges each record, so that data which passes here passes in fine-tuning. Imports neither torch nor transformers, and
knows no task and no format.
Try: bertcli check train.jsonl --dev dev.jsonl
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import regex

from bertcli import registry, tokenizer_files
from bertcli.checking.repeats import MARKS, near
from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError
from bertcli.model import Model
from bertcli.tasks import DEFAULT
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import MISSING, Decision, decide
from bertcli.tasks.texts import excerpt, fold
from bertcli.tokenizer import ENDLESS, FOREIGN, NoTokenizer, Tokenizer
from bertcli.training.settings import Settings

FEW = 5  # A label with fewer training records can hardly be learnt.
UNEVEN = 10  # If a label is so many times as frequent as the rarest one, rare ones are seldom predicted.
FREQUENT = 20  # A label is so many times as frequent as a typo of it.
# Labels that differ in these alone mean the same, but not +1 and -1; C, C++ and C#; 1.10 and 11.0.
BETWEEN = regex.compile(rf"(?<=[^\W_]|\p{{M}}){MARKS}(?=[^\W\d_])|(?<=[^\W\d_]|\p{{M}}){MARKS}(?=[^\W_])")
SURROUNDING = " \t_.,;:!?\"'()[]<>{}"
ALIKE = 0.8  # difflib's ratio: one letter of five wrong, or two of ten
# Codes of findings with their sentences (what is wrong, what to do), in the order in which they are shown.
ERRORS: Mapping[str, str] = {  # what no model can be trained on
    "unreadable": "no record of the file's format; mend or delete it, or name the format",
    "bad-text": "the text is missing or is no text; mend it, or name its field with --text-field",
    "bad-label": "the label is missing or is none; mend it, or name its field with --label-field",
    "unknown-label": "a dev label that train lacks; mend it, or add training records of it",
    "nothing-to-learn": "no model can be trained or scored on this; add records",
}  # fmt: skip
WARNINGS: Mapping[str, str] = {  # what a person should look at
    "leak": "a dev text that is in train too; take it out of one, or dev scores are too good",
    "near-leak": "a dev text that is nearly in train; look at both, and take one out",
    "leaked-context": "a dev question asked of a training context; part the splits by context",
    "conflicting-label": "a text that has another label elsewhere; decide for one of them",
    "duplicate": "a text that came before in its split; keep one",
    "near-duplicate": "nearly a text that came before in its split; look at both",
    "mixed-labels": "a label of another kind than most; mend it, or say --problem",
    "number-labels": "whole numbers, which are taken for classes; --problem regression takes them as numbers",
    "label-typo": "a label much like a more frequent one; rename it if it is a typo",
    "missing-label": "a class, called as programs write no label; --map-labels NAME= leaves it out if it is none",
    "rare-label": "a label with too few training records to be learnt; add some, or merge it",
    "imbalance": "labels of very different frequency; --class-weights balanced evens them",
    "label-not-in-dev": "a label of train that dev never has, so no score tells of it; add some",
    "quoted-text": "text in CSV's quotation marks, taken for its own; --input-format csv --delimiter tab drops them",
    "empty-text": "there is nothing to read; delete the record",
    "long-text": "more tokens than the model takes; --long window reads the rest of it too",
    "unknown-pieces": "a fifth of the text or more is unknown to the tokenizer; replace it, or take another model",
    "misplaced-entity": "an entity that begins or ends inside a word, or elsewhere, and teaches nothing; mend it",
    "overlapping-entity": "an entity that overlaps another and teaches nothing; keep one of them",
    "discontinuous-entity":
        "an entity of several parts, which no tags can show and which teaches nothing; label one of them",
    "tag-scheme": "a tag that breaks the scheme of the other sentences; mend it",
    "misplaced-answer": "an answer that is not at its answer_start, but elsewhere; mend the offset",
    "lost-answer": "an answer that its context does not have, which teaches nothing; mend its text",
    "answer-border": "an answer that begins or ends inside a token: the model gives the whole one",
}  # fmt: skip


@dataclass
class Findings:
    """All faults, by code, each in the order of the data: where it is, and what is wrong there."""

    places: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, code: str, where: str, message: str) -> None:
        """Note a fault. code: one of ERRORS or WARNINGS; where: `file:line`, or the files of a split."""
        self.places.setdefault(code, []).append((where, message))

    def add_all(self, code: str, record: Record, error: RecordError) -> None:
        """Note every fault of a record with its `file:line`."""
        for where, message in record.located(error):
            self.add(code, where, message)

    def listed(self) -> list[dict[str, Any]]:
        """Code, severity, message, count and places for each code that was found."""
        return [
            {
                "code": code,
                "severity": "error" if code in ERRORS else "warning",
                "message": meaning,
                "count": len(self.places[code]),
                "places": [{"place": where, "message": message} for where, message in self.places[code]],
            }
            for code, meaning in {**ERRORS, **WARNINGS}.items()
            if code in self.places
        ]


@dataclass(slots=True)
class Example:
    """A record that the task accepts. texts: the texts that it reads. gold: its label, None until labels are known.

    record: with the fields of its label only. pieces: how many tokens it has, special ones included, for each of two
    texts that are encoded separately. unknown: how many of them are unknown. Both mean nothing without a model.
    """

    record: Record
    texts: tuple[str, ...]
    pieces: Sequence[int]
    unknown: int
    gold: Any = None


@dataclass
class Split:
    """A split. read: how many records it has, good or not. sources: its files with their numbers of records."""

    name: str
    examples: list[Example] = field(default_factory=list)
    read: int = 0
    sources: Counter[str] = field(default_factory=Counter)

    @property
    def files(self) -> str:
        """The names of its files, as the place of a fault of the whole split."""
        return ", ".join("stdin" if source == "-" else source for source in self.sources) or self.name


def guess_task(record: Record | None) -> str:
    """The task that the fields of a first record suggest."""
    tasks = (registry.load("tasks", name).Task for name in registry.names("tasks"))
    names = set(record.fields) if record else set()
    return next((task.name for task in tasks if any(fields <= names for fields in task.labelled_by)), DEFAULT)


def check(
    settings: Settings, model: Model | None, train: Iterable[Record], dev: Iterable[Record] | None
) -> tuple[dict[str, Any], Findings]:
    """Check a training split, and a dev split if there is one. model: its tokenizer counts tokens; None: none does.

    Returns facts (task, problem, records, labels, lengths), and the findings.
    """
    findings = Findings()
    tokens = tokenizer_files.load(model.path, model.config) if model else NoTokenizer()
    base = model or Model(Path(), {})
    task_class: type[BaseTask] = registry.load("tasks", settings.task).Task
    config = task_class.config_of_base(model) if model else {}
    reader = task_class(tokens, config, settings.options)
    limit, tokens.max_length = tokens.max_length, ENDLESS
    sources = {"train": train} | ({} if dev is None else {"dev": dev})
    splits = [_read(name, records, reader, findings) for name, records in sources.items()]
    facts: dict[str, Any] = {"task": settings.task, "records": {split.name: split.read for split in splits}}
    for split in splits[1:]:
        if not split.examples:
            message = "the dev data has no usable record; mend it, or leave it away."
            findings.add("nothing-to-learn", split.files, message)
    accepted = [[example.record for example in split.examples] for split in splits]
    for records, split in zip(accepted, splits, strict=True):
        for record, code, error in task_class.split_doubts(settings, records, split is splits[0]):
            findings.add_all(code, record, error)
    try:
        decision = decide(task_class, settings, base, accepted[0])
    except UsageError as refusal:
        findings.add("nothing-to-learn", splits[0].files, str(refusal))
    else:
        task = task_class(tokens, {**config, **decision.config}, settings.options)
        for split in splits:
            _label(split, task, settings, decision, findings)
        facts |= {"problem": decision.problem, "labels": _table(splits, task, decision)}
        if decision.has_classes:
            _check_labels(splits, task, findings)
    if model:
        facts["tokens"] = {s.name: _lengths(s, tokens, limit, findings) for s in splits if s.examples}
    _check_repeats(splits, reader, findings)
    return facts, findings


def _read(name: str, records: Iterable[Record], task: BaseTask, findings: Findings) -> Split:
    """Read a split to its end, and accept records as the examples of tasks/training.py do.

    task: with a tokenizer that cuts nothing.
    """
    split, unknown = Split(name), task.tokenizer.unknown
    for record, encoded in task.encoded(_readable(name, records, findings)):
        split.read += 1
        split.sources[record.source] += 1
        code = "unreadable"
        try:
            if record.fault is not None:
                raise RecordError(record.fault)
            code = "bad-text"
            if isinstance(encoded, RecordError):
                raise encoded
            texts = tuple(task.texts(record).values())
            code = "bad-label"
            kept = Record(record.index, task.label_fields(record), record.line, record.source, lines=record.lines)
            doubts = list(task.token_doubts(record, encoded))
        except RecordError as error:
            findings.add_all(code, record, error)
            continue
        for doubt, message in doubts:
            findings.add(doubt, record.location, message)
        pieces = [window.ids for window in encoded.windows]
        count = 0 if unknown is None else sum(ids.count(unknown) for ids in pieces)
        split.examples.append(Example(kept, texts, tuple(map(len, pieces)), count))
    return split


def _readable(name: str, records: Iterable[Record], findings: Findings) -> Iterator[Record]:
    """The records up to an error that makes the rest of a file unusable, such as a header without names."""
    try:
        yield from records
    except UsageError as error:
        file, colon, message = str(error).partition(": ")
        findings.add("unreadable", file if colon else name, message if colon else str(error))


def _label(split: Split, task: BaseTask, settings: Settings, decision: Decision, findings: Findings) -> None:
    """Give the examples their gold labels, and leave out those that have none."""
    examples, split.examples = split.examples, []
    for example in examples:
        record = example.record
        if split.name == "dev" and (unknown := task.unknown_labels(settings, decision, [record])):
            names = decision.labels
            more = f", … ({len(names):,} in all)" if len(names) > 10 else ""
            message = f"{', '.join(map(repr, unknown))}; train has: {', '.join(names[:10])}{more}"
            findings.add("unknown-label", record.location, message)
            continue
        try:
            example.gold = task.label(record)
        except RecordError as error:
            findings.add_all("bad-label", record, error)
            continue
        split.examples.append(example)
        for code, message in task.doubts(record, example.gold):
            findings.add(code, record.location, message)


def _lengths(split: Split, tokenizer: Tokenizer, limit: int, findings: Findings) -> dict[str, Any]:
    """Note the texts of over `limit` tokens and those in a foreign script; returns the facts of the split.

    median, longest: tokens of a text, of two that are encoded separately the longer one's. over: share of the texts
    over the limit. unknown: share of all pieces.
    """
    pieces = np.array([max(example.pieces) for example in split.examples])
    unknown = np.array([example.unknown for example in split.examples])
    special = [tokenizer.backend.num_special_tokens_to_add(is_pair) for is_pair in (False, True)]
    lengths = [  # of the texts themselves; two texts in one window have the special tokens of a pair
        sum(count - special[len(example.texts) > len(example.pieces)] for count in example.pieces)
        for example in split.examples
    ]
    words = np.maximum(lengths, 1)
    for i in np.flatnonzero(pieces > limit):
        findings.add("long-text", split.examples[i].record.location, f"{pieces[i]:,} tokens, the model takes {limit:,}")
    for i in np.flatnonzero(unknown > FOREIGN * words):
        message = f"{unknown[i]:,} of {words[i]:,} pieces are unknown: {excerpt(split.examples[i].texts[0])}"
        findings.add("unknown-pieces", split.examples[i].record.location, message)
    return {
        "median": int(np.median(pieces)),
        "longest": int(pieces.max()),
        "limit": limit,
        "over": float((pieces > limit).mean()),
        "unknown": float(unknown.sum() / words.sum()),
    }


# Labels that are rare, much alike or unevenly spread.


def _count(split: Split, task: BaseTask) -> Counter[str]:
    """How often a split has each label."""
    return Counter(name for example in split.examples for name in task.label_names(example.gold))


def _table(splits: Sequence[Split], task: BaseTask, decision: Decision) -> dict[str, dict[str, Any]]:
    """How often each split has each label, most frequent first; for numbers the least, mean and greatest."""
    if decision.is_number:
        numbers = {s.name: [float(example.gold) for example in s.examples] for s in splits if s.examples}
        functions: dict[str, Callable[[list[float]], float]] = {"least": min, "mean": fmean, "greatest": max}
        return {name: {split: of(golds) for split, golds in numbers.items()} for name, of in functions.items()}
    counts = {split.name: _count(split, task) for split in splits}
    ranked = [name for name, _ in sum(counts.values(), Counter[str]()).most_common()]
    return {name: {split: count[name] for split, count in counts.items()} for name in ranked}


def _check_labels(splits: Sequence[Split], task: BaseTask, findings: Findings) -> None:
    """Look at the labels of train, and of dev where there is one."""
    train, dev = splits[0], (splits[1] if len(splits) > 1 else None)
    counts = _count(train, task)
    typos = dict(_typos(counts))
    rare = {name for name in counts.keys() - typos.keys() if counts[name] < FEW}
    missing = {name for name in counts if name.casefold() in MISSING}
    for example in train.examples:
        for name in dict.fromkeys(task.label_names(example.gold)):
            if name in missing:
                missing.remove(name)  # its first record is enough
                findings.add("missing-label", example.record.location, f"'{name}' has {counts[name]:,}")
            if name in typos:
                other = typos[name]
                message = f"'{name}' has {counts[name]:,}, '{other}' has {counts[other]:,}"
                findings.add("label-typo", example.record.location, message)
            elif name in rare:
                rare.remove(name)
                findings.add(
                    "rare-label", example.record.location, f"'{name}' has {counts[name]} of {counts.total():,}"
                )
    ranked = [(name, number) for name, number in counts.most_common() if number >= FEW]
    if len(ranked) > 1 and ranked[0][1] >= UNEVEN * ranked[-1][1]:
        (most, many), (least, few) = ranked[0], ranked[-1]
        message = f"'{most}' has {many:,}, '{least}' has {few:,} of {counts.total():,}"
        findings.add("imbalance", train.files, message)
    if dev and dev.examples:
        for name in sorted(counts.keys() - typos.keys() - _count(dev, task).keys()):
            findings.add("label-not-in-dev", dev.files, f"'{name}', of which train has {counts[name]:,}")


def _typos(counts: Counter[str]) -> Iterator[tuple[str, str]]:
    """Labels that may be typos, each with the more frequent label that it resembles."""
    ranked = counts.most_common()
    usual: dict[str, str] = {}  # of the labels that differ in case, spaces and marks only, the most frequent
    for name, number in ranked:
        alike = []
        for other, more in ranked:
            if more < FREQUENT * number:
                break
            differing = (Counter(name) - Counter(other)) + (Counter(other) - Counter(name))
            if any(character.isdigit() for character in differing):
                continue  # class_1 and class_2 are no typos of each other
            matcher = SequenceMatcher(None, fold(name), fold(other), autojunk=False)
            if matcher.real_quick_ratio() >= ALIKE <= matcher.quick_ratio():
                alike.append((matcher.ratio(), other))
        bare = BETWEEN.sub("", fold(name).strip(SURROUNDING)) or name
        if (other := usual.setdefault(bare, name)) != name:
            yield name, other
        elif alike and max(alike)[0] >= ALIKE:
            yield name, max(alike)[1]


# Records that repeat others or nearly do, in their split or from train to dev, and empty ones.

Seen = dict[tuple[str, ...], list[Example]]  # of each text the first record with each label


def _check_repeats(splits: Sequence[Split], task: BaseTask, findings: Findings) -> None:
    """Note empty texts, and equal and nearly equal ones within and across splits, train before dev."""
    seen: Seen = {}
    train = 0
    for split in splits:
        in_split: Seen = {}
        for example in split.examples:
            if not all(text.strip() for text in example.texts):
                findings.add("empty-text", example.record.location, _quoted(example))
                continue
            if any(map(_is_quoted, example.texts)):
                findings.add("quoted-text", example.record.location, _quoted(example))
            _compare(example, in_split, task, findings, "duplicate")
            _compare(example, seen, task, findings, "leak")
            _remember(example, in_split, task)
        for example in chain.from_iterable(in_split.values()):
            _remember(example, seen, task)
        train = len(seen) if split is splits[0] else train
    firsts = [same[0] for same in seen.values()]  # of each text; the first `train` of them are in that split
    for i, j, similarity in near([example.texts for example in firsts]):
        example, other = firsts[i], firsts[j]
        code = "near-leak" if j < train <= i else "near-duplicate"
        findings.add(code, example.record.location, f"{similarity:.2f} like {_at(other, example)}: {_quoted(example)}")
    if not task.shared_text or len(splits) < 2:
        return
    # Records that share their second text with train, such as a context, though not the first, such as a question.
    contexts = {example.texts[1]: example for example in reversed(splits[0].examples)}
    pairs = {example.texts for example in splits[0].examples}
    for example in splits[1].examples:
        if (same := contexts.get(example.texts[1])) and example.texts not in pairs:
            message = f"the context of {_at(same, example)}: '{excerpt(example.texts[0], 60)}'"
            findings.add("leaked-context", example.record.location, message)


def _is_quoted(text: str) -> bool:
    """Whether a text stands as CSV writes it: in quotation marks, with each one inside doubled, and at least one."""
    inner = text[1:-1]
    return text[:1] == text[-1:] == '"' and '""' in inner and '"' not in inner.replace('""', "")


def _at(other: Example, example: Example) -> str:
    """The place of a record: its line, and its file if that is another one than the other record's."""
    return f"line {other.record.line}" if other.record.source == example.record.source else other.record.location


def _quoted(example: Example) -> str:
    return " / ".join(f"'{excerpt(text)}'" for text in example.texts)


def _remember(example: Example, seen: Seen, task: BaseTask) -> None:
    same = seen.setdefault(example.texts, [])
    if all(not task.agree(example.gold, other.gold) for other in same):
        same.append(example)


def _compare(example: Example, seen: Seen, task: BaseTask, findings: Findings, code: str) -> None:
    """Note that a text came before (`code`: as a repeat or a leak), or that it never had this label there."""
    if not (others := seen.get(example.texts)):
        return
    same = next((other for other in others if task.agree(example.gold, other.gold)), None)
    other = same or others[0]
    message = f"{_at(other, example)}: {_quoted(example)}"
    if same or code == "leak":
        findings.add(code, example.record.location, f"as {message}")
    if not same:
        findings.add("conflicting-label", example.record.location, f"another label than {message}")
