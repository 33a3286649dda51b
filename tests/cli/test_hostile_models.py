"""Model directories that lie, or are half there: exit 2 with file, key and value; nothing outside them is touched."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

import bertcli
from bertcli.cli.main import run
from bertcli.errors import ModelError
from bertcli.model import Model, read, resolve

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 133466304\n"
Refused = Callable[..., str]


@pytest.fixture(scope="session")
def classifier(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder with a head for three classes."""
    path = tmp_path_factory.mktemp("models") / "classifier"
    shutil.copytree(tiny_model, path)
    torch.manual_seed(0)
    names = {0: "a", 1: "b", 2: "c"}
    config = transformers.BertConfig.from_pretrained(tiny_model, id2label=names, num_labels=3)
    transformers.BertForSequenceClassification(config).save_pretrained(path)
    return path


@pytest.fixture
def model(classifier: Path, tmp_path: Path) -> Path:
    shutil.copytree(classifier, tmp_path / "models" / "evil")
    (tmp_path / "texts.txt").write_text("good film\nbad film\n")
    return tmp_path / "models" / "evil"


@pytest.fixture
def refused(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """What a command says that refuses the model with exit code 2."""
    monkeypatch.chdir(model.parent.parent)

    def refused(arguments: str = "predict -m DIR texts.txt") -> str:
        code = run([str(model) if word == "DIR" else word for word in arguments.split()])
        said = capsys.readouterr()
        assert code == 2, (code, said.err)
        assert "internal error" not in said.err and not said.out
        return said.err

    return refused


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("id2label", ["a", "b"], "id2label is ['a', 'b'], not an object"),
        ("id2label", {"zero": "a"}, "id2label has the key 'zero'"),
        ("id2label", {"0": "a", "1": None}, "id2label has None for 1"),
        ("id2label", {"0": "a", "00": "b", "1": "c"}, "an id twice"),
        ("num_labels", 10**12, "num_labels is 1000000000000"),
        ("num_labels", "3", "num_labels is '3', not a whole number"),
        ("architectures", "BertForSequenceClassification", "not a list"),
        ("architectures", [5], "architectures is [5]"),
        ("max_position_embeddings", "many", "max_position_embeddings is 'many'"),
        ("max_position_embeddings", 2, "takes 2 tokens at most"),
        ("pad_token_id", [0], "pad_token_id is [0]"),
        ("vocab_size", 10**12, "vocab_size is 1000000000000"),
        ("vocab_size", 20, "some with ids over the 20 that the model has"),
        ("vocab_size", 27, "some with ids over the 27 that the model has"),
        ("hidden_size", "32", "hidden_size is '32'"),
        ("num_hidden_layers", 10**9, "num_hidden_layers is 1000000000"),
        ("problem_type", "odd", "problem_type is 'odd'"),
        ("calibration", [1], "calibration is [1]"),
        ("calibration", {"temperature": "x"}, "temperature 'x'"),
        ("calibration", {"thresholds": [0.5]}, "thresholds [0.5] are not a number a label"),
        ("calibration", {"thresholds": {"a": "x"}}, "thresholds {'a': 'x'} are not a number a label"),
        ("model_type", 5, "model_type is 5"),
        ("model_type", "nonesuch", "nonesuch"),
        ("num_attention_heads", 0, "evil"),
        ("hidden_act", "evil_act", "evil_act"),
        ("layer_norm_eps", "x", "evil"),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}, "quantization_config says"),
        ("transformers_weights", "../other.safetensors", "names '../other.safetensors'"),
        ("transformers_weights", "pytorch_model.bin", "no safetensors"),
        ("configuration_files", ["config.4.0.0.json", "../config.4.0.0.json"], "names '../config.4.0.0.json'"),
    ],
)
def test_a_bad_value_of_config_json_is_named(model: Path, refused: Refused, key: str, value: Any, said: str) -> None:
    change(model / "config.json", **{key: value})
    assert said in refused()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "[]", '"text"', "[" * 100_000, '{"a": 1', "\0", LFS])
def test_a_config_that_is_no_object_is_named(model: Path, refused: Refused, name: str, content: str) -> None:
    (model / name).write_text(content)
    assert name in refused() and name in refused("info -m DIR")


@pytest.mark.parametrize("value", ["x", [], -5, 1, True])
def test_a_bad_length_of_the_tokenizer_is_named(model: Path, refused: Refused, value: Any) -> None:
    change(model / "tokenizer_config.json", model_max_length=value)
    said = refused()
    assert "model_max_length" in said or "tokens at most" in said


def test_nan_and_infinity_are_no_lengths(model: Path, refused: Refused, capsys: pytest.CaptureFixture[str]) -> None:
    change(model / "tokenizer_config.json", model_max_length=float("nan"))
    assert "model_max_length is nan" in refused()
    change(model / "tokenizer_config.json", model_max_length=float("inf"))
    assert run(["predict", "-m", str(model), "texts.txt"]) == 0


@pytest.mark.parametrize("names", [{"0": "a", "1": "b"}, {"0": "a", "1": "b", "5": "c"}, dict(enumerate("abcd"))])
def test_labels_are_held_against_what_the_onnx_file_gives(model: Path, refused: Refused, names: dict[Any, str]) -> None:
    assert run(["export", str(model), "--calibrate", "texts.txt"]) == 0
    change(model / "config.json", id2label=names)
    assert f"id2label names {len(names)} labels" in refused() and "gives 3 scores" in refused("info -m DIR")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_outputs_of_another_head_are_refused(model: Path, refused: Refused, backend: str) -> None:
    """A tagger's logits have an axis more than a classifier's; as many labels do not make them the same."""
    assert run(["export", str(model), "--calibrate", "texts.txt"]) == 0
    change(model / "config.json", architectures=["BertForTokenClassification"])
    said = refused(f"predict -m DIR --backend {backend} texts.txt")
    assert "its logits have 2 axes, and those for token-classification have 3" in said


def test_a_model_for_questions_has_two_labels(model: Path, refused: Refused) -> None:
    change(model / "config.json", architectures=["BertForQuestionAnswering"])
    assert "there are 3 labels, but a model for question-answering has 2: start and end." in refused()


def test_num_labels_without_names_are_transformers_names(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((model / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (model / "config.json").write_text(json.dumps(config | {"num_labels": 3}))
    assert read(model).labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert run(["predict", "-m", str(model), str(model.parent.parent / "texts.txt"), "--all-scores"]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert list(json.loads(line)["scores"]) == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_outputs_have_names_whatever_the_config_says(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", "-m", str(model), str(model.parent.parent / "texts.txt")]
    assert run(command) == 0
    expected = capsys.readouterr().out
    change(model / "config.json", return_dict=False, output_hidden_states=True)
    assert run(command) == 0 and capsys.readouterr().out == expected


def test_a_text_without_tokens_is_an_error_of_its_record(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tokenizer that adds no special tokens makes none at all of an empty text."""
    change(model / "tokenizer.json", post_processor=None)
    (texts := model.parent / "texts.txt").write_text("good film\n\nbad film\n")
    for task in ("classify", "embed"):
        assert run(["predict", "-t", task, "-m", str(model), str(texts)]) == 3
        results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert ["error" in result for result in results] == [False, True, False]
        assert "makes no token of this text" in results[1]["error"]["message"]


def test_two_labels_of_one_name_keep_both_scores(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(model / "config.json", id2label={"0": "good", "1": "bad", "2": "good"})
    assert run(["predict", "-m", str(model), str(model.parent.parent / "texts.txt"), "--all-scores"]) == 0
    for line in capsys.readouterr().out.splitlines():
        scores = json.loads(line)["scores"]
        assert list(scores) == ["good", "bad", "good (2)"] and sum(scores.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("RoFormerForSequenceClassification", "SequenceClassification"),
        ("XLMForQuestionAnsweringSimple", "QuestionAnswering"),
        ("XLNetForQuestionAnsweringSimple", "QuestionAnswering"),
        ("FlaubertWithLMHeadModel", "MaskedLM"),
        ("BertForMaskedLM", "MaskedLM"),
        ("BertForPreTraining", "PreTraining"),
        ("RoFormerModel", ""),
        ("ReformerModelWithLMHead", ""),
        ("BertModel", ""),
    ],
)
def test_the_head_is_read_off_the_class_name(name: str, head: str) -> None:
    assert Model(Path(), {"architectures": [name]}).head == head


def test_each_head_of_transformers_auto_classes_is_found_again() -> None:
    from transformers.models.auto import modeling_auto

    for task, head in (
        ("SEQUENCE_CLASSIFICATION", "SequenceClassification"),
        ("TOKEN_CLASSIFICATION", "TokenClassification"),
        ("QUESTION_ANSWERING", "QuestionAnswering"),
        ("MASKED_LM", "MaskedLM"),
    ):
        for names in getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES").values():
            for name in (names,) if isinstance(names, str) else names:
                if not name.endswith("ForConditionalGeneration"):  # seq2seq models, which have no such head
                    assert Model(Path(), {"architectures": [name]}).head == head, name


# Weights.


def test_a_git_lfs_pointer_says_so(model: Path, refused: Refused) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        content = (model / name).read_bytes()
        (model / name).write_text(LFS)
        assert f"{name}: a Git LFS pointer" in refused()
        (model / name).write_bytes(content)
    (model / "onnx").mkdir()
    (model / "onnx" / "model.onnx").write_text(LFS)
    assert "model.onnx: a Git LFS pointer" in refused() and "git lfs pull" in refused("info -m DIR")


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1, -5000])
def test_cut_off_weights_say_so(model: Path, refused: Refused, keep: int) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "model.safetensors: cut off" in refused() and "download it again" in refused("info -m DIR")


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 64, struct.pack("<Q", 4) + b"null", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 9) + b'{"w": {}}'],
)
def test_weights_that_are_no_safetensors_say_so(model: Path, refused: Refused, content: bytes) -> None:
    (model / "model.safetensors").write_bytes(content)
    assert "model.safetensors: not a safetensors file" in refused()


class Trace:
    """A pickle of it makes a file where it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../other/pytorch_model.bin", "/tmp/x.safetensors", "a\0b", 5])
@pytest.mark.parametrize("command", ["predict -m DIR texts.txt", "finetune -m DIR --train train.tsv -o out"])
def test_an_index_names_only_safetensors_inside(model: Path, refused: Refused, name: Any, command: str) -> None:
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, name)}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    trace = model.parent / "trace"
    (model.parent / "other").mkdir()
    for folder in (model, model.parent / "other"):
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trace(trace)))
    (model.parent.parent / "train.tsv").write_text("text\tlabel\ny\ta\nn\tb\n")
    assert "model.safetensors.index.json" in refused(command)
    assert not trace.exists() and not Path("out").exists()


def test_shards_inside_are_opened_and_a_lacking_one_is_named(model: Path, refused: Refused) -> None:
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    half = len(tensors) // 2
    names = {name: f"model-0000{1 + (i >= half)}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for shard in set(names.values()):
        part = {name: tensor for name, tensor in tensors.items() if names[name] == shard}
        save_file(part, model / shard, metadata={"format": "pt"})
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    assert run(["predict", "-m", str(model), "texts.txt", "-o", "a.jsonl"]) == 0
    (model / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors: not there" in refused()


def test_an_adapter_alone_is_no_model(model: Path, refused: Refused) -> None:
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "../other", "peft_type": "LORA"}))
    assert "adapter, not a whole model" in refused()
    (model / "config.json").unlink()
    assert "merge_and_unload" in refused("finetune -m DIR --train texts.txt -o out")


def test_half_precision_weights_predict_as_they_are(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = {name: tensor.astype(np.float16) for name, tensor in load_file(model / "model.safetensors").items()}
    save_file(half, model / "model.safetensors", metadata={"format": "pt"})
    change(model / "config.json", dtype="float16")
    assert run(["predict", "-m", str(model), str(model.parent.parent / "texts.txt")]) == 0


# Paths.


@pytest.mark.parametrize("path", ["../../good", "/etc", "..\\good", "C:\\good", None, 5, ["1_Pooling"]])
def test_modules_json_reaches_nothing_outside(model: Path, refused: Refused, path: Any) -> None:
    good = model.parent.parent / "good"
    good.mkdir()
    (good / "config.json").write_text('{"pooling_mode_cls_token": true}')
    kind = "sentence_transformers.models."
    steps = [{"type": kind + "Transformer", "path": ""}, {"type": kind + "Pooling", "path": path}]
    (model / "modules.json").write_text(json.dumps(steps))
    (model.parent.parent / "pairs.tsv").write_text("a\tb\tlabel\ngood film\tbad film\t0\ngood\tgood\t1\n")
    assert "modules.json: it names" in refused("predict -t embed -m DIR texts.txt")
    command = (
        "finetune -t embed -m DIR --train pairs.tsv --text-field a --pair-field b -o models/out --epochs 1 --no-export"
    )
    assert "modules.json: it names" in refused(command)
    assert (good / "config.json").read_text() == '{"pooling_mode_cls_token": true}'
    assert not (model.parent / "out").exists()


@pytest.mark.parametrize("steps", [{}, [5], [{"type": 5}], [{"path": "x"}]])
def test_modules_json_of_another_shape_is_refused(model: Path, refused: Refused, steps: Any) -> None:
    (model / "modules.json").write_text(json.dumps(steps or {"a": 1}))
    assert "modules.json" in refused("predict -t embed -m DIR texts.txt")


def test_tokenizer_files_outside_are_not_read(model: Path, refused: Refused) -> None:
    change(model / "tokenizer_config.json", fast_tokenizer_files=["../tokenizer.1.0.json"])
    assert "names '../tokenizer.1.0.json'" in refused()
    change(model / "tokenizer_config.json", fast_tokenizer_files=[], init_inputs=["../vocab.txt"])
    assert "init_inputs" in refused()


def test_an_onnx_file_reads_no_tensors_outside(model: Path, refused: Refused) -> None:
    import onnx
    from onnx import TensorProto, helper

    (model / "onnx").mkdir()
    (model / "secret").write_bytes(bytes(12))
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../secret")
    node = helper.make_node("Identity", ["w"], ["logits"])
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("logits", 1, [3])], [weight])
    with (model / "onnx" / "model.onnx").open("wb") as file:
        file.write(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    assert onnx.load(model / "onnx" / "model.onnx", load_external_data=False)
    assert "model.onnx" in refused()
    assert "model.onnx" in refused("predict -m DIR texts.txt --backend openvino")


# A head for another task.


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("task", ["ner", "qa --question x", "fill-mask"])
def test_a_model_of_another_head_is_refused(refused: Refused, task: str, backend: str) -> None:
    classifier = Path(bertcli.__file__).parent / "builtin" / "text-classification"
    said = refused(f"predict -t {task} -m {classifier} --backend {backend} texts.txt")
    assert "it is a model for SequenceClassification, not for " in said


# The Hub.


@pytest.mark.parametrize("offline", [True, False])
def test_hf_hub_offline_is_blamed_only_where_it_is_set(monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: Any, **__: Any) -> None:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    with pytest.raises(ModelError) as caught:
        resolve("nobody/nothing")
    assert ("HF_HUB_OFFLINE" in str(caught.value)) is offline


def test_a_user_without_a_home_is_told_of_hf_home(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def homeless(*_: Any, **__: Any) -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", homeless)
    with pytest.raises(ModelError, match=r"home directory.*HF_HOME"):
        resolve("nobody/alone")
