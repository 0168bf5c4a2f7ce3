"""How clients reach this broker."""

from starlette.types import Scope


def public_address(scope: Scope, configured: str | None) -> str:
    """The broker's base URL: `PUBLIC_BASE_URL`, else the socket the request came in on.

    `Host` and `X-Forwarded-*` are not believed (payments.md §1).
    """
    if configured is not None:
        return configured
    host, port = scope.get("server") or ("localhost", None)
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(scope["scheme"])
    return f"{scope['scheme']}://{host}" + (f":{port}" if port and port != default else "")
