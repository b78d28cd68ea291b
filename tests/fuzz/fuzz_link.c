// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Messages of a hostile peer against the live set. Input, again and again:
//   who (0 newcomer, 1 control, 2 root; 4 added: the header is made right; 8 added: SYNC_END names
//   what was really marked), type, length (LE16), octets after the header.
// At the end the scrub must find every entry where workers look, and the digest kept in O(1) that
// of the entries.

#include "dataplane/request.h"
#include "dataplane/scrub.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t status_none(void *ctx, void *to, size_t room)
{
	(void)ctx;
	memset(to, 0, sizeof(struct wire_status));
	return room < sizeof(struct wire_status) ? 0 : sizeof(struct wire_status);
}

static void fault_none(void *ctx, enum table_fault fault, const struct entry *entry, bool repaired)
{
	(void)ctx;
	(void)fault;
	(void)entry;
	(void)repaired;
	abort();
}

static void list_check(struct set *set)
{
	struct scrub *scrub;
	struct scrub_result result;

	if (scrub_create(set, fault_none, NULL, &scrub) < 0)
		abort();
	while (!scrub_step(scrub, 1000))
		;
	scrub_result(scrub, &result);
	if (!result.clean)
		abort();
	scrub_free(scrub);
}

static void end_mend(struct set *set, uint8_t *message)
{
	struct table_sum marks = table_marks(set_table(set));
	struct wire_sync_end end;

	memcpy(&end, message, sizeof(end));
	end.state.count = marks.count;
	digest_pack(marks.digest, end.state.digest);
	memcpy(message, &end, sizeof(end));
}

static void
message_give(struct requests *q, uint8_t who, uint8_t type, const uint8_t *data, size_t n)
{
	static const enum request_peer peers[] = {PEER_NEW, PEER_CONTROL, PEER_ROOT, PEER_CONTROL};
	static uint8_t message[WIRE_MESSAGE_MAX], answer[WIRE_MESSAGE_MAX];
	struct wire_header h = {.type = type, .version = WIRE_VERSION};
	size_t len = n, answer_len = 0;

	memcpy(message, data, n);
	if (who & 4) {
		memmove(message + sizeof(h), message, n);
		len += sizeof(h);
		h.length = (uint32_t)len;
		memcpy(message, &h, sizeof(h));
	}
	if (who & 8 && type == WIRE_SYNC_END && len >= sizeof(struct wire_sync_end))
		end_mend(q->set, message);
	request_handle(q, peers[who & 3], 0, message, len, answer, &answer_len);
	assert(answer_len <= sizeof(answer));
	while (!set_settle(q->set, 100))
		;
	set_poll(q->set, true);
}

// Two remote ends; made once, for its tables are large.
static struct sketch *sketch_get(void)
{
	static struct sketch *sketch;
	struct sketch_sample s = {.addr = {203, 0, 113, 7}, .family = 4, .proto = 6, .port = 443};

	if (sketch)
		return sketch;
	if (sketch_create(1, 1, &sketch) < 0)
		abort();
	sketch_add(sketch, 0, &s);
	s.addr[3]++;
	sketch_add(sketch, 0, &s);
	sketch_drain(sketch, 1000);
	return sketch;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct set_options options = {.capacity = 64, .workers = 1};
	struct requests q = {.status = status_none};

	policy_init(&options.policy);
	if (set_create(&options, (struct table_time){1000000, 1000}, &q.set) < 0
	    || breakglass_create(q.set, NULL, &q.breakglass) < 0
	    || preview_create(sketch_get(), set_live(q.set), &q.preview) < 0)
		return 0;
	while (size >= 4) {
		size_t n = data[2] | (size_t)data[3] << 8;

		n = n > size - 4 ? size - 4 : n;
		n = n > 60000 ? 60000 : n;
		message_give(&q, data[0], data[1], data + 4, n);
		data += 4 + n;
		size -= 4 + n;
	}
	list_check(q.set);
	requests_fini(&q);
	preview_free(q.preview);
	breakglass_free(q.breakglass);
	set_free(q.set);
	return 0;
}
