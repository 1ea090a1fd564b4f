"""A realm for all tests of a run, set up and populated once; clients made per test."""

import pytest
from client import Client, build_disk, populate, populate_debian
from conftest import need, need_programs, need_root
from machine import BUILD
from realm import PREFIX, Realm, installed


@pytest.fixture(autouse=True, scope="session")
def _needs():
    # Not need(): even a strict run may be without a Coda.
    if not installed("venus"):
        pytest.skip(f"needs CODA_PREFIX, the prefix of an installed Coda: no sbin/venus in '{PREFIX}'")
    need_root()
    need_programs("qemu-system-x86_64", "debugfs", "dnsmasq", "unshare", "nsenter", "busybox")
    for program in ("codasrv", "auth2", "updatesrv", "vice-setup", "createvol_rep", "rpc2ping"):
        need(installed(program), f"'{program}' below '{PREFIX}'")
    need((BUILD / "donor/done").exists(), "build/donor ('make check-coda' makes it)")


@pytest.fixture(scope="session")
def bare_realm(tmp_path_factory):
    """A realm with the volumes / and linuxroot, the latter mounted nowhere."""
    with Realm(tmp_path_factory.mktemp("realm")) as realm:
        yield realm


@pytest.fixture(scope="session")
def coda_disk(bare_realm, tmp_path_factory):
    """The boot disk for clients of the realm. Each client takes a copy of its own."""
    return build_disk(tmp_path_factory.mktemp("disk"), bare_realm)


@pytest.fixture(scope="session")
def realm(bare_realm, coda_disk, tmp_path_factory):
    """The realm with a small root in linuxroot: busybox and a shell on the console."""
    populate(bare_realm, coda_disk, tmp_path_factory.mktemp("populate"))
    return bare_realm


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """(Realm, directory of the boot disk) of the sample with systemd, put into a Coda of its own."""
    sample = BUILD / "sample-systemd"
    need((sample / "source").exists(), "build/sample-systemd ('make check-coda' makes it)")
    with Realm(tmp_path_factory.mktemp("debian"), address="10.98.0.1") as realm:
        secrets = populate_debian(realm, sample / "source", tmp_path_factory.mktemp("populate"))
        yield realm, build_disk(tmp_path_factory.mktemp("disk"), realm,
                                f"--add={secrets}:/var/lib/coda/secrets", cache="400MB")


@pytest.fixture
def client(realm, coda_disk, tmp_path):
    """Make a client: client("kernel words", disk=...). Afterwards codasrv serves, whatever a test did."""
    machines = []

    def start(append="", proof=False, **settings):
        machine = Client(tmp_path / f"client{len(machines)}", realm, coda_disk, append=append, **settings)
        machines.append(machine)
        return machine.start(proof=proof)

    yield start
    for machine in machines:
        machine.__exit__()
        print(f"--- console of the client, {machine.work}/console\n{machine.text[-4000:]}")
    print(f"--- log of the server\n{(realm.work / 'vice/srv/SrvLog').read_text(errors='replace')[-2000:]}")
    realm.release()
