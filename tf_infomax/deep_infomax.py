"""Training an encoder in three lines: fit, encode, export.

    model = tf_infomax.DeepInfoMax(encoder="basic32x32", epochs=20).fit(images)
    codes = model.encode(images)
    model.export("served")

What is trained is a run as `tf_infomax.train` makes it, in a folder of its own, which
the commands take as well.
"""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tf_infomax.data.decoding import resize_array
from tf_infomax.data.headers import LARGEST_IMAGE
from tf_infomax.data.images import DataError
from tf_infomax.data.scale import choose_range, convert_to_uint8
from tf_infomax.evaluation.features import FeatureExtractor
from tf_infomax.options import Config, ConfigError
from tf_infomax.runtime.files import replacing
from tf_infomax.training.experiment import load_data
from tf_infomax.training.results import check_complete, evaluate_run
from tf_infomax.training.run import Run, train
from tf_infomax.training.trained import Trained, load_trained
from tf_infomax.training.workdir import WorkDirectory

_SIDE = 64  # pixels, to which the pictures of a folder are resized


class DeepInfoMax(TransformerMixin, BaseEstimator):
    """An encoder of images, trained without labels; a transformer of scikit-learn's.

    Images are arrays `[N, H, W, C]` or `[N, H, W]` of any kind of numbers, a dataset or
    generator of batches of these (alone, with labels, or as a dict of "image" and
    "label"), or, to fit, the path of a folder of pictures or the name of a dataset
    (`tfds:cifar10`). Arrays and batches are held in memory. A part of them is kept for
    validation and a part for tests, as `tf_infomax.train` does; `options` has both.

    Source: Hjelm et al. 2019; other objectives: see `tf_infomax.train --help`.

    Args:
        encoder: a row of `--encoder`; "auto": one for the size of the images (pictures
            of a folder are resized to 64 x 64, or to `image_size` of the options).
        objective: a row of `--objective`.
        epochs: passes over the training images.
        steps: instead of epochs, where above 0.
        batch_size: images in a step.
        learning_rate: of Adam, at its start; it falls along a cosine.
        code_size: width D of the codes.
        augment: augmentations, "crop", "flip", "color", ...
        seed: of all draws.
        workdir: folder of the run; fitting again with the same options and images goes
            on where it was. None: a temporary one, gone with this object.
        pixel_range: what the numbers of arrays mean, "0_255", "0_1", "-1_1", "0_65535";
            "auto": decided by all of those that are fitted to.
        verbose: whether progress is shown.
        options: further options of `tf_infomax.train`, by name.

    Attributes:
        encoder_: the trained encoder, from uint8 images to a dict of features.
        image_shape_: (H, W, C) of the images that it takes.
        workdir_: folder of the run.
        pixel_range_: as which the numbers were taken.
    """

    def __init__(
        self,
        encoder: str = "auto",
        objective: str = "dim_local",
        *,
        epochs: int = 20,
        steps: int = 0,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        code_size: int = 64,
        augment: tuple[str, ...] = (),
        seed: int = 0,
        workdir: str | Path | None = None,
        pixel_range: str = "auto",
        verbose: bool = True,
        options: Mapping[str, object] | None = None,
    ):
        self.encoder, self.objective = encoder, objective
        self.epochs, self.steps, self.batch_size = epochs, steps, batch_size
        self.learning_rate, self.code_size = learning_rate, code_size
        self.augment, self.seed, self.workdir = augment, seed, workdir
        self.pixel_range, self.verbose, self.options = pixel_range, verbose, options

    def fit(self, images: object, labels: "ArrayLike | None" = None) -> "DeepInfoMax":
        """Trains the encoder.

        Args:
            images: see above.
            labels: of the images, one each; they never reach the gradient (but of
                `objective="supervised"`), and let probes measure. -1: none.

        Raises:
            ConfigError, DataError: if options or images are unfit.
        """
        folder = self._make_folder()
        given = self._read(images, labels, folder)
        config = self._configure(given, folder)
        workdir = WorkDirectory(config.workdir)
        with workdir.held():
            workdir.check(config)
            run = Run(config, workdir, load_data(config))
            workdir.claim(config)
            train(run)
            if run.stopped:
                raise KeyboardInterrupt(f"stopped by {run.stopped} at step {run.step}")
        return self._take(load_trained(workdir))

    @classmethod
    def load(cls, workdir: str | Path, checkpoint: str = "last") -> "DeepInfoMax":
        """What a run of `tf_infomax.train`, or of this class, has learned.

        Args:
            workdir: folder of the run.
            checkpoint: "last" or "best".
        """
        trained = load_trained(WorkDirectory(str(workdir)), checkpoint)
        config = trained.config
        given = ("encoder", "objective", "epochs", "steps", "batch_size", "seed")
        given += ("learning_rate", "code_size", "augment")
        model = cls(
            **{name: getattr(config, name) for name in given}, workdir=str(workdir)
        )
        model.workdir_, model.pixel_range_ = Path(workdir), config.pixel_range
        return model._take(trained)

    def transform(self, images: object) -> np.ndarray:
        """Codes `[N, D]`, float32.

        Args:
            images: arrays, datasets or generators, of any size if they were resized
                when the encoder was fitted.
        """
        return self.features(images, "code")

    def encode(self, images: object) -> np.ndarray:
        """As `transform`."""
        return self.transform(images)

    def features(self, images: object, name: str = "code") -> np.ndarray:
        """A feature of the encoder, `[N, width]`, float32; maps are flattened.

        Args:
            images: as of `transform`.
            name: "code", "fc", "conv" or "local", where the encoder has it.
        """
        check_is_fitted(self)
        known = sorted(self.encoder_.output)
        if name not in known:
            raise ValueError(
                f"name must be one of {', '.join(known)}. Received: {name!r}."
            )
        pixels, _ = _collect(images)
        (pixels,), _ = convert_to_uint8([pixels], self.pixel_range_)
        height, width, _ = self.image_shape_
        if pixels.shape[1:] != self.image_shape_ and self._resized:
            pixels = resize_array(pixels, (height, width), self._resized)
        if pixels.shape[1:] != self.image_shape_:
            raise ValueError(
                f"images must be [N, {height}, {width}, {self.image_shape_[2]}] as "
                f"those of fit. Received: {list(pixels.shape)}."
            )
        if name not in self._extractors:  # compiled once
            self._extractors[name] = FeatureExtractor(self.encoder_, [name])
        return self._extractors[name](pixels)[name]

    def evaluate(self, *evaluations: str) -> dict:
        """Measures of the run on its test images, by name (`results.json`).

        Args:
            *evaluations: rows of `--evaluations`; (): the usual ones.
        """
        check_is_fitted(self)
        workdir = WorkDirectory(str(self.workdir_))
        config = workdir.read_config()
        if evaluations:
            config = config.replace(evaluations=tuple(evaluations))
        with workdir.held():
            run = Run(config, workdir, load_data(config))
            results = evaluate_run(run, print if self.verbose else lambda line: None)
        check_complete(results)
        return results

    def export(
        self,
        output: str | Path,
        name: str = "encoder",
        *,
        version: int = 0,
        checkpoint: str = "last",
        format: str = "saved_model",
        quantize: str = "none",
        classify: bool = True,
        critics: bool = False,
        largest_image: int = LARGEST_IMAGE,
    ) -> Path:
        """Writes a model for TensorFlow Serving, LiteRT or ONNX; the path of it.

        Args:
            output: folder of exported models.
            name: of the model.
            version: of it; 0: the next free one.
            checkpoint: "last" or "best".
            format: "saved_model", "tflite" or "onnx".
            quantize: of "tflite", "dynamic" or "int8".
            classify: whether a "saved_model" has a linear probe, if there are labels.
            critics: whether it has the critics' scores of pairs.
            largest_image: most pixels of an encoded image.
        """
        check_is_fitted(self)
        from tf_infomax.export.saved_model import ExportOptions, export

        options = ExportOptions(
            workdir=str(self.workdir_),
            output=str(output),
            name=name,
            version=version,
            checkpoint=checkpoint,
            format=format,
            quantize=quantize,
            classify=classify,
            critics=critics,
            largest_image=largest_image,
        )
        return export(options, WorkDirectory(str(self.workdir_)).read_config())

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoder_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        tags.non_deterministic = True  # unless options={"deterministic": True}
        return tags

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the numbers of a code."""
        check_is_fitted(self)
        width = self.encoder_.output["code"].shape[-1]
        return np.array([f"deepinfomax{k}" for k in range(width)], dtype=object)

    def _make_folder(self) -> Path:
        if self.workdir is not None:
            folder = Path(self.workdir).expanduser().resolve()
            folder.mkdir(parents=True, exist_ok=True)
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="tf_infomax-")
            folder = Path(self._temporary.name)
        self.workdir_ = folder
        return folder

    def _read(self, images, labels, folder: Path) -> dict:
        """The options of the data. Arrays are kept in the folder of the run."""
        if isinstance(images, str | Path):
            if labels is not None:
                raise ValueError("labels of a folder or a dataset are its own.")
            self.pixel_range_ = self.pixel_range
            name = str(images)
            return {"dataset": name if ":" in name else f"folder:{name}"}
        pixels, found = _collect(images)
        labels = found if labels is None else np.asarray(labels)
        if len(pixels) == 0 or (labels is not None and len(labels) != len(pixels)):
            count = "no" if labels is None else len(labels)
            raise ValueError(
                f"there must be images, and as many labels if any. Received: "
                f"{len(pixels)} images, {count} labels."
            )
        self.pixel_range_ = choose_range([pixels], self.pixel_range)
        (pixels,), _ = convert_to_uint8([pixels], self.pixel_range_)
        arrays = {"images": pixels} | ({} if labels is None else {"labels": labels})
        path = folder / "images.npz"
        if path.exists():
            _check_same(path, arrays)
        else:
            with replacing(path) as file, open(file, "wb") as stream:
                np.savez(stream, **arrays)
        return {"dataset": f"arrays:{path}", "pixel_range": "0_255"}

    def _configure(self, given: dict, folder: Path) -> Config:
        options = dict(self.options or {})
        length = {"steps": self.steps} if self.steps else {"epochs": self.epochs}
        if self.encoder != "auto":  # which is the default but of some objectives
            given |= {"encoder": self.encoder}
        if given["dataset"].startswith("folder:") and "image_size" not in options:
            given |= {"image_size": _SIDE}
        own = {
            "objective": self.objective,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "code_size": self.code_size,
            "augment": tuple(self.augment),
            "seed": self.seed,
            "workdir": str(folder),
            "progress": "auto" if self.verbose else "none",
        }
        twice = sorted(options.keys() & (own | given | length).keys())
        if twice:
            raise ConfigError(
                f"options may not name {twice[0]}, which stands beside it."
            )
        config = Config(**{**own, **given, **length, **options})
        config.require_length()
        return config

    def _take(self, trained: Trained) -> "DeepInfoMax":
        self.encoder_, self._extractors = trained.objective.encoder, {}
        self.image_shape_ = trained.image_shape
        self._resized = trained.config.resize if trained.config.image_size else ""
        return self


def _check_same(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Refuses other images than those of the run that is there, which needs its own."""
    with np.load(path) as found:
        same = set(found.files) == set(arrays) and all(
            np.array_equal(found[name], array) for name, array in arrays.items()
        )
    if not same:
        raise ConfigError(
            f"workdir={path.parent} holds a run on other images or labels; choose "
            "another."
        )


def _collect(images) -> tuple[np.ndarray, np.ndarray | None]:
    """Images `[N, H, W, C]`, and labels if there are any, of all that may be given."""
    if isinstance(images, np.ndarray) or not isinstance(images, Iterable):
        return _as_images(images), None
    if isinstance(images, list | tuple):
        return _as_images(np.asarray(images)), None
    if getattr(images, "cardinality", lambda: 0)() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("a dataset must have an end. Received: one that repeats.")
    if isinstance(images, keras.utils.PyDataset):
        images = (images[place] for place in range(len(images)))
    found, labels = [], []
    for batch in images:
        if isinstance(batch, Mapping):  # as TensorFlow Datasets has them
            batch = tuple(batch[n] for n in ("image", "label") if n in batch)
        has_labels = isinstance(batch, tuple | list) and len(batch) == 2
        batch = batch[0] if isinstance(batch, tuple) and len(batch) == 1 else batch
        part = np.asarray(batch[0] if has_labels else batch)
        part = part[None] if part.ndim == 3 else part
        found.append(part)
        if has_labels:
            labels.append(np.atleast_1d(np.asarray(batch[1])))
    if not found:
        raise DataError("there are no images.")
    pixels = _as_images(np.concatenate(found))
    return pixels, np.concatenate(labels) if labels else None


def _as_images(images) -> np.ndarray:
    array = np.asarray(images)
    if array.ndim not in (3, 4) or array.dtype.kind not in "buif":
        raise ValueError(
            "images must be numbers [N, H, W, C] or [N, H, W], or batches of these. "
            f"Received: {array.dtype} {list(array.shape)}."
        )
    return array[..., None] if array.ndim == 3 else array
