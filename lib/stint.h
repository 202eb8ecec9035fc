/*
 * stint.h - rate limits that many processes of many hosts keep together.
 *
 * No client, named by a client_id string, is admitted more than max_requests
 * times in any interval of time_window_ms, whichever process of whichever host
 * serves it. A decision is one compare-and-swap in a shared-memory table that
 * this host's agent, stintd, keeps filled with credits from PostgreSQL. Only
 * when the table has no answer does a check ask the agent and wait.
 *
 *     struct stint *st;
 *     struct stint_limiter *api;
 *
 *     stint_open(&st, NULL);
 *     stint_limiter_new(&api, st, &(struct stint_options){
 *         .policy = "api", .max_requests = 100, .time_window_ms = 60000 });
 *     if (!stint_is_allowed(api, client_id))
 *         respond(429);
 *
 * What to know before using it:
 *
 * - Errors. A function that can fail returns 0, or one of the negative
 *   STINT_E... codes below; stint_strerror() names the code and
 *   stint_error_detail() names the offending value and its range. An error is
 *   never a verdict: `result->allowed` means something only when 0 came back.
 * - NULL. Where nothing is said of NULL, it is the caller's fault, and most often
 *   a crash. stint_open() and stint_limiter_new() leave one when they fail: look
 *   at what they return before you use the object.
 * - Nothing here prints, aborts, installs a signal handler or starts a thread.
 *   SIGPIPE is never raised.
 * - Threads. Attachments and limiters may be used by any number of threads at
 *   once, without a lock of the caller's. Only stint_close() and
 *   stint_limiter_free() need that no other thread uses the object any more;
 *   stint_limiter_free() may run beside another thread's stint_dispatch(). A thread
 *   that is cancelled while it is in one of these functions ends when that has
 *   returned, so nothing stays locked.
 * - Fork. Parent and child may both go on with what was opened before the
 *   fork, in whatever PID namespace the child is; no call is needed after it. A
 *   child notices at its first request to the agent and makes a connection of
 *   its own. Asynchronous checks that were pending at the fork are the parent's;
 *   their callbacks never run in the child. The child of vfork(), or of clone()
 *   with CLONE_VM, shares the parent's memory: it may call nothing here.
 * - Signals. No function here may be called from a signal handler.
 * - A process that is killed at any instruction leaves the table legal, and
 *   nobody waits for it. A process that is stopped between taking a credit and
 *   returning loses that credit when its deadline has passed meanwhile.
 * - The agent may be killed, or restart: decisions come from what the table
 *   still holds. A check that the table has no answer for waits for the agent to
 *   come back, no longer than its timeout, and is denied when it doesn't: an agent
 *   that is back within 2 s costs no admission beyond the limit.
 * - The agent may be down for longer: 2.5 s after this process lost it, checks
 *   don't wait any more, and a limit inside this process decides
 *   (local_max_requests per fallback_time_window_ms, per process; a must_exist
 *   limiter that has not learnt its fallback yet takes 1000 per second). The
 *   agent is looked for about once a second. A process that looks less often than
 *   every 10 s sees from the socket of a killed agent that none has come meanwhile.
 *   After a stop there is no socket: an agent may have come and gone unseen, so
 *   each check that comes as seldom waits for its timeout, 2.5 s at most, and is
 *   denied if that was shorter.
 * - The agent may start later: a process that has never found one waits for it
 *   with its first checks, as long as the timeout of one, and then decides by the
 *   limit inside the process at once. It sees from the socket that an agent was
 *   killed a moment before, but not that one was stopped, which removes the
 *   socket: in this case alone more than the limit may be admitted although the
 *   agent is back within 2 s.
 * - The agent may hang: a check waits for it no longer than its timeout; after
 *   one that waited in vain, none waits for a second, or until the agent says
 *   something. What isn't answered in time is denied: the agent may be well, and
 *   the database slow. When there was no sign of life for 2.5 s after that, the
 *   limit inside the process decides.
 * - Anyone who may connect to the agent's socket may use up any client's limit,
 *   and can write garbage into this host's table. Give the socket's group to
 *   the processes that limit, and to nobody else.
 * - Descriptors: one socket per attachment (two more with stint_fd()), all
 *   close-on-exec, none of them 0, 1 or 2. An app may close them, as daemons
 *   close what they don't know: the next request to the agent makes a new
 *   connection, and what the app has opened behind the number is never read,
 *   written, closed or replaced. It must not do so while another thread is in a
 *   function here.
 * - Shadow policies deny nobody. Where such a policy would deny a client, whoever decides and for whatever reason,
 *   the result says `allowed` and `shadow_denied`; the rest of it is as of the denial: reason, remaining,
 *   retry_after_ms. All is counted as if the client were denied, so this request isn't, and can't be given back. A
 *   limit can so be tried on real requests first. An app declares a shadow (options->shadow), or an operator makes
 *   a policy one, or ends that: then the limit is in force everywhere within a second. Errors stay errors.
 * - Growth. Structs grow at their end, and their sizes travel with each call: an
 *   inline function here hands them to an exported one whose name ends in _sized.
 *   So an app that was compiled with an earlier stint.h works with a later library,
 *   which sees 0 in the options that the app doesn't know. A binding that calls the
 *   exported functions passes the sizes of the structs that it knows.
 * - Ids with a length. A function whose name ends in _n takes the id's length; no
 *   byte of the id is lost. PostgreSQL keeps no NUL in a text, so an id with one is
 *   refused (STINT_ECLIENT).
 */
#ifndef STINT_H
#define STINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define STINT_VERSION "0.2.0"

/* Where the agent listens when neither the argument nor $STINT_SOCKET says. */
#define STINT_DEFAULT_SOCKET "/run/stint/agent.sock"

/* Ranges, all inclusive. A value outside is refused with STINT_ERANGE. */
#define STINT_CLIENT_ID_MAX         255        /* bytes of UTF-8, at least 1      */
#define STINT_POLICY_NAME_MAX       63         /* bytes of [A-Za-z0-9_.:/-]       */
#define STINT_MAX_REQUESTS_MAX      1000000000 /* at least 1                      */
#define STINT_FALLBACK_REQUESTS_MAX 2000000000
#define STINT_TIME_WINDOW_MS_MIN    100
#define STINT_TIME_WINDOW_MS_MAX    INT64_C(2678400000) /* 31 days               */
#define STINT_RESOLUTION_MAX        60
#define STINT_SUB_WINDOW_MS_MIN     10 /* time_window_ms / resolution     */
#define STINT_TIMEOUT_MS_MAX        60000

/* For an option where 0 means the default limit: nobody is admitted. */
#define STINT_DENY (-1)

/* In place of an id's length: the id ends with a NUL. */
#define STINT_STRING SIZE_MAX

/* Every error, its number and its sentence: makes the enum and stint_strerror(). */
#define STINT_ERRORS(X)                                                                                           \
	X(STINT_ERANGE, -1, "a value is out of its range")                                                            \
	X(STINT_ECLIENT, -2, "client_id is not 1 to 255 bytes of valid UTF-8, without a NUL")                         \
	X(STINT_EPOLICY, -3, "policy is not 1 to 63 bytes of [A-Za-z0-9_.:/-]")                                       \
	X(STINT_EPATH, -4, "the socket's path is empty or too long")                                                  \
	X(STINT_ENOMEM, -5, "out of memory")                                                                          \
	X(STINT_ESYSTEM, -6, "a system call failed")                                                                  \
	X(STINT_EAGENT, -7, "the agent is out of reach")                                                              \
	X(STINT_EVERSION, -8, "library and agent are of different versions")                                          \
	X(STINT_ETIMENS, -9, "library and agent run in different time namespaces")                                    \
	X(STINT_EPROTOCOL, -10, "the agent sent what this library does not understand")                               \
	X(STINT_ENOPOLICY, -11, "no such policy")                                                                     \
	X(STINT_EFULL, -12, "the agent has no room for another policy or declaration")                                \
	X(STINT_EBUSY, -13, "too many asynchronous checks are pending")                                               \
	X(STINT_ECANCELED, -14, "the check was cancelled, or its limiter or attachment is being freed")               \
	X(STINT_EADDRESS, -15, "this is no address of IPv4 or IPv6")

enum stint_error {
#define STINT_ERROR_ENUM(name, number, sentence) name = number,
	STINT_ERRORS(STINT_ERROR_ENUM)
#undef STINT_ERROR_ENUM
};

/*
 * How requests are counted.
 *
 * Sliding: the window is cut into `resolution` sub-windows; any interval of
 * time_window_ms holds at most max_requests. A client that sends steadily gets
 * about resolution / (resolution + 1) of its limit.
 *
 * Credits are leased to hosts: for as long as the window, while the client uses
 * little of its limit, and for a tenth of it when less than a quarter is left.
 *
 * Fixed: one window at a time, edges at a phase of the client's own; at most
 * max_requests in each, so up to twice that across an edge.
 */
enum stint_algorithm {
	STINT_SLIDING_WINDOW = 0,
	STINT_FIXED_WINDOW = 1,
};

/*
 * Strict: a credit is counted by the database before it is spent.
 *
 * Relaxed: a client that the table has no credits for is admitted at once from an
 * advance, and counted afterwards. A host's advance for a client is max_requests /
 * 8 / hosts, at least 1, or one request that costs more; a burst that is larger
 * waits as in strict mode. All hosts together may admit at most max_requests / 8 +
 * hosts x the largest cost above the limit in a window; an agent that is killed
 * forgets what it had not counted yet.
 */
enum stint_mode {
	STINT_STRICT = 0,
	STINT_RELAXED = 1,
};

/* Who decides when the agent doesn't: it is out of reach, doesn't answer in time, or refuses this library. */
enum stint_on_error {
	STINT_ON_ERROR_LOCAL = 0, /* nobody is admitted while the agent may be back any moment, then the limit inside
	                             the process decides (local_max_requests) */
	STINT_ON_ERROR_DENY = 1,  /* nobody is admitted */
	STINT_ON_ERROR_ALLOW = 2, /* everybody is admitted: there is no limit while the agent is away, or slow */
};

/* Zero it, then set what you need: 0 or NULL means the default. */
struct stint_options {
	const char *policy;              /* required: the limit's name, the same on every host */
	int64_t max_requests;            /* required, unless must_exist */
	int64_t time_window_ms;          /* required, unless must_exist */
	int64_t fallback_max_requests;   /* per host, database away; default 2 x max_requests */
	int64_t fallback_time_window_ms; /* default time_window_ms */
	enum stint_algorithm algorithm;
	enum stint_mode mode;
	int32_t resolution;           /* sub-windows of a sliding window; default 20, or 10
	                                    of a window below 2 s */
	int32_t timeout_ms;           /* the longest a check waits; default 1000. Keep it above
	                                    the agent's database_timeout_ms: a check that runs
	                                    into it is denied */
	bool must_exist;              /* take the limits that the policy has, declare none;
	                                    a check on an unknown policy is STINT_ENOPOLICY */
	int64_t local_max_requests;   /* per process and fallback_time_window_ms, agent away;
	                                    default the fallback's; STINT_DENY: nobody */
	enum stint_on_error on_error; /* who decides when the agent doesn't */
	bool shadow;                  /* nobody is denied: see "Shadow policies" above. With must_exist, only as long
	                                 as the policy isn't known to this process */
};

/* Who decided. */
enum stint_source {
	STINT_SOURCE_LEASE = 1,    /* the table: a credit, or a cached denial, of the database's */
	STINT_SOURCE_DATABASE = 2, /* the agent, after asking the database for this check */
	STINT_SOURCE_FALLBACK = 3, /* the database is away: this host's lenient limit */
	STINT_SOURCE_LOCAL = 4,    /* the agent is away: checks are denied while it may be back any moment, then
	                              this process's lenient limit decides */
	STINT_SOURCE_ADVANCE = 5,  /* relaxed mode: a credit not counted yet */
};

/* Why. */
enum stint_reason {
	STINT_ADMITTED = 1,         /* allowed, and not because of a shadow */
	STINT_OVER_LIMIT = 2,       /* not now: less than the cost is left */
	STINT_BLOCKED = 3,          /* never: an operator has blocked the client */
	STINT_COST_ABOVE_LIMIT = 4, /* never: this cost is more than the whole limit */
	STINT_UNAVAILABLE = 5,      /* not now: nobody could find out how much is left: the agent is away, or
	                               somebody keeps the client's counter locked in the database */
};

/*
 * The numbers mean the same whoever decided: the table, the agent, the database.
 *
 * remaining: how much more of the client all hosts together could admit now, as far as this host knows: the
 * credits that this host holds and can spend now, and what the store of counters (the database; in a fallback this
 * host's agent; the process itself) had left when it answered last. It doesn't include what other hosts hold
 * unspent, and what they took since that answer isn't taken off yet. The more hosts serve one client, and the
 * longer the last answer is ago, the rougher the estimate. While only this host serves it, it is exact, or too
 * little by what the host has in leases that have ended or not begun. A request may find less than it needs
 * although `remaining` is enough: then other hosts held the rest.
 *
 * A credit counts until the last sub-window of its lease has left the window, which is up to two windows and a
 * sub-window after the lease was granted; once its host has told the database that it is spent, until a window
 * after that, and once it is given back, no longer. So reset_after_ms may be up to two windows and a sub-window,
 * and what hosts tell may make it shorter, and `remaining` larger, at any time.
 *
 * retry_after_ms: by what is charged now, so it may be longer than a window, too. Where the reason says never,
 * asking again is of no use while the limit stays as it is; then this is the time until a block ends by itself, or
 * the length of the window, so that an app that goes by it alone doesn't ask all the time. Else it is not more
 * than reset_after_ms.
 */
struct stint_result {
	bool allowed;
	bool shadow_denied; /* it is allowed only because its policy is a shadow */
	uint16_t reserved_16;
	enum stint_source source;
	enum stint_reason reason;
	int64_t limit;          /* what applies to this client: max_requests, or a limit of its own, or the
	                           fallback's; 0: blocked */
	int64_t remaining;      /* an estimate: others may spend it meanwhile */
	int64_t retry_after_ms; /* more than 0 when denied, or shadow_denied: until this cost may be admitted, if
	                           nobody else is */
	int64_t reset_after_ms; /* until the whole limit is free again, if nobody sends; 0: it is */
	uint64_t ticket;        /* set by the asynchronous functions alone, when they return 0: for stint_cancel() */
	uint32_t part;          /* set by stint_check_all() alone: whose numbers these are */
	uint32_t cost;          /* of an admission that has a receipt: what it took */
	uint64_t receipt;       /* of an admission, in this process: for stint_refund(); 0: it can't be given back */
	int64_t time_window_ms; /* in which `limit` counts: the policy's, an operator's perhaps, or the fallback's */
};

struct stint;         /* an attachment to this host's agent */
struct stint_limiter; /* one policy on it */

/*
 * Makes an attachment. Succeeds while the agent is down: it attaches when the
 * agent appears, and again after the agent restarts.
 *
 * socket_path: NULL means $STINT_SOCKET, and without that STINT_DEFAULT_SOCKET.
 *
 * STINT_EPATH, STINT_ENOMEM. On failure *out is NULL.
 */
int stint_open(struct stint **out, const char *socket_path);

/*
 * Ends an attachment and frees what belongs to it. Runs, on this thread and with
 * STINT_ECANCELED, the callbacks of all asynchronous checks that have had none
 * yet. Free its limiters before, or in these callbacks. NULL is ignored.
 */
void stint_close(struct stint *);

/*
 * Makes a limiter; copies the options. Contacts nobody: the policy is declared
 * to the agent by the first check. When an operator has pinned the policy, or
 * another process declares it later, the limits are theirs: result->limit
 * tells. Processes that declare different limits by turns change the policy three
 * times in ten minutes at most.
 *
 * STINT_ERANGE, STINT_EPOLICY, STINT_ENOMEM. On failure *out is NULL.
 */
static inline int stint_limiter_new(struct stint_limiter **out, struct stint *st,
                                    const struct stint_options *options);

/*
 * Frees a limiter that no other thread is using. Runs, on this thread and with
 * STINT_ECANCELED, the callbacks of its asynchronous checks that have had none
 * yet; a callback that another thread is running in stint_dispatch() at this
 * moment may end later. NULL is ignored.
 */
void stint_limiter_free(struct stint_limiter *);

/*
 * Whether this client may go on, at cost 1. Always decides, whatever is down;
 * waits at most the limiter's timeout. An invalid client_id is not allowed;
 * use stint_check() to tell that from a denial. In the cases where stint_check()
 * would return another error, on_error decides.
 */
static inline bool stint_is_allowed(struct stint_limiter *limiter, const char *client_id);
bool stint_is_allowed_n(struct stint_limiter *limiter, const char *client_id, size_t length);

/*
 * The same with a cost and with the reasons. A request of cost n takes n of the
 * limit, all or nothing. Waits at most the limiter's timeout.
 *
 * client_id: 1 to 255 bytes of UTF-8, no NUL among them. cost: 1 to STINT_MAX_REQUESTS_MAX; above
 * the limit it is denied, with the reason STINT_COST_ABOVE_LIMIT. result must not be NULL.
 *
 * 0 and a verdict in *result; or STINT_ECLIENT, STINT_ERANGE, STINT_ENOPOLICY
 * (must_exist), STINT_EVERSION, STINT_ETIMENS, STINT_EPROTOCOL, STINT_EFULL,
 * STINT_ENOMEM, STINT_ESYSTEM. An agent that is down is no error: source tells.
 */
static inline int stint_check(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                              struct stint_result *result);
static inline int stint_check_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                                struct stint_result *result);

/*
 * Like stint_check(), from the table alone: never waits, asks nobody. Returns 1 when it was decided: *result holds
 * the verdict. Returns 0 when the table has no answer: nothing has been taken, and *result is undefined. Else an
 * error, STINT_ECLIENT or STINT_ERANGE. The table has answers for clients that are checked by another function as
 * well: this one makes none appear.
 */
static inline int stint_try(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                            struct stint_result *result);
static inline int stint_try_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                              struct stint_result *result);

/* ---- Several limits at once ----------------------------------------------- */

#define STINT_PARTS_MAX 16

/* One limit of a check: as the arguments of stint_check_n(). */
struct stint_part {
	struct stint_limiter *limiter;
	const char *client_id;
	size_t length; /* of the id; STINT_STRING: it ends with a NUL */
	uint32_t cost; /* at least 1 */
	uint32_t reserved;
};

/*
 * One check of several limits, all or nothing: a user's, an address's and everybody's, say. Admitted when all
 * parts admit, each then having taken its cost; if one denies, nothing is taken of any. A check whose clients
 * are all warm asks nobody; else the agent is asked about those that the table doesn't tell of, one after the
 * other. Waits at most the shortest of the limiters' timeouts.
 *
 * *result has the numbers of one part, and result->part says of which: of the one that denies, of several the one
 * with the longest retry_after_ms; else of the one with least remaining.
 *
 * A part of a shadow policy denies nobody: if it would, nothing is taken of it, the others decide as if it weren't
 * there, and, if they admit, the numbers are its own, with shadow_denied.
 *
 * What is taken of one part is put back when another has nothing left, which may happen when others take from both
 * at the same moment. If the agent changes the lease in this very moment, that part counts though nothing was
 * admitted.
 *
 * Where the table is full of clients that are not idle, one that finds no room in it is denied here, and by
 * stint_peek(), as STINT_UNAVAILABLE: only single checks can do without a place in the table. And only they have
 * an advance in relaxed mode: a client that the table has no credits for waits here, and in stint_peek(), as in
 * strict mode.
 *
 * parts: 1 to STINT_PARTS_MAX, whose limiters are of one attachment, no two of them of the same client of the same
 * policy. Returns what stint_check() would return; the detail names the part.
 */
static inline int stint_check_all(const struct stint_part *parts, size_t count, struct stint_result *result);

/* ---- Beside checks -------------------------------------------------------- */

/*
 * What stint_check() would say now, and what is left; takes nothing. Asks the agent, and waits, if the table
 * doesn't tell; a client that nobody has asked for yet then gets a lease on this host, which goes back unspent.
 * The errors are stint_check()'s.
 */
static inline int stint_peek(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                             struct stint_result *result);
static inline int stint_peek_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                               struct stint_result *result);

/*
 * Counts a cost that is known only afterwards, beyond the limit if need be: then the client is in debt, and is
 * denied until the debt has left the window, or an operator resets the client. Never waits. What a lease of this
 * host covers is counted at once; of the rest the agent is told, which counts it with its next statement.
 *
 * Returns 0; STINT_ECLIENT, STINT_ERANGE; or STINT_EAGENT, when nothing was counted: the agent has gone, or has
 * dropped the policy, there is no connection on which this limiter was asked for a check before, or its socket is
 * full.
 */
static inline int stint_charge(struct stint_limiter *limiter, const char *client_id, uint32_t cost);
int stint_charge_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost);

/*
 * Gives back what was admitted: the request did not count after all. Never waits, asks nobody. `admission` is the
 * result of the check; its receipt is used up, and becomes 0. A copy of it must not be given back as well: what
 * nobody has counted would be spent then. cost: at most what was admitted, admission->cost (0: not known, and not
 * checked).
 *
 * Credits go back into the lease that they came from, as long as the agent has not told the database of them as
 * spent, which it does with the client's next request to it: elsewhere they would be spent at another time than
 * they are counted at. So give back soon; mostly that succeeds. What the agent decided itself (a client's first
 * check, often) has no receipt, nor has what came from two leases (a cost above 1, seldom). Of stint_check_all(),
 * the part that result->part names is given back alone.
 *
 * Returns 1 when it was given back; 0 when that isn't possible any more, or there is no receipt; or STINT_ECLIENT,
 * STINT_ERANGE.
 */
static inline int stint_refund(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                               struct stint_result *admission);
static inline int stint_refund_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                 uint32_t cost, struct stint_result *admission);

/* ---- For event loops: never blocks ------------------------------------- */

/*
 * Tells how a check ended. status is what stint_check() would have returned, or
 * STINT_ECANCELED; result is valid during the call, and NULL unless status is 0.
 *
 * Runs inside stint_dispatch(); with STINT_ECANCELED inside stint_cancel(),
 * stint_limiter_free() or stint_close(). Always on the thread that called that function, without a lock.
 *
 * It may do anything that the app may: check and wait, start checks, free limiters,
 * its own and others, close the attachment, fork. The function that called it
 * notices. It may free again what is being freed already, which does nothing, and
 * check with it: where the table has no answer, that returns STINT_ECANCELED. It
 * must return: no longjmp(), no exception, no end of the thread.
 */
typedef void stint_callback(int status, const struct stint_result *result, void *arg);

/*
 * Like stint_check(), without waiting.
 *
 * Returns 1 when it was decided at once: *result holds the verdict and the
 * callback will not run. Returns 0 when it is pending: the callback runs exactly
 * once, later, in the first stint_dispatch() after the answer came or the limiter's
 * timeout passed, or when limiter or attachment are freed before. Otherwise returns
 * an error, which may be STINT_EBUSY: STINT_ASYNC_MAX checks are pending. Then the
 * callback will not run.
 */
static inline int stint_check_async(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                                    struct stint_result *result, stint_callback *callback, void *arg);
static inline int stint_check_async_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                      uint32_t cost, struct stint_result *result, stint_callback *callback,
                                      void *arg);

/* stint_peek() without waiting, as stint_check_async() is stint_check(). */
static inline int stint_peek_async(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                                   struct stint_result *result, stint_callback *callback, void *arg);
static inline int stint_peek_async_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                     uint32_t cost, struct stint_result *result, stint_callback *callback,
                                     void *arg);

/* stint_check_all() without waiting, as stint_check_async() is stint_check(). The ids are copied. */
static inline int stint_check_all_async(const struct stint_part *parts, size_t count, struct stint_result *result,
                                        stint_callback *callback, void *arg);

/*
 * Decides without the agent, by on_error: nobody, everybody, or the limit inside the process
 * (STINT_SOURCE_LOCAL). Never waits. For a check that ended with an error because the agent can't work with this
 * process: stint_is_allowed() does this by itself. Whoever calls it while the agent works, as after STINT_EBUSY,
 * gives clients another limit beside the one that all share.
 *
 * 0 and a verdict in *result; or STINT_ECLIENT, STINT_ERANGE.
 */
static inline int stint_check_alone(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                                    struct stint_result *result);
static inline int stint_check_alone_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                      uint32_t cost, struct stint_result *result);

/* What stint_check_alone() would decide now: takes nothing, and is no decision that metrics count. For a
 * stint_peek() that ended with such an error, and to look at several limits before one is taken from. */
static inline int stint_peek_alone(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                                   struct stint_result *result);
static inline int stint_peek_alone_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                     uint32_t cost, struct stint_result *result);

/*
 * Ends one pending check, by the ticket that stint_check_async() left in its result: runs its callback with
 * STINT_ECANCELED, on this thread, and returns 1. Returns 0 when there is no such check: its callback has run, or
 * is about to. What the agent may have admitted for it counts.
 */
int stint_cancel(struct stint *, uint64_t ticket);

#define STINT_ASYNC_MAX 65536

/*
 * A descriptor that is readable (poll, epoll, libuv, libevent: level-triggered)
 * when stint_dispatch() has something to do. The same one for the attachment's
 * life; never read or write it. After a fork, the child calls this again before it
 * registers the descriptor with its own loop; it gets the same number. An app that
 * has closed descriptors that it doesn't know, this one included, calls this again
 * as well; it gets another one, and until then nothing tells its loop when to
 * dispatch.
 *
 * STINT_ESYSTEM when none can be made.
 */
int stint_fd(struct stint *);

/*
 * Runs the callbacks that are due. Never blocks. Returns how many ran. One thread at
 * a time; others, and callbacks that call it, don't wait and get 0. When a callback
 * closes the attachment, stint_close() runs the others.
 */
int stint_dispatch(struct stint *);

/* ---- Clients by address, and headers for HTTP ---------------------------- */

struct sockaddr;

/* Room for every id that is made of an address, its NUL included. */
#define STINT_IP_CLIENT_SIZE 48

/*
 * Makes a client's id of its address: the same id of the same address, however that is spelled.
 *
 * address: `length` bytes (STINT_STRING: up to a NUL), without spaces around: 192.0.2.1, 192.0.2.1:443,
 * 2001:db8::1, fe80::1%eth0, [2001:db8::1], [2001:db8::1]:443. A port is left out; behind an IPv6 address it is
 * only known for one after a bracket. A zone (%eth0) is left out, too: it means something on one host alone.
 * Numbers of IPv4 are decimal, without a 0 before them. An IPv6 address that wraps one of IPv4
 * (::ffff:192.0.2.1, ::ffff:c000:201) is that IPv4 address.
 *
 * ipv4_prefix, ipv6_prefix: how many bits tell one client from another, 1 to 32 and 1 to 128; 0 means 32 and
 * 64. Whoever has one IPv6 address has 2^64 of them, so don't take more than 64 unless you know better.
 *
 * id: the caller's, of `size` bytes, at least STINT_IP_CLIENT_SIZE, perhaps where the address is; ends with a
 * NUL. It is the address, the bits after the prefix set to 0, as RFC 5952 writes it (IPv6 always in hexadecimal
 * groups), and "/" with the prefix where that is shorter than the address: "192.0.2.1", "192.0.2.0/24",
 * "2001:db8::/64".
 *
 * 0; or STINT_EADDRESS, STINT_ERANGE; then the id is "".
 */
int stint_ip_client(char *id, size_t size, const char *address, size_t length, int ipv4_prefix, int ipv6_prefix);
/* The same of a struct sockaddr_in or sockaddr_in6 of address_size bytes. Others (AF_UNIX) are STINT_EADDRESS. */
int stint_ip_client_sockaddr(char *id, size_t size, const struct sockaddr *address, size_t address_size,
                             int ipv4_prefix, int ipv6_prefix);

/* How the fields RateLimit-Policy and RateLimit are written. They are not a standard yet. */
enum stint_http_version {
	STINT_HTTP_DRAFT_11 = 0, /* as draft-ietf-httpapi-ratelimit-headers-11 has them */
	STINT_HTTP_NONE = 1,     /* not at all */
};

/* Zero it, then set what you need: 0 means the default. */
struct stint_http_options {
	const char *policy;              /* required: the limit's name */
	int64_t time_window_ms;          /* for a result that doesn't know its own; 0: not known */
	int64_t fallback_time_window_ms; /* the same of the fallback's, if it is another one */
	enum stint_http_version version;
	bool x_ratelimit; /* X-RateLimit-Limit, X-RateLimit-Remaining and X-RateLimit-Reset as well */
};

/* Takes one header field. name is static; value is valid during the call. Both end with a NUL, and are printable
 * ASCII. */
typedef void stint_http_callback(const char *name, const char *value, void *arg);

/*
 * Tells a verdict in header fields: calls back for each of them, and returns when it is done. Allocates
 * nothing, contacts nobody; any thread may call it.
 *
 *     RateLimit-Policy: "api";q=100;w=60       limit, and its window in s
 *     RateLimit: "api";r=12;t=34               remaining, and s until the whole limit is free again
 *     X-RateLimit-Limit: 100                   with x_ratelimit: the same three numbers
 *     X-RateLimit-Remaining: 12
 *     X-RateLimit-Reset: 34
 *     Retry-After: 3                           on a denial alone
 *
 * Times are in whole seconds, rounded up: nobody who waits for so long comes too early. On a denial, t and
 * X-RateLimit-Reset are what Retry-After is, 1 at least. What a shadow would deny is told as an admission. w is
 * result->time_window_ms. Where that is 0, as with an app that was compiled with an earlier stint.h, it is one of
 * the options: none where a host or a process decided by itself (STINT_SOURCE_FALLBACK, STINT_SOURCE_LOCAL) and
 * these differ. Below 1 s, w is left out. A number that is negative is told as 0. A process that decides by itself
 * may not know the limit of a policy that must exist (result->limit is 0): of that Retry-After alone is told.
 *
 * The verdicts of several limiters make several lines of the first two, which are lists. Of the others a
 * response has one: take those of the limiter that denied, or has the least left.
 *
 * 0; or STINT_EPOLICY, STINT_ERANGE, and nobody was called.
 */
static inline int stint_http_headers(const struct stint_http_options *options, const struct stint_result *result,
                                     stint_http_callback *callback, void *arg);

/* ---- Errors --------------------------------------------------------------- */

/* The sentence for a code; never NULL; static. */
const char *stint_strerror(int error);

/*
 * What exactly was wrong in this thread's last call that failed, with the value
 * and its range, for example "max_requests is 0, must be 1 to 1000000000".
 * Print it alone: where there is no more to tell than the code's sentence and
 * the policy, it has the sentence in it. Valid until this thread's next failing
 * call; "" when there was none.
 */
const char *stint_error_detail(void);

/* ---- The sizes of structs ----------------------------------------------- */

/*
 * What the functions above hand the sizes to. length: of the id, or STINT_STRING. A size that no struct of this
 * name can have is STINT_EVERSION. An option or a field of a part that this library doesn't know, and that isn't
 * 0, is STINT_ERANGE; what it doesn't know of a result is set to 0.
 */
int stint_limiter_new_sized(struct stint_limiter **out, struct stint *st, const struct stint_options *options,
                            size_t options_size);
int stint_check_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                      struct stint_result *result, size_t result_size);
int stint_try_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                    struct stint_result *result, size_t result_size);
int stint_check_async_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                            struct stint_result *result, size_t result_size, stint_callback *callback, void *arg);

int stint_check_alone_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                            struct stint_result *result, size_t result_size);
int stint_peek_alone_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                           struct stint_result *result, size_t result_size);
int stint_http_headers_sized(const struct stint_http_options *options, size_t options_size,
                             const struct stint_result *result, size_t result_size, stint_http_callback *callback,
                             void *arg);
int stint_check_all_sized(const struct stint_part *parts, size_t part_size, size_t count,
                          struct stint_result *result, size_t result_size);
int stint_check_all_async_sized(const struct stint_part *parts, size_t part_size, size_t count,
                                struct stint_result *result, size_t result_size, stint_callback *callback,
                                void *arg);
int stint_peek_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                     struct stint_result *result, size_t result_size);
int stint_refund_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                       struct stint_result *admission, size_t result_size);
int stint_peek_async_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                           struct stint_result *result, size_t result_size, stint_callback *callback, void *arg);

static inline int stint_limiter_new(struct stint_limiter **out, struct stint *st,
                                    const struct stint_options *options) {
	return stint_limiter_new_sized(out, st, options, sizeof(*options));
}

static inline bool stint_is_allowed(struct stint_limiter *limiter, const char *client_id) {
	return stint_is_allowed_n(limiter, client_id, STINT_STRING);
}

static inline int stint_check_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                                struct stint_result *result) {
	return stint_check_sized(limiter, client_id, length, cost, result, sizeof(*result));
}

static inline int stint_check(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                              struct stint_result *result) {
	return stint_check_n(limiter, client_id, STINT_STRING, cost, result);
}

static inline int stint_try_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                              struct stint_result *result) {
	return stint_try_sized(limiter, client_id, length, cost, result, sizeof(*result));
}

static inline int stint_try(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                            struct stint_result *result) {
	return stint_try_n(limiter, client_id, STINT_STRING, cost, result);
}

static inline int stint_check_async_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                      uint32_t cost, struct stint_result *result, stint_callback *callback,
                                      void *arg) {
	return stint_check_async_sized(limiter, client_id, length, cost, result, sizeof(*result), callback, arg);
}

static inline int stint_check_async(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                                    struct stint_result *result, stint_callback *callback, void *arg) {
	return stint_check_async_n(limiter, client_id, STINT_STRING, cost, result, callback, arg);
}

static inline int stint_check_alone_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                      uint32_t cost, struct stint_result *result) {
	return stint_check_alone_sized(limiter, client_id, length, cost, result, sizeof(*result));
}

static inline int stint_check_alone(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                                    struct stint_result *result) {
	return stint_check_alone_n(limiter, client_id, STINT_STRING, cost, result);
}

static inline int stint_peek_alone_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                     uint32_t cost, struct stint_result *result) {
	return stint_peek_alone_sized(limiter, client_id, length, cost, result, sizeof(*result));
}

static inline int stint_peek_alone(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                                   struct stint_result *result) {
	return stint_peek_alone_n(limiter, client_id, STINT_STRING, cost, result);
}

static inline int stint_http_headers(const struct stint_http_options *options, const struct stint_result *result,
                                     stint_http_callback *callback, void *arg) {
	return stint_http_headers_sized(options, sizeof(*options), result, sizeof(*result), callback, arg);
}

static inline int stint_check_all(const struct stint_part *parts, size_t count, struct stint_result *result) {
	return stint_check_all_sized(parts, sizeof(*parts), count, result, sizeof(*result));
}

static inline int stint_check_all_async(const struct stint_part *parts, size_t count, struct stint_result *result,
                                        stint_callback *callback, void *arg) {
	return stint_check_all_async_sized(parts, sizeof(*parts), count, result, sizeof(*result), callback, arg);
}

static inline int stint_peek_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                               struct stint_result *result) {
	return stint_peek_sized(limiter, client_id, length, cost, result, sizeof(*result));
}

static inline int stint_peek(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                             struct stint_result *result) {
	return stint_peek_n(limiter, client_id, STINT_STRING, cost, result);
}

static inline int stint_peek_async_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                     uint32_t cost, struct stint_result *result, stint_callback *callback,
                                     void *arg) {
	return stint_peek_async_sized(limiter, client_id, length, cost, result, sizeof(*result), callback, arg);
}

static inline int stint_peek_async(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                                   struct stint_result *result, stint_callback *callback, void *arg) {
	return stint_peek_async_n(limiter, client_id, STINT_STRING, cost, result, callback, arg);
}

static inline int stint_charge(struct stint_limiter *limiter, const char *client_id, uint32_t cost) {
	return stint_charge_n(limiter, client_id, STINT_STRING, cost);
}

static inline int stint_refund_n(struct stint_limiter *limiter, const char *client_id, size_t length,
                                 uint32_t cost, struct stint_result *admission) {
	return stint_refund_sized(limiter, client_id, length, cost, admission, sizeof(*admission));
}

static inline int stint_refund(struct stint_limiter *limiter, const char *client_id, uint32_t cost,
                               struct stint_result *admission) {
	return stint_refund_n(limiter, client_id, STINT_STRING, cost, admission);
}

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
