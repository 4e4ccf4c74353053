"""The benchmarks: what stands above a figure."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from processor import describe_processor  # noqa: E402


@pytest.mark.parametrize(
    ("cpuinfo", "described"),
    [
        (
            "processor\t: 0\nmodel name\t: Xeon A\nflags\t\t: fpu avx avx2\n\n"
            "processor\t: 1\nmodel name\t: Xeon A\nflags\t\t: fpu avx avx2\n",
            "Xeon A, 2 cores, AVX2",
        ),
        (
            "model name : Xeon B\nflags : avx2 avx512f avx512_bf16 amx_bf16\n",
            "Xeon B, 2 cores, AVX2, AVX-512, AVX-512 bfloat16, AMX bfloat16",
        ),
        ("model name : Old\nflags : sse4_2\n", "Old, 2 cores, no AVX2"),
    ],
)
def test_processor_is_told_with_what_decides_speed(cpuinfo, described):
    assert describe_processor(cpuinfo, cores=2) == described


def test_no_name_of_a_processor_is_made_up():
    assert re.fullmatch(r".+, 1 core, no AVX2", describe_processor("", cores=1))
