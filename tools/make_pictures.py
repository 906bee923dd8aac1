"""The published pictures, drawn by today's code from ``nkscore demo``, with what they show.

.venv/bin/python tools/make_pictures.py   (or: make pictures)

``docs/_static/pictures.json`` records the results of a small demo, the one that the tests run.
``tests/test_pictures.py`` fails once today's code gives other results: then run this again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from PIL import Image

import nkscore as nk
from nkscore.cli import main as nkscore

STATIC = Path(__file__).resolve().parents[1] / "docs" / "_static"
RECORD = STATIC / "pictures.json"
#: The demo that the tests run, and the one that is drawn.
SMALL = ["--cells", "60", "--seed", "3"]
DRAWN = ["--cells", "250", "--seed", "0"]
#: Figures of the demo that figures_demo.png shows, row by row.
SHOWN = (
    ("nk_state_shift", "signal_activity"),
    ("core_response", "response_heatmap", "ambient"),
    ("enrichment_dots", "communication_dots"),
)
_GAP, _WIDTH = 40, 1900


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "tables" / f"{name}.tsv", sep="\t", dtype={"tumor": str})


def results(folder: Path) -> dict[str, dict[str, float]]:
    """Return what pictures of a demo show, rounded."""
    activation, core = table(folder, "nk_activation"), table(folder, "core_response")
    shift = table(folder, "nk_state_shift")
    shift.index = shift["tumor"] + " " + shift["state"]
    found = {
        "nk_activation": activation.set_index("tumor")["log_odds_ratio"],
        "nk_state_shift": shift["log_odds_ratio"],
        "core_response": core[core["core"]].set_index("gene")["log2_fc"],
    }
    return {name: values.round(2).to_dict() for name, values in found.items()}


def truth(folder: Path) -> list[str]:
    """Return the rows of the README's table of what was planted and recovered."""
    text = (folder / "summary.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    of = {row[0]: row[1:] for row in rows if len(row) < 4}
    lines = [row for row in rows if len(row) == 8 and row[1].isdigit()]
    planted, found, wrong = (sum(int(row[i]) for row in lines) for i in (1, 2, 5))
    high = list(of)[list(of).index("NK alone") + 1 :][: len(lines)]
    cells, states = (
        of[name][0]
        for name in ("kept cells in their true compartment", "called states that are correct")
    )
    response = f"{found}, {wrong} of them in the wrong direction"
    return [
        f"| cells in the right compartment | all | {cells} |",
        f"| called NK states that are correct | all | {states} |",
        f"| ambient RNA of tumor cells, lane NK1 | {' | '.join(of['Lane_NK1'])} |",
        *(
            f"| activated NK cells with {name} | {' | '.join(of[name])} |"
            for name in (high[0], high[-1])
        ),
        f"| response genes with log2 fold change of 0.5 or more | {planted} | {response} |",
    ]


def digest(picture: Path) -> str:
    return hashlib.sha256(picture.read_bytes()).hexdigest()


def overview(folder: Path) -> None:
    """Draw the figure of the README."""
    response, core = table(folder, "tumor_response"), table(folder, "core_response")
    with nk.pl.style():
        figure = plt.figure(figsize=(13, 4.4), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.0, 1.15, 0.9])
        nk.pl.state_fractions(table(folder, "nk_state_fractions"), ax=left)
        genes = nk.signatures.get("DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT")
        nk.pl.volcano(response, tumor="K562", highlight=genes, ax=middle)
        nk.pl.core_response(core, genes=18, ax=right)
        figure.savefig(STATIC / "overview.png", dpi=110)
    _small(STATIC / "overview.png")


def montage(folder: Path) -> None:
    """Put figures of the demo on one sheet."""
    rows = [[Image.open(folder / "figures" / f"{name}.png") for name in row] for row in SHOWN]
    heights = [max(image.height for image in row) for row in rows]
    width = max(sum(image.width + _GAP for image in row) for row in rows)
    sheet = Image.new("RGB", (width, sum(heights) + _GAP * (len(rows) - 1)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for image in row:
            sheet.paste(image.convert("RGB"), (left, top))
            left += image.width + _GAP
        top += height + _GAP
    if sheet.width > _WIDTH:
        sheet = sheet.resize(
            (_WIDTH, sheet.height * _WIDTH // sheet.width), Image.Resampling.LANCZOS
        )
    sheet.save(STATIC / "figures_demo.png")
    _small(STATIC / "figures_demo.png")


def _small(picture: Path) -> None:
    Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        picture, optimize=True
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        small, drawn = Path(name) / "small", Path(name) / "drawn"
        nkscore(["demo", "--out", str(small), *SMALL])
        nkscore(["demo", "--out", str(drawn), *DRAWN])
        overview(drawn)
        montage(drawn)
        record = {
            "results": results(small),
            "truth": truth(drawn),
            "pictures": {
                name: digest(STATIC / name) for name in ("overview.png", "figures_demo.png")
            },
        }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
