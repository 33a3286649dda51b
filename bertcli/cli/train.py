"""What the finetune command does between its options and the engine: read, train, show, export."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from bertcli import device
from bertcli.cli.console import Voice
from bertcli.cli.exporting import SAMPLES, export_directory
from bertcli.cli.progress import Show
from bertcli.cli.reporting import demand_usable, report_training
from bertcli.cli.run import heed_signals, open_input, select
from bertcli.data.records import Record
from bertcli.errors import Exit
from bertcli.training.settings import Settings


def finetune(voice: Voice, given: Mapping[str, Any]) -> int:
    """Train, publish and export; returns the exit code."""
    from bertcli.training.finetune import finetune as run
    from bertcli.training.run import Saved

    demand_usable(given)
    given = {**given, "task": given["task"] or Settings.task}
    settings: Settings = select(Settings, given)
    place = device.choose(given["device"], given["threads"])
    train, dev = _records(given, "train"), _records(given, "dev") if given["dev"] else None
    flags = {"resume": given["resume"], "overwrite": given["overwrite"]}
    options = {name: value for name, value in given.items() if name not in (*flags, "output", "track", "report")}
    saved: Saved | None = None
    with heed_signals() as stop, Show(voice, place) as show:
        events = run(
            settings, train, dev, place, stop=lambda: stop.signum, options=options, track=given["track"], **flags
        )
        for event in events:
            if isinstance(event, Saved):
                saved = event
            else:
                show_event(event, voice, show)
    if saved:  # None in all processes of a distributed run but the first
        voice.note(f"model: {saved.path} (weights of step {saved.step})")
        if given["export"]:
            texts = islice(_records(given, "train"), SAMPLES)
            export_directory(voice, saved.path, texts, given)
        report_training(voice, given, saved)
    return Exit.OK


def show_event(event: Any, voice: Voice, show: Show) -> None:
    """Show what a training run tells."""
    from bertcli.pretraining.build import Reading
    from bertcli.training.loop import Eval, Step

    if isinstance(event, Step):
        show.step(event)
    elif isinstance(event, Eval):
        show.evaluation(event)
    elif isinstance(event, Reading):
        show.reading(event)
    elif event.warning:
        voice.warn(event.message)
    else:
        voice.note(event.message)


def _records(given: Mapping[str, Any], split: str) -> Iterator[Record]:
    return open_input({**given, "files": given[split]})
