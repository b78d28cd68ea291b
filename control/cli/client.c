// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/client.h"

#include <curl/curl.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (64 * 1024 * 1024)
#define PATIENCE_S 30L

struct buffer {
	char *text;
	size_t len;
	const struct cli *cli; // of a stream
	void (*line)(const struct cli *, json_t *);
};

int usage_error(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("stanch: ", stderr);
	vfprintf(stderr, format, args);
	fputs("\n", stderr);
	va_end(args);
	return EXIT_USAGE;
}

const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

long long number_of(json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

void json_show(json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	fputs("\n", stdout);
}

char *url_text(const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = malloc(3 * strlen(text) + 1);
	if (!out)
		return NULL;
	char *to = out;
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
		    || strchr("-._~", c)) {
			*to++ = (char)c;
		} else {
			*to++ = '%';
			*to++ = hex[c >> 4];
			*to++ = hex[c & 15];
		}
	}
	*to = '\0';
	return out;
}

static void lines_take(struct buffer *buffer)
{
	char *end;
	while ((end = memchr(buffer->text, '\n', buffer->len))) {
		json_t *line = json_loadb(buffer->text, (size_t)(end - buffer->text), 0, NULL);
		if (line)
			buffer->line(buffer->cli, line);
		json_decref(line);
		buffer->len -= (size_t)(end + 1 - buffer->text);
		memmove(buffer->text, end + 1, buffer->len);
	}
}

static size_t received(char *data, size_t size, size_t n, void *ctx)
{
	struct buffer *buffer = ctx;
	size_t len = size * n;
	if (len > ANSWER_MAX - buffer->len)
		return 0;
	char *text = realloc(buffer->text, buffer->len + len + 1);
	if (!text)
		return 0;
	memcpy(text + buffer->len, data, len);
	buffer->text = text;
	buffer->len += len;
	if (buffer->line)
		lines_take(buffer);
	return len;
}

static int transfer(
	const struct cli *cli,
	const char *method,
	const char *path,
	const char *body,
	struct buffer *buffer,
	long *ret_status
)
{
	char url[2048], message[CURL_ERROR_SIZE] = "";
	snprintf(url, sizeof(url), "http://stanch%s", path);
	CURL *curl = curl_easy_init();
	if (!curl)
		return EXIT_UNAVAILABLE;
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, cli->socket);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, received);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, buffer);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
	if (!buffer->line)
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, PATIENCE_S);
	if (body) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	}
	CURLcode code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	if (code == CURLE_OK)
		return EXIT_DONE;
	fprintf(stderr,
		"stanch: no answer from stanch-control at %s: %s\n",
		cli->socket,
		message[0] ? message : curl_easy_strerror(code));
	return EXIT_UNAVAILABLE;
}

int api_ask(
	const struct cli *cli,
	const char *method,
	const char *path,
	json_t *body,
	long *ret_status,
	json_t **ret_answer
)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	bool lost = body && !text;
	json_decref(body);
	if (lost)
		return EXIT_UNAVAILABLE;
	struct buffer buffer = {0};
	int code = transfer(cli, method, path, text, &buffer, ret_status);
	free(text);
	json_t *answer
		= code ? NULL : json_loadb(buffer.text ? buffer.text : "", buffer.len, 0, NULL);
	free(buffer.text);
	if (code)
		return code;
	if (!answer) {
		fprintf(stderr, "stanch: stanch-control answered with something else than JSON\n");
		return EXIT_UNAVAILABLE;
	}
	*ret_answer = answer;
	return *ret_status >= 400 ? EXIT_REFUSED : EXIT_DONE;
}

int api_do(
	const struct cli *cli,
	const char *method,
	const char *path,
	json_t *body,
	json_t **ret_answer
)
{
	long status;
	json_t *answer;
	int code = api_ask(cli, method, path, body, &status, &answer);
	if (code != EXIT_DONE && code != EXIT_REFUSED)
		return code;
	if (cli->json)
		json_show(answer);
	if (code == EXIT_DONE) {
		*ret_answer = answer;
		return code;
	}
	fprintf(stderr, "stanch: refused: %s\n", text_of(answer, "error"));
	if (text_of(answer, "remedy")[0])
		fprintf(stderr, "  remedy: %s\n", text_of(answer, "remedy"));
	json_decref(answer);
	return status >= 500 && status != 507 ? EXIT_UNAVAILABLE : EXIT_REFUSED;
}

int api_of_indicator(const struct cli *cli, const char *path, json_t **ret_answer)
{
	char whole[1200];
	char *text = url_text(cli->args[0]);

	if (!text || strlen(text) > 1000) {
		free(text);
		return usage_error("no indicator is that long");
	}
	snprintf(whole, sizeof(whole), "%s%s", path, text);
	free(text);
	return api_do(cli, "GET", whole, NULL, ret_answer);
}

int api_act(const struct cli *cli, const char *path, json_t *body, const char *done)
{
	json_t *answer;
	int code = api_do(cli, "POST", path, body, &answer);

	if (code)
		return code;
	if (!cli->json)
		puts(done);
	json_decref(answer);
	return EXIT_DONE;
}

int api_follow(const struct cli *cli, const char *path, void (*line)(const struct cli *, json_t *))
{
	struct buffer buffer = {.cli = cli, .line = line};
	long status = 0;
	int code = transfer(cli, "GET", path, NULL, &buffer, &status);
	free(buffer.text);
	return code ? code : status >= 400 ? EXIT_REFUSED : EXIT_DONE;
}
