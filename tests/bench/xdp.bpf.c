// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Programs for the kernel's XDP: peers that filter and forward, a sender, a sink. scripts/bench
// compiles it (clang -target bpf); bench_xdp loads it.

// The first gives the rest their types.
// clang-format off
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#define ADDRESSES (1 << 18)
#define QUERIES (1 << 20) // lookup.h

struct lpm_key {
	__u32 bits;
	__u32 addr;
};

struct address { // both in network byte order
	__u32 addr;
	__u16 checksum; // of the IPv4 header with it
	__u16 pad;
};

// The list, and what to look up. The sizes are set before loading.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lpm_key);
	__type(value, __u8);
} lpm SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} queries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} out SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ADDRESSES);
	__type(key, __u32);
	__type(value, struct address);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} pace SEC(".maps"); // ns between two bursts of the sender

#define BURST 64

__u32 position, left; // of the burst
__u64 due; // the next burst

static __always_inline struct iphdr *ipv4(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ether + 1);

	if ((void *)(ip + 1) > end || ether->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	return ip;
}

static __always_inline void count(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&counter, &zero);

	if (n)
		++*n;
}

SEC("xdp") int filter_hash(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx);
	__u32 addr;

	if (!ip)
		return XDP_PASS;
	addr = ip->daddr;
	if (bpf_map_lookup_elem(&hash, &addr)) {
		count();
		return XDP_DROP;
	}
	return bpf_redirect_map(&out, 0, 0);
}

SEC("xdp") int filter_lpm(struct xdp_md *ctx)
{
	struct lpm_key key = {.bits = 32};
	struct iphdr *ip = ipv4(ctx);

	if (!ip)
		return XDP_PASS;
	key.addr = ip->daddr;
	if (bpf_map_lookup_elem(&lpm, &key)) {
		count();
		return XDP_DROP;
	}
	return bpf_redirect_map(&out, 0, 0);
}

// For BPF_PROG_TEST_RUN: the lookup of one query after the other, and the same without a lookup.
static __always_inline __u32 *query_next(struct xdp_md *ctx)
{
	__u32 at = position++ & (QUERIES - 1);

	return ipv4(ctx) ? bpf_map_lookup_elem(&queries, &at) : 0;
}

SEC("xdp") int lookup_hash(struct xdp_md *ctx)
{
	__u32 *next = query_next(ctx), addr;

	if (!next)
		return XDP_PASS;
	addr = *next;
	if (bpf_map_lookup_elem(&hash, &addr)) {
		count();
		return XDP_DROP;
	}
	return XDP_PASS;
}

SEC("xdp") int lookup_lpm(struct xdp_md *ctx)
{
	struct lpm_key key = {.bits = 32};
	__u32 *next = query_next(ctx);

	if (!next)
		return XDP_PASS;
	key.addr = *next;
	if (bpf_map_lookup_elem(&lpm, &key)) {
		count();
		return XDP_DROP;
	}
	return XDP_PASS;
}

SEC("xdp") int lookup_none(struct xdp_md *ctx)
{
	__u32 *next = query_next(ctx);

	if (!next)
		return XDP_PASS;
	if (*next == 0) {
		count();
		return XDP_DROP;
	}
	return XDP_PASS;
}

// Is it time for another frame? What could not be sent is not made up for beyond a millisecond.
static __always_inline int paced(void)
{
	__u64 now, *interval;
	__u32 zero = 0;

	if (left) {
		left--;
		return 1;
	}
	now = bpf_ktime_get_ns();
	interval = bpf_map_lookup_elem(&pace, &zero);
	if (now < due || !interval)
		return 0;
	due = (now - due > 1000000 ? now : due) + *interval;
	left = BURST - 1;
	return 1;
}

// For BPF_PROG_TEST_RUN with live frames: the next address into the frame, out of the device.
SEC("xdp") int sender(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx);
	struct address *next;
	__u32 at;

	if (!paced())
		return XDP_DROP;
	at = position++ & (ADDRESSES - 1);
	next = bpf_map_lookup_elem(&addresses, &at);
	if (!ip || !next)
		return XDP_DROP;
	ip->daddr = next->addr;
	ip->check = next->checksum;
	count();
	return bpf_redirect_map(&out, 0, 0);
}

SEC("xdp") int sink(struct xdp_md *ctx)
{
	if (ipv4(ctx))
		count();
	return XDP_DROP;
}

// What a device needs before frames may be redirected to its peer.
SEC("xdp") int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char terms[] SEC("license") = "Dual BSD/GPL";
