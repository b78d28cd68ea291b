// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// stanch: the operator's command line.

#include "control/cli/brakes.h"
#include "control/cli/claims.h"
#include "control/cli/client.h"
#include "control/cli/f5.h"
#include "control/cli/fleet.h"
#include "control/cli/lists.h"
#include "control/cli/local.h"
#include "control/cli/preview.h"
#include "control/cli/show.h"
#include "control/cli/thehive.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOCKET_PATH "/run/stanch/control.sock"

static const struct command commands[] = {
	{"status", "", "what the gateway is doing (also without a command)", 0, 0, 0, run_status},
	{"why", "INDICATOR", "what holds it, who decided, what the wire says", 0, 1, 1, run_why},
	{"preview",
	 "INDICATOR",
	 "what a block would cut, estimated from 1 packet in 64; no names",
	 0,
	 1,
	 1,
	 run_preview},
	{"block",
	 "INDICATOR… --reason R",
	 "deny it; default for 7d",
	 OPT_FILE | OPT_MONITOR | OPT_FOR | OPT_REASON | OPT_FORCE | OPT_WAIT,
	 0,
	 -1,
	 run_block},
	{"unblock",
	 "INDICATOR…",
	 "end your claims on it; --force: other operators' and orphaned ones too",
	 OPT_FILE | OPT_REASON | OPT_FORCE | OPT_WAIT,
	 0,
	 -1,
	 run_unblock},
	{"monitor",
	 "INDICATOR… --reason R",
	 "watch it, deny nothing",
	 OPT_FILE | OPT_FOR | OPT_REASON | OPT_FORCE | OPT_WAIT,
	 0,
	 -1,
	 run_monitor},
	{"allow",
	 "[INDICATOR --reason R]",
	 "let it pass above every claim; default for 4h, most 24h",
	 OPT_FOR | OPT_REASON | OPT_END,
	 0,
	 1,
	 run_allow},
	{"pause",
	 "--reason R",
	 "deny nothing, watch only; default for 15m",
	 OPT_FOR | OPT_REASON | OPT_FLEET,
	 0,
	 0,
	 run_pause},
	{"resume", "", "end the pause", OPT_REASON | OPT_FLEET, 0, 0, run_resume},
	{"held",
	 "[approve|reject ID --reason R]",
	 "changes that a brake holds",
	 OPT_REASON,
	 0,
	 2,
	 run_held},
	{"protect",
	 "[INDICATOR --reason R]",
	 "never deny it",
	 OPT_REASON | OPT_END,
	 0,
	 1,
	 run_protect},
	{"list", "", "claims, or entries", OPT_SOURCE | OPT_ACTION | OPT_ENTRIES, 0, 0, run_list},
	{"denials", "", "who tried", OPT_FOLLOW, 0, 0, run_denials},
	{"top",
	 "",
	 "where most packets go and come from, estimated from 1 in 64",
	 0,
	 0,
	 0,
	 run_top},
	{"audit", "", "who did what", OPT_VERIFY, 0, 0, run_audit},
	{"sync",
	 "",
	 "send the whole list to the data plane anew",
	 OPT_FORCE | OPT_REASON,
	 0,
	 0,
	 run_sync},
	{"thehive",
	 "setup [NAME]",
	 "check the account at TheHive; make the custom field of the response action",
	 0,
	 1,
	 2,
	 run_thehive},
	{"f5",
	 "[status|plan|diff|sync|adopt NAME --reason R]",
	 "the mirror to F5 XC: what it is doing, would do, how it differs",
	 OPT_REASON,
	 0,
	 2,
	 run_f5},
	{"fleet",
	 "[verify]",
	 "gateways that enforce one list; verify: exit 2 where one differs or is silent",
	 0,
	 0,
	 1,
	 run_fleet},
	{"lists",
	 "[read NAME]",
	 "lists published by others; read one in full, now; of a stream: what it missed is settled",
	 0,
	 0,
	 2,
	 run_lists},
	{"source",
	 "retire list:NAME --reason R",
	 "end what a source that is gone left in force",
	 OPT_REASON,
	 2,
	 2,
	 run_source},
	{"check", "FILE", "check a configuration with both daemons", 0, 1, 1, run_check},
	{"token",
	 "create NAME --role R --for D",
	 "a new token for the HTTP API",
	 OPT_ROLE | OPT_FOR,
	 2,
	 2,
	 run_token},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct {
	unsigned bit;
	const char *name, *value, *help;
	char letter;
} options[] = {
	{OPT_FILE, "file", "LIST", "one indicator a line; - for standard input", 'F'},
	{OPT_MONITOR, "monitor", NULL, "watch only", 'm'},
	{OPT_FOR, "for", "D", "how long: 15m, 4h, 7d, never", 'd'},
	{OPT_REASON, "reason", "R", "why, for the audit", 'r'},
	{OPT_FORCE,
	 "force",
	 NULL,
	 "lift brakes (never protections); unblock: others' and orphaned claims",
	 'x'},
	{OPT_END, "end", NULL, "end it", 'e'},
	{OPT_FOLLOW, "follow", NULL, "as it happens (also -f)", 'f'},
	{OPT_VERIFY, "verify", NULL, "check the chain", 'v'},
	{OPT_ROLE, "role", "R", "hook, viewer, operator or admin", 'R'},
	{OPT_WAIT, "wait", "S", "seconds to wait for the data plane, 0 to 2", 'w'},
	{OPT_SOURCE, "source", "S", "only of this source", 's'},
	{OPT_ACTION, "action", "A", "only enforce, or only monitor", 'a'},
	{OPT_ENTRIES, "entries", NULL, "entries instead of claims", 'E'},
	{OPT_FLEET, "fleet", NULL, "on every gateway of the fleet", 'L'},
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

static void help_all(FILE *to)
{
	fputs("usage: stanch [COMMAND] [ARGUMENTS] [--json] [--socket PATH]\n\n", to);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
	fputs("\nstanch COMMAND --help tells more. The socket is --socket, $STANCH_SOCKET "
	      "or\n" SOCKET_PATH ".\n"
	      "Exit codes: 0 done, 1 refused, 2 differs (not applied), 64 usage, 69 unavailable.\n",
	      to);
}

static void help_one(const struct command *command)
{
	printf("usage: stanch %s %s\n%s\n", command->name, command->args, command->help);
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (command->options & options[i].bit)
			printf("  --%s%s%-10s %s\n",
			       options[i].name,
			       options[i].value ? " " : "",
			       options[i].value ? options[i].value : "",
			       options[i].help);
	puts("  --json          the API's answer\n  --socket PATH");
}

static void option_take(struct cli *cli, unsigned bit, const char *value)
{
	cli->given |= bit;
	switch (bit) {
	case OPT_FILE:
		cli->file = value;
		break;
	case OPT_FOR:
		cli->duration = value;
		break;
	case OPT_REASON:
		cli->reason = value;
		break;
	case OPT_ROLE:
		cli->role = value;
		break;
	case OPT_WAIT:
		cli->wait = value;
		break;
	case OPT_SOURCE:
		cli->source = value;
		break;
	case OPT_ACTION:
		cli->action = value;
		break;
	default:
		break;
	}
}

// 0, or EXIT_USAGE; ret_help: --help was there.
static int options_take(int argc, char **argv, struct cli *cli, bool *ret_help)
{
	struct option table[N_OPTIONS + 4] = {0};
	for (size_t i = 0; i < N_OPTIONS; i++)
		table[i] = (struct option){
			options[i].name,
			options[i].value ? required_argument : no_argument,
			NULL,
			options[i].letter,
		};
	table[N_OPTIONS] = (struct option){"json", no_argument, NULL, 'j'};
	table[N_OPTIONS + 1] = (struct option){"socket", required_argument, NULL, 'S'};
	table[N_OPTIONS + 2] = (struct option){"help", no_argument, NULL, 'h'};
	int letter;
	while ((letter = getopt_long(argc, argv, "fh", table, NULL)) != -1) {
		if (letter == 'j')
			cli->json = true;
		else if (letter == 'S')
			cli->socket = optarg;
		else if (letter == 'h')
			*ret_help = true;
		else if (letter == '?')
			return EXIT_USAGE;
		for (size_t i = 0; i < N_OPTIONS; i++)
			if (options[i].letter == letter)
				option_take(cli, options[i].bit, optarg);
	}
	return 0;
}

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const char *socket = getenv("STANCH_SOCKET");
	struct cli cli = {.program = argv[0], .socket = socket ? socket : SOCKET_PATH};
	bool help = false;
	if (options_take(argc, argv, &cli, &help) != 0)
		return EXIT_USAGE;
	const char *name = optind < argc ? argv[optind] : "status";
	if ((help && optind == argc) || strcmp(name, "help") == 0) {
		help_all(stdout);
		return EXIT_DONE;
	}
	const struct command *command = command_find(name);
	if (!command) {
		help_all(stderr);
		return usage_error("no such command: %s", name);
	}
	if (help) {
		help_one(command);
		return EXIT_DONE;
	}
	cli.n_args = optind < argc ? argc - optind - 1 : 0;
	cli.args = optind < argc ? argv + optind + 1 : argv + argc;
	if (cli.given & ~command->options)
		return usage_error("%s: an option that it does not take; see --help", name);
	if (cli.n_args < command->min_args
	    || (command->max_args >= 0 && cli.n_args > command->max_args))
		return usage_error("usage: stanch %s %s", command->name, command->args);
	return command->run(&cli);
}
