"""All rows, by the flag that chooses them."""

from collections.abc import Mapping

from tf_infomax.options.core import Row
from tf_infomax.options.datasets import DATASETS
from tf_infomax.options.encoders import ENCODERS
from tf_infomax.options.evaluations import EVALUATIONS
from tf_infomax.options.objectives import OBJECTIVES

# Flag -> the rows that it chooses from.
ROWS: dict[str, dict[str, Row]] = {
    "objective": OBJECTIVES,
    "encoder": ENCODERS,
    "dataset": DATASETS,
    "evaluations": EVALUATIONS,
}


def list_names(rows: Mapping[str, Row]) -> str:
    """The names of rows, with what stands behind a colon."""
    shown = []
    for name, row in rows.items():
        optional = row.argument.startswith("[")
        argument = row.argument.strip("[]")
        shown += [name] if optional or not argument else []
        shown += [f"{name}:{argument}"] if argument else []
    return ", ".join(shown)
