/*
 * op.c - one client's request to the store, from the moment that somebody needs it until it is answered:
 * who waits for it, and in which of the two queues it stands.
 *
 * Urgent: somebody waits, or an active client runs low. Background: returns and charges.
 */
#include <sys/mman.h>

#include "internal.h"

/* Who waits beyond so many is told that there is no memory: an app that asks and asks must not fill it. */
#define WAITERS_MAX 65536u

/* Numbers whose memory is kept when no op is left. */
#define OPS_KEPT 4096u

/* Where an op lies, by its number. Of a free number: the next free one, twice, and one, which no address is. */
static void *free_mark(uint32_t next) {
	return (void *)((uintptr_t)next * 2 + 1);
}

static uint32_t next_free(const void *mark) {
	return (uint32_t)((uintptr_t)mark / 2);
}

static size_t ops_bytes(const struct core *core) {
	return core->op_capacity * sizeof *core->ops;
}

int ops_init(struct core *core, uint32_t clients) {
	core->op_free = NO_OP;
	core->urgent = core->background = (struct op_queue){NO_OP, NO_OP};
	core->op_capacity = clients < NO_OP ? clients : NO_OP;
	void *ops = mmap(NULL, ops_bytes(core), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ops == MAP_FAILED)
		return -1;
	core->ops = ops;
	return 0;
}

void ops_deinit(struct core *core) {
	slab_deinit(&core->op_slab);
	if (core->ops)
		munmap(core->ops, ops_bytes(core));
}

/* ---- Queues --------------------------------------------------------------- */

static struct op_queue *queue_of(struct core *core, const struct op *op) {
	return op->state == OP_URGENT ? &core->urgent : &core->background;
}

void op_enqueue(struct core *core, struct op *op, enum op_state state) {
	op->state = (uint8_t)state;
	struct op_queue *queue = queue_of(core, op);
	uint32_t index = op->index;
	op->previous = queue->last;
	op->next = NO_OP;
	*(queue->last == NO_OP ? &queue->first : &core->ops[queue->last]->next) = index;
	queue->last = index;
	core->background_count += state == OP_BACKGROUND;
}

static void enqueue_first(struct core *core, struct op *op) {
	uint32_t index = op->index;
	op->state = OP_URGENT;
	op->previous = NO_OP;
	op->next = core->urgent.first;
	*(op->next == NO_OP ? &core->urgent.last : &core->ops[op->next]->previous) = index;
	core->urgent.first = index;
}

void op_dequeue(struct core *core, struct op *op) {
	struct op_queue *queue = queue_of(core, op);
	*(op->previous == NO_OP ? &queue->first : &core->ops[op->previous]->next) = op->next;
	*(op->next == NO_OP ? &queue->last : &core->ops[op->next]->previous) = op->previous;
	core->background_count -= op->state == OP_BACKGROUND;
}

/* A number and a place for one more; NULL without memory. */
static struct op *new_op(struct core *core) {
	if (core->op_free == NO_OP && core->op_high == core->op_capacity)
		return NULL;
	struct op *op = slab_new(&core->op_slab, sizeof *op);
	if (!op)
		return NULL;
	uint32_t index = core->op_free;
	if (index != NO_OP)
		core->op_free = next_free(core->ops[index]);
	else
		index = core->op_high++;
	core->ops[index] = op;
	core->op_count++;
	*op = (struct op){.index = index};
	op->last = &op->first;
	return op;
}

static void drop_op(struct core *core, struct op *op) {
	uint32_t index = op->index;
	slab_free(&core->op_slab, op, sizeof *op);
	core->ops[index] = free_mark(core->op_free);
	core->op_free = index;
	if (--core->op_count > 0)
		return;
	core->op_free = NO_OP;
	if (core->op_high > OPS_KEPT)
		madvise(core->ops, ops_bytes(core), MADV_DONTNEED);
	core->op_high = 0;
}

struct op *op_for(struct core *core, uint32_t client) {
	struct client *c = client_at(core, client);
	if (c->op != NO_OP)
		return core->ops[c->op];
	struct op *op = new_op(core);
	if (!op)
		return NULL;
	op->client = client;
	c->op = op->index & NO_OP;
	op_enqueue(core, op, OP_BACKGROUND);
	return op;
}

static void free_waiter(struct core *core, struct waiter *waiter) {
	slab_free(&core->op_slab, waiter, sizeof *waiter);
	core->waiter_count--;
}

void op_free(struct core *core, struct op *op) {
	uint32_t client = op->client;
	while (op->first)
		op_pop_waiter(core, op);
	client_at(core, client)->op = NO_OP;
	drop_op(core, op);
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

int op_add_waiter(struct core *core, struct op *op, uint64_t peer, uint32_t serial, uint32_t cost, int64_t expires_ns) {
	struct waiter *waiter = core->waiter_count < WAITERS_MAX ? slab_new(&core->op_slab, sizeof *waiter) : NULL;
	if (!waiter)
		return -1;
	core->waiter_count++;
	*waiter = (struct waiter){.peer = peer, .serial = serial, .cost = cost, .expires_ns = expires_ns};
	*op->last = waiter;
	op->last = &waiter->next;
	return 0;
}

void op_remove_waiter(struct core *core, struct op *op, struct waiter **at) {
	struct waiter *waiter = *at;
	*at = waiter->next;
	if (!*at)
		op->last = at;
	free_waiter(core, waiter);
}

void op_pop_waiter(struct core *core, struct op *op) {
	op_remove_waiter(core, op, &op->first);
}

/* Who has given up meanwhile isn't counted, and gets no answer. */
void op_drop_expired(struct core *core, struct op *op, int64_t now_ns) {
	uint32_t sent = op->sent_waiters;
	for (struct waiter **at = &op->first; *at;) {
		bool was_sent = sent > 0;
		sent -= was_sent;
		if ((*at)->expires_ns > now_ns) {
			at = &(*at)->next;
			continue;
		}
		op->sent_waiters -= was_sent;
		op_remove_waiter(core, op, at);
	}
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
