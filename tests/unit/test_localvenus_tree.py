"""lib/localvenus/tree.py: identifiers that last, descriptors that do not."""

import errno
import os
import struct
import subprocess
import sys

import pytest
from conftest import TOP, need_root
from localvenus import protocol, tree
from localvenus.protocol import Change


@pytest.fixture
def make(tmp_path):
    """A function that gives a fresh Tree on tmp_path/top, as after a restart."""
    (tmp_path / "top").mkdir()
    made = []

    def make(**settings):
        directory, proc = os.open(tmp_path / "top", os.O_PATH), os.open("/proc", os.O_PATH)
        made.append(tree.Tree(directory, **settings))
        made[-1].use_descriptors_of(proc)
        os.close(directory)
        os.close(proc)
        return made[-1]
    yield make
    for each in made:
        for node in list(each.nodes.values()):
            each.forget(node)
        os.close(each.directory)
        os.close(each._descriptors)


@pytest.fixture
def top(tmp_path):
    return tmp_path / "top"


def fid(where, *names):
    node = where.root
    for name in names:
        node, _ = where.child(node, name)
    return node.fid


def test_a_fid_survives_rename_link_and_restart(make, top):
    need_root()
    (top / "a").write_text("x")
    (top / "d").mkdir()
    first = make()
    assert first.stable
    before = fid(first, b"a")
    os.link(top / "a", top / "d/b")
    os.rename(top / "a", top / "c")
    assert fid(first, b"c") == fid(first, b"d", b"b") == before
    second = make()
    assert os.fstat(second.node(before).fd).st_ino == (top / "c").stat().st_ino
    assert fid(second, b"c") == before
    assert protocol.inode_number(before) == (top / "c").stat().st_ino & 0xFFFFFFFF
    assert second.root.fid == first.root.fid


def test_the_fid_of_a_removed_file_is_stale_even_if_its_number_is_used_again(make, top):
    need_root()
    (top / "a").write_text("x")
    where = make()
    old = fid(where, b"a")
    (top / "a").unlink()
    where.forget(where.node(old))
    (top / "b").write_text("y")
    with pytest.raises(OSError) as caught:
        where.node(old)
    assert caught.value.errno == errno.ESTALE


def test_few_descriptors_serve_many_files(make, top):
    need_root()
    for n in range(100):
        (top / f"f{n}").write_text(str(n))
    where = make(limit=20)
    fids = [fid(where, b"f%d" % n) for n in range(100)]
    assert len(where.nodes) <= 20 and where.root.fid in where.nodes
    for n, each in enumerate(fids):
        fd = where.open(where.node(each), os.O_RDONLY)
        assert os.read(fd, 9) == str(n).encode()
        os.close(fd)
    assert len(where.nodes) <= 20
    assert set(where._by_inode.values()) == set(where.nodes.values())


def test_without_handles_everything_stays_open(make, top, monkeypatch):
    def none(self, root):
        raise OSError(errno.EOPNOTSUPP, "")
    monkeypatch.setattr(tree.Handles, "__init__", none)
    for n in range(30):
        (top / f"f{n}").write_text(str(n))
    where = make(limit=10)
    fids = [fid(where, b"f%d" % n) for n in range(30)]
    assert not where.stable and len(where.nodes) == 31 and len(set(fids)) == 30
    os.rename(top / "f0", top / "g0")
    assert fid(where, b"g0") == fids[0]
    with pytest.raises(OSError, match="tale"):
        where.node(bytes(16))


@pytest.mark.parametrize(("kind", "words", "inode", "generation"), [
    (1, (77, 5), 77, 5),
    (1, (5, 77, 1), 1 << 32 | 77, 5),
    (0x81, (77, 1, 5), 1 << 32 | 77, 5),
    (0x4D, (77, 1, 9, 0, 5), 1 << 32 | 77, 5)])
def test_handles_of_each_file_system(kind, words, inode, generation, monkeypatch):
    body = struct.pack(f"={len(words)}I", *words)
    asked = []

    class Libc:
        def open_by_handle_at(self, root, handle, flags):
            asked.append(handle)
            return os.open("/", os.O_PATH)
    monkeypatch.setattr(tree, "_libc", Libc())
    monkeypatch.setattr(tree.Handles, "_read", lambda self, fd: (kind, body))
    monkeypatch.setattr(tree.os, "fstat", lambda fd: os.stat_result((0, inode, *[0] * 8)))
    handles = tree.Handles(-1)
    assert protocol.split_fid(handles.fid_of(-1)) == (tree.HANDLE_TAG, inode, generation)
    assert asked == [struct.pack("=Ii", len(body), kind) + body]
    assert handles.fid(kind + 1, body) is None


def test_a_symbolic_link_is_an_object_and_not_a_way(make, top, tmp_path):
    (tmp_path / "outside").write_text("secret")
    os.symlink(tmp_path / "outside", top / "l")
    where = make()
    node, st = where.child(where.root, b"l")
    assert st.st_size == len(str(tmp_path / "outside"))
    where.change(node, st, Change(mtime=5 * 10 ** 9))
    assert (top / "l").lstat().st_mtime == 5 and (tmp_path / "outside").stat().st_mtime != 5
    with pytest.raises(OSError):
        where.change(node, st, Change(size=0))
    assert (tmp_path / "outside").read_text() == "secret"


def test_changes(make, top):
    need_root()
    (top / "f").write_text("long text")
    where = make()
    node, st = where.child(where.root, b"f")
    where.change(node, st, Change(mode=0o4711, uid=7, size=4, atime=3 * 10 ** 9))
    now = (top / "f").stat()
    assert (now.st_mode & 0o7777, now.st_uid, now.st_gid, now.st_size) == (0o4711, 7, st.st_gid, 4)
    assert (now.st_atime, now.st_mtime_ns) == (3, st.st_mtime_ns)


def test_names_and_links_within_a_directory(make, top):
    (top / "d").mkdir()
    (top / "f").write_text("")
    os.link(top / "f", top / "d/f")
    where = make()
    directory, _ = where.child(where.root, b"d")
    node, _ = where.child(where.root, b"f")
    assert sorted(where.names(where.root)) == [b"d", b"f"]
    assert where.holds(where.root, node) and where.holds(directory, node)
    (top / "d/f").unlink()
    assert not where.holds(directory, node)


def test_mounts_below_do_not_appear_in_a_private_bind(top):
    need_root()
    (top / "d").mkdir(parents=True)
    (top / "d/below").write_text("")
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", """if 1:
            import os, subprocess, sys
            sys.path.insert(0, sys.argv[2])
            from localvenus import tree
            os.chdir(sys.argv[1])
            subprocess.run(["mount", "--make-rshared", "/"], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "t", "d"], check=True)
            fd = tree.private_bind(".")
            os.mkdir("e")
            subprocess.run(["mount", "-t", "tmpfs", "t", "e"], check=True)
            open("e/above", "w").close()
            opener = lambda path, flags: os.open(path, flags, dir_fd=fd)
            print([os.listdir(opener(name, os.O_RDONLY)) for name in ("d", "e")])
            open(os.open("f", os.O_CREAT | os.O_RDWR, dir_fd=fd), "w").write("written")
            print(open("f").read())
         """, str(top), str(TOP / "lib")], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[['below'], []]\nwritten\n", "")
