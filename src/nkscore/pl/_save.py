"""Save figures as files with reproducible bytes."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nkscore.pl._style import figure_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.transforms import Bbox

#: Around what is drawn, in inches.
_MARGIN: Final = 0.03
# Dates and versions would make the bytes differ from run to run.
_METADATA: Final[dict[str, dict[str, Any]]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}


def save(
    figure_or_axes: Figure | SubFigure | Axes,
    path: str | Path,
    *,
    formats: Sequence[str] | None = None,
    dpi: float = 200,
) -> list[Path]:
    """Save a figure, by default as PNG and PDF.

    Parameters
    ----------
    figure_or_axes
        Result of a function of ``nkscore.pl``.
    path
        File without extension; folders are created. An extension ``.png``, ``.pdf`` or ``.svg``
        sets the format unless ``formats`` is given.
    formats
        Any of ``png``, ``pdf``, ``svg``.
    dpi
        Pixels per inch of PNG and of large scatters within PDF and SVG.

    Returns
    -------
    list of Path
        The files, in the order of ``formats``. They hold no dates: the same figure gives the
        same bytes. Text stays text in PDF and SVG.

    Raises
    ------
    ValueError
        If a format is not known.

    Examples
    --------
    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> import nkscore as nk
    >>> figure = Figure()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = nk.pl.save(figure, f"{folder}/figures/empty", formats=["png"])
    ...     print([file.name for file in files])
    ['empty.png']
    """
    import matplotlib as mpl

    path = Path(path)
    ending = path.suffix.removeprefix(".").lower()
    if ending in _METADATA:
        path = path.with_suffix("")
        wanted = [ending] if formats is None else list(formats)
    else:
        wanted = ["png", "pdf"] if formats is None else list(formats)
    _check(wanted)
    figure = figure_of(figure_or_axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    settings: dict[Any, Any] = {
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "nkscore",
        "savefig.transparent": False,
    }
    with mpl.rc_context(settings), _frozen(figure):
        box = _box(figure, dpi)
        return [_write(figure, path.with_name(f"{path.name}.{kind}"), dpi, box) for kind in wanted]


@contextmanager
def _frozen(figure: Figure) -> Iterator[None]:
    """Lay the figure out once, and keep that layout while it is written.

    Each run of constrained layout moves axes by about 1e-13, which changes names within an SVG, so
    positions are rounded, too.
    """
    engine = figure.get_layout_engine()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        if ax.get_axes_locator() is None:
            taking_part = ax.get_in_layout()
            left, bottom, width, height = ax.get_position(original=True).bounds
            ax.set_position((round(left, 8), round(bottom, 8), round(width, 8), round(height, 8)))
            ax.set_in_layout(taking_part)
    try:
        yield
    finally:
        if engine is not None:
            figure.set_layout_engine(engine)


def _box(figure: Figure, dpi: float) -> Bbox:
    """Return the part of the figure that is drawn on, in inches, with a margin.

    ``bbox_inches="tight"`` would draw the figure once more for each format to find it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    before = figure.dpi
    canvas = figure.canvas
    figure.dpi = dpi
    try:
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        box: Bbox = figure.get_tightbbox(renderer)
    finally:
        figure.dpi = before
        figure.set_canvas(canvas)
    return box.padded(_MARGIN)


def _check(formats: list[str]) -> None:
    unknown = [kind for kind in formats if kind not in _METADATA]
    if unknown:
        msg = f"Unknown format {', '.join(unknown)}. Choose from: {', '.join(_METADATA)}."
        raise ValueError(msg)


def _write(figure: Figure, file: Path, dpi: float, box: Bbox) -> Path:
    figure.savefig(
        file,
        dpi=dpi,
        metadata=_METADATA[file.suffix[1:]],
        facecolor=figure.get_facecolor(),
        bbox_inches=box,
    )
    return file
