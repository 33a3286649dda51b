"""bertcli explain: show which tokens made a decision, and where attention looked."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

from bertcli import registry
from bertcli.cli import shared
from bertcli.cli.options import command
from bertcli.cli.terminal import Messages, beside_results, ended_by_signals, is_for_people, stdout_console
from bertcli.errors import Exit, RecordError, UsageError
from bertcli.inference import Request
from bertcli.option import option
from bertcli.tasks.options import Options

if TYPE_CHECKING:
    from bertcli.data.records import Record

DIGITS = 6  # of a printed weight: what fp32 carries
EXAMPLES = """
bertcli explain "a gripping film"
bertcli explain "not a good film" --target positive
bertcli explain -t ner "Tim Cook is in Berlin." | jq -c '.explanations[] | [.target, .text, .score]'
bertcli explain "Who is in Berlin?" --context "Tim Cook is in Berlin."
bertcli explain -m DIR "the first text" --pair "the second"
bertcli explain "a gripping film" --attention --layer 2 --head 3
bertcli explain "a gripping film" --html page.html
bertcli explain -m DIR --input reviews.jsonl > explained.jsonl
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explain(shared.InputOptions, Options, Request):
    """The options of `bertcli explain`."""

    texts: tuple[str, ...] = option((), metavar="[TEXT]...", is_argument=True)
    target: str | None = option(
        None, "This label, type or answer, not what was predicted.", "LABEL", more={"may_be_empty": True}
    )
    pair: str | None = option(None, "The second text of a pair.", "TEXT")
    context: str | None = option(None, "Answer TEXT, a question, from this.", "TEXT")
    attention: bool = option(False, "Also where attention looked, by layer and head.")
    layer: int | None = option(None, "Only the attention of this layer, from 1.", "N", least=1, group="what")
    head: int | None = option(None, "Only the attention of this head, from 1.", "N", least=1, group="what")
    html: str | None = option(None, "Also write a page with all of it, in one file.", "FILE", type=shared.PATH)
    files: tuple[str, ...] = option(
        (), "Read records. Repeatable.", "FILE", flags="--input", type=shared.PATH, more=shared.MANY
    )
    output_format: Literal["rich", "jsonl"] | None = option(
        None, "[default: rich on a terminal, else jsonl]", flags="-f --format", group="output"
    )


@command(
    """
    texts model task target pair context attention layer head html files text_field pair_field question long
    input_format columns delimiter encoding output_format device threads
    """,
    EXAMPLES,
)
def explain(messages: Messages, options: Explain) -> int:
    """Show what each word added to the score of what predict finds in TEXT, in files, or in the lines of stdin.

    Integrated gradients (arXiv 1703.01365) over the word embeddings, from a text of which every piece is [MASK]. The
    attributions sum to the difference of the two scores, in log-odds; where they are more than 1 % off, this is said.
    A model that has only an int8 ONNX file is explained by its weights, whose score is given beside predict's. So is a
    text that leaves early: the gradients pass all layers.
    """
    from bertcli.cli.progress import RecordCount
    from bertcli.data.writers import open_writer
    from bertcli.inference.session import open_session, open_task_class

    options = _completed(options)
    for text in options.texts:
        if os.path.isfile(text):  # noqa: PTH113 - Path's raises for a text of more than 255 bytes
            messages.warn(f"{text} is explained as a text; --input {quote(text)} reads the file.")
    records = _records(options)
    _, task_class = open_task_class(options)
    for name, value in (("context", options.context), ("pair", options.pair)):
        if value is not None and name not in task_class.inputs:
            raise UsageError(f"--{name} is for {_task_with(name)}; this model's task is {task_class.name}.")
    session = open_session(options, options)
    messages.note(session.reason)
    messages.note("loading torch and the weights, which takes seconds")
    failed = 0
    with ExitStack() as stack:
        # SIGTERM and SIGHUP end it at once: a long text takes minutes, and what is finished has been written.
        stack.enter_context(ended_by_signals())
        add_to_page = writer = None
        if options.html:
            from bertcli.report import explain_page

            add_to_page = stack.enter_context(explain_page(options.html))
        if not is_for_people(options.output_format):
            writer = stack.enter_context(open_writer(None, "jsonl", has_files=len(options.files) > 1))
        from bertcli.explain import Explainer  # imports torch, which takes seconds

        with_attention = options.attention or bool(options.html)
        explainer = Explainer(session, options.target, with_attention, options.layer, options.head)
        counter = stack.enter_context(RecordCount(beside_results(messages), options.files))
        for record in counter.passed(records):
            try:
                result = explainer.explain(record)
            except RecordError as error:
                messages.warn(f"{record.location}: {error}")
                failed += 1
                if writer:
                    writer.write_error(str(error), record)
                    writer.flush()
                continue
            if add_to_page:
                add_to_page(result)
            if not options.attention:
                result.pop("attention", None)
            if writer:
                writer.write(_with_lists(result), record)
                writer.flush()
            else:
                from bertcli.cli.tables import render_explanation

                render_explanation(stdout_console(), result)
    return Exit.RECORDS if failed else Exit.OK


def _completed(options: Explain) -> Explain:
    """The options, with those set that follow from others. Raises UsageError for what does not go together."""
    from bertcli.data.readers import ReadOptions

    if options.texts and options.files:
        raise UsageError("give TEXT or --input, not both.")
    if options.texts and options.read_options._replace(text_field=ReadOptions().text_field) != ReadOptions():
        raise UsageError("--columns, --delimiter, --encoding and --input-format are of --input and stdin, not of TEXT.")
    for text in (*options.texts, options.pair, options.context, options.question, options.target):
        if text and not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UsageError(f"{text!r} is no text in UTF-8; --input with --encoding reads others.")
    for name, value in (("pair", options.pair), ("context", options.context)):
        if value is not None and len(options.texts) != 1:
            raise UsageError(f"--{name} needs one TEXT to go with; records of --input have a field for it.")
    if options.context is not None and options.question is not None:
        raise UsageError("with --context TEXT is the question; leave out --question.")
    if (options.layer or options.head) and not (options.attention or options.html):
        raise UsageError("--layer and --head choose the weights of --attention or --html; add one of these.")
    if options.pair is not None:
        options = replace(options, pair_field=options.pair_field or "text_pair")
    asks = options.context is not None or options.question is not None
    if asks and options.model is None and options.task is None:
        options = replace(options, task=_task_with("context"))
    return options


def _task_with(name: str) -> str:
    """The task that has this field besides the text (BaseTask.inputs)."""
    return next(task for task in registry.names("tasks") if name in registry.load("tasks", task).Task.inputs)


def _records(options: Explain) -> Iterator["Record"]:
    """The records of the TEXT arguments, else of files or stdin."""
    from bertcli.data.records import Record

    if not options.texts:
        return options.open(options.files)

    name, more = options.text_field, {}
    if options.context is not None:
        name, more = "question", {"context": options.context}
    elif options.pair is not None and options.pair_field:
        more = {options.pair_field: options.pair}
    return (Record(i, {name: text, **more}, i + 1, "TEXT") for i, text in enumerate(options.texts))


def _with_lists(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result with any attention as lists, for JSON."""
    windows = [
        {
            **window,
            "matrices": [
                {**matrix, "weights": matrix["weights"].astype(float).round(DIGITS).tolist()}
                for matrix in window["matrices"]
            ],
        }
        for window in result.get("attention", ())
    ]
    return {**result, "attention": windows} if "attention" in result else dict(result)
