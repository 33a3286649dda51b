"""The page itself: what is known of a run, put into page.html with its style and scripts.

Nothing on it is fetched, and its content security policy forbids to: texts come from anywhere. jinja2 escapes them.
Try: bertcli evaluate dev.jsonl --report report.html
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bertcli import __version__
from bertcli.errors import UsageError
from bertcli.evaluation.results import Evaluation
from bertcli.report import charts
from bertcli.report.examples import Classes, chosen, facts, place, readable
from bertcli.report.highlight import pieces

HERE = Path(__file__).parent
BEGINNING = "<!doctype html><!-- bertcli report -->\n"  # by which a page is known as one of ours
STYLES, SCRIPTS = ("uplot/uPlot.min.css", "page.css"), ("uplot/uPlot.iife.min.js", "page.js")
WIDEST_MATRIX = 30  # classes; the eye finds nothing in a larger one


@dataclass(frozen=True)
class Report:
    """What a page shows. title: the model's name. log: of the training, None where there was none.

    evaluation: None where there was no dev data. metrics: of a training without an evaluation. facts: of the run.
    """

    title: str
    evaluation: Evaluation | None = None
    log: Path | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def require_replaceable(path: str) -> None:
    """Raise UsageError for a file that is no page: asked before a run, at whose end it would be lost."""
    place = Path(path)
    if place.is_file() and not _begins_as_page(place):
        raise UsageError(f"--report {path}: the file is no page of bertcli's, and is not replaced; name another.")


def _begins_as_page(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(BEGINNING)) == BEGINNING.encode()


def render(report: Report) -> str:
    """The page as HTML."""
    found = report.evaluation
    scripts = [_read(name) for name in SCRIPTS]
    drawn = [*(charts.of_training(report.log) if report.log else []), *(charts.of_evaluation(found) if found else [])]
    return BEGINNING + _environment().get_template("page.html").render(
        report=report,
        version=__version__,
        facts={**(_facts(found) if found else {}), **report.facts},
        metrics=_scalars(found.metrics if found else report.metrics),
        charts=drawn,
        chart_data=[asdict(chart) for chart in drawn],
        evaluation=found,
        tables=_tables(found.metrics) if found else {},
        confusion=_confusion(found.confusion) if found and found.confusion else None,
        classes=Classes(found) if found else None,
        examples=chosen(found.examples) if found else [],
        styles=[_read(name) for name in STYLES],
        scripts=scripts,
        hashes=[b64encode(sha256(script.encode()).digest()).decode() for script in scripts],
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"pieces": pieces, "readable": readable, "facts": facts, "place": place}
    return environment


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").strip()


def _facts(found: Evaluation) -> dict[str, Any]:
    lost = {"faults in the data": len(found.faults)} if found.faults else {}
    corrected = {"calibrated by": found.calibration} if found.calibration else {}
    return {"task": found.task, "examples": found.records, **lost, **corrected}


def _scalars(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not isinstance(value, (Mapping, list))}


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
    return {"labels": labels, "errors": sorted(errors, key=lambda own: -own[0])[:WIDEST_MATRIX]}
