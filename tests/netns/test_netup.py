"""coda-netup in network namespaces, with real DHCP servers and a hostile one.

Each scenario is a shell script in its own mount, network, UTS and PID namespaces: when it
ends, so do its servers and lease keepers. `card NAME` makes link NAME with its other end,
"lan", in the namespace NAME.
"""

import json
import os
import re
import subprocess
import textwrap

import pytest
from conftest import environment, need_programs, need_root, unshare

pytestmark = pytest.mark.netns

# A DHCP server that says what it is told to: JSON with lease (seconds), address, options
# {code: hex}, only (answer so many requests), junk (damaged packets before each answer).
SERVER = """
import json, socket, sys
told = json.loads(sys.argv[1])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lan")
udp.bind(("0.0.0.0", 67))
options = {"54": "0a090001", "51": "%08x" % told.get("lease", 3600), "1": "ffffff00",
           "3": "0a090001", **told.get("options", {})}
print("ready", flush=True)
answered = 0
while True:
    asked = udp.recv(4096)
    at, given = 240, {}
    while asked[at] != 255:
        given[asked[at]] = asked[at + 2:at + 2 + asked[at + 1]]
        at += 2 + asked[at + 1]
    kind = given[53][0]
    print(("", "discover", "", "request")[kind], "renewing" if any(asked[12:16]) else "",
          given.get(12, b"").decode(), flush=True)
    if answered >= told.get("only", 1 << 30):
        continue
    answered += kind == 3
    head = (b"\\2\\1\\6\\0" + asked[4:16] + socket.inet_aton(told.get("address", "10.9.0.77")) + bytes(8)
            + asked[28:44] + bytes(192) + b"c\\x82Sc")
    tail = b"".join(bytes([int(code), len(value) // 2]) + bytes.fromhex(value)
                    for code, value in options.items())
    answer = head + bytes([53, 1, 2 if kind == 1 else told.get("reply", 5)]) + tail + b"\\xff"
    junk = [b"", b"\\2", head, head + tail + b"\\xff", answer[:250], answer[:-9], head + b"\\x35\\1\\0\\xff",
            head + b"\\x35\\1\\2\\xff", answer[:44] + b"\\xff" * 300] if told.get("junk") else []
    for data in [*junk, answer]:
        udp.sendto(data, ("255.255.255.255", 68))
"""

PREAMBLE = r"""
set -u
mount -t tmpfs none /run
work=$(mktemp -d -p /run)
cd $work
cat >server.py
card() {
    ip netns add $1
    ip link add $1 type veth peer name lan netns $1
    ip -n $1 address add ${2:-10.9.0.1/24} dev lan
    ip -n $1 link set lan up
    ip -n $1 link set lo up
}
dnsmasq_on() {
    name=$1
    shift
    ip netns exec $name dnsmasq --keep-in-foreground --log-facility=- --conf-file=/dev/null --port=0 \
        --interface=lan --bind-dynamic --leasefile-ro --pid-file= --no-ping --user=root "$@" 2>dnsmasq.$name &
    until grep -qs 'DHCP, \|router advert' dnsmasq.$name; do sleep 0.1; done
}
serve() {
    ip netns exec $1 /usr/bin/python3 server.py "$2" >said.$1 &
    server=$!
    until grep -qs ready said.$1; do sleep 0.05; done
}
lft() { ip -4 address show dev $1 | sed -n 's/.*valid_lft \([0-9]*\)sec.*/\1/p'; }
"""


def run(script, timeout=120):
    """Run a scenario; its result, with rc, out and err of the shell."""
    need_root()
    need_programs("ip", "dnsmasq")
    env = environment(
        LC_ALL="C", **{key: value for key, value in os.environ.items() if key.startswith("COVERAGE_")}
    )
    return subprocess.run(
        [
            *unshare("--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"),
            "bash",
            "-c",
            PREAMBLE + textwrap.dedent(script),
        ],
        input=SERVER,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=env,
    )


def dhcp(**told):
    """What to tell the server, quoted for the shell."""
    return "'" + json.dumps(told) + "'"


def test_dhcp():
    done = run("""
        card c0
        dnsmasq_on c0 --dhcp-range=10.9.0.10,10.9.0.10,2m --dhcp-option=option:dns-server,10.9.0.1,10.9.0.2 \\
            --domain=example.org
        coda-netup || echo failed $?
        ip address show dev c0; ip address show dev lo; ip route; cat /run/coda/resolv.conf
        cat /proc/$(cat /run/coda/netup.pid)/cmdline | tr '\\0' ' '
        may=$(bash -c 'echo -1000 >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj' 2>/dev/null)
        [ $may = $(cat /proc/$(cat /run/coda/netup.pid)/oom_score_adj) ] && echo spared where it may be
        ls -l /proc/$(cat /run/coda/netup.pid)/cwd /proc/$(cat /run/coda/netup.pid)/fd
        ls -A $work
    """)
    assert done.stderr == ""
    assert "inet 10.9.0.10/24 brd 10.9.0.255" in done.stdout
    assert re.search(r"valid_lft 1(19|20)sec", done.stdout)
    assert "inet 127.0.0.1/8" in done.stdout
    assert "default via 10.9.0.1 dev c0 proto dhcp src 10.9.0.10" in done.stdout
    assert "search example.org\nnameserver 10.9.0.1\nnameserver 10.9.0.2\n" in done.stdout
    assert "\n@coda-netup " in done.stdout and "spared where it may be" in done.stdout
    assert "cwd -> /\n" in done.stdout and "pipe:" not in done.stdout
    # pyroute2 would leave a lease file and a pid file here.
    assert done.stdout.splitlines()[-2:] == ["dnsmasq.c0", "server.py"]


def test_again_is_success_and_another_question_replaces_the_keeper():
    done = run("""
        card c0
        dnsmasq_on c0 --dhcp-range=10.9.0.10,10.9.0.20,2m
        coda-netup; first=$(cat /run/coda/netup.pid)
        coda-netup -v || echo failed $?
        [ $first = $(cat /run/coda/netup.pid) ] && echo same
        coda-netup --mtu=1400 || echo failed $?
        [ $first = $(cat /run/coda/netup.pid) ] || echo new
        kill -0 $first 2>/dev/null || echo ended
        ip link show c0
    """)
    assert "coda-netup: the network is already up" in done.stderr
    assert done.stdout.startswith("same\nnew\nended\n")
    assert "mtu 1400" in done.stdout


def test_classless_routes_over_router_and_mtu():
    done = run("""
        card c0
        dnsmasq_on c0 --dhcp-range=10.9.0.10,10.9.0.20,2m --dhcp-option=option:router,10.9.0.9 \\
            --dhcp-option-force=121,192.168.7.0/24,10.9.0.2,0.0.0.0/0,10.9.0.1,172.16.0.0/12,0.0.0.0 \\
            --dhcp-option-force=option:mtu,1400
        coda-netup || echo failed $?
        ip route; ip link show c0
    """)
    assert done.stderr == ""
    assert "default via 10.9.0.1 dev c0" in done.stdout
    assert "192.168.7.0/24 via 10.9.0.2 dev c0" in done.stdout
    assert "172.16.0.0/12 dev c0 proto dhcp scope link" in done.stdout
    assert "10.9.0.9" not in done.stdout
    assert "mtu 1400" in done.stdout


def test_dead_cards_cost_nothing():
    """One card has a carrier and no server, one has no carrier, one works."""
    done = run("""
        card a0; card b0; card c0
        ip -n b0 link set lan down
        dnsmasq_on c0 --dhcp-range=10.9.0.10,10.9.0.20,2m
        SECONDS=0
        coda-netup || echo failed $?
        echo took $SECONDS
        ip -4 -o address
    """)
    assert done.stderr == ""
    assert int(re.search(r"took (\d+)", done.stdout)[1]) <= 2
    assert re.search(r"c0 +inet 10\.9\.0\.", done.stdout)
    assert not re.search(r"[ab]0 +inet", done.stdout)


def test_no_server_is_99_with_a_line_for_each_link():
    done = run("""
        card a0; card b0
        ip -n b0 link set lan down
        coda-netup --dhcp-timeout=2 --carrier-timeout=1
        echo status $?
        ls /run/coda
    """)
    assert "status 99" in done.stdout
    assert re.search(r"^coda-netup: a0: carrier, [2-4] requests sent, no answer in 2 s$", done.stderr, re.M)
    assert re.search(r"^coda-netup: b0: no carrier in 1 s$", done.stderr, re.M)
    assert "cannot bring the network up" in done.stderr
    assert "lease" not in done.stdout


def test_the_time_in_all_ends_it():
    done = run("card a0; SECONDS=0; coda-netup --timeout=1; echo status $? took $SECONDS")
    assert re.search("status 99 took [12]", done.stdout)
    assert "a0: carrier, " in done.stderr


def test_no_link():
    done = run("coda-netup --carrier-timeout=0.2; echo status $?; ip link show lo")
    assert "status 99" in done.stdout
    assert "no link found" in done.stderr
    assert "UP" in done.stdout


def test_a_link_that_comes_late():
    done = run("""
        (sleep 1; card c0; dnsmasq_on c0 --dhcp-range=10.9.0.10,10.9.0.20,2m) &
        coda-netup || echo failed $?
        ip -4 -o address
    """)
    assert "inet 10.9.0." in done.stdout and "failed" not in done.stdout


LINKS = {"name": "c0", "mac": "02:00:00:00:00:0C", "driver": "veth"}


@pytest.mark.parametrize("how", LINKS)
def test_links_by(how):
    done = run(f"""
        card a0; card c0; ip link set c0 address 02:00:00:00:00:0c
        for i in a0 c0; do dnsmasq_on $i --dhcp-range=10.9.0.10,10.9.0.20,2m; done
        coda-netup --link={LINKS[how]} || echo failed $?
        ip -4 -o address
    """)
    assert re.search(r"[ac]0 +inet" if how == "driver" else "c0 +inet", done.stdout)
    assert done.stderr == ""


HOSTILE = {
    "15": b"x.org\nnameserver 6.6.6.6".hex(),
    "12": b"$(reboot)".hex(),
    "119": "c000",
    "26": "000a",
    "6": "e0000001",
    "121": "18c0a807e0000001",
}


def test_hostile_values_are_refused_by_name_and_reach_no_file():
    """A newline in the domain and host name, a broken search list, MTU 10, a multicast name server."""
    done = run(f"""
        card c0
        hostname before
        serve c0 {dhcp(options=HOSTILE)}
        coda-netup --set-hostname || echo failed $?
        cat /run/coda/*; hostname; ip -4 route; ip link show c0
    """)
    for kind in (
        "domain name 'x.org\\nnameserver 6.6.6.6'",
        "host name '$(reboot)'",
        "search list b'",
        "MTU 10",
        "name server '224.0.0.1'",
        "gateway to 192.168.7.0/24 '224.0.0.1'",
    ):
        assert f"c0: refused {kind}" in done.stderr, kind
    assert "from the DHCP server 10.9.0.1" in done.stderr
    assert "failed" not in done.stdout
    for trace in ("6.6.6.6", "reboot", "x.org", "224", "192.168.7"):
        assert trace not in done.stdout
    assert "\nbefore\n" in done.stdout and "mtu 1500" in done.stdout
    # Option 3 is used where option 121 cannot be.
    assert "default via 10.9.0.1" in done.stdout


@pytest.mark.parametrize(
    "told",
    [
        {"address": "224.0.0.5"},
        {"address": "127.0.0.1"},
        {"address": "0.0.0.0"},
        {"lease": 0},
        {"options": {"54": "ffffffff"}},
        {"options": {"51": "00"}},
    ],
)
def test_an_offer_that_cannot_be_used(told):
    done = run(
        f"card c0; serve c0 {dhcp(**told)}; coda-netup --dhcp-timeout=1; echo status $?; ip -4 -o address"
    )
    assert "status 99" in done.stdout
    assert "c0: refused " in done.stderr
    assert "c0    inet" not in done.stdout


def test_damaged_packets_do_not_end_the_client():
    done = run(f"""
        card c0
        serve c0 {dhcp(junk=True, lease=4)}
        coda-netup || echo failed $?
        sleep 5; cat said.c0; ip -4 -o address show dev c0; cat /run/coda/netup.log
    """)
    assert "inet 10.9.0.77/24" in done.stdout
    assert "request renewing" in done.stdout
    assert "failed" not in done.stdout and "Traceback" not in done.stdout


def test_a_refused_request_begins_again():
    done = run(f"card c0; serve c0 {dhcp(reply=6)}; coda-netup --dhcp-timeout=2; echo status $?; cat said.c0")
    assert "status 99" in done.stdout
    assert done.stdout.count("discover") >= 2


def test_renewal_survives_the_handoff():
    """The parent is gone and /run has moved to another root: the lease is renewed, its file too."""
    done = run(f"""
        card c0
        serve c0 {dhcp(lease=6)}
        coda-netup || echo failed $?
        cp /run/coda/lease before
        mkdir /run/new; mount -t tmpfs none /run/new; mkdir /run/new/run
        cd /; mount --make-rprivate /
        mount --move /run /mnt
        ls /run/coda/lease 2>/dev/null
        sleep 8
        cat /mnt/$(basename $work)/said.c0; lft c0
        cmp -s /mnt/coda/lease /mnt/$(basename $work)/before || echo rewritten
    """)
    assert done.stdout.count("request renewing") >= 2
    assert done.stdout.splitlines()[-1] == "rewritten"
    assert 1 <= int(done.stdout.splitlines()[-2]) <= 6


def test_a_lease_of_60_seconds_is_renewed():
    need_programs("busybox")
    done = run("""
        card c0
        for line in 'start 10.9.0.10' 'end 10.9.0.20' 'interface lan' 'option lease 60' \\
            'opt router 10.9.0.1' "lease_file $work/udhcpd.leases"; do echo "$line"; done >udhcpd.conf
        touch udhcpd.leases
        ip netns exec c0 busybox udhcpd -f udhcpd.conf >udhcpd.log 2>&1 &
        sleep 1
        coda-netup || echo failed $?
        lft c0; sleep 28; lft c0; sleep 5; lft c0
    """)
    first, before, after = map(int, done.stdout.split())
    assert first >= 59 and before <= 32 and after >= 54, done.stderr


def test_a_lease_runs_out_and_comes_back():
    """The address goes when the server goes, as it may be given to another; and returns with it."""
    done = run(f"""
        card c0
        serve c0 {dhcp(lease=3)}
        coda-netup || echo failed $?
        kill $server; wait $server
        sleep 5; ip -4 -o address show dev c0; ip -4 route; echo gone; cat /run/coda/netup.log
        serve c0 {dhcp(lease=30)}
        for i in $(seq 120); do [ "$(lft c0)" ] && break; sleep 0.1; done
        ip -4 -o address show dev c0; ip -4 route
    """)
    gone, back = done.stdout.split("gone\n")
    assert gone == ""
    assert "lost 10.9.0.77/24: not renewed" in back
    assert "inet 10.9.0.77/24" in back and "default via 10.9.0.1" in back


def test_link_down_and_up_again():
    done = run(f"""
        card c0
        serve c0 {dhcp(lease=4)}
        coda-netup || echo failed $?
        ip link set c0 down; sleep 3; ip link set c0 up
        sleep 7; lft c0; cat /run/coda/netup.log
    """)
    assert done.stdout.split()[0].isdigit(), done.stdout


LEASED = f"""
    card c0
    serve c0 {dhcp(lease=600)}
    coda-netup || echo failed $?
    kill $(cat /run/coda/netup.pid) $server; wait $server
    while kill -0 $(cat /run/coda/netup.pid) 2>/dev/null; do sleep 0.05; done
    ip address flush dev c0 scope global
"""


def test_reuse_lease():
    done = run(
        LEASED
        + """
        sleep 2
        coda-netup --dhcp-timeout=1; echo without $?
        coda-netup --dhcp-timeout=1 --reuse-lease; echo with $?
        lft c0; ip route; cat /run/coda/resolv.conf
        ls /proc/$(cat /run/coda/netup.pid)/fd >/dev/null && echo kept
    """
    )
    assert "without 99\nwith 0\n" in done.stdout
    assert 500 < int(done.stdout.split("with 0\n")[1].split()[0]) < 599
    assert "default via 10.9.0.1" in done.stdout and "kept" in done.stdout
    assert "no DHCP server answers; using the lease of 10.9.0.77/24" in done.stderr


def test_reused_lease_is_replaced_when_the_server_is_back():
    done = run(
        LEASED
        + f"""
        coda-netup --dhcp-timeout=1 --reuse-lease; echo with $?
        serve c0 {dhcp(address="10.9.0.88")}
        for i in $(seq 100); do ip -o -4 address show dev c0 | grep -q 10.9.0.88 && break; sleep 0.1; done
        ip -4 -o address show dev c0; ip route
    """
    )
    assert "inet 10.9.0.88/24" in done.stdout and "10.9.0.77" not in done.stdout


@pytest.mark.parametrize(
    "change, reason",
    [
        ("ip -n c0 address add 10.9.0.77/24 dev lan", "another machine has its address '10.9.0.77'"),
        (
            """sed -i 's/"boottime": [0-9]*/"boottime": 1/; s/: 600/: 2/' /run/coda/lease""",
            "lease: it ran out",
        ),
        (
            'sed -i \'s/"boot_id": "/&x/; s/"clock": [0-9]*/"clock": 9999999999/\' /run/coda/lease',
            "its age is unknown",
        ),
        ("sed -i 's/10.9.0.77/224.0.0.1/' /run/coda/lease", "address '224.0.0.1'"),
        ("echo '{' >/run/coda/lease", "not one of coda-netup"),
        ("rm /run/coda/lease", "no '/run/coda/lease'"),
    ],
)
def test_a_lease_that_must_not_be_reused(change, reason):
    done = run(
        LEASED + f"{change}\ncoda-netup --dhcp-timeout=1 --reuse-lease; echo with $?; ip -4 -o address"
    )
    assert "with 99" in done.stdout
    assert reason in done.stderr
    assert "c0    inet" not in done.stdout


def test_vlan():
    done = run("""
        card c0
        ip -n c0 link set lan name card
        ip -n c0 link add link card name lan type vlan id 5 2>/dev/null || { echo no vlan; exit; }
        ip -n c0 address flush dev card
        ip -n c0 address add 10.9.0.1/24 dev lan
        ip -n c0 link set card up
        ip -n c0 link set lan up
        dnsmasq_on c0 --dhcp-range=10.9.0.10,10.9.0.20,2m
        coda-netup --link=c0.5 || echo failed $?
        ip -4 -o address; ip -d link show c0.5
        coda-netup --vlan=5 --link=c0 || echo failed $?
    """)
    if "no vlan" in done.stdout:
        pytest.skip("needs VLANs in the kernel")
    assert done.stderr == "" and "failed" not in done.stdout
    assert "c0.5    inet 10.9.0." in done.stdout and "id 5" in done.stdout


def test_static_needs_no_keeper():
    done = run("""
        card c0
        coda-netup --ip=10.9.0.5::10.9.0.1:255.255.255.0:box.example.org:c0:off:10.9.0.1 --set-hostname \\
            || echo failed $?
        ip -4 -o address show dev c0; ip route; cat /run/coda/resolv.conf; hostname
        ip netns exec c0 ping -c1 -W1 10.9.0.5 >/dev/null 2>&1 || true
        pgrep coda-netup; ls /run/coda
        coda-netup --ip=10.9.0.5::10.9.0.1:255.255.255.0:box.example.org:c0:off:10.9.0.1 && echo again
    """)
    assert done.stderr == "" and "failed" not in done.stdout
    assert "inet 10.9.0.5/24 brd 10.9.0.255" in done.stdout and "valid_lft forever" in done.stdout
    assert "default via 10.9.0.1 dev c0 proto static" in done.stdout
    assert "search example.org\nnameserver 10.9.0.1\nbox\n" in done.stdout
    assert "again" in done.stdout and "netup.pid" not in done.stdout


def test_static_ipv6():
    done = run("""
        card c0
        coda-netup '--ip=[2001:db8::5]::[2001:db8::1]:64::c0:none' || echo failed $?
        ip -6 -o address show dev c0; ip -6 route
    """)
    assert done.stderr == "" and "failed" not in done.stdout
    assert "inet6 2001:db8::5/64 scope global" in done.stdout
    assert "default via 2001:db8::1 dev c0" in done.stdout


def test_ipv6_by_router_advertisement():
    done = run("""
        card c0
        ip -n c0 address add 2001:db8:1::1/64 dev lan nodad
        dnsmasq_on c0 --dhcp-range=::,constructor:lan,ra-stateless,64,1h --enable-ra \\
            '--dhcp-option=option6:dns-server,[2001:db8:1::1]' \\
            --dhcp-option=option6:domain-search,six.example.org
        SECONDS=0
        coda-netup --ip=auto6 || echo failed $?
        echo took $SECONDS
        ip -6 -o address show dev c0; ip -6 route; cat /run/coda/resolv.conf; pgrep coda-netup
    """)
    assert done.stderr == "" and "failed" not in done.stdout
    assert re.search(r"inet6 2001:db8:1:0:\S+/64 scope global", done.stdout)
    assert "default via fe80::" in done.stdout
    assert "search six.example.org\nnameserver 2001:db8:1::1\n" in done.stdout


def test_no_router_is_99():
    done = run("card c0; coda-netup --ip=auto6 --dhcp-timeout=1; echo status $?")
    assert "status 99" in done.stdout
    assert "c0: carrier, no router advertisement in 1 s" in done.stderr


GIVEN = {"12": b"given".hex()}


def test_host_name_from_dhcp_only_when_asked():
    done = run(f"""
        card c0; hostname before
        serve c0 {dhcp(options=GIVEN)}
        coda-netup --hostname=me || echo failed $?
        hostname; cat said.c0
        coda-netup --set-hostname || echo failed $?
        hostname
    """)
    lines = done.stdout.splitlines()
    assert lines[0] == "before" and lines[-1] == "given"
    assert any(line.startswith("discover") and line.endswith("me") for line in lines)


def test_as_a_first_program():
    """Read-only root, nothing on the standard streams, no PATH, SIGCHLD ignored."""
    done = run("""
        card c0
        dnsmasq_on c0 --dhcp-range=10.9.0.10,10.9.0.20,2m
        mount --bind / /mnt && mount -o remount,bind,ro /mnt
        mkdir -p /run/coda
        for i in proc dev sys run; do mount --bind /$i /mnt/$i; done
        program=$(command -v coda-netup)
        (trap '' CHLD; cd /; exec chroot /mnt /usr/bin/env -i PYTHONPATH=$PYTHONPATH \\
            /usr/bin/python3 $program 0<&- 1<&- 2<&-)
        echo status $?
        ip -4 -o address show dev c0
    """)
    assert "status 0" in done.stdout
    assert "inet 10.9.0." in done.stdout


def test_a_lease_file_on_a_read_only_file_system_is_written_when_it_becomes_writable():
    done = run("""
        card c0
        dnsmasq_on c0 --dhcp-range=10.9.0.10,10.9.0.20,2m
        mkdir kept; mount -t tmpfs -o ro none kept
        coda-netup --lease=$work/kept/lease || echo failed $?
        ls kept; mount -o remount,rw kept; sleep 4; ls kept
    """)
    assert done.stdout == "lease\n"
    assert "trying again" in done.stderr


def test_sigterm_ends_the_work_too():
    done = run("""
        card c0
        coda-netup & pid=$!
        sleep 1.5; kill $pid; wait $pid; echo status $?
        sleep 0.5; pgrep coda-netup || echo none left
        ps ax | grep -c '[b]in/coda-netup'
    """)
    assert "status 143" in done.stdout
    assert done.stdout.endswith("none left\n0\n")
