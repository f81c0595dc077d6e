"""Faults that a sandbox server can be told to have, for the tests of whoever connects to it."""

from __future__ import annotations

from typing import Final

import msgspec

MALFORMED: Final = '{"e":"trade","E":17'
CLOSE: Final = None
"""What :meth:`Faults.pass_on` returns where the connection is to be cut."""


class Faults(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong; all zero means that nothing does. May be changed while the server runs.

    Counts are over the pushed messages of one connection (trades, tickers, heads; never acks and replies).

    Attributes
    ----------
    drop_every
        Every n-th message is lost, as in a gap of ids.
    malformed_every
        Every n-th message is cut to a piece that is no JSON.
    close_after
        The connection is cut (without a closing handshake) instead of the n-th message.
    refuse
        New websockets and HTTP requests are answered with status 503.
    stall
        The connection stays open, pings are answered, but nothing is pushed.
    """

    drop_every: int = 0
    malformed_every: int = 0
    close_after: int = 0
    refuse: bool = False
    stall: bool = False

    def pass_on(self, number: int, text: str) -> str | None:
        """Return what leaves as message ``number`` (from 1) of a connection: the text, "" for nothing, or CLOSE."""
        if self.stall:
            return ""
        if self.close_after and number >= self.close_after:
            return CLOSE
        if self.drop_every and number % self.drop_every == 0:
            return ""
        if self.malformed_every and number % self.malformed_every == 0:
            return MALFORMED
        return text
