// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/log.h"

#include <systemd/sd-daemon.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_LEN 2048

// A line's own control characters would start a new record, or colour somebody's terminal.
static void line_clean(char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = ' ';
}

__attribute__((format(printf, 2, 0))) static void
log_line(const char *priority, const char *format, va_list args)
{
	char line[LINE_MAX_LEN];
	size_t prefix = isatty(STDERR_FILENO) == 1 ? 0 : strlen(priority);
	memcpy(line, priority, prefix);

	int n = vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, args);
	if (n < 0)
		return;
	size_t len = prefix + (size_t)n;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	line_clean(line + prefix, len - prefix);
	line[len++] = '\n';
	// Nowhere to report a log that cannot be written.
	ssize_t written = write(STDERR_FILENO, line, len);
	(void)written;
}

void log_error(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_line(SD_ERR, format, args);
	va_end(args);
}

void log_warning(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_line(SD_WARNING, format, args);
	va_end(args);
}

void log_notice(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_line(SD_NOTICE, format, args);
	va_end(args);
}

void log_info(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_line(SD_INFO, format, args);
	va_end(args);
}
