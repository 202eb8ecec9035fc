"""An app that has only the package: checks clients until it is told to end, and keeps a journal of it.

    app.py run JOURNAL           until SIGTERM
    app.py judge JOURNAL...      were all admitted within the limit, and what went wrong?
"""
import signal
import sys
import time

MAX_REQUESTS = 40
WINDOW_MS = 2000
CLIENTS = ('anna', 'bob', 'carl')
PAUSE_S = 0.01


def run(journal_path):
    import stint
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    # On its own it admits nobody: what it is admitted counts against the limit of all, however slow the machine.
    limiter = stint.Limiter(policy='packages', max_requests=MAX_REQUESTS, time_window_ms=WINDOW_MS, timeout_ms=30_000, on_error='deny')
    with open(journal_path, 'w', buffering=1) as journal:
        while not ended:
            for client in CLIENTS:
                began = time.monotonic_ns()
                result = limiter.check(client)
                what = result.error or ('admitted' if result.allowed else 'denied')
                print(began, time.monotonic_ns(), client, what, sep='\t', file=journal)
            time.sleep(PAUSE_S)


def read(journals):
    for path in journals:
        with open(path) as journal:
            for line in journal:
                began, ended, client, what = line.rstrip('\n').split('\t')
                yield int(began), int(ended), client, what


def most_within_a_window(admitted):
    """The most that were surely admitted in one interval of the window's length: none began before it, none ended after it."""
    most = 0
    for start, *_ in admitted:
        most = max(most, sum(start <= began and ended < start + WINDOW_MS * 1_000_000 for began, ended in admitted))
    return most


def judge(journals):
    checks = sorted(read(journals))
    other = sorted({what for *_, what in checks} - {'admitted', 'denied'})
    least = len(checks)
    for client in CLIENTS:
        admitted = [(began, ended) for began, ended, whose, what in checks if whose == client and what == 'admitted']
        most = most_within_a_window(admitted)
        least = min(least, len(admitted))
        print(f'{client}: {len(admitted)} admitted, at most {most} of {MAX_REQUESTS} in {WINDOW_MS} ms')
        if most > MAX_REQUESTS:
            return 'more than the limit'
    print(f'{len(checks)} checks; errors: {other}')
    return 0 if least > 0 and not other else 'errors, or nobody admitted'


if __name__ == '__main__':
    sys.exit(run(sys.argv[2]) if sys.argv[1] == 'run' else judge(sys.argv[2:]))
