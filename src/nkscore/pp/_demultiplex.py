"""From hashtag counts to samples."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from tqdm import tqdm

from nkscore import schema, stats
from nkscore._checks import check_frame, check_part, check_shares
from nkscore._samples._matrices import counts_of, has_counts
from nkscore._warn import warn
from nkscore.errors import MissingKeyError, SampleSheetError, WrongScaleError
from nkscore.pp._demultiplex_genotypes import EVIDENCE, Settled, settle
from nkscore.pp._demultiplex_methods import METHODS, LaneFit, Options
from nkscore.pp._marks import note_marks
from nkscore.pp._unlisted_tags import Unlisted, as_table, note_tags, other_tags, unlisted

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Array, Bools, Floats, Ints, Labels

_LOG = logging.getLogger("nkscore")
#: A lane with a larger share of negative cells, or of singlets of one tag, is warned of.
_MOST_NEGATIVE: Final = 0.8
_MOST_OF_ONE_TAG: Final = 0.95
#: Number of cells from which these shares are informative.
_FEW: Final = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call must fulfill to stay a singlet."""

    min_confidence: float
    max_doublet_rate: float | None


def demultiplex(
    adata: AnnData,
    *,
    method: str = "mixture",
    priors: tuple[float, float, float] | None = None,
    positive_quantile: float = 0.99,
    min_confidence: float = 0.5,
    max_doublet_rate: float | None = None,
) -> None:
    """Assign each cell of a lane with several samples to its sample.

    Reads ``obsm["hashtags"]``, ``obs["lane"]``, ``layers["counts"]`` (its sum per cell), the
    sample sheet in ``uns["nkscore"]["sample_sheet"]`` and, if lanes were read with a
    ``genotype_path``, the donors in ``obs["genotype"]``, ``["genotype_class"]`` and
    ``["genotype_confidence"]``. All cells of a lane enter the fit, including those that failed QC.
    Lanes with a single sample without hashtag are not changed, except that droplets of two donors
    become doublets.

    A genotype names the sample where the lane has no hashtags or the tag is missing, if one sample
    alone holds its donor. A droplet that is a doublet by tag or genotype is a doublet. Where tag
    and genotype name different samples the cell is ``negative``.

    Parameters
    ----------
    adata
        Cells × genes.
    method
        ``mixture``: background and signal of each tag with a factor per cell
        (:func:`nkscore.stats.hashtag_mixture`); ``hashsolo``: scanpy's; ``htodemux``: Seurat 4.3's
        (:func:`nkscore.stats.htodemux`). ``docs/demultiplexing.md`` compares them.
    priors
        Prior probabilities of a negative, singlet and doublet. By default, ``mixture`` fits them,
        and ``hashsolo`` uses (0.05, 0.8, 0.15). ``htodemux`` has none.
    positive_quantile
        Only for ``htodemux``: a tag is positive above this quantile of its background.
    min_confidence
        A singlet with a lower probability is called ``negative``, and a donor with a lower one is
        not used. ``htodemux`` ignores it.
    max_doublet_rate
        Largest expected share of doublets among the singlets of a lane, for example 0.01. Any doubt
        about a call counts as a doublet. Calls are accepted from the most certain one on, until the
        mean of one minus the confidence reaches this share. The others become ``doublet`` or
        ``negative``, whichever is more probable. A lower value trades cells for purity; by default
        only ``min_confidence`` decides. Not for ``htodemux``.

    Returns
    -------
    None
        Writes ``obs["hashtag"]`` (categorical, missing unless singlet), ``obs["hashtag_class"]``
        (``singlet``, ``doublet``, ``negative``; by genotype too, where there is one),
        ``obs["hashtag_confidence"]`` (float64, probability of the call; missing for ``htodemux``,
        which computes none, and where tag and genotype disagree), with genotypes
        ``obs["sample_evidence"]`` (``whole_lane``, ``hashtag``, ``genotype``, ``both``,
        ``conflict``, ``doublet_hashtag``, ``doublet_genotype``, ``doublet_both``, ``none``), the
        columns of the
        sample sheet (``sample``, ``tumor``, ...; missing unless singlet) and
        ``uns["nkscore"]["pp.demultiplex"]`` with the number of cells per lane and call (``cells``)
        and, per lane and tag, its singlets, background, signal and cut-off (``tags``; missing if
        the method has no such number), the fitted mixture (``models``), with which
        :func:`nkscore.tl.contacts` calls further droplets, negative cells that carry a tag which
        the sheet does not name for their lane (``unlisted``) and, with genotypes, the cells per
        lane and evidence (``genotypes``). Cells, samples and tags that are lost are in
        ``uns["nkscore"]["ledger"]`` (:func:`nkscore.ledger`).

    Raises
    ------
    MissingKeyError
        If there is no sample sheet or no table of hashtags.
    SampleSheetError
        If a lane has hashtags that the matrix lacks, or only one (or only one with counts); if a
        lane without hashtags has a sample that shares all of its donors.
    WrongScaleError
        If hashtag counts are not counts.
    ValueError
        If the method is unknown or an option is out of range.

    Notes
    -----
    Each lane is fitted separately with its own tags. Two tags are enough. A warning names lanes
    with more than 80 % negative cells, those with more than 95 % of the singlets in one tag, and
    tags of negative cells that the sheet does not name.

    On two captures with genetic truth (Howitt et al. 2023, doi 10.1093/nargab/lqad086), the mean F1
    of the donors is 0.95 and 0.88 for ``mixture``, 0.92 and 0.78 for ``hashsolo``. HashSolo:
    Bernstein et al. 2020, doi 10.1016/j.cels.2020.05.010. HTODemux: Stoeckius et al. 2018, doi
    10.1186/s13059-018-1603-1.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.pp.demultiplex(adata)
    >>> sorted(adata.obs["condition"].cat.categories)
    ['coculture', 'nk_mono', 'tumor_mono']
    """
    options = Options(priors=priors, positive_quantile=positive_quantile)
    limits = Limits(min_confidence=min_confidence, max_doublet_rate=max_doublet_rate)
    _check_options(method, options, limits)
    schema.require(adata, "obs", [schema.LANE], "io.read_coculture")
    sheet = schema.recorded(adata, schema.SAMPLE_SHEET, "io.read_coculture")
    hashed = sheet[sheet[schema.HASHTAG] != ""]
    counts = _hashtag_counts(adata) if len(hashed) else pd.DataFrame(index=adata.obs_names)
    depth = _depth(adata)
    calls = pd.DataFrame(
        {"hashtag": "", "class": schema.SINGLET, "confidence": 1.0}, index=adata.obs_names
    )
    lanes = adata.obs[schema.LANE].astype(str).to_numpy()
    found = _Found([], [], [])
    for lane in tqdm(sorted(set(hashed[schema.LANE])), desc="demultiplex", disable=None):
        rows = np.flatnonzero(lanes == lane)
        tags = _tags_of_lane(hashed, counts, lane)
        here = _without_dead_tags(counts.iloc[rows][tags], lane)
        fit = METHODS[method].func(here.to_numpy(dtype=np.float64), depth[rows], options)
        called = _call(fit, here.columns, limits)
        if not METHODS[method].gives_probabilities:
            called["confidence"] = np.nan
        calls.iloc[rows] = called.to_numpy()
        found.fits.append(_tag_table(fit, here.columns, lane=lane, tags=tags, calls=called))
        found.models.extend(_model_table(fit, here.columns, limits, lane=lane, calls=called))
        more = other_tags(adata, counts, here, rows)
        found.strangers.extend(unlisted(here, more, called, depth[rows], lane))
        _warn_of_odd_lane(called, lane)
    calls["confidence"] = calls["confidence"].astype(float)
    genotypes = _named(adata, calls, sheet, lanes, min_confidence)
    schema.record(
        adata,
        "pp.demultiplex",
        function="pp.demultiplex",
        options={"method": method, **asdict(limits), **asdict(options)},
        cells=_summary(adata),
        tags=_joined(found.fits),
        models=_joined(found.models),
        unlisted=as_table(found.strangers),
        **genotypes,
    )
    note_marks(adata)
    note_tags(adata, hashed, found.strangers)


def _named(
    adata: AnnData, calls: pd.DataFrame, sheet: pd.DataFrame, lanes: Labels, min_confidence: float
) -> dict[str, pd.DataFrame]:
    """Write the samples of tags and genotypes; return the cells per lane and evidence of those."""
    settled = _settled(calls, sheet, lanes)
    genotypes = settle(adata, sheet, lanes, settled, min_confidence)
    _write(adata, settled, sheet)
    if genotypes is None:
        return {}
    adata.obs[schema.SAMPLE_EVIDENCE] = schema.categorical(settled.evidence, EVIDENCE)
    return {"genotypes": genotypes}


@dataclass(frozen=True, slots=True)
class _Found:
    """Of all lanes: tables of tags, of mixtures, and negative cells with a tag of no sample."""

    fits: list[pd.DataFrame]
    models: list[pd.DataFrame]
    strangers: list[Unlisted]


def _check_options(method: str, options: Options, limits: Limits) -> None:
    if method not in METHODS:
        msg = f"Unknown method {method!r}. Known: {', '.join(METHODS)}."
        raise ValueError(msg)
    if options.priors is not None:
        if not METHODS[method].takes_priors:
            msg = f"{method} has no priors; omit them, or set positive_quantile."
            raise ValueError(msg)
        priors = np.asarray(options.priors, dtype=np.float64)
        if priors.shape != (3,) or not (priors > 0).all() or not np.isclose(priors.sum(), 1):
            msg = (
                f"priors is {options.priors}; three positive numbers that sum to 1 are needed: "
                "negative, singlet, doublet."
            )
            raise ValueError(msg)
    check_part("positive_quantile", options.positive_quantile)
    check_part("min_confidence", limits.min_confidence)
    if limits.max_doublet_rate is not None:
        if not METHODS[method].gives_probabilities:
            msg = (
                f"{method} gives no probabilities, which max_doublet_rate needs; omit it, or use "
                "method='mixture'."
            )
            raise ValueError(msg)
        check_shares(max_doublet_rate=limits.max_doublet_rate)


def _depth(adata: AnnData) -> Floats:
    if not has_counts(adata):
        return np.ones(adata.n_obs)
    return counts_of(adata, check=False).totals()


def _hashtag_counts(adata: AnnData) -> pd.DataFrame:
    if schema.HASHTAGS not in adata.obsm:
        msg = (
            "The sample sheet names hashtags but obsm['hashtags'] is absent. Read the lanes with "
            "io.read_coculture and give hashtag_path in the sheet."
        )
        raise MissingKeyError(msg)
    advice = "Use the names of the sample sheet as columns."
    counts = check_frame(adata.obsm[schema.HASHTAGS], "obsm['hashtags']", advice)
    try:
        schema.check_counts(counts.to_numpy(), "obsm['hashtags']")
    except WrongScaleError as error:
        msg = f"{error} Hashtags must not be CLR-normalized before pp.demultiplex."
        raise WrongScaleError(msg) from None
    return counts


def _tags_of_lane(hashed: pd.DataFrame, counts: pd.DataFrame, lane: str) -> list[str]:
    tags = list(hashed.loc[hashed[schema.LANE] == lane, schema.HASHTAG])
    absent = [tag for tag in tags if tag not in counts]
    if absent:
        msg = (
            f"Lane {lane!r}: the sheet names hashtags {', '.join(absent)}, but obsm['hashtags'] "
            f"holds {', '.join(map(str, counts.columns))}. Correct the sheet."
        )
        raise SampleSheetError(msg)
    if len(tags) < 2:
        msg = (
            f"Lane {lane!r} has only one hashtag ({tags[0]}), which cannot separate "
            "samples. If the lane is one sample, leave its hashtag empty in the sheet; "
            "otherwise list all samples."
        )
        raise SampleSheetError(msg)
    # Equal counts are ranked by position, which must not depend on the order of the sheet.
    return sorted(tags)


def _without_dead_tags(counts: pd.DataFrame, lane: str) -> pd.DataFrame:
    """Drop tags without a count, whose zero spread would make every probability NaN."""
    alive = (counts > 0).any(axis=0)
    dead = ", ".join(map(str, counts.columns[~alive]))
    if not dead or not alive.any():
        return counts
    if alive.sum() < 2:
        msg = (
            f"Lane {lane!r}: hashtags {dead} have no count, and the remaining one cannot "
            "separate samples. Check the hashtag library of the lane, or list its true hashtags."
        )
        raise SampleSheetError(msg)
    _LOG.warning("Lane %r: hashtags %s have no count; their samples get no cells", lane, dead)
    return counts.loc[:, alive]


def _call(fit: LaneFit, tags: pd.Index, limits: Limits) -> pd.DataFrame:
    """Return the call of each droplet; an uncertain singlet is negative, or a doublet."""
    negative, doublet = len(tags), len(tags) + 1
    call, confidence = fit.probability.argmax(axis=1), fit.probability.max(axis=1)
    instead: int | Ints = negative
    doubtful = confidence < limits.min_confidence
    if limits.max_doublet_rate is not None:
        singlet = np.flatnonzero((call < negative) & ~doubtful)
        doubtful[singlet] = _beyond(1 - confidence[singlet], limits.max_doublet_rate)
        more = fit.probability[:, doublet] >= fit.probability[:, negative]
        instead = np.where(more, doublet, negative)
    call = np.where((call < negative) & doubtful, instead, call)
    confidence = fit.probability[np.arange(len(call)), call]
    classes = np.array([schema.SINGLET] * len(tags) + ["negative", "doublet"], dtype=object)
    names = np.array([*map(str, tags), "", ""], dtype=object)
    return pd.DataFrame({"hashtag": names[call], "class": classes[call], "confidence": confidence})


def _beyond(doubt: Floats, most: float) -> Bools:
    """Return which values to drop so that the mean of the others, the smallest, is at most this."""
    order = np.argsort(doubt, kind="stable")
    mean = np.cumsum(doubt[order]) / np.arange(1, len(order) + 1)
    kept = np.searchsorted(mean, most, side="right")
    # Equal values stay or go together: the order of cells must not decide.
    return np.asarray(doubt > doubt[order[kept - 1]] if kept else np.ones(len(doubt), dtype=bool))


def _warn_of_odd_lane(calls: pd.DataFrame, lane: str) -> None:
    """Warn where hardly any cell has a tag, or nearly all have the same one."""
    n = len(calls)
    if n < _FEW:
        return
    see = "Look at pl.hashtag_ridges before using the calls."
    negative = int((calls["class"] == "negative").sum())
    if negative > _MOST_NEGATIVE * n:
        warn(
            f"Lane {lane!r}: {negative:,} of {n:,} cells ({negative / n:.0%}) are negative. Tags "
            "hardly stained, or the sheet names other tags than those of the lane. " + see
        )
    sizes = calls.loc[calls["class"] == schema.SINGLET, "hashtag"].value_counts()
    total = int(sizes.sum())
    if total >= _FEW and sizes.iloc[0] > _MOST_OF_ONE_TAG * total:
        warn(
            f"Lane {lane!r}: tag {sizes.index[0]} has {sizes.iloc[0]:,} of {total:,} singlets "
            f"({sizes.iloc[0] / total:.1%}). Check that the other wells had cells and that the "
            "sheet names their tags: the few singlets of the other tags can be artifacts. " + see
        )


def _tag_table(
    fit: LaneFit, alive: pd.Index, *, lane: str, tags: list[str], calls: pd.DataFrame
) -> pd.DataFrame:
    """List the fit of each tag of the lane's sheet; a dead tag has no cells."""
    numbers = pd.DataFrame(fit.tags, index=list(map(str, alive)), dtype=np.float64)
    fitted = ["background", "signal", "cut_off"]
    n_cells = calls["hashtag"].value_counts().reindex(tags, fill_value=0).to_numpy()
    table = numbers.reindex(index=tags, columns=fitted)
    table = table.assign(lane=lane, tag=tags, n_cells=n_cells)
    return table[["lane", "tag", "n_cells", *fitted]]


def _model_table(
    fit: LaneFit, tags: pd.Index, limits: Limits, *, lane: str, calls: pd.DataFrame
) -> list[pd.DataFrame]:
    """Return what is needed to call further droplets of the lane, where a mixture was fitted."""
    if fit.mixture is None:
        return []
    doubt = 1.0
    if limits.max_doublet_rate is not None:
        single = calls["class"] == schema.SINGLET
        doubt = (
            float(1 - calls.loc[single, "confidence"].astype(float).min()) if single.any() else 0.0
        )
    model = stats.fixed_tags(
        fit.mixture, list(tags), min_confidence=limits.min_confidence, max_doubt=doubt
    )
    return [] if model is None else [model.as_table(lane)]


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame | None:
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    return table.set_index(table.index.astype(str))


def _settled(calls: pd.DataFrame, sheet: pd.DataFrame, lanes: Array) -> Settled:
    """Return the calls of the hashtags with the row of the sheet that each names."""
    keys = list(zip(sheet[schema.LANE], sheet[schema.HASHTAG], strict=True))
    # Several samples of a lane without hashtags can only be separated by genotypes.
    row_of = {key: i for i, key in enumerate(keys) if keys.count(key) == 1}
    singlet = calls["class"].to_numpy() == schema.SINGLET
    found = [row_of.get(key, -1) for key in zip(lanes, calls["hashtag"], strict=True)]
    return Settled(
        row=np.where(singlet, np.array(found, dtype=np.int64), -1),
        kind=calls["class"].to_numpy(dtype=object, copy=True),
        hashtag=calls["hashtag"].to_numpy(dtype=object, copy=True),
        confidence=calls["confidence"].to_numpy(dtype=np.float64, copy=True),
        evidence=np.full(len(calls), "none", dtype=object),
    )


def _write(adata: AnnData, calls: Settled, sheet: pd.DataFrame) -> None:
    tag = pd.Series(calls.hashtag, dtype=object)
    adata.obs[schema.HASHTAG] = pd.Categorical(tag.mask(calls.hashtag == "", None))
    adata.obs[schema.HASHTAG_CLASS] = schema.categorical(calls.kind, schema.HASHTAG_CLASSES)
    adata.obs[schema.HASHTAG_CONFIDENCE] = calls.confidence
    row, known = calls.row, calls.row >= 0
    marks = (schema.LANE, schema.HASHTAG, schema.GENOTYPE)
    for column in [c for c in sheet.columns if c not in marks]:
        values = sheet[column].to_numpy()
        if column in schema.NUMERIC_SAMPLE_COLUMNS:
            adata.obs[column] = np.where(known, values.astype(float)[row], np.nan)
            continue
        text = values.astype(object)[row]
        text[~known | (text == "")] = None
        adata.obs[column] = schema.categorical(text, sorted(set(values) - {""}))


def _summary(adata: AnnData) -> pd.DataFrame:
    """Cells per lane and call, for the record and the log."""
    call = adata.obs[schema.HASHTAG].astype(object)
    call = call.where(call.notna(), adata.obs[schema.HASHTAG_CLASS].astype(str))
    lane = adata.obs[schema.LANE].astype(str)
    table = pd.DataFrame({"lane": lane.to_numpy(), "call": call.to_numpy().astype(str)})
    summary = table.groupby(["lane", "call"]).size().rename("n_cells").reset_index()
    classes = adata.obs[schema.HASHTAG_CLASS].value_counts()
    _LOG.info("Hashtags: %s", ", ".join(f"{n} {name}" for name, n in classes.items()))
    return summary.set_index(summary.index.astype(str))
