/*
 * test_several_limits.c - what an app asks beside plain checks, of real agents and a database: several limits
 * in one check, a look at what is left, charges afterwards and refunds.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proof.h"
#include "scene.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define HOSTS     2u
#define APPS      4u /* on each host */
#define USERS     10u
#define USER_MAX  60
#define ALL_MAX   200
#define CHECKS    150u /* of each app */
#define REFUNDS   50
#define SMALL_MAX 10

static const struct stint_options user_options = {.policy = "user",
                                                  .max_requests = USER_MAX,
                                                  .time_window_ms = 3600000,
                                                  .timeout_ms = 10000};
static const struct stint_options all_options = {.policy = "all",
                                                 .max_requests = ALL_MAX,
                                                 .time_window_ms = 3600000,
                                                 .timeout_ms = 10000};
static const struct stint_options small_options = {.policy = "small",
                                                   .max_requests = SMALL_MAX,
                                                   .time_window_ms = 3600000,
                                                   .timeout_ms = 10000};

struct app {
	struct stint *stint;
	struct stint_limiter *user, *all, *small;
};

static bool app_open(struct app *app, const struct host *host) {
	*app = (struct app){0};
	return stint_open(&app->stint, host->socket) == 0 &&
	       stint_limiter_new(&app->user, app->stint, &user_options) == 0 &&
	       stint_limiter_new(&app->all, app->stint, &all_options) == 0 &&
	       stint_limiter_new(&app->small, app->stint, &small_options) == 0;
}

static void app_close(struct app *app) {
	stint_limiter_free(app->user);
	stint_limiter_free(app->all);
	stint_limiter_free(app->small);
	stint_close(app->stint);
}

/* ---- All or nothing ---------------------------------------------------------------------- */

struct shared { /* by all processes */
	atomic_uint admitted[USERS], total, wrong;
};

static int check_both(struct app *app, const char *user, struct stint_result *r) {
	const struct stint_part parts[] =
		{{.limiter = app->user, .client_id = user, .length = STINT_STRING, .cost = 1},
	     {.limiter = app->all, .client_id = "all", .length = 3, .cost = 1}};
	return stint_check_all(parts, 2, r);
}

/* Half of the checks are of three users, so that both limits are met. */
static void ask_for_both(struct shared *shared, const struct host *host, unsigned seed) {
	struct app app;
	struct stint_result r;
	char user[16];
	bool good = app_open(&app, host);
	for (unsigned i = 0; good && i < CHECKS; i++) {
		seed = seed * 1103515245u + 12345u;
		unsigned n = (seed >> 16) % (i % 2 ? USERS : 3);
		snprintf(user, sizeof(user), "user-%u", n);
		if (check_both(&app, user, &r) != 0)
			atomic_fetch_add(&shared->wrong, 1);
		else if (r.allowed) {
			atomic_fetch_add(&shared->admitted[n], 1);
			atomic_fetch_add(&shared->total, 1);
		}
	}
	if (!good)
		atomic_fetch_add(&shared->wrong, 1);
	app_close(&app);
}

static void play_crowd(const struct stage *stage) {
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned most = 0, ended = 0;
	pid_t app[HOSTS * APPS];
	fflush(stdout);
	for (unsigned i = 0; i < HOSTS * APPS; i++) {
		app[i] = fork();
		if (app[i] == 0) {
			ask_for_both(shared, &stage->host[i % HOSTS], i + 1);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < HOSTS * APPS; i++) {
		int status = -1;
		ended += waitpid(app[i], &status, 0) == app[i] && status == 0;
	}
	for (unsigned n = 0; n < USERS; n++)
		most = shared->admitted[n] > most ? shared->admitted[n] : most;
	tap_ok(ended == HOSTS * APPS && shared->wrong == 0, "%u apps on %u hosts asked for two limits at once", ended,
	       HOSTS);
	tap_ok(shared->total <= ALL_MAX, "I1 all together: %u of %d", shared->total, ALL_MAX);
	tap_ok(most <= USER_MAX, "I1 one user at most: %u of %d", most, USER_MAX);
	/* The rest may lie in the other host's lease, or was lost when a lease changed as it was put back. */
	tap_ok(shared->total >= ALL_MAX * 9 / 10, "I5 what denials took of the others was put back: %u of %d admitted",
	       shared->total, ALL_MAX);
	munmap(shared, sizeof(*shared));
}

/* Everybody's limit is used up by now, so each of these checks is denied, and costs the user nothing. */
static void play_denied(struct app *app) {
	struct stint_result r = {0};
	unsigned denied = 0, by_all = 0;
	while (check_both(app, "spender", &r) == 0 && r.allowed)
		;
	for (int i = 0; i < 2 * USER_MAX; i++)
		if (check_both(app, "somebody", &r) == 0 && !r.allowed) {
			denied++;
			by_all += r.part == 1;
		}
	tap_ok(denied == 2 * USER_MAX && by_all == denied, "%u checks were denied, by the limit of all", denied);
	bool told = stint_check(app->user, "somebody", 1, &r) == 0 && r.allowed;
	tap_ok(told && r.remaining == USER_MAX - 1, "and their user lost nothing: %lld of %d are left after one more",
	       (long long)r.remaining, USER_MAX);
}

/* ---- A look, a charge, a refund -------------------------------------------------------------- */

static void play_look(struct app *app) {
	struct stint_result r = {0};
	unsigned right = 0;
	for (int i = 0; i < 10; i++)
		right += stint_peek(app->small, "looked at", SMALL_MAX, &r) == 0 && r.allowed && r.remaining == SMALL_MAX;
	tap_ok(right == 10, "%u of 10 looks found all of %d left", right, SMALL_MAX);
	bool left = stint_check(app->small, "looked at", 1, &r) == 0 && r.remaining == SMALL_MAX - 1;
	tap_ok(left, "a check then leaves %lld", (long long)r.remaining);
	bool found = stint_peek(app->small, "looked at", SMALL_MAX, &r) == 0;
	tap_ok(found && !r.allowed && r.remaining == SMALL_MAX - 1, "and a look says so: %lld, not enough for %d",
	       (long long)r.remaining, SMALL_MAX);
}

static void play_charge(struct app *app) {
	struct stint_result r = {0};
	bool admitted = stint_check(app->small, "charged", 1, &r) == 0 && r.allowed;
	tap_ok(admitted && stint_charge(app->small, "charged", SMALL_MAX + 5) == 0,
	       "a client is charged %d beyond one", SMALL_MAX + 5);
	tap_ok(stint_check(app->small, "charged", 1, &r) == 0 && !r.allowed && r.reason == STINT_OVER_LIMIT,
	       "its next check is denied");
}

/* A check that the agent decided itself can't be given back, and counts. */
static void play_refund(struct app *app) {
	struct stint_result r = {0};
	int admitted = 0, given_back = 0, kept;
	for (int i = 0; i < REFUNDS; i++)
		if (stint_check(app->small, "refunded", 1, &r) == 0 && r.allowed) {
			admitted++;
			given_back += stint_refund(app->small, "refunded", 1, &r) == 1;
		}
	kept = admitted - given_back;
	tap_ok(admitted == REFUNDS && kept < SMALL_MAX, "%d checks of %d were admitted, since %d were given back",
	       admitted, SMALL_MAX, given_back);
	for (int i = 0; i < 5 * SMALL_MAX; i++)
		kept += stint_check(app->small, "refunded", 1, &r) == 0 && r.allowed;
	tap_ok(kept == SMALL_MAX, "I1 of those that weren't, %d of %d", kept, SMALL_MAX);
}

static int run(const struct scene *scene) {
	static struct stage stage;
	struct app app = {0};
	bool good = stage_set(&stage, scene, HOSTS, STAGE_PATIENT) == 0 && app_open(&app, &stage.host[0]);
	if (tap_ok(good, "an app with three policies")) {
		play_crowd(&stage);
		play_denied(&app);
		play_look(&app);
		play_charge(&app);
		play_refund(&app);
		proof_print_checks("I1 I5", "several limits at once");
	}
	app_close(&app);
	stage_strike(&stage);
	return tap_finish();
}

int main(void) {
	return scene_run(run, 120);
}
