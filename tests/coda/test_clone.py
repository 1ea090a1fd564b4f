"""coda-clone-root into a new volume of the real server, and a boot of what it made."""

import pytest
from client import login, must

pytestmark = pytest.mark.coda


def test_a_clone_in_a_volume_of_its_own_boots(realm, client):
    realm.run("createvol_rep", "two", f"{realm.host}/mnt/vicepa")
    top, two = f"/coda/{realm.name}", f"/coda/{realm.name}/two"
    machine = client("coda.break=wait-mount")
    shell = machine.shell()
    login(shell, realm)
    for line in (f"cfs mkm {two} two", f"cfs fr {top}", f"cfs sa {two} System:AnyUser rl"):
        must(shell, line)
    said = must(shell, f"coda-clone-root {realm.root} two")
    print(said)
    assert "CML" not in must(shell, f"cfs lv {two}; cfs lv {top}")
    must(shell, f"cfs fl {two}; echo changed >{two}/etc/motd; cfs fr {two}")
    assert must(shell, f"cat {realm.root}/etc/motd") == "a root in Coda"
    shell("vutil --shutdown; sleep 1")

    machine = client(f"coda.root={two}")
    shell = machine.shell()
    assert shell("cat /etc/motd; cat /proc/1/comm")[1] == "changed\ninit"
