"""bertcli finetune: train a model on labelled data."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice
from bertcli.training.settings import Settings

EXAMPLES = """
bertcli finetune --train train.tsv --dev dev.tsv --text-field sentence -m MODEL -o DIR
bertcli finetune --train pairs.jsonl --text-field a --pair-field b --label-field similarity -m MODEL -o DIR
bertcli finetune -t qa --train train.json --dev dev.json -m MODEL -o DIR
bertcli finetune --train train.jsonl --dev dev.jsonl -m MODEL -o DIR --report report.html
bertcli finetune --config DIR/bertcli.yaml -o DIR2 --epochs 5     # an earlier run, with one change
torchrun --nproc-per-node 2 -m bertcli finetune --train train.jsonl -m MODEL -o DIR
"""


setting = options.setting_of(Settings)


class Weights(click.ParamType[Any]):
    """`balanced`, or `label=2.5,other=1`."""

    name = "WEIGHTS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse it; a mapping comes from a config file as it is."""
        if value == "balanced" or isinstance(value, dict):
            return value
        try:
            return {label: float(number) for label, _, number in (part.rpartition("=") for part in value.split(","))}
        except ValueError:
            self.fail(f"'{value}' is neither `balanced` nor LABEL=NUMBER,….", param, ctx)


class Names(click.ParamType[tuple[str, ...]]):
    """Comma-separated names, in their order."""

    name = "NAMES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split them; a list comes from a config file as it is."""
        return tuple(value.split(",") if isinstance(value, str) else map(str, value))


@click.command("finetune", cls=options.Command, epilog=EXAMPLES)
@click.option(
    "--train", multiple=True, required=True, metavar="FILE", help="Labelled records to learn from. Repeatable."
)
@click.option(
    "--dev", multiple=True, metavar="FILE", help="Labelled records to score on; the best weights are kept. Repeatable."
)
@click.option("-m", "--model", required=True, metavar="MODEL", help="Base model: a directory or a Hub name.")
@options.task
@click.option("-o", "--output", required=True, type=click.Path(), metavar="DIR", help="Where the model goes.")
@options.fields
@options.labels
@setting(
    "--problem",
    click.Choice(["auto", "single", "multi", "regression"]),
    "auto: lists are several labels, decimal numbers regression, else one label.",
)
@setting("--labels", Names(), "The labels in their order.  [default: the model's own, else sorted]")
@options.reading
@setting(
    "--long",
    click.Choice(["window", "truncate"]),
    "Texts over --max-length: overlapping windows, or a cut that is reported.",
)
@setting("--max-length", click.IntRange(3), "Most tokens in a window.  [default: what the model has]", metavar="N")
@setting("--epochs", click.IntRange(1), "Passes over the training data.")
@setting("--lr", click.FloatRange(0, min_open=True), "Highest learning rate.")
@setting("--schedule", click.Choice(["linear", "cosine", "trapezoidal"]), "How the learning rate falls to 0.")
@setting("--warmup", click.FloatRange(0, 1), "Share of the steps in which the learning rate rises.")
@setting("--batch-tokens", click.IntRange(1), "Most tokens in a batch.")
@setting("--accumulate", click.IntRange(1), "Batches in a step of the optimiser.")
@setting("--weight-decay", click.FloatRange(0), "AdamW's weight decay, not on biases and LayerNorm.")
@setting("--clip-norm", click.FloatRange(0), "Largest norm of the gradients.")
@setting("--dropout", click.FloatRange(0, 1), "Dropout.  [default: the model's own]")
@setting("--label-smoothing", click.FloatRange(0, 1), "Share of a label's weight given to the others.")
@setting("--class-weights", Weights(), "`balanced`, or LABEL=NUMBER,…: how much each label's examples count.")
@setting(
    "--ema", click.FloatRange(0, 1), "Decay of the average of the weights that is kept; 0: the weights themselves."
)
@setting("--eval-steps", click.IntRange(1), "Steps between evaluations.  [default: once an epoch]", metavar="N")
@setting("--metric", str, "Which metric decides what is best.  [default: accuracy, micro_f1 or pearson]")
@setting("--patience", click.IntRange(1), "Stop after so many evaluations without a better --metric.", metavar="N")
@setting("--seed", click.IntRange(0), "Seed of everything random.")
@options.device
@setting(
    "--precision", click.Choice(["auto", "bf16", "fp32"]), "auto: bf16 where the CPU or GPU multiplies it natively."
)
@click.option("--resume", is_flag=True, help="Continue the unfinished run in DIR, to the same weights.")
@click.option("--overwrite", is_flag=True, help="Replace what is in DIR.")
@click.option(
    "--export/--no-export",
    default=True,
    show_default=True,
    help="Write the ONNX files at the end, calibrated on training texts.",
)
@options.track
@options.page
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Train MODEL for a task on labelled records.

    Single labels, several labels or numbers (regression) of texts and pairs, entities, answers, masked words; the
    result is a Hugging Face model directory with ONNX files, its settings and a model card. Ctrl-C leaves a checkpoint
    for --resume.
    """
    from bertcli.cli.train import finetune

    return finetune(voice, given)
