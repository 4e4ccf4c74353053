"""The benchmarks: what stands above a figure, and the reference with labels."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import supervised  # noqa: E402
from processor import describe_processor  # noqa: E402

from tf_infomax import experiment  # noqa: E402
from tf_infomax.options import Config  # noqa: E402


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


def test_reference_with_labels_is_trained_and_follows_the_seed(data):
    config = Config(
        dataset=f"arrays:{data}", encoder="basic32x32", steps=30, batch_size=16
    )
    images = experiment.load_data(config)
    accuracy = supervised.train(config, images)
    assert accuracy > 0.9  # the classes differ in brightness
    assert supervised.train(config, images) == accuracy
