"""bertcli predict: a filter: one result out for each record in, in order, as soon as it is there."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice

EXAMPLES = """
echo "a gripping film" | bertcli predict
bertcli predict reviews.jsonl --text-field body.text --top-k 2 > labelled.jsonl
bertcli predict -m DIR --format tsv tweets.csv.gz -o labels.tsv
bertcli predict -m DIR --question "Who signed?" --input-format document contracts/*.txt
bertcli predict big.jsonl --shard $SLURM_ARRAY_TASK_ID/64 -o part.$SLURM_ARRAY_TASK_ID.jsonl      # --array=1-64
bertcli predict big.jsonl -o out.jsonl --resume      # after a kill, a full disk or Ctrl-C: only what is missing
bertcli predict big.jsonl --engine ray --address ray-head:6379 -o out.jsonl
tail -f app.log | bertcli predict -m DIR | jq -c 'select(.label == "negative")'
"""


@click.command("predict", cls=options.Command, epilog=EXAMPLES)
@click.argument("files", nargs=-1, type=click.Path())
@options.model
@options.task
@options.fields
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Also list the K best labels with their scores.")
@click.option("--all-scores", is_flag=True, help="Also give every label's score.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Least score for a label to be given.  [default: 0.5 for multi-label]",
)
@click.option(
    "--offset-unit",
    type=click.Choice(["codepoint", "utf16", "utf8"]),
    default="codepoint",
    show_default=True,
    help="In what start and end of an entity count.",
)
@options.mask
@options.question
@click.option(
    "--null-threshold",
    type=float,
    metavar="NUMBER",
    help="Log-odds under which a question has no answer.  [default: the model's, if it has one]",
)
@click.option(
    "--normalize/--no-normalize",
    default=None,
    help="Embeddings of length 1, or as pooled.  [default: what the model says, else as pooled]",
)
@options.long
@options.reading
@click.option(
    "--shard", metavar="I/N", help="Only the I-th of N parts of FILES; the results of all, in order, are whole."
)
@click.option(
    "-f",
    "--format",
    "output_format",
    type=click.Choice(["rich", "jsonl", "tsv", "csv", "conll", "npy"]),
    help="[default: by the extension of --output; rich on a terminal, else jsonl]",
)
@click.option(
    "-o", "--output", type=click.Path(), metavar="FILE", help="Write here, complete or not at all.  [default: stdout]"
)
@click.option("--force", is_flag=True, help="Replace an existing --output.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where an interrupted run with the same input, model and options ended; else begin.",
)
@click.option(
    "--on-error",
    type=click.Choice(["record", "skip", "fail"]),
    default="record",
    show_default=True,
    help="A bad record: an error record in its place, nothing, or the end of the run.",
)
@click.option(
    "--max-wait-ms",
    type=click.FloatRange(0),
    default=50,
    show_default=True,
    help="How long a record may wait for others to share a batch.",
)
@options.engine
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="This process, or actors of Ray Data, which read FILES by themselves.",
)
@click.option("--address", metavar="ADDRESS", help="Ray cluster.  [default: a Ray of this machine alone]")
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Read records from FILES or stdin and write one result for each.

    Input is lines of text, JSONL, CSV or TSV, also .gz, .bz2 or .xz; every input field is passed through. A bad
    record becomes {"index", "line", "error"} in its place, and the exit code is 3.
    """
    from bertcli.cli.run import predict

    return predict(voice, given)
