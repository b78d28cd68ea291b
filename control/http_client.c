// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/http_client.h"

#include "control/protect.h"
#include "control/secret.h"

#include <curl/curl.h>
#include <event2/event.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <time.h>

#define PENDING_MAX 10000
#define CONNECTIONS_MAX 8
#define STARTS_MAX 256 // starts remembered for the rate
#define PEERS_MAX 16 // addresses remembered
#define IDLE_MAX CONNECTIONS_MAX // handles kept, set up but for what differs by request

// One request: queued, then with curl.
struct transfer {
	struct http_client *client;
	CURL *easy;
	char *body, *sent; // the answer's, ours
	size_t body_len, body_room;
	bool too_big;
	char error_text[CURL_ERROR_SIZE];
	char x_total[24];
	bool connected, retry_after;
	bool headers_whole; // the blank line behind them has come
	bool writes; // the fence holds for it
	bool fenced; // it was refused for want of a lease
	http_answer_cb done;
	void *ctx;
	TAILQ_ENTRY(transfer) next;
};

TAILQ_HEAD(transfers, transfer);

struct http_client {
	struct event_base *base;
	struct http_service service;
	struct protect *protect;
	CURLM *multi;
	struct curl_slist *headers, *headers_body;
	char *key_password;
	struct event *timer; // curl's
	struct event *starter; // the queue's
	struct transfers queue, running;
	size_t n_queue, n_running;
	CURL *idle[IDLE_MAX];
	size_t n_idle;
	int64_t starts[STARTS_MAX]; // ring of monotonic milliseconds
	size_t n_starts, next_start;
	struct http_client_counters counters;
	struct http_peer peers[PEERS_MAX];
	size_t n_peers;
	bool calling; // inside callbacks: a free waits for their end
	bool doomed;
};

// One for the process: what it guards is shared by all clients of it.
static int64_t (*fence_left)(void *ctx);
static void *fence_ctx;

void http_client_fence_set(int64_t (*left)(void *ctx), void *ctx)
{
	fence_left = left;
	fence_ctx = ctx;
}

static int64_t fence_ms(void)
{
	return fence_left ? fence_left(fence_ctx) : INT64_MAX;
}

static int64_t clock_ms(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// --- one transfer

static void easy_put(struct http_client *client, CURL *easy)
{
	if (client->n_idle == IDLE_MAX) {
		curl_easy_cleanup(easy);
		return;
	}
	// Nothing of the request is left in it.
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, NULL);
	curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 0L);
	client->idle[client->n_idle++] = easy;
}

static void transfer_free(struct transfer *transfer)
{
	if (transfer->easy)
		easy_put(transfer->client, transfer->easy);
	free(transfer->body);
	free(transfer->sent);
	free(transfer);
}

static size_t body_come(char *data, size_t size, size_t n, void *ctx)
{
	struct transfer *transfer = ctx;
	size_t len = size * n;
	if (len > transfer->client->service.max_body - transfer->body_len) {
		transfer->too_big = true;
		return 0;
	}
	if (transfer->body_len + len + 1 > transfer->body_room) {
		size_t room = (transfer->body_len + len + 1) * 2;
		char *body = realloc(transfer->body, room);
		if (!body)
			return 0;
		transfer->body = body;
		transfer->body_room = room;
	}
	memcpy(transfer->body + transfer->body_len, data, len);
	transfer->body_len += len;
	transfer->body[transfer->body_len] = '\0';
	return len;
}

static size_t header_come(char *line, size_t size, size_t n, void *ctx)
{
	struct transfer *transfer = ctx;
	size_t len = size * n;
	if (line[0] == '\r' || line[0] == '\n')
		transfer->headers_whole = true;
	else if (len > 5 && strncmp(line, "HTTP/", 5) == 0)
		transfer->headers_whole = false; // another, behind a 1xx
	if (len > 12 && strncasecmp(line, "Retry-After:", 12) == 0)
		transfer->retry_after = true;
	if (len > 8 && strncasecmp(line, "X-Total:", 8) == 0) {
		size_t from = 8 + strspn(line + 8, " ");
		size_t end = from + strcspn(line + from, "\r\n");
		if (end - from < sizeof(transfer->x_total)) {
			memcpy(transfer->x_total, line + from, end - from);
			transfer->x_total[end - from] = '\0';
		}
	}
	return len;
}

static void peer_note(struct http_client *client, uint8_t family, const uint8_t addr[static 16])
{
	struct http_peer peer = {.family = family};
	memcpy(peer.addr, addr, sizeof(peer.addr));
	for (size_t i = 0; i < client->n_peers; i++)
		if (memcmp(&client->peers[i], &peer, sizeof(peer)) == 0)
			return;
	if (client->n_peers == PEERS_MAX)
		memmove(client->peers, client->peers + 1, --client->n_peers * sizeof(peer));
	client->peers[client->n_peers++] = peer;
}

bool http_client_peer(const struct http_client *client, size_t index, struct http_peer *ret_peer)
{
	if (index >= client->n_peers)
		return false;
	*ret_peer = client->peers[index];
	return true;
}

// The connection stands, the request is about to be written: a dependency by proof.
static int connected(void *ctx, char *remote, char *local, int remote_port, int local_port)
{
	(void)local;
	(void)local_port;
	struct transfer *transfer = ctx;
	struct http_client *client = transfer->client;
	if (transfer->writes && fence_ms() < HTTP_FENCE_MARGIN_MS) {
		transfer->fenced = true; // stopped, or slept, since it was started
		return CURL_PREREQFUNC_ABORT;
	}
	transfer->connected = true;
	uint8_t addr[16] = {0};
	uint8_t family = inet_pton(AF_INET, remote, addr) == 1 ? 4
		: inet_pton(AF_INET6, remote, addr) == 1       ? 6
							       : 0;
	if (family)
		peer_note(client, family, addr);
	if (client->protect && family && remote_port > 0 && remote_port < 65536)
		protect_derived_note(
			client->protect,
			client->service.name,
			IPPROTO_TCP,
			family,
			addr,
			(uint16_t)remote_port
		);
	return CURL_PREREQFUNC_OK;
}

static void tls_set(CURL *easy, const struct http_client *client)
{
	const struct http_tls *tls = &client->service.tls;
	if (tls->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca_file);
	if (tls->cert_file) {
		size_t len = strlen(tls->cert_file);
		const char *end = len > 4 ? tls->cert_file + len - 4 : "";
		bool p12 = strcmp(end, ".p12") == 0 || strcmp(end, ".pfx") == 0;
		curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->cert_file);
		curl_easy_setopt(easy, CURLOPT_SSLCERTTYPE, p12 ? "P12" : "PEM");
		if (tls->key_file && !p12)
			curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key_file);
		if (client->key_password)
			curl_easy_setopt(easy, CURLOPT_KEYPASSWD, client->key_password);
	}
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
}

static void method_set(struct transfer *transfer, const char *method, size_t sent_len)
{
	CURL *easy = transfer->easy;
	bool post = strcmp(method, "POST") == 0;
	if (transfer->sent || post) {
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)sent_len);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->sent ? transfer->sent : "");
	}
	if (!post && (transfer->sent || strcmp(method, "GET") != 0))
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(
		easy,
		CURLOPT_HTTPHEADER,
		transfer->sent ? transfer->client->headers_body : transfer->client->headers
	);
}

// TheHive's queries are POSTs that only read.
static bool is_write(const char *method, const char *path)
{
	return strcmp(method, "GET") != 0
		&& !(strcmp(method, "POST") == 0 && strncmp(path, "/api/v1/query", 13) == 0);
}

// libcurl sends a request once more by itself where a connection that it has used before ends
// without an answer. A POST that makes something would be made twice: a new connection for it.
static void once_set(struct transfer *transfer, const char *method)
{
	if (strcmp(method, "POST") == 0 && transfer->writes)
		curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
}

// False: it must not start. Else it ends before the lease does.
static bool fence_pass(struct transfer *transfer)
{
	int64_t left = transfer->writes ? fence_ms() : INT64_MAX;
	if (left == INT64_MAX)
		return true;
	if (left < HTTP_FENCE_MIN_MS) {
		transfer->fenced = true;
		return false;
	}
	left -= HTTP_FENCE_MARGIN_MS;
	if (left < (int64_t)transfer->client->service.timeout_ms)
		curl_easy_setopt(transfer->easy, CURLOPT_TIMEOUT_MS, (long)left);
	return true;
}

// What is alike in all requests.
static CURL *easy_make(const struct http_client *client)
{
	const struct http_service *service = &client->service;
	CURL *easy = curl_easy_init();
	if (!easy)
		return NULL;
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "stanch/" STANCH_VERSION);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	// Not the environment's: a daemon's proxy stands in its configuration.
	curl_easy_setopt(easy, CURLOPT_PROXY, service->proxy ? service->proxy : "");
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)service->connect_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)service->max_body);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_come);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_come);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, connected);
	tls_set(easy, client);
	return easy;
}

static CURL *easy_get(struct http_client *client)
{
	return client->n_idle ? client->idle[--client->n_idle] : easy_make(client);
}

static void transfer_set(struct transfer *transfer, const char *path)
{
	CURL *easy = transfer->easy;
	char url[4096];
	snprintf(url, sizeof(url), "%s%s", transfer->client->service.base_url, path);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error_text);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	// The fence may have made it shorter for the one before.
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)transfer->client->service.timeout_ms);
}

// --- what came of it

static int error_from_curl(const struct transfer *transfer, CURLcode code)
{
	long os_error = 0;
	switch (code) {
	case CURLE_OK: // curl takes headers that were cut short for an empty answer
		return transfer->headers_whole ? 0 : -EPROTO;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_error);
		return os_error > 0 && os_error < 4096 ? -(int)os_error : -ECONNREFUSED;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return -EHOSTUNREACH;
	case CURLE_FILESIZE_EXCEEDED:
		return -EFBIG;
	case CURLE_WRITE_ERROR:
		return transfer->too_big ? -EFBIG : -ENOMEM;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CACERT_BADFILE:
		return -EACCES;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL: // of our URL, or of what answered
		return transfer->connected ? -EPROTO : -EINVAL;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_ABORTED_BY_CALLBACK:
		return -ECONNABORTED;
	default: // partial, nothing, reset, not HTTP
		return -EPROTO;
	}
}

static void answer_fill(struct transfer *transfer, CURLcode code, struct http_answer *answer)
{
	*answer = (struct http_answer){
		.error = error_from_curl(transfer, code),
		.body = transfer->body ? transfer->body : "",
		.body_len = transfer->body_len,
		.retry_after = -1,
	};
	if (answer->error) {
		snprintf(
			answer->error_text,
			sizeof(answer->error_text),
			"%.159s",
			transfer->too_big	   ? "the answer is larger than allowed"
				: transfer->fenced ? "no lease: this gateway may not write now"
				: code == CURLE_OK ? "the answer was cut short in its headers"
				: transfer->error_text[0] ? transfer->error_text
							  : curl_easy_strerror(code)
		);
		// Half an answer is none.
		answer->body = "";
		answer->body_len = 0;
		return;
	}
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &answer->status);
	const char *type = NULL;
	curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &type);
	snprintf(answer->content_type, sizeof(answer->content_type), "%s", type ? type : "");
	memcpy(answer->x_total, transfer->x_total, sizeof(answer->x_total));
	if (transfer->retry_after) {
		curl_off_t seconds = 0;
		curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &seconds);
		answer->retry_after = (long)seconds;
	}
}

static void
counters_add(struct http_client_counters *counters, const struct http_answer *answer, bool fenced)
{
	counters->requests++;
	counters->fenced += fenced;
	if (answer->error)
		counters->failures++;
	else if (answer->status >= 100 && answer->status < 600)
		counters->status[answer->status / 100]++;
	if (answer->status >= 200 && answer->status < 300)
		counters->last_ok_ms = clock_ms(CLOCK_REALTIME);
}

static void transfer_finish(struct transfer *transfer, CURLcode code)
{
	struct http_answer answer;
	answer_fill(transfer, code, &answer);
	counters_add(&transfer->client->counters, &answer, transfer->fenced);
	transfer->done(transfer->ctx, &answer);
	transfer_free(transfer);
}

static void calling_end(struct http_client *client)
{
	client->calling = false;
	if (client->doomed)
		http_client_free(client);
}

static void messages_read(struct http_client *client)
{
	client->calling = true;
	CURLMsg *message;
	int left;
	while (!client->doomed && (message = curl_multi_info_read(client->multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		CURLcode code = message->data.result;
		struct transfer *transfer = NULL;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		curl_multi_remove_handle(client->multi, transfer->easy);
		TAILQ_REMOVE(&client->running, transfer, next);
		client->n_running--;
		transfer_finish(transfer, code);
	}
	calling_end(client);
}

// --- curl on the loop

static void socket_ready(evutil_socket_t fd, short what, void *ctx)
{
	struct http_client *client = ctx;
	int action
		= (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	int running;
	curl_multi_socket_action(client->multi, fd, action, &running);
	messages_read(client);
}

static int socket_want(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	(void)easy;
	struct http_client *client = ctx;
	struct event *event = socket_ctx;
	if (event)
		event_free(event);
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		short kind = (short
		)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0)
		  | EV_PERSIST);
		event = event_new(client->base, fd, kind, socket_ready, client);
		if (!event || event_add(event, NULL) < 0) {
			if (event)
				event_free(event);
			return -1;
		}
	}
	curl_multi_assign(client->multi, fd, event);
	return 0;
}

static void timer_come(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct http_client *client = ctx;
	int running;
	curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	messages_read(client);
}

static int timer_want(CURLM *multi, long ms, void *ctx)
{
	(void)multi;
	struct http_client *client = ctx;
	if (ms < 0) {
		evtimer_del(client->timer);
		return 0;
	}
	struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	return evtimer_add(client->timer, &after);
}

// --- the queue

static size_t rate_window(double rate)
{
	return rate < 1 ? 1 : rate > STARTS_MAX ? STARTS_MAX : (size_t)rate;
}

// Milliseconds until the next request may start: no more than the rate in any window.
static int64_t rate_wait(const struct http_client *client, int64_t now)
{
	double rate = client->service.max_per_second;
	if (rate <= 0)
		return 0;
	size_t window = rate_window(rate);
	if (client->n_starts < window)
		return 0;
	int64_t period = (int64_t)((double)window * 1000 / rate + 0.5);
	int64_t wait = client->starts[client->next_start] + period - now; // the oldest of the ring
	return wait > 0 ? wait : 0;
}

static void rate_note(struct http_client *client, int64_t now)
{
	size_t window = rate_window(client->service.max_per_second);
	client->starts[client->next_start] = now;
	client->next_start = (client->next_start + 1) % window;
	if (client->n_starts < window)
		client->n_starts++;
}

static void queue_start(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct http_client *client = ctx;
	client->calling = true;
	struct transfer *transfer;
	while (!client->doomed && (transfer = TAILQ_FIRST(&client->queue))) {
		int64_t now = clock_ms(CLOCK_MONOTONIC);
		int64_t wait = rate_wait(client, now);
		if (wait > 0) {
			struct timeval after = {wait / 1000, wait % 1000 * 1000};
			evtimer_add(client->starter, &after);
			break;
		}
		TAILQ_REMOVE(&client->queue, transfer, next);
		client->n_queue--;
		if (!fence_pass(transfer)) {
			transfer_finish(transfer, CURLE_ABORTED_BY_CALLBACK);
			continue;
		}
		rate_note(client, now);
		if (curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK) {
			transfer_finish(transfer, CURLE_OUT_OF_MEMORY);
			continue;
		}
		TAILQ_INSERT_TAIL(&client->running, transfer, next);
		client->n_running++;
	}
	calling_end(client);
}

int http_client_request(
	struct http_client *client,
	const char *method,
	const char *path,
	const char *body,
	size_t body_len,
	http_answer_cb done,
	void *ctx
)
{
	if (path[0] != '/' || strlen(client->service.base_url) + strlen(path) >= 4096)
		return -EINVAL;
	if (client->n_queue + client->n_running >= PENDING_MAX)
		return -ENOBUFS;
	struct transfer *transfer = calloc(1, sizeof(*transfer));
	if (!transfer)
		return -ENOMEM;
	transfer->client = client;
	transfer->done = done;
	transfer->ctx = ctx;
	transfer->easy = easy_get(client);
	if (body)
		transfer->sent = malloc(body_len + 1);
	if (!transfer->easy || (body && !transfer->sent)) {
		transfer_free(transfer);
		return -ENOMEM;
	}
	if (body)
		memcpy(transfer->sent, body, body_len);
	transfer_set(transfer, path);
	method_set(transfer, method, body_len);
	transfer->writes = is_write(method, path);
	once_set(transfer, method);
	TAILQ_INSERT_TAIL(&client->queue, transfer, next);
	client->n_queue++;
	if (!evtimer_pending(client->starter, NULL))
		event_active(client->starter, EV_TIMEOUT, 0);
	return 0;
}

// --- the client

static bool header_add(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);
	if (longer)
		*list = longer;
	return longer;
}

static bool headers_make(struct http_client *client, struct curl_slist **list, bool body)
{
	const struct http_service *service = &client->service;
	bool good = header_add(list, "Accept: application/json") && header_add(list, "Expect:");
	if (body)
		good = good && header_add(list, "Content-Type: application/json");
	if (service->authorization) {
		char line[SECRET_MAX + 32];
		int n = snprintf(line, sizeof(line), "Authorization: %s", service->authorization);
		good = good && n < (int)sizeof(line) && header_add(list, line);
		explicit_bzero(line, sizeof(line));
	}
	for (size_t i = 0; service->headers && service->headers[i]; i++)
		good = good && header_add(list, service->headers[i]);
	return good;
}

static void service_defaults(struct http_service *service)
{
	if (!service->timeout_ms)
		service->timeout_ms = 30000;
	if (!service->connect_timeout_ms)
		service->connect_timeout_ms = 5000;
	if (!service->max_body)
		service->max_body = (size_t)64 * 1024 * 1024;
}

static int multi_create(struct http_client *client)
{
	// curl counts these; the last cleanup is the process's end.
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return -ENOMEM;
	client->multi = curl_multi_init();
	client->timer = evtimer_new(client->base, timer_come, client);
	client->starter = evtimer_new(client->base, queue_start, client);
	if (!client->multi || !client->timer || !client->starter)
		return -ENOMEM;
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, socket_want);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, timer_want);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS_MAX);
	return 0;
}

int http_client_create(
	struct event_base *base,
	const struct http_service *service,
	struct protect *protect,
	struct http_client **ret_client
)
{
	struct http_client *client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->base = base;
	client->service = *service;
	client->protect = protect;
	TAILQ_INIT(&client->queue);
	TAILQ_INIT(&client->running);
	service_defaults(&client->service);
	int error = multi_create(client);
	if (error)
		goto fail;
	if (service->tls.key_password_file) {
		char message[256];
		error = secret_read(service->tls.key_password_file, &client->key_password, message);
		if (error)
			goto fail;
	}
	if (!headers_make(client, &client->headers, false)
	    || !headers_make(client, &client->headers_body, true)) {
		error = -ENOMEM;
		goto fail;
	}
	*ret_client = client;
	return 0;
fail:
	http_client_free(client);
	return error;
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	if (client->calling) {
		client->doomed = true;
		return;
	}
	struct transfer *transfer;
	while ((transfer = TAILQ_FIRST(&client->running))) {
		TAILQ_REMOVE(&client->running, transfer, next);
		curl_multi_remove_handle(client->multi, transfer->easy);
		transfer_free(transfer);
	}
	while ((transfer = TAILQ_FIRST(&client->queue))) {
		TAILQ_REMOVE(&client->queue, transfer, next);
		transfer_free(transfer);
	}
	while (client->n_idle > 0)
		curl_easy_cleanup(client->idle[--client->n_idle]);
	if (client->multi)
		curl_multi_cleanup(client->multi);
	if (client->timer)
		event_free(client->timer);
	if (client->starter)
		event_free(client->starter);
	curl_slist_free_all(client->headers);
	curl_slist_free_all(client->headers_body);
	secret_free(client->key_password);
	free(client);
}

size_t http_client_pending(const struct http_client *client)
{
	return client->n_queue + client->n_running;
}

void http_client_counters(
	const struct http_client *client, struct http_client_counters *ret_counters
)
{
	*ret_counters = client->counters;
}
