"""Images per second of a DIM(L) InfoNCE step, side by side with PyTorch.

Usage: python benchmarks/train_step.py [--units=256,2048] [--rounds=5] [--torch=PYTHON]

The step: `basic32x32`, the local encode-and-dot critic, InfoNCE with the negatives of
all images and locations, Adam, batch 64; no prior. Every variant runs in a process of
its own, the processes take turns, and medians over the rounds are printed as ratios.
PyTorch (`--torch` names a Python that has it) runs the same arithmetic, written here.
The share of the machine's float32 peak is counted multiply-adds against the faster of
TensorFlow's and NumPy's 2048^3 matrix product, measured in the same rounds.
"""

import argparse
import itertools
import os
import re
import statistics
import sys
import time

from processor import print_processor
from runs import run_variant

N, SIDE, CODE, LOCATIONS = 64, 32, 64, 64
WARMUP, STEPS = 3, 8

# name: (framework, options). "code" is the released critic (batch norm, layer norm);
# "plain" leaves out the layer norms, which is what folding needs.
VARIANTS = {
    "tf code": ("tf", dict(critic="code")),
    "tf code, XLA": ("tf", dict(critic="code", jit=True)),
    "tf code, 8 steps per call": ("tf", dict(critic="code", per_call=8)),
    "tf code, bfloat16": ("tf", dict(critic="code", precision="bfloat16")),
    "tf code, bfloat16, XLA": (
        "tf",
        dict(critic="code", precision="bfloat16", jit=True),
    ),
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


def measure(call, steps_per_call: int = 1) -> float:
    """Median seconds per step of `call`, after a warm-up."""
    times = []
    for _ in range(WARMUP + max(3, STEPS // steps_per_call)):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) / steps_per_call)
    return statistics.median(times[WARMUP:] if steps_per_call == 1 else times[1:])


def run_tf(
    units,
    critic="code",
    jit=False,
    per_call=1,
    fold=True,
    onednn="1",
    precision="none",
):
    """Seconds per step of the library's objective."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = onednn
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tf_infomax.options import command

    command.load_tensorflow()
    import keras
    import tensorflow as tf

    from tf_infomax import critics, encoders
    from tf_infomax.objectives import InfoMax, Term
    from tf_infomax.optimizers import FusedAdam
    from tf_infomax.training.experiment import set_precision

    class Unfolded(critics.EncodeAndDot):
        """The "plain" critic with its last linear maps where they stand."""

        def embed(self, x, y, training=False):
            rows = tf.reshape(x, [-1, x.shape[-1]])
            hx = self.x_block(rows, training=training)
            hx = tf.reshape(hx, [-1, x.shape[1] * x.shape[2], self.units])
            return hx, self.y_block(y, training=training)

        def score(self, hx, hy):
            return tf.einsum("nld,md->lnm", hx, hy)

    keras.utils.set_random_seed(0)
    set_precision(precision)
    layer = (critics.EncodeAndDot if fold else Unfolded)(units, critic)
    options = (("candidates", "x"), ("pooled", True))
    term = Term("local", "x.local", "x.code", layer, "info_nce", 1.0, options)
    objective = InfoMax(encoders.ENCODERS["basic32x32"]((SIDE, SIDE, 3), CODE), [term])
    objective.compile(FusedAdam(1e-4))
    batch = {"x": tf.constant(make_images())}

    @tf.function(jit_compile=jit)
    def call():
        loss = objective.train_step(batch)["loss"]
        for _ in tf.range(per_call - 1):
            loss = objective.train_step(batch)["loss"]
        return loss

    return measure(lambda: float(call()), per_call)


def run_torch(units, critic="code", layout="nhwc", compile=False):
    """Seconds per step of the same arithmetic in PyTorch."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.hidden = nn.Linear(width, units, bias=False)
            self.norm = nn.BatchNorm1d(units)
            self.output = nn.Linear(units, units)
            self.shortcut = nn.Linear(width, units, bias=False)
            self.end = nn.LayerNorm(units) if critic == "code" else nn.Identity()

        def forward(self, rows):
            h = torch.relu(self.norm(self.hidden(rows)))
            return self.end(self.output(h) + self.shortcut(rows))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            widths = (3, 64, 128, 256)
            self.convs = nn.ModuleList(
                nn.Conv2d(a, b, 4, 2, 1, bias=False)
                for a, b in itertools.pairwise(widths)
            )
            self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
            self.hidden = nn.Linear(4096, 1024, bias=False)
            self.hidden_norm = nn.BatchNorm1d(1024)
            self.code = nn.Linear(1024, CODE)
            self.x_block, self.y_block = Block(128), Block(CODE)

        def forward(self, images):
            x = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
            if layout == "nhwc":
                x = x.contiguous(memory_format=torch.channels_last)
            maps = []
            for conv, norm in zip(self.convs, self.norms, strict=True):
                x = torch.relu(norm(conv(x)))
                maps.append(x)
            fc = torch.relu(self.hidden_norm(self.hidden(x.flatten(1))))
            rows = maps[1].permute(0, 2, 3, 1).reshape(N * LOCATIONS, 128)
            hx = self.x_block(rows).reshape(N, LOCATIONS, units)
            scores = torch.einsum("nld,md->lnm", hx, self.y_block(self.code(fc)))
            positive = scores.diagonal(dim1=1, dim2=2)  # [L, N]
            masked = scores.masked_fill(torch.eye(N, dtype=torch.bool), -torch.inf)
            negative = masked.logsumexp((0, 1))
            return nn.functional.softplus(negative - positive).mean()

    model = Model()
    if layout == "nhwc":
        model = model.to(memory_format=torch.channels_last)
    forward = torch.compile(model) if compile else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    images = torch.from_numpy(make_images())

    def call():
        optimizer.zero_grad(set_to_none=True)
        loss = forward(images)
        loss.backward()
        optimizer.step()
        return loss.item()

    return measure(call)


def measure_peak() -> float:
    """float32 GFLOP/s of the product of two 2048 x 2048 matrices, the best.

    The better of TensorFlow's and NumPy's: not every build of every library has kernels
    for the machine's widest vectors.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tf_infomax.options import command

    command.load_tensorflow()
    import numpy as np
    import tensorflow as tf

    a, b = np.ones((2, 2048, 2048), np.float32)
    pair = tf.constant(a), tf.constant(b)
    product = tf.function(tf.matmul).get_concrete_function(*pair)
    calls = (lambda: a @ b), (lambda: product(*pair).numpy())
    best = min(_time(call) for call in calls for _ in range(16))
    return 2 * 2048**3 / best / 1e9


def _time(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", default="256,2048", help="widths of the critic")
    parser.add_argument("--rounds", type=int, default=5, help="processes per variant")
    parser.add_argument("--torch", default=sys.executable, help="Python with PyTorch")
    parser.add_argument("--only", default="", help="variants whose name matches")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one == "peak":
        print(measure_peak())
        return
    if options.one:
        units = int(options.units)
        framework, arguments = VARIANTS[options.one]
        run = run_tf if framework == "tf" else run_torch
        print(run(units, **arguments))
        return
    print_processor()
    for units in map(int, options.units.split(",")):
        names = [name for name in VARIANTS if re.search(options.only, name)]
        times = {name: [] for name in names}
        peaks = []
        for _ in range(options.rounds):
            peaks.append(run_variant(sys.executable, __file__, "peak"))
            for name in names:
                python = options.torch if "torch" in name.split()[0] else sys.executable
                seconds = run_variant(python, __file__, name, f"--units={units}")
                times[name].append(seconds)
        report(units, times, statistics.median(peaks))


def report(units: int, times: dict[str, list[float]], peak: float) -> None:
    gflop = count_gflop(units)
    print(
        f"\nunits {units}, batch {N}: {gflop:.1f} GFLOP per step (unfolded), "
        f"peak {peak:.0f} GFLOP/s, medians of {len(next(iter(times.values())))}"
    )
    print(
        f"{'variant':28}{'ms':>8}{'images/s':>10}{'of peak':>9}{'vs torch eager':>16}"
    )
    for name, values in times.items():
        seconds = statistics.median(values)
        reference = times.get(REFERENCE["code" if "code" in name else "plain"])
        ratio = f"{statistics.median(reference) / seconds:.2f}" if reference else "-"
        share = (
            ""
            if "folded" in name and "un" not in name
            else f"{gflop / seconds / peak:9.0%}"
        )
        print(f"{name:28}{1e3 * seconds:8.1f}{N / seconds:10.0f}{share:>9}{ratio:>16}")


if __name__ == "__main__":
    main()
