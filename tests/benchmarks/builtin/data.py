"""What the recipes of the embedded models share: reading the data sets, writing training files, and running bertcli.

The data directory has `open/` and `research/` with the sets under the names of their README. Nothing here knows a task.
"""

import csv
import io
import json
import lzma
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HAN = re.compile(r"[\u3400-\u9fff]")


def text_of(file: Path, encoding: str = "utf-8-sig") -> str:
    """The text of a file that may also be stored as FILE.xz."""
    packed = file.with_name(file.name + ".xz")
    content = lzma.decompress(packed.read_bytes()) if packed.exists() else file.read_bytes()
    return content.decode(encoding, "replace")


def lines_of(file: Path, encoding: str = "utf-8-sig") -> list[str]:
    """Its lines. Only line feeds end them: the texts hold other characters that Python would split at."""
    return [line.rstrip("\r") for line in text_of(file, encoding).split("\n") if line.strip()]


def table_of(file: Path, delimiter: str = ",", encoding: str = "utf-8-sig") -> list[list[str]]:
    """The rows of a CSV file with quoted fields."""
    return list(csv.reader(io.StringIO(text_of(file, encoding), newline=""), delimiter=delimiter))


def sentences_of(
    file: Path, word: int = 0, tag: int = -1, by: str | None = None
) -> Iterator[tuple[list[str], list[str]]]:
    """The words and tags of each sentence of a CoNLL file, whose columns are at `word` and `tag`."""
    words: list[str] = []
    tags: list[str] = []
    for line in [*text_of(file).split("\n"), ""]:
        columns = line.rstrip("\r").split(by)
        if not line.strip():
            if words:
                yield words, tags
            words, tags = [], []
        elif len(columns) > 1 and not (line.startswith("# ") and "=" in line):
            words.append(columns[word])
            tags.append(columns[tag])


def key_of(text: str) -> str:
    """What two copies of a text have in common: its letters and digits without case, width, spaces and signs."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).lower())


def is_chinese(text: str) -> bool:
    """Whether the text holds a Chinese character."""
    return HAN.search(text) is not None


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Write JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_rows(file: Path) -> list[Row]:
    """Read JSON lines."""
    with file.open(encoding="utf-8") as rows:
        return [json.loads(row) for row in rows]


def step(target: Path, make: Callable[[Path], None]) -> Path:
    """Make a file or directory unless it is there, so that a recipe goes on where it was stopped.

    It is made under another name and then renamed: what has its name is complete.
    """
    if target.exists():
        print(f"{target} is there", flush=True)
        return target
    draft = target.with_name(f"draft.{target.name}")
    print(f"making {target}", flush=True)
    make(draft)
    draft.rename(target)
    return target


def bertcli(*arguments: object, resume: bool = False) -> None:
    """Run a command of bertcli and end the recipe where it fails. resume: go on with a training that was stopped."""
    command = [sys.executable, "-m", "bertcli", *map(str, arguments)]
    print(" ".join(command[2:]), flush=True)
    subprocess.run([*command, "--resume"] if resume else command, check=True)


def train(output: Path, settings: Row, *arguments: object) -> None:
    """`bertcli finetune`, which keeps checkpoints in its output: an unfinished one is continued."""
    if (output / "config.json").exists():
        return
    options = [word for pair in settings.items() for word in pair]
    bertcli("finetune", *arguments, *options, "--no-export", "-o", output, resume=output.exists())


def export(trained: Path, texts: Path, out: Path) -> None:
    """A copy with ONNX files, whose scales are measured on the first texts."""
    shutil.copytree(trained, out, dirs_exist_ok=True)
    bertcli("export", out, "--calibrate", texts)


def english(file: Path, out: Path) -> None:
    """Write the rows of a file that have no Chinese in them, for an English teacher."""
    with file.open(encoding="utf-8") as rows:
        out.write_text("".join(row for row in rows if not is_chinese(row)), encoding="utf-8")


def taught(
    task: str, teacher: Row, student: Row, parts: Path, base: Path, mpnet: Path, work: Path, *more: object
) -> Path:
    """Train MPNET on the English rows of train.jsonl and dev.jsonl, then the base on all of them, taught by MPNET.

    teacher, student: settings of the two trainings. more: options of the second.
    """
    names = "train.jsonl", "dev.jsonl"
    own = [step(work / f"english-{name}", lambda out, name=name: english(parts / name, out)) for name in names]
    files = "-t", task, "--train", own[0], "--dev", own[1], "-m", mpnet
    model = step(work / "teacher", lambda out: train(out, teacher, *files))
    files = "-t", task, "--train", parts / names[0], "--dev", parts / names[1], "-m", base, "--teacher", model, *more
    return step(work / "model", lambda out: train(out, student, *files))


def evaluate(directory: Path, file: Path, *arguments: object, precision: str = "int8") -> Row:
    """The metrics of `bertcli evaluate` for the model in a directory."""
    command = [sys.executable, "-m", "bertcli", "evaluate", file, "-m", directory, "--precision", precision, *arguments]
    done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True)
    found: Row = json.loads(done.stdout)
    return found


def publish(directory: Path, target: Path) -> None:
    """Copy what an embedded model consists of."""
    (target / "onnx").mkdir(parents=True, exist_ok=True)
    files = "config.json", "tokenizer.json", "tokenizer_config.json", "onnx/*quantized*.onnx"
    for file in (path for pattern in files for path in directory.glob(pattern)):
        shutil.copyfile(file, target / file.relative_to(directory))


def measure(model: Path, tests: Path, out: Path) -> None:
    """Write the metrics of every test file."""
    found = {file.stem: evaluate(model, file) for file in sorted(tests.iterdir())}
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")
