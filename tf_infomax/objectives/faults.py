"""Steps whose numbers are not finite: which was the first, and how many."""

from collections.abc import Iterable

import tensorflow as tf

from tf_infomax.objectives.replicas import sum_up


class Faults:
    """Noted in the graph, so that no step has to wait until somebody looks.

    Attributes:
        first: the first faulty step since `clear`, or -1.
        count: of them since then.
    """

    def __init__(self):
        options = dict(
            trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self.first = tf.Variable(-1, dtype=tf.int64, **options)
        self.count = tf.Variable(0, dtype=tf.int64, **options)

    def note(self, step: tf.Tensor, tensors: Iterable[tf.Tensor]) -> tf.Tensor:
        """Whether all of these are finite, on all replicas; else the step is noted."""
        finite = [tf.reduce_all(tf.math.is_finite(each)) for each in tensors]
        faulty = sum_up(tf.cast(~tf.reduce_all(finite), tf.int64))
        fine = tf.equal(faulty, 0)
        step = tf.cast(step, tf.int64)
        self.first.assign(tf.where(fine | (self.first >= 0), self.first, step))
        self.count.assign_add(tf.cast(~fine, tf.int64))
        return fine

    def clear(self) -> None:
        """Forgets them."""
        self.first.assign(-1)
        self.count.assign(0)
