// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// TLS both ways: our client to our server, certificates that do not fit, old PKCS#12 files.

#include "control/http_client.h"
#include "control/http_server.h"
#include "tests/unit/cert.h"
#include "tests/unit/cm.h"

#include <event2/event.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 5000

static char dir[64];
static char paths[8][128];

enum file {
	CERT,
	KEY,
	OTHER_CERT,
	OTHER_KEY,
	P12,
	P12_OLD,
	PASSWORD,
	UNIX_SOCKET,
};

static const char *const names[] = {
	"cert.pem",
	"key.pem",
	"other.pem",
	"other-key.pem",
	"new.p12",
	"old.p12",
	"password",
	"s",
};

static void pem_write(enum file cert_file, enum file key_file, X509 *cert, EVP_PKEY *key)
{
	FILE *to = fopen(paths[cert_file], "w");
	PEM_write_X509(to, cert);
	fclose(to);
	to = fopen(paths[key_file], "w");
	PEM_write_PrivateKey(to, key, NULL, NULL, 0, NULL, NULL);
	fclose(to);
}

static void p12_write(enum file file, X509 *cert, EVP_PKEY *key, int cipher)
{
	PKCS12 *p12 = PKCS12_create("word", "test", key, cert, NULL, cipher, cipher, 0, 0, 0);
	assert_non_null(p12);
	FILE *to = fopen(paths[file], "w");
	i2d_PKCS12_fp(to, p12);
	fclose(to);
	PKCS12_free(p12);
}

static OSSL_PROVIDER *usual;

static int group_setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_tls.XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < 8; i++)
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir, names[i]);
	EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	X509 *cert = cert_make(key), *other_cert = cert_make(other);
	pem_write(CERT, KEY, cert, key);
	pem_write(OTHER_CERT, OTHER_KEY, other_cert, other);
	p12_write(P12, cert, key, 0);
	OSSL_PROVIDER *legacy = OSSL_PROVIDER_load(NULL, "legacy");
	usual = OSSL_PROVIDER_load(NULL, "default"); // a named one takes the place of none
	if (legacy)
		p12_write(P12_OLD, cert, key, NID_pbe_WithSHA1And40BitRC2_CBC);
	OSSL_PROVIDER_unload(legacy);
	FILE *to = fopen(paths[PASSWORD], "w");
	fputs("word\n", to);
	fclose(to);
	X509_free(cert);
	X509_free(other_cert);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < 8; i++)
		unlink(paths[i]);
	rmdir(dir);
	OSSL_PROVIDER_unload(usual);
	return 0;
}

static void test_check(void **state)
{
	(void)state;
	char message[256];
	struct http_tls tls = {.cert_file = paths[CERT], .key_file = paths[KEY]};
	assert_int_equal(http_tls_check(&tls, message), 0);
	tls.key_file = paths[OTHER_KEY];
	assert_int_equal(http_tls_check(&tls, message), -EINVAL);
	assert_non_null(strstr(message, "is not the certificate's key"));
	tls = (struct http_tls){.cert_file = paths[P12], .key_password_file = paths[PASSWORD]};
	assert_int_equal(http_tls_check(&tls, message), 0);
	tls.key_password_file = NULL;
	assert_int_equal(http_tls_check(&tls, message), -EINVAL);
	assert_non_null(strstr(message, "password"));
}

// Certificates end: an hour after they were made here.
static void test_ends(void **state)
{
	struct http_tls tls = {.cert_file = paths[CERT]};
	int64_t ends = 0, now = (int64_t)time(NULL);

	(void)state;
	assert_int_equal(http_tls_ends(&tls, &ends), 0);
	assert_in_range(ends, now + 3000, now + 3600);
	tls = (struct http_tls){.cert_file = paths[P12], .key_password_file = paths[PASSWORD]};
	ends = 0;
	assert_int_equal(http_tls_ends(&tls, &ends), 0);
	assert_in_range(ends, now + 3000, now + 3600);
	tls.key_password_file = NULL;
	assert_int_equal(http_tls_ends(&tls, &ends), -EINVAL);
	tls.cert_file = paths[KEY];
	assert_int_equal(http_tls_ends(&tls, &ends), -EINVAL);
}

static void test_old_pkcs12(void **state)
{
	(void)state;
	if (access(paths[P12_OLD], R_OK) < 0)
		skip(); // no legacy provider to make one with
	char message[256];
	const struct http_tls tls = {
		.cert_file = paths[P12_OLD],
		.key_password_file = paths[PASSWORD],
	};
	assert_int_equal(http_tls_check(&tls, message), -EOPNOTSUPP);
	assert_non_null(strstr(message, "openssl pkcs12 -legacy"));
}

// --- a request over TLS

static void route_open(void *ctx, struct http_request *request)
{
	(void)ctx;
	http_answer_text(request, 200, "text/plain", "hello");
}

static const struct http_route routes[] = {
	{"GET", "/open", ROLE_NONE, 0, route_open, ""},
};

struct result {
	bool come;
	int error;
	long status;
};

static void taken(void *ctx, const struct http_answer *answer)
{
	struct result *result = ctx;
	result->come = true;
	result->error = answer->error;
	result->status = answer->status;
}

static struct result ask(struct event_base *base, uint16_t port, const struct http_tls *tls)
{
	char url[64];
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
	const struct http_service service = {.name = "t", .base_url = url, .tls = *tls};
	struct http_client *client = NULL;
	struct result result = {0};
	assert_int_equal(http_client_create(base, &service, NULL, &client), 0);
	assert_int_equal(http_client_request(client, "GET", "/open", NULL, 0, taken, &result), 0);
	time_t end = time(NULL) + PATIENCE_MS / 1000;
	while (!result.come && time(NULL) <= end) {
		const struct timeval soon = {.tv_usec = 2000};
		event_base_loopexit(base, &soon);
		event_base_dispatch(base);
	}
	assert_true(result.come);
	http_client_free(client);
	return result;
}

static void test_request(void **state)
{
	(void)state;
	struct event_base *base = event_base_new();
	struct http_server *server = NULL;
	char message[256];
	struct http_server_conf conf = {
		.unix_path = paths[UNIX_SOCKET],
		.listen = "127.0.0.1:0",
		.tls_cert_file = paths[CERT],
		.tls_key_file = paths[OTHER_KEY],
	};
	assert_int_equal(http_server_create(base, &conf, NULL, &server, message), -EINVAL);
	conf.tls_key_file = paths[KEY];
	assert_int_equal(http_server_create(base, &conf, NULL, &server, message), 0);
	http_server_routes(server, routes, 1, NULL);
	uint16_t port = http_server_port(server);

	struct http_tls tls = {.ca_file = paths[CERT]};
	struct result result = ask(base, port, &tls);
	assert_int_equal(result.error, 0);
	assert_int_equal(result.status, 200);
	// Another authority, and the system's.
	tls.ca_file = paths[OTHER_CERT];
	assert_int_equal(ask(base, port, &tls).error, -EACCES);
	tls.ca_file = NULL;
	assert_int_equal(ask(base, port, &tls).error, -EACCES);
	// With a client's certificate out of PKCS#12.
	tls = (struct http_tls){
		.ca_file = paths[CERT],
		.cert_file = paths[P12],
		.key_password_file = paths[PASSWORD],
	};
	assert_int_equal(ask(base, port, &tls).status, 200);
	http_server_free(server);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_old_pkcs12),
		cmocka_unit_test(test_request),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
