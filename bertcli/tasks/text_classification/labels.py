"""The labels of texts: names, lists of names or numbers; which of the three data has; what is odd among them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from bertcli.data.records import Record, lookup
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.model import Model
from bertcli.tasks.labels import Decision, LabelSettings, label_config, labels_of, renamed
from bertcli.tasks.options import Options

Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
PROBLEMS: Mapping[str, Problem] = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
INTEGER = re.compile(r"[+-]?\d+")
DECIMAL = re.compile(r"\s*[+-]?\d*\.\d+([eE][+-]?\d+)?\s*")
NUMBERS = {"decimal number", "integer"}  # sorts of labels; the others are list and name
NEARLY_ALL = 0.9  # share of labels of one sort from which on those of another look like mistakes


def problem_of(config: Mapping[str, Any]) -> Problem:
    """The kind of problem a Hugging Face config describes; a single output without more is a regression."""
    stated: Problem | None = config.get("problem_type")
    if stated and stated not in PROBLEMS.values():
        raise ModelError(f"config.json: problem_type is '{stated}', which is none of {', '.join(PROBLEMS.values())}.")
    return stated or ("regression" if len(labels_of(config)) == 1 else "single_label_classification")


def label_name(value: Any) -> str:
    """A label as a string, as config.json stores it: 1, "1" and ["1"] are the same label, true is "true"."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int)) and str(value).strip():
        return str(value).strip()
    raise RecordError(f"the label {value!r} is neither text nor an integer.")


def label_names(value: Any, separator: str) -> list[str]:
    """The labels of a multi-label record: a JSON list, or text with a separator; none at all is allowed."""
    if isinstance(value, str):
        value = [part for part in value.split(separator) if part.strip()]
    if not isinstance(value, list):
        raise RecordError(f"the labels {value!r} are neither a list nor text.")
    return [label_name(item) for item in value]


def relabelled(record: Record, options: Options, several: bool) -> Record | None:
    """The record with its label or labels as --map-labels says; None where its one label is left out.

    Raises RecordError for what is no label.
    """
    value: Any = lookup(record.fields, options.label_field, "--label-field")
    if several or isinstance(value, list):
        names = (renamed(name, options) for name in label_names(value, options.label_separator))
        value = list(filter(None, names))
    elif not (value := renamed(label_name(value), options)):
        return None
    return replace(record, fields={**record.fields, options.label_field: value})


def ids_by_name(labels: Sequence[str]) -> dict[str, int]:
    """The id of each label; the ids of id2label stand for their labels too, unless a label is itself a number."""
    by_name = {label: i for i, label in enumerate(labels)}
    if any(label.isdecimal() for label in labels):
        return by_name
    return {str(i): i for i in range(len(labels))} | by_name


def decide(settings: LabelSettings, base: Model, records: Sequence[Record]) -> Decision:
    """One label, several, or a number, and the order of the labels: given, else the base model's, else sorted.

    Raises UsageError where there is nothing to learn.
    """
    problem, reason = _problem(settings, records)
    if problem == "regression":
        return Decision(problem, ["score"], reason, is_number=True, config=label_config(["score"], problem))
    names = names_in(records, problem, settings)
    if not names:
        raise UsageError("no training record has a label; --label-field and --label-separator say where they are.")
    if len(names) < 2 and problem == "single_label_classification":
        raise UsageError(f"all {len(records):,} training records have the label '{names[0]}'; two classes are needed.")
    is_same_problem = base.head == "SequenceClassification" and problem_of(base.config) == problem
    labels, why = names, "sorted, from the training data"
    if settings.labels:
        labels, why = list(settings.labels), "as given by --labels"
    elif is_same_problem and set(names) <= set(base.labels):
        labels, why = base.labels, f"those of the model {base.path.name}"
    return Decision(problem, labels, reason, why, config=label_config(labels, problem))


def _problem(settings: LabelSettings, records: Sequence[Record]) -> tuple[Problem, str]:
    values = [lookup(record.fields, settings.options.label_field, "--label-field") for record in records]
    if settings.problem != "auto":
        return PROBLEMS[settings.problem], "asked for"
    if all(isinstance(value, list) and len(value) == 1 for value in values):
        return "single_label_classification", "every label is a list of one; --problem multi learns each by itself"
    if all(isinstance(value, list) for value in values):
        return "multi_label_classification", "every label is a list"
    sorts = set(map(sort_of, values))
    if sorts == {"decimal number"}:
        return "regression", "every label is a number with a decimal point"
    if sorts == NUMBERS:
        return "regression", "every label is a number, and some have a decimal point"
    if sorts == {"integer"}:
        return "single_label_classification", "whole numbers are classes; --problem regression takes them as numbers"
    return "single_label_classification", "the labels are neither lists nor all decimal numbers"


def sort_of(value: Any) -> str:
    """What a label looks like, in JSON or as text: list, decimal number, integer or name, which true and false are."""
    if isinstance(value, list):
        return "list"
    text = value if isinstance(value, str) else ""
    if isinstance(value, float) or DECIMAL.fullmatch(text):
        return "decimal number"
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return "integer" if is_integer or INTEGER.fullmatch(text.strip()) else "name"


def names_of(value: Any, options: Options, several: bool) -> list[str]:
    """The label names in a value. Raises RecordError."""
    return label_names(value, options.label_separator) if several else [label_name(value)]


def names_in(records: Sequence[Record], problem: str, settings: LabelSettings) -> list[str]:
    """The distinct label names, sorted; integers by their value. Labels that are no names are left to Task.label."""
    names: set[str] = set()
    for record in records:
        try:
            value = lookup(record.fields, settings.options.label_field, "--label-field")
            names.update(names_of(value, settings.options, problem == "multi_label_classification"))
        except RecordError:
            continue
    return sorted_names(names)


def sorted_names(names: set[str]) -> list[str]:
    """Integers by their value."""
    return sorted(names, key=int) if all(INTEGER.fullmatch(name) for name in names) else sorted(names)


def doubts(records: Sequence[Record], field: str) -> Iterator[tuple[Record, str, RecordError]]:
    """Whole numbers, which may be meant as such; and a label of another sort than most, which makes classes of all."""
    sorts = [(record, sort_of(record.fields.get(field))) for record in records]
    counts = Counter(sort for _, sort in sorts)
    numbers = {int(record.fields[field]) for record, sort in sorts if sort == "integer"}
    if len(numbers) > 2 and counts["integer"] == len(sorts):
        shown = f"{len(numbers):,} whole numbers from {min(numbers)} to {max(numbers)}"
        yield records[0], "number-labels", RecordError(shown)
    usual = max(("list", "decimal number"), key=lambda sort: counts[sort])
    same = {usual} if usual == "list" else {usual, "integer"}  # 4 among 3.5 and 2.25 is a number too
    alike = sum(counts[sort] for sort in same)
    if not counts[usual] or not NEARLY_ALL * len(sorts) <= alike < len(sorts):
        return
    for record, sort in sorts:
        if sort not in same:
            article = "an" if sort == "integer" else "a"
            shown = f"{record.fields.get(field)!r:.60} is {article} {sort}"
            message = f"{shown}, {alike:,} of {len(sorts):,} are a {usual}"
            yield record, "mixed-labels", RecordError(message)
