"""One thread for linear algebra, so that sums keep their order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread: more of them add in another order, and the pool has a process per core."""
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415 - with scikit-learn
    except ImportError:
        yield
        return
    with threadpool_limits(limits=1):
        yield
