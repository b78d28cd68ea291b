# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The data plane's end of the link, from an implementation of its own (rules/wire.h): it keeps the entries that it was
told, so that a test sees what a gateway would enforce. As many as a test wants, each in a thread.

    peer = DataPlane(folder)      # listens at folder/dataplane.sock
    peer.enforced()               # {"203.0.113.7", …} as canonical text
    peer.deny("203.0.113.7", 3)   # three packets were denied: control is told
"""

import ipaddress
import os
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))
import lab  # noqa: E402

(HELLO, EXCEPTIONS, BATCH, SYNC_BEGIN, SYNC_ENTRIES, SYNC_END, PAUSE, LOOKUP, STATUS_GET, BREAKGLASS_ACK,
 PREVIEW) = range(1, 12)
HELLO_ACK, RESULT, LOOKUP_ANSWER, STATUS, DENIALS = 64, 65, 66, 67, 68
OK, NEED_SYNC, MISMATCH, BAD_MESSAGE = 0, 2, 4, 6
EMPTY = bytes(56)


def build():
    words = subprocess.run([lab.binary("stanch-dataplane"), "--version"], capture_output=True, check=True).stdout
    return words.split()[1]


def text_of(indicator):
    """The canonical text of struct wire_indicator."""
    kind, family, bits, proto, port, subtree, name_len, addr = struct.unpack_from("<BBBBHBB16s", indicator)
    if name_len or kind == 3:
        return ("*." if subtree else "") + indicator[24:24 + name_len].decode()
    address = ipaddress.ip_address(addr[:4] if family == 4 else addr)
    if kind == 2:
        return f"{'tcp' if proto == 6 else 'udp'}/{f'[{address}]' if family == 6 else address}:{port}"
    return str(address) if bits == (32 if family == 4 else 128) else f"{address}/{bits}"


class DataPlane:
    def __init__(self, folder, version=None):
        self.path = os.path.join(folder, "dataplane.sock")
        self.build = version or build()
        self.lock = threading.Lock()
        self.entries, self.state = {}, EMPTY  # indicator → (enforce_until, monitor_until)
        self.hashes, self.digest = {}, 0
        self.exceptions, self.exceptions_new, self.pause_until = set(), set(), 0
        self.marked = None  # during a full synchronisation
        self.boot, self.begun = int.from_bytes(os.urandom(7), "big"), time.monotonic()
        self.batches = self.syncs = 0
        self.weakened = []  # (when, text): what went out of force
        self.peer, self.ended = None, False
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.server.bind(self.path)
        self.server.listen(4)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    # --- for tests

    def enforced(self):
        now = time.time()
        with self.lock:
            found = {text_of(i) for i, (enforce, _) in self.entries.items() if enforce > now}
        return found

    def monitored(self):
        now = time.time()
        with self.lock:
            return {text_of(i) for i, (enforce, monitor) in self.entries.items() if enforce <= now < monitor}

    def deny(self, text, packets=1, source="10.1.1.5"):
        with self.lock:
            entry = next(i for i in self.entries if text_of(i) == text)
        now = int(time.time() * 1000)
        address = ipaddress.ip_address(text.split("/")[0])
        record = entry[:24] + struct.pack(
            "<BBBBHH16s16sQQqq32s", 4, 6, 0, 0, 443, 0, ipaddress.ip_address(source).packed, address.packed, packets,
            60 * packets, now, now, b"ENTRY_DENY")
        self.send(DENIALS, 0, struct.pack("<II", 1, 0) + record)

    def close(self):
        self.ended = True
        self.server.close()
        if self.peer:
            try:
                self.peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # --- the link

    def serve(self):
        while not self.ended:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            self.peer, self.marked = peer, None
            try:
                while message := peer.recv(65537):
                    self.take(message)
            except OSError:
                pass
            self.peer = None
            peer.close()

    def send(self, kind, seq, body):
        peer = self.peer
        if peer:
            peer.send(struct.pack("<HHIQ", kind, 1, 16 + len(body), seq) + body)

    def result(self, seq, code):
        self.send(RESULT, seq, struct.pack("<II", code, 0) + self.state + struct.pack("<QQ", len(self.entries), 1 << 30))

    def put(self, indicator, enforce, monitor):
        self.digest -= self.hashes.get(indicator, 0)
        self.entries[indicator] = (enforce, monitor)
        record = indicator[:7] + b"\0" + indicator[8:24] + struct.pack("<qq", enforce, monitor)
        record += indicator[24:24 + indicator[7]]
        self.hashes[indicator] = lab.siphash(b"stanch digest 1\0", record, wide=True)
        self.digest += self.hashes[indicator]

    def remove(self, indicator):
        self.digest -= self.hashes.pop(indicator, 0)
        self.entries.pop(indicator, None)

    def equals(self, state):
        count, digest = struct.unpack_from("<Q16s", state, 32)
        return count == len(self.entries) and int.from_bytes(digest, "big") == self.digest % (1 << 128)

    def records(self, body):
        at = 0
        while at < len(body):
            op, _, size, _, enforce, monitor = struct.unpack_from("<BBHIqq", body, at)
            yield op, bytes(body[at + 24:at + size]), enforce, monitor
            at += size

    def take(self, message):
        kind, _, _, seq = struct.unpack_from("<HHIQ", message)
        body = message[16:]
        with self.lock:
            self.answer(kind, seq, body)

    def answer(self, kind, seq, body):
        if kind == HELLO:
            self.send(HELLO_ACK, seq, self.state + struct.pack("<32sQIB3xQ", self.build, 1 << 24, 0, 0, self.boot))
        elif kind == EXCEPTIONS:
            self.take_exceptions(seq, body)
        elif kind == BATCH:
            self.take_batch(seq, body)
        elif kind == SYNC_BEGIN:
            self.marked = set()
            self.result(seq, OK)
        elif kind == SYNC_ENTRIES:
            for _, indicator, enforce, monitor in self.records(body[16:]):
                self.put(indicator, enforce, monitor)
                self.marked.add(indicator)
            self.result(seq, OK)
        elif kind == SYNC_END:
            state = body[8:64]
            for indicator in [i for i in self.entries if i not in self.marked]:
                self.forget(indicator)
            self.syncs += 1
            good = self.equals(state)
            if good:
                self.state = state
            self.marked = None
            self.result(seq, OK if good else MISMATCH)
        elif kind == PAUSE:
            self.pause_until = struct.unpack_from("<q", body)[0]
            self.result(seq, OK)
        elif kind == LOOKUP:
            self.take_lookup(seq, body)
        elif kind == STATUS_GET:
            self.tell_status(seq)
        else:
            self.result(seq, OK)

    def forget(self, indicator):
        if self.entries.get(indicator, (0, 0))[0] > time.time():
            self.weakened.append((time.time(), text_of(indicator)))
        self.remove(indicator)

    def take_batch(self, seq, body):
        before, after = body[:16], body[16:72]
        if self.state[16:32] != before or self.state[:16] != after[:16]:
            self.result(seq, NEED_SYNC)
            return
        for op, indicator, enforce, monitor in self.records(body[80:]):
            if op:
                self.put(indicator, enforce, monitor)
                if self.marked is not None:
                    self.marked.add(indicator)
            else:
                self.forget(indicator)
        self.batches += 1
        good = self.equals(after)
        if good:
            self.state = after
        self.result(seq, OK if good else MISMATCH)

    def take_exceptions(self, seq, body):
        flags, n = struct.unpack_from("<II", body)
        at = 8
        for _ in range(n):
            size = struct.unpack_from("<H", body, at + 2)[0]
            self.exceptions_new.add((body[at], text_of(body[at + 16:at + size])))
            at += size
        if not flags & 1:
            self.exceptions, self.exceptions_new = self.exceptions_new, set()
        self.result(seq, OK)

    def take_lookup(self, seq, body):
        found = self.entries.get(bytes(body))
        action = 0 if not found else 2 if found[0] > time.time() else 1
        self.send(LOOKUP_ANSWER, seq, self.state + struct.pack("<BBBBIQQq", found is not None, action, 1, 0, 0, 0, 0, 0))

    def tell_status(self, seq):
        up = int((time.monotonic() - self.begun) * 1000)
        body = self.state + struct.pack(
            "<16sQQQQQQQQqQQQIIIIIIII", self.state[40:56], len(self.entries), 0, 0, 1, 1 << 24, 0,
            len(self.exceptions), 0, self.pause_until, up, 0, 0, 1, 0, 1, 3, 0, 0, 0, 0)
        self.send(STATUS, seq, body + bytes(16 * 8) + struct.pack("<32s", self.build))
