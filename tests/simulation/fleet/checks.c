/*
 * checks.c - a check, from the table or by way of the agent; and what an exact sliding log would have said.
 */
#include <assert.h>

#include "fleet.h"
#include "stint.h"

#define PATIENCE_NS (1 * S) /* the default of an app's timeout_ms */

void check_write_id(char id[static CLIENT_TEXT_LENGTH], uint32_t client) {
	id[0] = 'c';
	for (uint32_t i = CLIENT_TEXT_LENGTH - 1; i > 0; i--, client /= 10)
		id[i] = (char)('0' + client % 10);
}

uint32_t check_client_of(const char *id) {
	uint32_t client = 0;
	for (uint32_t i = 1; i < CLIENT_TEXT_LENGTH; i++)
		client = client * 10 + (uint32_t)(id[i] - '0');
	return client;
}

static bool exact_admits(struct fleet *f, uint32_t client) {
	struct admissions *log = &f->exact[client];
	if (admissions_count(log, f->now_ns, f->scenario.window_ms * MS) >= (uint32_t)f->scenario.limit)
		return false;
	admissions_add(log, f->now_ns);
	return true;
}

/* What a fallback admits is not of the limit. */
static void note_admitted(struct fleet *f, const struct ask *ask, bool of_fallback) {
	f->figures.admitted += ask->counts;
	if (of_fallback)
		return;
	struct admissions *log = &f->admitted[ask->client];
	admissions_add(log, f->now_ns);
	uint32_t count = admissions_count(log, f->now_ns, f->scenario.window_ms * MS);
	f->most = count > f->most ? count : f->most;
}

static void note_denied(struct fleet *f, const struct ask *ask) {
	if (ask->is_burst)
		arrivals_denied(f, ask->client);
}

/* An earlier check of this place has had its answer long ago, or never gets one. */
static uint32_t remember(struct fleet *f, const struct ask *ask) {
	uint32_t serial = f->serial++ % ASKS_MAX;
	struct ask *place = &f->asks[serial];
	assert(!place->waits || f->now_ns - place->at_ns > PATIENCE_NS);
	f->figures.lost += place->waits && place->counts;
	*place = *ask;
	place->waits = true;
	return serial;
}

static void ask_agent(struct fleet *f, uint32_t h, struct ask *ask, const char *id) {
	ask->is_usual = f->scenario.incident == OUTAGE && f->now_ns < f->outage_ns;
	ask->is_charging = f->is_counting && core_state(f->hosts[h].core) == CORE_RESYNC;
	uint32_t serial = remember(f, ask);
	core_want(f->hosts[h].core, f->now_ns, 1, serial, 0, id, CLIENT_TEXT_LENGTH, 1, f->now_ns + PATIENCE_NS);
	host_pump(f, h);
}

void check_make(struct fleet *f, uint32_t h, uint32_t client, bool is_burst, bool is_first_try) {
	char id[CLIENT_TEXT_LENGTH];
	bool counts = f->is_counting && client >= f->scenario.locked;
	struct ask ask = {.at_ns = f->now_ns, .client = client, .counts = counts, .is_burst = is_burst};
	check_write_id(id, client);
	if (is_first_try) {
		bool admits = exact_admits(f, client);
		f->figures.checks += ask.counts;
		f->figures.exact += ask.counts && admits;
	}
	struct app_decision d = app_decides(&f->hosts[h].table, 0, id, CLIENT_TEXT_LENGTH, 1, f->now_ns);
	if (d.verdict == APP_ALLOWED)
		note_admitted(f, &ask, d.fallback);
	else if (d.verdict == APP_DENIED)
		note_denied(f, &ask);
	else
		ask_agent(f, h, &ask, id);
	f->figures.asked += d.verdict == APP_ASKS && is_first_try && ask.counts;
	if (!d.low)
		return;
	core_low(f->hosts[h].core, f->now_ns, 0, id, CLIENT_TEXT_LENGTH);
	host_pump(f, h);
}

static void note_wait(struct fleet *f, const struct ask *ask) {
	bool is_other = (f->scenario.hot_rate > 0 && ask->client == 0) || ask->client < f->scenario.locked;
	uint64_t took_ns = (uint64_t)(f->now_ns - ask->at_ns);
	if (ask->counts)
		histogram_add(is_other ? &f->figures.other_waits : &f->figures.waits, took_ns);
	if (ask->is_usual)
		histogram_add(&f->figures.usual_waits, took_ns);
	if (ask->is_charging)
		histogram_add(&f->figures.charging_waits, took_ns);
}

void check_decided(struct fleet *f, uint32_t serial, const struct core_verdict *verdict) {
	struct ask *ask = &f->asks[serial];
	if (!ask->waits)
		return;
	ask->waits = false;
	note_wait(f, ask);
	if (verdict->status != 0)
		f->figures.lost += ask->counts;
	else if (verdict->allowed)
		note_admitted(f, ask, verdict->source == STINT_SOURCE_FALLBACK);
	else
		note_denied(f, ask);
}
