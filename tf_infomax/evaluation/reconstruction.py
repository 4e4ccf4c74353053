"""How much of an image can be made again of its frozen features.

    min over G of  E |x - G(f(x))|^2

G is a decoder that mirrors the encoder, trained on the features of training images;
what it makes of those of test images is compared with them: structural similarity
(`similarity`), and the share of the variance of the pixels over images that is
explained, 1 - E |x - G(f(x))|^2 / E |x - E x|^2.

Source: Hjelm et al. 2019, section 4.2 and table 3. What is called MS-SSIM there is, by
the released program, SSIM at one scale with the constants of images in [0, 1] on images
in [-1, 1].
"""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.encoders import build_decoder
from tf_infomax.encoders.any_size import name_row
from tf_infomax.estimation.loop import Loop, Training, climb
from tf_infomax.estimation.options import TrainOptions
from tf_infomax.evaluation.features import draw_share, draw_some
from tf_infomax.evaluation.probes import standardize
from tf_infomax.evaluation.similarity import (
    count_scales,
    smallest_side,
    structural_similarity,
)
from tf_infomax.evaluation.summary import describe
from tf_infomax.runtime.progress import Progress
from tf_infomax.runtime.seeds import seeded

_BATCH, _RATE = 64, 1e-3
_MOST = 300_000_000  # pixels of all images, which are numbers in part
_LOOKS, _CHOOSING = 4, 500  # times to look at images to choose on, and how many
_ROWS = 250  # images that are decoded at a time
_SHOWN = 10  # test images in the picture
_UNITS = {"code": "Y", "fc": "fc", "conv": "conv"}


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """SSIM and explained variance of test images decoded of features; a picture."""
    config = subject.config
    train, choose, test = draw_share(subject.unlabelled, _MOST)
    parts = train, draw_some(choose, _CHOOSING), test
    names = [n for n in config.decoded if n in subject.objective.encoder.output]
    for name in sorted({*config.decoded} - {*names}):
        subject.tell(f"{name} is not decoded: --encoder={config.encoder} has none")
    images = [subject.seen(part) for part in parts]
    features = [subject.all_features(names, part) for part in parts]
    chosen = np.linspace(0, len(images[2]) - 1, min(_SHOWN, len(images[2]))).astype(int)
    rows = [images[2][chosen]]
    total = len(names) * config.decoder_seeds * config.decoder_steps
    with Progress(total, 0, config.progress, "steps of decoders") as shown:
        done = 0
        for name in names:
            own, decoded = standardize(*(part[name] for part in features)), []
            for seed in range(config.decoder_seeds):
                options = TrainOptions(
                    batch_size=_BATCH,
                    learning_rate=_RATE,
                    max_steps=config.decoder_steps,
                    check_every=-(-config.decoder_steps // _LOOKS),
                    schedule="cosine",
                    seed=seed,
                    shown=lambda steps, done=done: shown.update(done + steps),
                )
                kind = name_row(config.encoder, subject.objective.encoder)
                training = fit_decoder(kind, own[:2], images[:2], options)
                decoded.append(decode(training.model, own[2]))
                done += config.decoder_steps
            yield from _describe(name, images[2], decoded)
            rows.append(np.round(255.0 * decoded[0][chosen]).astype(np.uint8))
    made = ", ".join(_UNITS[name] for name in names)
    subject.draw(
        "decoded.png", np.stack(rows), f"image | from its {made}, by a decoder"
    )


def fit_decoder(
    kind: str,
    features: Sequence[np.ndarray],
    images: Sequence[np.ndarray],
    options: TrainOptions,
) -> Training:
    """A decoder trained with squared error.

    Args:
        kind: the encoder's name, which the decoder mirrors.
        features: `[n, D]` to train on, and to choose the step on.
        images: uint8 `[n, H, W, C]` of either part.
        options: of training.
    """
    with seeded(options.seed):
        decoder = build_decoder(kind, images[0].shape[1:], features[0].shape[1])

    def loss(features, images, key):
        made = decoder(features, training=True)["image"]
        errors = tf.square(tf.cast(images, tf.float32) / 255.0 - made)
        lost = tf.reduce_mean(tf.reduce_sum(errors, axis=[1, 2, 3]))
        return lost, -lost

    held_out = features[1], images[1] / np.float32(255.0)
    training = Training(decoder)
    rows = tf.constant(features[0]), tf.constant(images[0])
    climb(
        training,
        Loop(decoder.trainable_variables, loss, rows, options),
        rows,
        lambda: -float(np.mean(np.square(decode(decoder, held_out[0]) - held_out[1]))),
        options,
    )
    return training


def decode(decoder: keras.Model, features: np.ndarray) -> np.ndarray:
    """Intensities between 0 and 1, float32 `[n, H, W, C]`, in inference mode."""
    return decoder.predict(features, _ROWS, verbose=0)["image"]


def explained(images: np.ndarray, decoded: np.ndarray) -> float:
    """1 - E |x - x'|^2 / E |x - E x|^2 of intensities; 0 of images that never vary."""
    if (images == images[:1]).all():
        return 0.0
    mean = images.mean(axis=0, dtype=np.float64)
    errors = np.sum(np.square(images - decoded), dtype=np.float64)
    return float(1.0 - errors / np.sum(np.square(images - mean)))


def _describe(name: str, images: np.ndarray, decoded: list) -> Iterator:
    """The results of a feature, of all decoders that were trained on it."""
    images = images / np.float32(255.0)
    scales = count_scales(images.shape[1:3])
    if scales:
        found = [structural_similarity(images, each, scales) for each in decoded]
        kind, words = "ms_ssim", "multi-scale structural similarity"
        if scales == 1:
            kind, words = "ssim", "structural similarity, at one scale (five need "
            words += f"{smallest_side(5)} pixels)"
        yield (
            f"reconstruction/{kind}/{name}",
            describe(
                [each.mean() for each in found],
                "",
                f"{words}, of test images and what is decoded of features",
                ceiling=1.0,
                standard_error=float(found[0].std(ddof=1) / len(images) ** 0.5),
                scales=scales,
                images=len(images),
            ),
        )
    yield (
        f"reconstruction/explained/{name}",
        describe(
            [explained(images, each) for each in decoded],
            "share",
            "of the variance of the pixels, decoded of features",
            ceiling=1.0,
            images=len(images),
        ),
    )
