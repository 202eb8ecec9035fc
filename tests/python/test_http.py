"""Addresses as ids, and results in header fields."""
import unittest

import stint
import support

agent = support.Agent()
make = agent.limiter


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

    def test_a_limit_that_nobody_knows_is_not_told(self):
        absent = make('absent', None, time_window_ms=None, must_exist=True, on_error='deny')
        result = stint.check_all([(absent, 'a')])
        self.assertEqual((result.allowed, result.limit), (False, 0))
        self.assertEqual(absent.http_headers(result, x_ratelimit=True), [('Retry-After', '1')])

    def test_a_result_is_told_after_its_limiter_was_closed(self):
        limiter = make('fields-closed', 1)
        results = [limiter.check('a') for _ in range(2)]
        told = [limiter.http_headers(result) for result in results]
        limiter.close()
        self.assertEqual([limiter.http_headers(result) for result in results], told)
        with self.assertRaisesRegex(stint.StintError, 'closed'):
            stint.Limiter.__new__(stint.Limiter).http_headers(results[0])


if __name__ == '__main__':
    support.main()
