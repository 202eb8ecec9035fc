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
 *     receive, place       answer_pending(), lease_install(), install_part() agent/core/answer.c, lease_install.c
 *     OPEN                 lease_is_open(), table_publish(), table_drain()   lib/decide.c, agent/core/table.c
 *     give_up              LEASE_UNKNOWN: give_up()                          agent/core/batch.c, drop() in session.c
 *     settle, note_report  lease_settle(), pending_add_report()              agent/core/leases.c, pending.c
 *     answer_recall        a host that is told that others need what its leases hold
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
 * A sub-window lasts SIZE ticks, a window RUNS of them. Deadlines are counted from the tick of sending, starts
 * from that of receiving, as lease_ends_ns() and lease_starts_ns() do. The slack, half of which these add, is
 * left out: it makes sub-windows longer than a window's part by as much, and the interval of the promise
 * shorter.
 *
 * A lease is good until the end of the present sub-window, or of one up to LONG later. One ahead is good from
 * the next one on, until its end, or that of one up to AHEAD later. Each is charged to the last. A request may
 * ask for any of these spans, so those of one host differ: in the code they do when the way to the database
 * gets longer or the limit nearer. A table has two leases and one start, that of the lease which ends last: so
 * there is one ahead at most, and none that ends after it. What was spent of a lease that goes on is reported
 * with the next request, and moves to the present. A request carries what became of the credits of two
 * sub-windows, as in the code; of a third, they are burnt.
 *
 * With RECALL, a host may at any time hear that others need what it holds, oftener than once, with leases or
 * without, also when they are over or used up, or never: that is a message that comes late or twice, or gets
 * lost. It closes its leases, and its next request says what was spent of them and what comes back; that
 * request may get lost like any other.
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
 *   A credit is admitted no later than in the sub-window that it was charged to, one that was leased ahead no earlier
 *   than in the first that it was leased for, and a fallback's only while its agent is in fallback. After
 *   a fallback nothing of the database's is handed out before the fallback's admissions have been charged.
 *
 * A promotion. What the standby didn't get is forgotten: LIMIT could be granted a second time. So a promoted database
 * must grant nothing for a while. Until the leases of the old timeline have run out is too short (mutant M_HOLD_SHORT):
 * what they admitted counts for a window longer, and a return from the old timeline lowers a count that may never
 * have held it. With a hold until nothing of the old timeline matters any more I1 holds. This is what has to be built where the
 * promise is to survive an asynchronous standby; without it (M_NO_HOLD) only synchronous replication does.
 *
 * Bounds. There are two agents; LIMIT is 2, LAST, REQUESTS and KILLS are as tests/model/run says. Leases for
 * several sub-windows ahead need RUNS = 2, so they last for two; with them two requests are searched, three
 * without.
 *
 * Left out: one client and one policy; costs of 1; requests that share a statement; the database's clock
 * stepping (the ring of counts is as long as time here); relaxed policies; what is served straight from an
 * answer, which is like a credit in the table that is taken at once; how large leases are, and who is recalled
 * when; policies that change; that a process may be stopped between taking and admitting (slot.pml), for which
 * the database allows 220 ms before it moves what was spent.
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
#define LONG 1       /* leases outlast their sub-window by so many at most: no more than RUNS */
#endif
#ifndef AHEAD
#define AHEAD 0      /* those ahead their first one by so many at most: less than RUNS */
#endif
#ifndef RECALL
#define RECALL 0
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
#define SUBS (LAST / SIZE + RUNS + 2)

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
#define AHEAD_LATER 19    /* a credit that was leased ahead, not in the first of its sub-windows */
#define SECOND_AHEAD 20   /* a lease ahead goes back, since there is one already */
#define RECALLED 21       /* some of a lease was spent, some is given back */
#define RECALLED_LATE 22  /* ... and it is over */

byte now;

/* ---- The database ------------------------------------------------------------------ */

byte count[SUBS], standby[SUBS]; /* charged, by the last sub-window of its lease; what the standby has of it */
byte head, standby_head;         /* the sub-window of the last request */
byte early, standby_early;       /* of what is charged to later ones: can't be spent in this one */
byte hold_until;                 /* sub-window before which nothing is granted */
byte promotions;

mtype { SENT, STARTED, COMMITTED, TURNED_DOWN, LOST };

typedef report { /* of the credits that were charged to one sub-window */
	byte sub; /* token: sub-window + 1; 0: none */
	byte unspent, spent;
};

typedef request {
	mtype state;    /* 0: none */
	bit waited;     /* its agent has not given it up */
	byte want, span, next_want, next_span, charge;
	report told[2];
	byte time;      /* the statement's */
	byte granted, granted_next;
};

request req[4]; /* two of each agent: what was given up may still be on its way */

/* ---- The agents ---------------------------------------------------------------------- */

typedef lease { /* a bank of the table, and of the agent's ledger */
	byte credits, deadline;
	byte sub;      /* token; 0: not known */
	byte granted;
	/* For the assertions only: tokens of the first and the last in which they are good; from 0: at once. */
	byte from_sub, of_sub;
#if FALLBACK
	bit of_fallback;
#endif
#ifdef GOAL
	bit old;
	byte long_since; /* sub-window + 1 */
#endif
#ifdef M_RECALL_TWICE
	byte handed;
#endif
};
lease bank[4];
byte later_start[2]; /* of each table's lease that ends last: until then it is not open */

typedef agent {
	bit down;             /* connection lost, not yet made anew */
	byte in_flight;       /* 0, or 1 + index of its request */
	byte sent;            /* when */
	byte charge;
	report told[2];
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

byte a, b, x, y, i, j, t, sum, most, left, gone, n, token, dl, st;

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

/* What is unspent counts no more, and what was spent counts in the present sub-window, not in a later one. */
inline apply_report(rep) {
	if
	:: rep.sub != 0 ->
#ifdef M_RETURN_TO_CURRENT
		x = j;
#else
		x = rep.sub - 1;
#endif
		n = (rep.unspent < count[x] -> rep.unspent : count[x]);
		count[x] = count[x] - n;
#ifndef M_EARLY_KEPT
		if :: x > j -> early = (early > n -> early - n : 0) :: else fi;
#endif
		if :: n > 0 -> REACH(RETURN_BOOKED) :: else fi;
		if
		:: rep.sub - 1 > j && rep.spent > 0 ->
			x = rep.sub - 1;
			n = (rep.spent < count[x] -> rep.spent : count[x]);
			count[x] = count[x] - n;
			early = (early > n -> early - n : 0);
#ifdef M_SPENT_TO_PAST
			x = (j > 0 -> j - 1 : 0);
#else
			x = j;
#endif
			count[x] = count[x] + n;
			REACH(SPENT_MOVED)
		:: else
		fi;
		x = 0; n = 0
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
	apply_report(r.told[0]);
	apply_report(r.told[1]);
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
		count[j + r.span] = count[j + r.span] + r.granted;
#endif
#ifdef M_LATE_AS_EARLY
		if :: r.span > 0 -> early = early + r.granted :: else fi;
#endif
		sum_from(j + 1);
		most = (sum < LIMIT -> LIMIT - sum : 0);
		r.granted_next = (r.next_want < most -> r.next_want : most);
#ifdef M_NEXT_CHARGED_TO_CURRENT
		count[j] = count[j] + r.granted_next;
#else
		count[j + 1 + r.next_span] = count[j + 1 + r.next_span] + r.granted_next;
		early = early + r.granted_next;
#endif
		if :: promotions > 0 && r.granted > 0 -> REACH(AFTER_HOLD) :: else fi
	:: else
	fi;
	r.time = t;
	check_books();
	t = 0; j = 0; sum = 0; most = 0; n = 0
}

inline clear_reports(w) {
	w.told[0].sub = 0; w.told[0].unspent = 0; w.told[0].spent = 0;
	w.told[1].sub = 0; w.told[1].unspent = 0; w.told[1].spent = 0
}

inline clear_request(r) {
	r.state = 0; r.waited = 0; r.want = 0; r.span = 0; r.next_want = 0; r.next_span = 0; r.charge = 0; r.time = 0;
	r.granted = 0; r.granted_next = 0;
	clear_reports(r)
}

/* ---- The agents' steps ------------------------------------------------------------------------- */

#define OVER(l) (l.deadline <= CLOCK(a))

inline clear_lease(l) {
	l.credits = 0; l.deadline = 0; l.sub = 0; l.granted = 0; l.from_sub = 0; l.of_sub = 0;
#if FALLBACK
	l.of_fallback = 0;
#endif
#ifdef GOAL
	l.old = 0; l.long_since = 0;
#endif
#ifdef M_RECALL_TWICE
	l.handed = 0;
#endif
	skip
}

/* What is left of the two is the later one now: if the other one was, this one has begun. */
inline destroy(this) {
	if :: bank[this].deadline > bank[this ^ 1].deadline -> later_start[a] = 0 :: else fi;
	clear_lease(bank[this])
}

#define FIRST_IS(token) (ag[a].told[0].sub == token)
#define SECOND_IS(token) (ag[a].told[1].sub == token)

/* Of `token`'s sub-window, with the client's next request: `left` and `gone`. */
inline note_report() {
	if
	:: FIRST_IS(token) || (FIRST_IS(0) && !SECOND_IS(token)) -> add_report(ag[a].told[0])
	:: !FIRST_IS(token) && (SECOND_IS(token) || (!FIRST_IS(0) && SECOND_IS(0))) -> add_report(ag[a].told[1])
	:: else /* three different sub-windows at once: burnt */
	fi
}

inline add_report(rep) {
	rep.sub = token; rep.unspent = rep.unspent + left; rep.spent = rep.spent + gone
}

inline settle(this) {
	if
	:: bank[this].deadline != 0 ->
		left = (bank[this].credits < bank[this].granted -> bank[this].credits : bank[this].granted);
#ifdef M_RETURN_WHAT_WAS_GRANTED
		left = bank[this].granted;
#endif
		token = bank[this].sub;
#if FALLBACK
		if
		:: bank[this].of_fallback ->
			if
			:: ag[a].fallback && ag[a].lent_sub == token -> ag[a].lent = ag[a].lent - left
			:: else
			fi;
			ag[a].uncharged = ag[a].uncharged + bank[this].granted - left;
			token = 0
		:: else
		fi;
		if :: ag[a].fallback -> token = 0 :: else fi;
#endif
		if :: left > 0 && token != 0 -> note_report() :: else fi;
#ifdef M_RETURN_BEFORE_DESTROYED
		bank[this].sub = 0; bank[this].granted = 0; /* it stays in the table */
#else
		destroy(this);
#endif
		left = 0; token = 0
	:: else
	fi
}

/* Somebody needs what is charged to sub-windows to come. */
inline answer_recall(this) {
	if
	:: bank[this].deadline != 0 && bank[this].sub != 0 ->
		token = bank[this].sub;
		left = (bank[this].credits < bank[this].granted -> bank[this].credits : bank[this].granted);
		gone = bank[this].granted - left;
#ifdef M_RECALL_TWICE
		left = left + bank[this].handed; /* what it gave back before */
		bank[this].handed = (bank[this].handed == 0 -> left : 0);
#endif
		if
		:: left > 0 && gone > 0 ->
			REACH(RECALLED);
			if :: OVER(bank[this]) -> REACH(RECALLED_LATE) :: else fi
		:: else
		fi;
		if :: left + gone > 0 -> note_report() :: else fi;
#ifdef M_RECALLED_AND_SPENT
		bank[this].granted = 0;
#else
#ifdef M_RECALL_TWICE
		bank[this].credits = 0; bank[this].granted = 0;
		if :: bank[this].handed == 0 -> destroy(this) :: else fi;
#else
		destroy(this);
#endif
#endif
		left = 0; gone = 0; token = 0
	:: else
	fi
}


#define OPEN(b) (!OVER(bank[b]) && (bank[b].deadline <= bank[b ^ 1].deadline || CLOCK(a) >= later_start[a]))
#define NOT_BEGUN(b) (!OVER(bank[b]) && !OPEN(b))

/* A lease of the same sub-window, which begins no earlier. */
#define IS_SAME(b, is_ahead) \
	(!OVER(bank[b]) && bank[b].sub == token && OPEN(b) != is_ahead && (!is_ahead || st <= later_start[a]))

/* n credits of `token`, from st to dl. */
inline place(is_ahead, fallback) {
	if
	:: IS_SAME(2 * a, is_ahead) -> top_up(bank[2 * a])
	:: !IS_SAME(2 * a, is_ahead) && IS_SAME(2 * a + 1, is_ahead) -> top_up(bank[2 * a + 1])
	:: else ->
#ifndef M_TWO_AHEAD
		if
		:: is_ahead && NOT_BEGUN(2 * a) -> y = 2 * a + 1
		:: is_ahead && NOT_BEGUN(2 * a + 1) -> y = 2 * a + 2
		:: else
		fi;
#endif
		if
		:: y > 0 && bank[y - 1].sub != 0 -> REACH(SECOND_AHEAD); send_back()
		:: y > 0 && bank[y - 1].sub == 0 -> destroy(y - 1); y = 0; place_apart(is_ahead, fallback)
		:: y == 0 -> place_apart(is_ahead, fallback)
		fi
	fi;
	x = 0; y = 0
}

inline top_up(l) {
	l.credits = l.credits + n; l.granted = l.granted + n
}

inline send_back() {
	left = n; note_report(); left = 0
}

#define KNOWN(b) (!OVER(bank[b]) && bank[b].sub != 0)
#define COMES_BEFORE(l, other) \
	(l.credits < other.credits || (l.credits == other.credits && l.deadline <= other.deadline))

/* One that is over, else one of unknown origin, else the one that has less left, else the one that ends first. */
inline find_bank() {
	if
	:: OVER(bank[2 * a]) -> x = 2 * a
	:: !OVER(bank[2 * a]) && OVER(bank[2 * a + 1]) -> x = 2 * a + 1
	:: !OVER(bank[2 * a + 1]) && !OVER(bank[2 * a]) && bank[2 * a].sub == 0 -> x = 2 * a
	:: KNOWN(2 * a) && !OVER(bank[2 * a + 1]) && bank[2 * a + 1].sub == 0 -> x = 2 * a + 1
	:: KNOWN(2 * a) && KNOWN(2 * a + 1) ->
		x = (COMES_BEFORE(bank[2 * a], bank[2 * a + 1]) -> 2 * a : 2 * a + 1)
	fi
}

/* The lease that begins later is the one that ends last: so none ends after it. */
inline place_apart(is_ahead, fallback) {
	find_bank();
	if
#ifndef M_AHEAD_ENDS_FIRST
	:: is_ahead && bank[x ^ 1].deadline >= dl && bank[x ^ 1].credits > 0 -> send_back()
#endif
	:: else ->
		i = token;
#ifndef M_AHEAD_ENDS_FIRST
		if :: is_ahead && bank[x ^ 1].deadline >= dl -> settle(x ^ 1) :: else fi;
#endif
		settle(x);
#ifndef M_OTHER_ENDS_LAST
		if
		:: !is_ahead && bank[x ^ 1].deadline <= dl && later_start[a] > CLOCK(a) -> settle(x ^ 1)
		:: else
		fi;
#endif
		token = i; i = 0;
		if :: is_ahead || dl >= bank[x ^ 1].deadline -> later_start[a] = st :: else fi;
		bank[x].credits = n; bank[x].granted = n; bank[x].sub = token; bank[x].of_sub = token; bank[x].deadline = dl;
		if :: is_ahead -> bank[x].from_sub = j + 2 :: else fi;
#ifdef GOAL
		bank[x].long_since = SUB(now) + 1;
#endif
#if FALLBACK
		bank[x].of_fallback = fallback;
#endif
	fi
}

inline receive(r) {
	t = r.time;
	j = SUB(t);
#ifdef M_DEADLINE_FROM_RECEIVE
	dl = CLOCK(a) + (j + 1 + r.span) * SIZE - t - MARGIN;
#else
	dl = ag[a].sent + (j + 1 + r.span) * SIZE - t - MARGIN;
#endif
	n = r.granted; token = j + 1 + r.span; st = 0;
#if FALLBACK
	if :: n + r.granted_next > 0 -> assert(ag[a].owed == 0) :: else fi;
#endif
	if
	:: n > 0 && dl > CLOCK(a) -> place(0, 0)
	:: n > 0 && dl <= CLOCK(a) -> send_back(); REACH(LATE_ANSWER)
	:: else
	fi;
	dl = dl + SIZE + r.next_span * SIZE - r.span * SIZE;
#ifdef M_AHEAD_TOO_LONG
	dl = dl + SIZE;
#endif
#ifdef M_START_FROM_SEND
	st = ag[a].sent + (j + 1) * SIZE - t + MARGIN;
#else
	st = CLOCK(a) + (j + 1) * SIZE - t + MARGIN;
#endif
	n = r.granted_next; token = j + 2 + r.next_span;
	if
	:: n > 0 && st < dl -> place(1, 0)
	:: n > 0 && st >= dl -> send_back()
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
	report_again(r.told[0]);
	report_again(r.told[1]);
#endif
#ifdef M_RECLAIM
	left = r.want; token = SUB(ag[a].sent) + 1;
	if :: left > 0 -> note_report() :: else fi;
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

inline report_again(rep) {
	if
	:: rep.sub != 0 ->
		token = rep.sub; left = rep.unspent; gone = rep.spent;
		note_report();
		token = 0; left = 0; gone = 0
	:: else
	fi
}

/* Refused for certain: all that it carried goes again. */
inline send_again(r) {
	ag[a].charge = ag[a].charge + r.charge;
	if :: r.told[0].sub != 0 -> REACH(REFUSED) :: else fi;
	report_again(r.told[0]);
	report_again(r.told[1]);
	clear_request(r);
	ag[a].in_flight = 0; ag[a].sent = 0
}

/* What was spent of a lease that outlasts this sub-window. */
inline report_spent(l) {
	if
	:: l.sub != 0 && l.deadline > CLOCK(a) + SIZE && l.granted > l.credits ->
		token = l.sub;
#ifdef M_SPENT_BEFORE_IT_IS
		gone = l.granted;
#else
		gone = l.granted - l.credits;
#endif
		note_report();
		l.granted = l.credits;
		token = 0; gone = 0
	:: else
	fi
}

inline attach_report(goes, rep) {
	goes.sub = rep.sub; goes.unspent = rep.unspent; goes.spent = rep.spent
}

#define OWES (ag[a].charge > 0 || ag[a].told[0].sub != 0)

inline send(r) {
	requests++;
	if
	:: r.want = 1
#if LONG
	:: r.want = 2; r.span = 1
#endif
#if LONG > 1
	:: r.want = 2; r.span = 2
#endif
	:: r.want = 1; r.next_want = 1
#if AHEAD
	:: r.next_want = 1
	:: r.next_want = 1; r.next_span = 1
#endif
	:: OWES -> skip
	fi;
	r.charge = (ag[a].charge < LIMIT -> ag[a].charge : LIMIT);
#if LONG || AHEAD
	report_spent(bank[2 * a]);
	report_spent(bank[2 * a + 1]);
#endif
	attach_report(r.told[0], ag[a].told[0]);
	attach_report(r.told[1], ag[a].told[1]);
	ag[a].charge = 0;
	clear_reports(ag[a]);
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

inline adopt(this) {
	if
	:: OVER(bank[this]) || bank[this].credits == 0 -> destroy(this)
#if FALLBACK
	:: !OVER(bank[this]) && bank[this].credits > 0 && bank[this].of_fallback -> destroy(this)
	:: !OVER(bank[this]) && bank[this].credits > 0 && !bank[this].of_fallback ->
#else
	:: else ->
#endif
		bank[this].sub = 0;
		bank[this].granted = bank[this].credits
#ifdef GOAL
		; bank[this].old = 1
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
	ag[a].in_flight = 0; ag[a].sent = 0; ag[a].charge = 0; ag[a].down = 0;
	clear_reports(ag[a]);
#if FALLBACK
	ag[a].fallback = 0; ag[a].lent = 0; ag[a].lent_sub = 0; ag[a].uncharged = 0; ag[a].owed = 0;
#endif
	adopt(2 * a);
	adopt(2 * a + 1)
}

/* ---- Apps -------------------------------------------------------------------------------------- */

inline admit(l) {
	l.credits--;
	assert(l.from_sub <= SUB(now) + 1 && SUB(now) + 1 <= l.of_sub);
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
	if :: l.from_sub > 0 -> REACH(USED_AHEAD) :: else fi;
	if :: l.from_sub > 0 && l.from_sub < SUB(now) + 1 -> REACH(AHEAD_LATER) :: else fi;
	if :: l.long_since > 0 && l.long_since < SUB(now) + 1 && l.from_sub == 0 -> REACH(USED_LATER) :: else fi;
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
		if :: !bank[2 * a].of_fallback -> settle(2 * a) :: else fi;
		if :: !bank[2 * a + 1].of_fallback -> settle(2 * a + 1) :: else fi
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
	if :: bank[2 * a].of_fallback -> settle(2 * a) :: else fi;
	if :: bank[2 * a + 1].of_fallback -> settle(2 * a + 1) :: else fi;
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
		:: bank[b].credits > 0 && OPEN(b) -> admit(bank[b])
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
		settle(b);
		a = 0; b = 0 }
#if RECALL
	:: atomic {
		choose_agent();
		answer_recall(2 * a);
		answer_recall(2 * a + 1);
		a = 0 }
#endif
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
