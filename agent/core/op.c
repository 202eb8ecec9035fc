/*
 * op.c - one client's request to the store, from the moment that somebody needs it until it is answered:
 * who waits for it, and in which of the two queues it stands.
 *
 * Urgent: somebody waits, or an active client runs low. Background: returns and charges.
 */
#include <stdlib.h>

#include "internal.h"

#define OPS_AT_START 64

void ops_init(struct core *core) {
	core->op_free = NO_OP;
	core->urgent = core->background = (struct op_queue){NO_OP, NO_OP};
}

static void drop_waiters(struct op *op) {
	for (struct waiter *w = op->first, *next; w; w = next) {
		next = w->next;
		free(w);
	}
	op->first = NULL;
	op->last = &op->first;
}

void ops_deinit(struct core *core) {
	for (uint32_t i = 0; i < core->op_count; i++)
		if (core->ops[i].state != OP_FREE)
			drop_waiters(&core->ops[i]);
	free(core->ops);
}

/* ---- Queues --------------------------------------------------------------- */

uint32_t op_index(const struct core *core, const struct op *op) {
	return (uint32_t)(op - core->ops);
}

static struct op_queue *queue_of(struct core *core, const struct op *op) {
	return op->state == OP_URGENT ? &core->urgent : &core->background;
}

void op_enqueue(struct core *core, struct op *op, enum op_state state) {
	op->state = (uint8_t)state;
	struct op_queue *queue = queue_of(core, op);
	uint32_t index = op_index(core, op);
	op->previous = queue->last;
	op->next = NO_OP;
	*(queue->last == NO_OP ? &queue->first : &core->ops[queue->last].next) = index;
	queue->last = index;
	core->background_count += state == OP_BACKGROUND;
}

static void enqueue_first(struct core *core, struct op *op) {
	uint32_t index = op_index(core, op);
	op->state = OP_URGENT;
	op->previous = NO_OP;
	op->next = core->urgent.first;
	*(op->next == NO_OP ? &core->urgent.last : &core->ops[op->next].previous) = index;
	core->urgent.first = index;
}

void op_dequeue(struct core *core, struct op *op) {
	struct op_queue *queue = queue_of(core, op);
	*(op->previous == NO_OP ? &queue->first : &core->ops[op->previous].next) = op->next;
	*(op->next == NO_OP ? &queue->last : &core->ops[op->next].previous) = op->previous;
	core->background_count -= op->state == OP_BACKGROUND;
}

static bool reserve_op(struct core *core) {
	if (core->op_free != NO_OP || core->op_count < core->op_capacity)
		return true;
	uint32_t capacity = core->op_capacity ? core->op_capacity * 2 : OPS_AT_START;
	if (capacity >= NO_OP)
		return false;
	struct op *ops = malloc(capacity * sizeof *ops);
	if (!ops)
		return false;
	for (uint32_t i = 0; i < core->op_count; i++) {
		ops[i] = core->ops[i];
		if (!ops[i].first) /* `last` points into the op itself */
			ops[i].last = &ops[i].first;
	}
	free(core->ops);
	core->ops = ops;
	core->op_capacity = capacity;
	return true;
}

struct op *op_for(struct core *core, uint32_t client) {
	struct client *c = client_at(core, client);
	if (c->op != NO_OP)
		return &core->ops[c->op];
	if (!reserve_op(core))
		return NULL;
	uint32_t index = core->op_free;
	if (index != NO_OP)
		core->op_free = core->ops[index].next;
	else
		index = core->op_count++;
	struct op *op = &core->ops[index];
	*op = (struct op){.client = client};
	op->last = &op->first;
	c->op = index & NO_OP;
	op_enqueue(core, op, OP_BACKGROUND);
	return op;
}

void op_free(struct core *core, struct op *op) {
	uint32_t client = op->client;
	drop_waiters(op);
	client_at(core, client)->op = NO_OP;
	op->state = OP_FREE;
	op->next = core->op_free;
	core->op_free = op_index(core, op);
	/* Nothing else remembers a client that the table has no room for. */
	if (client_at(core, client)->slot == TABLE_NO_SLOT)
		client_forget(core, client);
}

void op_make_urgent(struct core *core, struct op *op) {
	if (op->state != OP_BACKGROUND)
		return;
	op_dequeue(core, op);
	op_enqueue(core, op, OP_URGENT);
}

int op_add_waiter(struct op *op, uint64_t peer, uint32_t serial, uint32_t cost, int64_t expires_ns) {
	struct waiter *waiter = malloc(sizeof *waiter);
	if (!waiter)
		return -1;
	*waiter = (struct waiter){.peer = peer, .serial = serial, .cost = cost, .expires_ns = expires_ns};
	*op->last = waiter;
	op->last = &waiter->next;
	return 0;
}

void op_pop_waiter(struct op *op) {
	struct waiter *waiter = op->first;
	op->first = waiter->next;
	if (!op->first)
		op->last = &op->first;
	free(waiter);
}

/* Who has given up meanwhile isn't counted, and gets no answer. */
void op_drop_expired(struct op *op, int64_t now_ns) {
	uint32_t sent = op->sent_waiters;
	for (struct waiter **at = &op->first; *at;) {
		struct waiter *waiter = *at;
		bool was_sent = sent > 0;
		sent -= was_sent;
		if (waiter->expires_ns > now_ns) {
			at = &waiter->next;
			continue;
		}
		op->sent_waiters -= was_sent;
		*at = waiter->next;
		free(waiter);
	}
	op->last = &op->first;
	while (*op->last)
		op->last = &(*op->last)->next;
}

void op_requeue(struct core *core, struct op *op) {
	/* What was rejected goes alone: behind urgent ones it would never be its turn, nor that of those behind it. */
	bool was_rejected = op->grouped || op->rejections > 0;
	bool asks = op->first || op->wants_more || op->wants_next;
	bool owes = op->debt.charge > 0 || op->return_sub_window;
	if (op->grouped && op->rejections > 0 && (asks || owes)) /* of a group of which one is to be found, before the next group */
		enqueue_first(core, op);
	else if (asks || (owes && was_rejected))
		op_enqueue(core, op, OP_URGENT);
	else if (owes)
		op_enqueue(core, op, OP_BACKGROUND);
	else
		op_free(core, op);
}
