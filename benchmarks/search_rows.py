"""Learning rate and weight of every row of the paper's table, by equal searches.

Usage: python benchmarks/search_rows.py [--only=ROW,...] [--steps=500]
           [--output=docs/results/search_rows.json] [--flag=V ...]

For each trained row of `dim_table` (`tf_infomax/studies/dim_tables.py`) this runs
`tf_infomax.tune` with `TRIALS` trials of random search from the row's own options at
cpu scale: the learning rate between 1e-4 and 3e-3 and, where the row has one, the
weight that `WEIGHTS` names. Each trial trains with half of the table's steps and is
scored by a linear probe of the code on validation images; test images are not looked
at. A search that was interrupted goes on, a finished one is not repeated; one that is
in `--output` already, from another machine perhaps, is taken from there. Prints all
trials as a Markdown table.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tf_infomax.options import format_value
from tf_infomax.runtime.files import replacing
from tf_infomax.studies.dim_accuracies import FOUND, OWN
from tf_infomax.studies.dim_tables import DIM_TABLE

ROOT = Path("runs/search_rows")
TRIALS, SEED = 6, 7
RATE = "learning_rate:log:1e-4..3e-3"
WEIGHTS = {
    "aae": "gamma:log:0.1..10",
    "beta_vae": "kl_weight:log:1.5..8",
    "bigan": "gradient_penalty:log:0.1..10",
    "cmc": "temperature:log:0.05..0.5",
    "dim_global": "gamma:log:0.03..3",
    "dim_local_dv": "gamma:log:0.03..1",
    "dim_local_global": "gamma:log:0.03..1",
    "dim_local_info_nce": "gamma:log:0.03..1",
    "dim_local_jsd": "gamma:log:0.03..1",
    "prior_matching": "gradient_penalty:log:0.1..10",
    "vae": "deviation:log:0.15..0.6",
}
# As with all labels, and as they are.
_LEFT_OUT = ("supervised_1", "supervised_10", "supervised_augmented")
_NOT_OF_A_SEARCH = {"steps", "online_probe", "probe_seeds", "baselines"}


def search(arm: str, steps: int, flags: list[str]) -> dict:
    """The results of a row's search."""
    folder = ROOT / arm
    own = dict(DIM_TABLE.arms[arm].options)
    own = {name: own[name] for name in own if name not in FOUND.get(arm, {})}
    given = dict(DIM_TABLE.sizes["cpu"].options) | OWN.get(arm, {}) | own
    options = [
        f"--{name}={format_value(value)}"
        for name, value in given.items()
        if name not in _NOT_OF_A_SEARCH
    ]
    tuned = [RATE, *([WEIGHTS[arm]] if arm in WEIGHTS else [])]
    command = [
        *(sys.executable, "-m", "tf_infomax.tune", f"--workdir={folder}"),
        *(f"--objective={DIM_TABLE.arms[arm].objective}", *options),
        *(f"--steps={steps}", f"--seed={SEED}", f"--max_trials={TRIALS}"),
        *("--tuner=random", "--score=linear", "--notrain_best"),
        *(f"--tune={each}" for each in tuned),
        *flags,
    ]
    if not (folder / "best.flags").exists():
        subprocess.run(command, check=True)
    return json.loads((folder / "results.json").read_text())


def summarize(results: dict, steps: int) -> dict:
    """What is kept of a search: the names of what was tuned, and the trials."""
    names = [each["name"] for each in results["space"]]
    kept = ("trial", "score", "reason", "warnings", *names)
    trials = [{name: each[name] for name in kept} for each in results["trials"]]
    return {"names": names, "steps": steps, "seed": SEED, "trials": trials}


def write(path: Path, rows: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    rows = [
        name
        for name, arm in DIM_TABLE.arms.items()
        if arm.trained and name not in _LEFT_OUT
    ]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(rows), help="rows to search")
    parser.add_argument("--steps", type=int, default=500, help="of each trial")
    parser.add_argument("--output", type=Path, help="JSON of all rows so far")
    options, flags = parser.parse_known_args()
    kept = options.output and options.output.exists()
    all_rows = json.loads(options.output.read_text()) if kept else {}
    found = {}
    for arm in options.only.split(","):
        if arm not in all_rows:
            all_rows[arm] = summarize(search(arm, options.steps, flags), options.steps)
            if options.output:
                write(options.output, all_rows)
        found[arm] = all_rows[arm]
    print("| row | trial | options | Y on validation images, % |")
    print("|---|---|---|---|")
    for arm, results in found.items():
        for trial in results["trials"]:
            values = ", ".join(f"{n} {trial[n]:.3g}" for n in results["names"])
            score = trial["score"]
            shown = "failed" if score is None else f"{100 * score:.1f}"
            print(f"| {arm} | {trial['trial']} | {values} | {shown} |")


if __name__ == "__main__":
    main()
