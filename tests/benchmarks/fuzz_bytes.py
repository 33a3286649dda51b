"""Arbitrary bytes through every reader and task: as many records out as in, exit 0 or 3, never a traceback.

    python tests/benchmarks/fuzz_bytes.py [--records 1000000] [--seed 0] [--formats squad,…]

Bytes are pieces of each format's own syntax, of other formats' and noise. Models are random and tiny, made on the spot.
Formats of whole documents are the exception: what is no such document is a usage error, exit 2, and nothing comes
out. SQuAD's bytes are mostly documents in which a few places are spoilt, and they are evaluated too.
"""

import argparse
import contextlib
import copy
import io
import json
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from bertcli import registry
from bertcli.cli.main import run
from bertcli.data.formats import INPUT
from bertcli.data.readers import read
from bertcli.errors import UsageError

WORDS = "good bad film the is not ##s ##ly a [ ] { } , : 1 what who".split()
PIECES = [
    b"good", b"bad film", b"a" * 70, b" ", b" ", b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\t", b",", b'"', b"'", b"\\",
    b'{"text": "good", "question": "who", "context": "a film"}\n', b'{"text": "[MASK] film"}\n', b'{"text": 1}\n',
    b'{"text": "\\ud800"}', b'{"a": NaN}', b'{"tokens": ["a", ""]}\n', b'{"question": "", "context": ""}\n', b"[" * 40,
    b'{"data": [{"paragraphs": [' b'{"context": "a film", "qas": [{"id": "1", "question": "what"}]}', b"]}]}", b"null",
    b"good\tB-PER\n", b"# text = good film\n", b"-DOCSTART- O\n", b"1\tgood\tO\n", b"\xef\xbb\xbf", b"\xff\xfe",
    b"\x00", b"\x1f\x8b\x08", b"\xc3\xa9", b"\xe4\xb8\xad", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xc3",
    b"\xe2\x80\xa8", b"e\xcc\x81", b"\xc2\xad", b"\xe2\x80\x8b", b"[MASK]", b"[SEP]", b"1e999", b"-0",
    b"1" * 5000, b"\x1b[2J",
]  # fmt: skip
JUNK = [
    None, True, 0, -1, 7, 10**30, 1.5, 1e999, float("nan"), "", "good", "\ud800", "\x00\n\t", "e\u0301 \U0001f600",
    "a " * 300, "HUGE", [], {}, [[]], [None, 1], {"text": "film"}, {"qas": [], "context": 1},
    json.loads("[" * 90 + "]" * 90),
]  # fmt: skip
FORMATS = [*INPUT]
COLUMNS = {"csv": ["--columns", "text,note"], "tsv": ["--columns", "text,note"]}


def blob(chance: random.Random, pieces: int) -> bytes:
    """Bytes of so many pieces, a few of which are noise."""
    noise = (chance.randbytes(chance.randrange(8)) for _ in iter(int, 1))
    return b"".join(next(noise) if chance.random() < 0.1 else chance.choice(PIECES) for _ in range(pieces))


def document(chance: random.Random, paragraphs: int) -> bytes:
    """SQuAD's JSON with a few places spoilt: lost keys, wrong types and offsets, junk; seldom noise in its bytes."""
    whole = {"version": "v2.0", "data": [{"title": "", "paragraphs": [_paragraph(chance) for _ in range(paragraphs)]}]}
    for _ in range(chance.choice([0, 1, 1, 3, 10])):
        if not (places := list(_places(whole))):
            break
        owner, key = chance.choice(places)
        match chance.randrange(3):
            case 0:
                del owner[key]
            case 1:
                owner[key] = copy.deepcopy(chance.choice(JUNK))
            case _:
                owner[key] = chance.choice([[owner[key]], {"text": owner[key]}, str(owner[key])])
    text = json.dumps(whole, ensure_ascii=chance.random() < 0.8).replace('"HUGE"', "1" * 5000)
    data = text.encode("utf-8", "surrogatepass")
    place = chance.randrange(len(data))
    return data if chance.random() < 0.9 else data[:place] + blob(chance, 1) + data[place:]


def _paragraph(chance: random.Random) -> dict[str, Any]:
    words = chance.choices([*WORDS, "caf\u00e9", "\u4e2d", "\u00ad"], k=chance.choice([0, 1, 5, 60]))
    context = chance.choice([" ", "  ", "\n"]).join(words)
    return {"context": context, "qas": [_question(chance, context, i) for i in range(chance.choice([0, 1, 3]))]}


def _question(chance: random.Random, context: str, number: int) -> dict[str, Any]:
    begin = chance.randrange(len(context) + 1)
    answer = {
        "text": context[begin : begin + chance.randrange(9)],
        "answer_start": begin + chance.choice([0, 0, 0, 1, -9]),
    }
    answers = [answer] * chance.choice([0, 1, 3])
    return {"id": str(number), "question": "what is the film", "answers": answers, "is_impossible": not answers}


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys or indices."""
    if isinstance(value, dict | list):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(item)


def make_model(task: str, folder: Path) -> Path:
    """A random encoder with the task's head: one layer, 31 positions; its ONNX file too."""
    import torch
    import transformers

    from bertcli.export.export import export
    from bertcli.model import read as read_model
    from bertcli.tokenizer_files import load

    head = registry.load("tasks", task).Task.head
    path = folder / task
    path.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *(f"##{chr(i)}" for i in range(97, 123))]
    (path / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=31, initializer_range=0.5,
    )  # fmt: skip
    if head == "TokenClassification":
        config.id2label = {0: "O", 1: "B-PER", 2: "I-PER"}
        config.label2id = {label: i for i, label in config.id2label.items()}
    getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel").from_config(config).save_pretrained(path)
    ids = torch.tensor(load(path, {}).backend.encode("good bad film").ids).numpy()[None].repeat(2, 0)
    export(path, head, [{"input_ids": ids, "attention_mask": ids**0, "token_type_ids": ids * 0}])
    assert read_model(path).head == head
    return path


def check(task: str, input_format: str, data: bytes, model: Path, options: list[str]) -> int:
    """Run `predict` over the bytes and count its records; fails with the bytes where something is wrong."""
    columns = COLUMNS.get(input_format, [])
    arguments = ["-t", task, "-m", str(model), "--input-format", input_format, *columns, *options]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "in")
        file.write_bytes(data)
        code, out, said = _run(["predict", str(file), *arguments])
        expected = _count(file, input_format, columns[1].split(",") if columns else None)
        if (task, input_format) == ("question-answering", "squad"):
            evaluated, _, _ = _run(["evaluate", str(file), *arguments, "--format", "json"])
            assert evaluated in (0, 2, 3), data
    shown = data if len(data) < 2000 else f"{len(data)} bytes, the same again for this seed"
    place = (task, input_format, shown, code, said)
    lines = out.split(b"\n")[:-1]
    results = [json.loads(line, parse_constant=_no_number) for line in lines]
    if expected is None:
        assert (code, results) == (2, []), place
        return 0
    assert code in (0, 3) and len(results) == expected, place
    assert (code == 3) == any(_is_error(result) for result in results), place
    return len(results)


def _run(arguments: list[str]) -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr of a command line."""
    out, complaints = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):
        code = run([*arguments, "--backend", "onnx", "--threads", "1"])
    said = complaints.getvalue()
    assert "Traceback" not in said and "internal error" not in said, (arguments, said)
    out.flush()
    return code, out.buffer.getvalue(), said  # type: ignore[attr-defined]


def _count(file: Path, input_format: str, columns: list[str] | None) -> int | None:
    """Records of a file; without the reader where that is easy. None for what is no document of the format."""
    if input_format == "lines":
        data = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
        return data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    if input_format == "squad":
        try:
            text = file.read_bytes().decode("utf-8-sig")
            return _questions(json.loads(text, parse_constant=str, parse_float=str, parse_int=str))
        except (ValueError, RecursionError):
            return None
    try:
        return sum(1 for _ in read([str(file)], input_format=input_format, columns=columns))
    except UsageError:
        return None


def _questions(document: Any) -> int | None:
    owners = [document]
    for name in ("data", "paragraphs", "qas"):
        lists = [owner.get(name) if isinstance(owner, dict) else None for owner in owners]
        if not all(isinstance(own, list) for own in lists):
            return None
        owners = [item for own in lists for item in own]
    return len(owners)


def _is_error(result: Any) -> bool:
    return isinstance(result.get("error"), dict) and "index" in result


def _no_number(name: str) -> NoReturn:
    raise AssertionError(name)


def main() -> None:
    """Parse the command line; prints how many records each reader and task had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", default=",".join(FORMATS))
    given = parser.parse_args()
    warnings.simplefilter("error")
    chance, counts = random.Random(given.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings(action="ignore"):
            models = {task: make_model(task, Path(folder)) for task in registry.names("tasks")}
        while counts.total() < given.records:
            task, input_format = chance.choice(list(models)), chance.choice(given.formats.split(","))
            if input_format == "squad" and chance.random() < 0.9:
                task, data = "question-answering", document(chance, chance.choice([1, 3, 30, 300]))
            else:
                data = blob(chance, chance.choice([3, 30, 300, 10_000]))
            counts[f"{task} {input_format}"] += check(task, input_format, data, models[task], ["-q"])
    print(json.dumps({"records": counts.total(), **dict(sorted(counts.items()))}))


if __name__ == "__main__":
    main()
