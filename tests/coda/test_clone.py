"""coda-clone-root into a new volume of the real server, and a boot of what it made."""

import pytest
from client import mount_volume, must

pytestmark = pytest.mark.coda


def test_a_clone_in_a_volume_of_its_own_boots(realm, client):
    realm.volume("two")
    machine = client("coda.break=wait-mount")
    shell = machine.shell()
    two = mount_volume(shell, realm, "two")
    said = must(shell, f"coda-clone-root {realm.root} two")
    print(said)
    assert "CML" not in must(shell, f"cfs lv {two}; cfs lv /coda/{realm.name}")
    must(shell, f"echo changed >{two}/etc/motd; cfs fr {two}")
    assert must(shell, f"cat {realm.root}/etc/motd") == "a root in Coda"
    shell("vutil --shutdown; sleep 1")

    machine = client(f"coda.root={two}")
    shell = machine.shell()
    assert shell("cat /etc/motd; cat /proc/1/comm")[1] == "changed\ninit"
