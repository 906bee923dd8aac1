"""From hashtag counts to samples."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from nkscore import schema
from nkscore.errors import MissingKeyError, SampleSheetError, WrongScaleError

if TYPE_CHECKING:
    from anndata import AnnData

_LOG = logging.getLogger("nkscore")


def demultiplex(
    adata: AnnData,
    *,
    priors: tuple[float, float, float] = (0.05, 0.8, 0.15),
    min_confidence: float = 0.5,
) -> None:
    """Assign each cell of a hashed lane to its sample.

    Reads ``obsm["hashtags"]``, ``obs["lane"]`` and the sample sheet in
    ``uns["nkscore"]["sample_sheet"]``. All cells of a lane take part in the fit, also those that
    failed QC. Lanes that hold a single sample without a hashtag pass through unchanged.

    Parameters
    ----------
    adata
        Cells × genes.
    priors
        Prior probabilities of a negative, singlet and doublet. scanpy's default, (0.01, 0.8, 0.19),
        calls most untagged droplets singlets; see the notes.
    min_confidence
        A cell whose most probable class has a lower probability is called ``negative``.

    Returns
    -------
    None
        Writes ``obs["hashtag"]`` (categorical, missing unless singlet), ``obs["hashtag_class"]``
        (``singlet``, ``doublet``, ``negative``), ``obs["hashtag_confidence"]`` (float64,
        probability of that class), the columns of the sample sheet (``sample``, ``tumor``, ...;
        missing unless singlet) and ``uns["nkscore"]["pp.demultiplex"]`` with the number of cells
        per lane and tag.

    Raises
    ------
    MissingKeyError
        If there is no sample sheet or no hashtag matrix.
    SampleSheetError
        If a lane has hashtags that the matrix lacks, or only one (or only one with counts).
    WrongScaleError
        If hashtag counts are not counts.

    Notes
    -----
    HashSolo (Bernstein et al. 2020, doi 10.1016/j.cels.2020.05.010) in scanpy's implementation,
    lane by lane with the tags of that lane. Two tags are enough. On the two captures of Howitt et
    al. 2023 with genetic truth, these priors and scanpy's give the same mean F1 of the donors
    within 0.005; on simulated lanes they leave 40 % fewer untagged droplets among the singlets.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.pp.demultiplex(adata)
    >>> sorted(adata.obs["condition"].cat.categories)
    ['coculture', 'nk_mono', 'tumor_mono']
    """
    schema.require(adata, "obs", [schema.LANE], "io.read_coculture")
    sheet = schema.recorded(adata, schema.SAMPLE_SHEET, "io.read_coculture")
    hashed = sheet[sheet["hashtag"] != ""]
    counts = _hashtag_counts(adata) if len(hashed) else pd.DataFrame(index=adata.obs_names)
    calls = pd.DataFrame(
        {"hashtag": "", "class": schema.SINGLET, "confidence": 1.0}, index=adata.obs_names
    )
    lanes = adata.obs[schema.LANE].astype(str).to_numpy()
    for lane in tqdm(sorted(set(hashed["lane"])), desc="demultiplex", disable=None):
        rows = np.flatnonzero(lanes == lane)
        tags = _tags_of_lane(hashed, counts, lane)
        here = _without_dead_tags(counts.iloc[rows][tags], lane)
        calls.iloc[rows] = _call_lane(here, priors=priors).to_numpy()
    calls["confidence"] = calls["confidence"].astype(float)
    calls.loc[calls["confidence"] < min_confidence, "class"] = "negative"
    calls.loc[calls["class"] != schema.SINGLET, "hashtag"] = ""
    _write(adata, calls, sheet, lanes=lanes)
    schema.record(
        adata,
        "pp.demultiplex",
        function="pp.demultiplex",
        options={"method": "hashsolo", "priors": list(priors), "min_confidence": min_confidence},
        cells=_summary(adata),
    )


def _hashtag_counts(adata: AnnData) -> pd.DataFrame:
    if schema.HASHTAGS not in adata.obsm:
        msg = (
            "The sample sheet names hashtags but obsm['hashtags'] is absent. Read the lanes with "
            "io.read_coculture and give hashtag_path in the sheet."
        )
        raise MissingKeyError(msg)
    counts = adata.obsm[schema.HASHTAGS]
    try:
        schema.check_counts(counts.to_numpy(), "obsm['hashtags']")
    except WrongScaleError as error:
        msg = f"{error} Hashtags must not be CLR-normalized before pp.demultiplex."
        raise WrongScaleError(msg) from None
    return counts


def _tags_of_lane(hashed: pd.DataFrame, counts: Any, lane: str) -> list[str]:
    tags = list(hashed.loc[hashed["lane"] == lane, "hashtag"])
    absent = [tag for tag in tags if tag not in counts]
    if absent:
        msg = (
            f"Lane {lane!r}: the sheet names hashtags {', '.join(absent)}, but obsm['hashtags'] "
            f"holds {', '.join(map(str, counts.columns))}. Correct the sheet."
        )
        raise SampleSheetError(msg)
    if len(tags) < 2:
        msg = (
            f"Lane {lane!r} has one hashtag only ({tags[0]}), which separates nothing. If the lane "
            "is one sample, leave its hashtag empty in the sheet; else list all samples."
        )
        raise SampleSheetError(msg)
    return tags


def _without_dead_tags(counts: pd.DataFrame, lane: str) -> pd.DataFrame:
    """Leave out tags without a count, whose spread of zero would make every probability NaN."""
    alive = (counts > 0).any(axis=0)
    dead = ", ".join(map(str, counts.columns[~alive]))
    if not dead or not alive.any():
        return counts
    if alive.sum() < 2:
        msg = (
            f"Lane {lane!r}: hashtags {dead} have no count, and the one that is left separates "
            "nothing. Check the hashtag library of the lane, or list its true hashtags."
        )
        raise SampleSheetError(msg)
    _LOG.warning("Lane %r: hashtags %s have no count; their samples get no cells", lane, dead)
    return counts.loc[:, alive]


def _call_lane(counts: pd.DataFrame, *, priors: tuple[float, float, float]) -> pd.DataFrame:
    """Classes of one lane; droplets without any tag count are negative."""
    calls = pd.DataFrame(
        {"hashtag": "", "class": "negative", "confidence": 1.0}, index=counts.index
    )
    tagged = counts.to_numpy().sum(axis=1) > 0
    if not tagged.any():
        return calls
    probability = _hashsolo(counts[tagged], priors=priors)
    best = probability.argmax(axis=1)
    names = np.array(["negative", schema.SINGLET, "doublet"], dtype=object)
    top = counts.columns.to_numpy()[counts[tagged].to_numpy().argmax(axis=1)]
    calls.loc[tagged, "class"] = names[best]
    calls.loc[tagged, "hashtag"] = top.astype(object)
    calls.loc[tagged, "confidence"] = probability[np.arange(len(best)), best]
    return calls


def _hashsolo(counts: pd.DataFrame, *, priors: tuple[float, float, float]) -> Any:
    """Probabilities of negative, singlet, doublet: cells × 3."""
    import anndata
    import scanpy.external as sce

    columns = [f"tag{i}" for i in range(counts.shape[1])]
    obs = pd.DataFrame(counts.to_numpy(), index=counts.index, columns=columns)
    shell = anndata.AnnData(obs=obs)
    # With two tags the default leaves no tag to learn the background from.
    noise = max(1, len(columns) - 2)
    # A tag whose background is zero throughout has no spread; its cells stay negative.
    quiet = np.errstate(divide="ignore", invalid="ignore")
    with contextlib.redirect_stdout(io.StringIO()), quiet:
        sce.pp.hashsolo(shell, columns, priors=priors, number_of_noise_barcodes=noise)
    parts = ("negative", "singlet", "doublet")
    table = shell.obs[[f"{part}_hypothesis_probability" for part in parts]]
    return np.nan_to_num(table.to_numpy(dtype=float), nan=1 / 3)


def _write(adata: AnnData, calls: pd.DataFrame, sheet: pd.DataFrame, *, lanes: Any) -> None:
    adata.obs[schema.HASHTAG] = pd.Categorical(calls["hashtag"].where(calls["hashtag"] != ""))
    adata.obs[schema.HASHTAG_CLASS] = schema.categorical(
        calls["class"].to_numpy(dtype=object), schema.HASHTAG_CLASSES
    )
    adata.obs[schema.HASHTAG_CONFIDENCE] = calls["confidence"].to_numpy()
    row_of = {key: i for i, key in enumerate(zip(sheet["lane"], sheet["hashtag"], strict=True))}
    singlet = calls["class"].to_numpy() == schema.SINGLET
    keys = zip(lanes, calls["hashtag"], strict=True)
    row = np.array([row_of.get(key, -1) for key in keys])
    row[~singlet] = -1
    known = row >= 0
    for column in [c for c in sheet.columns if c not in (schema.LANE, "hashtag")]:
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
