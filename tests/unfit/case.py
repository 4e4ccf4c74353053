"""One answer of a kind, and what everything here knows of a good one."""

from typing import NamedTuple

import numpy as np

ROWS, D = 3, 4
TRUTH = np.random.default_rng(0).normal(size=(ROWS, D)).astype(np.float32)
HOSTILE = "\x1b[31mred\x1b]0;title\x07\r\n\u202eright\u2028 \x9b2J\x00 {{" + " " * 3000


class Case(NamedTuple):
    """What is answered at one stage, and what the client may make of it.

    Attributes:
        stage: "status", "metadata", "probe" or "predict"; the other answers are good.
        parts: what is sent: bytes, or seconds to wait; a last None resets.
        fit: whether it must be embedded (True), must be refused (False), or may be
            embedded as what `served` gives (None).
        served: the answer to read on, apart from its transport.
    """

    kind: str
    stage: str
    parts: list
    fit: bool | None
    served: bytes = b""

    @property
    def open(self) -> bool:
        """Whether what may be embedded is to be read from what is served."""
        return self.stage == "predict" and self.fit is None


def pick(rng, things):
    return things[rng.integers(len(things))]
