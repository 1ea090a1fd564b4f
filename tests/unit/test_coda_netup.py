"""coda-netup: what it decides, from text and bytes; tests/netns has the real networks."""

import ipaddress
import json
import socket
import struct
import subprocess
import sys

import pytest
from conftest import environment
from hypothesis import given
from hypothesis import strategies as st
from netup import arp, lean, lease, links, netlink, plan, spec, values, wire

MAC = "02:00:00:00:00:0c"
GIVEN = wire.Settings(
    "10.0.0.5/24",
    (("0.0.0.0/0", "10.0.0.1"),),
    1400,
    ("10.0.0.2",),
    ("example.org",),
    "box",
    (),
    "10.0.0.1",
    600,
    300,
    525,
)


# --- ip= ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, want",
    [
        ("dhcp", spec.Want("dhcp")),
        ("on", spec.Want("dhcp")),
        ("any", spec.Want("dhcp")),
        ("both", spec.Want("dhcp")),
        ("bootp", spec.Want("dhcp")),
        ("rarp", spec.Want("dhcp")),
        ("off", spec.Want("off")),
        ("none", spec.Want("off")),
        ("", spec.Want("off")),
        ("auto6", spec.Want("auto6")),
        ("either6", spec.Want("auto6")),
        ("link6", spec.Want("link6")),
        ("dhcp,1,abc", spec.Want("dhcp", client_id=b"\1abc")),
        (":::::eth0:dhcp", spec.Want("dhcp", "eth0")),
        ("::::box::dhcp", spec.Want("dhcp", hostname="box")),
        (":::::eth1", spec.Want("dhcp", "eth1")),
        ("eth0:dhcp", spec.Want("dhcp", "eth0")),
        ("eth0.5:auto6:1400", spec.Want("auto6", "eth0.5", mtu=1400)),
        ("eth0:dhcp:1400:02:00:00:00:00:0C", spec.Want("dhcp", "eth0", mtu=1400, mac=MAC)),
        ("10.0.0.5", spec.Want("static", address="10.0.0.5/8")),
        ("172.16.0.5", spec.Want("static", address="172.16.0.5/16")),
        (
            "192.168.1.5:192.168.1.9:192.168.1.1::box.example.org:eth0:off:10.0.0.1:10.0.0.2:10.0.0.3",
            spec.Want(
                "static",
                "eth0",
                "192.168.1.5/24",
                "192.168.1.1",
                "box",
                ("example.org",),
                ("10.0.0.1", "10.0.0.2"),
                ("10.0.0.3",),
            ),
        ),
        (
            "10.0.0.5:::255.255.255.0::eth0:none:1400:02-00-00-00-00-0c",
            spec.Want("static", "eth0", "10.0.0.5/24", mtu=1400, mac=MAC),
        ),
        ("10.0.0.5:::24", spec.Want("static", address="10.0.0.5/24")),
        ("10.0.0.5/24", spec.Want("static", address="10.0.0.5/24")),
        (
            "[2001:db8::5]::[2001:db8::1]:64::eth0:none:[2001:db8::53]",
            spec.Want("static", "eth0", "2001:db8::5/64", "2001:db8::1", dns=("2001:db8::53",)),
        ),
        # An address and a protocol: the protocol is asked, as the kernel does.
        ("10.0.0.5::::box:eth0:dhcp", spec.Want("dhcp", "eth0", hostname="box")),
    ],
)
def test_ip_syntax(text, want):
    assert spec.parse(text) == want


@pytest.mark.parametrize(
    "text, reason",
    [
        ("dhcp6", "DHCPv6 is not spoken"),
        ("eth0:ibft", "iBFT is not spoken"),
        ("dhpc", "address 'dhpc'"),
        ("::::bad_name!:eth0:dhcp", "host name 'bad_name!'"),
        ("10.0.0.5:::255.0.255.0", "netmask '255.0.255.0'"),
        ("10.0.0.5:::0.0.0.255", "netmask '0.0.0.255'"),
        ("10.0.0.5:::33", "netmask '33'"),
        ("300.0.0.1", "address '300.0.0.1'"),
        ("224.0.0.1", "address '224.0.0.1'"),
        ("10.0.0.5::10.0.0.1:24::a/b", "link name 'a/b'"),
        ("eth0:dhcp:10", "MTU '10'"),
        ("eth0:dhcp:1400:01:00:00:00:00:01", "MAC address '01:00"),
        ("10.0.0.5:::24:::fast", "autoconf 'fast'"),
        ("10.0.0.5:::24::eth0:off:nowhere", "name server 'nowhere'"),
        ("[2001:db8::5", "ip= '[2001"),
        ("dhcp,x,y", "client identifier"),
        ("on,1,y", "autoconf 'on,1,y'"),
    ],
)
def test_ip_syntax_refused(module, text, reason):
    with pytest.raises(values.Refused) as refused:
        spec.parse(text)
    assert reason in str(refused.value)


@given(st.text(alphabet="0123456789abcdef:.[]/,dhcpofn-_ \n\x00é", max_size=60))
def test_any_text_is_a_want_or_refused(text):
    try:
        want = spec.parse(text)
    except values.Refused:
        return
    assert want.method in ("dhcp", "static", "auto6", "link6", "off")
    assert (want.method == "static") == bool(want.address)
    for field in (want.link, want.hostname, want.gateway, *want.search, *want.dns):
        assert field.isprintable() and " " not in field and "/" not in field


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check, good",
    [
        (values.domain, ["a", "example.org", "_tcp.x-y.example.org", "a" * 63 + ".b"]),
        (values.hostname, ["box", "box-1.example.org"]),
        (values.link_name, ["eth0", "enp0s3", "eth0.5", "wl_1"]),
    ],
)
def test_well_formed(check, good):
    for value in good:
        assert check(value) == value


@pytest.mark.parametrize(
    "check, bad",
    [
        (
            values.domain,
            [
                "",
                ".",
                "a..b",
                "-a",
                "a-",
                "a b",
                "a\nb",
                "a\n",
                "a" * 64,
                "a." * 127 + "ab",
                "ü.de",
                "a/b",
                "$x",
            ],
        ),
        (values.hostname, ["", "a_b", "a" * 60 + "." + "b" * 10, "a\0", "(none)"]),
        (values.link_name, ["", ".", "..", "a/b", "a b", "a" * 16, "eth0\n", "é"]),
        (values.mac, ["", "02:00:00:00:00", "01:00:00:00:00:00", "02:00:00:00:00:0g", "ff:ff:ff:ff:ff:ff"]),
        (values.mtu, ["", "-1", "575", "65536", "1e3", "²"]),
        (values.network, ["224.0.0.0/4", "127.0.0.0/8", "10.0.0.0/33", "x"]),
        (
            values.host,
            [
                "0.0.0.0",
                "255.255.255.255",
                "127.0.0.1",
                "239.1.1.1",
                "::",
                "::1",
                "ff02::1",
                "fe80::1%x",
                "1",
            ],
        ),
    ],
)
def test_not_well_formed(check, bad):
    for value in bad:
        with pytest.raises(values.Refused):
            check(value)


def test_a_refused_value_is_shown_escaped_and_cut():
    with pytest.raises(values.Refused) as refused:
        values.domain("\x1b[2J\n" + "x" * 500)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 150


def test_resolv_conf():
    assert values.resolv_conf(
        "10.0.0.1 on eth0", [f"10.0.0.{n}" for n in range(1, 6)], ["a.org", "b.org"]
    ) == (
        "# from 10.0.0.1 on eth0, by coda-netup(8)\nsearch a.org b.org\n"
        "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n"
    )


# --- the wire -------------------------------------------------------------------------------------


def frame(options=b"", address="10.0.0.5", head=b"\2\1\6\0", sname=bytes(64), file=bytes(128)):
    """A DHCP answer from 10.0.0.1 to MAC, as an Ethernet frame."""
    own = bytes.fromhex(MAC.replace(":", ""))
    bootp = (
        head
        + b"\1\2\3\4"
        + bytes(8)
        + socket.inet_aton(address)
        + bytes(8)
        + own
        + bytes(10)
        + sname
        + file
        + b"c\x82Sc"
        + options
    )
    udp = struct.pack("!HHHH", 67, 68, 8 + len(bootp), 0) + bootp
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x0a\0\0\1", b"\xff" * 4)
    return own + bytes.fromhex("525400000001") + b"\x08\0" + ip + udp


def option(code, data):
    return bytes([code, len(data)]) + data


BASIC = (
    option(53, b"\5")
    + option(54, b"\x0a\0\0\1")
    + option(51, struct.pack("!I", 600))
    + option(1, b"\xff\xff\xff\0")
)


def settings(*options, **more):
    return wire.settings(wire.parse_frame(frame(BASIC + b"".join(options) + b"\xff", **more)))


def test_packet():
    packet = wire.parse_frame(frame(BASIC + b"\xff"))
    assert packet[:5] == ("52:54:00:00:00:01", "10.0.0.1", MAC, 0x01020304, "10.0.0.5")
    assert packet.options[53] == b"\5"


def test_settings():
    got, refused = settings(
        option(3, b"\x0a\0\0\1\x0a\0\0\2"),
        option(6, b"\x0a\0\0\3"),
        option(15, b"example.org\0"),
        option(26, b"\x05\x78"),
        option(12, b"box"),
    )
    assert refused == []
    assert got == wire.Settings(
        "10.0.0.5/24",
        (("0.0.0.0/0", "10.0.0.1"),),
        1400,
        ("10.0.0.3",),
        ("example.org",),
        "box",
        (),
        "10.0.0.1",
        600,
        300,
        525,
    )


@pytest.mark.parametrize(
    "t1, t2, times",
    [(100, 200, (100, 200)), (200, 100, (300, 525)), (0, 0, (300, 525)), (600, 700, (300, 525))],
)
def test_times_that_make_no_sense_are_not_used(t1, t2, times):
    got, _ = settings(option(58, struct.pack("!I", t1)), option(59, struct.pack("!I", t2)))
    assert (got.t1, got.t2) == times


def test_classless_routes():
    """The examples of RFC 3442, and one on the link."""
    data = bytes.fromhex("00 0a000001 08 0a 0a000001 19 81d20000 0a000002 20 0a0a0a0a 00000000")
    assert wire.classless_routes(data) == (
        ("0.0.0.0/0", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1"),
        ("129.210.0.0/25", "10.0.0.2"),
        ("10.10.10.10/32", ""),
    )
    got, _ = settings(option(3, b"\x0a\0\0\x09"), option(121, data[:5]))
    assert got.routes == (("0.0.0.0/0", "10.0.0.1"),)


@pytest.mark.parametrize(
    "data", ["", "21", "18c0a8", "18c0a80a", "04e0 0a000001", "087f 0a000001", "18c0a807 e0000001"]
)
def test_a_bad_route_refuses_all_and_the_router_is_used(data):
    got, refused = settings(
        option(3, b"\x0a\0\0\x09"),
        option(121, bytes.fromhex("080a0a000001" + data)) if data else option(121, b""),
    )
    assert got.routes == (("0.0.0.0/0", "10.0.0.9"),)
    assert len(refused) == 1


def test_search_list_of_rfc_3397():
    data = b"\3eng\5apple\3com\0" + b"\x09marketing\xc0\x04"
    assert wire.search_list(data) == ("eng.apple.com", "marketing.apple.com")


@pytest.mark.parametrize(
    "data",
    [
        b"\xc0\0",
        b"\1a\xc0\0",
        b"\xc0",
        b"\5ab",
        b"\3a.b\0",
        b"\2a\n\0",
        b"\0",
        b"\1a",
        b"\1a\0\xc0\3",
        b"\x41a\0",
    ],
)
def test_search_list_refused(data):
    with pytest.raises(values.Refused):
        wire.search_list(data)


def test_long_and_overloaded_options():
    name = b"a" * 63 + b"." + b"b" * 63
    got, _ = settings(option(15, name[:100]), option(15, name[100:]))
    assert got.search == (name.decode(),)
    got, _ = settings(
        option(52, b"\3"),
        file=option(12, b"box").ljust(128, b"\0"),
        sname=option(15, b"a.b").ljust(64, b"\0"),
    )
    assert (got.hostname, got.search) == ("box", ("a.b",))


def test_no_packet():
    good = frame(BASIC + b"\xff")
    assert wire.parse_frame(good)
    for bad in (
        b"",
        good[:40],
        good[:200],
        good[:12] + b"\x86\xdd" + good[14:],
        frame(BASIC, head=b"\1\1\6\0"),
        frame(b"\x0c\xff"),
        frame(option(1, b"\xff\xff\xff\0")),
        frame(option(53, b"")),
        frame(b"\x35"),
    ):
        assert wire.parse_frame(bad) is None


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_are_settings_or_refused(data, cut):
    """Whatever follows the required options: nothing but Refused, and nothing unclean comes out."""
    packet = wire.parse_frame(frame(BASIC + data)[: 14 + 28 + 240 + cut])
    wire.parse_frame(data)
    if packet is None:
        return
    try:
        got, refused = wire.settings(packet)
    except values.Refused:
        return
    for name in (*got.search, got.hostname):
        assert all(character.isalnum() or character in "-._" for character in name)
    for net, _ in got.routes:
        ipaddress.ip_network(net)
    assert all(text.isprintable() for text in refused)
    plan.operations("eth0", got, got.lease_time)


def test_router_options():
    rdnss = bytes([25, 3, 0, 0]) + struct.pack("!I", 600) + ipaddress.IPv6Address("2001:db8::1").packed
    dnssl = bytes([31, 3, 0, 0]) + struct.pack("!I", 600) + b"\3six\3org\0".ljust(16, b"\0")
    assert wire.router_options(rdnss + dnssl) == (("2001:db8::1",), ("six.org",))
    assert wire.router_options(rdnss[:4] + bytes(4) + rdnss[8:]) == ((), ())
    assert wire.router_options(b"\x19\0" + bytes(30)) == ((), ())


@given(st.binary(max_size=100))
def test_any_router_options(data):
    dns, search = wire.router_options(data)
    assert all(values.host(server) == server for server in dns)
    assert all(values.domain(name) == name for name in search)


# --- links ----------------------------------------------------------------------------------------

TABLE = [
    links.Link("lo", "00:00:00:00:00:00", "", False, True, True),
    links.Link("eth0", "02:00:00:00:00:01", "virtio_net", True, True, True),
    links.Link("eth1", MAC, "e1000", True, False, False),
    links.Link("br0", "02:00:00:00:00:03", "bridge", True, True, True),
]


@pytest.mark.parametrize(
    "wanted, found",
    [
        ([], ["eth0", "eth1"]),
        (["eth1"], ["eth1"]),
        ([MAC.upper()], ["eth1"]),
        (["02-00-00-00-00-0c"], ["eth1"]),
        (["e1000"], ["eth1"]),
        (["eth1", "virtio_net"], ["eth1", "eth0"]),
        (["br0"], ["br0"]),
        (["eth9"], []),
    ],
)
def test_pick(wanted, found):
    assert links.pick(TABLE, wanted) == found


def test_global_addresses():
    text = (
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe800000000000000000000000000001 02 40 20 80     eth0\n"
        "20010db8000000000000000000000005 02 40 00 40     eth0\n"
        "20010db8000000000000000000000006 02 40 00 00     eth0\n"
        "20010db8000000000000000000000007 03 40 00 00     eth1\n"
    )
    assert links.global_addresses(text, "eth0") == ["2001:db8::6"]


def test_lo_is_read_from_the_kernel():
    link = links.read("lo")
    assert link.name == "lo" and not link.ethernet
    assert links.read("nosuchlink") is None


# --- the plan -------------------------------------------------------------------------------------


def lines(operations):
    return [plan.as_text(operation) for operation in operations]


def test_operations():
    given = GIVEN._replace(routes=(("0.0.0.0/0", "10.9.9.9"), ("10.1.0.0/16", "")))
    assert lines(plan.operations("eth0", given, 600)) == [
        "ip link set dev eth0 mtu 1400",
        "ip address replace 10.0.0.5/24 brd 10.0.0.255 valid_lft 600 preferred_lft 600 dev eth0",
        "ip route replace 10.1.0.0/16 src 10.0.0.5 proto 16 dev eth0",
        "ip route replace 0.0.0.0/0 via 10.9.9.9 src 10.0.0.5 proto 16 dev eth0 onlink",
    ]


def test_a_lease_for_ever_has_no_lifetime():
    assert "valid_lft" not in lines(plan.operations("eth0", GIVEN, wire.FOREVER))[1]


def read_by_pyroute2(operation):
    """What pyroute2 finds in the message for `operation` on link 7."""
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    kind, flags, body = netlink.message(operation, 7)
    read = {16: ifinfmsg, 20: ifaddrmsg, 21: ifaddrmsg, 24: rtmsg, 25: rtmsg}[kind](
        struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body)
    read.decode()
    return kind, flags, {name: value for name, value in read.items() if name in (
        "family", "index", "prefixlen", "dst_len", "proto", "scope", "type", "table", "flags") and value}, {
        name: value if isinstance(value, (int, str, dict)) else dict(value["attrs"])
        for name, value in read["attrs"]}


@pytest.mark.parametrize("operation, message", [
    (("mtu", "eth0", {"mtu": 1400}), (16, 0, {"index": 7}, {"IFLA_MTU": 1400})),
    (("route", "eth0", {"dst": "0.0.0.0/0", "proto": 16, "prefsrc": "10.0.0.5", "gateway": "10.0.0.1"}),
     (24, 0x500, {"family": 2, "proto": 16, "type": 1, "table": 254},
      {"RTA_OIF": 7, "RTA_PREFSRC": "10.0.0.5", "RTA_GATEWAY": "10.0.0.1"})),
    (("route", "eth0", {"dst": "10.9.0.0/16", "proto": 4, "scope": 253}),
     (24, 0x500, {"family": 2, "dst_len": 16, "proto": 4, "type": 1, "table": 254, "scope": 253},
      {"RTA_OIF": 7, "RTA_DST": "10.9.0.0"})),
    (("route", "eth0", {"dst": "fd01::/64", "proto": 4, "gateway": "fd00::1", "flags": 4}),
     (24, 0x500, {"family": 10, "dst_len": 64, "proto": 4, "type": 1, "table": 254, "flags": 4},
      {"RTA_OIF": 7, "RTA_DST": "fd01::", "RTA_GATEWAY": "fd00::1"})),
    (("no route", "eth0", {"dst": "10.9.0.0/16"}),
     (25, 0, {"family": 2, "dst_len": 16, "table": 254, "scope": 255},
      {"RTA_OIF": 7, "RTA_DST": "10.9.0.0"})),
    (("no address", "eth0", {"address": "fd00::5", "prefixlen": 64}),
     (21, 0, {"family": 10, "index": 7, "prefixlen": 64},
      {"IFA_ADDRESS": "fd00::5", "IFA_LOCAL": "fd00::5"})),
])
def test_operations_are_understood_as_they_are_meant(operation, message):
    assert read_by_pyroute2(operation) == message


def test_an_address_is_understood_as_it_is_meant():
    words = {"address": "10.0.0.5", "prefixlen": 24, "broadcast": "10.0.0.255",
             "valid": 600, "preferred": 500}
    kind, flags, fields, found = read_by_pyroute2(("address", "eth0", words))
    times = found.pop("IFA_CACHEINFO")
    assert (kind, flags, fields) == (20, 0x500, {"family": 2, "index": 7, "prefixlen": 24})
    assert found == {"IFA_ADDRESS": "10.0.0.5", "IFA_LOCAL": "10.0.0.5", "IFA_BROADCAST": "10.0.0.255"}
    assert (times["ifa_valid"], times["ifa_preferred"]) == (600, 500)
    assert read_by_pyroute2(("address", "eth0", {"address": "fd00::5", "prefixlen": 64, "flags": 2}))[3] == {
        "IFA_ADDRESS": "fd00::5", "IFA_LOCAL": "fd00::5", "IFA_FLAGS": 2}


def test_a_vlan_is_understood_as_it_is_meant():
    kind, flags, _, found = read_by_pyroute2(plan.vlan_on("eth0", 5))
    information = found.pop("IFLA_LINKINFO")
    assert (kind, flags, found) == (16, 0x600, {"IFLA_LINK": 7, "IFLA_IFNAME": "eth0.5"})
    assert information.get_attr("IFLA_INFO_KIND") == "vlan"
    assert information.get_attr("IFLA_INFO_DATA").get_attr("IFLA_VLAN_ID") == 5


def test_what_is_no_longer_given_is_undone():
    old, new = plan.operations("eth0", GIVEN, 600), plan.operations("eth0", GIVEN._replace(routes=()), 600)
    assert lines(plan.undo(old, new)) == ["ip route del 0.0.0.0/0 via 10.0.0.1 dev eth0"]
    assert lines(plan.undo(old, old)) == []
    assert lines(plan.undo(old))[1] == "ip address del 10.0.0.5/24 dev eth0"


def test_what_was_asked_comes_first():
    want = spec.parse("::10.0.0.9::me.here.org:eth0:dhcp:10.0.0.8")
    got = plan.merge(want._replace(mtu=1300), GIVEN)
    assert got.routes == (("0.0.0.0/0", "10.0.0.9"),)
    assert (got.mtu, got.dns, got.search, got.hostname) == (
        1300,
        ("10.0.0.8", "10.0.0.2"),
        ("here.org",),
        "me",
    )
    assert plan.merge(spec.Want("dhcp"), GIVEN) == GIVEN


# --- leases ---------------------------------------------------------------------------------------

THEN = lease.Moment("boot-1", 100.0, 1.8e9)
OLD = lease.Lease("eth0", MAC, "52:54:00:00:00:01", THEN, GIVEN)


def test_lease_file_and_back():
    assert lease.from_text(lease.to_text(["question"], [OLD])) == (["question"], [OLD])


@pytest.mark.parametrize(
    "now, left",
    [(("boot-1", 101.5, 0.0), 598), (("boot-1", 699.0, 9e9), 1), (("boot-2", 5.0, 1.8e9 + 10), 590)],
)
def test_a_valid_lease(now, left):
    assert lease.seconds_left(OLD, lease.Moment(*now)) == left


@pytest.mark.parametrize(
    "when, now, reason",
    [
        (THEN, ("boot-1", 700.0, 1.8e9), "ran out 0 s ago"),
        (THEN, ("boot-2", 5.0, 1.8e9 + 601), "ran out 1 s ago"),
        (THEN, ("boot-2", 5.0, 12.0), "age is unknown"),
        (lease.Moment("boot-1", 1.0, 30.0), ("boot-2", 5.0, 40.0), "age is unknown"),
        (lease.Moment("boot-1", 1.0, 30.0), ("boot-2", 5.0, 1.8e9), "age is unknown"),
    ],
)
def test_a_lease_that_is_not_valid(when, now, reason):
    with pytest.raises(values.Refused, match=reason):
        lease.seconds_left(OLD._replace(when=when), lease.Moment(*now))


@pytest.mark.parametrize(
    "key, value",
    [
        ("address", "224.0.0.1/24"),
        ("address", "10.0.0.5/0"),
        ("routes", [["x", ""]]),
        ("routes", 5),
        ("mtu", 3),
        ("dns", ["a\nb"]),
        ("search", ["a b"]),
        ("hostname", "\n"),
        ("lease_time", None),
        ("server", ""),
    ],
)
def test_a_lease_file_is_not_believed(key, value):
    whole = json.loads(lease.to_text([], [OLD]))
    whole["leases"][0]["settings"][key] = value
    with pytest.raises(values.Refused):
        lease.from_text(json.dumps(whole))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"asked": [], "leases": [1]}', '{"asked": 1, "leases": []}']
)
def test_not_a_lease_file(text):
    with pytest.raises(values.Refused, match="not one of coda-netup"):
        lease.from_text(text)


def test_arp():
    probe = arp.probe(MAC, "10.0.0.5")
    assert len(probe) == 42 and probe[38:] == b"\x0a\0\0\5"
    answer = probe[:22] + b"\x52\x54\0\0\0\1" + b"\x0a\0\0\5" + probe[32:]
    assert arp.claims(answer, MAC, "10.0.0.5")
    assert not arp.claims(answer, MAC, "10.0.0.6")
    assert not arp.claims(answer, "52:54:00:00:00:01", "10.0.0.5")
    assert not arp.claims(probe, MAC, "10.0.0.5")


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--ip=fast"], "cannot use address 'fast'"),
        (["--vlan=0"], "cannot use VLAN '0'"),
        (["--vlan=4095"], "VLAN '4095'"),
        (["--link=eth0.9999"], "VLAN '9999'"),
        (["--mtu=10"], "MTU '10'"),
        (["--hostname=a b"], "host name 'a b'"),
        (["--timeout=x"], "cannot use --timeout='x'"),
        (["--carrier-timeout=-1"], "--carrier-timeout"),
        (["eth0"], "cannot make sense"),
    ],
)
def test_usage_errors(run_command, arguments, reason):
    done = run_command("coda-netup", *arguments)
    assert done.returncode == 100 and reason in done.stderr and done.stdout == ""


def test_places(module):
    assert module.place("eth0.5") == ("eth0", 5)
    assert module.place("eth0", 7) == ("eth0", 7)
    assert module.place(MAC) == (MAC, 0)


def test_preview(module):
    args = {
        "--ip": ["10.0.0.5::10.0.0.1:24::eth0.5:off", "dhcp", "auto6"],
        "--link": ["eth1"],
        "--vlan": None,
        "--mtu": None,
        "--hostname": None,
    }
    assert module.preview(module.jobs(args), TABLE) == [
        "ip link set dev lo up",
        "ip link set dev eth0 up",
        "ip link add link eth0 name eth0.5 type vlan id 5",
        "ip link set dev eth0.5 up",
        "ip address replace 10.0.0.5/24 brd 10.0.0.255 dev eth0.5",
        "ip route replace 0.0.0.0/0 via 10.0.0.1 src 10.0.0.5 proto 4 dev eth0.5",
        "ip link set dev eth1 up",
        "# DHCP on eth1: what the first lease says",
        "ip link set dev eth1 up",
        "# IPv6 router advertisement on eth1",
    ]


def test_dry_run_changes_nothing(run_command, tmp_path):
    done = run_command("coda-netup", "-n", "--link=nosuchlink", f"--lease={tmp_path}/a/lease")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == (
        "ip link set dev lo up\n# wait for a link: nosuchlink\n# DHCP on it: what the first lease says\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_help_imports_neither_pyroute2_nor_asyncio(run_command, module):
    import subprocess
    import sys

    from conftest import TOP, environment

    done = subprocess.run(
        [sys.executable, "-X", "importtime", TOP / "bin/coda-netup", "--help"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0
    assert "pyroute2" not in done.stderr and "asyncio" not in done.stderr


def test_what_is_left_out_at_the_start_is_only_left_out_there():
    code = ("import sys\nfrom netup import lean\nlean.load()\nfrom netup import client, effort\n"
            "assert not {'ssl', 'logging', *lean.LEFT_OUT} & {*sys.modules}\n"
            "import asyncio, logging, ssl, subprocess\nlogging.getLogger().info\n"
            "print(subprocess.check_output(['echo', 'there']))\n"
            "print(asyncio.iscoroutinefunction(client.Client.start), asyncio.iscoroutinefunction(print))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert (done.stdout, done.stderr) == ("b'there\\n'\nTrue False\n", "")


def test_use_of_what_was_left_out_fails():
    made = lean.Nothing("pathlib").Path(1)
    with pytest.raises(AttributeError, match="'Path' object has no attribute 'exists'"):
        made.exists()


def test_a_client_starts_with_nothing_that_was_left_out():
    """What is imported at its first use would cost the boot what leaving it out has won."""
    code = """if True:
        import sys
        from netup import lean
        lean.load()
        from netup import effort, client
        import asyncio

        async def run():
            made = client.Client("nosuchlink")
            try:
                await made.start()
            except OSError as error:
                print(error.strerror)
            made.lease_timers.cancel()
        asyncio.run(run())
        print({"logging", *lean.LEFT_OUT} & {*sys.modules})"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.stdout in ("No such device\nset()\n", "Operation not permitted\nset()\n"), done.stderr
