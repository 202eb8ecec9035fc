/*
 * outstanding.c - see outstanding.h.
 */
#include "attachment.h"
#include "channel.h"
#include "request.h"
#include "outstanding.h"

/* ---- Requests ------------------------------------------------------------- */

static struct request_chain *chain_of(struct channel *ch, uint32_t serial) {
	return &ch->outstanding[serial % REQUEST_CHAINS];
}

struct request *outstanding_find(struct channel *ch, uint32_t serial) {
	struct request *r;

	LIST_FOREACH(r, chain_of(ch, serial), same_hash) {
		if (r->serial == serial)
			return r->step == REQUEST_WANTING ? r : NULL;
	}
	return NULL;
}

static void set_unsent(struct channel *ch, struct request *r, bool unsent) {
	if (r->unsent == unsent)
		return;
	r->unsent = unsent;
	if (unsent)
		TAILQ_INSERT_TAIL(&ch->unsent, r, unsent_link);
	else
		TAILQ_REMOVE(&ch->unsent, r, unsent_link);
	async_watch(ch);
}

void outstanding_remove(struct channel *ch, struct request *r) {
	if (r->step == REQUEST_FINISHED)
		return;
	set_unsent(ch, r, false);
	LIST_REMOVE(r, same_hash);
	ch->outstanding_count--;
	r->step = REQUEST_FINISHED;
}

void outstanding_finish(struct channel *ch, struct request *r, int status) {
	outstanding_remove(ch, r);
	r->status = status;
	r->finished(ch, r);
}

void outstanding_for_each(struct channel *ch, void (*action)(struct channel *, struct request *)) {
	for (unsigned i = 0; i < REQUEST_CHAINS; i++) {
		struct request *r, *next;

		for (r = LIST_FIRST(&ch->outstanding[i]); r; r = next) {
			next = LIST_NEXT(r, same_hash);
			action(ch, r);
		}
	}
}

/* ---- What is next to say --------------------------------------------------- */

bool outstanding_is_declared(const struct channel *ch, const struct stint_limiter *limiter) {
	return ch->state == CHANNEL_READY && atomic_load(&limiter->declared_on) == atomic_load(&ch->connection);
}

static bool is_declaring(const struct channel *ch, const struct stint_limiter *limiter) {
	return limiter->declaring_on != 0 && limiter->declaring_on == atomic_load(&ch->connection);
}

static enum request_step next_step(const struct channel *ch, const struct request *r) {
	if (ch->state != CHANNEL_READY)
		return REQUEST_ATTACHING;
	return outstanding_is_declared(ch, r->limiter) ? REQUEST_WANTING : REQUEST_DECLARING;
}

/* A request that waits for WELCOME, or for the DECLARE that another one has sent, has nothing to say. */
static bool has_something_to_say(const struct channel *ch, const struct request *r) {
	return r->step == REQUEST_WANTING || (r->step == REQUEST_DECLARING && !is_declaring(ch, r->limiter));
}

static bool say_declare(struct channel *ch, struct stint_limiter *limiter) {
	if (!request_send_declare(limiter, ++ch->last_serial, atomic_load(&ch->socket.number)))
		return false;
	limiter->declare_serial = ch->last_serial;
	limiter->declaring_on = atomic_load(&ch->connection);
	LIST_INSERT_HEAD(&ch->declaring, limiter, declaring_link);
	return true;
}

static bool say_want(struct channel *ch, struct request *r) {
	r->declare_serial = r->limiter->declare_serial;
	return request_send_want(r, atomic_load(&ch->socket.number));
}

/* False when the socket is full. */
static bool say(struct channel *ch, struct request *r) {
	if (!has_something_to_say(ch, r))
		return true;
	return r->step == REQUEST_WANTING ? say_want(ch, r) : say_declare(ch, r->limiter);
}

void outstanding_advance(struct channel *ch, struct request *r) {
	r->step = next_step(ch, r);
	/* Who came first goes first, also when the socket has room again. */
	set_unsent(ch, r, has_something_to_say(ch, r) && (!TAILQ_EMPTY(&ch->unsent) || !say(ch, r)));
}

void outstanding_add(struct channel *ch, struct request *r) {
	LIST_INSERT_HEAD(chain_of(ch, r->serial), r, same_hash);
	ch->outstanding_count++;
	r->unsent = false;
	outstanding_advance(ch, r);
}

void outstanding_send_leftovers(struct channel *ch) {
	struct request *r;

	while ((r = TAILQ_FIRST(&ch->unsent))) {
		/* Its policy may have been declared since, or forgotten. */
		r->step = next_step(ch, r);
		if (!say(ch, r))
			return;
		set_unsent(ch, r, false);
	}
}

/* ---- Answers to DECLARE ---------------------------------------------------- */

struct stint_limiter *outstanding_find_declaring(struct channel *ch, uint32_t serial) {
	struct stint_limiter *limiter;

	LIST_FOREACH(limiter, &ch->declaring, declaring_link) {
		if (limiter->declare_serial == serial)
			return limiter;
	}
	return NULL;
}

void outstanding_forget(struct channel *ch, struct stint_limiter *limiter) {
	if (!is_declaring(ch, limiter))
		return;
	LIST_REMOVE(limiter, declaring_link);
	limiter->declaring_on = 0;
}

static void release(struct channel *ch, struct request *r, int status) {
	if (status != 0)
		outstanding_finish(ch, r, status);
	else
		outstanding_advance(ch, r);
}

void outstanding_declared(struct channel *ch, struct stint_limiter *limiter, int status) {
	outstanding_forget(ch, limiter);
	if (status == 0)
		atomic_store(&limiter->declared_on, atomic_load(&ch->connection));
	for (unsigned i = 0; i < REQUEST_CHAINS; i++) {
		struct request *r, *next;

		for (r = LIST_FIRST(&ch->outstanding[i]); r; r = next) {
			next = LIST_NEXT(r, same_hash);
			if (r->step == REQUEST_DECLARING && r->limiter == limiter)
				release(ch, r, status);
		}
	}
}

/*
 * Dropped since it was declared: to be declared once more, unless it is only to be found. Many may be told so; the first
 * of them declares it, and those who are told after it was declared again just ask again.
 */
bool outstanding_declare_again(struct channel *ch, struct request *r) {
	if (r->declare_serial == r->limiter->declare_serial)
		atomic_store(&r->limiter->declared_on, 0);
	if (r->redeclared || r->limiter->declaration.head.flags & WIRE_DECLARE_MUST_EXIST)
		return false;
	r->redeclared = true;
	outstanding_advance(ch, r);
	return true;
}
