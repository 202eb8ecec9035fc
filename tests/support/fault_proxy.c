/* fault_proxy.c - see fault_proxy.h: the test's side. */
#include "fault_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "fault_relay.h"
#include "process.h"

/* Binds to a port so that a later listener can be bound to it again, see `refuse`. */
static int bind_port(uint16_t *port) {
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
	socklen_t size = sizeof(address);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 64) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
		close(fd);
		return -1;
	}
	*port = ntohs(address.sin_port);
	return fd;
}

/* The kernel chooses a port; bound to it by its number, a socket keeps it while it doesn't listen. */
static int open_listener(uint16_t *port) {
	int fd;

	*port = 0;
	fd = bind_port(port);
	if (fd < 0)
		return -1;
	close(fd);
	return bind_port(port);
}

static pid_t start_relay(struct fault_proxy *proxy, int listener, const char *socket_path, uint64_t seed) {
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	fault_relay_run(proxy->controls, listener, proxy->wake, socket_path, seed);
}

int fault_proxy_start(struct fault_proxy *proxy, const char *socket_path, uint64_t seed) {
	int listener;

	*proxy = (struct fault_proxy){.pid = -1};
	proxy->controls =
		mmap(NULL, sizeof(*proxy->controls), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (proxy->controls == MAP_FAILED)
		return -1;
	proxy->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	listener = open_listener(&proxy->port);
	if (proxy->wake >= 0 && listener >= 0)
		proxy->pid = start_relay(proxy, listener, socket_path, seed);
	if (listener >= 0)
		close(listener);
	return proxy->pid > 0 ? 0 : -1;
}

void fault_proxy_stop(struct fault_proxy *proxy) {
	if (proxy->pid <= 0)
		return;
	process_kill(proxy->pid);
	close(proxy->wake);
	munmap(proxy->controls, sizeof(*proxy->controls));
	*proxy = (struct fault_proxy){.pid = 0};
}

void fault_proxy_conninfo(const struct fault_proxy *proxy, const char *user, char text[static 256]) {
	snprintf(text, 256, "host=127.0.0.1 port=%u dbname=stint user=%s sslmode=disable gssencmode=disable",
	         (unsigned)proxy->port, user);
}

static void wake(struct fault_proxy *proxy) {
	uint64_t one = 1;

	(void)!write(proxy->wake, &one, sizeof(one));
}

void fault_proxy_set(struct fault_proxy *proxy, const struct fault_line *line) {
	for (int way = 0; way < 2; way++) {
		proxy->controls->delay_us[way] = line->delay_us[way];
		proxy->controls->jitter_us[way] = line->jitter_us[way];
		proxy->controls->bytes_per_s[way] = line->bytes_per_s[way];
	}
	proxy->controls->dark = line->dark;
	proxy->controls->refuse = line->refuse;
	wake(proxy);
}

void fault_proxy_clear(struct fault_proxy *proxy) {
	proxy->controls->aim = FAULT_NONE;
	fault_proxy_set(proxy, &(struct fault_line){.dark = false});
}

void fault_proxy_cut(struct fault_proxy *proxy) {
	proxy->controls->cuts++;
	wake(proxy);
}

void fault_proxy_reset(struct fault_proxy *proxy) {
	proxy->controls->resets++;
	wake(proxy);
}

void fault_proxy_aim(struct fault_proxy *proxy, enum fault_aim aim, const char *statement, uint32_t skip) {
	proxy->controls->aim = FAULT_NONE;
	snprintf(proxy->controls->statement, sizeof(proxy->controls->statement), "%s", statement);
	proxy->controls->skip = skip;
	proxy->hits_before = proxy->controls->hits;
	proxy->controls->aim = (int)aim;
}

bool fault_proxy_wait_hit(struct fault_proxy *proxy, int timeout_ms) {
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;

	while (proxy->controls->hits == proxy->hits_before) {
		if (monotonic_ns() > deadline)
			return false;
		sleep_ms(1);
	}
	return true;
}

uint32_t fault_proxy_hits(const struct fault_proxy *proxy) {
	return proxy->controls->hits;
}

uint32_t fault_proxy_accepted(const struct fault_proxy *proxy) {
	return proxy->controls->accepted;
}

uint32_t fault_proxy_live(const struct fault_proxy *proxy) {
	return proxy->controls->live;
}
