/*
 * pending.c - a client's request to the store, from the moment that somebody needs it until it is answered. A
 * client has one at most.
 *
 * It stands in one of two queues, or is under way. It is urgent when somebody waits for it, or an active client
 * runs low; returns and charges alone are for the background. One that wasn't applied is put off, and then back
 * into one of the two. Who waits is in a list of the request: told of the verdict here, and freed here.
 */
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

/* When so many wait, whoever comes next is told that there is no memory: an app that asks and asks must not fill
 * it. */
#define WAITERS_MAX 65536u

/* When nothing is pending, the memory of so many numbers is kept. */
#define PENDING_KEPT 4096u

/* What is put off is asked again after this, at first ... */
#define PUT_OFF_NS (2 * NS_PER_MS)

/* ... and then after twice as long each time. While somebody waits for it, as before the end, it is doubled only
 * so often: whoever has the row may let go of it at any time. */
#define PUT_OFF_URGENT_STEP 3

/* One call takes up so many. */
#define TAKEN_UP_MAX 1024u

/* core->pending says where a request lies, by its number. Of a free number it says which is the next free one:
 * twice that number and one, which is no request's address. */
static void *free_mark(uint32_t next) {
	return (void *)((uintptr_t)next * 2 + 1);
}

static uint32_t next_free(const void *mark) {
	return (uint32_t)((uintptr_t)mark / 2);
}

static size_t pending_bytes(const struct core *core) {
	return core->pending_capacity * sizeof(*core->pending);
}

int pending_init(struct core *core, uint32_t clients) {
	core->pending_free = NO_PENDING;
	core->urgent = core->background = (struct pending_queue){NO_PENDING, NO_PENDING};
	for (unsigned step = 0; step < BUSY_MAX; step++)
		core->put_off[step] = (struct pending_queue){NO_PENDING, NO_PENDING};
	core->pending_capacity = clients < NO_PENDING ? clients : NO_PENDING;
	void *memory = mmap(NULL, pending_bytes(core), PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -1;
	core->pending = memory;
	return 0;
}

void pending_deinit(struct core *core) {
	slab_deinit(&core->pending_slab);
	if (core->pending)
		munmap(core->pending, pending_bytes(core));
}

/* ---- Queues --------------------------------------------------------------- */

static struct pending_queue *queue_of(struct core *core, const struct pending *pending) {
	if (pending->state == PENDING_PUT_OFF)
		return &core->put_off[pending->step];
	return pending->state == PENDING_URGENT ? &core->urgent : &core->background;
}

void pending_enqueue(struct core *core, struct pending *pending, enum pending_state state) {
	pending->state = (uint8_t)state;
	struct pending_queue *queue = queue_of(core, pending);
	uint32_t index = pending->index;
	pending->previous = queue->last;
	pending->next = NO_PENDING;
	*(queue->last == NO_PENDING ? &queue->first : &core->pending[queue->last]->next) = index;
	queue->last = index;
	core->background_count += state == PENDING_BACKGROUND;
	core->put_off_count += state == PENDING_PUT_OFF;
}

void pending_dequeue(struct core *core, struct pending *pending) {
	struct pending_queue *queue = queue_of(core, pending);
	*(pending->previous == NO_PENDING ? &queue->first : &core->pending[pending->previous]->next) = pending->next;
	*(pending->next == NO_PENDING ? &queue->last : &core->pending[pending->next]->previous) = pending->previous;
	core->background_count -= pending->state == PENDING_BACKGROUND;
	core->put_off_count -= pending->state == PENDING_PUT_OFF;
}

/* One more, with a number; NULL without memory. */
static struct pending *new_pending(struct core *core) {
	if (core->pending_free == NO_PENDING && core->pending_high == core->pending_capacity)
		return NULL;
	struct pending *pending = slab_new(&core->pending_slab, sizeof(*pending));
	if (!pending)
		return NULL;
	uint32_t index = core->pending_free;
	if (index != NO_PENDING)
		core->pending_free = next_free(core->pending[index]);
	else
		index = core->pending_high++;
	core->pending[index] = pending;
	core->pending_count++;
	*pending = (struct pending){.index = index};
	pending->last = &pending->first;
	return pending;
}

static void drop_pending(struct core *core, struct pending *pending) {
	uint32_t index = pending->index;
	slab_free(&core->pending_slab, pending, sizeof(*pending));
	core->pending[index] = free_mark(core->pending_free);
	core->pending_free = index;
	if (--core->pending_count > 0)
		return;
	core->pending_free = NO_PENDING;
	if (core->pending_high > PENDING_KEPT)
		madvise(core->pending, pending_bytes(core), MADV_DONTNEED);
	core->pending_high = 0;
}

struct pending *pending_for(struct core *core, uint32_t client) {
	struct client *c = client_at(core, client);
	if (c->pending != NO_PENDING)
		return core->pending[c->pending];
	struct pending *pending = new_pending(core);
	if (!pending)
		return NULL;
	pending->client = client;
	c->pending = pending->index & NO_PENDING;
	pending_enqueue(core, pending, PENDING_BACKGROUND);
	return pending;
}

static void remove_waiter(struct core *core, struct pending *pending, struct waiter **at) {
	struct waiter *waiter = *at;
	*at = waiter->next;
	if (!*at)
		pending->last = at;
	slab_free(&core->pending_slab, waiter, sizeof(*waiter));
	core->waiter_count--;
}

void pending_free(struct core *core, struct pending *pending) {
	uint32_t client = pending->client;
	while (pending->first)
		remove_waiter(core, pending, &pending->first);
	client_at(core, client)->pending = NO_PENDING;
	drop_pending(core, pending);
	/* Nothing else remembers a client that the table has no room for. */
	if (client_at(core, client)->slot == TABLE_NO_SLOT)
		registry_forget(core, client);
}

static bool asks(const struct pending *pending) {
	return pending->first || pending->wants_more || pending->wants_next;
}

static uint8_t last_step(const struct core *core, const struct pending *pending) {
	return asks(pending) || core->draining ? PUT_OFF_URGENT_STEP : BUSY_MAX - 1;
}

void pending_count_busy(const struct core *core, struct pending *pending) {
	if (pending->busy <= last_step(core, pending))
		pending->busy++;
}

static uint8_t step_of(const struct core *core, const struct pending *pending) {
	uint8_t most = last_step(core, pending);
	return pending->busy <= most ? (uint8_t)(pending->busy - 1) : most;
}

/* Two hosts that have met at a row don't come back to it together: up to half of the delay is added, another part
 * on each. */
static int64_t delay_of(const struct core *core, uint8_t step) {
	int64_t delay = PUT_OFF_NS << step;
	return delay + delay / 2 * (int64_t)(core->options.seed >> 56) / 256;
}

int64_t pending_delay_ns(const struct core *core, const struct pending *pending) {
	return delay_of(core, step_of(core, pending));
}

static void enqueue_put_off(struct core *core, struct pending *pending) {
	pending->step = step_of(core, pending);
	pending->due_ns = core->now_ns + delay_of(core, pending->step);
	pending_enqueue(core, pending, PENDING_PUT_OFF);
}

void pending_make_urgent(struct core *core, struct pending *pending) {
	bool waits_long = pending->state == PENDING_PUT_OFF && pending->step > step_of(core, pending);
	if (pending->state != PENDING_BACKGROUND && !waits_long)
		return;
	pending_dequeue(core, pending);
	if (waits_long)
		enqueue_put_off(core, pending);
	else
		pending_enqueue(core, pending, PENDING_URGENT);
}

int pending_add_waiter(struct core *core, struct pending *pending, const struct waiter *who) {
	struct waiter *waiter =
		core->waiter_count < WAITERS_MAX ? slab_new(&core->pending_slab, sizeof(*waiter)) : NULL;
	if (!waiter)
		return -1;
	core->waiter_count++;
	*waiter = *who;
	waiter->next = NULL;
	*pending->last = waiter;
	pending->last = &waiter->next;
	return 0;
}

/* Those who have given up meanwhile get no answer, and are no longer counted among those who were sent. */
void pending_drop_expired(struct core *core, struct pending *pending, int64_t now_ns) {
	uint32_t sent = pending->sent_waiters;
	for (struct waiter **at = &pending->first; *at;) {
		bool was_sent = sent > 0;
		sent -= was_sent;
		if ((*at)->expires_ns > now_ns) {
			at = &(*at)->next;
			continue;
		}
		pending->sent_waiters -= was_sent;
		remove_waiter(core, pending, at);
	}
}

void send_verdict(struct core *core, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	if (verdict->status == 0)
		*(verdict->allowed ? &core->counters.allowed : &core->counters.denied) += 1;
	core->io.verdict(core->context, peer, serial, verdict);
}

void pending_serve(struct core *core, struct pending *pending, pending_decide *decide, void *context) {
	uint32_t sent = pending->sent_waiters;
	for (struct waiter **at = &pending->first; *at; sent -= sent > 0) {
		const struct waiter *waiter = *at;
		struct core_verdict verdict;
		bool was_sent = sent > 0;
		if (!decide(context, core, pending, waiter, was_sent, &verdict)) {
			at = &(*at)->next;
			continue;
		}
		send_verdict(core, waiter->peer, waiter->serial, &verdict);
		tell_if_denied(core, pending->client, waiter, &verdict);
		pending->sent_waiters -= was_sent;
		remove_waiter(core, pending, at);
	}
}

/* What was spent is worth no statement of its own. */
static bool has_unspent(const struct pending *pending) {
	for (int i = 0; i < LEASE_REPORTS; i++)
		if (pending->report[i].unspent > 0)
			return true;
	return false;
}

static bool owes(const struct pending *pending) {
	return pending->debt.charge > 0 || has_unspent(pending);
}

void pending_requeue(struct core *core, struct pending *pending) {
	if (asks(pending))
		pending_enqueue(core, pending, PENDING_URGENT);
	else if (owes(pending))
		pending_enqueue(core, pending, PENDING_BACKGROUND);
	else
		pending_free(core, pending);
}

void pending_put_off(struct core *core, struct pending *pending) {
	if (!asks(pending) && !owes(pending)) {
		pending_free(core, pending);
		return;
	}
	enqueue_put_off(core, pending);
}

/* When the first of this step is due; before the end, none waits for long. */
static int64_t step_due_ns(const struct core *core, unsigned step) {
	if (core->put_off[step].first == NO_PENDING)
		return INT64_MAX;
	return core->draining && step > PUT_OFF_URGENT_STEP ? core->now_ns
	                                                    : core->pending[core->put_off[step].first]->due_ns;
}

void pending_take_up(struct core *core, bool all) {
	uint32_t left = TAKEN_UP_MAX;
	for (unsigned step = 0; step < BUSY_MAX && core->put_off_count > 0; step++)
		for (int64_t until_ns = all ? INT64_MAX - 1 : core->now_ns;
		     left > 0 && step_due_ns(core, step) <= until_ns; left--) {
			struct pending *pending = core->pending[core->put_off[step].first];
			pending_dequeue(core, pending);
			pending_requeue(core, pending);
		}
}

int64_t pending_next_ns(const struct core *core) {
	int64_t next_ns = INT64_MAX;
	for (unsigned step = 0; step < BUSY_MAX && core->put_off_count > 0; step++)
		next_ns = min64(next_ns, step_due_ns(core, step));
	return next_ns;
}

/* ---- What is reported with it ----------------------------------------------- */

/* No database grants so much that this matters. */
static int32_t add_credits(int32_t credits, uint32_t more) {
	int64_t sum = (int64_t)credits + more;
	return sum > INT32_MAX ? INT32_MAX : (int32_t)sum;
}

/* The entry for this sub-window: its own, or a free one; NULL if both are others'. */
static struct lease_report *report_for(struct pending *pending, int64_t sub_window) {
	struct lease_report *room = NULL;
	for (int i = LEASE_REPORTS - 1; i >= 0; i--) {
		struct lease_report *report = &pending->report[i];
		if (report->sub_window == sub_window)
			return report;
		if (report->sub_window == 0)
			room = report;
	}
	return room;
}

bool pending_may_report(struct pending *pending, int64_t sub_window) {
	return report_for(pending, sub_window);
}

bool pending_add_report(struct pending *pending, int64_t sub_window, uint32_t unspent, uint32_t spent) {
	struct lease_report *report = report_for(pending, sub_window);
	if (!report)
		return false;
	report->sub_window = sub_window;
	report->unspent = add_credits(report->unspent, unspent);
	report->spent = add_credits(report->spent, spent);
	return true;
}

void pending_attach_reports(struct pending *pending) {
	memcpy(pending->sent.report, pending->report, sizeof(pending->report));
	pending_burn_reports(pending);
}

/* If there are others by now, those stay: they are of later credits, which are more likely to be still on the
 * books. */
void pending_report_again(struct pending *pending) {
	for (int i = 0; i < LEASE_REPORTS; i++) {
		const struct lease_report *sent = &pending->sent.report[i];
		if (sent->sub_window != 0)
			pending_add_report(pending, sent->sub_window, (uint32_t)sent->unspent, (uint32_t)sent->spent);
	}
}

void pending_burn_reports(struct pending *pending) {
	memset(pending->report, 0, sizeof(pending->report));
}
