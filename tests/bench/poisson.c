/* poisson.c - see poisson.h. */
#include "poisson.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "admissions.h"
#include "clock.h"
#include "random.h"

#define BURST_THREADS 10u

struct log {
	pthread_mutex_t lock;
	struct admissions exact;
	struct admissions admitted; /* when each check began: no later than it was counted */
};

struct poisson {
	struct poisson_load load;
	struct log *logs;
	double *client_sums, *host_sums; /* of the shares up to this one; NULL: all are the same */
	pthread_t *threads;
	uint32_t started;
	double began_ns;
	pthread_mutex_t times_lock;
	struct poisson_times *times;
	atomic_bool stop;
	_Atomic uint64_t checks, exact, admitted, alone, errors, most;
};

struct sender {
	struct poisson *poisson;
	uint64_t random;
};

/* ---- One check ---------------------------------------------------------------------------- */

static bool exact_admits(const struct poisson *p, struct log *log, int64_t now_ns) {
	bool admits;

	pthread_mutex_lock(&log->lock);
	admits = admissions_count(&log->exact, now_ns, p->load.window_ms * (int64_t)NS_PER_MS) < p->load.limit;
	if (admits)
		admissions_add(&log->exact, now_ns);
	pthread_mutex_unlock(&log->lock);
	return admits;
}

/* The log's entries are nearly in order, so some that are too old may stand behind others: where it matters, all
 * are looked at. */
static uint64_t count_since(const struct poisson *p, struct log *log, int64_t now_ns) {
	int64_t window_ns = p->load.window_ms * (int64_t)NS_PER_MS;
	uint64_t count = admissions_count(&log->admitted, now_ns, window_ns);

	if (count <= (uint64_t)p->load.limit)
		return count;
	count = 0;
	for (uint32_t i = 0; i < log->admitted.count; i++)
		count += log->admitted.at_ns[(log->admitted.first + i) % log->admitted.room] > now_ns - window_ns;
	return count;
}

/* All that began later than a window before this one's end were within one window. */
static void note_admitted(struct poisson *p, struct log *log, int64_t began_ns, int64_t ended_ns) {
	uint64_t count, most = atomic_load(&p->most);

	pthread_mutex_lock(&log->lock);
	admissions_add(&log->admitted, began_ns);
	count = count_since(p, log, ended_ns);
	pthread_mutex_unlock(&log->lock);
	while (count > most && !atomic_compare_exchange_weak(&p->most, &most, count))
		;
}

static void note_time(struct poisson *p, uint32_t client, uint64_t took_ns, bool is_admitted) {
	pthread_mutex_lock(&p->times_lock);
	if (p->times && poisson_number(client) >= p->times->least) {
		histogram_add(&p->times->ns, took_ns);
		p->times->denied += !is_admitted;
	}
	pthread_mutex_unlock(&p->times_lock);
}

static void check(struct poisson *p, uint32_t client, uint32_t host, uint64_t until_ns) {
	struct log *log = &p->logs[client];
	struct stint_result result;
	uint64_t began_ns = monotonic_ns(), ended_ns;
	char id[32];
	int status;

	snprintf(id, sizeof(id), POISSON_ID, poisson_number(client));
	atomic_fetch_add(&p->exact, exact_admits(p, log, (int64_t)began_ns));
	status = stint_check(p->load.limiters[host], id, 1, &result);
	ended_ns = monotonic_ns();
	atomic_fetch_add(&p->checks, 1);
	atomic_fetch_add(&p->errors, status != 0);
	note_time(p, client, ended_ns - began_ns, status == 0 && result.allowed);
	if (status != 0 || !result.allowed)
		return;
	atomic_fetch_add(&p->admitted, ended_ns <= until_ns);
	if (result.source == STINT_SOURCE_LEASE || result.source == STINT_SOURCE_DATABASE)
		note_admitted(p, log, (int64_t)began_ns, (int64_t)ended_ns);
	else
		atomic_fetch_add(&p->alone, 1);
}

/* ---- Who, where, when ------------------------------------------------------------------------- */

static double *zipf_sums(uint32_t count) {
	double *sums = malloc(count * sizeof(*sums)), sum = 0;

	for (uint32_t i = 0; sums && i < count; i++)
		sums[i] = sum += 1.0 / (i + 1);
	return sums;
}

static bool has_begun(const struct poisson *p, uint32_t client) {
	double part = poisson_number(client) * 0x1p-32;

	return (double)monotonic_ns() >= p->began_ns + part * p->load.ramp_ms * NS_PER_MS;
}

static void *send(void *arg) {
	struct sender *sender = arg;
	struct poisson *p = sender->poisson;
	double rate = p->load.rate * p->load.clients / p->load.threads;
	double next_ns = (double)monotonic_ns();

	while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
		uint32_t client = random_by_share(&sender->random, p->client_sums, p->load.clients);
		uint32_t host = random_by_share(&sender->random, p->host_sums, p->load.hosts);

		next_ns += -log(1 - random_unit(&sender->random)) * 1e9 / rate;
		while ((double)monotonic_ns() + 2e8 < next_ns && !atomic_load(&p->stop))
			sleep_ms(100);
		if (atomic_load(&p->stop))
			break;
		if ((double)monotonic_ns() < next_ns)
			sleep_until_ns((uint64_t)next_ns);
		if (has_begun(p, client))
			check(p, client, p->load.is_sticky ? client % p->load.hosts : host, UINT64_MAX);
	}
	free(sender);
	return NULL;
}

/* ---- All of them ------------------------------------------------------------------------------- */

static int make(struct poisson *p) {
	const struct poisson_load *load = &p->load;

	pthread_mutex_init(&p->times_lock, NULL);
	p->logs = calloc(load->clients, sizeof(*p->logs));
	p->threads = calloc(load->threads, sizeof(*p->threads));
	p->client_sums = load->by_zipf ? zipf_sums(load->clients) : NULL;
	p->host_sums = load->is_uneven ? zipf_sums(load->hosts) : NULL;
	if (!p->logs || !p->threads || (load->by_zipf && !p->client_sums) || (load->is_uneven && !p->host_sums))
		return -1;
	for (uint32_t i = 0; i < load->clients; i++)
		pthread_mutex_init(&p->logs[i].lock, NULL);
	return 0;
}

static int start_thread(struct poisson *p) {
	struct sender *sender = malloc(sizeof(*sender));

	if (!sender)
		return -1;
	*sender = (struct sender){p, p->load.seed * 1000003 + p->started};
	if (pthread_create(&p->threads[p->started], NULL, send, sender) != 0) {
		free(sender);
		return -1;
	}
	p->started++;
	return 0;
}

struct poisson *poisson_start(const struct poisson_load *load) {
	struct poisson *p = calloc(1, sizeof(*p));
	int status;

	if (!p)
		return NULL;
	p->load = *load;
	p->began_ns = (double)monotonic_ns();
	status = make(p);
	while (status == 0 && p->started < load->threads)
		status = start_thread(p);
	if (status == 0)
		return p;
	poisson_stop(p);
	poisson_free(p);
	return NULL;
}

struct poisson_counts poisson_look(struct poisson *p) {
	return (struct poisson_counts){.checks = atomic_load(&p->checks),
	                               .exact = atomic_load(&p->exact),
	                               .admitted = atomic_load(&p->admitted),
	                               .alone = atomic_load(&p->alone),
	                               .errors = atomic_load(&p->errors),
	                               .most = atomic_load(&p->most)};
}

void poisson_time(struct poisson *p, struct poisson_times *times) {
	pthread_mutex_lock(&p->times_lock);
	p->times = times;
	pthread_mutex_unlock(&p->times_lock);
}

void poisson_stop(struct poisson *p) {
	atomic_store(&p->stop, true);
	while (p->started > 0)
		pthread_join(p->threads[--p->started], NULL);
}

void poisson_free(struct poisson *p) {
	for (uint32_t i = 0; p->logs && i < p->load.clients; i++) {
		free(p->logs[i].exact.at_ns);
		free(p->logs[i].admitted.at_ns);
	}
	free(p->logs);
	free(p->threads);
	free(p->client_sums);
	free(p->host_sums);
	free(p);
}

/* ---- A burst -------------------------------------------------------------------------------------- */

struct burst {
	struct poisson *poisson;
	uint32_t client, checks;
	uint64_t until_ns;
};

static void *send_burst(void *arg) {
	const struct burst *b = arg;

	for (uint32_t i = 0; i < b->checks; i++)
		check(b->poisson, b->client, b->client % b->poisson->load.hosts, b->until_ns);
	return NULL;
}

void poisson_burst(struct poisson *p, uint32_t client, uint32_t checks, uint32_t within_ms) {
	struct burst burst = {p, client, checks / BURST_THREADS, monotonic_ns() + within_ms * NS_PER_MS};
	pthread_t threads[BURST_THREADS];
	uint32_t started = 0;

	while (started < BURST_THREADS && pthread_create(&threads[started], NULL, send_burst, &burst) == 0)
		started++;
	while (started > 0)
		pthread_join(threads[--started], NULL);
}
