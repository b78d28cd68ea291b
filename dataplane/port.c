// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/port.h"

#include "dataplane/log.h"
#include "dataplane/node.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define DESCRIPTORS 1024
#define MBUFS_A_QUEUE 4096
#define MBUFS_CACHED 128 // by each worker
#define FRAME_EXTRA 22 // Ethernet header and two VLAN tags
#define XDP_HEADROOM 256 // the kernel takes it from each buffer of net_af_xdp

// Symmetric: both directions of a connection reach the same queue.
static uint8_t rss_key[256]; // as long as any device asks for

static bool iface_has_address(const char *iface)
{
	struct ifaddrs *all, *a;
	bool found = false;

	if (getifaddrs(&all) < 0)
		return false;
	for (a = all; a; a = a->ifa_next) {
		if (a->ifa_addr && strcmp(a->ifa_name, iface) == 0
		    && (a->ifa_addr->sa_family == AF_INET || a->ifa_addr->sa_family == AF_INET6))
			found = true;
	}
	freeifaddrs(all);
	return found;
}

static bool iface_setting_on(const char *format, const char *iface)
{
	char path[128], value = '0';
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/forwarding", format, iface);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (read(fd, &value, 1) != 1)
			value = '0';
		close(fd);
	}
	return value == '1';
}

static int iface_check(const struct conf_port *p)
{
	char bridge[64];

	if (strlen(p->iface) >= IFNAMSIZ || if_nametoindex(p->iface) == 0) {
		log_error("port %s: there is no interface %s", p->name, p->iface);
		return -ENODEV;
	}
	if (iface_has_address(p->iface)) {
		log_error(
			"port %s: %s has an address, so the kernel would answer on it: ip addr "
			"flush dev %s, "
			"and sysctl -w net.ipv6.conf.%s.disable_ipv6=1",
			p->name,
			p->iface,
			p->iface,
			p->iface
		);
		return -EBUSY;
	}
	snprintf(bridge, sizeof(bridge), "/sys/class/net/%s/master", p->iface);
	if (access(bridge, F_OK) == 0) {
		log_error(
			"port %s: %s belongs to a bridge or bond: ip link set %s nomaster",
			p->name,
			p->iface,
			p->iface
		);
		return -EBUSY;
	}
	if (iface_setting_on("ipv4", p->iface) || iface_setting_on("ipv6", p->iface)) {
		log_error(
			"port %s: the kernel forwards on %s: sysctl -w "
			"net.ipv4.conf.%s.forwarding=0 "
			"net.ipv6.conf.%s.forwarding=0",
			p->name,
			p->iface,
			p->iface,
			p->iface
		);
		return -EBUSY;
	}
	return 0;
}

// As net_af_xdp counts them: combined channels, or one. net_af_packet has as many as asked for.
static unsigned iface_queues(const struct conf_port *p)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq request = {.ifr_data = (void *)&channels};
	int fd;

	if (p->driver && strcmp(p->driver, "af_packet") == 0)
		return UINT_MAX;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", p->iface);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) < 0 || channels.max_combined == 0)
		channels.combined_count = 1;
	if (fd >= 0)
		close(fd);
	return RTE_MAX(channels.combined_count, 1U);
}

static unsigned workers_limit(unsigned workers, const char *port, unsigned queues)
{
	if (queues >= workers)
		return workers;
	log_warning(
		"port %s has %u queues for %u workers: only %u run (ethtool -L, or set workers)",
		port,
		queues,
		workers,
		queues
	);
	return queues;
}

unsigned port_workers(const struct conf *conf)
{
	unsigned workers = conf->workers;

	for (uint64_t i = 0; i < conf->n_ports; i++) {
		const struct conf_port *p = &conf->ports[i];

		if (p->iface)
			workers = workers_limit(workers, p->name, iface_queues(p));
	}
	return workers;
}

int port_vdev(const struct conf_port *p, unsigned index, unsigned queues, char *text, unsigned size)
{
	int rc;

	*text = '\0';
	if (p->pci)
		return 0;
	if (p->vdev) {
		snprintf(text, size, "--vdev=%s", p->vdev);
		return 0;
	}
	rc = iface_check(p);
	if (rc < 0)
		return rc;
	if (p->driver && strcmp(p->driver, "af_packet") == 0) {
		log_warning(
			"port %s: af_packet joins fragments in the kernel, rewrites 0x88a8 tags "
			"and always "
			"reports its link up; af_xdp does not",
			p->name
		);
		snprintf(
			text,
			size,
			"--vdev=net_af_packet%u,iface=%s,qpairs=%u",
			index,
			p->iface,
			queues
		);
	} else {
		snprintf(
			text,
			size,
			"--vdev=net_af_xdp%u,iface=%s,queue_count=%u",
			index,
			p->iface,
			queues
		);
	}
	return 0;
}

static int port_find(struct port *p, unsigned index)
{
	char name[RTE_ETH_NAME_MAX_LEN];

	if (p->conf->pci) // 03:00.0 is 0000:03:00.0
		snprintf(
			name,
			sizeof(name),
			"%s%s",
			strlen(p->conf->pci) == 7 ? "0000:" : "",
			p->conf->pci
		);
	else if (p->conf->vdev)
		snprintf(
			name, sizeof(name), "%.*s", (int)strcspn(p->conf->vdev, ","), p->conf->vdev
		);
	else if (p->conf->driver && strcmp(p->conf->driver, "af_packet") == 0)
		snprintf(name, sizeof(name), "net_af_packet%u", index);
	else
		snprintf(name, sizeof(name), "net_af_xdp%u", index);
	if (rte_eth_dev_get_port_by_name(name, &p->id) < 0) {
		log_error("port %s: the driver did not make device %s", p->conf->name, name);
		return -ENODEV;
	}
	return 0;
}

static void port_told(const struct port *p, const char *what, int rc)
{
	if (rc < 0 && rc != -ENOTSUP)
		log_warning("port %s: %s refused: %s", p->conf->name, what, strerror(-rc));
	else if (rc == -ENOTSUP)
		log_info("port %s: the driver knows no %s", p->conf->name, what);
}

// The drivers of kernel interfaces tell 1500 whatever the interface has.
static int iface_mtu(const char *iface, uint16_t *ret_mtu)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", iface);
	rc = ioctl(fd, SIOCGIFMTU, &request) < 0 ? -errno : 0;
	close(fd);
	if (rc == 0)
		*ret_mtu = (uint16_t)RTE_MIN(request.ifr_mtu, UINT16_MAX);
	return rc;
}

static int port_mtu(const struct port *p, uint16_t *ret_mtu)
{
	if (p->conf->iface)
		return iface_mtu(p->conf->iface, ret_mtu);
	return rte_eth_dev_get_mtu(p->id, ret_mtu);
}

void port_rss_key(uint8_t *key, size_t len)
{
	for (size_t i = 0; i < len; i++)
		key[i] = i % 2 ? 0x5a : 0x6d;
}

static int port_configure(struct port *p, unsigned queues)
{
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf = {0};
	int rc = rte_eth_dev_info_get(p->id, &info);

	if (rc < 0)
		return rc;
	if (port_mtu(p, &p->mtu) < 0)
		p->mtu = 1500;
	p->frame_max = p->mtu + FRAME_EXTRA;
	conf.rxmode.mtu = p->mtu;
	if (queues > 1) {
		port_rss_key(rss_key, sizeof(rss_key));
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_key = rss_key;
		conf.rx_adv_conf.rss_conf.rss_key_len = info.hash_key_size;
		conf.rx_adv_conf.rss_conf.rss_hf
			= (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP)
			& info.flow_type_rss_offloads;
	}
	rc = rte_eth_dev_configure(p->id, (uint16_t)queues, (uint16_t)queues, &conf);
	if (rc < 0)
		log_error("port %s: configuring failed: %s", p->conf->name, strerror(-rc));
	return rc;
}

// A device reads and writes packets by physical addresses, so that none may lie in two small pages:
// each takes a page of its own. Kernel interfaces are served by addresses of this process, and half
// of the memory is enough.
static struct rte_mempool *
pool_create(const struct port *p, unsigned queue, uint16_t room, int socket)
{
	const struct rte_pktmbuf_pool_private private = {.mbuf_data_room_size = room};
	const unsigned flags
		= p->conf->iface && !rte_eal_has_hugepages() ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0;
	const char *ops = rte_mbuf_best_mempool_ops();
	char name[RTE_MEMPOOL_NAMESIZE];
	struct rte_mempool *pool;

	snprintf(name, sizeof(name), "rx-%u-%u", p->id, queue);
	pool = rte_mempool_create_empty(
		name,
		MBUFS_A_QUEUE,
		(unsigned)sizeof(struct rte_mbuf) + room,
		MBUFS_CACHED,
		sizeof(private),
		socket,
		flags
	);
	if (!pool)
		return NULL;
	rte_pktmbuf_pool_init(pool, (void *)(uintptr_t) & private);
	if (rte_mempool_set_ops_byname(pool, ops, NULL) < 0
	    || rte_mempool_populate_default(pool) < 0) {
		rte_mempool_free(pool);
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

static int port_queues(const struct port *p, unsigned queues)
{
	uint16_t rx = DESCRIPTORS, tx = DESCRIPTORS;
	uint32_t room = RTE_MAX((uint32_t)RTE_MBUF_DEFAULT_DATAROOM, p->frame_max + XDP_HEADROOM);
	int socket = rte_eth_dev_socket_id(p->id);
	int rc = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx, &tx);

	for (unsigned q = 0; rc == 0 && q < queues; q++) {
		// A device that is on no socket: its packets are the worker's.
		int near = socket >= 0 ? socket : node_of_worker(q);
		struct rte_mempool *pool = pool_create(
			p, q, (uint16_t)RTE_MIN(room + RTE_PKTMBUF_HEADROOM, UINT16_MAX), near
		);

		if (!pool) {
			log_error(
				"port %s: no memory for %u packets: raise dataplane.memory",
				p->conf->name,
				MBUFS_A_QUEUE
			);
			return -ENOMEM;
		}
		rc = rte_eth_rx_queue_setup(p->id, (uint16_t)q, rx, (unsigned)near, NULL, pool);
		if (rc == 0)
			rc = rte_eth_tx_queue_setup(p->id, (uint16_t)q, tx, (unsigned)near, NULL);
	}
	if (rc < 0)
		log_error("port %s: setting up queues failed: %s", p->conf->name, strerror(-rc));
	return rc;
}

static void sockets_tell(const struct port *p, unsigned workers)
{
	int socket = rte_eth_dev_socket_id(p->id);
	unsigned far = node_far(socket, workers);

	if (far)
		log_warning(
			"port %s is on socket %d, but %u of its %u workers are not: each packet "
			"crosses between them (set lcores)",
			p->conf->name,
			socket,
			far,
			workers
		);
}

static int port_init(struct port *p, unsigned queues)
{
	struct rte_eth_fc_conf flow;
	int rc = port_configure(p, queues);

	if (rc == 0)
		rc = port_queues(p, queues);
	if (rc == 0 && rte_eth_dev_flow_ctrl_get(p->id, &flow) == 0
	    && flow.mode != RTE_ETH_FC_NONE) {
		flow.mode = RTE_ETH_FC_NONE;
		port_told(p, "flow control off", rte_eth_dev_flow_ctrl_set(p->id, &flow));
	}
	return rc;
}

static int pairs_init(struct ports *ports, const struct conf *conf)
{
	for (uint64_t i = 0; i < conf->n_pairs; i++) {
		struct port *in = &ports->port[conf_port_find(conf, conf->pairs[i].inside)];
		struct port *out = &ports->port[conf_port_find(conf, conf->pairs[i].outside)];

		in->inside = true;
		in->pair = out->pair = (int)i;
		if (in->mtu != out->mtu) {
			log_error(
				"pair %s-%s: MTU %u and %u differ: a frame would be lost without a "
				"word",
				in->conf->name,
				out->conf->name,
				in->mtu,
				out->mtu
			);
			return -EINVAL;
		}
	}
	return 0;
}

int ports_init(struct ports *ports, const struct conf *conf, unsigned *workers)
{
	unsigned n = *workers;

	ports->n = (unsigned)conf->n_ports;
	for (unsigned i = 0; i < ports->n; i++) {
		struct port *p = &ports->port[i];
		struct rte_eth_dev_info info;
		int rc;

		*p = (struct port){.conf = &conf->ports[i], .pair = -1};
		rc = port_find(p, i);
		if (rc == 0)
			rc = rte_eth_dev_info_get(p->id, &info);
		if (rc < 0)
			return rc;
		n = workers_limit(
			n, p->conf->name, RTE_MIN(info.max_rx_queues, info.max_tx_queues)
		);
	}
	for (unsigned i = 0; i < ports->n; i++) {
		int rc = port_init(&ports->port[i], n);

		if (rc < 0)
			return rc;
		sockets_tell(&ports->port[i], n);
	}
	*workers = n;
	return pairs_init(ports, conf);
}

int ports_start(struct ports *ports)
{
	for (unsigned i = 0; i < ports->n; i++) {
		struct port *p = &ports->port[i];
		int rc = rte_eth_dev_start(p->id);

		if (rc < 0) {
			log_error("port %s: does not start: %s", p->conf->name, strerror(-rc));
			return rc;
		}
		p->started = true;
		p->kernel_drops = port_kernel_drops(p);
		port_told(p, "promiscuous mode", rte_eth_promiscuous_enable(p->id));
		port_told(p, "all-multicast mode", rte_eth_allmulticast_enable(p->id));
	}
	return 0;
}

void ports_link_set(struct ports *ports, bool up)
{
	const char *what = up ? "link up" : "link down (there is no list)";

	if (ports->link == (up ? 1 : -1))
		return;
	// Every driver starts a port with its link up.
	for (unsigned i = 0; i < ports->n && (ports->link || !up); i++) {
		const struct port *p = &ports->port[i];
		int rc = up ? rte_eth_dev_set_link_up(p->id) : rte_eth_dev_set_link_down(p->id);

		port_told(p, what, rc);
		if (rc == 0)
			log_notice("port %s: %s", p->conf->name, what);
	}
	ports->link = up ? 1 : -1;
}

void ports_stop(struct ports *ports)
{
	for (unsigned i = 0; i < ports->n; i++) {
		if (!ports->port[i].started)
			continue;
		rte_eth_dev_set_link_down(ports->port[i].id);
		rte_eth_dev_stop(ports->port[i].id);
		rte_eth_dev_close(ports->port[i].id);
	}
}

// Of a kernel interface the kernel knows: the drivers always report an up link.
static bool iface_running(const char *iface)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = false;

	if (fd < 0)
		return false;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", iface);
	if (ioctl(fd, SIOCGIFFLAGS, &request) == 0)
		up = request.ifr_flags & IFF_RUNNING;
	close(fd);
	return up;
}

bool port_link_up(const struct port *p)
{
	struct rte_eth_link link;

	if (p->conf->iface)
		return iface_running(p->conf->iface);
	return rte_eth_link_get_nowait(p->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

static uint64_t iface_counter(const char *iface, const char *counter)
{
	char path[128], line[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", iface, counter);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, line, sizeof(line) - 1) < 0)
		line[0] = '\0';
	close(fd);
	return strtoull(line, NULL, 10);
}

uint64_t port_kernel_drops(const struct port *p)
{
	uint64_t now;

	if (!p->conf->iface)
		return 0;
	now = iface_counter(p->conf->iface, "rx_dropped")
		+ iface_counter(p->conf->iface, "rx_missed_errors");
	return now > p->kernel_drops ? now - p->kernel_drops : 0;
}
