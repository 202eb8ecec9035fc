/*
 * volley.h - requests to an nginx, in volleys: one over each of some connections, then all the answers. So the
 * worker meets the same at each of them, however fast the client is; with a client that asks again at once, it
 * sleeps less the slower it is, and may then need less of its own time.
 */
#ifndef BENCH_VOLLEY_H
#define BENCH_VOLLEY_H

#define VOLLEY_REQUESTS 32
#define VOLLEY_CLIENTS  1000

struct volley {
	const char *path;
	int fds[VOLLEY_REQUESTS];
	int client; /* the next one */
};

/* Connects to 127.0.0.1, for requests for the path, "?k=client-N" behind it. 0 or -1. */
int volley_open(struct volley *, int port, const char *path);
/* Sends so many volleys, of clients in turn. 0; -1: not all were answered by 200. */
int volley_fire(struct volley *, int count);
/* One that is zero was never opened. */
void volley_close(struct volley *);

#endif
