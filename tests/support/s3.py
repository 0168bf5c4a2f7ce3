"""A real S3 server as a process, from its package (moto), with a new bucket for whoever asks."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import httpx

from tests.support import programs
from tests.support.ports import free_port
from tests.support.services import READY_S, clean_environment

_SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=me/20260101/us-east-1/s3/aws4_request, Signature=x"}
_KEY = "{http://s3.amazonaws.com/doc/2006-03-01/}Key"


@dataclass
class S3Server:
    """`environment` is what a service needs to use it."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.url,
        }

    def new_bucket(self) -> str:
        name = f"b{uuid.uuid4().hex}"
        url = f"{self.url}/{name}"
        httpx.put(url, headers=_SIGNED, trust_env=False, verify=False, timeout=60).raise_for_status()
        return name

    def keys(self, bucket: str) -> list[str]:
        answer = httpx.get(
            f"{self.url}/{bucket}", headers=_SIGNED, trust_env=False, verify=False, timeout=60
        ).raise_for_status()
        return [found.text or "" for found in ElementTree.fromstring(answer.text).iter(_KEY)]


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    port = free_port()
    with (folder / "s3.log").open("wb") as log:
        process = programs.start(
            "moto.server", "-p", str(port), env=clean_environment(), cwd=folder, stdout=log
        )
    server = S3Server(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                httpx.get(server.url, trust_env=False, verify=False)
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "s3.log").read_text()
                assert time.monotonic() < deadline, "the S3 server was not ready in time"
                time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.wait()
