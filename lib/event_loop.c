/*
 * event_loop.c - stint_fd(), stint_dispatch(), and how callbacks are run.
 */
#include "async.h"
#include "error.h"
#include "event_loop.h"

int stint_fd(struct stint *attachment) {
	struct conversation *c = attachment_conversation(attachment);

	return c ? async_start_watching(&c->async) : error_set(STINT_ESYSTEM, "no memory for stint_fd");
}

/*
 * A callback may free its limiter, close the attachment, or return in the child of a fork. So what is to be told is taken
 * out of the check before; and each function that calls back has a visit, on its stack, which says afterwards whether there
 * is still anything to go on with.
 */
struct visit {
	struct stint *attachment;
	struct conversation *conversation;
	bool ended; /* the attachment is gone */
	LIST_ENTRY(visit) link;
};

/* The thread's own, innermost first: a thread that a fork left behind in the parent must not be looked for. */
static _Thread_local LIST_HEAD(, visit) visits;

static void begin_visit(struct visit *v, struct stint *attachment, struct conversation *c) {
	*v = (struct visit){.attachment = attachment, .conversation = c};
	LIST_INSERT_HEAD(&visits, v, link);
}

static void end_visit(struct visit *v) {
	LIST_REMOVE(v, link);
}

/* What is the parent's, when this is a child that a callback made, is left to the parent. */
static bool may_go_on(const struct visit *v) {
	return !v->ended && attachment_find_conversation(v->attachment) == v->conversation;
}

void event_loop_end(const struct stint *attachment) {
	struct visit *v;

	LIST_FOREACH(v, &visits, link) {
		if (v->attachment == attachment)
			v->ended = true;
	}
}

static void run_callback(const struct async_outcome *o) {
	o->callback(o->status, o->status < 0 ? NULL : &o->result, o->arg);
}

int stint_dispatch(struct stint *attachment) {
	struct conversation *c = attachment_find_conversation(attachment);
	struct async_outcome outcome;
	struct visit visit;
	int count = 0;

	if (!c || atomic_exchange(&c->async.dispatching, true))
		return 0;
	async_collect_due(&c->async);
	begin_visit(&visit, attachment, c);
	for (; may_go_on(&visit) && async_take_due(&c->async, &outcome); count++)
		run_callback(&outcome);
	if (may_go_on(&visit))
		atomic_store(&c->async.dispatching, false);
	end_visit(&visit);
	return count;
}

static void give_up(struct conversation *c, struct stint_limiter *limiter) {
	pthread_mutex_lock(&c->channel.lock);
	async_cancel(&c->async, limiter);
	if (limiter)
		channel_forget(&c->channel, limiter);
	pthread_mutex_unlock(&c->channel.lock);
}

void event_loop_cancel(struct stint *attachment, struct stint_limiter *limiter) {
	struct conversation *c = attachment_find_conversation(attachment);
	struct async_outcome outcome;
	struct visit visit;

	if (!c)
		return;
	give_up(c, limiter);
	begin_visit(&visit, attachment, c);
	while (may_go_on(&visit) && async_take_cancelled(&c->async, limiter, &outcome))
		run_callback(&outcome);
	end_visit(&visit);
}
