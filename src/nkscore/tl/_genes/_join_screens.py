"""Several pooled CRISPR screens together with the response to NK cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import signatures
from nkscore._checks import check_columns, check_no_text, check_single_rows, check_there, names_of
from nkscore.errors import DesignError, MissingKeyError
from nkscore.stats import benjamini_hochberg, random_effects, robust_ranks, signed_z, stouffer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Array, Floats, Labels


def join_screens(
    hits: pd.DataFrame,
    *,
    method: str = "stouffer",
    min_screens: int = 2,
    response: pd.DataFrame | None = None,
    communication: pd.DataFrame | None = None,
    screens: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Combine several screens gene by gene, and add the response to NK cells.

    Parameters
    ----------
    hits
        Table of :func:`screen_hits`. Effects are oriented so that positive means that the gene
        promotes killing, for both loss and gain.
    method
        ``"stouffer"``: normal deviates of the two-sided p-values, with their sign, are summed; a
        p-value of 0 counts as half the smallest positive one of its screen. ``"rank"``: robust rank
        aggregation, for screens whose p-values have no common scale; each direction is ranked by
        signed p and fold change, and the better p-value is doubled. ``"random_effects"``: weighted
        mean of ``log2_fc`` with a variance between screens (Paule and Mandel, Hartung and Knapp),
        for tables with ``se`` (MAGeCK MLE) of three or more screens.
    min_screens
        A gene in fewer screens gets no p-value.
    response
        Table of :func:`nkscore.tl.interaction_response` (``gene``, ``tumor``, ``log2_fc``,
        ``q_value``): is a hit also induced by NK cells?
    communication
        Table of :func:`nkscore.tl.communication` (``level="line"``, ``engine="model"``): is the
        axis between the gene and its receptors on NK cells active? Pairs that were not tested (one
        gene is not expressed) and ambient suspects do not count as active.
    screens
        Screens to use; by default all.

    Returns
    -------
    One row per gene, sorted by p-value: ``gene``, ``category``, ``role`` (``activating``,
    ``inhibitory``), ``combined`` (z for ``stouffer``, log2 for ``random_effects``, empty for
    ``rank``), ``p_value``, ``q_value`` (Benjamini-Hochberg), ``n_screens``, ``n_activating`` and
    ``n_inhibitory`` (hits of each role), ``published_effect`` and ``published_effect_read`` (of its
    loss, see :func:`nkscore.signatures.crispr_hits`), ``nk_receptors`` (of its ligand-receptor
    pairs). With ``response`` also ``response_log2_fc`` (median over lines), ``n_lines_tested``,
    ``n_lines_up`` and ``n_lines_down`` (q < 0.05). With ``communication`` also ``axis_receptor``
    (NK gene of its strongest pair), ``axis_score`` (mean over lines of that pair's score; missing
    without an active axis), ``axis_log2_fc`` (of that pair, median over lines), ``n_lines_axis``
    (lines with an active axis), ``n_lines_axis_up`` and ``n_lines_axis_down`` (lines in which a
    pair of the gene rises or falls in co-culture, q < 0.05). If NK states are split, a line counts
    if any of its states does.

    Raises
    ------
    MissingKeyError
        If a column or a screen is absent.
    DesignError
        If fewer than ``min_screens`` screens are left, or a screen holds a gene twice.
    ValueError
        If the method is unknown.

    Notes
    -----
    Screens of one library and one NK donor are not independent: the p-values are then too small.
    Robust rank aggregation: Kolde et al. 2012, doi 10.1093/bioinformatics/btr709.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> one = pd.DataFrame({"gene": ["NCR3LG1", "HLA-E", "ACTB"], "log2_fc": [2.0, -1.0, 0.1],
    ...                     "p_value": [1e-6, 1e-3, 0.6], "q_value": [3e-6, 1.5e-3, 0.6]})
    >>> hits = nk.tl.screen_hits({"K562": one, "NALM6": one})
    >>> nk.tl.join_screens(hits)[["gene", "role", "n_activating"]].values.tolist()[:2]
    [['NCR3LG1', 'activating', 2], ['HLA-E', 'inhibitory', 0]]
    """
    combine = {"stouffer": _stouffer, "rank": _rank, "random_effects": _random_effects}
    if method not in combine:
        msg = f"method={method!r}; one of {', '.join(combine)} is needed."
        raise ValueError(msg)
    hits = _used(hits, screens, min_screens=min_screens)
    turned = hits.assign(turn=np.where(hits["perturbation"] == "loss", 1.0, -1.0))
    genes = np.unique(turned["gene"].astype(str))
    combined, p = combine[method](turned, genes)
    n = turned.groupby("gene").size().reindex(genes).to_numpy()
    _require_shared(turned, n, min_screens)
    p = np.where(n >= min_screens, p, np.nan)
    direction = (turned["turn"] * turned["log2_fc"]).groupby(turned["gene"]).mean().reindex(genes)
    side = direction.to_numpy() if method == "rank" else combined
    made = pd.DataFrame(
        {
            "gene": genes,
            "category": _categories(genes),
            "role": np.where(side > 0, "activating", np.where(side < 0, "inhibitory", "")),
            "combined": combined,
            "p_value": p,
            "q_value": benjamini_hochberg(p),
            "n_screens": n,
        }
    )
    for role in ("activating", "inhibitory"):
        counted = turned[turned["hit"] & (turned["role"] == role)].groupby("gene").size()
        made[f"n_{role}"] = counted.reindex(genes, fill_value=0).to_numpy()
    made = _with_facts(made)
    if response is not None:
        made = _with_response(made, response)
    if communication is not None:
        made = _with_axis(made, communication)
    return made.sort_values(["p_value", "gene"]).reset_index(drop=True)


def _categories(genes: Array) -> Labels:
    """Return what the published screens say that each gene is, empty where they do not."""
    known = signatures.crispr_hits().drop_duplicates("gene").set_index("gene")["category"]
    return pd.Series(genes).map(known).fillna("").to_numpy(dtype=object)


def _used(
    hits: pd.DataFrame, screens: str | Sequence[str] | None, *, min_screens: int
) -> pd.DataFrame:
    needed = ["screen", "perturbation", "gene", "log2_fc", "p_value", "role", "hit", "is_control"]
    check_columns(hits, needed, "Make it with tl.screen_hits.")
    check_no_text(hits, ["log2_fc", "p_value"])
    known = list(dict.fromkeys(hits["screen"]))
    wanted = known if screens is None else names_of(screens)
    check_there(wanted, known, "screen")
    used = hits[~hits["is_control"].to_numpy(dtype=bool) & hits["screen"].isin(wanted)]
    # Two rows would count as two screens.
    advice = "Give each screen a unique name, or drop the repeats."
    check_single_rows(used, ["screen", "gene"], advice)
    if used["screen"].nunique() < min_screens:
        msg = (
            f"{used['screen'].nunique()} screens are given; min_screens={min_screens} are "
            "needed to combine. Add screens, or use the table of tl.screen_hits directly."
        )
        raise DesignError(msg)
    return used[used["log2_fc"].notna() & used["p_value"].notna()]


def _require_shared(turned: pd.DataFrame, n: Array, least: int) -> None:
    if not (n >= least).any():
        names = turned.drop_duplicates("screen")
        examples = "; ".join(
            f"{s}: {g}" for s, g in zip(names["screen"], names["gene"], strict=True)
        )
        msg = (
            f"No gene is in {least} of the screens (first gene of each: {examples}). "
            "Genes must have the same names: io.read_mageck(orthologs=) maps mouse symbols."
        )
        raise DesignError(msg)


def _wide(turned: pd.DataFrame, genes: Array, values: Array) -> Floats:
    return (
        turned.assign(_value=values)
        .pivot_table(index="gene", columns="screen", values="_value", dropna=False)
        .reindex(genes)
        .to_numpy(dtype=float)
    )


def _stouffer(turned: pd.DataFrame, genes: Array) -> tuple[Floats, Floats]:
    sign = (turned["turn"] * turned["log2_fc"]).to_numpy()
    # A p-value of 0 is below the smallest possible one of the screen's permutations.
    positive = turned["p_value"].where(turned["p_value"] > 0)
    least = positive.groupby(turned["screen"]).transform("min").fillna(1.0) / 2
    p = np.maximum(turned["p_value"].to_numpy(), least.to_numpy())
    return stouffer(_wide(turned, genes, signed_z(p, sign)))


def _rank(turned: pd.DataFrame, genes: Array) -> tuple[Floats, Floats]:
    effect = turned["turn"] * turned["log2_fc"]
    strength = -np.log10(np.maximum(turned["p_value"], 1e-300)) * np.sign(effect)
    # Ties in p, for example at the minimum of permutations, are broken by effect size.
    order = turned.assign(s=strength, e=effect)
    ascending = order.groupby("screen")[["s", "e"]].rank(method="average")
    n = turned.groupby("screen")["gene"].transform("size")
    fine = (ascending["s"] + ascending["e"] / (n + 1) / 2).groupby(turned["screen"]).rank()
    down = robust_ranks(_wide(turned, genes, (fine / n).to_numpy()))
    # Each screen from its own top: the best of few genes is weaker evidence than the best of many.
    up = robust_ranks(_wide(turned, genes, ((n + 1 - fine) / n).to_numpy()))
    return np.full(len(genes), np.nan), np.minimum(2 * np.fmin(up, down), 1.0)


def _random_effects(turned: pd.DataFrame, genes: Array) -> tuple[Floats, Floats]:
    if "se" not in turned or turned["se"].isna().all():
        msg = "Random effects need the column 'se', as from MAGeCK MLE. Use method='stouffer'."
        raise MissingKeyError(msg)
    effect = _wide(turned, genes, (turned["turn"] * turned["log2_fc"]).to_numpy())
    error = _wide(turned, genes, turned["se"].to_numpy())
    pooled = random_effects(effect, np.where(error > 0, error, np.nan))
    return pooled.effect, pooled.p_value


def _with_facts(made: pd.DataFrame) -> pd.DataFrame:
    known = signatures.crispr_hits()
    known = known[known["perturbation"] == "loss"].sort_values("effect_read", ascending=False)
    known = known.drop_duplicates("gene").set_index("gene")
    pairs = signatures.ligand_receptor()
    receptors = pairs.groupby("tumor_gene")["nk_gene"].agg(lambda x: ", ".join(sorted(set(x))))
    return made.assign(
        published_effect=made["gene"].map(known["effect"]).fillna("").to_numpy(dtype=object),
        published_effect_read=made["gene"].map(known["effect_read"]).eq(True).to_numpy(),  # noqa: FBT003
        nk_receptors=made["gene"].map(receptors).fillna("").to_numpy(dtype=object),
    )


def _with_response(made: pd.DataFrame, response: pd.DataFrame) -> pd.DataFrame:
    needed = ["gene", "log2_fc", "q_value"]
    check_columns(response, needed, "Make it with tl.interaction_response.", what="The response")
    called = response["q_value"] < 0.05
    by_gene = response.assign(
        up=called & (response["log2_fc"] > 0), down=called & (response["log2_fc"] < 0)
    ).groupby("gene")
    return made.assign(
        response_log2_fc=by_gene["log2_fc"].median().reindex(made["gene"]).to_numpy(),
        n_lines_tested=by_gene.size().reindex(made["gene"], fill_value=0).to_numpy(),
        n_lines_up=by_gene["up"].sum().reindex(made["gene"], fill_value=0).to_numpy(dtype=int),
        n_lines_down=by_gene["down"].sum().reindex(made["gene"], fill_value=0).to_numpy(dtype=int),
    )


def _with_axis(made: pd.DataFrame, communication: pd.DataFrame) -> pd.DataFrame:
    needed = ["tumor", "nk_gene", "tumor_gene", "score", "log2_fc", "q_value", "ambient_suspect"]
    advice = "Make it with tl.communication(level='line', engine='model')."
    check_columns(communication, needed, advice, what="The table of communication")
    usable = communication[~communication["ambient_suspect"].to_numpy(dtype=bool)]
    pairs = usable.groupby(["tumor_gene", "nk_gene"])
    strength = pairs.agg(axis_score=("score", "mean"), axis_log2_fc=("log2_fc", "median"))
    # For pairs with equal scores the first by name, so that the order of rows does not matter.
    best = strength.sort_values("axis_score", ascending=False, kind="stable").reset_index()
    best = best.drop_duplicates("tumor_gene").set_index("tumor_gene").reindex(made["gene"])
    called = usable["q_value"] < 0.05
    counts = {
        "n_lines_axis": usable,
        "n_lines_axis_up": usable[called & (usable["log2_fc"] > 0)],
        "n_lines_axis_down": usable[called & (usable["log2_fc"] < 0)],
    }
    lines = {
        name: part.groupby("tumor_gene")["tumor"].nunique().reindex(made["gene"], fill_value=0)
        for name, part in counts.items()
    }
    return made.assign(
        axis_receptor=best["nk_gene"].fillna("").to_numpy(dtype=object),
        axis_score=best["axis_score"].to_numpy(),
        axis_log2_fc=best["axis_log2_fc"].to_numpy(),
        **{name: values.to_numpy(dtype=int) for name, values in lines.items()},
    )
