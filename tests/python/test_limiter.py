"""The class: what it decides, and what it refuses."""
import gc
import itertools
import json
import os
import pathlib
import sys
import threading
import time
import unittest

import stint
import support
from support import WINDOW_MS, until

agent = support.Agent()
NOWHERE = '/nowhere/at/all'


def make(policy, max_requests=5, **options):
    return stint.Limiter(
        **{
            'policy': policy,
            'max_requests': max_requests,
            'time_window_ms': WINDOW_MS,
            'timeout_ms': 30000,
            'socket_path': agent.socket,
            **options,
        }
    )


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
        self.assertRegex(denied.error, 'no such policy')
        make('present', 2).is_allowed('b')
        present = make('present', None, time_window_ms=None, must_exist=True)
        self.assertEqual([present.is_allowed('a') for _ in range(3)], [True, True, False])
        with self.assertRaisesRegex(TypeError, '^policy is None, must be'):
            stint.Limiter(must_exist=True)

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


class NoRepr:
    def __repr__(self):
        raise ZeroDivisionError


class Ids(unittest.TestCase):
    def test_each_is_its_own_client(self):
        limiter = make('ids', 1)
        for client_id in (
            'a',
            'a ',
            'A',
            '\ufffd',
            '\ufffd\ufffd',
            'é',
            'e\u0301',
            '😀',
            'x' * 255,
            'é' * 127,
            '😀' * 63,
        ):
            with self.subTest(client_id):
                self.assertEqual([limiter.is_allowed(client_id) for _ in range(2)], [True, False])

    def test_what_is_none_is_refused(self):
        limiter = make('no-ids')
        wrong = [
            (None, TypeError, 'client_id is None,'),
            (17, TypeError, 'client_id is 17,'),
            (b'a', TypeError, "client_id is b'a'"),
            (10**5000, TypeError, 'client_id is an int of 16610 bits,'),
            (NoRepr(), TypeError, 'client_id is an object of type NoRepr,'),
            ('', ValueError, 'client_id has 0 bytes,'),
            ('x' * 256, ValueError, 'client_id has 256 bytes,'),
            ('é' * 128, ValueError, 'client_id has 256 bytes,'),
            ('😀' * 100000, ValueError, 'client_id has 400000 bytes,'),
            ('a\0b', ValueError, 'has a NUL'),
            ('\0', ValueError, 'has a NUL'),
            ('\ud800', ValueError, 'has a lone surrogate'),
            ('a\udc00b', ValueError, 'has a lone surrogate'),
        ]
        calls = (
            limiter.is_allowed,
            limiter.check,
            limiter.try_check,
            limiter.peek,
            limiter.charge,
            lambda client_id: stint.check_all([(limiter, client_id)]),
        )
        for client_id, kind, message in wrong:
            for call in calls:
                with self.subTest(call=call, message=message), self.assertRaisesRegex(
                    kind, message
                ) as caught:
                    call(client_id)
                self.assertRegex(str(caught.exception), 'must be a str of 1 to 255 bytes in UTF-8')
                self.assertEqual(kind is ValueError, isinstance(caught.exception, stint.ClientIdError))

    def test_calls_that_are_none(self):
        limiter = make('calls')
        for call in (
            lambda: limiter.is_allowed(),
            lambda: limiter.is_allowed('a', 1),
            lambda: limiter.is_allowed('a', cost=1),
            lambda: limiter.check(),
            lambda: limiter.check('a', 1, 2),
            lambda: limiter.check('a', costs=1),
            lambda: limiter.check('a', client_id='b'),
            lambda: limiter.check(cost=1),
        ):
            with self.assertRaises(TypeError):
                call()
        self.assertEqual(limiter.check('a').remaining, 4)

    def test_costs(self):
        limiter = make('costs')
        for cost, kind in (
            (0, ValueError),
            (-1, ValueError),
            (1000000001, ValueError),
            (10**30, ValueError),
            (1.5, TypeError),
            ('1', TypeError),
            (None, TypeError),
            (True, TypeError),
            (10**5000, ValueError),
            (NoRepr(), TypeError),
        ):
            for call in (limiter.check, limiter.try_check, limiter.peek, limiter.charge):
                with self.assertRaisesRegex(kind, r'^cost is .*, must be an int of 1 to 1000000000$') as caught:
                    call('a', cost)
                self.assertLess(len(str(caught.exception)), 150)
        with self.assertRaisesRegex(ValueError, '^cost is an int of 16610 bits, must be'):
            limiter.check('a', 10**5000)
        with self.assertRaisesRegex(TypeError, '^cost is an object of type NoRepr, must be'):
            limiter.check('a', NoRepr())
        self.assertEqual(limiter.check('a').remaining, 4)


class Options(unittest.TestCase):
    def test_each_error_names_the_option_the_value_and_its_range(self):
        integer, path = 'must be an int of ', 'must be a path of 1 to 107 bytes, without a NUL'
        wrong = [
            ({'max_requests': None}, TypeError, f'max_requests is None, {integer}1 to 1000000000'),
            ({'max_requests': '5'}, TypeError, f"max_requests is '5', {integer}1 to 1000000000"),
            ({'max_requests': True}, TypeError, f'max_requests is True, {integer}1 to 1000000000'),
            ({'max_requests': 0}, ValueError, f'max_requests is 0, {integer}1 to 1000000000'),
            ({'max_requests': 1.5}, TypeError, f'max_requests is 1.5, {integer}1 to 1000000000'),
            ({'max_requests': 10**30}, ValueError, f'max_requests is {10 ** 30}, {integer}1 to 1000000000'),
            ({'time_window_ms': 99}, ValueError, f'time_window_ms is 99, {integer}100 to 2678400000'),
            ({'time_window_ms': None}, TypeError, f'time_window_ms is None, {integer}100 to 2678400000'),
            ({'fallback_max_requests': -1}, ValueError, f'fallback_max_requests is -1, {integer}1 to 2000000000'),
            ({'fallback_max_requests': 0}, ValueError, f'fallback_max_requests is 0, {integer}1 to 2000000000'),
            (
                {'fallback_time_window_ms': 1},
                ValueError,
                f'fallback_time_window_ms is 1, {integer}100 to 2678400000',
            ),
            ({'local_max_requests': -1}, ValueError, f'local_max_requests is -1, {integer}0 to 2000000000'),
            ({'resolution': 61}, ValueError, f'resolution is 61, {integer}1 to 60'),
            (
                {'time_window_ms': 100, 'resolution': 60},
                ValueError,
                'time_window_ms / resolution is 2, must be 10 to 2678400000',
            ),
            ({'timeout_ms': 60001}, ValueError, f'timeout_ms is 60001, {integer}1 to 60000'),
            ({'mode': 'lax'}, ValueError, "mode is 'lax', must be one of 'strict', 'relaxed'"),
            ({'algorithm': 1}, TypeError, "algorithm is 1, must be one of 'sliding_window', 'fixed_window'"),
            ({'on_error': 'panic'}, ValueError, "on_error is 'panic', must be one of 'local', 'deny', 'allow'"),
            ({'shadow': 'no'}, TypeError, "shadow is 'no', must be True or False"),
            ({'shadow': None}, TypeError, 'shadow is None, must be True or False'),
            ({'must_exist': 1}, TypeError, 'must_exist is 1, must be True or False'),
            ({'policy': ''}, ValueError, "policy is '', must be 1 to 63 characters of A-Z, a-z, 0-9 and _.:/-"),
            (
                {'policy': 'a\0b'},
                ValueError,
                "policy is 'a\\x00b', must be 1 to 63 characters of A-Z, a-z, 0-9 and _.:/-",
            ),
            (
                {'policy': 'a\n'},
                ValueError,
                "policy is 'a\\n', must be 1 to 63 characters of A-Z, a-z, 0-9 and _.:/-",
            ),
            ({'policy': 7}, TypeError, 'policy is 7, must be 1 to 63 characters of A-Z, a-z, 0-9 and _.:/-'),
            (
                {'max_requests': 10**5000},
                ValueError,
                f'max_requests is an int of 16610 bits, {integer}1 to 1000000000',
            ),
            ({'mode': 10**5000}, TypeError, "mode is an int of 16610 bits, must be one of 'strict', 'relaxed'"),
            (
                {'socket_path': '/' + 'x' * 200},
                ValueError,
                f"socket_path is '/{'x' * 75}..., of 201 bytes, {path}",
            ),
            ({'socket_path': ''}, ValueError, f"socket_path is '', of 0 bytes, {path}"),
            ({'socket_path': 'a\0b'}, ValueError, f"socket_path is 'a\\x00b', of 3 bytes, {path}"),
            ({'socket_path': 'a\ud800b'}, ValueError, f"socket_path is 'a\\ud800b', {path}"),
            ({'socket_path': 7}, TypeError, f'socket_path is 7, {path}'),
        ]
        for options, kind, message in wrong:
            with self.subTest(options), self.assertRaises(kind) as caught:
                make(**{'policy': 'options', **options})
            self.assertEqual(str(caught.exception), message)
        with self.assertRaisesRegex(TypeError, 'max_request'):
            make('options', max_request=5)
        with self.assertRaises(TypeError):
            stint.Limiter('options', 5, 1000)

    def test_the_socket_from_the_environment(self):
        os.environ['STINT_SOCKET'] = agent.socket
        try:
            limiter = make('environment', socket_path=None)
            os.environ['STINT_SOCKET'] = ''
            with self.assertRaisesRegex(ValueError, "^STINT_SOCKET is '', of 0 bytes, must be a path of 1 to 107"):
                make('environment', socket_path=None)
        finally:
            del os.environ['STINT_SOCKET']
        self.assertEqual(limiter.check('a').source, 'database')

    def test_a_path_is_whatever_the_system_has(self):
        path = os.fsencode(support.folder / 'b') + b'\xff.sock'
        os.symlink(agent.socket, path)
        for spelled in (path, os.fsdecode(path), pathlib.Path(os.fsdecode(path))):
            self.assertNotEqual(make('path', socket_path=spelled).peek('a').source, 'local', spelled)

    def test_a_limiter_gets_its_options_once(self):
        limiter = make('once')
        with self.assertRaisesRegex(TypeError, 'has its options already'):
            limiter.__init__(policy='other', max_requests=1, time_window_ms=1000)
        self.assertEqual(limiter.policy, 'once')
        unborn = stint.Limiter.__new__(stint.Limiter)
        self.assertTrue(unborn.closed)
        for call in (unborn.is_allowed, unborn.check, unborn.peek, unborn.charge):
            with self.assertRaisesRegex(stint.StintError, 'closed'):
                call('a')
        unborn.close()
        with self.assertRaises(ZeroDivisionError), unborn:
            1 // 0

    def test_classes_above(self):
        class Own(stint.Limiter):
            def __init__(self, policy):
                super().__init__(policy=policy, max_requests=1, time_window_ms=WINDOW_MS, socket_path=agent.socket)
                self.denied = 0

            def is_allowed(self, client_id):
                allowed = super().is_allowed(client_id)
                self.denied += not allowed
                return allowed

        own = Own('subclass')
        self.assertEqual([own.is_allowed('a') for _ in range(3)], [True, False, False])
        self.assertEqual(own.denied, 2)


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
            with self.assertRaisesRegex(stint.StintError, '^this limiter is closed$'):
                call()
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

    def test_check_all_is_all_or_nothing(self):
        user, address = make('user', 3), make('address', 5)

        def check(client_id, cost=1):
            return stint.check_all([(user, client_id, cost), (address, '192.0.2.1')])

        first = check('a', 2)
        self.assertEqual(
            (first.allowed, first.part, first.policy, first.remaining, first.cost), (True, 0, 'user', 1, 2)
        )
        denied = check('a', 2)
        self.assertEqual((denied.allowed, denied.part, denied.policy), (False, 0, 'user'))
        self.assertEqual(address.peek('192.0.2.1').remaining, 4)
        self.assertTrue(all(check(client_id) for client_id in 'bcde'))
        other = check('b')
        self.assertEqual((other.allowed, other.part, other.policy), (False, 1, 'address'))
        self.assertEqual(user.peek('b').remaining, 2)

    def test_check_all_refuses(self):
        user, elsewhere = make('user-2'), make('user-3', socket_path=NOWHERE)
        shape = r'must be a tuple \(limiter, client_id\) or \(limiter, client_id, cost\)'
        wrong = [
            ([], ValueError, 'there are 0 parts, must be 1 to 16'),
            ([(user, f'a{i}') for i in range(17)], ValueError, 'there are 17 parts'),
            ([(user, 'a'), (user, 'a')], ValueError, 'parts'),
            ([(user, 'a'), (elsewhere, 'a')], ValueError, ''),
            (itertools.repeat((user, 'a')), ValueError, '^there are 17 parts or more, must be 1 to 16$'),
            ([({}, 'a')], TypeError, '^the limiter of part 0 is {}, must be a stint.Limiter$'),
            ([(user, 'a'), (None, 'a')], TypeError, '^the limiter of part 1 is None, must be a stint.Limiter$'),
            ([()], TypeError, rf'^part 0 is \(\), {shape}$'),
            ([(user, 'b'), (user,)], TypeError, rf"^part 1 is \(<stint.Limiter 'user-2'>,\), {shape}$"),
            ([(user, 'a', 1, 1)], TypeError, rf"^part 0 is \(<.*, 'a', 1, 1\), {shape}$"),
            ([(user, 'a', 0)], ValueError, 'cost is 0'),
            (['a'], TypeError, f"^part 0 is 'a', {shape}$"),
            ('ab', TypeError, f"^part 0 is 'a', {shape}$"),
            ([[user, 'a']], TypeError, rf"^part 0 is \[<.*\], {shape}$"),
            (7, TypeError, '^parts is 7, must be 1 to 16 parts, each a tuple'),
            (None, TypeError, '^parts is None, must be 1 to 16 parts, each a tuple'),
        ]
        for parts, kind, message in wrong:
            for call in (stint.check_all, stint._stint._ask_all):
                with self.subTest(message), self.assertRaisesRegex(kind, message):
                    call(parts)
        with self.assertRaises(ZeroDivisionError):
            stint.check_all((user, 1 // zero) for zero in (1, 0))
        self.assertEqual(user.peek('a').remaining, 5)
        self.assertTrue(stint.check_all((user, name) for name in 'ab'))

    def test_whoever_is_denied_is_told_when_to_come_again(self):
        limiters = [make('present-2', None, time_window_ms=None, must_exist=True), make('present-3')]
        for limiter, wanted in zip(limiters, (1000, WINDOW_MS)):
            waiting = limiter._ask('a')
            limiter.close()
            denied = waiting.result()
            self.assertEqual(
                (denied.allowed, denied.reason, denied.retry_after_ms), (False, 'unavailable', wanted)
            )

    def test_check_all_without_an_agent(self):
        for on_error, wanted, part in (
            (('allow', 'allow'), True, 1),
            (('allow', 'deny'), False, 1),
            (('deny', 'allow'), False, 0),
        ):
            limiters = [
                make(f'all-{i}', socket_path=NOWHERE, on_error=word, timeout_ms=50)
                for i, word in enumerate(on_error)
            ]
            result = stint.check_all([(limiter, 'a') for limiter in limiters])
            self.assertEqual((result.allowed, result.source), (wanted, 'local'), on_error)


    def test_whose_numbers_tell_when_several_are_decided_alone(self):
        for words, wanted in (
            (('allow', 'allow'), (True, False, 0)),
            (('allow', 'deny', 'allow'), (False, False, 1)),
            (('allow', 'allow', 'local', 'deny'), (False, False, 2)),
            (('allow', 'shadow', 'allow'), (True, True, 1)),
            (('shadow', 'deny', 'allow'), (False, False, 1)),
        ):
            limiters = [
                make(f'part-{i}', on_error='deny' if word == 'shadow' else word, shadow=word == 'shadow')
                for i, word in enumerate(words)
            ]
            waiting = stint._stint._ask_all([(limiter, str(words), 2 + i) for i, limiter in enumerate(limiters)])
            limiters[-1].close()
            told = waiting.result()
            self.assertEqual((told.allowed, told.shadow_denied, told.part), wanted, words)
            self.assertEqual((told.policy, told.cost, told.source), (f'part-{told.part}', 2 + told.part, 'local'))

    def test_a_shadow_denies_nobody_when_it_is_decided_alone(self):
        limiter = make('shadow-alone', shadow=True)
        waiting = limiter._ask('a')
        limiter.close()
        told = waiting.result()
        self.assertEqual((told.allowed, told.shadow_denied, told.reason), (True, True, 'unavailable'))
        self.assertGreater(told.retry_after_ms, 0)


class Http(unittest.TestCase):
    def test_addresses_as_ids(self):
        for address, wanted in (
            ('192.0.2.1', '192.0.2.1'),
            ('192.0.2.1:443', '192.0.2.1'),
            ('::ffff:192.0.2.1', '192.0.2.1'),
            ('2001:db8::1234:5', '2001:db8::/64'),
        ):
            self.assertEqual(stint.ip_client(address), wanted)
        self.assertEqual(stint.ip_client('2001:db8::1', ipv6_prefix=48), '2001:db8::/48')
        self.assertEqual(stint.ip_client('192.0.2.1', ipv4_prefix=24), '192.0.2.0/24')
        for address in ('', 'nonsense', '1.2.3.4.5', 'x' * 1000, '\ud800', '1.2.3.4\0'):
            with self.assertRaisesRegex(ValueError, '^address is .*, must be an IPv4 or IPv6 address'):
                stint.ip_client(address)
        for address in (None, 7, b'192.0.2.1', 10**5000):
            with self.assertRaisesRegex(TypeError, '^address is .*, must be an IPv4 or IPv6 address, as a str$'):
                stint.ip_client(address)
        for name, most in (('ipv4_prefix', 32), ('ipv6_prefix', 128)):
            for prefix, kind in (
                (0, ValueError),
                (most + 1, ValueError),
                (-1, ValueError),
                (10**30, ValueError),
                (None, TypeError),
                ('24', TypeError),
                (24.0, TypeError),
                (True, TypeError),
            ):
                with self.subTest(f'{name} {prefix}'), self.assertRaises(kind) as caught:
                    stint.ip_client('192.0.2.1', **{name: prefix})
                self.assertEqual(str(caught.exception), f'{name} is {prefix!r}, must be an int of 1 to {most}')
        self.assertEqual(stint.ip_client('192.0.2.1', ipv4_prefix=32, ipv6_prefix=64), '192.0.2.1')

    def test_header_fields(self):
        limiter = make('fields', 2)
        result = limiter.check('a')
        fields = dict(limiter.http_headers(result, x_ratelimit=True))
        self.assertEqual(fields['RateLimit-Policy'], '"fields";q=2;w=600')
        self.assertRegex(fields['RateLimit'], r'^"fields";r=1;t=[0-9]+$')
        self.assertEqual(fields['X-RateLimit-Remaining'], '1')
        self.assertEqual(limiter.http_headers(result, version='none'), [])
        limiter.is_allowed('a')
        denied = limiter.check('a')
        self.assertEqual(int(dict(limiter.http_headers(denied))['Retry-After']), -(-denied.retry_after_ms // 1000))
        with self.assertRaisesRegex(ValueError, "^version is 'draft-1', must be one of 'draft-11', 'none'$"):
            limiter.http_headers(result, version='draft-1')
        with self.assertRaisesRegex(TypeError, '^x_ratelimit is None, must be True or False$'):
            limiter.http_headers(result, x_ratelimit=None)
        for wrong in (None, True, 'a', limiter):
            with self.assertRaisesRegex(TypeError, '^result is .*, must be a stint.Result$'):
                limiter.http_headers(wrong)

    def test_a_result_is_told_after_its_limiter_was_closed(self):
        limiter = make('fields-closed', 1)
        results = [limiter.check('a') for _ in range(2)]
        told = [limiter.http_headers(result) for result in results]
        limiter.close()
        self.assertEqual([limiter.http_headers(result) for result in results], told)
        with self.assertRaisesRegex(stint.StintError, 'closed'):
            stint.Limiter.__new__(stint.Limiter).http_headers(results[0])


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
