"""What all figure functions have in common."""

from __future__ import annotations

import inspect

import pytest

from nkscore import pl

#: Figures of several panels draw into a figure instead.
_FIGURES = ["qc", "state_density", "visibility"]
_DRAWING = [name for name in pl.__all__ if name not in {"palette", "save", "show_styles", "style"}]


@pytest.mark.parametrize("name", _DRAWING)
def test_one_positional_argument_and_axes(name):
    parameters = inspect.signature(getattr(pl, name)).parameters.values()
    positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    assert len(positional) == 1
    has_axes = any(p.name == "ax" for p in parameters)
    assert has_axes is (name not in _FIGURES)
    assert any(p.name == "fig" for p in parameters) is (name in [*_FIGURES, "embedding", "volcano"])


@pytest.mark.parametrize("name", pl.__all__)
def test_documented_with_an_example(name):
    words = inspect.getdoc(getattr(pl, name))
    assert "Examples" in words
    assert ">>>" in words


def test_nothing_is_shown(monkeypatch, response):
    import matplotlib.pyplot as plt

    def fail():
        raise AssertionError("plt.show was called")

    monkeypatch.setattr(plt, "show", fail)
    pl.response_dots(response)
