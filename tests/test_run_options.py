"""Options of ``nkscore run`` that no run can use are errors before anything is read."""

from __future__ import annotations

import inspect
import re

import pytest

import nkscore as nk
from nkscore._run import _options, _values
from nkscore.cli import main


def problem(section, name, value):
    """Text on a value, without a run; empty if it can be used."""
    try:
        _options.checked({section: {name: value}}, "run.toml")
    except ValueError as error:
        head, *lines = str(error).splitlines()
        assert head.startswith("run.toml holds options that nkscore")
        return " ".join(lines).strip()
    return ""


def test_a_missing_file_of_sets_is_an_error_at_once(tmp_path, capsys):
    config = tmp_path / "run.toml"
    config.write_text('[score]\ngene_signatures = "my.gmt"\n')
    out = tmp_path / "out"
    # The sheet does not exist either: it is looked at after the options.
    assert main(["run", "no.csv", "--config", str(config), "--out", str(out)]) == 1
    assert "[score] gene_signatures: my.gmt is not a file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [config]


def test_files_are_taken_wherever_sets_are(tmp_path):
    file = tmp_path / "my.gmt"
    file.write_text("killing\t\tPRF1\tGZMB\nresting\t\tSELL\tCCR7\n")
    for section, name in (
        ("score", "gene_signatures"),
        ("nk_states", "vocabulary"),
        ("response_modules", "gene_sets"),
        ("tumor_enrichment", "sets"),
    ):
        assert problem(section, name, str(file)) == ""
        assert "is not a file" in problem(section, name, str(tmp_path / "no.gmt"))
    assert problem("score", "gene_signatures", [str(file), "REHMAN2021_DIAPAUSE"]) == ""
    assert list(nk.signatures.as_signatures(str(file))) == ["killing", "resting"]
    assert list(nk.signatures.as_signatures([file, "cell_cycle"])) == [
        "killing",
        "resting",
        "s",
        "g2m",
    ]
    assert list(nk.signatures.vocabulary(file)) == ["killing", "resting"]
    assert list(nk.signatures.as_signatures(["HLA-A", "B2M"])) == ["signature"]


@pytest.mark.parametrize(
    ("section", "name", "value", "match"),
    [
        ("score", "gene_signatures", "REHMAN_DIAPAUSE", "neither a signature nor a panel"),
        ("score", "gene_signatures", {"a": []}, "Signatures without genes: a"),
        ("score", "method", "ucell", "'ucell' is unknown; known: "),
        ("nk_states", "vocabulary", "expandet", "no vocabulary 'expandet'"),
        ("nk_states", "level", "donor", "known: cell, cluster"),
        ("demultiplex", "method", "hashsol", "known: mixture, hashsolo, htodemux"),
        ("demultiplex", "min_confidence", 50, "50 is not from 0 to 1"),
        ("qc", "preset", "strict", "known: adaptive, coculture"),
        ("qc", "n_mads", 0, "0 is not above 0"),
        ("keep", "hashtag_classes", ["singlet", "single"], "'single' is unknown"),
        ("embed", "n_neighbors", -1, "-1 is negative"),
        ("tumor_response", "min_cells", -5, "-5 is negative"),
        ("core_response", "q_threshold", 5, "5 is not from 0 to 1"),
        ("communication", "engine", "cellphonedb", "known: model, liana"),
        ("score", "method", 3, "3; needed: text"),
    ],
)
def test_values_that_no_run_can_use(section, name, value, match):
    assert match in problem(section, name, value)


@pytest.mark.parametrize(("section", "name"), _values.CHOICES)
def test_choices_are_those_of_the_function(section, name):
    option = _options.known()[section][name]
    default = option.default if isinstance(option.default, list) else [option.default]
    choices = _values.CHOICES[section, name]()
    assert set(default) <= set(choices)
    functions = dict(_options._STEPS)
    tables = {table.name: getattr(nk.tl, table.function) for table in _options.available()}
    function = functions.get(section) or tables[section]
    text = inspect.getdoc(function)
    meaning = re.search(rf"^{name}\n((?:[ \t]+.*\n|\n)+)", text, re.MULTILINE)[1]
    assert [choice for choice in choices if not re.search(rf"\b{choice}\b", meaning)] == []


def test_defaults_can_be_used():
    assert _options.checked(_options_given(), "run.toml") == _options.defaults()


def _options_given():
    return {
        section: {name: value for name, value in found.items() if value is not None}
        for section, found in _options.defaults().items()
    }
