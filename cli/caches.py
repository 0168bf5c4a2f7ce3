"""`galaksio cache`: buy a cache, and use it: get, set, delete, list, topup."""

import asyncio
import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli import config as settings
from cli.config import CliError
from cli.saved_caches import SavedCache, save, saved
from cli.sign_in import printable
from cli.terminal import (
    AsJson,
    MaxCost,
    broker_url,
    cap_atomic,
    print_fields,
    print_json,
    receipt_line,
    show,
)
from shared.caches.limits import OPERATIONS_INCLUDED, PAGE_MAX

app = typer.Typer(help="Buy a cache, or use one.")

MAX_PAGES = 1000

CacheId = Annotated[str, typer.Argument(metavar="ID", help="As `galaksio cache` printed it.")]
Key = Annotated[str, typer.Argument()]
Token = Annotated[
    str, typer.Option(envvar="GALAKSIO_CACHE_TOKEN", help="Needed for a cache that was not bought here.")
]


@app.callback(invoke_without_command=True)
def cache(
    context: typer.Context,
    region: Annotated[str, typer.Option("-r", "--region", help="Where it should be.")] = "us-east-1",
    ttl: Annotated[int | None, typer.Option(min=1, help="Seconds it lives; default: no end.")] = None,
    max_cost: MaxCost = "",
    as_json: AsJson = False,
) -> None:
    """Pay for a new cache and remember its token; or, with a command, use one."""
    if context.invoked_subcommand is not None:
        return
    from cli.client import paid_post

    config = settings.load()
    body = {"region": region, **({} if ttl is None else {"ttl": ttl})}
    paid = asyncio.run(paid_post(config, "/cache", body, show, cap_atomic(max_cost)))
    bought = paid.body["result"]
    if as_json:
        print_json({"jobId": paid.body["jobId"], **bought, "receipt": paid.receipt})
    else:
        _print_new(bought)
        show(receipt_line(paid))
    path = save(bought["cacheId"], SavedCache(endpoint=bought["endpoint"], token=bought["token"]))
    show(f"The token is kept in {path}.")


@app.command("get")
def get_value(cache_id: CacheId, key: Key, token: Token = "") -> None:
    """Print the value under a key: text as it is, anything else as JSON."""
    value = _call("GET", cache_id, token, key)["value"]
    print(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@app.command("set")
def set_value(
    cache_id: CacheId,
    key: Key,
    value: Annotated[str, typer.Argument()],
    *,
    ttl: Annotated[int | None, typer.Option(min=1, help="Seconds it stays; default: no end.")] = None,
    is_json: Annotated[bool, typer.Option("--json", help="VALUE is JSON, not text.")] = False,
    token: Token = "",
) -> None:
    """Keep a value under a key."""
    try:
        content = json.loads(value) if is_json else value
    except ValueError:
        raise CliError("VALUE is not JSON: quote it for your shell, or leave --json out.") from None
    _call("PUT", cache_id, token, key, json={"value": content, "ttl": ttl})


@app.command("delete")
def delete_key(cache_id: CacheId, key: Key, token: Token = "") -> None:
    """Remove a key."""
    _call("DELETE", cache_id, token, key)


@app.command("list")
def list_keys(
    cache_id: CacheId,
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=100_000)] = 1000,
    token: Token = "",
) -> None:
    """Print the names of keys, each as a line."""
    asked: dict[str, Any] = {"prefix": prefix}
    for _ in range(MAX_PAGES):
        page = _call("GET", cache_id, token, params={**asked, "limit": min(limit, PAGE_MAX)})
        for key in page["keys"][:limit]:
            print(printable(key))
        limit -= len(page["keys"])
        if page["cursor"] is None or limit <= 0:
            return
        asked["cursor"] = page["cursor"]


@app.command("topup")
def top_up(
    cache_id: CacheId,
    operations: Annotated[int, typer.Option(min=1, help="How many more.")] = OPERATIONS_INCLUDED,
    max_cost: MaxCost = "",
) -> None:
    """Pay for more operations of a cache; this needs no token."""
    from cli.client import paid_post

    config = settings.load()
    path, body = f"/cache/{quote(cache_id, safe='')}/topup", {"operations": operations}
    paid = asyncio.run(paid_post(config, path, body, show, cap_atomic(max_cost)))
    print(f"{paid.body['result']['operations']} operations are left.")
    show(receipt_line(paid))


def _print_new(bought: dict[str, Any]) -> None:
    endpoint, token = bought["endpoint"], bought["token"]
    print_fields(
        {
            "id": bought["cacheId"],
            "endpoint": endpoint,
            "token": token,
            "operations": bought["operations"],
            "expires": bought["expiresAt"] or "never",
        }
    )
    show("Use it over HTTP, or with any client of Upstash Redis (upstash-redis, @upstash/redis):")
    show(
        f"""  curl -X PUT {endpoint}/greeting -H 'Authorization: Bearer {token}' -d '{{"value": "hello"}}'"""
    )
    show(f"  export UPSTASH_REDIS_REST_URL={endpoint} UPSTASH_REDIS_REST_TOKEN={token}")


def _call(method: str, cache_id: str, token: str, key: str | None = None, **kwargs: Any) -> Any:
    """One operation on a cache; returns the JSON. Raises `CliError` without a token, and for a refusal."""
    from cli.client import fetch

    known = saved(cache_id)
    endpoint = known.endpoint if known else f"{broker_url()}/cache/{cache_id}"
    opens = token or (known.token if known else "")
    if not opens:
        raise CliError(f"The token of {cache_id} is not known here: give it with --token.")
    # Dots are encoded too: a key may be "..", which is no way up.
    path = "" if key is None else "/" + quote(key, safe="").replace(".", "%2E")
    return fetch(endpoint, method, path, headers={"Authorization": f"Bearer {opens}"}, **kwargs)
