from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from nkscore import pl
from nkscore.pl import _style


def test_style_sets_and_restores():
    before = mpl.rcParams["pdf.fonttype"], mpl.rcParams["font.size"]
    with pl.style():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["svg.fonttype"] == "none"
        assert 7 <= mpl.rcParams["font.size"] <= 8
        assert "DejaVu Sans" in mpl.rcParams["font.family"]
    assert (mpl.rcParams["pdf.fonttype"], mpl.rcParams["font.size"]) == before


def test_style_restores_after_an_error():
    before = mpl.rcParams["font.size"]
    with pytest.raises(RuntimeError, match="stop"), pl.style():
        raise RuntimeError("stop")
    assert mpl.rcParams["font.size"] == before


def test_white_background_and_dark_text_in_dark_notebooks(response):
    with plt.style.context("dark_background"):
        ax = pl.response_dots(response)
    assert to_hex(ax.figure.get_facecolor()) == to_hex(ax.get_facecolor()) == "#ffffff"
    assert to_hex(ax.get_xticklabels()[0].get_color()) == "#262626"


def test_absent_fonts_are_not_named(monkeypatch, caplog):
    monkeypatch.setattr(_style, "_FAMILIES", ("No Such Font", "DejaVu Sans"))
    assert _style.available_fonts() == ["DejaVu Sans"]


def test_axes_of_others_get_small_type():
    ax = Figure().subplots()
    ax.set_xlabel("x", fontsize=20)
    _style.restyle(ax)
    assert ax.xaxis.label.get_fontsize() == _style.FONT
    assert not ax.spines["top"].get_visible()


def test_fit_gives_the_axes_the_size_asked_for():
    with pl.style():
        ax = _style.axes_or_new(None, (5, 5))
        ax.set_ylabel("counts")
        _style.fit(ax, width=1.5, height=1.0)
    box = ax.get_window_extent()
    assert box.width / ax.figure.dpi == pytest.approx(1.5, abs=0.03)
    assert box.height / ax.figure.dpi == pytest.approx(1.0, abs=0.03)


def test_figure_of_an_axes_in_a_subfigure():
    figure = Figure()
    assert _style.figure_of(figure.subfigures().subplots()) is figure


def test_importing_pl_does_not_import_matplotlib():
    code = "import sys, nkscore.pl; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
