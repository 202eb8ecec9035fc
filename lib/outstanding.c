/*
 * outstanding.c - finds requests by serial, sends the next message of each, and
 * ends them.
 */
#include "outstanding.h"

void outstanding_init(struct outstanding *o, const struct descriptor *socket) {
	o->socket = socket;
	TAILQ_INIT(&o->unsent);
	LIST_INIT(&o->declaring);
}

/* ---- Requests ------------------------------------------------------------- */

static struct request_chain *chain_of(struct outstanding *o, uint32_t serial) {
	return &o->chain[serial % REQUEST_CHAINS];
}

struct request *outstanding_find(struct outstanding *o, uint32_t serial) {
	struct request *r;
	LIST_FOREACH(r, chain_of(o, serial), same_hash) {
		if (r->serial == serial)
			return r->step == REQUEST_WANTING ? r : NULL;
	}
	return NULL;
}

static void set_unsent(struct outstanding *o, struct request *r, bool unsent) {
	if (r->unsent == unsent)
		return;
	r->unsent = unsent;
	if (unsent)
		TAILQ_INSERT_TAIL(&o->unsent, r, unsent_link);
	else
		TAILQ_REMOVE(&o->unsent, r, unsent_link);
	o->unsent_changed = true;
}

void outstanding_remove(struct outstanding *o, struct request *r) {
	if (r->step == REQUEST_FINISHED)
		return;
	set_unsent(o, r, false);
	LIST_REMOVE(r, same_hash);
	o->count--;
	r->step = REQUEST_FINISHED;
}

void outstanding_finish(struct outstanding *o, struct request *r, int status) {
	outstanding_remove(o, r);
	r->status = status;
	r->finished(r);
}

void outstanding_for_each(struct outstanding *o, void (*action)(void *context, struct request *), void *context) {
	for (unsigned i = 0; i < REQUEST_CHAINS; i++) {
		struct request *r, *next;

		for (r = LIST_FIRST(&o->chain[i]); r; r = next) {
			next = LIST_NEXT(r, same_hash);
			action(context, r);
		}
	}
}

/* ---- The connection ---------------------------------------------------------- */

void outstanding_connect(struct outstanding *o, uint64_t connection) {
	o->connection = connection;
	o->ready = false;
	LIST_INIT(&o->declaring);
}

static void advance(void *context, struct request *r) {
	outstanding_advance(context, r);
}

void outstanding_welcome(struct outstanding *o) {
	o->ready = true;
	outstanding_for_each(o, advance, o);
}

void outstanding_disconnect(struct outstanding *o) {
	o->ready = false;
}

/* ---- The next message ----------------------------------------------------- */

bool outstanding_is_declared(const struct outstanding *o, const struct stint_limiter *limiter) {
	return o->ready && atomic_load(&limiter->declared_on) == o->connection;
}

static bool is_declaring(const struct outstanding *o, const struct stint_limiter *limiter) {
	return limiter->declaring_on != 0 && limiter->declaring_on == o->connection;
}

static enum request_step next_step(const struct outstanding *o, const struct request *r) {
	if (!o->ready)
		return REQUEST_ATTACHING;
	return outstanding_is_declared(o, r->question.limiter) ? REQUEST_WANTING : REQUEST_DECLARING;
}

/* A request that waits for WELCOME, or for the answer to another request's DECLARE, has nothing to send. */
static bool has_something_to_say(const struct outstanding *o, const struct request *r) {
	return r->step == REQUEST_WANTING || (r->step == REQUEST_DECLARING && !is_declaring(o, r->question.limiter));
}

static bool say_declare(struct outstanding *o, struct stint_limiter *limiter) {
	if (!request_send_declare(limiter, ++o->last_serial, atomic_load(&o->socket->number)))
		return false;
	limiter->declare_serial = o->last_serial;
	limiter->declaring_on = o->connection;
	LIST_INSERT_HEAD(&o->declaring, limiter, declaring_link);
	return true;
}

static bool say_want(struct outstanding *o, struct request *r) {
	r->declare_serial = r->question.limiter->declare_serial;
	return request_send_want(r, atomic_load(&o->socket->number));
}

/* Sends the request's next message, if it has one. Returns false when the socket is full. */
static bool say(struct outstanding *o, struct request *r) {
	if (!has_something_to_say(o, r))
		return true;
	return r->step == REQUEST_WANTING ? say_want(o, r) : say_declare(o, r->question.limiter);
}

void outstanding_advance(struct outstanding *o, struct request *r) {
	r->step = next_step(o, r);
	/* A request waits behind the unsent ones even when the socket has room again: first come, first sent. */
	set_unsent(o, r, has_something_to_say(o, r) && (!TAILQ_EMPTY(&o->unsent) || !say(o, r)));
}

void outstanding_add(struct outstanding *o, struct request *r) {
	LIST_INSERT_HEAD(chain_of(o, r->serial), r, same_hash);
	o->count++;
	r->unsent = false;
	outstanding_advance(o, r);
}

void outstanding_send_leftovers(struct outstanding *o) {
	struct request *r;
	while ((r = TAILQ_FIRST(&o->unsent))) {
		/* Meanwhile its policy may have been declared, or dropped by the agent. */
		r->step = next_step(o, r);
		if (!say(o, r))
			return;
		set_unsent(o, r, false);
	}
}

/* ---- Answers to DECLARE ---------------------------------------------------- */

struct stint_limiter *outstanding_find_declaring(struct outstanding *o, uint32_t serial) {
	struct stint_limiter *limiter;
	LIST_FOREACH(limiter, &o->declaring, declaring_link) {
		if (limiter->declare_serial == serial)
			return limiter;
	}
	return NULL;
}

void outstanding_forget(struct outstanding *o, struct stint_limiter *limiter) {
	if (!is_declaring(o, limiter))
		return;
	LIST_REMOVE(limiter, declaring_link);
	limiter->declaring_on = 0;
}

static void release(struct outstanding *o, struct request *r, int status) {
	if (status != 0)
		outstanding_finish(o, r, status);
	else
		outstanding_advance(o, r);
}

void outstanding_declared(struct outstanding *o, struct stint_limiter *limiter, int status) {
	outstanding_forget(o, limiter);
	if (status == 0)
		atomic_store(&limiter->declared_on, o->connection);
	for (unsigned i = 0; i < REQUEST_CHAINS; i++) {
		struct request *r, *next;

		for (r = LIST_FIRST(&o->chain[i]); r; r = next) {
			next = LIST_NEXT(r, same_hash);
			if (r->step == REQUEST_DECLARING && r->question.limiter == limiter)
				release(o, r, status);
		}
	}
}

/*
 * The request declares the dropped policy once more, unless its limiter is must_exist. Many requests may get the
 * same answer: the first of them sends the DECLARE, and those that get it once the policy is declared again just
 * send WANT again.
 */
bool outstanding_declare_again(struct outstanding *o, struct request *r) {
	if (r->declare_serial == r->question.limiter->declare_serial)
		atomic_store(&r->question.limiter->declared_on, 0);
	if (r->redeclared || r->question.limiter->declaration.head.flags & WIRE_DECLARE_MUST_EXIST)
		return false;
	r->redeclared = true;
	outstanding_advance(o, r);
	return true;
}
