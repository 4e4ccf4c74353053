"""How often a 90 % interval of pairs without information holds 0, by kind of data.

Usage: python benchmarks/coverage_at_zero.py [--repetitions=200] [--workers=2]
           [--methods=mixed,discrete_continuous,ksg,gaussian]
           [--pairs=30,300,3000,10000] [--kinds=...] [--output=runs/coverage_at_zero]

Of methods without training, and of `auto` where it takes one of them. Every repetition
draws new pairs. What is done is kept and not repeated: one file for each method, kind
and number of pairs. Prints a table of the share of intervals that hold 0, in per cent.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from tf_infomax.runtime.files import replacing

_LABELS = 10


def _with_atom(rng: np.random.Generator, n: int) -> np.ndarray:
    """Half of the values are 0, the others normal."""
    return np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n))


KINDS = {  # (generator, n) -> x, y, independent
    "normal": lambda rng, n: rng.normal(size=(2, n)),
    "normal, 3 + 3 columns": lambda rng, n: rng.normal(size=(2, n, 3)),
    "uniform": lambda rng, n: rng.uniform(size=(2, n)),
    "Student t, 1 degree": lambda rng, n: rng.standard_t(1, size=(2, n)),
    "Poisson(4)": lambda rng, n: rng.poisson(4, (2, n)),
    "Poisson(50)": lambda rng, n: rng.poisson(50, (2, n)),
    "binary": lambda rng, n: (rng.random((2, n)) < [[0.5], [0.3]]).astype(float),
    "10 labels": lambda rng, n: rng.integers(0, _LABELS, (2, n)),
    "rounded to 0.1": lambda rng, n: np.round(rng.normal(size=(2, n)), 1),
    "labels, numbers": lambda rng, n: (rng.integers(0, 4, n), rng.normal(size=n)),
    "counts, numbers": lambda rng, n: (rng.poisson(4, n), rng.normal(size=n)),
    "half zeros": lambda rng, n: (_with_atom(rng, n), _with_atom(rng, n)),
}
_CONTINUOUS = ("normal", "normal, 3 + 3 columns", "uniform", "Student t, 1 degree")


def applies(method: str, kind: str) -> bool:
    """Whether the method takes such pairs, and without training."""
    if method == "discrete_continuous":
        return kind not in _CONTINUOUS
    return method != "auto" or kind != "normal, 3 + 3 columns"


def interval(job: tuple[str, str, int, int]) -> tuple[float, float, float]:
    """(low, value, high); infinite where the method refuses the pairs."""
    from tf_infomax import estimate_mi
    from tf_infomax.estimation.inputs import PairsError

    method, kind, n, seed = job
    rng = np.random.default_rng([seed, n, list(KINDS).index(kind)])
    x, y = KINDS[kind](rng, n)
    try:
        estimate = estimate_mi(x, y, method, seed=seed)
    except PairsError:
        return -np.inf, np.nan, np.inf
    return estimate.interval[0], estimate.raw, estimate.interval[1]


def measure(pool, path: Path, method: str, kind: str, n: int, repetitions: int):
    """`interval` of all seeds, from the file as far as it goes."""
    rows = json.loads(path.read_text()) if path.exists() else []
    jobs = [(method, kind, n, seed) for seed in range(len(rows), repetitions)]
    if jobs:
        rows += pool.map(interval, jobs, chunksize=max(1, len(jobs) // 16))
        with replacing(path) as file:
            file.write_text(json.dumps(rows) + "\n")
    return [row for row in rows[:repetitions] if np.isfinite(row[1])]


def describe(rows) -> str:
    """Coverage in per cent, and the mean value; pairs that are refused do not count."""
    if not rows:
        return "refused"
    held = np.mean([low <= 0.0 <= high for low, _, high in rows])
    return f"{100 * held:.0f} ({np.mean([value for _, value, _ in rows]):+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--methods", default="mixed,discrete_continuous,ksg,gaussian")
    parser.add_argument("--pairs", default="30,300,3000,10000")
    parser.add_argument("--kinds", default=";".join(KINDS), help="separated by ;")
    parser.add_argument("--output", type=Path, default=Path("runs/coverage_at_zero"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    sizes = [int(n) for n in options.pairs.split(",")]
    print("| method | pairs are | " + " | ".join(map(str, sizes)) + " |")
    print("|---" * (2 + len(sizes)) + "|")
    with ProcessPoolExecutor(options.workers) as pool:
        for method in options.methods.split(","):
            for kind in options.kinds.split(";"):
                if not applies(method, kind):
                    continue
                cells = []
                for n in sizes:
                    name = f"{method}-{list(KINDS).index(kind)}-{n}.json"
                    path = options.output / name
                    rows = measure(pool, path, method, kind, n, options.repetitions)
                    cells.append(describe(rows))
                print(f"| `{method}` | {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
