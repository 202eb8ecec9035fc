"""The middleware for ASGI, in this process."""
import asyncio
import importlib.util
import unittest

import stint
import support
from stint.asgi import LimitRequests

agent = support.Agent()
CONNECT = {'type': 'websocket.connect'}


def make(policy, max_requests=3, **options):
    return agent.limiter(policy, max_requests, **options)


async def app(scope, receive, send):
    if scope['type'] == 'websocket':
        assert await receive() == CONNECT
        await send({'type': 'websocket.accept'})
    elif scope['type'] == 'http':
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'x-mine', b'1')]})
        await send({'type': 'http.response.body', 'body': str(scope.get('stint.result')).encode()})
    else:
        await send({'type': 'seen', 'scope': scope})


async def ask(application, address='192.0.2.1', kind='http', **scope):
    """Asks once: what was sent."""
    sent = []

    async def receive():
        return CONNECT

    async def send(message):
        sent.append(message)

    await application({'type': kind, 'client': address and (address, 4711), **scope}, receive, send)
    return sent


def answer_of(sent):
    """(status, header fields, body)"""
    return sent[0]['status'], dict(sent[0]['headers']), sent[1]['body']


class Middleware(unittest.IsolatedAsyncioTestCase):
    async def test_what_it_answers(self):
        limited = LimitRequests(app, make('asgi'), x_ratelimit=True)
        for left in (2, 1, 0):
            status, headers, body = answer_of(await ask(limited))
            self.assertEqual((status, headers[b'x-mine'], body[:22]), (200, b'1', b'<stint.Result allowed:'))
            self.assertEqual(headers[b'ratelimit-policy'], b'"asgi";q=3;w=600')
            self.assertRegex(headers[b'ratelimit'], f'^"asgi";r={left};t='.encode())
            self.assertEqual(headers[b'x-ratelimit-remaining'], str(left).encode())
        status, headers, body = answer_of(await ask(limited))
        self.assertEqual((status, body), (429, b'Too many requests\n'))
        self.assertGreater(int(headers[b'retry-after']), 0)
        self.assertNotIn(b'x-mine', headers)

    async def test_as_many_as_the_limit_when_all_come_at_once(self):
        limited = LimitRequests(app, make('asgi-at-once', 20))
        statuses = [answer_of(sent)[0] for sent in await asyncio.gather(*(ask(limited) for _ in range(100)))]
        self.assertEqual((statuses.count(200), statuses.count(429)), (20, 80))

    async def test_what_is_no_request_is_passed_on_as_it_is(self):
        limited = LimitRequests(app, make('asgi-lifespan'))
        scope = {'type': 'lifespan', 'asgi': {'version': '3.0'}}
        sent = []

        async def send(message):
            sent.append(message)

        await limited(scope, None, send)
        self.assertIs(sent[0]['scope'], scope)
        self.assertEqual(scope, {'type': 'lifespan', 'asgi': {'version': '3.0'}})

    async def test_websockets(self):
        limited = LimitRequests(app, make('asgi-websocket', 1))
        (accepted,) = await ask(limited, kind='websocket')
        self.assertEqual(accepted['type'], 'websocket.accept')
        self.assertEqual(dict(accepted['headers'])[b'ratelimit-policy'], b'"asgi-websocket";q=1;w=600')
        for more in ({}, {'extensions': None}, {'extensions': {}}):
            sent = await ask(limited, kind='websocket', **more)
            self.assertEqual(sent, [{'type': 'websocket.close', 'code': 1008}])
        sent = await ask(limited, kind='websocket', extensions={'websocket.http.response': {}})
        self.assertEqual(
            [message['type'] for message in sent],
            ['websocket.http.response.start', 'websocket.http.response.body'],
        )
        status, headers, _ = answer_of(sent)
        self.assertEqual(status, 429)
        self.assertIn(b'retry-after', headers)

    async def test_addresses(self):
        limited = LimitRequests(app, make('asgi-addresses', 1))
        for address, wanted in (
            ('192.0.2.1', 200),
            ('::ffff:192.0.2.1', 429),
            ('2001:db8::1', 200),
            ('2001:db8::2', 429),
        ):
            self.assertEqual(answer_of(await ask(limited, address))[0], wanted, address)
        for nothing in (None, 'unix:', 'testclient'):
            with self.assertRaisesRegex(RuntimeError, 'no address: pass client_id'):
                await ask(limited, nothing)
        for what_a_proxy_has_passed_on in ('unknown', '192.0.2.256', '_hidden', '192.0.2.1, 192.0.2.2'):
            self.assertEqual(answer_of(await ask(limited, what_a_proxy_has_passed_on))[0], 400)

    async def test_ids_costs_and_denials_of_the_apps_own(self):
        async def find_id(scope):
            return scope.get('key')

        async def denied(scope, receive, send):
            await send({'type': 'http.response.start', 'status': 503})
            await send({'type': 'http.response.body', 'body': scope['stint.result'].reason.encode()})

        limiter = make('asgi-own')
        for client_id in (find_id, lambda scope: scope.get('key')):
            limited = LimitRequests(
                app,
                limiter,
                client_id=client_id,
                cost=lambda scope: scope.get('cost', 1),
                headers=False,
                denied=denied,
            )
            self.assertEqual([answer_of(await ask(limited))[0] for _ in range(5)], [200] * 5)
            key = str(client_id)
            self.assertEqual((await ask(limited, key=key, cost=2))[0]['headers'], [(b'x-mine', b'1')])
            sent = await ask(limited, key=key, cost=2)
            self.assertEqual((sent[0]['status'], sent[1]['body']), (503, b'over_limit'))
            self.assertNotIn('headers', sent[0])
            for no_id in ('', 'x' * 256, 'a\0', '\udcff'):
                self.assertEqual(answer_of(await ask(limited, key=no_id))[0], 400)
        support.check_middleware_options(self, LimitRequests, app, make('asgi-wrong'))

    async def test_of_what_is_no_list_a_response_has_one_field(self):
        async def denied(scope, receive, send):
            await send({'type': 'http.response.start', 'status': 503, 'headers': [(b'Retry-After', b'7')]})
            await send({'type': 'http.response.body', 'body': b'later'})

        inner = LimitRequests(app, make('asgi-inner', 1), x_ratelimit=True, denied=denied)
        limited = LimitRequests(inner, make('asgi-outer', 9), x_ratelimit=True)
        for status, own in ((200, b'x-mine'), (503, b'retry-after')):
            start = (await ask(limited))[0]
            self.assertEqual(start['status'], status)
            lists = [b'ratelimit', b'ratelimit-policy'] * 2
            numbers = [b'x-ratelimit-' + of for of in (b'limit', b'remaining', b'reset')]
            self.assertEqual(sorted(name.lower() for name, _ in start['headers']), sorted([own, *lists, *numbers]))
            fields = {name.lower(): value for name, value in start['headers']}
            self.assertEqual((fields[b'x-ratelimit-limit'], fields.get(b'retry-after', b'7')), (b'1', b'7'))

    async def test_a_request_whose_check_waits_when_its_limiter_is_closed(self):
        for on_error, wanted in (('local', 429), ('deny', 429), ('allow', 200)):
            limiter = make('asgi-closed', on_error=on_error)
            limited = LimitRequests(app, limiter)
            self.assertEqual(answer_of(await ask(limited, '192.0.2.1'))[0], 200)
            with agent.standing_still():
                task = asyncio.create_task(ask(limited, f'198.51.100.{len(on_error)}'))
                await asyncio.sleep(0.02)
                limiter.close()
                status, headers, _ = answer_of(await task)
            self.assertEqual((status, headers[b'ratelimit-policy']), (wanted, b'"asgi-closed";q=3;w=600'))
            self.assertEqual(b'retry-after' in headers, wanted == 429)
            with self.assertRaisesRegex(stint.StintError, 'this limiter is closed'):
                await ask(limited)

    async def test_without_an_agent(self):
        limited = LimitRequests(app, make('asgi-away', 1, socket_path='/nowhere/at/all', timeout_ms=50))
        self.assertEqual([answer_of(await ask(limited))[0] for _ in range(4)], [200, 200, 429, 429])


@unittest.skipUnless(importlib.util.find_spec('django'), 'there is no Django')
class Django(unittest.IsolatedAsyncioTestCase):
    async def test_under_django(self):
        from django.conf import settings
        from django.core.asgi import get_asgi_application
        from django.http import HttpResponse
        from django.urls import path

        def view(request):
            return HttpResponse(f'{request.scope["stint.result"].remaining} left')

        settings.configure(ROOT_URLCONF=type('Urls', (), {'urlpatterns': [path('', view)]}), ALLOWED_HOSTS=['*'])
        limited = LimitRequests(get_asgi_application(), make('asgi-django', 2))
        told = []
        for _ in range(3):
            request, sent = asyncio.Queue(), []
            request.put_nowait({'type': 'http.request'})

            async def send(message, sent=sent):
                sent.append(message)

            scope = {'type': 'http', 'method': 'GET', 'path': '/', 'query_string': b'', 'headers': []}
            await limited({**scope, 'client': ('192.0.2.1', 4711)}, request.get, send)
            status, headers, body = answer_of(sent)
            told.append((status, headers[b'ratelimit-policy'], body))
        policy = b'"asgi-django";q=2;w=600'
        wanted = [(200, policy, b'1 left'), (200, policy, b'0 left'), (429, policy, b'Too many requests\n')]
        self.assertEqual(told, wanted)


if __name__ == '__main__':
    support.main()
