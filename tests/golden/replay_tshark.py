#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""stanch-replay against tshark's view of recorded captures: who says that a packet goes where.

  replay_tshark.py STANCH_REPLAY

Of every capture, half of the destinations of all IP layers are denied. Packets that are judged by
the list must get the verdict and the entry that follow from the destinations which tshark sees, the
innermost first, with the IPv4 addresses inside those of IPv6; those that are not must have the
reasons below. Skipped without the captures or tshark.
"""

import collections
import glob
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
JUDGED = ("NO_ENTRY", "ENTRY_DENY")
COMPARED_MIN = 10000  # packets of all captures together
# End of the capture's name → reasons that are no matter of the list, and of how many packets.
ODD = {
    "802.1ad_QinQ": {"LINK_PROTOCOL": 2},  # ARP
    "frag-eth-vlan-ip-tcp-syn": {"FRAGMENT_FIRST_SHORT": 1, "FRAGMENT_TCP_OFFSET_1": 1},
    "frag-ip-tcp-syn": {"FRAGMENT_FIRST_SHORT": 1, "FRAGMENT_TCP_OFFSET_1": 1},
    "defrag-af-confusion-spray-h8": {"FRAGMENT_TUNNEL": 4096},  # made to confuse who puts them together
    "wrong-version-ipv4-ipv6": {"BAD_IP_VERSION": 1},  # inside a tunnel
    "wrong-version-ipv6-ipv6": {"BAD_IP_VERSION": 1},
    "toobig": {"LINK_PROTOCOL": 3},  # neighbour discovery of the hosts
    "covert_send6": {"LINK_PROTOCOL": 1},
    "frag-1": {"LINK_PROTOCOL": 4},
    "frag-15": {"LINK_PROTOCOL": 5, "BAD_IPV6_EXTENSION": 1},
    "frag-26": {"LINK_PROTOCOL": 3, "BAD_L4_HEADER": 1},
    "frag-36": {"LINK_PROTOCOL": 3, "BAD_IPV6_EXTENSION": 1},
    "ipv6_39_byte_header": {"BAD_IPV6_HEADER": 1},
    "ipv6_frag6_negative_len": {"BAD_IPV6_HEADER": 1},
    "ipv6_jumbogram_1": {"BAD_IPV6_HEADER": 1},
}


def skip(why):
    print("SKIP", why)
    sys.exit(77)


def embedded(text):
    """The IPv4 addresses inside a destination of IPv6."""
    a = ipaddress.ip_address(text)
    if a.version == 4:
        return []
    if a in ipaddress.ip_network("64:ff9b::/96"):
        return [str(ipaddress.IPv4Address(a.packed[12:]))]
    inside = [a.ipv4_mapped, a.sixtofour, *reversed(a.teredo or ())]
    return [str(i) for i in inside if i]


def destinations(capture):
    """Destinations by packet as tshark sees them, the innermost layer's first. What an ICMP error
    quotes goes nowhere."""
    out = subprocess.run(
        ["tshark", "-n", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-r", capture,
         "-T", "fields", "-E", "occurrence=a", "-E", "separator=|", "-E", "aggregator=,",
         "-e", "frame.number", "-e", "ip.dst", "-e", "ipv6.dst", "-e", "frame.protocols"],
        capture_output=True, text=True, check=True).stdout
    found = {}
    for line in out.splitlines():
        number, ip, ipv6, protocols = line.split("|")
        of = {"ip": iter(ip.split(",")), "ipv6": iter(ipv6.split(","))}
        layers = []
        for p in protocols.split(":"):
            if p in ("icmp", "icmpv6"):
                break
            if p in of:
                layers.append(next(of[p], None))
        found[int(number)] = [a for l in reversed(layers) if l for a in [l, *embedded(l)]]
    return found


def replay(program, rules, capture):
    done = subprocess.run([program, "--rules", rules, "--json", capture], capture_output=True,
                          text=True)
    if done.returncode:
        raise SystemExit(f"FAIL {capture}: status {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(program, rules, capture):
    """Returns what is wrong, as lines, and how many packets were compared."""
    seen, wrong, compared = destinations(capture), [], 0
    odd = collections.Counter()
    denied = sorted({d for all_of_it in seen.values() for d in all_of_it})[::2]
    with open(rules, "w", encoding="ascii") as f:
        f.write("\n".join(denied) + "\n")
    rows = replay(program, rules, capture)
    if len(rows) != len(seen):
        wrong.append(f"{len(rows)} packets, tshark sees {len(seen)}")
    for row in rows:
        entry = next((d for d in seen[row["packet"]] if d in denied), None)
        expected = ("drop" if entry else "forward", entry)
        if row["reason"] not in JUDGED:
            odd[row["reason"]] += 1
        elif (row["verdict"], row.get("entry")) != expected:
            wrong.append(f"packet {row['packet']} to {seen[row['packet']]}: {row}")
        else:
            compared += 1
    name = os.path.basename(capture).removesuffix(".pcap")
    listed = next((ODD[end] for end in ODD if name.endswith("_" + end)), {})
    if odd != listed:
        wrong.append(f"reasons {dict(odd)}, expected {listed}")
    return wrong, compared


def main():
    data = os.environ.get("STANCH_SHARED_DATA", os.path.join(ROOT, "..", "shared", "data"))
    captures = sorted(glob.glob(os.path.join(data, "pcaps", "*.pcap")))
    if not captures:
        skip(f"no captures in {data}/pcaps")
    if not shutil.which("tshark"):
        skip("no tshark")
    failed = total = 0
    with tempfile.TemporaryDirectory() as folder:
        for capture in captures:
            wrong, compared = compare(sys.argv[1], os.path.join(folder, "deny.rules"), capture)
            total += compared
            for line in wrong[:10]:
                print("FAIL", os.path.basename(capture), line)
            failed += bool(wrong)
    print(f"{len(captures)} captures, {total} packets compared, {failed} captures differ")
    if total < COMPARED_MIN:
        print(f"FAIL fewer than {COMPARED_MIN} packets compared")
    return failed != 0 or total < COMPARED_MIN


if __name__ == "__main__":
    sys.exit(main())
