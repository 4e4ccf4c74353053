"""V-information: what a family of predictors can use of x to predict y.

    I_V(X -> Y) = H_V(Y | nothing) - H_V(Y | X),  H_V = inf over V of E[-log f[x](y)]

Both terms are log-losses on pairs that were not fitted; the null model is the same
family with x withheld, fitted to the same training part. With all functions for V it is
mutual information; with a linear Gaussian family it is -1/2 sum log(1 - rho^2). It is
not symmetric, and computation on x can raise it.

Source: Xu et al. 2020; pointwise V-information: Ethayarajh et al. 2022.
"""

import copy
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from tf_infomax.estimation import intervals, logistic
from tf_infomax.estimation.inputs import PairsError, check_parts, read_pairs, split
from tf_infomax.estimation.result import Estimate

_RIDGE = 1e-6  # of a residual covariance, by its trace
_PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # of |W|^2 / 2 beside a mean log-loss
_GAIN = 1e-4  # nats that a weaker one must bring
_MLP = dict(batch_size=64, learning_rate_init=2e-3)
_EPOCHS, _PATIENCE = 300, 20


class _ByLogLoss:
    """A network of scikit-learn, stopped by its log-loss on the last quarter.

    Its own early stopping keeps the weights of the first best accuracy (or R^2), whose
    log-loss may be far from the best.
    """

    def __init__(self, network):
        self.network = network

    def fit(self, x, y):
        cut = max(1, len(x) // 4)  # rows come in no order
        held_out = x[-cut:], y[-cut:]
        x, y = x[:-cut], y[:-cut]
        known = {}
        if self._of_labels:
            known = {"classes": np.unique(np.concatenate([y, held_out[1]]))}
        best, kept, waited = math.inf, None, 0
        for _ in range(_EPOCHS):
            self.network.partial_fit(x, y, **known)
            loss = self._loss(*held_out)
            if loss < best:
                best, kept, waited = loss, copy.deepcopy(self.network), 0
            elif (waited := waited + 1) >= _PATIENCE:
                break
        self.network = kept
        return self

    @property
    def _of_labels(self) -> bool:
        from sklearn.base import is_classifier

        return is_classifier(self.network)

    def _loss(self, x, y) -> float:
        if not self._of_labels:
            return float(np.mean((self.network.predict(x) - y) ** 2))
        column = np.searchsorted(self.network.classes_, y)
        probabilities = self.network.predict_proba(x)[np.arange(len(x)), column]
        return float(-np.log(np.maximum(probabilities, 1e-12)).mean())

    def __getattr__(self, name: str):
        return getattr(self.network, name)


def _constant_classifier(widths, seed):
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


class _Logistic:
    """Logistic regression with the L2 penalty that a quarter of the rows chooses.

    Penalties fall, each beginning where the last one ended, until the log-loss of that
    quarter falls no more: of many columns a weak one takes longest and is the worst.
    """

    def fit(self, x, y):
        self.classes_, classes = np.unique(y, return_inverse=True)
        self.data = logistic.rotate(x.astype(np.float32))
        kept = np.arange(len(x)) < len(x) - max(1, len(x) // 4)  # in no order
        part, known = self.data.select(kept), classes[kept]
        least, chosen, start = math.inf, _PENALTIES[0], None
        for penalty in _PENALTIES:
            self._solve(part, known, penalty, start, logistic.ROUGH)
            logs = self._log_proba(self.data.rows[~kept])
            loss = -logs[np.arange(len(logs)), classes[~kept]].mean()
            if loss > least - _GAIN:
                break
            least, chosen, start = loss, penalty, self.weights
        self._solve(self.data, classes, chosen, start, logistic.PRECISE)
        return self

    def _solve(self, data, classes, penalty: float, start, gradient: float) -> None:
        count = len(self.classes_)
        self.weights = logistic.fit(
            data, classes, count, penalty, start, gradient=gradient
        )

    def _log_proba(self, rows) -> np.ndarray:
        from scipy.special import log_softmax

        scores = logistic.predict(self.weights, rows)[:, 0].astype(np.float64)
        return log_softmax(scores, axis=1)

    def predict_proba(self, x) -> np.ndarray:
        """Of the classes `[n, K]`."""
        return np.exp(self._log_proba(self.data.of(x.astype(np.float32))))


def _linear_classifier(widths, seed):
    return _Logistic()


def _mlp_classifier(widths, seed):
    from sklearn.neural_network import MLPClassifier

    return _ByLogLoss(
        MLPClassifier(hidden_layer_sizes=widths, random_state=seed, **_MLP)
    )


def _knn_classifier(widths, seed):
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(20)


def _constant_regressor(widths, seed):
    from sklearn.dummy import DummyRegressor

    return DummyRegressor()


def _linear_regressor(widths, seed):
    from sklearn.linear_model import LinearRegression

    return LinearRegression()


def _mlp_regressor(widths, seed):
    from sklearn.neural_network import MLPRegressor

    return _ByLogLoss(
        MLPRegressor(hidden_layer_sizes=widths, random_state=seed, **_MLP)
    )


def _knn_regressor(widths, seed):
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(20)


# Family -> how to build it for labels, and for numbers; nested, smallest first.
FAMILIES: dict[str, tuple[Callable, Callable]] = {
    "constant": (_constant_classifier, _constant_regressor),
    "linear": (_linear_classifier, _linear_regressor),
    "mlp": (_mlp_classifier, _mlp_regressor),
    "knn": (_knn_classifier, _knn_regressor),
}


def _fit_labels(model, x, y, labels: int) -> Callable:
    """(x, y) -> -log p(y | x); a class gets at least the share of one pair."""
    model.fit(x, y)
    floor = 1.0 / (len(x) + labels)

    def losses(x, y):
        probabilities = np.full((len(x), labels), 0.0)
        probabilities[:, model.classes_] = model.predict_proba(x)
        probabilities = (1.0 - labels * floor) * probabilities + floor
        return -np.log(probabilities[np.arange(len(x)), y])

    return losses


def _fit_gaussian(model, x, y) -> Callable:
    """(x, y) -> -log N(y; f(x), S), S the covariance of the residuals."""
    flat = y.ravel() if y.shape[1] == 1 else y
    model.fit(x, flat)
    predict = lambda v: model.predict(v).reshape(len(v), -1)
    covariance = np.atleast_2d(np.cov((y - predict(x)).T, bias=True))
    d = len(covariance)
    covariance += np.eye(d) * (_RIDGE * np.trace(covariance) / d + 1e-300)
    constant = np.linalg.slogdet(covariance)[1] + d * math.log(2 * math.pi)

    def losses(x, y):
        residual = y - predict(x)
        solved = np.linalg.solve(covariance, residual.T).T
        return 0.5 * (np.sum(residual * solved, axis=1) + constant)

    return losses


def v_information(
    x: "ArrayLike",
    y: "ArrayLike",
    family: str = "linear",
    widths: tuple[int, ...] | None = None,
    labels: bool | None = None,
    level: float = 0.9,
    block: int = 1,
    seed: int = 0,
    parts: tuple | None = None,
) -> Estimate:
    """I_V(X -> Y) on held-out pairs, nats.

    Args:
        x: `[n, ...]`.
        y: `[n]` labels or `[n, dy]` numbers.
        family: a key of `FAMILIES`: constant, linear (logistic regression, with a
            penalty that is chosen within the fitted part, or a linear Gaussian), mlp,
            knn (20 neighbours).
        widths: of the MLP alone, by default (64, 64).
        labels: whether y are labels; default: if they are whole numbers in one column,
            of at most n / 20 values.
        level, block, seed, parts: as for `estimate_mi`.

    Returns:
        An `Estimate` whose `pointwise(x, y)` is -log g0(y) + log g(x)(y), the pointwise
        V-information of any pairs; direction "neither": of labels it is at most the
        information in population, of numbers it may be above it, where their marginal
        is not Gaussian.

    Raises:
        PairsError: for pairs that cannot be used.
        ValueError: for an unknown family, and for widths of one that has none.
    """
    if family not in FAMILIES:
        raise ValueError(
            f"family must be one of {', '.join(FAMILIES)}. Received: {family!r}."
        )
    if widths is not None and family != "mlp":
        raise ValueError(
            f"widths are those of family='mlp' and change nothing for {family!r}. "
            f"Received: {widths!r}."
        )
    widths = (64, 64) if widths is None else widths
    x, y = read_pairs(x, y, must_vary=True)
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    if labels is None:
        few = len(np.unique(y)) <= len(y) / 20
        labels = y.shape[1] == 1 and few and bool((y == np.round(y)).all())
    if labels and y.shape[1] != 1:
        raise PairsError(f"labels are one number each. Received: {y.shape[1]}.")
    if parts is None:
        (parts,) = split(len(x), seed, block)
    fit_rows, choose_rows, report_rows = check_parts(parts, len(x))
    # Choosing, where there is any, is part of the fit.
    train_rows = np.concatenate([fit_rows, choose_rows])
    train_rows = np.random.default_rng(seed).permutation(train_rows)
    center, scale = x[train_rows].mean(axis=0), x[train_rows].std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    values = np.unique(y) if labels else None
    if labels:
        fit = lambda model, x, y: _fit_labels(model, x, y, len(values))
    else:
        fit = _fit_gaussian

    def read(x, y):
        """Inputs of the family, of the null model, and what they predict."""
        x = (x.reshape(len(x), -1) - center) / scale
        y = y.reshape(len(y), -1)
        if labels:
            y = y[:, 0]
            if unknown := sorted(set(y.tolist()) - set(values.tolist())):
                raise PairsError(f"y has labels that were not there: {unknown[:5]}.")
            y = np.searchsorted(values, y)
        return x, np.zeros((len(x), 1)), y

    inputs, nothing, given = read(x[train_rows], y[train_rows])
    kind = 0 if labels else 1
    null_losses = fit(FAMILIES["constant"][kind](widths, seed), nothing, given)
    losses = fit(FAMILIES[family][kind](widths, seed), inputs, given)

    def of_pairs(x, y):
        inputs, nothing, given = read(x, y)
        return null_losses(nothing, given) - losses(inputs, given)

    pointwise = of_pairs(x[report_rows], y[report_rows])
    value = float(pointwise.mean())
    interval = intervals.of_mean(pointwise, level, seed, block)
    warnings = []
    if interval[0] < 0.0 < interval[1]:
        warnings.append("the interval contains 0: this family may use nothing of x")
    return Estimate(
        method=f"v_information/{family}",
        value=value,
        interval=interval,
        level=level,
        direction="neither",
        ceiling=math.log(len(values)) if labels else math.inf,
        pairs={"train": len(train_rows), "report": len(report_rows)},
        diagnostics={
            "pointwise_mean": value,
            "pointwise_sd": float(pointwise.std(ddof=1)),
            "share_negative": float(np.mean(pointwise < 0)),
        },
        warnings=tuple(warnings),
        density_ratio=of_pairs,
    )
