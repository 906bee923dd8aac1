"""Settings, notes of tables, help and warnings: what a user sees beside the numbers."""

from __future__ import annotations

import logging
import pydoc
import warnings

import matplotlib as mpl
import pandas as pd
import pytest

import nkscore as nk
from nkscore._warn import warn
from nkscore.errors import NkscoreWarning


@pytest.fixture(autouse=True)
def as_before():
    with nk.settings.override():
        yield


def test_verbosity_decides_what_is_shown(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log = logging.getLogger("nkscore")
    shown = {}
    for level in ("silent", "error", "warning", "info", "debug"):
        nk.settings.verbosity = level
        for message in ("debug", "info", "warning", "error"):
            getattr(log, message)("of %s", message)
        shown[level] = capsys.readouterr().err.splitlines()
    assert [len(lines) for lines in shown.values()] == [0, 1, 2, 3, 4]
    assert shown["info"] == ["INFO: of info", "WARNING: of warning", "ERROR: of error"]
    with pytest.raises(ValueError, match="'loud'; known: 'silent', 'error'"):
        nk.settings.verbosity = "loud"
    assert nk.settings.verbosity == "debug"


def test_figure_settings_reach_the_style_and_are_restored():
    before = dict(mpl.rcParams)
    with nk.settings.override(figure={"axes.grid": True}):
        assert "axes.grid" in repr(nk.settings)
        with nk.pl.style():
            assert mpl.rcParams["axes.grid"] is True
        # A style that was asked for goes first.
        with nk.pl.style({"axes.grid": False}):
            assert mpl.rcParams["axes.grid"] is False
        with pytest.raises(ValueError, match=r"'axes\.grit': no rcParams"):
            nk.settings.figure = {"axes.grit": 1}
    with nk.pl.style():
        assert mpl.rcParams["axes.grid"] is False
    assert dict(mpl.rcParams) == before


def test_override_restores_after_an_error():
    with pytest.raises(KeyError), nk.settings.override(verbosity="silent"):
        raise KeyError
    assert nk.settings.verbosity == "warning"


def test_warnings_are_one_line_and_those_of_others_stay():
    text = warnings.formatwarning("one\n  two", NkscoreWarning, __file__, 3)
    assert text == "NkscoreWarning: one two\n"
    other = warnings.formatwarning("three", UserWarning, __file__, 3)
    assert other.startswith(f"{__file__}:3: UserWarning: three\n")
    with pytest.warns(NkscoreWarning, match="here") as caught:
        warn("here")
    assert caught[0].filename == __file__


def test_notes_of_a_table_as_text_and_html():
    table = pd.DataFrame({"a": [1, 2]})
    table.attrs = {
        "design": "NK < tumor",
        "left_out": [{"what": "line", "name": "<b>", "reason": "one sample"}] * 25,
        "ledger": [
            {"step": "x", "what": "cells", "n_in": 9, "n_lost": 0, "reason": ""},
            {"step": "y", "what": "cells", "n_in": 9000, "n_lost": 1234, "reason": "few genes"},
        ],
        "empty": [],
    }
    found = nk.about(table)
    assert repr(found).splitlines()[:4] == [
        "Table of 2 rows and 1 column",
        "design:",
        "  NK < tumor",
        "Not in the table:",
    ]
    assert "  and 5 more" in repr(found)
    assert repr(found).endswith("What was lost:\n  y: 1,234 of 9,000 cells: few genes")
    html = found._repr_html_()
    assert "NK &lt; tumor" in html
    assert "<b></b>" not in html
    assert html.count("<li>") == html.count("</li>") == 23
    assert repr(nk.about(pd.DataFrame())) == "Table of 0 rows and 0 columns"
    with pytest.raises(TypeError, match="was given list"):
        nk.about([1])


def test_signature_in_a_notebook():
    known = nk.signatures.get("DUFVA2023_CORE_NK_RESPONSE")._repr_html_()
    assert "<b>DUFVA2023_CORE_NK_RESPONSE</b>" in known
    assert "10.1016/j.immuni.2023.11.008" in known
    own = nk.signatures.Signature("<x>", up=("A",), down=("B", "C"))._repr_html_()
    assert own.startswith("<b>&lt;x&gt;</b>")
    assert "down (2)" in own
    assert "source" not in own


def test_help_leads_through_the_package():
    text = pydoc.plain(pydoc.render_doc(nk))
    for name in nk.__all__[1:]:
        if name != "errors":
            assert f"``{name}``" in text, name
    assert "nkscore run sheet.csv" in text
    way = text[text.index("The way of the data") :]
    for step in way.split("``")[1:25:2]:
        space, _, name = step.partition(".")
        assert not name or hasattr(getattr(nk, space), name), step
