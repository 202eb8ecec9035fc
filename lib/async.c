/*
 * async.c - checks that don't wait: stint_check_async() up to the table's miss,
 * stint_fd(), stint_dispatch().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

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
	atomic_init(&a->timer_fd, -1);
}

void async_close(struct async *a) {
	int fd = atomic_exchange(&a->timer_fd, -1);
	if (fd >= 0)
		close(fd);
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

/* ---- Descriptors ---------------------------------------------------------- */

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
	struct async *a = &ch->async;
	uint64_t at_ns = find_due_ns(ch);
	struct itimerspec spec = {.it_value = clock_timespec(at_ns)};

	if (!a->watching || a->timer_set_ns == at_ns)
		return;
	a->timer_set_ns = at_ns;
	/* Setting it also takes back an expiry that nobody has read. */
	timerfd_settime(atomic_load(&a->timer_fd), TFD_TIMER_ABSTIME, &spec, NULL);
}

void async_watch(struct channel *ch) {
	struct async *a = &ch->async;
	uint32_t wanted = ch->state == CHANNEL_AWAY ? 0 : EPOLLIN | (TAILQ_EMPTY(&ch->unsent) ? 0 : EPOLLOUT);
	struct epoll_event event = {.events = wanted};
	int operation = a->watched == 0 ? EPOLL_CTL_ADD : wanted == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

	set_timer(ch);
	if (!a->watching || a->watched == wanted)
		return;
	/* Refused for lack of memory: again with the next check. */
	if (epoll_ctl(atomic_load(&ch->attachment->epoll_fd), operation, atomic_load(&ch->fd), &event) == 0 || wanted == 0)
		a->watched = wanted;
}

/* Puts an epoll instance of this process's own behind the attachment's number, which a parent may share until now. */
static bool install_epoll(struct stint *attachment, int timer_fd) {
	struct epoll_event event = {.events = EPOLLIN};
	int number = atomic_load(&attachment->epoll_fd);
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return false;
	if (epoll_ctl(fd, EPOLL_CTL_ADD, timer_fd, &event) != 0 || (number >= 0 && dup3(fd, number, O_CLOEXEC) < 0)) {
		close(fd);
		return false;
	}
	if (number < 0)
		atomic_store(&attachment->epoll_fd, fd);
	else
		close(fd);
	return true;
}

static int start_watching(struct channel *ch) {
	struct async *a = &ch->async;
	int timer_fd;

	if (a->watching)
		return 0;
	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer_fd < 0 || !install_epoll(ch->attachment, timer_fd)) {
		int error = error_set(STINT_ESYSTEM, "no descriptor for stint_fd: %s", strerror(errno));
		if (timer_fd >= 0)
			close(timer_fd);
		return error;
	}
	atomic_store(&a->timer_fd, timer_fd);
	a->watching = true;
	async_watch(ch);
	set_timer(ch);
	return 0;
}

int stint_fd(struct stint *attachment) {
	struct channel *ch = attachment_channel(attachment);
	int error;

	if (!ch)
		return error_set(STINT_ESYSTEM, "no memory for stint_fd");
	pthread_mutex_lock(&ch->lock);
	error = start_watching(ch);
	pthread_mutex_unlock(&ch->lock);
	return error ? error : atomic_load(&attachment->epoll_fd);
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
