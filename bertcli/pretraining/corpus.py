"""A tokenised corpus on disk: read by memory map, written by appending, with a journal to continue from.

A folder of flat files, all little-endian, and corpus.json once it is complete:

    ids.bin        (T,) uint16, or uint32 for a vocabulary beyond 65,536: the tokens, document after document
    starts.bin     (T,) uint8: 1 where a token begins a word
    sentences.bin  (S,) int64: where each sentence ends in them
    documents.bin  (D, 2) int64: where each document ends, in tokens and in sentences

Knows no text and no tokenizer. Try:
python -c "from pathlib import Path; from bertcli.pretraining.corpus import *; print(open_corpus(Path('FOLDER')))"
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertcli.arrays import Array, Indices
from bertcli.errors import BertcliError

FILES = {"ids": "ids.bin", "starts": "starts.bin", "sentences": "sentences.bin", "documents": "documents.bin"}
COMPLETE, JOURNAL = "corpus.json", "journal.json"


@dataclass(frozen=True)
class Corpus:
    """T tokens, S sentences, D documents, in the shapes of the files. facts: what corpus.json says of their origin."""

    ids: Array
    starts: Array
    sentences: Array
    documents: Array
    facts: Mapping[str, Any]

    @property
    def bounds(self) -> tuple[Indices, Indices]:
        """Where each document begins and ends in the tokens: (D,), (D,)."""
        ends = np.asarray(self.documents[:, 0])
        return np.concatenate([[0], ends[:-1]]), ends


def open_corpus(folder: Path) -> Corpus | None:
    """The corpus in a folder, or None where it is not complete. Raises BertcliError where its files are damaged."""
    if not (folder / COMPLETE).is_file():
        return None
    facts = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
    for name, file in FILES.items():
        path = folder / file
        if not path.is_file() or path.stat().st_size != facts["sizes"][name]:
            raise BertcliError(f"{path}: not the size it was written with; delete the folder.")
    dtypes = (facts["dtype"], "u1", "<i8", "<i8")
    ids, starts, sentences, documents = (
        np.memmap(folder / file, dtype, "r") for file, dtype in zip(FILES.values(), dtypes, strict=True)
    )
    return Corpus(ids, starts, sentences, documents.reshape(-1, 2), facts)


@dataclass(frozen=True)
class Part:
    """Some documents, tokenised: ids and starts (T,), tokens of each sentence (S,), sentences of each document (D,)."""

    ids: Array
    starts: Array
    sentences: Indices
    documents: Indices


class Writer:
    """Appends parts. After `commit` the state that it is given survives a crash, together with all parts before."""

    def __init__(self, folder: Path, dtype: str) -> None:
        """Continue from the folder's journal, if there is one, else begin. dtype: of the ids."""
        self.folder = folder
        self.dtype = dtype
        folder.mkdir(parents=True, exist_ok=True)
        journal = folder / JOURNAL
        kept = json.loads(journal.read_text(encoding="utf-8")) if journal.is_file() else {}
        self.sizes: dict[str, int] = kept.get("sizes", dict.fromkeys(FILES, 0))
        self.state: dict[str, Any] = kept.get("state", {})
        self.counts: dict[str, int] = kept.get("counts", dict.fromkeys(FILES, 0))
        self.files = {name: (folder / file).open("ab") for name, file in FILES.items()}
        for name, file in self.files.items():
            file.truncate(self.sizes[name])

    def append(self, part: Part) -> None:
        """Add documents; lengths become positions in the whole."""
        sentence_ends = self.counts["ids"] + np.cumsum(part.sentences)
        last = self.counts["sentences"] + np.cumsum(part.documents)
        ends = np.concatenate([[self.counts["ids"]], sentence_ends])[np.cumsum(part.documents)]
        columns = {
            "ids": part.ids.astype(self.dtype),
            "starts": part.starts.astype("u1"),
            "sentences": sentence_ends.astype("<i8"),
            "documents": np.stack([ends, last], -1).astype("<i8"),
        }
        for name, values in columns.items():
            self.files[name].write(values.tobytes())
            self.counts[name] += len(values)
            self.sizes[name] += values.nbytes

    def commit(self, state: Mapping[str, Any]) -> None:
        """Force all parts to disk, then the journal that says so."""
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())
        self.state = dict(state)
        _replace(self.folder / JOURNAL, {"sizes": self.sizes, "counts": self.counts, "state": self.state})

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Make the folder a corpus of what is committed."""
        self.close()
        _replace(self.folder / COMPLETE, {"dtype": self.dtype, "sizes": self.sizes, "counts": self.counts, **facts})
        (self.folder / JOURNAL).unlink()

    def close(self) -> None:
        """Close the files; what was not committed is cut off when a run continues."""
        for file in self.files.values():
            with suppress(OSError):  # of a full disk, which has been told already
                file.close()


def _replace(path: Path, value: Mapping[str, Any]) -> None:
    draft = path.with_suffix(".tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
