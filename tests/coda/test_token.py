"""coda-keep-token with a real realm: before the handoff, over it, and when venus is started anew."""

import pytest
from machine import PROMPT
from realm import ADMIN, ADMIN_PASSWORD

pytestmark = pytest.mark.coda

# What a process that stayed sees: the disk's world, whatever has become of /.
THERE = "chroot /proc/$(head -n1 /run/coda/token.0.pid)/root "


@pytest.fixture
def secret():
    return f"umask 077; echo {ADMIN_PASSWORD} >/etc/secret; echo wrong >/etc/wrong; umask 022"


def test_a_token_outlives_a_new_venus_and_the_handoff(client, realm, secret):
    machine = client(append="coda.overlay=off coda.break=wait-mount,handoff")
    shell, name = machine.shell(), f"{ADMIN}@{realm.name}"
    shell(secret)
    status, said = shell(f"coda-keep-token {name} /etc/wrong")
    assert status == 3 and "the password is wrong" in said
    assert shell(f"coda-keep-token {name} /etc/secret") == (0, "")
    assert "500" in shell(f"ctokens @{realm.name}")[1]

    # Nothing keeps /coda busy yet.
    again = "vutil --shutdown; sleep 2; umount /coda; venus </dev/null >/run/venus.out 2>&1"
    assert shell(again)[0] == 0
    waiting = f"for i in 1 2 3 4 5 6 7 8 9; do ctokens @{realm.name} && break; sleep 2; done"
    assert "500" in shell(waiting)[1]

    machine.send("exit")
    machine.expect("stopped before 'coda-handoff'")
    machine.expect(PROMPT)
    machine.send("exit")
    machine.expect("coda-handoff --rescue")
    shell = machine.shell()
    assert "@coda-keep-token" in shell("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'")[1]
    assert shell("echo of root >/mnt/of-root; cat /mnt/of-root") == (0, "of root")
    assert shell(f"rm /mnt/of-root; {THERE} cfs fr {realm.root}")[0] == 0
    # All that its next login will take is where it looks for it.
    status, said = shell(f"{THERE} coda-keep-token --once {name} /etc/secret && cat /run/coda/token.0.log")
    assert status == 0 and "venus ended, and the token with it" in said, said


def test_without_a_server_the_keeper_goes_on_trying(client, realm, secret):
    machine = client(append="coda.break=handoff")
    shell = machine.shell()
    shell(secret)
    machine.carrier(False)
    status, said = shell(f"coda-keep-token --timeout=30 {ADMIN}@{realm.name} /etc/secret", timeout=90)
    assert status == 5, said
    assert shell(f"coda-keep-token --wait=no {ADMIN}@{realm.name} /etc/secret") == (0, "")
    machine.carrier(True)
    waiting = (f"for i in $(seq 40); do ctokens @{realm.name} && break; sleep 2; done;"
               " cat /run/coda/token.0.log")
    assert "500" in shell(waiting, timeout=120)[1]
