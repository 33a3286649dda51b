"""What pre-training trains: blocks or pairs of a corpus through a model with its head (a `Job` of train.py).

The head scores only the positions that are to be guessed: over a whole vocabulary it costs more than a small encoder.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bertcli.pretraining import flops
from bertcli.pretraining.blocks import Inputs, Table
from bertcli.pretraining.cross_entropy import cross_entropy
from bertcli.pretraining.masking import IGNORED
from bertcli.pretraining.settings import PretrainSettings
from bertcli.training import sampler
from bertcli.training.loop import Batch, Metrics

NEEDED = ("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size")  # to count operations
MakeTable = Callable[[str, int, np.random.Generator], Table | None]  # of a split, for a length; None where it is empty


@dataclass(frozen=True)
class Phase:
    """Steps `first` to `stop` take blocks of `length`."""

    length: int
    first: int
    stop: int
    steps_per_epoch: int


@dataclass(frozen=True)
class Targets:
    """places: (M,) where something is guessed in the flattened batch; tokens: (M,) the right ones.

    relation: (B,) classes of the pairs, whose loss counts `weight` times, or None.
    """

    places: torch.Tensor
    tokens: torch.Tensor
    relation: torch.Tensor | None
    weight: float


@dataclass(frozen=True)
class Key:
    """A batch: rows of a table, and the seeds of its masks."""

    table: Table
    rows: sampler.Indices
    seeds: tuple[int, ...]


class Narrow:
    """Lets a model's head see only some positions, whatever its family: the encoder's output is cut down to them."""

    def __init__(self, module: Any) -> None:
        self.places: torch.Tensor | None = None
        module.base_model.register_forward_hook(self._cut)

    def _cut(self, module: Any, arguments: Any, output: Any) -> Any:
        if self.places is not None:
            output["last_hidden_state"] = output["last_hidden_state"].flatten(0, 1)[self.places][None]  # (1, M, H)
        return output


class PretrainJob:
    """Batches, loss and scores. make: the blocks of a split, for an epoch."""

    def __init__(
        self, make: MakeTable, phases: list[Phase], module: Any, accelerator: Any, settings: PretrainSettings
    ) -> None:
        self.make, self.phases, self.accelerator = make, phases, accelerator
        self.narrow = Narrow(module)
        self.config = module.config.to_dict()
        self.budget, self.seed, self.dev_tokens = settings.batch_tokens, settings.seed, settings.dev_tokens
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.length = phases[0].length

    def schedule(self, step: int) -> Iterator[list[Key]]:
        """The batches of each step, phase after phase and in each epoch after epoch."""
        for number, phase in enumerate(self.phases):
            if step < phase.stop:
                steps = self._phase(number, phase, max(step - phase.first, 0))
                for _ in range(max(step, phase.first), phase.stop):
                    yield next(steps)

    def _phase(self, number: int, phase: Phase, done: int) -> Iterator[list[Key]]:
        self.length = phase.length
        first, done = divmod(done, phase.steps_per_epoch)
        for epoch in count(first):
            seeds = (self.seed, number, epoch)
            table = self.make("train", phase.length, sampler.generator(*seeds, 0))
            assert table is not None
            order = sampler.generator(*seeds, 1)
            steps = sampler.unpadded_steps(table.lengths, self.budget, phase.steps_per_epoch, order)
            for i, batches in enumerate(steps):
                if epoch > first or i >= done:
                    yield [Key(table, rows, (*seeds, 2, i, j)) for j, rows in enumerate(batches)]

    def batch(self, key: Key) -> Batch:
        """This process' rows of a batch; where there are fewer rows than processes, some other that counts nothing.

        Every process draws the masks of the whole batch, so that they do not depend on how many processes there are.
        """
        whole = key.table.batch(key.rows, sampler.generator(*key.seeds))
        own = np.arange(len(whole.ids))[self.rank :: self.processes]
        inputs, targets = self._tensors(whole, own if len(own) else np.arange(1))
        guessed, tokens = len(targets.tokens) * bool(len(own)), len(own) * whole.ids.shape[1]
        return Batch(inputs, targets, guessed, len(own), tokens, self._operations(tokens, whole.ids.shape[1], guessed))

    def _tensors(self, whole: Inputs, own: sampler.Indices) -> tuple[dict[str, torch.Tensor], Targets]:
        device = self.accelerator.device
        inputs = {"input_ids": torch.from_numpy(whole.ids[own]).to(device)}
        if whole.type_ids is not None:
            inputs["token_type_ids"] = torch.from_numpy(whole.type_ids[own]).to(device)
        flat = whole.targets[own].ravel()
        places = np.flatnonzero(flat != IGNORED)
        relation = None if whole.relation is None else torch.from_numpy(whole.relation[own]).to(device)
        weight = int((whole.targets != IGNORED).sum()) / len(whole.ids)
        return inputs, Targets(
            torch.from_numpy(places).to(device), torch.from_numpy(flat[places]).to(device), relation, weight
        )

    def _operations(self, tokens: int, length: int, guessed: int) -> int:
        known = all(name in self.config for name in NEEDED)
        return flops.training(self.config, tokens, length, guessed) if known else 0

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum over guessed tokens, plus the pairs' loss so weighted that both means count alike (BERT, A.2)."""
        targets: Targets = batch.targets
        logits, relations = self._logits(model, batch.inputs, targets)
        loss = cross_entropy(logits, targets.tokens)
        if targets.relation is not None:
            loss = loss + targets.weight * functional.cross_entropy(relations, targets.relation, reduction="sum")
        return loss * (1.0 if batch.examples else 0.0)

    def _logits(self, model: Any, inputs: Any, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        """(M, V) of the guesses, (B, 2) of the pairs or nothing."""
        self.narrow.places = targets.places
        output = model(**inputs)
        tokens = output["logits"] if "logits" in output else output["prediction_logits"]
        return tokens.flatten(0, 1), output.get("seq_relationship_logits", tokens.new_zeros(0)).float()

    @torch.no_grad()
    def evaluate(self, model: Any) -> Metrics | None:
        """Loss, accuracy and perplexity of the guesses, and the pairs told right; always on the same masks."""
        table = self.make("dev", self.length, sampler.generator(0))
        if table is None:
            return None
        rows = sampler.generator(0, 1).permutation(len(table.lengths))
        rows = rows[: max(1, int(np.searchsorted(np.cumsum(table.lengths[rows]), self.dev_tokens, side="right")))]
        batches = sampler.in_length_order(table.lengths[rows], self.budget)
        model.eval()
        sums = torch.zeros(6, dtype=torch.float64, device=self.accelerator.device)
        for i in range(self.rank, len(batches), self.processes):
            whole = table.batch(rows[batches[i]], sampler.generator(0, 2, i))
            sums += self._sums(model, *self._tensors(whole, np.arange(len(whole.ids))))
        model.train()
        return _metrics(*self.accelerator.reduce(sums, "sum").tolist())

    def _sums(self, model: Any, inputs: dict[str, torch.Tensor], targets: Targets) -> torch.Tensor:
        """Loss, right ones and number, of guesses and of pairs."""
        logits, relations = self._logits(model, inputs, targets)
        sums = [*_scores(logits.float(), targets.tokens), *(0.0, 0.0, 0.0)]
        if targets.relation is not None:
            sums[3:] = _scores(relations, targets.relation)
        return torch.tensor(sums, dtype=torch.float64, device=self.accelerator.device)


def _scores(logits: torch.Tensor, right: torch.Tensor) -> tuple[float, float, float]:
    loss = functional.cross_entropy(logits, right, reduction="sum")
    return float(loss), float((logits.argmax(-1) == right).sum()), float(len(right))


def _metrics(loss: float, right: float, guesses: float, pair_loss: float, pairs_right: float, pairs: float) -> Metrics:
    mean = loss / max(guesses, 1)
    metrics = {"loss": mean, "perplexity": math.exp(min(mean, 700)), "accuracy": right / max(guesses, 1)}
    if not pairs:
        return metrics
    return metrics | {"loss": mean + pair_loss / pairs, "relation_accuracy": pairs_right / pairs}
