"""A tree with everything Coda cannot hold, put into /coda through the kernel's own Coda file system."""

import subprocess

import pytest
import trees
from conftest import TOP, command, need_root

pytestmark = pytest.mark.boot

NASTY = [
    ("bin/su", "file", 0o4755, 0, 0, None, 1), ("bin/ping", "file", 0o755, 0, 0, "security.capability", 2),
    ("bin/sh", "file", 0o755, 0, 0, None, 3), ("etc/shadow", "file", 0o640, 0, 42, None, 4),
    ("etc/read-only", "file", 0o444, 0, 0, None, 5), ("etc/all", "file", 0o666, 0, 0, None, 6),
    ("etc/long", "link", 0o777, 0, 0, None, 2), ("etc/link", "link", 0o777, 0, 0, None, 1),
    ("etc/theirs", "link", 0o777, 33, 33, None, 1), ("root/key", "file", 0o644, 0, 0, None, 7),
    ("root", "dir", 0o700, 0, 0, None, 0), ("tmp", "dir", 0o1777, 0, 0, None, 0),
    ("srv/shut", "dir", 0o555, 0, 0, None, 0), ("srv/job", "fifo", 0o622, 0, 4, None, 0),
    ("srv/null", "char", 0o666, 0, 0, None, 0), ("srv/f@sys", "file", 0o644, 0, 0, None, 8),
    ("srv/\udcff", "file", 0o644, 33, 33, "user.note", 9), ("srv/new\nline", "file", 0o604, 0, 0, None, 10)]


@pytest.fixture
def nasty(tmp_path):
    """A tar of NASTY and 300 plain files, with links near and far."""
    need_root()
    many = [(f"usr/share/{number // 50}/{number}", "file", 0o644, 0, 0, None, number)
            for number in range(300)]
    top = trees.build(tmp_path / "nasty", [row for row in NASTY if row[0] != "root"] + many)
    (top / "root").chmod(0o700)
    (top / "bin/bash").hardlink_to(top / "bin/sh")
    (top / "srv/sh").hardlink_to(top / "bin/sh")
    (top / "etc/link2").hardlink_to(top / "etc/link")
    subprocess.run(["tar", "-C", top, "--xattrs", "--xattrs-include=*", "--format=pax", "-cf",
                    tmp_path / "nasty.tar", "."], check=True)
    return tmp_path / "nasty.tar"


def install(disk, tar):
    """The tar, and our commands and packages as they are now, on a boot disk."""
    packages = ("codaboot", "codaroot", "localvenus")
    files = {f"/root/lib/{path.relative_to(TOP / 'lib')}": path for package in packages
             for path in (TOP / "lib" / package).glob("*.py")}
    files |= {f"/root/{name}": TOP / "bin" / name for name in ("coda-populate-root", "coda-clone-root")}
    files["/root/nasty.tar"] = tar
    lines = ["mkdir /root/lib", *(f"mkdir /root/lib/{package}" for package in packages)]
    for path, source in files.items():
        folder, name = path.rsplit("/", 1)
        lines += [f"cd {folder}", f"write {source} {name}"]
    subprocess.run(["debugfs", "-w", "-f", "-", disk], input="\n".join([*lines, ""]), text=True, check=True,
                   capture_output=True)


def test_a_nasty_tree_goes_into_coda_and_is_finished_after_a_kill(shell, disk, nasty, tmp_path):
    install(disk, nasty)
    run = shell("coda")
    run("export PYTHONPATH=/root/lib; mkdir /srv/secrets")
    populate = "python3 /root/coda-populate-root --secrets=/srv/secrets/one /root/nasty.tar /coda/one"
    # Killed with one directory of many written, and again with most of them.
    for last in ("/coda/one/usr/share/0", "/coda/one/usr/share/4/249"):
        status, text = run(f"{populate} & while [ ! -e {last} ] && kill -0 $!; do usleep 50000; done;"
                           " kill -9 $! && wait $!", timeout=240)
        assert status == 137, text
        assert run("ls /coda/one.mtree")[0] != 0
    status, text = run(populate, timeout=240)
    assert status == 0 and "there is no cfs" in text, text
    status, text = run(f"{populate} --verify=all", timeout=240)
    assert status == 0 and "nothing to change: " in text, text

    # The same manifests as on a plain disk, but for the identity.
    done = command("coda-populate-root", f"--secrets={tmp_path}/secrets", nasty, tmp_path / "target")
    assert done.returncode == 0, done.stdout + done.stderr
    for theirs, ours in (("/coda/one.mtree", "target.mtree"),
                         ("/srv/secrets/one/manifest.mtree", "secrets/manifest.mtree")):
        expected = subprocess.run(f"tail -n +4 {tmp_path / ours} | sha256sum", shell=True, text=True,
                                  capture_output=True).stdout
        assert run(f"tail -n +4 {theirs} | sha256sum")[1] == expected.strip()

    # Nothing of the secrets is there, nor what cannot be; all is root's.
    assert run("cd /coda/one; find . ! -type f ! -type d ! -type l; find . -name shadow -o -name key"
               " -o -name '*@sys' -o -name '.coda-root.new'; find . ! -user 0; ls root")[1] == ""
    assert run("grep -c -e shadow -e key -e '@sys' /coda/one.mtree")[1] == "0"
    assert run("cd /coda/one; stat -c '%a %n' bin/su etc/read-only etc/all srv/shut tmp root;"
               " readlink etc/link; stat -c %h bin/sh srv/sh")[1].split("\n") == [
        "755 bin/su", "444 etc/read-only", "666 etc/all", "555 srv/shut", "755 tmp", "755 root",
        "../x", "2", "1"]
    assert run("cd /srv/secrets/one; stat -c %a . tree tree/etc tree/etc/shadow tree/srv/f@sys"
               )[1].split() == ["700", "700", "700", "600", "600"]

    status, text = run("python3 /root/coda-clone-root --secrets=/srv/secrets/one"
                       " --new-secrets=/srv/secrets/two /coda/one two", timeout=240)
    assert status == 0, text
    assert run("for name in one two; do tail -n +4 /coda/$name.mtree | sha256sum; done | uniq | wc -l"
               )[1] == "1"
