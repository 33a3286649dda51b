"""What the README and the help's examples say is true: outputs as printed, options that exist, files that are there."""

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bertcli import registry
from bertcli.cli.main import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATORS = ("|", ">", "<", "&&", ";")


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [body for name, body in found if name == language]


def transcripts() -> list[tuple[str, str]]:
    """Commands of the console blocks, each with what it prints."""
    parts = [part for block in blocks("console") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


def rounded(text: str) -> str:
    """Scores to two digits: the last ones depend on the processor."""
    return re.sub(r"0\.\d+", lambda match: f"{float(match[0]):.2f}", text)


@pytest.mark.parametrize(("command", "printed"), transcripts())
def test_a_command_prints_what_the_readme_shows(command: str, printed: str) -> None:
    shell = f'bertcli() {{ "{sys.executable}" -m bertcli "$@"; }}\n{command}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=False)
    assert rounded(done.stdout) == rounded(printed)


def examples() -> list[str]:
    """Command lines of the README's shell blocks and of each command's help."""
    helps = [import_module(f"bertcli.cli.commands.{name}").EXAMPLES for name in registry.names("cli/commands")]
    lines = "\n".join([*blocks("sh"), *helps]).splitlines()
    return [line.split("#")[0].strip() for line in lines if "bertcli " in line]


@pytest.mark.parametrize("line", examples())
def test_an_example_names_commands_and_options_that_exist(line: str) -> None:
    words = shlex.split(line.replace('"$(', "").replace(')"', ""))
    place = words.index("bertcli") + 1
    end = next((i for i, word in enumerate(words) if i > place and word in OPERATORS), len(words))
    name, *arguments = words[place:end]
    command = cli.get_command(click.Context(cli), name)
    if isinstance(command, click.Group):
        command = command.get_command(click.Context(command), arguments.pop(0))
    assert command is not None
    parser = command.make_parser(click.Context(command))
    parser.parse_args(arguments)


def test_the_tree_names_what_is_there() -> None:
    (tree,) = (block for block in blocks("") if block.startswith("bertcli/"))
    for line in tree.splitlines()[1:]:
        name = line.split()[0]
        if re.fullmatch(r"[\w.]+/?", name) and not line.startswith("   ") and ("." in name or name.endswith("/")):
            assert any((ROOT / folder / name).exists() for folder in ("bertcli", ".")), name


def test_help_lists_each_command_with_what_it_does() -> None:
    listed = " ".join(CliRunner().invoke(cli, ["--help"]).output.split("Commands:")[1].split())
    for name in registry.names("cli/commands"):
        module = import_module(f"bertcli.cli.commands.{name}")
        summary = str(module.__doc__).removeprefix(f"bertcli {name}: ").removesuffix(".")
        assert f"{name} {summary}" in listed
