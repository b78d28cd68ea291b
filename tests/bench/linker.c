// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/bench/linker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "the link: %s\n", what);
	exit(1);
}

void linker_open(struct linker *l, const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	*l = (struct linker){.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (l->fd < 0 || connect(l->fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		fail(strerror(errno));
}

// The answer to what was sent last; denials come unasked. Returns its length.
static void answer_read(struct linker *l, uint16_t type, void *ret_answer, size_t size)
{
	static _Thread_local uint8_t answer[WIRE_MESSAGE_MAX];
	struct wire_header h;

	do {
		ssize_t n = recv(l->fd, answer, sizeof(answer), 0);

		if (n < (ssize_t)sizeof(h))
			fail("it has ended");
		memcpy(&h, answer, sizeof(h));
		if (h.type == type && n < (ssize_t)size)
			fail("a short answer");
	} while (h.type != type);
	memcpy(ret_answer, answer, size);
}

void linker_hello(struct linker *l)
{
	struct wire_hello m = {
		.header = {
			.type = WIRE_HELLO,
			.version = WIRE_VERSION,
			.length = sizeof(m),
			.seq = ++l->seq,
		},
		.build = STANCH_VERSION,
	};
	struct wire_hello_ack ack;

	wire_state_pack(&l->state, &m.state);
	if (send(l->fd, &m, sizeof(m), 0) < 0)
		fail(strerror(errno));
	answer_read(l, WIRE_HELLO_ACK, &ack, sizeof(ack));
	if (ack.error != WIRE_OK)
		fail(wire_code_name(ack.error));
	wire_state_unpack(&ack.state, &l->state);
}

void linker_begin(struct linker *l)
{
	l->n = 0;
	l->len = sizeof(struct wire_batch);
}

void linker_add(struct linker *l, bool put, const struct entry *e, struct digest hash)
{
	int n = wire_entry_write(
		l->message + l->len, sizeof(l->message) - l->len, put ? WIRE_PUT : WIRE_REMOVE, e
	);

	if (n < 0)
		fail("too much for one message");
	l->len += (size_t)n;
	l->n++;
	if (put)
		digest_add(&l->state.digest, hash);
	else
		digest_remove(&l->state.digest, hash);
	l->state.count += put ? 1 : -(uint64_t)1;
}

void linker_send(struct linker *l)
{
	struct wire_batch m = {
		.header = {
			.type = WIRE_BATCH,
			.version = WIRE_VERSION,
			.length = (uint32_t)l->len,
			.seq = ++l->seq,
		},
		.from_epoch = l->state.revision.epoch,
		.from_number = l->state.revision.number++,
		.n = l->n,
	};

	wire_state_pack(&l->state, &m.after);
	memcpy(l->message, &m, sizeof(m));
	if (send(l->fd, l->message, l->len, 0) < 0)
		fail(strerror(errno));
}

void linker_answer(struct linker *l)
{
	struct wire_result result;

	answer_read(l, WIRE_RESULT, &result, sizeof(result));
	if (result.code != WIRE_OK)
		fail(wire_code_name(result.code));
}

void linker_close(struct linker *l)
{
	close(l->fd);
}
