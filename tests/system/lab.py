# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A lab on one machine: hosts inside and outside in network namespaces, the gateway between them.

    namespace inside        namespace gateway               namespace outside
    eth0 10.77.0.2  ======  in0  stanch-dataplane  out0  ======  eth0 10.77.0.1, and the world

Needs root. Everything has a name of its own, so that two labs do not meet, and goes at the end.
"""

import calendar
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STANCH_BUILD", os.path.join(ROOT, "build"))
INSIDE, OUTSIDE = "10.77.0.2", "10.77.0.1"
INSIDE6, OUTSIDE6 = "fd77::2", "fd77::1"
WORLD = ["203.0.113.7", "203.0.113.8", "198.51.100.9"]
WORLD6 = ["2001:db8::7", "2001:db8::8"]
CLONE_NEWNET = 0x40000000


def binary(name):
    for folder in ("dataplane", "control", "control/cli"):
        path = os.path.join(BUILD, folder, name)
        if os.path.exists(path):
            return path
    raise FileNotFoundError(f"{name} is not built in {BUILD}: scripts/test --no-setup builds it")


def wait_for(condition, what, seconds=10.0):
    """Poll until condition() is true; its value. Fails with `what` at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.01)  # poll


class Lab:
    """with Lab() as lab: …"""

    def __init__(self, mtu=1500, driver="af_xdp"):
        if os.geteuid() != 0:
            raise PermissionError("the lab makes network namespaces: run as root")
        if not shutil.which("ip"):
            raise FileNotFoundError("ip is missing: run scripts/setup")
        self.tag = f"st{os.getpid() % 100000}"
        self.mtu, self.driver = mtu, driver
        self.dir = tempfile.mkdtemp(prefix="stanch-lab-")
        self.processes = []
        self.spaces = {}

    @classmethod
    def bare(cls):
        """Directories and processes only: no namespaces, no root. close() it."""
        one = cls.__new__(cls)
        one.processes, one.spaces, one.driver = [], {}, "af_xdp"
        one.dir = tempfile.mkdtemp(prefix="stanch-lab-")
        return one

    def __enter__(self):
        try:
            self.build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def space(self, name):
        return f"{self.tag}-{name}"

    def ip(self, *words, name=None):
        command = ["ip"] + (["-n", self.space(name)] if name else []) + list(words)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")

    def run(self, name, *command, **options):
        return subprocess.run(["ip", "netns", "exec", self.space(name), *command], **options)

    def spawn(self, name, *command, **options):
        words = ["ip", "netns", "exec", self.space(name)] if name else []
        process = subprocess.Popen([*words, *command], **options)
        self.processes.append(process)
        return process

    def inside(self, function, name="inside"):
        """Call function() with this thread in a namespace (for sockets) and come back."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net", "rb") as home, \
                open(f"/run/netns/{self.space(name)}", "rb") as there:
            if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                return function()
            finally:
                libc.setns(home.fileno(), CLONE_NEWNET)

    def socket(self, name, family, kind, protocol=0):
        return self.inside(lambda: socket.socket(family, kind, protocol), name)

    def arrives(self, address, seconds=0.4):
        """Does a datagram from inside to the IPv4 address reach the namespace outside?"""
        mark = os.urandom(12).hex().encode()
        sniffer = Sniffer(self)
        sender = self.socket("inside", socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sender.sendto(mark, (address, 9000))
            return any(mark in frame for _, frame in sniffer.frames(seconds))
        finally:
            sender.close()
            sniffer.close()

    def build(self):
        for name in ("inside", "gateway", "outside"):
            self.ip("netns", "add", self.space(name))
            self.spaces[name] = True
            self.ip("link", "set", "lo", "up", name=name)
        for host, port in (("inside", "in0"), ("outside", "out0")):
            temporary = f"{self.tag}{port[:2]}"
            self.ip("link", "add", temporary, "type", "veth", "peer", "name", "eth0",
                    "netns", self.space(host))
            self.ip("link", "set", temporary, "netns", self.space("gateway"))
            self.ip("link", "set", temporary, "name", port, name="gateway")
            self.quiet("gateway", port)
            self.quiet(host, "eth0")
        for key in ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"):
            self.run("gateway", "sysctl", "-qw", key, check=True, stdout=subprocess.DEVNULL)
        for port in ("in0", "out0"):
            self.ip("link", "set", port, "mtu", str(self.mtu), "up", name="gateway")
        for host, own, own6 in (("inside", INSIDE, INSIDE6), ("outside", OUTSIDE, OUTSIDE6)):
            self.run(host, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0", check=True)
            self.ip("addr", "add", f"{own}/16", "dev", "eth0", name=host)
            self.ip("addr", "add", f"{own6}/64", "dev", "eth0", "nodad", name=host)
            self.ip("link", "set", "eth0", "mtu", str(self.mtu), "up", name=host)
        self.ip("route", "add", "default", "via", OUTSIDE, name="inside")
        self.ip("-6", "route", "add", "default", "via", OUTSIDE6, name="inside")
        for address in WORLD:
            self.ip("addr", "add", f"{address}/32", "dev", "lo", name="outside")
        for address in WORLD6:
            self.ip("addr", "add", f"{address}/128", "dev", "lo", "nodad", name="outside")

    def quiet(self, name, device):
        """No offload may join, split or fill in what the gateway has to see as it is on the wire."""
        for feature in ("tx", "rx", "tso", "gso", "gro", "rxvlan", "txvlan"):
            self.run(name, "ethtool", "-K", device, feature, "off",
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def path(self, *words):
        return os.path.join(self.dir, *words)

    def configure(self, control="", devices=None, **settings):
        """Write stanch.yaml; settings go into dataplane:. devices: of the ports inside and outside."""
        for folder in ("list", "state", "run"):
            os.makedirs(self.path(folder), exist_ok=True)
        values = {
            "memory": 256, "huge": "no", "lcores": '"0,1"' if (os.cpu_count() or 1) > 1 else '"0"',
            "idle": "sleep", "capacity": 100000, "list_dir": self.path("list"),
            "state_dir": self.path("state"), "run_dir": self.path("run"), "group": "root",
            "health": "127.0.0.1:9464",
        }
        values.update(settings)
        text = "dataplane:\n" + "".join(f"  {k}: {v}\n" for k, v in values.items())
        text += "  ports:\n"
        devices = devices or [f"iface: {i}, driver: {self.driver}" for i in ("in0", "out0")]
        for name, device in zip(("inside", "outside"), devices):
            text += f"    - {{name: {name}, {device}}}\n"
        text += "  pairs:\n    - {inside: inside, outside: outside}\n"
        with open(self.path("stanch.yaml"), "w", encoding="utf-8") as f:
            f.write(text + control)
        return self.path("stanch.yaml")

    def start_dataplane(self, ready=True, **options):
        log = open(self.path("dataplane.log"), "ab")
        process = self.spawn("gateway", binary("stanch-dataplane"), "--config",
                             self.path("stanch.yaml"), stdout=log, stderr=log, **options)
        log.close()
        if ready:
            wait_for(lambda: self.ctl_status() or process.poll() is not None,
                     "the data plane answers", 30)
            if process.poll() is not None:
                raise RuntimeError("the data plane ended:\n" + self.log("dataplane"))
        return process

    def secret(self, name, word):
        path = self.path(name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as f:
            f.write(word + "\n")
        return path

    def control_section(self, hive=None, f5=None, listen=None, extra=""):
        """`control:` for configure(); hive: dict(url, key, hook); f5: dict(url, token)."""
        text = f"control:\n  state_dir: {self.path('list')}\n  run_dir: {self.path('run')}\n"
        if listen:
            text += f"  listen: {listen}\n"
        if hive:
            text += f"  thehive:\n    - name: soc\n      url: {hive['url']}\n"
            text += f"      key_file: {self.secret('thehive.key', hive['key'])}\n"
            text += f"      webhook_token_file: {self.secret('hook.token', hive['hook'])}\n"
            text += "".join(f"      {k}: {v}\n" for k, v in hive.get("more", {}).items())
        if f5:
            text += f"  f5xc:\n    url: {f5['url']}\n    fleet_id: {f5.get('fleet', 'lab')}\n"
            if f5["token"]:
                text += f"    token_file: {self.secret('f5.token', f5['token'])}\n"
            text += "".join(f"    {k}: {v}\n" for k, v in f5.get("more", {}).items())
        return text + extra

    def start_control(self):
        log = open(self.path("control.log"), "ab")
        process = self.spawn(None, binary("stanch-control"), "--config", self.path("stanch.yaml"),
                             stdout=log, stderr=log)
        log.close()
        wait_for(lambda: os.path.exists(self.path("run", "control.sock")) or process.poll() is not None,
                 "control listens", 20)
        if process.poll() is not None:
            raise RuntimeError("control ended:\n" + self.log("control"))
        return process

    def stanch(self, *words):
        """The operator's command line."""
        return subprocess.run([binary("stanch"), *words, "--socket", self.path("run", "control.sock")],
                              capture_output=True, text=True)

    def stanch_json(self, *words):
        done = self.stanch(*words, "--json")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def log(self, name):
        with open(self.path(name + ".log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def ctl(self, *words):
        return subprocess.run([binary("stanch-dataplane"), "ctl", *words, "--socket",
                               self.path("run", "dataplane-ctl.sock")],
                              capture_output=True, text=True)

    def ctl_status(self):
        done = self.ctl("status", "--json")
        return json.loads(done.stdout) if done.stdout.startswith("{") else None

    def end(self, process, how=signal.SIGTERM, seconds=15):
        """The whole process tree behind `ip netns exec` is the process itself: exec'ed."""
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return process.returncode

    def close(self):
        for process in reversed(self.processes):
            self.end(process)
        for name in list(self.spaces):
            subprocess.run(["ip", "netns", "del", self.space(name)], capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Sniffer:
    """What really arrives in a namespace: a packet socket, not our counters."""

    def __init__(self, lab, name="outside", device="eth0"):
        self.socket = lab.socket(name, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((device, 3))
        self.socket.setblocking(False)

    def close(self):
        self.socket.close()

    def frames(self, seconds):
        """Frames that come within `seconds`, as (monotonic time, octets); outgoing ones left out."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if not select.select([self.socket], [], [], left)[0]:
                return
            try:
                data, address = self.socket.recvfrom(65536)
            except BlockingIOError:
                continue
            if address[2] != socket.PACKET_OUTGOING:
                yield time.monotonic(), data

    def drain(self):
        try:
            while True:
                self.socket.recv(65536)
        except BlockingIOError:
            pass


def ipv4_of(frame):
    """(source, destination, protocol) of an untagged or tagged IPv4 frame, or None."""
    at = 12
    while frame[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    if frame[at:at + 2] != b"\x08\x00" or len(frame) < at + 22:
        return None
    return (socket.inet_ntoa(frame[at + 14:at + 18]), socket.inet_ntoa(frame[at + 18:at + 22]),
            frame[at + 11])


# --- deny.rules, from an implementation of its own (rules/digest.h, rules/snapshot.h)

MASK = (1 << 64) - 1


def siphash(key, data, wide=False):
    def rotl(x, b):
        return (x << b | x >> 64 - b) & MASK

    def rounds(v, n):
        a, b, c, d = v
        for _ in range(n):
            a = a + b & MASK
            b = rotl(b, 13) ^ a
            a = rotl(a, 32)
            c = c + d & MASK
            d = rotl(d, 16) ^ c
            a = a + d & MASK
            d = rotl(d, 21) ^ a
            c = c + b & MASK
            b = rotl(b, 17) ^ c
            c = rotl(c, 32)
        return [a, b, c, d]

    k0, k1 = struct.unpack("<QQ", key)
    v = [0x736f6d6570736575 ^ k0, 0x646f72616e646f6d ^ k1, 0x6c7967656e657261 ^ k0, 0x7465646279746573 ^ k1]
    if wide:
        v[1] ^= 0xee
    whole = len(data) & ~7
    words = list(struct.unpack(f"<{whole // 8}Q", data[:whole]))
    words.append(len(data) % 256 << 56 | int.from_bytes(data[whole:], "little"))
    for m in words:
        v[3] ^= m
        v = rounds(v, 2)
        v[0] ^= m
    v[2] ^= 0xee if wide else 0xff
    v = rounds(v, 4)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    if not wide:
        return first
    v[1] ^= 0xdd
    v = rounds(v, 4)
    return first << 64 | v[0] ^ v[1] ^ v[2] ^ v[3]


def entry_hash(line):
    """The hash of an entry line: an address, a prefix or a port entry; monitor, or until=."""
    words = line.split()
    text, monitor = words[0], "monitor" in words
    kind, proto, port = 1, 0, 0
    if text[:4] in ("tcp/", "udp/"):
        kind, proto = 2, 6 if text[0] == "t" else 17
        text, port = text[4:].rsplit(":", 1)
        text, port = text.strip("[]"), int(port)
    address, _, length = text.partition("/")
    family = 6 if ":" in address else 4
    packed = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address)
    bits = int(length or (128 if family == 6 else 32))
    never = (1 << 63) - 1
    ends = [w[6:] for w in words if w.startswith("until=")]
    enforce = calendar.timegm(time.strptime(ends[0], "%Y-%m-%dT%H:%M:%SZ")) if ends else never
    record = struct.pack("<BBBBHBB16sQQ", kind, family, bits, proto, port, 0, 0, packed.ljust(16, b"\0"),
                         0 if monitor else enforce, never if monitor else 0)
    return siphash(b"stanch digest 1\0", record, wide=True)


def write_rules(folder, entries=(), exceptions=(), ledger="11" * 16, revision="1.1"):
    """A snapshot and an empty journal, as control would write them."""
    digest = sum(entry_hash(line) for line in entries) % (1 << 128)
    body = f"stanch-rules 1 ledger={ledger} revision={revision} count={len(entries)} digest={digest:032x}\n"
    body += "".join(line + "\n" for line in [*entries, *exceptions])
    body = body.encode()
    body += b"end checksum=%016x\n" % siphash(bytes(16), body)
    with open(os.path.join(folder, "deny.rules"), "wb") as f:
        f.write(body)
    head = f"stanch-journal 1 ledger={ledger} base={revision}"
    with open(os.path.join(folder, "deny.journal"), "w", encoding="ascii") as f:
        f.write(f"{head} head={siphash(bytes(16), head.encode()):016x}\n")
