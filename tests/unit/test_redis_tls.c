// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The relay between hiredis and TLS: what one side does not take is not read from the other, what
// was said before the end arrives, and nothing stays open, whenever it is freed.

#include "control/conf.h"
#include "control/sources/redis_tls.h"
#include "tests/unit/cert.h"
#include "tests/unit/cm.h"

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUCH (48 << 20) // octets
#define HELD_MAX (24 << 20) // by the relay, and by the kernel's buffers of three sockets
#define PATIENCE_MS 20000
#define QUIET_MS 300 // nothing has moved for so long

static char cert_file[64], key_file[64];

enum server {
	SERVER_TLS,
	SERVER_TEXT, // speaks first, without TLS
	SERVER_CLOSES,
	SERVER_SILENT,
};

struct world {
	struct event_base *base;
	struct evconnlistener *listener;
	struct sockaddr_in address;
	enum server server;
	SSL_CTX *ssl;
	struct bufferevent *peer;
	struct redis_tls *tls;
	struct redis_relay *relay;
	int fd; // of the relay, as hiredis has it
	bool free_in_open, free_in_failed;
	unsigned opened, failures;
	char why[256];
	int descriptors; // before
};

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void turn(struct world *w)
{
	static const struct timeval most = {.tv_usec = 10000};

	event_base_loopexit(w->base, &most);
	event_base_loop(w->base, EVLOOP_ONCE);
}

#define WAIT(w, condition)                                                                         \
	for (int64_t until_ = now_ms() + PATIENCE_MS; !(condition); turn(w))                       \
	assert_true(now_ms() < until_)

// --- the other side

static void accepted(
	struct evconnlistener *listener,
	evutil_socket_t fd,
	struct sockaddr *from,
	int len,
	void *ctx
)
{
	struct world *w = ctx;

	(void)listener;
	(void)from;
	(void)len;
	if (w->server == SERVER_CLOSES) {
		close(fd);
		return;
	}
	w->peer = w->server == SERVER_TLS
		? bufferevent_openssl_socket_new(
			w->base,
			fd,
			SSL_new(w->ssl),
			BUFFEREVENT_SSL_ACCEPTING,
			BEV_OPT_CLOSE_ON_FREE
		)
		: bufferevent_socket_new(w->base, fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_enable(w->peer, EV_WRITE);
	if (w->server == SERVER_TEXT)
		evbuffer_add_printf(bufferevent_get_output(w->peer), "-ERR not here\r\n");
}

static void peer_close(struct world *w)
{
	SSL *ssl = bufferevent_openssl_get_ssl(w->peer);

	if (ssl)
		SSL_shutdown(ssl);
	bufferevent_free(w->peer);
	w->peer = NULL;
}

// --- what the relay says

static void opened(void *ctx, int fd)
{
	struct world *w = ctx;

	w->opened++;
	w->fd = fd;
	if (!w->free_in_open)
		return;
	redis_relay_free(w->relay);
	w->relay = NULL;
}

static void went_wrong(void *ctx, const char *why)
{
	struct world *w = ctx;

	w->failures++;
	snprintf(w->why, sizeof(w->why), "%s", why);
	if (!w->free_in_failed)
		return;
	redis_relay_free(w->relay);
	w->relay = NULL;
}

// --- a world

static void begin(struct world *w, enum server server)
{
	struct conf_redis_tls conf = {.ca_file = cert_file};
	socklen_t len = sizeof(w->address);
	char message[256];

	*w = (struct world){.server = server, .fd = -1, .descriptors = descriptors()};
	w->base = event_base_new();
	w->address = (struct sockaddr_in){.sin_family = AF_INET};
	w->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	w->listener = evconnlistener_new_bind(
		w->base,
		accepted,
		w,
		LEV_OPT_CLOSE_ON_FREE,
		4,
		(struct sockaddr *)&w->address,
		sizeof(w->address)
	);
	assert_non_null(w->listener);
	getsockname(evconnlistener_get_fd(w->listener), (struct sockaddr *)&w->address, &len);
	w->ssl = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate_file(w->ssl, cert_file, SSL_FILETYPE_PEM), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(w->ssl, key_file, SSL_FILETYPE_PEM), 1);
	assert_int_equal(redis_tls_create(&conf, &w->tls, message), 0);
}

static void relay_start(struct world *w, const char *name)
{
	const struct redis_relay_events events = {opened, went_wrong, w};

	assert_int_equal(
		redis_relay_create(
			w->base,
			w->tls,
			(struct sockaddr *)&w->address,
			sizeof(w->address),
			name,
			&events,
			&w->relay
		),
		0
	);
}

static void end(struct world *w)
{
	redis_relay_free(w->relay);
	if (w->fd >= 0)
		close(w->fd);
	if (w->peer)
		peer_close(w);
	evconnlistener_free(w->listener);
	redis_tls_free(w->tls);
	SSL_CTX_free(w->ssl);
	turn(w); // what was put off
	event_base_free(w->base);
	assert_int_equal(descriptors(), w->descriptors);
}

static void open_wait(struct world *w)
{
	relay_start(w, "127.0.0.1");
	WAIT(w, w->opened && w->peer);
	assert_int_equal(w->failures, 0);
}

static uint8_t octet(size_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

static void pattern(uint8_t *to, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = octet(at + i);
}

static void pattern_check(const uint8_t *from, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (from[i] != octet(at + i))
			fail_msg("octet %zu is wrong", at + i);
}

// --- tests

static void test_what_nobody_reads_outward(void **state)
{
	struct world w;
	uint8_t block[32768];
	size_t sent = 0, got = 0;

	(void)state;
	begin(&w, SERVER_TLS);
	open_wait(&w);
	for (int64_t moved = now_ms(); sent < MUCH && now_ms() - moved < QUIET_MS; turn(&w)) {
		ssize_t n;

		do {
			pattern(block, sent, sizeof(block));
			n = write(w.fd, block, sizeof(block));
			if (n > 0) {
				sent += (size_t)n;
				moved = now_ms();
			}
		} while (n > 0 && sent < MUCH);
	}
	assert_in_range(sent, REDIS_RELAY_MAX, HELD_MAX);
	// Now it reads, and all of it comes.
	bufferevent_enable(w.peer, EV_READ);
	while (got < sent) {
		struct evbuffer *input = bufferevent_get_input(w.peer);
		int n;

		WAIT(&w, evbuffer_get_length(input) > 0);
		while ((n = evbuffer_remove(input, block, sizeof(block))) > 0) {
			pattern_check(block, got, (size_t)n);
			got += (size_t)n;
		}
	}
	assert_int_equal(w.failures, 0);
	end(&w);
}

static void test_what_nobody_reads_inward(void **state)
{
	struct world w;
	uint8_t *much = malloc(MUCH), block[32768];
	struct evbuffer *output;
	size_t left, got = 0;
	ssize_t n;

	(void)state;
	begin(&w, SERVER_TLS);
	open_wait(&w);
	pattern(much, 0, MUCH);
	output = bufferevent_get_output(w.peer);
	// Pieces: OpenSSL takes each as a whole.
	for (size_t at = 0; at < MUCH; at += sizeof(block))
		evbuffer_add_reference(output, much + at, sizeof(block), NULL, NULL);
	left = MUCH;
	for (int64_t moved = now_ms(); now_ms() - moved < QUIET_MS; turn(&w)) {
		if (evbuffer_get_length(output) < left)
			moved = now_ms();
		left = evbuffer_get_length(output);
	}
	assert_in_range(MUCH - left, REDIS_RELAY_MAX, HELD_MAX);
	// Now it is read; Redis closes behind the last of it, which still arrives.
	while ((n = read(w.fd, block, sizeof(block))) != 0) {
		if (n > 0) {
			pattern_check(block, got, (size_t)n);
			got += (size_t)n;
		} else {
			assert_int_equal(errno, EAGAIN);
			turn(&w);
		}
		if (w.peer && evbuffer_get_length(output) == 0)
			peer_close(&w);
	}
	assert_int_equal(got, MUCH);
	assert_int_equal(w.failures, 0);
	end(&w);
	free(much);
}

static void test_our_side_closes(void **state)
{
	struct world w;

	(void)state;
	begin(&w, SERVER_TLS);
	open_wait(&w);
	close(w.fd);
	w.fd = -1;
	for (int i = 0; i < 5; i++)
		turn(&w);
	assert_int_equal(w.failures, 0);
	end(&w);
}

static void test_freed_anywhere(void **state)
{
	struct world w;

	(void)state;
	for (int turns = 0; turns < 12; turns++) {
		begin(&w, SERVER_TLS);
		relay_start(&w, "127.0.0.1");
		for (int i = 0; i < turns; i++)
			turn(&w);
		end(&w);
	}
	begin(&w, SERVER_TLS);
	w.free_in_open = true;
	relay_start(&w, "127.0.0.1");
	WAIT(&w, w.opened && w.peer);
	assert_null(w.relay);
	end(&w);
}

static void assert_fails(enum server server, const char *name, const char *why, bool free_in_it)
{
	struct world w;

	begin(&w, server);
	w.free_in_failed = free_in_it;
	relay_start(&w, name);
	WAIT(&w, w.failures);
	for (int i = 0; i < 3; i++)
		turn(&w);
	assert_int_equal(w.failures, 1);
	assert_int_equal(w.opened, 0);
	if (!strstr(w.why, why))
		fail_msg("expected \"%s\", got \"%s\"", why, w.why);
	end(&w);
}

static void test_what_fails_says_why(void **state)
{
	(void)state;
	for (int free_in_it = 0; free_in_it < 2; free_in_it++) {
		assert_fails(
			SERVER_TLS,
			"127.0.0.2",
			"certificate verify failed: IP address mismatch, not 127.0.0.2",
			free_in_it
		);
		assert_fails(
			SERVER_TLS,
			"redis.example",
			"certificate verify failed: hostname mismatch, not redis.example",
			free_in_it
		);
		assert_fails(SERVER_TEXT, "127.0.0.1", "does not speak it", free_in_it);
		assert_fails(SERVER_CLOSES, "127.0.0.1", "", free_in_it);
	}
}

static void test_silence_is_left_to_the_caller(void **state)
{
	struct world w;

	(void)state;
	begin(&w, SERVER_SILENT);
	relay_start(&w, "127.0.0.1");
	WAIT(&w, w.peer);
	for (int i = 0; i < 5; i++)
		turn(&w);
	assert_int_equal(w.failures + w.opened, 0);
	end(&w);
}

static void assert_not_taken(struct conf_redis_tls conf, const char *why)
{
	struct redis_tls *tls = NULL;
	char message[256];

	assert_true(redis_tls_create(&conf, &tls, message) < 0);
	assert_null(tls);
	if (!strstr(message, why))
		fail_msg("expected \"%s\", got \"%s\"", why, message);
}

static void test_files(void **state)
{
	char nowhere[] = "/nowhere/ca.pem";

	(void)state;
	assert_not_taken((struct conf_redis_tls){.ca_file = nowhere}, "/nowhere/ca.pem: cannot be");
	assert_not_taken((struct conf_redis_tls){.ca_file = key_file}, "holds no PEM certificate");
	assert_not_taken(
		(struct conf_redis_tls){.cert_file = key_file}, "holds no PEM certificate"
	);
	assert_not_taken((struct conf_redis_tls){.cert_file = cert_file}, "holds no PEM key");
}

static int group_setup(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = cert_make(key);
	FILE *to;

	(void)state;
	sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL); // as main does
	snprintf(cert_file, sizeof(cert_file), "/tmp/test_redis_tls.%d.pem", getpid());
	snprintf(key_file, sizeof(key_file), "/tmp/test_redis_tls.%d.key", getpid());
	to = fopen(cert_file, "w");
	PEM_write_X509(to, cert);
	fclose(to);
	to = fopen(key_file, "w");
	PEM_write_PrivateKey(to, key, NULL, NULL, 0, NULL, NULL);
	fclose(to);
	X509_free(cert);
	EVP_PKEY_free(key);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	unlink(cert_file);
	unlink(key_file);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_nobody_reads_outward),
		cmocka_unit_test(test_what_nobody_reads_inward),
		cmocka_unit_test(test_our_side_closes),
		cmocka_unit_test(test_freed_anywhere),
		cmocka_unit_test(test_what_fails_says_why),
		cmocka_unit_test(test_silence_is_left_to_the_caller),
		cmocka_unit_test(test_files),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
