"""The class: what it decides, and what becomes of it."""
import asyncio
import gc
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import unittest

import stint
import support
from support import BUILD, WINDOW_MS, until

agent = support.Agent()
make = agent.limiter
NOWHERE = '/nowhere/at/all'


class Decisions(unittest.TestCase):
    def test_as_many_as_the_limit_and_not_one_more(self):
        with make('plain') as limiter:
            self.assertEqual([limiter.is_allowed('a') for _ in range(8)], [True] * 5 + [False] * 3)
            self.assertIs(limiter.is_allowed('b'), True)
            self.assertIs(limiter.is_allowed(client_id='b'), True)

    def test_without_a_name_one_that_the_same_limits_have_in_every_language(self):
        names = pathlib.Path(__file__).parents[1] / 'support' / 'policy_names.json'
        for case in json.loads(names.read_text()):
            with self.subTest(case), make(None, **{'time_window_ms': 60000, **case['options']}) as limiter:
                self.assertEqual(limiter.check('a').policy, case['name'])

    def test_a_result_in_full(self):
        limiter = make('result')
        first = limiter.check('a', cost=2)
        self.assertIs(first.allowed, True)
        self.assertTrue(first)
        self.assertEqual(
            (
                first.limit,
                first.remaining,
                first.retry_after_ms,
                first.source,
                first.policy,
                first.reason,
                first.cost,
                first.error,
            ),
            (5, 3, 0, 'database', 'result', 'admitted', 2, None),
        )
        self.assertEqual(first.time_window_ms, WINDOW_MS)
        self.assertGreater(first.reset_after_ms, 0)
        denied = limiter.check('a', 4)
        self.assertFalse(denied)
        self.assertEqual((denied.allowed, denied.reason), (False, 'over_limit'))
        self.assertGreater(denied.retry_after_ms, 0)
        self.assertEqual(limiter.check('a', 6).reason, 'cost_above_limit')
        self.assertEqual(limiter.check(cost=3, client_id='a').remaining, 0)
        self.assertRegex(repr(denied), r'^<stint.Result denied: over_limit of policy result, \d of 5 left, by ')
        with self.assertRaises(AttributeError):
            denied.allowed = True
        with self.assertRaises(TypeError):
            stint.Result()

    def test_try_check_takes_nothing_where_nobody_knows(self):
        limiter = make('try', 1000)
        self.assertIsNone(limiter.try_check('a'))
        self.assertEqual(limiter.check('a').remaining, 999)

        def try_after_check():
            before = limiter.check('a')
            return before, limiter.try_check('a')

        before, tried = until(
            lambda: (pair := try_after_check())[1] and pair, 'the table holds more than one credit'
        )
        self.assertEqual((tried.allowed, tried.source, tried.remaining), (True, 'lease', before.remaining - 1))

    def test_limiters_of_one_policy_count_together(self):
        one, two, other = make('shared'), make('shared'), make('own')
        self.assertEqual([(one, two)[i % 2].is_allowed('a') for i in range(7)], [True] * 5 + [False] * 2)
        self.assertTrue(other.is_allowed('a'))

    def test_without_a_name_those_with_the_same_limits_count_together(self):
        options = {
            'max_requests': 3,
            'time_window_ms': WINDOW_MS,
            'socket_path': agent.socket,
            'timeout_ms': 30000,
        }
        one, two = stint.Limiter(**options), stint.Limiter(**options)
        self.assertEqual(one.policy, f'3/{WINDOW_MS}ms')
        self.assertEqual([(one, two)[i % 2].is_allowed('a') for i in range(4)], [True] * 3 + [False])
        finer = stint.Limiter(resolution=30, mode='relaxed', **options)
        self.assertEqual(finer.policy, f'3/{WINDOW_MS}ms/relaxed/30')
        self.assertTrue(finer.is_allowed('a'))

    def test_a_shadow_without_a_name_is_not_the_limit_itself(self):
        limit, shadow = make(None, 2), make(None, 2, shadow=True)
        for first in (limit, shadow):
            first.is_allowed('known')
        self.assertEqual([shadow.is_allowed('a') for _ in range(4)], [True] * 4)
        self.assertEqual([limit.is_allowed('a') for _ in range(4)], [True] * 2 + [False] * 2)
        self.assertTrue(shadow.check('a').shadow_denied)

    def test_a_limit_that_must_exist(self):
        absent = make('absent', None, time_window_ms=None, must_exist=True, on_error='deny')
        self.assertFalse(absent.is_allowed('a'))
        denied = absent.check('a')
        self.assertEqual((denied.allowed, denied.source), (False, 'local'))
        self.assertEqual(denied.error, 'policy "absent": no such policy')
        make('present', 2).is_allowed('b')
        present = make('present', None, time_window_ms=None, must_exist=True)
        self.assertEqual([present.is_allowed('a') for _ in range(3)], [True, True, False])
        with self.assertRaisesRegex(TypeError, '^policy is None, must be'):
            stint.Limiter(must_exist=True)

    def test_a_look_takes_nothing_where_this_process_decides(self):
        async def look(limiter):
            return [await limiter.apeek('a') for _ in range(3)]

        limits = {'local_max_requests': 1, 'fallback_time_window_ms': WINDOW_MS}
        absent = make('absent', None, time_window_ms=None, must_exist=True, **limits)
        told = [absent.peek('a') for _ in range(3)] + asyncio.run(look(absent))
        self.assertEqual([(result.allowed, result.source, result.error is None) for result in told], [(True, 'local', False)] * 6)
        self.assertEqual([absent.refund('a', result) for result in told], [False] * 6)
        self.assertEqual([absent.check('a').allowed for _ in range(2)], [True, False])

    def test_a_look_is_no_decision_where_this_process_decides(self):
        limits = {'local_max_requests': 1, 'fallback_time_window_ms': WINDOW_MS}
        absent = make('absent-counted', None, time_window_ms=None, must_exist=True, **limits)
        told = [absent.peek('a') for _ in range(3)] + [absent.check('a')]
        self.assertEqual([result.source for result in told], ['local'] * 4)
        make('absent-counted').check('b')  # now there is such a policy, for which it is counted
        self.assertEqual(absent.check('c').source, 'database')
        command = [BUILD / 'stint', '--socket', agent.socket, 'metrics']
        metrics = subprocess.run(command, check=True, capture_output=True, text=True)
        decided = [line for line in metrics.stdout.split('\n') if re.match('stint_decisions_total.*"absent-counted".*"local".* [^0]', line)]
        self.assertEqual(decided, ['stint_decisions_total{policy="absent-counted",outcome="allowed",source="local"} 1'])

    def test_a_shadow_denies_nobody(self):
        limiter = make('shadow', 2, shadow=True)
        results = [limiter.check('a') for _ in range(4)]
        self.assertEqual([result.allowed for result in results], [True] * 4)
        self.assertEqual([result.shadow_denied for result in results], [False, False, True, True])
        self.assertEqual(results[3].reason, 'over_limit')
        self.assertGreater(results[3].retry_after_ms, 0)
        self.assertTrue(limiter.is_allowed('a'))
        self.assertRegex(repr(results[3]), '^<stint.Result shadow_denied: over_limit of policy shadow')
        self.assertNotIn('Retry-After', dict(limiter.http_headers(results[3])))

    def test_threads(self):
        limiter = make('threads', 300)
        told = []

        def ask():
            told.extend(limiter.is_allowed('a') for _ in range(100))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(told), sum(told)), (800, 300))


class AgentAway(unittest.TestCase):
    def test_a_lenient_limit_inside_the_process_or_all_or_none(self):
        limiter = make('away', socket_path=NOWHERE, fallback_max_requests=7, timeout_ms=50)
        self.assertEqual(sum(limiter.is_allowed('a') for _ in range(20)), 7)
        self.assertEqual(limiter.check('a').source, 'local')
        for on_error, wanted in (('deny', False), ('allow', True)):
            other = make('away', socket_path=NOWHERE, on_error=on_error, timeout_ms=50)
            self.assertEqual([other.is_allowed('a') for _ in range(9)], [wanted] * 9)
        nobody = make('away', socket_path=NOWHERE, local_max_requests=0, timeout_ms=50)
        self.assertFalse(nobody.is_allowed('a'))

    def test_one_that_comes_goes_and_comes_again(self):
        own = support.Agent()
        limiter = make('again', 1000, socket_path=own.socket, timeout_ms=100)
        new_ids = (f'client-{i}' for i in range(1000000))

        def source():
            return limiter.check(next(new_ids)).source

        until(lambda: source() == 'database', 'the agent decides')
        own.kill()
        until(lambda: source() == 'local', 'the process decides by itself')
        own.start()
        until(lambda: source() == 'database', 'the agent decides again')

    def test_others_run_while_a_check_waits(self):
        own = support.Agent()
        limiter = make('gil', socket_path=own.socket)
        limiter.is_allowed('known')
        told = []
        with own.standing_still():
            thread = threading.Thread(target=lambda: told.append(limiter.is_allowed('new')))
            thread.start()
            time.sleep(0.05)
            self.assertEqual(told, [])  # or this would only run when the check has been given up
        thread.join()
        self.assertEqual(told, [True])


class Closing(unittest.TestCase):
    def test_nothing_is_decided_after_it(self):
        limiter = make('close')
        result = limiter.check('a')
        limiter.close()
        limiter.close()
        self.assertTrue(limiter.closed)
        self.assertEqual(repr(limiter), "<stint.Limiter 'close', closed>")
        for call in (
            lambda: limiter.is_allowed('a'),
            lambda: limiter.check('a'),
            lambda: limiter.try_check('a'),
            lambda: limiter.peek('a'),
            lambda: limiter.charge('a'),
            lambda: limiter.refund('a', result),
            lambda: stint.check_all([(limiter, 'a')]),
        ):
            with self.assertRaisesRegex(stint.StintError, '^this limiter is closed$') as caught:
                call()
            self.assertIsNone(caught.exception.code)
        self.assertEqual(result.policy, 'close')

    def test_while_threads_wait_in_it(self):
        own = support.Agent()
        told = []

        def ask(client_id):
            try:
                told.append(limiter.is_allowed(client_id))
            except stint.StintError:
                told.append('too late')

        limiter = make('close-wait', socket_path=own.socket)
        limiter.is_allowed('known')
        with own.standing_still():
            threads = [threading.Thread(target=ask, args=(f'client-{i}',)) for i in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.1)
            limiter.close()
        for thread in threads:
            thread.join()
        self.assertEqual((len(told), set(told) - {True, 'too late'}), (4, set()))
        with self.assertRaises(stint.StintError):
            limiter.is_allowed('a')


class Beside(unittest.TestCase):
    def test_peek_takes_nothing_and_charge_goes_beyond_the_limit(self):
        limiter = make('beside')
        self.assertIs(limiter.charge('a'), False)
        self.assertEqual(limiter.check('a', 2).remaining, 3)
        for _ in range(3):
            self.assertTrue(limiter.peek('a', 3).allowed)
        self.assertFalse(limiter.peek('a', 4).allowed)
        self.assertIs(limiter.charge('a', cost=5), True)
        until(lambda: not limiter.peek('a'), 'the client is in debt')
        self.assertFalse(limiter.is_allowed('a'))

    def test_refund(self):
        limiter = make('refund', 1000)

        def give_back(cost, back):
            """None when it wasn't possible: the agent had told the database already."""
            admission = limiter.check('a', cost)
            left = limiter.peek('a').remaining
            if not limiter.refund('a', admission, back):
                return None
            self.assertIs(limiter.refund('a', admission, back), False)
            return limiter.peek('a').remaining - left

        self.assertEqual(until(lambda: give_back(3, 1), 'one of three is given back'), 1)
        self.assertEqual(until(lambda: give_back(4, None), 'all is given back'), 4)
        admission = limiter.check('a')
        self.assertIs(limiter.refund('new', limiter.check('new')), False)
        with self.assertRaisesRegex(TypeError, '^admission is None, must be a stint.Result$'):
            limiter.refund('a', None)
        with self.assertRaisesRegex(ValueError, '^cost is 0'):
            limiter.refund('a', admission, 0)
        with self.assertRaises(stint.ClientIdError):
            limiter.refund('', admission)


class Leaks(unittest.TestCase):
    def test_no_call_leaves_anything_behind(self):
        limiter = make('references', 1000000)
        known, result = 'known-' + str(os.getpid()), limiter.check('known')
        parts = [(limiter, known), (make('references-2', 1000000), known)]
        away = make('references-3', socket_path=NOWHERE, timeout_ms=1)
        calls = (
            lambda: limiter.is_allowed(known),
            lambda: limiter.check(known, cost=2),
            lambda: limiter.try_check(known),
            lambda: limiter.peek(known),
            lambda: limiter.charge(known),
            lambda: limiter.refund(known, result),
            lambda: limiter.http_headers(result),
            lambda: stint.check_all(parts),
            lambda: away.check(known),
            lambda: repr(result),
            lambda: (result.source, result.reason, result.policy, result.error, bool(result)),
            lambda: stint.ip_client('192.0.2.1'),
            lambda: make('references-4').close(),
            lambda: stint.Limiter.__new__(stint.Limiter),
            lambda: self.assert_raises(ValueError, limiter.check, ''),
            lambda: self.assert_raises(ValueError, limiter.check, '\ud800'),
            lambda: self.assert_raises(TypeError, limiter.check, 7),
            lambda: self.assert_raises(ValueError, limiter.check, known, 0),
            lambda: self.assert_raises(ValueError, stint.check_all, [(limiter, known), (limiter, '')]),
            lambda: self.assert_raises(TypeError, stint.check_all, [(limiter, known), (limiter, known, '')]),
            lambda: self.assert_raises(ValueError, stint.ip_client, 'nobody'),
            lambda: self.assert_raises(stint.StintError, stint.Limiter.__new__(stint.Limiter).check, 'a'),
        )
        watched = [limiter, known, result, limiter.policy, limiter._attachment, stint.Result]
        if sys.version_info < (3, 12):
            watched.append(None)  # later it is not counted
        for number, call in enumerate(calls):
            with self.subTest(number):
                before = self.count(call, watched, 10)
                after = self.count(call, watched, 100)
                for now, then, what in zip(after, before, ('memory', *watched)):
                    self.assertLess(abs(now - then), 50, what)

    def assert_raises(self, kind, call, *args):
        try:
            call(*args)
        except kind:
            return
        raise AssertionError(f'{call} raises nothing')

    def count(self, call, things, times):
        """After some calls: how many blocks of memory there are, and references to the things."""
        for _ in range(times):
            call()
        gc.collect()
        return [sys.getallocatedblocks(), *map(sys.getrefcount, things)]


if __name__ == '__main__':
    support.main()
