"""Whatever happens, a name on disk holds the whole of the old or the whole of the new."""

import errno
import hashlib
import os
import re
from pathlib import Path

import pytest

from bert_mobile import files
from bert_mobile.errors import ArtifactError, InputError, RunError
from bert_mobile.files import (
    append_text,
    atomic_file,
    atomic_folder,
    read_json,
    refuse_foreign_folder,
    sha256,
    write_json,
)

FULL = rf"could not be written: {re.escape(os.strerror(errno.ENOSPC))} \(\d+ MB free there\)"


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def tree(folder):
    """Return every path below `folder`, hidden ones too, with the text of files."""
    return {
        path.relative_to(folder).as_posix(): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def old(tmp_path):
    """A file and a folder that were there before."""
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").write_text("old")
    return tmp_path


def write_file(root):
    with atomic_file(root / "file") as scratch:
        scratch.write_text("new")
        yield


def write_folder(root):
    with atomic_folder(root / "folder") as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "other").write_text("new")
        yield


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("crash", [ValueError("a bug"), KeyboardInterrupt(), SystemExit(1)])
def test_a_crash_inside_the_block_leaves_the_old_state(old, write, crash):
    before = tree(old)
    writing = write(old)
    next(writing)
    with pytest.raises(type(crash)):
        writing.throw(crash)
    assert tree(old) == before


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_full_disk_inside_the_block_leaves_the_old_state(old, write):
    before = tree(old)
    writing = write(old)
    next(writing)
    with pytest.raises(RunError, match=FULL) as caught:
        writing.throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert "free some space" in caught.value.hint
    assert tree(old) == before


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_full_disk_at_the_end_leaves_the_old_state(old, write, call, monkeypatch):
    before = tree(old)
    if call == "fsync":
        monkeypatch.setattr(files.os, "fsync", no_space)
    else:
        move = files.Path.rename
        monkeypatch.setattr(files.Path, "replace", no_space)
        monkeypatch.setattr(
            files.Path, "rename", lambda a, b: no_space() if ".part" in a.name else move(a, b)
        )
    with pytest.raises(RunError, match=FULL):
        list(write(old))
    assert tree(old) == before


def test_a_file_and_a_folder_are_replaced_whole(old):
    list(write_file(old))
    list(write_folder(old))
    new = {"file": "new", "folder": None, "folder/deep": None, "folder/deep/other": "new"}
    assert tree(old) == new


def test_missing_parents_are_made(tmp_path):
    write_json(tmp_path / "a" / "b" / "c.json", {})
    with atomic_folder(tmp_path / "d" / "e"):
        pass
    assert set(tree(tmp_path)) == {"a", "a/b", "a/b/c.json", "d", "d/e"}


def test_what_a_killed_run_left_aside_is_cleared_away(old):
    (old / ".folder.part").mkdir()
    (old / ".folder.part" / "rubbish").write_text("half")
    (old / ".file.part").write_text("half")
    list(write_file(old))
    list(write_folder(old))
    assert set(tree(old)) == {"file", "folder", "folder/deep", "folder/deep/other"}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match=r"file/below could not be written"),
        atomic_file(tmp_path / "file" / "below"),
    ):
        pytest.fail("the block must not be entered")


def test_append_text_adds_and_names_a_full_disk(tmp_path, monkeypatch):
    append_text(tmp_path / "log", "one\n")
    append_text(tmp_path / "log", "two\n")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    monkeypatch.setattr(files.Path, "open", no_space)
    with pytest.raises(RunError, match=FULL):
        append_text(tmp_path / "log", "three\n")


def has_a_file_inside(folder):
    return (folder / "inside").is_file()


def has_a_manifest(folder):
    return (folder / "manifest.json").is_file()


def test_foreign_folders_are_refused_and_kept(old):
    before = tree(old)
    with pytest.raises(ArtifactError, match="is not empty and was not written by this command"):
        refuse_foreign_folder(old / "folder", has_a_manifest)
    with pytest.raises(ArtifactError, match="is a file, expected a folder"):
        refuse_foreign_folder(old / "file", has_a_manifest)
    assert tree(old) == before


def test_own_empty_and_new_folders_are_accepted(old):
    (old / "empty").mkdir()
    for name in ("folder", "empty", "new"):
        refuse_foreign_folder(old / name, has_a_file_inside)


def test_an_unwritable_place_is_told_before_any_work(old, monkeypatch):
    with pytest.raises(RunError, match="file is a file, expected a folder"):
        refuse_foreign_folder(old / "file" / "deep" / "out", lambda _: True)
    monkeypatch.setattr(os, "access", lambda folder, _: folder != old)
    with pytest.raises(RunError, match="takes no new files"):
        refuse_foreign_folder(old / "new" / "out", lambda _: True)
    refuse_foreign_folder(old / "folder" / "out", lambda _: True)


@pytest.mark.parametrize("source", ["folder", "folder/inside", "."])
def test_inputs_that_would_vanish_are_refused(old, source):
    with pytest.raises(InputError, match="lie inside each other"):
        refuse_foreign_folder(old / "folder", has_a_file_inside, inputs=[old / source])


def test_the_current_folder_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with atomic_folder(Path()) as scratch:
        (scratch / "new").write_text("x")
    assert tree(tmp_path / "here") == {"new": "x"}


def test_a_replacement_broken_off_between_its_renames_is_undone_first(old):
    (old / "folder").rename(old / ".folder.old")
    with pytest.raises(ZeroDivisionError), atomic_folder(old / "folder"):
        1 / 0  # noqa: B018
    assert (old / "folder" / "inside").is_file()


def test_json_comes_back_as_it_went(tmp_path):
    value = {"number": 1.5, "word": "naïve …", "nested": [None, True]}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json", "a test's file") == value
    assert "naïve …" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"new": object()})
    assert read_json(tmp_path / "x.json", "") == {"old": 1}
    assert list(tree(tmp_path)) == ["x.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist, expected a test's file"),
        (b"", "cannot be read as a test's file"),
        (b'{"a": 1', "cannot be read as a test's file"),
        (b'{"a": "\xff"}', "cannot be read as a test's file"),
        (b"[" * 100_000, "cannot be read as a test's file"),
        (b"[1]", "holds a JSON list, expected a test's file"),
        (b"null", "holds a JSON NoneType, expected a test's file"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_json(tmp_path / "x.json", "a test's file")


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"\x00abc" * 100_000)
    assert sha256(tmp_path / "x") == hashlib.sha256(b"\x00abc" * 100_000).hexdigest()
