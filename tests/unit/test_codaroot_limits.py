"""lib/codaroot/limits.py and objects.py: each object judged, from a directory and from a tar."""

import io
import os
import stat
import subprocess
import tarfile
import tempfile

import pytest
import trees
from codaboot import cli
from codaroot import classes, limits, objects
from codaroot.manifest import Entry
from conftest import need_programs, need_root
from hypothesis import given, settings
from localvenus import semantics


def words(kind="file", mode=0o644, uid=0, gid=0, **more):
    return limits.lost(Entry("x", kind, mode, uid, gid, **more))


@pytest.mark.parametrize("entry, found", [
    ({}, []), ({"mode": 0o755}, []), ({"mode": 0o444}, []), ({"kind": "dir", "mode": 0o755}, []),
    ({"kind": "link", "mode": 0o777, "link": "y"}, []),
    ({"mode": 0o4755}, ["setuid"]), ({"mode": 0o6755}, ["setuid", "setgid"]),
    ({"kind": "dir", "mode": 0o1777}, ["sticky"]), ({"kind": "dir", "mode": 0o700}, ["mode"]),
    ({"kind": "dir", "mode": 0o711}, ["mode"]), ({"mode": 0o664}, ["mode"]), ({"mode": 0o044}, ["mode"]),
    ({"uid": 5}, ["owner"]), ({"gid": 5}, ["group"]), ({"kind": "link", "uid": 5, "link": "y"}, ["owner"]),
    ({"kind": "fifo"}, ["special"]), ({"kind": "socket"}, ["special"]),
    ({"kind": "link", "link": "y" * 1022}, []), ({"kind": "link", "link": "y" * 1023}, ["target"]),
    ({"kind": "link", "link": "é" * 512}, ["target"]), ({"kind": "link", "link": "bin.@cpu/sh"}, ["target"]),
    ({"kind": "link", "link": "a@sysb"}, []),
    ({"xattrs": (("security.capability", b"x"), ("user.a", b""), ("user.b", b""))}, ["capability", "xattr"]),
    ({"xattrs": (("system.posix_acl_access", trees.acl(6, 4, 4, 4)),)}, ["acl"]),
])
def test_what_is_lost(entry, found):
    assert words(**entry) == found


class Made:
    """A tree of Entries alone."""

    def __init__(self, *entries):
        self.entries = [Entry("", "dir", 0o755, 0, 0), *sorted(entries, key=lambda e: objects.order(e.path))]


def judged(*entries):
    return limits.judge(Made(*entries), peek=False)


def of(judgement, word):
    return {finding.path for finding in judgement.findings if finding.word == word}


def test_what_is_below_a_closed_directory_is_hidden_and_the_directory_is_not():
    found = judged(Entry("d", "dir", 0o750, 0, 0), Entry("d/e", "dir", 0o755, 0, 0),
                   Entry("d/e/f", "fifo", 0o644, 0, 0), Entry("da", "file", 0o644, 0, 0))
    assert [entry.path for entry in found.hidden] == ["d/e", "d/e/f"]
    assert [entry.path for entry in found.public] == ["", "d", "da"]
    assert of(found, "secret") == {"d/e", "d/e/f"}


def test_a_file_with_one_hidden_name_is_hidden():
    found = judged(Entry("a", "file", 0o644, 0, 0, inode=9), Entry("d", "dir", 0o700, 0, 0),
                   Entry("d/b", "file", 0o644, 0, 0, inode=9))
    assert [(entry.path, entry.inode, entry.nlink) for entry in found.hidden] == [("a", 1, 2), ("d/b", 1, 2)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o600, 0o711, 0o000])
def test_a_file_that_somebody_may_not_read_is_hidden(mode):
    assert [entry.path for entry in judged(Entry("f", "file", mode, 0, 0)).hidden] == ["f"]


def test_a_list_that_shuts_somebody_out_hides():
    entry = Entry("f", "file", 0o644, 0, 0, xattrs=(("system.posix_acl_access", trees.acl(6, 4, 4, 0)),))
    assert judged(entry).hidden and not judged(entry._replace(xattrs=())).hidden


def test_names_coda_replaces_are_kept_elsewhere_with_all_below():
    found = judged(Entry("x@sys", "dir", 0o755, 0, 0), Entry("x@sys/f", "file", 0o644, 0, 0),
                   Entry("f.@cpu", "fifo", 0o644, 0, 0), Entry("@system", "file", 0o644, 0, 0))
    assert of(found, "name") == {"x@sys", "x@sys/f", "f.@cpu"} == {entry.path for entry in found.hidden}


def test_hard_links_are_told_only_where_coda_cannot_hold_them():
    near = [Entry(f"d/{name}", "file", 0o755, 0, 0, inode=5) for name in "ab"]
    far = [Entry(path, "file", 0o755, 0, 0, inode=7) for path in ("d/c", "e")]
    links = [Entry(f"d/{name}", "link", 0o777, 0, 0, link="x", inode=8) for name in "kl"]
    alone = Entry("d/o", "file", 0o755, 0, 0, inode=6)
    found = judged(Entry("d", "dir", 0o755, 0, 0), *near, *far, *links, alone)
    assert of(found, "hardlink") == {"d/c", "e", "d/k", "d/l"}
    assert {entry.path: entry.inode for entry in found.public if entry.inode} == {
        "d/c": 2, "e": 2, "d/k": 3, "d/l": 3}
    # Restored one by one, the names of a set-user-ID program would come apart.
    suid = judged(Entry("a", "file", 0o4755, 0, 0, inode=5), Entry("b", "file", 0o4755, 0, 0, inode=5))
    assert [entry.inode for entry in suid.public] == [0, 1, 1] and not of(suid, "hardlink")


def test_what_needs_a_decision():
    found = judged(Entry("n" * 255, "file", 0o644, 0, 0), Entry("n" * 254, "file", 0o644, 0, 0),
                   Entry("big", "file", 0o644, 0, 0, 2**31),
                   Entry("d", "dir", 0o755, 0, 0), Entry("d/" + limits.NEW, "dir", 0o755, 0, 0))
    assert of(found, "long") == {"n" * 255} and of(found, "large") == {"big"} and of(found, "reserved")
    tree = Made()
    tree.entries[0] = Entry("", "dir", 0o700, 0, 0)
    assert of(limits.judge(tree, peek=False), "closed") == {""}


def test_a_directory_is_full_at_the_limit_of_coda():
    """The formula of the local venus; our stamp and the name we write under take their share."""
    room = semantics.DIRECTORY_BLOBS - 1
    names = [f"{number:08}" for number in range(room)]
    assert not limits.full({"d": set(names)})
    assert [f.path for f in limits.full({"d": {*names, "one"}})] == ["d"]
    top = [Entry(name, "dir", 0o755, 0, 0) for name in names]
    assert not of(judged(*top[1:]), "directory") and of(judged(*top), "directory") == {""}


def test_every_word_has_its_class():
    assert {"setuid", "closed", "key"} <= set(classes.CLASSES)
    text = "\n".join(classes.report([limits.Finding("large", f"p{n}\udcff", "") for n in range(9)], 2))
    assert text.startswith("large: 9 files of 2 GiB and more, needs a decision\n    p0\\udcff\n")
    assert "and 7 more" in text and text.isascii()


# --- trees on disk --------------------------------------------------------

@settings(max_examples=25)
@given(trees.TREES)
def test_the_judgement_is_that_of_plain_code(made):
    """find(1)'s view, written down again: bits, owners, types, links, closed directories."""
    need_root()
    with tempfile.TemporaryDirectory() as work:
        top = trees.build(f"{work}/top", made)
        findings = limits.judge(objects.Tree(str(top))).findings
        found = {word: {f.path for f in findings if f.word == word} for word in classes.CLASSES}
        all_ = {path: row for path, row in trees.everything(top).items() if path != "."}

        def having(test):
            return {path for path, row in all_.items() if test(row)}

        plain = having(lambda row: not stat.S_ISLNK(row[0]))
        for word, bit in (("setuid", 0o4000), ("setgid", 0o2000), ("sticky", 0o1000)):
            assert found[word] == plain & having(lambda row, bit=bit: row[0] & bit)
        assert found["owner"] == having(lambda row: row[1])
        assert found["group"] == having(lambda row: row[2])
        assert found["capability"] == having(lambda row: "security.capability" in row[7])
        assert found["xattr"] == having(lambda row: "user.note" in row[7])
        assert found["special"] == having(lambda row: stat.S_IFMT(row[0]) not in (
            stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK))
        assert found["hardlink"] == {path for paths in trees.names_of_one(top) for path in paths
                                     if len({os.path.dirname(p) for p in paths}) > 1 or all_[path][6]}

        def closed(row):
            need = 5 if stat.S_ISDIR(row[0]) else 4
            lists = row[7].get("system.posix_acl_access")
            return row[0] & need * 9 != need * 9 or lists and lists[4 + 8 + 2] & need != need

        secrets = having(lambda row: stat.S_ISREG(row[0]) and closed(row))
        for path in all_:
            above = ["/".join(path.split("/")[:n]) for n in range(1, path.count("/") + 1)]
            if any(closed(all_[each]) or each.endswith("@sys") for each in above) or path.endswith("@sys"):
                secrets.add(path)
        for paths in trees.names_of_one(top):
            if paths & secrets:
                secrets |= paths
        assert found["secret"] | found["name"] == secrets


@settings(max_examples=15)
@given(trees.TREES)
def test_a_tar_is_judged_like_the_directory(made):
    need_root()
    with tempfile.TemporaryDirectory() as work:
        # tar(1) takes no sockets, writes lists as text, and devices anew for each of their names.
        top = trees.build(f"{work}/top", [
            row for row in made if row[1] not in ("socket", "char", "fifo") and row[5] != "acl"])
        subprocess.run(["tar", "-C", top, "--xattrs", "--xattrs-include=*", "--format=pax",
                        "-cf", f"{work}/t", "."], check=True)
        (one, two) = (limits.judge(objects.open_source(f"{work}/{name}")) for name in ("top", "t"))
        assert one == two


def test_what_is_the_kernels_or_mounted_is_left_out(tmp_path):
    for path in ("dev/null", "proc/1", "run/lock", "lost+found/x", "usr/lost+found", ".coda-root", "sys/x"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    found = [entry.path for entry in objects.Tree(str(tmp_path)).entries]
    assert found == ["", "dev", "proc", "run", "sys", "usr", "usr/lost+found"]


def tar(*members, kind="", **more):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{kind}", format=tarfile.PAX_FORMAT) as made:
        for name, type_, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.pax_headers = type_, link, more
            made.addfile(member)
    file.seek(0)
    return file


@pytest.mark.parametrize("members, said", [
    ([("../x", b"0", "")], "leads out"), ([("a/../../x", b"0", "")], "leads out"),
    ([("l", b"2", "/etc"), ("l/passwd", b"0", "")], "is no directory"),
    ([("h", b"1", "gone")], "is not there"),
])
def test_a_hostile_tar_is_refused(members, said):
    with pytest.raises(cli.UsageError, match=said):
        objects.Tar(tar(*members), "t")


def test_a_tar_may_leave_out_directories_and_say_slashes():
    found = objects.Tar(tar(("/a//./b", b"0", ""), mtime="5.25"), "t").entries
    assert [(entry.path, entry.type, entry.time) for entry in found] == [
        ("", "dir", 0), ("a", "dir", 0), ("a/b", "file", 5_250_000_000)]


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_packed_tar_is_unpacked(tmp_path, kind):
    (tmp_path / "t").write_bytes(tar(("f", b"0", ""), kind=kind).read())
    assert [entry.path for entry in objects.open_source(str(tmp_path / "t")).entries] == ["", "f"]


def test_what_is_no_tar_is_refused(tmp_path):
    (tmp_path / "t").write_text("no tar at all" * 100)
    for name in ("t", "gone"):
        with pytest.raises(cli.UsageError, match="cannot read"):
            objects.open_source(str(tmp_path / name))
    (tmp_path / "t").write_bytes(tar(("f", b"0", ""), kind="gz").read()[:30])
    with pytest.raises(cli.UsageError, match="cannot read"):
        objects.open_source(str(tmp_path / "t"))


def test_keys_and_databases_are_found_by_what_is_in_them(tmp_path):
    key = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n" + "A" * 64
    for name, text in (("cert.pem", f"text\n{key}"), ("code.py", f"KEY = '{key[:31]}' in a line" + "x" * 64),
                       ("krb5.keytab", "\x05\x02" + "x" * 64), ("places", "SQLite format 3\0" + "x" * 64)):
        (tmp_path / name).write_text(text)
    (tmp_path / "hidden.pem").write_text(key)
    (tmp_path / "hidden.pem").chmod(0o600)
    found = limits.judge(objects.Tree(str(tmp_path)))
    assert of(found, "key") == {"cert.pem", "krb5.keytab"} and of(found, "written") == {"places"}


def test_services_are_known_by_their_units():
    found = judged(Entry("etc", "dir", 0o755, 0, 0), Entry("etc/init.d", "dir", 0o755, 0, 0),
                   Entry("etc/init.d/postfix", "file", 0o755, 0, 0))
    assert [f.path for f in found.findings if f.word == "service"] == ["etc/init.d/postfix"]


def test_getfattr_tells_the_same(tmp_path):
    """Capabilities and lists, as the kernel has them and as we read them."""
    need_root()
    need_programs("getcap")
    top = trees.build(tmp_path / "top", [("p", "file", 0o755, 0, 0, "security.capability", 3)])
    assert subprocess.run(["getcap", top / "p"], capture_output=True, text=True).stdout.endswith(
        " cap_net_raw=ep\n")
