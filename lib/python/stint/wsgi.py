"""A middleware for WSGI: Flask, Django, and whatever gunicorn serves.

    app.wsgi_app = LimitRequests(app.wsgi_app, limiter)
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Optional, Tuple, Union

from ._limiter import Limiter
from ._options import check_middleware
from ._stint import ClientIdError, ip_client

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def by_address(environ: WSGIEnvironment) -> str:
    """The client's address as its id. Behind a proxy it is the proxy's, unless somebody mends it first."""
    address = environ.get('REMOTE_ADDR', '')
    try:
        return ip_client(address)
    except ValueError:
        raise RuntimeError(
            f'REMOTE_ADDR is {address!r}, no address: pass client_id, or let the server tell the address'
        ) from None


def deny(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers 429."""
    return _answer(start_response, '429 Too Many Requests', b'Too many requests\n')


def _answer(start_response: StartResponse, status: str, body: bytes) -> Iterable[bytes]:
    start_response(status, [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]


class LimitRequests:
    """Limits each client, answers 429 to those that have to wait, and tells all of them in header fields.

    app, limiter: what is limited, and by what.
    client_id: a function that takes environ and returns the id; None: this request isn't limited. Default: the
        address.
    cost: of a request; or a function that takes environ.
    headers: whether fields tell the result; x_ratelimit: X-RateLimit-… as well.
    denied: the WSGI application that answers a denial. environ['stint.result'] has the result, there and in the
        app.

    A str from outside that is no id is answered by 400.
    """

    def __init__(
        self,
        app: WSGIApplication,
        limiter: Limiter,
        *,
        client_id: Callable[[WSGIEnvironment], Optional[str]] = by_address,
        cost: Union[int, Callable[[WSGIEnvironment], int]] = 1,
        headers: bool = True,
        x_ratelimit: bool = False,
        denied: WSGIApplication = deny,
    ) -> None:
        if not isinstance(limiter, Limiter):
            raise TypeError(f'limiter is {limiter!r:.80}, must be a stint.Limiter')
        check_middleware(client_id, cost, headers, x_ratelimit, denied)
        self.app = app
        self.limiter = limiter
        self.client_id = client_id
        self.cost = cost
        self.headers = headers
        self.x_ratelimit = x_ratelimit
        self.denied = denied

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        client_id = self.client_id(environ)
        if client_id is None:
            return self.app(environ, start_response)
        cost = self.cost(environ) if callable(self.cost) else self.cost
        try:
            result = self.limiter.check(client_id, cost)
        except ClientIdError:
            return _answer(start_response, '400 Bad Request', b'Bad request\n')
        environ['stint.result'] = result
        app = self.app if result.allowed else self.denied
        if not self.headers:
            return app(environ, start_response)
        fields = self.limiter.http_headers(result, x_ratelimit=self.x_ratelimit)

        def start(status: str, headers: List[Tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            return start_response(status, [*headers, *fields], *error)

        return app(environ, start)
