"""From a configuration to an objective and data: the one module that knows them all."""

import math
from dataclasses import replace
from pathlib import Path

import keras
import tensorflow as tf

from tf_infomax import bounds, critics, encoders
from tf_infomax.config import Config, ConfigError
from tf_infomax.data import sources
from tf_infomax.data.batches import count_batches
from tf_infomax.data.division import Data, divide, require_test
from tf_infomax.data.images import DataError, pair
from tf_infomax.data.scale import PIXEL_RANGES
from tf_infomax.data.views import PARTS, build_front, view_shapes
from tf_infomax.objectives import InfoMax, MemoryBank, PriorMatching, Term
from tf_infomax.objectives.base import Objective, put_front
from tf_infomax.optimizers import FusedAdam


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
    """
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
    default = Config.__dataclass_fields__["test_fraction"].default
    if config.test_fraction != default and splits.test and not config.eval_dataset:
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
        if name.startswith("keras:"):
            return _adapt_encoder(config, shape)
        return encoders.ENCODERS[name](shape, config.code_size)
    except ValueError as error:
        hint = ""
        if config.views in PARTS:
            hint = (
                f" With --views={config.views} it gets a part of each image; "
                "half_convnet, mlp, skip_mlp and real_nvp take any size."
            )
        raise ConfigError(f"--{flag}={name}: {error}{hint}") from error


def _adapt_encoder(config: Config, image_shape) -> keras.Model:
    path = str(Path(config.encoder.partition(":")[2]).expanduser())
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, TypeError) as error:
        raise ValueError(
            f"cannot be loaded as a Keras model: {_explain_loading(error)}"
        ) from error
    layers = dict(pair.split("=") for pair in config.encoder_layers)
    input_range = PIXEL_RANGES[config.encoder_input]
    return encoders.adapt_keras_model(model, layers, image_shape, input_range)


def _explain_loading(error: Exception) -> str:
    """The cause: of an error in a layer Keras tells the model first, the layer last."""
    cause = str(error).rpartition("Exception encountered: ")[2].strip()
    return cause.splitlines()[0].partition(" Full object config")[0]


def _bound_options(config: Config) -> tuple[tuple[str, object], ...]:
    """Options of the local term's bound: Deep InfoMax ranks x for each code."""
    options = {
        "candidates": "x",
        "pooled": config.negatives == "all",
    }
    accepted = bounds.BOUNDS[config.bound].options
    return tuple((k, v) for k, v in options.items() if k in accepted)


def build_terms(
    config: Config, encoder: keras.Model, views: list[str] = ("x",)
) -> list[Term]:
    """The table of terms of the objective, for an encoder of view x and these views."""
    return _BUILD_TERMS[config.weights.terms](config, encoder, views)


def _build_dim_terms(config: Config, encoder: keras.Model, views) -> list[Term]:
    """The table of terms of global and local Deep InfoMax.

    With two views, the features of one view meet the code of the other, both ways,
    through the same critic at half the weight.
    """
    shapes = {name: output.shape for name, output in encoder.output.items()}
    if "local" not in shapes:
        raise ConfigError(
            f"--encoder={config.encoder} gives no local map. Its features: "
            f"{', '.join(shapes)}."
        )
    pairs = [("x", "x")] if config.views == "one" else [("x", "y"), ("y", "x")]
    weights, terms = config.weights, []
    options = _bound_options(config)
    if weights.alpha > 0:
        units = config.critic_units or _default_units(config.global_critic)
        critic = critics.GLOBAL_CRITICS[config.global_critic](
            units,
            lambda width: encoders.build_trunk(
                config.encoder, tuple(shapes["local"][1:]), width
            ),
        )
        unpooled = tuple(each for each in options if each[0] != "pooled")
        terms += _spread("global", critic, weights.alpha, pairs, config, unpooled)
    if weights.beta > 0:
        units = config.critic_units or _default_units(config.local_critic)
        critic = critics.LOCAL_CRITICS[config.local_critic](units)
        terms += _spread("local", critic, weights.beta, pairs, config, options)
    return terms


def _default_units(critic: str) -> int:
    return 512 if critic.startswith("concat") else 2048


def _spread(name, critic, weight, pairs, config, options) -> list[Term]:
    return [
        Term(
            name=name if len(pairs) == 1 else f"{name}_{x}{y}",
            x=f"{x}.local",
            y=f"{y}.code",
            critic=critic,
            bound=config.bound,
            weight=weight / len(pairs),
            options=options,
        )
        for x, y in pairs
    ]


def _build_multiview_terms(config: Config, encoder: keras.Model, views) -> list[Term]:
    """Codes of two views each: the first with every other one, or all with all.

    Source: Tschannen et al. 2020, eq. 1; Tian et al. 2019, section 3.4 (more views).
    """
    pairs = [(x, y) for k, x in enumerate(views) for y in views[k + 1 :]]
    if config.view_graph == "core":
        pairs = [(x, y) for x, y in pairs if x == views[0]]
    kind = "iid" if config.negatives == "all" else config.negatives
    of_negatives = {
        "hard": (("count", config.hard_negatives),),
        "weighted": (("hardness", config.hardness),),
    }
    both = "candidates" in bounds.BOUNDS[config.bound].options
    return [
        Term(
            name="views" if len(pairs) == 1 else f"views_{x}{y}",
            x=f"{x}.code",
            y=f"{y}.code",
            critic=_build_view_critic(config),
            bound=config.bound,
            weight=1.0 / len(pairs),
            options=(("candidates", "both"),) if both else (),
            target=config.target or None,
            negatives=kind,
            negative_options=of_negatives.get(kind, ()),
        )
        for x, y in pairs
    ]


def _build_view_critic(config: Config) -> critics.Critic:
    name, units = config.view_critic, config.critic_units
    options = {"cosine": {"temperature": config.temperature}}.get(name, {})
    if units:
        options["widths"] = (units, units) if name == "separable" else (units,)
    return critics.VECTOR_CRITICS[name](**options)


def _build_cpc_terms(config: Config, encoder: keras.Model, views) -> list[Term]:
    """One bilinear head for each distance that the encoder predicts."""
    distances = encoders.predicted_distances(encoder)
    kind = "iid" if config.negatives == "all" else config.negatives
    return [
        Term(
            name=f"ahead_{k}",
            x=f"x.future_{k}",
            y=f"x.past_{k}",
            critic=critics.Bilinear(),
            bound=config.bound,
            weight=1.0 / len(distances),
            options=_candidates_x(config.bound),
            target=config.target or None,
            negatives=kind,
        )
        for k in distances
    ]


def _candidates_x(bound: str) -> tuple[tuple[str, object], ...]:
    """Later codes are ranked for each context."""
    ranks = "candidates" in bounds.BOUNDS[bound].options
    return (("candidates", "x"),) if ranks else ()


_BUILD_TERMS = {
    "dim": _build_dim_terms,
    "multiview": _build_multiview_terms,
    "cpc": _build_cpc_terms,
}


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
    config: Config, image_shape: tuple[int, int, int], steps: int, images: int = 1
) -> Objective:
    """The compiled objective, with every weight built. Weights follow `seed`.

    Args:
        config: the experiment.
        image_shape: (H, W, C) of whole images.
        steps: of the run, for the learning rate.
        images: in training, for a memory bank.
    """
    keras.utils.set_random_seed(config.seed)
    try:
        shapes = view_shapes(config.views, image_shape)
    except DataError as error:
        raise ConfigError(f"--views={config.views}: {error}") from error
    encoder = _build_encoder_of(config, "encoder", shapes["x"])
    others = {}
    multiview = config.weights.terms == "multiview"
    if multiview and config.view_encoders == "separate":
        flag = "other_encoder" if config.other_encoder else "encoder"
        others = {
            view: _build_encoder_of(config, flag, shape)
            for view, shape in shapes.items()
            if view != "x"
        }
    _check_widths(config, encoder, others)
    memory = None
    if config.negatives == "memory":
        memory = MemoryBank(
            images, _count_memory(config, images), loss=config.memory_loss
        )
    gamma = config.weights.gamma
    prior = None
    if gamma > 0:
        prior = PriorMatching(config.prior, gradient_penalty=config.gradient_penalty)
    objective = InfoMax(
        encoder,
        build_terms(config, encoder, list(shapes)),
        prior=prior,
        view_encoders=others,
        front=build_front(config.views, image_shape),
        memory=memory,
        gamma=gamma,
        seed=config.seed,
        ema=config.ema,
    )
    _check_targets(config, objective)
    optimizers = {"encoder": build_optimizer(config, steps)}
    if prior is not None:
        optimizers["prior"] = build_optimizer(config, steps, clip=False)
    objective.compile(
        optimizers,
        jit_compile=config.jit_compile,
        steps_per_execution=config.steps_per_execution,
    )
    return objective


def _count_memory(config: Config, images: int) -> int:
    """Negatives from the bank: by default no more than there are images."""
    count = config.memory_negatives
    if count <= images:
        return count
    if count != Config.__dataclass_fields__["memory_negatives"].default:
        raise ConfigError(
            f"--memory_negatives must be at most {images}, the training images. "
            f"Received: {count}."
        )
    return images


def _check_widths(config: Config, encoder: keras.Model, others: dict) -> None:
    """Dot products without weights need codes of one width."""
    if config.view_critic not in ("inner_product", "cosine"):
        return
    widths = {view: e.output["code"].shape[-1] for view, e in others.items()}
    width = encoder.output["code"].shape[-1]
    if any(other != width for other in widths.values()):
        shown = ", ".join(f"{v} {w}" for v, w in {"x": width, **widths}.items())
        raise ConfigError(
            f"--view_critic={config.view_critic} needs codes of one width. Received: "
            f"{shown} (see --encoder, --other_encoder, --code_size)."
        )


def _check_targets(config: Config, objective: InfoMax) -> None:
    """Refuses a target that no value of a term can reach."""
    features = objective.networks["encoder"].output
    for term in objective.terms:
        if term.target is None:
            continue
        shape = features[term.x.split(".")[-1]].shape
        ceiling = term.ceiling(config.batch_size, math.prod(shape[1:-1]))
        if term.target >= ceiling:
            raise ConfigError(
                f"--target={config.target:g} cannot be reached: --bound={config.bound} "
                f"with --negatives={config.negatives} and --batch_size="
                f"{config.batch_size} is at most {ceiling:.2f} nats."
            )


def count_steps(config: Config, images: int) -> tuple[int, int]:
    """(steps per epoch, steps of the run).

    An epoch is a pass over the data, rounded to whole executions.
    """
    config.require_length()
    try:
        per_pass = count_batches(images, config.batch_size)
    except DataError as error:
        raise ConfigError(f"--batch_size: {error}") from error
    execution = config.steps_per_execution
    per_epoch = max(1, round(per_pass / execution)) * execution
    steps = config.steps or config.epochs * per_epoch
    if steps % execution:
        raise ConfigError(
            f"--steps_per_execution={execution} must divide --steps={steps}."
        )
    return per_epoch, steps


def set_precision(mixed_precision: str) -> None:
    """Precision of layers built from now on: "none" (float32), "float16", ..."""
    mixed = mixed_precision != "none"
    keras.config.set_dtype_policy(f"mixed_{mixed_precision}" if mixed else "float32")


def prepare_machine(config: Config) -> tf.distribute.Strategy:
    """Precision, determinism and strategy; called once, before anything is built."""
    set_precision(config.mixed_precision)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    if config.strategy == "none":
        return tf.distribute.get_strategy()
    strategy = tf.distribute.MirroredStrategy()
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise ConfigError(
            f"--batch_size={config.batch_size} must be a multiple of the {replicas} "
            "devices."
        )
    return strategy
