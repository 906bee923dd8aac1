"""A sample of benchmarks/function_forms.py: the same data in other forms give the same result.

The benchmark tries every public function on every form.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def forms():
    file = Path(__file__).resolve().parents[1] / "benchmarks" / "function_forms.py"
    spec = importlib.util.spec_from_file_location("nkscore_function_forms", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SAMPLE = {
    "pp.qc": ("csr_array", "unsorted indices", "text as string", "no cells", "odd names of levels"),
    "tl.score": ("view", "csc", "genes twice", "nullable numbers", "float32 counts"),
    "tl.pseudobulk": ("read-only", "unused levels", "missing values", "text as object"),
    "pl.volcano": (),
}


@pytest.mark.parametrize("name", SAMPLE)
def test_same_result_or_own_error(forms, name):
    ends = {form: (end, why) for form, end, why in forms.pairs_of(name, SAMPLE[name])}
    assert len(ends) >= len(SAMPLE[name])
    wrong = {form: why for form, why in ends.items() if why[0].isupper()}
    assert not wrong
    assert "same" in {end for end, _ in ends.values()}


def test_every_public_function_is_tried(forms):
    """The benchmark takes the arguments from the examples, so each function needs one."""
    names = forms.public()
    assert len(names) > 120
    assert {"io.export", "pp.qc", "tl.score", "pl.qc", "stats.voom"} <= set(names)


def test_the_outcomes_are_told_apart(forms):
    """What the table calls a crash, another result and a changed input."""
    import numpy as np

    def crash(table):
        return table.loc["absent"]

    def drops(table):
        return table.iloc[: int(table.index.is_unique)]

    def changes(table) -> int:
        table.iloc[0, 0] = 7.0
        return 1

    table = forms.pd.DataFrame({"a": np.arange(3.0)})
    ends = [
        forms.outcome(f, ((table,), {}), "table", "pyarrow", ((1,), []))[0]
        for f in (crash, drops, changes)
    ]
    assert ends == ["CRASH", "DIFFERENT", "CHANGED"]
