"""Trainings side by side on the same cores: how fast each is when threads that wait for each other spin, or sleep.

Alternates libgomp's own way (it spins), sleep, and bertcli's (`use_threads` of device.py: they spin until the cores are
crowded), alone and with a neighbour. A machine that others use too makes "alone" slow: compare within a round. Prints
one JSON line for each case.
Try: python tests/benchmarks/neighbours.py --threads 2 --seconds 10 --rounds 3
"""

import argparse
import json
import os
import subprocess
import sys

WORK = """
import sys, time, torch
from transformers import BertConfig, BertModel
from bertcli.device import use_threads
(use_threads if sys.argv[3] == "bertcli" else torch.set_num_threads)(int(sys.argv[1]))
shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
model, ids = BertModel(BertConfig(vocab_size=3000, **shape)).train(), torch.randint(0, 3000, (int(sys.argv[4]), 32))
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
def step():
    optimizer.zero_grad()
    model(ids).last_hidden_state.square().mean().backward()
    optimizer.step()
step()
print("ready", flush=True)
sys.stdin.readline()
began, count = time.perf_counter(), 0
while time.perf_counter() - began < float(sys.argv[2]):
    step()
    count += 1
print(count * ids.numel() / (time.perf_counter() - began), flush=True)
"""


def speeds(way: str, count: int, options: argparse.Namespace) -> list[int]:
    """Tokens a second of each of `count` trainings of MiniLM's shape that run at once."""
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} if way == "asleep" else {}
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-c", WORK, str(options.threads), str(options.seconds), way, str(options.texts)]
    runs = [
        subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env={**unset, **environment}) for _ in range(count)
    ]
    for run in runs:
        assert run.stdout and run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin
        print(file=run.stdin, flush=True)
    return [round(float(run.communicate()[0])) for run in runs]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--texts", type=int, default=8, help="Of 32 tokens each, in a batch.")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for number in range(options.rounds):
        for name in ("spinning", "asleep", "bertcli"):
            for count in (1, 2):
                tokens = speeds(name, count, options)
                load = round(os.getloadavg()[0], 1)
                print(json.dumps({"round": number, "waits": name, "tokens_per_s": tokens, "load": load}), flush=True)


if __name__ == "__main__":
    main()
