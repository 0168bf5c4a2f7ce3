"""What fails among all the others is tried once more, alone, and named (docs/decisions/0016)."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.executor.conftest import REPO

PROGRAM = """
import pathlib, pytest

@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    marks = pathlib.Path(__file__).with_name("marks")
    marks.open("a").write(str(number))
    assert marks.read_text().count(str(number)) > {fails}
"""


def run(folder: Path, count: int, fails: int, **environment: str) -> tuple[int, str, str]:
    """Exit status, what was said, and which tests ran; the first `fails` runs of each test fail."""
    (folder / "test_it.py").write_text(PROGRAM.format(count=count, fails=fails))
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [REPO / "scripts" / "pytest.sh", "-n0", "-q", "-W", "ignore", folder],
        env={**ours, "TEST_ONCE": "", **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return done.returncode, done.stdout, (folder / "marks").read_text()


def test_what_passes_alone_is_named(tmp_path: Path) -> None:
    status, said, ran = run(tmp_path, count=3, fails=1)
    assert (status, ran) == (0, "012012")
    _, named = said.split("FAILED AMONG THE OTHERS, PASSED ALONE")
    assert [line.rpartition("/")[2] for line in named.splitlines()[1:]] == [
        f"test_it.py::test_it[{number}]" for number in range(3)
    ]


@pytest.mark.parametrize(
    ("count", "fails", "environment", "ran"),
    [
        (1, 2, {}, "00"),
        (4, 1, {}, "0123"),
        (1, 1, {"TEST_ONCE": "1"}, "0"),
    ],
    ids=["fails again", "too many", "only once"],
)
def test_what_fails_for_good_fails_the_suite(
    tmp_path: Path, count: int, fails: int, environment: dict[str, str], ran: str
) -> None:
    status, said, did_run = run(tmp_path, count, fails, **environment)
    assert (status, did_run) == (1, ran)
    assert "PASSED ALONE" not in said


def test_where_nothing_fails_nothing_is_repeated(tmp_path: Path) -> None:
    status, said, ran = run(tmp_path, count=2, fails=0)
    assert (status, ran) == (0, "01")
    assert "==" not in said
