"""Run by the tests as a process of its own, to be killed: one order, as an executor sends it."""

import asyncio
import os

from executor.settings import ExecutorSettings
from executor.upstream.base import Order, Spending
from executor.upstream.opening import choose_upstream
from shared.clock import system_clock
from shared.settings import load_settings


async def main() -> None:
    settings = load_settings(ExecutorSettings)
    upstream = choose_upstream(settings, system_clock)
    await upstream.open()
    order = Order("POST", os.environ["MERIT_SYSTEMS_URL"], json={"snippet": "print(6 * 7)"})
    await upstream.send(order, Spending("job", "merit-systems", 1_000_000))


if __name__ == "__main__":
    asyncio.run(main())
