"""Labelled records to encoded examples: targets for the task, notes for the user, and the faults of the data.

Knows no task and no model weights. Try: python -c "from bertcli.training.data import read_data; help(read_data)"
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from string import printable
from typing import Any

import tokenizers

from bertcli import registry, tokenizer_files
from bertcli.data.records import Record
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.model import Model, resolve
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import Decision, decide, map_hint
from bertcli.tasks.training import BaseTraining, Examples, Faults, Labelled
from bertcli.tokenizer import Tokenizer
from bertcli.training.run import Note
from bertcli.training.settings import Settings

FEW = 12  # labels that a note names


@dataclass(frozen=True)
class Data:
    """All splits, encoded. task: with the labels of `decision`. training: its targets and loss.

    sources: for "train", "dev", "unlabelled" and "vocabulary", the number of records from each file.
    """

    task: BaseTask
    decision: Decision
    training: BaseTraining
    splits: Mapping[str, Labelled]
    sources: Mapping[str, Counter[str]]

    def notes(self) -> Iterator[Note]:
        """Notes for the user: what was chosen and why, and what was cut off."""
        if kept := self.task.tokenizer.pieces:
            yield Note(f"vocabulary: {len(kept):,} pieces of {self.task.config['vocab_size']:,}")
        yield Note(f"problem: {self.decision.problem.replace('_', ' ')} ({self.decision.reason})")
        if self.decision.has_classes:
            labels = self.decision.labels
            named = ", ".join(labels[:FEW]) + (f", … {len(labels):,} in all" if len(labels) > FEW else "")
            yield Note(f"labels: {named} ({self.decision.labels_reason})")
        limit = self.task.tokenizer.max_length
        for name, split in self.splits.items():
            if cut := split.examples.truncated:
                texts = f"{cut:,} of {len(split.examples):,} {name} texts"
                yield Note(f"{texts} were cut at {limit} tokens (--long window: none)", warning=True)
            yield from (Note(f"{name} data: {text}", warning=True) for text in self.task.warnings(split.gold))


def read_data(
    settings: Settings,
    base: Model,
    train: Iterable[Record],
    dev: Iterable[Record] | None,
    unlabelled: Iterable[Record] = (),
    vocabulary: Iterable[Record] | None = None,
) -> Data:
    """Read and encode all records; the arguments are those of `finetune`.

    Raises UsageError with the faults of all records, or for dev labels that train lacks, and ModelError for a tokenizer
    whose vocabulary cannot be cut.
    """
    task_class: type[BaseTask] = registry.load("tasks", settings.task).Task
    tokens = tokenizer_files.load(base.path, base.config)
    if settings.max_length is not None:
        if settings.max_length > tokens.max_length:
            raise UsageError(f"--max-length {settings.max_length}: the model takes at most {tokens.max_length} tokens.")
        tokens.max_length = settings.max_length
    # A calibration belongs to the base model's head, which is replaced by a new one.
    config = {name: value for name, value in task_class.config_of(base).items() if name != "calibration"}
    sources = {"vocabulary": Counter[str]()}
    if vocabulary is not None:
        encoder = task_class(tokens, config, settings.options)
        tokens = cut_to_pieces(tokens, used_pieces(encoder, vocabulary, sources["vocabulary"]))
        config["pad_token_id"] = tokens.pad
    encoder, faults = task_class(tokens, config, settings.options), Faults()
    examples = {"train": Examples(encoder, train, faults, unlabelled)}
    if dev is not None:
        examples["dev"] = Examples(encoder, dev, faults)
    faults.require_none(good=sum(map(len, examples.values())))

    labelled = examples["train"].records[: examples["train"].labelled]
    decision = decide(task_class, settings, resolve(settings.teacher) if settings.teacher else base, labelled)
    task = task_class(tokens, {**config, **decision.config}, settings.options)
    if dev is not None:
        if not len(examples["dev"]):
            raise UsageError("the dev data has no records; leave --dev away to train without.")
        if unknown := task_class.unknown_labels(settings, decision, examples["dev"].records):
            raise UsageError(
                f"the dev data has labels that the training data has not: {', '.join(unknown)}. "
                f"Known are: {', '.join(decision.labels)}; {map_hint(unknown)}."
            )
    gold = {name: split.targets(task, faults) for name, split in examples.items()}
    faults.require_none(good=sum(target is not None for targets in gold.values() for target in targets))
    training = task.training(decision, settings)
    splits = {
        name: Labelled(split, gold[name], training.targets(split, gold[name])) for name, split in examples.items()
    }
    sources |= {name: split.sources for name, split in examples.items()}
    sources["unlabelled"] = examples["train"].unlabelled
    return Data(task, decision, training, splits, sources)


# A smaller vocabulary: the pieces that a corpus uses, and a tokenizer with these alone, which reads it the same way.
#
# WordPiece takes the longest piece that fits, Unigram the likeliest sequence of pieces: both find the same ones again
# where only pieces are gone that they did not take. What a corpus has not is spelt in smaller pieces. BPE joins pieces
# to larger ones, so each needs those that it is joined from.

CHUNK = 4096  # records encoded at once


def used_pieces(task: BaseTask, records: Iterable[Record], sources: Counter[str]) -> set[int]:
    """The ids of the pieces of records: as the task reads them, or of all their texts where they are none for it.

    sources: counts the records of each file. Raises UsageError for records that cannot be read.
    """
    ids: set[int] = set()
    iterator = iter(records)
    while chunk := list(islice(iterator, CHUNK)):
        texts: list[str] = []
        sources.update(record.source for record in chunk)
        for record, encoded in zip(chunk, task.encode(chunk), strict=True):
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


def cut_to_pieces(tokenizer: Tokenizer, ids: set[int]) -> Tokenizer:
    """A tokenizer of these pieces, in their order, and of those that it cannot do without.

    Raises ModelError for a vocabulary of another kind than WordPiece or Unigram.
    """
    document = json.loads(tokenizer.backend.to_str())
    model, special = document["model"], {token["id"] for token in document["added_tokens"]}
    before = range(tokenizer.pad + 1)  # RoBERTa and its kin number positions from the padding's id.
    kept = ids.union(special, before, tokenizer.backend.encode("", "").ids)
    match model["type"]:
        case "WordPiece":
            numbers, prefix = model["vocab"], model["continuing_subword_prefix"]
            kept.add(numbers[model["unk_token"]])
        case "Unigram":
            numbers, prefix = {name: i for i, (name, _) in enumerate(model["vocab"])}, "\u2581"
            worst = min(numbers.values(), key=lambda i: model["vocab"][i][1])  # It tells what an unknown letter costs.
            kept |= {model["unk_id"] or 0, worst}
        case other:
            raise ModelError(f"--vocabulary-from: the tokenizer is {other}, whose pieces are made of each other.")
    # The pieces of one character that these pieces have inside, or ASCII, with and without the prefix.
    characters = {"", *printable}.union(*(name for name, i in numbers.items() if i in ids))
    kept.update(i for name, i in numbers.items() if name.removeprefix(prefix) in characters)
    pieces = sorted(kept)
    new = {old: i for i, old in enumerate(pieces)}  # their numbers from now on
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][i] for i in pieces if i < len(model["vocab"])]
        model["unk_id"] = new.get(model["unk_id"])
    else:
        model["vocab"] = {name: new[i] for name, i in model["vocab"].items() if i in new}
    for token in document["added_tokens"]:
        token["id"] = new[token["id"]]
    document["post_processor"] = _with_ids(document["post_processor"], new)
    backend = tokenizers.Tokenizer.from_str(json.dumps(document))
    if any(tokenizer.backend.id_to_token(old) != backend.id_to_token(i) for i, old in enumerate(pieces)):
        raise ModelError("--vocabulary-from: the tokenizer has tokens among its pieces that keep their numbers.")
    return Tokenizer(backend, tokenizer.max_length, tokenizer.special, pieces, tokenizer.has_segments)


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
