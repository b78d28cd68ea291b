// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Outgoing HTTP: libcurl's multi interface on the event loop.
//
// Thread: the event loop. Callbacks run on it, never inside http_client_request.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct http_client;
struct protect;

struct http_tls {
	const char *ca_file; // NULL: the system's
	const char *cert_file; // client certificate, PEM or PKCS#12 (".p12"); NULL: none
	const char *key_file;
	const char *key_password_file;
};

// Can these files be used? 0, or -errno with a message that names the remedy (OpenSSL 3 refuses
// what older versions wrote into PKCS#12 files).
int http_tls_check(const struct http_tls *, char ret_message[256]);

// When the client certificate ends, seconds since the epoch. -errno: it cannot be read.
int http_tls_ends(const struct http_tls *, int64_t *ret_ends);

// How to reach one service; the strings are borrowed for the life of the client.
struct http_service {
	const char *name; // "thehive:soc", "f5xc": dependency for derived protections, metrics
	const char *base_url; // with its path, without a final slash
	const char *authorization; // whole header value, or NULL; never logged
	const char *const *headers; // further "Name: value", NULL-terminated; or NULL
	const char *proxy; // NULL: none
	struct http_tls tls;
	uint32_t timeout_ms; // whole request (default 30,000)
	uint32_t connect_timeout_ms; // default 5,000
	size_t max_body; // an answer beyond it fails with -EFBIG (default 64 MiB)
	double max_per_second; // 0: no limit; else requests wait their turn
};

struct http_answer {
	int error; // 0, or -errno: -ETIMEDOUT, -ECONNREFUSED, -EFBIG, -EPROTO (cut short), …
	char error_text[160];
	long status; // 0 where there was no answer
	const char *body; // NUL-terminated for convenience; live until the callback returns
	size_t body_len;
	long retry_after; // seconds; -1: header absent
	char content_type[64];
	char x_total[24]; // header X-Total of TheHive, "" where absent
};

typedef void (*http_answer_cb)(void *ctx, const struct http_answer *);

// `protect` may be NULL; else each address really connected to is noted as a derived protection.
int http_client_create(
	struct event_base *,
	const struct http_service *,
	struct protect *,
	struct http_client **ret_client
);
// In a fleet only who holds the lease may write to what the gateways share. `left` gives what is
// left of it, in milliseconds of the monotonic clock (INT64_MAX: for ever); asked before a request
// that writes starts, and again before its first octet is sent. Such a request fails with
// -ECONNABORTED where less than HTTP_FENCE_MIN_MS is left, and its time limit ends
// HTTP_FENCE_MARGIN_MS before the lease: its outcome is then unknown, as after any lost answer. Of
// all clients; NULL: no fence. What only reads passes: GET, and TheHive's queries.
#define HTTP_FENCE_MIN_MS 500
#define HTTP_FENCE_MARGIN_MS 200
void http_client_fence_set(int64_t (*left)(void *ctx), void *ctx);

// Pending requests end without a callback.
void http_client_free(struct http_client *);

// method "GET", "POST", "PUT", "PATCH", "DELETE"; path begins with "/"; body NULL: none (copied;
// sent as application/json). Returns 0, or -errno where the request could not be queued. No
// redirects are followed.
int http_client_request(
	struct http_client *,
	const char *method,
	const char *path,
	const char *body,
	size_t body_len,
	http_answer_cb,
	void *ctx
);
// The addresses that it connected to, the last 16: false where `index` is beyond them.
struct http_peer {
	uint8_t family; // 4 or 6
	uint8_t addr[16]; // network byte order
};
bool http_client_peer(const struct http_client *, size_t index, struct http_peer *ret_peer);
size_t http_client_pending(const struct http_client *);

struct http_client_counters {
	uint64_t requests, failures; // failures: no answer at all
	uint64_t fenced; // of the failures: refused or cut for want of a lease
	uint64_t status[6]; // [1] 1xx … [5] 5xx
	int64_t last_ok_ms; // milliseconds since the epoch; 0 never
};
void http_client_counters(const struct http_client *, struct http_client_counters *ret_counters);
