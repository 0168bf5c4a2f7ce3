"""What a service did, for Prometheus: `GET /metrics`.

A process tells of itself alone: where several share a port (`uvicorn --workers 4`), each scrape shows the one
that happened to answer. Start several services behind one name instead, as docker-compose.yaml does.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.clock import system_clock
from shared.errors import GalaksioError
from shared.fresh import Fresh
from shared.http import METRICS_PATH
from shared.logs import get_logger
from shared.middleware import header, is_loopback
from shared.openapi import Responses, refusals

log = get_logger(__name__)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
"""Bounds of the histograms: from an answer out of memory to the longest run."""
SOCKET_SECONDS = (0.1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600)
"""Bounds for WebSockets: from one that is sent away to a page that is left open."""
FRESH_S = 5.0
"""How long what was looked up for one scrape is told to the next ones."""
LOOK_S = 3.0

Look = Callable[[], Awaitable[list[Metric]]]
Read = Callable[[], Iterable[Metric]]


class Metrics:
    """The figures of one app, in a registry of its own: several apps may live in one process."""

    def __init__(self, service: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.service = service
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._looks: list[Fresh[list[Metric]]] = []
        request = ("service", "method", "route")
        self._requests = self.counter("http_requests", "Requests answered.", *request, "status")
        self._durations = self.histogram("http_request_duration_seconds", "Time to an answer.", *request)
        self._routes: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        socket = ("service", "route")
        self._sockets_open = Gauge("websockets_open", "Open WebSockets.", socket, registry=self.registry)
        self._sockets_accepted = self.counter("websockets_accepted", "WebSockets that were opened.", *socket)
        self._sockets_ended = self.counter("websockets_ended", "WebSockets that ended.", *socket, "outcome")
        self._socket_durations = self.histogram(
            "websocket_duration_seconds", "How long WebSockets were open.", *socket, bounds=SOCKET_SECONDS
        )

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A counter that is told as `<name>_total`."""
        return Counter(name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, *labels: str, bounds: Sequence[float] = SECONDS) -> Histogram:
        """A histogram of seconds."""
        return Histogram(name, text, labels, registry=self.registry, buckets=bounds)

    def read(self, read: Read) -> None:
        """Have `read` called at each scrape for what is known in this process: it must not wait."""
        self.registry.register(_Read(read))

    def look_up(self, look: Look) -> None:
        """Have `look` asked for what takes a while: within `LOOK_S`, and once in `FRESH_S` at most.

        While it fails its figures are missing, and the others are told.
        """
        self._looks.append(Fresh(lambda: _within(look), system_clock, FRESH_S))

    def count_request(self, method: str, route: str, status: int, took_s: float) -> None:
        """`route` is the path as declared: one that callers choose would never end."""
        key = (method, route, status)
        children = self._routes.get(key)
        if children is None:
            labels = (self.service, method, route)
            children = self._requests.labels(*labels, str(status)), self._durations.labels(*labels)
            self._routes[key] = children
        requests, durations = children
        requests.inc()
        durations.observe(took_s)

    def open_socket(self, route: str) -> None:
        """A WebSocket was accepted. `route` is the path as declared."""
        self._sockets_accepted.labels(self.service, route).inc()
        self._sockets_open.labels(self.service, route).inc()

    def end_socket(self, route: str, outcome: str, took_s: float, *, accepted: bool) -> None:
        """A WebSocket ended. `outcome` is `closed`, `rejected` (by the handshake), `failed`, or why it was
        sent away: the code of an error of ours, of which there are few.
        """
        self._sockets_ended.labels(self.service, route, outcome).inc()
        if accepted:
            self._sockets_open.labels(self.service, route).dec()
            self._socket_durations.labels(self.service, route).observe(took_s)

    async def text(self) -> bytes:
        """All figures in the text format of Prometheus."""
        found = await asyncio.gather(*(look.get() for look in self._looks))
        looked_up = CollectorRegistry()
        looked_up.register(_Read(lambda: [metric for metrics in found for metric in metrics]))
        return generate_latest(self.registry) + generate_latest(looked_up)


class _Read(Collector):
    def __init__(self, read: Read) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that nobody reads before there is something."""
        return []

    def collect(self) -> Iterable[Metric]:
        return self._read()


async def _within(look: Look) -> list[Metric]:
    try:
        async with asyncio.timeout(LOOK_S):
            return await look()
    except Exception as exc:
        log.warning("metrics_not_looked_up", error=type(exc).__name__)
        return []


Sample = tuple[tuple[str, ...], float]
"""The values of the labels, and the figure."""


def gauge(name: str, text: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    """A figure that goes up and down, read at the scrape."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, figure in samples:
        family.add_metric(values, figure)
    return family


def counted(name: str, text: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    """A figure that only grows, read at the scrape; it is told as `<name>_total`."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, figure in samples:
        family.add_metric(values, figure)
    return family


def usd(atomic: int) -> float:
    """Atomic units (10^-6 USD) for a graph. Prometheus knows nothing but floats; nobody is paid by them."""
    return atomic / 1_000_000


def metrics_router(metrics: Metrics, tokens: Iterable[str | None], *, loopback: bool) -> APIRouter:
    """`GET /metrics` for whoever shows one of `tokens`.

    Where none is set, it is for nobody, or with `loopback` for callers on this machine.
    """
    shown = [f"Bearer {token}".encode() for token in tokens if token]
    router = APIRouter(tags=["health"])

    def check(request: Request) -> None:
        given = header(request.scope, b"authorization")
        if shown:
            if not any(hmac.compare_digest(given, token) for token in shown):
                raise GalaksioError(
                    "These figures are the host's: a bearer token is needed.",
                    status=401,
                    code="unauthorized",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        elif not (loopback and is_loopback(request.scope)):
            raise GalaksioError(
                "These figures are the host's: set METRICS_TOKEN, and show it as a bearer token.",
                status=403,
                code="forbidden",
            )

    @router.get(METRICS_PATH, response_class=Response, responses=_RESPONSES)
    async def told(request: Request) -> Response:
        """The figures of this process, for Prometheus. With a bearer token of the host's only."""
        check(request)
        return Response(await metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


_RESPONSES: Responses = {
    200: {"content": {"text/plain": {}}, "description": "The text format of Prometheus"},
    **refusals({401: "A bearer token is needed", 403: "The host has set no token"}),
}
