/* volley.c - see volley.h. */
#include "volley.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nginx.h"

#define ANSWER_MS 20000

static int connect_to(int port) {
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_port = htons((uint16_t)port),
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), at_once = 1;
	if (fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once)) == 0 &&
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

int volley_open(struct volley *v, int port, const char *path) {
	*v = (struct volley){.path = path};
	for (int i = 0; i < VOLLEY_REQUESTS; i++)
		v->fds[i] = -1;
	for (int i = 0; i < VOLLEY_REQUESTS; i++)
		if ((v->fds[i] = connect_to(port)) < 0)
			return -1;
	return 0;
}

static bool ask_next(struct volley *v, int fd) {
	char path[64];
	v->client = (v->client + 1) % VOLLEY_CLIENTS;
	snprintf(path, sizeof(path), "%s?k=client-%d", v->path, v->client);
	return nginx_ask(fd, path, "");
}

static int fire_one(struct volley *v) {
	struct answer answer;
	for (int i = 0; i < VOLLEY_REQUESTS; i++)
		if (!ask_next(v, v->fds[i]))
			return -1;
	for (int i = 0; i < VOLLEY_REQUESTS; i++) {
		nginx_read(v->fds[i], &answer, ANSWER_MS);
		if (answer.status != 200)
			return -1;
	}
	return 0;
}

int volley_fire(struct volley *v, int count) {
	int status = 0;
	for (int i = 0; i < count && status == 0; i++)
		status = fire_one(v);
	return status;
}

void volley_close(struct volley *v) {
	for (int i = 0; v->path && i < VOLLEY_REQUESTS; i++)
		if (v->fds[i] >= 0)
			close(v->fds[i]);
}
