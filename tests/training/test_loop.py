"""The loop, on a model of six weights: same result however it is cut up, stopped and resumed; and what it decides."""

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from bertcli.errors import BertcliError, Interrupted, UsageError
from bertcli.training import checkpoint, loop
from bertcli.training.loop import Batch, Eval, Plan, Step, Trainer, require_same


class Toy(torch.nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 1)
        self.norm = torch.nn.LayerNorm(4)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.dropout(self.norm(x)))[:, 0]

    def save_pretrained(self, path: Path) -> None:
        save_file(self.state_dict(), path / "model.safetensors")


class ToyJob:
    """16 rows of 4; `cuts` are the batches of each step."""

    def __init__(self, *steps: list[list[int]], scores: list[Any] | None = None) -> None:
        random = torch.Generator().manual_seed(1)
        self.x, self.y = torch.randn(16, 4, generator=random), torch.randn(16, generator=random)
        self.cuts = list(steps)
        self.scores = iter(scores) if scores else None

    def schedule(self, step: int) -> Iterator[list[list[int]]]:
        for number in count(step):
            epoch, place = divmod(number, len(self.cuts))
            yield (self.cuts if epoch % 2 == 0 else self.cuts[::-1])[place]

    def split(self, key: list[int], parts: int) -> list[list[int]]:
        size = -(-len(key) // parts)
        return [key[i : i + size] for i in range(0, len(key), size)]

    def batch(self, key: list[int]) -> Batch:
        return Batch({"x": self.x[key]}, self.y[key], len(key), len(key), 4 * len(key))

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        return torch.nn.functional.mse_loss(model(**batch.inputs), batch.targets, reduction="sum")

    def evaluate(self, model: Any) -> dict[str, Any] | None:
        return {"accuracy": next(self.scores)} if self.scores else None


def trainer(folder: Path, job: ToyJob, epochs: int = 2, dropout: float = 0.0, ema: float = 0.0, **plan: Any) -> Trainer:
    module = Toy(dropout).train()
    steps = len(job.cuts)
    defaults: dict[str, Any] = {
        "rate": loop.learning_rate(0.1, 0.1, epochs * steps, "linear"), "clip_norm": 1.0, "eval_every": steps,
        "metric": "accuracy", "direction": 1, "patience": None, "folder": folder,
    }  # fmt: skip
    accelerator = Accelerator(cpu=True)
    average = loop.moving_average(module, ema) if ema else None
    defaults["average_from"] = 2
    model, optimizer = accelerator.prepare(module, loop.adamw(module, 0.1, 0.01))
    return Trainer(accelerator, model, optimizer, average, Plan(epochs * steps, steps, **{**defaults, **plan}))


def weights(run: Trainer) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in run.model.parameters()]


def never() -> None:
    return None


FOUR = [[[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8, 9, 10, 11]], [[12, 13, 14, 15]]]


def test_accumulated_batches_of_any_size_are_one_big_batch(tmp_path: Path) -> None:
    big, small = ToyJob([[*range(16)]]), ToyJob([[0], [*range(1, 9)], [*range(9, 16)]])
    runs = [trainer(tmp_path / str(i), job, epochs=5) for i, job in enumerate((big, small))]
    events = [list(run.run(job, never)) for run, job in zip(runs, (big, small), strict=True)]
    torch.testing.assert_close(weights(runs[0]), weights(runs[1]))
    for one, other in zip(*events, strict=True):
        assert isinstance(one, Step) and isinstance(other, Step)
        assert one.loss == pytest.approx(other.loss) and one.grad_norm == pytest.approx(other.grad_norm)
        assert (one.examples, one.tokens) == (other.examples, other.tokens) == (16, 64)


class SmallJob(ToyJob):
    """A job on a device that has the memory for so many rows: the backward pass of more fails halfway."""

    def __init__(self, *steps: list[list[int]], room: int) -> None:
        super().__init__(*steps)
        self.room = room
        self.sizes: list[int] = []

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        loss = super().loss(model, batch)
        self.sizes.append(batch.count)
        if batch.count > self.room:
            loss.backward()  # what it has added to the gradients must not stay
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return loss


def test_a_batch_that_memory_is_too_small_for_is_halved_and_the_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    steps = [[[*range(8)], [8, 9, 10]], [[*range(16)]]]
    whole, small = ToyJob(*steps), SmallJob(*steps, room=4)
    runs = [trainer(tmp_path / str(i), job, epochs=3) for i, job in enumerate((whole, small))]
    events = [list(run.run(job, never)) for run, job in zip(runs, (whole, small), strict=True)]
    torch.testing.assert_close(weights(runs[0]), weights(runs[1]))
    losses = [[event.loss for event in part if isinstance(event, Step)] for part in events]
    assert losses[0] == pytest.approx(losses[1])
    assert small.sizes[:5] == [8, 4, 4, 2, 1] and max(small.sizes[8:]) <= 4  # the second step halves once more


@pytest.fixture
def repeatable() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("repeatable")
def test_an_operation_without_a_repeatable_kernel_is_computed_with_the_usual_one(tmp_path: Path) -> None:
    class Unrepeatable(ToyJob):
        def loss(self, model: Any, batch: Batch) -> torch.Tensor:
            loss = super().loss(model, batch)
            if torch.are_deterministic_algorithms_enabled():
                loss.backward()
                raise RuntimeError("put_ does not have a deterministic implementation, but you set …")
            return loss

    steps = [[*range(8)], [8, 9, 10]]
    jobs = [ToyJob(steps), Unrepeatable(steps)]
    runs = [trainer(tmp_path / str(i), job, epochs=3) for i, job in enumerate(jobs)]
    for run, job in zip(runs, jobs, strict=True):
        assert [event.step for event in run.run(job, never) if isinstance(event, Step)] == [1, 2, 3]
    torch.testing.assert_close(weights(runs[0]), weights(runs[1]))
    torch.use_deterministic_algorithms(True)
    with pytest.raises(RuntimeError, match="another fault"):
        list(trainer(tmp_path / "2", Broken(steps)).run(Broken(steps), never))


class Broken(ToyJob):
    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        raise RuntimeError("another fault")


def test_memory_that_is_too_small_for_one_row_ends_the_run_with_what_to_do(tmp_path: Path) -> None:
    job = SmallJob([[0, 1, 2]], room=0)
    with pytest.raises(BertcliError, match=r"memory is too small for these batches; try a smaller --batch-tokens\."):
        list(trainer(tmp_path, job).run(job, never))


@pytest.mark.parametrize("stop_after", [1, 3, 4, 6])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, stop_after: int) -> None:
    job = ToyJob(*FOUR)
    whole = trainer(tmp_path / "whole", job, epochs=2, dropout=0.5, ema=0.5)
    expected = [event for event in whole.run(job, never) if isinstance(event, Step)]

    first = trainer(tmp_path / "cut", job, epochs=2, dropout=0.5, ema=0.5)
    with pytest.raises(Interrupted) as caught:
        for _ in first.run(job, lambda: signal.SIGTERM if first.step == stop_after else None):
            pass
    assert caught.value.exit_code == 143
    torch.rand(7)  # whatever happens in between
    second = trainer(tmp_path / "cut", job, epochs=2, dropout=0.5, ema=0.5)
    second.resume(checkpoint.latest(tmp_path / "cut", "last") or tmp_path)
    events = [event for event in second.run(job, never) if isinstance(event, Step)]

    assert [event.loss for event in events] == [event.loss for event in expected[stop_after:]]
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(second), strict=True))
    assert whole.average and second.average and whole.average.n_averaged > 0
    averages = (run.average.parameters() for run in (whole, second) if run.average)
    assert all(torch.equal(a, b) for a, b in zip(*averages, strict=True))


@pytest.mark.filterwarnings("ignore:for .*no-op")
def test_an_average_is_resumed_on_the_device_of_the_weights(tmp_path: Path) -> None:
    job = ToyJob(*FOUR)
    first = trainer(tmp_path, job, ema=0.5)
    with pytest.raises(Interrupted):
        for _ in first.run(job, lambda: signal.SIGTERM if first.step == 3 else None):
            pass
    module = Toy().to("meta")  # stands for a GPU: a tensor that stays on the CPU is one of another device
    average = loop.moving_average(module, 0.5)
    second = Trainer(first.accelerator, module, loop.adamw(module, 0.1, 0.01), average, first.plan)
    second.resume(checkpoint.latest(tmp_path, "last") or tmp_path)
    average.update_parameters(second.model)
    devices = {weight.device.type for weight in (*module.parameters(), *average.module.parameters())}
    states = second.optimizer.state.values()
    assert devices | {state["exp_avg"].device.type for state in states} == {"meta"} and len(states) == 4


def test_a_run_with_other_settings_is_not_resumed(tmp_path: Path) -> None:
    run = trainer(tmp_path, ToyJob(*FOUR), identity={"--lr": 0.1, "train data": "abc"})
    run.save()
    other = trainer(tmp_path, ToyJob(*FOUR), identity={"--lr": 0.2, "train data": "abc"})
    with pytest.raises(UsageError, match=r"these differ:\n  --lr: was 0.1, is 0.2$"):
        other.resume(checkpoint.latest(tmp_path, "last") or tmp_path)
    assert other.step == 0
    require_same({"a": 1}, {"a": 1})


def test_the_best_weights_are_kept_and_patience_ends_the_run(tmp_path: Path) -> None:
    job = ToyJob(*FOUR, scores=[0.5, 0.9, 0.8, 0.9, 1.0])
    run = trainer(tmp_path, job, epochs=5, eval_every=2, patience=2)
    kept: dict[int, list[torch.Tensor]] = {}
    evals = []
    for event in run.run(job, never):
        kept[run.step] = weights(run)
        evals += [event] if isinstance(event, Eval) else []
    assert [(event.step, event.best) for event in evals] == [(2, True), (4, True), (6, False), (8, False)]
    best = checkpoint.latest(tmp_path, "best")
    assert best is not None and best.name == "best-4"
    saved = load_file(best / "model.safetensors")
    assert torch.equal(saved["linear.weight"], kept[4][0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-4", "last-8"]
    assert [entry["accuracy"] for entry in run.history] == [0.5, 0.9, 0.8, 0.9]


@pytest.mark.parametrize(("direction", "best"), [(-1, [True, True, False]), (1, [True, False, True])])
def test_less_or_more_is_better(tmp_path: Path, direction: int, best: list[bool]) -> None:
    run = trainer(tmp_path, ToyJob(*FOUR), direction=direction)
    assert [run._is_best(value) for value in (0.5, 0.4, 0.6)] == best


def test_an_undefined_metric_is_the_worst(tmp_path: Path) -> None:
    run = trainer(tmp_path, ToyJob(*FOUR), metric="pearson")
    assert [run._is_best(value) for value in (None, -0.5, None)] == [True, True, False]
    run.best = None
    assert [run._is_best(value) for value in (math.nan, -0.5, math.nan)] == [True, True, False]


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    job = ToyJob(*FOUR)
    job.y[5] = float("nan")
    with pytest.raises(BertcliError, match=r"the loss became nan at step 2; try a lower --lr"):
        list(trainer(tmp_path, job).run(job, never))


def test_steps_tell_where_the_run_is(tmp_path: Path) -> None:
    job = ToyJob(*FOUR)
    events = [event for event in trainer(tmp_path, job).run(job, never) if isinstance(event, Step)]
    assert [event.step for event in events] == [*range(1, 9)] and {event.total for event in events} == {8}
    assert events[3].epoch == 1.0 and events[7].epoch == 2.0
    assert events[0].lr == pytest.approx(0.1) and 0 < events[7].lr < events[3].lr
    assert events[7].seconds_left == 0 and all(event.examples_per_s > 0 for event in events)


def test_the_average_follows_the_weights_from_its_first_step_on(tmp_path: Path) -> None:
    job = ToyJob([[0, 1]])
    run = trainer(tmp_path, job, ema=0.5, average_from=8)
    module, average = run.accelerator.unwrap_model(run.model), run.average
    assert average is not None

    def after(step: int) -> torch.Tensor:
        run.step = step - 1
        run._step(job, [[0, 1]])
        return average.module.linear.weight.detach().clone()  # type: ignore[no-any-return]

    for group in run.optimizer.param_groups:
        group["weight_decay"] = 0.0
    run.plan = replace(run.plan, rate=lambda step: 0.0)
    start = module.linear.weight.detach().clone()
    after(1)
    assert average.n_averaged == 0
    assert torch.equal(after(8), start)
    with torch.no_grad():
        module.linear.weight += 1
    assert torch.equal(after(9), start)
    torch.testing.assert_close(after(16), start + (1 - 0.5**loop.AVERAGE_EVERY))
    torch.testing.assert_close(module.linear.weight.detach(), start + 1)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_learning_rate_rises_then_falls_to_nothing(schedule: str) -> None:
    rate = loop.learning_rate(1.0, 0.1, 100, schedule)
    values = [rate(step) for step in range(100)]
    assert values[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert values[10] == 1.0 and values[9:] == sorted(values[9:], reverse=True)
    assert 0 < values[-1] < 0.02 and values[55] == pytest.approx(0.5)


def test_without_a_warm_up_the_first_step_alone_has_the_whole_learning_rate() -> None:
    rate = loop.learning_rate(1.0, 0.0, 4, "linear")
    assert [rate(step) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]  # as transformers' linear schedule


def test_biases_and_norms_do_not_decay() -> None:
    decayed, free = loop.adamw(Toy(), 0.1, 0.01).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert [tuple(weight.shape) for weight in decayed["params"]] == [(1, 4)]
    assert len(free["params"]) == 3


@contextmanager
def crashing_at(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(f"bertcli.training.checkpoint.{name}", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize("crash", ["sinks.Path.chmod", "sinks.sync"])
def test_a_crash_while_saving_leaves_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    checkpoint.save(tmp_path, "last", 9, lambda path: None)
    with crashing_at(monkeypatch, crash):
        checkpoint.save(tmp_path, "last", 10, lambda path: (path / "a").touch())
    assert checkpoint.latest(tmp_path, "last") == tmp_path / "last-9"
    checkpoint.save(tmp_path, "last", 10, lambda path: None)
    assert [path.name for path in tmp_path.iterdir()] == ["last-10"]


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / loop.STATE).write_bytes(b"nothing")
    with pytest.raises(BertcliError, match=r"state.pt: not a readable checkpoint"):
        trainer(tmp_path, ToyJob()).resume(tmp_path)


def test_publishing_moves_the_deciding_file_last(tmp_path: Path) -> None:
    draft, target = tmp_path / "draft", tmp_path / "target"
    for path in (draft, target):
        path.mkdir()
        (path / "config.json").write_text(path.name)
        (path / "weights").write_text(path.name)
    (target / "other").write_text("stays")
    checkpoint.publish(draft, target, last="config.json")
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "config.json": "draft", "weights": "draft", "other": "stays",
    }  # fmt: skip
    assert not any(draft.iterdir())
