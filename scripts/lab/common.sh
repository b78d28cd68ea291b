# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
#
# What the scripts share. Sourced from the root of the tree.

# build_with COMPILER DIRECTORY MESON_OPTION…: configure once, then build; its output only when it fails.
build_with() {
	local compiler=$1 directory=$2 log
	shift 2
	log=$(mktemp)
	echo "Building with $compiler in $directory"
	if { [ -f "$directory/build.ninja" ] || CC=$compiler meson setup "$directory" "$@"; } \
		>"$log" 2>&1 && ninja -C "$directory" >>"$log" 2>&1; then
		rm -f "$log"
		return 0
	fi
	grep -E -A12 'error|FAILED|ERROR' "$log" | head -n 120
	rm -f "$log"
	return 1
}
