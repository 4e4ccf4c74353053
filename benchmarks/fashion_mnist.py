"""Four objectives on the full Fashion-MNIST, plain and as `fashion_m`, at one budget.

Usage: python benchmarks/fashion_mnist.py [--data_dir=DIR] [--local_files=DIR]

Runs `tf_infomax.train` with each flagfile for one epoch (843 steps of 64 of the 54,000
training images, seed 0) and prints the linear probes, fitted to 5,000 labelled training
images and scored on all 10,000 test images, as a Markdown table, with the value that
was maximized and the bound on mutual information that the same critic has. Finished
runs are not repeated; an interrupted one continues.
"""

import sys
from pathlib import Path

from runs import train_once

ROOT = Path("runs/fashion_mnist")
DATA = {
    "plain": ("tfds:fashion_mnist", "basic28x28"),
    "fashion_m": ("fashion_m:tfds:fashion_mnist", "basic32x32"),
}
CONFIGS = {
    "DIM(L) InfoNCE": "dim_local_infonce",
    "DIM(L) JSD": "dim_local_jsd",
    "DIM(L) DV": "dim_local_dv",
    "DIM(G) JSD": "dim_global",
}


def run(config: str, data: str, flags: list[str]) -> dict:
    """Trains unless that is done; the results."""
    dataset, encoder = DATA[data]
    workdir = ROOT / f"{data}-{config}"
    length = ("--steps=0", "--epochs=1")
    given = (f"--dataset={dataset}", f"--encoder={encoder}", *length, *flags)
    return train_once(f"configs/{config}.flags", workdir, *given)


def show(result: dict) -> str:
    return f"{100 * result['mean']:.1f} ± {100 * result['sd']:.1f}"


def main(flags: list[str]) -> None:
    for data in DATA:
        print(f"\n| {data} | conv | fc | Y | objective on test images | `mi/` |")
        print("|---|---|---|---|---|---|")
        for name, config in CONFIGS.items():
            results = run(config, data, flags)
            cells = [show(results[f"probe/linear/{p}"]) for p in ("conv", "fc", "code")]
            trained = next(r for r in results.values() if r.get("objective"))
            bound = next(r for n, r in results.items() if n.startswith("mi/"))
            cells += [f"{value['mean']:.2f}" for value in (trained, bound)]
            print(f"| {name} | {' | '.join(cells)} |")
        parts = [f"probe/linear/random/{p}" for p in ("conv", "fc", "code")]
        cells = [show(results[part]) for part in parts]
        print(f"| random encoder | {' | '.join(cells)} | | |")
        print(f"| raw pixels | {show(results['probe/linear/pixels'])} | | | | |")


if __name__ == "__main__":
    main(sys.argv[1:])
