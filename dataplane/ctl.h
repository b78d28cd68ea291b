// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// `stanch-dataplane ctl`: root's hand on a running data plane, over its control socket; works with
// control dead and the disk full.
//
//   ctl allow X --for 4h --reason R    ctl allow X --end
//   ctl pause --for 15m --reason R     ctl resume
//   ctl status [--json]                any: --socket PATH
//
// Thread: a process of its own.

#pragma once

// argv[0] is "ctl". Exit status: 0 done, 1 refused, 64 usage, 69 no data plane answers.
int ctl_main(int argc, char **argv);
