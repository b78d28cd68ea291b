// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/breakglass.h"

#include "dataplane/set.h"
#include "rules/siphash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "breakglass"
#define FILE_MAX (1024 * 1024)
#define REASON_MAX sizeof(((struct wire_breakglass *)NULL)->reason)

struct allow {
	struct indicator indicator;
	int64_t until;
	uint32_t uid;
	char reason[REASON_MAX];
};

struct breakglass {
	struct set *set;
	char *dir;
	struct allow allows[BREAKGLASS_ALLOWS_MAX];
	size_t n_allows;
	struct wire_breakglass actions[BREAKGLASS_ACTIONS_MAX];
	size_t n_actions;
	uint64_t next;
	int64_t pause_until, pause_due; // seconds; boot_ms
	uint32_t pause_uid;
	char pause_reason[REASON_MAX];
};

int breakglass_create(struct set *set, const char *dir, struct breakglass **ret_breakglass)
{
	struct breakglass *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->set = set;
	// Where the file is lost, numbers go on above those that control has seen.
	b->next = (uint64_t)set_now(set).wall_ms;
	if (dir) {
		b->dir = strdup(dir);
		if (!b->dir) {
			free(b);
			return -ENOMEM;
		}
	}
	*ret_breakglass = b;
	return 0;
}

void breakglass_free(struct breakglass *b)
{
	if (!b)
		return;
	free(b->dir);
	free(b);
}

// --- writing

// One line of the file must stay one line with its fields.
static void reason_copy(char to[REASON_MAX], const char *from)
{
	size_t i = 0;

	for (; i < REASON_MAX - 1 && from[i]; i++) {
		unsigned char c = (unsigned char)from[i];

		to[i] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
	}
	memset(to + i, 0, REASON_MAX - i);
}

static void indicator_text(const struct wire_indicator *w, char text[INDICATOR_TEXT_MAX])
{
	struct indicator n;

	if (w->kind && wire_indicator_read(w, sizeof(*w), &n) > 0)
		indicator_print(&n, text);
	else
		memcpy(text, "-", 2);
}

static void file_print(const struct breakglass *b, FILE *f)
{
	char text[INDICATOR_TEXT_MAX];

	fprintf(f, "stanch-breakglass 1 next=%" PRIu64 "\n", b->next);
	if (b->pause_until)
		fprintf(f,
			"pause\t%" PRId64 "\t%u\t%s\n",
			b->pause_until,
			b->pause_uid,
			b->pause_reason);
	for (size_t i = 0; i < b->n_allows; i++) {
		const struct allow *a = &b->allows[i];

		indicator_print(&a->indicator, text);
		fprintf(f, "allow\t%s\t%" PRId64 "\t%u\t%s\n", text, a->until, a->uid, a->reason);
	}
	for (size_t i = 0; i < b->n_actions; i++) {
		const struct wire_breakglass *a = &b->actions[i];

		indicator_text(&a->indicator, text);
		fprintf(f,
			"action\t%" PRIu64 "\t%" PRId64 "\t%" PRId64 "\t%u\t%s\t%s\t%s\n",
			a->header.seq,
			a->when_ms,
			a->until,
			a->uid,
			a->kind == WIRE_CTL_ALLOW ? "allow" : "pause",
			text,
			a->reason);
	}
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

// The new file whole, or the old one as it was.
static int file_replace(int dir, const char *text, size_t len)
{
	int fd = openat(
		dir, FILE_NAME ".tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600
	);
	int r;

	if (fd < 0)
		return -errno;
	r = write_all(fd, text, len);
	if (r == 0 && fsync(fd))
		r = -errno;
	if (close(fd) && r == 0)
		r = -errno;
	if (r == 0 && renameat(dir, FILE_NAME ".tmp", dir, FILE_NAME))
		r = -errno;
	if (r == 0 && fsync(dir))
		r = -errno;
	if (r < 0)
		unlinkat(dir, FILE_NAME ".tmp", 0);
	return r;
}

static int file_write(const struct breakglass *b)
{
	static const uint8_t key[16];
	char *text = NULL;
	size_t len = 0;
	FILE *f;
	int dir, r;

	if (!b->dir)
		return 0;
	dir = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	f = open_memstream(&text, &len);
	if (!f) {
		close(dir);
		return -ENOMEM;
	}
	file_print(b, f);
	fflush(f);
	fprintf(f, "end checksum=%016" PRIx64 "\n", siphash64(key, text, len));
	r = fclose(f) ? -ENOMEM : file_replace(dir, text, len);
	free(text);
	close(dir);
	return r;
}

// --- reading

static bool number_parse(const char *text, int64_t *ret_number)
{
	char *end;

	if (!text || !*text)
		return false;
	errno = 0;
	*ret_number = strtoll(text, &end, 10);
	return *end == '\0' && errno == 0;
}

static size_t fields_split(char *line, char *fields[], size_t max)
{
	size_t n = 0;

	while (line && n < max)
		fields[n++] = strsep(&line, "\t");
	return line ? 0 : n;
}

static int restore_pause(struct breakglass *b, char *fields[])
{
	int64_t until, uid;

	if (!number_parse(fields[1], &until) || !number_parse(fields[2], &uid))
		return -EILSEQ;
	b->pause_until = until;
	b->pause_uid = (uint32_t)uid;
	reason_copy(b->pause_reason, fields[3]);
	return 0;
}

static int restore_allow(struct breakglass *b, char *fields[])
{
	struct allow *a = &b->allows[b->n_allows];
	struct indicator_error error;
	int64_t uid;

	if (b->n_allows == BREAKGLASS_ALLOWS_MAX || !number_parse(fields[2], &a->until)
	    || !number_parse(fields[3], &uid)
	    || indicator_parse(fields[1], strlen(fields[1]), &a->indicator, &error) < 0)
		return -EILSEQ;
	a->uid = (uint32_t)uid;
	reason_copy(a->reason, fields[4]);
	b->n_allows++;
	return 0;
}

static int restore_action(struct breakglass *b, char *fields[])
{
	struct wire_breakglass *a = &b->actions[b->n_actions];
	struct indicator_error error;
	struct indicator n;
	int64_t number, uid;

	if (b->n_actions == BREAKGLASS_ACTIONS_MAX || !number_parse(fields[1], &number)
	    || !number_parse(fields[2], &a->when_ms) || !number_parse(fields[3], &a->until)
	    || !number_parse(fields[4], &uid))
		return -EILSEQ;
	if (strcmp(fields[6], "-") != 0) {
		if (indicator_parse(fields[6], strlen(fields[6]), &n, &error) < 0
		    || wire_indicator_write(&a->indicator, sizeof(a->indicator), &n) < 0)
			return -EILSEQ;
	}
	a->header = (struct wire_header){
		.type = WIRE_BREAKGLASS,
		.version = WIRE_VERSION,
		.length = sizeof(*a),
		.seq = (uint64_t)number,
	};
	a->uid = (uint32_t)uid;
	a->kind = strcmp(fields[5], "allow") == 0 ? WIRE_CTL_ALLOW : WIRE_CTL_PAUSE;
	reason_copy(a->reason, fields[7]);
	b->n_actions++;
	return 0;
}

static int line_restore(struct breakglass *b, char *line)
{
	char *fields[8];
	size_t n = fields_split(line, fields, 8);

	if (n == 4 && strcmp(fields[0], "pause") == 0)
		return restore_pause(b, fields);
	if (n == 5 && strcmp(fields[0], "allow") == 0)
		return restore_allow(b, fields);
	if (n == 8 && strcmp(fields[0], "action") == 0)
		return restore_action(b, fields);
	return -EILSEQ;
}

static int text_restore(struct breakglass *b, char *text, size_t len)
{
	static const uint8_t key[16];
	char *end = len > 1 && text[len - 1] == '\n' ? memrchr(text, '\n', len - 1) : NULL;
	char expected[64], *line;
	int64_t next;

	if (!end || strlen(text) != len)
		return -EILSEQ;
	end++;
	snprintf(
		expected,
		sizeof(expected),
		"end checksum=%016" PRIx64 "\n",
		siphash64(key, text, (size_t)(end - text))
	);
	if (strcmp(end, expected) != 0)
		return -EILSEQ;
	end[-1] = '\0';
	line = strsep(&text, "\n");
	if (strncmp(line, "stanch-breakglass 1 next=", 25) != 0 || !number_parse(line + 25, &next))
		return -EILSEQ;
	b->next = (uint64_t)next;
	while ((line = strsep(&text, "\n"))) {
		if (line_restore(b, line) < 0)
			return -EILSEQ;
	}
	return 0;
}

static int file_read(const char *dir, char **ret_text, size_t *ret_len)
{
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = dirfd < 0 ? -1 : openat(dirfd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r = fd < 0 ? -errno : 0;
	char *text = NULL;
	size_t len = 0;
	ssize_t n;

	if (r == 0 && !(text = malloc(FILE_MAX + 1)))
		r = -ENOMEM;
	while (r == 0 && len < FILE_MAX) {
		n = read(fd, text + len, FILE_MAX - len);
		if (n < 0)
			r = -errno;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (fd >= 0)
		close(fd);
	if (dirfd >= 0)
		close(dirfd);
	if (r < 0) {
		free(text);
		return r;
	}
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return 0;
}

// The deadline of an end, no more than a day away whatever the wall clock says; 0: it has passed.
static int64_t deadline_of(const struct breakglass *b, int64_t until)
{
	struct table_time now = set_now(b->set);
	int64_t left = until - now.wall_ms / 1000;

	if (until <= 0 || left <= 0)
		return 0;
	if (left > BREAKGLASS_MAX_S)
		return now.boot_ms + BREAKGLASS_MAX_S * 1000ll;
	return now.boot_ms + until * 1000 - now.wall_ms;
}

static void restored_apply(struct breakglass *b)
{
	size_t kept = 0;

	for (size_t i = 0; i < b->n_allows; i++) {
		int64_t due = deadline_of(b, b->allows[i].until);

		if (due && set_breakglass(b->set, &b->allows[i].indicator, due) == 0)
			b->allows[kept++] = b->allows[i];
	}
	b->n_allows = kept;
	b->pause_due = deadline_of(b, b->pause_until);
	if (!b->pause_due || set_pause(b->set, true) < 0)
		b->pause_until = 0;
}

int breakglass_restore(struct breakglass *b)
{
	char *text;
	size_t len;
	int r;

	if (!b->dir)
		return 0;
	r = file_read(b->dir, &text, &len);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = text_restore(b, text, len);
	free(text);
	if (r < 0) {
		b->n_allows = b->n_actions = 0;
		b->pause_until = 0;
		return r;
	}
	restored_apply(b);
	return 0;
}

// --- acting

static struct wire_breakglass *
action_add(struct breakglass *b, uint32_t kind, int64_t until, uint32_t uid, const char *reason)
{
	struct wire_breakglass *a;

	if (b->n_actions == BREAKGLASS_ACTIONS_MAX)
		memmove(b->actions, b->actions + 1, --b->n_actions * sizeof(*a));
	a = &b->actions[b->n_actions++];
	*a = (struct wire_breakglass){
		.header = {
			.type = WIRE_BREAKGLASS,
			.version = WIRE_VERSION,
			.length = sizeof(*a),
			.seq = b->next++,
		},
		.when_ms = set_now(b->set).wall_ms,
		.until = until,
		.uid = uid,
		.kind = kind,
	};
	reason_copy(a->reason, reason);
	return a;
}

static struct allow *allow_find(struct breakglass *b, const struct indicator *n)
{
	for (size_t i = 0; i < b->n_allows; i++) {
		if (indicator_equal(&b->allows[i].indicator, n))
			return &b->allows[i];
	}
	return NULL;
}

static void allow_keep(
	struct breakglass *b,
	const struct indicator *n,
	int64_t until,
	uint32_t uid,
	const char *why
)
{
	struct allow *a = allow_find(b, n);

	if (!until) {
		if (a)
			*a = b->allows[--b->n_allows];
		return;
	}
	if (!a)
		a = &b->allows[b->n_allows++];
	a->indicator = *n;
	a->until = until;
	a->uid = uid;
	reason_copy(a->reason, why);
}

static void allows_expire(struct breakglass *b)
{
	for (size_t i = 0; i < b->n_allows;) {
		if (deadline_of(b, b->allows[i].until))
			i++;
		else
			b->allows[i] = b->allows[--b->n_allows];
	}
}

static int until_check(const struct breakglass *b, int64_t until)
{
	int64_t left = until - set_now(b->set).wall_ms / 1000;

	return until < 0 || left <= 0 || left > BREAKGLASS_MAX_S ? -ERANGE : 0;
}

int breakglass_allow(
	struct breakglass *b,
	const struct indicator *n,
	int64_t until,
	uint32_t uid,
	const char *reason,
	int *ret_written
)
{
	struct wire_breakglass *a;
	int r;

	if (until && until_check(b, until) < 0)
		return -ERANGE;
	allows_expire(b);
	if (until && b->n_allows == BREAKGLASS_ALLOWS_MAX && !allow_find(b, n))
		return -ENOSPC;
	r = set_breakglass(b->set, n, until ? deadline_of(b, until) : 0);
	if (r < 0)
		return r;
	allow_keep(b, n, until, uid, reason);
	a = action_add(b, WIRE_CTL_ALLOW, until, uid, reason);
	wire_indicator_write(&a->indicator, sizeof(a->indicator), n);
	*ret_written = file_write(b);
	return 0;
}

int breakglass_pause(
	struct breakglass *b,
	int64_t until,
	uint32_t uid,
	const char *reason,
	bool local,
	int *ret_written
)
{
	int r;

	if (until && until_check(b, until) < 0)
		return -ERANGE;
	r = set_pause(b->set, until != 0);
	if (r < 0)
		return r;
	b->pause_until = until;
	b->pause_due = deadline_of(b, until);
	b->pause_uid = uid;
	reason_copy(b->pause_reason, reason);
	if (local)
		action_add(b, WIRE_CTL_PAUSE, until, uid, reason);
	*ret_written = file_write(b);
	return 0;
}

void breakglass_tick(struct breakglass *b)
{
	if (!b->pause_until || set_now(b->set).boot_ms < b->pause_due)
		return;
	// Without memory for a policy it stays, and is tried again at the next tick.
	if (set_pause(b->set, false) < 0)
		return;
	b->pause_until = 0;
	// Where this is not written, the restart finds an end that has passed.
	file_write(b);
}

int64_t breakglass_pause_until(const struct breakglass *b)
{
	return b->pause_until;
}

size_t breakglass_unacked(const struct breakglass *b)
{
	return b->n_actions;
}

const struct wire_breakglass *breakglass_action(const struct breakglass *b, size_t i)
{
	return &b->actions[i];
}

void breakglass_ack(struct breakglass *b, uint64_t number)
{
	size_t n = 0;

	while (n < b->n_actions && b->actions[n].header.seq <= number)
		n++;
	if (!n)
		return;
	b->n_actions -= n;
	memmove(b->actions, b->actions + n, b->n_actions * sizeof(b->actions[0]));
	// Not written: it is told once more after a restart, and control knows its number.
	file_write(b);
}
