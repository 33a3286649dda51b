"""The embedded entity model: persons (PER), organisations (ORG) and places (LOC), English and Chinese.

    python entities.py DATA PACKED WORK --teacher MPNET

DATA, PACKED, WORK and MPNET as in sentiment.py; the result is `WORK/token-classification`, its measurements
`WORK/entities/results.json`. Steps that are done are skipped, and a training that was stopped goes on. Made for a GPU.
MPNET learns the English part first, and then teaches it. The sets differ in what they call an organisation or a place:
a short stage learns Universal NER's own, and those of tweets and emerging names, which agree with it. People write
names in small letters and whole texts in capitals, and no set has many of them: a stage has some of its texts so. Then
MPNET, which reads capitals as small letters, learns Universal NER's own, too, and teaches 160,000 texts without labels,
a quarter of them in other letters. The model is the mean of the weights before that, after it, and after a last stage.

A Chinese character is a piece by itself here, for entities begin and end at any of them; a text that comes word by word
(Universal NER) then has the same pieces as one that comes as it is written. Signs have no space before them, so that
words given one by one look like running text. Miscellaneous names are no entities: few sets mark them, and those
that do not would teach that they are none. Universal NER's EWT has no training part; its dev part chooses the weights.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import data
import embeddings
import entity_texts
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, pre_tokenizers
from torch import Tensor

LAYERS = "0,1,2,3,4,5,6,7,8,9,10,11"
HAN = r"[\x{2e80}-\x{2fff}\x{3005}-\x{3007}\x{3040}-\x{30ff}\x{3400}-\x{9fff}\x{f900}-\x{faff}]"
SIGN = (
    r"[!-/:-@\[-`{-~\x{a1}-\x{bf}\x{2010}-\x{205e}\x{20a0}-\x{2bff}\x{3000}-\x{3004}\x{3008}-\x{303f}\x{ff01}-\x{ff65}]"
)
KINDS = {
    "PER": "per person writer scientist researcher musicalartist politician name person_name",
    "ORG": "org organization organisation corporation group company government university band politicalparty "
    "sportsteam org_name company_name",
    "LOC": "loc location facility geo-loc geo country address",
}
TYPES = {own: kind for kind, names in KINDS.items() for own in names.split()}
CAPS = {  # training sentences
    "newswire": 12_000, "wikipedia": 8_000, "wikipedia_zh": 6_000,
}  # fmt: skip
DEV = 500  # sentences of EWT's dev part that choose the weights; as it has no training part, the others are trained on
TEACHER = {"--epochs": 2, "--lr": 5e-5, "--batch-tokens": 4096, "--max-length": 160, "--seed": 1}
SETTINGS = {
    "--epochs": 4, "--lr": 3e-4, "--batch-tokens": 4096, "--dropout": 0, "--ema": 0.995, "--max-length": 160,
    "--eval-steps": 500, "--seed": 1,
}  # fmt: skip
LAST = ("web", "web", "gsd", "tweets", "emerging")  # of the short stage; the first, which is small, counts twice
FORMS = {  # sentences of the last stage
    "english": 6_500, "chinese": 1_500, "other english": 1_500, "other chinese": 800, "small": 3_000, "capitals": 3_500,
}  # fmt: skip
FINISH = {
    "--epochs": 3, "--lr": 1e-4, "--batch-tokens": 1024, "--ema": 0.99, "--max-length": 160, "--eval-steps": 400,
    "--seed": 1,
}  # fmt: skip
LETTERS = {**FINISH, "--epochs": 2, "--lr": 6e-5, "--eval-steps": 300}
TEXTS = 160_000  # without labels
SMALL, CAPITALS = 0.15, 0.13  # shares of these texts
TEACHER_FINISH = {**TEACHER, "--epochs": 3, "--batch-tokens": 2048}
MANY = {**SETTINGS, "--batch-tokens": 8192, "--eval-steps": 400}
LAST_STAGE = {**MANY, "--epochs": 3, "--lr": 1e-4, "--batch-tokens": 2048, "--ema": 0.99, "--eval-steps": 300}


def known(tags: Iterable[str]) -> list[str]:
    """Tags with the types' common names; others are O."""
    pairs = [tag.split("-", 1) for tag in tags]
    kinds = [TYPES.get(pair[-1].lower(), "") for pair in pairs]
    return [f"{pair[0]}-{kind}" if kind else "O" for pair, kind in zip(pairs, kinds, strict=True)]


def tagged(file: Path, word: int = 0, tag: int = -1, by: str | None = None) -> Iterator[data.Row]:
    """The sentences of a CoNLL file."""
    for words, tags in data.sentences_of(file, word, tag, by):
        yield {"tokens": words, "tags": known(tags)}


def universal(file: Path) -> Iterator[data.Row]:
    """The sentences of a file of Universal NER, as text in which Latin words alone have spaces between them."""
    for words, tags in data.sentences_of(file, 1, 2, "\t"):
        text, starts = "", []
        for word in words:
            text += " " * bool(text and text[-1].isascii() and word[0].isascii() and word[0].isalnum())
            starts.append(len(text))
            text += word
        entities: list[data.Row] = []
        for word, tag, start in zip(words, tags, starts, strict=True):
            kind = TYPES.get(tag[2:].lower())
            if kind and tag[0] == "B":
                entities.append({"type": kind, "start": start, "end": start + len(word)})
            elif kind and entities:
                entities[-1]["end"] = start + len(word)
        yield {"text": text, "entities": entities}


def newswire(file: Path) -> Iterator[data.Row]:
    """GMB's sentences without `gpe`, which are nationalities and some countries."""
    words: list[str] = []
    tags: list[str] = []
    for first, word, _, tag in [*data.table_of(file, encoding="latin-1")[1:], ["end", "", "", ""]]:
        if first:
            if words and not any(tag.endswith("gpe") for tag in tags):
                yield {"tokens": words, "tags": known(tags)}
            words, tags = [], []
        if word.strip():
            words.append(word)
            tags.append(tag)


def characters(file: Path) -> Iterator[data.Row]:
    """The sentences of a file of PAN-X with one character a line, where "#" stands for a space."""
    for words, tags in data.sentences_of(file, by="\t"):
        kinds = known(tags)
        entities: list[data.Row] = []
        for at, tag in enumerate(kinds):
            if tag[0] == "I" and entities and entities[-1]["end"] == at:
                entities[-1]["end"] = at + 1
            elif tag != "O":
                entities.append({"type": tag[2:], "start": at, "end": at + 1})
        if all(len(word) == 1 for word in words):
            yield {"text": "".join(words).replace("#", " "), "entities": entities}


def cluener(file: Path, types: Mapping[str, str] = TYPES) -> Iterator[data.Row]:
    """CLUENER: names, companies, governments, organisations and addresses, or what `types` has of its ten."""
    for row in map(json.loads, data.lines_of(file)):
        spans = [
            {"type": types[kind], "start": start, "end": end + 1}
            for kind, names in row["label"].items()
            for places in names.values()
            for start, end in places
            if kind in types
        ]
        yield {"text": row["text"], "entities": spans}


def collect(source: Path, out: Path) -> None:
    """Write train.jsonl, dev.jsonl, and the tests."""
    english, chinese = source / "open/uner_en_ewt", source / "open/uner_zh_gsdsimp"
    wnut, crossner = source / "open/wnut17", source / "open/crossner"
    web = list(tagged(english / "en_ewt-ud-dev.iob2", 1, 2, "\t"))
    sets = {
        "web": web[DEV:],
        "tweets": list(tagged(source / "open/btc/btc.train", by="\t")),
        "emerging": list(tagged(wnut / "wnut17train.conll", by="\t")),
        "domains": (row for kind in ("ai", "literature", "music", "science") for part in ("train", "dev")
                    for row in tagged(crossner / f"{kind}.{part}.txt", by="\t")),
        "worldwide": tagged(source / "research/worldwide_news_ner/train.tsv", by="\t"),
        "newswire": newswire(source / "research/gmb_kaggle/ner_dataset.csv"),
        "wikipedia": tagged(source / "research/panx/train-en.tsv", by="\t"),
        "wikipedia_zh": characters(source / "research/panx/train-zh.tsv"),
        "gsd": list(universal(chinese / "zh_gsdsimp-ud-train.iob2")),
        "cluener": cluener(source / "research/cluener/train.json"),
    }  # fmt: skip
    tests = {
        "ewt": list(tagged(english / "en_ewt-ud-test.iob2", 1, 2, "\t")),
        "gsdsimp": list(tagged(chinese / "zh_gsdsimp-ud-test.iob2", 1, 2, "\t")),
        "btc": list(tagged(source / "open/btc/btc.test", by="\t")),
        "worldwide": list(tagged(source / "research/worldwide_news_ner/dev.tsv", by="\t")),
        "cluener": list(cluener(source / "research/cluener/dev.json")),
    }
    dev = [
        *web[:DEV], *tagged(chinese / "zh_gsdsimp-ud-dev.iob2", 1, 2, "\t")
    ]  # fmt: skip
    held = {data.key_of(text_of(row)) for rows in [dev, *tests.values()] for row in rows if len(text_of(row)) > 20}
    chance = random.Random(0)
    train: list[data.Row] = []
    for name, rows in sets.items():
        own = [row for row in rows if data.key_of(text_of(row)) not in held]
        chance.shuffle(own)
        train += own[: CAPS.get(name, len(own))]
        print(name, len(own))
    chance.shuffle(train)
    data.write_rows(out / "train.jsonl", train)
    last = [row for name in LAST for row in sets[name] if data.key_of(text_of(row)) not in held]
    chance.shuffle(last)
    data.write_rows(out / "last.jsonl", last)
    data.write_rows(out / "dev.jsonl", dev)
    for name, rows in tests.items():
        data.write_rows(out / "tests" / f"{name}.jsonl", rows)


def same_length(text: str, form: Callable[[str], str]) -> str:
    """The text in another form, or as it is where that has another length: the places of entities must hold."""
    return changed if len(changed := form(text)) == len(text) else text


def is_english(row: data.Row) -> bool:
    """Whether most characters of the row's text are ASCII."""
    text = text_of(row)
    return sum(map(str.isascii, text)) > 0.8 * len(text)


def forms(parts: Path, out: Path) -> None:
    """Write the sentences of a stage: as they are, in small letters, and in capitals, as many as FORMS says."""

    def written(row: data.Row, form: Callable[[str], str]) -> data.Row:
        if "tokens" in row:
            return {**row, "tokens": [same_length(token, form) for token in row["tokens"]]}
        return {**row, "text": same_length(row["text"], form)}

    chance = random.Random(2)
    last, train = (data.read_rows(parts / f"{name}.jsonl") for name in ("last", "train"))
    english = list({text_of(row): row for row in last if is_english(row)}.values())
    chinese = [row for row in last if not is_english(row)]
    seen = set(map(text_of, last))
    others = [row for row in train if text_of(row) not in seen]
    for rows in (others, english, chinese):
        chance.shuffle(rows)
    short = [row for row in others if is_english(row) and len(text_of(row)) < 250][:4000]
    chosen = [*english[: FORMS["english"]], *short[: FORMS["other english"]], *chinese[: FORMS["chinese"]]]
    chosen += [row for row in others if not is_english(row)][: FORMS["other chinese"]]
    english += short
    chance.shuffle(english)
    chosen += [written(row, str.lower) for row in english[: FORMS["small"]]]
    chosen += [written(row, str.upper) for row in english[FORMS["small"] :][: FORMS["capitals"]]]
    chance.shuffle(chosen)
    data.write_rows(out, chosen)


def many(source: Path, parts: Path, written: Path, out: Path) -> None:
    """Write labelled.jsonl, what has labels that agree with Universal NER's or are Chinese, and unlabelled.jsonl."""
    last, train, dev, forms = (
        data.read_rows(file) for file in (*(parts / f"{name}.jsonl" for name in ("last", "train", "dev")), written)
    )
    tests = chain.from_iterable(map(data.read_rows, (parts / "tests").iterdir()))
    agreeing = set(map(text_of, last))
    other = [row for row in forms if text_of(row).islower() or text_of(row).isupper()]
    chance = random.Random(3)
    labelled = last + [row for row in train if data.is_chinese(text_of(row))]
    labelled += [row for row in other if not data.is_chinese(text_of(row))]
    chance.shuffle(labelled)
    data.write_rows(out / "labelled.jsonl", labelled)

    texts = [text_of(row) for row in train if not data.is_chinese(text_of(row)) and text_of(row) not in agreeing]
    seen = {data.key_of(text_of(row)) for row in chain(train, last, dev, tests)}
    gmb = "gmb", map(text_of, newswire(source / "research/gmb_kaggle/ner_dataset.csv"))
    for name, found in chain(entity_texts.sets(source), [gmb]):
        usual = filter(entity_texts.is_usual, (" ".join(text.split()) for text in found))
        own = {key: text for text in usual if (key := data.key_of(text)) not in seen}
        seen |= own.keys()
        texts += chance.sample([*own.values()], min(len(own), entity_texts.CAPS.get(name, len(own))))
        print(name, len(own))
    chance.shuffle(texts)
    rows = []
    for text in texts[:TEXTS]:
        at = chance.random()
        form = str.lower if at < SMALL else str.upper if at < SMALL + CAPITALS else str
        rows.append({"text": same_length(text, form)})
    data.write_rows(out / "unlabelled.jsonl", rows)


def mean(models: Mapping[Path, float], out: Path) -> None:
    """Write the model whose weights are a mean of those of several models, with these shares."""
    weights: dict[str, Tensor] = {}
    for model, share in models.items():
        shutil.copytree(model, out, dirs_exist_ok=True)
        for name, weight in load_file(model / "model.safetensors").items():
            weights[name] = weights.get(name, 0) + share * weight
    save_file(weights, out / "model.safetensors", {"format": "pt"})


def text_of(row: data.Row) -> str:
    """The text of a row."""
    return row["text"] if "text" in row else " ".join(row["tokens"])


def base(source: Path, packed: Path, work: Path, out: Path) -> None:
    """The checkpoint with a piece for each Chinese character and none for more of them."""
    embeddings.base(source, packed, work, LAYERS)
    pieces = json.loads((work / "pieces.json").read_text(encoding="utf-8"))
    single = [piece for piece in pieces if len(piece.lstrip("▁")) <= 1 or not data.is_chinese(piece)]
    kept = out.with_name("single.json")
    kept.write_text(json.dumps(single, ensure_ascii=False), encoding="utf-8")
    embeddings.checkpoint(packed, out, "--pieces", kept, "--layers", LAYERS)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Metaspace("▁", prepend_scheme="always"),
        pre_tokenizers.Split(Regex(f"▁(?={HAN}|{SIGN})"), "removed"),
        pre_tokenizers.Split(Regex(HAN), "isolated"),
    ])  # fmt: skip
    tokenizer.save(str(out / "tokenizer.json"))


def main() -> None:
    """See the module."""
    given = embeddings.arguments(__doc__)
    work = given.work / "entities"
    work.mkdir(parents=True, exist_ok=True)
    start = data.step(work / "base", lambda out: base(given.data, given.packed, given.work, out))
    parts = data.step(work / "parts", lambda out: collect(given.data, out))
    model = data.taught("ner", TEACHER, SETTINGS, parts, start, given.teacher, work)
    dev = "--dev", parts / "dev.jsonl"

    def stage(name: str, settings: data.Row, *arguments: object) -> Path:
        return data.step(work / name, lambda out: data.train(out, settings, "-t", "ner", *arguments))

    before = stage("finished", FINISH, "--train", parts / "last.jsonl", *dev, "-m", model)
    written = data.step(work / "forms.jsonl", lambda out: forms(parts, out))
    after = stage("letters", LETTERS, "--train", written, *dev, "-m", before)
    first = data.step(work / "first", lambda out: mean({before: 0.25, after: 0.75}, out))

    english = data.step(work / "english-last.jsonl", lambda out: data.english(parts / "last.jsonl", out))
    english_dev = work / "english-dev.jsonl"
    teacher = stage("teacher-2", TEACHER_FINISH, "--train", english, "--dev", english_dev, "-m", work / "teacher")
    texts = data.step(work / "many", lambda out: many(given.data, parts, written, out))
    files = "--train", texts / "labelled.jsonl", "--unlabelled", texts / "unlabelled.jsonl", *dev
    second = stage("second", MANY, *files, "-m", first, "--teacher", teacher)
    third = stage("third", LAST_STAGE, "--train", written, *dev, "-m", second, "--teacher", teacher)
    model = data.step(work / "mean", lambda out: mean(dict.fromkeys((first, second, third), 1 / 3), out))
    whole = data.step(work / "exported", lambda out: data.export(model, parts / "train.jsonl", out))
    final = data.step(given.work / "token-classification", lambda out: data.publish(whole, out))
    data.step(work / "results.json", lambda out: data.measure(final, parts / "tests", out))


if __name__ == "__main__":
    main()
