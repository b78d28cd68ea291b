// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_preview.h"

#include "control/api.h"
#include "control/api_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDS 10 // remote ends told where the question names no number
#define SIGMAS 1.959964 // of both bounds together 95 %

struct preview {
	struct api *api;
	struct http_request *request;
	struct indicator indicator;
	bool all;
};

struct range {
	double estimate, low, high;
};

// Of a count of samples: the exact bounds of a Poisson variable by Wilson and Hilferty's formula,
// good to a percent but for the lower one of a sample or two. Gaps of 1 to 127 scatter less than
// that. A sample that was lost may have been one of these.
static struct range samples_range(uint64_t samples, uint64_t lost)
{
	double k = (double)samples, more = k + (double)lost + 1;
	double low = samples ? 1 - 1 / (9 * k) - SIGMAS / (3 * sqrt(k)) : 0;
	double high = 1 - 1 / (9 * more) + SIGMAS / (3 * sqrt(more));

	return (struct range){
		.estimate = k,
		.low = low > 0 ? k * low * low * low : 0,
		.high = more * high * high * high,
	};
}

static json_t *range_json(struct range r, double factor)
{
	return json_pack(
		"{s:I, s:I, s:I}",
		"estimate",
		(json_int_t)llround(r.estimate * factor),
		"low",
		(json_int_t)floor(r.low * factor),
		"high",
		(json_int_t)ceil(r.high * factor)
	);
}

static json_t *share_json(struct range r, uint64_t all)
{
	double of = (double)all;

	if (all == 0)
		return json_null();
	return json_pack(
		"{s:f, s:f, s:f}",
		"estimate",
		r.estimate / of,
		"low",
		r.low / of,
		"high",
		r.high < of ? r.high / of : 1.0
	);
}

// Octets scatter with the samples' number and with their sizes: the wider of the two counts. Of
// samples that nobody saw the size is that of a mean packet.
static struct range
octets_range(const struct wire_preview_answer *m, struct range samples, uint64_t octets)
{
	double mean = m->all_samples ? (double)m->all_bytes / (double)m->all_samples : 0;
	double spread = SIGMAS * sqrt((double)m->squares), estimate = (double)octets;
	double each = samples.estimate > 0 ? estimate / samples.estimate : mean;

	return (struct range){
		.estimate = estimate,
		.low = fmax(0, fmin(estimate - spread, samples.low * each)),
		.high = fmax(estimate + spread, samples.high * each),
	};
}

static json_t *amount_json(const struct wire_preview_answer *m, uint64_t samples, uint64_t octets)
{
	struct range r = samples_range(samples, m->lost);

	return json_pack(
		"{s:o, s:o, s:o}",
		"packets",
		range_json(r, m->rate),
		"bytes",
		range_json(octets_range(m, r, octets), m->rate),
		"share",
		share_json(r, m->all_samples)
	);
}

static json_t *end_json(const struct wire_preview_answer *m, const struct wire_preview_end *e)
{
	char address[INET6_ADDRSTRLEN] = "";
	json_t *end = json_object();
	const char *proto = e->proto == IPPROTO_TCP ? "tcp"
		: e->proto == IPPROTO_UDP	    ? "udp"
						    : NULL;

	inet_ntop(e->family == 4 ? AF_INET : AF_INET6, e->addr, address, sizeof(address));
	json_object_set_new(end, "address", json_string(address));
	if (proto)
		json_object_set_new(end, "protocol", json_string(proto));
	else if (e->proto)
		json_object_set_new(end, "protocol", json_integer(e->proto));
	if (e->port)
		json_object_set_new(end, "port", json_integer(e->port));
	json_object_set_new(end, "packets", range_json(samples_range(e->samples, 0), m->rate));
	json_object_set_new(end, "bytes", json_integer((json_int_t)(e->bytes * m->rate)));
	json_object_set_new(end, "share", share_json(samples_range(e->samples, 0), m->all_samples));
	json_object_set_new(end, "inward_packets", json_integer((json_int_t)(e->inward * m->rate)));
	json_object_set_new(end, "denied_packets", json_integer((json_int_t)(e->denied * m->rate)));
	json_object_set_new(end, "spared_packets", json_integer((json_int_t)(e->spared * m->rate)));
	return end;
}

static void
summary_print(const struct preview *p, const struct wire_preview_answer *m, char *to, size_t room)
{
	uint64_t cut = m->samples - m->denied - m->spared;
	struct range r = samples_range(cut, m->lost);
	char text[INDICATOR_TEXT_MAX] = "everything";
	double seconds = (double)m->window_ms / 1000;

	if (!p->all)
		indicator_print(&p->indicator, text);
	if (m->all_samples == 0)
		snprintf(to, room, "nothing has been sampled in the last %.0f s", seconds);
	else
		snprintf(
			to,
			room,
			"a block of %s would have cut about %.0f packets (%.0f to %.0f) of about "
			"%.0f in the last %.0f s",
			text,
			r.estimate * m->rate,
			floor(r.low * m->rate),
			ceil(r.high * m->rate),
			(double)m->all_samples * m->rate,
			seconds
		);
}

// Whatever the message says: sums that cannot be are refused, a record that is none too.
static json_t *answer_json(const struct preview *p, const struct wire_preview_answer *m, size_t len)
{
	char summary[512];
	json_t *top = json_array(), *body;

	if (m->denied + m->spared > m->samples || m->samples + m->lost > m->all_samples
	    || m->denied_bytes + m->spared_bytes > m->bytes)
		goto bad;
	for (uint32_t i = 0; i < m->n; i++) {
		struct wire_preview_end end;

		if (wire_preview_end_read(m, len, i, &end) < 0)
			goto bad;
		json_array_append_new(top, end_json(m, &end));
	}
	summary_print(p, m, summary, sizeof(summary));
	body = json_pack(
		"{s:o, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:s, s:o, s:o}",
		"indicator",
		p->all ? json_null() : indicator_json(&p->indicator),
		"summary",
		summary,
		"cut",
		amount_json(
			m,
			m->samples - m->denied - m->spared,
			m->bytes - m->denied_bytes - m->spared_bytes
		),
		"seen",
		amount_json(m, m->samples, m->bytes),
		"denied_packets",
		(json_int_t)(m->denied * m->rate),
		"spared_packets",
		(json_int_t)(m->spared * m->rate),
		"inward_packets",
		(json_int_t)(m->inward * m->rate),
		"remote_ends",
		(json_int_t)m->ends,
		"remote_ends_are",
		p->all || p->indicator.prefix_len < (p->indicator.family == 4 ? 32 : 128)
			? "addresses"
			: "ports",
		"last",
		m->samples ? time_ms_json(now_seconds() * 1000 - (int64_t)m->last_age_ms)
			   : json_null(),
		"top",
		top
	);
	json_object_set_new(
		body,
		"sampling",
		json_pack(
			"{s:I, s:f, s:I, s:I, s:I, s:f}",
			"rate",
			(json_int_t)m->rate,
			"window_s",
			(double)m->window_ms / 1000,
			"samples",
			(json_int_t)m->all_samples,
			"lost",
			(json_int_t)m->lost,
			"packets",
			(json_int_t)(m->all_samples * m->rate),
			"confidence",
			0.95
		)
	);
	return body;
bad:
	json_decref(top);
	return NULL;
}

static void answered(void *ctx, const struct wire_preview_answer *m, size_t len)
{
	struct preview *p = ctx;
	json_t *body = m ? answer_json(p, m, len) : NULL;

	if (body)
		http_answer_json(p->request, 200, body);
	else
		http_answer_error(
			p->request,
			503,
			m ? "the data plane's answer makes no sense"
			  : "the data plane did not answer",
			"look at stanch status"
		);
	api_pending(p->api, -1);
	free(p);
}

// False: it has been answered.
static bool indicator_take(struct http_request *request, struct preview *p)
{
	const char *text = http_request_query(request, "indicator");
	struct indicator_error error;
	char message[256];

	p->all = !text;
	if (!text)
		return true;
	if (indicator_parse(text, strlen(text), &p->indicator, &error) < 0) {
		snprintf(
			message,
			sizeof(message),
			"indicator: column %zu: %s",
			error.column,
			error.reason
		);
		http_answer_error(request, 400, message, NULL);
		return false;
	}
	if (p->indicator.kind == INDICATOR_NAME) {
		http_answer_error(
			request,
			422,
			"what a name carries cannot be estimated: packets show addresses only",
			"preview the addresses that it resolves to"
		);
		return false;
	}
	return true;
}

static void failed(struct http_request *request, int error)
{
	if (error == -EBUSY)
		http_answer_error(request, 429, "too many previews are under way", "try again");
	else if (error == -ENOTCONN)
		http_answer_error(
			request,
			503,
			"no data plane is connected: nothing tells what passes",
			"look at stanch status"
		);
	else
		http_answer_error(request, 503, strerror(-error), NULL);
}

static void route_preview(void *ctx, struct http_request *request)
{
	const struct api_dataplane *dataplane = api_dataplane(ctx);
	struct preview *p = calloc(1, sizeof(*p));
	int64_t ends;
	int error;

	if (!p) {
		http_answer_error(request, 500, "no memory", NULL);
		return;
	}
	*p = (struct preview){.api = ctx, .request = request};
	if (!query_number(request, "ends", ENDS, WIRE_PREVIEW_ENDS_MAX, &ends)
	    || !indicator_take(request, p)) {
		free(p);
		return;
	}
	api_pending(p->api, 1); // before: the answer may come at once
	error = !dataplane->preview
		? -ENOTCONN
		: dataplane->preview(
			dataplane->ctx, p->all ? NULL : &p->indicator, (uint32_t)ends, answered, p
		);
	if (error == 0)
		return;
	api_pending(ctx, -1);
	failed(request, error);
	free(p);
}

static const struct http_route routes[] = {
	{"GET",
	 "/v1/preview",
	 ROLE_VIEWER,
	 0,
	 route_preview,
	 "what a block would cut, estimated from samples"},
};

int api_preview_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}
