"""Receptor-ligand pairs by LIANA+, sample by sample."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._samples._cells import passed_qc
from nkscore._samples._matrices import counts_of
from nkscore.errors import DesignError
from nkscore.stats import benjamini_hochberg
from nkscore.tl._response._communication_pairs import KEPT, subunits_of

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Labels

_COLUMNS = ["nk_state", *KEPT, "score", "p_value", "q_value"]
_LOG = logging.getLogger("nkscore")


def liana_pairs(
    adata: AnnData,
    table: pd.DataFrame,
    *,
    treated: str,
    by: str,
    state: str | None,
    min_cells: int,
    n_permutations: int,
    seed: int,
) -> pd.DataFrame:
    """Return CellPhoneDB scores of each sample; p-values include the observed value."""
    needed = [schema.SAMPLE, schema.CONDITION, schema.COMPARTMENT, by]
    schema.require(adata, "obs", [*needed, *([state] if state else [])], "pp.compartments")
    obs = adata.obs
    inside = (obs[schema.CONDITION] == treated) & obs[schema.SAMPLE].notna() & passed_qc(adata)
    inside &= obs[schema.COMPARTMENT].isin([schema.NK, schema.TUMOR_CELLS])
    parts = []
    for sample in sorted(obs.loc[inside, schema.SAMPLE].astype(str).unique()):
        cells = (inside & (obs[schema.SAMPLE].astype(str) == sample)).to_numpy(dtype=bool)
        part = _one_sample(
            adata[cells], table, state=state, min_cells=min_cells, m=n_permutations, seed=seed
        )
        if part is None:
            _LOG.warning("%s: fewer than %d NK or tumor cells, excluded", sample, min_cells)
            continue
        parts.append(part.assign(sample=sample, tumor=str(obs.loc[cells, by].iloc[0])))
    if not parts:
        msg = (
            f"No sample of condition {treated!r} has {min_cells} NK and {min_cells} tumor cells. "
            "Check obs['compartment'] and obs['condition'], or lower min_cells."
        )
        raise DesignError(msg)
    order = ["sample", "nk_state", "p_value", "nk_gene", "tumor_gene"]
    made = pd.concat(parts, ignore_index=True).sort_values(order, ignore_index=True)
    return made[["sample", "tumor", *_COLUMNS]]


def _one_sample(
    cells: AnnData, table: pd.DataFrame, *, state: str | None, min_cells: int, m: int, seed: int
) -> pd.DataFrame | None:
    group = _groups(cells.obs, state)
    counts = pd.Series(group).value_counts()
    usable = [
        str(g) for g, n in counts.items() if n >= min_cells and g != f"nk|{schema.UNASSIGNED}"
    ]
    if "tumor" not in usable or len(usable) < 2:
        return None
    keep = np.isin(group.astype(str), usable)
    # Sorted, so that the permutations do not depend on the order of the cells.
    order = np.argsort(cells.obs_names[keep].to_numpy(dtype=str), kind="stable")
    found = _cellphonedb(cells[keep][order], group[keep][order], table, m=m, seed=seed)
    found = found[found["source"].str.startswith("nk|") & (found["target"] == "tumor")]
    made = table.assign(ligand=_ligands(table)).merge(
        found, left_on=["ligand", "tumor_gene"], right_on=["ligand_complex", "receptor_complex"]
    )
    p = (made["cellphone_pvals"].to_numpy(dtype=float) * m + 1) / (m + 1)
    made = made.assign(
        nk_state=made["source"].str.removeprefix("nk|"),
        score=made["lr_means"],
        p_value=p,
        q_value=benjamini_hochberg(p),
    )
    return made[_COLUMNS]


def _groups(obs: pd.DataFrame, state: str | None) -> Labels:
    """Return the group of each cell: ``tumor``, or ``nk|`` and its state."""
    is_nk = (obs[schema.COMPARTMENT] == schema.NK).to_numpy()
    group = np.where(is_nk, "nk|all", "tumor").astype(object)
    if state:
        names = obs[state].astype(object).where(obs[state].notna(), schema.UNASSIGNED)
        group[is_nk] = [f"nk|{name}" for name in names[is_nk]]
    return group


def _ligands(table: pd.DataFrame) -> list[str]:
    """Return the NK side of each pair as LIANA writes complexes."""
    return ["_".join(units) for units in subunits_of(table)]


def _cellphonedb(
    cells: AnnData, group: Labels, table: pd.DataFrame, *, m: int, seed: int
) -> pd.DataFrame:
    from matplotlib import rc_context

    try:
        # Its import changes how legends of all later figures look.
        with rc_context():
            import liana  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        msg = (
            "engine='liana' needs LIANA+, which runs on Python 3.13 or older. Install it there: "
            "pip install 'nkscore[communication]'."
        )
        raise ImportError(msg) from error
    # LIANA treats the sender as the ligand; a pair counts the same in both directions.
    resource = pd.DataFrame(
        {"ligand": _ligands(table), "receptor": table["tumor_gene"].to_numpy()}
    ).drop_duplicates()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: pd.DataFrame = liana.mt.cellphonedb(
            _shell(cells, group, table),
            groupby="group",
            resource=resource,
            use_raw=False,
            expr_prop=0.0,
            min_cells=1,
            n_perms=m,
            seed=seed,
            inplace=False,
            verbose=False,
        )
    return found


def _shell(cells: AnnData, group: Labels, table: pd.DataFrame) -> AnnData:
    """Return the cells with log-normalized values of the genes of the pairs."""
    import anndata
    from scipy import sparse

    counts = counts_of(cells, check=False).whole("LIANA").astype(np.float32)
    total = np.asarray(counts.sum(axis=1)).ravel()
    scaled = sparse.csr_matrix(sparse.diags(1e4 / np.maximum(total, 1.0)) @ counts)
    # LIANA's time grows with the number of genes; genes outside all pairs are not needed.
    units = {unit for units in subunits_of(table) for unit in units}
    used = np.flatnonzero(cells.var_names.isin(list(units | set(table["tumor_gene"]))))
    return anndata.AnnData(
        X=sparse.csr_matrix(scaled[:, used].log1p(), dtype=np.float32),
        obs=pd.DataFrame({"group": pd.Categorical(group)}, index=cells.obs_names.astype(str)),
        var=pd.DataFrame(index=cells.var_names[used]),
    )
