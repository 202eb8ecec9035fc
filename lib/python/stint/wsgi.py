"""A middleware for WSGI: Flask, Django, and whatever gunicorn serves.

    app.wsgi_app = LimitRequests(app.wsgi_app, limiter)
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Optional, Tuple, Union

from ._limiter import Limiter
from ._middleware import BAD_REQUEST, TOO_MANY_REQUESTS, Middleware, merge_fields, read_address
from ._stint import ClientIdError, Result

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def by_address(environ: WSGIEnvironment) -> str:
    """The client's address as its id. Behind a proxy it is the proxy's, unless somebody mends it first."""
    return read_address('REMOTE_ADDR', environ.get('REMOTE_ADDR', ''))


def deny(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers 429."""
    return _answer(environ, start_response, '429 Too Many Requests', TOO_MANY_REQUESTS)


def _answer(
    environ: WSGIEnvironment, start_response: StartResponse, status: str, body: bytes
) -> Iterable[bytes]:
    """To a HEAD without the body: some servers send it, and clients would take it for their next answer."""
    start_response(status, [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [] if environ.get('REQUEST_METHOD') == 'HEAD' else [body]


class LimitRequests(Middleware['WSGIEnvironment', 'WSGIApplication']):
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
        super().__init__(app, limiter, client_id, cost, headers, x_ratelimit, denied)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            result = self._check(environ)
        except ClientIdError:
            return _answer(environ, start_response, '400 Bad Request', BAD_REQUEST)
        if result is None:
            return self.app(environ, start_response)
        environ['stint.result'] = result
        app = self.choose_app(result)
        fields = self.find_fields(result)
        return app(environ, start_response if fields is None else _add_fields(start_response, fields))

    def _check(self, environ: WSGIEnvironment) -> Optional[Result]:
        client_id = self.client_id(environ)
        return None if client_id is None else self.limiter.check(client_id, self.find_cost(environ))


def _add_fields(start_response: StartResponse, fields: List[Tuple[str, str]]) -> StartResponse:
    def start(status: str, headers: List[Tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
        return start_response(status, merge_fields(headers, fields), *error)

    return start
