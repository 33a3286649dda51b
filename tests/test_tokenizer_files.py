"""Which tokenizer a directory has, what its special tokens are called, and that the very same is saved."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from bertcli import pretrained, tokenizer_files
from bertcli.arrays import Features
from bertcli.errors import ModelError
from bertcli.model import HUB_FILES
from tests.benchmarks.families import SENTENCES, tokenizer_of

WORDS = "the film is good bad ##s ##ly a 東京 東 京".split()
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MPNET = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]


def vocabulary(path: Path, tokens: list[str], family: str, **settings: Any) -> Path:
    """A directory with a vocab.txt alone."""
    (path / "vocab.txt").write_text("\n".join([*tokens, *WORDS]) + "\n")
    (path / "config.json").write_text(json.dumps({"model_type": family}))
    if settings:
        (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def pieces(path: Path, text: str = "The films 東京") -> list[str]:
    config = json.loads((path / "config.json").read_text())
    return list(tokenizer_files.load(path, config).backend.encode(text).tokens)


def test_a_vocabulary_of_berts(tmp_path: Path) -> None:
    expected = ["[CLS]", "the", "film", "##s", "東", "京", "[SEP]"]
    assert pieces(vocabulary(tmp_path, BERT, "bert")) == expected
    assert pieces(vocabulary(tmp_path, BERT, "bert", tokenizer_class="BertTokenizerFast")) == expected
    assert pieces(vocabulary(tmp_path, BERT, "distilbert", tokenizer_class="DistilBertTokenizer")) == expected


@pytest.mark.parametrize("name", ["BertTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize(
    "settings", [{"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}, {}]
)
def test_case_accents_and_ideographs_are_those_of_transformers(
    name: str, settings: dict[str, bool], tmp_path: Path
) -> None:
    """Whatever the normalizer in tokenizer.json says, where the class is BERT's."""
    path = vocabulary(tmp_path, [*BERT, "The", "é"], "bert")
    tokenizer_files.load(path, {}).backend.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **settings}))
    text = "The é 東京"
    assert pieces(path, text) == pretrained.open_tokenizer(path).backend_tokenizer.encode(text).tokens


@pytest.mark.parametrize("name", ["RobertaTokenizer", "DebertaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("prefix", [False, True])
def test_the_space_before_a_text_is_that_of_transformers(name: str, prefix: bool, tmp_path: Path) -> None:
    """Whatever the pre-tokenizer in tokenizer.json says, where the class is RoBERTa's or one of its kin."""
    made = tokenizers.ByteLevelBPETokenizer(add_prefix_space=not prefix)
    made.train_from_iterator(["the film is good"] * 9, 300, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    settings = {"tokenizer_class": name, "add_prefix_space": prefix}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs = pretrained.open_tokenizer(tmp_path).backend_tokenizer.encode("film is", add_special_tokens=False)
    assert tokenizer_files.load(tmp_path, {}).backend.encode("film is", add_special_tokens=False).ids == theirs.ids


@pytest.mark.parametrize("name", [None, "BertTokenizer", "RobertaTokenizer", "AlbertTokenizer", "T5Tokenizer"])
def test_a_tokenizer_of_special_tokens_alone_is_none(tmp_path: Path, name: str | None) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    if name:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    with pytest.raises(ModelError) as caught:
        tokenizer_files.load(tmp_path, {})
    expected = f"{tmp_path}: no vocabulary of its tokenizer is there; put the tokenizer's files beside it, or "
    assert str(caught.value) == expected + "name their class as tokenizer_class in tokenizer_config.json."


def test_a_package_that_is_there_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers names sentencepiece wherever it finds no class for the files, as for those of XLM-R XL."""
    (tmp_path / "config.json").write_text('{"model_type": "xlm-roberta-xl"}')
    with pytest.raises(ModelError, match="which needs the package sentencepiece"):
        tokenizer_files.load(tmp_path, {})
    monkeypatch.setattr(tokenizer_files, "find_spec", lambda _: True)
    with pytest.raises(ModelError, match="transformers cannot open another; does"):
        tokenizer_files.load(tmp_path, {})


@pytest.mark.parametrize("text", ["the film is good a bad film is", ("the film is", "good a bad film is the")])
@pytest.mark.parametrize("side", ["left", "right", None])
@pytest.mark.parametrize("direction", ["left", "right"])
def test_a_long_text_is_cut_on_the_side_of_transformers(
    direction: str, side: str | None, text: str | tuple[str, str], tmp_path: Path
) -> None:
    """direction: in tokenizer.json, which counts where tokenizer_config.json is silent."""
    path = vocabulary(tmp_path, BERT, "bert")
    made = tokenizer_files.load(path, {}).backend
    made.enable_truncation(7, direction=direction)
    made.save(str(path / "tokenizer.json"))
    stated = {"truncation_side": side} if side else {}
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 7, **stated}))
    (features,) = tokenizer_files.load(path, {}).encode([text], "truncate")
    texts = [text] if isinstance(text, str) else list(text)
    expected = pretrained.open_tokenizer(path)(*texts, truncation=True, max_length=7)["input_ids"]
    assert isinstance(features, Features) and features.windows[0].ids == expected and features.truncated


@pytest.mark.parametrize("side", ["left", "right"])
def test_words_masks_and_contexts_are_cut_on_that_side_too(side: str, tmp_path: Path) -> None:
    path = vocabulary(tmp_path, BERT, "bert", truncation_side=side, model_max_length=8)
    ours, theirs = tokenizer_files.load(path, {}), pretrained.open_tokenizer(path)
    words, masked = "the films is good a bad film is".split(), "the [MASK] is good [MASK] bad film is"
    pair = ("film", "the films is good a bad film is")
    options: dict[str, Any] = {"truncation": True, "max_length": 8}

    (features,) = ours.encode_words([words], "truncate")
    assert isinstance(features, Features) and features.truncated
    assert features.windows[0].ids == theirs(words, is_split_into_words=True, **options)["input_ids"]
    assert features.windows[0].words == ([-1, 2, 3, 4, 5, 6, 7, -1] if side == "left" else [-1, 0, 1, -1, 2, 3, 4, -1])

    (features,) = ours.encode_marked([masked], ours.mask[1], "truncate")
    assert isinstance(features, Features) and features.truncated
    assert features.windows[0].ids == theirs(masked, **options)["input_ids"]
    ordinals = [-1, -1, 1, -1, -1, -1] if side == "left" else [-1, 0, -1, -1, 1, -1]
    assert features.windows[0].words == [-1, *ordinals, -1]

    (features,) = ours.encode_contexts([pair], "truncate")
    expected = theirs(*pair, return_offsets_mapping=True, **{**options, "truncation": "only_second"})
    assert isinstance(features, Features) and features.truncated and features.windows[0].ids == expected["input_ids"]
    offsets = features.windows[0].offsets
    assert offsets is not None and offsets[3:-1].tolist() == [[*span] for span in expected["offset_mapping"][3:-1]]


@pytest.mark.parametrize("name", ["BertTokenizer", "PreTrainedTokenizerFast", None])
def test_tokens_that_were_added_to_a_vocabulary_are_pieces(name: str | None, tmp_path: Path) -> None:
    """name: of the class, where there is a tokenizer.json, which lacks them."""
    path = vocabulary(tmp_path, BERT, "bert", do_lower_case=True)
    base = {"tokenizer_class": name} if name else {"do_lower_case": True}
    if name:
        tokenizer_files.load(path, {}).backend.save(str(path / "tokenizer.json"))
    number = len(BERT) + len(WORDS)
    added = {
        "content": "<e>",
        "special": True,
        **dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False),
    }
    listed = {str(number): added, str(number + 1): {**added, "content": "<B>", "special": False, "normalized": True}}
    for file, stated in (
        ("added_tokens.json", {"<B>": number, "<e>": number + 1}),
        ("special_tokens_map.json", {"additional_special_tokens": ["<e>"]}),
        ("tokenizer_config.json", {"added_tokens_decoder": listed}),
        ("tokenizer_config.json", {"additional_special_tokens": ["<B>", "<e>"]}),
        ("tokenizer_config.json", {"extra_special_tokens": ["<e>"], "bos_token": "<B>", "add_bos_token": False}),
        ("tokenizer_config.json", {"extra_special_tokens": {"entity": "<e>"}, "mask_token": "<B>"}),
    ):
        (path / "tokenizer_config.json").write_text(json.dumps(base))
        (path / file).write_text(json.dumps({**(base if file == "tokenizer_config.json" else {}), **stated}))
        assert pieces(path, "the<e> film")[:4] == ["[CLS]", "the", "<e>", "film"]
        ids = tokenizer_files.load(path, {}).backend.encode("the<e> <b>film <B>is [MASK]").ids
        assert ids == pretrained.open_tokenizer(path)("the<e> <b>film <B>is [MASK]")["input_ids"]
        (path / file).unlink()


def test_added_tokens_without_embeddings_are_refused(tmp_path: Path) -> None:
    """But not those that are named without an id, such as the bos_token of a class that puts none before a text."""
    path = vocabulary(tmp_path, BERT, "bert")
    tokenizer_files.load(path, {}).backend.save(str(path / "tokenizer.json"))
    (path / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>", "cls_token": "[CLS]"}))
    opened = tokenizer_files.load(path, {"vocab_size": len(BERT) + len(WORDS)}).backend
    assert opened.token_to_id("<s>") is None and opened.encode("the").tokens == ["[CLS]", "the", "[SEP]"]
    (path / "added_tokens.json").write_text(json.dumps({"<e>": 5000}))
    with pytest.raises(ModelError, match="over the 16 that the model has embeddings for"):
        tokenizer_files.load(path, {"vocab_size": len(BERT) + len(WORDS)})
    (path / "added_tokens.json").write_text(json.dumps({"<e>": "first"}))
    with pytest.raises(ModelError, match="the ids of added tokens are no whole numbers"):
        tokenizer_files.load(path, {})


def test_a_vocabulary_of_another_class_is_read_as_that_class_reads_it(tmp_path: Path) -> None:
    for settings in ({}, {"tokenizer_class": "MPNetTokenizer"}):
        assert pieces(vocabulary(tmp_path, MPNET, "mpnet", **settings))[:2] == ["<s>", "the"]


@pytest.mark.parametrize(
    ("name", "family", "said"),
    [
        ("BertJapaneseTokenizer", "bert", "a BertJapaneseTokenizer"),
        ("EsmTokenizer", "esm", "a EsmTokenizer, which is written in Python"),
        ("XLMTokenizer", "xlm", "a XLMTokenizer, which needs the package sacremoses"),
        ("NoSuchTokenizer", "bert", "a NoSuchTokenizer, which transformers does not have"),
    ],
)
def test_a_class_that_cannot_be_had_is_named(name: str, family: str, said: str, tmp_path: Path) -> None:
    path = vocabulary(tmp_path, ["<cls>", "<pad>", "<eos>", "<unk>", "<mask>", *BERT], family, tokenizer_class=name)
    with pytest.raises(ModelError, match=said):
        pieces(path)


def test_a_sentencepiece_model_alone_names_its_package_and_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(b"\x0a\x00")
    (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    with pytest.raises(ModelError, match="sentencepiece"):
        pieces(tmp_path)
    assert "*.model" in HUB_FILES


@pytest.mark.parametrize("token", ["<|mask|>", "<special1>", {"content": "[MASK]!", "lstrip": True}])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_a_mask_that_is_named_is_taken(token: Any, file: str, tmp_path: Path) -> None:
    content = token["content"] if isinstance(token, dict) else token
    tokenizer_of("bert").save_pretrained(tmp_path)
    made = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    made.add_special_tokens([content])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / file).write_text(json.dumps({"mask_token": token}))
    assert tokenizer_files.load(tmp_path, {}).mask == (content, made.token_to_id(content))


@pytest.mark.parametrize("token", ["[CLS]", "[SEP]", "[UNK]"])
def test_a_mask_that_stands_for_more_is_none(token: str, tmp_path: Path) -> None:
    opened = tokenizer_files.load(vocabulary(tmp_path, BERT, "bert", mask_token=token), {})
    with pytest.raises(ModelError, match="also uses for something else"):
        _ = opened.mask


def test_a_mask_that_is_only_in_the_vocabulary_is_found(tmp_path: Path) -> None:
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "<|mask|>": 1}, unk_token="a"))
    made.add_special_tokens(["<|mask|>"])
    made.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer_files.load(tmp_path, {}).mask == ("<|mask|>", 1)
    made.add_special_tokens(["<mask_2>"])
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="no mask token"):
        _ = tokenizer_files.load(tmp_path, {}).mask


@pytest.mark.parametrize(
    ("kind", "family", "settings"),
    [
        ("bert", "roberta", {"tokenizer_class": "RobertaTokenizer"}),
        ("bert", "bert", {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
        ("bert", "deberta", {"tokenizer_class": "DebertaTokenizer"}),
        ("roberta", "roberta", {"tokenizer_class": "RobertaTokenizer"}),
        ("xlm-roberta", "xlm-roberta", {"tokenizer_class": "XLMRobertaTokenizer"}),
        ("xlm-roberta", "bert", {}),
    ],
)
def test_the_very_tokenizer_is_saved(kind: str, family: str, settings: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source, draft = tmp_path / "source", tmp_path / "draft"
    tokenizer_of(kind).save_pretrained(source)
    draft.mkdir()
    for folder in (source, draft):
        (folder / "config.json").write_text(json.dumps({"model_type": family}))
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    used = tokenizer_files.load(source, {})
    tokenizer_files.save(used, source, draft, 40)
    shutil.rmtree(source)
    again, theirs = tokenizer_files.load(draft, {}), AutoTokenizer.from_pretrained(draft)
    assert again.max_length == theirs.model_max_length == 40
    for text in [*SENTENCES, "Großes Café, NAÏVE 東京"]:
        ids = used.backend.encode(text).ids
        assert again.backend.encode(text).ids == ids
        assert theirs(text)["input_ids"] == ids
    pair = used.backend.encode("a film", "is good")
    assert theirs("a film", "is good")["input_ids"] == pair.ids


@pytest.mark.parametrize("names", [[], ["input_ids", "attention_mask"], ["input_ids", "token_type_ids"]])
def test_a_directory_says_whether_its_pairs_have_segments(names: list[str], tmp_path: Path) -> None:
    stated = {"model_input_names": names} if names else {}
    path = vocabulary(tmp_path, BERT, "bert", tokenizer_class="BertTokenizer", model_max_length=9, **stated)
    pairs = [("the film", "good"), ("the film is good", "bad film is the film")]
    theirs = pretrained.open_tokenizer(path)(*pairs[0]).get("token_type_ids")
    short, long = tokenizer_files.load(path, {}).encode(pairs)
    assert isinstance(short, Features) and isinstance(long, Features)
    assert short.windows[0].type_ids == theirs and len(long.windows) > 1
    assert all((window.type_ids is None) == (theirs is None) for window in long.windows)


SPECIAL = {f"{token[1:-1].lower()}_token": token for token in BERT}


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("bert", {"tokenizer_class": "PreTrainedTokenizerFast"}, True),  # as transformers 4 wrote it, and trained
        ("bert", {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers"}, False),  # as transformers 5
        ("bert", {"tokenizer_class": "BertTokenizer", "backend": "tokenizers"}, True),
        ("roformer", {"tokenizer_class": "RoFormerTokenizer"}, True),
        ("big_bird", {}, False),
        ("distilbert", {"tokenizer_class": "PreTrainedTokenizerFast"}, True),  # though the model asks for none
    ],
)
def test_pairs_have_the_segments_of_the_training_before_and_after_saving(
    family: str, settings: dict[str, Any], expected: bool, tmp_path: Path
) -> None:
    source, draft = tmp_path / "source", tmp_path / "draft"
    tokenizer_of("bert").save_pretrained(source)
    (source / "tokenizer_config.json").write_text(json.dumps({**SPECIAL, **settings}))
    draft.mkdir()
    config = {"model_type": family} | ({} if family == "distilbert" else {"type_vocab_size": 2})
    (draft / "config.json").write_text(json.dumps(config))
    used = tokenizer_files.load(source, config)
    assert used.has_segments == expected
    tokenizer_files.save(used, source, draft, 40)
    theirs = pretrained.open_tokenizer(draft)("a film", "is good").get("token_type_ids")
    assert (theirs is not None) == (expected and family != "distilbert")
    assert tokenizer_files.load(draft, config).has_segments == expected


def test_the_classes_whose_pairs_have_segments_are_those_of_transformers() -> None:
    import transformers
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    names = {name for name in TOKENIZER_MAPPING_NAMES.values() if name and hasattr(transformers, name)}
    classes = {getattr(transformers, name) for name in names}
    fast = [one for one in classes if issubclass(one, transformers.PreTrainedTokenizerFast)]
    assert {one.__name__ for one in fast if "token_type_ids" in one.model_input_names} == tokenizer_files.SEGMENTED


def test_the_families_that_number_positions_from_padding_are_those_of_transformers() -> None:
    """They are told by name, for the light installation has no transformers to ask."""
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    models = Path(modeling_auto.__file__).parents[1]
    heads = ("MASKED_LM", "SEQUENCE_CLASSIFICATION", "TOKEN_CLASSIFICATION", "QUESTION_ANSWERING")
    families = {family for head in heads for family in getattr(modeling_auto, f"MODEL_FOR_{head}_MAPPING_NAMES")}
    code = {family: models.glob(f"*/modeling_{family.replace('-', '_')}.py") for family in families}
    numbering = "def create_position_ids_from_input_ids"
    expected = {family for family, files in code.items() if any(numbering in file.read_text("utf-8") for file in files)}
    assert set(tokenizer_files.FROM_PADDING) == expected
    for family, padding in tokenizer_files.FROM_PADDING.items():
        assert (AutoConfig.for_model(family).pad_token_id or 0) == padding, family
        assert tokenizer_files.positions({"model_type": family, "max_position_embeddings": 514}) == 513 - padding
