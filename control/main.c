// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// stanch-control: the loop, its modules in their order, signals, systemd.

#include "control/conf.h"
#include "control/control.h"
#include "control/log.h"
#include "control/roles.h"
#include "control/sources/alerts.h"
#include "control/sources/thehives.h"
#include "control/start.h"

#include <event2/event.h>
#include <systemd/sd-daemon.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONF_PATH "/etc/stanch/stanch.yaml"
#define RELOADS_MAX 256 // each keeps its configuration until the end

// Started downwards, ended upwards. What comes later may use what came before.
static const struct module modules[] = {
	{"protections", start_protect, stop_protect, reload_protect, NULL},
	{"ledger", start_ledger, stop_ledger, reload_ledger, NULL},
	{"resolvers", start_resolvers, stop_resolvers, NULL, NULL},
	{"HTTP API", start_server, stop_server, reload_server, NULL},
	{"metrics", start_metrics, stop_metrics, NULL, NULL},
	{"fleet", start_roles, stop_roles, reload_roles, NULL},
	{"followers", start_followers, stop_followers, NULL, NULL},
	{"F5 XC and write-back", start_outward, stop_outward, reload_outward, role_outward},
	{"TheHive", start_thehives, stop_thehives, reload_thehives, role_thehives},
	{"alerts", start_alerts, stop_alerts, reload_alerts, role_alerts},
	{"Redis", start_redis, stop_redis, reload_redis, role_redis},
	{"API", start_api, stop_api, NULL, NULL},
};
#define N_MODULES (sizeof(modules) / sizeof(modules[0]))

struct daemon {
	struct control control;
	struct event *term, *intr, *hup, *watchdog;
	int lock;
	size_t started; // modules
	struct conf *old[RELOADS_MAX];
	size_t n_old;
};

static void usage(FILE *to)
{
	fputs("stanch-control: keeps the deny list equal to what analysts have decided\n"
	      "\n"
	      "  --config FILE   default " CONF_PATH "\n"
	      "  --check FILE    check a configuration and exit: 0 good, 1 not\n"
	      "  --keys          list every key of the configuration\n"
	      "  --version\n"
	      "  --help\n"
	      "\n"
	      "Signals: HUP reads configuration and tokens again; TERM and INT stop.\n",
	      to);
}

static int check(const char *path)
{
	char message[CONF_MESSAGE_MAX] = "";
	struct conf *conf = NULL;
	int error = conf_load(path, &conf, message);
	fputs(message, stderr);
	conf_free(conf);
	return error ? 1 : 0;
}

static void message_log(const char *message, bool error)
{
	for (const char *line = message; *line;) {
		size_t len = strcspn(line, "\n");
		bool warning = strncmp(line, "warning: ", 9) == 0;
		if (warning)
			log_warning("%.*s", (int)len - 9, line + 9);
		else if (error)
			log_error("%.*s", (int)len, line);
		else
			log_notice("%.*s", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

// --- signals

static void stop(evutil_socket_t number, short what, void *ctx)
{
	(void)what;
	struct daemon *daemon = ctx;
	log_notice("signal %d: stopping", (int)number);
	sd_notify(0, "STOPPING=1");
	event_base_loopexit(daemon->control.base, NULL);
}

static void notify_reloading(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	sd_notifyf(
		0,
		"RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		(uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000
	);
}

static void reload(evutil_socket_t number, short what, void *ctx)
{
	(void)number;
	(void)what;
	struct daemon *daemon = ctx;
	struct control *control = &daemon->control;
	notify_reloading();
	char message[CONF_MESSAGE_MAX] = "";
	struct conf *conf = NULL;
	int error = daemon->n_old == RELOADS_MAX ? -ENOSPC
						 : conf_load(control->conf_path, &conf, message);
	message_log(message, error);
	if (error) {
		log_error(
			"%s: not taken, the running configuration stays%s",
			control->conf_path,
			error == -ENOSPC ? ": too many reloads, restart" : ""
		);
	} else {
		const struct conf *old = control->conf;
		daemon->old[daemon->n_old++] = control->conf;
		control->conf = conf;
		for (size_t i = 0; i < N_MODULES; i++)
			if (modules[i].reload)
				modules[i].reload(control, old);
		log_notice("%s: read again", control->conf_path);
	}
	sd_notify(0, "READY=1");
}

// What begins begins in the table's order, what ends in the other.
static void role_moved(void *ctx, bool leads)
{
	struct daemon *daemon = ctx;
	for (size_t i = 0; i < N_MODULES; i++) {
		const struct module *module = &modules[leads ? i : N_MODULES - 1 - i];
		if (module->role)
			module->role(&daemon->control);
	}
}

static void watchdog(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	(void)ctx;
	sd_notify(0, "WATCHDOG=1");
}

static int signals_init(struct daemon *daemon)
{
	// A peer that closes is an error of the write, not the end of the process.
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &ignore, NULL);
	struct event_base *base = daemon->control.base;
	daemon->term = evsignal_new(base, SIGTERM, stop, daemon);
	daemon->intr = evsignal_new(base, SIGINT, stop, daemon);
	daemon->hup = evsignal_new(base, SIGHUP, reload, daemon);
	daemon->watchdog = event_new(base, -1, EV_PERSIST, watchdog, NULL);
	if (!daemon->term || !daemon->intr || !daemon->hup || !daemon->watchdog)
		return -ENOMEM;
	event_add(daemon->term, NULL);
	event_add(daemon->intr, NULL);
	event_add(daemon->hup, NULL);
	uint64_t usec = 0;
	if (sd_watchdog_enabled(0, &usec) > 0 && usec > 0) {
		usec /= 2;
		const struct timeval every = {
			.tv_sec = (time_t)(usec / 1000000),
			.tv_usec = (suseconds_t)(usec % 1000000),
		};
		event_add(daemon->watchdog, &every);
	}
	return 0;
}

// --- start and end

// Two controls on one ledger would each overwrite what the other publishes.
static int lock_take(struct daemon *daemon)
{
	const struct conf *conf = daemon->control.conf;
	mkdir(conf->state_dir, 0750); // where they are missing: as in a new lab
	mkdir(conf->run_dir, 0755);
	char path[512];
	snprintf(path, sizeof(path), "%s/control.lock", conf->state_dir);
	daemon->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (daemon->lock < 0) {
		log_error("%s: %s", path, strerror(errno));
		return -errno;
	}
	if (flock(daemon->lock, LOCK_EX | LOCK_NB) < 0) {
		log_error("%s: another stanch-control uses this directory", path);
		return -EBUSY;
	}
	return 0;
}

// With timers finer than a millisecond: a verdict passes several of them.
static struct event_base *base_create(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	return base;
}

static int daemon_start(struct daemon *daemon)
{
	struct control *control = &daemon->control;
	char message[CONF_MESSAGE_MAX] = "";
	int error = conf_load(control->conf_path, &control->conf, message);
	message_log(message, error);
	if (error)
		return error;
	error = lock_take(daemon);
	if (error)
		return error;
	control->base = base_create();
	error = control->base ? signals_init(daemon) : -ENOMEM;
	if (error) {
		log_error("event loop: %s", strerror(-error));
		return error;
	}
	while (daemon->started < N_MODULES) {
		const struct module *module = &modules[daemon->started++];
		error = module->init(control);
		if (error) {
			log_error("%s could not start", module->name);
			return error;
		}
	}
	roles_moved_set(control, role_moved, daemon);
	return 0;
}

static void daemon_end(struct daemon *daemon)
{
	struct control *control = &daemon->control;
	// One whose start failed half-way as well: each end takes what is there.
	while (daemon->started > 0)
		modules[--daemon->started].fini(control);
	struct event *events[] = {daemon->term, daemon->intr, daemon->hup, daemon->watchdog};
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i])
			event_free(events[i]);
	if (control->base)
		event_base_free(control->base);
	conf_free(control->conf);
	while (daemon->n_old > 0)
		conf_free(daemon->old[--daemon->n_old]);
	if (daemon->lock >= 0)
		close(daemon->lock);
}

// A descriptor for each connection that the configuration allows, where the system does.
static void descriptors_raise(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int run(const char *conf_path)
{
	descriptors_raise();
	struct daemon daemon = {.lock = -1, .control = {.conf_path = conf_path}};
	int error = daemon_start(&daemon);
	if (!error) {
		log_notice("stanch-control " STANCH_VERSION " is ready");
		sd_notify(0, "READY=1");
		if (event_base_dispatch(daemon.control.base) < 0)
			error = -EIO;
	}
	daemon_end(&daemon);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", required_argument, NULL, 'C'},
		{"keys", no_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *conf_path = CONF_PATH;
	int option;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			conf_path = optarg;
			break;
		case 'C':
			return check(optarg);
		case 'k':
			conf_keys_print(stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts("stanch-control " STANCH_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return 64;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 64;
	}
	return run(conf_path);
}
