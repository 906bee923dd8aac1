"""The matrix of knock-outs and genes shows what its table holds."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from nkscore import pl
from nkscore.errors import MissingKeyError


def _table():
    return pd.DataFrame(
        {
            "target": ["A", "A", "B", "B"],
            "gene": ["x", "y", "x", "y"],
            "contrast": "knockout",
            "log2_fc": [1.0, 0.1, -1.0, 2.0],
            "q_value": [0.001, 0.5, 0.01, 1e-20],
        }
    )


def _names(labels):
    return [label.get_text() for label in labels]


def test_most_significant_come_first():
    ax = pl.perturbation_dots(_table())
    assert _names(ax.get_xticklabels()) == ["B", "A"]
    assert _names(ax.get_yticklabels()) == ["x", "y"]
    plt.close(ax.figure)
    ax = pl.perturbation_dots(_table(), genes=["y"], targets=["A", "B"])
    assert _names(ax.get_xticklabels()) == ["A", "B"]
    assert _names(ax.get_yticklabels()) == ["y"]
    plt.close(ax.figure)


def test_scores_are_drawn_in_standard_deviations():
    table = _table().rename(columns={"gene": "score", "log2_fc": "effect_sd"})
    ax = pl.perturbation_dots(table)
    assert ax.collections[2].get_array().tolist() == [-1.0, 1.0, pytest.approx(1.98, abs=0.1), 0.1]
    plt.close(ax.figure)


def test_errors():
    both = pd.concat([_table(), _table().assign(contrast="interaction")])
    with pytest.raises(ValueError, match="name one: contrast="):
        pl.perturbation_dots(both)
    with pytest.raises(MissingKeyError, match="contrast"):
        pl.perturbation_dots(_table().drop(columns="contrast"))
    ax = pl.perturbation_dots(both, contrast="interaction")
    plt.close(ax.figure)
