"""coda-mount-dev: what should be mounted, decided on text; and real mounts in a namespace."""

import struct
import subprocess
import sys

import pytest
from conftest import TOP, environment, need_programs, need_root

# --- deciding -----------------------------------------------------------


def mount(module, line):
    return module.facts.parse_mountinfo(line)[0]


def test_devtmpfs_is_what_is_mounted_unless_told(module):
    assert [(w.source, w.target, w.fstype) for w in module.wishes("/new", None, None)] == [
        ("devtmpfs", "/new/dev", "devtmpfs"), ("devpts", "/new/dev/pts", "devpts"),
        ("shm", "/new/dev/shm", "tmpfs")]


def test_an_image_comes_through_a_loop_device(module):
    first = module.wishes("/new", "/dev.img", None)[0]
    assert (first.source, first.target, first.fstype) == ("/dev.img", "/new/dev", "ext4")
    # Never nodev: its nodes would be dead.
    assert first.options == "loop,nosuid,noexec,noatime"


@pytest.mark.parametrize("tmp", ["1", "64M", "1g", "512k", "10%"])
def test_a_size_is_a_tmpfs(module, tmp):
    assert vars(module.wishes("/new", None, tmp)[-1]) == {
        "source": "tmp", "target": "/new/tmp", "fstype": "tmpfs",
        "options": f"nosuid,nodev,mode=1777,size={tmp}"}


def test_a_path_is_a_device(module):
    assert vars(module.wishes("/new", None, "/dev/vdb")[-1]) == {
        "source": "/dev/vdb", "target": "/new/tmp", "fstype": "auto", "options": "nosuid,nodev"}


@pytest.mark.parametrize("tmp", ["0", "M", "64T", "64M,mode=0", "vdb", "-1", "10%%"])
def test_anything_else_is_refused(module, tmp):
    with pytest.raises(module.cli.UsageError, match="--tmp"):
        module.wishes("/new", None, tmp)


def test_options_become_flags_and_data(module):
    flags = module.mount.NOSUID | module.mount.NOEXEC
    assert module.split_options("loop,nosuid,noexec") == (flags, "")
    assert module.split_options("nosuid,noexec,gid=5,mode=620") == (flags, "gid=5,mode=620")
    assert module.split_options("nodev,noatime") == (module.mount.NODEV | module.mount.NOATIME, "")


def test_already_so_is_told_from_something_else(module):
    tmpfs = mount(module, "1 0 0:40 / /new/dev rw - tmpfs tmpfs rw")
    devtmpfs = mount(module, "1 0 0:5 / /new/dev rw - devtmpfs devtmpfs rw")
    loop = mount(module, "1 0 7:3 / /new/dev rw - ext4 /dev/loop3 rw")
    kernel, image = (module.wishes("/new", image, None)[0] for image in (None, "/dev.img"))
    disk = module.wishes("/new", None, "/dev/vdb")[-1]
    assert not module.is_there(kernel, None)
    assert module.is_there(kernel, devtmpfs)
    assert module.is_there(image, loop, backing="/dev.img")
    assert module.is_there(disk, mount(module, "1 0 254:16 / /new/tmp rw - ext4 /dev/root rw"), "", "254:16")
    for wish, found, backing in [(kernel, tmpfs, ""), (kernel, loop, "/dev.img"), (image, devtmpfs, ""),
                                 (image, loop, "/other.img"), (disk, tmpfs, "")]:
        with pytest.raises(module.cli.UsageError, match="is mounted there"):
            module.is_there(wish, found, backing, "254:16")


def test_the_loop_configuration_has_the_kernel_s_layout(module):
    """Offsets by linux/loop.h: fd 0, block size 4, info 8; in it flags 52 and the file's name 56."""
    data = module.loop_config(7, "/" + "x" * 100)
    assert len(data) == 304
    assert struct.unpack_from("=II", data) == (7, 0)
    assert struct.unpack_from("=I", data, 8 + 52) == (4,)
    assert data[8 + 56:8 + 56 + 64] == b"/" + b"x" * 62 + b"\0"


# --- processes, nothing mounted -----------------------------------------

@pytest.fixture
def new_root(tmp_path):
    for name in ("dev", "tmp"):
        (tmp_path / "root" / name).mkdir(parents=True)
    return tmp_path / "root"


def test_dry_run_prints_the_mounts(run_command, new_root):
    done = run_command("coda-mount-dev", "--dry-run", "--tmp=64M", new_root)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"mount -t devtmpfs -o nosuid,mode=0755 devtmpfs {new_root}/dev"
    assert f"ln -s /proc/self/fd {new_root}/dev/fd" in lines
    assert lines[-1] == f"mount -t tmpfs -o nosuid,nodev,mode=1777,size=64M tmp {new_root}/tmp"
    assert not list((new_root / "dev").iterdir())


@pytest.mark.parametrize("change, args, word", [
    (lambda root: (root / "dev").rmdir(), [], "root/dev': it is no directory"),
    (lambda root: (root / "tmp").rmdir(), ["--tmp=1M"], "root/tmp': it is no directory"),
    (lambda root: None, ["--image=/nowhere.img"], "'/nowhere.img': no such file"),
    (lambda root: None, ["--tmp=much"], "--tmp='much'"),
    (lambda root: None, ["--tmp=/dev/null"], "'/dev/null': it is no block device"),
    (lambda root: None, ["--tmp=/dev/nowhere"], "'/dev/nowhere': No such file"),
])
def test_wrong_usage_is_100_with_one_hint_at_most(run_command, new_root, change, args, word):
    change(new_root)
    done = run_command("coda-mount-dev", *args, new_root)
    assert (done.returncode, done.stdout) == (100, "")
    assert word in done.stderr and len(done.stderr.splitlines()) <= 2


def test_a_link_that_leads_out_of_the_root_is_refused(run_command, new_root):
    """An absolute link in Coda would lead into the system that boots."""
    (new_root / "dev").rmdir()
    (new_root / "dev").symlink_to("/dev")
    done = run_command("coda-mount-dev", "-n", new_root)
    assert done.returncode == 100 and "mkdir" in done.stderr


# --- real mounts ------------------------------------------------------------

PRELUDE = """
set -u
coda() { "$PYTHON" "$TOP/bin/coda-mount-dev" "$@"; echo "status $?"; }
"""


def in_namespace(script, *args):
    """Run a shell script in a mount namespace that goes with it."""
    need_root()
    need_programs("unshare", "mke2fs", "debugfs", "e2fsck", "losetup")
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", PRELUDE + script, "sh", *map(str, args)], capture_output=True,
        text=True, timeout=120, env=environment(PYTHON=sys.executable, TOP=str(TOP)))


@pytest.fixture
def image(run_command, tmp_path):
    need_programs("mke2fs", "debugfs", "e2fsck")
    assert run_command("coda-make-dev", tmp_path / "dev.img").returncode == 0
    return tmp_path / "dev.img"


USE = """
    echo lost > "$1/dev/null" && [ -c "$1/dev/null" ] && echo null
    [ "$(head -c 3 "$1/dev/zero" | wc -c)" = 3 ] && echo zero
    ls "$1/dev/pts/ptmx" && : > "$1/dev/shm/file" && readlink "$1/dev/fd"
    awk -v at="$1/" 'index($2 "/", at) == 1 { print $2, $3, $4 }' /proc/mounts"""


def test_devtmpfs_is_mounted_and_works(new_root):
    done = in_namespace('coda "$1"; coda -v "$1"' + USE, new_root)
    assert done.stdout.count("status 0") == 2 and done.stderr == ""
    assert "null\nzero\n" in done.stdout and "/proc/self/fd\n" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith(f"{new_root}/dev")][1:]
    assert [row.split()[1] for row in rows] == ["devtmpfs", "devpts", "tmpfs"]
    assert "gid=5,mode=620,ptmxmode=666" in rows[1]


def test_an_image_is_mounted_and_works(new_root, image):
    done = in_namespace('''
        coda --image="$2" "$1"; coda -v --image="$2" "$1"''' + USE + '''
        chown 1:1 "$1/dev/tty1"; losetup -n -O NAME,AUTOCLEAR -j "$2"
        umount "$1/dev/pts" "$1/dev/shm" "$1/dev"; losetup -n -j "$2"; echo "loop gone"
        coda --image="$2" "$1"; stat -c %u "$1/dev/tty1" ''', new_root, image)
    assert done.stdout.count("status 0") == 3, done
    assert done.stderr == ""
    assert "null\nzero\n" in done.stdout and "/proc/self/fd\n" in done.stdout
    assert f"{new_root}/dev ext4 rw,nosuid,noexec,noatime\n" in done.stdout
    # The loop device is one, and goes with the last umount; what was changed has stayed.
    assert done.stdout.splitlines()[-4].endswith(" 1") and "\nloop gone\nstatus 0\n1\n" in done.stdout


def test_an_image_with_light_damage_is_repaired_first(new_root, image):
    subprocess.run(["debugfs", "-w", "-f", "-", image], input=b"clri zero\nssv state 2\n", check=True,
                   capture_output=True)
    assert subprocess.run(["e2fsck", "-fn", image], capture_output=True).returncode != 0
    done = in_namespace('coda --image="$2" "$1"; umount "$1/dev/pts" "$1/dev/shm" "$1/dev"', new_root, image)
    assert done.stdout == "status 0\n"
    assert subprocess.run(["e2fsck", "-fn", image], capture_output=True).returncode == 0


def test_an_image_beyond_repair_is_4_and_not_mounted(new_root, image):
    subprocess.run(["debugfs", "-w", "-f", "-", image], input=b"clri <2>\nssv state 2\n", check=True,
                   capture_output=True)
    done = in_namespace('coda --image="$2" "$1"; grep "$1" /proc/mounts', new_root, image)
    assert done.stdout == "status 4\n"
    assert "errors are left" in done.stderr and f"(by hand: e2fsck -f {image})" in done.stderr


def test_what_is_no_image_is_111(new_root, tmp_path):
    (tmp_path / "text").write_text("no file system")
    done = in_namespace('coda --image="$2" "$1"; grep "$1" /proc/mounts', new_root, tmp_path / "text")
    assert done.stdout == "status 111\n" and "e2fsck -p" in done.stderr


def test_something_else_on_dev_is_an_error(new_root, image):
    done = in_namespace('''
        mount -t tmpfs other "$1/dev"; coda "$1"; coda --image="$2" "$1"
        umount "$1/dev"; coda --image="$2" "$1"; coda "$1"''', new_root, image)
    assert done.stdout == "status 100\nstatus 100\nstatus 0\nstatus 100\n"
    assert done.stderr.count("'other' is mounted there") == 2
    assert f"'{image}' is mounted there" in done.stderr


def test_a_tmp_of_a_size(new_root):
    done = in_namespace('''
        coda --tmp=1M "$1"; coda --tmp=1M "$1"; stat -c %a "$1/tmp"
        head -c 2M /dev/zero > "$1/tmp/file" || echo full; grep "$1/tmp" /proc/mounts''', new_root)
    assert done.stdout.startswith("status 0\nstatus 0\n1777\nfull\n"), done
    assert " tmpfs rw,nosuid,nodev,relatime,size=1024k" in done.stdout


@pytest.mark.parametrize("fstype", ["ext4", "ext2"])
def test_a_tmp_on_a_block_device(new_root, tmp_path, fstype):
    with open(tmp_path / "disk", "wb") as file:
        file.truncate(8 << 20)
    done = in_namespace(f'''
        mke2fs -q -F -t {fstype} "$2"; dev=$(losetup -f --show "$2"); trap 'losetup -d "$dev"' EXIT
        coda -v "--tmp=$dev" "$1"; coda "--tmp=$dev" "$1"; stat -c %a "$1/tmp"; grep "$1/tmp" /proc/mounts''',
                        new_root, tmp_path / "disk")
    assert done.stdout.startswith("status 0\nstatus 0\n1777\n"), done
    assert " ext4 rw,nosuid,nodev," in done.stdout
    assert "e2fsck -p /dev/loop" in done.stderr


def test_a_disk_without_a_file_system_is_111(new_root, tmp_path):
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    done = in_namespace('''
        dev=$(losetup -f --show "$2"); trap 'losetup -d "$dev"' EXIT; coda "--tmp=$dev" "$1"''',
                        new_root, tmp_path / "disk")
    assert done.stdout == "status 111\n"
    assert "no known file system" in done.stderr


def test_a_root_behind_a_link_and_a_relative_one(new_root, tmp_path):
    (tmp_path / "link").symlink_to(new_root)
    done = in_namespace('coda "$2"; cd "$1/.."; coda root; grep -c "$1/dev" /proc/mounts', new_root,
                        tmp_path / "link")
    assert done.stdout == "status 0\nstatus 0\n3\n"
    assert done.stderr == ""


def test_a_bare_environment_and_closed_input(new_root, image):
    """As the first program of a machine: no PATH, SIGCHLD ignored, ROOT read-only."""
    done = in_namespace('''
        mount -o bind,ro "$1" "$1"
        trap '' CHLD
        env -i PYTHONPATH="$PYTHONPATH" "$PYTHON" "$TOP/bin/coda-mount-dev" --image="$2" "$1" <&-
        echo "status $?"; grep -c "$1/dev" /proc/mounts''', new_root, image)
    assert done.stdout == "status 0\n3\n", done
