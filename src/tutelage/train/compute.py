"""What this machine computes fastest in: measured, never assumed (some processors take thirty times longer in bf16)."""

import ctypes
import importlib.util
import platform
import resource
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from tutelage.machine import processors

Dtype = Literal["auto", "bf16", "fp32"]
TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SIZE = 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE_BLOCK = 32 << 20  # bytes, the most that glibc accepts: larger ones have pages of their own


@dataclass(frozen=True)
class Compute:
    device: torch.device
    dtype: torch.dtype  # of the products; the adapters are always float32
    gflops: float  # of a matrix product in that type, as measured
    threads: int


def measure(seconds: float = 0.5, share: int = 1, dtype: Dtype = "auto") -> Compute:
    """Choose device and type, in about `seconds`; sets PyTorch's threads to the processors this process may use.

    `share`: so many processes divide them. A `dtype` that is named is taken, and its speed measured all the same.
    """
    threads = max(1, processors() // share)
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        emulated = not torch.cuda.is_bf16_supported(including_emulation=False)
        device, types = torch.device("cuda"), [torch.float32 if emulated else torch.bfloat16]
    else:
        device, types = torch.device("cpu"), [torch.float32, torch.bfloat16]
    types = [TYPES[dtype]] if dtype in TYPES else types
    speeds: dict[torch.dtype, float] = {}
    for each in types:  # where bf16 is emulated, one product of the whole size takes two seconds
        if not speeds or _gflops(device, each, 0.0, SIZE // 8) > speeds[torch.float32] / 4:
            speeds[each] = _gflops(device, each, seconds / len(types))
    bf16_is_faster = speeds.get(torch.bfloat16, 0.0) > 1.3 * speeds.get(torch.float32, 0.0)
    chosen = torch.bfloat16 if bf16_is_faster else torch.float32
    return Compute(device, chosen, round(speeds[chosen], 1), threads)


def as_typed(device: torch.device) -> AbstractContextManager[Any]:
    """Products in the types of what is multiplied, whatever autocast is on; there is none on "meta"."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next layer instead of handing it back: a twentieth less time a step on CPU.

    What it hands back, the kernel must clear again page by page. Elsewhere than on glibc this does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def peak_rss() -> int:
    """Bytes of memory that this process has held at the most.

    Linux's ru_maxrss begins with what the parent held when it started this process (proc(5), getrusage(2)); VmHWM does
    not. macOS counts in bytes.
    """
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024


def _gflops(device: torch.device, dtype: torch.dtype, seconds: float, size: int = SIZE) -> float:
    """The best of as many products as fit, so that a moment's disturbance does not count."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best, stop = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > stop:
            return 2 * size**3 / best / 1e9
