"""A memory bank: codes of all training images, as negatives of a term."""

import math

import keras
import tensorflow as tf

from tf_infomax import bounds
from tf_infomax.critics import Critic
from tf_infomax.runtime.vectors import normalize

LOSSES = ("info_nce", "nce")
_DECAY = 0.99  # of the moving average of the normalizer


@keras.saving.register_keras_serializable("tf_infomax")
class MemoryBank(keras.layers.Layer):
    """Unit vectors, one per image and view, that follow its codes.

    A step draws `negatives` images and scores the codes of the batch against stored
    ones, of the pair as of the negatives: were the pair's alone fresh, codes could win
    by drifting away from the bank. Then it moves the stored codes m of the batch to
    normalize(momentum m + (1 - momentum) z). Images that were not seen yet are no
    negatives, and their pairs are fresh; a pair is never its own negative. Stored codes
    are those of older encoders, so that what comes of it is a score and not a bound.

    Args:
        images: how many training images there are.
        negatives: K, drawn anew for each step and shared by the batch.
        momentum: of the stored codes.
        loss: "info_nce" over 1 + K candidates, or "nce": noise-contrastive estimation
            with p = e^f / Z, whose normalizer Z is a moving average over steps.

    Source: Wu et al. 2018; Tian et al. 2019, section 3.3 (there Z is set once, by the
    first batch).
    """

    def __init__(
        self,
        images: int,
        negatives: int = 4096,
        momentum: float = 0.5,
        loss: str = "info_nce",
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        if loss not in LOSSES:
            raise ValueError(
                f"loss must be one of {', '.join(LOSSES)}. Received: {loss!r}."
            )
        self.images, self.negatives, self.momentum = images, negatives, momentum
        self.loss = loss

    def build(self, widths: dict[str, int]) -> None:
        """An empty bank for each view, by its width."""
        for view, width in widths.items():
            codes = self.add_weight(
                shape=(self.images, width),
                initializer="zeros",
                trainable=False,
                name=f"codes_{view}",
            )
            setattr(self, f"codes_{view}", codes)
        self.seen = self.add_weight(
            shape=(self.images,), initializer="zeros", trainable=False, name="seen"
        )
        self.normalizer = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="log_normalizer"
        )
        self.built = True

    def _codes_of(self, view: str) -> tf.Variable:
        return getattr(self, f"codes_{view}").value

    def value(
        self,
        critic: Critic,
        x: tf.Tensor,
        y: tf.Tensor,
        views: tuple[str, str],
        index: tf.Tensor,
        seed: tf.Tensor,
    ) -> tf.Tensor:
        """The mean over both directions, nats (minus the loss, for "nce").

        Args:
            critic: a dot-product critic of unit vectors.
            x, y: codes `[N, D]` of the two views.
            views: their names.
            index: which images these are, `[N]`.
            seed: two integers.
        """
        drawn = tf.random.stateless_uniform(
            [self.negatives], seed, maxval=self.images, dtype=tf.int64, alg="philox"
        )
        itself = drawn[None] == tf.cast(index, tf.int64)[:, None]
        left_out = itself | (tf.gather(self.seen.value, drawn) == 0.0)[None]
        stored_x, stored_y = (tf.gather(self._codes_of(v), drawn) for v in views)
        hx, hy = critic.embed(x, y)
        far_x, far_y = critic.embed(stored_x, stored_y)
        own_x, own_y = (
            self._own(view, index, z) for view, z in zip(views, (x, y), strict=True)
        )
        kept_x, kept_y = critic.embed(own_x, own_y)
        positives = critic.score_pairs(hx, kept_y), critic.score_pairs(kept_x, hy)
        sides = (
            critic.score(hx, far_y),
            tf.linalg.matrix_transpose(critic.score(far_x, hy)),
        )
        masked = [tf.where(left_out, -math.inf, side) for side in sides]
        if self.loss == "info_nce":
            rank = bounds.rank_candidates
        else:
            self._follow_normalizer(masked)
            rank = self._contrast
        return tf.reduce_mean(
            [rank(own, side) for own, side in zip(positives, masked, strict=True)]
        )

    def _own(self, view: str, index, codes) -> tf.Tensor:
        """The stored codes of these images, or those given where there are none."""
        seen = tf.gather(self.seen.value, index)[:, None] > 0.0
        stored = tf.gather(self._codes_of(view), index)
        return tf.where(seen, stored, normalize(codes))

    def _contrast(self, positive, negative) -> tf.Tensor:
        # The odds of "data" against K draws of noise, 1 / images each.
        offset = self.normalizer + tf.math.log(self.negatives / self.images)
        loss = tf.nn.softplus(offset - positive)
        loss += tf.reduce_sum(tf.nn.softplus(negative - offset), axis=-1)
        return -tf.reduce_mean(loss)

    def _follow_normalizer(self, sides) -> None:
        """log Z, Z = images * E e^f: the first batch's, then a moving average."""
        values = tf.stop_gradient(tf.concat([tf.reshape(s, [-1]) for s in sides], 0))
        values = tf.boolean_mask(values, tf.math.is_finite(values))
        now = bounds.log_mean_exp(values) + math.log(self.images)
        followed = tf.reduce_logsumexp(
            [math.log(_DECAY) + self.normalizer, math.log(1.0 - _DECAY) + now]
        )
        unset = tf.equal(self.normalizer, 0.0)
        value = tf.where(unset, now, followed)
        known = tf.math.is_finite(value)  # something drawn was seen before
        self.normalizer.assign(tf.where(known, value, self.normalizer))

    def remember(self, codes: dict, index: tf.Tensor) -> None:
        """Moves the stored codes of these images, by view."""
        seen = tf.gather(self.seen.value, index)[:, None]
        for view, z in codes.items():
            self._move(view, index, z, self.momentum * seen)
        self.seen.value.scatter_update(
            tf.IndexedSlices(tf.ones_like(seen[:, 0]), index)
        )

    def _move(self, view: str, index, codes, momentum) -> None:
        bank, codes = self._codes_of(view), normalize(codes)
        mixed = momentum * tf.gather(bank, index) + (1.0 - momentum) * codes
        updates = tf.IndexedSlices(normalize(mixed), index)
        bank.scatter_update(updates)

    def get_config(self) -> dict:
        names = ("images", "negatives", "momentum", "loss")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
