"""Results of an analysis, which the run fills and the report reads."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nkscore._ledger import LEDGER, collected
from nkscore._whole import is_full
from nkscore.errors import NkscoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData

_LOG = logging.getLogger("nkscore")


def unflagged(responses: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a response without genes that ambient RNA may explain."""
    suspect = responses.get("ambient_suspect")
    return responses if suspect is None else responses[~suspect.astype(bool)]


def is_response(table: pd.DataFrame) -> bool:
    """Whether a table comes from tl.interaction_response and is not empty."""
    wanted = {"tumor", "gene", "log2_fc", "p_value", "q_value"}
    # tl.visibility compares groups of cells, twice, and has sums of genes.
    return len(table) > 0 and wanted <= set(table.columns) and "answer" not in table


def has(table: pd.DataFrame, *columns: str) -> bool:
    """Whether a table has all these columns."""
    return set(columns) <= set(table.columns)


@dataclass(slots=True)
class Results:
    """All loaded cells, the kept ones, tables by name, and skipped parts with the reason."""

    loaded: AnnData
    kept: AnnData
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    #: Names in ``skipped`` that failed with an error, not because of the data.
    failed: set[str] = field(default_factory=set)
    #: Table → function that made it and its options, if known.
    methods: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    #: Gene → table of what is known of it; genes in other tables link to it.
    dossiers: dict[str, pd.DataFrame] = field(default_factory=dict)
    #: Name of the sample sheet, or of the file of cells.
    source: str = ""

    def add_ledger(self) -> None:
        """Add the table of what all steps and tables lost."""
        parts = {name: table for name, table in self.tables.items() if name != LEDGER}
        found = collected(self.kept, parts, self.skipped)
        if len(found):
            self.tables[LEDGER] = found
            self.methods[LEDGER] = ("ledger", {})

    @contextmanager
    def optional(self, name: str) -> Iterator[None]:
        """Continue without a part that the data do not allow, or that fails, and record why."""
        try:
            yield
        except (NkscoreError, ImportError) as error:
            self.skipped[name] = str(error)
            _LOG.warning("%s was not made: %s", name, error)
        except Exception as error:
            if is_full(error):
                raise
            # Hours of other results depend on going on.
            self.skipped[name] = f"{type(error).__name__}: {error}"
            self.failed.add(name)
            _LOG.warning("%s failed: %s", name, self.skipped[name])
            _LOG.info("Traceback of %s", name, exc_info=True)
