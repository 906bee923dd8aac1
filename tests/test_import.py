"""What ``import nkscore`` loads, and that nothing depends on the seed of Python's hashes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

import pytest

import nkscore as nk


def _python(code, **environment):
    """Run code in a new interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


#: Everything that takes time to load or asks for a display.
_HEAVY = {
    "scanpy",
    "matplotlib",
    "numba",
    "anndata",
    "pandas",
    "numpy",
    "scipy",
    "igraph",
    "leidenalg",
    "umap",
    "sklearn",
    "statsmodels",
    "h5py",
    "tqdm",
}


def _loaded(code):
    lines = _python(f"{code}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))")
    return set(lines.split())


def test_import_loads_nothing_heavy():
    # Tools that watch the interpreter (coverage, .pth files) may load modules of their own.
    assert not (_loaded("import nkscore") - _loaded("")) & _HEAVY


def _work(code):
    """Seconds of work of an interpreter, which waiting for other programs does not lengthen."""
    told = f"{code}\nimport time\nprint(time.process_time())"
    return statistics.median(float(_python(told)) for _ in range(5))


def test_import_takes_little_more_than_the_interpreter():
    bare, with_numpy = _work(""), _work("import numpy")
    assert _work("import nkscore") < bare + (with_numpy - bare) / 2


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (
            "import nkscore; nkscore.schema, nkscore.errors, nkscore.signatures.get",
            {"scanpy", "matplotlib", "numba", "anndata"},
        ),
        ("import nkscore; nkscore.datasets.simulate_coculture", {"scanpy", "matplotlib"}),
        ("import nkscore; nkscore.io.read_coculture", {"scanpy", "matplotlib", "numba"}),
        ("import nkscore; nkscore.pl.qc", {"scanpy", "numba"}),
        ("import nkscore; nkscore.tl.score, nkscore.pp.qc", {"scanpy", "matplotlib"}),
    ],
)
def test_namespaces_load_what_they_need(code, absent):
    assert not _loaded(code) & absent


def test_namespaces_are_loaded_on_first_use():
    code = """
        import sys, nkscore
        assert "nkscore.signatures" not in sys.modules
        nkscore.signatures
        assert "nkscore.signatures" in sys.modules
        from nkscore import errors
        assert errors is nkscore.errors
    """
    _python("\n".join(line.strip() for line in code.splitlines()))


def test_every_name_can_be_had():
    assert dir(nk) == sorted(nk.__all__)
    for name in nk.__all__:
        assert getattr(nk, name) is not None


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'nkscore' has no attribute 'tools'"):
        _ = nk.tools
    assert not hasattr(nk, "_private")


_CHAIN = """
import hashlib, logging, warnings
warnings.simplefilter("ignore")
import numpy as np
import nkscore as nk

adata = nk.datasets.simulate_coculture(
    tumors=["697", "GDM1"], n_donors=2, n_cells_per_sample=40, n_genes=4000, rng=3
)
nk.pp.qc(adata)
nk.pp.demultiplex(adata)
nk.pp.compartments(adata)
nk.pp.normalize(adata)
nk.tl.score(adata, "nk_states_expanded")
nk.tl.score(adata, {"a": {"GNLY", "PRF1", "GZMB", "NKG7"}}, key_added="b", method="weighted_mean")
nk.tl.nk_states(adata)
nk.tl.tumor_states(adata)
table = nk.tl.interaction_response(adata)
shift = nk.tl.state_shift(adata, min_cells=5)
parts = [adata.obs.to_csv(), table.to_csv(), shift.to_csv(), str(adata.uns["nkscore"])]
parts += [adata.obsm[key].to_csv() for key in adata.obsm]
digest = hashlib.sha256()
parts = [part.encode() for part in parts]
for part in [*parts, adata.X.data.tobytes(), adata.layers["counts"].data.tobytes()]:
    digest.update(part)
print(digest.hexdigest(), len(table), len(shift))
"""


def test_results_do_not_depend_on_the_seed_of_hashes():
    found = {_python(_CHAIN, PYTHONHASHSEED=seed) for seed in ("1", "2")}
    assert len(found) == 1
    digest, n_response, n_shift = found.pop().split()
    assert len(digest) == 64
    assert int(n_response) > 100
    assert int(n_shift) > 5
