"""`galaksio get` from brokers that refuse, break off or lie: what was there before stays."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import respx

from cli.config import CliError
from cli.download import to_file

URL = "https://broker.test"
HELLO_CID = "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"
"""Of `hello` and a line's end, by `ipfs add --cid-version=1`."""


@pytest.fixture
def broker() -> Iterator[respx.Route]:
    with respx.mock(base_url=URL) as router:
        yield router.get(f"/files/{HELLO_CID}")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept.txt"
    path.write_text("from before")
    return path


class Broken(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"hel"
        raise httpx.ReadError("reset")


def test_what_the_cid_says_replaces_the_file(broker: respx.Route, kept: Path) -> None:
    broker.respond(content=b"hello\n")
    assert to_file(URL, HELLO_CID, kept, verify=True) == 6
    assert kept.read_bytes() == b"hello\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(200, content=b"hello!"), f"What came is not {HELLO_CID} but bafkrei"),
        (httpx.Response(200, stream=Broken()), "does not answer"),
        (httpx.Response(410, json={"error": "it has expired"}), "The broker answered 410: it has expired"),
    ],
    ids=["a lie", "broken off", "refused"],
)
def test_anything_else_leaves_what_was_there(
    broker: respx.Route, kept: Path, answer: httpx.Response, said: str
) -> None:
    broker.mock(return_value=answer)
    with pytest.raises(CliError, match=said):
        to_file(URL, HELLO_CID, kept, verify=True)
    assert [path.name for path in kept.parent.iterdir()] == ["kept.txt"]
    assert kept.read_text() == "from before"


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="cannot be written: No such file"):
        to_file(URL, HELLO_CID, tmp_path / "none" / "kept.txt", verify=False)
