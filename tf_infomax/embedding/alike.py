"""Images whose codes are near: to given ones, or to one another."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from tf_infomax.reporting import page
from tf_infomax.runtime.files import write_rows

DISTANCES = {"l1": "manhattan", "l2": "euclidean", "cosine": "cosine"}
_PAIRS = 10_000  # that are drawn for the distance of two images at random
_BESIDE = 10  # neighbours of each image among which near pairs are looked for
THUMBNAIL = 128  # pixels


@dataclass(frozen=True)
class Match:
    """Two images and how far apart their codes are.

    `share` is the distance in parts of the median distance of two images at random:
    it has no unit, so that it can be compared between encoders.
    """

    query: str
    found: str
    distance: float
    share: float


class Codes:
    """Codes of named images, to be searched.

    Args:
        names: of the images.
        rows: float32 `[n, D]`.
        distance: a row of `DISTANCES`.
    """

    def __init__(self, names: Sequence[str], rows: np.ndarray, distance: str = "l1"):
        from sklearn.neighbors import NearestNeighbors

        self.names, self.rows = list(names), rows
        self.search = NearestNeighbors(metric=DISTANCES[distance]).fit(rows)
        self.usual = _measure_usual(rows, DISTANCES[distance])

    def find_near(self, query: str, row: np.ndarray, count: int) -> list[Match]:
        """The images nearest to a code, without the one of the query's own name."""
        most = min(count + 1, len(self.names))
        distances, places = self.search.kneighbors(row[None], most)
        matches = [
            self._match(query, place, distance)
            for distance, place in zip(distances[0], places[0], strict=True)
            if self.names[place] != query
        ]
        return matches[:count]

    def find_pairs(self, count: int) -> list[Match]:
        """The nearest pairs, each once."""
        pairs, flat = self._edges()
        order = np.argsort(flat, kind="stable")[:count]
        return [
            self._match(self.names[pairs[0, k]], pairs[1, k], flat[k]) for k in order
        ]

    def find_groups(self, share: float) -> list[list[Match]]:
        """Images that near pairs join, the largest group first, as near-duplicates.

        Args:
            share: the largest distance of a near pair, in parts of the usual one.

        Returns:
            Of each group the matches of its first image, with all others, near first.
            Two images of a group may be further apart than a near pair.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
        from sklearn.metrics import pairwise_distances

        pairs, flat = self._edges()
        near = pairs[:, flat <= share * self.usual]
        n = len(self.names)
        edges = coo_array((np.ones(near.shape[1]), tuple(near)), shape=(n, n))
        _, labels = connected_components(edges, directed=False)
        sizes = np.bincount(labels)
        groups = []
        for label in np.flatnonzero(sizes > 1):
            first, *others = np.flatnonzero(labels == label)
            apart = pairwise_distances(
                self.rows[[first]], self.rows[others], metric=self.search.metric
            )[0]
            order = np.argsort(apart, kind="stable")
            name = self.names[first]
            groups.append([self._match(name, others[k], apart[k]) for k in order])
        return sorted(groups, key=len, reverse=True)

    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Places `[2, m]` of each image and its nearest, each pair once; distances."""
        beside = min(_BESIDE + 1, len(self.names))
        distances, places = self.search.kneighbors(self.rows, beside)
        first = np.repeat(np.arange(len(self.names)), beside)
        pairs = np.stack([first, places.ravel()])
        pairs.sort(axis=0)
        flat = distances.ravel()
        apart = pairs[0] != pairs[1]
        pairs, flat = pairs[:, apart], flat[apart]
        pairs, chosen = np.unique(pairs, axis=1, return_index=True)
        return pairs, flat[chosen]

    def _match(self, query: str, place: int, distance: float) -> Match:
        distance = float(distance)
        share = distance / self.usual if self.usual else 0.0
        return Match(query, self.names[place], distance, share)


def _measure_usual(rows: np.ndarray, metric: str) -> float:
    """The median distance of two different rows at random; 0.0 if all are one."""
    from sklearn.metrics.pairwise import paired_distances

    draws = np.random.default_rng(0).integers(0, len(rows), (2, _PAIRS))
    first, second = draws[:, draws[0] != draws[1]]
    if not len(first):
        return 0.0
    return float(np.median(paired_distances(rows[first], rows[second], metric=metric)))


def write_matches(path: Path, matches: Sequence[Match]) -> None:
    """Columns query, found, distance, share."""
    head = [field.name for field in fields(Match)]
    write_rows(path, head, map(astuple, matches))


def write_sheet(
    path: Path,
    title: str,
    told: Sequence[str],
    groups: Sequence[Sequence[Match]],
    picture: Callable[[str], np.ndarray | str],
) -> None:
    """A page with a row of images for each group of matches of one query.

    Args:
        path: of the page.
        title, told: its heading and the sentences below.
        groups: matches of one query each.
        picture: a name -> uint8 `[side, side, C]`, or why there is none.
    """
    shown: dict[str, str] = {}

    def image(name: str, below: str, kind: str = "") -> str:
        if name not in shown:
            shown[name] = _encode(picture(name))
        return page.thumbnail(shown[name], name, below, kind)

    parts = [page.paragraph(text) for text in told]
    for matches in groups:
        query = matches[0].query
        images = [image(query, "", "query")]
        images += [image(m.found, f"{100 * m.share:.1f} %") for m in matches]
        parts.append(page.sheet(images))
    page.write_page(path, title, parts)


def _encode(image: np.ndarray | str) -> str:
    """A picture as text for a page; empty where there is none."""
    from PIL import Image

    if isinstance(image, str):
        return ""
    held = io.BytesIO()
    Image.fromarray(image.squeeze()).save(held, "JPEG", quality=85)
    return base64.b64encode(held.getvalue()).decode()
