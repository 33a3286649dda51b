"""A checkpoint with a smaller vocabulary: only the pieces that a corpus or the model's own data need.

    python tests/benchmarks/trim.py DIR OUT SIZE CORPUS...

Keeps the special tokens, all single characters of Latin script, digits and signs, and the SIZE most frequent pieces of
the corpus (text files, also .xz). What else a text has is spelt in smaller pieces; where only kept ones occur, the
outputs stay the same. Made for the embedded models, half of whose bytes are word embeddings.
"""

import json
import lzma
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tokenizers
from safetensors.torch import load_file, save_file

LATIN = 0x250  # the first code point after the Latin blocks


def texts(files: list[str]) -> Iterator[str]:
    """The lines of all files."""
    for file in files:
        with lzma.open(file, "rt", encoding="utf-8") if file.endswith(".xz") else Path(file).open() as lines:
            yield from lines


def counted(tokenizer: tokenizers.Tokenizer, lines: Iterator[str]) -> Counter[int]:
    """How often each piece occurs."""
    counts: Counter[int] = Counter()
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == 10_000:
            counts.update(i for encoding in tokenizer.encode_batch_fast(chunk, False) for i in encoding.ids)
            chunk = []
    counts.update(i for encoding in tokenizer.encode_batch_fast(chunk, False) for i in encoding.ids)
    return counts


def main(source: str, target: str, size: str, *corpus: str) -> None:
    """See the module."""
    tokenizer = tokenizers.Tokenizer.from_file(f"{source}/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = counted(tokenizer, texts(list(corpus)))
    document = json.loads(Path(source, "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = document["model"]["vocab"]
    special = {token["content"] for token in document["added_tokens"]}
    bare = {token: token.removeprefix("##") for token in vocabulary}
    wanted = {token for token in vocabulary if token in special or (len(bare[token]) == 1 and ord(bare[token]) < LATIN)}
    frequent = [token for token, i in sorted(vocabulary.items(), key=lambda item: -counts[item[1]]) if counts[i]]
    kept = sorted(wanted | set(frequent[: int(size)]), key=lambda token: vocabulary[token])
    rows = [vocabulary[token] for token in kept]

    shutil.copytree(source, target, ignore=shutil.ignore_patterns("onnx"))
    renumbered = {token: i for i, token in enumerate(kept)}
    document["model"]["vocab"] = renumbered
    for token in document["added_tokens"]:
        token["id"] = renumbered[token["content"]]
    for token in document["post_processor"].get("special_tokens", {}).values():
        token["ids"] = [renumbered[name] for name in token["tokens"]]
    Path(target, "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    Path(target, "vocab.txt").write_text("".join(f"{token}\n" for token in kept), encoding="utf-8")
    config = json.loads(Path(source, "config.json").read_text(encoding="utf-8"))
    config |= {"vocab_size": len(kept), "pad_token_id": renumbered["[PAD]"]}
    Path(target, "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
    weights = load_file(f"{source}/model.safetensors")
    name = next(name for name in weights if name.endswith("embeddings.word_embeddings.weight"))
    weights[name] = weights[name][rows].contiguous()
    save_file(weights, f"{target}/model.safetensors", metadata={"format": "pt"})
    share = sum(counts[i] for i in rows) / counts.total()
    print(json.dumps({"before": len(vocabulary), "after": len(kept), "share of the corpus in kept pieces": share}))


if __name__ == "__main__":
    main(*sys.argv[1:])
