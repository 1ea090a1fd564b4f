"""coda-populate-root: nothing lost, nothing leaked, refused before it writes, finished after a kill."""

import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trees
from codaroot import manifest
from conftest import TOP, command, environment, load, need_root
from hypothesis import given, settings

MODULE = load("coda-populate-root")


@pytest.fixture(autouse=True)
def _root():
    need_root()


@pytest.fixture
def place(tmp_path):
    """A directory with a small `source`, where `target` and `secrets` may go."""
    source = tmp_path / "source"
    trees.build(source, [
        ("bin/su", "file", 0o4755, 0, 0, None, 1), ("bin/sh", "file", 0o755, 0, 0, None, 2),
        ("etc/shadow", "file", 0o640, 0, 42, None, 3), ("root", "dir", 0o700, 0, 0, None, 0),
        ("root/key", "file", 0o644, 0, 0, None, 4), ("job", "fifo", 0o622, 0, 4, None, 0),
        ("etc/link", "link", 0o777, 0, 0, None, 1), ("srv/note", "file", 0o644, 0, 0, "user.note", 6)])
    (source / "bin/bash").hardlink_to(source / "bin/sh")
    (source / "srv/sh").hardlink_to(source / "bin/sh")
    return tmp_path


def populate(place, *args, status=0, source="source"):
    done = command("coda-populate-root", *args, f"--secrets={place}/secrets",
                   place / source, place / "target")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def shown(place):
    """What is in the target, but for the times of links, which cannot be set everywhere."""
    return {path: row[:4] + row[5:] if row[6] else row
            for path, row in trees.everything(place / "target").items()}


def manifests(place):
    """The Entries of both manifests, and the identities and stamp checked on the way."""
    texts = [(place / name).read_text() for name in ("target.mtree", "secrets/manifest.mtree")]
    (one, special, held), (two, secret, none) = (manifest.from_text(text, "m", every=True) for text in texts)
    stamp = manifest.stamp_from_text((place / "target/.coda-root").read_text(), "s")
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    assert one == two == stamp.tree and [stamp.manifest, stamp.secrets] == digests and none == []
    return special, held, secret


def test_each_thing_goes_to_its_place(place):
    text = populate(place)
    assert text == "12 objects, 7 of them special, 2 secret; 16 written, 0 removed\n"
    special, held, secret = manifests(place)
    assert [(entry.path, entry.tags) for entry in special] == [
        ("", ()), ("bin", ()), ("bin/bash", ("hardlink",)), ("bin/sh", ("hardlink",)),
        ("bin/su", ("setuid",)), ("job", ("special", "group")), ("root", ("mode",)), ("srv", ()),
        ("srv/note", ("xattr",)), ("srv/sh", ("hardlink",))]
    assert [entry.path for entry in held] == ["etc", "etc/link"]
    assert [(entry.path, entry.mode, entry.tags) for entry in secret] == [
        ("", 0o755, ()), ("etc", 0o755, ()), ("etc/shadow", 0o640, ("mode", "group", "secret")),
        ("root", 0o700, ()), ("root/key", 0o644, ("secret",))]
    rows = shown(place)
    assert set(rows) == {".", ".coda-root", "bin", "bin/bash", "bin/sh", "bin/su", "etc", "etc/link", "root",
                         "srv", "srv/note", "srv/sh"}
    assert stat.S_IMODE(rows["bin/su"][0]) == 0o755 and stat.S_IMODE(rows["root"][0]) == 0o755
    # One file has its names in one directory, not across.
    assert trees.names_of_one(place / "target") == {frozenset({"bin/sh", "bin/bash"})}
    store = trees.everything(place / "secrets/tree")
    assert {path: stat.S_IMODE(row[0]) for path, row in store.items()} == {
        ".": 0o700, "etc": 0o700, "etc/shadow": 0o600, "root": 0o700, "root/key": 0o600}
    assert os.stat(place / "secrets/manifest.mtree").st_mode & 0o777 == 0o600
    assert os.stat(place / "secrets").st_mode & 0o777 == 0o700


def test_a_second_run_changes_nothing_and_says_so(place):
    populate(place)
    before = shown(place), (place / "target.mtree").read_bytes(), os.stat(place / "target.mtree").st_ino
    assert populate(place).startswith("nothing to change: ")
    assert populate(place, "--verify=all").startswith("nothing to change: ")
    assert before == (shown(place), (place / "target.mtree").read_bytes(),
                      os.stat(place / "target.mtree").st_ino)


def test_a_changed_source_is_followed(place):
    populate(place)
    source = place / "source"
    identity = (place / "target.mtree").read_text().splitlines()[2]
    (source / "bin/sh").write_text("a new shell")
    (source / "bin/su").chmod(0o755)
    (source / "etc/link").unlink()
    (source / "etc/link").mkdir()
    (source / "etc/link/file").write_text("x")
    (source / "srv/note").unlink()
    text = populate(place)
    assert "1 more are in TARGET but not in SOURCE: 'srv/note'" in text
    assert (place / "target/bin/bash").read_text() == "a new shell" == (place / "target/srv/sh").read_text()
    assert trees.names_of_one(place / "target") == {frozenset({"bin/sh", "bin/bash"})}
    assert (place / "target/etc/link/file").exists() and (place / "target/srv/note").exists()
    assert (place / "target.mtree").read_text().splitlines()[2] == identity
    assert "1 removed" in populate(place, "--delete")
    assert not (place / "target/srv/note").exists()
    assert populate(place, "--delete").startswith("nothing to change: ")


def test_what_becomes_a_secret_is_not_left_behind(place):
    populate(place)
    (place / "source/srv/note").chmod(0o600)
    text = populate(place, status=3)
    assert "leaked: 1 objects in the target that not everybody may read" in text
    populate(place, "--delete")
    assert not (place / "target/srv/note").exists() and (place / "secrets/tree/srv/note").exists()


def test_a_directory_gives_way_only_when_it_is_said(place):
    populate(place)
    shutil.rmtree(place / "source/srv")
    (place / "source/srv").write_text("a file now")
    assert "blocked: 1 directories in the way" in populate(place, status=3)
    assert (place / "target/srv").is_dir()
    populate(place, "--delete")
    assert (place / "target/srv").read_text() == "a file now"


def test_delete_follows_no_link_and_leaves_nothing_outside(place):
    populate(place)
    (place / "outside").mkdir()
    (place / "outside/file").touch()
    (place / "target/more/deep").mkdir(parents=True)
    (place / "target/more/deep/link").symlink_to(place / "outside")
    (place / "target/out").symlink_to(place / "outside")
    # A link in place of a wanted directory is not followed either.
    shutil.rmtree(place / "target/etc")
    (place / "target/etc").symlink_to(place / "outside")
    populate(place, "--delete")
    assert (place / "outside/file").exists() and os.listdir(place / "outside") == ["file"]
    assert not os.path.lexists(place / "target/out") and not (place / "target/more").exists()
    assert (place / "target/etc/link").is_symlink()


def test_an_empty_source_deletes_nothing(place):
    populate(place)
    (place / "empty").mkdir()
    assert "there is no file in it" in populate(place, "--delete", status=100, source="empty")
    assert (place / "target/bin/sh").exists()


def refused(place, *args):
    done = command("coda-populate-root", *args)
    assert not (place / "target").exists()
    return done.returncode, done.stdout, done.stderr


def test_all_reasons_are_named_before_anything_is_written(place):
    (place / "source/key.pem").write_text("-----BEGIN PRIVATE KEY-----\n" + "x" * 64)
    with open(place / "source/big", "w") as big:
        big.truncate(2**31)
    status, out, err = refused(place, place / "source", place / "target")
    assert status == 3 and "nothing was written" in err
    assert "large: 1 " in out and "key: 1 " in out and "homeless: 2 " in out and "root/key" in out
    (place / "source/big").unlink()
    populate(place, "--publish-keys")


@pytest.mark.parametrize("secrets, source, target, said", [
    ("target/s", "source", "target", "it is in"), ("source/s", "source", "target", "it is in"),
    ("s", "source", "source/t", "it is in"), ("s", "source", "source", "it is in"),
    ("s", "source", "file", "no directory"), ("s", "source", "full", "not empty"),
    ("full", "source", "target", "something else in it"), ("s", "gone", "target", "cannot read"),
])
def test_places_that_cannot_be_meant(place, secrets, source, target, said):
    (place / "file").touch()
    (place / "full").mkdir()
    (place / "full/x").touch()
    status, _, err = refused(place, f"--secrets={place / secrets}", place / source, place / target)
    assert status == 100 and said in err


def test_what_is_there_is_taken_over_only_when_it_is_said(place):
    (place / "target").mkdir()
    (place / "target/x").touch()
    assert "--adopt" in populate(place, status=100)
    assert "'x'" in populate(place, "--adopt")
    shutil.rmtree(place / "target")
    assert "secrets of another tree" in populate(place, status=100)
    populate(place, "--adopt")
    manifests(place)


def test_a_dry_run_prints_and_changes_nothing(place):
    text = populate(place, "--dry-run")
    assert f"cp {place}/source/bin/su {place}/target/bin/su\n" in text
    assert f"ln -s ../x {place}/target/etc/link\n" in text
    assert f"ln {place}/target/bin/bash {place}/target/bin/sh\n" in text
    assert sorted(os.listdir(place)) == ["source"]


def test_a_tar_gives_the_same(place):
    subprocess.run(["tar", "-C", place / "source", "--xattrs", "--xattrs-include=*", "--format=pax",
                    "-czf", place / "tar", "."], check=True)
    populate(place)
    one = shown(place), manifests(place)
    (place / "target/.coda-root").read_text()
    assert populate(place, source="tar").startswith("nothing to change: ")
    shutil.rmtree(place / "target")
    shutil.rmtree(place / "secrets")
    populate(place, source="tar")
    two = shown(place), manifests(place)
    one[0].pop(".coda-root"), two[0].pop(".coda-root")
    assert one == two


def test_a_place_that_refuses_is_told_before_the_first_write(place):
    """As Coda does without a token: EACCES, and nothing has been tried."""
    (place / "target").mkdir()
    subprocess.run(["chattr", "+i", place / "target"], check=False)
    try:
        done = command("coda-populate-root", f"--secrets={place}/secrets", place / "source", place / "target")
    finally:
        subprocess.run(["chattr", "-i", place / "target"], check=False)
    assert done.returncode == 111 and "is there a token?" in done.stderr
    assert os.listdir(place / "target") == [] and not (place / "secrets").exists()


def test_what_was_written_is_read_back(place, monkeypatch):
    fill = sys.modules["codaroot.fill"]
    real = os.rename

    def spoil(old, new, **more):
        real(old, new, **more)
        if new == "su" and old == fill.NEW:
            status = os.stat(new, dir_fd=more["dst_dir_fd"])
            fd = os.open(new, os.O_WRONLY, dir_fd=more["dst_dir_fd"])
            os.write(fd, b"C")
            os.utime(fd, ns=(status.st_mtime_ns,) * 2)
    monkeypatch.setattr(os, "rename", spoil)
    with pytest.raises(MODULE.cli.Failure, match="verify '.*/bin/su': its content differs"):
        MODULE.main([f"--secrets={place}/secrets", str(place / "source"), str(place / "target")])


def test_a_source_that_changes_meanwhile_is_a_failure(place, monkeypatch):
    objects = sys.modules["codaroot.objects"]
    real = objects.Tree.open

    def touched(self, path):
        os.utime(f"{self.name}/{path}")
        return real(self, path)
    with pytest.raises(MODULE.cli.Failure, match="changed while it was read"):
        monkeypatch.setattr(objects.Tree, "open", touched)
        MODULE.main([f"--secrets={place}/secrets", str(place / "source"), str(place / "target")])
    assert not list((place / "target").rglob("*.new"))


def test_a_termination_leaves_nothing_half_named(place):
    with open(place / "source/large", "wb") as large:
        large.truncate(1 << 30)
    process = subprocess.Popen(
        [sys.executable, TOP / "bin/coda-populate-root", f"--secrets={place}/secrets", place / "source",
         place / "target"], env=environment(), stderr=subprocess.PIPE, text=True)

    def half():
        try:
            return (place / "target/.coda-root.new").stat().st_size
        except FileNotFoundError:
            return 0
    while process.poll() is None and half() < 1 << 20:
        pass
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[1].endswith("ended by SIGTERM\n") and process.returncode == 143
    assert not (place / "target/large").exists() and not list((place / "target").rglob("*.new"))


def test_killed_at_any_point_and_finished(place):
    """kill -9 at many points; then a whole run, compared with one that was let alone."""
    for number in range(40):
        (place / f"source/srv/{number}").write_text(f"{number}" * number)
    chance = random.Random(1998)
    begun = 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, TOP / "bin/coda-populate-root", f"--secrets={place}/secrets", place / "source",
             place / "target"], env=environment(), stdout=subprocess.DEVNULL)
        count = chance.randrange(1, 25)
        seen = len(list((place / "target").rglob("*"))) if (place / "target").exists() else 0
        while process.poll() is None:
            now = len(list((place / "target").rglob("*"))) if (place / "target").exists() else 0
            if now >= seen + count:
                process.kill()
                begun += 1
        process.wait()
    assert begun
    populate(place)
    one = shown(place), manifests(place), trees.names_of_one(place / "target")
    shutil.move(place / "target", place / "first")
    shutil.rmtree(place / "secrets")
    populate(place)
    two = shown(place), manifests(place), trees.names_of_one(place / "target")
    for each in (one, two):
        each[0].pop(".coda-root")
    assert one == two


@settings(max_examples=15)
@given(trees.TREES)
def test_nothing_is_lost_and_nothing_is_leaked(made):
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        source = trees.build(work / "source", made)
        MODULE.main([f"--secrets={work}/secrets", str(source), str(work / "target")])
        special, held, secret = manifests(work)
        told = {entry.path: entry for entry in [*secret, *held, *special]}
        original = {path if path != "." else "": row for path, row in trees.everything(source).items()}

        # Nothing lost: each object in a manifest with all that it is, each content in its place.
        assert set(told) == set(original)
        for path, (mode, uid, gid, device, time, content, link, xattrs) in original.items():
            entry = told[path]
            assert (entry.uid, entry.gid, entry.time // 10**9, dict(entry.xattrs)) == (uid, gid, time, xattrs)
            assert entry.type == "link" or entry.mode == stat.S_IMODE(mode)
            assert (entry.link or None) == link
            assert entry.device == ((os.major(device), os.minor(device)) if entry.type == "char" else None)
            if content is not None:
                assert entry.sha256 == hashlib.sha256(content).hexdigest()
                where = "secrets/tree" if {"secret", "name"} & set(entry.tags) else "target"
                assert (work / where / path).read_bytes() == content
        groups = {}
        for entry in told.values():
            if entry.inode:
                groups.setdefault(entry.inode, set()).add(entry.path)
        near = trees.names_of_one(work / "target")
        for paths in trees.names_of_one(source):
            assert paths in groups.values() or paths in near
        trees.crush(work / "target")

        # Nothing leaked: no name, no digest, no content of what is hidden.
        hidden = {entry.path: entry for entry in secret if {"secret", "name"} & set(entry.tags)}
        public = (work / "target.mtree").read_text()
        rows = trees.everything(work / "target")
        for path, entry in hidden.items():
            assert path not in rows and f"./{manifest.encode(path)} " not in public
            if entry.sha256:
                assert entry.sha256 not in public
                assert original[path][5] not in [row[5] for row in rows.values()]
