/* declaration.c - apps say what a policy's limits are, see declaration.h. */
#include "declaration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stint.h"
#include "log.h"
#include "monotonic.h"
#include "policy.h"

struct asker { /* who waits for the answer */
	server_peer peer;
	uint32_t serial;
};

/* What the database is asked, once for all apps that declare the same. */
struct declaration {
	struct declaration *next;
	struct declarations *owner;
	bool is_own; /* the agent asks again what was put off; nobody waits for an answer */
	struct asker *askers;
	size_t asker_count, asker_room;
	uint16_t flags; /* WIRE_DECLARE_... */
	struct policy_row row;
	char status[16]; /* what the database made of it */
};

/* How often the log repeats that limits are declared in vain, which short-lived processes do each time, and that
 * too many declare. */
#define TOLD_AGAIN_NS (600 * NS_PER_S)

static void unlink_declaration(struct declaration *d) {
	struct declaration **at = &d->owner->first;
	while (*at != d)
		at = &(*at)->next;
	*at = d->next;
	d->owner->count--;
}

static void append_declaration(struct declaration *d) {
	struct declaration **at = &d->owner->first;
	while (*at)
		at = &(*at)->next;
	*at = d;
	d->next = NULL;
	d->owner->count++;
}

static void prepend_declaration(struct declaration *d) {
	d->next = d->owner->first;
	d->owner->first = d;
	d->owner->count++;
}

static void drop(struct declaration *d) {
	struct declarations *all = d->owner;
	unlink_declaration(d);
	if (all->asked == d)
		all->asked = NULL;
	all->waiting -= d->asker_count;
	free(d->askers);
	free(d);
}

static struct policy *policy_at(const struct declarations *all, int index) {
	return &all->driver->policies->policy[index];
}

static bool is_put_off(const struct declaration *d) {
	return strcmp(d->status, "put off") == 0;
}

static void reply(struct declarations *all, server_peer peer, uint32_t serial, int status, int index,
                  bool pinned) {
	struct wire_declared declared = {
		.head = {.type = WIRE_DECLARED, .flags = pinned ? WIRE_DECLARED_PINNED : 0, .serial = serial},
		.status = status,
		.policy = index < 0 ? 0 : policies_number(all->driver->policies, index),
	};
	server_send(all->driver->server, peer, &declared, sizeof(declared));
}

/* Notes what was declared as the policy's word. A process that declares again after a reconnect says nothing new,
 * and what the agent asks again may be superseded by now: both count only if they are the word already. */
static void note_word(const struct declaration *d, struct word *word) {
	bool is_again = d->flags & WIRE_DECLARE_AGAIN;
	if (d->flags & WIRE_DECLARE_MUST_EXIST || ((is_again || d->is_own) && !word_is(word, &d->row)))
		return;
	for (size_t i = 0; i < d->asker_count; i++)
		word_say(word, &d->row, d->askers[i].peer, d->owner->driver->server);
	if (is_put_off(d))
		word_put_off(word, monotonic_now_ns());
	else if (!is_again)
		word_settle(word);
}

static void answer(const struct declaration *d, int status, int index) {
	const struct policy *policy = index < 0 ? NULL : policy_at(d->owner, index);
	bool pinned = policy && policy->row.pinned && !policy_limits_equal(&d->row, &policy->row);
	for (size_t i = 0; i < d->asker_count; i++)
		reply(d->owner, d->askers[i].peer, d->askers[i].serial, status, index,
		      pinned && !(d->flags & WIRE_DECLARE_MUST_EXIST));
}

/* Answers all who wait for it, and frees it. */
static void finish(struct declaration *d, int status, int index) {
	struct policy *policy = index < 0 ? NULL : policy_at(d->owner, index);
	if (policy)
		note_word(d, &policy->word);
	if (policy && !d->is_own)
		policy->used_ns = monotonic_now_ns();
	answer(d, status, index);
	drop(d);
}

static bool is_alike(const struct declaration *a, const struct declaration *b) {
	return a->flags == b->flags && policy_limits_equal(&a->row, &b->row) && strcmp(a->row.name, b->row.name) == 0;
}

/* What an app declares may be what the agent asks again: then the database's answer to one is its answer to both.
 * The one that was asked for comes last: it knows whether it was put off. */
static void finish_alike(struct declaration *d, int status, int index) {
	struct declarations *all = d->owner;
	for (struct declaration *other = all->first, *next; other; other = next) {
		next = other->next;
		if (other != d && is_alike(other, d))
			finish(other, status, index);
	}
	finish(d, status, index);
	declarations_resume(all);
}

/* While policies are being read, none makes room for another one: a declaration that needs room has its turn
 * afterwards. */
static bool finds_room_later(const struct declarations *all, int index) {
	return index < 0 && all->driver->policies->loading;
}

/* ---- Without the database --------------------------------------------------- */

static int add_locally(struct declarations *all, const struct policy_row *row) {
	int index = driver_add_policy(all->driver, row);
	if (index < 0)
		return -1;
	policy_at(all, index)->undeclared = all->driver->database != NULL;
	if (!all->driver->database)
		policy_at(all, index)->row.policy_id = index + 1; /* the memory store has no other ids */
	return index;
}

static void change_locally(struct declarations *all, int index, const struct policy_row *row) {
	struct policy *policy = policy_at(all, index);
	struct policy_row changed = *row;
	changed.policy_id = policy->row.policy_id;
	policies_set(all->driver->policies, index, &changed);
	policy->undeclared = all->driver->database != NULL;
}

static void decide_locally(struct declaration *d) {
	struct declarations *all = d->owner;
	int index = policies_find(all->driver->policies, d->row.name);
	if (d->is_own) { /* these limits stay put off */
		finish(d, 0, index);
		return;
	}
	if (d->flags & WIRE_DECLARE_MUST_EXIST) {
		finish(d, index < 0 ? STINT_ENOPOLICY : 0, index);
		return;
	}
	if (index < 0)
		index = add_locally(all, &d->row);
	else if (!(d->flags & WIRE_DECLARE_AGAIN) && !policy_at(all, index)->row.pinned &&
	         !policy_limits_equal(&d->row, &policy_at(all, index)->row))
		change_locally(all, index, &d->row);
	if (finds_room_later(all, index))
		return;
	if (index >= 0)
		driver_apply_policy(all->driver, index, true);
	finish(d, index < 0 ? STINT_EFULL : 0, index);
}

/* ---- With the database ------------------------------------------------------ */

/* The declaration is asked again with the next heartbeat at the latest. It goes behind the others, which may
 * not have to wait for what this one waits for. What the agent itself asks again is dropped instead, since apps
 * may have declared something newer meanwhile: its word is put off already, and is asked again in a minute,
 * unless it is forgotten until then. */
static void ask_again_later(struct declaration *d) {
	struct declarations *all = d->owner;
	if (d->is_own) {
		drop(d);
		declarations_resume(all);
		return;
	}
	all->asked = NULL;
	unlink_declaration(d);
	append_declaration(d);
}

/* Whether these limits were logged lately. Only few are remembered: when more are declared in vain, some are
 * logged more often. */
static bool was_told(struct declarations *all, const struct policy_row *row) {
	const size_t count = sizeof(all->told) / sizeof(all->told[0]);
	int64_t now_ns = monotonic_now_ns();
	struct told_limits *oldest = &all->told[0];
	for (size_t i = 0; i < count; i++) {
		struct told_limits *told = &all->told[i];
		bool is_same = strcmp(told->row.name, row->name) == 0 && policy_limits_equal(&told->row, row);
		if (is_same && now_ns - told->at_ns < TOLD_AGAIN_NS)
			return true;
		if (told->at_ns < oldest->at_ns)
			oldest = told;
	}
	*oldest = (struct told_limits){.row = *row, .at_ns = now_ns};
	return false;
}

/* Logs what came of the declaration. `row` is what is in force. */
static void tell_outcome(const struct declaration *d, const struct policy_row *row) {
	bool in_force = policy_limits_equal(&d->row, row);
	if (strcmp(d->status, "created") == 0 || strcmp(d->status, "changed") == 0)
		log_info("policy %s %s: %lld requests in %lld ms%s", row->name, d->status, (long long)d->row.max_requests,
		         (long long)d->row.time_window_ms, policy_shadow_words(&d->row));
	else if (strcmp(d->status, "brought back") == 0)
		log_warning("policy %s was dropped, and an app declares it again: %lld requests in %lld ms%s", row->name,
		            (long long)d->row.max_requests, (long long)d->row.time_window_ms,
		            policy_shadow_words(&d->row));
	else if (strcmp(d->status, "pinned") == 0 && !in_force && !was_told(d->owner, &d->row))
		log_warning("policy %s is pinned by an operator; what an app declares for it changes nothing", row->name);
	else if (is_put_off(d) && !was_told(d->owner, &d->row))
		log_warning("policy %s stays at %lld requests in %lld ms for now: apps declare different limits by turns",
		            row->name, (long long)row->max_requests, (long long)row->time_window_ms);
}

static void on_policy(void *context, enum lease_outcome outcome, const struct policy_row *row, size_t count) {
	struct declaration *d = context;
	struct declarations *all = d->owner;
	(void)count;
	if (outcome != LEASE_DONE) {
		ask_again_later(d);
		return;
	}
	bool exists = row->policy_id != 0;
	int index = policies_find(all->driver->policies, d->row.name);
	if (exists)
		tell_outcome(d, row);
	if (exists && index < 0)
		index = driver_add_policy(all->driver, row);
	if (exists && finds_room_later(all, index)) {
		ask_again_later(d);
		return;
	}
	if (index >= 0)
		changes_apply_row(all->changes, index, row);
	finish_alike(d, !exists ? STINT_ENOPOLICY : index < 0 ? STINT_EFULL : 0, exists ? index : -1);
	driver_pump(all->driver);
}

static void read_policy(struct declaration *d) {
	const char *name = d->row.name;
	database_get_policies(d->owner->driver->database, &name, 1, on_policy, d);
}

static void on_declared(void *context, enum lease_outcome outcome, const char *status, int32_t policy_id) {
	struct declaration *d = context;
	(void)policy_id;
	if (outcome != LEASE_DONE) {
		log_warning("policy %s was not declared: %s", d->row.name,
		            database_last_error(d->owner->driver->database));
		ask_again_later(d);
		return;
	}
	snprintf(d->status, sizeof(d->status), "%s", status);
	read_policy(d);
}

static void ask_database(struct declaration *d) {
	d->owner->asked = d;
	if (d->flags & WIRE_DECLARE_MUST_EXIST)
		read_policy(d);
	else
		database_declare(d->owner->driver->database, &d->row, d->flags & WIRE_DECLARE_AGAIN, on_declared, d);
}

/* Whether the word is still kept: it may have been forgotten since, see word.h. */
static bool is_still_said(const struct declaration *d) {
	const struct driver *driver = d->owner->driver;
	int index = policies_find(driver->policies, d->row.name);
	if (index < 0 || driver->policies->policy[index].row.policy_id == 0)
		return false;
	const struct word *word = &driver->policies->policy[index].word;
	return word_is(word, &d->row) && word_is_waiting(word, driver->server);
}

/* After a promotion, a fallback may go on while the database is there. What this host decided then would not be
 * passed on, since that is done only when the database comes back. */
static void proceed(struct declaration *d) {
	struct declarations *all = d->owner;
	enum sync_state sync = all->sync->state;
	bool is_away = core_state(all->driver->core) == CORE_FALLBACK && (sync == SYNC_AWAY || sync == SYNC_LOCKED);
	if (d->is_own && !is_still_said(d))
		drop(d);
	else if (!all->driver->database || is_away)
		decide_locally(d);
	else if (sync == SYNC_DONE && !all->asked)
		ask_database(d);
}

/* ---- What was put off -------------------------------------------------------- */

/* It goes before all that apps are declaring, which is newer. It is asked once, see ask_again_later(). */
static void ask_once_more(struct declarations *all, const struct policy_row *limits) {
	struct declaration *d = calloc(1, sizeof(*d));
	if (!d)
		return;
	*d = (struct declaration){.owner = all, .is_own = true, .row = *limits, .status = "put off"};
	prepend_declaration(d);
}

static bool one_is_own(const struct declarations *all) {
	for (const struct declaration *d = all->first; d; d = d->next)
		if (d->is_own)
			return true;
	return false;
}

/* Asks for one at a time, the one that has been due for longest; later heartbeats ask for the others. */
void declarations_ask_again(struct declarations *all) {
	int64_t now_ns = monotonic_now_ns();
	struct word *due = NULL;
	if (one_is_own(all))
		return;
	for (int i = 0; i < (int)POLICY_CAPACITY; i++) {
		struct word *word = &policy_at(all, i)->word;
		if (word_is_due(word, all->driver->server, now_ns) && (!due || word->ask_ns < due->ask_ns))
			due = word;
	}
	if (!due)
		return;
	word_put_off(due, now_ns); /* in case there is no memory now */
	ask_once_more(all, &due->limits);
}

/* ---- What was decided here while the database was away ----------------------- */

/* Returns the index of the next undeclared policy, or -1. Begins after the last one, so that a refused policy
 * doesn't hold up the others for ever. */
static int next_undeclared(const struct declarations *all) {
	for (int n = 1; n <= (int)POLICY_CAPACITY; n++) {
		int i = (all->passed_on + n) % (int)POLICY_CAPACITY;
		if (policy_at(all, i)->used && policy_at(all, i)->undeclared)
			return i;
	}
	return -1;
}

static void pass_on_next(struct declarations *all);

static void on_passed_on(void *context, enum lease_outcome outcome, const char *status, int32_t policy_id) {
	struct declarations *all = context;
	struct policy *policy = policy_at(all, all->passed_on);
	(void)policy_id;
	all->passing_on = false;
	if (outcome != LEASE_DONE) {
		/* The next heartbeat declares this one and the rest: now the rest would have to wait as this one did. */
		changes_load_policies(all->changes);
		return;
	}
	policy->undeclared = false;
	policy->stale = true;
	log_info("policy %s, declared while the database was away: %s", policy->row.name, status);
	policy->guessed = strcmp(status, "put off") == 0;
	if (policy->guessed)
		word_put_off(&policy->word, monotonic_now_ns());
	pass_on_next(all);
}

static void pass_on_next(struct declarations *all) {
	int index = next_undeclared(all);
	if (index < 0) {
		changes_load_policies(all->changes);
		return;
	}
	all->passed_on = index;
	all->passing_on = true;
	database_declare(all->driver->database, &policy_at(all, index)->row, false, on_passed_on, all);
}

void declarations_pass_on(struct declarations *all) {
	if (!all->passing_on)
		pass_on_next(all);
}

/* ---- From and for the others -------------------------------------------------- */

/* One asker is kept of the declaration that the database has been asked for: what comes of it is an app's word. */
static void forget_the_gone(struct declaration *d) {
	struct declarations *all = d->owner;
	size_t kept = 0;
	for (size_t i = 0; i < d->asker_count; i++)
		if (server_is_connected(all->driver->server, d->askers[i].peer))
			d->askers[kept++] = d->askers[i];
	if (kept == 0 && d == all->asked && d->asker_count > 0)
		kept = 1;
	all->waiting -= d->asker_count - kept;
	d->asker_count = kept;
}

/* Drops declarations whose processes are gone: nobody waits for their answers, and the next process that starts
 * says them again. */
static void drop_the_gone(struct declarations *all) {
	for (struct declaration *d = all->first, *next; d; d = next) {
		next = d->next;
		forget_the_gone(d);
		if (d->asker_count == 0 && !d->is_own)
			drop(d);
	}
}

static bool is_full(const struct declarations *all, bool is_new) {
	size_t most = DECLARATIONS_MAX + WAITING_PER_CONNECTION * server_peer_count(all->driver->server);
	return all->waiting >= most || (is_new && all->count >= DECLARATIONS_MAX);
}

static void tell_full(struct declarations *all) {
	int64_t now_ns = monotonic_now_ns();
	if (all->refused_ns != 0 && now_ns - all->refused_ns <= TOLD_AGAIN_NS)
		return;
	log_warning("%zu declarations, %zu of them different, wait for the database: further ones are refused",
	            all->waiting, all->count);
	all->refused_ns = now_ns;
}

static struct declaration *find_alike(const struct declarations *all, const struct declaration *wanted) {
	for (struct declaration *d = all->first; d; d = d->next)
		if (!d->is_own && is_alike(d, wanted))
			return d;
	return NULL;
}

static int add_asker(struct declaration *d, server_peer peer, uint32_t serial) {
	if (d->asker_count == d->asker_room) {
		size_t room = d->asker_room ? 2 * d->asker_room : 1;
		struct asker *more = reallocarray(d->askers, room, sizeof(*more));
		if (!more)
			return STINT_ENOMEM;
		d->askers = more;
		d->asker_room = room;
	}
	d->askers[d->asker_count++] = (struct asker){.peer = peer, .serial = serial};
	d->owner->waiting++;
	return 0;
}

static struct declaration *add_declaration(const struct declaration *made) {
	struct declaration *d = malloc(sizeof(*d));
	if (!d)
		return NULL;
	*d = *made;
	append_declaration(d);
	return d;
}

/* An app that says what others already wait for waits with them. */
static int take_in(const struct declaration *made, server_peer peer, uint32_t serial) {
	struct declarations *all = made->owner;
	struct declaration *d = find_alike(all, made);
	if (is_full(all, !d)) {
		drop_the_gone(all);
		d = find_alike(all, made);
	}
	if (is_full(all, !d)) {
		tell_full(all);
		return STINT_EFULL;
	}
	if (!d)
		d = add_declaration(made);
	int status = d ? add_asker(d, peer, serial) : STINT_ENOMEM;
	if (status == 0 && d != all->asked)
		proceed(d);
	else if (d && d->asker_count == 0)
		drop(d);
	return status;
}

void declarations_on_message(struct declarations *all, server_peer peer, const struct wire_declare *message,
                             const char *name, size_t length) {
	struct declaration made = {.owner = all, .flags = message->head.flags};
	int status = policy_from_declaration(&made.row, message, name, length);
	if (status == 0)
		status = take_in(&made, peer, message->head.serial);
	if (status != 0)
		reply(all, peer, message->head.serial, status, -1, false);
	else
		driver_pump(all->driver);
}

void declarations_resume(struct declarations *all) {
	for (struct declaration *d = all->first, *next; d; d = next) {
		next = d->next;
		if (d != all->asked)
			proceed(d);
	}
}

void declarations_forget_database(struct declarations *all) {
	all->asked = NULL;
	all->passing_on = false;
}

void declarations_free(struct declarations *all) {
	while (all->first)
		drop(all->first);
}
