"""Ranked guesses against one right answer each."""

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from bertcli import tokenizer
from bertcli.data.records import Record
from bertcli.errors import ModelError
from bertcli.tasks import fill_mask
from bertcli.tasks.options import Options


@pytest.fixture
def task() -> fill_mask.Task:
    backend = Tokenizer(models.BPE({"<mask>": 0, "Ġ": 1, "a": 2, "b": 3, "Ġb": 4, "Ġa": 5}, [("Ġ", "b"), ("Ġ", "a")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return fill_mask.Task(tokenizer.Tokenizer(backend, 9), {}, Options())


def test_ranks_count_as_they_should(task: fill_mask.Task) -> None:
    guesses = [(token, 0.1) for token in range(10)]
    assert task.metrics([[0, 4], [9, 99]], [[guesses] * 2] * 2) == {
        "accuracy": 0.25, "accuracy_at_5": 0.5, "accuracy_at_10": 0.75, "mrr": (1 + 1 / 5 + 1 / 10) / 4,
    }  # fmt: skip


def test_a_mask_that_was_cut_off_is_missed(task: fill_mask.Task) -> None:
    assert task.metrics([[2, 3], [2]], [[[(2, 0.9)]], []])["accuracy"] == 1 / 3
    records = [Record(i, {"text": text}) for i, text in enumerate(("a <mask> <mask>", "a <mask>"))]
    examples = task.examples(records, [[2, 3], [2]], [[[(2, 0.9)]], []])
    assert [(example.right, example.sure) for example in examples] == [(False, 0.0), (False, 0.0)]


def test_where_the_beginning_is_cut_off_so_are_the_first_masks(task: fill_mask.Task) -> None:
    task.tokenizer.keeps_end = True
    record, guesses = Record(0, {"text": "a <mask> b <mask>"}), [[(3, 0.9)]]
    assert task.decode(record, guesses)["filled"] == "a <mask> bb"
    assert task.metrics([[2, 3]], [guesses])["accuracy"] == 0.5
    (example,) = task.examples([record], [[2, 3]], [guesses])
    assert (example.right, example.sure) == (False, 0.0)


def test_a_row_of_the_embeddings_that_no_piece_has_is_no_answer(task: fill_mask.Task) -> None:
    batch = {"input_ids": np.array([[0]])}
    logits = np.arange(8.0)[None, None]  # two rows more than pieces, as where the matrix is padded
    found = task.reduce(batch, {"logits": logits})
    assert found["ids"].tolist() == [[[5, 4, 3, 2, 1, 0]]]
    assert found["scores"][0, 0, 0] == pytest.approx(np.exp(5.0) / np.exp(logits).sum())


def test_a_model_of_the_next_word_is_refused(task: fill_mask.Task) -> None:
    with pytest.raises(ModelError, match="the word that comes next, not one that is masked"):
        fill_mask.Task(task.tokenizer, {"is_decoder": True}, Options())


def test_nothing_ranked_is_not_defined(task: fill_mask.Task) -> None:
    assert set(task.metrics([], []).values()) == {None}


def test_an_answer_after_a_space_has_the_space_in_it(task: fill_mask.Task) -> None:
    for text, answer, expected in (
        ("a <mask> a", "b", [4]),
        ("<mask> a", "b", [3]),
        ("a <mask> <mask>", ["b", "a"], [4, 5]),
        ("a <mask> <mask>", '["b", "a"]', [4, 5]),  # as in a cell of CSV
        ("a<mask>", "b", [3]),
        ("a <mask>", "Ġb", [4]),
    ):
        assert task.label(Record(0, {"text": text, "label": answer})) == expected


@pytest.mark.parametrize("space", ["Ġ", "▁"])
def test_a_piece_without_a_space_goes_on_with_the_word_before(space: str) -> None:
    names = ["<mask>", "<unk>", "a", ".", "ing", f"{space}play"]
    if space == "Ġ":
        backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    else:
        backend = Tokenizer(models.Unigram([(name, -1.0) for name in names], 1))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    for takes_space, text, tokens, expected in (
        (True, "a <mask>", [4], "aing"),
        (True, "a\n<mask>.", [4], "aing."),
        (True, "<mask> a", [4], "ing a"),
        (True, "a  <mask> <mask>.", [5, 4], "a  playing."),
        (True, "a<mask>", [5], "a play"),
        (True, "<mask>", [5], "play"),
        (False, "a <mask>", [4], "a ing"),  # the model saw the space, as a piece before the mask
        (False, "a <mask>", [5], "a play"),
    ):
        backend.add_special_tokens([AddedToken("<mask>", lstrip=takes_space)])
        task = fill_mask.Task(tokenizer.Tokenizer(backend, 9), {}, Options())
        assert task.decode(Record(0, {"text": text}), [[(token, 0.5)] for token in tokens])["filled"] == expected
