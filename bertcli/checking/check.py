"""All checks of labelled data, in the order of fine-tuning: read, accept, decide, label; then what it would not see.

Imports neither torch nor transformers, and knows no task: each says itself what it doubts.
Try: bertcli check train.jsonl --dev dev.jsonl
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bertcli import registry, tokenizer_files
from bertcli.checking import repeats
from bertcli.checking.findings import Findings, Split, read
from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError
from bertcli.model import Model
from bertcli.tasks import DEFAULT
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import Decision, decide
from bertcli.tokenizer import ENDLESS, NoTokenizer, Tokenizer
from bertcli.training.settings import Settings

FOREIGN = 0.2  # share of a text's pieces that the tokenizer may not know
FEW = 5  # training records under which a label can hardly be learnt
UNEVEN = 10  # times as many records as the rarest label: from here on the rare ones are seldom predicted
FREQUENT = 20  # times as many records as a label that may be a typo of it
ALIKE = 0.8  # difflib's ratio: one letter of five wrong, or two of ten


def guess_task(record: Record | None) -> str:
    """The task that a first record is made for."""
    tasks = (registry.load("tasks", name).Task for name in registry.names("tasks"))
    return next((task.name for task in tasks if record and task.fits(record)), DEFAULT)


def check(
    settings: Settings, model: Model | None, train: Iterable[Record], dev: Iterable[Record] | None
) -> tuple[dict[str, Any], Findings]:
    """Check a training split, and a dev split if there is one. model: whose tokenizer counts; None: none does.

    Returns task, problem, records, labels and lengths, for people and scripts; and what is wrong.
    """
    findings = Findings()
    tokens = tokenizer_files.load(model.path, model.config) if model else NoTokenizer()
    limit, tokens.max_length = tokens.max_length, ENDLESS
    base = model or Model(Path(), {})
    task_class: type[BaseTask] = registry.load("tasks", settings.task).Task
    reader = task_class(tokens, base.config, settings.options)
    sources = {"train": train} | ({} if dev is None else {"dev": dev})
    splits = [read(name, records, reader, findings) for name, records in sources.items()]
    facts: dict[str, Any] = {"task": settings.task, "records": {split.name: split.read for split in splits}}
    if decision := _decide(task_class, settings, base, splits, findings):
        task = task_class(tokens, {**base.config, **decision.config}, settings.options)
        for split in splits:
            _label(split, task, settings, decision, findings)
        facts |= {"problem": decision.problem, "labels": _table(splits, task, decision)}
        if decision.has_classes:
            _check_labels(splits, task, findings)
    if model:
        stated = task_class.config_of(model).get("sentence") or {}  # embeddings may be made of shorter texts
        limit = min(limit, stated.get("max_length") or limit)
        facts["tokens"] = {s.name: _lengths(s, tokens, limit, findings) for s in splits if s.examples}
    repeats.check(splits, reader, findings)
    return facts, findings


def _decide(
    task_class: type[BaseTask], settings: Settings, base: Model, splits: Sequence[Split], findings: Findings
) -> Decision | None:
    """What fine-tuning would decide; None where it would refuse."""
    for split in splits[1:]:
        if not split.examples:
            message = "the dev data has no usable record; mend it, or leave it away."
            findings.add("nothing-to-learn", split.files, message)
    for split in splits:
        for record, code, error in task_class.split_doubts(settings, split.records, split is splits[0]):
            findings.add_all(code, record, error)
    try:
        return decide(task_class, settings, base, splits[0].records)
    except UsageError as error:
        findings.add("nothing-to-learn", splits[0].files, str(error))
        return None


def _label(split: Split, task: BaseTask, settings: Settings, decision: Decision, findings: Findings) -> None:
    """Give the examples their targets, and leave out those that have none."""
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

    median, longest: tokens of a text. over: share of the texts over the limit. unknown: share of all pieces.
    """
    pieces = np.array([example.pieces for example in split.examples])
    unknown = np.array([example.unknown for example in split.examples])
    special = [tokenizer.backend.num_special_tokens_to_add(len(example.texts) == 2) for example in split.examples]
    words = np.maximum(pieces - np.array(special), 1)  # pieces of the text itself
    for i in np.flatnonzero(pieces > limit):
        findings.add("long-text", split.examples[i].record.location, f"{pieces[i]:,} tokens, the model takes {limit:,}")
    for i in np.flatnonzero(unknown > FOREIGN * words):
        message = f"{unknown[i]:,} of {words[i]:,} pieces are unknown: {split.examples[i].texts[0]:.40}"
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
    """How often each split has each label, the most frequent first; of numbers the least, mean and greatest."""
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
    for example in train.examples:
        for name in dict.fromkeys(task.label_names(example.gold)):
            if name in typos:
                other = typos[name]
                message = f"'{name}' has {counts[name]:,}, '{other}' has {counts[other]:,}"
                findings.add("label-typo", example.record.location, message)
            elif name in rare:
                rare.remove(name)  # its first record is enough
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
    """Labels, each with a more frequent one that it may be meant for."""
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
            matcher = SequenceMatcher(None, name.casefold(), other.casefold(), autojunk=False)
            if matcher.real_quick_ratio() >= ALIKE <= matcher.quick_ratio():
                alike.append((matcher.ratio(), other))
        bare = "".join(character for character in name.casefold() if character.isalnum()) or name
        if (other := usual.setdefault(bare, name)) != name:
            yield name, other
        elif alike and max(alike)[0] >= ALIKE:
            yield name, max(alike)[1]
