"""Layers for runs: found, or built once however many ask for them, and held while they are in use."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from threading import Event
from typing import TypeVar

from executor.dependencies.errors import (
    DependenciesUnavailable,
    DependencyBuildFailed,
    DependencyTimeout,
    Refusal,
)
from executor.dependencies.recipe import Recipe
from executor.dependencies.store import Held, Store
from executor.dependencies.works import LayerOptions, Works, find_works
from executor.sandbox.bench import Bench
from executor.sandbox.errors import ExecutorBusy
from executor.sandbox.layer import Layer
from shared.errors import BadRequest
from shared.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")

MOST_WAITING = 64
REMEMBERED = 256
REFUSED_FOR_S = 30.0
"""How long a wish that cannot come true is refused without asking the index again."""
ASK_AGAIN_S = 0.05


class Layers:
    """`open`, then `layer` from any number of tasks, then `close`."""

    def __init__(self, options: LayerOptions) -> None:
        self.options = options
        self.reason = "packages are not offered before the sandbox is open"
        self._works: Works | None = None
        self._closing = Event()
        self._building: dict[str, asyncio.Task[Refusal | None]] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._refused: OrderedDict[str, tuple[float, Refusal]] = OrderedDict()
        self._waiting = 0
        # A build's thread is its parent: it must not end before it.
        self._threads = ThreadPoolExecutor(options.builds, thread_name_prefix="dependencies")

    @property
    def available(self) -> bool:
        return self._works is not None

    async def open(self, bench: Bench | None) -> None:
        """Find what building needs. What is missing is no error: `available` and `reason` tell it."""
        try:
            self._works = await asyncio.to_thread(find_works, self.options, bench, self._closing)
            self.reason = ""
        except (OSError, LookupError) as exc:
            self.reason = str(exc.args[0] if isinstance(exc, LookupError) else exc)
            log.warning("dependencies_unavailable", reason=self.reason)

    async def close(self) -> None:
        """End what is being built."""
        self._closing.set()
        tasks = [*self._building.values(), *self._chores]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)

    @asynccontextmanager
    async def layer(self, requirements: Sequence[str]) -> AsyncIterator[Layer]:
        """The layer of the normalised `requirements`, kept from eviction until the block is left.

        Raises what `errors.py` lists, or `ExecutorBusy` when too many wait.
        """
        if (works := self._works) is None:
            raise DependenciesUnavailable(f"Packages are not offered here: {self.reason}.", retry_after_s=60)
        recipe = Recipe(tuple(requirements), works.abi, works.index)
        key = recipe.key(time.time(), self.options.ttl_s)
        held = await _hold(works.store, key) or await self._made(works, recipe, key)
        try:
            yield held.layer
        finally:
            held.release()

    async def _made(self, works: Works, recipe: Recipe, key: str) -> Held:
        if max(self._waiting, len(self._building)) >= MOST_WAITING:
            raise ExecutorBusy("Too many runs wait for their packages; try again.", retry_after_s=5)
        self._waiting += 1
        try:
            async with asyncio.timeout(self.options.timeout_s + 1):
                while True:
                    if refused := self._recall(key) or await asyncio.shield(self._build(works, recipe, key)):
                        raise type(refused)(refused.message)
                    if held := await _hold(works.store, key):
                        return held
        except TimeoutError:
            raise DependencyTimeout(
                "The dependencies were not ready in time; nothing was charged. Work on them goes on."
            ) from None
        finally:
            self._waiting -= 1

    def _build(self, works: Works, recipe: Recipe, key: str) -> "asyncio.Task[Refusal | None]":
        """The one task that builds `key`. It goes on when its askers leave."""
        if key not in self._building:
            task = asyncio.create_task(self._built(works, recipe, key), name=f"layer-{key[:8]}")
            self._building[key] = task
            task.add_done_callback(lambda _: self._building.pop(key))
        return self._building[key]

    async def _built(self, works: Works, recipe: Recipe, key: str) -> Refusal | None:
        """Build and publish, unless another executor does. Returns why not."""
        store = works.store
        try:
            await asyncio.to_thread(store.open)
            lock = await self._until(lambda: store.begin(key))
            try:
                if not await asyncio.to_thread(store.has, key):
                    await self._make(works, recipe, key)
            finally:
                await asyncio.to_thread(store.end, key, lock)
        except Refusal as refusal:
            log.warning("layer_refused", code=refusal.code, requirements=recipe.requirements)
            if isinstance(refusal, BadRequest):
                self._remember(key, refusal)
            return refusal
        except OSError as exc:
            log.error("layer_failed", error=str(exc))
            return DependencyBuildFailed("The dependencies could not be installed; nothing was charged.")
        chore = asyncio.create_task(asyncio.to_thread(self._after, store, key))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)
        return None

    async def _make(self, works: Works, recipe: Recipe, key: str) -> None:
        """Build in a free workshop and publish."""
        store = works.store
        workshop, place = await self._until(lambda: store.workshop(self.options.builds))
        began_s = time.monotonic()
        try:
            made = await asyncio.get_running_loop().run_in_executor(
                self._threads, works.builder.make, recipe, workshop
            )
            await asyncio.to_thread(store.publish, key, made.folder, made.resolved, made.size_bytes)
        finally:
            place.release()
        log.info(
            "layer_built",
            resolved=made.resolved,
            size_bytes=made.size_bytes,
            build_ms=round((time.monotonic() - began_s) * 1000),
        )

    def _after(self, store: Store, key: str) -> None:
        """What nobody has to wait for."""
        try:
            if gone := store.evict(self.options.total_bytes):
                log.info("layers_evicted", count=len(gone))
            store.make_durable(key)
        except OSError as exc:
            log.error("layer_chore_failed", error=str(exc))

    async def _until(self, attempt: Callable[[], T | None]) -> T:
        """What `attempt` returns once it is not None. Another process may have it for as long as a build."""
        while True:
            if (got := await asyncio.to_thread(attempt)) is not None:
                return got
            if self._closing.is_set():
                raise DependenciesUnavailable("The executor is shutting down; nothing was charged.")
            await asyncio.sleep(ASK_AGAIN_S)

    def _remember(self, key: str, refusal: Refusal) -> None:
        self._refused[key] = (time.monotonic() + REFUSED_FOR_S, refusal)
        while len(self._refused) > REMEMBERED:
            self._refused.popitem(last=False)

    def _recall(self, key: str) -> Refusal | None:
        until_s, refusal = self._refused.get(key, (0.0, None))
        if refusal is not None and time.monotonic() > until_s:
            self._refused.pop(key, None)
            return None
        return refusal


async def _hold(store: Store, key: str) -> Held | None:
    """`store.hold`, without a layer held for ever when the asker leaves in between."""
    asking = asyncio.ensure_future(asyncio.to_thread(store.hold, key))
    try:
        return await asyncio.shield(asking)
    except asyncio.CancelledError:
        asking.add_done_callback(_let_go)
        raise


def _let_go(asking: "asyncio.Future[Held | None]") -> None:
    if not asking.cancelled() and asking.exception() is None and (held := asking.result()):
        held.release()
