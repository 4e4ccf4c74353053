"""The tables of Hjelm et al. 2019 as they are fixed before they are run.

Rows, budget, claims and controls of each. `digest` sums it up and `VERSIONS` records
it, as `protocol` does for the studies of the critique.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from tf_infomax.studies.dim_accuracies import (
    DIM_NEGATIVES,
    DIM_STRUCTURE,
    DIM_TABLE,
)
from tf_infomax.studies.dim_measures import DIM_MEASURES
from tf_infomax.studies.layout import Table

SEEDS, SCALE, DATASET = (100, 101, 102), "cpu", "fashion_m"

TABLES: dict[str, Table] = {
    "dim_table": DIM_TABLE,
    "dim_measures": DIM_MEASURES,
    "dim_structure": DIM_STRUCTURE,
    "dim_negatives": DIM_NEGATIVES,
}

VERSIONS: tuple[tuple[str, str, str], ...] = (
    (
        "dim_table",
        "73546caab023467febddef1998318dc3e3162f0ea5e9fa9f7efdbdc63fbc4019",
        "as it is before its first run: rates and weights of the searches",
    ),
    (
        "dim_structure",
        "b8cfba0131831a2871d5c93f693aba4366c41e378531ced9c8f0eafebe57ba59",
        "as it is before its first run: rates and weights of the searches",
    ),
    (
        "dim_negatives",
        "f66b61eb131a6f890ff3b96b77048b4140c577216179248d500d6cbcad48b0ff",
        "as it is before its first run: rates and weights of the searches",
    ),
)


def digest(name: str) -> str:
    """SHA-256 of a table and of what is frozen for all, in canonical JSON."""
    content = {
        "seeds": SEEDS,
        "scale": SCALE,
        "dataset": DATASET,
        "table": asdict(TABLES[name]),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def why_exploratory(
    name: str, scale: str, seeds: Sequence[int], dataset: str
) -> tuple[str, ...]:
    """What of a table's settings is not as it was frozen; () if all is."""
    reasons = []
    if scale != SCALE:
        reasons.append(f"scale {scale} instead of {SCALE}")
    if tuple(seeds) != SEEDS:
        given, frozen = (", ".join(map(str, each)) for each in (seeds, SEEDS))
        reasons.append(f"seeds {given} instead of {frozen}")
    if dataset != DATASET:
        reasons.append(f"data {dataset} instead of {DATASET}")
    frozen = {study: recorded for study, recorded, _ in VERSIONS}
    if frozen.get(name) != digest(name):
        reasons.append("rules that are not on record")
    return tuple(reasons)
