"""What the documentation names is there: files, headings, settings, error codes and sentences."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from x402.mechanisms.evm import constants as evm

from tests.docs.blocks import PAGES, ROOT, name_of

CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SOURCES = ("broker", "quote", "executor", "shared", "devnet", "cli", "scripts")
OF_OTHERS = re.compile(
    r"(AWS|PIP|UV|HTTPS|SSL|NO|GX|PYTHON|NODE|UPSTASH_REDIS_REST)_.*"
    r"|PAYMENT_.*|X_PAYMENT|NODE_ENV|HTTPS_PROXY"
)
"""Names that other programs read."""


@cache
def program_text() -> str:
    """All that the programs say, with strings that go over several lines put together."""
    files = subprocess.run(
        ["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    text = "\n".join((ROOT / file).read_text() for file in files if file.endswith((".py", ".sh")))
    return re.sub(r'"\s*\n\s*f?"', "", text)


def prose_of(page: Path) -> str:
    """The page without its blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors_of(page: Path) -> set[str]:
    """The names that headings can be linked by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in LINK.findall(prose_of(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_file_of_the_project_that_is_named_is_there(page: Path) -> None:
    roots = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"docs"}
    for named in CODE.findall(prose_of(page)):
        first, slash, _ = named.partition("/")
        if slash and first in roots and re.fullmatch(r"[\w./-]+", named) and "." in named:
            assert (ROOT / named).exists(), named


def test_the_promises_of_the_threat_model_name_their_tests() -> None:
    [table] = re.findall(
        r"## What is promised\n(.*?)\n## ", (ROOT / "docs/threat-model.md").read_text(), re.S
    )
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py`", row)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "decisions"], ids=name_of)
def test_each_setting_that_is_named_is_one(page: Path) -> None:
    known = set(re.findall(r"[A-Z][A-Z0-9_]+", (ROOT / ".env.example").read_text()))
    named = {
        word
        for code in CODE.findall(prose_of(page))
        for word in re.findall(r"(?<![\w-])[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9](?![\w-])", code)
    }
    assert {name for name in named - known if not OF_OTHERS.fullmatch(name)} == set()


@pytest.mark.parametrize("name", ["docs/troubleshooting.md", "docs/quick-start-buyers.md", "docs/hosting.md"])
def test_each_error_code_that_is_named_is_one(name: str) -> None:
    codes = {
        code
        for row in re.findall(r"^\| (.+?) \|", prose_of(ROOT / name), re.MULTILINE)
        for code in CODE.findall(row)
        if re.fullmatch(r"[a-z]+(_[a-z]+)+", code)
    }
    reasons = Path(str(evm.__file__)).read_text()
    assert {code for code in codes if f'"{code}"' not in program_text() + reasons} == set()


def test_each_sentence_of_the_troubleshooting_is_really_said() -> None:
    """In tables whose first column is `it says`; `…` stands for what differs."""
    text = (ROOT / "docs/troubleshooting.md").read_text()
    tables = re.findall(r"^\| it says \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    sentences = [
        code for table in tables for row in table.splitlines()[2:] for code in CODE.findall(row.split("|")[1])
    ]
    assert len(sentences) > 20
    parts = [part.strip(" :") for sentence in sentences for part in sentence.split("…")]
    assert [part for part in parts if part and part not in program_text()] == []
