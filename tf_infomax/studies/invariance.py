"""Information does not change under bijections of either side; estimates may.

x and y are the leading principal components of the upper and the lower halves of
images, of unit variance. Every estimator sees them as they are, and each side turned by
an angle that grows with the norm, x to the left, y to the right: a diffeomorphism that
winds straight lines up into spirals and keeps volumes. As controls, each side is turned
as a whole by an angle of its own, and the pairs are shuffled.

Source: Kraskov et al. 2004 (invariance of information under homeomorphisms);
Tschannen et al. 2020, section 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_infomax.estimation import estimate_mi
from tf_infomax.estimation.v_information import v_information
from tf_infomax.runtime.files import replacing
from tf_infomax.studies.halves import Images, split_halves
from tf_infomax.studies.kept import Curves, Unfinished
from tf_infomax.studies.runs import Runs

COMPONENTS = 2  # of each side: nearest neighbours are at their best up to about five
SPEED = 1.0
NEIGHBORS = 3
CONSTANTS = {"components": COMPONENTS, "speed": SPEED, "neighbours": NEIGHBORS}


@dataclass(frozen=True)
class Arm:
    """What is done to the pairs: a key of `CHANGES`."""

    change: str


@dataclass(frozen=True)
class Size:
    """Images, and the most steps of a critic."""

    images: int = 10_000
    steps: int = 5000


def wind_up(x: np.ndarray, y: np.ndarray, seed: int):
    """x to the left, y to the right."""
    return wind(x), wind(y, -SPEED)


def rotate(x: np.ndarray, y: np.ndarray, seed: int):
    """Both sides by random orthogonal maps of their own."""
    from scipy.stats import ortho_group

    rng = np.random.default_rng([seed, 1])
    return tuple(
        side @ ortho_group.rvs(side.shape[1], random_state=rng) for side in (x, y)
    )


def shuffle(x: np.ndarray, y: np.ndarray, seed: int):
    """The y of a random other pair."""
    return x, y[np.random.default_rng([seed, 2]).permutation(len(y))]


# (x, y, seed) -> (x, y)
CHANGES: dict[str, Callable] = {
    "none": lambda x, y, seed: (x, y),
    "wind": wind_up,
    "rotate": rotate,
    "shuffle": shuffle,
}


def _bound(method: str, critic: str) -> Callable:
    return lambda x, y, seed, steps: estimate_mi(
        x, y, method=method, critic=critic, seed=seed, max_steps=steps
    )


# (x, y, seed, most steps) -> Estimate
METHODS: dict[str, Callable] = {
    "ksg": lambda x, y, seed, steps: estimate_mi(
        x, y, method="ksg", k=NEIGHBORS, seed=seed
    ),
    "info_nce, bilinear": _bound("info_nce", "bilinear"),
    "info_nce, MLP critic": _bound("info_nce", "concatenated"),
    "nwj, MLP critic": _bound("nwj", "concatenated"),
    "linear V-information": lambda x, y, seed, steps: v_information(
        x, y, family="linear", seed=seed
    ),
}


def project(data: Images, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Components of upper and lower halves of `count` images, float64 `[count, 2]`."""
    from sklearn.decomposition import PCA

    rows = np.random.default_rng(seed).permutation(len(data.train))[:count]
    return tuple(
        PCA(COMPONENTS, whiten=True, random_state=0).fit_transform(
            half.reshape(len(rows), -1) / 255.0
        )
        for half in split_halves(data.train[rows])
    )


def wind(values: np.ndarray, speed: float = SPEED) -> np.ndarray:
    """Points v of the plane, turned by `speed` log(1 + |v|^2); -speed undoes it."""
    # The logarithm bounds the shear, which at |v|^2 would tear far neighbours apart.
    angle = speed * np.log1p(np.sum(np.square(values), axis=1))
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = values.T
    return np.stack([cos * a - sin * b, sin * a + cos * b], axis=1)


def train(
    arm: Arm, size: Size, data: Images, seed: int, unfinished: Unfinished | None = None
) -> Curves:
    """What each of `METHODS` says, nats.

    Args:
        arm, size, data, seed: of the run.
        unfinished: where it is kept between the methods; None: nowhere.
    """
    unfinished = unfinished or Unfinished()
    x, y = CHANGES[arm.change](*project(data, size.images, seed), seed)
    curves = unfinished.restore()
    for number, (name, method) in enumerate(METHODS.items(), 1):
        if name not in curves:
            curves[name] = [float(method(x, y, seed, size.steps).raw)]
            unfinished.save(curves, number / len(METHODS))
    return curves


def draw(path: Path, runs: Runs, arms: Sequence[str]) -> None:
    """Each estimator's values in every arm, one line per seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    axes = figure.subplots()
    places = np.linspace(-0.3, 0.3, len(arms))
    for place, name in enumerate(METHODS):
        for values in zip(*(runs.last(arm, name) for arm in arms), strict=True):
            axes.plot(place + places, values, "o-", color=f"C{place}", ms=4)
    axes.set_xticks(range(len(METHODS)), [n.replace(", ", ",\n") for n in METHODS])
    axes.set_ylabel("nats")
    axes.set_title(f"from the left: {', '.join(arms)}", fontsize="small")
    axes.grid(axis="y", alpha=0.3)
    with replacing(path) as file:
        figure.savefig(file, dpi=110)
