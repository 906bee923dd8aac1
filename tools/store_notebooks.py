"""Run the notebooks and store their outputs in them, as make notebooks does.

.venv/bin/python tools/store_notebooks.py            # all
.venv/bin/python tools/store_notebooks.py 03 05      # those whose names begin like this

Pictures are stored with few colors, so that a notebook stays small. Notebooks on real data need
``../shared/data`` next to the checkout; without it they keep the outputs that they have.
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
DATA = ROOT.parent / "shared" / "data"
NEEDS_DATA = {"real_coculture", "real_data_tour"}
#: Notebooks that show more where these data are.
USES_DATA = {"09_which_genes_decide"}
#: Colors and bytes of a stored picture.
COLORS, LARGEST = 64, 100_000
#: Figures as pictures; progress bars of libraries say that they would be prettier with a widget.
SETTINGS = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONWARNINGS": "ignore:IProgress not found",
}
#: What names an object, a time or a place, and differs from run to run.
PLACES = re.compile(rf"{tempfile.gettempdir()}/\w+|0x[0-9a-f]+|\d+\.\d+ s\b")


def made_with() -> dict[str, str]:
    """Return the versions that decide how outputs are printed."""
    found = {name: version(name).rpartition(".")[0] for name in ("anndata", "numpy", "pandas")}
    return {"python": f"{sys.version_info.major}.{sys.version_info.minor}", **found}


def small(png: str) -> str:
    """Return a picture with few colors and at most ``LARGEST`` bytes, in base64."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    while True:
        buffer = io.BytesIO()
        few = picture.quantize(COLORS, dither=Image.Dither.NONE)
        few.save(buffer, "png", optimize=True)
        if buffer.tell() <= LARGEST:
            return base64.b64encode(buffer.getvalue()).decode()
        picture = picture.resize((picture.width * 4 // 5, picture.height * 4 // 5))


def cleaned(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """Return an output as it is stored; None for progress and log lines."""
    if output.output_type == "stream" and output.name == "stderr":
        return None
    data = output.get("data", {})
    if "image/png" in data:
        output.data = {"image/png": small(data["image/png"]), "text/plain": "<Figure>"}
        output.metadata = {}
    elif "application/vnd.jupyter.widget-view+json" in data:
        return None
    if output.output_type == "stream":
        output.text = PLACES.sub("...", output.text)
    elif "text/plain" in output.get("data", {}):
        output.data["text/plain"] = PLACES.sub("...", output.data["text/plain"])
    return output


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Execute a notebook in its folder and clean its outputs."""
    place = {"metadata": {"path": str(FOLDER)}}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place)
    client.execute(env={"NKSCORE_DATA": str(DATA), **os.environ, **SETTINGS})
    notebook.metadata["made_with"] = made_with()
    number = 0
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
            cell.outputs = [kept for one in cell.outputs if (kept := cleaned(one)) is not None]
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = number
    return notebook


def main(names: list[str]) -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and not path.stem.startswith(tuple(names)):
            continue
        if path.stem in NEEDS_DATA | USES_DATA and not DATA.is_dir():
            print(f"{path.name}: kept, its data are not in {DATA}")
            continue
        nbformat.write(run(nbformat.read(path, as_version=4)), path)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(sys.argv[1:])
