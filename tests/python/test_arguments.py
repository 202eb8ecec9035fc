"""What the class is given, and what it refuses: ids, costs and options."""
import os
import pathlib
import unittest

import stint
import support
from support import WINDOW_MS

agent = support.Agent()
make = agent.limiter


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


if __name__ == '__main__':
    support.main()
