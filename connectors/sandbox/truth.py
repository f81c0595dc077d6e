"""The truth file: what was planted in a span of the world, as JSON, for whoever compares it with what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from connectors.sandbox.world import World

SCHEMA: Final = 1


def truth(world: World, from_us: int, to_us: int) -> dict[str, Any]:
    """Return what is planted in ``[from_us, to_us)``; times in microseconds since the epoch.

    ``groups`` are those at ``from_us``; a coin's group at a later time follows from ``moves``. Behaviours of agents
    are what they are over any window in which they are active enough; ``contract`` addresses only receive calls, most
    of them without value, and so behave like optimists.
    """
    market, chain = world.market, world.chain
    groups = market.groups
    moving = market.coins[: groups.coins]
    return {
        "schema": SCHEMA,
        "seed": world.seed,
        "from_us": from_us,
        "to_us": to_us,
        "coins": {
            coin.symbol: {"home": int(groups.home[n]), "group": groups.group_of(n, from_us)}
            for n, coin in enumerate(moving)
        },
        "stablecoins": [coin.symbol for coin in market.coins[groups.coins :]],
        "moves": [
            {
                "at_us": move.at_us,
                "symbol": market.coins[move.coin].symbol,
                "from_group": move.from_group,
                "to_group": move.to_group,
            }
            for move in groups.moves(from_us, to_us)
        ],
        "regimes": [
            {"from_us": span.from_us, "to_us": span.to_us, "regime": span.regime}
            for span in world.regimes.spans(from_us, to_us)
        ],
        "agents": world.agents.by_kind(),
        "reorgs": [
            {"at_us": reorg.at_us, "first_height": reorg.first, "depth": reorg.depth, "how": reorg.how}
            for reorg in chain.reorgs(from_us, to_us)
        ],
    }


def write_truth(path: Path, world: World, from_us: int, to_us: int) -> None:
    """Write the truth of a span to a file, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(truth(world, from_us, to_us)), indent=1)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(text)
    partial.replace(path)


def read_truth(path: Path) -> dict[str, Any]:
    """Read a truth file."""
    content: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    return content
