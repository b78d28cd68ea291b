// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/core/decide.h"

#include <stddef.h>

#define PROTO_TCP 6
#define PROTO_UDP 17

// What weighs more decides the packet; among equals the first one met is reported.
enum weight {
	WEIGHT_NONE,
	WEIGHT_EXCEPTED,
	WEIGHT_FRAGMENT, // forwarded or monitored by its setting
	WEIGHT_MONITOR,
	WEIGHT_FRAGMENT_DROP,
	WEIGHT_DENY,
};

struct judge {
	const struct policy *policy;
	const struct match *entries, *exceptions;
	const struct packet *packet;
	enum weight weight; // of the decision so far
	struct decision *decision;
};

// One address, with what is known of its transport.
struct judged {
	const struct packet_layer *layer;
	const uint8_t *addr;
	uint16_t port;
	bool source;
};

void policy_init(struct policy *p)
{
	*p = (struct policy){0};
	for (int i = 0; i < REASON_COUNT; i++)
		p->verdicts[i] = reason_table[i].verdict;
}

// 0 where port rules cannot match.
static uint8_t ports_proto(const struct packet_layer *l)
{
	if (!(l->flags & PACKET_PORTS) || (l->proto != PROTO_TCP && l->proto != PROTO_UDP))
		return 0;
	return l->proto;
}

static bool excepted(const struct judge *j, const struct judged *a, enum reason *ret_reason)
{
	struct match_hit hit;

	if (!j->exceptions)
		return false;
	match_lookup(
		j->exceptions, a->layer->family, a->addr, ports_proto(a->layer), a->port, &hit
	);
	if (hit.actions & MATCH_PROTECT)
		*ret_reason = REASON_PROTECTED;
	else if (hit.actions & MATCH_ALLOW)
		*ret_reason = REASON_ALLOWED;
	else
		return false;
	return true;
}

// Enforcement that is paused never drops.
static uint8_t verdict_of(const struct policy *p, enum reason reason)
{
	uint8_t verdict = p->verdicts[reason];

	if (reason == REASON_FRAGMENT_PORT_ENTRY && p->paused && verdict == VERDICT_DROP)
		return VERDICT_MONITOR;
	return verdict;
}

static void
offer(struct judge *j, const struct judged *a, enum weight weight, enum reason reason, uint32_t rule
)
{
	if (weight <= j->weight)
		return;
	j->weight = weight;
	*j->decision = (struct decision){
		.verdict = verdict_of(j->policy, reason),
		.reason = reason,
		.layer = (uint8_t)(a->layer - j->packet->layers),
		.source = a->source,
		.rule = rule,
	};
}

static void address_judge(struct judge *j, const struct judged *a)
{
	struct match_hit hit;
	enum reason reason;
	uint32_t rule;
	bool fragment;

	match_lookup(j->entries, a->layer->family, a->addr, ports_proto(a->layer), a->port, &hit);
	fragment = hit.port_rule && (a->layer->flags & PACKET_FRAGMENT_LATER);
	rule = hit.enforce != MATCH_NONE ? hit.enforce : hit.monitor;
	if (rule == MATCH_NONE && !fragment)
		return;
	if (excepted(j, a, &reason)) {
		offer(j, a, WEIGHT_EXCEPTED, reason, rule);
		return;
	}
	if (hit.enforce != MATCH_NONE && !j->policy->paused)
		offer(j, a, WEIGHT_DENY, REASON_ENTRY_DENY, rule);
	else if (hit.enforce != MATCH_NONE)
		offer(j, a, WEIGHT_MONITOR, REASON_PAUSED, rule);
	else if (hit.monitor != MATCH_NONE)
		offer(j, a, WEIGHT_MONITOR, REASON_ENTRY_MONITOR, rule);
	if (fragment) {
		bool drop = verdict_of(j->policy, REASON_FRAGMENT_PORT_ENTRY) == VERDICT_DROP;

		offer(j,
		      a,
		      drop ? WEIGHT_FRAGMENT_DROP : WEIGHT_FRAGMENT,
		      REASON_FRAGMENT_PORT_ENTRY,
		      MATCH_NONE);
	}
}

static void destinations_judge(struct judge *j, uint8_t index)
{
	const struct packet *p = j->packet;
	struct judged a = {.layer = &p->layers[index], .port = p->layers[index].dport};

	a.addr = a.layer->dst;
	address_judge(j, &a);
	for (uint8_t i = 0; i < p->n_vias; i++) {
		if (p->vias[i].layer != index)
			continue;
		a.addr = p->vias[i].addr;
		address_judge(j, &a);
	}
}

static void source_judge(struct judge *j, uint8_t index)
{
	const struct packet_layer *l = &j->packet->layers[index];
	struct judged a = {.layer = l, .addr = l->src, .port = l->sport, .source = true};

	address_judge(j, &a);
}

static void end_with(const struct policy *p, enum reason reason, struct decision *d)
{
	d->verdict = p->verdicts[reason];
	d->reason = reason;
}

void decide(
	const struct policy *policy,
	const struct match *entries,
	const struct match *exceptions,
	const struct packet *packet,
	enum direction direction,
	struct decision *ret_decision
)
{
	struct decision d = {.verdict = VERDICT_DROP, .reason = REASON_BUG, .rule = MATCH_NONE};
	struct judge j = {policy, entries, exceptions, packet, WEIGHT_NONE, &d};

	// What cannot be parsed is dropped for that, also without a list. All else needs a list,
	// the wire's own protocols included: without one nothing is forwarded unless so set.
	if (packet->reason != REASON_NO_ENTRY
	    && (policy->have_list || policy->verdicts[packet->reason] == VERDICT_DROP)) {
		end_with(policy, packet->reason, &d);
	} else if (!policy->have_list) {
		end_with(policy, REASON_NO_LIST, &d);
	} else if (direction == DIRECTION_IN && policy->inbound_allow) {
		end_with(policy, REASON_INBOUND_ALLOWED, &d);
	} else {
		for (uint8_t i = packet->n_layers; i-- > 0;) {
			if (direction != DIRECTION_IN)
				destinations_judge(&j, i);
			if (direction != DIRECTION_OUT)
				source_judge(&j, i);
		}
		if (j.weight == WEIGHT_NONE && packet->n_layers > 0)
			end_with(policy, REASON_NO_ENTRY, &d);
	}
	*ret_decision = d;
}
