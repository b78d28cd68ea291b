// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A certificate for an hour, for tests.

#pragma once

#include "tests/unit/cm.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>

// For 127.0.0.1, signed by itself. Free with X509_free.
static inline X509 *cert_make(EVP_PKEY *key)
{
	X509 *cert = X509_new();
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME *name = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0
	);
	X509_set_issuer_name(cert, name);
	static const struct {
		int nid;
		const char *value;
	} extensions[] = {
		{NID_basic_constraints, "critical,CA:TRUE"},
		{NID_subject_alt_name, "IP:127.0.0.1"},
	};
	for (size_t i = 0; i < 2; i++) {
		X509_EXTENSION *extension
			= X509V3_EXT_conf_nid(NULL, NULL, extensions[i].nid, extensions[i].value);
		assert_non_null(extension);
		X509_add_ext(cert, extension, -1);
		X509_EXTENSION_free(extension);
	}
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	return cert;
}
