"""Where the negatives of a term come from, and whether its value can be a bound.

A row of `NEGATIVES` makes scores of the embeddings of a batch, and a value of them;
pairs of the joint distribution stand at equal positions. Only independent draws from
the product of the marginals make an estimate of mutual information of it; everything
else is a score.

Scores of "hard" and "weighted" stay below the information all the same. Hard: given
the N candidates, the k + 1 highest share out 1 at most, and each other one has 1 part
of k + 1 at most, so that the shares times (k + 1) / N are a distribution over which
candidate is the pair's own, whose log-likelihood no guess exceeds. Weighted, with
hardness >= 0: weights that rise with the scores raise the negatives' mean, and the
value is at most InfoNCE, whatever the scores. But neither tells how far below.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from tf_infomax import bounds
from tf_infomax.objectives.replicas import gather
from tf_infomax.runtime.blocks import ScoresInBlocks
from tf_infomax.runtime.memory import largest_tensor
from tf_infomax.runtime.progress import tell

if TYPE_CHECKING:
    from tf_infomax.objectives.terms import Term

_NEEDED = 18  # bytes for each score, its gradient and what lies between them
_PER_BLOCK = 2  # blocks that would fit at the same time; small ones are slow


class Negatives(NamedTuple):
    """A row of `NEGATIVES`.

    Attributes:
        scores: (term, hx, hy) -> scores, of what `term.critic.embed` gives.
        of_scores: (term, scores) -> value, nats.
        candidates: (term, batch size, locations) -> how many InfoNCE has, K.
        independent: whether they are draws from the product of the marginals.
        meaning: in words, with the options of the negatives in braces.
    """

    scores: Callable[..., tf.Tensor]
    of_scores: Callable[..., tf.Tensor]
    candidates: Callable[..., int]
    independent: bool
    meaning: str

    def value(self, term: "Term", hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
        """The term's value with these negatives."""
        return self.of_scores(term, self.scores(term, hx, hy))


def score_all_pairs(term: "Term", hx: tf.Tensor, hy: tf.Tensor) -> bounds.Scores:
    """Scores of every x of all replicas with every y: `[..., N, N]`.

    In blocks where all of them at once would not fit (`runtime.memory`).
    """
    hx, hy = gather(hx), gather(hy)
    columns = 0
    if term.row.in_blocks and "negatives" not in dict(term.options):
        columns = _count_columns(*hx.shape[:-1])
    if columns:
        return ScoresInBlocks(term.critic.score, hx, hy, columns)
    return term.critic.score(hx, hy)


@lru_cache
def _count_columns(count: int | None, locations: int = 1) -> int:
    """How many columns of the scores to compute at a time; 0: all of them."""
    if count is None or _NEEDED * locations * count**2 <= largest_tensor():
        return 0
    columns = max(1, largest_tensor() // (_PER_BLOCK * _NEEDED * locations * count))
    columns = min(columns, count)
    tell(
        f"the scores of {count} x {count} pairs at {locations} locations would take "
        f"{_NEEDED * locations * count**2 / 1e9:.0f} GB with their gradient: they are "
        f"computed {columns} columns at a time, twice a step"
    )
    return columns


def of_scores(function: Callable, scores: bounds.Scores) -> bounds.Scores:
    """A function of the scores, element by element."""
    whole = not isinstance(scores, ScoresInBlocks)
    return function(scores) if whole else scores.map(function)


def _by_the_bound(term, scores) -> tf.Tensor:
    return term.value(scores)


def _by_some(term, scores) -> tf.Tensor:
    """The bound with K others of the batch for each."""
    count = dict(term.negative_options)["count"]
    options = {**dict(term.options), "negatives": count}
    return tf.reduce_mean(term.row.function(scores, **options))


def _count_some(term, batch_size: int, locations: int) -> int:
    count = min(dict(term.negative_options)["count"], batch_size - 1)
    return _count_all(term, count + 1, locations)


def _count_all(term, batch_size: int, locations: int) -> int:
    return 1 + (locations if term.pooled else 1) * (batch_size - 1)


def _swap_neighbours(term, hx, hy) -> tf.Tensor:
    """Neighbours swap partners: N / 2 problems of two pairs each, `[N / 2, 2, 2]`."""
    hx, hy = gather(hx), gather(hy)
    swapped = tf.reshape(hy, [-1, 2, hy.shape[-1]])[:, ::-1]
    own = term.critic.score_pairs(hx, hy)
    cross = term.critic.score_pairs(hx, tf.reshape(swapped, tf.shape(hy)))
    own, cross = (tf.reshape(u, [-1, 2]) for u in (own, cross))
    rows = [
        tf.stack([own[:, 0], cross[:, 0]], axis=-1),
        tf.stack([cross[:, 1], own[:, 1]], axis=-1),
    ]
    return tf.stack(rows, axis=1)


def _over_all_problems(term, scores) -> tf.Tensor:
    """DV's logarithm is taken of the mean over all problems at once.

    Of the two negatives of each alone it would stay biased, however many pairs there
    are. The other bounds are linear in their negatives or have their own candidates.
    """
    if term.bound == "dv":
        return tf.reduce_mean(bounds.dv(scores, pooled=True))
    return term.value(scores)


def _score_own_locations(term, hx, hy) -> tf.Tensor:
    """Other locations of the same image: `[N, L, L]` scores."""
    hx, hy = (tf.transpose(h, [1, 0, 2]) for h in (hx, hy))
    return term.critic.score(hx, hy)


def _both_ways(rank: Callable):
    """Ranks all y for each x and all x for each y."""

    def value(term, scores):
        own = tf.linalg.diag_part(scores)
        others = tf.linalg.set_diag(scores, tf.fill(tf.shape(own), -math.inf))
        sides = (others, tf.linalg.matrix_transpose(others))
        options = dict(term.negative_options)
        return tf.reduce_mean([rank(own, side, **options) for side in sides])

    return value


def rank_hardest(own: tf.Tensor, others: tf.Tensor, count: int = 16) -> tf.Tensor:
    """InfoNCE against the `count` highest scores of others, nats, at most log(1 + k).

    Args:
        own: scores `[..., N]` of the pairs.
        others: `[..., N, N]`, -inf on the diagonal.
        count: of negatives, at most N - 1.
    """
    hardest = tf.math.top_k(others, count, sorted=False).values
    return bounds.rank_candidates(own, hardest)


def rank_weighted(
    own: tf.Tensor, others: tf.Tensor, hardness: float = 1.0
) -> tf.Tensor:
    """InfoNCE whose negatives weigh e^(hardness f), normalized to a mean of 1.

    hardness = 0 is InfoNCE. Source: Robinson et al. 2021, section 3.2.
    """
    n = tf.cast(tf.shape(others)[-1], own.dtype)
    masked = tf.where(tf.math.is_inf(others), others, hardness * others)
    tilted = tf.where(tf.math.is_inf(others), others, (1.0 + hardness) * others)
    mean = tf.reduce_logsumexp(tilted, -1) - tf.reduce_logsumexp(masked, -1)
    regret = tf.nn.softplus(tf.math.log(n - 1.0) + mean - own)
    return tf.math.log(n) - tf.reduce_mean(regret, axis=-1)


NEGATIVES: dict[str, Negatives] = {
    "iid": Negatives(
        score_all_pairs, _by_the_bound, _count_all, True, "all others of the batch"
    ),
    # In a circle, from the next one on: which others these are does not matter in a
    # batch in random order.
    "some": Negatives(
        score_all_pairs,
        _by_some,
        _count_some,
        True,
        "{count} others of the batch",
    ),
    "derangement": Negatives(
        _swap_neighbours,
        _over_all_problems,
        lambda *_: 2,
        True,
        "one other of the batch for each pair",
    ),
    "hard": Negatives(
        score_all_pairs,
        _both_ways(rank_hardest),
        lambda term, *_: 1 + dict(term.negative_options)["count"],
        False,
        "the others of the batch with the highest scores",
    ),
    "weighted": Negatives(
        score_all_pairs,
        _both_ways(rank_weighted),
        lambda term, batch_size, _: batch_size,
        False,
        "all others of the batch, hard ones weighing more",
    ),
    "same_image": Negatives(
        _score_own_locations,
        _by_the_bound,
        lambda term, batch_size, locations: locations,
        False,
        "other locations of the same image",
    ),
    "shared_context": Negatives(
        score_all_pairs,
        _by_the_bound,
        _count_all,
        False,
        "all others of a batch of consecutive images, which have something in common",
    ),
    # What `MemoryBank` replaces in training; where there is no bank, all others.
    "memory": Negatives(
        score_all_pairs,
        _by_the_bound,
        _count_all,
        False,
        "codes of images of earlier batches",
    ),
}
