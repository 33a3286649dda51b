"""bertcli evaluate: score a model, or what another system predicted, on labelled data."""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bertcli import registry
from bertcli.cli import shared
from bertcli.cli.options import Parsed, command, number
from bertcli.cli.shared import ReportOptions
from bertcli.cli.terminal import Messages, heed_signals, is_for_people, print_json, stdout_console
from bertcli.errors import Exit, UsageError
from bertcli.option import option

if TYPE_CHECKING:
    from bertcli.data.records import Record
    from bertcli.evaluation import Evaluation, Outcomes, Predicted
    from bertcli.evaluation.external import System
    from bertcli.inference.session import Session
    from bertcli.inference.stream import Stop

LISTS = ("jsonl", "tsv", "csv")  # formats of --errors
EXAMPLES = """
bertcli evaluate dev.jsonl -m DIR
bertcli evaluate dev.tsv -m DIR --text-field sentence --errors wrong.jsonl
bertcli evaluate dev.jsonl -m DIR --report report.html
bertcli evaluate dev.jsonl -m DIR --compare OLD_DIR
bertcli evaluate test.conll -m DIR --map-labels MISC=,GPE=LOC
bertcli evaluate dev.json --predictions theirs.json          # of another system: no model is opened
bertcli evaluate dev.tsv -m DIR --fail-under accuracy=0.9 --fail-under macro_f1=0.85 -q > metrics.json
"""


def number_or_auto(value: Any) -> Any:
    """A number, or `auto`."""
    try:
        return value if value == "auto" else number(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a valid NUMBER|auto.") from None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evaluate(shared.LabelledInputOptions, shared.RunOptions, shared.PrintOptions, ReportOptions):
    """The options of `bertcli evaluate`."""

    null_threshold: float | Literal["auto"] | None = option(
        None,
        "Log-odds under which a question has no answer; auto: the best on this data, which the model then keeps.",
        type=Parsed("NUMBER|auto", number_or_auto),
        group="what",
    )
    predictions: str | None = option(None, "Another system's answers to score, in any format.", "FILE")
    id_field: str | None = option(
        None, "Field that joins --predictions and records.  [default: order; id for {id: text}]", "NAME", group="data"
    )
    errors: str | None = option(None, "The wrong items, surest first (JSONL, TSV or CSV).", "FILE", type=shared.PATH)
    compare: str | None = option(
        None, "Test the difference to another model, or to an earlier evaluation's JSON, on the same data.", "OTHER"
    )
    fail_under: tuple[str, ...] = option(
        (), "Exit with 4 unless the metric is at least X (at most X for rmse, mae and losses). Repeatable.", "METRIC=X"
    )


@command(
    """
    files model task text_field pair_field label_field label_separator map_labels predictions id_field prediction_field
    scheme threshold mask question null_threshold prompt language long input_format columns delimiter encoding
    output_format errors report compare fail_under backend device threads precision exit calibrate batch_tokens
    """,
    EXAMPLES,
)
def evaluate(messages: Messages, options: Evaluate) -> int:
    """Score a model, or the --predictions of another system, against the labels in FILES or stdin.

    Prints tables on a terminal and one JSON object otherwise: metrics with 95 % bootstrap intervals, classes,
    confusion, how reliable the scores are, metrics by length. Records that cannot be scored, and records and
    predictions without a partner, are listed on stderr, left out of the metrics, and make the exit code 3.
    """
    from bertcli.cli.progress import RecordCount
    from bertcli.evaluation import check_gates, collect, compare, disjoint, parse_gates, require_labels, scores
    from bertcli.evaluation.calibrate import measure
    from bertcli.inference.session import Session, open_session
    from bertcli.inference.stream import stream, unknown_sentence
    from bertcli.model import update
    from bertcli.tasks.labels import relabelled

    shared.require_beside(options, {"id_field": "predictions", "prediction_field": "predictions"})
    _require_errors_writable(options)
    options.require_page()
    records = options.labelled(options.files)
    system: Session | System
    if options.predictions:
        gold = list(records)
        system, records = _open_system(messages, options, options.predictions, gold), iter(gold)
    else:
        records = options.write_missing_onnx(messages, records)
        system = open_session(options, options)
    task = system.task
    gates = parse_gates(options.fail_under, task.directions)
    if options.threshold is not None and task.classifies != "several":
        why = "one label a text is scored however sure it is; `curve` says what is right from each score on"
        raise UsageError(f"--threshold {options.threshold:g}: {why}. Leave it out.")
    if options.errors and not task.has_mistakes:
        raise UsageError(f"{task.name} has no right and wrong to list; leave out --errors.")
    if options.compare and not Path(options.compare).is_file():
        records = replace(options, model=options.compare).write_missing_onnx(messages, records)
    other = _open_other(task.name, options, options.compare) if options.compare else None
    messages.note(system.reason)
    if isinstance(system, Session):
        records = require_labels(task, relabelled(type(task), records, options, task.classifies == "several"))
    with (
        RecordCount(messages, options.files) as counter,
        heed_signals(messages.tell, "stopping; nothing is stored") as stop,
    ):
        if isinstance(system, Session):
            chunks = stream(task, system.backend, records, options, stop)
            predicted = collect(task, chain.from_iterable(counter.watched(chunks)))
            evaluation = scores(task, predicted, system.model.name)
            evaluation = replace(evaluation, exit=measure(task, system.backend, predicted, options, stop))
        else:
            predicted = collect(task, system.outcomes)
            predicted.faults.extend(system.faults)
            evaluation = replace(scores(task, predicted, system.name), predictions=system.counts)
        if other and options.compare:
            theirs = _outcomes(messages, other, predicted, options, stop)
            comparison = compare(task, predicted.gold, evaluation, theirs, options.compare)
            evaluation = replace(evaluation, comparison=comparison)
    _show(messages, options, evaluation)
    if isinstance(system, Session) and (learned := task.learned(evaluation.metrics)):
        said = ", ".join(f"{name} {value}" for name, value in learned.items())
        if options.model is None:
            advice = "the embedded model stays as it is; give it to predict, or name a copy by -m."
            messages.warn(f"{said} is not stored: {advice}")
        else:
            update(system.model, learned)
            messages.note(f"stored in {system.model.path / 'config.json'}: {said}")
    if predicted.unknown:
        messages.warn(unknown_sentence(predicted.unknown, evaluation.records))
    for doubt in filter(None, [task.reading(predicted.records), disjoint(evaluation)]):
        messages.warn(doubt)
    for fault in evaluation.faults:
        messages.warn(fault)
    check_gates(gates, evaluation.metrics)
    return Exit.RECORDS if evaluation.faults else Exit.OK


def _show(messages: Messages, options: Evaluate, evaluation: "Evaluation") -> None:
    """Print the evaluation, and write the files that options ask for."""
    from bertcli.data.writers import open_writer
    from bertcli.evaluation import listed

    if is_for_people(options.output_format):
        from bertcli.cli.tables import render_evaluation

        render_evaluation(stdout_console(), evaluation)
    else:
        print_json([evaluation.as_json()])
    if options.errors:
        mistakes = [listed(mistake) for mistake in evaluation.mistakes]
        columns = dict.fromkeys(name for mistake in mistakes for name in mistake)  # those of all files
        with open_writer(options.errors, optional=[*columns]) as writer:
            for mistake in mistakes:
                writer.write(mistake)
    if options.report:
        from bertcli.report import Report

        options.write_page(messages, Report(evaluation.model, evaluation))


def _require_errors_writable(options: Evaluate) -> None:
    """Raise UsageError, before the run, if --errors cannot be written or would replace another input or output."""
    from bertcli.data.formats import output_format_of
    from bertcli.data.sinks import require_writable

    shared.require_different(
        {"--errors": options.errors, "--report": options.report},
        [*options.files, *filter(None, [options.compare, options.predictions])],
    )
    if options.errors:
        if output_format_of(options.errors) not in LISTS:
            raise UsageError(f"--errors {options.errors}: the list is JSONL, TSV or CSV; name the file so.")
        require_writable(options.errors)


def _open_system(messages: Messages, options: Evaluate, file: str, gold: list["Record"]) -> "System":
    """The system behind the file of --predictions. Raises UsageError if they cannot be scored."""
    from bertcli.checking import guess_task
    from bertcli.evaluation.external import open_system, read_results

    of_models = ["threshold", "prompt", "calibrate"]  # allowed if --compare opens a model
    is_opened = options.compare and not Path(options.compare).is_file()
    for name in ["model", "null_threshold", *([] if is_opened else of_models)]:
        if getattr(options, name) not in (None, ()):
            raise UsageError(f"--predictions {file}: no model is opened; leave out --{name.replace('_', '-')}.")
    if file == "-" and (not options.files or "-" in options.files):
        raise UsageError("--predictions -: stdin has the labelled records; name files for one or both.")
    is_gold = Path(file).resolve() in [Path(name).resolve() for name in options.files]
    if is_gold and not (options.prediction_field or options.columns):
        raise UsageError(
            f"--predictions {file}: it is the labelled data too; --prediction-field says which of its fields is "
            "predicted; of CoNLL the last column is, and --columns tokens,tags,… names the gold one."
        )
    if not (task := options.task):
        task = guess_task(next((record for record in gold if not record.fault), None))
        messages.note(f"task: {task} (as the first record looks; -t names another)")
    results, joined_by = read_results(
        file, options.encoding, options.id_field, options.input_format if is_gold else None
    )
    return open_system(registry.load("tasks", task).Task, options, gold, results, file, joined_by)


def _open_other(task: str, options: Evaluate, name: str) -> "Outcomes | Session":
    """The model or evaluation of --compare, opened before the run. Raises UsageError for another task."""
    from bertcli.evaluation import read_outcomes
    from bertcli.inference.session import open_session

    if Path(name).is_file():
        return read_outcomes(Path(name), task)
    other = open_session(replace(options, model=name), options)
    if other.task.name != task:
        raise UsageError(f"--compare {Path(name)}: it is of {other.task.name}, this model of {task}.")
    return other


def _outcomes(
    messages: Messages, other: "Outcomes | Session", predicted: "Predicted", options: Evaluate, stop: "Stop"
) -> "Outcomes":
    """The other model's outcomes on the same records. Raises UsageError unless it answers them all."""
    from bertcli.evaluation import Outcomes, collect, scores
    from bertcli.inference.stream import stream

    if isinstance(other, Outcomes):
        return other
    messages.note(other.reason)
    chunks = stream(other.task, other.backend, predicted.records, options, stop)
    theirs = collect(other.task, chain.from_iterable(chunks))
    if theirs.faults:
        first = theirs.faults[0]
        raise UsageError(f"--compare {options.compare}: it cannot be scored on all records; the first: {first}")
    outcomes = scores(other.task, theirs).outcomes
    assert outcomes is not None
    return outcomes
