"""A package index of our own (PEP 503), on a free port, with wheels made on the spot."""

import io
import tarfile
import threading
import zipfile
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"


def wheel(
    name: str,
    version: str = "1.0",
    files: Mapping[str, str | bytes] | None = None,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
) -> tuple[str, bytes]:
    """A file name and the bytes of a wheel. A `files` name that ends in `->` is a link to its content."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {text}\n" for text in requires)
    content = {
        **(files if files is not None else {f"{name}.py": f"VERSION = {version!r}\n"}),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": WHEEL.format(tag=tag),
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in content.items():
            entry = zipfile.ZipInfo(path.removesuffix("->"))
            entry.external_attr = (0o120777 if path.endswith("->") else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
        record = "".join(f"{path.removesuffix('->')},,\n" for path in content)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return f"{name}-{version}-{tag}.whl", data.getvalue()


def sdist(name: str, setup: str) -> tuple[str, bytes]:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, text in {"setup.py": setup, "PKG-INFO": f"Name: {name}\nVersion: 1.0\n"}.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return f"{name}-1.0.tar.gz", data.getvalue()


class PackageIndex:
    """Serves what was added. `asked` are the paths of all requests; `broken` makes it answer 503."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = False
        self._files: dict[str, dict[str, bytes]] = {}
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = index._answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/simple"

    def add(self, name: str, *files: tuple[str, bytes]) -> None:
        self._files.setdefault(name, {}).update(files)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        self.asked.append(path)
        parts = path.strip("/").split("/")
        if self.broken:
            return 503, "text/plain", b"down"
        if parts[0] == "simple" and len(parts) == 2 and parts[1] in self._files:
            links = (f'<a href="/files/{parts[1]}/{name}">{name}</a>' for name in self._files[parts[1]])
            return 200, "text/html", "".join(links).encode()
        if parts[0] == "files":
            return 200, "application/octet-stream", self._files[parts[1]][parts[2]]
        return 404, "text/plain", b"unknown"
