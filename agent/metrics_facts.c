/* metrics_facts.c - what metrics.c writes, and where it is known; see metrics_facts.h. */
#include "metrics_facts.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Who may have `most` and gets no descriptor to look with has them all. */
static int64_t count_descriptors(int64_t most) {
	int64_t count = 0;
	DIR *directory = opendir("/proc/self/fd");
	if (!directory)
		return errno == EMFILE ? most : -1;
	for (const struct dirent *entry; (entry = readdir(directory));)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count - 1; /* the one that was used to look */
}

struct metrics_process metrics_process_look(void) {
	struct metrics_process process = {.virtual_bytes = -1, .resident_bytes = -1, .max_fds = -1};
	int64_t virtual_pages = 0, resident_pages = 0, page = sysconf(_SC_PAGESIZE);
	FILE *statm = fopen("/proc/self/statm", "re");
	if (statm && fscanf(statm, "%" SCNd64 " %" SCNd64, &virtual_pages, &resident_pages) == 2) {
		process.virtual_bytes = virtual_pages * page;
		process.resident_bytes = resident_pages * page;
	}
	if (statm)
		fclose(statm);
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		process.max_fds = (int64_t)limit.rlim_cur;
	process.open_fds = count_descriptors(process.max_fds);
	struct timespec cpu;
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
		process.cpu_seconds = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;
	return process;
}

/* Of the places of policies, so many at a time. Their counts are read anew from what CPUs have just written: with
 * 64 CPUs a quarter of a millisecond. */
#define LOOK_PLACES 16

struct metrics_scrape {
	const struct status_sources *sources;
	struct metrics_policy policies[POLICY_CAPACITY]; /* each as it was when it was looked at */
	struct metrics_facts facts;
	struct metrics_position position;
	int looked; /* so many places */
};

static void look_at_policy(const struct driver *driver, int index, struct metrics_policy *policy) {
	const struct policies *policies = driver->policies;
	const struct policy_row *row = &policies->policy[index].row;
	*policy = (struct metrics_policy){
		.max_requests = row->max_requests,
		.time_window_ms = row->time_window_ms,
		.near_limit = core_near_limit(driver->core, (uint16_t)index),
	};
	memcpy(policy->name, row->name, sizeof(policy->name));
	for (unsigned source = 0; source < TALLY_SOURCES; source++)
		for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
			policy->verdicts[source][outcome] =
				tallies_verdicts(&policies->tallies, index, STINT_SOURCE_LEASE + source,
			                     (enum tally_outcome)outcome);
}

static void look_at_some_policies(struct metrics_scrape *scrape) {
	const struct driver *driver = scrape->sources->driver;
	for (int i = 0; i < LOOK_PLACES && scrape->looked < (int)POLICY_CAPACITY; i++, scrape->looked++)
		if (driver->policies->policy[scrape->looked].used)
			look_at_policy(driver, scrape->looked, &scrape->policies[scrape->facts.policy_count++]);
}

/* What is not of policies. */
static void look_at_rest(struct metrics_scrape *scrape) {
	const struct status_sources *sources = scrape->sources;
	const struct driver *driver = sources->driver;
	const struct core *core = driver->core;
	struct metrics_facts *facts = &scrape->facts;
	*facts = (struct metrics_facts){
		.state = core_state(core),
		.live_hosts = sources->sync->hello.live_hosts,
		.fallbacks = sources->outage->count,
		.fallback_admitted = sources->outage->admitted_before,
		.uncharged_clients = core_uncharged(core),
		.old_snapshots = sources->sync->old_snapshots,
		.core = core_counters(core),
		.batches = &driver->batches,
		.deadline_ms = sources->config->database_timeout_ms,
		.clients = core_client_count(core),
		.capacity = (uint64_t)sources->config->max_clients,
		.processes = server_app_count(driver->server),
		.refused_processes = server_refused_count(driver->server),
		.process = metrics_process_look(),
		.policies = facts->policies,
		.policy_count = facts->policy_count,
	};
	facts->process.started = (double)sources->started_wall_ns / 1e9;
	for (int error = 1; error < (int)TALLY_COUNTS; error++)
		facts->errors[tally_error_place(-error)] = tallies_errors(&driver->policies->tallies, -error);
}

struct metrics_scrape *metrics_scrape_new(const struct status_sources *sources) {
	struct metrics_scrape *scrape = calloc(1, sizeof(*scrape));
	if (scrape) {
		scrape->sources = sources;
		scrape->facts.policies = scrape->policies;
	}
	return scrape;
}

void metrics_scrape_free(struct metrics_scrape *scrape) {
	free(scrape);
}

char *metrics_scrape_next(struct metrics_scrape *scrape, size_t *size, bool *more) {
	char *text = NULL;
	FILE *out = open_memstream(&text, size);
	*more = false;
	if (!out)
		return NULL;
	if (scrape->looked < (int)POLICY_CAPACITY) {
		look_at_some_policies(scrape);
		if (scrape->looked == (int)POLICY_CAPACITY)
			look_at_rest(scrape);
		*more = true;
	} else {
		*more = metrics_write_slice(out, &scrape->facts, &scrape->position);
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
