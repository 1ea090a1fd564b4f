"""coda-make-dev: the table, the script for debugfs, and real images read back."""

import os
import re
import subprocess

import pytest
from conftest import command, environment, load, need_programs, need_root
from hypothesis import given
from hypothesis import strategies as st

MODULE = load("coda-make-dev")


# --- deciding -----------------------------------------------------------

def test_the_built_in_table_has_what_every_system_opens(module):
    nodes = module.parse_table(module.TABLE, "table")
    module.check_directories(nodes)
    assert nodes["null"] == ("null", "c", 0o666, 0, 0, (1, 3))
    assert nodes["console"] == ("console", "c", 0o600, 0, 5, (5, 1))
    assert nodes["cfs0"] == ("cfs0", "c", 0o600, 0, 0, (67, 0))
    assert nodes["shm"] == ("shm", "d", 0o1777, 0, 0, None)
    assert nodes["stdin"].rest == "/proc/self/fd/0"
    assert {"zero", "full", "random", "urandom", "tty", "ptmx", "pts", "fd", "stdout", "stderr",
            "tty0", "tty63", "ttyS0", "ttyS3", "sda", "sda15", "net/tun"} <= set(nodes)
    numbers = [(node.type, node.rest) for node in nodes.values() if node.type in "bc"]
    assert len(numbers) == len(set(numbers))


def test_a_range_counts_name_and_minor(module):
    nodes = module.parse_table("a[9-11] b 660 0 6 7:128 # comment\n\n# all comment\n", "t")
    assert [(n.name, n.rest) for n in nodes.values()] == [
        ("a9", (7, 128)), ("a10", (7, 129)), ("a11", (7, 130))]


def test_the_later_row_of_a_name_counts(module):
    assert module.parse_table("a c 600 0 0 1:1\na c 666 0 0 1:2\n", "t")["a"].rest == (1, 2)


@pytest.mark.parametrize("row", [
    "null c 666 0 0", "null c 666 0 0 1", "null c 666 0 0 1:3 4", "null x 666 0 0 1:3", "null c 888 0 0 1:3",
    "null c 666 root 0 1:3", "null c 666 0 0 -1:3", "null c 666 0 0 4096:0", "null c 666 0 0 1:65536",
    "pts d 755 0 0 1:3", "fd l 777 0 0", "a[3-1] c 666 0 0 1:3", "../null c 666 0 0 1:3",
    "a[0-9] c 666 0 0 1:65530", "/null c 666 0 0 1:3", "a//b c 666 0 0 1:3", 'a"b c 666 0 0 1:3',
    'fd l 777 0 0 a"b', "null", "p p 600 0 0 1:1",
])
def test_a_row_that_makes_no_sense_is_named(module, row):
    with pytest.raises(module.cli.UsageError, match="'my.table', line 2: "):
        module.parse_table(f"# first\n{row}\n", "my.table")


@pytest.mark.parametrize("text", ["a/b c 666 0 0 1:3", "a c 600 0 0 1:1\na/b c 666 0 0 1:3"])
def test_a_node_needs_its_directory(module, text):
    with pytest.raises(module.cli.UsageError, match="no directory 'a'"):
        module.check_directories(module.parse_table(text, "t"))


def test_the_script_makes_a_directory_before_what_is_in_it(module):
    nodes = module.parse_table("z c 600 1 2 1:2\nd/n b 660 0 6 8:1\nd d 755 0 0\nl l 777 0 0 d/n\n"
                               "p p 640 0 0\n", "t")
    assert module.script(nodes.values()) == [
        'mkdir "d"', 'sif "d" mode 040755', 'sif "d" uid 0', 'sif "d" gid 0',
        'cd "/d"',
        'mknod "n" b 8 1', 'sif "n" mode 060660', 'sif "n" uid 0', 'sif "n" gid 6',
        'cd "/"',
        'symlink "l" "d/n"',
        'mknod "p" p', 'sif "p" mode 010640', 'sif "p" uid 0', 'sif "p" gid 0',
        'mknod "z" c 1 2', 'sif "z" mode 020600', 'sif "z" uid 1', 'sif "z" gid 2']


@given(st.text(min_size=1))
def test_no_name_gets_out_of_its_quotes(name):
    try:
        MODULE.checked(name)
    except ValueError:
        return
    assert not set('"\n\r\0') & set(name) and not name.startswith("/") and ".." not in name.split("/")


def test_complaints_are_all_but_the_banner(module):
    assert module.complaints("debugfs 1.47.0 (5-Feb-2023)\n\n") == []
    assert module.complaints("debugfs 1.47.0 (5-Feb-2023)\nmknod: File exists\n") == ["mknod: File exists"]


# --- real images, without root --------------------------------------------

@pytest.fixture
def image(tmp_path):
    need_programs("mke2fs", "debugfs", "e2fsck")
    return tmp_path / "dev.img"


def content(image, directory="/"):
    """{name: (mode, uid, gid, size or number)} of a directory in an image, by debugfs."""
    out = subprocess.run(["debugfs", "-R", f"ls -p {directory}", image], capture_output=True, text=True,
                         check=True).stdout
    rows = [row.split("/") for row in out.splitlines() if row.startswith("/")]
    return {row[5]: (row[2], int(row[3]), int(row[4])) for row in rows}


def stat(image, name):
    return subprocess.run(["debugfs", "-R", f"stat {name}", image], capture_output=True, text=True,
                          check=True).stdout


def test_the_image_holds_the_table(run_command, image):
    done = run_command("coda-make-dev", image)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    names = content(image)
    assert names["null"] == ("020666", 0, 0)
    assert names["tty0"] == ("020620", 0, 5)
    assert names["sda"] == ("060660", 0, 6)
    assert names["shm"] == ("041777", 0, 0)
    assert names["fd"][0] == "120777"
    assert names["."] == ("040755", 0, 0)
    assert "tun" in content(image, "/net")
    assert "Device major/minor number: 01:03" in stat(image, "/null")
    assert 'Fast link dest: "/proc/self/fd"' in stat(image, "/fd")
    assert subprocess.run(["e2fsck", "-fn", image], capture_output=True).returncode == 0
    assert not list(image.parent.glob("*.new"))


def test_the_same_table_gives_the_same_bytes(run_command, image, tmp_path):
    other = tmp_path / "other.img"
    for path in image, other:
        run_command("coda-make-dev", path)
    assert image.read_bytes() == other.read_bytes()
    assert "Jun 28" in stat(image, "/null") and "1998" in stat(image, "/null")
    run_command("coda-make-dev", "--force", other, env=environment(SOURCE_DATE_EPOCH="86400"))
    assert "1970" in stat(other, "/null")


def test_already_so_is_left_and_different_is_an_error(run_command, image):
    run_command("coda-make-dev", image)
    before = os.stat(image)
    done = run_command("coda-make-dev", "-v", image)
    assert done.returncode == 0 and "already so" in done.stderr
    assert os.stat(image).st_ino == before.st_ino
    done = run_command("coda-make-dev", "--size=2", image)
    assert done.returncode == 100 and "a different one is there" in done.stderr
    assert os.stat(image).st_size == 4 << 20
    assert run_command("coda-make-dev", "--size=2", "--force", image).returncode == 0
    assert os.stat(image).st_size == 2 << 20
    assert not list(image.parent.glob("*.new"))


def test_a_table_adds_to_the_built_in_one(run_command, image, tmp_path):
    table = tmp_path / "table"
    table.write_text("snd d 755 0 0\nsnd/seq c 660 0 29 116:1\n"
                     "net/more c 600 0 0 300:65535\nnull c 600 7 8 1:3\n")
    assert run_command("coda-make-dev", f"--table={table}", image).returncode == 0
    assert content(image, "/snd")["seq"] == ("020660", 0, 29)
    assert content(image)["null"] == ("020600", 7, 8) and "zero" in content(image)
    # Beyond eight bits the number is packed in another way.
    assert "300:65535" in stat(image, "/net/more")


def test_a_copy_of_a_directory(run_command, image, tmp_path):
    source = tmp_path / "dev"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "with space").symlink_to("../null")
    os.mkfifo(source / "pipe", 0o640)
    (source / "plain").write_text("left out")
    done = run_command("coda-make-dev", "-v", f"--copy={source}", image)
    assert done.returncode == 0 and "left out 'plain'" in done.stderr
    assert set(content(image)) == {".", "..", "lost+found", "sub", "pipe"}
    assert content(image)["pipe"][0] == "010640"
    assert "with space" in content(image, "/sub")


def test_a_copy_of_the_running_dev(run_command, image):
    assert run_command("coda-make-dev", "--copy=/dev", image).returncode == 0
    assert content(image)["null"][0] == "020666"
    # Other file systems in it are there as empty directories only.
    if os.path.ismount("/dev/pts"):
        assert set(content(image, "/pts")) == {".", ".."}


def test_a_name_that_cannot_be_written_is_refused(run_command, image, tmp_path):
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev" / 'a"b')
    done = run_command("coda-make-dev", f"--copy={tmp_path}/dev", image)
    assert done.returncode == 100 and "cannot be written" in done.stderr
    assert not image.exists()


def test_dry_run_can_be_pasted(run_command, image):
    done = run_command("coda-make-dev", "--dry-run", image)
    assert not image.exists()
    subprocess.run(["sh", "-eu", "-c", done.stdout], env=environment(), capture_output=True, check=True)
    assert content(image)["null"] == ("020666", 0, 0)


def test_nodes_that_do_not_fit_leave_nothing(run_command, image, tmp_path):
    table = tmp_path / "table"
    table.write_text("".join(f"d{n} d 755 0 0\n" for n in range(900)))
    done = run_command("coda-make-dev", "--size=1", f"--table={table}", image)
    assert done.returncode == 111 and "cannot write the nodes" in done.stderr
    assert not image.exists() and not list(image.parent.glob("*.new"))


@pytest.mark.parametrize("args, word", [
    (["--size=0"], "--size='0'"), (["--size=x"], "--size='x'"), (["--uuid=x"], "--uuid='x'"),
    (["--table=/nowhere"], "'/nowhere': No such file"), (["--copy=/nowhere"], "/nowhere"),
])
def test_wrong_usage_is_100(run_command, image, args, word):
    done = run_command("coda-make-dev", *args, image)
    assert (done.returncode, done.stdout) == (100, "")
    assert word in done.stderr and len(done.stderr.splitlines()) <= 2
    assert not image.exists()


def test_what_is_no_file_is_not_replaced(run_command, tmp_path):
    done = run_command("coda-make-dev", "--force", tmp_path)
    assert done.returncode == 100 and "no file" in done.stderr


def test_a_directory_that_is_not_there_is_111(run_command, tmp_path):
    done = run_command("coda-make-dev", tmp_path / "nowhere" / "dev.img")
    assert done.returncode == 111 and "cannot run" in done.stderr


def test_no_root_is_needed(tmp_path):
    """As nobody, in a directory of his own, and with the same bytes."""
    need_root()
    need_programs("mke2fs", "debugfs", "e2fsck")
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, 65534, 65534)
        try:
            done = command("coda-make-dev", f"{directory}/dev.img", user=65534, group=65534, extra_groups=[])
        except PermissionError:
            pytest.skip("the checkout cannot be read by everybody")
        if re.search("Permission denied|can't open file", done.stderr):
            pytest.skip("the checkout cannot be read by everybody")
        assert done.returncode == 0, done.stderr
        command("coda-make-dev", tmp_path / "dev.img")
        with open(f"{directory}/dev.img", "rb") as file:
            assert file.read() == (tmp_path / "dev.img").read_bytes()
