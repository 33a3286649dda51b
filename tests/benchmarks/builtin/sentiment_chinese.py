"""The Chinese sets of the sentiment recipe, in the form that sentiment_data.py explains."""

import json
from collections.abc import Iterator
from pathlib import Path

import data
from sentiment_labels import LABELS, Item, agreed, split_of

MOODS = {"happy": "positive", "angry": "negative", "sad": "negative", "fear": "negative", "neutral": "neutral"}


def hotels(source: Path) -> Iterator[Item]:
    """ChnSentiCorp: hotels, books, laptops."""
    for split in ("train", "dev", "test"):
        for line in data.lines_of(source / f"research/chnsenticorp/{split}.tsv")[1:]:
            label, text = line.split("\t", 1)
            yield split, text.strip('"'), "positive" if label == "1" else "negative"


def meals(source: Path) -> Iterator[Item]:
    """waimai_10k: food that was delivered."""
    for label, text in data.table_of(source / "research/waimai_10k/waimai_10k.csv")[1:]:
        yield split_of(text), text, "positive" if label == "1" else "negative"


def cars(source: Path) -> Iterator[Item]:
    """BDCI 2018: a forum about cars."""
    rows = data.table_of(source / "research/bdci_car2018/train_2.csv")[1:]
    yield from agreed("", ((row[1].strip(), LABELS[int(row[3]) + 1]) for row in rows))


def weibo(source: Path) -> Iterator[Item]:
    """SMP 2020: emotions of Weibo posts; surprise has no sign."""
    for split, name in (("train", "virus_train"), ("dev", "virus_eval_labeled"), ("test", "virus_test_labeled")):
        for row in json.loads(data.text_of(source / f"research/smp2020_virus/{name}.json")):
            if row["label"] in MOODS and row["content"].strip():
                yield split, row["content"], MOODS[row["label"]]


def aspects(source: Path) -> Iterator[Item]:
    """Chinese reviews of hair care, cameras, cars and notebooks whose aspects agree."""
    for kind in ("hair", "camera", "car", "notebook"):
        for split in ("train", "test"):
            lines = data.lines_of(source / f"research/absa_zh/{kind}.{split}.txt")
            triples = zip(lines[::3], lines[1::3], lines[2::3], strict=False)
            pairs = ((text.replace("$T$", term).strip(), label.strip().lower()) for text, term, label in triples)
            if kind != "hair":  # the others have a space after each character
                pairs = ((text.replace(" ", ""), label) for text, label in pairs)
            for own, text, label in agreed(split, pairs):
                yield "dev" if own == "train" and split_of(text) == "dev" else own, text, label
