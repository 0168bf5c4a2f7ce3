"""What schemathesis cannot make up: a cache with its token, stored content, a job, the operator's token.

Read from the environment; where nothing is given, requests stay as they were made. Some do so anyway: of
each operation every sixth names what is not there, and every fourth pays with what is no payment.
"""

import os
from collections import defaultdict
from itertools import count
from typing import Any

import schemathesis
from redis import Redis

PAYMENTS = ("X-PAYMENT", "PAYMENT-SIGNATURE")
OF_THE_OPERATOR = ("/payments", "/api/dashboard/stats", "/api/dashboard/refunds")
NAMED = {"cacheId": "FUZZ_CACHE", "cid": "FUZZ_CID", "job_id": "FUZZ_JOB", "payment_id": "FUZZ_PAYMENT"}
TASKS: tuple[dict[str, Any], ...] = (
    {"taskType": "run", "code": "print('from an agent')"},
    {"task": {"operation": "store", "data": "from an agent", "options": {"ttl": 60}}},
    {"operation": "cache", "region": "eu-west-1", "ttl": 60},
)

_turns: dict[str, "count[int]"] = defaultdict(count)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Name what is there instead of what is not."""
    turn = next(_turns[case.operation.label])
    if turn % 6 != 5:
        _name(case)
    if turn % 4 != 3:
        for name in PAYMENTS:
            case.headers.pop(name, None)
    if case.path.startswith(OF_THE_OPERATOR) and "FUZZ_OPERATOR" in os.environ:
        case.headers["Authorization"] = f"Bearer {os.environ['FUZZ_OPERATOR']}"
    if case.path == "/a2a/message" and "FUZZ_CACHE" in os.environ and turn % 2:
        case.body = {"type": "task_request", "payload": TASKS[turn // 2 % len(TASKS)]}
    if turn % 3 == 1 and "FUZZ_VALKEY" in os.environ and "cacheId" in case.path_parameters:
        _use_up(os.environ["FUZZ_VALKEY"], os.environ["FUZZ_CACHE"])


def _name(case: Any) -> None:
    for parameter, variable in NAMED.items():
        if parameter in case.path_parameters and variable in os.environ:
            case.path_parameters[parameter] = os.environ[variable]
    if "cacheId" in case.path_parameters and "FUZZ_CACHE_TOKEN" in os.environ:
        case.headers["Authorization"] = f"Bearer {os.environ['FUZZ_CACHE_TOKEN']}"


def _use_up(valkey_url: str, cache_id: str) -> None:
    """Leave the cache no operations, so that the next one costs a payment."""
    with Redis.from_url(valkey_url) as valkey:
        valkey.hset(f"{{{cache_id}}}:m", "left", "0")
