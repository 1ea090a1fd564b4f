"""An installed venus on the boot disk: what comes along, and what its configuration says."""

import struct

import pytest
from bootdisk import disk, venus
from codaboot import cli
from realvenus import conf

TRIPLET = "/usr/lib/x86_64-linux-gnu"


def fake_elf(path, needed=(), runpath=None):
    """An ELF file with nothing but the names of the libraries it needs, and of where to look for them."""
    strings, tags = b"\0", []
    for tag, name in [*((1, name) for name in needed), *([(29, runpath)] if runpath else [])]:
        tags.append((tag, len(strings)))
        strings += name.encode() + b"\0"
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in [*tags, (0, 0)])
    names = b"\0.dynstr\0.dynamic\0.shstrtab\0"
    at = 64
    sections = [struct.pack("<IIQQQQIIQQ", *[0] * 10)]
    for name, kind, data, link, size in ((1, 3, strings, 0, 0), (9, 6, dynamic, 1, 16), (18, 3, names, 0, 0)):
        sections.append(struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at, len(data), link, 0, 1, size))
        at += len(data)
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, at, 0, 64, 0, 0, 64, 4, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + strings + dynamic + names + b"".join(sections))
    path.chmod(0o755)
    return path


@pytest.fixture
def prefix(tmp_path):
    """An installed Coda with libraries of its own, and a tree with a C library."""
    prefix = tmp_path / "coda"
    fake_elf(prefix / "sbin/venus", ["liblwp.so.2", "libc.so.6"], f"/nowhere:{prefix}/lib")
    fake_elf(prefix / "sbin/vutil", ["libc.so.6"])
    fake_elf(prefix / "bin/cfs", ["libc.so.6"])
    fake_elf(prefix / "lib/liblwp.so.2", ["libseg.so.1"])
    fake_elf(prefix / "lib/libseg.so.1")
    fake_elf(prefix / "lib/libc.so.6", ["libnot.so"])  # the tree's comes first
    fake_elf(tmp_path / f"tree{TRIPLET}/libc.so.6")
    return prefix


def put(tmp_path, prefix):
    made = disk.Disk(str(tmp_path / "tree"))
    venus.put(made, str(prefix / "sbin/venus"), {"/etc/coda/realms": "x y\n"}, str(tmp_path / "stage"))
    return made.entries


def test_venus_its_tools_and_exactly_their_libraries(tmp_path, prefix, capfd):
    entries = put(tmp_path, prefix)
    files = {path: entry.source for path, entry in entries.items() if entry.kind == "file"}
    assert files == {
        "/usr/sbin/venus": f"{prefix}/sbin/venus", "/usr/sbin/vutil": f"{prefix}/sbin/vutil",
        "/usr/sbin/cfs": f"{prefix}/bin/cfs", f"{TRIPLET}/libc.so.6": f"{tmp_path}/tree{TRIPLET}/libc.so.6",
        f"{TRIPLET}/liblwp.so.2": f"{prefix}/lib/liblwp.so.2",
        f"{TRIPLET}/libseg.so.1": f"{prefix}/lib/libseg.so.1",
        "/etc/coda/realms": f"{tmp_path}/stage/texts/etc/coda/realms"}
    said = capfd.readouterr().err
    assert "no 'hoard' beside" in said and "no 'cfs'" not in said


def test_the_places_venus_writes_to(tmp_path, prefix):
    modes = {path: entry.mode for path, entry in put(tmp_path, prefix).items() if entry.kind == "dir"}
    assert modes["/var/lib/coda/cache"] == 0o700
    assert "/var/log/coda" in modes and "/var/lib/coda/spool" in modes


def test_origin_is_where_the_program_is(tmp_path, prefix):
    fake_elf(prefix / "sbin/venus", ["liblwp.so.2"], "$ORIGIN/../lib")
    assert f"{TRIPLET}/liblwp.so.2" in put(tmp_path, prefix)


def test_a_library_that_is_nowhere_is_named(tmp_path, prefix):
    fake_elf(prefix / "sbin/venus", ["libnowhere.so.7"])
    with pytest.raises(cli.UsageError, match=r"'libnowhere.so.7', which '.*/sbin/venus' needs"):
        put(tmp_path, prefix)


def test_a_program_of_the_tree_takes_nothing_from_this_machine(tmp_path, prefix):
    inside = fake_elf(tmp_path / "tree/usr/bin/x", ["liblwp.so.2"], f"{prefix}/lib")
    with pytest.raises(cli.UsageError, match="liblwp"):
        disk.Disk(str(tmp_path / "tree")).file("/usr/bin/x", str(inside), "x")


def test_configuration():
    servers = venus.parse_servers(["a.example.org=192.0.2.7", "b.example.org=2001:db8::7"])
    texts = venus.texts("example.org", servers, 1 << 30, 10, 2, {"serverprobe": "30", "cachesize": "5MB"})
    settings = conf.parse(texts["/etc/coda/venus.conf"])
    assert settings["realm"] == "example.org" and settings["serverprobe"] == "30"
    assert settings["cachesize"] == "5MB"
    assert (settings["RPC2_timeout"], settings["RPC2_retries"]) == ("10", "2")
    assert texts["/etc/coda/realms"] == "example.org a.example.org b.example.org\n"
    assert texts["/etc/hosts"].splitlines()[1:] == ["192.0.2.7 a.example.org", "2001:db8::7 b.example.org"]


def test_without_servers_the_dns_is_asked():
    assert venus.texts("example.org", [], 1 << 30, 10, 2, {})["/etc/coda/realms"] == ""


@pytest.mark.parametrize("text, size", [("209715200", 200 << 20), ("2MB", 2 << 20), ("1GB", 1 << 30)])
def test_cache_sizes(text, size):
    assert venus.cache_bytes(text) == size


@pytest.mark.parametrize("text", ["1MB", "much", "", "-1GB", "2048", "1.5GB"])
def test_wrong_cache_sizes(text):
    with pytest.raises(cli.UsageError, match="--cache-size"):
        venus.cache_bytes(text)


@pytest.mark.parametrize("spec", ["a", "a=", "=192.0.2.7", "a b=192.0.2.7", "a=b c"])
def test_wrong_servers(spec):
    with pytest.raises(cli.UsageError, match="--server"):
        venus.parse_servers([spec])


def test_the_boot_is_told_where_its_root_and_its_cache_are():
    text = venus.boot_settings("example.org", "LABEL=codacache")
    assert "\nroot=/coda/example.org/linuxroot\n" in text
    assert "\nfsck-root.also=LABEL=codacache:/var/lib/coda\n" in text
    assert "also" not in venus.boot_settings("example.org", None)
