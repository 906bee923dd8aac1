"""What is written down twice, or for others to run, stays true."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml

import nkscore as nk

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = runpy.run_path(str(ROOT / "benchmarks" / "__main__.py"))
YAML = sorted(path for end in ("yaml", "yml") for path in ROOT.glob(f".github/**/*.{end}"))


def settings():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def load(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_version_stands_in_one_place():
    project = settings()
    assert "version" not in project["project"]
    path = ROOT / project["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{nk.__version__}"' in path.read_text(encoding="utf-8")
    assert "version" not in load("CITATION.cff")


def test_pre_commit_runs_the_pinned_ruff():
    pinned = re.search(r"^ruff==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    repos = load(".pre-commit-config.yaml")["repos"]
    found = [repo["rev"] for repo in repos if repo["repo"].endswith("ruff-pre-commit")]
    assert found == [f"v{pinned[1]}"]


def test_all_holds_every_extra():
    extras = settings()["project"]["optional-dependencies"]
    assert extras["all"] == [f"nkscore[{','.join(extra for extra in extras if extra != 'all')}]"]


def test_workflows_run_every_declared_python():
    classifiers = settings()["project"]["classifiers"]
    declared = {c.rpartition(" ")[2] for c in classifiers if "Python :: 3." in c}
    matrix = load(".github/workflows/test.yaml")["jobs"]["pinned"]["strategy"]["matrix"]
    assert declared <= set(matrix["python"])


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_files_named_by_workflows_exist(path):
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"make (\w+)", text)) <= set(targets)
    assert all((ROOT / name).exists() for name in re.findall(r"bash (\S+)", text))


def test_every_benchmark_says_what_it_measures():
    titles = BENCHMARKS["titles"]()
    assert len(titles) > 20
    assert all(title.endswith(".") for title in titles.values()), titles


def test_quick_benchmarks_exist():
    assert BENCHMARKS["QUICK"]
    assert set(BENCHMARKS["QUICK"]) <= set(BENCHMARKS["titles"]())
