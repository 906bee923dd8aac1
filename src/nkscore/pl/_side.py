"""Legends and color bars stacked to the right of the axes, at distances in inches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from nkscore.pl._look import FONT, ink, now, ordered, pt, worded
from nkscore.pl._style import figure_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text
    from matplotlib.transforms import Transform


class SidePanel:
    """Fills the space to the right of ``ax`` from the top downwards.

    Distances are in inches from the upper right corner of the axes, so elements keep their relative
    positions when the layout changes, and constrained layout includes all of them. A legend that
    would reach below ``tall`` starts a new column.
    """

    def __init__(self, ax: Axes, *, gap: float = 0.12, tall: float = 100.0) -> None:
        self.ax = ax
        self._scale = now().scale
        self._x = gap * self._scale
        self._y = 0.0
        self._wide = 0.0
        self._tall = tall

    def _corner(self) -> Transform:
        from matplotlib.transforms import ScaledTranslation

        inches: Any = figure_of(self.ax).dpi_scale_trans
        corner: Transform = inches + ScaledTranslation(1, 1, cast("Any", self.ax.transAxes))
        return corner

    def legend(
        self, handles: Sequence[Artist], *, title: str | None = None, **options: float
    ) -> Legend:
        """Add a legend below the existing elements."""
        from matplotlib.legend import Legend

        settings: dict[str, Any] = {
            "handlelength": 1.0,
            "handletextpad": 0.5,
            "labelspacing": 0.3,
            "borderpad": 0.0,
            "columnspacing": 1.0,
        }
        settings.update(options)
        entries = {str(handle.get_label()): handle for handle in handles}
        names = ordered(entries)
        legend = Legend(
            self.ax,
            [entries[name] for name in names],
            [worded(name) for name in names],
            title=None if title is None else worded(title),
            loc="upper left",
            bbox_to_anchor=(self._x, -self._y),
            bbox_transform=self._corner(),
            borderaxespad=0.0,
            alignment="left",
            frameon=False,
            **settings,
        )
        if self.ax.get_legend() is None:
            self.ax.legend_ = legend
        else:
            self.ax.add_artist(legend)
        # Clipped artists count as inside the axes and would get no room.
        legend.set_clip_on(False)
        self._settle(legend)
        return legend

    def _settle(self, legend: Legend) -> None:
        wide, high = self._inches(legend)
        if self._y > 0 and self._y + high > self._tall:
            self._x, self._y, self._wide = self._x + self._wide + 0.2 * self._scale, 0.0, 0.0
            legend.set_bbox_to_anchor((self._x, 0.0), self._corner())
        self._y += high + 0.1 * self._scale
        self._wide = max(self._wide, wide)

    def _inches(self, artist: Legend | Text) -> tuple[float, float]:
        box, dpi = artist.get_window_extent(), figure_of(self.ax).dpi
        return float(box.width) / dpi, float(box.height) / dpi

    def colorbar(self, mappable: ScalarMappable, label: str, *, extend: str = "neither") -> Axes:
        """Add a small vertical color bar below the existing elements."""
        label, scale = worded(label), self._scale
        text = self.ax.text(
            self._x,
            -self._y,
            label,
            transform=self._corner(),
            va="top",
            ha="left",
            fontsize=pt(FONT - 0.5),
            color=ink(),
            clip_on=False,
        )
        top = self._y + (0.13 * (1 + label.count("\n")) + 0.05) * scale
        box = (self._x, -(top + 0.7 * scale), 0.09 * scale, 0.7 * scale)
        bar_axes = self.ax.inset_axes(box, transform=self._corner())
        bar = figure_of(self.ax).colorbar(mappable, cax=bar_axes, extend=extend)
        bar.outline.set_linewidth(0.4)
        bar_axes.tick_params(labelsize=pt(FONT - 1), width=0.4, length=2)
        self._y = top + 0.85 * scale
        self._wide = max(self._wide, self._inches(text)[0])
        return bar_axes


def patches(colors: Mapping[str, str], labels: Iterable[str]) -> list[Patch]:
    """Return one colored square per level."""
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=color, edgecolor="none", label=label)
        for color, label in zip(colors.values(), labels, strict=True)
    ]


def dots(colors: Mapping[str, str], labels: Iterable[str], *, size: float = 5.0) -> list[Line2D]:
    """Return one colored dot per level."""
    return [
        dot(color, label, size=size) for color, label in zip(colors.values(), labels, strict=True)
    ]


def dot(color: str, label: str, *, size: float = 5.0, **options: str | float) -> Line2D:
    """Return one legend entry with a marker and no line."""
    from matplotlib.lines import Line2D

    settings: dict[str, Any] = {"marker": "o", "markeredgewidth": 0.0, **options}
    return Line2D([], [], linestyle="none", color=color, markersize=size, label=label, **settings)


def lineage_strip(ax: Axes, positions: Sequence[float], colors: Sequence[str]) -> PathCollection:
    """Draw one colored dot per bar or column between the axes and its tick labels."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    place: Any = blended_transform_factory(ax.transData, ax.transAxes)
    inches: Any = figure_of(ax).dpi_scale_trans
    return ax.scatter(
        positions,
        [0.0] * len(positions),
        s=pt(22) * now().scale,
        c=list(colors),
        linewidths=0,
        transform=place + ScaledTranslation(0, -pt(5.5) / 72, inches),
        clip_on=False,
        zorder=3,
    )
