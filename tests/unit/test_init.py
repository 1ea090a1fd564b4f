"""etc/init's whole decision table, without a VM: the real script, in a chroot of fake steps.

A user namespace is enough, no root. Each step is a script that takes its exit statuses from
a list; `setsid`, which starts the rescue shell, is a script too: the tests look at what init
decides, the VM tests at what then happens.
"""

import json
import os
import shutil
import subprocess

import pytest
from conftest import TOP, need, unshare

STEPS = ["coda-fsck-root", "coda-netup", "coda-venus-start", "coda-wait-mount", "coda-mount-dev"]
OVERLAY = ["coda-bind-client", "coda-mount-root"]  # for a root with a stamp
HANDOFF = "coda-handoff --rescue=/sbin/init --record=/run/coda/boot"
SHELLS = ["dash", "busybox"]

STEP = """#!/bin/sh
name=${0##*/}
echo "$name $*" >>/events
[ ! -e /result/$name ] || cat /result/$name
[ ! -e /said/$name ] || cat /said/$name >&2
read -r status <"/status/$name" || exit 0
sed -i 1d "/status/$name"
exit "$status"
"""
FAKES = {
    "setsid": '#!/bin/sh\n[ "$2" = true ] || { echo shell >>/events; exit 1; }\n',
    "sleep": '#!/bin/sh\necho "sleep $*" >>/events\n',
    "mount": '#!/bin/sh\necho "mount $*" >>/events\n',
    "modprobe": "#!/bin/sh\nexit 0\n",
    "reboot": "#!/bin/sh\necho reboot >>/events; kill -9 $PPID\n",
    "poweroff": "#!/bin/sh\necho poweroff >>/events; kill -9 $PPID\n",
}


class Boot:
    """A root directory with the real init and fake everything else."""

    def __init__(self, top, shell):
        self.top, self.shell = top, shell
        for folder in ("bin", "dev", "etc", "proc/self", "run", "result", "said", "status", "sys/kernel",
                       "sys/class/tty/console", "usr/local/sbin", "usr/bin", "sbin"):
            (top / folder).mkdir(parents=True)
        shutil.copy("/bin/busybox", top / "bin/busybox")
        for applet in ("cat", "grep", "mkdir", "sed", "sort", "sync", "xargs", "kill"):
            (top / "bin" / applet).symlink_to("busybox")
        self._shell(shell)
        for name in [*STEPS, *OVERLAY, "coda-handoff", "coda-leave-root"]:
            self.program(name, STEP)
        for name, text in FAKES.items():
            self.program(name, text)
        (top / "proc/uptime").write_text("1.50 1.00\n")
        (top / "proc/mounts").write_text("run /run tmpfs rw 0 0\n")
        (top / "proc/cmdline").write_text("root=/dev/vda quiet\n")
        (top / "sys/class/tty/console/active").write_text("tty0 ttyS0\n")
        (top / "etc/coda-boot.conf").write_text("# nothing\n")
        (top / "bin/true").symlink_to("busybox")
        for device in ("null", "kmsg", "ttyS0"):
            (top / "dev" / device).touch()
        shutil.copy(TOP / "etc/init", top / "sbin/init")
        os.mkfifo(top / "dev/console")

    def _shell(self, shell):
        if shell == "busybox":
            (self.top / "bin/sh").symlink_to("busybox")
            return
        shutil.copy("/bin/dash", self.top / "bin/sh")
        for line in subprocess.run(["ldd", "/bin/dash"], capture_output=True, text=True).stdout.split():
            if line.startswith("/"):
                (self.top / line[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(line, self.top / line[1:])

    def program(self, name, text):
        (self.top / "usr/local/sbin" / name).write_text(text)
        (self.top / "usr/local/sbin" / name).chmod(0o755)

    def status(self, name, *numbers):
        (self.top / "status" / name).write_text("".join(f"{n}\n" for n in numbers))

    def run(self, cmdline="", conf="", arguments=()):
        """Run init to its exec; its events (one a line, as the steps saw them)."""
        with open(self.top / "proc/cmdline", "a") as file:
            file.write(f" {cmdline}\n")
        text = (self.top / "proc/cmdline").read_text().replace("\n", " ")
        (self.top / "proc/cmdline").write_text(text + "\n")
        with open(self.top / "etc/coda-boot.conf", "a") as file:
            file.write(conf)
        for name in [*STEPS, "coda-handoff", "coda-leave-root"]:
            (self.top / "status" / name).touch()
        console = os.open(self.top / "dev/console", os.O_RDWR | os.O_NONBLOCK)
        trace = os.environ.get("CODA_INIT_TRACE")
        shell = ["/bin/sh", *(["-x"] if trace else []), "/sbin/init", *arguments]
        self.done = subprocess.run([*unshare("-m"), "chroot", self.top, *shell], timeout=30,
                                   stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                   env={"PS4": "+init:$LINENO: ", "PATH": "/usr/sbin:/usr/bin"})
        if trace:
            with open(trace, "a") as file:
                file.write(self.done.stderr)
        self.console = os.read(console, 1 << 16).decode()
        os.close(console)
        events = self.top / "events"
        return events.read_text().splitlines() if events.exists() else []

    def record(self):
        return [json.loads(line) for line in (self.top / "run/coda/boot").read_text().splitlines()]


@pytest.fixture(params=SHELLS)
def boot(request, tmp_path):
    need(shutil.which(request.param), request.param)
    need(shutil.which("busybox"), "busybox")
    return Boot(tmp_path, request.param)


def calls(events, name):
    return [event for event in events if event.split()[0] == name]


def test_all_steps_run_in_order_and_hand_over(boot):
    events = boot.run()
    assert events[-1] == f"{HANDOFF} /coda/linuxroot -- /sbin/init"
    order = [event.split()[0] for event in events]
    for first, second in [("coda-fsck-root", "coda-venus-start"), ("coda-venus-start", "coda-wait-mount"),
                          ("coda-wait-mount", "coda-handoff"), ("coda-handoff", "coda-mount-dev")]:
        assert order.index(first) < order.index(second)
    assert "coda-venus-start -- coda-local-venus /srv/coda" in events
    assert "coda-wait-mount --init=/sbin/init /coda/linuxroot" in events
    assert "coda-handoff --dry-run /coda/linuxroot -- /sbin/init" in events
    assert "shell" not in events


def test_record_has_every_step_with_times_and_arguments(boot):
    boot.run("coda.netup.timeout=7")
    record = boot.record()
    assert record[0]["name"] == "init"
    assert {entry["name"] for entry in record} == {"init", "coda-handoff", *STEPS}
    netup = next(entry for entry in record if entry["name"] == "coda-netup")
    assert netup["argv"] == ["coda-netup", "--timeout=7"]
    assert (netup["start"], netup["end"], netup["status"], netup["reason"]) == (1.5, 1.5, 0, "")


@pytest.mark.parametrize("overlay, stamp, laid", [
    ("", False, False), ("", True, True), ("coda.overlay=auto", True, True),
    ("coda.overlay=off", True, False), ("coda.overlay=on", False, True)])
def test_a_root_with_a_stamp_gets_an_overlay_unless_told(boot, overlay, stamp, laid):
    (boot.top / "coda/linuxroot").mkdir(parents=True)
    if stamp:
        (boot.top / "coda/linuxroot/.coda-root").touch()
    (boot.top / "result/coda-bind-client").write_text("/coda/linuxroot.clients/a\n/coda/my clients/*\n")
    events = boot.run(f"{overlay} coda.mount-root.state=/var/lib/coda/state coda.bind-client.name=a")
    root = "/run/coda/root" if laid else "/coda/linuxroot"
    assert [event for event in events if event.split()[0] in OVERLAY] == [
        "coda-bind-client --name=a /coda/linuxroot",
        "coda-mount-root --state=/var/lib/coda/state --layer=/coda/linuxroot.clients/a"
        " --layer=/coda/my clients/* /coda/linuxroot /run/coda/root"][:2 * laid]
    assert f"coda-mount-dev {root}" in events and f"coda-handoff --dry-run {root} -- /sbin/init" in events
    assert events[-1].endswith(f"{root} -- /sbin/init")
    if laid:
        assert events.index("coda-wait-mount --init=/sbin/init /coda/linuxroot") < events.index(
            "coda-bind-client --name=a /coda/linuxroot")
        # A result is for init, and shown like all a step says.
        assert "  /coda/my clients/*\n" in boot.console
        assert boot.record()[-1]["argv"][-3] == root


@pytest.mark.parametrize("name", OVERLAY)
def test_an_overlay_that_cannot_be_is_rescued(boot, name):
    boot.status(name, 3)
    events = boot.run("coda.overlay=on")
    assert events.count("shell") == 1 and len(calls(events, name)) == 2
    assert calls(events, "coda-mount-root")[-1] == "coda-mount-root /coda/linuxroot /run/coda/root"
    assert events[-1].endswith("/run/coda/root -- /sbin/init")


@pytest.mark.parametrize("name", [*STEPS, "coda-handoff"])
@pytest.mark.parametrize("status", [1, 99, 100, 111, 127, 137])
def test_a_failed_step_opens_a_shell_that_says_why_and_is_run_again(boot, name, status):
    boot.status(name, status)
    (boot.top / f"said/{name}").write_text(f'{name}: cannot do "it": \\ reason\n{name}: (a hint)\n')
    events = boot.run()
    assert events.count("shell") == 1
    assert len(calls(events, name)) == (3 if name == "coda-handoff" else 2)
    assert events[-1].startswith(HANDOFF)
    assert f"the boot stopped at '{name}', exit status {status}" in boot.console
    assert f'reason:  {name}: cannot do "it": \\ reason' in boot.console
    assert f"log:     /run/coda/log/{name}" in boot.console
    failed = next(entry for entry in boot.record() if entry["status"])
    assert (failed["name"], failed["status"]) == (name, status)
    assert failed["reason"] == f'{name}: cannot do "it": \\ reason'


def test_debug_opens_consoles_before_venus_and_is_off_otherwise(boot):
    boot.program("coda-open-consoles", STEP)
    events = boot.run("coda.debug coda.open-consoles.shell=/dev/ttyS1")
    events = [event for event in events if not event.startswith("coda-netup")]  # it runs beside
    venus = events.index("coda-venus-start -- coda-local-venus /srv/coda")
    assert events[venus - 1] == "coda-open-consoles --shell=/dev/ttyS1"


def test_a_boot_opens_no_consoles_by_itself(boot):
    boot.program("coda-open-consoles", STEP)
    assert not [event for event in boot.run("coda.debugging quiet") if "consoles" in event]


def in_a_row(events):
    """The events without the network's, which runs beside: its moment is its own."""
    return [event for event in events if not event.startswith("coda-netup")]


def test_a_token_is_a_step_of_its_own_when_it_is_asked_for(boot):
    boot.program("coda-keep-token", STEP)
    events = in_a_row(boot.run(conf="token=client7@example.org /etc/coda/secret\nkeep-token.uid=0\n"))
    step = "coda-keep-token --uid=0 --wait=no client7@example.org /etc/coda/secret"
    assert events.index(step) == events.index("coda-venus-start -- coda-local-venus /srv/coda") + 1


@pytest.mark.parametrize("action", ["reboot", "poweroff"])
@pytest.mark.parametrize("name", STEPS)
def test_unattended_machine_leaves_after_a_time(boot, name, action):
    boot.status(name, 111)
    events = boot.run(f"coda.onfail={action} coda.onfail-after=42")
    assert "shell" not in events
    assert events[-3:] == ["sleep 42", "coda-leave-root ", action]
    assert f"the boot stopped at '{name}'" in boot.console


def test_fsck_that_wants_a_reboot_gets_it(boot):
    boot.status("coda-fsck-root", 2)
    events = in_a_row(boot.run())
    assert events[-2:] == ["coda-leave-root ", "reboot"]
    assert "coda-venus-start" not in " ".join(events)


# A network that is up only when the last other step has begun, and then fails or not.
LATE = """#!/bin/sh
echo "coda-netup $*" >>/events
until grep -q "^coda-mount-dev" /events || [ -e /up ]; do /bin/busybox usleep 10000; done
echo "netup ended" >>/events
>/up
read -r status </status/coda-netup || exit 0
sed -i 1d /status/coda-netup
exit "$status"
"""


def test_only_the_handoff_waits_for_the_network(boot):
    boot.program("coda-netup", LATE)
    events = boot.run()
    assert events.index("coda-mount-dev /coda/linuxroot") < events.index("netup ended") == len(events) - 2
    assert events[-1].startswith(HANDOFF)


@pytest.mark.parametrize("status, shells", [(100, 1), (99, 0)])
def test_a_network_that_fails_late_is_retried_or_rescued_before_the_handoff(boot, status, shells):
    boot.program("coda-netup", LATE)
    boot.status("coda-netup", status)
    events = boot.run("coda.retry=1")
    assert (events.count("shell"), events.count("netup ended")) == (shells, 2)
    assert events[-1].startswith(HANDOFF) and len(calls(events, HANDOFF.split()[0])) == 2


def test_a_step_that_fails_beside_a_failed_network_shows_the_network_first(boot):
    boot.status("coda-netup", 99)
    boot.status("coda-wait-mount", 99)
    events = boot.run()
    assert events.count("shell") == 2
    assert boot.console.index("stopped at 'coda-netup'") < boot.console.index("stopped at 'coda-wait-mount'")
    assert len(calls(events, "coda-netup")) == len(calls(events, "coda-wait-mount")) == 2


def test_a_last_line_without_its_end_is_shown(boot):
    boot.program("coda-wait-mount", "#!/bin/sh\nprintf 'one\\n\\nlast'\n")
    boot.run()
    assert (boot.top / "run/coda/log/coda-wait-mount").read_text() == "one\n\nlast\n"


@pytest.mark.parametrize("name", ["coda-netup", "coda-wait-mount"])
@pytest.mark.parametrize("status, again", [(99, True), (111, True), (100, False), (4, False)])
def test_only_what_may_pass_is_retried(boot, name, status, again):
    boot.status(name, status, status)
    events = boot.run("coda.retry=2 coda.retry-after=7")
    assert len(calls(events, name)) == 3
    assert events.count("sleep 7") == (2 if again else 0)
    assert events.count("shell") == (0 if again else 2)


def test_break_stops_before_the_step(boot):
    events = boot.run("coda.break=coda-mount-dev,netup")
    assert events.count("shell") == 2
    assert events.index("shell") < events.index("coda-netup ")
    last = len(events) - 1 - events[::-1].index("shell")
    assert events.index("coda-wait-mount --init=/sbin/init /coda/linuxroot") < last
    assert last < events.index("coda-mount-dev /coda/linuxroot")


def test_nothing_writes_over_the_shell_of_a_break(boot):
    boot.program("coda-netup", "#!/bin/sh\n/bin/busybox sleep 0.5\necho network >>/events\n")
    events = boot.run("coda.break=fsck-root")
    assert events.index("network") < events.index("shell")
    assert events[events.index("shell") + 1] == "coda-fsck-root "


def test_break_before_the_handoff_stops_once(boot):
    events = boot.run("coda.break=handoff")
    assert events.count("shell") == 1
    assert events.index("shell") == len(events) - 2


def test_settings_become_options_and_the_command_line_wins(boot):
    events = boot.run(
        "coda.netup.timeout=20 coda.fsck-root.mode= coda.root=/coda/other ip=10.0.0.2::10.0.0.1"
        " fsck.repair=yes",
        "# a comment\nnetup.timeout=5\nnetup.reuse-lease\nnetup.link=eth*\nnetup.link=eth1\n"
        "fsck-root.mode=force\ninit=/bin/init two\nvenus=my-venus -d  /srv\n\nhandoff.mode=chroot")
    assert calls(events, "coda-netup") == [
        "coda-netup --timeout=20 --ip=10.0.0.2::10.0.0.1 --reuse-lease --link=eth* --link=eth1"]
    assert calls(events, "coda-fsck-root") == ["coda-fsck-root --repair=yes"]
    assert calls(events, "coda-venus-start") == ["coda-venus-start -- my-venus -d /srv"]
    assert events[-1] == "coda-handoff --mode=chroot " + HANDOFF.split(" ", 1)[1] + \
        " /coda/other -- /bin/init two"
    assert boot.record()[-1]["argv"][-1] == "/bin/init two"


def test_a_step_that_leaves_a_daemon_holding_its_output_does_not_hold_up_the_boot(boot):
    boot.program("coda-venus-start", "#!/bin/sh\n(exec /bin/busybox sleep 300) &\necho $! >/daemon\n")
    try:
        assert boot.run()[-1].startswith(HANDOFF)
    finally:
        os.kill(int((boot.top / "daemon").read_text()), 9)


def test_a_missing_step_is_named(boot):
    (boot.top / "usr/local/sbin/coda-mount-dev").unlink()
    boot.program("setsid", '#!/bin/sh\n[ "$2" = true ] && exit\necho shell >>/events\n'
                           "/bin/busybox cp /usr/local/sbin/coda-netup /usr/local/sbin/coda-mount-dev\n")
    events = boot.run()
    assert events.count("shell") == 1
    assert "exit status 127" in boot.console
    assert "coda-mount-dev /coda/linuxroot" in events


def test_a_step_may_say_much(boot):
    boot.program("coda-wait-mount", '#!/bin/sh\nfor i in 1 2 3 4 5 6 7 8 9; do echo line $i "\\\\"; done\n')
    boot.run()
    assert (boot.top / "run/coda/log/coda-wait-mount").read_text().count("line") == 9
    assert "line 9" in boot.console


def test_a_handoff_that_failed_comes_back_to_a_shell_and_the_chain_is_run_again(boot):
    (boot.top / "run/coda/log").mkdir(parents=True)
    events = boot.run(arguments=["126", "cannot run '/sbin/init': not executable"])
    assert events[0] == "shell"
    assert "the boot stopped at 'coda-handoff', exit status 126" in boot.console
    assert "reason:  cannot run '/sbin/init': not executable" in boot.console
    assert events[-1].startswith(HANDOFF)
    assert calls(events, "coda-fsck-root")
