"""HTTP/1.1 by hand, so that every byte may be wrong."""


def http(body: bytes, *headers: str, status="200 OK", length: int | str | None = -1):
    """An HTTP response."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if not any("Content-Type" in header for header in headers):
        lines.append("Content-Type: application/json")
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes, size: int = 7, end: bytes = b"0\r\n\r\n") -> bytes:
    parts = [body[k : k + size] for k in range(0, len(body), size)]
    pieces = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts]
    return http(b"".join(pieces) + end, "Transfer-Encoding: chunked", length=None)


def dripping(content: bytes, start: int = 0) -> list:
    """All at once up to `start`, then a byte every half second."""
    parts = [content[:start]]
    for k in range(start, len(content)):
        parts += [content[k : k + 1], 0.5]
    return parts
