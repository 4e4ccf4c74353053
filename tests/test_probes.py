"""Probes against independent solutions, and on examples that are few or uneven."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from tf_infomax.estimation import logistic
from tf_infomax.evaluation import probes


def make(rng, n, d, classes=3, signal=0.4):
    """Correlated features `[n, d]` with a scale of their own, and labels."""
    labels = np.arange(n) % classes
    means = signal * rng.normal(size=(classes, d))
    mixing = rng.normal(size=(d, d)) / np.sqrt(d) + np.eye(d)
    features = (rng.normal(size=(n, d)) + means[labels]) @ mixing
    return (features * np.geomspace(0.1, 10, d)).astype(np.float32), labels


def solve_independently(features, labels, penalty):
    """scikit-learn's solution in the original coordinates."""
    model = LogisticRegression(
        C=1 / (penalty * len(labels)), tol=1e-8, solver="newton-cg", max_iter=1000
    )
    return model.fit(features.astype(np.float64), labels)


@pytest.mark.parametrize(("n", "d"), [(40, 90), (300, 20)])
@pytest.mark.parametrize("penalty", [1.0, 1e-3])
def test_the_minimum_is_that_of_an_independent_solver(rng, n, d, penalty):
    """With fewer examples than features, on their span, and with more."""
    features, labels = make(rng, n + 200, d)
    train, test = probes.standardize(features[:n], features[n:])
    data = logistic.rotate(train)
    weights = logistic.fit(data, labels[:n], 3, penalty)
    scores = logistic.predict(weights, data.of(test))[:, 0]
    reference = solve_independently(train, labels[:n], penalty)
    found = np.exp(scores - scores.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, reference.predict_proba(test), atol=5e-3)


def test_truncated_directions_change_the_steps_not_the_minimum(rng, monkeypatch):
    features, labels = make(rng, 150, 60)
    features, _ = probes.standardize(features, features)
    whole = logistic.rotate(features)
    monkeypatch.setattr(logistic, "_EXACT_SIDE", 30)
    monkeypatch.setattr(logistic, "LEADING", 10)
    part = logistic.rotate(features)
    assert whole.directions is None
    assert part.directions.shape == (60, 10)
    first, second = (
        logistic.predict(logistic.fit(data, labels, 3, 0.01), data.rows)
        for data in (whole, part)
    )
    np.testing.assert_allclose(
        first - first.mean(axis=2, keepdims=True),
        second - second.mean(axis=2, keepdims=True),
        atol=0.02,
    )


def test_folds_solved_at_once_are_those_solved_alone(rng):
    features, labels = make(rng, 120, 10)
    data = logistic.rotate(probes.standardize(features, features)[0])
    kept = probes.deal(labels, 3, 0)[:, None] != np.arange(3)
    together = logistic.predict(
        logistic.fit(data, labels, 3, 0.1, kept=kept), data.rows
    )
    for fold in range(3):
        part = data.select(kept[:, fold])
        alone = logistic.fit(part, labels[kept[:, fold]], 3, 0.1)
        expected = logistic.predict(alone, data.rows)[:, 0]
        difference = together[:, fold] - expected
        difference -= difference.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(difference, 0, atol=0.01)


def test_the_linear_probe_is_that_of_an_independent_solver(rng):
    """Converged: badly scaled spectra took the old one more steps than it had."""
    features, labels = make(rng, 500, 60, signal=0.15)
    features = features + 30 * rng.normal(size=(500, 1)).astype(np.float32)
    train, test = probes.standardize(features[:200], features[200:])
    found = probes.run_probe(
        "linear", features[:200], labels[:200], features[200:], labels[200:], 3
    )
    for seed, rows in enumerate(probes.draw_examples(np.zeros(200), 0, 3)):
        reference = solve_independently(
            train[rows], labels[rows], found.penalties[seed]
        )
        expected = reference.score(test, labels[200:])
        assert found.accuracy[seed] == pytest.approx(expected, abs=1.5 / 300)


def test_the_support_vector_machine_is_at_its_minimum(rng):
    """One class against the rest; of a mean loss, so that copies change nothing."""
    features, labels = make(rng, 300, 8)
    data = logistic.rotate(probes.standardize(features, features)[0])
    penalty, rows = 0.1, data.leading.astype(np.float64)
    predict = probes._train_svm(data, labels, penalty, 0)

    def loss(flat, sign):
        margins = sign * (rows @ flat[:-1] + flat[-1])
        short = np.maximum(0.0, 1.0 - margins)
        # The bias is a weight of a constant feature to liblinear, and penalized as one.
        value = 0.5 * flat @ flat + np.mean(short**2) / penalty
        slope = -2.0 * sign * short / (penalty * len(rows))
        return value, flat + np.append(slope @ rows, slope.sum())

    scores = []
    for k in range(3):
        sign = np.where(labels == k, 1.0, -1.0)
        start = np.zeros(rows.shape[1] + 1)
        found = minimize(loss, start, (sign,), jac=True, tol=1e-10).x
        scores.append(rows @ found[:-1] + found[-1])
    assert np.mean(predict(data.rows) == np.argmax(scores, axis=0)) > 0.99
    twice = data.select(np.arange(600) % 300)
    again = probes._train_svm(twice, labels[np.arange(600) % 300], penalty, 0)
    np.testing.assert_array_equal(again(data.rows), predict(data.rows))


def test_penalties_are_tried_to_the_end(rng):
    """Also large ones, whose gradient is small from the start: weak, wide features."""
    labels = np.arange(900) % 10
    means = 0.1 * rng.normal(size=(10, 60))
    features = (rng.normal(size=(900, 60)) + means[labels]).astype(np.float32)
    data = logistic.rotate(probes.standardize(features, features)[0])
    part = probes.deal(labels, 3, 0)
    attempts = probes.PROBES["linear"].attempts(data, labels, part, 0)
    for penalty, found, _ in itertools.islice(attempts, 3):
        expected = np.empty_like(found)
        for fold in range(3):
            train = part != fold
            model = solve_independently(data.rows[train], labels[train], penalty)
            expected[~train] = model.predict(data.rows[~train])
        assert np.mean(found == expected) > 0.9


def test_every_seed_draws_examples_of_its_own():
    for count, limit, size in ((100, 30, 30), (100, 0, 90), (100, 100, 90), (2, 0, 2)):
        drawn = probes.draw_examples(np.zeros(count), limit, 3)
        assert [len(np.unique(each)) for each in drawn] == [size] * 3
        assert all(each.max() < count for each in drawn)
    first, second, third = probes.draw_examples(np.zeros(1000), 100, 3)
    # Independent draws of a tenth have a tenth in common: 10 of 100, deviation 2.8.
    for a, b in ((first, second), (first, third), (second, third)):
        assert len(np.intersect1d(a, b)) < 10 + 5 * 2.8


def test_every_draw_has_each_class():
    """Of a rare one, too; draws that have them all are what they would be anyway."""
    labels = np.array([0] * 60 + [1, 2] + [3] * 60)
    for rows in probes.draw_examples(labels, 5, 20):
        assert len(rows) == 5
        assert set(labels[rows]) == {0, 1, 2, 3}
    plain = [
        np.sort(np.random.default_rng(seed + 1).permutation(120)[:40])
        for seed in range(3)
    ]
    both = np.arange(120) % 2
    np.testing.assert_array_equal(probes.draw_examples(both, 40, 3), plain)
    with pytest.raises(ValueError, match=r"at least 4 labelled .* Received: 3"):
        probes.draw_examples(labels, 3, 1)


def test_the_choice_counts_every_example_not_those_of_one_split(rng):
    """Noise beside weak features: each seed's choice is good on all examples."""
    features, labels = make(rng, 3000, 50, 5, signal=0.15)
    features = (features / features.std(axis=0)).astype(np.float32)
    train, test = features[:600], features[600:]
    found = probes.run_probe("linear", train, labels[:600], test, labels[600:], seeds=3)
    scaled, scaled_test = probes.standardize(train, test)
    for seed, rows in enumerate(probes.draw_examples(labels[:600], 0, 3)):
        reachable = max(
            solve_independently(scaled[rows], labels[rows], penalty).score(
                scaled_test, labels[600:]
            )
            for penalty in (1.0, 0.1, 0.01)
        )
        # Standard error of cross-validated accuracy on 540 examples: below 0.022.
        assert found.accuracy[seed] > reachable - 0.022


@pytest.mark.parametrize("name", probes.PROBES)
@pytest.mark.parametrize(
    "labels",
    [
        [0] * 30 + [1] * 30 + [7],  # one example
        [0] * 30 + [5, 5] + [9],  # two, and one
        [0, 1],
        list(range(12)),  # one each
        ["cat"] * 20 + ["dog"] * 20 + ["yak"],
    ],
)
def test_rare_classes_are_survived(rng, name, labels):
    labels = np.array(labels)
    _, classes = np.unique(labels, return_inverse=True)
    features = rng.normal(size=(len(labels), 4)) * 0.1
    features[:, 0] += classes
    features = features.astype(np.float32)
    strange = np.append(labels, np.array(["new"]) if labels.dtype.kind == "U" else 99)
    found = probes.run_probe(
        name, features, labels, np.append(features, features[:1], axis=0), strange, 2
    )
    for values in (found.accuracy, found.balanced):
        assert np.all((values >= 0) & (values < 1))  # one class was never seen


def test_a_classifier_to_keep_survives_rare_classes(rng):
    labels = np.array([3] * 40 + [5] * 40 + [11])
    features = 5.0 * (labels[:, None] == [3, 5, 11]) + rng.normal(size=(81, 3)) * 0.1
    weights, bias, values = probes.fit_linear(features.astype(np.float32), labels)
    np.testing.assert_array_equal(values, [3, 5, 11])
    found = values[(features @ weights + bias).argmax(axis=1)]
    assert np.mean(found == labels) > 0.98


def test_a_single_class_is_refused_in_words(rng):
    features, labels = rng.normal(size=(9, 2)).astype(np.float32), np.full(9, 4)
    with pytest.raises(ValueError, match=r"at least two .* Received: only 4"):
        probes.run_probe("linear", features, labels, features, labels)
    with pytest.raises(ValueError, match=r"at least two .* Received: only 4"):
        probes.fit_linear(features, labels)


def test_balanced_accuracy_is_the_mean_over_classes(rng):
    """Features that say nothing: the commonest class everywhere, 1/K balanced."""
    labels = np.array([0] * 90 + [1] * 10)
    features = np.zeros((100, 2), np.float32)
    for name in probes.PROBES:
        found = probes.run_probe(name, features, labels, features, labels, 2)
        np.testing.assert_allclose(found.accuracy, 0.9)
        np.testing.assert_allclose(found.balanced, 0.5)


def test_unbalanced_is_more_than_what_sampling_gives():
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = rng.integers(0, 10, 1000)
        assert not probes.describe_classes(drawn)["unbalanced"]
    found = probes.describe_classes(np.array([4] * 80 + [6] * 20))
    assert found == {"share": 0.8, "classes": 2, "unbalanced": True}
    # Too few for a test to tell, and 89 % of them are of one class.
    assert probes.describe_classes(np.array([0] * 8 + [1]))["unbalanced"]
    assert not probes.describe_classes(np.array([0, 0, 0, 1, 1]))["unbalanced"]
