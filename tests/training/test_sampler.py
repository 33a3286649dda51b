"""Every example once an epoch, within the budget, with hardly any padding, and in shards that make up the whole."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bertcli.training import sampler

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(lambda values: np.array(values, np.int64))


@given(LENGTHS, st.integers(1, 500), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_holds_every_example_once_within_the_budget(
    lengths: np.ndarray, budget: int, seed: int, epoch: int
) -> None:
    batches = sampler.epoch_batches(lengths, budget, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == [*range(len(lengths))]
    for batch in batches:
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= budget
    assert len(batches) == len(sampler.epoch_batches(lengths, budget, seed + 1, epoch + 1))


@given(LENGTHS, st.integers(1, 500))
def test_only_a_batch_where_lengths_change_is_padded(lengths: np.ndarray, budget: int) -> None:
    padded = [batch for batch in sampler.epoch_batches(lengths, budget, 0, 0) if len(set(lengths[batch])) > 1]
    assert len(padded) < len(set(lengths.tolist()))


@given(LENGTHS, st.integers(1, 500), st.integers(1, 5))
def test_the_shards_of_a_batch_are_the_batch(lengths: np.ndarray, budget: int, processes: int) -> None:
    for batch in sampler.epoch_batches(lengths, budget, 0, 0):
        shards = [sampler.shard(batch, rank, processes) for rank in range(processes)]
        assert sorted(np.concatenate(shards).tolist()) == sorted(batch.tolist())


@given(LENGTHS, st.integers(1, 500), st.integers(1, 5))
def test_steps_hold_all_batches(lengths: np.ndarray, budget: int, accumulate: int) -> None:
    batches = sampler.in_length_order(lengths, budget)
    steps = sampler.steps(batches, accumulate)
    assert sum(map(len, steps)) == len(batches) and max(map(len, steps)) <= accumulate
    assert len(steps) == -(-len(batches) // accumulate)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.arange(1, 200) % 7 + 1

    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(sampler.epoch_batches(lengths, 50, seed, epoch)).tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_the_longest_batch_comes_first_without_a_shuffle() -> None:
    assert sampler.in_length_order(np.array([3, 9, 5]), 9)[0].tolist() == [1]
