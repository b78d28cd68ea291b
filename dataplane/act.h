// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The answer to a denied packet from inside: a TCP reset, or ICMP "administratively prohibited".
//
// Pure: octets in, octets out, in place. The link layer is mirrored: addresses swapped, VLAN tags
// kept. RFC 9293 section 3.10.7.1 (reset), RFC 792 and RFC 1812 section 5.2.7.1 (type 3 code 13),
// RFC 4443 section 3.1 (type 1 code 1). The source is the denied address.

#pragma once

#include "dataplane/core/packet.h"

#include <stdbool.h>
#include <stddef.h>

// `frame` holds `len` octets of an Ethernet frame and has room for `room`. Returns the answer's
// length, or 0 where none may be sent: to a reset, an ICMP error, a later fragment, multicast.
// ret_icmp: the answer is ICMP, which is rate-limited.
size_t act_reply(uint8_t *frame, size_t len, size_t room, const struct packet *, bool *ret_icmp);
