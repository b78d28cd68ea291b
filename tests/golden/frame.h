// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A packet as text → its octets, for golden cases. Layers stand outermost first, " / " between:
//
//   eth / vlan 5 tpid=0x88a8 / ip 10.0.0.1>203.0.113.7 ttl=3 / tcp 40000>443 S / data 100
//
//   raw                                no Ethernet: the capture begins with IP
//   eth [dst=MAC] [type=N]             vlan [ID] [tpid=N] [type=N]
//   ip SRC>DST [ttl=N] [proto=N] [off=N] [mf] [df] [opt=HEX] [ihl=N] [len=N] [ver=N]
//   ip6 SRC>DST [hops=N] [next=N] [plen=N] [ver=N]
//   hbh | dst | hip | shim6 | mobility | ah [octets=N] [len=N] [next=N]   octets of the header
//   rh type=N left=N [to=ADDR,ADDR…] [len=N] [next=N]
//   frag [off=N] [mf] [next=N]
//   tcp SPORT>DPORT [FLAGS] [doff=N]   udp SPORT>DPORT [len=N]
//   icmp TYPE    icmp6 TYPE    esp    none
//   mpls LABEL [bottom=N]    pppoe [len=N] [code=N] [ver=N]    ppp [proto=N]
//   gre [sum] [key=N] [seq=N] [flags=N] [type=N]    etherip [ver=N]
//   nsh [next=N] [len=N] [ver=N]    vxlan [flags=N]    gpe [flags=N] [next=N]
//   geneve [opt=HEX] [optlen=N] [ver=N] [type=N]
//   data N       hex HEX…              octets of this layer
//   trail N      octets behind the end of IP
//   cut N        the frame ends after N octets     have N   only N octets are at hand
//
// Lengths and next protocols are what the layers make them, unless given. Offsets (off=) count
// eights, doff= and ihl= fours. FLAGS are letters of FSRPAU. An eth inside another layer is a frame
// in a tunnel.

#pragma once

#include "dataplane/core/packet.h"

#include <stddef.h>

#define FRAME_MAX 4096

struct frame {
	enum packet_link link;
	uint32_t len, wire_len;
	uint8_t octets[FRAME_MAX];
};

// 0, or -EINVAL with ret_error: a literal or the word not understood.
int frame_parse(const char *text, struct frame *ret_frame, char ret_error[128]);
