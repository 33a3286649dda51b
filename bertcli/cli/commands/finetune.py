"""bertcli finetune: train a model on labelled data."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli import device, registry
from bertcli.cli import shared
from bertcli.cli.commands.calibrate import Calibrate
from bertcli.cli.options import Parsed, command
from bertcli.cli.shared import STOPPING, TrainingOptions, until_stopped
from bertcli.cli.terminal import Messages, heed_signals
from bertcli.errors import Exit, Interrupted, ModelError, UsageError
from bertcli.inference import SAMPLES
from bertcli.model import ONNX, Model, read, resolve, update
from bertcli.option import REQUIRED, like, option
from bertcli.tasks.options import ClassWeights, Options
from bertcli.training.checkpoint import require_usable
from bertcli.training.settings import EMBEDDED, Settings

if TYPE_CHECKING:
    from bertcli.data.records import Record
    from bertcli.evaluation import Predicted
    from bertcli.inference.session import Session
    from bertcli.tasks.base import BaseTask
    from bertcli.training.loop import Eval

STILL_RISING = 0.02  # If the last evaluation improves a metric by more than this share, more epochs would pay.
EXAMPLES = """
bertcli finetune --train train.tsv --dev dev.tsv -o DIR      # from the embedded encoder: no network
bertcli finetune --train train.tsv --dev dev.tsv --text-field sentence -m MODEL -o DIR
bertcli finetune --train pairs.jsonl --text-field a --pair-field b --label-field similarity -m MODEL -o DIR
bertcli finetune -t qa --train train.json --dev dev.json -m MODEL -o DIR
bertcli finetune --train train.jsonl --dev dev.jsonl -m MODEL -o DIR --report report.html
bertcli finetune --train train.tsv --dev dev.tsv -m MODEL --layers 6 --teacher TEACHER --unlabelled texts.txt -o DIR
bertcli finetune --config DIR/bertcli.yaml -o DIR2 --epochs 5     # an earlier run, with one change
torchrun --nproc-per-node 2 -m bertcli finetune --train train.jsonl -m MODEL -o DIR
"""


def weights(value: Any) -> ClassWeights:
    """`balanced`, or `label=2.5,other=1`; from a config file a mapping."""
    if value == "balanced":
        return "balanced"
    try:
        pairs = value.items() if isinstance(value, dict) else (part.rpartition("=")[::2] for part in value.split(","))
        numbers = {str(label).strip(): float(number) for label, number in pairs}
    except ValueError:
        numbers = {}
    if not numbers or "" in numbers or not all(0 <= number < math.inf for number in numbers.values()):
        raise ValueError(f"'{value}' is neither `balanced` nor LABEL=NUMBER,…, each number 0 or more.")
    return numbers


def names(value: Any) -> tuple[str, ...]:
    """Comma-separated names, in their order; a config file may give a list."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    listed = tuple(str(name).strip() for name in parts)
    if not all(listed) or len(set(listed)) < len(listed):
        raise ValueError(f"'{value}' has an empty name, or one twice.")
    return listed


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Finetune(TrainingOptions, shared.LabelledInputOptions, Settings):
    """The options of `bertcli finetune`."""

    model: str | None = option(None, "Directory or Hub name.  [default: embedded encoder]", "MODEL", flags="-m")
    train: tuple[str, ...] = option(REQUIRED, "Labelled records to learn from. Repeatable.", "FILE", more=shared.MANY)
    dev: tuple[str, ...] = option((), "Scored on, to keep the best weights. Repeatable.", "FILE", more=shared.MANY)
    unlabelled: tuple[str, ...] = option(
        (), "More texts, which the --teacher alone labels. Repeatable.", "FILE", group="model", more=shared.MANY
    )
    vocabulary_from: tuple[str, ...] = option(
        (),
        "Keep only the pieces that these texts use. Repeatable.  [default: all]",
        "FILE",
        group="model",
        more=shared.MANY,
    )
    labels: tuple[str, ...] | None = option(
        None,
        "The labels in their order.  [default: the model's own, else sorted]",
        type=Parsed("NAMES", names),
        group="data",
    )
    class_weights: ClassWeights = option(
        None,
        "`balanced`, or LABEL=NUMBER,…: how much each label's examples count.",
        type=Parsed("WEIGHTS", weights),
        group="training",
    )
    exit_loss: float = like(Calibrate, "exit_loss")
    export: bool = option(
        True,
        "Write the ONNX files at the end, calibrated on training texts.",
        flags="--export/--no-export",
        more={"show_default": True},
        group="output",
    )


@command(
    """
    train dev model layers vocabulary_from teacher unlabelled teacher_weight teacher_temperature task output
    text_field pair_field label_field label_separator map_labels scheme problem labels
    input_format columns delimiter encoding long max_length epochs lr schedule warmup batch_tokens accumulate
    weight_decay clip_norm dropout label_smoothing class_weights ema exit_after exit_loss eval_steps metric patience
    seed device threads precision cache resume overwrite export track report
    """,
    EXAMPLES,
)
def finetune(messages: Messages, options: Finetune) -> int:
    """Train MODEL, or without -m the embedded encoder, for a task on labelled records.

    Single labels, several labels or numbers (regression) of texts and pairs, entities, answers, masked words; the
    result is a Hugging Face model directory with ONNX files, its settings and a model card. Ctrl-C leaves a checkpoint
    for --resume.
    """
    inputs = [*options.train, *options.dev, *options.unlabelled, *options.vocabulary_from]
    shared.require_different({"--output": options.output, "--report": options.report}, inputs)
    by_teacher = ("unlabelled", "teacher_weight", "teacher_temperature")
    shared.require_beside(options, {**dict.fromkeys(by_teacher, "teacher"), "exit_loss": "exit_after"})
    if "-" in options.dev and (options.report or options.exit_after):
        raise UsageError("--report and --exit-after read --dev again, which stdin cannot be; name a file.")
    options.require_page(options.output)
    train, dev = (_labelled(options, files) if files else None for files in (options.train, options.dev))
    unlabelled, vocabulary = (
        _texts(options, files) if files else None for files in (options.unlabelled, options.vocabulary_from)
    )
    if options.model:
        resolve(options.model).require_weights()
    if options.teacher:
        resolve(options.teacher)
    require_usable(Path(options.output), options.resume, options.overwrite)

    # Only after options and files have been checked: these import torch, which takes seconds.
    from bertcli.cli.commands.export import export_directory
    from bertcli.cli.progress import TrainingProgress
    from bertcli.training.finetune import finetune
    from bertcli.training.loop import Eval
    from bertcli.training.run import Saved

    processor = device.choose(options.device, options.threads)
    saved: Saved | None = None
    evaluations: list[Eval] = []
    texts: list[Record] = []  # The ONNX files are calibrated on these, because stdin cannot be read again.

    def remembered(records: "Iterable[Record]") -> "Iterator[Record]":
        for record in records:
            if len(texts) < SAMPLES:
                texts.append(record)
            yield record

    with TrainingProgress(messages, processor) as show, heed_signals(show.tell, STOPPING) as stop:
        for event in finetune(
            options,
            until_stopped(stop, remembered(train or ())),
            until_stopped(stop, dev) if dev else None,
            processor,
            unlabelled=until_stopped(stop, unlabelled or ()),
            vocabulary=until_stopped(stop, vocabulary) if vocabulary else None,
            cache=options.cache,
            resume=options.resume,
            overwrite=options.overwrite,
            stop=lambda: stop.signum,
            track=options.track,
        ):
            if isinstance(event, Saved):
                saved = event
                continue
            if isinstance(event, Eval):
                evaluations.append(event)
            show.event(event)
    if stop.signum:
        raise Interrupted(stop.signum, f"after {options.output} was written; --resume makes what comes after it")
    if saved is None:  # in every process but the first of a distributed run
        return Exit.OK
    messages.note(f"model: {saved.path} (weights of step {saved.step})")
    if is_unfinished(evaluations):
        messages.note(f"dev {evaluations[-1].metric} still got better: more --epochs, or a higher --lr, may go further")
    as_in_predict = replace(options.options, null_threshold=None)
    has_both = all((saved.path / file).is_file() for file in ONNX.values())  # An earlier run may have written them.
    if options.export and not has_both:
        texts = texts or list(islice(options.open(options.train), SAMPLES))  # A resumed run that had ended read none.
        try:
            export_directory(messages, saved.path, texts, options.task, as_in_predict)
        except ModelError as error:
            messages.warn(f"trained, but without ONNX files: {error}")
    written = read(saved.path)
    if options.exit_after and written.onnx_file("int8") and "calibration" not in written.config:
        _choose_exit(messages, options, written, as_in_predict)
    if options.report:
        facts = {
            "base model": Path(options.model).name if options.model else EMBEDDED,
            "teacher": Path(options.teacher).name if options.teacher else None,
            "epochs": options.epochs,
            "lr": f"{options.lr:g}",
            "batch tokens": options.batch_tokens,
            "seed": options.seed,
            "weights of step": saved.step,
        }
        evaluation = None
        if options.dev:
            from bertcli.evaluation import scores
            from bertcli.inference import Request
            from bertcli.inference.session import open_session

            request = Request(str(saved.path), options.task, device=options.device, threads=options.threads)
            session = open_session(request, as_in_predict)
            evaluation = scores(session.task, _on_dev(options, session, session.task), session.model.name)
        options.write_training_page(messages, saved, facts, evaluation)
    return Exit.OK


def _labelled(options: Finetune, files: Sequence[str]) -> Iterator["Record"]:
    """The labelled records of a split, with their labels renamed by --map-labels."""
    from bertcli.tasks.labels import relabelled

    task_class = registry.load("tasks", options.task).Task
    return relabelled(task_class, options.labelled(files), options.options, options.problem == "multi")


def _texts(options: Finetune, files: Sequence[str]) -> Iterator["Record"]:
    """Records that need no labels. The field of plain text lines is renamed to --text-field, as for labelled texts."""
    return (
        replace(record, fields={options.text_field: record.fields["text"]}) if [*record.fields] == ["text"] else record
        for record in options.open(files)
    )


def is_unfinished(evaluations: Sequence["Eval"]) -> bool:
    """Whether the last evaluation is the best, and more than STILL_RISING better than the one before."""
    if len(evaluations) < 2 or not evaluations[-1].best:
        return False
    before, last = (float(evaluation.metrics.get(evaluation.metric) or 0) for evaluation in evaluations[-2:])
    return abs(last - before) > STILL_RISING * abs(last)


def _choose_exit(messages: Messages, options: Finetune, model: Model, as_in_predict: Options) -> None:
    """Choose on the dev data how certain a text must be to leave at the exit; without dev data no text leaves."""
    from bertcli.evaluation.calibrate import choose_exit, with_both_heads
    from bertcli.inference import Request
    from bertcli.inference.session import open_session

    if not options.dev:
        return messages.warn("no text leaves early: `bertcli calibrate` chooses on labelled data how sure it must be")
    request = Request(str(model.path), options.task, device="cpu", threads=options.threads, exit=False)
    session = open_session(request, as_in_predict)
    predicted = _on_dev(options, session, with_both_heads(session.task, session.backend))
    left = choose_exit(session.task, session.backend, predicted, options.exit_loss)
    if left is None:
        return messages.warn(
            "no text leaves early: the layers of this model share weights, so its ONNX files are whole"
        )
    chosen = left.summary(session.task, predicted)
    update(model, {"calibration": {"exit": chosen}})
    said = f"{chosen['share']:.1%} of the dev texts leave after layer {chosen['after']}"
    return messages.note(
        f"exit: {said}, which costs {100 * chosen['lost']:.2f} points (--exit-loss {options.exit_loss:g})"
    )


def _on_dev(options: Finetune, session: "Session", task: "BaseTask") -> "Predicted":
    """The dev data with predictions of the exported model. task: the session's, or that of `with_both_heads`."""
    from bertcli.evaluation import collect
    from bertcli.inference.stream import stream

    with heed_signals() as stop:
        chunks = stream(task, session.backend, _labelled(options, options.dev), stop=stop)
        return collect(task, chain.from_iterable(chunks))
