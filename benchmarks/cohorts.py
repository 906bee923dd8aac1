"""Cohorts: speed beside loops over statsmodels and lifelines, calibration, donors of Kang 2018.

    .venv/bin/python benchmarks/cohorts.py

No patient cohort could be had. Speed and calibration are measured on made-up patients; the paired
comparison on eight donors whose blood cells were given interferon beta or not (Kang et al. 2018, in
../shared/data, skipped where absent). The loops are timed on a few features and scaled up. CPU
seconds of the process, one thread.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import nkscore as nk

KANG = Path(__file__).parents[2] / "shared/data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad"


def patients(n: int, n_features: int):
    rng = np.random.default_rng(0)
    names = [f"P{i}" for i in range(n)]
    columns = [f"f{i}" for i in range(n_features)]
    scores = pd.DataFrame(rng.normal(size=(n, n_features)), names, columns)
    follow = pd.Series(rng.exponential(1000, n).round(), names)
    covariates = pd.DataFrame(
        {"age": rng.normal(size=n), "stage": rng.choice(["I", "II"], n)}, names
    )
    return scores, follow, pd.Series(rng.random(n) < 0.6, names), covariates


def cpu(run):
    start = time.process_time()
    made = run()
    return made, time.process_time() - start


def survival() -> None:
    from statsmodels.duration.hazard_regression import PHReg

    scores, follow, event, covariates = patients(500, 20_000)
    shared = pd.get_dummies(covariates, drop_first=True).to_numpy(dtype=float)
    print("| model | features | nkscore | PHReg loop | × | lifelines loop | × | most apart |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for model, n in (("univariable", 20_000), ("adjusted", 2_000)):
        given = covariates if model == "adjusted" else None
        made, ours = cpu(
            lambda n=n, given=given: nk.tl.cohort_survival(
                scores.iloc[:, :n], follow, event, adjust_for=given
            )
        )
        if given is not None:
            # The univariable models of the same call are not its price.
            ours -= cpu(lambda n=n: nk.tl.cohort_survival(scores.iloc[:, :n], follow, event))[1]
        made = made[made["model"] == model].set_index("feature")
        gap, spent = 0.0, {"statsmodels": 0.0, "lifelines": 0.0}
        some = scores.columns[:40]
        for name in some:
            z = (scores[name] - scores[name].mean()) / scores[name].std()
            x = z.to_numpy()[:, None]
            x = x if given is None else np.c_[x, shared]
            peer, seconds = cpu(lambda x=x: PHReg(follow, x, status=event, ties="efron").fit())
            spent["statsmodels"] += seconds
            gap = max(gap, abs(peer.params[0] - made.loc[name, "log_hr"]))
            spent["lifelines"] += _lifelines(x, follow, event)
        times = {name: seconds * n / len(some) for name, seconds in spent.items()}
        print(
            f"| {model} | {n:,} | {ours:.1f} s | {times['statsmodels']:.0f} s "
            f"| {times['statsmodels'] / ours:.0f} | {times['lifelines']:.0f} s "
            f"| {times['lifelines'] / ours:.0f} | {gap:.0e} |"
        )


def _lifelines(x, follow, event) -> float:
    try:
        from lifelines import CoxPHFitter
    except ImportError:
        return float("nan")
    table = pd.DataFrame(x, index=follow.index).assign(time=follow, event=event)
    return cpu(lambda: CoxPHFitter().fit(table, "time", "event"))[1]


def projection() -> None:
    from nkscore.tl._cohorts._project_cohort import cohort_panel

    rng = np.random.default_rng(1)
    genes = sorted({gene for found in cohort_panel().values() for gene in found.genes})
    genes += [f"G{i}" for i in range(20_000 - len(genes))]
    table = pd.DataFrame(rng.lognormal(3, 2, (500, 20_000)), columns=genes)
    nk.tl.project_cohort(table.iloc[:2])
    made, seconds = cpu(lambda: nk.tl.project_cohort(table))
    print(f"\nproject_cohort, 500 samples × 20,000 genes, {made.shape[1]} sets: {seconds:.1f} s")


def calibration() -> None:
    print("\n| comparison, nothing planted | features | share with p < 0.05 | q < 0.05 |")
    print("| --- | --- | --- | --- |")
    scores, follow, event, covariates = patients(90, 5_000)
    three = pd.Series(np.tile(["diagnosis", "residual", "relapse"], 30), scores.index)
    owner = pd.Series(np.repeat([f"N{i}" for i in range(30)], 3), scores.index)
    runs = {}
    for test in ("wilcoxon", "moderated_t"):
        for patient, kind in ((None, "samples"), (owner, "pairs")):
            runs[f"{test}, {kind}"] = nk.tl.cohort_differences(
                scores, three, reference="diagnosis", patient=patient, test=test
            )
    both = nk.tl.cohort_survival(scores, follow, event, adjust_for=covariates)
    runs |= {f"Cox, {model}": part for model, part in both.groupby("model")}
    for name, made in runs.items():
        print(
            f"| {name} | {made['feature'].nunique():,} | {(made['p_value'] < 0.05).mean():.3f} "
            f"| {(made['q_value'] < 0.05).sum()} |"
        )
    print(f"| proportional hazards | 5,000 | {(both['ph_p_value'] < 0.05).mean():.3f} | |")


def donors() -> None:
    if not KANG.exists():
        print("\nKang 2018 is not at hand.")
        return
    import anndata as ad

    scores = nk.tl.project_cohort(ad.read_h5ad(KANG), by=["donor", "condition"])
    parts = scores.index.str.split(" | ", regex=False)
    donor, arm = (pd.Series(parts.str[i], index=scores.index, name="arm") for i in (0, 1))
    made = nk.tl.cohort_differences(scores, arm, patient=donor)
    print(
        f"\n{donor.nunique()} donors, {len(made)} sets, {(made['q_value'] < 0.05).sum()} with "
        "q < 0.05 (pairs)\n"
    )
    print("| set | stim less ctrl | 95 % | p | q |\n| --- | --- | --- | --- | --- |")
    for row in made.head(14).itertuples():
        print(
            f"| {row.feature} | {row.effect:.3f} | {row.ci_low:.3f} to {row.ci_high:.3f} "
            f"| {row.p_value:.4f} | {row.q_value:.3f} |"
        )


def main() -> None:
    warnings.simplefilter("ignore")
    survival()
    projection()
    calibration()
    donors()


if __name__ == "__main__":
    main()
