"""What a GPU gives, in one table and at most eight minutes: speeds against what users run instead, and what must hold.

    python tests/benchmarks/gpu.py > table.md
    python tests/benchmarks/gpu.py --device cpu --tiny          # a dry run: the same parts on models of two layers
    python tests/benchmarks/gpu.py --parts predict memory

Needs no network and no data: texts are drawn from the vocabulary of the embedded embeddings, and encoders have random
weights, on which speed does not depend. Ours and the peer's run one after the other on the same texts, on a GPU in
bf16. Peers: transformers' pipeline (for questions, which it has no more, a loop over padded batches) and
sentence-transformers, each with the best of three batch sizes on fewer texts; Trainer, by the programs in
../shared/peers. A part that does not fit the time any more is left out, and says so.
"""

import argparse
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from bertcli.data.records import Record
from bertcli.inference import Batching, Request
from bertcli.inference.session import open_session
from bertcli.inference.stream import result, stream
from bertcli.model import BUILTIN
from bertcli.pretrained import make_config, new_module, quiet
from bertcli.tasks.options import Options

PEERS = Path(__file__).resolve().parents[3] / "shared" / "peers"
MINUTES = 8.0
SHAPES = {
    "MiniLM-L6": {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "mpnet-base": {"model_type": "mpnet", "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
}
TINY = {"hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 48}
HEADS = {"classify": "SequenceClassification", "ner": "TokenClassification", "qa": "QuestionAnswering", "embed": ""}
PIPELINES = {"classify": "text-classification", "ner": "token-classification"}
PEERS_TEXTS = 2000
BATCHES = (32, 128, 512)  # of the peers, in texts
TOKENS = tuple(2**power for power in range(12, 21, 2))  # of ours, to look for the best


@dataclass
class Bench:
    """What all parts share. unit: how much is measured; 1 in a dry run."""

    device: str
    tiny: bool
    folder: Path
    deadline: float
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        vocabulary = json.loads((BUILTIN / "feature-extraction" / "tokenizer.json").read_text("utf-8"))
        pieces = (piece.lstrip("▁") for piece, _ in vocabulary["model"]["vocab"] if piece.startswith("▁"))
        self.words = [word for word in pieces if word.isascii() and word.isalpha()]

    @property
    def precision(self) -> str:
        return "fp32" if self.device == "cpu" else "bf16"

    def texts(self, count: int, longest: int = 60) -> list[str]:
        """As many different texts, of 4 words or more."""
        chance = random.Random(0)
        return [" ".join(chance.choices(self.words, k=chance.randint(4, longest))) for _ in range(count)]

    def model(self, name: str, head: str) -> Path:
        """A model of that shape and head with random weights, with the tokenizer of the embedded embeddings."""
        path = self.folder / f"{name}-{head}"
        if not path.is_dir():
            shape = SHAPES[name] | (TINY if self.tiny else {})
            config = make_config(vocab_size=30527, num_attention_heads=12, max_position_embeddings=514, **shape)
            if head == HEADS["ner"]:
                config.id2label = {0: "O", 1: "B-PER", 2: "I-PER"}
            module = new_module(config, head, dtype=torch.float32)
            if head == HEADS["ner"]:  # As in real texts, most words are no entities.
                module.classifier.bias.data[0] = 2.0
            module.save_pretrained(path)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(BUILTIN / "feature-extraction" / file, path)
        return path

    def run(self, *command: str | Path) -> str:
        """The standard output of a Python program, which gets the time that is left."""
        done = subprocess.run(
            [sys.executable, *map(str, command)], check=True, capture_output=True, text=True,
            timeout=max(1.0, self.deadline - time.monotonic()),
            env={**os.environ, "BERTCLI_CACHE": str(self.folder / "cache"), "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        return done.stdout

    def peer(self, program: str, *options: str | Path) -> dict[str, Any]:
        """What a program of ../shared/peers prints."""
        return dict(json.loads(self.run(PEERS / program, *options).splitlines()[-1]))


Row = tuple[str, str, str, str]  # what, ours, the peer's, ratio or verdict


def compared(what: str, unit: str, ours: float, peer: Callable[[], float]) -> Row:
    """A row of two rates; where the peer cannot run here, it says why."""
    try:
        theirs = peer()
    except (ImportError, OSError, subprocess.CalledProcessError) as error:
        why = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1]
        return what, f"{ours:,.0f} {unit}", f"not run ({why})", "-"
    return what, f"{ours:,.0f} {unit}", f"{theirs:,.0f} {unit}", f"{ours / theirs:.2f}x"


def check(bench: Bench) -> Iterator[Row]:
    """Whether the device computes what a CPU does."""
    for name in SHAPES:
        path = bench.model(name, HEADS["classify"])
        facts = json.loads(bench.run("-m", "bertcli", "info", "-m", path, "--device", bench.device, "-f", "json"))
        found = facts["check"]
        yield f"info, {name}", f"{max(found['batched'], found['single']):.1e}", "1e-3", str(found["passed"])


def rate(bench: Bench, path: Path, task: str, records: Sequence[Record], settings: Batching | None = None) -> float:
    """Records a second of `predict`, without its start, after a run that does not count."""
    gc.set_threshold(100_000)  # as predict does; the records of this program are many
    request = Request(str(path), task, "pytorch", bench.device, bench.precision)
    session = open_session(request, Options())
    for part in (records[: len(records) // 10 + 1], records):
        began = time.perf_counter()
        for outcome in chain.from_iterable(stream(session.task, session.backend, part, settings)):
            assert outcome.error is None, outcome.error
            result(session.task, outcome)
    return len(records) / (time.perf_counter() - began)


def predict(bench: Bench) -> Iterator[Row]:
    """Every task and both encoders against the peer with its best batch size."""
    texts = bench.texts(8 if bench.tiny else 24_000)
    for name in SHAPES:
        for task, head in HEADS.items():
            path = bench.model(name, head)
            question = {"question": "what is it"} if task == "qa" else {}
            shown = texts if task in ("classify", "embed") else texts[:8000]
            records = [Record(i, {"text": text, "context": text, **question}) for i, text in enumerate(shown)]
            ours = rate(bench, path, task, records)
            peer = partial(theirs, bench, path, task, texts[:PEERS_TEXTS])
            yield compared(f"predict -t {task}, {name}", "texts/s", ours, peer)


def theirs(bench: Bench, path: Path, task: str, texts: Sequence[str]) -> float:
    """Texts a second of the pipeline, or of sentence-transformers, with the best batch size."""
    dtype = torch.float32 if bench.precision == "fp32" else torch.bfloat16
    sizes = BATCHES[:1] if bench.tiny else BATCHES
    if task == "embed":
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(path), device=bench.device, model_kwargs={"dtype": dtype})
        runs = [lambda size=size: model.encode(list(texts), batch_size=size) for size in sizes]
    elif task == "qa":
        runs = [lambda size=size: questions(bench, path, texts, dtype, size) for size in sizes]
    else:
        from transformers import pipeline

        engine = pipeline(PIPELINES[task], model=str(path), device=bench.device, dtype=dtype)
        runs = [lambda size=size: list(engine(list(texts), batch_size=size)) for size in sizes]
    rates = []
    for run in runs:
        began = time.perf_counter()
        run()
        rates.append(len(texts) / (time.perf_counter() - began))
    return max(rates)


@torch.inference_mode()
def questions(bench: Bench, path: Path, texts: Sequence[str], dtype: torch.dtype, size: int) -> list[str]:
    """A loop as one writes it: batches in input order, padded, the text from the best start to the best end."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForQuestionAnswering.from_pretrained(path, dtype=dtype).to(bench.device).eval()
    answers: list[str] = []
    for start in range(0, len(texts), size):
        part = list(texts[start : start + size])
        asked = ["what is it"] * len(part)
        inputs = tokenizer(asked, part, padding=True, return_tensors="pt", return_offsets_mapping=True)
        names = {"input_ids", "attention_mask", *(["token_type_ids"] if model.config.model_type == "bert" else [])}
        outputs = model(**{name: tensor.to(bench.device) for name, tensor in inputs.items() if name in names})
        offsets = inputs["offset_mapping"].tolist()
        firsts, lasts = outputs.start_logits.argmax(1).tolist(), outputs.end_logits.argmax(1).tolist()
        answers += [t[o[i][0] : o[k][1]] for t, o, i, k in zip(part, offsets, firsts, lasts, strict=True)]
    return answers


def memory(bench: Bench) -> Iterator[Row]:
    """Batches of more and more tokens, up to more than there is memory for: what is fastest, and that none fails."""
    path = bench.model("MiniLM-L6", HEADS["classify"])
    records = [Record(i, {"text": text}) for i, text in enumerate(bench.texts(8 if bench.tiny else 20_000))]
    for tokens in TOKENS[:2] if bench.tiny else (*TOKENS, 2**26):
        if bench.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        speed = rate(bench, path, "classify", records, replace(Batching(), batch_tokens=tokens))
        peak = torch.cuda.max_memory_allocated() / 2**30 if bench.device == "cuda" else 0.0
        yield f"--batch-tokens {tokens:,}", f"{speed:,.0f} texts/s", "-", f"{peak:.1f} GiB"


def labelled(bench: Bench, count: int) -> Path:
    """A table of texts with one of two labels."""
    path = bench.folder / f"{count}.tsv"
    rows = [f"{text}\t{'ab'[i % 2]}\n" for i, text in enumerate(bench.texts(count, 30))]
    path.write_text("text\tlabel\n" + "".join(rows), "utf-8")
    return path


def steps(output: Path) -> list[dict[str, Any]]:
    """What a training logged of each step, without the first tenth, in which kernels are chosen."""
    events = [json.loads(line) for line in (output / "log.jsonl").read_text("utf-8").splitlines()]
    taken = [event for event in events if event["event"] == "step"]
    return taken[len(taken) // 10 :]


def finetune(bench: Bench) -> Iterator[Row]:
    """Examples a second against Trainer with dynamic padding, and an interrupted run against one that was not."""
    train = labelled(bench, 64 if bench.tiny else 48_000)
    for name in SHAPES:
        path, output = bench.model(name, HEADS["classify"]), bench.folder / f"tuned-{name}"
        begin = ["-m", "bertcli", "finetune", "-m", path, "--train", train, "--device", bench.device, "--epochs", "1"]
        begin += ["--batch-tokens", "512" if bench.tiny else "16384", "--precision", bench.precision, "--no-export"]
        bench.run(*begin, "-o", output)
        taken = steps(output)
        ours = sum(row["examples"] for row in taken[1:]) / max(taken[-1]["time"] - taken[0]["time"], 1e-3)
        options = [path, train, labelled(bench, 64), "--dynamic", "--batch-size", "512", "--epochs", "2"]
        options += ["--bf16"] * (bench.precision == "bf16")
        yield compared(
            f"finetune, {name}", "examples/s", ours,
            lambda options=options: float(bench.peer("train_classify.py", *options)["examples_per_s"]),
        )  # fmt: skip
    cut = bench.folder / "cut"
    with subprocess.Popen([sys.executable, *map(str, begin), "-o", str(cut)], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (cut / "log.jsonl").is_file():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
    bench.run(*begin, "-o", cut, "--resume")
    same = (cut / "model.safetensors").read_bytes() == (output / "model.safetensors").read_bytes()
    yield (
        "finetune, interrupted and resumed",
        f"exit {process.returncode}",
        "-",
        "same bytes" if same else "other bytes",
    )


def pretrain(bench: Bench) -> Iterator[Row]:
    """Tokens a second of BERT-base, and the share of the device's peak, in blocks of 128 and of 512 tokens.

    A checkpoint with the optimiser's state is 1.3 GB: one is written, after the last step.
    """
    corpus = bench.folder / "corpus.txt"
    corpus.write_text("\n\n".join("\n".join(bench.texts(20, 40)) for _ in range(2 if bench.tiny else 1000)), "utf-8")
    tokenizer, count = bench.model("MiniLM-L6", HEADS["classify"]), "4" if bench.tiny else "60"
    size, shape = ("tiny", ("2", "128", "2")) if bench.tiny else ("base", ("12", "768", "12"))
    bf16 = ["--bf16"] * (bench.precision == "bf16")
    for length in (128, 512):
        output, batch = bench.folder / f"base-{length}", 512 if bench.tiny else 32_768
        bench.run(
            "-m", "bertcli", "pretrain", corpus, "-o", output, "--tokenizer", tokenizer, "--size", size, "--lengths",
            f"{length}:1", "--batch-tokens", str(batch), "--steps", count, "--eval-steps", count, "--dev-tokens", "0",
            "--pack", "across", "--device", bench.device, "--precision", bench.precision,
        )  # fmt: skip
        taken = steps(output)
        ours = sum(row["tokens"] for row in taken[1:]) / max(taken[-1]["time"] - taken[0]["time"], 1e-3)
        options = [corpus, tokenizer, "--layers", shape[0], "--hidden", shape[1], "--heads", shape[2], "--block"]
        options += [str(length), "--batch-size", str(batch // length), "--steps", count, *bf16]
        yield compared(
            f"pretrain BERT-{size}, {length} tokens", "tokens/s", ours,
            lambda options=options: float(bench.peer("train_mlm.py", *options)["tokens_per_s"]),
        )  # fmt: skip
        used = [row["utilisation"] for row in taken if row["utilisation"] is not None]
        yield f"  of the device's peak, {length} tokens", f"{sum(used) / len(used):.1%}" if used else "-", "-", "-"


PARTS = {part.__name__: part for part in (check, predict, finetune, pretrain, memory)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts and print a row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="models of two layers and few texts: a dry run")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--minutes", type=float, default=MINUTES)
    options = parser.parse_args(arguments)
    quiet()
    print("| what | bertcli | the other | ratio |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.device, options.tiny, Path(folder), time.monotonic() + 60 * options.minutes)
        for name in options.parts:
            try:
                for row in PARTS[name](bench):
                    print("| " + " | ".join(row) + " |", flush=True)
                    if time.monotonic() > bench.deadline:
                        raise TimeoutError
            except (TimeoutError, subprocess.TimeoutExpired):
                print(f"| {name} | left out: the time is over | - | - |", flush=True)
            except subprocess.CalledProcessError as error:
                print(f"| {name} | failed: {error.stderr.strip().splitlines()[-1]} | - | - |", flush=True)


if __name__ == "__main__":
    main()
