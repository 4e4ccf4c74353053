"""Probes: how well labels can be read off frozen features.

`linear` is multinomial logistic regression with an L2 penalty, solved to its minimum
(see `logistic`); `mlp` a classifier with one hidden layer of 200 ReLU units (Hjelm
et al. 2019, section 4.1) of the first 300 principal coordinates of the features; `svm`
a linear support vector machine of the same coordinates, one class against the rest
(section 4.2 there), with the squared hinge loss, whose minimum is soon found. Features
are standardized with the statistics of all training images handed in.

Seed s draws its own labelled examples: as many as asked for, or nine tenths of all
where there are no more. On these, and no others, it chooses its regularization by
three-fold cross-validation (`mlp`, of two, on at most 2,000 of them, `svm` on at most
1,000), and then trains on them, `mlp` from its own initial weights. The spread over
seeds therefore shows what the choice of labelled examples is worth.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tf_infomax.data.images import ImageSet
from tf_infomax.estimation import logistic
from tf_infomax.estimation.logistic import Rotated

# Of |W|^2 / 2 beside the mean log-loss of standardized features.
_LINEAR_PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
_SVM_PENALTIES = (1.0, 1e-1, 1e-2)  # of |w|^2 / 2 beside the mean loss of a class
_MLP_PENALTIES = (1e-1, 1e-3)  # scikit-learn's alpha
_FOLDS = 3
_HIDDEN, _EPOCHS, _WAIT = 200, 50, 5
_LARGE = 1_000_000  # numbers of which products outweigh the interpreter's share

Predict = Callable[[np.ndarray], np.ndarray]  # rows -> classes


def _try_linear(data: Rotated, classes, part, seed) -> Iterator:
    """Linear predictions of the examples held out, all folds at once."""
    count, kept = classes.max() + 1, part[:, None] != np.arange(part.max() + 1)
    weights, every = None, np.arange(len(part))
    for penalty in _LINEAR_PENALTIES:
        weights = logistic.fit(
            data, classes, count, penalty, weights, kept, logistic.ROUGH
        )
        found = logistic.predict(weights, data.rows).argmax(axis=2)[every, part]
        yield penalty, found, weights.mean(axis=1, keepdims=True)


def _train_linear(data: Rotated, classes, penalty, seed, start=None) -> Predict:
    """The minimum; `start` is where to begin to look for it."""
    weights = logistic.fit(data, classes, classes.max() + 1, penalty, start)
    return lambda rows: logistic.predict(weights, rows)[:, 0].argmax(axis=1)


def _try_each(train: Callable, penalties) -> Callable:
    """Attempts of which each penalty and fold is a training of its own."""

    def attempts(data: Rotated, classes, part, seed) -> Iterator:
        for penalty in penalties:
            found = np.empty_like(classes)
            for fold in range(part.max() + 1):
                held_out = part == fold
                kept = data.select(~held_out)
                predict = train(kept, classes[~held_out], penalty, seed)
                found[held_out] = predict(data.rows[held_out])
            yield penalty, found, None

    return attempts


def _train_svm(data: Rotated, classes, penalty, seed, start=None) -> Predict:
    """min penalty |w|^2 / 2 + mean max(0, 1 - y (w x + b))^2 of each class, y = +-1."""
    from sklearn.svm import LinearSVC

    rows, known = data.leading, np.unique(classes)
    if len(known) == 1:
        return lambda rows: np.repeat(known, len(rows))
    # The primal takes a few Newton steps where the dual does not end in thousands.
    model = LinearSVC(C=1.0 / (penalty * len(rows)), dual=False)
    model.fit(rows, classes)
    return lambda rows: model.predict(data.lead(rows))


def _train_mlp(data: Rotated, classes, penalty, seed, start=None) -> Predict:
    """One hidden layer; Adam, stopped by the accuracy on a tenth held out."""
    from sklearn.neural_network import MLPClassifier

    rows, known = data.leading, np.unique(classes)
    # The only example of a class is trained on.
    held_out = (deal(classes, 10, seed) == 0) & (np.bincount(classes)[classes] > 1)
    train, checked = ~held_out, held_out if held_out.any() else ~held_out
    size = min(200, max(8, len(rows) // 20), int(train.sum()))
    model = MLPClassifier((_HIDDEN,), alpha=penalty, batch_size=size, random_state=seed)
    best, waited, kept = -1, 0, None
    if len(known) == 1:
        return lambda rows: np.repeat(known, len(rows))
    for _ in range(_EPOCHS):
        model.partial_fit(rows[train], classes[train], classes=known)
        right = int((model.predict(rows[checked]) == classes[checked]).sum())
        if right > best:
            layers = (*model.coefs_, *model.intercepts_)
            best, waited, kept = right, 0, [layer.copy() for layer in layers]
        elif (waited := waited + 1) > _WAIT:
            break
    model.coefs_, model.intercepts_ = kept[:2], kept[2:]
    return lambda rows: model.predict(data.lead(rows))


class Probe(NamedTuple):
    """A row of `PROBES`.

    Attributes:
        attempts: (examples, classes, fold of each, seed) -> for each penalty, the
            largest first, (the penalty, predictions of the examples held out, a start).
        train: (examples, classes, penalty, seed, start) -> predictions of rows.
        choices: the penalties.
        most: examples that a choice is made on.
    """

    attempts: Callable
    train: Callable
    choices: tuple[float, ...]
    most: float = math.inf


PROBES = {
    "linear": Probe(_try_linear, _train_linear, _LINEAR_PENALTIES),
    "mlp": Probe(
        _try_each(_train_mlp, _MLP_PENALTIES), _train_mlp, _MLP_PENALTIES, most=2000
    ),
    "svm": Probe(
        _try_each(_train_svm, _SVM_PENALTIES), _train_svm, _SVM_PENALTIES, most=1000
    ),
}


@dataclass(frozen=True)
class Scores:
    """What the repetitions of a probe found on the test examples.

    Attributes:
        accuracy: `[seeds]`, share of the examples that were told right.
        balanced: `[seeds]`, mean over the classes of the test of the share of each.
        penalties: `[seeds]`, what each chose.
        classes: `[K]`, the labels of all examples, ascending.
        confusion: `[K, K]`, how many test examples of each class were told to be of
            each, over all repetitions.
    """

    accuracy: np.ndarray
    balanced: np.ndarray
    penalties: np.ndarray
    classes: np.ndarray
    confusion: np.ndarray


def standardize(train: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Zero mean and unit deviation by the training features; constant ones become 0."""
    mean, scale = _standardization(train)
    return tuple((each - mean) * scale for each in (train, *others))


def _standardization(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and reciprocal deviation (0 for constant features)."""
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    std = features.std(axis=0, dtype=np.float64).astype(np.float32)
    scale = np.where(std > 0, 1.0 / np.where(std > 0, std, 1.0), 0.0)
    return mean, scale.astype(np.float32)


def draw_examples(labels: np.ndarray, limit: int, seeds: int) -> list[np.ndarray]:
    """Positions, ascending, of every seed's own labelled examples.

    A draw without any example of some class has one of each such class in the place of
    its last ones.

    Args:
        labels: of all labelled examples.
        limit: most for one seed; 0 for no limit. Without one, or where there are no
            more examples than that, each seed gets nine tenths of all.
        seeds: how many.

    Raises:
        ValueError: if a seed has fewer examples than there are classes.
    """
    count, classes = len(labels), np.unique(labels)
    most = max(len(classes), count - round(0.1 * count))
    size = limit if 0 < limit < count else most
    if size < len(classes):
        raise ValueError(
            f"at least {len(classes)} labelled images are needed, one of each class. "
            f"Received: {size}."
        )
    drawn = []
    for seed in range(seeds):
        order = np.random.default_rng(seed + 1).permutation(count)
        _, first = np.unique(labels[order], return_index=True)
        missing = first[first >= size]
        if len(missing):
            kept = np.setdiff1d(np.arange(size), first)[: size - len(first)]
            order = order[np.concatenate([first, kept])]
        drawn.append(np.sort(order[:size]))
    return drawn


class Labelled(NamedTuple):
    """Labelled images, by use.

    Attributes:
        train: to learn from: those that some repetition uses.
        test: to be told.
        examples: for each repetition the positions of its own, ascending.
    """

    train: ImageSet
    test: ImageSet
    examples: list[np.ndarray]


def draw_labelled(train: ImageSet, test: ImageSet, limit: int, seeds: int) -> Labelled:
    """The labelled images of every repetition, by `draw_examples`."""
    drawn = draw_examples(train.labels, limit, seeds)
    used = np.unique(np.concatenate(drawn))
    examples = [np.searchsorted(used, each) for each in drawn]
    return Labelled(train.select(used), test, examples)


def run_probe(
    name: str,
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    seeds: int = 3,
    examples: Sequence[np.ndarray] | None = None,
    shown: Callable[[float], None] = lambda share: None,
) -> Scores:
    """How the named probe of frozen features does on the test examples.

    Args:
        name: a key of `PROBES`.
        train, test: float32 `[n, width]`.
        train_labels, test_labels: `[n]`, of any values; classes may have one example,
            and classes of the test that are not among those trained on count as told
            wrong.
        seeds: repetitions.
        examples: positions of every seed's training examples; by default
            `draw_examples` of all.
        shown: hears what share of the work is done.

    Raises:
        ValueError: if there is nothing to tell apart.
    """
    train_labels, test_labels = np.asarray(train_labels), np.asarray(test_labels)
    _check(train_labels, test_labels)
    probe = PROBES[name]
    train, test = standardize(train, test)
    data = logistic.rotate(train)
    test = data.of(test)
    if examples is None:
        examples = draw_examples(train_labels, 0, seeds)
    done = [0.0] * len(examples)

    def hear(seed: int, share: float) -> None:
        done[seed] = share
        shown(sum(done) / len(done))

    classes = np.unique(np.concatenate([train_labels, test_labels]))
    true = np.searchsorted(classes, test_labels)

    def repeat(seed: int, rows: np.ndarray) -> tuple:
        labels = train_labels[rows]
        own, seen = data.select(rows), test
        if len(rows) < own.rows.shape[1]:  # the minimum lies in the span of fewer
            own = logistic.rotate(own.rows)
            seen = own.of(test)
        predict, penalty = _train(
            probe, own, labels, seed, lambda share: hear(seed, share)
        )
        told = np.searchsorted(classes, predict(seen))
        right = told == true
        pairs = np.bincount(true * len(classes) + told, minlength=len(classes) ** 2)
        hear(seed, 1.0)
        return right.mean(), _balanced(right, test_labels), penalty, pairs

    large = max(map(len, examples), default=0) * train.shape[1] > _LARGE
    found = _side_by_side(repeat, enumerate(examples), len(examples) if large else 1)
    figures = np.array([each[:3] for each in found], np.float64).reshape(-1, 3)
    pairs = np.sum([each[3] for each in found], axis=0, dtype=np.int64)
    confusion = np.reshape(pairs, (len(classes), len(classes)))
    return Scores(*figures.T, classes, confusion)


def _side_by_side(function: Callable, arguments, most: int) -> list:
    """The results of calls, up to so many at a time.

    Each has its share of the cores: two calls gain more by them than one product.
    """
    from joblib import Parallel, cpu_count, delayed
    from threadpoolctl import threadpool_limits

    jobs = max(1, min(most, cpu_count()))
    cores = cpu_count() // jobs if most > 1 else 1
    with threadpool_limits(cores):
        calls = (delayed(function)(*each) for each in arguments)
        return Parallel(n_jobs=jobs, prefer="threads")(calls)


def _train(
    probe: Probe,
    data: Rotated,
    labels: np.ndarray,
    seed: int,
    shown: Callable[[float], None] = lambda share: None,
):
    """(rows -> labels, the penalty), chosen and trained on these examples."""
    values, classes = np.unique(labels, return_inverse=True)
    penalty, start = choose(probe, data, classes, seed, shown)
    predict = probe.train(data, classes, penalty, seed, start)
    return (lambda rows: values[predict(rows)]), penalty


def _check(train_labels: np.ndarray, test_labels: np.ndarray) -> None:
    classes = np.unique(train_labels)
    if len(classes) < 2:
        has = f"only {classes[0]!s}" if len(classes) else "no labels at all"
        raise ValueError(
            "a probe tells classes apart and needs labels of at least two among the "
            f"training examples. Received: {has}."
        )
    if len(test_labels) == 0:
        raise ValueError("a probe needs test examples. Received: none.")


def _balanced(right: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes of the share told right of each."""
    _, classes = np.unique(labels, return_inverse=True)
    return float(np.mean(np.bincount(classes, right) / np.bincount(classes)))


def describe_classes(labels: np.ndarray) -> dict:
    """The commonest class's share, and whether the classes are unbalanced.

    Returns:
        `share`, what the same answer everywhere gets right; `classes`, their number K;
        and `unbalanced`: the share is a tenth above 1/K and chi-square of the counts
        against equal ones beyond what one balanced draw in a thousand reaches; or the
        share is above 1/K by half, as no test says of a few examples.
    """
    from scipy.stats import chisquare

    _, counts = np.unique(labels, return_counts=True)
    share = float(counts.max() / counts.sum())
    beyond = len(counts) > 1 and chisquare(counts).pvalue < 1e-3
    unbalanced = bool(share * len(counts) > (1.1 if beyond else 1.5))
    return {"share": share, "classes": len(counts), "unbalanced": unbalanced}


def deal(labels: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """A part, 0 to `parts` - 1, for each example, classes spread evenly over them."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    dealt = np.empty(len(labels), int)
    dealt[order] = np.arange(len(labels)) % parts
    return dealt


def choose(
    probe: Probe,
    data: Rotated,
    classes: np.ndarray,
    seed: int,
    shown: Callable[[float], None] = lambda share: None,
) -> tuple[float, object]:
    """(penalty, start) of the best accuracy in cross-validation on these examples.

    Penalties are tried from the largest on, the larger of equals is taken, and the
    search ends at one that does worse than the best so far beyond doubt: by more than
    two standard errors of the difference (McNemar 1947: of the examples on which just
    one of the two is right).
    """
    if len(classes) > probe.most:
        drawn = np.random.default_rng(seed).permutation(len(classes))[: probe.most]
        data, classes = data.select(drawn), classes[drawn]
    part = deal(classes, min(_FOLDS, len(classes)), seed)
    best, most = None, None
    attempts = probe.attempts(data, classes, part, seed)
    for number, (penalty, found, start) in enumerate(attempts, 1):
        shown(0.8 * number / len(probe.choices))
        right = found == classes
        gain = 1 if best is None else int(right.sum()) - int(most.sum())
        if gain > 0:
            best, most = (penalty, start), right
        elif -gain > 2 * np.sqrt(np.sum(right != most)):
            break
    return best


def fit_linear(
    features: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The linear probe on all examples, as numbers: a classifier to keep.

    Args:
        features: float32 `[n, D]`, not standardized.
        labels: `[n]`, of K classes.

    Returns:
        Weights `[D, K]`, bias `[K]` (softmax of `features @ weights + bias` are the
        probabilities) and the K labels, ascending.

    Raises:
        ValueError: if there is nothing to tell apart.
    """
    labels = np.asarray(labels)
    _check(labels, labels)
    mean, scale = _standardization(features)
    data = logistic.rotate((features - mean) * scale)
    values, classes = np.unique(labels, return_inverse=True)
    penalty, start = choose(PROBES["linear"], data, classes, 0)
    solved = logistic.fit(data, classes, len(values), penalty, start)[:, 0]
    weights = data.back(solved[:-1]) * scale[:, None]
    return weights, solved[-1] - mean @ weights, values


def score_online(
    name: str,
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
) -> float:
    """One quick accuracy: "knn" (20 neighbours, cosine) or "linear"."""
    from sklearn.neighbors import KNeighborsClassifier

    train, test = standardize(train, test)
    if name == "knn":
        model = KNeighborsClassifier(min(20, len(train)), metric="cosine")
        return float(model.fit(train, train_labels).score(test, test_labels))
    data = logistic.rotate(train)
    predict, _ = _train(PROBES["linear"], data, np.asarray(train_labels), 0)
    return float(np.mean(predict(data.of(test)) == test_labels))
