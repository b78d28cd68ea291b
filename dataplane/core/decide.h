// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The verdict: a parsed packet meets the list and leaves with a reason. Pure.

#pragma once

#include "dataplane/core/match.h"
#include "dataplane/core/nat64.h"
#include "dataplane/core/packet_brief.h"

enum direction {
	DIRECTION_OUT, // from inside: destinations and their ports are judged
	DIRECTION_IN, // from outside: sources and source ports
	DIRECTION_BOTH, // unknown: both
};

// Settings that judgement depends on. Written by the update thread as a whole (published by
// pointer), read by workers.
struct policy {
	uint8_t verdicts[REASON_COUNT]; // enum verdict for each reason, from reasons.def and
					// settings
	bool inbound_allow; // inward packets are not judged
	bool have_list; // false: NO_LIST
	bool paused; // enforce counts as monitor
	struct nat64 nat64; // for nat64_walk, by who parses the packet
};

void policy_init(struct policy *); // the defaults of reasons.def, no list

struct decision {
	uint8_t verdict; // enum verdict
	uint8_t reason; // enum reason
	uint8_t layer; // of the address reported
	bool source; // the source address was the one
	uint32_t rule; // of `entries`; MATCH_NONE where no entry covers the packet
};

// A burst of packets is judged in steps: ask for each packet, match_begin, match_end, then answer
// for each. A packet that nothing in the list is near touches neither rules nor exceptions.
struct decide_asked {
	uint8_t first, n; // of the burst's positions
	uint8_t reason; // enum reason: what it is if nothing is found
};

// Pushes the packet's addresses. False: no room in this burst, nothing was pushed.
bool decide_ask(
	const struct policy *,
	const struct packet *,
	enum direction,
	struct match_burst *,
	struct decide_asked *ret_asked
);
// Whether packets of this direction may be asked for with decide_ask_brief: not where something
// else than the list decides, nor where more than one of their addresses counts.
static inline bool decide_briefly(const struct policy *p, enum direction direction)
{
	return p->have_list && direction != DIRECTION_BOTH && !p->nat64.n
		&& !(direction == DIRECTION_IN && p->inbound_allow);
}

// As decide_ask, of a packet that has not been described; it takes one position, which has to be
// reserved. If nothing is found it is REASON_NO_ENTRY, else decide_hit tells.
static inline void decide_ask_brief(
	const struct packet_brief *b,
	enum direction direction,
	struct match_burst *burst,
	uint32_t at
)
{
	if (direction == DIRECTION_IN)
		match_push_at(burst, at, b->family, b->src, b->proto, b->sport);
	else
		match_push_at(burst, at, b->family, b->dst, b->proto, b->dport);
}

// True: nothing in the list is near, the packet's reason is `asked->reason`, and its verdict is the
// policy's for that. What most packets are, so that an answer costs only the others.
static inline bool decide_plain(const struct match_burst *b, const struct decide_asked *asked)
{
	return !asked->n || !(b->hits >> asked->first & ~(uint64_t)0 >> (64 - asked->n));
}

// With the policy that was asked with.
void decide_answer(
	const struct policy *,
	const struct match *exceptions, // NULL: none
	const struct packet *,
	enum direction,
	const struct match_burst *,
	const struct decide_asked *,
	struct decision *ret_decision
);

// What one address comes to that the list covers, as found by match_end: of a packet asked for with
// decide_ask_brief all there is to judge. exception: what the same lookup found among the
// exceptions, NULL: nothing. Returns the verdict.
uint8_t decide_hit(
	const struct policy *,
	const struct match_hit *,
	const struct match_hit *exception,
	uint8_t *ret_reason
);

// All of it for one packet.
void decide(
	const struct policy *,
	const struct match *entries,
	const struct match *exceptions, // NULL: none
	const struct packet *,
	enum direction,
	struct decision *ret_decision
);
