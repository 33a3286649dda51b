"""What the pretrain command does between its options and the engine: find the text, train, show."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli import device
from bertcli.cli.console import Voice
from bertcli.cli.progress import Show
from bertcli.cli.run import heed_signals, select
from bertcli.cli.train import show_event
from bertcli.data.documents import expand, read
from bertcli.engine.pretrain_settings import PretrainSettings
from bertcli.errors import Exit

if TYPE_CHECKING:
    from bertcli.pretraining.source import Source

NOT_KEPT = ("output", "resume", "overwrite", "cache", "track")  # where and how, not what, is trained


def pretrain(voice: Voice, given: Mapping[str, Any]) -> int:
    """Train and publish; returns the exit code."""
    from bertcli.engine import pretrain as engine

    settings: PretrainSettings = select(PretrainSettings, given)
    chosen = device.choose(given["device"], given["threads"])
    place = engine.Place(chosen, cache_folder(given["cache"]), chosen.threads, given["track"])
    flags = {"resume": given["resume"], "overwrite": given["overwrite"]}
    options = {name: value for name, value in given.items() if name not in NOT_KEPT} | {
        "lengths": settings.as_dict()["lengths"]
    }
    with heed_signals() as stop, Show(voice) as show:
        events = engine.pretrain(settings, source(given), place, stop=lambda: stop.signum, options=options, **flags)
        for event in events:
            if isinstance(event, engine.Saved):
                voice.note(f"model: {event.path} (weights of step {event.step})")
            else:
                show_event(event, voice, show)
    return Exit.OK


def source(given: Mapping[str, Any]) -> "Source":
    """The raw text that the options name."""
    from bertcli.pretraining.source import Source

    reading = {"text_field": given["text_field"], "encoding": given["encoding"], "per": given["document_per"]}
    options = {"text_field": given["text_field"], "encoding": given["encoding"], "document_per": given["document_per"]}
    return Source(expand(given["corpus"]), partial(read, **reading), options, given["on_error"] == "skip")


def cache_folder(given: str | None) -> Path:
    """--cache, or the user's directory for such things (XDG Base Directory Specification)."""
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bertcli"
