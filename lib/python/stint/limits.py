"""A storage for the package `limits`, and so for flask-limiter and slowapi.

    import stint.limits
    flask_limiter.Limiter(get_remote_address, app=app, storage_uri='stint://', strategy='moving-window')

stint:///PATH names the agent's socket. Options are those of stint.Limiter but the limit and the window; policy,
which is 'limits' by default, begins the names of the policies, one for each limit and window.
"""
from __future__ import annotations

import hashlib
import math
import time
import urllib.parse
from typing import Any, Dict, NoReturn, Optional, Tuple

from limits.aio.storage import MovingWindowSupport as AsyncMovingWindowSupport
from limits.aio.storage import Storage as AsyncStorage
from limits.storage import MovingWindowSupport, Storage

from ._limiter import Limiter
from ._stint import Result, StintError

CLIENT_ID_BYTES_MAX = 255


def _read_path(uri: Optional[str]) -> Optional[str]:
    parts = urllib.parse.urlsplit(uri or '')
    if parts.netloc or parts.query or parts.fragment:
        raise ValueError(f'the storage is {uri!r}, must be stint:// or stint:///PATH-OF-THE-SOCKET')
    return urllib.parse.unquote(parts.path, errors='surrogateescape') or None


def _make_client_id(key: str) -> str:
    """A key of the app's own may be longer than an id, or have what no id has."""
    encoded = key.encode(errors='replace')
    if 0 < len(encoded) <= CLIENT_ID_BYTES_MAX and b'\0' not in encoded and encoded.decode() == key:
        return key
    return 'blake2b:' + hashlib.blake2b(key.encode(errors='surrogatepass'), digest_size=32).hexdigest()


class _Limiters:
    """A limiter for each limit and window."""

    def __init__(self, uri: Optional[str], policy: str = 'limits', **options: Any) -> None:
        self.policy = policy
        self.options: Dict[str, Any] = {'socket_path': _read_path(uri), **options}
        self.limiters: Dict[Tuple[int, int], Limiter] = {}
        self.find(1, 1)  # raises what is wrong with the options

    def find(self, limit: int, expiry: int) -> Limiter:
        limiter = self.limiters.get((limit, expiry))
        if limiter is None:
            limiter = Limiter(
                policy=f'{self.policy}/{limit}/{expiry}s',
                max_requests=limit,
                time_window_ms=expiry * 1000,
                **self.options,
            )
            limiter = self.limiters.setdefault((limit, expiry), limiter)
        return limiter


def _tell_window(result: Result, limit: int, expiry: int) -> Tuple[int, int]:
    """When the window began, in whole seconds, so that nobody who waits for its end comes too early; and how many
    requests are in it."""
    left_ms = result.reset_after_ms if result.allowed else result.retry_after_ms
    taken = limit - min(result.remaining, limit) if result.allowed else limit
    return math.ceil(time.time() + left_ms / 1000) - expiry, taken


def _tell_nothing() -> Tuple[int, int]:
    """Of a limit of 0: its window begins now, and nothing is in it."""
    return math.ceil(time.time()), 0


def _refuse_counting() -> NoReturn:
    raise NotImplementedError(
        "stint decides by a window of its own, and counts nothing: strategy='moving-window' is needed"
    )


def _refuse_reset() -> NoReturn:
    raise NotImplementedError('a client is reset by `stint client reset`')


class StintStorage(Storage, MovingWindowSupport):
    """stint://"""

    STORAGE_SCHEME = ['stint']
    base_exceptions = StintError

    def __init__(self, uri: Optional[str] = None, wrap_exceptions: bool = False, **options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self.limiters = _Limiters(uri, **options)
        self.storage = uri  # which `flask limiter config` shows

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if amount < 1 or limit < 1:
            return amount < 1
        return self.limiters.find(limit, expiry).check(_make_client_id(key), amount).allowed

    def get_moving_window(self, key: str, limit: int, expiry: int) -> Tuple[int, int]:
        if limit < 1:
            return _tell_nothing()
        return _tell_window(self.limiters.find(limit, expiry).peek(_make_client_id(key)), limit, expiry)

    def check(self) -> bool:
        """It decides, whatever is down."""
        return True

    def incr(self, key: str, expiry: int, elastic_expiry: bool = False, amount: int = 1) -> int:
        _refuse_counting()

    def get(self, key: str) -> int:
        _refuse_counting()

    def get_expiry(self, key: str) -> int:
        _refuse_counting()

    def reset(self) -> Optional[int]:
        _refuse_reset()

    def clear(self, key: str) -> None:
        _refuse_reset()


class AsyncStintStorage(AsyncStorage, AsyncMovingWindowSupport):
    """async+stint://"""

    STORAGE_SCHEME = ['async+stint']
    base_exceptions = StintError

    def __init__(self, uri: Optional[str] = None, wrap_exceptions: bool = False, **options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self.limiters = _Limiters(uri, **options)
        self.storage = uri  # which `flask limiter config` shows

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if amount < 1 or limit < 1:
            return amount < 1
        return (await self.limiters.find(limit, expiry).acheck(_make_client_id(key), amount)).allowed

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> Tuple[int, int]:
        if limit < 1:
            return _tell_nothing()
        result = await self.limiters.find(limit, expiry).apeek(_make_client_id(key))
        return _tell_window(result, limit, expiry)

    async def check(self) -> bool:
        return True

    async def incr(self, key: str, expiry: int, elastic_expiry: bool = False, amount: int = 1) -> int:
        _refuse_counting()

    async def get(self, key: str) -> int:
        _refuse_counting()

    async def get_expiry(self, key: str) -> int:
        _refuse_counting()

    async def reset(self) -> Optional[int]:
        _refuse_reset()

    async def clear(self, key: str) -> None:
        _refuse_reset()
