"""Checks that are awaited in asyncio's loops and uvloop's: many at once, cancelled, in threads; loops that end."""
import asyncio
import errno
import gc
import sys
import threading
import time
import unittest
import unittest.mock
import weakref
from itertools import islice

import stint
import support
from stint import _loop
from support import until

try:
    import uvloop
except ImportError:
    uvloop = None

agent = support.Agent()
make = agent.limiter


def count_watchers():
    return sum(bool(watcher.futures) for watcher in _loop._watchers.values())


class Loops:
    """The same tests for each kind of loop."""

    def run_in_loop(self, coroutine):
        loop = self.new_loop()
        loop.set_debug(sys.flags.dev_mode)
        try:
            return loop.run_until_complete(coroutine)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    def test_as_many_as_the_limit(self):
        async def ask():
            limiter = make(self.name + 'plain')
            self.assertEqual([await limiter.ais_allowed('a') for _ in range(7)], [True] * 5 + [False] * 2)
            result = await limiter.acheck('b', cost=2)
            self.assertEqual((result.allowed, result.remaining, result.source), (True, 3, 'database'))
            self.assertEqual((await limiter.apeek('b', 3)).allowed, True)
            self.assertEqual((await limiter.acheck('b', 3)).remaining, 0)

        self.run_in_loop(ask())

    def test_all_at_once(self):
        async def ask():
            limiter = make(self.name + 'at-once', 50)
            told = await asyncio.gather(*(limiter.ais_allowed('a') for _ in range(300)))
            self.assertEqual(sum(told), 50)
            crowd = make(self.name + 'crowd', 1)
            for wanted in (True, False):
                told = await asyncio.gather(*(crowd.acheck(f'client-{i}') for i in range(1000)))
                self.assertEqual({result.allowed for result in told}, {wanted})

        self.run_in_loop(ask())

    def test_several_limits_at_once(self):
        async def ask():
            user, address = make(self.name + 'user', 3), make(self.name + 'address', 4)

            async def check(client_id, cost=1):
                return await stint.acheck_all([(user, client_id, cost), (address, '192.0.2.1')])

            first = await check('a', 2)
            self.assertEqual(
                (first.allowed, first.part, first.policy, first.cost), (True, 0, self.name + 'user', 2)
            )
            denied = await check('a', 2)
            self.assertEqual((denied.allowed, denied.policy), (False, self.name + 'user'))
            told = await asyncio.gather(*(check(f'client-{i}') for i in range(6)))
            self.assertEqual(sum(result.allowed for result in told), 3)
            with self.assertRaises(stint.ClientIdError):
                await check('')

        self.run_in_loop(ask())

    def test_wrong_use_is_raised(self):
        async def ask():
            limiter = make(self.name + 'wrong')
            for call in (limiter.ais_allowed, limiter.acheck, limiter.apeek):
                with self.assertRaises(stint.ClientIdError):
                    await call('')
                with self.assertRaises(TypeError):
                    await call(7)
            limiter.close()
            for call in (limiter.ais_allowed, limiter.acheck, limiter.apeek):
                with self.assertRaisesRegex(stint.StintError, 'closed'):
                    await call('a')

        self.run_in_loop(ask())

    def test_a_task_that_is_cancelled_cancels_its_check(self):
        async def ask():
            limiter = make(self.name + 'cancel')
            await limiter.ais_allowed('known')
            with agent.standing_still():
                tasks = [asyncio.create_task(limiter.acheck(f'client-{i}')) for i in range(20)]
                await asyncio.sleep(0.02)
                self.assertEqual(count_watchers(), 1)
                for task in tasks[:15]:
                    task.cancel()
                told = await asyncio.gather(*tasks[:15], return_exceptions=True)
                self.assertEqual({type(error) for error in told}, {asyncio.CancelledError})
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(limiter.ais_allowed('late'), 0.02)
            self.assertTrue(all(await asyncio.gather(*tasks[15:])))
            self.assertEqual(count_watchers(), 0)

        self.run_in_loop(ask())

    def test_the_check_of_a_task_that_is_cancelled_is_pending_no_more(self):
        async def ask():
            limiter = make(self.name + 'pending')
            await limiter.ais_allowed('known')
            with agent.standing_still():
                waiting = limiter._ask('new')
                task = asyncio.create_task(_loop.wait(waiting))
                await asyncio.sleep(0.01)
                self.assertTrue(waiting.pending)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            self.assertFalse(waiting.pending)

        self.run_in_loop(ask())

    def test_what_another_loop_has_dispatched_before_it_was_waited_for(self):
        async def ask():
            limiter = make(self.name + 'before')
            waiting = limiter._ask('new')
            until(lambda: _loop.deliver_due(waiting.attachment, None) or not waiting.pending, 'it is answered')
            self.assertTrue(await asyncio.wait_for(_loop.wait(waiting), support.SLOW_S))
            self.assertEqual(count_watchers(), 0)

        self.run_in_loop(ask())

    def test_what_waits_when_its_limiter_is_closed(self):
        async def ask(on_error, wanted):
            limiters = [make(self.name + name, on_error=on_error) for name in ('close-1', 'close-2')]
            await limiters[0].ais_allowed('known')
            with agent.standing_still():
                tasks = [
                    asyncio.create_task(limiters[0].acheck(f'client-{on_error}')),
                    asyncio.create_task(stint.acheck_all((limiter, f'all-{on_error}') for limiter in limiters)),
                ]
                await asyncio.sleep(0.02)
                limiters[0].close()
                results = await asyncio.gather(*tasks)
            for result in results:
                self.assertEqual((result.allowed, result.source), (wanted, 'local'))
                self.assertIn('cancelled', result.error)

        for on_error, wanted in (('local', False), ('deny', False), ('allow', True)):
            self.run_in_loop(ask(on_error, wanted))

    def test_closed_by_another_thread(self):
        async def ask():
            limiter = make(self.name + 'close-thread')
            await limiter.ais_allowed('known')
            with agent.standing_still():
                task = asyncio.create_task(limiter.acheck('new'))
                await asyncio.sleep(0.02)
                await asyncio.to_thread(limiter.close)
                self.assertFalse(await task)

        self.run_in_loop(ask())

    def test_the_timeout(self):
        async def ask():
            limiter = make(self.name + 'timeout', timeout_ms=50)
            await limiter.ais_allowed('known')
            with agent.standing_still():
                result = await limiter.acheck('new')
            self.assertEqual((result.allowed, result.reason), (False, 'unavailable'))

        self.run_in_loop(ask())

    def test_an_agent_that_is_killed_and_comes_again(self):
        async def ask():
            own = support.Agent()
            limiter = make(self.name + 'again', 1000, socket_path=own.socket, timeout_ms=100)
            new_ids = (f'client-{i}' for i in range(1000000))

            async def until_source(source):
                end = time.monotonic() + support.SLOW_S
                while {
                    result.source for result in await asyncio.gather(*map(limiter.acheck, islice(new_ids, 10)))
                } != {source}:
                    self.assertLess(time.monotonic(), end, f'in vain: {source}')
                    await asyncio.sleep(0.01)

            await until_source('database')
            own.kill()
            await until_source('local')
            own.start()
            await until_source('database')
            own.remove()

        self.run_in_loop(ask())

    def test_loops_in_threads_share_an_attachment(self):
        told, limiter = [], make(self.name + 'threads', 200)

        async def ask():
            for i in range(50):
                told.extend(
                    await asyncio.gather(
                        *(limiter.ais_allowed('a') for _ in range(2)),
                        limiter.ais_allowed(f'{threading.get_ident()}-{i}'),
                    )
                )

        threads = [threading.Thread(target=lambda: self.run_in_loop(ask())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(told), sum(told)), (600, 400))

    def test_loops_that_end_take_along_what_waits(self):
        limiter = make(self.name + 'ends')
        limiter.is_allowed('known')
        descriptors = support.count_descriptors()
        gone = []

        def leave_waiting(i):
            loop = self.new_loop()
            task = loop.create_task(limiter.acheck(f'client-{i}'))
            task._log_destroy_pending = False
            loop.run_until_complete(asyncio.sleep(0.002))
            gone.append(weakref.ref(task))
            self.assertFalse(task.done())
            loop.close()

        with agent.standing_still():
            for i in range(10):
                leave_waiting(i)
            gc.collect()
            self.assertEqual([task() for task in gone], [None] * 10)
            self.assertEqual(len(_loop._watchers), 0)
            self.assertLessEqual(support.count_descriptors(), descriptors + 3)  # the attachment's

    def test_a_loop_is_watched_only_while_something_waits(self):
        async def ask():
            limiter = make(self.name + 'lazily', 1000000)
            loop = asyncio.get_running_loop()
            await limiter.acheck('a')
            self.assertFalse(loop.remove_reader(limiter._attachment.fileno()))
            with agent.standing_still():
                task = asyncio.create_task(limiter.acheck('b'))
                await asyncio.sleep(0.01)
                self.assertEqual(count_watchers(), 1)
            await task
            self.assertFalse(loop.remove_reader(limiter._attachment.fileno()))

        self.run_in_loop(ask())


    def test_a_loop_that_cannot_watch_another_descriptor(self):
        def refuse(*_):
            raise OSError(errno.ENOSPC, 'no space left')

        async def ask(on_error):
            limiter = make(self.name + 'unwatched', 1, on_error=on_error)
            await limiter.ais_allowed('known')
            loop = asyncio.get_running_loop()
            with unittest.mock.patch.object(_loop._Watcher, 'add', refuse):
                results = [await limiter.acheck(on_error), await stint.acheck_all([(limiter, 'all' + on_error)])]
            self.assertFalse(loop.remove_reader(limiter._attachment.fileno()))
            for result in results:
                self.assertEqual((result.source, result.error), ('local', '[Errno 28] no space left'))
            return [result.allowed for result in results]

        for on_error, wanted in (('local', [True, False]), ('deny', [False] * 2), ('allow', [True] * 2)):
            self.assertEqual(self.run_in_loop(ask(on_error)), wanted, on_error)


class Asyncio(Loops, unittest.TestCase):
    name = 'asyncio-'
    new_loop = staticmethod(asyncio.new_event_loop)


@unittest.skipUnless(uvloop, 'there is no uvloop')
class Uvloop(Loops, unittest.TestCase):
    name = 'uvloop-'
    new_loop = staticmethod(uvloop and uvloop.new_event_loop)


class WithoutALoop(unittest.TestCase):
    def test_what_the_table_decides_needs_none(self):
        limiter = make('no-loop', 1000)
        until(lambda: limiter.check('a').source == 'lease', 'the table decides')
        with self.assertRaises(StopIteration) as caught:
            limiter.ais_allowed('a').send(None)
        self.assertIs(caught.exception.value, True)
        with self.assertRaisesRegex(RuntimeError, 'no running event loop'):
            limiter.ais_allowed('new').send(None)

    def test_what_cannot_be_waited_for_is_pending_no_more(self):
        limiter = make('not-pending', 1000)
        limiter.is_allowed('known')
        with agent.standing_still():
            several = stint._stint._ask_all([(limiter, 'new')])
            for waiting in (limiter._ask('new'), limiter._ask_peek('new'), several):
                self.assertTrue(waiting.pending)
                with self.assertRaisesRegex(RuntimeError, 'no running event loop'):
                    _loop.wait(waiting).send(None)
                self.assertFalse(waiting.pending)

    def test_who_forgets_to_await_is_told(self):
        limiter = make('forgets')
        with self.assertWarnsRegex(RuntimeWarning, 'was never awaited'):
            limiter.ais_allowed('a')
            gc.collect()


if __name__ == '__main__':
    support.main()
