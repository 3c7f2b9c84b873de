"""What this machine computes fastest in: measured, never assumed (some processors take thirty times longer in bf16)."""

import os
import time
from dataclasses import dataclass

import torch

SIZE = 1024


@dataclass(frozen=True)
class Compute:
    device: torch.device
    dtype: torch.dtype  # of the products; the adapters are always float32
    gflops: float  # of a matrix product in that type, as measured
    threads: int


def measure(seconds: float = 0.5) -> Compute:
    """Choose device and type, in about `seconds`; sets PyTorch's threads to the processors this process may use."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        device, types = torch.device("cuda"), [torch.bfloat16]
    else:
        device, types = torch.device("cpu"), [torch.float32, torch.bfloat16]
    speeds = {dtype: _gflops(device, dtype, seconds / len(types)) for dtype in types}
    dtype = torch.bfloat16 if speeds[torch.bfloat16] > 1.3 * speeds.get(torch.float32, 0.0) else torch.float32
    return Compute(device, dtype, round(speeds[dtype], 1), threads)


def _gflops(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """The best of as many products as fit, so that a moment's disturbance does not count."""
    a, b = (torch.randn(SIZE, SIZE, device=device, dtype=dtype) for _ in range(2))
    best, stop = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > stop:
            return 2 * SIZE**3 / best / 1e9
