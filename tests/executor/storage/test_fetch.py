"""Fetching a customer's URL gives the file, and nothing that the customer could not have fetched."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import ResolveResult

from executor.storage.fetch import Fetcher, Measured
from executor.storage.fetching.errors import FetchFailed, FetchRefused, TooLarge, Unreachable
from executor.storage.fetching.names import PublicResolver, public_sockets
from tests.support.internet import ADDRESS, Internet, Page, small_internet

FILE = bytes(range(256)) * 100


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    async with small_internet() as running:
        running.pages["/file.bin"] = Page.of(FILE)
        yield running


async def fetched(internet: Internet, url: str, **options: object) -> bytes:
    async with Fetcher(internet.options(**options)) as fetcher, fetcher.open(url) as got:
        return b"".join([portion async for portion in got.chunks()])


async def measured(internet: Internet, url: str, **options: object) -> Measured:
    async with Fetcher(internet.options(**options)) as fetcher:
        return await fetcher.measure(url)


async def test_a_file_comes_with_what_its_server_says_of_it(internet: Internet) -> None:
    internet.pages["/a/b?c=d"] = Page.of(
        FILE,
        Content_Type="Text/Plain; Charset=UTF-8; x=y",
        Content_Disposition="attachment; filename*=UTF-8''..%2fe%CC%81vil.txt",
    )
    url = "http://files.example.org/a/b?c=d#e"
    async with Fetcher(internet.options()) as fetcher, fetcher.open(url) as got:
        said = (got.content_type, got.file_name, got.size_bytes)
        content = b"".join([portion async for portion in got.chunks()])
    assert said == ("text/plain; charset=utf-8", "évil.txt", len(FILE))
    assert content == FILE
    assert internet.connected == [(ADDRESS, 80)]


async def test_tls_verifies_the_name_while_the_connection_goes_to_the_checked_address(
    internet: Internet,
) -> None:
    internet.names["files.example.org"] = [["2606:2800:21f::1"]]
    assert await fetched(internet, "https://files.example.org/file.bin") == FILE
    (heard,) = internet.heard
    assert (heard.sni, heard.headers["host"]) == ("files.example.org", "files.example.org")
    assert internet.connected == [("2606:2800:21f::1", 443)]


async def test_a_certificate_for_another_name_is_not_taken(internet: Internet) -> None:
    with pytest.raises(Unreachable):
        await fetched(internet, "https://other.example.org/file.bin")
    assert internet.heard == []


async def test_a_certificate_of_an_unknown_issuer_is_not_taken(internet: Internet) -> None:
    with pytest.raises(Unreachable):
        await fetched(internet, "https://files.example.org/file.bin", trust=ssl.create_default_context())
    assert internet.heard == []


async def test_nothing_of_ours_goes_with_a_request(
    internet: Internet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine files.example.org login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.example.org/")
    internet.pages["/first"] = Page(
        status=302, headers=(("Location", "/file.bin"), ("Set-Cookie", "a=b; Path=/"))
    )
    assert await fetched(internet, internet.url_of("/first")) == FILE
    assert internet.looked_up == ["files.example.org"] * 2
    for heard in internet.heard:
        assert set(heard.headers) == {"host", "accept", "accept-encoding", "user-agent", "connection"}
        assert heard.headers["accept-encoding"] == "identity"


# Names and addresses

PRIVATE = {
    "this network": "0.0.0.0",
    "this network, any host": "0.1.2.3",
    "loopback": "127.0.0.1",
    "all of loopback": "127.255.255.254",
    "private 10": "10.0.0.1",
    "private 172": "172.31.255.255",
    "private 192": "192.168.0.1",
    "carrier's": "100.64.0.1",
    "Alibaba's metadata": "100.100.100.200",
    "link-local": "169.254.0.1",
    "metadata": "169.254.169.254",
    "Azure's metadata": "168.63.129.16",
    "Oracle's metadata": "192.0.0.192",
    "benchmarks": "198.18.0.1",
    "documentation": "192.0.2.1",
    "more documentation": "198.51.100.1",
    "the last documentation": "203.0.113.1",
    "relays into 6to4": "192.88.99.1",
    "multicast": "224.0.0.1",
    "multicast of the whole world": "233.252.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified in IPv6": "::",
    "loopback in IPv6": "::1",
    "link-local in IPv6": "fe80::1",
    "link-local with a zone": "fe80::1%eth0",
    "public with a zone": "2606:4700::1111%eth0",
    "site-local": "fec0::1",
    "unique local": "fd00:ec2::254",
    "multicast in IPv6": "ff0e::1",
    "documentation in IPv6": "2001:db8::1",
    "the newer documentation in IPv6": "3fff::1",
    "discard": "100::1",
    "segment routing": "5f00::1",
    "not given out": "4000::1",
    "IPv4-mapped": "::ffff:127.0.0.1",
    "IPv4-mapped in hex": "::ffff:a9fe:a9fe",
    "IPv4-mapped and public": "::ffff:93.184.215.14",
    "IPv4-translated": "::ffff:0:127.0.0.1",
    "IPv4-compatible": "::127.0.0.1",
    "6to4": "2002:7f00:1::",
    "6to4 of a public address": "2002:5db8:d70e::1",
    "NAT64": "64:ff9b::127.0.0.1",
    "NAT64 of a public address": "64:ff9b::5db8:d70e",
    "local NAT64": "64:ff9b:1::7f00:1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "ORCHID": "2001:20::1",
    "benchmarks in IPv6": "2001:2::1",
}
private = pytest.mark.parametrize("address", PRIVATE.values(), ids=PRIVATE.keys())


@private
async def test_a_name_with_an_address_that_is_not_public_is_refused(internet: Internet, address: str) -> None:
    internet.names["evil.example.org"] = [[address]]
    with pytest.raises(FetchRefused) as refused:
        await fetched(internet, "http://evil.example.org/file.bin")
    assert (refused.value.status, refused.value.code) == (400, "url_not_allowed")
    assert address not in refused.value.message
    with pytest.raises(FetchRefused):
        await measured(internet, "http://evil.example.org/file.bin")
    assert internet.connected == []


@private
async def test_an_address_in_the_url_that_is_not_public_is_refused(internet: Internet, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    for scheme in ("http", "https"):
        with pytest.raises(FetchRefused):
            await fetched(internet, f"{scheme}://{host}/file.bin")
    assert (internet.looked_up, internet.connected) == ([], [])


@private
async def test_a_redirect_to_an_address_that_is_not_public_is_refused(
    internet: Internet, address: str
) -> None:
    host = f"[{address}]" if ":" in address else address
    internet.names["evil.example.org"] = [[address]]
    internet.pages["/to-address"] = Page.to(f"http://{host}/file.bin")
    internet.pages["/to-name"] = Page.to("//evil.example.org/file.bin", 307)
    for path in ("/to-address", "/to-name"):
        with pytest.raises(FetchRefused):
            await fetched(internet, internet.url_of(path))
        with pytest.raises(FetchRefused):
            await measured(internet, internet.url_of(path))
    assert {heard.path for heard in internet.heard} == {"/to-address", "/to-name"}


@private
async def test_one_private_address_among_public_ones_spoils_a_name(internet: Internet, address: str) -> None:
    internet.names["evil.example.org"] = [[ADDRESS, address], [address, ADDRESS]]
    for _ in range(2):
        with pytest.raises(FetchRefused):
            await fetched(internet, "http://evil.example.org/file.bin")
    assert internet.connected == []


@private
def test_no_socket_is_opened_for_an_address_that_is_not_public(internet: Internet, address: str) -> None:
    with pytest.raises(PermissionError):
        public_sockets(internet.open_socket)((2, 1, 6, "", (address, 80)))
    assert internet.connected == []


async def test_a_wrong_choice_of_address_ends_where_the_socket_would_be_opened(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(self: PublicResolver, host: str, port: int, family: int) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    monkeypatch.setattr(PublicResolver, "resolve", wrong)
    with pytest.raises(Unreachable):
        await fetched(internet, internet.url_of("/file.bin"))
    assert internet.connected == []


PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "2a00:1450:4001::1"]


@pytest.mark.parametrize("address", PUBLIC)
async def test_public_addresses_are_connected_to_by_name_and_by_themselves(
    internet: Internet, address: str
) -> None:
    internet.names["files.example.org"] = [[address]]
    host = f"[{address}]" if ":" in address else address
    assert await fetched(internet, internet.url_of("/file.bin")) == FILE
    assert await fetched(internet, f"http://{host}/file.bin") == FILE
    assert internet.connected == [(address, 80)] * 2


async def test_a_name_that_changes_its_answer_is_connected_to_where_it_was_checked(
    internet: Internet,
) -> None:
    internet.names["evil.example.org"] = [[ADDRESS], ["127.0.0.1"]]
    assert await fetched(internet, "http://evil.example.org/file.bin") == FILE
    assert internet.looked_up == ["evil.example.org"]
    assert internet.connected == [(ADDRESS, 80)]


async def test_a_name_that_changes_its_answer_before_a_redirect_is_checked_again(internet: Internet) -> None:
    internet.names["evil.example.org"] = [[ADDRESS], ["127.0.0.1"]]
    internet.pages["/again"] = Page.to("/file.bin")
    with pytest.raises(FetchRefused):
        await fetched(internet, "http://evil.example.org/again")
    assert internet.connected == [(ADDRESS, 80)]


async def test_a_name_that_changes_its_answer_after_a_head_is_checked_again(internet: Internet) -> None:
    internet.names["evil.example.org"] = [[ADDRESS], ["127.0.0.1"]]
    with pytest.raises(FetchRefused):
        await measured(internet, "http://evil.example.org/missing")
    assert [heard.method for heard in internet.heard] == ["HEAD"]


async def test_a_name_without_an_address_is_not_fetched(internet: Internet) -> None:
    internet.names["nowhere.example.org"] = [[]]
    with pytest.raises(Unreachable) as failed:
        await fetched(internet, "http://nowhere.example.org/")
    assert (failed.value.status, failed.value.code) == (502, "url_not_fetched")


# How a URL is written

SPELLINGS = {
    "empty": "",
    "file": "file:///etc/passwd",
    "ftp": "ftp://files.example.org/file.bin",
    "data": "data:text/plain,hello",
    "no scheme": "files.example.org/file.bin",
    "no host": "http:///file.bin",
    "one slash": "http:/files.example.org/file.bin",
    "a decimal number": "http://2130706433/file.bin",
    "a hex number": "http://0x7f000001/file.bin",
    "an octal number": "http://017700000001/file.bin",
    "hex parts": "http://0x7f.0x0.0x0.0x1/file.bin",
    "octal parts": "http://0177.0.0.1/file.bin",
    "public, with zeros in front": "http://093.184.215.014/file.bin",
    "public, in two parts": "http://93.12113678/file.bin",
    "public, its last part in hex": "http://93.184.215.0xe/file.bin",
    "three parts": "http://127.0.1/file.bin",
    "two parts": "http://127.1/file.bin",
    "full-width digits": "http://１２７.0.0.1/file.bin",
    "circled digits": "http://①②⑦.⓪.⓪.①/file.bin",
    "an ideographic full stop": "http://127。0。0。1/file.bin",
    "a dot behind a name": "http://files.example.org./file.bin",
    "a dot behind an address": "http://93.184.215.14./file.bin",
    "two dots": "http://files..example.org/file.bin",
    "one label": "http://localhost/file.bin",
    "one label of ours": "http://broker/file.bin",
    "a user": "http://user@files.example.org/file.bin",
    "a password": "http://user:secret@files.example.org/file.bin",
    "an empty user": "http://@files.example.org/file.bin",
    "a user that looks like a host": "http://files.example.org@127.0.0.1/file.bin",
    "a backslash": "http://files.example.org\\@127.0.0.1/file.bin",
    "a space": "http://files.example.org /file.bin",
    "a space in front": " http://files.example.org/file.bin",
    "a line end": "http://files.example.org/file.bin\r\nX: y",
    "an escaped host": "http://files%2eexample.org/file.bin",
    "a zone": "http://[fe80::1%25eth0]/file.bin",
    "a zone behind a public address": "http://[2606:4700::1111%25eth0]/file.bin",
    "brackets around a name": "http://[files.example.org]/file.bin",
    "brackets of the future": "http://[v1.example.org]/file.bin",
    "brackets and a name": "http://[2606:4700::1111]example.org/file.bin",
    "brackets around nothing": "http://[]/file.bin",
    "nothing behind the slashes": "http://",
    "a port and no host": "http://:80/file.bin",
    "another port": "http://files.example.org:8080/file.bin",
    "port 0": "http://files.example.org:0/file.bin",
    "a port that is none": "http://files.example.org:99999/file.bin",
    "too long": "http://files.example.org/" + "x" * 2048,
}
spellings = pytest.mark.parametrize("url", SPELLINGS.values(), ids=SPELLINGS.keys())


@spellings
async def test_an_odd_spelling_is_refused_before_anything_is_looked_up(internet: Internet, url: str) -> None:
    with pytest.raises(FetchRefused):
        await fetched(internet, url)
    with pytest.raises(FetchRefused):
        await measured(internet, url)
    assert (internet.looked_up, internet.connected) == ([], [])


READ_OTHERWISE = {
    "no host",
    "nothing behind the slashes",
    "one slash",
    "brackets of the future",
    "an empty user",
    "a backslash",
    "a space",
    "a line end",
}
"""Spellings that joining them to the URL that redirects makes plain, or that no header holds."""
REDIRECTS = {
    name: url
    for name, url in SPELLINGS.items()
    if url.startswith(("http:", "file:", "ftp:")) and url.isascii() and name not in READ_OTHERWISE
}


@pytest.mark.parametrize("url", REDIRECTS.values(), ids=REDIRECTS.keys())
async def test_a_redirect_to_an_odd_spelling_is_refused(internet: Internet, url: str) -> None:
    internet.pages["/first"] = Page.to(url)
    with pytest.raises(FetchRefused):
        await fetched(internet, internet.url_of("/first"))
    assert len(internet.connected) == 1


async def test_other_ports_are_fetched_when_the_host_allows_them(internet: Internet) -> None:
    ports = frozenset({80, 443, 8080})
    assert await fetched(internet, "http://files.example.org:8080/file.bin", ports=ports) == FILE
    assert internet.connected == [(ADDRESS, 8080)]


async def test_scheme_and_name_may_be_written_in_capitals(internet: Internet) -> None:
    assert await fetched(internet, "HTTP://Files.Example.ORG/file.bin") == FILE
    assert internet.looked_up == ["files.example.org"]


async def test_names_in_other_scripts_are_looked_up_as_everybody_does(internet: Internet) -> None:
    assert await fetched(internet, "http://münchen.example.org/file.bin") == FILE
    assert internet.looked_up == ["xn--mnchen-3ya.example.org"]


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_also_to_other_hosts_and_up_to_https(
    internet: Internet, status: int
) -> None:
    internet.pages["/1"] = Page.to("2?x=y", status)
    internet.pages["/2?x=y"] = Page.to("https://mirror.example.org/file.bin", status)
    assert await fetched(internet, internet.url_of("/1")) == FILE
    said = await measured(internet, internet.url_of("/1"))
    assert said == Measured(len(FILE), "application/octet-stream", "file.bin")
    assert [heard.headers["host"] for heard in internet.heard[:3]] == [
        "files.example.org",
        "files.example.org",
        "mirror.example.org",
    ]


async def test_a_redirect_from_https_to_http_is_refused(internet: Internet) -> None:
    internet.pages["/down"] = Page.to("http://files.example.org/file.bin")
    with pytest.raises(FetchRefused, match="from https to http"):
        await fetched(internet, internet.url_of("/down", "https"))
    assert internet.connected == [(ADDRESS, 443)]


async def test_five_redirects_are_followed_and_not_six(internet: Internet) -> None:
    for number in range(1, 7):
        internet.pages[f"/{number}"] = Page.to(f"/{number - 1}")
    internet.pages["/0"] = Page.of(FILE)
    assert await fetched(internet, internet.url_of("/5")) == FILE
    with pytest.raises(FetchFailed, match="more than 5 times") as failed:
        await fetched(internet, internet.url_of("/6"))
    assert (failed.value.status, failed.value.code) == (422, "url_not_fetched")
    assert len(internet.heard) == 12


async def test_answers_that_are_not_the_file_give_their_connections_back(internet: Internet) -> None:
    endless: dict[str, Any] = {"parts": (b"x", b"x"), "length": 2, "pause_s": 30.0}
    internet.pages["/moved"] = Page(status=302, headers=(("Location", "/file.bin"),), **endless)
    internet.pages["/broken"] = Page(status=500, **endless)
    async with Fetcher(internet.options(max_connections=1)) as fetcher:
        with pytest.raises(FetchFailed, match="status 500"):
            async with fetcher.open(internet.url_of("/broken")):
                pass
        async with fetcher.open(internet.url_of("/moved")) as got:
            assert b"".join([portion async for portion in got.chunks()]) == FILE


# Sizes and times


async def test_a_file_that_declares_too_much_is_refused_before_it_is_read(internet: Internet) -> None:
    internet.pages["/large"] = Page((b"x",), length=1_000_001)
    with pytest.raises(TooLarge) as refused:
        await fetched(internet, internet.url_of("/large"))
    assert (refused.value.status, refused.value.code) == (413, "file_too_large")


@pytest.mark.parametrize("headers", [(), (("Transfer-Encoding", "chunked"),)], ids=["plain", "chunked"])
async def test_a_file_that_declares_nothing_is_cut_off_at_the_limit(
    internet: Internet, headers: tuple[tuple[str, str], ...]
) -> None:
    portion = b"x" * 50_000
    part = b"%x\r\n%b\r\n" % (len(portion), portion) if headers else portion
    internet.pages["/endless"] = Page((part,) * 1000, length=None, headers=headers)
    taken = 0
    async with Fetcher(internet.options()) as fetcher, fetcher.open(internet.url_of("/endless")) as got:
        assert got.size_bytes is None
        with pytest.raises(TooLarge):
            async for portion in got.chunks():
                taken += len(portion)
    assert taken <= 1_000_000


async def test_the_limit_of_one_fetch_is_the_lower_of_two(internet: Internet) -> None:
    async with Fetcher(internet.options()) as fetcher:
        for max_bytes in (0, len(FILE) - 1):
            with pytest.raises(TooLarge):
                async with fetcher.open(internet.url_of("/file.bin"), max_bytes=max_bytes):
                    pass
        async with fetcher.open(internet.url_of("/file.bin"), max_bytes=len(FILE)) as got:
            assert got.size_bytes == len(FILE)
    async with Fetcher(internet.options(max_bytes=10)) as fetcher:
        with pytest.raises(TooLarge):
            async with fetcher.open(internet.url_of("/file.bin"), max_bytes=10**9):
                pass


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "identity, br"),
        ("Content-Encoding", "x-unknown"),
        ("Transfer-Encoding", "gzip, chunked"),
    ],
)
async def test_a_compressed_answer_is_not_taken(internet: Internet, name: str, value: str) -> None:
    internet.pages["/bomb"] = Page((b"0\r\n\r\n",), length=None, headers=((name, value),))
    with pytest.raises(FetchFailed):
        await fetched(internet, internet.url_of("/bomb"))
    with pytest.raises(FetchFailed):
        await measured(internet, internet.url_of("/bomb"))


async def test_a_file_that_drips_is_given_up_at_the_time_limit(internet: Internet) -> None:
    internet.pages["/drip"] = Page((b"x",) * 1000, pause_s=0.05)
    async with asyncio.timeout(20):
        with pytest.raises(Unreachable, match="in time"):
            await fetched(internet, internet.url_of("/drip"), timeout_s=0.5)


async def test_a_server_that_falls_silent_is_given_up_before_the_time_limit(internet: Internet) -> None:
    internet.pages["/silent"] = Page((b"x", b"y"), pause_s=30)
    async with asyncio.timeout(15):
        with pytest.raises(Unreachable, match="in time"):
            await fetched(internet, internet.url_of("/silent"), timeout_s=20, read_timeout_s=0.3)


async def test_a_server_that_does_not_take_the_connection_is_given_up(internet: Internet) -> None:
    with full_listener() as port:
        internet.ports[80] = port
        async with asyncio.timeout(15):
            with pytest.raises(Unreachable, match="in time"):
                await fetched(internet, internet.url_of("/file.bin"), timeout_s=20, connect_timeout_s=0.3)


@contextmanager
def full_listener() -> Iterator[int]:
    """A port whose queue of connections is full: the next one waits until somebody gives up."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        port = int(listener.getsockname()[1])
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


async def test_redirects_share_one_time_limit(internet: Internet) -> None:
    internet.pages["/1"] = Page((b"",), 302, (("Location", "/1"),), length=None)

    async def slow(_: str) -> list[str]:
        await asyncio.sleep(1.5)
        return [ADDRESS]

    with pytest.raises(Unreachable, match="in time"):
        await fetched(internet, internet.url_of("/1"), lookup=slow, timeout_s=2.9)
    assert len(internet.heard) == 1


async def test_a_file_that_breaks_off_is_not_taken_for_whole(internet: Internet) -> None:
    internet.pages["/short"] = Page((FILE,), length=len(FILE) + 1)
    with pytest.raises(Unreachable, match="broke off"):
        await fetched(internet, internet.url_of("/short"))


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
async def test_only_a_file_is_a_file(internet: Internet, status: int) -> None:
    internet.pages["/x"] = Page(status=status)
    with pytest.raises(FetchFailed, match=f"status {status}") as failed:
        await fetched(internet, internet.url_of("/x"))
    assert failed.value.status == 422


# Measuring


async def test_a_file_is_measured_without_being_read(internet: Internet) -> None:
    said = await measured(internet, internet.url_of("/file.bin"))
    assert said == Measured(len(FILE), "application/octet-stream", "file.bin")
    assert [heard.method for heard in internet.heard] == ["HEAD"]


@pytest.mark.parametrize(
    "head",
    [Page(status=405), Page(status=403), Page(length=None), Page(length=0), Page(status=302)],
    ids=["405", "403", "no length", "length 0", "redirect to nowhere"],
)
async def test_a_server_that_does_not_know_head_is_asked_for_the_file(internet: Internet, head: Page) -> None:
    internet.pages["HEAD /odd"] = head
    internet.pages["/odd"] = Page((b"x",), length=123_456_789)
    assert (await measured(internet, internet.url_of("/odd"))).size_bytes == 123_456_789
    assert [heard.method for heard in internet.heard] == ["HEAD", "GET"]


async def test_measuring_has_a_shorter_time_limit_of_its_own(internet: Internet) -> None:
    async def silent(_: str) -> list[str]:
        await asyncio.sleep(30)
        return [ADDRESS]

    async with asyncio.timeout(15):
        with pytest.raises(Unreachable, match="in time"):
            await measured(internet, "http://a.example.org/", lookup=silent, measure_timeout_s=0.2)


async def test_a_file_of_unknown_size_is_said_to_be_one(internet: Internet) -> None:
    internet.pages["/stream"] = Page((b"x",), length=None)
    assert (await measured(internet, internet.url_of("/stream"))).size_bytes is None
