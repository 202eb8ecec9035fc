/*
 * fake_agent.h - an agent that does what a test says: a thread that speaks
 * wire.h, and a table laid out as layout.h has it.
 */
#ifndef FAKE_AGENT_H
#define FAKE_AGENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/layout.h"
#include "protocol/tally.h"
#include "stint.h"
#include "protocol/wire.h"

#define FAKE_CONNECTIONS_MAX 64
#define FAKE_BUCKETS         64u
#define FAKE_CPUS            64u /* no machine has to have as many */

struct fake_table {
	int directory_fd;
	int table_fd;
	struct directory_header *directory; /* the test may write to it */
	struct table_header *table;
	struct tag_row *tags;
	struct slot *slots;
	_Atomic uint32_t *own_limits;
	struct tally *tallies;
};

void fake_table_make(struct fake_table *, uint64_t generation);
void fake_table_destroy(struct fake_table *);
/* How often apps were told this, under the policy with this index; and how many checks ended with this error. */
uint64_t fake_table_verdicts(const struct fake_table *, uint32_t policy, enum stint_source, enum tally_outcome);
uint64_t fake_table_errors(const struct fake_table *, int error);

/* Makes a slot for the client. It is empty; its tag and key are set. */
struct slot *fake_table_put(struct fake_table *, uint32_t policy, const char *id);
void fake_table_remove(struct fake_table *, struct slot *);

/* Ends the epoch and publishes the next one, in the order that layout.h asks of the agent. */
void fake_slot_lease(struct slot *, int which, uint32_t credits, uint64_t deadline_ns, uint64_t flag);
void fake_slot_deny(struct slot *, uint32_t from_cost, uint64_t until_ns, uint32_t remaining, uint32_t hint);
/* The client gets a limit of its own: that of the directory with this index. */
void fake_slot_own_limit(struct fake_table *, struct slot *, uint32_t index, uint32_t limit);

uint64_t fake_now_ns(void);
#define MS(n) ((uint64_t)(n)*1000000u)

struct fake_agent;

/* Answers a WANT; runs on the agent's thread, under its lock. */
typedef void fake_want(struct fake_agent *, int fd, const struct wire_want *, const char *id);

struct fake_counts {
	unsigned hello, declare, want, low, charge, ping, hangup;
};

struct fake_agent {
	char directory[64];
	char path[96];
	struct fake_table table;

	pthread_mutex_t lock; /* protects all below */
	pthread_cond_t changed;
	struct fake_counts counts;
	/* What it does. */
	bool mute;         /* takes messages and answers none */
	bool mute_declare; /* the same with DECLAREs only */
	bool deaf;         /* doesn't even read messages */
	int32_t welcome_status;
	uint32_t wire_version; /* in WELCOME */
	const char *welcome_words;
	uint64_t generation; /* in WELCOME */
	int32_t declared_status;
	uint32_t policy;             /* in DECLARED */
	struct wire_verdict verdict; /* what WANTs get; deadline_ns 0: 10 s from now */
	fake_want *want;             /* called instead of sending `verdict`, unless NULL */
	void *arg;
	/* What it heard last. */
	struct wire_declare last_declare;
	struct wire_want last_want;
	struct wire_low last_low;
	struct wire_charge last_charge;
	char last_name[256];

	pthread_t thread;
	bool running;
	bool stop;
	int wake_fd;
	int listen_fd;
	int connection[FAKE_CONNECTIONS_MAX];
	int connections;
};

void fake_agent_init(struct fake_agent *);
void fake_agent_destroy(struct fake_agent *);
void fake_agent_start(struct fake_agent *);
/* Hangs up on all apps and closes the socket. The agent keeps what it knows. */
void fake_agent_stop(struct fake_agent *);
/* Hangs up on all apps. */
void fake_agent_hang_up(struct fake_agent *);
/* Sends the same bytes to every app that is connected, with so many descriptors of /dev/null. */
void fake_agent_send_all(struct fake_agent *, const void *bytes, size_t length, int fds);
/* What the agent does is changed between these two. At unlock it notices whether it is deaf. */
void fake_agent_lock(struct fake_agent *);
void fake_agent_unlock(struct fake_agent *);
/* Waits until a counter has come to at least n. */
void fake_agent_await(struct fake_agent *, const unsigned *counter, unsigned n);
unsigned fake_agent_count(struct fake_agent *, const unsigned *counter);

/* For a fake_want: sends a verdict, agent->verdict or another one. */
void fake_answer(struct fake_agent *, int fd, uint32_t serial, struct wire_verdict);

/* Answers this DECLARE, which it had held back, and all from now on. */
void fake_agent_say_declared(struct fake_agent *, uint32_t serial);

#endif
