"""The routes of caches: the token is looked at first, and a request that comes to nothing is counted.

They call their endpoint directly, past FastAPI's reading of parameters: a get costs little more than the one
of Redis.
"""

from urllib.parse import parse_qsl, unquote_to_bytes

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.caches.tokens import Tokens
from broker.caches.used_up import after_top_up
from broker.ratelimits import RateLimits
from shared.caches.errors import OperationsUsedUp
from shared.caches.router import CacheRouter
from shared.errors import BadRequest, GalaksioError
from shared.middleware import header

MAX_ID_BYTES = 64
TTL = b"/ttl"
NO_STORE = {"Cache-Control": "no-store"}


class TokenRefused(GalaksioError):
    """No token, or not the one of this cache. A cache that does not exist is refused alike."""

    status = 401
    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "send the token of this cache: Authorization: Bearer <token>",
            headers={"WWW-Authenticate": "Bearer"},
        )


class CacheRequest(Request):
    """A request under `/{cache or redis}/{cacheId}`, read off its path as it was sent."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        # Split before it is decoded: an encoded slash belongs to the key.
        parts: list[bytes] = scope["raw_path"].split(b"/", 3)
        self.cache_id: str = scope["path_params"]["cacheId"]
        self.raw_rest = parts[3] if len(parts) > 3 else b""
        # A route's pattern ends before a newline that ends the path.
        if len(parts) < 3 or parts[2] != self.cache_id.encode() or "\n" in scope["path"]:
            raise GalaksioError("there is nothing at this address", status=404, code="not_found")

    @property
    def caches(self) -> CacheRouter:
        caches: CacheRouter = self.app.state.caches
        return caches

    @property
    def token(self) -> str:
        """The bearer token, else `?_token=`, as Upstash takes it; empty when there is none."""
        scheme, _, given = header(self.scope, b"authorization").partition(b" ")
        if scheme.lower() == b"bearer":
            return given.strip().decode("latin-1")
        return next((value for name, value in self.query if name == b"_token"), b"").decode("latin-1")

    @property
    def query(self) -> list[tuple[bytes, bytes]]:
        """The query string's parameters in their order. Raises `BadRequest` for more than 1,000 of them."""
        try:
            return parse_qsl(self.scope["query_string"], keep_blank_values=True, max_num_fields=1000)
        except ValueError:
            raise BadRequest("the query string has too many parameters", code="invalid_query") from None

    @property
    def asks_for_ttl(self) -> bool:
        """The path ends in `/ttl`, with something before it; a key that ends so is written `%2Fttl`."""
        return self.raw_rest.endswith(TTL) and self.raw_rest != TTL

    @property
    def key(self) -> str:
        """The rest of the path, decoded once. Raises `BadRequest` for one that is not UTF-8."""
        return decoded(self.raw_rest)

    @property
    def key_before_ttl(self) -> str:
        return decoded(self.raw_rest.removesuffix(TTL))


def decoded(raw: bytes) -> str:
    """A part of a path as text, percent-decoded once. Raises `BadRequest` when it is not UTF-8."""
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRequest("the key in the path is not UTF-8", code="invalid_key") from None


class CacheRoute(APIRoute):
    """A route whose endpoint takes a `CacheRequest`, the token of which has been checked.

    What is done on a cache is paid for by its operations. Only what comes to nothing counts towards the limit
    of the client's address: a wrong token, a malformed request, no operations left.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits: RateLimits = scope["app"].state.limits
        try:
            if scope["method"] not in (self.methods or ()):
                raise GalaksioError(
                    "Method Not Allowed",
                    status=405,
                    code="method_not_allowed",
                    headers={"Allow": ", ".join(sorted(self.methods or ()))},
                )
            response = await self._answer(CacheRequest(scope, receive))
        except ClientDisconnect:
            return
        except GalaksioError as exc:
            await limits.count_request(scope)
            exc.headers = {**NO_STORE, **exc.headers}
            raise
        await response(scope, receive, send)

    async def _answer(self, request: CacheRequest) -> Response:
        tokens: Tokens = request.app.state.cache_tokens
        if len(request.cache_id) > MAX_ID_BYTES or not tokens.check(request.cache_id, request.token):
            raise TokenRefused
        response: Response
        try:
            response = await self.endpoint(request)
        except OperationsUsedUp:
            limits: RateLimits = request.app.state.limits
            await limits.count_request(request.scope)
            response = await after_top_up(request.scope, request.cache_id, lambda: self.endpoint(request))
        return response
