"""coda-hoard-root with a real realm: is its answer right when the server is gone?"""

import pytest

pytestmark = pytest.mark.coda

PROFILE = "/var/lib/coda/profile"


def test_the_answer_is_right_when_the_server_is_gone(client, realm):
    machine = client(append="coda.overlay=off coda.break=handoff")
    shell = machine.shell()
    hoard = f"coda-hoard-root {{}} {realm.root} {PROFILE}"

    shell(f"{hoard.format('--record=0')} >/run/recorded 2>&1 & echo $! >/run/recorder; sleep 20;"
          f" cat {realm.root}/etc/motd; kill $(cat /run/recorder); wait", timeout=120)
    recorded = shell(f"cat /run/recorded {PROFILE}")[1]
    assert "one /etc/motd" in recorded and "/bin/" not in recorded, recorded
    assert shell(hoard.format("--check")) == (0, "")

    # What was only looked at is needed for its attributes.
    shell(f"echo 'see /usr/local' >>{PROFILE}")
    status, said = shell(hoard.format("--check"))
    assert status == 2 and said.endswith("/usr/local: not in the cache"), said

    # The whole tree is more than there is; what is missing is named, and truly missing.
    status, said = shell(hoard.format("--also=bin --check"))
    assert status == 2 and "are not in the cache" in said and "/bin/awk: not in the cache" in said, said
    realm.hold()
    assert shell(hoard.format("--check"))[0] == 2
    assert shell(f"readlink {realm.root}/bin/awk")[0] != 0
    realm.release()
    back = f"coda-wait-mount --cfs=cfs --require=connected --timeout=120 {realm.root}"
    status, said = shell(back, timeout=150)
    assert status == 0, said

    status, said = shell(hoard.format("--load --check"), timeout=180)
    assert status == 0, said
    realm.hold()
    assert shell(hoard.format("--check")) == (0, "")
    assert shell(f"readlink {realm.root}/bin/awk", timeout=120) == (0, "busybox")


def test_a_venus_without_a_primary_user_is_told(client, realm):
    machine = client(append="coda.break=venus-start,handoff")
    shell = machine.shell()
    shell("sed -i /primaryuser/d /etc/coda/venus.conf")
    machine.send("exit")
    machine.expect("stopped before 'coda-handoff'")
    shell = machine.shell()
    shell(f"echo 'one /etc/motd' >{PROFILE}")
    status, said = shell(f"coda-hoard-root --load {realm.root} {PROFILE}")
    assert status == 3 and "primary user" in said
