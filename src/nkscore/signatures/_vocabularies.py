"""Vocabularies of cell states: the states, their markers, and what excludes each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nkscore.errors import GeneCoverageError, MissingKeyError
from nkscore.signatures._catalog import get, nearest, packaged
from nkscore.signatures._convert import as_signatures
from nkscore.signatures._read_sets import is_file_name
from nkscore.signatures._signature import Signature
from nkscore.signatures._tables import read_table

if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import TypeAlias

    import pandas as pd

    from nkscore.signatures._convert import GenesLike, SignaturesLike

    #: What marks a state: genes, or gene → weight.
    StateLike: TypeAlias = "State | Mapping[str, float] | GenesLike"
    VocabularyLike: TypeAlias = SignaturesLike | Mapping[str, StateLike]

_TABLE: Final = "vocabularies.tsv"
_COLUMNS: Final = [
    "vocabulary",
    "state",
    "n_up",
    "n_down",
    "marks",
    "excludes",
    "citation",
    "doi",
    "trust",
    "note",
]
_LITERAL: Final = "genes:"


@dataclass(frozen=True, slots=True)
class State:
    """One state of a vocabulary.

    Parameters
    ----------
    marks
        Genes that go up or down in cells of the state, with their source.
    weights
        Gene to weight between 0 and 1: the expected share of a marker's typical change. The default
        weight is 1.
    excludes
        Label to signature: cells that one of these explains better are not called.

    Raises
    ------
    ValueError
        If a weight is not between 0 and 1, or its gene is not a marker of the state.

    Examples
    --------
    >>> from nkscore.signatures import Signature, State
    >>> State(Signature("mature", up=("FCGR3A", "FGFBP2"), down=("SELL",)), weights={"SELL": 0.5})
    State(marks=Signature(name='mature', ...), weights={'SELL': 0.5}, excludes={})
    """

    marks: Signature
    weights: Mapping[str, float] = field(default_factory=dict)
    excludes: Mapping[str, Signature] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for gene, weight in self.weights.items():
            if gene not in self.marks.genes or not 0 < float(weight) <= 1:
                msg = (
                    f"State {self.marks.name!r} weighs {gene!r} by {weight!r}; a marker of the "
                    "state and a weight above 0 and up to 1 are needed."
                )
                raise ValueError(msg)

    def __repr__(self) -> str:
        return (
            f"State(marks=Signature(name={self.marks.name!r}, ...), "
            f"weights={dict(self.weights)!r}, excludes={dict(self.excludes)!r})"
        )


def vocabularies() -> pd.DataFrame:
    """Return the packaged vocabularies of NK states, one row per state.

    Returns
    -------
    DataFrame with ``vocabulary``, ``state``, ``n_up``, ``n_down``, ``marks`` (sets of the
    catalog, or genes), ``excludes`` (sets whose cells are not called), ``citation``, ``doi``,
    ``trust`` (``high``: panel of the authors; ``medium``: assigned on reading), ``note``.

    Examples
    --------
    >>> from nkscore import signatures
    >>> signatures.vocabularies()["vocabulary"].unique().tolist()
    ['expanded', 'time_course', 'blood', 'nk123', 'memory_like', 'proliferation', 'stress']
    """
    table = read_table(_TABLE)
    sets = [_marks(row) for row in table.to_dict("records")]
    return table.assign(
        n_up=[len(marks.up) for marks in sets], n_down=[len(marks.down) for marks in sets]
    )[_COLUMNS]


def vocabulary(x: VocabularyLike) -> dict[str, State]:
    """Return the states of a vocabulary, by name and in order.

    Parameters
    ----------
    x
        Name of a packaged vocabulary; the path of a file of signatures (see :func:`load`); or a
        mapping of states to :class:`State`, to gene → weight (negative for genes that go down), or
        to any value that :func:`as_signatures` accepts. Sets of the catalog and panels are
        vocabularies, too.

    Raises
    ------
    MissingKeyError
        If there is no such vocabulary, or a state names an unknown signature.
    GeneCoverageError
        If there is no state, or one without a marker.

    Examples
    --------
    >>> from nkscore import signatures
    >>> list(signatures.vocabulary("nk123"))
    ['nk1', 'nk2', 'nk3']
    >>> signatures.vocabulary({"mature": {"FCGR3A": 1, "SELL": -0.5}})["mature"].weights
    {'FCGR3A': 1.0, 'SELL': 0.5}
    """
    states = _states(x)
    empty = [name for name, state in states.items() if not len(state.marks)]
    if empty or not states:
        what = f"States without markers: {', '.join(empty)}" if states else "No state is given"
        msg = f"{what}. Each state needs a marker gene with a weight other than 0."
        raise GeneCoverageError(msg)
    return states


def _states(x: VocabularyLike) -> dict[str, State]:
    if isinstance(x, str) and not is_file_name(x):
        return _packaged(x)
    if isinstance(x, Mapping):
        return {str(name): _state(str(name), value) for name, value in x.items()}
    return {name: State(marks) for name, marks in as_signatures(x).items()}


def _packaged(name: str) -> dict[str, State]:
    table = read_table(_TABLE)
    rows = table[table["vocabulary"] == name].to_dict("records")
    if rows:
        return {
            row["state"]: State(
                _marks(row), excludes={other: get(other) for other in row["excludes"].split()}
            )
            for row in rows
        }
    try:
        return {label: State(marks) for label, marks in as_signatures(name).items()}
    except MissingKeyError:
        known = list(dict.fromkeys(table["vocabulary"]))
        msg = (
            f"There is no vocabulary {name!r}; one of {', '.join(known)} is needed, or a mapping "
            f"of states to genes, or a file. {nearest(name, [*known, *packaged()])}"
            "signatures.vocabularies() lists the states of each."
        )
        raise MissingKeyError(msg) from None


def _marks(row: Mapping[Hashable, str]) -> Signature:
    down: tuple[str, ...] = ()
    if row["marks"].startswith(_LITERAL):
        up = tuple(row["marks"].removeprefix(_LITERAL).split())
    else:
        sets = [get(name) for name in row["marks"].split()]
        up = tuple(gene for part in sets for gene in part.up)
        down = tuple(gene for part in sets for gene in part.down)
    return Signature(
        row["state"],
        up,
        down,
        compartment="nk",
        citation=row["citation"],
        doi=row["doi"],
        trust=row["trust"],
        note=row["note"],
    )


def _state(name: str, value: StateLike) -> State:
    if isinstance(value, State):
        return value
    if isinstance(value, Mapping):
        weights = {str(gene): float(weight) for gene, weight in value.items()}
        marks = Signature(
            name,
            tuple(gene for gene, weight in weights.items() if weight > 0),
            tuple(gene for gene, weight in weights.items() if weight < 0),
        )
        return State(marks, {gene: abs(weight) for gene, weight in weights.items() if weight})
    return State(as_signatures({name: value})[name])
