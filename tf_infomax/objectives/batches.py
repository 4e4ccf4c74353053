"""What a batch of an objective may be, and what of an encoder it goes into."""

from collections.abc import Callable, Iterable, Mapping

import keras
import tensorflow as tf

IMAGES = "x"  # the view that whole images are, if no others are made of them
_WHOLE = "image"
LABEL, INDEX = "label", "index"  # of a batch, beside its views


def put_front(front: keras.Model | None, encoder: keras.Model) -> keras.Model:
    """The encoder of whole images, given the model that makes its part of one."""
    if front is None:
        return encoder
    return keras.Model(front.input, encoder(front.output), name=encoder.name)


def name_features(encoder: keras.Model) -> keras.Model:
    """The encoder with named features: a single output is "code".

    Raises:
        ValueError: if it is not built, so that it has no features yet.
    """
    if isinstance(encoder, keras.Sequential):  # its output is one of its model inside
        output = encoder.outputs[0] if encoder.built else None
    else:
        output = getattr(encoder, "output", None)
    if output is None:
        raise ValueError(
            "an encoder must be a built model: begin it with keras.Input((H, W, C), "
            f"dtype='uint8'). Received: {encoder!r}."
        )
    if isinstance(output, Mapping):
        return encoder
    if isinstance(output, list | tuple):
        raise ValueError(
            "an encoder of several outputs must name them: keras.Model(images, "
            f"{{'local': ..., 'code': ...}}). Received: {len(output)} outputs."
        )
    return keras.Model(encoder.inputs[0], {"code": output}, name=encoder.name)


def as_batch(
    data: object,
    takes: Mapping,
    asks: Iterable[str] = (),
    make: Callable[[tf.Tensor], dict] | None = None,
    whole: keras.KerasTensor | None = None,
) -> dict:
    """A batch by names: views, and `label` and `index` where they are given.

    Args:
        data: a dict of views by name; or whole images, as a tensor, a pair (images,
            labels) or "image" of a dict.
        takes: view -> what its encoder takes: the views that must be there.
        asks: what else must be there.
        make: whole images -> views; None: they are view "x".
        whole: what whole images are.

    Raises:
        ValueError: with what was received, if it is none of these.
    """
    labels = None
    if isinstance(data, tuple | list):
        given = [each for each in data if each is not None]
        if not 1 <= len(given) <= 2:
            raise ValueError(
                "a batch is a dict of views, images, or a pair (images, labels), "
                f"without weights. Received: {len(given)} tensors."
            )
        data, labels = [*data, None][:2]
    batch = dict(data) if isinstance(data, Mapping) else {_WHOLE: data}
    batch |= {} if labels is None else {LABEL: labels}
    batch = {name: value for name, value in batch.items() if value is not None}
    if _WHOLE in batch:
        images = batch.pop(_WHOLE)
        if make is None:
            batch[IMAGES] = images
        else:
            batch |= make(_check_images(_WHOLE, images, whole))
    missing = [name for name in (*takes, *asks) if name not in batch]
    if missing:
        raise ValueError(
            f"the batch lacks {', '.join(missing)}. Received: "
            f"{', '.join(batch) or 'nothing'}. Views come as a dict {{name: images}}, "
            f"labels as (images, labels) or under {LABEL!r}."
        )
    for view, wanted in takes.items():
        batch[view] = _check_images(view, batch[view], wanted)
    if LABEL in batch:
        batch[LABEL] = _flatten_labels(batch[LABEL])
    return batch


def _flatten_labels(labels) -> tf.Tensor:
    """`[N]` of `[N]` or `[N, 1]`; refuses one-hot labels."""
    shape = tf.TensorShape(labels.shape)
    if shape.rank is not None and shape.rank > 1 and shape[1:] != [1]:
        raise ValueError(
            f"labels must be whole numbers [N] or [N, 1]. Received: {shape.as_list()}."
        )
    return labels if shape.rank == 1 else tf.reshape(labels, [-1])


def _check_images(view: str, given, wanted) -> tf.Tensor:
    """The images; refuses those of another shape or kind of numbers."""
    bytes_wanted = wanted.dtype == "uint8"
    if not hasattr(given, "shape"):
        kind = type(given).__name__
        raise ValueError(f"{view} must be a tensor of images. Received: a {kind}.")
    dtype, shape = tf.as_dtype(given.dtype).name, tf.TensorShape(given.shape)
    if shape.is_compatible_with(wanted.shape) and (
        dtype == "uint8" or not bytes_wanted
    ):
        return tf.ensure_shape(given, wanted.shape)
    if shape.is_compatible_with(wanted.shape) and tf.as_dtype(dtype).is_floating:
        return tf.ensure_shape(_round_pixels(view, given), wanted.shape)
    kind = "uint8 images, 0 to 255," if bytes_wanted else wanted.dtype
    raise ValueError(
        f"{view} must be {kind} {list(wanted.shape)}. Received: {dtype} "
        f"{shape.as_list() if shape.rank is not None else 'of unknown shape'}."
    )


def _round_pixels(view: str, given) -> tf.Tensor:
    """uint8 of floats from 0 to 255: keras.utils.image_dataset_from_directory's.

    Floats from 0 to 1 would all be black; they are refused when they come.
    """
    given = tf.cast(given, tf.float32)
    low, high = tf.reduce_min(given), tf.reduce_max(given)
    told = f"{view} must be uint8 images, or floats from 0 to 255 (not from 0 to 1)"
    fits = [
        tf.debugging.assert_greater_equal(low, 0.0, told),
        tf.debugging.assert_less_equal(high, 255.0, told),
        tf.debugging.assert_greater(high, 1.0, told),
    ]
    with tf.control_dependencies(fits):
        return tf.cast(tf.round(given), tf.uint8)
