"""Which device to run on, and why: "auto" becomes a Device that carries the reason for the choice.

Also what a process asks of its machine: memory, kernels, signals. Knows no model. Looks for a GPU first without
importing torch, which takes seconds that a run on the CPU never earns back.
Try: python -c "from bertcli.device import choose; print(choose())"
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

from bertcli.errors import UsageError

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU time, and of the period they are for
KINDS = ("auto", "cpu", "cuda", "mps")
THREADS = Path("/proc/self/task")  # of this process
LOOK = 0.5  # seconds between two looks at how long threads have waited for a core
CROWDED, CALM = 0.2, 0.05  # seconds waited in one second; measured: 0.6 to 0.9 beside another training, 0.03 alone
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True)
class Device:
    """type: cpu, cuda or mps, as torch names it. threads: CPU threads to use. reason: why this one, for people."""

    type: str
    threads: int
    reason: str


def choose(wanted: str = "auto", threads: int | None = None) -> Device:
    """The Device for a --device value (one of KINDS). Raises UsageError if it is not available."""
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
    """Whether torch is installed, without importing it; the light installation leaves it out."""
    return find_spec("torch") is not None


def cpu(threads: int | None, reason: str) -> Device:
    """The CPU, chosen by the caller for this reason."""
    return Device("cpu", threads or cores(), reason)


def cores() -> int:
    """The number of CPU cores that this process may use, by its affinity and a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no cgroup v2; "max", which is no quota
        quota, period = map(int, QUOTA.read_text().split())
        count = max(1, min(count, -(-quota // period)))
    return count


def available() -> dict[str, str]:
    """Every usable device by type: its name, and the instructions of a CPU that make int8 and bf16 fast."""
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
    """Whether int8 products are exact at full speed, as they are with VNNI and on all but x86.

    Older x86 instructions add two products in 16 bits, which saturate (microsoft/onnxruntime#6004).
    """
    is_x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    return not is_x86 or "vnni" in _cpuinfo()


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 natively; if not, bf16 autocast is slower than fp32."""
    flags = _cpuinfo()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def use_threads(count: int) -> None:
    """Let torch compute with so many threads, which sleep while they wait for each other if others want the cores.

    libgomp's threads spin, also while the one that they wait for has no core: of two trainings with two threads each on
    two cores, each makes 116 tokens/s instead of 880. Threads that always sleep have 0.9 of the speed alone
    (tests/benchmarks/neighbours.py). So they spin until threads of this process have to wait for a core.
    """
    import torch

    torch.set_num_threads(count)
    if count > 1 and THREADS.exists() and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        _watch_cores()


@cache
def _watch_cores() -> None:
    Thread(target=_give_way, daemon=True).start()


def _give_way() -> None:
    """Let libgomp's threads sleep instead of spin while the cores are crowded.

    They hardly spin while libgomp has more threads than there are cores, whatever these do (`gomp_managed_threads` of
    its config/linux/wait.h): meanwhile a thread of ours owns a team of threads that have nothing to do.
    """
    import ctypes
    from concurrent.futures import ThreadPoolExecutor

    libgomp, team = ctypes.CDLL(None), len(os.sched_getaffinity(0)) + 1
    while hasattr(libgomp, "GOMP_parallel"):  # another OpenMP has its own way
        _wait_until(lambda waited: waited > CROWDED, 1)
        with suppress(RuntimeError), ThreadPoolExecutor(1) as owner:  # no thread begins when the process ends
            owner.submit(libgomp.GOMP_parallel, libgomp.omp_get_num_threads, None, team, 0)
            _wait_until(lambda waited: waited < CALM, 5)


def _wait_until(condition: Callable[[float], bool], looks: int) -> None:
    """Sleep until as many looks in a row saw threads wait for a core as long, in seconds of each second, as wanted."""
    seen, before = 0, _waited()
    while seen < looks:
        time.sleep(LOOK)
        after = _waited()
        seen = seen + 1 if condition((after - before) / LOOK) else 0
        before = after


def _waited() -> float:
    """Seconds that this process's threads have been ready to run without a core (proc(5), schedstat)."""
    total = 0
    for thread in THREADS.iterdir():
        with suppress(OSError):  # it has ended meanwhile
            total += int((thread / "schedstat").read_bytes().split()[1])
    return total / 1e9


@contextmanager
def unseen_signals() -> Iterator[None]:
    """Processes started within it never see SIGINT, SIGTERM or SIGHUP.

    They could not ignore the signals themselves in time, because a process needs a second to begin.
    """
    import signal
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # Python 3.11 unblocks the signals when it starts this one
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def keep_freed_memory() -> None:
    """Let malloc keep large freed blocks, for the next step of a training or the rest of a model's opening.

    glibc returns each to the kernel at once, and every page then faults in anew. That takes 14 to 20 % of the time of
    training MiniLM-L6 in batches of 1,024 tokens on two cores (219, 186, 209, 214 examples/s, and 248, 226,
    246, 254 with blocks kept), and 12 of the 52 ms in which ONNX Runtime opens the model. Only glibc's malloc changes.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def keep_attention_off_cudnn() -> None:
    """Keep torch from cuDNN's attention kernel, which makes a plan for every new shape of a batch.

    Plans take 3.4 ms each: 6 of the 8 s of 147 batches in 12 layers (H200, torch 2.11; on another card:
    modelscope/FunASR#3705).
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
