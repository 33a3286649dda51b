"""--config: the values of a YAML file become the defaults of a command's options.

Knows click, and no command. Try: bertcli finetune --config DIR/bertcli.yaml -o DIR2 --epochs 5
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from bertcli import registry
from bertcli.errors import UsageError

NOT_OPTIONS = ("provenance",)  # what `finetune` writes beside the settings: versions, data hashes


def apply_config(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    """Callback of --config: the values of a YAML file become the defaults of the command's options.

    Keys are option names; a key that names a command holds options for that command alone, so the `bertcli.yaml` of a
    trained model is itself a config file. Flags and BERTCLI_… variables win over it.
    """
    if path is None:
        return
    values = _read(path)
    commands = registry.names("cli/commands")
    name = ctx.command_path.split()[1]  # of `bertcli tokenizer train` its group
    special = values.get(name) or {}
    if not isinstance(special, Mapping):
        raise UsageError(f"{path}: '{name}' holds no options.")
    shared = {key: value for key, value in values.items() if key not in commands and key not in NOT_OPTIONS}
    known = {_key(flag): p for p in ctx.command.params for flag in [*p.opts, p.name or ""]}
    negated = {_key(flag): p for p in ctx.command.params for flag in p.secondary_opts}
    ctx.default_map = {}
    for key, value in {**shared, **special}.items():
        name = _key(str(key))
        option = known.get(name) or negated.get(name)
        if option is None:
            close = get_close_matches(name, known | negated, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f". The options are: {', '.join(sorted(known))}."
            raise UsageError(f"{path}: unknown key '{key}'{hint}")
        if value is None:
            continue
        try:
            if name not in known:
                value = not click.BOOL.convert(value, option, ctx)
            takes_many = getattr(option, "multiple", False) or option.nargs == -1
            values_of = [value] if takes_many and not isinstance(value, list) else value
            option.type_cast_value(ctx, values_of)
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{path}: '{key}' cannot be {value!r}; see --help") from error
        ctx.default_map[str(option.name)] = values_of


def _key(name: str) -> str:
    return name.lstrip("-").replace("_", "-")


def _read(path: str) -> Mapping[Any, Any]:
    values = read_yaml(path)
    if not isinstance(values, dict | None):
        raise UsageError(f"{path}: the file must hold `option: value` lines.")
    return values or {}


def read_yaml(path: str) -> Any:
    """What a YAML or JSON file holds. Raises UsageError for one that cannot be read."""
    import yaml

    class Loader(yaml.SafeLoader):
        """`yes`, `no` and dates are text, as labels and questions are; a flag reads `yes` as true all the same."""

        yaml_implicit_resolvers = {  # noqa: RUF012 - as the class it extends
            first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())}).") from error
