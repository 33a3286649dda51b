"""The data of a fine-tuning run: records to encoded examples with targets, and a task bound to their labels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bertcli import registry, tokenizer
from bertcli.data.records import Record
from bertcli.engine import problem
from bertcli.engine.examples import Examples, Faults
from bertcli.engine.sampler import Indices
from bertcli.engine.settings import Settings
from bertcli.errors import UsageError
from bertcli.model import Model
from bertcli.tasks.base import BaseTask

IGNORED = -100  # the target that torch's cross-entropy leaves out


@dataclass(frozen=True)
class Labelled:
    """Encoded examples with the target of each record: gold as the task gives it, targets as the loss takes them.

    targets: a row per record; (tokens,) for token classification, IGNORED where no word begins.
    """

    examples: Examples
    gold: Sequence[Any]
    targets: torch.Tensor

    @property
    def outputs(self) -> int:
        """Rows of logits that the model gives for all: one per window, or per token."""
        return len(self.examples.lengths if self.examples.words is None else self.examples.ids)

    def output(self, window: int) -> Any:
        """Which of these rows are a window's."""
        offsets = self.examples.offsets
        return window if self.examples.words is None else slice(offsets[window], offsets[window + 1])

    def batch_targets(self, windows: Indices) -> torch.Tensor:
        """The targets of some windows: a row each, (B, T) for token classification."""
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
        if self.decision.problem != "regression":
            yield f"labels: {', '.join(self.decision.labels)} ({self.decision.labels_reason})"

    def warnings(self) -> Iterator[str]:
        """What was lost."""
        for name, split in self.splits.items():
            if cut := split.examples.truncated:
                total = len(split.examples)
                yield f"{cut:,} of {total:,} {name} texts were cut at {self.max_length} tokens (--long window: none)"

    def identity(self) -> dict[str, Any]:
        """Labels and hashes: the same for the same data under the same tokenizer and labels."""
        hashes = {f"{name} data": split.examples.sha256(split.gold) for name, split in self.splits.items()}
        return {"the model's labels": self.decision.labels, **hashes}


def prepare(settings: Settings, base: Model, train: Iterable[Record], dev: Iterable[Record] | None) -> Data:
    """Read and encode all records. Raises UsageError with the faults of both splits, or for unknown dev labels."""
    tokens = _tokenizer(settings, base)
    kind = registry.load("tasks", settings.task).Task
    encoder, faults = kind(tokens, base.config, settings.options), Faults()
    examples = {"train": Examples(encoder, train, faults)}
    if dev is not None:
        examples["dev"] = Examples(encoder, dev, faults)
    faults.demand_none()
    decision = problem.decide(settings, base, examples["train"].records)
    task = kind(tokens, {**base.config, **decision.config}, settings.options)
    if dev is not None:
        _demand_scorable(examples["dev"], decision, settings)
    gold = {name: split.targets(task, faults) for name, split in examples.items()}
    faults.demand_none()
    splits = {
        name: Labelled(split, gold[name], tensor(gold[name], decision.problem, len(decision.labels), split))
        for name, split in examples.items()
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


def tensor(gold: Sequence[Any], kind: str, labels: int, examples: Examples) -> torch.Tensor:
    """Targets of N records: (N,) class indices, (N, L) of 0 and 1 for multi-label, (N, 1) numbers for regression.

    (tokens,) class indices for token classification.
    """
    if kind == "token_classification":
        return _token_targets(gold, examples)
    if kind == "single_label_classification":
        return torch.tensor(gold, dtype=torch.int64)
    if kind == "regression":
        return torch.tensor(gold, dtype=torch.float32)[:, None]
    hot = torch.zeros(len(gold), labels)
    for row, indices in zip(hot, gold, strict=True):
        row[list(indices)] = 1
    return hot


def _token_targets(gold: Sequence[list[int]], examples: Examples) -> torch.Tensor:
    """Each word's tag at its first piece, in every window that has it."""
    assert examples.words is not None  # the task encodes words
    targets = np.full(len(examples.ids), IGNORED, np.int64)
    for window, owner in enumerate(examples.owner.tolist()):
        own = slice(examples.offsets[window], examples.offsets[window + 1])
        words = examples.words[own]
        targets[own][words >= 0] = np.asarray(gold[owner])[words[words >= 0]]
    return torch.from_numpy(targets)
