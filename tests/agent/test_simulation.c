/*
 * test_simulation.c - the promise, checked by brute force after each of some hundreds of
 * simulated runs (simulation.h): no interval of the window holds more than the limit,
 * whatever is lost, late, refused, crashed or changed; nobody waits for ever.
 *
 *     test_simulation [PROFILE [SEED]]    one profile; one run of it, with its figures
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>

#include "simulation.h"

#define RUNS 40 /* of each profile: some seconds in all */

static const struct profile profiles[] = {
	{.name = "calm"},
	{.name = "fixed_window", .fixed = true, .lost = 3, .rejected = 5},
	{.name = "slow_database", .slow = true, .rejected = 10},
	{.name = "lost_replies", .lost = 10, .rejected = 10, .slow = true},
	{.name = "database_away", .lost = 5, .away = 60},
	{.name = "agents_crash", .crashes = 6, .lost = 5},
	{.name = "crash_and_away", .crashes = 8, .lost = 15, .away = 70},
	{.name = "crowded", .crowded = true, .lost = 2},
	{.name = "policy_changes", .policy_changes = true, .lost = 3, .slow = true},
	{.name = "relaxed", .relaxed = true},
	{.name = "relaxed_lost_replies", .relaxed = true, .lost = 5, .rejected = 10},
};

#define PROFILE_COUNT (sizeof profiles / sizeof profiles[0])

/* ---- A world ------------------------------------------------------------------------- */

static struct grant_terms terms_of(int64_t max_requests, int64_t window_ms, int resolution, bool fixed) {
	int64_t sub_us = fixed ? window_ms * 1000 : grant_sub_window_us(window_ms, resolution);
	return (struct grant_terms){
		.max_requests = (int32_t)max_requests,
		.sub_window_us = sub_us,
		.runs = fixed ? 0 : resolution,
		.slack_us = fixed ? 0 : resolution * sub_us - window_ms * 1000,
	};
}

static struct core_policy make_policy(struct world *w) {
	int64_t window_ms = between(w, 100, 1200), max_requests = between(w, 1, chance(w, 50) ? 10 : 300);
	int resolution = (int)between(w, 1, (window_ms / 10 < 20 ? window_ms / 10 : 20) + 1);
	/* No lower than the limit: what the database had leased out when it went away may be as much. */
	int64_t fallback_max = max_requests * between(w, 1, 3) + between(w, 0, 20), fallback_window_ms = between(w, 100, 1200);
	return (struct core_policy){
		.live = true,
		.relaxed = w->profile.relaxed,
		.policy_id = 7,
		.time_window_ms = window_ms,
		.terms = terms_of(max_requests, window_ms, resolution, w->profile.fixed),
		.fallback_terms = terms_of(fallback_max, fallback_window_ms, fallback_window_ms / 10 < resolution ? 5 : resolution, false),
	};
}

static void make_host(struct world *w, uint32_t h) {
	struct host *host = &w->hosts[h];
	host->offset_ns = between(w, 1 * S, 1000 * S);
	fake_table_make(&host->table, w->profile.crowded ? 16 : 200, random_next(&w->random));
	for (uint32_t a = 0; a < w->app_count; a++) {
		host->apps[a].pace_ns = between(w, 500 * US, chance(w, 50) ? 2 * MS : 30 * MS);
		think(w, h, a);
	}
	start_agent(w, h);
}

static void make_world(struct world *w, const struct profile *profile, uint64_t seed) {
	*w = (struct world){.profile = *profile, .random = seed * 1000003, .now_ns = 10 * S};
	w->end_ns = w->now_ns + 3 * S;
	w->host_count = 1 + random_below(&w->random, HOSTS_MAX);
	w->app_count = 1 + random_below(&w->random, APPS_MAX);
	w->client_count = profile->crowded ? CLIENTS_MAX : 1 + random_below(&w->random, 12);
	w->policy = make_policy(w);
	w->changed = make_policy(w);
	for (uint32_t c = 0; c < CLIENTS_MAX; c++)
		w->phase_us[c] = between(w, 0, w->policy.terms.sub_window_us);
	for (uint32_t h = 0; h < w->host_count; h++)
		make_host(w, h);
	for (uint32_t i = 0; i < profile->crashes; i++)
		plan(w, between(w, w->now_ns, w->end_ns), (struct event){.kind = CRASH, .host = random_below(&w->random, w->host_count)});
	if (profile->policy_changes)
		plan(w, w->now_ns + between(w, 500 * MS, 2 * S), (struct event){.kind = CHANGE});
}

static void free_world(struct world *w) {
	for (uint32_t h = 0; h < w->host_count; h++) {
		core_free(w->hosts[h].core);
		fake_table_free(&w->hosts[h].table);
	}
	for (struct batch *batch = w->batches, *next; batch; batch = next) {
		next = batch->next;
		free(batch);
	}
	heap_deinit(&w->agenda);
	free(w->events);
	free(w->admissions);
}

/* ---- The oracle ------------------------------------------------------------------------- */

enum kind { OF_DATABASE, OF_FALLBACK, IN_ONE_FALLBACK };

struct choice {
	int host; /* -1: all */
	enum kind kind;
	int64_t from_ns, until_ns;
	int64_t fallback_since_ns;
};

static bool is_chosen(const struct admission *a, uint32_t client, const struct choice *choice) {
	bool fallback = a->source == STINT_SOURCE_FALLBACK;
	if (a->client != client || a->at_ns < choice->from_ns || a->at_ns >= choice->until_ns)
		return false;
	if (choice->host >= 0 && a->host != (uint32_t)choice->host)
		return false;
	if (choice->kind == IN_ONE_FALLBACK) /* leases of the database's that were out when it began included */
		return a->fallback_since_ns == choice->fallback_since_ns;
	return fallback == (choice->kind == OF_FALLBACK);
}

/* The most that any [x, x + window) held. The sum is largest for one that begins with an admission. */
static int64_t peak(const struct world *w, uint32_t client, const struct choice *choice, int64_t window_ns) {
	int64_t most = 0, sum = 0;
	size_t first = 0;
	for (size_t i = 0; i < w->admission_count; i++) {
		const struct admission *a = &w->admissions[i];
		if (!is_chosen(a, client, choice))
			continue;
		sum += a->cost;
		for (; w->admissions[first].at_ns + window_ns <= a->at_ns; first++)
			if (is_chosen(&w->admissions[first], client, choice))
				sum -= w->admissions[first].cost;
		most = sum > most ? sum : most;
	}
	return most;
}

/* The most that one of a fixed policy's windows held. */
static int64_t aligned_peak(const struct world *w, uint32_t client, int64_t window_us) {
	const struct choice strict = {.host = -1, .until_ns = INT64_MAX};
	int64_t most = 0, sum = 0, current = 0;
	for (size_t i = 0; i < w->admission_count; i++) {
		const struct admission *a = &w->admissions[i];
		if (!is_chosen(a, client, &strict))
			continue;
		int64_t window = (EPOCH_US * US + a->at_ns - w->phase_us[client] * US) / (window_us * US);
		sum = window == current ? sum + a->cost : a->cost;
		current = window;
		most = sum > most ? sum : most;
	}
	return most;
}

static void complain(struct world *w, const char *what, uint32_t client, int64_t is, int64_t most) {
	if (is > most)
		snprintf(w->trouble, sizeof w->trouble, "%s: client %u had %lld, at most %lld", what, client, (long long)is, (long long)most);
}

static void check_limit(struct world *w, const char *what, const struct core_policy *policy, int64_t from_ns, int64_t until_ns) {
	const struct choice choice = {.host = -1, .from_ns = from_ns, .until_ns = until_ns};
	int64_t most = policy->terms.max_requests;
	if (policy->relaxed)
		most += most / 8 + 3 * (int64_t)w->host_count; /* as stint.h has it */
	for (uint32_t c = 0; c < w->client_count; c++)
		complain(w, what, c, w->profile.fixed ? aligned_peak(w, c, policy->terms.sub_window_us)
		                                      : peak(w, c, &choice, policy->time_window_ms * MS), most);
}

static void check_fallback(struct world *w, uint32_t host, uint32_t client) {
	const struct grant_terms *terms = &w->policy.fallback_terms;
	int64_t window_ns = (terms->sub_window_us * terms->runs - terms->slack_us) * US;
	struct choice choice = {.host = (int)host, .kind = OF_FALLBACK, .until_ns = INT64_MAX};
	complain(w, "fallbacks", client, peak(w, client, &choice, window_ns), terms->max_requests);
	choice.kind = IN_ONE_FALLBACK;
	for (size_t i = 0; i < w->admission_count; i++) {
		int64_t since_ns = w->admissions[i].fallback_since_ns;
		if (w->admissions[i].host != host || since_ns == choice.fallback_since_ns || since_ns == 0)
			continue;
		choice.fallback_since_ns = since_ns;
		complain(w, "fallback", client, peak(w, client, &choice, window_ns), terms->max_requests);
	}
}

static void check_fallbacks(struct world *w) {
	for (uint32_t h = 0; h < w->host_count; h++)
		for (uint32_t c = 0; c < w->client_count; c++)
			check_fallback(w, h, c);
}

static void check_patience(struct world *w) {
	complain(w, "checks without an answer", 0, (int64_t)w->timeouts, 0);
	complain(w, "longest wait in ms", 0, w->longest_wait_ns / MS, 1500);
	for (uint32_t h = 0; h < w->host_count; h++)
		for (uint32_t a = 0; a < w->app_count; a++)
			if (w->hosts[h].apps[a].serial)
				complain(w, "an app waits for ever", w->hosts[h].apps[a].client, 1, 0);
}

static void check_world(struct world *w) {
	if (w->trouble[0])
		return;
	check_patience(w);
	if (w->changed_ns) {
		check_limit(w, "before the change", &w->policy, 0, w->changed_ns);
		check_limit(w, "after the change", &w->changed, w->settled_ns + MS, INT64_MAX);
		return;
	}
	check_limit(w, "limit", &w->policy, 0, INT64_MAX);
	for (size_t i = 0; i < w->admission_count && !w->profile.lost; i++)
		if (w->admissions[i].source == STINT_SOURCE_FALLBACK)
			complain(w, "lenient although the database was there", w->admissions[i].client, 1, 0);
	if (w->profile.away && !w->profile.crashes) /* an agent that crashes forgets what its fallback gave */
		check_fallbacks(w);
}

/* ---- Runs --------------------------------------------------------------------------------- */

#define U(number) ((unsigned long long)(number))

static void tell_host(const struct core_counters *c, uint32_t host) {
	printf("host %u: batches %llu granted %llu returned %llu charged %llu fallback %llu late %llu", host, U(c->batches), U(c->granted),
	       U(c->returned), U(c->charged), U(c->fallback_granted), U(c->late));
	printf(" evicted %llu+%llu tableless %llu\n", U(c->evicted_idle), U(c->evicted_for_room), U(c->tableless));
}

static void tell(const struct world *w) {
	printf("hosts %u, apps %u, clients %u, limit %d in %llu ms, resolution %d, fallback %d\n", w->host_count, w->app_count,
	       w->client_count, w->policy.terms.max_requests, U(w->policy.time_window_ms), w->policy.terms.runs,
	       w->policy.fallback_terms.max_requests);
	printf("steps %zu, checks %llu, asked %llu, admitted %zu, timeouts %llu, longest wait %llu us\n", w->steps, U(w->checks),
	       U(w->asked), w->admission_count, U(w->timeouts), U(w->longest_wait_ns / US));
	for (uint32_t h = 0; h < w->host_count; h++)
		if (w->hosts[h].core)
			tell_host(core_counters(w->hosts[h].core), h);
	printf("%s\n", w->trouble[0] ? w->trouble : "ok");
}

static bool run_one(const struct profile *profile, uint64_t seed, bool verbose) {
	static struct world w;
	make_world(&w, profile, seed);
	run(&w);
	check_world(&w);
	bool good = w.trouble[0] == 0;
	if (!good)
		printf("test_simulation %s %llu\n", profile->name, (unsigned long long)seed);
	if (verbose || !good)
		tell(&w);
	free_world(&w);
	return good;
}

static void test_profile(void **state) {
	const struct profile *profile = *state;
	int bad = 0;
	for (uint64_t seed = 1; seed <= RUNS; seed++)
		bad += !run_one(profile, seed, false);
	assert_int_equal(bad, 0);
}

int main(int argc, char **argv) {
	mallopt(M_MMAP_THRESHOLD, 1 << 30); /* tables come and go thousands of times: keep their memory */
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	struct CMUnitTest tests[PROFILE_COUNT];
	size_t count = 0;
	for (size_t i = 0; i < PROFILE_COUNT; i++) {
		if (argc > 2 && strcmp(profiles[i].name, argv[1]) == 0)
			return !run_one(&profiles[i], strtoull(argv[2], NULL, 10), true);
		if (argc == 1 || strcmp(profiles[i].name, argv[1]) == 0)
			tests[count++] = (struct CMUnitTest){.name = profiles[i].name, .test_func = test_profile,
			                                     .initial_state = (void *)(uintptr_t)&profiles[i]};
	}
	return _cmocka_run_group_tests("simulation", tests, count, NULL, NULL);
}
