"""Which questions the samples of a sheet can answer."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.tl._plan._between import core_rows, difference_rows, interaction_rows
from nkscore.tl._plan._comparison import Arms, compare
from nkscore.tl._plan._rows import is_of, row_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from nkscore.tl._plan._planned_cells import PlannedCells
    from nkscore.tl._plan._power import SampleRows

#: Question → its meaning, in the order of the table.
QUESTIONS: Final = {
    "response": "Which genes of the tumor cells change by contact?",
    "line_difference": "Does this line respond unlike the others?",
    "core_response": "Which genes respond in all lines?",
    "nk_response": "Which genes of the NK cells change by contact with this line?",
    "nk_state": "Which NK states become more or less frequent with this line?",
    "interaction": "Does the response differ between levels of a treatment or time?",
    "dose": "Does the response depend on the E:T ratio?",
    "contacts": "Which genes change in attached NK-tumor pairs?",
    "clones": "Which clones survive contact (if cells were barcoded before they were divided)?",
}
_COLUMNS: Final = (
    *("question", "compartment", "tumor", "treated", "levels", "estimable", "df_residual"),
    *("n_treated", "n_control", "paired", "confounded_with", "problem", "remedy"),
)
_MONO: Final = {schema.TUMOR_CELLS: schema.TUMOR_MONO, schema.NK: schema.NK_MONO}
_OF_RESPONSE: Final = {schema.TUMOR_CELLS: "response", schema.NK: "nk_response"}


def questions_of(planned: PlannedCells) -> pd.DataFrame:
    """Return one row per question and line, in the order of ``QUESTIONS``."""
    responses = list(_responses(planned))
    rows = [
        *responses,
        *difference_rows(responses),
        *core_rows(responses),
        *({**row, "question": "nk_state"} for row in responses if is_of(row, "nk_response")),
        *interaction_rows(planned.factors, responses),
        *_doses(planned),
        *_contacts(planned),
        *_clones(responses),
    ]
    table = pd.DataFrame([{name: row[name] for name in _COLUMNS} for row in rows])
    order = {name: i for i, name in enumerate(QUESTIONS)}
    if table.empty:
        return pd.DataFrame(columns=list(_COLUMNS))
    place = table["question"].map(order)
    return table.iloc[np.argsort(place.to_numpy(), kind="stable")].reset_index(drop=True)


def planned_rows(planned: PlannedCells, compartment: str) -> SampleRows | None:
    """Return the samples that the response of a compartment compares; None without both arms.

    Of several levels of treatments, or arms, the first that can be tested.
    """
    for _, cells in _subsets(planned):
        for treated in dict.fromkeys(cells.obs[schema.CONDITION]):
            pair = Arms(compartment, schema.CONDITION, treated, _MONO[compartment])
            if treated in _MONO.values():
                continue
            made = compare(cells, pair, planned.lines, batches=())
            if made.rows is not None and made.design is not None:
                return made.rows
    return None


def _subsets(planned: PlannedCells) -> Iterator[tuple[dict[str, str], AnnData]]:
    """Yield the cells of each combination of levels of the factors; controls can lack a level."""
    obs = planned.cells.obs
    mixed = obs[~obs[schema.CONDITION].isin(list(_MONO.values()))]
    levels = [list(dict.fromkeys(mixed[c].dropna())) or [None] for c in planned.factors]
    for combination in product(*levels):
        chosen = dict(zip(planned.factors, combination, strict=True))
        inside = np.ones(len(obs), dtype=bool)
        for column, level in chosen.items():
            inside &= ((obs[column] == level) | obs[column].isna()).to_numpy()
        if inside.any():
            yield (
                {
                    c: f"{level:g}" if isinstance(level, float) else str(level)
                    for c, level in chosen.items()
                },
                planned.cells[inside],
            )


def _responses(planned: PlannedCells) -> Iterator[dict[str, Any]]:
    batches = (schema.LANE, *planned.batches)
    for levels, cells in _subsets(planned):
        conditions = [
            c for c in dict.fromkeys(cells.obs[schema.CONDITION]) if c not in _MONO.values()
        ]
        for kind, control in _MONO.items():
            for treated in conditions or [schema.COCULTURE]:
                pair = Arms(kind, schema.CONDITION, treated, control)
                lines = _lines_of(cells, planned) if conditions else planned.lines
                made = compare(cells, pair, lines, batches=batches)
                for answer in made.answers:
                    if answer.n_treated or answer.n_control:
                        yield row_of(_OF_RESPONSE[kind], pair, answer, text_of(levels)) | {
                            "chosen": levels,
                            "made": made,
                            "answer": answer,
                        }


def _lines_of(cells: AnnData, planned: PlannedCells) -> list[str]:
    here = set(cells.obs[schema.TUMOR].dropna().astype(str))
    return [line for line in planned.lines if line in here]


def _doses(planned: PlannedCells) -> Iterator[dict[str, Any]]:
    """Compare the highest with the lowest E:T ratio of co-cultures of a line."""
    obs = planned.cells.obs
    of_co = (obs[schema.CONDITION] == schema.COCULTURE).to_numpy()
    ratios = sorted(obs.loc[of_co, schema.ET_RATIO].dropna().unique())
    if len(ratios) < 2:
        return
    for line in planned.lines:
        mine = of_co & (obs[schema.TUMOR] == line).to_numpy()
        own = sorted(obs.loc[mine, schema.ET_RATIO].dropna().unique())
        ends = (own or ratios)[0], (own or ratios)[-1]
        if ends[0] == ends[1]:
            ends = ratios[0], ratios[-1]
        for kind in _MONO:
            pair = Arms(kind, schema.ET_RATIO, float(ends[1]), float(ends[0]))
            batches = (schema.LANE, *planned.batches)
            for answer in compare(planned.cells[mine], pair, [line], batches=batches).answers:
                row = row_of(
                    "dose", pair, answer, f"et_ratio: {' or '.join(f'{r:g}' for r in own)}"
                )
                if answer.estimable and len(own) < 3:
                    row["problem"] = "; ".join(
                        filter(
                            None,
                            [row["problem"], "two ratios: a trend, but not where it levels off"],
                        )
                    )
                    row["remedy"] = f"{row['remedy']} Add a third ratio.".strip()
                yield row


def _contacts(planned: PlannedCells) -> Iterator[dict[str, Any]]:
    """Attached pairs are compared with pairs by chance, of two hashtagged wells of a lane."""
    obs = planned.cells.obs
    tagged = obs[obs[schema.HASHTAG].notna() & obs[schema.LANE].notna()]
    wells = tagged.groupby(schema.LANE)[schema.SAMPLE].nunique()
    pooled = set(wells.index[wells > 1])
    co = obs[(obs[schema.CONDITION] == schema.COCULTURE)]
    for line in dict.fromkeys(co[schema.TUMOR].dropna().astype(str)):
        own = co[co[schema.TUMOR] == line]
        inside = own[own[schema.LANE].isin(list(pooled))]
        n, n_all = inside[schema.SAMPLE].nunique(), own[schema.SAMPLE].nunique()
        problem = remedy = ""
        if n < n_all:
            problem = (
                f"{n_all - n} of {n_all} co-cultures share no lane with other hashtagged wells"
            )
            remedy = "Give each well a hashtag and load several wells per lane."
        yield {
            **dict.fromkeys(_COLUMNS, ""),
            "question": "contacts",
            "compartment": "mixed",
            "tumor": line,
            "treated": schema.COCULTURE,
            "estimable": n > 0,
            "df_residual": max(n - 1, 0),
            "n_treated": n_all,
            "n_control": n,
            "paired": False,
            "problem": problem,
            "remedy": remedy,
        }


def _clones(responses: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Shares of clones are compared between wells that were seeded from one pool of clones."""
    for row in responses:
        if not is_of(row, "response"):
            continue
        n = min(row["n_treated"], row["n_control"])
        made = {**row, "question": "clones", "estimable": n > 1, "df_residual": 0}
        if n > 1:
            made["df_residual"] = row["n_treated"] + row["n_control"] - 2
        else:
            made["problem"] = "an arm has fewer than two wells: drift cannot be distinguished"
            made["remedy"] = f"Seed two or more wells of {row['tumor']} per arm from one pool."
        yield made
