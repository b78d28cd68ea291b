# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""State of the TheHive stand-in: cases, observables, their renderings, the query language.

Fields are kept once, in the names of API v1; v0() and v1() render them as versions 4 and 5 do.
"""

import bisect
import copy
import gc
import itertools
import time

import thehive_alerts

CLOSING = ["Indeterminate", "FalsePositive", "TruePositive", "Other", "Duplicated"]
IMPACT = ["NoImpact", "WithImpact", "NotApplicable"]
DATA_TYPES = ["url", "other", "user-agent", "regexp", "mail-subject", "registry", "mail",
              "autonomous-system", "domain", "ip", "uri_path", "filename", "hash", "fqdn",
              "hostname"]
FIELD_TYPES = ["string", "integer", "float", "boolean", "date"]
TLP_LABELS = ["CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"]
PAP_LABELS = ["CLEAR", "GREEN", "AMBER", "RED"]
V4_OPERATORS = {"_and", "_or", "_not", "_any", "_lt", "_gt", "_lte", "_gte", "_ne", "_is",
                "_startsWith", "_endsWith", "_id", "_between", "_in", "_contains", "_like"}
V5_OPERATORS = V4_OPERATORS | {"_eq", "_has", "_match"}


class Refusal(Exception):
    """An answer of the API that is no success."""

    def __init__(self, status, kind, message):
        super().__init__(message)
        self.status, self.body = status, {"type": kind, "message": message}


def bad(message):
    return Refusal(400, "BadRequest", message)


def missing(what):
    return Refusal(404, "NotFoundError", f"{what} not found")


CLOCK_STEP_MS = [0]  # TheHive's clock may stand elsewhere, and step


def now_ms():
    return int(time.time() * 1000) + CLOCK_STEP_MS[0]


class Store:
    def __init__(self, version, full_version, statuses=(), fields=(), types=()):
        self.version, self.full_version = version, full_version
        self.four_tlp = version == 5 and not full_version.startswith(("5.0", "5.1"))
        self.cases, self.observables, self.numbers = {}, {}, {}
        self.tasks, self.logs, self.comments, self.alerts = {}, {}, {}, {}
        self.hidden = set()  # cases that who asks must not see
        self.made, self.in_order = [], True  # when cases were made; each was, after the one before
        self.next_id, self.next_number, self.index_delay_ms = 40960, 1, 0
        self.statuses = {"New": "New", "InProgress": "InProgress"}
        self.statuses.update({s: "Closed" for s in CLOSING})
        self.statuses.update(dict(statuses))
        self.fields = dict(fields)
        self.types = set(DATA_TYPES) | set(types)

    def id(self):
        self.next_id += 8
        return f"~{self.next_id}"

    # --- finding

    def case(self, id_or_number):
        found = self.cases.get(id_or_number) or self.cases.get(self.numbers.get(str(id_or_number)))
        if not found or found["_id"] in self.hidden:
            raise missing(f"Case {id_or_number}")
        return found

    def observable(self, oid):
        if oid not in self.observables or self.observables[oid].get("_case") in self.hidden:
            raise missing(f"Observable {oid}")
        return self.observables[oid]

    def of_case(self, cid):
        return [self.observables[o] for o in self.cases[cid]["_observables"]]

    def visible(self, thing):
        if thing.get("_case", thing["_id"]) in self.hidden:
            return False
        made = thing["_createdAt"] if "_createdAt" in thing else thing["createdAt"]
        return not 0 <= now_ms() - made < self.index_delay_ms

    # --- checking input

    def checked(self, body, allowed):
        if not isinstance(body, dict):
            raise bad("Expected a JSON object")
        for key, value in body.items():
            if key.split(".")[0] not in allowed:
                raise bad(f"Unknown attribute {key}")
            top = {"tlp": 4 if self.four_tlp else 3, "pap": 3, "severity": 4}.get(key)
            if top is not None and not (type(value) is int and 0 <= value <= top):
                raise bad(f"Invalid format for {key}: {value}")
            if key in ("tags", "addTags", "removeTags") and (
                    not isinstance(value, list) or any(len(t) > 128 for t in value)):
                raise bad(f"Invalid format for {key}")
            if key in ("ioc", "sighted", "flag", "ignoreSimilarity") and not isinstance(value, bool):
                raise bad(f"Invalid format for {key}: {value}")
            if key == "impactStatus" and value not in IMPACT:
                raise bad(f"Invalid impactStatus {value}")
        return body

    def field_set(self, case, name, value, order=None):
        if name not in self.fields:
            raise missing(f"CustomField {name}")
        kind = self.fields[name]
        if isinstance(value, dict):
            order = value.get("order", order)
            value = next((value[t] for t in FIELD_TYPES if t in value), None)
        good = {"string": str, "integer": int, "float": (int, float), "boolean": bool, "date": int}
        if value is not None and not isinstance(value, (good[kind], list)):
            raise bad(f"CustomField {name} is a {kind}")
        old = case["_fields"].get(name)
        case["_fields"][name] = {
            "id": old["id"] if old else self.id(), "type": kind, "value": value,
            "order": order if order is not None else old["order"] if old else len(case["_fields"])}

    def fields_set(self, case, value):
        if isinstance(value, list):
            case["_fields"] = {}
            for item in value:
                self.field_set(case, item["name"], item.get("value"), item.get("order"))
            return
        if self.version == 4:
            case["_fields"] = {}  # "erases the ones not named"
        for name, inner in value.items():
            self.field_set(case, name, inner)

    # --- cases

    CASE_INPUT = {"title", "description", "severity", "startDate", "endDate", "tags", "flag", "tlp",
                  "pap", "status", "summary", "assignee", "owner", "impactStatus", "customFields"}

    def case_create(self, body, user, now=None):
        body = self.checked(body, self.CASE_INPUT | {"caseTemplate", "observables"})
        for need in ("title", "description"):
            if not isinstance(body.get(need), str):
                raise bad(f"Missing attribute {need}")
        now, cid = now_ms() if now is None else now, self.id()
        case = {"_id": cid, "_createdAt": now, "_createdBy": user, "_updatedAt": None,
                "_updatedBy": None, "number": self.next_number, "title": body["title"],
                "description": body["description"], "severity": body.get("severity", 2),
                "startDate": body.get("startDate", now), "endDate": None, "closedDate": None,
                "newDate": now, "inProgressDate": None, "tags": list(body.get("tags", [])),
                "flag": body.get("flag", False), "tlp": body.get("tlp", 2), "pap": body.get("pap", 2),
                "status": "Open" if self.version == 4 else "New", "resolutionStatus": None,
                "stage": "New", "impactStatus": None, "summary": None, "assignee": user,
                "_observables": [], "_fields": {}}
        if "customFields" in body:
            self.fields_set(case, body["customFields"])
        self.next_number += 1
        self.in_order &= not self.made or self.made[-1] <= now
        self.made.append(now)
        self.cases[cid] = case
        self.numbers[str(case["number"])] = cid
        return case

    def fill(self, user, cases, observables=0, deny=0, description="…", first=0):
        """So many closed true positives, as if ten a second had been made; addresses of 20.0.0.0/8 and on."""
        action = next(iter(self.fields))
        for i in range(first, first + cases):
            case = self.case_create({"title": f"Case {i}", "description": description, "customFields": {
                action: "enforce" if deny and i % deny == 0 else "none"}}, user, now_ms() - 20000000 + i * 100)
            self.status_set(case, "Resolved" if self.version == 4 else "TruePositive")
            case.update(_updatedAt=case["_createdAt"], _updatedBy=user)
            if self.version == 4:
                case["resolutionStatus"] = "TruePositive"
            for j in range(i * observables, (i + 1) * observables):
                oid = self.id()
                self.observables[oid] = {
                    "_id": oid, "_createdAt": case["_createdAt"], "_createdBy": user, "_updatedAt": None,
                    "_updatedBy": None, "dataType": "ip", "startDate": case["_createdAt"], "tlp": 2, "pap": 2,
                    "data": f"{20 + (j >> 24)}.{j >> 16 & 255}.{j >> 8 & 255}.{j & 255}", "tags": [], "ioc": True,
                    "sighted": False, "message": "", "ignoreSimilarity": False, "_case": case["_id"]}
                case["_observables"].append(oid)
        gc.freeze()  # millions of them: not to be walked again and again
        return {"cases": len(self.cases), "observables": len(self.observables)}

    def case_update(self, case, body, user):
        """Applies a PATCH; returns the details of its audit."""
        allowed = set(self.CASE_INPUT)
        allowed |= {"resolutionStatus"} if self.version == 4 else {
            "addTags", "removeTags", "taskRule", "observableRule"}
        self.checked(body, allowed)
        trial, details = copy.deepcopy(case), {}
        for key, value in body.items():
            if key == "status":
                details.update(self.status_set(trial, value))
            elif key == "resolutionStatus":
                if value not in CLOSING:
                    raise bad(f"ResolutionStatus {value} not found")
                trial[key] = details[key] = value
            elif key == "addTags":
                trial["tags"] += [t for t in value if t not in trial["tags"]]
                details["tags"] = trial["tags"]
            elif key == "removeTags":
                trial["tags"] = [t for t in trial["tags"] if t not in value]
                details["tags"] = trial["tags"]
            elif key == "customFields":
                self.fields_set(trial, value)
                details[key] = self.fields_v0(trial)
            elif key.startswith("customFields."):
                name, _, kind = key[len("customFields."):].rpartition(".")
                if kind not in FIELD_TYPES or not name:
                    name = key[len("customFields."):]
                self.field_set(trial, name, value)
                details["customFields"] = {name: self.fields_v0(trial)[name]}
            else:
                trial["assignee" if key == "owner" else key] = details[key] = value
        trial.update(_updatedAt=now_ms(), _updatedBy=user)
        case.update(trial)
        return details

    def status_set(self, case, value):
        now = now_ms()
        if self.version == 4:
            if value not in ("Open", "Resolved", "Duplicated"):
                raise bad(f"Invalid status {value}")
            details = {"status": value}
            if value != "Open":
                case["endDate"] = details["endDate"] = now
            case["status"] = value  # resolutionStatus and the rest stay after a reopening
            return details
        if value not in self.statuses:
            raise bad(f"CaseStatus {value} not found")
        details, stage = {"status": value}, self.statuses[value]
        if stage != case["stage"]:
            details["stage"] = stage
            if stage == "Closed":
                case["endDate"] = details["endDate"] = now
                case["closedDate"] = case["closedDate"] or now
        if stage == "InProgress":
            case["inProgressDate"] = case["inProgressDate"] or now
        case.update(status=value, stage=stage)
        return details

    def case_delete(self, case):
        for oid in case["_observables"]:
            self.observables.pop(oid, None)
        self.notes_move(case["_id"], None)
        if self.cases.pop(case["_id"], None):
            self.in_order = False  # `made` has one more
        self.numbers.pop(str(case["number"]), None)

    def merge(self, cases, user):
        """A new, open case with all observables under their old ids; the originals are gone."""
        new = self.case_create({"title": " / ".join(c["title"] for c in cases), "description": "merged",
                                "tags": sorted({t for c in cases for t in c["tags"]}),
                                "tlp": max(c["tlp"] for c in cases),
                                "pap": max(c["pap"] for c in cases)}, user)
        for case in cases:
            for name, field in case["_fields"].items():
                new["_fields"].setdefault(name, field)
            for oid in case["_observables"]:
                self.observables[oid]["_case"] = new["_id"]
                new["_observables"].append(oid)
            case["_observables"] = []
            self.notes_move(case["_id"], new["_id"])
            self.case_delete(case)
        return new

    # --- observables

    OBSERVABLE_INPUT = {"dataType", "data", "message", "tags", "ioc", "sighted", "tlp", "pap",
                        "startDate", "ignoreSimilarity"}

    def observable_create(self, case, body, user):
        allowed = self.OBSERVABLE_INPUT - ({"pap"} if self.version == 4 else set())
        body = self.checked(body, allowed)
        kind, data = body.get("dataType"), body.get("data")
        if kind not in self.types:
            raise bad(f"ObservableType {kind} not found")
        if not data:
            raise bad("Missing attribute data")
        values, made = data if isinstance(data, list) else [data], []
        for value in values:
            if any(o["dataType"] == kind and o["data"] == value for o in self.of_case(case["_id"])):
                raise Refusal(400, "CreateError", "Observable already exist")
            now, oid = now_ms(), self.id()
            self.observables[oid] = {
                "_id": oid, "_createdAt": now, "_createdBy": user, "_updatedAt": None,
                "_updatedBy": None, "dataType": kind, "data": value, "startDate": now,
                "tlp": body.get("tlp", 2), "pap": body.get("pap", 2),
                "tags": list(body.get("tags", [])), "ioc": body.get("ioc", False),
                "sighted": body.get("sighted", False), "message": body.get("message", ""),
                "ignoreSimilarity": body.get("ignoreSimilarity", False), "_case": case["_id"]}
            case["_observables"].append(oid)
            made.append(self.observables[oid])
        self.bump(case, user)
        return made

    def bump(self, case, user):
        if self.version == 5:  # in 4 the case's _updatedAt stays
            case.update(_updatedAt=now_ms(), _updatedBy=user)

    def observable_update(self, observable, body, user):
        allowed = (self.OBSERVABLE_INPUT - {"dataType", "data", "startDate"}) | (
            {"addTags", "removeTags", "sightedAt"} if self.version == 5 else set())
        self.checked(body, allowed - ({"pap"} if self.version == 4 else set()))
        details = {}
        for key, value in body.items():
            if key in ("addTags", "removeTags"):
                tags = [t for t in observable["tags"] if key == "addTags" or t not in value]
                observable["tags"] = tags + [t for t in value if key == "addTags" and t not in tags]
                details["tags"] = observable["tags"]
            else:
                observable[key] = details[key] = value
        observable.update(_updatedAt=now_ms(), _updatedBy=user)
        return details

    def observable_delete(self, observable, user):
        case = self.cases[observable["_case"]]
        case["_observables"].remove(observable["_id"])
        del self.observables[observable["_id"]]
        self.bump(case, user)
        return case

    # --- comments, tasks, logs

    def notes(self, kind):
        return {"Comment": self.comments, "Task": self.tasks, "Log": self.logs}[kind]

    def note_create(self, kind, body, user, cid, **more):
        inputs = {"Task": {"title", "group", "status", "description", "assignee", "flag", "order"}}
        body = self.checked(body, inputs.get(kind, {"message"}))
        need = "title" if kind == "Task" else "message"
        if not isinstance(body.get(need), str) or not body[need]:
            raise bad(f"Missing attribute {need}")
        if body.get("status", "Waiting") not in ("Waiting", "InProgress", "Completed", "Cancel"):
            raise bad("Invalid status")
        made = {"createdAt": now_ms(), "createdBy": user} if kind == "Comment" else {
            "_createdAt": now_ms(), "_createdBy": user}
        note = {"_id": self.id(), "_type": kind, "_case": cid} | made | dict(body) | more
        if kind == "Comment":
            note |= {"isEdited": False, "extraData": {}}
        self.notes(kind)[note["_id"]] = note
        self.bump(self.cases[cid], user)
        return note

    def note_update(self, note, body, user):
        self.checked(body, {"message"})
        if not isinstance(body.get("message"), str):
            raise bad("Missing attribute message")
        note["message"] = body["message"]
        if note["_type"] == "Comment":
            note |= {"isEdited": True, "updatedAt": now_ms(), "updatedBy": user}
        else:
            note |= {"_updatedAt": now_ms(), "_updatedBy": user}
        self.bump(self.cases[note["_case"]], user)
        return dict(body)

    def notes_move(self, old, new):
        """A case is gone; what was noted in it goes to another, or with it."""
        for where in (self.comments, self.tasks, self.logs):
            for note in [n for n in where.values() if n["_case"] == old]:
                if new:
                    note["_case"] = new
                else:
                    del where[note["_id"]]

    def note_out(self, note):
        return {k: v for k, v in note.items() if k not in ("_case", "_task")}

    # --- rendering

    def fields_v0(self, case):
        return {n: {f["type"]: f["value"], "order": f["order"]} for n, f in case["_fields"].items()}

    def case_v1(self, case, webhook=False):
        out = {k: v for k, v in case.items() if v is not None and k not in ("_observables", "_fields")}
        out["_type"] = "Case"
        out["customFields"] = [{"_id": f["id"], "name": n, "type": f["type"], "value": f["value"],
                                "order": f["order"]} for n, f in case["_fields"].items()]
        if self.version == 4:
            for key in ("stage", "newDate", "closedDate", "inProgressDate"):
                out.pop(key, None)
            for field in out["customFields"]:
                field["description"] = field["name"]
            return out | {"extraData": {}}
        out.pop("resolutionStatus", None)
        out |= {"extraData": {}, "userPermissions": []}
        if webhook or self.four_tlp:
            out["customFieldValues"] = {n: f["value"] for n, f in case["_fields"].items()}
        if self.four_tlp:
            out |= {"tlpLabel": TLP_LABELS[case["tlp"]], "papLabel": PAP_LABELS[case["pap"]],
                    "severityLabel": ["", "LOW", "MEDIUM", "HIGH", "CRITICAL"][case["severity"]],
                    "access": {"_kind": "OrganisationAccessKind"}}
        return out

    def case_v0(self, case):
        out = {"_id": case["_id"], "id": case["_id"], "_type": "case", "caseId": case["number"],
               "createdAt": case["_createdAt"], "createdBy": case["_createdBy"],
               "updatedAt": case["_updatedAt"], "updatedBy": case["_updatedBy"],
               "owner": case["assignee"], "customFields": self.fields_v0(case), "permissions": [],
               "stats": {}}
        for key in ("title", "description", "severity", "startDate", "endDate", "impactStatus",
                    "resolutionStatus", "tags", "flag", "tlp", "pap", "status", "summary"):
            out[key] = case[key]
        if self.version == 4:
            return {k: v for k, v in out.items() if v is not None}
        closed = case["stage"] == "Closed"
        return out | {"status": "Resolved" if closed else "Open", "extendedStatus": case["status"],
                      "stage": case["stage"], "resolutionStatus": None,
                      "customFieldValues": {n: f["value"] for n, f in case["_fields"].items()}}

    def observable_v1(self, observable, parent=False):
        out = {k: v for k, v in observable.items() if v is not None and k != "_case"}
        out |= {"_type": "Observable", "reports": {}, "extraData": {}}
        if self.version == 4:
            out.pop("pap")
        elif self.four_tlp:
            out |= {"tlpLabel": TLP_LABELS[out["tlp"]], "papLabel": PAP_LABELS[out["pap"]]}
        if parent:
            key = "Case" if self.version == 4 else "case"
            out[key] = self.case_v1(self.cases[observable["_case"]], webhook=True)
        return out

    def observable_v0(self, observable, parent=False):
        out = {"_id": observable["_id"], "id": observable["_id"], "_type": "case_artifact",
               "createdAt": observable["_createdAt"], "createdBy": observable["_createdBy"],
               "updatedAt": observable["_updatedAt"], "updatedBy": observable["_updatedBy"],
               "reports": {}, "stats": {}}
        for key in ("dataType", "data", "startDate", "tlp", "tags", "ioc", "sighted", "message",
                    "ignoreSimilarity") + (("pap",) if self.version == 5 else ()):
            out[key] = observable[key]
        if parent:
            out["case"] = self.case_v0(self.cases[observable["_case"]])
        return {k: v for k, v in out.items() if v is not None}

    def render(self, thing, api):
        if "_alert" in thing:
            return getattr(thehive_alerts, f"v{api}")(self, thing)
        kind = "observable" if "dataType" in thing else "case"
        if thing.get("_type") in ("Comment", "Task", "Log"):
            return self.note_out(thing)
        if "_case" not in thing and "_observables" not in thing:
            return thing
        return getattr(self, f"{kind}_v{api}")(thing)

    # --- the query language

    def matches(self, thing, condition, api):
        if not isinstance(condition, dict):
            raise bad("A filter is an object")
        for name, inner in condition.items():
            if name in ("_name",):
                continue
            if name not in (V4_OPERATORS if self.version == 4 else V5_OPERATORS):
                raise bad(f"Invalid filter: {name}")
            if not self.matches_one(thing, name, inner, api):
                return False
        return True

    def matches_one(self, thing, name, inner, api):
        if name == "_any":
            return True
        if name == "_and":
            return all(self.matches(thing, c, api) for c in inner)
        if name == "_or":
            return any(self.matches(thing, c, api) for c in inner)
        if name == "_not":
            return not self.matches(thing, inner, api)
        if name == "_id":
            return thing["_id"] == inner
        if name in ("_contains", "_has"):
            field = inner if isinstance(inner, str) else inner["_field"]
            return self.value(thing, field) is not None
        if "_field" not in inner:
            (field, value), = inner.items()
            inner = {"_field": field, "_value": value}
        has = self.value(thing, inner["_field"])
        if isinstance(has, list) and name in ("_in", "_is", "_eq", "_startsWith"):  # of a set: any
            return any(self.matches_value(one, name, inner) for one in has)
        return self.matches_value(has, name, inner)

    def matches_value(self, has, name, inner):
        want = inner.get("_value")
        if name == "_in":
            return has in inner["_values"]
        if name == "_between":
            return has is not None and inner["_from"] <= has < inner["_to"]
        if name in ("_is", "_eq"):
            return has == want
        if name == "_ne":
            return has != want
        if has is None:
            return False
        if name in ("_lt", "_gt", "_lte", "_gte"):
            return {"_lt": has < want, "_gt": has > want, "_lte": has <= want,
                    "_gte": has >= want}[name]
        if name == "_startsWith":
            return str(has).startswith(want)
        if name == "_endsWith":
            return str(has).endswith(want)
        return want.strip("*") in str(has)  # _like, _match

    def value(self, thing, field):
        if "_alert" in thing:
            return thehive_alerts.matches_value(self, thing, field)
        field = {"createdAt": "_createdAt", "updatedAt": "_updatedAt", "caseId": "number"}.get(field, field)
        if field.startswith("customFields."):
            return thing.get("_fields", {}).get(field.split(".")[1], {}).get("value")
        if field.startswith("_") and field not in thing or field not in thing:
            if field not in ("closedDate", "endDate", "stage", "resolutionStatus"):
                raise bad(f"Unknown field {field}")
        if field == "resolutionStatus" and self.version == 5 or field == "stage" and self.version == 4:
            raise bad(f"Unknown field {field}")
        return thing.get(field)

    def start(self, op):
        name = op.get("_name")
        if name == "listCase":
            return [c for c in self.cases.values() if self.visible(c)]
        if name == "listObservable":
            return [o for o in self.observables.values() if self.visible(o)]
        if name == "getCase":
            try:
                return [self.case(op["idOrName"])]
            except Refusal:
                return []  # an invisible case is an empty traversal
        if name == "getObservable":
            found = self.observables.get(op["idOrName"])
            return [found] if found and found.get("_case") not in self.hidden else []
        if name in ("getTask", "getComment", "getLog"):
            found = self.notes(name[3:]).get(op["idOrName"])
            return [found] if found else []
        if name == "listCaseStatus" and self.version == 5:
            return [{"value": s, "stage": g, "order": i, "colour": "#000", "hidden": False}
                    for i, (s, g) in enumerate(self.statuses.items())]
        if name == "listAlert":
            return [a for a in self.alerts.values() if self.visible(a)]
        if name == "listAudit":
            return []
        raise bad(f"Unknown query {name}")

    def by_ids(self, steps):
        """Cases named by their ids: found without a walk over 100,000 of them. Else None."""
        if len(steps) < 2 or steps[0] != {"_name": "listCase"} or set(steps[1]) != {"_name", "_or"} \
                or any(set(c) != {"_id"} for c in steps[1]["_or"]):
            return None
        found = (self.cases.get(c["_id"]) for c in steps[1]["_or"])
        return [c for c in found if c and self.visible(c)]

    def page_of_cases(self, steps, api):
        """Cases made since, in that order: found without a walk over 100,000 of them. Else None."""
        try:
            start, condition, order, page = steps
            since = next(c["_gte"]["_value"] for c in condition["_and"]
                         if c.get("_gte", {}).get("_field") == "_createdAt")
        except (ValueError, KeyError, TypeError, StopIteration):
            return None
        if start != {"_name": "listCase"} or order != {"_name": "sort", "_fields": [{"_createdAt": "asc"}]} \
                or page.get("_name") != "page" or "extraData" in page or not self.in_order:
            return None
        cases = itertools.islice(self.cases.values(), bisect.bisect_left(self.made, since), None)
        found = (c for c in cases if self.visible(c) and self.matches(c, condition, api))
        return list(itertools.islice(found, page["from"], page["to"]))

    def query(self, body, api):
        """Returns (list, or a number for count; total or None)."""
        if not isinstance(body, dict) or not isinstance(body.get("query"), list) or not body["query"]:
            raise bad("Expected {\"query\": […]}")
        if set(body) - ({"query", "excludeFields"} if self.version == 5 else {"query"}):
            raise bad("Unknown attribute beside query")
        steps, total = body["query"], None
        page = self.page_of_cases(steps, api)
        if page is not None:
            return self.rendered(page, body, api), None
        ids = self.by_ids(steps)
        things = self.start(steps[0]) if ids is None else ids
        for op in steps[1 if ids is None else 2:]:
            name = op.get("_name")
            if name == "filter":
                things = [t for t in things if self.matches(t, op, api)]
            elif name == "sort":
                for spec in reversed(op["_fields"]):
                    (field, order), = spec.items()
                    things.sort(key=lambda t: (self.value(t, field) is not None,
                                               self.value(t, field) or 0), reverse=order == "desc")
            elif name == "page":
                if "total" in op.get("extraData", []):
                    total = len(things) if self.version == 5 else min(len(things), 1000)
                things = things[op["from"]:op["to"]]
            elif name in ("count", "limitedCount"):
                return len(things), None
            elif name == "observables":
                things = [o for c in things for o in self.of_case(c["_id"]) if self.visible(o)]
            elif name in ("comments", "tasks", "logs"):
                if name == "comments" and self.version == 4:
                    raise bad("Unknown query comments")
                parent = "_task" if name == "logs" else "_case"
                ids = {t["_id"] for t in things}
                things = [n for n in self.notes(name[:-1].capitalize()).values()
                          if n[parent] in ids and self.visible(n)]
            elif name == "case":
                ids = list(dict.fromkeys(o["_case"] for o in things))
                things = [self.cases[i] for i in ids]
            else:
                raise bad(f"Unknown query {name}")
        return self.rendered(things, body, api), total

    def rendered(self, things, body, api):
        out = [self.render(t, api) for t in things]
        for key in body.get("excludeFields", []):
            for thing in out:
                thing.pop(key, None)
        return out
