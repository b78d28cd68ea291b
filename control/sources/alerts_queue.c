// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What waits for TheHive, and what is remembered of what is done: in the ledger, with an index in
// memory.

#include "control/sources/alerts_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static void row_note(const struct alert_row *row, char note[32])
{
	snprintf(note, 32, "queue/%016" PRIx64, row->number);
}

// --- what waits

static struct alert_row *
row_append(struct alerts *alerts, const json_t *alert, const char *key, uint64_t number)
{
	struct alert_row *row = calloc(1, sizeof(*row));
	char *text = row ? json_dumps(alert, JSON_COMPACT) : NULL;
	if (!text) {
		free(row);
		return NULL;
	}
	row->size = strlen(text);
	free(text);
	row->number = number;
	snprintf(row->key, sizeof(row->key), "%s", key);
	snprintf(row->digest, sizeof(row->digest), "%s", text_of(alert, "digest"));
	TAILQ_INSERT_TAIL(&alerts->queue, row, next);
	alerts->n_queue++;
	alerts->queue_bytes += row->size;
	if (number >= alerts->next_number)
		alerts->next_number = number + 1;
	return row;
}

bool alerts_queue_full(const struct alerts *alerts)
{
	return alerts->n_queue >= alerts->conf->max_pending
		|| alerts->queue_bytes >= ALERTS_PENDING_BYTES;
}

void alerts_queue_ask(struct alerts *alerts)
{
	struct alert_row *row;
	TAILQ_FOREACH(row, &alerts->queue, next)
	{
		json_t *alert = row->committed ? alerts_queue_load_row(alerts, row) : NULL;
		json_t *ask
			= alert ? json_pack("{s:s, s:o}", "op", "alerts", "alert", alert) : NULL;
		if (ask)
			ledger_fleet_ask(alerts->control->ledger, ask, NULL, NULL);
		json_decref(ask);
	}
}

int alerts_queue_add(
	struct alerts *alerts, json_t *alert, const char *key, struct alert_row **ret_row
)
{
	char note[32];
	struct alert_row *row = row_append(alerts, alert, key, alerts->next_number);
	if (!row)
		return -ENOMEM;
	row_note(row, note);
	int error = ledger_note_set(alerts->control->ledger, ALERTS_OWNER, note, alert);
	if (error) {
		alerts_queue_remove(alerts, row, false);
		return error == -ENOSPC ? -EDQUOT : error; // the disk, not the queue
	}
	*ret_row = row;
	return 0;
}

void alerts_queue_remove(struct alerts *alerts, struct alert_row *row, bool note)
{
	char key[32];
	row_note(row, key);
	if (note)
		ledger_note_set(alerts->control->ledger, ALERTS_OWNER, key, NULL);
	TAILQ_REMOVE(&alerts->queue, row, next);
	alerts->n_queue--;
	alerts->queue_bytes -= row->size;
	free(row);
}

struct alert_row *alerts_queue_find(struct alerts *alerts, const char *key, const char *digest)
{
	struct alert_row *row;
	TAILQ_FOREACH(row, &alerts->queue, next)
	if (strcmp(row->key, key) == 0 && strcmp(row->digest, digest) == 0)
		return row;
	return NULL;
}

json_t *alerts_queue_load_row(struct alerts *alerts, const struct alert_row *row)
{
	char note[32];
	json_t *alert = NULL;
	row_note(row, note);
	if (ledger_note_get(alerts->control->ledger, ALERTS_OWNER, note, &alert) < 0)
		return NULL;
	return alert;
}

// --- what is remembered

static struct alert_memories *memories_of(struct alerts *alerts, const char *key, size_t **ret_n)
{
	bool ref = strncmp(key, "ref/", 4) == 0;
	*ret_n = ref ? &alerts->n_refs : &alerts->n_origins;
	return ref ? &alerts->refs : &alerts->origins;
}

static int memory_append(struct alerts *alerts, const char *key, int64_t at)
{
	size_t *n;
	struct alert_memories *list = memories_of(alerts, key, &n);
	struct alert_memory *memory = calloc(1, sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	snprintf(memory->key, sizeof(memory->key), "%s", key);
	memory->at = at;
	TAILQ_INSERT_TAIL(list, memory, next);
	++*n;
	while (*n > ALERTS_REMEMBERED_MAX) {
		struct alert_memory *oldest = TAILQ_FIRST(list);
		ledger_note_set(alerts->control->ledger, ALERTS_OWNER, oldest->key, NULL);
		TAILQ_REMOVE(list, oldest, next);
		free(oldest);
		--*n;
	}
	return 0;
}

int alerts_remember(struct alerts *alerts, const char *key, json_t *value)
{
	struct ledger *ledger = alerts->control->ledger;
	json_t *old = NULL;
	bool known = ledger_note_get(ledger, ALERTS_OWNER, key, &old) == 0;
	json_decref(old);
	int error = value ? ledger_note_set(ledger, ALERTS_OWNER, key, value) : -ENOMEM;
	json_decref(value);
	if (!error && !known)
		error = memory_append(alerts, key, time(NULL));
	return error;
}

json_t *alerts_recall(struct alerts *alerts, const char *kind, const char *key)
{
	char note[48];
	json_t *value = NULL;
	snprintf(note, sizeof(note), "%s/%s", kind, key);
	if (ledger_note_get(alerts->control->ledger, ALERTS_OWNER, note, &value) < 0)
		return NULL;
	return value;
}

// --- at the start

struct loading {
	struct alerts *alerts;
	struct alert_memory *list;
	size_t n, room;
	int error;
};

static bool row_load(void *ctx, const char *key, json_t *value)
{
	struct loading *loading = ctx;
	char alert[ALERT_KEY_MAX];
	alert_key_of(value, alert);
	struct alert_row *row = row_append(
		loading->alerts, value, alert, strtoull(key + strlen("queue/"), NULL, 16)
	);
	if (row)
		row->committed = true;
	else
		loading->error = -ENOMEM;
	return !loading->error;
}

static bool memory_load(void *ctx, const char *key, json_t *value)
{
	struct loading *loading = ctx;
	if (loading->n == loading->room) {
		size_t room = loading->room ? loading->room * 2 : 256;
		struct alert_memory *list = realloc(loading->list, room * sizeof(*list));
		if (!list) {
			loading->error = -ENOMEM;
			return false;
		}
		loading->list = list;
		loading->room = room;
	}
	struct alert_memory *memory = &loading->list[loading->n++];
	snprintf(memory->key, sizeof(memory->key), "%s", key);
	memory->at = json_integer_value(json_object_get(value, "at"));
	return true;
}

static int memory_compare(const void *a, const void *b)
{
	const struct alert_memory *x = a, *y = b;
	return (x->at > y->at) - (x->at < y->at);
}

static int memories_load(struct alerts *alerts, const char *kind)
{
	struct loading loading = {.alerts = alerts};
	int error
		= ledger_notes(alerts->control->ledger, ALERTS_OWNER, kind, memory_load, &loading);
	error = error ? error : loading.error;
	if (loading.n > 1)
		qsort(loading.list, loading.n, sizeof(*loading.list), memory_compare);
	for (size_t i = 0; !error && i < loading.n; i++)
		error = memory_append(alerts, loading.list[i].key, loading.list[i].at);
	free(loading.list);
	return error;
}

int alerts_queue_load(struct alerts *alerts)
{
	struct loading loading = {.alerts = alerts};
	int error
		= ledger_notes(alerts->control->ledger, ALERTS_OWNER, "queue/", row_load, &loading);
	error = error ? error : loading.error;
	error = error ? error : memories_load(alerts, "ref/");
	return error ? error : memories_load(alerts, "origin/");
}

static void memories_free(struct alert_memories *list)
{
	while (!TAILQ_EMPTY(list)) {
		struct alert_memory *memory = TAILQ_FIRST(list);
		TAILQ_REMOVE(list, memory, next);
		free(memory);
	}
}

void alerts_queue_free(struct alerts *alerts)
{
	while (!TAILQ_EMPTY(&alerts->queue))
		alerts_queue_remove(alerts, TAILQ_FIRST(&alerts->queue), false);
	memories_free(&alerts->refs);
	memories_free(&alerts->origins);
}
