"""Processes that begin and end at any moment: exit, fork, garbage, reloads, subinterpreters; and what is left."""
import gc
import os
import signal
import subprocess
import sys
import threading
import unittest

import stint
import support
from support import WINDOW_MS, run, until

agent = support.Agent()
os.environ['STINT_SOCKET'] = agent.socket

MAKE = '''
import asyncio, gc, logging, os, signal, sys, threading, time
import stint
logging.getLogger('asyncio').setLevel(logging.ERROR)  # nothing of how slow the machine is
def make(policy='life', max_requests=1000000, **options):
    options = {'timeout_ms': 30000, **options}
    return stint.Limiter(policy=policy, max_requests=max_requests, time_window_ms=600000, **options)
count = iter(range(1000000000))
def new_id():
    return f'client-{os.getpid()}-{next(count)}'
limiter = make()
'''


def make(policy, max_requests=5, **options):
    return stint.Limiter(
        **{
            'policy': policy,
            'max_requests': max_requests,
            'time_window_ms': WINDOW_MS,
            'timeout_ms': 30000,
            **options,
        }
    )


def run_stopping_agent(script):
    """The script stops the agent for a while: the id of its process is the argument."""
    try:
        return run(script, str(agent.process.pid))
    finally:
        agent.signal(signal.SIGCONT)


class Exit(unittest.TestCase):
    def assert_quiet(self, script, status=0, output=''):
        self.assertEqual(run(MAKE + script), (status, output))

    def test_with_a_limiter(self):
        self.assert_quiet('print(limiter.is_allowed("a"))', 0, 'True\n')
        self.assert_quiet('make(); make(socket_path="/nowhere/at/all")')

    def test_with_a_thread_that_waits(self):
        script = '''
threading.Thread(target=lambda: limiter.is_allowed(new_id()), daemon=True).start()
time.sleep(0.02)
sys.exit(7)
'''
        with agent.standing_still():
            self.assert_quiet(script, 7)

    def test_at_any_moment_of_threads_and_loops_under_way(self):
        script = '''
async def ask():
    while True:
        await asyncio.gather(limiter.ais_allowed(new_id()), limiter.ais_allowed('hot'), limiter.acheck(new_id()))
def check():
    while True:
        limiter.is_allowed(new_id())
for target in (check, check, lambda: asyncio.run(ask())):
    threading.Thread(target=target, daemon=True).start()
time.sleep(%f)
sys.exit(3)
'''
        for i in range(4):
            self.assert_quiet(script % (i * 0.007), 3)

    def test_with_a_loop_in_which_checks_wait(self):
        script = '''
async def leave():
    tasks.extend(asyncio.create_task(limiter.ais_allowed(new_id())) for _ in range(50))
    await asyncio.sleep(0.01)
    %s
tasks = []
asyncio.run(leave())
'''
        with agent.standing_still():
            self.assert_quiet(script % 'sys.exit(7)', 7)
            self.assert_quiet(script % 'os._exit(8)', 8)
            self.assert_quiet(script % 'pass')
            self.assert_quiet(
                script % 'os.kill(os.getpid(), signal.SIGTERM); await asyncio.sleep(60)', -signal.SIGTERM
            )
            status, output = run(MAKE + script % 'raise ZeroDivisionError("mine")')
            self.assertEqual(status, 1)
            self.assertTrue(output.endswith('ZeroDivisionError: mine\n'), output)

    def test_with_a_loop_that_is_not_closed(self):
        script = '''
import warnings
warnings.simplefilter('ignore')
loop = asyncio.new_event_loop()
task = loop.create_task(limiter.acheck(new_id()))
task._log_destroy_pending = False
loop.run_until_complete(asyncio.sleep(0.01))
limiter.cycle = loop, task, limiter
'''
        with agent.standing_still():
            self.assert_quiet(script)
            self.assert_quiet(script + 'del loop, task, limiter; gc.collect()')

    def test_checks_in_finalizers(self):
        script = '''
class Last:
    def __init__(self):
        self.limiter, self.cycle = make(), self
    def __del__(self):
        self.limiter.check('a'), self.limiter.is_allowed(new_id_at_end(self)), self.limiter.peek('a')
def new_id_at_end(of, id=id):
    return f'last-{id(of)}'
first = Last()
sys.modules['last'] = Last()
'''
        self.assert_quiet(script)


class Fork(unittest.TestCase):
    def in_child(self, body):
        """Runs body in a child of fork(); it must not raise."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                body()
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_parent_and_children_count_together(self):
        limiter = make('fork', 9)
        self.assertTrue(limiter.is_allowed('a'))

        def ask():
            assert all(limiter.is_allowed('a') for _ in range(4))
            assert limiter.is_allowed(f'client-{os.getpid()}')

        self.in_child(ask)
        self.in_child(ask)
        self.assertFalse(limiter.is_allowed('a'))
        self.assertTrue(limiter.is_allowed('b'))

    def test_a_child_has_loops_of_its_own(self):
        script = (
            MAKE
            + '''
async def ask(many=30):
    return await asyncio.gather(*(limiter.ais_allowed(new_id()) for _ in range(many)))
def child():
    assert all(asyncio.run(ask()))
    limiter.close()
    os._exit(5)
async def main():
    await ask()
    os.kill(agent, signal.SIGSTOP)
    waiting = asyncio.create_task(ask())
    await asyncio.sleep(0.01)
    forked = os.fork()
    if forked == 0:
        asyncio._set_running_loop(None)
        threading.Thread(target=child).start()
        time.sleep(60)
    await asyncio.sleep(0.02)
    os.kill(agent, signal.SIGCONT)
    assert all(await waiting)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 5
    assert all(await ask())
agent = int(sys.argv[1])
asyncio.run(main())
'''
        )
        self.assertEqual(run_stopping_agent(script), (0, ''))

    def test_what_a_child_drops_of_its_parents_loop_is_still_watched_there(self):
        script = (
            MAKE
            + '''
async def main():
    await limiter.ais_allowed(new_id())
    os.kill(agent, signal.SIGSTOP)
    coroutine = limiter.acheck(new_id())
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0.01)
    forked = os.fork()
    if forked == 0:
        coroutine.close()
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 5
    os.kill(agent, signal.SIGCONT)
    assert (await asyncio.wait_for(task, 20)).source == 'database'
agent = int(sys.argv[1])
asyncio.run(main())
'''
        )
        self.assertEqual(run_stopping_agent(script), (0, ''))


class Leaks(unittest.TestCase):
    def measure(self, body, most, rounds=4, times=300):
        """How much memory `body` leaves behind, once it has been warm."""
        for _ in range(times):
            body()
        before, descriptors = support.resident_bytes(), support.count_descriptors()
        for _ in range(rounds * times):
            body()
        left = support.resident_bytes() - before
        self.assertLess(left, most, f'{left} bytes more')
        self.assertLessEqual(support.count_descriptors(), descriptors)

    def test_limiters_that_nobody_has_any_more(self):
        def use():
            limiter = make('garbage', 1000000)
            limiter.cycle = limiter
            limiter.is_allowed('a')

        use()
        gc.collect()
        self.measure(use, 4000000)
        gc.collect()
        self.assertEqual(sum(isinstance(thing, stint.Limiter) for thing in gc.get_objects()), 0)

    def test_checks_that_waited(self):
        script = (
            MAKE
            + '''
import support
support.at_end(lambda: None)
async def once(i):
    limiter = make()
    await asyncio.gather(*(limiter.acheck(f'client-{i}-{j}') for j in range(20)))
    task = asyncio.create_task(limiter.acheck(f'cancelled-{i}'))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
async def rounds(first, count):
    for i in range(first, first + count):
        await once(i)
def measure():
    return support.resident_bytes(), support.count_descriptors()
asyncio.run(rounds(0, 150))
before = measure()
asyncio.run(rounds(1000, 300))
after = measure()
assert after[0] - before[0] < 3000000 and after[1] <= before[1], (before, after)
'''
        )
        self.assertEqual(run(script, PYTHONPATH=f'{support.LIBRARY}:{support.ROOT / "tests" / "python"}'), (0, ''))

    def test_an_attachment_goes_with_its_last_limiter(self):
        before = support.count_descriptors()
        limiters = [make('attachment', socket_path=agent.socket) for _ in range(3)]
        self.assertEqual(len({id(limiter._attachment) for limiter in limiters}), 1)
        self.assertTrue(limiters[0].is_allowed('a'))
        del limiters
        gc.collect()
        self.assertLessEqual(support.count_descriptors(), before)

    def test_a_limiter_whose_check_waits_is_kept(self):
        script = (
            MAKE
            + '''
async def main():
    await limiter.ais_allowed('known')
    os.kill(agent, signal.SIGSTOP)
    tasks = [asyncio.create_task(make('kept').acheck(f'a{i}')) for i in range(10)]
    await asyncio.sleep(0.01)
    gc.collect()
    os.kill(agent, signal.SIGCONT)
    assert {result.source for result in await asyncio.gather(*tasks)} == {'database'}
agent = int(sys.argv[1])
asyncio.run(main())
'''
        )
        self.assertEqual(run_stopping_agent(script), (0, ''))


class NoDescriptors(unittest.TestCase):
    def test_checks_are_decided_by_on_error(self):
        script = (
            MAKE
            + '''
import resource
async def ask(on_error):
    limiter = make(f'descriptors-{on_error}', 1, on_error=on_error)
    wanted = [on_error != 'deny', on_error == 'allow']  # what this process has by itself is 1, twice over
    told = [await limiter.acheck('a', 2), await limiter.acheck('a')]
    assert [result.allowed for result in told] == wanted, told
    assert {result.source for result in told} == {'local'} and 'Too many open files' in told[0].error, told
    assert await limiter.ais_allowed('b') == (await limiter.apeek('c')).allowed == wanted[0]
    assert (await stint.acheck_all([(limiter, 'a'), (make(on_error='allow'), 'a')])).allowed == wanted[1]
async def main():
    assert limiter.is_allowed(new_id())
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    kept = []
    try:
        while True:
            kept.append(os.dup(0))
    except OSError:
        pass
    for on_error in ('local', 'deny', 'allow'):
        await ask(on_error)
    for descriptor in kept:
        os.close(descriptor)
    assert (await limiter.acheck(new_id())).source == 'database'
asyncio.run(main())
'''
        )
        self.assertEqual(run(script), (0, ''))


class Interpreters(unittest.TestCase):
    def test_a_subinterpreter_is_refused(self):
        script = '''
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), """
try:
    import stint
except ImportError as error:
    print(error)
""")
import stint
print(stint.ip_client('192.0.2.1'))
'''
        status, output = run(script)
        self.assertEqual(status, 0, output)
        theirs = 'module stint._stint does not support loading in subinterpreters'  # Python's own, from 3.12 on
        self.assertRegex(
            output, rf"^(stint works in a process's main interpreter only.*|{theirs})\n192\.0\.2\.1\n$"
        )

    def test_loaded_again(self):
        script = (
            MAKE
            + '''
for i in range(30):
    for name in [name for name in sys.modules if name.startswith('stint')]:
        del sys.modules[name]
    import stint
    again = make()
    assert again.is_allowed('a') and limiter.is_allowed('a') and again.check('a') and limiter.check('b')
    assert asyncio.run(again.ais_allowed(new_id())) and asyncio.run(limiter.ais_allowed(new_id()))
    assert type(again) is not type(limiter)
'''
        )
        self.assertEqual(run(script), (0, ''))

    def test_installed(self):
        def make_install(*variables):
            env = {name: value for name, value in os.environ.items() if name not in ('MAKEFLAGS', 'MFLAGS')}
            subprocess.run(
                ['make', 'install-python', f'DESTDIR={tree}', f'BUILD={support.BUILD}', *variables],
                cwd=support.ROOT,
                env=env,
                check=True,
                capture_output=True,
            )

        tree = support.folder / 'installed'
        make_install('PYTHONDIR=')
        self.assertEqual([*tree.rglob('_stint*')], [])
        make_install('PYTHONDIR=/python', 'PREFIX=/elsewhere')
        status, output = run(
            MAKE + 'print(stint.__file__, limiter.is_allowed("a"))', PYTHONPATH=str(tree / 'python')
        )
        self.assertEqual((status, output), (0, f'{tree}/python/stint/__init__.py True\n'))

    def test_the_environment_of_tests_is_the_checkout(self):
        self.assertEqual(stint.__path__[0], str(support.LIBRARY / 'stint'))
        self.assertEqual(stint.__version__, stint._stint.__version__)


if __name__ == '__main__':
    support.main()
