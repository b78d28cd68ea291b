// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The section `dataplane:` of the configuration file; `control:` is the other daemon's.
// Constant after conf_load. Thread: start-up.

#pragma once

#include "dataplane/core/nat64.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONF_WORKERS_MAX 16
#define CONF_PORTS_MAX 16
#define CONF_PAIRS_MAX 8
#define CONF_MESSAGE_MAX 1024

struct conf_port {
	char *name;
	char *iface; // kernel interface through net_af_xdp or net_af_packet
	char *pci;
	char *vdev;
	char *driver; // "af_xdp" (default) or "af_packet", with iface
};

struct conf_pair {
	char *inside, *outside; // names of ports
};

enum conf_huge {
	HUGE_AUTO,
	HUGE_YES,
	HUGE_NO,
};

// Settings of two words: the first is the default, 0.
struct conf {
	uint32_t *memory_given, *workers_given, *capacity_given; // as written; NULL: not
	uint32_t memory; // MiB, without huge pages
	int huge; // enum conf_huge
	char *lcores; // CPUs: the first runs the control thread, the others the workers
	uint32_t workers;
	uint32_t capacity; // entries
	int inbound_allow, non_ip_forward, fragments_drop, reply_reset;
	int start_open, bypass_on_stop, exit_on_stall, idle_sleep;
	char **nat64; // prefixes
	uint64_t n_nat64;
	char *on_stop_hook;
	char *list_dir, *state_dir, *run_dir, *group, *health;
	struct conf_port *ports;
	uint64_t n_ports;
	struct conf_pair *pairs;
	uint64_t n_pairs;
};

// -EINVAL with "file:line:column: …" or "file: dataplane.key: …" in ret_message, or -errno.
int conf_load(const char *path, struct conf **ret_conf, char ret_message[CONF_MESSAGE_MAX]);
void conf_free(struct conf *);
// Index into ports, or -1.
int conf_port_find(const struct conf *, const char *name);
// The prefixes of `nat64`. The index of the one that is none, or -1: all are.
int conf_nat64(const struct conf *, struct nat64 *ret_nat64);
// CPU numbers of `lcores`; how many, or -EINVAL.
int conf_lcores(const struct conf *, unsigned ret_cpus[static CONF_WORKERS_MAX + 1]);
