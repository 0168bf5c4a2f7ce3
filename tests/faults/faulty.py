"""Runs one service with a death built in: `python -m tests.faults.faulty SERVICE POINT NTH`.

At the NTH time that the service passes POINT it kills itself with SIGKILL, as a power cut would. Nothing of
this is in the product: the service's own methods are wrapped here, in the test's process.
"""

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

BEFORE, DURING, AFTER = "before", "during", "after"

POINTS: dict[str, tuple[str, str, str]] = {
    # point: (service, class and method, when)
    "broker: after the reservation": ("broker", "broker.payments.ledger:Ledger.reserve", AFTER),
    "broker: after verify": ("broker", "broker.payments.settlement:Settlement.verify", AFTER),
    "broker: before the work": ("broker", "broker.clients:ExecutorClient.execute", BEFORE),
    "broker: during the work": ("broker", "broker.clients:ExecutorClient.execute", DURING),
    "broker: after the work": ("broker", "broker.clients:ExecutorClient.execute", AFTER),
    "broker: after keeping the result": ("broker", "broker.payments.ledger:Ledger.keep_result", AFTER),
    "broker: before settle": ("broker", "broker.payments.settlement:Settlement.settle", BEFORE),
    "broker: during settle": ("broker", "broker.payments.settlement:Settlement.settle", DURING),
    "broker: after settle": ("broker", "broker.payments.settlement:Settlement.settle", AFTER),
    "broker: after booking": ("broker", "broker.payments.ledger:Ledger.settled", AFTER),
    "executor: during a run": ("executor", "executor.sandbox.engine:Sandbox.run", DURING),
    "executor: before it answers": ("executor", "executor.jobs:Jobs.do", AFTER),
    "facilitator: before settle": ("devnet", "devnet.facilitator:Facilitator.settle", BEFORE),
    "facilitator: after settle": ("devnet", "devnet.facilitator:Facilitator.settle", AFTER),
}
STORE_POINTS: dict[str, tuple[str, str, str]] = {
    "broker: during an upload": ("broker", "broker.clients:ExecutorClient.upload", DURING),
    "broker: after an upload": ("broker", "broker.clients:ExecutorClient.upload", AFTER),
    "broker: after a store is reserved": ("broker", "broker.payments.ledger:Ledger.reserve", AFTER),
    "broker: after a store": ("broker", "broker.clients:ExecutorClient.execute", AFTER),
    "broker: after a store is settled": ("broker", "broker.payments.settlement:Settlement.settle", AFTER),
    "executor: before content is whole": ("executor", "executor.storage.staging:_Sink.finish", BEFORE),
    "executor: content in place": ("executor", "executor.storage.folder:Folder.put", AFTER),
    "executor: content of a job": ("executor", "executor.storage.holds:Holds.commit", AFTER),
    "executor: before it answers a store": ("executor", "executor.jobs:Jobs.do", AFTER),
}
CACHE_POINTS: dict[str, tuple[str, str, str]] = {
    "broker: before a cache": ("broker", "broker.clients:ExecutorClient.execute", BEFORE),
    "broker: after a cache": ("broker", "broker.clients:ExecutorClient.execute", AFTER),
    "broker: after a cache is settled": ("broker", "broker.payments.settlement:Settlement.settle", AFTER),
    "executor: a cache made": ("executor", "executor.providers.cache.base:CacheProvider.execute", AFTER),
    "executor: before it answers a cache": ("executor", "executor.jobs:Jobs.do", AFTER),
}
ALL_POINTS = {**POINTS, **STORE_POINTS, **CACHE_POINTS}
DURING_S = 0.008


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(target: str, when: str, nth: int) -> None:
    """Wrap the method so that its `nth` call is the last thing this process does."""
    module, _, path = target.partition(":")
    owner_name, method_name = path.split(".")
    owner = getattr(importlib.import_module(module), owner_name)
    real: Callable[..., Any] = getattr(owner, method_name)
    calls = 0

    def due() -> bool:
        nonlocal calls
        calls += 1
        return calls == nth

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        if when == BEFORE and due():
            die()
        if when == DURING and due():
            asyncio.get_running_loop().call_later(DURING_S, die)
        result = await real(*args, **kwargs)
        if when == AFTER and due():
            die()
        return result

    def wrapped_sync(*args: Any, **kwargs: Any) -> Any:
        if when == BEFORE and due():
            die()
        result = real(*args, **kwargs)
        if when == AFTER and due():
            die()
        return result

    setattr(owner, method_name, wrapped if asyncio.iscoroutinefunction(real) else wrapped_sync)


def main(service: str, point: str, nth: str) -> None:
    expected, target, when = ALL_POINTS[point]
    if service != expected:
        sys.exit(f"{point} is not a point of {service}")
    arm(target, when, int(nth))
    sys.argv[:] = [service]
    importlib.import_module("runpy").run_module(service, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
