/*
 * fault_relay.c - the proxy's process: one loop over ppoll(2).
 *
 * A link is a pair of sockets with a queue for each way. What a queue holds has a
 * time at which it is due; a queue that is full isn't read for, so a slow way
 * slows its sender down, as a network does.
 */
#include "fault_relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "random.h"

#define LINKS      64u
#define READ_BYTES 16384u
#define QUEUE_MAX  65536u /* bytes under way in one direction: about what a socket's own buffers hold */
#define FDS        (2 + 2 * LINKS)

/* A slow way passes bytes on in slices of this time. */
#define SLICE_NS (10 * NS_PER_MS)

#define READY_FOR_QUERY 'Z'
#define DATA_ROW        'D'
#define BIND            'B'

struct chunk {
	struct chunk *next;
	uint64_t due_ns;
	size_t length, sent;
	char data[];
};

struct way {
	struct chunk *first, *last;
	size_t queued;
	uint64_t last_due_ns; /* order is kept */
	uint64_t free_ns;     /* the limit of bytes per second lets nothing pass before */
	bool ended;           /* its sender has closed */
};

struct link {
	int fd[2]; /* one for each side (enum pg_side); -1: unused */
	struct way way[2];
	struct pg_frames frames;
	bool silent; /* after a lost reply: nothing arrives any more, in either direction */
};

struct relay {
	struct fault_controls *controls;
	const char *socket_path;
	int listener, wake;
	bool refusing;
	uint32_t cuts, resets; /* done */
	uint64_t random;
	struct link link[LINKS];
};

/* ---- Links ------------------------------------------------------------------------ */

static void free_way(struct way *way) {
	while (way->first != NULL) {
		struct chunk *chunk = way->first;

		way->first = chunk->next;
		free(chunk);
	}
}

/* Unread bytes would turn the close into a reset. */
static void close_cleanly(int fd) {
	char rest[4096];

	shutdown(fd, SHUT_WR);
	while (recv(fd, rest, sizeof(rest), MSG_DONTWAIT) > 0)
		continue;
	close(fd);
}

static void close_link(struct relay *relay, struct link *link, bool reset) {
	struct linger now = {.l_onoff = 1};

	if (reset)
		setsockopt(link->fd[PG_CLIENT], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	if (reset)
		close(link->fd[PG_CLIENT]);
	else
		close_cleanly(link->fd[PG_CLIENT]);
	close(link->fd[PG_SERVER]);
	free_way(&link->way[FAULT_UP]);
	free_way(&link->way[FAULT_DOWN]);
	link->fd[PG_CLIENT] = link->fd[PG_SERVER] = -1;
	relay->controls->live--;
}

static bool is_open(const struct link *link) {
	return link->fd[PG_CLIENT] >= 0;
}

static void close_all(struct relay *relay, bool reset) {
	for (unsigned i = 0; i < LINKS; i++)
		if (is_open(&relay->link[i]))
			close_link(relay, &relay->link[i], reset);
}

static int connect_server(const char *socket_path) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static struct link *free_link(struct relay *relay) {
	for (unsigned i = 0; i < LINKS; i++)
		if (!is_open(&relay->link[i]))
			return &relay->link[i];
	return NULL;
}

static void accept_one(struct relay *relay) {
	struct link *link = free_link(relay);
	int client = accept4(relay->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int server = client >= 0 && link != NULL ? connect_server(relay->socket_path) : -1;
	int one = 1;

	if (client < 0)
		return;
	relay->controls->accepted++;
	if (server < 0) {
		close(client);
		return;
	}
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	memset(link, 0, sizeof(*link));
	link->fd[PG_CLIENT] = client;
	link->fd[PG_SERVER] = server;
	relay->controls->live++;
}

/* ---- What arrives ------------------------------------------------------------------ */

static void append(struct relay *relay, struct link *link, int side, const char *data, size_t length) {
	int direction = side == PG_CLIENT ? FAULT_UP : FAULT_DOWN;
	uint32_t jitter = relay->controls->jitter_us[direction];
	uint64_t delay_us = relay->controls->delay_us[direction] + random_below(&relay->random, jitter + 1);
	struct way *way = &link->way[direction];
	struct chunk *chunk = malloc(sizeof(*chunk) + length);

	if (chunk == NULL)
		abort();
	*chunk = (struct chunk){.due_ns = monotonic_ns() + delay_us * NS_PER_US, .length = length};
	memcpy(chunk->data, data, length);
	if (chunk->due_ns < way->last_due_ns)
		chunk->due_ns = way->last_due_ns;
	way->last_due_ns = chunk->due_ns;
	if (way->first != NULL)
		way->last->next = chunk;
	else
		way->first = chunk;
	way->last = chunk;
	way->queued += length;
}

static bool is_aimed_at(struct relay *relay, const char *name) {
	struct fault_controls *controls = relay->controls;

	if (controls->aim == FAULT_NONE || strncmp(name, controls->statement, strlen(controls->statement)) != 0)
		return false;
	if (controls->skip == 0)
		return true;
	controls->skip--;
	return false;
}

enum verdict { FORWARD, SWALLOW, FORWARD_HALF_AND_CUT, CUT, RESET, FALL_SILENT };

/* The aim is decided when a request is whole. */
static enum verdict judge_request(struct relay *relay, struct link *link, const struct pg_piece *piece) {
	struct fault_controls *controls = relay->controls;
	struct pg_command *command = pg_frames_newest(&link->frames);

	if (!piece->ends || link->frames.lost)
		return FORWARD;
	if (piece->type == BIND && controls->aim == FAULT_TRUNCATE_REQUEST && is_aimed_at(relay, link->frames.name)) {
		controls->aim = FAULT_NONE;
		return FORWARD_HALF_AND_CUT;
	}
	if (piece->type != 'S' || command == NULL || controls->aim == FAULT_TRUNCATE_REQUEST)
		return FORWARD;
	if (is_aimed_at(relay, command->name)) {
		command->mark = controls->aim;
		controls->aim = FAULT_NONE;
	}
	return FORWARD;
}

static enum verdict judge_reply(struct link *link, const struct pg_piece *piece) {
	struct pg_command *command = pg_frames_oldest(&link->frames);
	int mark = command != NULL ? command->mark : FAULT_NONE;
	bool whole = piece->type == READY_FOR_QUERY && piece->ends;

	if (whole)
		pg_frames_answered(&link->frames);
	if (mark == FAULT_NONE || link->frames.lost)
		return FORWARD;
	if (mark == FAULT_TRUNCATE_REPLY)
		return piece->type == DATA_ROW || whole ? FORWARD_HALF_AND_CUT : FORWARD;
	if (!whole)
		return SWALLOW;
	return mark == FAULT_LOSE_REPLY_CUT ? CUT : mark == FAULT_LOSE_REPLY_RESET ? RESET : FALL_SILENT;
}

static void write_due(struct relay *relay, struct link *link, int side);

/* False: the link is closed or silent from now on. */
static bool do_to_piece(struct relay *relay, struct link *link, int side, enum verdict verdict, const char *data,
                        size_t length) {
	switch (verdict) {
	case FORWARD: append(relay, link, side, data, length); return true;
	case SWALLOW: return true;
	case FALL_SILENT: link->silent = true; break;
	case FORWARD_HALF_AND_CUT:
		append(relay, link, side, data, length / 2);
		write_due(relay, link, !side);
		if (is_open(link))
			close_link(relay, link, false);
		break;
	default: close_link(relay, link, verdict == RESET);
	}
	relay->controls->hits++;
	return false;
}

static void forward(struct relay *relay, struct link *link, int side, const char *data, size_t length) {
	while (length > 0) {
		struct pg_piece piece = pg_frames_next(&link->frames, (enum pg_side)side, data, length);
		enum verdict verdict = side == PG_CLIENT ? judge_request(relay, link, &piece) : judge_reply(link, &piece);

		if (!do_to_piece(relay, link, side, verdict, data, piece.length))
			return;
		data += piece.length;
		length -= piece.length;
	}
}

static void read_side(struct relay *relay, struct link *link, int side) {
	char data[READ_BYTES];
	ssize_t got = read(link->fd[side], data, sizeof(data));

	if (got > 0)
		forward(relay, link, side, data, (size_t)got);
	else if (got == 0 || (errno != EAGAIN && errno != EINTR))
		link->way[side == PG_CLIENT ? FAULT_UP : FAULT_DOWN].ended = true;
}

/* ---- What is due --------------------------------------------------------------------- */

static size_t slice_of(uint32_t bytes_per_s) {
	uint64_t slice = bytes_per_s * SLICE_NS / NS_PER_S;

	return bytes_per_s == 0 ? SIZE_MAX : slice > 0 ? slice : 1;
}

static uint64_t due_ns(const struct way *way) {
	return way->first == NULL ? UINT64_MAX : way->first->due_ns > way->free_ns ? way->first->due_ns : way->free_ns;
}

/* Writes to a side what is due for it, one slice at most where bytes are limited. */
static void write_due(struct relay *relay, struct link *link, int side) {
	int direction = side == PG_SERVER ? FAULT_UP : FAULT_DOWN;
	uint32_t bytes_per_s = relay->controls->bytes_per_s[direction];
	struct way *way = &link->way[direction];

	while (due_ns(way) <= monotonic_ns()) {
		struct chunk *chunk = way->first;
		size_t slice = slice_of(bytes_per_s), left = chunk->length - chunk->sent;
		ssize_t put = send(link->fd[side], chunk->data + chunk->sent, left < slice ? left : slice, MSG_NOSIGNAL);

		if (put < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (put < 0) {
			close_link(relay, link, false);
			return;
		}
		way->queued -= (size_t)put;
		chunk->sent += (size_t)put;
		if (bytes_per_s > 0)
			way->free_ns = monotonic_ns() + (uint64_t)put * NS_PER_S / bytes_per_s;
		if (chunk->sent == chunk->length) {
			way->first = chunk->next;
			free(chunk);
		}
	}
}

static bool is_over(const struct link *link) {
	for (int direction = 0; direction < 2; direction++)
		if (link->way[direction].ended && link->way[direction].first == NULL)
			return true;
	return false;
}

/* ---- The loop -------------------------------------------------------------------------- */

/* A socket that is bound keeps its port when it no longer listens; who connects is refused. */
static void follow_refuse(struct relay *relay) {
	bool refuse = relay->controls->refuse;

	if (refuse != relay->refusing && refuse)
		shutdown(relay->listener, SHUT_RD);
	else if (refuse != relay->refusing)
		listen(relay->listener, 64);
	relay->refusing = refuse;
}

static void obey(struct relay *relay) {
	uint32_t cuts = relay->controls->cuts, resets = relay->controls->resets;
	uint64_t woken;

	(void)!read(relay->wake, &woken, sizeof(woken));
	follow_refuse(relay);
	if (cuts != relay->cuts || resets != relay->resets)
		close_all(relay, resets != relay->resets);
	relay->cuts = cuts;
	relay->resets = resets;
}

/* What to wait for on one side of a link. A link that is dark isn't looked at, not even for its end. */
static short wanted(const struct link *link, int side, uint64_t now_ns) {
	const struct way *from = &link->way[side == PG_CLIENT ? FAULT_UP : FAULT_DOWN];
	const struct way *to = &link->way[side == PG_CLIENT ? FAULT_DOWN : FAULT_UP];
	short events = 0;

	if (link->silent)
		return side == PG_CLIENT ? POLLRDHUP : 0;
	if (!from->ended && from->queued < QUEUE_MAX)
		events |= POLLIN;
	if (due_ns(to) <= now_ns)
		events |= POLLOUT;
	return events;
}

static uint64_t next_due_ns(const struct relay *relay) {
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < LINKS; i++)
		for (int direction = 0; direction < 2 && is_open(&relay->link[i]); direction++)
			if (due_ns(&relay->link[i].way[direction]) < next)
				next = due_ns(&relay->link[i].way[direction]);
	return next;
}

/* Fills in what to wait for; -1 takes a descriptor out. */
static void prepare(const struct relay *relay, struct pollfd fds[static FDS], uint64_t now_ns) {
	bool dark = relay->controls->dark;

	fds[0] = (struct pollfd){.fd = relay->wake, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = relay->refusing ? -1 : relay->listener, .events = POLLIN};
	for (unsigned i = 0; i < LINKS; i++)
		for (int side = 0; side < 2; side++) {
			const struct link *link = &relay->link[i];
			short events = is_open(link) && !dark ? wanted(link, side, now_ns) : 0;

			fds[2 + 2 * i + (unsigned)side] =
				(struct pollfd){.fd = events != 0 ? link->fd[side] : -1, .events = events};
		}
}

static void serve(struct relay *relay, struct link *link, const struct pollfd ends[static 2]) {
	if (link->silent) {
		if (ends[PG_CLIENT].revents != 0)
			close_link(relay, link, false);
		return;
	}
	for (int side = 0; side < 2; side++) {
		if (is_open(link) && !link->silent && ends[side].revents & (POLLIN | POLLHUP | POLLERR) &&
		    ends[side].events & POLLIN)
			read_side(relay, link, side);
		if (is_open(link) && !link->silent)
			write_due(relay, link, !side);
	}
	if (is_open(link) && !link->silent && is_over(link))
		close_link(relay, link, false);
}

static void wait_for(const struct relay *relay, struct pollfd fds[static FDS]) {
	uint64_t now = monotonic_ns(), next = relay->controls->dark ? UINT64_MAX : next_due_ns(relay);
	uint64_t left = next == UINT64_MAX ? NS_PER_S : next > now ? next - now : 0;
	struct timespec timeout = {.tv_sec = (time_t)(left / NS_PER_S), .tv_nsec = (long)(left % NS_PER_S)};

	prepare(relay, fds, now);
	if (next <= now) /* waits for the socket to take it */
		timeout.tv_nsec = SLICE_NS;
	ppoll(fds, FDS, &timeout, NULL);
}

void fault_relay_run(struct fault_controls *controls, int listener, int wake, const char *socket_path,
                     uint64_t seed) {
	static struct relay relay; /* large, and one a process */
	static struct pollfd fds[FDS];

	relay = (struct relay){.controls = controls,
	                       .socket_path = socket_path,
	                       .listener = listener,
	                       .wake = wake,
	                       .random = seed};
	for (unsigned i = 0; i < LINKS; i++)
		relay.link[i].fd[PG_CLIENT] = relay.link[i].fd[PG_SERVER] = -1;
	for (;;) {
		wait_for(&relay, fds);
		obey(&relay);
		for (unsigned i = 0; i < LINKS; i++)
			if (is_open(&relay.link[i]) && !controls->dark)
				serve(&relay, &relay.link[i], &fds[2 + 2 * i]);
		if (!relay.refusing && fds[1].revents & POLLIN)
			accept_one(&relay);
	}
}
