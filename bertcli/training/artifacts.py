"""What a finished run leaves in its directory beside the weights: settings, metrics, tokenizer, model card."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bertcli import __version__, tokenizer_files
from bertcli.model import Model
from bertcli.tasks.base import BaseTask
from bertcli.tasks.examples import provenance
from bertcli.tasks.labels import Decision
from bertcli.tasks.training import Labelled
from bertcli.training import card
from bertcli.training.settings import EMBEDDED, Settings

PACKAGES = ("accelerate", "numpy", "tokenizers", "torch", "transformers")
METRICS = "metrics.json"
SKIPPED = ("model", "output", "task", "text_field", "pair_field", "label_field", "label_separator", "labels")


@dataclass(frozen=True)
class Result:
    """A finished run.

    splits: train, and dev where there is one. sources: records by file, of these and of what else was read. where:
    device and precision. metrics: on dev, None without; history: those of every evaluation.
    """

    settings: Settings
    base: Model
    task: BaseTask
    decision: Decision
    splits: Mapping[str, Labelled]
    sources: Mapping[str, Mapping[str, int]]
    where: str
    step: int
    metrics: dict[str, Any] | None
    history: list[dict[str, Any]]

    def write(self, draft: Path) -> None:
        """Write all the files into a directory that already has config.json and model.safetensors."""
        tokenizer_files.save(self.task.tokenizer, self.base.path, draft, self.task.tokenizer.max_length)
        for file in self.task.model_files(self.base):
            (draft / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.base.path / file, draft / file)
        sources = {name: provenance(counts) for name, counts in self.sources.items() if counts}
        digest = card.write(draft, "finetuned", self._facts(sources))
        write_settings(draft, "finetune", self.settings.kept(), {"device": self.where, "data": sources, "card": digest})
        write_metrics(draft, self.metrics, self.step, self.history)

    def _facts(self, sources: dict[str, Any]) -> card.Facts:
        settings, decision = self.settings, self.decision
        return card.Facts(
            task=settings.task,
            title=title_of(settings.output),
            base=name_of(settings.model),
            hub_base=hub_name(settings.model),
            problem=decision.problem,
            teacher=name_of(settings.teacher) if settings.teacher else "",
            labels=decision.labels,
            device=self.where,
            settings={name: value for name, value in settings.as_dict().items() if name not in SKIPPED},
            metrics=self.metrics,
            tested=", ".join(Path(name).name for name in sources.get("dev", {})),
            limits=list(self._limits()),
            data=card.sources(sources),
        )

    def _limits(self) -> Iterator[str]:
        """What is known of the training data, and what was not looked at."""
        train = self.splits["train"]
        lengths = train.examples.lengths
        unlabelled = train.examples.unlabelled.total()
        by_teacher = f", {unlabelled:,} of them labelled by the teacher alone," if unlabelled else ""
        yield (
            f"It has seen {len(train.examples):,} training records{by_teacher} and nothing else of its task: half of "
            f"its windows have at most {int(np.median(lengths)):,} tokens, the longest {int(lengths.max()):,}, and it "
            f"takes {self.task.tokenizer.max_length:,}; {train.examples.truncated:,} training texts were cut there."
        )
        if counts := Counter(name for gold in train.gold for name in self.task.label_names(gold)):
            yield f"Labels in the training data: {card.balance(counts)}."
        if self.metrics is None:
            yield "There was no dev data: how good it is was not measured."
        else:
            yield "The dev data chose the step whose weights were kept, so its figures are a little too good."
        yield "It was tested on no other domain, language or kind of text, and not for bias or against misuse."
        if licence := self.base.licence:
            yield f"The base model's card states the licence {licence}; that of the data is not known here."


def title_of(output: str) -> str:
    """A model's name: that of its directory."""
    return Path(output).resolve().name or "model"


def hub_name(model: str | None) -> str | None:
    """The name of a base model if it is one of the Hub's, and not a directory here."""
    return model if model and not Path(model).exists() else None


def name_of(model: str | None) -> str:
    """A base model's name, without where it lay; None: the embedded one."""
    return hub_name(model) or (title_of(model) if model else EMBEDDED)


def write_settings(draft: Path, command: str, options: Mapping[str, object], provenance: Mapping[str, Any]) -> None:
    """bertcli.yaml: the options of a run that are set, which --config repeats, and what else is needed for that."""
    versions = {"bertcli": __version__} | {name: version(name) for name in PACKAGES}
    document = {command: plain(options), "provenance": {"versions": versions, **provenance}}
    (draft / "bertcli.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "utf-8")


def plain(options: Mapping[str, object]) -> dict[str, object]:
    """Options as bertcli.yaml has them: those that are set, by their names on the command line, in YAML's types."""
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in named.items() if v not in (None, ())}


def write_metrics(draft: Path, metrics: Mapping[str, Any] | None, step: int, history: list[dict[str, Any]]) -> None:
    """metrics.json: on dev, of the saved weights and of every evaluation."""
    numbers = {"dev": metrics, "step": step, "history": history}
    (draft / METRICS).write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", "utf-8")
