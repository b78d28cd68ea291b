# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The objects of the F5 XC stand-in: what it takes, what it refuses with 400, 404 and 409, who refers to whom, and
what its sites would do with a packet: policies in their order, the first rule that matches, and drop where none does.
"""

import ipaddress
import re
import threading
import time

NAME = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
LABEL = re.compile(r"^[A-Za-z0-9_.-]{0,63}$")
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14}
SETS, POLICIES = "ip_prefix_sets", "enhanced_firewall_policys"
METADATA = {"name", "namespace", "labels", "annotations", "description", "disable"}
ACTIONS = {"allow", "deny", "insert_service"}
SOURCES = {"all_sources", "inside_sources", "outside_sources", "source_prefix_list", "source_ip_prefix_set",
           "source_label_selector", "source_aws_vpc_ids"}
DESTINATIONS = {"all_destinations", "outside_destinations", "inside_destinations", "destination_prefix_list",
                "destination_ip_prefix_set", "destination_label_selector", "destination_aws_vpc_ids", "all_sli_vips",
                "all_slo_vips"}
TRAFFIC = {"all_traffic", "all_tcp_traffic", "all_udp_traffic", "applications", "protocol_port_range"}
LISTS = ("enhanced_firewall_policies", "network_policies", "forward_proxy_policies")


class Refusal(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def bad(message):
    raise Refusal(400, message)


def known(value, keys, where):
    if not isinstance(value, dict):
        bad(f"{where} is no object")
    for key in value:
        if key not in keys:
            bad(f"{where}: unknown field {key}")


def text(value, limit, where):
    if not isinstance(value, str) or len(value.encode()) > limit:
        bad(f"{where} is no text of at most {limit} bytes")
    return value


def prefix(value, version, where):
    try:
        if not isinstance(value, str) or "/" not in value or ipaddress.ip_interface(value).version != version:
            raise ValueError
    except ValueError:
        bad(f"{where}: {value!r} is no prefix")


def unique(values, where):
    if len({str(v) for v in values}) != len(values):
        bad(f"{where}: items are not unique")


def one_of(value, keys, where, needed=False):
    there = [k for k in keys if k in value]
    if len(there) > 1 or (needed and not there):
        bad(f"{where}: {len(there)} of {sorted(keys)} are set")
    return there[0] if there else None


class Store:
    def __init__(self, ipv6, referrers_apart):
        self.ipv6, self.referrers_apart = ipv6, referrers_apart
        self.lock = threading.RLock()
        self.objects, self.referred = {}, {}
        self.poison = []  # prefixes that are refused for no visible reason
        self.version = 100

    # --- what is taken

    def check_set(self, spec):
        known(spec, {"ipv4_prefixes", "ipv6_prefixes"}, "spec")
        for key, version in (("ipv4_prefixes", 4), ("ipv6_prefixes", 6)):
            rows = spec.get(key, [])
            if version == 6 and rows and not self.ipv6:
                bad("unknown field ipv6_prefixes")
            if len(rows) > 1024:
                bad(f"{key}: more than 1024 items")
            for row in rows:
                known(row, {f"ipv{version}_prefix", "description"}, key)
                prefix(row.get(f"ipv{version}_prefix"), version, key)
                text(row.get("description", ""), 64, f"{key}: description")
                if row[f"ipv{version}_prefix"] in self.poison:
                    bad(f"{key}: {row[f'ipv{version}_prefix']} is not to our taste")
            unique([r[f"ipv{version}_prefix"] for r in rows], key)

    def check_policy(self, spec):
        known(spec, {"rule_list", "allow_all", "deny_all"}, "spec")
        if one_of(spec, ("rule_list", "allow_all", "deny_all"), "spec", True) != "rule_list":
            return
        known(spec["rule_list"], {"rules"}, "rule_list")
        rules = spec["rule_list"].get("rules", [])
        if len(rules) > 128:
            bad("rules: more than 128 items")
        for rule in rules:
            known(rule, {"metadata", "advanced_action", "label_matcher"} | ACTIONS | SOURCES | DESTINATIONS | TRAFFIC,
                  "rule")
            known(rule.get("metadata"), {"name", "description", "disable"}, "rule.metadata")
            if not NAME.match(rule["metadata"].get("name", "")):
                bad("rule.metadata.name: not DNS-1035")
            text(rule["metadata"].get("description", ""), 256, "rule.metadata.description")
            one_of(rule, ACTIONS, "rule", True)
            for keys in (SOURCES, DESTINATIONS, TRAFFIC):
                one_of(rule, keys, "rule")
            self.check_match(rule)
        unique([r["metadata"]["name"] for r in rules], "rules")

    def check_match(self, rule):
        listed = rule.get("destination_prefix_list")
        if listed is not None:
            known(listed, {"prefixes"}, "destination_prefix_list")
            if not 1 <= len(listed.get("prefixes", [])) <= 128:
                bad("prefixes: 1 to 128 items")
            for one in listed["prefixes"]:
                prefix(one, 4, "prefixes")
            unique(listed["prefixes"], "prefixes")
        ref = rule.get("destination_ip_prefix_set")
        if ref is not None:
            known(ref, {"ref"}, "destination_ip_prefix_set")
            if len(ref.get("ref", [])) != 1:
                bad("ref: exactly one item")
            known(ref["ref"][0], {"kind", "tenant", "namespace", "name", "uid"}, "ref")
            if (ref["ref"][0].get("namespace"), SETS, ref["ref"][0].get("name")) not in self.objects:
                bad(f"ref: {ref['ref'][0].get('name')} does not exist")
        ports = rule.get("protocol_port_range")
        if ports is not None:
            known(ports, {"protocol", "port_ranges"}, "protocol_port_range")
            if ports.get("protocol") not in ("TCP", "UDP", "ICMP", "ALL"):
                bad("protocol: unknown")
            for one in ports.get("port_ranges", []):
                if not re.match(r"^\d{1,5}(-\d{1,5})?$", one):
                    bad(f"port_ranges: {one}")

    def check(self, namespace, plural, body):
        known(body, {"metadata", "spec", "resource_version"}, "body")
        metadata = body.get("metadata")
        known(metadata, METADATA, "metadata")
        if not NAME.match(metadata.get("name", "")):
            bad("metadata.name: not DNS-1035")
        if metadata.get("namespace") != namespace:
            bad("metadata.namespace differs from the path")
        text(metadata.get("description", ""), 1200, "metadata.description")
        for key, value in (metadata.get("labels") or {}).items():
            if not 1 <= len(key) <= 63 or not LABEL.match(value):
                bad(f"label {key}")
        for key, value in (metadata.get("annotations") or {}).items():
            if not 1 <= len(key) <= 64 or not 1 <= len(value) <= 1024:
                bad(f"annotation {key}: too long or empty")
        if not isinstance(body.get("spec"), dict):
            bad("spec is missing")
        (self.check_set if plural == SETS else self.check_policy)(body["spec"])

    # --- the API's verbs

    def keep(self, namespace, plural, name, body, was=None):
        self.version += 1
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.objects[(namespace, plural, name)] = kept = {
            "metadata": body["metadata"], "spec": body.get("spec", {}), "resource_version": str(self.version),
            "system_metadata": {"uid": f"uid-{name}", "tenant": "stand-in",
                                "creation_timestamp": was["system_metadata"]["creation_timestamp"] if was else now,
                                "modification_timestamp": now if was else None}}
        return kept

    def create(self, namespace, plural, body):
        self.check(namespace, plural, body)
        name = body["metadata"]["name"]
        if (namespace, plural, name) in self.objects:
            raise Refusal(409, f"object {name} already exists")
        kept = self.keep(namespace, plural, name, body)
        return {k: kept[k] for k in ("metadata", "spec", "system_metadata")}

    def get(self, namespace, plural, name):
        if (namespace, plural, name) not in self.objects:
            raise Refusal(404, f"object {name} not found")
        return self.objects[(namespace, plural, name)]

    def replace(self, namespace, plural, name, body):
        was = self.get(namespace, plural, name)
        self.check(namespace, plural, body)
        if body.get("resource_version") not in (None, "", was["resource_version"]):
            raise Refusal(409, "resourceVersion mismatch: the object was modified")
        self.keep(namespace, plural, name, body, was)
        return {}

    def shown(self, namespace, plural, name, apart):
        kept = self.get(namespace, plural, name)
        refers = self.referrers(plural, name) if apart >= self.referrers_apart else []
        return kept | {"create_form": None, "replace_form": None, "status": [], "referring_objects": refers,
                       "deleted_referred_objects": [], "disabled_referred_objects": []}

    def delete(self, namespace, plural, name, body):
        known(body, {"name", "namespace", "fail_if_referred"}, "body")
        if body.get("name") != name or body.get("namespace") != namespace:
            bad("the body must name the object")
        self.get(namespace, plural, name)
        if self.referrers(plural, name):
            raise Refusal(409, "object is referred to")
        del self.objects[(namespace, plural, name)]
        return {}

    def listed(self, namespace, plural):
        return {"items": [{"name": n, "namespace": ns, "labels": o["metadata"].get("labels") or {}}
                          for (ns, p, n), o in sorted(self.objects.items()) if (ns, p) == (namespace, plural)],
                "errors": []}

    # --- who refers

    def referrers(self, plural, name):
        found = []
        if name in self.referred:
            found.append({"kind": self.referred[name], "name": "egress"})
        for (_, of, who), other in sorted(self.objects.items()):
            if plural == SETS and of == POLICIES and name in self.sets_of(other):
                found.append({"kind": "enhanced_firewall_policy", "name": who})
            if plural == POLICIES and of not in (SETS, POLICIES) and any(name in x for x in self.lists(other["spec"])):
                found.append({"kind": of[:-1], "name": who})
        return [f | {"namespace": "system", "tenant": "stand-in"} for f in found]

    @staticmethod
    def sets_of(policy):
        rules = policy["spec"].get("rule_list", {}).get("rules", [])
        return [ref["name"] for r in rules for ref in r.get("destination_ip_prefix_set", {}).get("ref", [])]

    def lists(self, value):
        """The names in every ordered list of policies, wherever the spec has them."""
        for key, inner in value.items():
            if key in LISTS and isinstance(inner, list):
                yield [ref["name"] for ref in inner]
            elif isinstance(inner, dict):
                yield from self.lists(inner)

    # --- what a packet would meet

    def passes(self, destination, proto="TCP", port=443):
        """Do all sites let it out? One that lists no policy does."""
        return all(self.chain(names, destination, proto, port)
                   for (_, plural, _), o in self.objects.items() if plural not in (SETS, POLICIES)
                   for names in self.lists(o["spec"]) if names)

    def chain(self, names, destination, proto, port):
        for name in names:
            policy = self.objects.get(("system", POLICIES, name))
            if not policy or policy["metadata"].get("disable"):
                continue
            if "allow_all" in policy["spec"] or "deny_all" in policy["spec"]:
                return "allow_all" in policy["spec"]
            for rule in policy["spec"].get("rule_list", {}).get("rules", []):
                if self.matches(rule, ipaddress.ip_address(destination), proto, port):
                    return "allow" in rule
        return False  # F5: "If none of the rules match, the default behavior is to drop the packet silently"

    def matches(self, rule, destination, proto, port):
        ranges = rule.get("protocol_port_range")
        if ranges and not (ranges["protocol"] in (proto, "ALL") and any(
                int(r.split("-")[0]) <= port <= int(r.split("-")[-1]) for r in ranges["port_ranges"])):
            return False
        if "destination_prefix_list" in rule:
            return any(destination in ipaddress.ip_network(p, False)
                       for p in rule["destination_prefix_list"]["prefixes"])
        if "destination_ip_prefix_set" in rule:
            kept = self.objects.get(("system", SETS, rule["destination_ip_prefix_set"]["ref"][0]["name"]))
            rows = kept["spec"].get(f"ipv{destination.version}_prefixes", []) if kept else []
            return any(destination in ipaddress.ip_network(r[f"ipv{destination.version}_prefix"], False) for r in rows)
        return True
