"""A vocabulary cut to what a corpus uses: the same pieces and embeddings for it, and letters for all else."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from bertcli import pretrained, tokenizer_files
from bertcli.data.records import Record
from bertcli.errors import ModelError, UsageError
from bertcli.model import read
from bertcli.tasks.options import Options
from bertcli.tasks.text_classification import Task
from bertcli.tokenizer import Tokenizer
from bertcli.training.base_model import cut_to_pieces, open_base, used_pieces

CORPUS = ["a good film", "the plot was lovely, and slowly bad", "Café naïve films", "wholly unlike the scene 日本"]
OTHER = ["a great actor", "scenes of naive dullness", "Zq!"]
MORE = [
    "films and plots",
    "lovely lowly actors",
    "slow good scenes",
    "the unlikely naïveté of cafés",
    "日 本 was whole",
]


def unigram() -> tokenizers.Tokenizer:
    """As XLM-R's: pieces with scores, special tokens before them and a mask behind."""
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False, max_piece_length=6
    )
    backend.train_from_iterator([*CORPUS[:-1], *OTHER, *MORE[:-1]] * 3, trainer)
    backend.add_special_tokens(["<mask>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return backend


def wordpiece(processor: Any = None) -> tokenizers.Tokenizer:
    """As BERT's, whose special tokens are not the first ones: unused pieces stand between them."""
    names = [*CORPUS, *OTHER, *MORE]
    letters = sorted({letter for text in names for letter in text.lower() if letter.isalnum() or letter in ",!"})
    words = sorted({word for text in names for word in text.lower().split()})
    vocabulary = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[unused1]", "[SEP]", *words, *letters]
    vocabulary += [f"##{piece}" for piece in ["ly", "ness", "s", "like", *letters] if piece != "日"]
    ids = {piece: i for i, piece in enumerate(dict.fromkeys(vocabulary))}
    backend = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    backend.post_processor = processor or processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return backend


def records(texts: list[str]) -> list[Record]:
    return [Record(i, {"text": text}, i + 1, "corpus.txt") for i, text in enumerate(texts)]


def reduced(backend: tokenizers.Tokenizer) -> Tokenizer:
    whole = Tokenizer(backend, 32)
    task = Task(whole, {"num_labels": 2}, Options())
    return cut_to_pieces(whole, used_pieces(task, records(CORPUS), Counter()))


@pytest.mark.parametrize("make", [unigram, wordpiece])
def test_a_corpus_keeps_its_pieces_and_each_keeps_its_embedding(make: Any) -> None:
    backend = make()
    small = reduced(backend)
    pieces = small.pieces
    assert pieces is not None and len(pieces) == small.backend.get_vocab_size() < backend.get_vocab_size()
    for text in [*CORPUS, (CORPUS[0], CORPUS[1])]:
        whole, part = (one.encode(*text) if isinstance(text, tuple) else one.encode(text)
                       for one in (backend, small.backend))  # fmt: skip
        assert whole.tokens == part.tokens and whole.type_ids == part.type_ids
        assert whole.ids == [pieces[i] for i in part.ids]
    assert all(small.backend.id_to_token(i) == backend.id_to_token(piece) for i, piece in enumerate(pieces))


@pytest.mark.parametrize("make", [unigram, wordpiece])
def test_other_texts_are_spelt_in_the_letters_of_the_corpus(make: Any) -> None:
    small = reduced(make())
    unknown = small.unknown
    for text in ("a great actor", "films of naive dullness"):
        assert unknown in small.backend.encode("Ж").ids and unknown not in small.backend.encode(text).ids


def test_pieces_of_records_that_the_task_cannot_read_are_those_of_all_their_texts() -> None:
    whole = Tokenizer(wordpiece(), 32)
    task = Task(whole, {"num_labels": 2}, Options())
    nested = Record(0, {"question": "plot", "answers": [{"text": "films"}], "id": 3}, 1, "qa.jsonl")
    sources = Counter[str]()
    names = {whole.backend.id_to_token(i) for i in used_pieces(task, [nested], sources)}
    assert names == {"plot", "films"} and sources == {"qa.jsonl": 1}
    with pytest.raises(UsageError, match=r"--vocabulary-from bad.txt:2: invalid"):
        used_pieces(task, [Record(1, {}, 2, "bad.txt", fault="invalid")], Counter())


def test_byte_pairs_are_refused() -> None:
    backend = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    with pytest.raises(ModelError, match="the tokenizer is BPE, whose pieces are made of each other"):
        cut_to_pieces(Tokenizer(backend, 32), {2})


@pytest.mark.parametrize("head", ["SequenceClassification", "MaskedLM", ""])
def test_the_model_computes_the_same_for_pieces_that_are_kept(tiny_model: Path, tmp_path: Path, head: str) -> None:
    base = read(tiny_model)
    whole = tokenizer_files.load(base.path, base.config)
    small = cut_to_pieces(whole, set(whole.backend.encode("good film of the actor").ids))
    torch.manual_seed(0)
    before, _ = open_base(base, head, {}, 0.0)
    torch.manual_seed(0)
    after, _ = open_base(base, head, {}, 0.0, pieces=small.pieces)
    assert after.config.vocab_size == len(small.pieces or ()) == after.get_input_embeddings().num_embeddings
    tokenizer_files.save(small, base.path, tmp_path, 64)
    after.save_pretrained(tmp_path)
    reopened, info = pretrained.open_module(tmp_path, head)
    assert all("pooler" in name for name in info["missing_keys"]) and not (tmp_path / "vocab.txt").exists()
    ids = [one.backend.encode("film of good good actor").ids for one in (whole, small)]
    assert ids[0] != ids[1] == pretrained.open_tokenizer(tmp_path)("film of good good actor")["input_ids"]
    name = "last_hidden_state" if not head else "logits"
    one, other = (
        model.eval()(input_ids=torch.tensor([tokens]))[name].detach()
        for model, tokens in zip((before, reopened), ids, strict=True)
    )
    assert torch.allclose(one[..., small.pieces] if head == "MaskedLM" else one, other, atol=1e-6)
