"""Probes: how well labels can be read off frozen features.

`linear` is multinomial logistic regression (at most 100 steps of L-BFGS), and `mlp` a
classifier with one hidden layer of 200 ReLU units (Hjelm et al. 2019, section 4.1).
Features are standardized with the training set's statistics. Both choose their
regularization on training examples alone (at most 2,000 of them, a fifth held out);
seed s then trains on a random nine-tenths of all, from its own initial weights, so that
the spread over seeds shows what the choice of labelled examples is worth.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_LINEAR_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C, times 10,000 / n
_CHOICE_EXAMPLES = 2000
_MLP_PENALTIES = (1e-3, 1e-1)  # alpha


def build_linear(strength: float, count: int, seed: int):
    """Multinomial logistic regression on `count` examples."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(
        C=strength * 10_000 / count, max_iter=100, tol=1e-3, random_state=seed
    )


def build_mlp(penalty: float, count: int, seed: int):
    """One hidden layer of 200 ReLU units, Adam, early stopping on a tenth."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        (200,),
        alpha=penalty,
        batch_size=min(200, max(8, count // 20)),
        early_stopping=True,
        n_iter_no_change=5,
        max_iter=50,
        random_state=seed,
    )


class Probe(NamedTuple):
    """A row of `PROBES`: how to build the classifier, and what to choose from."""

    build: Callable
    choices: tuple[float, ...]


PROBES = {
    "linear": Probe(build_linear, _LINEAR_STRENGTHS),
    "mlp": Probe(build_mlp, _MLP_PENALTIES),
}


def standardize(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero mean and unit deviation by the training features; constant ones become 0."""
    mean, scale = _standardization(train)
    return (train - mean) * scale, (test - mean) * scale


def _standardization(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and reciprocal deviation (0 for constant features)."""
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    std = features.std(axis=0, dtype=np.float64).astype(np.float32)
    return mean, np.where(std > 0, 1.0 / np.where(std > 0, std, 1.0), 0.0)


def fit_and_score(model, train, labels, test, test_labels) -> float:
    """Accuracy on the test examples."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Reaching the iteration limit is part of the protocol, not news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train, labels)
    return float(model.score(test, test_labels))


def run_probe(
    name: str,
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    seeds: int = 3,
) -> np.ndarray:
    """Test accuracies `[seeds]` of the named probe on frozen features.

    Args:
        name: a key of `PROBES`.
        train, test: float32 `[n, width]`.
        train_labels, test_labels: int `[n]`.
        seeds: repetitions.
    """
    probe = PROBES[name]
    train, test = standardize(train, test)
    chosen = _choose(probe, train, train_labels)
    accuracies = []
    for seed in range(seeds):
        kept, _ = _divide(len(train), seed + 1, 0.1)
        model = probe.build(chosen, len(kept), seed)
        accuracies.append(
            fit_and_score(model, train[kept], train_labels[kept], test, test_labels)
        )
    return np.array(accuracies)


def fit_linear(
    features: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The linear probe on all examples, as numbers: a classifier to keep.

    Args:
        features: float32 `[n, D]`, not standardized.
        labels: int `[n]`, of K classes.

    Returns:
        Weights `[D, K]`, bias `[K]` (softmax of `features @ weights + bias` are the
        probabilities) and the K labels, ascending.
    """
    probe = PROBES["linear"]
    mean, scale = _standardization(features)
    standard = (features - mean) * scale
    model = probe.build(_choose(probe, standard, labels), len(standard), 0)
    fit_and_score(model, standard, labels, standard, labels)
    weights, bias = model.coef_, model.intercept_
    if len(bias) == 1:  # of two classes only the second's margin is kept
        weights, bias = np.stack([0 * weights[0], weights[0]]), np.array([0, bias[0]])
    weights = weights.T * scale[:, None]
    return weights, bias - mean @ weights, model.classes_


def _divide(count: int, seed: int, part: float) -> tuple[np.ndarray, np.ndarray]:
    """Random positions: those kept, and the given part held out."""
    order = np.random.default_rng(seed).permutation(count)
    cut = max(1, round(part * count))
    return order[cut:], order[:cut]


def _choose(probe: Probe, train: np.ndarray, labels: np.ndarray) -> float:
    """The choice that does best on training examples held out of its fit."""
    order = np.random.default_rng(0).permutation(len(train))[:_CHOICE_EXAMPLES]
    kept, held_out = (order[part] for part in _divide(len(order), 0, 0.2))
    scores = [
        fit_and_score(
            probe.build(choice, len(kept), 0),
            train[kept],
            labels[kept],
            train[held_out],
            labels[held_out],
        )
        for choice in probe.choices
    ]
    return probe.choices[int(np.argmax(scores))]


def score_online(name: str, train, train_labels, test, test_labels) -> float:
    """One quick accuracy: "knn" (20 neighbours, cosine) or "linear"."""
    from sklearn.neighbors import KNeighborsClassifier

    train, test = standardize(train, test)
    if name == "knn":
        model = KNeighborsClassifier(min(20, len(train)), metric="cosine")
    else:
        model = build_linear(0.1, len(train), 0)
    return fit_and_score(model, train, train_labels, test, test_labels)
