"""Stores of both kinds, over databases of both kinds, with a clock that tests move."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from executor.storage.blobs import Blobs, choose_blobs
from executor.storage.options import StorageOptions
from executor.storage.storage import Storage
from tests.support.s3 import S3Server, running_s3

MB = 1024 * 1024


@dataclass
class Now:
    """A clock that tests move."""

    seconds: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Place:
    """Somewhere to keep content, and what is in it."""

    options: StorageOptions
    _listed: Callable[[], list[str]] = field(repr=False)

    def listed(self) -> list[str]:
        """The paths of all that is kept there."""
        return sorted(self._listed())

    def staged(self) -> list[str]:
        """What is being received on this machine."""
        _, staging = choose_blobs(self.options)
        return [path.name for path in staging.glob("*/*")]


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def folder_place(home: Path, **more: object) -> Place:
    root = home / "content"
    home.mkdir(exist_ok=True)

    def listed() -> list[str]:
        files = [path for path in root.rglob("*") if path.is_file()]
        return [str(path.relative_to(root)) for path in files if "staging" not in path.parts]

    return Place(StorageOptions(home, reserve_bytes=0, **more), listed)  # type: ignore[arg-type]


def s3_place(home: Path, server: S3Server, **more: object) -> Place:
    home.mkdir(exist_ok=True)
    bucket = server.new_bucket()
    config = {
        "access_key_id": "me",
        "secret_access_key": "secret",
        "region": "us-east-1",
        "endpoint": server.url,
    }
    options = StorageOptions(home, url=f"s3://{bucket}/some/prefix", s3=config, reserve_bytes=0, **more)  # type: ignore[arg-type]

    def listed() -> list[str]:
        return [key.removeprefix("some/prefix/") for key in server.keys(bucket)]

    return Place(options, listed)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Every test of blobs runs over both."""
    if request.param == "folder":
        return folder_place(tmp_path / "home")
    return s3_place(tmp_path / "home", request.getfixturevalue("s3"))


@pytest.fixture
async def blobs(place: Place) -> Blobs:
    made, _ = choose_blobs(place.options)
    await made.open()
    return made


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Every test of holds runs over both; None is the SQLite file in the data folder."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def kept(tmp_path: Path, database_url: str | None) -> Place:
    """A folder, over either database."""
    return folder_place(tmp_path / "home", database_url=database_url)


async def forever() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def storage_at_rest(place: Place, now: Now, patch: pytest.MonkeyPatch) -> AsyncIterator[Storage]:
    """A store that sweeps only when a test says so: none of its own sweeps comes between two steps."""
    made = Storage(place.options, now)
    patch.setattr(made, "_do_chores", forever)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def storage(kept: Place, now: Now, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Storage]:
    async with storage_at_rest(kept, now, monkeypatch) as made:
        yield made


@pytest.fixture
async def other(
    kept: Place, now: Now, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Storage]:
    """A second executor on the same database and place."""
    async with storage_at_rest(kept, now, monkeypatch) as made:
        yield made


async def chunks(data: bytes, size_bytes: int = 65_536) -> AsyncIterator[bytes]:
    """`data` as a server receives it."""
    for start in range(0, len(data), size_bytes):
        yield data[start : start + size_bytes]
