"""The Gaussian copula of pairs, and a critic that starts at its log-ratio.

With marginals made normal, a Gaussian joint density has a log-ratio that canonical
correlations give in closed form. A critic that starts there has to learn only what is
not Gaussian about the pairs; what it learns is checked on pairs it has not seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.critics import Critic
from tf_infomax.estimation import law
from tf_infomax.estimation.gaussian import Canonical, fit_canonical_of_sizes
from tf_infomax.estimation.samples import flatten
from tf_infomax.estimation.values import Scores, info_nce

_LARGEST = 0.99999
_ROWS_PER_COMPONENT = 5  # of x and y together
_ROWS_WITHOUT_DOUBT = 50  # per component, above which all of them can be relied on
_SHARES = (1, 4, 16)  # of all components, which are compared
_HANDICAP = 0.1  # nats on other pairs that training makes up for


def components_for(rows: int) -> int:
    """The most principal components of either side that so many pairs allow for."""
    return max(1, rows // (2 * _ROWS_PER_COMPONENT))


def are_plenty(rows: int, dx: int, dy: int) -> bool:
    """Whether a copula of all components could be relied on, were the pairs normal."""
    most = components_for(rows)
    return _ROWS_WITHOUT_DOUBT * (min(dx, most) + min(dy, most)) <= rows


def sizes_for(rows: int, dx: int, dy: int) -> list[int]:
    """How many components of either side to try, most first."""
    largest = min(components_for(rows), max(dx, dy))
    return list(dict.fromkeys(max(1, largest // share) for share in _SHARES))


@dataclass(frozen=True)
class Copula:
    """`log p/q` of Gaussians with these canonical correlations.

    `c - sum a_k (u_k^2 + v_k^2) + sum b_k u_k v_k` of canonical coordinates u, v, with
    a = rho^2 / (2 (1 - rho^2)), b = rho / (1 - rho^2), c = -1/2 sum log(1 - rho^2),
    for rho up to 0.99999.
    """

    canonical: Canonical

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray, *sizes: int) -> list["Copula"]:
        """Of pairs `[n, dx]`, `[n, dy]`, with so many components of either side."""
        return [cls(each) for each in fit_canonical_of_sizes(x, y, sizes)]

    @property
    def size(self) -> int:
        """Components of the side that has more of them."""
        return max(self.canonical.x_map.shape[1], self.canonical.y_map.shape[1])

    @property
    def coefficients(self) -> tuple[np.ndarray, np.ndarray, float]:
        """(a, b, c)."""
        rho = np.minimum(self.canonical.rho, _LARGEST)
        rest = 1.0 - np.square(rho)
        return 0.5 * np.square(rho) / rest, rho / rest, -0.5 * float(np.log(rest).sum())

    @property
    def is_singular(self) -> bool:
        """Whether x and y are functions of one another: no finite ratio is theirs."""
        return bool((self.canonical.rho >= _LARGEST).any())

    def draw_shortfall(self, n: int, seed: int) -> np.ndarray:
        """`law.shortfall` of n pairs that are as Gaussian as the copula has it."""
        rho = np.minimum(self.canonical.rho, _LARGEST)
        u, noise = np.random.default_rng(seed).normal(size=(2, n, len(rho)))
        v = rho * u + np.sqrt(1.0 - np.square(rho)) * noise
        return law.shortfall(Scores(self._score(u, v)))

    def scores(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """log p/q of all x with all y, `[n, m]`."""
        k = len(self.canonical.rho)
        return self._score(*(s[:, :k] for s in self.canonical.transform(x, y)))

    def _score(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The same of canonical coordinates `[n, k]`, `[m, k]`."""
        a, b, c = self.coefficients
        return c - (u**2 @ a)[:, None] - (v**2 @ a)[None] + (u * b) @ v.T

    def paired(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """log p/q of each pair, `[n]`."""
        (a, b, c), k = self.coefficients, len(self.canonical.rho)
        u, v = (side[:, :k] for side in self.canonical.transform(x, y))
        return c - u**2 @ a - v**2 @ a + (u * v) @ b


class CopulaCritic(Critic):
    """A Gaussian copula's log-ratio plus `phi(x) . psi(y) + a(x) + b(y)`.

    phi, psi, a and b see the columns of their side and their squares, and start at 0,
    so that training starts at the copula. Columns are seen as they came, but for one
    scale of each side: in canonical coordinates, which turn and stretch them, what is
    not Gaussian takes far more pairs to learn.

    Args:
        copula: the start, or None to start at 0, with columns as they are.
        widths: hidden widths of phi and psi.
        units: of phi and psi.
    """

    def __init__(
        self,
        copula: Copula | None,
        widths: Sequence[int],
        units: int = 32,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        self.copula, self.units = copula, units
        dense = keras.layers.Dense
        self.x_net, self.y_net = (
            keras.Sequential([dense(width, "silu") for width in widths]) for _ in "xy"
        )
        self.x_head = dense(units + 1, kernel_initializer="zeros")
        self.y_head = dense(units)
        self.y_offset = dense(1, kernel_initializer="zeros")
        # Weights, and no constants: what is compiled for one copula serves others.
        self._of_copula = None if copula is None else self._add_copula(copula)

    def _add_copula(self, copula: Copula) -> dict[str, keras.Variable]:
        """What the scores take from the copula."""
        canonical, (a, b, c) = copula.canonical, copula.coefficients
        k = len(canonical.rho)
        found = {
            "x_map": canonical.x_map[:, :k],
            "y_map": canonical.y_map[:, :k],
            "x_mean": canonical.x_mean,
            "y_mean": canonical.y_mean,
            "x_scale": canonical.x_scale,
            "y_scale": canonical.y_scale,
            "a": a,
            "b": b,
            "c": c,
        }
        return {
            name: self.add_weight(
                np.shape(value),
                keras.initializers.Constant(value),
                "float32",
                trainable=False,
                name=name,
            )
            for name, value in found.items()
        }

    def _start(self, x, y):
        """(left, right, a, b) of x, y of mean 0: the copula is `left . right + a + b`.

        Without a copula, nothing.
        """
        if self._of_copula is None:
            return [], [], 0.0, 0.0
        of = self._of_copula
        u, v = tf.matmul(x, of["x_map"]), tf.matmul(y, of["y_map"])
        squares = lambda w: tf.linalg.matvec(tf.square(w), of["a"])[:, None]
        return [u * of["b"]], [v], of["c"] - squares(u), -squares(v)

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x_scale = y_scale = 1.0
        if self._of_copula is not None:
            of = self._of_copula
            x, y = x - of["x_mean"], y - of["y_mean"]
            x_scale, y_scale = of["x_scale"], of["y_scale"]
        left, right, a, b = self._start(x, y)
        features = [
            tf.concat([side, 0.7 * (side**2 - 1.0)], axis=1)
            for side in (x / x_scale, y / y_scale)
        ]
        hx = self.x_head(self.x_net(features[0]))
        hidden = self.y_net(features[1])
        a, b = a + hx[:, -1:], b + self.y_offset(hidden)
        one = tf.ones_like(a)
        scale = self.units**-0.5
        left = tf.concat([*left, hx[:, :-1] * scale, a, one], axis=1)
        right = tf.concat([*right, self.y_head(hidden), one, b], axis=1)
        return left, right


def is_lawless(parts: list[tuple[Copula, Scores]], seed: int = 0) -> bool:
    """Whether copulas break the law of a density ratio on other pairs.

    A few pairs far out, or clusters, correlate as Gaussians of much information do. The
    mean of their log-ratio is then far above its InfoNCE, which is that of the pairs.
    Where the information is infinite there is no ratio to judge.

    Args:
        parts: each copula with its scores of pairs that it was not fitted to.
        seed: of the draws of Gaussian pairs that they are compared with.
    """
    if any(copula.is_singular for copula, _ in parts):
        return False
    if any(law.is_impossible(law.mean_ratio(scores)[0]) for _, scores in parts):
        return True
    found = [law.shortfall(scores) for _, scores in parts]
    drawn = [
        copula.draw_shortfall(len(own), seed + number)
        for number, ((copula, _), own) in enumerate(zip(parts, found, strict=True))
    ]
    return law.is_excessive(np.concatenate(found), np.concatenate(drawn))


def starts(
    train: tuple, choose: tuple, widths: Sequence[int]
) -> list[Callable[[], CopulaCritic]]:
    """Critics at those copulas of these pairs that are worth a training.

    A start at all components can be far worse than none: whitening blows up what hardly
    varies, which with few pairs is noise, and on curved sets of low dimension what the
    copula gets wrong. Other pairs tell. Of plenty of pairs all components are taken if
    they do about as well there as fewer, else all sizes that do. A copula that finds
    nothing there and is no density ratio of these pairs is no start: 0 is.

    Args:
        train: (x, y), `[n, ...]`, whose marginals should be normal.
        choose: (x, y) of other pairs.
        widths: of the critics.
    """
    x, y = flatten(train)
    shape = len(x), x.shape[1], y.shape[1]
    copulas = Copula.fit(x, y, *sizes_for(*shape))
    x, y = flatten(choose)
    parts = [(copula, Scores(copula.scores(x, y))) for copula in copulas]
    reached = [info_nce(scores) for _, scores in parts]
    kept = [
        part[0]
        for part, value in zip(parts, reached, strict=True)
        if value >= max(reached) - _HANDICAP and (value > 0.0 or not is_lawless([part]))
    ]
    if not kept:
        return [lambda: CopulaCritic(None, widths)]
    if kept[0] is copulas[0] and are_plenty(*shape):
        kept = kept[:1]
    return [lambda copula=copula: CopulaCritic(copula, widths) for copula in kept]
