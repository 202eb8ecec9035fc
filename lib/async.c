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
	TAILQ_ENTRY(async_check) link; /* in one of the queues */
	stint_callback *callback;
	void *arg;
	char id[STINT_CLIENT_ID_MAX];
};

void async_init(struct async *a) {
	TAILQ_INIT(&a->unused);
	TAILQ_INIT(&a->pending);
	TAILQ_INIT(&a->finished);
	TAILQ_INIT(&a->due);
	TAILQ_INIT(&a->cancelled);
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

/* ---- Calling back ------------------------------------------------------------ */

/*
 * A callback may free its limiter, close the attachment, or return in the child of a fork. So what is to be told is taken out of the
 * check before; and each function that calls back has a visit, on its stack, which says afterwards whether there is still
 * anything to go on with.
 */
struct visit {
	struct stint *attachment;
	struct channel *channel;
	bool ended; /* the attachment is gone */
	LIST_ENTRY(visit) link;
};

/* The thread's own, innermost first: a thread that a fork left behind in the parent must not be looked for. */
static _Thread_local LIST_HEAD(, visit) visits;

static struct visit *begin_visit(struct visit *v, struct channel *ch) {
	*v = (struct visit){.attachment = ch->attachment, .channel = ch};
	LIST_INSERT_HEAD(&visits, v, link);
	return v;
}

static void end_visit(struct visit *v) {
	LIST_REMOVE(v, link);
}

/* What is the parent's, when this is a child that a callback made, is left to the parent. */
static bool may_go_on(const struct visit *v) {
	return !v->ended && attachment_find_channel(v->attachment) == v->channel;
}

void async_attachment_ends(const struct stint *attachment) {
	struct visit *v;

	LIST_FOREACH(v, &visits, link) {
		if (v->attachment == attachment)
			v->ended = true;
	}
}

/* What a check came to. */
struct outcome {
	stint_callback *callback;
	void *arg;
	int status;
	struct stint_result result;
};

/* Out of a check that is in no queue, which may be used for another then. */
static void take_outcome(struct channel *ch, struct async_check *check, struct outcome *o) {
	struct request *r = &check->request;

	*o = (struct outcome){.callback = check->callback, .arg = check->arg, .status = r->status < 0 ? r->status : 0};
	if (r->status < 0)
		channel_explain(ch, r, r->status);
	else if (r->status == REQUEST_DECIDE_ALONE)
		limiter_decide_alone(r->limiter, r->id, r->id_length, r->cost, &o->result);
	else
		o->result = request_result(r);
	TAILQ_INSERT_TAIL(&ch->async.unused, check, link);
}

static void run_callback(const struct outcome *o) {
	o->callback(o->status, o->status < 0 ? NULL : &o->result, o->arg);
}

/* ---- stint_dispatch() ---------------------------------------------------------- */

/* Takes in what came. What is finished now is due; what finishes while callbacks run is for the next time. */
static void collect_due(struct channel *ch) {
	struct async *a = &ch->async;

	pthread_mutex_lock(&ch->lock);
	if (!ch->led)
		channel_receive(ch);
	channel_look_for_agent(ch);
	time_out(ch, clock_fine_ns());
	TAILQ_CONCAT(&a->due, &a->finished, link);
	set_timer(ch);
	pthread_mutex_unlock(&ch->lock);
}

/* A void admission is asked for again while there is time: false then. */
static bool is_final(struct channel *ch, struct async_check *check) {
	struct request *r = &check->request;

	if (!request_is_void(r))
		return true;
	r->status = clock_fine_ns() < r->give_up_ns ? submit(ch, check) : REQUEST_DECIDE_ALONE;
	return r->status != 0;
}

static bool take_due(const struct visit *v, struct outcome *outcome) {
	struct channel *ch = v->channel;
	struct async_check *check;
	bool taken = false;

	if (!may_go_on(v))
		return false;
	pthread_mutex_lock(&ch->lock);
	while (!taken && (check = TAILQ_FIRST(&ch->async.due))) {
		TAILQ_REMOVE(&ch->async.due, check, link);
		taken = is_final(ch, check);
		if (taken)
			take_outcome(ch, check, outcome);
	}
	pthread_mutex_unlock(&ch->lock);
	return taken;
}

int stint_dispatch(struct stint *attachment) {
	struct channel *ch = attachment_find_channel(attachment);
	struct outcome outcome;
	struct visit visit;
	int count = 0;

	if (!ch || atomic_exchange(&ch->async.dispatching, true))
		return 0;
	collect_due(ch);
	begin_visit(&visit, ch);
	for (; take_due(&visit, &outcome); count++)
		run_callback(&outcome);
	if (may_go_on(&visit))
		atomic_store(&ch->async.dispatching, false);
	end_visit(&visit);
	return count;
}

/* ---- Checks that are given up ---------------------------------------------------- */

static void cancel(struct channel *ch, struct async_queue *queue, const struct stint_limiter *limiter) {
	struct async_check *check, *next;

	for (check = TAILQ_FIRST(queue); check; check = next) {
		next = TAILQ_NEXT(check, link);
		if (limiter && check->request.limiter != limiter)
			continue;
		channel_withdraw(ch, &check->request);
		check->request.status = STINT_ECANCELED;
		TAILQ_REMOVE(queue, check, link);
		TAILQ_INSERT_TAIL(&ch->async.cancelled, check, link);
	}
}

void async_cancel(struct channel *ch, const struct stint_limiter *limiter) {
	cancel(ch, &ch->async.pending, limiter);
	cancel(ch, &ch->async.finished, limiter);
	cancel(ch, &ch->async.due, limiter);
	set_timer(ch);
}

static bool take_cancelled(const struct visit *v, const struct stint_limiter *limiter, struct outcome *outcome) {
	struct channel *ch = v->channel;
	struct async_check *check;

	if (!may_go_on(v))
		return false;
	pthread_mutex_lock(&ch->lock);
	/* Others are there only when a callback frees a limiter, or two threads do. */
	TAILQ_FOREACH(check, &ch->async.cancelled, link) {
		if (!limiter || check->request.limiter == limiter)
			break;
	}
	if (check) {
		TAILQ_REMOVE(&ch->async.cancelled, check, link);
		take_outcome(ch, check, outcome);
	}
	pthread_mutex_unlock(&ch->lock);
	return check != NULL;
}

void async_run_cancelled(struct channel *ch, const struct stint_limiter *limiter) {
	struct outcome outcome;
	struct visit visit;

	begin_visit(&visit, ch);
	while (take_cancelled(&visit, limiter, &outcome))
		run_callback(&outcome);
	end_visit(&visit);
}
