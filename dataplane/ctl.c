// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/ctl.h"

#include "dataplane/ctl_status.h"
#include "rules/text.h"
#include "rules/wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_PATH "/run/stanch/dataplane-ctl.sock"
#define ANSWER_S 10

enum {
	EXIT_DONE = 0,
	EXIT_REFUSED = 1,
	EXIT_USAGE = 64,
	EXIT_UNAVAILABLE = 69,
};

struct ctl {
	const char *socket, *duration, *reason;
	bool end, json;
	union {
		uint8_t octets[WIRE_MESSAGE_MAX];
		struct wire_header header;
		struct wire_result result;
	} answer;
	size_t answer_len;
};

static int usage(const char *why)
{
	if (why)
		fprintf(stderr, "stanch-dataplane ctl: %s\n", why);
	fprintf(why ? stderr : stdout,
		"usage: stanch-dataplane ctl allow INDICATOR [--for 4h] --reason TEXT\n"
		"       stanch-dataplane ctl allow INDICATOR --end\n"
		"       stanch-dataplane ctl pause [--for 15m] --reason TEXT\n"
		"       stanch-dataplane ctl resume\n"
		"       stanch-dataplane ctl status [--json]\n"
		"Every form takes --socket PATH (%s).\n"
		"Allows and the pause last at most a day; control audits them when it is back.\n",
		SOCKET_PATH);
	return why ? EXIT_USAGE : EXIT_DONE;
}

static int unavailable(const struct ctl *c)
{
	int error = errno;

	fprintf(stderr,
		"stanch-dataplane ctl: no data plane answers at %s: %s\n",
		c->socket,
		strerror(error));
	if (error == EACCES)
		fprintf(stderr, "The control socket is root's alone: call it as root.\n");
	else if (error == ENOENT || error == ECONNREFUSED)
		fprintf(stderr, "Is stanch-dataplane running, with this run_dir?\n");
	return EXIT_UNAVAILABLE;
}

// One request, one answer. 0, or an exit status.
static int ask(struct ctl *c, const void *message, size_t len)
{
	const struct timeval patience = {.tv_sec = ANSWER_S};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t path_len = strlen(c->socket);
	ssize_t n = -1;
	int fd;

	if (path_len >= sizeof(address.sun_path))
		return usage("the socket's path is too long");
	memcpy(address.sun_path, c->socket, path_len);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return unavailable(c);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0
	    && send(fd, message, len, MSG_NOSIGNAL) == (ssize_t)len)
		n = recv(fd, c->answer.octets, sizeof(c->answer.octets), 0);
	if (n == 0)
		errno = ECONNRESET;
	if (n <= 0 || wire_header_check(c->answer.octets, (size_t)n) < 0) {
		int status;

		if (n > 0)
			errno = EBADMSG;
		status = unavailable(c);
		close(fd);
		return status;
	}
	close(fd);
	c->answer_len = (size_t)n;
	return 0;
}

static int result_tell(const struct ctl *c, const char *done)
{
	if (c->answer.header.type != WIRE_RESULT) {
		fprintf(stderr, "stanch-dataplane ctl: another build answers\n");
		return EXIT_UNAVAILABLE;
	}
	switch (c->answer.result.code) {
	case WIRE_OK:
		printf("%s\n", done);
		return EXIT_DONE;
	case WIRE_IO:
		printf("%s\n", done);
		fprintf(stderr,
			"It could not be written to disk: it holds until the data plane restarts, "
			"not longer.\n");
		return EXIT_DONE;
	case WIRE_STALLED:
		fprintf(stderr,
			"It is stored, but a worker has stalled and may not act on it: see "
			"'stanch-dataplane ctl status'.\n");
		return EXIT_REFUSED;
	case WIRE_FULL:
		fprintf(stderr,
			"Refused: %llu allows are in force already; end one first.\n",
			(unsigned long long)c->answer.result.limit);
		return EXIT_REFUSED;
	default:
		fprintf(stderr, "Refused: %s.\n", wire_code_name(c->answer.result.code));
		return EXIT_REFUSED;
	}
}

static struct wire_header header_make(uint16_t type, size_t len)
{
	return (struct wire_header
	){.type = type, .version = WIRE_VERSION, .length = (uint32_t)len, .seq = 1};
}

static int until_of(const char *duration, const char *standard, int64_t *ret_until)
{
	const char *text = duration ? duration : standard;
	int64_t seconds;

	if (duration_parse(text, strlen(text), &seconds) < 0)
		return usage("--for takes a duration such as 15m or 4h");
	if (seconds > 24 * 3600)
		return usage("--for is at most 24h");
	*ret_until = (int64_t)time(NULL) + seconds;
	return 0;
}

static int reason_of(const struct ctl *c, char to[static 128])
{
	if (!c->reason || !*c->reason)
		return usage("--reason is needed: it goes into the audit");
	if (strlen(c->reason) > 127)
		return usage("--reason is at most 127 octets");
	memcpy(to, c->reason, strlen(c->reason) + 1);
	return 0;
}

static int allow(struct ctl *c, const char *text)
{
	struct wire_ctl_allow m = {.header = header_make(WIRE_CTL_ALLOW, sizeof(m))};
	struct indicator_error error;
	struct indicator n;
	char done[INDICATOR_TEXT_MAX + 128], until[24], canonical[INDICATOR_TEXT_MAX];
	int status = 0;

	if (indicator_parse(text, strlen(text), &n, &error) < 0) {
		fprintf(stderr,
			"stanch-dataplane ctl: %s: column %zu: %s\n",
			text,
			error.column,
			error.reason);
		return EXIT_USAGE;
	}
	if (n.kind == INDICATOR_NAME)
		return usage("names are not matched by the data plane: give an address or network");
	if (!c->end) {
		status = until_of(c->duration, "4h", &m.until);
		if (status == 0)
			status = reason_of(c, m.reason);
	}
	if (status)
		return status;
	wire_indicator_write(&m.indicator, sizeof(m.indicator), &n);
	indicator_print(&n, canonical);
	status = ask(c, &m, sizeof(m));
	if (status)
		return status;
	if (c->end && c->answer.header.type == WIRE_RESULT
	    && c->answer.result.code == WIRE_BAD_MESSAGE) {
		fprintf(stderr,
			"Refused: no allow of root's for %s is in force. Those of 'stanch allow' "
			"are "
			"ended with 'stanch allow %s --end'.\n",
			canonical,
			canonical);
		return EXIT_REFUSED;
	}
	until_print(m.until, until);
	if (c->end)
		snprintf(done, sizeof(done), "The allow of %s has ended.", canonical);
	else
		snprintf(done, sizeof(done), "%s is allowed until %s.", canonical, until);
	return result_tell(c, done);
}

static int pause_or_resume(struct ctl *c, bool resume)
{
	struct wire_pause m = {.header = header_make(WIRE_CTL_PAUSE, sizeof(m))};
	char done[128], until[24];
	int status = 0;

	if (!resume) {
		status = until_of(c->duration, "15m", &m.until);
		if (status == 0)
			status = reason_of(c, m.reason);
	}
	if (status == 0)
		status = ask(c, &m, sizeof(m));
	if (status)
		return status;
	until_print(m.until, until);
	if (resume)
		snprintf(done, sizeof(done), "Enforcement is on again.");
	else
		snprintf(
			done,
			sizeof(done),
			"Enforcement is paused until %s: nothing is dropped by "
			"the list.",
			until
		);
	return result_tell(c, done);
}

static int status_show(struct ctl *c)
{
	const struct wire_header m = header_make(WIRE_STATUS_GET, sizeof(m));
	int status = ask(c, &m, sizeof(m)), r;

	if (status)
		return status;
	if (c->answer.header.type != WIRE_STATUS)
		return result_tell(c, "");
	r = c->json ? ctl_status_json(stdout, c->answer.octets, c->answer_len)
		    : ctl_status_print(stdout, c->answer.octets, c->answer_len);
	if (r < 0) {
		errno = -r;
		return unavailable(c);
	}
	return EXIT_DONE;
}

static int options_parse(struct ctl *c, int argc, char **argv)
{
	static const struct option options[] = {
		{"for", required_argument, NULL, 'f'},
		{"reason", required_argument, NULL, 'r'},
		{"end", no_argument, NULL, 'e'},
		{"json", no_argument, NULL, 'j'},
		{"socket", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'f':
			c->duration = optarg;
			break;
		case 'r':
			c->reason = optarg;
			break;
		case 'e':
			c->end = true;
			break;
		case 'j':
			c->json = true;
			break;
		case 's':
			c->socket = optarg;
			break;
		case 'h':
			return -1;
		default:
			return EXIT_USAGE;
		}
	}
	return 0;
}

int ctl_main(int argc, char **argv)
{
	static struct ctl c; // a message's room is too much for a stack
	int status, rest;
	const char *verb;

	c.socket = SOCKET_PATH;
	optind = 1;
	status = options_parse(&c, argc, argv);
	if (status)
		return status < 0 ? usage(NULL) : usage("unknown or incomplete option");
	rest = argc - optind;
	verb = rest ? argv[optind] : "";
	if (rest == 2 && strcmp(verb, "allow") == 0)
		return allow(&c, argv[optind + 1]);
	if (rest == 1 && strcmp(verb, "pause") == 0)
		return pause_or_resume(&c, false);
	if (rest == 1 && strcmp(verb, "resume") == 0)
		return pause_or_resume(&c, true);
	if (rest == 1 && strcmp(verb, "status") == 0)
		return status_show(&c);
	return usage(rest ? "no such command" : "a command is needed");
}
