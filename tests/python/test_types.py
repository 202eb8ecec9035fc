"""The module's types, as mypy sees them: the code itself, an app, and an app's mistakes."""
import importlib.util
import re
import subprocess
import sys
import unittest

import support

APP = '''
import asyncio
import stint

limiter = stint.Limiter(policy='api', max_requests=100, time_window_ms=60_000, mode='relaxed', on_error='deny')

async def use(client_id: str) -> int:
    allowed: bool = limiter.is_allowed(client_id) and await limiter.ais_allowed(client_id)
    result: stint.Result = await limiter.acheck(client_id, cost=2)
    tried = limiter.try_check(client_id)
    both = stint.check_all([(limiter, 'a'), (limiter, 'b', 2)])
    again = await stint.acheck_all([(limiter, 'a')])
    told: bool = limiter.charge('a', both.cost) and limiter.refund('a', both)
    name, value = limiter.http_headers(result, x_ratelimit=told)[0]
    with stint.Limiter(max_requests=1, time_window_ms=1000) as other:
        other.peek(stint.ip_client('192.0.2.1', ipv6_prefix=48))
    if result.source == 'fallback' or result.error is not None:
        print((name + value).upper(), again.part)
    return tried.remaining if allowed and tried is not None else result.retry_after_ms

asyncio.run(use('a'))
'''

# Each line is a mistake.
MISTAKES = '''
limiter = stint.Limiter(max_requests='100', time_window_ms=1000)
stint.Limiter('api', max_requests=1, time_window_ms=1000)
limiter.is_allowed(7)
limiter.check('a', cost='2')
limiter.check('a').permitted
limiter.check('a').remaining = 7
limiter.try_check('a').remaining
stint.check_all([limiter])
if limiter.check('a').source == 'redis': pass
'''

OLDEST, OWN = '3.10', f'{sys.version_info.major}.{sys.version_info.minor}'


def mypy(*args):
    done = subprocess.run(
        [sys.executable, '-m', *args],
        cwd=support.folder,
        capture_output=True,
        text=True,
        timeout=3 * support.SLOW_S,
    )
    return done.returncode, done.stdout + done.stderr


@unittest.skipUnless(importlib.util.find_spec('mypy'), 'there is no mypy')
class Types(unittest.TestCase):
    def test_code_and_apps(self):
        app, mistakes = support.folder / 'app.py', support.folder / 'mistakes.py'
        app.write_text(APP)
        mistakes.write_text('import stint\n' + MISTAKES.lstrip())
        for version in OLDEST, OWN:
            with self.subTest(version):
                self.check_types(version, app, mistakes)

    def check_types(self, version, app, mistakes):
        status, output = mypy(
            'mypy',
            '--python-version',
            version,
            '--strict',
            '--warn-unreachable',
            '--strict-equality',
            app,
            mistakes,
            *support.LIBRARY.glob('stint/*.py*'),
        )
        self.assertEqual(status, 1, output)
        self.assertNotRegex(output, r'(?m)^(?!mistakes\.py|Found)(?=.)', output)
        self.assertEqual(
            sorted(set(map(int, re.findall(r'^mistakes\.py:(\d+): error', output, re.M)))),
            list(range(2, 2 + len(MISTAKES.strip().splitlines()))),
            output,
        )

    def test_the_stubs_of_the_extension(self):
        status, output = mypy('mypy.stubtest', 'stint._stint')
        self.assertEqual(status, 0, output)


if __name__ == '__main__':
    support.main()
