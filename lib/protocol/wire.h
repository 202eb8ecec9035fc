/*
 * wire.h - what library and agent say to each other, over one SOCK_SEQPACKET
 * Unix socket per app process (several threads share it).
 *
 * One packet is one message: a fixed head, then, where the message has one, the
 * bytes of a name or id up to the packet's end (its length is the packet's minus
 * the head's). Host byte order: both ends are on one machine.
 *
 *     app                                   agent
 *     HELLO            ->
 *                      <-   WELCOME + 2 descriptors (directory read-only, table read-write)
 *     DECLARE "api"    ->
 *                      <-   DECLARED index
 *     WANT client      ->                   a miss: somebody waits
 *                      <-   VERDICT
 *     LOW client       ->                   no answer: credits run low
 *     PING             ->                   are you there, whatever the database does?
 *                      <-   PONG
 *     STATUS           ->                   (the operator's command line)
 *                      <-   STATUS_TEXT JSON, in pieces
 *
 * Twice a second the agent sets the socket's time of modification to its
 * CLOCK_MONOTONIC: a process that finds no agent there sees whether one was there
 * a moment ago. (An agent that ends by itself removes the socket.)
 *
 * The serial of a request comes back in its answer. Answers may overtake one
 * another. The agent hangs up on a peer that sends anything else, sends before
 * HELLO, or doesn't read its answers.
 */
#ifndef STINT_WIRE_H
#define STINT_WIRE_H

#include <assert.h>
#include <stdint.h>

#define WIRE_VERSION     2u
#define WIRE_MESSAGE_MAX 4096u /* no message is longer, STATUS_TEXT included */

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_WELCOME = 2,
	WIRE_DECLARE = 3,
	WIRE_DECLARED = 4,
	WIRE_WANT = 5,
	WIRE_VERDICT = 6,
	WIRE_LOW = 7,
	WIRE_STATUS = 8,
	WIRE_STATUS_TEXT = 9,
	WIRE_PING = 10,
	WIRE_PONG = 11,
	WIRE_CHARGE = 12,
};

struct wire_head {
	uint16_t type;
	uint16_t flags; /* see each message; 0 otherwise */
	uint32_t serial;
};

struct wire_hello {
	struct wire_head head;
	uint32_t wire_version;
	uint32_t layout_version;
	uint64_t monotonic_ns; /* the app's clock: differs from the agent's in another time namespace */
};

/* status 0: two descriptors come along (directory, table). Otherwise a negative enum stint_error, no descriptors,
 * and a sentence behind this struct; then the agent hangs up. */
struct wire_welcome {
	struct wire_head head;
	int32_t status;
	uint32_t wire_version;
	uint32_t layout_version;
	uint32_t reserved;
	uint64_t generation; /* the table's; the same as before means that old mappings still serve */
};

#define WIRE_DECLARE_MUST_EXIST 1u /* flags: declare nothing, just find the policy */
#define WIRE_DECLARE_AGAIN                                                                                        \
	2u                         /* flags: the same limiter has declared this before: changes no policy that
                                      exists */
#define WIRE_DECLARE_SHADOW 4u /* flags: the policy is to be a shadow */

struct wire_declare { /* then the policy's name; 0 means the default, as in struct stint_options */
	struct wire_head head;
	int64_t max_requests;
	int64_t time_window_ms;
	int64_t fallback_max_requests;
	int64_t fallback_time_window_ms;
	uint32_t algorithm;
	uint32_t mode;
	uint32_t resolution;
	uint32_t reserved;
};

#define WIRE_DECLARED_PINNED 1u /* flags: an operator's limits are in force instead of the declared ones */

struct wire_declared {
	struct wire_head head;
	int32_t status;  /* 0 or a negative enum stint_error */
	uint32_t policy; /* the policy's number, see layout.h */
};

#define WIRE_WANT_PROVIDE 1u /* flags: the app takes the credits itself, from the table: they are to be there */
#define WIRE_WANT_LOOK    2u /* flags, beside that one: the app only looks; nobody is denied by the answer */

struct wire_want { /* then the client's id */
	struct wire_head head;
	uint32_t policy;
	uint32_t cost;
	uint32_t timeout_ms; /* the app gives up then: a later answer is of no use */
	uint32_t sent_ms;    /* when, by CLOCK_MONOTONIC modulo 2^32: the agent may read it late; 0: unknown */
};

struct wire_verdict {
	struct wire_head head;
	int32_t status; /* 0, or a negative enum stint_error and no verdict */
	uint8_t allowed;
	uint8_t source; /* enum stint_source */
	uint8_t reason; /* enum stint_reason: STINT_ADMITTED if and only if it is allowed */
	uint8_t reserved;
	uint64_t deadline_ns; /* allowed: the admission is void after this CLOCK_MONOTONIC time */
	int64_t limit;
	int64_t remaining;
	int64_t retry_after_ms;
	int64_t reset_after_ms;
};

struct wire_low { /* then the client's id */
	struct wire_head head;
	uint32_t policy;
	uint32_t reserved;
};

/* This much was used without asking. There is no answer. */
struct wire_charge { /* then the client's id */
	struct wire_head head;
	uint32_t policy;
	uint32_t cost;
};

#define WIRE_STATUS_METRICS 1u /* flags of STATUS: not JSON, but metrics in Prometheus' text format */

#define WIRE_STATUS_MORE 1u /* flags of STATUS_TEXT: another piece follows */

_Static_assert(sizeof(struct wire_head) == 8, "wire head");
_Static_assert(sizeof(struct wire_hello) == 24, "hello");
_Static_assert(sizeof(struct wire_welcome) == 32, "welcome");
_Static_assert(sizeof(struct wire_declare) == 56, "declare");
_Static_assert(sizeof(struct wire_declared) == 16, "declared");
_Static_assert(sizeof(struct wire_want) == 24, "want");
_Static_assert(sizeof(struct wire_verdict) == 56, "verdict");
_Static_assert(sizeof(struct wire_low) == 16, "low");
_Static_assert(sizeof(struct wire_charge) == 16, "charge");

#endif
