"""The sets of the sentiment recipe, each as (split, text, label) with the labels negative, neutral and positive.

A set that has no split of its own gets one by a hash of each text. Sets about one target in a text (aspects, persons)
count only where all targets of a text agree, for the model reads the text alone.
"""

import html
import json
import random
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

import data
from sentiment_chinese import aspects, cars, hotels, meals, weibo
from sentiment_labels import LABELS, Item, agreed, split_of

POSITIVE = "admiration amusement approval caring excitement gratitude joy love optimism pride relief".split()
NEGATIVE = "anger annoyance disappointment disapproval disgust embarrassment fear grief remorse sadness".split()
EMOTIONS = dict.fromkeys(POSITIVE, "positive") | dict.fromkeys(NEGATIVE, "negative") | {"neutral": "neutral"}


def sst(source: Path) -> Iterator[Item]:
    """Film reviews: whole sentences of five classes, of which the outer two on each side are one."""
    names = {"1": "negative", "2": "negative", "3": "neutral", "4": "positive", "5": "positive"}
    for split in ("train", "dev", "test"):
        for line in data.lines_of(source / f"research/sst5/sentence_{split}.txt"):
            label, text = line.split("\t", 1)
            yield split, text, names[label[-1]]


def sst_phrases(source: Path) -> Iterator[Item]:
    """Phrases of the training sentences, as GLUE has them: those of four words or more, which resemble sentences."""
    for line in data.lines_of(source / "research/sst2/glue/train.tsv")[1:]:
        text, label = line.rsplit("\t", 1)
        if len(text.split()) >= 4:
            yield "train", text.strip(), "positive" if label == "1" else "negative"


def tweets(source: Path) -> Iterator[Item]:
    """SemEval 2017 task 4a: the years before are train, a hash takes some as dev."""
    folder = source / "research/semeval17_4a"
    for file in sorted(folder.glob("twitter-*")):
        for line in data.lines_of(file.with_suffix("") if file.suffix == ".xz" else file):
            fields = line.split("\t")
            if "sarcasm" not in file.name and len(fields) >= 3 and fields[1] in LABELS:
                text = html.unescape(fields[2]).strip('"')
                yield "dev" if split_of(text) == "dev" else "train", text, fields[1]
    for line in data.lines_of(folder / "test2017.text.txt"):
        _, label, text = line.split("\t", 2)
        yield "test", html.unescape(text), label


def goemotions(source: Path) -> Iterator[Item]:
    """Comments whose emotions are all of one sign; surprise, confusion and the like have none and are left out."""
    names = data.lines_of(source / "open/goemotions/labels.txt")
    for split in ("train", "dev", "test"):
        for line in data.lines_of(source / f"open/goemotions/{split}.tsv"):
            text, ids, _ = line.split("\t")
            signs = {EMOTIONS.get(names[int(i)], "") for i in ids.split(",")}
            if len(signs) == 1 and "" not in signs:
                yield split, text, signs.pop()


def news(source: Path) -> Iterator[Item]:
    """NewsMTSC: sentences of news about persons."""
    for name in ("train", "dev_mt", "dev_rw", "test_mt", "test_rw"):
        rows = map(json.loads, data.lines_of(source / f"open/newsmtsc/{name}.jsonl"))
        pairs = ((row["sentence"], LABELS[int(float(row["polarity"])) + 1]) for row in rows)
        yield from agreed(name.partition("_")[0], pairs)


def developers(source: Path) -> Iterator[Item]:
    """Senti4SD: posts of Stack Overflow."""
    for split, name in (("train", "train3098itemPOLARITY"), ("test", "test1326itemPOLARITY")):
        for _, label, text in data.table_of(source / f"open/senti4sd/{name}.csv", ";"):
            yield "dev" if split == "train" and split_of(text) == "dev" else split, text, label


def finance(source: Path) -> Iterator[Item]:
    """Financial PhraseBank, where at least half of the judges agree."""
    for line in data.lines_of(source / "research/financial_phrasebank/Sentences_50Agree.txt", "latin-1"):
        text, _, label = line.rpartition("@")
        yield split_of(text), text, label.strip()


def twitter_targets(source: Path) -> Iterator[Item]:
    """Tweets about names."""
    for split in ("train", "test"):
        for row in map(json.loads, data.lines_of(source / f"research/acl14_twitter/{split}.jsonl")):
            label = LABELS[row["targets"][0]["polarity"] // 2 - 1]
            text = row["sentence_normalized"]
            yield "dev" if split == "train" and split_of(text) == "dev" else split, text, label


def companies(source: Path) -> Iterator[Item]:
    """Sanders: tweets to companies; the irrelevant ones are of other languages."""
    for row in data.table_of(source / "research/sanders_tweets/full-corpus.csv")[1:]:
        if row[1] in LABELS:
            yield split_of(row[4]), html.unescape(row[4]), row[1]


def rated(source: Path) -> Iterator[Item]:
    """Tweets and editorials rated by twenty people, without those between neutral and a sign."""
    for name in ("tweets", "nytEditorialSnippets"):
        for line in data.lines_of(source / f"research/vader_ratings/{name}_GroundTruth.txt"):
            _, score, text = line.split("\t", 2)
            value = float(score)
            if abs(value) <= 0.3 or abs(value) > 1:
                yield split_of(text), html.unescape(text), LABELS[1 + (value > 1) - (value < -1)]


def restaurants(source: Path) -> Iterator[Item]:
    """SemEval 2014 task 4: sentences whose aspects agree."""
    for split, name in (("train", "Restaurants_Train_v2"), ("test", "Restaurants_Test_Gold")):
        root = ElementTree.fromstring(data.text_of(source / f"research/semeval14_restaurants/{name}.xml"))
        found = [
            (sentence.findtext("text", ""), aspect.get("polarity", ""))
            for sentence in root.iter("sentence")
            for kind in ("aspectTerm", "aspectCategory")
            for aspect in sentence.iter(kind)
        ]
        for own, text, label in agreed(split, found):
            yield "dev" if own == "train" and split_of(text) == "dev" else own, text, label


def sentences(source: Path, *names: str, split: str = "train") -> Iterator[Item]:
    """UCI sentences of the named shops."""
    for name in names:
        (file,) = (source / "open/uci_sentences").glob(f"{name}*_labelled.txt")
        for line in data.lines_of(file):
            text, label = line.rsplit("\t", 1)
            yield split, text.strip(), "positive" if label.strip() == "1" else "negative"


def reviews(source: Path) -> Iterator[Item]:
    """FDU-MTL: reviews of 14 kinds of goods and of films, the short ones, for long ones cost too much time."""
    for file in sorted((source / "research/fdu_mtl").iterdir()):
        kind, split = file.name.split(".")[:2]
        for line in data.lines_of(file.with_name(f"{kind}.{split}.txt")):
            label, text = line.split("\t", 1)
            if len(text.split()) <= 100:
                name = "dev" if split == "train" and split_of(text) == "dev" else split
                yield name, text, "positive" if label == "1" else "negative"


def sentences_of_reviews(source: Path) -> Iterator[str]:
    """The sentences of the training reviews of any length, of 5 to 40 words."""
    for file in sorted((source / "research/fdu_mtl").glob("*.train.txt*")):
        for line in data.lines_of(file.with_name(f"{file.name.split('.')[0]}.train.txt")):
            parts = re.split(r"(?<= [.!?]) ", line.split("\t", 1)[1])
            yield from (part.strip() for part in parts if 5 <= len(part.split()) <= 40)


def facts(source: Path) -> Iterator[Item]:
    """Sentences of film plots and of encyclopaedias, which judge nothing: neutral."""
    chance = random.Random(1)
    plots = data.lines_of(source / "research/subj/subj.objective", "latin-1")
    yield from (("train", text, "neutral") for text in chance.sample(plots, 2_500))
    for name, end in (("open/wiki_en/enwiki2015-part2.txt", ". "), ("open/wiki_zh/zhwiki-hans-sample.txt", "。")):
        lines = [line.partition(end)[0] + end.strip() for line in data.lines_of(source / name)]
        fit = [line for line in lines if 20 <= len(line) <= 150]
        yield from (("train", text, "neutral") for text in chance.sample(fit, 1_000))


SETS: dict[str, Callable[[Path], Iterator[Item]]] = {
    "sst": sst, "sst_phrases": sst_phrases, "tweets": tweets, "goemotions": goemotions, "news": news,
    "developers": developers, "finance": finance, "twitter_targets": twitter_targets, "companies": companies,
    "rated": rated, "restaurants": restaurants, "imdb": lambda source: sentences(source, "imdb"),
    "unseen_reviews": lambda source: sentences(source, "amazon", "yelp", split="test"), "reviews": reviews,
    "facts": facts, "hotels": hotels, "meals": meals, "cars": cars, "weibo": weibo, "aspects": aspects,
}  # fmt: skip
