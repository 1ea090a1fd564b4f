"""coda-fsck-root: its decisions on text, and real checks of really damaged file systems."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
from conftest import TOP, command, environment, load, need_programs, need_root
from hypothesis import given
from hypothesis import strategies as st

ROOT_LINE = "22 1 254:1 / / {options} shared:1 - ext4 /dev/root {options}\n"
READ_ONLY = ROOT_LINE.format(options="ro,relatime")
MODULE = load("coda-fsck-root")


# --- deciding -----------------------------------------------------------

@pytest.mark.parametrize("text, expected", [
    ("/dev/vdb:/var/lib/coda", ("/dev/vdb", "/var/lib/coda")),
    ("LABEL=cache:/cache/", ("LABEL=cache", "/cache")),
    ("/dev/disk/by-path/pci-0000:00:04.0:/a:b", ("/dev/disk/by-path/pci-0000:00:04.0", "/a:b")),
])
def test_also_is_split_at_the_directory(module, text, expected):
    assert module.split_also(text) == expected


@pytest.mark.parametrize("text", ["/dev/vdb", "/dev/vdb:", ":/cache", "/dev/vdb:cache", ""])
def test_also_without_both_parts_is_refused(module, text):
    with pytest.raises(module.cli.UsageError):
        module.split_also(text)


def test_a_read_only_bind_of_a_writable_file_system_is_writable(module):
    table = module.facts.parse_mountinfo("1 0 8:1 / /mnt ro - ext4 /dev/sda1 rw\n"
                                         "2 0 8:2 / /usr ro - ext4 /dev/sda2 ro\n")
    assert module.is_writable(table, "8:1")
    assert not module.is_writable(table, "8:2")
    assert not module.is_writable(table, "8:3")


@pytest.mark.parametrize("mounted_on, fstype, mode, repair, expected", [
    ("/", "ext4", "auto", "preen", "e2fsck -p /dev/x"),
    ("/", "ext2", "force", "yes", "e2fsck -y -f /dev/x"),
    ("/", "ext3", "auto", "no", "e2fsck -n /dev/x"),
    ("/usr", "ext4", "auto", "preen", "e2fsck -p -f /dev/x"),
    (None, "ext4", "auto", "preen", "e2fsck -p /dev/x"),
    ("/", "vfat", "force", "preen", "fsck.vfat -a /dev/x"),
    ("/", "vfat", "auto", "yes", "fsck.vfat -y /dev/x"),
    ("/", "f2fs", "auto", "no", "fsck.f2fs -n /dev/x"),
])
def test_the_command_line_of_a_check(module, mounted_on, fstype, mode, repair, expected):
    table = module.facts.parse_mountinfo(f"1 0 8:1 / {mounted_on} ro - {fstype} /dev/x ro\n")
    target = module.Target(mounted_on or "/new", "/dev/x", "x", fstype, table[0] if mounted_on else None)
    assert shlex.join(module.check_argv(target, mode, repair)) == expected


@pytest.mark.parametrize("status, mounted, code", [
    (0, True, 0), (0, False, 0), (1, False, 0),
    (1, True, 2), (3, True, 2), (2, True, 2), (3, False, 2),
    (4, False, 4), (5, True, 4), (7, True, 4), (12, False, 4), (36, False, 4),
    (8, False, 111), (9, False, 111), (10, True, 111), (40, False, 111),
    (16, False, 100), (24, False, 100), (32, False, 32), (33, False, 32), (34, True, 32),
    (128, False, 127), (127, False, 100), (64, False, 111), (65, False, 111),
    (-9, False, 137), (-15, True, 143),
])
def test_every_bit_of_a_status_has_its_outcome(module, status, mounted, code):
    assert module.judge(status, mounted)[0] == code


@given(st.integers(0, 255), st.booleans())
def test_no_status_ends_in_an_undocumented_code(status, mounted):
    documented = {int(row) for row in re.findall(r"^  (\d+)  ", MODULE.__doc__, re.M)}
    code, reason = MODULE.judge(status, mounted)
    assert code in documented
    # Success means that nothing is left and nothing went wrong: only "corrected" may be set.
    assert (code == 0) == (status == 0 or status == 1 and not mounted)
    assert reason


def test_errors_left_count_for_more_than_a_reboot(module):
    assert module.worst([]) == 0
    assert module.worst([2, 4, 111]) == 4
    assert module.worst([2, 111]) == 111
    assert module.worst([2, 32]) == 32
    assert module.worst([4, 127, 100]) == 127
    assert module.worst([4, 137]) == 137


@pytest.mark.parametrize("line, expected", [
    ("1 0 25 /dev/vda", (1, 0)), ("1 25 25 /dev/vda", (1, 70)), ("2 1 2 /dev/vda", (2, 80)),
    ("5 9 9 /dev/vda", (5, 100)), ("5 99 9 /dev/vda", (5, 100)),
    ("1 0 0 /dev/vda", None), ("6 1 2 x", None), ("", None), ("1 2", None), ("Pass 1: x", None),
])
def test_progress_lines(module, line, expected):
    assert module.progress(line) == expected


@given(st.text())
def test_any_progress_line_is_a_share_or_nothing(line):
    seen = MODULE.progress(line)
    assert seen is None or 0 <= seen[1] <= 100


def test_identity_of_an_ext_file_system(module, tmp_path):
    need_programs("mke2fs")
    image = make_image(tmp_path / "image", "-L", "cache", "-U", "00112233-4455-6677-8899-aabbccddeeff")
    assert module.ext_identity(image.read_bytes()[:2048]) == {
        "UUID": "00112233-4455-6677-8899-aabbccddeeff", "LABEL": "cache"}
    assert module.ext_identity(b"") == module.ext_identity(bytes(2048)) == {}


# --- facts in files, nothing real ---------------------------------------

@pytest.fixture
def fake(tmp_path):
    """A prefix with a mount table, sysfs's name for 254:1, and a node."""
    def make(table=READ_ONLY):
        for name in ("proc/self", "sys/dev/block/254:1", "sys/class/block", "dev"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc/self/mountinfo").write_text(table)
        (tmp_path / "sys/dev/block/254:1/uevent").write_text("MAJOR=254\nMINOR=1\nDEVNAME=vda1\n")
        (tmp_path / "dev/vda1").touch()
        return tmp_path
    return make


def test_dry_run_names_the_device_that_sysfs_names(run_command, fake):
    need_programs("e2fsck")
    root = fake()
    done = run_command("coda-fsck-root", "--dry-run", f"--root={root}")
    assert done.stdout.splitlines() == [f"e2fsck -p {root}/dev/vda1", "mount -o remount,rw /"]
    assert (done.returncode, done.stderr) == (0, "")


def test_skip_makes_writable_without_a_check(run_command, fake):
    done = run_command("coda-fsck-root", "-n", "--mode=skip", f"--root={fake()}")
    assert (done.returncode, done.stdout) == (0, "mount -o remount,rw /\n")


def test_a_writable_root_is_left_alone(run_command, fake):
    root = fake(ROOT_LINE.format(options="rw,relatime"))
    done = run_command("coda-fsck-root", "-n", f"--root={root}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run_command("coda-fsck-root", "-n", "--mode=force", "--repair=yes", f"--root={root}")
    assert (done.returncode, done.stdout) == (0, "")
    assert "mounted writable" in done.stderr


@pytest.mark.parametrize("fstype, device", [("overlay", "0:30"), ("tmpfs", "0:31"), ("nfs", "0:32")])
def test_a_root_without_a_device_is_only_made_writable(run_command, fake, fstype, device):
    root = fake(f"1 0 {device} / / ro - {fstype} somewhere ro\n")
    done = run_command("coda-fsck-root", "-n", f"--root={root}")
    assert (done.returncode, done.stdout) == (0, "mount -o remount,rw /\n")
    assert done.stderr == f"coda-fsck-root: no check of '/': {fstype} has no device\n"


def test_a_type_without_a_check_program_goes_on(run_command, fake):
    root = fake("1 0 254:1 / / ro - nosuchfs /dev/root ro\n")
    done = run_command("coda-fsck-root", "-n", f"--root={root}")
    assert (done.returncode, done.stdout) == (0, "mount -o remount,rw /\n")
    assert "there is no fsck.nosuchfs" in done.stderr


@pytest.mark.parametrize("args, word", [
    (["--mode=maybe"], "--mode='maybe'"), (["--repair=perhaps"], "--repair='perhaps'"),
    (["--also=/dev/vdb"], "--also='/dev/vdb'"), (["/nowhere"], "nothing is mounted there"),
])
def test_wrong_usage_is_100(run_command, fake, args, word):
    done = run_command("coda-fsck-root", f"--root={fake()}", *args)
    assert (done.returncode, done.stdout) == (100, "")
    assert word in done.stderr


def test_a_missing_device_is_111_and_named(run_command, fake):
    root = fake()
    (root / "dev/vda1").unlink()
    done = run_command("coda-fsck-root", f"--root={root}")
    assert done.returncode == 111 and "/dev/vda1'" in done.stderr
    done = run_command("coda-fsck-root", f"--root={fake()}", "-n", "--also=LABEL=none-such:/mnt")
    assert done.returncode == 111 and "LABEL=none-such" in done.stderr


# --- a false e2fsck: what no damage brings about on demand ---------------

def false_program(directory, text, name="e2fsck"):
    """A PATH whose e2fsck is the shell script `text`."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{text}\n")
    (directory / name).chmod(0o755)
    return {"PATH": f"{directory}:{environment()['PATH']}"}


@pytest.mark.parametrize("status, code", [(1, 2), (2, 2), (4, 4), (8, 111), (16, 100), (32, 32), (128, 127)])
def test_a_check_that_ends_so_never_makes_writable(run_command, fake, tmp_path, status, code):
    path = false_program(tmp_path / "bin", f"echo what happened; exit {status}")
    done = run_command("coda-fsck-root", f"--root={fake()}", env=environment(**path))
    # A remount would be of this machine's real root, which the false table calls /dev/root.
    assert (done.returncode, done.stdout) == (code, "")
    assert "coda-fsck-root: what happened" in done.stderr.splitlines()
    assert "e2fsck -p" in done.stderr


def test_a_killed_check_is_128_and_the_signal(run_command, fake, tmp_path):
    path = false_program(tmp_path / "bin", "kill -KILL $$")
    done = run_command("coda-fsck-root", f"--root={fake()}", env=environment(**path))
    assert done.returncode == 137 and "signal 9" in done.stderr


def test_a_long_check_says_how_far_it_is(run_command, fake, tmp_path):
    path = false_program(tmp_path / "bin", 'sleep 2.1; echo "2 10 20 x" >&"$2"; exit 4')
    done = run_command("coda-fsck-root", f"--root={fake()}", env=environment(**path))
    assert "/dev/vda1, pass 2: 80 of 100 (80%)" in done.stderr


def test_the_real_e2fsck_tells_how_far_it_is(module, image, monkeypatch):
    """In the words that progress() reads; the image is too small for it to be said by itself."""
    seen = []
    monkeypatch.setattr(module.say.Progress, "update", lambda bar, share: seen.append((bar.what, share)))
    target = module.Target("/new", str(image), "disk", "ext4", None)
    ended = list(module.check_all([(target, ["e2fsck", "-f", "-p", str(image)])]))
    assert [(status, bool(output)) for _, _, status, output in ended] == [(0, True)]
    assert seen and seen[-1] == (f"checking {image}, pass 5", 100)
    assert [share for _, share in seen] == sorted(share for _, share in seen)


def test_sigterm_ends_the_check_too(fake, tmp_path):
    mark = tmp_path / "pid"
    path = false_program(tmp_path / "bin", f'echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 60')
    process = subprocess.Popen(
        [sys.executable, TOP / "bin/coda-fsck-root", f"--root={fake()}"],
        env=environment(**path), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with process:
        wait_for(mark.exists)
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    assert not os.path.exists(f"/proc/{mark.read_text().strip()}")


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


# --- real file systems, in a mount namespace of their own ----------------

def make_image(path, *args):
    """A small ext3 image: two files and a directory."""
    with open(path, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext3", *args, path], check=True)
    source = path.parent / "content"
    source.write_text("content\n")
    debugfs(path, f"write {source} one", f"write {source} two", "mkdir d")
    return path


def debugfs(path, *commands):
    done = subprocess.run(["debugfs", "-w", "-f", "-", path], input="\n".join([*commands, ""]),
                          check=True, capture_output=True, text=True)
    return done.stdout


def damage_lightly(path):
    """A directory without its inode: e2fsck -p repairs it."""
    debugfs(path, "clri d", "ssv state 2")


def damage_badly(path):
    """Two files that share a block: e2fsck -p gives up on it."""
    block = debugfs(path, "bmap one 0").splitlines()[1]
    debugfs(path, f"sif two block[0] {block}", "ssv state 2")


PRELUDE = """
set -u
coda() { "$PYTHON" "$TOP/bin/coda-fsck-root" "$@"; }
devices=
trap 'cd /; for d in $devices; do losetup -d "$d"; done' EXIT
attach() { dev=$(losetup -f --show "$1") && devices="$devices $dev"; }
"""


def in_namespace(script, *args):
    """Run a shell script in a mount namespace that goes with it."""
    need_root()
    need_programs("unshare", "losetup", "mke2fs", "debugfs", "e2fsck")
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", PRELUDE + script, "sh", *map(str, args)], capture_output=True,
        text=True, timeout=120, env=environment(PYTHON=sys.executable, TOP=str(TOP)))


@pytest.fixture
def image(tmp_path):
    need_programs("mke2fs", "debugfs")
    (tmp_path / "mnt").mkdir()
    return make_image(tmp_path / "image")


MOUNTED = """attach "$1"; mount -o ro,nosuid "$dev" "$2"; shift
    coda "$@"; echo "status $?"; grep "$1" /proc/mounts"""
ALSO = 'attach "$1"; d=$2; shift 2; coda "--also=$dev:$d" "$@"; echo "status $?"; grep "$d" /proc/mounts'


def test_a_clean_file_system_becomes_writable_and_keeps_its_flags(image, tmp_path):
    done = in_namespace(MOUNTED + '\ncoda "$1"; echo "again $?"', image, tmp_path / "mnt")
    assert "status 0" in done.stdout and "again 0" in done.stdout
    assert " rw,nosuid," in done.stdout
    assert done.stderr == ""


def test_a_light_damage_below_a_mount_asks_for_a_reboot(image, tmp_path):
    damage_lightly(image)
    done = in_namespace(MOUNTED, image, tmp_path / "mnt")
    assert "status 2" in done.stdout and " ro,nosuid," in done.stdout
    assert "has deleted/unused inode" in done.stderr and "a reboot is needed" in done.stderr
    assert subprocess.run(["e2fsck", "-fn", image], capture_output=True).returncode == 0


def test_a_bad_damage_is_left_and_read_only(image, tmp_path):
    damage_badly(image)
    done = in_namespace(MOUNTED, image, tmp_path / "mnt")
    assert "status 4" in done.stdout and " ro,nosuid," in done.stdout
    assert "RUN fsck MANUALLY" in done.stderr
    assert re.search(r"\(by hand: e2fsck -f /dev/loop\d+\)", done.stderr)


@pytest.mark.parametrize("damage, status, options", [(None, 0, " rw,"), (damage_lightly, 2, " ro,")])
def test_the_root_itself(image, tmp_path, damage, status, options):
    """As the first program of a machine: the image is /, read-only; no environment, no stdin,
    SIGCHLD ignored."""
    import docopt

    if damage:
        damage(image)
    debugfs(image, *(f"mkdir {name}" for name in (
        "usr", "lib", "lib64", "proc", "dev", "sys", "etc", "top", "python")))
    done = in_namespace("""
        attach "$1"; mount -o ro "$dev" "$2"; cd "$2"
        for d in usr lib lib64 proc dev sys etc; do mount --rbind /$d $d; done
        mount --bind "$TOP" top; mount --bind "$3" python
        trap '' CHLD
        chroot . /usr/bin/env -i PYTHONPATH=/top/lib:/python /usr/bin/python3 /top/bin/coda-fsck-root <&-
        echo "status $?"; grep "$2 " /proc/mounts""",
        image, tmp_path / "mnt", os.path.dirname(os.path.dirname(docopt.__file__)))
    assert f"status {status}" in done.stdout and options in done.stdout, done
    assert ("REBOOT" in done.stderr) == bool(status)


@pytest.mark.parametrize("damage, args, status, word", [
    (None, [], 0, ""), (damage_lightly, [], 0, "corrected"),
    (damage_badly, ["--repair=yes"], 0, "corrected"), (damage_badly, ["--mode=skip"], 0, ""),
])
def test_one_more_device_is_checked_and_mounted(image, tmp_path, damage, args, status, word):
    if damage:
        damage(image)
    # Its directory is made; a second run finds all done.
    script = ALSO + '; coda "--also=$dev:$d"; echo "again $?"; cat "$d/one"'
    done = in_namespace(script, image, tmp_path / "new/dir", *args)
    assert f"status {status}" in done.stdout, done
    assert f" {tmp_path}/new/dir ext4 rw," in done.stdout
    assert "again 0" in done.stdout and "content" in done.stdout
    assert word in done.stderr


@pytest.mark.parametrize("damage, args", [
    (damage_badly, []), (damage_badly, ["--repair=no"]), (damage_lightly, ["--repair=no"])])
def test_one_more_device_with_errors_left_is_not_mounted(image, tmp_path, damage, args):
    damage(image)
    before = image.read_bytes()
    done = in_namespace(ALSO, image, tmp_path / "mnt", *args)
    assert "status 4" in done.stdout and "ext4" not in done.stdout
    if args:
        assert image.read_bytes() == before


def test_no_super_block_is_111(image, tmp_path):
    with open(image, "r+b") as file:
        file.write(bytes(4096))
    done = in_namespace(ALSO, image, tmp_path / "mnt")
    assert "status 111" in done.stdout and "cannot tell the file system" in done.stderr


def test_a_journal_is_replayed(image, tmp_path):
    """A copy of a mounted file system has a journal to replay: what a power cut leaves."""
    script = """
        attach "$1"; mount "$dev" "$2"; echo more > "$2/three"; sync; cp "$1" "$1.copy"; umount "$2"
        dumpe2fs -h "$1.copy" 2>/dev/null | grep -c needs_recovery
        attach "$1.copy"; coda -v "--also=$dev:$2"; echo "status $?"; cat "$2/three" """
    done = in_namespace(script, image, tmp_path / "mnt")
    assert done.stdout == "1\nstatus 0\nmore\n"
    assert "recovering journal" in done.stderr


def test_a_device_by_label_and_by_uuid(image, tmp_path):
    label = f"t{os.getpid()}"
    make_image(image, "-L", label, "-U", "5c0da5c0-da5c-40da-85c0-da5c0da5c0da")
    script = """
        attach "$1"; coda "--also=LABEL=$3:$2/a" --also=UUID=5c0da5c0-da5c-40da-85c0-da5c0da5c0da:$2/b
        echo "status $?"; grep -c "$2/[ab] ext4 rw" /proc/mounts"""
    done = in_namespace(script, image, tmp_path, label)
    assert done.stdout == "status 0\n2\n", done


def test_a_directory_behind_a_link_is_found_again(image, tmp_path):
    (tmp_path / "link").symlink_to("mnt")
    script = """
        attach "$1"; coda "--also=$dev:$2/link"; coda "--also=$dev:$2/link"; echo "status $?"
        umount "$2/mnt"; mount -o ro "$dev" "$2/mnt"; coda "$2/link/"; echo "status $?"
        grep -c "$2/mnt ext. rw" /proc/mounts; grep -c "$2/mnt" /proc/mounts"""
    done = in_namespace(script, image, tmp_path)
    assert done.stdout == "status 0\nstatus 0\n1\n1\n", done


def test_one_that_fails_does_not_stop_the_others(image, tmp_path):
    script = """attach "$1"; coda --also=/dev/none:/none "--also=$dev:$2"; echo "status $?"; ls "$2" """
    done = in_namespace(script, image, tmp_path / "mnt")
    assert done.stdout.startswith("status 111\n") and "one\n" in done.stdout
    assert "'/dev/none': it is not there" in done.stderr


def test_another_mount_on_the_directory_is_an_error(image, tmp_path):
    script = """attach "$1"; mount -t tmpfs other "$2"; coda "--also=$dev:$2"; echo "status $?" """
    done = in_namespace(script, image, tmp_path / "mnt")
    assert "status 100" in done.stdout and "'other' is mounted there" in done.stderr


def test_a_file_system_mounted_writable_is_never_checked(image, tmp_path):
    damage_lightly(image)
    script = """
        attach "$1"; mount "$dev" "$2"; mount --bind "$2" "$3"; mount -o remount,bind,ro "$3"
        before=$(dumpe2fs -h "$dev" 2>/dev/null | grep state)
        coda --mode=force --repair=yes "$2" "$3" "--also=$dev:$2"; echo "status $?"
        [ "$before" = "$(dumpe2fs -h "$dev" 2>/dev/null | grep state)" ] && echo untouched"""
    (tmp_path / "bind").mkdir()
    done = in_namespace(script, image, tmp_path / "mnt", tmp_path / "bind")
    assert "status 0" in done.stdout and "untouched" in done.stdout, done
    assert done.stderr.count("mounted writable") == 3
    assert "e2fsck" not in done.stderr


def test_devices_are_checked_side_by_side(image, tmp_path):
    """Each of the two false checks waits for the other one to have begun."""
    path = false_program(tmp_path / "bin", f"""
        for last; do :; done
        touch "{tmp_path}/began-$(basename "$last")"
        n=0; while [ "$(ls {tmp_path}/began-* | wc -l)" -lt 2 ]; do
            n=$((n + 1)); [ $n -lt 200 ] || exit 8; sleep 0.05; done""")
    second = make_image(tmp_path / "second")
    script = f"""
        attach "$1"; one=$dev; attach "$2"; PATH={path['PATH']}
        coda "--also=$one:$3/a" "--also=$dev:$3/b"; echo "status $?" """
    done = in_namespace(script, image, second, tmp_path)
    assert "status 0" in done.stdout, done


def test_a_device_that_cannot_be_written_is_111(image, tmp_path):
    script = """dev=$(losetup -r -f --show "$1") && devices=$dev; mount -o ro "$dev" "$2"
        coda --mode=skip "$2"; echo "status $?" """
    done = in_namespace(script, image, tmp_path / "mnt")
    assert "status 111" in done.stdout
    assert re.search(r"cannot make '.*/mnt' writable: ", done.stderr)


def test_the_check_program_is_missing(fake, tmp_path):
    """PATH cannot hide /usr/sbin: in a root without e2fsck only."""
    need_root()
    done = in_namespace(f"""
        mount --bind /dev/null "$(readlink -f "$(command -v e2fsck)")"
        coda --root={fake()}; echo "status $?" """)
    assert "status 127" in done.stdout and "cannot find 'e2fsck'" in done.stderr


def test_help_needs_nothing():
    assert command("coda-fsck-root", "--help", env=environment(PATH="/nowhere")).returncode == 0
