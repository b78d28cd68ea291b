#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A stand-in for TheHive 4 or 5: keeps state, refuses what the real one refuses, sends webhooks.

  tests/peers/thehive.py --version 5 --port 0 --webhook-url http://127.0.0.1:8080/v1/hooks/thehive

Prints {"port": N, "url": …} once it listens. Beside TheHive's own API it has, without a key:

  POST   /_peer/fail      {"n": 3, "how": HOW, "path": REGEX, "ms": 500, "user": LOGIN}: the next n
                          requests (of that user, if given) whose "METHOD path?name=NAME" matches; how: empty, truncated (chunks end early), half (half
                          the JSON, well framed), html, 400, 401, 403, 404, 500, close, slow, hang, lost (done,
                          and no answer)
  DELETE /_peer/fail      no more of them
  POST   /_peer/set       any of clock_step_ms (of its clock), index_delay_ms, webhook_url (list or null), webhook_version,
                          webhook_auth, hook_delay_ms [from, to], hook_lose (how many; -1: all),
                          hook_double (how many), hook_shuffle (so many are kept, then sent in any
                          order; 0: at once, with those that are kept), object_at_send, merge_deletes,
                          hide {LOGIN: [CASE ID]}: what that user's role does not show,
                          answer_max (octets of a list; what is larger is cut),
                          deny {LOGIN: [PERMISSION]}: manageComment, manageTask, manageObservable
  POST   /_peer/fill      {"cases": N, "observables": N, "deny": N, "description": TEXT, "first": N}: closed true
                          positives, counted from "first", with so many observables each; each "deny"th has the
                          response action enforce
  GET    /_peer/requests  [{"t", "method", "path", "name", "status", "user", "size"}], and of queries "asked",
                          the beginning of their body; DELETE forgets them
  GET    /_peer/hooks     [{"t", "action", "type", "id", "status", "ms"}]; status null: lost
  GET    /_peer/state     all cases and observables
  POST   /_peer/hook      {"body": …}: sends this body to the webhook's address as it is

One loop, one thread: an answer takes some 0.1 ms.
"""

import argparse
import asyncio
import base64
import json
import random
import re
import ssl
import sys
import time
from urllib.parse import parse_qs, unquote, urlsplit

import thehive_alerts
from thehive_store import CLOCK_STEP_MS, Refusal, Store, bad, missing, now_ms

HEAD_MAX, BODY_MAX = 65536, 64 * 1024 * 1024
REASONS = {200: "OK", 201: "Created", 204: "No Content", 207: "Multi-Status", 400: "Bad Request",
           401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 500: "Internal Server Error"}
V0_TYPES = {"Case": "case", "Observable": "case_artifact", "Task": "case_task",
            "Log": "case_task_log", "Comment": "comment"}
PERMISSIONS = {
    4: ["manageCase", "manageObservable", "manageTask", "manageAlert", "manageCustomField"],
    5: ["manageCase/create", "manageCase/update", "manageObservable", "manageComment", "manageTask",
        "manageAlert/create", "manageCustomField"]}
CHUNKED = object()


class Peer:
    def __init__(self, args):
        self.args = args
        self.store = Store(int(args.version), args.full_version or (
            "4.1.24-1" if args.version == "4" else "5.2.8-1"),
            [s.split(":") for s in args.status], [f.split(":") for f in args.custom_field],
            args.data_type)
        self.store.index_delay_ms = args.index_delay_ms
        self.users = {args.key: args.user}
        self.users.update({u.split(":", 1)[1]: u.split(":", 1)[0] for u in args.more_user})
        self.failures, self.requests, self.hooks, self.tasks = [], [], [], set()
        self.options = {"webhook_url": args.webhook_url, "webhook_version": args.webhook_version,
                        "webhook_auth": args.webhook_auth, "hook_delay_ms": [0, 0], "hook_lose": 0,
                        "hook_double": 0, "object_at_send": args.version == "4",
                        "merge_deletes": False, "deny": {}, "hide": {}, "hook_shuffle": 0,
                        "answer_max": 0}
        self.kept = []  # webhooks that wait to be shuffled
        self.next_request = 0

    # --- webhooks

    def emit(self, action, kind, thing, details, root, user, base=True, gone=False):
        """One audit; sent later, on a connection of its own, in any order, at most once."""
        if not self.options["webhook_url"]:
            return
        audit = {"id": self.store.id(), "at": now_ms(), "action": action, "kind": kind,
                 "thing": thing, "thing_id": thing["_id"], "details": details, "root": root,
                 "user": user, "base": base, "gone": gone,
                 "request": f"stand-in:{self.next_request}"}
        late = self.options["object_at_send"]
        bodies = [None if late else self.body(audit)]
        if self.options["hook_double"]:
            self.options["hook_double"] -= 1
            bodies *= 2
        for body in bodies:
            if self.options["hook_lose"]:
                self.options["hook_lose"] -= 1 if self.options["hook_lose"] > 0 else 0
                self.hook_log(audit, None, 0)
                continue
            self.kept.append((audit, body))
        if len(self.kept) >= self.options["hook_shuffle"]:
            self.flush()

    def flush(self):
        kept, self.kept = self.kept, []
        if self.options["hook_shuffle"]:
            random.shuffle(kept)
        for audit, body in kept:
            self.send(audit, body)

    def send(self, audit, body):
        for url in self.options["webhook_url"]:
            task = asyncio.get_running_loop().create_task(self.post(url, audit, body))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def hook_log(self, audit, status, ms):
        self.hooks.append({"t": time.time(), "action": audit.get("action"), "type": audit.get("kind"),
                           "id": audit.get("thing_id"), "status": status, "ms": ms})

    async def post(self, url, audit, body):
        low, high = self.options["hook_delay_ms"]
        if high:
            await asyncio.sleep(random.uniform(low, high) / 1000)
        text = json.dumps(body if body is not None else self.body(audit)).encode()
        parts, auth = urlsplit(url), self.options["webhook_auth"] or ""
        kind, _, word = auth.partition(":")
        header = {"bearer": f"Bearer {word}", "key": word,
                  "basic": "Basic " + base64.b64encode(word.encode()).decode()}.get(kind)
        head = (f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                "Content-Type: application/json\r\nUser-Agent: AHC/2.1\r\nConnection: close\r\n"
                + (f"Authorization: {header}\r\n" if header else "")
                + f"Content-Length: {len(text)}\r\n\r\n")
        begun, status = time.monotonic(), 0
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            writer.write(head.encode() + text)
            line = await asyncio.wait_for(reader.readline(), 120)
            status = int(line.split()[1]) if line else 0
            writer.close()
        except (OSError, ValueError, IndexError, asyncio.TimeoutError):
            pass  # only logged, never sent again
        self.hook_log(audit, status, round((time.monotonic() - begun) * 1000, 3))

    def thing_now(self, audit, api):
        store, thing = self.store, audit["thing"]
        if audit["gone"] or audit["kind"] == "Case" and audit["thing_id"] not in store.cases \
                or audit["kind"] == "Observable" and audit["thing_id"] not in store.observables:
            return None
        if audit["kind"] == "Case":
            return store.case_v1(thing, webhook=True) if api else store.case_v0(thing)
        if audit["kind"] == "Observable":
            return (store.observable_v1 if api else store.observable_v0)(thing, parent=True)
        return store.note_out(thing)

    def body(self, audit):
        api, four = int(self.options["webhook_version"]), self.store.version == 4
        thing = self.thing_now(audit, api)
        organisation = {"organisationId": "~4192", "organisation": self.args.organisation}
        kind = audit["kind"] if api else V0_TYPES[audit["kind"]]
        common = {"objectType": kind, "objectId": audit["thing_id"], "rootId": audit["root"],
                  "requestId": audit["request"], "details": audit["details"]}
        if four:
            operation = "update" if audit["action"] == "merge" and not api else audit["action"]
            return common | organisation | {
                "operation": operation, "base": audit["base"], "startDate": audit["at"],
                "object": thing or {}}
        context = thing
        if thing is None:
            context = {"_id": "~4192", "_type": "Organisation", "name": self.args.organisation} \
                if audit["kind"] == "Case" else {"_id": "~40976560", "_type": "Share"}
        out = common | {"_id": audit["id"], "context": context, "organisation": organisation}
        if thing is not None:
            out["object"] = thing
        if api:
            return out | {"_type": "Audit", "_createdAt": audit["at"], "_createdBy": audit["user"],
                          "action": audit["action"]}
        words = {"create": "Creation", "update": "Update", "delete": "Delete", "merge": "Merge"}
        return out | {"id": audit["id"], "_type": "audit", "base": audit["base"],
                      "createdAt": audit["at"], "createdBy": audit["user"],
                      "operation": words[audit["action"]], "startDate": now_ms()}

    # --- what the API does

    def case_patch(self, case, body, user, base=True):
        details = self.store.case_update(case, body, user)
        self.emit("update", "Case", case, details, case["_id"], user, base)

    def case_create(self, body, user):
        observables = body.pop("observables", []) if isinstance(body, dict) else []
        case = self.store.case_create(body, user)
        self.emit("create", "Case", case, self.store.case_v1(case), case["_id"], user)
        for item in observables:
            self.observable_create(case, item, user)
        return case

    def case_delete(self, case, user):
        self.store.case_delete(case)
        self.emit("delete", "Case", case, {"number": case["number"], "title": case["title"]}, "~4192",
                  user, gone=True)

    def merge(self, ids, user):
        if len(set(ids)) < 2:
            raise bad("Merging needs two cases")
        cases = [self.store.case(i) for i in ids]
        names = [{"_id": c["_id"], "number": c["number"], "title": c["title"]} for c in cases]
        new = self.store.merge(cases, user)
        self.emit("merge", "Case", new, {"cases": names}, new["_id"], user)
        if self.options["merge_deletes"]:
            for case in cases:
                self.emit("delete", "Case", case, {"number": case["number"], "title": case["title"]},
                          "~4192", user, base=False, gone=True)
        return new

    def observable_create(self, case, body, user):
        made = self.store.observable_create(case, body, user)
        for observable in made:
            self.emit("create", "Observable", observable, self.store.observable_v1(observable),
                      case["_id"], user)
        return made

    def observable_patch(self, observable, body, user, base=True):
        self.allowed("manageObservable", user, "Observable")
        details = self.store.observable_update(observable, body, user)
        self.emit("update", "Observable", observable, details, observable["_case"], user, base)

    def observable_delete(self, observable, user):
        case = self.store.observable_delete(observable, user)
        self.emit("delete", "Observable", observable,
                  {"dataType": observable["dataType"], "data": observable["data"]}, case["_id"], user,
                  gone=True)

    def bulk(self, find, patch, body, user):
        ids = body.pop("ids", None)
        if not isinstance(ids, list):
            raise bad("Missing attribute ids")
        for i, one in enumerate([find(x) for x in ids]):
            patch(one, dict(body), user, base=i == len(ids) - 1)

    # --- comments (5), tasks and their logs

    def allowed(self, permission, user, what):
        if permission not in self.options["deny"].get(user, ()):
            return
        if self.store.version == 4:  # 4 looks only among what the user may change
            raise missing(what)
        raise Refusal(403, "AuthorizationError", f"Your are not authorized to {permission}")

    def note_create(self, kind, body, user, case, **more):
        permission = "manageComment" if kind == "Comment" else "manageTask"
        self.allowed(permission, user, "Task" if kind == "Log" else "Case")
        note = self.store.note_create(kind, body, user, case["_id"], **more)
        self.emit("create", kind, note, {"author": user} if kind == "Comment" else
                  self.store.note_out(note), case["_id"], user)
        return self.store.note_out(note)

    def note_patch(self, kind, nid, body, user):
        where = self.store.notes(kind)
        self.allowed("manageComment" if kind == "Comment" else "manageTask", user, kind)
        if nid not in where:
            raise missing(kind)
        details = self.store.note_update(where[nid], body, user)
        self.emit("update", kind, where[nid], details, where[nid]["_case"], user)
        return self.store.note_out(where[nid])

    def note_delete(self, kind, nid, user):
        where = self.store.notes(kind)
        if nid not in where:
            raise missing(kind)
        note = where.pop(nid)
        self.emit("delete", kind, note, {}, note["_case"], user, gone=True)

    def task(self, tid):
        if tid not in self.store.tasks:
            raise missing(f"Task {tid}")
        return self.store.tasks[tid]

    def log_create(self, tid, body, user):
        task = self.task(tid)
        return self.note_create("Log", body, user, self.store.cases[task["_case"]], _task=tid)

    # --- routes

    def v1(self, method, path, body, user, query):
        store, five = self.store, self.store.version == 5
        if path == "status":
            return 200, self.status()
        if path == "query" and method == "POST":
            found, total = store.query(body, 1)
            return (200, found) if isinstance(found, int) else (CHUNKED, found, total)
        if path == "user/current" and method == "GET":
            denied = self.options["deny"].get(user, ())
            return 200, {"_id": "~8", "_type": "User", "login": user, "name": user,
                         "organisation": self.args.organisation,
                         "permissions": [p for p in PERMISSIONS[store.version] if p not in denied]}
        if path == "customField" and method == "GET":
            return 200, [{"_id": f"~{i}", "_type": "CustomField", "name": n, "displayName": n,
                          "description": "", "type": t, "options": [], "mandatory": False}
                         for i, (n, t) in enumerate(store.fields.items())]
        if path == "customField" and method == "POST":
            if "manageCustomField" in self.options["deny"].get(user, ()):
                raise Refusal(403, "AuthorizationError", "Your are not authorized to manageCustomField")
            needed = ("name", "displayName", "description", "type") + (("group",) if five else ())
            if any(not isinstance(body.get(n), str) for n in needed):
                raise bad("Missing attribute")
            if body["name"] in store.fields:
                raise Refusal(400, "CreateError", "CustomField already exist")
            store.fields[body["name"]] = body["type"]
            return 201, dict(body) | {"_id": store.id(), "_type": "CustomField"}
        if path == "case" and method == "POST":
            return 201, store.case_v1(self.case_create(body, user))
        if path == "case/_bulk" and method == "PATCH":
            return 204, self.bulk(store.case, self.case_patch, body, user)
        if path == "observable/_bulk" and method == "PATCH":
            return 204, self.bulk(store.observable, self.observable_patch, body, user)
        m = re.fullmatch(r"case/_merge/(.+)", path)
        if m and method == "POST":
            return 201, store.case_v1(self.merge(m[1].split(","), user))
        m = re.fullmatch(r"case/([^/]+)(?:/(observable|comment|task))?", path)
        if m:
            case = store.case(m[1])
            if m[2] == "observable" and method == "POST":
                return 201, [store.observable_v1(o) for o in self.observable_create(case, body, user)]
            if m[2] == "comment" and five and method == "POST":
                return 201, self.note_create("Comment", body, user, case)
            if m[2] == "task" and method == "POST":
                return 201, self.note_create("Task", body, user, case)
            if not m[2] and method == "GET":
                return 200, store.case_v1(case)
            if not m[2] and method == "PATCH":
                return 204, self.case_patch(case, body, user)
            if not m[2] and method == "DELETE":
                return 204, self.case_delete(case, user)
        m = re.fullmatch(r"task/([^/]+)/log", path)
        if m and method == "POST":
            return 201, self.log_create(m[1], body, user)
        m = re.fullmatch(r"(comment|log)/([^/]+)", path)
        if m and (five or m[1] == "log"):
            kind = m[1].capitalize()
            if method == "PATCH":
                return 204, self.note_patch(kind, m[2], body, user)
            if method == "DELETE":
                return 204, self.note_delete(kind, m[2], user)
        m = re.fullmatch(r"observable/([^/]+)", path)
        if m:
            observable = store.observable(m[1])
            if method == "GET":
                return 200, store.observable_v1(observable)
            if method == "PATCH":
                return 204, self.observable_patch(observable, body, user)
            if method == "DELETE":
                return 204, self.observable_delete(observable, user)
        found = thehive_alerts.route_v1(self, method, path, body, user)
        if found:
            return found
        raise missing("Page")

    def v0(self, method, path, body, user, query):
        store = self.store
        if store.version != 4:
            raise missing("Page")
        if path == "query" and method == "POST":
            found, total = store.query(body, 0)
            return (200, found) if isinstance(found, int) else (CHUNKED, found, total)
        if path == "case" and method == "POST":
            return 201, store.case_v0(self.case_create(body, user))
        if path == "case/_bulk" and method == "PATCH":
            ids = list(body.get("ids", []))
            self.bulk(store.case, self.case_patch, body, user)
            return 200, [store.case_v0(store.case(i)) for i in ids]
        if path == "case/artifact/_search" and method == "POST":
            return 200, self.v0_artifacts(body, query)
        m = re.fullmatch(r"case/artifact/([^/]+)", path)
        if m:
            observable = store.observable(m[1])
            if method == "GET":
                return 200, store.observable_v0(observable)
            if method == "PATCH":
                self.observable_patch(observable, body, user)
                return 200, store.observable_v0(observable)
            if method == "DELETE":
                return 204, self.observable_delete(observable, user)
        m = re.fullmatch(r"case/task/([^/]+)/log", path)
        if m and method == "POST" and m[1] != "log":
            return 201, self.log_create(m[1], body, user)
        m = re.fullmatch(r"case/task/log/([^/]+)", path)
        if m and method == "PATCH":
            return 200, self.note_patch("Log", m[1], body, user)
        m = re.fullmatch(r"case/([^/]+)(?:/(artifact|task|force|_merge/([^/]+)))?", path)
        if not m:
            found = thehive_alerts.route_v0(self, method, path, body, user)
            if not found:
                raise missing("Page")
            return found
        case = store.case(m[1])
        if m[3] and method == "POST":
            return 201, store.case_v0(self.merge([m[1], m[3]], user))
        if m[2] == "artifact" and method == "POST":
            return 201, [store.observable_v0(o) for o in self.observable_create(case, body, user)]
        if m[2] == "task" and method == "POST":
            return 201, self.note_create("Task", body, user, case)
        if m[2] == "force" and method == "DELETE":
            return 204, self.case_delete(case, user)
        if not m[2] and method == "GET":
            return 200, store.case_v0(case)
        if not m[2] and method == "PATCH":
            self.case_patch(case, body, user)
            return 200, store.case_v0(case)
        raise missing("Page")

    def v0_artifacts(self, body, query):
        try:
            cid = body["query"]["_parent"]["_query"]["_id"]
        except (KeyError, TypeError):
            raise bad("Expected a _parent query") from None
        case = self.store.cases.get(cid)
        found = [self.store.observable_v0(o) for o in self.store.of_case(cid)] if case else []
        span = query.get("range", ["0-10"])[0]
        if span != "all":
            low, _, high = span.partition("-")
            found = found[int(low):int(high)]
        return found

    def status(self):
        full = self.store.full_version
        out = {"versions": {"Scalligraph": "unknown", "TheHive": full, "Play": "2.8.8"},
               "connectors": {}, "config": {"authType": ["local", "key"], "capabilities": []}}
        return out if self.store.version == 4 else out | {"version": full}

    def user(self, headers):
        kind, _, word = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or word not in self.users:
            raise Refusal(401, "AuthenticationError", "Authentication failure")
        if headers.get("x-organisation", self.args.organisation) not in (
                self.args.organisation, "~4192"):
            raise Refusal(403, "AuthorizationError", "Organisation not found")
        return self.users[word]

    def answer(self, method, path, query, headers, body, log):
        store = self.store
        if path.startswith(self.args.prefix):
            path = path[len(self.args.prefix):]
        if path == "/api/v1/status/public" and store.version == 5 or path == "/api/status":
            return 200, self.status()
        if not path.startswith("/api/"):
            raise missing("Page")
        user = self.user(headers)
        store.hidden = set(self.options["hide"].get(user, ()))
        self.next_request += 1
        m = re.fullmatch(r"/api/(?:(v0|v1)/)?(.*)", path)
        if body:
            try:
                body = json.loads(body)
            except ValueError:
                raise bad("Invalid Json") from None
        try:
            return (self.v1 if m[1] == "v1" else self.v0)(method, m[2], body or {}, user, query)
        except (KeyError, TypeError, AttributeError) as error:
            raise bad(f"Invalid format: {error!r}") from None

    # --- the peer's own routes

    def own(self, method, path, body):
        what, body = path[len("/_peer/"):], json.loads(body) if body else {}
        if what == "fail":
            if method == "POST":
                self.failures.append({"n": 1, "path": ".", "ms": 500} | body)
            elif method == "DELETE":
                self.failures.clear()
            return 200, self.failures
        if what == "set" and method == "POST":
            if "index_delay_ms" in body:
                self.store.index_delay_ms = body.pop("index_delay_ms")
            if "clock_step_ms" in body:
                CLOCK_STEP_MS[0] = body.pop("clock_step_ms")
            if isinstance(body.get("webhook_url"), str):
                body["webhook_url"] = [body["webhook_url"]]
            unknown = set(body) - set(self.options)
            if unknown:
                raise bad(f"unknown: {unknown}")
            self.options.update(body)
            if not self.options["hook_shuffle"]:
                self.flush()
            return 200, self.options
        if what == "fill" and method == "POST":
            return 200, self.store.fill(self.args.user, **body)
        if what == "hook" and method == "POST":
            self.send({"action": "raw"}, body["body"])
            return 200, {}
        if what in ("requests", "hooks"):
            log = getattr(self, what)
            if method == "DELETE":
                log.clear()
            return 200, log
        if what == "state":
            return 200, {"cases": [self.store.case_v1(c) for c in self.store.cases.values()],
                         "observables": list(self.store.observables.values()),
                         "comments": list(self.store.comments.values()),
                         "tasks": list(self.store.tasks.values()),
                         "alerts": list(self.store.alerts.values()),
                         "logs": list(self.store.logs.values())}
        raise missing("Page")

    def failure(self, request, user):
        for failure in self.failures:
            if failure.get("user", user) == user and re.search(failure["path"], request):
                failure["n"] -= 1
                if failure["n"] == 0:
                    self.failures.remove(failure)
                return failure
        return None

    def handle(self, method, target, headers, body):
        """Returns the octets of the answer, whether to close, and how long to wait before."""
        parts = urlsplit(target)
        path, query = unquote(parts.path), parse_qs(parts.query)
        log = {"t": time.time(), "method": method, "path": path, "name": query.get("name", [None])[0],
               "status": 0, "user": self.users.get(headers.get("authorization", "").rpartition(" ")[2])}
        own = path.startswith("/_peer/")
        if not own:
            self.requests.append(log)
        if path.endswith("/query"):
            log["asked"] = body[:500].decode("utf-8", "replace")
        failure = None if own else self.failure(
            f"{method} {path}" + (f"?name={log['name']}" if log["name"] else ""), log["user"])
        how = failure["how"] if failure else None
        wait = failure["ms"] / 1000 if how == "slow" else 0
        if how in ("close", "hang"):
            return b"" if how == "close" else None, True, 0
        try:
            if how == "401":
                raise Refusal(401, "AuthenticationError", "Authentication failure")
            if how == "400":
                raise bad("Refused for a test")
            if how == "403":
                raise Refusal(403, "AuthorizationError", "Your are not authorized")
            if how == "404":
                raise missing("Case")
            if how == "500":
                raise Refusal(500, "InternalError", "on demand")
            if how == "html":
                log["status"] = 200
                return frame(200, b"<!doctype html><html><body>Sign in</body></html>", "text/html"), False, 0
            if how == "empty":
                log["status"] = 200
                return frame(200, b"[]"), False, 0
            done = self.own(method, path, body) if own else \
                self.answer(method, path, query, headers, body, log)
        except Refusal as refusal:
            done = refusal.status, refusal.body
        log["status"] = 200 if done[0] is CHUNKED else done[0]
        if how == "lost":
            return b"", True, 0
        text = b"" if done[0] == 204 else json.dumps(done[1]).encode()
        log["size"] = len(text)
        if done[0] is CHUNKED and 0 < self.options["answer_max"] < len(text):
            return chunked(text[:self.options["answer_max"]], None, end=False), True, wait
        if how == "half":
            text = text[:len(text) // 2]
        if how == "truncated":
            return chunked(text[:max(len(text) // 2, 1)], None, end=False), True, wait
        if done[0] is CHUNKED:
            return chunked(text, done[2]), False, wait
        return frame(done[0], text), False, wait


def frame(status, text, kind="application/json"):
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\n"
    if status != 204:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(text)}\r\n"
    return head.encode() + b"\r\n" + text


def chunked(text, total, end=True):
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    if total is not None:
        head += f"X-Total: {total}\r\n"
    parts = [text[i:i + 16384] for i in range(0, len(text), 16384)]
    out = b"".join(f"{len(p):x}\r\n".encode() + p + b"\r\n" for p in parts)
    return head.encode() + b"\r\n" + out + (b"0\r\n\r\n" if end else b"")


class Connection(asyncio.Protocol):
    def __init__(self, peer):
        self.peer, self.buffer, self.transport, self.busy = peer, bytearray(), None, False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        self.advance()

    def advance(self):
        while not self.busy:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self.buffer) > HEAD_MAX:
                    self.transport.abort()
                return
            lines = self.buffer[:end].decode("latin-1").split("\r\n")
            headers = {n.strip().lower(): v.strip() for n, _, v in (x.partition(":") for x in lines[1:])}
            length = int(headers.get("content-length", 0))
            if length > BODY_MAX or "transfer-encoding" in headers:
                self.transport.abort()
                return
            if headers.get("expect") and len(self.buffer) == end + 4 and length:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4:end + 4 + length])
            del self.buffer[:end + 4 + length]
            method, target = lines[0].split(" ")[:2]
            self.reply(*self.peer.handle(method, target, headers, body))

    def reply(self, text, close, wait):
        if text is None:  # hang
            self.busy = True
            return
        if wait:
            self.busy = True
            asyncio.get_running_loop().call_later(wait, self.late, text, close)
            return
        self.transport.write(text)
        if close:
            self.transport.close()

    def late(self, text, close):
        self.busy = False
        self.reply(text, close, 0)
        self.advance()


async def serve(args):
    peer = Peer(args)
    loop = asyncio.get_running_loop()
    tls = None
    if args.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(args.tls_cert, args.tls_key)
    server = await loop.create_server(lambda: Connection(peer), args.listen, args.port, backlog=1024,
                                      ssl=tls)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "url": f"{'https' if tls else 'http'}://{args.listen}:{port}{args.prefix}",
                      "version": peer.store.full_version}), flush=True)
    if args.until_eof:
        await loop.connect_read_pipe(lambda: Starter(loop), sys.stdin)
    await server.serve_forever()


class Starter(asyncio.Protocol):
    """Whoever started the stand-in holds its standard input: it ends with them."""

    def __init__(self, loop):
        self.loop = loop

    def connection_lost(self, _):
        for task in asyncio.all_tasks(self.loop):
            task.cancel()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--version", choices=["4", "5"], default="5", help="major version")
    add("--full-version", help="as the API reports it: 4.1.24-1, 5.1.2-1, …; 5.0 and 5.1 have four TLPs less")
    add("--listen", default="127.0.0.1")
    add("--port", type=int, default=9000, help="0: any free one")
    add("--tls-cert", metavar="PEM")
    add("--tls-key", metavar="PEM")
    add("--prefix", default="", help="path before /api")
    add("--key", default="stand-in-key", help="API key")
    add("--user", default="analyst@stand-in", help="who the key is")
    add("--more-user", action="append", default=[], metavar="LOGIN:KEY")
    add("--organisation", default="soc")
    add("--webhook-url", action="append", metavar="URL")
    add("--webhook-version", choices=["0", "1"], default="1")
    add("--webhook-auth", metavar="KIND:WORD", help="bearer:KEY, key:KEY or basic:USER:WORD")
    add("--status", action="append", default=[], metavar="NAME:STAGE", help="custom case status (5)")
    add("--custom-field", action="append", default=["stanch-action:string"], metavar="NAME:TYPE")
    add("--data-type", action="append", default=[], help="custom observable type")
    add("--index-delay-ms", type=int, default=0, help="fresh objects are not found this long")
    add("--until-eof", action="store_true", help="end when standard input ends")
    add("--quick", action="store_true", help="the default: no delays; here for scripts")
    args = parser.parse_args()
    try:
        asyncio.run(serve(args))
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
