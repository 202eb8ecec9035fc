"""Checks that wait, in asyncio's event loops (uvloop's too).

The attachment's descriptor is readable when something is to be dispatched. A loop watches it only while checks of
its own wait. Whichever loop dispatches hands each outcome to the loop that waits for it.

The loop holds its watcher by the reader, and nobody else does: a loop that ends takes along what waited in it.
"""
from __future__ import annotations

import asyncio
import os
import weakref
from typing import Dict, Union

from ._stint import Attachment, Result, StintError, Waiting

# By loop, attachment and process: a child of fork() knows nothing of what its parent's loops wait for.
_watchers: weakref.WeakValueDictionary[tuple[int, int, int], _Watcher] = weakref.WeakValueDictionary()


class _Watcher:
    """What one event loop waits for at one attachment."""

    def __init__(self, loop: asyncio.AbstractEventLoop, attachment: Attachment) -> None:
        self.loop = loop
        self.attachment = attachment
        self.process = os.getpid()
        self.descriptor = attachment.fileno()
        self.futures: Dict[Waiting, asyncio.Future[None]] = {}

    def add(self, waiting: Waiting) -> asyncio.Future[None]:
        if not self.futures:
            self.loop.add_reader(self.descriptor, deliver_due, self.attachment, self)
        future = self.futures[waiting] = self.loop.create_future()
        waiting.watcher = weakref.ref(self)
        # Another thread's loop may have dispatched it before it had a watcher.
        if not waiting.pending:
            self.settle(waiting)
        return future

    def remove(self, waiting: Waiting) -> None:
        """In the loop's thread; or where nobody runs the loop any more."""
        if (
            self.futures.pop(waiting, None)
            and not self.futures
            and not self.loop.is_closed()
            and self.process == os.getpid()
        ):
            self.loop.remove_reader(self.descriptor)

    def settle(self, waiting: Waiting) -> None:
        future = self.futures.get(waiting)
        self.remove(waiting)
        if future is not None and not future.done():
            future.set_result(None)

    def settle_from_anywhere(self, waiting: Waiting) -> None:
        if asyncio._get_running_loop() is self.loop:
            self.settle(waiting)
            return
        try:
            self.loop.call_soon_threadsafe(self.settle, waiting)
        except RuntimeError:
            pass  # the loop is closed: nobody waits


def _find_watcher(attachment: Attachment) -> _Watcher:
    loop = asyncio.get_running_loop()
    key = (id(loop), id(attachment), os.getpid())
    watcher = _watchers.get(key)
    if watcher is None:
        watcher = _watchers[key] = _Watcher(loop, attachment)
    return watcher


def deliver(attachment: Attachment) -> None:
    """Hands over what has finished."""
    while (waiting := attachment.take()) is not None:
        watcher = waiting.watcher and waiting.watcher()
        if watcher is not None:
            watcher.settle_from_anywhere(waiting)


def deliver_due(attachment: Attachment, _: _Watcher) -> None:
    attachment.dispatch()
    deliver(attachment)


async def wait(outcome: Union[Result, Waiting]) -> Result:
    """The result, when it is there."""
    if isinstance(outcome, Result):
        return outcome
    watcher = None
    try:
        watcher = _find_watcher(outcome.attachment)
        await watcher.add(outcome)
    except (OSError, StintError) as error:
        outcome.give_up(str(error))  # no descriptor is left, or the loop can't watch another one
    finally:
        outcome.drop()
        if watcher is not None:
            watcher.remove(outcome)
    return outcome.result()
