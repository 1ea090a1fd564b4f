"""coda-hoard-root: what the outputs of cfs, hoard and venus mean, and what a profile needs.

What they say here is what those of Coda 8.1.7 said on a client of a real realm.
"""

import os
import struct
from pathlib import Path

import pytest
from codaboot import cli
from hoardroot import load as loading
from hoardroot import profile, record
from hoardroot.check import Check
from realvenus import cache

LISTING = """\
/coda/coda.test: 7f000000
  sl /linuxroot  2.7f000000.2.2
  d/   2.7f000000.1.1

???: 7f000001
* f  /tk/f4  2.7f000001.48.85
  f  /tk/a name  2.7f000001.46.84
  f  /tk/f1  2.7f000001.42.82
  s  /tk/lf  2.7f000001.ffffffff.80001
  d  /tk  2.7f000001.83.62
  d/   2.7f000001.1.1

"""
FIDSTAT = """\
0x55f39650 : fid = (2.7f000001.42.82), comp = f1, vol = 559aa910
\tstate = Normal, stat = { 8, 1, 1795520866, 500, 0644, 1, File }, rc rights = 15
\tfake = 0, fetching = 0 local = 0 expanded = 0
\trep = 1, data = 1, owrite = 0, dirty = 0
\tcachefile = [ 00/00/00/5B, 8/8 ]
"""


def test_a_listing_is_read_by_volume():
    volumes = cache.parse_listing(LISTING)
    assert set(volumes) == {"7f000000", "7f000001"}
    objects = volumes["7f000001"]
    assert set(objects) == {"", "/tk", "/tk/f1", "/tk/f4", "/tk/lf", "/tk/a name"}
    assert [objects["/tk/f4"].whole, objects["/tk/f1"].whole] == [False, True]
    assert [objects[path].kind for path in ("", "/tk/lf", "/tk/f1")] == ["d", "s", "f"]
    assert objects["/tk/f1"].fid == "2.7f000001.42.82"


def test_inode_numbers_are_the_kernels():
    assert cache.inode("2.7f000001.1.1") == 0x100403
    assert cache.inode("2.7f000001.83.62") == 0x120C60
    assert cache.inode("2.7f000001.42.82") == 0x110880


def test_a_fid_is_read_with_its_realm():
    said = "FID = 7f000001.2.22@coda.test  VV = [ 3 0 0 0 0 0 0 0 ] [ 7f395709.2 ] [ 0 ]\n"
    assert cache.parse_fid(said) == ("7f000001.2.22", "coda.test")
    assert cache.parse_fid("VIOC_GETFID: Bad file descriptor\n") is None


@pytest.mark.parametrize("change, whole", [
    (("", ""), True),
    (("data = 1", "data = 0"), False),
    (("5B, 8/8", "5B, 4/8"), False),
    (("dirty = 0", "dirty = 1"), True),
])
def test_what_venus_says_of_one_object(change, whole):
    assert cache.is_whole(FIDSTAT.replace(*change).splitlines()) == whole


def test_an_object_venus_refuses_is_not_whole():
    assert not cache.is_whole(["fsdb::Get(2.7f000001.42.82) failed (110)"])


# --- the check --------------------------------------------------------------------------------------

class Client:
    """A tree and which of it is in the cache: {path: whole}."""

    def __init__(self, root, paths, cached):
        self.root, self.asked = root, []
        for path in paths:
            place = Path(root + path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(exist_ok=True) if path.endswith("/") else place.touch()
        self.objects = {}
        for path, whole in cached.items():
            kind = "d" if os.path.isdir(root + path) else "f"
            self.objects[path] = cache.Cached(kind, "0.0.0.0", whole)

    def by_inode(self):
        return {os.stat(self.root + path).st_ino: path for path in self.objects}

    def check(self, found):
        return Check(self, found, self.root, self.asked.extend)


@pytest.fixture
def client(tmp_path):
    def make(paths, cached):
        return Client(str(tmp_path), paths, cached)
    return make


TREE = ["/bin/sh", "/bin/ls", "/etc/fstab"]


def test_all_is_there(client):
    machine = client(TREE, dict.fromkeys(["/", "/bin", "/bin/sh"], True))
    answer = machine.check({"/bin/sh": "one"})
    assert (answer.missing, answer.needed) == ({}, 3)


def test_a_file_without_its_data_or_its_directory_is_missing(client):
    cached = {"/": True, "/bin": True, "/bin/sh": False, "/etc": False, "/etc/fstab": True}
    answer = client(TREE, cached).check({"/bin/sh": "one", "/bin/ls": "one", "/etc/fstab": "one"})
    assert answer.missing == {"/bin/sh": "only its attributes are in the cache",
                              "/bin/ls": "not in the cache",
                              "/etc": "only its attributes are in the cache"}


def test_to_be_seen_an_object_needs_no_data(client):
    machine = client(TREE, {"/": True, "/bin": True, "/bin/sh": False})
    assert not machine.check({"/bin/sh": "see"}).missing
    assert set(machine.check({"/bin/ls": "see"}).missing) == {"/bin/ls"}


def test_another_name_of_an_object_is_found_in_its_directory(client, tmp_path):
    machine = client(["/bin/perl"], dict.fromkeys(["/", "/bin", "/bin/perl"], True))
    os.link(tmp_path / "bin/perl", tmp_path / "bin/perl5.36.0")
    assert not machine.check({"/bin/perl5.36.0": "one"}).missing


def test_a_tree_is_all_that_is_in_it(client):
    machine = client([*TREE, "/etc/ssl/cert"], dict.fromkeys(["/", "/etc", "/etc/fstab", "/etc/ssl"], True))
    answer = machine.check({"/etc": "all"})
    assert set(answer.missing) == {"/etc/ssl/cert"}


def test_in_a_directory_that_is_not_there_nothing_is_looked_for(client):
    cached = {"/": True, "/etc": True, "/etc/fstab": True, "/etc/ssl": False}
    machine = client([*TREE, "/etc/ssl/cert"], cached)
    assert set(machine.check({"/etc": "all"}).missing) == {"/etc/ssl"}


# --- the profile ------------------------------------------------------------------------------------

def test_a_profile_says_what_was_put_in():
    found = {}
    for line in ("see /bin/sh", "one /bin/sh", "all /etc", "one /etc", "one /"):
        kind, path = line.split()
        profile.add(found, path, kind)
    assert found == {"/bin/sh": "one", "/etc": "all", "/": "one"}
    assert profile.parse(profile.text(found), "x") == found


@pytest.mark.parametrize("line", ["one bin/sh", "some /bin/sh", "one /../etc/shadow", "one"])
def test_a_line_that_is_none_is_named(line):
    with pytest.raises(cli.UsageError, match="line 2"):
        profile.parse(f"# head\n{line}\n", "x")


def test_hoard_commands():
    found = {"/bin/sh": "one", "/etc": "all", "/x": "see", "/a b": "one", "/": "one"}
    lines, left = profile.commands(found, "/coda/coda.test/root", 900)
    assert lines == ["add /coda/coda.test/root 900\n",
                     "add /coda/coda.test/root/bin/sh 900\n",
                     "add /coda/coda.test/root/etc 900:d+\n"]
    assert left == ["/a b"]


# --- hoard ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, uid", [
    ("primaryuser=1000\n", 1000),
    ('cachesize=1GB\nprimaryuser="77"\n', 77),
    ("#primaryuser=1000\n", 0),
    ("", 0),
])
def test_the_primary_user(text, uid):
    assert loading.primary_user(text) == uid


def test_what_hoard_complains_of():
    assert loading.judge("pioctl:Add(7f000001@coda.test, ./h, 100, 5, 1001): Permission denied\n")[0]
    assert loading.judge("RenameOutFile: open(/dev/tty) failed(No such device or address)\n") == (False, [])
    assert loading.judge("parse error: add /coda/x high \n\n\n")[1] == ["parse error: add /coda/x high "]


# --- recording --------------------------------------------------------------------------------------

def test_events_of_fanotify():
    one = struct.pack("=IBBHQii", 24, 3, 0, 24, 0x20, 7, 99)
    lost = struct.pack("=IBBHQii", 24, 3, 0, 24, 0x4000, -1, 0)
    assert list(record.events(one + lost + one)) == [7, 7]


def test_maps_of_a_process():
    maps = ("7f00-7f10 r-xp 00000000 00:2a 1116288                    /coda/x/lib/libc.so.6\n"
            "7f10-7f20 rw-p 00000000 00:00 0 \n"
            "7f20-7f30 r--p 00000000 fe:00 77                         /lib/a file\n")
    assert record.mapped(maps, "00:2a") == {1116288}


# --- the command ------------------------------------------------------------------------------------

def test_something_must_be_asked_for(run_command):
    done = run_command("coda-hoard-root", "/coda/x", "/nonexistent")
    assert done.returncode == 100 and "nothing to do" in done.stderr


def test_what_is_shown_is_bounded(module):
    check = type("Check", (), {"missing": {f"/f{n:02}": "gone" for n in range(25)}})
    assert len(module.report(check, False)) == 21 and module.report(check, False)[-1] == "and 5 more"
    assert len(module.report(check, True)) == 25


@pytest.fixture
def hoard(tmp_path, monkeypatch):
    """A stand-in for hoard, which notes its commands, and a venus that listens: hoard(SCRIPT)."""
    import socket

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "mariner"))
    listening.listen()

    def make(script):
        path = tmp_path / "bin/hoard"
        path.parent.mkdir()
        path.write_text(f'#!/bin/sh\ncat "$2" >>{tmp_path}/commands\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
        return lambda lines: loading.load(os.getuid(), lines, str(tmp_path / "mariner"))
    yield make
    listening.close()


LINES = [f"add /coda/x/{number} 900\n" for number in range(120)]


def test_entries_go_in_parts_and_then_comes_a_walk(hoard, tmp_path):
    hoard("")(LINES)
    assert (tmp_path / "commands").read_text() == "".join(LINES) + "walk\n"


def test_one_bad_entry_stops_no_other(hoard, tmp_path):
    complaint = "canonicalize: chdir(7) failed (No such file or directory)"
    load = hoard(f"""grep -q '/coda/x/7 ' "$2" && echo '{complaint}' >&2; exit 0""")
    with pytest.raises(cli.Failure, match=r"chdir\(7\)"):
        load(LINES)
    assert (tmp_path / "commands").read_text() == "".join(LINES) + "walk\n"


def test_a_refusal_is_told_though_hoard_exits_0(hoard):
    with pytest.raises(cli.Failure) as caught:
        hoard("echo 'pioctl:Add(7f000001@coda.test, ., 100, 5, 0): Permission denied' >&2")(LINES)
    assert caught.value.code == loading.REFUSED


def test_a_walk_that_is_refused_is_a_failure(hoard):
    load = hoard("""grep -q walk "$2" && echo 'pioctl:Walk(1000): Interrupted system call' >&2; exit 0""")
    with pytest.raises(cli.Failure, match="Interrupted"):
        load(LINES)
