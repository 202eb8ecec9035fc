"""What the middlewares for WSGI and ASGI share: their options, a request's cost, and what is told of a result."""
from __future__ import annotations

from typing import Any, AnyStr, Callable, Generic, Iterable, List, Optional, Tuple, TypeVar, Union

from ._limiter import Limiter
from ._options import check_flag, check_function, check_integer
from ._stint import ClientIdError, Result
from ._stint import _show as show
from ._stint import ip_client

Request = TypeVar('Request')  # environ, or scope
App = TypeVar('App')

TOO_MANY_REQUESTS = b'Too many requests\n'
BAD_REQUEST = b'Bad request\n'

# What a server tells that knows none: gunicorn and nginx behind a Unix socket, Starlette's TestClient.
NO_ADDRESS = ('', 'unix:', 'testclient')

# Fields that several limiters may tell, each in its own line: as WSGI has them, and as ASGI.
LISTS = frozenset(['ratelimit-policy', 'ratelimit', b'ratelimit-policy', b'ratelimit'])


def read_address(name: str, address: Any) -> str:
    """An address that the server tells, as an id. From a proxy that is trusted it may be anything that the sender has
    written: a ClientIdError, as of any str from outside that is no id."""
    try:
        return ip_client(address)
    except (TypeError, ValueError) as error:
        if isinstance(address, str) and address not in NO_ADDRESS:
            raise ClientIdError(str(error)) from None
        raise RuntimeError(
            f'{name} is {show(address)}, no address: pass client_id, or let the server tell the address'
        ) from None


def merge_fields(
    headers: Iterable[Tuple[AnyStr, AnyStr]], fields: Iterable[Tuple[AnyStr, AnyStr]]
) -> List[Tuple[AnyStr, AnyStr]]:
    """A response's header fields, and those that tell a result. Of what is no list a response has one field: that
    of the app, or of a middleware inside, which knows better, stays."""
    merged = list(headers)
    there = {name.lower() for name, _ in merged}
    merged += [field for field in fields if field[0].lower() in LISTS or field[0].lower() not in there]
    return merged


class Middleware(Generic[Request, App]):
    """What is passed once, for all requests, is checked once."""

    def __init__(
        self,
        app: App,
        limiter: Limiter,
        client_id: Callable[[Request], Any],
        cost: Union[int, Callable[[Request], int]],
        headers: bool,
        x_ratelimit: bool,
        denied: App,
    ) -> None:
        if not isinstance(limiter, Limiter):
            raise TypeError(f'limiter is {show(limiter)}, must be a stint.Limiter')
        check_function('client_id', client_id)
        check_function('denied', denied)
        if not callable(cost):
            check_integer('cost', cost, required=True)
        check_flag('headers', headers)
        check_flag('x_ratelimit', x_ratelimit)
        self.app = app
        self.limiter = limiter
        self.client_id = client_id
        self.cost = cost
        self.headers = headers
        self.x_ratelimit = x_ratelimit
        self.denied = denied

    def find_cost(self, request: Request) -> int:
        return self.cost(request) if callable(self.cost) else self.cost

    def choose_app(self, result: Result) -> App:
        return self.app if result.allowed else self.denied

    def find_fields(self, result: Result) -> Optional[List[Tuple[str, str]]]:
        """None: none are wanted."""
        return self.limiter.http_headers(result, x_ratelimit=self.x_ratelimit) if self.headers else None
