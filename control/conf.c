// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/conf.h"

#include "control/conf_check.h"
#include "control/conf_keys.h"

#include <cyaml/cyaml.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#define SCHEMA_FIELDS 512
#define SECTIONS_MAX 64 // entries of one list of sections
#define LIST_MAX 4096
#define TEXT_MAX 4096
#define HIDDEN_ROOM 32 // for "… and N more" at the end

// --- messages

__attribute__((format(printf, 4, 0))) static void message_add(
	struct conf_messages *messages,
	const char *kind,
	const char *path,
	const char *format,
	va_list args
)
{
	size_t room = CONF_MESSAGE_MAX - messages->len;
	char line[1024];
	int n = snprintf(line, sizeof(line), "%s%s%s", kind, path, path[0] ? ": " : "");
	if (n >= 0 && (size_t)n < sizeof(line))
		vsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
	size_t len = strlen(line);
	if (len + 2 + HIDDEN_ROOM > room) {
		messages->hidden++;
		return;
	}
	memcpy(messages->text + messages->len, line, len);
	messages->len += len;
	memcpy(messages->text + messages->len++, "\n", 2);
}

void conf_error(struct conf_messages *messages, const char *path, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	message_add(messages, "", path, format, args);
	va_end(args);
	messages->errors++;
}

void conf_warning(struct conf_messages *messages, const char *path, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	message_add(messages, "warning: ", path, format, args);
	va_end(args);
}

// --- the schema, from the table of keys

static const cyaml_schema_value_t text_schema
	= {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, TEXT_MAX)};
static const cyaml_strval_t bool_words[] = {
	{"false", 1},
	{"no", 1},
	{"off", 1},
	{"true", 2},
	{"yes", 2},
	{"on", 2},
};

// Built once: the table is constant.
static cyaml_schema_field_t schema_fields[SCHEMA_FIELDS];
static cyaml_schema_value_t schema_sections[SCHEMA_FIELDS];
static size_t schema_used;
static cyaml_schema_value_t schema_top;

static cyaml_schema_field_t *schema_build(const struct conf_key *keys);

static void schema_field(const struct conf_key *key, cyaml_schema_field_t *field)
{
	cyaml_schema_value_t *value = &field->value;
	enum cyaml_flag optional = key->required ? CYAML_FLAG_DEFAULT : CYAML_FLAG_OPTIONAL;
	field->key = key->name;
	field->data_offset = key->offset;
	value->flags = optional;
	switch (key->type) {
	case KEY_TEXT:
	case KEY_DIR:
	case KEY_FILE:
	case KEY_SECRET:
	case KEY_URL:
		*value = text_schema;
		value->flags |= optional;
		break;
	case KEY_U32:
		value->type = CYAML_UINT;
		value->data_size = sizeof(uint32_t);
		break;
	case KEY_U64:
		value->type = CYAML_UINT;
		value->data_size = sizeof(uint64_t);
		break;
	case KEY_DOUBLE:
		value->type = CYAML_FLOAT;
		value->data_size = sizeof(double);
		break;
	case KEY_BOOL:
	case KEY_WORD:
		value->type = CYAML_ENUM;
		value->flags |= CYAML_FLAG_STRICT;
		value->data_size = key->type == KEY_BOOL ? sizeof(bool) : sizeof(int);
		value->enumeration.strings = key->type == KEY_BOOL ? bool_words : key->words;
		value->enumeration.count = key->type == KEY_BOOL ? 6 : key->n_words;
		break;
	case KEY_SECTION:
	case KEY_SECTION_PTR:
		value->type = CYAML_MAPPING;
		value->flags |= key->type == KEY_SECTION_PTR ? CYAML_FLAG_POINTER : 0;
		value->data_size = key->size;
		value->mapping.fields = schema_build(key->children);
		break;
	case KEY_LIST:
	case KEY_SECTIONS:
		field->count_offset = key->count_offset;
		field->count_size = sizeof(size_t);
		value->type = CYAML_SEQUENCE;
		value->flags |= CYAML_FLAG_POINTER;
		value->data_size = key->type == KEY_LIST ? sizeof(char *) : key->size;
		value->sequence.max = key->type == KEY_LIST ? LIST_MAX : SECTIONS_MAX;
		value->sequence.entry = &text_schema;
		if (key->type == KEY_SECTIONS) {
			cyaml_schema_value_t *entry = &schema_sections[field - schema_fields];
			entry->type = CYAML_MAPPING;
			entry->data_size = key->size;
			entry->mapping.fields = schema_build(key->children);
			value->sequence.entry = entry;
		}
		break;
	}
}

static cyaml_schema_field_t *schema_build(const struct conf_key *keys)
{
	cyaml_schema_field_t *fields = &schema_fields[schema_used];
	size_t n = 0;
	while (keys[n].name)
		n++;
	// Another field at the top level: the data plane's section.
	bool top = keys == conf_keys_top;
	schema_used += n + 1 + top;
	if (schema_used > SCHEMA_FIELDS)
		abort(); // a bug: the table has outgrown it
	for (size_t i = 0; i < n; i++)
		schema_field(&keys[i], &fields[i]);
	if (top)
		fields[n] = (cyaml_schema_field_t
		)CYAML_FIELD_IGNORE("dataplane", CYAML_FLAG_OPTIONAL);
	return fields;
}

static const cyaml_schema_value_t *schema_get(void)
{
	if (schema_used == 0) {
		schema_top.type = CYAML_MAPPING;
		schema_top.flags = CYAML_FLAG_POINTER;
		schema_top.data_size = sizeof(struct conf_file);
		schema_top.mapping.fields = schema_build(conf_keys_top);
	}
	return &schema_top;
}

// --- what libcyaml says, and where

struct report {
	char reason[512];
	size_t line, column;
	bool placed;
};

__attribute__((format(printf, 3, 0))) static void
report_line(cyaml_log_t level, void *ctx, const char *format, va_list args)
{
	struct report *report = ctx;
	if (level < CYAML_LOG_ERROR)
		return;
	char line[512];
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	const char *text = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
	const char *place = strstr(text, "(line: ");
	size_t row, column;
	if (!report->reason[0]) {
		memcpy(report->reason, text, strlen(text) + 1);
	} else if (!report->placed && text[0] == ' ' && place && sscanf(place, "(line: %zu, column: %zu)", &row, &column) == 2) {
		report->line = row;
		report->column = column;
		report->placed = true;
	}
}

static void *memory(void *ctx, void *block, size_t size)
{
	(void)ctx;
	if (size == 0) {
		free(block);
		return NULL;
	}
	return realloc(block, size);
}

static const cyaml_config_t free_config = {.mem_fn = memory, .log_level = CYAML_LOG_ERROR};

// libcyaml knows the place of the value before an unknown or repeated key: go on to the key.
static void report_key(struct report *report, const char *text, size_t len)
{
	const char *key = strrchr(report->reason, ':');
	bool twice = strncmp(report->reason, "Mapping field already seen", 26) == 0;
	if (!key || (!twice && strncmp(report->reason, "Unexpected key", 14) != 0))
		return;
	key += 2;
	size_t key_len = strlen(key), line = 1, start = 0;
	for (size_t i = 0; i + key_len < len; i++) {
		if (text[i] == '\n') {
			line++;
			start = i + 1;
		}
		size_t column = i - start + 1;
		bool behind
			= line > report->line || (line == report->line && column >= report->column);
		bool begins = i == 0 || strchr(" \t\n{,\"'-", text[i - 1]);
		if (!behind || !begins || memcmp(text + i, key, key_len) != 0
		    || !strchr(":\"' ", text[i + key_len]))
			continue;
		report->line = line;
		report->column = column;
		return;
	}
}

// Syntax alone, by libyaml, which tells the place. True: a message was added.
static bool
syntax_wrong(const char *name, const char *text, size_t len, struct conf_messages *messages)
{
	yaml_parser_t parser;
	if (!yaml_parser_initialize(&parser))
		return false;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	unsigned documents = 0;
	bool wrong = false;
	for (bool end = false; !end && !wrong;) {
		yaml_event_t event;
		char place[320];
		if (!yaml_parser_parse(&parser, &event)) {
			snprintf(
				place,
				sizeof(place),
				"%s:%zu:%zu",
				name,
				parser.problem_mark.line + 1,
				parser.problem_mark.column + 1
			);
			conf_error(
				messages, place, "%s", parser.problem ? parser.problem : "not YAML"
			);
			wrong = true;
			break;
		}
		documents += event.type == YAML_DOCUMENT_START_EVENT;
		end = event.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
	}
	if (!wrong && documents != 1) {
		conf_error(
			messages, name, "one YAML document is expected, there are %u", documents
		);
		wrong = true;
	}
	yaml_parser_delete(&parser);
	return wrong;
}

static struct conf_file *
file_parse(const char *name, const char *text, size_t len, struct conf_messages *messages)
{
	if (syntax_wrong(name, text, len, messages))
		return NULL;
	struct report report = {0};
	cyaml_config_t config = {
		.log_fn = report_line,
		.log_ctx = &report,
		.mem_fn = memory,
		.log_level = CYAML_LOG_ERROR,
		// No aliases: a few lines of them unfold to gigabytes.
		.flags = CYAML_CFG_NO_ALIAS,
	};
	struct conf_file *file = NULL;
	cyaml_err_t error = cyaml_load_data(
		(const uint8_t *)text, len, &config, schema_get(), (cyaml_data_t **)&file, NULL
	);
	if (error == CYAML_OK && file)
		return file;
	report_key(&report, text, len);
	char place[320];
	if (report.line > 0)
		snprintf(place, sizeof(place), "%s:%zu:%zu", name, report.line, report.column);
	else
		snprintf(place, sizeof(place), "%s", name);
	const char *reason = report.reason[0] ? report.reason : cyaml_strerror(error);
	if (error == CYAML_OK)
		reason = "is empty: the section control: is needed";
	else if (error == CYAML_ERR_ALIAS)
		reason = "YAML aliases (*name) are not taken";
	conf_error(messages, place, "%s", reason);
	return NULL;
}

// --- loading

int conf_parse(
	const char *name,
	const char *text,
	size_t len,
	bool check_files,
	struct conf **ret_conf,
	char ret_message[CONF_MESSAGE_MAX]
)
{
	struct conf_messages messages = {.text = ret_message};
	ret_message[0] = '\0';
	struct conf_file *file = file_parse(name, text, len, &messages);
	if (!file)
		return -EINVAL;
	int error = conf_keys_apply(conf_keys_top, file, "", check_files, &messages);
	struct conf *conf = file->control;
	free(file);
	if (!error)
		conf_check(conf, check_files, &messages);
	if (messages.hidden > 0)
		snprintf(
			ret_message + messages.len,
			CONF_MESSAGE_MAX - messages.len,
			"… and %u more\n",
			messages.hidden
		);
	if (!error && messages.errors > 0)
		error = -EINVAL;
	if (error) {
		conf_free(conf);
		return error;
	}
	*ret_conf = conf;
	return 0;
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	struct conf_file *file = calloc(1, sizeof(*file));
	if (!file)
		return; // no memory to free memory
	file->control = conf;
	cyaml_free(&free_config, schema_get(), file, 0);
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static void text_free(char **text)
{
	free(*text);
}

static int fail(int error, char message[CONF_MESSAGE_MAX], const char *path, const char *what)
{
	snprintf(message, CONF_MESSAGE_MAX, "%s: %s\n", path, what);
	return error;
}

int conf_load(const char *path, struct conf **ret_conf, char ret_message[CONF_MESSAGE_MAX])
{
	__attribute__((cleanup(fd_close))) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(-errno, ret_message, path, strerror(errno));
	__attribute__((cleanup(text_free))) char *text = malloc(CONF_FILE_MAX + 1);
	if (!text)
		return fail(-ENOMEM, ret_message, path, strerror(ENOMEM));
	size_t len = 0;
	ssize_t n;
	while (len <= CONF_FILE_MAX && (n = read(fd, text + len, CONF_FILE_MAX + 1 - len)) != 0) {
		if (n < 0)
			return fail(-errno, ret_message, path, strerror(errno));
		len += (size_t)n;
	}
	if (len > CONF_FILE_MAX)
		return fail(-EFBIG, ret_message, path, "is too large for a configuration (1 MiB)");
	return conf_parse(path, text, len, true, ret_conf, ret_message);
}

bool conf_text_same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}
