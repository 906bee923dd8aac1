"""Pure reference profiles of cells: from monocultures, or from clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nkscore import schema, signatures
from nkscore._samples._cells import passed_qc
from nkscore._samples._samples import labels
from nkscore.errors import DesignError
from nkscore.stats import Markers, marker_genes, without_soup

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools, Floats, Ints, Labels

# Induced by contact, so not evidence of identity.
_INDUCED = ("HALLMARK_INTERFERON_GAMMA_RESPONSE", "HALLMARK_INTERFERON_ALPHA_RESPONSE")


@dataclass(frozen=True, slots=True)
class Reference:
    """Cells that belong to this reference or are NK cells, and the genes that separate them.

    ``pure`` are cells of the reference, ``nk`` NK cells to compare with; ``known`` if those are
    from monocultures, which calibrate the other cells of their lane. ``ambient`` is the share of
    ambient RNA, ``limit`` the highest confidence that a call of these cells can have.
    """

    name: str
    compartment: str
    cells: Ints
    pure: Ints
    nk: Ints
    markers: Markers
    ambient: float
    known: bool
    limit: float = 1.0


@dataclass(frozen=True, slots=True)
class Lanes:
    """Lane of each cell, and the summed profile of each lane's cells (rows sum to one).

    The sum of a lane's cells stands for its ambient RNA.
    """

    code: Ints
    soup: Floats

    @classmethod
    def of(cls, adata: AnnData, counts: Counts) -> Lanes:
        code = np.zeros(adata.n_obs, dtype=np.int64)
        if schema.LANE in adata.obs:
            names = [str(name) for name in labels(adata.obs, schema.LANE)]
            code = np.unique(names, return_inverse=True)[1].astype(np.int64)
        used = np.where(passed_qc(adata), code, -1)
        sums = counts.group_sums(used, int(code.max(initial=-1)) + 1).sums
        return cls(code, sums / np.maximum(sums.sum(axis=1, keepdims=True), 1))

    def around(self, cells: Bools) -> Floats:
        """Return the ambient RNA of these cells: their lanes' by number of cells."""
        weight = np.bincount(self.code[cells], minlength=len(self.soup))
        return np.asarray(weight @ self.soup / max(int(weight.sum()), 1))

    def separate(
        self, profiles: tuple[Floats, Floats], cells: tuple[Bools, Bools], allowed: Bools
    ) -> tuple[Floats, Floats, float]:
        """Return two summed profiles without their lanes' ambient RNA, and its smaller share."""
        (a, in_a), (b, in_b) = (
            without_soup(profile, self.around(each), allowed=allowed)
            for profile, each in zip(profiles, cells, strict=True)
        )
        return a, b, min(in_a, in_b)


def identity_genes(adata: AnnData) -> Bools:
    induced = {gene for name in _INDUCED for gene in signatures.get(name).genes}
    names = adata.var_names.astype(str)
    housekeeping = names.str.startswith(("MT-", "RPL", "RPS"))
    return np.asarray(~(names.isin(list(induced)) | housekeeping))


def monoculture_references(
    adata: AnnData, counts: Counts, lanes: Lanes, *, min_cells: int, required: bool
) -> list[Reference] | None:
    """Return one reference per line with a monoculture, or ``None`` if one type is absent."""
    columns = (schema.CONDITION, schema.TUMOR)
    if any(c not in adata.obs for c in columns):
        if required:
            schema.require(adata, "obs", columns, "pp.demultiplex")
        return None
    condition = adata.obs[schema.CONDITION].astype(object).to_numpy()
    # As text: lines like 697 can be numbers in the user's table.
    tumor = labels(adata.obs, schema.TUMOR)
    usable = passed_qc(adata)
    nk = usable & (condition == schema.NK_MONO)
    mono = usable & (condition == schema.TUMOR_MONO)
    known = sorted(set(tumor[mono]) - {None})
    lines = [line for line in known if (mono & (tumor == line)).sum() >= min_cells]
    if nk.sum() < min_cells or not lines:
        if required:
            msg = (
                f"{nk.sum()} usable cells of condition 'nk_mono' and {len(lines)} lines with at "
                f"least {min_cells} cells of 'tumor_mono'; both are needed to estimate "
                "the profiles. Use evidence='markers', or add the monocultures."
            )
            raise DesignError(msg)
        return None
    code = np.full(adata.n_obs, -1, dtype=np.int64)
    code[nk] = 0
    for i, line in enumerate(lines, start=1):
        code[mono & (tumor == line)] = i
    # Wells without such a line (NK monocultures, unknown lines): compared with all lines together.
    rest = ~np.isin(tumor, lines) & adata.obs[schema.CONDITION].notna().to_numpy()
    profiles = counts.group_sums(code, len(lines) + 1).sums
    return _references(adata, code, lines, profiles, lanes=lanes, tumor=tumor, rest=rest)


def _references(
    adata: AnnData,
    code: Ints,
    lines: list[str],
    profiles: Floats,
    *,
    lanes: Lanes,
    tumor: Labels,
    rest: Bools,
) -> list[Reference]:
    relative = profiles[1:] / np.maximum(profiles[1:].sum(axis=1, keepdims=True), 1)
    pooled = relative.mean(axis=0) * profiles[1:].sum() / len(lines)
    others = [*profiles[1:], pooled]
    cells = [tumor == line for line in lines] + [rest]
    monos = [code == i for i in range(1, len(lines) + 1)] + [code > 0]
    allowed = identity_genes(adata)
    references = []
    for name, mask, mono, other in zip([*lines, "all lines"], cells, monos, others, strict=True):
        if mask.any():
            nk, line, ambient = lanes.separate((profiles[0], other), (code == 0, mono), allowed)
            references.append(
                Reference(
                    name,
                    schema.TUMOR_CELLS,
                    cells=np.flatnonzero(mask),
                    pure=np.flatnonzero(mono),
                    nk=np.flatnonzero(code == 0),
                    markers=marker_genes(nk, line, allowed=allowed),
                    ambient=ambient,
                    known=True,
                )
            )
    return references
