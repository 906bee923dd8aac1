from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from nkscore import pl


def test_writes_both_formats_and_creates_folders(tmp_path, response):
    ax = pl.response_dots(response)
    files = pl.save(ax, tmp_path / "deep" / "er" / "fig1.b")
    assert [file.name for file in files] == ["fig1.b.png", "fig1.b.pdf"]
    assert all(file.stat().st_size > 1000 for file in files)


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_same_figure_same_bytes(tmp_path, response, kind):
    draw = [pl.volcano(response, tumor="K562") for _ in range(2)]
    first = pl.save(draw[0], tmp_path / "a", formats=[kind])[0].read_bytes()
    assert pl.save(draw[0], tmp_path / "b", formats=[kind])[0].read_bytes() == first
    assert pl.save(draw[1], tmp_path / "c", formats=[kind])[0].read_bytes() == first


def test_no_dates_and_no_versions(tmp_path):
    png, pdf, svg = pl.save(Figure(), tmp_path / "x", formats=["png", "pdf", "svg"])
    assert b"Software" not in png.read_bytes()
    assert b"CreationDate" not in pdf.read_bytes()
    assert b"dc:date" not in svg.read_bytes()


def test_text_stays_text(tmp_path, response):
    svg = pl.save(pl.response_dots(response), tmp_path / "x.svg")[0].read_text(encoding="utf-8")
    assert ">B2M</text>" in svg


def test_ending_of_the_path_decides_alone(tmp_path):
    assert [f.name for f in pl.save(Figure(), tmp_path / "x.svg")] == ["x.svg"]
    assert [f.name for f in pl.save(Figure(), tmp_path / "x.svg", formats=["png"])] == ["x.png"]


def test_dpi(tmp_path):
    import matplotlib.image

    figure = Figure(figsize=(2, 1))
    figure.text(0, 0, ".")
    figure.text(1, 1, ".")
    small, large = (
        matplotlib.image.imread(pl.save(figure, tmp_path / f"{dpi}", formats=["png"], dpi=dpi)[0])
        for dpi in (50, 100)
    )
    assert large.shape[1] == pytest.approx(2 * small.shape[1], abs=2)


def test_unknown_format():
    with pytest.raises(ValueError, match=r"Unknown format tiff. Choose from: png, pdf, svg"):
        pl.save(Figure(), "x", formats=["tiff"])
