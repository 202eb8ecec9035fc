/*
 * lease.pml - the lease protocol: agents, their tables and one database, with
 * everything that may be lost on the way, time that passes between any two steps, agents that are
 * killed, and a standby that is promoted without the last commits.
 *
 *     model                what it stands for
 *     -----------------    -----------------------------------------------------------
 *     send                 add_to_batch(), fill_request(), debt_attach()     agent/core/batch.c, debt.c
 *     start, commit        stint.take_leases(), stint.take()                 sql/, and agent/core/grant.c
 *     lose, refuse         the network; a statement that was refused         reject() in agent/core/batch.c
 *     receive, place       answer_pending(), lease_install(), install_part() agent/core/answer.c, leases.c
 *     give_up              LEASE_UNKNOWN: give_up()                          agent/core/batch.c, drop() in session.c
 *     settle, note_return  lease_settle(), note_return()                     agent/core/leases.c
 *     restart              adopt_orphans(), adopt()                          agent/core/table.c, arrival.c
 *     enter, leave         fallback_enter(), fallback_absorb(), fallback_leave()   agent/core/fallback.c
 *     lend                 answer_from_memory()                              agent/core/batch.c, store_memory.c
 *     admit                a check that finds credits                        lib/decide.h; step by step in slot.pml
 *
 * Each option of World's loop is one step and happens at any time at which it can. A request is sent, starts in the
 * database (which reads its clock there, before it waits for the row), and commits later, or doesn't. Its answer may get
 * lost; the agent may give it up at any time, and what was given up may still commit afterwards, however
 * late. Messages of one connection don't overtake each other or come twice, which is TCP's business; what
 * doubles them, an agent that sends again, is a mutant.
 *
 * A sub-window lasts SIZE ticks, a window RUNS of them. Deadlines are counted from the tick of sending, starts from that of
 * receiving, as lease_ends_ns() and lease_starts_ns() do. A lease is good until the end of the present sub-window, or (long)
 * of the one after it, which is the longest with RUNS = 1. It is charged to the last. What was spent of a long one is reported
 * with the next request, and moves to the present. The slack, half of which these add, is left out: it makes
 * sub-windows longer than a window's part by as much, and the interval of the promise shorter.
 *
 * With DRIFT, each agent's clock loses or gains that many ticks at some time: more than any clock does in the longest lease, whose
 * end is brought forward, and whose start put back, by as much (surely_within(), surely_after()).
 *
 * What must hold.
 *   I1  what all agents admit of the database's credits in RUNS + 1 sub-windows in a row, by the time of the admission, is
 *       at most LIMIT; an interval as long as the window touches no more of them.
 *   I2  what is charged in RUNS + 1 sub-windows in a row is at most LIMIT at every commit; and what is
 *       charged to a sub-window and all later ones is at least what was admitted from it on (until a promotion forgets
 *       some of it).
 *   I3  what an agent admits of its own in a fallback window, here a sub-window, is at most FALLBACK.
 *   A credit is admitted no later than in the sub-window that it was charged to, one that was leased ahead in that one
 *   only, and a fallback's only while its agent is in fallback. After
 *   a fallback nothing of the database's is handed out before the fallback's admissions have been charged.
 *
 * A promotion. What the standby didn't get is forgotten: LIMIT could be granted a second time. So a promoted database
 * must grant nothing for a while. Until the leases of the old timeline have run out is too short (mutant M_HOLD_SHORT):
 * what they admitted counts for a window longer, and a return from the old timeline lowers a count that may never
 * have held it. With a hold until nothing of the old timeline matters any more I1 holds. This is what has to be built where the
 * promise is to survive an asynchronous standby; without it (M_NO_HOLD) only synchronous replication does.
 *
 * Left out: one client and one policy; costs of 1; requests that share a statement; the database's clock stepping (the ring of
 * counts is as long as time here); relaxed policies; what is served straight from an answer, which is
 * like a credit in the table that is taken at once; policies that change; that a process may be stopped between taking and
 * admitting (slot.pml), for which the database allows 20 ms before it moves what was spent.
 */
#ifndef LIMIT
#define LIMIT 2
#endif
#ifndef RUNS
#define RUNS 1
#endif
#ifndef SIZE
#define SIZE 1       /* ticks of a sub-window */
#endif
#ifndef LAST
#define LAST 3       /* tick at which time ends */
#endif
#ifndef REQUESTS
#define REQUESTS 3   /* of all agents together */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef PROMOTIONS
#define PROMOTIONS 0
#endif
#ifndef FALLBACK
#define FALLBACK 0   /* limit of a fallback window; 0: nobody enters it */
#endif
#ifndef LONG
#define LONG 1       /* leases that outlast their sub-window */
#endif
#ifndef DRIFT
#define DRIFT 0      /* ticks; less than SIZE, without FALLBACK */
#endif
#ifdef M_CLOCKS_ALIKE
#define MARGIN 0
#else
#define MARGIN DRIFT
#endif
#if DRIFT
#define CLOCK(a) (now + gained[a] - lost[a])
#else
#define CLOCK(a) now
#endif

#ifdef M_NO_HOLD
#define HOLD 0
#else
#ifdef M_HOLD_SHORT
#define HOLD (RUNS + 1) /* until the leases have run out: that of the current sub-window and those of RUNS more */
#else
#define HOLD (2 * RUNS + 1)
#endif
#endif

#if FALLBACK
#define IN_FALLBACK ag[a].fallback
#else
#define IN_FALLBACK false
#endif
#define SUB(t) ((t) / SIZE)
#define SUBS (LAST / SIZE + 3)

#ifdef GOAL
#define REACH(name) assert(GOAL != name)
#else
#define REACH(name) skip
#endif
#define ADMITTED 1
#define USED_AHEAD 2      /* a credit that was leased before its sub-window */
#define RETURN_BOOKED 3   /* the database takes credits back */
#define ANSWER_LOST 4     /* committed, and nobody will know */
#define LATE_COMMIT 5     /* of a request that was given up before */
#define LATE_ANSWER 6     /* a grant that comes when its sub-window is over */
#define TAKEN_OVER 7      /* a credit that an earlier agent had put into the table */
#define EXHAUSTED 8       /* the limit is met exactly by two agents */
#define REFUSED 9         /* and what it carried is sent again */
#define FORGOTTEN 10      /* a credit is admitted that the promoted database knows nothing of */
#define AFTER_HOLD 11     /* the promoted database grants */
#define CHARGED 12        /* what a fallback admitted */
#define CHARGE_CLAMPED 13 /* ... as far as it fits */
#define ABSORBED 14       /* leases of the database's give way to the fallback's */
#define STALE_TIME 15     /* a statement's time is behind the row's */
#define OFF_CLOCK 16      /* a credit is admitted by a clock that is off */
#define USED_LATER 17     /* a credit that was leased in an earlier sub-window, by a long lease */
#define SPENT_MOVED 18    /* what was spent of a long lease counts from the present on */

byte now;

/* ---- The database ------------------------------------------------------------------ */

byte count[SUBS], standby[SUBS]; /* charged, by the last sub-window of its lease; what the standby has of it */
byte head, standby_head;         /* the sub-window of the last request */
byte early, standby_early;       /* of what is charged to the one after it: can't be spent before */
byte hold_until;                 /* sub-window before which nothing is granted */
byte promotions;

mtype { SENT, STARTED, COMMITTED, TURNED_DOWN, LOST };

typedef request {
	mtype state;    /* 0: none */
	bit waited;     /* its agent has not given it up */
	bit longer;     /* the lease is to last for a sub-window more */
	byte want, next_want, charge, return_sub, return_first, return_second, spent_sub, spent;
	byte time;      /* the statement's */
	byte granted, granted_next;
};

request req[4]; /* two of each agent: what was given up may still be on its way */

/* ---- The agents ---------------------------------------------------------------------- */

typedef lease { /* a bank of the table, and of the agent's ledger */
	byte credits, start, deadline;
	byte sub;      /* token: sub-window + 1; 0: not known */
	byte granted;
	byte of_sub;   /* the last in which they are good, for the assertions only: sub-window + 1 */
	bit ahead;     /* it is the only one */
#if FALLBACK
	bit of_fallback;
#endif
#ifdef GOAL
	bit old;
	byte long_since; /* sub-window + 1 */
#endif
};
lease bank[4];

typedef agent {
	bit down;             /* connection lost, not yet made anew */
	byte in_flight;       /* 0, or 1 + index of its request */
	byte sent;            /* when */
	byte charge, return_sub, return_first, return_second, spent_sub, spent;
#if FALLBACK
	bit fallback;
	byte lent;            /* of the fallback window, net of returns */
	byte lent_sub;
	byte uncharged;       /* used of what was lent */
	byte owed;            /* for the assertions only: admitted in fallback, not charged yet */
#endif
};
agent ag[2];

/* ---- For the assertions only -------------------------------------------------------------- */

byte admitted[SUBS];
#if FALLBACK
byte lenient[2], lenient_sub[2];
#endif
byte requests, kills;
#if DRIFT
byte gained[2], lost[2];
#endif
#ifdef GOAL
bit used_by[2];
#endif

/* ---- Scratch, 0 between steps ---------------------------------------------------------------- */

byte a, b, x, y, i, j, t, sum, most, left, n, token, dl, st;

inline sum_run(last) {
	sum = 0;
	i = 0;
	do
	:: i <= RUNS && i <= last -> sum = sum + count[last - i]; i++
	:: else -> break
	od;
	i = 0
}

/* All that counts for who spends from sub-window s on. */
inline sum_from(s) {
	sum = 0;
#ifdef M_RUN_TOO_SHORT
	i = (s + 1 > RUNS -> s + 1 - RUNS : 0);
#else
	i = (s > RUNS -> s - RUNS : 0);
#endif
	do
	:: i < SUBS -> sum = sum + count[i]; i++
	:: else -> break
	od;
	i = 0
}

/* What may still be granted from sub-window j on: the sums for it and for the one after it. */
inline find_available() {
	sum_from(j);
	most = (sum > early -> sum - early : 0);
#ifndef M_ONE_RUN_ONLY
	sum_from(j + 1);
	most = (sum > most -> sum : most);
#endif
	most = (most < LIMIT -> LIMIT - most : 0);
	sum = 0
}

inline take_back(sub, credits) {
	if
	:: credits > 0 ->
		count[sub] = (count[sub] > credits -> count[sub] - credits : 0);
		if :: sub == j + 1 -> early = (early > credits -> early - credits : 0) :: else fi;
		REACH(RETURN_BOOKED)
	:: else
	fi
}

/* What was spent of a long lease, in the present sub-window or before. */
inline move_spent(r) {
	if
	:: r.spent > 0 && r.spent_sub - 1 > j ->
		n = (r.spent < count[r.spent_sub - 1] -> r.spent : count[r.spent_sub - 1]);
		count[r.spent_sub - 1] = count[r.spent_sub - 1] - n;
		if
		:: r.spent_sub == j + 2 && early > count[j + 1] -> early = count[j + 1]
		:: else
		fi;
#ifdef M_SPENT_TO_PAST
		i = (j > 0 -> j - 1 : 0);
		count[i] = count[i] + n;
		i = 0;
#else
		count[j] = count[j] + n;
#endif
		REACH(SPENT_MOVED);
		n = 0
	:: else
	fi
}

inline check_books() {
	j = 0;
	do
	:: j < SUBS -> sum_run(j); assert(sum <= LIMIT); j++
	:: else -> break
	od;
	j = 0; sum = 0
}

inline commit(r) {
	t = r.time;
	if
	:: t < head * SIZE -> t = head * SIZE; REACH(STALE_TIME)
	:: else
	fi;
#ifdef M_TWO_CLOCKS
	j = SUB(now);
#else
	j = SUB(t);
#endif
	if
	:: j > head ->
		head = j;
#ifndef M_EARLY_STAYS
		early = 0
#endif
	:: else
	fi;
	if
	:: r.return_sub != 0 ->
#ifdef M_RETURN_TO_CURRENT
		take_back(j, r.return_first + r.return_second)
#else
		take_back(r.return_sub - 1, r.return_first);
		take_back(r.return_sub, r.return_second)
#endif
	:: else
	fi;
	move_spent(r);
	if
	:: r.charge > 0 ->
		find_available();
#ifdef M_CHARGE_UNCLAMPED
		most = 9;
#endif
		n = (r.charge < most -> r.charge : most);
		count[j] = count[j] + n;
		REACH(CHARGED);
		if :: n < r.charge -> REACH(CHARGE_CLAMPED) :: else fi;
#if FALLBACK
		ag[y / 2].owed = (r.charge < ag[y / 2].owed -> ag[y / 2].owed - r.charge : 0)
#endif
	:: else
	fi;
	if
	:: SUB(now) >= hold_until ->
		find_available();
		r.granted = (r.want < most -> r.want : most);
#ifdef M_CHARGED_TO_FIRST
		count[j] = count[j] + r.granted;
#else
		count[j + r.longer] = count[j + r.longer] + r.granted;
#endif
#ifdef M_LATE_AS_EARLY
		if :: r.longer -> early = early + r.granted :: else fi;
#endif
		sum_from(j + 1);
		most = (sum < LIMIT -> LIMIT - sum : 0);
		r.granted_next = (r.next_want < most -> r.next_want : most);
#ifdef M_NEXT_CHARGED_TO_CURRENT
		count[j] = count[j] + r.granted_next;
#else
		count[j + 1] = count[j + 1] + r.granted_next;
		early = early + r.granted_next;
#endif
		if :: promotions > 0 && r.granted > 0 -> REACH(AFTER_HOLD) :: else fi
	:: else
	fi;
	r.time = t;
	check_books();
	t = 0; j = 0; sum = 0; most = 0; n = 0
}

inline clear_request(r) {
	r.state = 0; r.waited = 0; r.want = 0; r.next_want = 0; r.charge = 0; r.return_sub = 0; r.return_first = 0;
	r.return_second = 0; r.spent_sub = 0; r.spent = 0; r.longer = 0; r.time = 0; r.granted = 0; r.granted_next = 0
}

/* ---- The agents' steps ------------------------------------------------------------------------- */

inline clear_lease(l) {
	l.credits = 0; l.start = 0; l.deadline = 0; l.sub = 0; l.granted = 0; l.of_sub = 0; l.ahead = 0;
#if FALLBACK
	l.of_fallback = 0;
#endif
#ifdef GOAL
	l.old = 0; l.long_since = 0;
#endif
	skip
}

/* `left` credits of `token`'s sub-window, with the client's next request. */
inline note_return() {
	if
	:: ag[a].return_sub == 0 -> ag[a].return_sub = token
	:: else
	fi;
	if
	:: token + 1 == ag[a].return_sub && ag[a].return_second == 0 ->
		ag[a].return_second = ag[a].return_first;
		ag[a].return_first = 0;
		ag[a].return_sub = token
	:: else
	fi;
	if
	:: token == ag[a].return_sub -> ag[a].return_first = ag[a].return_first + left
	:: token == ag[a].return_sub + 1 -> ag[a].return_second = ag[a].return_second + left
	:: else /* three different sub-windows at once: burnt */
	fi
}

inline settle(l) {
	if
	:: l.deadline != 0 ->
		left = (l.credits < l.granted -> l.credits : l.granted);
#ifdef M_RETURN_WHAT_WAS_GRANTED
		left = l.granted;
#endif
		token = l.sub;
#if FALLBACK
		if
		:: l.of_fallback ->
			if
			:: ag[a].fallback && ag[a].lent_sub == token -> ag[a].lent = ag[a].lent - left
			:: else
			fi;
			ag[a].uncharged = ag[a].uncharged + l.granted - left;
			token = 0
		:: else
		fi;
		if :: ag[a].fallback -> token = 0 :: else fi;
#endif
		if :: left > 0 && token != 0 -> note_return() :: else fi;
#ifdef M_RETURN_BEFORE_DESTROYED
		l.sub = 0; l.granted = 0; /* it stays in the table */
#else
		clear_lease(l);
#endif
		left = 0; token = 0
	:: else
	fi
}

#define OVER(l) (l.deadline <= CLOCK(a))

/* A lease of the same sub-window, which can be spent from the same time on. */
#define IS_SAME(l, is_ahead) (!OVER(l) && l.sub == token && (l.start > CLOCK(a)) == is_ahead)

/* n credits of `token`, from st to dl. `ahead` is 1 for the next sub-window. */
inline place(is_ahead, fallback) {
	if
	:: IS_SAME(bank[2 * a], is_ahead) -> x = 2 * a; y = 1
	:: !IS_SAME(bank[2 * a], is_ahead) && IS_SAME(bank[2 * a + 1], is_ahead) -> x = 2 * a + 1; y = 1
	:: else ->
		if
		:: OVER(bank[2 * a]) -> x = 2 * a
		:: !OVER(bank[2 * a]) && OVER(bank[2 * a + 1]) -> x = 2 * a + 1
		:: !OVER(bank[2 * a]) && !OVER(bank[2 * a + 1]) && bank[2 * a].sub == 0 -> x = 2 * a
		:: !OVER(bank[2 * a]) && !OVER(bank[2 * a + 1]) && bank[2 * a].sub != 0 && bank[2 * a + 1].sub == 0 -> x = 2 * a + 1
		:: else -> x = (bank[2 * a].credits < bank[2 * a + 1].credits ||
			(bank[2 * a].credits == bank[2 * a + 1].credits && bank[2 * a].deadline <= bank[2 * a + 1].deadline) -> 2 * a : 2 * a + 1)
		fi
	fi;
	if
	:: y -> bank[x].credits = bank[x].credits + n; bank[x].granted = bank[x].granted + n
	:: else ->
		i = token;
		settle(bank[x]);
		if
		:: is_ahead && bank[4 * a + 1 - x].deadline >= dl -> settle(bank[4 * a + 1 - x])
		:: !is_ahead && bank[4 * a + 1 - x].start > CLOCK(a) && bank[4 * a + 1 - x].deadline <= dl -> settle(bank[4 * a + 1 - x])
		:: else
		fi;
		token = i;
		bank[x].credits = n; bank[x].granted = n; bank[x].sub = token; bank[x].of_sub = token;
		bank[x].start = st; bank[x].deadline = dl; bank[x].ahead = is_ahead;
#ifdef GOAL
		bank[x].long_since = SUB(now) + 1;
#endif
#if FALLBACK
		bank[x].of_fallback = fallback;
#endif
	fi;
	x = 0; y = 0; i = 0
}

inline receive(r) {
	t = r.time;
	j = SUB(t);
#ifdef M_DEADLINE_FROM_RECEIVE
	dl = CLOCK(a) + (j + 1 + r.longer) * SIZE - t - MARGIN;
#else
	dl = ag[a].sent + (j + 1 + r.longer) * SIZE - t - MARGIN;
#endif
	n = r.granted; token = j + 1 + r.longer; st = 0;
#if FALLBACK
	if :: n + r.granted_next > 0 -> assert(ag[a].owed == 0) :: else fi;
#endif
	if
	:: n > 0 && dl > CLOCK(a) -> place(0, 0)
	:: n > 0 && dl <= CLOCK(a) -> left = n; note_return(); left = 0; REACH(LATE_ANSWER)
	:: else
	fi;
	if :: !r.longer -> dl = dl + SIZE :: else fi;
#ifdef M_START_FROM_SEND
	st = ag[a].sent + (j + 1) * SIZE - t + MARGIN;
#else
	st = CLOCK(a) + (j + 1) * SIZE - t + MARGIN;
#endif
	n = r.granted_next; token = j + 2;
	if
	:: n > 0 -> place(1, 0)
	:: else
	fi;
	clear_request(r);
	ag[a].in_flight = 0; ag[a].sent = 0;
	t = 0; j = 0; dl = 0; st = 0; n = 0; token = 0
}

/* What it carried may have been applied or not. A charge is made again, a return never. */
inline give_up(r) {
	ag[a].charge = ag[a].charge + r.charge;
#ifdef M_RETURN_AGAIN
	if
	:: ag[a].return_sub == 0 ->
		ag[a].return_sub = r.return_sub; ag[a].return_first = r.return_first; ag[a].return_second = r.return_second
	:: else
	fi;
#endif
#ifdef M_RECLAIM
	left = r.want; token = SUB(ag[a].sent) + 1;
	if :: left > 0 -> note_return() :: else fi;
	left = 0; token = 0;
#endif
	if
	:: r.state == LOST || r.state == COMMITTED || r.state == TURNED_DOWN ->
		if :: r.state == COMMITTED -> REACH(ANSWER_LOST) :: else fi;
		clear_request(r)
	:: else -> r.waited = false
	fi;
	ag[a].in_flight = 0; ag[a].sent = 0;
	ag[a].down = true
}

/* Refused for certain: all that it carried goes again. */
inline send_again(r) {
	ag[a].charge = ag[a].charge + r.charge;
	if
	:: ag[a].return_sub == 0 ->
		ag[a].return_sub = r.return_sub; ag[a].return_first = r.return_first; ag[a].return_second = r.return_second;
		if :: r.return_sub != 0 -> REACH(REFUSED) :: else fi
	:: else
	fi;
	if :: ag[a].spent == 0 -> ag[a].spent_sub = r.spent_sub; ag[a].spent = r.spent :: else fi;
	clear_request(r);
	ag[a].in_flight = 0; ag[a].sent = 0
}

/* What was spent of a lease that outlasts this sub-window. */
inline report_spent(l) {
	if
	:: l.sub != 0 && l.deadline > CLOCK(a) + SIZE && l.granted > l.credits && ag[a].spent == 0 && l.start <= CLOCK(a) ->
		ag[a].spent_sub = l.sub;
#ifdef M_SPENT_BEFORE_IT_IS
		ag[a].spent = l.granted;
#else
		ag[a].spent = l.granted - l.credits;
#endif
		l.granted = l.credits
	:: else
	fi
}

inline send(r) {
	requests++;
	if
	:: r.want = 1
	:: r.want = 2; r.longer = LONG
	:: r.want = 1; r.next_want = 1
	:: ag[a].return_sub != 0 || ag[a].charge > 0 -> skip
	fi;
	r.charge = (ag[a].charge < LIMIT -> ag[a].charge : LIMIT);
	r.return_sub = ag[a].return_sub; r.return_first = ag[a].return_first; r.return_second = ag[a].return_second;
#if LONG
	report_spent(bank[2 * a]);
	report_spent(bank[2 * a + 1]);
	r.spent_sub = ag[a].spent_sub; r.spent = ag[a].spent;
	ag[a].spent_sub = 0; ag[a].spent = 0;
#endif
	ag[a].charge = 0; ag[a].return_sub = 0; ag[a].return_first = 0; ag[a].return_second = 0;
	r.state = SENT; r.waited = true;
	ag[a].in_flight = 1 + x;
	ag[a].sent = CLOCK(a);
#ifdef M_HAND_OUT_BEFORE_DEBIT
	n = r.want; token = SUB(now) + 1; st = 0; dl = (SUB(now) + 1) * SIZE;
	r.want = 0; r.charge = r.charge + n;
	if :: n > 0 -> place(0, 0) :: else fi;
	n = 0; token = 0; dl = 0
#endif
}

inline adopt(l) {
	if
	:: l.deadline <= CLOCK(a) || l.credits == 0 -> clear_lease(l)
#if FALLBACK
	:: l.deadline > now && l.credits > 0 && l.of_fallback -> clear_lease(l)
	:: l.deadline > now && l.credits > 0 && !l.of_fallback ->
#else
	:: else ->
#endif
		l.sub = 0;
		l.granted = l.credits
#ifdef GOAL
		; l.old = 1
#endif
	fi
}

inline restart() {
	kills++;
	if
	:: ag[a].in_flight != 0 ->
		x = ag[a].in_flight - 1;
		if
		:: req[x].state == SENT || req[x].state == STARTED -> req[x].waited = false
		:: else -> clear_request(req[x])
		fi;
		x = 0
	:: else
	fi;
	ag[a].in_flight = 0; ag[a].sent = 0; ag[a].charge = 0; ag[a].return_sub = 0; ag[a].return_first = 0; ag[a].return_second = 0;
	ag[a].spent_sub = 0; ag[a].spent = 0; ag[a].down = 0;
#if FALLBACK
	ag[a].fallback = 0; ag[a].lent = 0; ag[a].lent_sub = 0; ag[a].uncharged = 0; ag[a].owed = 0;
#endif
	adopt(bank[2 * a]);
	adopt(bank[2 * a + 1])
}

/* ---- Apps -------------------------------------------------------------------------------------- */

inline admit(l) {
	l.credits--;
	assert(l.of_sub == SUB(now) + 1 || (l.of_sub > SUB(now) + 1 && !l.ahead));
#if FALLBACK
	if
	:: l.of_fallback ->
		assert(ag[a].fallback);
		if :: lenient_sub[a] != SUB(now) + 1 -> lenient[a] = 0; lenient_sub[a] = SUB(now) + 1 :: else fi;
		lenient[a]++;
		assert(lenient[a] <= FALLBACK);
		ag[a].owed++
	:: else -> admit_strictly(l)
	fi
#else
	admit_strictly(l)
#endif
}

/* What was admitted in a sub-window and later is charged to it and later ones. */
inline check_covered() {
	i = SUBS - 1; most = 0; n = 0;
	do
	:: most = most + count[i]; n = n + admitted[i];
		assert(promotions > 0 || most >= n);
		if :: i == 0 -> break :: else -> i-- fi
	od;
	most = 0; n = 0
}

inline admit_strictly(l) {
	admitted[SUB(now)]++;
	i = 0;
	do
	:: i <= RUNS && i <= SUB(now) -> sum = sum + admitted[SUB(now) - i]; i++
	:: else -> break
	od;
	assert(sum <= LIMIT);
	check_covered();
	REACH(ADMITTED);
#if DRIFT
	if :: gained[a] + lost[a] > 0 -> REACH(OFF_CLOCK) :: else fi;
#endif
#ifdef GOAL
	if :: l.ahead -> REACH(USED_AHEAD) :: else fi;
	if :: l.long_since > 0 && l.long_since < SUB(now) + 1 && !l.ahead -> REACH(USED_LATER) :: else fi;
	if :: l.old -> REACH(TAKEN_OVER) :: else fi;
	if :: promotions > 0 && count[SUB(now)] + count[SUB(now) + 1] < admitted[SUB(now)] -> REACH(FORGOTTEN) :: else fi;
	used_by[a] = 1;
	if :: sum == LIMIT && used_by[0] && used_by[1] -> REACH(EXHAUSTED) :: else fi;
#endif
	i = 0; sum = 0
}

/* ---- Everything at any time --------------------------------------------------------------------- */

inline choose_agent() {
	if :: a = 0 :: a = 1 fi
}

inline promote() {
	promotions++;
	i = 0;
	do
	:: i < SUBS -> count[i] = standby[i]; i++
	:: else -> break
	od;
	i = 0;
	head = standby_head;
	early = standby_early;
	hold_until = SUB(now) + HOLD;
	do
	:: i < 4 ->
		if
		:: (req[i].state == SENT || req[i].state == STARTED) && req[i].waited -> req[i].state = LOST
		:: (req[i].state == SENT || req[i].state == STARTED) && !req[i].waited -> clear_request(req[i])
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

/* Answers as if it had committed, and then it has not. */
inline before_commit(r) {
	r.granted = (r.want < LIMIT -> r.want : LIMIT);
	find_nothing();
	r.state = COMMITTED
}

inline find_nothing() {
	j = SUB(now);
	find_available();
	r_granted_at_most(req[y]);
	j = 0; most = 0
}

inline r_granted_at_most(r) {
	r.granted = (r.want < most -> r.want : most)
}

/* ---- Fallback --------------------------------------------------------------------------------------- */

/* Leases of the database's are destroyed first, burnt; then one of the fallback's, as far as its window goes. */
inline lend() {
#if FALLBACK
	if
	:: (bank[2 * a].deadline != 0 && !bank[2 * a].of_fallback) || (bank[2 * a + 1].deadline != 0 && !bank[2 * a + 1].of_fallback) ->
		REACH(ABSORBED);
		if :: !bank[2 * a].of_fallback -> settle(bank[2 * a]) :: else fi;
		if :: !bank[2 * a + 1].of_fallback -> settle(bank[2 * a + 1]) :: else fi
	:: else
	fi;
	if
	:: ag[a].lent_sub != SUB(now) + 1 -> ag[a].lent_sub = SUB(now) + 1; ag[a].lent = 0
	:: else
	fi;
	if
	:: ag[a].lent < FALLBACK ->
		n = 1; token = SUB(now) + 1; st = 0; dl = (SUB(now) + 1) * SIZE;
		ag[a].lent++;
		place(0, 1);
		n = 0; token = 0; dl = 0
	:: else
	fi
#endif
}

/* What was lent is destroyed, and what was used of it will be charged with the next request. */
inline leave() {
#if FALLBACK
#ifndef M_FALLBACK_LEASES_STAY
	if :: bank[2 * a].of_fallback -> settle(bank[2 * a]) :: else fi;
	if :: bank[2 * a + 1].of_fallback -> settle(bank[2 * a + 1]) :: else fi;
#endif
	ag[a].fallback = false;
#ifndef M_FALLBACK_NOT_CHARGED
	ag[a].charge = ag[a].charge + ag[a].uncharged;
#endif
	ag[a].uncharged = 0 /* what was lent in this window stays counted: coming and going begins no new one */
#endif
}

active proctype World() {
	do
	:: d_step { now < LAST -> now++ }
#if DRIFT
	:: d_step { gained[0] + lost[0] == 0 -> gained[0] = DRIFT }
	:: d_step { gained[1] + lost[1] == 0 -> gained[1] = DRIFT }
	:: d_step { gained[0] + lost[0] == 0 && now >= DRIFT -> lost[0] = DRIFT }
	:: d_step { gained[1] + lost[1] == 0 && now >= DRIFT -> lost[1] = DRIFT }
#endif

	/* apps */
	:: atomic {
		if :: b = 0 :: b = 1 :: b = 2 :: b = 3 fi;
		a = b / 2;
		if
		:: bank[b].credits > 0 && bank[b].start <= CLOCK(a) && CLOCK(a) < bank[b].deadline -> admit(bank[b])
		:: else
		fi;
		a = 0; b = 0 }

	/* agents */
	:: atomic { requests < REQUESTS ->
		if :: a = 0 :: requests > 0 -> a = 1 fi; /* they are alike: the first to send may be called 0 */
		x = (req[2 * a].state == 0 -> 2 * a : 2 * a + 1);
		if
		:: !ag[a].down && ag[a].in_flight == 0 && req[x].state == 0 && !IN_FALLBACK -> send(req[x])
		:: else
		fi;
		a = 0; x = 0 }
	:: atomic {
		choose_agent();
		if
		:: ag[a].in_flight != 0 ->
			b = ag[a].in_flight - 1;
			if
			:: req[b].state == COMMITTED -> receive(req[b])
			:: req[b].state == TURNED_DOWN -> send_again(req[b])
			:: give_up(req[b])
			fi;
			b = 0
		:: ag[a].in_flight == 0 && ag[a].down ->
			ag[a].down = 0;
#if FALLBACK
			if
			:: ag[a].fallback -> leave()
			:: else
			fi
#endif
		:: else
		fi;
		a = 0 }
	:: atomic {
		if :: b = 0 :: b = 1 :: b = 2 :: b = 3 fi;
		a = b / 2;
		settle(bank[b]);
		a = 0; b = 0 }
	:: atomic { kills < KILLS -> choose_agent(); restart(); a = 0 }
#if FALLBACK
	:: atomic {
		choose_agent();
		if
		:: ag[a].down && !ag[a].fallback && ag[a].in_flight == 0 -> ag[a].fallback = true
		:: ag[a].fallback -> lend()
		:: else
		fi;
		a = 0 }
#endif

	/* the database, and the network */
	:: atomic {
		if :: y = 0 :: y = 1 :: y = 2 :: y = 3 fi;
		if
		:: req[y].state == SENT -> req[y].state = STARTED; req[y].time = now
#ifdef M_ANSWER_BEFORE_COMMIT
		:: req[y].state == SENT && promotions < 9 -> req[y].time = now; before_commit(req[y])
#endif
		:: req[y].state == STARTED ->
			commit(req[y]);
			req[y].state = COMMITTED;
			if
			:: req[y].waited
			:: else -> REACH(LATE_COMMIT); clear_request(req[y])
			fi
		:: req[y].state == STARTED && req[y].waited -> req[y].state = TURNED_DOWN
		:: (req[y].state == SENT || req[y].state == STARTED) && req[y].waited -> req[y].state = LOST
		:: (req[y].state == SENT || req[y].state == STARTED) && !req[y].waited -> clear_request(req[y])
		:: else
		fi;
		y = 0 }
#if PROMOTIONS
	:: d_step { promotions < PROMOTIONS ->
		i = 0;
		do
		:: i < SUBS -> standby[i] = count[i]; i++
		:: else -> break
		od;
		standby_head = head;
		standby_early = early;
		i = 0 }
	:: atomic { promotions < PROMOTIONS -> promote() }
#endif
	od
}
