/*
 * agent.h - stintd put together: event loop, socket, core, database, table.
 *
 *   agent.c         wiring: events in, core calls, timers, starting and stopping
 *   changes.c       what others changed in the database: policies and overrides
 *   declaration.c   apps declare policies; the database has the last word
 *   locked.c        what the agent makes of tables that somebody has locked
 *   sync.c          what the agent does with the database besides leases: getting in step, heartbeat, expiry
 *   status.c        what `stint status` and systemd are told
 *   word.c          limits that the database has put off: which of them are declared again, and when
 */
#ifndef STINT_AGENT_H
#define STINT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "core/core.h"
#include "database/database.h"
#include "monotonic.h"
#include "outbox.h"
#include "policy.h"
#include "server.h"
#include "shm.h"
#include "core/table.h"

struct event;
struct event_base;
struct declaration;

struct link { /* to the database, as the agent sees it; see sync.c */
	struct database_hello hello;
	/* The server that granted what is out here; "": unknown. */
	char server[DATABASE_SERVER_MAX];
	char timeline[9];
	int64_t wal_end;          /* where its log ended, when we last heard */
	int64_t left_ns;          /* when that server was lost */
	int64_t change_id;        /* changes up to this one are in force here; -1: unknown */
	int64_t state_since_ns;
	enum core_state state;    /* as last logged */
	int64_t clock_offset_us;  /* database's clock minus our monotonic one, at the last pulse; 0: unknown */
	int64_t heartbeat_ns;     /* when the next one is due */
	int64_t pulse_ns;
	int64_t failed_logged_ns; /* attempts to connect fail often: logged now and then */
	uint64_t fallbacks;
	int64_t fallback_ended_ns;  /* of the last one */
	int64_t fallback_lasted_ms;
	uint64_t fallback_admitted;
	bool fallback_unreported;
	uint64_t unserved;        /* as last logged */
	int64_t taken_ns;         /* when the last batch was sent */
	bool asking;              /* whether what is locked is free again */
	bool locked;              /* somebody has locked what grants need: the database is away, though there is a connection */
	bool synced;              /* policies are loaded since the connection came up */
	bool syncing;
	bool reading;             /* changes; one read at a time */
	bool unread;              /* there may be more than that read brings */
	bool inherited;           /* they were made while no agent lived here, as far as is known */
	bool loading;             /* policies, those of `asked` */
	bool passing_on;          /* a declaration, that of policy `passed_on` */
	int passed_on;
	uint16_t asked[POLICY_CAPACITY];
	bool expires;             /* it is our turn to expire counters */
	bool expiring;
	bool rival;               /* another agent uses this host's name, as last logged */
	char why[256];            /* the last trouble */
	char advice[640];         /* as last logged */
};

struct told_limits { /* what was declared in vain, as last logged */
	struct policy_row row;
	int64_t at_ns; /* 0: none */
};

struct agent {
	struct config config;
	const char *config_path;
	struct event_base *base;
	struct shm shm;
	struct table table;
	struct policies policies;
	struct core *core;
	struct server *server;
	struct outbox outbox;       /* empty but for the time of one event */
	struct database *database; /* NULL: memory */
	struct link link;
	struct declaration *declarations; /* that wait for the database, DECLARATIONS_MAX at most */
	struct declaration *declaring;    /* the one of them that it has been asked for; NULL: none */
	size_t declaration_count;
	int64_t refused_ns;        /* when it was last said that there are too many; 0: never */
	struct told_limits told[32];
	struct event *wakeup;      /* the core's next time */
	struct event *heartbeat;
	struct event *expiry;
	struct event *watchdog;
	struct event *signals[3];
	struct event *drained;
	int64_t started_ns;
	int64_t stop_by_ns;
	bool stopping;
	char instance[40];
};

#define AGENT_ERROR_MAX 512

int agent_start(struct agent *, const struct config *config, const char *config_path, char error[static AGENT_ERROR_MAX]);
int agent_run(struct agent *); /* until SIGTERM or SIGINT; 0 */
void agent_stop(struct agent *);

/* agent.c, for the others */
void agent_pump_soon(struct agent *); /* once all that has arrived by now is heard */
void agent_pump(struct agent *); /* after any event: let the core act, send what it said, plan its next time */
void agent_apply_policy(struct agent *, int index, bool live);
/* An index, if need be of a policy that is unused; -1: full, or none makes room while policies are loaded. */
int agent_add_policy(struct agent *, const struct policy_row *row);

/* declaration.c */

/* What 64 processes declare of 64 policies each, all at once after a deploy; less than a megabyte. */
#define DECLARATIONS_MAX 4096

void declaration_on_message(void *agent, server_peer peer, const struct wire_declare *message, const char *name, size_t length);
void declarations_pass_on(struct agent *); /* what was decided without the database, one after the other; then loads policies */
void declarations_ask_again(struct agent *); /* what it has put off, if it is time */
void declarations_resume(struct agent *); /* the database has come up, or is known to be away */
void declarations_forget_database(struct agent *); /* what it was asked for has to be asked again */
void declarations_free(struct agent *);

/* link.c */
extern const struct database_events link_events;
int link_open(struct agent *);    /* the database as configured: 0 or -1 */
void link_reopen(struct agent *); /* the same after the configuration has changed */
void link_on_heartbeat(struct agent *);
void link_on_expiry(struct agent *);
void link_note_state(struct agent *); /* logs a change of state, tells systemd */
void link_on_loaded(struct agent *, bool done); /* while getting in step: policies were read, or not */

/* changes.c */
void changes_inherit(struct agent *); /* from the agent whose table this is */
void changes_settle(struct agent *, bool promoted); /* those since the database was here last, or was another server */
void changes_note(struct agent *); /* for the next agent */
void changes_read(struct agent *); /* there may be some */
void changes_load_policies(struct agent *); /* those that are stale; while getting in step always, if there are none */
void changes_apply_row(struct agent *, int index, const struct policy_row *row); /* as the database has it; policy_id 0: not any more */

void link_start_sync(struct agent *);

/* locked.c */
bool locked_keeps_batch(struct agent *); /* the batch was refused: if for a lock, its answer comes later */
void locked_look_again(struct agent *);

/* status.c */
void status_on_message(void *agent, server_peer peer, uint32_t serial);
void status_sentence(const struct agent *, char *text, size_t size);
const char *status_state_name(enum core_state state);

#endif
