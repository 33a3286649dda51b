"""What kind of classification the training labels ask for, and the names and order of the labels."""

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError, UsageError
from bertcli.metrics.entities import recognise
from bertcli.model import Model
from bertcli.tasks._entity_labels import entity_types, tags_of
from bertcli.tasks.text_classification import Problem, ids_by_name, label_name, label_names, problem_of
from bertcli.training.settings import Settings

Other = Literal["token_classification", "question_answering", "fill_mask", "similarity"]
TOKENS: Other = "token_classification"
KINDS: dict[str, Problem] = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
INTEGER = re.compile(r"[+-]?\d+")
DECIMAL = re.compile(r"\s*[+-]?\d*\.\d+([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Decision:
    """The problem, its labels by id (regression has one output, named score), and the reasons, for people."""

    problem: Problem | Other
    labels: list[str]
    reason: str
    labels_reason: str

    @property
    def config(self) -> dict[str, Any]:
        """The part of config.json that says so, as transformers writes it."""
        if self.problem in ("question_answering", "fill_mask", "similarity"):
            return {}
        stated = {} if self.problem == TOKENS else {"problem_type": self.problem}
        return stated | {
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: i for i, label in enumerate(self.labels)},
        }


def decide(settings: Settings, base: Model, records: Sequence[Record]) -> Decision:
    """Choose the problem and the label order. Raises UsageError where there is nothing to learn."""
    if not records:
        raise UsageError("the training data has no records; --train needs at least two, of two classes.")
    match settings.task:
        case "token-classification":
            return _tags(settings, base, records)
        case "question-answering":
            return Decision("question_answering", ["start", "end"], "the first and the last token of the answer", "")
        case "fill-mask":
            return Decision("fill_mask", [], "the token of each mask", "")
        case "feature-extraction":
            if settings.pair_field is None:
                raise UsageError("embeddings are trained on scored pairs; --pair-field names the second text.")
            return Decision("similarity", [], "the cosine of each pair, its labels' range scaled to 0 to 1", "")
    return _classes(settings, base, records)


def _classes(settings: Settings, base: Model, records: Sequence[Record]) -> Decision:
    """Labels, sets of labels, or numbers."""
    problem, reason = _problem(settings, [_value(record, settings) for record in records])
    if problem == "regression":
        return Decision(problem, ["score"], reason, "")
    found = names_in(records, problem, settings)
    if len(found) < 2 and problem == "single_label_classification":
        raise UsageError(f"all {len(records):,} training records have the label '{found[0]}'; two classes are needed.")
    if not found:
        raise UsageError("no training record has a label; --label-field and --label-separator say where they are.")
    labels, why = _labels(settings, base, problem, found)
    return Decision(problem, labels, reason, why)


def _tags(settings: Settings, base: Model, records: Sequence[Record]) -> Decision:
    """IOB2 labels of the entity types given, of the base model's where they cover the data, else of the data's."""
    found = types_in(records, settings)
    if not found:
        raise UsageError("no training record has an entity; at least one type is needed.")
    given, why = (
        list(settings.labels or found),
        "as given by --labels" if settings.labels else "sorted types of the data",
    )
    labels = ["O", *(f"{prefix}-{kind}" for kind in given for prefix in "BI")]
    if not settings.labels and base.head == "TokenClassification" and set(labels) <= set(base.labels):
        labels, why = base.labels, "those of the base model"
    return Decision(TOKENS, labels, f"tags in {_scheme(records, settings).upper()}", why)


def _scheme(records: Iterable[Record], settings: Settings) -> str:
    if settings.scheme != "auto":
        return settings.scheme
    good = (record for record in records if "tokens" in record.fields)
    with suppress(RecordError):  # Task.label says where
        return recognise(tags_of(record, settings.label_field) for record in good)
    return "iob2"


def types_in(records: Iterable[Record], settings: Settings) -> list[str]:
    """The entity types, sorted. Records whose tags are none are left to Task.label."""
    types: set[str] = set()
    for record in records:
        try:
            types.update(entity_types(record, settings.label_field))
        except RecordError:
            continue
    return sorted(types)


def _problem(settings: Settings, values: list[Any]) -> tuple[Problem, str]:
    if settings.problem != "auto":
        return KINDS[settings.problem], "asked for"
    if all(isinstance(value, list) for value in values):
        return "multi_label_classification", "every label is a list"
    if all(is_decimal(value) for value in values):
        return "regression", "every label is a number with a decimal point"
    return "single_label_classification", "the labels are neither lists nor all decimal numbers"


def is_decimal(value: Any) -> bool:
    """Whether a label is a number with a decimal point, in JSON or as text."""
    return isinstance(value, float) or (isinstance(value, str) and DECIMAL.fullmatch(value) is not None)


def _labels(settings: Settings, base: Model, problem: Problem, found: list[str]) -> tuple[list[str], str]:
    """Given, else the base model's own where they cover the data, else sorted."""
    if settings.labels:
        return list(settings.labels), "as given by --labels"
    is_same_kind = base.head == "SequenceClassification" and problem_of(base.config) == problem
    if is_same_kind and set(found) <= set(base.labels):
        return base.labels, "those of the base model"
    return found, "sorted, from the training data"


def names_in(records: Iterable[Record], problem: Problem | Other, settings: Settings) -> list[str]:
    """The distinct label names, sorted; integers by their value. Labels that are no names are left to Task.label."""
    names: set[str] = set()
    for record in records:
        try:
            names.update(_names(_value(record, settings), problem, settings.label_separator))
        except RecordError:
            continue
    return sorted(names, key=int) if all(_is_integer(name) for name in names) else sorted(names)


def _is_integer(name: str) -> bool:
    return INTEGER.fullmatch(name) is not None


def _names(value: Any, problem: Problem | Other, separator: str) -> list[str]:
    return label_names(value, separator) if problem == "multi_label_classification" else [label_name(value)]


def _value(record: Record, settings: Settings) -> Any:
    return lookup(record.fields, settings.label_field, "--label-field")


def demand_known(records: Iterable[Record], decision: Decision, settings: Settings) -> None:
    """Raise UsageError that lists the labels of the dev data which the model does not have."""
    if names := unknown(records, decision, settings):
        raise UsageError(
            f"the dev data has labels that the training data has not: {', '.join(names)}. "
            f"Known are: {', '.join(decision.labels)}."
        )


def unknown(records: Iterable[Record], decision: Decision, settings: Settings) -> list[str]:
    """The labels of these records that are none of the decision's, sorted."""
    if not decision.labels_reason:
        return []
    known: Collection[str]
    if decision.problem == TOKENS:
        found, known = types_in(records, settings), {label[2:]: 0 for label in decision.labels if label != "O"}
    else:
        found, known = names_in(records, decision.problem, settings), ids_by_name(decision.labels)
    return [name for name in found if name not in known]
