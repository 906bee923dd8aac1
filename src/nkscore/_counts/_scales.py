"""Possible values of counts and of log-normalized expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore.errors import WrongScaleError

if TYPE_CHECKING:
    from nkscore._types import Array

#: The largest possible log1p of counts per 10,000, and room for float32.
LARGEST_LOG = float(np.log1p(1e4)) + 1e-3


def check_counts(values: Array, where: str) -> None:
    """Raise :class:`WrongScaleError` unless all values are whole, finite and not negative."""
    if values.size == 0:
        return
    if values.dtype.kind not in "biuf":
        msg = f"{where} holds values of type {values.dtype}, not numbers."
        raise WrongScaleError(msg)
    low = values.min()
    if np.isnan(low):
        msg = (
            f"{where} holds NaN. UMI counts are never missing: replace NaN in the step that "
            "made it."
        )
        raise WrongScaleError(msg)
    if low < 0:
        msg = (
            f"{where} holds negative values (minimum {low:g}); UMI counts are needed. "
            "Scaled or corrected values cannot be used: load the raw counts."
        )
        raise WrongScaleError(msg)
    if values.dtype.kind == "f":
        _check_whole(values, where)


def _check_whole(values: Array, where: str) -> None:
    flat = values.reshape(-1)
    for start in range(0, flat.size, 1 << 20):
        block = flat[start : start + (1 << 20)]
        if not np.isfinite(block).all():
            msg = f"{where} holds infinite values or NaN; UMI counts are needed."
            raise WrongScaleError(msg)
        broken = block != np.rint(block)
        if broken.any():
            example = float(block[broken][0])
            hint = (
                "They look like log-normalized values"
                if values.max() < 20
                else "They look corrected"
            )
            msg = (
                f"{where} holds fractions (for example {example:g}); UMI counts are needed. "
                f"{hint}: load the raw counts, for example from adata.raw or the 10x output."
            )
            raise WrongScaleError(msg)


def check_log_scale(values: Array) -> None:
    """Raise :class:`WrongScaleError` if ``X`` cannot be log1p of counts per 10,000."""
    if values.size == 0:
        return
    high, low = values.max(), values.min()
    if not np.isfinite(high) or low < 0 or high > LARGEST_LOG:
        msg = (
            f"adata.X ranges from {low:g} to {high:g}, which log1p of counts per 10,000 cannot "
            f"(0 to {np.log1p(1e4):.3g}). Run pp.normalize, which makes X from layers['counts']."
        )
        raise WrongScaleError(msg)
