"""Options that several commands share, each defined once, and the Command class that reads BERTCLI_… variables."""

from collections.abc import Callable
from typing import Any

import click

from bertcli import registry
from bertcli.cli import config
from bertcli.cli.console import Voice
from bertcli.device import KINDS
from bertcli.inference.batching import BATCH_TOKENS

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


class Command(click.Command):
    """A command whose options may be set by BERTCLI_COMMAND_OPTION or, for all commands, BERTCLI_OPTION.

    group: the command this is a part of, which gives it its name there and in a config file.
    """

    def __init__(self, *args: Any, group: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"], "max_content_width": 100})
        super().__init__(*args, **kwargs)
        for option in self.params:
            if isinstance(option, click.Option) and option.envvar is None and option.name != "help":
                name = max(option.opts, key=len).lstrip("-").replace("-", "_").upper()
                option.envvar = [f"BERTCLI_{group or self.name}_".upper() + name, f"BERTCLI_{name}"]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the examples as they stand, not re-wrapped."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


def choose_task(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Turn a task's alias into its name."""
    if value is None:
        return None
    name: str = registry.load("tasks", value).Task.name
    return name


def group(*decorators: Decorator) -> Decorator:
    """Several option decorators as one, listed in --help in the order given."""

    def apply(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def setting_of(settings: type[Any]) -> Callable[..., Decorator]:
    """setting(flag, kind, help): an option for one field of a settings class, with its default, which --help shows."""

    def setting(flag: str, values: Any, text: str, **more: Any) -> Decorator:
        value = settings.__dataclass_fields__[flag.lstrip("-").replace("-", "_")].default
        shown = more.pop("show_default", value is not None)
        return click.option(flag, type=values, default=value, show_default=shown, help=text, **more)

    return setting


def voice(function: Function) -> Function:
    """-v, -q and --config; the command gets one `voice` argument for the first two."""
    from functools import wraps

    @wraps(function)
    def with_voice(*args: Any, verbose: bool, quiet: bool, **kwargs: Any) -> Any:
        return function(*args, voice=Voice(verbose, quiet), **kwargs)

    return group(
        click.option(
            "--config",
            expose_value=False,
            is_eager=True,
            callback=config.apply,
            metavar="FILE",
            help="YAML file with defaults for these options.",
        ),
        click.option(
            "-v", "--verbose", is_flag=True, help="Say what is chosen and why, also when stderr is no terminal."
        ),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    )(with_voice)


model = click.option(
    "-m", "--model", metavar="MODEL", help="Model directory or Hub name.  [default: the embedded model]"
)
task = click.option(
    "-t",
    "--task",
    metavar="TASK",
    callback=choose_task,
    help=f"One of {', '.join(registry.names('tasks'))}; needed only where the model does not say.",
    shell_complete=lambda ctx, param, incomplete: [n for n in registry.names("tasks") if n.startswith(incomplete)],
)
device = group(
    click.option("--device", type=click.Choice(KINDS), default="auto", show_default=True, help="Where to compute."),
    click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads.  [default: all cores]"),
)
track = click.option(
    "--track",
    type=click.Choice(["tensorboard"]),
    help="Send losses and metrics there too; DIR/log.jsonl has them anyway.",
)
page = click.option(
    "--report",
    type=click.Path(),
    metavar="FILE",
    help="Write an HTML page that needs no network: curves, tables, and examples to search.",
)
engine = group(
    click.option(
        "--backend",
        type=click.Choice(["auto", *registry.names("backends")]),
        default="auto",
        show_default=True,
        help="Inference engine; auto takes onnx on a CPU when the model has ONNX files.",
    ),
    device,
    click.option(
        "--precision",
        type=click.Choice(["auto", "int8", "bf16", "fp32"]),
        default="auto",
        show_default=True,
        help="auto: int8 with ONNX where there is such a file, bf16 on a GPU, else fp32.",
    ),
    click.option(
        "--batch-tokens",
        type=click.IntRange(1),
        default=BATCH_TOKENS,
        show_default=True,
        help="Most tokens in a batch.",
    ),
)
report = click.option(
    "-f",
    "--format",
    "output_format",
    type=click.Choice(["rich", "json"]),
    help="[default: rich on a terminal, else json]",
)
reading = group(
    click.option(
        "--input-format",
        type=click.Choice(registry.names("data/input_formats")),
        help="[default: by file extension, else lines]",
    ),
    click.option("--columns", metavar="NAMES", help="Comma-separated names for a CSV or TSV file without a header."),
    click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the input."),
)
fields = group(
    click.option(
        "--text-field",
        default="text",
        show_default=True,
        metavar="NAME",
        help="Field or column with the text; a.b goes inside.",
    ),
    click.option("--pair-field", metavar="NAME", help="Field with the second text of a pair."),
)
scheme = click.option(
    "--scheme",
    type=click.Choice(["auto", "iob1", "iob2", "bioes", "io"]),
    default="auto",
    show_default=True,
    help="How the data's entity tags are written; auto reads all of these, the others refuse what differs.",
)
labels = group(
    click.option(
        "--label-field", default="label", show_default=True, metavar="NAME", help="Field with the label or labels."
    ),
    click.option(
        "--label-separator",
        default=",",
        show_default=True,
        metavar="TEXT",
        help="Between several labels in one CSV or TSV cell.",
    ),
    scheme,
)


class Threshold(click.ParamType[Any]):
    """A number, or `auto`."""

    name = "NUMBER|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse it."""
        try:
            return value if value == "auto" else float(value)
        except ValueError:
            self.fail(f"'{value}' is neither a number nor `auto`.", param, ctx)


question = click.option("--question", metavar="TEXT", help="Ask this of every record; its text is the context.")
language = click.option(
    "--language",
    type=click.Choice(["auto", "en", "zh"]),
    default="auto",
    show_default=True,
    help="Compare answers as SQuAD (en) or CMRC 2018 (zh) does; auto: by the text.",
)
mask = click.option("--mask", metavar="TOKEN", help="Accept this for the model's own mask token.")
long = click.option(
    "--long",
    type=click.Choice(["window", "truncate", "error"]),
    default="window",
    show_default=True,
    help="Texts over the model's length: overlapping windows, a cut that is reported, or an error record.",
)
cased = click.option(
    "--uncased/--cased",
    "lowercase",
    default=True,
    help="Whether a vocabulary that is trained drops case and accents as BERT's does.  [default: uncased]",
)
corpus = group(
    click.argument("corpus", nargs=-1, required=True, type=click.Path()),
    click.option(
        "--text-field",
        default="text",
        show_default=True,
        metavar="NAME",
        help="Field or column with the text of JSONL, CSV and TSV, where a record is a document; a.b goes inside.",
    ),
    click.option(
        "--document-per",
        type=click.Choice(["blank-line", "file", "line"]),
        default="blank-line",
        show_default=True,
        help="What parts the documents of plain text.",
    ),
    click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the text."),
    click.option(
        "--on-error",
        type=click.Choice(["skip", "fail"]),
        default="skip",
        show_default=True,
        help="A line or record that cannot be read: left out and counted, or the end of the run.",
    ),
)
