/*
 * world.h - several hosts, each with a real lease core and a table in ordinary memory, over one
 * database that is grant.c's arithmetic, all in one thread under a virtual clock. Apps
 * spend from the tables by the rules of lib/protocol/layout.h. Everything that happens is an event in
 * a heap, and all chance comes from one seed: the same seed, the same run.
 *
 *   simulate.c   the program: which seeds, in how many processes, how to replay one
 *   faults.c     what may go wrong in the world of a seed
 *   world.c      a world is made; its events happen
 *   apps.c       who checks
 *   hosts.c      agents: asked, stopped, killed, started again
 *   database.c   statements arrive, are applied or lost; the server crashes, is replaced, its clock steps
 *   watch.c      the invariants, held against every event
 *   verdicts.c   what apps are told, held against the books
 *
 * Each host's monotonic clock has an offset and a rate of its own, and the
 * database's clock is another: a time that is taken for somebody else's shows at once. What no two clocks agree
 * on matters most in long windows; some worlds have those, and apps that check just before and after the edges.
 */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "absence.h"
#include "core/core.h"
#include "core/heap.h"
#include "fake_table.h"
#include "meter.h"
#include "random.h"
#include "stint.h"

#define US INT64_C(1000)
#define MS INT64_C(1000000)
#define S  INT64_C(1000000000)

#define HOSTS_MAX    4u
#define APPS_MAX     8u
#define CLIENTS_MAX  128u
#define COST_MAX     3u
#define KILLS_MAX    8u                        /* of agents, in a run */
#define EPOCH_US     INT64_C(1700000000000000) /* of the database's clock */
#define RATE_MAX_PPM 249 /* of a clock against the true time: any two differ by less than 500 */
/* the timeout of half of the apps; nobody may need half of it while the agent is there */
#define PATIENCE_NS (3 * S)
#define BACK_NS     (2 * S) /* an agent that is back so soon costs no admission */
/* after so long all apps have found it, or see from its socket that it was there */
#define THERE_NS (1250 * MS)

/* Percents are of the chances there are; counts are of a run. */
struct faults {
	const char *name;
	uint32_t lost;       /* %: statements whose answer is lost, applied or not, at once or later */
	uint32_t rejected;   /* %: statements that the database refuses */
	uint32_t locked;     /* %: requests whose row somebody has just locked, mostly for a moment */
	uint32_t away;       /* %: lost connections that stay away for longer than the grace */
	uint32_t dropped;    /* %: messages "credits run low" that never arrive */
	uint32_t duplicated; /* %: messages that arrive twice; so do recalls, and as many of those come late */
	uint32_t mistaken;   /* %: requests after which somebody calls the client's leases back without a reason */
	uint32_t app_deaths; /* %: checks under which the process dies */
	uint32_t refunds;    /* %: admissions that are given back at once */
	/* %: checks in which the process is stopped between reading the clock and taking credits */
	uint32_t app_pauses;
	uint32_t agent_crashes;    /* how often: killed, and started on the same table */
	uint32_t agent_pauses;     /* how often: stopped, with what is under way for it */
	bool long_absences;        /* these last up to two seconds */
	uint32_t database_crashes; /* how often: all connections break, what is committed stays */
	uint32_t promotions;       /* how often: a standby takes over */
	bool loses_commits;        /* ... that lacks the last ones */
	uint32_t steps_back;       /* how often: the database's clock is set back */
	uint32_t steps_forward;
	bool slow;    /* the database stalls now and then, for longer than a sub-window */
	bool crowded; /* far more clients than slots */
	bool relaxed;
	bool fixed;
	bool long_windows; /* a some minutes, with apps at the edges */
	bool policy_changes;
};

struct truth {          /* of a client, when its request was answered */
	int64_t used;       /* admitted in the window that ended then; -1: that isn't watched */
	int64_t soonest_us; /* until the least that was wanted would have fitted; -1: never */
	int64_t served;     /* of what was granted, to those who waited */
};

struct batch {          /* one statement */
	struct batch *next; /* all of a run, for freeing */
	size_t count;
	struct lease_request requests[CORE_BATCH_MAX];
	uint32_t clients[CORE_BATCH_MAX];
	struct lease_grant grants[CORE_BATCH_MAX];
	struct truth truths[CORE_BATCH_MAX];
	int64_t t_us; /* read when the statement arrived, before it waited for rows */
	int hosts;
	uint32_t timeline; /* of the server that it was sent to */
	bool strangers;    /* some were served who have gone: how much isn't known */
	uint32_t set_back; /* how often its clock had been set back when the time was read */
};

enum event_kind {
	THINK,
	DECIDE,
	WANT,
	LOW,
	VERDICT,
	GIVE_UP,
	LOOK,
	PING,
	PONG,
	REFUND, /* apps */
	ARRIVE,
	APPLY,
	REPLY,
	LOST,
	DOWN,
	UP, /* the database, as a host meets it */
	WAKE,
	HEAR,
	RECALL,
	PAUSE,
	CRASH,
	RESTART, /* agents */
	CHANGE,
	REPLICATE,
	SERVER_CRASH,
	PROMOTE,
	STEP, /* the server */
	CALM,
	PROBE, /* at the end: no more faults; is all well again? */
};

struct event {
	enum event_kind kind;
	uint32_t host, app, serial, client, cost;
	uint32_t life; /* of the agent: what was under way for one that is dead is void */
	uint32_t timeline;
	int64_t ns;
	struct core_verdict verdict;
	struct batch *batch;
	enum lease_outcome outcome;
	struct core_policy policy;
	uint32_t slot, bank; /* a REFUND's, as in struct app_decision */
	uint64_t found;
};

struct app {
	uint32_t serial; /* of the check that waits; 0: none */
	uint32_t client, cost;
	int64_t asked_ns;
	int64_t pace_ns;
	uint32_t burst; /* checks that follow at once, of the same client */
	int64_t timeout_ns;
	uint32_t life; /* of the agent that it is connected to; 0: none */
	int64_t heard_ns;
	int64_t silent_until_ns; /* the agent was waited for in vain */
	struct absence absence;
};

struct host {
	struct fake_table table;
	struct core *core; /* NULL: the agent is dead */
	struct app apps[APPS_MAX];
	int64_t offset_ns, rate_ppm; /* of its clock */
	int64_t wake_ns;
	int64_t heard_ns; /* when the last answer arrives: what follows on the connection comes no earlier */
	int64_t paused_until_ns;
	int64_t there_since_ns; /* neither dead nor stopped; in the future while it is stopped */
	int64_t alive_ns;       /* what a dead agent has left on its socket */
	int64_t away_since_ns;  /* as far as apps may know: what is there for a moment only doesn't count */
	int64_t backlog;        /* events that wait for that */
	int64_t apart_ns;       /* when its agent was last without the database */
	bool recovered;         /* in step since the faults are over */
	uint32_t life;
	uint32_t timeline; /* of the server that it was connected to last; 0: none */
	bool reachable;
	struct batch *under_way;
	struct batch *heard;                    /* its answer, while the agent deals with it */
	struct meter fallback[CLIENTS_MAX];     /* what the fallback's credits admitted */
	struct meter one_fallback[CLIENTS_MAX]; /* all that was admitted in the present fallback */
	struct meter lenient_use[CLIENTS_MAX];  /* all that may be charged to a fallback */
	int64_t fallback_since_ns;              /* of one_fallback */
	int64_t begun_anew_ns;                  /* fallbacks were, since the policy changed ... */
	int64_t changed_in_ns;                  /* ... in the one that had begun then */
	int64_t kills_ns[KILLS_MAX];            /* of its agents */
	uint32_t kills;
};

struct server {
	struct grant_ring rings[CLIENTS_MAX];
	int64_t charged[CLIENTS_MAX]; /* ever, without what was returned */
};

struct world {
	struct faults faults; /* in the end there are none */
	struct faults planned;
	bool is_calm;
	uint64_t seed, random;
	bool traced;
	bool short_of_memory; /* agents may answer with errors, and remember less */
	int64_t now_ns, end_ns;
	int64_t quiet_ns; /* between the end of the faults, the first probe, and the second */
	struct heap agenda;
	struct batch *batches;
	struct event *events;
	size_t event_count, event_room;
	uint32_t free_events[1 << 14];
	size_t free_count;
	uint64_t steps;

	struct core_policy policy, changed;
	int64_t changed_ns; /* from then on the second holds in the database; 0: never */
	int64_t settled_ns; /* and everybody knows */

	struct server server, standby; /* the standby is as old as the last event REPLICATE */
	int64_t phase_us[CLIENTS_MAX];
	int64_t locked_until_ns[CLIENTS_MAX]; /* its row, by somebody else */
	int64_t clock_step_us, rate_ppm;      /* of the database's clock */
	uint32_t set_back;
	uint32_t timeline;
	int64_t promoted_ns; /* by the database's clock; 0: never */

	struct host hosts[HOSTS_MAX];
	uint32_t host_count, app_count, client_count;
	/* of a table that agents look at in a millisecond when something concerns all clients; 0: all */
	uint32_t walk_slots;
	uint32_t serial;

	/* watch.c */
	struct meter strict[CLIENTS_MAX];
	int64_t granted[CLIENTS_MAX];  /* by any server, ever, without what was returned */
	int64_t admitted[CLIENTS_MAX]; /* by credits of the database's */
	int64_t lost[CLIENTS_MAX];     /* charges that a promotion lost */
	/* the database would have granted so much all the time since then */
	int64_t room_since_ns[CLIENTS_MAX][COST_MAX + 1];
	int64_t forgotten_until_ns[CLIENTS_MAX]; /* its books were emptied */
	int64_t unwatched_until_ns;              /* the limit isn't in force: it changes, or the clock went forward */
	int64_t strict_again_ns;                 /* from then on what was lost has no consequence */
	int64_t kill_ns[KILLS_MAX];
	uint32_t kill_count;
	uint32_t probes;

	uint64_t checks, asked, admissions, timeouts;
	int64_t longest_wait_ns;
	int64_t worst_recovery_ns; /* from the end of faults until a host is in step */
	char trouble[256];         /* the first */
};

/* ---- Chance ---------------------------------------------------------------------- */

static inline bool chance(struct world *w, uint32_t percent) {
	return random_below(&w->random, 100) < percent;
}

static inline int64_t between(struct world *w, int64_t low, int64_t high) {
	return low + (int64_t)(random_unit(&w->random) * (double)(high - low));
}

/* ---- Time ------------------------------------------------------------------------ */

/* What a clock of this rate shows of a true duration, and the other way round. */
static inline int64_t shown_ns(int64_t ns, int64_t rate_ppm) {
	return ns + ns / 1000 * rate_ppm / 1000;
}

static inline int64_t true_ns(int64_t shown, int64_t rate_ppm) {
	return shown - shown / 1000 * rate_ppm / 1000;
}

static inline int64_t host_now(const struct world *w, const struct host *host) {
	return shown_ns(w->now_ns, host->rate_ppm) + host->offset_ns;
}

/* The clock that the promise goes by, if nobody had set it. */
static inline int64_t database_ns(const struct world *w) {
	return shown_ns(w->now_ns, w->rate_ppm);
}

static inline int64_t database_us(const struct world *w) {
	return EPOCH_US + database_ns(w) / US + w->clock_step_us;
}

static inline const struct core_policy *policy_in_force(const struct world *w) {
	return w->changed_ns ? &w->changed : &w->policy;
}

/* Until all clients of an agent have met what concerns them all. */
static inline int64_t walk_ns(const struct world *w) {
	return w->walk_slots ? (w->hosts[0].table.table.slot_count / w->walk_slots + 2) * (MS + 10 * US) : 0;
}

/* What a lease lasts at most by the database's clock: the running sub-window and the one ahead. */
static inline int64_t longest_lease_ns(const struct world *w) {
	const struct grant_terms *terms = &policy_in_force(w)->terms;
	return ((terms->runs > 1 ? terms->runs + 1 : 2) * terms->sub_window_us + terms->slack_us) * US;
}

/* By the true time: surely. */
static inline int64_t leases_end_ns(const struct world *w) {
	return w->now_ns + longest_lease_ns(w) * 1001 / 1000;
}

/* faults.c */
struct faults faults_of(uint64_t seed);

/* world.c */
struct world *world_new(uint64_t seed, bool traced);
void world_run(struct world *);
void world_free(struct world *);
void plan(struct world *, int64_t at_ns, struct event event);
/* For an agent: void when that has died meanwhile. */
void plan_for(struct world *, uint32_t host, int64_t after_ns, struct event event);
size_t id_text(char text[static 16], uint32_t client);

/* apps.c */
void app_think(struct world *, uint32_t host, uint32_t app);
void app_on_event(struct world *, const struct event *event);
void app_start(struct world *, uint32_t host, uint32_t app);
void apps_lose_agent(struct world *, uint32_t host);
void app_probe(struct world *, uint32_t host);

/* hosts.c */
void host_start(struct world *, uint32_t host);
void host_on_event(struct world *, const struct event *event);

/* database.c */
void database_on_event(struct world *, const struct event *event);
void database_takes(struct world *, uint32_t host, int hosts, const struct lease_request *requests, size_t count);
void database_recalls(struct world *, const struct lease_recall *recalls, size_t count);
void connection_breaks(struct world *, uint32_t host, int64_t away_ns);

/* watch.c */
void watch_start(struct world *);
/* deadline_ns: of the credits, by the host's clock. */
void watch_admission(struct world *, uint32_t host, uint32_t client, uint32_t cost, uint8_t source,
                     int64_t deadline_ns);
void watch_alone(struct world *, uint32_t host, uint32_t client);
void watch_burnt(struct world *, uint32_t host, uint32_t client, uint32_t cost); /* served, too late */
void watch_wait(struct world *, int64_t waited_ns);
void watch_books(struct world *, uint32_t client, const struct lease_request *request,
                 const struct lease_grant *grant);
void watch_limit_changes(struct world *, int64_t until_ns);
void watch_promotion(struct world *);
void watch_emptied(struct world *, uint32_t client);
void watch_recovery(struct world *, struct host *host);
void watch_recovered(struct world *, uint32_t host);
int64_t watch_used(struct world *, uint32_t client);
int64_t watch_wide_window_ns(const struct grant_terms *terms, const struct grant_terms *others);
void watch_probe(struct world *, uint32_t host, const struct core_verdict *verdict);
void watch_end(struct world *);

/* verdicts.c */
void verdicts_on_books(struct world *, struct batch *batch, size_t index);
void verdicts_forget(struct world *); /* the books have changed but by grants */
void verdicts_on_answer(struct world *, uint32_t host, uint32_t app, uint32_t serial,
                        const struct core_verdict *verdict);
void verdicts_on_denial(struct world *, uint32_t host, uint32_t client, uint32_t cost, bool lenient);
void complain(struct world *, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
