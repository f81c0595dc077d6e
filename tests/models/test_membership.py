"""The state machine of membership: rules on crafted markets, and the whole chain on markets with a known truth."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AffinityPropagation

from models.departures import Departure, close
from models.identity import Change, IdentityConfig
from models.membership import Event, Membership, MembershipConfig, Round, Update

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]
WINDOW = 120


def _returns(groups: Sequence[int], share: float = 0.6, seed: int = 0) -> Array:
    """Return standardised returns in which coins of one group share a factor."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((WINDOW, 20))
    own = rng.standard_normal((WINDOW, 40))[:, : len(groups)]
    X = np.sqrt(share) * factors[:, list(groups)] + np.sqrt(1.0 - share) * own
    return np.asarray((X - X.mean(axis=0)) / X.std(axis=0))


def _round(bar: int, groups: Sequence[int], shoal: Sequence[int] | None = None, **given: object) -> Round:
    """Return a round of coins c00, c01, ... that move by their group and that the fit puts there, or in ``shoal``."""
    labels = np.asarray(groups if shoal is None else shoal, dtype=np.int64)
    n = len(groups)
    alive = tuple(sorted({int(x) for x in labels if x >= 0}))
    settings = {
        "Z": _returns(groups),
        "coin_ids": tuple(f"c{i:02d}" for i in range(n)),
        "converged": True,
        "coverage": np.ones(n),
        "alive": alive,
        "names": {number: f"shoal-{number}" for number in alive},
    }
    return Round(as_of_us=bar * 1000, bar=bar, shoal=labels, **(settings | given))  # type: ignore[arg-type]


def _kinds(update: Update) -> list[tuple[str, str | None, int | None, int | None]]:
    return [(e.kind, e.coin_id, e.shoal_from, e.shoal_to) for e in update.events]


def _run(state: Membership, bars: Iterator[int], groups: Sequence[int], count: int, **given: object) -> list[Event]:
    """Feed the same market for some bars; return the events."""
    shoal = given.pop("shoal", None)
    return [
        event
        for _ in range(count)
        for event in state.update(_round(next(bars), groups, shoal, **given)).events  # type: ignore[arg-type]
    ]


TWO = [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
MOVED = [2, 1, 1, 1, 1, 2, 2, 2, 2, 2]


def test_a_coin_seen_for_the_first_time_is_at_home_in_its_shoal_without_an_event() -> None:
    update = MembershipConfig().build().update(_round(1, TWO))
    assert update.home.tolist() == TWO
    assert (update.margin > 0.3).all()
    assert update.events == []
    assert update.departures_total == {}


def test_a_coin_that_moves_leaves_for_its_new_shoal_and_says_why() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    _run(state, bars, TWO, 20)
    updates = [state.update(_round(next(bars), MOVED)) for _ in range(20)]
    at = next(i for i, update in enumerate(updates) if update.events)
    assert 1 <= at <= 9  # smoothing takes a few bars
    assert [_kinds(update) for update in updates if update.events] == [[("left", "c00", 1, 2)]]
    [event] = updates[at].events
    assert updates[at - 1].home[0] == 1
    assert updates[at].home.tolist() == MOVED
    assert updates[at].margin[0] == 0.0  # evidence starts again
    assert updates[-1].margin[0] > 0.3
    assert updates[at].departures_total == {"c00": 1}
    assert event.margin is not None
    assert event.margin < -0.15
    reasons = event.evidence
    assert (reasons["from"], reasons["to"]) == ("shoal-1", "shoal-2")
    assert reasons["margin_before"] > 0.0 > reasons["margin_now"] == event.margin
    assert 20_000 <= reasons["quiet_as_of_us"] < (21 + at) * 1000
    assert reasons["similarity_to"] > 0.5 > reasons["similarity_from"]
    assert reasons["cooldown_until_bar"] == 21 + at + 20
    assert reasons["coverage"] == 1.0
    assert reasons["mode_share"] is None
    assert len(reasons["counterparts"]) == 5
    assert all(set(c) == {"coin", "shoal", "before", "after"} for c in reasons["counterparts"])


def test_evidence_is_plain_json() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    events = _run(state, bars, TWO, 5) + _run(state, bars, MOVED, 50, mode_share=np.linspace(0, 1, 10))
    changes = (Change("merged", 2, 1, ("c05",)),)
    events += state.update(_round(next(bars), [1] * 10, changes=changes)).events
    assert {e.kind for e in events} == {"left", "outcome", "merged"}
    for event in events:
        text = json.dumps(event.evidence, sort_keys=True, allow_nan=False)
        assert json.loads(text) == event.evidence
    assert events[0].evidence["mode_share"] == 0.0


def test_a_bare_change_of_label_moves_nothing() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    assert _run(state, bars, TWO, 40, shoal=MOVED) == []
    assert state.update(_round(next(bars), TWO, MOVED)).home.tolist() == TWO


def test_a_coin_whose_fit_still_puts_it_at_home_has_not_left() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    assert _run(state, bars, MOVED, 40, shoal=TWO) == []


def test_a_coin_that_goes_nowhere_has_no_home_until_it_moves_with_a_shoal() -> None:
    state, bars = MembershipConfig(outcome_bars=60).build(), itertools.count(1)
    groups, elsewhere, by_itself = [*TWO, 3, 3, 3], [3, *TWO[1:], 3, 3, 3], [4, *TWO[1:], 3, 3, 3]
    against = _returns(groups)
    against[:, 0] *= -1.0  # it moves against its home, and with nobody else
    _run(state, bars, groups, 5)
    events = _run(state, bars, groups, 15, shoal=elsewhere, Z=against)
    assert [(e.kind, e.shoal_from, e.shoal_to) for e in events] == [("left", 1, None)]
    assert events[0].evidence["to"] is None
    update = state.update(_round(next(bars), groups, elsewhere, Z=against))
    assert update.home[0] == -1
    assert np.isnan(update.margin[0])
    # Alone in a shoal of its own it has nothing to join.
    assert _run(state, bars, groups, 10, shoal=by_itself, Z=against) == []
    events = _run(state, bars, groups, 10)
    assert [(e.kind, e.coin_id, e.shoal_from, e.shoal_to) for e in events] == [
        ("joined", "c00", None, 1),
        ("outcome", "c00", 1, None),
    ]
    assert events[0].margin is not None
    assert events[0].margin >= 0.05
    assert events[1].evidence["outcome"] == "returned"
    assert state.update(_round(next(bars), groups)).home.tolist() == groups


def test_a_coin_leaves_at_most_once_per_cooldown() -> None:
    config = MembershipConfig(cooldown_bars=25, smoothing_bars=1.0)
    state, bars = config.build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    at = []
    for bar in itertools.islice(bars, 200):
        groups = MOVED if bar // 7 % 2 else TWO
        at += [bar for e in state.update(_round(bar, groups)).events if e.kind == "left"]
    assert len(at) >= 4
    assert min(np.diff(at)) >= 25


def test_going_back_home_takes_less_than_leaving_it() -> None:
    """The same weak evidence brings a coin back, and does not make one leave."""
    config = MembershipConfig(leave_margin=0.9, return_margin=0.01, cooldown_bars=1)
    easy = replace(config, leave_margin=0.15)
    for first, expected in [(config, []), (easy, [("left", 2, 1), ("outcome", 1, 2)])]:
        state, bars = first.build(), itertools.count(1)
        _run(state, bars, TWO, 3)
        _run(state, bars, MOVED, 10)
        state = config.build(state.snapshot())  # from here on leaving takes more than a coin can show
        events = _run(state, bars, TWO, 10)
        assert [(e.kind, e.shoal_from, e.shoal_to) for e in events] == expected


def test_a_fit_that_did_not_converge_changes_nothing() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    before = state.snapshot()
    home = state.update(_round(next(bars), TWO)).home  # a converged one, to compare
    state = MembershipConfig().build(before)
    for _ in range(60):
        update = state.update(_round(next(bars), MOVED, [-1] * 10, converged=False, alive=()))
        assert update.events == []
        assert update.home.tolist() == home.tolist()
    assert state.snapshot() == before


def test_a_coin_with_poor_coverage_keeps_its_home() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    coverage = np.ones(10)
    for poor in (0.89, 0.0, np.nan):
        coverage[0] = poor
        assert _run(state, bars, MOVED, 20, coverage=coverage) == []
    coverage[0] = 0.9
    assert [e.kind for e in _run(state, bars, MOVED, 10, coverage=coverage)] == ["left"]


def test_a_shoal_of_one_coin_cannot_be_left() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    groups = [3, *TWO[1:]]
    update = state.update(_round(next(bars), groups))
    assert np.isnan(update.margin[0])
    # Its shoal stays alive with another coin in it, and it moves with shoal 2 by now.
    assert _run(state, bars, MOVED, 40, shoal=[2, 3, *TWO[2:]]) == []
    assert state.update(_round(next(bars), MOVED, [2, 3, *TWO[2:]])).home[0] == 3


def test_a_coin_that_is_absent_keeps_its_home_and_new_ones_get_one() -> None:
    state = MembershipConfig().build()
    state.update(_round(1, TWO))
    ids = ("a00", *(f"c{i:02d}" for i in range(2, 10)), "d00")
    groups = [2, *TWO[2:], 1]
    update = state.update(_round(2, groups, coin_ids=ids))
    assert update.home.tolist() == groups
    assert update.events == []
    back = state.update(_round(3, TWO, [2, 2, *TWO[2:]]))
    assert back.home.tolist() == TWO


def test_a_fit_without_shoals_moves_nothing() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    update = state.update(_round(next(bars), TWO, [-1] * 10))
    assert update.home.tolist() == TWO
    assert np.isnan(update.margin).all()
    assert _run(state, bars, TWO, 5) == []
    assert state.update(_round(next(bars), TWO)).home.tolist() == TWO


def test_split_merged_and_died_take_their_coins_along_without_coin_events() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    groups = [1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    _run(state, bars, groups, 5)
    after = [1, 1, 1, 4, 4, 4, 1, 1, 1, 2, 1, 4]
    after[9:] = [5, 1, 4]
    changes = (
        Change("split", 1, 4, ("c03", "c04", "c05")),
        Change("merged", 2, 1, ("c06", "c07", "c08")),
        Change("born", None, 5, ("c09",)),
        Change("died", 3, None, ("c09", "c10", "c11")),
    )
    update = state.update(_round(next(bars), after, changes=changes))
    assert update.home.tolist() == after
    assert _kinds(update) == [
        ("split", None, 1, 4),
        ("merged", None, 2, 1),
        ("born", None, None, 5),
        ("died", None, 3, None),
    ]
    assert update.events[0].evidence == {
        "from": "shoal-1",
        "to": "shoal-4",
        "size": 3,
        "coins": ["c03", "c04", "c05"],
    }
    assert update.events[3].evidence["from"] == "shoal-3"  # the name of a shoal that is no more
    assert update.departures_total == {}


def test_coins_at_home_elsewhere_stay_there_when_a_shoal_splits() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    changes = (Change("split", 1, 3, ("c03", "c04", "c09")),)
    update = state.update(_round(next(bars), TWO, [1, 1, 1, 3, 3, 2, 2, 2, 2, 3], changes=changes))
    assert update.home.tolist() == [1, 1, 1, 3, 3, 2, 2, 2, 2, 2]


def test_absent_coins_go_along_with_a_merger_and_find_a_new_home_after_a_death() -> None:
    state = MembershipConfig().build()
    groups = [1, 1, 1, 2, 2, 2, 3, 3, 3]
    state.update(_round(1, groups))
    rest, ids = [1, 1, 1, 1, 1, 3, 3], ("c00", "c01", "c02", "c03", "c04", "c07", "c08")  # without c05 and c06
    state.update(_round(2, rest, coin_ids=ids, changes=(Change("merged", 2, 1, ("c03", "c04")),)))
    state.update(_round(3, [1] * 7, coin_ids=ids, changes=(Change("died", 3, None, ("c07", "c08")),)))
    update = state.update(_round(4, [1, 1, 1, 1, 1, 4, 4, 4, 4], changes=(Change("born", None, 4, ("c05",)),)))
    assert update.home.tolist() == [1, 1, 1, 1, 1, 1, 4, 1, 1]


def test_most_of_a_shoal_leaving_for_one_place_is_one_event() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    groups = [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]
    _run(state, bars, groups, 5)
    after = [1, 1, 2, 2, 2, *groups[5:]]
    events = _run(state, bars, after, 20)
    assert [(e.kind, e.coin_id, e.shoal_from, e.shoal_to) for e in events] == [("structure_shift", None, 1, 2)]
    assert events[0].evidence["coins"] == ["c02", "c03", "c04"]
    update = state.update(_round(next(bars), after))
    assert update.home.tolist() == after
    assert update.departures_total == {}


def test_less_than_half_of_a_shoal_are_coin_events() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    events = _run(state, bars, [2, 2, *TWO[2:]], 20)
    assert [(e.kind, e.coin_id) for e in events] == [("left", "c00"), ("left", "c01")]


def test_outcomes() -> None:
    state, bars = MembershipConfig(cooldown_bars=10).build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    # c00 goes and comes back, c01 goes and stays away.
    events = _run(state, bars, [2, 2, *TWO[2:]], 15) + _run(state, bars, [1, 2, *TWO[2:]], 40)
    told = [(e.kind, e.coin_id, e.evidence.get("outcome")) for e in events]
    assert told == [
        ("left", "c00", None),
        ("left", "c01", None),
        ("left", "c00", None),
        ("outcome", "c00", "returned"),
        ("outcome", "c01", "apart"),
        ("outcome", "c00", "apart"),
    ]
    assert state.update(_round(next(bars), [1, 2, *TWO[2:]])).outcomes_total == {
        "returned": 1,
        "forerunner": 0,
        "apart": 2,
    }
    assert events[4].evidence["bars"] == 30
    assert events[4].evidence["mates"] == 3  # c00 had gone before


def test_a_coin_that_half_of_its_old_shoal_follows_is_a_forerunner() -> None:
    state, bars = MembershipConfig().build(), itertools.count(1)
    _run(state, bars, TWO, 5)
    events = _run(state, bars, MOVED, 10)
    events += _run(state, bars, [2, 2, *TWO[2:]], 6)
    events += _run(state, bars, [2, 2, 2, *TWO[3:]], 8)
    told = [(e.kind, e.coin_id, e.evidence.get("outcome")) for e in events]
    assert told[:3] == [("left", "c00", None), ("left", "c01", None), ("left", "c02", None)]
    assert told[3] == ("outcome", "c00", "forerunner")
    assert events[3].evidence["followed"] == 2


def test_outcomes_by_their_rules() -> None:
    mates = ("b", "c", "d")
    departure = Departure("a", 1, 2, 0, 100, mates)

    def outcome(bar: int, **home: int) -> str | None:
        closed, remaining = close([departure], bar, 30, lambda coin: home.get(coin, -1))
        assert len(closed) + len(remaining) == 1
        return closed[0].outcome if closed else None

    assert outcome(101, a=2, b=1, c=1, d=1) is None
    assert outcome(129, a=2, b=2, c=1, d=1) is None
    assert outcome(130, a=2, b=2, c=1, d=1) == "apart"
    assert outcome(130, a=1, b=1, c=1, d=1) == "returned"
    assert outcome(131, a=1, b=1, c=1, d=1) == "apart"  # too late
    assert outcome(101, a=2, b=2, c=2, d=1) == "forerunner"
    assert outcome(101, a=5, b=5, c=5, d=1) == "forerunner"  # wherever they meet
    assert outcome(101, a=-1) is None  # without a home nobody meets
    lonely = Departure("a", 1, 2, 0, 100, ())
    assert close([lonely], 129, 30, lambda _: 2) == ([], [lonely])


def test_weights_follow_bars_and_not_rounds() -> None:
    """Refits far apart weigh more than refits at every bar."""
    every, sparse = MembershipConfig().build(), MembershipConfig().build()
    for state in (every, sparse):
        state.update(_round(1, TWO))
    for bar in range(2, 7):
        last = every.update(_round(bar, MOVED))
    once = sparse.update(_round(6, MOVED))
    np.testing.assert_allclose(once.margin, last.margin, rtol=1e-9)


def test_bad_input_is_named() -> None:
    state = MembershipConfig().build()
    good = _round(5, TWO)
    state.update(good)
    for wrong, message in [
        (good, "bar 5 comes after bar 5"),
        (replace(good, bar=6, shoal=good.shoal[1:]), "shoals of shape"),
        (replace(good, bar=6, Z=good.Z[:, 1:]), "returns"),
        (replace(good, bar=6, coverage=good.coverage[1:]), "coverage"),
        (replace(good, bar=6, mode_share=np.ones(3)), "mode shares"),
    ]:
        with pytest.raises(ValueError, match=message):
            state.update(wrong)
    for name, value in [
        ("return_margin", 0.5),
        ("smoothing_bars", 0.0),
        ("cooldown_bars", -1),
        ("coverage_floor", 2.0),
    ]:
        with pytest.raises(ValueError, match=name):
            MembershipConfig(**{name: value})  # type: ignore[arg-type]
    raw = msgspec.msgpack.decode(state.snapshot()) | {"schema": 7}
    with pytest.raises(ValueError, match="schema 7"):
        MembershipConfig().build(msgspec.msgpack.encode(raw))


_rounds = st.lists(
    st.tuples(st.lists(st.integers(0, 3), min_size=10, max_size=10), st.integers(0, 9), st.integers(1, 6)),
    min_size=3,
    max_size=25,
)


@settings(deadline=None, max_examples=40)
@given(_rounds, st.integers(0, 24))
def test_invariants_on_any_market(rounds: list[tuple[list[int], int, int]], restart: int) -> None:
    """Homes change by events, departures end, cooldowns hold, and a restart in the middle changes nothing."""
    config = MembershipConfig(
        leave_margin=0.05, return_margin=0.02, smoothing_bars=2.0, cooldown_bars=8, outcome_bars=12
    )
    state, twin = config.build(), config.build()
    bar, last, left_at = 0, np.full(10, -1), {}
    kinds: Counter[str] = Counter()
    calm = [(rounds[-1][0], 0, 6)] * 8  # until every departure is closed
    for i, (groups, code, gap) in enumerate([*rounds, *calm]):
        bar += gap
        coverage = np.ones(10)
        coverage[code] = 0.5 if code % 2 else 1.0
        # All shoals stay alive: a fourth of the rounds did not converge.
        fit = _round(bar, groups, coverage=coverage, alive=(0, 1, 2, 3), converged=code not in (3, 7))
        if i == restart:
            twin = config.build(twin.snapshot())
        update = state.update(fit)
        again = twin.update(fit)
        assert again.events == update.events
        assert again.home.tolist() == update.home.tolist()
        assert twin.snapshot() == state.snapshot()
        shifted = {c for e in update.events if e.kind == "structure_shift" for c in e.evidence["coins"]}
        told = {e.coin_id for e in update.events if e.kind in ("left", "joined")}
        for coin, before, now in zip(fit.coin_ids, last.tolist(), update.home.tolist(), strict=True):
            assert before in (now, -1) or coin in told | shifted
        for event in update.events:
            kinds[event.kind] += 1
            if event.kind == "left":
                assert bar - left_at.get(event.coin_id, -99) >= config.cooldown_bars
                assert fit.converged
                left_at[event.coin_id] = bar
                assert fit.coverage[fit.coin_ids.index(str(event.coin_id))] >= 0.9
        if not fit.converged:
            assert not update.events
        last = update.home
    # Some of the calm rounds may have opened new ones; those of the past are closed.
    assert kinds["outcome"] == sum(update.outcomes_total.values())
    assert kinds["left"] == sum(update.departures_total.values())
    if rounds[-1][1] not in (3, 7):
        assert kinds["left"] - kinds["outcome"] <= sum(bar - at < 12 for at in left_at.values())


# Markets with a known truth, through clustering and identity.

GROUPS, SIZE, REFIT = 5, 8, 5


@dataclass(frozen=True)
class Move:
    bar: int
    coin: int
    to: int


def _moves(seed: int, bars: int, every: int) -> list[Move]:
    rng = np.random.default_rng(seed)
    group, free = np.repeat(np.arange(GROUPS), SIZE), np.zeros(GROUPS * SIZE)
    moves = []
    for bar in range(200, bars - 150, every):
        coin = int(rng.choice(np.flatnonzero((free <= bar) & (np.bincount(group)[group] > 5))))
        to = int(rng.choice(np.setdiff1d(np.arange(GROUPS), group[coin])))
        moves.append(Move(bar, coin, to))
        group[coin], free[coin] = to, bar + 250
    return moves


def _market(seed: int, bars: int, moves: Sequence[Move], share: float = 0.5) -> tuple[Array, Ints]:
    """Return heavy-tailed returns of coins in groups, and the true group of each at each bar."""
    rng = np.random.default_rng(seed)
    group = np.tile(np.repeat(np.arange(GROUPS), SIZE), (bars, 1))
    for move in moves:
        group[move.bar :, move.coin] = move.to
    factors, own = rng.standard_t(4, (bars, GROUPS)), rng.standard_t(4, group.shape)
    return np.sqrt(share) * np.take_along_axis(factors, group, 1) + np.sqrt(1 - share) * own, group


def _cluster(Z: Array) -> tuple[Ints, Ints, bool]:
    similarity = Z.T @ Z / Z.shape[0]
    fit = AffinityPropagation(affinity="precomputed", damping=0.7, max_iter=400, random_state=0).fit(similarity)
    return fit.labels_, fit.cluster_centers_indices_, bool(fit.n_iter_ < 400 and fit.cluster_centers_indices_.size)


def _watch(
    X: Array, *, rename: np.random.Generator | None = None, restart_at: int | None = None
) -> Iterator[tuple[int, Update]]:
    """Run clustering, identity and membership over a market; yield every round."""
    ids = tuple(f"c{i:02d}" for i in range(X.shape[1]))
    identity, state = IdentityConfig().build(), MembershipConfig().build()
    for bar in range(WINDOW, X.shape[0] + 1, REFIT):
        window = X[bar - WINDOW : bar]
        Z = (window - window.mean(axis=0)) / window.std(axis=0)
        labels, exemplars, converged = _cluster(Z)
        if not converged:
            continue
        if rename is not None:
            order = rename.permutation(exemplars.size)
            labels, exemplars = np.argsort(order)[labels], exemplars[order]
        if restart_at is not None and bar >= restart_at:
            identity, state = IdentityConfig().build(identity.snapshot()), MembershipConfig().build(state.snapshot())
            restart_at = None
        matched = identity.match(bar, ids, labels, exemplars)
        fit = Round(
            as_of_us=bar, bar=bar, coin_ids=ids, shoal=matched.shoal, Z=Z, converged=True, coverage=np.ones(len(ids)),
            names=matched.names, alive=matched.alive, changes=matched.changes,
        )  # fmt: skip
        yield bar, state.update(fit)


@pytest.mark.parametrize("seed", [11, 12])
def test_planted_moves_are_found_with_their_destination(seed: int) -> None:
    """Measured on seeds 1 and 2 (not these): all of 28 moves, right destination, 45-115 bars, no false departure."""
    bars = 1500
    moves = _moves(seed, bars, 60)
    X, group = _market(seed, bars, moves)
    open_moves, delays, false = list(moves), [], 0
    for bar, update in _watch(X):
        for event in update.events:
            if event.kind != "left":
                continue
            coin = int(str(event.coin_id)[1:])
            found = [m for m in open_moves if m.coin == coin and m.bar < bar <= m.bar + 140]
            companions = np.flatnonzero(update.home == event.shoal_to)
            companions = companions[companions != coin]
            if not found or np.mean(group[bar - 1, companions] == found[0].to) <= 0.5:
                false += 1
                continue
            open_moves.remove(found[0])
            delays.append(bar - found[0].bar)
    assert len(moves) >= 19
    assert len(delays) >= 0.95 * len(moves)
    assert 50 <= np.median(delays) <= 90
    assert false <= 1


@pytest.mark.filterwarnings("ignore:Affinity propagation did not converge")
@pytest.mark.parametrize(("share", "allowed"), [(0.5, 0), (0.3, 10)])
def test_a_market_in_which_nothing_changes_raises_almost_nothing(share: float, allowed: int) -> None:
    """Over 2,000 bars and 40 coins. Measured on seed 1 (not this one): 0 at a correlation of 0.5, 7 at 0.3."""
    X, _ = _market(13, 2000 + WINDOW, [], share)
    left = sum(event.kind == "left" for _, update in _watch(X) for event in update.events)
    assert left <= allowed


def test_names_of_labels_and_a_restart_change_no_event() -> None:
    X, _ = _market(14, 700, _moves(14, 700, 60), share=0.35)
    plain = list(_watch(X))
    other = list(_watch(X, rename=np.random.default_rng(5), restart_at=400))
    assert sum(len(update.events) for _, update in plain) > 5
    for (bar, expected), (same_bar, got) in zip(plain, other, strict=True):
        assert same_bar == bar
        assert got.events == expected.events
        assert got.home.tobytes() == expected.home.tobytes()
        assert got.margin.tobytes() == expected.margin.tobytes()
        assert got.departures_total == expected.departures_total
