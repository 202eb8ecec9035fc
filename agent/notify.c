/*
 * notify.c - tells systemd, see notify.h. When the manager is busy and its queue is full, libsystemd waits,
 * however long. So messages that are repeated anyway are dropped then, and so is the one about stopping: the agent
 * has leases to return, and the manager sees it end. READY and RELOADING are worth the wait, as the manager would
 * wait for the one for ever, and the other one comes before it.
 */
#include "notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* Sends the text unless that would have to wait. NOTIFY_SOCKET is a path, or an '@' and an abstract name. */
static void tell_if_heard(const char *text) {
	const char *place = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = place ? strlen(place) : 0;
	if (length < 2 || length >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, place, length);
	if (place[0] == '@')
		address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
	close(fd);
}

void notify_ready(const char *status) {
	sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_status(const char *status) {
	char text[512];
	snprintf(text, sizeof(text), "STATUS=%s", status);
	tell_if_heard(text);
}

void notify_reloading(void) {
	sd_notify(0, "RELOADING=1");
}

void notify_stopping(void) {
	tell_if_heard("STOPPING=1\nSTATUS=returning unused leases");
}

void notify_watchdog(void) {
	tell_if_heard("WATCHDOG=1");
}

uint64_t notify_watchdog_us(void) {
	uint64_t usec = 0;
	return sd_watchdog_enabled(0, &usec) > 0 ? usec : 0;
}
