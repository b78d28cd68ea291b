# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Between a gateway and its Redis: a Unix socket whose connections a test cuts, or lets hang. One thread for all."""

import os
import selectors
import socket
import threading

WHOLE = 1 << 16


class Wires:
    """Runs every proxy of a test."""

    def __init__(self):
        self.selector, self.lock, self.ended = selectors.DefaultSelector(), threading.RLock(), False
        self.wake, wake = socket.socketpair()
        self.selector.register(wake, selectors.EVENT_READ, (self.woken, wake))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def woken(self, wake):
        wake.recv(WHOLE)

    def run(self):
        while not self.ended:
            for key, _ in self.selector.select(1):
                function, *words = key.data
                with self.lock:
                    try:
                        function(*words)
                    except (OSError, KeyError, ValueError):
                        pass  # its other end went meanwhile

    def close(self):
        self.ended = True
        self.wake.send(b"x")
        self.thread.join(5)


class Proxy:
    def __init__(self, wires, path, target):
        """target: the path of Redis's socket, or (host, port)."""
        self.wires, self.target, self.pairs = wires, target, {}
        self.broken = self.hangs = False
        self.octets = [0, 0]  # to Redis, from it
        if os.path.exists(path):
            os.unlink(path)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(16)
        with wires.lock:
            wires.selector.register(self.server, selectors.EVENT_READ, (self.accept,))

    def accept(self):
        client, _ = self.server.accept()
        if self.broken:
            client.close()
            return
        kind = socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET
        there = socket.socket(kind)
        try:
            there.connect(self.target)
        except OSError:
            client.close()
            there.close()
            return
        for a, b, way in ((client, there, 0), (there, client, 1)):
            self.pairs[a] = b
            self.wires.selector.register(a, selectors.EVENT_READ, (self.pass_on, a, b, way))

    def pass_on(self, a, b, way):
        if self.hangs:
            # Level-triggered: not to be asked again until it is mended.
            self.wires.selector.unregister(a)
            return
        data = a.recv(WHOLE)
        if not data:
            self.drop(a)
            return
        self.octets[way] += len(data)
        b.sendall(data)

    def drop(self, a):
        b = self.pairs.pop(a, None)
        self.pairs.pop(b, None)
        for one in (a, b):
            if one:
                try:
                    self.wires.selector.unregister(one)
                except (KeyError, ValueError):
                    pass
                one.close()

    def drop_all(self):
        while self.pairs:
            self.drop(next(iter(self.pairs)))

    def cut(self):
        """Connections end, and new ones at once."""
        with self.wires.lock:
            self.broken = True
            self.drop_all()

    def hang(self):
        """Nothing passes, and nobody is told."""
        with self.wires.lock:
            self.hangs = True

    def mend(self):
        with self.wires.lock:
            hung, self.hangs, self.broken = self.hangs, False, False
            if hung:
                self.drop_all()

    def close(self):
        with self.wires.lock:
            self.drop_all()
            self.wires.selector.unregister(self.server)
            self.server.close()
