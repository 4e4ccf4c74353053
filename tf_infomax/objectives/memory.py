"""A memory bank: codes of all training images, as negatives of a term."""

import math

import keras
import tensorflow as tf

from tf_infomax import bounds

LOSSES = ("info_nce", "nce")
_DECAY = 0.99  # of the moving average of the normalizer


@keras.saving.register_keras_serializable("tf_infomax")
class MemoryBank(keras.layers.Layer):
    """Unit vectors, one per image and view, that follow its codes.

    A step draws `negatives` images, scores the batch against their stored codes, and
    moves the stored codes m of the batch to normalize(momentum m + (1 - momentum) z). A
    pair is never its own negative. Stored codes are those of older encoders, so that
    what comes of it is a score and not a bound.

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
        **kwargs,
    ):
        super().__init__(**kwargs)
        if loss not in LOSSES:
            raise ValueError(
                f"loss must be one of {', '.join(LOSSES)}. Received: {loss!r}."
            )
        self.images, self.negatives, self.momentum = images, negatives, momentum
        self.loss = loss

    def build(self, widths: dict[str, int]):
        """Random unit vectors for each view, by its width."""
        for view, width in widths.items():
            setattr(self, f"codes_{view}", self._add_codes(view, width))
        self.normalizer = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="log_normalizer"
        )
        self.built = True

    def _add_codes(self, view: str, width: int):
        def draw(shape, dtype=None):
            return tf.nn.l2_normalize(keras.random.normal(shape, dtype=dtype), -1)

        return self.add_weight(
            shape=(self.images, width),
            initializer=draw,
            trainable=False,
            name=f"codes_{view}",
        )

    def _codes_of(self, view: str) -> tf.Variable:
        return getattr(self, f"codes_{view}").value

    def value(self, critic, x, y, views, index, seed) -> tf.Tensor:
        """The mean over both directions, nats (minus the loss, for "nce").

        Args:
            critic: a dot-product critic of unit vectors.
            x, y: codes `[N, D]` of the two views.
            views: their names.
            index: which images these are, `[N]`.
            seed: two integers.
        """
        drawn = tf.random.stateless_uniform(
            [self.negatives], seed, maxval=self.images, dtype=tf.int64
        )
        own = drawn[None] == tf.cast(index, tf.int64)[:, None]
        stored_x, stored_y = (tf.gather(self._codes_of(v), drawn) for v in views)
        hx, hy = critic.embed(x, y)
        far_x, far_y = critic.embed(stored_x, stored_y)
        positive = critic.score_pairs(hx, hy)
        sides = (
            critic.score(hx, far_y),
            tf.linalg.matrix_transpose(critic.score(far_x, hy)),
        )
        masked = [tf.where(own, -math.inf, side) for side in sides]
        if self.loss == "info_nce":
            found = [bounds.rank_candidates(positive, side) for side in masked]
        else:
            self._follow_normalizer(sides)
            found = [self._contrast(positive, side) for side in masked]
        return tf.reduce_mean(found)

    def _contrast(self, positive, negative) -> tf.Tensor:
        # The odds of "data" against K draws of noise, 1 / images each.
        offset = self.normalizer + tf.math.log(self.negatives / self.images)
        loss = tf.nn.softplus(offset - positive)
        loss += tf.reduce_sum(tf.nn.softplus(negative - offset), axis=-1)
        return -tf.reduce_mean(loss)

    def _follow_normalizer(self, sides) -> None:
        """log Z, Z = images * E e^f: the first batch's, then a moving average."""
        values = tf.stop_gradient(tf.concat([tf.reshape(s, [-1]) for s in sides], 0))
        now = bounds.log_mean_exp(values) + math.log(self.images)
        followed = tf.reduce_logsumexp(
            [math.log(_DECAY) + self.normalizer, math.log(1.0 - _DECAY) + now]
        )
        unset = tf.equal(self.normalizer, 0.0)
        self.normalizer.assign(tf.where(unset, now, followed))

    def remember(self, view: str, index, codes) -> None:
        """Moves the stored codes of these images."""
        bank, codes = self._codes_of(view), tf.nn.l2_normalize(codes, -1)
        mixed = self.momentum * tf.gather(bank, index) + (1.0 - self.momentum) * codes
        updates = tf.IndexedSlices(tf.nn.l2_normalize(mixed, -1), index)
        bank.scatter_update(updates)

    def get_config(self):
        names = ("images", "negatives", "momentum", "loss")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
