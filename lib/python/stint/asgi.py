"""A middleware for ASGI: Starlette, FastAPI, Django, and whatever uvicorn serves.

    app.add_middleware(LimitRequests, limiter=limiter)
"""
from __future__ import annotations

import inspect
from typing import Any, Awaitable, Callable, Iterable, MutableMapping, Optional, Tuple, Union

from ._limiter import Limiter
from ._middleware import BAD_REQUEST, TOO_MANY_REQUESTS, Middleware, merge_fields, read_address
from ._stint import ClientIdError, Result

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Fields = Iterable[Tuple[bytes, bytes]]

# The messages that carry a response's header fields.
STARTS = ('http.response.start', 'websocket.accept', 'websocket.http.response.start')
POLICY_VIOLATION = 1008  # of a websocket that is closed


def by_address(scope: Scope) -> str:
    """The client's address as its id. Behind a proxy it is the proxy's, unless the server knows the client's."""
    client = scope.get('client') or ('', 0)
    return read_address('the client', client[0])


async def deny(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 429. A websocket is refused before it is accepted: by 403, if the server knows nothing better."""
    await _answer(scope, receive, send, 429, TOO_MANY_REQUESTS)


async def _answer(scope: Scope, receive: Receive, send: Send, status: int, body: bytes) -> None:
    prefix = ''
    if scope['type'] == 'websocket':
        await receive()  # its wish to connect
        prefix = 'websocket.'
        if 'websocket.http.response' not in (scope.get('extensions') or {}):
            await send({'type': 'websocket.close', 'code': POLICY_VIOLATION})
            return
    headers = [(b'content-type', b'text/plain'), (b'content-length', str(len(body)).encode())]
    await send({'type': prefix + 'http.response.start', 'status': status, 'headers': headers})
    await send({'type': prefix + 'http.response.body', 'body': body})


class LimitRequests(Middleware[Scope, App]):
    """Limits each client, answers 429 to those that have to wait, and tells all of them in header fields.

    app, limiter: what is limited, and by what. A websocket counts once, when it is opened.
    client_id: a function that takes the scope and returns the id, or a coroutine for it; None: this request isn't
        limited. Default: the address.
    cost: of a request; or a function that takes the scope.
    headers: whether fields tell the result; x_ratelimit: X-RateLimit-… as well.
    denied: the ASGI application that answers a denial; scope['stint.result'] has the result, there and in the app.

    A str from outside that is no id is answered by 400.
    """

    def __init__(
        self,
        app: App,
        limiter: Limiter,
        *,
        client_id: Callable[[Scope], Union[Optional[str], Awaitable[Optional[str]]]] = by_address,
        cost: Union[int, Callable[[Scope], int]] = 1,
        headers: bool = True,
        x_ratelimit: bool = False,
        denied: App = deny,
    ) -> None:
        super().__init__(app, limiter, client_id, cost, headers, x_ratelimit, denied)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] in ('http', 'websocket'):
            await self._limit(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _limit(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            result = await self._check(scope)
        except ClientIdError:
            return await _answer(scope, receive, send, 400, BAD_REQUEST)
        if result is None:
            return await self.app(scope, receive, send)
        scope = {**scope, 'stint.result': result}
        fields = self.find_fields(result)
        if fields is not None:
            send = _add_fields(send, [(name.lower().encode(), value.encode()) for name, value in fields])
        await self.choose_app(result)(scope, receive, send)

    async def _check(self, scope: Scope) -> Optional[Result]:
        found = self.client_id(scope)
        client_id = await found if inspect.isawaitable(found) else found
        return None if client_id is None else await self.limiter.acheck(client_id, self.find_cost(scope))


def _add_fields(send: Send, fields: Fields) -> Send:
    async def send_with_fields(message: Message) -> None:
        if message['type'] in STARTS:
            message = {**message, 'headers': merge_fields(message.get('headers', ()), fields)}
        await send(message)

    return send_with_fields
