"""Which signal of NK cells explains the response of a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore._checks import check_shares
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore.errors import GeneCoverageError
from nkscore.stats import between_variance, fit_signals, shrunken_over_lines
from nkscore.tl._response._response_table import response_matrices
from nkscore.tl._response._signal_tables import (
    HALLMARK,
    Signals,
    families,
    hallmark_sets,
    partners,
    scaled,
    signals_of,
    too_few,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Floats
    from nkscore.stats import SignalFit

UNCLEAR: Final = "unclear"
#: A missing signal is one whose genes overlap with the strongest and respond beyond it.
_OVERLAPS, _BEYOND = 0.15, 2.0
#: Lines that are needed to estimate how much they differ.
_FEWEST_LINES: Final = 3
_FEWEST_GENES: Final = 200


def signal_activity(
    response: pd.DataFrame,
    signatures: pd.DataFrame | str = HALLMARK,
    *,
    signals: Sequence[str] | str | None = None,
    ligand_levels: pd.DataFrame | None = None,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Find the signal that explains the response of each line, or say that none is clear.

    Parameters
    ----------
    response
        One row per line × gene with columns ``tumor``, ``gene``, ``log2_fc`` and, if known, ``se``
        and ``mean_log2_cpm``, as from :func:`nkscore.tl.interaction_response`.
    signatures
        Genes × signals: response of a cell to each signal, any scale. ``"hallmark"``: packaged
        sets that stand for a signal. ``"cytosig"``: the signatures in your installed copy of
        CytoSig (``pip install --no-deps cytosig``, GPL-3).
    signals
        Columns of the table to compare; ``"all"`` for all. Default: those that NK cells send, or
        all if the table has none of them.
    ligand_levels
        Genes × NK states: expression in NK cells, for the column ``ligand``.
    alpha
        Largest p-value of a call.

    Returns
    -------
    One row per line × signal, the strongest first: ``tumor``, ``signal``, ``stands_for`` (signals
    of one name act alike), ``activity`` (change in log2 per standard deviation of the signature,
    all signals in one model), ``se``, ``z``, ``activity_shrunken`` (toward the mean over lines;
    with three lines or more), ``alone_z`` (of the signal by itself), ``p_value`` (of ``alone_z``,
    one-sided, over all signals of the line), ``rival_z`` (smallest z of the difference to a signal
    that stands for something else), ``n_genes``, ``explained`` (share of the variance, by all
    signals), ``inflation``, ``receptor``, ``receptor_level`` (``mean_log2_cpm`` of the lower
    subunit in the line), ``ligand``, ``ligand_level``, ``ligand_state`` (highest of
    ``ligand_levels``), ``call`` (of the line: what the strongest signal stands for, or
    ``unclear``) and ``reason``.

    ``attrs["errors"]`` is ``"replicates"`` or ``"none"``: without ``se`` a call means that genes
    of the signature stand out among all genes, not that other donors would show the same.

    Raises
    ------
    MissingKeyError
        If a column or a named signal is absent.
    DesignError
        If there are fewer than two signals, or a name is repeated.
    GeneCoverageError
        If response and signatures share too few genes.
    WrongScaleError
        If values are not finite numbers.
    ImportError
        If ``"cytosig"`` is asked for and not installed.

    Notes
    -----
    A call needs all of this: the strongest signal exceeds what sets of correlated genes reach by
    chance; it explains more than each signal that stands for something else, in a model of both;
    and no packaged signal that the table lacks, but shares genes with it, does as well. Errors
    are those of the response plus the variance that no signature explains, times an empirical null
    over sets (Efron 2004, doi 10.1198/016214504000000089). Signatures: Hallmark, Liberzon et al.
    2015 (doi 10.1016/j.cels.2015.12.004, CC BY 4.0); CytoSig, Jiang et al. 2021 (doi
    10.1038/s41592-021-01274-5).

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, n_genes=5000, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> table = nk.tl.signal_activity(nk.tl.interaction_response(adata))
    >>> table.groupby("tumor")["signal"].first().str.contains("INTERFERON").all().item()
    True
    """
    check_shares(alpha=alpha)
    chosen = signals_of(signatures, signals)
    packaged = isinstance(signatures, str) and signatures == HALLMARK
    table = response_matrices(response, ["log2_fc"], ["se", "mean_log2_cpm"])
    every = pd.Index(table.genes)
    parts, lost, reasons = [], [], []
    for j, line in enumerate(table.lines):
        effect = table.matrices["log2_fc"][:, j]
        error = table.matrices["se"][:, j] if "se" in table.matrices else None
        known = np.isfinite(effect) & (True if error is None else np.isfinite(error) & (error > 0))
        if not packaged:
            known &= every.isin(chosen.table.index)
        try:
            part = _one_line(
                effect[known], None if error is None else error[known], every[known], chosen, alpha
            )
        except GeneCoverageError as problem:
            lost.append(line)
            reasons.append(str(problem))
            continue
        level = table.matrices.get("mean_log2_cpm")
        levels = {} if level is None else dict(zip(table.genes, level[:, j], strict=True))
        parts.append(_with_partners(part, levels, ligand_levels).assign(tumor=line))
    if not parts:
        raise GeneCoverageError(reasons[0])
    made = _shrunken(pd.concat(parts, ignore_index=True))
    made.attrs["errors"] = "replicates" if "se" in table.matrices else "none"
    made.attrs[LEFT_OUT] = list(left_out("line", lost, reasons))
    return made[_COLUMNS]


_COLUMNS: Final = [
    "tumor",
    "signal",
    "stands_for",
    "activity",
    "se",
    "z",
    "activity_shrunken",
    "alone_z",
    "p_value",
    "rival_z",
    "n_genes",
    "explained",
    "inflation",
    "receptor",
    "receptor_level",
    "ligand",
    "ligand_level",
    "ligand_state",
    "call",
    "reason",
]


def _one_line(
    effect: Floats, error: Floats | None, genes: pd.Index, signals: Signals, alpha: float
) -> pd.DataFrame:
    own = scaled(signals.table, genes)
    if own.shape[1] < 2 or len(genes) < _FEWEST_GENES:
        raise too_few(signals.table, genes)
    names = [str(name) for name in own.columns]
    stands = np.array([signals.family[name] for name in names], dtype=object)
    sets = scaled(hallmark_sets(), genes)
    known = families()
    lacking = [str(n) for n in sets if known.get(str(n), "") not in {"", *signals.family.values()}]
    fit = fit_signals(effect, error, values_of(own), values_of(sets[lacking]), values_of(sets))
    p = np.minimum(1.0, len(names) * scipy_stats.norm.sf(fit.alone / fit.inflation))
    other = stands[:, None] != stands[None, :]
    rival = np.where(other, fit.rival_z, np.inf).min(axis=1)
    top = int(np.argmax(fit.alone))
    alike = own.iloc[:, top].to_numpy() @ values_of(sets[lacking]) / len(genes)
    reason = _reason(
        fit, names, stands, p=p, rival=rival, lacking=lacking, alike=alike, alpha=alpha
    )
    made = pd.DataFrame(
        {
            "signal": names,
            "stands_for": stands,
            "activity": fit.joint,
            "se": fit.joint_se,
            "z": fit.joint / fit.joint_se,
            "alone_z": fit.alone / fit.inflation,
            "p_value": p,
            "rival_z": np.where(np.isfinite(rival), rival, np.nan),
            "n_genes": (signals.table[names].reindex(genes).fillna(0.0) != 0).sum().to_numpy(),
            "explained": fit.explained,
            "inflation": fit.inflation,
            "call": UNCLEAR if reason else stands[top],
            "reason": reason,
        }
    )
    return made.sort_values("alone_z", ascending=False, kind="stable")


def _reason(
    fit: SignalFit,
    names: list[str],
    stands: Floats,
    *,
    p: Floats,
    rival: Floats,
    lacking: list[str],
    alike: Floats,
    alpha: float,
) -> str:
    """Return why a line has no clear signal, or nothing."""
    top = int(np.argmax(fit.alone))
    if p[top] > alpha:
        return "no signal exceeds what sets of genes reach by chance"
    if rival[top] < scipy_stats.norm.isf(alpha):
        other = np.where(stands != stands[top], fit.rival_z[top], np.inf)
        return f"{names[top]} and {names[int(np.argmin(other))]} explain the response equally well"
    for name, share, (beyond, apart) in zip(lacking, alike, fit.missing, strict=True):
        if share > _OVERLAPS and (beyond > _BEYOND or apart < scipy_stats.norm.isf(alpha)):
            return f"genes of {name}, which is not among the signals, explain it as well"
    return ""


def _with_partners(
    part: pd.DataFrame, levels: dict[str, float], ligand_levels: pd.DataFrame | None
) -> pd.DataFrame:
    """Add the receptor in the line, and the ligand in NK cells."""
    known = partners()
    rows = []
    for name in part["stands_for"]:
        ligands, receptors = known.loc[name] if name in known.index else ("", "")
        found = [levels[g] for g in receptors.split(",") if g in levels and np.isfinite(levels[g])]
        level, state = _highest(ligands, ligand_levels)
        rows.append(
            {
                "receptor": receptors,
                "receptor_level": min(found, default=np.nan),
                "ligand": ligands,
                "ligand_level": level,
                "ligand_state": state,
            }
        )
    return part.reset_index(drop=True).join(pd.DataFrame(rows))


def _highest(ligands: str, levels: pd.DataFrame | None) -> tuple[float, str]:
    own = [] if levels is None else [gene for gene in ligands.split(",") if gene in levels.index]
    if levels is None or not own:
        return np.nan, ""
    best = levels.loc[own].max(axis=0)
    return float(best.max()), str(best.idxmax())


def _shrunken(table: pd.DataFrame) -> pd.DataFrame:
    effect = table.pivot_table(index="signal", columns="tumor", values="activity")
    error = table.pivot_table(index="signal", columns="tumor", values="se")
    made = np.full(len(table), np.nan)
    if effect.shape[1] >= _FEWEST_LINES:
        values, errors = effect.to_numpy(), error.to_numpy()
        between = np.nan_to_num(between_variance(values, np.square(errors)))
        shrunken = pd.DataFrame(
            shrunken_over_lines(values, errors, between), effect.index, effect.columns
        )
        keys = zip(table["signal"], table["tumor"], strict=True)
        made = np.array([shrunken.loc[key] for key in keys], dtype=float)
    return table.assign(activity_shrunken=made)
