// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/redis_tls.h"

#include "control/conf.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/util.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// As hiredis sets them for its own connections.
#define KEEPALIVE_S 15

struct redis_tls {
	SSL_CTX *ssl;
};

struct redis_relay {
	struct event_base *base;
	int fd; // to Redis, until `outer` has it; then -1
	struct event *connecting;
	SSL *ssl; // likewise
	struct bufferevent *outer; // Redis; NULL before the connection stands
	struct bufferevent *inner; // hiredis; NULL before TLS stands
	bool ended; // Redis has closed: what it said before is still handed on
	char name[256];
	struct redis_relay_events events;
};

// --- files

static int no_password(char *word, int size, int writing, void *ctx)
{
	(void)word;
	(void)size;
	(void)writing;
	(void)ctx;
	return 0; // OpenSSL's own would ask on the terminal
}

static int say(char message[256], const char *path, const char *what)
{
	unsigned long error = ERR_peek_last_error();
	bool missing = ERR_GET_LIB(error) == ERR_LIB_SYS || ERR_GET_REASON(error) == ERR_R_SYS_LIB;

	ERR_clear_error();
	snprintf(message, 256, "%s: %s", path, missing ? "cannot be read" : what);
	return missing ? -ENOENT : -EINVAL;
}

static int files_load(SSL_CTX *ssl, const struct conf_redis_tls *conf, char message[256])
{
	const char *key = conf->key_file ? conf->key_file : conf->cert_file;

	ERR_clear_error();
	if (conf->ca_file) {
		if (SSL_CTX_load_verify_file(ssl, conf->ca_file) != 1)
			return say(message, conf->ca_file, "holds no PEM certificate");
	} else if (SSL_CTX_set_default_verify_paths(ssl) != 1) {
		return say(message, "the system's certificates", "cannot be read");
	}
	if (!conf->cert_file)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(ssl, conf->cert_file) != 1)
		return say(message, conf->cert_file, "holds no PEM certificate");
	if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) == 1)
		return 0;
	if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
		return say(message, key, "is not the certificate's key");
	return say(message, key, "holds no PEM key, or needs a password");
}

int redis_tls_create(
	const struct conf_redis_tls *conf, struct redis_tls **ret_tls, char message[256]
)
{
	struct redis_tls *tls = calloc(1, sizeof(*tls));
	int error = -ENOMEM;

	snprintf(message, 256, "no memory for TLS");
	if (tls)
		tls->ssl = SSL_CTX_new(TLS_client_method());
	if (tls && tls->ssl) {
		SSL_CTX_set_min_proto_version(tls->ssl, TLS1_2_VERSION);
		SSL_CTX_set_verify(tls->ssl, SSL_VERIFY_PEER, NULL);
		// Replies carry their lengths: one that is cut short is never taken for whole.
		SSL_CTX_set_options(
			tls->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF
		);
		SSL_CTX_set_mode(tls->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
		SSL_CTX_set_default_passwd_cb(tls->ssl, no_password);
		error = files_load(tls->ssl, conf, message);
	}
	if (error) {
		redis_tls_free(tls);
		return error;
	}
	message[0] = '\0';
	*ret_tls = tls;
	return 0;
}

void redis_tls_free(struct redis_tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->ssl);
	free(tls);
}

// --- what went wrong, in words

static void failure_print(struct redis_relay *r, char why[256])
{
	int error = EVUTIL_SOCKET_ERROR();
	unsigned long code = bufferevent_get_openssl_error(r->outer);
	long verified = SSL_get_verify_result(bufferevent_openssl_get_ssl(r->outer));
	const char *what = X509_verify_cert_error_string(verified);

	if (verified == X509_V_ERR_HOSTNAME_MISMATCH || verified == X509_V_ERR_IP_ADDRESS_MISMATCH)
		snprintf(why, 256, "certificate verify failed: %s, not %.100s", what, r->name);
	else if (verified != X509_V_OK)
		snprintf(why, 256, "certificate verify failed: %s", what);
	else if (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
		snprintf(why, 256, "TLS: the other side does not speak it");
	else if (code)
		snprintf(why, 256, "TLS: %s", ERR_reason_error_string(code) ?: "it failed");
	else
		snprintf(why, 256, "TLS: %s", evutil_socket_error_to_string(error));
	while (bufferevent_get_openssl_error(r->outer)) {
	}
}

static void failed(struct redis_relay *r, const char *why)
{
	if (r->outer)
		bufferevent_setcb(r->outer, NULL, NULL, NULL, NULL);
	if (r->inner)
		bufferevent_setcb(r->inner, NULL, NULL, NULL, NULL);
	r->events.failed(r->events.ctx, why); // may free it
}

// --- octets

static void pass(struct bufferevent *from, struct bufferevent *to)
{
	struct evbuffer *output = bufferevent_get_output(to);

	evbuffer_add_buffer(output, bufferevent_get_input(from));
	if (evbuffer_get_length(output) >= REDIS_RELAY_MAX)
		bufferevent_disable(from, EV_READ);
}

static void outer_read(struct bufferevent *outer, void *ctx)
{
	struct redis_relay *r = ctx;

	if (r->inner)
		pass(outer, r->inner);
}

static void inner_read(struct bufferevent *inner, void *ctx)
{
	struct redis_relay *r = ctx;

	pass(inner, r->outer);
}

// It has drained to half: the other side is read again.
static void outer_drained(struct bufferevent *outer, void *ctx)
{
	struct redis_relay *r = ctx;

	(void)outer;
	if (r->inner && !r->ended)
		bufferevent_enable(r->inner, EV_READ);
}

static void inner_drained(struct bufferevent *inner, void *ctx)
{
	struct redis_relay *r = ctx;

	if (!r->ended)
		bufferevent_enable(r->outer, EV_READ);
	else if (evbuffer_get_length(bufferevent_get_output(inner)) == 0)
		shutdown(bufferevent_getfd(inner), SHUT_WR);
}

// --- beginnings and ends

static void inner_event(struct bufferevent *inner, short what, void *ctx)
{
	(void)what;
	(void)ctx;
	// hiredis has closed its end: who has the connection frees the relay.
	bufferevent_disable(inner, EV_READ | EV_WRITE);
}

static void outer_ended(struct redis_relay *r)
{
	r->ended = true;
	pass(r->outer, r->inner);
	bufferevent_disable(r->outer, EV_READ | EV_WRITE);
	bufferevent_disable(r->inner, EV_READ);
	bufferevent_setwatermark(r->inner, EV_WRITE, 0, 0);
	inner_drained(r->inner, r);
}

static void outer_open(struct redis_relay *r)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
		failed(r, strerror(errno));
		return;
	}
	r->inner = bufferevent_socket_new(
		r->base, pair[1], BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS
	);
	if (!r->inner) {
		close(pair[0]);
		close(pair[1]);
		failed(r, strerror(ENOMEM));
		return;
	}
	bufferevent_setcb(r->inner, inner_read, inner_drained, inner_event, r);
	bufferevent_setwatermark(r->inner, EV_WRITE, REDIS_RELAY_MAX / 2, 0);
	bufferevent_setwatermark(r->outer, EV_WRITE, REDIS_RELAY_MAX / 2, 0);
	bufferevent_enable(r->inner, EV_READ | EV_WRITE);
	bufferevent_enable(r->outer, EV_READ | EV_WRITE);
	r->events.open(r->events.ctx, pair[0]); // may free it
}

static void outer_event(struct bufferevent *outer, short what, void *ctx)
{
	struct redis_relay *r = ctx;
	char why[256];

	(void)outer;
	if (what & BEV_EVENT_CONNECTED) {
		outer_open(r);
	} else if (what & BEV_EVENT_EOF) {
		if (r->inner)
			outer_ended(r);
		else
			failed(r, "TLS: closed before it stood");
	} else {
		failure_print(r, why);
		failed(r, why);
	}
}

static void connected(int fd, short what, void *ctx)
{
	struct redis_relay *r = ctx;
	socklen_t len = sizeof(int);
	int error = 0;

	(void)what;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		failed(r, strerror(error));
		return;
	}
	r->outer = bufferevent_openssl_socket_new(
		r->base,
		fd,
		r->ssl,
		BUFFEREVENT_SSL_CONNECTING,
		BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS
	);
	if (!r->outer) {
		failed(r, strerror(ENOMEM));
		return;
	}
	r->fd = -1;
	r->ssl = NULL;
	bufferevent_setcb(r->outer, outer_read, outer_drained, outer_event, r);
}

// `name` is only read: OpenSSL's macro casts the const away.
static SSL *ssl_create(struct redis_tls *tls, char *name)
{
	SSL *ssl = SSL_new(tls->ssl);
	struct in6_addr address;
	bool ip = inet_pton(AF_INET, name, &address) == 1
		|| inet_pton(AF_INET6, name, &address) == 1;

	if (!ssl)
		return NULL;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	// RFC 6066, section 3: no addresses in the server name indication.
	if (ip ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1
	       : SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1)
		return ssl;
	SSL_free(ssl);
	return NULL;
}

static int outer_connect(struct redis_relay *r, const struct sockaddr *address, int len)
{
	static const int on = 1, seconds = KEEPALIVE_S, apart = KEEPALIVE_S / 3, tries = 3;

	r->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->fd < 0)
		return -errno;
	setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(r->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(r->fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
	setsockopt(r->fd, IPPROTO_TCP, TCP_KEEPINTVL, &apart, sizeof(apart));
	setsockopt(r->fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
	r->connecting = event_new(r->base, r->fd, EV_WRITE, connected, r);
	if (!r->connecting || event_add(r->connecting, NULL) < 0)
		return -ENOMEM;
	if (connect(r->fd, address, (socklen_t)len) < 0 && errno != EINPROGRESS)
		return -errno;
	return 0;
}

int redis_relay_create(
	struct event_base *base,
	struct redis_tls *tls,
	const struct sockaddr *address,
	int len,
	const char *name,
	const struct redis_relay_events *events,
	struct redis_relay **ret_relay
)
{
	struct redis_relay *r = calloc(1, sizeof(*r));
	int error;

	if (!r)
		return -ENOMEM;
	*r = (struct redis_relay){.base = base, .fd = -1, .events = *events};
	snprintf(r->name, sizeof(r->name), "%s", name);
	r->ssl = ssl_create(tls, r->name);
	error = r->ssl ? outer_connect(r, address, len) : -ENOMEM;
	if (error) {
		redis_relay_free(r);
		return error;
	}
	*ret_relay = r;
	return 0;
}

void redis_relay_free(struct redis_relay *r)
{
	if (!r)
		return;
	if (r->connecting)
		event_free(r->connecting);
	if (r->inner) {
		SSL *ssl = bufferevent_openssl_get_ssl(r->outer);

		bufferevent_free(r->inner);
		// Our farewell goes out; the other's is not waited for.
		SSL_set_shutdown(ssl, SSL_RECEIVED_SHUTDOWN);
		SSL_shutdown(ssl);
		ERR_clear_error();
	}
	if (r->outer)
		bufferevent_free(r->outer);
	SSL_free(r->ssl);
	if (r->fd >= 0)
		close(r->fd);
	free(r);
}
