"""The two HTML pages, of `--report` and of `explain --html`: a template that is filled in, and written whole.

Nothing on a page is fetched, and its content security policy forbids to: texts come from anywhere. So jinja2 escapes
all that it puts into HTML, and what a script reads goes in as JSON without `<`, `>`, `&` and `'`.
Knows neither where an evaluation or an explanation comes from, nor options.
Try: bertcli evaluate dev.jsonl --report report.html
"""

import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bertcli import __version__
from bertcli.data.sinks import require_writable, write_file
from bertcli.errors import UsageError
from bertcli.evaluation.results import Evaluation
from bertcli.report.contents import Classes, chosen, of_evaluation, of_training, pieces, readable, where

HERE = Path(__file__).parent
BEGINNING = "<!doctype html><!-- bertcli report -->\n"  # by which a page is known as one of ours
STYLES, SCRIPTS = ("uplot/uPlot.min.css", "page.css"), ("uplot/uPlot.iife.min.js", "page.js")
WIDEST_MATRIX = 30  # classes; the eye finds nothing in a larger one


@dataclass(frozen=True)
class Report:
    """What the page of a run shows. title: the model's name. log: of the training, None where there was none.

    evaluation: None where there was no dev data. metrics: of a training without an evaluation. facts: of the run.
    """

    title: str
    evaluation: Evaluation | None = None
    log: Path | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def require_replaceable(path: str) -> None:
    """Raise UsageError for a file that is no page: asked before a run, at whose end it would be lost."""
    if not Path(path).is_file():
        return
    with Path(path).open("rb") as file:
        if file.read(len(BEGINNING)) != BEGINNING.encode():
            raise UsageError(f"--report {path}: the file is no page of bertcli's, and is not replaced; name another.")


def render(report: Report) -> str:
    """The page of a run as HTML."""
    evaluation = report.evaluation
    drawn = of_training(report.log) if report.log else []
    facts, metrics, tables = {}, report.metrics, {}
    if evaluation:
        drawn += of_evaluation(evaluation)
        facts = {"task": evaluation.task, "examples": evaluation.records}
        facts |= {"faults in the data": len(evaluation.faults)} if evaluation.faults else {}
        facts |= {"calibrated by": evaluation.calibration} if evaluation.calibration else {}
        metrics, tables = evaluation.metrics, _tables(evaluation.metrics)
    styles, scripts = (
        [(HERE / name).read_text(encoding="utf-8").strip() for name in names] for names in (STYLES, SCRIPTS)
    )
    return BEGINNING + _filled(
        "page.html",
        report=report,
        version=__version__,
        facts={**facts, **report.facts},
        metrics={name: value for name, value in metrics.items() if not isinstance(value, (Mapping, list))},
        charts=drawn,
        chart_data=[asdict(chart) for chart in drawn],
        evaluation=evaluation,
        tables=tables,
        confusion=_confusion(evaluation.confusion) if evaluation and evaluation.confusion else None,
        classes=Classes(evaluation) if evaluation else None,
        examples=chosen(evaluation.examples) if evaluation else [],
        styles=styles,
        scripts=scripts,
        hashes=[b64encode(sha256(script.encode()).digest()).decode() for script in scripts],
    )


@contextmanager
def explain_page(path: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """`with explain_page(path) as add: add(result)`: a page of explanations, written at the end unless the run failed.

    result: as Explainer.explain gives it, with attention. Raises UsageError at once where the file cannot be written.
    """
    require_writable(path)
    results: list[dict[str, Any]] = []

    def add(result: Mapping[str, Any]) -> None:
        explanations = [
            {name: value for name, value in explanation.items() if name != "tokens"}
            for explanation in result["explanations"]
        ]
        facts = {name: result[name] for name in ("baseline", "weights", "windows", "truncated") if name in result}
        attention = [_packed(window) for window in result["attention"]]
        results.append({**facts, "explanations": explanations, "attention": attention})

    yield add
    write(path, _filled("explain.html", results=results))


def write(path: str, page: str) -> None:
    """Write a page: all of it or, with a BertcliError, nothing. Halves of surrogate pairs are spelt as escapes."""
    write_file(path, page.encode("utf-8", "backslashreplace"))


def _filled(template: str, **values: Any) -> str:
    """A template of this folder with its values. One that it names and does not get is an error."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"pieces": pieces, "readable": readable, "where": where}
    return environment.get_template(template).render(values)


def _tables(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics that are tables: their columns, and a row of them for each entry."""
    tables = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping) and name != "confusion":
            rows = {label: row if isinstance(row, Mapping) else {"value": row} for label, row in value.items()}
            columns = dict.fromkeys(column for row in rows.values() for column in row)
            tables[name] = {"columns": list(columns), "rows": rows}
    return tables


def _confusion(confusion: Mapping[str, Any]) -> dict[str, Any]:
    """The matrix with the share of each count in its row; of a larger one the most frequent errors."""
    labels, matrix = confusion["labels"], confusion["matrix"]
    if len(labels) <= WIDEST_MATRIX:
        return {"labels": labels, "rows": [[(count, count / max(sum(row), 1)) for count in row] for row in matrix]}
    size = range(len(labels))
    errors = [(matrix[i][j], labels[i], labels[j]) for i in size for j in size if i != j and matrix[i][j]]
    return {"labels": labels, "errors": sorted(errors, key=lambda error: -error[0])[:WIDEST_MATRIX]}


def _packed(window: Mapping[str, Any]) -> dict[str, Any]:
    """A window's attention in few bytes, for it grows with the square of the text.

    weights: all matrices (T, T), one after the other, in steps of 1/255, as zlib in base64.
    """
    steps = (np.rint(matrix["weights"] * 255).astype(np.uint8) for matrix in window["matrices"])
    return {
        "tokens": window["tokens"],
        "heads": [[matrix["layer"], matrix["head"]] for matrix in window["matrices"]],
        "weights": b64encode(zlib.compress(b"".join(map(bytes, steps)), 9)).decode(),
    }
