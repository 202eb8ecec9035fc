/*
 * simulate.c - runs worlds, one for each seed, and says which broke an invariant.
 *
 *     simulate [--seeds FIRST-LAST] [--jobs N] many; a seed that fails is printed with the command that replays
 *     it
 *     simulate [--trace] SEED                      one, with its figures, or with every event
 */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proof.h"
#include "tap.h"
#include "world.h"

#define KINDS_MAX      48
#define FAILURES_SHOWN 20u

/* Of all worlds with the same faults; shared by the workers. */
struct tally {
	_Atomic(const char *) name; /* the address is the same in all processes */
	_Atomic uint64_t worlds, failed, admissions;
	_Atomic int64_t recovery_ns;
};

struct tallies {
	struct tally tally[KINDS_MAX];
	_Atomic uint64_t done, failed, steps;
	_Atomic int64_t longest_wait_ns;
};

struct run {
	uint64_t first, last;
	uint32_t jobs;
	const char *program;
	struct tallies *tallies;
};

#define U(number) ((unsigned long long)(number))

/* ---- One world -------------------------------------------------------------------------- */

static void tell_host(const struct core_counters *c, uint32_t host) {
	printf("host %u: batches %llu granted %llu returned %llu charged %llu fallback %llu late %llu", host,
	       U(c->batches), U(c->granted), U(c->returned), U(c->charged), U(c->fallback_granted), U(c->late));
	printf(" evicted %llu+%llu tableless %llu\n", U(c->evicted_idle), U(c->evicted_for_room), U(c->tableless));
}

static void tell(const struct world *w) {
	const struct faults *f = &w->planned;
	printf("seed %llu: %s\n", U(w->seed), f->name);
	printf(
		"lost %u%% rejected %u%% locked %u%% away %u%% dropped %u%% duplicated %u%% mistaken %u%% refunds %u%%, apps die %u%% stop %u%%, agents crash %u stop %u\n",
		f->lost, f->rejected, f->locked, f->away, f->dropped, f->duplicated, f->mistaken, f->refunds,
		f->app_deaths, f->app_pauses, f->agent_crashes, f->agent_pauses);
	printf("server crashes %u, promoted %u%s, clock back %u forward %u%s%s%s%s%s\n", f->database_crashes,
	       f->promotions, f->loses_commits ? " with loss" : "", f->steps_back, f->steps_forward,
	       f->slow ? ", slow" : "", f->crowded ? ", crowded" : "", f->relaxed ? ", relaxed" : "",
	       f->fixed ? ", fixed window" : "", f->policy_changes ? ", policy changes" : "");
	printf("hosts %u, apps %u, clients %u, limit %d in %llu ms, resolution %d, fallback %d\n", w->host_count,
	       w->app_count, w->client_count, w->policy.terms.max_requests, U(w->policy.time_window_ms),
	       w->policy.terms.runs, w->policy.fallback_terms.max_requests);
	printf(
		"steps %llu, checks %llu, asked %llu, admitted %llu, longest wait %llu us, in step again after %llu us\n",
		U(w->steps), U(w->checks), U(w->asked), U(w->admissions), U(w->longest_wait_ns / US),
		U(w->worst_recovery_ns / US));
	for (uint32_t h = 0; h < w->host_count; h++)
		if (w->hosts[h].core)
			tell_host(core_counters(w->hosts[h].core), h);
	printf("%s\n", w->trouble[0] ? w->trouble : "ok");
}

static int replay(uint64_t seed, bool traced) {
	struct world *w = world_new(seed, traced);
	world_run(w);
	tell(w);
	int status = w->trouble[0] != 0;
	world_free(w);
	return status;
}

/* ---- Many --------------------------------------------------------------------------------- */

static void raise_to(_Atomic int64_t *most, int64_t value) {
	for (int64_t seen = *most; seen < value && !atomic_compare_exchange_weak(most, &seen, value);)
		;
}

static struct tally *tally_of(struct tallies *tallies, const char *name) {
	for (size_t i = 0; i < KINDS_MAX; i++) {
		const char *none = NULL;
		struct tally *tally = &tallies->tally[i];
		if (atomic_compare_exchange_strong(&tally->name, &none, name) || none == name)
			return tally;
	}
	abort();
}

static void count_world(const struct run *run, const struct world *w) {
	struct tallies *all = run->tallies;
	struct tally *tally = tally_of(all, w->faults.name);
	tally->worlds++;
	tally->admissions += w->admissions;
	raise_to(&tally->recovery_ns, w->worst_recovery_ns);
	raise_to(&all->longest_wait_ns, w->longest_wait_ns);
	all->steps += w->steps;
	if (w->trouble[0]) {
		tally->failed++;
		if (all->failed++ < FAILURES_SHOWN)
			tap_note("%s %llu   (%s) %s", run->program, U(w->seed), w->faults.name, w->trouble);
	}
}

static void tell_progress(const struct run *run, uint64_t done) {
	uint64_t total = run->last - run->first + 1, tenth = total / 10;
	if (tenth > 0 && done % tenth == 0 && done < total)
		tap_note("%llu of %llu seeds, %llu failed", U(done), U(total), U(run->tallies->failed));
}

static void work(const struct run *run, uint32_t worker) {
	for (uint64_t seed = run->first + worker; seed <= run->last; seed += run->jobs) {
		struct world *w = world_new(seed, false);
		world_run(w);
		count_world(run, w);
		world_free(w);
		tell_progress(run, ++run->tallies->done);
	}
}

/* A worker that dies takes the check of its seeds with it: counted as one failure. */
static uint32_t run_workers(const struct run *run) {
	uint32_t died = 0;
	fflush(stdout);
	for (uint32_t worker = 0; worker < run->jobs; worker++) {
		pid_t pid = fork();
		if (pid == 0) {
			work(run, worker);
			_exit(0);
		}
		died += pid < 0;
	}
	for (int status; wait(&status) > 0;)
		died += status != 0;
	return died;
}

static void print_proofs(const struct tallies *tallies) {
	for (size_t i = 0; i < KINDS_MAX && tallies->tally[i].name; i++) {
		const struct tally *tally = &tallies->tally[i];
		char fault[96];
		snprintf(fault, sizeof(fault), "simulated: %s", tally->name);
		proof_print(&(struct proof){
			.invariants = "I1 I2 I3 I4 I5",
			.fault = fault,
			.runs = tally->worlds,
			.checked = tally->admissions,
			.violations = tally->failed,
			.recovery_ms = tally->recovery_ns / MS,
		});
	}
}

static int run_many(struct run *run) {
	run->tallies = mmap(NULL, sizeof(*run->tallies), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run->tallies == MAP_FAILED)
		abort();
	uint32_t died = run_workers(run);
	const struct tallies *all = run->tallies;
	tap_note("%llu events; the longest wait of a check was %llu ms", U(all->steps), U(all->longest_wait_ns / MS));
	print_proofs(all);
	tap_ok(died == 0, "%u of %u workers died", died, run->jobs);
	tap_ok(all->done == run->last - run->first + 1, "all seeds from %llu to %llu were run", U(run->first),
	       U(run->last));
	tap_ok(all->failed == 0, "%llu worlds broke an invariant", U(all->failed));
	return tap_finish();
}

/* ---- The command ---------------------------------------------------------------------------- */

static _Noreturn void usage(void) {
	fputs("usage: simulate [--seeds FIRST-LAST] [--jobs N]\n       simulate [--trace] SEED\n", stderr);
	exit(2);
}

static uint64_t number_at(const char *text, char **end) {
	errno = 0;
	uint64_t number = strtoull(text, end, 10);
	if (*end == text || errno || text[0] == '-')
		usage();
	return number;
}

static void read_seeds(struct run *run, const char *text) {
	char *end;
	run->first = number_at(text, &end);
	if (*end != '-')
		usage();
	run->last = number_at(end + 1, &end);
	if (*end || run->last < run->first)
		usage();
}

int main(int argc, char **argv) {
	struct run run = {.first = 1,
	                  .last = 2000,
	                  .jobs = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN),
	                  .program = argv[0]};
	bool traced = false;
	char *end;
	mallopt(M_MMAP_THRESHOLD, 1 << 30); /* tables come and go thousands of times: keep their memory */
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0)
			traced = true;
		else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
			read_seeds(&run, argv[++i]);
		else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
			run.jobs = (uint32_t)number_at(argv[++i], &end);
		else
			return replay(number_at(argv[i], &end), traced);
	}
	if (traced || run.jobs < 1 || run.jobs > 1024)
		usage();
	return run_many(&run);
}
