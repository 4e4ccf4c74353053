"""Which of several machines this is: TensorFlow's own `TF_CONFIG`, read and checked."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from tf_infomax.runtime.errors import ConfigError

_KINDS = ("chief", "worker")  # in the order of their ranks
_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Place:
    """One of `count` processes that train together; rank 0 is the chief."""

    rank: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether it writes what is kept."""
        return self.rank == 0

    def part_of(self, rows: int) -> tuple[int, int]:
        """The first and the last (exclusive) of its rows of a batch."""
        return self.rank * rows // self.count, (self.rank + 1) * rows // self.count


def read_place() -> Place:
    """What `TF_CONFIG` says.

    Raises:
        ConfigError: if it is not set, or says nothing that can be meant.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        raise ConfigError(
            "--strategy=multi_worker: the environment variable TF_CONFIG is not set. "
            f"On the first of two machines: {_EXAMPLE}."
        )
    try:
        found = json.loads(text)
        cluster, task = found["cluster"], found["task"]
        kind, index = task["type"], task["index"]
        members = [(k, i) for k in _KINDS for i in range(len(cluster.get(k, ())))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"TF_CONFIG cannot be read ({type(error).__name__}: {error}). "
            f"Received: {text[:200]}. Accepted, for example: {_EXAMPLE}."
        ) from error
    _check_kinds(cluster)
    if (kind, index) not in members:
        raise ConfigError(
            f"TF_CONFIG: there is no task {kind!r} {index} in the cluster of "
            f"{', '.join(f'{k} {i}' for k, i in members) or 'none'}."
        )
    return Place(members.index((kind, index)), len(members))


def _check_kinds(cluster: Mapping) -> None:
    others = sorted(set(cluster) - {*_KINDS, "evaluator"})
    if others:
        raise ConfigError(
            f"TF_CONFIG: the cluster has tasks of the types {', '.join(others)}. "
            f"Accepted: {', '.join(_KINDS)}."
        )
