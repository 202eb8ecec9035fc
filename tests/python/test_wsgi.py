"""The middleware for WSGI, in this process; by itself, under Flask and under Django."""
import concurrent.futures
import importlib.util
import signal
import sys
import unittest
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import stint
import support
from stint.wsgi import LimitRequests
from support import until

agent = support.Agent()


def make(policy, max_requests=3, **options):
    return agent.limiter(policy, max_requests, **options)


def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'served ' + str(environ.get('stint.result')).encode()]


def ask(application, address='192.0.2.1', **environ):
    """Asks once: (status, header fields, body)."""
    told = []
    environ = {'REMOTE_ADDR': address, 'QUERY_STRING': '', **environ}
    setup_testing_defaults(environ)
    answer = validator(application)(
        environ, lambda status, headers, error=None: told.extend((status, dict(headers)))
    )
    body = b''.join(answer)
    answer.close()
    return int(told[0].split()[0]), told[1], body


class Middleware(unittest.TestCase):
    def test_what_it_answers(self):
        limited = LimitRequests(app, make('wsgi'), x_ratelimit=True)
        for left in (2, 1, 0):
            status, headers, body = ask(limited)
            self.assertEqual((status, body[:29]), (200, b'served <stint.Result allowed:'))
            self.assertEqual(headers['RateLimit-Policy'], '"wsgi";q=3;w=600')
            self.assertRegex(headers['RateLimit'], f'^"wsgi";r={left};t=')
            self.assertEqual(headers['X-RateLimit-Remaining'], str(left))
        status, headers, body = ask(limited)
        self.assertEqual((status, body), (429, b'Too many requests\n'))
        self.assertGreater(int(headers['Retry-After']), 0)
        self.assertEqual(headers['Content-Type'], 'text/plain')

    def test_addresses(self):
        limited = LimitRequests(app, make('wsgi-addresses', 1))
        for address, wanted in (
            ('192.0.2.1', 200),
            ('::ffff:192.0.2.1', 429),
            ('2001:db8::1', 200),
            ('2001:db8::2', 429),
            ('2001:db8:0:1::1', 200),
        ):
            self.assertEqual(ask(limited, address)[0], wanted, address)
        for nothing in ('', 'unix:'):
            with self.assertRaisesRegex(RuntimeError, f"REMOTE_ADDR is '{nothing}', no address: pass client_id"):
                ask(limited, nothing)
        for what_a_proxy_has_passed_on in ('unknown', '192.0.2.256', '_hidden', '192.0.2.1, 192.0.2.2'):
            self.assertEqual(ask(limited, what_a_proxy_has_passed_on)[0], 400)

    def test_ids_costs_and_denials_of_the_apps_own(self):
        def denied(environ, start_response):
            start_response('503 Service Unavailable', [('Content-Type', 'text/plain')])
            return [environ['stint.result'].reason.encode()]

        limited = LimitRequests(
            app,
            make('wsgi-own'),
            client_id=lambda environ: environ.get('HTTP_X_KEY'),
            cost=lambda environ: int(environ.get('HTTP_X_COST', '1')),
            headers=False,
            denied=denied,
        )
        self.assertEqual([ask(limited)[0] for _ in range(5)], [200] * 5)
        status, headers, _ = ask(limited, HTTP_X_KEY='a', HTTP_X_COST='2')
        self.assertEqual((status, list(headers)), (200, ['Content-Type']))
        status, headers, body = ask(limited, HTTP_X_KEY='a', HTTP_X_COST='2')
        self.assertEqual((status, list(headers), body), (503, ['Content-Type'], b'over_limit'))
        for no_id in ('', 'x' * 256, 'a\0', '\udcff'):
            self.assertEqual(ask(limited, HTTP_X_KEY=no_id)[0], 400)
        with self.assertRaisesRegex(ValueError, '^cost is 0'):
            ask(limited, HTTP_X_KEY='a', HTTP_X_COST='0')
        support.check_middleware_options(self, LimitRequests, app, make('wsgi-wrong'))

    def test_of_what_is_no_list_a_response_has_one_field(self):
        def denied(environ, start_response):
            start_response('503 Service Unavailable', [('Content-Type', 'text/plain'), ('retry-after', '7')])
            return [b'later']

        inner = LimitRequests(app, make('wsgi-inner', 2), x_ratelimit=True, denied=denied)
        limited = LimitRequests(inner, make('wsgi-outer', 9), x_ratelimit=True)
        for status, more in ((200, []), (200, []), (503, ['retry-after'])):
            told = []
            answer = limited({'REMOTE_ADDR': '192.0.2.1'}, lambda *args: told.append(args))
            self.assertEqual(b''.join(answer)[:6], b'served' if status == 200 else b'later')
            self.assertEqual(int(told[0][0].split()[0]), status)
            names = [name.lower() for name, _ in told[0][1]]
            lists = ['ratelimit', 'ratelimit-policy'] * 2
            numbers = [f'x-ratelimit-{of}' for of in ('limit', 'remaining', 'reset')]
            self.assertEqual(sorted(names), sorted(['content-type', *lists, *numbers, *more]))
            fields = {name.lower(): value for name, value in reversed(told[0][1])}
            self.assertEqual((fields['x-ratelimit-limit'], fields.get('retry-after', '7')), ('2', '7'))

    def test_a_head_has_no_body(self):
        by_key = {'client_id': lambda environ: environ.get('HTTP_X_KEY', 'a')}
        limited = LimitRequests(app, make('wsgi-head', 1), **by_key)
        self.assertEqual(ask(limited)[0], 200)
        for more, wanted in (({}, 429), ({'HTTP_X_KEY': ''}, 400)):
            status, headers, body = ask(limited, REQUEST_METHOD='HEAD', **more)
            self.assertEqual((status, body), (wanted, b''))
            self.assertEqual(int(headers['Content-Length']), len(ask(limited, **more)[2]))

    def test_a_shadow_denies_nobody(self):
        limited = LimitRequests(app, make('wsgi-shadow', 1, shadow=True))
        self.assertEqual([ask(limited)[0] for _ in range(3)], [200] * 3)

    def test_a_request_whose_check_waits_when_its_limiter_is_closed(self):
        limiter = make('wsgi-closed')
        limited = LimitRequests(app, limiter)
        self.assertEqual(ask(limited)[0], 200)
        with agent.standing_still(), concurrent.futures.ThreadPoolExecutor() as threads:
            counted = sys.getrefcount(limiter)
            answer = threads.submit(ask, limited, '198.51.100.1')
            until(lambda: sys.getrefcount(limiter) > counted + 1, 'it waits: the call has it, and the wait')
            limiter.close()
            agent.signal(signal.SIGCONT)
            status, headers, _ = answer.result()
        self.assertEqual((status, headers['RateLimit-Policy']), (200, '"wsgi-closed";q=3;w=600'))
        with self.assertRaisesRegex(stint.StintError, 'this limiter is closed'):
            ask(limited)

    def test_without_an_agent(self):
        limited = LimitRequests(app, make('wsgi-away', 1, socket_path='/nowhere/at/all', timeout_ms=50))
        self.assertEqual([ask(limited)[0] for _ in range(4)], [200, 200, 429, 429])


@unittest.skipUnless(importlib.util.find_spec('flask'), 'there is no Flask')
class Flask(unittest.TestCase):
    def test_under_flask(self):
        import flask

        server = flask.Flask(__name__)
        server.wsgi_app = LimitRequests(server.wsgi_app, make('flask'))

        @server.get('/')
        def index():
            return {'left': flask.request.environ['stint.result'].remaining}

        client = server.test_client()
        answers = [client.get('/') for _ in range(4)]
        self.assertEqual([answer.status_code for answer in answers], [200, 200, 200, 429])
        self.assertEqual([answer.json['left'] for answer in answers[:3]], [2, 1, 0])
        self.assertIn('Retry-After', answers[3].headers)


@unittest.skipUnless(importlib.util.find_spec('django'), 'there is no Django')
class Django(unittest.TestCase):
    def test_under_django(self):
        import django
        from django.conf import settings
        from django.core.wsgi import get_wsgi_application
        from django.http import HttpResponse
        from django.urls import path

        def view(request):
            result = request.META['stint.result']
            return HttpResponse(f'{result.remaining} left of {request.META["HTTP_X_KEY"]}')

        settings.configure(
            ROOT_URLCONF=type('Urls', (), {'urlpatterns': [path('', view)]}),
            ALLOWED_HOSTS=['*'],
        )
        by_key = {'client_id': lambda environ: environ.get('HTTP_X_KEY')}
        limited = LimitRequests(get_wsgi_application(), make('django'), **by_key)
        answers = [ask(limited, HTTP_X_KEY=key) for key in 'aaaab']
        self.assertEqual([status for status, _, _ in answers], [200, 200, 200, 429, 200], django.VERSION)
        bodies = [b'2 left of a', b'1 left of a', b'0 left of a', b'Too many requests\n', b'2 left of b']
        self.assertEqual([body for _, _, body in answers], bodies)
        self.assertIn('Retry-After', answers[3][1])
        self.assertEqual({headers['RateLimit-Policy'] for _, headers, _ in answers}, {'"django";q=3;w=600'})


if __name__ == '__main__':
    support.main()
