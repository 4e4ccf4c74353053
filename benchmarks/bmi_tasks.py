"""`estimate_mi` on the 40 tasks of benchmark-mi, drawn by `bmi_draw.py`.

Usage: python benchmarks/bmi_tasks.py --data=runs/bmi [--methods=auto,ksg,gaussian]
           [--seeds=0,1,2] [--tasks=1-40]

Options are the defaults of `estimate_mi`. Prints the table, the estimates of
benchmark-mi's own methods beside ours if `theirs.json` is there, and writes `ours.json`
and `errors.png` beside the data; what is done is not repeated.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from tf_infomax.data.synthetic import Pairs
from tf_infomax.options import command
from tf_infomax.runtime.progress import tell


def find_cases(folder: Path, numbers: range):
    from tf_infomax.studies.known_pairs import Case

    def case(number: int) -> Case:
        def draw(seed: int) -> Pairs:
            with np.load(folder / f"{number:02d}_{seed}.npz") as loaded:
                sides = (loaded[side].astype(np.float64) for side in "xy")
                return Pairs(*sides, float(loaded["mi"]))

        first = next(folder.glob(f"{number:02d}_*.npz"))
        with np.load(first) as loaded:
            return Case(str(loaded["name"]), draw)

    return [case(number) for number in numbers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/bmi"))
    parser.add_argument("--methods", default="auto,ksg,gaussian")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tasks", default="1-40")
    parser.add_argument("--results", default="ours.json")
    options = parser.parse_args()
    if not any(options.data.glob("*_*.npz")):
        parser.error(f"--data={options.data} has no NUMBER_SEED.npz; see bmi_draw.py.")
    command.load_tensorflow(split_operations=False)
    from tf_infomax.studies import known_pairs

    first, _, last = options.tasks.partition("-")
    records = known_pairs.run(
        find_cases(options.data, range(int(first), int(last or first) + 1)),
        options.methods.split(","),
        [int(seed) for seed in options.seeds.split(",")],
        {},
        options.data / options.results,
        tell,
    )
    theirs = options.data / "theirs.json"
    if theirs.exists():
        empty = {"low": np.nan, "high": np.nan, "chosen": ""}
        records += [
            known_pairs.Record(**{**each, **empty, "method": f"bmi {each['method']}"})
            for each in json.loads(theirs.read_text())
        ]
    known_pairs.print_table(records)
    known_pairs.draw_figure(records, options.data / "errors.png")


if __name__ == "__main__":
    main()
