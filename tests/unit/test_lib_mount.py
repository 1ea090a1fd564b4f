"""codaboot.mount: the system calls, in a namespace of a child's own."""

import errno
import subprocess
import sys

import pytest
from codaboot import mount
from conftest import environment, unshare

SCRIPT = """
import os
from codaboot import mount
mount.unshare_mounts()
mount.mount("none", "/mnt", "tmpfs", mount.NOSUID | mount.NODEV, "size=1m,mode=700")
os.mkdir("/mnt/a"); os.mkdir("/mnt/b")
mount.mount("none", "/mnt/a", "tmpfs")
mount.mount("/mnt/a", "/mnt/b", "", mount.BIND)
open("/mnt/a/f", "w").close()
print(os.listdir("/mnt/b"))
mount.mount("none", "/mnt", "", mount.REMOUNT | mount.RDONLY)
try:
    os.mkdir("/mnt/c")
except OSError as error:
    print(error.strerror)
mount.umount("/mnt/b"); mount.umount("/mnt/a"); mount.umount("/mnt", mount.DETACH)
"""


def test_mount_bind_remount_and_umount():
    done = subprocess.run([*unshare("-m"), sys.executable, "-c", SCRIPT], capture_output=True, text=True,
                          env=environment())
    assert done.stdout == "['f']\nRead-only file system\n", done.stderr


def test_a_refusal_has_the_errno_and_the_place():
    with pytest.raises(OSError) as caught:
        mount.umount("/no/such/place")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "/no/such/place")
