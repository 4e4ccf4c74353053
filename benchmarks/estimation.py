"""Steps per second of training a critic, side by side with benchmark-mi and PyTorch.

Usage: python benchmarks/estimation.py [--rounds=5] [--bmi=PYTHON] [--torch=PYTHON]

The same work on all sides: 10,000 pairs of 5 + 5 columns, batch 256, Adam, float32.
Every variant runs in a process of its own, the processes take turns, and medians are
printed: wall and CPU time per step, and a peer's times in units of ours. PyTorch runs
as it comes and with one thread; ours as the command `tf_infomax.estimate` sets it up,
no operation split over cores. A peer whose Python is not given or does not import is
left out with a message. `bmi_draw.py` says how the environment of benchmark-mi is made;
its loops are called as they are, without its tests in between. Shares of the peak are
counted multiply-adds of all matrix products against the faster of TensorFlow's and
NumPy's 2048^3 product, measured in the same rounds.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

import train_step
from processor import print_processor

ROWS, WIDTH, BATCH = 10_000, 5, 256
# case: (steps to warm up, steps to time, GFLOP of a step)
CASES = {
    "MINE (16, 8), 256 negatives": (300, 3000, 0.0),
    "InfoNCE (16, 8), joint": (30, 300, 0.0),
    "InfoNCE 2 x 256, joint": (2, 10, 6 * BATCH**2 * (256 * 256 + 256) / 1e9),
    "InfoNCE 2 x 256 to 32, separable": (
        50,
        500,
        6 * BATCH * (2 * (WIDTH * 256 + 256 * 256 + 256 * 32) + BATCH * 32) / 1e9,
    ),
}
PEERS = {
    "MINE (16, 8), 256 negatives": ("bmi",),
    "InfoNCE (16, 8), joint": ("bmi",),
    "InfoNCE 2 x 256, joint": ("torch", "torch, 1 thread"),
    "InfoNCE 2 x 256 to 32, separable": ("torch", "torch, 1 thread"),
}


def make_pairs():
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
    return x, (0.8 * x + 0.6 * rng.normal(size=x.shape)).astype(np.float32)


def measure(train, case: str) -> tuple[float, float]:
    """(wall, CPU) seconds per step: `train(steps)` long less `train(steps)` short."""
    warm, timed, _ = CASES[case]
    train(warm)
    found = []
    for steps in (warm, warm + timed):
        wall, cpu = time.perf_counter(), time.process_time()
        train(steps)
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    return tuple((b - a) / timed for a, b in zip(*found, strict=True))


def run_ours(case: str) -> tuple[float, float]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tf_infomax.options import command

    command.load_tensorflow(split_operations=False)
    from tf_infomax.estimation import neural
    from tf_infomax.estimation.options import Options

    mine = case.startswith("MINE")
    options = {
        "critic": "separable" if "separable" in case else "concatenated",
        "widths": (16, 8) if "16" in case else (256, 256),
        "negatives": "derangement" if mine else "all",
    }
    if "separable" in case:
        options["widths"] = (256, 256, 32)
    x, y = make_pairs()
    few = x[:32], y[:32]

    def train(steps: int) -> None:
        chosen = Options(
            batch_size=BATCH, max_steps=steps, check_every=steps, **options
        )
        name = "mine" if mine else "info_nce_rows"
        neural.train(x, y, few, name, chosen)

    return measure(train, case)


def run_bmi(case: str) -> tuple[float, float]:
    import jax
    import jax.numpy as jnp
    from bmi.estimators.neural import _backend_quadratic_memory as backend
    from bmi.estimators.neural._basic_training import basic_training
    from bmi.estimators.neural._critics import MLP
    from bmi.estimators.neural._mine_estimator import mine_training

    x, y = map(jnp.asarray, make_pairs())
    common = {"test_every_n_steps": 10**9, "early_stopping": False, "verbose": False}

    def train(steps: int) -> None:
        key = jax.random.PRNGKey(0)
        critic = MLP(key, WIDTH, WIDTH, (16, 8))
        given = {"batch_size": BATCH, "max_n_steps": steps, **common}
        if case.startswith("MINE"):
            _, critic = mine_training(key, critic, x, y, **given)
        else:
            _, critic = basic_training(key, critic, backend.infonce, x, y, **given)
        jax.block_until_ready(critic.layers[0].weight)

    return measure(train, case)


def run_torch(case: str, threads: int | None = None) -> tuple[float, float]:
    import torch
    from torch import nn

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    x, y = map(torch.from_numpy, make_pairs())

    def mlp(*widths):
        layers = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    if "separable" in case:
        parts = nn.ModuleList(mlp(WIDTH, 256, 256, 32) for _ in "xy")
        score = lambda a, b: parts[0](a) @ parts[1](b).T
    else:
        parts = mlp(2 * WIDTH, 256, 256, 1)

        def score(a, b):
            n = len(a)
            pairs = [a[:, None].expand(n, n, -1), b[None].expand(n, n, -1)]
            return parts(torch.cat(pairs, dim=-1))[..., 0]

    optimizer = torch.optim.Adam(parts.parameters(), 1e-3)
    target = torch.arange(BATCH)

    def train(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randperm(ROWS)[:BATCH]
            scores = score(x[rows], y[rows])
            loss = nn.functional.cross_entropy(scores, target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return measure(train, case)


RUNS = {
    "ours": run_ours,
    "bmi": run_bmi,
    "torch": run_torch,
    "torch, 1 thread": lambda case: run_torch(case, threads=1),
}


def run_in_process(python: str, side: str, case: str):
    """(wall, CPU) per step in a process of its own, or None with a message."""
    command = [python, __file__, "--one", side, "--case", case]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no output"])[-1]
        if side == "ours":
            sys.exit(f"{case}: {reason}")
        print(f"{case}: {side} is left out: {reason}", file=sys.stderr)
        return None
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes per variant")
    parser.add_argument("--bmi", default=sys.executable, help="Python with its peer")
    parser.add_argument("--torch", default=sys.executable, help="Python with PyTorch")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(RUNS[options.one](options.case)))
        return
    pythons = {"ours": sys.executable, "bmi": options.bmi}
    found = {(case, side): [] for case in CASES for side in ("ours", *PEERS[case])}
    peaks = []
    for _ in range(options.rounds):
        peaks.append(train_step.run_in_process(sys.executable, "peak", 0))
        for (case, side), times in list(found.items()):
            times_here = run_in_process(pythons.get(side, options.torch), side, case)
            if times_here is None:
                del found[case, side]
            else:
                times.append(times_here)
    report(found, statistics.median(peaks))


def report(found: dict, peak: float) -> None:
    print_processor()
    print(f"peak {peak:.0f} GFLOP/s; medians of wall and CPU per step")
    heads = f"{'wall ms':>9}{'CPU ms':>9}{'x wall':>8}{'x CPU':>8}{'peak':>7}"
    print(f"{'case':34}{'side':17}{heads}")
    for (case, side), times in found.items():
        wall, cpu = medians(times)
        times_ours = medians(found[case, "ours"])
        ratios = [f"{wall / times_ours[0]:.2f}", f"{cpu / times_ours[1]:.2f}"]
        ratios = ["", ""] if side == "ours" else ratios
        gflop = CASES[case][2]
        share = f"{gflop / wall / peak:.0%}" if gflop else ""
        print(
            f"{case:34}{side:17}{1e3 * wall:9.2f}{1e3 * cpu:9.2f}"
            f"{ratios[0]:>8}{ratios[1]:>8}{share:>7}"
        )


def medians(times) -> list[float]:
    """(wall, CPU) of several runs."""
    return [statistics.median(column) for column in zip(*times, strict=True)]


if __name__ == "__main__":
    main()
