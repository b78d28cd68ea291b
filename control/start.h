// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// How the modules of main.c's table start, take a new configuration, and end. Each logs why it
// cannot.
//
// Thread: the event loop.

#pragma once

struct control;
struct conf;

struct module {
	const char *name;
	int (*init)(struct control *); // -errno, logged
	void (*fini)(struct control *);
	// control->conf is the new configuration, `old` the one before. NULL: nothing to take over.
	void (*reload)(struct control *, const struct conf *old);
	// In a fleet: this gateway leads from now on, or no longer (control_leads). NULL: all the
	// same to it.
	void (*role)(struct control *);
};

int start_protect(struct control *);
void stop_protect(struct control *);
void reload_protect(struct control *, const struct conf *old);

int start_ledger(struct control *);
void stop_ledger(struct control *);
void reload_ledger(struct control *, const struct conf *old);

int start_resolvers(struct control *);
void stop_resolvers(struct control *);

int start_server(struct control *);
void stop_server(struct control *);
void reload_server(struct control *, const struct conf *old);

int start_metrics(struct control *);
void stop_metrics(struct control *);

int start_followers(struct control *);
void stop_followers(struct control *);

// start_leader.c
int start_outward(struct control *); // the mirror to F5 XC, the write-back
void stop_outward(struct control *);
void reload_outward(struct control *, const struct conf *old);
void role_outward(struct control *);

int start_redis(struct control *);
void stop_redis(struct control *);
void reload_redis(struct control *, const struct conf *old);
void role_redis(struct control *);

int start_api(struct control *);
void stop_api(struct control *);
