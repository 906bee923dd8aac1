"""The signal behind a response: planted, absent, confounded, or not in the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, WrongScaleError
from nkscore.stats import shrunken_over_lines

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
IFNG = "HALLMARK_INTERFERON_GAMMA_RESPONSE"
IFN1 = "HALLMARK_INTERFERON_ALPHA_RESPONSE"
HALLMARK = sorted({g for n in nk.signatures.panel("hallmark") for g in nk.signatures.get(n).up})


def response(planted=None, *, size=1.0, lines=("L1",), seed=0, se=0.3):
    """All Hallmark genes; those of the planted sets respond, each by another amount."""
    rng = np.random.default_rng(seed)
    parts = []
    for line in lines:
        effect = rng.normal(0, se, len(HALLMARK))
        for name in planted or ():
            inside = np.isin(HALLMARK, nk.signatures.get(name).up)
            effect += inside * size * rng.gamma(3, 1 / 3, len(HALLMARK))
        parts.append(pd.DataFrame({"tumor": line, "gene": HALLMARK, "log2_fc": effect, "se": se}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(("planted", "call"), [(IFNG, "IFNG"), (IFN1, "IFN1")])
def test_overlapping_signals_are_distinguished(planted, call):
    table = nk.tl.signal_activity(response([planted]))
    assert set(table["call"]) == {call}
    assert table["signal"].iloc[0] == planted
    assert (table["reason"] == "").all()
    assert table.attrs["errors"] == "replicates"


def test_the_other_interferon_does_not_take_the_place_of_a_missing_one():
    rest = [s for s in nk.tl.signal_activity(response())["signal"] if s != IFNG]
    calls = []
    for seed in range(6):
        table = nk.tl.signal_activity(response([IFNG], size=0.5, seed=seed), signals=rest)
        calls.append((table["call"].iloc[0], IFNG in table["reason"].iloc[0]))
    assert calls == [("unclear", True)] * 6


def test_nothing_is_called_when_nothing_responds():
    lines = [f"L{i}" for i in range(40)]
    table = nk.tl.signal_activity(response(lines=lines))
    called = table.drop_duplicates("tumor")["call"] != "unclear"
    assert called.mean() <= 0.05
    assert "by chance" in table["reason"].iloc[0]


def test_two_signals_at_once_are_unclear():
    made = nk.tl.signal_activity(response([IFNG, "HALLMARK_TNFA_SIGNALING_VIA_NFKB"]))
    assert made["call"].iloc[0] == "unclear"
    assert "equally well" in made["reason"].iloc[0]


def test_a_table_of_the_user_with_one_column_twice():
    """Signatures that are one explain equally well; no call, no division by zero."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"A": rng.normal(size=600)}, index=HALLMARK[:600])
    table["B"] = table["A"]
    given = response()
    given = given[given["gene"].isin(HALLMARK[:600])].copy()
    given["log2_fc"] += table["A"].to_numpy()
    made = nk.tl.signal_activity(given, table)
    assert set(made["call"]) == {"unclear"}
    assert "A and B explain the response equally well" in made["reason"].iloc[0]
    table["B"] = rng.normal(size=600)
    made = nk.tl.signal_activity(given, table)
    assert set(made["call"]) == {"A"}
    # The slope per standard deviation, by hand.
    assert made["activity"].iloc[0] == pytest.approx(table["A"].std(ddof=0), rel=0.05)


def test_lines_are_shrunken_by_hand():
    effect, error = np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]])
    assert shrunken_over_lines(effect, error, np.array([0.0])).tolist() == [[2.0, 2.0]]
    assert shrunken_over_lines(effect, error, np.array([1.0])).tolist() == [[1.5, 2.5]]
    made = nk.tl.signal_activity(response([IFNG], lines=("a", "b", "c")))
    spread = made.groupby("signal")[["activity", "activity_shrunken"]].std()
    assert (spread["activity_shrunken"] <= spread["activity"] + 1e-12).all()
    alone = nk.tl.signal_activity(response([IFNG]))
    assert alone["activity_shrunken"].isna().all()


def test_partners_stand_beside_signals():
    given = response([IFNG]).assign(mean_log2_cpm=3.0)
    given.loc[given["gene"] == "IFNGR2", "mean_log2_cpm"] = 1.0
    levels = pd.DataFrame({"resting": [1.0], "cytokine": [9.0]}, index=["IFNG"])
    made = nk.tl.signal_activity(given, ligand_levels=levels).set_index("stands_for")
    assert made.loc["IFNG", "receptor"] == "IFNGR1,IFNGR2"
    assert made.loc["IFNG", "receptor_level"] == 1.0
    assert made.loc["IFNG", "ligand_state"] == "cytokine"
    assert made.loc["TNFA", "ligand_state"] == ""


def test_bad_input_says_what_to_do():
    given = response()
    with pytest.raises(ValueError, match="'hallmark' or 'cytosig'"):
        nk.tl.signal_activity(given, "progeny")
    with pytest.raises(MissingKeyError, match="no signal IFNX"):
        nk.tl.signal_activity(given, signals=["IFNX", IFNG])
    with pytest.raises(DesignError, match="two or more"):
        nk.tl.signal_activity(given, signals=[IFNG])
    with pytest.raises(GeneCoverageError, match="human gene symbols"):
        nk.tl.signal_activity(given.assign(gene=given["gene"].str.lower()))
    table = pd.DataFrame({"A": ["x"] * 3, "B": [1.0] * 3}, index=HALLMARK[:3])
    with pytest.raises(WrongScaleError, match="numbers are needed"):
        nk.tl.signal_activity(given, table)


@pytest.mark.skipif(not (SHARED / "dufva2023_target_de").exists(), reason="needs ../shared/data")
def test_published_lines_without_donors():
    """RCHACV responds to interferon gamma, 697 to nothing clear (Dufva et al. 2023)."""
    folder = SHARED / "dufva2023_target_de"
    parts = []
    for line in ("RCHACV", "697"):
        part = pd.read_csv(folder / f"{line}_expandedNK_vs_untreated.tsv.gz", sep="\t")
        part = part[part["pct.1"] + part["pct.2"] > 0.1].drop_duplicates("gene")
        parts.append(part.assign(tumor=line)[["tumor", "gene", "avg_log2FC"]])
    made = nk.tl.signal_activity(pd.concat(parts, ignore_index=True))
    calls = made.groupby("tumor")["call"].first()
    assert calls.to_dict() == {"697": "unclear", "RCHACV": "IFNG"}
    assert made.attrs["errors"] == "none"
