"""The options of all tasks. Knows no task, and imports nothing heavy, so that `--help` is quick.

Try: python -c "from bertcli.tasks.options import Options; print(Options(top_k=2))"
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass, fields
from typing import Literal

from bertcli.arrays import Long
from bertcli.errors import UsageError
from bertcli.option import option

Scheme = Literal["auto", "iob1", "iob2", "bioes", "io"]  # of entity tags
OffsetUnit = Literal["codepoint", "utf16", "utf8"]  # in which start and end of an entity count
Language = Literal["auto", "en", "zh"]  # whose way of comparing answers
ClassWeights = Literal["balanced"] | Mapping[str, float] | None  # in the loss; None: all equal
Problem = Literal["auto", "single", "multi", "regression"]
TASK_OPTIONS = {  # fields that only some tasks read: each task lists its own in `accepts` and refuses the others
    "all_scores", "language", "mask", "normalize", "null_threshold", "offset_unit", "pair_field", "prompt", "question",
    "redact", "scheme", "threshold", "top_k",
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """The options of all tasks. Each task reads those that it needs.

    tags: give each word's tag beside the entities. text_first: whether --text-field was given, so that this field is
    read even if a record has tokens. map_labels: the new name of a label, "" to leave it out. normalize: None for what
    the model says. null_threshold: the log-odds that an answer needs; None for the model's, auto for the best on the
    labelled data.
    """

    text_field: str = option("text", "Field of the text; a.b goes inside.", "NAME")
    pair_field: str | None = option(None, "Field with the second text of a pair.", "NAME", group="data")
    label_field: str = option("label", "Field with the label or labels.", "NAME")
    label_separator: str = option(",", "Between several labels in one CSV or TSV cell.", "TEXT", group="data")
    long: Long = option(
        "window",
        "Texts over the model's length: overlapping windows, a cut that is reported, or an error record.",
        group="data",
    )
    top_k: int | None = option(None, "Also the K best labels with their scores.", "K", least=1)
    all_scores: bool = option(False, "Also give every label's score.", group="what")
    threshold: float | None = option(
        None, "Least score for a label to be given.  [default: 0.5 for multi-label]", least=0, most=1, group="what"
    )
    scheme: Scheme = option(
        "auto",
        "How the data's entity tags are written; auto reads all of these, the others refuse what differs.",
        group="data",
    )
    offset_unit: OffsetUnit = option("codepoint", "In what start and end of an entity count.", group="output")
    tags: bool = False
    text_first: bool = False
    map_labels: Mapping[str, str] | None = None
    prediction_field: str | None = option(
        None,
        "Field of --predictions with the prediction.  [default: as predict calls it: label, answer, tags, …]",
        "NAME",
        group="data",
    )
    normalize: bool | None = option(
        None,
        "Embeddings of length 1, or as pooled.  [default: what the model says, else as pooled]",
        flags="--normalize/--no-normalize",
        group="what",
    )
    prompt: str | None = option(
        None,
        "Which of the model's prompts goes before each text, '' for none.  [default: the model's own]",
        "NAME",
        more={"may_be_empty": True},
        group="what",
    )
    mask: str | None = option(None, "Accept this for the model's own mask token.", "TOKEN", group="what")
    question: str | None = option(None, "Ask this of every record; its text is the context.", "TEXT", group="what")
    null_threshold: float | Literal["auto"] | None = option(
        None,
        "Log-odds under which a question has no answer.  [default: the model's, if it has one]",
        "NUMBER",
        group="what",
    )
    language: Language = option(
        "auto", "Compare answers as SQuAD (en) or CMRC 2018 (zh) does; auto: by the text.", group="what"
    )
    redact: bool = option(
        False, "Write the text with its entities replaced, and no other text of the record.", group="what"
    )
    redact_as: Literal["mask", "pseudonym", "hash"] = option(
        "mask", "By [PER], by PER_1, the same all through the run, or by PER_ and a hash by --redact-key.", group="what"
    )
    redact_types: str | None = option(
        None, "Types of the model that are replaced, comma-separated, or none.  [default: all]", "NAMES", group="what"
    )
    redact_rules: str = option(
        "email,url,ip,phone,iban,card",
        "What rules look for besides, or none; the last three need the extra `redact`.",
        "NAMES",
        group="what",
    )
    redact_regions: str = option(
        "US,GB,CN", "Countries whose phone numbers are known without a +, or none.", "CODES", group="what"
    )
    redact_key: str | None = option(
        None, "Where the key of the hash is: file:PATH or env:VARIABLE.", "SOURCE", group="what"
    )
    redact_keep: str | None = option(
        None, "Other fields whose text is written as it is, comma-separated.", "NAMES", group="what"
    )
    redact_list: bool = option(
        False, "Also list what was replaced, with its text and offsets, as `redacted`.", group="what"
    )

    def __post_init__(self) -> None:
        """Refuse --redact-… without --redact, which would not redact anything, and an empty --label-separator."""
        if not self.label_separator:
            raise UsageError("--label-separator '': write what stands between labels.")
        for field in fields(Options):
            if field.name.startswith("redact_") and not self.redact and getattr(self, field.name) != field.default:
                raise UsageError(f"--{field.name.replace('_', '-')} does nothing without --redact.")

    def require_accepted(self, names: Set[str], task: str) -> None:
        """Raise UsageError where one of TASK_OPTIONS is set that a task does not accept. names: those it accepts."""
        for field in fields(Options):
            # finetune sets null_threshold to `auto` for all tasks.
            if field.name in TASK_OPTIONS - names and getattr(self, field.name) not in (field.default, "auto"):
                raise UsageError(f"--{field.name.replace('_', '-')} means nothing to {task}; leave it out.")


class LabelSettings(ABC):
    """The settings of labels and loss that tasks read; training/settings.py, which has them, says what each means."""

    problem: Problem
    labels: tuple[str, ...] | None
    class_weights: ClassWeights
    label_smoothing: float

    @property
    @abstractmethod
    def options(self) -> Options:
        """What of the settings are options of the task."""
