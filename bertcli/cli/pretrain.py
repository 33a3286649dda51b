"""What the pretrain command does between its options and the engine: find the text, train, show."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertcli import device
from bertcli.cli.console import Voice
from bertcli.cli.corpus import source
from bertcli.cli.progress import Show
from bertcli.cli.reporting import demand_usable, report_training
from bertcli.cli.run import heed_signals, select
from bertcli.cli.train import show_event
from bertcli.errors import Exit
from bertcli.pretraining.settings import PretrainSettings

NOT_KEPT = ("output", "resume", "overwrite", "cache", "track", "report")  # where and how, not what, is trained


def pretrain(voice: Voice, given: Mapping[str, Any]) -> int:
    """Train and publish; returns the exit code."""
    from bertcli.pretraining.pretrain import pretrain as run
    from bertcli.training.run import Saved

    demand_usable(given)
    settings: PretrainSettings = select(PretrainSettings, given)
    chosen = device.choose(given["device"], given["threads"])
    cache, flags = cache_folder(given["cache"]), {name: given[name] for name in ("resume", "overwrite", "track")}
    options = {name: value for name, value in given.items() if name not in NOT_KEPT}
    options["lengths"] = settings.as_dict()["lengths"]
    with heed_signals() as stop, Show(voice, chosen) as show:
        events = run(settings, source(given), chosen, cache, stop=lambda: stop.signum, options=options, **flags)
        for event in events:
            if isinstance(event, Saved):
                voice.note(f"model: {event.path} (weights of step {event.step})")
                report_training(voice, given, event)
            else:
                show_event(event, voice, show)
    return Exit.OK


def cache_folder(given: str | None) -> Path:
    """--cache, or the user's directory for such things (XDG Base Directory Specification)."""
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bertcli"
