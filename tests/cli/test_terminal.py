"""What is shown while a file is sent, and that what a broker says cannot steer the terminal."""

import io

import pytest
from rich.console import Console

from cli import terminal


def shown(monkeypatch: pytest.MonkeyPatch, size_bytes: int, *, is_terminal: bool) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=is_terminal, width=120, color_system=None)
    monkeypatch.setattr(terminal, "err", console)
    with terminal.sending("[b]big\x1b.bin") as progress:
        progress(size_bytes // 2, size_bytes)
        terminal.show("Price: $0.01 [/b] :key:")
        progress(size_bytes, size_bytes)
    return screen.getvalue()


def test_a_large_file_has_a_bar_with_rate_and_time_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, 90_000_000, is_terminal=True)
    assert "Sending [b]big\N{REPLACEMENT CHARACTER}.bin" in text
    assert "90.0/90.0 MB" in text
    assert "0:00:00" in text
    assert "Price: $0.01 [/b] :key:" in text


@pytest.mark.parametrize(("size_bytes", "is_terminal"), [(90_000_000, False), (1000, True)])
def test_anything_else_has_plain_lines(
    monkeypatch: pytest.MonkeyPatch, size_bytes: int, is_terminal: bool
) -> None:
    assert shown(monkeypatch, size_bytes, is_terminal=is_terminal) == "Price: $0.01 [/b] :key:\n"


def test_fields_are_printed_as_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_fields({"cid": "\x1b[2J[red]x[/]", "url": "http://broker.test/:key:\ny"})
    assert capsys.readouterr().out == "cid  \ufffd[2J[red]x[/]\nurl  http://broker.test/:key:\ufffdy\n"
