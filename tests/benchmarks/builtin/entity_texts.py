"""English texts of data sets of other tasks, none of a test part, from which the entity model learns without labels.

Their kinds are those of Universal NER's EWT, and more: reviews, comments, tweets, news, encyclopaedia, telephone calls.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import data

CAPS = {
    "wiki": 45_000, "lingnli": 45_000, "tweets": 25_000, "goemotions": 20_000, "gmb": 20_000, "subjqa": 15_000,
    "ag_news": 15_000, "reddit": 12_000, "new_wiki": 12_000, "reviews": 8_000, "hate": 8_000, "tydiqa": 8_000,
    "squad_part": 5_000,
}  # fmt: skip
YEARS = "2013train 2013dev 2013test 2014test 2015train 2015test 2016train 2016dev 2016devtest".split()
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]?[A-Z0-9])")


def is_usual(text: str) -> bool:
    """Whether it has the length of a sentence or two, and no Chinese."""
    return 15 < len(text) < 400 and not data.is_chinese(text)


def sentences(texts: Iterable[str]) -> Iterator[str]:
    """The sentences of texts."""
    return chain.from_iterable(SENTENCE_END.split(text) for text in texts)


def paragraphs(file: Path) -> Iterator[str]:
    """The paragraphs of a file of SQuAD's JSON."""
    for article in json.loads(data.text_of(file))["data"]:
        yield from (paragraph["context"] for paragraph in article["paragraphs"])


def column(file: Path, place: int, by: str = "\t") -> Iterator[str]:
    """One field of each line."""
    return (fields[place] for fields in (line.split(by) for line in data.lines_of(file)) if len(fields) > 1)


def unpacked(folder: Path, pattern: str) -> list[Path]:
    """The files of these names, without the .xz that some have."""
    return [path.with_suffix("") if path.suffix == ".xz" else path for path in sorted(folder.glob(pattern))]


def reviews(folder: Path) -> Iterator[str]:
    """The texts of SubjQA's training and dev parts, each once."""
    for file in [*unpacked(folder, "*.train.csv*"), *unpacked(folder, "*.dev.csv*")]:
        header, *rows = data.table_of(file)
        place = header.index("review" if "review" in header else "context")
        yield from dict.fromkeys(row[place].replace("ANSWERNOTFOUND", "") for row in rows)


def sets(source: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """The texts of each set, by its name."""
    free, research = source / "open", source / "research"
    json_lines = lambda file: map(json.loads, data.lines_of(file))  # noqa: E731
    yield "reddit", sentences(paragraphs(free / "squadshifts/reddit_v1.0.json"))
    yield "new_wiki", sentences(paragraphs(free / "squadshifts/new_wiki_v1.0.json"))
    yield "squad_part", sentences(paragraphs(free / "squad_part/squad_part.json"))
    yield "tydiqa", sentences(paragraphs(free / "tydiqa_en/tydiqa.goldp.en.train.json"))
    yield "qed", sentences(row["paragraph_text"] for row in json_lines(free / "qed/qed-dev.jsonlines"))
    yield "goemotions", column(free / "goemotions/train.tsv", 0)
    yield "tweets", chain.from_iterable(column(research / f"semeval17_4a/twitter-{year}-A.tsv", 2) for year in YEARS)
    yield "newsmtsc", (row["sentence"] for row in json_lines(free / "newsmtsc/train.jsonl"))
    pairs = chain.from_iterable(map(json_lines, unpacked(research / "lingnli", "train*")))
    yield "lingnli", chain.from_iterable((pair["premise"], pair["hypothesis"]) for pair in pairs)
    yield "ag_news", sentences(text.strip('"') for text in column(research / "ag_news/train_10k.tsv", 0))
    yield "subjqa", sentences(reviews(research / "subjqa"))
    yield "reviews", chain.from_iterable(column(file, -1) for file in unpacked(research / "fdu_mtl", "*.train.txt*"))
    for name in ("nytEditorialSnippets", "tweets"):
        yield f"rated {name}", column(research / f"vader_ratings/{name}_GroundTruth.txt", -1)
    yield "hate", (row[-1] for row in data.table_of(free / "hate_offensive/labeled_data.csv")[1:])
    yield "developers", (text.strip('"') for text in column(free / "senti4sd/train3098itemPOLARITY.csv", 2, ";"))
    restaurants = data.text_of(research / "semeval14_restaurants/Restaurants_Train_v2.xml")
    yield "restaurants", re.findall("<text>(.*?)</text>", restaurants)
    yield "re3d", (" ".join(words) for words, _ in data.sentences_of(research / "re3d/re3d-train.conll"))
    yield (
        "wiki",
        sentences(line for part in (1, 2, 3) for line in data.lines_of(free / f"wiki_en/enwiki2015-part{part}.txt")),
    )
