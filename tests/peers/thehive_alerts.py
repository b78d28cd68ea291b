# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Alerts of the TheHive stand-in: created, found, promoted, merged into cases, as versions 4 and 5 do.

(type, source, sourceRef) is unique. A promotion imports the observables: in 5 each has an event of
its own, in 4 none has.
"""

import re

import thehive_store as ts

INPUT = {"type", "source", "sourceRef", "title", "description", "severity", "date", "tags", "flag",
         "tlp", "pap", "externalLink", "customFields", "caseTemplate", "follow"}
FIELDS = {"type", "source", "sourceRef", "title", "description", "severity", "date", "tags", "tlp", "pap",
          "_createdAt", "_updatedAt", "_createdBy", "_id"}
LIMITS = {"type": 32, "source": 64, "sourceRef": 128, "title": 512, "description": 1048576}


def field_known(store, field):
    return field in FIELDS | ({"stage", "status", "caseId"} if store.version == 5 else
                              {"read", "imported", "follow"})


def find(store, aid):
    if aid not in store.alerts:
        raise ts.missing(f"Alert {aid}")
    return store.alerts[aid]


def create(store, body, user, listed):
    """listed: what the observables are called in this API; None: it takes none."""
    observables = body.pop(listed, []) if listed else []
    store.checked(body, INPUT)
    for need, most in LIMITS.items():
        if not isinstance(body.get(need), str) or not 0 < len(body[need]) <= most:
            raise ts.bad(f"Invalid format for {need}")
    name = (body["type"], body["source"], body["sourceRef"])
    if any((a["type"], a["source"], a["sourceRef"]) == name for a in store.alerts.values()):
        raise ts.Refusal(400, "CreateError", f"Alert {';'.join(name)} already exist in organisation")
    trial = {}
    for item in observables:
        if item.get("dataType") not in store.types:
            raise ts.bad(f"ObservableType {item.get('dataType')} not found")
        trial[(item["dataType"], item["data"])] = item
    now, aid = ts.now_ms(), store.id()
    store.alerts[aid] = {
        "_id": aid, "_createdAt": now, "_createdBy": user, "_updatedAt": None, "_updatedBy": None,
        "severity": 2, "date": now, "tags": [], "tlp": 2, "pap": 2, "externalLink": None} | body | {
        "_alert": list(trial.values()), "_read": False, "stage": "New", "status": "New", "caseId": None}
    return store.alerts[aid]


def matches_value(store, alert, field):
    if not field_known(store, field):
        raise ts.bad(f"Unknown field {field}")
    return {"imported": alert["caseId"] is not None, "read": alert["_read"]}.get(field, alert.get(field))


def v1(store, alert):
    out = {k: v for k, v in alert.items() if v is not None and not (k[0] == "_" and k in ("_alert", "_read"))}
    out |= {"_type": "Alert", "follow": True, "customFields": [], "observableCount": len(alert["_alert"]),
            "extraData": {}}
    if store.version == 4:
        for key in ("stage", "status"):
            out.pop(key)
        out |= {"read": alert["_read"], "imported": alert["caseId"] is not None}
    return out


def v0(store, alert):
    out = {k.lstrip("_"): v for k, v in v1(store, alert).items() if k not in ("_id", "_type")}
    status = "Imported" if alert["caseId"] else "Ignored" if alert["_read"] else "New"
    return out | {"_id": alert["_id"], "id": alert["_id"], "_type": "alert", "status": status,
                  "case": alert["caseId"], "artifacts": alert["_alert"]}


def imported(peer, alert, case, user):
    """Into the case; what is there already stays as it is."""
    store = peer.store
    for item in alert["_alert"]:
        try:
            made = store.observable_create(case, dict(item), user)
        except ts.Refusal:
            continue
        if store.version == 5:
            for observable in made:
                peer.emit("create", "Observable", observable, store.observable_v1(observable), case["_id"],
                          user)
    alert.update(caseId=case["_id"], stage="Imported", status="Imported", _read=True, _updatedAt=ts.now_ms(),
                 _updatedBy=user)


def promote(peer, alert, user):
    """Asked twice, it makes a second case: whoever does is found out."""
    store = peer.store
    case = store.case_create({k: alert[k] for k in ("title", "description", "severity", "tags", "tlp", "pap")},
                             user)
    peer.emit("create", "Case", case, store.case_v1(case) | {"fromAlert": {
        k: alert[k] for k in ("_id", "type", "source", "sourceRef")}}, case["_id"], user)
    imported(peer, alert, case, user)
    return case


def merge(peer, alert, case, user):
    if alert["caseId"]:
        raise ts.bad("Alert is already imported")
    if peer.store.version == 4:  # 5: not known, so it does not
        case["description"] += f"\n  \n#### Merged with alert #{alert['sourceRef']} {alert['title']}\n\n" \
            + alert["description"]
    case["tags"] += [t for t in alert["tags"] if t not in case["tags"]]
    imported(peer, alert, case, user)
    peer.store.bump(case, user)
    peer.emit("merge", "Case", case, {"tags": case["tags"]}, case["_id"], user)
    return case


def route_v1(peer, method, path, body, user):
    store = peer.store
    if path == "alert" and method == "POST":
        return 201, v1(store, create(store, body, user, "observables" if store.version == 5 else None))
    m = re.fullmatch(r"alert/([^/]+)(?:/(case|merge)(?:/([^/]+))?)?", path)
    if not m:
        return None
    alert = find(store, m[1])
    if not m[2] and method == "GET":
        return 200, v1(store, alert)
    if not m[2] and method == "PATCH":
        alert.update(body)
        return 204, None
    if m[2] == "case" and method == "POST":
        return 201, store.case_v1(promote(peer, alert, user))
    if m[2] == "merge" and m[3] and method == "POST" and store.version == 5:
        return 200, store.case_v1(merge(peer, alert, store.case(m[3]), user))
    return None


def route_v0(peer, method, path, body, user):
    store = peer.store
    if path == "alert" and method == "POST":
        return 201, v0(store, create(store, body, user, "artifacts"))
    m = re.fullmatch(r"alert/([^/]+)/merge/([^/]+)", path)
    if m and method == "POST":
        return 200, store.case_v0(merge(peer, find(store, m[1]), store.case(m[2]), user))
    m = re.fullmatch(r"alert/([^/]+)/markAsRead", path)
    if m and method == "POST":
        find(store, m[1])["_read"] = True
        return 200, v0(store, find(store, m[1]))
    return None
