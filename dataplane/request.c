// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/request.h"

#include "dataplane/exceptions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// One message with what handles it at hand.
struct request {
	struct requests *q;
	enum request_peer peer;
	uint32_t uid;
	const uint8_t *message;
	size_t len;
	void *answer;
	size_t answer_len;
};

void requests_fini(struct requests *q)
{
	free(q->exceptions);
	q->exceptions = NULL;
	q->n_exceptions = q->room_exceptions = 0;
}

void requests_reset(struct requests *q)
{
	requests_fini(q);
	set_sync_abort(q->set);
}

static struct wire_header header_of(const struct request *r)
{
	struct wire_header h;

	memcpy(&h, r->message, sizeof(h));
	return h;
}

static struct wire_state live_state(const struct set *set)
{
	struct list_state state;
	struct wire_state w;

	set_state(set, &state);
	wire_state_pack(&state, &w);
	return w;
}

static void result_counts(struct request *r, uint32_t code, uint64_t count, uint64_t limit)
{
	const struct wire_result result = {
		.header = {
			.type = WIRE_RESULT,
			.version = WIRE_VERSION,
			.length = sizeof(result),
			.seq = header_of(r).seq,
		},
		.code = code,
		.state = live_state(r->q->set),
		.count = count,
		.limit = limit,
	};

	memcpy(r->answer, &result, sizeof(result));
	r->answer_len = sizeof(result);
}

static enum request_outcome result(struct request *r, uint32_t code)
{
	result_counts(r, code, 0, 0);
	return REQUEST_ANSWER;
}

// What an error of the set means to the peer.
static enum request_outcome result_error(struct request *r, int error, uint64_t count)
{
	switch (error) {
	case -ENOSPC:
		result_counts(r, WIRE_FULL, count, set_capacity(r->q->set));
		return REQUEST_ANSWER;
	case -EILSEQ:
		return result(r, WIRE_MISMATCH);
	case -ESTALE:
	case -EALREADY:
		return result(r, WIRE_NEED_SYNC);
	case -ENOMEM:
		return result(r, WIRE_NO_MEMORY);
	default:
		return result(r, WIRE_BAD_MESSAGE);
	}
}

static enum request_outcome hello_answer(struct request *r, uint32_t error)
{
	struct wire_hello_ack ack = {
		.header = {
			.type = WIRE_HELLO_ACK,
			.version = WIRE_VERSION,
			.length = sizeof(ack),
			.seq = header_of(r).seq,
		},
		.build = STANCH_VERSION,
		.capacity = set_capacity(r->q->set),
		.error = error,
		.boot_id = r->q->boot_id,
	};

	if (set_have_list(r->q->set))
		ack.state = live_state(r->q->set);
	memcpy(r->answer, &ack, sizeof(ack));
	r->answer_len = sizeof(ack);
	return error ? REQUEST_CLOSE : REQUEST_HELLO;
}

static enum request_outcome hello(struct request *r)
{
	struct wire_hello m;

	memcpy(&m, r->message, sizeof(m));
	if (strncmp(m.build, STANCH_VERSION, sizeof(m.build)) != 0)
		return hello_answer(r, WIRE_BAD_VERSION);
	// What an earlier session left half done is given up before the state is told.
	requests_reset(r->q);
	return hello_answer(r, WIRE_OK);
}

// --- entries

static enum request_outcome batch(struct request *r)
{
	struct set *set = r->q->set;
	struct wire_batch m;
	struct list_state after;
	struct revision from;
	struct change *changes;
	size_t at = sizeof(m);
	uint64_t wanted = 0;
	int error = 0;

	memcpy(&m, r->message, sizeof(m));
	// A record has at least its fixed part: the count cannot ask for more memory than that.
	if (m.n > (r->len - at) / sizeof(struct wire_entry))
		return result(r, WIRE_BAD_MESSAGE);
	changes = malloc((m.n ? m.n : 1) * sizeof(*changes));
	if (!changes)
		return result(r, WIRE_NO_MEMORY);
	for (uint32_t i = 0; error == 0 && i < m.n; i++) {
		enum wire_op op;
		int n = wire_entry_read(r->message + at, r->len - at, &op, &changes[i].entry);

		if (n < 0) {
			error = n;
			break;
		}
		changes[i].op = op == WIRE_PUT ? CHANGE_PUT : CHANGE_REMOVE;
		at += (size_t)n;
	}
	if (at != r->len)
		error = -EBADMSG;
	from = (struct revision){.epoch = m.from_epoch, .number = m.from_number};
	wire_state_unpack(&m.after, &after);
	if (error == 0)
		error = set_change(set, changes, m.n, &from, &after, &wanted);
	free(changes);
	if (error < 0)
		return result_error(r, error, wanted);
	result(r, WIRE_OK);
	return set_settling(set) ? REQUEST_SETTLE : REQUEST_APPLIED;
}

static enum request_outcome sync_begin(struct request *r)
{
	struct wire_sync_begin m;
	struct list_state target;
	int error;

	memcpy(&m, r->message, sizeof(m));
	wire_state_unpack(&m.state, &target);
	error = r->len == sizeof(m) ? set_sync_begin(r->q->set, m.generation, &target) : -EBADMSG;
	return error < 0 ? result_error(r, error, target.count) : result(r, WIRE_OK);
}

// Reads the records once without and once with putting them: a message that is wrong, or that there
// is no memory for, changes nothing.
static int sync_entries_walk(struct request *r, const struct wire_sync_entries *m, bool put)
{
	size_t at = sizeof(*m);

	for (uint32_t i = 0; i < m->n; i++) {
		struct entry entry;
		enum wire_op op;
		int n = wire_entry_read(r->message + at, r->len - at, &op, &entry);
		int error = n < 0 || op != WIRE_PUT ? -EBADMSG : 0;

		if (error == 0)
			error = put ? set_sync_put(r->q->set, m->generation, &entry)
				    : set_sync_reserve(r->q->set, &entry);
		if (error < 0)
			return error;
		at += (size_t)n;
	}
	return at == r->len ? 0 : -EBADMSG;
}

static enum request_outcome sync_entries(struct request *r)
{
	struct wire_sync_entries m;
	uint64_t count = 0;
	int error;

	memcpy(&m, r->message, sizeof(m));
	error = sync_entries_walk(r, &m, false);
	if (error == 0) {
		error = sync_entries_walk(r, &m, true);
		if (error < 0 && error != -EALREADY) {
			count = set_sync_count(r->q->set) + 1;
			set_sync_abort(r->q->set);
		}
	}
	set_sync_unreserve(r->q->set);
	if (error < 0)
		return result_error(r, error, count);
	result(r, WIRE_OK);
	return REQUEST_APPLIED;
}

static enum request_outcome sync_end(struct request *r)
{
	struct wire_sync_end m;
	struct list_state state;
	uint64_t left = set_sync_count(r->q->set), least = 0;
	int error;

	memcpy(&m, r->message, sizeof(m));
	if (r->len != sizeof(m))
		return result(r, WIRE_BAD_MESSAGE);
	wire_state_unpack(&m.state, &state);
	error = set_sync_end(r->q->set, m.generation, &state, m.flags & WIRE_SYNC_FORCE, &least);
	if (error == -EDOM) {
		result_counts(r, WIRE_SHRINK_REFUSED, left, least);
		return REQUEST_ANSWER;
	}
	if (error < 0)
		return result_error(r, error, 0);
	result(r, WIRE_OK);
	return REQUEST_SETTLE;
}

// --- exceptions

_Static_assert(EXCEPTIONS_MAX == WIRE_EXCEPTIONS_MAX, "as many as the other end may send");

static int exceptions_room(struct requests *q, size_t n)
{
	struct exception *grown;

	if (n > EXCEPTIONS_MAX)
		return -ENOSPC;
	if (n <= q->room_exceptions)
		return 0;
	grown = realloc(q->exceptions, n * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	q->exceptions = grown;
	q->room_exceptions = n;
	return 0;
}

static int exceptions_read(struct request *r, const struct wire_exceptions *m)
{
	struct requests *q = r->q;
	size_t at = sizeof(*m), n = q->n_exceptions;
	int error;

	if (m->n > (r->len - at) / sizeof(struct wire_exception))
		return -EBADMSG;
	error = exceptions_room(q, n + m->n);
	if (error < 0)
		return error;
	for (uint32_t i = 0; i < m->n; i++) {
		int size = wire_exception_read(r->message + at, r->len - at, &q->exceptions[n + i]);

		if (size < 0)
			return size;
		at += (size_t)size;
	}
	if (at != r->len)
		return -EBADMSG;
	q->n_exceptions = n + m->n;
	return 0;
}

static enum request_outcome exceptions(struct request *r)
{
	struct requests *q = r->q;
	struct wire_exceptions m;
	size_t wanted;
	int error;

	memcpy(&m, r->message, sizeof(m));
	wanted = q->n_exceptions + m.n;
	error = exceptions_read(r, &m);
	if (error == 0 && m.flags & WIRE_EXCEPTIONS_MORE)
		return result(r, WIRE_OK);
	if (error == 0)
		error = set_exceptions(q->set, q->exceptions, q->n_exceptions);
	requests_fini(q);
	if (error == -ENOSPC) {
		result_counts(r, WIRE_FULL, wanted, EXCEPTIONS_MAX);
		return REQUEST_ANSWER;
	}
	if (error < 0)
		return result_error(r, error, 0);
	result(r, WIRE_OK);
	return set_settling(q->set) ? REQUEST_SETTLE : REQUEST_APPLIED;
}

// --- pause and allow

static bool reason_valid(const char *reason, size_t size)
{
	return reason[0] && memchr(reason, '\0', size);
}

static enum request_outcome breakglass_result(struct request *r, int error, int written)
{
	switch (error) {
	case 0:
		break;
	case -ENOENT:
	case -ERANGE:
	case -EINVAL:
		return result(r, WIRE_BAD_MESSAGE);
	case -ENOSPC:
		result_counts(r, WIRE_FULL, BREAKGLASS_ALLOWS_MAX + 1, BREAKGLASS_ALLOWS_MAX);
		return REQUEST_ANSWER;
	case -ENOMEM:
		return result(r, WIRE_NO_MEMORY);
	default:
		return result(r, WIRE_IO);
	}
	result(r, written < 0 ? WIRE_IO : WIRE_OK);
	return REQUEST_APPLIED;
}

static enum request_outcome pause_set(struct request *r)
{
	bool local = r->peer == PEER_ROOT;
	struct wire_pause m;
	int error, written = 0;

	memcpy(&m, r->message, sizeof(m));
	if (r->len != sizeof(m) || !memchr(m.reason, '\0', sizeof(m.reason))
	    || (local && m.until && !m.reason[0]))
		return result(r, WIRE_BAD_MESSAGE);
	error = breakglass_pause(
		r->q->breakglass, m.until, local ? r->uid : m.uid, m.reason, local, &written
	);
	return breakglass_result(r, error, written);
}

static enum request_outcome allow_set(struct request *r)
{
	size_t head = offsetof(struct wire_ctl_allow, indicator);
	struct wire_ctl_allow m;
	struct indicator n;
	int size, error, written = 0;

	memcpy(&m, r->message, sizeof(m));
	size = wire_indicator_read(r->message + head, r->len - head, &n);
	if (size < 0 || head + (size_t)size != r->len || n.kind == INDICATOR_NAME
	    || !memchr(m.reason, '\0', sizeof(m.reason))
	    || (m.until && !reason_valid(m.reason, sizeof(m.reason))))
		return result(r, WIRE_BAD_MESSAGE);
	error = breakglass_allow(r->q->breakglass, &n, m.until, r->uid, m.reason, &written);
	return breakglass_result(r, error, written);
}

// --- questions

static enum request_outcome lookup(struct request *r)
{
	size_t head = offsetof(struct wire_lookup, indicator);
	struct wire_lookup_answer a = {
		.header = {
			.type = WIRE_LOOKUP_ANSWER,
			.version = WIRE_VERSION,
			.length = sizeof(a),
			.seq = header_of(r).seq,
		},
		.state = live_state(r->q->set),
	};
	struct indicator n;
	struct set_view view;
	int size = wire_indicator_read(r->message + head, r->len - head, &n);

	if (size < 0 || head + (size_t)size != r->len)
		return result(r, WIRE_BAD_MESSAGE);
	a.exception = set_exception_covering(r->q->set, &n);
	if (set_find(r->q->set, &n, &view) == 0) {
		a.present = 1;
		a.action = (uint8_t)view.action;
		a.matched = view.matched;
		a.packets = view.hits.packets;
		a.bytes = view.hits.bytes;
		a.last_ms = view.hits.last_ms;
	}
	memcpy(r->answer, &a, sizeof(a));
	r->answer_len = sizeof(a);
	return REQUEST_ANSWER;
}

static enum request_outcome preview(struct request *r)
{
	struct wire_preview m;
	struct wire_header h;
	struct indicator n;
	bool all;

	if (wire_preview_read(r->message, r->len, &all, &n) < 0)
		return result(r, WIRE_BAD_MESSAGE);
	if (!r->q->preview)
		return result(r, WIRE_DENIED);
	memcpy(&m, r->message, sizeof(m));
	r->answer_len = preview_build(
		r->q->preview, all ? NULL : &n, m.ends, set_now(r->q->set).boot_ms, r->answer
	);
	memcpy(&h, r->answer, sizeof(h));
	h.seq = m.header.seq;
	memcpy(r->answer, &h, sizeof(h));
	return REQUEST_ANSWER;
}

static enum request_outcome status_get(struct request *r)
{
	struct wire_header h
		= {.type = WIRE_STATUS, .version = WIRE_VERSION, .seq = header_of(r).seq};

	if (r->len != sizeof(struct wire_simple))
		return result(r, WIRE_BAD_MESSAGE);
	r->answer_len = r->q->status(r->q->status_ctx, r->answer, WIRE_MESSAGE_MAX);
	h.length = (uint32_t)r->answer_len;
	memcpy(r->answer, &h, sizeof(h));
	return REQUEST_ANSWER;
}

// --- dispatch

static enum request_outcome control_dispatch(struct request *r)
{
	struct wire_header h = header_of(r);

	switch (h.type) {
	case WIRE_HELLO:
		return hello(r);
	case WIRE_EXCEPTIONS:
		return exceptions(r);
	case WIRE_BATCH:
		return batch(r);
	case WIRE_SYNC_BEGIN:
		return sync_begin(r);
	case WIRE_SYNC_ENTRIES:
		return sync_entries(r);
	case WIRE_SYNC_END:
		return sync_end(r);
	case WIRE_PAUSE:
		return pause_set(r);
	case WIRE_LOOKUP:
		return lookup(r);
	case WIRE_PREVIEW:
		return preview(r);
	case WIRE_STATUS_GET:
		return status_get(r);
	case WIRE_BREAKGLASS_ACK:
		breakglass_ack(r->q->breakglass, h.seq);
		return REQUEST_SILENT;
	default:
		return result(r, WIRE_DENIED);
	}
}

static enum request_outcome root_dispatch(struct request *r)
{
	switch (header_of(r).type) {
	case WIRE_CTL_ALLOW:
		return allow_set(r);
	case WIRE_CTL_PAUSE:
		return pause_set(r);
	case WIRE_STATUS_GET:
		return status_get(r);
	case WIRE_LOOKUP:
		return lookup(r);
	default:
		return result(r, WIRE_DENIED);
	}
}

size_t request_refuse(struct requests *q, const void *message, size_t len, void *answer)
{
	struct request r = {.q = q, .message = message, .len = len, .answer = answer};

	if (len >= sizeof(struct wire_header))
		result(&r, WIRE_NO_MEMORY);
	return r.answer_len;
}

enum request_outcome request_handle(
	struct requests *q,
	enum request_peer peer,
	uint32_t uid,
	const void *message,
	size_t len,
	void *answer,
	size_t *ret_len
)
{
	struct request r = {
		.q = q, .peer = peer, .uid = uid, .message = message, .len = len, .answer = answer};
	int error = wire_header_check(message, len);
	enum request_outcome outcome;

	if (error == -EPROTO) {
		outcome = hello_answer(&r, WIRE_BAD_VERSION);
	} else if (error < 0) {
		// Where a message ends is no longer agreed: nothing after it can be trusted.
		if (len >= sizeof(struct wire_header))
			result(&r, WIRE_BAD_MESSAGE);
		outcome = REQUEST_CLOSE;
	} else if (peer == PEER_ROOT) {
		outcome = root_dispatch(&r);
	} else if (peer == PEER_NEW && header_of(&r).type != WIRE_HELLO) {
		result(&r, WIRE_DENIED);
		outcome = REQUEST_CLOSE;
	} else {
		outcome = control_dispatch(&r);
	}
	*ret_len = r.answer_len;
	return outcome;
}
