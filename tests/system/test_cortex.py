# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The Cortex responder, run as Cortex runs it, against the real daemons and TheHive's stand-in.

The build directory is $STANCH_BUILD, or build/ at the root. Needs root: packets are really dropped.
"""

import glob
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "system"), os.path.join(ROOT, "tests", "peers")]

import lab as labs  # noqa: E402
import test_thehive  # noqa: E402
from thehive_client import TheHive  # noqa: E402

FOLDER = os.path.join(ROOT, "scripts", "deploy", "cortex", "Stanch")


def definitions():
    found = {}
    for path in glob.glob(os.path.join(FOLDER, "*.json")):
        with open(path, encoding="utf-8") as f:
            definition = json.load(f)
        found[definition["config"]["service"]] = definition
    return found


def run(service, job, by_stdin=False, **config):
    """The responder's answer, and its exit status, as Cortex starts it from the definition's command."""
    definition = definitions()[service]
    job = job | {"config": definition["config"] | config}
    command = [os.path.join(os.path.dirname(FOLDER), definition["command"])]
    with tempfile.TemporaryDirectory() as folder:
        if by_stdin:
            done = subprocess.run([*command, folder], input=json.dumps(job), capture_output=True, text=True,
                                  timeout=60)
            return json.loads(done.stdout), done.returncode
        os.mkdir(os.path.join(folder, "input"))
        with open(os.path.join(folder, "input", "input.json"), "w", encoding="utf-8") as f:
            json.dump(job, f)
        done = subprocess.run([*command, folder], capture_output=True, text=True, timeout=60)
        with open(os.path.join(folder, "output", "output.json"), encoding="utf-8") as f:
            return json.load(f), done.returncode


class Definitions(unittest.TestCase):
    def test_what_cortex_needs(self):
        found = definitions()
        self.assertEqual(set(found), {"block", "unblock", "why"})
        for definition in found.values():
            for key in ("name", "version", "author", "url", "license", "description", "command", "baseConfig"):
                self.assertIsInstance(definition[key], str)
            self.assertEqual(definition["dataTypeList"], ["thehive:case", "thehive:case_artifact"])
            self.assertTrue(os.access(os.path.join(os.path.dirname(FOLDER), definition["command"]), os.X_OK))
            for item in definition["configurationItems"]:
                self.assertLessEqual({"name", "description", "type", "multi", "required"}, set(item))

    def test_failures_say_why(self):
        good = {"data": {"_id": "~1", "caseId": 1}, "dataType": "thehive:case", "parameters": {"user": "alice"}}
        here = {"url": "http://127.0.0.1:9", "token": "t", "timeout": 1}
        for job, config, text in (
                (good, here, "does not answer"), (good, here | {"token": ""}, "stanch token create"),
                (good, here | {"url": "stanch"}, "url:"), (good | {"parameters": {}}, here, "who clicked"),
                (good | {"dataType": "thehive:alert"}, here, "not on thehive:alert"),
                (good | {"dataType": "thehive:case_artifact"}, here, "does not name the case"),
                (good | {"data": []}, here, "the job does not name the case")):
            answer, status = run("block", job, **config)
            self.assertEqual((answer["success"], status), (False, 1))
            self.assertIn(text, answer["errorMessage"])


@unittest.skipUnless(os.geteuid() == 0, "needs root, for a data plane")
class Responder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hive = TheHive(version=5, custom_field="stanch-action:string", more_user=["gateway:gateway-key"])
        cls.lab = labs.Lab()
        cls.lab.build()
        cls.port = labs.free_port()
        digest = hashlib.sha256(b"cortex-word").hexdigest()
        tokens = cls.lab.secret("tokens", f"cortex operator never sha256:{digest}")
        cls.hive.set(webhook_url=f"http://127.0.0.1:{cls.port}/v1/hooks/thehive", webhook_auth="bearer:hook-word")
        cls.lab.configure(cls.lab.control_section(
            hive={"url": cls.hive.url, "key": "gateway-key", "hook": "hook-word",
                  "more": {"index_delay_ms": 200, "max_per_second": 200}},
            listen=f"127.0.0.1:{cls.port}",
            extra=f"  tokens_file: {tokens}\n  protect: {{networks: [203.0.113.128/25]}}\n"
                  "  brakes: {case_claims_per_minute: 40}\n"))
        cls.lab.start_dataplane()
        cls.lab.start_control()
        labs.wait_for(lambda: cls.lab.ctl_status()["list"]["origin"] == "control", "control's list", 20)
        labs.wait_for(lambda: cls.status()["sources"][0]["state"] == "up", "TheHive", 20)

    @classmethod
    def tearDownClass(cls):
        cls.lab.close()
        cls.hive.stop()

    @classmethod
    def status(cls):
        return cls.lab.stanch_json("status")

    def case(self, *addresses, **fields):
        case = self.hive.case_create("Exfiltration", field="enforce", **fields)
        return case, [self.hive.observable_create(case, a) for a in addresses]

    def job(self, case, observable=None, user="alice@soc"):
        """As TheHive gives it to Cortex: version 0 of the object."""
        state = self.hive.call("GET", "/_peer/state")
        body = next(c for c in state["cases"] if c["_id"] == case)
        data = {"_id": case, "id": case, "_type": "case", "caseId": body["number"], "title": body["title"]}
        if observable:
            found = next(o for o in state["observables"] if o["_id"] == observable)
            data = {"_id": observable, "id": observable, "_type": "case_artifact", "data": found["data"],
                    "dataType": found["dataType"], "case": data}
        return {"data": data, "dataType": "thehive:case_artifact" if observable else "thehive:case", "tlp": 2,
                "pap": 2, "message": "", "parameters": {"user": user, "organisation": "soc"}}

    def run_responder(self, service, *job, by_stdin=False, **config):
        config = {"url": f"http://127.0.0.1:{self.port}", "token": "cortex-word", "timeout": 10} | config
        answer, status = run(service, self.job(*job), by_stdin, **config)
        self.assertEqual(status, 0 if answer["success"] else 1)
        return answer["success"], answer["full"]["message"] if answer["success"] else answer["errorMessage"], \
            answer.get("operations")

    def claims(self, case):
        return [c for c in self.lab.stanch_json("list")["claims"] if f"/{case}/" in c["ref"]]

    def reason(self, indicator):
        return next(c for c in self.lab.stanch_json("why", indicator)["claims"])

    def test_block_and_unblock_an_observable(self):
        case, (observable,) = self.case("203.0.113.7")
        self.assertTrue(self.lab.arrives("203.0.113.7"))
        good, message, operations = self.run_responder("block", case, observable)
        self.assertTrue(good, message)
        self.assertIn("203.0.113.7: ok", message)
        self.assertEqual(operations, [])
        self.assertFalse(self.lab.arrives("203.0.113.7"), "applied is what it told")
        claim = self.reason("203.0.113.7")
        self.assertEqual((claim["source"], claim["author"], claim["action"]), ("operator", "alice@soc", "enforce"))
        self.assertEqual(claim["ref"], f"case/soc/{case}/{observable}")
        audit = self.lab.stanch_json("audit")["records"]
        self.assertTrue(any("token cortex@127.0.0.1 for alice@soc" in r["actor"] for r in audit))
        good, message, _ = self.run_responder("why", case, observable)
        self.assertTrue(good)
        self.assertIn("203.0.113.7 is denied", message)
        self.assertIn("decided by alice@soc", message)
        good, message, operations = self.run_responder("unblock", case, observable, by_stdin=True)
        self.assertTrue(good, message)
        self.assertEqual(operations, [{"type": "AddTagToArtifact", "tag": "stanch:none"}])
        self.assertTrue(self.lab.arrives("203.0.113.7"))
        good, message, _ = self.run_responder("why", case, observable)
        self.assertIn("203.0.113.7 passes", message)

    def test_a_case(self):
        case, observables = self.case("198.51.100.9", "198.51.100.10")
        self.hive.observable_create(case, "198.51.100.11", ioc=False)
        good, message, _ = self.run_responder("block", case)
        self.assertTrue(good, message)
        self.assertFalse(self.lab.arrives("198.51.100.9"))
        self.assertIn("1 observables are no IOC", message)
        self.assertEqual({c["indicator"] for c in self.claims(case)}, {"198.51.100.9", "198.51.100.10"})
        good, message, _ = self.run_responder("why", case)
        self.assertIn("198.51.100.10 is denied", message)
        good, message, operations = self.run_responder("unblock", case)
        self.assertTrue(good, message)
        self.assertEqual(operations, [{"type": "AddTagToCase", "tag": "stanch:none"}])
        self.assertTrue(self.lab.arrives("198.51.100.9"))
        self.assertEqual(self.claims(case), [])
        good, message, _ = self.run_responder("why", case)
        self.assertIn("Nothing is denied", message)

    def test_it_ends_when_the_case_closes_otherwise(self):
        case, (observable, _) = self.case("203.0.113.20", "203.0.113.21")
        other, _ = self.case("203.0.113.22")
        self.assertTrue(self.run_responder("block", case)[0])
        self.assertTrue(self.run_responder("block", other)[0])
        self.hive.close(case, "FalsePositive")
        labs.wait_for(lambda: not self.claims(case), "the blocks to end", 20)
        self.assertEqual(len(self.claims(other)), 1)
        good, message, _ = self.run_responder("block", case, observable)
        self.assertFalse(good)
        self.assertIn("closed as", message)
        # As a true positive it stays, though nobody set a response action; so does a reopened one's.
        self.hive.close(other)
        labs.wait_for(lambda: self.status()["sources"][0]["cases"]["pending"] == 0, "the case to be read", 20)
        self.assertEqual(len([c for c in self.claims(other) if c["source"] == "operator"]), 1)

    def test_what_is_refused_is_told(self):
        case, (observable,) = self.case("203.0.113.200")
        good, message, _ = self.run_responder("block", case, observable)
        self.assertFalse(good)
        self.assertIn("protected", message)
        red, (observable,) = self.case("203.0.113.30", pap=3)
        good, message, _ = self.run_responder("block", red, observable)
        self.assertFalse(good)
        self.assertIn("PAP:RED", message)
        mixed, _ = self.case("203.0.113.31", "203.0.113.201")
        good, message, _ = self.run_responder("block", mixed)
        self.assertFalse(good)
        self.assertIn("Only 1 are denied, 1 are refused", message)
        good, message, _ = self.run_responder("block", mixed, token="wrong")
        self.assertIn("refuses the token (401)", message)
        good, message, _ = self.run_responder("block", mixed, thehive="other")
        self.assertIn("no such instance of TheHive", message)
        # More than one: a later reading of the case may be under way.
        self.hive.fail("500", n=20, user="gateway", path="GET /api/v1/case/")
        good, message, _ = self.run_responder("block", mixed)
        self.hive.heal()
        self.assertFalse(good)
        self.assertIn("TheHive answered with status 500", message)

    def test_others_hold_it_too(self):
        case, (observable,) = self.case("203.0.113.40")
        self.assertTrue(self.run_responder("block", case, observable)[0])
        self.assertEqual(self.lab.stanch("block", "203.0.113.40", "--reason", "mine").returncode, 0)
        good, message, operations = self.run_responder("unblock", case, observable)
        self.assertFalse(good)
        self.assertIsNone(operations)
        self.assertIn("STILL DENIED: 1 blocks of this case are ended", message)
        self.assertIn("stanch allow 203.0.113.40", message)
        self.assertEqual(self.lab.stanch("unblock", "203.0.113.40").returncode, 0)

    def test_zz_the_brake_holds(self):  # the last: it uses up the minute
        case, _ = self.case(*[f"203.0.113.{i}" for i in range(50, 100)])
        good, message, _ = self.run_responder("block", case)
        self.assertFalse(good)
        self.assertIn("wait for an operator", message)
        self.assertIn("case_claims_per_minute", message)
        self.assertTrue(self.lab.stanch_json("held"))


@unittest.skipUnless(os.path.exists(test_thehive.CONTROL), "stanch-control is not built")
class WithoutDataPlane(unittest.TestCase):
    def test_recorded_is_no_success(self):
        for version in (4, 5):
            with self.subTest(version=version):
                lab = test_thehive.Lab(version)
                self.addCleanup(lab.end)
                case = lab.hive.case_create("Exfiltration")
                observable = lab.hive.observable_create(case, "evil[.]example", "domain", ioc=False)
                job = {"data": {"_id": observable, "case": {"_id": case}}, "dataType": "thehive:case_artifact",
                       "parameters": {"user": "alice"}}
                config = {"url": f"http://127.0.0.1:{lab.port}", "token": "cortex-word", "timeout": 0.3}
                digest = hashlib.sha256(b"cortex-word").hexdigest()
                lab.write("tokens", f"cortex operator never sha256:{digest}\n")
                path = lab.configure()
                with open(path, "a", encoding="ascii") as out:
                    out.write(f"  tokens_file: {lab.dir}/tokens\n")
                lab.process.send_signal(signal.SIGHUP)
                test_thehive.wait_for("the reload", lambda: "tokens: 2" in lab.logged())
                test_thehive.wait_for("TheHive", lambda: lab.source()["state"] == "up")
                answer, status = run("block", job, **config)
                self.assertEqual((answer["success"], status), (False, 1))
                self.assertIn("Not in force on the wire", answer["errorMessage"])
                self.assertIn("*.evil.example: ok", answer["errorMessage"])
                answer, _ = run("unblock", job, **config)
                self.assertIn("The tag stanch:none is not set", answer["errorMessage"])
                answer, _ = run("unblock", job, **config)
                self.assertTrue(answer["success"])
                self.assertIn("No block by hand was in force", answer["full"]["message"])


if __name__ == "__main__":
    unittest.main()
