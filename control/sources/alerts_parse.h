// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What comes to POST /v1/hooks/alerts, made into alerts as they are kept and given to TheHive.
// Schemas: docs/api.md. An object with "sourceRef" is our own, one with "id" F5 AIP's
// (alerts_aip.h); {"alerts": [...]} has several of either.
//
// An alert as it is kept, a JSON object with exactly
//   type, source, ref    name it in TheHive (ref: its sourceRef)
//   title, description   the description has the contributing events, as they came
//   severity             1 to 4
//   tlp                  0 CLEAR, 1 GREEN, 2 AMBER, 3 AMBER+STRICT, 4 RED, whatever the version
//   pap                  0 to 3
//   date                 milliseconds since the epoch
//   tags, link ("": none)
//   origin               alerts of one origin join one open case
//   observables          [{"type", "data", "ioc", "message", "tags"}]
//   digest               of what was sent: the same alert sent again has the same
//
// Thread: any; pure.

#pragma once

#include <jansson.h>

#include <stdint.h>

#define ALERTS_BODY_MAX (1024 * 1024)
#define ALERTS_IN_BODY_MAX 100
#define ALERT_OBSERVABLES_MAX 500
#define ALERT_EVENTS_MAX 100 // shown; of more it is said how many
#define ALERT_REF_MAX 100 // octets; TheHive takes 128, and a changed alert has some behind it
#define ALERT_TITLE_MAX 512
#define ALERT_DESCRIPTION_MAX 65536
#define ALERT_MESSAGE_MAX 256

struct alert_rules {
	const char *source; // as configured
	const char *reserved_tag; // prefix of tags that are the analyst's: "stanch"
	char *const *tags; // added to each
	size_t n_tags;
	int tlp, pap; // where the alert says none
	int64_t now_ms;
};

// A new list. -EINVAL with a message that says where ("alerts[2].severity: ...") and what to do;
// -ENOMEM.
int alerts_parse(
	const struct alert_rules *,
	const json_t *body,
	json_t **ret_list,
	char ret_message[ALERT_MESSAGE_MAX]
);

// --- for alerts_aip.c

// Octets of the text up to `max`, between characters.
size_t alert_cut(const char *text, size_t max);
// The text with control characters as spaces, cut at `max` octets between characters. NULL: no
// memory.
json_t *alert_text(const char *text, size_t max);
// What is missing is filled in. Takes the reference.
int alert_finish(const struct alert_rules *, const json_t *sent, json_t *alert);
// A section of Markdown with up to ALERT_EVENTS_MAX of them. NULL: no memory. To be freed.
char *alert_events_text(const json_t *events);
// A date as people and programs send it: milliseconds or seconds since the epoch, also as text;
// RFC 3339. -EINVAL.
int alert_date_parse(const json_t *value, int64_t *ret_ms);
