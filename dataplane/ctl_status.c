// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/ctl_status.h"

#include "rules/text.h"

#include <jansson.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct view {
	struct wire_status status;
	const uint8_t *rows;
	char digest[DIGEST_TEXT_MAX], scrub_digest[DIGEST_TEXT_MAX];
};

static int view_read(struct view *v, const void *message, size_t len)
{
	size_t rows;

	if (len < sizeof(v->status))
		return -EBADMSG;
	memcpy(&v->status, message, sizeof(v->status));
	rows = v->status.n_reasons * sizeof(struct wire_reason)
		+ v->status.n_ports * sizeof(struct wire_port);
	if (v->status.n_reasons > 1000 || v->status.n_ports > 1000
	    || len != sizeof(v->status) + rows)
		return -EBADMSG;
	v->rows = (const uint8_t *)message + sizeof(v->status);
	v->status.build[sizeof(v->status.build) - 1] = '\0';
	digest_print(digest_unpack(v->status.state.digest), v->digest);
	digest_print(digest_unpack(v->status.scrub_digest), v->scrub_digest);
	return 0;
}

static struct wire_reason reason_at(const struct view *v, uint32_t i)
{
	struct wire_reason r;

	memcpy(&r, v->rows + i * sizeof(r), sizeof(r));
	r.name[sizeof(r.name) - 1] = '\0';
	r.help[sizeof(r.help) - 1] = '\0';
	return r;
}

static struct wire_port port_at(const struct view *v, uint32_t i)
{
	struct wire_port p;

	memcpy(&p,
	       v->rows + v->status.n_reasons * sizeof(struct wire_reason) + i * sizeof(p),
	       sizeof(p));
	p.name[sizeof(p.name) - 1] = '\0';
	return p;
}

static const char *mode_of(const struct wire_status *s)
{
	if (s->list_origin == WIRE_LIST_NONE && s->state.epoch == 0)
		return "no list";
	return s->pause_until ? "paused: what would be dropped is forwarded and reported"
			      : "enforcing";
}

static const char *origin_of(uint32_t origin)
{
	static const char *const names[] = {
		[WIRE_LIST_NONE] = "none",
		[WIRE_LIST_SNAPSHOT] = "disk",
		[WIRE_LIST_PREVIOUS] = "disk, the previous one",
		[WIRE_LIST_LINK] = "control",
	};

	return origin < sizeof(names) / sizeof(names[0]) ? names[origin] : "unknown";
}

static const char *verdict_of(uint8_t verdict)
{
	static const char *const names[] = {"drop", "forward", "monitor"};

	return verdict < 3 ? names[verdict] : "unknown";
}

static void list_print(FILE *f, const struct view *v)
{
	const struct wire_status *s = &v->status;

	fprintf(f,
		"list       %" PRIu64 ".%" PRIu64 ", %" PRIu64 " of %" PRIu64 " entries, from %s\n",
		s->state.epoch,
		s->state.number,
		s->state.count,
		s->capacity,
		origin_of(s->list_origin));
	fprintf(f, "  live     %s\n", v->digest);
	if (s->scrub_walks)
		fprintf(f,
			"  scrubbed %s, %" PRIu64 " entries, %" PRIu64 " s ago\n",
			v->scrub_digest,
			s->scrub_count,
			s->scrub_age_ms / 1000);
	else
		fprintf(f, "  scrubbed not yet\n");
	if (s->scrub_errors)
		fprintf(f, "  ALARM    the scrub found %" PRIu64 " errors\n", s->scrub_errors);
	if (s->list_error & 1)
		fprintf(f, "  ALARM    the wall clock does not fit the list: ends are held\n");
	if (s->list_error & 2)
		fprintf(f,
			"  ALARM    the list on disk was damaged: the one before it is in use\n");
	if (s->names && !s->names_matched)
		fprintf(f, "  names    %" PRIu64 " kept, NOT enforced on the wire\n", s->names);
	fprintf(f,
		"exceptions %" PRIu64 ", of them %" PRIu64 " allows in force\n",
		s->exceptions,
		s->allows);
}

static void ports_print(FILE *f, const struct view *v)
{
	for (uint32_t i = 0; i < v->status.n_ports; i++) {
		struct wire_port p = port_at(v, i);

		fprintf(f,
			"%-10s %s, %s, rx %" PRIu64 " packets, tx %" PRIu64 ", missed %" PRIu64
			", errors %" PRIu64 ", tx dropped %" PRIu64 "\n",
			p.name,
			p.inside ? "inside" : "outside",
			p.link_up ? "up" : "DOWN",
			p.rx_packets,
			p.tx_packets,
			p.rx_missed,
			p.rx_errors + p.tx_errors,
			p.tx_dropped);
	}
}

static void reasons_print(FILE *f, const struct view *v)
{
	fprintf(f, "%-22s %8s %14s %16s\n", "reason", "verdict", "packets", "bytes");
	for (uint32_t i = 0; i < v->status.n_reasons; i++) {
		struct wire_reason r = reason_at(v, i);

		if (r.packets)
			fprintf(f,
				"%-22s %8s %14" PRIu64 " %16" PRIu64 "\n",
				r.name,
				verdict_of(r.verdict),
				r.packets,
				r.bytes);
	}
}

int ctl_status_print(FILE *f, const void *message, size_t len)
{
	struct view v;
	char until[24];
	int r = view_read(&v, message, len);

	if (r < 0)
		return r;
	fprintf(f, "mode       %s\n", mode_of(&v.status));
	if (v.status.pause_until) {
		until_print(v.status.pause_until, until);
		fprintf(f, "  until    %s\n", until);
	}
	list_print(f, &v);
	fprintf(f,
		"workers    %u, %u stalled; %s; up for %" PRIu64 " s; build %s\n",
		v.status.workers,
		v.status.workers_stalled,
		v.status.ready ? "forwarding" : "NOT FORWARDING",
		v.status.uptime_ms / 1000,
		v.status.build);
	for (uint32_t i = 0; v.status.workers > 1 && i < v.status.workers && i < WIRE_WORKERS_MAX;
	     i++)
		fprintf(f, "  worker %u judged %" PRIu64 " packets\n", i, v.status.worker_packets[i]
		);
	if (v.status.denials_lost)
		fprintf(f, "denials    detail of %" PRIu64 " records lost\n", v.status.denials_lost
		);
	ports_print(f, &v);
	reasons_print(f, &v);
	return 0;
}

static json_t *json_u64(uint64_t n)
{
	return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

static json_t *list_json(const struct view *v)
{
	const struct wire_status *s = &v->status;

	return json_pack(
		"{s:o,s:o,s:o,s:o,s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:b}",
		"epoch",
		json_u64(s->state.epoch),
		"revision",
		json_u64(s->state.number),
		"entries",
		json_u64(s->state.count),
		"capacity",
		json_u64(s->capacity),
		"origin",
		origin_of(s->list_origin),
		"digest",
		v->digest,
		"scrub_digest",
		v->scrub_digest,
		"scrub_entries",
		json_u64(s->scrub_count),
		"scrub_age_ms",
		s->scrub_walks ? json_u64(s->scrub_age_ms) : json_null(),
		"scrub_errors",
		json_u64(s->scrub_errors),
		"names",
		json_u64(s->names),
		"exceptions",
		json_u64(s->exceptions),
		"allows",
		json_u64(s->allows),
		"names_matched",
		(int)s->names_matched
	);
}

static json_t *ports_json(const struct view *v)
{
	json_t *ports = json_array();

	for (uint32_t i = 0; i < v->status.n_ports; i++) {
		struct wire_port p = port_at(v, i);

		json_array_append_new(
			ports,
			json_pack(
				"{s:s,s:b,s:b,s:o,s:o,s:o,s:o,s:o}",
				"name",
				p.name,
				"inside",
				(int)p.inside,
				"link_up",
				(int)p.link_up,
				"rx_packets",
				json_u64(p.rx_packets),
				"tx_packets",
				json_u64(p.tx_packets),
				"rx_missed",
				json_u64(p.rx_missed),
				"errors",
				json_u64(p.rx_errors + p.tx_errors),
				"tx_dropped",
				json_u64(p.tx_dropped)
			)
		);
	}
	return ports;
}

static json_t *workers_json(const struct view *v)
{
	json_t *workers = json_array();

	for (uint32_t i = 0; i < v->status.workers && i < WIRE_WORKERS_MAX; i++)
		json_array_append_new(
			workers,
			json_pack("{s:o}", "packets", json_u64(v->status.worker_packets[i]))
		);
	return workers;
}

static json_t *reasons_json(const struct view *v)
{
	json_t *reasons = json_object();

	for (uint32_t i = 0; i < v->status.n_reasons; i++) {
		struct wire_reason r = reason_at(v, i);

		json_object_set_new(
			reasons,
			r.name,
			json_pack(
				"{s:s,s:o,s:o}",
				"verdict",
				verdict_of(r.verdict),
				"packets",
				json_u64(r.packets),
				"bytes",
				json_u64(r.bytes)
			)
		);
	}
	return reasons;
}

int ctl_status_json(FILE *f, const void *message, size_t len)
{
	struct view v;
	json_t *root;
	int r = view_read(&v, message, len);

	if (r < 0)
		return r;
	root = json_pack(
		"{s:s,s:b,s:I,s:o,s:i,s:i,s:o,s:b,s:b,s:b,s:o,s:o,s:o,s:o,s:s}",
		"mode",
		mode_of(&v.status),
		"paused",
		v.status.pause_until != 0,
		"pause_until",
		(json_int_t)v.status.pause_until,
		"list",
		list_json(&v),
		"workers",
		(int)v.status.workers,
		"workers_stalled",
		(int)v.status.workers_stalled,
		"per_worker",
		workers_json(&v),
		"ready",
		(int)v.status.ready,
		"ends_held",
		(v.status.list_error & 1) != 0,
		"previous_list",
		(v.status.list_error & 2) != 0,
		"denials_lost",
		json_u64(v.status.denials_lost),
		"uptime_ms",
		json_u64(v.status.uptime_ms),
		"ports",
		ports_json(&v),
		"reasons",
		reasons_json(&v),
		"build",
		v.status.build
	);
	if (!root)
		return -ENOMEM;
	json_dumpf(root, f, JSON_COMPACT);
	fputc('\n', f);
	json_decref(root);
	return 0;
}
