// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// stanch-dataplane: configuration → EAL → list (exceptions, snapshot, journal, self-test) → link →
// workers → ports → READY. What is started last is stopped first.

#include "dataplane/clock.h"
#include "dataplane/conf.h"
#include "dataplane/ctl.h"
#include "dataplane/keeper.h"
#include "dataplane/log.h"
#include "dataplane/port.h"
#include "dataplane/watch.h"
#include "dataplane/worker.h"

#include <rte_eal.h>
#include <rte_errno.h>

#include <event2/event.h>
#include <systemd/sd-daemon.h>

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_USAGE 64
#define EAL_ARGS 48
#define TICK_MS 100

struct dataplane {
	struct conf *conf;
	struct events *events;
	struct sketch *sketch;
	struct keeper *keeper;
	struct ports ports;
	struct workers *workers;
	struct event_base *base;
	struct event *tick, *sigterm, *sigint;
	unsigned n_workers; // as configured, or fewer where a device has fewer queues
	bool eal, stalled;
};

// --- EAL

// Enough free huge pages for what is asked?
static bool huge_pages_free(uint32_t megabytes)
{
	unsigned long pages = 0, size = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "HugePages_Free:", 15) == 0)
			pages = strtoul(line + 15, NULL, 10);
		else if (strncmp(line, "Hugepagesize:", 13) == 0)
			size = strtoul(line + 13, NULL, 10);
	}
	if (f)
		fclose(f);
	return pages * size / 1024 >= megabytes;
}

static int lcores_print(const struct conf *conf, unsigned workers, char *text, size_t size)
{
	unsigned cpus[CONF_WORKERS_MAX + 1];
	int n = conf_lcores(conf, cpus), len;

	len = snprintf(text, size, "--lcores=0@%u", cpus[0]);
	for (unsigned w = 0; w < workers; w++) {
		// With fewer CPUs than threads they are shared, the control thread's last.
		unsigned cpu = n > 1 ? cpus[1 + w % (unsigned)(n - 1)] : cpus[0];

		len += snprintf(text + len, size - (size_t)len, ",%u@%u", w + 1, cpu);
	}
	return len;
}

static int eal_init(struct dataplane *d)
{
	static char texts[EAL_ARGS][256];
	char *argv[EAL_ARGS];
	const struct conf *conf = d->conf;
	bool huge = conf->huge == HUGE_YES
		|| (conf->huge == HUGE_AUTO && huge_pages_free(conf->memory));
	bool pci = false;
	int n = 0;

	d->n_workers = port_workers(conf);
	snprintf(texts[n++], 256, "stanch-dataplane");
	lcores_print(conf, d->n_workers, texts[n++], 256);
	snprintf(texts[n++], 256, "--no-telemetry");
	snprintf(texts[n++], 256, "--log-level=warning");
	snprintf(texts[n++], 256, "--file-prefix=stanch-%d", getpid());
	snprintf(texts[n++], 256, "-m");
	snprintf(texts[n++], 256, "%u", conf->memory);
	snprintf(texts[n++], 256, huge ? "--in-memory" : "--no-huge");
	if (!huge)
		snprintf(texts[n++], 256, "--no-shconf");
	for (unsigned i = 0; i < conf->n_ports; i++) {
		int rc = port_vdev(&conf->ports[i], i, d->n_workers, texts[n], 256);

		if (rc < 0)
			return rc;
		pci = pci || conf->ports[i].pci;
		if (conf->ports[i].pci)
			snprintf(texts[n], 256, "--allow=%s", conf->ports[i].pci);
		n++;
	}
	if (!pci)
		snprintf(texts[n++], 256, "--no-pci");
	for (int i = 0; i < n; i++)
		argv[i] = texts[i];
	argv[n] = NULL;
	if (rte_eal_init(n, argv) < 0) {
		log_error("EAL does not start: %s", rte_strerror(rte_errno));
		return -EIO;
	}
	log_info("EAL started %s huge pages", huge ? "with" : "without");
	d->eal = true;
	return 0;
}

static void eal_fini(struct dataplane *d)
{
	if (d->eal)
		rte_eal_cleanup();
}

// --- the list

static int list_init(struct dataplane *d)
{
	const struct conf *conf = d->conf;
	struct keeper_options options = {
		.capacity = conf->capacity,
		.workers = d->n_workers,
		.list_dir = conf->list_dir,
		.state_dir = conf->state_dir,
		.run_dir = conf->run_dir,
		.group = conf->group,
		.health = conf->health,
	};
	uint64_t seed;
	int rc = events_create(d->n_workers, &d->events);

	if (rc == 0)
		rc = getentropy(&seed, sizeof(seed)) < 0 ? -errno : 0;
	if (rc == 0)
		rc = sketch_create(d->n_workers, seed, &d->sketch);
	if (rc < 0)
		return rc;
	options.events = d->events;
	options.sketch = d->sketch;
	policy_init(&options.policy);
	(void)conf_nat64(conf, &options.policy.nat64); // has been checked
	options.policy.inbound_allow = conf->inbound_allow;
	if (conf->non_ip_forward) {
		options.policy.verdicts[REASON_NON_IP] = VERDICT_FORWARD;
		options.policy.verdicts[REASON_TUNNEL_UNKNOWN] = VERDICT_FORWARD;
	}
	if (conf->fragments_drop)
		options.policy.verdicts[REASON_FRAGMENT_PORT_ENTRY] = VERDICT_DROP;
	if (conf->start_open)
		options.policy.verdicts[REASON_NO_LIST] = VERDICT_FORWARD;
	return keeper_create(&options, &d->keeper);
}

static void list_fini(struct dataplane *d)
{
	keeper_free(d->keeper);
	sketch_free(d->sketch);
	events_free(d->events);
}

static int link_init(struct dataplane *d)
{
	return keeper_listen(d->keeper, d->base);
}

// --- ports and workers

static int port_init_all(struct dataplane *d)
{
	return ports_init(&d->ports, d->conf, &d->n_workers);
}

static int worker_init(struct dataplane *d)
{
	const struct workers_options options = {
		.conf = d->conf,
		.n = d->n_workers,
		.ports = &d->ports,
		.live = keeper_live(d->keeper),
		.events = d->events,
		.sketch = d->sketch,
	};
	int rc = workers_create(&options, &d->workers);

	if (rc < 0)
		return rc;
	watch_begin(&d->ports, d->workers);
	return workers_launch(d->workers);
}

static void worker_fini(struct dataplane *d)
{
	if (d->workers)
		workers_stop(d->workers);
	ports_stop(&d->ports);
	watch_begin(NULL, NULL);
	workers_free(d->workers);
}

// Without a list nothing is forwarded, and whoever is behind the wire shall see it.
static bool link_wanted(struct dataplane *d)
{
	return d->conf->start_open || keeper_have_list(d->keeper);
}

static int port_start_all(struct dataplane *d)
{
	int rc = ports_start(&d->ports);

	if (rc < 0)
		return rc;
	ports_link_set(&d->ports, link_wanted(d));
	workers_open(d->workers);
	keeper_ready(d->keeper, true);
	return 0;
}

// --- the loop

static void ticked(evutil_socket_t fd, short what, void *arg)
{
	struct dataplane *d = arg;
	unsigned stalled = watch_tick(clock_now().boot_ms);

	(void)fd;
	(void)what;
	workers_refill(d->workers);
	ports_link_set(&d->ports, link_wanted(d));
	if (stalled && !d->stalled) {
		log_error("%u of %u workers make no progress", stalled, d->workers->n);
		if (d->conf->exit_on_stall) {
			sd_notify(0, "STATUS=a worker stalled");
			_exit(EXIT_FAILURE); // the stalled worker would never be joined
		}
	}
	if (d->stalled && !stalled)
		log_notice("all workers make progress again");
	d->stalled = stalled;
	if (!stalled)
		sd_notify(0, "WATCHDOG=1");
}

static void stop_asked(evutil_socket_t fd, short what, void *arg)
{
	struct dataplane *d = arg;

	(void)what;
	log_notice("stopping: signal %d", (int)fd);
	sd_notify(0, "STOPPING=1");
	event_base_loopbreak(d->base);
}

// With timers finer than a millisecond: the link polls for what it waits for.
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

static int loop_init(struct dataplane *d)
{
	const struct timeval interval = {.tv_usec = TICK_MS * 1000};

	d->base = base_create();
	if (!d->base)
		return -ENOMEM;
	d->tick = event_new(d->base, -1, EV_PERSIST, ticked, d);
	d->sigterm = evsignal_new(d->base, SIGTERM, stop_asked, d);
	d->sigint = evsignal_new(d->base, SIGINT, stop_asked, d);
	if (!d->tick || !d->sigterm || !d->sigint)
		return -ENOMEM;
	event_add(d->sigterm, NULL);
	event_add(d->sigint, NULL);
	return event_add(d->tick, &interval) < 0 ? -ENOMEM : 0;
}

static void loop_fini(struct dataplane *d)
{
	struct event *all[] = {d->tick, d->sigterm, d->sigint};

	for (int i = 0; i < 3; i++) {
		if (all[i])
			event_free(all[i]);
	}
	if (d->base)
		event_base_free(d->base);
}

// The operator's hook takes over (NIC relay, kernel bridge); nothing else opens the path.
static void bypass(const struct conf *conf)
{
	char *argv[] = {conf->on_stop_hook, NULL};
	char *env[] = {(char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, NULL};
	posix_spawnattr_t attributes;
	sigset_t defaults;
	int status = 0, rc;
	pid_t pid;

	if (!conf->bypass_on_stop) {
		log_notice("stopped: nothing is forwarded");
		return;
	}
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE); // what we ignore, the hook need not
	sigaddset(&defaults, SIGHUP);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawn(&pid, conf->on_stop_hook, NULL, &attributes, argv, env);
	posix_spawnattr_destroy(&attributes);
	if (rc != 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		log_error("on_stop_hook failed (status %d): nothing is forwarded", status);
	else
		log_notice("stopped: on_stop_hook has taken over");
}

static const struct {
	const char *name;
	int (*init)(struct dataplane *);
	void (*fini)(struct dataplane *);
} modules[] = {
	{"loop", loop_init, NULL}, // ends last of all: the keeper frees its events before it
	{"EAL", eal_init, NULL},
	{"list", list_init, list_fini},
	{"ports", port_init_all, NULL},
	{"link", link_init, NULL},
	{"workers", worker_init, worker_fini},
	{"packets", port_start_all, NULL},
};

static int run(struct dataplane *d)
{
	int rc = 0, n = 0, count = sizeof(modules) / sizeof(modules[0]);

	for (; rc == 0 && n < count; n++) {
		rc = modules[n].init(d);
		if (rc < 0)
			log_error("%s: start failed: %s", modules[n].name, strerror(-rc));
	}
	if (rc == 0) {
		log_notice("ready: %u ports, %u workers", d->ports.n, d->workers->n);
		sd_notify(0, "READY=1");
		event_base_dispatch(d->base);
	}
	while (n-- > 0) {
		if (modules[n].fini)
			modules[n].fini(d);
	}
	loop_fini(d);
	eal_fini(d);
	if (rc == 0)
		bypass(d->conf);
	return rc;
}

static const char usage[]
	= "usage: stanch-dataplane --config FILE [--check]\n"
	  "       stanch-dataplane ctl allow|pause|resume|status …   (see: stanch-dataplane ctl)\n"
	  "       stanch-dataplane --version | --help\n"
	  "\n"
	  "The packet path of stanch. Stopping it never opens the path, unless on_stop: bypass.\n"
	  "  --config FILE   the section dataplane: of a YAML file (/etc/stanch/stanch.yaml)\n"
	  "  --check         check the file and exit: 0 good, 1 not\n";

int main(int argc, char **argv)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct dataplane d = {0};
	const char *path = "/etc/stanch/stanch.yaml";
	char message[CONF_MESSAGE_MAX];
	bool check = false;
	int rc;

	if (argc > 1 && strcmp(argv[1], "ctl") == 0)
		return ctl_main(argc - 1, argv + 1);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			path = argv[++i];
		} else if (strcmp(argv[i], "--check") == 0) {
			check = true;
			if (i + 1 < argc && argv[i + 1][0] != '-')
				path = argv[++i];
		} else if (strcmp(argv[i], "--version") == 0) {
			puts("stanch-dataplane " STANCH_VERSION);
			return 0;
		} else {
			bool help = strcmp(argv[i], "--help") == 0;

			fputs(usage, help ? stdout : stderr);
			return help ? 0 : EXIT_USAGE;
		}
	}
	if (conf_load(path, &d.conf, message) < 0) {
		fprintf(stderr, "%s\n", message);
		return EXIT_FAILURE;
	}
	if (check) {
		printf("%s: dataplane: good\n", path);
		conf_free(d.conf);
		return 0;
	}
	// A log or a terminal that went away must not take the path down with it.
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	rc = run(&d);
	conf_free(d.conf);
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
