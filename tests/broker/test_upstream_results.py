"""What somebody else was paid for the work goes on to the customer, as long as it is short."""

from typing import Any

import pytest

from broker.operations import RUN, STORE

RAN = {
    "stdout": "",
    "stderr": "",
    "exitCode": 0,
    "executionTime": 1,
    "isolation": "remote",
    "language": "python",
}
RESULTS: dict[str, Any] = {
    "run": {**RAN, "version": ""},
    "store": {
        "cid": "c",
        "url": "https://gateway.example/c",
        "provider": "openx402",
        "size": 1,
        "permanent": False,
        "expiresAt": None,
        "sha256": "s",
        "contentType": "text/plain",
        "filename": None,
    },
}
READ = {"run": RUN.read_result, "store": STORE.read_result}
PAID = {"paidUsd": "0.01", "transaction": "0xfeed", "network": "eip155:84532", "payTo": "0xaa", "id": "p1"}


@pytest.mark.parametrize("name", ["run", "store"])
def test_what_was_paid_elsewhere_is_passed_on(name: str) -> None:
    assert READ[name]({**RESULTS[name], "upstream": PAID})["upstream"] == PAID


@pytest.mark.parametrize("name", ["run", "store"])
@pytest.mark.parametrize("upstream", [None, {"a": "x" * 33_000}, {"a": float("nan")}, {"a": "\ud800"}])
def test_what_is_too_long_or_no_json_is_left_out(name: str, upstream: Any) -> None:
    assert "upstream" not in READ[name]({**RESULTS[name], "upstream": upstream})


@pytest.mark.parametrize("name", ["run", "store"])
def test_work_of_this_host_names_nobody(name: str) -> None:
    assert "upstream" not in READ[name](RESULTS[name])
