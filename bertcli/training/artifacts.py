"""What a finished run leaves in its directory beside the weights: settings, metrics, model card.

The card is the Hub's front matter and a page of text, from the facts of the run alone; huggingface_hub fills in the
templates under cards/. Language and licence of a model are its maker's to state, so they are left out. A card that its
reader has changed is never replaced: bertcli.yaml keeps the digest of what was written here.
Try: bertcli finetune --train train.tsv -o DIR && cat DIR/README.md
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from bertcli import __version__
from bertcli.training.checkpoint import SETTINGS
from bertcli.training.settings import EMBEDDED

CARD, NEW = "README.md", "README.new.md"
TEMPLATES = Path(__file__).parent / "cards"
SHOWN = 20  # labels whose counts are listed
PACKAGES = ("accelerate", "numpy", "tokenizers", "torch", "transformers")
METRICS = "metrics.json"


@dataclass(frozen=True)
class Facts:
    """What a card says. base: what training began with, a Hub name where it is one. problem: what was learnt.

    teacher: the name of the model whose answers were learnt too, "" for none.
    metrics: of the saved weights on data named `tested`; None: none were measured. data: split -> source -> its number
    of records and sha256, or other facts by name. limits: sentences.
    """

    task: str
    title: str
    base: str
    problem: str
    device: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any] | None
    tested: str
    limits: Sequence[str]
    data: str
    hub_base: str | None = None
    labels: Sequence[str] = field(default=())
    use: str = ""
    teacher: str = ""


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


def write_card(draft: Path, template: str, facts: Facts) -> str:
    """Write README.md into a directory; returns the digest of its bytes. template: finetuned or pretrained."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    metrics = facts.metrics or {}
    # Those that are measures: counts, tables and what is not defined are none.
    scores = {name: value for name, value in metrics.items() if isinstance(value, float) and isfinite(value)}
    results = [
        EvalResult(
            task_type=facts.task, dataset_type="custom", dataset_name=facts.tested, dataset_split="dev",
            metric_type=name, metric_value=value,
        )
        for name, value in scores.items()
    ]  # fmt: skip
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=facts.task,
        base_model=facts.hub_base,
        tags=["bertcli"],
        metrics=list(scores) or None,
        model_name=facts.title if results else None,
        eval_results=results or None,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATES / f"{template}.md"),
        facts=facts,
        scores=table(scores, metrics.get("intervals")) if scores else "",
        settings=table({name: value for name, value in facts.settings.items() if value is not None}),
    )
    # The names of data files may be any bytes.
    content = f"{card}\n".encode(errors="backslashreplace")
    (draft / CARD).write_bytes(content)
    return sha256(content).hexdigest()


def is_edited(directory: Path) -> bool:
    """Whether there is a card other than bertcli wrote."""
    card, settings = directory / CARD, directory / SETTINGS
    if not card.is_file():
        return False
    try:
        stated = yaml.safe_load(settings.read_text(encoding="utf-8"))["provenance"]["card"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return True
    return bool(stated != sha256(card.read_bytes()).hexdigest())


def table(values: Mapping[str, Any], intervals: Mapping[str, Sequence[float]] | None = None) -> str:
    """Names and values as a Markdown table, with the 95 % intervals that there are."""
    rows = ["| | | 95 % interval |", "|---|---|---|"] if intervals else ["| | |", "|---|---|"]
    for name, value in values.items():
        shown = f"{value:.4f}" if isinstance(value, float) and abs(value) >= 0.01 else str(value)
        cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in (name, shown)]
        if intervals:
            bounds = intervals.get(name)
            cells.append(f"{bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else "")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def list_of_sources(data: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The files of each split as a list."""
    return "\n".join(
        f"* {split}: {file_name(name)}, {facts['records']:,} records"
        + (f", sha256 `{facts['sha256']}`" if "sha256" in facts else "")
        for split, files in data.items()
        for name, facts in files.items()
    )


def file_name(source: str) -> str:
    """What a source of records is called, without where it lay."""
    return "stdin" if source == "-" else Path(source).name


def balance(counts: Mapping[str, int]) -> str:
    """How often each label occurs, the most frequent first."""
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {count:,} ({count / total:.1%})" for name, count in ranked[:SHOWN])
    return shown + (f", and {len(ranked) - SHOWN:,} rarer ones" if len(ranked) > SHOWN else "")
