"""The chain's skeleton: heights, hashes, branches, reorganisations, and what a node announces when.

Heights and branches are readable from a hash by whoever knows the seed (and look random to everybody else), so any
block of the past is found by its hash without an index.

Reorganisations are planted, at most one in each span of ``reorg_every`` heights: for ``depth`` heights a side branch
is announced first, and then replaced by the canonical one, either by its next block ("longer") or half a block time
later by a block of the same height ("sibling"). A node announces the last header only, as geth does.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from connectors.sandbox.draws import digest, hashed
from connectors.sandbox.regime import GENESIS_US

Branch: TypeAlias = Literal[0, 1]

CANONICAL: Final[Branch] = 0
SIDE: Final[Branch] = 1
GENESIS_S: Final = GENESIS_US // 1_000_000
SAFE_DEPTH: Final = 32
FINAL_DEPTH: Final = 64
_REORG, _DEPTH, _HOW = 51, 52, 53
_MARGIN: Final = 8


@dataclass(frozen=True, slots=True)
class Reorg:
    """A planted reorganisation: heights ``first .. first + depth - 1`` are replaced at ``at_us``."""

    first: int
    depth: int
    how: Literal["longer", "sibling"]
    at_us: int

    @property
    def last(self) -> int:
        """The highest replaced height."""
        return self.first + self.depth - 1


@dataclass(frozen=True, slots=True)
class Head:
    """An announcement: at ``at_us`` the node's head became this block."""

    at_us: int
    height: int
    branch: Branch


class Chain:
    """Heights, hashes and announcements of one chain.

    Parameters
    ----------
    seed
        The world.
    block_seconds
        Distance of two blocks, whole seconds.
    reorg_every
        So many heights have one reorganisation; 0 for none.

    Raises
    ------
    ValueError
        If a setting is out of its range.
    """

    def __init__(self, seed: int, block_seconds: int = 2, reorg_every: int = 150) -> None:
        if block_seconds < 1:
            raise ValueError(f"block_seconds is {block_seconds}: at least one")
        if reorg_every and reorg_every < 2 * _MARGIN:
            raise ValueError(f"reorg_every is {reorg_every}: 0 or at least {2 * _MARGIN}")
        self.seed, self.block_seconds, self.reorg_every = seed, block_seconds, reorg_every
        self._block_us = block_seconds * 1_000_000

    # ---------------------------------------------------------------- hashes

    def hash_of(self, height: int, branch: Branch) -> str:
        """Return the hash of a block; a side block exists only where a reorganisation is planted."""
        return self._hide("block", height, branch, 0)

    def parent_of(self, height: int, branch: Branch) -> str:
        """Return the hash of a block's parent; zeros for the first block."""
        if height == 0:
            return "0x" + "0" * 64
        parent: Branch = SIDE if branch == SIDE and self._is_side(height - 1) else CANONICAL
        return self.hash_of(height - 1, parent)

    def find(self, block_hash: str) -> tuple[int, Branch] | None:
        """Return the height and branch of a hash; None if no block of this chain can have it."""
        found = self._reveal("block", block_hash)
        if found is None or found[2]:
            return None
        height, branch, _ = found
        return (height, branch) if branch == CANONICAL or self._is_side(height) else None

    def transaction_hash(self, height: int, branch: Branch, index: int) -> str:
        """Return the hash of the transaction that was made for this place."""
        return self._hide("transaction", height, branch, index)

    def find_transaction(self, transaction_hash: str) -> tuple[int, Branch, int] | None:
        """Return (height, branch, index) of the place that a transaction was made for."""
        return self._reveal("transaction", transaction_hash)

    def _hide(self, what: str, height: int, branch: Branch, index: int) -> str:
        tail = digest(self.seed, what, height, branch, index)[:24]
        return "0x" + (self._mask(what, tail) ^ (height << 17 | index << 1 | branch)).to_bytes(8).hex() + tail.hex()

    def _reveal(self, what: str, text: str) -> tuple[int, Branch, int] | None:
        raw = _bytes32(text)
        if raw is None:
            return None
        number = self._mask(what, raw[8:]) ^ int.from_bytes(raw[:8])
        height, index = number >> 17, number >> 1 & 0xFFFF
        branch: Branch = SIDE if number & 1 else CANONICAL
        return (height, branch, index) if self._hide(what, height, branch, index) == text.lower() else None

    def _mask(self, what: str, tail: bytes) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{what}/".encode("ascii") + tail).digest()[:8])

    # ------------------------------------------------------------------ time

    def timestamp(self, height: int) -> int:
        """Return a block's time in seconds since the epoch."""
        return GENESIS_S + height * self.block_seconds

    def due_us(self, height: int) -> int:
        """Return when a height is first announced."""
        return GENESIS_US + height * self._block_us

    def reorg_of_span(self, span: int) -> Reorg | None:
        """Return the reorganisation planted in a span of heights."""
        if not self.reorg_every or span < 0:
            return None
        room = self.reorg_every - 2 * _MARGIN + 1
        first = span * self.reorg_every + _MARGIN + int(hashed(self.seed, _REORG, span)) % room
        depth = (1, 1, 2, 2, 3)[int(hashed(self.seed, _DEPTH, span)) % 5]
        sibling = int(hashed(self.seed, _HOW, span)) % 2 == 0
        at_us = self.due_us(first + depth) - (self._block_us // 2 if sibling else 0)
        return Reorg(first, depth, "sibling" if sibling else "longer", at_us)

    def reorgs(self, from_us: int, to_us: int) -> list[Reorg]:
        """Return the reorganisations that happen in ``[from_us, to_us)``."""
        if not self.reorg_every:
            return []
        first, last = (max(0, (t - GENESIS_US) // self._block_us) // self.reorg_every for t in (from_us, to_us))
        found = [self.reorg_of_span(span) for span in range(first, last + 1)]
        return [reorg for reorg in found if reorg is not None and from_us <= reorg.at_us < to_us]

    def _is_side(self, height: int) -> bool:
        reorg = self._reorg_near(height)
        return reorg is not None and reorg.first <= height <= reorg.last

    def _reorg_near(self, height: int) -> Reorg | None:
        return self.reorg_of_span(height // self.reorg_every) if self.reorg_every else None

    def head(self, t_us: int) -> Head | None:
        """Return the last announcement at or before a time; None before the first block."""
        height = (t_us - GENESIS_US) // self._block_us
        if height < 0:
            return None
        heads = self.announcements(height)
        return heads[bisect_right([head.at_us for head in heads], t_us) - 1]

    def next_head(self, t_us: int) -> Head:
        """Return the first announcement after a time."""
        height = max(0, (t_us - GENESIS_US) // self._block_us)
        candidates = self.announcements(height) + self.announcements(height + 1)
        return next(head for head in candidates if head.at_us > t_us)

    def announcements(self, height: int) -> list[Head]:
        """Return what is announced about a height, in order: one block, or two if it was replaced by a sibling."""
        reorg = self._reorg_near(height)
        if reorg is None or not reorg.first <= height <= reorg.last:
            return [Head(self.due_us(height), height, CANONICAL)]
        heads = [Head(self.due_us(height), height, SIDE)]
        if reorg.how == "sibling" and height == reorg.last:
            heads.append(Head(reorg.at_us, height, CANONICAL))
        return heads

    def branch_at(self, height: int, t_us: int) -> Branch:
        """Return the branch that the node's chain has at a height at a time."""
        reorg = self._reorg_near(height)
        if reorg is None or not reorg.first <= height <= reorg.last or t_us >= reorg.at_us:
            return CANONICAL
        return SIDE

    def known(self, height: int, branch: Branch, t_us: int) -> bool:
        """Return whether the node has a block at a time; replaced blocks stay known, as in geth."""
        if height < 0 or self.due_us(height) > t_us:
            return False
        reorg = self._reorg_near(height)
        replaced = reorg is not None and reorg.first <= height <= reorg.last
        if branch == SIDE:
            return replaced
        return not replaced or (reorg is not None and t_us >= reorg.at_us)


def _bytes32(text: str) -> bytes | None:
    """Return the 32 bytes of a hash in hex; None if the text is none."""
    if len(text) != 66 or not text.startswith("0x"):
        return None
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        return None
