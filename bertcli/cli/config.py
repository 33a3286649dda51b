"""--config FILE: a YAML file whose values become the defaults of a command's options.

Keys are option names; a key that names a command holds options for that command alone, so the `bertcli.yaml` of a
trained model is itself a config file. Flags and BERTCLI_… variables win over it.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from bertcli import registry
from bertcli.errors import UsageError

NOT_OPTIONS = ("provenance",)  # what `finetune` writes beside the settings: versions, data hashes


def apply(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    """Click callback of --config: put the file's values into the context's default_map."""
    if path is None:
        return
    values = _read(path)
    commands = registry.names("cli/commands")
    name = ctx.command_path.split()[1]  # of `bertcli tokenizer train` its group
    own = values.get(name) or {}
    if not isinstance(own, Mapping):
        raise UsageError(f"{path}: '{name}' holds no options.")
    shared = {key: value for key, value in values.items() if key not in commands and key not in NOT_OPTIONS}
    known = {_key(option): p.name for p in ctx.command.params for option in [*p.opts, p.name or ""]}
    ctx.default_map = {_known(str(key), known, path): value for key, value in {**shared, **own}.items()}


def _read(path: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())}).") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: the file must hold `option: value` lines.")
    return values


def _key(option: str) -> str:
    return option.lstrip("-").replace("_", "-")


def _known(key: str, known: Mapping[str, str | None], path: str) -> str:
    if name := known.get(_key(key)):
        return name
    close = get_close_matches(_key(key), known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else f". The options are: {', '.join(sorted(known))}."
    raise UsageError(f"{path}: unknown key '{key}'{hint}")
