/*
 * http2.h - as much of HTTP/2 as a test needs: requests at the same time over one connection to a Unix socket,
 * without TLS.
 */
#ifndef HTTP2_H
#define HTTP2_H

/* Asks for path-0, path-1, ... (128 at most). The connection's descriptor, or -1. */
int http2_ask(const char *socket, const char *path, int count);
/* Reads until so many answers have come, for timeout_ms at most, and closes it. How many have the status 200. */
int http2_read(int fd, int count, int timeout_ms);

#endif
