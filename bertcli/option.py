"""A field of a settings class that the command line may offer: its default, its text in --help, and its bounds.

So a setting is written once, beside the code that reads it. Knows neither click nor a command: cli/options.py makes
options of the fields that a command names.
Try: python -c "from bertcli.training.settings import Settings; print(Settings.__dataclass_fields__['lr'].metadata)"
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
REQUIRED: Any = MISSING  # in place of a default
GROUPS = ("", "what", "data", "model", "training", "output")  # of --help, in its order; "" is its first screen


@dataclass(frozen=True)
class Option:
    """What the command line needs to know of a field, besides its name, type and default.

    text: the sentence in --help. group: the section of --help, one of GROUPS; "" is for what nine of ten users need.
    flags: a short flag, or a long one in place of `--field-name`. choices: the allowed values, if the type is no
    Literal. package: the folder ("tasks") whose modules are the choices. least, most: inclusive bounds. above, below:
    exclusive bounds. is_argument: whether it is positional. type: the click type, if the field's type does not say how
    text is read. more: further arguments of click.Option.
    """

    text: str = ""
    metavar: str | None = None
    flags: str = ""
    group: str = ""
    choices: Sequence[str] = ()
    package: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    is_argument: bool = False
    type: Any = None
    more: Mapping[str, object] = field(default_factory=dict)


def option(default: T, text: str = "", metavar: str | None = None, **how: Any) -> T:
    """A dataclass field that a command may offer as an option. how: fields of Option."""
    made: T = field(default=default, metadata={"option": Option(text, metavar, **how)})
    return made


def like(settings: type, name: str, default: Any = None) -> Any:
    """The same option as a field of another class, with that default unless another is given."""
    other = settings.__dataclass_fields__[name]  # type: ignore[attr-defined]
    return field(default=other.default if default is None else default, metadata=other.metadata)
