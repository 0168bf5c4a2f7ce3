"""`galaksio cache`: buy a cache, and use it: get, set, delete, list, topup."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli import config as settings
from cli.config import CliError
from cli.saved_caches import SavedCache, save, saved
from cli.terminal import (
    AsJson,
    MaxCost,
    broker_url,
    print_fields,
    print_json,
    printable,
    receipt_line,
    show,
    told,
)
from shared.caches.limits import OPERATIONS_INCLUDED

if TYPE_CHECKING:
    from galaksio import BoughtCache, Cache

MISSING = object()

app = typer.Typer(help="Buy a cache, or use one.")

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
    from cli.client import paying

    with paying(settings.load(), max_cost) as client:
        bought = client.create_cache(region, ttl).bought
    if as_json:
        print_json(told(bought))
    else:
        _print_new(bought)
        show(receipt_line(bought))
    path = save(bought.cache_id, SavedCache(endpoint=bought.endpoint, token=bought.token))
    show(f"The token is kept in {path}.")


@app.command("get")
def get_value(cache_id: CacheId, key: Key, token: Token = "") -> None:
    """Print the value under a key: text as it is, anything else as JSON."""
    with _cache(cache_id, token) as cache:
        value = cache.get(key, MISSING)
    if value is MISSING:
        raise CliError(f"There is no key {key} in this cache (404).")
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
    with _cache(cache_id, token) as cache:
        cache.set(key, content, ttl=ttl)


@app.command("delete")
def delete_key(cache_id: CacheId, key: Key, token: Token = "") -> None:
    """Remove a key."""
    with _cache(cache_id, token) as cache:
        cache.delete(key)


@app.command("list")
def list_keys(
    cache_id: CacheId,
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=100_000)] = 1000,
    token: Token = "",
) -> None:
    """Print the names of keys, each as a line."""
    with _cache(cache_id, token) as cache:
        for key in cache.keys(prefix, limit=limit):
            print(printable(key))


@app.command("topup")
def top_up(
    cache_id: CacheId,
    operations: Annotated[int, typer.Option(min=1, help="How many more.")] = OPERATIONS_INCLUDED,
    max_cost: MaxCost = "",
) -> None:
    """Pay for more operations of a cache; this needs no token."""
    from cli.client import paying

    with paying(settings.load(), max_cost) as client:
        bought = client.cache(cache_id, token="").top_up(operations)
    print(f"{bought.operations} operations are left.")
    show(receipt_line(bought))


def _print_new(bought: "BoughtCache") -> None:
    endpoint, token = bought.endpoint, bought.token
    print_fields(
        {
            "id": bought.cache_id,
            "endpoint": endpoint,
            "token": token,
            "operations": bought.operations,
            "expires": bought.expires_at or "never",
        }
    )
    show("Use it over HTTP, or with any client of Upstash Redis (upstash-redis, @upstash/redis):")
    show(
        f"""  curl -X PUT {endpoint}/greeting -H 'Authorization: Bearer {token}' -d '{{"value": "hello"}}'"""
    )
    show(f"  export UPSTASH_REDIS_REST_URL={endpoint} UPSTASH_REDIS_REST_TOKEN={token}")


@contextmanager
def _cache(cache_id: str, token: str) -> Iterator["Cache"]:
    """A cache to be used. Raises `CliError` without a token, and for a refusal."""
    from cli.client import asking

    known = saved(cache_id)
    opens = token or (known.token if known else "")
    if not opens:
        raise CliError(f"The token of {cache_id} is not known here: give it with --token.")
    url = known.endpoint.removesuffix(f"/cache/{cache_id}") if known else broker_url()
    with asking(url) as client:
        yield client.cache(cache_id, opens)
