"""What every objective owes: a row of `objective_rows.ROWS` is held to all of it."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import ROWS, build, make_batch

from tf_infomax.training.checkpoints import load_checkpoint, save_checkpoint

KINDS = {"mi", "divergence", "score", "loss", "accuracy"}
every_objective = pytest.mark.parametrize("name", ROWS)


def fit(objective, steps: int, epochs: int = 1) -> dict[str, list]:
    batches = tf.data.Dataset.from_tensors(make_batch(objective)).repeat(steps)
    return objective.fit(batches, epochs=epochs, verbose=0, shuffle=False).history


def values_of(variables: dict) -> dict[str, np.ndarray]:
    return {name: np.array(variable) for name, variable in variables.items()}


def weights_of(objective) -> dict[str, np.ndarray]:
    """The trained weights of all networks, by role."""
    return {
        f"{role}/{place}": np.array(variable, np.float32)
        for role, network in objective.networks.items()
        for place, variable in enumerate(network.trainable_variables)
    }


def move_alone(objective, player: str) -> dict[str, np.ndarray]:
    """By how much each weight moves in the first step that this player alone does.

    In float16 it comes after those that only find out the scale of the loss.
    """
    rates = {p: float(o.learning_rate) for p, o in objective.optimizers.items()}
    for other in set(rates) - {player}:
        objective.optimizers[other].learning_rate = 0.0
    before, batch = weights_of(objective), make_batch(objective)
    for _ in range(20):
        objective.step.assign(0)
        objective.train_step(batch)
        moved = {n: v - before[n] for n, v in weights_of(objective).items()}
        if any(np.any(v) for v in moved.values()):
            break
    for each, rate in rates.items():
        objective.optimizers[each].learning_rate = rate
    return moved


def computes_in(objective, player: str) -> set[str]:
    """The types in which layers with weights of this player's compute."""
    trained = {id(v) for v in objective.variables_of(player)}
    return {
        layer.compute_dtype
        for role in objective.players[player]
        for layer in objective.networks[role]._flatten_layers()
        if trained & {id(v) for v in layer._trainable_variables}
    }


def roles_of(player: str, objective, names) -> set[str]:
    roles = objective.players[player]
    return {name for name in names if name.rpartition("/")[0] in roles}


@pytest.fixture(scope="module")
def plain():
    """name -> history and weights of eight steps, one at a call, without XLA."""
    found = {}

    def train(name):
        if name not in found:
            objective = build(name)
            found[name] = fit(objective, 8), weights_of(objective)
        return found[name]

    return train


@every_objective
def test_the_loss_of_each_player_falls(name):
    objective = build(name, "adam")
    first, *others = objective.players
    assert ROWS[name].losses.keys() == set(others)
    for player, loss in {first: "loss", **ROWS[name].losses}.items():
        for each, optimizer in objective.optimizers.items():
            optimizer.learning_rate = 0.01 if each == player else 0.0
        losses = fit(objective, steps=15, epochs=3)[loss]
        assert losses[-1] < losses[0], player


@every_objective
def test_a_player_moves_all_its_weights_and_no_others(name):
    objective = build(name, rate=0.1)
    owned = [id(v) for p in objective.players for v in objective.variables_of(p)]
    assert sorted(owned) == sorted(id(v) for v in objective.trainable_variables)
    for player in objective.players:
        moved = move_alone(objective, player)
        changed = {name for name, value in moved.items() if np.any(value)}
        assert changed == roles_of(player, objective, moved)


@every_objective
def test_resumed_from_a_checkpoint_the_steps_are_the_same_to_the_bit(name, tmp_path):
    objective, path = build(name, "adam", dropout=0.3), tmp_path / "c.npz"
    batch = make_batch(objective)
    for _ in range(3):
        objective.train_step(batch)
    save_checkpoint(path, objective.state(), {"step": 3})
    fresh = build(name, "adam", dropout=0.3)
    fresh.train_step({k: tf.reverse(v, [0]) for k, v in batch.items()})
    load_checkpoint(path, fresh.state())
    for _ in range(2):
        one, other = (values_of(o.train_step(batch)) for o in (objective, fresh))
        assert one == other
    one, other = (values_of(o.state()) for o in (objective, fresh))
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key], err_msg=key)


@every_objective
def test_statistics_and_seeds_move_in_training_and_not_in_test(name):
    objective = build(name, dropout=0.3)
    batch = make_batch(objective)
    noted = ("moving_mean", "moving_variance", "seed_generator_state")
    start = values_of(objective.state())
    tests = [values_of(objective.measure(batch)) for _ in range(2)]
    assert tests[0] == tests[1]
    after = values_of(objective.state())
    assert all(np.array_equal(start[key], after[key]) for key in start)
    objective.train_step(batch)
    after = values_of(objective.state())
    moving = [key for key in start if key.endswith(noted)]
    assert {key.rpartition("/")[2] for key in moving} == set(noted)
    assert not any(np.array_equal(start[key], after[key]) for key in moving)


@every_objective
def test_a_regularizer_of_the_encoder_counts(name):
    """Of SGD with rate r and a penalty c |W|^2 the step has -2 r c W more."""
    with_it, without = build(name, l2=0.5), build(name)
    kernel = weights_of(without)["encoder/0"]
    moved = [move_alone(o, "encoder")["encoder/0"] for o in (with_it, without)]
    np.testing.assert_allclose(moved[0] - moved[1], -0.01 * kernel, atol=1e-6)


@every_objective
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_in_half_precision_each_player_does_about_the_same_step(name, policy, request):
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
    whole = build(name)
    expected = {p: move_alone(whole, p) for p in whole.players}
    keras.config.set_dtype_policy(policy)
    half = build(name)
    for player, optimizer in half.optimizers.items():
        scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        assert scales == ("float16" in computes_in(half, player)), player
    for player, there in expected.items():
        here = move_alone(half, player)
        step, wanted = (
            np.concatenate([moved[key].ravel() for key in sorted(there)])
            for moved in (here, there)
        )
        error = np.linalg.norm(step - wanted) / np.linalg.norm(wanted)
        assert error < 0.15, player
    measured = half.measure(make_batch(half))
    assert all(np.isfinite(value) for value in measured.values())
    assert all(value.dtype == tf.float32 for value in measured.values())


@every_objective
def test_several_steps_per_call_are_the_same_steps(name, plain):
    objective = build(name)
    objective.steps_per_execution = 3
    history = fit(objective, 8)
    assert int(objective.step) == 8
    assert_same_training(plain(name), (history, weights_of(objective)), 1e-5)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.xla])
def test_xla_does_the_same_steps(name, plain):
    objective = build(name)
    objective.jit_compile = True
    history = fit(objective, 8)
    assert_same_training(plain(name), (history, weights_of(objective)), 1e-3)


def assert_same_training(one, other, tolerance: float) -> None:
    (history, weights), (other_history, other_weights) = one, other
    for found, wanted in ((other_history, history), (other_weights, weights)):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            np.testing.assert_allclose(
                found[key], value, rtol=tolerance, atol=tolerance, err_msg=key
            )


@every_objective
def test_reloaded_whole_from_a_keras_file(name, tmp_path):
    objective = build(name, "adam")
    batch = make_batch(objective)
    for _ in range(2):
        objective.train_step(batch)
    objective.save(tmp_path / "objective.keras")
    loaded = keras.models.load_model(tmp_path / "objective.keras")
    one, other = (values_of(o.state()) for o in (objective, loaded))
    assert one.keys() == other.keys()
    for key, value in one.items():
        if not key.startswith("metrics/"):
            np.testing.assert_array_equal(value, other[key], err_msg=key)
    for key, value in objective.measure(batch).items():
        np.testing.assert_allclose(loaded.measure(batch)[key], value, rtol=1e-6)
    assert loaded.describe() == objective.describe()


@every_objective
def test_it_reports_what_it_names(name):
    objective = build(name)
    batch = make_batch(objective)
    logs, found = objective.train_step(batch), objective.measure(batch)
    assert logs.keys() == {"loss", *objective.step_values}
    assert found.keys() >= {"loss", *objective.values}
    assert set(objective.shown) <= logs.keys()
    values = {key: float(found[key]) for key in ("loss", *objective.values)}
    for key, value in objective.values.items():
        told = value.describe(len(batch["x"]))
        assert told["kind"] in KINDS
        assert told["measures"]
        assert told["ceiling"] is None or values[key] <= told["ceiling"] + 1e-5
    assert np.isfinite(objective.merit(values))
    assert all(isinstance(text, str) for text in objective.describe_collapse(values))


@every_objective
def test_its_description_is_json_and_true(name):
    objective = build(name)
    told = json.loads(json.dumps(objective.describe()))
    counts = {r: n.count_params() for r, n in objective.networks.items()}
    assert told["networks"] == counts
    assert told.items() >= ROWS[name].facts.items()


_TWO_DEVICES = """
    import tf_infomax
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import keras, numpy as np
    from objective_rows import ROWS, build, make_batch
    from tf_infomax.optimizers import FusedAdam

    def train(name, strategy):
        with strategy.scope():
            objective = build(name)
            adam = {p: FusedAdam(1e-3, epsilon=1e-2) for p in objective.players}
            sgd = {next(iter(adam)): keras.optimizers.SGD(0.01)}
            objective.compile(adam | sgd)
        batch = make_batch(objective, 16)
        batches = tf.data.Dataset.from_tensor_slices(batch).batch(8, True)
        found = objective.fit(batches, epochs=2, verbose=0, shuffle=False).history
        state = {n: np.asarray(v) for n, v in objective.state().items()
                 if not n.startswith("metrics/")}  # sums of what each device counts
        return found | state

    # Of one strategy only: a second one's collective operations would clash with it.
    single = tf.distribute.OneDeviceStrategy("CPU:0")
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert mirrored.num_replicas_in_sync == 2
    for name in ROWS:
        one, two = train(name, single), train(name, mirrored)
        assert one.keys() == two.keys()
        for key in one:
            np.testing.assert_allclose(
                two[key], one[key], 1e-5, 1e-5, err_msg=f"{name}: {key}")
    print("equal")
"""


def test_two_devices_equal_one():
    """Weights, statistics and values: draws, masks and means are of the whole batch."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_TWO_DEVICES)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.stdout.strip().endswith("equal"), result.stderr[-3000:]
