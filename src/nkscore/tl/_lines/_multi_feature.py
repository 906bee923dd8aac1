"""Many features together against one target, tested on samples that the model has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore._checks import seed_of
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nkscore._types import Array, Floats, Ints

    Predict = Callable[[Floats, Ints, Ints], Floats]

_FEWEST: Final = 10
_ALPHA: Final = 0.05
_POWER: Final = 0.8
_TOP: Final = 20


def multi_feature_model(
    target: pd.DataFrame | pd.Series,
    features: pd.DataFrame,
    *,
    lineage: pd.Series | None = None,
    held_out: str = "samples",
    n_folds: int = 5,
    n_permutations: int = 99,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Predict a target from many features by cross-validation, and say what so few samples allow.

    Parameters
    ----------
    target
        One number per sample (line, patient).
    features
        Samples × features, numbers or yes and no. Missing values get the median of the training
        samples. Choose features without looking at the target.
    lineage
        Lineage of each sample.
    held_out
        ``"samples"``: folds of samples, of all lineages alike. ``"lineages"``: each lineage is
        predicted from the others, which asks whether a model holds for a new lineage.
    n_folds
        Number of folds of samples.
    n_permutations
        Number of permutations of the target (within lineages, if given). Each is fitted again.
    rng
        Seed or generator of folds and permutations.

    Returns
    -------
    One row per model: ``model`` (``mean``; ``lineage``, means of lineages; ``features``, ridge
    regression; ``lineage + features``, ridge regression on what lineages leave), ``r2`` (1 minus
    squared errors over those of ``mean``, in held-out samples; below 0 if worse), ``rmse`` (in
    units of the target), ``spearman`` (of held-out predictions), ``p_value`` (permutation; of
    models with features), ``n``, ``n_features``, ``n_lineages``, ``n_folds``, ``smallest_r``
    (correlation of one feature that n samples would find with a power of .8), ``verdict``.
    ``attrs["weights"]`` has the 20 largest weights of the model of all samples, per standard
    deviation.

    Raises
    ------
    DesignError
        If fewer than ten samples are complete, the target or all features are constant, or
        ``held_out="lineages"`` without two lineages.
    MissingKeyError
        If a sample has no lineage.
    WrongScaleError
        If target or features are text or infinite.
    ValueError
        If ``held_out`` or ``n_folds`` is not possible.

    Notes
    -----
    scikit-learn's ``RidgeCV``; penalty, medians, scale and means of lineages come from the training
    samples of each fold alone. Weights of correlated features are shared between them: they
    describe the model, not causes.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> rng = np.random.default_rng(0)
    >>> genes = pd.DataFrame(rng.normal(size=(40, 30)), columns=[f"g{i}" for i in range(30)])
    >>> auc = (genes["g0"] - genes["g1"] + 0.3 * rng.normal(size=40)).rename("auc")
    >>> made = nk.tl.multi_feature_model(auc, genes, n_permutations=19)
    >>> made["model"].tolist(), bool(made["r2"].iloc[1] > 0.2)
    (['mean', 'features'], True)
    """
    goal, values, groups, names = _checked(target, features, lineage)
    draw = np.random.default_rng(seed_of(rng))
    folds = _folds(held_out, n_folds, groups, len(goal), draw)
    models = _models(values, groups if held_out == "samples" else None)
    rows = []
    for name, predict in models.items():
        predicted = _held_out(goal, folds, predict)
        row = {"model": name, **_scores(goal, predicted, folds)}
        if "features" in name and n_permutations:
            null = _permuted(goal, groups, folds, predict, (draw, n_permutations))
            row["p_value"] = (1 + sum(one >= row["r2"] for one in null)) / (1 + n_permutations)
        rows.append(row)
    made = pd.DataFrame(rows)
    if "p_value" not in made:
        made["p_value"] = np.nan
    normal = scipy_stats.norm.ppf
    reach = np.tanh((normal(1 - _ALPHA / 2) + normal(_POWER)) / np.sqrt(len(goal) - 3))
    made = made.assign(
        n=len(goal),
        n_features=values.shape[1],
        n_lineages=len(set(groups)) if groups is not None else 1,
        n_folds=len(folds),
        smallest_r=reach,
    )
    made["verdict"] = [_verdict(row, made, reach) for row in made.to_dict("records")]
    fit = _ridge().fit(values, goal)
    weights = pd.Series(fit[-1].coef_, index=names)
    top = weights.reindex(weights.abs().sort_values(ascending=False, kind="stable").index)[:_TOP]
    made.attrs["weights"] = {str(name): float(value) for name, value in top.items()}
    return made


def _checked(
    target: pd.DataFrame | pd.Series, features: pd.DataFrame, lineage: pd.Series | None
) -> tuple[Floats, Floats, Array | None, list[str]]:
    goal = target.iloc[:, 0] if isinstance(target, pd.DataFrame) else target
    if isinstance(target, pd.DataFrame) and target.shape[1] != 1:
        raise DesignError(f"target has {target.shape[1]} columns; one is needed. Choose one.")
    _check_tables(goal, features)
    shared = goal.dropna().index.intersection(features.index, sort=False)
    if len(shared) < _FEWEST:
        msg = (
            f"{len(shared)} samples have target and features; at least {_FEWEST} are needed to "
            "train and to test a model. Use tl.associate for single features."
        )
        raise DesignError(msg)
    table = features.loc[shared].astype("float64")
    table = table.loc[:, table.max() > table.min()]
    y = goal.loc[shared].to_numpy(dtype=float)
    if np.isinf(table.to_numpy()).any() or np.isinf(y).any():
        raise WrongScaleError("Target or features hold infinite values. Set them to missing.")
    if np.ptp(y) == 0 or not table.shape[1]:
        what = "The target is" if np.ptp(y) == 0 else "All features are"
        raise DesignError(f"{what} constant over these samples, so nothing can be predicted.")
    groups = None if lineage is None else _lineages(lineage, shared)
    return y, table.to_numpy(), groups, [str(c) for c in table]


def _check_tables(goal: pd.Series, features: pd.DataFrame) -> None:
    for axis, what in ((goal.index, "target"), (features.index, "features")):
        if axis.has_duplicates:
            raise DesignError(f"{what} holds a sample twice; each must occur once. Average them.")
    text = [c for c in features if not pd.api.types.is_numeric_dtype(features[c])]
    if text or not pd.api.types.is_numeric_dtype(goal):
        name = text[0] if text else goal.name
        raise WrongScaleError(f"{name!r} holds text; numbers are needed. Use pd.get_dummies.")


def _lineages(lineage: pd.Series, shared: pd.Index) -> Array:
    given = lineage.reindex(shared)
    if given.isna().any():
        first = given.index[given.isna()].tolist()[0]
        raise MissingKeyError(f"lineage has none for {first!r}. Name it, or remove the sample.")
    return given.astype(object).map(str).to_numpy(dtype=object)


def _folds(
    held_out: str, n_folds: int, groups: Array | None, n: int, draw: np.random.Generator
) -> list[tuple[Ints, Ints]]:
    every = np.arange(n)
    if held_out == "lineages":
        if groups is None or len(set(groups)) < 2:
            raise DesignError("held_out='lineages' needs two lineages or more. Give lineage.")
        tests = [np.flatnonzero(groups == name) for name in sorted(set(groups))]
    elif held_out == "samples":
        if not 2 <= n_folds <= n:
            raise ValueError(f"n_folds is {n_folds}; 2 to the number of samples ({n}) are needed.")
        order = draw.permutation(n)
        if groups is not None:
            # Deal the samples of each lineage out to the folds in turn.
            order = order[np.argsort(groups[order], kind="stable")]
        tests = [np.sort(order[start::n_folds]) for start in range(n_folds)]
    else:
        raise ValueError(f"held_out={held_out!r}; 'samples' or 'lineages' is needed.")
    return [(np.setdiff1d(every, test), test) for test in tests]


def _ridge() -> Any:  # noqa: ANN401 - scikit-learn has no types
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(imputer, StandardScaler(), RidgeCV(alphas=np.logspace(-1, 5, 13)))


def _models(values: Floats, groups: Array | None) -> dict[str, Predict]:
    """Return what predicts the target of test samples from training samples, by name."""

    def mean(goal: Floats, train: Ints, test: Ints) -> Floats:
        return np.full(len(test), float(goal[train].mean()))

    def ridge(goal: Floats, train: Ints, test: Ints) -> Floats:
        return np.asarray(_ridge().fit(values[train], goal[train]).predict(values[test]))

    made: dict[str, Predict] = {"mean": mean}
    if groups is not None and len(set(groups)) > 1:

        def of_lineages(goal: Floats, train: Ints) -> Floats:
            """Means of lineages in the training samples, for all samples."""
            means = pd.Series(goal[train]).groupby(groups[train]).mean()
            found = pd.Series(groups).map(means).fillna(goal[train].mean())
            return np.asarray(found, dtype=np.float64)

        def lineage(goal: Floats, train: Ints, test: Ints) -> Floats:
            return np.asarray(of_lineages(goal, train)[test])

        def both(goal: Floats, train: Ints, test: Ints) -> Floats:
            means = of_lineages(goal, train)
            return np.asarray(means[test] + ridge(goal - means, train, test))

        made |= {"lineage": lineage, "features": ridge, "lineage + features": both}
    else:
        made["features"] = ridge
    return made


def _held_out(goal: Floats, folds: list[tuple[Ints, Ints]], predict: Predict) -> Floats:
    predicted = np.empty(len(goal))
    for train, test in folds:
        predicted[test] = predict(goal, train, test)
    return predicted


def _r2(goal: Floats, predicted: Floats, folds: list[tuple[Ints, Ints]]) -> float:
    baseline = np.empty(len(goal))
    for train, test in folds:
        baseline[test] = goal[train].mean()
    return float(1 - ((goal - predicted) ** 2).sum() / ((goal - baseline) ** 2).sum())


def _scores(goal: Floats, predicted: Floats, folds: list[tuple[Ints, Ints]]) -> dict[str, Any]:
    # Means of folds are not predictions of order.
    ordered = np.ptp(predicted) > 0 and len(set(predicted.tolist())) > len(folds)
    rho = scipy_stats.spearmanr(goal, predicted).statistic if ordered else np.nan
    return {
        "r2": _r2(goal, predicted, folds),
        "rmse": float(np.sqrt(((goal - predicted) ** 2).mean())),
        "spearman": float(rho),
    }


def _permuted(
    goal: Floats,
    groups: Array | None,
    folds: list[tuple[Ints, Ints]],
    predict: Predict,
    repeats: tuple[np.random.Generator, int],
) -> list[float]:
    """Return the r² of permuted targets."""
    draw, n_permutations = repeats
    labels = np.zeros(len(goal), dtype=object) if groups is None else groups
    made = []
    for _ in range(n_permutations):
        shuffled = goal.copy()
        for name in set(labels.tolist()):
            inside = np.flatnonzero(labels == name)
            shuffled[inside] = goal[draw.permutation(inside)]
        made.append(_r2(shuffled, _held_out(shuffled, folds, predict), folds))
    return made


def _verdict(row: dict[Any, Any], made: pd.DataFrame, reach: float) -> str:
    if "features" not in row["model"]:
        return "for comparison"
    base = "lineage" if "lineage" in row["model"] else "mean"
    better = row["r2"] > float(made.loc[made["model"] == base, "r2"].iloc[0])
    limit = f"{row['n']} samples would show single features with |r| above {reach:.2f}"
    if better and row["p_value"] <= _ALPHA:
        return f"predicts held-out samples better than {base}; {limit}"
    return f"does not predict better than {base}, or by chance; {limit}"
