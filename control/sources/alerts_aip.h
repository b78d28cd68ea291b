// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Alerts of F5 AIP (Threat Stack), whose service has ended: what old webhooks and relays still
// send. Its webhook says "id", "title", "severity" (1 is the gravest) and "server_or_region", alone
// or within {"alerts": [...]}; the REST API says "createdAt", "agentId" or, older, "created_at",
// "agent_id". None has a field for the destination: it is taken from contributing events where a
// relay has attached them as "events", else from the title, as far as that is clear.
//
// Thread: any; pure.

#pragma once

#include "control/sources/alerts_parse.h"

#include <stdbool.h>

// The members of an alert but those of alert_finish, into `alert`. -EINVAL with what is wrong
// ("severity: ..."), -ENOMEM.
int aip_alert_parse(const json_t *body, json_t *alert, char ret_message[ALERT_MESSAGE_MAX]);

// The one destination that a title names: an address after "to", or the only public one where the
// title speaks of something outgoing; a URL alike. False: none, or it is not clear which.
bool aip_title_destination(const char *title, const char **ret_type, char ret_data[256]);
