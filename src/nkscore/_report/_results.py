"""What an analysis made, as the workflow fills it and the report reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def unflagged(responses: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a response without genes that ambient RNA may explain."""
    suspect = responses.get("ambient_suspect")
    return responses if suspect is None else responses[~suspect.astype(bool)]


@dataclass(slots=True)
class Results:
    """All loaded cells, the kept ones, tables by name, and what could not be made and why."""

    loaded: AnnData
    kept: AnnData
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    #: Table → function that made it and its options, where that is known.
    methods: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
