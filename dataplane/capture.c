// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/capture.h"

#include <pcap/pcap.h>

#include <linux/if_arp.h>
#include <string.h>

#define ETHER_LEN 14
#define NULL_LEN 4
#define SLL_LEN 16
#define SLL2_LEN 20
#define SLL_MULTICAST 2 // packet type

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

bool capture_supported(int dlt)
{
	switch (dlt) {
	case DLT_EN10MB:
	case DLT_RAW:
	case DLT_IPV4:
	case DLT_IPV6:
	case DLT_NULL:
	case DLT_LOOP:
	case DLT_LINUX_SLL:
	case DLT_LINUX_SLL2:
		return true;
	default:
		return false;
	}
}

static void packet_end(struct packet *p, enum reason reason)
{
	*p = (struct packet){.reason = (uint8_t)reason};
}

// The family in the byte order of the machine that captured, or of the network: it is below 256 in
// one of them. IPv6 has three numbers among the BSDs, and Linux's.
static enum reason null_walk(const uint8_t *data, uint32_t len, unsigned *ret_version)
{
	unsigned family;

	if (len < NULL_LEN)
		return REASON_BAD_ETHERNET;
	family = data[0] | data[3];
	if ((data[0] && data[3]) || data[1] || data[2])
		return REASON_NON_IP;
	switch (family) {
	case 2:
		*ret_version = 4;
		return REASON_NO_ENTRY;
	case 10:
	case 24:
	case 28:
	case 30:
		*ret_version = 6;
		return REASON_NO_ENTRY;
	default:
		return REASON_NON_IP;
	}
}

static void
raw_parse(const uint8_t *data, uint32_t len, uint32_t wire_len, unsigned version, struct packet *p)
{
	if (len && version && data[0] >> 4 != version)
		packet_end(p, REASON_BAD_IP_VERSION);
	else
		packet_parse(data, len, wire_len, PACKET_RAW_IP, p);
}

// Interfaces whose protocol field is no EtherType.
static bool arphrd_foreign(unsigned type)
{
	return type == ARPHRD_NETLINK || type == ARPHRD_IPGRE || type == ARPHRD_IEEE80211_RADIOTAP
		|| type == ARPHRD_FRAD;
}

static void cooked_parse(
	const uint8_t *data,
	uint32_t len,
	uint32_t wire_len,
	bool v2,
	uint8_t *scratch,
	struct packet *p
)
{
	// The destination's address is not recorded; that it was a group's is.
	static const uint8_t group[6] = {0x01, 0x80, 0xc2, 0, 0, 0};
	uint32_t header = v2 ? SLL2_LEN : SLL_LEN;
	unsigned arphrd, type;

	if (len < header) {
		packet_end(p, REASON_BAD_ETHERNET);
		return;
	}
	arphrd = be16(data + (v2 ? 8 : 2));
	type = v2 ? data[10] : be16(data);
	if (arphrd_foreign(arphrd)) {
		packet_end(p, REASON_NON_IP);
		return;
	}
	memset(scratch, 0, ETHER_LEN);
	if (type == SLL_MULTICAST)
		memcpy(scratch, group, sizeof(group));
	memcpy(scratch + 12, data + (v2 ? 0 : 14), 2);
	memcpy(scratch + ETHER_LEN, data + header, len - header);
	packet_parse(
		scratch, len - header + ETHER_LEN, wire_len - header + ETHER_LEN, PACKET_ETHERNET, p
	);
}

void capture_parse(
	int dlt,
	const uint8_t *data,
	uint32_t len,
	uint32_t wire_len,
	uint8_t *scratch,
	struct packet *ret_packet
)
{
	unsigned version = 0;
	enum reason reason;

	if (wire_len < len)
		wire_len = len;
	switch (dlt) {
	case DLT_EN10MB:
		packet_parse(data, len, wire_len, PACKET_ETHERNET, ret_packet);
		break;
	case DLT_NULL:
	case DLT_LOOP:
		reason = null_walk(data, len, &version);
		if (reason == REASON_NO_ENTRY)
			raw_parse(
				data + NULL_LEN,
				len - NULL_LEN,
				wire_len - NULL_LEN,
				version,
				ret_packet
			);
		else
			packet_end(ret_packet, reason);
		break;
	case DLT_LINUX_SLL:
	case DLT_LINUX_SLL2:
		cooked_parse(data, len, wire_len, dlt == DLT_LINUX_SLL2, scratch, ret_packet);
		break;
	default:
		if (dlt == DLT_IPV4 || dlt == DLT_IPV6)
			version = dlt == DLT_IPV4 ? 4 : 6;
		raw_parse(data, len, wire_len, version, ret_packet);
	}
}
