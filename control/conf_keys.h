// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The table of the configuration's keys: from it come the schema, defaults, limits, the check of
// files and the manual.
//
// Thread: any; the table is constant.

#pragma once

#include "control/conf.h"

#include <cyaml/cyaml.h>

enum key_type {
	KEY_TEXT, // char *
	KEY_DIR, // char *: an absolute path
	KEY_FILE, // char *: must be readable
	KEY_SECRET, // char *: a file with a secret on its first line
	KEY_URL, // char *: http or https; a final slash is dropped
	KEY_LIST, // char ** and size_t
	KEY_U32,
	KEY_U64,
	KEY_DOUBLE,
	KEY_BOOL,
	KEY_WORD, // int: one of `words`
	KEY_SECTION, // a struct inside
	KEY_SECTION_PTR, // a struct that may be absent
	KEY_SECTIONS, // array of structs and size_t
};

struct conf_key {
	const char *name; // NULL ends a table
	enum key_type type;
	bool required;
	uint32_t offset, count_offset;
	const char *fallback; // default, as text; lists with commas; NULL: none
	uint64_t min, max; // numbers; both 0: any. 0 in the file stands for the default
	const struct conf_key *children;
	uint32_t size; // of the struct of a section
	const cyaml_strval_t *words;
	uint32_t n_words;
	const char *help;
};

extern const struct conf_key conf_keys_top[]; // of struct conf_file

// What the file as a whole is.
struct conf_file {
	struct conf *control;
};

const char *key_type_name(enum key_type);
