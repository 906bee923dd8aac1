"""The target gene of each guide of a library."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from nkscore import schema
from nkscore.errors import DesignError, MissingKeyError

#: Non-targeting guides, by the name of their gene or guide.
CONTROLS = (
    r"(?i)^(?:non[-_. ]?target(?:ing)?|nt|ntc|neg(?:ative)?(?:[-_. ]?(?:ctrl|control))?|ctrl"
    r"|control|scrambled?|safe|intergenic)(?:[^a-z0-9].*)?$"
)
#: A sign or "g" separates a guide's number: STAT1 alone is a gene, not guide 1 of STAT.
_NAME = re.compile(r"^(?:sg)?(?P<gene>.+?)(?:[._-](?:sg|g)?[._-]?|sg|g)\d+$")


def genes_of(
    guides: list[str],
    library: Mapping[str, str | float | None] | pd.DataFrame | None,
    controls: str,
) -> list[str]:
    """Return the perturbation of each guide."""
    silent = re.compile(controls)
    if library is None:
        # In "NT1" the number belongs to the guide; in "STAT1" it may belong to the gene.
        known = {g: stem for g in guides if silent.match(stem := g.rstrip("0123456789"))}
        known |= {g: found["gene"] for g in guides if (found := _NAME.match(g))}
        remedy = "Give library=, a mapping from guide to gene."
    else:
        named = dict(library) if isinstance(library, Mapping) else _from_table(library)
        known = {str(g): str(gene) for g, gene in named.items() if pd.notna(gene) and gene != ""}
        remedy = "Add it to the library."
    control = {g for g in guides if silent.match(g) or (g in known and silent.match(known[g]))}
    missing = [g for g in guides if g not in known and g not in control]
    if missing:
        msg = f"The gene of {len(missing)} guides is unknown, the first is {missing[0]!r}. {remedy}"
        raise MissingKeyError(msg)
    return [schema.NON_TARGETING if g in control else known[g] for g in guides]


def _from_table(library: object) -> dict[str, str | float | None]:
    if not isinstance(library, pd.DataFrame):
        msg = (
            f"library is {library!r}; a mapping from guide to gene or a DataFrame is needed. "
            "Read a file first: pd.read_csv(path)."
        )
        raise MissingKeyError(msg)
    columns = {str(c).lower(): c for c in library.columns}
    guide = next((columns[c] for c in ("guide", "sgrna_name", "sgrna", "id") if c in columns), None)
    gene = next((columns[c] for c in ("gene", "target", "target_gene_name") if c in columns), None)
    if guide is None or gene is None:
        msg = (
            f"The library has the columns {', '.join(map(str, columns.values())) or 'none'}; "
            "'guide' and 'gene' are needed. Rename them."
        )
        raise MissingKeyError(msg)
    repeated = library[guide].duplicated()
    if repeated.any():
        msg = f"The library holds the guide {library.loc[repeated, guide].iloc[0]!r} twice."
        raise DesignError(msg)
    return dict(zip(library[guide], library[gene], strict=True))
