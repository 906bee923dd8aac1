"""Text next to points, without overlaps.

Forces that push texts apart (as in adjustText) stop where they balance, which in a dense volcano is
often on top of points. Here each text, the most important first, takes the cheapest free position
from a fixed set around its point.

textalloc 1.2.4 was tried in its place. Of 390 names in 16 volcano plots it dropped 29, some of
them requested by the caller; here all found a place, none on another, as near to their points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore._colors import FAINT
from nkscore.pl._look import SMALL, pt
from nkscore.pl._style import figure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

    from nkscore._types import Array

_RADII: Final = (2.5, 5, 8, 12, 17, 23, 30, 38, 48, 60, 75)
_ANGLES: Final = 24
# Costs in points of distance.
_PER_POINT: Final = 25.0
_PER_FAINT: Final = 0.5
_PER_CROSSING: Final = 60.0
#: Words side by side would read as one.
_GAP: Final = np.array([2.5, 0.8])
#: Distance in points above which a line joins text and point.
_LEADER: Final = 4.5


@dataclass
class _Taken:
    """Objects on the axes, in points: boxes (x0, y0, x1, y1), lines (x, y, x, y), points."""

    frame: Array
    points: Array
    faint: Array
    boxes: list[Array] = field(default_factory=list)
    lines: list[Array] = field(default_factory=list)


def label_points(
    ax: Axes,
    places: Array,
    *,
    words: Sequence[str],
    colors: Sequence[str],
    avoid: Array,
    faint: Array,
    wall: float | None = None,
) -> list[Any]:
    """Write ``words`` next to ``places``, the most important first, and return the texts.

    ``avoid`` are points that texts must not cover, ``faint`` points that they should not cover.
    Words stay on their side of ``wall``, a place on the x axis; those without a free position are
    dropped.
    """
    figure = figure_of(ax)
    figure.draw_without_rendering()
    to_points = 72 / figure.dpi
    frame = np.array(ax.get_window_extent().extents) * to_points
    taken = _Taken(
        frame=frame, points=_transform(ax, avoid, to_points), faint=_transform(ax, faint, to_points)
    )
    texts = []
    middle = None
    if wall is not None:
        middle = float(_transform(ax, np.array([[wall, ax.get_ylim()[0]]]), to_points)[0, 0])
    targets = _transform(ax, places, to_points)
    for place, target, word, color in zip(places, targets, words, colors, strict=True):
        size = _size(ax, word, to_points)
        box = _best_box(target, size, taken, _frame_of(taken.frame, target, middle))
        if box is not None:
            texts.append(
                _write(
                    ax, word, place, offset=(box[:2] + box[2:]) / 2 - target, size=size, color=color
                )
            )
            taken.boxes.append(box)
            taken.lines.append(np.concatenate([target, _nearest(box[None], target)[0]]))
    return texts


def _size(ax: Axes, word: str, to_points: float) -> Array:
    probe = ax.text(0.5, 0.5, word, fontsize=pt(SMALL), fontstyle="italic", transform=ax.transAxes)
    extent = probe.get_window_extent()
    probe.remove()
    return np.array([extent.width, extent.height]) * to_points


def _write(
    ax: Axes, word: str, place: Array, *, offset: Array, size: Array, color: str
) -> Annotation:
    """Write at a distance in points, with a thin line to the point if it is far.

    Distances in points survive a later change of the layout; positions on the axes would not.
    """
    nearest = np.clip(-offset, -size / 2, size / 2)
    far = np.hypot(*(offset + nearest)) >= _LEADER
    line = {
        "arrowstyle": "-",
        "linewidth": 0.4,
        "color": FAINT,
        "shrinkA": 0,
        "shrinkB": 0,
        "relpos": tuple(float(part) for part in nearest / size + 0.5),
    }
    return ax.annotate(
        word,
        (float(place[0]), float(place[1])),
        (float(offset[0]), float(offset[1])),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=pt(SMALL),
        fontstyle="italic",
        color=color,
        zorder=6,
        arrowprops=line if far else None,
        annotation_clip=False,
    )


def _transform(ax: Axes, places: Array, to_points: float) -> Array:
    return np.asarray(ax.transData.transform(places.reshape(-1, 2))) * to_points


def _frame_of(frame: Array, target: Array, middle: float | None) -> Array:
    """Return the room for a word: all of the axes, or the side of its point."""
    if middle is None or abs(target[0] - middle) < _GAP[0]:
        return frame
    low, high = (middle + 1, frame[2]) if target[0] > middle else (frame[0], middle - 1)
    return np.array([low, frame[1], high, frame[3]])


def _best_box(target: Array, size: Array, taken: _Taken, frame: Array) -> Array | None:
    boxes, cost = _candidates(target, size)
    inside = (boxes[:, :2] >= frame[:2]) & (boxes[:, 2:] <= frame[2:])
    free = inside.all(axis=1)
    for other in taken.boxes:
        free &= ~_overlap(boxes, other)
    cost = (
        cost + _PER_POINT * _inside(taken.points, boxes) + _PER_FAINT * _inside(taken.faint, boxes)
    )
    ends = _nearest(boxes, target)
    for other in taken.boxes:
        cost += _PER_CROSSING * _hits_box(target, ends, other)
    for line in taken.lines:
        cost += _PER_CROSSING * (_crosses(target, ends, line) | _line_in_boxes(line, boxes))
    if not free.any():
        return None
    best: Array = boxes[int(np.argmin(np.where(free, cost, np.inf)))]
    return best


def _candidates(target: Array, size: Array) -> tuple[Array, Array]:
    angle = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
    ray = np.column_stack([np.cos(angle), np.sin(angle)])
    centers = np.concatenate([target + ray * (radius + size / 2) for radius in _RADII])
    boxes = np.column_stack([centers - size / 2, centers + size / 2])
    return boxes, np.repeat(np.asarray(_RADII, dtype=float), _ANGLES)


def _overlap(boxes: Array, other: Array) -> Array:
    apart = (boxes[:, :2] > other[2:] + _GAP) | (boxes[:, 2:] < other[:2] - _GAP)
    return np.asarray(~apart.any(axis=1))


def _inside(points: Array, boxes: Array) -> Array:
    """Return how many points each box covers, with room for half a marker."""
    margin = 1.2
    x, y = points.T
    x0, y0, x1, y1 = (boxes + np.array([-margin, -margin, margin, margin])).T[:, :, None]
    return np.asarray(((x > x0) & (x < x1) & (y > y0) & (y < y1)).sum(axis=1))


def _nearest(boxes: Array, target: Array) -> Array:
    return np.clip(target, boxes[:, :2], boxes[:, 2:])


def _hits_box(target: Array, ends: Array, box: Array) -> Array:
    steps = np.linspace(0, 1, 12)[:, None, None]
    along = target + (ends[None] - target) * steps
    return np.asarray(((along > box[:2]) & (along < box[2:])).all(axis=2).any(axis=0))


def _line_in_boxes(line: Array, boxes: Array) -> Array:
    steps = np.linspace(0, 1, 12)[:, None]
    along = (line[:2] + (line[2:] - line[:2]) * steps)[:, None]
    return np.asarray(((along > boxes[:, :2]) & (along < boxes[:, 2:])).all(axis=2).any(axis=0))


def _crosses(target: Array, ends: Array, line: Array) -> Array:
    start, stop = line[:2], line[2:]

    def side(a: Array, b: Array, c: Array) -> Array:
        ab, ac = b - a, c - a
        return np.asarray(ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0])

    split = side(start, stop, target) * side(start, stop, ends) < 0
    return np.asarray(split & (side(target, ends, start) * side(target, ends, stop) < 0))
