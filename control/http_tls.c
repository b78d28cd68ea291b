// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The client's certificate files, looked at before they are needed. In http_client.h: they are
// part of a struct http_service.

#include "control/http_client.h"
#include "control/secret.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void bio_close(BIO **bio)
{
	BIO_free(*bio);
}

static void password_free(char **password)
{
	secret_free(*password);
}

static int say(char message[256], int error, const char *path, const char *what)
{
	snprintf(message, 256, "%s: %s", path, what);
	return error;
}

static bool is_pkcs12(const char *path)
{
	size_t len = strlen(path);
	return len > 4
		&& (strcmp(path + len - 4, ".p12") == 0 || strcmp(path + len - 4, ".pfx") == 0);
}

// Did a digest or cipher of the file turn out to be none that OpenSSL 3 still has?
static bool error_is_legacy(void)
{
	bool legacy = false;
	unsigned long error;
	while ((error = ERR_get_error()))
		if (ERR_GET_REASON(error) == ERR_R_UNSUPPORTED
		    || ERR_GET_REASON(error) == EVP_R_UNSUPPORTED_ALGORITHM
		    || ERR_GET_REASON(error) == EVP_R_UNKNOWN_PBE_ALGORITHM
		    || ERR_GET_REASON(error) == EVP_R_UNSUPPORTED_CIPHER)
			legacy = true;
	return legacy;
}

static int pkcs12_check(const char *path, const char *password, char ret_message[256])
{
	__attribute__((cleanup(bio_close))) BIO *file = BIO_new_file(path, "rb");
	if (!file)
		return say(ret_message, -ENOENT, path, "cannot be read");
	PKCS12 *p12 = d2i_PKCS12_bio(file, NULL);
	if (!p12)
		return say(ret_message, -EINVAL, path, "is no PKCS#12 file");
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	ERR_clear_error();
	int good = PKCS12_parse(p12, password ? password : "", &key, &cert, NULL);
	bool legacy = !good && error_is_legacy();
	bool whole = key && cert;
	EVP_PKEY_free(key);
	X509_free(cert);
	PKCS12_free(p12);
	if (good && whole)
		return 0;
	if (legacy) {
		snprintf(
			ret_message,
			256,
			"%s: uses a cipher that OpenSSL 3 refuses (RC2-40); convert it: openssl "
			"pkcs12 "
			"-legacy -in OLD.p12 -nodes -out x.pem; openssl pkcs12 -export -in x.pem "
			"-out "
			"NEW.p12",
			path
		);
		return -EOPNOTSUPP;
	}
	return say(
		ret_message,
		-EINVAL,
		path,
		good ? "lacks the key or the certificate" : "the password does not open it"
	);
}

static int pem_check(const struct http_tls *tls, const char *password, char ret_message[256])
{
	__attribute__((cleanup(bio_close))) BIO *file = BIO_new_file(tls->cert_file, "rb");
	X509 *cert = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
	if (!cert)
		return say(ret_message, -EINVAL, tls->cert_file, "holds no PEM certificate");
	const char *key_file = tls->key_file ? tls->key_file : tls->cert_file;
	__attribute__((cleanup(bio_close))) BIO *key_bio = BIO_new_file(key_file, "rb");
	// XXX OpenSSL takes the password as void *; it only reads it.
	union {
		const char *in;
		void *out;
	} word = {.in = password ? password : ""};
	EVP_PKEY *key = key_bio ? PEM_read_bio_PrivateKey(key_bio, NULL, NULL, word.out) : NULL;
	int fits = key && X509_check_private_key(cert, key) == 1;
	EVP_PKEY_free(key);
	X509_free(cert);
	ERR_clear_error();
	if (!key)
		return say(ret_message, -EINVAL, key_file, "holds no PEM key, or needs a password");
	return fits ? 0 : say(ret_message, -EINVAL, key_file, "is not the certificate's key");
}

int http_tls_check(const struct http_tls *tls, char ret_message[256])
{
	ret_message[0] = '\0';
	if (tls->ca_file) {
		__attribute__((cleanup(bio_close))) BIO *file = BIO_new_file(tls->ca_file, "rb");
		X509 *ca = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
		ERR_clear_error();
		if (!ca)
			return say(ret_message, -EINVAL, tls->ca_file, "holds no PEM certificate");
		X509_free(ca);
	}
	if (!tls->cert_file)
		return 0;
	__attribute__((cleanup(password_free))) char *password = NULL;
	if (tls->key_password_file) {
		int error = secret_read(tls->key_password_file, &password, ret_message);
		if (error)
			return error;
	}
	return is_pkcs12(tls->cert_file) ? pkcs12_check(tls->cert_file, password, ret_message)
					 : pem_check(tls, password, ret_message);
}

static X509 *cert_read(const struct http_tls *tls, const char *password)
{
	__attribute__((cleanup(bio_close))) BIO *file = BIO_new_file(tls->cert_file, "rb");
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	if (!file)
		return NULL;
	if (!is_pkcs12(tls->cert_file))
		return PEM_read_bio_X509(file, NULL, NULL, NULL);
	PKCS12 *p12 = d2i_PKCS12_bio(file, NULL);
	if (p12)
		PKCS12_parse(p12, password ? password : "", &key, &cert, NULL);
	EVP_PKEY_free(key);
	PKCS12_free(p12);
	return cert;
}

int http_tls_ends(const struct http_tls *tls, int64_t *ret_ends)
{
	__attribute__((cleanup(password_free))) char *password = NULL;
	char message[256];
	struct tm end;
	if (tls->key_password_file) {
		int error = secret_read(tls->key_password_file, &password, message);
		if (error)
			return error;
	}
	X509 *cert = cert_read(tls, password);
	int good = cert && ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end);
	X509_free(cert);
	ERR_clear_error();
	if (!good)
		return -EINVAL;
	*ret_ends = (int64_t)timegm(&end);
	return 0;
}
