// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The fast lookup and the verdict against the linear oracle, on a million random packets over lists
// that change all the time: every prefix length, hosts and ports, nested, IPv4 and IPv6, enforce,
// monitor, protect and allow, ends that have passed.
//
//   model_match [SEED [PACKETS]]

#include "dataplane/core/decide.h"
#include "dataplane/keys.h"
#include "rules/oracle.h"
#include "tests/match_memory.h"
#include "tests/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ENTRIES 48
#define EXCEPTIONS 6
#define NOW 1000
#define PACKETS 1000000
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17

struct model {
	struct entry entries[ENTRIES];
	struct exception exceptions[EXCEPTIONS];
	size_t n_entries, n_exceptions;
	struct match *entry_match, *exception_match;
	struct policy policy;
	uint64_t judged[JUDGE_DENY + 1], fragments, changes;
};

static uint64_t state;

static uint32_t below(uint32_t n)
{
	return random_under(&state, n);
}

// --- random things, near each other

// One of a few trunks that leaves it at a random bit: prefixes of all lengths nest and hit.
static void address_draw(uint8_t family, uint8_t addr[16])
{
	static const uint8_t trunks[3][16] = {
		{203, 0, 113, 7, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4},
		{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	};
	unsigned bits = family == 4 ? 32 : 128, leave = below(bits + bits / 2);

	memset(addr, 0, 16);
	memcpy(addr, trunks[below(3)], bits / 8);
	if (leave < bits)
		addr[leave / 8] ^= (uint8_t)(0x80 >> leave % 8);
}

static void prefix_mask(uint8_t addr[16], unsigned bits)
{
	for (unsigned i = bits; i < 128; i++)
		addr[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

static struct indicator indicator_draw(void)
{
	struct indicator n = {.kind = INDICATOR_NET, .family = below(2) ? 4 : 6};
	unsigned bits = n.family == 4 ? 32 : 128;

	address_draw(n.family, n.addr);
	n.prefix_len = (uint8_t)bits;
	if (below(4) == 0) {
		n.kind = INDICATOR_PORT;
		n.proto = below(2) ? PROTO_TCP : PROTO_UDP;
		n.port = (uint16_t)(1 + below(3));
	} else if (below(4)) {
		n.prefix_len = (uint8_t)(1 + below(bits));
		prefix_mask(n.addr, n.prefix_len);
	}
	return n;
}

static int64_t end_draw(void)
{
	static const int64_t ends[] = {UNTIL_NONE, NOW, NOW + 1, UNTIL_FOREVER};

	return ends[below(4)];
}

// --- the list, twice

static void die(const struct model *m, const char *what)
{
	printf("FAIL %s after %" PRIu64 " changes\n", what, m->changes);
	exit(1);
}

static uint8_t entry_bits(const struct entry *e)
{
	switch (entry_action_at(e, NOW)) {
	case ENTRY_ENFORCE:
		return MATCH_ENFORCE;
	case ENTRY_MONITOR:
		return MATCH_MONITOR;
	case ENTRY_INERT:
		break;
	}
	return MATCH_INERT;
}

static void rule_drop(const struct model *m, struct match *match, const struct indicator *n)
{
	struct match_key key;
	uint32_t rule;

	key_from_indicator(n, &key);
	rule = match_find(match, &key);
	if (rule == MATCH_NONE)
		die(m, "a rule that is there is not found");
	match_unlink(match, rule);
	if (match_find(match, &key) != MATCH_NONE)
		die(m, "a rule that was unlinked is found");
	match_recycle(match, rule);
}

static void
rule_put(const struct model *m, struct match *match, const struct indicator *n, uint8_t a)
{
	struct match_key key;
	uint32_t rule = match_find(match, (key_from_indicator(n, &key), &key));

	if (rule != MATCH_NONE)
		match_action_set(match, rule, a);
	else if (match_add(match, &key, a, &rule) < 0)
		die(m, "match_add");
}

static void entry_change(struct model *m)
{
	struct entry e = {
		.indicator = indicator_draw(),
		.enforce_until = below(3) ? UNTIL_NONE : end_draw(),
		.monitor_until = end_draw(),
	};
	size_t i = 0;

	if (m->n_entries == ENTRIES || (m->n_entries && below(5) == 0)) {
		i = below((uint32_t)m->n_entries);
		rule_drop(m, m->entry_match, &m->entries[i].indicator);
		m->entries[i] = m->entries[--m->n_entries];
		return;
	}
	while (i < m->n_entries && !indicator_equal(&m->entries[i].indicator, &e.indicator))
		i++;
	m->entries[i] = e;
	if (i == m->n_entries)
		m->n_entries++;
	rule_put(m, m->entry_match, &e.indicator, entry_bits(&e));
}

// Of the same indicator there may be a protection and an allow: together they are one rule.
static uint8_t exception_bits(const struct model *m, const struct indicator *n)
{
	uint8_t bits = 0;

	for (size_t i = 0; i < m->n_exceptions; i++) {
		const struct exception *x = &m->exceptions[i];

		if (indicator_equal(&x->indicator, n) && x->until > NOW)
			bits |= x->kind == EXCEPTION_PROTECT ? MATCH_PROTECT : MATCH_ALLOW;
	}
	return bits;
}

static void exception_change(struct model *m)
{
	struct exception x = {.indicator = indicator_draw(), .kind = EXCEPTION_PROTECT};

	x.until = UNTIL_FOREVER;
	if (below(2)) {
		x.kind = EXCEPTION_ALLOW;
		x.until = end_draw();
	}
	if (m->n_exceptions == EXCEPTIONS) {
		struct exception old = m->exceptions[0];

		m->exceptions[0] = m->exceptions[--m->n_exceptions];
		for (size_t i = 0; i < m->n_exceptions; i++) {
			if (!indicator_equal(&m->exceptions[i].indicator, &old.indicator))
				continue;
			rule_put(
				m,
				m->exception_match,
				&old.indicator,
				exception_bits(m, &old.indicator)
			);
			return;
		}
		rule_drop(m, m->exception_match, &old.indicator);
		return;
	}
	m->exceptions[m->n_exceptions++] = x;
	rule_put(m, m->exception_match, &x.indicator, exception_bits(m, &x.indicator));
}

// --- one packet, twice

static void packet_draw(struct packet *p)
{
	static const uint8_t protos[] = {PROTO_TCP, PROTO_UDP, PROTO_ICMP};

	*p = (struct packet){.n_layers = (uint8_t)(1 + below(2)), .reason = REASON_NO_ENTRY};
	for (unsigned i = 0; i < p->n_layers; i++) {
		struct packet_layer *l = &p->layers[i];

		l->family = below(2) ? 4 : 6;
		l->proto = protos[below(3)];
		address_draw(l->family, l->src);
		address_draw(l->family, l->dst);
		if (below(4) == 0) {
			l->flags = PACKET_FRAGMENT_LATER;
		} else if (l->proto != PROTO_ICMP) {
			l->flags = PACKET_PORTS;
			l->sport = (uint16_t)(1 + below(4));
			l->dport = (uint16_t)(1 + below(4));
		}
	}
	if (below(8) == 0) {
		p->n_vias = 1;
		p->vias[0].layer = (uint8_t)below(p->n_layers);
		address_draw(p->layers[p->vias[0].layer].family, p->vias[0].addr);
	}
}

struct addresses {
	struct oracle_address at[8];
	const struct packet_layer *layer[8];
	bool source[8];
	size_t n;
};

static void
address_give(struct addresses *a, const struct packet_layer *l, const uint8_t *addr, bool source)
{
	struct oracle_address *o = &a->at[a->n];

	*o = (struct oracle_address){.family = l->family};
	memcpy(o->addr, addr, 16);
	if (l->flags & PACKET_PORTS) {
		o->proto = l->proto;
		o->port = source ? l->sport : l->dport;
	}
	a->layer[a->n] = l;
	a->source[a->n++] = source;
}

// Innermost first, destination before source.
static void addresses_list(const struct packet *p, enum direction d, struct addresses *a)
{
	a->n = 0;
	for (int i = p->n_layers - 1; i >= 0; i--) {
		const struct packet_layer *l = &p->layers[i];

		if (d != DIRECTION_IN) {
			address_give(a, l, l->dst, false);
			if (p->n_vias && p->vias[0].layer == i)
				address_give(a, l, p->vias[0].addr, false);
		}
		if (d != DIRECTION_OUT)
			address_give(a, l, l->src, true);
	}
}

// A later fragment to an address that a port entry enforces on and that no exception covers.
static bool fragment_hit(const struct model *m, const struct addresses *a)
{
	for (size_t i = 0; i < a->n; i++) {
		bool hit = false, excepted = false;

		if (!(a->layer[i]->flags & PACKET_FRAGMENT_LATER))
			continue;
		for (size_t e = 0; e < m->n_entries; e++) {
			const struct indicator *n = &m->entries[e].indicator;

			hit |= n->kind == INDICATOR_PORT && n->family == a->at[i].family
				&& memcmp(n->addr, a->at[i].addr, 16) == 0
				&& entry_action_at(&m->entries[e], NOW) == ENTRY_ENFORCE;
		}
		for (size_t x = 0; x < m->n_exceptions; x++)
			excepted |= m->exceptions[x].until > NOW
				&& indicator_covers_address(
					    &m->exceptions[x].indicator,
					    a->at[i].family,
					    a->at[i].addr,
					    0,
					    0
				);
		if (hit && !excepted)
			return true;
	}
	return false;
}

static enum reason
reason_expected(const struct model *m, enum judgement j, const struct entry *e, bool fragment)
{
	bool drop = m->policy.verdicts[REASON_FRAGMENT_PORT_ENTRY] == VERDICT_DROP
		&& !m->policy.paused;

	if (j == JUDGE_DENY)
		return REASON_ENTRY_DENY;
	if (fragment && (drop || j != JUDGE_MONITOR))
		return REASON_FRAGMENT_PORT_ENTRY;
	switch (j) {
	case JUDGE_MONITOR:
		return entry_action_at(e, NOW) == ENTRY_ENFORCE ? REASON_PAUSED
								: REASON_ENTRY_MONITOR;
	case JUDGE_PROTECTED:
		return REASON_PROTECTED;
	case JUDGE_ALLOWED:
		return REASON_ALLOWED;
	default:
		return REASON_NO_ENTRY;
	}
}

// A fragment to a protected address without any other entry is PROTECTED too: the oracle knows no
// fragments, so it is left out of the comparison.
static bool fragment_protected(const struct decision *d)
{
	return d->rule == MATCH_NONE
		&& (d->reason == REASON_PROTECTED || d->reason == REASON_ALLOWED);
}

// Alone, or behind others in a burst.
static void packet_decide(
	const struct model *m, const struct packet *p, enum direction direction, struct decision *d
)
{
	struct match_burst burst;
	struct decide_asked other, asked;

	if (below(2)) {
		decide(&m->policy, m->entry_match, m->exception_match, p, direction, d);
		return;
	}
	match_clear(m->entry_match, &burst);
	for (unsigned n = below(40); n; n--) {
		struct packet filler;

		packet_draw(&filler);
		(void)decide_ask(&m->policy, &filler, DIRECTION_BOTH, &burst, &other);
	}
	if (!decide_ask(&m->policy, p, direction, &burst, &asked)) {
		if (match_pushed(&burst) < MATCH_BURST - 17)
			die(m, "no room where there was some");
		match_clear(m->entry_match, &burst);
		(void)decide_ask(&m->policy, p, direction, &burst, &asked);
	}
	match_begin(m->entry_match, &burst);
	match_end(m->entry_match, &burst);
	decide_answer(&m->policy, m->exception_match, p, direction, &burst, &asked, d);
}

static void packet_compare(struct model *m)
{
	struct oracle_list list
		= {m->entries, m->n_entries, m->exceptions, m->n_exceptions, NOW, m->policy.paused};
	enum direction direction = (enum direction)below(3);
	const struct entry *entry;
	struct addresses a;
	struct packet p;
	struct decision d;
	size_t index;
	enum judgement j;
	enum reason want;
	struct match_key key, got;

	packet_draw(&p);
	addresses_list(&p, direction, &a);
	packet_decide(m, &p, direction, &d);
	j = oracle_judge(&list, a.at, a.n, &index, &entry);
	want = reason_expected(m, j, entry, fragment_hit(m, &a));
	m->judged[j]++;
	m->fragments += want == REASON_FRAGMENT_PORT_ENTRY;
	if (fragment_protected(&d) && j <= JUDGE_ALLOWED)
		return;
	if (d.reason != want) {
		printf("got %s, want %s\n", reason_table[d.reason].name, reason_table[want].name);
		die(m, "another reason than the oracle's");
	}
	if (want == REASON_FRAGMENT_PORT_ENTRY || !entry) {
		if (d.rule != MATCH_NONE)
			die(m, "an entry is reported where there is none");
		return;
	}
	key_from_indicator(&entry->indicator, &key);
	if (d.rule != MATCH_NONE)
		match_rule_key(m->entry_match, d.rule, &got);
	if (d.rule == MATCH_NONE || !key_equal(&got, &key))
		die(m, "another entry than the oracle's");
	if (&p.layers[d.layer] != a.layer[index] || d.source != a.source[index])
		die(m, "another address than the oracle's");
}

static void model_init(struct model *m)
{
	uint8_t key[16];
	uint32_t sizes[] = {ENTRIES, EXCEPTIONS};

	for (int i = 0; i < 2; i++) {
		for (size_t k = 0; k < sizeof(key); k++)
			key[k] = (uint8_t)below(256);
		*(i ? &m->exception_match : &m->entry_match) = match_map(sizes[i], key);
	}
	policy_init(&m->policy);
	m->policy.have_list = true;
}

// What the processor cannot do stays as it was.
static void variant_draw(struct model *m)
{
	static const char *const variants[] = {"portable", "avx2", "avx512"};

	(void)match_variant_set(m->entry_match, variants[below(3)]);
	(void)match_variant_set(m->exception_match, variants[below(3)]);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
	uint64_t packets = argc > 2 ? strtoull(argv[2], NULL, 0) : PACKETS;
	struct model m = {0};

	printf("seed %" PRIu64 "; again: %s %" PRIu64 "\n", seed, argv[0], seed);
	fflush(stdout);
	state = seed * 2 + 1;
	model_init(&m);
	for (uint64_t n = 0; n < packets; n++) {
		if (n % 16 == 0) {
			m.changes++;
			variant_draw(&m);
			entry_change(&m);
			if (below(8) == 0)
				exception_change(&m);
			m.policy.paused = below(8) == 0;
			m.policy.verdicts[REASON_FRAGMENT_PORT_ENTRY] = (uint8_t)below(2);
		}
		packet_compare(&m);
	}
	match_unmap(m.entry_match);
	match_unmap(m.exception_match);
	for (int j = 0; j <= JUDGE_DENY; j++) {
		printf("judgement %d: %" PRIu64 "\n", j, m.judged[j]);
		if (m.judged[j] < packets / 200)
			die(&m, "too few of a judgement to prove anything");
	}
	printf("fragments: %" PRIu64 "\n", m.fragments);
	if (m.fragments < packets / 1000)
		die(&m, "too few fragments to prove anything");
	return 0;
}
