"""What a request brings along: handed over once, named in its job, and forgotten where no job came of it."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from broker.operations import RUN, STORE
from broker.payments.intake import Intake
from broker.payments.offers import Offer
from broker.payments.paid_route import Call
from broker.uploads import Upload
from shared.errors import BadRequest, Unavailable
from shared.store import UploadInfo
from tests.support.multipart import FORM, file, form
from tests.support.multipart import field as form_field

OFFER = Offer("offer", "hash", 1, "local", {"metadata": {"file_size_bytes": 77}}, 60, 0, 0)


@dataclass
class Executor:
    """Takes uploads in, under the ids 1, 2, …"""

    full: bool = False
    uploads: list[bytes] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)

    async def upload(self, content: AsyncIterator[bytes]) -> UploadInfo:
        data = b"".join([part async for part in content])
        if self.full:
            raise Unavailable("no room")
        self.uploads.append(data)
        return UploadInfo(
            upload_id=str(len(self.uploads)),
            cid="bafkrei",
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            expires_at="",
        )

    async def discard(self, upload_id: str) -> None:
        self.discarded.append(upload_id)


class Body:
    """A body of 10 bytes a message; counts what was asked for."""

    def __init__(self, body: bytes, *, cut: bool = False) -> None:
        self.waiting = [body[start : start + 10] for start in range(0, len(body), 10)]
        self._cut = cut

    async def receive(self) -> Message:
        if not self.waiting:
            return {"type": "http.disconnect"}
        part = self.waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self.waiting) or self._cut}


def uploading(receive: Receive, length: int | None) -> Call:
    return Call(STORE, "/store", {"method": "POST", "headers": []}, b"", Upload(receive, FORM, length))


def sending(fields: Any) -> Call:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return Call(STORE, "/store", {"method": "POST", "headers": []}, body)


@pytest.fixture
def executor() -> Executor:
    return Executor()


@pytest.fixture
def intake(executor: Executor) -> Intake:
    stand_in: Any = executor
    return Intake(stand_in)


async def test_a_price_is_named_before_the_file_is_read_where_all_is_known_that_it_needs(
    intake: Intake, executor: Executor
) -> None:
    whole = form(form_field(b"ttl", b"60"), file(bytes(5000)))
    body = Body(whole)
    work = await intake.look(uploading(body.receive, len(whole)))
    assert (work.ask["fileSize"], work.ask["ttl"]) == (len(whole), 60)
    assert len(body.waiting) > 400
    assert executor.uploads == []


@pytest.mark.parametrize(
    ("parts", "declared"),
    [
        ((file(bytes(500)), form_field(b"ttl", b"60")), True),
        ((form_field(b"ttl", b"60"), file(bytes(500))), False),
    ],
    ids=["options behind the file", "no length"],
)
async def test_otherwise_all_of_it_is_read_and_nothing_kept(
    intake: Intake, executor: Executor, parts: tuple[bytes, ...], declared: bool
) -> None:
    body = Body(whole := form(*parts))
    work = await intake.look(uploading(body.receive, len(whole) if declared else None))
    assert (work.ask["fileSize"], work.ask["ttl"]) == (len(whole) if declared else 500, 60)
    assert (body.waiting, executor.uploads) == ([], [])


async def test_the_price_of_an_upload_goes_by_its_length_and_its_meaning_by_its_content(
    intake: Intake,
) -> None:
    calls, works = [], []
    for content in (b"one", b"two"):
        whole = form(file(content))
        calls.append(uploading(Body(whole).receive, len(whole)))
        async with intake.take(calls[-1]) as taken:
            works.append(taken.work)
    assert works[0].meaning["sha256"] == hashlib.sha256(b"one").hexdigest()
    assert calls[0].offer_hash(works[0]) == calls[1].offer_hash(works[1])
    assert calls[0].hash(works[0]) != calls[1].hash(works[1])


@pytest.mark.parametrize("kept", [True, False])
async def test_an_upload_is_forgotten_unless_a_job_has_it(
    intake: Intake, executor: Executor, kept: bool
) -> None:
    async with intake.take(uploading(Body(form(file(b"content"))).receive, None)) as taken:
        task = await taken.task(OFFER)
        taken.kept = kept
    assert (executor.uploads, task["upload"]) == ([b"content"], "1")
    assert executor.discarded == ([] if kept else ["1"])


async def test_an_upload_is_forgotten_when_the_request_fails(intake: Intake, executor: Executor) -> None:
    with pytest.raises(LookupError):
        async with intake.take(uploading(Body(form(file(b"content"))).receive, None)):
            raise LookupError
    assert executor.discarded == ["1"]


@pytest.mark.parametrize("wrong", [form_field(b"ttl", b"never"), form_field(b"maxCostUsd", b"NaN")])
async def test_an_upload_is_forgotten_when_what_comes_behind_it_is_wrong(
    intake: Intake, executor: Executor, wrong: bytes
) -> None:
    with pytest.raises(BadRequest):
        async with intake.take(uploading(Body(form(file(b"content"), wrong)).receive, None)):
            pass
    assert (executor.uploads, executor.discarded) == ([b"content"], ["1"])


async def test_nothing_is_handed_over_without_a_file(intake: Intake, executor: Executor) -> None:
    with pytest.raises(BadRequest) as caught:
        async with intake.take(uploading(Body(form(form_field(b"ttl", b"5"))).receive, None)):
            pass
    assert (caught.value.code, executor.uploads) == ("data_required", [])


@pytest.mark.parametrize("failure", ["cut", "full", "gone"])
async def test_what_was_not_received_whole_is_not_there_to_be_forgotten(
    intake: Intake, executor: Executor, failure: str
) -> None:
    executor.full = failure == "full"
    whole = form(file(bytes(100)))
    body = Body(whole if failure == "full" else whole[:-30], cut=failure == "gone")
    expected = {"cut": BadRequest, "full": Unavailable, "gone": ClientDisconnect}[failure]
    with pytest.raises(expected):
        async with intake.take(uploading(body.receive, None)):
            pass
    assert (executor.uploads, executor.discarded) == ([], [])


async def test_content_in_json_is_handed_over_when_its_job_is_written_and_only_once(
    intake: Intake, executor: Executor
) -> None:
    content = "ü" * 300_000
    async with intake.take(sending({"data": content})) as taken:
        assert executor.uploads == []
        tasks = [await taken.task(OFFER) for _ in range(2)]
    assert executor.uploads == [content.encode()]
    assert [task["upload"] for task in tasks] == ["1", "1"]
    assert all(content not in json.dumps(task, ensure_ascii=False) for task in tasks)
    assert executor.discarded == ["1"]


async def test_empty_content_is_content(intake: Intake, executor: Executor) -> None:
    async with intake.take(sending({"data": ""})) as taken:
        assert (await taken.task(OFFER))["upload"] == "1"
    assert executor.uploads == [b""]


async def test_of_an_address_no_more_is_fetched_than_was_priced(intake: Intake, executor: Executor) -> None:
    request = {"data": {"url": "https://files.example/"}, "options": {"maxBytes": 10**12}, "maxBytes": 10**12}
    async with intake.take(sending(request)) as taken:
        task = await taken.task(OFFER)
    assert (task["url"], task["maxBytes"]) == ("https://files.example/", 77)
    assert (executor.uploads, executor.discarded) == ([], [])


@pytest.mark.parametrize("where", [{"upload": "7"}, {"options": {"upload": "7"}}], ids=["beside", "option"])
async def test_a_staged_upload_cannot_be_named_by_a_customer(
    intake: Intake, executor: Executor, where: dict[str, Any]
) -> None:
    async with intake.take(sending({"data": "x", **where})) as taken:
        assert (await taken.task(OFFER))["upload"] == "1"
    assert (executor.uploads, executor.discarded) == ([b"x"], ["1"])


async def test_what_takes_no_uploads_is_not_given_one(intake: Intake, executor: Executor) -> None:
    call = replace(uploading(Body(form(file(b"x"))).receive, None), operation=RUN)
    with pytest.raises(TypeError):
        async with intake.take(call):
            pass
    assert executor.discarded == ["1"]
