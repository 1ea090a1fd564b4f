"""lib/localvenus/access.py: who is asking, and what the bits let him."""

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from localvenus import access
from localvenus.access import Caller
from localvenus.protocol import Change

USER = Caller(1000, 1000, (50, 60))
ROOT = Caller(0, 0, (), access.ALL)
BARE_ROOT = Caller(0, 0)
READER = Caller(7, 7, (), access.DAC_READ_SEARCH)

STATUS = """Name:\tsh
Uid:\t{0}\t{0}\t{0}\t{1}
Gid:\t100\t100\t100\t200
Groups:\t50 60
CapPrm:\t000001ffffffffff
CapEff:\t000001ffffffffff
"""


def test_the_thread_is_known_by_its_file_system_ids():
    found = access.parse_status(STATUS.format(0, 1000), 1000)
    assert (found.uid, found.gid, found.groups, found.capabilities) == (1000, 200, (50, 60), access.ALL)


def test_capabilities_of_another_user_namespace_count_for_nothing():
    assert access.parse_status(STATUS.format(1000, 1000), 1000, same_namespace=False).capabilities == 0


def test_credentials_lent_by_overlayfs_are_roots():
    assert access.parse_status(STATUS.format(1000, 1000), 0).capabilities == access.ALL


def test_access_2_in_a_setuid_program_asks_for_the_real_user():
    found = access.parse_status(STATUS.format(1000, 0), 1000)
    assert (found.uid, found.gid, found.capabilities) == (1000, 100, 0)


def test_somebody_unknown_is_nobody():
    found = access.parse_status(STATUS.format(1000, 1000), 77)
    assert (found.uid, found.gid, found.groups, found.capabilities) == (77, 65534, (), 0)


def test_our_own_thread_can_be_read():
    proc = os.open("/proc", os.O_RDONLY)
    found = access.read_caller(proc, os.getpid(), os.geteuid())
    os.close(proc)
    assert (found.uid, found.gid, found.groups) == (os.geteuid(), os.getegid(), tuple(os.getgroups()))


def test_a_thread_that_is_gone_is_an_interrupted_call():
    proc = os.open("/proc", os.O_RDONLY)
    with pytest.raises(InterruptedError):
        access.read_caller(proc, 2 ** 22 + 1, 0)
    os.close(proc)


FILE, DIRECTORY = stat.S_IFREG, stat.S_IFDIR


@pytest.mark.parametrize(("mode", "owner", "group", "mask", "caller", "result"), [
    (FILE | 0o600, 1000, 0, 6, USER, True),
    (FILE | 0o066, 1000, 0, 4, USER, False),  # the owner's bits, even if others have more
    (FILE | 0o640, 0, 60, 4, USER, True),
    (FILE | 0o606, 0, 1000, 4, USER, False),  # likewise the group's
    (FILE | 0o604, 0, 0, 4, USER, True),
    (FILE | 0o604, 0, 0, 6, USER, False),
    (FILE | 0o000, 5, 5, 6, ROOT, True),
    (FILE | 0o644, 0, 0, 1, ROOT, False),  # nobody executes what has no x bit
    (FILE | 0o001, 5, 5, 1, ROOT, True),
    (DIRECTORY | 0o000, 5, 5, 7, ROOT, True),
    (FILE | 0o600, 5, 5, 4, BARE_ROOT, False),
    (FILE | 0o000, 5, 5, 4, READER, True),
    (FILE | 0o111, 5, 5, 5, READER, False),
    (FILE | 0o000, 5, 5, 2, READER, False),
    (DIRECTORY | 0o000, 5, 5, 5, READER, True),
    (DIRECTORY | 0o000, 5, 5, 2, READER, False),
    (FILE | 0o000, 5, 5, 0, USER, True),
])
def test_bits(mode, owner, group, mask, caller, result):
    assert access.allowed(mode, owner, group, mask, caller) is result


ids = st.sampled_from([0, 7, 50, 1000])


@given(st.integers(0, 0o777), ids, ids, st.integers(0, 7), ids, ids)
def test_the_short_way_never_allows_more_than_the_long_one(mode, owner, group, mask, uid, gid):
    if access.plainly_allowed(FILE | mode, owner, mask, uid):
        assert access.allowed(FILE | mode, owner, group, mask, Caller(uid, gid))


NOW = 1_000_000_000_000


def judged(change, caller=USER, owner=1000, group=1000, mode=FILE | 0o644):
    """The name of the refusal, or None; the change may come out reduced."""
    facts = os.stat_result((mode, 1, 1, 1, owner, group, 0, 0, 0, 0))
    try:
        access.judge_change(facts, change, caller, NOW)
    except OSError as error:
        return type(error).__name__ + str(error.errno)
    assert not access.plainly_granted(facts, change, -1) or change.size is not None
    return None


EPERM, EACCES = "PermissionError1", "PermissionError13"


@pytest.mark.parametrize(("change", "settings", "result"), [
    (Change(mode=0o600), {}, None),
    (Change(mode=0o600), {"owner": 5}, EPERM),
    (Change(mode=0o600), {"owner": 5, "caller": ROOT}, None),
    (Change(uid=1000), {}, None),
    (Change(uid=1001), {}, EPERM),
    (Change(uid=1001), {"caller": ROOT}, None),
    (Change(uid=0), {"caller": BARE_ROOT}, EPERM),
    (Change(gid=50), {}, None),
    (Change(gid=51), {}, EPERM),
    (Change(gid=50), {"owner": 5}, EPERM),
    (Change(size=0), {"owner": 5}, None),  # judged at open(2)
    (Change(size=0, mtime=5, atime=6), {"owner": 5}, None),
    (Change(size=1, mode=0o755), {"owner": 5, "mode": FILE | 0o4755}, None),
    (Change(size=1, mode=0o777), {"owner": 5, "mode": FILE | 0o4755}, EPERM),
    (Change(size=1, mode=0o4755), {"owner": 5, "mode": FILE | 0o755}, EPERM),
    (Change(mode=0o755), {"owner": 5, "mode": FILE | 0o4755}, EPERM),
    (Change(atime=1, mtime=2), {}, None),
    (Change(atime=1, mtime=2), {"owner": 5}, EPERM),
    (Change(mtime=NOW), {"owner": 5, "mode": FILE | 0o666}, EPERM),
    (Change(atime=NOW, mtime=NOW), {"owner": 5, "mode": FILE | 0o666}, None),
    (Change(atime=NOW, mtime=NOW), {"owner": 5, "mode": FILE | 0o644}, EACCES),
    (Change(atime=9, mtime=9), {"owner": 5, "mode": FILE | 0o666}, EPERM),
])
def test_changes(change, settings, result):
    assert judged(change, **settings) == result


def test_the_setgid_bit_is_not_for_a_group_one_is_not_in():
    change = Change(mode=0o2755)
    assert judged(change, group=51) is None and change.mode == 0o755
    change = Change(mode=0o2755)
    assert judged(change, group=50) is None and change.mode == 0o2755
    change = Change(mode=0o2755, gid=50)
    assert judged(change, group=51) is None and change.mode == 0o2755


@given(st.none() | st.integers(0, 0o7777), st.none() | st.just(10), st.none() | st.just(5),
       st.sampled_from([0, 7, 1000]), st.sampled_from([0, 1000]), st.integers(0, 0o7777))
def test_what_is_granted_without_asking_would_be_granted(mode, size, time, uid, owner, old):
    facts = os.stat_result((FILE | old, 1, 1, 1, owner, 51, 0, 0, 0, 0))
    change = Change(mode=mode, size=size, atime=time, mtime=time)
    if access.plainly_granted(facts, change, uid):
        access.judge_change(facts, change, Caller(uid, 7), NOW)
        assert change.mode == mode
