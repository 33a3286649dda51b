"""Two single-thread streams against one stream of two threads, on one ONNX file and the same batches, alternating.

    python tests/benchmarks/streams.py texts.txt [--rounds 5]

Prints tokens a second and tokens a CPU second of both; on a machine with other work only the second is telling.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime as ort

from bertcli import tokenizer_files
from bertcli.arrays import Features
from bertcli.backends import BATCH_TOKENS
from bertcli.inference.batching import collate, cut
from bertcli.model import resolve


def opened(file: Path, threads: int) -> ort.InferenceSession:
    """A session with so many threads within an operator, which spin as they do by default."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def measure(session: ort.InferenceSession, batches: list[dict[str, Any]], streams: int) -> tuple[float, float]:
    """Tokens a second and tokens a CPU second of the process."""
    tokens = sum(batch["input_ids"].size for batch in batches)
    began, busy = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(lambda batch: session.run(None, batch), batches))
    return tokens / (time.perf_counter() - began), tokens / (time.process_time() - busy)


def main() -> None:
    """Parse the command line and print a line for each form, with the ratio of each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    model = resolve(None)
    file = model.onnx_file("int8")
    assert file
    encoded = tokenizer_files.load(model.path, model.config).encode(
        given.texts.read_text(encoding="utf-8").splitlines()
    )
    windows = [((i, 0), own.windows[0]) for i, own in enumerate(encoded) if isinstance(own, Features)]
    batches = [collate([window for _, window in group]) for group in cut(windows, BATCH_TOKENS)]
    forms = {"two streams of one thread": (opened(file, 1), 2), "one stream of two threads": (opened(file, 2), 1)}
    for session, _ in forms.values():
        session.run(None, batches[0])
    rounds = [[measure(session, batches, streams) for session, streams in forms.values()] for _ in range(given.rounds)]
    for name, figures in zip(forms, zip(*rounds, strict=True), strict=True):
        wall, busy = (statistics.median(own[i] for own in figures) for i in (0, 1))
        print(f"{name}: {wall:,.0f} tokens/s, {busy:,.0f} tokens/CPU s")
    for i, what in enumerate(("tokens/s", "tokens/CPU s")):
        print(f"streams / threads, {what}:", ", ".join(f"{one[i] / other[i]:.2f}" for one, other in rounds))


if __name__ == "__main__":
    main()
