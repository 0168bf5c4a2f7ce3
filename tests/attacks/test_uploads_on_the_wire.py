"""Uploads whose bytes come as nobody should send them: lengths that lie, chunks of one byte, a cut line."""

import gzip
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.attacks.facilitator import Asked, Facilitator
from tests.attacks.stores import Untouched, asked, connected, head, payments, raw, rows, staged
from tests.attacks.world import read_answer, wait_until
from tests.executor.storage.test_kills import peak_mb, reset_peak
from tests.flows.test_store import cid_of
from tests.support.multipart import BOUNDARY, FORM, field, file, form
from tests.support.services import Stack
from tests.support.standin import Answer
from tests.support.wallets import Wallet, new_wallet

MB = 1 << 20
START = form(field(b"ttl", b"86400"), file(b""), end=b"")[: -len(BOUNDARY) - 4]
"""A form up to the first byte of its file. What is stored by it outlives these tests: they count files."""
END = b"\r\n--" + BOUNDARY + b"--\r\n"


def body_of(content: bytes) -> bytes:
    return START + content + END


def upload(content: bytes) -> dict[str, Any]:
    return {"content": body_of(content), "headers": {"Content-Type": FORM}}


def payment_for(store: httpx.Client, wallet: Wallet, content: bytes) -> tuple[str, str]:
    (header,) = wallet.pay_v2(asked(store, upload(content))).items()
    return header


def in_chunks(body: bytes, size_bytes: int) -> Iterator[bytes]:
    yield from (body[start : start + size_bytes] for start in range(0, len(body), size_bytes))


@pytest.mark.parametrize("size_bytes", [1, 17, 5000])
def test_a_body_in_chunks_of_any_size_and_without_a_length_is_stored(
    store: httpx.Client, wallet: Wallet, size_bytes: int
) -> None:
    content = secrets.token_bytes(3000)

    def post(**headers: str) -> httpx.Response:
        chunks = in_chunks(body_of(content), size_bytes)
        return store.post("/store", content=chunks, headers={"Content-Type": FORM, **headers})

    answer = post(**wallet.pay_v2(post()))
    assert answer.status_code == 200, answer.text
    assert store.get(answer.json()["result"]["url"]).content == content


@pytest.mark.parametrize("with_payment", [False, True])
@pytest.mark.parametrize("missing", [1, 100, 2900])
def test_a_length_that_is_too_small_is_a_body_that_was_cut_off(
    host: Stack, store: httpx.Client, wallet: Wallet, missing: int, with_payment: bool
) -> None:
    content = secrets.token_bytes(3000)
    payment = [payment_for(store, wallet, content)] if with_payment else []
    before, body = Untouched(host), body_of(content)
    short = len(body) - len(END) - missing
    start = head("/store", ("Content-Type", FORM), ("Content-Length", str(short)), *payment)
    status, _, text = raw(host, start + body[:short])
    assert status == 400 and "cut off" in text
    # What comes beyond the length is the next request, and none that can be read.
    assert raw(host, start + body)[0] == 400
    assert payments(host, wallet) == []
    before.check()


@pytest.mark.parametrize("missing", [1, len(END) - 1, 150_000])
def test_a_line_that_is_cut_before_the_end_leaves_nothing(
    host: Stack, store: httpx.Client, wallet: Wallet, missing: int
) -> None:
    content = secrets.token_bytes(300_000)
    payment, before, body = payment_for(store, wallet, content), Untouched(host), body_of(content)
    length = ("Content-Length", str(len(body)))
    # Without the last line break the form is whole: it is the length that says there is more to come.
    with connected(host) as connection:
        connection.sendall(head("/store", ("Content-Type", FORM), length, payment) + body[:-missing])
    before.check()
    assert payments(host, wallet) == []
    answer = store.post("/store", **{**upload(content), "headers": {"Content-Type": FORM, **dict([payment])}})
    assert answer.status_code == 200, "the same authorization is still good"


def test_whoever_hangs_up_after_the_last_byte_has_bought_it(
    host: Stack, store: httpx.Client, wallet: Wallet
) -> None:
    content = secrets.token_bytes(100_000)
    payment, body = payment_for(store, wallet, content), body_of(content)
    with connected(host) as connection:
        length = ("Content-Length", str(len(body)))
        connection.sendall(head("/store", ("Content-Type", FORM), length, payment) + body)
    again = store.post("/store", **{**upload(content), "headers": {"Content-Type": FORM, **dict([payment])}})
    assert again.status_code == 200, again.text
    assert payments(host, wallet) == [("settled", "completed")]
    wait_until(lambda: staged(host) == 0, "the second upload is forgotten")


@pytest.mark.parametrize(
    "chunks",
    [
        b"ffffffffffffffffff\r\nx",
        b"-1\r\nx",
        b"zz\r\nx",
        b"5\r\nxxxxxxxx\r\n0\r\n\r\n",
        b"5;x=\xff\0\r\nxxxxx\r\n0",
    ],
)
def test_chunks_that_lie_are_refused(host: Stack, store: httpx.Client, wallet: Wallet, chunks: bytes) -> None:
    payment, before = payment_for(store, wallet, b"x" * 5), Untouched(host)
    headers = [("Content-Type", FORM), ("Transfer-Encoding", "chunked"), payment]
    first = b"%x\r\n%b\r\n" % (len(START), START)
    status, _, _ = raw(host, head("/store", *headers) + first + chunks, patience_s=2)
    assert status in {0, 400}
    assert payments(host, wallet) == []
    before.check()


def test_two_kinds_of_length_are_refused(host: Stack, store: httpx.Client, wallet: Wallet) -> None:
    content = secrets.token_bytes(500)
    payment, before, body = payment_for(store, wallet, content), Untouched(host), body_of(content)
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    both = [("Content-Length", str(len(body))), ("Transfer-Encoding", "chunked")]
    two = [("Content-Length", str(len(body))), ("Content-Length", "5")]
    for lengths, sent in ((both, chunked), (both[::-1], chunked), (two, body), (two[::-1], body)):
        status, _, _ = raw(
            host, head("/store", ("Content-Type", FORM), payment, *lengths) + sent, patience_s=2
        )
        assert status in {0, 400}
    assert payments(host, wallet) == []
    before.check()


def test_what_is_too_large_is_refused_before_it_is_invited(host: Stack) -> None:
    before = Untouched(host)
    expects = ("Expect", "100-continue")
    too_large = head("/store", ("Content-Type", FORM), ("Content-Length", str(200 * MB)), expects)
    assert raw(host, too_large)[0] == 413
    length = ("Content-Length", str(len(body_of(b"x"))))
    with connected(host) as connection:
        connection.sendall(head("/store", ("Content-Type", FORM), length, expects))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body_of(b"x"))
        assert read_answer(connection)[0] == 402
    before.check()


@pytest.mark.parametrize("content_type", ["application/json", FORM])
def test_a_compressed_body_is_not_unpacked(store: httpx.Client, content_type: str) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": content_type}
    assert store.post("/store", content=gzip.compress(bytes(MB)), headers=headers).status_code == 400


def test_two_payments_at_once_are_refused_before_the_file_is_kept(
    host: Stack, store: httpx.Client, wallet: Wallet
) -> None:
    content = secrets.token_bytes(200_000)
    challenge, before = asked(store, upload(content)), Untouched(host)
    both = {**wallet.pay_v1(challenge), **wallet.pay_v2(challenge)}
    answer = store.post("/store", content=body_of(content), headers={"Content-Type": FORM, **both})
    assert answer.status_code == 400
    assert payments(host, wallet) == []
    before.check()


@pytest.mark.parametrize("content_is_the_same", [True, False])
def test_twenty_uploads_with_one_authorization_are_one_purchase(
    host: Stack, store: httpx.Client, facilitator: Facilitator, wallet: Wallet, content_is_the_same: bool
) -> None:
    same = secrets.token_bytes(120_000)
    contents = [same if content_is_the_same else secrets.token_bytes(len(same)) for _ in range(20)]
    headers = {"Content-Type": FORM, **dict([payment_for(store, wallet, contents[0])])}
    gate = threading.Barrier(len(contents))

    def send(content: bytes) -> httpx.Response:
        gate.wait(20)
        return store.post("/store", content=body_of(content), headers=headers)

    with ThreadPoolExecutor(len(contents)) as pool:
        answers = list(pool.map(send, contents))
    good = [answer for answer in answers if answer.status_code == 200]
    others = {(answer.status_code, answer.json()["code"]) for answer in answers if answer not in good}
    assert others == (set() if content_is_the_same else {(409, "authorization_used")})
    assert len({answer.content for answer in good}) == 1
    assert (facilitator.settles(wallet.address), len(facilitator.moved(wallet.address))) == (1, 1)
    assert payments(host, wallet) == [("settled", "completed")]
    wait_until(lambda: staged(host) == 0, "no staged leftovers")
    (job_id,) = {answer.json()["jobId"] for answer in good}
    held = rows(host, "storage", "SELECT cid FROM storage_holds WHERE id = ? AND state = 'held'", job_id)
    assert held == [(good[0].json()["result"]["cid"],)]
    unsold = [cid_of(content) for content in contents if (cid_of(content),) not in held]
    assert all(store.get(f"/files/{cid}").status_code == 404 for cid in unsold)


def test_anothers_authorization_buys_nothing_else_while_it_is_under_way(
    host: Stack, store: httpx.Client, facilitator: Facilitator, wallet: Wallet
) -> None:
    mine, theirs = secrets.token_bytes(50_000), secrets.token_bytes(50_000)
    headers = {"Content-Type": FORM, **dict([payment_for(store, wallet, mine)])}

    def slow(asked: Asked) -> Answer:
        honest = facilitator.settle(asked)
        return Answer(honest.status, honest.body, delay_s=0.5)

    facilitator.on_settle = slow
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(store.post, "/store", content=body_of(mine), headers=headers)
        assert facilitator.settle_began.wait(20)
        thief = store.post("/store", content=body_of(theirs), headers=headers)
        assert (thief.status_code, thief.json()["code"]) == (409, "authorization_used")
        assert first.result().status_code == 200
    assert store.get(f"/files/{cid_of(theirs)}").status_code == 404
    wait_until(lambda: staged(host) == 0, "the thief's upload is forgotten")


def test_an_upload_without_end_is_stopped_and_memory_stays_flat(host: Stack, store: httpx.Client) -> None:
    """Chunks for as long as they are taken: unpaid, paid, as a file, and as what should be a field."""
    wallet, process, before = new_wallet(), host.processes["broker"], Untouched(host)
    payment = payment_for(store, wallet, b"x")
    reset_peak(process)
    before_mb = peak_mb(process)
    endless_field = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    # Without a length the price cannot be known before the end: also an unpaid one is read, to the limit.
    for start, headers, status, most_mb in (
        (START, [], 413, 130),
        (START, [payment], 413, 130),
        (endless_field, [], 400, 10),
    ):
        chunked = [("Content-Type", FORM), ("Transfer-Encoding", "chunked"), *headers]
        answered, sent_bytes = endless(host, head("/store", *chunked), start)
        assert answered == status
        assert sent_bytes <= most_mb * MB
    assert peak_mb(process) - before_mb < 30
    assert payments(host, wallet) == []
    before.check()


def endless(host: Stack, start: bytes, body: bytes) -> tuple[int, int]:
    """Send chunks until there is an answer. Its status, and how many bytes were sent."""
    chunk = b"%x\r\n%b\r\n" % (MB, bytes(MB))
    sent_bytes = 0
    with connected(host) as connection:
        connection.sendall(start + b"%x\r\n%b\r\n" % (len(body), body))
        connection.settimeout(0.001)
        while sent_bytes < 200 * MB:
            try:
                first = connection.recv(16)
                return int(first.split(b" ")[1]), sent_bytes
            except TimeoutError:
                connection.settimeout(15)
                connection.sendall(chunk)
                connection.settimeout(0.001)
                sent_bytes += MB
    raise AssertionError("it is never stopped")
