"""Samples that are one well, or wells of one donor: they count once in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from nkscore import schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Columns of the user's sheet that say from which well a sample was drawn.
_WELL, _PLATE = "well", "plate"
WELL_COLUMNS: Final = (_WELL, _PLATE)
#: What makes two samples of one donor the same, where the samples themselves are the replicates.
_DESIGN: Final = (
    schema.TUMOR,
    schema.NK_DONOR,
    schema.CONDITION,
    schema.TIME_H,
    schema.ET_RATIO,
)
#: What tells repeated experiments apart, in addition.
_EXPERIMENT: Final = ("experiment", "batch", _PLATE)
_SHOWN: Final = 3


def columns_of_wells(have: Iterable[str], replicate: str) -> list[str]:
    """Return the columns that decide which samples are one, in addition to those of the test."""
    design = _DESIGN if replicate == schema.SAMPLE else ()
    return [c for c in (*design, *WELL_COLUMNS) if c in set(have)]


def wells_of(obs: pd.DataFrame, *, replicate: str, columns: Sequence[str]) -> dict[str, str]:
    """Return the name of the unit that each sample belongs to.

    ``obs`` has one row per cell or sample. Samples with a replicate (a donor) are one unit if they
    agree in ``columns``, which hold the line, the replicate and the arm. Others, like lines alone,
    are one unit if they also have the same ``well`` (of the same ``plate``, if there are plates),
    or the same hashtag in lanes that hold the same pool. If the samples are the replicates, those
    of one NK donor, line, condition, time and effector-to-target ratio are one.
    """
    wanted = [*columns, *columns_of_wells(obs.columns, replicate)]
    wanted = [c for c in dict.fromkeys(wanted) if c not in (schema.SAMPLE, schema.LANE)]
    table = _per_sample(obs, wanted)
    donor = schema.NK_DONOR if replicate == schema.SAMPLE else replicate
    key = [c for c in wanted if c in table and c not in WELL_COLUMNS]
    well = [c for c in WELL_COLUMNS if c in table]
    described = [c for c in (*_DESIGN, *_EXPERIMENT) if c in obs and c not in key]
    pools = _pools(obs, table[key].join(_per_sample(obs, described)))
    units: dict[tuple[object, ...], list[str]] = {}
    for name, row in table.iterrows():
        unit: tuple[object, ...] = (name,)
        if donor in key and row[donor]:
            unit = ("replicate",)
        elif _WELL in well and row[_WELL]:
            unit = ("well", *row[well])
        elif name in pools:
            unit = ("pool", pools[str(name)])
        units.setdefault((*unit, *row[key]), []).append(str(name))
    return {sample: _joined(names) for names in units.values() for sample in names}


def _pools(obs: pd.DataFrame, described: pd.DataFrame) -> dict[str, object]:
    """Return pool and hashtag of each sample with one lane and one hashtag.

    Lanes hold the same pool if the same hashtags mark samples of the same description.
    """
    if not {schema.LANE, schema.HASHTAG} <= set(obs.columns):
        return {}
    columns = [schema.SAMPLE, schema.LANE, schema.HASHTAG]
    rows = obs[columns].dropna().drop_duplicates().astype(str)
    what = dict(zip(described.index, described.itertuples(index=False, name=None), strict=True))
    tags = [(tag, what[name]) for name, tag in rows[[columns[0], columns[2]]].to_numpy()]
    rows = rows.assign(tag=pd.Series(tags, index=rows.index, dtype=object))
    pool = {lane: frozenset(part) for lane, part in rows.groupby(schema.LANE)["tag"]}
    single = rows[~rows[schema.SAMPLE].duplicated(keep=False)]
    return {
        name: (pool[lane], tag)
        for name, lane, tag in single[columns].itertuples(index=False)
        if len(pool[lane]) > 1
    }


def _per_sample(obs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the columns that are constant within samples, as text; empty where missing."""
    rows = obs.loc[obs[schema.SAMPLE].notna(), [schema.SAMPLE, *columns]].drop_duplicates()
    text = pd.DataFrame(
        {c: [("" if pd.isna(v) else str(v)) for v in rows[c]] for c in rows}, dtype=object
    ).drop_duplicates()
    constant = [
        c
        for c in columns
        if not text[[schema.SAMPLE, c]].drop_duplicates()[schema.SAMPLE].duplicated().any()
    ]
    table = text.drop_duplicates(schema.SAMPLE).set_index(schema.SAMPLE)[constant]
    return table.sort_index()


def _joined(names: list[str]) -> str:
    if len(names) <= _SHOWN:
        return " + ".join(names)
    return f"{names[0]} + {len(names) - 1} more"


def repeated_measures(wells: Iterable[str], samples: Iterable[str]) -> str:
    """Return a remark that names the samples that were summed, empty if there are none."""
    parts = pd.DataFrame({"well": list(wells), "sample": list(samples)}).drop_duplicates()
    sizes = parts.groupby("well", sort=True)["sample"].size()
    summed = sizes[sizes > 1]
    if summed.empty:
        return ""
    shown = "; ".join(map(str, summed.index[:_SHOWN])) + ("; ..." if len(summed) > _SHOWN else "")
    return (
        f"{int(summed.sum())} samples are parts of {len(summed)} (one well on several lanes, or "
        f"wells of one donor, line and arm) and were summed: {shown}."
    )
