# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""For tests and the demo: start the F5 XC stand-in and look into it.

    with F5XC(token="word") as f5:
        f5.sets()                       # what is stored
        f5.fail(n=2, status=429, retry_after=1)
"""

import json
import os
import subprocess
import sys
import urllib.request


class F5XC:
    def __init__(self, token="stand-in-token", **options):
        command = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "f5xc.py"),
                   "--token", token]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-")] if value is True else []
            command += ["--" + name.replace("_", "-"), str(value)] if value is not True and value else []
        self.token = token
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the stand-in for F5 XC did not start")
        self.port = json.loads(line)["port"]
        self.url = f"http://127.0.0.1:{self.port}/api"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def peer(self, what, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/_peer/{what}", data,
                                         method=method or ("GET" if body is None else "POST"))
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def sets(self):
        return self.peer("sets")

    def requests(self):
        return self.peer("requests")

    def fail(self, **how):
        self.peer("fail", how)

    def mend(self):
        self.peer("fail", method="DELETE")

    def put(self, name, value, plural="ip_prefix_sets"):
        self.peer("put", {"name": name, "object": value, "plural": plural})

    def remove(self, name, plural="ip_prefix_sets"):
        self.peer("remove", {"name": name, "plural": plural})

    def policies(self):
        return self.peer("policies")

    def poison(self, *prefixes):
        self.peer("poison", list(prefixes))

    def firewall(self, *policies, name="edge"):
        """An operator's network_firewall, whose list of policies a site goes through in this order."""
        refs = [{"namespace": "system", "name": p} for p in policies]
        self.put(name, {"metadata": {"name": name, "namespace": "system"}, "spec": {
            "active_enhanced_firewall_policies": {"enhanced_firewall_policies": refs}}}, "network_firewalls")

    def allow_all(self, name="operator-allow"):
        self.policy("enhanced_firewall_policys", name, {"allow_all": {}})

    def passes(self, destination, proto="TCP", port=443):
        return self.peer("passes", {"destination": destination, "proto": proto, "port": port})

    def refer(self, name, kind="enhanced_firewall_policy"):
        self.peer("refer", {"name": name, "kind": kind})

    def policy(self, plural, name, spec, **metadata):
        self.put(name, {"metadata": {"name": name, "namespace": "system", **metadata}, "spec": spec}, plural)

    def prefixes(self):
        """All prefixes stored, as texts."""
        return sorted(row[key[:-2]] for one in self.sets() for key in ("ipv4_prefixes", "ipv6_prefixes")
                      for row in one["spec"].get(key, []))
