"""What Lorenzo & Arroyo (2022, Financial Innovation 8:7) report of 2018, for the table beside a study's own numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FIGURES: Final[tuple[tuple[str, str, str], ...]] = (
    ("coins", "Coins clustered", "1,723; 1,262 in the tests of association"),
    ("hopkins", "Hopkins statistic (below .5: clusters)", ".0155"),
    ("moments_sizes", "Moments: coins per cluster", "about 900, 801, 19"),
    ("moments_means", "Moments: mean (deviation) of the clusters", "-.002 (.130), -.009, about -.1 (1 to 5)"),
    ("moments_runs", "Moments: dissimilarity of ten runs", "about 0"),
    ("distribution_sizes", "Distribution: coins per cluster", "over 1,000 (60%), about 500 (30%), 147, about 60, 16"),
    ("distribution_means", "Distribution: means of the prototypes", "C1 to C5: -.134, -.503, -.011, -.04, -.09"),
    ("distribution_deviations", "Distribution: deviations of the prototypes", "C3 .108, C4 .87, C5 3.12"),
    ("distribution_cv", "Distribution: coefficients of variation", "C2 -.75, C4 -19.97, C5 -32.90"),
    ("distribution_kurtosis", "Distribution: kurtosis of the prototypes", "C1 13.43, C4 11.95, C5 5.66"),
    ("distribution_variance", "Distribution: Var.Wass", "C1 .025, C2 .079, C3 the least, C4 .128, C5 1.116"),
    ("shape_sizes", "Shape: coins per cluster", "50%, 49%, 22 coins"),
    ("shape_medoids", "Shape: medoids", "ZNE, XTO, LINK (of the 22 coins)"),
    (
        "shape_distances",
        "Shape: mean DTW distance to the medoid",
        "the first cluster is the most alike, the third the least",
    ),
    ("cells", "Intersections that hold a coin", "24 of 45"),
    ("six", "Share of the six largest", "75%"),
    ("main", "Intersections of more than 100 coins", "6"),
    ("alone", "Coins alone in their cell", "DEUR"),
    ("ari", "Largest ARI between two views", ".0123"),
    ("heavy", "Coins with a heavy tail", "461 (26.8%)"),
    ("associated", "Pairs associated (p < .01)", "no technology with any view; with capitalisation and volume it is"),
)
"""Key, what it is, and the paper's figure, in the order in which clusters are listed: the largest first."""

REPLICATION: Final[Mapping[str, str]] = {"moments": ".349", "distribution": ".304", "shape": "-.0021"}
"""ARI of one year against two of the paper's 440 coins."""
