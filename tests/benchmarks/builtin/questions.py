"""The embedded question-answering model: where in a text an answer stands, English and Chinese.

    python questions.py DATA PACKED WORK --teacher MPNET

DATA, PACKED, WORK and MPNET as in sentiment.py; the result is `WORK/question-answering`, its measurements
`WORK/questions/results.json`. Steps that are done are skipped, and a training that was stopped goes on. Made for a GPU.
MPNET learns the English part first, and then teaches it.

SQuAD's training set is not among the data; sets that look like it stand in. Contexts are cut to some sentences around
the answer, most of them short and some long: time goes with their length, and more questions teach more than more text
around each. Where several people answered, the most frequent answer is taught. The ends of CMRC 2018's train set and of
the part of SQuAD's choose the weights; TyDi QA's English dev set, as it is at hand, has no answers.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import data
import embeddings

LAYERS = "0,1,2,3,4,5,6,7,8,9,10,11"
CAPS = {"sentences": 20_000}  # training questions
WIDTHS = (200, 400, 600, 900, 1_200)  # characters of an English context; Chinese says as much in two fifths
TEACHER = {"--epochs": 2, "--lr": 5e-5, "--batch-tokens": 8192, "--max-length": 384, "--seed": 1}
SETTINGS = {
    "--epochs": 3, "--lr": 3e-4, "--batch-tokens": 12_288, "--dropout": 0, "--ema": 0.995, "--max-length": 384,
    "--eval-steps": 500, "--seed": 1,
}  # fmt: skip
BREAK = re.compile(r"(?<=[.!?])\s+|(?<=[。！？；])|\n+")  # noqa: RUF001
BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "``": '"', "''": '"'}


def squad(file: Path) -> Iterator[data.Row]:
    """SQuAD's JSON: the most frequent answer of each question."""
    for article in json.loads(data.text_of(file))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                counts = Counter((answer["answer_start"], answer["text"]) for answer in question["answers"])
                (start, text), _ = counts.most_common(1)[0]
                yield row(question["question"], paragraph["context"], start, text)


def row(question: str, context: str, start: int, text: str) -> data.Row:
    """A record as bertcli reads it; an answer that is not where it should be is looked for."""
    if context[start : start + len(text)] != text:
        start = context.find(text)
    return {"question": question, "context": context, "answers": {"text": [text], "answer_start": [start]}}


def natural(file: Path) -> Iterator[data.Row]:
    """QED: questions of Natural Questions with an answer in one piece, the shortest."""
    for line in map(json.loads, data.lines_of(file)):
        single = [spans[0] for spans in line["original_nq_answers"] if len(spans) == 1]
        if single:
            answer = min(single, key=lambda span: len(span["string"]))
            yield row(line["question_text"], line["paragraph_text"], answer["start"], answer["string"])


def sentences(folder: Path) -> Iterator[data.Row]:
    """QAMR: questions on single sentences, whose tokens are put together as they are written."""
    texts = dict(line.split("\t", 1) for line in data.lines_of(folder / "wiki-sentences.tsv"))
    for name in ("filtered_dev", "filtered_test"):
        for line in data.lines_of(folder / f"{name}.tsv"):
            fields = line.split("\t")
            places = sorted(map(int, fields[6].split()))
            if places != list(range(places[0], places[-1] + 1)):
                continue
            context, starts, ends = written(texts[fields[0]].split())
            start, end = starts[places[0]], ends[places[-1]]
            yield row(fields[5], context, start, context[start:end])


def written(tokens: list[str]) -> tuple[str, list[int], list[int]]:
    """Tokens of the Penn Treebank as text, and where each starts and ends."""
    text = ""
    starts, ends = [], []
    for token in (BRACKETS.get(token, token) for token in tokens):
        glued = not text or text[-1] in "([$" or re.match(r"[,.;:!?)\]%]$|'(s|re|ve|ll|d|m)?$|n't$", token)
        text += "" if glued else " "
        starts.append(len(text))
        text += token
        ends.append(len(text))
    return text, starts, ends


def cut(found: data.Row, chance: random.Random) -> data.Row | None:
    """The record with fewer sentences around its answer; None where the answer is not in its context."""
    context, (text,), (start,) = found["context"], found["answers"]["text"], found["answers"]["answer_start"]
    if start < 0 or not text:
        return None
    width = chance.choice(WIDTHS) * (0.4 if data.is_chinese(context) else 1.0)
    edges = [0, *(match.end() for match in BREAK.finditer(context)), len(context)]
    first = max(edge for edge in edges if edge <= start)
    last = min(edge for edge in edges if edge >= start + len(text))
    while last - first < width:
        before = [edge for edge in edges if edge < first]
        after = [edge for edge in edges if edge > last]
        if not before and not after:
            break
        if before and (not after or chance.random() < 0.5):
            first = before[-1]
        else:
            last = after[0]
    return row(found["question"], context[first:last], start - first, text)


def collect(source: Path, out: Path) -> None:
    """Write train.jsonl and dev.jsonl, and the tests as they are published."""
    opened = source / "open"
    chance = random.Random(0)
    english = list(squad(opened / "squad_part/squad_part.json"))
    cmrc = list(squad(opened / "cmrc2018/cmrc2018_train.json"))
    sets = {
        "wiki": squad(opened / "squadshifts/new_wiki_v1.0.json"),
        "reddit": squad(opened / "squadshifts/reddit_v1.0.json"),
        "squad": english[:-320],
        "tydi": squad(opened / "tydiqa_en/tydiqa.goldp.en.train.json"),
        "natural": natural(opened / "qed/qed-dev.jsonlines"),
        "sentences": sentences(opened / "qamr"),
        "cmrc": cmrc[:-300],
    }
    tests = {"squad": "squad/dev-v1.1.json", "cmrc2018": "cmrc2018/cmrc2018_dev.json"}
    held = {data.key_of(found["context"]) for name in tests.values() for found in squad(opened / name)}
    train: list[data.Row] = []
    for name, rows in sets.items():
        own = [found for found in rows if data.key_of(found["context"]) not in held]
        kept = [cut(found, chance) for found in chance.sample(own, min(len(own), CAPS.get(name, len(own))))]
        train += filter(None, kept)
    chance.shuffle(train)
    data.write_rows(out / "train.jsonl", train)
    data.write_rows(out / "dev.jsonl", [*english[-300:], *cmrc[-300:]])
    (out / "tests").mkdir()
    for name, file in tests.items():
        (out / "tests" / f"{name}.json").write_text(data.text_of(opened / file), encoding="utf-8")


def main() -> None:
    """See the module."""
    given = embeddings.arguments(__doc__)
    start = embeddings.base(given.data, given.packed, given.work, LAYERS)
    work = given.work / "questions"
    work.mkdir(parents=True, exist_ok=True)
    parts = data.step(work / "parts", lambda out: collect(given.data, out))
    model = data.taught("qa", TEACHER, SETTINGS, parts, start, given.teacher, work)
    whole = data.step(work / "exported", lambda out: data.export(model, parts / "train.jsonl", out))
    final = data.step(given.work / "question-answering", lambda out: data.publish(whole, out))
    data.step(work / "results.json", lambda out: data.measure(final, parts / "tests", out))


if __name__ == "__main__":
    main()
