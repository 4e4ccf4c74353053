"""What the first bytes of a picture say of it, before a pixel is decoded.

Neither TensorFlow nor Pillow is needed. JPEG and PNG are read as far as to know whether
TensorFlow's decoder gets them right; of all others the kind alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import error as StructError  # noqa: N812
from struct import unpack_from

from tf_infomax.data.images import SMALLEST_SIDE

LARGEST_IMAGE = 64_000_000  # pixels: 192 MB decoded, 8,000 x 8,000
LARGEST_FILE = 256 << 20  # bytes: more than that many pixels take uncompressed

# No coding is denser: a bit for each block of 64 pixels (the scan of a progressive JPEG
# that holds the means), and deflate's longest matches.
PIXELS_PER_BYTE_OF_JPEG = 512
DEFLATE_RATIO = 1032
MOST_PIXELS_PER_BYTE = 8 * DEFLATE_RATIO  # PNG of one bit
# Each scan of a progressive JPEG goes over all pixels; usual are about ten.
_LARGEST_SCANS = 20 * LARGEST_IMAGE  # pixels times scans

# What Pillow calls them; the first bytes, "." for any.
_MAGICS = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "WEBP": (b"RIFF....WEBP",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "AVIF": (b"....ftypavif", b"....ftypavis"),
}
KINDS = tuple(_MAGICS)


class PictureError(ValueError):
    """A picture that cannot be used: why, in a few words."""


@dataclass(frozen=True, slots=True)
class Header:
    """Of an encoded picture.

    Attributes:
        kind: one of `KINDS`.
        width, height: as stored, before the orientation; 0 if not read.
        orientation: by EXIF, 1 to 8.
        special: whether pixels of a PNG may be transparent.
        plain: whether TensorFlow decodes it to what is stored.
        progressive: whether decoding holds all of a JPEG's coefficients.
    """

    kind: str
    width: int = 0
    height: int = 0
    orientation: int = 1
    special: bool = False
    plain: bool = False
    progressive: bool = False


def read_header(encoded: bytes, largest: int = LARGEST_IMAGE) -> Header:
    """The header of a picture whose size is bearable.

    Raises:
        PictureError: for bytes of another kind, and for what is too small, has more
            than `largest` pixels, or claims more pixels than its bytes can hold.
    """
    kind = find_kind(encoded)
    if kind not in _READERS:
        return Header(kind)
    try:
        header = _READERS[kind](encoded)
    except (StructError, IndexError) as error:
        raise PictureError(f"{kind} is cut off within its header") from error
    check_size(header.width, header.height, largest)
    return header


def find_kind(encoded: bytes) -> str:
    """One of `KINDS`, by the first bytes.

    Raises:
        PictureError: if it is none of them.
    """
    if not encoded:
        raise PictureError("empty file")
    for kind, magics in _MAGICS.items():
        if any(_starts_with(encoded, magic) for magic in magics):
            return kind
    raise PictureError(f"format not supported ({', '.join(KINDS)} are)")


def _starts_with(encoded: bytes, magic: bytes) -> bool:
    place = magic.rfind(b"....")
    if place < 0:
        return encoded.startswith(magic)
    known = encoded[:place] + b"...." + encoded[place + 4 : len(magic)]
    return known == magic


def check_size(width: int, height: int, largest: int = LARGEST_IMAGE) -> None:
    """Raises PictureError unless a picture is neither too small nor too large."""
    if min(width, height) < SMALLEST_SIDE:
        raise PictureError(
            f"image is smaller than {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels: "
            f"{height} {width}"
        )
    if width * height > largest:
        raise PictureError(f"image has more than {largest} pixels: {height} {width}")


def _refuse_claim(width: int, height: int, size: int) -> None:
    raise PictureError(
        f"file is too short for its {width} x {height} pixels: {size} bytes"
    )


def _read_jpeg(encoded: bytes) -> Header:
    """Segments from the first to the frame's: EXIF, then size and coding."""
    orientation = 1
    for marker, place, end in _list_segments(encoded):
        if marker == 0xE1 and encoded.startswith(b"Exif\0\0", place):
            orientation = read_orientation(encoded[place + 6 : end])
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            break
    else:
        raise PictureError("JPEG has no frame before its pixels")
    bits, height, width, components = unpack_from(">BHHB", encoded, place)
    if width * height > PIXELS_PER_BYTE_OF_JPEG * len(encoded):
        _refuse_claim(width, height, len(encoded))
    progressive = marker == 0xC2
    if progressive:
        _check_scans(width * height, encoded.count(b"\xff\xda"))
    plain = marker in (0xC0, 0xC1, 0xC2) and bits == 8 and components in (1, 3)
    return Header("JPEG", width, height, orientation, False, plain, progressive)


def _list_segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, beginning, end) of each segment before the first scan."""
    place = 2
    while (place := encoded.find(b"\xff", place)) >= 0:  # libjpeg skips the rest too
        marker = encoded[place + 1]
        if marker in (0xD9, 0xDA):
            return
        if marker == 0xFF:
            place += 1
        elif marker < 2 or 0xD0 <= marker <= 0xD8:  # these have no content
            place += 2
        else:
            end = place + 2 + unpack_from(">H", encoded, place + 2)[0]
            yield marker, place + 4, end
            place = max(end, place + 4)


def _check_scans(pixels: int, scans: int) -> None:
    if pixels * scans > _LARGEST_SCANS:
        raise PictureError(f"JPEG has {scans} scans of {pixels} pixels, too many")


def read_orientation(exif: bytes) -> int:
    """The orientation that a block of EXIF (a TIFF) names, 1 if none or none that is.

    Tag 274 of the first directory.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (place,) = unpack_from(f"{order}I", exif, 4)
        (count,) = unpack_from(f"{order}H", exif, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, form, number = unpack_from(f"{order}HHI", exif, entry)
            if tag == 274:
                short = {3: "H", 4: "I"}.get(form) if number == 1 else None
                found = short and unpack_from(f"{order}{short}", exif, entry + 8)[0]
                return found if found in range(1, 9) else 1
    except StructError:  # what is cut off says nothing
        pass
    return 1


_CHANNELS_OF_PNG = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


def _read_png(encoded: bytes) -> Header:
    length, name, width, height, bits, colour = unpack_from(">I4sIIBB", encoded, 8)
    if name != b"IHDR" or length != 13 or colour not in _CHANNELS_OF_PNG:
        raise PictureError("PNG has no valid header")
    stored = (width * bits * _CHANNELS_OF_PNG[colour] + 7) // 8 * height
    if stored > DEFLATE_RATIO * len(encoded):
        _refuse_claim(width, height, len(encoded))
    transparent, orientation = colour in (4, 6), 1
    for chunk, content in _find_chunks(encoded, (b"tRNS", b"eXIf")):
        if chunk == b"eXIf":
            orientation = read_orientation(content)
        else:
            transparent = True
    return Header("PNG", width, height, orientation, transparent, True)


def _find_chunks(
    encoded: bytes, wanted: tuple[bytes, ...]
) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of the wanted chunks; EXIF may stand behind the pixels."""
    place = 8
    while place + 8 <= len(encoded):
        length, name = unpack_from(">I4s", encoded, place)
        if name in wanted:
            yield name, encoded[place + 8 : place + 8 + length]
        place += 12 + length


_READERS = {"JPEG": _read_jpeg, "PNG": _read_png}
