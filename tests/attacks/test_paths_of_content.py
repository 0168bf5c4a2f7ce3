"""`/store`, `/cache` and `/files` by every spelling: nothing for free, and nothing but content to be seen."""

import json
import secrets
from collections.abc import Iterator

import httpx
import pytest
from redis import Redis

from tests.attacks.stores import Untouched, asked, head, paid, payments, raw
from tests.attacks.test_paths import SAFE_ANSWERS
from tests.attacks.world import World
from tests.flows.test_store import cid_of
from tests.support.services import Stack
from tests.support.standin import Answer
from tests.support.wallets import Wallet, new_wallet

SPELLINGS = [
    "/{}",
    "/{}/",
    "//{}",
    "/./{}",
    "/{}/.",
    "/x/../{}",
    "/health/../{}",
    "/files/../{}",
    "/{}%2f",
    "/%2f{}",
    "/{}%00",
    "/{}%20",
    "/{}%0d%0aX-PAYMENT:x",
    "/{};v=1",
    "/{}?path=/health",
    "/{}#/health",
    "http://galaksio.example/{}",
    "\\{}",
    "{}",
]
SOLD = ["store", "cache", "cache/CACHE/topup"]


def spellings_of(path: str) -> list[str]:
    """All of them, also with capitals and with a letter percent-encoded, once and twice."""
    first, rest = path[0], path[1:]
    letters = [f"/{path.upper()}", f"/%{ord(first):02x}{rest}", f"/%25{ord(first):02x}{rest}"]
    return [*(spelling.format(path) for spelling in SPELLINGS), *letters]


METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "QUERY"]
DOORS = [(path, "POST", spelling) for path in SOLD for spelling in spellings_of(path)]
DOORS += [(path, method, f"/{path}") for path in SOLD for method in METHODS]


class Goods:
    """All content and all operations that were sold, and one cache; `check` that nothing came to it."""

    def __init__(self, host: Stack, redis: "Redis[bytes]", cache_id: str) -> None:
        self.host = host
        self.cache_id = cache_id
        self._store = Untouched(host)
        self._redis = redis
        self._caches = self._counted()

    def _counted(self) -> dict[bytes, bytes | None]:
        """Operations that are left, by the key under which a cache keeps them."""
        return {key: self._redis.hget(key, "left") for key in self._redis.scan_iter("{*}:m")}

    def check(self) -> None:
        assert self._counted() == self._caches != {}
        self._store.check()


@pytest.fixture
def goods(host: Stack, store: httpx.Client, valkey_url: str) -> Iterator[Goods]:
    bought = paid(store, new_wallet(), {"json": {}}, "/cache")
    assert bought.status_code == 200, bought.text
    with Redis.from_url(valkey_url) as redis:
        yield Goods(host, redis, bought.json()["result"]["cacheId"])


def body_for(sold: str) -> bytes:
    """What it wants to be told; of content, each time another."""
    bodies = {"store": {"data": secrets.token_hex(8)}, "cache": {"ttl": 600}}
    return json.dumps(bodies.get(sold, {"operations": 50_000})).encode()


def request(method: str, target: str, body: bytes, *headers: tuple[str, str]) -> bytes:
    usual = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return head(target, *usual, ("Connection", "close"), *headers, method=method) + body


@pytest.mark.parametrize("door", DOORS, ids=ascii)
def test_no_spelling_sells_for_free_and_a_payment_buys_all_or_nothing(
    goods: Goods, store: httpx.Client, wallet: Wallet, door: tuple[str, str, str]
) -> None:
    sold, method, spelling = door
    path, target, body = (
        f"/{sold}".replace("CACHE", goods.cache_id),
        spelling.replace("CACHE", goods.cache_id),
        body_for(sold),
    )
    status, _, _ = raw(goods.host, request(method, target, body))
    assert status in SAFE_ANSWERS | {401} or method == "OPTIONS"
    goods.check()
    (payment,) = wallet.pay_v2(asked(store, {"content": body, "headers": JSON}, path)).items()
    status, _, text = raw(goods.host, request(method, target, body, payment))
    if method == "POST" and status == 200:
        assert payments(goods.host, wallet) == [("settled", "completed")]
        assert json.loads(text)["status"] == "completed"
        return
    assert status in SAFE_ANSWERS | {401} or method == "OPTIONS"
    assert payments(goods.host, wallet) == []
    goods.check()


JSON = {"Content-Type": "application/json"}
ELSEWHERE = [
    "/files/..",
    "/files/%2e%2e",
    "/files/.",
    "/files/%2e",
    "/files/%2e%2e%2fproviders",
    "/files/..%2fproviders",
    "/files/%2e%2e%5cproviders",
    "/files/..;/providers",
    "/files/%252e%252e",
    "/files/../../etc/passwd",
    "/files/%00",
    "/files/%0a",
    "/files/%7f",
    "/files/%0d%0aX-Injected:1",
    "/files/%ff",
    "/files/%3fformat=raw",
    "/files/%23",
    "/files/@evil.example",
    "/files/:8080",
    "/files/http:%2f%2fevil.example",
    "/files/%e2%80%ae",
    "/files/" + "a" * 5000,
    "/files/CID%00",
    "/files/CID%20",
    "/files/CID%2f..",
    "/files/CID/..",
    "/files/CID/",
    "/files//CID",
    "//files/CID",
    "/files/UPPER",
    "/ipfs/..",
    "/ipfs/%00",
    "/ipfs/CID/index.html",
    "/FILES/CID",
]


@pytest.mark.parametrize("target", ELSEWHERE, ids=ascii)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_below_files_there_is_nothing_but_content(
    host: Stack, store: httpx.Client, method: str, target: str
) -> None:
    content = b"<b>kept</b>"
    if store.get(f"/files/{cid_of(content)}").status_code != 200:
        assert paid(store, new_wallet(), {"json": {"data": content.decode()}}).status_code == 200
    cid = cid_of(content)
    path = target.replace("CID", cid).replace("UPPER", cid.upper())
    status, answer_head, text = raw(host, head(path, ("Connection", "close"), method=method))
    assert status in {400, 404}
    assert "kept" not in text and "executor" not in text
    assert "x-injected" not in answer_head.lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_content_is_only_read(host: Stack, store: httpx.Client, method: str) -> None:
    answer = paid(store, new_wallet(), {"json": {"data": secrets.token_hex(8)}}).json()["result"]
    assert store.request(method, answer["url"], content=b"other").status_code in {404, 405}
    assert store.request(method, f"{host.broker}/uploads", content=b"other").status_code in {404, 405}
    assert cid_of(store.get(answer["url"]).content) == answer["cid"]


SAID_TOO_MUCH = (
    ("Set-Cookie", "session=1"),
    ("Location", "http://evil.example/"),
    ("Access-Control-Allow-Origin", "*"),
    ("Link", "<http://evil.example/>; rel=preload"),
    ("Refresh", "0; url=http://evil.example/"),
    ("Clear-Site-Data", '"*"'),
    ("X-Internal", "10.0.0.1"),
    ("Server", "executor"),
    ("Content-Encoding", "gzip"),
    ("ETag", '"kept"'),
)
TOLD = {"content-type", "content-length", "etag", "date", "x-request-id"}


def test_of_the_executors_headers_only_those_of_content_are_told(world: World) -> None:
    world.executor.on_file = lambda _: Answer(200, b"content", SAID_TOO_MUCH)
    with world.client() as client:
        answer = client.get(f"/files/{cid_of(b'content')}", headers={"Accept-Encoding": "identity"})
    assert answer.status_code == 200
    assert set(answer.headers) == TOLD
    assert answer.headers["ETag"] == '"kept"'


@pytest.mark.parametrize("status", [201, 301, 302, 307, 401, 403, 418, 500, 502])
def test_what_the_executor_says_to_us_is_not_repeated_to_strangers(world: World, status: int) -> None:
    internal = b'{"error": "Traceback: this service is internal: a bearer token is needed"}'
    world.executor.on_file = lambda _: Answer(status, internal, SAID_TOO_MUCH)
    with world.client() as client:
        answer = client.get(f"/files/{cid_of(b'content')}")
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert "location" not in answer.headers and "set-cookie" not in answer.headers


def test_an_error_about_content_carries_the_id_of_its_request(store: httpx.Client) -> None:
    answer = store.get(f"/files/{cid_of(b'not here')}")
    assert answer.status_code == 404
    assert answer.json()["requestId"] == answer.headers["X-Request-ID"]
