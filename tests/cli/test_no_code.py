"""A model's own code never runs: not for a `y` in the data, not for one typed, not for any variable."""

import ast
import builtins
import io
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bertcli import pretrained
from bertcli.cli.main import run
from bertcli.errors import ModelError

PACKAGE = Path(pretrained.__file__).parent
CODE = """
from pathlib import Path
Path({trace!r}).touch()
from transformers import BertConfig, BertModel, BertTokenizer
class Config(BertConfig): model_type = "evil"
class Model(BertModel): config_class = Config
class Tokenizer(BertTokenizer): pass
"""
HEADS = (
    "",
    "SequenceClassification",
    "TokenClassification",
    "QuestionAnswering",
    "MaskedLM",
    "PreTraining",
    "CausalLM",
)
MODELS = {f"AutoModel{'For' + head if head else ''}": "evil.Model" for head in HEADS}
MAPS = {
    "config.json": {"AutoConfig": "evil.Config", "AutoTokenizer": ["evil.Tokenizer", None], **MODELS},
    "tokenizer_config.json": {"AutoTokenizer": ["evil.Tokenizer", None]},
    "generation_config.json": {"AutoConfig": "evil.Config"},
    "processor_config.json": {"AutoProcessor": "evil.Config"},
}
LOADING = (".from_pretrained", ".from_config", "pipeline", "SentenceTransformer")
TRUSTING = dict.fromkeys(
    ("TRUST_REMOTE_CODE", "HF_HUB_TRUST_REMOTE_CODE", "TRANSFORMERS_TRUST_REMOTE_CODE", "HF_TRUST_REMOTE_CODE",
     "HF_DATASETS_TRUST_REMOTE_CODE", "BERTCLI_TRUST_REMOTE_CODE"), "1",
)  # fmt: skip
COMMANDS = {
    "predict": "predict -m DIR texts.txt",
    "predict from stdin": "predict -m DIR",
    "predict in torch": "predict -m DIR --backend pytorch texts.txt",
    "info": "info -m DIR",
    "explain": "explain -m DIR good",
    "finetune": "finetune -m DIR --train train.tsv -o out",
    "check": "check -m DIR train.tsv",
    "evaluate": "evaluate -m DIR train.tsv",
    "compare": "evaluate train.tsv --compare DIR",
    "calibrate": "calibrate -m DIR train.tsv -o out",
    "pretrain": "pretrain texts.txt -m DIR -o out",
    "pretrain's tokenizer": "pretrain texts.txt --tokenizer DIR -o out",
    "export": "export DIR --calibrate texts.txt",
    "bench": "bench -m DIR texts.txt",
}


@pytest.fixture
def evil(tiny_model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A model directory whose file (the parameter) names code in evil.py, which leaves a trace."""
    path = tmp_path / "evil"
    shutil.copytree(tiny_model, path)
    name = getattr(request, "param", "config.json")
    file = path / name
    values = json.loads(file.read_text()) if file.is_file() else {}
    if name == "config.json":
        values["model_type"] = "evil"  # a family that transformers does not have, so that the code would be needed
    file.write_text(json.dumps(values | {"auto_map": MAPS[name]}))
    (path / "evil.py").write_text(CODE.format(trace=str(tmp_path / "trace")))
    (tmp_path / "texts.txt").write_text("y\ny\ngood film\n")
    (tmp_path / "train.tsv").write_text("text\tlabel\ny\ta\nn\tb\n")
    return path


def arguments(name: str) -> list[str]:
    return ["evil" if word == "DIR" else word for word in COMMANDS[name].split()]


@pytest.mark.parametrize(
    ("name", "evil"),
    [
        *((name, file) for name in COMMANDS for file in ("config.json", "tokenizer_config.json")),
        *(("info", file) for file in ("generation_config.json", "processor_config.json")),
    ],
    indirect=["evil"],
)
def test_no_command_runs_it_or_asks(
    evil: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(evil.parent)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"y\n" * 20)))
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("somebody asks"))
    for variable, value in TRUSTING.items():
        monkeypatch.setenv(variable, value)
    assert run(arguments(name)) == 2
    said = capsys.readouterr()
    assert "evil: " in said.err and "auto_map" in said.err and "never runs" in said.err
    assert not said.out and not (evil.parent / "trace").exists()


@pytest.mark.parametrize("name", ["predict from stdin", "info", "check"])
@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "typed"])
def test_a_yes_is_data(evil: Path, name: str, terminal: bool) -> None:
    command = [sys.executable, "-m", "bertcli", *arguments(name)]
    environment = {**os.environ, **TRUSTING, "HF_HUB_OFFLINE": "1"}
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"y\ny\n\x04")
        source = {"stdin": theirs} if terminal else {"input": b"y\ny\n"}
        done = subprocess.run(
            command, cwd=evil.parent, env=environment, capture_output=True, timeout=60, check=False, **source
        )  # type: ignore[call-overload]
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2 and not done.stdout and b"auto_map" in done.stderr
    assert not (evil.parent / "trace").exists()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("evil", ["config.json"], indirect=True)
def test_each_class_refuses_it_even_where_nobody_looked_before(
    evil: Path, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "read_configs", lambda directory: {})
    monkeypatch.setattr(builtins, "input", lambda *_: "y")
    with pytest.raises(ModelError, match="custom code"):
        pretrained.open_config(evil)
    with pytest.raises(ModelError, match="custom code"):
        pretrained.open_module(evil, head)
    pretrained.open_tokenizer(evil)  # transformers has a class for it
    config = pretrained.make_config(model_type="bert", vocab_size=30, hidden_size=32, num_attention_heads=2)
    config.auto_map = MAPS["config.json"]
    pretrained.new_module(config, head)
    assert not (evil.parent / "trace").exists()


def test_a_shape_of_ones_own_brings_no_code_either(
    evil: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(evil.parent)
    assert run("pretrain texts.txt --model-config evil/config.json --vocab-size 21 -o out".split()) == 2
    assert "auto_map" in capsys.readouterr().err and not (evil.parent / "trace").exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_from_the_hub_is_code(tiny_model: Path, tmp_path: Path, key: str) -> None:
    path = tmp_path / "model"
    shutil.copytree(tiny_model, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {key: "somebody/kernel"}))
    with pytest.raises(ModelError, match="names code on the Hub"):
        pretrained.open_config(path)


def test_one_file_calls_transformers_and_each_call_refuses() -> None:
    callers, explicit = set(), 0
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and ("Auto" in called or called.endswith(LOADING)):
                callers.add(file.name)
                stars = {ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg is None}
                explicit += bool(stars & {"LOCAL", "REFUSING"})
                assert stars & {"LOCAL", "REFUSING"} or called.endswith("for_model"), called
    assert callers == {"pretrained.py"} and explicit == 4
    assert pretrained.LOCAL["trust_remote_code"] is False and pretrained.REFUSING["trust_remote_code"] is False
