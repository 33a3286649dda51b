"""Tokenised corpora made of ids, and tiny tokenizers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bertcli.pretraining.corpus import Corpus, Part, Writer, open_corpus

MakeCorpus = Callable[[Sequence[Sequence[Sequence[int]]]], Corpus]


@pytest.fixture
def make_corpus(tmp_path: Path) -> MakeCorpus:
    """Documents as lists of sentences, these as lists of ids; every token begins a word."""

    def make(documents: Sequence[Sequence[Sequence[int]]]) -> Corpus:
        folder = tmp_path / f"corpus{len(list(tmp_path.iterdir()))}"
        ids = np.array([token for document in documents for sentence in document for token in sentence], np.int64)
        lengths = np.array([len(sentence) for document in documents for sentence in document], np.int64)
        writer = Writer(folder, "<u4")
        writer.append(Part(ids, np.ones(len(ids), bool), lengths, np.array([*map(len, documents)], np.int64)))
        writer.commit({})
        writer.finish({})
        found = open_corpus(folder)
        assert found is not None
        return found

    return make
