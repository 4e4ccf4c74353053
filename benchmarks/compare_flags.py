"""Flagfiles against each other, each trained with several seeds.

Usage: python benchmarks/compare_flags.py --seeds=3 NAME=FILE [NAME=FILE ...] [--flag=V]

Runs `tf_infomax.train` with each flagfile and seed (and the further flags) in
`runs/compare/NAME-SEED` and prints a Markdown table of the linear probes on test
images: mean and standard deviation over the training seeds. Finished runs are not
repeated; an interrupted one continues.
"""

import argparse
import statistics
from pathlib import Path

from runs import train_once

ROOT = Path("runs/compare")
PARTS = ("conv", "fc", "code")


def show(values: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="training seeds")
    parser.add_argument("files", nargs="+", metavar="NAME=FILE")
    options, flags = parser.parse_known_args()
    files = dict(given.split("=", 1) for given in options.files)
    results = {
        name: [
            train_once(file, ROOT / f"{name}-{seed}", f"--seed={seed}", *flags)
            for seed in range(options.seeds)
        ]
        for name, file in files.items()
    }
    print(f"| {options.seeds} training seeds | conv | fc | Y | Y of each seed |")
    print("|---|---|---|---|---|")
    for name, runs in results.items():
        probes = {
            part: [each[f"probe/linear/{part}"]["mean"] for each in runs]
            for part in PARTS
        }
        cells = " | ".join(show(values) for values in probes.values())
        each = ", ".join(f"{100 * value:.1f}" for value in probes["code"])
        print(f"| {name} | {cells} | {each} |")


if __name__ == "__main__":
    main()
