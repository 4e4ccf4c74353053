"""From a configuration to an objective and data: the one module that knows them all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.data import sources
from tf_infomax.data.batches import count_batches
from tf_infomax.data.division import Data, divide, require_test
from tf_infomax.data.images import DataError, pair
from tf_infomax.data.views import PARTS, build_front, view_shapes
from tf_infomax.objectives.base import Objective, trained_up_to
from tf_infomax.objectives.batches import put_front
from tf_infomax.objectives.parts import Parts
from tf_infomax.optimizers import FusedAdam
from tf_infomax.options import Config, ConfigError
from tf_infomax.options.encoders import ENCODERS
from tf_infomax.options.objectives import OBJECTIVES
from tf_infomax.runtime.cluster import read_place
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.seeds import seeded


def read_options(config: Config) -> sources.ReadOptions:
    """The part of the configuration that readers need."""
    return sources.ReadOptions(
        image_size=config.image_size,
        resize=config.resize,
        train_split=config.train_split,
        test_split=config.test_split,
        data_dir=config.data_dir or None,
        local_files=config.local_files or None,
        download=config.download,
        labels=config.labels or None,
        pixel_range=config.pixel_range,
        image_column=config.image_column,
        label_column=config.label_column,
        cache=config.cache,
        memory_limit=config.memory_limit_mb << 20,
        cache_dir=config.cache_dir,
    )


def load_data(config: Config) -> Data:
    """Reads the dataset and divides it.

    Without test images of its own a dataset gives up `test_fraction`; of what is left
    `validation_fraction` is kept for choosing. The probes train on all labelled
    training images, or on those of `eval_dataset`.

    Raises:
        DataError: if there is too little of something that the run needs.
        ConfigError: if the probes could not have an image of each class.
    """
    data = _read_data(config)
    if data.probe_train is not None and config.probe_images:
        classes = len(np.unique(data.probe_train.labels))
        if config.probe_images < classes:
            raise ConfigError(
                f"--probe_images={config.probe_images} must be at least {classes}, one "
                "of each class, or 0 for nine tenths of all."
            )
    return data


def _read_data(config: Config) -> Data:
    """`load_data`, before what is asked of it is held against it."""
    options = read_options(config)
    splits = sources.read(config.dataset, options)
    if config.pair_dataset:
        splits = _read_pairs(splits, config, options)
    splits = splits.deduplicate() if config.deduplicate else splits
    _check_test_fraction(config, splits)
    splits = require_test(splits, config.test_fraction, f"--dataset={config.dataset}")
    if not config.eval_dataset:
        return divide(splits, splits, config.validation_fraction)
    flag = f"--eval_dataset={config.eval_dataset}"
    labelled = sources.read(config.eval_dataset, replace(options, labels=None))
    if config.deduplicate:
        labelled = labelled.deduplicate()
    labelled = require_test(labelled, config.test_fraction, flag)
    if config.deduplicate:
        splits = splits.without(labelled.test)
    shapes = [each.train.single.image_shape for each in (labelled, splits)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"--eval_dataset has images of shape {shapes[0]}, --dataset of "
            f"{shapes[1]}; see --image_size."
        )
    data = divide(splits, labelled, config.validation_fraction)
    if data.probe_train is None:
        raise DataError(
            f"{flag} has {data.labels} (in a folder, every image must lie in a "
            "subfolder, which names its class)."
        )
    return data


def _check_test_fraction(config: Config, splits: sources.Splits) -> None:
    """Refuses a fraction that nothing is held out by."""
    given = config.is_changed("test_fraction")
    if given and splits.test and not config.eval_dataset:
        raise ConfigError(
            f"--test_fraction={config.test_fraction:g} changes nothing: "
            f"--dataset={config.dataset} has test images of its own."
        )


def _read_pairs(
    splits: sources.Splits, config: Config, options: sources.ReadOptions
) -> sources.Splits:
    """The images of both datasets as pairs, with the labels of the first."""
    others = sources.read(config.pair_dataset, replace(options, labels=None))
    if (splits.test is None) != (others.test is None):
        raise DataError(
            "--dataset and --pair_dataset must both have test images, or neither."
        )
    try:
        return sources.Splits(
            pair(splits.train, others.train),
            splits.test and pair(splits.test, others.test),
        )
    except DataError as error:
        raise DataError(f"--pair_dataset={config.pair_dataset}: {error}") from error


def build_encoder(config: Config, image_shape: tuple[int, int, int]) -> keras.Model:
    """The encoder of whole images, with fresh weights, or a user's with its own."""
    shape = view_shapes(config.views, image_shape)["x"]
    encoder = _build_encoder_of(config, "encoder", shape)
    return put_front(build_front(config.views, image_shape), encoder)


def _build_encoder_of(config: Config, flag: str, shape) -> keras.Model:
    """The encoder that a flag names, of images of this shape."""
    name = getattr(config, flag)
    try:
        name, _, argument = name.partition(":")
        build = ENCODERS[name].load()
        if ENCODERS[name].argument:
            return build(argument, shape, config)
        return build(shape, config.code_size)
    except ValueError as error:
        hint = ""
        if config.views in PARTS:
            hint = (
                f" With --views={config.views} it gets a part of each image; "
                "auto, resnet, half_convnet, mlp, skip_mlp and real_nvp take any size."
            )
        given = getattr(config, flag)
        raise ConfigError(f"--{flag}={given}: {error}{hint}") from error


def build_learning_rate(config: Config, steps: int):
    """A number, or a schedule over the run."""
    rate, warmup = config.learning_rate, config.warmup_steps
    if warmup >= steps:
        raise ConfigError(f"--warmup_steps={warmup} must be below the {steps} steps.")
    if config.schedule == "constant" and not warmup:
        return rate
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else rate,
        decay_steps=steps - warmup,
        alpha=0.0 if config.schedule == "cosine" else 1.0,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )


def build_optimizer(config: Config, steps: int, clip: bool = True):
    """Adam as configured."""
    return FusedAdam(
        build_learning_rate(config, steps),
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        global_clipnorm=config.clip_norm if clip and config.clip_norm else None,
    )


def build_objective(
    config: Config,
    image_shape: tuple[int, int, int],
    steps: int,
    images: int = 1,
    classes: int = 0,
) -> Objective:
    """The compiled objective, with every weight built. Weights follow `seed`.

    Args:
        config: the experiment.
        image_shape: (H, W, C) of whole images.
        steps: of the run, for the learning rate.
        images: in training, for a memory bank or targets.
        classes: of their labels; 0 without labels.
    """
    try:
        shapes = view_shapes(config.views, image_shape)
    except DataError as error:
        raise ConfigError(f"--views={config.views}: {error}") from error
    row = OBJECTIVES[config.objective]
    if "data:label" in row.asks_of(config) and classes < 2:
        raise ConfigError(
            f"--objective={config.objective} needs labels: --dataset={config.dataset} "
            f"has {'none' if not classes else 'one class'}."
        )
    with seeded(config.seed):
        encoder = _build_encoder_of(config, "encoder", shapes["x"])
        try:
            trained_up_to(encoder, config.slow_layers)
        except ValueError as error:
            raise ConfigError(f"--{error}") from error
        parts = Parts(
            encoder=encoder,
            shapes=shapes,
            front=build_front(config.views, image_shape),
            images=images,
            classes=classes,
            build_encoder=lambda flag, shape: _build_encoder_of(config, flag, shape),
        )
        objective = row.load()(config, parts)
    first, *others = objective.players
    optimizers = {first: build_optimizer(config, steps)}
    optimizers |= {p: build_optimizer(config, steps, clip=False) for p in others}
    objective.compile(
        optimizers,
        jit_compile=config.jit_compile,
        steps_per_execution=config.steps_per_execution,
        skip_faulty=config.on_nan == "skip",
    )
    return objective


def count_steps(config: Config, images: int) -> tuple[int, int]:
    """(steps per epoch, steps of the run).

    An epoch is a pass over the data, rounded to whole executions; the last execution of
    a run is as short as its steps make it.
    """
    config.require_length()
    try:
        per_pass = count_batches(images, config.batch_size)
    except DataError as error:
        half = 1 << max(1, (images // 2).bit_length() - 1)
        raise ConfigError(
            f"--batch_size={config.batch_size}: there are {images} training images; "
            f"take 2 at least and {images} at most, as --batch_size={half}."
        ) from error
    execution = config.steps_per_execution
    per_epoch = max(1, round(per_pass / execution)) * execution
    return per_epoch, config.steps or config.epochs * per_epoch


def set_precision(mixed_precision: str) -> None:
    """Precision of layers built from now on: "none" (float32), "float16", ..."""
    mixed = mixed_precision != "none"
    keras.config.set_dtype_policy(f"mixed_{mixed_precision}" if mixed else "float32")


@contextmanager
def precision(mixed_precision: str) -> Iterator[None]:
    """`set_precision` for as long as the block runs."""
    before = keras.config.dtype_policy()
    set_precision(mixed_precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@lru_cache
def join_workers() -> tf.distribute.Strategy:
    """The strategy of several machines, once all of them are there.

    To be called before TensorFlow has done anything else.

    Raises:
        ConfigError: if TF_CONFIG does not say which machines.
    """
    place = read_place()
    tell(f"worker {place.rank} of {place.count}: waits for the others")
    tf.get_logger().setLevel("WARNING")  # it tells of each collective it builds
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ConfigError(f"the workers of TF_CONFIG cannot meet: {reason}") from error


def prepare_machine(config: Config) -> tf.distribute.Strategy:
    """Precision, determinism and strategy; called once, before anything is built."""
    set_precision(config.mixed_precision)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    if config.strategy == "none":
        return tf.distribute.get_strategy()
    if config.strategy == "multi_worker":
        strategy = join_workers()
    else:
        strategy = tf.distribute.MirroredStrategy()
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise ConfigError(
            f"--batch_size={config.batch_size} must be a multiple of the {replicas} "
            "devices."
        )
    return strategy
