"""Nearest neighbors of many points: exact up to a limit, approximate above."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin

#: Up to this many points all pairs are compared: about 5 s on two cores with 30 dimensions.
EXACT: Final = 50_000


class NearestNeighbors(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Scikit-learn transformer to distances of each point to its nearest neighbors, itself first.

    Above ``EXACT`` points nearest neighbor descent searches for twice the requested number of
    neighbors and keeps the nearest. It uses one thread, so the result depends only on the seed.
    """

    def __init__(self, n_neighbors: int = 15, *, seed: int = 0, exact: int = EXACT) -> None:
        self.n_neighbors = n_neighbors
        self.seed = seed
        self.exact = exact

    def fit(self, points: np.ndarray, _: None = None) -> NearestNeighbors:
        """Keep the points."""
        self.points_ = np.ascontiguousarray(points, dtype=np.float32)
        return self

    def transform(self, _: np.ndarray) -> sparse.csr_matrix:
        """Return Euclidean distances, ``n_neighbors`` stored per row, of the fitted points."""
        n_points = len(self.points_)
        if n_points <= self.exact:
            indices, distances = self._all_pairs()
        else:
            indices, distances = self._descent()
        starts = np.arange(0, indices.size + 1, indices.shape[1])
        # scanpy 1.11 reads the number of neighbors from a matrix, not from an array.
        return sparse.csr_matrix(
            (distances.ravel(), indices.ravel(), starts), shape=(n_points, n_points)
        )

    def _all_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn import neighbors

        search = neighbors.NearestNeighbors(n_neighbors=self.n_neighbors - 1, algorithm="brute")
        # Without query points, a point is not its own neighbor.
        distances, indices = search.fit(self.points_).kneighbors()
        return _with_self(indices, distances)

    def _descent(self) -> tuple[np.ndarray, np.ndarray]:
        from pynndescent import NNDescent

        wanted = self.n_neighbors - 1
        index = NNDescent(
            self.points_, n_neighbors=2 * self.n_neighbors, random_state=self.seed, n_jobs=1
        )
        indices, distances = index.neighbor_graph
        # Among equal points the point itself may not come first.
        own = indices == np.arange(len(indices))[:, None]
        order = np.argsort(np.where(own, np.inf, distances), axis=1, kind="stable")[:, :wanted]
        return _with_self(
            np.take_along_axis(indices, order, axis=1),
            np.take_along_axis(distances, order, axis=1),
        )


def _with_self(indices: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    itself = np.arange(len(indices))[:, None]
    return np.hstack([itself, indices]), np.hstack([np.zeros_like(distances[:, :1]), distances])
