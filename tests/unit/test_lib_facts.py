"""codaboot.facts: the mount table, and paths inside a root."""

import pytest
from codaboot import facts

TABLE = """\
25 1 8:1 / / ro,relatime shared:1 - ext4 /dev/root ro,errors=remount-ro
26 25 0:22 /linuxroot /mnt/new\\040root rw,noatime - coda coda rw
27 26 0:5 / /mnt/new\\040root/dev rw,nosuid - devtmpfs dev\\134x rw,size=4k
28 26 0:6 / /mnt/new\\040root/dev rw - tmpfs over rw
"""


def test_rows_are_read_and_unescaped():
    table = facts.parse_mountinfo(TABLE)
    assert tuple(vars(table[0]).values()) == ("8:1", "/", "/", {"ro", "relatime"}, "ext4",
                                               "/dev/root", {"ro", "errors=remount-ro"})
    assert (table[1].target, table[1].subtree) == ("/mnt/new root", "/linuxroot")
    assert table[2].source == "dev\\x"


def test_the_last_mount_on_a_place_is_the_one_seen():
    table = facts.parse_mountinfo(TABLE)
    assert facts.mount_at(table, "/mnt/new root/dev").fstype == "tmpfs"
    assert facts.mount_at(table, "/nowhere") is None


def test_the_real_table_is_read():
    assert facts.mount_at(facts.mounts(), "/proc").fstype == "proc"


def test_a_prefix_goes_before_absolute_paths(tmp_path):
    assert facts.under("/", "/proc/x") == "/proc/x"
    assert facts.under(str(tmp_path), "/proc/x") == f"{tmp_path}/proc/x"


@pytest.mark.parametrize("target, inside", [
    ("/usr/real", "usr/real"), ("real", "usr/real"), ("../../../../../usr/real", "usr/real")])
def test_links_are_followed_inside_a_root(tmp_path, target, inside):
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/real").touch()
    (tmp_path / "usr/link").symlink_to(target)
    assert facts.inside(str(tmp_path), "/usr/link") == str(tmp_path / inside)


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError):
        facts.inside(str(tmp_path), "/a")
