"""Planted contacts: NK and tumor cells that were attached to each other before pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nkscore.datasets._lines import NK_STATES, TUMOR_STATES


@dataclass(frozen=True)
class Contacts:
    """What ``simulate_coculture(contacts=...)`` plants, and how well tags and RNA show it.

    Parameters
    ----------
    rate
        Share of the droplets of a co-culture that hold an NK and a tumor cell of that well which
        were attached before pooling: one number, or per line (others 0).
    states
        Factor on the odds that a cell of this state is in contact: NK states and ``low_myc``;
        others 1.
    log2_fc
        Log2 fold change of the contact genes in attached cells.
    n_genes
        Contact genes of NK cells, and as many of tumor cells.
    rna_ratio
        RNA content of NK over that of tumor cells; ``None`` keeps 0.74.
    tag_signal
        Median count of a cell's own hashtag.
    tag_spread
        SD (natural log) of that median between the tags of a lane: uneven staining.

    Examples
    --------
    >>> import nkscore as nk
    >>> planted = nk.datasets.Contacts(rate={"K562": 0.04}, log2_fc=1.0)
    >>> adata = nk.datasets.simulate_coculture(
    ...     n_donors=1, n_cells_per_sample=100, contacts=planted, rng=0
    ... )
    >>> own = adata.obs["truth_pair"] == "own"
    >>> sorted(set(adata.obs.loc[own, "truth_tumor"]))
    ['K562']
    """

    rate: float | Mapping[str, float] = 0.02
    states: Mapping[str, float] = field(default_factory=dict)
    log2_fc: float = 0.0
    n_genes: int = 12
    rna_ratio: float | None = None
    tag_signal: float = 300.0
    tag_spread: float = 0.45

    def __post_init__(self) -> None:
        known = [*NK_STATES, TUMOR_STATES[1]]
        unknown = [repr(name) for name in self.states if name not in known]
        if unknown:
            msg = f"states names {', '.join(unknown)}; known here: {', '.join(known)}."
            raise ValueError(msg)
        rates = self.rate.values() if isinstance(self.rate, Mapping) else [self.rate]
        if not all(0 <= rate <= 1 for rate in rates):
            msg = f"rate is {self.rate!r}; shares of droplets from 0 to 1 are needed."
            raise ValueError(msg)
        least = {"n_genes": self.n_genes, "tag_spread": self.tag_spread} | {
            f"states[{name!r}]": value for name, value in self.states.items()
        }
        for name, value in least.items():
            if not value >= 0:
                msg = f"{name} is {value!r}; a number of at least 0 is needed."
                raise ValueError(msg)
        for name, number in (("rna_ratio", self.rna_ratio), ("tag_signal", self.tag_signal)):
            if number is not None and not number > 0:
                msg = f"{name} is {number!r}; a number above 0 is needed."
                raise ValueError(msg)
