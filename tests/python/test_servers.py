"""Real servers: gunicorn's workers after --preload, and uvicorn. Never over the limit, all workers together."""
import concurrent.futures
import http.client
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

import support
from support import until

LIMIT = 200
WORKERS = 4

APPS = (
    '''
import os
import stint, stint.asgi, stint.wsgi

# Without the agent nobody is admitted: one that comes again late, on a slow machine, changes nothing.
options = {'time_window_ms': 600000, 'timeout_ms': 30000, 'local_max_requests': 0}
limiter = stint.Limiter(policy=os.environ['POLICY'], max_requests=%d, **options)

def serve(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('X-Worker', str(os.getpid()))])
    return [b'served']

async def aserve(scope, receive, send):
    if scope['type'] == 'websocket':
        await receive()
        return await send({'type': 'websocket.accept'})
    headers = [(b'x-worker', str(os.getpid()).encode())]
    await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
    await send({'type': 'http.response.body', 'body': b'served'})

def by_key(environ):
    return environ.get('HTTP_X_KEY', 'nobody')

def aby_key(scope):
    return dict(scope['headers']).get(b'x-key', b'nobody').decode()

app = stint.wsgi.LimitRequests(serve, limiter, client_id=by_key)
assert limiter.is_allowed('before-the-fork')

try:
    from starlette.applications import Starlette
except ImportError:
    pass
else:
    aapp = Starlette()
    aapp.mount('/', aserve)
    aapp.add_middleware(stint.asgi.LimitRequests, limiter=limiter, client_id=aby_key)
'''
    % LIMIT
)
(support.folder / 'apps.py').write_text(APPS)


class Server:
    """It tells the port that it listens at."""

    def __init__(self, agent, policy, *args):
        self.log = support.folder / f'{policy}.log'
        path = f'{support.folder}{os.pathsep}{support.LIBRARY}'
        env = {**os.environ, 'POLICY': policy, 'STINT_SOCKET': agent.socket, 'PYTHONPATH': path}
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen(
                [sys.executable, '-m', *args],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=support.folder,
            )
        support.at_end(self.stop)
        port = until(self.find_port, 'the server listens')
        self.address = ('127.0.0.1', port)

    def find_port(self):
        says = self.log.read_text()
        if self.process.poll() is not None:
            raise AssertionError(says)
        found = re.search(r'(?:Listening at:|running on) http://127\.0\.0\.1:(\d+)', says)
        return found and int(found[1])

    def ask(self, key):
        """(status, the worker)"""
        connection = http.client.HTTPConnection(*self.address, timeout=support.SLOW_S)
        try:
            connection.request('GET', '/', headers={'X-Key': key})
            response = connection.getresponse()
            response.read()
            return response.status, response.getheader('X-Worker')
        finally:
            connection.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(support.SLOW_S)


def gunicorn(agent, policy, kind, app):
    return Server(
        agent,
        policy,
        'gunicorn',
        '--preload',
        '-w',
        str(WORKERS),
        '-k',
        kind,
        '-b',
        '127.0.0.1:0',
        '--graceful-timeout',
        '5',
        app,
    )


def has(*names):
    return all(importlib.util.find_spec(name) for name in names)


class Servers(unittest.TestCase):
    def setUp(self):
        self.agent = support.Agent()

    def assert_never_over(self, server, requests=3 * LIMIT):
        """Asks for one client from many threads, and for others meanwhile."""
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            keys = ['hot' if i % 5 else f'client-{i}' for i in range(requests)]
            told = list(pool.map(server.ask, keys))
        hot = [status for key, (status, _) in zip(keys, told) if key == 'hot']
        self.assertEqual((hot.count(200), hot.count(429)), (LIMIT, len(hot) - LIMIT))
        self.assertEqual({status for key, (status, _) in zip(keys, told) if key != 'hot'}, {200})
        return {worker for _, worker in told if worker}

    @unittest.skipUnless(has('gunicorn'), 'there is no gunicorn')
    def test_gunicorn_with_four_workers_after_preload(self):
        server = gunicorn(self.agent, 'sync', 'sync', 'apps:app')
        workers = self.assert_never_over(server)
        until(
            lambda: workers.add(server.ask(f'new-{len(workers)}')[1]) or len(workers) > 1, 'several workers serve'
        )
        self.assertEqual(server.stop(), 0)

    @unittest.skipUnless(has('gunicorn'), 'there is no gunicorn')
    def test_gunicorn_with_threads(self):
        self.assert_never_over(gunicorn(self.agent, 'gthread', 'gthread', 'apps:app'))

    @unittest.skipUnless(has('gunicorn', 'uvicorn', 'starlette'), 'there is no gunicorn, uvicorn or Starlette')
    def test_gunicorn_with_event_loops_after_preload(self):
        server = gunicorn(self.agent, 'uvicorn-worker', 'uvicorn.workers.UvicornWorker', 'apps:aapp')
        self.assert_never_over(server)
        self.assertEqual(server.stop(), 0)

    @unittest.skipUnless(has('uvicorn', 'starlette'), 'there is no uvicorn, or no Starlette')
    def test_uvicorn_with_starlette(self):
        for loop in ('asyncio', 'uvloop') if has('uvloop') else ('asyncio',):
            server = Server(self.agent, f'uvicorn-{loop}', 'uvicorn', '--port', '0', '--loop', loop, 'apps:aapp')
            self.assert_never_over(server, 2 * LIMIT)
            if has('wsproto') or has('websockets'):
                self.assertEqual(self.open_websocket(server, 'hot'), '403')
                self.assertEqual(self.open_websocket(server, 'other'), '101')
            self.assertEqual(server.stop(), 0)

    def open_websocket(self, server, key):
        """Returns the status of the answer."""
        with socket.create_connection(server.address, timeout=support.SLOW_S) as connection:
            fields = 'Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
            fields += f'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Key: {key}\r\n'
            connection.sendall(f'GET / HTTP/1.1\r\n{fields}\r\n'.encode())
            return connection.recv(4096).split()[1].decode()


@unittest.skipUnless(has('gunicorn'), 'there is no gunicorn')
class AgentKilled(unittest.TestCase):
    def test_and_back_again(self):
        conninfo, _ = support.start_postgres()
        if conninfo is None:
            self.skipTest('there is no PostgreSQL')
        agent = support.Agent(database=conninfo)
        server = gunicorn(agent, 'killed', 'sync', 'apps:app')
        told, stopped = [], threading.Event()

        def ask():
            while not stopped.is_set():
                told.append(server.ask('hot')[0])
                time.sleep(0.01)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            time.sleep(0.2)
            agent.kill()
            time.sleep(0.1)
            agent.start()
        until(lambda: len(told) > 2 * LIMIT, 'there are requests beyond the limit')
        until(lambda: server.ask(f'new-{time.monotonic()}')[0] == 200, 'new clients are served')
        stopped.set()
        for thread in threads:
            thread.join()
        self.assertEqual(set(told), {200, 429})
        self.assertLessEqual(told.count(200), LIMIT)
        self.assertEqual(server.stop(), 0)


if __name__ == '__main__':
    support.main()
