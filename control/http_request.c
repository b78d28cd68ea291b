// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/http_request.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_BUFFER_MAX (1024 * 1024) // of a reader that does not read

static const char *status_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 204:
		return "No Content";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 409:
		return "Conflict";
	case 413:
		return "Content Too Large";
	case 422:
		return "Unprocessable Content";
	case 429:
		return "Too Many Requests";
	case 500:
		return "Internal Server Error";
	case 503:
		return "Service Unavailable";
	case 507:
		return "Insufficient Storage";
	default:
		return status < 400 ? "Done" : "Error";
	}
}

static void headers_add(struct evhttp_request *evreq, const char *type)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(evreq);
	if (type)
		evhttp_add_header(headers, "Content-Type", type);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
}

void http_raw_answer(
	struct evhttp_request *evreq,
	bool head,
	int status,
	const char *type,
	const char *text,
	size_t len
)
{
	headers_add(evreq, status == 204 ? NULL : type);
	struct evbuffer *body = NULL;
	if (head) {
		char length[24];
		snprintf(length, sizeof(length), "%zu", len);
		evhttp_add_header(
			evhttp_request_get_output_headers(evreq), "Content-Length", length
		);
	} else if (status != 204) {
		body = evbuffer_new();
		if (body)
			evbuffer_add(body, text, len);
	}
	evhttp_send_reply(evreq, status, status_reason(status), body);
	if (body)
		evbuffer_free(body);
}

static json_t *error_object(const char *message, const char *remedy)
{
	json_t *object = json_pack("{s:s%}", "error", message, strlen(message));
	if (!object) // not UTF-8: what a caller sent may be quoted in it
		object = json_pack("{s:s}", "error", "bad request (its text is not UTF-8)");
	if (object && remedy)
		json_object_set_new(object, "remedy", json_string(remedy));
	return object;
}

void http_raw_error(
	struct evhttp_request *evreq, bool head, int status, const char *message, const char *remedy
)
{
	json_t *object = error_object(message, remedy);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	const char *body = text ? text : "{\"error\":\"no memory\"}";
	http_raw_answer(evreq, head, status, "application/json", body, strlen(body));
	free(text);
}

void http_request_free(struct http_request *request)
{
	if (!request)
		return;
	free(request->rest);
	if (request->query_parsed)
		evhttp_clear_headers(&request->query);
	free(request);
}

const struct http_caller *http_request_caller(const struct http_request *request)
{
	return &request->caller;
}

const char *http_request_rest(const struct http_request *request)
{
	return request->rest ? request->rest : "";
}

const char *http_request_query(const struct http_request *request, const char *name)
{
	return request->query_parsed ? evhttp_find_header(&request->query, name) : NULL;
}

const char *http_request_body(const struct http_request *request, size_t *ret_len)
{
	*ret_len = 0;
	if (!request->evreq)
		return "";
	struct evbuffer *input = evhttp_request_get_input_buffer(request->evreq);
	size_t len = evbuffer_get_length(input);
	if (len == 0)
		return "";
	const char *body = (const char *)evbuffer_pullup(input, -1);
	if (!body)
		return "";
	*ret_len = len;
	return body;
}

json_t *http_request_json(struct http_request *request)
{
	size_t len;
	const char *body = http_request_body(request, &len);
	json_error_t error;
	json_t *object = json_loadb(body, len, JSON_REJECT_DUPLICATES, &error);
	char message[256];
	if (!object)
		snprintf(
			message,
			sizeof(message),
			"body:%d:%d: %s",
			error.line,
			error.column,
			len == 0 ? "empty; a JSON object is expected" : error.text
		);
	else if (!json_is_object(object))
		snprintf(message, sizeof(message), "body:1:1: a JSON object is expected");
	else
		return object;
	json_decref(object);
	http_answer_error(request, 400, message, NULL);
	return NULL;
}

static void
answer(struct http_request *request, int status, const char *type, const char *text, size_t len)
{
	if (request->evreq) {
		http_conn_answering(request->conn, request->server, status);
		http_raw_answer(request->evreq, request->head, status, type, text, len);
	}
	http_request_free(request);
}

void http_answer_json(struct http_request *request, int status, json_t *body)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	if (!text) {
		http_answer_error(request, 500, "the answer could not be written as JSON", NULL);
		return;
	}
	answer(request, status, "application/json", text, strlen(text));
	free(text);
}

void http_answer_text(struct http_request *request, int status, const char *type, const char *text)
{
	answer(request, status, type, text, strlen(text));
}

void http_answer_error(
	struct http_request *request, int status, const char *message, const char *remedy
)
{
	if (request->evreq) {
		http_conn_answering(request->conn, request->server, status);
		http_raw_error(request->evreq, request->head, status, message, remedy);
	}
	http_request_free(request);
}

void http_stream_begin(struct http_request *request, void (*closed)(void *ctx), void *ctx)
{
	request->streaming = true;
	request->closed = closed;
	request->closed_ctx = ctx;
	if (!request->evreq)
		return;
	http_conn_streaming(request->conn);
	headers_add(request->evreq, "application/x-ndjson");
	evhttp_send_reply_start(request->evreq, 200, "OK");
}

int http_stream_line(struct http_request *request, json_t *line)
{
	if (!request->evreq)
		return -EPIPE;
	struct evhttp_connection *evcon = evhttp_request_get_connection(request->evreq);
	struct evbuffer *output = bufferevent_get_output(evhttp_connection_get_bufferevent(evcon));
	if (evbuffer_get_length(output) > STREAM_BUFFER_MAX)
		return -ENOBUFS;
	char *text = json_dumps(line, JSON_COMPACT);
	struct evbuffer *chunk = evbuffer_new();
	int error = text && chunk ? 0 : -ENOMEM;
	if (!error) {
		evbuffer_add(chunk, text, strlen(text));
		evbuffer_add(chunk, "\n", 1);
		evhttp_send_reply_chunk(request->evreq, chunk);
	}
	if (chunk)
		evbuffer_free(chunk);
	free(text);
	return error;
}

void http_stream_end(struct http_request *request)
{
	if (request->evreq) {
		http_conn_answering(request->conn, request->server, 200);
		evhttp_send_reply_end(request->evreq);
	}
	http_request_free(request);
}
