// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Ports and wire pairs: from the configuration to started Ethernet devices.
// Thread: the control thread. Functions log what the operator has to mend and return −errno.

#pragma once

#include "dataplane/conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct port {
	const struct conf_port *conf;
	uint16_t id; // DPDK's
	uint16_t mtu;
	uint32_t frame_max; // largest frame that may leave: MTU + 22 (Ethernet and two VLAN tags)
	bool inside;
	int pair; // index of its pair
	bool started;
	uint64_t kernel_drops; // before the start
};

struct ports {
	struct port port[CONF_PORTS_MAX];
	unsigned n;
	int link; // as last set: 1 up, -1 down, 0 never
};

// The device argument for EAL ("--vdev=…"), or an empty text for a PCI port. Kernel interfaces are
// checked: one with an address, in a bridge or forwarding is refused.
int port_vdev(const struct conf_port *, unsigned index, unsigned queues, char *text, unsigned size);

// Before EAL: workers as configured, or fewer where an interface has fewer queues, which is told.
unsigned port_workers(const struct conf *);

// After EAL: find and configure all, one rx and tx queue a worker; *workers is lowered to the
// queues of the device that has the fewest.
int ports_init(struct ports *, const struct conf *, unsigned *workers);
int ports_start(struct ports *);
// The key of receive side scaling. It has a period of 16 bits, so that both directions of a
// connection have one hash and reach one queue. len: even, in octets.
void port_rss_key(uint8_t *key, size_t len);
// Where the driver can; said once each time it changes.
void ports_link_set(struct ports *, bool up);
// Stopped and, where the driver can, the link down: nothing is forwarded.
void ports_stop(struct ports *);
bool port_link_up(const struct port *);
// What the kernel dropped on a kernel interface since the start: a full ring of AF_XDP is not in
// the driver's count. 0 for other ports.
uint64_t port_kernel_drops(const struct port *);
