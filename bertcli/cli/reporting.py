"""--report of evaluate, finetune and pretrain: what is known at their end goes into one HTML page."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli.cli.console import Voice
from bertcli.cli.run import heed_signals, open_input, select
from bertcli.data.sinks import require_writable

if TYPE_CHECKING:
    from bertcli.evaluation.results import Evaluation
    from bertcli.training.run import Saved

SHOWN = ("size", "epochs", "steps", "lr", "batch_tokens", "seed")  # settings that the top of a page names


def demand_usable(given: Mapping[str, Any]) -> None:
    """Raise UsageError where --report names a file that cannot be written; before the run, not after it."""
    if given["report"]:
        from bertcli.report.page import require_replaceable

        require_replaceable(given["report"])
        place, output = Path(given["report"]), given.get("output")
        if place.parent.is_dir() or not output or place.parent != Path(output):  # the run makes its output
            require_writable(given["report"])


def report_evaluation(voice: Voice, given: Mapping[str, Any], evaluation: "Evaluation") -> None:
    """Write the page of an evaluation, if it is asked for."""
    if given["report"]:
        from bertcli.report.page import Report

        _write(voice, given["report"], Report(evaluation.model, evaluation))


def report_training(voice: Voice, given: Mapping[str, Any], saved: "Saved") -> None:
    """Write the page of a training run, if it is asked for: its curves, and its dev data as predict will see it."""
    if given["report"]:
        from bertcli.report.page import Report
        from bertcli.training.run import LOG

        evaluation = _scored(given, saved.path) if given.get("dev") else None
        title, log = saved.path.resolve().name, saved.path / LOG
        report = Report(title, evaluation, log, saved.metrics or {}, _facts(given, saved.step))
        _write(voice, given["report"], report)


def _scored(given: Mapping[str, Any], model: Path) -> "Evaluation":
    from bertcli.evaluation.evaluate import collect, scores
    from bertcli.inference.session import Request, open_session
    from bertcli.inference.stream import Settings, stream
    from bertcli.tasks.base import Options

    request = Request(str(model), given["task"], device=given["device"], threads=given["threads"])
    session = open_session(request, select(Options, given))
    records = open_input({**given, "files": given["dev"]})
    with heed_signals() as stop:
        windows = stream(session.task, session.backend, records, Settings(), stop)
        return scores(session.task, collect(session.task, chain.from_iterable(windows)), model.name)


def _facts(given: Mapping[str, Any], step: int) -> dict[str, Any]:
    base = {"base model": Path(given["model"]).name} if given["model"] else {}
    chosen = {name: given[name] for name in SHOWN if given.get(name) is not None}
    named = {name.replace("_", " "): f"{value:g}" if name == "lr" else value for name, value in chosen.items()}
    return {**base, **named, "weights of step": step}


def _write(voice: Voice, path: str, report: Any) -> None:
    from bertcli.report.page import render, write

    write(path, render(report))
    voice.note(f"report: {path}")
