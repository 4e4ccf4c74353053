"""Makes the official Fashion-MNIST files of Debian's, for `--local_files`.

Usage: python -m tf_infomax.data.embedded.restore_fashion TARGET [SOURCE]

The Debian package `dataset-fashion-mnist` holds the same compressed data, but its build
took name and time out of the gzip headers, so that the checksums that TFDS knows no
longer fit. Putting both back gives the official files, byte for byte.
"""

import hashlib
import struct
import sys
from pathlib import Path

SOURCE = "/usr/share/datasets/fashion-mnist"
_HAS_NAME = 0x08  # flag of the gzip header

# name: (time in the official header, sha256 of the official file)
FILES = {
    "train-images-idx3-ubyte": (
        1504176606,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "train-labels-idx1-ubyte": (
        1504176606,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "t10k-images-idx3-ubyte": (
        1504176627,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "t10k-labels-idx1-ubyte": (
        1504176627,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}


def restore_header(content: bytes, name: str, time: int) -> bytes:
    """The gzip file with name and time in its header."""
    if content[3] & _HAS_NAME:
        return content
    flags = bytes([content[3] | _HAS_NAME])
    return (
        content[:3]
        + flags
        + struct.pack("<I", time)
        + content[8:10]
        + name.encode()
        + b"\0"
        + content[10:]
    )


def main(target: str, source: str = SOURCE) -> None:
    Path(target).mkdir(parents=True, exist_ok=True)
    for name, (time, expected) in FILES.items():
        content = (Path(source) / f"{name}.gz").read_bytes()
        content = restore_header(content, name, time)
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise ValueError(f"{name}.gz has sha256 {found}, expected {expected}.")
        (Path(target) / f"{name}.gz").write_bytes(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
