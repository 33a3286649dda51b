"""Tasks, backends and commands, found by the names of their files; listing them imports none of them.

A new file in tasks/ or backends/ is a new choice of --task or --backend, with no edit here.
Try: python -c "from bertcli import registry; print(registry.names('tasks'))"
"""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType

from bertcli.errors import UsageError

PACKAGE = Path(__file__).parent


def names(kind: str) -> list[str]:
    """The public names in a package: `tasks/fill_mask.py` is listed as `fill-mask`."""
    files = (PACKAGE / kind).glob("[!_]*.py")
    return sorted(file.stem.replace("_", "-") for file in files if file.stem != "base")


def load(kind: str, name: str) -> ModuleType:
    """Import the module of that name (or, for tasks, of that alias). Raises UsageError with the choices."""
    known = names(kind)
    if name not in known:
        name = _by_alias(kind, name) or _unknown(kind, name, known)
    return _module(kind, name)


def _module(kind: str, name: str) -> ModuleType:
    return import_module(f"bertcli.{kind}.{name}".replace("/", ".").replace("-", "_"))


def _by_alias(kind: str, alias: str) -> str | None:
    # Modules are imported here only after the name matched no file, so that the usual path stays light.
    for name in names(kind):
        if alias in getattr(_module(kind, name), "ALIASES", ()):
            return name
    return None


def _unknown(kind: str, name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise UsageError(f"no {kind[:-1]} is called '{name}'.{hint} The {kind} are: {', '.join(known)}.")
