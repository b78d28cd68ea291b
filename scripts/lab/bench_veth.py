# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""veth: packets forwarded per second that a CPU is busy, at layer 2, against what the kernel offers.

    namespace inside          namespace gateway                        namespace outside
    eth0  bench_xdp send  ==  in0  stanch, bridge + nft, XDP …  out0  ==  eth0  bench_xdp sink
    CPU 0                     CPU 1                                    CPU 0, before all else

Everything that takes in0's packets runs on CPU 1, the receive work in a kernel thread of its own (threaded
NAPI), and its time on the CPU is what counts. All peers have the same list, the same destinations, 5 % of them
in it, and their turns interleave; each is offered what suits it best of RATES, found out beforehand.
"""

import glob
import os
import random
import shutil
import statistics
import struct
import subprocess
import time

import lab as labs
from figures import MILLION, SMALLER, HugePages, binary, bpf_object, label, progress, sized, skipped, tell

ROUNDS = 5 if SMALLER == 1 else 1
WINDOW = 1.0  # seconds
RATES = (100000, 400000, 1600000, 6400000) if SMALLER == 1 else (100000,)  # packets a second; the last is all it can
DESTINATIONS = 1 << 18
SIZES = (1000, 100000, MILLION) if SMALLER < 1000 else (MILLION,)  # of the list; smaller, all are one size
HIT_PERCENT = 5


def hosts(n, skip=0):
    """As bench_snapshot draws them, without the first `skip`."""
    number, out = 0, []
    while len(out) < n + skip:
        number += 1
        address = number * 2654435761 & 0xffffffff
        if 0 < address >> 24 < 224 and address >> 24 != 127:
            out.append(address)
    return out[skip:]


def text_of(address):
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def cpu_seconds(tasks):
    """On a CPU so far, of threads given by their folders in /proc."""
    total = 0
    for task in tasks:
        try:
            with open(f"{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        except OSError:
            pass  # it has ended
    return total / 1e9


def threads_named(*beginnings, process="[0-9]*"):
    found = []
    for path in glob.glob(f"/proc/{process}/task/*/comm"):
        try:
            with open(path, encoding="ascii") as f:
                if f.read().startswith(beginnings):
                    found.append(os.path.dirname(path))
        except OSError:
            pass
    return found


def hurry(task):
    """Before whatever else runs on this machine."""
    os.setpriority(os.PRIO_PROCESS, int(task.split("/")[-1]), -20)


def workers(process):
    """The forwarding threads of a DPDK program."""
    found = labs.wait_for(lambda: threads_named("lcore-worker", "rte-worker", process=process.pid), "a worker", 20)
    for task in found:
        hurry(task)
    return found


class Wire:
    """The lab with its sender and sink, and the peers made ready."""

    def __init__(self, lab, entries):
        self.lab, self.entries, self.label = lab, sized(entries), label(entries)
        self.list, self.others = hosts(self.entries), hosts(DESTINATIONS, skip=self.entries)
        self.before = set(threads_named("napi/"))

    def prepare(self, hit_percent=HIT_PERCENT):
        draw = random.Random(5)
        drawn = [draw.choice(self.list) if draw.random() * 100 < hit_percent else other for other in self.others]
        for name, addresses in (("list.bin", self.list), ("to.bin", drawn)):
            with open(self.lab.path(name), "wb") as f:
                f.write(struct.pack(f">{len(addresses)}I", *addresses))
        self.object = bpf_object(self.lab.path("."))
        for space, device in (("gateway", "in0"), ("gateway", "out0"), ("outside", "eth0")):
            # With GRO veth has its NAPI without an XDP program too.
            self.lab.run(space, "ethtool", "-K", device, "gro", "on", check=True, capture_output=True)
        self.threaded(True)
        self.sink = self.start("outside", "sink", "eth0")
        self.pin()
        self.sender = self.start("inside", "send", "eth0", self.lab.path("to.bin"), cpu="0")

    def threaded(self, on):
        for space, device in (("gateway", "in0"), ("gateway", "out0"), ("outside", "eth0")):
            self.lab.run(space, "sh", "-c", f"echo {int(on or space == 'outside')} > /sys/class/net/{device}/threaded",
                         check=True)

    def pin(self):
        """Receive threads: in0's and out0's on CPU 1, the sink's on CPU 0 before the sender."""
        self.receive = []
        for task in set(threads_named("napi/")) - self.before:
            with open(f"{task}/comm", encoding="ascii") as f:
                outside = f.read().startswith("napi/eth0")
            pid = task.split("/")[-1]
            subprocess.run(["taskset", "-p", "-c", "0" if outside else "1", pid], check=True, capture_output=True)
            hurry(task)
            if outside:
                subprocess.run(["chrt", "-f", "-p", "1", pid], check=True, capture_output=True)
            else:
                self.receive.append(task)
        if not self.receive:
            raise RuntimeError("veth has no receive thread of its own")

    def start(self, space, *words, cpu="0"):
        process = self.lab.spawn(space, "nice", "-n", "-20", "taskset", "-c", cpu, binary("bench_xdp"), self.object, *words,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if process.stdout.readline().strip() != "ok":
            raise RuntimeError(process.stderr.read().strip() or f"bench_xdp {words[0]} does not start")
        return process

    def ask(self, process, line=""):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    def arrived(self):
        return int(self.ask(self.sink))

    def offer(self, rate):
        """From now on; how many were sent before."""
        sent = self.ask(self.sender, str(rate))
        if not sent:
            raise RuntimeError("the sender has ended: " + self.sender.stderr.read().strip())
        return int(sent)

    def window(self, rates, worker=()):
        """{rate offered: packets that arrived per second that CPU 1's threads were busy}, in millions."""
        tasks, found = [*self.receive, *worker, *threads_named("ksoftirqd/1")], {}
        for rate in rates:
            self.offer(rate)
            time.sleep(0.2)  # what was on its way before
            packets, busy = self.arrived(), cpu_seconds(tasks)
            time.sleep(WINDOW)
            packets, busy = self.arrived() - packets, cpu_seconds(tasks) - busy
            found[rate] = packets / busy / 1e6 if busy > 0 else 0.0
        self.offer(0)
        if not any(found.values()):
            raise RuntimeError("nothing arrives")
        return found


# --- peers: each has a turn, and leaves in0 and out0 as it found them

class Nft:
    name = "nftables set, bridge family"

    def __init__(self, wire):
        self.wire = wire
        if not shutil.which("nft"):
            raise RuntimeError("nft is missing: scripts/setup bench")
        with open(wire.lab.path("list.nft"), "w", encoding="ascii") as f:
            f.write("table bridge t {\n set s { type ipv4_addr; elements = {\n")
            f.write(",\n".join(map(text_of, wire.list)))
            f.write("} }\n chain c { type filter hook forward priority 0; }\n}\n")
        self.nft("-f", wire.lab.path("list.nft"))

    def nft(self, *words):
        done = self.wire.lab.run("gateway", "nft", *words, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"nft: {done.stderr.strip()[:200]}")

    def turn(self, rates):
        with Bridge(self.wire.lab):
            self.nft("add", "rule", "bridge", "t", "c", "ip", "daddr", "@s", "drop")
            try:
                return self.wire.window(rates)
            finally:
                self.nft("flush", "chain", "bridge", "t", "c")


class Ipset:
    name = "ipset hash:ip, bridge netfilter"
    CALL = "net.bridge.bridge-nf-call-iptables"

    def __init__(self, wire):
        self.wire = wire
        for tool in ("ipset", "iptables"):
            if not shutil.which(tool):
                raise RuntimeError(f"{tool} is missing: scripts/setup bench")
        with open(wire.lab.path("list.ipset"), "w", encoding="ascii") as f:
            size = max(64, 1 << (wire.entries // 4).bit_length())
            f.write(f"create s hash:ip family inet hashsize {size} maxelem {2 * wire.entries}\n")
            f.writelines(f"add s {text_of(address)}\n" for address in wire.list)
        self.run("ipset", "restore", "-f", wire.lab.path("list.ipset"))

    def run(self, *words):
        done = self.wire.lab.run("gateway", *words, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{words[0]}: {done.stderr.strip()[:200]}")

    def turn(self, rates):
        rule = ("FORWARD", "-m", "set", "--match-set", "s", "dst", "-j", "DROP")
        with Bridge(self.wire.lab):
            self.run("sysctl", "-qw", f"{self.CALL}=1")
            self.run("iptables", "-A", *rule)
            try:
                return self.wire.window(rates)
            finally:
                self.run("iptables", "-D", *rule)
                self.run("sysctl", "-qw", f"{self.CALL}=0")


class Bridge:
    def __init__(self, lab):
        self.lab = lab

    def __enter__(self):
        self.lab.ip("link", "add", "br0", "type", "bridge", name="gateway")
        self.lab.run("gateway", "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", capture_output=True)
        for port in ("in0", "out0"):
            self.lab.ip("link", "set", port, "master", "br0", name="gateway")
        self.lab.ip("link", "set", "br0", "up", name="gateway")

    def __exit__(self, *_):
        self.lab.ip("link", "del", "br0", name="gateway")


class Xdp:
    def __init__(self, wire, kind):
        self.wire, self.kind = wire, kind
        self.name = {"hash": "XDP hash map, redirect", "lpm": "XDP LPM trie, redirect"}[kind]
        if not getattr(wire, "filter", None):
            wire.filter = wire.start("gateway", "filter", "in0", "out0", wire.lab.path("list.bin"))

    def turn(self, rates):
        try:
            if self.wire.ask(self.wire.filter, self.kind) != "ok":
                raise RuntimeError("bench_xdp filter has ended")
            return self.wire.window(rates)
        finally:
            self.wire.ask(self.wire.filter, "none")


class Stanch:
    name = "stanch on net_af_xdp"

    def __init__(self, wire, idle="sleep", spare=0):
        self.wire, self.idle, self.spare = wire, idle, spare
        os.makedirs(wire.lab.path("list"), exist_ok=True)
        subprocess.run([binary("bench_snapshot"), wire.lab.path("list"), str(wire.entries)], check=True)

    def start(self):
        lab, entries = self.wire.lab, self.wire.entries
        lab.configure(capacity=max(1000, entries + self.spare), memory=256, huge="auto", idle=self.idle)
        process = lab.start_dataplane()
        labs.wait_for(lambda: lab.ctl_status()["list"]["entries"] == entries, "the list", 60)
        return process, workers(process)

    def turn(self, rates):
        process, worker = self.start()
        try:
            return self.wire.window(rates, worker)
        finally:
            self.wire.lab.end(process)


# --- the worker alone against testpmd's: the receive work is elsewhere

class Testpmd:
    def __init__(self, wire):
        self.wire = wire
        if not shutil.which("dpdk-testpmd"):
            raise RuntimeError("dpdk-testpmd is missing: scripts/setup bench")

    def start(self):
        devices = [f"--vdev=net_af_xdp{i},iface={port}" for i, port in enumerate(("in0", "out0"))]
        process = self.wire.lab.spawn(
            "gateway", "dpdk-testpmd", "-l", "0,1", "-m", "256", "--in-memory", "--no-pci", "--no-telemetry",
            *devices, "--", "--forward-mode=io", "--nb-cores=1", "--total-num-mbufs=16384", "--stats-period=60",
            stdin=subprocess.DEVNULL, stdout=open(self.wire.lab.path("testpmd.log"), "ab"), stderr=subprocess.STDOUT)
        try:
            return process, workers(process)
        except TimeoutError as error:
            raise RuntimeError("dpdk-testpmd: " + self.wire.lab.log("testpmd").strip().split("\n")[-1]) from error


def received_per_second(wire, side):
    """Packets that came to in0 per second that the worker was on the CPU, in millions: both poll."""
    process, worker = side.start()
    try:
        wire.offer(RATES[-1])
        labs.wait_for(lambda: cpu_seconds(worker) > 0.2, "a worker that works", 20)
        packets, busy = received(wire), cpu_seconds(worker)
        time.sleep(WINDOW)
        packets, busy = received(wire) - packets, cpu_seconds(worker) - busy
        if packets == 0 or busy == 0:
            raise RuntimeError("the worker gets no packets")
        return packets / busy / 1e6
    finally:
        wire.offer(0)
        wire.lab.end(process)


def received(wire):
    """What an AF_XDP socket took of in0's packets."""
    done = wire.lab.run("gateway", "ethtool", "-S", "in0", capture_output=True, text=True)
    return sum(int(line.split(":")[1]) for line in done.stdout.split("\n") if "_xdp_packets" in line)


def afxdp(wire):
    wire.threaded(False)
    figures = []
    ours, peer = Stanch(wire, idle="poll"), Testpmd(wire)
    for round_number in range(ROUNDS):
        progress(f"veth: afxdp, round {round_number + 1} of {ROUNDS}")
        figures.append((received_per_second(wire, ours), received_per_second(wire, peer)))
    tell("veth", f"afxdp-{wire.label}", statistics.median(x for x, _ in figures), "M/s busy",
         "dpdk-testpmd io", statistics.median(y for _, y in figures),
         statistics.median(x / y for x, y in figures))


CASES = {"nft": Nft, "ipset": Ipset, "xdphash": lambda wire: Xdp(wire, "hash"),
         "xdplpm": lambda wire: Xdp(wire, "lpm")}


def against_kernel(wire):
    sides, figures = {"stanch": Stanch(wire)}, {}
    for case, make in CASES.items():
        progress(f"veth: filling the list of {case}")
        try:
            sides[case] = make(wire)
        except (RuntimeError, OSError) as error:
            skipped("veth", f"{case}-{wire.label}", str(error))
    best = {}
    for round_number in range(ROUNDS + 1):
        for case, side in list(sides.items()):
            progress(f"veth: {case}, round {round_number} of {ROUNDS}")
            try:
                found = side.turn([best[case]] if case in best else RATES)
            except (RuntimeError, OSError, TimeoutError) as error:
                lost = [name for name in sides if name != "stanch"] if case == "stanch" else [case]
                for name in lost:
                    skipped("veth", f"{name}-{wire.label}", str(error))
                    figures.pop(name, None)
                if case == "stanch":
                    return
                del sides[case]
                continue
            if case not in best:
                best[case] = max(found, key=found.get)
            if round_number or ROUNDS == 1:
                figures.setdefault(case, []).append(found[best[case]])
    ours = figures.pop("stanch", [])
    for case, theirs in figures.items():
        tell("veth", f"{case}-{wire.label}", statistics.median(ours), "M/s busy", sides[case].name,
             statistics.median(theirs), statistics.median(x / y for x, y in zip(ours, theirs)),
             offered=best["stanch"], peer_offered=best[case])


def told(entries, names):
    """The cases of one size; names: what is still to be told, for who tells that it cannot be."""
    with HugePages(600) as enough, labs.Lab() as lab:
        if not enough:
            raise RuntimeError("600 MiB of huge pages are not to be had")
        wire = Wire(lab, entries)
        wire.prepare()
        against_kernel(wire)
        names[:] = ["afxdp"]
        afxdp(wire)


def veth():
    missing = [tool for tool in ("clang", "taskset", "chrt", "ethtool") if not shutil.which(tool)]
    for entries in SIZES:
        names = [*CASES, "afxdp"]
        try:
            if missing or (os.cpu_count() or 1) < 2:
                raise RuntimeError(f"{missing[0]} is missing: scripts/setup bench" if missing else "needs two CPUs")
            told(entries, names)
        except (RuntimeError, OSError, subprocess.CalledProcessError, TimeoutError) as error:
            for name in names:
                skipped("veth", f"{name}-{label(entries)}", str(error))
    progress("")
