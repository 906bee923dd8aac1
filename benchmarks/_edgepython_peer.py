"""Fit the sums of ``real_noise.py`` with edgepython 0.5 (GPL), in an interpreter of its own.

Called as ``python _edgepython_peer.py in.npz``; writes ``out.npz`` beside it. Factors are those of
edgepython's TMMwsp over all samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

import edgepython
import numpy as np

source = Path(sys.argv[1])
given = np.load(source)
table = edgepython.make_dgelist(given["sums"].T)
table = edgepython.calc_norm_factors(table, method="TMMwsp")
fit = edgepython.glm_ql_fit(table, design=given["matrix"])
tests = [edgepython.glm_ql_ftest(fit, coef=int(column))["table"] for column in given["columns"]]
np.savez(
    source.with_name("out.npz"),
    log2_fc=np.array([test["logFC"] for test in tests]),
    p_value=np.array([test["PValue"] for test in tests]),
)
