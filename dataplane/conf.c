// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/conf.h"

#include "rules/indicator.h"

#include <cyaml/cyaml.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct conf_file {
	struct conf *dataplane;
};

#define TEXT(key, s, member)                                                                       \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, s, member, 1, 4096)
// A pointer, for a 0 that was written is refused, and not the default.
#define NUMBER(key, member)                                                                        \
	CYAML_FIELD_UINT_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct conf, member)
#define WORD(key, member, words)                                                                   \
	CYAML_FIELD_ENUM(                                                                          \
		key, CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct conf, member, words, 2        \
	)

static const cyaml_strval_t huge_words[]
	= {{"auto", HUGE_AUTO}, {"yes", HUGE_YES}, {"no", HUGE_NO}};
static const cyaml_strval_t inbound_words[] = {{"deny", 0}, {"allow", 1}};
static const cyaml_strval_t non_ip_words[] = {{"drop", 0}, {"forward", 1}};
static const cyaml_strval_t fragment_words[] = {{"forward", 0}, {"drop", 1}};
static const cyaml_strval_t reply_words[] = {{"none", 0}, {"reset", 1}};
static const cyaml_strval_t start_words[] = {{"closed", 0}, {"open", 1}};
static const cyaml_strval_t stop_words[] = {{"closed", 0}, {"bypass", 1}};
static const cyaml_strval_t stall_words[] = {{"alarm", 0}, {"exit", 1}};
static const cyaml_strval_t idle_words[] = {{"poll", 0}, {"sleep", 1}};

static const cyaml_schema_field_t port_fields[] = {
	CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct conf_port, name, 1, 31),
	TEXT("iface", struct conf_port, iface),
	TEXT("pci", struct conf_port, pci),
	TEXT("vdev", struct conf_port, vdev),
	TEXT("driver", struct conf_port, driver),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t pair_fields[] = {
	CYAML_FIELD_STRING_PTR("inside", CYAML_FLAG_POINTER, struct conf_pair, inside, 1, 31),
	CYAML_FIELD_STRING_PTR("outside", CYAML_FLAG_POINTER, struct conf_pair, outside, 1, 31),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t port_schema
	= {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct conf_port, port_fields)};
static const cyaml_schema_value_t pair_schema
	= {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct conf_pair, pair_fields)};

static const cyaml_schema_value_t prefix_schema
	= {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, 63)};

static const cyaml_schema_field_t conf_fields[] = {
	NUMBER("memory", memory_given),
	CYAML_FIELD_ENUM(
		"huge", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct conf, huge, huge_words, 3
	),
	TEXT("lcores", struct conf, lcores),
	NUMBER("workers", workers_given),
	NUMBER("capacity", capacity_given),
	WORD("inbound", inbound_allow, inbound_words),
	WORD("non_ip", non_ip_forward, non_ip_words),
	WORD("fragments", fragments_drop, fragment_words),
	WORD("reply", reply_reset, reply_words),
	WORD("start", start_open, start_words),
	WORD("on_stop", bypass_on_stop, stop_words),
	WORD("on_stall", exit_on_stall, stall_words),
	WORD("idle", idle_sleep, idle_words),
	TEXT("on_stop_hook", struct conf, on_stop_hook),
	TEXT("list_dir", struct conf, list_dir),
	TEXT("state_dir", struct conf, state_dir),
	TEXT("run_dir", struct conf, run_dir),
	TEXT("group", struct conf, group),
	TEXT("health", struct conf, health),
	{
		.key = "ports",
		.value = {CYAML_VALUE_SEQUENCE(
			CYAML_FLAG_POINTER, struct conf_port, &port_schema, 1, CONF_PORTS_MAX
		)},
		.data_offset = offsetof(struct conf, ports),
		.count_offset = offsetof(struct conf, n_ports),
		.count_size = sizeof(uint64_t),
	},
	{
		.key = "pairs",
		.value = {CYAML_VALUE_SEQUENCE(
			CYAML_FLAG_POINTER, struct conf_pair, &pair_schema, 1, CONF_PAIRS_MAX
		)},
		.data_offset = offsetof(struct conf, pairs),
		.count_offset = offsetof(struct conf, n_pairs),
		.count_size = sizeof(uint64_t),
	},
	{
		.key = "nat64",
		.value = {CYAML_VALUE_SEQUENCE(
			CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
			char *,
			&prefix_schema,
			0,
			NAT64_PREFIXES_MAX
		)},
		.data_offset = offsetof(struct conf, nat64),
		.count_offset = offsetof(struct conf, n_nat64),
		.count_size = sizeof(uint64_t),
	},
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t file_fields[] = {
	CYAML_FIELD_MAPPING_PTR(
		"dataplane", CYAML_FLAG_POINTER, struct conf_file, dataplane, conf_fields
	),
	CYAML_FIELD_IGNORE("control", CYAML_FLAG_OPTIONAL),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t file_schema
	= {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct conf_file, file_fields)};

// What libcyaml says, and where: it tells the place only through its log function.
struct report {
	char reason[512];
	size_t line, column;
};

__attribute__((format(printf, 3, 0))) static void
report_line(cyaml_log_t level, void *ctx, const char *format, va_list args)
{
	struct report *r = ctx;
	char line[512];
	const char *place;

	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	place = strstr(line, "(line: ");
	if (!r->reason[0])
		snprintf(
			r->reason,
			sizeof(r->reason),
			"%s",
			strncmp(line, "Load: ", 6) ? line : line + 6
		);
	else if (!r->line && place && sscanf(place, "(line: %zu, column: %zu)", &r->line, &r->column) != 2)
		r->line = 0;
}

static const cyaml_config_t free_config = {.mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};

int conf_port_find(const struct conf *conf, const char *name)
{
	for (uint64_t i = 0; i < conf->n_ports; i++) {
		if (strcmp(conf->ports[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

int conf_lcores(const struct conf *conf, unsigned ret_cpus[static CONF_WORKERS_MAX + 1])
{
	const char *at = conf->lcores;
	int n = 0;

	while (*at) {
		char *end;
		unsigned long first = strtoul(at, &end, 10), last = first;

		if (end == at)
			return -EINVAL;
		if (*end == '-') {
			at = end + 1;
			last = strtoul(at, &end, 10);
			if (end == at)
				return -EINVAL;
		}
		if (last < first)
			return -EINVAL;
		for (; first <= last; first++) {
			if (n > CONF_WORKERS_MAX || first > 1023)
				return -EINVAL;
			ret_cpus[n++] = (unsigned)first;
		}
		if (*end != ',' && *end != '\0')
			return -EINVAL;
		at = *end ? end + 1 : end;
	}
	return n ? n : -EINVAL;
}

int conf_nat64(const struct conf *conf, struct nat64 *ret_nat64)
{
	*ret_nat64 = (struct nat64){0};
	for (uint64_t i = 0; i < conf->n_nat64; i++) {
		const char *text = conf->nat64[i];
		struct indicator_error error;
		struct indicator n;

		if (indicator_parse(text, strlen(text), &n, &error) < 0 || n.kind != INDICATOR_NET
		    || n.family != 6 || !nat64_add(ret_nat64, n.addr, n.prefix_len))
			return (int)i;
	}
	return -1;
}

static void text_default(char **text, const char *fallback)
{
	if (!*text)
		*text = strdup(fallback);
}

static void defaults(struct conf *c)
{
	c->memory = c->memory_given ? *c->memory_given : 256;
	c->workers = c->workers_given ? *c->workers_given : 1;
	c->capacity = c->capacity_given ? *c->capacity_given : 1000000;
	text_default(&c->lcores, "0");
	text_default(&c->list_dir, "/var/lib/stanch");
	text_default(&c->state_dir, "/var/lib/stanch-dataplane");
	text_default(&c->run_dir, "/run/stanch");
	text_default(&c->group, "stanch");
	text_default(&c->health, "127.0.0.1:9464");
}

// What the schema cannot say. NULL: fine.
static const char *port_problem(const struct conf_port *p)
{
	if (!!p->iface + !!p->pci + !!p->vdev != 1)
		return "exactly one of iface, pci and vdev is needed";
	if (p->driver && !p->iface)
		return "driver goes with iface";
	if (p->driver && strcmp(p->driver, "af_xdp") != 0 && strcmp(p->driver, "af_packet") != 0)
		return "driver is af_xdp or af_packet";
	if (p->vdev && strlen(p->vdev) > 200)
		return "vdev has more than 200 characters";
	return NULL;
}

static int problem(char *message, const char *path, const char *key, long index, const char *text)
{
	char place[32] = "";

	if (index >= 0)
		snprintf(place, sizeof(place), "[%ld]", index);
	snprintf(message, CONF_MESSAGE_MAX, "%s: dataplane.%s%s: %s", path, key, place, text);
	return -EINVAL;
}

static int pairs_check(const struct conf *c, const char *path, char *message)
{
	bool used[CONF_PORTS_MAX] = {0};

	for (uint64_t i = 0; i < c->n_pairs; i++) {
		int in = conf_port_find(c, c->pairs[i].inside);
		int out = conf_port_find(c, c->pairs[i].outside);

		if (in < 0 || out < 0)
			return problem(
				message, path, "pairs", (long)i, "names a port that is not in ports"
			);
		if (in == out || used[in] || used[out])
			return problem(
				message, path, "pairs", (long)i, "a port belongs to one pair only"
			);
		used[in] = used[out] = true;
	}
	for (uint64_t i = 0; i < c->n_ports; i++) {
		if (!used[i])
			return problem(message, path, "ports", (long)i, "belongs to no pair");
	}
	return 0;
}

static int check(const struct conf *c, const char *path, char *message)
{
	unsigned cpus[CONF_WORKERS_MAX + 1];
	struct nat64 nat64;
	int bad = conf_nat64(c, &nat64);

	if (bad >= 0)
		return problem(
			message,
			path,
			"nat64",
			bad,
			"is no IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits"
		);
	for (uint64_t i = 0; i < c->n_ports; i++) {
		const char *why = port_problem(&c->ports[i]);

		if (!why && conf_port_find(c, c->ports[i].name) != (int)i)
			why = "another port has this name";
		if (why)
			return problem(message, path, "ports", (long)i, why);
	}
	if (conf_lcores(c, cpus) < 0)
		return problem(message, path, "lcores", -1, "CPUs as \"0\", \"0,2\" or \"0-3\"");
	if (c->workers < 1 || c->workers > CONF_WORKERS_MAX)
		return problem(message, path, "workers", -1, "1 to 16");
	if (c->capacity < 1000 || c->capacity > 50000000)
		return problem(message, path, "capacity", -1, "1,000 to 50,000,000 entries");
	if (c->memory < 64)
		return problem(message, path, "memory", -1, "at least 64 MiB");
	if (c->bypass_on_stop && !c->on_stop_hook)
		return problem(
			message,
			path,
			"on_stop",
			-1,
			"bypass needs on_stop_hook: without one nothing would bypass"
		);
	if (c->on_stop_hook && access(c->on_stop_hook, X_OK) < 0)
		return problem(message, path, "on_stop_hook", -1, "is not an executable file");
	return pairs_check(c, path, message);
}

int conf_load(const char *path, struct conf **ret_conf, char ret_message[CONF_MESSAGE_MAX])
{
	struct report report = {0};
	cyaml_config_t config = {
		.log_fn = report_line,
		.log_ctx = &report,
		.mem_fn = cyaml_mem,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_NO_ALIAS,
	};
	struct conf_file *file = NULL;
	struct conf *conf;
	cyaml_err_t error
		= cyaml_load_file(path, &config, &file_schema, (cyaml_data_t **)&file, NULL);
	int rc;

	if (error != CYAML_OK || !file) {
		char place[48] = "";

		if (report.line)
			snprintf(place, sizeof(place), "%zu:%zu:", report.line, report.column);
		snprintf(
			ret_message,
			CONF_MESSAGE_MAX,
			"%s:%s %s",
			path,
			place,
			report.reason[0] ? report.reason : cyaml_strerror(error)
		);
		return -EINVAL;
	}
	conf = file->dataplane;
	file->dataplane = NULL;
	cyaml_free(&free_config, &file_schema, file, 0);
	defaults(conf);
	rc = check(conf, path, ret_message);
	if (rc < 0) {
		conf_free(conf);
		return rc;
	}
	*ret_conf = conf;
	return 0;
}

void conf_free(struct conf *conf)
{
	struct conf_file *file;

	if (!conf)
		return;
	file = cyaml_mem(NULL, NULL, sizeof(*file));
	file->dataplane = conf;
	cyaml_free(&free_config, &file_schema, file, 0);
}
