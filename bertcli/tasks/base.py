"""What a task is: records to token ids, a model's outputs to results, labels to scores. No torch, no backend.

A task is a folder beside this file. Its __init__.py has ALIASES, a class `Task(BaseTask)`, and a class `ExternalTask`
if it scores what other systems predicted. Its training.py has a class `Training`, its explain.py a class `Explaining`.
The rest of the package calls these classes and never asks which task it is.
Try: python -c "from bertcli.tasks.fill_mask import Task; help(Task)"
"""

import json
import re
from abc import ABC, abstractmethod
from ast import literal_eval
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from bertcli import registry
from bertcli.arrays import Array, Arrays, Features, Floats, Logits
from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError, UsageError
from bertcli.model import Model
from bertcli.tasks.options import LabelSettings, Options
from bertcli.tasks.texts import Example, excerpt, text_of
from bertcli.tokenizer import Tokenizer, encode_each

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored
    from bertcli.tasks.explaining import BaseExplaining
    from bertcli.tasks.labels import Decision, Doubt
    from bertcli.tasks.training import BaseDistillation, BaseTraining


CHUNK = 4096  # records encoded at once
# ['a' 'b'], [0 1], {'text': array(['a'], dtype=object)}
ARRAY = re.compile(r"""\[\s*(['"].*['"]|[-+.e\d]+(\s+[-+.e\d]+)+)\s*\]|[\[{](?>.*?\barray\().*[\]}]""", re.DOTALL)
IGNORED = -100  # the target that torch's cross-entropy leaves out
Outputs = Sequence[Arrays]  # for each window, output name -> array without the batch axis
Encoded = Features | RecordError


class BaseTask(ABC):
    """A task with the tokenizer and config of one model. subject: how messages call it."""

    name: ClassVar[str]  # the folder's, as -t takes it
    head: ClassVar[str]  # the suffix of the transformers class (`AutoModelFor…`), "" for the encoder alone
    more_heads: ClassVar[tuple[str, ...]] = ()  # other heads that it can use
    decision: ClassVar["Decision | None"] = None  # what the outputs of the head mean, if that is the same for all data
    has_mistakes: ClassVar[bool] = True  # whether a prediction is right or wrong
    inputs: ClassVar[tuple[str, ...]] = ()  # fields besides the text that `explain` has options for
    labelled_by: ClassVar[tuple[Set[str], ...]] = ()  # a record with all fields of a set looks labelled for this task
    shared_text: ClassVar[str | None] = None  # which of `texts` many records share
    model_outputs: ClassVar[Mapping[str, int]] = MappingProxyType({"logits": 2})  # that it reads, with their axes
    has_named_labels: ClassVar[bool] = False  # whether --map-labels can rename them
    accepts: ClassVar[Set[str]] = frozenset()  # the TASK_OPTIONS that it reads
    # How many classes are right for an item; None if it has no probabilities of classes.
    classifies: Literal["one", "several"] | None = None
    labels: list[str] = []  # noqa: RUF012 - the names of its classes, if any
    # A result with all fields of `decode`, none empty, from which tables take the types of columns.
    example: dict[str, Any] = {}  # noqa: RUF012
    # The metrics that --fail-under and --metric may name; the first is the default of --metric. 1: higher is better and
    # 1 is perfect; -1: lower is better and 0 is perfect.
    directions: Mapping[str, int] = MappingProxyType({})
    memory: dict[str, int] | None = None  # what later results need from earlier ones, None if nothing; it only grows
    identity: Mapping[str, str] = MappingProxyType({})  # what besides record, model and options decides a result

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            cls.name = registry.choice_of(cls.__module__)

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.options = options
        self.subject = self.name
        options.require_accepted(self.accepts, self.name)

    # Before there is a task: what the data and the base model say of it. `check` and `finetune` call these.

    @classmethod
    def config_of(cls, model: Model) -> dict[str, Any]:
        """The config.json of a model, with what else the task reads of it."""
        return model.config

    @classmethod
    def config_of_base(cls, model: Model) -> dict[str, Any]:
        """The same for a base model, without the entries about its old head."""
        of_head = ("activation", "calibration", "is_decoder", "null_threshold")
        return {name: value for name, value in cls.config_of(model).items() if name not in of_head}

    @classmethod
    def decide(cls, settings: LabelSettings, base: Model, records: Sequence[Record]) -> "Decision":
        """What the outputs of a head for these records mean. Raises UsageError where there is nothing to learn."""
        if cls.decision is None:
            raise UsageError(f"{cls.name} cannot be trained.")
        return cls.decision

    @classmethod
    def unknown_labels(cls, settings: LabelSettings, decision: "Decision", records: Sequence[Record]) -> Sequence[str]:
        """The labels of these records that the decision lacks, sorted."""
        return []

    @classmethod
    def relabelled(cls, record: Record, options: Options, several: bool) -> Record | None:
        """The record with its labels renamed by --map-labels; None where its only label is left out.

        several: whether a record may have several labels. Raises RecordError for an invalid label.
        """
        return record

    @classmethod
    def split_doubts(
        cls, settings: LabelSettings, records: Sequence[Record], is_train: bool
    ) -> "Iterator[tuple[Record, str, RecordError]]":
        """What is doubtful in the labels of a whole split: the record, a code of checking/, and why."""
        yield from ()

    # From records to predictions and results.

    def encode(self, records: Sequence[Record]) -> list[Encoded]:
        """For each record, in order, its token ids or the RecordError that takes its place."""
        inputs: list[Any] = []
        for record in records:
            try:
                inputs.append(self.read(record))
            except RecordError as error:
                inputs.append(error)
        encoded = iter(encode_each(self.tokenize, [item for item in inputs if not isinstance(item, RecordError)]))
        return [item if isinstance(item, RecordError) else _readable(next(encoded)) for item in inputs]

    def encoded(self, records: Iterable[Record]) -> Iterator[tuple[Record, Encoded]]:
        """Each record with what `encode` gives for it, CHUNK records at a time."""
        iterator = iter(records)
        while chunk := list(islice(iterator, CHUNK)):
            yield from zip(chunk, self.encode(chunk), strict=True)

    def read(self, record: Record) -> Any:
        """The input of `tokenize` for a record: by default its text, or its two texts as a pair. Raises RecordError."""
        first, *second = self.texts(record).values()
        return (first, *second) if second else first

    def sample(self, text: str) -> dict[str, Any]:
        """The fields of a made-up record with that text, for `bench`."""
        names = filter(None, [self.options.text_field, self.options.pair_field])
        return dict.fromkeys(names, text)

    def tokenize(self, inputs: Sequence[Any]) -> list[Encoded]:
        """Token ids for each input that `read` gave, or the RecordError that takes its place."""
        return self.tokenizer.encode(inputs, self.options.long)

    def texts(self, record: Record) -> dict[str, str]:
        """The texts of a record by name: its text, then the second text of a pair. Raises RecordError."""
        texts = {"text": text_of(record, self.options.text_field, "--text-field")}
        if self.options.pair_field is not None:
            texts["text_pair"] = text_of(record, self.options.pair_field, "--pair-field")
        return texts

    def word_offsets(self, record: Record) -> Sequence[tuple[int, int]] | None:
        """The start and end of each word in the text, if the task encodes word by word."""
        return None

    def reduce(self, batch: Arrays, outputs: Arrays) -> Arrays:
        """Reduce large outputs of a batch (a vector per token, a score per vocabulary word) to what `combine` reads.

        All have the first axis B. This runs on a thread of the backend. By default nothing changes.
        """
        return outputs

    def reduce_tensors(self, batch: Mapping[str, Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same on the GPU, so that large tensors are not copied to the CPU; `reduce` then gets the result."""
        return outputs

    @abstractmethod
    def combine(self, features: Features, outputs: Outputs) -> Any:
        """The raw prediction of one record, from the outputs of its windows."""

    @abstractmethod
    def decode(self, record: Record, prediction: Any) -> dict[str, Any]:
        """The result of one record as the user sees it, from what `combine` returned."""

    def answer(self, record: Record, prediction: Any) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """What is written for a record: its fields (by default all), then its result."""
        return record.fields, self.decode(record, prediction)

    def certainty(self, logits: Logits) -> Floats:
        """(B,): how certain an early exit is of each row of logits (B, L). Raises UsageError if the task has none."""
        raise UsageError(f"{self.subject} has no early exit: text classification has.")

    # Labelled records.

    @abstractmethod
    def label(self, record: Record) -> Any:
        """The gold label of a record, in the form that `metrics` and the task's Training take. Raises RecordError."""

    def label_fields(self, record: Record) -> dict[str, Any]:
        """The fields that `label` reads; no others of a training record stay in memory. Raises RecordError."""
        name = self.options.label_field
        return {name: from_cell(lookup(record.fields, name, "--label-field"))}

    def label_names(self, gold: Any) -> Sequence[str]:
        """The label names in a gold label, for counting."""
        return []

    def agree(self, gold: Any, other: Any) -> bool:
        """Whether two gold labels of the same text can both be right."""
        return bool(gold == other)

    def doubts(self, record: Record, gold: Any) -> "Iterator[Doubt]":
        """What is doubtful in the gold label of a record."""
        yield from ()

    def token_doubts(self, record: Record, features: Features) -> "Iterator[Doubt]":
        """Labels that begin or end inside a token. features: the whole text as one window. Raises RecordError."""
        yield from ()

    def reading(self, records: Sequence[Record]) -> str:
        """A sentence on how the labels were read, if they can be read in several ways; else ""."""
        return ""

    def warnings(self, gold: Sequence[Any]) -> list[str]:
        """Warnings about these gold labels."""
        return []

    # Scores.

    def tuned(self, gold: Sequence[Any], predictions: Sequence[Any]) -> Self:
        """This task with settings tuned on labelled data, such as a threshold; itself if it tunes nothing."""
        return self

    @abstractmethod
    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Score predictions (of `combine`) against gold labels (of `label`): name -> number, table or matrix."""

    def learned(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Entries for the model's config.json that an evaluation on dev data chose."""
        return {}

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """Each record with its label and prediction, for people to read."""
        return [Example(record, "", None, None) for record in records]

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The input of `resampled`: lists with a JSON value for each prediction; labels are names."""
        return {}

    def resampled(self, gold: Sequence[Any], columns: Mapping[str, Any]) -> "Metrics":
        """A function from weights of examples to metrics, for bootstrap intervals (metrics/bootstrap.py)."""
        return lambda weights: {}

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> "Scored | None":
        """Each predicted item with its probability and whether it was right; None without probabilities."""
        return None

    def classified(self, gold: Sequence[Any], predictions: Sequence[Any]) -> tuple[Array, Array]:
        """Logits (M, L) to calibrate, and targets: (M,) class indices, or (M, L) of bool. Raises UsageError."""
        raise UsageError(f"{self.subject} has no probabilities of classes to calibrate.")

    # The other parts of a task. They need torch, so they are imported only here.

    def training(self, decision: "Decision", settings: LabelSettings) -> "BaseTraining":
        """The task's `Training`: targets and loss."""
        training: BaseTraining = import_module(f"{type(self).__module__}.training").Training(self, decision, settings)
        return training

    def distillation(
        self, decision: "Decision", settings: LabelSettings, teacher: "BaseTask", temperature: float
    ) -> "BaseDistillation":
        """The task's `Distillation`: the same for a teacher's predictions. Raises UsageError if it has none."""
        module = import_module(f"{type(self).__module__}.training")
        if not hasattr(module, "Distillation"):
            raise UsageError(f"--teacher: {self.name} is learnt from labels alone.")
        distillation: BaseDistillation = module.Distillation(self, decision, settings, teacher, temperature)
        return distillation

    def explaining(self) -> "BaseExplaining":
        """The task's `Explaining`: what `explain` explains. Raises UsageError if it has none."""
        module = f"{type(self).__module__}.explain"
        if find_spec(module) is None:
            raise UsageError(f"explain shows what decided a class, an entity or an answer; {self.name} has none.")
        explaining: BaseExplaining = import_module(module).Explaining(self)
        return explaining

    def model_files(self, base: Model) -> Sequence[Path]:
        """Further files of a base model, relative to it, to copy into a model trained from it."""
        return ()


class BaseExternalTask(BaseTask):
    """A task whose predictions come from another system's file, not from a model.

    A task's `ExternalTask` extends this class and its Task. It has no model or tokenizer; its labels are the data's.
    names: fields of a result that may hold the prediction; the first that is there is read.
    """

    names: ClassVar[tuple[str, ...]]

    @classmethod
    def config_for(cls, options: Options, gold: Sequence[Record], results: Sequence[Record]) -> Mapping[str, Any]:
        """The config.json of a model that would give these results. Raises UsageError where that is unclear."""
        return {}

    @classmethod
    def value(cls, options: Options, result: Record, names: Sequence[str] = ()) -> Any:
        """The prediction in a result: the field of --prediction-field, the only field, or the first of `names`.

        Raises RecordError where there is none.
        """
        fields, names = result.fields, names or cls.names
        if options.prediction_field is None and len(fields) == 1:
            return next(iter(fields.values()))
        name = options.prediction_field or next((name for name in names if name in fields), names[0])
        return lookup(fields, name, "--prediction-field")

    @abstractmethod
    def external_prediction(self, record: Record, result: Record) -> Any:
        """The prediction that a result holds for a labelled record. Raises RecordError where it holds none."""

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """The same without scores, because a file of predictions has none."""
        return [
            replace(
                shown, score=None, predicted_marks=tuple(replace(mark, score=None) for mark in shown.predicted_marks)
            )
            for shown in super().examples(records, gold, predictions)
        ]

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> None:
        """None: results state no probabilities."""


def _readable(encoded: Encoded) -> Encoded:
    """The same, or a RecordError for a text without tokens, as "" is for a tokenizer without special tokens."""
    if isinstance(encoded, RecordError) or all(window.ids for window in encoded.windows):
        return encoded
    return RecordError("the tokenizer makes no token of this text, so there is nothing for the model to read.")


def usable(read: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What `read` gives for each item, without empty values and items that raise RecordError."""
    values = []
    for item in items:
        with suppress(RecordError):
            values.append(read(item))
    return [value for value in values if value not in (None, "")]


def from_cell(value: Any) -> Any:
    """A value from a cell of a table: lists and objects are JSON or as Python prints them, \\N is a database's null.

    Raises RecordError for an array as NumPy prints it.
    """
    if value == "\\N":
        return None
    if isinstance(value, str) and value.startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
        with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            printed = literal_eval(value)
            if "".join(repr(printed).split()) == "".join(value.split()):  # NumPy's ['a' 'b'] is one text to Python
                return json.loads(json.dumps(printed))  # tuples are lists, too
        if ARRAY.fullmatch(value):
            shown = excerpt(repr(value), 60)
            raise RecordError(f"{shown} is an array as NumPy prints it; write JSON, or a list, as by .map(list).")
    return value
