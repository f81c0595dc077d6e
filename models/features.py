"""The seven features of an entity, the noisy-user rule and the log form.

Aspembitova, Feng & Chew 2021, "Data": degrees and values in, out and in total, and the balance, over one window.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from models import amounts
from models.amounts import Float64, Int64
from models.panes import ShardWindow

Bool: TypeAlias = npt.NDArray[np.bool_]
Chain: TypeAlias = Literal["ethereum", "bitcoin"]
NoisyRule: TypeAlias = Literal["degree_and_value", "degree_or_value", "degree", "value"]

FEATURES: Final = (
    "total_degree", "in_degree", "out_degree", "outgoing_value", "incoming_value", "balance", "total_value",
)  # fmt: skip
TOTAL_DEGREE, IN_DEGREE, OUT_DEGREE, OUTGOING, INCOMING, BALANCE, TOTAL_VALUE = range(7)

_SETS: Final[dict[tuple[Chain, int], tuple[int, ...]]] = {
    ("ethereum", 1): tuple(range(7)),
    ("ethereum", 2): (IN_DEGREE, OUT_DEGREE, OUTGOING, INCOMING, BALANCE),
    ("ethereum", 3): (IN_DEGREE, OUT_DEGREE, BALANCE, TOTAL_VALUE),
    ("bitcoin", 1): tuple(range(7)),
    ("bitcoin", 2): (IN_DEGREE, OUT_DEGREE, OUTGOING, INCOMING, BALANCE),
    ("bitcoin", 3): (TOTAL_DEGREE, BALANCE, TOTAL_VALUE),
}


def feature_columns(chain: Chain, feature_set: int) -> tuple[int, ...]:
    """Return the columns of FEATURES in a set; set 0 is the chain's default.

    The default is set 2 on both chains: with it the groups of k-means fulfilled the rules of behaviour, while the
    paper's set 3 for Bitcoin left over a third misclassified.
    """
    columns = _SETS.get((chain, feature_set or 2))
    if columns is None:
        raise ValueError(f"no feature set {feature_set} for {chain!r}: sets are 1, 2, 3 (0 = default)")
    return columns


def features(window: ShardWindow, unit: float) -> Float64:
    """Return the features of a window's entities.

    Parameters
    ----------
    window : ShardWindow
        Sums over n entities.
    unit : float
        Base units of one coin: 1e18 for ether, 1e8 for bitcoin.

    Returns
    -------
    float64 [n, 7]
        Columns as in FEATURES, values in coins. Balance and total are formed of exact integers before the
        conversion, so that a balance of zero is exactly zero.
    """
    if not unit > 0.0:
        raise ValueError(f"unit must be positive, not {unit}")
    balance = amounts.subtract(window.in_hi, window.in_lo, window.out_hi, window.out_lo)
    total = amounts.add(window.in_hi, window.in_lo, window.out_hi, window.out_lo)
    X = np.empty((window.keys.size, len(FEATURES)), np.float64)
    X[:, TOTAL_DEGREE] = window.in_degree + window.out_degree
    X[:, IN_DEGREE] = window.in_degree
    X[:, OUT_DEGREE] = window.out_degree
    X[:, OUTGOING] = amounts.to_float(window.out_hi, window.out_lo) / unit
    X[:, INCOMING] = amounts.to_float(window.in_hi, window.in_lo) / unit
    X[:, BALANCE] = amounts.to_float(*balance) / unit
    X[:, TOTAL_VALUE] = amounts.to_float(*total) / unit
    return X


def noisy(
    total_degree_lifetime: Int64,
    total_value: Float64,
    share_threshold: float = 0.01,
    *,
    transacted: float | None = None,
    rule: NoisyRule = "degree_and_value",
) -> Bool:
    """Return which entities are noise.

    Parameters
    ----------
    total_degree_lifetime : int64 [n]
        Interactions since the first block seen.
    total_value : float64 [n]
        Value traded in the window, in and out.
    share_threshold : float
        Share of all that was transacted in the window.
    transacted : float, optional
        All that was transacted, in the same unit. By default half of the sum of ``total_value`` (each transfer is
        in it twice); give it when the entities are only some of all.
    rule : str
        The reading: ``degree_and_value`` (lifetime degree below 2 and less than the share; the paper's words),
        ``degree_or_value``, ``degree`` or ``value`` alone. Nearly everybody trades less than one per cent of a
        whole chain, so the first reading is nearly ``degree``, and those with ``or`` drop nearly everybody.

    Returns
    -------
    bool [n]
    """
    if total_degree_lifetime.shape != total_value.shape:
        raise ValueError("lifetime degree and value differ in length")
    everything = float(np.sum(total_value)) / 2.0 if transacted is None else transacted
    few = np.asarray(total_degree_lifetime < 2, dtype=np.bool_)
    little = np.asarray(total_value < share_threshold * everything, dtype=np.bool_)
    match rule:
        case "degree_and_value":
            return few & little
        case "degree_or_value":
            return few | little
        case "degree":
            return few
        case "value":
            return little
    raise ValueError(f"no noisy rule {rule!r}")


@njit(cache=True, inline="always")
def log_value(x, floor, signed):  # type: ignore[no-untyped-def]
    """Return the log form of one value; for use inside numba kernels."""
    if signed:
        size = np.log(max(abs(x) / floor, 1.0))
        return size if x > 0.0 else -size
    return np.log(max(x, floor))


@njit(cache=True)
def _log_form(X, floor):  # type: ignore[no-untyped-def]
    out = np.empty_like(X)
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            out[i, j] = log_value(X[i, j], floor, j == BALANCE)
    return out


def log_form(X: Float64, floor: float = 1e-8) -> Float64:
    """Return the logarithms of features, [n, 7].

    log(max(x, floor)) for what cannot be negative and sign(b) log(max(|b| / floor, 1)) for the balance. The paper
    says "log" and does not explain zeros and negatives; of the forms tried this one alone finds its four groups.
    """
    if X.ndim != 2 or X.shape[1] != len(FEATURES):
        raise ValueError(f"features must be [n, {len(FEATURES)}], not {list(X.shape)}")
    if not floor > 0.0:
        raise ValueError(f"floor must be positive, not {floor}")
    logs: Float64 = _log_form(np.ascontiguousarray(X, dtype=np.float64), floor)
    return logs
