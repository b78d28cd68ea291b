#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A Cortex responder on a case or an observable of TheHive: block, unblock, why.

  stanch_responder.py [JOB]   reads JOB/input/input.json and writes JOB/output/output.json (/job);
                              where there is no such file: standard input, standard output

Thin over stanch's HTTP API: what may be denied, and what an observable means, is decided there. It
tells success only where the data plane has said that the change is applied. Standard library only.
"""

import http.client
import json
import os
import ssl
import sys
import time
from urllib.parse import quote, urlencode, urlsplit

SERVICES = ("block", "unblock", "why")
POLL_S = 0.25
SHOWN_MAX = 20


class Failed(Exception):
    """Told to the analyst as it is."""


class Api:
    def __init__(self, config):
        self.url = urlsplit(str(config.get("url") or ""))
        self.token = str(config.get("token") or "")
        self.deadline = time.monotonic() + float(config.get("timeout") or 30)
        if self.url.scheme not in ("http", "https") or not self.url.hostname:
            raise Failed("url: http://HOST:PORT or https://HOST:PORT of stanch is expected")
        if not self.token:
            raise Failed("token: is missing; make one by: stanch token create cortex --role operator --for 365d")
        self.context = None
        if self.url.scheme == "https":
            try:
                self.context = ssl.create_default_context(cafile=config.get("ca_file") or None)
            except OSError as error:
                raise Failed(f"ca_file: {error}") from None

    def left(self):
        return self.deadline - time.monotonic()

    def call(self, method, path, body=None):
        """(status, object). Failed where stanch cannot be asked at all."""
        wait = max(1.0, self.left())
        if self.context:
            connection = http.client.HTTPSConnection(self.url.hostname, self.url.port, timeout=wait,
                                                     context=self.context)
        else:
            connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=wait)
        sent = method != "GET"
        try:
            connection.request(method, self.url.path.rstrip("/") + path, json.dumps(body) if sent else None,
                               {"Authorization": "Bearer " + self.token, "Content-Type": "application/json"})
            answer = connection.getresponse()
            status, told = answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException) as error:
            doubt = " It is not known whether the change was recorded: see why." if sent else ""
            raise Failed(f"stanch at {self.url.netloc} does not answer: {error}.{doubt}") from None
        except ValueError:
            raise Failed(f"{self.url.netloc} answers with something that is not stanch's") from None
        finally:
            connection.close()
        if not isinstance(told, dict):
            raise Failed(f"{self.url.netloc} answers with something that is not stanch's")
        if status in (401, 403):
            raise Failed(f"stanch refuses the token ({status}): {told.get('error')}")
        return status, told


def number_of(revision):
    """ "E.N" as a pair that can be compared."""
    epoch, _, number = str(revision or "0.0").partition(".")
    return int(epoch), int(number or 0)


class Responder:
    def __init__(self, job):
        self.config = job.get("config") or {}
        self.service = self.config.get("service")
        self.data = job.get("data") or {}
        self.kind = str(job.get("dataType") or "")
        parameters = job.get("parameters") or {}
        self.user = str(parameters.get("user") or "")
        if self.service not in SERVICES:
            raise Failed(f"service: one of {', '.join(SERVICES)} is expected")
        if self.kind not in ("thehive:case", "thehive:case_artifact"):
            raise Failed(f"runs on a case or an observable of a case, not on {self.kind or 'nothing'}")
        self.observable = self.kind == "thehive:case_artifact"
        case = self.data.get("case") or self.data.get("Case") or {} if self.observable else self.data
        self.case = str(case.get("_id") or case.get("id") or "")
        self.id = str(self.data.get("_id") or self.data.get("id") or "")
        self.number = str(case.get("caseId") or case.get("number") or self.case)
        if not self.case or not self.id:
            raise Failed("the job does not name the case: run it on an observable of a case, not of an alert")
        if self.service != "why" and not self.user:
            raise Failed("the job does not say who clicked (parameters.user)")
        self.api = Api(self.config)

    def where(self):
        out = {"case": self.case}
        if self.observable:
            out["observable"] = self.id
        if self.config.get("thehive"):
            out["thehive"] = self.config["thehive"]
        return out

    def run(self):
        return getattr(self, self.service)()

    def applied(self, told):
        """Waits for the data plane; "" or why it is not applied."""
        if told.get("applied"):
            return ""
        wanted, why = number_of(told.get("revision")), told.get("why")
        while self.api.left() > 0:
            _, status = self.api.call("GET", "/v1/status")
            plane = status.get("dataplane") or {}
            if plane.get("connected") and number_of((plane.get("applied") or {}).get("revision")) >= wanted:
                return ""
            time.sleep(POLL_S)  # poll
        return str(why or "recorded, not yet applied")

    def block(self):
        status, told = self.api.call("POST", "/v1/cases/block",
                                     self.where() | {"user": self.user, "for": "24h", "wait": 2})
        rows = told.get("results") or []
        lines = [f"{row.get('indicator') or row.get('data')}: {row['result']}"
                 + (f" ({row['message']})" if row.get("message") else "") for row in rows]
        if told.get("left_out"):
            lines.append(f"{told['left_out']} observables are no IOC, or too many at once: left out")
        if status != 200:
            raise Failed(self.told(status, told, lines))
        late = self.applied(told)
        if late:
            raise Failed("\n".join([f"Not in force on the wire: {late}"] + lines))
        if told.get("refused") or told.get("held"):
            raise Failed("\n".join([f"Only {told['changed']} are denied, {told.get('refused')} are refused, "
                                    f"{told.get('held')} wait for an operator (stanch held):"] + lines))
        return "\n".join([f"Denied for 24 h in the name of {self.user}, applied with revision {told.get('revision')}; "
                          "ends earlier where the case is closed otherwise than as a true positive."] + lines), []

    def unblock(self):
        tag = f"{self.config.get('tag') or 'stanch'}:none"
        kind = "AddTagToArtifact" if self.observable else "AddTagToCase"
        status, told = self.api.call("POST", "/v1/cases/unblock", self.where() | {"user": self.user, "wait": 2})
        changed, own = told.get("changed") or 0, told.get("own") or 0
        if status not in (200, 404, 409) or "results" not in told:
            raise Failed(self.told(status, told, []))
        late = self.applied(told) if changed else ""
        lines = [f"{row.get('indicator')}: {row['result']}" for row in told["results"]]
        if status == 409:
            names = [f"{h.get('source')} {h.get('case') or h.get('ref')}: {h.get('indicator')}"
                     for h in told.get("holders") or []]
            raise Failed("\n".join([f"STILL DENIED: {changed} blocks of this case are ended, but others hold:"]
                                   + names[:SHOWN_MAX] + [f"To free it: {told.get('remedy')}",
                                                          f"The tag {tag} is not set."]))
        if late:
            raise Failed("\n".join([f"Ended, but not yet on the wire: {late}. The tag {tag} is not set."] + lines))
        first = f"{changed} blocks ended, applied." if changed else "No block by hand was in force."
        if own:
            first += f" {own} claims of the case's verdict end as soon as stanch reads the tag {tag}."
        return "\n".join([first] + lines), [{"type": kind, "tag": tag}]

    def why(self):
        _, told = self.api.call("GET", "/v1/cases/claims?" + urlencode(self.where()))
        if "claims" not in told:
            raise Failed(self.told(0, told, []))
        names = list(dict.fromkeys(c["indicator"] for c in told["claims"]))
        if self.observable and not names and self.data.get("data"):
            names = [str(self.data["data"])]
        lines = []
        for name in names[:SHOWN_MAX]:
            status, answer = self.api.call("GET", "/v1/why/" + quote(name, safe=""))
            lines.append(answer.get("verdict") or f"{name}: {answer.get('error')} ({status})")
            tried = answer.get("tried") or []
            if tried:
                lines.append(f"  {len(tried)} attempts are on record")
        if len(names) > SHOWN_MAX:
            lines.append(f"and {len(names) - SHOWN_MAX} more")
        return "\n".join(lines or ["Nothing is denied because of this case."]), []

    @staticmethod
    def told(status, told, lines):
        first = f"{told.get('error') or 'held for an operator (stanch held)'} ({status})"
        if told.get("remedy"):
            first += f"; {told['remedy']}"
        return "\n".join([first] + lines)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "/job"
    path = os.path.join(folder, "input", "input.json")
    from_file = os.path.exists(path)
    try:
        if from_file:
            with open(path, encoding="utf-8") as f:
                job = json.load(f)
        else:
            job = json.load(sys.stdin)
        message, operations = Responder(job).run()
        out = {"success": True, "full": {"message": message}, "operations": operations}
    except Failed as failure:
        out = {"success": False, "errorMessage": str(failure), "input": "{}"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        out = {"success": False, "errorMessage": f"the job cannot be read: {error!r}", "input": "{}"}
    text = json.dumps(out, ensure_ascii=False)
    if from_file:
        os.makedirs(os.path.join(folder, "output"), exist_ok=True)
        with open(os.path.join(folder, "output", "output.json"), "w", encoding="utf-8") as f:
            f.write(text)
    else:
        print(text)
    return 0 if out["success"] else 1


if __name__ == "__main__":
    sys.exit(main())
