"""The two HTML pages, of `--report` and of `explain --html`: a template that is filled in, and written whole.

Nothing on a page is fetched, and its content security policy forbids to: texts come from anywhere. So jinja2 escapes
all that it puts into HTML, and what a script reads goes in as JSON without `<`, `>`, `&` and `'`.
Knows neither where an evaluation or an explanation comes from, nor options.
Try: bertcli evaluate dev.jsonl --report report.html
"""

import re
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bertcli import __version__
from bertcli.data.sinks import require_writable, write_file
from bertcli.errors import UsageError
from bertcli.evaluation.results import Evaluation
from bertcli.report.contents import Classes, chosen, of_evaluation, of_training, pieces, readable, where

HERE = Path(__file__).parent
BEGINNINGS = {  # by which a page is known as one of ours, and of which option
    option: f"<!doctype html><!-- bertcli {name} -->\n"
    for option, name in {"--report": "report", "--html": "explain"}.items()
}
SHARES = "".join(
    f".share-{i} {{ --share: {i / 100} }}" for i in range(101)
)  # classes, for the policy has no inline style
LONG = 16  # characters of a label that leaves the numbers beside it little room in half a page
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


def require_replaceable(path: str, option: str = "--report") -> None:
    """Raise UsageError for a file that is no page of the option: asked before a run, at whose end it would be lost."""
    if not Path(path).is_file():
        return
    beginning = BEGINNINGS[option].encode()
    with Path(path).open("rb") as file:
        if file.read(len(beginning)) != beginning:
            raise UsageError(f"{option} {path}: the file is no page of bertcli's, and is not replaced; name another.")


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
    return BEGINNINGS["--report"] + _filled(
        "page.html",
        styles=[_text("uplot/uPlot.min.css"), _text("page.css"), SHARES],
        scripts=[_text("uplot/uPlot.iife.min.js"), _text("page.js")],
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
    )


@contextmanager
def explain_page(path: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """`with explain_page(path) as add: add(result)`: a page of explanations, written at the end unless the run failed.

    result: as Explainer.explain gives it, with attention. Raises UsageError at once where the file cannot be written,
    or is no such page.
    """
    require_replaceable(path, "--html")
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
    page = _filled("explain.html", [_text("explain.css")], [_text("explain.js")], results=results)
    write(path, BEGINNINGS["--html"] + page)


def write(path: str, page: str) -> None:
    """Write a page: all of it or, with a BertcliError, nothing. Halves of surrogate pairs are spelt as escapes."""
    write_file(path, page.encode("utf-8", "backslashreplace"))


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").strip()


def _filled(template: str, styles: Sequence[str], scripts: Sequence[str], **values: Any) -> str:
    """A template of this folder with its values. One that it names and does not get is an error.

    The page obeys these styles and scripts alone, known by their hashes, whatever a text brings into it.
    """
    style_hashes, script_hashes = (
        " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts)
        for texts in (styles, scripts)
    )
    policy = f"default-src 'none'; img-src data:; style-src {style_hashes}; script-src {script_hashes}"
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"pieces": pieces, "readable": readable, "where": where}
    environment.filters |= {"breakable": _breakable, "percent": lambda share: round(100 * share)}
    return environment.get_template(template).render(values, styles=styles, scripts=scripts, policy=policy)


def _breakable(label: object) -> Markup:
    """A label that may go on in the next line after a mark between its words."""
    return Markup(re.sub(r"([_/.:])(?=\w)", r"\1<wbr>", str(escape(label))))


def _tables(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics that are tables: their columns, and a row of them for each entry."""
    tables = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping) and name != "confusion":
            rows = {label: row if isinstance(row, Mapping) else {"value": row} for label, row in value.items()}
            columns = dict.fromkeys(column for row in rows.values() for column in row)
            tables[name] = {"columns": list(columns), "rows": rows, "is_wide": max(map(len, rows), default=0) > LONG}
    return tables


def _confusion(confusion: Mapping[str, Any]) -> dict[str, Any]:
    """The matrix with the share of each count in its row; of a larger one the most frequent errors."""
    labels, matrix = confusion["labels"], confusion["matrix"]
    shown = {"labels": labels, "is_wide": max(map(len, labels), default=0) > LONG}
    if len(labels) <= WIDEST_MATRIX:
        return {**shown, "rows": [[(count, count / max(sum(row), 1)) for count in row] for row in matrix]}
    size = range(len(labels))
    errors = [(matrix[i][j], labels[i], labels[j]) for i in size for j in size if i != j and matrix[i][j]]
    return {**shown, "errors": sorted(errors, key=lambda error: -error[0])[:WIDEST_MATRIX]}


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
