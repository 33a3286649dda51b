"""What bertcli does, recorded: command lines with their exit codes, streams and files, to hold one state to another.

    python tests/benchmarks/recorded.py --package OLD --work /tmp/recorded -o old.json
    python tests/benchmarks/recorded.py --package . --work /tmp/recorded -o new.json
    python tests/benchmarks/recorded.py --compare old.json new.json       # each difference; exit code 1 if there is any

Make both records on one machine, for another processor rounds otherwise, and with one --work, for the length of its
name decides where tables break. The package is copied there first, so it may be edited meanwhile. Commands run one by
one, on the CPU, in one thread, without a network, and each needs what those before it wrote. --light leaves out those
that train or explain. MASKS says what is not compared; of files that are no text, or large, the digest is.
"""

import argparse
import bz2
import difflib
import fcntl
import gzip
import hashlib
import json
import lzma
import os
import pty
import random
import re
import resource
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

# Commands, parted by " ; " and line ends, as a shell has them: NAME=VALUE, < FILE, <<< TEXT, > FILE, \ at a line's end.
# (a|b) makes a command of each, in which $1 is that one. @out: stdout is a terminal of 100 columns; @both: stderr too;
# @limit=N: no file may grow over N bytes; @stop: SIGTERM at the first evaluation, of which only the exit code is kept.
LIGHT = r"""
--help ; --version ; -V ; NO_COLOR=1 ; @out --help ; COLUMNS=60 predict --help ; @out predict -h
(bench|calibrate|check|completion|evaluate|explain|export|finetune|info|predict|pretrain|tokenizer|tokenizer train) \
--help ; completion (bash|zsh|fish) ; _BERTCLI_COMPLETE=bash_complete COMP_CWORD=1 COMP_WORDS='bertcli (|pre|--v)'
_BERTCLI_COMPLETE=bash_complete COMP_CWORD=2 COMP_WORDS='bertcli (predict --ba|evaluate --f|tokenizer t|completion )'
_BERTCLI_COMPLETE=(bash|zsh)_complete COMP_CWORD=3 COMP_WORDS='bertcli (predict -t |finetune --problem )'
_BERTCLI_COMPLETE=fish_complete COMP_CWORD=--ba COMP_WORDS='bertcli predict --ba'
predict < texts.txt ; predict texts.txt ; predict <<< 'a gripping film' ; predict <<< '' ; predict
predict texts.txt -t ner
predict texts.txt (-v|-q|--top-k 2|--all-scores|--threshold 0.99|--batch-tokens 1|--max-wait-ms 0|--device auto -v)
predict texts.txt -t (ner|qa --question 'Who met?') (-v|--top-k 2|--offset-unit utf16|--offset-unit utf8)
predict texts.txt --format (jsonl|tsv|csv|rich) ; predict texts.txt -t ner --format (tsv|csv|conll|rich)
predict texts.txt -t qa --question 'Where did they meet?' --format (tsv|rich) ; @both predict texts.txt --top-k 2
@out predict texts.txt (-t ner|-t qa --question 'Who met?'|--all-scores|bad.txt|--format jsonl)
FORCE_COLOR=1 COLUMNS=60 predict texts.txt --format rich ; predict -t qa --question é --null-threshold (9|-99) texts.txt
predict long.txt (|-t ner|-t qa --question 'what is dull?' --top-k 3) --long (window|truncate|error)
predict rows.(jsonl|csv|tsv|txt|jsonl.gz|csv.bz2|tsv.xz) ; predict --text-field body.text nested.jsonl ; predict odd.csv
predict bare.csv --columns text,id ; predict bare.tsv --columns id,text --input-format tsv ; predict windows.txt
predict latin.txt --encoding (latin-1|utf-8) ; predict utf16.txt --encoding utf-16 ; predict rows.csv --pair-field id
predict bad.(txt|jsonl|csv) --on-error (record|skip|fail) ; predict texts.txt bad.jsonl rows.csv
predict - rows.tsv < bad.txt ; predict -t ner words.(conll|jsonl) ; predict -t ner words.conll --format conll
predict < bad.txt -q ; predict -t qa (squad.json|answers.jsonl|answers.csv)
predict -t (ner|qa --question who?) --input-format document texts.txt ; predict many.txt --shard (1|2|3)/3
predict bad.jsonl --shard 2/2 ; predict rows.csv odd.csv --shard (1|2)/2 ; predict --config options.yaml texts.txt
predict --config options.yaml --top-k 1 texts.txt ; BERTCLI_(PREDICT_|)TOP_K=1 predict --config options.yaml texts.txt
BERTCLI_PREDICT_FORMAT=tsv predict texts.txt ; predict texts.txt -o out.(jsonl|tsv|csv|jsonl.gz|csv.bz2|tsv.xz|dat)
predict texts.txt -o out.jsonl ; predict bad.txt -o out.jsonl --force ; predict many.txt -o whole.jsonl --resume
predict many.txt -o whole.jsonl --resume ; @limit=20000 predict many.txt -o cut.jsonl
predict many.txt -o cut.jsonl (--resume --top-k 2|--resume|) ; predict bad.txt -o bad.out --on-error fail
predict -t ner words.conll -o tags.conll ; predict -o /dev/full < texts.txt
evaluate films.jsonl > before.json ; evaluate films.tsv --text-field body --label-field class ; @out evaluate films.csv
evaluate films.jsonl --errors wrong.tsv --report films.html -v
evaluate films.jsonl --compare before.json --format rich
evaluate films.jsonl --fail-under accuracy=(0.5|1 --fail-under log_loss=0.01)
evaluate films.jsonl bad.jsonl --compare before.json
evaluate -t ner (words.jsonl|spans.jsonl|iob1.conll --scheme iob1|bioes.conll) ; evaluate -t qa zh.json
evaluate -t ner words.conll --errors tags.jsonl --report ner.html --format rich
evaluate --input-format jsonl < films.jsonl ; evaluate -t qa squad.json --null-threshold (auto|2 --format rich) -v
evaluate -t qa answers.jsonl --language (en|zh) --errors answered.jsonl --report answered.html
calibrate films.jsonl -o calibrated ; predict -m calibrated texts.txt -v
calibrate -t ner words.conll -o tagger --format rich ; evaluate films.jsonl -m calibrated --compare before.json
@out calibrate films.jsonl -m calibrated ; info ; info -t (ner|qa) --format json ; info --format rich ; @out info -v
bench short.txt --backend onnx ; check films.jsonl (--json|--format rich|--dev faults.jsonl|-m tiny)
check faults.jsonl --dev films.jsonl -m tiny --format rich ; check faults.jsonl ; @out check faults.jsonl
check words.conll ; check -t ner spans.jsonl ; check squad.json -m tiny -v ; check several.jsonl ; check numbers.jsonl
check pairs.jsonl --pair-field b ; check -t embed scored.jsonl --pair-field b ; check films.jsonl bad.jsonl
check --input-format jsonl < films.jsonl ; check -t fill-mask masks.jsonl -m tiny
check several.csv --label-separator '|' --problem multi ; tokenizer train corpus/a.txt --vocab-size 60 --cased -o cased
tokenizer train corpus --vocab-size 70 -o pieces -v ; tokenizer train zh.txt bad.txt --vocab-size 25 -o hanzi
tokenizer train 'corpus/*.txt' rows.jsonl --vocab-size 80 -o pieces --overwrite --document-per file
BERTCLI_TOKENIZER_OUTPUT=named tokenizer train zh.txt --vocab-size 17 ; tokenizer train zh.txt --vocab-size 17 -o named
predcit ; predict --nope ; predict --top-k (0|x) ; predict --threshold 2 ; predict --format xml
predict --device (tpu|cuda) ; predict missing.txt ; predict . ; predict '' ; predict -m (missing/model|texts.txt|corpus)
predict -t nre ; completion (|cmd) ; predict -t (embed|fill-mask) texts.txt
predict -m (pickled|broken|listed) texts.txt ; predict --encoding x texts.txt
predict --columns (a,a rows.csv|a, rows.csv|a rows.txt) ; predict films.tsv ; predict double.csv ; predict document.json
predict --shard (0/2|3/2|x) texts.txt ; predict --shard 1/2 < texts.txt ; predict -o missing/out.jsonl
predict -o corpus ; predict texts.txt --format (npy|npy -o v.npy|conll) ; predict --resume
predict -t qa (texts.txt|broken.json) ; predict texts.txt --precision (bf16|fp32)
predict texts.txt --backend openvino --precision bf16 ; predict broken.jsonl.gz ; predict broken.txt.xz
predict torn.txt.bz2 ; predict --engine ray texts.txt (|--shard 1/2)
predict --config (missing|typed|listed|scalar|invalid|choice|foreign).yaml texts.txt ; --debug predict missing
evaluate (texts.txt|missing.jsonl|empty.jsonl) ; evaluate films.jsonl --errors (films.jsonl|missing/x.jsonl)
evaluate films.jsonl --fail-under (accuracy|accurcy=1|accuracy=90|accuracy=x|log_loss=-1)
evaluate films.jsonl --report texts.txt ; evaluate films.jsonl --compare (texts.txt|missing|films.jsonl)
evaluate -t ner words.conll --compare before.json ; evaluate -t ner words.conll --scheme bioes
evaluate films.csv --compare before.json ; tokenizer trian ; calibrate films.jsonl ; calibrate -t qa squad.json -o x
calibrate films.jsonl -o (corpus|x --target f1|x --target 'recall>=0.9') ; bench short.txt --precision fp32
bench short.txt --text-field nope --input-format jsonl ; info -m missing
check (missing|empty.jsonl|corpus|films.jsonl --scheme x)
tokenizer train (|zh.txt -o x|zh.txt --config typed.yaml -o x)
tokenizer train (missing|-|'*.none'|corpus --encoding x) --vocab-size 60 -o x
tokenizer train corpus --vocab-size (9|9999) -o x ; tokenizer train corpus --vocab-size 60 -o (pieces|texts.txt)
tokenizer train bad.txt --vocab-size 60 -o x --on-error fail
evaluate real/sst.tsv --text-field sentence --errors real.jsonl ; predict real/banking.csv
predict -t ner real/wnut.conll ; evaluate -t ner real/zh.iob2 ; check real/sst.tsv --text-field sentence
check real/zh.iob2
"""
HEAVY = r"""
finetune -m tiny --train films.jsonl --dev films.jsonl -o single --epochs 2 -v --report single.html
finetune -m tiny --train several.jsonl --dev several.jsonl -o several --epochs 2 --seed 3 --lr 0.003
finetune -m tiny --train numbers.jsonl --dev numbers.jsonl -o number --epochs 1 --report number.html
finetune -m tiny --train pairs.jsonl --dev pairs.jsonl --pair-field b -o pair --epochs 1 --dropout 0.2 --batch-tokens 64
finetune -t embed -m tiny --train scored.jsonl --dev scored.jsonl --pair-field b -o embed --epochs 2 -q
finetune -t ner -m tiny --train words.conll --dev words.jsonl -o tags --epochs 2 --lr 0.003 --report tags.html
finetune -t ner -m tiny --train spans.jsonl -o spans --epochs 1 --scheme iob2 --no-export
finetune -t qa -m tiny --train squad.json --dev squad.json -o answers --epochs 2 --lr 0.003 --report answers.html
finetune -t fill-mask -m tiny --train masks.jsonl --dev masks.jsonl -o masks --epochs 2
finetune --config single/bertcli.yaml -o second --epochs 1 --track tensorboard
BERTCLI_FINETUNE_EPOCHS=1 finetune -m single --train zh.jsonl -o hanzi --overwrite --long window
finetune -m tiny --train films.csv --dev films.csv -o tuned --labels positive,negative --class-weights balanced \
--label-smoothing 0.1 --ema 0.9 --schedule cosine --accumulate 2 --max-length 16 --patience 1 --metric macro_f1 \
--no-export --eval-steps 1
@stop finetune --config single/bertcli.yaml -o cut --epochs 30 --batch-tokens 64 --eval-steps 5 --no-export
finetune --config single/bertcli.yaml -o cut --epochs (31|30) --batch-tokens 64 --eval-steps 5 --no-export --resume -q
@limit=60000 finetune -m tiny --train films.jsonl -o full --epochs 1
predict -m (single|several|number|tags|masks|embed) texts.txt ; evaluate -m single strange.jsonl
predict -m (single|several|tags|embed) texts.txt --backend openvino
predict -m single texts.txt --backend onnx --precision fp32 -v
predict -m answers squad.json --backend (onnx|pytorch|openvino) --top-k 2
predict -m masks masks.jsonl --backend (onnx|pytorch)
predict -m masks --mask '<m>' <<< 'a <m> film [MASK]' --format rich ; predict -m embed scored.jsonl --pair-field b
predict -m pair pairs.jsonl --pair-field b --all-scores ; predict -m embed (texts.txt|bad.txt) -o $1.npy
predict -m embed texts.txt --normalize --format rich ; predict -t embed -m tiny short.txt
predict -m several texts.txt --threshold 0.4 --format (tsv|rich) --top-k 2 ; predict -m single longer.txt bad.txt
predict -m hanzi zh.txt ; predict -m tags longer.txt --long (window|truncate|error)
predict -m masks masks.jsonl -o guessed.csv ; evaluate -m single films.jsonl --backend (pytorch|openvino) > single.json
evaluate -m second films.jsonl --compare (single|single.json)
evaluate -m several several.jsonl --report several.html --errors several.tsv ; evaluate -m masks masks.jsonl
evaluate -m number numbers.jsonl --format rich --fail-under rmse=0.01 --errors off.jsonl
evaluate -m pair pairs.jsonl --pair-field b ; evaluate -m tags words.conll
evaluate -m answers squad.json --null-threshold auto ; evaluate -m embed scored.jsonl --pair-field b
calibrate -m several several.jsonl
calibrate -m several several.jsonl --target 'precision>=0.5' --format rich -o precise
calibrate -m tags words.conll -o tags2 ; predict -m several texts.txt --all-scores ; info -m single --format rich
export single --calibrate texts.txt --samples 3 -v ; export embed --calibrate - < texts.txt ; predict -m spans texts.txt
info -m embed ; explain 'a gripping film' 'not good' --format rich
explain -t ner 'Tim Cook is in Berlin.' --target LOC ; @out explain 'not good 😀 电影' -m single --target positive
explain 'Who?' --context 'They met in Berlin.' --format rich
explain -m single 'a good film' --attention --layer 2 --head 1 ; explain -m pair 'good film' --pair 'bad plot'
explain -m tags 'good film of actor' --attention --html tags2.html --format rich ; explain -m number 'a good film'
explain -m answers 'what is good' --context 'the film was good' --target film --html a.html
explain -m single < longer.txt ; explain -m several --input rows.jsonl --html several2.html --long truncate
pretrain corpus --config small.yaml -o (mlm|mlm+nsp|mlm+sop|causal) --objective $1 -v
pretrain corpus --config small.yaml --mask span --report masked.html -o masked --cache cache
pretrain zh.txt --config base.yaml --words jieba --mask word --vocab-size 17 -o words
pretrain corpus bad.txt -m mlm --lengths 16 --steps 2 -o more --pack across --schedule trapezoidal
pretrain corpus --config small.yaml --init-embeddings vectors.txt --lengths 16:0.5,24:0.5 --dropout 0.1 -o taught
@stop pretrain corpus --config small.yaml --steps 60 --eval-steps 2 -o torn
pretrain corpus --config small.yaml --steps 60 --eval-steps 2 -o torn --resume -q
pretrain --config mlm/bertcli.yaml -o again ; predict -m mlm <<< 'the [MASK] likes milk.' --top-k 2
finetune -m causal --train films.jsonl -o next --epochs 1 --no-export
finetune ; finetune -m tiny --train films.jsonl (-o single|-o texts.txt|-o x --resume|-o x --class-weights x)
finetune -m (pickled|missing) --train films.jsonl -o x ; finetune -m tiny --train (one|bad).jsonl -o x
finetune -m tiny --train films.jsonl -o x --dev (strange.jsonl|films.jsonl --metric f2|films.jsonl --class-weights x=2)
finetune -t (embed|ner) -m tiny --train films.jsonl -o x ; export (missing|single) --calibrate empty.jsonl
explain a (--input films.jsonl|b --pair c|--layer 1|--html missing/x.html|--context b --question c) ; explain 'a\xff'
explain -m single a (--attention --layer 9|--target nix|--context b) ; explain --input bad.jsonl -m single
pretrain corpus ; pretrain (missing|empty.jsonl) --config base.yaml -o x
pretrain corpus -o x (--lengths x|--lengths 16:0.5|--size tiny -m tiny|--mask-rate 1)
pretrain corpus --config small.yaml -o mlm
pretrain corpus --config small.yaml -o x (--words missing|--objective causal --mask word|--init-embeddings bad.txt)
pretrain bad.txt --config small.yaml -o x --on-error fail ; predict -m single -t ner texts.txt
evaluate -m single films.jsonl --compare tags ; evaluate -m embed scored.jsonl --pair-field b --errors x.jsonl
"""
SECONDS = 300  # that a command may take
LARGEST = 1 << 19  # bytes of a text that is kept whole
SHOWN, WIDEST = 12, 160  # lines of a difference, and characters of a line
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = {  # the first lines of real data; where it is not, its commands are left out
    "sst.tsv": ("research/sst2/glue/dev.tsv", 60),
    "banking.csv": ("open/banking77/test.csv.xz", 60),
    "wnut.conll": ("open/wnut17/emerging.dev.conll", 400),
    "zh.iob2": ("open/uner_zh_gsdsimp/zh_gsdsimp-ud-test.iob2.xz", 300),
}
ENVIRONMENT = {
    "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color", "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1", "BERTCLI_THREADS": "1", "BERTCLI_DEVICE": "cpu", "BERTCLI_FINETUNE_PRECISION": "fp32",
    "BERTCLI_PRETRAIN_PRECISION": "fp32",
}  # fmt: skip
MASKS = [  # what differs between two runs of one state, or without a change of behaviour
    (re.compile(r'("(?:time|examples_per_s|tokens_per_s|seconds_left)": )[-\d.e+]+'), r"\1TIME"),  # log.jsonl
    (re.compile(r'("(?:texts_per_s|least|most|first_result_s|peak_mb)": )[\d.]+'), r"\1FIGURE"),  # bench
    (re.compile(r"^(step \d+/\d+ .* left|tokenising: .*)\n", re.M), ""),  # lines of slow runs, one in 30 seconds
    (re.compile(r"(bertcli(?:\"?: ?\"?| +))\d+\.\d+\.\d+[\w.]*"), r"\1VERSION"),
    (re.compile(r"(?s)Traceback.*\n\S*?(\w+: )"), r"Traceback … \1"),  # of --debug: names and lines of the source
    (re.compile(r"(tfevents)\S+"), r"\1"),  # a file name of TensorBoard's, with the time and the host
]
WORDS = "good fine great lovely bad awful poor dull film plot actor scene a the is was very not and of it".split()
SHAPE: dict[str, Any] = {
    "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "vocab_size": 1, "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip


@dataclass
class Command:
    """A command line of the table, taken apart. stdin: bytes, or the name of a file; save: where stdout goes too."""

    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    stdin: bytes | str = b""
    save: str = ""
    flags: set[str] = field(default_factory=set)
    limit: int = resource.RLIM_INFINITY


def listed(table: str) -> list[str]:
    parts = [part.strip() for line in table.replace("\\\n", "").splitlines() for part in line.split(" ; ")]
    return [command for part in parts if part for command in expanded(part)]


def expanded(text: str) -> Iterator[str]:
    found = re.search(r"\(([^()]*\|[^()]*)\)", text)
    if not found:
        yield text
        return
    for choice in found[1].split("|"):
        yield from expanded(text[: found.start()] + choice + text[found.end() :].replace("$1", choice))


def parsed(text: str) -> Command:
    command, words = Command(), iter(shlex.split(text))
    for word in words:
        name, mark, value = word.partition("=")
        if word == "<":
            command.stdin = next(words)
        elif word == "<<<":
            command.stdin = f"{next(words)}\n".encode()
        elif word == ">":
            command.save = next(words)
        elif name == "@limit":
            command.limit = int(value)
        elif word.startswith("@"):
            command.flags.add(word)
        elif mark and re.fullmatch("[A-Z_]+", name) and not command.arguments:
            command.environment[name] = value
        else:
            command.arguments.append(word.replace(r"\xff", "\udcff"))
    return command


class Recorder:
    """Runs commands in a directory that it makes anew: a copy of the package, a home, and the files of the work."""

    def __init__(self, package: Path, place: Path) -> None:
        self.place, self.work, mark = place, place / "work", place / "recorded"
        if place.exists() and any(place.iterdir()) and not mark.is_file():
            sys.exit(f"{place} is not empty and no work of this program; name another --work.")
        shutil.rmtree(place, ignore_errors=True)
        self.work.mkdir(parents=True)
        mark.touch()
        shutil.copytree(package / "bertcli", place / "package" / "bertcli")
        self.environment = {**ENVIRONMENT, "HOME": str(place / "home"), "PYTHONPATH": str(place / "package")}
        asked = [sys.executable, "-c", "import bertcli; print(bertcli.__file__)"]
        found = subprocess.check_output(asked, cwd=self.work, env=self.environment, text=True)
        assert found.startswith(f"{place}/package/"), found
        prepare(self.work)

    def record(self, text: str) -> dict[str, Any]:
        """What a command does: exit code, streams, and the files that it wrote or removed."""
        command, before = parsed(text), self._files()
        code, output, errors = self._run(command)
        if "@stop" in command.flags:  # where it was is chance
            return {"exit": code}
        if command.save:
            (self.work / command.save).write_bytes(output)
        after = self._files()
        files = {name: self._content(name) for name in sorted(after) if after[name] != before.get(name)}
        files |= {name: "gone" for name in sorted(before.keys() - after.keys()) if "/checkpoints/" not in name}
        streams = {"stdout": output, "stderr": errors}
        shown = {name: self._masked(own.decode("utf-8", "backslashreplace")) for name, own in streams.items()}
        return {"exit": code, **shown, "files": {self._masked(name): content for name, content in files.items()}}

    def _run(self, command: Command) -> tuple[int, bytes, bytes]:
        terminal, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        source, full = os.pipe()  # takes any stdin of the table at once
        os.write(full, command.stdin if isinstance(command.stdin, bytes) else (self.work / command.stdin).read_bytes())
        os.close(full)
        limits = (command.limit, resource.RLIM_INFINITY)
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "bertcli", *command.arguments],
                cwd=self.work,
                env={**self.environment, **command.environment},
                stdin=source,
                stdout=inner if command.flags & {"@out", "@both"} else output,
                stderr=inner if "@both" in command.flags else errors,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
            )
            os.close(inner)
            os.close(source)
            watch = threading.Timer(SECONDS, process.kill)
            watch.start()
            if "@stop" in command.flags:
                while b"step " not in os.pread(errors.fileno(), 1 << 16, 0) and process.poll() is None:
                    time.sleep(0.02)
                process.terminate()
            shown = b"".join(iter(lambda: _read(terminal), b""))
            code = process.wait()
            watch.cancel()
            os.close(terminal)
            return code, shown or _whole(output), _whole(errors)

    def _files(self) -> dict[str, tuple[int, ...]]:
        """Each file with what changes when it is written."""
        paths = {str(path.relative_to(self.work)): path for path in self.work.rglob("*") if path.is_file()}
        stats = {name: path.stat() for name, path in paths.items()}
        return {name: (own.st_mtime_ns, own.st_size, own.st_ino) for name, own in stats.items()}

    def _content(self, name: str) -> str:
        data = (self.work / name).read_bytes()
        if "tfevents" in name:
            return "numbers with times"
        if len(data) <= LARGEST and b"\0" not in data:
            with suppress(UnicodeDecodeError):
                return self._masked(data.decode())
        return f"{len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}"

    def _masked(self, text: str) -> str:
        text = text.replace(str(self.place), "PLACE")
        for pattern, replacement in MASKS:
            text = pattern.sub(replacement, text)
        return text


def _read(terminal: int) -> bytes:
    """What comes next; nothing once no process holds the other end, for which Linux has an error."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def jsonl(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def delimited(rows: Sequence[dict[str, Any]], separator: str) -> str:
    """A table whose cells need no quotes; a bar joins the parts of a list."""
    cells = [["|".join(cell) if isinstance(cell, list) else str(cell) for cell in row.values()] for row in rows]
    return "".join(separator.join(row) + "\n" for row in [list(rows[0]), *cells])


def conll(sentences: Iterable[tuple[str, str]]) -> str:
    rows = (zip(words.split(), tags.split(), strict=True) for words, tags in sentences)
    return "\n".join("".join(f"{word}\t{tag}\n" for word, tag in row) for row in rows)


def spans(words: str, tags: str) -> dict[str, Any]:
    """The text with the entities that begin in it, each of one word."""
    starts = [sum(len(word) + 1 for word in words.split()[:i]) for i in range(len(tags.split()))]
    own = [(start, words.split()[i], tag) for i, (start, tag) in enumerate(zip(starts, tags.split(), strict=True))]
    entities = [{"start": k, "end": k + len(word), "type": tag[2:]} for k, word, tag in own if tag[0] == "B"]
    return {"text": words, "entities": entities}


def squad(paragraphs: Iterable[tuple[str, dict[str, str]]]) -> str:
    """SQuAD's JSON of contexts, each with questions and the answer of each, "" for none."""
    made = []
    for context, asked in paragraphs:
        found = {q: [{"text": a, "answer_start": context.find(a)}] if a else [] for q, a in asked.items()}
        qas = [{"id": q, "question": q, "is_impossible": not own, "answers": own} for q, own in found.items()]
        made.append({"context": context, "qas": qas})
    return json.dumps({"version": "v2.0", "data": [{"paragraphs": made}]}, ensure_ascii=False, indent=1)


def labelled() -> dict[str, str]:
    """Files to train on and to score on, by name; the labels say something about the words."""
    chance = random.Random(0)
    made = [" ".join(chance.choices(WORDS, k=chance.randint(3, 9))) for _ in range(300)]
    score = [sum((word in WORDS[:4]) - (word in WORDS[4:8]) for word in text.split()) for text in made]
    side = ["positive" if own >= 0 else "negative" for own in score]
    hard = ["a gripping film", "电影很好 😀", "", "<b>bold</b> & \x1b[31mred", "the plot never wakes up"]
    films = [{"text": text, "label": side[i], "id": str(i)} for i, text in enumerate([*made[:40], *hard])]
    nouns = [[word for word in ("film", "plot", "actor") if word in text.split()] for text in made]
    several = [{"text": text, "label": own} for text, own in zip(made[:40], nouns, strict=False)]
    numbers = [{"text": text, "label": own / 4} for text, own in zip(made[:40], score, strict=False)]
    rows = list(zip(made[:30], made[30:60], score, strict=False))
    kinds = {"actor": "B-PER", "film": "B-ORG", "plot": "B-ORG", "scene": "B-ORG"}
    tagged = [(text, " ".join(kinds.get(word, "O") for word in text.split())) for text in made[:40]]
    named = [("Tim Cook met Angela Merkel in Rome .", "B-PER I-PER O B-PER I-PER O B-LOC O"), ("北京 好", "B-LOC O")]
    asked = [
        ("the film was good and the plot bad", {"what is good": "film", "what is bad": "plot", "who was it": ""}),
        ("very dull plot of a great actor", {"what is dull": "plot", "what is great": "actor"}),
        ("Tim Cook met Angela Merkel in Berlin.", {"Where did they meet?": "Berlin", "Who met Merkel?": "Tim Cook"}),
    ]
    answers = [{"question": q, "context": c, "answers": [a]} for c, own in asked for q, a in own.items() if a]
    faults = [*films[:12], films[0], {**films[1], "label": "postive"}, {**films[2], "label": "negative"}, {"text": 5}]
    faults += [{"text": text, "label": "rare"} for text in ("", "good " * 90, "☃ ⚓", f"{made[9]}!", f"{made[9]} a")]
    faults += [{"text": "a", "label": None}, {"text": "b"}]
    return {
        "many.txt": "\n".join(made), "films.jsonl": jsonl(films), "films.csv": delimited(films[:40], ","),
        "films.tsv": delimited([{"body": own["text"], "class": own["label"]} for own in films[:40]], "\t"),
        "faults.jsonl": jsonl(faults), "one.jsonl": jsonl(films[:1] * 3), "several.jsonl": jsonl(several),
        "strange.jsonl": jsonl([*films[:3], {"text": "a", "label": "strange"}]), "several.csv": delimited(several, ","),
        "numbers.jsonl": jsonl(numbers), "scored.jsonl": jsonl({"text": a, "b": b, "label": own} for a, b, own in rows),
        "pairs.jsonl": jsonl({"text": a, "b": b, "label": str(own > 0).lower()} for a, b, own in rows),
        "words.conll": conll(tagged + named), "spans.jsonl": jsonl(spans(*own) for own in tagged + named[1:]),
        "words.jsonl": jsonl({"tokens": words.split(), "tags": tags.split()} for words, tags in tagged + named),
        "iob1.conll": conll((words, tags.replace("B-", "I-")) for words, tags in tagged),
        "bioes.conll": conll((words, tags.replace("B-", "S-")) for words, tags in tagged), "squad.json": squad(asked),
        "zh.json": squad([("会议三月在上海举行。", {"会议在哪里举行?": "上海", "会议何时举行?": "三月"})]),
        "answers.jsonl": jsonl(answers), "answers.csv": delimited(answers, ","),
        "zh.jsonl": jsonl({"text": own, "label": own[2]} for own in ("电影很好", "电影不好 😀", "我看不差") * 3),
        "masks.jsonl": jsonl({"text": f"[MASK] {text}", "label": text.split()[0]} for text in made[:30]),
    }  # fmt: skip


def texts() -> dict[str, str | bytes]:
    """Files of other kinds: plain, in every format and archive, broken; configurations; models that are none."""
    lines = [
        "a gripping film", "the plot never wakes up", "Tim Cook met Angela Merkel in Berlin on Monday.", "",
        "王小明在北京读书。我看电影", "👩\u200d👩\u200d👧 loves 😀 Müller's café in Zürich", "  spaces   and\ttabs  ",
        "<b>bold</b> & \x1b[31mred\x1b[0m", "لا إله in New York", "e\u0301 e\u0301", "it 's a charming journey .",
    ]  # fmt: skip
    rows = [{"text": text, "id": str(i)} for i, text in enumerate(("a gripping film", "not good", "Rome is dull"))]
    animals = [("cat", "milk"), ("dog", "bone"), ("cow", "grass"), ("bee", "honey")]
    documents = ["\n".join(f"the {a} {verb} {b}." for verb in ("likes", "wants", "has")) for a, b in animals * 20]
    small = {"model-config": "shape.json", "lengths": "16", "batch-tokens": 128, "steps": 4, "eval-steps": 2}
    return {
        "texts.txt": "\n".join(lines) + "\n", "short.txt": "good film\nbad plot of the actor\n", "empty.jsonl": "",
        "long.txt": "good film of a lovely actor " * 240, "longer.txt": "good film of a lovely actor " * 16,
        "windows.txt": "\ufeffgood\r\nbad\r\n", "bad.txt": b"good\n\xff\xfe\nbad\n", "latin.txt": b"caf\xe9\n",
        "utf16.txt": "café 电影\ngood\n".encode("utf-16"), "rows.txt": "a\nb\n", "rows.jsonl": jsonl(rows),
        "rows.csv": delimited(rows, ","), "rows.tsv": delimited(rows, "\t"), "nested.jsonl": jsonl([{"body": rows[0]}]),
        "rows.jsonl.gz": gzip.compress(jsonl(rows).encode()), "bare.csv": "good,1\nbad,2\n", "bare.tsv": "1\tgood\n",
        "rows.csv.bz2": bz2.compress(delimited(rows, ",").encode()), "double.csv": "text,text\na,b\n",
        "rows.tsv.xz": lzma.compress(delimited(rows, "\t").encode()), "document.json": '{\n "text": "a"\n}\n',
        "odd.csv": 'text,n\r\n"a ""gripping""\nfilm, really",1\r\n"",2\r\nshort\r\n"café 😀",3,4\r\n',
        "bad.jsonl": '{"text": "good"}\n{"text": \n{"other": 1}\n{"text": 5}\n[1]\n{"text": NaN}\n',
        "bad.csv": b"text,n\ngood,1\n\xff,2\nbad\n", "broken.jsonl.gz": b"no gzip",
        "broken.txt.xz": lzma.compress(b"good\nbad\n")[:-9], "torn.txt.bz2": bz2.compress(b"good\n" * 99)[:-9],
        "broken.json": '{"version": "x", "data": [{"paragraphs": [{"context": "a"}]}]}',
        "zh.txt": "我看电影。\n电影很好,不差。\n\n北京很好。\n我不看。\n" * 9, "shape.json": json.dumps(SHAPE),
        "corpus/a.txt": "\n\n".join(documents[:40]), "corpus/b.txt": "\n\n".join(documents[40:]),
        "vectors.txt": "".join(f"{a} {' '.join(str(len(b) * i % 5) for i in range(32))}\n" for a, b in animals),
        "base.yaml": json.dumps({"pretrain": small}), "typed.yaml": "topk: 2\nvocab-siez: 1\n",
        "small.yaml": json.dumps({"pretrain": {**small, "tokenizer": "pieces"}}), "listed.yaml": "- 1\n",
        "options.yaml": "predict:\n  top-k: 2\n  all_scores: true\nfinetune:\n  lr: 1\n", "invalid.yaml": "a: [\n",
        "scalar.yaml": "predict: 3\n", "choice.yaml": "long: wide\n", "foreign.yaml": "zebra: 1\n",
        "pickled/config.json": "{}", "pickled/vocab.txt": "[UNK]\n", "pickled/pytorch_model.bin": b"cos\nsystem\n",
        "broken/config.json": "{", "listed/config.json": "[]",
    }  # fmt: skip


def prepare(work: Path) -> None:
    """Write what the commands read: these files, a model of random weights, and a little real data if it is there."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##ly", *"我看电影很好不差北京😀"]
    for name, content in {**labelled(), **texts(), "tiny/vocab.txt": "\n".join(pieces)}.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_bytes(content.encode() if isinstance(content, str) else content)
    torch.manual_seed(0)
    BertModel(BertConfig(**{**SHAPE, "vocab_size": len(pieces)})).save_pretrained(work / "tiny")
    BertTokenizer(str(work / "tiny" / "vocab.txt")).save_pretrained(work / "tiny")
    for name, (source, lines) in REAL.items() if DATA.is_dir() else ():
        (work / "real").mkdir(exist_ok=True)
        with lzma.open(DATA / source) if source.endswith(".xz") else (DATA / source).open("rb") as file:
            (work / "real" / name).write_bytes(b"".join(islice(file, lines)))


def run(package: Path, place: Path, output: Path, is_light: bool) -> None:
    os.nice(5)
    recorder, began = Recorder(package, place.resolve()), time.monotonic()
    commands = [own for own in listed(LIGHT if is_light else LIGHT + HEAVY) if DATA.is_dir() or "real/" not in own]
    records: dict[str, Any] = {}
    for i, text in enumerate(commands):
        used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        name = next(own for k in count(1) if (own := f"{text}  # {k}" if k > 1 else text) not in records)
        records[name] = recorder.record(text)
        used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - used
        print(f"{time.monotonic() - began:4.0f} s  {i + 1}/{len(commands)}  {used:.1f} s  {name}", file=sys.stderr)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"light": is_light, "commands": records}, indent=1) + "\n", encoding="utf-8")
    print(f"{len(records)} commands in {time.monotonic() - began:.0f} s: {output}")


def compare(old: Path, new: Path) -> int:
    """Print what differs; returns how many commands do. A light record is held to those commands of another."""
    one, other = (json.loads(path.read_text(encoding="utf-8")) for path in (old, new))
    is_same_kind, sides = one["light"] == other["light"], (one["commands"], other["commands"])
    names = [own for own in {**sides[0], **sides[1]} if is_same_kind or all(own in side for side in sides)]
    different = [name for name in names if sides[0].get(name) != sides[1].get(name)]
    for name in different:
        print(f"\n== {name}")
        if not all(name in side for side in sides):
            print(f"-- only in {old if name in sides[0] else new}")
            continue
        before, after = (flat(side[name]) for side in sides)
        for part in {**before, **after}:
            if before.get(part) != after.get(part):
                old_pieces, new_pieces = (pieces_of(own.get(part, "nothing")) for own in (before, after))
                changes = [line[:WIDEST] for line in difflib.unified_diff(old_pieces, new_pieces, lineterm="", n=1)][2:]
                more = [f"… and {len(changes) - SHOWN} lines more"] if len(changes) > SHOWN else []
                print("\n".join([f"-- {part}", *changes[:SHOWN], *more]))
    print(f"{len(different)} of {len(names)} commands differ")
    return len(different)


def flat(record: dict[str, Any]) -> dict[str, str]:
    files = {f"file {name}": content for name, content in record.get("files", {}).items()}
    return {name: str(value) for name, value in record.items() if name != "files"} | files


def pieces_of(text: str) -> list[str]:
    """Lines, those of JSON and HTML in short pieces, so that a difference is not as long as a line."""
    return [piece for line in text.split("\n") for piece in re.split(r"(?<=[,{\[>;]) ?", line)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, metavar="DIR", help="where bertcli/ is")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to run; is emptied first")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    parser.add_argument("--light", action="store_true", help="leave out what trains or explains")
    parser.add_argument("--compare", type=Path, nargs=2, metavar="FILE")
    given = parser.parse_args()
    if given.compare:
        sys.exit(1 if compare(*given.compare) else 0)
    if not (given.package and given.work and given.output):
        parser.error("give --package, --work and -o, or --compare")
    run(given.package, given.work, given.output, given.light)


if __name__ == "__main__":
    main()
