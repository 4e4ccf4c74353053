"""The loop: division into calls of fit, checkpoints, choice of the best."""

import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_infomax
from tf_infomax.data.batches import draw_batches
from tf_infomax.data.images import ImageSet
from tf_infomax.options import Config, ConfigError
from tf_infomax.training import experiment
from tf_infomax.training import run as training
from tf_infomax.training.checkpoints import load_checkpoint, save_checkpoint
from tf_infomax.training.workdir import WorkDirectory


@pytest.mark.parametrize("start", range(0, 24, 5))
@pytest.mark.parametrize("steps", [23, 24])
def test_segments_cover_every_step_once_and_end_at_epochs(start, steps):
    step = start
    for first, last, length in training.segments(start, 6, steps):
        assert first == step
        assert (last - first) % length == 0
        assert last % 6 == 0 or last == steps
        if last - first > 6:
            assert first % 6 == 0
            assert length == 6
        step = last
    assert step == max(start, steps)


def make_data(n=64, labels=True):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    x = (rng.integers(0, 120, (n, 32, 32, 3)) + 100 * y[:, None, None, None]).astype(
        "u1"
    )
    part = ImageSet(x, y if labels else None)
    probe = part if labels else None
    held_out = part.select(np.arange(32))
    online = (probe, held_out if labels else None)
    return experiment.Data(part, held_out, probe, probe, part, *online)


def make_run(tmp_path, data=None, **options):
    options = {
        "steps": 8, "batch_size": 16, "critic_units": 8, "encoder": "half_convnet",
        "progress": "none", "schedule": "constant", **options,
    }  # fmt: skip
    config = Config(workdir=str(tmp_path), **options)
    workdir = WorkDirectory(config.workdir)
    workdir.check(config)
    run = training.Run(config, workdir, data or make_data())
    workdir.claim(config)
    return run


def test_signal_within_an_epoch_then_resumed_gives_the_same_numbers(tmp_path):
    """Also the running means of the divided epoch, in metrics.jsonl."""
    whole = make_run(tmp_path / "whole")
    training.train(whole)

    divided = make_run(tmp_path / "divided")
    original = training.Keeper.on_train_batch_end

    def interrupt(self, batch, logs=None):
        if self.run.step == 5:  # the sixth step: epochs have four
            self.run.stopped = "SIGTERM"
        original(self, batch, logs)

    training.Keeper.on_train_batch_end = interrupt
    try:
        training.train(divided)
    finally:
        training.Keeper.on_train_batch_end = original
    assert divided.step == 6
    assert len(divided.rows) == 1

    resumed = make_run(tmp_path / "divided")
    assert resumed.step == 6
    training.train(resumed)
    for one, other in zip(whole.rows, resumed.rows, strict=True):
        for name in set(one) - {"seconds"}:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, err_msg=name)


def test_several_steps_at_a_call_need_not_divide_the_run(tmp_path):
    """Nor what is left of an epoch that a shorter run has ended in."""
    options = {"online_probe": "none"}
    single = make_run(tmp_path / "single", steps=8, **options)
    training.train(single)
    several = {"steps_per_execution": 3, **options}
    first = make_run(tmp_path / "several", steps=4, **several)
    training.train(first)
    assert (first.step, int(first.objective.step)) == (4, 4)
    second = make_run(tmp_path / "several", steps=8, **several)
    training.train(second)
    assert (second.step, int(second.objective.step)) == (8, 8)
    pairs = zip(*(r.objective.get_weights() for r in (single, second)), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("best", ["probe", "bound"])
def test_best_checkpoint_is_the_best_row(tmp_path, best):
    run = make_run(tmp_path, best=best, steps=16)
    training.train(run)
    name = "probe/knn" if best == "probe" else "validation/score/local"
    values = [row[name] for row in run.rows]
    assert run.state["best"] == pytest.approx(max(values), rel=1e-6)
    run.restore("best")
    assert run.step == run.rows[int(np.argmax(values))]["step"]


def test_labels_never_reach_the_gradient(tmp_path):
    """The same images with and without labels train the same weights."""
    with_labels = make_run(tmp_path / "a", make_data())
    without = make_run(tmp_path / "b", make_data(labels=False))
    for run in (with_labels, without):
        training.train(run)
    assert "probe/knn" in with_labels.rows[-1]
    assert "probe/knn" not in without.rows[-1]
    weights = [r.objective.encoder.get_weights() for r in (with_labels, without)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_what_was_saved_is_loaded_by_its_path(tmp_path):
    run = make_run(tmp_path / "run", online_probe="none")
    training.train(run)
    images = run.data.test.images[:4]
    run.objective.save(tmp_path / "objective.keras")
    codes = run.objective.predict(images, verbose=0)["code"]
    for name in ("run", "run/encoder.keras", "objective.keras"):
        loaded = tf_infomax.load(tmp_path / name)
        found = loaded.predict(images, verbose=0)["code"]
        np.testing.assert_allclose(found, codes, rtol=1e-4, atol=1e-5)
    (tmp_path / "cut.keras").write_bytes(b"PK")
    for name, words in (("no", "Received"), ("cut.keras", "cannot be read")):
        with pytest.raises(ConfigError, match=words):
            tf_infomax.load(tmp_path / name)


def test_changed_images_are_refused(tmp_path):
    training.train(make_run(tmp_path))
    other = make_data()
    other.train.images[0] += 1
    with pytest.raises(ConfigError, match=r"images.*have changed"):
        make_run(tmp_path, other)


def test_checkpoint_round_trip_and_refusals(tmp_path):
    variables = [keras.Variable(np.arange(4.0)), keras.Variable(3, dtype="int64")]
    path = tmp_path / "c.npz"
    save_checkpoint(path, variables, {"step": 2})
    fresh = [keras.Variable(np.zeros(4)), keras.Variable(0, dtype="int64")]
    assert load_checkpoint(path, fresh) == {"step": 2}
    np.testing.assert_array_equal(fresh[0].numpy(), np.arange(4.0))
    assert fresh[1].numpy() == 3
    with pytest.raises(ConfigError, match="another model"):
        load_checkpoint(path, fresh[:1])
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ConfigError, match="cannot be read"):
        load_checkpoint(path, fresh)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.npz"]


def test_every_variable_of_a_step_is_in_the_checkpoint(tmp_path):
    run = make_run(tmp_path, ema=0.9)
    objective = run.objective
    kept = {id(v) for v in run.variables.values()}
    assert {id(v) for v in objective.variables} <= kept
    assert objective.players.keys() == {"encoder", "prior"}
    for player, optimizer in objective.optimizers.items():
        assert {id(v) for v in optimizer.variables} <= kept
        adam = 2 * len(objective.variables_of(player)) + 2  # iterations, rate
        assert len(optimizer.variables) == adam


@pytest.mark.parametrize(("steps", "times"), [(4, 1), (20, 2)])
def test_collapse_that_lasts_is_told(steps, times, tmp_path, capsys):
    """Of four steps an epoch: at the end; of five epochs after the second as well."""
    run = make_run(tmp_path, steps=steps, progress="lines", gamma=0.0)
    code = run.objective.networks["encoder"].get_layer("code")
    for variable in (code.kernel, code.bias):
        variable.assign(tf.zeros_like(variable))
    run.objective.optimizer.learning_rate = 0.0
    training.train(run)
    assert capsys.readouterr().err.count("warning: the codes hardly vary") == times


@pytest.mark.parametrize(
    ("options", "objective_terms"),
    [
        (
            dict(
                objective="dim_global",
                global_critic="global_dot",  # has layers of such an encoder
                encoder="basic32x32",
            ),
            ["global"],
        ),
        (dict(objective="dim_local_global", bound="dv"), ["global", "local"]),
        (
            dict(views="augment", augment=("flip",), gamma=0.0),
            ["local_xy", "local_yx"],
        ),
        (
            dict(
                local_critic="concat_and_convolve",
                bound="jsd",
                clip_norm=1.0,
                warmup_steps=2,
                schedule="cosine",
            ),
            ["local"],
        ),
        (
            dict(prior="sphere", negatives="same_location", steps_per_execution=2),
            ["local"],
        ),
        (dict(jit_compile=True), ["local"]),
        (dict(mixed_precision="bfloat16"), ["local"]),
        (
            dict(objective="dim_global", occlude=True, strategy="mirrored", bound="dv"),
            ["global"],
        ),
        (
            dict(
                objective="dim_local_global",
                coordinates="both",
                occlude=True,
                views="augment",
                augment=("flip",),
                mixed_precision="float16",
                ema=0.9,
            ),
            ["global_xy", "global_yx", "local_xy", "local_yx"],
        ),
    ],
)  # fmt: skip
def test_every_objective_runs_from_its_options(
    tmp_path, options, objective_terms, request
):
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
    run = make_run(tmp_path, steps=4, **options)
    training.train(run)
    assert [term.name for term in run.objective.terms] == objective_terms
    assert all(np.isfinite(run.rows[-1][name]) for name in objective_terms)
    assert run.objective.step.numpy() == 4


def test_learning_rates():
    def rates(**options):
        rate = experiment.build_learning_rate(Config(learning_rate=1.0, **options), 100)
        return [float(rate(k)) if callable(rate) else rate for k in (0, 5, 10, 55, 100)]

    assert rates(schedule="constant") == [1.0] * 5
    np.testing.assert_allclose(rates()[::4], [1, 0], atol=1e-6)
    np.testing.assert_allclose(
        rates(schedule="constant", warmup_steps=10), [0, 0.5, 1, 1, 1], atol=1e-6
    )
    both = rates(schedule="cosine", warmup_steps=10)
    np.testing.assert_allclose(both, [0, 0.5, 1, 0.5, 0], atol=1e-6)


def test_gradient_clipping_and_adam_reach_the_optimizer():
    config = Config(clip_norm=0.5, beta_1=0.5, beta_2=0.9, learning_rate=0.1)
    optimizer = experiment.build_optimizer(config, 10)
    assert optimizer.global_clipnorm == 0.5
    assert (optimizer.beta_1, optimizer.beta_2) == (0.5, 0.9)


def test_epochs_are_whole_executions():
    assert experiment.count_steps(Config(epochs=3, batch_size=16), 100) == (6, 18)
    config = Config(epochs=2, batch_size=16, steps_per_execution=4)
    assert experiment.count_steps(config, 100) == (8, 16)
    config = Config(steps=10, batch_size=16, steps_per_execution=4)
    assert experiment.count_steps(config, 100) == (8, 10)


MARK = 255  # first pixel of an image that nothing else in these data has


def break_run(run, what: str, least: int = 1) -> None:
    """Steps with `least` marked images or more lose their loss, or a gradient."""
    objective, original = run.objective, run.objective.step_losses
    weight = objective.networks["encoder"].trainable_variables[0]

    def step_losses(batch, seed):
        losses, values = original(batch, seed)
        marks = tf.reduce_sum(tf.cast(batch["x"][:, 0, 0, 0] == MARK, tf.int32))
        nothing = 0.0 * tf.reduce_sum(weight.value)
        broken = {"loss": lambda: nothing + np.nan, "gradient": lambda: nothing**0.5}
        extra = tf.cond(marks >= least, broken[what], lambda: nothing)
        return {**losses, "encoder": losses["encoder"] + extra}, values

    objective.step_losses = step_losses


def mark(data, rows):
    images = data.train.images.copy()
    images[list(rows), 0, 0, 0] = MARK
    return replace(data, train=replace(data.train, images=images))


def batches_of(order, steps):
    drawn = draw_batches(64, 16, 0, steps, order)
    return [set(rows.tolist()) for _, rows in drawn.as_numpy_iterator()]


class TestFaults:
    @pytest.mark.parametrize("what", ["loss", "gradient"])
    def test_skipped_steps_change_nothing(self, what, tmp_path, capsys):
        data = mark(make_data(), [9])
        run = make_run(tmp_path, data, on_nan="skip")
        break_run(run, what)
        before = []

        class Watch(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                before.append(run.objective.networks["encoder"].get_weights()[0])

        shown = training.Progress(run.until, 0, "none", "step")
        training.fit_until_signal(run, shown, [Watch()])
        faulty = [k for k, rows in enumerate(batches_of(0, 8)) if 9 in rows]
        assert len(faulty) == 2
        for step in range(1, 8):
            same = np.array_equal(before[step - 1], before[step])
            assert same == (step in faulty)
        assert run.state["skipped"] == 2
        assert run.describe_faults() == ["2 of 8 steps were not finite, and skipped"]
        assert all(np.isfinite(row["loss"]) for row in run.rows)
        assert (
            f"not finite in step {faulty[0]} (training images"
            in capsys.readouterr().err
        )
        assert make_run(tmp_path, data, on_nan="skip").state["skipped"] == 2

    def test_a_run_of_faults_alone_ends(self, tmp_path):
        run = make_run(tmp_path, mark(make_data(), range(64)), on_nan="skip", steps=40)
        break_run(run, "loss")
        with pytest.raises(training.TrainingError, match="were not finite"):
            training.train(run)

    @pytest.mark.parametrize("what", ["loss", "gradient"])
    def test_a_run_that_stops_names_step_and_images(self, what, tmp_path):
        batches = batches_of(0, 8)
        first = min(batches[5] - batches[0])
        data = mark(make_data(), [first])
        data = replace(data, train=replace(data.train, names=tuple("abcdefgh" * 8)))
        run = make_run(tmp_path, data, on_nan="stop")
        break_run(run, what)
        (step,) = (k for k, rows in enumerate(batches[:4]) if first in rows)
        words = "no longer finite"
        if what == "loss":
            words += rf" in step {step} \(training images [a-h], .* and 12 more\)"
        with pytest.raises(training.TrainingError, match=words):
            training.train(run)

    def test_a_restored_run_takes_its_images_in_another_order(self, tmp_path, capsys):
        """To the same weights, whether or not it is stopped on its way."""
        order = 1_000_003
        met = batches_of(0, 4) + batches_of(order, 8)[4:]
        pairs = itertools.combinations(sorted(batches_of(0, 8)[6]), 2)
        pair = next(p for p in pairs if not any(set(p) <= rows for rows in met))
        data, ends = mark(make_data(), pair), []
        for name, stop in (("whole", None), ("divided", 7)):
            run = make_run(tmp_path / name, data, on_nan="restore")
            break_run(run, "loss", least=2)
            if stop:
                run.until = 7
                training.train(run)
                run = make_run(tmp_path / name, data, on_nan="restore")
                break_run(run, "loss", least=2)
            training.train(run)
            assert run.step == 8
            assert run.state["detours"] == 1
            assert [row["step"] for row in run.rows][-1] == 8
            ends.append(run.objective.networks["encoder"].get_weights())
        assert (
            "back to step 4, and on with the images in another"
            in capsys.readouterr().err
        )
        for one, other in zip(*ends, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_going_back_ends(self, tmp_path):
        """Before a first checkpoint, and after three times."""
        run = make_run(tmp_path / "early", mark(make_data(), [9]), on_nan="restore")
        break_run(run, "loss")
        with pytest.raises(training.TrainingError, match="nothing saved"):
            training.train(run)
        run = make_run(tmp_path / "late", mark(make_data(), [9]), on_nan="restore")
        run.save("last")
        break_run(run, "loss")
        with pytest.raises(training.TrainingError, match="after 3 other orders"):
            training.train(run)
        assert run.state["detours"] == 3
