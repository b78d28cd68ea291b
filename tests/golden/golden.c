// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Runs the golden cases: folders of rules and packets with the verdict that each must get.
//
//   golden FOLDER [CASE…]            every case below FOLDER, or these
//   golden --write FILE FOLDER CASE  the Ethernet packets of a case as a capture, to look at
//
// A case is a folder with `deny.rules` (rules/text.h) and `packets`, a line each:
//
//   # a comment
//   set KEY=VALUE …                      for the packets that follow
//   PACKET => VERDICT REASON [ENTRY]     PACKET: frame.h
//   cuts PACKET                          however short the frame is cut, it is dropped as malformed
//
// A backslash at the end goes on with the next line. Keys of set: direction=out|in|both
// at=TIME (before the first packet) paused=yes|no list=yes|no start=closed|open inbound=deny|allow
// non_ip=drop|forward fragments=forward|drop nat64=PREFIX (one more).
// Every row of reasons.def that core/ can give must be expected by some case.

#include "dataplane/core/decide.h"
#include "dataplane/ruleset.h"
#include "tests/golden/frame.h"

#include <pcap/pcap.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct golden {
	const char *folder, *name;
	unsigned line;
	struct ruleset rules;
	struct policy policy;
	enum direction direction;
	int64_t at;
	unsigned packets, failed;
	bool seen[REASON_COUNT];
	pcap_dumper_t *dump;
};

static const char *const verdict_names[] = {
	[VERDICT_DROP] = "drop",
	[VERDICT_FORWARD] = "forward",
	[VERDICT_MONITOR] = "monitor",
};

static void failed(struct golden *g, const char *what, const char *more)
{
	g->failed++;
	printf("FAIL %s/%s/packets:%u: %s%s\n", g->folder, g->name, g->line, what, more);
}

// --- settings

struct setting {
	const char *text;
	enum reason reason; // whose verdict it sets
	enum verdict verdict;
};

static const struct setting verdict_settings[] = {
	{"start=closed", REASON_NO_LIST, VERDICT_DROP},
	{"start=open", REASON_NO_LIST, VERDICT_FORWARD},
	{"non_ip=drop", REASON_NON_IP, VERDICT_DROP},
	{"non_ip=forward", REASON_NON_IP, VERDICT_FORWARD},
	{"non_ip=drop", REASON_TUNNEL_UNKNOWN, VERDICT_DROP},
	{"non_ip=forward", REASON_TUNNEL_UNKNOWN, VERDICT_FORWARD},
	{"fragments=forward", REASON_FRAGMENT_PORT_ENTRY, VERDICT_FORWARD},
	{"fragments=drop", REASON_FRAGMENT_PORT_ENTRY, VERDICT_DROP},
};

static int rules_load(struct golden *g)
{
	char path[4096], text[1024];
	struct text_error error = {0};
	int r;

	ruleset_fini(&g->rules);
	snprintf(path, sizeof(path), "%s/%s/deny.rules", g->folder, g->name);
	r = ruleset_load(path, g->at, &g->rules, &error);
	if (r < 0) {
		text_error_print(&error, text, sizeof(text));
		failed(g, "rules: ", text);
	}
	return r;
}

static bool nat64_take(struct golden *g, const char *text)
{
	struct indicator_error error;
	struct indicator n;

	return indicator_parse(text, strlen(text), &n, &error) == 0 && n.family == 6
		&& nat64_add(&g->policy.nat64, n.addr, n.prefix_len);
}

static void setting_take(struct golden *g, const char *word)
{
	bool taken = false;

	for (size_t i = 0; i < sizeof(verdict_settings) / sizeof(*verdict_settings); i++) {
		const struct setting *s = &verdict_settings[i];

		if (strcmp(word, s->text) == 0) {
			g->policy.verdicts[s->reason] = (uint8_t)s->verdict;
			taken = true;
		}
	}
	if (taken)
		return;
	if (strncmp(word, "at=", 3) == 0 && until_parse(word + 3, strlen(word + 3), &g->at) == 0)
		rules_load(g);
	else if (strcmp(word, "direction=out") == 0)
		g->direction = DIRECTION_OUT;
	else if (strcmp(word, "direction=in") == 0)
		g->direction = DIRECTION_IN;
	else if (strcmp(word, "direction=both") == 0)
		g->direction = DIRECTION_BOTH;
	else if (strcmp(word, "paused=yes") == 0 || strcmp(word, "paused=no") == 0)
		g->policy.paused = word[7] == 'y';
	else if (strcmp(word, "list=yes") == 0 || strcmp(word, "list=no") == 0)
		g->policy.have_list = word[5] == 'y';
	else if (strcmp(word, "inbound=allow") == 0 || strcmp(word, "inbound=deny") == 0)
		g->policy.inbound_allow = word[8] == 'a';
	else if (strncmp(word, "nat64=", 6) != 0 || !nat64_take(g, word + 6))
		failed(g, "no such setting: ", word);
}

// --- packets

static void frame_decide(const struct golden *g, const struct frame *f, struct decision *d)
{
	// Exactly as long as it may be read: ASan sees what reads beyond.
	uint8_t *octets = malloc(f->len ? f->len : 1);
	struct packet p;

	memcpy(octets, f->octets, f->len);
	packet_parse(octets, f->len, f->wire_len, f->link, &p);
	nat64_walk(&g->policy.nat64, &p);
	decide(&g->policy, g->rules.entries, g->rules.exceptions, &p, g->direction, d);
	free(octets);
}

static void frame_dump(const struct golden *g, const struct frame *f)
{
	struct pcap_pkthdr h = {.caplen = f->len, .len = f->wire_len};

	if (g->dump && f->link == PACKET_ETHERNET)
		pcap_dump((u_char *)g->dump, &h, f->octets);
}

static void packet_run(struct golden *g, const char *text, const char *expected)
{
	char error[128], got[512], entry[INDICATOR_TEXT_MAX] = "";
	struct frame f;
	struct decision d;

	g->packets++;
	if (frame_parse(text, &f, error) < 0) {
		failed(g, "", error);
		return;
	}
	frame_dump(g, &f);
	frame_decide(g, &f, &d);
	if (d.rule != MATCH_NONE)
		ruleset_rule_print(g->rules.entries, d.rule, entry);
	snprintf(
		got,
		sizeof(got),
		"%s %s%s%s",
		verdict_names[d.verdict],
		reason_table[d.reason].name,
		*entry ? " " : "",
		entry
	);
	if (strcmp(got, expected) == 0) {
		g->seen[d.reason] = true;
		return;
	}
	failed(g, "got ", got);
	printf("  expected %s\n  of %s\n", expected, text);
}

static bool is_malformed(uint8_t reason)
{
	return strncmp(reason_table[reason].name, "BAD_", 4) == 0
		|| reason == REASON_FRAGMENT_FIRST_SHORT;
}

static void cuts_run(struct golden *g, const char *text)
{
	char error[128], what[160];
	struct frame f;
	struct decision d;
	uint32_t whole;

	if (frame_parse(text, &f, error) < 0) {
		failed(g, "", error);
		return;
	}
	frame_decide(g, &f, &d);
	if (is_malformed(d.reason))
		failed(g, "malformed even when whole: ", reason_table[d.reason].name);
	whole = f.len;
	for (uint32_t n = 0; n < whole; n++) {
		g->packets++;
		f.len = f.wire_len = n;
		frame_decide(g, &f, &d);
		if (d.verdict == VERDICT_DROP && is_malformed(d.reason))
			continue;
		snprintf(
			what,
			sizeof(what),
			"cut after %u: %s %s",
			n,
			verdict_names[d.verdict],
			reason_table[d.reason].name
		);
		failed(g, what, "");
	}
}

// --- files

static char *trim(char *text)
{
	size_t len;

	while (*text == ' ' || *text == '\t')
		text++;
	len = strlen(text);
	while (len && strchr(" \t\r\n", text[len - 1]))
		text[--len] = '\0';
	return text;
}

static void line_run(struct golden *g, char *line)
{
	char *arrow, *word;

	line = trim(line);
	if (!*line || *line == '#')
		return;
	if (strncmp(line, "cuts ", 5) == 0) {
		cuts_run(g, line + 5);
	} else if (strncmp(line, "set ", 4) == 0) {
		line += 4;
		while ((word = strsep(&line, " "))) {
			if (*word)
				setting_take(g, word);
		}
	} else if ((arrow = strstr(line, "=>"))) {
		*arrow = '\0';
		packet_run(g, trim(line), trim(arrow + 2));
	} else {
		failed(g, "neither set nor a packet: ", line);
	}
}

static void packets_run(struct golden *g, FILE *f)
{
	char whole[8192] = "", *line = NULL;
	size_t size = 0;
	ssize_t n;

	while ((n = getline(&line, &size, f)) >= 0) {
		bool more;

		g->line++;
		while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
			line[--n] = '\0';
		more = n && line[n - 1] == '\\';
		if (more)
			line[--n] = '\0';
		if (strlen(whole) + (size_t)n + 1 < sizeof(whole))
			memcpy(whole + strlen(whole), line, (size_t)n + 1);
		if (more)
			continue;
		line_run(g, whole);
		*whole = '\0';
	}
	free(line);
}

static void case_run(struct golden *g, const char *name)
{
	unsigned before = g->failed;
	char path[4096];
	FILE *f;

	g->name = name;
	g->line = 0;
	g->at = 1800000000;
	g->direction = DIRECTION_OUT;
	policy_init(&g->policy);
	g->policy.have_list = true;
	snprintf(path, sizeof(path), "%s/%s/packets", g->folder, name);
	f = fopen(path, "r");
	if (!f) {
		failed(g, "", strerror(errno));
		return;
	}
	if (rules_load(g) == 0)
		packets_run(g, f);
	fclose(f);
	printf("%s %s\n", g->failed == before ? "ok  " : "FAIL", name);
}

static int is_case(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static void cases_run(struct golden *g)
{
	struct dirent **names;
	int n = scandir(g->folder, &names, is_case, alphasort);

	for (int i = 0; i < n; i++) {
		case_run(g, names[i]->d_name);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

// Reasons that only a worker can give: the tests of the data plane provoke those.
static bool is_of_the_worker(int reason)
{
	return reason == REASON_OVERSIZE || reason == REASON_TX_FULL || reason == REASON_BUG;
}

static void reasons_check(struct golden *g)
{
	for (int i = 0; i < REASON_COUNT; i++) {
		if (g->seen[i] || is_of_the_worker(i))
			continue;
		g->failed++;
		printf("FAIL no case expects %s\n", reason_table[i].name);
	}
}

static int case_write(struct golden *g, const char *path, const char *name)
{
	pcap_t *pcap = pcap_open_dead(DLT_EN10MB, 65535);

	g->dump = pcap ? pcap_dump_open(pcap, path) : NULL;
	if (!g->dump) {
		printf("FAIL %s: cannot be written\n", path);
		return 1;
	}
	case_run(g, name);
	pcap_dump_close(g->dump);
	pcap_close(pcap);
	return g->failed != 0;
}

int main(int argc, char **argv)
{
	struct golden g = {0};
	int status;

	if (argc == 5 && strcmp(argv[1], "--write") == 0) {
		g.folder = argv[3];
		status = case_write(&g, argv[2], argv[4]);
		ruleset_fini(&g.rules);
		return status;
	}
	if (argc < 2) {
		fprintf(stderr, "usage: golden FOLDER [CASE...]\n");
		return 64;
	}
	g.folder = argv[1];
	for (int i = 2; i < argc; i++)
		case_run(&g, argv[i]);
	if (argc == 2) {
		cases_run(&g);
		reasons_check(&g);
	}
	ruleset_fini(&g.rules);
	printf("%u packets, %u failures\n", g.packets, g.failed);
	if (g.failed)
		printf("one case alone: %s %s CASE\n", argv[0], g.folder);
	return g.failed != 0 || g.packets == 0;
}
