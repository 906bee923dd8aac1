"""False discoveries and power of `tl.core_response` on planted effects, favorable cases and not.

Run from the repository root (about a minute)::

    python benchmarks/core_response.py --seed 101

10,000 genes, errors of 0.15 to 0.45 per line and gene. Nulls (mean 0 in all genes): lines do not
differ; differ as much as their errors (SD 0.3); differ in a tenth of the genes (SD 0.9), the case
against sharing variances between genes, whose subgroup stands in columns of its own. Planted: 3 %
of the genes core (mean 1, SD 0.3), lines differ (SD 0.5) in these and in 5 % others of mean 0.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from nkscore.stats import pool_with_shared_variance, random_effects

N_GENES = 10_000
METHODS = {"shared": pool_with_shared_variance, "own": random_effects}
NULLS = ("lines equal", "lines differ", "a tenth differs")


def spread(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return the standard deviation between lines of each gene."""
    if kind == "a tenth differs":
        return np.where(rng.random(N_GENES) < 0.1, 0.9, 0.0)
    return np.full(N_GENES, 0.3 if kind == "lines differ" else 0.0)


def draw(rng: np.random.Generator, mean: np.ndarray, between: np.ndarray, n_lines: int) -> tuple:
    """Return effects and standard errors."""
    error = rng.uniform(0.15, 0.45, (N_GENES, n_lines))
    noise = rng.normal(0, np.sqrt(between[:, None] ** 2 + error**2))
    return mean[:, None] + noise, error


def null_rows(rng: np.random.Generator, n_lines: int) -> list[str]:
    rows = []
    for kind in NULLS:
        between = spread(kind, rng)
        effect, error = draw(rng, np.zeros(N_GENES), between, n_lines)
        for name, method in METHODS.items():
            p = method(effect, error).p_value
            part = p[between > 0.5]
            q = stats.false_discovery_control(p)
            cells = [f"{100 * (p < a).mean():.2f} %" for a in (0.05, 0.001)]
            cells += [
                f"{100 * (part < a).mean():.2f} %" if part.size else "–" for a in (0.05, 0.001)
            ]
            rows.append(
                f"| {n_lines} | {kind} | {name} | {' | '.join(cells)} | {(q < 0.05).sum()} |"
            )
    return rows


def planted_rows(rng: np.random.Generator, n_lines: int, runs: int) -> list[str]:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    for _ in range(runs):
        core = rng.random(N_GENES) < 0.03
        mean = np.where(core, rng.normal(1, 0.3, N_GENES), 0.0)
        between = np.where(core | (rng.random(N_GENES) < 0.05), 0.5, 0.0)
        effect, error = draw(rng, mean, between, n_lines)
        for name, method in METHODS.items():
            called = stats.false_discovery_control(method(effect, error).p_value) < 0.05
            false = (called & ~core).sum() / max(called.sum(), 1)
            found[name].append((false, (called & core).sum() / core.sum()))
    means = {name: np.mean(values, axis=0) for name, values in found.items()}
    return [
        f"| {n_lines} | {k} | {100 * f:.1f} % | {100 * p:.1f} % |" for k, (f, p) in means.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    sizes = (3, 6, 26)
    print(
        "| lines | null | variance | p < 0.05 | p < 0.001 | of the tenth: p < 0.05 | p < 0.001 |"
        " q < 0.05 of 10,000 |\n|---|---|---|---|---|---|---|---|"
    )
    for n_lines in sizes:
        print(*null_rows(rng, n_lines), sep="\n", flush=True)
    print("\n| lines | variance | FDR | power |\n|---|---|---|---|")
    for n_lines in sizes:
        print(*planted_rows(rng, n_lines, options.runs), sep="\n", flush=True)


if __name__ == "__main__":
    main()
