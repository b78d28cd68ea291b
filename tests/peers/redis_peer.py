# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A real redis-server in a directory of its own, with the recommended configuration and ACL, and redis-cli as
the publisher."""

import os
import shutil
import signal
import subprocess

import lab

DEPLOY = os.path.join(lab.ROOT, "scripts", "deploy", "redis")
AVAILABLE = bool(shutil.which("redis-server") and shutil.which("redis-cli"))


class Redis:
    def __init__(self, folder, **settings):
        self.dir, self.settings = folder, settings
        os.makedirs(folder, exist_ok=True)
        self.socket = os.path.join(folder, "redis.sock")
        self.process = None
        shutil.copy(os.path.join(DEPLOY, "users.acl"), os.path.join(folder, "users.acl"))
        self.start()

    @staticmethod
    def tls(port, authority, cert, key, clients="yes"):
        """Settings of a Redis that also speaks TLS on a port of 127.0.0.1; clients: need a certificate?"""
        return {"tls-port": port, "tls-cert-file": cert, "tls-key-file": key, "tls-ca-cert-file": authority.ca,
                "tls-auth-clients": clients}

    def start(self):
        settings = {"port": 0, "unixsocket": self.socket, "dir": self.dir, "logfile": os.path.join(self.dir, "log"),
                    "aclfile": os.path.join(self.dir, "users.acl"), "supervised": "no", "daemonize": "no"}
        settings.update(self.settings)
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        self.process = subprocess.Popen(["redis-server", os.path.join(DEPLOY, "redis.conf"), *words],
                                        stdout=subprocess.DEVNULL)
        lab.wait_for(lambda: self.cli("PING", user="admin", check=False).strip() == "PONG", "Redis answers")

    def end(self, how=signal.SIGTERM):
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
        self.process = None

    def cli(self, *words, user="publisher", check=True, text=None):
        """One command; or with text= what redis-cli reads on standard input."""
        command = ["redis-cli", "-s", self.socket, "--user", user, "--pass", f"change-me-{user}", "--no-auth-warning"]
        done = subprocess.run([*command, *map(str, words)], input=text, capture_output=True, text=True)
        if check and (done.returncode != 0 or done.stdout.startswith(("ERR", "NOPERM", "WRONG"))):
            raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def many(self, command, key, members):
        """SADD and the like, a thousand members a command."""
        members = list(members)
        lines = [" ".join([command, key, *members[i:i + 1000]]) for i in range(0, len(members), 1000)]
        self.cli(text="\n".join(lines) + "\n")
