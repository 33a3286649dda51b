"""Labelled records to encoded examples: what the task learns, what is said of it, and what is wrong with the data.

Knows no task and no model weights. Try: python -c "from bertcli.training.data import read_data; help(read_data)"
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bertcli import registry, tokenizer_files
from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.model import Model, resolve
from bertcli.tasks.base import BaseTask
from bertcli.tasks.examples import Examples, Faults
from bertcli.tasks.labels import Decision, decide, map_hint
from bertcli.tasks.training import BaseTraining, Labelled
from bertcli.training import pieces
from bertcli.training.settings import Settings

FEW = 12  # labels that a note names


@dataclass(frozen=True)
class Data:
    """All splits, encoded. task: bound to the labels of `decision`, which `training` learns.

    sources: how many records came from which file, by what they are for.
    """

    task: BaseTask
    decision: Decision
    training: BaseTraining
    splits: Mapping[str, Labelled]
    sources: Mapping[str, Counter[str]]

    def choices(self) -> Iterator[str]:
        """What was chosen for the user, and why."""
        if kept := self.task.tokenizer.pieces:
            yield f"vocabulary: {len(kept):,} pieces of {self.task.config['vocab_size']:,}"
        yield f"problem: {self.decision.problem.replace('_', ' ')} ({self.decision.reason})"
        if self.decision.has_classes:
            labels = self.decision.labels
            named = ", ".join(labels[:FEW]) + (f", … {len(labels):,} in all" if len(labels) > FEW else "")
            yield f"labels: {named} ({self.decision.labels_reason})"

    def warnings(self) -> Iterator[str]:
        """What was lost."""
        limit = self.task.tokenizer.max_length
        for name, split in self.splits.items():
            if cut := split.examples.truncated:
                total = len(split.examples)
                yield f"{cut:,} of {total:,} {name} texts were cut at {limit} tokens (--long window: none)"
            yield from (f"{name} data: {text}" for text in self.task.warnings(split.gold))


def read_data(
    settings: Settings,
    base: Model,
    train: Iterable[Record],
    dev: Iterable[Record] | None,
    unlabelled: Iterable[Record] = (),
    vocabulary: Iterable[Record] | None = None,
) -> Data:
    """Read and encode all records; see `finetune`. Raises UsageError with the faults of all, or for unknown dev labels.

    Raises ModelError for a tokenizer whose vocabulary cannot be cut.
    """
    task_class: type[BaseTask] = registry.load("tasks", settings.task).Task
    tokens = tokenizer_files.load(base.path, base.config)
    if settings.max_length is not None:
        if settings.max_length > tokens.max_length:
            raise UsageError(f"--max-length {settings.max_length}: the model takes at most {tokens.max_length} tokens.")
        tokens.max_length = settings.max_length
    # The calibration is that of the base model's head, which is trained anew.
    config = {name: value for name, value in task_class.config_of(base).items() if name != "calibration"}
    sources = {"vocabulary": Counter[str]()}
    if vocabulary is not None:
        encoder = task_class(tokens, config, settings.options)
        tokens = pieces.cut(tokens, pieces.used(encoder, vocabulary, sources["vocabulary"]))
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
