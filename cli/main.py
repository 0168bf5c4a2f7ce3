"""The `galaksio` command."""

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from cli import caches, storage
from cli import config as settings
from cli.config import CliError, Config
from cli.terminal import AsJson, MaxCost, broker_url, dollars, err, out, receipt_line, show

app = typer.Typer(
    name="galaksio",
    help="A pay-per-call cloud: run code, store files, get caches for USDC over HTTP 402; or host it.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(storage.app)
app.add_typer(caches.app, name="cache")

SUFFIXES = {
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".sh": "bash",
    ".ts": "typescript",
}


@app.callback(invoke_without_command=True)
def shell(context: typer.Context) -> None:
    """With no command: an interactive shell that takes the same commands."""
    if context.invoked_subcommand is not None:
        return
    out.print("Galaksio shell. Type a command (`run FILE`, `store FILE`, `quote run`, `help`), or `exit`.")
    while True:
        try:
            words = shlex.split(input("galaksio> "))
        except (EOFError, KeyboardInterrupt):
            out.print()
            return
        except ValueError as exc:
            err.print(f"That line cannot be read: {exc}.")
            continue
        if not words:
            continue
        if words[0] in {"exit", "quit"}:
            return
        run_command(["--help"] if words == ["help"] else words)


@app.command()
def up() -> None:
    """Start the three services and the local payment network; Ctrl-C stops them."""
    from cli.up import up as start

    asyncio.run(start(out))


@app.command()
def demo() -> None:
    """Start everything, pay for runs, storage and a cache, print the receipts, stop again."""
    from cli.demo import demo as perform

    asyncio.run(perform(out))


@app.command()
def init(
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write .env.development: a generated host wallet and the devnet as facilitator."""
    from cli.init import write_env

    path, address = write_env(Path.cwd(), force=force)
    out.print(
        f"Wrote {path}. Payments go to {address}; its key is in {settings.home() / 'host_wallet.json'}."
    )


@app.command()
def login(
    key: Annotated[str, typer.Option("-k", "--key", help="Private key (hex). Asked for when left out.")] = "",
    url: Annotated[str, typer.Option("-u", "--url", "-b", help="The broker.")] = settings.DEFAULT_URL,
    network: Annotated[str, typer.Option(help="The only network payments are signed for.")] = "base-sepolia",
    max_cost: Annotated[str, typer.Option(help="Cap of one payment in USD.")] = str(settings.DEFAULT_CAP_USD),
) -> None:
    """Remember a wallet and a broker. The key stays on this machine, in a file only you can read."""
    from shared.networks import network_named
    from shared.settings import NETWORK_ALIASES

    private_key, address = settings.account_of(key or typer.prompt("Private key", hide_input=True))
    name = NETWORK_ALIASES.get(network, network)
    network_named(name)
    settings.save(
        Config(
            private_key=private_key,
            address=address,
            broker_url=url.rstrip("/"),
            network=name,
            max_cost_usd=dollars(max_cost),
        )
    )
    out.print(f"Logged in as {address}, paying at most ${max_cost} a call on {name} at {url}.")


@app.command()
def logout() -> None:
    """Forget the wallet."""
    out.print("Logged out." if settings.forget() else "You were not logged in.")


@app.command("config")
def show_config() -> None:
    """Show what is remembered, without the key."""
    config = settings.load()
    for name, value in config.model_dump(exclude={"private_key"}).items():
        out.print(f"{name}: {value}", highlight=False)
    out.print(f"file: {settings.config_path()}", highlight=False)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="The code, or - for standard input.")],
    language: Annotated[str, typer.Option("-l", "--language", help="Known from the file's ending.")] = "",
    *,
    size: Annotated[str, typer.Option(help="Memory: small (256 MB), medium (512), large (1024).")] = "medium",
    timeout: Annotated[float, typer.Option(help="Seconds of wall clock, at most 60.")] = 60.0,
    max_cost: MaxCost = "",
    arg: Annotated[list[str] | None, typer.Option("--arg", help="An argument; may be repeated.")] = None,
) -> None:
    """Pay for one run. Its output and exit code become this command's own."""
    from cli.client import paying

    config = settings.load()
    code = read_code(file)
    spoken = language or SUFFIXES.get(file.suffix)
    if spoken is None:
        raise CliError(
            f"The language of {file} is not clear from its name: "
            "add -l python, javascript, typescript or bash."
        )
    with paying(config, max_cost) as client:
        # The broker knows which sizes there are.
        done = client.run(code, spoken, size=cast(Any, size), timeout=timeout, args=arg or [])
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    sys.stdout.flush()
    show(receipt_line(done))
    if done.timed_out:
        err.print(f"The run was stopped after {timeout:g} s.")
    raise typer.Exit(done.exit_code if done.exit_code is not None else 1)


@app.command()
def quote(
    operation: Annotated[str, typer.Argument(help="run, store or cache")],
    file: Annotated[Path | None, typer.Argument(help="Take size and language from this file.")] = None,
    *,
    size: Annotated[
        str, typer.Option(help="For run: small, medium or large. A number is bytes, when no file is given.")
    ] = "",
    language: Annotated[str, typer.Option("-l", "--language")] = "",
    timeout: Annotated[float | None, typer.Option(help="For run: its time limit in seconds.")] = None,
    permanent: Annotated[bool, typer.Option("--permanent", help="For store: kept for good.")] = False,
    ttl: Annotated[int | None, typer.Option(help="For store: seconds to keep it.")] = None,
    region: Annotated[str, typer.Option("-r", "--region", help="For cache.")] = "",
    provider: Annotated[str, typer.Option("-p", "--provider", help="Ask this one only.")] = "",
    max_cost: MaxCost = "",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print it as CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
    url: Annotated[str, typer.Option("-u", "--url", "-q", help="The broker; default: as logged in.")] = "",
) -> None:
    """Compare prices. Nothing is paid."""
    from cli.quotes import ask_of, form_of, print_quotes

    if operation not in {"run", "store", "cache"}:
        raise CliError("What to price must be run, store or cache.")
    if file is not None and not file.is_file():
        raise CliError(f"There is no file {file}.")
    length = file.stat().st_size if file else None
    given = {
        "size": size,
        "language": language or (SUFFIXES.get(file.suffix, "") if file and operation == "run" else ""),
        "timeout": timeout,
        "permanent": permanent,
        "ttl": ttl,
        "region": region,
        **({"run": {"codeSize": length}, "store": {"fileSize": length}}.get(operation, {})),
    }
    form = form_of(json=as_json, csv=as_csv, markdown=as_markdown)
    print_quotes(broker_url(url), operation, ask_of(operation, given, provider, max_cost), form)


@app.command()
def payments(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="Newest first.")] = 20,
    url: Annotated[str, typer.Option("-u", "--url", help="The broker; default: as logged in.")] = "",
) -> None:
    """List what this wallet paid. Signs in with the wallet and checks every receipt's signature."""
    from cli.payments import as_table, list_payments

    lines = list_payments(settings.load(), broker_url(url), limit)
    out.print(as_table(lines) if lines else "No payments yet.")
    wrong = sum(line.receipt == "WRONG" for line in lines)
    if wrong:
        raise CliError(f"{wrong} of these receipts are not signed by the broker's published key.")


def read_code(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise CliError(f"{file} cannot be read: {reason}.") from None


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command line; every foreseeable failure is one sentence on stderr and status 1."""
    from shared.errors import StartupError

    try:
        # Outside of its standalone mode, click returns the status of an Exit.
        status = app(arguments, standalone_mode=False, prog_name="galaksio")
    except (CliError, StartupError) as exc:
        err.print(f"galaksio: {exc}", style="red", highlight=False, markup=False)
        return 1
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Exception as exc:
        if not hasattr(exc, "format_message"):
            raise
        err.print(f"galaksio: {exc.format_message()}", style="red", highlight=False, markup=False)
        return 2
    return status if isinstance(status, int) else 0


def main() -> None:
    sys.exit(run_command())
