/*
 * async.c - moves asynchronous checks from queue to queue, and sets what
 * stint_fd() watches.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "async.h"
#include "clock.h"
#include "count.h"
#include "error.h"

_Static_assert(ASYNC_CHUNK *ASYNC_CHUNKS == STINT_ASYNC_MAX, "chunks");

struct async_check {
	struct request request; /* first, so that a finished request can be cast to its check */
	struct async *async;
	struct async_queue *queue;     /* in which it is */
	TAILQ_ENTRY(async_check) link; /* in this queue */
	stint_callback *callback;
	void *arg;
	struct together *together; /* of a check of several limiters; else NULL */
	uint64_t ticket;           /* 0: it is unused */
	uint16_t number;           /* its place in the chunks */
	char id[STINT_CLIENT_ID_MAX];
};

/*
 * A ticket says where its check is: the lowest 16 bits are its number in the chunks. The 40 bits above count the
 * checks, and the upper 8 tell the process: a child of a fork can't take its parent's ticket for one of its own.
 */
#define TICKET_NUMBER_BITS 16
#define TICKET_COUNT_MASK  ((UINT64_C(1) << 40) - 1)
#define TICKET_PROCESS_BIT 56
_Static_assert(STINT_ASYNC_MAX <= 1 << TICKET_NUMBER_BITS, "a check's number fits into a ticket");

void async_init(struct async *a, struct channel *channel, uint64_t process) {
	a->channel = channel;
	a->process = process;
	TAILQ_INIT(&a->unused);
	TAILQ_INIT(&a->pending);
	TAILQ_INIT(&a->finished);
	TAILQ_INIT(&a->due);
	TAILQ_INIT(&a->cancelled);
	a->next_timeout_ns = UINT64_MAX;
	watch_init(&a->watch);
}

void async_destroy(struct async *a) {
	watch_close(&a->watch);
	/* Not by their count: a fork may have come between the count and the chunk. */
	for (unsigned i = 0; i < ASYNC_CHUNKS && a->chunk[i]; i++) {
		for (unsigned j = 0; j < ASYNC_CHUNK; j++)
			free(a->chunk[i][j].together);
		free(a->chunk[i]);
	}
}

/* ---- The queues ----------------------------------------------------------- */

static void join(struct async_check *check, struct async_queue *queue) {
	check->queue = queue;
	TAILQ_INSERT_TAIL(queue, check, link);
}

static void leave(struct async_check *check) {
	TAILQ_REMOVE(check->queue, check, link);
}

static void move(struct async_check *check, struct async_queue *to) {
	leave(check);
	join(check, to);
}

/* ---- The pool ------------------------------------------------------------- */

static int grow(struct async *a) {
	if (a->chunk_count == ASYNC_CHUNKS)
		return error_set(STINT_EBUSY, "%d asynchronous checks are pending", STINT_ASYNC_MAX);
	struct async_check *chunk = calloc(ASYNC_CHUNK, sizeof(*chunk));
	if (!chunk)
		return error_set(STINT_ENOMEM, "no memory for asynchronous checks");
	for (unsigned i = 0; i < ASYNC_CHUNK; i++) {
		chunk[i].number = (uint16_t)(a->chunk_count * ASYNC_CHUNK + i);
		join(&chunk[i], &a->unused);
	}
	a->chunk[a->chunk_count++] = chunk;
	return 0;
}

static uint64_t make_ticket(struct async *a, const struct async_check *check) {
	a->ticket_count = a->ticket_count % TICKET_COUNT_MASK + 1; /* never 0, so no ticket is */
	return a->process << TICKET_PROCESS_BIT | a->ticket_count << TICKET_NUMBER_BITS | check->number;
}

/* Returns the check that has this ticket, or NULL if it has ended. */
static struct async_check *find_ticket(const struct async *a, uint64_t ticket) {
	unsigned number = ticket & ((1u << TICKET_NUMBER_BITS) - 1);
	if (ticket == 0 || number / ASYNC_CHUNK >= a->chunk_count)
		return NULL;
	struct async_check *check = &a->chunk[number / ASYNC_CHUNK][number % ASYNC_CHUNK];
	return check->ticket == ticket ? check : NULL;
}

/* ---- stint_fd() ------------------------------------------------------------- */

/* Returns when stint_dispatch() has something to do without a message; 0: never. */
static uint64_t find_due_ns(const struct async *a) {
	const struct channel *ch = a->channel;
	if (!TAILQ_EMPTY(&a->finished))
		return 1;
	if (ch->state == CHANNEL_AWAY && !TAILQ_EMPTY(&a->pending) && ch->next_attempt_ns < a->next_timeout_ns)
		return ch->next_attempt_ns;
	return a->next_timeout_ns == UINT64_MAX ? 0 : a->next_timeout_ns;
}

static void set_timer(struct async *a) {
	if (!a->collecting)
		watch_set_timer(&a->watch, find_due_ns(a));
}

void async_watch(void *async) {
	struct async *a = async;
	const struct channel *ch = a->channel;
	uint32_t events = EPOLLIN | (TAILQ_EMPTY(&ch->outstanding.unsent) ? 0 : EPOLLOUT);
	set_timer(a);
	watch_set_socket(&a->watch, atomic_load(&ch->socket.number), ch->state == CHANNEL_AWAY ? 0 : events);
}

int async_start_watching(struct async *a) {
	int cancel_state = channel_lock(a->channel);
	int fd;
	if (watch_start(&a->watch)) {
		async_watch(a);
		fd = atomic_load(&a->watch.epoll_fd);
	} else {
		fd = error_set(STINT_ESYSTEM, "no descriptor for stint_fd: %s", strerror(errno));
	}
	channel_unlock(a->channel, cancel_state);
	return fd;
}

/* ---- Checks ---------------------------------------------------------------- */

/* A request_finished: the check's callback runs in the next stint_dispatch(). */
static void move_to_finished(struct request *r) {
	struct async_check *check = (struct async_check *)r;
	struct async *a = check->async;
	move(check, &a->finished);
	set_timer(a);
}

/* Submits a check that is in no queue. Returns 0 if it is pending now, else what channel_submit() returned. */
static int submit(struct async *a, struct async_check *check) {
	int status = channel_submit(a->channel, &check->request);
	if (status != 0)
		return status;
	async_watch(a);
	join(check, &a->pending);
	if (check->request.give_up_ns < a->next_timeout_ns)
		a->next_timeout_ns = check->request.give_up_ns;
	set_timer(a);
	return 0;
}

/* Submits the check, gives it a ticket, and says what was wrong if that isn't possible. The caller has filled in
 * what it is about, and holds the lock. */
static int begin(struct async *a, struct async_check *check, stint_callback *callback, void *arg,
                 uint64_t *ticket) {
	check->callback = callback;
	check->arg = arg;
	int status = submit(a, check);
	if (status == 0)
		*ticket = check->ticket = make_ticket(a, check);
	else
		join(check, &a->unused);
	if (status < 0)
		channel_explain(a->channel, &check->request, status);
	return status;
}

/* Takes a check out of the pool; NULL, and an error, if there is none. The caller holds the lock. */
static struct async_check *take_unused(struct async *a, int *error) {
	*error = TAILQ_EMPTY(&a->unused) ? grow(a) : 0;
	if (*error)
		return NULL;
	struct async_check *check = TAILQ_FIRST(&a->unused);
	leave(check);
	check->async = a;
	return check;
}

int async_start(struct async *a, const struct question *question, stint_callback *callback, void *arg,
                uint64_t *ticket) {
	int status;
	int cancel_state = channel_lock(a->channel);
	struct async_check *check = take_unused(a, &status);
	if (check) {
		memcpy(check->id, question->id, question->length);
		check->request = request_make(question, move_to_finished);
		check->request.question.id = check->id;
		status = begin(a, check, callback, arg, ticket);
	}
	channel_unlock(a->channel, cancel_state);
	return status;
}

static void ask_about_part(struct async_check *check) {
	struct question question = together_question(check->together);
	check->request = request_make(&question, move_to_finished);
}

int async_start_together(struct async *a, struct together *together, stint_callback *callback, void *arg,
                         uint64_t *ticket) {
	int status;
	int cancel_state = channel_lock(a->channel);
	struct async_check *check = take_unused(a, &status);
	if (check) {
		check->together = together;
		ask_about_part(check);
		status = begin(a, check, callback, arg, ticket);
		if (status != 0)
			check->together = NULL;
		if (status < 0)
			together_blame(together, status);
	}
	channel_unlock(a->channel, cancel_state);
	return status;
}

/* Finishes the checks whose time is up. next_timeout_ns may be too early, since a check that is answered doesn't
 * change it; then this only looks at all of them, once a timeout. */
static void time_out(struct async *a, uint64_t now_ns) {
	if (now_ns < a->next_timeout_ns)
		return;
	/* If this process was stopped, the answers may lie in the socket. */
	channel_receive(a->channel);
	a->next_timeout_ns = UINT64_MAX;
	struct async_check *next;
	for (struct async_check *check = TAILQ_FIRST(&a->pending); check; check = next) {
		next = TAILQ_NEXT(check, link);
		if (now_ns >= check->request.give_up_ns) {
			channel_give_up(a->channel, &check->request);
			move_to_finished(&check->request);
		} else if (check->request.give_up_ns < a->next_timeout_ns) {
			a->next_timeout_ns = check->request.give_up_ns;
		}
	}
}

/* ---- Outcomes ------------------------------------------------------------------ */

static void explain(const struct async *a, const struct async_check *check) {
	int error = check->request.status;
	channel_explain(a->channel, &check->request, error);
	if (check->together && error != STINT_ECANCELED)
		together_blame(check->together, error);
}

/* A child that is forked by another thread meanwhile, and frees its copy, must not find what is free already. */
static void free_together(struct async_check *check) {
	struct together *together = check->together;
	check->together = NULL;
	atomic_signal_fence(memory_order_seq_cst);
	free(together);
}

/* Verdicts of several limiters are counted by together.c; what takes nothing isn't counted. */
static void count(const struct async_check *check, const struct async_outcome *o) {
	const struct question *q = &check->request.question;
	if (q->look && !check->together)
		return;
	if (o->status != 0)
		count_error(q->limiter, o->status);
	else if (!check->together)
		count_verdict(q->limiter, &o->result);
}

/* Takes the outcome out of a check that is in no queue, and makes the check unused. */
static void take_outcome(struct async *a, struct async_check *check, struct async_outcome *o) {
	struct request *r = &check->request;
	*o = (struct async_outcome){.callback = check->callback,
	                            .arg = check->arg,
	                            .status = r->status < 0 ? r->status : 0};
	if (r->status < 0)
		explain(a, check);
	else if (check->together)
		o->result = check->together->result;
	else if (r->status == REQUEST_DECIDE_ALONE)
		limiter_decide_alone(&r->question, &o->result);
	else
		o->result = request_result(r);
	if (o->status == 0 && !check->together)
		limiter_tell(r->question.limiter, &o->result);
	count(check, o);
	check->ticket = 0;
	free_together(check);
	join(check, &a->unused);
}

void async_collect_due(struct async *a) {
	struct channel *ch = a->channel;
	int cancel_state = channel_lock(ch);
	a->collecting = true;
	/* A thread that sleeps on the socket takes in what comes, but doesn't know of a request that has found the
	 * socket full since. */
	if (!ch->led || !TAILQ_EMPTY(&ch->outstanding.unsent))
		channel_receive(ch);
	channel_look_for_agent(ch);
	time_out(a, clock_fine_ns());
	struct async_check *check;
	while ((check = TAILQ_FIRST(&a->finished)))
		move(check, &a->due);
	a->collecting = false;
	set_timer(a);
	channel_unlock(ch, cancel_state);
}

/* Goes on with a check of several limiters after the agent's answer about one of them. Returns false if it is
 * pending again. */
static bool conclude_together(struct async *a, struct async_check *check) {
	struct together *t = check->together;
	while (check->request.status >= 0) {
		struct stint_result verdict = request_result(&check->request);
		if (together_hear(t, check->request.status, &verdict) || together_decide(t)) {
			check->request.status = 0;
			together_tell_low(t, a->channel);
			return true;
		}
		ask_about_part(check);
		check->request.status = submit(a, check);
		if (check->request.status == 0)
			return false;
	}
	return true;
}

/* Makes what the agent has answered the outcome. Or asks it again, of the next limiter, or for an admission that
 * is void, while there is time: then returns false, and the check is pending again. */
static bool conclude(struct async *a, struct async_check *check) {
	struct request *r = &check->request;
	if (check->together)
		return conclude_together(a, check);
	if (!request_is_void(r))
		return true;
	r->status = clock_fine_ns() < r->give_up_ns ? submit(a, check) : REQUEST_DECIDE_ALONE;
	return r->status != 0;
}

bool async_take_due(struct async *a, struct async_outcome *outcome) {
	bool taken = false;
	int cancel_state = channel_lock(a->channel);
	struct async_check *check;
	while (!taken && (check = TAILQ_FIRST(&a->due))) {
		leave(check);
		taken = conclude(a, check);
		if (taken)
			take_outcome(a, check, outcome);
	}
	channel_unlock(a->channel, cancel_state);
	return taken;
}

/* ---- Cancelled checks ------------------------------------------------------------ */

/* The answer to the check will be ignored. */
static void withdraw(struct async *a, struct async_check *check) {
	channel_withdraw(a->channel, &check->request);
	check->request.status = STINT_ECANCELED;
}

/* Whether the check is one of the limiter's; each is if that is NULL. */
static bool is_of(const struct async_check *check, const struct stint_limiter *limiter) {
	if (!limiter || check->request.question.limiter == limiter)
		return true;
	return check->together && together_has(check->together, limiter);
}

static void cancel_all(struct async *a, struct async_queue *queue, const struct stint_limiter *limiter) {
	struct async_check *next;
	for (struct async_check *check = TAILQ_FIRST(queue); check; check = next) {
		next = TAILQ_NEXT(check, link);
		if (!is_of(check, limiter))
			continue;
		withdraw(a, check);
		move(check, &a->cancelled);
	}
}

void async_cancel(struct async *a, const struct stint_limiter *limiter) {
	cancel_all(a, &a->pending, limiter);
	cancel_all(a, &a->finished, limiter);
	cancel_all(a, &a->due, limiter);
	set_timer(a);
}

bool async_cancel_one(struct async *a, uint64_t ticket, struct async_outcome *outcome) {
	int cancel_state = channel_lock(a->channel);
	struct async_check *check = find_ticket(a, ticket);
	if (check) {
		withdraw(a, check);
		leave(check);
		take_outcome(a, check, outcome);
		set_timer(a);
	}
	channel_unlock(a->channel, cancel_state);
	return check != NULL;
}

bool async_take_cancelled(struct async *a, const struct stint_limiter *limiter, struct async_outcome *outcome) {
	int cancel_state = channel_lock(a->channel);
	struct async_check *check;
	/* Checks of another limiter are in this queue only when a callback frees a limiter, or two threads free one
	 * each. */
	TAILQ_FOREACH(check, &a->cancelled, link) {
		if (is_of(check, limiter))
			break;
	}
	if (check) {
		leave(check);
		take_outcome(a, check, outcome);
	}
	channel_unlock(a->channel, cancel_state);
	return check != NULL;
}
