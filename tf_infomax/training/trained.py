"""What a run has learned, read from its work directory without the training data."""

from dataclasses import dataclass
from pathlib import Path

import keras

from tf_infomax.objectives import Objective
from tf_infomax.options import Config, ConfigError
from tf_infomax.training import experiment
from tf_infomax.training.workdir import WorkDirectory


@dataclass(frozen=True)
class Trained:
    """A checkpoint as a model.

    Attributes:
        config: the options of the run.
        objective: with the checkpoint's weights; `objective.encoder` is the encoder.
        image_shape: (H, W, C) of the images that the encoder takes.
        step: steps it was trained for.
    """

    config: Config
    objective: Objective
    image_shape: tuple[int, int, int]
    step: int


def load_trained(workdir: WorkDirectory, which: str = "last") -> Trained:
    """The objective as the "last" or the "best" checkpoint holds it.

    It computes in float32 whatever the run computed in: its weights are float32, and
    features are wanted to all their digits.

    Raises:
        ConfigError: if the folder is no run or the checkpoint is missing or damaged.
    """
    original = workdir.read_config()
    config = workdir.localize(original)
    if config.backbone_weights:  # those of the checkpoint take their place
        config = config.replace(backbone_weights="")
    state = workdir.read_state(which)
    shape = tuple(state["image_shape"])

    def build(config: Config) -> Objective:
        experiment.set_precision(config.mixed_precision)
        return experiment.build_objective(
            config,
            shape,
            state["steps"],
            state.get("images", 1),
            state.get("classes", 0),
        )

    objective = build(config)
    workdir.load(which, objective.state())
    if config.mixed_precision != "none":
        weights = objective.get_weights()
        objective = build(config.replace(mixed_precision="none"))
        objective.set_weights(weights)
    taken = tuple(objective.encoder.input.shape[1:])
    return Trained(original, objective, taken, state["step"])


def load(path: str | Path, checkpoint: str = "last") -> keras.Model:
    """What was saved, as a Keras model, with all classes of this package known.

    Args:
        path: a `.keras` file (of an objective, an encoder, a critic); or the work
            directory of a run, of which it is the objective.
        checkpoint: of a run, "last" or "best".

    Returns:
        The model. An objective has its `encoder`, and can be compiled and fitted on.

    Raises:
        ConfigError: if there is nothing such, or it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return load_trained(WorkDirectory(str(path)), checkpoint).objective
    if path.suffix != ".keras" or not path.is_file():
        raise ConfigError(
            f"path must be a .keras file or the folder of a run. Received: {path}."
        )
    try:
        return keras.models.load_model(path)
    except Exception as error:  # whatever a damaged archive raises
        raise ConfigError(f"{path} cannot be read: {error}") from error
