"""Checks what the app passes. Each error names the option, its value, and what it must be."""
from __future__ import annotations

import os
import re
from typing import Optional, Sequence, Union

from ._stint import _show as show

MAX_REQUESTS_MAX = 1000000000
FALLBACK_REQUESTS_MAX = 2000000000
TIME_WINDOW_MS_MIN = 100
TIME_WINDOW_MS_MAX = 2678400000  # 31 days
DENY = -1  # for the library; its 0 is the default

# Each number: the least, the most.
NUMBERS = {
    'max_requests': (1, MAX_REQUESTS_MAX),
    'time_window_ms': (TIME_WINDOW_MS_MIN, TIME_WINDOW_MS_MAX),
    'fallback_max_requests': (1, FALLBACK_REQUESTS_MAX),
    'fallback_time_window_ms': (TIME_WINDOW_MS_MIN, TIME_WINDOW_MS_MAX),
    'local_max_requests': (0, FALLBACK_REQUESTS_MAX),
    'resolution': (1, 60),
    'timeout_ms': (1, 60000),
    'cost': (1, MAX_REQUESTS_MAX),
}

# Each word, in the order of the numbers that stint.h has for it. The first is the default.
WORDS = {
    'algorithm': ('sliding_window', 'fixed_window'),
    'mode': ('strict', 'relaxed'),
    'on_error': ('local', 'deny', 'allow'),
}

DEFAULTS = ('sliding_window', 'strict')

POLICY = re.compile(r'[A-Za-z0-9_.:/-]{1,63}')

PATH_BYTES_MAX = 107  # of a Unix socket

HEADER_VERSIONS = ('draft-11', 'none')


def check_integer(name: str, value: Optional[int], required: bool = False) -> int:
    """Returns the library's number for it: 0 where it is left out."""
    least, most = NUMBERS[name]
    if value is None and not required:
        return 0
    rule = f'must be an int of {least} to {most}'
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f'{name} is {show(value)}, {rule}')
    if not least <= value <= most:
        raise ValueError(f'{name} is {show(value)}, {rule}')
    return int(value) or DENY  # int(): what is one may print itself as something else


def check_word(name: str, value: str, words: Sequence[str] = ()) -> int:
    """Returns the library's number for it."""
    words = words or WORDS[name]
    if value in words:
        return words.index(value)
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(f'{name} is {show(value)}, must be one of {", ".join(map(repr, words))}')


def check_flag(name: str, value: bool) -> bool:
    """Any other value may mean the opposite of its truth: 'no', say."""
    if not isinstance(value, bool):
        raise TypeError(f'{name} is {show(value)}, must be True or False')
    return value


def check_function(name: str, value: object) -> None:
    if not callable(value):
        raise TypeError(f'{name} is {show(value)}, must be a function')


def check_policy(name: str) -> str:
    if isinstance(name, str) and POLICY.fullmatch(name):
        return name
    kind = ValueError if isinstance(name, str) else TypeError
    raise kind(f'policy is {show(name)}, must be 1 to 63 characters of A-Z, a-z, 0-9 and _.:/-')


def make_policy(
    max_requests: int, time_window_ms: int, algorithm: str, mode: str, resolution: int, shadow: bool
) -> str:
    """Limiters without a name and with the same limits are one policy, in all processes, those of lib/node's too:
    they count together. A shadow has a name of its own: it would make the limit a shadow, or be made the limit."""
    words = [word for word in (algorithm, mode) if word not in DEFAULTS]
    ends = [str(resolution)] if resolution else []
    return '/'.join([str(max_requests), f'{time_window_ms}ms', *words, *ends, *(['shadow'] if shadow else [])])


def check_path(value: Union[str, bytes, os.PathLike[str], None]) -> Optional[bytes]:
    """The socket's path as the system has it; None: the library's default."""
    name = 'socket_path'
    if value is None:
        name, value = 'STINT_SOCKET', os.environ.get('STINT_SOCKET')
    if value is None:
        return None
    rule = f'must be a path of 1 to {PATH_BYTES_MAX} bytes, without a NUL'
    try:
        path = os.fsencode(value)
    except (TypeError, UnicodeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f'{name} is {show(value)}, {rule}') from None
    if not 1 <= len(path) <= PATH_BYTES_MAX or b'\0' in path:
        raise ValueError(f'{name} is {show(value)}, of {len(path)} bytes, {rule}')
    return path
