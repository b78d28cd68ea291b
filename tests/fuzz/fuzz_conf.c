// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The configuration's loader: any text is refused with a message or taken whole.

#include "control/conf.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char message[CONF_MESSAGE_MAX];
	struct conf *conf = NULL;
	int error = conf_parse("fuzz", (const char *)data, size, false, &conf, message);
	if (strnlen(message, sizeof(message)) == sizeof(message))
		abort();
	if (error ? conf || !message[0] : !conf || !conf->state_dir || !conf->run_dir)
		abort();
	conf_free(conf);
	return 0;
}
