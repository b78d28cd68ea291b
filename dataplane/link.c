// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/link.h"

#include "dataplane/clock.h"

#include <event2/event.h>

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PENDING_MAX 128 // answers of a peer; beyond it is not read from
#define LINK_PEERS_MAX 4 // the session and newcomers before their HELLO
#define CTL_PEERS_MAX 8
#define READ_BURST 16 // messages of a peer in one wake-up
#define SWEEP_SLOTS 4096 // a slice of a sweep: about a millisecond
#define DENIALS_MAX 8192
#define DENIALS_MESSAGE 256
#define POLL_US 500
#define IDLE_S 10 // for a newcomer's HELLO and for root's request
#define RETELL_MS 10000 // root's actions that control has not acknowledged
#define SEND_BUFFER 1048576
#define ANSWER_SMALL 256 // what any answer but a status fits in

_Static_assert(
	sizeof(struct wire_result) <= ANSWER_SMALL && sizeof(struct wire_hello_ack) <= ANSWER_SMALL
		&& sizeof(struct wire_lookup_answer) <= ANSWER_SMALL,
	"answers to what changes something are small"
);

struct pending {
	TAILQ_ENTRY(pending) entry;
	uint64_t token; // 0: need not wait for the workers
	int64_t deadline;
	bool settle; // waits for what has to settle first
	bool close;
	size_t len;
	uint8_t message[];
};

TAILQ_HEAD(pendings, pending);

struct peer {
	LIST_ENTRY(peer) entry;
	struct link *link;
	int fd;
	enum request_peer kind;
	uint32_t uid;
	struct event *read, *write;
	struct pendings pendings;
	size_t n_pendings;
	struct pending *spare; // to say that there is no memory; NULL: on its way
	bool closing; // nothing more is read
};

LIST_HEAD(peers, peer);

struct link {
	struct link_options options;
	char *link_path, *ctl_path;
	gid_t group;
	bool has_group;
	int link_fd, ctl_fd;
	struct event *link_accept, *ctl_accept, *timer;
	struct peers peers;
	size_t n_link, n_ctl;
	struct peer *session;
	bool stalled;
	struct wire_denial *denials;
	size_t denial_first, n_denials;
	uint64_t denials_lost;
	int64_t told_ms;
	uint8_t message[WIRE_MESSAGE_MAX + 1];
	uint8_t answer[WIRE_MESSAGE_MAX];
};

static void peer_flush(struct peer *p);
static void link_work(struct link *l);

static struct set *set_of(const struct link *l)
{
	return l->options.requests->set;
}

static void tell(const struct link *l, const char *event, const char *detail)
{
	if (l->options.log)
		l->options.log(event, detail);
}

// --- peers

static void peer_free(struct peer *p)
{
	struct link *l = p->link;
	struct pending *a;

	while ((a = TAILQ_FIRST(&p->pendings))) {
		TAILQ_REMOVE(&p->pendings, a, entry);
		free(a);
	}
	free(p->spare);
	LIST_REMOVE(p, entry);
	if (p->kind == PEER_ROOT)
		l->n_ctl--;
	else
		l->n_link--;
	if (l->session == p) {
		l->session = NULL;
		l->stalled = false;
		requests_reset(l->options.requests);
		tell(l, "the session of control has ended", "");
	}
	if (p->read)
		event_free(p->read);
	if (p->write)
		event_free(p->write);
	close(p->fd);
	free(p);
}

// Read while there is room for answers and nothing has to settle first.
static void peer_arm(struct peer *p)
{
	static const struct timeval idle = {.tv_sec = IDLE_S};
	bool want = !p->closing && p->n_pendings < PENDING_MAX && !set_settling(set_of(p->link));
	bool have = event_pending(p->read, EV_READ, NULL);

	if (have && !want)
		event_del(p->read);
	// Only where it is not armed: adding it again would begin the time to idle anew.
	if (want && !have)
		event_add(p->read, p->kind == PEER_CONTROL ? NULL : &idle);
}

static struct pending *pending_make(size_t len)
{
	return malloc(sizeof(struct pending) + len);
}

static void pending_add(struct peer *p, struct pending *a, enum request_outcome outcome, size_t len)
{
	struct link *l = p->link;

	*a = (struct pending){
		.token = outcome == REQUEST_APPLIED ? set_barrier(set_of(l)) : 0,
		.deadline = set_now(set_of(l)).boot_ms + l->options.deadline_ms,
		.settle = outcome == REQUEST_SETTLE,
		.close = outcome == REQUEST_CLOSE,
		.len = len,
	};
	memcpy(a->message, l->answer, len);
	TAILQ_INSERT_TAIL(&p->pendings, a, entry);
	p->n_pendings++;
}

// The place for the answer comes first: nothing is done that could not be answered. Without one the
// peer is told so, once, with the place that is kept for that; then it goes.
static bool peer_refuse(struct peer *p, size_t len)
{
	struct link *l = p->link;
	struct pending *a = p->spare;
	size_t answer_len = 0;

	if (a && p->kind != PEER_NEW)
		answer_len = request_refuse(l->options.requests, l->message, len, l->answer);
	if (!answer_len) {
		peer_free(p);
		return false;
	}
	p->spare = NULL;
	pending_add(p, a, REQUEST_ANSWER, answer_len);
	return true;
}

// An answer has been sent.
static void pending_done(struct peer *p, struct pending *a)
{
	TAILQ_REMOVE(&p->pendings, a, entry);
	p->n_pendings--;
	if (p->spare)
		free(a);
	else
		p->spare = a;
}

static void session_begin(struct peer *p)
{
	struct link *l = p->link;
	struct peer *before = l->session;

	l->session = p;
	p->kind = PEER_CONTROL;
	event_remove_timer(p->read);
	l->told_ms = 0;
	if (before && before != p) {
		tell(l, "a newer session of control takes over", "");
		peer_free(before);
	} else if (!before) {
		tell(l, "control has come", "");
	}
}

// Returns false when the peer is gone.
static bool peer_message(struct peer *p, size_t len)
{
	struct link *l = p->link;
	struct pending *a = pending_make(ANSWER_SMALL);
	enum request_outcome outcome;
	size_t answer_len = 0;

	if (!a)
		return peer_refuse(p, len);
	outcome = request_handle(
		l->options.requests, p->kind, p->uid, l->message, len, l->answer, &answer_len
	);
	if (outcome == REQUEST_HELLO)
		session_begin(p);
	if (outcome == REQUEST_CLOSE)
		p->closing = true;
	if (answer_len > ANSWER_SMALL) {
		free(a);
		a = pending_make(answer_len); // a status: nothing has changed
	}
	if (a && answer_len) {
		pending_add(p, a, outcome, answer_len);
		return true;
	}
	free(a);
	if (outcome == REQUEST_SILENT)
		return true;
	peer_free(p);
	return false;
}

static void peer_read(evutil_socket_t fd, short what, void *ctx)
{
	struct peer *p = ctx;
	struct link *l = p->link;

	if (what & EV_TIMEOUT) {
		peer_free(p);
		return;
	}
	set_tick(set_of(l), clock_now());
	for (int i = 0; i < READ_BURST && !p->closing && p->n_pendings < PENDING_MAX; i++) {
		ssize_t n;

		if (set_settling(set_of(l)))
			break;
		// One octet more than a message may have: a longer one shows as such.
		n = recv(fd, l->message, sizeof(l->message), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			peer_free(p);
			link_work(l);
			return;
		}
		if (!peer_message(p, (size_t)n))
			return;
	}
	link_work(l);
}

static void peer_write(evutil_socket_t fd, short what, void *ctx)
{
	struct peer *p = ctx;

	(void)fd;
	(void)what;
	set_tick(set_of(p->link), clock_now());
	link_work(p->link);
}

static int peer_create(struct link *l, int fd, enum request_peer kind, uint32_t uid)
{
	struct peer *p = calloc(1, sizeof(*p));
	int buffer = SEND_BUFFER;

	if (!p)
		return -ENOMEM;
	// Fewer octets than asked for only make the queue here longer.
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	*p = (struct peer){.link = l, .fd = fd, .kind = kind, .uid = uid};
	TAILQ_INIT(&p->pendings);
	p->read = event_new(l->options.base, fd, EV_READ | EV_PERSIST, peer_read, p);
	p->write = event_new(l->options.base, fd, EV_WRITE, peer_write, p);
	p->spare = pending_make(ANSWER_SMALL);
	if (!p->read || !p->write || !p->spare) {
		if (p->read)
			event_free(p->read);
		if (p->write)
			event_free(p->write);
		free(p->spare);
		free(p);
		return -ENOMEM;
	}
	LIST_INSERT_HEAD(&l->peers, p, entry);
	if (kind == PEER_ROOT)
		l->n_ctl++;
	else
		l->n_link++;
	peer_arm(p);
	return 0;
}

// --- sending

// 0 sent, -EAGAIN, or -errno: the peer is gone.
static int datagram_send(const struct peer *p, const void *message, size_t len)
{
	ssize_t n = send(p->fd, message, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		return 0;
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOBUFS
		? -EAGAIN
		: -errno;
}

// May the first answer go? Fills in WIRE_STALLED at the deadline.
static bool pending_ready(struct link *l, struct pending *a)
{
	struct wire_result result;

	if (a->settle) {
		struct list_state state;

		if (set_settling(set_of(l)))
			return false;
		a->settle = false;
		a->token = set_barrier(set_of(l));
		a->deadline = set_now(set_of(l)).boot_ms + l->options.deadline_ms;
		memcpy(&result, a->message, sizeof(result));
		set_state(set_of(l), &state);
		wire_state_pack(&state, &result.state);
		memcpy(a->message, &result, sizeof(result));
	}
	if (!a->token)
		return true;
	if (set_passed(set_of(l), a->token)) {
		a->token = 0;
		l->stalled = false;
		return true;
	}
	if (set_now(set_of(l)).boot_ms < a->deadline)
		return false;
	a->token = 0;
	l->stalled = true;
	memcpy(&result, a->message, sizeof(result));
	result.code = WIRE_STALLED;
	memcpy(a->message, &result, sizeof(result));
	return true;
}

static void peer_flush(struct peer *p)
{
	struct pending *a;

	while ((a = TAILQ_FIRST(&p->pendings)) && pending_ready(p->link, a)) {
		bool last = a->close;
		int r = datagram_send(p, a->message, a->len);

		if (r == -EAGAIN) {
			event_add(p->write, NULL);
			break;
		}
		pending_done(p, a);
		if (r < 0 || last) {
			peer_free(p);
			return;
		}
	}
	peer_arm(p);
}

static void denials_send(struct link *l)
{
	uint8_t *message = l->answer;

	while (l->session && l->n_denials) {
		size_t n = l->n_denials < DENIALS_MESSAGE ? l->n_denials : DENIALS_MESSAGE;
		struct wire_denials head = {
			.header = {
				.type = WIRE_DENIALS,
				.version = WIRE_VERSION,
				.length = (uint32_t)(sizeof(head) + n * sizeof(struct wire_denial)),
			},
			.n = (uint32_t)n,
		};

		_Static_assert(
			sizeof(head) + DENIALS_MESSAGE * sizeof(struct wire_denial)
				<= WIRE_MESSAGE_MAX,
			"a message of denials fits"
		);
		memcpy(message, &head, sizeof(head));
		for (size_t i = 0; i < n; i++)
			memcpy(message + sizeof(head) + i * sizeof(struct wire_denial),
			       &l->denials[(l->denial_first + i) % DENIALS_MAX],
			       sizeof(struct wire_denial));
		if (datagram_send(l->session, message, head.header.length) < 0)
			return; // slow: they wait; gone: its read event tells
		l->denial_first = (l->denial_first + n) % DENIALS_MAX;
		l->n_denials -= n;
	}
}

static void breakglass_tell(struct link *l)
{
	const struct breakglass *b = l->options.requests->breakglass;
	int64_t now = set_now(set_of(l)).boot_ms;

	if (!l->session || !b || !breakglass_unacked(b)
	    || (l->told_ms && now - l->told_ms < RETELL_MS))
		return;
	for (size_t i = 0; i < breakglass_unacked(b); i++) {
		const struct wire_breakglass *action = breakglass_action(b, i);

		if (datagram_send(l->session, action, sizeof(*action)) < 0)
			break; // again, when the time has come
	}
	l->told_ms = now;
}

// --- the work of a wake-up

static bool waiting(const struct link *l)
{
	const struct peer *p;

	LIST_FOREACH(p, &l->peers, entry)
	{
		const struct pending *a = TAILQ_FIRST(&p->pendings);

		if (a && (a->token || a->settle))
			return true;
	}
	return false;
}

static void link_work(struct link *l)
{
	static const struct timeval soon = {.tv_usec = POLL_US}, now = {0};
	struct peer *p = LIST_FIRST(&l->peers);

	if (set_settling(set_of(l)))
		set_settle(set_of(l), SWEEP_SLOTS);
	set_poll(set_of(l), false);
	while (p) {
		struct peer *next = LIST_NEXT(p, entry);

		peer_flush(p);
		p = next;
	}
	if (set_settling(set_of(l)) && !set_settle_waits(set_of(l)))
		event_add(l->timer, &now);
	else if (waiting(l) || set_settling(set_of(l)))
		event_add(l->timer, &soon);
}

static void timer_fired(evutil_socket_t fd, short what, void *ctx)
{
	struct link *l = ctx;

	(void)fd;
	(void)what;
	set_tick(set_of(l), clock_now());
	link_work(l);
}

// --- listening

static bool peer_allowed(const struct link *l, const struct ucred *who, bool root)
{
	if (who->uid == 0 || root)
		return who->uid == 0;
	return who->uid == geteuid() || (l->has_group && who->gid == l->group);
}

static void accept_one(struct link *l, int listener, bool root)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred who;
	socklen_t size = sizeof(who);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) || !peer_allowed(l, &who, root)) {
		tell(l, "a peer was turned away", "neither root, nor of the group");
		close(fd);
		return;
	}
	if ((root ? l->n_ctl >= CTL_PEERS_MAX : l->n_link >= LINK_PEERS_MAX)
	    || peer_create(l, fd, root ? PEER_ROOT : PEER_NEW, who.uid) < 0)
		close(fd);
}

static void link_accepted(evutil_socket_t fd, short what, void *ctx)
{
	(void)what;
	accept_one(ctx, fd, false);
}

static void ctl_accepted(evutil_socket_t fd, short what, void *ctx)
{
	(void)what;
	accept_one(ctx, fd, true);
}

int link_adopt(struct link *l, int fd, bool root)
{
	return peer_create(l, fd, root ? PEER_ROOT : PEER_NEW, geteuid());
}

static int listen_at(const char *path, mode_t mode)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	mode_t before;
	int fd, r;

	if (len >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlink(path);
	// From its first instant nobody else's: the mode is set by the mask, not afterwards.
	before = umask(0777 & ~mode);
	r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	umask(before);
	if (r == 0 && listen(fd, 16))
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static int link_listen(struct link *l)
{
	const struct group *group = l->options.group ? getgrnam(l->options.group) : NULL;

	if (group) {
		l->group = group->gr_gid;
		l->has_group = true;
	}
	l->link_fd = listen_at(l->link_path, 0660);
	if (l->link_fd < 0)
		return l->link_fd;
	if (l->has_group && chown(l->link_path, (uid_t)-1, l->group))
		tell(l, "the link's socket could not be given to its group", strerror(errno));
	l->link_accept
		= event_new(l->options.base, l->link_fd, EV_READ | EV_PERSIST, link_accepted, l);
	return l->link_accept && event_add(l->link_accept, NULL) == 0 ? 0 : -ENOMEM;
}

static int ctl_listen(struct link *l)
{
	l->ctl_fd = listen_at(l->ctl_path, 0600);
	if (l->ctl_fd < 0)
		return l->ctl_fd;
	l->ctl_accept
		= event_new(l->options.base, l->ctl_fd, EV_READ | EV_PERSIST, ctl_accepted, l);
	return l->ctl_accept && event_add(l->ctl_accept, NULL) == 0 ? 0 : -ENOMEM;
}

int link_create(const struct link_options *options, struct link **ret_link)
{
	struct link *l = calloc(1, sizeof(*l));
	int r = -ENOMEM;

	if (!l)
		return r;
	l->options = *options;
	if (!l->options.deadline_ms)
		l->options.deadline_ms = 2000;
	l->link_fd = l->ctl_fd = -1;
	LIST_INIT(&l->peers);
	l->denials = calloc(DENIALS_MAX, sizeof(*l->denials));
	l->timer = evtimer_new(options->base, timer_fired, l);
	if (!l->denials || !l->timer)
		goto fail;
	if (options->link_path) {
		l->link_path = strdup(options->link_path);
		if (!l->link_path || (r = link_listen(l)) < 0)
			goto fail;
	}
	if (options->ctl_path) {
		l->ctl_path = strdup(options->ctl_path);
		if (!l->ctl_path || (r = ctl_listen(l)) < 0)
			goto fail;
	}
	*ret_link = l;
	return 0;
fail:
	link_free(l);
	return r;
}

static void listener_close(int fd, struct event *event, char *path)
{
	if (event)
		event_free(event);
	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	free(path);
}

void link_free(struct link *l)
{
	struct peer *p;

	if (!l)
		return;
	while ((p = LIST_FIRST(&l->peers)))
		peer_free(p);
	listener_close(l->link_fd, l->link_accept, l->link_path);
	listener_close(l->ctl_fd, l->ctl_accept, l->ctl_path);
	if (l->timer)
		event_free(l->timer);
	free(l->denials);
	free(l);
}

// --- for the rest of the control thread

void link_denial(struct link *l, const struct wire_denial *denial)
{
	if (l->n_denials == DENIALS_MAX) {
		l->denial_first = (l->denial_first + 1) % DENIALS_MAX;
		l->n_denials--;
		l->denials_lost++;
	}
	l->denials[(l->denial_first + l->n_denials++) % DENIALS_MAX] = *denial;
}

uint64_t link_denials_lost(const struct link *l)
{
	return l->denials_lost;
}

void link_poll(struct link *l)
{
	link_work(l);
	denials_send(l);
	breakglass_tell(l);
}

bool link_connected(const struct link *l)
{
	return l->session != NULL;
}

bool link_stalled(const struct link *l)
{
	return l->stalled;
}

void link_drop(struct link *l)
{
	if (l->session)
		peer_free(l->session);
}
