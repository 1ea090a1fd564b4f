"""lib/codaroot/manifest.py: the manifest and its stamp, written and read."""

import os
import subprocess

import pytest
from codaboot import cli
from codaroot import manifest
from codaroot.manifest import Entry
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda raw: not {0, 47} & set(raw) and raw not in (b".", b"..")).map(os.fsdecode)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
NUMBERS = st.integers(0, 2**32 - 2)
ENTRIES = st.builds(
    Entry, PATHS, st.sampled_from(["fifo", "socket", "dir"]), st.integers(0, 0o7777), NUMBERS, NUMBERS,
    time=st.integers(0, 2**62), inode=NUMBERS, nlink=NUMBERS,
    xattrs=st.lists(st.tuples(NAMES, st.binary()), max_size=2).map(tuple),
    tags=st.lists(st.sampled_from(["setuid", "group"]), max_size=2).map(tuple))


def normal(entry):
    return entry if entry.inode else entry._replace(nlink=1)


@given(st.lists(ENTRIES), st.lists(ENTRIES))
def test_what_is_written_is_read(special, held):
    text = manifest.to_text("a" * 32, special, held)
    special, held = list(map(normal, special)), list(map(normal, held))
    assert manifest.from_text(text, "m", every=True) == ("a" * 32, special, held)
    assert manifest.from_text(text, "m") == ("a" * 32, special)


@pytest.mark.parametrize("entry", [
    Entry("", "dir", 0o755, 0, 0),
    Entry("usr/bin/su", "file", 0o4755, 0, 0, 7, 10**18 + 5, "0f" * 32, tags=("setuid",)),
    Entry("a b#=\\", "link", 0o777, 0, 0, link="to\nnowhere é\udcff"),
    Entry("null", "char", 0o666, 0, 0, device=(1, 3)),
])
def test_each_type_is_written_and_read(entry):
    assert manifest.from_line(manifest.to_line(entry)) == entry


@pytest.mark.parametrize("line", [
    "/etc/passwd type=file mode=0644 uid=0 gid=0",
    "./../etc type=dir mode=0755 uid=0 gid=0",
    "./a/../b type=dir mode=0755 uid=0 gid=0",
    "./a//b type=dir mode=0755 uid=0 gid=0",
    "./a\\057..\\057b type=dir mode=0755 uid=0 gid=0",
    "./a\\000 type=dir mode=0755 uid=0 gid=0",
    "./a type=door mode=0755 uid=0 gid=0",
    "./a type=dir mode=17777 uid=0 gid=0",
    "./a type=dir mode=0755 uid=-1 gid=0",
    "./a type=dir mode=0755 uid=4294967295 gid=0",
    "./a type=dir mode=0755 uid=0",
    "./a type=file mode=0755 uid=0 gid=0 sha256=abc",
    "./a type=file mode=0755 uid=0 gid=0 what=else",
    "./a type=file mode=0755 uid=0 gid=0 xattr.user.a=%",
    "./a type=char mode=0755 uid=0 gid=0 device=native,1",
    "./a\\9 type=dir mode=0755 uid=0 gid=0",
    "",
])
def test_a_line_that_is_wrong_is_refused_by_its_number(line):
    text = manifest.to_text("a" * 32, [Entry("", "dir", 0o755, 0, 0)], []).replace("#held", f"{line}\n#held")
    with pytest.raises(cli.UsageError, match="cannot use the manifest 'm': line 5: "):
        manifest.from_text(text, "m")


@pytest.mark.parametrize("text", [
    "", "#mtree\n", "#mtree\n#coda-root 2\n#tree a\n#held\n", "#mtree\n#coda-root 1\n#tree a\n"])
def test_what_is_no_manifest_is_refused(text):
    with pytest.raises(cli.UsageError, match="cannot use the manifest 'm'"):
        manifest.from_text(text, "m")


def test_the_stamp_is_written_and_read():
    stamp = manifest.Stamp("a" * 32, "b" * 64, "none")
    assert manifest.stamp_from_text(manifest.stamp_to_text(stamp), "s") == stamp
    for text in ("", "coda-root 1\n", manifest.stamp_to_text(stamp) + "more\n"):
        with pytest.raises(cli.UsageError, match="cannot use the stamp 's'"):
            manifest.stamp_from_text(text, "s")


def test_another_reader_of_mtree_reads_it(tmp_path):
    """libarchive's, which bsdtar is made of."""
    from conftest import need_programs
    need_programs("bsdtar")
    (tmp_path / "m").write_text(manifest.to_text("a" * 32, [
        Entry("", "dir", 0o755, 0, 0),
        Entry("a b", "fifo", 0o4622, 0, 5, tags=("special",))], [
        Entry("l", "link", 0o777, 0, 0, link="x y")]))
    listed = subprocess.run(["bsdtar", "-tvf", tmp_path / "m"], capture_output=True, text=True, check=True)
    assert "prwS-w--w-  0 0      5" in listed.stdout
    assert "a b" in listed.stdout and "l -> x y" in listed.stdout
