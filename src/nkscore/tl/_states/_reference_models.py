"""Models of a reference's labels at each depth of the cells to be labeled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from nkscore.tl._states._reference_genes import depth_of, log_normalized

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

    from nkscore._types import CSR, Floats, Ints
    from nkscore.tl._states._reference_genes import Reference

_LOWEST_LEVEL = 7
_FEW_MARKERS, _MANY_MARKERS, _MOST_MARKERS = 30, 300, 1000
_PENALTIES = (0.0002, 0.001, 0.005, 0.02, 0.1)
_TRIAL_PENALTIES = (0.002, 0.02)
_LEAST_SPREAD, _LARGEST_Z = 0.05, 10.0


@dataclass(frozen=True)
class Level:
    """Model of the reference at one depth, in ``log2``."""

    depth: float
    counts: sparse.csr_matrix
    genes: Ints
    center: Floats
    spread: Floats
    model: LogisticRegression
    penalty: float
    #: In held-out cells: share of correct labels, and mean confidence.
    accuracy: float
    confidence: float


def levels_of(depth: Floats, ref: Reference) -> Ints:
    """Return the level of each cell: its depth in doublings, at most that of the reference."""
    highest = max(np.ceil(np.quantile(depth_of(ref.counts), 0.9)), _LOWEST_LEVEL)
    return np.clip(np.rint(depth), _LOWEST_LEVEL, highest).astype(np.int64)


def thinned(counts: sparse.csr_matrix, level: int) -> sparse.csr_matrix:
    """Thin counts so that no cell is deeper than the level, spread by half a doubling."""
    rng = np.random.default_rng([0, level])
    target = level + rng.uniform(-0.5, 0.5, counts.shape[0])
    kept = np.minimum(2.0 ** (target - depth_of(counts)), 1.0)
    drawn = rng.binomial(counts.data.astype(np.int64), np.repeat(kept, np.diff(counts.indptr)))
    thin = sparse.csr_matrix(
        (drawn.astype(np.float64), counts.indices.copy(), counts.indptr.copy()), shape=counts.shape
    )
    thin.eliminate_zeros()
    return thin


def label_sums(values: CSR, code: Ints, n_labels: int) -> Floats:
    """Return the sums of cells with each label."""
    shape = (n_labels, code.size)
    member = sparse.csr_matrix((np.ones(code.size), (code, np.arange(code.size))), shape=shape)
    return np.asarray((member @ values).todense())


def choose_markers(values: sparse.csr_matrix, code: Ints, n_labels: int, n_each: int) -> Ints:
    """Return the genes in which each label differs most from the other cells (Welch's t)."""
    sums = label_sums(values, code, n_labels)
    squares = label_sums(values.multiply(values).tocsr(), code, n_labels)
    size = np.bincount(code, minlength=n_labels)[:, None].astype(np.float64)
    chosen = []
    for k in np.flatnonzero(size[:, 0] > 1):
        inside = size[k], sums[k], squares[k]
        outside = code.size - size[k], sums.sum(axis=0) - sums[k], squares.sum(axis=0) - squares[k]
        (m1, v1), (m2, v2) = (
            (s / n, np.maximum(q / n - (s / n) ** 2, _LEAST_SPREAD**2) / n)
            for n, s, q in (inside, outside)
        )
        t = np.abs(m1 - m2) / np.sqrt(v1 + v2)
        chosen.append(np.argsort(-t, kind="stable")[:n_each])
    return np.unique(np.concatenate(chosen))


def markers_of_folds(ref: Reference) -> dict[int, Ints]:
    """Return the genes chosen without each fold, and by all cells (-1).

    States that differ in few genes need few markers, those that differ in programs many: the number
    that predicts held-out folds better at the reference's own depth is used.
    """
    values = log_normalized(ref.counts)
    many = max(_FEW_MARKERS, min(_MANY_MARKERS, _MOST_MARKERS // len(ref.labels)))
    tables = [_markers(ref, values, n_each) for n_each in (_FEW_MARKERS, many)]
    gains = [_gain(_held_out(ref, values, t, _TRIAL_PENALTIES), ref).max() for t in tables]
    return tables[int(np.argmax(gains))]


def _markers(ref: Reference, values: sparse.csr_matrix, n_each: int) -> dict[int, Ints]:
    table = {-1: choose_markers(values, ref.code, len(ref.labels), n_each)}
    for fold in np.unique(ref.fold):
        rest = ref.fold != fold
        table[int(fold)] = choose_markers(values[rest], ref.code[rest], len(ref.labels), n_each)
    return table


def _held_out(
    ref: Reference,
    values: sparse.csr_matrix,
    markers: dict[int, Ints],
    penalties: tuple[float, ...],
) -> Floats:
    """Return the probabilities of each fold's cells by the others: penalties × cells × labels."""
    n_labels = len(ref.labels)
    share = np.zeros((len(penalties), ref.code.size, n_labels))
    for fold in np.unique(ref.fold):
        test, genes = ref.fold == fold, markers[int(fold)]
        moments = _moments(values[~test], genes)
        train_x, test_x = (_scaled(values[part], genes, *moments) for part in (~test, test))
        for j, penalty in enumerate(penalties):
            model = _fitted(train_x, ref.code[~test], penalty)
            share[j, test] = _probability(model, test_x, n_labels)
    return share


def _gain(share: Floats, ref: Reference) -> Floats:
    """Return the mean log probability of the true label, for each penalty."""
    of_truth = share[:, np.arange(ref.code.size), ref.code]
    return np.asarray(np.log(np.maximum(of_truth, 1e-6)).mean(axis=1))


def _scaled(values: sparse.csr_matrix, genes: Ints, center: Floats, spread: Floats) -> Floats:
    return np.clip((values[:, genes].toarray() - center) / spread, -_LARGEST_Z, _LARGEST_Z)


def _moments(values: sparse.csr_matrix, genes: Ints) -> tuple[Floats, Floats]:
    dense = values[:, genes].toarray()
    return dense.mean(axis=0), np.maximum(dense.std(axis=0), _LEAST_SPREAD)


def _fitted(x: Floats, code: Ints, penalty: float) -> LogisticRegression:
    from sklearn import linear_model

    return linear_model.LogisticRegression(C=penalty, max_iter=2000).fit(x, code)


def _probability(model: LogisticRegression, x: Floats, n_labels: int) -> Floats:
    full = np.zeros((len(x), n_labels))
    full[:, model.classes_] = model.predict_proba(x)
    return full


def learn_level(ref: Reference, level: int, markers: dict[int, Ints]) -> Level:
    """Fit a logistic regression to the reference thinned to a depth.

    Its penalty is the one that predicts held-out folds best (log loss), so probabilities are as
    sharp as other donors at this depth allow.
    """
    counts = thinned(ref.counts, level)
    values = log_normalized(counts)
    held_out = _held_out(ref, values, markers, _PENALTIES)
    best = int(_gain(held_out, ref).argmax())
    right = held_out[best].argmax(axis=1) == ref.code
    genes = markers[-1]
    center, spread = _moments(values, genes)
    model = _fitted(_scaled(values, genes, center, spread), ref.code, _PENALTIES[best])
    confidence = float(held_out[best].max(axis=1).mean())
    return Level(
        float(level),
        counts,
        genes,
        center,
        spread,
        model,
        _PENALTIES[best],
        float(right.mean()),
        confidence,
    )


def predict(level: Level, counts: sparse.csr_matrix, n_labels: int) -> Floats:
    """Return the probability of each label."""
    x = _scaled(log_normalized(counts), level.genes, level.center, level.spread)
    return _probability(level.model, x, n_labels)
