"""Finding a model and saying what is wrong with one; choosing a device and a backend for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from bertcli import device, model, registry
from bertcli.errors import ModelError, UsageError
from bertcli.inference.session import Request, choose_backend, task_of
from bertcli.model import Model


def make(path: Path, *files: str, **config: Any) -> Model:
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return model.read(path)


def test_labels_are_in_the_order_of_their_ids_not_of_the_file(tmp_path: Path) -> None:
    assert make(tmp_path, id2label={"10": "k", "2": "c", "0": "a"}).labels == ["a", "c", "k"]


def test_the_task_is_read_from_the_architecture(tmp_path: Path) -> None:
    assert task_of(make(tmp_path, architectures=["RobertaForSequenceClassification"])) == "text-classification"


def test_an_architecture_without_a_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no task fits its architecture \(BertForNextSentencePrediction\)"):
        task_of(make(tmp_path, architectures=["BertForNextSentencePrediction"]))


def test_a_model_is_named_as_people_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its directory, not by the digest of a snapshot, nor by the task of the embedded one."""
    snapshot = tmp_path / "models--google-bert--bert-base" / "snapshots" / "86b5e0934494"
    assert Model(snapshot, {}).name == "google-bert/bert-base"
    assert [Model(tmp_path / path, {}).name for path in ("mine", "snapshots/mine")] == ["mine", "mine"]
    assert model.resolve(None).name == "the embedded model"
    monkeypatch.chdir(tmp_path)
    assert Model(Path(), {}).name == tmp_path.name


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no config.json"), ("{", "cannot be read"), ("[]", "not a JSON object"), ("\udcff", "cannot be read")],
)
def test_a_directory_that_is_no_model_is_a_model_error(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=message):
        model.resolve(str(tmp_path))


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"pickle \(pytorch_model.bin\).*save_pretrained"):
        make(tmp_path, "pytorch_model.bin").require_weights()


def test_missing_weights_are_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        make(tmp_path).require_weights()


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ModelError, match="is a file"):
        model.resolve(str(tmp_path / "model.onnx"))


@pytest.mark.parametrize("name", ["nobody/nothing", "no such/dir/at all", "../missing"])
def test_a_name_that_is_nowhere_is_a_model_error_offline(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="neither a directory nor a model on the Hub"):
        model.resolve(name)


def test_no_model_is_embedded_for_a_task_that_has_none() -> None:
    with pytest.raises(ModelError, match="no model is embedded for fill-mask; name one with -m"):
        model.resolve(None, "fill-mask")


ONNX, WEIGHTS = "onnx/model_quantized.onnx", "model.safetensors"
CPU = device.Device("cpu", 2, "no GPU")


@pytest.mark.parametrize(
    ("files", "request_", "backend", "type_"),
    [
        ([ONNX], Request(), "onnx", "cpu"),
        ([WEIGHTS], Request(), "pytorch", "cpu"),
        ([ONNX, WEIGHTS], Request(), "onnx", "cpu"),
        ([ONNX, WEIGHTS], Request(precision="bf16"), "pytorch", "cpu"),
        ([ONNX, WEIGHTS], Request(backend="pytorch"), "pytorch", "cpu"),
        ([WEIGHTS], Request(backend="onnx"), "onnx", "cpu"),
    ],
)
def test_choice_of_the_backend_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], request_: Request, backend: str, type_: str
) -> None:
    monkeypatch.setattr(device, "_may_have_gpu", lambda: False)
    name, _, chosen = choose_backend(make(tmp_path, *files), request_, "")
    assert (name, chosen.type) == (backend, type_)


def test_a_gpu_takes_torch_where_the_model_has_weights_and_onnx_where_it_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(device, "_works", lambda name: name == "cuda")
    (tmp_path / "a").mkdir()
    assert choose_backend(make(tmp_path / "a", ONNX, WEIGHTS), Request(), "")[0::2] == (
        "pytorch",
        device.Device("cuda", device.cores(), "cuda is available"),
    )
    (tmp_path / "b").mkdir()
    name, why, chosen = choose_backend(make(tmp_path / "b", ONNX), Request(), "")
    assert (name, why, chosen.type) == ("onnx", "the model has only ONNX files", "cpu")


def test_a_device_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="device 'cuda' is not available"):
        device.choose("cuda")


@pytest.mark.parametrize(
    ("quota", "count"),
    [("max 100000", 4), ("250000 100000", 3), ("10000 100000", 1), ("900000 100000", 4), ("", 4), (None, 4)],
)
def test_a_container_uses_no_more_cores_than_its_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, count: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(4), raising=False)
    monkeypatch.setattr(device, "QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert device.cores() == count


def test_names_and_aliases_of_tasks() -> None:
    assert "text-classification" in registry.names("tasks")
    assert registry.load("tasks", "sentiment") is registry.load("tasks", "text-classification")
    with pytest.raises(UsageError, match="Did you mean 'text-classification'"):
        registry.load("tasks", "text-clasification")


@pytest.mark.parametrize("name", registry.names("tasks"))
def test_a_task_file_holds_a_task_of_that_name(name: str) -> None:
    assert registry.load("tasks", name).Task.name == name


@pytest.mark.parametrize("name", registry.names("backends"))
def test_a_backend_file_holds_a_backend_of_that_name(name: str) -> None:
    assert registry.load("backends", name).Backend.name == name


def test_the_embedded_model_fits_its_promise_and_names_no_place_on_a_disk() -> None:
    path = model.resolve(None).path
    files = [file for file in path.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 35_000_000
    card = (path / "README.md").read_text(encoding="utf-8")
    for part in ("license: mit", "ChnSentiCorp", "bertcli finetune -t classify --train", "| SST-2 dev"):
        assert part in card
    for file in files:
        assert b"site-packages" not in file.read_bytes(), file


def test_an_onnx_file_of_another_name_is_named_with_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ModelError, match=r"bertcli reads onnx/.* there is model.onnx"):
        model.read(tmp_path).require_weights()
