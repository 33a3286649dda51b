"""What a finished run leaves in its directory beside the weights: settings, metrics, tokenizer, model card."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from bertcli import __version__
from bertcli.engine.pretrain_settings import PretrainSettings
from bertcli.engine.settings import Settings
from bertcli.model import Model

PACKAGES = ("accelerate", "numpy", "tokenizers", "torch", "transformers")
SKIPPED = ("model", "output", "task", "text_field", "pair_field", "label_field", "label_separator", "labels")


@dataclass(frozen=True)
class Result:
    """A finished run. options: of the command, as bertcli.yaml keeps them for `--config`.

    data: split -> source -> records and sha256. metrics: on dev, None without; history: those of every evaluation.
    """

    settings: Settings
    options: Mapping[str, Any]
    base: Model
    problem: str
    labels: list[str]
    data: dict[str, Any]
    device: str
    step: int
    metrics: dict[str, Any] | None
    history: list[dict[str, Any]]

    def write(self, draft: Path, max_length: int) -> None:
        """Write all the files into a directory that already has config.json and model.safetensors."""
        write_tokenizer(self.base.path, draft, max_length)
        if self.problem == "similarity":
            _copy_sentence_files(self.base, draft)
        write_settings(draft, "finetune", self.options, {"device": self.device, "data": self.data})
        write_metrics(draft, self.metrics, self.step, self.history)
        (draft / "README.md").write_text(self.card(), "utf-8")

    def card(self) -> str:
        """The model card, with the front matter that the Hub reads."""
        scores = {name: value for name, value in (self.metrics or {}).items() if isinstance(value, (int, float))}
        front = {
            "library_name": "transformers",
            "pipeline_tag": self.settings.task,
            "base_model": self.settings.model,
            "metrics": list(scores),
        }
        settings = {name: value for name, value in self.settings.as_dict().items() if name not in SKIPPED}
        return CARD.format(
            front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
            title=Path(self.settings.output).resolve().name,
            base=self.settings.model,
            problem=self.problem.replace("_", " "),
            labels=f" Labels, by id: {', '.join(self.labels)}." if self.labels else "",
            device=self.device,
            scores=table(scores) if scores else "There was no dev data.",
            data="\n".join(_sources(self.data)),
            settings=table({name: value for name, value in settings.items() if value is not None}),
        )


CARD = """\
---
{front}
---

# {title}

{base}, fine-tuned with bertcli for {problem}.{labels}

    bertcli predict -m . < texts.txt

## Results on the dev data

Of the saved weights, computed in fp32.

{scores}

## Data

{data}

## Settings

Trained on {device}; `bertcli.yaml` has all settings and the versions of the packages.

{settings}
"""


FILL_MASK = '    echo "The sky is [MASK]." | bertcli predict -t fill-mask -m .\n'
PRETRAINED_CARD = """\
---
{front}
---

# {title}

{what}, pre-trained with bertcli ({objective}).

    bertcli finetune -m . --train train.tsv --dev dev.tsv -o DIR
{use}
## Results on held-out documents

{scores}

## Corpus

{corpus}

## Settings

Trained on {device}; `bertcli.yaml` has all settings and the versions of the packages.

{settings}
"""


def pretrained_card(
    settings: PretrainSettings, device: str, corpus: Mapping[str, Any], metrics: Mapping[str, Any] | None
) -> str:
    """The model card of a checkpoint. corpus: counts and sources by name."""
    front = {"library_name": "transformers", "pipeline_tag": "fill-mask"}
    if settings.model:
        front["base_model"] = settings.model
    values = {name: value for name, value in settings.as_dict().items() if value is not None and name != "output"}
    return PRETRAINED_CARD.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        title=Path(settings.output).resolve().name,
        what=settings.model or "A new encoder",
        objective=settings.objective,
        use='    echo "The sky is [MASK]." | bertcli predict -t fill-mask -m .\n'
        if "mlm" in settings.objective
        else "",
        scores=table(metrics) if metrics else "No documents were held out.",
        corpus=table(corpus),
        device=device,
        settings=table(values),
    )


def write_settings(draft: Path, command: str, options: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """bertcli.yaml: the options of a run, which --config repeats, and what else is needed to repeat it."""
    versions = {"bertcli": __version__} | {name: version(name) for name in PACKAGES}
    document = {command: _plain(options), "provenance": {"versions": versions, **provenance}}
    (draft / "bertcli.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "utf-8")


def write_metrics(draft: Path, metrics: Mapping[str, Any] | None, step: int, history: list[dict[str, Any]]) -> None:
    """metrics.json: on dev, of the saved weights and of every evaluation."""
    numbers = {"dev": metrics, "step": step, "history": history}
    (draft / "metrics.json").write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", "utf-8")


def table(values: Mapping[str, Any]) -> str:
    """Names and values as a Markdown table."""
    rows = [
        f"| {name} | {f'{value:.4f}' if isinstance(value, float) and value >= 0.01 else value} |"
        for name, value in values.items()
    ]
    return "\n".join(["| | |", "|---|---|", *rows])


def _sources(data: dict[str, Any]) -> list[str]:
    return [
        f"* {split}: {'stdin' if name == '-' else Path(name).name}, {facts['records']:,} records"
        + (f", sha256 `{facts['sha256']}`" if "sha256" in facts else "")
        for split, sources in data.items()
        for name, facts in sources.items()
    ]


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are set, spelt as on the command line, in types that YAML has."""
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in named.items() if v not in (None, ())}


def write_tokenizer(source: Path, draft: Path, max_length: int) -> None:
    """Copy a tokenizer in the form that transformers writes, vocab.txt too where there is one."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    tokenizer.model_max_length = max_length
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(draft)
    if (source / "vocab.txt").is_file():
        shutil.copyfile(source / "vocab.txt", draft / "vocab.txt")


def _copy_sentence_files(base: Model, draft: Path) -> None:
    """What sentence-transformers reads of pooling and length."""
    modules = base.path / "modules.json"
    if not modules.is_file():
        return
    folders = [module["path"] for module in json.loads(modules.read_text(encoding="utf-8")) if module["path"]]
    for folder in folders:
        (draft / folder).mkdir(exist_ok=True)
    files = [file for pattern in ("*sentence*.json", "modules.json") for file in base.path.glob(pattern)]
    for file in [*files, *(file for folder in folders for file in (base.path / folder).glob("config.json"))]:
        shutil.copyfile(file, draft / file.relative_to(base.path))
