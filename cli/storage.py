"""`galaksio store` and `galaksio get`: keep a file under its IPFS content id, and fetch it back."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import config as settings
from cli.config import CliError, Config
from cli.terminal import (
    AsJson,
    MaxCost,
    broker_url,
    cap_atomic,
    print_fields,
    print_json,
    receipt_line,
    sending,
    show,
)

if TYPE_CHECKING:
    from cli.client import Paid
    from cli.upload import Content

app = typer.Typer()


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
    from cli.client import paid_post
    from cli.content import opened

    config = settings.load()
    if bool(file) == bool(url):
        raise CliError("Say what to store: a FILE, - for standard input, or --url URL.")
    if permanent and ttl is not None:
        raise CliError("What is kept for good has no --ttl: leave one of the two out.")
    options: dict[str, Any] = {"permanent": permanent, **({} if ttl is None else {"ttl": ttl})}
    cap = cap_atomic(max_cost)
    if url:
        named = {"filename": name or None, "contentType": type_ or None}
        body = {"data": {"url": url}, "options": options, **named}
        paid = asyncio.run(paid_post(config, "/store", body, show, cap))
    else:
        with opened(file, name, type_) as content:
            paid = _upload(config, content, options, cap)
    result = paid.body["result"]
    if as_json:
        print_json({"jobId": paid.body["jobId"], **result, "receipt": paid.receipt})
        return
    print_fields(
        {
            "cid": result["cid"],
            "url": result["url"],
            "size": f"{result['size']} bytes",
            "expires": result["expiresAt"] or "never",
        }
    )
    show(receipt_line(paid))


def _upload(config: Config, content: "Content", options: dict[str, Any], cap: int | None) -> "Paid":
    from cli.upload import paid_upload

    fields = {option: str(value).lower() for option, value in options.items()}
    with sending(content.name or "standard input", content.size_bytes) as progress:
        return asyncio.run(
            paid_upload(config, "/store", fields, content, show=show, progress=progress, cap_atomic=cap)
        )


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
