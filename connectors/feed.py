"""A feed: session, journal and core tied together, live or from the journal alone.

Live, everything that was received is in the journal before a core sees it; what the core then wants goes back to
the session. From the journal alone the core sees the same records and its wishes are dropped: it decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from connectors.chains.ethereum import EthereumConfig, EthereumCore
from connectors.errors import JournalError
from connectors.exchanges.binance import BinanceConfig, BinanceCore
from connectors.exchanges.klines import KlinesConfig, KlinesCore
from connectors.journal import SEGMENT_BYTES, CoreKind, JournalMeta, JournalReader, JournalWriter
from connectors.records import Action, Core, Record
from connectors.schema import Batch
from connectors.session import Arrival

CoreConfig = BinanceConfig | EthereumConfig | KlinesConfig
_KINDS: Final[dict[type, CoreKind]] = {BinanceConfig: "binance", EthereumConfig: "ethereum", KlinesConfig: "klines"}


class Receiver(Protocol):
    """The part of a session that a feed uses (tests put others in its place)."""

    @property
    def queue_depth(self) -> int:
        """Records received and not yet drained."""

    def start(self) -> None:
        """Begin to connect."""

    def stop(self) -> None:
        """Disconnect and end."""

    def drain(self, limit: int) -> list[Arrival]:
        """Return at most ``limit`` received records, without waiting."""

    def submit(self, actions: Sequence[Action]) -> None:
        """Do what a core wants."""


def meta_of(config: CoreConfig) -> JournalMeta:
    """Return the journal's description of a feed with this core configuration."""
    return JournalMeta(feed=config.feed, kind=_KINDS[type(config)], config=msgspec.to_builtins(config))


def build_core(meta: JournalMeta, state: bytes | None = None) -> Core:
    """Return the core that ``meta`` describes, restored from ``state`` if there is one.

    Raises
    ------
    JournalError
        If the configuration in ``meta`` is not one of its kind.
    """
    try:
        match meta.kind:
            case "binance":
                return BinanceCore(msgspec.convert(meta.config, BinanceConfig), state)
            case "ethereum":
                return EthereumCore(msgspec.convert(meta.config, EthereumConfig), state)
            case "klines":
                return KlinesCore(msgspec.convert(meta.config, KlinesConfig), state)
    except msgspec.ValidationError as error:
        raise JournalError(meta.feed, f"its configuration is not one of a {meta.kind} feed: {error}") from None


class LiveFeed:
    """A feed that listens: first what the journal holds beyond ``position``, then what the session receives.

    Parameters
    ----------
    session
        Started by the first poll that finds the journal caught up.
    writer
        The journal; the feed closes it.
    core
        A core in the state of ``position``.
    position
        Number of the first record that the core has not seen.
    """

    def __init__(self, session: Receiver, writer: JournalWriter, core: Core, position: int = 0) -> None:
        self.session, self.core = session, core
        self._writer, self._position = writer, position
        self._started = False
        if position > writer.next_n:
            raise JournalError(
                str(writer.folder),
                f"ends with record {writer.next_n - 1}, the state is at {position}",
                "the journal was cut: remove the state, or restore the journal",
            )
        self._reader = JournalReader(writer.folder) if position < writer.next_n else None

    @classmethod
    def open(
        cls,
        session: Receiver,
        folder: Path,
        meta: JournalMeta,
        resume: tuple[int, bytes] | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> LiveFeed:
        """Open or make the journal in ``folder`` and go on from ``resume`` = (position, core state).

        Without ``resume`` the core starts at record 0: a journal that is already there is gone through first.
        """
        position, state = resume if resume is not None else (0, None)
        writer = JournalWriter(folder, meta, segment_bytes)
        try:
            return cls(session, writer, build_core(meta, state), position)
        except BaseException:
            writer.close()
            raise

    @property
    def position(self) -> int:
        """Number of the next record that the core will see."""
        return self._position

    @property
    def live(self) -> bool:
        """Whether the journal has been gone through and the session listens."""
        return self._started

    @property
    def journal_bytes(self) -> int:
        """Bytes of text in the journal."""
        return self._writer.bytes_total

    def poll(self, limit: int = 8192) -> list[Batch]:
        """Take at most ``limit`` records through journal and core; never waits for the peer."""
        if self._reader is not None:
            records = self._reader.read(self._position, min(limit, self._writer.next_n - self._position))
            self._position += len(records)
            if records:
                batches = self.core.feed(records)
                self.core.actions()  # what it wanted then is long done, or void with that connection
                return batches
            self._reader = None
        if not self._started:
            self._started = True
            self.session.start()
        arrivals = self.session.drain(limit)
        if not arrivals:
            return []
        first = self._position
        records = [Record(first + at, *arrival) for at, arrival in enumerate(arrivals)]
        self._writer.append(records)
        self._position += len(records)
        batches = self.core.feed(records)
        actions = self.core.actions()
        if actions:
            self.session.submit(actions)
        return batches

    def core_state(self) -> bytes:
        """Return the core's state at :attr:`position`; all records before it are on the disk by then."""
        self._writer.sync()
        return self.core.snapshot()

    def close(self) -> None:
        """Stop the session and close the journal; what was received and not polled is lost to both."""
        if self._started:
            self.session.stop()
        self._writer.close()


class JournalFeed:
    """A feed that replays a journal; it ends where the journal ends."""

    def __init__(self, reader: JournalReader, core: Core, position: int | None = None) -> None:
        self.core = core
        self._reader = reader
        self._position = reader.first_n if position is None else position
        self._ended = False

    @classmethod
    def open(cls, folder: Path, resume: tuple[int, bytes] | None = None) -> JournalFeed:
        """Open the journal in ``folder`` and go on from ``resume`` = (position, core state)."""
        reader = JournalReader(folder)
        if resume is None:
            return cls(reader, build_core(reader.meta))
        return cls(reader, build_core(reader.meta, resume[1]), resume[0])

    @property
    def position(self) -> int:
        """Number of the next record that the core will see."""
        return self._position

    @property
    def ended(self) -> bool:
        """Whether everything has been polled; the source then says so with its end batch."""
        return self._ended

    def poll(self, limit: int = 8192) -> list[Batch]:
        """Take at most ``limit`` records through the core; sets :attr:`ended` when there are no more."""
        records = self._reader.read(self._position, limit)
        if not records:
            self._ended = True
            return []
        self._position += len(records)
        batches = self.core.feed(records)
        self.core.actions()
        return batches

    def core_state(self) -> bytes:
        """Return the core's state at :attr:`position`."""
        return self.core.snapshot()
