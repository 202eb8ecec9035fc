/* crowd.c - see crowd.h. */
#include "crowd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "process.h"

#define READY_MS 10000
/* How long a process may take to end: the longest timeout of a check, and some more. */
#define END_MS 10000

int crowd_add(struct crowd *crowd, const struct host *host, const struct journal_plan *plan, uint32_t rate) {
	struct journal_plan own = *plan;
	char file[32], path[108];

	if (crowd->count == CROWD_MAX)
		return -1;
	snprintf(own.socket, sizeof(own.socket), "%s", host->socket);
	own.host = host->number;
	own.seed = plan->seed + crowd->count * UINT64_C(1000003); /* any stride above the number of starts will do */
	snprintf(file, sizeof(file), "%u.journal", crowd->count);
	scene_path(crowd->scene, file, path);
	if (journal_create(&crowd->member[crowd->count].journal, path, &own, rate) != 0)
		return -1;
	crowd->count++;
	return 0;
}

static bool wait_ready(struct crowd_member *member) {
	uint64_t deadline = monotonic_ns() + READY_MS * NS_PER_MS;

	while (!member->journal.file->ready) {
		if (monotonic_ns() > deadline)
			return false;
		sleep_ms(1);
	}
	return true;
}

static int launch(struct crowd_member *member) {
	const char *argv[] = {process_built("tests/support/app"), member->journal.path, NULL};

	member->journal.file->stop = 0;
	member->journal.file->ready = 0;
	member->pid = process_start(argv, NULL);
	return member->pid > 0 ? 0 : -1;
}

int crowd_start_one(struct crowd *crowd, uint32_t index) {
	struct crowd_member *member = &crowd->member[index];

	return launch(member) == 0 && wait_ready(member) ? 0 : -1;
}

int crowd_start(struct crowd *crowd) {
	for (uint32_t i = 0; i < crowd->count; i++)
		if (crowd->member[i].pid == 0 && launch(&crowd->member[i]) != 0)
			return -1;
	for (uint32_t i = 0; i < crowd->count; i++)
		if (!wait_ready(&crowd->member[i]))
			return -1;
	return 0;
}

void crowd_kill_one(struct crowd *crowd, uint32_t index) {
	process_kill(crowd->member[index].pid);
	crowd->member[index].pid = 0;
}

int crowd_missing(struct crowd *crowd) {
	int missing = 0;

	for (uint32_t i = 0; i < crowd->count; i++) {
		struct crowd_member *member = &crowd->member[i];

		if (member->pid > 0 && process_wait(member->pid, 0, NULL)) {
			fprintf(stderr, "# app %u ended by itself\n", i);
			member->pid = 0;
			missing++;
		}
	}
	return missing;
}

static bool ended_well(struct crowd_member *member, uint32_t index) {
	int status = -1;

	if (process_wait(member->pid, END_MS, &status) && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (status == -1)
		process_kill(member->pid);
	fprintf(stderr, "# app %u: %s, status %#x\n", index,
	        member->journal.file->full ? "journal full"
	        : status == -1             ? "no end"
	                                   : "ended badly",
	        (unsigned)status);
	return false;
}

int crowd_stop(struct crowd *crowd) {
	int bad = 0;

	for (uint32_t i = 0; i < crowd->count; i++)
		crowd->member[i].journal.file->stop = 1;
	for (uint32_t i = 0; i < crowd->count; i++) {
		struct crowd_member *member = &crowd->member[i];

		if (member->pid > 0)
			bad += !ended_well(member, i);
		member->pid = 0;
	}
	return bad;
}

void crowd_free(struct crowd *crowd) {
	for (uint32_t i = 0; i < crowd->count; i++)
		journal_close(&crowd->member[i].journal);
	crowd->count = 0;
}

uint64_t crowd_admitted(const struct crowd *crowd, uint32_t host, uint32_t sources) {
	uint64_t admitted = 0;

	for (uint32_t i = 0; i < crowd->count; i++) {
		const struct journal_file *file = crowd->member[i].journal.file;

		for (unsigned s = 0; s < JOURNAL_SOURCES && file->plan.host == host; s++)
			if (sources == 0 || (sources >> s & 1) != 0)
				admitted += file->counts.admitted[s];
	}
	return admitted;
}

void crowd_total_add(struct crowd_total *total, const struct journal_counts *counts) {
	total->checks += counts->checks;
	total->errors += counts->errors;
	if (counts->last_error != 0)
		total->last_error = counts->last_error;
	for (unsigned s = 0; s < JOURNAL_SOURCES; s++) {
		total->admitted[s] += counts->admitted[s];
		total->denied[s] += counts->denied[s];
	}
	histogram_merge(&total->latency_ns, &counts->latency_ns);
	if (counts->coarse_lag_ns > total->coarse_lag_ns)
		total->coarse_lag_ns = counts->coarse_lag_ns;
}

void crowd_sum(const struct crowd *crowd, struct crowd_total *total) {
	memset(total, 0, sizeof(*total));
	for (uint32_t i = 0; i < crowd->count; i++)
		crowd_total_add(total, &crowd->member[i].journal.file->counts);
}

int crowd_read(const struct crowd *crowd, struct oracle *oracle) {
	for (uint32_t i = 0; i < crowd->count; i++)
		if (oracle_read(oracle, &crowd->member[i].journal) != 0)
			return -1;
	oracle_sort(oracle);
	return 0;
}
