#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A stand-in for F5 Distributed Cloud: ip_prefix_sets and enhanced_firewall_policys, with state and with its refusals.

  tests/peers/f5xc.py --port 0 --token WORD        prints {"port": N} once it listens

Under /api/config/namespaces/{ns}/ as the published OpenAPI has it: create, replace (with the hidden
resource_version), get, list, delete (with its body). Beside it, without a token:

  POST   /_peer/fail      {"n": 3, "status": 429, "retry_after": 1, "method": "PUT", "path": "-v4-000", "skip": 2}: the next n
                          answers (to that method, to paths that end so, after skip of them);
                          {"how": "close"|"garbage"|"bad400"|"newline"|"late"|"slow"|"ignored"|"hold"|"holdlate"}: no answer,
                          control bytes inside (of an answer, of a refusal), a bare line feed, done but not answered, or
                          after half a second, answered but not done, taken (or done) and answered at the end of all failures;
                          {"percent": 5, "seed": 1, "status": 429}: of all from now on
  DELETE /_peer/fail      no more of them
  GET    /_peer/held      how many wait so
  GET    /_peer/requests  [{"method", "path", "status", "body", "at"}]
  POST   /_peer/put       {"name", "object", "plural"}: an object that somebody else made
  POST   /_peer/remove    {"name", "plural"}: somebody deleted it
  POST   /_peer/refer     {"name": …, "kind": …}: an object of that kind refers to that set from now on, kind null: none
  POST   /_peer/passes    {"destination": …, "proto": "TCP", "port": 443}: do all sites let it out?
  POST   /_peer/token     {"token": …}: the only one taken from now on
  POST   /_peer/ipv6      {"on": true}: ipv6_prefixes are taken from now on
  POST   /_peer/limit     {"per_minute": 60, "burst": 15}: the tenant's from now on
  POST   /_peer/poison    ["203.0.113.9/32"]: sets with these prefixes are refused
"""

import argparse
import json
import random
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from f5xc_store import CODES, POLICIES, SETS, Refusal, Store

PATH = re.compile(r"^/api/config/namespaces/([^/?]+)/([a-z0-9_]+)(?:/([^/?]+))?(?:\?.*)?$")


class Bucket:
    """The tenant's rate limit."""

    def __init__(self, per_minute, burst):
        self.rate, self.burst, self.tokens, self.at = per_minute / 60, burst, burst, time.monotonic()

    def take(self):
        now = time.monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.rate and self.tokens < 1:
            raise Refusal(429, "operation has been rejected as it is happening too frequently")
        self.tokens -= 1


def without_nulls(value):
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store = token = omit_null = bucket = None
    requests, failures, released, held = [], [], threading.Event(), [0]

    def log_message(self, *_):
        pass

    def body(self):
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        try:
            return json.loads(data) if data else {}
        except ValueError:
            raise Refusal(400, "body is not JSON") from None

    def answer(self, status, value, extra=None, raw=None):
        if self.omit_null:
            value = without_nulls(value)
        # Compact, as JSON.stringify writes it: Prism encodes anew and keeps the length announced.
        data = raw if raw is not None else json.dumps(value, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for key, text in (extra or {}).items():
            self.send_header(key, text)
        self.end_headers()
        self.wfile.write(data)

    def peer(self, body):
        s, what = self.store, self.path[len("/_peer/"):]
        if what == "requests":
            return self.requests
        if what == "held":
            return self.held[0]
        if what == "sets":
            return [v for (_, plural, _), v in sorted(s.objects.items()) if plural == SETS]
        if what == "policies":
            return [v for (_, plural, _), v in sorted(s.objects.items()) if plural == POLICIES]
        if what == "passes":
            return s.passes(body["destination"], body.get("proto", "TCP"), body.get("port", 443))
        if what == "fail" and self.command == "DELETE":
            self.failures.clear()
            self.released.set()
        elif what == "fail":
            self.released.clear()
            self.failures.append(dict(body) | {"random": random.Random(body.get("seed", 0))})
        elif what == "put":
            s.keep("system", body.get("plural", SETS), body["name"], body["object"])
        elif what == "remove":
            s.objects.pop(("system", body.get("plural", SETS), body["name"]), None)
        elif what == "refer":
            if body.get("kind"):
                s.referred[body["name"]] = body["kind"]
            else:
                s.referred.pop(body["name"], None)
        elif what == "token":
            Handler.token = body["token"]
        elif what == "ipv6":
            s.ipv6 = body["on"]
        elif what == "limit":
            Handler.bucket = Bucket(body["per_minute"], body["burst"])
        elif what == "poison":
            s.poison[:] = body
        return {}

    def failure(self):
        for f in self.failures:
            if f.get("method", self.command) != self.command or not self.path.endswith(f.get("path", "")):
                continue
            if "percent" in f:
                if f["random"].random() * 100 < f["percent"]:
                    return f
                continue
            if f.get("skip", 0) > 0:
                f["skip"] -= 1
                continue
            f["n"] = f.get("n", 1) - 1
            if f["n"] <= 0:
                self.failures.remove(f)
            return f
        return None

    def act(self, body):
        match = PATH.match(self.path)
        if self.headers.get("Authorization") != f"APIToken {self.token}":
            raise Refusal(401, "not authenticated")
        if not match:
            raise Refusal(404, "no such path")
        namespace, plural, name = match.groups()
        s = self.store
        if self.command == "GET" and name:
            return s.shown(namespace, plural, name, self.path.endswith("=GET_RSP_FORMAT_REFERRING_OBJECTS"))
        if plural not in (SETS, POLICIES):
            raise Refusal(403, "only sets and policies are yours to write")
        if self.command == "GET":
            return s.listed(namespace, plural)
        if self.command == "POST" and not name:
            return s.create(namespace, plural, body)
        if self.command == "PUT" and name:
            return s.replace(namespace, plural, name, body)
        if self.command == "DELETE" and name:
            return s.delete(namespace, plural, name, body)
        raise Refusal(400, "method not allowed here")

    def hold(self):
        self.held[0] += 1
        self.store.lock.release()  # others go on
        self.released.wait(60)
        self.store.lock.acquire()

    def acted(self, f, body):
        """(status, value, extra, raw), or None: no answer."""
        how, status, raw = (f or {}).get("how"), 200, None
        if how == "close":
            return None
        if how == "slow":
            time.sleep(0.5)
        if how == "hold":
            self.hold()
        if f and "status" in f:
            raise Refusal(f["status"], "told to fail")
        if how == "bad400":
            return 400, {}, {}, b'{"code":3,"message":"a\x01b\xffc"}'
        self.bucket.take()
        try:
            value = {} if how == "ignored" else self.act(body)
        finally:
            if how == "holdlate":
                self.hold()
        if how == "late":
            return None
        if how in ("newline", "garbage"):
            note = b'"note": "a\nb", "metadata"' if how == "newline" else b'"note": "a\x01b\xff", "metadata"'
            raw = json.dumps(value).encode().replace(b'"metadata"', note, 1)
        return status, value, {}, raw

    def serve(self):
        with self.store.lock:
            body, answer, f = None, (500, {}, {}, None), None
            try:
                body = self.body()
                if self.path.startswith("/_peer/"):
                    return self.answer(200, self.peer(body))
                f = self.failure()
                answer = self.acted(f, body)
            except Refusal as refusal:
                extra = {"Retry-After": str(f["retry_after"])} if f and "retry_after" in f else {}
                answer = (refusal.status, {
                    "code": CODES.get(refusal.status, 13), "message": str(refusal), "details": [
                        {"type_url": "type.googleapis.com/ves.io.stdlib.server.error.Error", "value": "\u0001"}]},
                    extra, None)
            if not self.path.startswith("/_peer/"):
                self.requests.append({"method": self.command, "path": self.path, "body": body, "at": time.time(),
                                      "status": answer[0] if answer else 0})
        if not answer:
            self.close_connection = True
            return None
        return self.answer(*answer)

    do_GET = do_POST = do_PUT = do_DELETE = serve


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # who asked was killed
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description="stand-in for F5 Distributed Cloud")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="stand-in-token")
    parser.add_argument("--no-ipv6", action="store_true", help="refuse ipv6_prefixes, as published")
    parser.add_argument("--omit-null", action="store_true",
                        help="no nulls, which F5's own document does not allow for: behind Prism")
    parser.add_argument("--referrers-apart", action="store_true",
                        help="referring_objects only in the response format of that name")
    parser.add_argument("--per-minute", type=int, default=0, help="requests; 0: no limit")
    parser.add_argument("--burst", type=int, default=15)
    args = parser.parse_args()
    Handler.store, Handler.token = Store(not args.no_ipv6, args.referrers_apart), args.token
    Handler.omit_null, Handler.bucket = args.omit_null, Bucket(args.per_minute, args.burst)
    server = Server(("127.0.0.1", args.port), Handler)
    print(json.dumps({"port": server.server_port}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # ends with whoever started it


if __name__ == "__main__":
    main()
