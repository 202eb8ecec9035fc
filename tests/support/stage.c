/* stage.c - see stage.h. */
#include "stage.h"

#include <stdio.h>
#include <string.h>

#include "stint.h"
#include "tap.h"

#define IN_STEP_MS 15000

void stage_init(struct stage *stage, const struct scene *scene) {
	memset(stage, 0, sizeof(*stage));
	stage->scene = stage->crowd.scene = scene;
}

int stage_set_database(struct stage *stage, const struct scene *scene) {
	stage_init(stage, scene);
	return tap_ok(cluster_start(&stage->cluster, scene) == 0 && cluster_install(&stage->cluster) == 0,
	              "a database with the schema is ready")
	           ? 0
	           : -1;
}

int stage_add_host(struct stage *stage, const struct host_options *options) {
	struct host *host = &stage->host[stage->host_count];

	if (host_prepare(host, stage->scene, stage->host_count, options) != 0 || host_start(host) != 0)
		return -1;
	stage->host_count++;
	return 0;
}

int stage_wait_in_step(struct stage *stage) {
	uint32_t ready = 0;

	while (ready < stage->host_count && host_wait_in_step(&stage->host[ready], IN_STEP_MS))
		ready++;
	if (ready < stage->host_count)
		host_print_log(&stage->host[ready]);
	return tap_ok(ready > 0 && ready == stage->host_count, "%u of %u hosts are in step with it", ready,
	              stage->host_count)
	           ? 0
	           : -1;
}

int stage_hosts(struct stage *stage, uint32_t host_count, const struct host_options *options) {
	while (stage->host_count < host_count)
		if (stage_add_host(stage, options) != 0)
			return tap_ok(false, "host %u does not start", stage->host_count) ? 0 : -1;
	return stage_wait_in_step(stage);
}

int stage_set(struct stage *stage, const struct scene *scene, uint32_t host_count,
              const struct host_options *options) {
	struct host_options own = options != NULL ? *options : (struct host_options){0};

	if (stage_set_database(stage, scene) != 0)
		return -1;
	own.database = stage->cluster.agent;
	return stage_hosts(stage, host_count, &own);
}

int stage_crowd(struct stage *stage, uint32_t apps_per_host, const struct journal_plan *plan, uint32_t rate) {
	int status = 0;

	for (uint32_t h = 0; h < stage->host_count; h++)
		for (uint32_t i = 0; i < apps_per_host && status == 0; i++)
			status = crowd_add(&stage->crowd, &stage->host[h], plan, rate * 2 / (2 + h));
	if (status == 0)
		status = crowd_start(&stage->crowd);
	return tap_ok(status == 0, "%u app processes run on %u hosts", stage->crowd.count, stage->host_count) ? 0 : -1;
}

void stage_read(struct stage *stage, struct oracle *oracle, struct crowd_total *total) {
	int bad = crowd_stop(&stage->crowd);

	tap_ok(bad == 0, "all app processes ended well, %d did not", bad);
	crowd_sum(&stage->crowd, total);
	stage_print_total(total);
	tap_ok(total->errors == 0, "no check failed; %llu did, the last with: %s", (unsigned long long)total->errors,
	       total->last_error != 0 ? stint_strerror(total->last_error) : "-");
	*oracle = (struct oracle){0};
	bad = crowd_read(&stage->crowd, oracle);
	tap_ok(bad == 0, "%zu admissions are in the journals", oracle->count);
}

void stage_strike(struct stage *stage) {
	uint32_t alive = 0, well = 0;

	for (uint32_t i = 0; i < stage->host_count; i++) {
		bool running = host_is_running(&stage->host[i]);

		alive += running;
		if (running && host_stop(&stage->host[i]) == 0)
			well++;
		else
			host_print_log(&stage->host[i]);
	}
	tap_ok(alive == stage->host_count, "%u of %u agents were still there", alive, stage->host_count);
	tap_ok(well == stage->host_count, "%u of them ended with status 0 on SIGTERM", well);
	crowd_free(&stage->crowd);
	cluster_close(&stage->cluster);
}

uint32_t stage_hosts_in(const struct stage *stage, const char *state) {
	uint32_t count = 0;

	for (uint32_t h = 0; h < stage->host_count; h++) {
		char now[24];

		host_state(&stage->host[h], now);
		count += strcmp(now, state) == 0;
	}
	return count;
}

uint32_t stage_wait_for(const struct stage *stage, const char *state, int timeout_ms) {
	uint64_t began = monotonic_ns();
	uint32_t count;

	while ((count = stage_hosts_in(stage, state)) < stage->host_count && stage_ms_since(began) < timeout_ms)
		sleep_ms(5);
	return count;
}

int stage_log_count(const struct stage *stage, const char *text) {
	int count = 0;

	for (uint32_t h = 0; h < stage->host_count; h++)
		count += host_log_count(&stage->host[h], text);
	return count;
}

struct worst {
	struct oracle_peak peak;
	uint32_t client;
	uint32_t over;
};

static struct worst worst_client(const struct oracle *oracle, const struct journal_policy *policy,
                                 struct oracle_choice choice) {
	struct worst worst = {0};

	for (choice.client = 0; choice.client < policy->clients; choice.client++) {
		struct oracle_peak peak = oracle_peak(oracle, &choice, (uint64_t)policy->time_window_ms * NS_PER_MS);

		worst.over += peak.certain > policy->max_requests;
		if (peak.certain > worst.peak.certain || worst.peak.by_outcome == 0)
			worst = (struct worst){peak, choice.client, worst.over};
	}
	return worst;
}

uint32_t stage_check_promise(const struct oracle *oracle, const struct journal_plan *plan,
                             const struct oracle_choice *choice, const char *what) {
	uint32_t over = 0;

	for (uint32_t p = 0; p < plan->policy_count; p++) {
		const struct journal_policy *policy = &plan->policy[p];
		struct oracle_choice own = *choice;
		struct worst worst;

		if (policy->algorithm == STINT_FIXED_WINDOW)
			continue;
		own.policy = p;
		worst = worst_client(oracle, policy, own);
		over += worst.over;
		tap_ok(worst.over == 0,
		       "I1 %s, %s: at most %lld in any %lld ms for %u clients; limit %lld, by outcome %lld, %u over", what,
		       policy->name, (long long)worst.peak.certain, (long long)policy->time_window_ms, policy->clients,
		       (long long)policy->max_requests, (long long)worst.peak.by_outcome, worst.over);
	}
	return over;
}

/* A check that began before that time may have waited for its answer. */
static bool is_away(const struct oracle_event *event, const struct stage_away *away, size_t count) {
	for (size_t i = 0; i < count; i++) {
		bool concerned = away[i].hosts == 0 || (away[i].hosts >> event->host & 1u) != 0;

		if (concerned && event->intent_ns < away[i].until_ns && event->outcome_ns >= away[i].from_ns)
			return true;
	}
	return false;
}

uint64_t stage_check_alone(const struct oracle *oracle, const struct stage_away *away, size_t count) {
	uint64_t alone = 0;

	for (size_t i = 0; i < oracle->count; i++)
		alone += oracle->events[i].source == STINT_SOURCE_FALLBACK && !is_away(&oracle->events[i], away, count);
	tap_ok(alone == 0, "I1 while the database was there no host admitted anything on its own: %llu",
	       (unsigned long long)alone);
	return alone;
}

uint32_t stage_check_fallback(const struct stage *stage, const struct oracle *oracle,
                              const struct journal_plan *plan, uint64_t from_ns, uint64_t until_ns) {
	uint32_t all = 0;

	for (uint32_t p = 0; p < plan->policy_count; p++) {
		const struct journal_policy *policy = &plan->policy[p];
		int64_t most = 0;
		uint32_t over = 0;

		for (uint32_t i = 0; i < policy->clients * stage->host_count; i++) {
			struct oracle_choice choice = {.policy = p,
			                               .client = i / stage->host_count,
			                               .host = i % stage->host_count,
			                               .sources = ORACLE_FALLBACK,
			                               .from_ns = from_ns,
			                               .until_ns = until_ns};
			int64_t certain =
				oracle_peak(oracle, &choice, (uint64_t)policy->fallback_time_window_ms * NS_PER_MS).certain;

			over += certain > policy->fallback_max_requests;
			most = certain > most ? certain : most;
		}
		tap_ok(over == 0, "I3 %s: on its own, no host admitted more than %lld in any %lld ms; limit %lld, %u over",
		       policy->name, (long long)most, (long long)policy->fallback_time_window_ms,
		       (long long)policy->fallback_max_requests, over);
		all += over;
	}
	return all;
}

bool stage_check_latency(const struct crowd_total *total, uint32_t timeout_ms, uint32_t slack_ms) {
	return tap_ok(total->latency_ns.max <= (timeout_ms + slack_ms) * NS_PER_MS,
	              "I4: the longest check took %llu ms; timeout %u ms",
	              (unsigned long long)(total->latency_ns.max / NS_PER_MS), timeout_ms);
}

void stage_print_total(const struct crowd_total *total) {
	static const char *const names[JOURNAL_SOURCES] = {NULL, "lease", "database", "fallback", "local", "advance"};
	char text[256] = "";
	size_t used = 0;

	for (unsigned s = 1; s < JOURNAL_SOURCES; s++)
		if (total->admitted[s] + total->denied[s] > 0)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "; %s %llu + %llu", names[s],
			                         (unsigned long long)total->admitted[s], (unsigned long long)total->denied[s]);
	tap_note("%llu checks; admitted + denied by source%s", (unsigned long long)total->checks, text);
	histogram_describe(&total->latency_ns, text, sizeof(text));
	tap_note("latency of a check: %s", text);
	tap_note("the kernel's coarse clock was up to %.1f ms behind%s", (double)total->coarse_lag_ns / 1e6,
	         total->coarse_lag_ns > 10 * NS_PER_MS ? ": more than lib/README.md covers" : "");
}

int64_t stage_ms_since(uint64_t then_ns) {
	return (int64_t)((monotonic_ns() - then_ns) / NS_PER_MS);
}
