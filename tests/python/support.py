"""Agents, scripts and TAP for the tests of lib/python. What is started here ends with the test."""
import atexit
import gc
import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import stint

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('STINT_BUILD', ROOT / 'build'))
LIBRARY = ROOT / 'lib' / 'python'
SLOW_S = 60  # what takes longer has failed, on any machine
WINDOW_MS = 600000  # longer than a test

folder = pathlib.Path(tempfile.mkdtemp(prefix='stint-python-'))
_owner = os.getpid()
logging.getLogger('asyncio').setLevel(logging.ERROR)  # nothing of how slow the machine is
_cleanups = []


@atexit.register
def _clean_up():
    if os.getpid() != _owner:
        return
    for cleanup in reversed(_cleanups):
        cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def at_end(cleanup):
    _cleanups.append(cleanup)


def until(condition, what):
    """Waits until the condition holds; returns its value."""
    end = time.monotonic() + SLOW_S
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f'in vain: {what}')
        time.sleep(0.01)
    return value


def check_middleware_options(test, middleware, app, limiter):
    """What it refuses is named: the option, its value, and what it must be."""
    with test.assertRaisesRegex(TypeError, '^limiter is None, must be a stint.Limiter$'):
        middleware(app, None)
    for option, kind, message in (
        ({'client_id': 'ip'}, TypeError, "client_id is 'ip', must be a function"),
        ({'denied': 503}, TypeError, 'denied is 503, must be a function'),
        ({'cost': 0}, ValueError, 'cost is 0, must be an int of 1 to 1000000000'),
        ({'cost': '2'}, TypeError, "cost is '2', must be an int of 1 to 1000000000"),
        ({'headers': 'off'}, TypeError, "headers is 'off', must be True or False"),
        ({'x_ratelimit': 1}, TypeError, 'x_ratelimit is 1, must be True or False'),
    ):
        with test.subTest(option), test.assertRaisesRegex(kind, f'^{message}$'):
            middleware(app, limiter, **option)


class Agent:
    """One without a database, unless it is given one; it goes with the test's file."""

    count = 0

    def __init__(self, database='memory:', more=''):
        Agent.count += 1
        self.name = f'{folder.name}-{Agent.count}'
        self.socket = str(folder / f'{Agent.count}.sock')
        self.log = folder / f'{Agent.count}.log'
        self.conf = folder / f'{Agent.count}.conf'
        self.conf.write_text(
            f'[stint]\nsocket = {self.socket}\nshm = /{self.name}\ndatabase = {database}\n'
            f'host = {self.name}\nmax_clients = 20000\n{more}'
        )
        at_end(self.remove)
        self.start()

    def start(self):
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen(
                [BUILD / 'stintd', '-c', self.conf], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: 'room for' in self.log.read_text() or self.process.poll() is not None, 'the agent is there')
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text())

    def limiter(self, policy, max_requests=5, **options):
        """One that takes its time, on a slow machine too."""
        return stint.Limiter(
            **{
                'policy': policy,
                'max_requests': max_requests,
                'time_window_ms': WINDOW_MS,
                'timeout_ms': 30000,
                'socket_path': self.socket,
                **options,
            }
        )

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        self.process.wait(SLOW_S)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(SLOW_S)

    def remove(self):
        self.stop()
        for part in ('table', 'directory'):
            pathlib.Path(f'/dev/shm/{self.name}.{part}').unlink(missing_ok=True)

    def standing_still(self):
        """While the agent stands still, what it is asked waits."""
        return _StandingStill(self)


class _StandingStill:
    def __init__(self, agent):
        self.agent = agent

    def __enter__(self):
        self.agent.signal(signal.SIGSTOP)

    def __exit__(self, *_):
        self.agent.signal(signal.SIGCONT)


def start_postgres():
    """A private PostgreSQL with stint's schema: its conninfo, and what takes start and stop; or None."""
    pg_cluster = ROOT / 'tests' / 'support' / 'pg-cluster'
    started = subprocess.run([pg_cluster, 'start', folder], capture_output=True, text=True)
    if started.returncode != 0:
        return None, None
    at_end(lambda: subprocess.run([pg_cluster, 'remove', folder], capture_output=True))
    conninfo = started.stdout.strip()
    subprocess.run(
        [BUILD / 'stint', 'db', 'init'],
        check=True,
        capture_output=True,
        env={**os.environ, 'STINT_DATABASE': conninfo},
    )
    return conninfo, lambda command: subprocess.run([pg_cluster, command, folder], check=True, capture_output=True)


def run(script, *args, **env):
    """Runs a script in a python of its own: (status, what it said). A signal's status is negative."""
    done = subprocess.run(
        [sys.executable, '-X', 'dev', '-W', 'error', '-c', script, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SLOW_S,
        env={**os.environ, **env},
    )
    return done.returncode, done.stdout


def count_descriptors():
    return len(os.listdir('/proc/self/fd'))


def resident_bytes():
    gc.collect()
    with open('/proc/self/statm') as statm:
        return int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


class _Tap(unittest.TestResult):
    number = 0

    def _say(self, word, test, more=''):
        self.number += 1
        print(f'{word} {self.number} - {test.id().removeprefix("__main__.")}{more}')

    def _fail(self, test, error):
        self._say('not ok', test)
        print(''.join(f'# {line}\n' for line in self._exc_info_to_string(error, test).splitlines()), end='')

    def addSuccess(self, test):
        self._say('ok', test)

    def addSkip(self, test, reason):
        self._say('ok', test, f' # SKIP {reason}')

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._fail(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self._fail(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._fail(subtest, error)


def main():
    """Runs the file's tests, those that the arguments name or all."""
    names = sys.argv[1:]
    tests = (
        unittest.defaultTestLoader.loadTestsFromNames(names, sys.modules['__main__'])
        if names
        else unittest.defaultTestLoader.loadTestsFromModule(sys.modules['__main__'])
    )
    print(f'1..{tests.countTestCases()}')
    result = _Tap()
    tests.run(result)
    sys.exit(not result.wasSuccessful())
