"""app.py - a gunicorn's app of the demo: it limits each client by itself, at the same limit as all others."""

from urllib.parse import parse_qs

import stint

# Made before gunicorn forks its processes.
limiter = stint.Limiter(policy='api', max_requests=100, time_window_ms=2000, fallback_max_requests=150, resolution=10)


def app(environ, start_response):
    client = parse_qs(environ['QUERY_STRING'])['k'][0]
    result = limiter.check(client)
    fields = [('X-Source', result.source), ('Content-Length', '0'), *limiter.http_headers(result)]
    start_response('200 OK' if result else '429 Too Many Requests', fields)
    return []
