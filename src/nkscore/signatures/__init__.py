"""Gene sets with their sources: catalog, your own files, and their fit to the data.

>>> from nkscore import signatures
>>> signatures.get("DUFVA2023_NK_CYTOKINE").up
('IFNG', 'CCL4', 'CCL3', 'TNF', 'CSF2', 'CD69')

A catalog (:func:`catalog`, :func:`get`, :func:`panel`, :func:`panels`), your own sets
(:func:`load`, :func:`save`, :func:`as_signatures`), the fit to the data (:func:`match`,
:func:`coverage`, :func:`diagnose`), comparison (:func:`overlap`), and facts
(:func:`ligand_receptor`, :func:`crispr_hits`, :func:`nk_exclusive`,
:func:`visibility_classes`), and what KIR see of HLA (:func:`hla_groups`, :func:`kir_ligands`).
"""

from __future__ import annotations

from nkscore.signatures._axes import tumor_axes
from nkscore.signatures._catalog import catalog, get, nk_exclusive, panel, panels
from nkscore.signatures._convert import as_signatures
from nkscore.signatures._diagnose import diagnose
from nkscore.signatures._files import load, save
from nkscore.signatures._hla import hla_groups, kir_ligands
from nkscore.signatures._match import Match, coverage, match
from nkscore.signatures._overlap import overlap
from nkscore.signatures._programs import TumorProgram, dormancy_components, tumor_programs
from nkscore.signatures._signature import Signature
from nkscore.signatures._tables import crispr_hits, ligand_receptor
from nkscore.signatures._visibility import visibility_classes
from nkscore.signatures._vocabularies import State, vocabularies, vocabulary

__all__ = [
    "Match",
    "Signature",
    "State",
    "TumorProgram",
    "as_signatures",
    "catalog",
    "coverage",
    "crispr_hits",
    "diagnose",
    "dormancy_components",
    "get",
    "hla_groups",
    "kir_ligands",
    "ligand_receptor",
    "load",
    "match",
    "nk_exclusive",
    "overlap",
    "panel",
    "panels",
    "save",
    "tumor_axes",
    "tumor_programs",
    "visibility_classes",
    "vocabularies",
    "vocabulary",
]
