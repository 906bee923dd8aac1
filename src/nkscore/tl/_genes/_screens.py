"""Genes that affect killing by NK cells, from one or several pooled CRISPR screens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import signatures
from nkscore._checks import check_columns, check_shares
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError

if TYPE_CHECKING:
    from nkscore._types import Floats

_PERTURBATIONS = ("loss", "gain")
#: Control guides and other entries of MAGeCK's libraries that are not human genes.
CONTROLS = r"(?i)^(?:control|non-?targeting|nontarget|negctrl|intergenic|orgenes|safe)|hsa-mir"


def screen_hits(
    screens: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    perturbation: str | Mapping[str, str] = "loss",
    max_q: float | None = 0.05,
    max_p: float | None = None,
    min_log2_fc: float = 0.0,
    sided: str = "two",
    controls: str | None = CONTROLS,
) -> pd.DataFrame:
    """Return the role of each gene in killing, for each screen, and whether it is a hit.

    The fold change must compare cells **with** NK cells to cells without. If the guide of a lost
    gene is enriched, the loss protects, so the gene promotes killing (``activating``, like a ligand
    of an activating receptor). If it is depleted, the loss sensitizes (``inhibitory``, like HLA-E).
    In gain-of-function screens it is the opposite.

    Parameters
    ----------
    screens
        Gene table of :func:`nkscore.io.read_mageck` (columns ``gene``, ``log2_fc``, ``p_value``,
        ``q_value``; several screens are identified by ``screen`` and ``comparison``), or a mapping
        from screen to such a table.
    perturbation
        ``"loss"`` (knock-out, CRISPRi) or ``"gain"`` (CRISPRa), for all screens or by screen.
    max_q, max_p
        A hit has a q-value, and a p-value, of at most this; ``None`` sets no limit.
    min_log2_fc
        A hit changes by at least this, log2, in either direction.
    sided
        ``"two"``: two-sided p-values. ``"one"``: those in the direction of the effect, as in Dufva,
        Gandolfi et al. 2023, whose hits are ``max_q=None, max_p=1e-4, min_log2_fc=0.75,
        sided="one"``. These are half as large, which is anticonservative because the side was
        chosen after inspecting the data.
    controls
        Regular expression of names that are not genes; they are kept but never hits.

    Returns
    -------
    One row per screen and gene, sorted by screen and p-value: ``screen``, ``perturbation``,
    ``gene``, ``category`` (of genes named in :func:`nkscore.signatures.crispr_hits`, else empty),
    ``log2_fc``, ``se`` (missing if the screen has none), ``log2_fc_z`` (over the genes of the
    screen), ``p_value``, ``q_value``, ``effect`` of the perturbation on the tumor cell
    (``protects`` or ``sensitizes``), ``role`` of the gene (``activating`` or ``inhibitory``; both
    empty if the fold change is 0 or missing), ``is_control``, ``hit``.

    Raises
    ------
    MissingKeyError
        If a column is absent.
    DesignError
        If a screen is empty, holds a gene twice or a row without one, or is not named in
        ``perturbation``.
    WrongScaleError
        If a p- or q-value is outside 0 to 1.
    ValueError
        If ``sided`` is unknown, or ``max_q`` or ``max_p`` outside 0 to 1.

    Notes
    -----
    MHC class I has opposite effects on T cells and NK cells: loss of B2M protects from T cells and
    sensitizes to NK cells. The roles refer to the given screen. Dufva, Gandolfi et al. 2023, doi
    10.1016/j.immuni.2023.11.008.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({
    ...     "gene": ["NCR3LG1", "HLA-E", "ACTB"], "log2_fc": [2.1, -1.4, 0.1],
    ...     "p_value": [1e-6, 1e-5, 0.6], "q_value": [3e-6, 1.5e-5, 0.6],
    ... })
    >>> hits = nk.tl.screen_hits({"K562": table})
    >>> hits.loc[hits["hit"], ["gene", "effect", "role"]].values.tolist()
    [['NCR3LG1', 'protects', 'activating'], ['HLA-E', 'sensitizes', 'inhibitory']]
    """
    if sided not in {"two", "one"}:
        msg = f"sided={sided!r}; 'two' or 'one' is needed."
        raise ValueError(msg)
    for option, most in (("max_q", max_q), ("max_p", max_p)):
        if most is not None:
            check_shares(**{option: most})
    parts = [
        _one_screen(name, table, kind, sided=sided)
        for name, table, kind in _screens(screens, perturbation)
    ]
    made = pd.concat(parts, ignore_index=True)
    made["is_control"] = (
        made["gene"].str.contains(controls, regex=True) if controls is not None else False
    )
    hit = ~made["is_control"] & (made["log2_fc"].abs() >= min_log2_fc) & (made["log2_fc"] != 0)
    for column, most in (("q_value", max_q), ("p_value", max_p)):
        if most is not None:
            hit &= made[column] <= most
    made["hit"] = hit.to_numpy(dtype=bool)
    return made.sort_values(["screen", "p_value", "gene"]).reset_index(drop=True)


def _screens(
    screens: pd.DataFrame | Mapping[str, pd.DataFrame], perturbation: str | Mapping[str, str]
) -> list[tuple[str, pd.DataFrame, str]]:
    named = _named(screens)
    kinds: str | dict[str, str]
    if isinstance(perturbation, Mapping):
        kinds = {str(k): v for k, v in perturbation.items()}
    else:
        kinds = perturbation
    made = []
    for name, table in named.items():
        kind = kinds.get(name) if isinstance(kinds, dict) else kinds
        if kind not in _PERTURBATIONS:
            msg = (
                f"Screen {name!r} has the perturbation {kind!r}; 'loss' (knock-out) or 'gain' "
                f"(activation) is needed. Give perturbation={{{name!r}: 'loss', ...}}."
            )
            raise DesignError(msg)
        made.append((name, table, kind))
    if not made:
        msg = "No screen is given. Give at least one table."
        raise DesignError(msg)
    return made


def _named(screens: pd.DataFrame | Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the table of each screen or comparison by its name."""
    if isinstance(screens, Mapping):
        return {str(name): table for name, table in screens.items()}
    several = "screen" in screens and len(screens["screen"].drop_duplicates()) > 1
    keys = [c for c in ("screen", "comparison") if c in screens]
    if len(keys) == 2 and not several:
        keys = ["comparison"]
    if not keys:
        return {"screen": screens}
    label = screens[keys].astype(str).agg(" ".join, axis=1)
    return {str(name): table for name, table in screens.groupby(label, sort=False)}


def _check_screen(name: str, table: pd.DataFrame) -> None:
    check_columns(
        table,
        ["gene", "log2_fc", "p_value", "q_value"],
        "Read it with io.read_mageck, or rename the columns.",
        what=f"Screen {name!r}",
    )
    repeated = table["gene"].duplicated() | table["gene"].isna()
    if table.empty or repeated.any():
        found = f"holds {table.loc[repeated, 'gene'].iloc[0]!r} twice" if len(table) else "is empty"
        if table["gene"].isna().any():
            found = f"has {int(table['gene'].isna().sum())} rows without a gene"
        msg = f"Screen {name!r} {found}; one row per gene is needed. Merge or remove rows."
        raise DesignError(msg)
    _check_p_values(name, table)


def _one_screen(name: str, table: pd.DataFrame, kind: str, *, sided: str) -> pd.DataFrame:
    _check_screen(name, table)
    effect = table["log2_fc"].to_numpy(dtype=float)
    p, q = _significance(table, effect, sided=sided)
    spread = np.nanstd(effect, ddof=1) if len(effect) > 1 else np.nan
    protects = effect > 0
    activating = protects if kind == "loss" else ~protects
    # Neither zero nor a missing fold change has a direction.
    zero = ~(effect != 0) | np.isnan(effect)
    return pd.DataFrame(
        {
            "screen": name,
            "perturbation": kind,
            "gene": table["gene"].astype(str).to_numpy(dtype=object),
            "category": table["gene"].map(_categories()).fillna("").to_numpy(dtype=object),
            "log2_fc": effect,
            "se": table["se"].to_numpy(dtype=float) if "se" in table else np.nan,
            "log2_fc_z": (effect - np.nanmean(effect)) / spread if spread > 0 else np.nan,
            "p_value": p,
            "q_value": q,
            "effect": np.where(zero, "", np.where(protects, "protects", "sensitizes")),
            "role": np.where(zero, "", np.where(activating, "activating", "inhibitory")),
        }
    )


def _check_p_values(name: str, table: pd.DataFrame) -> None:
    for column in ("p_value", "q_value"):
        values = pd.to_numeric(table[column], errors="coerce")
        outside = ~values.between(0, 1) & table[column].notna()
        if outside.any():
            row = table[outside].iloc[0]
            msg = (
                f"Screen {name!r} has {column} = {row[column]} for {row['gene']!r}; 0 to 1 is "
                "needed. Take p-values, not their logarithms or scores."
            )
            raise WrongScaleError(msg)


def _significance(table: pd.DataFrame, effect: Floats, *, sided: str) -> tuple[Floats, Floats]:
    if sided == "two":
        return table["p_value"].to_numpy(dtype=float), table["q_value"].to_numpy(dtype=float)
    sides = {"p_depleted", "p_enriched", "q_depleted", "q_enriched"}
    if not sides <= set(table.columns):
        msg = (
            f"One-sided p-values need the columns {', '.join(sorted(sides))} of MAGeCK "
            "RRA. Use sided='two'."
        )
        raise MissingKeyError(msg)
    up = effect > 0
    p, q = (
        np.where(up, table[f"{what}_enriched"], table[f"{what}_depleted"]).astype(float)
        for what in "pq"
    )
    return p, q


def _categories() -> dict[str, str]:
    known = signatures.crispr_hits()
    return dict(zip(known["gene"], known["category"], strict=True))
