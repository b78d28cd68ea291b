# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""For tests and the demo: start the TheHive stand-in and act in it as an analyst.

    with TheHive(version=5, webhook_url=…, webhook_auth="bearer:WORD") as hive:
        case = hive.case_create("Exfiltration", field="enforce")
        hive.observable_create(case, "203.0.113.7")
        hive.close(case)            # true positive
        hive.reopen(case)
"""

import http.client
import json
import os
import ssl
import subprocess
import sys


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


class TheHive:
    def __init__(self, version=5, key="stand-in-key", python=None, command_prefix=(), **options):
        """Options as on the command line: webhook_url=…, more_user=["alice:key"], quick=True."""
        self.version, self.key = int(version), key
        command = [*command_prefix, python or sys.executable,
                   os.path.join(os.path.dirname(os.path.abspath(__file__)), "thehive.py"),
                   "--version", str(version), "--key", key, "--until-eof"]
        options.setdefault("port", 0)
        for name, value in options.items():
            for one in value if isinstance(value, list) else [value]:
                command.append("--" + name.replace("_", "-"))
                if one is not True:
                    command.append(str(one))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the stand-in did not start")
        told = json.loads(line)
        self.port, self.url, self.full_version = told["port"], told["url"], told["version"]
        self.host = options.get("listen", "127.0.0.1")
        self.tls_cert = options.get("tls_cert")
        self.connection = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.connection:
            self.connection.close()
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def connect(self):
        if self.tls_cert:
            trust = ssl.create_default_context(cafile=self.tls_cert)
            return http.client.HTTPSConnection(self.host, self.port, timeout=30, context=trust)
        return http.client.HTTPConnection(self.host, self.port, timeout=30)

    def call(self, method, path, body=None, key=None):
        """The JSON of the answer; Refused for 400 and above."""
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        for attempt in (0, 1):
            if self.connection is None:
                self.connection = self.connect()
            try:
                self.connection.request(method, path, data, headers)
                answer = self.connection.getresponse()
                text = answer.read()
                break
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None
                if attempt:
                    raise
        if answer.status >= 400:
            raise Refused(answer.status, text.decode())
        return json.loads(text) if text else None

    # --- as an analyst; `key` chooses which

    def case_create(self, title="A case", field=None, tags=(), key=None, **fields):
        body = {"title": title, "description": "…", "tags": list(tags)} | fields
        if field is not None:
            body["customFields"] = {"stanch-action": field}
        return self.call("POST", "/api/v1/case", body, key)["_id"]

    def observable_create(self, case, data, kind="ip", ioc=True, key=None, **fields):
        body = {"dataType": kind, "data": data, "ioc": ioc} | fields
        return self.call("POST", f"/api/v1/case/{case}/observable", body, key)[0]["_id"]

    def patch(self, case, key=None, **fields):
        self.call("PATCH", f"/api/v1/case/{case}", fields, key)

    def patch_alert(self, alert, **fields):
        self.call("PATCH", f"/api/v1/alert/{alert}", fields)

    def closed(self, status="TruePositive"):
        if self.version == 4:
            return {"status": "Resolved", "resolutionStatus": status, "impactStatus": "WithImpact",
                    "summary": "closed"}
        return {"status": status, "impactStatus": "WithImpact", "summary": "closed"}

    def close(self, case, status="TruePositive", key=None):
        self.patch(case, key, **self.closed(status))

    def close_all(self, cases, status="TruePositive"):
        self.call("PATCH", "/api/v1/case/_bulk", {"ids": list(cases)} | self.closed(status))

    def reopen(self, case, key=None):
        self.patch(case, key, status="Open" if self.version == 4 else "InProgress")

    def case_delete(self, case):
        self.call("DELETE", f"/api/v1/case/{case}")

    def merge(self, *cases):
        return self.call("POST", f"/api/v1/case/_merge/{','.join(cases)}")["_id"]

    def observable_patch(self, observable, **fields):
        self.call("PATCH", f"/api/v1/observable/{observable}", fields)

    def observable_delete(self, observable):
        self.call("DELETE", f"/api/v1/observable/{observable}")

    # --- as its puppeteer

    def fail(self, how, n=1, path=".", ms=500, user=None):
        body = {"how": how, "n": n, "path": path, "ms": ms}
        self.call("POST", "/_peer/fail", body | ({"user": user} if user else {}))

    def heal(self):
        self.call("DELETE", "/_peer/fail")

    def set(self, **options):
        self.call("POST", "/_peer/set", options)

    def fill(self, cases, **more):
        for first in range(0, cases, 10000):
            self.call("POST", "/_peer/fill", {"first": first, "cases": min(10000, cases - first)} | more)

    def requests(self):
        return self.call("GET", "/_peer/requests")

    def requests_forget(self):
        self.call("DELETE", "/_peer/requests")

    def hooks(self):
        return self.call("GET", "/_peer/hooks")

    def state(self):
        return self.call("GET", "/_peer/state")

    def comments(self):
        return self.state()["comments"]

    def told(self, case):
        """What stands in the comments of a case; in 4, in the logs of its tasks. In order."""
        return [n["message"] for n in self.state()["logs" if self.version == 4 else "comments"]
                if n["_case"] == case]

    def tags(self, observable):
        return next(o["tags"] for o in self.state()["observables"] if o["_id"] == observable)
