"""Scores of a cohort matched with annotations of its samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from nkscore.errors import DesignError, WrongScaleError

if TYPE_CHECKING:
    from nkscore._types import Labels

Table = TypeVar("Table", pd.DataFrame, pd.Series)


def checked_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores as numbers; raise for invalid samples or features."""
    if not scores.shape[1]:
        msg = "scores has no columns; one column per feature is needed."
        raise DesignError(msg)
    for axis, what in ((scores.index, "sample"), (scores.columns, "feature")):
        if axis.has_duplicates:
            found = axis[axis.duplicated()][0]
            msg = (
                f"scores holds the {what} {found!r} {int((axis == found).sum())} times; each "
                f"{what} must occur once. Average or rename the repeats."
            )
            raise DesignError(msg)
    text = [c for c in scores.columns if not pd.api.types.is_numeric_dtype(scores[c])]
    if text:
        msg = (
            f"Feature {text[0]!r} holds {scores[text[0]].dtype} values; numbers are needed. "
            "Pass groups and covariates as separate arguments."
        )
        raise WrongScaleError(msg)
    table = scores.astype("float64")
    infinite = np.isinf(table.to_numpy()).any(axis=0)
    if infinite.any():
        msg = (
            f"Feature {table.columns[infinite][0]!r} holds infinite values. Set them to "
            "missing or clip them."
        )
        raise WrongScaleError(msg)
    return table


def with_samples(table: Table, samples: pd.Index, name: str) -> Table:
    """Return the rows of ``table`` for ``samples`` that it shares with them."""
    if table.index.has_duplicates:
        found = table.index[table.index.duplicated()][0]
        msg = f"{name} holds the sample {found!r} more than once; each must occur once."
        raise DesignError(f"{msg} Keep one row per sample.")
    shared = samples.intersection(table.index, sort=False)
    if not len(shared):
        msg = (
            f"scores and {name} share no sample (scores: "
            f"{', '.join(map(repr, samples[:3].tolist()))}; {name}: "
            f"{', '.join(map(repr, table.index[:3].tolist()))}). Both need the same "
            "sample names as index."
        )
        raise DesignError(msg)
    return table.loc[shared]


def refuse_constant(table: pd.DataFrame) -> None:
    """Raise :class:`DesignError` if a feature has one value in all samples."""
    values = table.to_numpy(dtype=float)
    known = np.isfinite(values)
    high = np.where(known, values, -np.inf).max(axis=0)
    low = np.where(known, values, np.inf).min(axis=0)
    constant = table.columns[~(high > low)]
    if len(constant):
        shown = ", ".join(map(str, constant[:5])) + (", ..." if len(constant) > 5 else "")
        msg = (
            f"{len(constant)} of {table.shape[1]} features have one value in all {len(table)} "
            f"samples ({shown}), so they cannot be tested. Remove them: scores.loc[:, "
            "scores.nunique() > 1]."
        )
        raise DesignError(msg)


def patients_of(patient: pd.Series | None, samples: pd.Index) -> Labels | None:
    """Return the patient of each sample; raise :class:`DesignError` where it is missing."""
    if patient is None:
        return None
    owner = with_samples(patient, samples, "patient").reindex(samples)
    if owner.isna().any():
        msg = (
            f"patient is missing for {int(owner.isna().sum())} samples, the first is "
            f"{owner.index[owner.isna()][0]!r}. Give each sample its patient, or remove it."
        )
        raise DesignError(msg)
    names: Labels = owner.astype(str).to_numpy(dtype=object)
    return names
