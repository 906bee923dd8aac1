"""Tables that hold a column twice, or text where numbers are needed, are refused before drawing."""

import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import DesignError

TABLE = pd.DataFrame({"method": "ucell", "depth": [500, 2000], "accuracy": [0.7, 0.9]})


@pytest.mark.parametrize("column", list(TABLE))
def test_a_column_twice(column):
    twice = pd.concat([TABLE, TABLE[[column]]], axis=1)
    with pytest.raises(DesignError, match=r"several columns .*; one is needed"):
        nk.pl.depth(twice)


def test_text_where_numbers_are_needed():
    with pytest.raises(DesignError, match=r"holds text \('0.7'\); numbers are needed"):
        nk.pl.depth(TABLE.astype({"accuracy": str}))


def test_a_column_twice_in_a_tool():
    table = pd.DataFrame([["B2M", 1.0, 1.0, 0.1]], columns=["gene", "log2_fc", "log2_fc", "se"])
    with pytest.raises(DesignError, match="several columns 'log2_fc'"):
        nk.tl.specific_response(table.assign(tumor="K562", p_value=0.1))
    with pytest.raises(DesignError, match="scores has no columns"):
        nk.tl.cohort_differences(pd.DataFrame(index=["P1"]), pd.Series([True], index=["P1"]))
