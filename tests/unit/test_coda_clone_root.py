"""coda-clone-root: a root of its own, checked against the manifest it is made from."""

import hashlib
import os
import shutil
import subprocess
import sys

import pytest
import trees
from codaroot import manifest
from conftest import TOP, command, environment, load, need_root

MODULE = load("coda-clone-root")
LINES = [manifest.Entry("", "dir", 0o755, 0, 0), manifest.Entry("f", "file", 0o644, 0, 0, sha256="a" * 64)]


def test_the_parts_of_a_manifest_are_put_in_order():
    text = manifest.to_text("t", [LINES[0]._replace(path="b"), LINES[0]], [LINES[1]._replace(path="a")])
    entries, digests = MODULE.parts(text, "m")
    assert [entry.path for entry in entries] == ["", "a", "b"] and digests["a"] == "a" * 64


@pytest.fixture
def place(tmp_path):
    """A populated root `one`, with its secrets in `s1`."""
    need_root()
    trees.build(tmp_path / "source", [
        ("bin/su", "file", 0o4755, 0, 0, None, 1), ("bin/sh", "file", 0o755, 0, 0, None, 2),
        ("etc/shadow", "file", 0o640, 0, 42, None, 3), ("job", "fifo", 0o622, 0, 4, None, 0),
        ("etc/link", "link", 0o777, 0, 0, None, 1), ("x@sys/f", "file", 0o644, 0, 0, None, 1)])
    (tmp_path / "source/bin/bash").hardlink_to(tmp_path / "source/bin/sh")
    done = command("coda-populate-root", f"--secrets={tmp_path}/s1", tmp_path / "source", tmp_path / "one")
    assert done.returncode == 0, done.stdout + done.stderr
    trees.crush(tmp_path / "one")
    return tmp_path


def clone(place, *args, status=0, name="two", secrets=True):
    secrets = [f"--secrets={place}/s1", f"--new-secrets={place}/s2"] if secrets else []
    done = command("coda-clone-root", *args, *secrets, place / "one", name)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_clone_is_the_same_with_an_identity_of_its_own(place):
    assert clone(place) == "8 objects, 3 secret\n"
    one, two = (trees.everything(place / name) for name in ("one", "two"))
    for rows in (one, two):
        rows.pop(".coda-root")
    # Owner, mode, time, content and target; times of links cannot be set everywhere.
    assert {path: (row[:2], None if row[6] else row[4], row[5:7]) for path, row in one.items()} == {
        path: (row[:2], None if row[6] else row[4], row[5:7]) for path, row in two.items()}
    assert trees.names_of_one(place / "two") == {frozenset({"bin/sh", "bin/bash"})}
    texts = [(place / name).read_text().splitlines()
             for name in ("one.mtree", "two.mtree", "s2/manifest.mtree")]
    assert texts[0][3:] == texts[1][3:] and texts[0][2] != texts[1][2] == texts[2][2]
    assert (place / "s1/manifest.mtree").read_text().splitlines()[3:] == texts[2][3:]
    assert (place / "s2/tree/etc/shadow").read_bytes() == (place / "source/etc/shadow").read_bytes()
    stamp = manifest.stamp_from_text((place / "two/.coda-root").read_text(), "s")
    assert stamp.manifest == hashlib.sha256((place / "two.mtree").read_bytes()).hexdigest()
    assert stamp.secrets == hashlib.sha256((place / "s2/manifest.mtree").read_bytes()).hexdigest()


def test_a_clone_can_be_populated_and_cloned_again(place):
    clone(place)
    done = command("coda-populate-root", f"--secrets={place}/s2", place / "source", place / "two")
    assert done.stdout.startswith("nothing to change: "), done.stdout + done.stderr
    done = command("coda-clone-root", f"--secrets={place}/s2", f"--new-secrets={place}/s3",
                   place / "two", "three")
    assert done.returncode == 0


def test_what_is_not_as_the_manifest_says_is_not_cloned(place):
    path = place / "one/bin/su"
    times = path.stat()
    path.write_bytes(b"0" + path.read_bytes()[1:])
    os.utime(path, ns=(times.st_mtime_ns, times.st_mtime_ns))
    assert "'bin/su': it is not what its manifest says" in clone(place, status=111)
    assert manifest.stamp_from_text((place / "two/.coda-root").read_text(), "s").manifest == "none"
    path.unlink()
    assert "1 objects of its manifest are not there, such as 'bin/su'" in clone(place, status=100)


def test_a_manifest_or_secrets_of_another_tree_are_refused(place):
    assert "cannot clone without the secrets" in clone(place, secrets=False, status=100)
    with open(place / "s1/manifest.mtree", "a") as file:
        file.write("\n")
    assert "not those of SOURCE" in clone(place, status=100)
    with open(place / "one.mtree", "a") as file:
        file.write("\n")
    assert "no manifest that belongs to it" in clone(place, status=100)
    assert not (place / "two").exists() and not (place / "s2").exists()


@pytest.mark.parametrize("name", ["one", "source", "a/b", ".."])
def test_a_name_that_cannot_be_meant(place, name):
    clone(place, name=name, status=100)
    assert sorted(os.listdir(place)) == ["one", "one.mtree", "s1", "source"]


def test_what_the_manifest_does_not_know_is_left_out(place):
    (place / "one/more").mkdir()
    assert "left out 'more'" in clone(place)
    assert not (place / "two/more").exists()


def test_an_interrupted_clone_is_finished_and_a_finished_one_refused(place):
    process = subprocess.Popen(
        [sys.executable, TOP / "bin/coda-clone-root", f"--secrets={place}/s1", f"--new-secrets={place}/s2",
         place / "one", "two"], env=environment())
    while process.poll() is None and not (place / "two/.coda-root").exists():
        pass
    process.kill()
    process.wait()
    # On a busy machine the kill may come when all is done; what it then left is whole.
    if manifest.stamp_from_text((place / "two/.coda-root").read_text(), "s").manifest == "none":
        clone(place)
    assert "it is there already" in clone(place, status=100)
    shutil.rmtree(place / "two")


def test_an_empty_directory_is_taken_and_nothing_else(place):
    (place / "two").symlink_to("one")
    assert "it is there already" in clone(place, status=100)
    (place / "two").unlink()
    (place / "two").mkdir()
    (place / "two/f").touch()
    assert "it is there already" in clone(place, status=100)
    (place / "two/f").unlink()
    assert clone(place) == "8 objects, 3 secret\n"


def test_a_dry_run_changes_nothing(place):
    assert f"cp {place}/one/bin/su {place}/two/bin/su\n" in clone(place, "--dry-run")
    assert not (place / "two").exists()
