"""Input of the functions that score cells, and its checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema, signatures
from nkscore._ledger import note, rows_of_sets
from nkscore._samples._matrices import matrix_of
from nkscore._storable import stored_names
from nkscore.scoring import gene_sets, get_scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._types import Floats
    from nkscore.scoring import GeneSets, Scorer
    from nkscore.scoring._registry import Option
    from nkscore.signatures._convert import SignaturesLike

#: The largest possible value of log1p of counts per 10,000, with tolerance for float32.
_LARGEST_LOG = float(np.log1p(1e4)) + 1e-3
#: Scores of these names need none in the ledger.
_DEFAULT = (schema.SCORES, schema.SCORES_NULL)


@dataclass(frozen=True)
class ScoreInput:
    """A checked matrix and the sets to score on it."""

    scorer: Scorer
    matrix: Any
    layer: str
    #: Values above it are on another scale; ``None`` if any value is allowed.
    largest: float | None
    sets: GeneSets
    names: list[str]
    coverage: pd.DataFrame
    versions: dict[str, str]


def score_input(
    adata: AnnData,
    gene_signatures: SignaturesLike,
    *,
    method: str,
    layer: str | None = None,
    min_coverage: float = 0.5,
) -> ScoreInput:
    """Find the matrix that ``method`` reads and the genes of the signatures in it."""
    scorer = get_scorer(method)
    matrix = matrix_of(adata, layer or scorer.reads)
    schema.check_var_names(adata)
    largest = _LARGEST_LOG if scorer.reads == "X" and layer is None else None
    sets = signatures.as_signatures(gene_signatures)
    match = signatures.match(adata.var_names, sets, min_coverage=min_coverage)
    index = gene_sets(
        [match.up[name] for name in sets],
        [match.down[name] for name in sets],
        n_genes=adata.n_vars,
        sizes=[(len(s.up), len(s.down)) for s in sets.values()],
    )
    return ScoreInput(
        scorer,
        matrix,
        layer or scorer.reads,
        largest,
        index,
        list(sets),
        match.coverage.reset_index(drop=True),
        {name: s.version for name, s in sets.items()},
    )


def refuse_foreign(adata: AnnData, keys: Sequence[str], *, recorded_as: str, function: str) -> None:
    """Raise ``ValueError`` if a slot of ``obsm`` was not written by ``function``."""
    made_by = adata.uns.get(schema.RECORD, {}).get(recorded_as, {}).get("function")
    for key in keys:
        if key in adata.obsm and made_by != function:
            msg = (
                f"obsm[{key!r}] exists and was not written by {function}. "
                "Choose another key_added, or delete it first."
            )
            raise ValueError(msg)


def storable_options(options: dict[str, Option]) -> dict[str, float | str | None]:
    """Return options in a form that can be written to a file: a generator by its name."""
    return {
        key: "Generator" if isinstance(value, np.random.Generator) else value
        for key, value in options.items()
    }


def write_scores(
    adata: AnnData,
    tables: dict[str, Floats],
    found: ScoreInput,
    *,
    function: str,
    recorded_as: str,
    options: dict[str, Option],
) -> None:
    """Write tables of cells × signatures to ``obsm``, with a record of their options."""
    names = stored_names(found.names, "The signatures")
    for key, values in tables.items():
        adata.obsm[key] = pd.DataFrame(values, index=adata.obs_names, columns=names)
    used = storable_options({**found.scorer.options, **options})
    schema.record(
        adata,
        recorded_as,
        function=function,
        options={"method": found.scorer.name, "layer": found.layer, **used},
        coverage=found.coverage,
        signature_versions=found.versions,
    )
    step = function if recorded_as in _DEFAULT else f"{function} ({recorded_as})"
    note(adata, {step: rows_of_sets(step, found.coverage)})
