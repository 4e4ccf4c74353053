"""Any picture -> uint8, upright, RGB or grey, over white: what all commands read by.

JPEG and PNG by TensorFlow, as a served model decodes them; by Pillow what TensorFlow
does not read, or not right. Either way the pixels are Pillow's (of 16 bits to the
rounding), which is what the tests hold them against.
"""

import io
import warnings
from collections.abc import Callable
from contextlib import ExitStack, contextmanager

import numpy as np

from tf_infomax.data.gate import Gate, return_memory
from tf_infomax.data.headers import (
    LARGEST_IMAGE,
    Header,
    PictureError,
    check_size,
    read_header,
)

# Of all pictures that are being decoded at one time; one that needs more goes alone.
# TensorFlow keeps as much for good, and encoded files come on top (`files`).
_MEMORY = 512 << 20  # bytes
_BLENDED = 16_000_000  # pixels over white at once: TensorFlow takes 16 bytes for each
_PILLOW = 24  # bytes a pixel that Pillow and its decoders hold, and what comes after
_STRIP = 1 << 20  # pixels converted at a time


def make_reader(
    image_shape: tuple[int, int, int], rule: str, largest: int = LARGEST_IMAGE
) -> Callable[[bytes], np.ndarray]:
    """A function from an encoded picture to uint8 `[H, W, C]`, for many threads.

    Upright by EXIF; transparent pixels over white; 16 bits divided by 257; CMYK and
    palettes as RGB; one channel is the luma of these. Of several frames or pages the
    first.

    Args:
        image_shape: (H, W, C).
        rule: of `decoding.RESIZE_RULES`.
        largest: most pixels; half as many where Pillow has to decode.

    The function raises PictureError, with a few words, for what cannot be used.
    """
    import tensorflow as tf

    from tf_infomax.data.decoding import compile_reader, explain

    ordinary, others, resize = compile_reader(image_shape, rule)
    orientations = [tf.constant(k) for k in range(9)]
    flags = [tf.constant(False), tf.constant(True)]
    _load_pillow()
    gate = Gate(_MEMORY)

    def to_tensor(encoded: bytes) -> tf.Tensor:
        # Of bytes as they are, `tf.constant` makes four copies.
        return tf.convert_to_tensor(np.array(encoded, object))

    def read_plain(encoded: bytes, header: Header) -> np.ndarray:
        orientation, special = header.orientation, header.special
        if orientation == 1 and not special:
            return ordinary[header.kind](to_tensor(encoded)).numpy()
        hints = orientations[orientation], flags[special]
        return others[header.kind](to_tensor(encoded), *hints).numpy()

    def open_pixels(encoded: bytes, kind: str, most: int, held: ExitStack):
        with open_by_pillow(encoded, kind, most) as image:
            held.enter_context(gate.hold(_PILLOW * image.width * image.height))
            return to_pixels(image, image_shape[2])

    def finish(pixels: np.ndarray) -> np.ndarray:
        return_memory(_PILLOW * pixels.shape[0] * pixels.shape[1])
        return resize(tf.constant(pixels)).numpy()

    def read(encoded: bytes) -> np.ndarray:
        header = read_header(encoded, largest)
        blended = header.special and header.width * header.height > _BLENDED
        if header.plain and not blended:
            try:
                with gate.hold(_need_of(header, len(encoded))):
                    return read_plain(encoded, header)
            except tf.errors.OpError as error:
                raise PictureError(explain(error)) from error
        most = largest if blended else largest // 2
        with ExitStack() as held:  # until what Pillow opens is closed and freed
            return finish(open_pixels(encoded, header.kind, most, held))

    return read


def _need_of(header: Header, size: int) -> int:
    """Bytes to decode, turn, crop and resize a JPEG or PNG, at most about."""
    turned = header.orientation > 1
    each = 6 + turned + 4 * header.progressive + 14 * header.special
    return size + each * header.width * header.height


def _load_pillow() -> None:
    """Imports Pillow's plugins before threads do."""
    from PIL import Image

    Image.init()
    # Of damaged metadata and large images; either is dealt with here.
    warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def open_by_pillow(encoded: bytes, kind: str, largest: int = LARGEST_IMAGE):
    """Pillow's image of this kind (one of `headers.KINDS`), its pixels still unread.

    Raises:
        PictureError: if Pillow does not read it, here or within the block, and for
            what is too small or has more than `largest` pixels.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=(kind,)) as image:
            check_size(image.width, image.height, largest)
            yield image
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"image has more than {largest} pixels") from error
    except Exception as error:  # a damaged file may raise whatever its plugin raises
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "damaged, or of a sort that Pillow does not read"
        raise PictureError(f"{kind}: {reason[:160]}") from error


def to_pixels(image, channels: int) -> np.ndarray:
    """An image of Pillow as uint8 [h, w, C]: upright, over white, 16 bits / 257.

    In strips: Pillow's conversions would each hold the whole image once more.

    Raises:
        PictureError: for pixels of 32 bits, whose white is unknown.
    """
    image.load()
    orientation = image.getexif().get(274, 1)  # Pillow has turned a TIFF by now
    if image.mode in ("I", "F"):
        raise PictureError("pixels of 32 bits, of which none is known to be white")
    pixels = np.empty((image.height, image.width, channels), np.uint8)
    rows = max(_STRIP // image.width, 1)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = _convert(strip, channels)
    return np.ascontiguousarray(_turn_upright(pixels, orientation))


def _convert(image, channels: int) -> np.ndarray:
    from PIL import Image

    if image.mode.startswith("I;16"):
        values = (np.asarray(image).astype(np.uint32) + 128) // 257
        if image.has_transparency_data:
            values[np.asarray(image) == image.info["transparency"]] = 255
        return np.repeat(values.astype(np.uint8)[..., None], channels, axis=-1)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    image = image.convert("RGB")
    if channels == 1:
        image = image.convert("L")
    return np.asarray(image).reshape(image.height, image.width, channels)


def _turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As `decoding.turn_upright`."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
