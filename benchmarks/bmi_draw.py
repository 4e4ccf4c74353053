"""Draws the 40 tasks of benchmark-mi, or runs its own estimators on what was drawn.

    python3.11 -m venv bmi
    bmi/bin/pip install benchmark-mi==0.1.3 jax==0.4.33 jaxlib==0.4.33
    bmi/bin/python benchmarks/bmi_draw.py --output=runs/bmi
    bmi/bin/python benchmarks/bmi_draw.py --output=runs/bmi --estimators=InfoNCE,MINE

in an environment of its own: benchmark-mi does not go with a current NumPy or JAX. The
first writes `NUMBER_SEED.npz` (x, y, mi, name), the second `theirs.json`, and goes on
where it was interrupted; `--tasks=spiral` takes the tasks with that in their names. The
tasks are those of Czyz et al., "Beyond Normal", 2023.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

NEURAL = {
    "InfoNCE": "InfoNCEEstimator",
    "MINE": "MINEEstimator",
    "NWJ": "NWJEstimator",
    "DV": "DonskerVaradhanEstimator",
}


def draw(folder: Path, samples: int, seeds: list[int], within: str) -> None:
    from bmi.benchmark import BENCHMARK_TASKS

    folder.mkdir(parents=True, exist_ok=True)
    for number, task in enumerate(BENCHMARK_TASKS.values(), 1):
        for seed in seeds if within in task.id else ():
            path = folder / f"{number:02d}_{seed}.npz"
            if path.exists():
                continue
            x, y = (np.asarray(side, np.float64) for side in task.sample(samples, seed))
            temporary = path.with_name(f".{path.name}")
            mi = float(task.mutual_information)
            np.savez(temporary, x=x, y=y, mi=mi, name=task.id)
            temporary.rename(path)
        print(f"{number}/{len(BENCHMARK_TASKS)} {task.id}", file=sys.stderr)


def run_theirs(folder: Path, names: list[str], seeds: list[int], within: str) -> None:
    import bmi
    from bmi.estimators import CCAMutualInformationEstimator, KSGEnsembleFirstEstimator

    path = folder / "theirs.json"
    records = json.loads(path.read_text()) if path.exists() else []
    done = {(r["case"], r["method"], r["seed"]) for r in records}
    for file in sorted(folder.glob("*_*.npz")):
        seed = int(file.stem.partition("_")[2])
        with np.load(file) as loaded:
            x, y = loaded["x"], loaded["y"]
            truth, case = float(loaded["mi"]), str(loaded["name"])
        for name in names:
            wanted = seed in seeds and within in case
            if not wanted or (case, name, seed) in done:
                continue
            if name == "CCA":
                estimator = CCAMutualInformationEstimator()
            elif name == "KSG":
                estimator = KSGEnsembleFirstEstimator(neighborhoods=(10,))
            else:
                estimator = getattr(bmi.estimators, NEURAL[name])(verbose=False)
            began = time.monotonic()
            value = float(estimator.estimate(x, y))
            records.append(
                {
                    "case": case,
                    "method": name,
                    "seed": seed,
                    "truth": truth,
                    "value": value,
                    "seconds": round(time.monotonic() - began, 1),
                }
            )
            path.write_text(json.dumps(records, indent=1) + "\n")
            print(f"{case} {name} {value:.3f}, truth {truth:.3f}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/bmi"))
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tasks", default="", help="part of their names")
    known = ", ".join(["CCA", "KSG", *NEURAL])
    parser.add_argument("--estimators", default="", help=f"of theirs: {known}")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    names = [name for name in options.estimators.split(",") if name]
    unknown = set(names) - {"CCA", "KSG", *NEURAL}
    if unknown:
        parser.error(f"--estimators takes {known}. Received: {', '.join(unknown)}.")
    if names:
        run_theirs(options.output, names, seeds, options.tasks)
    else:
        draw(options.output, options.samples, seeds, options.tasks)


if __name__ == "__main__":
    main()
