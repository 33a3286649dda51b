"""bertcli bench: how fast a model is here, by backend, precision and text length."""

from dataclasses import dataclass
from itertools import islice

from bertcli.cli import shared
from bertcli.cli.options import command
from bertcli.cli.terminal import Messages, is_for_people, print_json, stdout_console
from bertcli.errors import Exit, UsageError

MOST = 10_000  # records that are taken of the input
EXAMPLES = """
bertcli bench
bertcli bench -m DIR texts.txt --threads 1
bertcli bench -m DIR --backend onnx --format json | jq -s 'max_by(.texts_per_s)'
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Bench(shared.RunOptions, shared.PrintOptions):
    """The options of `bertcli bench`."""


@command(
    """
    files model task text_field pair_field question long input_format columns delimiter encoding output_format
    backend device threads precision exit calibrate batch_tokens
    """,
    EXAMPLES,
)
def bench(messages: Messages, options: Bench) -> int:
    """Measure texts and tokens a second, time to the first result and peak memory on FILES or on made-up texts.

    A row for each backend and precision that can run the model and for each length: the median of five runs after one
    that does not count, with the least and the most. At most 10,000 records are taken.
    """
    from bertcli.inference.measure import Workload, time_variants
    from bertcli.inference.session import open_task_class

    records = list(islice(options.open(options.files), MOST)) if options.files else None
    if records == []:
        raise UsageError("nothing to measure: the input has no records; without FILES texts are made up.")
    options.write_missing_onnx(messages, iter(records or ()))
    model, task_class = open_task_class(options)
    rows = time_variants(Workload(options, options, options, records), model, task_class.head)
    if not is_for_people(options.output_format):
        print_json(rows)
        return Exit.OK
    from bertcli.cli.tables import render

    table = {
        f"{row['backend']} {row['precision']}{', early exit' * row['exit']}, {row['tokens']} tokens": {
            "texts/s": f"{row['texts_per_s']:,}",
            "spread": f"{row['least']:,}-{row['most']:,}",
            "tokens/s": f"{row['tokens_per_s']:,}",
            "first": f"{row['first_result_s']:.2f} s",
            "peak": f"{row['peak_mb']:,} MB",
        }
        for row in rows
    }
    render(stdout_console(), {"bench": table}, model.name)
    return Exit.OK
