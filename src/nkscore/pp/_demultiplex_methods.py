"""The methods of ``pp.demultiplex``: hashtag counts of one lane in, probabilities out."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from nkscore._types import Floats


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the caller; each method reads its own."""

    priors: tuple[float, float, float] | None = None
    positive_quantile: float = 0.99


@dataclass(frozen=True, slots=True)
class LaneFit:
    """Probabilities (droplets × (tags, negative, doublet)), numbers per tag, the fitted mixture."""

    probability: Floats
    tags: dict[str, Floats] = field(default_factory=dict)
    mixture: stats.HashtagMixture | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """One method, and whether it takes priors and gives probabilities."""

    func: Callable[[Floats, Floats, Options], LaneFit]
    takes_priors: bool
    gives_probabilities: bool


def mixture(counts: Floats, depth: Floats, options: Options) -> LaneFit:
    """Mixture of background and signal with a factor per droplet; see ``stats.hashtag_mixture``."""
    fit = stats.hashtag_mixture(counts, depth=depth, priors=options.priors)
    numbers = {"background": fit.background, "signal": fit.signal}
    return LaneFit(fit.probability, numbers, fit)


def htodemux(counts: Floats, depth: Floats, options: Options) -> LaneFit:  # noqa: ARG001
    """Cut-off per tag, as in Seurat; see ``stats.htodemux``."""
    fit = stats.htodemux(counts, quantile=options.positive_quantile)
    n, n_tags = counts.shape
    n_positive = fit.positive.sum(axis=1)
    place = np.where(n_positive == 1, fit.top, n_tags + (n_positive > 1))
    probability = np.zeros((n, n_tags + 2))
    probability[np.arange(n), place] = 1.0
    numbers = {"background": fit.mean, "cut_off": fit.cut_off.astype(np.float64)}
    return LaneFit(probability, numbers)


def hashsolo(counts: Floats, depth: Floats, options: Options) -> LaneFit:  # noqa: ARG001
    """HashSolo in scanpy's implementation; droplets without a count are negative."""
    n, n_tags = counts.shape
    probability = np.zeros((n, n_tags + 2))
    probability[:, n_tags] = 1.0
    tagged = np.flatnonzero(counts.sum(axis=1) > 0)
    if tagged.size:
        classes = _scanpy_hashsolo(counts[tagged], options.priors or (0.05, 0.8, 0.15))
        probability[tagged, n_tags] = classes[:, 0]
        probability[tagged, counts[tagged].argmax(axis=1)] = classes[:, 1]
        probability[tagged, n_tags + 1] = classes[:, 2]
    return LaneFit(probability)


def _scanpy_hashsolo(counts: Floats, priors: tuple[float, float, float]) -> Floats:
    """Probabilities of negative, singlet, doublet: cells × 3."""
    import anndata
    import scanpy.external as sce

    columns = [f"tag{i}" for i in range(counts.shape[1])]
    names = [str(i) for i in range(len(counts))]
    shell = anndata.AnnData(obs=pd.DataFrame(counts, index=names, columns=columns))
    # With two tags the default leaves no tag for the background.
    noise = max(1, len(columns) - 2)
    # A tag whose background is zero throughout has no spread; its cells stay negative.
    quiet = np.errstate(divide="ignore", invalid="ignore")
    with contextlib.redirect_stdout(io.StringIO()), quiet:
        sce.pp.hashsolo(shell, columns, priors=priors, number_of_noise_barcodes=noise)
    parts = ("negative", "singlet", "doublet")
    table = shell.obs[[f"{part}_hypothesis_probability" for part in parts]]
    return np.asarray(np.nan_to_num(table.to_numpy(dtype=float), nan=1 / 3))


METHODS: Final = {
    "mixture": Method(mixture, takes_priors=True, gives_probabilities=True),
    "hashsolo": Method(hashsolo, takes_priors=True, gives_probabilities=True),
    "htodemux": Method(htodemux, takes_priors=False, gives_probabilities=False),
}
