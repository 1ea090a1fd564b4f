"""One run of coda-netup: bring up what is wanted, and keep the leases.

Imports pyroute2 (through netup.client) only when the links are up and find their carriers.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from typing import NamedTuple

import keeper
from codaboot import cli, facts, run, say

from netup import arp, client, lease, links, netlink, plan, values, watch, wire

ROUTER_SOLICITATION = b"\x85\0\0\0\0\0\0\0"  # RFC 4861 4.1
NO_CARRIER = "no carrier"


class NotUp(Exception):
    """A link did not come up; the text says how far it came."""


class Limits(NamedTuple):
    """How long to wait, in seconds."""

    carrier: float
    dhcp: float
    total: float


class Outcome(NamedTuple):
    """A job that is done: what the link has now; `client` keeps a lease, or is None."""

    job: object
    link: str
    settings: wire.Settings
    client: object = None
    lease: object = None


class Effort:
    """The work of one run. `candidates(job, table)` gives the places of a job, best first."""

    def __init__(self, args, jobs, candidates, limits, report):
        self.args, self.jobs, self.candidates = args, jobs, candidates
        self.limits, self.report = limits, report
        self.asked = [repr(job) for job in jobs]
        self.far, self.outcomes, self.plans = {}, [], {}
        self.resolv, self.lease = keeper.Place(args["--resolv"]), keeper.Place(args["--lease"])
        self.pid, self.log = keeper.Place(args["--pid-file"]), keeper.Place(args["--log"])

    # --- bringing up ---------------------------------------------------------------------------

    async def run(self):
        """Bring everything up, write the files, and stay where there is a lease to keep."""
        self.start = asyncio.get_running_loop().time()
        self.watch = watch.Watch()
        try:
            async with asyncio.timeout(self.limits.total):
                self.outcomes = list(await asyncio.gather(*map(self.bring_up, self.jobs)))
        except TimeoutError:
            raise self.no_network(f"{self.limits.total:g} s") from None
        except NotUp:
            raise self.no_network("time") from None
        self.watch.close()
        self.write_resolv()
        self.set_hostname()
        kept = [outcome for outcome in self.outcomes if outcome.client]
        if kept:
            await self.keep(kept)
        return cli.OK

    def no_network(self, time):
        """The TimedOut with a line for each link."""
        for name, far in sorted(self.far.items()):
            say.line(f"{name}: {far() if callable(far) else far}")
        if not self.far:
            wanted = ", ".join(word for job in self.jobs for word, _ in job.places if word)
            say.line(f"no link {wanted or 'found'}: is its driver loaded?")
        return cli.TimedOut(f"cannot bring the network up: no link succeeded in {time}",
                            "is there a cable, and a DHCP server? coda-netup -v says more")

    async def bring_up(self, job):
        """Try all places of `job` side by side: the first to succeed wins. Raises NotUp."""
        tasks = {}
        carrier_end = self.start + self.limits.carrier
        loop = asyncio.get_running_loop()
        try:
            while True:
                for place in self.candidates(job, links.all_links()):
                    if place not in tasks:
                        tasks[place] = loop.create_task(self.attempt(job, *place))
                change = self.watch.change()
                running = [task for task in tasks.values() if not task.done()]
                left = max(0.0, carrier_end - loop.time())
                if not running and not left:
                    break
                await asyncio.wait([*running, change], timeout=left or None,
                                   return_when=asyncio.FIRST_COMPLETED)
                for place, task in tasks.items():
                    if task.done() and not task.cancelled() and not task.exception():
                        return self.settle(tasks.pop(place).result())
                    if task.done() and not isinstance(task.exception(), NotUp):
                        raise task.exception()
            return await self.reuse(job)
        finally:
            for task in tasks.values():
                task.cancel()
            for result in await asyncio.gather(*tasks.values(), return_exceptions=True):
                # One that was done at the same moment as the winner.
                if isinstance(result, Outcome) and result.client:
                    await result.client.stop()

    async def attempt(self, job, name, vlan):
        """Try `job` on one link: its Outcome. Raises NotUp, OSError."""
        link = f"{name}.{vlan}" if vlan else name
        try:
            self.far[link] = NO_CARRIER
            links.prepare(job.want, name, self.args["--root"])
            async with asyncio.timeout_at(self.start + self.limits.carrier):
                await self.watch.until(lambda: self.running(name))
                if vlan:
                    self.load_vlans()
                    self.apply([plan.vlan_on(name, vlan)])
                    links.prepare(job.want, link, self.args["--root"])
                    await self.watch.until(lambda: self.running(link))
        except TimeoutError:
            self.far[link] = f"{NO_CARRIER} in {self.limits.carrier:g} s"
            raise NotUp from None
        except OSError as error:
            # A driver without its firmware, a card pulled out: the others may still do.
            self.far[link] = f"cannot be brought up: {error.strerror}"
            raise NotUp from None
        self.verbose(f"{link}: carrier")
        self.far[link] = "carrier"
        method = {"static": self.static, "dhcp": self.dhcp, "auto6": self.auto6, "link6": self.link6}
        try:
            return await method[job.want.method](job, link)
        except OSError as error:
            self.far[link] = f"carrier, {error.strerror or error}"
            raise NotUp from None

    def load_vlans(self):
        """Load 8021q: the kernel's own call for it has a fixed path, which may not be there."""
        if not os.path.exists(facts.under(self.args["--root"], "/proc/net/vlan")):
            # It may be built in under another name; if not, making the VLAN fails and says so.
            with contextlib.suppress(cli.Failure):
                run.program(["modprobe", "8021q"], timeout=self.limits.carrier)

    def running(self, name):
        found = links.read(name)
        return found and found.running

    async def static(self, job, link):
        return Outcome(job, link, plan.merge(job.want))

    async def dhcp(self, job, link):
        dialogue = client.Client(link, job.want.hostname, job.want.client_id)
        self.far[link] = lambda: f"carrier, {dialogue.how_far()}"
        won = False
        try:
            await dialogue.start()
            async with asyncio.timeout(self.limits.dhcp):
                granted = await dialogue.got()
            won = True
        except TimeoutError:
            self.far[link] = f"carrier, {dialogue.how_far()} in {self.limits.dhcp:g} s"
            raise NotUp from None
        finally:
            self.tell_refusals(dialogue, link)
            if not won:
                await dialogue.stop()
        self.verbose(f"{link}: {granted.settings.address} from {granted.settings.server}")
        settings = plan.merge(job.want, granted.settings)
        return Outcome(job, link, settings, dialogue, self.record(link, granted))

    def tell_refusals(self, dialogue, link):
        for text in dialogue.refusals:
            say.line(f"{link}: {text}")
        dialogue.refusals.clear()

    async def auto6(self, job, link):
        """Wait for an address by router advertisement; the kernel makes it (RFC 4862)."""
        self.far[link] = "carrier, no router advertisement"
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as icmp:
            icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(link))

            def ready():
                with open(facts.under(self.args["--root"], "/proc/net/if_inet6")) as file:
                    return links.global_addresses(file.read(), link)

            async def solicit():
                # The kernel asks too, but only after a random delay, and not when the link was up.
                for delay in (0.2, 1, 2, 4, 4, 4):
                    with contextlib.suppress(OSError):
                        icmp.sendto(ROUTER_SOLICITATION, ("ff02::2", 0))
                    await asyncio.sleep(delay)

            asking = loop.create_task(solicit())
            try:
                async with asyncio.timeout(self.limits.dhcp):
                    address = (await self.watch.until(ready))[0]
            except TimeoutError:
                self.far[link] += f" in {self.limits.dhcp:g} s"
                raise NotUp from None
            finally:
                asking.cancel()
        dns, search = self.watch.advertised.get(socket.if_nametoindex(link), ((), ()))
        self.verbose(f"{link}: {address} by router advertisement")
        # The kernel looks after the address itself: no operation is left to do.
        return Outcome(job, link, wire.Settings("", dns=job.want.dns + dns, search=job.want.search or search,
                                                mtu=job.want.mtu, hostname=job.want.hostname))

    async def link6(self, job, link):
        return Outcome(job, link, wire.Settings("", mtu=job.want.mtu, hostname=job.want.hostname))

    # --- what was found is put into force ------------------------------------------------------

    def settle(self, outcome, seconds=None):
        """Put the settings of `outcome` into force; the Outcome. Raises OSError."""
        link, settings = outcome.link, outcome.settings
        if settings.address:
            seconds = settings.lease_time if seconds is None else seconds
            todo = plan.operations(link, settings, seconds)
        else:
            todo = [("mtu", link, {"mtu": settings.mtu})] if settings.mtu else []
        old = self.plans.get(link, [])
        self.apply(plan.undo(old, todo) + todo)
        self.plans[link] = todo
        self.far[link] = "up"
        return outcome

    def apply(self, operations):
        if not operations:
            return
        for operation in operations:
            self.verbose(plan.as_text(operation))
        netlink.apply(operations)

    def write_resolv(self):
        dns = tuple(dict.fromkeys(server for one in self.outcomes for server in one.settings.dns))
        search = tuple(dict.fromkeys(name for one in self.outcomes for name in one.settings.search))
        if dns or search:
            sources = ", ".join(f"{one.settings.server or one.job.want.method} on {one.link}"
                                for one in self.outcomes)
            self.resolv.write(values.resolv_conf(sources, dns, search))

    def set_hostname(self):
        name = next((one.settings.hostname for one in self.outcomes if one.settings.hostname), "")
        if name and self.args["--set-hostname"]:
            socket.sethostname(name)

    # --- leases --------------------------------------------------------------------------------

    def now(self):
        with open(facts.under(self.args["--root"], "/proc/sys/kernel/random/boot_id")) as file:
            return lease.Moment(file.read().strip(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())

    def record(self, link, granted):
        return lease.Lease(link, links.read(link).mac, granted.server_mac, self.now(), granted.settings)

    async def reuse(self, job):
        """The last lease, where no server answered and it is allowed. Raises NotUp."""
        if job.want.method != "dhcp" or not self.args["--reuse-lease"]:
            raise NotUp
        for name, vlan in self.candidates(job, links.all_links()):
            link = f"{name}.{vlan}" if vlan else name
            if not self.running(link):
                continue
            try:
                old, seconds = self.last_lease(link)
                address = old.settings.address.partition("/")[0]
                if await arp.in_use(link, old.mac, address):
                    values.refuse("lease: another machine has its address", address)
            except values.Refused as error:
                self.far[link] = f"{self.far[link]}; {error}"
                continue
            say.line(f"{link}: no DHCP server answers; using the lease of {old.settings.address}, "
                     f"valid for {seconds} s more")
            dialogue = client.Client(link, job.want.hostname, job.want.client_id)
            await dialogue.start()
            outcome = Outcome(job, link, plan.merge(job.want, old.settings), dialogue, old)
            return self.settle(outcome, seconds)
        raise NotUp

    def last_lease(self, link):
        """(Lease, seconds it has left) of `link` in the lease file. Raises values.Refused."""
        try:
            with open(self.lease.open(os.O_RDONLY)) as file:
                _, leases = lease.from_text(file.read())
        except OSError as error:
            raise values.Refused(f"lease: no '{self.lease.path}' ({error.strerror})") from None
        mac = links.read(link).mac
        for old in leases:
            if old.mac == mac:
                return old, lease.seconds_left(old, self.now())
        raise values.Refused("lease: none for this link")

    async def write_lease(self):
        """Write the lease file; while its file system is read-only, try again later."""
        delay = 1
        while True:
            try:
                self.lease.write(lease.to_text(self.asked, [one.lease for one in self.outcomes if one.lease]))
                return
            except OSError as error:
                if delay == 1:
                    say.line(f"cannot write '{self.lease.path}': {error.strerror}; trying again")
            await asyncio.sleep(delay)
            delay = min(delay * 2, 600)

    async def keep(self, kept):
        """Tell the parent that the network is up, and renew the leases as long as there are links."""
        lock = keeper.lock(self.pid)
        if lock is None:
            raise cli.Failure(f"cannot keep the lease: '{self.pid.path}' is locked by another keeper")
        loop = asyncio.get_running_loop()
        self.writing = loop.create_task(self.write_lease())
        await asyncio.sleep(0)
        keeper.stay("@coda-netup", self.log, lock)
        done = asyncio.Event()
        # What add_signal_handler does, which imports inspect, only to refuse coroutines.
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)
        loop.add_reader(woken, done.set)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.report(cli.OK)
        tasks = [loop.create_task(self.renew(one)) for one in kept]
        tasks.append(loop.create_task(done.wait()))
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            task.result()

    async def renew(self, outcome):
        """Follow the client of `outcome` for ever."""
        while True:
            trigger, granted = await outcome.client.events.get()
            self.tell_refusals(outcome.client, outcome.link)
            try:
                if trigger in (client.Trigger.UNBOUND, client.Trigger.EXPIRED):
                    why = "the server took it back" if trigger == client.Trigger.UNBOUND else "not renewed"
                    say.line(f"{outcome.link}: lost {outcome.settings.address}: {why}")
                    self.apply(plan.undo(self.plans.pop(outcome.link, [])))
                    continue
                new = outcome._replace(settings=plan.merge(outcome.job.want, granted.settings),
                                       lease=self.record(outcome.link, granted))
                if new.settings.address != outcome.settings.address or outcome.link not in self.plans:
                    say.line(f"{new.link}: {new.settings.address} from {new.settings.server}")
                else:
                    self.verbose(f"{new.link}: renewed for {new.settings.lease_time} s")
                self.outcomes[self.outcomes.index(outcome)] = new
                outcome = new
                self.settle(outcome)
                self.write_resolv()
            except OSError as error:
                say.line(f"{outcome.link}: {error.strerror or error}")
            self.writing.cancel()
            self.writing = asyncio.get_running_loop().create_task(self.write_lease())

    def verbose(self, text):
        if self.args["--verbose"]:
            say.line(text)


def work(args, jobs, candidates, limits, report):
    """Do all of it; the exit status. Raises cli.Failure, OSError."""
    return asyncio.run(Effort(args, jobs, candidates, limits, report).run())
