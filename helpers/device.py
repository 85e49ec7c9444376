"""Picks the device, the number format and the threads, and says why (notebook 00; measured in notebook 05)."""

import ctypes
import os
import platform
from dataclasses import dataclass

import psutil
import torch


@dataclass(frozen=True)
class Device:
    """Where and how to compute: `type` is cpu, cuda or mps; `dtype` that of the matrix products; `reason` says why."""

    type: str
    dtype: torch.dtype
    threads: int
    reason: str

    def autocast(self):
        """Return the context in which matrix products run in `dtype` while weights stay in float32."""
        return torch.autocast(self.type, self.dtype, enabled=self.dtype != torch.float32)


def pick_device(name="auto", dtype="auto"):
    """Return the best `Device` of this machine, or the one named: cpu, cuda or mps; dtype: auto, float32 or bfloat16.

    Raises ValueError if that device is not there.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(n for n, there in found.items() if there)
    if not found.get(name, False):
        there = ", ".join(n for n, is_there in found.items() if is_there)
        raise ValueError(f"There is no device {name!r} that PyTorch can use here; available: {there}.")
    chosen, why = _pick_dtype(name) if dtype == "auto" else (getattr(torch, dtype), "as asked for")
    threads = _pick_threads()
    torch.set_num_threads(threads)
    if name == "cpu":
        keep_freed_memory()
    number_format = str(chosen).removeprefix("torch.")
    return Device(name, chosen, threads, f"{name} with {threads} thread(s), {number_format}: {why}")


def _pick_dtype(name):
    if name == "cuda":
        major, minor = torch.cuda.get_device_capability()
        if major >= 8:
            return torch.bfloat16, f"{torch.cuda.get_device_name()} multiplies bfloat16 matrices in hardware"
        return torch.float32, f"{torch.cuda.get_device_name()} ({major}.{minor}) has no bfloat16 matrix units"
    if name == "mps":
        return torch.float32, "on Apple GPUs float32 is the format that has been tried"
    features = torch.cpu.get_capabilities()
    if features.get("amx_bf16") or features.get("avx512_bf16"):
        unit = "AMX" if features.get("amx_bf16") else "AVX512-bf16"
        return torch.bfloat16, f"this processor multiplies bfloat16 matrices in hardware ({unit})"
    return torch.float32, "this processor has no bfloat16 matrix units, where bfloat16 is slower than float32"


def _pick_threads():
    """Physical cores that this process may use: hyperthreads slow matrix products down."""
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return int(os.environ["OMP_NUM_THREADS"])
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, allowed))


def keep_freed_memory():
    """Make glibc keep the memory that a step frees, so that the next step need not fault it in page by page again.

    A training step allocates the same hundreds of megabytes every time. Does nothing outside Linux with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # from malloc.h
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(M_TOP_PAD, 64 * 2**20)
