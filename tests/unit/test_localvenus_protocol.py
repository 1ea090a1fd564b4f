"""lib/localvenus/protocol.py: layouts as include/uapi/linux/coda.h has them."""

import os
import stat
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from localvenus import protocol

words = st.integers(0, 2 ** 32 - 1)


@pytest.mark.parametrize(("layout", "size"), [
    ("HEADER", 20), ("PLAIN", 12), ("FID_REPLY", 28), ("FD_REPLY", 16), ("LOOKUP_REPLY", 32),
    ("ATTRIBUTES", 136), ("GETATTR_REPLY", 152), ("CREATE_REPLY", 168), ("READLINK_REPLY", 24),
    ("STATFS_REPLY", 32), ("FID", 16), ("MOUNT_DATA", 8)])
def test_sizes_are_the_kernels(layout, size):
    assert getattr(protocol, layout).size == size


@given(st.integers(1, 2 ** 64 - 1), words, words)
def test_a_fid_says_its_inode_number_to_the_kernel_and_to_us(inode, generation, tag):
    fid = protocol.make_fid(tag, inode, generation)
    assert protocol.inode_number(fid) == inode & 0xFFFFFFFF
    assert protocol.split_fid(fid) == (tag, inode, generation)


def test_the_hash_is_that_of_coda_f2i():
    fid = struct.pack("=IIII", 1, 2, 3, 4)
    assert protocol.inode_number(fid) == 4 ^ 3 << 10 ^ 2 << 20 ^ 1


def stat_of(mode, **facts):
    facts = {"ino": 7, "dev": 1, "nlink": 1, "uid": 5, "gid": 6, "size": 10, "rdev": 0,
             "mtime": 100, "mtime_ns": 100_000_000_007, **facts}
    return os.stat_result(
        (mode, facts["ino"], facts["dev"], facts["nlink"], facts["uid"], facts["gid"], facts["size"],
         1, facts["mtime"], 2),
        {"st_atime_ns": 1_000_000_000, "st_mtime_ns": facts["mtime_ns"], "st_ctime_ns": 2_000_000_003,
         "st_rdev": facts["rdev"]})


def unpacked(st_, mode, links=1, group=6):
    packed = protocol.ATTRIBUTES.pack(*protocol.attributes(st_, mode, links, group))
    # Offsets of struct coda_vattr, one by one.
    names = (("type", "q", 0), ("mode", "H", 8), ("nlink", "h", 10), ("uid", "I", 12), ("gid", "I", 16),
             ("size", "Q", 32), ("atime", "q", 48), ("mtime", "q", 64), ("mtime_ns", "q", 72),
             ("ctime_ns", "q", 88), ("rdev", "Q", 112))
    return {name: struct.unpack_from("=" + kind, packed, at)[0] for name, kind, at in names}


def test_attributes_of_a_file_are_where_the_kernel_reads_them():
    found = unpacked(stat_of(stat.S_IFREG | 0o640), stat.S_IFREG | 0o640, 3)
    assert found == {"type": 1, "mode": stat.S_IFREG | 0o640, "nlink": 3, "uid": 5, "gid": 6, "size": 10,
                     "atime": 1, "mtime": 100, "mtime_ns": 7, "ctime_ns": 3, "rdev": 0}


def test_times_before_1970_keep_their_fraction_positive():
    found = unpacked(stat_of(stat.S_IFREG, mtime=-2, mtime_ns=-1_500_000_000), stat.S_IFREG)
    assert (found["mtime"], found["mtime_ns"]) == (-2, 500_000_000)


def test_more_links_than_fit_are_not_taken_for_leave_alone():
    assert unpacked(stat_of(stat.S_IFREG), stat.S_IFREG, 65535)["nlink"] == 32767


def test_a_device_number_is_packed_as_the_kernel_does():
    found = unpacked(stat_of(stat.S_IFCHR | 0o600, rdev=os.makedev(0x103, 0x245)), stat.S_IFCHR | 0o600)
    assert (found["type"], found["rdev"]) == (4, 0x45 | 0x103 << 8 | 0x200 << 12)


def setattr_request(**fields):
    values = {"mode": protocol.NO_MODE, "uid": protocol.NO_ID, "gid": protocol.NO_ID,
              "size": protocol.NO_SIZE, "atime": (-1, -1), "mtime": (-1, -1), **fields}
    return bytes(40) + protocol.ATTRIBUTES.pack(
        0, values["mode"], -1, values["uid"], values["gid"], -1, values["size"], -1,
        *values["atime"], *values["mtime"], -1, -1, 0, 0, 0, 0, 0)


def change(**fields):
    found = protocol.parse_change(setattr_request(**fields))
    return {name: getattr(found, name) for name in found.__slots__ if getattr(found, name) is not None}


def test_all_ones_means_leave_alone():
    assert change() == {}


def test_what_is_set_is_found():
    assert change(mode=stat.S_IFREG | 0o4755, uid=0, gid=9, size=0, mtime=(3, 4)) == {
        "mode": 0o4755, "uid": 0, "gid": 9, "size": 0, "mtime": 3_000_000_004}


def test_a_name_ends_at_its_nul():
    message = bytes(20) + struct.pack("=I", 24) + b"name\0rest\0"
    assert protocol.name_at(message, 20) == b"name"
