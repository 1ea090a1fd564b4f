"""The local venus under the kernel's own Coda file system, in the boot disk's world."""

import pytest

pytestmark = pytest.mark.boot


def test_a_file_system_exercise_gives_the_same_as_on_ext4(shell):
    run = shell("host")
    assert run("mkdir /srv/ext4 /coda/exercise")[0] == 0
    for place, log in (("/srv/ext4", "/run/ext4"), ("/coda/exercise", "/run/coda/log/exercise")):
        status, said = run(f"python3 /root/exercise.py {place} >{log}", timeout=300)
        assert status == 0, said
    status, said = run("python3 /root/exercise.py --compare /run/ext4 /run/coda/log/exercise")
    assert status == 0, said
    # The comparison must be one: logs of thousands of lines, not two empty ones.
    assert int(run("wc -l </run/ext4")[1]) > 100
    assert run("sed -i '$s/$/x/' /run/ext4; python3 /root/exercise.py --compare /run/ext4"
               " /run/coda/log/exercise")[0] == 1


def test_what_coda_refuses_is_refused_and_what_is_lost_can_be_taken_up(shell):
    run = shell("coda")
    for line, said in [
            ("mkfifo /coda/f", "Input/output error"), ("mknod /coda/n c 1 3", "Input/output error"),
            ("touch /coda/x; chmod 4755 /coda/x", "Operation not permitted"),
            ("mkdir /coda/d; ln /coda/x /coda/d/y", "link"),
            ("chown -h 1 /coda/linuxroot/bin", "Invalid argument")]:
        status, text = run(line)
        assert status != 0 and said in text, (line, text)
    assert run("ln /coda/x /coda/z; stat -c '%h %a' /coda/z")[1] == "2 644"
    assert run("echo 1111 >/coda/log; echo 22 >>/coda/log; cat /coda/log")[1] == "1111\n22"

    # As a user without rights: nothing that the bits forbid.
    assert run("echo secret >/coda/s; chmod 600 /coda/s; chroot /coda/linuxroot /usr/bin/setpriv"
               " --reuid 65534 --clear-groups /bin/true")[0] == 0
    status, text = run("mkdir -p /coda/linuxroot/t; chmod 700 /coda/linuxroot/t; chroot /coda/linuxroot"
                       " /usr/bin/setpriv --reuid 65534 --clear-groups /bin/ls /t")
    assert status != 0 and "Permission denied" in text

    # Changed behind its back: names and sizes are seen.
    assert run("ls /coda/behind")[0] != 0
    run("echo new >/srv/coda/behind; echo more >>/srv/coda/log")
    assert run("for i in 1 2 3 4 5 6 7 8 9; do [ -e /coda/behind ] && break; usleep 100000; done;"
               " cat /coda/behind; stat -c %s /coda/log")[1] == "new\n13"

    # Killed: no hang, an error; taken up again with the same files open.
    # Other processes may end meanwhile: the network comes up beside.
    number = run("for p in /proc/[0-9]*; do case $(tr '\\0' ' ' <$p/cmdline) in"
                 " @*coda-local-venus*) echo ${p#/proc/} ;; esac; done 2>/dev/null")[1]
    run(f"exec 8</coda/log; kill -9 {int(number)}")
    assert run("ls /coda/linuxroot/usr/share/never-seen")[0] != 0
    status, text = run("coda-local-venus --reattach /srv/coda; cat <&8; ls -d /coda/linuxroot/usr/share")
    assert status == 0 and "/coda/linuxroot/usr/share" in text, text
