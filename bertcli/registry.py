"""Tasks, backends and commands, found by the names of their files; listing them imports none of them.

A new folder in tasks/, or a new file in backends/ or cli/commands/, is a new choice, with no edit here. Knows no task,
backend or command by name.

    python -c 'from bertcli import registry; print(registry.names("tasks"))'
"""

import ast
import re
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType

from bertcli.errors import UsageError

PACKAGE = Path(__file__).parent


def names(folder: str) -> list[str]:
    """The choices that a package holds, sorted: `tasks/fill_mask/` is listed as `fill-mask`.

    folder: the package as a path below bertcli/, as "tasks" or "cli/commands".
    """
    return sorted(_modules(folder))


def load(folder: str, name: str) -> ModuleType:
    """Import the module of that name or alias (its ALIASES). Raises UsageError with the choices."""
    modules = _modules(folder)
    if name in modules:
        return import_module(modules[name])
    # Only a name that matches no file makes all modules be imported, for their aliases.
    for module in map(import_module, modules.values()):
        if name in getattr(module, "ALIASES", ()):
            return module
    close = get_close_matches(name, modules, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    choices = ", ".join(sorted(modules))
    raise UsageError(f"no {folder[:-1]} is called '{name}'.{hint} The {folder} are: {choices}.")


def aliases(folder: str, name: str) -> list[str]:
    """The ALIASES of a choice, read from its file, because --help and completion must not wait for an import."""
    path = PACKAGE / folder / name.replace("-", "_")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    stated = re.search(r"^ALIASES = (\(.*?\))", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return list(ast.literal_eval(stated[1])) if stated else []


def _modules(folder: str) -> dict[str, str]:
    """Each choice with its module, {"fill-mask": "bertcli.tasks.fill_mask"}.

    If a package has folders, they are its choices, and the files beside them are shared; else its files are.
    """
    entries = sorted((PACKAGE / folder).iterdir())
    folders = [entry.name for entry in entries if not entry.suffix and (entry / "__init__.py").is_file()]
    files = [entry.stem for entry in entries if entry.suffix == ".py"]
    choices = [name for name in folders or files if not name.startswith("_")]
    package = f"bertcli.{folder}".replace("/", ".")
    return {choice_of(name): f"{package}.{name}" for name in choices}


def choice_of(module: str) -> str:
    """The choice that a module is: `fill-mask` for `bertcli.tasks.fill_mask`."""
    return module.rpartition(".")[2].replace("_", "-")
