/* recalls.c - leases that are called back, see recalls.h. */
#include "recalls.h"

#include <event2/event.h>
#include <string.h>

#include "monotonic.h"

/* A little more than read_again in stint.recall_leases(), so that what came without a notice is read. While
 * recalls follow one another that concern others, it is twice as long each time. */
#define PAUSE_MIN_MS 120
#define PAUSE_MAX_MS 960

static void plan_read(struct recalls *recalls, bool is_concerned) {
	int pause_ms = is_concerned || recalls->pause_ms == 0 ? PAUSE_MIN_MS : 2 * recalls->pause_ms;
	recalls->pause_ms = pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS;
	struct timeval pause = {.tv_usec = recalls->pause_ms * 1000};
	event_add(recalls->timer, &pause);
}

static void take_recall(const struct recalls *recalls, const struct recall_row *row) {
	int index = policies_find_id(recalls->driver->policies, row->policy_id);
	if (index >= 0)
		core_recall(recalls->driver->core, monotonic_now_ns(), (uint16_t)index, row->client_id,
		            (uint8_t)strlen(row->client_id));
}

static void on_recalls(void *context, enum lease_outcome outcome, const struct recall_row *rows, size_t count,
                       int64_t newest) {
	struct recalls *recalls = context;
	recalls->reading = false;
	if (outcome != LEASE_DONE)
		return; /* it was a wish, no more */
	for (size_t i = 0; i < count; i++)
		take_recall(recalls, &rows[i]);
	if (newest != recalls->known)
		plan_read(recalls, count > 0);
	else
		recalls->pause_ms = 0;
	recalls->known = newest;
	if (recalls->unread)
		recalls_read(recalls);
	driver_pump(recalls->driver);
}

void recalls_read(struct recalls *recalls) {
	const struct driver *driver = recalls->driver;
	recalls->unread = true;
	if (recalls->reading || core_state(driver->core) != CORE_IN_STEP)
		return;
	recalls->reading = true;
	recalls->unread = false;
	database_get_recalls(driver->database, core_host(driver->core), recalls->known, on_recalls, recalls);
}

static void on_timer(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	recalls_read(context);
}

int recalls_start(struct recalls *recalls, struct event_base *base) {
	recalls->timer = event_new(base, -1, 0, on_timer, recalls);
	return recalls->timer ? 0 : -1;
}

void recalls_free(struct recalls *recalls) {
	if (recalls->timer)
		event_free(recalls->timer);
}

void recalls_forget_database(struct recalls *recalls) {
	recalls->reading = recalls->unread = false;
	recalls->known = recalls->pause_ms = 0;
}
