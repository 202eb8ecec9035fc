/*
 * test_grant_oracle.c - the promise of grant.c by brute force. Random hosts take leases of any length, spend
 * them at any moment in which they are good, and half a slack beyond, give some back, and tell what they have
 * spent. Then every interval of the window's length is looked at: none may hold more than the limit. Times are
 * real ones; the store's clock may be behind them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "grant_history.h"

enum kind { STEADY, SET_BACK, CUT_ANEW };

#define STEPS     250
#define LEASES    1024
#define SPENDINGS 65536

struct lease {
	int64_t sub_window; /* 0: its host has forgotten */
	int64_t end_us;
	int64_t seen_us; /* when the last credit of it was spent, or the first can be */
	int32_t unspent;
	int32_t spent; /* not told yet */
};

struct spending {
	int64_t at_us;
	int64_t credits;
};

static struct history history;
static struct grant_ring ring;
static int64_t behind_us; /* the store's clock */
static struct lease leases[LEASES];
static size_t lease_count;
static struct spending spendings[SPENDINGS];
static size_t spending_count;

/* So much too early or too late a lease may be spent: half the slack. When windows are cut anew, the least
 * slack that any of the cuts has. */
static int64_t doubt_us;

/* ---- The hosts ----------------------------------------------------------------------------- */

static void note(int64_t at_us, int32_t credits) {
	assert_true(spending_count < SPENDINGS);
	if (credits > 0)
		spendings[spending_count++] = (struct spending){at_us, credits};
}

static void hold(int64_t sub_window, int64_t from_us, int64_t end_us, int32_t credits) {
	assert_true(lease_count < LEASES);
	if (credits > 0 && from_us < end_us + doubt_us)
		leases[lease_count++] = (struct lease){.sub_window = sub_window,
		                                       .end_us = end_us + doubt_us,
		                                       .seen_us = from_us,
		                                       .unspent = credits};
}

/* Some credits of it, at the last moment up to then, or at any. */
static void spend_one(struct lease *lease, int64_t until_us) {
	int64_t last_us = until_us < lease->end_us ? until_us : lease->end_us - 1;
	if (last_us < lease->seen_us)
		return;
	lease->seen_us +=
		roll(&history, 2) ? last_us - lease->seen_us : roll_up_to(&history, last_us - lease->seen_us);
	int32_t credits = 1 + (int32_t)roll_up_to(&history, lease->unspent - 1);
	note(lease->seen_us, credits);
	lease->unspent -= credits;
	lease->spent += credits;
}

static void spend(int64_t until_us) {
	for (size_t i = 0; i < lease_count; i++)
		if (leases[i].unspent > 0 && roll(&history, 2))
			spend_one(&leases[i], until_us);
}

/* What it knows of a lease when the request leaves it. */
static bool report_one(struct lease_report *report, struct lease *lease, int64_t until_us) {
	if (lease->sub_window == 0 || lease->seen_us > until_us || roll(&history, 4) > 0)
		return false;
	report->sub_window = lease->sub_window;
	report->unspent = roll(&history, 2) ? (int32_t)roll_up_to(&history, lease->unspent) : 0;
	report->spent = (int32_t)roll_up_to(&history, lease->spent);
	lease->unspent -= report->unspent;
	lease->spent -= report->spent;
	return true;
}

static void report(struct lease_request *request, int64_t until_us) {
	int count = 0;
	size_t first = lease_count > 0 ? roll(&history, (uint32_t)lease_count) : 0;
	for (size_t i = 0; i < lease_count && count < LEASE_REPORTS; i++)
		count += report_one(&request->report[count], &leases[(first + i) % lease_count], until_us);
}

/* Those that are over, or have nothing more to tell. */
static void drop_old(int64_t now_us) {
	size_t kept = 0;
	for (size_t i = 0; i < lease_count; i++) {
		struct lease *lease = &leases[i];
		bool is_old = lease->end_us < now_us - 2 * history.window_us;
		if ((lease->unspent > 0 || lease->spent > 0) && !is_old)
			leases[kept++] = *lease;
	}
	lease_count = kept;
}

/* What was reported under another clock, or of other sub-windows, finds no count: but for chance. */
static void forget_tokens(void) {
	for (size_t i = 0; i < lease_count; i++)
		leases[i].sub_window = 0;
}

/* ---- A history ------------------------------------------------------------------------------- */

static void set_back(void) {
	int64_t by_us = roll_up_to(&history, roll(&history, 2) ? GRANT_STALE_US : 5 * history.window_us);
	history.t_us -= by_us;
	behind_us += by_us;
	forget_tokens();
}

/* The same window in another number of sub-windows. */
static void cut_anew(void) {
	cut_window(&history, 1 + (int)roll(&history, roll(&history, 2) ? 4 : GRANT_RESOLUTION_MAX));
	forget_tokens();
}

/* Agents end what lasts for longer than the new sub-windows reach. */
static void end_early(int64_t end_us) {
	for (size_t i = 0; i < lease_count; i++)
		if (leases[i].end_us > end_us)
			leases[i].end_us = end_us;
}

/* A lease is good from the request's time on, as the row sees it, at the earliest. When sub-windows move, the
 * row's time may be earlier than others that it has seen, so then it is the time at which the row was had.
 * While the clock is set back, no request waits for the row. */
static void take_step(enum kind kind) {
	struct step step = history_next(&history);
	struct lease_grant got;
	step.t_us = kind == SET_BACK ? history.t_us : step.t_us;
	if (kind == CUT_ANEW && step.t_us < history.t_us)
		step.request.charge = 0; /* admitted who knows when */
	int64_t sent_us = step.t_us + behind_us + GRANT_SPEND_LAG_US - 1;
	spend(sent_us);
	report(&step.request, sent_us);
	grant_take(&ring, &step.terms, &step.request, step.t_us, step.host, &got);
	assert_true(got.granted >= 0 && got.granted_next >= 0 && got.charged >= 0 && got.remaining >= 0);
	assert_true(got.starts_in_us > 0 && got.valid_us >= got.starts_in_us);

	int64_t now_us = history.t_us + behind_us;
	int64_t row_us = ring.current_us + ring.sub_window_us - got.starts_in_us + behind_us;
	int64_t at_us = row_us < now_us ? row_us : now_us, from_us = kind == STEADY ? at_us : now_us;
	note(from_us, got.charged);
	hold(got.sub_window, from_us, at_us + got.valid_us, got.granted);
	int64_t next_us = at_us + got.starts_in_us - doubt_us;
	hold(got.next_sub_window, got.next_is_open || next_us < from_us ? from_us : next_us, at_us + got.next_valid_us,
	     got.granted_next);
	end_early(ring.current_us + (step.terms.runs + 1 + (step.terms.runs == 0)) * ring.sub_window_us + behind_us +
	          doubt_us);
	drop_old(now_us);
}

static int by_time(const void *a, const void *b) {
	int64_t x = ((const struct spending *)a)->at_us, y = ((const struct spending *)b)->at_us;
	return (x > y) - (x < y);
}

/* The most that an interval of the window's length holds. */
static int64_t worst_interval(void) {
	int64_t worst = 0, sum = 0;
	size_t first = 0;
	qsort(spendings, spending_count, sizeof(spendings[0]), by_time);
	for (size_t i = 0; i < spending_count; i++) {
		sum += spendings[i].credits;
		while (spendings[i].at_us - spendings[first].at_us >= history.window_us)
			sum -= spendings[first++].credits;
		worst = sum > worst ? sum : worst;
	}
	return worst;
}

/* The most that a fixed window holds. */
static int64_t worst_window(void) {
	int64_t worst = 0, sum = 0, number = -1;
	qsort(spendings, spending_count, sizeof(spendings[0]), by_time);
	for (size_t i = 0; i < spending_count; i++) {
		int64_t its = (spendings[i].at_us - history.terms.phase_us) / history.window_us;
		sum = (its == number ? sum : 0) + spendings[i].credits;
		number = its;
		worst = sum > worst ? sum : worst;
	}
	return worst;
}

static int64_t play(uint64_t seed, enum kind kind) {
	history = history_new(seed);
	ring = (struct grant_ring){0};
	behind_us = 0;
	lease_count = spending_count = 0;
	if (kind != STEADY && history.terms.runs == 0)
		cut_anew();
	bool is_fixed = history.terms.runs == 0;
	doubt_us = (kind == CUT_ANEW ? history.window_us / GRANT_SLACK_DIVISOR : history.terms.slack_us) / 2;
	for (int i = 0; i < STEPS; i++) {
		if (kind == SET_BACK && roll(&history, 50) == 0)
			set_back();
		if (kind == CUT_ANEW && roll(&history, 50) == 0)
			cut_anew();
		take_step(kind);
	}
	for (int i = 0; i < 5; i++)
		spend(INT64_MAX);
	for (size_t i = 0; i < lease_count; i++)
		note(leases[i].end_us - 1, leases[i].unspent);
	return is_fixed ? worst_window() : worst_interval();
}

static void play_many(enum kind kind, uint64_t seeds) {
	uint64_t full = 0;
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		int64_t worst = play(seed, kind);
		full += worst == history.terms.max_requests;
		if (worst > history.terms.max_requests)
			fail_msg("seed %llu: %lld in a window, the limit is %d, %d sub-windows", (unsigned long long)seed,
			         (long long)worst, history.terms.max_requests, history.terms.runs);
	}
	assert_true(full > seeds / 3); /* the limit is what stops them */
}

static void no_interval_ever_holds_more_than_the_limit(void **state) {
	(void)state;
	play_many(STEADY, 4000);
}

static void nor_when_the_clock_is_set_back(void **state) {
	(void)state;
	play_many(SET_BACK, 2000);
}

static void nor_when_windows_are_cut_anew_while_long_leases_are_out(void **state) {
	(void)state;
	play_many(CUT_ANEW, 2000);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_interval_ever_holds_more_than_the_limit),
		cmocka_unit_test(nor_when_the_clock_is_set_back),
		cmocka_unit_test(nor_when_windows_are_cut_anew_while_long_leases_are_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
