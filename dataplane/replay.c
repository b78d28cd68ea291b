// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// stanch-replay: what the gateway would do with the packets of a capture. The same core/ as in the
// workers; no ports, no EAL, no built-in exceptions, only those of the file.

#include "dataplane/capture.h"
#include "dataplane/core/decide.h"
#include "dataplane/ruleset.h"

#include <jansson.h>
#include <pcap/pcap.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define INSIDE_MAX 64

struct replay {
	const char *rules_path;
	bool json, both;
	int64_t now;
	struct indicator inside[INSIDE_MAX];
	unsigned n_inside;
	struct ruleset rules;
	struct policy policy;
	uint64_t packets, octets;
	uint64_t verdicts[3];
	uint64_t reasons[REASON_COUNT][3];
};

struct file {
	const char *path;
	char *json; // the path as a JSON string
	bool many; // more than one capture: the path stands on each line
	int dlt;
	uint8_t *scratch;
	size_t scratch_size;
};

static const char help[]
	= "usage: stanch-replay --rules FILE [--json] [--both | --inside CIDR...]\n"
	  "                     [--nat64 PREFIX...] CAPTURE...\n"
	  "\n"
	  "Says of each packet of the captures (pcap or pcapng; Ethernet, raw IP, null/loopback,\n"
	  "Linux cooked) what the gateway would do with it by the rules of FILE (the text of\n"
	  "deny.rules): its number, the verdict forward, drop or monitor, the reason, and the "
	  "entry.\n"
	  "\n"
	  "  --rules FILE   entries and exceptions; there are no others\n"
	  "  --json         one object a line: file, packet, verdict, reason, entry\n"
	  "  --both         judge sources as well as destinations (without: destinations only)\n"
	  "  --inside CIDR  what is inside: packets from there are judged by destination, packets\n"
	  "                 to there by source, others by both; may be given again\n"
	  "  --nat64 PREFIX the network's own: the IPv4 address inside is judged too; may be "
	  "given\n"
	  "                 again\n"
	  "  --at TIME      judge ends (until=) as at TIME, such as 2026-11-24T12:00:00Z\n"
	  "  --help, --version\n"
	  "\n"
	  "Exit status: 0 done; 64 usage; 65 rules or capture damaged or not understood; 66 no "
	  "such\n"
	  "file; 74 the output could not be written. With 65 or 66 for a capture, the others, and\n"
	  "the packets before the damage, have been judged.\n";

static const char *const verdict_names[] = {
	[VERDICT_DROP] = "drop",
	[VERDICT_FORWARD] = "forward",
	[VERDICT_MONITOR] = "monitor",
};

static int fail(int status, const char *path, const char *reason)
{
	fprintf(stderr, "stanch-replay: %s: %s\n", path, reason);
	return status;
}

// --- direction

static bool is_inside(const struct replay *r, const struct packet_layer *l, const uint8_t *addr)
{
	for (unsigned i = 0; i < r->n_inside; i++) {
		if (indicator_covers_address(&r->inside[i], l->family, addr, 0, 0))
			return true;
	}
	return false;
}

static enum direction direction_of(const struct replay *r, const struct packet *p)
{
	bool from, to;

	if (r->both)
		return DIRECTION_BOTH;
	if (!r->n_inside || !p->n_layers)
		return DIRECTION_OUT;
	from = is_inside(r, &p->layers[0], p->layers[0].src);
	to = is_inside(r, &p->layers[0], p->layers[0].dst);
	if (from == to)
		return DIRECTION_BOTH;
	return from ? DIRECTION_OUT : DIRECTION_IN;
}

// --- output

static void packet_print(
	const struct replay *r, const struct file *f, uint64_t number, const struct decision *d
)
{
	const char *verdict = verdict_names[d->verdict], *reason = reason_table[d->reason].name;
	char entry[INDICATOR_TEXT_MAX] = "";

	if (d->rule != MATCH_NONE)
		ruleset_rule_print(r->rules.entries, d->rule, entry);
	if (r->json) {
		printf("{\"file\": %s, \"packet\": %" PRIu64
		       ", \"verdict\": \"%s\", \"reason\": \"%s\"",
		       f->json,
		       number,
		       verdict,
		       reason);
		if (*entry)
			printf(", \"entry\": \"%s\"", entry);
		printf("}\n");
		return;
	}
	if (f->many)
		printf("%s:", f->path);
	printf("%" PRIu64 " %s %s%s%s\n", number, verdict, reason, *entry ? " " : "", entry);
}

static void summary_print(const struct replay *r)
{
	printf("\n%" PRIu64 " packets, %" PRIu64 " octets: %" PRIu64 " forward, %" PRIu64
	       " drop, %" PRIu64 " monitor\n",
	       r->packets,
	       r->octets,
	       r->verdicts[VERDICT_FORWARD],
	       r->verdicts[VERDICT_DROP],
	       r->verdicts[VERDICT_MONITOR]);
	for (int i = 0; i < REASON_COUNT; i++) {
		for (int v = 0; v < 3; v++) {
			if (r->reasons[i][v])
				printf("  %10" PRIu64 "  %-8s %-22s %s\n",
				       r->reasons[i][v],
				       verdict_names[v],
				       reason_table[i].name,
				       reason_table[i].help);
		}
	}
	if (r->rules.inert)
		printf("%" PRIu64 " lines of the rules had passed their end\n", r->rules.inert);
}

// JSON is UTF-8: the octets of a path that are not become U+FFFD.
static char *json_quote(const char *text)
{
	json_t *string = json_string(text);
	size_t len = strlen(text), at = 0;
	char *clean, *quoted = NULL;

	if (!string && (clean = malloc(3 * len + 1))) {
		for (size_t i = 0; i < len; i++) {
			if ((unsigned char)text[i] < 0x80) {
				clean[at++] = text[i];
				continue;
			}
			memcpy(clean + at, "\xef\xbf\xbd", 3);
			at += 3;
		}
		string = json_stringn(clean, at);
		free(clean);
	}
	if (string)
		quoted = json_dumps(string, JSON_ENCODE_ANY);
	json_decref(string);
	return quoted;
}

// --- captures

static bool scratch_grow(struct file *f, size_t size)
{
	uint8_t *grown;

	if (size <= f->scratch_size)
		return true;
	grown = realloc(f->scratch, size);
	if (!grown)
		return false;
	f->scratch = grown;
	f->scratch_size = size;
	return true;
}

static void packet_judge(
	struct replay *r,
	struct file *f,
	uint64_t number,
	const struct pcap_pkthdr *h,
	const uint8_t *data
)
{
	struct packet p;
	struct decision d;

	capture_parse(f->dlt, data, h->caplen, h->len, f->scratch, &p);
	nat64_walk(&r->policy.nat64, &p);
	decide(&r->policy, r->rules.entries, r->rules.exceptions, &p, direction_of(r, &p), &d);
	r->packets++;
	r->octets += h->len;
	r->verdicts[d.verdict]++;
	r->reasons[d.reason][d.verdict]++;
	packet_print(r, f, number, &d);
}

static int packets_judge(struct replay *r, struct file *f, pcap_t *pcap)
{
	struct pcap_pkthdr *h;
	const uint8_t *data;
	uint64_t n = 0;
	char text[PCAP_ERRBUF_SIZE + 64];
	int more;

	while ((more = pcap_next_ex(pcap, &h, &data)) == 1) {
		if (!scratch_grow(f, (size_t)h->caplen + 14))
			return fail(EX_OSERR, f->path, strerror(ENOMEM));
		packet_judge(r, f, ++n, h, data);
	}
	if (more != PCAP_ERROR)
		return 0;
	snprintf(text, sizeof(text), "after %" PRIu64 " packets: %s", n, pcap_geterr(pcap));
	return fail(EX_DATAERR, f->path, text);
}

static int file_judge(struct replay *r, const char *path, bool many)
{
	char error[PCAP_ERRBUF_SIZE] = "", text[128];
	struct file f = {.path = path, .many = many};
	FILE *stream = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
	pcap_t *pcap;
	int status;

	if (!stream)
		return fail(EX_NOINPUT, path, strerror(errno));
	pcap = pcap_fopen_offline(stream, error);
	if (!pcap) {
		if (stream != stdin)
			fclose(stream);
		return fail(EX_DATAERR, path, error);
	}
	f.dlt = pcap_datalink(pcap);
	f.json = json_quote(path);
	if (!f.json) {
		status = fail(EX_OSERR, path, strerror(ENOMEM));
	} else if (!capture_supported(f.dlt)) {
		snprintf(text, sizeof(text), "link type %d is not supported", f.dlt);
		status = fail(EX_DATAERR, path, text);
	} else {
		status = packets_judge(r, &f, pcap);
	}
	free(f.json);
	free(f.scratch);
	pcap_close(pcap);
	return status;
}

// --- options

static int inside_add(struct replay *r, const char *text)
{
	struct indicator_error error;
	struct indicator *n = &r->inside[r->n_inside];

	if (r->n_inside == INSIDE_MAX)
		return fail(EX_USAGE, "--inside", "given too often");
	if (indicator_parse(text, strlen(text), n, &error) < 0)
		return fail(EX_USAGE, text, error.reason);
	if (n->kind != INDICATOR_NET)
		return fail(EX_USAGE, text, "--inside takes an address or a prefix");
	r->n_inside++;
	return 0;
}

static int nat64_take(struct replay *r, const char *text)
{
	struct indicator_error error;
	struct indicator n;

	if (indicator_parse(text, strlen(text), &n, &error) < 0)
		return fail(EX_USAGE, text, error.reason);
	if (n.kind != INDICATOR_NET || n.family != 6
	    || !nat64_add(&r->policy.nat64, n.addr, n.prefix_len))
		return fail(
			EX_USAGE,
			text,
			"--nat64 takes up to 8 IPv6 prefixes of 32, 40, 48, 56, 64 or 96 bits"
		);
	return 0;
}

static int option_take(struct replay *r, int option)
{
	switch (option) {
	case 'r':
		r->rules_path = optarg;
		return 0;
	case 'j':
		r->json = true;
		return 0;
	case 'b':
		r->both = true;
		return 0;
	case 'i':
		return inside_add(r, optarg);
	case 'n':
		return nat64_take(r, optarg);
	case 'a':
		if (until_parse(optarg, strlen(optarg), &r->now) < 0 || r->now == UNTIL_FOREVER)
			return fail(EX_USAGE, optarg, "not a time such as 2026-11-24T12:00:00Z");
		return 0;
	case 'h':
		fputs(help, stdout);
		exit(0);
	case 'v':
		puts("stanch-replay " STANCH_VERSION);
		exit(0);
	default:
		fputs(help, stderr);
		return EX_USAGE;
	}
}

static int options_take(struct replay *r, int argc, char **argv)
{
	static const struct option options[] = {
		{"rules", required_argument, NULL, 'r'},
		{"json", no_argument, NULL, 'j'},
		{"both", no_argument, NULL, 'b'},
		{"inside", required_argument, NULL, 'i'},
		{"nat64", required_argument, NULL, 'n'},
		{"at", required_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{0},
	};
	int option, status;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if ((status = option_take(r, option)) != 0)
			return status;
	}
	if (!r->rules_path || optind == argc) {
		fputs(help, stderr);
		return EX_USAGE;
	}
	if (r->both && r->n_inside)
		return fail(EX_USAGE, "--both", "and --inside exclude each other");
	return 0;
}

static int rules_load(struct replay *r)
{
	struct text_error error = {0};
	char text[1024];
	int failed = ruleset_load(r->rules_path, r->now, &r->rules, &error);

	if (failed == -EINVAL) {
		text_error_print(&error, text, sizeof(text));
		fprintf(stderr, "%s\n", text);
		return EX_DATAERR;
	}
	if (failed < 0)
		return fail(
			failed == -ENOMEM ? EX_OSERR : EX_NOINPUT, r->rules_path, strerror(-failed)
		);
	if (r->rules.names)
		fprintf(stderr,
			"stanch-replay: %" PRIu64
			" lines of %s are names: they match no packet yet\n",
			r->rules.names,
			r->rules_path);
	return 0;
}

int main(int argc, char **argv)
{
	struct replay r = {.now = time(NULL)};
	int status;

	policy_init(&r.policy);
	r.policy.have_list = true;
	if ((status = options_take(&r, argc, argv)) != 0)
		return status;
	if ((status = rules_load(&r)) != 0)
		return status;
	for (int i = optind; i < argc; i++) {
		int failed = file_judge(&r, argv[i], argc - optind > 1);

		if (failed && !status)
			status = failed;
	}
	if (!r.json)
		summary_print(&r);
	ruleset_fini(&r.rules);
	if (fflush(stdout) || ferror(stdout))
		return fail(EX_IOERR, "standard output", strerror(errno));
	return status;
}
