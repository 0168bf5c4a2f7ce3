"""The code blocks of the documentation, and what the comment before each says is done with it.

    <!-- run -->                     a test runs it, in order with the others of its page
    <!-- file: pay.py -->            a test writes it into a file that later blocks use
    <!-- output -->                  what the run block before it printed; `…` stands for anything
    <!-- not run: the reason -->     a test cannot run it

Pictures (mermaid) need none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PICTURES = ("mermaid",)
_MARKER = re.compile(r"<!-- (run|output|file: (?P<file>[\w.-]+)|not run: (?P<reason>\S.*\S)) -->")
_FENCE = re.compile(r"(?P<indent> *)```(?P<language>\w*)")


@dataclass(frozen=True)
class Block:
    """`what` is run, file, output, not run, or nothing where no comment says it; `name` is the file's."""

    line: int
    language: str
    text: str
    what: str = ""
    name: str = ""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page of Markdown. Raises `ValueError` for one that is not closed."""
    return [block for block in _fenced(text) if block.language not in PICTURES]


def _fenced(text: str) -> Iterator[Block]:
    lines = iter(enumerate(text.splitlines(), 1))
    before = ""
    for number, line in lines:
        opened = _FENCE.fullmatch(line)
        if opened is None:
            before = line if line.strip() else before
            continue
        inside = []
        for _, code in lines:
            if code.strip() == "```":
                break
            inside.append(code.removeprefix(opened["indent"]))
        else:
            raise ValueError(f"the block that begins in line {number} does not end")
        yield _block(number, opened["language"], "\n".join(inside), before)
        before = ""


def _block(line: int, language: str, text: str, before: str) -> Block:
    marker = _MARKER.fullmatch(before.strip())
    if marker is None:
        return Block(line, language, text)
    what = "not run" if marker["reason"] else "file" if marker["file"] else marker[1]
    return Block(line, language, text, what, marker["file"] or "")


def matches(expected: str, printed: str) -> bool:
    """Whether `printed` is what the documentation shows, without spaces around it."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
