from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from nkscore import signatures

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    path = ROOT / "tools" / "make_signature_tables.py"
    spec = importlib.util.spec_from_file_location("make_signature_tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "signatures.md").read_text(encoding="utf-8")


def test_tables_of_the_page_equal_the_catalog(script, page):
    # Renew with: python tools/make_signature_tables.py --docs
    assert script.fill_docs(page) == page


def test_every_set_and_panel_is_on_the_page(page):
    for name in [*signatures.catalog()["name"], *signatures.panels()["panel"]]:
        assert f"`{name}`" in page, name


def test_missing_marker_is_an_error(script, page):
    with pytest.raises(ValueError, match="needs one block 'left-out', found 0"):
        script.fill_docs(page.replace("begin left-out", "begin nothing"))
