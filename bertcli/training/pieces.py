"""A smaller vocabulary: the pieces that a corpus uses, and a tokenizer with these alone, which reads it the same way.

WordPiece takes the longest piece that fits, Unigram the likeliest sequence of pieces: both find the same ones again
where only pieces are gone that they did not take. What a corpus has not is spelt in smaller pieces. BPE joins pieces to
larger ones, so each needs those that it is joined from. Knows no weights.
Try: bertcli finetune --train train.tsv --vocabulary-from train.tsv -o DIR -v
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from string import printable
from typing import Any

import tokenizers

from bertcli.data.records import Record
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.tasks.base import BaseTask
from bertcli.tokenizer import Tokenizer, encode_each

CHUNK = 4096  # records encoded at once


def used(task: BaseTask, records: Iterable[Record], sources: Counter[str]) -> set[int]:
    """The ids of the pieces of records: as the task reads them, or of all their texts where they are none for it.

    sources: counts the records of each file. Raises UsageError for records that cannot be read.
    """
    ids: set[int] = set()
    iterator = iter(records)
    while chunk := list(islice(iterator, CHUNK)):
        texts: list[str] = []
        sources.update(record.source for record in chunk)
        for record, encoded in zip(chunk, encode_each(task.encode, chunk), strict=True):
            if record.fault is not None:
                raise UsageError(f"--vocabulary-from {record.location}: {record.fault}")
            if isinstance(encoded, RecordError):
                texts.extend(_texts(record.fields))
            else:
                ids.update(piece for window in encoded.windows for piece in window.ids)
        for encoding in task.tokenizer.backend.encode_batch_fast(texts, add_special_tokens=False):
            ids.update(encoding.ids)
    return ids


def _texts(value: Any) -> Iterator[str]:
    """All texts inside a field's value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def cut(tokenizer: Tokenizer, ids: set[int]) -> Tokenizer:
    """A tokenizer of these pieces, in their order, and of those that it cannot do without.

    Raises ModelError for a vocabulary of another kind than WordPiece or Unigram.
    """
    document = json.loads(tokenizer.backend.to_str())
    model, special = document["model"], {token["id"] for token in document["added_tokens"]}
    before = range(tokenizer.pad + 1)  # RoBERTa and its kin number positions from the padding's id.
    kept = ids.union(special, before, tokenizer.backend.encode("", "").ids)
    match model["type"]:
        case "WordPiece":
            numbers = model["vocab"]
            kept |= {numbers[model["unk_token"]], *_letters(numbers, ids, model["continuing_subword_prefix"])}
        case "Unigram":
            numbers = {name: i for i, (name, _) in enumerate(model["vocab"])}
            worst = min(numbers.values(), key=lambda i: model["vocab"][i][1])  # It tells what an unknown letter costs.
            kept |= {model["unk_id"] or 0, worst, *_letters(numbers, ids, "\u2581")}
        case other:
            raise ModelError(f"--vocabulary-from: the tokenizer is {other}, whose pieces are made of each other.")
    return _renumbered(tokenizer, document, sorted(kept))


def _letters(numbers: dict[str, int], ids: set[int], prefix: str) -> Iterator[int]:
    """The pieces of one character that these pieces have inside, or ASCII, with and without the prefix."""
    characters = set(printable).union(*(name for name, i in numbers.items() if i in ids))
    for name, i in numbers.items():
        if (bare := name.removeprefix(prefix)) in characters or not bare:
            yield i


def _renumbered(tokenizer: Tokenizer, document: dict[str, Any], kept: list[int]) -> Tokenizer:
    """The tokenizer of a document, with the pieces of these ids alone, which are counted from 0."""
    model, new = document["model"], {old: i for i, old in enumerate(kept)}
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][i] for i in kept if i < len(model["vocab"])]
        model["unk_id"] = new.get(model["unk_id"])
    else:
        model["vocab"] = {name: new[i] for name, i in model["vocab"].items() if i in new}
    for token in document["added_tokens"]:
        token["id"] = new[token["id"]]
    document["post_processor"] = _with_ids(document["post_processor"], new)
    backend = tokenizers.Tokenizer.from_str(json.dumps(document))
    if any(tokenizer.backend.id_to_token(old) != backend.id_to_token(i) for i, old in enumerate(kept)):
        raise ModelError("--vocabulary-from: the tokenizer has tokens among its pieces that keep their numbers.")
    return Tokenizer(backend, tokenizer.max_length, tokenizer.special, kept)


def _with_ids(part: Any, new: Mapping[int, int]) -> Any:
    """What is put around a text, with new ids: they stand in lists called ids, and behind names in pairs."""
    match part:
        case {"ids": ids}:
            return {**part, "ids": [new[i] for i in ids]}
        case dict():
            return {key: _with_ids(value, new) for key, value in part.items()}
        case [str(name), int(i)]:
            return [name, new[i]]
        case list():
            return [_with_ids(item, new) for item in part]
    return part
