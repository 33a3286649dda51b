"""What a task is. The engine streams records through `encode`, a backend, and `decode`; it knows no more of a task.

A new task is one file beside this one with ALIASES, and a class `Task` that extends this one.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from bertcli.data.records import Record, lookup
from bertcli.errors import ModelError, RecordError
from bertcli.tokenizer import Features, Long, Tokenizer

if TYPE_CHECKING:
    import numpy as np

    from bertcli.arrays import Array
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored

IGNORED = -100  # the target that torch's cross-entropy leaves out
Arrays = Mapping[str, "np.ndarray[Any, Any]"]
Outputs = Sequence[Arrays]
Encoded = Features | RecordError
Scheme = Literal["auto", "iob1", "iob2", "bioes", "io"]  # of entity tags
OffsetUnit = Literal["codepoint", "utf16", "utf8"]  # in which start and end of an entity count
Language = Literal["auto", "en", "zh"]  # whose way of comparing answers


@dataclass(frozen=True)
class Options:
    """What the user may set of a task, for all tasks together; each reads what it needs.

    scheme: of the tags read. offset_unit: in which start and end count. tags: show each word's tag beside the entities.
    normalize: embeddings of length 1; None: as the model says. mask: another name for the mask token. question: for
    all contexts. null_threshold: what an answer must score more than none; None: as the model says; auto: what is best
    on the labelled data. language: whose way of comparing answers.
    """

    text_field: str = "text"
    pair_field: str | None = None
    label_field: str = "label"
    label_separator: str = ","
    long: Long = "window"
    top_k: int | None = None
    all_scores: bool = False
    threshold: float | None = None
    scheme: Scheme = "auto"
    offset_unit: OffsetUnit = "codepoint"
    tags: bool = False
    normalize: bool | None = None
    mask: str | None = None
    question: str | None = None
    null_threshold: float | Literal["auto"] | None = None
    language: Language = "auto"


@dataclass(frozen=True, slots=True)
class Mark:
    """A part of an example's text, in code points: an entity or an answer."""

    start: int
    end: int
    type: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A record that was scored, as people read it.

    text: what was read; pair: its second text, or the question. gold, predicted: what JSON can hold. right: None where
    a task knows no right and wrong. score: of the prediction, as predict prints it, if it has one. sure: by how much
    the model preferred it, or how far a number is off; mistakes are sorted by it. more: what else shows the mistake.
    marks: of `text`.
    """

    record: Record
    text: str
    gold: Any
    predicted: Any
    right: bool | None = None
    score: float | None = None
    sure: float = 0.0
    pair: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    gold_marks: tuple[Mark, ...] = ()
    predicted_marks: tuple[Mark, ...] = ()

    @property
    def place(self) -> str:
        """`file:line`."""
        return self.record.location

    @property
    def shown(self) -> dict[str, Any]:
        """gold, predicted and what else shows how it went."""
        score = {} if self.score is None else {"score": self.score}
        return {"gold": self.gold, "predicted": self.predicted, **score, **self.more}


class BaseTask(ABC):
    """A task bound to a model's tokenizer and config. head: the transformers class suffix (`AutoModelFor…`)."""

    name: ClassVar[str]
    head: ClassVar[str]
    has_mistakes: ClassVar[bool] = True  # whether a prediction is right or wrong

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.options = options

    @abstractmethod
    def encode(self, records: Sequence[Record]) -> list[Encoded]:
        """Token ids of each record, or the RecordError that takes its place; as many as records, in their order."""

    def texts(self, record: Record) -> dict[str, str]:
        """What is read of a record, by name: its text, or both of a pair, in this order. Raises RecordError."""
        texts = {"text": text_of(record, self.options.text_field, "--text-field")}
        if self.options.pair_field is not None:
            texts["text_pair"] = text_of(record, self.options.pair_field, "--pair-field")
        return texts

    def reduce(self, batch: Arrays, outputs: Arrays) -> Arrays:
        """What `combine` needs of a batch's outputs, first axis B; runs on a stream's thread. By default all of them.

        A task whose outputs are large (a vector per token, a score per word of the vocabulary) makes them small here.
        """
        return outputs

    @abstractmethod
    def combine(self, features: Features, outputs: Outputs) -> Any:
        """The raw prediction of one record. outputs: for each window, output name -> array without the batch axis."""

    @abstractmethod
    def decode(self, record: Record, prediction: Any) -> dict[str, Any]:
        """The result of one record as the user sees it, from what `combine` returned."""

    @abstractmethod
    def label(self, record: Record) -> Any:
        """The target of a labelled record, in the form the head's loss takes. Raises RecordError."""

    def word_targets(self, gold: Any) -> Sequence[int]:
        """For a task whose windows have words: the target of each, from what `label` gave; by default that itself."""
        return gold  # type: ignore[no-any-return]

    def kept(self, record: Record) -> dict[str, Any]:
        """The fields that `label` reads: all that stays in memory of a training record. Raises RecordError."""
        field = self.options.label_field
        return {field: lookup(record.fields, field, "--label-field")}

    def tuned(self, gold: Sequence[Any], predictions: Sequence[Any]) -> Self:
        """This task with what the labelled data says is best, such as a threshold; itself where nothing is tuned."""
        return self

    @abstractmethod
    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Score predictions (of `combine`) against targets (of `label`): name -> number, table or matrix."""

    def learned(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """What an evaluation on dev data found that belongs into the model's config.json."""
        return {}

    def warnings(self, gold: Sequence[Any]) -> list[str]:
        """What about these targets the user should know."""
        return []

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

    @property
    def classifies(self) -> Literal["one", "several"] | None:
        """How many classes apply to each item that has probabilities of them; None: none has any."""
        return None

    def classified(self, gold: Sequence[Any], predictions: Sequence[Any]) -> "tuple[Array, Array]":
        """Logits (M, L) to calibrate, and targets: (M,) indices of classes, or (M, L) of bool; if it classifies."""
        raise NotImplementedError


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """The names of a model's labels by id; transformers does not write its default, which is two that have numbers."""
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(names[key]) for key in sorted(names, key=int)]


def text_of(record: Record, name: str, option: str) -> str:
    """A field that must be text. Raises RecordError."""
    value = lookup(record.fields, name, option)
    if not isinstance(value, str):
        raise RecordError(f"field '{name}' is {type(value).__name__}, not text.")
    return value


def offset(text: str, place: int, unit: str) -> int:
    """A place counted in code points, in another unit."""
    match unit:
        case "utf16":
            return len(text[:place].encode("utf-16-le")) // 2
        case "utf8":
            return len(text[:place].encode())
        case _:
            return place


def temperature_of(config: Mapping[str, Any]) -> float:
    """What logits are divided by before they become probabilities: as `bertcli calibrate` stored it, else 1."""
    stated = (config.get("calibration") or {}).get("temperature", 1.0)
    if isinstance(stated, int | float) and 0 < stated < float("inf"):
        return float(stated)
    raise ModelError(
        f"config.json: the calibration's temperature {stated!r} is not a positive number; calibrate again."
    )
