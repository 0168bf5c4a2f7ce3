"""Python at merit-systems: a snippet there, a run's result back, and every answer that is none."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from executor.providers.base import Context
from executor.providers.remote import NotOffered
from executor.storage.fetch import Fetcher
from executor.storage.options import StorageOptions
from executor.storage.storage import Storage
from executor.upstream.errors import UpstreamRefused
from shared.errors import BadRequest, GalaksioError
from shared.jobs import RunResult
from tests.executor.remote.conftest import PAID, PlainUpstream, context_of, done, provider
from tests.support.internet import Internet, Page

URL = "https://echo.router.merit.systems/resource/e2b/execute"
SAID = {"output": "Hello\n", "error": None, "executionTime": 12.3, "logs": ["more"]}


async def run(context: Context, **body: Any) -> dict[str, Any]:
    return await done(context, "compute", "merit-systems", body)


@respx.mock
@pytest.mark.parametrize(
    "body",
    [
        {"meta": {"snippet": "print('Hello')"}},
        {"fileInline": base64.b64encode(b"print('Hello')").decode()},
        {"code": "print('Hello')", "language": "py"},
    ],
)
async def test_a_snippet_is_run_wherever_it_stands(
    context: Context, upstream: PlainUpstream, body: dict[str, Any]
) -> None:
    ran = respx.post(URL).respond(200, json=SAID)
    result = await run(context, **body, timeout=5)
    assert json.loads(ran.calls.last.request.content) == {"snippet": "print('Hello')"}
    assert (result["output"], result["error"], result["executionTime"]) == ("Hello\n", None, 13)
    assert result["rawResponse"] == SAID
    read = RunResult.model_validate(result).model_dump(mode="json")
    assert (read["stdout"], read["stderr"], read["exitCode"]) == ("Hello\n", "", 0)
    assert (read["isolation"], read["language"], read["upstream"]) == ("remote", "python", PAID)
    assert upstream.sent[0][0].timeout_s == 20


@respx.mock
@pytest.mark.parametrize(
    ("said", "stdout", "stderr"),
    [
        ({"error": "NameError: x"}, "", "NameError: x"),
        ({"result": "4", "error": ""}, "4", ""),
        ({"output": "a", "result": "b"}, "a", ""),
        ({"output": "", "error": {"name": "E", "value": "é"}}, "", '{"name": "E", "value": "é"}'),
    ],
)
async def test_an_error_of_the_code_is_a_result(
    context: Context, said: dict[str, Any], stdout: str, stderr: str
) -> None:
    respx.post(URL).respond(200, json=said)
    result = await run(context, code="x")
    assert (result["stdout"], result["stderr"], result["exitCode"]) == (stdout, stderr, 1 if stderr else 0)


@respx.mock
@pytest.mark.parametrize("time", [None, "fast", -1, True, 1e12, [1]])
async def test_a_time_that_is_none_is_measured_here(context: Context, time: Any) -> None:
    respx.post(URL).respond(200, json={"output": "x", "executionTime": time})
    assert 0 <= (await run(context, code="x"))["executionTime"] < 30_000


@respx.mock
async def test_long_output_is_cut_and_its_raw_answer_left_out(context: Context) -> None:
    respx.post(URL).respond(200, json={"output": "é" * 200_000, "error": "no"})
    result = await run(context, code="x")
    assert len(result["stdout"].encode()) == 256 * 1024
    assert result["truncated"] == {"stdout": True, "stderr": False, "files": False}
    assert result["rawResponse"] is None


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>Hello</html>"),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"output": None, "error": None}),
        httpx.Response(200, json={"output": ["Hello"]}),
        httpx.Response(200, json={"output": "Hello", "error": 7}),
        httpx.Response(200, json={"output": "Hello", "success": False}),
        httpx.Response(200, json=["Hello"]),
        httpx.Response(200, content=b'{"output": "\\ud800"}'),
        httpx.Response(200, content=b'{"output": "x", "executionTime": NaN}'),
        httpx.Response(402, json=SAID),
        httpx.Response(400, json={"error": "snippet is required"}),
        httpx.Response(500, json=SAID),
    ],
)
async def test_any_other_answer_is_refused(context: Context, answer: httpx.Response) -> None:
    respx.post(URL).mock(return_value=answer)
    with pytest.raises(UpstreamRefused):
        await run(context, code="x")


@pytest.mark.parametrize(
    "more",
    [
        {"language": "bash"},
        {"stdin": "x"},
        {"args": ["x"]},
        {"env": {"A": "b"}},
        {"files": [{"name": "a", "content": "b"}]},
        {"dependencies": ["numpy"]},
        {"encoding": "base64"},
    ],
)
async def test_what_cannot_go_along_is_not_offered_and_not_paid(
    context: Context, upstream: PlainUpstream, more: dict[str, Any]
) -> None:
    with pytest.raises(NotOffered):
        await run(context, code="x", **more)
    assert upstream.sent == []


def test_it_tells_its_one_language(context: Context) -> None:
    (language,) = provider(context, "compute", "merit-systems").status().languages or []
    assert language.name == "python"


@respx.mock
async def test_code_is_fetched_from_a_url_under_the_rules_for_it(
    tmp_path: Path, upstream: PlainUpstream, internet: Internet
) -> None:
    files = Storage(StorageOptions(tmp_path, reserve_bytes=0), fetcher=Fetcher(internet.options()))
    await files.open()
    context = context_of(tmp_path, upstream, files)
    ran = respx.post(URL).respond(200, json=SAID)
    internet.pages["/main.py"] = Page.of(b"print(1)")
    internet.pages["/nul"] = Page.of(b"\0")
    internet.pages["/latin"] = Page.of(b"\xe9")
    internet.pages["/empty"] = Page.of(b" \n")
    assert (await run(context, fileUrl=internet.url_of("/main.py")))["output"] == "Hello\n"
    assert json.loads(ran.calls.last.request.content) == {"snippet": "print(1)"}
    for path in ("/nul", "/latin", "/empty"):
        with pytest.raises(GalaksioError):
            await run(context, fileUrl=internet.url_of(path))
    for url in ("http://127.0.0.1/", "http://169.254.169.254/", "file:///etc/passwd", "x" * 5000):
        with pytest.raises(BadRequest):
            await run(context, fileUrl=url)
    assert len(upstream.sent) == 1
    await files.close()
