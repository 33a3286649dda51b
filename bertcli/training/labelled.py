"""The data of a fine-tuning run: records to encoded examples with targets, and a task bound to their labels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bertcli import registry, tokenizer
from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.model import Model
from bertcli.tasks.base import IGNORED, BaseTask
from bertcli.tasks.question_answering import NO_ANSWER
from bertcli.training import problem
from bertcli.training.examples import Examples, Faults
from bertcli.training.sampler import Indices
from bertcli.training.settings import Settings


@dataclass(frozen=True)
class Labelled:
    """Encoded examples with the target of each record: gold as the task gives it, targets as the loss takes them.

    targets: a row per record; one per token where the examples have words, IGNORED where no word begins; one per window
    where they have contexts.
    """

    examples: Examples
    gold: Sequence[Any]
    targets: torch.Tensor

    def batch_targets(self, windows: Indices) -> torch.Tensor:
        """The targets of some windows: a row each, (B, T) where the examples have words."""
        if self.examples.spans is not None:
            return self.targets[torch.from_numpy(windows)]
        if self.examples.words is None:
            return self.targets[torch.from_numpy(self.examples.owner[windows])]
        places, mask = self.examples.places(windows)
        return self.targets[torch.from_numpy(places)].masked_fill(torch.from_numpy(~mask), IGNORED)


@dataclass(frozen=True)
class Data:
    """All splits. task: bound to the labels of `decision`; max_length: tokens in a window."""

    task: BaseTask
    decision: problem.Decision
    train: Labelled
    dev: Labelled | None
    max_length: int

    @property
    def splits(self) -> dict[str, Labelled]:
        """The splits there are, by name."""
        return {"train": self.train} | ({"dev": self.dev} if self.dev else {})

    def choices(self) -> Iterator[str]:
        """What was chosen for the user, and why."""
        yield f"problem: {self.decision.problem.replace('_', ' ')} ({self.decision.reason})"
        if self.decision.labels_reason:
            yield f"labels: {', '.join(self.decision.labels)} ({self.decision.labels_reason})"

    def warnings(self) -> Iterator[str]:
        """What was lost."""
        for name, split in self.splits.items():
            if cut := split.examples.truncated:
                total = len(split.examples)
                yield f"{cut:,} of {total:,} {name} texts were cut at {self.max_length} tokens (--long window: none)"
            yield from (f"{name} data: {text}" for text in self.task.warnings(split.gold))

    def identity(self) -> dict[str, Any]:
        """Labels and hashes: the same for the same data under the same tokenizer and labels."""
        hashes = {f"{name} data": split.examples.sha256(split.gold) for name, split in self.splits.items()}
        return {"the model's labels": self.decision.labels, **hashes}


def prepare(settings: Settings, base: Model, train: Iterable[Record], dev: Iterable[Record] | None) -> Data:
    """Read and encode all records. Raises UsageError with the faults of both splits, or for unknown dev labels."""
    tokens = _tokenizer(settings, base)
    kind = registry.load("tasks", settings.task).Task
    kept = {name: own for name, own in base.config.items() if name != "calibration"}  # that of the base model's head
    config = kept if kind.head else {**kept, "sentence": base.sentence}
    encoder, faults = kind(tokens, config, settings.options), Faults()
    examples = {"train": Examples(encoder, train, faults)}
    if dev is not None:
        examples["dev"] = Examples(encoder, dev, faults)
    faults.demand_none()
    decision = problem.decide(settings, base, examples["train"].records)
    task = kind(tokens, {**config, **decision.config}, settings.options)
    if dev is not None:
        _demand_scorable(examples["dev"], decision, settings)
    gold = {name: split.targets(task, faults) for name, split in examples.items()}
    faults.demand_none()
    splits = {
        name: Labelled(split, gold[name], tensor(gold[name], decision, task, split)) for name, split in examples.items()
    }
    return Data(task, decision, splits["train"], splits.get("dev"), tokens.max_length)


def _tokenizer(settings: Settings, base: Model) -> tokenizer.Tokenizer:
    tokens = tokenizer.load(base.path, base.config)
    if settings.max_length is not None:
        if settings.max_length > tokens.max_length:
            raise UsageError(f"--max-length {settings.max_length}: the model takes at most {tokens.max_length} tokens.")
        tokens.max_length = settings.max_length
    return tokens


def _demand_scorable(dev: Examples, decision: problem.Decision, settings: Settings) -> None:
    if not len(dev):
        raise UsageError("the dev data has no records; leave --dev away to train without.")
    problem.demand_known(dev.records, decision, settings)


def tensor(gold: Sequence[Any], decision: problem.Decision, task: BaseTask, examples: Examples) -> torch.Tensor:
    """Targets of N records: (N,) class indices, (N, L) of 0 and 1 for multi-label, (N, 1) numbers for regression
    and similarity.

    (tokens,) class indices where the examples have words; (W, 2) places of the first and last token of an answer.
    """
    kind = decision.problem
    if kind == "question_answering":
        return _span_targets(gold, examples)
    if examples.words is not None:
        return _token_targets([task.word_targets(own) for own in gold], examples)
    if kind == "single_label_classification":
        return torch.tensor(gold, dtype=torch.int64)
    if kind in ("regression", "similarity"):
        return torch.tensor(gold, dtype=torch.float32)[:, None]
    hot = torch.zeros(len(gold), len(decision.labels))
    for row, indices in zip(hot, gold, strict=True):
        row[list(indices)] = 1
    return hot


def _token_targets(gold: Sequence[Sequence[int]], examples: Examples) -> torch.Tensor:
    """Each word's tag at its first piece, in every window that has it."""
    assert examples.words is not None  # the task encodes words
    targets = np.full(len(examples.ids), IGNORED, np.int64)
    for window, owner in enumerate(examples.owner.tolist()):
        own = examples.own(window)
        words = examples.words[own]
        targets[own][words >= 0] = np.asarray(gold[owner])[words[words >= 0]]
    return torch.from_numpy(targets)


def _span_targets(gold: Sequence[Any], examples: Examples) -> torch.Tensor:
    """Where the answer is in each window: (0, 0), the place of CLS, where it is not; IGNORED where nobody knows."""
    assert examples.spans is not None  # the task encodes contexts
    targets = np.zeros((len(examples.owner), 2), np.int64)
    for window, owner in enumerate(examples.owner.tolist()):
        target = gold[owner].target
        if target is None:
            targets[window] = IGNORED
        elif target != NO_ANSWER:
            targets[window] = _inside(examples.spans[examples.own(window)], *target)
    return torch.from_numpy(targets)


def _inside(spans: "np.ndarray[Any, Any]", start: int, end: int) -> tuple[int, int]:
    """The first and the last token that share a character with the answer, if the window has all of it."""
    shared = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start) & (spans[:, 0] >= 0))
    is_whole = len(shared) and spans[shared[0], 0] <= start and spans[shared[-1], 1] >= end
    return (int(shared[0]), int(shared[-1])) if is_whole else (0, 0)
