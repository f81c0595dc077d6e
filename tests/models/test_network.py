"""Network properties against definitions spelled out over sets."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network import NetworkStats, network

EDGES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 5)), max_size=40)


def of(edges: list[tuple[int, int, int]], **options: Any) -> NetworkStats:
    spread = np.uint64(0x9E3779B97F4A7C15)  # keys all over the range, as hashes are
    f = np.array([e[0] + 1 for e in edges], np.uint64) * spread
    t = np.array([e[1] + 1 for e in edges], np.uint64) * spread
    return network(f, t, np.array([e[2] for e in edges], np.int64), **options)


def brute_force(edges: list[tuple[int, int, int]]) -> NetworkStats:
    nan = math.nan
    links = {(a, b) for a, b, _ in edges if a != b}
    loops = len({a for a, b, _ in edges if a == b})
    nodes = sorted({n for link in links for n in link})
    if not nodes:
        return NetworkStats(0, 0, nan, nan, nan, 0, 0, nan, loops, 0)
    near = {n: {b for a, b in links if a == n} | {a for a, b in links if b == n} for n in nodes}
    left, sizes = set(nodes), []
    while left:
        reached, front = set(), {min(left)}
        while front:
            reached |= front
            front = set().union(*(near[n] for n in front)) - reached
        sizes.append(len(reached))
        left -= reached
    local = []
    for n in nodes:
        closed = sum((a, b) in links or (b, a) in links for a, b in combinations(sorted(near[n]), 2))
        possible = len(near[n]) * (len(near[n]) - 1) / 2
        local.append(closed / possible if possible else 0.0)
    x = [sum(a == source for a, _ in links) for source, _ in sorted(links)]
    y = [sum(b == target for _, b in links) for _, target in sorted(links)]
    varied = len(set(x)) > 1 and len(set(y)) > 1
    return NetworkStats(
        len(nodes),
        len(links),
        len(links) / (len(nodes) * (len(nodes) - 1)),
        sum((b, a) in links for a, b in links) / len(links),
        float(np.corrcoef(x, y)[0, 1]) if varied else nan,
        len(sizes),
        max(sizes),
        sum(local) / len(nodes),
        loops,
        sum(c for a, b, c in edges if a != b),
    )


@settings(deadline=None)
@given(EDGES)
def test_equals_the_definitions(edges: list[tuple[int, int, int]]) -> None:
    assert tuple(of(edges)) == pytest.approx(tuple(brute_force(edges)), abs=1e-9, nan_ok=True)


@settings(deadline=None)
@given(EDGES, st.randoms(use_true_random=False))
def test_the_order_of_edges_does_not_matter(edges: list[tuple[int, int, int]], random: Any) -> None:
    shuffled = random.sample(edges, len(edges))
    assert repr(of(shuffled, sample=3, seed=5)) == repr(of(edges, sample=3, seed=5))


def test_a_sample_of_nodes_is_seeded_and_near_the_whole(rng: np.random.Generator) -> None:
    n = 3_000
    ends = (400 * rng.random((n, 2)) ** 2).astype(int)
    edges = [(int(a), int(b), 1) for a, b in ends]
    exact = of(edges).clustering
    assert of(edges, sample=200, seed=1) == of(edges, sample=200, seed=1)
    few = [of(edges, sample=200, seed=s).clustering for s in range(10)]
    assert len(set(few)) > 1
    assert float(np.mean(few)) == pytest.approx(exact, rel=0.1)


def test_a_star_and_a_triangle() -> None:
    star = of([(0, k, 2) for k in range(1, 9)])
    assert (star.nodes, star.edges, star.clustering, star.reciprocity, star.components) == (9, 8, 0.0, 0.0, 1)
    assert math.isnan(star.assortativity)
    assert star.interactions == 16
    triangle = of([(0, 1, 1), (1, 2, 1), (2, 0, 1), (2, 2, 7)])
    assert (triangle.clustering, triangle.density, triangle.self_loops, triangle.interactions) == (1.0, 0.5, 1, 3)
    with pytest.raises(ValueError, match="length"):
        network(np.zeros(2, np.uint64), np.zeros(1, np.uint64), np.zeros(2, np.int64))
