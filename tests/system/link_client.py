# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The link as control would speak it, from an implementation of its own (rules/wire.h)."""

import socket
import struct
import subprocess

import lab

HELLO, BATCH, SYNC_BEGIN, SYNC_ENTRIES, SYNC_END, LOOKUP, STATUS_GET = 1, 3, 4, 5, 6, 8, 9
HELLO_ACK, RESULT, LOOKUP_ANSWER, STATUS, DENIALS, BREAKGLASS = 64, 65, 66, 67, 68, 69
OK, NEED_SYNC, MISMATCH = 0, 2, 4
INERT, MONITOR, ENFORCE = 0, 1, 2  # an entry's action
FOREVER = (1 << 63) - 1
LEDGER = bytes([0x11]) * 16


def indicator(text):
    """An IPv4 address or network, as it travels."""
    address, _, bits = text.partition("/")
    return struct.pack("<BBBBHBB16s", 1, 4, int(bits or 32), 0, 0, 0, 0, socket.inet_aton(address))


def state(number, lines, epoch=1, ledger=LEDGER):
    """What a list of these lines is, as lab.write_rules takes them."""
    digest = sum(lab.entry_hash(line) for line in lines) % (1 << 128)
    return struct.pack("<16sQQQ16s", ledger, epoch, number, len(lines), digest.to_bytes(16, "big"))


def entry(text, put=True):
    n = indicator(text)
    return struct.pack("<BBHIqq", put, 0, 24 + len(n), 0, FOREVER, 0) + n


class Client:
    """A session: the newest that says hello has it."""

    def __init__(self, the_lab, known=bytes(56)):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.socket.connect(the_lab.path("run", "dataplane.sock"))
        self.seq = 0
        version = subprocess.run([lab.binary("stanch-dataplane"), "--version"], capture_output=True,
                                 check=True).stdout.split()[1]
        self.live = self.ask(HELLO, struct.pack("<56s32s", known, version), HELLO_ACK)[:56]

    def close(self):
        self.socket.close()

    def send(self, kind, body):
        self.seq += 1
        self.socket.send(struct.pack("<HHIQ", kind, 1, 16 + len(body), self.seq) + body)

    def answer(self, kind):
        """The next answer; what comes unasked is left out."""
        while True:
            message = self.socket.recv(65537)
            if not message:
                raise ConnectionError("the data plane has closed the link")
            got, _, _, seq = struct.unpack_from("<HHIQ", message)
            if got not in (DENIALS, BREAKGLASS):
                assert (got, seq) == (kind, self.seq), (got, kind, seq, self.seq)
                return message[16:]

    def ask(self, kind, body, answer=RESULT):
        self.send(kind, body)
        return self.answer(answer)

    def code(self, kind, body):
        """Of the answer: OK, NEED_SYNC, … and the state that is live then."""
        message = self.ask(kind, body)
        return struct.unpack_from("<I", message)[0], message[8:64]

    def action(self, text):
        """Of an entry, as the workers see it; None: it is not in the list."""
        message = self.ask(LOOKUP, indicator(text), LOOKUP_ANSWER)
        return message[57] if message[56] else None
