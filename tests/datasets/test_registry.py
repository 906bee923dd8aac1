"""Downloads, from a server that this test starts on this machine."""

from __future__ import annotations

import hashlib
import http.server
import threading

import numpy as np
import pytest

import nkscore as nk
from nkscore.datasets import _download, _registry
from nkscore.errors import LaneError, NkscoreWarning

CONTENT = np.random.default_rng(0).bytes(3_000_000)
#: Whole blocks of the 2,000,000 bytes after which the server hangs up.
KEPT = 2_000_000 // _download._CHUNK * _download._CHUNK
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT: whole, in ranges, cut off, or as a web page."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kind = self.path.strip("/")
        wanted = self.headers.get("Range")
        fresh = self.headers.get("If-Range") == '"v1"' and kind != "changed"
        start = int(wanted[6:-1]) if wanted and fresh and kind != "noranges" else 0
        self.server.asked.append((kind, wanted, start))
        if kind == "absent":
            self.send_error(404)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"v2"' if kind == "changed" else '"v1"')
        page = kind == "page"
        self.send_header("Content-Type", "text/html; x" if page else "application/octet-stream")
        self.end_headers()
        if kind == "cut" and not start:
            self.wfile.write(body[:2_000_000])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(5)


@pytest.fixture
def entry(server, monkeypatch):
    def make(kind, *, sha256=SHA256):
        port = server.server_address[1]
        made = dict.fromkeys(_registry._COLUMNS, "")
        made |= {"file": "lane.bin", "url": f"http://127.0.0.1:{port}/{kind}", "sha256": sha256}
        monkeypatch.setattr(_registry, "_entries", lambda: {"lane": made})

    return make


def fetch(folder):
    return nk.datasets.fetch("lane", folder=folder, progress=False)


def test_whole_file_is_downloaded_once(server, entry, tmp_path):
    entry("whole")
    path = fetch(tmp_path / "cache")
    assert path == tmp_path / "cache" / "lane.bin"
    assert path.read_bytes() == CONTENT
    assert [item.name for item in path.parent.iterdir()] == ["lane.bin"]
    assert fetch(tmp_path / "cache") == path
    assert server.asked == [("whole", None, 0)]


@pytest.mark.parametrize(("kind", "start"), [("cut", KEPT), ("noranges", 0), ("changed", 0)])
def test_download_that_was_cut_off_goes_on(server, entry, tmp_path, kind, start):
    entry("cut")
    with pytest.raises(LaneError, match=rf"not be downloaded.*{KEPT:,} bytes received are kept"):
        fetch(tmp_path)
    assert not (tmp_path / "lane.bin").exists()
    # The same address, as which a version is kept.
    port = server.server_address[1]
    about = tmp_path / "lane.bin.part.json"
    about.write_text(about.read_text().replace(f"{port}/cut", f"{port}/{kind}"))
    entry(kind)
    assert fetch(tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == (kind, f"bytes={KEPT}-", start)
    assert [item.name for item in tmp_path.iterdir()] == ["lane.bin"]


def test_without_a_known_hash_a_warning_gives_it_and_it_is_kept(entry, tmp_path):
    entry("whole", sha256="")
    with pytest.warns(
        NkscoreWarning, match=rf"No checksum is known for 'lane'.*sha256 {SHA256}"
    ) as caught:
        path = fetch(tmp_path)
    assert {item.filename for item in caught} == {__file__}
    noted = tmp_path / "lane.bin.sha256"
    assert noted.read_text() == f"{SHA256}  lane.bin\n"
    # From now on compared in silence; a file that changed is downloaded again.
    path.write_bytes(b"changed")
    assert fetch(tmp_path).read_bytes() == CONTENT


def test_wrong_hash_missing_file_and_web_page(entry, tmp_path):
    entry("whole", sha256="0" * 64)
    with pytest.raises(LaneError, match=r"could not be downloaded.*[Hh]ash"):
        fetch(tmp_path)
    entry("absent")
    with pytest.raises(LaneError, match=r"could not be downloaded.*404.*Nothing was kept"):
        fetch(tmp_path)
    entry("page")
    with pytest.raises(LaneError, match="server sent a web page instead"):
        fetch(tmp_path)
    assert not (tmp_path / "lane.bin").exists()


def test_names_that_cannot_be_fetched(tmp_path):
    with pytest.raises(
        LaneError, match=r"'dufva2023_objects' .syn52600685. cannot be.*synapse get"
    ):
        nk.datasets.fetch("dufva2023_objects", folder=tmp_path)
    with pytest.raises(ValueError, match=r"There is no data set 'kang2018'.*'kang2018_raw'"):
        nk.datasets.fetch("kang2018", folder=tmp_path)


def test_registry_is_complete_and_claims_no_hash_without_its_form():
    table = nk.datasets.registry()
    assert list(table.columns) == list(_registry._COLUMNS)
    assert not table.isna().any().any()
    assert ((table["url"] == "") == (table["file"] == "")).all()
    assert (table["url"].str.startswith("https://") | (table["how_to_get"] != "")).all()
    assert table["sha256"].str.fullmatch(r"([0-9a-f]{64})?").all()
    assert table.index.is_unique
    assert {"E-MTAB-13204", "syn52600685"} <= set(table["accession"])
