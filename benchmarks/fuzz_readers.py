"""Damage small lanes and sample sheets, read them, and look for anything but nkscore's errors.

    nice python benchmarks/fuzz_readers.py --inputs 100000 [--minutes 60] [--only h5,mtx] [--seed 0]

A child process reads many inputs with limited memory, so that a reader that ends its process, hangs
or asks for everything is found too; then the next child goes on behind that input. An input is made
again from its kind, number and seed (--number runs a single one, with its traceback). Sound files
are made once per child and written from memory. Bad is: any foreign exception, more than 5 s of
work, more than 1 GiB above what the process held before. A fault or hang within libhdf5 itself
(damaged heaps of variable-length text; -11, -6, the alarm, -27 or -14, or memory) is counted apart:
the stack that faulthandler prints, or the first error, shows h5py below the reader.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import functools
import gzip
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from pathlib import Path

import numpy as np

GENES = ["NKG7", "CD34", "GNLY", "MATR3", "CD7", "GZMB", "PRF1", "MKI67"]
KINDS = ("sheet", "h5", "h5_v2", "mtx", "mtx_gz", "h5ad", "loom", "csv", "rds")
KINDS += ("mageck", "mle", "guides", "bioplex", "xlsx", "gmt", "sets", "zarr")
KINDS += ("vireo", "souporcell", "popscle", "demuxlet")
KINDS += ("cells_h5ad", "cells_zarr", "cells_rds", "h5mu", "sheet_xlsx", "sheet_ods")
GENOTYPES = {"vireo", "souporcell", "popscle", "demuxlet"}
TEXTUAL = {"sheet", "mtx", "csv", "mageck", "mle", "guides", "bioplex", "gmt", "sets"} | GENOTYPES
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
    "vireo": """cell	donor_id	prob_max	prob_doublet	n_vars	best_singlet	best_doublet
AAACCTGAGATAGCAT-1	d1	1.00e+00	9.13e-09	115	d1	d1,d2
AAACCTGAGCAGCGTA-1	doublet	1.00e-03	9.80e-01	239	d1	d1,d2
AAACCTGAGCGATGAC-1	unassigned	7.00e-01	7.57e-07	98	d2	d1,d2
""",
    "souporcell": """barcode	status	assignment	log_prob_singleton	log_prob_doublet	cluster0
AAACCTGAGATAGCAT-1	singlet	6	-47.49	-67.16	-189.4
AAACCTGAGCAGCGTA-1	doublet	11/3	-158.38	-102.80	-357.5
""",
    "popscle": """INT_ID	BARCODE	DROPLET.TYPE	BEST.GUESS	SNG.POSTERIOR	SNG.BEST.GUESS
0	AAACCTGAGATAGCAT-1	SNG	41_41,41_41,0.00	1	41_41
1	AAACCTGAGCAGCGTA-1	DBL	12,1,0.50	6.7e-16	12
""",
    "demuxlet": """BARCODE	N.SNP	BEST	SNG.1ST	PRB.DBL	PRB.SNG1
AAACCTGAGATAGCAT-1	170	SNG-d1	d1	0.02	1
AAACCTGAGCAGCGTA-1	600	DBL-a-b-0.500	a	0.97	1
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
#: What reading one input may add to the memory of the process.
ALLOWED = 1 << 30
#: Sound files of a kind; each is damaged in many ways.
VARIETIES = 5


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
    import pandas as pd

    path = folder / "plate.xlsx"
    table = pd.read_csv(io.StringIO(TABLES["bioplex"].split("\n", 1)[1]), dtype=str)
    table.to_excel(path, index=False)
    return path


def write_h5mu(path, rng):
    import anndata as ad
    import h5py
    import pandas as pd
    from scipy import sparse

    obs, var = pd.DataFrame(index=barcodes(rng)), pd.DataFrame(index=GENES)
    rna = ad.AnnData(sparse.csr_matrix(counts(rng)), obs, var)
    tags = ad.AnnData(counts(rng)[:, :2], obs, pd.DataFrame(index=["HTO_1", "HTO_2"]))
    with h5py.File(path, "w") as file:
        for name, part in {"mod/rna": rna, "mod/hto": tags}.items():
            ad.io.write_elem(file, name, part)


def write_cells(folder, rng, kind):
    """Write annotated cells as h5ad, zarr or the RDS of a Seurat object."""
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    path = folder / f"cells.{kind}"
    names = barcodes(rng)
    columns = {"treatment": ["alone", "NK"] * 6, "line": "K562", "donor": ["", "d1"] * 6}
    obs = pd.DataFrame(columns, index=names)
    if kind == "rds":
        rds_writer = writer_of_rds()
        matrix = rds_writer.sparse_matrix(counts(rng), GENES, names)
        assay = rds_writer.S4("Assay", {"counts": matrix, "data": matrix, "key": "rna_"})
        frame = rds_writer.data_frame({name: list(obs[name]) for name in obs}, names)
        slots = {"assays": {"RNA": assay}, "meta.data": frame, "active.assay": "RNA"}
        rds_writer.dump(rds_writer.S4("Seurat", slots), path, "none")
        return path
    adata = AnnData(sparse.csr_matrix(counts(rng)), obs, pd.DataFrame(index=GENES))
    adata.write_h5ad(path) if kind == "h5ad" else adata.write_zarr(path)
    return path


def writer_of_rds():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "io"))
    import rds_writer

    return rds_writer


MANIFEST = (
    '<?xml version="1.0"?><manifest:manifest '
    'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
)


def write_sheet(folder, end):
    import pandas as pd

    path = folder / f"s.{end}"
    table = pd.read_csv(io.StringIO(SHEET), dtype=str)
    if end == "csv":
        path.write_text(SHEET)
    elif end == "xlsx":
        table.to_excel(path, index=False)
    else:
        # No library that is a dependency writes ODS; this is the least that is one.
        cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
        rows = [list(table.columns), *table.fillna("").to_numpy().tolist()]
        lines = ["".join(map(cell.format, row)) for row in rows]
        body = "".join(f"<table:table-row>{line}</table:table-row>" for line in lines)
        names = "".join(
            f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
            for name in ("office", "table", "text")
        )
        content = (
            f'<?xml version="1.0"?><office:document-content{names}><office:body>'
            f'<office:spreadsheet><table:table table:name="a">{body}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>"
        )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            archive.writestr("META-INF/manifest.xml", MANIFEST)
            archive.writestr("content.xml", content)
    return path


SHEET = """path,hashtag,sample,tumor,lineage,nk_donor,condition,time_h,et_ratio,plate
a.h5,HTO_1,K562_mono,K562,CML,,tumor_mono,24,,P1
a.h5,HTO_2,K562_co,K562,CML,d1,coculture,24,0.5,P1
a.h5,HTO_3,NK_d1,,,d1,nk_mono,24,,"P1, left"
b.h5,,THP1,THP1,AML,,tumor_mono,6,,P2
"""


NAMES = {"h5ad": "a.h5ad", "h5mu": "a.h5mu", "loom": "a.loom", "csv": "a.csv", "rds": "a.rds"}


def write_rds(path, rng):
    rds_writer = writer_of_rds()
    matrix = rds_writer.sparse_matrix(counts(rng), GENES, barcodes(rng))
    rds_writer.dump(matrix, path, "none")


WRITERS = {
    "h5": write_h5,
    "h5_v2": functools.partial(write_h5, v2=True),
    "h5ad": write_h5ad,
    "h5mu": write_h5mu,
    "loom": write_loom,
    "csv": write_csv,
    "rds": write_rds,
    "mtx": write_mtx,
    "mtx_gz": functools.partial(write_mtx, packed=True),
}
NAMES = {"h5_v2": "a.h5", "mtx": "a", "mtx_gz": "a"}


def make(kind, folder, rng):
    """Write one sound input and return what to read."""
    if kind in TABLES:
        path = folder / f"a{ENDS.get(kind, '.txt')}"
        path.write_text(TABLES[kind])
    elif kind == "xlsx":
        path = write_xlsx(folder)
    elif kind == "zarr":
        path = write_zarr(folder, rng)
    elif kind.startswith("cells_"):
        path = write_cells(folder, rng, kind.removeprefix("cells_"))
    elif kind.startswith("sheet"):
        path = write_sheet(folder, kind.removeprefix("sheet").lstrip("_") or "csv")
    else:
        path = folder / NAMES.get(kind, f"a.{kind}")
        WRITERS[kind](path, rng)
    return path


@functools.cache
def sound(kind, seed, variety):
    """Return what to read, relative to a folder, and the bytes of each file of a sound input."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = make(kind, folder, np.random.default_rng([seed, KINDS.index(kind), variety]))
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        contents = {str(file.relative_to(folder)): file.read_bytes() for file in files}
        return str(path.relative_to(folder)), contents


def write_damaged(kind, number, seed, folder):
    """Write a sound input of which one file is damaged or absent; return what to read."""
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    name, contents = sound(kind, seed, int(rng.integers(VARIETIES)))
    target = list(contents)[rng.integers(len(contents))]
    for each, raw in contents.items():
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        if each == target and len(contents) > 1 and rng.random() < 0.05:
            continue
        (folder / each).write_bytes(damaged(kind, raw, rng) if each == target else raw)
    return folder / name


def damaged(kind, raw, rng):
    """Return damaged bytes; packed text is often damaged before it is packed."""
    within = rng.random() < 0.6
    if within and raw[:2] == b"\x1f\x8b":
        return gzip.compress(damage_text(gzip.decompress(raw), rng), 1)
    if within and raw[:2] == b"PK":
        return within_zip(raw, rng)
    return (damage_text if within and kind in TEXTUAL else damage)(raw, rng)


def within_zip(raw, rng):
    """Return the archive with one of its files damaged."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(packed, "w") as new:
        names = old.namelist()
        target = names[rng.integers(len(names))]
        for name in names:
            data = old.read(name)
            if name == target:
                data = (damage_text if rng.random() < 0.5 else damage)(data, rng)
            new.writestr(name, data)
    return packed.getvalue()


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

    if kind.startswith("sheet"):
        nk.io.read_sample_sheet(path, check_files=False)
    elif kind in {"mageck", "mle", "guides"}:
        nk.io.read_mageck(path)
    elif kind in {"bioplex", "xlsx"}:
        nk.io.read_bioplex(path)
    elif kind in GENOTYPES:
        nk.io.read_genotypes(path)
    elif kind in {"gmt", "sets"}:
        nk.signatures.load(path)
    elif kind.startswith("cells_"):
        nk.io.read_cells(path, CELLS)
    else:
        nk.io.read_lane(path)


CELLS = "condition=treatment,coculture=NK,tumor_mono=alone,tumor=line,nk_donor=donor"


def one(kind, number, seed, folder):
    """Write, damage and read one input; return how it ended, and whether within h5py."""
    from nkscore.errors import NkscoreError

    path = write_damaged(kind, number, seed, folder)
    try:
        read(kind, path)
    except NkscoreError as error:
        return type(error).__name__, from_hdf5(error)
    return "read", False


def from_hdf5(error):
    """Whether the first error of a chain was raised within h5py."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "h5py" in frames[-1].filename


def peak():
    """Return the most memory held since :func:`forget_peak`, in bytes."""
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) << 10


def forget_peak():
    """Start the peak anew at what the process holds now, and return that."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def warm(kinds, seed):
    """Make and read the sound inputs, so that neither counts against a damaged one."""
    for kind in kinds:
        for variety in range(VARIETIES):
            name, contents = sound(kind, seed, variety)
            with tempfile.TemporaryDirectory() as folder:
                for each, raw in contents.items():
                    (Path(folder) / each).parent.mkdir(parents=True, exist_ok=True)
                    (Path(folder) / each).write_bytes(raw)
                read(kind, Path(folder) / name)


def child(kinds, numbers, options, out):
    """Read inputs and write one JSON line before and after each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    faulthandler.enable(all_threads=False)
    for number in (signal.SIGPROF, signal.SIGALRM):
        faulthandler.register(number, all_threads=False, chain=True)
    for number in numbers:
        kind = kinds[number % len(kinds)]
        print(json.dumps({"at": [kind, number]}), file=out, flush=True)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            end, detail = timed(kind, number, options.seed, Path(folder))
        message = {"end": f"{kind}: {end}"} | ({"bad": [kind, number, detail]} if detail else {})
        print(json.dumps(message), file=out, flush=True)


def forked(kinds, numbers, options):
    """Read inputs in a copy of this process; yield its messages, and then how it ended."""
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as errors:
        process = os.fork()
        if process == 0:
            try:
                os.dup2(errors.fileno(), 2)
                child(kinds, numbers, options, os.fdopen(writer, "w"))
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as lines:
            yield from map(json.loads, lines)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        errors.seek(0)
        yield {"status": status, "stack": errors.read().decode(errors="replace")}


def timed(kind, number, seed, folder):
    """Read one input within its time; return how it ended and, if that is bad, why."""
    before = forget_peak()
    # Seconds of work, whatever else the machine does, and of waiting.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(12 * SECONDS)
    end, detail, within_hdf5 = "CRASH", "", False
    try:
        end, within_hdf5 = one(kind, number, seed, folder)
    except Exception:  # noqa: BLE001
        detail = traceback.format_exc()[-2500:]
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    more = peak() - before
    if more > ALLOWED and within_hdf5:
        end = "LIBHDF5 MEMORY"
    elif more > ALLOWED:
        end, detail = "MEMORY", f"{more >> 20} MiB more than before\n{detail}"
    return end, detail


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
    """Start children until all is read; a child that ends early has found something."""
    kinds = [kind for kind in options.only.split(",") if kind in KINDS]
    warnings.simplefilter("ignore")
    warm(kinds, options.seed)
    stop, first = time.monotonic() + 60 * options.minutes, options.first
    last = first + options.inputs
    ends, bad = collections.Counter(), []
    while time.monotonic() < stop and first < last:
        at, message = ["?", first], {}
        for message in forked(kinds, range(first, min(first + PER_CHILD, last)), options):
            at = message.get("at", at)
            ends.update([message["end"]] if "end" in message else [])
            bad += [message["bad"]] if "bad" in message else []
        first = at[1] + 1
        if message["status"]:
            at_fault = next((line for line in message["stack"].splitlines() if "File" in line), "")
            whose = "LIBHDF5" if "h5py" in at_fault else "PROCESS ENDED"
            ends[f"{at[0]}: {whose} {message['status']}"] += 1
            if whose != "LIBHDF5":
                bad.append([*at, f"process ended: {message['status']}\n{message['stack'][:2500]}"])
        if options.progress:
            report(first - options.first, ends, bad, options.seed, Path(options.progress))
    return first - options.first, ends, bad


def report(total, ends, bad, seed, path=None):
    """Print or save what was found so far."""
    lines = [f"{total} damaged inputs"]
    lines += [f"  {count:7d}  {end}" for end, count in sorted(ends.items())]
    lines += [f"--- {kind} {number} (seed {seed})\n{text}" for kind, number, text in bad]
    if path:
        path.write_text("\n".join(lines) + "\n")
    else:
        print("\n".join(lines))


#: Inputs until a new process starts, so that what one leaves behind cannot add up.
PER_CHILD = 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheets", type=int, default=2000, help="DataFrames by hypothesis")
    parser.add_argument("--progress", help="file for what was found so far")
    parser.add_argument("--number", help="KIND,NUMBER: one input, for example h5,17")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--folder", help="where the inputs are written, for example /dev/shm")
    options = parser.parse_args()
    if options.number:
        kind, number = options.number.split(",")
        with tempfile.TemporaryDirectory() as folder:
            print(one(kind, int(number), options.seed, Path(folder)))
        return 0
    tried = sheets_by_hypothesis(options.sheets, options.seed) if options.sheets else {}
    total, ends, bad = parent(options)
    print(f"DataFrames: {dict(tried)}")
    report(total, ends, bad, options.seed)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
