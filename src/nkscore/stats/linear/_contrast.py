"""Contrasts of the coefficients of a model of counts: any vector, or several at once.

A contrast of coefficients is a weighted sum of the log counts of samples. Samples of positive
weight take the place of the treated arm, and those of negative weight that of the control; the
effect then has a profile likelihood as a comparison of two arms has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import linalg, stats

from nkscore.errors import DesignError
from nkscore.stats.linear._count_response import EffectTest
from nkscore.stats.linear._profile import TwoCounts
from nkscore.stats.linear._quasi_likelihood import fit_negative_binomial
from nkscore.stats.linear._unit_deviance import unit_deviance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._types import Bools, Floats, Ints
    from nkscore.stats.linear._cell_noise import CellNoise
    from nkscore.stats.linear._count_model import CountModel
    from nkscore.stats.linear._design import Design

#: Numbers in the normal equations of one block of genes.
_BLOCK: Final = 4_000_000
_TINY: Final = 1e-12
#: A line takes part in a contrast if it has this share of the largest part of a line.
_PART: Final = 0.05


@dataclass(frozen=True, slots=True)
class Contrast:
    """A contrast of some genes.

    ``effect`` (natural logarithm), ``unscaled`` (its variance without σ²), and ``pull``: the
    change of the effect with the log count of each sample, genes × samples. NaN for genes whose
    samples cannot estimate it.
    """

    genes: Ints
    effect: Floats
    unscaled: Floats
    pull: Floats
    weights: Floats

    @property
    def known(self) -> Bools:
        """Whether the samples of a gene can estimate the contrast."""
        return np.isfinite(self.unscaled) & (self.unscaled > _TINY)

    def variances(self) -> Floats:
        """Return the part of ``unscaled`` that comes from each sample, genes × samples."""
        out = np.zeros_like(self.pull)
        return np.divide(np.square(self.pull), self.weights, out=out, where=self.weights > 0)

    def of(self, genes: Bools) -> Contrast:
        """Return the contrast of some of its genes."""
        return Contrast(
            self.genes[genes],
            self.effect[genes],
            self.unscaled[genes],
            self.pull[genes],
            self.weights[genes],
        )


def contrast_of(model: CountModel, vector: Floats, genes: Ints) -> Contrast:
    """Return a contrast of the coefficients (in the order of the design) for some genes."""
    design, used = model.design.matrix, model.used[genes] & _telling(model.design, vector)
    weights = model.counts.weights[genes]
    rate = np.log(np.maximum(model.counts.mean[genes], _TINY)) - np.log(model.effective)
    effect, unscaled = np.full((2, genes.size), np.nan)
    pull = np.zeros(weights.shape)
    for samples, among in _patterns(used):
        part = design[samples]
        if not is_estimable(part, vector):
            continue
        # Any combination of samples that has this contrast gives its estimate.
        combination = np.linalg.lstsq(part.T, vector, rcond=None)[0]
        columns = _independent(part)
        for at in _blocks(among, columns.size**2):
            inside = np.ix_(at, samples)
            effect[at] = rate[inside] @ combination
            solved = _solved(weights[inside], part[:, columns], vector[columns])
            unscaled[at] = solved @ vector[columns]
            pull[inside] = (solved @ part[:, columns].T) * weights[inside]
    return Contrast(genes, effect, unscaled, pull, weights)


def _telling(design: Design, vector: Floats) -> Bools:
    """Return the samples that a contrast can depend on: those of one line, or all.

    A line is apart if no coefficient is shared with others. Most contrasts are of one such line,
    and a model of few samples is solved much faster.
    """
    rank = len(design.matrix) - design.df_residual
    for rows in design.members.values():
        inside = np.zeros(len(design.matrix), dtype=bool)
        inside[rows] = True
        parts = [design.matrix[inside], design.matrix[~inside]]
        if not is_estimable(parts[0], vector):
            continue
        if sum(int(np.linalg.matrix_rank(part)) for part in parts if len(part)) == rank:
            return inside
    return np.ones(len(design.matrix), dtype=bool)


def _patterns(used: Bools) -> Iterator[tuple[Ints, Ints]]:
    """Yield sets of samples, and the genes that use just these."""
    kinds, number = np.unique(used, axis=0, return_inverse=True)
    number = number.ravel()
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number, minlength=len(kinds)))
    for samples, among in zip(kinds, np.split(order, ends[:-1]), strict=True):
        yield np.flatnonzero(samples), among


def _independent(design: Floats) -> Ints:
    """Return columns that span the design."""
    r, order = linalg.qr(design, mode="r", pivoting=True)
    size = np.abs(np.diag(r))
    return np.sort(order[: int((size > 1e-9 * size[0]).sum())])


def _blocks(genes: Ints, width: int) -> Iterator[Ints]:
    step = max(_BLOCK // width, 1)
    for start in range(0, genes.size, step):
        yield genes[start : start + step]


def _solved(weights: Floats, design: Floats, vector: Floats) -> Floats:
    """Return (X'WX)⁻¹ c for each gene (row of the weights)."""
    n = vector.size
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), n * n)
    normal = (weights @ products).reshape(-1, n, n)
    target = np.broadcast_to(vector[None, :, None], (len(weights), n, 1))
    return np.asarray(np.linalg.solve(normal, target)[:, :, 0])


def is_estimable(design: Floats, vector: Floats) -> bool:
    """Return whether a contrast is a combination of the samples (rows of the design)."""
    if not len(design):
        return False
    off = design.T @ np.linalg.lstsq(design.T, vector, rcond=None)[0] - vector
    return bool(np.abs(off).max() < 1e-8 * max(np.abs(vector).max(), 1e-300))


def needs_common_scale(design: Design, vector: Floats) -> bool:
    """Return whether a contrast changes with the depth of one group, as baselines of groups do."""
    matrix = design.matrix
    for rows in design.members.values():
        inside = np.zeros(len(matrix))
        inside[rows] = 1.0
        shift = np.linalg.lstsq(matrix, inside, rcond=None)[0]
        absorbed = np.abs(matrix @ shift - inside).max() < 1e-8
        if not absorbed or np.abs(vector @ shift) > 1e-8 * np.abs(vector).max():
            return True
    return False


def pull_of(design: Floats, vector: Floats) -> Floats:
    """Return the change of a contrast with the log count of each sample, at equal weights."""
    return np.asarray(design @ np.linalg.lstsq(design.T @ design, vector, rcond=None)[0])


def lines_of(model: CountModel, vector: Floats) -> list[str]:
    """Return the groups whose samples a contrast compares, from the design alone."""
    pull = pull_of(model.design.matrix, vector)
    part = {name: float(np.square(pull[rows]).sum()) for name, rows in model.design.members.items()}
    most = max(part.values())
    return [name for name, size in part.items() if size > _PART * most]


def test_of_contrast(
    model: CountModel, vector: Floats, genes: Ints, lines: list[str]
) -> tuple[EffectTest, Ints]:
    """Test a contrast; return the test of the genes that can estimate it, and those genes."""
    found = contrast_of(model, vector, genes)
    found = found.of(found.known)
    sigma2, df = _mixed_variance(model, found, lines)
    if model.drawn is not None:
        sigma2 = np.maximum(sigma2, _drawn(model, model.drawn, found, lines))
    sigma = np.sqrt(sigma2)
    error = sigma * np.sqrt(found.unscaled)
    return EffectTest(_two_sides(model, found), sigma, error, np.maximum(df, 1e-8)), found.genes


def _mixed_variance(model: CountModel, found: Contrast, lines: list[str]) -> tuple[Floats, Floats]:
    """Return σ² of a contrast over lines, each with its own variance, by Satterthwaite's rule."""
    parts, each = [], found.variances()
    for name in lines:
        variance, df = model.variance(name)
        own = each[:, model.design.members[name]].sum(axis=1)
        parts.append((own, variance[found.genes], df[found.genes]))
    share = np.array([part for part, _, _ in parts])
    share = share / np.maximum(share.sum(axis=0), _TINY)
    size = share * np.array([variance for _, variance, _ in parts])
    total = size.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.square(total) / (np.square(size) / np.array([df for _, _, df in parts])).sum(axis=0)
    limit = model.linear.df_residual.sum()
    return total, np.minimum(np.where(np.isnan(df), limit, df), limit)


def _drawn(model: CountModel, drawn: CellNoise, found: Contrast, lines: list[str]) -> Floats:
    """Return the σ² at which only the drawing of cells varies the effect."""
    rows = np.unique(np.concatenate([model.design.members[name] for name in lines]))
    between = drawn.between(rows, found.genes)
    mean = np.maximum(model.counts.mean[np.ix_(found.genes, rows)], _TINY)
    spread = 1 / mean + between[:, None] / drawn.n_cells[rows]
    drawn_part = (np.square(found.pull[:, rows]) * spread).sum(axis=1)
    return np.asarray(drawn_part / found.variances()[:, rows].sum(axis=1))


def _two_sides(model: CountModel, found: Contrast) -> TwoCounts:
    """Summarize the samples of positive and of negative weight by one count each."""
    means, dispersions, each = [], [], found.variances()
    mean = model.counts.mean[found.genes]
    ratio = np.divide(mean, found.weights, out=np.ones_like(mean), where=found.weights > 0)
    for side in (found.pull > 0, found.pull < 0):
        part = np.where(side, each, 0.0)
        unscaled = np.maximum(part.sum(axis=1), _TINY)
        inflation = np.maximum((part * ratio).sum(axis=1) / unscaled, 1.0)
        means.append(inflation / unscaled)
        dispersions.append((inflation - 1) / means[-1])
    return TwoCounts(found.effect, means[0], means[1], dispersions[0], dispersions[1])


@dataclass(frozen=True, slots=True)
class JointTest:
    """Quasi-likelihood F test of several contrasts at once, for some genes."""

    genes: Ints
    f: Floats
    df_between: int
    df: Floats
    p_value: Floats


def joint_test(model: CountModel, vectors: Floats, genes: Ints, lines: list[str]) -> JointTest:
    """Test whether all of several contrasts (rows) are zero.

    The model is fitted again without them, and the deviances are compared.
    """
    design = model.design.matrix
    rank = int(np.linalg.matrix_rank(vectors))
    found = [contrast_of(model, vector, genes) for vector in vectors]
    known = np.all([np.isfinite(one.unscaled) for one in found], axis=0)
    found, genes = [one.of(known) for one in found], genes[known]
    counts, used, psi = model.own[genes], model.used[genes], model.counts.dispersion
    rest = design @ linalg.null_space(vectors)
    reduced = fit_negative_binomial(
        counts, rest, model.effective, dispersion=psi, used=used, reduce_bias=False
    )
    more = _deviance(counts, reduced.mean, psi, used)
    more -= _deviance(counts, model.likely[genes], psi, used & ~model.zero[genes])
    sigma2, df = _mixed_variance(model, found[0], lines)
    if model.drawn is not None:
        for one in found:
            sigma2 = np.maximum(sigma2, _drawn(model, model.drawn, one, lines))
    f = np.maximum(more, 0.0) / rank / sigma2
    return JointTest(genes, f, rank, df, np.asarray(stats.f.sf(f, rank, np.maximum(df, 1e-8))))


def _deviance(counts: Floats, mean: Floats, dispersion: float, used: Bools) -> Floats:
    each = unit_deviance(counts, np.maximum(mean, _TINY), dispersion)
    return np.asarray(np.where(used, each, 0.0).sum(axis=1))


def vectors_of_columns(design: Floats, columns: list[int]) -> Floats:
    """Return contrasts (rows) that are all zero if some columns of the design explain nothing.

    What other columns explain as well is not part of them. Empty if nothing is left.
    """
    rest = np.delete(design, columns, axis=1)
    own = design - rest @ np.linalg.lstsq(rest, design, rcond=None)[0]
    _, size, rows = np.linalg.svd(own, full_matrices=False)
    return np.asarray(rows[size > 1e-8 * max(np.abs(design).max(), 1.0)])


def require_estimable(design: Floats, names: list[str], vector: Floats, label: str) -> None:
    """Raise :class:`DesignError` for a contrast that no sample can answer."""
    if is_estimable(design, vector):
        return
    null = linalg.null_space(design)
    mixed = null[:, np.abs(vector @ null) > 1e-8]
    weight = np.abs(mixed).max(axis=1)
    together = [name for name, size in zip(names, weight, strict=True) if size > 1e-8]
    msg = (
        f"Contrast {label} cannot be estimated: the samples cannot distinguish "
        f"{', '.join(together[:8])}. Measure both levels in the same donor, batch or line, or "
        "remove one of these terms from the formula."
    )
    raise DesignError(msg)
