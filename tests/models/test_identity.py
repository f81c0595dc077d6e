"""Identity of shoals over fits: numbers, names, lineage, and independence of labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.identity import Change, Identity, IdentityConfig, Matched

Clusters = Sequence[Sequence[str]]


def _match(identity: Identity, clusters: Clusters, as_of_us: int = 1, others: Sequence[str] = ()) -> Matched:
    """Match a fit given as lists of coins; the first coin of each is its exemplar, ``others`` have no cluster."""
    coins = sorted([*(coin for cluster in clusters for coin in cluster), *others])
    label = {coin: number for number, cluster in enumerate(clusters) for coin in cluster}
    return identity.match(
        as_of_us,
        coins,
        np.array([label.get(coin, -1) for coin in coins]),
        np.array([coins.index(cluster[0]) for cluster in clusters], dtype=np.int64),
    )


def _members(matched: Matched, coins: Sequence[str]) -> dict[int, str]:
    """Return the coins of each shoal, for coins of one letter each."""
    return {
        number: "".join(coin for coin, shoal in zip(sorted(coins), matched.shoal, strict=True) if shoal == number)
        for number in matched.alive
    }


def _run(*rounds: Clusters, **config: float) -> list[Matched]:
    identity = IdentityConfig(**config).build()  # type: ignore[arg-type]
    return [_match(identity, clusters, as_of_us) for as_of_us, clusters in enumerate(rounds, start=1)]


def test_the_first_fit_numbers_from_one_in_order_of_the_smallest_coin() -> None:
    [first] = _run(["cd", "ba", "e"])
    assert _members(first, "abcde") == {1: "ab", 2: "cd", 3: "e"}
    assert first.changes == []
    assert [(s.number, s.name, s.size, s.exemplar) for s in first.shoals] == [
        (1, "b", 2, "b"),
        (2, "c", 2, "c"),
        (3, "e", 1, "e"),
    ]


def test_a_shoal_keeps_number_and_name_while_coins_come_and_go() -> None:
    rounds = _run(["abcd", "efgh"], ["hgfa", "bcd"], ["fgh", "cdb"])
    assert [_members(m, coins) for m, coins in zip(rounds, ["abcdefgh", "abcdfgh", "bcdfgh"], strict=True)] == [
        {1: "abcd", 2: "efgh"},
        {1: "bcd", 2: "afgh"},
        {1: "bcd", 2: "fgh"},
    ]
    assert [rounds[2].names, rounds[2].changes] == [{1: "a", 2: "e"}, []]
    assert [s.exemplar for s in rounds[2].shoals] == ["c", "f"]
    assert [s.born_as_of_us for s in rounds[2].shoals] == [1, 1]


def test_a_split_leaves_the_number_with_the_greater_part() -> None:
    _, second = _run(["abcdefgh", "xyz"], ["abcde", "fgh", "xyz"])
    assert _members(second, "abcdefghxyz") == {1: "abcde", 2: "xyz", 3: "fgh"}
    assert second.changes == [Change("split", 1, 3, ("f", "g", "h"))]
    assert second.shoals[2].parents == (1,)


def test_a_single_coin_that_stands_apart_is_born_and_no_split() -> None:
    _, second = _run(["abc", "xyz"], ["ab", "c", "xyz"])
    assert second.changes == [Change("born", None, 3, ("c",))]
    assert second.shoals[2].parents == ()


def test_a_small_part_of_a_great_shoal_is_born_and_no_split() -> None:
    _, second = _run(["abcdefghijklm", "xyz"], ["abcdefghijk", "lm", "xyz"])
    assert second.changes == [Change("born", None, 3, ("l", "m"))]


def test_a_merge_leaves_the_number_of_the_greater_shoal() -> None:
    _, second = _run(["abcde", "fgh", "xyz"], ["abcdefgh", "xyz"])
    assert _members(second, "abcdefghxyz") == {1: "abcdefgh", 3: "xyz"}
    assert second.changes == [Change("merged", 2, 1, ("f", "g", "h"))]
    assert [(s.number, s.died_as_of_us, s.size) for s in second.shoals] == [(1, None, 8), (2, 2, 0), (3, None, 3)]


def test_many_that_merge_into_something_new_are_its_parents() -> None:
    _, second = _run(["ab", "cd", "ef", "gh", "xyz"], ["abcdefgh", "xyz"])
    assert _members(second, "abcdefghxyz") == {5: "xyz", 6: "abcdefgh"}
    assert second.changes == [Change("merged", n, 6, tuple(c)) for n, c in enumerate(["ab", "cd", "ef", "gh"], 1)]
    assert next(s for s in second.shoals if s.number == 6).parents == (1, 2, 3, 4)


def test_a_shoal_that_falls_to_pieces_dies_and_is_the_parent_of_them() -> None:
    _, second = _run(["abcdefgh", "xyz"], ["ab", "cd", "ef", "gh", "xyz"])
    assert [c.kind for c in second.changes] == ["split"] * 4 + ["died"]
    assert second.changes[-1] == Change("died", 1, None, tuple("abcdefgh"))
    assert [s.parents for s in second.shoals if s.born_as_of_us == 2] == [(1,)] * 4


def test_a_shoal_whose_coins_are_delisted_dies_and_new_coins_are_born() -> None:
    _, second = _run(["abc", "def"], ["abc", "xyz"])
    assert second.changes == [Change("born", None, 3, ("x", "y", "z")), Change("died", 2, None, ("d", "e", "f"))]


def test_absent_coins_do_not_count() -> None:
    # Over coins in both fits the overlap of "aXXXX" and "ab" is 1/1.
    _, second = _run([["a", "p", "q", "r", "s"], ["b", "c"]], [["a", "t"], ["b", "c"]])
    assert second.alive == (1, 2)


def test_a_coin_without_a_cluster_has_no_shoal_and_does_not_count() -> None:
    identity = IdentityConfig().build()
    _match(identity, ["abc", "xyz"])
    second = _match(identity, ["a", "xyz"], others="bc")
    assert second.shoal.tolist() == [1, -1, -1, 2, 2, 2]
    third = _match(identity, ["bc", "axyz"])  # b and c had no cluster before: 1 has only a, which is in 2 now
    assert third.changes == [Change("merged", 1, 2, ("a",)), Change("born", None, 3, ("b", "c"))]


def test_below_the_threshold_a_cluster_gets_a_new_number() -> None:
    rounds = (["abcd", "efgh"], ["abef", "cdgh"])  # all overlaps 1/3
    assert _run(*rounds)[1].alive == (1, 2)
    assert _run(*rounds, keep_overlap=0.34)[1].alive == (3, 4)


def test_pairs_below_the_threshold_have_no_say() -> None:
    """Two weak overlaps may not outvote a strong one that is the only admissible."""
    first = [[*"abcdefghij"], [*"klm"], [*"nopqrstuvw"]]
    second = [[*"abcdefklm", "n"], [*"ghijopqrs"], [*"tuvw"]]
    matched = _run(first, second, keep_overlap=0.4)[1]
    best = _best_total(first, second, 0.4)
    assert _total(first, second, matched, 0.4) == pytest.approx(best)


def test_exemplar_continuity_breaks_ties() -> None:
    # Each half of 1 overlaps by 1/2; the one that holds the old exemplar carries the number on.
    for exemplar, expected in [("a", "ab"), ("c", "cd")]:
        first = [[exemplar, *sorted(set("abcd") - {exemplar})], [*"xyz"]]
        second = _run(first, ["ab", "cd", "xyz"])[1]
        assert _members(second, "abcdxyz")[1] == expected


def test_a_name_that_is_taken_gets_a_suffix() -> None:
    rounds = _run(
        ["abcd", "xyz"],
        ["bcd", "aefg", "xyz"],
        ["bcd", "efg", "ahij", "xyz"],
        ["hij", "aklm", "xyz"],  # the coins of 1 and 3 are gone
        ["hij", "klm", "anop", "xyz"],
    )
    assert rounds[1].names == {1: "a", 2: "x", 3: "a-2"}
    assert rounds[2].names == {1: "a", 2: "x", 3: "a-2", 4: "a-3"}
    assert rounds[3].names == {1: "a", 2: "x", 3: "a-2", 4: "a-3", 5: "a-4"}
    assert rounds[3].alive == (2, 4, 5)
    # The names of the dead of a round are free from the next round on.
    assert rounds[4].names == {2: "x", 4: "a-3", 5: "a-4", 6: "a"}


def test_fits_without_clusters_or_coins() -> None:
    rounds = _run(["ab"], [], ["ab"])
    assert [m.alive for m in rounds] == [(1,), (), (2,)]
    assert [m.changes for m in rounds[1:]] == [
        [Change("died", 1, None, ("a", "b"))],
        [Change("born", None, 2, ("a", "b"))],
    ]


def test_bad_input_is_named() -> None:
    identity = IdentityConfig().build()
    for coins, labels, exemplars, message in [
        (["b", "a"], [0, 0], [0], "'b' stands before 'a'"),
        (["a", "a"], [0, 0], [0], "not ascending"),
        (["a", "b"], [0], [0], "labels of shape"),
        (["a", "b"], [0, 1], [0], "1 exemplars"),
        (["a", "b"], [0, -2], [0], "from -2"),
        (["a", "b"], [0, 0], [2], "no index"),
        (["a", "b"], [0, 1], [1, 0], "belongs to another"),
    ]:
        with pytest.raises(ValueError, match=message):
            identity.match(1, coins, np.array(labels), np.array(exemplars))
    for wrong in ({"keep_overlap": 0.0}, {"heir_overlap": 1.5}, {"split_coins": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            IdentityConfig(**wrong)  # type: ignore[arg-type]
    state = msgspec.msgpack.decode(identity.snapshot()) | {"schema": 7}
    with pytest.raises(ValueError, match="schema 7"):
        IdentityConfig().build(msgspec.msgpack.encode(state))


# Sequences of partitions of up to 12 coins, some of them absent (-2) or without a cluster (-1).
_rounds = st.lists(st.lists(st.integers(-2, 4), min_size=12, max_size=12), min_size=2, max_size=6)


def _clusters(labels: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    coins = "abcdefghijkl"
    groups = [[c for c, x in zip(coins, labels, strict=True) if x == label] for label in range(5)]
    return [g for g in groups if g], [c for c, x in zip(coins, labels, strict=True) if x == -1]


def _jaccard(a: Sequence[str], b: Sequence[str], both: set[str]) -> float:
    x, y = set(a) & both, set(b) & both
    return len(x & y) / len(x | y) if x | y else 0.0


def _best_total(first: Clusters, second: Clusters, threshold: float) -> float:
    """Return the greatest summed overlap of any one-to-one matching of admissible pairs, by trying all."""
    both = {c for g in first for c in g} & {c for g in second for c in g}
    value = [[j if (j := _jaccard(a, b, both)) >= threshold else 0.0 for b in second] for a in first]
    size = max(len(first), len(second))
    padded = [[value[i][j] if i < len(first) and j < len(second) else 0.0 for j in range(size)] for i in range(size)]
    return max(sum(padded[i][p] for i, p in enumerate(order)) for order in permutations(range(size)))


def _total(first: Clusters, second: Clusters, matched: Matched, threshold: float) -> float:
    """Return the summed overlap of the matching that was chosen; the first fit's numbers are 1, 2, ... by coin."""
    both = {c for g in first for c in g} & {c for g in second for c in g}
    coins = sorted(c for g in second for c in g)
    shoal = dict(zip(coins, matched.shoal.tolist(), strict=False))
    total = 0.0
    for number, old in enumerate(sorted(first, key=min), start=1):
        for new in second:
            if shoal[new[0]] == number:
                overlap = _jaccard(old, new, both)
                assert overlap >= threshold
                total += overlap
    return total


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(0, 4), min_size=12, max_size=12), st.lists(st.integers(0, 4), min_size=12, max_size=12))
def test_no_other_matching_has_more_overlap(a: list[int], b: list[int]) -> None:
    first, second = _clusters(a)[0], _clusters(b)[0]
    matched = _run(first, second)[1]
    assert _total(first, second, matched, 0.3) == pytest.approx(_best_total(first, second, 0.3), abs=1e-4)


@settings(deadline=None, max_examples=80)
@given(_rounds, st.randoms(use_true_random=False), st.integers(0, 6))
def test_names_of_labels_and_a_restart_do_not_matter(rounds: list[list[int]], random: object, at: int) -> None:
    plain, other = IdentityConfig().build(), IdentityConfig().build()
    for i, labels in enumerate(rounds):
        clusters, none = _clusters(labels)
        shuffled = random.sample(clusters, len(clusters))  # type: ignore[attr-defined]
        if i == at:
            other = IdentityConfig().build(other.snapshot())
        expected, got = _match(plain, clusters, i, none), _match(other, shuffled, i, none)
        assert got.shoal.tolist() == expected.shoal.tolist()
        assert (got.shoals, got.changes) == (expected.shoals, expected.changes)
        assert other.snapshot() == plain.snapshot()


@settings(deadline=None, max_examples=80)
@given(_rounds)
def test_every_number_has_one_beginning_and_one_end(rounds: list[list[int]]) -> None:
    identity = IdentityConfig().build()
    alive: set[int] = set()
    seen: set[int] = set()
    for i, labels in enumerate(rounds):
        clusters, none = _clusters(labels)
        matched = _match(identity, clusters, i, none)
        coins = sorted(none + [c for g in clusters for c in g])
        now = set(matched.alive)
        shoal = dict(zip(coins, matched.shoal.tolist(), strict=True))
        assert {frozenset(g) for g in clusters} == {frozenset(c for c in coins if shoal[c] == n) for n in now}
        assert all(shoal[c] == -1 for c in none)
        fresh, gone = now - alive, alive - now
        assert not fresh & seen
        assert {s.number for s in matched.shoals} == now | gone
        for s in matched.shoals:
            assert s.died_as_of_us == (None if s.number in now else i)
            assert s.size == sum(number == s.number for number in shoal.values())
            assert s.number not in now or shoal[s.exemplar] == s.number
        assert len({s.name for s in matched.shoals}) == len(matched.shoals)
        if i > 0:
            ends = [c.shoal_from for c in matched.changes if c.kind in ("merged", "died")]
            assert sorted(e for e in ends if e is not None) == sorted(gone)
            origins = {c.shoal_to for c in matched.changes}
            assert fresh <= origins
            for s in matched.shoals:
                if s.number in fresh:
                    kinds = {c.kind for c in matched.changes if c.shoal_to == s.number}
                    assert ("born" in kinds) == (not s.parents)
                    assert set(s.parents) == {c.shoal_from for c in matched.changes if c.shoal_to == s.number} - {None}
        alive, seen = now, seen | now
