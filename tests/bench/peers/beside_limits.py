"""How fast lib/python is, in a process of its own, beside the package limits in memory and on Redis.

    python3 beside_limits.py CLIENTS MS REDIS

REDIS: the server's Unix socket; $STINT_SOCKET: the agent; $PYTHONPATH: lib/python. It draws from CLIENTS by turns, one
check at a time. Each contender is measured for MS, in several turns; the median counts. Prints one line, checks per
second: is_allowed(), acheck() awaited; of limits: hit() of the fixed window in memory, the same awaited, of the moving
window in memory, of the fixed window on Redis.
"""
import asyncio
import statistics
import sys
import time

import limits.aio.strategies
import limits.strategies
import stint
from limits.storage import storage_from_string

MANY = 10**9
LOOK_EVERY = 100
TURNS = 9
ROUNDS_MAX = 30

clients, ms, redis = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
ids = [f'client-{i:08}' for i in range(clients)]
batches = [[ids[(first + i) % clients] for i in range(LOOK_EVERY)] for first in range(0, clients, LOOK_EVERY)]
storages = []


# Both return what runs for a turn, and returns checks per second. They differ by one word, which costs something.


def measure(check):
    async def run():
        began, checks = time.perf_counter(), 0
        while True:
            for batch in batches:
                for client_id in batch:
                    check(client_id)
                checks += LOOK_EVERY
                now = time.perf_counter()
                if now > began + ms / TURNS / 1000:
                    return checks / (now - began)

    return run


def measure_awaited(check):
    async def run():
        began, checks = time.perf_counter(), 0
        while True:
            for batch in batches:
                for client_id in batch:
                    await check(client_id)
                checks += LOOK_EVERY
                now = time.perf_counter()
                if now > began + ms / TURNS / 1000:
                    return checks / (now - began)

    return run


def hit_by(module, strategy, uri):
    storage = storage_from_string(uri)
    storages.append(storage)  # a strategy doesn't keep it
    limiter, item = getattr(module, strategy)(storage), limits.RateLimitItemPerHour(MANY)
    return lambda client_id: limiter.hit(item, client_id)


def warm(limiter):
    """Until the table decides for all clients: its leases grow with what they are used for."""
    for _ in range(ROUNDS_MAX):
        for client_id in ids:
            limiter.is_allowed(client_id)
        if all(limiter.try_check(client_id) for client_id in ids):
            return


async def main():
    limiter = stint.Limiter(policy='bench', max_requests=MANY, time_window_ms=3600000)
    fixed, moving = 'FixedWindowRateLimiter', 'MovingWindowRateLimiter'
    contenders = [
        measure(limiter.is_allowed),
        measure_awaited(limiter.acheck),
        measure(hit_by(limits.strategies, fixed, 'memory://')),
        measure_awaited(hit_by(limits.aio.strategies, fixed, 'async+memory://')),
        measure(hit_by(limits.strategies, moving, 'memory://')),
        measure(hit_by(limits.strategies, fixed, f'redis+unix://{redis}')),
    ]
    warm(limiter)
    rates = [[await run() for run in contenders] for _ in range(TURNS)]
    print(*(f'{statistics.median(column):.3f}' for column in zip(*rates)))


asyncio.run(main())
