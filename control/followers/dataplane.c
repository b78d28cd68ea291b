// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/dataplane.h"

#include "control/followers/breakglass_audit.h"
#include "control/followers/dataplane_batch.h"
#include "control/followers/dataplane_lookup.h"
#include "control/followers/dataplane_watch.h"
#include "control/ledger.h"
#include "control/log.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000
#define ANSWER_MS 10000u // no answer for so long: connect anew
#define AGAIN_MS 5000u // to what was refused for want of room

// What may keep the other end from being equal, each with its own reason and time to wait: a
// refusal of one holds up no other, and none clears another's.
enum topic {
	TOPIC_LINK,
	TOPIC_LIST,
	TOPIC_EXCEPTIONS,
	TOPIC_PAUSE,
	TOPIC_N,
};

struct dataplane {
	struct event_base *base;
	struct ledger *ledger;
	char path[108];
	int fd;
	struct event *readable, *retry, *second;
	unsigned backoff_ms, answer_ms, again_ms;

	uint64_t seq; // of the last message sent
	uint64_t awaited; // seq of the change under way; 0: none
	uint16_t awaited_type;
	int64_t awaited_since_ms;
	bool hello; // answered
	bool exceptions_due, pause_due, full_due, force_due, refused_shrink;
	int64_t not_before_ms[TOPIC_N]; // CLOCK_MONOTONIC; no wake comes earlier
	char why[TOPIC_N][128]; // "": nothing
	struct exception_walk *exceptions; // being sent
	struct list_state live; // as last answered
	struct sync sync;

	bool have_applied;
	struct list_state applied;
	int64_t applied_ms;
	struct lookups lookups;
	uint8_t *status;
	size_t status_len;
	struct breakglass_audit *breakglass;
	struct dataplane_watch *watch;
	denials_cb denials;
	void *denials_ctx;
	applied_cb applied_cb;
	void *applied_ctx;
	_Alignas(8) uint8_t in[WIRE_MESSAGE_MAX];
	_Alignas(8) uint8_t out[WIRE_MESSAGE_MAX];
};

static void step(struct dataplane *d);

static int64_t clock_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void timer_set(struct event *timer, unsigned ms)
{
	const struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(timer, &after);
}

static void why_set(struct dataplane *d, enum topic topic, const char *why)
{
	if (strcmp(d->why[topic], why) != 0 && *why)
		log_warning("data plane: %s", why);
	snprintf(d->why[topic], sizeof(d->why[topic]), "%s", why);
}

static void wait_set(struct dataplane *d, enum topic topic, unsigned ms)
{
	d->not_before_ms[topic] = clock_ms(CLOCK_MONOTONIC) + ms;
	timer_set(d->retry, ms);
}

// Has its time come? Else the timer is set to the earliest that is waited for.
static bool may(struct dataplane *d, enum topic topic)
{
	int64_t now = clock_ms(CLOCK_MONOTONIC), first = INT64_MAX;

	if (d->not_before_ms[topic] <= now)
		return true;
	for (int i = 0; i < TOPIC_N; i++)
		if (d->not_before_ms[i] > now && d->not_before_ms[i] < first)
			first = d->not_before_ms[i];
	timer_set(d->retry, (unsigned)(first - now));
	return false;
}

static void disconnect(struct dataplane *d, const char *why)
{
	bool was = d->fd >= 0;

	why_set(d, TOPIC_LINK, why);
	if (d->readable)
		event_free(d->readable);
	d->readable = NULL;
	if (was)
		close(d->fd);
	d->fd = -1;
	d->hello = false;
	d->awaited = 0;
	free(d->exceptions);
	d->exceptions = NULL;
	// What an operator forced was for the list as the other end had it then.
	d->sync.running = d->sync.force = d->force_due = false;
	link_tell(d->ledger, &d->live, &d->sync, false);
	free(d->status);
	d->status = NULL;
	breakglass_audit_session(d->breakglass);
	lookups_end(&d->lookups);
	// Jitter: several controls of a fleet do not come at the same instant.
	timer_set(d->retry, d->backoff_ms + (unsigned)random() % (d->backoff_ms / 2 + 1));
	d->backoff_ms = d->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : d->backoff_ms * 2;
	if (was && d->applied_cb)
		d->applied_cb(d->applied_ctx);
}

// Fill in the header and send what is in `out`. A full socket counts as a lost one: the other end
// answers each message before the next is sent.
static bool send_out(struct dataplane *d, uint16_t type, size_t len, bool awaited)
{
	struct wire_header h = {
		.type = type,
		.version = WIRE_VERSION,
		.length = (uint32_t)len,
		.seq = ++d->seq,
	};

	memcpy(d->out, &h, sizeof(h));
	if (send(d->fd, d->out, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len) {
		disconnect(d, "the link broke while sending");
		return false;
	}
	if (awaited) {
		d->awaited = h.seq;
		d->awaited_type = type;
		d->awaited_since_ms = clock_ms(CLOCK_MONOTONIC);
	}
	return true;
}

// --- what to send next

static void hello_send(struct dataplane *d)
{
	struct wire_hello m = {.build = STANCH_VERSION};
	struct list_state state;

	ledger_state(d->ledger, &state);
	wire_state_pack(&state, &m.state);
	memcpy(d->out, &m, sizeof(m));
	send_out(d, WIRE_HELLO, sizeof(m), true);
}

static void pause_send(struct dataplane *d)
{
	struct wire_pause m = {.until = ledger_pause_until(d->ledger), .reason = "by control"};

	d->pause_due = false;
	memcpy(d->out, &m, sizeof(m));
	send_out(d, WIRE_PAUSE, sizeof(m), true);
}

static void exceptions_end(struct dataplane *d)
{
	free(d->exceptions);
	d->exceptions = NULL;
}

// Another try: the other end keeps the set it has, and the list goes on.
static void exceptions_failed(struct dataplane *d, const char *why)
{
	exceptions_end(d);
	d->exceptions_due = true;
	why_set(d, TOPIC_EXCEPTIONS, why);
	wait_set(d, TOPIC_EXCEPTIONS, d->again_ms);
}

static bool exceptions_begin(struct dataplane *d)
{
	char why[128];
	int rc = exception_walk_create(d->ledger, &d->exceptions);

	d->exceptions_due = false; // a change during the walk makes another due
	if (rc == 0)
		return true;
	snprintf(why, sizeof(why), "protections and allows not sent: %s", strerror(-rc));
	if (rc == -E2BIG)
		snprintf(
			why,
			sizeof(why),
			"more than %d protections and allows: none sent, it keeps those it has",
			WIRE_EXCEPTIONS_MAX
		);
	exceptions_failed(d, why);
	return false;
}

static void exceptions_send(struct dataplane *d)
{
	bool more;
	size_t len = exception_walk_message(d->exceptions, d->out, sizeof(d->out), &more);

	if (!more)
		exceptions_end(d);
	send_out(d, WIRE_EXCEPTIONS, len, true);
}

static void sync_step(struct dataplane *d)
{
	uint16_t type;
	int len = sync_message(&d->sync, d->ledger, d->out, sizeof(d->out), &type);

	if (len < 0) {
		d->sync.running = false;
		why_set(d, TOPIC_LIST, "the ledger could not be read for a full synchronisation");
		wait_set(d, TOPIC_LIST, 1000);
		return;
	}
	send_out(d, type, (size_t)len, true);
}

static bool synced(const struct dataplane *d)
{
	struct list_state state;

	ledger_state(d->ledger, &state);
	return list_state_equal(&state, &d->live);
}

// Does the synchronisation under way lead to the ledger's state as it is now?
static bool told(const struct dataplane *d)
{
	struct list_state state;

	ledger_state(d->ledger, &state);
	return list_state_equal(&state, &d->sync.told);
}

// Deltas where the live state is one of the ledger's history, else a full synchronisation.
static void list_step(struct dataplane *d)
{
	int len = -ESTALE;

	if (!d->full_due)
		len = batch_message(d->ledger, &d->live, d->out, sizeof(d->out));
	if (len > 0) {
		send_out(d, WIRE_BATCH, (size_t)len, true);
		return;
	}
	d->full_due = false;
	sync_begin(&d->sync, d->ledger);
	sync_step(d);
}

// Is anything of the list to be sent, now?
static bool list_due(struct dataplane *d)
{
	// An operator has to look at it; what changes meanwhile still goes.
	if (d->refused_shrink && !d->force_due && told(d))
		return false;
	return (d->sync.running || d->full_due || !synced(d)) && may(d, TOPIC_LIST);
}

static void step(struct dataplane *d)
{
	if (d->fd < 0 || d->awaited)
		return;
	if (!d->hello)
		hello_send(d);
	else if (d->exceptions || (d->exceptions_due && may(d, TOPIC_EXCEPTIONS) && exceptions_begin(d)))
		exceptions_send(d);
	else if (d->pause_due && may(d, TOPIC_PAUSE))
		pause_send(d);
	else if (!list_due(d))
		return;
	else if (d->sync.running)
		sync_step(d);
	else
		list_step(d);
}

// --- what comes

static void applied_move(struct dataplane *d, const struct list_state *state)
{
	d->have_applied = true;
	d->applied = *state;
	d->applied_ms = clock_ms(CLOCK_REALTIME);
	if (d->applied_cb)
		d->applied_cb(d->applied_ctx);
}

static void hello_answered(struct dataplane *d, const struct wire_hello_ack *m)
{
	if (m->error) {
		char why[128];

		snprintf(
			why, sizeof(why), "it is of another build (%.31s): upgrade both", m->build
		);
		disconnect(d, why);
		return;
	}
	wire_state_unpack(&m->state, &d->live);
	d->hello = true;
	d->awaited = 0;
	d->backoff_ms = BACKOFF_FIRST_MS;
	d->exceptions_due = d->pause_due = true;
	d->full_due = d->refused_shrink = d->sync.running = false;
	memset(d->why, 0, sizeof(d->why));
	memset(d->not_before_ms, 0, sizeof(d->not_before_ms));
	dataplane_watch_hello(d->watch, m->boot_id);
	log_info(
		"data plane: connected at revision %llu.%llu",
		(unsigned long long)d->live.revision.epoch,
		(unsigned long long)d->live.revision.number
	);
	d->have_applied = false; // the answer to HELLO has no barrier, the one to EXCEPTIONS has
	step(d);
}

static void result_ok(struct dataplane *d)
{
	switch (d->awaited_type) {
	case WIRE_EXCEPTIONS:
		// The last message of the set has a barrier, for the list too.
		if (d->exceptions)
			return;
		why_set(d, TOPIC_EXCEPTIONS, "");
		if (d->live.revision.epoch && !d->sync.running)
			applied_move(d, &d->live);
		return;
	case WIRE_PAUSE:
		why_set(d, TOPIC_PAUSE, "");
		return;
	case WIRE_SYNC_END:
		d->sync.running = false;
		d->sync.force = d->force_due = d->refused_shrink = false;
		break;
	case WIRE_BATCH:
		if (d->sync.running)
			return;
		break;
	default:
		return;
	}
	why_set(d, TOPIC_LIST, "");
	applied_move(d, &d->live);
}

static void result_text(const char *what, const struct wire_result *m, char text[128])
{
	snprintf(
		text,
		128,
		"%s%s (%llu, limit %llu)",
		what,
		wire_code_name(m->code),
		(unsigned long long)m->count,
		(unsigned long long)m->limit
	);
}

static void pause_refused(struct dataplane *d, const struct wire_result *m)
{
	char why[128];

	if (m->code == WIRE_IO) {
		log_warning("data plane: the pause holds, but not over its restart: its disk");
		why_set(d, TOPIC_PAUSE, "");
		return;
	}
	d->pause_due = true;
	result_text("the pause was refused: ", m, why);
	why_set(d, TOPIC_PAUSE, why);
	wait_set(d, TOPIC_PAUSE, d->again_ms);
}

static void list_refused(struct dataplane *d, const struct wire_result *m)
{
	char why[128];

	result_text("", m, why);
	if (m->code == WIRE_SHRINK_REFUSED) {
		d->refused_shrink = true;
		snprintf(
			why,
			sizeof(why),
			"a full synchronisation would leave %llu entries, fewer than %llu: stanch "
			"sync --force",
			(unsigned long long)m->count,
			(unsigned long long)m->limit
		);
		why_set(d, TOPIC_LIST, why);
		return;
	}
	if (m->code == WIRE_NO_MEMORY) {
		// Nothing has changed there: the same again, later.
		why_set(d, TOPIC_LIST, why);
		d->full_due = d->sync.running;
		d->sync.running = false;
		wait_set(d, TOPIC_LIST, d->again_ms);
		return;
	}
	if (m->code != WIRE_FULL && m->code != WIRE_NEED_SYNC && m->code != WIRE_MISMATCH) {
		disconnect(d, why);
		return;
	}
	why_set(d, TOPIC_LIST, why);
	d->sync.running = false;
	d->full_due = true;
	wait_set(d, TOPIC_LIST, m->code == WIRE_FULL ? d->again_ms : 200);
}

static void result_bad(struct dataplane *d, const struct wire_result *m)
{
	char why[128];

	if (m->code == WIRE_STALLED) {
		disconnect(d, "a worker stalled: stored, but not applied by all");
	} else if (d->awaited_type == WIRE_EXCEPTIONS) {
		result_text("protections and allows refused: ", m, why);
		exceptions_failed(d, why);
	} else if (d->awaited_type == WIRE_PAUSE) {
		pause_refused(d, m);
	} else {
		list_refused(d, m);
	}
}

static void result_take(struct dataplane *d, const struct wire_result *m)
{
	if (m->header.seq != d->awaited) {
		lookups_refused(&d->lookups, m->header.seq);
		return;
	}
	d->awaited = 0;
	wire_state_unpack(&m->state, &d->live);
	if (m->code == WIRE_OK)
		result_ok(d);
	else
		result_bad(d, m);
	step(d);
	link_tell(d->ledger, &d->live, &d->sync, !d->why[TOPIC_LIST][0]);
}

static void breakglass_written(void *ctx, uint64_t seq)
{
	struct dataplane *d = ctx;
	const struct wire_simple ack = {
		.header = {
			.type = WIRE_BREAKGLASS_ACK,
			.version = WIRE_VERSION,
			.length = sizeof(ack),
			.seq = seq,
		},
	};

	if (send(d->fd, &ack, sizeof(ack), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_warning("data plane: a break-glass action stays unacknowledged");
}

static void status_take(struct dataplane *d, size_t len)
{
	uint8_t *copy = malloc(len);

	if (!copy)
		return;
	memcpy(copy, d->in, len);
	free(d->status);
	d->status = copy;
	d->status_len = len;
	dataplane_watch_status(d->watch, (const void *)copy);
}

static void denials_take(struct dataplane *d, size_t len)
{
	const struct wire_denials *m = (const void *)d->in;

	if ((len - sizeof(*m)) / sizeof(struct wire_denial) >= m->n && d->denials)
		d->denials(d->denials_ctx, (const void *)(m + 1), m->n);
}

static void message_take(struct dataplane *d, size_t len)
{
	const struct wire_header *h = (const void *)d->in;

	if (wire_header_check(d->in, len) < 0) {
		disconnect(d, "it sent a message of another version or size");
		return;
	}
	switch (h->type) {
	case WIRE_HELLO_ACK:
		hello_answered(d, (const void *)d->in);
		break;
	case WIRE_RESULT:
		result_take(d, (const void *)d->in);
		break;
	case WIRE_LOOKUP_ANSWER:
		lookups_answered(&d->lookups, (const void *)d->in);
		break;
	case WIRE_PREVIEW_ANSWER:
		lookups_previewed(&d->lookups, (const void *)d->in, len);
		break;
	case WIRE_STATUS:
		status_take(d, len);
		break;
	case WIRE_DENIALS:
		denials_take(d, len);
		break;
	case WIRE_BREAKGLASS:
		breakglass_audit_take(d->breakglass, (const void *)d->in);
		break;
	default:
		break;
	}
}

static void readable(evutil_socket_t fd, short what, void *ctx)
{
	struct dataplane *d = ctx;

	(void)what;
	for (int i = 0; i < 64 && d->fd == fd; i++) {
		ssize_t n = recv(fd, d->in, sizeof(d->in), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			disconnect(d, "not connected: it closed the link");
			return;
		}
		message_take(d, (size_t)n);
	}
}

// --- connecting

static void connect_now(struct dataplane *d)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int size = 1 << 20;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(to.sun_path, d->path, sizeof(d->path));
	if (fd < 0) {
		disconnect(d, "not connected: no descriptor is free");
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		close(fd);
		disconnect(d, "not connected: it does not run, or its socket may not be used");
		return;
	}
	d->fd = fd;
	d->readable = event_new(d->base, fd, EV_READ | EV_PERSIST, readable, d);
	if (!d->readable || event_add(d->readable, NULL) < 0) {
		disconnect(d, "no memory for the link");
		return;
	}
	step(d);
}

static void retried(evutil_socket_t fd, short what, void *ctx)
{
	struct dataplane *d = ctx;

	(void)fd;
	(void)what;
	if (d->fd < 0)
		connect_now(d);
	else
		step(d);
}

static void each_second(evutil_socket_t fd, short what, void *ctx)
{
	struct dataplane *d = ctx;

	(void)fd;
	(void)what;
	if (d->fd < 0)
		return;
	if (d->awaited && clock_ms(CLOCK_MONOTONIC) - d->awaited_since_ms > d->answer_ms)
		disconnect(d, "it does not answer");
	else if (d->hello)
		send_out(d, WIRE_STATUS_GET, sizeof(struct wire_simple), false);
}

static void woken(void *ctx, unsigned topics)
{
	struct dataplane *d = ctx;

	d->exceptions_due |= topics & LEDGER_EXCEPTIONS;
	d->pause_due |= topics & LEDGER_PAUSE;
	step(d);
}

void dataplane_wake(struct dataplane *d)
{
	step(d);
}

int dataplane_create(
	struct event_base *base,
	struct ledger *ledger,
	const char *run_dir,
	struct dataplane **ret_dataplane
)
{
	const struct timeval second = {.tv_sec = 1};
	struct dataplane *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->base = base;
	d->ledger = ledger;
	d->fd = -1;
	d->backoff_ms = BACKOFF_FIRST_MS;
	d->answer_ms = ANSWER_MS;
	d->again_ms = AGAIN_MS;
	lookups_init(&d->lookups);
	snprintf(d->path, sizeof(d->path), "%s/dataplane.sock", run_dir);
	d->retry = event_new(base, -1, 0, retried, d);
	d->second = event_new(base, -1, EV_PERSIST, each_second, d);
	if (!d->retry || !d->second || event_add(d->second, &second) < 0
	    || breakglass_audit_create(ledger, breakglass_written, d, &d->breakglass) < 0
	    || dataplane_watch_create(ledger, &d->watch) < 0
	    || ledger_watch(ledger, LEDGER_EXCEPTIONS | LEDGER_PAUSE, woken, d) < 0) {
		dataplane_free(d);
		return -ENOMEM;
	}
	timer_set(d->retry, 0);
	*ret_dataplane = d;
	return 0;
}

void dataplane_free(struct dataplane *d)
{
	if (!d)
		return;
	ledger_unwatch(d->ledger, woken, d);
	d->applied_cb = NULL;
	if (d->readable)
		event_free(d->readable);
	if (d->fd >= 0)
		close(d->fd);
	lookups_end(&d->lookups);
	if (d->retry)
		event_free(d->retry);
	if (d->second)
		event_free(d->second);
	breakglass_audit_free(d->breakglass);
	dataplane_watch_free(d->watch);
	free(d->exceptions);
	free(d->status);
	free(d);
}

bool dataplane_connected(const struct dataplane *d)
{
	return d->fd >= 0 && d->hello;
}

bool dataplane_applied(
	const struct dataplane *d, struct list_state *ret_state, int64_t *ret_when_ms
)
{
	if (!d->have_applied)
		return false;
	*ret_state = d->applied;
	*ret_when_ms = d->applied_ms;
	return true;
}

bool dataplane_equal(const struct dataplane *d, char ret_why[160])
{
	struct list_state state;
	const char *why = "";

	ledger_state(d->ledger, &state);
	for (int i = 0; i < TOPIC_N && !*why; i++)
		why = d->why[i];
	if (dataplane_connected(d) && d->have_applied && list_state_equal(&state, &d->applied)
	    && !*d->why[TOPIC_EXCEPTIONS] && !*d->why[TOPIC_PAUSE]) {
		*ret_why = '\0';
		return true;
	}
	snprintf(ret_why, 160, "%s", *why ? why : d->fd < 0 ? "not connected" : "under way");
	return false;
}

const void *dataplane_status(const struct dataplane *d, size_t *ret_len)
{
	*ret_len = d->status ? d->status_len : 0;
	return d->status;
}

// What stands in `out`, beside the changes. Where the link breaks, all that wait are told.
static int ask(struct dataplane *d, uint16_t type, size_t len, const struct lookup_asker *asker)
{
	int rc = dataplane_connected(d) ? lookups_add(&d->lookups, d->seq + 1, asker) : -ENOTCONN;

	if (rc == 0)
		send_out(d, type, len, false);
	return rc;
}

int dataplane_lookup(struct dataplane *d, const struct indicator *n, lookup_cb cb, void *ctx)
{
	const struct lookup_asker asker = {.lookup = cb, .ctx = ctx};
	size_t head = offsetof(struct wire_lookup, indicator);
	int len = wire_indicator_write(d->out + head, sizeof(d->out) - head, n);

	return ask(d, WIRE_LOOKUP, head + (size_t)len, &asker);
}

int dataplane_preview(
	struct dataplane *d, const struct indicator *n, uint32_t ends, preview_cb cb, void *ctx
)
{
	const struct lookup_asker asker = {.preview = cb, .ctx = ctx};
	struct wire_preview m = {.all = !n, .ends = ends};

	if (n && wire_indicator_write(&m.indicator, sizeof(m.indicator), n) < 0)
		return -EINVAL;
	memcpy(d->out, &m, sizeof(m));
	return ask(d, WIRE_PREVIEW, sizeof(m), &asker);
}

int dataplane_sync(struct dataplane *d, bool force)
{
	if (!dataplane_connected(d))
		return -ENOTCONN;
	d->force_due |= force;
	d->sync.force = force;
	d->not_before_ms[TOPIC_LIST] = 0;
	if (!d->refused_shrink || !force) {
		d->sync.running = false;
		d->refused_shrink = false;
		d->full_due = true;
	}
	step(d);
	return 0;
}

void dataplane_pace_set(struct dataplane *d, unsigned answer_ms, unsigned again_ms)
{
	d->answer_ms = answer_ms;
	d->again_ms = again_ms;
}

const struct dataplane_watch *dataplane_watched(const struct dataplane *d)
{
	return d->watch;
}

void dataplane_denials_set(struct dataplane *d, denials_cb cb, void *ctx)
{
	d->denials = cb;
	d->denials_ctx = ctx;
}

void dataplane_applied_set(struct dataplane *d, applied_cb cb, void *ctx)
{
	d->applied_cb = cb;
	d->applied_ctx = ctx;
}
