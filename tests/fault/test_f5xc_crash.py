# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""kill -9 of the mirror between any two of its steps; and any sequence of changes and faults: what we own at F5 comes
to equal the ledger.

  STANCH_SEED, STANCH_STEPS    of the random sequence
"""

import os
import random
import signal
import time
import unittest

import lab
from f5xc_case import A, B, FAST, MirrorCase

OURS, THEIRS = "stanch-deny", "operator-allow"


class Crash(MirrorCase):
    def kill(self):
        self.lab.end(self.lab.processes.pop(), signal.SIGKILL)
        os.unlink(self.lab.path("run", "control.sock"))

    def owned(self):
        """What our objects hold, without what keeps a set from being empty; and the ports of our rules."""
        prefixes = sorted(p for p in self.f5.prefixes() if p not in ("192.0.2.1/32", "2001:db8::1/128"))
        ports = sorted((p, r["protocol_port_range"]["port_ranges"][0]) for one in self.f5.policies()
                       for r in one["spec"].get("rule_list", {}).get("rules", []) if "protocol_port_range" in r
                       for p in r["destination_prefix_list"]["prefixes"])
        return prefixes, ports

    def ledger(self):
        entries = [e["indicator"] for e in self.lab.stanch_json("list", "--entries")["entries"]]
        prefixes = sorted(e if "/" in e else e + ("/128" if ":" in e else "/32")
                          for e in entries if not e.startswith(("tcp/", "udp/")))
        ports = sorted((e.split("/")[1].split(":")[0] + "/32", e.rsplit(":", 1)[1]) for e in entries
                       if e.startswith(("tcp/", "udp/")))
        return prefixes, ports

    def rules_point_somewhere(self):
        sets = {s["metadata"]["name"] for s in self.f5.sets()}
        return all(ref["name"] in sets for one in self.f5.policies()
                   for r in one["spec"].get("rule_list", {}).get("rules", [])
                   for ref in r.get("destination_ip_prefix_set", {}).get("ref", []))

    def settled(self, seconds=30):
        lab.wait_for(lambda: self.owned() == self.ledger(), f"F5 {self.owned()} is the ledger {self.ledger()}",
                     seconds)
        self.assertTrue(self.rules_point_somewhere())

    def killed_at(self, number, how):
        """False: the whole of it took fewer requests than `number`."""
        self.f5.fail(n=1, how=how, skip=number)
        self.start(policy_before=THEIRS, set_size=1, reconcile_s=600)
        self.block(A)
        self.block(B, f"tcp/{B}:443")
        self.unblock(A)
        done, seen = [], []

        def there():
            if self.f5.peer("held"):
                return True
            seen.append((time.monotonic(), len(self.f5.requests())))
            quiet = seen[-1][0] - min(at for at, n in seen if n == seen[-1][1]) > 1
            if quiet and self.owned() == self.ledger():
                done.append(True)
            return bool(done)
        lab.wait_for(there, f"request {number} is held", 30)
        self.kill()
        self.f5.mend()
        self.assertTrue(self.f5.passes("198.51.100.77"))
        self.lab.start_control()
        self.settled()
        self.assertEqual(self.ledger(), ([f"{B}/32"], [(f"{B}/32", "443")]))
        return not done

    def test_kill_between_any_two_steps(self):
        steps = int(os.environ.get("STANCH_STEPS", "60"))
        for how in ("hold", "holdlate"):  # before it is done, and done but not answered
            for number in range(steps):
                with self.subTest((how, number)):
                    self.tearDown()
                    self.doCleanups()
                    self.setUp()
                    self.f5.allow_all()
                    self.f5.firewall(OURS, THEIRS)
                    if not self.killed_at(number, how):
                        break
            self.assertGreater(number, 8, "the whole of it takes more requests")
            print(f"{how}: {number} steps")

    # --- any sequence

    POOL = [f"203.0.113.{i}" for i in range(20, 30)] + ["198.51.100.0/24", "198.51.100.128/25", "2001:db8:9::1"]
    PORTS = ["tcp/203.0.113.21:443", "tcp/203.0.113.40:443", "udp/203.0.113.41:53"]

    def change(self, rng):
        what = rng.choice(self.POOL + self.PORTS)
        self.lab.stanch(rng.choice(("block", "block", "unblock")), what, "--reason", "a test")

    def fault(self, rng):
        how = rng.choice([{"status": 429, "retry_after": 1}, {"status": 500}, {"status": 503}, {"how": "close"},
                          {"how": "late"}, {"how": "garbage", "method": "GET"}, {"how": "ignored", "method": "PUT"},
                          {"status": 409, "method": "PUT"}, {"status": 400, "method": "PUT"}, {"how": "slow"}])
        self.f5.fail(n=rng.randint(1, 3), **how)

    def somebody(self, rng):
        sets = [s for s in self.f5.sets() if s["metadata"].get("labels")]
        if not sets:
            return
        one = rng.choice(sets)
        name, kind = one["metadata"]["name"], rng.choice(("remove", "disable", "edit"))
        family = "6" if "-v6-" in name else "4"
        theirs = "2001:db8:77::/48" if family == "6" else "192.0.2.64/26"
        if kind == "remove":
            if not any(name in str(p["spec"]) for p in self.f5.policies()):
                self.f5.remove(name)
        elif kind == "disable":
            self.f5.put(name, {"metadata": one["metadata"] | {"disable": True}, "spec": one["spec"]})
        else:
            self.f5.put(name, {"metadata": one["metadata"], "spec": {f"ipv{family}_prefixes": [
                {f"ipv{family}_prefix": theirs}]}})

    def restart(self, _rng):
        self.kill()
        self.lab.start_control()

    def test_any_sequence_comes_to_the_ledger(self):
        seed = int(os.environ.get("STANCH_SEED", random.SystemRandom().randrange(10**6)))
        print(f"seed: STANCH_SEED={seed}")
        rng = random.Random(seed)
        self.f5.allow_all()
        self.f5.firewall(OURS, THEIRS)
        self.start(policy_before=THEIRS, set_size=3, **{k: FAST[k] for k in ("reconcile_s",)})
        acts = [self.change] * 12 + [self.fault] * 5 + [self.somebody] * 3 + [self.restart]
        for _ in range(int(os.environ.get("STANCH_STEPS", "80"))):
            rng.choice(acts)(rng)
        self.f5.mend()
        self.lab.stanch("f5", "sync")
        self.settled(90)
        self.assertTrue(self.f5.passes("198.18.0.1"), seed)


if __name__ == "__main__":
    unittest.main()
