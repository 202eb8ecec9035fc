/*
 * test_notify.c - what the agent tells the service manager, and that it doesn't wait for one that doesn't
 * listen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "notify.h"

static int listen_at(const char *place) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	memcpy(address.sun_path, place, strlen(place));
	if (place[0] == '@')
		address.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
	                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(place))),
	                 0);
	setenv("NOTIFY_SOCKET", place, 1);
	return fd;
}

static void hears(int fd, const char *expected) {
	char text[1024];
	ssize_t got = recv(fd, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = '\0';
	assert_string_equal(text, expected);
}

static void speaks_at(const char *place) {
	int fd = listen_at(place);
	notify_status("all is well");
	hears(fd, "STATUS=all is well");
	notify_watchdog();
	hears(fd, "WATCHDOG=1");
	notify_ready("up");
	hears(fd, "READY=1\nSTATUS=up");
	notify_stopping();
	hears(fd, "STOPPING=1\nSTATUS=returning unused leases");
	close(fd);
}

static void what_is_told_is_heard(void **state) {
	char path[64], name[64];
	(void)state;
	snprintf(path, sizeof(path), "/tmp/stint-test-notify.%d", (int)getpid());
	snprintf(name, sizeof(name), "@stint-test-notify.%d", (int)getpid());
	speaks_at(path);
	unlink(path);
	speaks_at(name);
}

static void without_a_manager_nothing_happens(void **state) {
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	notify_status("x");
	notify_watchdog();
	setenv("NOTIFY_SOCKET", "", 1);
	notify_watchdog();
	setenv("NOTIFY_SOCKET", "/tmp/nobody/is/here", 1);
	notify_watchdog();
}

/* If the agent waited for its manager, this would never end. */
static void nobody_waits_for_a_manager(void **state) {
	char name[64];
	int fd;
	(void)state;
	snprintf(name, sizeof(name), "@stint-test-notify.%d", (int)getpid());
	fd = listen_at(name);
	alarm(30);
	for (int i = 0; i < 2000; i++) {
		notify_status("a queue has room for some of these");
		notify_watchdog();
	}
	notify_stopping();
	alarm(0);
	hears(fd, "STATUS=a queue has room for some of these");
	close(fd);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_told_is_heard),
		cmocka_unit_test(without_a_manager_nothing_happens),
		cmocka_unit_test(nobody_waits_for_a_manager),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
