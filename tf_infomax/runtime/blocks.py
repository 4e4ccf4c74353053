"""Scores of all pairs, a few columns at a time: what is summed of them is kept alone.

All that the bounds need of N^2 L scores are those of the pairs themselves and sums over
the others, so that neither value nor gradient has to hold more than one block of
columns; the gradient computes the scores once more.

Imports TensorFlow only.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

_NOTHING = -1e30  # as a score: no part of a sum of e^u; -inf would have no gradient
_OWN = 16  # pairs at a time of which only the diagonal is wanted


class ScoresInBlocks:
    """What `[..., N, N]` scores of a critic are, without ever being all there.

    Args:
        score: (hx `[N, ...]`, hy `[M, ...]`) -> scores `[..., N, M]`.
        hx, hy: embeddings of both sides; N must be known.
        columns: how many columns of the scores to compute at a time.
        function: of the scores, elementwise; None: as they are.
    """

    dtype = tf.float32

    def __init__(
        self,
        score: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        hx: tf.Tensor,
        hy: tf.Tensor,
        columns: int,
        function: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ):
        self.score, self.hx, self.hy = score, hx, hy
        self.columns, self.function = columns, function
        self.count = int(hx.shape[0])
        self.places = hx.shape[1] if hx.shape.rank == 3 else None

    def map(self, function: Callable[[tf.Tensor], tf.Tensor]) -> "ScoresInBlocks":
        """These scores through a function, element by element."""
        own = self.function
        both = function if own is None else lambda scores: function(own(scores))
        return ScoresInBlocks(self.score, self.hx, self.hy, self.columns, both)

    def positives(self) -> tf.Tensor:
        """Of the pairs themselves: `[..., N]`."""
        hx, hy = (_divide(side, _OWN) for side in (self.hx, self.hy))

        def diagonal(shared, parts, number):
            return tf.linalg.diag_part(self._score(*parts))

        return self._join(map_blocks(diagonal, [], [hx, hy]))

    def log_sum_exp(self, over: str, pooled: bool = False) -> tf.Tensor:
        """log of the sum of e^u of all other pairs.

        Args:
            over: "x": of each y, `[..., N]`; "y": of each x, `[..., N]`; "pairs": of
                all, `[...]`.
            pooled: also over the places of axis -3, which is dropped.
        """
        axes = {"x": [-2], "y": [-1], "pairs": [-2, -1]}[over]
        axes = [-3, *axes] if pooled else axes

        def total(scores, kept):
            scores = tf.where(kept, scores, _NOTHING)
            return tf.reduce_logsumexp(scores, axis=axes)

        parts = self._reduce(total)
        return self._join(parts) if over == "x" else tf.reduce_logsumexp(parts, axis=0)

    def sum(self, function: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """The sum of a function of the scores of all other pairs: `[...]`."""

        def total(scores, kept):
            values = tf.where(kept, function(scores), 0.0)
            return tf.reduce_sum(values, axis=[-2, -1])

        return tf.reduce_sum(self._reduce(total), axis=0)

    def _score(self, hx, hy) -> tf.Tensor:
        scores = tf.cast(self.score(hx, hy), tf.float32)
        return scores if self.function is None else self.function(scores)

    def _reduce(self, reduce) -> tf.Tensor:
        """`[blocks, ...]` of (scores, which are those of other pairs) of each block."""

        def block(shared, parts, number):
            columns = number * self.columns + tf.range(self.columns)
            kept = tf.range(self.count)[:, None] != columns
            kept &= columns < self.count
            return reduce(self._score(*shared, *parts), kept)

        return map_blocks(block, [self.hx], [_divide(self.hy, self.columns)])

    def _join(self, parts: tf.Tensor) -> tf.Tensor:
        """`[blocks, ..., columns]` -> `[..., N]`."""
        rank = len(parts.shape)
        joined = tf.transpose(parts, [*range(1, rank - 1), 0, rank - 1])
        shape = tf.concat([tf.shape(joined)[:-2], [-1]], axis=0)
        return tf.reshape(joined, shape)[..., : self.count]


def _divide(rows: tf.Tensor, size: int) -> tf.Tensor:
    """`[N, ...]` -> `[blocks, size, ...]`, with zeros at the end."""
    missing = -int(rows.shape[0]) % size
    padded = tf.pad(rows, [[0, missing], *([[0, 0]] * (len(rows.shape) - 1))])
    return tf.reshape(padded, [-1, size, *rows.shape[1:]])


def map_blocks(
    function: Callable[[list, list, tf.Tensor], tf.Tensor],
    shared: Sequence[tf.Tensor],
    parts: Sequence[tf.Tensor],
) -> tf.Tensor:
    """What a function gives of each block, stacked; its gradient holds one at a time.

    Args:
        function: (shared, parts of a block, its number) -> a float32 tensor. It is
            called once more for the gradient, and may read variables.
        shared: what all blocks have.
        parts: `[blocks, ...]` each.
    """
    count, kept = int(parts[0].shape[0]), len(shared)

    @tf.custom_gradient
    def run(*inputs):
        shared, parts = inputs[:kept], inputs[kept:]
        stacked = tf.map_fn(
            lambda block: function([*shared], [*block[:-1]], block[-1]),
            (*parts, tf.range(count)),
            fn_output_signature=tf.float32,
        )

        def gradient(upstream, variables=()):
            def step(number, totals, rows):
                own = [part[number] for part in parts]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch([*shared, *own, *variables])
                    value = function([*shared], own, number)
                sources = [*shared, *variables, *own]
                found = tape.gradient(
                    value,
                    sources,
                    upstream[number],
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                summed = [t + f for t, f in zip(totals, found, strict=False)]
                last = found[len(summed) :]
                rows = [r.write(number, f) for r, f in zip(rows, last, strict=True)]
                return number + 1, summed, rows

            totals = [tf.zeros_like(each) for each in (*shared, *variables)]
            rows = [
                tf.TensorArray(part.dtype, count, element_shape=part.shape[1:])
                for part in parts
            ]
            _, totals, rows = tf.while_loop(
                lambda number, *_: number < count,
                step,
                (0, totals, rows),
                parallel_iterations=1,
            )
            own = [*totals[:kept], *(each.stack() for each in rows)]
            return (own, [*totals[kept:]]) if variables else own

        return stacked, gradient

    return run(*shared, *parts)
