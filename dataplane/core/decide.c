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
	const struct match *exceptions;
	const struct packet *packet;
	enum weight weight; // of the decision so far
	struct decision *decision;
};

// One address, with what is known of its transport.
struct judged {
	const struct packet_layer *layer;
	const uint8_t *addr;
	uint16_t port;
	uint8_t family; // the layer's, or 4 for an IPv4 address inside one of IPv6
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

static enum reason
reason_of(const struct policy *policy, const struct match_hit *hit, uint8_t exceptions)
{
	if (exceptions & MATCH_PROTECT)
		return REASON_PROTECTED;
	if (exceptions & MATCH_ALLOW)
		return REASON_ALLOWED;
	if (hit->enforce != MATCH_NONE)
		return policy->paused ? REASON_PAUSED : REASON_ENTRY_DENY;
	return hit->monitor != MATCH_NONE ? REASON_ENTRY_MONITOR : REASON_NO_ENTRY;
}

static enum weight weight_of(enum reason reason)
{
	switch (reason) {
	case REASON_PROTECTED:
	case REASON_ALLOWED:
		return WEIGHT_EXCEPTED;
	case REASON_ENTRY_DENY:
		return WEIGHT_DENY;
	case REASON_PAUSED:
	case REASON_ENTRY_MONITOR:
		return WEIGHT_MONITOR;
	default:
		return WEIGHT_NONE;
	}
}

static uint32_t rule_of(const struct match_hit *hit)
{
	return hit->enforce != MATCH_NONE ? hit->enforce : hit->monitor;
}

static void address_judge(struct judge *j, const struct judged *a, const struct match_hit *hit)
{
	bool fragment = hit->port_rule && (a->layer->flags & PACKET_FRAGMENT_LATER);
	struct match_hit exception = {0};
	enum reason reason;

	if (rule_of(hit) == MATCH_NONE && !fragment)
		return;
	if (j->exceptions)
		match_lookup(
			j->exceptions,
			a->family,
			a->addr,
			ports_proto(a->layer),
			a->port,
			&exception
		);
	reason = reason_of(j->policy, hit, exception.actions);
	offer(j, a, weight_of(reason), reason, rule_of(hit));
	if (fragment && weight_of(reason) != WEIGHT_EXCEPTED) {
		bool drop = verdict_of(j->policy, REASON_FRAGMENT_PORT_ENTRY) == VERDICT_DROP;

		offer(j,
		      a,
		      drop ? WEIGHT_FRAGMENT_DROP : WEIGHT_FRAGMENT,
		      REASON_FRAGMENT_PORT_ENTRY,
		      MATCH_NONE);
	}
}

uint8_t decide_hit(
	const struct policy *policy,
	const struct match_hit *hit,
	const struct match_hit *exception,
	uint8_t *ret_reason
)
{
	*ret_reason = (uint8_t)reason_of(policy, hit, exception ? exception->actions : 0);
	return policy->verdicts[*ret_reason];
}

// --- a packet's addresses, in the order in which they are reported

#define ADDRESSES_MAX (2 * PACKET_LAYERS_MAX + PACKET_VIAS_MAX)

_Static_assert(ADDRESSES_MAX <= MATCH_BURST, "a packet fits into a burst of its own");

// The layer's own address, then the further ones of that side.
static unsigned side_list(const struct packet *p, uint8_t index, bool source, struct judged *at)
{
	const struct packet_layer *l = &p->layers[index];
	const struct judged own = {
		.layer = l,
		.addr = source ? l->src : l->dst,
		.port = source ? l->sport : l->dport,
		.family = l->family,
		.source = source,
	};
	unsigned n = 0;

	at[n++] = own;
	for (uint8_t i = 0; i < p->n_vias; i++) {
		const struct packet_via *via = &p->vias[i];

		if (via->layer != index || via->source != source)
			continue;
		at[n] = own;
		at[n].addr = via->addr;
		if (via->embedded)
			at[n].family = 4;
		n++;
	}
	return n;
}

static unsigned
addresses_list(const struct packet *p, enum direction direction, struct judged at[ADDRESSES_MAX])
{
	unsigned n = 0;

	for (uint8_t i = p->n_layers; i-- > 0;) {
		if (direction != DIRECTION_IN)
			n += side_list(p, i, false, &at[n]);
		if (direction != DIRECTION_OUT)
			n += side_list(p, i, true, &at[n]);
	}
	return n;
}

// What ends the matter without a look at the list. REASON_NO_ENTRY: nothing does.
static enum reason
settled(const struct policy *policy, const struct packet *packet, enum direction direction)
{
	// What cannot be parsed is dropped for that, also without a list. All else needs a list,
	// the wire's own protocols included: without one nothing is forwarded unless so set.
	if (packet->reason != REASON_NO_ENTRY
	    && (policy->have_list || policy->verdicts[packet->reason] == VERDICT_DROP))
		return packet->reason;
	if (!policy->have_list)
		return REASON_NO_LIST;
	if (direction == DIRECTION_IN && policy->inbound_allow)
		return REASON_INBOUND_ALLOWED;
	if (packet->n_layers == 0)
		return REASON_BUG;
	return REASON_NO_ENTRY;
}

// Behind a tunnel's end there may be anything, but the tunnel itself has addresses.
static bool judged_all_the_same(
	const struct policy *policy,
	const struct packet *p,
	enum direction direction,
	uint8_t reason
)
{
	return reason == REASON_TUNNEL_UNKNOWN && p->n_layers
		&& policy->verdicts[reason] != VERDICT_DROP
		&& !(direction == DIRECTION_IN && policy->inbound_allow);
}

// --- the two steps

// What most packets are: one layer, judged by one address.
static bool one_ask(const struct packet_layer *l, bool source, struct match_burst *burst)
{
	if (match_pushed(burst) == MATCH_BURST)
		return false;
	match_push(
		burst,
		l->family,
		source ? l->src : l->dst,
		ports_proto(l),
		source ? l->sport : l->dport
	);
	return true;
}

// All others. Apart, so that its array and what guards the stack cost only those.
static bool __attribute__((noinline))
all_ask(const struct packet *packet,
	enum direction direction,
	struct match_burst *burst,
	struct decide_asked *ret_asked)
{
	struct judged at[ADDRESSES_MAX];
	unsigned n = addresses_list(packet, direction, at);

	if (match_pushed(burst) + n > MATCH_BURST)
		return false;
	ret_asked->n = (uint8_t)n;
	for (unsigned i = 0; i < n; i++)
		match_push(burst, at[i].family, at[i].addr, ports_proto(at[i].layer), at[i].port);
	return true;
}

bool decide_ask(
	const struct policy *policy,
	const struct packet *packet,
	enum direction direction,
	struct match_burst *burst,
	struct decide_asked *ret_asked
)
{
	*ret_asked = (struct decide_asked){.reason = (uint8_t)settled(policy, packet, direction)};
	if (ret_asked->reason != REASON_NO_ENTRY
	    && !judged_all_the_same(policy, packet, direction, ret_asked->reason))
		return true;
	ret_asked->first = (uint8_t)match_pushed(burst);
	if (packet->n_layers == 1 && packet->n_vias == 0 && direction != DIRECTION_BOTH) {
		ret_asked->n = 1;
		return one_ask(&packet->layers[0], direction == DIRECTION_IN, burst);
	}
	return all_ask(packet, direction, burst, ret_asked);
}

static void addresses_judge(
	struct judge *j,
	const struct match_burst *burst,
	enum direction direction,
	const struct decide_asked *asked
)
{
	struct judged at[ADDRESSES_MAX];
	unsigned n = addresses_list(j->packet, direction, at);

	for (unsigned i = 0; i < n; i++) {
		if (burst->hits >> (asked->first + i) & 1)
			address_judge(j, &at[i], &burst->hit[asked->first + i]);
	}
}

void decide_answer(
	const struct policy *policy,
	const struct match *exceptions,
	const struct packet *packet,
	enum direction direction,
	const struct match_burst *burst,
	const struct decide_asked *asked,
	struct decision *ret_decision
)
{
	struct decision d = {.verdict = VERDICT_DROP, .reason = REASON_BUG, .rule = MATCH_NONE};
	struct judge j = {policy, exceptions, packet, WEIGHT_NONE, &d};

	// Most packets: nothing in the list is near.
	if (!decide_plain(burst, asked))
		addresses_judge(&j, burst, direction, asked);
	if (j.weight == WEIGHT_NONE) {
		d.verdict = policy->verdicts[asked->reason];
		d.reason = asked->reason;
	}
	*ret_decision = d;
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
	struct match_burst burst;
	struct decide_asked asked;

	match_clear(entries, &burst);
	(void)decide_ask(policy, packet, direction, &burst, &asked); // alone it has room
	match_begin(entries, &burst);
	match_end(entries, &burst);
	decide_answer(policy, exceptions, packet, direction, &burst, &asked, ret_decision);
}
