"""The table of hashes: what goes in is found, whatever collides and however it grows."""

import numpy as np

from bertcli.pretraining.word_cache import WordCache, _Table


def test_entries_are_found_by_hash_and_nothing_else() -> None:
    table = _Table()
    numbers = np.random.default_rng(0).integers(1 << 64, size=20_000, dtype=np.uint64)
    parts = [numbers[:1], numbers[1:500], numbers[500:9_000], numbers[9_000:10_000]]  # it grows in between
    for part in parts:
        table.add(part)
    assert table.find(numbers).tolist() == [*range(10_000), *[-1] * 10_000]


def test_hashes_of_one_slot_are_parted() -> None:
    table = _Table()
    alike = np.arange(300, dtype=np.uint64) + np.uint64(2**64 - 200)  # the last slots of all, and the first
    table.add(alike[:150])
    assert table.find(alike).tolist() == [*range(150), *[-1] * 150]
    table.add(alike[150:])
    assert table.find(alike).tolist() == list(range(300))


def test_each_word_is_encoded_once() -> None:
    asked: list[str] = []
    cache = WordCache(lambda word: asked.append(word) or [len(word)], ideographs=True)
    for _ in range(2):
        ids, lengths = cache.encode(["a bc, a", "", "中文bc"])
        assert (ids.tolist(), lengths.tolist()) == ([1, 2, 1, 1, 1, 1, 2], [4, 0, 3])
    assert sorted(asked) == [",", "a", "bc", "中", "文"]
