"""The training loop: a generator of Step and Eval events, which the callers print and log.

A Job makes batches, computes their loss and scores the model; a Plan says how long to train. accelerate handles
devices, processes and mixed precision. The loss of a step is the mean over its terms, however many batches are
accumulated and processes run; transformers#34191 shows what goes wrong otherwise. Knows no task and no file format.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bertcli import exits
from bertcli.errors import BertcliError, Interrupted, UsageError
from bertcli.training import checkpoint

STATE = "state.pt"  # of a checkpoint: all but the weights that are kept for the end
SMOOTHING = 0.95  # of the speeds shown: the weight of what was before
Metrics = dict[str, Any]
Stop = Callable[[], int | None]


@dataclass(frozen=True)
class Step:
    """An optimiser step is done. step: how many are done, of `total`. epoch: how many are done, with a fraction.

    loss: mean over the step. examples, tokens: in this step, over all processes; tokens without padding.
    utilisation: of the GPUs' peak, counting the model's own operations (Chowdhery et al. 2022, arXiv 2204.02311,
    appendix B); None where the job does not count them or the peak is not known.
    """

    step: int
    total: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    examples: int
    tokens: int
    examples_per_s: float
    tokens_per_s: float
    utilisation: float | None
    seconds_left: float


@dataclass(frozen=True)
class Eval:
    """The model was scored. best: whether these weights are the best so far, as `metric` decides."""

    step: int
    epoch: float
    metrics: Metrics
    best: bool
    metric: str


@dataclass(frozen=True)
class Batch:
    """What a process feeds its model at once. count: how many terms (examples, masked tokens) its loss sums.

    operations: floating-point operations of a forward and a backward pass, where the job counts them.
    """

    inputs: Mapping[str, torch.Tensor]
    targets: Any
    count: int
    examples: int
    tokens: int
    operations: int = 0


class Job(Protocol):
    """The data, the loss and the scores of a training. A key stands for a batch, such as the indices in it."""

    def schedule(self, step: int) -> Iterator[Sequence[Any]]:
        """The keys of the batches of each optimiser step, from the one after `step` on, at least to the plan's end."""

    def batch(self, key: Any) -> Batch:
        """This process' part of a batch, on its device."""

    def split(self, key: Any, parts: int) -> Sequence[Any]:
        """The keys of at most so many parts that make up a batch; itself alone where it has none."""

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The SUM of the loss over the batch's terms: a scalar."""

    def evaluate(self, model: Any) -> Metrics | None:
        """Scores by name, the same in all processes; None where there is nothing to score on."""


@dataclass(frozen=True)
class Plan:
    """How long to train and when to evaluate. total: steps of the whole run. metric: decides which weights are best.

    direction: 1 where more of the metric is better, -1 where less is. peak: operations a second of the devices.
    identity: settings and data, as plain values; a run can be resumed only under the same ones. average_from: the step
    from which on the weights are averaged, if they are.
    """

    total: int
    steps_per_epoch: int
    rate: Callable[[int], float]
    clip_norm: float
    eval_every: int
    metric: str
    direction: int
    patience: int | None
    folder: Path
    identity: dict[str, Any] = field(default_factory=dict)
    peak: float | None = None
    average_from: int = 0


@dataclass(eq=False)
class Trainer:
    """The state of a run. model and optimizer: as accelerate prepared them; average: of the weights, or None.

    parts: in which a batch is computed, more where memory was too small for one.
    """

    accelerator: Accelerator
    model: Any
    optimizer: Any
    average: AveragedModel | None
    plan: Plan
    step: int = 0
    best: float | None = None
    evals_without_best: int = 0
    history: list[Metrics] = field(default_factory=list)
    examples_per_s: float = 0.0
    tokens_per_s: float = 0.0
    parts: int = 1

    def run(self, job: Job, stop: Stop) -> Iterator[Step | Eval]:
        """Train to the end of the plan, or until patience is out.

        stop: asked after each step; a signal number ends the run with a checkpoint and Interrupted.
        """
        plan, schedule = self.plan, job.schedule(self.step)
        while self.step < plan.total and (plan.patience is None or self.evals_without_best < plan.patience):
            yield self._step(job, next(schedule))
            if self.step % plan.eval_every == 0 or self.step == plan.total:
                yield from self._evaluate(job)
            # All processes must stop at the same step when any got a signal, or the others wait for ever.
            if signum := max(self._from_all([stop() or 0])):
                self.save()
                raise Interrupted(signum, f"after step {self.step:,}; --resume goes on from there")

    def _step(self, job: Job, keys: Sequence[Any]) -> Step:
        """One step of the optimiser: the gradients of the batches' mean loss, clipped, at the plan's learning rate."""
        plan, accelerator, began = self.plan, self.accelerator, time.perf_counter()
        while (done := self._gradients(job, keys)) is None:
            self.optimizer.zero_grad()
            torch.cuda.empty_cache()
        loss, examples, tokens, operations = done
        norm = accelerator.clip_grad_norm_(self.model.parameters(), plan.clip_norm or float("inf"))

        lr = plan.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.average and self.step >= plan.average_from and self.step % AVERAGE_EVERY == 0:
            self.average.update_parameters(accelerator.unwrap_model(self.model))
        if not math.isfinite(loss):
            raise BertcliError(f"the loss became {loss} at step {self.step}; try a lower --lr or --precision fp32.")

        seconds = time.perf_counter() - began
        smoothing = SMOOTHING if self.tokens_per_s else 0.0
        self.examples_per_s = smoothing * self.examples_per_s + (1 - smoothing) * (examples / seconds)
        self.tokens_per_s = smoothing * self.tokens_per_s + (1 - smoothing) * (tokens / seconds)
        return Step(
            self.step, plan.total, self._epoch, loss, lr, float(norm), examples, tokens,
            self.examples_per_s, self.tokens_per_s,
            utilisation=operations / seconds / plan.peak if operations and plan.peak else None,
            seconds_left=(plan.total - self.step) * tokens / self.tokens_per_s,
        )  # fmt: skip

    def _gradients(self, job: Job, keys: Sequence[Any]) -> tuple[float, int, int, int] | None:
        """Add up the gradients of a step's mean loss; that loss, and the step's examples, tokens and operations.

        None where they must be computed again. Either memory was too small: batches then have half the size, with the
        same sum. Or the GPU has no operation that adds up in the same order each time: it then need not. Raises
        BertcliError where batches cannot be halved.
        """
        accelerator = self.accelerator
        parts = [part for key in keys for part in job.split(key, self.parts)]
        batches = [job.batch(part) for part in parts]
        names = ("count", "examples", "tokens", "operations")
        sums = self._from_all([sum(getattr(batch, name) for batch in batches) for name in names])
        count, *rest = (sum(sums[i :: len(names)]) for i in range(len(names)))
        total = torch.zeros((), device=accelerator.device)
        try:
            for i, batch in enumerate(batches):
                is_last = i == len(batches) - 1
                with nullcontext() if is_last else accelerator.no_sync(self.model):
                    # DDP takes the mean over processes, hence the factor.
                    loss = job.loss(self.model, batch) * (accelerator.num_processes / max(count, 1))
                    accelerator.backward(loss)
                total += loss.detach().float()
        except torch.OutOfMemoryError as error:
            self.parts *= 2
            if accelerator.num_processes > 1 or len(parts) == sum(len(job.split(key, self.parts)) for key in keys):
                raise BertcliError("memory is too small for these batches; try a smaller --batch-tokens.") from error
            return None
        except RuntimeError as error:  # of an operation that torch has no repeatable kernel for
            if not torch.are_deterministic_algorithms_enabled() or "deterministic" not in str(error):
                raise
            torch.use_deterministic_algorithms(False)
            return None
        examples, tokens, operations = rest
        return float(accelerator.reduce(total, "mean")), examples, tokens, operations

    @property
    def _epoch(self) -> float:
        return round(self.step / self.plan.steps_per_epoch, 4)

    def _evaluate(self, job: Job) -> Iterator[Eval]:
        """Score, keep the weights if they are the best, and save the state of the run."""
        is_averaged = self.average is not None and self.average.n_averaged > 0
        model = self.average.module if self.average is not None and is_averaged else self.model
        with self.accelerator.autocast() if is_averaged else nullcontext():  # The model itself was prepared for it.
            metrics = job.evaluate(model)
        is_best = metrics is None or self._is_best(metrics[self.plan.metric])
        if is_best:
            self._write("best", partial(exits.save, self.accelerator.unwrap_model(model)))
        if metrics is not None:
            numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
            self.history.append({"step": self.step, "epoch": self._epoch, **numbers})
            # It is logged before the checkpoint: a run that goes on from there does not score this step again.
            yield Eval(self.step, self._epoch, metrics, is_best, self.plan.metric)
        self.save()

    def _is_best(self, metric: float | None) -> bool:
        """Compare with the best so far. metric: None where these predictions do not define it; a loss may be NaN."""
        value = -math.inf if metric is None or math.isnan(metric) else self.plan.direction * float(metric)
        is_best = self.best is None or value > self.best
        self.best = value if is_best else self.best
        self.evals_without_best = 0 if is_best else self.evals_without_best + 1
        return is_best

    def _from_all(self, values: list[int]) -> list[int]:
        """These values of every process, one process after the other."""
        if self.accelerator.num_processes == 1:
            return values
        return list(self.accelerator.gather(torch.tensor(values, device=self.accelerator.device)).tolist())

    # The state of the run, in full: what comes after depends on nothing else.

    def save(self) -> None:
        """Write the checkpoint `last`. Every process calls it; the first one writes."""
        accelerator, cuda = self.accelerator, self.accelerator.device.type == "cuda"
        generator = torch.cuda.get_rng_state() if cuda else torch.get_rng_state()
        state = {
            "identity": self.plan.identity,
            "step": self.step,
            "best": self.best,
            "evals_without_best": self.evals_without_best,
            "history": self.history,
            "model": accelerator.unwrap_model(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            # of each process' random generator, for dropout: (processes, bytes)
            "generators": list(accelerator.gather(generator[None].to(accelerator.device)).cpu()),
        }
        self._write("last", lambda directory: torch.save(state, directory / STATE))

    def _write(self, name: str, fill: Callable[[Path], None]) -> None:
        if self.accelerator.is_main_process:
            checkpoint.save(self.plan.folder, name, self.step, fill)
        self.accelerator.wait_for_everyone()

    def resume(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises UsageError where settings or data differ from its own."""
        try:
            # weights_only, so that a checkpoint runs no code
            state: dict[str, Any] = torch.load(directory / STATE, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises anything from OSError to UnpicklingError here
            raise BertcliError(f"{directory / STATE}: not a readable checkpoint ({error}).") from error
        require_same(state["identity"], self.plan.identity)
        for name in ("step", "best", "evals_without_best", "history"):
            setattr(self, name, state[name])
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])
        generator = state["generators"][self.accelerator.process_index].contiguous()
        (torch.cuda if self.accelerator.device.type == "cuda" else torch).set_rng_state(generator)


def require_same(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raise UsageError that lists what differs between a checkpoint's identity and this run's."""
    names = sorted(name for name in saved.keys() | current.keys() if saved.get(name) != current.get(name))
    if names:
        lines = [f"  {name}: was {saved.get(name)!r}, is {current.get(name)!r}" for name in names]
        raise UsageError("\n".join(["this run cannot be resumed, because these differ:", *lines]))


# The optimiser and what goes with it: decay exclusions, the learning rate by step, an average of the weights.

AVERAGE_EVERY = 8  # steps; an average of 22.7M weights at each step of 1024 tokens would cost 5 % of the time


def adamw(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101), fused; no decay of biases and of LayerNorm's weights.

    beta2 and epsilon as RoBERTa's fine-tuning has them (arXiv 1907.11692, table 10).
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True)


FALLS: dict[str, Callable[[float], float]] = {  # share of the steps after the warm-up that is done -> of the peak
    "linear": lambda done: 1 - done,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    # flat, then down in the last fifth (Haegele et al. 2024, arXiv 2405.18392, section 3)
    "trapezoidal": lambda done: min(1.0, (1 - done) / 0.2),
}


def learning_rate(peak: float, warmup: float, total: int, schedule: str) -> Callable[[int], float]:
    """The rate of step 0 ... total - 1: a linear rise in `warmup * total` steps, then what the schedule says, to 0."""
    rise, fall = round(warmup * total), FALLS[schedule]
    return lambda step: peak * ((step + 1) / rise if step < rise else fall((step - rise) / (total - rise)))


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's weights (Tarvainen & Valpola, arXiv 1703.01780, section 3).

    decay: a step; one update stands for AVERAGE_EVERY of them.
    """
    update = get_ema_multi_avg_fn(decay**AVERAGE_EVERY)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=update)
