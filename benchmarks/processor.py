"""Which processor a speed was measured on: ratios differ from one to another."""

import os
import platform
from pathlib import Path

# The flag of /proc/cpuinfo -> what decides the speed of matrix products.
_WIDE = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 bfloat16",
    "amx_bf16": "AMX bfloat16",
    "asimd": "NEON",
    "sve": "SVE",
    "bf16": "bfloat16",
}


def describe_processor(cpuinfo: str | None = None, cores: int | None = None) -> str:
    """Its name, the cores at hand, and what it has for products of matrices.

    Args:
        cpuinfo: in the form of Linux' /proc/cpuinfo; by default this machine's.
        cores: by default those that this process may use.
    """
    if cpuinfo is None:
        path = Path("/proc/cpuinfo")
        cpuinfo = path.read_text() if path.exists() else ""
    fields = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    given = fields.get("flags", fields.get("features", "")).split()
    wide = [words for flag, words in _WIDE.items() if flag in given]
    name = fields.get("model name") or platform.processor() or platform.machine()
    if not cores:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        cores = cores or os.cpu_count()
    return f"{name}, {cores} core{'s' * (cores != 1)}, {', '.join(wide) or 'no AVX2'}"


def print_processor() -> None:
    """The line that stands above all figures of speed."""
    print(f"processor: {describe_processor()}", flush=True)
