"""Packages for Python runs: a real index, real wheels, the real installer, and runs that import them."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from executor.dependencies.layers import Layers
from executor.dependencies.store import Store
from executor.dependencies.works import LayerOptions
from executor.main import create_app
from executor.sandbox.engine import Sandbox
from executor.settings import ExecutorSettings
from shared.errors import GalaksioError
from shared.jobs import RunRequest, RunResult
from shared.settings import load_settings
from tests.executor.conftest import REPO, descendants, until
from tests.support.index import PackageIndex, sdist, wheel


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    made = PackageIndex()
    yield made
    made.close()


class Host:
    """A sandbox with layers, as the provider `local` has them."""

    def __init__(self, sandbox: Sandbox, layers: Layers) -> None:
        self.sandbox, self.layers = sandbox, layers

    async def run(self, code: str, *dependencies: str, **fields: Any) -> RunResult:
        request = RunRequest(code=code, dependencies=list(dependencies), timeout=20, **fields)
        async with self.layers.layer(request.dependencies) as layer:
            return await self.sandbox.run(request, layer=layer)

    async def refused(self, *dependencies: str) -> GalaksioError:
        with pytest.raises(GalaksioError) as caught:
            await self.run("print('ran')", *dependencies)
        return caught.value


@asynccontextmanager
async def layered(sandbox: Sandbox, place: Path, url: str, **fields: Any) -> AsyncIterator[Layers]:
    layers = Layers(LayerOptions(home=place, folder=place / "layers", index_url=url, **fields))
    await layers.open(sandbox.bench())
    assert layers.available, layers.reason
    try:
        yield layers
    finally:
        await layers.close()


@pytest.fixture
async def host(sandbox: Sandbox, place: Path, index: PackageIndex) -> AsyncIterator[Host]:
    async with layered(sandbox, place, index.url, most_bytes=4 << 20) as layers:
        yield Host(sandbox, layers)


async def test_packages_are_imported_with_what_they_need_and_the_second_run_asks_nobody(
    host: Host, index: PackageIndex
) -> None:
    index.add("greet", wheel("greet", "1.4", {"greet.py": "import names\nHELLO = names.ALL"}, ["names>=2"]))
    index.add("names", wheel("names", "1.0"), wheel("names", "2.1", {"names.py": "ALL = ['a', 'b']"}))
    code = "import sys, greet; print(greet.HELLO, sys.argv, __file__, __name__)"
    first = await host.run(code, "Greet<2", args=["x"])
    assert (first.stderr, first.stdout) == ("", "['a', 'b'] ['/box/main.py', 'x'] /box/main.py __main__\n")
    asked = len(index.asked)
    async with host.layers.layer(["greet<2"]) as layer:
        assert layer.resolved == ("greet==1.4", "names==2.1")
    assert (await host.run(code, "greet <2")).stdout.startswith("['a', 'b']")
    assert len(index.asked) == asked > 0


async def test_a_traceback_and_the_path_are_those_of_a_run_without_packages(
    host: Host, index: PackageIndex
) -> None:
    index.add("good", wheel("good"))
    # An old backport must not hide the standard library; a given PYTHONPATH still comes first.
    index.add("typing", wheel("typing", files={"typing.py": "raise SystemError('hidden')"}))
    failing = "import typing\ndef f():\n    1/0\nf()\n"
    plain = await host.sandbox.run(RunRequest(code=failing))
    layered = await host.run(failing, "good", "typing")
    assert layered.stderr == plain.stderr and "ZeroDivisionError" in plain.stderr
    show = "import sys, json; print(json.dumps(sys.path))"
    before = (await host.sandbox.run(RunRequest(code=show, env={"PYTHONPATH": "/box/own"}))).stdout
    after = (await host.run(show, "good", env={"PYTHONPATH": "/box/own"})).stdout
    assert after.replace('"/opt/layer/site", ', "") == before != after
    child = "import subprocess as s, sys; s.run([sys.executable, '-c', 'import good; print(good.VERSION)'])"
    assert (await host.run(child, "good")).stdout == "1.0\n"


async def test_a_run_with_packages_has_no_network_and_can_only_read_them(
    host: Host, index: PackageIndex
) -> None:
    index.add("good", wheel("good"))
    port = index.url.split(":")[2].split("/")[0]
    code = f"""
import errno, good, os, socket
for attempt in (lambda: open(good.__file__, 'a'), lambda: os.chmod(good.__file__, 0o777),
                lambda: os.unlink(good.__file__), lambda: open('/opt/layer/site/new.py', 'w'),
                lambda: socket.create_connection(('127.0.0.1', {port}), 2),
                lambda: socket.create_connection(('192.0.2.1', 80), 2)):
    try: print('done', attempt())
    except OSError as exc: print(errno.errorcode[exc.errno])
print(os.listdir('/opt'), sorted(os.listdir('/opt/layer/site')))
"""
    result = await host.run(code, "good")
    *denied, listing = result.stdout.splitlines()
    assert listing == "['layer'] ['good-1.0.dist-info', 'good.py']"
    assert set(denied[:4]) <= {"EROFS", "EACCES", "EPERM"}, result
    assert denied[4:] == ["ECONNREFUSED", "ENETUNREACH"], result


async def test_nothing_of_a_package_is_executed_but_by_a_run(
    host: Host, index: PackageIndex, place: Path
) -> None:
    """Neither an sdist's setup.py nor a .pth file, which Python would execute in a site folder."""
    proof = place / "proof"
    proof.mkdir(mode=0o777)
    proof.chmod(0o777)
    payload = f"import pathlib; pathlib.Path({str(proof)!r}, 'x').touch(); print('executed')"
    index.add("source", sdist("source", payload))
    index.add(
        "pth", wheel("pth", files={"pth.py": "", "pth.pth": payload + "\n", "sitecustomize.py": payload})
    )
    error = await host.refused("source")
    assert (error.status, error.code) == (400, "dependency_not_found") and "wheels" in error.message
    assert not any(path.endswith(".tar.gz") for path in index.asked)
    result = await host.run("import pth; print('own')", "pth")
    assert (result.stdout, result.stderr) == ("own\n", "")
    assert list(proof.iterdir()) == []


async def test_what_cannot_be_had_is_a_clear_400(host: Host, index: PackageIndex) -> None:
    index.add("good", wheel("good"))
    index.add("windows", wheel("windows", tag="cp311-cp311-win_amd64"))
    index.add("elsewhere", wheel("elsewhere", requires=[f"x @ {index.url}/x-1-py3-none-any.whl"]))
    for dependency, words in [
        ("unknown", "not found"),
        ("good>=9", "only good==1.0"),
        ("windows", "platform"),
        ("elsewhere", "URL dependenc"),
    ]:
        error = await host.refused(dependency)
        assert (error.status, error.code) == (400, "dependency_not_found")
        assert words in error.message and "://" not in error.message
    asked = len(index.asked)
    await host.refused("windows")  # remembered: a refusal costs nothing, so it must not cost us
    assert len(index.asked) == asked


async def test_wheels_cannot_write_or_point_outside_of_their_layer(
    host: Host, index: PackageIndex, place: Path
) -> None:
    index.add("up", wheel("up", files={"up.py": "", "../../../../../../../../tmp/galaksio-up": "x"}))
    index.add("link", wheel("link", files={"link.py": "", "passwd->": "/etc/passwd"}))
    for name in ("up", "link"):
        try:
            await host.run(f"import {name}", name)
        except GalaksioError as error:
            assert error.code in ("dependency_invalid", "dependency_build_failed"), error.message
    assert not Path("/tmp/galaksio-up").exists()
    assert [path for path in (place / "layers" / "layers").rglob("*") if path.is_symlink()] == []


async def test_more_than_a_layer_may_hold_is_refused_while_it_is_unpacked(
    host: Host, index: PackageIndex, place: Path
) -> None:
    index.add("bomb", wheel("bomb", files={"bomb.bin": bytes(64 << 20)}))  # 64 KB that unpack to 64 MB
    index.add("broad", wheel("broad", files={f"{n}.bin": bytes(1 << 20) for n in range(6)}))
    for name in ("bomb", "broad"):
        error = await host.refused(name)
        assert (error.status, error.code) == (400, "dependencies_too_large"), error.message
    assert list((place / "layers" / "layers").iterdir()) == []
    assert list((place / "layers" / "locks").iterdir()) == []  # a refused wish leaves nothing


async def test_an_index_that_is_down_is_503_and_the_next_asker_may_be_lucky(
    host: Host, index: PackageIndex
) -> None:
    index.add("good", wheel("good"))
    index.broken = True
    error = await host.refused("good")
    assert (error.status, error.code) == (503, "dependency_index_unavailable")
    index.broken = False
    assert (await host.run("import good", "good")).exit_code == 0


async def test_fifty_parallel_wishes_are_built_once_also_by_two_executors(
    host: Host, sandbox: Sandbox, place: Path, index: PackageIndex
) -> None:
    index.add("good", wheel("good"))
    async with layered(sandbox, place, index.url) as second:

        async def ask(layers: Layers) -> Path:
            async with layers.layer(["good"]) as layer:
                return layer.path

        found = await asyncio.gather(*(ask(layers) for layers in [host.layers, second] * 25))
    assert len(set(found)) == 1
    assert sum(path.startswith("/simple/good") for path in index.asked) == 1


async def test_the_longest_unused_layer_goes_and_one_in_use_never(
    sandbox: Sandbox, place: Path, index: PackageIndex
) -> None:
    names = ["one", "two", "three"]
    for name in names:
        index.add(name, wheel(name, files={f"{name}.bin": os.urandom(600_000)}))
    async with layered(sandbox, place, index.url, total_bytes=1_300_000) as layers:
        paths = {}
        async with layers.layer(["one"]) as used:
            paths["one"] = used.path
            for name in names[1:]:
                async with layers.layer([name]) as layer:
                    paths[name] = layer.path
                assert await until(lambda: layers._chores == set())
            # `one` was used first of all, but is held.
            assert [name for name in names if paths[name].exists()] == ["one", "three"]
        store = Store(place / "layers")
        store.open()
        store.evict(0)
        assert not any(path.exists() for path in paths.values())
        assert list((place / "layers" / "locks").iterdir()) == []


async def test_a_build_that_takes_too_long_is_ended_with_all_its_processes(
    sandbox: Sandbox, place: Path, index: PackageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, over = index._answer, threading.Event()

    def late(path: str) -> tuple[int, str, bytes]:
        over.wait(60)
        return answer(path)

    monkeypatch.setattr(index, "_answer", late)
    index.add("good", wheel("good"))
    try:
        async with layered(sandbox, place, index.url, timeout_s=0.8) as layers:
            error = await Host(sandbox, layers).refused("good")
            assert (error.status, error.code) == (503, "dependency_timeout")
            # Whoever asked is answered a second later even if the build is still being ended.
            assert await until(lambda: descendants(os.getpid()) == [], 15)
    finally:
        over.set()


async def test_closing_ends_a_build(sandbox: Sandbox, place: Path, index: PackageIndex) -> None:
    index.add("good", wheel("good"))
    reached, go_on = threading.Event(), threading.Event()
    answer = index._answer

    def waiting(path: str) -> tuple[int, str, bytes]:
        reached.set()
        go_on.wait(60)
        return answer(path)

    index._answer = waiting  # type: ignore[method-assign]
    async with layered(sandbox, place, index.url) as layers:
        asking = asyncio.create_task(Host(sandbox, layers).refused("good"))
        assert await asyncio.to_thread(reached.wait, 20)
    assert (await asking).code == "dependencies_unavailable"
    go_on.set()
    assert descendants(os.getpid()) == []


@pytest.fixture
async def client(place: Path, index: PackageIndex) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(
        ExecutorSettings,
        {
            "GALAKSIO_HOME": str(place / "home"),
            "EXECUTOR_LAYERS": str(place / "layers"),
            "EXECUTOR_INDEX_URL": index.url,
            "EXECUTOR_SLOTS": "1",
        },
    )
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://x", timeout=60) as made,
    ):
        yield made


async def test_over_http_packages_are_taken_refused_and_named_in_the_result(
    client: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("good", wheel("good"))
    body = {"code": "import good; print(good.VERSION)", "dependencies": ["Good"]}
    result = (await client.post("/run", json=body)).json()["result"]
    assert (result["stdout"], result["dependencies"]) == ("1.0\n", ["good==1.0"])
    assert (await client.post("/run", json={"code": "1"})).json()["result"]["dependencies"] is None
    for wish, code in [
        ({"dependencies": ["unknown"]}, "dependency_not_found"),
        ({"dependencies": ["good @ http://127.0.0.1/good.whl"]}, "dependency_invalid"),
        ({"dependencies": ["good"], "language": "js"}, "dependencies_unsupported"),
    ]:
        answer = await client.post("/run", json={"code": "1", **wish})
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    rows = {row["name"]: row for row in (await client.get("/runtimes")).json()["runtimes"]}
    assert rows["python"]["dependencies"] is True and rows["bash"]["dependencies"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"on": False}, "EXECUTOR_DEPENDENCIES=off"),
        ({"folder": Path("/dev/null/layers")}, "EXECUTOR_LAYERS"),
    ],
)
async def test_a_host_that_offers_no_packages_says_why(
    sandbox: Sandbox, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    layers = Layers(LayerOptions(home=tmp_path, **options))
    await layers.open(sandbox.bench())
    assert not layers.available and words in layers.reason
    error = await Host(sandbox, layers).refused("six")
    assert (error.status, error.code) == (503, "dependencies_unavailable") and words in error.message
    await layers.close()


async def test_an_ordinary_user_builds_layers_too(place: Path, index: PackageIndex) -> None:
    """The whole of it in a process of uid 65534, whose data folder is its own."""
    if os.geteuid() != 0:
        pytest.skip("the other tests are that test")
    index.add("good", wheel("good"))
    program = """
import asyncio, sys
from pathlib import Path
from executor.dependencies.layers import LayerOptions, Layers
from executor.sandbox.engine import Options, Sandbox
from shared.jobs import RunRequest
async def main():
    s = Sandbox(Options(slots=1)); await s.open()
    l = Layers(LayerOptions(home=Path(sys.argv[1]), index_url=sys.argv[2])); await l.open(s.bench())
    assert l.available, l.reason
    async with l.layer(["good"]) as layer:
        print((await s.run(RunRequest(code="import good; print(good.VERSION)"), layer=layer)).stdout)
    await l.close(); await s.close()
asyncio.run(main())
"""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*as_nobody, "test", "-r", f"{site}/fastapi/__init__.py"], check=False).returncode:
        pytest.skip("the checkout lies in a folder that an ordinary user cannot read")
    home = place / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    done = await asyncio.to_thread(
        subprocess.run,
        [*as_nobody, "/usr/bin/python3", "-c", program, str(home), index.url],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{REPO}:{site}", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.endswith("1.0\n\n"), done.stderr
