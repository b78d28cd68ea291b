// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What is sealed is taken only where it belongs and by who has the key; what stands in Redis reads
// as it was written, or not at all.

#include "control/fleet/fleet_seal.h"
#include "control/fleet/fleet_wire.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_A "0123456789abcdef0123456789abcdef"
#define KEY_B "fedcba9876543210fedcba9876543210"

static struct fleet_seal *seal_new(const char *fleet, const char *key, const char *previous)
{
	struct fleet_seal *s = NULL;

	assert_int_equal(fleet_seal_create(fleet, key, previous, &s), 0);
	return s;
}

static void test_keys(void **state)
{
	struct fleet_seal *s = NULL;

	(void)state;
	assert_int_equal(fleet_seal_create("f", "short", NULL, &s), -EINVAL);
	assert_int_equal(fleet_seal_create("f", KEY_A, "short", &s), -EINVAL);
	// One octet below the limit.
	assert_int_equal(fleet_seal_create("f", &KEY_A[1], NULL, &s), -EINVAL);
	assert_null(s);
}

static void test_domains(void **state)
{
	struct fleet_seal *s = seal_new("f", KEY_A, NULL), *other = seal_new("g", KEY_A, NULL);
	uint8_t mac[FLEET_MAC_LEN];

	(void)state;
	fleet_seal_make(s, FLEET_SEALS_CHUNK, "n:1", "data", 4, mac);
	assert_int_equal(fleet_seal_verify(s, FLEET_SEALS_CHUNK, "n:1", "data", 4, mac), 0);
	assert_int_equal(fleet_seal_verify(s, FLEET_SEALS_CHUNK, "n:2", "data", 4, mac), -EBADMSG);
	assert_int_equal(fleet_seal_verify(s, FLEET_SEALS_UP, "n:1", "data", 4, mac), -EBADMSG);
	assert_int_equal(fleet_seal_verify(s, FLEET_SEALS_CHUNK, "n:1", "date", 4, mac), -EBADMSG);
	assert_int_equal(fleet_seal_verify(s, FLEET_SEALS_CHUNK, "n:1d", "ata", 3, mac), -EBADMSG);
	assert_int_equal(
		fleet_seal_verify(other, FLEET_SEALS_CHUNK, "n:1", "data", 4, mac), -EBADMSG
	);
	mac[31] ^= 1;
	assert_int_equal(fleet_seal_verify(s, FLEET_SEALS_CHUNK, "n:1", "data", 4, mac), -EBADMSG);
	fleet_seal_free(s);
	fleet_seal_free(other);
}

// Old key, both, new key: what one sealed the neighbours take.
static void test_rotation(void **state)
{
	struct fleet_seal *old = seal_new("f", KEY_A, NULL);
	struct fleet_seal *knows = seal_new("f", KEY_A, KEY_B);
	struct fleet_seal *turned = seal_new("f", KEY_B, KEY_A);
	struct fleet_seal *new = seal_new("f", KEY_B, NULL);
	json_t *json = json_pack("{s:i}", "a", 1), *read = NULL;
	char *by_old = fleet_seal_print(knows, FLEET_SEALS_HEAD, "", json);
	char *by_new = fleet_seal_print(turned, FLEET_SEALS_HEAD, "", json);

	(void)state;
#define PARSE(s, text) fleet_seal_parse(s, FLEET_SEALS_HEAD, "", text, strlen(text), &read)
	assert_int_equal(PARSE(old, by_old), 0);
	json_decref(read);
	assert_int_equal(PARSE(turned, by_old), 1);
	json_decref(read);
	assert_int_equal(PARSE(knows, by_new), 1);
	json_decref(read);
	assert_int_equal(PARSE(new, by_new), 0);
	assert_int_equal(json_integer_value(json_object_get(read, "a")), 1);
	json_decref(read);
	assert_int_equal(PARSE(new, by_old), -EBADMSG);
	assert_int_equal(PARSE(old, by_new), -EBADMSG);
	by_old[70] ^= 1;
	assert_int_equal(PARSE(old, by_old), -EBADMSG);
	assert_int_equal(fleet_seal_parse(old, FLEET_SEALS_HEAD, "", by_old, 64, &read), -EBADMSG);
#undef PARSE
	json_decref(json);
	free(by_old);
	free(by_new);
	fleet_seal_free(old);
	fleet_seal_free(knows);
	fleet_seal_free(turned);
	fleet_seal_free(new);
}

static void test_record(void **state)
{
	struct fleet_seal *s = seal_new("f", KEY_A, NULL);
	struct fleet_record r = {
		.before = {.epoch = 3, .number = 9},
		.epoch = 3,
		.number = 10,
		.kind = FLEET_STATE,
		.data = "{}",
		.len = 2,
	};

	(void)state;
	memset(r.before.mac, 7, sizeof(r.before.mac));
	fleet_seal_record(s, &r, r.mac);
	assert_int_equal(fleet_seal_record_verify(s, &r), 0);
#define CHANGED(change)                                                                            \
	do {                                                                                       \
		struct fleet_record kept = r;                                                      \
		change;                                                                            \
		assert_int_equal(fleet_seal_record_verify(s, &r), -EBADMSG);                       \
		r = kept;                                                                          \
	} while (0)
	CHANGED(r.epoch++);
	CHANGED(r.number++);
	CHANGED(r.before.epoch--);
	CHANGED(r.before.number--);
	CHANGED(r.before.mac[0]++);
	CHANGED(r.kind = FLEET_MEMBERS);
	CHANGED(r.data = "[]");
	CHANGED(r.len = 1);
#undef CHANGED
	fleet_seal_free(s);
}

static void test_ids(void **state)
{
	struct fleet_id id = {0};
	char text[FLEET_ID_MAX];

	(void)state;
	assert_int_equal(fleet_id_parse("18446744073709551615-7", 22, &id), 0);
	fleet_id_print(id, text);
	assert_string_equal(text, "18446744073709551615-7");
	assert_int_equal(fleet_id_parse("18446744073709551616-7", 22, &id), -EINVAL);
	assert_int_equal(fleet_id_parse("1-", 2, &id), -EINVAL);
	assert_int_equal(fleet_id_parse("-1", 2, &id), -EINVAL);
	assert_int_equal(fleet_id_parse("1-2x", 4, &id), -EINVAL);
	assert_int_equal(fleet_id_parse("", 0, &id), -EINVAL);
	assert_true(
		fleet_id_compare((struct fleet_id){1, 9}, (struct fleet_id){2, 1}) < 0
		&& fleet_id_compare((struct fleet_id){2, 2}, (struct fleet_id){2, 1}) > 0
		&& fleet_id_compare((struct fleet_id){2, 2}, (struct fleet_id){2, 2}) == 0
	);
}

static void test_texts(void **state)
{
	struct fleet_head head = {
		.leader = "a",
		.run = "00",
		.place = {.epoch = 2, .number = 5},
		.count = 7,
		.beat = 8,
		.digest = {1, 2},
		.wall_ms = 3,
		.lease_ms = 4000,
		.gone = true,
	};
	struct fleet_head head_read;
	struct fleet_checkpoint c
		= {.from = {.epoch = 1, .number = 2}, .to = {.epoch = 1, .number = 3}, .name = "x"};
	struct fleet_checkpoint c_read;
	struct fleet_up up = {.gateway = "g", .kind = FLEET_UP_ASK, .seq = 9, .text = "{}"};
	struct fleet_up up_read;
	json_t *json = fleet_head_json(&head);

	(void)state;
	head.place.mac[3] = 9;
	json_decref(json);
	json = fleet_head_json(&head);
	assert_int_equal(fleet_head_parse(json, &head_read), 0);
	assert_int_equal(head_read.place.number, 5);
	assert_int_equal(head_read.place.mac[3], 9);
	assert_true(head_read.gone && digest_equal(head_read.digest, head.digest));
	json_object_set_new(json, "beat", json_integer(-1));
	assert_int_equal(fleet_head_parse(json, &head_read), -EINVAL);
	json_decref(json);

	json = fleet_checkpoint_json(&c);
	assert_int_equal(fleet_checkpoint_parse(json, &c_read), 0);
	json_decref(json);
	c.to.number = 1; // ends before it begins
	json = fleet_checkpoint_json(&c);
	assert_int_equal(fleet_checkpoint_parse(json, &c_read), -EINVAL);
	json_decref(json);

	json = fleet_up_json(&up);
	assert_int_equal(fleet_up_parse(json, &up_read), 0);
	assert_int_equal(up_read.seq, 9);
	json_object_set_new(json, "kind", json_string("order"));
	assert_int_equal(fleet_up_parse(json, &up_read), -EINVAL);
	json_decref(json);
}

// The log: epoch 3 behind 1-40, epoch 7 behind 3-51.
static void test_terms(void **state)
{
	struct fleet_terms t = {0}, read;
	struct fleet_place base = {.epoch = 1, .number = 40};
	json_t *json;

	(void)state;
	fleet_terms_add(&t, 3, &base);
	base = (struct fleet_place){.epoch = 3, .number = 51};
	fleet_terms_add(&t, 7, &base);
#define PART(e, n) fleet_terms_part(&t, &(struct fleet_place){.epoch = e, .number = n})
	assert_null(PART(0, 0));
	assert_null(PART(1, 40));
	assert_ptr_equal(PART(1, 41), &t.terms[0].base);
	assert_ptr_equal(PART(2, 41), &t.terms[0].base);
	assert_null(PART(3, 51));
	assert_ptr_equal(PART(3, 52), &t.terms[1].base);
	assert_ptr_equal(PART(6, 60), &t.terms[1].base);
	assert_null(PART(7, 90));
#undef PART
	json = fleet_terms_json(&t);
	assert_int_equal(fleet_terms_parse(json, &read), 0);
	assert_int_equal(read.n, 2);
	assert_int_equal(read.terms[1].base.number, 51);
	json_decref(json);
	fleet_terms_cut(&t, 3);
	assert_int_equal(t.n, 1);
	for (uint64_t e = 10; e < 10 + FLEET_TERMS_MAX; e++)
		fleet_terms_add(&t, e, &base);
	assert_int_equal(t.n, FLEET_TERMS_MAX);
	assert_int_equal(t.terms[0].epoch, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_terms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
