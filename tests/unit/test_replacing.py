"""What is written gets its name when it is whole."""

import pytest

from subcell.replacing import replacing


def test_a_file_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "table.tsv"
    with replacing(path) as to:
        to.write_text("half")
        assert to.suffix == ".tsv"
        assert not path.exists()
        to.write_text("whole")
    assert path.read_text() == "whole"
    assert [child.name for child in path.parent.iterdir()] == ["table.tsv"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("before")

    def fail():
        with replacing(path) as to:
            to.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "before"
    assert [child.name for child in tmp_path.iterdir()] == ["table.tsv"]


def test_a_folder_replaces_a_folder_and_what_a_kill_left(tmp_path):
    path = tmp_path / "cards"
    path.mkdir()
    (path / "old").touch()
    with replacing(path) as to:
        to.mkdir()
        (to / "new").touch()
        left = to
    assert [child.name for child in path.iterdir()] == ["new"]
    left.mkdir()
    (left / "half").touch()
    with replacing(path) as to:
        assert not to.exists()
        to.mkdir()
    assert list(path.iterdir()) == []
