"""Checks of several limiters, all or nothing; and what on_error decides of them."""
import itertools
import unittest

import stint
import support
from support import WINDOW_MS

agent = support.Agent()
make = agent.limiter
NOWHERE = '/nowhere/at/all'


class CheckAll(unittest.TestCase):
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


if __name__ == '__main__':
    support.main()
