"""The checked options of one simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from nkscore.datasets._lines import LINEAGES, LINES, NK_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nkscore.datasets._clones import Clones
    from nkscore.datasets._contacts import Contacts


@dataclass(frozen=True)
class Options:
    """Options of a simulation; see :func:`nkscore.datasets.simulate_coculture`."""

    tumors: Mapping[str, str]
    n_donors: int
    n_cells_per_sample: int
    n_mono_replicates: int
    n_genes: int | None
    median_umi: float
    nk_fraction: float
    nk_states: bool | Mapping[str, Mapping[str, float]]
    state_shift: float
    ifn_response: float | Mapping[str, float]
    donor_response: Mapping[str, float] | None
    line_response: float
    low_myc: float
    low_myc_rna: float
    induction: float
    killing: float
    selection: float
    cell_cycle: bool
    ambient: float | Mapping[str, float]
    doublets: float
    negatives: float
    low_quality: float
    donor_effect: float
    sample_effect: float
    lane_effect: float
    null: bool | str
    uneven_depth: float | Mapping[str, float] = 1.0
    lanes_per_pool: int = 1
    nk_lane: bool = False
    bystanders: float = 0.0
    unequal_tags: float = 1.0
    few_cells: float | Mapping[str, int] = 0.0
    inherited: bool = False
    contacts: Contacts | None = None
    clones: Clones | None = None

    def __post_init__(self) -> None:
        for name in ("n_donors", "n_cells_per_sample", "n_mono_replicates", "lanes_per_pool"):
            _whole(name, getattr(self, name))
        for name in _FRACTIONS:
            _in_range(name, getattr(self, name), 1.0)
        for name in _AMOUNTS:
            _in_range(name, getattr(self, name), float("inf"))
        for name in ("median_umi", "low_myc_rna"):
            if not getattr(self, name) > 0:
                msg = f"{name} is {getattr(self, name)!r}; a number above 0 is needed."
                raise ValueError(msg)
        if self.null not in (False, True, "all"):
            msg = f"null is {self.null!r}; known: False, True, 'all'."
            raise ValueError(msg)
        self._check_mappings()
        self._check_uneven()

    def _check_mappings(self) -> None:
        _per_name("ambient", self.ambient, None, 0.9)
        _per_name("ifn_response", self.ifn_response, self.tumors, float("inf"))
        if self.donor_response is not None:
            _per_name("donor_response", self.donor_response, self.donors, float("inf"))
        states: Any = self.nk_states
        if isinstance(states, bool):
            return
        if not isinstance(states, Mapping):
            msg = f"nk_states is {states!r}; True, False or fractions per line are needed."
            raise ValueError(msg)  # noqa: TRY004 - the value is at fault as much as its type
        _known("nk_states", states, [*self.tumors, "alone"])
        for tumor, fractions in states.items():
            _known(f"nk_states[{tumor!r}]", fractions, NK_STATES)
            if min(fractions.values(), default=0) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
                msg = (
                    f"nk_states[{tumor!r}] holds {dict(fractions)}; fractions that are not "
                    "negative and sum to 1 are needed."
                )
                raise ValueError(msg)

    def _check_uneven(self) -> None:
        for name in ("uneven_depth", "unequal_tags"):
            value: Any = getattr(self, name)
            for found in value.values() if isinstance(value, Mapping) else ():
                _in_range(f"a factor of {name}", found, float("inf"), above=0.0)
            if not isinstance(value, Mapping):
                _in_range(name, value, float("inf"), low=1.0)
        for name in ("nk_lane", "inherited"):
            if not isinstance(getattr(self, name), bool):
                msg = f"{name} is {getattr(self, name)!r}; True or False is needed."
                raise ValueError(msg)  # noqa: TRY004 - one error for all options
        if self.lanes_per_pool > _MOST_LANES:
            msg = f"lanes_per_pool is {self.lanes_per_pool}; at most {_MOST_LANES} are possible."
            raise ValueError(msg)
        _in_range("bystanders", self.bystanders, 0.9)
        self._check_few_cells()

    def _check_few_cells(self) -> None:
        few: Any = self.few_cells
        if not isinstance(few, Mapping):
            _in_range("few_cells", few, 1.0)
            return
        for sample, number in few.items():
            _whole(f"few_cells[{sample!r}]", number)

    @property
    def donors(self) -> list[str]:
        """Names of the NK donors."""
        return [f"NK{i + 1}" for i in range(self.n_donors)]

    @property
    def interaction(self) -> float:
        """0 if ``null`` switches off the effects of the interaction, else 1."""
        return 0.0 if self.null else 1.0

    @property
    def clean(self) -> bool:
        """Whether ambient RNA and doublets are also switched off."""
        return self.null == "all"


#: Lanes of a pool are named by letters.
_MOST_LANES = 26
_FRACTIONS = (
    "nk_fraction",
    "low_myc",
    "induction",
    "doublets",
    "negatives",
    "low_quality",
    "state_shift",
)
_AMOUNTS = (
    "line_response",
    "killing",
    "selection",
    "donor_effect",
    "sample_effect",
    "lane_effect",
)


def _whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        msg = f"{name} is {value!r}; a whole number of at least 1 is needed."
        raise ValueError(msg)


def _in_range(
    name: str, value: object, high: float, *, low: float = 0.0, above: float | None = None
) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        number = float("nan")
    else:
        number = float(value)
    if not low <= number <= high or (above is not None and number <= above):
        limit = f"of at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        limit = limit if above is None else f"above {above:g}"
        msg = f"{name} is {value!r}; a number {limit} is needed."
        raise ValueError(msg)


def _per_name(name: str, value: object, known: Iterable[str] | None, high: float) -> None:
    """Check one number, or one number per known name."""
    if not isinstance(value, Mapping):
        _in_range(name, value, high)
        return
    if known is not None:
        _known(name, value, known)
    for key, number in value.items():
        _in_range(f"{name}[{key!r}]", number, high)


def _known(name: str, found: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    unknown = [repr(key) for key in found if key not in known]
    if unknown:
        msg = f"{name} names {', '.join(unknown)}; known here: {', '.join(known)}."
        raise ValueError(msg)


def with_lineages(tumors: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Return tumor -> lineage, looking known lines up."""
    if isinstance(tumors, str):
        msg = f"tumors is the text {tumors!r}; give a list of names, for example [{tumors!r}]."
        raise ValueError(msg)  # noqa: TRY004 - the value is at fault as much as its type
    if isinstance(tumors, Mapping):
        chosen = {str(name): str(lineage) for name, lineage in tumors.items()}
    else:
        unknown = [repr(name) for name in tumors if name not in LINES]
        if unknown:
            msg = (
                f"tumors names {', '.join(unknown)}, whose lineage is unknown. Known lines are "
                "in datasets.LINES; for others give a mapping from name to lineage "
                f"({', '.join(LINEAGES)})."
            )
            raise ValueError(msg)
        if len(set(tumors)) < len(tumors):
            msg = "tumors names a line twice; name each line once (n_donors sets the wells)."
            raise ValueError(msg)
        chosen = {name: LINES[name] for name in tumors}
    if not chosen or "" in chosen or any("/" in name for name in chosen):
        msg = f"tumors is {list(chosen)}; at least one name is needed, none empty or with '/'."
        raise ValueError(msg)
    _known("tumors (lineages)", chosen.values(), LINEAGES)
    return chosen


def check_threads(n_threads: int) -> int:
    """Return ``n_threads`` if it is a whole number of at least 1."""
    _whole("n_threads", n_threads)
    return n_threads
