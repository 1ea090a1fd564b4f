"""coda-build-disk: its lists, its closures, its image, and that the same input gives the same bytes."""

import gzip
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bootdisk import disk, image, kernel, venus
from conftest import COMMANDS, TOP, need, need_programs
from realvenus import conf

DONOR = TOP / "build/donor"


def test_needs_are_read_without_running_the_command():
    text = 'raise SystemExit("run!")\nNEEDS = ("prog:a", "module:b")\n'
    assert disk.needs_of(text) == ("prog:a", "module:b")
    assert disk.needs_of("X = 1\n") == ()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_declares_its_needs(name):
    needs = disk.needs_of((TOP / "bin" / name).read_text())
    assert all(need.partition(":")[0] in ("prog", "module", "python", "file") for need in needs)


def test_lists_lose_comments_and_blanks():
    assert disk.parse_list("# x\n\n/a/b  # why\n-/c\n") == ["/a/b", "-/c"]


@pytest.mark.parametrize("path, place", [
    ("/bin/sh", "/usr/bin/sh"), ("/lib64/ld.so", "/usr/lib64/ld.so"), ("/etc/x", "/etc/x"),
    ("/usr/bin/../lib/y", "/usr/lib/y"), ("//sbin/z", "/usr/sbin/z")])
def test_paths_are_merged_into_usr(path, place):
    assert disk.canonical(path) == place


def test_modules_come_after_what_they_depend_on():
    table = kernel.parse_dep("a/x-y.ko: b/mid.ko c/low.ko\nb/mid.ko: c/low.ko\nc/low.ko:\n")
    assert kernel.module_paths(table, ["x_y"]) == (["c/low.ko", "b/mid.ko", "a/x-y.ko"], [])
    assert kernel.module_paths(table, ["x-y", "none"])[1] == ["none"]


def test_cpio_is_read_by_cpio(tmp_path):
    need_programs("busybox")
    archive = image.newc([("a", 0o40755, b""), ("a/b", 0o100755, b"hello"), ("l", 0o120777, b"a/b")])
    subprocess.run(["busybox", "cpio", "-id"], input=archive, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "a/b").read_bytes() == b"hello"
    assert os.access(tmp_path / "a/b", os.X_OK)
    assert os.readlink(tmp_path / "l") == "a/b"


def test_image_holds_what_it_was_told(tmp_path):
    need_programs("mke2fs", "debugfs", "e2fsck")
    (tmp_path / "file").write_text("content")
    entries = {
        "/dir": disk.Entry("dir", "", 0o700, "p"),
        "/dir/a b": disk.Entry("file", str(tmp_path / "file"), 0o640, "p"),
        "/link": disk.Entry("link", "dir/a b", 0, "p")}
    written = tmp_path / "image"
    image.write_image(entries, str(written), str(tmp_path), "label", 1 << 20)

    def debugfs(request):
        return subprocess.run(["debugfs", "-R", request, written], capture_output=True, text=True).stdout

    stat = debugfs('stat "/dir/a b"')
    assert "Mode:  0640" in stat and "User:     0" in stat and "Size: 7" in stat
    assert "Mode:  0700" in debugfs("stat /dir")
    assert debugfs('cat "/dir/a b"') == "content"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tiny donor tree: enough to be built from in a second. Needs the real one for its kernel."""
    need((DONOR / "done").exists(), "build/donor ('make boot' makes it)")
    return DONOR


def build(run_command, tree, target, *args):
    return run_command("coda-build-disk", f"--from={tree}", f"--etc={TOP}/etc", *args, target, timeout=120)


def test_same_input_gives_the_same_bytes_and_less_than_64_mib(run_command, tree, tmp_path):
    (tmp_path / "sbin").mkdir()
    shutil.copy("/bin/true", tmp_path / "sbin/venus")
    digests = []
    for name in ("one", "two"):
        done = build(run_command, tree, tmp_path / name, f"--venus={tmp_path}/sbin/venus",
                     "--realm=coda.test", "--server=server.coda.test=192.0.2.7", "--cache-size=20MB")
        assert done.returncode == 0, done.stderr
        digests.append([hashlib.sha256((tmp_path / name / f).read_bytes()).hexdigest()
                        for f in ("disk.img", "initrd.img", "vmlinuz")])
    assert digests[0] == digests[1]
    total = float(done.stdout.splitlines()[-1].split()[0])
    assert total < 64

    def inside(path, request="cat"):
        return subprocess.run(["debugfs", "-R", f"{request} {path}", tmp_path / "one/disk.img"],
                              capture_output=True, text=True).stdout

    assert "cachesize=20480KB\n" in inside("/etc/coda/venus.conf")
    assert inside("/etc/coda/realms") == "coda.test server.coda.test\n"
    assert "root=/coda/coda.test/linuxroot\n" in inside("/etc/coda-boot.conf")
    told = subprocess.run(["dumpe2fs", "-h", tmp_path / "one/disk.img"], capture_output=True, text=True)
    assert int(told.stdout.split("Free blocks:")[1].split()[0]) * 4096 > conf.room(20 << 20) + (16 << 20)
    assert subprocess.run(["e2fsck", "-fn", tmp_path / "one/disk.img"], capture_output=True).returncode == 0
    # A sync of venus's records takes its cache along, which is not written twice for that.
    assert "nodelalloc" in told.stdout.split("Default mount options:")[1].splitlines()[0]
    for path, flags in ((venus.HOME, "0x84000"), (f"{venus.HOME}/cache", "0x80000")):
        assert f"Flags: {flags}\n" in inside(path, "stat")
    assert b"initrd - reach the boot disk" in gzip.decompress((tmp_path / "one/initrd.img").read_bytes())


def test_what_is_not_there_is_named_and_nothing_is_written(run_command, tree, tmp_path):
    etc = tmp_path / "etc"
    shutil.copytree(TOP / "etc", etc)
    (etc / "disk.d/more.files").write_text("/no/such/file\n")
    done = run_command("coda-build-disk", f"--from={tree}", f"--etc={etc}", tmp_path / "out")
    assert done.returncode == 100
    assert "cannot find '/no/such/file'" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("args, said", [
    (["--add=/nowhere:/x"], "cannot use --add='/nowhere:/x'"),
    (["--add=/etc:relative"], "cannot use --add='/etc:relative'"),
    (["--venus=/nowhere/venus"], "cannot use --venus='/nowhere/venus'"),
    (["--venus=/bin/true"], "without --realm"),
    (["--venus=/bin/true", "--realm=a/b"], "without --realm"),
    (["--venus=/bin/true", "--realm=x", "--cache-size=much"], "cannot use --cache-size='much'"),
    (["--venus=/bin/true", "--realm=x", "--venus-conf=none"], "cannot use --venus-conf"),
    (["--venus=/bin/true", "--realm=x", "--rpc2-timeout=0"], "cannot use --rpc2-timeout='0'"),
    (["--kernel=9.9"], "cannot choose kernel '9.9'"),
    (["--spare=much"], "cannot use --spare='much'")])
def test_wrong_arguments(run_command, tree, tmp_path, args, said):
    done = build(run_command, tree, tmp_path / "out", *args)
    assert done.returncode == 100
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_empty_tree_is_refused(run_command, tmp_path):
    done = build(run_command, tmp_path, tmp_path / "out")
    assert done.returncode == 100
    assert "cannot choose kernel" in done.stderr


def test_links_are_followed_inside_the_tree_only(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").touch()
    (tmp_path / "abs").symlink_to("/real")
    (tmp_path / "out").symlink_to("/../../../../etc")
    found = disk.Disk(str(tmp_path))
    assert Path(found.find("/abs/x")) == tmp_path / "real/x"
    assert found.find("/out/passwd") is None
