"""Rate limits that many processes of many hosts keep together.

    limiter = stint.Limiter(policy='api', max_requests=100, time_window_ms=60_000)
    if not limiter.is_allowed(client_id):
        ...

A check is decided in the table that this host's agent, stintd, keeps in shared memory; only where that has no
answer does it ask the agent, and wait. is_allowed() then waits without the interpreter's lock, and ais_allowed()
in the event loop.
"""
import os as _os
import sys as _sys

if _sys.version_info < (3, 10):
    raise ImportError('stint needs Python 3.10 or later')

# In the checkout the extension is where make has built it.
if not _os.path.exists(_os.path.join(__path__[0], '_stint.abi3.so')):
    __path__.append(_os.path.join(_os.path.dirname(__path__[0]), '..', '..', 'build', 'python'))

from ._stint import ClientIdError, Result, StintError, __version__, check_all, ip_client
from ._limiter import Limiter, acheck_all

__all__ = ['ClientIdError', 'Limiter', 'Result', 'StintError', 'acheck_all', 'check_all', 'ip_client']
