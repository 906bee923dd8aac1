"""Whose the NK cells of a patient are after transfer: donor or recipient, by genotype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_columns
from nkscore._samples._cells import passed_qc
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Array

DONOR: Final = "donor"
RECIPIENT: Final = "recipient"
UNASSIGNED: Final = "unassigned"
#: What programs write in place of a donor.
_NO_DONOR: Final = frozenset({"", "doublet", "unassigned", "ambiguous", "negative", "nan", "none"})
_ADVICE: Final = "io.read_genotypes reads calls of donors; the others describe each cell's sample."


def transferred_cells(
    source: AnnData | pd.DataFrame,
    donor: str | Mapping[str, str],
    *,
    patient: str,
    time: str,
    genotype: str,
    condition: str,
    product: str,
) -> pd.DataFrame:
    """Return the NK cells with ``patient``, ``time``, ``sample``, ``origin`` and ``is_product``.

    ``row`` is the position in ``source``. The product has no time and, unless it is named, no
    patient.
    """
    obs, rows = _nk_cells(source)
    check_columns(obs, [patient, time, genotype], _ADVICE, what="obs")
    is_product = np.zeros(len(obs), dtype=bool)
    if condition in obs:
        is_product = (obs[condition].astype(object) == product).to_numpy(dtype=bool)
    made = pd.DataFrame(
        {
            "row": rows,
            "patient": obs[patient].astype(object).to_numpy(),
            "time": _times(obs[time], is_product, time),
            "sample": (obs[schema.SAMPLE] if schema.SAMPLE in obs else obs[patient])
            .astype(str)
            .to_numpy(),
            "is_product": is_product,
        }
    )
    unnamed = pd.isna(made["patient"]) & ~is_product
    if unnamed.any():
        msg = (
            f"{int(unnamed.sum())} NK cells have no patient in obs[{patient!r}]. Name it, or "
            f"mark the cells as {product!r} in obs[{condition!r}]."
        )
        raise MissingKeyError(msg)
    called = obs[genotype].astype(object).where(obs[genotype].notna(), "").map(str).to_numpy()
    return made.assign(origin=_origins(called, made["patient"], donor, is_product, genotype))


def _nk_cells(source: AnnData | pd.DataFrame) -> tuple[pd.DataFrame, Array]:
    """Return the rows of NK cells that passed QC; all rows where neither was called."""
    if isinstance(source, pd.DataFrame):
        obs, keep = source, np.ones(len(source), dtype=bool)
    else:
        obs, keep = source.obs, passed_qc(source)
    if schema.COMPARTMENT in obs:
        keep = keep & (obs[schema.COMPARTMENT] == schema.NK).to_numpy()
    if not keep.any():
        msg = "No NK cell passed QC. Check obs['compartment'] and obs['qc_pass']."
        raise DesignError(msg)
    return obs[keep], np.flatnonzero(keep)


def _times(column: pd.Series, is_product: Array, name: str) -> Array:
    numbers = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(dtype=float)
    text = next((v for v in column[~is_product] if isinstance(v, str)), None)
    bad = ~np.isfinite(numbers) & ~is_product
    if text is not None or bad.any():
        found = repr(text) if text is not None else f"no time for {int(bad.sum())} cells"
        msg = (
            f"obs[{name!r}] holds {found}; numbers from the infusion on are needed (days, with "
            "negative ones before it). Convert it, for example .str.removeprefix('D').astype(int)."
        )
        raise WrongScaleError(msg)
    return np.where(is_product, np.nan, numbers)


def _origins(
    called: Array,
    patients: pd.Series,
    donor: str | Mapping[str, str],
    is_product: Array,
    genotype: str,
) -> Array:
    """Return donor, recipient or unassigned of each cell."""
    if isinstance(donor, Mapping):
        lost = sorted({str(p) for p in patients[~is_product]} - set(map(str, donor)))
        if lost:
            msg = f"donor names no donor for patient {', '.join(lost)}. Name the donor of each."
            raise MissingKeyError(msg)
        of_patient = {str(key): str(value) for key, value in donor.items()}
        expected = np.array([of_patient.get(str(p), "") for p in patients], dtype=object)
    else:
        expected = np.full(len(called), str(donor), dtype=object)
    nobody = np.array([name.lower() in _NO_DONOR for name in called])
    wanted = {str(d) for d in (donor.values() if isinstance(donor, Mapping) else [donor])}
    if not wanted & set(called):
        have = ", ".join(sorted(set(called[~nobody]))[:8]) or "none"
        msg = (
            f"No cell has the donor {', '.join(sorted(wanted))} in obs[{genotype!r}] (it has: "
            f"{have}). Name donors as the calls do; vireo calls them donor0, donor1, ... unless it "
            "was given genotypes."
        )
        raise DesignError(msg)
    origin = np.where(called == expected, DONOR, RECIPIENT)
    return np.where(nobody, UNASSIGNED, origin).astype(object)
