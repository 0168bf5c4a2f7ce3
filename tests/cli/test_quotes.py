"""`galaksio quote`: what is asked, and how the answers are shown, also by brokers that cheat."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from rich.console import Console

from cli import quotes
from cli.main import run_command

URL = "https://broker.test"


def quote(provider: str, price_usd: str, **more: Any) -> dict[str, Any]:
    return {
        "provider": provider,
        "kind": "storage",
        "price_usd": price_usd,
        "price_atomic": 7,
        "network": "base-sepolia",
        "valid_until": "2099-01-01T00:00:00.000Z",
        **more,
    }


def shown_only(reason: str) -> dict[str, Any]:
    return {
        "executable": False,
        "refusal": {"code": "only_shown", "reason": reason, "retry_after_s": None},
        "not_chosen": reason,
    }


QUOTES = [
    quote("local", "0.000105"),
    quote("openx402", "0.01", settle="before", not_chosen="costs $0.009895 more than local"),
    quote(
        "galaksio_storage",
        "0.0123456",
        settle="before",
        executable=False,
        refusal={"code": "executor_funds", "reason": "it may spend $0.01 on a job now", "retry_after_s": 60},
        not_chosen="it may spend $0.01 on a job now",
    ),
    quote("akash", "3.51", **shown_only("only shown for comparison")),
]
DECLINED = [
    {"provider": "pinata", "kind": "storage", "reason": "it failed 5 times", "retry_after_s": 30},
    {"provider": "arweave", "kind": "storage", "reason": "nobody knows the rate of AR"},
]
FOUND = {"quotes": QUOTES, "best": QUOTES[0], "count": 4, "declined": DECLINED}
PROVIDERS = [
    {"name": "local", "kind": "storage", "jobs_success_rate": 1.0, "jobs_typical_ms": 12, "typical_ms": 9},
    {"name": "openx402", "kind": "storage", "success_rate": 0.75, "typical_ms": 1833},
    {"name": "akash", "kind": "compute", "success_rate": 0.1, "typical_ms": 1},
]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[respx.MockRouter]:
    """A broker with these prices, shown on 80 columns."""
    monkeypatch.setattr(quotes, "out", Console(soft_wrap=True, width=80))
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        router.post(path__startswith="/quote/", name="quote").respond(json=FOUND)
        router.get("/providers", name="providers").respond(json={"providers": PROVIDERS, "count": 3})
        yield router


def asked(broker: respx.MockRouter) -> Any:
    return json.loads(broker["quote"].calls.last.request.content)


def lines_of(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert run_command(["quote", *words, "--url", URL]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_the_comparison_says_who_is_the_best_and_why_not_the_others(
    broker: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(capsys, "store")
    wanted = [
        "provider price (USD) can be bought settles lately",
        "best local 0.000105 yes after work 100%, 12 ms",
        "openx402 0.01 yes before work 75%, 1833 ms",
        "galaksio_storage 0.0123456 no before work -",
        "akash 3.51 shown only - -",
        "not chosen because",
        "openx402 costs $0.009895 more than local",
        "galaksio_storage it may spend $0.01 on a job now (again in 60 s)",
        "akash only shown for comparison",
        "pinata no price: it failed 5 times (again in 30 s)",
        "arweave no price: nobody knows the rate of AR",
    ]
    assert [line for line in lines if line in wanted] == wanted
    assert "The broker's fee is added" in " ".join(lines)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_narrow_terminal_shows_all_of_it_in_its_columns(width: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=width, soft_wrap=True)
    found = quotes.QuoteList.model_validate(FOUND)
    for table in (quotes.comparison(found, {}), quotes.why_not(found)):
        console.print(table, soft_wrap=False)
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert all(price in screen.getvalue() for price in ("0.000105", "0.0123456", "3.51"))
    # Whatever is broken over lines is still there.
    letters = "".join("".join(lines).split())
    for word in ("costs$", "comparison", "pinata", "0.009895"):
        assert word in letters


@pytest.mark.parametrize(
    ("words", "ask"),
    [
        (("run",), {}),
        (("run", "job.js"), {"codeSize": 8, "language": "javascript"}),
        (("run", "--size", "large", "--timeout", "2.5", "-l", "bash"), None),
        (("run", "--provider", "local", "--max-cost", "0.10"), {"provider": "local", "maxCostUsd": "0.10"}),
        (("store", "job.js", "--permanent"), {"fileSize": 8, "permanent": True}),
        (("store", "empty.bin", "--ttl", "60"), {"fileSize": 0, "ttl": 60}),
        (("store", "--size", "5000000"), {"size": "5000000"}),
        (("cache", "--region", "eu-west-1"), {"region": "eu-west-1"}),
    ],
)
def test_what_was_said_is_asked_and_nothing_else(
    broker: respx.MockRouter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    ask: dict[str, Any] | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.js").write_text("alert(1)")
    Path("empty.bin").touch()
    assert run_command(["quote", *words, "--url", URL]) == 0
    assert broker["quote"].calls.last.request.url.path == f"/quote/{words[0]}"
    assert asked(broker) == ({"size": "large", "timeout": 2.5, "language": "bash"} if ask is None else ask)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--region", "eu"), "--region is for cache, not for run"),
        (("cache", "--size", "3"), "--size is for run and store, not for cache"),
        (("store", "--timeout", "0"), "--timeout is for run"),
        (("run", "--max-cost", "cheap"), "not an amount"),
        (("run", "--json", "--csv"), "one of --json and --csv"),
        (("fly",), "run, store or cache"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_asks_nobody(
    broker: respx.MockRouter, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert run_command(["quote", *words, "--url", URL]) == 1
    assert said in capsys.readouterr().err
    assert not broker["quote"].called


@pytest.mark.parametrize(("form", "media_type"), [("csv", "text/csv"), ("markdown", "text/markdown")])
def test_another_form_is_asked_for_and_printed_as_it_comes(
    broker: respx.MockRouter, capsys: pytest.CaptureFixture[str], form: str, media_type: str
) -> None:
    text = "provider,price\r\nlocal,0.1\n\x1b[2Jevil,\u202e0\n"
    broker["quote"].respond(text=text, headers={"Content-Type": f"{media_type}; charset=utf-8"})
    assert run_command(["quote", "run", f"--{form}", "--url", URL]) == 0
    assert broker["quote"].calls.last.request.headers["Accept"] == media_type
    assert capsys.readouterr().out == "provider,price\nlocal,0.1\n\ufffd[2Jevil,\ufffd0\n"
    assert not broker["providers"].called


def test_json_is_the_whole_answer(broker: respx.MockRouter, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["quote", "store", "--json", "--url", URL]) == 0
    assert json.loads(capsys.readouterr().out) == FOUND


@pytest.mark.parametrize(
    ("form", "answer", "said"),
    [
        ("--csv", httpx.Response(200, json=FOUND), "does not answer as text/csv"),
        ("--json", httpx.Response(200, text="<html>"), "is it a Galaksio broker"),
        ("-usame", httpx.Response(200, json={"quotes": [{"provider": "x"}]}), "not understood"),
        ("-usame", httpx.Response(200, json=[]), "not understood"),
        ("-usame", httpx.Response(200, text="<html>"), "is it a Galaksio broker"),
        ("-usame", httpx.Response(400, json={"error": "unknown provider"}), "unknown provider"),
    ],
)
def test_an_answer_that_is_none_is_one_sentence(
    broker: respx.MockRouter,
    capsys: pytest.CaptureFixture[str],
    form: str,
    answer: httpx.Response,
    said: str,
) -> None:
    broker["quote"].mock(return_value=answer)
    assert run_command(["quote", "run", form, "--url", URL]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, json={"error": "not_found"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"providers": [{"name": 7}]}),
    ],
)
def test_prices_are_shown_also_where_nobody_tells_how_providers_did(
    broker: respx.MockRouter, capsys: pytest.CaptureFixture[str], answer: httpx.Response
) -> None:
    broker["providers"].mock(return_value=answer)
    assert "best local 0.000105 yes after work -" in lines_of(capsys, "store")


def test_what_a_broker_says_cannot_steer_the_terminal(
    broker: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J[bold red]x[/]:key:\u202e"
    rows = [quote(evil, evil, not_chosen=evil)]
    declined = [{"provider": evil, "kind": "storage", "reason": evil}]
    broker["quote"].respond(json={"quotes": rows, "best": None, "count": 1, "declined": declined})
    assert run_command(["quote", "store", "--url", URL]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "".join(text.split()).count("[boldred]x[/]:key:") >= 4


def test_of_two_equal_prices_one_is_the_best_and_without_a_best_none(
    broker: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    twins = {"quotes": [QUOTES[0], QUOTES[0]], "count": 2}
    for best, marks in ((QUOTES[0], 1), (None, 0)):
        broker["quote"].respond(json={**twins, "best": best})
        assert sum(line.startswith("best ") for line in lines_of(capsys, "store")) == marks
