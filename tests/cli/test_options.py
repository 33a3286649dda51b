"""Commands and their options classes: what is written is offered, what is offered is read, and mypy sees each name."""

import ast
import dataclasses
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bertcli import registry
from bertcli.cli.commands.finetune import names, weights
from bertcli.cli.main import cli, run
from bertcli.cli.options import command, parameters, read_yaml
from bertcli.cli.terminal import Messages
from bertcli.errors import UsageError
from bertcli.option import GROUPS, option

PACKAGE = Path(__file__).parents[2] / "bertcli"
PARSED = {file: ast.parse(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py")}


def commands() -> dict[str, tuple[click.Command, type]]:
    """Each command that has options of its own, with the class of them."""
    found: dict[str, tuple[click.Command, type]] = {}
    for name in registry.names("cli/commands"):
        module = import_module(f"bertcli.cli.commands.{name}")
        for value in vars(module).values():
            if dataclasses.is_dataclass(value) and value.__module__ == module.__name__:
                made = cli.get_command(click.Context(cli), name)
                if isinstance(made, click.Group):
                    made = made.get_command(click.Context(made), value.__name__.lower())
                found[name] = (made, value)
    return found


COMMANDS = commands()
ALL = pytest.mark.parametrize("name", COMMANDS)


def offered(name: str) -> set[str]:
    return {parameter.name for parameter in COMMANDS[name][0].params} - {"config", "verbose", "quiet", "help"}


def written(options: type) -> dict[str, type]:
    """The options that the command line itself defines, each with the class whose body has it."""
    classes = [base for base in options.__mro__ if base.__module__.startswith("bertcli.cli.")]
    return {name: base for base in reversed(classes) for name in vars(base).get("__annotations__", {})}


def read_in(files: list[Path]) -> set[str]:
    """Attributes that are read in these files."""
    nodes = [node for file in files for node in ast.walk(PARSED[file])]
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


def test_every_command_but_completion_has_a_class_of_options() -> None:
    assert sorted({*COMMANDS, "completion"}) == registry.names("cli/commands")


@ALL
def test_every_field_that_a_command_defines_is_one_of_its_parameters(name: str) -> None:
    assert written(COMMANDS[name][1]).keys() <= offered(name)


@ALL
def test_every_parameter_is_a_field(name: str) -> None:
    assert offered(name) <= {field.name for field in dataclasses.fields(COMMANDS[name][1])}


@ALL
def test_every_option_that_a_command_defines_is_read_by_the_command_line(name: str) -> None:
    """What no class of the library obeys, the command's own file or one that commands share has to read."""
    options = COMMANDS[name][1]
    library = {
        field.name
        for base in options.__mro__
        if dataclasses.is_dataclass(base) and not base.__module__.startswith("bertcli.cli.")
        for field in dataclasses.fields(base)
    }
    unread = {"question"} if name == "check" else set()  # is taken, and changes nothing
    files = [PACKAGE / "cli" / "commands" / f"{name}.py", *(PACKAGE / "cli").glob("*.py")]
    assert offered(name) - library - unread <= read_in(files)


@ALL
def test_every_option_of_the_library_is_read_in_it(name: str) -> None:
    assert offered(name) <= read_in([file for file in PARSED if not file.name.endswith("options.py")])


@ALL
@pytest.mark.parametrize("width", [80, 100])
def test_what_most_users_need_is_on_the_first_screen_of_help(name: str, width: int) -> None:
    words = [name, "train"] if name == "tokenizer" else [name]
    lines = CliRunner().invoke(cli, [*words, "--help"], terminal_width=width).output.splitlines()
    headings = {line[:-1]: i for i, line in enumerate(lines) if line[:1].isupper() and line.endswith(":")}
    titles = ["Options", *(group.capitalize() for group in GROUPS if group), "Examples"]
    assert [*headings] == [title for title in titles if title in headings] and len(headings) > 2
    assert max(map(len, lines[: headings["Examples"]])) <= width
    assert sorted(headings.values())[1] <= 30


def test_the_type_of_a_field_says_how_it_is_read() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        names: tuple[str, ...] = option((), "Names.")
        share: float | None = option(None, "A share.", above=0, most=1)
        fast: bool = option(False, "Fast.")

    seen: list[Any] = []

    @command("names share fast", "bertcli toy")
    def toy(messages: Messages, options: Options) -> int:
        """Toy."""
        seen.append((messages, options))
        return 0

    done = CliRunner().invoke(toy, ["--names", "a", "--names", "b", "--share", "0.5", "-q"])
    assert (done.exit_code, seen) == (0, [(Messages(quiet=True), Options(names=("a", "b"), share=0.5))])
    assert "0<x<=1" in CliRunner().invoke(toy, ["--share", "0"]).output
    with pytest.raises(KeyError, match="nams"):
        parameters(Options, "nams share")


def test_numbers_that_libraries_cannot_hold_are_refused() -> None:
    pretrain, finetune = "pretrain x --output y", "finetune --train x --output y"
    for line, number in (
        (f"{pretrain} --steps", 2**31),
        (f"{pretrain} --vocab-size", 10**7 + 1),
        (f"{finetune} --epochs", 10**20),
        (f"{finetune} --seed", 2**64),
        ("predict --threads", 2**31),
        ("tokenizer train x --output y --vocab-size", 10**10),
    ):
        done = CliRunner().invoke(cli, [*line.split(), str(number)])
        assert (done.exit_code, f"{number} is not in the range" in done.output) == (2, True), line


def test_no_option_is_nan_which_no_bound_refuses() -> None:
    for line in (
        "predict --threshold nan",
        "predict --null-threshold NaN",
        "predict --max-wait-ms nan",
        "evaluate --null-threshold nan",
        "calibrate --exit-loss nan",
        "finetune --train x --output y --teacher-temperature nan",
        "pretrain x --output y --mask-rate nan",
        "pretrain x --output y --lengths 128:nan",
    ):
        done = CliRunner().invoke(cli, line.split())
        assert (done.exit_code, "nan" in done.output.lower()) == (2, True), line


def test_an_option_that_does_nothing_without_another_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    finetune = f"finetune --train {__file__} --output y"
    for line, needed in (
        ("predict --address ray:6379", "--address does nothing without --engine ray."),
        ("evaluate --id-field id", "--id-field does nothing without --predictions."),
        ("evaluate --prediction-field x", "--prediction-field does nothing without --predictions."),
        (f"{finetune} --teacher-weight 1", "--teacher-weight does nothing without --teacher."),
        (f"{finetune} --exit-loss 1", "--exit-loss does nothing without --exit-after."),
    ):
        assert run(line.split()) == 2
        assert capfd.readouterr().err == f"bertcli: {needed}\n"


@pytest.mark.parametrize(
    "line",
    ["predict --shard", "predict --columns", "predict -m", "evaluate --predictions", "evaluate --compare",
     "evaluate --fail-under", "evaluate --map-labels", "calibrate --target",
     "finetune --train x -o", "pretrain x -o y --tokenizer"],
)  # fmt: skip
def test_an_empty_value_is_not_as_left_out(line: str) -> None:
    done = CliRunner().invoke(cli, [*line.split(), ""])
    assert done.exit_code == 2
    assert "it is empty: give a value, or leave it out" in done.output


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("threads: 0", "Error: Invalid value for '--threads': 0 is not in the range x>=1. c.yaml says so."),
        ("no-exit: maybe", "c.yaml says so."),
        ("config: d.yaml", "bertcli: c.yaml: unknown key 'config'"),
    ],
)
def test_what_is_wrong_in_a_config_file_is_named_by_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(line)
    assert run(["predict", "--config", "c.yaml"]) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("command", "line", "said"),
    [
        (["finetune", "--train", "t", "-m", "m", "-o", "o"], "export: perhaps", "'perhaps' is not a valid boolean."),
        (["finetune", "--train", "t", "-m", "m", "-o", "o"], "cache: [a, b]", "'cache' cannot be ['a', 'b']"),
        (["pretrain", "t", "-o", "o"], "tokenizer: {a: b}\nsteps: x", "'--steps': 'x' is not"),
        (["pretrain", "t", "-o", "o"], "tokenizer: nowhere", "'nowhere' is neither a directory nor a model"),
        (["predict"], "info: x", "c.yaml: 'info' holds no options."),
    ],
)
def test_options_in_a_config_file_may_be_called_as_commands_are(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    command: list[str],
    line: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(line)
    Path("t").write_text("a plot\n")
    assert run([*command, "--config", "c.yaml"]) == 2
    assert said in capfd.readouterr().err


def test_what_is_wrong_in_the_environment_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BERTCLI_PREDICT_THREADS", "")
    monkeypatch.setenv("BERTCLI_THREADS", "all")
    monkeypatch.setenv("BERTCLI_DEBUG", "0")
    assert run(["predict"]) == 2
    said = "Error: Invalid value for '--threads': 'all' is not a valid integer range. BERTCLI_THREADS says so."
    assert capfd.readouterr().err.splitlines()[-1] == said
    monkeypatch.delenv("BERTCLI_THREADS")
    assert run(["predict", "missing.txt"]) == 2
    assert capfd.readouterr().err == "bertcli: cannot read missing.txt: No such file or directory\n"


def test_values_of_a_config_file_are_the_text_that_stands_there(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("labels: [01, 1.10, 1:30, 1_0, 0x1f, no, 2026-01-02]\npair-field:\nx: {007: ~}\n", encoding="utf-8")
    texts = ["01", "1.10", "1:30", "1_0", "0x1f", "no", "2026-01-02"]
    assert read_yaml(str(file)) == {"labels": texts, "pair-field": None, "x": {"007": None}}


def test_a_name_that_a_config_file_has_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("base: &a {lr: 1}\nmore: {<<: *a, lr: 2}\n", encoding="utf-8")
    assert read_yaml(str(file))["more"] == {"lr": "2"}
    file.write_text("epochs: 3\nlr: 1\nepochs: 10\n", encoding="utf-8")
    with pytest.raises(UsageError, match="'epochs' is there twice"):
        read_yaml(str(file))


def test_a_name_that_a_config_file_has_in_two_spellings_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("top_k: 2\ntop-k: 3\n", encoding="utf-8")
    Path("a.txt").write_text("good\n", encoding="utf-8")
    assert run(["predict", "a.txt", "--config", "c.yaml"]) == 2
    assert capfd.readouterr().err == "bertcli: c.yaml: 'top-k' is there twice, with - and with _; leave one.\n"
    Path("c.yaml").write_text("top_k: 2\npredict: {top-k: 3}\n", encoding="utf-8")
    assert run(["predict", "a.txt", "--config", "c.yaml"]) == 0
    assert len(json.loads(capfd.readouterr().out)["top"]) == 3


def test_class_weights_are_numbers_of_names() -> None:
    assert weights("balanced") == "balanced"
    assert weights("a=b = 2, neg=0") == weights({"a=b": "2", "neg": 0}) == {"a=b": 2.0, "neg": 0.0}
    assert weights({0: 2}) == {"0": 2.0}
    for wrong in ("", "pos", "2.5", "pos=-1", "pos=nan", "pos=inf", {"pos": "x"}):
        with pytest.raises(ValueError, match="is neither `balanced` nor LABEL=NUMBER,…, each number 0 or more"):
            weights(wrong)


def test_labels_are_different_names() -> None:
    assert names(" neg, pos ") == names(["neg", "pos "]) == ("neg", "pos")
    for wrong in ("", "neg,,pos", "neg,pos, neg", ["a", ""]):
        with pytest.raises(ValueError, match="has an empty name, or one twice"):
            names(wrong)
