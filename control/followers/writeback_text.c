// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/writeback_text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHOWN_MAX 50 // of each kind; a case may have thousands

void wb_marker_print(char marker[WB_MARKER_MAX], const char *ledger, uint64_t nonce)
{
	snprintf(marker, WB_MARKER_MAX, "(stanch %.8s-%016" PRIx64 ")", ledger, nonce);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

// A code span: nothing in it is Markdown, but for the mark that ends it.
static void code_put(FILE *to, const char *text)
{
	putc('`', to);
	for (; *text; text++)
		putc(*text == '`' || (unsigned char)*text < 0x20 ? '\'' : *text, to);
	putc('`', to);
}

// One, or several with commas.
static void gateways_put(FILE *to, const char *names)
{
	fputs(strchr(names, ',') ? "gateways " : "gateway ", to);
	code_put(to, names);
}

// Plain text: what could begin emphasis, code, a link, HTML or a table is escaped, a name that a
// renderer would make a link of does no harm in code spans only.
static void plain_put(FILE *to, const char *text)
{
	for (; *text; text++) {
		if (strchr("`*[]<>|\\", *text))
			putc('\\', to);
		putc((unsigned char)*text < 0x20 ? ' ' : *text, to);
	}
}

static void time_put(FILE *to, int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char text[32] = "";

	if (gmtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
	fputs(text, to);
}

static void until_put(FILE *to, const json_t *item, const char *before)
{
	int64_t until = json_integer_value(json_object_get(item, "until"));

	if (until <= 0)
		return;
	fputs(before, to);
	time_put(to, until);
}

// "1 destination", "3 destinations".
static void count_put(FILE *to, size_t n, const char *what)
{
	fprintf(to, "%zu %s%s", n, what, n == 1 ? "" : "s");
}

typedef void (*item_put)(FILE *to, const json_t *item);

static void items_put(FILE *to, const json_t *items, item_put put)
{
	size_t i;
	json_t *item;

	putc('\n', to);
	json_array_foreach(items, i, item)
	{
		if (i == SHOWN_MAX) {
			fprintf(to, "- and %zu more\n", json_array_size(items) - i);
			break;
		}
		fputs("- ", to);
		put(to, item);
		putc('\n', to);
	}
	putc('\n', to);
}

// --- one line each

// Who blocked it by hand; nothing where the case itself denies it.
static void by_put(FILE *to, const json_t *item)
{
	const char *by = text_of(item, "by");

	if (!*by)
		return;
	fputs(", blocked by hand by ", to);
	plain_put(to, by);
}

static void denied_put(FILE *to, const json_t *item)
{
	const char *f5 = text_of(item, "f5");

	code_put(to, text_of(item, "indicator"));
	by_put(to, item);
	if (strcmp(text_of(item, "action"), "monitor") == 0)
		fputs(", watched only (monitor)", to);
	fputs(", entry ", to);
	code_put(to, text_of(item, "id"));
	until_put(to, item, ", until ");
	if (json_is_true(json_object_get(item, "orphaned")))
		fputs(", kept from a case that is gone until this one confirms it", to);
	if (json_object_get(item, "protected")) {
		fputs(", but for what is protected (", to);
		code_put(to, text_of(item, "protected"));
		putc(')', to);
	}
	if (*f5) {
		fputs(", F5 XC: ", to);
		plain_put(to, f5);
	}
}

static void withdrawn_put(FILE *to, const json_t *item)
{
	code_put(to, text_of(item, "indicator"));
	by_put(to, item);
	fputs(": ", to);
	plain_put(to, text_of(item, "why"));
	if (json_is_true(json_object_get(item, "still")))
		fputs(". It is still denied for another reason; `stanch why` names it", to);
}

static void refused_put(FILE *to, const json_t *item)
{
	code_put(to, text_of(item, "data"));
	fputs(" (observable ", to);
	plain_put(to, text_of(item, "observable"));
	fputs("): ", to);
	plain_put(to, text_of(item, "why"));
}

static void held_put(FILE *to, const json_t *item)
{
	code_put(to, text_of(item, "indicator"));
	fputs(": ", to);
	plain_put(to, text_of(item, "why"));
}

static void ending_put(FILE *to, const json_t *item)
{
	code_put(to, text_of(item, "indicator"));
	by_put(to, item);
	until_put(to, item, ", denied until ");
}

static void not_blocked_put(FILE *to, const json_t *item)
{
	int64_t more = json_integer_value(json_object_get(item, "more"));

	if (more > 0) {
		fprintf(to, "and %" PRId64 " more", more);
		return;
	}
	if (*text_of(item, "data"))
		code_put(to, text_of(item, "data"));
	else
		fputs("the whole case", to);
	if (*text_of(item, "observable")) {
		fputs(" (observable ", to);
		plain_put(to, text_of(item, "observable"));
		putc(')', to);
	}
	fputs(", asked for by ", to);
	plain_put(to, text_of(item, "by"));
	fputs(": ", to);
	plain_put(to, text_of(item, "why"));
}

static void lists_put(FILE *to, const json_t *item, const char *before, const char *none)
{
	const json_t *lists = json_object_get(item, "lists"), *one;
	size_t i;

	fputs(json_array_size(lists) ? before : none, to);
	json_array_foreach((json_t *)(uintptr_t)lists, i, one)
	{
		if (i > 0)
			fputs(", ", to);
		code_put(to, json_string_value(one));
	}
}

static void immune_put(FILE *to, const json_t *item)
{
	code_put(to, text_of(item, "indicator"));
	until_put(to, item, ", until ");
	if (*text_of(item, "by")) {
		fputs(", by ", to);
		plain_put(to, text_of(item, "by"));
	}
	lists_put(to, item, ": suspends what these lists say: ", ": no list names it now");
	if (json_is_true(json_object_get(item, "denied")))
		fputs(". It is denied all the same, by a case or an operator; `stanch why` names "
		      "it",
		      to);
}

static void immune_end_put(FILE *to, const json_t *item)
{
	code_put(to, text_of(item, "indicator"));
	fputs(": ", to);
	plain_put(to, text_of(item, "why"));
	if (json_is_true(json_object_get(item, "denied")))
		lists_put(
			to,
			item,
			". It is denied, also by these lists: ",
			". It is denied; `stanch why` names the reason"
		);
}

static void allowed_put(FILE *to, const json_t *item)
{
	code_put(to, text_of(item, "indicator"));
	until_put(to, item, ", until ");
	fputs(", by ", to);
	plain_put(to, text_of(item, "author"));
	fputs(": ", to);
	plain_put(to, text_of(item, "reason"));
}

static void indicator_put(FILE *to, const json_t *item)
{
	code_put(to, json_string_value(item));
}

// --- sections

static bool all_monitor(const json_t *denied)
{
	size_t i;
	json_t *item;

	json_array_foreach(denied, i, item)
	{
		if (strcmp(text_of(item, "action"), "monitor") != 0)
			return false;
	}
	return true;
}

static void took_put(FILE *to, const struct wb_context *ctx)
{
	int64_t took_ms = ctx->took_ms;

	if (took_ms < 0)
		return;
	if (took_ms < 60000)
		fprintf(to, ", %.3f s after ", (double)took_ms / 1000);
	else
		fprintf(to,
			", %" PRId64 " min %" PRId64 " s after ",
			took_ms / 60000,
			took_ms / 1000 % 60);
	fputs(ctx->by_hand ? "it was asked for" : "the verdict", to);
}

static void denied_section(FILE *to, const json_t *news, const struct wb_context *ctx)
{
	const json_t *denied = json_object_get(news, "denied");
	int64_t paused = json_integer_value(json_object_get(news, "paused"));
	size_t n = json_array_size(denied);
	bool monitor = all_monitor(denied);

	if (n == 0)
		return;
	fputs("**stanch: ", to);
	count_put(to, n, "destination");
	fprintf(to,
		" of this case %s %s**\n",
		n == 1 ? "is" : "are",
		monitor ? "watched, not denied" : "denied");
	items_put(to, denied, denied_put);
	fputs("In effect on ", to);
	gateways_put(to, ctx->gateway);
	fprintf(to, ", revision %s", ctx->revision);
	took_put(to, ctx);
	if (paused) {
		fputs(". The gateway is paused until ", to);
		time_put(to, paused);
		fputs(": until then it only watches", to);
	}
	fputs(".\n\n", to);
}

static void section(FILE *to, const json_t *items, const char *title, item_put put)
{
	if (json_array_size(items) == 0)
		return;
	fprintf(to, "**stanch: %s**\n", title);
	items_put(to, items, put);
}

static void why_section(FILE *to, const char *why)
{
	if (!*why)
		return;
	fputs("**stanch: this case denies nothing new**\n\n", to);
	plain_put(to, why);
	fputs("\n\n", to);
}

// A case too large to be told by its parts.
static void large_section(FILE *to, const json_t *news, const struct wb_context *ctx)
{
	const json_t *many = json_array_get(json_object_get(news, "many"), 0);
	const json_t *few = json_array_get(json_object_get(news, "few"), 0);

	if (many) {
		fprintf(to,
			"**stanch: more than %" PRId64 " destinations of this case are denied**\n\n"
			"`stanch list` has them all. In effect on ",
			(int64_t)json_integer_value(many));
		gateways_put(to, ctx->gateway);
		fprintf(to, ", revision %s.\n\n", ctx->revision);
	}
	if (few)
		fprintf(to,
			"**stanch: denied no longer, but for %" PRId64
			" destinations of this case**\n\n",
			(int64_t)json_integer_value(few));
}

char *wb_text_news(const json_t *news, const struct wb_context *ctx, const char *marker)
{
	const struct {
		const char *key, *title;
		item_put put;
	} sections[] = {
		{"withdrawn", "denied no longer", withdrawn_put},
		{"refused", "refused, and not denied", refused_put},
		{"held",
		 "held, and not denied until an operator approves (`stanch held`)",
		 held_put},
		{"unheld", "held no longer, and not denied", held_put},
		{"not_blocked", "not blocked by hand", not_blocked_put},
		{"allowed", "allowed by an operator, above this case", allowed_put},
		{"denied_again", "the allow has ended, denied again", indicator_put},
		{"ending", "ends soon, unless the response action is renewed", ending_put},
		{"immune", "a false positive, immune against lists", immune_put},
		{"immune_end", "immune against lists no longer", immune_end_put},
	};
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		return NULL;
	denied_section(to, news, ctx);
	large_section(to, news, ctx);
	why_section(to, text_of(news, "why"));
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		section(to,
			json_object_get(news, sections[i].key),
			sections[i].title,
			sections[i].put);
	fprintf(to, "[//]: # %s\n", marker);
	if (fclose(to) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

// --- attempts

static int64_t number_at(const json_t *row, size_t at)
{
	return json_integer_value(json_array_get(row, at));
}

static void packets_put(FILE *to, int64_t n)
{
	fprintf(to, "%" PRId64 " packet%s", n, n == 1 ? "" : "s");
}

static void span_put(FILE *to, int64_t first_ms, int64_t last_ms)
{
	fputs(first_ms / 1000 == last_ms / 1000 ? ", at " : ", first ", to);
	time_put(to, first_ms / 1000);
	if (first_ms / 1000 == last_ms / 1000)
		return;
	fputs(", last ", to);
	time_put(to, last_ms / 1000);
}

static int64_t total_of(const json_t *attempts, const char *key)
{
	return json_integer_value(json_object_get(attempts, key));
}

// Those that told of them; without a fleet this one.
static void attempts_gateways_put(FILE *to, const json_t *attempts, const char *gateway)
{
	json_t *gateways = json_object_get(attempts, "gateways");
	const char *name, *between = "";
	char names[1024] = "";
	json_t *value;
	size_t len = 0;

	json_object_foreach(gateways, name, value)
	{
		if (len + strlen(name) + 8 > sizeof(names))
			break;
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", between, name);
		between = ", ";
	}
	gateways_put(to, len ? names : gateway);
}

char *wb_text_attempts(const json_t *attempts, const char *gateway, const char *marker)
{
	char *text = NULL;
	size_t len = 0;
	const char *key;
	json_t *row;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		return NULL;
	fputs("**stanch: attempts to reach what this case denies**\n\n", to);
	json_object_foreach(json_object_get(attempts, "rows"), key, row)
	{
		fputs("- ", to);
		code_put(to, key);
		fputs(": ", to);
		packets_put(to, number_at(row, 0));
		span_put(to, number_at(row, 1), number_at(row, 2));
		putc('\n', to);
	}
	if (total_of(attempts, "more") > 0) {
		fputs("- others: ", to);
		packets_put(to, total_of(attempts, "more"));
		putc('\n', to);
	}
	fputs("\nTogether ", to);
	packets_put(to, total_of(attempts, "total"));
	span_put(to, total_of(attempts, "first"), total_of(attempts, "last"));
	fputs(", on ", to);
	attempts_gateways_put(to, attempts, gateway);
	fprintf(to, ".\n\n[//]: # %s\n", marker);
	if (fclose(to) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
