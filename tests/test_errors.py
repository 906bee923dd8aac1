from __future__ import annotations

import pickle

import pytest

from nkscore import errors
from nkscore.errors import MissingKeyError, NkscoreError, NkscoreWarning

_BUILT_IN = {
    "ClusterError": RuntimeError,
    "DesignError": ValueError,
    "GeneCoverageError": ValueError,
    "LaneError": OSError,
    "MemoryNeededError": RuntimeError,
    "MissingKeyError": KeyError,
    "SampleSheetError": ValueError,
    "WrongScaleError": ValueError,
}


def test_all_is_sorted_and_complete():
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert errors.__all__ == sorted(defined)


@pytest.mark.parametrize("name", _BUILT_IN)
def test_each_error_is_also_the_built_in_one(name):
    error = getattr(errors, name)
    assert issubclass(error, NkscoreError)
    assert issubclass(error, _BUILT_IN[name])
    with pytest.raises(_BUILT_IN[name], match="found"):
        raise error("found → needed")


def test_every_error_is_listed_here():
    assert {*_BUILT_IN, "NkscoreError", "NkscoreWarning"} == set(errors.__all__)


def test_the_warning_is_no_error():
    assert issubclass(NkscoreWarning, UserWarning)
    assert not issubclass(NkscoreWarning, NkscoreError)


def test_missing_keys_are_shown_as_written():
    # KeyError alone would show quotes and escaped line breaks.
    assert str(MissingKeyError("adata.obs has no 'tumor'\nRun it")) == (
        "adata.obs has no 'tumor'\nRun it"
    )
    assert not str(MissingKeyError())


@pytest.mark.parametrize("name", _BUILT_IN)
def test_errors_pass_between_processes(name):
    error = getattr(errors, name)("words")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (made here)
    assert type(again) is type(error)
    assert str(again) == "words"
