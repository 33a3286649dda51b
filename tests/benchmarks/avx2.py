"""Whether int8 answers are the same on a processor without VNNI, on any x86 Linux machine with gdb and objdump.

    python tests/benchmarks/avx2.py TEXTS [-t TASK …as for bertcli predict]

TEXTS is predicted by this processor as it is, then as one that has AVX2 alone: gdb answers the `cpuid` instructions of
ONNX Runtime without AVX-512, VNNI and AMX, so its own kernels for such processors run, at full speed. Then once more
without what bertcli does there (session.x64quantprecision), which shows what would be wrong. Lines that differ are
counted, in all they say and in labels and spans alone; a digest of the answers allows to compare machines.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime.capi.onnxruntime_pybind11_state as library

MASKED = """
import ctypes, mmap, gdb
# mov r8, rdx; push rbx; mov eax, edi; mov ecx, esi; cpuid; mov [r8], eax; …+4, ebx; …+8, ecx; …+12, edx; pop rbx; ret
code = bytes.fromhex("4989d05389f889f10fa241890041895804418948084189500c5bc3")
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(code)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
ask = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32 * 4))(start)
AVX512 = 1 << 16 | 1 << 17 | 1 << 21 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 30 | 1 << 31  # leaf 7, ebx
MASKS = {(7, 0): (0, AVX512, 1 << 1 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 14, 7 << 22 | 1 << 2 | 1 << 3 | 1 << 8),
         (7, 1): (1 << 4 | 1 << 5 | 1 << 21, 0, 0, 1 << 4 | 1 << 5 | 1 << 10)}

class Cpuid(gdb.Breakpoint):
    def stop(self):
        leaf, part = (int(gdb.parse_and_eval(f"(unsigned int)${name}")) for name in ("eax", "ecx"))
        values = (ctypes.c_uint32 * 4)()
        ask(leaf, part, ctypes.pointer(values))
        masks = MASKS.get((leaf, part), (0, 0, 0, 0))
        for name, value, mask in zip(("rax", "rbx", "rcx", "rdx"), values, masks):
            gdb.execute(f"set ${name} = {value & ~mask}")
        gdb.execute("set $pc = $pc + 2")
        return False

def loaded(event):
    if event.new_objfile.filename == LIBRARY:
        lines = gdb.execute("info proc mappings", to_string=True).splitlines()
        base = min(int(line.split()[0], 16) for line in lines if line.endswith(LIBRARY))
        for offset in OFFSETS:
            Cpuid(f"*{base + offset}", internal=True)

gdb.events.new_objfile.connect(loaded)
gdb.execute("set breakpoint pending on")
gdb.execute("handle SIGSEGV nostop noprint pass")
gdb.execute("run")
"""
RUN = "import sys; from bertcli import device; from bertcli.cli.main import main; {change}; main()"
AVX2 = "device._cpuinfo = lambda: 'flags : avx2 fma'"
Answer = dict[str, Any]


def predict(arguments: list[str], change: str, script: Path | None) -> list[Answer]:
    """The results of `bertcli predict`; script: of gdb, under which it runs."""
    out = Path(tempfile.mkdtemp()) / "out.jsonl"
    command = [sys.executable, "-c", RUN.format(change=change), "predict", *arguments, "--backend", "onnx", "-q"]
    command += ["-o", str(out), "--precision", "int8"]
    under = ["gdb", "-q", "-batch", "-x", str(script), "--args"] if script else []
    subprocess.run(under + command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """See the module."""
    path = str(library.__file__)
    listing = subprocess.run(["objdump", "-d", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    offsets = [int(match[1], 16) for match in re.finditer(r"^ *([0-9a-f]+):.*\tcpuid", listing, re.MULTILINE)]
    script = Path(tempfile.mkdtemp()) / "cpuid.py"
    script.write_text(f"LIBRARY = {path!r}\nOFFSETS = {offsets}\n{MASKED}")
    here = predict(sys.argv[1:], "pass", None)
    digest = hashlib.sha256(json.dumps(here).encode()).hexdigest()[:16]
    print(f"{len(here):,} answers of this processor, digest {digest}")
    for name, change in (("AVX2 alone", AVX2), ("AVX2 alone, without x64quantprecision", "pass")):
        other = predict(sys.argv[1:], change, script)
        lines = sum(a != b for a, b in zip(here, other, strict=True))
        decisions = sum(decided(a) != decided(b) for a, b in zip(here, other, strict=True))
        print(f"{name}: {lines:,} lines differ, {decisions:,} in what was decided")


def decided(answer: Answer) -> Answer:
    """An answer without its numbers of probability."""
    if isinstance(answer.get("entities"), list):
        return {**answer, "entities": [{k: v for k, v in e.items() if k != "score"} for e in answer["entities"]]}
    return {k: v for k, v in answer.items() if k not in ("score", "embedding")}


if __name__ == "__main__":
    main()
