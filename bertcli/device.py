"""Which processor to run on, and why: "auto" becomes a Device that carries the reason for the choice.

Knows no model. Looks for a GPU without importing torch, because importing it costs seconds that a CPU run
never earns back. Try: python -c "from bertcli.device import choose; print(choose())"
"""

import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bertcli.errors import UsageError

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU in a period of so many, as a container sees its own
KINDS = ("auto", "cpu", "cuda", "mps")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True)
class Device:
    """type: cpu, cuda or mps, as torch names it. threads: CPU threads to use. reason: why this one, for people."""

    type: str
    threads: int
    reason: str


def choose(wanted: str = "auto", threads: int | None = None) -> Device:
    """The Device of a --device value (one of KINDS). Raises UsageError where it is not there."""
    threads = threads or cores()
    if wanted != "auto":
        if wanted != "cpu" and not has_torch():
            raise UsageError(f"device '{wanted}' needs torch, which is not installed: pip install 'bertcli[torch]'.")
        if wanted != "cpu" and not _works(wanted):
            raise UsageError(f"device '{wanted}' is not available to torch on this machine; use --device auto or cpu.")
        return Device(wanted, threads, "asked for")
    if not _may_have_gpu():
        return Device("cpu", threads, "no GPU on this machine")
    if not has_torch():
        return Device("cpu", threads, "the GPU is idle, for torch is not installed: pip install 'bertcli[torch]'")
    for candidate in ("cuda", "mps"):
        if _works(candidate):
            return Device(candidate, threads, f"{candidate} is available")
    return Device("cpu", threads, "torch can use no GPU here")


def has_torch() -> bool:
    """Whether torch is installed, which the light installation leaves out; without importing it."""
    return find_spec("torch") is not None


def cpu(threads: int | None, reason: str) -> Device:
    """The CPU, for a reason that is neither the user's wish nor the machine."""
    return Device("cpu", threads or cores(), reason)


def cores() -> int:
    """CPU cores that this process may use: those of its affinity, and no more than a container's quota allows."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no cgroup v2; "max", which is no quota
        quota, period = map(int, QUOTA.read_text().split())
        count = max(1, min(count, -(-quota // period)))
    return count


def available() -> dict[str, str]:
    """Every usable device by type: its name, and its instructions that make int8 and bf16 fast."""
    text = _cpuinfo()
    name = text.partition("model name")[2].partition("\n")[0].strip("\t :") or platform.machine()
    flags = [flag for flag in ("avx2", "avx512_vnni", "avx512_bf16", "amx_int8") if flag in text]
    processor = f"{name} ({', '.join(flags)})" if text else platform.processor() or platform.machine()
    devices = {"cpu": f"{cores()} cores of {processor}"}
    if _may_have_gpu() and has_torch():
        import torch

        if _works("cuda"):
            devices["cuda"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        if _works("mps"):
            devices["mps"] = "Apple GPU"
    return devices


def has_exact_int8() -> bool:
    """Whether products of int8 weights are exact at full speed: by VNNI's instructions, and on all but x86.

    The older ones of x86 add two products in 16 bits, which saturate (microsoft/onnxruntime#6004).
    """
    is_x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    return not is_x86 or "vnni" in _cpuinfo()


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 natively; where it does not, bf16 autocast is slower than fp32."""
    flags = _cpuinfo()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def keep_freed_memory() -> None:
    """Let malloc keep large blocks that are freed, for the next step of a training or the rest of a model's opening.

    glibc gives each back to the kernel at once, and every page is then faulted in anew: 14 to 20 % of the time of
    training MiniLM-L6 in batches of 1,024 tokens on two cores (248, 226, 246, 254 examples/s instead of 219, 186, 209,
    214), and 12 ms of the 52 in which ONNX Runtime opens it. Nothing happens where the C library is another.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def keep_attention_off_cudnn() -> None:
    """Let torch take its other kernels for attention: cuDNN's makes a plan for every new shape of a batch.

    A plan takes 3.4 ms, which was 6 of the 8 s that 147 batches of 12 layers took (H200, torch 2.11; modelscope/FunASR
    #3705 has the same on another card).
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def _may_have_gpu() -> bool:
    nvidia = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists() or sys.platform == "win32"
    return nvidia or sys.platform == "darwin"


def _works(name: str) -> bool:
    import torch

    return torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()


def _cpuinfo() -> str:
    """What Linux says of the processors; "" elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
