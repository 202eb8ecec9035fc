"""What the extension has, in C."""
from typing import Any, Callable, Iterable, Literal, Optional, Tuple, Union, final

__version__: str

class StintError(Exception):
    """What is no wrong argument: a limiter that is closed, a system that refuses."""

    code: Optional[int]
    """STINT_E... of stint.h; None: the limiter is closed."""

class ClientIdError(ValueError):
    """A str that is no client's id: 1 to 255 bytes in UTF-8, without a NUL or a lone surrogate."""

@final
class Result:
    """What a check found. Its truth is `allowed`."""

    @property
    def allowed(self) -> bool: ...
    @property
    def shadow_denied(self) -> bool:
        """It is allowed only because its policy is a shadow; the rest is as of the denial."""
    @property
    def limit(self) -> int:
        """What applies to this client: max_requests, or a limit of its own, or the fallback's; 0: blocked."""
    @property
    def time_window_ms(self) -> int:
        """In which the limit counts: the policy's, which an operator may have set, or the fallback's."""
    @property
    def remaining(self) -> int:
        """An estimate: others may spend it meanwhile."""
    @property
    def retry_after_ms(self) -> int:
        """0 when allowed; else until this cost may be admitted, if nobody else is."""
    @property
    def reset_after_ms(self) -> int:
        """Until the whole limit is free again, if nobody sends."""
    @property
    def source(self) -> Literal['lease', 'database', 'fallback', 'local', 'advance']:
        """Who decided: the table, the database, this host without it, this process alone, an advance (mode
        'relaxed')."""
    @property
    def reason(self) -> Literal['admitted', 'over_limit', 'blocked', 'cost_above_limit', 'unavailable']: ...
    @property
    def policy(self) -> str: ...
    @property
    def cost(self) -> int: ...
    @property
    def part(self) -> int:
        """Of check_all(): whose numbers these are."""
    @property
    def error(self) -> Optional[str]:
        """What went wrong, when that is why source is 'local'."""
    def __bool__(self) -> bool: ...

class Limiter:
    def __init__(self, *options: Any) -> None: ...
    @property
    def policy(self) -> str:
        """The limit's name."""
    @property
    def closed(self) -> bool: ...
    def is_allowed(self, client_id: str) -> bool:
        """Whether this client may go on. Always decides, whatever is down; waits timeout_ms at most, without the
        interpreter's lock, and only where the table has no answer. Raises a TypeError or a ClientIdError for what
        is no id, and a StintError after close()."""
    def check(self, client_id: str, cost: int = 1) -> Result:
        """The same with a cost, and with the reasons."""
    def try_check(self, client_id: str, cost: int = 1) -> Optional[Result]:
        """The result, if the table has it; otherwise None, and nothing has been taken."""
    def peek(self, client_id: str, cost: int = 1) -> Result:
        """What check() would say now; takes nothing."""
    def charge(self, client_id: str, cost: int = 1) -> bool:
        """Counts a cost that is known only afterwards, beyond the limit if need be: then the client is in debt.
        False: nothing was counted, the agent is away."""
    # For stint's own Python code.
    @property
    def _attachment(self) -> Optional[Attachment]:
        """None: __init__ has not run, or has raised."""
    def _try(self, client_id: str) -> Optional[bool]: ...
    def _ask(self, client_id: str, cost: int = 1) -> Union[Result, Waiting]: ...
    def _ask_peek(self, client_id: str, cost: int = 1) -> Union[Result, Waiting]: ...
    def _refund(self, client_id: str, admission: Result, cost: Optional[int], /) -> bool: ...
    def _http_headers(self, result: Result, version: int, x_ratelimit: bool, /) -> list[tuple[str, str]]: ...
    def _close(self) -> None: ...

@final
class Attachment:
    def fileno(self) -> int: ...
    def dispatch(self) -> int: ...
    def take(self) -> Optional[Waiting]: ...

@final
class Waiting:
    watcher: Optional[Callable[[], Any]]
    @property
    def attachment(self) -> Attachment: ...
    @property
    def pending(self) -> bool: ...
    def drop(self) -> None: ...
    def give_up(self, error: str, /) -> None: ...
    def result(self) -> Result: ...

def check_all(parts: Iterable[Union[Tuple[Limiter, str], Tuple[Limiter, str, int]]], /) -> Result:
    """One check of several limiters of one agent, all or nothing: 1 to 16 parts (limiter, client_id) or
    (limiter, client_id, cost)."""

def _show(value: object, /) -> str:
    """A value as an error shows it, whatever its repr() does."""

def _ask_all(
    parts: Iterable[Union[Tuple[Limiter, str], Tuple[Limiter, str, int]]], /
) -> Union[Result, Waiting]: ...
def ip_client(address: str, *, ipv4_prefix: int = 32, ipv6_prefix: int = 64) -> str:
    """An address as a client's id: IPv4 in IPv6 is unwrapped, IPv6 cut to a prefix, since whoever has one address
    has 2^64 of them. Raises a ValueError for what is no address."""
