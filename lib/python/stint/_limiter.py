"""The class that apps use: what decides at once is in C; this checks the options, and waits in event loops."""
from __future__ import annotations

import os
from typing import Any, Iterable, Optional, Tuple, Type, TypeVar, Union

from . import _stint
from ._loop import deliver, wait
from ._options import HEADER_VERSIONS, check_flag, check_integer, check_path, check_policy, check_word, make_policy
from ._stint import Result

_Self = TypeVar('_Self', bound='Limiter')

Part = Union[Tuple['Limiter', str], Tuple['Limiter', str, int]]


class Limiter(_stint.Limiter):
    """Limits clients, each by its id, to max_requests in any time_window_ms, together with all other processes.

    Raises a TypeError or a ValueError that names the option, its value and its range. All is keyword-only:

    policy: the limit's name, the same in all processes. Default: made of limits, algorithm, mode, resolution and
        shadow ('100/60000ms/relaxed'); those without a name and with the same ones count together.
    max_requests: 1 to 1,000,000,000.
    time_window_ms: 100 to 2,678,400,000 (31 days).
    fallback_max_requests: per host, database away; default 2 * max_requests.
    fallback_time_window_ms: default time_window_ms.
    local_max_requests: per process, agent away, in the fallback's window; 0: nobody; default the fallback's.
    algorithm: 'sliding_window', or 'fixed_window'.
    resolution: sub-windows of a sliding window, 1 to 60; default 20, or 10 of a window below 2 s.
    mode: 'strict', or 'relaxed'.
    timeout_ms: the longest a check waits, 1 to 60,000; default 1000.
    on_error: who decides when the agent doesn't: 'local' (a lenient limit of this process), 'deny', or 'allow'.
    shadow: deny nobody; result.shadow_denied tells who would be.
    must_exist: take the limits that the policy has, declare none; then these can be left out.
    socket_path: the agent's; default $STINT_SOCKET, or /run/stint/agent.sock.
    """

    def __init__(
        self,
        *,
        max_requests: Optional[int] = None,
        time_window_ms: Optional[int] = None,
        policy: Optional[str] = None,
        fallback_max_requests: Optional[int] = None,
        fallback_time_window_ms: Optional[int] = None,
        local_max_requests: Optional[int] = None,
        algorithm: str = 'sliding_window',
        resolution: Optional[int] = None,
        mode: str = 'strict',
        timeout_ms: Optional[int] = None,
        on_error: str = 'local',
        shadow: bool = False,
        must_exist: bool = False,
        socket_path: Union[str, bytes, os.PathLike[str], None] = None,
    ) -> None:
        if check_flag('must_exist', must_exist) and policy is None:
            raise TypeError('policy is None, must be the name of a policy with must_exist')
        requests = check_integer('max_requests', max_requests, required=not must_exist)
        window_ms = check_integer('time_window_ms', time_window_ms, required=not must_exist)
        sub_windows = check_integer('resolution', resolution)
        super().__init__(
            requests,
            window_ms,
            check_integer('fallback_max_requests', fallback_max_requests),
            check_integer('fallback_time_window_ms', fallback_time_window_ms),
            check_integer('local_max_requests', local_max_requests),
            sub_windows,
            check_integer('timeout_ms', timeout_ms),
            check_word('algorithm', algorithm),
            check_word('mode', mode),
            check_word('on_error', on_error),
            check_flag('shadow', shadow),
            must_exist,
            make_policy(requests, window_ms, algorithm, mode, sub_windows, shadow)
            if policy is None
            else check_policy(policy),
            check_path(socket_path),
        )

    async def ais_allowed(self, client_id: str) -> bool:
        """Whether this client may go on, without holding up the event loop."""
        allowed = self._try(client_id)
        if allowed is None:
            allowed = (await wait(self._ask(client_id))).allowed
        return allowed

    async def acheck(self, client_id: str, cost: int = 1) -> Result:
        """The same with a cost, and with the reasons. A task that is cancelled cancels its check."""
        result = self.try_check(client_id, cost)
        if result is None:
            result = await wait(self._ask(client_id, cost))
        return result

    async def apeek(self, client_id: str, cost: int = 1) -> Result:
        """What acheck() would say now; takes nothing."""
        return await wait(self._ask_peek(client_id, cost))

    def refund(self, client_id: str, admission: Result, cost: Optional[int] = None) -> bool:
        """Gives back what was admitted, or `cost` of it: the request did not count after all. Once, and soon:
        false when it isn't possible any more, as mostly for a client's first two checks."""
        return self._refund(client_id, admission, cost)

    def http_headers(
        self, result: Result, *, version: str = 'draft-11', x_ratelimit: bool = False
    ) -> list[tuple[str, str]]:
        """Header fields that tell a result, in pairs: RateLimit-Policy, RateLimit, and on a denial Retry-After.

        version: how the first two are written: 'draft-11', or 'none'.
        x_ratelimit: X-RateLimit-Limit, X-RateLimit-Remaining and X-RateLimit-Reset as well.
        """
        number = check_word('version', version, HEADER_VERSIONS)
        return self._http_headers(result, number, check_flag('x_ratelimit', x_ratelimit))

    def close(self) -> None:
        """Ends it. Asynchronous checks that wait are denied at once, or allowed if on_error says so; those that
        wait in other threads end as they would."""
        self._close()
        if self._attachment is not None:
            deliver(self._attachment)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'<stint.Limiter {self.policy!r}{", closed" if self.closed else ""}>'


async def acheck_all(parts: Iterable[Part]) -> Result:
    """check_all() without holding up the event loop."""
    return await wait(_stint._ask_all(parts))
