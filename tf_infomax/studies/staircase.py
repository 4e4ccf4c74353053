"""The staircase: one critic, trained on while the information rises level by level.

Pairs are fresh draws of 20 correlated Gaussian pairs, a batch of 64 a step, 4,000 steps
a level, levels of 2, 4, 6, 8, 10 bits; all negatives of the batch. Two readings of each
estimator, both over the last quarter of a level:

* `batch`: the value on the training batch before the update, as in the literature;
* `held_out`: the value on `k` fresh pairs, by a running average of the weights. More
  candidates lift the ceiling of InfoNCE and lower the variance of all.

`mine_batch` is `mine` as public code has it, the published curves' included: no average
is kept, each step takes 0.9 + 0.1 E_q[e^f] of its batch, which ties E_q[e^f] to 1.

Sources: Poole et al. 2019; Song & Ermon 2020; published figures by Lee & Rhee 2024.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_infomax import bounds
from tf_infomax.data.synthetic import correlation_for
from tf_infomax.estimation.neural import critic_of
from tf_infomax.estimation.options import TrainOptions
from tf_infomax.optimizers import FusedAdam, share_of_newest
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import print_wide
from tf_infomax.runtime.seeds import seeded
from tf_infomax.studies import kept

LEVELS = tuple(bits * math.log(2.0) for bits in (2, 4, 6, 8, 10))
_DIM = 20
_AVERAGE = 0.995  # of the weights, per step
_LOOKS = 25  # held-out readings of the last quarter of a level


def _smile(scores: tf.Tensor, tau: float) -> tf.Tensor:
    """SMILE of a batch; tau = inf is DV."""
    return bounds.dv(_keep_positives(scores, tf.clip_by_value(scores, -tau, tau)))


def _keep_positives(scores: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The other matrix with the diagonal of the first."""
    return tf.linalg.set_diag(other, tf.linalg.diag_part(scores))


# Objective -> {estimator: scores -> value}; estimators that share a training share it.
READINGS: dict[str, dict[str, Callable]] = {
    "info_nce": {"info_nce": lambda s: bounds.info_nce(s, "y")},
    "nwj": {"nwj": bounds.nwj},
    "dv": {"dv": bounds.dv},
    "mine": {"mine": bounds.dv},
    "mine_batch": {"mine_batch": bounds.dv},
    "jsd": {
        "jsd": lambda s: bounds.nwj(s + 1.0),
        "smile_1": lambda s: _smile(s, 1.0),
        "smile_5": lambda s: _smile(s, 5.0),
        "smile_inf": bounds.dv,
        "density_ratio": lambda s: tf.reduce_mean(tf.linalg.diag_part(s)),
    },
}

# Bias and variance, nats, of the last 1,000 of 4,000 steps at each level, joint and
# separable critic of 2 x 256: computed from the curves that Lee & Rhee released.
_PUBLISHED = {
    "concatenated": {
        "info_nce": "-0.14/0.033 -0.47/0.040 -1.08/0.032 -1.95/0.021 -3.05/0.010",
        "nwj": "-0.08/0.042 -0.15/0.085 -0.29/0.213 -0.47/0.75 -1.24/4.84",
        "dv": "-0.08/0.043 -0.15/0.096 -0.30/1.03 +0.50/93 +349/8.5e5",
        "mine": "-0.08/0.044 -0.16/0.090 -0.32/0.22 -0.35/0.41 -0.40/0.73",
        "jsd": "-0.48/0.040 -0.57/0.075 -0.65/0.12 -0.71/0.19 -0.85/0.42",
        "smile_1": "+0.12/0.040 +0.26/0.082 +0.36/0.14 +0.43/0.18 +0.39/0.24",
        "smile_5": "-0.10/0.039 -0.13/0.075 -0.05/0.13 +0.18/0.18 +0.41/0.26",
        "smile_inf": "-0.10/0.038 -0.16/0.077 -0.20/0.16 -0.17/0.28 -0.17/0.54",
    },
    "separable": {
        "info_nce": "-0.23/0.032 -0.58/0.039 -1.20/0.034 -2.06/0.025 -3.14/0.013",
        "nwj": "-0.24/0.038 -0.69/0.15 -1.32/0.20 -1.96/0.27 -3.56/1.42",
        "dv": "-0.20/0.040 -0.47/0.087 -0.82/0.19 -1.19/0.50 -1.62/1.21",
        "mine": "-0.20/0.039 -0.50/0.078 -1.07/0.16 -1.86/0.26 -2.38/0.40",
        "jsd": "-0.64/0.038 -0.76/0.090 -1.00/0.39 -1.25/2.9 -3.34/2.4e3",
        "smile_1": "+0.03/0.043 +0.16/0.092 +0.20/0.15 +0.29/0.23 +0.42/0.33",
        "smile_5": "-0.24/0.037 -0.34/0.073 -0.31/0.14 -0.17/0.19 +0.13/0.28",
    },
}


def published_rmse(critic: str, estimator: str) -> list[float] | None:
    """RMSE per level of the published curves, or None."""
    row = _PUBLISHED.get(critic, {}).get(estimator.removesuffix("_batch"))
    if row is None:
        return None
    pairs = [tuple(map(float, cell.split("/"))) for cell in row.split()]
    return [math.sqrt(bias**2 + variance) for bias, variance in pairs]


@dataclass(frozen=True)
class Reading:
    """An estimator at one level.

    Attributes:
        estimator: its name; held_out: which reading.
        truth, bias, variance: nats.
    """

    estimator: str
    held_out: bool
    truth: float
    bias: float
    variance: float

    @property
    def rmse(self) -> float:
        """sqrt(bias^2 + variance)."""
        return math.sqrt(self.bias**2 + self.variance)


def climb_stairs(
    objective: str, options: TrainOptions, k: int, tell: Callable[[str], None]
) -> tuple[list[Reading], np.ndarray]:
    """Trains one critic up the stairs.

    Args:
        objective: a key of `READINGS`.
        options: critic, widths, batch size, learning rate, seed; `max_steps` are the
            steps of one level.
        k: held-out pairs.
        tell: hears of each level.

    Returns:
        Readings, and the values on the batches `[steps, estimators]`.
    """
    optimizer = FusedAdam(options.learning_rate)
    zeros = tf.zeros([options.batch_size, _DIM])
    with seeded(options.seed):
        critic = critic_of(options)
        critic((zeros, zeros))
    variables = critic.trainable_variables
    optimizer.build(variables)
    averages = [tf.Variable(v.value) for v in variables]
    log_average = tf.Variable(-math.inf)
    functions = READINGS[objective]

    def draw(rho, n, number, stream):
        noise = tf.random.stateless_normal(
            [2, n, _DIM], tf.stack([options.seed * 2 + stream, number])
        )
        return noise[0], rho * noise[0] + tf.sqrt(1.0 - rho**2) * noise[1]

    def measure(scores):
        return tf.stack([function(scores) for function in functions.values()])

    def value_of(scores):
        if objective == "mine":
            value, after = bounds.mine(scores, log_average.read_value())
            log_average.assign(after)
            return value
        if objective == "mine_batch":
            return bounds.mine(scores, tf.zeros([]))[0]
        bound = bounds.BOUNDS[objective].function
        return bound(scores)

    @tf.function
    def run(rho, first, count):
        history = tf.TensorArray(tf.float32, count)
        for index in tf.range(count):
            x, y = draw(rho, options.batch_size, first + index, 0)
            with tf.GradientTape() as tape:
                scores = critic((x, y), training=True)
                lost = -value_of(scores)
            history = history.write(index, measure(scores))
            optimizer.apply(tape.gradient(lost, variables), variables)
            share = tf.cast(share_of_newest(_AVERAGE, first + index + 1), tf.float32)
            for average, variable in zip(averages, variables, strict=True):
                average.assign_sub(share * (average - variable.value))
        return history.stack()

    @tf.function
    def read(rho, number):
        return measure(critic(draw(rho, k, number, 1)))

    def read_averaged(rho, number):
        own = critic.get_weights()
        critic.set_weights([average.numpy() for average in averages])
        values = read(rho, number).numpy()
        critic.set_weights(own)
        return values

    steps, curves, readings = options.max_steps, [], []
    quarter = max(_LOOKS, steps // 4)
    for level, truth in enumerate(LEVELS):
        rho, first = tf.constant(correlation_for(truth, _DIM)), level * steps
        curves.append(_run(run, rho, first, steps - quarter))
        held_out, position = [], first + steps - quarter
        for _ in range(_LOOKS):
            count = quarter // _LOOKS
            curves.append(_run(run, rho, position, count))
            position += count
            held_out.append(read_averaged(rho, tf.constant(position)))
        on_batches = np.concatenate(curves)[-(quarter // _LOOKS) * _LOOKS :]
        for kind, values in ((False, on_batches), (True, np.stack(held_out))):
            readings += [
                Reading(
                    name,
                    kind,
                    truth,
                    float(column.mean() - truth),
                    float(column.var()),
                )
                for name, column in zip(
                    functions, values.astype(np.float64).T, strict=True
                )
            ]
        shown = ", ".join(
            f"{r.estimator} {r.truth + r.bias:.2f}" for r in readings[-len(functions) :]
        )
        tell(f"staircase {objective}, truth {truth:.2f}: {shown}")
    return readings, np.concatenate(curves)


def _run(function, rho, first: int, count: int) -> np.ndarray:
    return function(rho, tf.constant(first), tf.constant(count)).numpy()


def run(
    objectives: Iterable[str],
    options: TrainOptions,
    k: int,
    output: Path | None,
    tell: Callable[[str], None],
    seeds: int = 1,
) -> tuple[list[Reading], dict[str, np.ndarray]]:
    """All objectives; each run is written to `output` when done and not repeated.

    Args:
        objectives: keys of `READINGS`.
        options, k, tell: as for `climb_stairs`.
        output: a folder, or None.
        seeds: runs of each objective, from the seed of the options on.

    Returns:
        Readings, pooled over the seeds, and {estimator: values on the batches of the
        first}.
    """
    readings, curves = [], {}
    for objective in objectives:
        runs = []
        for seed in range(options.seed, options.seed + seeds):
            each = replace(options, seed=seed)
            runs.append(_run_once(objective, each, k, output, tell))
        found = [pool(same) for same in zip(*(run[0] for run in runs), strict=True)]
        readings += found
        curves |= dict(zip(READINGS[objective], runs[0][1].T, strict=True))
    return readings, curves


def _run_once(objective: str, options: TrainOptions, k: int, output, tell):
    """`climb_stairs`, or what a former start has written of it."""
    name = f"staircase-{options.critic}-{objective}-seed{options.seed}.json"
    path, settings = output and output / name, {**asdict(options), "k": k}
    if content := kept.read(path, settings, "--output"):
        found = [Reading(**each) for each in content["readings"]]
        return found, np.array(content["curve"]).T
    found, values = climb_stairs(objective, options, k, tell)
    kept.write(
        path,
        settings,
        readings=[asdict(each) for each in found],
        curve=np.round(values.astype(float), 4).T.tolist(),
    )
    return found, values


def pool(readings: Sequence[Reading]) -> Reading:
    """Of several runs as one: bias and variance of all values about their mean."""
    bias = float(np.mean([each.bias for each in readings]))
    spread = [each.variance + (each.bias - bias) ** 2 for each in readings]
    return replace(readings[0], bias=bias, variance=float(np.mean(spread)))


def print_table(readings: list[Reading], critic: str) -> None:
    """RMSE per level: published, on batches, held out."""
    from rich.table import Table

    table = Table(title=f"staircase, {critic} critic: RMSE, nats", title_justify="left")
    table.add_column("estimator")
    table.add_column("reading")
    for truth in LEVELS:
        table.add_column(f"{truth:.2f}", justify="right")
    for name in dict.fromkeys(each.estimator for each in readings):
        rows = [("batch", False), ("held out", True)]
        if published := published_rmse(critic, name):
            table.add_row(name, "published", *(f"{rmse:.2f}" for rmse in published))
        for label, held_out in rows:
            cells = [
                f"{r.rmse:.2f} ({r.bias:+.2f})"
                for r in readings
                if r.estimator == name and r.held_out == held_out
            ]
            table.add_row(name, label, *cells)
        table.add_section()
    print_wide(table)


def draw_figure(
    readings: list[Reading], curves: dict[str, np.ndarray], k: int, batch: int, path
) -> None:
    """A panel per estimator: batch values, their running mean, held-out readings."""
    from matplotlib.figure import Figure

    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(3.7 * columns, 2.7 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, sharex=True, sharey=True))
    for panel in panels[len(curves) :]:
        panel.set_visible(False)
    for panel, (name, curve) in zip(panels, curves.items(), strict=False):
        steps = len(curve) // len(LEVELS)
        shown = np.clip(curve, -5.0, 30.0)
        width = max(1, steps // 40)
        add_up = lambda values, w=width: np.convolve(values, np.ones(w), "same")
        smooth = add_up(shown) / add_up(np.ones(len(shown)))
        panel.plot(shown, lw=0.3, alpha=0.35, color="C0")
        panel.plot(smooth, color="C0", label=f"batch of {batch}")
        found = [r for r in readings if r.estimator == name and r.held_out]
        for level, reading in enumerate(found):
            ends = (level + 0.75) * steps, (level + 1) * steps
            label = None if level else f"{k} held-out pairs"
            panel.plot(
                ends, [reading.truth + reading.bias] * 2, "C1", lw=3, label=label
            )
            panel.plot(
                [level * steps, ends[1]], [reading.truth] * 2, color="0.2", ls="--"
            )
        if name == "info_nce":
            panel.axhline(math.log(batch), color="C0", ls=":", lw=1)
            panel.axhline(math.log(k), color="C1", ls=":", lw=1)
        panel.set(title=name, ylim=(-0.5, 11.0))
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    figure.supxlabel("step (dashed: truth; dotted: log K)", fontsize="small")
    figure.supylabel("nats", fontsize="small")
    with replacing(path) as file:
        figure.savefig(file, dpi=100)
