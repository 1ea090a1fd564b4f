"""lib/codaroot/restore.py: what is to be restored, decided on data; and put back by root."""

import base64
import hashlib
import os
import socket
import stat

import pytest
from codaboot import cli
from codaroot import restore
from codaroot.below import Below
from codaroot.manifest import Entry
from conftest import need_root

CAPABILITY = base64.b64decode("AQAAAgAgAAAAAAAAAAAAAAAAAAA=")  # cap_net_raw+ep
TIME = 1764000000 * 10**9


def folder(path, mode=0o755, uid=0, gid=0, **more):
    return Entry(path, "dir", mode, uid, gid, time=TIME, **more)


def program(path, content=b"su", mode=0o4755, uid=0, gid=0, **more):
    digest = hashlib.sha256(content).hexdigest()
    return Entry(path, "file", mode, uid, gid, len(content), TIME, digest, **more)


FIFO = Entry("var/job", "fifo", 0o622, 0, 4, time=TIME)


# --- deciding -----------------------------------------------------------

@pytest.mark.parametrize("entry, word", [
    (Entry("sda", "block", 0o660, 0, 0, device=(8, 0)), "'sda': a device"),
    (Entry("mem", "char", 0o666, 0, 0, device=(1, 1)), "'mem': a device"),
    (Entry("x", "char", 0o666, 0, 0), "'x': a device"),
    (Entry("null", "block", 0o666, 0, 0, device=(1, 3)), "'null': a device"),
    (program("a", xattrs=(("trusted.overlay.redirect", b"/etc"),)), "'trusted.overlay.redirect'"),
    (program("a", xattrs=(("security.selinux", b""),)), "'security.selinux'"),
    (program("a")._replace(sha256=""), "without a digest"),
])
def test_what_no_server_may_ask_for_is_named(entry, word):
    with pytest.raises(cli.Failure, match=word) as caught:
        restore.check([folder(""), entry])
    assert caught.value.code == 6


def test_devices_are_made_when_the_administrator_says_so_but_never_a_whiteout():
    restore.check([Entry("null", "char", 0o666, 0, 0, device=(1, 3))])
    restore.check([Entry("sda", "block", 0o660, 0, 0, device=(8, 0))], devices=True)
    with pytest.raises(cli.Failure):
        restore.check([Entry("etc", "char", 0, 0, 0, device=(0, 0))], devices=True)


def test_names_of_one_file_must_agree():
    restore.check([program("a", inode=7, nlink=2), program("b", inode=7, nlink=2)])
    with pytest.raises(cli.Failure, match="'b'.*'a'"):
        restore.check([program("a", inode=7, nlink=2), program("b", inode=7, nlink=2, uid=5)])


def look(**found):
    """An lstat for wanted(): {name: mode}, with "_" for "/"."""
    def stat_(path):
        mode = found.get(path.replace("/", "_"), None if path else stat.S_IFDIR | 0o755)
        return mode and os.stat_result((mode, 0, 0, 1, 3, 65534, 0, 0, 0, 0))
    return stat_


def test_directories_that_no_manifest_has_are_as_root_shows_them():
    found = restore.wanted([program("usr/su")], [program("root/key", mode=0o600)], {},
                           look(usr=stat.S_IFDIR | 0o751))
    assert list(found) == ["", "root", "root/key", "usr", "usr/su"]
    assert found["usr"][0][:5] == ("usr", "dir", 0o751, 3, 65534)
    assert found["root"][0][:5] == ("root", "dir", 0o755, 0, 0)
    assert found["root/key"][1] and not found["usr/su"][1]


def test_a_layer_wins_over_what_is_restored():
    layers = look(etc=stat.S_IFDIR | 0o700, etc_a=stat.S_IFREG, etc_d=stat.S_IFLNK, etc_f=stat.S_IFDIR)
    shown = {path: layers(path) for path in ("etc", "etc/a", "etc/d", "etc/f")}
    special = [folder("etc", 0o755), program("etc/a"), folder("etc/d"), program("etc/d/b"), program("etc/f"),
               program("etc/g")]
    found = restore.wanted(special, [], shown, look(etc_f=stat.S_IFDIR | 0o750))
    assert list(found) == ["", "etc", "etc/f", "etc/g"]
    # A directory that the layer has only for what is in it keeps the shared root's owner and mode.
    assert (found["etc"][0].mode, found["etc/f"][0].mode, found["etc/f"][0].uid) == (0o755, 0o750, 3)


def test_nothing_is_below_a_file():
    with pytest.raises(cli.Failure, match="no directory"):
        restore.wanted([program("a"), program("a/b")], [], {}, look())


# --- restoring, as root ---------------------------------------------------

class Place:
    """A root, secrets and an upper layer, as plain directories."""

    def __init__(self, top):
        need_root()
        self.top = top
        for name in ("root", "secrets", "upper", "new"):
            (top / name).mkdir()
        self.root, self.secrets, self.upper = top / "root", top / "secrets", top / "upper"

    def put(self, path, content=b"su", where="root"):
        file = self.top / where / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def restore(self, entries, before=(), secret=(), **settings):
        """Restore; what was asked for, to give as `before` the next time."""
        root = Below(self.root, listing=False)
        wish = restore.wanted(entries, secret, {}, root.stat)
        self.run = restore.Restorer(root, Below(self.secrets, False), Below(self.upper),
                                    os.open(self.top / "new", os.O_RDONLY), **settings)
        self.run.restore(wish, {entry.path: entry for entry in before})
        assert not os.listdir(self.top / "new") or self.run.changed
        return [entry for entry, _ in wish.values()]

    def look(self, path):
        found = os.lstat(self.upper / path)
        return stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_every_kind_is_put_back(place):
    place.put("usr/bin/ping", b"ping")
    place.put("etc/shadow", b"root:*", "secrets")
    place.restore(
        [folder("usr", 0o2755, 0, 50), folder("usr/bin", 0o1777),
         program("usr/bin/ping", b"ping", 0o2711, 3, 4, xattrs=(("security.capability", CAPABILITY),)),
         folder("var"), FIFO, Entry("var/s", "socket", 0o666, 1, 2, time=TIME),
         Entry("var/null", "char", 0o666, 0, 0, device=(1, 3), time=TIME),
         Entry("var/l", "link", 0o777, 5, 6, link="x" * 1500, time=TIME)],
        secret=[folder("etc"), program("etc/shadow", b"root:*", 0o640, 0, 42)])
    assert place.look("usr") == (stat.S_IFDIR, 0o2755, 0, 50)
    assert place.look("usr/bin") == (stat.S_IFDIR, 0o1777, 0, 0)
    assert place.look("usr/bin/ping") == (stat.S_IFREG, 0o2711, 3, 4)
    assert os.getxattr(place.upper / "usr/bin/ping", "security.capability") == CAPABILITY
    assert place.look("var/job") == (stat.S_IFIFO, 0o622, 0, 4)
    assert place.look("var/s") == (stat.S_IFSOCK, 0o666, 1, 2)
    assert os.lstat(place.upper / "var/null").st_rdev == os.makedev(1, 3)
    assert place.look("var/l")[2:] == (5, 6) and os.readlink(place.upper / "var/l") == "x" * 1500
    assert place.look("etc/shadow") == (stat.S_IFREG, 0o640, 0, 42)
    for path in ("usr", "usr/bin", "usr/bin/ping", "var", "var/job", "var/l"):
        assert os.lstat(place.upper / path).st_mtime_ns == TIME, path
    assert (place.run.objects, place.run.size) == (10, 10)


def test_names_of_one_file_are_one_file_again(place):
    for path in ("a/x", "b/y", "c/z"):
        place.put(path)
    place.restore([program(path, inode=9, nlink=3) for path in ("a/x", "b/y", "c/z")])
    assert len({os.stat(place.upper / path).st_ino for path in ("a/x", "b/y", "c/z")}) == 1
    assert os.stat(place.upper / "a/x").st_nlink == 3 and place.look("b/y")[1] == 0o4755


@pytest.mark.parametrize("content", [b"", b"s", b"SU", b"su and more", None])
def test_other_content_gets_no_special_bits_and_no_name(place, content):
    if content is not None:
        place.put("bin/su", content)
    with pytest.raises(cli.Failure, match=r"bin/su'.*") as caught:
        place.restore([folder("bin"), program("bin/su")])
    assert caught.value.code == 5 and not os.listdir(place.upper / "bin")
    place.restore([folder("bin"), program("bin/su"), folder("var"), FIFO], skip_changed=True)
    assert place.run.changed == ["bin/su"] and not os.listdir(place.upper / "bin")
    assert place.look("var/job")[0] == stat.S_IFIFO


def outside(place):
    """A directory that nothing may be written to or read from, and its content as a check."""
    (place.top / "outside").mkdir()
    (place.top / "outside/su").write_bytes(b"su")
    return place.top / "outside"


@pytest.mark.parametrize("kind", ["directory", "file", "fifo", "socket"])
def test_a_link_planted_in_the_root_is_not_followed(place, kind):
    target = outside(place)
    if kind == "directory":
        (place.root / "bin").symlink_to(target)
    else:
        (place.root / "bin").mkdir()
        if kind == "file":
            (place.root / "bin/su").symlink_to(target / "su")
        elif kind == "fifo":
            os.mkfifo(place.root / "bin/su")
        else:
            socket.socket(socket.AF_UNIX).bind(str(place.root / "bin/su"))
    with pytest.raises(cli.Failure):
        place.restore([folder("bin"), program("bin/su")])
    assert not os.listdir(place.upper / "bin")


@pytest.mark.parametrize("before", [(), (folder(""), folder("bin"), program("bin/su", b"old"))])
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_a_link_planted_in_the_upper_layer_is_not_followed(place, kind, before):
    place.put("bin/su")
    target = outside(place)
    if kind == "directory":
        (place.upper / "bin").symlink_to(target)
    else:
        (place.upper / "bin").mkdir()
        (place.upper / "bin/su").symlink_to(target / "su")
    status = os.stat(target / "su")
    place.restore([folder("bin"), program("bin/su", mode=0o4711)], before)
    assert os.stat(target / "su")[:7] == status[:7] and os.listdir(target) == ["su"]
    assert place.run.kept[-1] == "bin/su"


def test_what_the_client_has_not_touched_follows_the_manifest(place):
    for path in ("bin/su", "bin/gone", "bin/to-fifo", "x/y/z"):
        place.put(path)
    first = place.restore([folder("bin", 0o711), *map(program, ("bin/su", "bin/gone", "bin/to-fifo")),
                           folder("x", 0o700), folder("x/y", 0o700), program("x/y/z"), folder("var"), FIFO])
    place.put("bin/su", b"newer")
    second = place.restore(
        [folder("bin", 0o755), program("bin/su", b"newer", 0o4711), FIFO._replace(path="bin/to-fifo"),
         folder("var"), folder("var/job")], first)
    assert place.look("bin/su")[1] == 0o4711 and (place.upper / "bin/su").read_bytes() == b"newer"
    assert place.look("bin")[1] == 0o755
    assert place.look("bin/to-fifo")[0] == stat.S_IFIFO and place.look("var/job")[0] == stat.S_IFDIR
    assert sorted(os.listdir(place.upper / "bin")) == ["su", "to-fifo"]
    assert sorted(os.listdir(place.upper)) == ["bin", "var"]
    assert not place.run.kept
    place.restore([entry for entry in second if entry.path], second)
    assert (place.run.objects, place.run.kept) == (0, [])


def test_what_the_client_has_changed_stays(place):
    names = ["bin/content", "bin/mode", "bin/owner", "bin/type", "bin/deleted", "bin/whiteout", "bin/gone"]
    for name in [*names, "own"]:
        place.put(name)
    (place.upper / "own").write_text("the client's own")
    first = place.restore([folder("bin"), *map(program, names)])
    (place.upper / "bin/content").write_bytes(b"my")
    os.chmod(place.upper / "bin/mode", 0o755)
    os.chown(place.upper / "bin/owner", 7, 7)
    for name in ("type", "deleted", "whiteout"):
        (place.upper / "bin" / name).unlink()
    (place.upper / "bin/type").mkdir()
    os.mknod(place.upper / "bin/whiteout", stat.S_IFCHR, 0)
    (place.upper / "bin/gone").write_bytes(b"my")
    kept = {name: os.lstat(place.upper / name)[:7] for name in names if name != "bin/deleted"}
    for name in [*names, "own"]:
        place.put(name, b"newer")
    wish = [folder("bin"), *(program(name, b"newer") for name in names if name != "bin/gone"),
            program("own", b"newer")]
    place.restore(wish, first)
    assert {name: os.lstat(place.upper / name)[:7] for name in kept} == kept
    assert not (place.upper / "bin/deleted").exists()
    assert (place.upper / "own").read_text() == "the client's own"
    assert sorted(place.run.kept) == sorted([*names[:-1], "own"])


def test_a_directory_the_client_has_made_anew_stays_empty(place):
    for name in ("opaque/su", "copied/su"):
        place.put(name)
    os.chmod(place.root / "copied", 0o750)
    for name, mode in (("opaque", 0o755), ("copied", 0o750)):
        (place.upper / name).mkdir()
        os.chmod(place.upper / name, mode)
    os.setxattr(place.upper / "opaque", "trusted.overlay.opaque", b"y")
    place.restore([folder("opaque"), program("opaque/su"), folder("copied", 0o711), program("copied/su")])
    assert place.run.kept == ["opaque/su"]
    # Only copied up by overlayfs, for something in it: the manifest still decides.
    assert place.look("copied")[1] == 0o711 and place.look("copied/su")[1] == 0o4755


def test_an_interrupted_run_is_finished(place):
    place.put("bin/su")
    entries = [folder("bin", 0o711), program("bin/su"), folder("var"), FIFO]
    place.restore(entries[:2])
    (place.top / "new/object").write_text("half")
    place.restore(entries)  # as the first was never noted
    assert place.run.kept == [] and place.run.objects == 2
    (place.top / "new/object").mkdir()
    place.restore([*entries, folder("more")], entries)
    assert place.run.kept == [] and place.run.objects == 1


def test_a_directory_that_is_special_no_more_is_as_the_root_shows_it(place):
    (place.root / "var").mkdir(0o755)
    first = place.restore([folder("var", 0o1777, 5, 6)])
    (place.upper / "var/mine").touch()
    place.restore([], first)
    assert place.look("var")[1:] == (0o755, 0, 0) and (place.upper / "var/mine").exists()
