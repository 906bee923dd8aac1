"""Draw the figures of ``docs/gallery.md`` by the code of that page.

.venv/bin/python tools/make_gallery.py                   # all, as make gallery does
.venv/bin/python tools/make_gallery.py volcano qc        # these figures only
"""

from __future__ import annotations

import ast
import hashlib
import io
import re
import sys
from pathlib import Path

import matplotlib as mpl

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURES = DOCS / "_static" / "gallery"
PAGE = DOCS / "gallery.md"
#: Resolution of the stored pictures, and their number of colors.
DPI, COLORS = 110, 128
FIGURE = re.compile(r"!\[pl\.(\w+)\]\(_static/gallery/\1\.png\)\n\n```py\n(.*?)```", re.DOTALL)


def read() -> tuple[str, dict[str, str]]:
    """Return the lines that all figures begin with, and the code of each figure."""
    text = PAGE.read_text(encoding="utf-8")
    first = re.search(r"```py\n(.*?)```", text, re.DOTALL)
    if first is None:
        msg = f"{PAGE} begins with no block of code."
        raise ValueError(msg)
    return first.group(1), dict(FIGURE.findall(text))


def stamp(setup: str, code: str) -> str:
    """Return what names the code that drew a picture; each picture holds it."""
    return hashlib.sha256((setup + code).encode()).hexdigest()[:16]


def run(code: str, names: dict[str, object]) -> object:
    """Run the code; return the value of its last line."""
    *before, last = ast.parse(code).body
    exec(compile(ast.Module(before, []), PAGE.name, "exec"), names)  # noqa: S102
    return eval(compile(ast.Expression(last.value), PAGE.name, "eval"), names)  # noqa: S307


def store(name: str, mark: str, drawn: object) -> None:
    from PIL import Image, PngImagePlugin

    buffer = io.BytesIO()
    figure = getattr(drawn, "figure", drawn)
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    about = PngImagePlugin.PngInfo()
    about.add_text("code", mark)
    picture = Image.open(buffer).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    picture.save(PICTURES / f"{name}.png", optimize=True, pnginfo=about)


def main(only: set[str]) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    setup, figures = read()
    names: dict[str, object] = {}
    exec(compile(setup, PAGE.name, "exec"), names)  # noqa: S102
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, code in figures.items():
        if not only or name in only:
            store(name, stamp(setup, code), run(code, names))
            plt.close("all")


if __name__ == "__main__":
    main(set(sys.argv[1:]))
