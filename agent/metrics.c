/* metrics.c - the text format, one family of samples after the other, in slices; see metrics.h. */
#include "metrics.h"

#include <inttypes.h>

static const char *const source_names[TALLY_SOURCES] = {"lease", "database", "fallback", "local", "advance"};
static const char *const outcome_names[TALLY_OUTCOMES] = {"allowed", "denied", "shadow_denied"};

static void family(FILE *out, const char *name, const char *type, const char *help) {
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void counter(FILE *out, const char *name, uint64_t value, const char *help) {
	family(out, name, "counter", help);
	fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void gauge(FILE *out, const char *name, int64_t value, const char *help) {
	family(out, name, "gauge", help);
	fprintf(out, "%s %" PRId64 "\n", name, value);
}

/* ---- Policies ---------------------------------------------------------------------- */

/* Names of policies have no character that must be escaped: policy_is_valid() has seen to that. */
static void sample(FILE *out, const char *name, const struct metrics_policy *policy, uint64_t value) {
	fprintf(out, "%s{policy=\"%s\"} %" PRIu64 "\n", name, policy->name, value);
}

static void decisions(FILE *out, const struct metrics_policy *policy) {
	for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
		for (unsigned source = 0; source < TALLY_SOURCES; source++)
			fprintf(out, "stint_decisions_total{policy=\"%s\",outcome=\"%s\",source=\"%s\"} %" PRIu64 "\n",
			        policy->name, outcome_names[outcome], source_names[source], policy->verdicts[source][outcome]);
}

static void shadow_denied(FILE *out, const struct metrics_policy *policy) {
	uint64_t sum = 0;
	for (unsigned source = 0; source < TALLY_SOURCES; source++)
		sum += policy->verdicts[source][TALLY_SHADOW_DENIED];
	sample(out, "stint_shadow_denied_total", policy, sum);
}

static void near_limit(FILE *out, const struct metrics_policy *policy) {
	sample(out, "stint_near_limit_total", policy, policy->near_limit);
}

static void limit(FILE *out, const struct metrics_policy *policy) {
	sample(out, "stint_policy_limit", policy, (uint64_t)policy->max_requests);
}

static void window(FILE *out, const struct metrics_policy *policy) {
	fprintf(out, "stint_policy_window_seconds{policy=\"%s\"} %.3f\n", policy->name,
	        (double)policy->time_window_ms / 1e3);
}

/* Some 250 lines are a slice. */
static const struct policy_family {
	const char *name, *type, *help;
	size_t slice; /* policies */
	void (*write)(FILE *, const struct metrics_policy *);
} policy_families[] = {
	{"stint_decisions_total", "counter",
     "Checks that got a verdict; with several limits, one for each that admits or for the one that denies.", 16,
     decisions},
	{"stint_shadow_denied_total", "counter", "Checks admitted only because their policy is a shadow.", 256,
     shadow_denied},
	{"stint_near_limit_total", "counter",
     "Answers of the store that left a client less than a fifth of its limit.", 256, near_limit},
	{"stint_policy_limit", "gauge", "Requests that a client may make in a window.", 256, limit},
	{"stint_policy_window_seconds", "gauge", "Length of the policy's window.", 256, window},
};

#define POLICY_FAMILIES (sizeof(policy_families) / sizeof(policy_families[0]))

static void write_some_policies(FILE *out, const struct metrics_facts *facts, const struct policy_family *of,
                                size_t *policy) {
	if (*policy == 0)
		family(out, of->name, of->type, of->help);
	for (size_t left = of->slice; left > 0 && *policy < facts->policy_count; left--)
		of->write(out, &facts->policies[(*policy)++]);
}

static void write_errors(FILE *out, const struct metrics_facts *facts) {
	family(out, "stint_check_errors_total", "counter", "Checks that ended with an error and without a verdict.");
#define SAMPLE(name, number, sentence)                                                                            \
	fprintf(out, "stint_check_errors_total{error=\"" #name "\"} %" PRIu64 "\n",                                   \
	        facts->errors[tally_error_place(number)]);
	STINT_ERRORS(SAMPLE)
#undef SAMPLE
}

/* ---- The agent ---------------------------------------------------------------------- */

static void write_state(FILE *out, const struct metrics_facts *facts) {
	static const struct {
		enum core_state state;
		const char *name;
	} states[] = {
		{CORE_MEMORY, "memory"}, {CORE_CONNECTING, "connecting"}, {CORE_FALLBACK, "fallback"},
		{CORE_RESYNC, "resync"}, {CORE_IN_STEP, "in_step"},
	};
	family(out, "stint_build_info", "gauge", "Version of the agent.");
	fprintf(out, "stint_build_info{version=\"" STINT_VERSION "\"} 1\n");
	family(out, "stint_agent_state", "gauge", "1 for the state that the agent is in.");
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		fprintf(out, "stint_agent_state{state=\"%s\"} %d\n", states[i].name, states[i].state == facts->state);
	counter(out, "stint_fallbacks_total", facts->fallbacks, "Times that this host was left without its database.");
	counter(out, "stint_fallback_admitted_total", facts->fallback_admitted,
	        "Credits used in fallbacks that are over.");
	gauge(out, "stint_uncharged_clients", (int64_t)facts->uncharged_clients,
	      "Clients whose use in a fallback that is over is not charged to the database yet.");
	gauge(out, "stint_attached_processes", (int64_t)facts->processes,
	      "Processes of apps that are attached to the agent, stint check among them while it runs.");
	counter(out, "stint_refused_processes_total", facts->refused_processes,
	        "Times that a process was refused because its library is of another version.");
}

static void write_durations(FILE *out, const char *name, const struct durations *durations, const char *help) {
	uint64_t count = 0;
	family(out, name, "histogram", help);
	for (size_t i = 0; i < DURATIONS_BOUNDS; i++) {
		count += durations->count[i];
		fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)durations_bounds_us[i] / 1e6, count);
	}
	count += durations->count[DURATIONS_BOUNDS];
	fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n", name, count, name,
	        (double)durations->sum_ns / 1e9, name, count);
}

static void write_database(FILE *out, const struct metrics_facts *facts) {
	const struct core_counters *c = facts->core;
	write_durations(out, "stint_database_batch_duration_seconds", facts->batches,
	                "Time from sending a statement for leases to its answer, or to its failure.");
	family(out, "stint_database_timeout_seconds", "gauge", "Longest time that the database may take to answer.");
	fprintf(out, "stint_database_timeout_seconds %.3f\n", (double)facts->deadline_ms / 1e3);
	counter(out, "stint_database_requests_total", c->requests, "Clients in all statements for leases.");
	counter(out, "stint_database_busy_total", c->busy,
	        "Requests put off because somebody had locked the client's row.");
	counter(out, "stint_unserved_checks_total", c->unserved,
	        "Checks denied because the client's row could not be had.");
	counter(out, "stint_old_snapshots_total", facts->old_snapshots,
	        "Times that the database told this host of a snapshot that is a minute old or older.");
	gauge(out, "stint_live_hosts", facts->live_hosts, "Hosts that are alive, by the database.");
	family(out, "stint_credits_total", "counter",
	       "Credits that this host was granted (by itself in a fallback), gave back, or was charged for later.");
	fprintf(out, "stint_credits_total{event=\"granted\"} %" PRIu64 "\n", c->granted);
	fprintf(out, "stint_credits_total{event=\"returned\"} %" PRIu64 "\n", c->returned);
	fprintf(out, "stint_credits_total{event=\"charged\"} %" PRIu64 "\n", c->charged);
	counter(out, "stint_late_grants_total", c->late, "Grants that came too late to be used.");
}

static void write_table(FILE *out, const struct metrics_facts *facts) {
	const struct core_counters *c = facts->core;
	gauge(out, "stint_table_clients", (int64_t)facts->clients, "Clients in this host's table.");
	gauge(out, "stint_table_capacity", (int64_t)facts->capacity, "Clients that the table has room for.");
	family(out, "stint_table_evictions_total", "counter", "Clients that left the table.");
	fprintf(out, "stint_table_evictions_total{reason=\"idle\"} %" PRIu64 "\n", c->evicted_idle);
	fprintf(out, "stint_table_evictions_total{reason=\"room\"} %" PRIu64 "\n", c->evicted_for_room);
	counter(out, "stint_table_overflow_total", c->tableless, "Times that a client found no room in the table.");
	counter(out, "stint_table_repairs_total", c->repaired, "Slots that somebody had scribbled over.");
}

static void known(FILE *out, const char *name, int64_t value, const char *help) {
	if (value >= 0)
		gauge(out, name, value, help);
}

static void write_process(FILE *out, const struct metrics_process *process) {
	family(out, "process_cpu_seconds_total", "counter", "CPU time that the agent has used.");
	fprintf(out, "process_cpu_seconds_total %.6f\n", process->cpu_seconds);
	known(out, "process_resident_memory_bytes", process->resident_bytes, "Memory of the agent, with its table.");
	known(out, "process_virtual_memory_bytes", process->virtual_bytes, "Address space of the agent.");
	known(out, "process_open_fds", process->open_fds, "Open descriptors of the agent.");
	known(out, "process_max_fds", process->max_fds, "Descriptors that the agent may open.");
	if (process->started <= 0)
		return;
	family(out, "process_start_time_seconds", "gauge", "When the agent started, in Unix time.");
	fprintf(out, "process_start_time_seconds %.3f\n", process->started);
}

bool metrics_write_slice(FILE *out, const struct metrics_facts *facts, struct metrics_position *at) {
	if (at->part == 0) {
		write_state(out, facts);
		at->part = 1;
	} else if (at->part <= POLICY_FAMILIES) {
		write_some_policies(out, facts, &policy_families[at->part - 1], &at->policy);
		if (at->policy == facts->policy_count)
			*at = (struct metrics_position){.part = at->part + 1};
	} else {
		write_errors(out, facts);
		write_database(out, facts);
		write_table(out, facts);
		write_process(out, &facts->process);
		return false;
	}
	return true;
}
