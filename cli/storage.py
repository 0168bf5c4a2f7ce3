"""`galaksio store` and `galaksio get`: keep a file under its IPFS content id, and fetch it back."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import config as settings
from cli.config import CliError
from cli.terminal import (
    AsJson,
    MaxCost,
    broker_url,
    print_fields,
    print_json,
    receipt_line,
    sending,
    show,
    told,
)

if TYPE_CHECKING:
    from galaksio import Client, Stored

app = typer.Typer()

STDIN = "-"


@app.command()
def store(
    file: Annotated[str, typer.Argument(help="The file, or - for standard input.")] = "",
    *,
    permanent: Annotated[bool, typer.Option("--permanent", help="Keep it for good.")] = False,
    ttl: Annotated[int | None, typer.Option(min=1, help="Seconds to keep it: 3600 unless given.")] = None,
    name: Annotated[str, typer.Option(help="Its name; default: the file's own.")] = "",
    type_: Annotated[str, typer.Option("--type", help="Like image/png; default: by its name.")] = "",
    url: Annotated[str, typer.Option(help="Store what is at this address instead of a file.")] = "",
    max_cost: MaxCost = "",
    as_json: AsJson = False,
) -> None:
    """Pay for keeping a file. Whoever knows its CID can read it."""
    from cli.client import paying

    config = settings.load()
    if bool(file) == bool(url):
        raise CliError("Say what to store: a FILE, - for standard input, or --url URL.")
    if permanent and ttl is not None:
        raise CliError("What is kept for good has no --ttl: leave one of the two out.")
    options: dict[str, Any] = {
        "filename": name or None,
        "content_type": type_ or None,
        "permanent": permanent,
        "ttl": ttl,
    }
    with paying(config, max_cost) as client:
        stored = client.store(url=url, **options) if url else _send(client, file, options)
    if as_json:
        print_json(told(stored))
        return
    print_fields(
        {
            "cid": stored.cid,
            "url": stored.url,
            "size": f"{stored.size} bytes",
            "expires": stored.expires_at or "never",
        }
    )
    show(receipt_line(stored))


def _send(client: "Client", file: str, options: dict[str, Any]) -> "Stored":
    source = sys.stdin.buffer if file == STDIN else Path(file)
    try:
        with sending("standard input" if file == STDIN else file) as progress:
            return client.store(source, progress=progress, **options)
    except IsADirectoryError:
        raise CliError(f"{file} is a folder: store a file, or an archive of the folder.") from None
    except OSError as exc:
        raise CliError(f"{file} cannot be read: {exc.strerror}.") from None


@app.command()
def get(
    cid: Annotated[str, typer.Argument(help="The content id that `store` printed.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file; default: stdout.")] = None,
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the bytes against the CID; needs -o.")
    ] = False,
    url: Annotated[str, typer.Option("-u", "--url", help="The broker; default: as logged in.")] = "",
) -> None:
    """Fetch stored content. Nothing is paid."""
    from cli.download import to_file, to_stdout

    if output is None and verify:
        raise CliError("--verify needs -o FILE: what is wrong is not to be used.")
    if output is None:
        to_stdout(broker_url(url), cid)
        return
    size_bytes = to_file(broker_url(url), cid, output, verify=verify)
    show(f"Wrote {size_bytes} bytes to {output}." + (" They are what the CID says." if verify else ""))
