/* check.c - see check.h. */
#include "check.h"

#include "clock.h"

/* As lib/README.md says, the library goes by this clock if it is at most 10 ms behind. */
static void watch_coarse_clock(struct journal_counts *counts, uint64_t now_ns) {
	uint64_t coarse_ns = clock_read_ns(CLOCK_MONOTONIC_COARSE);

	if (coarse_ns < now_ns && now_ns - coarse_ns > counts->coarse_lag_ns)
		counts->coarse_lag_ns = now_ns - coarse_ns;
}

bool check_make(struct journal *journal, struct stint_limiter *limiter, const struct load_check *check) {
	struct stint_result result = {0};
	struct journal_record *record;
	uint64_t before, after;
	char id[64];
	int status;

	journal_client_id(&journal->file->plan, check->client, id);
	before = monotonic_ns();
	watch_coarse_clock(&journal->file->counts, before);
	record = journal_intend(journal, check->policy, check->client, check->cost, before);
	if (record == NULL)
		return false;
	status = stint_check(limiter, id, check->cost, &result);
	after = monotonic_ns();
	histogram_add(&journal->file->counts.latency_ns, after - before);
	if (status != 0)
		journal_failed(journal, record, status);
	else if (result.allowed)
		journal_admitted(journal, record, (uint8_t)result.source, after);
	else
		journal_denied(journal, record, (uint8_t)result.source);
	return true;
}
