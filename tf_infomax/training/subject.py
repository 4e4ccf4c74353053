"""What an evaluation may ask of a run."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import keras
import numpy as np

from tf_infomax.data.batches import make_fixed_batches
from tf_infomax.data.views import AUGMENTED
from tf_infomax.evaluation.features import FeatureStore, draw_some, see_part
from tf_infomax.evaluation.probes import Labelled, draw_labelled
from tf_infomax.reporting import report
from tf_infomax.runtime.progress import Progress
from tf_infomax.runtime.seeds import seeded
from tf_infomax.training.experiment import build_encoder, precision
from tf_infomax.training.run import Run

_SHOWN = 2000  # test images whose codes are looked at
_FITTED = 10_000  # training images that networks of evaluations are fitted to
_FEWEST = 100  # validation images that are enough to choose on


class Unlabelled(NamedTuple):
    """Images by use, for what is fitted to images and codes, of up to 10,000.

    Attributes:
        train: that the encoder was trained on.
        choose: of the validation part; a tenth of the training images where that is
            too small.
        test: of the test.
    """

    train: np.ndarray
    choose: np.ndarray
    test: np.ndarray


class Subject:
    """A run at the checkpoint that it was restored to.

    Attributes:
        objective: with its encoder and all that it reports of itself.
        data: the images and labels, by use.
        config: the options.
        store: features that were computed, for all evaluations.
        tell: hears a line for the user.

    Args:
        run: restored.
        tell: as above.
    """

    def __init__(self, run: Run, tell: Callable[[str], None]):
        self.run, self.tell = run, tell
        self.store = FeatureStore()
        self.objective, self.data, self.config = run.objective, run.data, run.config

    @cached_property
    def images(self) -> np.ndarray:
        """Up to 2,000 test images."""
        return self.data.test.single.images[:_SHOWN]

    @cached_property
    def drawn(self) -> np.ndarray:
        """As many of them, drawn at random where there are more."""
        small = len(self.data.test) <= _SHOWN
        return self.images if small else draw_some(self.data.test.single.images, _SHOWN)

    @cached_property
    def two_views(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Two views of these images, both for the encoder that is evaluated.

        Those of --views where these differ by augmentation, or two augmentations of
        whole images by --augment; None where neither is given, and where the second
        view has an encoder of its own.
        """
        config = self.config
        view = config.views if config.views in AUGMENTED else "augment"
        whole = config.views in ("one", *AUGMENTED)
        augmented = view != "augment" or bool(config.augment)
        if not whole or not augmented or "encoder_y" in self.objective.networks:
            return None
        count = len(self.images)
        size = count if count < _FEWEST else _FEWEST  # the rest of a batch is left out
        batches = make_fixed_batches(self.images, size, view, config.augment)
        pairs = [(batch["x"].numpy(), batch["y"].numpy()) for batch in batches]
        return tuple(np.concatenate(side) for side in zip(*pairs, strict=True))

    @cached_property
    def unlabelled(self) -> Unlabelled:
        """Images to fit to, to choose on and to report on, of each up to a limit."""
        train, held_out = self.data.train.single, self.data.validation
        if held_out is None or len(held_out) < _FEWEST:
            order = np.random.default_rng(0).permutation(len(train))
            train, held_out = (
                train.select(np.sort(rows))
                for rows in np.split(order, [len(order) - max(1, len(order) // 10)])
            )
        return Unlabelled(
            draw_some(train.images, _FITTED),
            draw_some(held_out.single.images, _SHOWN),
            self.drawn,
        )

    @cached_property
    def codes(self) -> np.ndarray:
        """Their codes `[n, D]`."""
        return self.features("code", self.images)

    @cached_property
    def labelled(self) -> Labelled | None:
        """Labelled images to learn from and of the test; None if there are none.

        Each repetition has labelled images of its own (--probe_seeds, --probe_images).
        """
        config, data = self.config, self.data
        if data.probe_train is None:
            return None
        return draw_labelled(
            data.probe_train, data.probe_test, config.probe_images, config.probe_seeds
        )

    def seen(self, images: Sequence) -> np.ndarray:
        """What the encoder sees of whole images, uint8."""
        return see_part(images, self.config.views)

    def features(self, name: str, images: Sequence, trained: bool = True) -> np.ndarray:
        """A feature of images, `[n, width]`, trained or with the initial weights."""
        return self.all_features((name,), images, trained)[name]

    def all_features(
        self, names: Sequence[str], images: Sequence, trained: bool = True
    ) -> dict[str, np.ndarray]:
        """Several features by their names; each is computed once for all who ask."""
        encoder = self.objective.encoder if trained else self.untrained
        style = self.config.progress
        with Progress(len(images), 0, style, "images encoded") as shown:
            hear = lambda done: done < len(images) and shown.update(done)
            return self.store(encoder, names, images, hear)

    @cached_property
    def untrained(self) -> keras.Model:
        """The encoder as it was at step 0: the same seed gives the same weights."""
        with precision(self.config.mixed_precision), seeded(self.config.seed):
            return build_encoder(self.config, self.data.train.image_shape)

    def copy_encoder(self, trained: bool = True) -> keras.Model:
        """An encoder of its own to train further, in float32."""
        source = self.objective.encoder if trained else self.untrained
        with precision("none"):
            copy = build_encoder(self.config, self.data.train.image_shape)
        copy.set_weights(source.get_weights())
        return copy

    @property
    def batch_size(self) -> int:
        """Of `batches`."""
        return min(self.config.batch_size, len(self.data.test))

    def batches(self) -> Iterable:
        """The test images in full batches of what the objective takes and asks."""
        return make_fixed_batches(
            self.data.test.images,
            self.batch_size,
            self.config.views,
            self.config.augment,
            consecutive=self.config.negatives == "shared_context",
            labels=self.run.labels_of(self.data.test),
        )

    def draw(self, name: str, images: np.ndarray, title: str) -> None:
        """A figure of the run: rows of images, uint8 `[rows, columns, H, W, C]`."""
        path = self.run.workdir.of_checkpoint(name, self.config.checkpoint)
        report.draw_images(images, title, path)

    def read_probes(self) -> dict:
        """Probes that were finished in an earlier evaluation."""
        return self.run.workdir.read_probes(self.config.checkpoint)

    def keep_probes(self, done: dict) -> None:
        """Keeps finished probes for a later one."""
        self.run.workdir.write_probes(done, self.config.checkpoint)
