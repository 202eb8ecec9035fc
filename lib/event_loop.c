/*
 * event_loop.c - stint_fd(), stint_dispatch(), stint_cancel(), and how callbacks are run.
 */
#include "async.h"
#include "error.h"
#include "event_loop.h"

int stint_fd(struct stint *attachment) {
	struct conversation *c = attachment_conversation(attachment);
	return c ? async_start_watching(&c->async) : error_set(STINT_ESYSTEM, "no memory for stint_fd");
}

/*
 * A callback may free its limiter, close the attachment, or return in the child of a fork. So the outcome is
 * copied out of the check before its callback runs. And each function that runs callbacks has a struct visit on
 * its stack, which tells it after each callback whether it may still use the attachment.
 */
struct visit {
	struct stint *attachment;
	struct conversation *conversation;
	bool ended; /* the attachment is being freed */
	LIST_ENTRY(visit) link;
};

/* The visits of this thread, innermost first. The list is per thread so that the child of a fork doesn't find
 * visits of threads that only its parent has. */
static _Thread_local LIST_HEAD(, visit) visits;

static void begin_visit(struct visit *v, struct stint *attachment, struct conversation *c) {
	*v = (struct visit){.attachment = attachment, .conversation = c};
	LIST_INSERT_HEAD(&visits, v, link);
}

static void end_visit(struct visit *v) {
	LIST_REMOVE(v, link);
}

/* False when a callback has closed the attachment, or has forked and this is the child: the conversation is the
 * parent's. */
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
	int count = 0;
	if (!c || atomic_exchange(&c->async.dispatching, true))
		return 0;
	async_collect_due(&c->async);
	struct visit visit;
	begin_visit(&visit, attachment, c);
	struct async_outcome outcome;
	for (; may_go_on(&visit) && async_take_due(&c->async, &outcome); count++)
		run_callback(&outcome);
	if (may_go_on(&visit))
		atomic_store(&c->async.dispatching, false);
	end_visit(&visit);
	return count;
}

int stint_cancel(struct stint *attachment, uint64_t ticket) {
	struct conversation *c = attachment_find_conversation(attachment);
	struct async_outcome outcome;
	if (!c || !async_cancel_one(&c->async, ticket, &outcome))
		return 0;
	run_callback(&outcome);
	return 1;
}

static void give_up(struct conversation *c, struct stint_limiter *limiter) {
	int cancel_state = channel_lock(&c->channel);
	async_cancel(&c->async, limiter);
	if (limiter)
		channel_forget(&c->channel, limiter);
	channel_unlock(&c->channel, cancel_state);
}

void event_loop_cancel(struct stint *attachment, struct stint_limiter *limiter) {
	struct conversation *c = attachment_find_conversation(attachment);
	if (!c)
		return;
	give_up(c, limiter);
	struct visit visit;
	begin_visit(&visit, attachment, c);
	struct async_outcome outcome;
	while (may_go_on(&visit) && async_take_cancelled(&c->async, limiter, &outcome))
		run_callback(&outcome);
	end_visit(&visit);
}
