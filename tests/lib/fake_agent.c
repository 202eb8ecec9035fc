/*
 * fake_agent.c - see fake_agent.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fake_agent.h"
#include "protocol/hash.h"

/* A test that can't set itself up ends here. */
#define must(condition)                                                                                           \
	do {                                                                                                          \
		if (!(condition)) {                                                                                       \
			fprintf(stderr, "fake_agent.c:%d: %s: %s\n", __LINE__, #condition, strerror(errno));                  \
			abort();                                                                                              \
		}                                                                                                         \
	} while (0)

uint64_t fake_now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- The table ---------------------------------------------------------------- */

#define TALLIES_BYTES ((POLICY_CAPACITY + 1) * (FAKE_CPUS + TALLY_SHARED) * sizeof(struct tally))

static void *make_object(const char *name, size_t bytes, int *fd) {
	void *address;

	*fd = memfd_create(name, MFD_CLOEXEC);
	must(*fd >= 0);
	must(ftruncate(*fd, (off_t)bytes) == 0);
	address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	must(address != MAP_FAILED);
	return address;
}

static void fill_directory(struct directory_header *d, uint64_t generation) {
	d->magic = LAYOUT_MAGIC;
	d->version = LAYOUT_VERSION;
	d->policy_capacity = POLICY_CAPACITY;
	d->generation = generation;
	d->directory_bytes =
		DIRECTORY_ENTRIES_OFFSET + POLICY_CAPACITY * sizeof(struct policy_entry) + OWN_LIMITS * sizeof(uint32_t);
	d->tags_offset = sizeof(struct table_header);
	d->slots_offset = d->tags_offset + FAKE_BUCKETS * sizeof(struct tag_row);
	d->bucket_count = FAKE_BUCKETS;
	d->slots_per_bucket = SLOTS_PER_BUCKET;
	d->tallies_offset = d->slots_offset + FAKE_BUCKETS * SLOTS_PER_BUCKET * sizeof(struct slot);
	d->tally_stripes = FAKE_CPUS + TALLY_SHARED;
	d->table_bytes = d->tallies_offset + TALLIES_BYTES;
	for (unsigned i = 0; i < SECRET_SIZE; i++)
		d->secret[i] = (uint8_t)(i * 37 + 11);
}

void fake_table_make(struct fake_table *t, uint64_t generation) {
	struct directory_header d = {0};
	struct policy_entry *policies;

	fill_directory(&d, generation);
	t->directory = make_object("directory", d.directory_bytes, &t->directory_fd);
	t->table = make_object("table", d.table_bytes, &t->table_fd);
	memcpy(t->directory, &d, sizeof(d));
	t->table->magic = LAYOUT_MAGIC;
	t->table->version = LAYOUT_VERSION;
	t->table->generation = generation;
	t->table->state = TABLE_ALIVE;
	t->tags = (struct tag_row *)((char *)t->table + d.tags_offset);
	t->slots = (struct slot *)((char *)t->table + d.slots_offset);
	t->tallies = (struct tally *)((char *)t->table + d.tallies_offset);
	t->own_limits = directory_own_limits(t->directory);
	policies = directory_entries(t->directory);
	for (unsigned i = 0; i < POLICY_CAPACITY; i++) {
		policies[i].max_requests = 100;
		policies[i].time_window_ms = 60000;
		policies[i].fallback_max_requests = 200;
		policies[i].fallback_time_window_ms = 30000;
		policies[i].weighs_ms = 60000;
		policies[i].fallback_weighs_ms = 30000;
	}
}

void fake_table_destroy(struct fake_table *t) {
	size_t directory_bytes =
		DIRECTORY_ENTRIES_OFFSET + POLICY_CAPACITY * sizeof(struct policy_entry) + OWN_LIMITS * sizeof(uint32_t);
	size_t table_bytes = sizeof(struct table_header) +
	                     FAKE_BUCKETS * (sizeof(struct tag_row) + SLOTS_PER_BUCKET * sizeof(struct slot)) +
	                     TALLIES_BYTES;

	munmap(t->directory, directory_bytes);
	munmap(t->table, table_bytes);
	close(t->directory_fd);
	close(t->table_fd);
}

static const struct tally *row_at(const struct fake_table *t, uint32_t index) {
	return &t->tallies[(size_t)index * (FAKE_CPUS + TALLY_SHARED)];
}

uint64_t fake_table_verdicts(const struct fake_table *t, uint32_t policy, enum stint_source source,
                             enum tally_outcome outcome) {
	return tally_sum(row_at(t, policy), FAKE_CPUS + TALLY_SHARED, tally_place(source, outcome));
}

uint64_t fake_table_errors(const struct fake_table *t, int error) {
	return tally_sum(row_at(t, POLICY_CAPACITY), FAKE_CPUS + TALLY_SHARED, tally_error_place(error));
}

struct slot *fake_table_put(struct fake_table *t, uint32_t policy, const char *id) {
	struct place p = place_of(t->directory->secret, FAKE_BUCKETS, policy, id, strlen(id));

	for (int b = 0; b < 2; b++) {
		for (unsigned i = 0; i < SLOTS_PER_BUCKET; i++) {
			struct slot *slot = &t->slots[place_bucket(&p, b) * SLOTS_PER_BUCKET + i];
			if (atomic_load(&slot->key) != 0)
				continue;
			atomic_store(&slot->policy, (uint16_t)policy);
			atomic_store(&slot->key, p.key);
			atomic_store(&t->tags[place_bucket(&p, b)].tag[i], place_tag(&p));
			return slot;
		}
	}
	fprintf(stderr, "fake_agent.c: the test's table is full\n");
	abort();
}

void fake_table_remove(struct fake_table *t, struct slot *slot) {
	size_t at = (size_t)(slot - t->slots);

	atomic_store(&t->tags[at / SLOTS_PER_BUCKET].tag[at % SLOTS_PER_BUCKET], 0);
	for (int i = 0; i < 2; i++)
		fake_slot_lease(slot, i, 0, 0, 0);
	atomic_store(&slot->key, 0);
	atomic_store(&slot->denial, 0);
	atomic_store(&slot->later_start_ns, 0);
	atomic_store(&slot->hint, 0);
	atomic_store(&slot->low_water, 0);
}

void fake_slot_lease(struct slot *slot, int which, uint32_t credits, uint64_t deadline_ns, uint64_t flag) {
	uint32_t epoch = word_epoch(atomic_load(&slot->word[which])) + 1;

	atomic_store(&slot->word[which], word_make(epoch, 0, 0));
	atomic_store(&slot->deadline_ns[which], deadline_ns);
	atomic_store(&slot->word[which], word_make(epoch, credits, flag));
}

void fake_slot_deny(struct slot *slot, uint32_t from_cost, uint64_t until_ns, uint32_t remaining, uint32_t hint) {
	atomic_store(&slot->hint, hint);
	atomic_store(&slot->denial, denial_pack(until_ns, remaining, from_cost));
}

void fake_slot_own_limit(struct fake_table *t, struct slot *slot, uint32_t index, uint32_t limit) {
	atomic_store(&t->own_limits[index], limit);
	atomic_store(&slot->policy, (uint16_t)((atomic_load(&slot->policy) & SLOT_POLICY_MASK) | index >> 2 << 10));
	atomic_store(&slot->low_water, (uint8_t)(LOW_WATER_OWN_LIMIT | (index & 3) << 5));
}

/* ---- What it says --------------------------------------------------------------- */

static void send_packet(int fd, const void *bytes, size_t length, const int *fds, int fd_count) {
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd_count > 0) {
		struct cmsghdr *c;
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE((size_t)fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)fd_count * sizeof(int));
	}
	/* The peer may be gone: that doesn't matter here. */
	(void)!sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A real agent keeps answers for which the socket has no room. This one listens only while it can answer: a
 * socket that is writable has room for three quarters of what it holds. */
static bool can_answer(int fd) {
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	return poll(&p, 1, 0) == 1;
}

static void say_welcome(struct fake_agent *a, int fd) {
	unsigned char bytes[512] = {0};
	struct wire_welcome w = {
		.head = {.type = WIRE_WELCOME},
		.status = a->welcome_status,
		.wire_version = a->wire_version,
		.layout_version = LAYOUT_VERSION,
		.generation = a->generation,
	};
	size_t words = a->welcome_words ? strlen(a->welcome_words) : 0;

	memcpy(bytes, &w, sizeof(w));
	if (words > 0)
		memcpy(bytes + sizeof(w), a->welcome_words, words);
	send_packet(fd, bytes, sizeof(w) + words, (int[]){a->table.directory_fd, a->table.table_fd},
	            a->welcome_status == 0 ? 2 : 0);
}

static void say_declared(struct fake_agent *a, int fd, uint32_t serial) {
	struct wire_declared d = {
		.head = {.type = WIRE_DECLARED, .serial = serial},
		.status = a->declared_status,
		.policy = a->policy,
	};
	send_packet(fd, &d, sizeof(d), NULL, 0);
}

void fake_answer(struct fake_agent *a, int fd, uint32_t serial, struct wire_verdict v) {
	(void)a;
	v.head = (struct wire_head){.type = WIRE_VERDICT, .serial = serial};
	if (v.deadline_ns == 0)
		v.deadline_ns = fake_now_ns() + MS(10000);
	send_packet(fd, &v, sizeof(v), NULL, 0);
}

/* ---- What it hears ----------------------------------------------------------------- */

static void keep_name(struct fake_agent *a, const unsigned char *bytes, size_t length, size_t head) {
	must(length >= head && length - head < sizeof(a->last_name));
	memcpy(a->last_name, bytes + head, length - head);
	a->last_name[length - head] = '\0';
}

static void hear_want(struct fake_agent *a, int fd, const unsigned char *bytes, size_t length) {
	memcpy(&a->last_want, bytes, sizeof(a->last_want));
	keep_name(a, bytes, length, sizeof(a->last_want));
	a->counts.want++;
	if (a->mute)
		return;
	if (a->want)
		a->want(a, fd, &a->last_want, a->last_name);
	else
		fake_answer(a, fd, a->last_want.head.serial, a->verdict);
}

static void hear(struct fake_agent *a, int fd, const unsigned char *bytes, size_t length) {
	struct wire_head head;

	must(length >= sizeof(head));
	memcpy(&head, bytes, sizeof(head));
	if (head.type == WIRE_HELLO) {
		must(length == sizeof(struct wire_hello));
		a->counts.hello++;
		if (!a->mute)
			say_welcome(a, fd);
	} else if (head.type == WIRE_DECLARE) {
		memcpy(&a->last_declare, bytes, sizeof(a->last_declare));
		keep_name(a, bytes, length, sizeof(a->last_declare));
		a->counts.declare++;
		if (!a->mute && !a->mute_declare)
			say_declared(a, fd, head.serial);
	} else if (head.type == WIRE_WANT) {
		hear_want(a, fd, bytes, length);
	} else if (head.type == WIRE_PING) {
		a->counts.ping++;
		head.type = WIRE_PONG;
		if (!a->mute)
			send_packet(fd, &head, sizeof(head), NULL, 0);
	} else if (head.type == WIRE_CHARGE) {
		memcpy(&a->last_charge, bytes, sizeof(a->last_charge));
		keep_name(a, bytes, length, sizeof(a->last_charge));
		a->counts.charge++;
	} else {
		must(head.type == WIRE_LOW);
		memcpy(&a->last_low, bytes, sizeof(a->last_low));
		keep_name(a, bytes, length, sizeof(a->last_low));
		a->counts.low++;
	}
}

static void drop(struct fake_agent *a, int i) {
	/* shutdown() works at once. close() alone would wait for the poll() that holds the socket. */
	shutdown(a->connection[i], SHUT_RDWR);
	close(a->connection[i]);
	a->connection[i] = a->connection[--a->connections];
	a->counts.hangup++;
}

static void hear_all(struct fake_agent *a) {
	unsigned char bytes[WIRE_MESSAGE_MAX];

	for (int i = a->connections - 1; i >= 0; i--) {
		while (can_answer(a->connection[i])) {
			ssize_t length = recv(a->connection[i], bytes, sizeof(bytes), MSG_DONTWAIT);
			if (length < 0 && errno == EAGAIN)
				break;
			if (length <= 0) {
				drop(a, i);
				break;
			}
			hear(a, a->connection[i], bytes, (size_t)length);
		}
	}
}

static void greet(struct fake_agent *a) {
	int fd = accept4(a->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	must(a->connections < FAKE_CONNECTIONS_MAX);
	a->connection[a->connections++] = fd;
}

static nfds_t watch(struct fake_agent *a, struct pollfd *watched) {
	nfds_t n = 0;

	watched[n++] = (struct pollfd){.fd = a->wake_fd, .events = POLLIN};
	if (a->deaf)
		return n;
	watched[n++] = (struct pollfd){.fd = a->listen_fd, .events = POLLIN};
	for (int i = 0; i < a->connections; i++) {
		int fd = a->connection[i];
		watched[n++] = (struct pollfd){.fd = fd, .events = can_answer(fd) ? POLLIN : POLLOUT};
	}
	return n;
}

static void *run(void *arg) {
	struct fake_agent *a = arg;
	struct pollfd watched[FAKE_CONNECTIONS_MAX + 2];
	uint64_t woken;

	pthread_mutex_lock(&a->lock);
	while (!a->stop) {
		nfds_t n = watch(a, watched);

		pthread_mutex_unlock(&a->lock);
		poll(watched, n, -1);
		pthread_mutex_lock(&a->lock);
		(void)!read(a->wake_fd, &woken, sizeof(woken));
		if (!a->deaf && !a->stop) {
			if (n > 1 && watched[1].revents)
				greet(a);
			hear_all(a);
		}
		pthread_cond_broadcast(&a->changed);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* ---- Life ------------------------------------------------------------------------------ */

void fake_agent_init(struct fake_agent *a) {
	memset(a, 0, sizeof(*a));
	strcpy(a->directory, "/tmp/stint-test-XXXXXX");
	must(mkdtemp(a->directory));
	snprintf(a->path, sizeof(a->path), "%s/agent.sock", a->directory);
	a->wire_version = WIRE_VERSION;
	a->generation = 7001;
	a->verdict = (struct wire_verdict){.allowed = 1,
	                                   .source = STINT_SOURCE_DATABASE,
	                                   .reason = STINT_ADMITTED,
	                                   .limit = 100,
	                                   .remaining = 9};
	fake_table_make(&a->table, a->generation);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	a->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(a->wake_fd >= 0);
}

void fake_agent_destroy(struct fake_agent *a) {
	fake_agent_stop(a);
	fake_table_destroy(&a->table);
	close(a->wake_fd);
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->changed);
	must(rmdir(a->directory) == 0);
}

void fake_agent_start(struct fake_agent *a) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, a->path);
	a->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(a->listen_fd >= 0);
	must(bind(a->listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	must(listen(a->listen_fd, FAKE_CONNECTIONS_MAX) == 0);
	a->stop = false;
	a->running = true;
	must(pthread_create(&a->thread, NULL, run, a) == 0);
}

static void wake(struct fake_agent *a) {
	must(eventfd_write(a->wake_fd, 1) == 0);
}

void fake_agent_stop(struct fake_agent *a) {
	if (!a->running)
		return;
	fake_agent_lock(a);
	a->stop = true;
	fake_agent_unlock(a);
	pthread_join(a->thread, NULL);
	a->running = false;
	unlink(a->path);
	close(a->listen_fd);
	while (a->connections > 0)
		drop(a, 0);
}

void fake_agent_hang_up(struct fake_agent *a) {
	fake_agent_lock(a);
	while (a->connections > 0)
		drop(a, 0);
	fake_agent_unlock(a);
}

void fake_agent_send_all(struct fake_agent *a, const void *bytes, size_t length, int fds) {
	int fd[4] = {-1, -1, -1, -1};

	for (int i = 0; i < fds; i++)
		must((fd[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
	fake_agent_lock(a);
	for (int i = 0; i < a->connections; i++)
		send_packet(a->connection[i], bytes, length, fd, fds);
	fake_agent_unlock(a);
	for (int i = 0; i < fds; i++)
		close(fd[i]);
}

void fake_agent_lock(struct fake_agent *a) {
	pthread_mutex_lock(&a->lock);
}

void fake_agent_unlock(struct fake_agent *a) {
	wake(a);
	pthread_mutex_unlock(&a->lock);
}

void fake_agent_await(struct fake_agent *a, const unsigned *counter, unsigned n) {
	pthread_mutex_lock(&a->lock);
	while (*counter < n)
		pthread_cond_wait(&a->changed, &a->lock);
	pthread_mutex_unlock(&a->lock);
}

unsigned fake_agent_count(struct fake_agent *a, const unsigned *counter) {
	unsigned n;

	pthread_mutex_lock(&a->lock);
	n = *counter;
	pthread_mutex_unlock(&a->lock);
	return n;
}

void fake_agent_say_declared(struct fake_agent *a, uint32_t serial) {
	fake_agent_lock(a);
	a->mute_declare = false;
	for (int i = 0; i < a->connections; i++)
		say_declared(a, a->connection[i], serial);
	fake_agent_unlock(a);
}
