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


# --- CONTRIBUTING.md

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
#: Beginning of a rule → the tests that enforce it.
RULES = {
    "Imports go down only": (
        "test_layering.py::test_imports_point_down",
        "test_layering.py::test_no_circle_of_files",
        "test_layering.py::test_no_room_of_tools_imports_another",
    ),
    "`pl` imports neither": (
        "test_layering.py::test_imports_point_down",
        "test_layering.py::test_kernels_know_arrays_only",
    ),
    "Steps read matrices through": (
        "test_layering.py::test_counts_are_read_through_one_door",
        "test_from_disk.py::test_steps_on_counts_elsewhere",
    ),
    "`import nkscore` loads no": (
        "test_import.py::test_import_loads_nothing_heavy",
        "test_import.py::test_import_takes_little_more_than_the_interpreter",
        "test_layering.py::test_slow_libraries_are_imported_where_used",
    ),
    "A function that annotates": (
        "test_api.py::test_annotate_or_summarize",
        "test_contract.py::test_returns_nothing_and_writes_the_declared_slots_only",
        "test_contract.py::test_summaries_write_nothing",
    ),
    "A slot has a row": (
        "test_slots.py::test_every_name_is_a_constant",
        "test_slots.py::test_code_names_no_slot_that_the_table_lacks",
        "test_slots.py::test_slots_are_named_by_constants",
        "test_slots.py::test_the_page_shows_the_table",
    ),
    "A public function has at most three": (
        "test_api.py::test_at_most_three_positional_parameters",
        "test_api.py::test_everything_is_annotated",
        "test_api.py::test_no_banned_parameters",
        "test_api.py::test_randomness_is_an_argument",
    ),
    "A public function has a numpydoc": (
        "test_api.py::test_every_parameter_is_described",
        "test_api.py::test_sections_are_known_and_in_order",
        "test_api.py::test_errors_are_described",
        "test_api.py::test_there_is_an_example",
        "test_api.py::test_the_reference_lists_every_public_name_once",
    ),
    "No `assert`": (
        "test_layering.py::test_no_assert",
        "test_layering.py::test_nothing_is_unpickled",
        "test_layering.py::test_no_global_random_numbers",
        "test_layering.py::test_warnings_go_through_the_one_way_to_warn",
    ),
    "A function has at most 30": (
        "test_layering.py::test_length_of_modules",
        "test_layering.py::test_length_of_functions",
        "test_project.py::test_ruff_limits_functions",
        "test_layering.py::test_the_formatter_decides",
    ),
    "Docs, docstrings, messages": (
        "test_words.py::test_pages",
        "test_words.py::test_notebooks",
        "test_words.py::test_docstrings_messages_and_comments",
    ),
    "Python blocks in README": (
        "test_docs.py::test_blocks_run",
        "test_docs.py::test_links_between_pages_lead_somewhere",
    ),
    "A scorer is registered": (
        "test_contract.py::test_scores_lie_within_the_limits_of_the_record",
        "test_contract.py::test_other_cells_do_not_matter",
    ),
    "A signature comes from": (
        "signatures/test_docs.py::test_tables_of_the_page_equal_the_catalog",
        "signatures/test_catalog.py::test_metadata_are_complete",
    ),
    "A reader is a row": (
        "io/test_fuzz.py::test_damaged_inputs_raise_errors_of_nkscore_only",
        "io/test_bad_lanes.py::test_any_damage_ends_in_an_error_of_our_own",
    ),
}


def test_every_rule_has_tests():
    rules = re.findall(r"^- (.+)$", CONTRIBUTING, re.MULTILINE)
    assert [next((r for r in RULES if rule.startswith(r)), rule) for rule in rules] == list(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_tests_of_rules_exist(rule):
    for test in RULES[rule]:
        path, _, name = test.partition("::")
        assert f"\ndef {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8")


def test_ruff_limits_functions():
    lint = settings()["tool"]["ruff"]["lint"]
    assert lint["pylint"]["max-statements"] == 30
    assert lint["mccabe"]["max-complexity"] == 8
    assert {"PL", "C90"} <= set(lint["select"])
    for path in (ROOT / "src").rglob("*.py"):
        assert not re.search(r"noqa: .*(C901|PLR0915)", path.read_text(encoding="utf-8")), path


def _commands(text):
    """Commands of a shell or of make, without what only makes them quiet."""
    for line in text.splitlines():
        for command in line.partition("   #")[0].split(" && "):
            plain = re.sub(
                r"\$\(BIN\)/|\.venv/bin/| --quiet| --disable-pip-version-check", "", command
            )
            yield re.sub(r"^\s*(\w+=\S+ )*", "", plain.partition("  #")[0]).strip()


def test_contributing_shows_what_make_does():
    block = re.search(r"```bash\n(.*?)```", CONTRIBUTING, re.DOTALL)[1]
    known = set(_commands((ROOT / "Makefile").read_text(encoding="utf-8")))
    own = {"pre-commit install", "python -m pytest tests/scoring -x"}
    assert set(_commands(block)) - known == own


def test_contributing_names_what_exists():
    code = re.findall(r"`([^`\n]+)`", CONTRIBUTING)
    paths = [word for word in code if re.fullmatch(r"(?!\.\./)[\w.]+(/[\w.]+)+/?", word)]
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"`make (\w+)`", CONTRIBUTING)) <= set(targets)
    pictures = (ROOT / "tests" / "pl" / "test_images.py").read_text(encoding="utf-8")
    assert set(re.findall(r"NKSCORE_\w+(?==)", CONTRIBUTING)) <= set(
        re.findall(r"NKSCORE_\w+", pictures)
    )


def test_constraints_are_renewed_from_what_is_declared():
    command = re.search(r"uv pip compile[^`]+", CONTRIBUTING)[0]
    project = settings()
    assert set(re.findall(r"--extra (\S+)", command)) <= set(
        project["project"]["optional-dependencies"]
    )
    assert set(re.findall(r"--group (\S+)", command)) <= set(project["dependency-groups"])
