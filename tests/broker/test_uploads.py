"""Multipart bodies as they come, in whatever pieces, whole, cut off and wrong."""

import asyncio
import email
import random
from dataclasses import dataclass
from email.message import Message as Mail
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from broker import uploads
from broker.uploads import MAX_FIELDS, PATIENCE_S, Upload
from shared.errors import BadRequest
from tests.support.multipart import BOUNDARY, FORM, field, file, form, part

Read = tuple[dict[str, str], str | None, bytes]

_PIECES = [b"\r\n--", b"\r\n--b0undar", b"\r\n\r\n", b"\r", b"\n", b"--", b"--b0undarx", b"\0", b"\xff"]
contents = st.lists(st.sampled_from(_PIECES) | st.binary(max_size=30), max_size=12).map(b"".join)
contents = contents.filter(lambda content: b"--" + BOUNDARY not in content)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True).filter(lambda name: name != "file")
values = st.text(max_size=40).filter(lambda value: "--" + BOUNDARY.decode() not in value)
fields = st.dictionaries(names, values, max_size=4)


def messages(pieces: list[bytes], *, pause_s: float = 0.0) -> Receive:
    """The ASGI messages of a body that comes in these pieces, then of a client that has gone."""
    waiting = list(pieces)

    async def receive() -> Message:
        await asyncio.sleep(pause_s)
        if not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    return receive


@dataclass
class Ahead:
    """How far the running loop's clock was moved ahead: so much time went by without being waited for."""

    seconds: float = 0.0


@pytest.fixture
async def ahead(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    loop, moved = asyncio.get_running_loop(), Ahead()
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + moved.seconds)
    return moved


def read(pieces: list[bytes], content_type: str = FORM) -> Read:
    """Fields, file name and file."""

    async def reading() -> Read:
        upload = Upload(messages(pieces), content_type, None)
        await upload.open()
        content = b"".join([chunk async for chunk in upload.chunks()])
        assert upload.file_bytes == len(content)
        return upload.fields, upload.file_name, content

    return asyncio.run(reading())


def reference(body: bytes) -> Read:
    """The same as Python's own parser of mail understands it."""
    mail = email.message_from_bytes(f"Content-Type: {FORM}\r\n\r\n".encode() + body, policy=HTTP)
    said: dict[str, str] = {}
    file_name, content = None, b""
    for one in mail.iter_parts():
        assert isinstance(one, Mail)
        name = one.get_param("name", header="content-disposition")
        payload = one.get_payload(decode=True)
        assert isinstance(payload, bytes)
        if name == "file":
            file_name, content = one.get_filename(), payload
        else:
            said[str(name)] = payload.decode()
    return said, file_name, content


@given(fields, contents, fields, st.data())
def test_a_body_means_the_same_in_whatever_pieces_it_comes(
    before: dict[str, str], content: bytes, after: dict[str, str], data: st.DataObject
) -> None:
    after = {name: value for name, value in after.items() if name not in before}
    rows = [[field(name.encode(), said.encode()) for name, said in some.items()] for some in (before, after)]
    body = form(*rows[0], file(content), *rows[1])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    whole = read([body])
    assert whole == ({**before, **after}, "x.bin", content)
    assert read(pieces) == whole
    assert read([body[n : n + 1] for n in range(len(body))]) == whole


@given(fields, contents)
def test_a_body_means_what_another_parser_makes_of_it(said: dict[str, str], content: bytes) -> None:
    body = form(*(field(name.encode(), value.encode()) for name, value in said.items()), file(content))
    assert read([body]) == reference(body)


def test_a_body_that_is_cut_off_anywhere_is_no_upload() -> None:
    body = form(field(b"ttl", b"60"), file(b"some content"))
    for end in range(len(body) - 2):  # the last line break says nothing
        with pytest.raises(BadRequest) as caught:
            read([body[:end]])
        assert caught.value.code == "upload_incomplete"


@given(st.integers(0, 2**32))
def test_a_body_with_wrong_bytes_is_read_or_refused_and_never_fails_otherwise(seed: int) -> None:
    chance = random.Random(seed)
    body = bytearray(
        form(field(b"ttl", b"60"), file(b"some content", b"x", b"Content-Type: a/b"), boundary=b"b")
    )
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(body))
        body[at : at + chance.randint(0, 3)] = chance.choice(
            [b"", b"\r\n", b"--b", b'"', b";", b"*", b"\xff", b":"]
        )
    try:
        read([bytes(body)], "multipart/form-data; boundary=b")
    except BadRequest as exc:
        assert exc.code in {"invalid_multipart", "upload_incomplete", "one_file"}


@pytest.mark.parametrize("count", [MAX_FIELDS, MAX_FIELDS + 1])
def test_there_are_no_more_fields_than_are_held(count: int) -> None:
    body = form(*(field(b"f%d" % number, b"") for number in range(count)), file(b"x"))
    if count <= MAX_FIELDS:
        assert len(read([body])[0]) == count
        return
    with pytest.raises(BadRequest, match="one too many"):
        read([body])


def test_a_name_in_the_extended_notation_is_not_taken_for_one() -> None:
    """RFC 7578 §4.2 forbids it, and what two parsers read differently hides a file from one of them."""
    both = b'; name="file"; filename="plain"; filename*=UTF-8\'\'..%2fother'
    assert read([form(part(both, b"x"))])[1] == "plain"
    assert read([form(part(both.replace(b'; filename="plain"', b""), b"x"))])[1] is None


async def test_of_the_file_no_more_is_held_than_came_last() -> None:
    body = form(file(bytes(3_000_000)))
    upload = Upload(messages([body[n : n + 60_000] for n in range(0, len(body), 60_000)]), FORM, None)
    await upload.open()
    held = [sum(map(len, upload._parts.content)) async for _ in upload.chunks()]
    assert upload.file_bytes == 3_000_000
    assert max(held) <= 60_000


async def test_whoever_hangs_up_is_no_error_of_the_body() -> None:
    upload = Upload(messages([]), FORM, None)
    with pytest.raises(ClientDisconnect):
        await upload.open()


async def test_a_sender_that_drips_is_not_waited_for_however_steadily_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_S", 0.1)
    body = form(file(bytes(5000)))
    drips = messages([body[n : n + 1] for n in range(len(body))], pause_s=0.01)
    upload = Upload(drips, FORM, None)
    with pytest.raises(BadRequest) as caught:
        await upload.skip()
    assert (caught.value.status, caught.value.code) == (408, "upload_too_slow")
    assert upload.file_bytes < 100


async def test_a_steady_sender_is_given_the_time_that_its_bytes_take(ahead: Ahead) -> None:
    body = form(file(bytes(1_000_000)))
    arriving = messages([body[n : n + 20_000] for n in range(0, len(body), 20_000)])

    async def steady() -> Message:
        ahead.seconds += 2
        for _ in range(3):
            await asyncio.sleep(0)  # what is due by now happens
        return await arriving()

    upload = Upload(steady, FORM, None)
    await upload.skip()
    assert upload._waited_s > 2 * PATIENCE_S
    assert upload.file_bytes == 1_000_000


async def test_our_own_slowness_is_not_held_against_a_sender(ahead: Ahead) -> None:
    body = form(file(bytes(100)))
    upload = Upload(messages([body[n : n + 10] for n in range(0, len(body), 10)]), FORM, None)
    await upload.open()
    async for _ in upload.chunks():
        ahead.seconds += PATIENCE_S
    assert upload.file_bytes == 100
