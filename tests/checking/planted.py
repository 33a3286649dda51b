"""Data sets without a fault, and the same with faults planted at known lines."""

import json
import random
from typing import Any

Fault = tuple[str, int]  # the code of a finding, and the 1-based line of the file where it must be
SIZE = 10_000


def word(number: int) -> str:
    """Another one for each number, of two syllables or more."""
    syllables = []
    while number or len(syllables) < 2:
        number, place = divmod(number, 75)
        syllables.append("bcdfghklmnprstv"[place // 5] + "aeiou"[place % 5])
    return "".join(syllables)


WORDS = [word(number) for number in range(3_000)]


def sentence(draw: random.Random, length: int = 12) -> str:
    """So many different words that two sentences have few in common."""
    return " ".join(draw.choices(WORDS, k=length))


def clean(size: int = SIZE, seed: int = 0) -> list[dict[str, Any]]:
    """Records of three labels, each a third."""
    draw = random.Random(seed)
    return [{"text": sentence(draw), "label": ("sports", "science", "politics")[i % 3]} for i in range(size)]


def lines(records: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


def write(rows: list[bytes]) -> bytes:
    return b"\n".join(rows) + b"\n"


def planted() -> tuple[bytes, bytes, list[Fault], list[Fault]]:
    """Train and dev, and the 30 faults planted in them: 25 in train's 10,000 lines, 5 in dev."""
    train, dev = clean(), clean(300, seed=1)
    rows, own = lines(train), lines(dev)
    faults: list[Fault] = []
    text = train[0]["text"]

    def plant(code: str, line: int, row: bytes | dict[str, Any]) -> None:
        rows[line - 1] = row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode()
        faults.append((code, line))

    def variant(line: int, **changes: Any) -> dict[str, Any]:
        """The record of a line, changed."""
        return train[line - 1] | changes

    plant("unreadable", 101, b"not JSON")
    plant("unreadable", 202, rows[201][:-9])  # cut off
    plant("unreadable", 303, b'{"text": "caf\xe9", "label": "sports"}')  # Latin-1
    plant("unreadable", 404, b'["a list", "sports"]')
    plant("unreadable", 505, b'{"text": "a number", "label": NaN}')
    plant("unreadable", 606, rows[605] + rows[606])  # two records on one line
    plant("bad-text", 707, {"label": "sports"})
    plant("bad-text", 808, variant(808, text=None))
    plant("bad-text", 909, variant(909, text=17))
    plant("bad-text", 1010, variant(1010, text=["a", "list"]))
    plant("bad-label", 1111, {"text": train[1110]["text"]})
    plant("bad-label", 1212, variant(1212, label=None))
    plant("bad-label", 1313, variant(1313, label=["sports", "politics"]))
    plant("bad-label", 1414, variant(1414, label=" "))
    plant("duplicate", 2000, train[0])
    plant("conflicting-label", 9999, variant(1, label="politics"))
    plant("near-duplicate", 3000, variant(3, text=train[2]["text"].upper() + "!"))
    plant("near-duplicate", 4000, variant(4, text=" ".join(train[3]["text"].split()[1:])))
    plant("near-duplicate", 5000, variant(5, text=train[4]["text"] + " really"))
    plant("label-typo", 6000, variant(6000, label="politcs"))
    plant("label-typo", 7000, variant(7000, label="Sports"))
    plant("rare-label", 7500, variant(7500, label="weather"))
    plant("empty-text", 8000, variant(8000, text=" \t "))
    plant("long-text", 8500, variant(8500, text=sentence(random.Random(2), 500)))
    plant("unknown-pieces", 9000, variant(9000, text="☃ ⚓ ♞ ☯ ⌘ ♨"))
    own[9] = json.dumps({"text": text, "label": train[0]["label"]}).encode()
    own[19] = json.dumps({"text": train[19]["text"], "label": "politics"}).encode()
    own[29] = json.dumps({"text": train[29]["text"] + " too.", "label": "sports"}).encode()
    own[39] = json.dumps({"text": dev[39]["text"], "label": "cookery"}).encode()
    own[49] = own[48]
    in_dev = [("leak", 10), ("leak", 20), ("near-leak", 30), ("unknown-label", 40), ("duplicate", 50)]
    return write(rows), write(own), faults, in_dev
