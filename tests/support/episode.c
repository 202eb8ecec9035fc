/* episode.c - see episode.h. */
#include "episode.h"

#include <stdlib.h>

#include "proof.h"
#include "tap.h"

/* How much later than its timeout a check may end: what the scheduler takes on two busy cores. */
#define LATE_MS    250
#define IN_STEP_MS 20000

void episode_begin(struct episode *episode, const char *what, int within_ms) {
	*episode = (struct episode){.what = what, .within_ms = within_ms, .began_ns = monotonic_ns()};
	episode->away_ns = episode->began_ns;
}

void episode_over(struct episode *episode, struct stage *stage, int calm_ms) {
	if (episode->over_ns == 0)
		episode->over_ns = monotonic_ns();
	episode->returned = stage_wait_for(stage, "in step", IN_STEP_MS) == stage->host_count;
	episode->in_step_ns = monotonic_ns();
	sleep_ms(calm_ms);
	episode->until_ns = monotonic_ns();
	episode->lost_apps = (uint32_t)crowd_missing(&stage->crowd);
	for (uint32_t h = 0; h < stage->host_count; h++)
		episode->lost_agents += !host_is_running(&stage->host[h]);
}

void episode_check_latency(const char *what, const struct crowd_total *total, const struct journal_plan *plan) {
	bool in_time = stage_check_latency(total, plan->timeout_ms, LATE_MS);

	proof_print(&(struct proof){.invariants = "I4",
	                            .fault = what,
	                            .runs = 1,
	                            .checked = total->checks,
	                            .violations = !in_time + total->errors,
	                            .recovery_ms = PROOF_NO_RECOVERY});
}

/* ---- The invariants --------------------------------------------------------------- */

/* How many clients were over the limit and their allowance, the highest peak, and the worst excess over the
 * limit itself. */
struct excess {
	uint32_t clients;
	int64_t peak;
	int64_t over;
};

static struct excess find_excess(const struct episode *episode, const struct oracle *oracle,
                                 const struct journal_plan *plan, struct oracle_choice choice) {
	const struct journal_policy *policy = &plan->policy[0];
	uint64_t window_ns = (uint64_t)policy->time_window_ms * NS_PER_MS;
	struct excess excess = {0};

	for (choice.client = 0; choice.client < policy->clients; choice.client++) {
		int64_t allowance = choice.client < EPISODE_CLIENTS ? episode->allowance[choice.client] : 0;
		int64_t peak = oracle_peak(oracle, &choice, window_ns).certain;

		excess.clients += peak > policy->max_requests + allowance;
		excess.peak = peak > excess.peak ? peak : excess.peak;
		if (peak - policy->max_requests > excess.over)
			excess.over = peak - policy->max_requests;
	}
	return excess;
}

/* A window that only touches the episode counts as a whole. */
static uint32_t check_strict(struct episode *episode, const struct oracle *oracle,
                             const struct journal_plan *plan) {
	uint64_t before = (uint64_t)plan->policy[0].time_window_ms * NS_PER_MS;
	struct oracle_choice choice = {.host = ORACLE_ANY,
	                               .sources = episode->away_ns == EPISODE_NEVER ? ORACLE_ALL : ORACLE_UP,
	                               .from_ns = episode->began_ns - before,
	                               .until_ns = episode->until_ns};
	const char *who = episode->away_ns == EPISODE_NEVER ? "whoever decided" : "but for hosts on their own";
	struct excess excess = find_excess(episode, oracle, plan, choice);

	episode->over = excess.over;
	tap_ok(excess.clients == 0, "I1 %s: %s at most %lld in any %lld ms; limit %lld, %u over", episode->what, who,
	       (long long)excess.peak, (long long)plan->policy[0].time_window_ms,
	       (long long)plan->policy[0].max_requests, excess.clients);
	return excess.clients;
}

/* When a host last admitted something on its own, which should not be later than its return. */
static uint64_t last_alone(const struct episode *episode, const struct oracle *oracle) {
	struct oracle_choice choice = {.policy = 0,
	                               .client = ORACLE_ANY,
	                               .host = ORACLE_ANY,
	                               .sources = ORACLE_FALLBACK | ORACLE_LOCAL,
	                               .from_ns = episode->began_ns,
	                               .until_ns = episode->until_ns};
	uint64_t first, last;

	tap_note("%s: %lld were admitted by hosts on their own", episode->what,
	         (long long)oracle_sum(oracle, &choice));
	return oracle_span(oracle, &choice, &first, &last) ? last : episode->began_ns;
}

static uint32_t check_slow(const struct episode *episode, const struct oracle *oracle,
                           const struct journal_plan *plan, uint64_t *checked) {
	uint64_t most = 0, limit = (plan->timeout_ms + LATE_MS) * NS_PER_MS;
	uint32_t slow = 0;

	for (size_t i = 0; i < oracle->count; i++) {
		const struct oracle_event *event = &oracle->events[i];
		uint64_t took = event->outcome_ns - event->intent_ns;

		if (event->intent_ns < episode->began_ns || event->outcome_ns >= episode->until_ns)
			continue;
		(*checked)++;
		slow += took > limit;
		most = took > most ? took : most;
	}
	tap_ok(slow == 0 && episode->lost_apps == 0,
	       "I4 %s: the longest admission took %llu ms, timeout %u ms; %u apps lost", episode->what,
	       (unsigned long long)(most / NS_PER_MS), plan->timeout_ms, episode->lost_apps);
	return slow + episode->lost_apps;
}

static int64_t check_return(const struct episode *episode, uint64_t last_ns) {
	uint64_t right_ns = last_ns > episode->in_step_ns ? last_ns : episode->in_step_ns;
	int64_t recovery_ms = (int64_t)((right_ns - episode->over_ns) / NS_PER_MS);

	tap_ok(episode->returned && recovery_ms <= episode->within_ms,
	       "I5 %s: all hosts are in step, and no longer on their own, after %lld ms; %d at most", episode->what,
	       (long long)recovery_ms, episode->within_ms);
	return episode->returned ? recovery_ms : INT64_MAX / 2;
}

static uint64_t judge_one(struct episode *episode, const struct stage *stage, const struct oracle *oracle,
                          const struct journal_plan *plan) {
	struct proof proof = {.invariants = "I1 I3 I4 I5 I6", .fault = episode->what, .runs = 1};

	proof.violations += check_strict(episode, oracle, plan);
	proof.violations += stage_check_fallback(stage, oracle, plan, episode->began_ns, episode->until_ns);
	proof.violations += check_slow(episode, oracle, plan, &proof.checked);
	proof.recovery_ms = check_return(episode, last_alone(episode, oracle));
	proof.violations += proof.recovery_ms > episode->within_ms;
	tap_ok(episode->lost_agents == 0, "I6 %s: %u agents lost", episode->what, episode->lost_agents);
	proof.violations += episode->lost_agents;
	proof_print(&proof);
	return proof.violations;
}

/* ---- Between them ------------------------------------------------------------------- */

/* When the first host was about to lose the database; when the fault began, if none did. */
static uint64_t lost_ns(const struct episode *episode) {
	return episode->cut_off != 0 || episode->away_ns == EPISODE_NEVER ? episode->began_ns : episode->away_ns;
}

/* Judges the calm after `last` and before `next`; NULL: there is none. It holds nothing that a failover forgot,
 * since all leases of the old primary have run out before a host is in step again. */
static uint32_t check_calm(const struct episode *last, const struct episode *next, const struct oracle *oracle,
                           const struct journal_plan *plan) {
	static const struct episode none;
	struct oracle_choice choice = {.host = ORACLE_ANY,
	                               .sources = ORACLE_ALL,
	                               .from_ns = last != NULL ? last->in_step_ns : 0,
	                               .until_ns = next != NULL ? lost_ns(next) : 0};
	struct excess excess = find_excess(&none, oracle, plan, choice);

	tap_ok(excess.clients == 0, "I1 %s %s: whoever decided, at most %lld in any %lld ms; limit %lld, %u over",
	       last != NULL ? "in step after" : "before", last != NULL ? last->what : next->what,
	       (long long)excess.peak, (long long)plan->policy[0].time_window_ms,
	       (long long)plan->policy[0].max_requests, excess.clients);
	return excess.clients;
}

/* Lists at most two times for each episode. */
static size_t list_away(const struct episode *episodes, uint32_t count, struct stage_away *away) {
	size_t listed = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct episode *episode = &episodes[i];

		if (episode->cut_off != 0)
			away[listed++] = (struct stage_away){episode->began_ns, episode->in_step_ns, episode->cut_off};
		if (episode->away_ns != EPISODE_NEVER)
			away[listed++] = (struct stage_away){.from_ns = episode->away_ns, .until_ns = episode->in_step_ns};
	}
	return listed;
}

uint64_t episode_judge_all(struct episode *episodes, uint32_t count, const char *all, const struct stage *stage,
                           const struct oracle *oracle, const struct journal_plan *plan) {
	struct stage_away *away = calloc(2 * (size_t)count + 1, sizeof(*away));
	uint64_t violations = 0, calm = 0;

	if (away == NULL)
		abort(); /* a test that can't be judged must not pass */
	for (uint32_t i = 0; i < count; i++)
		violations += judge_one(&episodes[i], stage, oracle, plan);
	for (uint32_t i = 0; i <= count && count > 0; i++)
		calm += check_calm(i > 0 ? &episodes[i - 1] : NULL, i < count ? &episodes[i] : NULL, oracle, plan);
	calm += stage_check_alone(oracle, away, list_away(episodes, count, away));
	free(away);
	proof_print(&(struct proof){.invariants = "I1",
	                            .fault = all,
	                            .runs = count,
	                            .checked = oracle->count,
	                            .violations = calm,
	                            .recovery_ms = PROOF_NO_RECOVERY});
	return violations + calm;
}

void episode_conclude(struct episode *episodes, uint32_t count, const char *all, struct stage *stage,
                      const struct books *books, const struct journal_plan *plan) {
	static struct crowd_total total; /* large */
	struct oracle oracle;

	stage_read(stage, &oracle, &total);
	episode_check_latency(all, &total, plan);
	episode_judge_all(episodes, count, all, stage, &oracle, plan);
	books_judge(books, &oracle, plan, all, count);
	oracle_free(&oracle);
}
