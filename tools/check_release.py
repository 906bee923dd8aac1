"""Check what a release needs besides tests and build; ``--tag`` prints the text of the tag.

.venv/bin/python tools/check_release.py
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
STUDY = "10.1016/j.immuni.2023.11.008"
#: Endings of files in the package that are no code.
_TABLES = (".tsv", ".tsv.gz", ".toml")
#: Name on PyPI -> on conda.
_CONDA = {"igraph": "python-igraph", "matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}


def version() -> str:
    text = (ROOT / "src" / "nkscore" / "_version.py").read_text(encoding="utf-8")
    return re.search(r'__version__ = "([^"]+)"', text)[1]


def tag_text(changelog: str, wanted: str) -> str:
    """Return the section of a version, or of what is not released."""
    for heading in (re.escape(wanted), "Unreleased"):
        section = rf"^## \[?{heading}\b[^\n]*\n(.*?)(?=^## |\Z)"
        found = re.search(section, changelog, re.MULTILINE | re.DOTALL)
        if found and found[1].strip():
            return f"nkscore {wanted}\n\n{found[1].strip()}\n"
    return ""


def changelog() -> list[str]:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = re.findall(r"^- ", tag_text(text, version()), re.MULTILINE)
    return [] if entries else [f"CHANGELOG.md has no entries for {version()}."]


def citation(text: str) -> list[str]:
    """Return what ``CITATION.cff`` lacks."""
    found = yaml.safe_load(text)
    problems = [
        f"CITATION.cff lacks {key}."
        for key in ("cff-version", "message", "title", "authors", "license")
        if not found.get(key)
    ]
    studies = [study for study in found.get("references", []) if study.get("doi") == STUDY]
    if not studies:
        problems.append(f"CITATION.cff does not cite the reference study ({STUDY}).")
    wanted = ("title", "authors", "journal", "year", "volume", "start")
    lacks = [key for key in wanted if studies and not studies[0].get(key)]
    return [*problems, *(f"CITATION.cff: the reference study lacks {key}." for key in lacks)]


def linted() -> list[str]:
    """Ask the linter of citation files, if it is installed."""
    program = shutil.which("cffconvert")
    if program is None:
        return []
    command = [program, "--validate", "-i", str(ROOT / "CITATION.cff")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return [] if done.returncode == 0 else [f"cffconvert: {done.stderr.strip()[-300:]}"]


def environment(text: str, dependencies: list[str]) -> list[str]:
    """Return the dependencies that the conda environment lacks, or has with another version."""
    lines = yaml.safe_load(text)["dependencies"]
    by_pip = [name for part in lines if isinstance(part, dict) for name in part["pip"]]
    listed = {
        re.split(r"[ <>=]", line)[0]: line.replace(" ", "")
        for line in [*lines, *by_pip]
        if isinstance(line, str)
    }
    problems = []
    for dependency in dependencies:
        name, lowest = re.fullmatch(r"([\w-]+)(?:\[.*\])?(>=[\w.]+)", dependency).groups()
        conda = _CONDA.get(name, name)
        if listed.get(conda) != f"{conda}{lowest}":
            problems.append(f"environment.yml: {conda}{lowest} is missing.")
    return problems


def tables(page: str) -> list[str]:
    """Return the packaged tables without a row that names source and licence."""
    rows = {
        cells[0].strip(" `"): [cell.strip() for cell in cells[1:]]
        for line in page.splitlines()
        if line.startswith("| `") and len(cells := line.strip("|").split("|")) == 4
    }
    package = ROOT / "src" / "nkscore"
    files = [p for p in package.rglob("*") if p.is_file() and p.name.endswith(_TABLES)]
    names = sorted(str(p.relative_to(package)) for p in files)
    lost = [n for n in names if not all(rows.get(n, [""]))]
    return [f"data/README.md: {name} has no row with content, source and licence." for name in lost]


def sets() -> list[str]:
    path = ROOT / "src" / "nkscore" / "signatures" / "data" / "sets.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [f"{row['name']} has no licence." for row in rows if not row["licence"].strip()]


def problems() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [
        *changelog(),
        *citation((ROOT / "CITATION.cff").read_text(encoding="utf-8")),
        *linted(),
        *environment(
            (ROOT / "environment.yml").read_text(encoding="utf-8"), project["dependencies"]
        ),
        *tables((ROOT / "data" / "README.md").read_text(encoding="utf-8")),
        *sets(),
    ]


def main(arguments: list[str]) -> int:
    if arguments == ["--tag"]:
        print(tag_text((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version()), end="")
        return 0
    found = problems()
    print(*(found or [f"nkscore {version()}: ready, as far as this can see."]), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
