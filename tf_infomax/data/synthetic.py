"""Samplers of pairs (x, y) whose mutual information is known, in nats.

A row of `TASKS` is a function `(n, rng, **options) -> Pairs`. Invertible maps of either
side leave mutual information as it is, so that every transform of a Gaussian pair has
the Gaussian's.

Imports NumPy and SciPy (for quantities of the Student distribution) only.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class TaskError(ValueError):
    """A task or an option of it that does not exist or makes no sense."""

    exit_status = 2


@dataclass(frozen=True)
class Pairs:
    """Draws from a joint distribution.

    Attributes:
        x, y: float64 `[n, dx]`, `[n, dy]`; row i of either is one draw.
        mi: mutual information of the distribution, nats.
    """

    x: np.ndarray
    y: np.ndarray
    mi: float


def gaussian_mi(covariance: np.ndarray, dx: int) -> float:
    """I(x; y) = 1/2 log(|S_xx| |S_yy| / |S|) of a joint Gaussian; x comes first."""
    log_det = lambda matrix: np.linalg.slogdet(matrix)[1]
    x, y = covariance[:dx, :dx], covariance[dx:, dx:]
    return 0.5 * float(log_det(x) + log_det(y) - log_det(covariance))


def correlation_for(mi: float, dim: int) -> float:
    """rho of `dim` independent pairs of correlated Gaussians with this MI."""
    if not isinstance(dim, int) or dim < 1:
        raise TaskError(f"dim must be a whole number above 0. Received: {dim!r}.")
    if isinstance(mi, str) or not 0.0 <= mi < math.inf:
        raise TaskError(f"mi must be a number from 0. Received: {mi!r}.")
    return math.sqrt(-math.expm1(-2.0 * mi / dim))


def draw_gaussian(
    covariance: np.ndarray, dx: int, n: int, rng: np.random.Generator
) -> Pairs:
    """Centred Gaussians of any covariance `[dx + dy, dx + dy]`."""
    factor = np.linalg.cholesky(covariance)
    both = rng.standard_normal((n, len(covariance))) @ factor.T
    return Pairs(both[:, :dx], both[:, dx:], gaussian_mi(covariance, dx))


_TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda v: v,
    "cubic": lambda v: v**3,
    "half_cube": lambda v: np.sign(v) * np.abs(v) ** 1.5,
    "asinh": np.arcsinh,
}


def gaussian(
    n: int,
    rng: np.random.Generator,
    dim: int = 20,
    mi: float = 2.0,
    transform: str = "none",
) -> Pairs:
    """`dim` independent pairs of correlation rho, y transformed element-wise.

    The staircase of Poole et al. 2019 and Song & Ermon 2020 is this with dim = 20 and
    mi = 2, 4, 6, 8, 10; transform: none, cubic, half_cube, asinh.
    """
    rho = correlation_for(mi, dim)
    x = rng.standard_normal((n, dim))
    y = rho * x + math.sqrt(1.0 - rho**2) * rng.standard_normal((n, dim))
    return Pairs(x, _transform(transform, y), mi)


def _transform(name: str, values: np.ndarray) -> np.ndarray:
    if name not in _TRANSFORMS:
        raise TaskError(
            f"transform must be one of {', '.join(_TRANSFORMS)}. Received: {name!r}."
        )
    return _TRANSFORMS[name](values)


def dense(n: int, rng: np.random.Generator, dim: int = 5, rho: float = 0.5) -> Pairs:
    """All 2 dim coordinates of x and y have correlation rho with one another."""
    covariance = np.full((2 * dim, 2 * dim), rho) + (1.0 - rho) * np.eye(2 * dim)
    return draw_gaussian(covariance, dim, n, rng)


def two_pair(n: int, rng: np.random.Generator, dim: int = 5, rho: float = 0.8) -> Pairs:
    """Two coordinates of x are correlated with two of y; the others are noise."""
    covariance = np.eye(2 * dim)
    for k in range(min(2, dim)):
        covariance[k, dim + k] = covariance[dim + k, k] = rho
    return draw_gaussian(covariance, dim, n, rng)


def student_mi(dx: int, dy: int, dof: float, mi_of_gaussian: float) -> float:
    """MI of a multivariate Student-t whose dispersion is that of a Gaussian.

    Source: Arellano-Valle, Contreras-Reyes & Genton 2013, as I = I_Gauss + c(dof).
    """
    from scipy.special import digamma, gammaln

    def entropy_part(d: int) -> float:
        """Differential entropy of a standard t in d dimensions, without log-det."""
        half = 0.5 * (dof + d)
        return (
            gammaln(0.5 * dof)
            - gammaln(half)
            + 0.5 * d * math.log(dof * math.pi)
            + half * (digamma(half) - digamma(0.5 * dof))
        )

    correction = entropy_part(dx) + entropy_part(dy) - entropy_part(dx + dy)
    return float(mi_of_gaussian + correction)


def student(
    n: int,
    rng: np.random.Generator,
    dim: int = 2,
    dof: float = 2.0,
    transform: str = "none",
) -> Pairs:
    """Uncorrelated Student-t: x and y share only the scale of their tails."""
    both = rng.standard_normal((n, 2 * dim))
    both *= np.sqrt(dof / rng.chisquare(dof, size=(n, 1)))
    both = _transform(transform, both)
    return Pairs(both[:, :dim], both[:, dim:], student_mi(dim, dim, dof, 0.0))


def additive_uniform(n: int, rng: np.random.Generator, noise: float = 0.75) -> Pairs:
    """y = x + U(-noise, noise) of x ~ U(0, 1).

    MI: 1 / (4 noise) above noise = 1/2, and noise - log(2 noise) below.
    """
    x = rng.uniform(size=(n, 1))
    y = x + rng.uniform(-noise, noise, size=(n, 1))
    mi = 0.25 / noise if noise > 0.5 else noise - math.log(2.0 * noise)
    return Pairs(x, y, mi)


def _uniformized(n: int, rng, mi: float):
    """The marginal ranks, in (0, 1), of a Gaussian pair of this MI, n x 1 each."""
    from scipy.special import ndtr

    pairs = gaussian(n, rng, dim=1, mi=mi)
    return ndtr(pairs.x), ndtr(pairs.y)


def bimodal(n: int, rng: np.random.Generator, mi: float = 0.4133) -> Pairs:
    """Both marginals are 0.3 N(0, 1) + 0.7 N(5, 1), coupled like a Gaussian pair."""
    from scipy.special import ndtr

    u, v = _uniformized(n, rng, mi)
    grid = np.linspace(-8.0, 13.0, 20_001)
    levels = 0.3 * ndtr(grid) + 0.7 * ndtr(grid - 5.0)
    quantile = lambda values: np.interp(values, levels, grid)
    return Pairs(quantile(u), quantile(v), mi)


def swiss_roll(n: int, rng: np.random.Generator, mi: float = 0.4133) -> Pairs:
    """x, made uniform, is rolled up in the plane: dx = 2, dy = 1."""
    u, v = _uniformized(n, rng, mi)
    angle = 1.5 * math.pi * (1.0 + 2.0 * u)
    x = np.concatenate([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 21.0
    return Pairs(x, v, mi)


def spiral(
    n: int, rng: np.random.Generator, dim: int = 3, rho: float = 0.8, speed: float = 1.0
) -> Pairs:
    """`two_pair` with both sides turned by an angle that grows with their squared norm.

    x -> exp(speed |x|^2 A) x with a skew-symmetric A that joins neighbouring
    coordinates: a diffeomorphism that keeps norms.
    """
    pairs = two_pair(n, rng, dim, rho)
    generator = np.diag(np.ones(dim - 1), 1) - np.diag(np.ones(dim - 1), -1)
    values, vectors = np.linalg.eig(generator)  # of a normal matrix

    def turn(v: np.ndarray) -> np.ndarray:
        amount = speed * np.sum(v**2, axis=1, keepdims=True)
        turned = (v @ vectors.conj()) * np.exp(amount * values)
        return np.real(turned @ vectors.T)

    return Pairs(turn(pairs.x), turn(pairs.y), pairs.mi)


def xor(n: int, rng: np.random.Generator) -> Pairs:
    """x: two fair bits, y: their exclusive or; each bit alone says nothing."""
    x = rng.integers(0, 2, size=(n, 2))
    y = x[:, :1] ^ x[:, 1:]
    return Pairs(x.astype(np.float64), y.astype(np.float64), math.log(2.0))


def autoregressive(
    n: int, rng: np.random.Generator, rho: float = 0.9, lag: int = 1
) -> Pairs:
    """x_t and x_(t + lag) of a stationary AR(1) process: consecutive, dependent rows.

    MI: -1/2 log(1 - rho^(2 lag)).
    """
    noise = math.sqrt(1.0 - rho**2) * rng.standard_normal(n + lag)
    series = np.empty(n + lag)
    series[0] = rng.standard_normal()
    for t in range(1, n + lag):
        series[t] = rho * series[t - 1] + noise[t]
    x, y = series[:n, None], series[lag:, None]
    return Pairs(x, y, -0.5 * math.log1p(-(rho ** (2 * lag))))


def shared_context(
    n: int, rng: np.random.Generator, batch: int = 128, iid: bool = False
) -> Pairs:
    """Draws whose batches are not independent: (x_i, y_i) = Z + e_i, one Z per batch.

    Z ~ N(0, [[1, -.5], [-.5, 1]]), e_i ~ N(0, [[1, .9], [.9, 1]]); `iid` draws a Z for
    every row. x_i and y_j of one batch then have correlation -0.25 instead of 0, so
    that NWJ and DV with negatives of the batch tend to 0.1081, and InfoNCE exceeds
    0.2018, where the mutual information is 0.0204.
    Source: Tschannen et al. 2020, section 4.
    """
    factor = lambda off: np.linalg.cholesky([[1.0, off], [off, 1.0]])
    contexts = n if iid else -(-n // batch)
    shared = rng.standard_normal((contexts, 2)) @ factor(-0.5).T
    shared = np.repeat(shared, 1 if iid else batch, axis=0)[:n]
    both = shared + rng.standard_normal((n, 2)) @ factor(0.9).T
    return Pairs(both[:, :1], both[:, 1:], -0.5 * math.log1p(-(0.2**2)))


TASKS: dict[str, Callable[..., Pairs]] = {
    "gaussian": gaussian,
    "dense": dense,
    "two_pair": two_pair,
    "student": student,
    "additive_uniform": additive_uniform,
    "bimodal": bimodal,
    "swiss_roll": swiss_roll,
    "spiral": spiral,
    "xor": xor,
    "autoregressive": autoregressive,
    "shared_context": shared_context,
}


def draw(task: str, n: int, seed: int = 0, **options) -> Pairs:
    """Draws n pairs of a task.

    Raises:
        TaskError: for an unknown task or an option that it does not take.
    """
    if task not in TASKS:
        raise TaskError(f"task must be one of {', '.join(TASKS)}. Received: {task!r}.")
    known = list(inspect.signature(TASKS[task]).parameters)[2:]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TaskError(
            f"task {task} takes {', '.join(known) or 'no options'}. Received: "
            f"{', '.join(unknown)}."
        )
    try:
        return TASKS[task](n, np.random.default_rng(seed), **options)
    except TaskError:
        raise
    except (TypeError, ValueError, KeyError, ArithmeticError) as error:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise TaskError(
            f"task {task} cannot be drawn with {given}: {error}."
        ) from error
