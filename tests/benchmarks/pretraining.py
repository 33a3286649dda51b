"""How fast pre-training is: against the example script on transformers' Trainer, alternating in one run.

    python tests/benchmarks/pretraining.py speed CORPUS TOKENIZER
    python tests/benchmarks/pretraining.py tokenising CORPUS TOKENIZER
    python tests/benchmarks/pretraining.py guesser CORPUS TOKENIZER
    python tests/benchmarks/pretraining.py helps MODEL TRAIN DEV TEST --options '--epochs 3'

CORPUS is plain text, TOKENIZER a directory with a tokenizer. The peer is ../shared/peers/train_mlm.py: a model of 6
layers of 384, blocks of 128 tokens, 32 of them in a step; start-up, the first two steps and checkpoints are outside.
`guesser` is what always guesses the most frequent token, on the documents that `pretrain` holds out. `helps` fine-tunes
MODEL, and random weights of its shape, with three seeds each, on JSONL; DEV chooses the epoch, TEST has the accuracy.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEER = Path(__file__).resolve().parents[3] / "shared" / "peers" / "train_mlm.py"
SHAPE = {
    "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536, "vocab_size": 30522,
}  # fmt: skip
STEPS = 6


def ours(corpus: str, tokenizer: str, folder: Path, *more: str) -> float:
    """Tokens a second between the second step and the last."""
    config = folder / "config.json"
    config.write_text(json.dumps(SHAPE))
    command = [
        sys.executable, "-m", "bertcli", "pretrain", corpus, "--tokenizer", tokenizer, "--model-config", str(config),
        "--steps", str(STEPS + 2), "--eval-steps", str(STEPS + 2), "--dev-tokens", "0", "-o", str(folder / "model"),
        "--overwrite", "-q", *more,
    ]  # fmt: skip
    subprocess.run(command, check=True, env={**os.environ, "BERTCLI_CACHE": str(folder / "cache")})
    rows = [json.loads(line) for line in (folder / "model" / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["event"] == "step"]
    return sum(row["tokens"] for row in steps[2:]) / (steps[-1]["time"] - steps[1]["time"])


def peer(corpus: str, tokenizer: str, *more: str) -> float:
    command = [sys.executable, str(PEER), corpus, tokenizer, "--steps", str(STEPS), *more]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["tokens_per_s"])


def speed(corpus: str, tokenizer: str, pairs: int = 3) -> None:
    """Print rates and the medians of the ratios; ours without dropout, the default, and with the peer's 0.1."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours(corpus, tokenizer, folder)  # fills the cache
        for title, options in (("bf16", ("--bf16",)), ("fp32", ())):
            rounds = []
            for _ in range(pairs):
                own = (ours(corpus, tokenizer, folder), ours(corpus, tokenizer, folder, "--dropout", "0.1"))
                rounds.append((*own, peer(corpus, tokenizer, *options)))
                print(title, *(f"{rate:,.0f}" for rate in rounds[-1]), flush=True)
            plain, dropout = (statistics.median(row[i] / row[2] for row in rounds) for i in (0, 1))
            print(f"against Trainer {title}: {plain:.2f}x, with dropout 0.1 {dropout:.2f}x", flush=True)


def tokenising(corpus: str, tokenizer: str) -> None:
    """Print MB/s of bertcli's corpus and of the library on the same lines, two processes each."""
    from tokenizers import Tokenizer

    size = Path(corpus).stat().st_size / 1e6
    text = Path(corpus).read_text(encoding="utf-8")
    library = Tokenizer.from_file(f"{tokenizer}/tokenizer.json")
    lines = text.splitlines()
    for _ in range(3):
        began = time.perf_counter()
        for i in range(0, len(lines), 4096):
            library.encode_batch_fast(lines[i : i + 4096], add_special_tokens=False)
        print(f"library {size / (time.perf_counter() - began):.1f} MB/s", end="  ")
        with tempfile.TemporaryDirectory() as name:
            print(f"bertcli {size / _corpus_seconds(corpus, tokenizer, Path(name)):.1f} MB/s", flush=True)


def _corpus_seconds(corpus: str, tokenizer: str, cache: Path) -> float:
    from bertcli.pretraining.corpus import Recipe, prepare
    from bertcli.pretraining.source import Source

    source = Source([corpus])
    recipe = Recipe(source, Path(tokenizer, "tokenizer.json").read_text(encoding="utf-8"))
    began = time.perf_counter()
    for _ in prepare(recipe, cache, 2, lambda: None):
        pass
    return time.perf_counter() - began


def guesser(corpus: str, tokenizer: str) -> None:
    """Print the share of the commonest token of the training documents in the held-out ones."""
    import numpy as np

    from bertcli.pretraining.blocks import split
    from bertcli.pretraining.corpus import open_corpus

    with tempfile.TemporaryDirectory() as name:
        _corpus_seconds(corpus, tokenizer, Path(name))
        (folder,) = Path(name).iterdir()
        found = open_corpus(folder)
        assert found is not None
        begins, ends = found.bounds
        splits = [
            np.concatenate([found.ids[begins[document] : ends[document]] for document in documents.tolist()])
            for documents in split(found, 200_000)
        ]
        token = np.bincount(splits[0]).argmax()
        print(f"token {token}: {(splits[1] == token).mean():.2%} of {len(splits[1]):,} held-out tokens")


def helps(model: str, train: str, dev: str, test: str, options: list[str]) -> None:
    """Print the accuracies after fine-tuning, of the model and of random weights."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        random = Path(name, "random")
        module = AutoModelForMaskedLM.from_pretrained(model)
        rows = []
        for seed in (1, 2, 3):
            torch.manual_seed(seed)
            AutoModelForMaskedLM.from_config(module.config).save_pretrained(random)
            AutoTokenizer.from_pretrained(model).save_pretrained(random)
            rows.append([_tuned(base, train, dev, test, seed, options) for base in (model, str(random))])
            print(f"seed {seed}: pre-trained {rows[-1][0]:.2%}, random weights {rows[-1][1]:.2%}", flush=True)
        means = [statistics.mean(row[i] for row in rows) for i in (0, 1)]
        print(f"mean: {means[0]:.2%}, {means[1]:.2%}: {100 * (means[0] - means[1]):+.2f} points")


def _tuned(base: str, train: str, dev: str, test: str, seed: int, options: list[str]) -> float:
    """Accuracy on the test file."""
    with tempfile.TemporaryDirectory() as name:
        bertcli = [sys.executable, "-m", "bertcli"]
        settings = ["--epochs", "5", "--lr", "3e-4", "--seed", str(seed), "--no-export", "-q"]
        files = ["--train", train, "--dev", dev, "-m", base, "-o", f"{name}/model"]
        subprocess.run([*bertcli, "finetune", *files, *settings, *options], check=True)
        command = [*bertcli, "evaluate", test, "-m", f"{name}/model"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(json.loads(done.stdout)["accuracy"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "tokenising", "guesser", "helps"])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--options", default="", help="for finetune")
    given = parser.parse_args()
    programs = {"speed": speed, "tokenising": tokenising, "guesser": guesser}
    if given.what == "helps":
        helps(*given.files, options=shlex.split(given.options))
    else:
        programs[given.what](*given.files)
