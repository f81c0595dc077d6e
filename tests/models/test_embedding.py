from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sklearn.manifold import locally_linear_embedding

from models.embedding import align, embed
from models.returns import standardise


def coins(rng: np.random.Generator, n: int, bars: int = 40) -> np.ndarray:
    """Return coins on a loop of loadings, so that the graph of neighbours hangs together."""
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    common = rng.standard_normal((bars, 2)) @ np.stack([np.cos(angle), np.sin(angle)])
    return standardise(common + rng.standard_normal((bars, n)))[0].T


@pytest.mark.parametrize(("n", "neighbours"), [(60, 20), (200, 20), (30, 5), (300, 8)])
def test_embedding_equals_the_reference_up_to_signs(rng: np.random.Generator, n: int, neighbours: int) -> None:
    points = coins(rng, n)
    theirs, _ = locally_linear_embedding(points, n_neighbors=neighbours, n_components=3, eigen_solver="dense")
    ours = embed(points, neighbours)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-8)
    np.testing.assert_allclose(ours.T @ ours, np.eye(3), atol=1e-9)
    assert all(axis[np.argmax(np.abs(axis))] > 0 for axis in ours.T)
    np.testing.assert_array_equal(ours, embed(points, neighbours))


@pytest.mark.parametrize("n", [4, 5, 20])
def test_few_coins_are_placed_by_principal_components(rng: np.random.Generator, n: int) -> None:
    points = coins(rng, n)
    ours = embed(points, 20)
    left, _, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(ours), np.abs(left[:, :3]), atol=1e-8)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_too_few_coins_lie_at_the_origin(n: int) -> None:
    np.testing.assert_array_equal(embed(np.ones((n, 10))), np.zeros((n, 3)))


def test_groups_without_a_common_neighbour_become_points(rng: np.random.Generator) -> None:
    angle = np.repeat(np.arange(3), 12)
    groups = rng.standard_normal((40, 3))[:, angle] + 1e-3 * rng.standard_normal((40, 36))
    place = embed(standardise(groups)[0].T, 8)
    for group in range(3):
        np.testing.assert_allclose(np.ptp(place[angle == group, :2], axis=0), 0.0, atol=1e-6)
    assert np.linalg.norm(place[0, :2] - place[12, :2]) > 0.05


def test_equal_coins_do_not_break_the_map() -> None:
    assert np.isfinite(embed(np.ones((30, 10)))).all()
    np.testing.assert_array_equal(embed(np.ones((10, 10))), np.zeros((10, 3)))
    with pytest.raises(ValueError, match="neighbour"):
        embed(np.ones((30, 10)), 0)


def test_alignment_undoes_turning_mirroring_moving_and_scaling(rng: np.random.Generator) -> None:
    before = align(rng.standard_normal((40, 3)))
    turned = before @ Rotation.random(rng=rng).as_matrix() @ np.diag([1.0, -1.0, 1.0]) * 7.0 + 3.0
    np.testing.assert_allclose(align(turned, before), before, atol=1e-12)
    shuffled = rng.permutation(40)[:30]
    aligned = align(turned[shuffled], before, (np.arange(30), shuffled))
    inverse = aligned - aligned.mean(axis=0)
    target = before[shuffled] - before[shuffled].mean(axis=0)
    np.testing.assert_allclose(inverse / np.linalg.norm(inverse), target / np.linalg.norm(target), atol=1e-12)


def test_alignment_keeps_the_radius_and_needs_enough_common_coins(rng: np.random.Generator) -> None:
    points = rng.standard_normal((20, 3)) * 5 + 1
    aligned = align(points)
    assert np.sqrt((aligned**2).sum(axis=1).mean()) == pytest.approx(1.0)
    np.testing.assert_allclose(aligned.mean(axis=0), 0.0, atol=1e-12)
    few = (np.arange(2), np.arange(2))
    np.testing.assert_array_equal(align(points, aligned[::-1], few), aligned)
    assert align(np.empty((0, 3)), aligned, (np.arange(0), np.arange(0))).shape == (0, 3)
    np.testing.assert_array_equal(align(np.zeros((4, 3))), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="2 coins"):
        align(points, aligned, (np.arange(2), np.arange(3)))
