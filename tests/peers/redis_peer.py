# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A real redis-server in a directory of its own, with the recommended configuration and ACL, redis-cli as the
publisher, and real Sentinels."""

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
        # Copies: Sentinel has Redis write its configuration.
        for name in ("users.acl", "redis.conf"):
            shutil.copy(os.path.join(DEPLOY, name), os.path.join(folder, name))
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
        words = [word for name, value in settings.items() for word in (f"--{name}", *str(value).split())]
        self.process = subprocess.Popen(["redis-server", os.path.join(self.dir, "redis.conf"), *words],
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


class Sentinel:
    """Watches the Redis at 127.0.0.1:`redis` under the name blocklists."""

    def __init__(self, folder, port, redis, quorum, settings="", ca=None):
        """ca: the authority's file, where settings make it speak TLS and no client needs a certificate."""
        self.dir, self.port, self.process, self.ca = folder, port, None, ca
        os.makedirs(folder)
        with open(os.path.join(DEPLOY, "sentinel.conf"), encoding="ascii") as f:
            text = f.read()
        text += f"port {port}\n" if "tls-port" not in settings else ""
        text += f"dir {folder}\nlogfile {folder}/log\n{settings}\nsentinel monitor blocklists 127.0.0.1 {redis} {quorum}\n"
        for name, value in (("auth-user", "sentinel"), ("auth-pass", "change-me-sentinel"),
                            ("down-after-milliseconds", 1000), ("failover-timeout", 5000)):
            text += f"sentinel {name} blocklists {value}\n"
        with open(os.path.join(folder, "sentinel.conf"), "w", encoding="ascii") as f:
            f.write(text)
        self.start()

    def start(self):
        self.process = subprocess.Popen(["redis-server", os.path.join(self.dir, "sentinel.conf"), "--sentinel"],
                                        stdout=subprocess.DEVNULL)

    def end(self, how=signal.SIGTERM):
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
        self.process = None

    def cli(self, *words):
        command = ["redis-cli", "-p", str(self.port), "--user", "sentinel", "--pass", "change-me-sentinel",
                   "--no-auth-warning", *(["--tls", "--cacert", self.ca] if self.ca else [])]
        return subprocess.run([*command, *words], capture_output=True, text=True).stdout

    def master(self):
        """The port of the master, as it says; 0: it does not."""
        words = self.cli("SENTINEL", "get-master-addr-by-name", "blocklists").split()
        return int(words[1]) if len(words) == 2 and words[1].isdigit() else 0
