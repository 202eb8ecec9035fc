/*
 * channel.c - makes and ends the connection, and handles each message. What
 * requests send is in outstanding.c, how threads wait in wait.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "connection.h"
#include "error.h"
#include "message.h"

/* An attempt to connect costs the host some 5 us. While the agent may be back any moment, attempts are so frequent
 * that nobody notices the difference; once it is gone, not every process of the host need look for it twenty times
 * a second. */
#define BACKOFF_MIN_NS     NS_PER_MS
#define BACKOFF_WAITING_NS (50 * NS_PER_MS)
#define BACKOFF_MAX_NS     NS_PER_S

/* For an agent that answers and then breaks the connection or refuses us: it may do so again and again. */
#define BACKOFF_ANSWERED_NS (100 * NS_PER_MS)

/* How long nobody waits for an agent that let a request time out without sending anything. */
#define SILENCE_NS NS_PER_S

/* Messages received at a time: the lock is free again after some 100 us even if the agent floods us. */
#define RECEIVE_MAX 256

bool channel_init(struct channel *ch, struct stintd *stintd, channel_changed *changed, void *observer) {
	if (pthread_mutex_init(&ch->lock, NULL) != 0)
		return false;
	ch->stintd = stintd;
	ch->changed = changed;
	ch->observer = observer;
	descriptor_init(&ch->socket);
	ch->backoff_ns = BACKOFF_MIN_NS;
	ch->random = clock_fine_ns() ^ (uint64_t)getpid() << 32;
	outstanding_init(&ch->outstanding, &ch->socket);
	TAILQ_INIT(&ch->waiters);
	return true;
}

void channel_abandon(struct channel *ch) {
	descriptor_close(&ch->socket);
}

void channel_destroy(struct channel *ch) {
	descriptor_close(&ch->socket);
	pthread_mutex_destroy(&ch->lock);
}

int channel_lock(struct channel *ch) {
	int cancel_state;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	pthread_mutex_lock(&ch->lock);
	return cancel_state;
}

void channel_unlock(struct channel *ch, int cancel_state) {
	pthread_mutex_unlock(&ch->lock);
	pthread_setcancelstate(cancel_state, NULL);
}

/* Tells the observer, see channel_changed. */
static void tell_changed(struct channel *ch) {
	ch->outstanding.unsent_changed = false;
	ch->changed(ch->observer);
}

/* Tells the observer if a request has begun or ceased to wait for room in the socket. */
static void tell_if_unsent_changed(struct channel *ch) {
	if (ch->outstanding.unsent_changed)
		tell_changed(ch);
}

/* ---- The connection ------------------------------------------------------- */

/* Returns the longest time until the next attempt. It is short during the grace period, too: a process that
 * decides alone when the grace period ends must have looked just before. */
static uint64_t longest_backoff_ns(const struct channel *ch, uint64_t now_ns) {
	const struct absence *absence = &ch->stintd->absence;
	bool is_missed = absence_has_begun(absence) && absence_grace_left_ns(absence, now_ns) > 0;
	return ch->outstanding.count > 0 || is_missed ? BACKOFF_WAITING_NS : BACKOFF_MAX_NS;
}

/* Sets the time of the next attempt, between half of the backoff and all of it from now: processes that lost the
 * agent at the same moment must not all come back at the same moment. */
static void put_off(struct channel *ch, uint64_t now_ns) {
	uint64_t max_ns = longest_backoff_ns(ch, now_ns);
	uint64_t half_ns = (ch->backoff_ns < max_ns ? ch->backoff_ns : max_ns) / 2;
	/* The multiplier is Knuth's, of MMIX. */
	ch->random = ch->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	ch->next_attempt_ns = now_ns + half_ns + (ch->random >> 32) % half_ns;
	ch->backoff_ns = 4 * half_ns;
}

static void note_attempt(const struct channel *ch, bool found, uint64_t now_ns) {
	struct absence *absence = &ch->stintd->absence;
	if (found) {
		absence_found(absence, now_ns);
		return;
	}
	absence_recall(absence, connection_last_alive_ns(&ch->stintd->address), now_ns);
	absence_note(absence, now_ns);
}

static bool try_connect(struct channel *ch, uint64_t now_ns) {
	struct wire_hello hello = {
		.head = {.type = WIRE_HELLO},
		.wire_version = WIRE_VERSION,
		.layout_version = LAYOUT_VERSION,
		.monotonic_ns = clock_fine_ns(),
	};
	if (now_ns < ch->next_attempt_ns)
		return false;
	ch->refusal = 0;
	/* connection_open() sends HELLO before anybody can send a LOW on the socket. */
	int fd = connection_open(&ch->stintd->address, &hello, sizeof(hello));
	note_attempt(ch, fd >= 0 || errno == EAGAIN, now_ns);
	put_off(ch, now_ns);
	if (fd < 0 || !descriptor_replace(&ch->socket, fd))
		return false;
	ch->state = CHANNEL_GREETING;
	ch->silent_until_ns = 0;
	uint64_t number = atomic_fetch_add(&ch->stintd->connections, 1) + 1;
	outstanding_connect(&ch->outstanding, number);
	atomic_store(&ch->connection, number);
	tell_changed(ch);
	return true;
}

static void end_connection(struct channel *ch) {
	int fd = descriptor_find(&ch->socket);
	ch->state = CHANNEL_AWAY;
	outstanding_disconnect(&ch->outstanding);
	ch->silent_until_ns = 0;
	tell_changed(ch);
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
}

static bool is_worth_waiting(const struct channel *ch, const struct request *r, uint64_t now_ns) {
	uint64_t timeout_ns = (uint64_t)r->question.limiter->timeout_ms * NS_PER_MS;
	return ch->state != CHANNEL_AWAY || absence_is_waited_for(&ch->stintd->absence, timeout_ns, now_ns);
}

static void go_on_or_leave(void *context, struct request *r) {
	struct channel *ch = context;
	if (!is_worth_waiting(ch, r, clock_fine_ns()))
		outstanding_finish(&ch->outstanding, r, REQUEST_DECIDE_ALONE);
}

/* Lets the request wait for the next connection. But its message may be what the agent broke down at: when the
 * connection breaks a second time, the request ends. */
static void say_again(void *context, struct request *r) {
	struct channel *ch = context;
	bool said = r->step != REQUEST_ATTACHING;
	if (said && r->reconnected) {
		outstanding_finish(&ch->outstanding, r, REQUEST_DECIDE_ALONE);
		return;
	}
	r->reconnected |= said;
	outstanding_advance(&ch->outstanding, r);
	go_on_or_leave(ch, r);
}

static void drop_connection(struct channel *ch) {
	uint64_t now_ns = clock_fine_ns();
	if (ch->state == CHANNEL_READY)
		absence_begin(&ch->stintd->absence, now_ns);
	end_connection(ch);
	try_connect(ch, now_ns);
	outstanding_for_each(&ch->outstanding, say_again, ch);
	tell_changed(ch);
}

/* Makes a new connection at once if the app has closed the socket, and perhaps has opened something of its own
 * there: that is no fault of the agent's. */
static void notice_closed_socket(struct channel *ch) {
	if (ch->state == CHANNEL_AWAY || descriptor_find(&ch->socket) >= 0)
		return;
	ch->next_attempt_ns = 0;
	ch->led = false; /* a thread that sleeps on the old socket doesn't see what comes on the new one */
	drop_connection(ch);
}

static void finish_refused(void *context, struct request *r) {
	struct channel *ch = context;
	outstanding_finish(&ch->outstanding, r, ch->refusal);
}

/* Ends the connection and all requests: agent and library can't work together. This thread's detail says why. */
static void refuse_connection(struct channel *ch, int error) {
	ch->refusal = error;
	snprintf(ch->refusal_detail, sizeof(ch->refusal_detail), "%s", stint_error_detail());
	end_connection(ch);
	outstanding_for_each(&ch->outstanding, finish_refused, ch);
	if (ch->backoff_ns < BACKOFF_ANSWERED_NS)
		ch->backoff_ns = BACKOFF_ANSWERED_NS;
	put_off(ch, clock_fine_ns());
	tell_if_unsent_changed(ch);
}

/* ---- Messages ------------------------------------------------------------- */

/* Takes the mapping of this generation: one that we have (old bindings still serve), or a new one. */
static int adopt_table(struct channel *ch, const struct packet *packet, uint64_t generation) {
	struct stintd *stintd = ch->stintd;
	struct mapping *m;
	for (m = atomic_load(&stintd->mappings); m; m = m->older) {
		if (m->generation == generation) {
			ch->mapping = m;
			return 0;
		}
	}
	int error = mapping_new(&m, packet->fd[0], packet->fd[1], generation);
	if (error)
		return error;
	m->older = atomic_load(&stintd->mappings);
	atomic_store(&stintd->mappings, m);
	ch->mapping = m;
	return 0;
}

static int hear_welcome(struct channel *ch, const struct packet *packet) {
	if (ch->state != CHANNEL_GREETING)
		return message_refuse("a second WELCOME");
	struct wire_welcome welcome;
	int error = message_read_welcome(packet, &welcome);
	if (!error)
		error = adopt_table(ch, packet, welcome.generation);
	if (error)
		return error;
	ch->state = CHANNEL_READY;
	ch->backoff_ns = BACKOFF_MIN_NS;
	ch->next_attempt_ns = clock_fine_ns() + BACKOFF_ANSWERED_NS;
	outstanding_welcome(&ch->outstanding);
	return 0;
}

static bool is_in_directory(const struct mapping *mapping, uint32_t policy) {
	return policy_number_index(policy) < mapping->policy_capacity &&
	       atomic_load(&mapping->policies[policy_number_index(policy)].generation) ==
	           policy_number_generation(policy);
}

static int hear_declared(struct channel *ch, const struct packet *packet) {
	struct wire_declared declared;
	struct stint_limiter *limiter;
	int error = message_read_declared(packet, &declared);

	if (error)
		return error;
	limiter = outstanding_find_declaring(&ch->outstanding, declared.head.serial);
	if (!limiter)
		return 0;
	if (declared.status == 0 && !is_in_directory(ch->mapping, declared.policy))
		return message_refuse("the policy's number");
	if (declared.status == 0 && !limiter_bind(limiter, ch->mapping, declared.policy))
		declared.status = STINT_ENOMEM;
	outstanding_declared(&ch->outstanding, limiter, declared.status);
	return 0;
}

static int hear_verdict(struct channel *ch, const struct packet *packet) {
	struct wire_verdict verdict;
	struct request *r;
	int error = message_read_verdict(packet, &verdict);

	if (error)
		return error;
	r = outstanding_find(&ch->outstanding, verdict.head.serial);
	if (!r || (verdict.status == STINT_ENOPOLICY && outstanding_declare_again(&ch->outstanding, r)))
		return 0;
	r->verdict = verdict;
	outstanding_finish(&ch->outstanding, r, verdict.status);
	return 0;
}

/* Handles a message. Returns 0, or an error after which this agent's connection must end. */
static int hear(struct channel *ch, const struct packet *packet) {
	struct wire_head head;
	int error = message_read_head(packet, &head);

	if (error)
		return error;
	ch->heard++;
	ch->silent_until_ns = 0;
	absence_end(&ch->stintd->absence);
	if (ch->state == CHANNEL_GREETING || head.type == WIRE_WELCOME)
		return head.type == WIRE_WELCOME ? hear_welcome(ch, packet) : message_refuse("no WELCOME first");
	if (packet->fd_count != 0)
		return message_refuse("descriptors");
	switch (head.type) {
	case WIRE_DECLARED: return hear_declared(ch, packet);
	case WIRE_VERDICT: return hear_verdict(ch, packet);
	case WIRE_PONG: return packet->length == sizeof(head) ? 0 : message_refuse("the length of PONG");
	default: return message_refuse("the message's type");
	}
}

/* Receives and handles a packet. Returns false when none has come, or when no request is outstanding any more. */
static bool receive_packet(struct channel *ch) {
	struct packet packet;
	enum received received = connection_receive(atomic_load(&ch->socket.number), &packet);
	int error = 0;

	if (received == RECEIVED_NOTHING)
		return false;
	if (received == RECEIVED_END) {
		drop_connection(ch);
		return true;
	}
	error = received == RECEIVED_PACKET ? hear(ch, &packet) : message_refuse("more than a message's length");
	packet_close(&packet);
	if (error)
		refuse_connection(ch, error);
	/* A request that was alone has its answer: this saves the system call that finds no other packet. */
	return ch->outstanding.count > 0;
}

/* WELCOME brings descriptors, which must not get the numbers 0 to 2. */
static bool receive_welcome(struct channel *ch) {
	struct stdio_hold hold;
	stdio_hold(&hold);
	bool more = receive_packet(ch);
	stdio_release(&hold);
	return more;
}

void channel_receive(struct channel *ch) {
	bool more = true;
	notice_closed_socket(ch);
	for (int i = 0; i < RECEIVE_MAX && more && ch->state != CHANNEL_AWAY; i++)
		more = ch->state == CHANNEL_GREETING ? receive_welcome(ch) : receive_packet(ch);
	outstanding_send_leftovers(&ch->outstanding);
	tell_if_unsent_changed(ch);
}

void channel_look_for_agent(struct channel *ch) {
	uint64_t now_ns = clock_fine_ns();
	if (ch->state == CHANNEL_AWAY && ch->outstanding.count > 0 && now_ns >= ch->next_attempt_ns &&
	    !try_connect(ch, now_ns))
		outstanding_for_each(&ch->outstanding, go_on_or_leave, ch);
	tell_if_unsent_changed(ch);
}

/* ---- For the owners of requests ------------------------------------------- */

/* Asks the silent agent, though nobody waits for its answer, so that the table has credits when the agent
 * recovers. It asks for a look: what a check takes would be lost, at each of the checks that nobody waits for. */
static void ask_in_passing(struct channel *ch, const struct request *r) {
	struct request look = *r;
	if (!outstanding_is_declared(&ch->outstanding, r->question.limiter))
		return;
	look.question.look = true;
	look.question.of_several = false;
	request_send_want(&look, atomic_load(&ch->socket.number));
}

/* Whether a message may have come that ends the agent's silence, or the time in which it is missed. */
static bool may_have_spoken(const struct channel *ch, uint64_t now_ns) {
	return now_ns < ch->silent_until_ns || (ch->state == CHANNEL_READY && absence_has_begun(&ch->stintd->absence));
}

/* Returns 0 if there is a connection or it is worth waiting for one, else an error or REQUEST_DECIDE_ALONE. */
static int ensure_connection(struct channel *ch, const struct request *r, uint64_t now_ns) {
	notice_closed_socket(ch);
	if (may_have_spoken(ch, now_ns) && !ch->led)
		channel_receive(ch);
	if (ch->state == CHANNEL_READY && mapping_is_retired(ch->mapping))
		drop_connection(ch);
	if (ch->state != CHANNEL_AWAY || try_connect(ch, now_ns))
		return 0;
	return ch->refusal ? ch->refusal : is_worth_waiting(ch, r, now_ns) ? 0 : REQUEST_DECIDE_ALONE;
}

int channel_submit(struct channel *ch, struct request *r) {
	uint64_t now_ns = clock_fine_ns();
	int status = limiter_is_ending(r->question.limiter) ? STINT_ECANCELED : ensure_connection(ch, r, now_ns);
	r->serial = ++ch->outstanding.last_serial;
	r->heard = ch->heard;
	r->step = REQUEST_FINISHED;
	if (status != 0)
		return status;
	if (now_ns < ch->silent_until_ns) {
		ask_in_passing(ch, r);
		return REQUEST_DECIDE_ALONE;
	}
	outstanding_add(&ch->outstanding, r);
	tell_if_unsent_changed(ch);
	return 0;
}

void channel_withdraw(struct channel *ch, struct request *r) {
	outstanding_remove(&ch->outstanding, r);
	tell_if_unsent_changed(ch);
}

/* Begins the agent's silence, and sends a PING: the agent may have been slow only because the database was. Then
 * its PONG ends the silence, at the latest at the next check. */
static void fall_silent(struct channel *ch, uint64_t now_ns) {
	struct wire_head ping = {.type = WIRE_PING};
	absence_note_silence(&ch->stintd->absence, now_ns);
	if (now_ns >= ch->silent_until_ns && ch->state == CHANNEL_READY)
		connection_send(atomic_load(&ch->socket.number), &ping, sizeof(ping), NULL, 0);
	ch->silent_until_ns = now_ns + SILENCE_NS;
}

void channel_give_up(struct channel *ch, struct request *r) {
	channel_withdraw(ch, r);
	r->status = REQUEST_DECIDE_ALONE;
	if (ch->heard == r->heard && ch->state != CHANNEL_AWAY)
		fall_silent(ch, clock_fine_ns());
}

void channel_explain(const struct channel *ch, const struct request *r, int error) {
	if (error == ch->refusal)
		error_set(error, "%s", ch->refusal_detail);
	else
		error_set(error, "policy \"%s\": %s", r->question.limiter->policy, stint_strerror(error));
}

void channel_forget(struct channel *ch, struct stint_limiter *limiter) {
	outstanding_forget(&ch->outstanding, limiter);
}

/* Returns the socket, if the limiter's policy is known by its number there; else -1. (A number that came on
 * another connection may name another policy on this one.) */
static int find_socket(struct channel *ch, const struct stint_limiter *limiter) {
	if (atomic_load(&limiter->declared_on) != atomic_load(&ch->connection))
		return -1;
	return descriptor_find(&ch->socket);
}

void channel_send_low(struct channel *ch, const struct stint_limiter *limiter, const char *id, size_t id_length) {
	struct wire_low message = {.head = {.type = WIRE_LOW}};
	int fd = find_socket(ch, limiter);
	if (fd < 0)
		return;
	message.policy = atomic_load(&limiter->binding)->policy;
	connection_send(fd, &message, sizeof(message), id, id_length);
}

/* The caller holds the lock: the socket is that of the limiter's declaration, and so is the policy's number,
 * unless the agent has made room for another policy since. */
static bool send_charge(struct channel *ch, const struct question *q) {
	struct wire_charge message = {.head = {.type = WIRE_CHARGE}, .cost = q->cost};
	int fd = ch->state == CHANNEL_READY ? find_socket(ch, q->limiter) : -1;
	if (fd < 0)
		return false;
	message.policy = atomic_load(&q->limiter->binding)->policy;
	return is_in_directory(ch->mapping, message.policy) &&
	       connection_send_once(fd, &message, sizeof(message), q->id, q->length);
}

bool channel_send_charge(struct channel *ch, const struct question *q) {
	int cancel_state = channel_lock(ch);
	bool sent = send_charge(ch, q);
	channel_unlock(ch, cancel_state);
	return sent;
}
