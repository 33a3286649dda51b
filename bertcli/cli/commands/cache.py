"""bertcli cache: list or clear ONNX files of --backend onnx, answers of teachers, and corpora of pretrain."""

from dataclasses import dataclass
from pathlib import Path

from bertcli.cli import shared
from bertcli.cli.options import command
from bertcli.cli.terminal import Messages
from bertcli.errors import Exit
from bertcli.option import option

EXAMPLES = """
bertcli cache
bertcli cache --format json | jq -s 'map(.megabytes) | add'
bertcli cache --clear DIR
bertcli cache --clear
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Cache(shared.PrintOptions):
    """The options of `bertcli cache`."""

    models: tuple[str, ...] = option((), is_argument=True, metavar="[MODEL]...", type=shared.PATH)
    clear: bool = option(False, "Remove what is listed.")


@command("models clear output_format", EXAMPLES)
def cache(messages: Messages, options: Cache) -> int:
    """List what is in the cache, all or that of each MODEL: ONNX files, answers of teachers, corpora of pretrain.

    They lie in $BERTCLI_CACHE, else in the user's caches. What was removed is made again when a run asks for it.
    """
    from bertcli.inference import cache as engine

    names = list(map(engine.named, options.models))
    rows = [row for row in engine.entries() if row["model"] in names or not names]
    for model, name in zip(options.models, names, strict=True):
        if all(row["model"] != name for row in rows):
            messages.warn(f"nothing of a model '{model}' is in {engine.root()}.")
    if options.clear and engine.root().is_dir():
        with engine.locked(messages.note):
            engine.clear(Path(row["folder"]) for row in rows)
    models: dict[str, dict[str, object]] = {}
    for row in rows:
        shown = {name: row[name] for name in ("kind", "task", "precision", "megabytes")}
        group = models.setdefault(row["model"] or "corpora and vocabularies of no model", {})
        group[row["folder"][-8:]] = {**shown, "written": row["written"][:10]}
    options.show(rows, models, f"{'Removed from' if options.clear else 'What is in'} {engine.root()}")
    return Exit.OK
