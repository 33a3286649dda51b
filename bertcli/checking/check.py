"""All checks of labelled data, in the order of fine-tuning: read, accept, decide, label; then what it would not see.

Imports neither torch nor transformers. Try: bertcli check train.jsonl --dev dev.jsonl
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertcli import registry, tokenizer
from bertcli.checking import labels, lengths, repeats, spans
from bertcli.checking.findings import Findings
from bertcli.checking.split import ENDLESS, NoTokenizer, Split, read
from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError
from bertcli.model import Model
from bertcli.tasks.base import BaseTask
from bertcli.training import problem
from bertcli.training.settings import Settings


@dataclass(frozen=True)
class Report:
    """What was found. facts: task, problem, records, labels and lengths, for people and scripts."""

    facts: dict[str, Any]
    findings: Findings


def guess_task(record: Record | None) -> str:
    """The task that a first record is made for."""
    fields = record.fields if record else {}
    if "tokens" in fields or "entities" in fields:
        return "token-classification"
    return "question-answering" if {"context", "answers"} <= fields.keys() else "text-classification"


def check(settings: Settings, model: Model | None, train: Iterable[Record], dev: Iterable[Record] | None) -> Report:
    """Check a training split, and a dev split if there is one. model: whose tokenizer counts; None: none does."""
    findings = Findings()
    tokens = tokenizer.load(model.path, model.config) if model else NoTokenizer()
    limit, tokens.max_length = tokens.max_length, ENDLESS
    base = model or Model(Path(), {})
    kind = registry.load("tasks", settings.task).Task
    reader = kind(tokens, base.config, settings.options)
    given = {"train": train} | ({} if dev is None else {"dev": dev})
    splits = [read(name, records, reader, findings) for name, records in given.items()]
    facts: dict[str, Any] = {"task": settings.task, "records": {split.name: split.read for split in splits}}
    if decision := _decide(settings, base, splits, findings):
        task = kind(tokens, {**base.config, **decision.config}, settings.options)
        for split in splits:
            _label(split, task, settings, decision, findings)
        facts |= {"problem": decision.problem, "labels": labels.table(splits, decision)}
        labels.check(splits, decision, findings)
    if model:
        limit = min(limit, (model.sentence if not kind.head else {}).get("max_length") or limit)
        facts["tokens"] = lengths.check(splits, tokens, limit, findings)
    repeats.check(splits, settings.task, findings)
    return Report(facts, findings)


def _decide(settings: Settings, base: Model, splits: Sequence[Split], findings: Findings) -> problem.Decision | None:
    """What fine-tuning would decide; None where it would refuse."""
    for split in splits[1:]:
        if not split.examples:
            findings.add(
                "nothing-to-learn", split.place, "the dev data has no usable record; mend it, or leave it away."
            )
    if settings.task == "text-classification" and settings.problem == "auto":
        labels.check_kinds(splits[0].examples, settings.label_field, findings)
    try:
        return problem.decide(settings, base, splits[0].records)
    except UsageError as error:
        findings.add("nothing-to-learn", splits[0].place, str(error))
        return None


def _label(split: Split, task: BaseTask, settings: Settings, decision: problem.Decision, findings: Findings) -> None:
    """Give the examples their targets, and leave out those that have none."""
    if settings.task == "token-classification":
        tagged = [record for record in split.records if "tokens" in record.fields]
        spans.check_scheme(tagged, settings.label_field, findings)
    examples, split.examples = split.examples, []
    for example in examples:
        record = example.record
        if split.name == "dev" and (unknown := problem.unknown([record], decision, settings)):
            findings.add(
                "unknown-label", record.location, f"{', '.join(map(repr, unknown))}; train has: {_few(decision.labels)}"
            )
            continue
        try:
            example.gold = task.label(record)
        except RecordError as error:
            findings.add_all("bad-label", record, error)
            continue
        split.examples.append(example)
        for code, message in spans.doubts(task, record, example.gold):
            findings.add(code, record.location, message)


def _few(names: Sequence[str]) -> str:
    more = f", … ({len(names):,} in all)" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
