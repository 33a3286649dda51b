"""Embeddings: pooling as the model says, long texts, pairs, and the vectors of sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertcli import tokenizer_files
from bertcli.arrays import Features
from bertcli.data.records import Record
from bertcli.errors import ModelError, RecordError
from bertcli.model import Model, read
from bertcli.tasks.feature_extraction import Task
from bertcli.tasks.options import Options

CONFIG = {"max_position_embeddings": 64}

STEP = "sentence_transformers.models."


def task(path: Path, sentence: dict[str, Any] | None = None, **options: Any) -> Task:
    return Task(tokenizer_files.load(path, CONFIG), {**CONFIG, "sentence": sentence or {}}, Options(**options))


def vectors(own: Task, fields: dict[str, Any]) -> np.ndarray[Any, Any]:
    """With hidden states (T, 3): the token's id, its square root, 1."""
    (features,) = own.encode([Record(0, fields)])
    assert isinstance(features, Features)
    outputs = []
    for window in features.windows:
        ids = np.array([window.ids], np.float32)
        hidden = np.stack([ids, np.sqrt(ids), np.ones_like(ids)], -1)
        reduced = own.reduce({"attention_mask": np.ones(ids.shape, np.int64)}, {"last_hidden_state": hidden})
        outputs.append({name: value[0] for name, value in reduced.items()})
    return own.combine(features, outputs)  # type: ignore[no-any-return]


def ids(path: Path, text: str) -> np.ndarray[Any, Any]:
    return np.array(tokenizer_files.load(path, CONFIG).backend.encode(text).ids, np.float64)


def test_pooling(tiny_model: Path) -> None:
    own = ids(tiny_model, "good film")
    for pooling, expected in (("mean", own.mean()), ("cls", own[0]), ("max", own.max())):
        found = vectors(task(tiny_model, {"pooling": pooling}), {"text": "good film"})
        assert found.shape == (1, 3) and found[0, 0] == pytest.approx(expected)


def test_padding_is_not_pooled(tiny_model: Path) -> None:
    hidden = np.array([[[1.0], [2.0], [99.0]]], np.float32)
    for pooling, expected in (("mean", 1.5), ("max", 2.0)):
        mask = {"attention_mask": np.array([[1, 1, 0]])}
        reduced = task(tiny_model, {"pooling": pooling}).reduce(mask, {"token_embeddings": hidden})
        assert reduced["pooled"] == [[expected]]


def test_normalize_is_the_models_choice_unless_asked_for(tiny_model: Path) -> None:
    for stated, asked, expected in (
        (True, None, True),
        (False, None, False),
        (True, False, False),
        (False, True, True),
    ):
        found = vectors(task(tiny_model, {"normalize": stated}, normalize=asked), {"text": "good"})
        assert (abs(np.linalg.norm(found) - 1) < 1e-6) == expected


def test_a_long_text_is_the_mean_of_its_windows_by_tokens(tiny_model: Path) -> None:
    own = task(tiny_model)
    (features,) = own.encode([Record(0, {"text": "good " * 100})])
    assert isinstance(features, Features) and len(features.windows) == 2
    tokens = [i for window in features.windows for i in window.ids]
    assert vectors(own, {"text": "good " * 100})[0, 0] == pytest.approx(np.mean(tokens))
    longest = vectors(task(tiny_model, {"pooling": "max"}), {"text": "good " * 100 + "scene"})
    assert longest[0, 0] == max(ids(tiny_model, "good scene"))


def test_the_models_own_length_limits_the_windows(tiny_model: Path) -> None:
    (features,) = task(tiny_model, {"max_length": 8}, long="truncate").encode([Record(0, {"text": "good " * 20})])
    assert isinstance(features, Features) and features.truncated and len(features.windows[0].ids) == 8


def test_pairs(tiny_model: Path) -> None:
    own = task(tiny_model, pair_field="b")
    fields = {"text": "good " * 100, "b": "bad plot", "label": "3.5"}
    found = vectors(own, fields)
    alone = [vectors(task(tiny_model), {"text": text})[0] for text in (fields["text"], fields["b"])]
    np.testing.assert_array_equal(found, alone)
    cosine = float(alone[0] @ alone[1] / np.linalg.norm(alone[0]) / np.linalg.norm(alone[1]))
    assert own.decode(Record(0, fields), found) == {"similarity": pytest.approx(cosine, abs=1e-6)}
    assert own.label(Record(0, fields)) == 3.5
    errors = own.encode([Record(0, {"text": "a"}), Record(0, {"text": 1, "b": "b"})])
    assert [str(error)[:12] for error in errors] == ["no field 'b'", "field 'text'"]
    for label in ("x", 10**400):
        with pytest.raises(RecordError, match=r"is not a (finite )?number"):
            own.label(Record(0, {**fields, "label": label}))
    with pytest.raises(RecordError, match="--pair-field names the second text"):
        task(tiny_model).label(Record(0, fields))


def layout(path: Path, **pooling: Any) -> Model:
    (path / "config.json").write_text("{}")
    (path / "pool").mkdir(exist_ok=True)
    (path / "pool" / "config.json").write_text(json.dumps({"word_embedding_dimension": 8, **pooling}))
    modules = [{"path": "", "type": f"{STEP}Transformer"}, {"path": "pool", "type": f"{STEP}Pooling"}]
    (path / "modules.json").write_text(json.dumps(modules))
    return read(path)


def test_a_text_is_in_small_letters_where_sentence_transformers_is_told_so(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes((tiny_model / "vocab.txt").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    (tmp_path / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    small, large = {"text": "good film"}, {"text": "Good FILM"}
    sentence = layout(tmp_path, pooling_mode="mean").sentence
    np.testing.assert_array_equal(vectors(task(tmp_path, sentence), large), vectors(task(tmp_path), small))
    assert vectors(task(tmp_path), large)[0, 0] != vectors(task(tmp_path), small)[0, 0]
    opened = task(tmp_path, sentence)
    once = opened.tokenizer.backend.to_str()
    assert Task(opened.tokenizer, opened.config, opened.options).tokenizer.backend.to_str() == once


def test_the_sentence_transformers_layout(tmp_path: Path) -> None:
    model = layout(tmp_path, pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    assert model.sentence is not None and model.sentence.items() >= {"pooling": "cls", "normalize": False}.items()
    with pytest.raises(ModelError, match="by mean, cls or max, not by pooling_mode_lasttoken"):
        _ = layout(tmp_path, pooling_mode_lasttoken=True).sentence
    with pytest.raises(ModelError, match="by mean, cls or max, not by mean, max"):
        _ = layout(tmp_path, pooling_mode=["mean", "max"]).sentence
    assert layout(tmp_path, pooling_mode="max").sentence["pooling"] == "max"
    for pooling, other in (("Pooling", "Dense"), ("SpladePooling", "SpladePooling")):  # The latter is alone.
        modules = [{"path": "pool", "type": f"{STEP}{pooling}"}, {"path": "2", "type": f"{STEP}{other}"}]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(ModelError, match=f"its vectors pass through {other}, which bertcli lacks"):
            _ = read(tmp_path).sentence
    for name in ("custom_st.Transformer", "1_Pooling.own.Pooling", "somebody/code--own.Normalize", "os.system"):
        (tmp_path / "modules.json").write_text(json.dumps([{"path": "", "type": name}]))
        with pytest.raises(ModelError, match=rf"modules.json has a step '{name}'.*never runs such code"):
            _ = read(tmp_path).sentence
    modules = [{"path": "0_Transformer", "type": f"{STEP}Transformer"}, {"path": "pool", "type": f"{STEP}Pooling"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="its encoder is in 0_Transformer"):
        _ = read(tmp_path).sentence
    (tmp_path / "0_Transformer").mkdir()
    (tmp_path / "config.json").rename(tmp_path / "0_Transformer" / "config.json")
    for path in (tmp_path, tmp_path / "0_Transformer"):  # Its own folder knows nothing of the pooling.
        with pytest.raises(ModelError, match="its encoder is in 0_Transformer"):
            _ = read(path).sentence
    (tmp_path / "0_Transformer" / "config.json").rename(tmp_path / "config.json")
    (tmp_path / "modules.json").write_text('{"repos": {}}')  # of another program, beside a model's directory
    assert Model(tmp_path / "m", {}).sentence == {}
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "", "type": f"{STEP}Transformer"}]))
    assert read(tmp_path).sentence == {}
    (tmp_path / "sentence_bert_config.json").write_text('{"module_output_name": "sentence_embedding"}')
    with pytest.raises(ModelError, match="its vectors are its encoder's own"):
        _ = read(tmp_path).sentence
    (tmp_path / "modules.json").unlink()
    assert read(tmp_path).sentence == {}


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "distilbert"])
def test_length_and_case_are_read_by_any_name_of_their_file(tmp_path: Path, family: str) -> None:
    file = tmp_path / f"sentence_{family}_config.json"
    file.write_text('{"max_seq_length": 20, "do_lower_case": true}')
    assert layout(tmp_path, pooling_mode="mean").sentence.items() >= {"max_length": 20, "lowercase": True}.items()
    file.write_text('{"max_seq_length": "20"}')
    with pytest.raises(ModelError, match="max_seq_length is '20', not a whole number"):
        read(tmp_path)
