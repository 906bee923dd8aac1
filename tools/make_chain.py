"""Draw the chain of steps on the landing page of the docs, as an SVG.

.venv/bin/python tools/make_chain.py
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import nkscore as nk

OUT = Path(__file__).resolve().parents[1] / "docs" / "_static" / "chain.svg"
#: Question of each row, its color, and its steps: function and what it does.
ROWS = [
    (
        "Which cell is what?",
        "#33485F",
        [
            ("io.read_coculture", "lanes and sample sheet"),
            ("pp.qc", "quality of each cell"),
            ("pp.demultiplex", "hashtags or genotypes"),
            ("pp.compartments", "NK, tumor, doublet"),
            ("pp.ambient", "ambient NK RNA"),
        ],
    ),
    (
        "What state is it in?",
        "#117A55",
        [
            ("pp.keep", "good cells only"),
            ("tl.score", "signature scores"),
            ("tl.nk_states", "states of NK cells"),
            ("tl.tumor_states", "programs of tumor cells"),
            ("tl.embed", "map of the cells"),
        ],
    ),
    (
        "What did contact change?",
        "#C63D1E",
        [
            ("tl.state_shift", "shares of states"),
            ("tl.interaction_response", "each gene in each line"),
            ("tl.flag_ambient", "real or artifact"),
            ("tl.core_response", "shared by all lines"),
            ("report", "figures, tables, caveats"),
        ],
    ),
]
STYLE = (
    "text{font-family:system-ui,Helvetica,Arial,sans-serif}"
    ".question{font-size:17px;font-weight:600;fill:#262626}"
    ".name{font-size:13px;font-weight:600;fill:#fff;text-anchor:middle}"
    ".does{font-size:12.5px;fill:#fff;text-anchor:middle}"
    ".arrow{stroke:#8A8A8A;stroke-width:2;fill:none}"
)
WIDTH, BOX, GAP, HEIGHT, ROW, LEFT = 1000, 176, 18, 56, 108, 14


def names_exist() -> None:
    """Stop at a step that the library no longer has."""
    for _, _, steps in ROWS:
        for name, _ in steps:
            found = nk
            for part in name.split("."):
                found = getattr(found, part)


def box(x: float, y: float, color: str, step: tuple[str, str]) -> list[str]:
    middle = x + BOX / 2
    return [
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="7" fill="{color}"/>',
        f'<text x="{middle}" y="{y + 23}" class="name">{escape(step[0])}</text>',
        f'<text x="{middle}" y="{y + 43}" class="does">{escape(step[1])}</text>',
    ]


def arrow(x: float, y: float) -> str:
    return f'<path d="M{x + 3} {y}h{GAP - 8}m-5 -4l5 4l-5 4" class="arrow"/>'


def picture() -> str:
    height = ROW * len(ROWS) + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The chain of steps, from lanes to a report</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#fff"/>',
    ]
    for row, (question, color, steps) in enumerate(ROWS):
        top = ROW * row + 10
        parts.append(f'<text x="{LEFT}" y="{top + 16}" class="question">{question}</text>')
        for place, step in enumerate(steps):
            x = LEFT + place * (BOX + GAP)
            parts += box(x, top + 28, color, step)
            if place < len(steps) - 1:
                parts.append(arrow(x + BOX, top + 28 + HEIGHT / 2))
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    names_exist()
    OUT.write_text(picture(), encoding="utf-8")
