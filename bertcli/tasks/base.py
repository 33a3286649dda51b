"""What a task is: records to token ids, a model's outputs to results, labels to scores. No torch, no backend.

A new task is one folder beside this file, whose __init__.py has ALIASES and two classes: `Task`, which extends
BaseTask, and `Stated`, if it can score what other systems predicted. What is learnt stands in its training.py (class
`Training`), what `explain` attributes in its explain.py (class `Explaining`); the rest of the package calls these and
never asks which task it is.
Try: python -c "from bertcli.tasks.fill_mask import Task; help(Task)"
"""

import json
from abc import ABC, abstractmethod
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
from bertcli.arrays import Array, Arrays, Floats, Logits
from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError, UsageError
from bertcli.features import Features
from bertcli.model import Model
from bertcli.tasks.options import Options
from bertcli.tasks.texts import Example, text_of
from bertcli.tokenizer import Tokenizer, encode_each

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored
    from bertcli.tasks.explaining import BaseExplaining
    from bertcli.tasks.labels import Decision, Doubt, LabelSettings
    from bertcli.tasks.training import BaseTeaching, BaseTraining


CHUNK = 4096  # records encoded at once
IGNORED = -100  # the target that torch's cross-entropy leaves out
Outputs = Sequence[Arrays]  # for each window, output name -> array without the batch axis
Encoded = Features | RecordError


class BaseTask(ABC):
    """A task bound to a model's tokenizer and config.

    name: as -t takes it, told by the folder. head: the transformers class suffix (`AutoModelFor…`), "" for a bare
    encoder; more_heads: others that it can use. decision: where whatever data there is asks the same of a head.
    has_mistakes: whether a prediction is right or wrong. inputs: what a record may have besides its text, as options of
    `explain` name it. labelled_by: sets of fields; a record with all of one looks as if it were labelled for this task.
    shared_text: which of `texts` many records share. model_outputs: those that it reads. labels: their names, where
    they have names. has_named_labels: whether it has classes or types, which --map-labels renames. heeds: those of
    OF_SOME, the options of some tasks, that it reads; another one is refused. classifies: how many classes apply to
    each item that has probabilities of them; None: none has any. example: what `decode` may give, nothing in it empty
    or null: a table tells the types of its columns by it. subject: the task in a sentence about what it does not have.
    memory: what later results need to know of earlier ones, None where each stands for itself; only added to.
    identity: what a result depends on besides record, model and options, by its name.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    decision: ClassVar["Decision | None"] = None
    more_heads: ClassVar[tuple[str, ...]] = ()
    has_mistakes: ClassVar[bool] = True
    inputs: ClassVar[tuple[str, ...]] = ()
    labelled_by: ClassVar[tuple[Set[str], ...]] = ()
    shared_text: ClassVar[str | None] = None
    model_outputs: ClassVar[tuple[str, ...]] = ("logits",)
    labels: list[str] = []  # noqa: RUF012
    has_named_labels: ClassVar[bool] = False
    heeds: ClassVar[Set[str]] = frozenset()
    classifies: Literal["one", "several"] | None = None
    example: dict[str, Any] = {}  # noqa: RUF012
    memory: dict[str, int] | None = None
    identity: Mapping[str, str] = MappingProxyType({})

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            cls.name = registry.choice_of(cls.__module__)

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.options = options
        self.subject = self.name
        options.require_heeded(self.heeds, self.name)

    # Before there is a task: which records and labels it is for. `check` and `finetune` ask.

    @classmethod
    def config_of(cls, model: Model) -> dict[str, Any]:
        """What the task wants to know of a model."""
        return model.config

    @classmethod
    def decide(cls, settings: "LabelSettings", base: Model, records: Sequence[Record]) -> "Decision":
        """What labelled records ask of a model's head. Raises UsageError where there is nothing to learn."""
        if cls.decision is None:
            raise UsageError(f"{cls.name} cannot be trained.")
        return cls.decision

    @classmethod
    def unknown_labels(
        cls, settings: "LabelSettings", decision: "Decision", records: Sequence[Record]
    ) -> Sequence[str]:
        """The labels of these records that a decision does not have, sorted."""
        return []

    @classmethod
    def relabelled(cls, record: Record, options: Options, several: bool) -> Record | None:
        """The record with its labels as --map-labels says, if they have names; None where its one label is left out.

        several: whether a record may have several. Raises RecordError for a label that is none.
        """
        return record

    @classmethod
    def split_doubts(
        cls, settings: "LabelSettings", records: Sequence[Record], is_train: bool
    ) -> "Iterator[tuple[Record, str, RecordError]]":
        """What is odd about the labels of a whole split: the record, a code of checking/check.py, and why."""
        yield from ()

    # From records to predictions and results.

    def encode(self, records: Sequence[Record]) -> list[Encoded]:
        """Token ids of each record, or the RecordError that takes its place; as many as records, in their order."""
        inputs: list[Any] = []
        for record in records:
            try:
                inputs.append(self.read(record))
            except RecordError as error:
                inputs.append(error)
        encoded = iter(encode_each(self.tokenize, [item for item in inputs if not isinstance(item, RecordError)]))
        return [item if isinstance(item, RecordError) else next(encoded) for item in inputs]

    def encoded(self, records: Iterable[Record]) -> Iterator[tuple[Record, Encoded]]:
        """Each record with what `encode` gives for it; so many as a chunk are in memory at once."""
        iterator = iter(records)
        while chunk := list(islice(iterator, CHUNK)):
            yield from zip(chunk, self.encode(chunk), strict=True)

    def read(self, record: Record) -> Any:
        """What `tokenize` takes of a record; by default its text, or two as a pair. Raises RecordError."""
        first, *second = self.texts(record).values()
        return (first, *second) if second else first

    def sample(self, text: str) -> dict[str, Any]:
        """The fields of a record of that text which `read` can take, for `bench`."""
        names = filter(None, [self.options.text_field, self.options.pair_field])
        return dict.fromkeys(names, text)

    def tokenize(self, inputs: Sequence[Any]) -> list[Encoded]:
        """Token ids of what was read, or the RecordError that takes its place."""
        return self.tokenizer.encode(inputs, self.options.long)

    def texts(self, record: Record) -> dict[str, str]:
        """What is read of a record, by name: its text, or both of a pair, in this order. Raises RecordError."""
        texts = {"text": text_of(record, self.options.text_field, "--text-field")}
        if self.options.pair_field is not None:
            texts["text_pair"] = text_of(record, self.options.pair_field, "--pair-field")
        return texts

    def word_offsets(self, record: Record) -> Sequence[tuple[int, int]] | None:
        """Where its words are in the text, for a task that encodes word by word; else None."""
        return None

    def reduce(self, batch: Arrays, outputs: Arrays) -> Arrays:
        """What `combine` needs of a batch's outputs, first axis B; runs on a stream's thread. By default all of them.

        A task whose outputs are large (a vector per token, a score per word of the vocabulary) makes them small here.
        """
        return outputs

    def reduce_tensors(self, batch: Mapping[str, Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `reduce`, which then has the result, but of tensors on a GPU: what is large is not copied from there."""
        return outputs

    @abstractmethod
    def combine(self, features: Features, outputs: Outputs) -> Any:
        """The raw prediction of one record, from the outputs of its windows."""

    @abstractmethod
    def decode(self, record: Record, prediction: Any) -> dict[str, Any]:
        """The result of one record as the user sees it, from what `combine` returned."""

    def answer(self, record: Record, prediction: Any) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """The fields of a record that are written before its result, by default all as they are, and the result."""
        return record.fields, self.decode(record, prediction)

    def certainty(self, logits: Logits) -> Floats:
        """(B,): how sure an early exit is of each row of its logits (B, L), the more the surer. Raises UsageError."""
        raise UsageError(f"{self.subject} has no early exit: text classification has.")

    # Labelled records.

    @abstractmethod
    def label(self, record: Record) -> Any:
        """The target of a labelled record, as `metrics` and the task's Training take it. Raises RecordError."""

    def kept(self, record: Record) -> dict[str, Any]:
        """The fields that `label` reads: all that stays in memory of a training record. Raises RecordError."""
        name = self.options.label_field
        return {name: lookup(record.fields, name, "--label-field")}

    def label_names(self, gold: Any) -> Sequence[str]:
        """The labels of a target by name, as often as it has them, to be counted."""
        return []

    def agree(self, gold: Any, other: Any) -> bool:
        """Whether two targets of one text go together."""
        return bool(gold == other)

    def doubts(self, record: Record, gold: Any) -> "Iterator[Doubt]":
        """What is odd about the label of a record, gold its target."""
        yield from ()

    def token_doubts(self, record: Record, features: Features) -> "Iterator[Doubt]":
        """What tokens cannot make up of a label. features: all of the text in one window. Raises RecordError."""
        yield from ()

    def reading(self, records: Sequence[Record]) -> str:
        """How the labels of these records were read, where they may mean others; else ""."""
        return ""

    def warnings(self, gold: Sequence[Any]) -> list[str]:
        """What about these targets the user should know."""
        return []

    # Scores.

    def tuned(self, gold: Sequence[Any], predictions: Sequence[Any]) -> Self:
        """This task with what the labelled data says is best, such as a threshold; itself where nothing is tuned."""
        return self

    @abstractmethod
    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Score predictions (of `combine`) against targets (of `label`): name -> number, table or matrix."""

    def learned(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """What an evaluation on dev data found that belongs into the model's config.json."""
        return {}

    @property
    def directions(self) -> Mapping[str, int]:
        """The metrics a quality gate or an early stop may name, known before the run; by default the first decides.

        1: higher is better and 1 is perfect; -1: lower is better and 0 is perfect.
        """
        return {}

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """Each record with its label and its prediction, for people."""
        return [Example(record, "", None, None) for record in records]

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """What `resampled` needs to know of each prediction, in lists that JSON can hold, labels by their names."""
        return {}

    def resampled(self, gold: Sequence[Any], columns: Mapping[str, Any]) -> "Metrics":
        """The metrics of weighted examples, of these columns; those that lack one are left out."""
        return lambda weights: {}

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> "Scored | None":
        """The decisions that have a probability, and whether each was right; None where there are none."""
        return None

    def classified(self, gold: Sequence[Any], predictions: Sequence[Any]) -> tuple[Array, Array]:
        """Logits (M, L) to calibrate, and targets: (M,) indices of classes, or (M, L) of bool; if it classifies."""
        raise UsageError(f"{self.subject} has no probabilities of classes to calibrate.")

    # The other parts of a task, in its folder: imported when asked for, since they need torch.

    def training(self, decision: "Decision", settings: "LabelSettings") -> "BaseTraining":
        """How this task, which knows the labels of the decision, is learnt."""
        training: BaseTraining = import_module(f"{type(self).__module__}.training").Training(self, decision, settings)
        return training

    def teaching(
        self, decision: "Decision", settings: "LabelSettings", teacher: "BaseTask", temperature: float
    ) -> "BaseTeaching":
        """How this task is learnt from a teacher (see BaseTeaching). Raises UsageError for a task that is not."""
        module = import_module(f"{type(self).__module__}.training")
        if not hasattr(module, "Teaching"):
            raise UsageError(f"--teacher: {self.name} is learnt from labels alone.")
        teaching: BaseTeaching = module.Teaching(self, decision, settings, teacher, temperature)
        return teaching

    def explaining(self) -> "BaseExplaining":
        """What `explain` attributes. Raises UsageError for a task without."""
        module = f"{type(self).__module__}.explain"
        if find_spec(module) is None:
            raise UsageError(f"explain shows what decided a class, an entity or an answer; {self.name} has none.")
        explaining: BaseExplaining = import_module(module).Explaining(self)
        return explaining

    @classmethod
    def stated_class(cls) -> "type[BaseStated]":
        """The task where predictions are what another system states. Raises UsageError for a task without."""
        stated: type[BaseStated] | None = getattr(import_module(cls.__module__), "Stated", None)
        if stated is None:
            raise UsageError(f"--predictions: {cls.name} does not read what others predicted.")
        return stated

    def model_files(self, base: Model) -> Sequence[Path]:
        """Files of a base model, relative to it, that a model trained from it needs too."""
        return ()


class BaseStated(BaseTask):
    """A task whose predictions are what results of another system, as they stand in a file, say: no outputs of a model.

    A task's `Stated` extends this one and its Task. Labels are those of the data; there is neither model nor tokenizer.
    names: the fields in which `predict` states predictions, the first that is there.
    """

    names: ClassVar[tuple[str, ...]]

    @classmethod
    def config_for(cls, options: Options, gold: Sequence[Record], results: Sequence[Record]) -> Mapping[str, Any]:
        """What config.json would say of a model that gives such results. Raises UsageError where that is unclear."""
        return {}

    @classmethod
    def value(cls, options: Options, result: Record, names: Sequence[str] = ()) -> Any:
        """The field of a result that holds its prediction: as --prediction-field says, the only one, or of `names`.

        Raises RecordError where there is none.
        """
        fields, names = result.fields, names or cls.names
        if options.prediction_field is None and len(fields) == 1:
            return next(iter(fields.values()))
        name = options.prediction_field or next((name for name in names if name in fields), names[0])
        return lookup(fields, name, "--prediction-field")

    @abstractmethod
    def stated(self, record: Record, result: Record) -> Any:
        """The prediction that a result states of a labelled record. Raises RecordError where it states none."""

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """Without scores, which nobody states."""
        return [
            replace(
                shown, score=None, predicted_marks=tuple(replace(mark, score=None) for mark in shown.predicted_marks)
            )
            for shown in super().examples(records, gold, predictions)
        ]

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> None:
        """None: results state no probabilities."""


def usable(read: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What is read of the items, of those that have it."""
    values = []
    for item in items:
        with suppress(RecordError):
            values.append(read(item))
    return [value for value in values if value not in (None, "")]


def from_cell(value: Any) -> Any:
    """A value as it was before it was written into the cell of a table, where lists and objects are JSON."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value
