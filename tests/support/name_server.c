/* name_server.c - see name_server.h. Of the protocol (RFC 1035) it knows one question, and the answer to it. */
#include "name_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD     12
#define TYPE_A   1
#define CLASS_IN 1
#define NO_NAME  3 /* the response code */
#define LOOK_MS  50

static const uint8_t known_name[] = "\2db\5stint\4test"; /* with the NUL of the root */

static uint8_t *put16(uint8_t *at, unsigned value) {
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return at + 2;
}

static uint8_t *put_address(uint8_t *at, unsigned last) {
	at = put16(at, 0xc000 | HEAD); /* the question's name */
	at = put16(at, TYPE_A);
	at = put16(at, CLASS_IN);
	at = put16(put16(at, 0), 0); /* good for no time */
	at = put16(at, 4);
	return put16(put16(at, 127 << 8), last);
}

/* Turns a question into its answer; the answer's length. */
static size_t answer(const struct name_server *server, uint8_t *packet) {
	const size_t end = HEAD + sizeof(known_name) + 4;
	bool known = memcmp(packet + HEAD, known_name, sizeof(known_name)) == 0;
	bool is_address = known && packet[end - 3] == TYPE_A;
	unsigned count = is_address ? atomic_load(&server->addresses) : 0;
	uint8_t *at = packet + end;

	put16(packet + 2, 0x8180u | (known ? 0 : NO_NAME));
	put16(packet + 6, count);
	put16(put16(packet + 8, 0), 0);
	if (!known)
		return HEAD + strlen((const char *)packet + HEAD) + 5;
	if (count > 1)
		at = put_address(at, 9);
	if (count > 0)
		at = put_address(at, 1);
	return (size_t)(at - packet);
}

static void serve_one(struct name_server *server) {
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	uint8_t packet[1024] = {0};
	ssize_t got = recvfrom(server->fd, packet, 512, 0, (struct sockaddr *)&from, &size);

	if (got < HEAD)
		return;
	if (atomic_load(&server->silent))
		atomic_fetch_add(&server->swallowed, 1);
	else
		sendto(server->fd, packet, answer(server, packet), 0, (struct sockaddr *)&from, size);
}

static void *serve(void *context) {
	struct name_server *server = context;
	struct pollfd fd = {.fd = server->fd, .events = POLLIN};

	while (!atomic_load(&server->ends))
		if (poll(&fd, 1, LOOK_MS) > 0)
			serve_one(server);
	return NULL;
}

static int put_in_place(const struct scene *scene, const char *name, const char *text, const char *place) {
	char path[108];
	FILE *file;

	scene_path(scene, name, path);
	file = fopen(path, "we");
	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
		return -1;
	return mount(path, place, NULL, MS_BIND, NULL);
}

int name_server_start(struct name_server *server, const struct scene *scene) {
	const struct sockaddr_in address = {.sin_family = AF_INET,
	                                    .sin_port = htons(53),
	                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	memset(server, 0, sizeof(*server));
	server->addresses = 1;
	server->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (server->fd >= 0 && bind(server->fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
	    put_in_place(scene, "resolv.conf", "nameserver 127.0.0.1\n", "/etc/resolv.conf") == 0 &&
	    put_in_place(scene, "nsswitch.conf", "hosts: files dns\n", "/etc/nsswitch.conf") == 0 &&
	    pthread_create(&server->thread, NULL, serve, server) == 0)
		return 0;
	fprintf(stderr, "# no name server: %s\n", strerror(errno));
	if (server->fd >= 0)
		close(server->fd);
	return -1;
}

void name_server_stop(struct name_server *server) {
	atomic_store(&server->ends, true);
	pthread_join(server->thread, NULL);
	close(server->fd);
}
