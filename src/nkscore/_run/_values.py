"""Values of options that no run can use, found before any data are read.

Only what a function refuses whatever the data are. Names of columns, lines and conditions depend on
the data, and are checked by the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nkscore import schema, scoring, signatures
from nkscore.errors import NkscoreError
from nkscore.io._cell_map import CALLS, parsed
from nkscore.pp._demultiplex_methods import METHODS
from nkscore.pp._qc import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Section and option → values that its function knows.
CHOICES: Final[dict[tuple[str, str], Callable[[], list[str]]]] = {
    ("qc", "preset"): lambda: ["adaptive", *PRESETS],
    ("demultiplex", "method"): lambda: list(METHODS),
    ("compartments", "evidence"): lambda: ["auto", "monocultures", "markers"],
    ("cells", "keep"): lambda: list(CALLS),
    ("keep", "hashtag_classes"): lambda: list(schema.HASHTAG_CLASSES),
    ("score", "method"): lambda: list(scoring.scorers()),
    ("nk_states", "level"): lambda: ["cell", "cluster"],
    ("flag_ambient", "compartment"): lambda: [schema.TUMOR_CELLS, schema.NK],
    ("core_response", "method"): lambda: ["random_effects", "counting"],
    ("core_response", "between"): lambda: ["shared", "own"],
    ("decompose_shift", "interval"): lambda: ["t", "bootstrap", "none"],
    ("communication", "engine"): lambda: ["model", "liana"],
    ("communication", "level"): lambda: ["line", "sample"],
}
#: Part of a type → function that reads such values.
_READ: Final[dict[str, Callable[[Any], object]]] = {
    "SignaturesLike": signatures.as_signatures,
    "VocabularyLike": signatures.vocabulary,
    "MappingLike": parsed,
}
_SHARES: Final = frozenset(
    {
        *("alpha", "confidence", "gene_correlation", "label_q", "min_confidence", "min_coverage"),
        *("min_lost", "positive_quantile", "q_threshold", "smooth"),
    }
)
_POSITIVE: Final = frozenset({"fold", "n_mads", "target_sum"})
_NOT_NEGATIVE: Final = frozenset({"min_log2_fc", "log2_fc_threshold", "rng"})


def problem_of(section: str, name: str, value: object, *, hint: str) -> str:
    """Return what is wrong with the value of an option, ``""`` if nothing is."""
    if (section, name) in CHOICES:
        known = CHOICES[section, name]()
        given = value if isinstance(value, list) else [value]
        unknown = [repr(each) for each in given if each not in known]
        return f"{', '.join(unknown)} is unknown; known: {', '.join(known)}" if unknown else ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _problem_of_number(name, value)
    for kind, read in _READ.items():
        if kind in hint:
            return _problem_of_reading(read, value)
    return ""


def _problem_of_number(name: str, value: float) -> str:
    if name in _SHARES and not 0 <= value <= 1:
        return f"{value} is not from 0 to 1"
    if name in _POSITIVE and not value > 0:
        return f"{value} is not above 0"
    counted = name in _NOT_NEGATIVE or name.startswith(("min_", "n_")) or name == "k"
    return f"{value} is negative" if counted and value < 0 else ""


def _problem_of_reading(read: Callable[[Any], object], value: object) -> str:
    try:
        read(value)
    except (NkscoreError, OSError, ValueError, TypeError) as error:
        return str(error)
    return ""
