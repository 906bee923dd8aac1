"""The look of the figure that is being drawn: colors, words, order and size of its parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from nkscore import _colors
from nkscore._colors import is_missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    Palette = Mapping[str, str] | Sequence[str] | str
    Size = tuple[float, float] | str
    Style = str | Mapping[str, object] | Sequence[str | Mapping[str, object]]

_LOG = logging.getLogger("nkscore")

#: Size of text in points: most text, and small text.
FONT: Final = 7.5
SMALL: Final = 6.5
#: Widths of columns of journals, in inches.
WIDTHS: Final = {"single": 85 / 25.4, "middle": 114 / 25.4, "double": 174 / 25.4}


@dataclass
class Drawing:
    """The look of the figure that is being drawn, and which of its wishes were met."""

    palette: Any = None
    title: str | None = None
    figsize: Any = None
    order: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    font_size: float = FONT
    style: tuple[str | Mapping[str, object], ...] = ()
    #: ``uns`` and ``obs`` of the cells that are drawn.
    cells: Any = None
    #: Levels with a color or a place, met wishes, words that are already replaced, new figures.
    colored: dict[str, None] = field(default_factory=dict)
    placed: dict[str, None] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)
    made: list[Figure] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """Size of the text relative to that of the house style."""
        return self.font_size / FONT


_NOW: ContextVar[Drawing | None] = ContextVar("nkscore_look", default=None)


def now() -> Drawing:
    """Return the look of the figure that is being drawn."""
    return _NOW.get() or Drawing()


@contextmanager
def using(drawing: Drawing) -> Iterator[Drawing]:
    """Draw with this look."""
    token = _NOW.set(drawing)
    try:
        yield drawing
    finally:
        _NOW.reset(token)


def checked_palette(palette: Palette) -> Any:  # noqa: ANN401 - one of three kinds
    """Return the palette with hexadecimal colors, or raise."""
    from matplotlib import colormaps

    if isinstance(palette, str):
        if palette not in colormaps:
            msg = (
                f"palette names no color map: {palette!r}. Pass the name of one of matplotlib's "
                '(for example "viridis", "tab20"), a list of colors, or a mapping from levels to '
                "colors."
            )
            raise ValueError(msg)
        return palette
    if isinstance(palette, Mapping):
        return {str(level): _hex(color) for level, color in palette.items()}
    found = [_hex(color) for color in palette]
    if not found:
        msg = "palette is empty; at least one color is needed, or palette=None for the own colors."
        raise ValueError(msg)
    return found


def _hex(color: object) -> str:
    from matplotlib.colors import to_hex

    try:
        return to_hex(cast("str", color))
    except ValueError as error:
        msg = f"palette holds {color!r}, which is no color. Write '#C63D1E' or 'tab:red'."
        raise ValueError(msg) from error


def checked_size(font_size: float) -> float:
    """Return the size of the text, or raise."""
    if not 2 <= font_size <= 72:
        msg = f"font_size is {font_size}; points from 2 to 72 are needed."
        raise ValueError(msg)
    return float(font_size)


def checked_style(style: Style) -> tuple[str | Mapping[str, object], ...]:
    """Return styles and settings one after the other, or raise."""
    from matplotlib import rcParams
    from matplotlib.style import library

    parts = (style,) if isinstance(style, str | Mapping) else tuple(style)
    for part in parts:
        if isinstance(part, Mapping):
            unknown = [repr(name) for name in part if name not in rcParams]
        else:
            unknown = [] if part in HOUSE or part in library else [repr(part)]
        if unknown:
            msg = (
                f"style holds {', '.join(unknown)}, which matplotlib does not know. Choose one "
                f"of {', '.join(HOUSE)}, of matplotlib.style.available, or settings of rcParams; "
                "pl.show_styles() draws them."
            )
            raise ValueError(msg)
    return parts


def pt(points: float) -> float:
    """Return a size of the house style at the size of text that is asked for."""
    return points * now().scale


def ink() -> str:
    """Return the color of text and lines."""
    import matplotlib as mpl

    return str(mpl.rcParams["text.color"])


def paper() -> str:
    """Return the color behind the data, which fills hollow marks."""
    from matplotlib import rcParams

    return str(rcParams["axes.facecolor"])


def colors_of(column: str, levels: Iterable[object] = (), *, main: bool = True) -> dict[str, str]:
    """Return the color of each level of a column: asked for, stored with the cells, or the house's.

    ``main=False``: of an additional strip, which a list of colors does not mean.
    """
    found = _colors.palette(column, levels)
    return shades({**found, **_stored(column, found)}, main=main)


def shades(defaults: Mapping[str, str], *, main: bool = True) -> dict[str, str]:
    """Return the colors of named parts of a figure, with those that were asked for."""
    drawing = now()
    names = [name for name in defaults if not is_missing(name)]
    drawing.colored |= dict.fromkeys(names)
    chosen = drawing.palette
    if isinstance(chosen, Mapping):
        return {name: _mapped(chosen, name) or color for name, color in defaults.items()}
    if chosen is None or not main:
        return dict(defaults)
    list_of = _sampled(chosen, len(names)) if isinstance(chosen, str) else chosen
    given = {name: list_of[i % len(list_of)] for i, name in enumerate(names)}
    return {**defaults, **given}


def _mapped(chosen: Mapping[str, str], name: str) -> str | None:
    for key in (name, _colors.printed(name)):
        if key in chosen:
            now().met.add(f"palette:{key}")
            return chosen[key]
    return None


def _sampled(name: str, count: int) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, to_hex

    chosen = colormaps[name]
    if isinstance(chosen, ListedColormap) and chosen.N <= 20:
        return [to_hex(chosen(i)) for i in range(chosen.N)]
    return [to_hex(chosen((i + 0.5) / max(count, 1))) for i in range(max(count, 1))]


def _stored(column: str, levels: Iterable[str]) -> dict[str, str]:
    """Return the colors in ``uns``, as scanpy keeps them: one per category of the column."""
    cells = now().cells
    stored = None if cells is None else cells.uns.get(f"{column}_colors")
    categories = getattr(getattr(cells, "obs", {}).get(column), "cat", None) if cells else None
    if stored is None or categories is None:
        return {}
    names = [str(name) for name in categories.categories]
    if len(stored) < len(names):
        _LOG.warning(
            "adata.uns['%s_colors'] has %d colors, but the column has %d categories; they are not "
            "used. Delete them, or store one per category.",
            column,
            len(stored),
            len(names),
        )
        return {}
    wanted = set(levels)
    return {n: _hex(c) for n, c in zip(names, stored, strict=False) if n in wanted}


def colormap(default: str) -> Colormap:
    """Return the color map of numbers: the one asked for, or the house's.

    A mapping may name the ends of a diverging one, ``up`` and ``down``.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    chosen = now().palette
    if default == "RdBu_r" and isinstance(chosen, Mapping):
        ends = shades({"down": "#053061", "up": "#67001f"})
        if {"down", "up"} & set(chosen):
            colors = [ends["down"], "#F7F7F7", ends["up"]]
            return LinearSegmentedColormap.from_list("asked", colors)
    if chosen is None or isinstance(chosen, Mapping):
        return colormaps[default]
    if isinstance(chosen, str):
        return colormaps[chosen]
    return LinearSegmentedColormap.from_list("asked", chosen if len(chosen) > 1 else chosen * 2)


def ordered(names: Iterable[str]) -> list[str]:
    """Return the names, those in ``order`` first."""
    drawing, names = now(), list(names)
    drawing.placed |= dict.fromkeys(names)
    rank: dict[str, int] = {}
    for i, name in enumerate(drawing.order):
        for word in (name, _colors.printed(name), drawing.labels.get(name, name)):
            rank.setdefault(word, i)
    drawing.met |= {f"order:{drawing.order[rank[name]]}" for name in names if name in rank}
    return sorted(names, key=lambda name: rank.get(name, len(rank)))


def in_rows(table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Return the rows of a table, those whose name is in ``order`` first."""
    names = list(names)
    place = {name: i for i, name in enumerate(ordered(dict.fromkeys(names)))}
    if not now().order:
        return table
    return table.iloc[sorted(range(len(names)), key=lambda row: place[names[row]])]


def _word(text: str) -> str | None:
    """Return the word that replaces ``text``, if there is one."""
    drawing = now()
    drawing.placed[text] = None
    for key in (text, _colors.printed(text)):
        if key in drawing.labels:
            drawing.met.add(f"labels:{key}")
            drawing.said.add(drawing.labels[key])
            return drawing.labels[key]
    return None


def printed(level: object) -> str:
    """Return the level as it is printed in this figure."""
    word = _word(str(level))
    return _colors.printed(level) if word is None else word


def worded(text: str) -> str:
    """Return text of the figure itself, or the words that replace it."""
    word = _word(text)
    return text if word is None else word


def shortened(names: Iterable[str], longest: int = 24) -> list[str]:
    """Cut long names in the middle, but not those that were asked for."""
    full = list(names)
    words = [_word(name) for name in full]
    cut = _colors.shortened(full, longest)
    return [short if word is None else word for short, word in zip(cut, words, strict=True)]


def titled(ax: Axes, text: str, **options: float | str) -> None:
    """Set the title that was asked for, or ``text``."""
    drawing = now()
    own = text if drawing.title is None else drawing.title
    drawing.met.add("title")
    ax.set_title(own if not own or drawing.title is not None else worded(own), **options)  # type: ignore[arg-type]


def finish(result: Axes | Figure) -> None:
    """Write the title and the words that were asked for, wherever they are not yet.

    Called before a figure gets its size, which depends on its words, and once more at the end.
    """
    drawing = now()
    if drawing.title is not None and "title" not in drawing.met:
        drawing.met.add("title")
        if hasattr(result, "suptitle"):
            result.suptitle(drawing.title)
        else:
            titled(result, "")
    if drawing.labels:
        _replace_words(result)
    elif not drawing.placed:
        drawing.placed |= dict.fromkeys(_texts(result))


def _texts(result: Axes | Figure) -> list[str]:
    from matplotlib.text import Text

    return [word for text in result.findobj(Text) if (word := text.get_text())]


def _replace_words(result: Axes | Figure) -> None:
    from matplotlib.axis import Axis
    from matplotlib.text import Text
    from matplotlib.ticker import FixedLocator

    said = now().said
    for axis in result.findobj(Axis):
        if isinstance(axis.get_major_locator(), FixedLocator):
            places = axis.get_majorticklocs()
            words = axis.get_major_formatter().format_ticks(list(places))
            new = [word if word in said else worded(word) for word in words]
            if new != words:
                axis.set_ticks(places, new)
    for text in result.findobj(Text):
        word = text.get_text()
        if word and word not in said:
            text.set_text(worded(word))


#: Settings of the color of text and lines.
INKED: Final = (
    "axes.edgecolor",
    "axes.labelcolor",
    "axes.titlecolor",
    "text.color",
    "xtick.color",
    "ytick.color",
    "xtick.labelcolor",
    "ytick.labelcolor",
    "legend.labelcolor",
)
#: Styles of the house, each on top of the first.
HOUSE: Final[dict[str, dict[str, Any]]] = {
    "nkscore": {},
    "grid": {"axes.grid": True, "grid.color": "#E3E3E3", "grid.linewidth": 0.5},
    "framed": {"axes.spines.top": True, "axes.spines.right": True},
    "bold": {
        "axes.linewidth": 1.0,
        "xtick.major.width": 1.0,
        "ytick.major.width": 1.0,
        "lines.linewidth": 1.4,
    },
    "serif": {"font.family": ["serif"], "mathtext.fontset": "dejavuserif"},
    "dark": {
        **dict.fromkeys(INKED, "#EDEDED"),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "#1B1E23"),
    },
}
