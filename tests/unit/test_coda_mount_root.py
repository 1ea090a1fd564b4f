"""coda-mount-root: what belongs together, and real overlays in a mount namespace that goes with the test."""

import errno
import hashlib
import os
import subprocess
import sys

import pytest
from codaboot import cli
from codaroot import manifest, overlay
from codaroot.manifest import Entry, Stamp
from conftest import TOP, environment, need_programs, need_root

TREE = "5" * 32
SU = Entry("usr/bin/su", "file", 0o4755, 0, 0, 2, 10**18, hashlib.sha256(b"su").hexdigest(), tags=("setuid",))
FIFO = Entry("var/job", "fifo", 0o622, 0, 4, tags=("special",))
SHADOW = Entry("etc/shadow", "file", 0o640, 0, 42, 6, 10**18, hashlib.sha256(b"root:*").hexdigest())


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Tree:
    """A shared root with its manifest, stamp, secrets and client layers, below `top`."""

    def __init__(self, top):
        self.top, self.root, self.secrets = top, top / "root", top / "secrets"
        for path in ("root/usr/bin", "root/etc", "root/var", "secrets/tree/etc", "clients/one/etc", "target"):
            (top / path).mkdir(parents=True)
        (self.root / "usr/bin/su").write_text("su")
        (self.root / "etc/name").write_text("shared")
        (top / "clients/one/etc/name").write_text("one")
        (self.secrets / "tree/etc/shadow").write_text("root:*")
        self.special, self.secret = [SU, FIFO], [SHADOW]
        self.write()

    def write(self, **stamp):
        """Both manifests, and the stamp that belongs to them."""
        (self.top / "root.mtree").write_text(manifest.to_text(TREE, self.special, ()))
        (self.secrets / "manifest.mtree").write_text(manifest.to_text(TREE, (), self.secret))
        words = {"tree": TREE, "manifest": digest(self.top / "root.mtree"),
                 "secrets": digest(self.secrets / "manifest.mtree"), **stamp}
        (self.root / ".coda-root").write_text(manifest.stamp_to_text(Stamp(**words)))


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def in_namespace(tree, script):
    """Run a shell script in the directory of `tree`; `coda` is the command."""
    need_root()
    need_programs("unshare")
    prelude = 'cd "$1"; coda() { "$PYTHON" "$TOP/bin/coda-mount-root" "$@"; echo "status $?"; }\n'
    return subprocess.run(
        ["unshare", "-m", "sh", "-uc", prelude + script, "sh", tree.top], capture_output=True, text=True,
        timeout=60, env=environment(PYTHON=sys.executable, TOP=str(TOP)))


# --- what is refused, nothing mounted -------------------------------------

def other_tree(tree):
    tree.write(tree="6" * 32)


def newer_manifest(tree):
    tree.write(manifest="0" * 64)


def older_secrets(tree):
    tree.write(secrets="0" * 64)


def no_manifest(tree):
    (tree.top / "root.mtree").unlink()


def no_stamp(tree):
    (tree.root / ".coda-root").unlink()


def no_secrets(tree):
    (tree.secrets / "manifest.mtree").unlink()


def bad_stamp(tree):
    (tree.root / ".coda-root").write_text("coda-root 2\n")


def bad_manifest(tree):
    (tree.top / "root.mtree").write_text(manifest.to_text(TREE, [SU._replace(path="../su")], ()))


def a_disk(tree):
    tree.special.append(Entry("sda", "block", 0o660, 0, 6, device=(8, 0)))
    tree.write()


def other_su(tree):
    (tree.root / "usr/bin/su").write_text("us")


@pytest.mark.parametrize("change, status, word, way_on", [
    (no_stamp, 3, "the stamp", "--no-manifest"), (no_manifest, 3, "root.mtree'", "--no-manifest"),
    (newer_manifest, 3, "belongs to another", "--no-manifest"), (other_tree, 3, "belongs to another", None),
    (no_secrets, 4, "the secrets", "--without-secrets"), (older_secrets, 4, "secrets", "--without-secrets"),
    (a_disk, 6, "'sda'", "--devices"), (bad_stamp, 100, "stamp", "--no-manifest"),
    (bad_manifest, 100, "line 4", "--no-manifest")])
def test_what_does_not_belong_together_is_refused_by_name(tree, run_command, change, status, word, way_on):
    change(tree)
    args = [f"--secrets={tree.secrets}", "--dry-run", tree.root, tree.top / "target"]
    done = run_command("coda-mount-root", *args)
    assert (done.returncode, done.stdout) == (status, "")
    assert word in done.stderr and len(done.stderr.splitlines()) <= 2
    if way_on:
        assert run_command("coda-mount-root", way_on, *args).returncode == 0


def test_a_tree_with_secrets_wants_them_or_a_word(tree, run_command):
    done = run_command("coda-mount-root", "-n", tree.root, tree.top / "target")
    assert done.returncode == 4 and "--without-secrets" in done.stderr
    tree.write(secrets="none")
    assert run_command("coda-mount-root", "-n", tree.root, tree.top / "target").returncode == 0


@pytest.mark.parametrize("args, word", [
    (["--size=much"], "--size='much'"), (["--size=1G,mode=777"], "--size="), (["--size=0"], "--size="),
    (["--layer=/nowhere"], "/nowhere"), (["--state=/a:b"], "commas and colons")])
def test_wrong_usage_is_100(tree, run_command, args, word):
    done = run_command("coda-mount-root", "-n", "--no-manifest", *args, tree.root, tree.top / "target")
    assert (done.returncode, done.stdout) == (100, "") and word in done.stderr


def test_dry_run_prints_the_operations(tree, run_command):
    target = tree.top / "new"
    done = run_command("coda-mount-root", "-n", f"--secrets={tree.secrets}",
                       f"--layer={tree.top}/clients/one", tree.root, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"mkdir -p {target}", f"mount -t tmpfs -o size=50%,mode=700 coda-root {target}",
        f"mkdir -p {target}/upper {target}/work {target}/new", f"# restore 8 objects in {target}/upper",
        f"mount -t overlay -o lowerdir={tree.top}/clients/one:{tree.root},upperdir={target}/upper,"
        f"workdir={target}/work,{overlay.FEATURES} coda-root {target}"]
    assert not target.exists()


# --- real overlays ----------------------------------------------------------

LOOK = """
    (cd target; stat -c '%n %A %u:%g' . usr/bin/su var/job etc/shadow etc; cat etc/name; echo; cat etc/shadow)
    awk '$5 ~ "/target$" { print "mounted" }' /proc/self/mountinfo"""


def test_an_overlay_on_a_tmpfs_with_all_restored(tree):
    done = in_namespace(tree, "for i in 1 2; do coda --secrets=secrets --layer=clients/one root target; done"
                        + LOOK)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "status 0", "status 0", ". drwxr-xr-x 0:0", "usr/bin/su -rwsr-xr-x 0:0", "var/job prw--w--w- 0:4",
        "etc/shadow -rw-r----- 0:42", "etc drwxr-xr-x 0:0", "one", "root:*mounted", "mounted"]


def test_verbose_says_how_much_and_the_tmpfs_is_limited(tree):
    done = in_namespace(tree, """
        coda -v --size=1M --without-secrets root target
        head -c 2M /dev/zero >target/much 2>/dev/null || echo full""")
    assert "restored 5 objects, 2 bytes, in 0." in done.stderr
    assert done.stdout == "status 0\nfull\n"


def test_a_failure_leaves_nothing_mounted_and_a_killed_run_is_cleared_away(tree):
    other_su(tree)
    done = in_namespace(tree, """
        coda --without-secrets root target; grep -c "$1/target" /proc/mounts
        mount -t tmpfs coda-root target; touch target/half
        coda --without-secrets --skip-changed root target; grep -c "$1/target" /proc/mounts
        stat -c %A target/usr/bin/su""")
    assert done.stdout == "status 5\n0\nstatus 0\n2\n-rw-r--r--\n"
    assert "usr/bin/su'" in done.stderr and "left out 'usr/bin/su'" in done.stderr


def test_something_else_there_is_an_error(tree):
    done = in_namespace(tree, """
        coda --no-manifest --state=state root target; coda --no-manifest --state=state root other
        coda --no-manifest --layer=clients/one root target; umount target
        mount -t tmpfs other target; coda --no-manifest root target""")
    assert done.stdout == "status 0\nstatus 100\nstatus 100\nstatus 100\n"
    assert "upper layer twice" in done.stderr and "'other' is mounted there" in done.stderr


def test_state_survives_and_the_manifest_is_followed_where_the_client_left_it_alone(tree):
    first = in_namespace(tree, """
        coda -v --secrets=secrets --state=state root target
        echo mine >target/etc/name; rm target/etc/shadow; echo kept >target/kept; umount target
        coda -v --secrets=secrets --state=state root target; cat target/kept target/etc/name""")
    assert first.stdout == "status 0\nstatus 0\nkept\nmine\n"
    assert "restored 7 objects, 8 bytes" in first.stderr and "# nothing to restore" in first.stderr
    assert os.stat(tree.top / "state").st_mode & 0o777 == 0o700
    (tree.root / "usr/bin/su").write_text("su 2")
    tree.special = [SU._replace(size=4, sha256=digest(tree.root / "usr/bin/su")),
                    Entry("var/new", "fifo", 0o600, 0, 0)]
    tree.secret = [SHADOW._replace(mode=0o600)]
    tree.write()
    second = in_namespace(tree, """
        coda -v --secrets=secrets --state=state root target
        cat target/kept target/etc/name target/usr/bin/su; echo; stat -c %A target/usr/bin/su target/var/*
        ls target/etc""")
    assert second.stdout == "status 0\nkept\nmine\nsu 2\n-rwsr-xr-x\nprw-------\nname\n"
    assert "kept 'etc/shadow'" in second.stderr


def test_a_layer_that_comes_later_wins_over_what_was_restored(tree):
    (tree.top / "clients/one/usr/bin").mkdir(parents=True)
    (tree.top / "clients/one/usr/bin/su").write_text("none")
    done = in_namespace(tree, """
        for layer in "" --layer=clients/one ""; do
            coda --without-secrets --state=state $layer root target; cat target/usr/bin/su
            stat -c %a target/usr/bin/su; umount target
        done""")
    assert done.stdout == "status 0\nsu4755\nstatus 0\nnone644\nstatus 0\nsu4755\n", done.stderr


@pytest.mark.parametrize("state", ["", "--state=state"])
def test_the_root_may_change_below(tree, state):
    """What Documentation/filesystems/overlayfs.rst leaves undefined, and the page promises."""
    done = in_namespace(tree, f"""
        for n in renamed changed removed mine held; do echo old >root/etc/$n; done
        coda --no-manifest {state} root target
        cd target/etc; cat * later >/dev/null 2>&1; echo my >>mine; exec 5<held
        cd ../../root/etc
        for n in renamed held later; do echo new >.new; mv .new $n; done
        echo new >changed; rm removed; echo new >added; echo new >mine; mkdir dir; echo new >dir/file
        cd ../../target/etc; echo *; cat changed added dir/file mine
        echo "-- names that were looked at before"; cat renamed removed later held 2>&1
        echo "-- remounted"; mount -o remount ..; cat renamed removed later held mine 2>&1
        echo "-- and closed"; cat <&5; exec 5<&-; mount -o remount ..; cat held""")
    gone = "cat: {}: No such file or directory\n"
    assert done.stdout == (
        "status 0\nadded changed dir held later mine name renamed\nnew\nnew\nnew\nold\nmy\n"
        "-- names that were looked at before\nold\nold\n" + gone.format("later") + "old\n"
        "-- remounted\nnew\n" + gone.format("removed") + "new\nold\nold\nmy\n-- and closed\nold\nnew\n")


def test_what_cannot_be_read_in_coda_is_told_with_what_venus_means_by_it(module, tree, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), "/coda/x/.coda-root")

    monkeypatch.setattr(module, "read_stamp", refuse)
    with pytest.raises(cli.Failure, match="cannot use '/coda/x/.coda-root': Connection timed out") as caught:
        module.main(["--dry-run", str(tree.root), str(tree.top / "target")])
    assert "no server answers" in caught.value.hint and caught.value.code == 111
