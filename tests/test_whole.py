"""A file that is being written is there whole or not at all."""

from __future__ import annotations

import pytest

from nkscore._whole import whole


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_text("old")
    with whole(path) as beside:
        assert beside.parent == tmp_path
        assert beside.name.endswith(".csv.gz")
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write():
        with whole(path) as beside:
            beside.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_before_anything_was_written(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "table.csv") as beside:
        beside.stat()
    assert list(tmp_path.iterdir()) == []
