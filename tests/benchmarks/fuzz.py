"""Records of random Unicode through the whole program: as many out as in, no traceback, no NaN, every offset exact.

    python tests/benchmarks/fuzz.py TASK MODEL [COUNT [SEED]]        # MODEL may be - for the embedded one

Texts mix code points of all planes with what has broken such tools: joiners, accents, controls, odd spaces, letters
that change length in lower case, very long words.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

PIECES = [
    "👩\u200d👩\u200d👧", "🇩🇪", "e\u0301", "\u0301", "\u200b", "\ufeff", "\u202e", "\x00", "\x1b[2J", "\r\n",
    "\t", "\u2028", "\u3000", "\xa0", "İ", "ß", "\ufb01", "\u01c4", "\u017f", "王小明", "東京", "한국",
    "नमस्ते", "لا إله",
    "a" * 300,
    "O'Neill's", "U.S.A.", "[MASK]", "[SEP]", "[CLS]", "<mask>", "##ing", "\\", '"', "\ud7ff", "\ue000", "\U0010ffff",
    "Denver", "Paris", "the", "1,000.5",
]  # fmt: skip


def text(source: random.Random) -> str:
    """Up to some hundred characters, sometimes none, rarely some thousands."""
    pieces = []
    for _ in range(source.choice([0, 1, 3, 10, 10, 30, 30, 200 if source.random() < 0.05 else 30])):
        kind = source.random()
        if kind < 0.4:
            pieces.append(source.choice(PIECES))
        elif kind < 0.6:
            pieces.append(chr(source.choice([source.randrange(0xD800), source.randrange(0xE000, 0x110000)])))
        else:
            pieces.append("".join(source.choices("abcdefgh é", k=source.randrange(1, 9))))
        pieces.append(source.choice(["", " ", " "]))
    return "".join(pieces)


def record(task: str, source: random.Random) -> dict[str, Any]:
    """The fields that the task reads."""
    if task == "question-answering":
        return {"question": text(source), "context": text(source)}
    return {"text": text(source) + ("[MASK]" if task == "fill-mask" else "")}


def check(task: str, given: dict[str, Any], line: str) -> bool:
    """Whether the line is a result, not an error; fails where it is wrong."""
    found = json.loads(line, parse_constant=_no_number)
    if "error" in found:
        return False
    body = given.get("context", given.get("text", ""))
    for span in found.get("entities", [found] if task == "question-answering" else []):
        if span["start"] is not None:
            own = span["text"] if task == "token-classification" else span["answer"]
            assert body[span["start"] : span["end"]] == own != "", (given, found)
    return True


def _no_number(name: str) -> NoReturn:
    raise AssertionError(name)


def main(task: str, model: str, count: str = "10000", seed: str = "0") -> None:
    """See the module."""
    source = random.Random(int(seed))
    records = [record(task, source) for _ in range(int(count))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "in.jsonl"
        file.write_text("".join(json.dumps(own) + "\n" for own in records), encoding="utf-8")
        named = [] if model == "-" else ["-m", model]
        command = [sys.executable, "-W", "error", "-m", "bertcli", "predict", "-t", task, *named, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.split("\n")[:-1]
    assert len(lines) == len(records), (len(lines), len(records))
    good = sum(check(task, own, line) for own, line in zip(records, lines, strict=True))
    print(json.dumps({"task": task, "records": len(records), "results": good, "error records": len(records) - good}))


if __name__ == "__main__":
    main(*sys.argv[1:])
