"""The streaming engine, on a fake task and backend: order, errors, windows, waiting, stopping, bounded reading."""

import random
import threading
import time
from collections.abc import Iterator
from itertools import chain, count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.arrays import Features, Window
from bertcli.data.records import Record
from bertcli.errors import Interrupted, RecordError
from bertcli.inference.batching import Cutter, Padding, collate, cut, distinct
from bertcli.inference.stream import Batching, Outcome, Stop, result, stream
from bertcli.tokenizer import NoTokenizer


class FakeTask:
    """A record's ids are the code points of its text; its prediction is their sum, over all windows."""

    limit = 10
    tokenizer = NoTokenizer()

    def encode(self, records: list[Record]) -> list[Any]:
        return [self._encode(record.fields["text"]) for record in records]

    def _encode(self, text: str) -> Any:
        if "!" in text:
            return RecordError("no exclamation.")
        ids = [ord(c) for c in text] or [0]
        return Features([Window(ids[i : i + self.limit]) for i in range(0, len(ids), self.limit)])

    def reduce(self, batch: Any, outputs: Any) -> Any:
        return outputs

    def combine(self, features: Features, outputs: list[dict[str, Any]]) -> int:
        return sum(int(output["sum"]) for output in outputs)

    def answer(self, record: Record, prediction: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return record.fields, self.decode(record, prediction)

    def decode(self, record: Record, prediction: int) -> dict[str, Any]:
        return {"label": prediction}


class FakeBackend:
    """Adds up the ids of each row; fails on a batch that holds a `?`."""

    streams = 2
    batch_tokens = 768
    multiple = 1
    chunk_records = 4096

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: Any) -> dict[str, Any]:
        ids = batch["input_ids"]
        self.shapes.append(ids.shape)
        if (ids == ord("?")).any():
            raise RuntimeError("question")
        time.sleep(random.random() / 2000)  # batches end in another order than they began
        return {"sum": ids.sum(1)}


def records(texts: list[str]) -> list[Record]:
    return [Record(i, {"text": text}, i + 1) for i, text in enumerate(texts)]


def run(texts: list[str], **settings: Any) -> list[Outcome]:
    windows = stream(FakeTask(), FakeBackend(), records(texts), Batching(**settings))  # type: ignore[arg-type]
    return list(chain.from_iterable(windows))


@given(st.lists(st.text(max_size=40), max_size=200), st.integers(1, 64), st.integers(1, 100))
def test_one_outcome_for_each_record_in_order_whatever_the_batches(texts: list[str], window: int, tokens: int) -> None:
    outcomes = run(texts, chunk_records=window, batch_tokens=tokens)
    assert [outcome.record.index for outcome in outcomes] == list(range(len(texts)))
    for text, outcome in zip(texts, outcomes, strict=True):
        if "!" in text:
            assert outcome.error == "no exclamation."
        elif "?" in text:
            assert outcome.error == "the model failed on this record (question)."
        else:
            assert (outcome.error, outcome.prediction) == (None, sum(map(ord, text)))
            assert outcome.windows == max(1, -(-len(text) // 10))


def test_a_fault_of_the_reader_stays_in_its_place() -> None:
    bad = Record(1, line=2, fault="not JSON")
    outcomes = list(chain.from_iterable(stream(FakeTask(), FakeBackend(), [*records(["a"]), bad])))  # type: ignore[arg-type]
    assert [(o.prediction, o.error) for o in outcomes] == [(97, None), (None, "not JSON")]


@pytest.mark.parametrize(("asked", "suits"), [(32, 768), (None, 32)])
def test_batches_hold_one_length_and_at_most_the_budget(asked: int | None, suits: int) -> None:
    backend = FakeBackend()
    backend.batch_tokens = suits
    texts = [chr(1000 + i) + "x" * random.Random(i).randint(0, 9) for i in range(300)]
    list(stream(FakeTask(), backend, records(texts), Batching(batch_tokens=asked)))  # type: ignore[arg-type]
    assert all(rows * length <= 32 for rows, length in backend.shapes)
    assert sum(rows for rows, _ in backend.shapes) == 300


@given(st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=3), max_size=50), st.integers(1, 64))
def test_cut_gives_every_window_once_without_padding(lengths: list[list[int]], tokens: int) -> None:
    windows = [((i, k), Window([7] * n)) for i, row in enumerate(lengths) for k, n in enumerate(row)]
    groups = list(cut(windows, tokens))
    assert sorted(slot for group in groups for slot, _ in group) == [slot for slot, _ in windows]
    for group in groups:
        batch = collate([window for _, window in group])
        assert batch["attention_mask"].all() and (batch["input_ids"] == 7).all()
        assert len(group) == 1 or batch["input_ids"].size <= tokens


@given(st.lists(st.integers(1, 40), min_size=1, max_size=50), st.integers(1, 400))
def test_by_how_much_a_window_is_padded_its_own_length_says_alone(lengths: list[int], tokens: int) -> None:
    padding = Padding(multiple=16, longest=40, id=1)
    for group in cut(((i, Window([7] * n)) for i, n in enumerate(lengths)), tokens, padding):
        batch = collate([window for _, window in group], padding)
        for (i, _), ids, mask in zip(group, batch["input_ids"], batch["attention_mask"], strict=True):
            length = next(size for size in (16, 32, 40) if size >= lengths[i])
            assert ids.tolist() == [7] * lengths[i] + [1] * (length - lengths[i])
            assert mask.sum() == lengths[i] == mask[: lengths[i]].sum()
        assert len(group) == 1 or batch["input_ids"].size <= tokens


@given(st.lists(st.lists(st.integers(1, 12), max_size=30), max_size=8), st.integers(1, 48))
def test_a_window_is_held_for_a_full_batch_of_its_length_but_only_once(rounds: list[list[int]], tokens: int) -> None:
    cutter: Cutter[tuple[int, int]] = Cutter(tokens)
    came = []
    for i, lengths in enumerate(rounds):
        before = {key for key, _ in cutter.held}
        groups = cutter.add(((i, k), Window([7] * n)) for k, n in enumerate(lengths))
        held = {key for key, _ in cutter.held}
        assert not held & before
        for group in groups:
            assert {len(window.ids) for _, window in group} == {len(group[0][1].ids)}
            is_full = len(group) == max(1, tokens // len(group[0][1].ids))
            assert is_full or group[0][0] in before
        came += [key for group in groups for key, _ in group]
    came += [key for group in cutter.rest() for key, _ in group]
    assert sorted(came) == [(i, k) for i, lengths in enumerate(rounds) for k in range(len(lengths))]
    assert not cutter.held


def test_equal_windows_stand_for_one_another_unless_their_segments_differ() -> None:
    encoded = [
        (0, Features([Window([1, 2]), Window([3])])),
        (4, Features([Window([3]), Window([1, 2], [0, 1]), Window([1, 2])])),
    ]
    windows, same = distinct(encoded)
    assert [slot for slot, _ in windows] == [(0, 0), (0, 1), (4, 1)]
    assert same == {(0, 0): (0, 0), (0, 1): (0, 1), (4, 0): (0, 1), (4, 1): (4, 1), (4, 2): (0, 0)}


def test_equal_texts_are_computed_once_and_each_has_its_result_or_its_error() -> None:
    backend = FakeBackend()
    texts = ["same", "other", "same", "why?", "why?", "!"] * 20
    outcomes = list(chain.from_iterable(stream(FakeTask(), backend, records(texts), Batching(chunk_records=120))))  # type: ignore[arg-type]
    assert [outcome.prediction for outcome in outcomes[:3]] == [sum(map(ord, text)) for text in texts[:3]]
    assert [outcome.error for outcome in outcomes[3:6]] == ["the model failed on this record (question)."] * 2 + [
        "no exclamation."
    ]
    assert [(o.prediction, o.error) for o in outcomes] == [(o.prediction, o.error) for o in outcomes[:6]] * 20
    assert sum(rows for rows, _ in backend.shapes) <= 2 * (3 + 2)  # two windows; a batch that fails runs again, halved


def test_scores_that_are_not_finite_are_an_error_for_a_task_would_take_them_for_no_answer() -> None:
    class Overflowing(FakeBackend):
        def run(self, batch: Any) -> dict[str, Any]:
            sums = super().run(batch)["sum"].astype(np.float32)
            return {"sum": np.where((batch["input_ids"] == ord("~")).any(1), np.nan, sums)}

    windows = stream(FakeTask(), Overflowing(), records(["fine", "ba~d", "good"]), Batching())  # type: ignore[arg-type]
    one, other, third = chain.from_iterable(windows)
    assert (one.error, third.error) == (None, None) and other.prediction is None
    assert other.error == "the model's scores are not finite; its weights or its precision are at fault."


def test_collate_keeps_the_segments_of_a_pair() -> None:
    batch = collate([Window([1, 2, 3], [0, 0, 1]), Window([4, 5, 6])])
    np.testing.assert_array_equal(batch["token_type_ids"], [[0, 0, 1], [0, 0, 0]])


def test_a_slow_pipe_gets_its_result_before_the_next_record_comes() -> None:
    got_first = threading.Event()

    def slow() -> Iterator[Record]:
        yield Record(0, {"text": "a"})
        assert got_first.wait(10), "the first result was held back for the second record"
        yield Record(1, {"text": "b"})

    seen = []
    for window in stream(FakeTask(), FakeBackend(), slow(), Batching(max_wait_ms=5)):  # type: ignore[arg-type]
        seen += [outcome.prediction for outcome in window]
        got_first.set()
    assert seen == [97, 98]


def test_what_was_read_has_its_results_before_the_fault_that_ended_the_input_is_raised() -> None:
    def broken() -> Iterator[Record]:
        yield from records(["a", "b"])
        raise OSError("the disk is gone")

    windows = stream(FakeTask(), FakeBackend(), broken())  # type: ignore[arg-type]
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for window in windows:
            seen += [outcome.prediction for outcome in window]
    assert seen == [97, 98]


def test_windows_grow_while_results_come_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    def sizes() -> list[int]:
        windows = stream(
            FakeTask(), FakeBackend(), records(["x"] * 3000), Batching(chunk_records=1024, max_wait_ms=1e9)
        )  # type: ignore[arg-type]
        return [len(window) for window in windows]

    quick = sizes()
    assert quick[0] == 64 and max(quick) == 1024
    monkeypatch.setattr("bertcli.inference.stream.CHUNK_SECONDS", 0)
    assert set(sizes()[:-1]) == {64}


def test_a_record_may_wait_for_ever() -> None:
    def slow() -> Iterator[Record]:
        yield from records(["a"])
        time.sleep(0.1)  # the stream waits meanwhile, for as long as a system can
        yield from records(["b"])

    windows = stream(FakeTask(), FakeBackend(), slow(), Batching(max_wait_ms=float("inf")))  # type: ignore[arg-type]
    assert [outcome.prediction for outcome in chain.from_iterable(windows)] == [97, 98]


def test_reading_runs_ahead_only_a_bounded_number_of_records() -> None:
    read = count()

    def endless() -> Iterator[Record]:
        for i in read:
            yield Record(i, {"text": "x"})

    pipeline = stream(FakeTask(), FakeBackend(), endless(), Batching(chunk_records=64))  # type: ignore[arg-type]
    next(pipeline)
    time.sleep(0.1)
    pipeline.close()
    assert next(read) < 64 * 8


def test_a_request_to_stop_ends_the_stream_while_it_waits_for_input() -> None:
    stop, hold = Stop(), threading.Event()

    def blocked() -> Iterator[Record]:
        yield Record(0, {"text": "a"})
        hold.wait(30)

    seen = []
    with pytest.raises(Interrupted) as caught:
        for window in stream(FakeTask(), FakeBackend(), blocked(), Batching(max_wait_ms=1), stop):  # type: ignore[arg-type]
            seen += [outcome.prediction for outcome in window]
            stop.request(15)
    hold.set()
    assert seen == [97]
    assert caught.value.exit_code == 143


def test_what_the_reader_raises_reaches_the_caller() -> None:
    def broken() -> Iterator[Record]:
        yield Record(0, {"text": "a"})
        raise RecordError("broken")

    with pytest.raises(RecordError, match="broken"):
        list(stream(FakeTask(), FakeBackend(), broken()))  # type: ignore[arg-type]


def test_result_keeps_every_input_field_and_says_how_long_texts_were_treated() -> None:
    record = Record(0, {"text": "a", "label": "gold", "id": 7})
    outcome = Outcome(record, 97, windows=3, truncated=True)
    assert result(FakeTask(), outcome) == {  # type: ignore[arg-type]
        "text": "a", "input_label": "gold", "id": 7, "label": 97, "windows": 3, "truncated": True,
    }  # fmt: skip


@pytest.mark.parametrize(("first", "second", "windows"), [(1, 1, 1), (3, 2, 5), (1, 2, 3), (4, 1, 5), (3, None, 3)])
def test_a_pair_says_how_many_windows_both_texts_have(first: int, second: int | None, windows: int) -> None:
    class Pairs(FakeTask):
        def _encode(self, text: str) -> Any:
            return Features([Window([1])] * (first + (second or 0)), second=None if second is None else first)

    ((outcome,),) = stream(Pairs(), FakeBackend(), [Record(0, {"text": "a"})])  # type: ignore[arg-type]
    assert outcome.windows == windows
    assert result(Pairs(), outcome).get("windows", 1) == windows  # type: ignore[arg-type]


def test_the_reader_takes_no_more_than_there_is_room_for_however_deep_it_is_nested() -> None:
    taken = 0

    def records() -> Iterator[Record]:
        nonlocal taken
        for i in range(2000):
            taken += 1
            yield Record(i, {"text": "a", "more": {"deep": ["x" * 10_000]}})

    outcomes = stream(FakeTask(), FakeBackend(), records(), Batching(characters=100_000))  # type: ignore[arg-type]
    next(outcomes)
    time.sleep(0.2)
    assert taken < 200
    outcomes.close()  # type: ignore[attr-defined]
