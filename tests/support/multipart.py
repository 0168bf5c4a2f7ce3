"""Multipart bodies written by hand, byte by byte: also those that no client would send."""

BOUNDARY = b"b0undary"
FORM = f"multipart/form-data; boundary={BOUNDARY.decode()}"


def part(disposition: bytes, content: bytes, *headers: bytes) -> bytes:
    """One part without its boundary; `disposition` is what stands behind `form-data`."""
    rows = [b"Content-Disposition: form-data" + disposition, *headers, b"", content]
    return b"\r\n".join(rows)


def field(name: bytes, value: bytes) -> bytes:
    return part(b'; name="' + name + b'"', value)


def file(content: bytes, name: bytes = b"x.bin", *headers: bytes) -> bytes:
    return part(b'; name="file"; filename="' + name + b'"', content, *headers)


def form(*parts: bytes, boundary: bytes = BOUNDARY, end: bytes = b"--\r\n") -> bytes:
    """The body with these parts; `end` is what stands behind the last boundary."""
    return b"".join(b"--" + boundary + b"\r\n" + one + b"\r\n" for one in parts) + b"--" + boundary + end
