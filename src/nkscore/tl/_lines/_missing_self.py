"""Which KIR of a donor miss their HLA on a tumor: missing self, from typing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from nkscore._checks import check_columns, check_frame, check_there
from nkscore.errors import DesignError
from nkscore.signatures import kir_ligands
from nkscore.tl._lines._typed_people import Person, people, receptors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nkscore.signatures._hla import Allele

_GENES_OF: Final = {"C1": "C", "C2": "C", "Bw4": "AB", "Bw4-80I": "AB", "Bw4-80T": "AB"}
_BW4: Final = ("Bw4", "Bw4-80I", "Bw4-80T")
_STRENGTHS: Final = ("strong", "peptide", "weak")
_RULES: Final = ("receptor", "effect", "ligand", "strength")


def hla_ligands(hla: pd.DataFrame, *, without_hla: Iterable[str] = ()) -> pd.DataFrame:
    """Return the HLA groups of each sample that KIR and NKG2A see.

    Parameters
    ----------
    hla
        One row per typed allele with the columns ``sample`` and ``allele``, from
        :func:`nkscore.io.read_hla`. One allele of a gene counts as both copies.
    without_hla
        Samples without HLA class I at the surface (B2M lost, K562): they have no ligand.

    Returns
    -------
    One row per sample: ``sample``, ``C1``, ``C2`` (of HLA-C), ``Bw4`` (of HLA-A or HLA-B),
    ``Bw4_80I``, ``Bw4_80T`` (residue 80), ``A3_A11`` (booleans, missing where the typing leaves
    both possible), ``n_leader_m`` (copies of HLA-B with methionine at -21, which feed HLA-E, 0 to
    2), ``leader`` (``M/M``, ``M/T``, ``T/T``), ``n_genes`` (of HLA-A, B and C that were typed).

    Raises
    ------
    MissingKeyError
        If a column is absent.
    WrongScaleError
        If a name is not that of an HLA allele, or a cell is empty.
    DesignError
        If a sample has three alleles of a gene.

    Notes
    -----
    Groups: :func:`nkscore.signatures.hla_groups`. Null and secreted alleles (suffix N and S, or
    names without any expressed allele) count as absent, questionable ones as unknown. These are
    genes: loss of HLA in the tumor is not in them unless ``without_hla`` says so.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> alleles = ["A*24:02", "A*01:01", "B*07:02", "B*13:02", "C*07:02", "C*06:02"]
    >>> made = nk.tl.hla_ligands(pd.DataFrame({"sample": "P1", "allele": alleles}))
    >>> made[["C1", "C2", "Bw4", "A3_A11", "leader"]].values.tolist()
    [[True, True, True, False, 'M/T']]
    """
    rows = []
    for name, person in people(hla, without_hla).items():
        n_m = person.count(lambda a: a.leader == "M", "B")
        n_b = person.count(lambda a: a.leader in ("M", "T"), "B")
        complete = n_m is not None and n_b == 2
        rows.append(
            {
                "sample": name,
                "C1": person.has(_in("C1"), "C"),
                "C2": person.has(_in("C2"), "C"),
                "Bw4": person.has(_in(*_BW4), "AB"),
                "Bw4_80I": person.has(_in("Bw4-80I"), "AB"),
                "Bw4_80T": person.has(_in("Bw4-80T"), "AB"),
                "A3_A11": person.has(lambda a: a.is_of("A*03") or a.is_of("A*11"), "A"),
                "n_leader_m": 0 if person.silent else n_m,
                "leader": ("T/T", "M/T", "M/M")[n_m or 0] if complete else "",
                "n_genes": len({c[0].gene for c in person.copies} & set("ABC")),
            }
        )
    made = pd.DataFrame(rows)
    booleans = ["C1", "C2", "Bw4", "Bw4_80I", "Bw4_80T", "A3_A11"]
    return made.astype({**dict.fromkeys(booleans, "boolean"), "n_leader_m": "Int64"})


def missing_self(
    hla: pd.DataFrame,
    kir: pd.DataFrame,
    pairs: pd.DataFrame | None = None,
    *,
    without_hla: Iterable[str] = (),
    count: Iterable[str] = ("strong", "peptide"),
    rules: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Match the KIR of NK donors with the HLA of tumors, for each pair and receptor.

    Parameters
    ----------
    hla
        Typed alleles of donors and tumors: ``sample`` and ``allele``, from
        :func:`nkscore.io.read_hla`.
    kir
        Typed genes of donors: ``sample``, ``gene``, ``present`` and, if known, ``alleles``, from
        :func:`nkscore.io.read_kir`.
    pairs
        Columns ``nk_donor`` and ``tumor``; one row per pair. By default every donor of ``kir`` with
        every other sample of ``hla``. A patient's NK cells against the patient's tumor are a pair
        of one name.
    without_hla
        Tumors without HLA class I at the surface: they lack every ligand.
    count
        Strengths of rules that make a ligand: ``"strong"``, ``"peptide"``, ``"weak"``.
    rules
        Your own table in place of :func:`nkscore.signatures.kir_ligands`.

    Returns
    -------
    One row per pair and receptor: ``nk_donor``, ``tumor``, ``receptor``, ``effect``
    (``inhibitory``, ``activating``), ``receptor_present`` (its protein reaches the surface),
    ``ligand_in_donor``, ``ligand_in_tumor``, ``educated`` (receptor and ligand in the donor),
    ``missing_self`` (inhibitory, educated, and no ligand in the tumor), ``status``
    (``missing_self``, ``inhibited``, ``uneducated``; ``ligand``, ``no_ligand`` of activating
    receptors; ``no_receptor``; ``unknown``), ``alleles_donor``, ``alleles_tumor`` (that are
    ligands; ``?`` where the typing leaves it open). Truth values are missing where the typing
    leaves both possible. ``attrs["left_out"]`` names typed genes without a rule.

    Raises
    ------
    MissingKeyError
        If a column is absent, or a pair names an unknown donor or tumor.
    WrongScaleError
        If a name is not that of an HLA allele, ``kir`` names no KIR gene, or ``present`` is text.
    DesignError
        If no pair remains, a sample has three alleles of a gene, or a donor a gene twice.
    ValueError
        If ``count`` names an unknown strength.

    Notes
    -----
    Education: Anfossi et al. 2006, doi 10.1016/j.immuni.2006.06.013. NK cells without any
    receptor for self exist, respond less, and are not a row. Genes are not proteins: each NK cell
    expresses a part of its donor's KIR. For HLA-E and NKG2A, which no KIR typing shows, see
    ``n_leader_m`` of :func:`hla_ligands`.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> hla = pd.DataFrame(
    ...     [("D1", "C*04:01"), ("D1", "C*07:02"), ("LINE", "C*07:01"), ("LINE", "C*12:03")],
    ...     columns=["sample", "allele"],
    ... )
    >>> kir = pd.DataFrame({"sample": "D1", "gene": ["KIR2DL1", "KIR2DL3"], "present": True})
    >>> made = nk.tl.missing_self(hla, kir)
    >>> made[["receptor", "status"]].values.tolist()
    [['KIR2DL1', 'missing_self'], ['KIR2DL3', 'inhibited']]
    """
    counted = list(count)
    unknown = [one for one in counted if one not in _STRENGTHS]
    if unknown:
        msg = f"count names {unknown[0]!r}; {', '.join(_STRENGTHS)} are known."
        raise ValueError(msg)
    silent = list(without_hla)
    typed, donors = people(hla, silent), receptors_of(kir)
    table = kir_ligands() if rules is None else check_frame(rules, "rules", "See kir_ligands().")
    check_columns(table, _RULES, "See signatures.kir_ligands().", what="rules")
    by_receptor = {str(name): rows for name, rows in table.groupby("receptor", sort=True)}
    rows = []
    for donor, tumor in _pairs(pairs, typed, donors):
        for receptor in sorted(set(donors[donor]) & set(by_receptor)):
            rule = by_receptor[receptor]
            matched = _matched(typed.get(donor, Person(())), typed[tumor], rule, counted)
            rows.append(
                {
                    "nk_donor": donor,
                    "tumor": tumor,
                    "receptor": receptor,
                    "effect": str(rule["effect"].iloc[0]),
                    "receptor_present": donors[donor][receptor],
                    **matched,
                }
            )
    without_rule = sorted({g for genes in donors.values() for g in genes} - set(by_receptor))
    return _with_status(rows, without_rule)


def _in(*groups: str) -> Callable[[Allele], bool]:
    return lambda allele: allele.group in groups


def _pairs(
    pairs: pd.DataFrame | None,
    typed: dict[str, Person],
    donors: dict[str, dict[str, bool | None]],
) -> list[tuple[str, str]]:
    if pairs is None:
        made = [(d, t) for d in sorted(donors) for t in typed if t not in donors]
    else:
        columns = ["nk_donor", "tumor"]
        check_columns(pairs, columns, "One row per pair is needed.", what="pairs")
        given = pairs[columns].astype(str).drop_duplicates()
        check_there(given["nk_donor"].unique(), donors, "donor with KIR typing named")
        check_there(given["tumor"].unique(), typed, "sample with HLA typing named")
        made = list(given.itertuples(index=False, name=None))
    if not made:
        msg = (
            "No pair of donor and tumor: all samples with HLA typing have KIR typing, too. Name "
            "the pairs: pairs=pd.DataFrame({'nk_donor': [...], 'tumor': [...]})."
        )
        raise DesignError(msg)
    return made


def _matched(
    donor: Person, tumor: Person, rule: pd.DataFrame, counted: list[str]
) -> dict[str, bool | str | None]:
    strengths = dict(zip(rule["ligand"], rule["strength"], strict=True))
    needed = _needed_genes(strengths)

    def is_ligand(allele: Allele) -> bool:
        return _strength(allele, strengths) in counted

    return {
        "ligand_in_donor": donor.has(is_ligand, needed),
        "ligand_in_tumor": tumor.has(is_ligand, needed),
        "alleles_donor": donor.names(is_ligand),
        "alleles_tumor": tumor.names(is_ligand),
    }


def _needed_genes(strengths: dict[str, str]) -> set[str]:
    """Return the genes without which absence is unknown: those of groups, or else of alleles.

    Alleles that add to a group (B*46 to C1) are rare, so HLA-C alone is enough for C1.
    """
    of_groups = {gene for name in strengths for gene in _GENES_OF.get(name, "")}
    return of_groups or {name.split("*")[0] for name in strengths}


def _strength(allele: Allele, strengths: dict[str, str]) -> str:
    named = [name for name in strengths if "*" in name and allele.is_of(name)]
    name = max(named, key=len) if named else allele.group
    return strengths.get(name, "none")


def _with_status(rows: list[dict[str, bool | str | None]], without_rule: list[str]) -> pd.DataFrame:
    if not rows:
        msg = (
            f"No typed KIR gene has a rule (typed: {', '.join(without_rule) or 'none'}). Type "
            "KIR2DL1, KIR2DL2, KIR2DL3 or KIR3DL1, or pass rules."
        )
        raise DesignError(msg)
    made = pd.DataFrame(rows)
    truths = ["receptor_present", "ligand_in_donor", "ligand_in_tumor"]
    made = made.astype(dict.fromkeys(truths, "boolean"))
    present, own, theirs = (made[name] for name in truths)
    inhibitory = made["effect"] == "inhibitory"
    educated = present & own
    missing = educated & ~theirs & inhibitory
    status = pd.Series("unknown", index=made.index, dtype=object)
    for name, holds in {
        "missing_self": missing,
        "inhibited": educated & theirs & inhibitory,
        "uneducated": present & ~own & inhibitory,
        "ligand": present & theirs & ~inhibitory,
        "no_ligand": present & ~theirs & ~inhibitory,
        "no_receptor": ~present,
    }.items():
        status = status.mask(holds.fillna(value=False).astype(bool), name)
    made = made.assign(educated=educated, missing_self=missing, status=status)
    order = [
        *("nk_donor", "tumor", "receptor", "effect", *truths, "educated", "missing_self"),
        *("status", "alleles_donor", "alleles_tumor"),
    ]
    made = made[order]
    made.attrs["left_out"] = [f"{gene}: no rule" for gene in without_rule]
    return made
