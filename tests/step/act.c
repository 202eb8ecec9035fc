/* act.c - see act.h. */
#include "act.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"

const struct stint_options act_options = {
	.policy = ACT_POLICY,
	.max_requests = ACT_LIMIT,
	.time_window_ms = ACT_WINDOW_MS,
	.fallback_max_requests = 1,
	.timeout_ms = ACT_TIMEOUT_MS,
};

struct note *note_make(void) {
	struct note *note = mmap(NULL, sizeof(*note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (note == MAP_FAILED)
		abort();
	return note;
}

int act_attach(struct stint **st, struct stint_limiter **limiter, const char *socket,
               const struct stint_options *options) {
	int error = stint_open(st, socket);

	return error != 0 ? error : stint_limiter_new(limiter, *st, options);
}

/* ---- Preparing ------------------------------------------------------------------- */

static void give_up(struct app *app) {
	app->note->failed = 1;
	_exit(1);
}

static struct stint_result check(struct app *app, const char *id) {
	struct stint_result result = {0};
	int error = stint_check(app->limiter, id, 1, &result);

	if (error != 0 || result.source == STINT_SOURCE_LOCAL)
		give_up(app);
	if (result.allowed && id == app->id)
		app->note->admitted_before++;
	return result;
}

static const struct slot *slot_of(const struct app *app) {
	return peek_find(app->peek, app->peek->table, peek_policy(app->peek, app->options->policy), app->id);
}

static bool holds(const struct app *app, uint32_t credits) {
	const struct slot *slot = slot_of(app);

	return slot != NULL && peek_credits(slot, monotonic_ns()) >= credits;
}

/* The app is attached, and its policy is declared. */
static void prepare_attached(struct app *app) {
	if (act_attach(&app->stint, &app->limiter, app->socket, app->options) != 0)
		give_up(app);
	check(app, "another client");
}

/* The table holds credits for the act's cost. */
static void prepare_credits(struct app *app) {
	prepare_attached(app);
	for (int i = 0; i < ACT_LIMIT / 2; i++) {
		check(app, app->id);
		if (holds(app, app->act->cost))
			return;
	}
	give_up(app);
}

/* A sweep of the agent has come by since the last check, as it does with a client that a new agent doesn't know
 * yet. With other clients the sweep waits until their credits are back. */
static void prepare_swept(struct app *app) {
	prepare_credits(app);
	atomic_store(&((struct slot *)(uintptr_t)slot_of(app))->referenced, 0);
}

static bool is_at_mark(const struct slot *slot) {
	unsigned mark = atomic_load(&slot->low_water);
	uint64_t now_ns = monotonic_ns();

	for (int bank = 0; bank < 2 && mark > 0; bank++)
		if (atomic_load(&slot->deadline_ns[bank]) > now_ns &&
		    word_credits(atomic_load(&slot->word[bank])) == 1u << mark)
			return true;
	return false;
}

/* One more check takes the credits below their mark. */
static void prepare_low(struct app *app) {
	prepare_attached(app);
	for (int i = 0; i < ACT_LIMIT / 2; i++) {
		const struct slot *slot = slot_of(app);

		if (slot != NULL && is_at_mark(slot))
			return;
		check(app, app->id);
	}
	give_up(app);
}

static void prepare_denied(struct app *app) {
	struct stint_result result = {.allowed = true};

	prepare_attached(app);
	for (int i = 0; i < 4 * ACT_LIMIT && (result.allowed || result.source != STINT_SOURCE_LEASE); i++)
		result = check(app, app->id);
	if (result.allowed)
		give_up(app);
}

static void prepare_nothing(struct app *app) {
	(void)app;
}

static void prepare_loop(struct app *app) {
	prepare_attached(app);
	if (stint_fd(app->stint) < 0)
		give_up(app);
}

static void prepare_loop_credits(struct app *app) {
	prepare_credits(app);
	if (stint_fd(app->stint) < 0)
		give_up(app);
}

/* ---- Acting ------------------------------------------------------------------------ */

static void tell(struct note *note, int status, const struct stint_result *result) {
	note->error = status < 0 ? status : 0;
	note->allowed = status >= 0 && result->allowed;
	note->source = status >= 0 ? (int32_t)result->source : 0;
	note->returned = 1;
}

static void play_check(struct app *app) {
	struct stint_result result;

	tell(app->note, stint_check(app->limiter, app->id, app->act->cost, &result), &result);
}

static void play_attach(struct app *app) {
	int error = act_attach(&app->stint, &app->limiter, app->socket, app->options);

	if (error != 0)
		tell(app->note, error, NULL);
	else
		play_check(app);
}

static void on_verdict(int status, const struct stint_result *result, void *arg) {
	tell(arg, status, result);
}

static void play_async(struct app *app) {
	struct stint_result result;
	int status = stint_check_async(app->limiter, app->id, app->act->cost, &result, on_verdict, app->note);
	struct pollfd loop = {.fd = stint_fd(app->stint), .events = POLLIN};

	if (status != 0)
		tell(app->note, status, &result);
	while (!app->note->returned && poll(&loop, 1, ACT_TIMEOUT_MS) >= 0)
		stint_dispatch(app->stint);
}

const struct act acts[] = {
	{.name = "a hit", .cost = 1, .prepare = prepare_credits, .play = play_check},
	{.name = "a hit at cost 3", .cost = 3, .prepare = prepare_credits, .play = play_check},
	{.name = "a hit after a sweep", .cost = 1, .prepare = prepare_swept, .play = play_check},
	{.name = "a denial", .cost = 1, .prepare = prepare_denied, .play = play_check},
	{.name = "a hit below the mark", .cost = 1, .prepare = prepare_low, .play = play_check},
	{.name = "an asynchronous hit", .cost = 1, .prepare = prepare_loop_credits, .play = play_async},
	{.name = "a miss", .cost = 1, .waits = true, .prepare = prepare_attached, .play = play_check},
	{.name = "an asynchronous miss", .cost = 2, .waits = true, .prepare = prepare_loop, .play = play_async},
	{.name = "attaching", .cost = 1, .waits = true, .prepare = prepare_nothing, .play = play_attach},
};
const unsigned act_count = sizeof(acts) / sizeof(acts[0]);

const struct act *act_find(const char *name) {
	for (unsigned i = 0; i < act_count; i++)
		if (strcmp(acts[i].name, name) == 0)
			return &acts[i];
	return NULL;
}

static void perform(void *arg) {
	struct app *app = arg;

	app->act->prepare(app);
	stepper_ready();
	app->act->play(app);
	app->note->done = 1;
	for (;;)
		pause();
}

int act_start(struct stepper *stepper, struct app *app) {
	memset((void *)(uintptr_t)app->note, 0, sizeof(*app->note));
	return stepper_start(stepper, perform, app);
}
