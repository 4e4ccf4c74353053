"""Frames of HTTP/2 and gRPC by hand, so that every byte may be wrong."""

import struct


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(
        ">BBI", kind, flags, stream
    ) + payload  # fmt: skip


def headers(**pairs: str) -> bytes:
    """HPACK, literally; `status` is HTTP's."""
    out = b""
    for name, value in pairs.items():
        name = ":status" if name == "status" else name.replace("_", "-")
        raw = value.encode("latin-1")[:100]
        out += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(raw)]) + raw
    return out


def head(stream: int, flags: int = 4, **changed: str) -> bytes:
    pairs = {"status": "200", "content_type": "application/grpc"} | changed
    return frame(1, flags, stream, headers(**pairs))


def tail(stream: int, status="0", message="") -> bytes:
    return frame(1, 5, stream, headers(grpc_status=status, grpc_message=message))


def data(stream: int, message: bytes, told: int | None = None, packed=0) -> bytes:
    told = len(message) if told is None else told
    return frame(0, 0, stream, bytes([packed]) + struct.pack(">I", told) + message)


def whole(stream: int, message: bytes) -> bytes:
    return head(stream) + data(stream, message) + tail(stream)
