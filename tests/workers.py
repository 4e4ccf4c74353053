"""One of two processes that train small objectives together, for the tests.

Usage: python tests/workers.py RANK PORT PORT NAME ...

Each is trained by both, and by this process alone; ends with "equal" if weights,
statistics and values are the same.
"""

import json
import os
import sys

STEPS, BATCH, IMAGES = 20, 8, 16


def train(name: str, strategy, rows: slice) -> dict:
    """All values of the last step, and the state after it."""
    import keras
    import numpy as np
    import tensorflow as tf
    from objective_rows import build, make_batch

    from tf_infomax.optimizers import FusedAdam

    with strategy.scope():
        objective = build(name)
        adam = {p: FusedAdam(1e-3, epsilon=1e-2) for p in objective.players}
        sgd = {next(iter(adam)): keras.optimizers.SGD(0.01)}
        objective.compile(adam | sgd)
        objective.shares_values = True
    images = make_batch(objective, IMAGES)

    @tf.function(autograph=False)
    def step(batch):
        logs = strategy.run(objective.train_step, (batch,))
        return tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], logs
        )

    for number in range(STEPS):
        chosen = np.arange(number * BATCH, (number + 1) * BATCH)[rows] % IMAGES
        logs = step({view: tf.gather(each, chosen) for view, each in images.items()})
    state = {
        key: np.asarray(variable)
        for key, variable in objective.state().items()
        if not key.startswith("metrics/")
    }
    return {key: value.numpy() for key, value in logs.items()} | state


def main(rank: str, *rest: str) -> None:
    ports, names = rest[:2], rest[2:]
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    task = {"type": "worker", "index": int(rank)}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    import numpy as np
    import tensorflow as tf

    from tf_infomax.runtime.cluster import read_place

    tf.get_logger().setLevel("ERROR")
    both = tf.distribute.MultiWorkerMirroredStrategy()
    own = slice(*read_place().part_of(BATCH))
    for name in names:
        two = train(name, both, own)
        one = train(name, tf.distribute.get_strategy(), slice(None))
        assert one.keys() == two.keys()
        for key in one:
            np.testing.assert_allclose(
                two[key], one[key], 1e-5, 1e-5, err_msg=f"{name}: {key}"
            )
    print("equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
