/*
 * declaration.c - an app says what a policy's limits are. The database decides
 * what comes of it: it is created, changed, or pinned by an operator. While the
 * database is away the app's word counts on this host, and is passed on later.
 *
 * One declaration is under way at a time, since leases share the connection and a
 * declaration may have to wait for an operator's transaction. What many processes
 * declare alike at once, as they do after a deploy, is asked once. Too many to keep
 * come together only while the database gives no answer, or refuses them: then those
 * of processes that are gone make room, and who finds none is told STINT_EFULL.
 *
 * What the database puts off, the agent declares again by itself: see word.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stint.h"
#include "agent.h"
#include "log.h"

struct declaration {
	struct declaration *next;
	struct agent *agent;
	bool is_own;     /* the agent's: what it has put off is asked again; nobody waits for an answer */
	server_peer peer;
	uint32_t serial;
	uint16_t flags;  /* WIRE_DECLARE_... */
	struct policy_row row;
	char status[16]; /* what the database made of it */
};

/* What short-lived processes declare in vain each time is said this often; also that too many declare. */
#define TOLD_AGAIN_NS INT64_C(600000000000)

static void unlink_declaration(struct declaration *d) {
	struct declaration **at = &d->agent->declarations;
	while (*at != d)
		at = &(*at)->next;
	*at = d->next;
	d->agent->declaration_count--;
}

static void append_declaration(struct declaration *d) {
	struct declaration **at = &d->agent->declarations;
	while (*at)
		at = &(*at)->next;
	*at = d;
	d->next = NULL;
	d->agent->declaration_count++;
}

static void prepend_declaration(struct declaration *d) {
	d->next = d->agent->declarations;
	d->agent->declarations = d;
	d->agent->declaration_count++;
}

static void drop(struct declaration *d) {
	struct agent *agent = d->agent;
	unlink_declaration(d);
	if (agent->declaring == d)
		agent->declaring = NULL;
	free(d);
}

static bool is_put_off(const struct declaration *d) {
	return strcmp(d->status, "put off") == 0;
}

static void reply(struct agent *agent, server_peer peer, uint32_t serial, int status, int index, bool pinned) {
	struct wire_declared declared = {
		.head = {.type = WIRE_DECLARED, .flags = pinned ? WIRE_DECLARED_PINNED : 0, .serial = serial},
		.status = status,
		.policy = index < 0 ? 0 : policies_number(&agent->policies, index),
	};
	server_send(agent->server, peer, &declared, sizeof declared);
}

/* Who says it once more after a reconnect says nothing new. What the agent asks again may be superseded by now. */
static void note_word(const struct declaration *d, struct word *word) {
	bool is_again = d->flags & WIRE_DECLARE_AGAIN;
	if (d->flags & WIRE_DECLARE_MUST_EXIST || ((is_again || d->is_own) && !word_is(word, &d->row)))
		return;
	if (!d->is_own)
		word_say(word, &d->row, d->peer);
	if (is_put_off(d))
		word_put_off(word, monotonic_now_ns());
	else if (!is_again)
		word_settle(word);
}

static void answer(const struct declaration *d, int status, int index) {
	const struct policy *policy = index < 0 ? NULL : &d->agent->policies.policy[index];
	bool pinned = policy && policy->row.pinned && !policy_limits_equal(&d->row, &policy->row);
	reply(d->agent, d->peer, d->serial, status, index, pinned && !(d->flags & WIRE_DECLARE_MUST_EXIST));
}

/* Answers and frees. */
static void finish(struct declaration *d, int status, int index) {
	struct policy *policy = index < 0 ? NULL : &d->agent->policies.policy[index];
	if (policy)
		note_word(d, &policy->word);
	if (policy && !d->is_own)
		policy->used_ns = monotonic_now_ns();
	if (!d->is_own)
		answer(d, status, index);
	drop(d);
}

static bool is_alike(const struct declaration *a, const struct declaration *b) {
	return a->flags == b->flags && strcmp(a->row.name, b->row.name) == 0 && policy_limits_equal(&a->row, &b->row);
}

/* The database's answer to one is its answer to all that say the same. The one that was asked for comes last: it knows
 * whether it was put off. */
static void finish_alike(struct declaration *d, int status, int index) {
	struct agent *agent = d->agent;
	for (struct declaration *other = agent->declarations, *next; other; other = next) {
		next = other->next;
		if (other != d && is_alike(other, d))
			finish(other, status, index);
	}
	finish(d, status, index);
	declarations_resume(agent);
}

/* While policies are being read none makes room for another one. Who waits for that has its turn afterwards. */
static bool finds_room_later(const struct agent *agent, int index) {
	return index < 0 && agent->link.loading;
}

/* ---- Without the database --------------------------------------------------- */

static int add_locally(struct agent *agent, const struct policy_row *row) {
	int index = agent_add_policy(agent, row);
	if (index < 0)
		return -1;
	agent->policies.policy[index].undeclared = agent->database != NULL;
	if (!agent->database)
		agent->policies.policy[index].row.policy_id = index + 1; /* the memory store has no other ids */
	return index;
}

static void change_locally(struct agent *agent, int index, const struct policy_row *row) {
	struct policy *policy = &agent->policies.policy[index];
	struct policy_row changed = *row;
	changed.policy_id = policy->row.policy_id;
	policies_set(&agent->policies, index, &changed);
	policy->undeclared = agent->database != NULL;
}

static void decide_locally(struct declaration *d) {
	struct agent *agent = d->agent;
	int index = policies_find(&agent->policies, d->row.name);
	if (d->is_own) { /* it stays put off */
		finish(d, 0, index);
		return;
	}
	if (d->flags & WIRE_DECLARE_MUST_EXIST) {
		finish(d, index < 0 ? STINT_ENOPOLICY : 0, index);
		return;
	}
	if (index < 0)
		index = add_locally(agent, &d->row);
	else if (!(d->flags & WIRE_DECLARE_AGAIN) && !agent->policies.policy[index].row.pinned &&
	         !policy_limits_equal(&d->row, &agent->policies.policy[index].row))
		change_locally(agent, index, &d->row);
	if (finds_room_later(agent, index))
		return;
	if (index >= 0)
		agent_apply_policy(agent, index, true);
	finish(d, index < 0 ? STINT_EFULL : 0, index);
}

/* ---- With the database ------------------------------------------------------ */

/* With the next heartbeat at the latest, after the others, which may not have to wait for what this one waits for. */
static void ask_again_later(struct declaration *d) {
	d->agent->declaring = NULL;
	unlink_declaration(d);
	append_declaration(d);
}

/* Those that are remembered are few: with more of them, some are told more often. */
static bool was_told(struct agent *agent, const struct policy_row *row) {
	const size_t count = sizeof agent->told / sizeof agent->told[0];
	int64_t now_ns = monotonic_now_ns();
	struct told_limits *oldest = &agent->told[0];
	for (size_t i = 0; i < count; i++) {
		struct told_limits *told = &agent->told[i];
		if (strcmp(told->row.name, row->name) == 0 && policy_limits_equal(&told->row, row) && now_ns - told->at_ns < TOLD_AGAIN_NS)
			return true;
		if (told->at_ns < oldest->at_ns)
			oldest = told;
	}
	*oldest = (struct told_limits){.row = *row, .at_ns = now_ns};
	return false;
}

/* `row` is what is in force. */
static void tell_outcome(const struct declaration *d, const struct policy_row *row) {
	bool in_force = policy_limits_equal(&d->row, row);
	if (strcmp(d->status, "created") == 0 || strcmp(d->status, "changed") == 0)
		log_info("policy %s %s: %lld requests in %lld ms", row->name, d->status, (long long)d->row.max_requests,
		         (long long)d->row.time_window_ms);
	else if (strcmp(d->status, "pinned") == 0 && !in_force && !was_told(d->agent, &d->row))
		log_warning("policy %s is pinned by an operator; what an app declares for it changes nothing", row->name);
	else if (is_put_off(d) && !was_told(d->agent, &d->row))
		log_warning("policy %s stays at %lld requests in %lld ms for now: apps declare different limits by turns",
		            row->name, (long long)row->max_requests, (long long)row->time_window_ms);
}

static void on_policy(void *context, enum lease_outcome outcome, const struct policy_row *row, size_t count) {
	struct declaration *d = context;
	struct agent *agent = d->agent;
	(void)count;
	if (outcome != LEASE_DONE) {
		ask_again_later(d);
		return;
	}
	bool exists = row->policy_id != 0;
	int index = policies_find(&agent->policies, d->row.name);
	if (exists)
		tell_outcome(d, row);
	if (exists && index < 0)
		index = agent_add_policy(agent, row);
	if (exists && finds_room_later(agent, index)) {
		ask_again_later(d);
		return;
	}
	if (index >= 0)
		changes_apply_row(agent, index, row);
	finish_alike(d, !exists ? STINT_ENOPOLICY : index < 0 ? STINT_EFULL : 0, exists ? index : -1);
	agent_pump(agent);
}

static void read_policy(struct declaration *d) {
	const char *name = d->row.name;
	database_get_policies(d->agent->database, &name, 1, on_policy, d);
}

static void on_declared(void *context, enum lease_outcome outcome, const char *status, int32_t policy_id) {
	struct declaration *d = context;
	(void)policy_id;
	if (outcome != LEASE_DONE) {
		log_warning("policy %s was not declared: %s", d->row.name, database_last_error(d->agent->database));
		ask_again_later(d);
		return;
	}
	snprintf(d->status, sizeof d->status, "%s", status);
	read_policy(d);
}

static void ask_database(struct declaration *d) {
	d->agent->declaring = d;
	if (d->flags & WIRE_DECLARE_MUST_EXIST)
		read_policy(d);
	else
		database_declare(d->agent->database, &d->row, d->flags & WIRE_DECLARE_AGAIN, on_declared, d);
}

/* A fallback may go on while the database is there, after a promotion. What was decided here then would not be declared to it:
 * that is done when it comes back. */
static void proceed(struct declaration *d) {
	struct agent *agent = d->agent;
	bool is_away = core_state(agent->core) == CORE_FALLBACK && !agent->link.synced && !agent->link.syncing;
	if (!agent->database || is_away)
		decide_locally(d);
	else if (agent->link.synced && !agent->declaring)
		ask_database(d);
}

/* ---- What was put off -------------------------------------------------------- */

/* Before all that apps are declaring, which is newer. */
static void ask_once_more(struct agent *agent, const struct policy_row *limits) {
	struct declaration *d = calloc(1, sizeof *d);
	if (!d)
		return;
	*d = (struct declaration){.agent = agent, .is_own = true, .row = *limits, .status = "put off"};
	prepend_declaration(d);
}

static bool one_is_own(const struct agent *agent) {
	for (const struct declaration *d = agent->declarations; d; d = d->next)
		if (d->is_own)
			return true;
	return false;
}

/* One at a time, that which has been due for longest; the others with later heartbeats. */
void declarations_ask_again(struct agent *agent) {
	int64_t now_ns = monotonic_now_ns();
	struct word *due = NULL;
	if (one_is_own(agent))
		return;
	for (int i = 0; i < (int)POLICY_CAPACITY; i++) {
		struct word *word = &agent->policies.policy[i].word;
		if (word_is_due(word, agent->server, now_ns) && (!due || word->ask_ns < due->ask_ns))
			due = word;
	}
	if (!due)
		return;
	word_put_off(due, now_ns); /* if there is no memory for it now */
	ask_once_more(agent, &due->limits);
}

/* ---- What was decided here while the database was away ----------------------- */

/* Begins with the one after the last, so that one that is refused doesn't hold up the others for ever. -1: there is none. */
static int next_undeclared(const struct agent *agent) {
	for (int n = 1; n <= (int)POLICY_CAPACITY; n++) {
		int i = (agent->link.passed_on + n) % (int)POLICY_CAPACITY;
		if (agent->policies.policy[i].used && agent->policies.policy[i].undeclared)
			return i;
	}
	return -1;
}

static void pass_on_next(struct agent *agent);

static void on_passed_on(void *context, enum lease_outcome outcome, const char *status, int32_t policy_id) {
	struct agent *agent = context;
	struct policy *policy = &agent->policies.policy[agent->link.passed_on];
	(void)policy_id;
	agent->link.passing_on = false;
	if (outcome != LEASE_DONE) { /* this one and the rest with the next heartbeat: they would have to wait as it did */
		changes_load_policies(agent);
		return;
	}
	policy->undeclared = false;
	policy->stale = true;
	log_info("policy %s, declared while the database was away: %s", policy->row.name, status);
	if (strcmp(status, "put off") == 0)
		ask_once_more(agent, &policy->row); /* by then the limits that are in force are known here */
	pass_on_next(agent);
}

static void pass_on_next(struct agent *agent) {
	int index = next_undeclared(agent);
	if (index < 0) {
		changes_load_policies(agent);
		return;
	}
	agent->link.passed_on = index;
	agent->link.passing_on = true;
	database_declare(agent->database, &agent->policies.policy[index].row, false, on_passed_on, agent);
}

void declarations_pass_on(struct agent *agent) {
	if (!agent->link.passing_on)
		pass_on_next(agent);
}

/* ---- From and for the others -------------------------------------------------- */

/* Nobody waits for their answers, and the next process that starts says it again. */
static void drop_the_gone(struct agent *agent) {
	for (struct declaration *d = agent->declarations, *next; d; d = next) {
		next = d->next;
		if (d != agent->declaring && !d->is_own && !server_is_connected(agent->server, d->peer))
			drop(d);
	}
}

static bool has_room(struct agent *agent) {
	int64_t now_ns = monotonic_now_ns();
	if (agent->declaration_count >= DECLARATIONS_MAX)
		drop_the_gone(agent);
	if (agent->declaration_count < DECLARATIONS_MAX)
		return true;
	if (agent->refused_ns == 0 || now_ns - agent->refused_ns > TOLD_AGAIN_NS) {
		log_warning("%d declarations wait for the database: further ones are refused", DECLARATIONS_MAX);
		agent->refused_ns = now_ns;
	}
	return false;
}

void declaration_on_message(void *context, server_peer peer, const struct wire_declare *message, const char *name, size_t length) {
	struct agent *agent = context;
	struct policy_row row;
	int status = policy_from_declaration(&row, message, name, length);
	if (status == 0 && !has_room(agent))
		status = STINT_EFULL;
	struct declaration *d = status == 0 ? calloc(1, sizeof *d) : NULL;
	if (!d) {
		reply(agent, peer, message->head.serial, status ? status : STINT_ENOMEM, -1, false);
		return;
	}
	*d = (struct declaration){
		.agent = agent,
		.peer = peer,
		.serial = message->head.serial,
		.flags = message->head.flags,
		.row = row,
	};
	append_declaration(d);
	proceed(d);
	agent_pump(agent);
}

void declarations_resume(struct agent *agent) {
	for (struct declaration *d = agent->declarations, *next; d; d = next) {
		next = d->next;
		if (d != agent->declaring)
			proceed(d);
	}
}

void declarations_forget_database(struct agent *agent) {
	agent->declaring = NULL;
}

void declarations_free(struct agent *agent) {
	while (agent->declarations)
		drop(agent->declarations);
}
