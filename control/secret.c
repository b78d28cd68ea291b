// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/secret.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static int fail(int error, char message[256], const char *path, const char *what)
{
	snprintf(message, 256, "%s: %s", path, what);
	return error;
}

// Length of the first line without white space at its ends; moves *text to its start.
static size_t line_trim(const char **text, size_t len)
{
	const char *end = memchr(*text, '\n', len);
	size_t n = end ? (size_t)(end - *text) : len;
	while (n > 0 && strchr(" \t\r", (*text)[n - 1]))
		n--;
	while (n > 0 && strchr(" \t", **text)) {
		(*text)++;
		n--;
	}
	return n;
}

int secret_read(const char *path, char **ret_secret, char ret_message[256])
{
	__attribute__((cleanup(fd_close))) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(-errno, ret_message, path, strerror(errno));
	struct stat st;
	if (fstat(fd, &st) < 0)
		return fail(-errno, ret_message, path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return fail(-EISDIR, ret_message, path, "is a directory");

	char text[SECRET_MAX + 1];
	size_t len = 0;
	ssize_t n;
	while (len < sizeof(text) && (n = read(fd, text + len, sizeof(text) - len)) > 0)
		len += (size_t)n;
	if (len > SECRET_MAX)
		return fail(-EFBIG, ret_message, path, "is too long for a secret");

	const char *start = text;
	size_t secret_len = line_trim(&start, len);
	if (secret_len == 0)
		return fail(
			-ENODATA, ret_message, path, "is empty: write the secret on its first line"
		);
	for (size_t i = 0; i < secret_len; i++)
		if ((unsigned char)start[i] < 0x20 || start[i] == 0x7f)
			return fail(
				-EINVAL, ret_message, path, "has control characters in the secret"
			);

	char *secret = strndup(start, secret_len);
	OPENSSL_cleanse(text, sizeof(text));
	if (!secret)
		return fail(-ENOMEM, ret_message, path, strerror(ENOMEM));
	ret_message[0] = '\0';
	if (st.st_mode & S_IROTH)
		snprintf(
			ret_message,
			256,
			"%s: everybody on this machine may read it: chmod 640",
			path
		);
	*ret_secret = secret;
	return 0;
}

void secret_free(char *secret)
{
	if (secret)
		OPENSSL_cleanse(secret, strlen(secret));
	free(secret);
}
