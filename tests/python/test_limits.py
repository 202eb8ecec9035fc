"""The storage of the package limits: its strategies, in threads and in event loops, and flask-limiter on it."""
import asyncio
import inspect
import os
import time
import unittest
import urllib.parse

import support

try:
    import limits
    import limits.aio.strategies
    import limits.storage
    import limits.strategies

    import stint.limits
except ImportError:
    limits = None
try:
    import flask
    import flask_limiter
    from flask_limiter import commands
except ImportError:
    flask_limiter = None

agent = support.Agent()
ONCE_MORE = {'timeout_ms': 30000}


def storage(**options):
    return limits.storage.storage_from_string(f'stint://{agent.socket}', **{**ONCE_MORE, **options})


@unittest.skipUnless(limits, 'there is no limits')
class Storage(unittest.TestCase):
    def test_the_moving_window(self):
        kept = storage()  # a strategy doesn't
        limiter = limits.strategies.MovingWindowRateLimiter(kept)
        item = limits.parse('5/10 minutes')
        self.assertEqual(limiter.get_window_stats(item, 'a')[1], 5)
        self.assertTrue(limiter.test(item, 'a'))
        self.assertEqual([limiter.hit(item, 'a') for _ in range(7)], [True] * 5 + [False] * 2)
        self.assertFalse(limiter.test(item, 'a'))
        self.assertTrue(limiter.hit(item, 'b', cost=5))
        self.assertFalse(limiter.hit(item, 'b', cost=1))
        self.assertFalse(limiter.hit(item, 'c', cost=6))
        self.assertTrue(limiter.hit(item, 'c', cost=5))

    def test_when_the_window_ends(self):
        kept = storage()
        limiter = limits.strategies.MovingWindowRateLimiter(kept)
        item = limits.parse('3/minute')
        limiter.hit(item, 'a', cost=3)
        result = kept.limiters.find(3, 60).peek('LIMITER/a/3/1/minute')
        reset, left = limiter.get_window_stats(item, 'a')
        self.assertEqual(left, 0)
        self.assertGreater(reset - time.time() + 1, result.retry_after_ms / 1000 - 1)
        self.assertLess(reset - time.time() - 1, result.retry_after_ms / 1000)

    def test_two_storages_count_together(self):
        storages = [storage(policy='two') for _ in range(2)]
        ones = [limits.strategies.MovingWindowRateLimiter(kept) for kept in storages]
        item = limits.parse('4/hour')
        self.assertEqual([ones[i % 2].hit(item, 'a') for i in range(6)], [True] * 4 + [False] * 2)

    def test_keys_that_are_no_ids(self):
        kept = storage(policy='keys')
        for key in ('', 'x' * 256, 'x' * 257, 'a\0', '\ud800', 'é' * 200, '?'):
            self.assertEqual([kept.acquire_entry(key, 1, 600) for _ in range(2)], [True, False], repr(key))
        self.assertTrue(kept.acquire_entry('a', 1, 600, amount=0))

    def test_a_limit_of_0_admits_nobody(self):
        kept = storage(policy='nobody')
        limiter, item = limits.strategies.MovingWindowRateLimiter(kept), limits.parse('0/minute')
        self.assertEqual((limiter.hit(item, 'a'), limiter.test(item, 'a')), (False, False))
        reset, left = limiter.get_window_stats(item, 'a')
        self.assertEqual(left, 0)
        self.assertGreater(reset, time.time())
        self.assertTrue(kept.acquire_entry('a', 0, 60, amount=0))

    def test_options_of_limits_itself(self):
        for scheme in ('stint', 'async+stint'):
            uri = f'{scheme}://{agent.socket}'
            self.assertEqual(limits.storage.storage_from_string(uri, wrap_exceptions=True).storage, uri)

    def test_a_path_is_whatever_the_system_has(self):
        path = os.fsencode(support.folder / 'b') + b'\xff.sock'
        os.symlink(agent.socket, path)
        kept = limits.storage.storage_from_string(f'stint://{urllib.parse.quote(path)}', policy='path')
        self.assertNotEqual(kept.limiters.find(3, 60).peek('a').source, 'local')

    def test_event_loops(self):
        async def ask():
            kept = limits.storage.storage_from_string(f'async+stint://{agent.socket}', policy='async', **ONCE_MORE)
            limiter = limits.aio.strategies.MovingWindowRateLimiter(kept)
            item = limits.parse('20/hour')
            told = await asyncio.gather(*(limiter.hit(item, 'a') for _ in range(50)))
            self.assertEqual(sum(told), 20)
            self.assertFalse(await limiter.test(item, 'a'))
            self.assertEqual((await limiter.get_window_stats(item, 'a'))[1], 0)
            self.assertTrue(await kept.check())
            nobody = limits.parse('0/minute')
            self.assertEqual((await limiter.hit(nobody, 'a'), await limiter.test(nobody, 'a')), (False, False))
            self.assertEqual((await limiter.get_window_stats(nobody, 'a'))[1], 0)
            for call in (kept.incr('a', 1), kept.get('a'), kept.get_expiry('a'), kept.reset(), kept.clear('a')):
                with self.assertRaises(NotImplementedError):
                    await call

        asyncio.run(ask())

    def test_all_that_limits_asks_of_a_storage_is_there(self):
        module = limits.storage, limits.aio.storage
        for ours, base in (
            (stint.limits.StintStorage, module[0].Storage),
            (stint.limits.StintStorage, module[0].MovingWindowSupport),
            (stint.limits.AsyncStintStorage, module[1].Storage),
            (stint.limits.AsyncStintStorage, module[1].MovingWindowSupport),
        ):
            self.assertEqual(ours.__abstractmethods__, frozenset())
            names = [name for name, member in vars(base).items() if inspect.isfunction(member) and name[0] != '_']
            self.assertGreater(len(names), 1)
            for name in names:
                mine, theirs = getattr(ours, name), getattr(base, name)
                self.assertIsNot(mine, theirs, name)
                self.assertEqual(inspect.iscoroutinefunction(mine), inspect.iscoroutinefunction(theirs), name)
                told, wanted = (
                    [(one.name, one.default) for one in inspect.signature(function).parameters.values()]
                    for function in (mine, theirs)
                )
                self.assertEqual(told, wanted, name)

    def test_what_it_refuses(self):
        kept = storage()
        limiter = limits.strategies.FixedWindowRateLimiter(kept)
        with self.assertRaisesRegex(NotImplementedError, "strategy='moving-window'"):
            limiter.hit(limits.parse('1/second'), 'a')
        with self.assertRaisesRegex(NotImplementedError, 'stint client reset'):
            limiter.clear(limits.parse('1/second'), 'a')
        with self.assertRaises(NotImplementedError):
            kept.reset()
        for uri in ('stint://host', 'stint:///path?timeout_ms=1', 'stint:///path#a'):
            with self.assertRaisesRegex(ValueError, 'must be stint:// or stint:///PATH'):
                limits.storage.storage_from_string(uri)
        with self.assertRaisesRegex(ValueError, 'on_error is'):
            storage(on_error='panic')
        with self.assertRaises(TypeError):
            storage(max_connections=7)
        with self.assertRaisesRegex(ValueError, 'time_window_ms is'):
            kept.acquire_entry('a', 1, 366 * 86400)

    def test_without_an_agent(self):
        kept = limits.storage.storage_from_string('stint:///nowhere/at/all', timeout_ms=50, on_error='deny')
        self.assertFalse(kept.acquire_entry('a', 5, 600))
        self.assertTrue(kept.check())


@unittest.skipUnless(flask_limiter, 'there is no flask-limiter')
class FlaskLimiter(unittest.TestCase):
    def test_two_apps_count_together(self):
        def make_app():
            app = flask.Flask('limited')
            limiter = flask_limiter.Limiter(
                lambda: flask.request.headers.get('x-key', 'nobody'),
                app=app,
                storage_uri=f'stint://{agent.socket}',
                storage_options={**ONCE_MORE, 'policy': 'flask-limiter'},
                strategy='moving-window',
                headers_enabled=True,
                default_limits=['4/hour'],
            )

            @app.get('/')
            def index():
                return 'served'

            @app.get('/once')
            @limiter.limit('1/hour;10/day')
            def once():
                return 'served'

            return app.test_client()

        clients = [make_app(), make_app()]
        answers = [clients[i % 2].get('/', headers={'x-key': 'a'}) for i in range(6)]
        self.assertEqual([answer.status_code for answer in answers], [200] * 4 + [429] * 2)
        self.assertEqual(
            [answer.headers['X-RateLimit-Remaining'] for answer in answers], ['3', '2', '1', '0', '0', '0']
        )
        self.assertGreater(int(answers[-1].headers['Retry-After']), 0)
        self.assertEqual(clients[0].get('/', headers={'x-key': 'b'}).status_code, 200)
        self.assertEqual([client.get('/once').status_code for client in clients], [200, 429])

    def test_the_commands_of_flask(self):
        app = flask.Flask('commands')
        uri = f'stint://{agent.socket}'
        options = {'app': app, 'storage_uri': uri, 'strategy': 'moving-window', 'default_limits': ['4/hour']}
        flask_limiter.Limiter(lambda: 'a', **options)
        app.cli.add_command(commands.cli, 'limiter')
        runner = app.test_cli_runner()
        for command in (['config'], ['limits', '--key', 'a']):
            told = runner.invoke(args=['limiter', *command])
            self.assertEqual((told.exception, told.exit_code), (None, 0), told.output)


if __name__ == '__main__':
    support.main()
