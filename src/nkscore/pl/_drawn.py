"""The arguments that every figure takes.

:func:`drawn` adds the arguments of :class:`Look` to a function, its signature and its docstring.
The function itself does not see them: what it calls does (colors, words, order, sizes, type).
A new figure needs three things: ``@drawn``, ``**_look: Unpack[Look]`` as its last argument, and
colors, levels and words that come from ``_look``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypedDict, TypeVar, cast

from nkscore.pl._look import (
    WIDTHS,
    Drawing,
    checked_palette,
    checked_size,
    checked_style,
    finish,
    now,
    using,
)
from nkscore.pl._style import style

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nkscore.pl._look import Palette, Size, Style

P = ParamSpec("P")
R = TypeVar("R")


class Look(TypedDict, total=False):
    """What every figure takes, in addition to its own options."""

    palette: Palette | None
    title: str | None
    figsize: Size | None
    order: Sequence[str] | None
    labels: Mapping[str, str] | None
    font_size: float | None
    style: Style | None


_TYPES: Final = {
    "palette": "Mapping[str, str] | Sequence[str] | str | None",
    "title": "str | None",
    "figsize": "tuple[float, float] | str | None",
    "order": "Sequence[str] | None",
    "labels": "Mapping[str, str] | None",
    "font_size": "float | None",
    "style": "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None",
}
_WORDS: Final = {
    "palette": """\
Colors: a mapping from levels, as they are in the data or as printed, to colors; a list of
colors; or the name of a color map of matplotlib. Levels that a mapping lacks keep theirs.
""",
    "title": """\
Title, in place of the figure's own; ``""`` for none.
""",
    "figsize": """\
Width and height of a new figure in inches, or the width of a journal's column: ``"single"``
(85 mm), ``"middle"`` (114 mm) or ``"double"`` (174 mm).
""",
    "order": """\
Levels that come first, in this order, among rows, columns, groups and entries of legends.
""",
    "labels": """\
Words to print, by level or by the words that they replace (names of axes, entries of
legends), for example ``{"coculture": "With NK cells"}``.
""",
    "font_size": """\
Size of the text in points, 7.5 by default; rows and columns grow with it.
""",
    "style": """\
Settings on top of the house style: a name that :func:`nkscore.pl.show_styles` draws, a
mapping of matplotlib's ``rcParams``, or a list of both.
""",
}


def drawn(function: Callable[P, R]) -> Callable[P, R]:
    """Give a function of ``pl`` the arguments of :class:`Look`, except those it has itself."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    shared = [name for name in _TYPES if name not in signature.parameters]

    @wraps(function)
    def draw(*args: P.args, **kwargs: P.kwargs) -> R:
        given: dict[str, Any] = {name: kwargs.pop(name, None) for name in shared}
        if given.get("figsize") is not None and (kwargs.get("ax") or kwargs.get("fig")) is not None:
            msg = (
                "Found figsize= together with axes or a figure to draw into; figsize is for new "
                "figures. Set the size where you make yours."
            )
            raise ValueError(msg)
        look = _checked(given, args[0] if args else None)
        with using(look) as drawing, style():
            try:
                result = function(*args, **kwargs)
                finish(cast("Axes | Figure", result))
                _check_met(drawing, given)
            except BaseException:
                _close(drawing.made)
                raise
        return result

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _TYPES.items()
        if name in shared
    ]
    draw.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    draw.__doc__ = _described(function.__doc__, shared)
    return draw


def _described(text: str | None, shared: list[str]) -> str | None:
    """Add the shared arguments to a docstring, before its section of results."""
    if text is None:
        return None
    # Python 3.13 has already removed the indentation of docstrings.
    before, margin, after = re.split(r"\n( *)Returns\n", text, maxsplit=1)
    lines = []
    for name in shared:
        words = (f"{margin}    {line}" for line in _WORDS[name].splitlines())
        lines += [f"{margin}{name}", *words]
    return f"{before.rstrip()}\n" + "\n".join(lines) + f"\n\n{margin}Returns\n{after}"


def _close(figures: list[Figure]) -> None:
    from matplotlib import pyplot as plt

    for figure in figures:
        plt.close(figure)


def _checked(given: Mapping[str, Any], data: object) -> Drawing:
    """Return the look that is asked for on top of the one in force, or raise."""
    before = now()
    changes: dict[str, Any] = {}
    if given.get("palette") is not None:
        changes["palette"] = checked_palette(given["palette"])
    if given.get("font_size") is not None:
        changes["font_size"] = checked_size(given["font_size"])
    if given.get("style") is not None:
        changes["style"] = (*before.style, *checked_style(given["style"]))
    if given.get("title") is not None:
        changes["title"] = str(given["title"])
    order = given.get("order")
    labels = given.get("labels")
    if labels is not None and not isinstance(labels, Mapping):
        msg = f"labels is a {type(labels).__name__}; a mapping from levels to words is needed."
        raise TypeError(msg)
    return Drawing(
        **{
            "palette": before.palette,
            "font_size": before.font_size,
            "style": before.style,
            **changes,
        },
        figsize=_checked_figsize(given.get("figsize")),
        order=[order] if isinstance(order, str) else [str(name) for name in order or ()],
        labels={str(level): str(word) for level, word in (labels or {}).items()},
        cells=data if hasattr(data, "uns") and hasattr(data, "obs") else None,
    )


def _checked_figsize(figsize: Size | None) -> Any:  # noqa: ANN401 - name or two numbers
    if figsize is None:
        return None
    if isinstance(figsize, str):
        if figsize not in WIDTHS:
            msg = f"figsize is {figsize!r}; choose one of {', '.join(WIDTHS)}, or give inches."
            raise ValueError(msg)
        return figsize
    sides = tuple(float(side) for side in figsize)
    if len(sides) != 2 or not all(0 < side <= 200 for side in sides):
        msg = f"figsize is {figsize}; width and height in inches are needed."
        raise ValueError(msg)
    return sides


def _check_met(drawing: Drawing, given: Mapping[str, Any]) -> None:
    """Raise where a figure has none of the levels that an argument names."""
    wishes = {
        "palette": list(given["palette"]) if isinstance(given.get("palette"), Mapping) else [],
        "order": drawing.order if given.get("order") is not None else [],
        "labels": list(drawing.labels),
    }
    for option, names in wishes.items():
        if names and not drawing.met & {f"{option}:{name}" for name in names}:
            levels = drawing.colored if option == "palette" else drawing.placed
            have = ", ".join(repr(name) for name in list(levels)[:20])
            msg = (
                f"The figure has none of the names in {option}: "
                f"{', '.join(repr(str(name)) for name in names[:10])}. It has: {have or 'none'}."
            )
            raise ValueError(msg)
