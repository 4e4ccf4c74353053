"""Images per second of a DIM(L) InfoNCE step, side by side with PyTorch.

Usage: python benchmarks/train_step.py [--units=256,2048] [--rounds=5] [--torch=PYTHON]

The step: `basic32x32`, the local encode-and-dot critic, InfoNCE with the negatives of
all images and locations, Adam, batch 64; no prior. Every variant runs in a process of
its own, the processes take turns, and medians over the rounds are printed as ratios.
PyTorch (`--torch` names a Python that has it) runs the same arithmetic, written here.
The share of the machine's float32 peak is counted multiply-adds against a 2048^3 matrix
product measured in the same rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

N, SIDE, CODE, LOCATIONS = 64, 32, 64, 64
WARMUP, STEPS = 4, 12

# name: (framework, options). "code" is the released critic (batch norm, layer norm);
# "plain" leaves out the layer norms, which is what folding needs.
VARIANTS = {
    "tf code": ("tf", dict(critic="code")),
    "tf code, XLA": ("tf", dict(critic="code", jit=True)),
    "tf code, 8 steps per call": ("tf", dict(critic="code", per_call=8)),
    "tf code, oneDNN off": ("tf", dict(critic="code", onednn="0")),
    "torch code": ("torch", dict(critic="code")),
    "torch code, NCHW": ("torch", dict(critic="code", layout="nchw")),
    "torch code, torch.compile": ("torch", dict(critic="code", compile=True)),
    "tf plain, unfolded": ("tf", dict(critic="plain", fold=False)),
    "tf plain, folded": ("tf", dict(critic="plain")),
    "torch plain": ("torch", dict(critic="plain")),
    "torch plain, torch.compile": ("torch", dict(critic="plain", compile=True)),
}
REFERENCE = {"code": "torch code", "plain": "torch plain"}


def count_gflop(units: int) -> float:
    """Multiply-adds of matrix products, twice, times three for the backward pass."""
    convs = [(16, 3, 64), (8, 64, 128), (4, 128, 256)]
    encoder = sum(side * side * 16 * a * b for side, a, b in convs)
    encoder += 4096 * 1024 + 1024 * CODE
    local = LOCATIONS * (128 * units + units * units + 128 * units)
    code = CODE * units + units * units + CODE * units
    scores = LOCATIONS * N * units
    return 2 * 3 * N * (encoder + local + code + scores) / 1e9


def make_images():
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE, 3), np.uint8)


def run_tf(units, critic="code", jit=False, per_call=1, fold=True, onednn="1"):
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = onednn
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tf_infomax  # noqa: F401  (before TensorFlow)

    # isort: split
    import keras
    import tensorflow as tf

    from tf_infomax import critics, encoders
    from tf_infomax.objectives import InfoMax, Term

    keras.utils.set_random_seed(0)
    layer = critics.EncodeAndDot(units, critic)
    if not fold:
        layer = Unfolded(units, critic) if False else make_unfolded(units)
    options = (("candidates", "x"), ("pooled", True))
    term = Term("local", "x.local", "x.code", layer, "info_nce", 1.0, options)
    objective = InfoMax(encoders.ENCODERS["basic32x32"]((SIDE, SIDE, 3), CODE), [term])
    objective.compile(keras.optimizers.Adam(1e-4))
    batch = {"x": tf.constant(make_images())}

    @tf.function(jit_compile=jit)
    def call():
        values = objective.train_step(batch)
        for _ in tf.range(per_call - 1):
            values = objective.train_step(batch)
        return values["loss"]

    return [time_call(lambda: float(call()), per_call) for _ in range(WARMUP + STEPS)]
