// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/local.h"

#include "control/cli/client.h"
#include "control/tokens.h"
#include "rules/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_MAX 16384

// Beside this binary (installed or in a build directory), else by PATH.
static void daemon_find(const char *name, const char *build_dir, char path[512])
{
	char self[400];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	snprintf(path, 512, "%s", name);
	if (len < 0)
		return;
	self[len] = '\0';
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	char candidate[512];
	for (size_t i = 0; i < 3; i++) {
		if (i == 0)
			snprintf(candidate, sizeof(candidate), "%s/%s", self, name);
		else if (i == 1)
			snprintf(candidate, sizeof(candidate), "%s/../sbin/%s", self, name);
		else
			snprintf(
				candidate, sizeof(candidate), "%s/../%s/%s", self, build_dir, name
			);
		if (access(candidate, X_OK) == 0) {
			snprintf(path, 512, "%s", candidate);
			return;
		}
	}
}

static void output_read(int fd, char output[OUTPUT_MAX])
{
	size_t used = 0;
	char rest[512];
	ssize_t n;
	while ((n
		= read(fd,
		       used < OUTPUT_MAX - 1 ? output + used : rest,
		       used < OUTPUT_MAX - 1 ? OUTPUT_MAX - 1 - used : sizeof(rest)))
	       != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		if (used < OUTPUT_MAX - 1)
			used += (size_t)n;
	}
	output[used] = '\0';
}

// The daemon's own check: its exit code, 127 where it is not found.
static int check_run(const char *path, const char *file, char output[OUTPUT_MAX])
{
	int fds[2];
	output[0] = '\0';
	if (pipe(fds) < 0)
		return 127;
	pid_t child = fork();
	if (child == 0) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		execlp(path, path, "--check", file, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	if (child > 0)
		output_read(fds[0], output);
	close(fds[0]);
	int status = 0;
	if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		return 127;
	return WEXITSTATUS(status);
}

int run_check(const struct cli *cli)
{
	static const struct {
		const char *name, *dir;
	} daemons[] = {{"stanch-control", "control"}, {"stanch-dataplane", "dataplane"}};
	int worst = EXIT_DONE;
	json_t *all = json_array();
	for (size_t i = 0; i < sizeof(daemons) / sizeof(daemons[0]); i++) {
		char path[512], output[OUTPUT_MAX];
		daemon_find(daemons[i].name, daemons[i].dir, path);
		int code = check_run(path, cli->args[0], output);
		if (!cli->json) {
			fputs(output, code ? stderr : stdout);
			printf("%s: %s\n",
			       daemons[i].name,
			       code == 0	     ? "good"
				       : code == 127 ? "not found, not checked"
						     : "refused");
		}
		json_array_append_new(
			all,
			json_pack(
				"{s:s, s:b, s:b, s:s}",
				"program",
				daemons[i].name,
				"found",
				code != 127,
				"good",
				code == 0,
				"messages",
				output
			)
		);
		if (code == 127 && worst == EXIT_DONE)
			worst = EXIT_UNAVAILABLE;
		else if (code != 0 && code != 127)
			worst = EXIT_REFUSED;
	}
	json_t *answer = json_pack("{s:o}", "checks", all);
	if (cli->json)
		json_show(answer);
	json_decref(answer);
	return worst;
}

int run_token(const struct cli *cli)
{
	enum role role;
	int64_t seconds;
	if (strcmp(cli->args[0], "create") != 0 || cli->n_args != 2)
		return usage_error("token: create NAME is expected");
	if (!cli->role || role_parse(cli->role, &role) < 0)
		return usage_error("token: --role hook, viewer, operator or admin is needed");
	if (!cli->duration)
		return usage_error("token: --for is needed, as 90d");
	int64_t until = INT64_MAX;
	if (strcmp(cli->duration, "never") != 0) {
		if (duration_parse(cli->duration, strlen(cli->duration), &seconds) < 0)
			return usage_error("token: --for %s is no duration", cli->duration);
		until = time(NULL) + seconds;
	}
	char secret[64], line[256];
	int error = token_create(cli->args[1], role, until, secret, line);
	if (error)
		return usage_error("token: %s: %s", cli->args[1], strerror(-error));
	line[strcspn(line, "\n")] = '\0';
	if (cli->json) {
		json_t *answer = json_pack("{s:s, s:s}", "token", secret, "line", line);
		json_show(answer);
		json_decref(answer);
	} else {
		printf("token, shown only now:  %s\nline for the tokens file:\n%s\n", secret, line);
	}
	return EXIT_DONE;
}
