"""How a task is learnt: labelled records, encoded once into flat arrays, their targets, and the loss.

This is all that the training loop and finetune know of a task. Each task has a class `Training` in its folder's
training.py, and a class `Distillation` if it can be learnt from a teacher. Imports torch; predict never imports this.
"""

import hashlib
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional

from bertcli.arrays import Array, Features, Flags, Indices, Window
from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError
from bertcli.tasks.base import IGNORED, BaseTask, Encoded
from bertcli.tasks.labels import Decision
from bertcli.tasks.options import ClassWeights, LabelSettings

SHOWN = 1000  # faults listed, after which the rest is only counted
SAME = 3  # faults listed if all records have the same one


@dataclass
class Faults:
    """The faults of the training data, collected so that a user can fix all of them at once."""

    first: list[str] = field(default_factory=list)
    count: int = 0
    messages: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record, error: RecordError) -> None:
        """Note the faults of a record."""
        for location, message in record.located(error):
            self.count += 1
            self.messages[message] += 1
            if len(self.first) < SHOWN:
                self.first.append(f"{location}: {message}")

    def require_none(self, good: int) -> None:
        """Raise UsageError with the first faults, if there are any. good: how many records have no fault.

        A fault that every record has is most likely one wrong option, such as --label-field, and is shown SAME times.
        """
        if self.count:
            is_one = good == 0 and len(self.messages) == 1
            first = self.first[:SAME] if is_one else self.first
            left = self.count - len(first)
            more = [f"and {left:,} more{' of the same' if is_one else ''}."] if left else []
            what = "fault" if self.count == 1 else "faults"
            raise UsageError("\n".join([f"the data has {self.count:,} {what}:", *first, *more]))


class Examples:
    """N records as W windows (W = N unless long texts are windowed). 1M short texts take 100 MB, as lists 2 GB.

    ids: (tokens,) int32, window after window. type_ids: (tokens,) int8, or None for single texts. words: (tokens,)
    int32, the word that a token begins or -1; None where labels are not of words. spans: (tokens, 2) int32, where a
    token begins and ends in its context; None where labels are not of a context. offsets: (W+1,) where each window
    begins in these arrays. owner: (W,) index of a window's record. records: N, each with its label fields only; the
    first `labelled` ones have a label. truncated: how many records lost tokens. sources, unlabelled: how many records
    with and without a label each file has.
    """

    def __init__(
        self, task: BaseTask, records: Iterable[Record], faults: Faults, unlabelled: Iterable[Record] = ()
    ) -> None:
        self._ids, self._types, self._words, self._spans = array("i"), array("b"), array("i"), array("i")
        self._lengths, self._owner = array("q"), array("q")
        self._second = array("q")
        self.records: list[Record] = []
        self.truncated = 0
        self.sources, self.unlabelled = Counter[str](), Counter[str]()
        for record, encoded in task.encoded(records):
            self._add(record, encoded, task.label_fields, self.sources, faults)
        self.labelled = len(self.records)
        for record, encoded in task.encoded(unlabelled):
            self._add(record, encoded, lambda record: {}, self.unlabelled, faults)
        self.ids = np.asarray(self._ids, np.int32)
        self.type_ids = np.asarray(self._types, np.int8) if self._types else None
        self.words = np.asarray(self._words, np.int32) if self._words else None
        self.spans = np.asarray(self._spans, np.int32).reshape(-1, 2) if self._spans else None
        self.lengths = np.asarray(self._lengths, np.int64)
        self.owner = np.asarray(self._owner, np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])

    def _add(
        self, record: Record, encoded: Encoded, kept: Callable[[Record], Any], sources: Counter[str], faults: Faults
    ) -> None:
        sources[record.source] += 1
        try:
            if record.fault is not None:
                raise RecordError(record.fault)
            if isinstance(encoded, RecordError):
                raise encoded
            fields = kept(record)
        except RecordError as error:
            return faults.add(record, error)
        for window in encoded.windows:
            self._ids.extend(window.ids)
            if window.type_ids is not None:
                self._types.extend(window.type_ids)
            if window.words is not None:
                self._words.extend(window.words)
            if window.offsets is not None:
                self._spans.extend(window.offsets.ravel().tolist())
            self._lengths.append(len(window.ids))
            self._owner.append(len(self.records))
        if encoded.second is not None:
            self._second.append(encoded.second)
        self.truncated += encoded.truncated
        # Only the fields of the label, and the location for messages, stay in memory.
        return self.records.append(Record(record.index, fields, record.line, record.source, lines=record.lines))

    def __len__(self) -> int:
        return len(self.records)

    def targets(self, task: BaseTask, faults: Faults) -> list[Any]:
        """The gold label of each labelled record; None for a record at fault, whose fault is collected."""
        targets = []
        for record in self.records[: self.labelled]:
            try:
                targets.append(task.label(record))
            except RecordError as error:
                faults.add(record, error)
                targets.append(None)
        return targets

    def arrays(self, windows: Indices, pad: int) -> dict[str, Array]:
        """input_ids and, where there are any, token_type_ids, (B, T) int64; attention_mask only if lengths differ."""
        positions, mask = self.positions(windows)
        result = {"input_ids": np.where(mask, self.ids[positions], pad).astype(np.int64)}
        if self.type_ids is not None:
            result["token_type_ids"] = np.where(mask, self.type_ids[positions], 0).astype(np.int64)
        # Without a mask, attention runs on the kernels for dense batches; nearly all training batches are.
        return result if mask.all() else result | {"attention_mask": mask.astype(np.int64)}

    def positions(self, windows: Indices) -> tuple[Indices, Flags]:
        """Where the windows' tokens are in the flat arrays, and which of these (B, T) positions are tokens at all."""
        lengths = self.lengths[windows]
        columns = np.arange(lengths.max())
        mask = columns < lengths[:, None]
        return np.where(mask, self.offsets[windows][:, None] + columns, 0), mask

    def features(self) -> Iterator[tuple[Features, range]]:
        """Each record as the task's `combine` takes it, with the indices of its windows."""
        ends = np.searchsorted(self.owner, np.arange(len(self)), side="right")
        start = 0
        for row, end in enumerate(ends.tolist()):
            windows = []
            for window in range(start, end):
                tokens = self.tokens_of(window)
                words = None if self.words is None else self.words[tokens].tolist()
                spans = None if self.spans is None else self.spans[tokens]
                windows.append(Window(self.ids[tokens].tolist(), words=words, offsets=spans))
            second = self._second[row] if self._second else None
            yield Features(windows, second=second), range(start, end)
            start = end

    def tokens_of(self, window: int) -> slice:
        """Where a window's tokens are in the flat arrays."""
        return slice(self.offsets[window], self.offsets[window + 1])

    def sha256(self, targets: Sequence[Any]) -> str:
        """A hash of what the model is trained on: tokens, their segments and the targets."""
        digest = hashlib.sha256(repr(list(targets)).encode())
        for values in (self.ids, self.lengths, self.owner, self.type_ids):
            digest.update(b"" if values is None else values.tobytes())
        return digest.hexdigest()


def file_hash(source: str) -> dict[str, str]:
    """Its sha256 by that name; nothing for stdin and what else is no file."""
    if not Path(source).is_file():
        return {}
    with Path(source).open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}


SURE_LOGIT = 50.0  # beside logits of at most 0 its softmax is 1 at any usual temperature
Outputs = Mapping[str, torch.Tensor]  # of a model, by name, first axis B
Targets = torch.Tensor


@dataclass(frozen=True)
class Labelled:
    """Encoded examples with their labels: gold as Task.label returns them, targets as a tensor for the loss.

    Records that only a teacher labels have no gold label, and come last.
    """

    examples: Examples
    gold: Sequence[Any]
    targets: Targets


@dataclass(frozen=True)
class Data:
    """All splits, encoded. task: with the labels of `decision`. training: its targets and loss.

    sources: for "train", "dev", "unlabelled" and "vocabulary", the number of records from each file.
    """

    task: BaseTask
    decision: Decision
    training: "BaseTraining"
    splits: Mapping[str, Labelled]
    sources: Mapping[str, Counter[str]]


@dataclass(eq=False)
class BaseTraining(ABC):
    """The targets and loss of a task. task: with the labels of `decision`. weights: (L,) of the classes, after `start`.

    A unit is what is shuffled and batched: a window, or what a task keeps together, such as both texts of a pair.
    """

    has_window_loss: ClassVar[bool] = True  # whether a single window has a loss
    targets_of: ClassVar[Literal["records", "units", "tokens"]] = "records"  # what `targets` has a row for
    padding: ClassVar[float] = IGNORED  # the target of padding, where targets are of tokens
    task: BaseTask
    decision: Decision
    settings: LabelSettings
    weights: torch.Tensor | None = field(default=None, init=False)

    def start(self, train: Labelled) -> None:
        """Called once with all training data. Raises UsageError if these settings cannot be used with it."""
        labels = self.decision.labels if self.decision.has_classes else []
        self.weights = class_weights(self.settings.class_weights, train.targets, labels)

    def weights_for(self, logits: torch.Tensor) -> torch.Tensor | None:
        """The class weights on the device of the logits."""
        return None if self.weights is None else self.weights.to(logits.device)

    @abstractmethod
    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """The targets of N records. The last ones may have no gold label; the loss ignores them."""

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The SUM over the terms of a batch, a scalar in fp32. mask: (B, T), 0 on padding; None without padding."""

    def lengths(self, examples: Examples) -> Indices:
        """(units,): the tokens that each unit takes in a batch."""
        return examples.lengths

    def windows(self, units: Indices) -> Indices:
        """The windows of some units, in the order in which `loss` reads their outputs."""
        return units

    def batch_targets(self, labelled: Labelled, units: Indices) -> Targets:
        """The targets of some units (B, …); of tokens those at (B, T) positions."""
        if self.targets_of == "units":
            return labelled.targets[torch.from_numpy(units)]
        if self.targets_of == "records":
            return labelled.targets[torch.from_numpy(labelled.examples.owner[units])]
        positions, mask = labelled.examples.positions(units)
        targets = labelled.targets[torch.from_numpy(positions)]
        beside = torch.from_numpy(~mask).reshape(*mask.shape, *[1] * (targets.ndim - 2))
        return targets.masked_fill(beside, self.padding)

    def terms(self, targets: Targets) -> int:
        """The number of terms that `loss` sums: records, or units or tokens that have a target."""
        return len(targets) if self.targets_of == "records" else int((targets != IGNORED).sum())

    def records_loss(self, predictions: Sequence[Any], labelled: Labelled) -> float:
        """The mean loss of whole records, for a task without a loss of single windows (has_window_loss)."""
        return 0.0


class WordTraining(BaseTraining):
    """A class for some tokens of a text: the first piece of each word, or each mask."""

    targets_of = "tokens"

    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """(tokens,) classes where a word begins, in every window that has it; IGNORED elsewhere. gold: of each word."""
        assert examples.words is not None  # the task encodes words
        targets = np.full(len(examples.ids), IGNORED, np.int64)
        classes = [np.asarray(target) for target in gold]
        for window, owner in enumerate(examples.owner[examples.owner < len(gold)].tolist()):
            tokens = examples.tokens_of(window)
            words = examples.words[tokens]
            targets[tokens][words >= 0] = classes[owner][words[words >= 0]]
        return torch.from_numpy(targets)

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The cross-entropy over the tokens that have a target. Logits: (B, T, L)."""
        logits = outputs["logits"].float().flatten(0, -2)
        return functional.cross_entropy(
            logits, targets.flatten(), weight=self.weights_for(logits), reduction="sum", ignore_index=IGNORED,
            label_smoothing=self.settings.label_smoothing,
        )  # fmt: skip


class BaseDistillation(BaseTraining):
    """The targets and loss of a teacher's answers, in place of labels; gold is what `answer` returns.

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), section 2. teacher: this task with the teacher's tokenizer and
    config. temperature: divides the logits of both, so that a student learns from unlikely classes too. columns: the
    teacher's column of each of the decision's outputs. Raises as `match` does.
    """

    def __init__(
        self, task: BaseTask, decision: Decision, settings: LabelSettings, teacher: BaseTask, temperature: float
    ) -> None:
        super().__init__(task, decision, settings)
        self.teacher, self.temperature = teacher, temperature
        self.columns = self.match()

    def answer(self, prediction: Any) -> Array:
        """What is kept of the teacher's raw prediction for a record; it does not depend on the tokenizer."""
        return np.asarray(prediction, np.float32)

    def certain(self, gold: Any) -> Array | None:
        """The answer of a teacher that is certain of this label; None if no answer can say that."""
        return None

    def match(self) -> list[int]:
        """The teacher's column for each output. Raises UsageError for a teacher with other labels."""
        if not self.decision.has_classes:
            return list(range(len(self.decision.labels)))
        labels, names = list(self.decision.labels), self.teacher.labels
        if set(labels) != set(names):
            raise UsageError(
                f"--teacher: it knows the labels {', '.join(names)}, and the data has {', '.join(labels)}; both must "
                "be the same. --labels names those of the model that learns."
            )
        return [names.index(label) for label in labels]

    def divergence(self, logits: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """The Kullback-Leibler divergence from the teacher's softened probabilities (M, L, …) over L, summed.

        It is multiplied by the squared temperature, because softening divides the gradients by that.
        """
        softened = (logits / self.temperature).log_softmax(1)
        return functional.kl_div(softened, shares, reduction="sum") * self.temperature**2


def has_target(targets: Targets) -> torch.Tensor:
    """(N,) of bool: which float targets (N, …) have no NaN, that is, belong to labelled records."""
    return ~targets.isnan().flatten(1).any(1)


def class_weights(chosen: ClassWeights, targets: Targets, labels: Sequence[str]) -> torch.Tensor | None:
    """(L,) weights, None for all equal. Raises UsageError for an unknown label, zeros alone, a task without classes.

    balanced: N / (classes * count), as scikit-learn; for several labels absent / present.
    """
    if chosen is None:
        return None
    if not labels:
        raise UsageError("--class-weights: this task has no classes.")
    if chosen != "balanced":
        unknown = sorted(set(chosen) - set(labels))
        if unknown:
            names = ", ".join(labels)
            raise UsageError(f"--class-weights: no label is called {', '.join(unknown)}; they are: {names}.")
        weights = torch.tensor([float(chosen.get(label, 1)) for label in labels])
        if not weights.any():
            raise UsageError("--class-weights: all are 0, so that nothing could be learnt; one at least must be more.")
        return weights
    if targets.is_floating_point():
        targets = targets[has_target(targets)]
        present = targets.sum(0)
        # At least 1 each: a label that all records have would get the weight 0, and not be learnt.
        return (len(targets) - present).clamp(min=1) / present.clamp(min=1)
    targets = targets[targets != IGNORED]
    counts = torch.bincount(targets, minlength=len(labels))
    # A label of the model that the data lacks counts as if it occurred once; its weight is never used.
    return len(targets) / (int((counts > 0).sum()) * counts.clamp(min=1))
