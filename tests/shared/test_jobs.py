"""Reading a run: the plain form, the older task payloads, and what is refused."""

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import GalaksioError
from shared.jobs import RunRequest
from shared.run_payload import parse_run_request


def test_the_plain_form_and_its_defaults() -> None:
    request = parse_run_request({"code": "print(1)"})
    assert (request.language, request.timeout_s, request.args, request.files) == ("python", 60.0, [], [])


@pytest.mark.parametrize(
    "task",
    [
        {"taskType": "run", "code": "x"},
        {"payload": {"taskType": "compute", "code": "x"}},
        {"snippet": "x"},
        {"meta": {"snippet": "x"}},
        {"payload": {"meta": {"snippet": "x"}}},
        {"fileInline": base64.b64encode(b"x").decode()},
    ],
)
def test_older_task_payloads_are_read(task: dict[str, Any]) -> None:
    assert parse_run_request(task).code == "x"


@pytest.mark.parametrize(
    ("alias", "language"),
    [
        ("py", "python"),
        ("node", "javascript"),
        ("js", "javascript"),
        ("sh", "bash"),
        ("ts", "typescript"),
        ("PYTHON", "python"),
    ],
)
def test_languages_have_aliases(alias: str, language: str) -> None:
    assert parse_run_request({"code": "x", "language": alias}).language == language


@pytest.mark.parametrize(
    ("given", "size"), [({}, "medium"), ({"size": "small"}, "small"), ({"size": " Large"}, "large")]
)
def test_a_run_has_a_size(given: dict[str, Any], size: str) -> None:
    request = parse_run_request({"code": "x", **given})
    assert request.size == size
    assert request.model_dump(mode="json")["size"] == size


def test_an_unknown_size_is_told_the_known_ones() -> None:
    with pytest.raises(GalaksioError, match="small, medium, large"):
        parse_run_request({"code": "x", "size": "xl"})


def test_dependencies_are_bounded() -> None:
    names = [f"package-{number:02}" for number in range(17)]
    assert RunRequest(code="x", dependencies=names[:16]).dependencies == names[:16]
    with pytest.raises(ValidationError):
        RunRequest(code="x", dependencies=names)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (None, 400, "invalid_body"),
        ([], 400, "invalid_body"),
        ({}, 400, "code_required"),
        ({"code": "   "}, 400, "code_required"),
        ({"code": 7}, 400, "code_required"),
        ({"code": "a\0b"}, 422, "nul_in_code"),
        ({"code": "x", "language": "cobol"}, 400, "unknown_language"),
        ({"code": "x", "language": ["python"]}, 400, "unknown_language"),
        ({"code": "x", "taskType": "cache"}, 400, "unknown_task_type"),
        ({"code": "x", "taskType": ["run"]}, 400, "unknown_task_type"),
        ({"code": "x", "size": "huge"}, 400, "unknown_size"),
        ({"code": "x", "size": None}, 400, "unknown_size"),
        ({"code": "x", "size": 512}, 400, "unknown_size"),
        ({"code": "x", "size": ["small"]}, 400, "unknown_size"),
        ({"code": "x", "language": "js", "dependencies": ["numpy"]}, 400, "dependencies_unsupported"),
        ({"code": "x", "dependencies": "numpy"}, 400, "dependency_invalid"),
        ({"code": "x", "dependencies": {"numpy": "2"}}, 400, "dependency_invalid"),
        ({"code": "x", "dependencies": [7]}, 400, "dependency_invalid"),
        ({"code": "x", "dependencies": ["six"] * 17}, 400, "dependency_invalid"),
        ({"code": "x", "dependencies": ["./here"]}, 400, "dependency_invalid"),
        ({"code": "x", "timeout": 0}, 400, "invalid_request"),
        ({"code": "x", "timeout": 61}, 400, "invalid_request"),
        ({"code": "x", "timeout": float("nan")}, 400, "invalid_request"),
        ({"code": "x", "args": ["a\0"]}, 400, "invalid_request"),
        ({"code": "x", "env": {"A B": "1"}}, 400, "invalid_request"),
        ({"code": "x", "files": [{"name": "../up"}]}, 400, "invalid_request"),
        ({"code": "x", "files": [{"name": ".."}]}, 400, "invalid_request"),
        ({"code": "x", "files": [{"name": "a"}, {"name": "a"}]}, 400, "invalid_request"),
        (
            {"code": "x", "files": [{"name": "a", "content": "!", "encoding": "base64"}]},
            400,
            "invalid_request",
        ),
        ({"code": "x", "maxCostUsd": "-1"}, 400, "invalid_request"),
        ({"code": "\ud800"}, 422, "invalid_text"),
        ({"code": "x", "args": ["\ud800"]}, 422, "invalid_text"),
        ({"code": "x", "stdin": "\ud800"}, 422, "invalid_text"),
        ({"code": "x", "env": {"A": "\ud800"}}, 422, "invalid_text"),
        ({"code": "x", "files": [{"name": "a", "content": "\ud800"}]}, 422, "invalid_text"),
        ({"code": "x", "args": ["x" * 50_000, "y" * 50_000]}, 422, "arguments_too_large"),
        ({"code": "x", "env": {"A": "x" * 100_000}}, 422, "arguments_too_large"),
        ({"code": "x", "files": [{"name": "main.py"}]}, 422, "reserved_file_name"),
        ({"code": "x", "language": "sh", "files": [{"name": "out"}]}, 422, "reserved_file_name"),
        ({"fileInline": "not base64!"}, 400, "invalid_request"),
    ],
)
def test_what_is_wrong_is_refused_with_a_code(body: Any, status: int, code: str) -> None:
    with pytest.raises(GalaksioError) as caught:
        parse_run_request(body)
    assert (caught.value.status, caught.value.code) == (status, code)
