/*
 * slot.pml - one slot of the shared-memory table, as apps and the agent use it
 * without a lock: every interleaving of their single loads, stores and
 * compare-and-swaps, with time passing between any two of them.
 *
 *     model                     what it stands for
 *     ----------------------    --------------------------------------------------
 *     App: the check            decide_find(), decide_sees_open(), take_credits()    lib/decide.[ch]
 *     App: after the CAS        decide_is_in_time(), decide_put_back()               lib/decide.[ch]
 *     App: held                 take_from_both(), decide_undo(): a cost of 2         lib/decide.c
 *     App: mail                 request_came_too_late() of a verdict                 lib/request.c
 *     publish, drain, wipe      table_publish(), table_drain(), wipe()               agent/core/table.c
 *     claim, release            table_claim(), table_release()                       agent/core/table.c
 *     settle, install_part      lease_settle(), install_part()                       agent/core/leases.c, lease_install.c
 *     Agent: lease_spend        core_want(), lease_spend(), table_spend()            agent/core/leases.c
 *     obtain, adopt             arrival_obtain(), evict(), adopt()                   agent/core/arrival.c
 *     Agent: takeover           adopt_orphans()                                      agent/core/table.c
 *
 * One step of the model is one access to shared memory; what a process does with its
 * own variables goes along with the access before it. The agent's `an` is the time of the event that it
 * handles, so it may be old. An app's `seen` is the time that it has in mind when it looks at the slot:
 * fresh, as take_credits() has it, or as old as its check, as decide_sees_open() may.
 *
 * Time counts sub-windows: tick j is sub-window j, a lease for it has deadline j + 1 and, if it was taken
 * ahead, start j. Since a tick may come between any two steps, finer ticks would add nothing.
 *
 * A process killed between two steps is one that takes no further step: every search includes those
 * in which an app stops anywhere for ever. The agent is killed by Clock, and its successor takes over
 * the table as it lies.
 *
 * What must hold. `balance` counts, for each client and sub-window, the credits that were granted
 * and neither admitted nor returned. An admission is asserted to be of a credit of this very client (epoch, key), in
 * the credit's own sub-window (deadline, start), and of a credit that is there: none is admitted twice, or
 * both admitted and returned.
 *
 * Left out: tags are one value and a bucket one slot (where a client is looked for changes nothing about what it takes there);
 * cost is 1, or with -DBOTH 1 or 2, one from each lease (then what is granted for the next sub-window is good at once,
 * not ahead: so both leases can be open); denials, hints and low-water marks admit nobody; the flag of the fallback's credits (lease.pml has the
 * fallback); epochs that wrap; memory orders weaker than sequentially consistent, which test_threads under
 * TSan and the argument in layout.h are for.
 *
 * Mutants (-DM_...) each leave out one precaution and must fail. Goals (-DREACH_...) each assert that something never
 * happens which does; they must fail, too. See tests/model/run.
 */
#ifndef APPS
#define APPS 2       /* processes */
#endif
#ifndef CHECKS
#define CHECKS 2     /* of all apps together */
#endif
#ifndef CLIENTS
#define CLIENTS 2    /* 1: the slot stays X's; 2: X and Y take it from each other */
#endif
#ifndef OPS
#define OPS 2        /* what the agent does: leases, settles, takes */
#endif
#ifndef KILLS
#define KILLS 1      /* of the agent */
#endif
#ifndef LAST
#define LAST 3       /* tick at which time ends */
#endif

#ifdef BOTH
#define AHEAD 0
#else
#define AHEAD 1
#endif

#define NOBODY 0
#define X 1
#define Y 2
#define ORPHAN 3
#define SUBS (LAST + 2)
#define AT(client, sub) ((client - 1) * SUBS + sub)
#define OTHER(which) (1 - (which))

#ifdef GOAL
#define REACH(name) assert(GOAL != name)
#define MARK(which, is_ahead) word[which].ahead = is_ahead; word[which].old = 0
#else
#define REACH(name) skip
#define MARK(which, is_ahead) skip
#endif
#define BURNT 1            /* a credit that was taken too late */
#define PUT_BACK 2         /* ... and goes back into its lease */
#define BURNT_FOR_GOOD 3   /* ... and whose lease is gone */
#define CAS_LOST 4         /* another app was faster */
#define CAS_STALE 5        /* the same credits, but of another epoch */
#define USED_AHEAD 6       /* a lease that was published before its sub-window began */
#define REUSED 7           /* the slot's second client is admitted */
#define TAKEN_OVER 8       /* an earlier agent's lease is used under the next one */
#define RETURNED 9         /* credits come back */
#define BY_MAIL 10         /* the agent took the credit for the app */
#define MAIL_LATE 11       /* ... and the verdict came too late */
#define ADDED 12           /* a lease is topped up */
#define BOTH_BANKS 13      /* each bank of the slot has been admitted from */
#define KILLED_IN_CLAIM 14 /* a tag without a key is left behind */
#define FROM_BOTH 15       /* a check has taken from both leases */
#define UNDONE 16          /* ... and from one in vain */

/* ---- What is shared ------------------------------------------------------------ */

byte now = 1;

typedef lease_word {
	byte epoch;
	byte credits;
	byte client; /* whose these credits are, and of which sub-window: for the assertions only */
	byte sub;
#ifdef GOAL
	bit ahead;
	bit old;     /* the agent that published it is gone */
#endif
};

byte tag = X, key = X;
lease_word word[2];
byte deadline[2];
byte later_start;

byte mail_client, mail_sub, mail_deadline; /* a verdict under way to an app */

/* ---- For the assertions only ------------------------------------------------------ */

byte balance[2 * SUBS];
byte checks;
#ifdef GOAL
bit first_admitted, admitted_from[2];
#endif

inline admit(client, sub, seen_at) {
#ifdef BOTH
	assert(sub >= seen_at);                 /* not after its last sub-window */
#else
	assert(sub == seen_at);                 /* in its own sub-window, not before, not after */
#endif
	assert(balance[AT(client, sub)] > 0);   /* and not spent already */
	balance[AT(client, sub)]--;
}

/* ---- Apps ------------------------------------------------------------------------- */

/* Credits that were taken too late: back by CAS, within their epoch only. */
inline put_back() {
	atomic { p_epoch = word[b].epoch; p_credits = word[b].credits }
	do
#ifdef M_PUT_BACK_ANY_EPOCH
	:: true ->
#else
	:: p_epoch != w_epoch -> REACH(BURNT_FOR_GOOD); break
	:: p_epoch == w_epoch ->
#endif
		atomic {
			if
			:: word[b].epoch == p_epoch && word[b].credits == p_credits ->
				word[b].credits++;
				REACH(PUT_BACK);
				break
			:: else -> p_epoch = word[b].epoch; p_credits = word[b].credits
			fi
		}
	od
}

inline note_goals() {
#ifdef GOAL
	if :: of_ahead -> REACH(USED_AHEAD) :: else fi;
	if :: of_old -> REACH(TAKEN_OVER) :: else fi;
	if :: first_admitted && me == Y -> REACH(REUSED) :: else fi;
	if :: me == X -> first_admitted = true :: else fi;
	admitted_from[b] = true;
	if :: admitted_from[0] && admitted_from[1] -> REACH(BOTH_BANKS) :: else fi;
#endif
	skip
}

inline note_lost_cas() {
#ifdef GOAL
	if
	:: word[b].epoch == w_epoch -> REACH(CAS_LOST)
	:: word[b].epoch != w_epoch && word[b].credits == w_credits -> REACH(CAS_STALE)
	:: else
	fi;
#endif
	skip
}

/* With -DBOTH a check may take a credit of each lease: it keeps the first while it looks for the second, and admits
 * with both or with none. */
#ifdef BOTH
#ifdef M_FIRST_NOT_LOOKED_AT_AGAIN
#define in_time() true
#else
#define in_time() (!held || now < h_deadline)
#endif
inline hold_or_admit() {
	if
	:: !held ->
		held = true; h_epoch = w_epoch; h_deadline = w_deadline; h_sub = of_sub;
		b = OTHER(b); seen = now; w_epoch = 0; w_deadline = 0; of_client = 0; of_sub = 0;
		goto again
	:: held -> REACH(FROM_BOTH); admit(me, h_sub, now); held = false
	:: !held
	fi;
	admit_and_end()
}
/* The first goes back, too. (b is the lease that was looked at last.) */
inline undo() {
	if
	:: held ->
		atomic { REACH(UNDONE); b = OTHER(b); w_epoch = h_epoch; held = false }
		put_back()
	:: else
	fi;
	atomic { h_epoch = 0; h_deadline = 0; h_sub = 0 }
}
#else
#define in_time() true
#define hold_or_admit() admit_and_end()
#define undo() skip
#endif

inline admit_and_end() {
	admit(me, of_sub, now);
	note_goals();
	goto over
}

proctype App() {
	byte me, b, seen, w_epoch, w_credits, w_deadline, of_client, of_sub, p_epoch, p_credits;
	bit later;
#ifdef BOTH
	bit held;    /* a credit of the other lease, while the check looks for the second: */
	byte h_epoch, h_deadline, h_sub;
#endif
#ifdef GOAL
	bit of_ahead, of_old;
#endif
	do
	:: atomic { mail_client != NOBODY -> /* a verdict has arrived */
		if
		:: now < mail_deadline -> admit(mail_client, mail_sub, now); REACH(BY_MAIL)
		:: else -> REACH(MAIL_LATE)
		fi;
		mail_client = NOBODY; mail_sub = 0; mail_deadline = 0 }
	:: atomic { checks < CHECKS -> /* it finds the slot; the time that it has in mind may be an old one */
		checks++;
		if :: key != NOBODY -> me = key :: else -> goto over fi;
		if :: b = 0 :: b = 1 fi;
		seen = now;
		do :: seen > 1 -> seen-- :: break od }
again:
		atomic { w_epoch = word[b].epoch; w_credits = word[b].credits;
			if :: w_credits > 0 :: else -> goto over fi }
		atomic { w_deadline = deadline[b];
			if :: w_deadline > seen :: else -> goto over fi }
#ifndef M_START_UNCHECKED
		atomic { later = w_deadline > deadline[OTHER(b)] }
		if
		:: later -> atomic { if :: seen >= later_start -> later = false :: else -> goto over fi }
		:: else
		fi;
#endif
#ifndef M_KEY_UNCHECKED
		atomic { if :: key == me -> seen = 0 :: else -> goto over fi }
#endif
		atomic { /* the CAS */
			if
#ifdef M_CAS_WITHOUT_EPOCH
			:: word[b].credits == w_credits ->
#else
			:: word[b].credits == w_credits && word[b].epoch == w_epoch ->
#endif
				of_client = word[b].client; of_sub = word[b].sub;
#ifdef GOAL
				of_ahead = word[b].ahead; of_old = word[b].old;
#endif
				word[b].credits--;
				w_credits = 0
			:: else -> note_lost_cas(); goto over
			fi
		}
		atomic { /* the clock once more */
			if
#ifdef M_CLOCK_NOT_READ_AGAIN
			:: true ->
#else
			:: now < w_deadline && in_time() ->
#endif
				assert(of_client == me);
				hold_or_admit();
			:: !(now < w_deadline && in_time()) -> REACH(BURNT); w_deadline = 0; of_client = 0; of_sub = 0
			fi
		}
		put_back();
over:
		undo();
		atomic { me = 0; b = 0; seen = 0; w_epoch = 0; w_credits = 0; w_deadline = 0; later = 0;
			of_client = 0; of_sub = 0; p_epoch = 0; p_credits = 0 }
	od
}

/* ---- The agent --------------------------------------------------------------------- */

/* A step of the agent's, if it lives to do it. */
#define DIE if :: kills < KILLS -> kills++; goto dead :: true fi

/* Ends the epoch. What only the agent writes is known to it, so stores that change nothing are no steps. */
inline drain(which, keep) {
#ifdef M_DRAIN_IN_TWO_STEPS
	atomic { DIE; left = word[which].credits; ep = word[which].epoch }
	atomic { DIE; word[which].epoch = ep + 1; vacate(which); left = (keep -> left : 0);
#else
	atomic { DIE; left = (keep -> word[which].credits : 0);
		word[which].epoch++;
		vacate(which);
#endif
		is_last = deadline[which] > deadline[OTHER(which)] && later_start != 0;
		had = deadline[which] != 0; ep = 0 }
	if :: is_last -> atomic { DIE; later_start = 0; is_last = false } :: else fi;
	if :: had -> atomic { DIE; deadline[which] = 0; had = false } :: else fi
}

inline vacate(which) {
	word[which].credits = 0; word[which].client = 0; word[which].sub = 0; MARK(which, 0)
}

inline forget(which) {
	led_sub[which] = 0; led_deadline[which] = 0; led_granted[which] = 0
}

/* Out of the table first; what was there may then be offered back, once. */
inline settle(which) {
	if
	:: led_deadline[which] != 0 ->
#ifdef M_RETURN_BEFORE_DESTROYED
		atomic { left = word[which].credits; offer(which) }
		drain(which, 0);
		atomic { forget(which) }
#else
		drain(which, 1);
		atomic { offer(which); forget(which) }
#endif
	:: else
	fi
}

inline offer(which) {
	if
	:: left > led_granted[which] -> left = led_granted[which]
	:: else
	fi;
	if
	:: giving_back && left > 0 && led_sub[which] != 0 ->
		assert(balance[AT(owner, led_sub[which])] >= left);
		balance[AT(owner, led_sub[which])] = balance[AT(owner, led_sub[which])] - left;
		REACH(RETURNED)
	:: else
	fi;
	left = 0
}

inline publish(which) {
#ifdef M_PUBLISH_IN_SAME_EPOCH
	atomic { DIE; ep = word[which].epoch };
#else
	atomic { DIE; ep = word[which].epoch + 2; word[which].epoch++; vacate(which) }
#endif
	if
	:: is_next || dl >= deadline[OTHER(which)] -> atomic { DIE; later_start = (is_next -> of_grant : 0) }
	:: else
	fi;
	atomic { DIE; deadline[which] = dl }
	put_word(which);
	ep = 0
}

inline put_word(which) {
	atomic { DIE; word[which].epoch = ep; word[which].credits = n; word[which].client = owner; word[which].sub = of_grant;
		MARK(which, is_next) }
}

#define LIVE(which) (led_deadline[which] > an)

/* n credits for sub-window of_grant, until dl. */
inline install_part() {
	if
	:: LIVE(0) && led_sub[0] == of_grant -> add(0)
	:: LIVE(1) && led_sub[1] == of_grant -> add(1)
	:: else ->
		atomic {
			if
			:: !LIVE(0) -> bank = 0
			:: LIVE(0) && !LIVE(1) -> bank = 1
			:: LIVE(0) && LIVE(1) && led_sub[0] == 0 -> bank = 0
			:: LIVE(0) && LIVE(1) && led_sub[0] != 0 && led_sub[1] == 0 -> bank = 1
			:: else -> bank = (led_deadline[0] <= led_deadline[1] -> 0 : 1)
			fi }
#ifndef M_PUBLISH_IN_SAME_EPOCH
		settle(bank);
#endif
		if :: is_next && led_deadline[OTHER(bank)] >= dl -> settle(OTHER(bank)) :: else fi;
		atomic { led_sub[bank] = of_grant; led_deadline[bank] = dl; led_granted[bank] = n }
		publish(bank)
	fi
}

inline add(which) {
	atomic { DIE; led_granted[which] = led_granted[which] + n; word[which].epoch = word[which].epoch + 1; word[which].credits = word[which].credits + n; REACH(ADDED) }
}

inline wipe() {
	drain(0, 0);
	drain(1, 0);
	if :: later_start != 0 -> atomic { DIE; later_start = 0 } :: else fi
}

inline claim() {
#ifndef M_NOT_WIPED
	wipe();
#endif
#ifdef M_KEY_BEFORE_TAG
	atomic { DIE; key = cl }
	atomic { DIE; tag = cl }
#else
	atomic { DIE; tag = cl }
	atomic { DIE; key = cl }
#endif
	owner = cl
}

inline release() {
	atomic { DIE; key = NOBODY }
#ifndef M_NOT_WIPED
	wipe();
#endif
	atomic { DIE; tag = NOBODY; owner = NOBODY }
}

inline adopt_bank(which) {
	atomic {
		DIE;
		if
		:: deadline[which] <= an || word[which].credits == 0 -> led_deadline[which] = 0
		:: else -> led_deadline[which] = deadline[which]; led_granted[which] = word[which].credits
		fi }
	if :: led_deadline[which] == 0 -> drain(which, 0) :: else fi
}

/* The slot is cl's afterwards. */
inline obtain() {
	if
	:: owner == ORPHAN && key == cl -> owner = cl; adopt_bank(0); adopt_bank(1)
	:: owner != NOBODY && owner != cl && !(owner == ORPHAN && key == cl) ->
#ifdef M_NOT_WIPED
		atomic { forget(0); forget(1) }
#else
		giving_back = false;
		settle(0);
		settle(1);
#endif
		release();
		claim()
	:: owner == NOBODY -> claim()
	:: else
	fi
}

/* The store counts them, at a time that is now; they are placed some time later. */
inline grant() {
	atomic {
		if :: n = 1; of_grant = now :: n = 2; of_grant = now :: n = 1; of_grant = now + 1; is_next = AHEAD fi;
		an = now; dl = of_grant + 1; giving_back = true;
		balance[AT(cl, of_grant)] = balance[AT(cl, of_grant)] + n }
	/* The answer arrives: at once, or when its sub-window is over, and then it is not placed. */
	atomic { an = now }
	if
	:: dl > an -> install_part()
	:: else
	fi
}

inline take_for_app() {
	bank = (LIVE(0) && (!LIVE(1) || led_deadline[0] < led_deadline[1]) -> 0 : 1);
	if
	:: LIVE(bank) && !(led_deadline[bank] > led_deadline[OTHER(bank)] && an < later_start) ->
		atomic {
			DIE;
			if
			:: word[bank].credits > 0 && mail_client == NOBODY ->
				assert(word[bank].client == owner);
				mail_client = owner; mail_sub = word[bank].sub; mail_deadline = led_deadline[bank];
				word[bank].credits--
			:: else
			fi }
	:: else
	fi
}

proctype Agent() {
	/* Private: what it believes to be in the slot. A sub of 0 is one that it doesn't know. */
	byte owner = X, led_sub[2], led_deadline[2], led_granted[2];
	byte an; /* the event's time */
	byte left, n, cl, bank, dl, ep, of_grant;
	bit is_next, giving_back, is_last, had;
	byte ops, kills;
	do
	:: atomic { ops < OPS -> ops++; an = now; cl = X;
			if :: true :: CLIENTS == 2 -> cl = Y fi }
		if
		:: true -> obtain(); grant()
		:: owner == cl && led_deadline[0] != 0 -> giving_back = true; settle(0)
		:: owner == cl && led_deadline[1] != 0 -> giving_back = true; settle(1)
		:: owner == cl -> take_for_app()
		fi;
over:		atomic { left = 0; n = 0; cl = 0; bank = 0; dl = 0; of_grant = 0; is_next = 0; giving_back = 0; an = 0; ep = 0;
			is_last = 0; had = 0 }
	od;
dead:	/* Its successor finds the table as it lies. */
	atomic {
		assert(key == NOBODY || tag != NOBODY); /* or nobody would ever find it there again */
#ifdef GOAL
		if :: key == NOBODY && tag != NOBODY -> REACH(KILLED_IN_CLAIM) :: else fi;
		word[0].old = 1; word[1].old = 1;
#endif
		owner = (tag != NOBODY -> ORPHAN : NOBODY);
		forget(0); forget(1);
		goto over }
}

proctype Clock() {
	do
	:: atomic { now < LAST -> now++ }
	:: now == LAST -> break
	od
}

init {
	atomic {
		run Agent();
		run Clock();
		run App();
		if :: APPS == 2 -> run App() :: else fi
	}
}
