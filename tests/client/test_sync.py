"""`galaksio.Client` where it is used: in plain programs, in threads, and where an event loop is running."""

import asyncio
import gc
import inspect
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from galaksio import AsyncCache, AsyncClient, Cache, Client, PriceTooHigh, RequestRefused
from tests.client.broker import broker_that, client_of, sells
from tests.support.standin import Answer


async def test_it_works_where_an_event_loop_is_running() -> None:
    with broker_that(sells()) as broker, client_of(broker) as client:
        assert client.run("1").stdout == "done\n"
        assert (await asyncio.to_thread(client.run, "1")).stdout == "done\n"


def test_many_threads_share_one_client_and_its_budget() -> None:
    with broker_that(sells()) as broker, client_of(broker, budget_usd="0.05") as client:

        def buy(_: int) -> bool:
            try:
                return client.run("1").exit_code == 0
            except PriceTooHigh:
                return False

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(buy, range(16))) == 5
        assert len(broker.signed) == 5


def test_a_client_that_is_closed_says_so_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # some of an earlier test's may still be ending
    with broker_that(sells()) as broker:
        client = client_of(broker)
        client.run("1")
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="this client is closed"):
            client.run("1")
    assert set(threading.enumerate()) <= before


def test_a_client_that_is_forgotten_takes_its_thread_along() -> None:
    client = Client()
    thread, alive = client._portal._thread, weakref.ref(client)
    del client
    gc.collect()
    thread.join(20)
    assert (alive(), thread.is_alive()) == (None, False)


def test_closing_breaks_off_what_another_thread_waits_for() -> None:
    slow = Answer(200, b"{}", delay_s=30)
    failed: list[BaseException] = []
    with broker_that(lambda *_: slow) as broker:
        client = client_of(broker)

        def wait() -> None:
            try:
                client.run("1")
            except BaseException as exc:
                failed.append(exc)

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not broker.payments:
            time.sleep(0.01)
        client.close()
        waiting.join(20)
    assert [type(exc).__name__ for exc in failed] == ["CancelledError"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Also where these tests were started in the background of a shell, which has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_caller_that_is_interrupted_leaves_nothing_running() -> None:
    slow = Answer(200, b"{}", delay_s=30)
    with broker_that(lambda *_: slow) as broker, client_of(broker) as client:
        here = threading.get_ident()

        def interrupt() -> None:
            """Not before the caller waits: it would be these tests that are interrupted."""
            while not broker.payments:
                time.sleep(0.01)
            time.sleep(0.1)
            signal.pthread_kill(here, signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            threading.Thread(target=interrupt, daemon=True).start()
            client.run("1")
        deadline = time.monotonic() + 20
        while (left := asyncio.all_tasks(client._portal._loop)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert left == set()


def test_content_comes_in_pieces_and_may_be_left_half_way() -> None:
    content = Answer(200, b"x" * 1_000_000)
    with broker_that(sells()) as broker, client_of(broker) as client:
        broker.answer = _always(content)  # type: ignore[method-assign]
        pieces = client.stream("cid", verify=False)
        assert set(next(pieces)) == {ord("x")}
        pieces.close()  # type: ignore[attr-defined]
        assert sum(len(piece) for piece in client.stream("cid", verify=False)) == 1_000_000


def _always(answer: Answer) -> Callable[..., Any]:
    async def same(*_: object) -> Answer:
        return answer

    return same


def test_a_refusal_in_the_stream_is_raised() -> None:
    with broker_that(sells()) as broker, client_of(broker) as client:
        broker.answer = _always(Answer.of({"error": "it has expired"}, 410))  # type: ignore[method-assign]
        with pytest.raises(RequestRefused, match="410: it has expired"):
            next(client.stream("cid"))


@pytest.mark.parametrize(("one", "other"), [(Client, AsyncClient), (Cache, AsyncCache)])
def test_both_clients_take_the_same(one: type, other: type) -> None:
    """Written twice, for editors and type checkers; this keeps them one."""
    for name, method in inspect.getmembers(other, callable):
        if name.startswith("_"):
            continue
        ours = inspect.signature(getattr(one, name)).parameters
        theirs = inspect.signature(method).parameters
        assert list(ours.values()) == list(theirs.values()), name
    assert inspect.signature(Client).parameters == inspect.signature(AsyncClient).parameters
