"""From the dataflow's thread to the browsers: one bounded queue per subscriber.

A subscriber that does not keep up is dropped rather than waited for: its queue is closed, its browser connects
again and reads the present state anew.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

QUEUE_LENGTH: Final = 256


@dataclass(frozen=True, slots=True)
class Message:
    """Something that was published: ``kind`` is ``fit``, ``event``, ``composition`` or ``feed``."""

    kind: str
    body: dict[str, Any]


class Subscription:
    """The messages for one subscriber, taken up in its own event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self._limit = limit
        self._queue: deque[Message] = deque()
        self._lock = threading.Lock()
        self._wake = asyncio.Event()
        self._asleep = True
        self.closed = False
        self.overrun = False

    def offer(self, message: Message) -> None:
        """Take a message from any thread; never blocks."""
        with self._lock:
            if self.closed:
                return
            if len(self._queue) >= self._limit:
                self.overrun = self.closed = True
                self._queue.clear()
            else:
                self._queue.append(message)
            if not self._asleep:
                return
            self._asleep = False
        self._notify()

    def close(self) -> None:
        """End the subscription, from any thread."""
        with self._lock:
            self.closed = True
        self._notify()

    async def next(self, seconds: float) -> Message | None:
        """Return the next message, or None after ``seconds`` without one or at the end (see ``closed``)."""
        deadline = self._loop.time() + seconds
        while True:
            with self._lock:
                if self._queue:
                    return self._queue.popleft()
                if self.closed:
                    return None
                self._wake.clear()
                self._asleep = True
            try:
                await asyncio.wait_for(self._wake.wait(), deadline - self._loop.time())
            except TimeoutError:
                return None

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            message = await self.next(3600.0)
            if message is not None:
                yield message
            elif self.closed:
                return

    def _notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the loop has ended: nobody waits any more
            self.closed = True


class Hub:
    """The subscribers of a board."""

    def __init__(self) -> None:
        self._subscribers: tuple[Subscription, ...] = ()
        self._lock = threading.Lock()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._subscribers)

    def subscribe(self, limit: int = QUEUE_LENGTH) -> Subscription:
        """Return a new subscription for the running event loop."""
        subscription = Subscription(asyncio.get_running_loop(), limit)
        with self._lock:
            self._subscribers = (*self._subscribers, subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        subscription.close()
        with self._lock:
            self._subscribers = tuple(s for s in self._subscribers if s is not subscription)
            self.dropped += subscription.overrun

    def send(self, kind: str, body: dict[str, Any]) -> None:
        """Offer a message to everybody."""
        for subscription in self._subscribers:
            subscription.offer(Message(kind, body))

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscribers:
            subscription.close()
