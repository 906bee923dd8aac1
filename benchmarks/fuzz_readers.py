"""Damage small lanes and sample sheets, read them, and look for anything but nkscore's errors.

    nice python benchmarks/fuzz_readers.py --minutes 6 [--only h5,mtx] [--seed 0]

Each input is read in a child process with limited memory, so that a reader that ends its process,
hangs or asks for everything is found too. An input is made again from its kind, number and seed.
A hang within libhdf5 itself (damaged heaps of variable-length text) ends by the alarm, -27 or -14.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

GENES = ["NKG7", "CD34", "GNLY", "MATR3", "CD7", "GZMB", "PRF1", "MKI67"]
KINDS = ("sheet", "h5", "h5_v2", "mtx", "mtx_gz", "h5ad", "loom", "csv", "rds")
KINDS += ("mageck", "mle", "guides", "bioplex", "xlsx", "gmt", "sets", "zarr")
TEXTUAL = {"sheet", "mtx", "csv", "mageck", "mle", "guides", "bioplex", "gmt", "sets"}
TABLES = {
    "mageck": """id	num	neg|p-value	neg|fdr	neg|lfc	pos|p-value	pos|fdr	pos|lfc
NCR3LG1	4	0.999	1	2.5	0.00001	0.001	2.5
B2M	4	1e-5	0.01	-1.5	0.9	1	-1.5
""",
    "mle": """Gene	sgRNA	nk|beta	nk|z	nk|p-value	nk|fdr	nk|wald-p-value
NCR3LG1	4	0.5	2.5	0.01	0.2	0.012
B2M	4	-0.7	-3	0.001	0.02	0.002
""",
    "guides": """sgRNA,Gene,NK_1,NK_2,alone
B2M_1,B2M,10,12,300
B2M_2,B2M,3,0,41
NT_1,NT,5,6,7
""",
    "bioplex": """Plate 1,,,
Type,Well,Description,Hu IFN-g (21),Hu IL-2 (38)
X1,A1,NK,OOR <,3.5
X2,A2,K562 NK,*90.5,OOR >
X3,A3,K562,8.0,***
""",
    "gmt": """A_UP	source	NKG7	GNLY
A_DN		CD3E
B	http://x	PRF1	GZMB
""",
    "sets": """signature	gene	direction	source
A	NKG7	up	x
A	CD3E	down	x
B	PRF1	up	x
""",
}
ENDS = {"guides": ".csv", "bioplex": ".csv", "gmt": ".gmt", "sets": ".tsv"}
SECONDS = 5
MEMORY = 6 << 30


def counts(rng):
    return rng.poisson(0.8, size=(12, len(GENES))).astype(np.int32)


def barcodes(rng):
    return ["".join(rng.choice(list("ACGT"), 16)) + "-1" for _ in range(12)]


def write_h5(path, rng, *, v2=False):
    import h5py
    from scipy import sparse

    made = sparse.csr_matrix(counts(rng))
    with h5py.File(path, "w") as file:
        group = file.create_group("GRCh38" if v2 else "matrix")
        group["barcodes"] = np.array(barcodes(rng), dtype="S")
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, data=getattr(made, name), compression="gzip")
        group["shape"] = np.array(made.shape[::-1], dtype=np.int32)
        names = np.array(GENES, dtype="S")
        inner = group if v2 else group.create_group("features")
        ids = [f"ENSG{i:011d}".encode() for i in range(len(GENES))]
        keys = ("genes", "gene_names") if v2 else ("id", "name")
        for key, values in zip(keys, (np.array(ids), names), strict=True):
            inner[key] = values
        if not v2:
            inner["feature_type"] = np.array(["Gene Expression"] * len(GENES), dtype="S")
            inner["genome"] = np.array(["GRCh38"] * len(GENES), dtype="S")


def write_mtx(folder, rng, *, packed=False):
    folder.mkdir()
    made = counts(rng)
    rows, columns = np.nonzero(made.T)
    lines = ["%%MatrixMarket matrix coordinate integer general", f"8 12 {len(rows)}"]
    lines += [f"{r + 1} {c + 1} {made[c, r]}" for r, c in zip(rows, columns, strict=True)]
    features = [f"ENSG{i:011d}\t{gene}\tGene Expression" for i, gene in enumerate(GENES)]
    texts = {"matrix.mtx": lines, "barcodes.tsv": barcodes(rng), "features.tsv": features}
    for name, text in texts.items():
        raw = ("\n".join(text) + "\n").encode()
        place = folder / (f"{name}.gz" if packed else name)
        place.write_bytes(gzip.compress(raw) if packed else raw)


def write_h5ad(path, rng):
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    obs, var = pd.DataFrame(index=barcodes(rng)), pd.DataFrame(index=GENES)
    adata = AnnData(sparse.csr_matrix(counts(rng)), obs, var)
    adata.obsm["hashtags"] = pd.DataFrame({"a": range(12)}, index=obs.index)
    adata.write_h5ad(path)


def write_loom(path, rng):
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=counts(rng).T, chunks=(4, 4), compression="gzip")
        file["row_attrs/Gene"] = np.array(GENES, dtype="S")
        file["col_attrs/CellID"] = np.array(barcodes(rng), dtype="S")


def write_csv(path, rng):
    made, names = counts(rng), barcodes(rng)
    lines = [",".join(["", *names])]
    lines += [",".join([gene, *map(str, made[:, i])]) for i, gene in enumerate(GENES)]
    path.write_text("\n".join(lines) + "\n")


def write_zarr(folder, rng):
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    path = folder / "a.zarr"
    obs, var = pd.DataFrame(index=barcodes(rng)), pd.DataFrame(index=GENES)
    AnnData(sparse.csr_matrix(counts(rng)), obs, var).write_zarr(path)
    return path


def write_xlsx(folder):
    import io

    import pandas as pd

    path = folder / "plate.xlsx"
    table = pd.read_csv(io.StringIO(TABLES["bioplex"].split("\n", 1)[1]), dtype=str)
    table.to_excel(path, index=False)
    return path


SHEET = """path,hashtag,sample,tumor,lineage,nk_donor,condition,time_h,et_ratio,plate
a.h5,HTO_1,K562_mono,K562,CML,,tumor_mono,24,,P1
a.h5,HTO_2,K562_co,K562,CML,d1,coculture,24,0.5,P1
a.h5,HTO_3,NK_d1,,,d1,nk_mono,24,,"P1, left"
b.h5,,THP1,THP1,AML,,tumor_mono,6,,P2
"""


def make(kind, folder, rng):
    """Write one sound input; return what to read and the files to damage."""
    path = folder / {"h5ad": "a.h5ad", "loom": "a.loom", "csv": "a.csv", "rds": "a.rds"}.get(
        kind, "a.h5"
    )
    if kind.startswith("mtx"):
        write_mtx(folder / "a", rng, packed=kind.endswith("gz"))
        return folder / "a", sorted((folder / "a").iterdir())
    if kind in TABLES:
        path = folder / f"a{ENDS.get(kind, '.txt')}"
        path.write_text(TABLES[kind])
    elif kind == "xlsx":
        path = write_xlsx(folder)
    elif kind == "zarr":
        path = write_zarr(folder, rng)
        return path, sorted(file for file in path.rglob("*") if file.is_file())
    elif kind == "sheet":
        path = folder / "s.csv"
        path.write_text(SHEET)
    elif kind == "rds":
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "io"))
        import rds_writer

        matrix = rds_writer.sparse_matrix(counts(rng), GENES, barcodes(rng))
        rds_writer.dump(matrix, path, "none")
    elif kind.startswith("h5") and kind != "h5ad":
        write_h5(path, rng, v2=kind == "h5_v2")
    else:
        {"h5ad": write_h5ad, "loom": write_loom, "csv": write_csv}[kind](path, rng)
    return path, [path]


def damage(raw, rng):
    """Return damaged bytes: cut, flipped, overwritten, moved, doubled or shortened."""
    data = bytearray(raw)
    how = rng.integers(6)
    if how == 0 or len(data) < 8:
        return bytes(data[: rng.integers(len(data) + 1)])
    start, stop = np.sort(rng.integers(len(data), size=2))
    if how == 1:
        for place in rng.integers(len(data), size=rng.integers(1, 9)):
            data[place] ^= 1 << rng.integers(8)
    elif how == 2:
        stop = min(stop, start + 64)
        data[start:stop] = rng.bytes(int(stop - start))
    elif how == 3:
        data[start:stop] = bytes(int(stop - start))
    elif how == 4:
        data[stop:stop] = data[start:stop]
    else:
        del data[start:stop]
    return bytes(data)


def damage_text(raw, rng):
    """Return text with single fields changed: what people and spreadsheets do."""
    odd = [
        ",",
        ";",
        "\t",
        '"',
        "\n",
        "\r",
        "\0",
        "-1",
        "1e400",
        "NaN",
        "inf",
        "0.5",
        " ",
        "\ufeff",
        "É",
        "99999999999999999999",
        "-",
        "1:4",
        "NA",
        "\u2028",
        "\ud7ff",
        "#",
    ]
    text = raw.decode("utf-8", "replace")
    for _ in range(rng.integers(1, 6)):
        start = int(rng.integers(len(text) + 1))
        stop = start + int(rng.integers(0, 4))
        text = text[:start] + odd[rng.integers(len(odd))] + text[stop:]
    return text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16", "latin-1"]), "replace")


def random_sheet():
    """Return a strategy of DataFrames: a sound sheet with some cells and names that are odd."""
    import pandas as pd
    from hypothesis import strategies as st

    value = st.one_of(
        st.none(),
        st.text(max_size=12),
        st.floats(),
        st.integers(),
        st.booleans(),
        st.sampled_from(["coculture", "tumor_mono", "nk_mono", "a.h5", "obsm:x", "d1", "24"]),
        st.datetimes(),
        st.binary(max_size=4),
        st.decimals(),
        st.tuples(st.integers()),
    )
    rows = [line.split(",")[:9] for line in SHEET.splitlines()]

    @st.composite
    def sheets(draw):
        names = list(rows[0])
        cells = [list(draw(st.sampled_from(rows[1:]))) for _ in range(draw(st.integers(0, 5)))]
        for number, row in enumerate(cells):
            row[2] = f"sample {number}"
            row[1] = f"HTO_{number}" if row[1] else ""
        for _ in range(draw(st.integers(0, 3))):
            place = draw(st.integers(0, len(names) - 1))
            if cells and draw(st.booleans()):
                cells[draw(st.integers(0, len(cells) - 1))][place] = draw(value)
            elif draw(st.integers(0, 3)) == 0:
                names[place] = draw(st.one_of(st.text(max_size=6), st.sampled_from(names)))
        frame = pd.DataFrame(cells, columns=pd.Index(names, dtype=object))
        columns = draw(st.integers(0, 20))
        return frame if columns else frame.iloc[:, : draw(st.integers(0, len(names)))]

    return sheets()


def read(kind, path):
    import nkscore as nk

    if kind == "sheet":
        nk.io.read_sample_sheet(path, check_files=False)
    elif kind in {"mageck", "mle", "guides"}:
        nk.io.read_mageck(path)
    elif kind in {"bioplex", "xlsx"}:
        nk.io.read_bioplex(path)
    elif kind in {"gmt", "sets"}:
        nk.signatures.load(path)
    else:
        nk.io.read_lane(path)


def one(kind, number, seed, folder):
    """Make, damage and read one input; return how it ended."""
    from nkscore.errors import NkscoreError

    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    path, targets = make(kind, folder, rng)
    target = targets[rng.integers(len(targets))]
    textual = kind in TEXTUAL and rng.random() < 0.6
    target.write_bytes((damage_text if textual else damage)(target.read_bytes(), rng))
    try:
        read(kind, path)
    except NkscoreError as error:
        return type(error).__name__
    return "read"


def child(kinds, seed, first, seconds):
    """Run until ``seconds`` are over and print one JSON line per input that ended badly."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    # Imports must not count against the time of the first input.
    with tempfile.TemporaryDirectory() as folder:
        read("h5ad", make("h5ad", Path(folder), np.random.default_rng(0))[0])
    ends = collections.Counter()
    number, stop = first, time.monotonic() + seconds
    while time.monotonic() < stop:
        kind = kinds[number % len(kinds)]
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"at": [kind, number]}), flush=True)
            # Seconds of work, whatever else the machine does, and of waiting.
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.alarm(12 * SECONDS)
            try:
                end = one(kind, number, seed, Path(folder))
            except Exception:  # noqa: BLE001
                end = "CRASH"
                print(json.dumps({"bad": [kind, number, traceback.format_exc()[-1500:]]}))
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            ends[f"{kind}: {end}"] += 1
        number += 1
        if number % 200 == 0:
            print(json.dumps({"ends": ends}), flush=True)
            ends.clear()
    print(json.dumps({"ends": ends, "done": number}), flush=True)


def sheets_by_hypothesis(examples, seed):
    """Feed DataFrames of odd values to the sheet parser; return how many were tried."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as with_seed

    import nkscore as nk
    from nkscore.errors import NkscoreError

    tried = collections.Counter()

    @with_seed(seed)
    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(random_sheet())
    def check(frame):
        tried["sheets"] += 1
        with warnings.catch_warnings(action="ignore"):
            try:
                nk.io.read_sample_sheet(frame, check_files=False)
            except NkscoreError:
                tried["refused"] += 1

    check()
    return tried


def parent(options):
    """Start children until the time is over; a child that ends early has found something."""
    kinds = [kind for kind in options.only.split(",") if kind in KINDS]
    stop, first = time.monotonic() + 60 * options.minutes, 0
    ends, bad = collections.Counter(), []
    while time.monotonic() < stop - 2:
        left = stop - time.monotonic()
        command = [
            sys.executable,
            __file__,
            "--child",
            f"{first},{left}",
            "--only",
            ",".join(kinds),
            "--seed",
            str(options.seed),
        ]
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
        run = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        at, done, seen = None, False, 0
        for line in run.stdout:
            message = json.loads(line)
            at = message.get("at", at)
            seen += "at" in message
            done = done or "done" in message
            ends.update(message.get("ends", {}))
            if "bad" in message:
                bad.append(message["bad"])
        detail = run.stderr.read()[-1500:]
        run.wait()
        first = at[1] + 1 if at else first + 1
        if not done:
            bad.append([*(at or ["?", -1]), f"process ended: {run.returncode}\n{detail}"])
            ends[f"{at[0] if at else '?'}: PROCESS ENDED {run.returncode}"] += 1
    return first, ends, bad


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheets", type=int, default=2000, help="DataFrames by hypothesis")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        first, seconds = options.child.split(",")
        child(options.only.split(","), options.seed, int(first), float(seconds))
        return 0
    tried = sheets_by_hypothesis(options.sheets, options.seed) if options.sheets else {}
    total, ends, bad = parent(options)
    print(f"{total} damaged inputs in {options.minutes} minutes; DataFrames: {dict(tried)}")
    for end, count in sorted(ends.items()):
        print(f"  {count:7d}  {end}")
    for kind, number, text in bad[:20]:
        print(f"--- {kind} {number} (seed {options.seed})\n{text}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
