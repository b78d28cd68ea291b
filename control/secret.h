// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Secrets come from files only: the first line, without white space at its ends.
//
// Thread: any.

#pragma once

#define SECRET_MAX 8192

// -errno of the file, -ENODATA where it is empty, -EFBIG, -EINVAL for control characters; the
// message says what and what to do. 0 with a message that is not empty: a warning (others may read
// the file). Free with secret_free.
int secret_read(const char *path, char **ret_secret, char ret_message[256]);
void secret_free(char *); // wipes it first
