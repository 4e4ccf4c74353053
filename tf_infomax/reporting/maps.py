"""A map of codes: in two dimensions, what the encoder takes for alike lies close."""

from pathlib import Path

import numpy as np

from tf_infomax.data.images import name_class
from tf_infomax.runtime.files import replacing

_FEW = 10  # codes of which there is nothing to be learned but their directions
_CELLS = 26  # of the sheet of thumbnails, a side
_THUMBNAIL = 48  # pixels a side, at most
_COLOURS = 20  # classes that colours tell apart


def draw_map(images: np.ndarray, codes: np.ndarray, labels, names, path: Path) -> None:
    """Thumbnails at the places of their codes, and beside them the classes.

    Args:
        images: uint8 `[n, H, W, C]`.
        codes: float32 `[n, D]`.
        labels: `[n]` whole numbers or text, or None; negative ones are none.
        names: of class k at index k, or None.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    places, method = _place(codes)
    classes = _name_classes(labels, names)
    count = 1 + (classes is not None)
    figure = Figure(figsize=(6.2 * count, 6.4), layout="constrained")
    sheet = figure.add_subplot(1, count, count)
    sheet.imshow(_tile(images, places), cmap="gray", vmin=0, vmax=255)
    sheet.axis("off")
    if classes is not None:
        axes = figure.add_subplot(1, count, 1)
        for number, name in enumerate(np.unique(classes)):
            here = places[classes == name]
            axes.scatter(*here.T, s=9, color=f"C{number % 10}", label=name,
                         marker="o" if number < 10 else "^")  # fmt: skip
        axes.set(xticks=[], yticks=[], box_aspect=1)
        axes.legend(fontsize="small", ncols=2, loc="best", framealpha=0.6)
    figure.suptitle(
        f"{len(codes)} test images by their codes ({method})", fontsize="small"
    )
    with replacing(path) as file:
        figure.savefig(file, dpi=110)


def _place(codes: np.ndarray) -> tuple[np.ndarray, str]:
    """Two coordinates for each code, and by what: UMAP where it is installed."""
    directions = _project(codes)
    spread = directions[:, 0].std()
    if len(codes) < _FEW or spread == 0.0:
        return directions, "principal components"
    try:
        from umap import UMAP
    except ImportError:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(codes) - 1) / 3)
        start = (1e-4 / spread * directions).astype(np.float32)
        method = TSNE(2, perplexity=perplexity, init=start, random_state=0)
        return method.fit_transform(codes), "t-SNE"
    return UMAP(random_state=0).fit_transform(codes), "UMAP"


def _project(codes: np.ndarray) -> np.ndarray:
    """The first two principal components, `[n, 2]`; 0 where there are fewer."""
    centred = codes - codes.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    found = (left * values)[:, :2]
    return np.pad(found, [(0, 0), (0, 2 - found.shape[1])])


def _name_classes(labels, names) -> np.ndarray | None:
    """A name for each label; None where they are none, or too many for colours."""
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.dtype.kind in "iu" and (labels < 0).any():
        return None
    if len(np.unique(labels)) > _COLOURS:
        return None
    return np.array([name_class(names, label) for label in labels])


def _tile(images: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A grid of cells, each showing the image that lies nearest to its centre."""
    low, high = places.min(axis=0), places.max(axis=0)
    cells = (places - low) / np.maximum(high - low, 1e-9) * (_CELLS - 1)
    columns, rows = np.rint(cells).astype(int).T
    apart = np.abs(cells - np.stack([columns, rows], axis=1)).sum(axis=1)
    step = -(-max(images.shape[1:3]) // _THUMBNAIL)
    images = images[:, ::step, ::step]
    height, width, channels = images.shape[1:]
    sheet = np.full((_CELLS, height, _CELLS, width, channels), 255, np.uint8)
    for index in np.argsort(-apart, kind="stable"):  # the nearest one comes last
        sheet[_CELLS - 1 - rows[index], :, columns[index]] = images[index]
    return sheet.reshape(_CELLS * height, _CELLS * width, channels).squeeze()
