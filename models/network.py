"""Properties of the transfer network of one window."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from models.amounts import Int64, UInt64


class NetworkStats(NamedTuple):
    """Properties of a directed network; NaN where one is not defined.

    Attributes
    ----------
    nodes, edges : int
        Entities with an edge to another entity, and unique directed edges between them.
    density : float
        Edges over nodes (nodes - 1).
    reciprocity : float
        Share of edges whose reverse is an edge too.
    assortativity : float
        Pearson correlation, over edges, of the sender's out-degree and the receiver's in-degree (Newman 2003).
    components, largest_component : int
        Weakly connected components, and the nodes of the largest.
    clustering : float
        Mean local clustering coefficient of the undirected network (Watts & Strogatz 1998); nodes with fewer than
        two neighbours count as 0.
    self_loops : int
        Edges of an entity to itself: left out of all the above.
    interactions : int
        Transfers along the edges.
    """

    nodes: int
    edges: int
    density: float
    reciprocity: float
    assortativity: float
    components: int
    largest_component: int
    clustering: float
    self_loops: int
    interactions: int


def network(from_keys: UInt64, to_keys: UInt64, counts: Int64, sample: int = 2000, seed: int = 0) -> NetworkStats:
    """Return the properties of a network.

    Parameters
    ----------
    from_keys, to_keys : uint64 [m]
        Ends of each directed edge, in any order; an edge given twice is one edge.
    counts : int64 [m]
        Transfers along each.
    sample : int
        Nodes whose clustering coefficient is computed; exact when there are no more.
    seed : int
        Of the sample.
    """
    if not from_keys.size == to_keys.size == counts.size:
        raise ValueError("columns of edges differ in length")
    loop = from_keys == to_keys
    interactions = int(counts[~loop].sum())
    self_loops = int(np.unique(from_keys[loop]).size)
    names, ends = np.unique(np.concatenate([from_keys[~loop], to_keys[~loop]]), return_inverse=True)
    n = int(names.size)
    if n == 0:
        nan = math.nan
        return NetworkStats(0, 0, nan, nan, nan, 0, 0, nan, self_loops, 0)
    # one number per directed edge: 2**31 nodes are beyond this machine's memory anyway
    codes = np.unique(ends[: ends.size // 2].astype(np.int64) * n + ends[ends.size // 2 :])
    source, target = codes // n, codes % n
    edges = int(codes.size)
    reverse = target * n + source
    at = np.minimum(np.searchsorted(codes, reverse), edges - 1)
    both = codes[at] == reverse
    pairs = np.unique(np.concatenate([codes, reverse]))  # the undirected network, each edge in both directions
    indptr = np.searchsorted(pairs, np.arange(n + 1, dtype=np.int64) * n)
    neighbours = (pairs % n).astype(np.int64)
    graph = csr_matrix((np.ones(neighbours.size, np.int8), neighbours, indptr), shape=(n, n))
    components, member = connected_components(graph, directed=False)
    chosen = np.arange(n, dtype=np.int64)
    if n > sample:
        chosen = np.sort(np.random.default_rng(seed).choice(n, sample, replace=False)).astype(np.int64)
    clustering = float(_local_clustering(indptr.astype(np.int64), neighbours, chosen).mean()) if sample else math.nan
    return NetworkStats(
        nodes=n,
        edges=edges,
        density=edges / (n * (n - 1)),
        reciprocity=float(both.mean()),
        assortativity=_assortativity(source, target, n),
        components=int(components),
        largest_component=int(np.bincount(member).max()),
        clustering=clustering,
        self_loops=self_loops,
        interactions=interactions,
    )


def _assortativity(source: Int64, target: Int64, n: int) -> float:
    """Pearson correlation of out-degree at the source and in-degree at the target; NaN where one never varies."""
    x = np.bincount(source, minlength=n)[source].astype(np.float64)
    y = np.bincount(target, minlength=n)[target].astype(np.float64)
    if float(x.min()) == float(x.max()) or float(y.min()) == float(y.max()):
        return math.nan
    x -= x.mean()
    y -= y.mean()
    correlation = float(np.sum(x * y)) / math.sqrt(float(np.sum(x * x)) * float(np.sum(y * y)))
    return min(1.0, max(-1.0, correlation))


@njit(cache=True)
def _local_clustering(indptr, neighbours, nodes):  # type: ignore[no-untyped-def]
    """Return links among the neighbours of each node over the possible ones.

    Of two sorted neighbour lists the shorter is looked up in the longer, else each neighbour of an exchange would
    cost a pass over all its customers.
    """
    out = np.zeros(nodes.size, np.float64)
    for k in range(nodes.size):
        mine = neighbours[indptr[nodes[k]] : indptr[nodes[k] + 1]]
        links = 0
        for v in mine:
            theirs = neighbours[indptr[v] : indptr[v + 1]]
            short, long = (mine, theirs) if mine.size <= theirs.size else (theirs, mine)
            for w in short:
                at = np.searchsorted(long, w)
                links += at < long.size and long[at] == w
        if mine.size > 1:
            out[k] = links / (mine.size * (mine.size - 1))
    return out
