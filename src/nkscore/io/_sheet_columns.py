"""Names of the columns of a sample sheet as labs write them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nkscore import schema
from nkscore._slots import SLOTS
from nkscore._warn import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH: Final = "path"
HASHTAG_PATH: Final = "hashtag_path"
PROTEIN_PATH: Final = "protein_path"
GENOTYPE_PATH: Final = "genotype_path"
#: Columns of files, which the stored sheet leaves out.
FILES: Final = (PATH, HASHTAG_PATH, PROTEIN_PATH, GENOTYPE_PATH)
REQUIRED: Final = (PATH, schema.SAMPLE, schema.CONDITION)
KNOWN: Final = (
    *(schema.LANE, *FILES[:2], schema.HASHTAG, *FILES[2:], schema.GENOTYPE),
    *schema.SAMPLE_COLUMNS,
)

#: Column → other names, as lower-case letters and digits without "name" or "id" at the end.
_WORDS: Final[dict[str, str]] = {
    PATH: (
        "file filepath filename folder directory dir h5 h5file matrix matrixpath matrixfolder "
        "countmatrix counts countsfile datapath datafile genepath gexpath rnapath outs "
        "cellrangeroutput cellrangerfolder cellrangerpath"
    ),
    schema.LANE: (
        "10xlane 10xchannel 10xwell tenxlane channel chipchannel gem gemwell gemgroup reaction "
        "10xreaction capture pool library 10xlibrary gexlibrary"
    ),
    HASHTAG_PATH: (
        "htopath htofile htofolder htomatrix htomatrixpath hashtagfile hashtagfolder "
        "hashtagmatrix tagpath tagfile citeseqpath"
    ),
    PROTEIN_PATH: (
        "adtpath adtfile adtfolder adtmatrix adtmatrixpath proteinfile proteinfolder proteinmatrix "
        "antibodypath antibodyfile surfaceproteinpath"
    ),
    GENOTYPE_PATH: (
        "genotypefile genotypesfile genotypespath genotypecalls donorcalls donorids donoridsfile "
        "donoridspath vireo vireopath vireofile souporcell souporcellpath demuxlet demuxletpath "
        "freemuxlet geneticdemultiplexing demuxpath"
    ),
    schema.GENOTYPE: (
        "genotypes geneticdonor geneticdonors genotypedonor vireodonor souporcellcluster "
        "demuxletsample genotypecluster snpdonor"
    ),
    schema.HASHTAG: (
        "hto hashtagoligo hashtagantibody hashtagno hashtagnumber htono htonumber hash "
        "hashingantibody tag cmo cmono multiplexingoligo totalseq totalseqtag sampletag"
    ),
    schema.SAMPLE: "samples samplelabel wellname",
    schema.TUMOR: (
        "tumour tumorcell tumourcell tumorcells tumourcells tumorline tumourline tumorcellline "
        "tumourcellline cellline cancercellline cancerline line target targets targetcell "
        "targetcells targetline targetcellline cancer cancercells patient leukemia leukemialine "
        "tumororpatient celllineorpatient celllinepatient tumorpatient blasts"
    ),
    schema.LINEAGE: (
        "disease entity malignancy cancertype tumortype tumourtype diagnosis indication "
        "cancerentity leukemiatype tumorlineage celllinetype"
    ),
    schema.NK_DONOR: (
        "donor nkcelldonor nkcellsdonor donornk donorofnk effectordonor effectorsdonor donornkcells"
    ),
    schema.NK_SOURCE: (
        "source nkcellsource sourceofnk nktype nkcelltype nkproduct nkpreparation nkprep "
        "effectorsource effectortype sourcenk"
    ),
    schema.CONDITION: (
        "conditions culture culturecondition culturetype cocultureormono treatment group arm "
        "experimentalcondition experimentalgroup setup"
    ),
    schema.ET_RATIO: (
        "et ratio ratioet etr effectortarget effectortotarget effectortargetratio "
        "effectortotargetratio effectortargetet effectortargetetratio etratioeffectortarget "
        "nktumor nktotumor nktumorratio nktotumorratio nktarget nktargetratio"
    ),
}
#: Names of the opposite ratio, targets per effector.
_INVERSE: Final = frozenset(
    {
        *("te", "teratio", "ratiote", "targeteffector", "targettoeffector"),
        *("targeteffectorratio", "targettoeffectorratio", "tumornkratio", "tumortonkratio"),
    }
)
_TIME: Final = re.compile(
    r"(?:(?:co)?(?:culture|incubation)?(?:time|duration)?(?:point)?)(?:in)?"
    r"(?P<unit>h|hr|hrs|hour|hours|min|mins|minute|minutes|d|day|days)?"
)
_UNITS: Final = {"h": 1.0, "m": 1.0 / 60.0, "d": 24.0}

#: Columns that nkscore writes; ``index`` cannot be stored.
_OF_SHEET: Final = frozenset({schema.LANE, schema.HASHTAG, schema.GENOTYPE, *schema.SAMPLE_COLUMNS})
RESERVED: Final = frozenset(
    {"index", "_index"} | {slot.name.lower() for slot in SLOTS if slot.place == "obs"}
) - (_OF_SHEET)


def plain(text: str) -> str:
    """Return the letters and digits of ``text`` in lower case, without accents or wide forms."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return re.sub(r"[^a-z0-9]", "", folded)


def _words() -> dict[str, str]:
    found = {plain(column): column for column in KNOWN}
    for column, names in _WORDS.items():
        found |= dict.fromkeys(names.split(), column)
    return found


_COLUMN_OF: Final = _words()


def column_of(name: str) -> str | None:
    """Return the column that a lab calls ``name``, or None for any other column.

    >>> [column_of(name) for name in ("Cell line", "HTO", "Time (h)", "E:T ratio", "Plate")]
    ['tumor', 'hashtag', 'time_h', 'et_ratio', None]
    """
    key = plain(name)
    short = re.sub(r"(?<=..)(name|id|no|number)$", "", key)
    for each in (key, short):
        if each in _COLUMN_OF:
            return _COLUMN_OF[each]
        if each in _INVERSE:
            return schema.ET_RATIO
    return schema.TIME_H if len(key) > 1 and _is_time(key) else None


def _is_time(key: str) -> bool:
    found = _TIME.fullmatch(key)
    if not found:
        return False
    # A bare "d", "day" or "culture" can mean anything.
    bare = found["unit"] is None or key == found["unit"]
    return not bare or key in {"hr", "hrs", "hour", "hours"} or "time" in key or "duration" in key


def factor_of(name: str) -> float | None:
    """Return the hours of one unit of the time column ``name``; None if it names no unit."""
    found = _TIME.fullmatch(plain(name))
    return _UNITS[found["unit"][0]] if found and found["unit"] else None


def is_inverse(name: str) -> bool:
    """Whether a column is named as targets per effector."""
    return plain(name) in _INVERSE


@dataclass(frozen=True, slots=True)
class Header:
    """Columns of a sheet: as nkscore names them, and as the sheet names the renamed ones."""

    columns: list[str]
    spelled: dict[str, str]
    #: Column → names of the sheet that stand for it equally well.
    claims: dict[str, list[str]]


def header_of(sheet_name: str, names: Sequence[str]) -> Header:
    """Return the columns that ``names`` stand for.

    The exact name goes before one that differs by case or punctuation, and that before another
    word. Columns that stand for nothing keep their names, in lower case.
    """
    given = [re.sub(r"\s+", " ", name).strip() for name in names]
    lower = [name.lower() for name in given]
    columns, spelled, claims = list(lower), {}, {}
    for column in KNOWN:
        if column in lower:
            continue
        places = [i for i, name in enumerate(lower) if name and column_of(name) == column]
        near = [i for i in places if plain(lower[i]) == plain(column)]
        best = near or places
        if len(best) == 1:
            columns[best[0]], spelled[column] = column, given[best[0]]
        elif best:
            claims[column] = [given[i] for i in best]
    kept = [name if name in KNOWN else _own(sheet_name, name) for name in columns]
    return Header(kept, spelled, claims)


def _own(sheet_name: str, name: str) -> str:
    """Return the name under which a column of the lab itself is kept."""
    kept = name.replace("/", "|")
    if kept in RESERVED:
        kept = f"sheet_{kept.lstrip('_')}"
    if kept != name:
        taken = name in RESERVED
        why = "nkscore writes results to that name" if taken else ".h5ad files cannot store a '/'"
        warn(f"{sheet_name}: the column {name!r} is kept as {kept!r}, because {why}.")
    return kept
