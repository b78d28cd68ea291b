# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Twenty gateways on one list, three of them with the real data plane, and whatever can happen to them: partitions,
links that hang, kill -9 of any process, a leader that stops for some seconds, Redis killed, emptied and put back to an
older state. What should be in force is kept beside it, from what operators and the publisher did, without any of
stanch's code; packets probe the three real data planes throughout.

  STANCH_SEED     the faults of a former run again (the operators' part also depends on time)
  STANCH_SECONDS  of faults (30)
  STANCH_GATEWAYS how many (20)
"""

import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
import unittest

import lab
from fleet_case import Fleet, Gateway, until
from redis_peer import AVAILABLE

SECONDS = float(os.environ.get("STANCH_SECONDS", "30"))
GATEWAYS = int(os.environ.get("STANCH_GATEWAYS", "20"))
REAL = 3
ALWAYS = [f"198.18.0.{i}" for i in range(1, 11)]  # blocked at the start, and never withdrawn
LISTED = [f"198.18.1.{i}" for i in range(1, 31)]  # of the list, never withdrawn
PAUSE = threading.Event()  # never set


class Wanted:
    """What should be in force, by what was asked for; and since when it may be gone."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = {}  # indicator → True, False, or None while a command's outcome is not known
        self.withdrawn = {}  # indicator → when that was first asked for

    def begin(self, indicator, wanted):
        with self.lock:
            self.now[indicator] = None
            if not wanted:
                self.withdrawn.setdefault(indicator, time.time())

    def done(self, indicator, wanted):
        with self.lock:
            self.now[indicator] = wanted

    def set(self):
        with self.lock:
            assert None not in self.now.values(), "a command's outcome is not known"
            return {i for i, wanted in self.now.items() if wanted}


class Operator(threading.Thread):
    """Blocks and unblocks its own indicators at its own gateway, each until it was told that it is so."""

    def __init__(self, test, gateway, number):
        super().__init__(daemon=True)
        self.test, self.gateway, self.number, self.ended = test, gateway, number, False
        self.indicators = [f"198.18.{100 + number}.{i}" for i in range(1, 5)]
        self.random = random.Random(test.seed + number)
        self.waits = []  # (indicator, wanted) whose outcome is not known
        self.n, self.history = 0, []

    def command(self, indicator, wanted):
        words = ["block", indicator, "--reason", "model"] if wanted else ["unblock", indicator, "--reason", "model"]
        done = self.gateway.stanch(*words, "--wait", "0")
        # 1 with "no claim of yours": it was done before the answer was lost.
        gone = not wanted and done.returncode == 1
        self.history.append((round(time.monotonic() - self.test.begun, 2), words[0], indicator, done.returncode,
                             done.stdout.strip()[:80], done.stderr.strip()[:120]))
        return done.returncode in (0, 2) or gone

    def run(self):
        while not self.ended:
            PAUSE.wait(self.random.uniform(0.3, 1.5))
            if self.ended:
                return
            self.step()

    def step(self):
        if self.waits:
            indicator, wanted = self.waits[0]
        else:
            indicator = self.random.choice(self.indicators)
            wanted = not self.test.wanted.now.get(indicator)
            self.test.wanted.begin(indicator, wanted)
            self.waits.append((indicator, wanted))
        if self.gateway.control and not self.gateway.still and self.command(indicator, wanted):
            self.test.wanted.done(indicator, wanted)
            self.waits.clear()
            self.n += 1

    def finish(self):
        self.ended = True
        self.join()
        while self.waits:
            self.step()
            PAUSE.wait(0.05)


class Publisher(threading.Thread):
    """A list that is published as the README says: whole, by rename, with its metadata; and again after a loss."""

    def __init__(self, test):
        super().__init__(daemon=True)
        self.test, self.ended, self.version = test, False, 0
        self.random = random.Random(test.seed + 1000)
        self.changing = [f"198.18.2.{i}" for i in range(1, 31)]
        self.members = set(LISTED)
        self.lock = threading.Lock()

    def publish(self):
        with self.lock:
            self.version += 1
            try:
                self.test.fleet.redis.cli(text=(
                    f"MULTI\nDEL blocklist:bad:new\nSADD blocklist:bad:new {' '.join(sorted(self.members))}\n"
                    f"RENAME blocklist:bad:new blocklist:bad\n"
                    f"HSET blocklist:bad:meta version {self.version} count {len(self.members)}\nEXEC\n"), check=False)
                self.test.fleet.redis.cli("PUBLISH", "blocklist:bad:changes", "all", check=False)
            except (OSError, RuntimeError):
                pass

    def run(self):
        while not self.ended:
            PAUSE.wait(self.random.uniform(0.5, 2))
            with self.lock:
                for indicator in self.random.sample(self.changing, 3):
                    wanted = indicator not in self.members
                    self.test.wanted.begin(indicator, wanted)
                    (self.members.add if wanted else self.members.discard)(indicator)
                    self.test.wanted.done(indicator, wanted)
            self.publish()

    def finish(self):
        self.ended = True
        self.join()
        self.publish()


class Prober(threading.Thread):
    """Packets from inside to what is blocked for good: once the first was stopped, none may pass any more."""

    def __init__(self, home):
        super().__init__(daemon=True)
        self.home, self.ended = home, False
        self.stopped, self.passed, self.n = set(), [], 0
        self.sniffer = lab.Sniffer(home)
        self.sender = home.socket("inside", socket.AF_INET, socket.SOCK_DGRAM)

    def run(self):
        addresses = ALWAYS[:4] + LISTED[:4]
        while not self.ended:
            sent = {}
            for address in addresses:
                mark = os.urandom(12)
                sent[mark] = address
                try:
                    self.sender.sendto(mark, (address, 9000))
                except OSError:  # nobody answers ARP while the data plane is down: nothing passes
                    pass
            seen = set()
            try:
                for _, frame in self.sniffer.frames(0.3):
                    seen |= {address for mark, address in sent.items() if mark in frame}
            except OSError:  # the link went down with its data plane: told once
                continue
            self.n += len(addresses)
            self.passed += [(time.time(), a) for a in seen & self.stopped]
            # Stopped by the list, not by a data plane that was down: another address passes in that moment.
            try:
                if self.home.arrives("198.51.100.77", 0.2):
                    self.stopped |= set(addresses) - seen
            except OSError:
                pass

    def finish(self):
        self.ended = True
        self.join()
        self.sniffer.close()
        self.sender.close()


@unittest.skipUnless(AVAILABLE and os.geteuid() == 0, "needs redis-server, and root for network namespaces")
class Model(unittest.TestCase):
    def setUp(self):
        self.seed = int(os.environ.get("STANCH_SEED", str(random.SystemRandom().randrange(1 << 30))))
        self.random = random.Random(self.seed)
        self.told = [f"seed {self.seed}"]
        self.wanted = Wanted()
        self.fleet = Fleet(names=(), start=False)
        self.addCleanup(self.fleet.close)
        lists = ("  redis:\n    - name: feeds\n      address: {dir}/redis.sock\n      user: stanch\n"
                 "      password_file: {word}\n      lists: [{{name: bad, key: 'blocklist:bad', refresh_s: 1}}]\n")
        for i in range(GATEWAYS):
            home = self.real(i) if i < REAL else lab.Lab.bare()
            gateway = Gateway(self.fleet, f"gw-{i:02}", peer=i >= REAL, home=home)
            gateway.extra = lists.format(dir=home.dir, word=home.secret("list.password", "change-me-stanch"))
            gateway.data, gateway.still = None, False
            self.fleet.gateways.append(gateway)

    def real(self, number):
        home = lab.Lab()
        home.tag = f"st{os.getpid() % 10000}{number}"
        home.__enter__()
        return home

    def tell(self, text):
        self.told.append(f"{time.monotonic() - self.begun:5.1f} {text}")

    # --- faults, each with its end

    def fault_cut(self):
        some = self.random.sample(self.fleet.gateways, self.random.randint(1, max(1, GATEWAYS // 4)))
        self.tell(f"cut off: {[g.name for g in some]}")
        for gateway in some:
            gateway.proxy.cut()
        return self.random.uniform(1, 8), lambda: [g.proxy.mend() for g in some]

    def fault_hang(self):
        gateway = self.leader_or_any()
        self.tell(f"the connection of {gateway.name} hangs")
        gateway.proxy.hang()
        return self.random.uniform(2, 8), gateway.proxy.mend

    def leader_or_any(self):
        leader = next((g for g in self.fleet.gateways if not g.still and g.leads()), None)
        return leader if leader and self.random.random() < 0.6 else self.random.choice(self.fleet.gateways)

    def fault_kill(self):
        gateway = self.leader_or_any()
        if not gateway.control:
            return None
        self.tell(f"kill -9 {gateway.name}")
        gateway.kill()
        return self.random.uniform(0.2, 4), gateway.start

    def fault_stop(self):
        gateway = self.leader_or_any()
        control = gateway.control
        if not control:
            return None
        self.tell(f"{gateway.name} stands still")
        gateway.still = True
        control.send_signal(signal.SIGSTOP)

        def go_on():
            gateway.still = False
            if control.poll() is None:
                control.send_signal(signal.SIGCONT)
        return self.random.uniform(2, 8), go_on

    def fault_plane(self):
        gateway = self.fleet.gateways[self.random.randrange(REAL)]
        if not gateway.data:
            return None
        self.tell(f"kill -9 the data plane of {gateway.name}")
        gateway.home.end(gateway.data, signal.SIGKILL)
        gateway.data = None
        return self.random.uniform(0.2, 2), lambda: self.plane_start(gateway)

    def plane_start(self, gateway):
        gateway.data = gateway.home.start_dataplane()

    def fault_redis(self):
        if not self.fleet.redis.process:
            return None
        how = self.random.choice(("as it was", "emptied", "older"))
        folder = self.fleet.redis.dir
        self.tell(f"kill -9 Redis; {how}")
        self.fleet.redis.end(signal.SIGKILL)
        old = os.path.join(folder, "older")
        data = os.path.join(folder, "appendonlydir")
        if how == "emptied" or (how == "older" and not os.path.exists(old)):
            shutil.rmtree(data, ignore_errors=True)
            self.remove_dump()
        elif how == "older":
            shutil.rmtree(data, ignore_errors=True)
            self.remove_dump()
            shutil.copytree(old, data)
        elif not os.path.exists(old) and os.path.exists(data):
            shutil.copytree(data, old)
        return self.random.uniform(0.2, 4), self.redis_back

    def remove_dump(self):
        path = os.path.join(self.fleet.redis.dir, "dump.rdb")
        if os.path.exists(path):
            os.unlink(path)

    def redis_back(self):
        self.fleet.redis.start()
        self.publisher.publish()

    # --- the test

    def begin(self):
        self.begun, self.operators, self.mended = time.monotonic(), [], 0
        for gateway in self.fleet.gateways[:REAL]:
            gateway.configure()
            self.plane_start(gateway)
        for gateway in self.fleet.gateways:
            gateway.start()
        leader = self.fleet.leader(40)
        self.tell(f"{leader.name} leads")
        leader.block(*ALWAYS)
        for indicator in ALWAYS + LISTED:
            self.wanted.done(indicator, True)
        self.publisher = Publisher(self)
        self.publisher.publish()
        self.settles("the first list", 60)

    def settles(self, what, seconds):
        wanted = self.wanted.set()
        peers = [g for g in self.fleet.gateways if g.plane]

        def differing():
            return [(g.name, sorted(g.plane.enforced() ^ wanted)[:6]) for g in peers if g.plane.enforced() != wanted]

        def equal():
            status = [g.home.stanch_json("status") or {} for g in self.fleet.gateways]
            return (len({s.get("digest") for s in status}) == 1 and status[0].get("count") == len(wanted)
                    and all(s["dataplane"]["equal"] and s["fleet"]["equal"] and not s["fleet"]["asks"] for s in status))
        try:
            lab.wait_for(lambda: not differing(), f"{what}: enforced by all", seconds)
            lab.wait_for(equal, f"{what}: every digest is the leader's", seconds)
            lab.wait_for(lambda: self.fleet.gateways[-1].stanch("fleet", "verify").returncode == 0, "verify", 20)
        except TimeoutError as error:
            raise AssertionError("\n".join([str(error), *self.told, *self.story(differing())])) from error

    def story(self, differing):
        """What is known of the first indicator that differs."""
        if not differing or not differing[0][1]:
            return [f"{g.name}: {str(g.status())[:700]}" for g in self.fleet.gateways[:5]]
        gateway, indicator = self.fleet[differing[0][0]], differing[0][1][0]
        lines = [f"{indicator}: wanted {self.wanted.now.get(indicator)}, differs on {[d[0] for d in differing]}"]
        owner = next((o for o in self.operators if indicator in o.indicators), None)
        lines += [str(h) for h in (owner.history if owner else []) if h[2] == indicator]
        for one in {gateway, owner.gateway if owner else gateway, self.fleet.leader()}:
            lines.append(f"--- {one.name}: " + one.stanch("why", indicator).stdout)
            lines += [r for r in one.stanch("audit").stdout.splitlines() if indicator in r][-12:]
        return lines

    def faults(self):
        kinds = [self.fault_cut, self.fault_hang, self.fault_kill, self.fault_kill, self.fault_stop, self.fault_plane,
                 self.fault_redis]
        pending = []
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if len(pending) < 4:
                made = self.random.choice(kinds)()
                if made:
                    pending.append((time.monotonic() + made[0], made[1]))
            until(time.monotonic() + self.random.uniform(0.3, 1.5))
            for one in [p for p in pending if p[0] <= time.monotonic()]:
                pending.remove(one)
                one[1]()
                self.mended += 1
        for _, mend in pending:
            mend()
        for gateway in self.fleet.gateways:
            gateway.proxy.mend()

    def test_any_faults(self):
        self.begin()
        self.operators = operators = [Operator(self, g, i) for i, g in enumerate(self.fleet.gateways) if i % 2 == 0]
        probers = [Prober(g.home) for g in self.fleet.gateways[:REAL]]
        for thread in [*operators, *probers, self.publisher]:
            thread.start()
        try:
            self.faults()
            self.tell("all is mended")
            for thread in [self.publisher, *operators]:
                thread.finish()
            self.settles("after the faults", 90)
        finally:
            for prober in probers:
                prober.finish()
        self.check(probers, operators)

    def check(self, probers, operators):
        story = "\n".join(self.told)
        for gateway in self.fleet.gateways:
            if not gateway.plane:
                continue
            for when, indicator in gateway.plane.weakened:
                first = self.wanted.withdrawn.get(indicator)
                self.assertTrue(first and first <= when, f"{gateway.name} let {indicator} go, which nobody withdrew\n{story}")
        for gateway, prober in zip(self.fleet.gateways, probers):
            self.assertEqual(prober.passed, [], f"{gateway.name}: passed after it was stopped\n{story}")
            self.assertGreater(len(prober.stopped), 0, f"{gateway.name}: no packet was ever stopped\n{story}")
            for indicator in sorted(self.wanted.set())[::7]:
                self.assertFalse(gateway.home.arrives(indicator, 0.1), f"{gateway.name}: {indicator} passes")
        n = sum(o.n for o in operators)
        print(story, file=sys.stderr)
        print(f"{self.told[0]}: {self.mended} faults mended, {n} commands, {sum(p.n for p in probers)} packets, "
              f"{len(self.wanted.set())} in force")
