"""What the documentation tells people to type works, or it says why nobody tried."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import PAGES, ROOT, Block, blocks_of, matches, name_of
from tests.docs.terminal import Terminal
from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet

NODE_MODULES = "tests/interop/node/node_modules"
PACKAGES_OF_NPM = "docs/quick-start-typescript.md"
"""The page whose commands need packages of npm."""
RUN = [page for page in PAGES if any(block.what == "run" for block in blocks_of(page.read_text()))]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Stack]:
    """One that sells caches too, with an operator."""
    home = tmp_path_factory.mktemp("docs")
    more = {"REDIS_URL": valkey_url, "OPERATOR_TOKEN": "the-operator-of-the-docs", "EXECUTOR_POOL": "1"}
    with running_stack(home, **more) as running:
        yield running


def run_page(blocks: list[Block], terminal: Terminal) -> None:
    """Run and compare what a page shows. Raises `AssertionError` with the line of what is wrong."""
    printed = ""
    for block in blocks:
        try:
            if block.what == "file":
                terminal.write(block)
            elif block.what == "run":
                printed = terminal.run(block)
            elif block.what == "output":
                assert matches(block.text, printed), f"not what is shown, but:\n{printed}"
        except AssertionError as exc:
            raise AssertionError(f"the block in line {block.line}: {exc}") from None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_block_says_whether_it_is_run(page: Path) -> None:
    blocks = blocks_of(page.read_text())
    assert [block.line for block in blocks if not block.what] == []
    for earlier, block in zip([None, *blocks], blocks, strict=False):
        assert block.what != "output" or (earlier is not None and earlier.what == "run"), block.line


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_commands_of_a_page_work_one_after_the_other(page: Path, stack: Stack, tmp_path: Path) -> None:
    beside: tuple[str, ...] = ()
    if name_of(page) == PACKAGES_OF_NPM:
        if shutil.which("node") is None or not (ROOT / NODE_MODULES).exists():
            pytest.skip("node and its packages are not here: `make interop` installs them")
        beside = (NODE_MODULES,)
    run_page(blocks_of(page.read_text()), Terminal(tmp_path, stack, beside=beside))


def test_a_broker_on_what_was_backed_up_has_the_old_result_for_the_old_payment(
    stack: Stack, wallet: Wallet, http: httpx.Client, tmp_path: Path
) -> None:
    body = {"code": "import os; print(os.urandom(16).hex())"}
    payment = wallet.pay_v2(http.post("/run", json=body))
    paid = http.post("/run", json=body, headers=payment).raise_for_status()
    run_page(blocks_of((ROOT / "docs/operations.md").read_text()), Terminal(tmp_path, stack))
    broker = stack.launch("broker", "restored", GALAKSIO_HOME=str(tmp_path / "restored")).wait_ready()
    try:
        again = httpx.post(
            f"{broker.url}/run", json=body, headers=payment, trust_env=False, verify=False, timeout=60
        )
        assert (again.status_code, again.json()) == (200, paid.json())
        assert again.headers["PAYMENT-RESPONSE"] == paid.headers["PAYMENT-RESPONSE"]
    finally:
        broker.stop()


def test_the_main_pages_are_run() -> None:
    """Else a typing error in the comments would turn all of this off."""
    assert {"README.md", "docs/quick-start-buyers.md", PACKAGES_OF_NPM, "docs/operations.md"} <= {
        name_of(page) for page in RUN
    }


def page_of(*parts: tuple[str, str, str]) -> str:
    return "\n\n".join(f"{comment}\n```{language}\n{text}\n```" for comment, language, text in parts)


def test_a_page_keeps_its_variables_and_files_from_block_to_block(stack: Stack, tmp_path: Path) -> None:
    text = page_of(
        ("<!-- run -->", "sh", "WORD=kept; mkdir inside; cd inside"),
        ("<!-- file: said.txt -->", "text", "localhost:8080"),
        ("<!-- run -->", "sh", 'echo "$WORD" "$(basename "$PWD")" "$(cat ../said.txt)"'),
        ("<!-- output -->", "text", f"kept inside {stack.broker.removeprefix('http://')}"),
        ("<!-- not run: there is none -->", "sh", "false"),
    )
    run_page(blocks_of(text), Terminal(tmp_path, stack))


@pytest.mark.parametrize(
    "text",
    [
        page_of(("<!-- run -->", "sh", "false\ntrue")),
        page_of(("<!-- run -->", "sh", "false | true")),
        page_of(("<!-- run -->", "sh", "echo $NEVER_SET")),
        page_of(("<!-- run -->", "python", "raise SystemExit(3)")),
        page_of(("<!-- run -->", "sh", "echo a b"), ("<!-- output -->", "text", "a … c")),
    ],
)
def test_a_page_that_is_wrong_is_told_with_its_line(stack: Stack, tmp_path: Path, text: str) -> None:
    with pytest.raises(AssertionError, match=r"^the block in line \d+: "):
        run_page(blocks_of(text), Terminal(tmp_path, stack))


@pytest.mark.parametrize("comment", ["", "<!-- runs -->", "<!-- not run: -->", "text"])
def test_a_block_without_a_known_comment_is_found(comment: str) -> None:
    assert blocks_of(page_of((comment, "sh", "true")))[0].what == ""
