/*
 * async.c - checks that don't wait: stint_check_async() up to the table's miss,
 * stint_fd(), stint_dispatch().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "async.h"
#include "channel.h"
#include "clock.h"
#include "error.h"

_Static_assert(ASYNC_CHUNK * ASYNC_CHUNKS == STINT_ASYNC_MAX, "chunks");

struct async_check {
	struct request request; /* first: a request that is finished is found again as its check */
	TAILQ_ENTRY(async_check) link; /* in unused, pending or finished */
	stint_callback *callback;
	void *arg;
	char id[STINT_CLIENT_ID_MAX];
};

void async_init(struct async *a) {
	TAILQ_INIT(&a->unused);
	TAILQ_INIT(&a->pending);
	TAILQ_INIT(&a->finished);
	a->next_timeout_ns = UINT64_MAX;
	watch_init(&a->watch);
}

void async_free(struct async *a) {
	for (unsigned i = 0; i < ASYNC_CHUNKS; i++)
		free(a->chunk[i]);
}

/* ---- The pool ------------------------------------------------------------- */

static int grow(struct async *a) {
	struct async_check *chunk;

	if (a->chunk_count == ASYNC_CHUNKS)
		return error_set(STINT_EBUSY, "%d asynchronous checks are pending", STINT_ASYNC_MAX);
	chunk = calloc(ASYNC_CHUNK, sizeof(*chunk));
	if (!chunk)
		return error_set(STINT_ENOMEM, "no memory for asynchronous checks");
	a->chunk[a->chunk_count++] = chunk;
	for (unsigned i = 0; i < ASYNC_CHUNK; i++)
		TAILQ_INSERT_TAIL(&a->unused, &chunk[i], link);
	return 0;
}

/* ---- stint_fd() ------------------------------------------------------------- */

/* When stint_dispatch() has something to do without a message; 0: never. */
static uint64_t find_due_ns(const struct channel *ch) {
	const struct async *a = &ch->async;

	if (!TAILQ_EMPTY(&a->finished))
		return 1;
	if (ch->state == CHANNEL_AWAY && !TAILQ_EMPTY(&a->pending) && ch->next_attempt_ns < a->next_timeout_ns)
		return ch->next_attempt_ns;
	return a->next_timeout_ns == UINT64_MAX ? 0 : a->next_timeout_ns;
}

static void set_timer(struct channel *ch) {
	watch_set_timer(&ch->async.watch, find_due_ns(ch));
}

void async_watch(struct channel *ch) {
	uint32_t events = EPOLLIN | (TAILQ_EMPTY(&ch->unsent) ? 0 : EPOLLOUT);

	set_timer(ch);
	watch_set_socket(&ch->async.watch, atomic_load(&ch->socket.number), ch->state == CHANNEL_AWAY ? 0 : events);
}

/* The descriptor, or an error. */
static int start_watching(struct channel *ch) {
	if (!watch_start(&ch->async.watch))
		return error_set(STINT_ESYSTEM, "no descriptor for stint_fd: %s", strerror(errno));
	async_watch(ch);
	return atomic_load(&ch->async.watch.epoll_fd);
}

int stint_fd(struct stint *attachment) {
	struct channel *ch = attachment_channel(attachment);
	int fd;

	if (!ch)
		return error_set(STINT_ESYSTEM, "no memory for stint_fd");
	pthread_mutex_lock(&ch->lock);
	fd = start_watching(ch);
	pthread_mutex_unlock(&ch->lock);
	return fd;
}

/* ---- Checks ---------------------------------------------------------------- */

/* A request's `finished`: its callback runs in the next stint_dispatch(). */
static void move_to_finished(struct channel *ch, struct request *r) {
	struct async_check *check = (struct async_check *)r;

	TAILQ_REMOVE(&ch->async.pending, check, link);
	TAILQ_INSERT_TAIL(&ch->async.finished, check, link);
	set_timer(ch);
}

/* From pending or finished: under way once more (0), or what it came to. */
static int submit(struct channel *ch, struct async_check *check) {
	int status = channel_submit(ch, &check->request);

	if (status != 0)
		return status;
	async_watch(ch);
	TAILQ_INSERT_TAIL(&ch->async.pending, check, link);
	if (check->request.give_up_ns < ch->async.next_timeout_ns)
		ch->async.next_timeout_ns = check->request.give_up_ns;
	set_timer(ch);
	return 0;
}

int async_start(struct channel *ch, struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
	stint_callback *callback, void *arg) {
	struct async *a = &ch->async;
	struct async_check *check;
	int status = 0;

	pthread_mutex_lock(&ch->lock);
	if (TAILQ_EMPTY(&a->unused))
		status = grow(a);
	if (status == 0) {
		check = TAILQ_FIRST(&a->unused);
		TAILQ_REMOVE(&a->unused, check, link);
		memcpy(check->id, id, length);
		check->request = request_make(limiter, check->id, length, cost, move_to_finished);
		check->callback = callback;
		check->arg = arg;
		status = submit(ch, check);
		if (status != 0)
			TAILQ_INSERT_HEAD(&a->unused, check, link);
		if (status < 0)
			channel_explain(ch, &check->request, status);
	}
	pthread_mutex_unlock(&ch->lock);
	return status;
}

/* A request that times out leaves next_timeout_ns too early; then this looks at all of them, once a timeout. */
static void time_out(struct channel *ch, uint64_t now_ns) {
	struct async *a = &ch->async;
	struct async_check *check, *next;

	if (now_ns < a->next_timeout_ns)
		return;
	/* This process may have been stopped, and the answers lie there. */
	channel_receive(ch);
	a->next_timeout_ns = UINT64_MAX;
	for (check = TAILQ_FIRST(&a->pending); check; check = next) {
		next = TAILQ_NEXT(check, link);
		if (now_ns >= check->request.give_up_ns) {
			channel_give_up(ch, &check->request);
			move_to_finished(ch, &check->request);
		} else if (check->request.give_up_ns < a->next_timeout_ns) {
			a->next_timeout_ns = check->request.give_up_ns;
		}
	}
}

/* Takes in what came and gives out the checks that are due, the void ones asked again. */
static void collect_due(struct channel *ch, struct async_queue *due) {
	struct async *a = &ch->async;
	struct async_check *check;
	uint64_t now_ns;

	pthread_mutex_lock(&ch->lock);
	if (!ch->led)
		channel_receive(ch);
	channel_look_for_agent(ch);
	now_ns = clock_fine_ns();
	time_out(ch, now_ns);
	TAILQ_INIT(due);
	while ((check = TAILQ_FIRST(&a->finished))) {
		struct request *r = &check->request;

		TAILQ_REMOVE(&a->finished, check, link);
		if (request_is_void(r)) {
			r->status = now_ns < r->give_up_ns ? submit(ch, check) : REQUEST_DECIDE_ALONE;
			if (r->status == 0)
				continue;
		}
		TAILQ_INSERT_TAIL(due, check, link);
	}
	set_timer(ch);
	pthread_mutex_unlock(&ch->lock);
}

static void explain(struct channel *ch, struct request *r) {
	pthread_mutex_lock(&ch->lock);
	channel_explain(ch, r, r->status);
	pthread_mutex_unlock(&ch->lock);
}

/* The callback may free the limiter: after it, nothing of the request is touched. */
static void run_callback(struct channel *ch, struct async_check *check) {
	struct request *r = &check->request;
	struct stint_result result;
	int status = r->status;

	if (status < 0)
		explain(ch, r);
	else if (status == REQUEST_DECIDE_ALONE)
		limiter_decide_alone(r->limiter, r->id, r->id_length, r->cost, &result);
	else
		result = request_result(r);
	check->callback(status < 0 ? status : 0, status < 0 ? NULL : &result, check->arg);
}

int stint_dispatch(struct stint *attachment) {
	struct channel *ch = attachment_find_channel(attachment);
	struct async_queue due;
	struct async_check *check;
	int count = 0;

	if (!ch || atomic_exchange(&ch->async.dispatching, true))
		return 0;
	collect_due(ch, &due);
	TAILQ_FOREACH(check, &due, link) {
		run_callback(ch, check);
		count++;
		/* The callback forked, and this is the child: what is left is the parent's. */
		if (attachment_find_channel(attachment) != ch)
			return count;
	}
	pthread_mutex_lock(&ch->lock);
	TAILQ_CONCAT(&ch->async.unused, &due, link);
	pthread_mutex_unlock(&ch->lock);
	atomic_store(&ch->async.dispatching, false);
	return count;
}

static void forget(struct channel *ch, struct async_queue *queue, const struct stint_limiter *limiter) {
	struct async_check *check, *next;

	for (check = TAILQ_FIRST(queue); check; check = next) {
		next = TAILQ_NEXT(check, link);
		if (check->request.limiter != limiter)
			continue;
		channel_withdraw(ch, &check->request);
		TAILQ_REMOVE(queue, check, link);
		TAILQ_INSERT_TAIL(&ch->async.unused, check, link);
	}
}

void async_forget(struct channel *ch, const struct stint_limiter *limiter) {
	forget(ch, &ch->async.pending, limiter);
	forget(ch, &ch->async.finished, limiter);
	set_timer(ch);
}
