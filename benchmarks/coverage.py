"""How often a 90 % interval holds what it is an interval of.

Usage: python benchmarks/coverage.py [--repetitions=100] [--output=runs/coverage]
           [--cases=ksg,auto,smile,smile_plain,info_nce]

Three Gaussian settings each; every repetition draws new pairs. The interval of `ksg`,
`auto` and other estimates of the information is asked to hold the truth; that of a
bound to hold the value that the same critics have on many fresh pairs, since no
interval tells how far a bound lies below the truth. Results are kept after every
repetition and not repeated.
"""

import argparse
import json
import math
from pathlib import Path

from tf_infomax.options import command
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import tell

SETTINGS = {  # dim, information, pairs
    "1 + 1, 0.5 nats": (1, 0.5, 1500),
    "1 + 1, 1.5 nats": (1, 1.5, 1500),
    "2 + 2, 1.0 nats": (2, 1.0, 3000),
}
LARGER = {  # where `auto` has cross-fitted critics and not neighbours
    "2 + 2, 0.5 nats": (2, 0.5, 3000),
    "2 + 2, 1.0 nats": (2, 1.0, 3000),
    "3 + 3, 1.5 nats": (3, 1.5, 3000),
}
# Enough for two columns.
_SHORT = {"widths": (32, 32), "learning_rate": 3e-3, "max_steps": 600, "patience": 3}
_PLAIN = {"critic": "concatenated", "preprocess": "standardize"}
_CROSS_FITTED = {"widths": (32, 32), "max_steps": 600, "folds": 3}
CASES = {  # method, options, settings
    "ksg": ("ksg", {}, SETTINGS),
    "auto": ("auto", _CROSS_FITTED, LARGER),
    "smile": ("smile", _SHORT, SETTINGS),
    "smile_plain": ("smile", {**_SHORT, **_PLAIN}, SETTINGS),
    "info_nce": ("info_nce", _SHORT, SETTINGS),
    "nwj": ("nwj", _SHORT, SETTINGS),
}
FRESH = 16  # batches of fresh pairs for the value of a bound


def value_of_bound(estimate, method: str, dim: int, mi: float, seed: int) -> float:
    """The mean of the bound over fresh batches of as many pairs as were reported on."""
    import numpy as np

    from tf_infomax.data.synthetic import draw
    from tf_infomax.estimation import neural, values
    from tf_infomax.estimation.inputs import transform
    from tf_infomax.estimation.values import Scores

    function = {"info_nce": values.info_nce, "nwj": values.nwj}[method]
    n, found = estimate.pairs["report"], []
    (member,) = estimate.density_ratio.members
    for number in range(FRESH):
        pairs = draw("gaussian", n, 10**6 + FRESH * seed + number, dim=dim, mi=mi)
        sides = transform(member.marginals, (pairs.x, pairs.y))
        scores, *_ = neural.evaluate(member.model, *sides)
        found.append(function(Scores(scores.matrix)))
    return float(np.mean(found))


def _holds(row: dict) -> bool:
    high = math.inf if row["high"] is None else row["high"]  # open above
    return row["low"] <= row["target"] <= high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--cases", default="ksg,auto,smile,smile_plain,info_nce")
    parser.add_argument("--output", type=Path, default=Path("runs/coverage"))
    options = parser.parse_args()
    command.load_tensorflow(split_operations=False)
    from tf_infomax import estimate_mi
    from tf_infomax.data.synthetic import draw

    options.output.mkdir(parents=True, exist_ok=True)
    for case in options.cases.split(","):
        method, given, settings = CASES[case]
        path = options.output / f"{case}.json"
        rows = json.loads(path.read_text()) if path.exists() else []
        done = {(row["setting"], row["seed"]) for row in rows}
        for setting, (dim, mi, n) in settings.items():
            for seed in range(options.repetitions):
                if (setting, seed) in done:
                    continue
                pairs = draw("gaussian", n, seed, dim=dim, mi=mi)
                estimate = estimate_mi(pairs.x, pairs.y, method, seed=seed, **given)
                target = mi
                if estimate.direction == "lower":
                    target = value_of_bound(estimate, method, dim, mi, seed)
                low, high = estimate.interval
                rows.append(
                    {
                        "setting": setting,
                        "seed": seed,
                        "target": target,
                        "value": estimate.raw,
                        "low": low,
                        "high": high if math.isfinite(high) else None,
                    }
                )
                with replacing(path) as file:
                    file.write_text(json.dumps(rows, indent=1) + "\n")
                if seed % 20 == 19:
                    tell(f"{case}, {setting}: {seed + 1} of {options.repetitions}")
        cells = []
        for setting in settings:
            here = [row for row in rows if row["setting"] == setting]
            held = sum(_holds(row) for row in here)
            error = sum(row["value"] - row["target"] for row in here) / len(here)
            cells.append(f"{setting}: {held} of {len(here)} (bias {error:+.3f})")
        print(f"{case}: " + "; ".join(cells), flush=True)


if __name__ == "__main__":
    main()
