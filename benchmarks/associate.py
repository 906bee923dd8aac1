"""Association of 63 lines with 20,000 features of several types, beside a plain loop over scipy.

    .venv/bin/python benchmarks/associate.py

Both get the same tables; the loop does what one writes by hand (``spearmanr``, ``mannwhitneyu``,
``fisher_exact`` for each feature). CPU seconds of the process; the largest difference of the
p-values is printed beside the ratio.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
from scipy import stats

import nkscore as nk

N_LINES = 63


def tables(n_numbers: int = 20_000, n_binary: int = 2_000):
    rng = np.random.default_rng(0)
    lines = [f"line{i}" for i in range(N_LINES)]
    auc = pd.Series(rng.random(N_LINES), index=lines, name="auc")
    numbers = pd.DataFrame(rng.gamma(2, 1, (N_LINES, n_numbers)), index=lines)
    numbers = numbers.mask(np.tile((rng.random(N_LINES) < 0.1)[:, None], n_numbers))
    methylation = numbers.iloc[:, :5000].mask(rng.random((N_LINES, 5000)) < 0.02)
    binary = pd.DataFrame(rng.random((N_LINES, n_binary)) < 0.3, index=lines)
    return auc, {"expression": numbers, "methylation": methylation, "mutation": binary}


def loop(target: pd.Series, family: str, table: pd.DataFrame, *, binary_target: bool):
    found = {}
    for name in table.columns:
        x, y = table[name].to_numpy(), target.to_numpy()
        known = ~pd.isna(x)
        x, y = x[known], y[known]
        if family == "mutation" and binary_target:
            x = x.astype(bool)
            a, b = (x & (y > 0)).sum(), (~x & (y > 0)).sum()
            c, d = (x & (y == 0)).sum(), (~x & (y == 0)).sum()
            found[name] = stats.fisher_exact([[a, b], [c, d]]).pvalue
        elif family == "mutation":
            x = x.astype(bool)
            found[name] = stats.mannwhitneyu(y[x], y[~x], method="asymptotic").pvalue
        elif binary_target:
            found[name] = stats.mannwhitneyu(x[y > 0], x[y == 0], method="asymptotic").pvalue
        else:
            found[name] = stats.spearmanr(x, y).pvalue
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    auc, features = tables()
    targets = {"number": auc, "yes or no": (auc > 0.5).astype(int).rename("sensitive")}
    print(
        "| target | family | features | nkscore CPU s | scipy loop CPU s | × | largest difference |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    nk.tl.associate(auc, features["mutation"])
    for kind, target in targets.items():
        for family, table in features.items():
            start = time.process_time()
            made = nk.tl.associate(target, {family: table})
            ours = time.process_time() - start
            start = time.process_time()
            expected = loop(target, family, table, binary_target=kind == "yes or no")
            theirs = time.process_time() - start
            p = made.set_index("feature")["p_value"]
            peer = pd.Series({str(name): value for name, value in expected.items()})
            gap = float((p - peer.reindex(p.index)).abs().max())
            print(
                f"| {kind} | {family} | {len(p)} | {ours:.2f} | {theirs:.2f} "
                f"| {theirs / ours:.0f} | {gap:.1e} |"
            )


if __name__ == "__main__":
    main()
