"""Commands from dataclasses: a field is an option, its type says how it is read, and the function gets an instance.

    @dataclass(frozen=True, kw_only=True)
    class Predict(InputOptions, Request):
        force: bool = option(False, "Replace an existing --output.")

    @command("files model text_field force", EXAMPLES)
    def predict(messages: Messages, options: Predict) -> int:

The class inherits the options of other classes, each with its default and its help. Knows click and no command.
Try: bertcli predict --help
"""

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from bertcli import registry
from bertcli.cli.terminal import Messages
from bertcli.errors import UsageError
from bertcli.option import GROUPS, Option, option

PATHS = ("FILE", "DIR", "MODEL", "OTHER")  # metavars of options whose value may be a path
NAMED = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)  # no config file: that of a model sets all options
OF_NO_OPTION = {"BERTCLI_DEBUG", "BERTCLI_CACHE"}  # variables that main.py and inference/cache.py read
WIDEST = 22  # characters of an option in --help; the text of a wider one begins on the next line
NOT_OPTIONS = ("provenance",)  # what a training writes into bertcli.yaml beside its settings
HELP = {"help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command whose options may be set by BERTCLI_COMMAND_OPTION or, for all commands, BERTCLI_OPTION.

    group: its click group, if it has one (`tokenizer` of `tokenizer train`): that is then the COMMAND of the variables.
    """

    def __init__(self, *args: Any, group: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {**HELP, "max_content_width": 100})
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.envvar is None and parameter.name != "help":
                name = max(parameter.opts, key=len).lstrip("-").replace("-", "_").upper()
                parameter.envvar = [f"BERTCLI_{group or self.name}_".upper() + name, f"BERTCLI_{name}"]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line and the environment. An error in the environment names its variable.

        A bare file name, where --train is missing, gets a hint to write --train before it.
        """
        pairs = list(zip(["", *args], args, strict=False))
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            name = getattr(getattr(error, "param", None), "name", None) or ""
            if isinstance(error, click.BadParameter) and ctx.get_parameter_source(name) == ParameterSource.ENVIRONMENT:
                assert error.param is not None and isinstance(error.param.envvar, list)
                variable = next(variable for variable in error.param.envvar if os.environ.get(variable))
                raise click.BadParameter(f"{error.message} {variable} says so.", error.ctx, error.param) from None
            names = [name for before, name in pairs if not before.startswith("-")]
            bare = [name for name in names if os.path.isfile(name)]  # noqa: PTH113 - Path's raises for a long text
            if bare and any(parameter.name == "train" and parameter.opts == ["--train"] for parameter in self.params):
                hint = f"Labelled data has an option: --train {bare[0]}"
                raise click.UsageError(f"{error.format_message()} {hint}", error.ctx) from None
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options by group, the common ones first."""
        for group in GROUPS:
            options = [
                p for p in self.get_params(ctx) if isinstance(p, click.Option) and getattr(p, "group", "") == group
            ]
            if options:
                with formatter.section(group.capitalize() or "Options"):
                    formatter.write_dl([p.get_help_record(ctx) or ("", "") for p in options], col_max=WIDEST)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the examples without wrapping their lines."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


class GroupedOption(click.Option):
    """An option that knows its group in --help, and whether it may be empty."""

    def __init__(self, *args: Any, group: str, may_be_empty: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        self.may_be_empty = may_be_empty or self.metavar == "TEXT"

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Refuse an empty value: `--shard "$SHARD"` with an unset variable would be read as no --shard at all."""
        if not self.may_be_empty and "" in (value if isinstance(value, list | tuple) else [value]):
            raise click.BadParameter("it is empty: give a value, or leave it out (is a variable not set?).", ctx, self)
        return super().type_cast_value(ctx, value)


def command(
    names: str, examples: str, extra: Sequence[click.Option] = (), **attributes: Any
) -> Callable[[Callable[[Messages, Any], int]], click.Command]:
    """Make a click command from a function: its name, and its docstring as the text of --help.

    names: the fields of its options class that the command offers, in the order of --help. extra: options after them.
    """

    def decorate(body: Callable[[Messages, Any], int]) -> click.Command:
        options = body.__annotations__["options"]

        def run(verbose: bool, quiet: bool, **values: Any) -> int:
            ctx = click.get_current_context()
            ctx.obj = messages = Messages(verbose, quiet)
            _warn_of_variables(ctx, messages)
            if hasattr(options, "text_first"):
                values["text_first"] = ctx.get_parameter_source("text_field") in NAMED
            return body(messages, options(**values))

        common = parameters(Common, "config verbose quiet")
        params = [*parameters(options, names), *extra, *common]
        return Command(body.__name__, callback=run, params=params, help=body.__doc__, epilog=examples, **attributes)

    return decorate


def parameters(options: type, names: str) -> list[click.Parameter]:
    """The named fields of a dataclass as click parameters."""
    fields = {field.name: field for field in dataclasses.fields(options)}
    return [_parameter(fields[name]) for name in names.split()]


def _parameter(field: dataclasses.Field[Any]) -> click.Parameter:
    """A click parameter of a field: a bool is a flag, a Literal a choice, a `tuple[str, ...]` may be repeated."""
    option: Option = field.metadata["option"]
    union = get_args(field.type) if get_origin(field.type) in (Union, UnionType) else (field.type,)
    (type_, *_) = [part for part in union if part is not NoneType]
    is_flag, many = type_ is bool, field.type == tuple[str, ...]
    attributes: dict[str, Any] = {"type": option.type or _type(type_, option)}
    if option.is_argument:
        attributes |= {"nargs": -1 if many else 1, "required": field.default is dataclasses.MISSING}
        attributes |= {"metavar": option.metavar, **option.more}
        return click.Argument([field.name], **attributes)
    if is_flag:
        attributes = {"is_flag": True}
    if field.default is dataclasses.MISSING:
        attributes["required"] = True
    elif is_flag or field.default not in (None, ()):
        attributes |= {"default": field.default, "show_default": not is_flag}
    text = option.text
    if option.package == "tasks":
        *names, last = sorted((registry.aliases("tasks", task) or [task])[0] for task in registry.names("tasks"))
        text = text.format(choices=f"{', '.join(names)} or {last}")
        attributes |= {"shell_complete": _complete_task, "show_default": False}
        attributes["callback"] = lambda ctx, param, alias: alias and registry.load("tasks", alias).Task.name
    elif option.metavar and isinstance(attributes.get("type"), click.Choice):  # more choices than a line takes
        text = f"{', '.join(attributes['type'].choices)}.  {text}"
    flags = option.flags.split()
    if not any(flag.startswith("--") for flag in flags):
        flags.append(f"--{field.name.replace('_', '-')}")
    if (option.metavar or "").rpartition("|")[2] in PATHS and not isinstance(option.type, click.Path):
        # The shell completes files and directories by itself, also where a Hub name may stand.
        attributes["shell_complete"] = lambda ctx, param, incomplete: [CompletionItem(incomplete, type="file")]
    metavar = option.metavar or {int: "N", float: "X"}.get(type_)
    attributes |= {"multiple": many, "metavar": metavar, "help": text, **option.more}
    return GroupedOption([field.name, *flags], group=option.group, **attributes)


def _type(type_: Any, option: Option) -> Any:
    """The click type of an option, from its field's type, choices and bounds."""
    if option.choices or get_origin(type_) is Literal:
        return click.Choice(option.choices or get_args(type_))
    if option.package and option.package != "tasks":
        auto = ["auto"] if option.package == "backends" else []
        return click.Choice([*auto, *registry.names(option.package)])
    lowest = option.least if option.above is None else option.above
    highest = option.most if option.below is None else option.below
    if lowest is None:
        return {int: int, float: Parsed("float", number)}.get(type_) or Parsed("text", _text)
    bounded: Any = Whole if type_ is int else Bounded
    return bounded(lowest, highest, min_open=option.above is not None, max_open=option.below is not None)


@dataclasses.dataclass(eq=False, repr=False)
class Parsed(click.ParamType[Any]):
    """A click type that calls a function on the value. The message of its ValueError is shown to the user.

    name: the metavar in --help, if the option has no other.
    """

    name: str
    parse: Callable[[Any], Any]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Call the function."""
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def number(value: Any) -> float:
    """A number. NaN is refused, because no bound would refuse it."""
    try:
        parsed = float(value)
    except ValueError:
        parsed = math.nan
    if math.isnan(parsed):
        raise ValueError(f"{value!r} is not a number.")
    return parsed


LARGEST = 2**31 - 1


class Whole(click.IntRange):
    """A whole number within bounds; where there is no upper one, what 32 bits hold, for libraries take no more."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, then look at the bounds."""
        whole = super().convert(value, param, ctx)
        if self.max is None and whole > LARGEST:
            self.fail(f"{whole} is not in the range x<={LARGEST}.", param, ctx)
        return whole


class Bounded(click.FloatRange):
    """A number within bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, then look at the bounds."""
        return super().convert(Parsed("float", number).convert(value, param, ctx), param, ctx)


def _text(value: Any) -> str:
    """Text in UTF-8, or the name of an existing file, in any bytes. A list of --config is joined by commas."""
    if isinstance(value, Mapping):
        raise ValueError(f"{value} is no text.")
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        if not os.path.lexists(text):
            shown = text.encode("utf-8", "backslashreplace").decode()
            raise ValueError(f"'{shown}' is no UTF-8 at character {error.start + 1}; write it in UTF-8.") from None
    return text


def _warn_of_variables(ctx: click.Context, messages: Messages) -> None:
    """Warn of BERTCLI_… variables that no option of any command reads, such as misspelt ones."""
    known = {name for parameter in ctx.command.params for name in parameter.envvar or ()} | OF_NO_OPTION
    others = sorted(name for name in os.environ if name.startswith("BERTCLI_") and name not in known)
    if not others:
        return
    # They may belong to other commands; only now are these imported.
    root = ctx.find_root()
    group = root.command
    assert isinstance(group, click.Group)
    commands = [command for name in group.list_commands(root) if (command := group.get_command(root, name))]
    for command in commands:
        if isinstance(command, click.Group):
            commands += command.commands.values()
        for parameter in command.params:
            known.update([parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or ())
    for name in others:
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.8)
            messages.warn(f"{name} sets no option" + (f"; did you mean {close[0]}?" if close else ""))


def _complete_task(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    tasks = registry.names("tasks")
    names = [*tasks, *(alias for task in tasks for alias in registry.aliases("tasks", task))]
    return [name for name in names if name.startswith(incomplete)]


def by_name(options: Any) -> dict[str, object]:
    """The options of the running command by name."""
    names = click.get_current_context().params
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def apply_config(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    """Callback of --config: the values of a YAML file become the defaults of the command's options.

    Keys are option names. A key that is a command's name holds options for that command alone. So the `bertcli.yaml` of
    a trained model is itself a config file. Flags and BERTCLI_… variables take precedence.
    """
    if path is None:
        return
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: the file must hold `option: value` lines.")
    commands = registry.names("cli/commands")
    # `cache`, `export` and `tokenizer` are also options of other commands; these have no mapping as their value.
    sections = {key: values[key] or {} for key in commands if isinstance(values.get(key, 0), Mapping | None)}
    special = sections.get(ctx.command_path.split()[1], {})  # of `bertcli tokenizer train` its group
    shared = {key: value for key, value in values.items() if key not in sections and key not in NOT_OPTIONS}
    others = [other for other in ctx.command.params if other is not param]
    known = {_key(flag): p for p in others for flag in [*p.opts, p.name or ""]}
    negated = {_key(flag): p for p in others for flag in p.secondary_opts}
    ctx.default_map = {}
    for section in (shared, special):
        names = Counter(_key(str(key)) for key in section)
        if twice := next((name for name in names if names[name] > 1), None):
            raise UsageError(f"{path}: '{twice}' is there twice, with - and with _; leave one.")
    for key, value in {**shared, **special}.items():
        name = _key(str(key))
        option = known.get(name) or negated.get(name)
        if option is None and key in commands:
            raise UsageError(f"{path}: '{key}' holds no options.")
        if option is None:
            close = get_close_matches(name, known | negated, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f". The options are: {', '.join(sorted(known))}."
            raise UsageError(f"{path}: unknown key '{key}'{hint}")
        if value is None:
            continue
        try:
            flag_value = getattr(option, "flag_value", None)
            if isinstance(flag_value, str) and name in map(_key, option.opts):  # as --json, which stands for a value
                if not click.BOOL.convert(value, option, ctx):
                    continue
                value = flag_value
            if name not in known:
                value = not click.BOOL.convert(value, option, ctx)
            takes_many = getattr(option, "multiple", False) or option.nargs == -1
            values_of = [value] if takes_many and not isinstance(value, list) else value
            option.type_cast_value(ctx, values_of)
        except click.BadParameter as error:
            raise click.BadParameter(f"{error.message} {path} says so.", ctx, option) from None
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{path}: '{key}' cannot be {value!r}; see --help") from error
        ctx.default_map[str(option.name)] = values_of


def _key(name: str) -> str:
    return name.lstrip("-").replace("_", "-")


def read_yaml(path: str) -> Any:
    """What a YAML or JSON file holds. Raises UsageError for one that cannot be read."""
    import yaml

    class Loader(yaml.SafeLoader):
        """All values but null are text, so that labels such as `no`, `01` and `1:30` stay; each option parses its own.

        A key that occurs twice is refused, where YAML's own loader takes the last.
        """

        yaml_implicit_resolvers = {  # noqa: RUF012 - as the class it extends
            first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            """Raises YAMLError for a name that is there twice."""
            names = [key.value for key, _ in node.value]
            if twice := [name for name in names if names.count(name) > 1]:
                raise yaml.YAMLError(f"'{twice[0]}' is there twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        hint = "`iconv -f ENCODING -t utf-8` makes it so"
        raise UsageError(f"{path}: not UTF-8 at byte {error.start + 1}; {hint}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())}).") from error


@dataclasses.dataclass(frozen=True)
class Common:
    """What every command has besides its own options."""

    config: str | None = option(
        None,
        "YAML file with defaults for these options.",
        "FILE",
        more={"expose_value": False, "is_eager": True, "callback": apply_config},
        group="data",
    )
    verbose: bool = option(
        False, "Say what is chosen and why, also when stderr is no terminal.", flags="-v", group="output"
    )
    quiet: bool = option(False, "Say nothing but errors.", flags="-q", group="output")
