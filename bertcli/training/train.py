"""The training loop: a generator of Step and Eval events. Others print them, log them and time them.

Knows no task and no file format: a Job says what is in a batch, what its loss is and how the model is scored.
Devices, processes and mixed precision are accelerate's. The loss of a step is the mean over its terms, whatever the
number of batches accumulated and of processes (the fault in transformers#34191).
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from bertcli.errors import BertcliError, Interrupted, UsageError
from bertcli.training import checkpoint
from bertcli.training.optim import Average
from bertcli.training.plan import Batch, Eval, Event, Job, Metrics, Plan, Step, Stop

SMOOTHING = 0.95  # of the speeds shown: the weight of what was before


class Trainer:
    """The state of a run. model and optimizer: as accelerate prepared them; average: of the weights, or None."""

    def __init__(
        self, accelerator: Accelerator, model: Any, optimizer: Any, average: Average | None, plan: Plan
    ) -> None:
        self.accelerator = accelerator
        self.model = model
        self.optimizer = optimizer
        self.average = average
        self.plan = plan
        self.parameters = [weight for weight in model.parameters() if weight.requires_grad]
        self.step = 0
        self.best: float | None = None
        self.evals_without_best = 0
        self.history: list[Metrics] = []
        self.examples_per_s = self.tokens_per_s = 0.0

    def run(self, job: Job, stop: Stop) -> Iterator[Event]:
        """Train to the end of the plan, or until patience is out.

        stop: asked after each step; a signal number ends the run with a checkpoint and Interrupted.
        """
        schedule = job.schedule(self.step)
        while self.step < self.plan.total and not self._out_of_patience():
            yield self._step(job, next(schedule))
            if self._is_due():
                yield from self._evaluate(job)
            if signum := self._agree(stop()):
                self.save()
                raise Interrupted(signum)

    def _step(self, job: Job, keys: Sequence[Any]) -> Step:
        began = time.perf_counter()
        batches = [job.batch(key) for key in keys]
        names = ("count", "examples", "tokens", "operations")
        count, examples, tokens, operations = self._sums([sum(getattr(b, name) for b in batches) for name in names])
        loss = self._gradients(job, batches, count)
        norm = self.accelerator.clip_grad_norm_(self.parameters, self.plan.clip_norm or float("inf"))
        lr = self._update()
        self._demand_finite(loss)
        seconds = time.perf_counter() - began
        used = operations / seconds / self.plan.peak if operations and self.plan.peak else None
        self._time(examples, tokens, seconds)
        left = (self.plan.total - self.step) * tokens / self.tokens_per_s
        return Step(
            self.step, self.plan.total, self._epoch(), loss, lr, float(norm), examples, tokens,
            self.examples_per_s, self.tokens_per_s, used, left,
        )  # fmt: skip

    def _gradients(self, job: Job, batches: list[Batch], count: int) -> float:
        """Add up the gradients of the mean loss. DDP takes the mean over processes, hence the factor."""
        processes = self.accelerator.num_processes
        total = torch.zeros((), device=self.accelerator.device)
        for i, batch in enumerate(batches):
            with self._synchronised(i == len(batches) - 1):
                loss = job.loss(self.model, batch) * (processes / max(count, 1))
                self.accelerator.backward(loss)
            total += loss.detach().float()
        return float(self.accelerator.reduce(total, "mean")) if processes > 1 else float(total)

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def _update(self) -> float:
        lr = self.plan.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.average:
            self.average.update(self.step)
        return lr

    def _demand_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise BertcliError(f"the loss became {loss} at step {self.step}; try a lower --lr or --precision fp32.")

    def _time(self, examples: int, tokens: int, seconds: float) -> None:
        self.examples_per_s = _smoothed(self.examples_per_s, examples / seconds)
        self.tokens_per_s = _smoothed(self.tokens_per_s, tokens / seconds)

    def _epoch(self) -> float:
        return round(self.step / self.plan.steps_per_epoch, 4)

    def _is_due(self) -> bool:
        return self.step % self.plan.eval_every == 0 or self.step == self.plan.total

    def _evaluate(self, job: Job) -> Iterator[Eval]:
        """Score, keep the weights if they are the best, and save the state of the run."""
        with self.average.applied() if self.average else nullcontext():
            metrics = job.evaluate(self.model)
            is_best = self._is_best(metrics)
            if is_best:
                self._write("best", self._weights)
        if metrics is not None:
            numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
            self.history.append({"step": self.step, "epoch": self._epoch(), **numbers})
        self.save()
        if metrics is not None:
            yield Eval(self.step, self._epoch(), metrics, is_best, self.plan.metric)

    def _is_best(self, metrics: Metrics | None) -> bool:
        """Compare with the best so far; without anything to score on, the last weights are the best."""
        if metrics is None:
            return True
        value = metrics[self.plan.metric]
        value = (
            -math.inf if value is None else self.plan.direction * float(value)
        )  # None: not defined, for these predictions
        is_best = self.best is None or value > self.best
        self.best = value if is_best else self.best
        self.evals_without_best = 0 if is_best else self.evals_without_best + 1
        return is_best

    def _out_of_patience(self) -> bool:
        return self.plan.patience is not None and self.evals_without_best >= self.plan.patience

    def _weights(self, directory: Path) -> None:
        self.accelerator.unwrap_model(self.model).save_pretrained(directory)

    # The state of the run, in full: what comes after depends on nothing else.

    def save(self) -> None:
        """Write the checkpoint `last`. Every process calls it; the first one writes."""
        generators = self._generators()
        self._write("last", lambda directory: checkpoint.save_state(directory, self._state(generators)))

    def _write(self, kind: str, fill: checkpoint.Fill) -> None:
        if self.accelerator.is_main_process:
            checkpoint.save(self.plan.folder, kind, self.step, fill)
        self.accelerator.wait_for_everyone()

    def _state(self, generators: list[torch.Tensor]) -> dict[str, Any]:
        return {
            "identity": self.plan.identity,
            "step": self.step,
            "best": self.best,
            "evals_without_best": self.evals_without_best,
            "history": self.history,
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.weights if self.average else None,
            "generators": generators,
        }

    def _generators(self) -> list[torch.Tensor]:
        """The state of each process' random generator (dropout), as (P, bytes)."""
        cuda = self.accelerator.device.type == "cuda"
        own = torch.cuda.get_rng_state() if cuda else torch.get_rng_state()
        return list(self.accelerator.gather(own[None].to(self.accelerator.device)).cpu())

    def resume(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises UsageError where settings or data differ from its own."""
        state = checkpoint.load_state(directory)
        demand_same(state["identity"], self.plan.identity)
        for name in ("step", "best", "evals_without_best", "history"):
            setattr(self, name, state[name])
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.weights = state["average"]
        self._set_generator(state["generators"])

    def _set_generator(self, states: list[torch.Tensor]) -> None:
        own = states[self.accelerator.process_index].contiguous()
        cuda = self.accelerator.device.type == "cuda"
        (torch.cuda if cuda else torch).set_rng_state(own)

    def _sums(self, values: list[int]) -> list[int]:
        if self.accelerator.num_processes == 1:
            return values
        own = torch.tensor(values, device=self.accelerator.device)
        return [int(value) for value in self.accelerator.reduce(own, "sum")]

    def _agree(self, signum: int | None) -> int:
        """The signal that any process got: all must stop at the same step, or the others wait for ever."""
        if self.accelerator.num_processes == 1:
            return signum or 0
        own = torch.tensor([signum or 0], device=self.accelerator.device)
        return int(self.accelerator.gather(own).max())


def _smoothed(before: float, now: float) -> float:
    return SMOOTHING * before + (1 - SMOOTHING) * now if before else now


def demand_same(saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise UsageError that lists what differs between a checkpoint's identity and this run's."""
    names = sorted(name for name in saved.keys() | given.keys() if saved.get(name) != given.get(name))
    if names:
        lines = [f"  {name}: was {saved.get(name)!r}, is {given.get(name)!r}" for name in names]
        raise UsageError("\n".join(["this run cannot be resumed, because these differ:", *lines]))
