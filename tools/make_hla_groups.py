"""Make src/nkscore/signatures/data/hla_groups.tsv from the protein sequences of IPD-IMGT/HLA.

python tools/make_hla_groups.py FOLDER, which holds A_prot.fasta, B_prot.fasta and C_prot.fasta of
github.com/ANHIG/IMGTHLA (folder fasta). Only the group that a sequence falls into is written, one
row per allele group (``B*13``), and one per protein that differs from its group (``C*16:02``).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

OUT = Path(__file__).parents[1] / "src" / "nkscore" / "signatures" / "data" / "hla_groups.tsv"
#: Residues 84 to 88 of the mature protein; with the leader of 24 residues they start at 107.
_AFTER = re.compile(r"[YH][YH]N[QRE]S")
_WITH_LEADER = 24
#: Residues 2 to 7, where those are not found.
_START = re.compile(r"SH[SP][MR]RYF|SHSMKYF")


def sequences(path):
    name, parts = "", []
    for line in path.read_text().splitlines():
        if line.startswith(">"):
            if name:
                yield name, "".join(parts)
            name, parts = line.split()[1], []
        else:
            parts.append(line.strip())
    yield name, "".join(parts)


def _motif(gene, seq):
    """Group by residues 77 to 83 and the residue at -21 of the leader, "" where not known."""
    found, start = _AFTER.search(seq[60:115]), _START.search(seq[:40])
    if found is None and start is None:
        return "", ""
    first = 60 + found.start() - 83 if found else start.start() - 1
    at80 = seq[first + 79 : first + 80]
    tail = seq[first + 80 : first + 83]
    leader = seq[first - 21] if first == _WITH_LEADER and gene == "B" else ""
    if len(tail) < 3:
        return "", leader
    if gene == "C":
        return {"N": "C1", "K": "C2"}.get(at80, "none"), leader
    if tail[1:] == "LR":
        return f"Bw4-80{at80}" if at80 in "IT" else "Bw4", leader
    return ("Bw6" if gene == "B" else "none"), leader


def proteins(folder):
    """Protein (two fields) → its groups, leaders, and whether any of its alleles is expressed."""
    found = {}
    for gene in "ABC":
        for name, seq in sequences(folder / f"{gene}_prot.fasta"):
            two = ":".join(name.rstrip("NLSQCA").split(":")[:2])
            groups, leaders, expressed = found.setdefault(two, (set(), set(), []))
            expressed.append(not name.endswith("N"))
            if not name.endswith("N"):
                group, leader = _motif(gene, seq)
                groups.update([group] if group else [])
                leaders.update([leader] if leader in ("M", "T") else [])
    return found


def rows(folder):
    found = proteins(folder)
    first_fields = sorted({name.split(":")[0] for name in found})
    for group in first_fields:
        members = {n: v for n, v in found.items() if n.split(":")[0] == group}
        ligand = _most(v[0] for v in members.values())
        leader = _most(v[1] for v in members.values())
        yield group, ligand, leader
        for name, (groups, leaders, expressed) in sorted(members.items(), key=_number):
            if not any(expressed):
                yield name, "null", ""
                continue
            own = next(iter(groups)) if len(groups) == 1 else ligand
            first = next(iter(leaders)) if len(leaders) == 1 else leader
            if (own, first) != (ligand, leader):
                yield name, own, first


def _number(item):
    return int(item[0].split(":")[1])


def _most(sets):
    counted = Counter(next(iter(one)) for one in sets if len(one) == 1)
    return counted.most_common(1)[0][0] if counted else ""


def main():
    made = list(rows(Path(sys.argv[1])))
    lines = ["allele\tgroup\tleader", *("\t".join(row) for row in made)]
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(len(made), "rows to", OUT)


if __name__ == "__main__":
    main()
