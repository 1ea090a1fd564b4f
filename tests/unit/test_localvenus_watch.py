"""lib/localvenus/watch.py: what a fanotify event means for the kernel's Coda."""

import os
import select
import struct
import subprocess
import time

import pytest
from conftest import need_root
from localvenus import protocol, watch
from localvenus.watch import ATTRIB, CREATE, DELETE, MODIFY, MOVED_TO, ONDIR, OVERFLOW

OURS, THEIRS = 10, 20
SELF, DIRECTORY = 1, 3


class Handles:
    """In place of tree.Handles: the fid is the handle, of 8 bytes."""

    def fid(self, kind, body):
        return body * 2 if kind == 1 else None


def event(mask, *records, pid=THEIRS, kind=1):
    infos = b"".join(struct.pack("=BBH8sIi", what, 0, 28, bytes(8), 8, kind) + handle
                     for what, handle in records)
    return struct.pack("=IBBHQii", 24 + len(infos), 3, 0, 24, mask, -1, pid) + infos


DIR, FILE = b"directry", b"the file"
ZAP_DIR, ZAP_FILE = (protocol.ZAPDIR, DIR * 2), (protocol.ZAPFILE, FILE * 2)


@pytest.mark.parametrize(("data", "result"), [
    (event(CREATE, (DIRECTORY, DIR)), [ZAP_DIR]),
    (event(DELETE | ONDIR, (DIRECTORY, DIR)), [ZAP_DIR]),
    (event(MODIFY, (DIRECTORY, DIR), (SELF, FILE)), [ZAP_FILE]),
    (event(ATTRIB | ONDIR, (DIRECTORY, DIR)), [(protocol.ZAPFILE, DIR * 2)]),
    (event(CREATE | MODIFY, (DIRECTORY, DIR), (SELF, FILE)), [ZAP_DIR, ZAP_FILE]),
    (event(MODIFY, (SELF, FILE)) + event(MOVED_TO, (DIRECTORY, DIR)) + event(MODIFY, (SELF, FILE)),
     [ZAP_FILE, ZAP_DIR]),
    (event(CREATE, (DIRECTORY, DIR), pid=OURS), []),
    (event(CREATE, (DIRECTORY, DIR), kind=2), []),
    (event(OVERFLOW, pid=0), []),
    (b"", []),
])
def test_events(data, result):
    assert watch.parse(data, Handles(), OURS) == result


class Node:
    cost = 5


class Server:
    def __init__(self):
        self.nodes = {DIR: Node(), FILE: Node()}
        self.tree, self.writers, self.gone, self.told = self, {}, [], []

    def down(self, opcode, fid):
        self.told.append((opcode, fid))


def test_what_the_server_is_told():
    server = Server()
    watch.note(server, protocol.ZAPDIR, DIR)
    watch.note(server, protocol.ZAPFILE, FILE)
    watch.note(server, protocol.ZAPFILE, b"unknown")
    assert server.nodes[DIR].cost is None and server.gone == [FILE]
    assert server.told == [(protocol.ZAPDIR, DIR), (protocol.ZAPFILE, FILE), (protocol.ZAPFILE, b"unknown")]


def test_files_that_clients_write_are_left_alone():
    server = Server()
    server.writers[FILE] = object()
    watch.note(server, protocol.ZAPFILE, FILE)
    assert server.told == [] == server.gone


def test_real_events_of_another_process(tmp_path):
    need_root()
    from localvenus.tree import Handles as RealHandles
    top = os.open(tmp_path, os.O_RDONLY)
    handles = RealHandles(top)
    (tmp_path / "f").write_text("")
    fd = watch.watch(top)
    (tmp_path / "ours").write_text("")
    subprocess.run(["sh", "-c", "echo x >>f; mv f g"], cwd=tmp_path, check=True)
    file = os.open(tmp_path / "g", os.O_RDONLY)
    wanted = {(protocol.ZAPFILE, handles.fid_of(file)), (protocol.ZAPDIR, handles.fid_of(top))}
    own = os.open(tmp_path / "ours", os.O_RDONLY)
    seen, end = set(), time.monotonic() + 10
    while not wanted <= seen and time.monotonic() < end:
        select.select([fd], [], [], 1)
        # The whole file system is watched, so others may be heard too.
        seen.update(watch.parse(os.read(fd, 65536), handles, os.getpid()))
    assert wanted <= seen and (protocol.ZAPFILE, handles.fid_of(own)) not in seen
    for each in (fd, file, own, top):
        os.close(each)
