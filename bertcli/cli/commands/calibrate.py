"""bertcli calibrate: make a model's scores mean what they say, and choose thresholds."""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from bertcli.cli import shared
from bertcli.cli.options import command
from bertcli.cli.terminal import Messages, heed_signals
from bertcli.errors import Exit
from bertcli.option import option

EXAMPLES = """
bertcli calibrate dev.jsonl -m DIR
bertcli calibrate dev.tsv -o DIR --text-field sentence
bertcli calibrate dev.jsonl -m DIR --target "precision>=0.9"
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Calibrate(shared.LabelledInputOptions, shared.RunOptions, shared.PrintOptions):
    """The options of `bertcli calibrate`."""

    output: str | None = option(
        None,
        "Write a calibrated copy of the model here.  [default: into the model itself]",
        "DIR",
        flags="-o",
        type=shared.PATH,
    )
    exit_loss: float = option(
        0.1,
        "Most points of the first metric that an early exit may cost, where the model has one.",
        "X",
        least=0,
        group="what",
    )
    target: str | None = option(
        None, "What each label's threshold must reach, precision or recall.  [default: the best F1]", "METRIC>=X"
    )


@command(
    """
    files model output task text_field pair_field label_field label_separator map_labels scheme target exit_loss long
    input_format columns delimiter encoding output_format backend device threads precision calibrate batch_tokens
    """,
    EXAMPLES,
)
def calibrate(messages: Messages, options: Calibrate) -> int:
    """Fit a temperature, and for several labels a threshold each, to the labelled records in FILES or stdin.

    Where the model has an early exit, choose how sure a text must be to leave there too. All is stored in the model's
    config.json; predict and evaluate use it from then on. Take data that the model was not trained on. Prints
    calibration error and loss before and after: tables on a terminal, else JSON.
    """
    from bertcli.cli.progress import RecordCount
    from bertcli.evaluation import calibrate as engine
    from bertcli.evaluation import collect, require_labels
    from bertcli.inference.session import open_session, open_task
    from bertcli.inference.stream import stream
    from bertcli.tasks.labels import relabelled

    target = engine.parse_target(options.target) if options.target else None
    output = Path(options.output) if options.output else None
    records = options.write_missing_onnx(messages, options.labelled(options.files))
    session = open_session(replace(options, exit=False), options)  # the texts pass all layers, whatever is chosen
    engine.require_calibratable(session.task, target)
    engine.require_writable(session.model, options.model, output)
    messages.note(session.reason)
    records = relabelled(type(session.task), records, options, session.task.classifies == "several")
    records = require_labels(session.task, records)
    config = {name: value for name, value in session.model.config.items() if name != "calibration"}
    plain = open_task(type(session.task), replace(session.model, config=config), options)
    with (
        RecordCount(messages, options.files) as counter,
        heed_signals(messages.tell, "stopping; nothing is stored") as stop,
    ):
        chunks = stream(engine.with_both_heads(plain, session.backend), session.backend, records, options, stop)
        predicted = collect(plain, chain.from_iterable(counter.watched(chunks)))
    fitted = engine.fit_with_exit(plain, session.backend, predicted, target, options.exit_loss)
    path = engine.store(session.model, fitted.stored, output)
    names = sorted(fitted.before.keys() | fitted.after.keys())
    both = {name: {"before": fitted.before.get(name), "after": fitted.after.get(name)} for name in names}
    facts = {**fitted.stored, "before": fitted.before, "after": fitted.after}
    options.show([facts], {**fitted.stored, "on this data": both}, str(path))
    if doubt := plain.reading(predicted.records):
        messages.warn(doubt)
    for fault in predicted.faults:
        messages.warn(fault)
    if len(predicted.gold) < engine.FEW:
        messages.warn(f"fitted to {len(predicted.gold):,} records, which chance may rule; take {engine.FEW} or more.")
    if fitted.kept:
        why = "the data has none of them, or none reaches the target" if target else "the data has none of them"
        messages.warn(f"the threshold stays 0.5 for {', '.join(fitted.kept)}: {why}")
    messages.note(f"stored in {path / 'config.json'}; before and after are on this data, so check it on other data")
    return Exit.RECORDS if predicted.faults else Exit.OK
