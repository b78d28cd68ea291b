// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What every subcommand of `stanch` uses: its options, and the API over the Unix socket.
//
// One thread.

#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

enum exit_code {
	EXIT_DONE = 0,
	EXIT_REFUSED = 1,
	EXIT_DIFFERS = 2,
	EXIT_USAGE = 64,
	EXIT_UNAVAILABLE = 69,
};

enum option_bit {
	OPT_FILE = 1 << 0,
	OPT_MONITOR = 1 << 1,
	OPT_FOR = 1 << 2,
	OPT_REASON = 1 << 3,
	OPT_FORCE = 1 << 4,
	OPT_END = 1 << 5,
	OPT_FOLLOW = 1 << 6,
	OPT_VERIFY = 1 << 7,
	OPT_ROLE = 1 << 8,
	OPT_WAIT = 1 << 9,
	OPT_SOURCE = 1 << 10,
	OPT_ACTION = 1 << 11,
	OPT_ENTRIES = 1 << 12,
	OPT_FLEET = 1 << 13,
};

struct cli {
	const char *program; // argv[0]
	const char *socket;
	bool json;
	unsigned given; // option_bit
	const char *file, *duration, *reason, *role, *wait, *source, *action;
	char *const *args;
	int n_args;
};

struct command {
	const char *name;
	const char *args; // of the usage line
	const char *help;
	unsigned options; // those it takes
	int min_args, max_args; // max -1: any
	int (*run)(const struct cli *);
};

// Asks the API; `body` is taken, NULL for none. Returns an exit code; EXIT_DONE and EXIT_REFUSED
// come with the answer (never NULL), whose HTTP status is in ret_status. Else it has said why.
int api_ask(
	const struct cli *,
	const char *method,
	const char *path,
	json_t *body,
	long *ret_status,
	json_t **ret_answer
);
// The same, and a refusal told on stderr, with --json the answer on stdout; what remains is to
// print a good one.
int api_do(
	const struct cli *, const char *method, const char *path, json_t *body, json_t **ret_answer
);
// api_do of GET `path` with the command's indicator behind it.
int api_of_indicator(const struct cli *, const char *path, json_t **ret_answer);
// A POST of which only that it was done is told: in the words `done`.
int api_act(const struct cli *, const char *path, json_t *body, const char *done);
// Each line of a stream as it comes, until the peer ends it.
int api_follow(const struct cli *, const char *path, void (*line)(const struct cli *, json_t *));

void json_show(json_t *); // one object on stdout, indented
int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Percent-encoded for a path or query; free it. NULL: no memory.
char *url_text(const char *);
// "" where it is missing or null.
const char *text_of(json_t *object, const char *key);
long long number_of(json_t *object, const char *key);
