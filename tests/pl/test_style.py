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


@pytest.mark.parametrize(
    ("look", "message"),
    [
        ({"palette": {"B2M": "red"}}, "none of the names in palette: 'B2M'. It has: .*'CML'"),
        ({"palette": "no map"}, "palette names no color map: 'no map'"),
        ({"palette": {"CML": "redd"}}, "palette holds 'redd', which is no color"),
        ({"palette": []}, "palette is empty"),
        ({"order": ["K563"]}, "none of the names in order: 'K563'. It has: .*'K562'"),
        ({"labels": {"K563": "x"}}, "none of the names in labels: 'K563'. It has: .*'K562'"),
        ({"figsize": "wide"}, "figsize is 'wide'; choose one of single, middle, double"),
        ({"figsize": (3, -1)}, "width and height in inches are needed"),
        ({"figsize": (1, 1)}, "figsize leaves .* inches for the data"),
        ({"font_size": 0}, "font_size is 0; points from 2 to 72"),
        ({"style": "neon"}, "style holds 'neon', which matplotlib does not know"),
        ({"style": {"axes.linewith": 1}}, "style holds 'axes.linewith'"),
        ({"figsize": "single", "ax": True}, "figsize= together with axes"),
    ],
)
def test_a_look_that_cannot_be(response, look, message):
    if "ax" in look:
        look = {**look, "ax": Figure().subplots()}
    before = plt.get_fignums()
    with pytest.raises(ValueError, match=message):
        pl.response_dots(response, **look)
    assert plt.get_fignums() == before


def test_one_mapping_serves_all_figures_within_a_style(response):
    with pl.style(palette={"CML": "#12ab34", "elsewhere": "red"}, font_size=15):
        ax = pl.response_dots(response)
    assert "#12ab34" in {to_hex(c) for c in ax.collections[-1].get_facecolors()}
    assert ax.get_xticklabels()[0].get_fontsize() == pytest.approx(14)
    plain = pl.response_dots(response)
    assert plain.get_xticklabels()[0].get_fontsize() == pytest.approx(7)


def test_columns_of_a_journal(response):
    for name, width in (("single", 85), ("middle", 114), ("double", 174)):
        ax = pl.volcano(response, tumor="K562", figsize=name)
        assert ax.figure.get_figwidth() * 25.4 == pytest.approx(width)


def test_words_that_change_places(response):
    ax = pl.response_dots(response, labels={"K562": "697", "697": "K562"}, order=["THP1"])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["THP1", "697", "K562"]


def test_the_colors_of_the_cells_are_used_unless_others_are_asked_for(cells):
    cells.obs["condition"] = cells.obs["condition"].cat.remove_unused_categories()
    cells.uns["condition_colors"] = ["#010101", "#020202"]
    hues = [to_hex(h.get_color()) for h in pl.embedding(cells).get_legend().legend_handles]
    assert hues[:2] == ["#010101", "#020202"]
    asked = pl.embedding(cells, palette={"Co-culture": "#030303"})
    assert to_hex(asked.get_legend().legend_handles[1].get_color()) == "#030303"
    cells.uns["condition_colors"] = ["#010101"]
    short = pl.embedding(cells)
    assert to_hex(short.get_legend().legend_handles[1].get_color()) == "#c63d1e"


def test_styles_are_drawn():
    figure = pl.show_styles(["nkscore", "dark", "ggplot"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["nkscore", "dark", "ggplot"]
    with pytest.raises(ValueError, match="style holds 'neon'"):
        pl.show_styles(["neon"])


def test_panels_in_a_part_of_a_figure(cells):
    figure = plt.figure(layout="constrained", figsize=(8, 6))
    left, right = figure.subfigures(1, 2)
    assert pl.qc(cells, fig=left, title="Quality") is left
    assert left.get_suptitle() == "Quality"
    assert not right.axes
