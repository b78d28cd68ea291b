#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A stand-in for F5 Distributed Cloud: ip_prefix_sets, with state and with its refusals.

  tests/peers/f5xc.py --port 0 --token WORD        prints {"port": N} once it listens

Under /api/config/namespaces/{ns}/ip_prefix_sets as the published OpenAPI has it: create, replace
(with the hidden resource_version), get, list, delete (with its body). Beside it, without a token:

  POST   /_peer/fail      {"n": 3, "status": 429, "retry_after": 1, "method": "PUT", "path": "-v4-000"}: the next n
                          answers (to that method, to paths that end so);
                          {"how": "close"|"garbage"|"bad400"|"newline"|"late"|"slow"|"ignored"|"hold"}: no answer, control bytes
                          inside (of an answer, of a refusal), a bare line feed, done but not answered, or after half a
                          second, answered but not done, taken and answered at the end of all failures
  DELETE /_peer/fail      no more of them
  GET    /_peer/held      how many wait so
  GET    /_peer/requests  [{"method", "path", "status", "body"}]
  POST   /_peer/put       {"name", "object"}: an object that somebody else made
  POST   /_peer/refer     {"name": …, "kind": …}: an object of that kind refers to that set from now on, kind null: none
  POST   /_peer/policy    {"plural": "network_policys", "name": …, "object": …}: a policy in system, to be read
  POST   /_peer/token     {"token": …}: the only one taken from now on
  POST   /_peer/ipv6      {"on": true}: ipv6_prefixes are taken from now on
"""

import argparse
import ipaddress
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

POLICY = re.compile(r"^/api/config/namespaces/system/([a-z_]+_policy(?:_view)?s)/([^/?]+)$")
PATH = re.compile(r"^/api/config/namespaces/([^/?]+)/ip_prefix_sets(?:/([^/?]+))?(?:\?.*)?$")
NAME = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14}


class Refusal(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class State:
    def __init__(self, token, ipv6, omit_null, referrers_apart):
        self.token, self.ipv6, self.omit_null, self.referrers_apart = token, ipv6, omit_null, referrers_apart
        self.lock = threading.RLock()
        self.sets, self.requests, self.failures, self.referred = {}, [], [], {}
        self.policies = {}
        self.held, self.released = 0, threading.Event()
        self.version = 100

    def check_spec(self, spec):
        for key, version in (("ipv4_prefixes", 4), ("ipv6_prefixes", 6)):
            rows = spec.get(key, [])
            if version == 6 and rows and not self.ipv6:
                raise Refusal(400, "unknown field ipv6_prefixes")
            if len(rows) > 1024:
                raise Refusal(400, f"{key}: more than 1024 items")
            texts = [r.get(f"ipv{version}_prefix") for r in rows]
            if len(set(texts)) != len(texts):
                raise Refusal(400, f"{key}: items are not unique")
            for text, row in zip(texts, rows):
                try:
                    if not text or "/" not in text or ipaddress.ip_interface(text).version != version:
                        raise ValueError
                except ValueError:
                    raise Refusal(400, f"{key}: {text!r} is no prefix") from None
                if len(row.get("description", "").encode()) > 64:
                    raise Refusal(400, f"{key}: description longer than 64 bytes")
        for key in spec:
            if key not in ("ipv4_prefixes", "ipv6_prefixes"):
                raise Refusal(400, f"unknown field {key}")

    def check_metadata(self, metadata, namespace):
        if not NAME.match(metadata.get("name", "")):
            raise Refusal(400, "metadata.name: not DNS-1035")
        if metadata.get("namespace") != namespace:
            raise Refusal(400, "metadata.namespace differs from the path")
        for key, value in metadata.get("annotations", {}).items():
            if not 1 <= len(key) <= 64 or not 1 <= len(value) <= 1024:
                raise Refusal(400, f"annotation {key}: too long or empty")

    def store(self, namespace, name, body, was):
        self.version += 1
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        kept = {"metadata": body["metadata"], "spec": body.get("spec", {}),
                "resource_version": str(self.version),
                "system_metadata": {"uid": f"uid-{name}", "tenant": "stand-in",
                                    "creation_timestamp": was["system_metadata"]["creation_timestamp"] if was else now,
                                    "modification_timestamp": now if was else None}}
        self.sets[(namespace, name)] = kept
        return kept

    def create(self, namespace, body):
        metadata = body.get("metadata") or {}
        self.check_metadata(metadata, namespace)
        self.check_spec(body.get("spec") or {})
        if (namespace, metadata["name"]) in self.sets:
            raise Refusal(409, f"object {metadata['name']} already exists")
        kept = self.store(namespace, metadata["name"], body, None)
        return {k: kept[k] for k in ("metadata", "spec", "system_metadata")}

    def replace(self, namespace, name, body):
        was = self.get(namespace, name)
        self.check_metadata(body.get("metadata") or {}, namespace)
        self.check_spec(body.get("spec") or {})
        if body.get("resource_version") not in (None, "", was["resource_version"]):
            raise Refusal(409, "resourceVersion mismatch: the object was modified")
        self.store(namespace, name, body, was)
        return {}

    def get(self, namespace, name):
        if (namespace, name) not in self.sets:
            raise Refusal(404, f"object {name} not found")
        return self.sets[(namespace, name)]

    def shown(self, namespace, name, apart):
        kept = self.get(namespace, name)
        refers = []
        if name in self.referred and apart >= self.referrers_apart:
            refers = [{"kind": self.referred[name], "name": "egress", "namespace": "system", "tenant": "stand-in"}]
        return kept | {"create_form": None, "replace_form": None, "status": [],
                       "referring_objects": refers, "deleted_referred_objects": [],
                       "disabled_referred_objects": []}

    def delete(self, namespace, name, body):
        if body.get("name") != name or body.get("namespace") != namespace:
            raise Refusal(400, "the body must name the object")
        self.get(namespace, name)
        if body.get("fail_if_referred") and name in self.referred:
            raise Refusal(409, "object is referred to")
        del self.sets[(namespace, name)]
        return {}


def without_nulls(value):
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state = None

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
        if self.state.omit_null:
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
        s = self.state
        if self.path == "/_peer/requests":
            return s.requests
        if self.path == "/_peer/held":
            return s.held
        if self.path == "/_peer/fail":
            if self.command == "DELETE":
                s.failures.clear()
                s.released.set()
            else:
                s.failures.append(dict(body))
        elif self.path == "/_peer/put":
            s.version += 1
            s.sets[("system", body["name"])] = body["object"] | {
                "resource_version": str(s.version), "system_metadata": {"creation_timestamp": ""}}
        elif self.path == "/_peer/refer":
            if body.get("kind"):
                s.referred[body["name"]] = body["kind"]
            else:
                s.referred.pop(body["name"], None)
        elif self.path == "/_peer/policy":
            s.policies[(body["plural"], body["name"])] = body["object"]
        elif self.path == "/_peer/token":
            s.token = body["token"]
        elif self.path == "/_peer/ipv6":
            s.ipv6 = body["on"]
        elif self.path == "/_peer/sets":
            return [v for _, v in sorted(s.sets.items())]
        return {}

    def failure(self):
        for f in self.state.failures:
            if f.get("method", self.command) == self.command and self.path.endswith(f.get("path", "")):
                f["n"] = f.get("n", 1) - 1
                if f["n"] <= 0:
                    self.state.failures.remove(f)
                return f
        return None

    def act(self, body):
        match = PATH.match(self.path)
        if self.headers.get("Authorization") != f"APIToken {self.state.token}":
            raise Refusal(401, "not authenticated")
        policy = POLICY.match(self.path)
        if policy and self.command == "GET" and policy.groups() in self.state.policies:
            return self.state.policies[policy.groups()]
        if not match:
            raise Refusal(404, "no such path")
        namespace, name = match.groups()
        s = self.state
        if self.command == "POST" and not name:
            return s.create(namespace, body)
        if self.command == "PUT" and name:
            return s.replace(namespace, name, body)
        if self.command == "DELETE" and name:
            return s.delete(namespace, name, body)
        if self.command == "GET" and name:
            return s.shown(namespace, name, self.path.endswith("=GET_RSP_FORMAT_REFERRING_OBJECTS"))
        if self.command == "GET":
            return {"items": [{"name": n, "namespace": ns} for ns, n in sorted(s.sets) if ns == namespace],
                    "errors": []}
        raise Refusal(400, "method not allowed here")

    def serve(self):
        status, value, extra, raw = 200, {}, {}, None
        with self.state.lock:
            body = None
            try:
                body = self.body()
                if self.path.startswith("/_peer/"):
                    return self.answer(200, self.peer(body))
                f = self.failure()
                if f and f.get("how") == "close":
                    self.close_connection = True
                    return None
                if f and f.get("how") == "slow":
                    time.sleep(0.5)
                if f and f.get("how") == "hold":
                    self.state.held += 1
                    self.state.lock.release()  # others go on
                    self.state.released.wait(60)
                    self.state.lock.acquire()
                if f and "status" in f:
                    extra = {"Retry-After": str(f["retry_after"])} if "retry_after" in f else {}
                    raise Refusal(f["status"], "told to fail")
                if f and f.get("how") == "bad400":
                    status, raw = 400, b'{"code":3,"message":"a\x01b\xffc"}'
                    return self.answer(status, {}, {}, raw)
                value = {} if f and f.get("how") == "ignored" else self.act(body)
                if f and f.get("how") == "late":
                    self.close_connection = True
                    return None
                if f and f.get("how") == "newline":
                    raw = json.dumps(value).encode().replace(b'"metadata"', b'"note": "a\nb", "metadata"', 1)
                if f and f.get("how") == "garbage":
                    raw = json.dumps(value).encode().replace(b'"metadata"', b'"note": "a\x01b\xff", "metadata"', 1)
            except Refusal as refusal:
                status = refusal.status
                value = {"code": CODES.get(status, 13), "message": str(refusal), "details": [
                    {"type_url": "type.googleapis.com/ves.io.stdlib.server.error.Error", "value": "\u0001"}]}
            finally:
                if not self.path.startswith("/_peer/"):
                    self.state.requests.append(
                        {"method": self.command, "path": self.path, "status": status, "body": body})
            return self.answer(status, value, extra, raw)

    do_GET = do_POST = do_PUT = do_DELETE = serve


def main():
    parser = argparse.ArgumentParser(description="stand-in for F5 Distributed Cloud")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="stand-in-token")
    parser.add_argument("--no-ipv6", action="store_true", help="refuse ipv6_prefixes, as published")
    parser.add_argument("--omit-null", action="store_true",
                        help="no nulls, which F5's own document does not allow for: behind Prism")
    parser.add_argument("--referrers-apart", action="store_true",
                        help="referring_objects only in the response format of that name")
    args = parser.parse_args()
    Handler.state = State(args.token, not args.no_ipv6, args.omit_null, args.referrers_apart)
    server = ThreadingHTTPServer(("127.0.0.1", args.port), Handler)
    server.daemon_threads = True
    print(json.dumps({"port": server.server_port}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # ends with whoever started it


if __name__ == "__main__":
    main()
