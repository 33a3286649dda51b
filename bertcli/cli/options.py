"""Commands from dataclasses: a field is an option, its type says how it is read, and the body gets an object of them.

    @dataclass(frozen=True, kw_only=True)
    class Predict(Reading, Request):
        model: shared.Model
        top_k: Annotated[int | None, option(type=click.IntRange(1), metavar="K", help="Also list the K best labels.")] = None

    @command(EXAMPLES)
    def predict(voice: Voice, options: Predict) -> int:

The order in the class is that of --help. A field without a default takes that of the library's class which the command
extends, so no default stands twice. Knows click and no command. Try: bertcli predict --help
"""  # noqa: E501

import dataclasses
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click

from bertcli import registry
from bertcli.cli.terminal import Voice
from bertcli.errors import UsageError

NOT_OPTIONS = ("provenance",)  # what `finetune` writes beside the settings: versions, data hashes
HELP = {"help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command whose options may be set by BERTCLI_COMMAND_OPTION or, for all commands, BERTCLI_OPTION.

    group: the command this is a part of, which gives it its name there and in a config file.
    """

    def __init__(self, *args: Any, group: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {**HELP, "max_content_width": 100})
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.envvar is None and parameter.name != "help":
                name = max(parameter.opts, key=len).lstrip("-").replace("-", "_").upper()
                parameter.envvar = [f"BERTCLI_{group or self.name}_".upper() + name, f"BERTCLI_{name}"]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the examples as they stand, not re-wrapped."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


@dataclasses.dataclass(frozen=True)
class Parameter:
    """How a field is written on the command line. attributes: click's, besides those that follow from its type."""

    made: type[click.Parameter]
    flags: tuple[str, ...]
    attributes: Mapping[str, Any]

    def build(self, name: str, hint: Any, default: Any) -> click.Parameter:
        """Click's parameter. hint: the field's type; default: MISSING makes the option required.

        A bool is a flag, a Literal a choice, `tuple[str, ...]` an option that may be repeated, or arguments.
        """
        union = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        (kind, *_) = [part for part in union if part is not NoneType]
        is_flag, is_option = kind is bool, self.made is click.Option
        settings: dict[str, Any] = {}
        if is_flag:
            settings["is_flag"] = True
        elif get_origin(kind) is Literal:
            settings["type"] = click.Choice(get_args(kind))
        elif kind in (int, float):
            settings["type"] = kind
        if hint == tuple[str, ...]:
            settings |= {"multiple": True} if is_option else {"nargs": -1}
        if default is dataclasses.MISSING:
            settings["required"] = True
        elif is_option and (is_flag or default not in (None, ())):
            settings |= {"default": default, "show_default": not is_flag}
        long = () if not is_option or any(flag.startswith("--") for flag in self.flags) else (f"--{name}",)
        names = [name, *self.flags, *(flag.replace("_", "-") for flag in long)]
        return self.made(names, **{**settings, **self.attributes})


def option(*flags: str, **attributes: Any) -> Parameter:
    """An option `--field-name`, unless a long flag is given."""
    return Parameter(click.Option, flags, attributes)


def argument(**attributes: Any) -> Parameter:
    """An argument, or several for `tuple[str, ...]`; one whose field may be empty is not required."""
    return Parameter(click.Argument, (), attributes)


def parameters(options: type) -> list[click.Parameter]:
    """Click's view of the fields that the class itself lists, in their order."""
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    return [
        parameter.build(name, hint, defaults[name])
        for name, annotation in options.__annotations__.items()
        for hint, *several in [get_args(annotation)]
        for parameter in several
    ]


def command(examples: str, **attributes: Any) -> Callable[[Callable[[Voice, Any], int]], click.Command]:
    """Make a function of Voice and an options dataclass a command of its name, with its docstring for --help."""

    def decorate(body: Callable[[Voice, Any], int]) -> click.Command:
        options = body.__annotations__["options"]

        def run(verbose: bool, quiet: bool, **values: Any) -> int:
            return body(Voice(verbose, quiet), options(**values))

        params = [*parameters(options), *parameters(Common)]
        return Command(body.__name__, callback=run, params=params, help=body.__doc__, epilog=examples, **attributes)

    return decorate


def spelt(options: Any) -> dict[str, object]:
    """The options of the running command by name; those of the command line first, as click has them."""
    names = click.get_current_context().params
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


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
    known = {_key(flag): p.name for p in ctx.command.params for flag in [*p.opts, p.name or ""]}
    ctx.default_map = {}
    for key, value in {**shared, **special}.items():
        if _key(str(key)) not in known:
            close = get_close_matches(_key(str(key)), known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f". The options are: {', '.join(sorted(known))}."
            raise UsageError(f"{path}: unknown key '{key}'{hint}")
        ctx.default_map[known[_key(str(key))]] = value


def _key(name: str) -> str:
    return name.lstrip("-").replace("_", "-")


def _read(path: str) -> Mapping[Any, Any]:
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(values, dict | None):
        raise UsageError(f"{path}: the file must hold `option: value` lines.")
    return values or {}


@dataclasses.dataclass(frozen=True)
class Common:
    """What every command has besides its own options."""

    config: Annotated[
        str | None,
        option(
            expose_value=False,
            is_eager=True,
            callback=apply_config,
            metavar="FILE",
            help="YAML file with defaults for these options.",
        ),
    ] = None
    verbose: Annotated[bool, option("-v", help="Say what is chosen and why, also when stderr is no terminal.")] = False
    quiet: Annotated[bool, option("-q", help="Say nothing but errors.")] = False
