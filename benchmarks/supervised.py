"""The reference with labels: the same network, trained as the flagfile trains.

Usage: python benchmarks/supervised.py [--flagfile=FILE] [--seeds=3] [--FLAG=VALUE ...]

The encoder of the flagfile (configs/dim.flags) with a linear layer on the ReLU of its
code, cross-entropy, and all else as there: images, batches, augmentation, optimizer,
schedule, steps. Prints the accuracy on test images after the last step, each seed and
mean ± sd in per cent. Nothing is chosen: there is no early stop. All labels of the
training images are used.
"""

import statistics
import sys
import time

import absl.flags
from processor import print_processor

from tf_infomax import flags
from tf_infomax.options import Config

FLAGFILE = "configs/dim.flags"


def train(config: Config, data) -> float:
    """Accuracy on test images of one network trained with labels."""
    import keras
    import tensorflow as tf

    from tf_infomax import experiment
    from tf_infomax.data.batches import make_batches

    labels, targets = (tf.constant(part.labels) for part in (data.train, data.test))
    _, steps = experiment.count_steps(config, len(data.train))
    keras.utils.set_random_seed(config.seed)
    encoder = experiment.build_encoder(config, data.train.image_shape)
    hidden = keras.layers.ReLU()(encoder.output["code"])
    classes = int(data.train.labels.max()) + 1
    network = keras.Model(encoder.input, keras.layers.Dense(classes)(hidden))
    network.compile(
        experiment.build_optimizer(config, steps),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=config.jit_compile,
    )
    batches = make_batches(
        data.train.images,
        config.batch_size,
        0,
        steps,
        config.seed,
        augmentations=config.augment,
        with_index=True,
    ).map(lambda batch: (batch["x"], tf.gather(labels, batch["index"])))
    network.fit(batches, verbose=0, shuffle=False)
    logits = network.predict(data.test.images[:], batch_size=250, verbose=0)
    return float(tf.reduce_mean(tf.cast(logits.argmax(-1) == targets, tf.float32)))


def main() -> None:
    flags.define(Config)
    absl.flags.DEFINE_integer("seeds", 3, "training seeds, 0 and up", lower_bound=1)
    flags.FLAGS([sys.argv[0], f"--flagfile={FLAGFILE}", *sys.argv[1:]])
    config, count = flags.from_flags(Config), flags.FLAGS.seeds
    flags.load_tensorflow()
    from tf_infomax import experiment

    print_processor()
    experiment.prepare_machine(config)
    data = experiment.load_data(config)
    found, started = [], time.monotonic()
    for seed in range(count):
        found.append(100 * train(config.replace(seed=seed), data))
        minutes = (time.monotonic() - started) / 60
        print(f"seed {seed}: {found[-1]:.1f} % ({minutes:.1f} minutes)", flush=True)
    spread = f" ± {statistics.stdev(found):.1f}" if count > 1 else ""
    print(
        f"with labels, {len(data.train)} training images: "
        f"{statistics.fmean(found):.1f}{spread} %, {count} seed{'s' * (count > 1)}"
    )


if __name__ == "__main__":
    main()
