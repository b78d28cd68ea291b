// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// `stanch thehive setup`: the account at TheHive, its permissions, the custom field of the response
// action.
//
// Thread: the event loop.

#pragma once

struct http_request;
struct thehive;

// Asks TheHive, makes the field where it is absent, and answers the request:
// {"name", "version", "account", "good", "field": {"name", "state", "why"},
//  "permissions": [{"name", "for", "held": true, false or null}]}
void thehive_setup(struct thehive *, struct http_request *);
void hive_setup_stop(struct thehive *); // one under way is answered 503
