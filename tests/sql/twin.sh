#!/bin/bash
# agent/grant.c and stint.take() give equal answers to equal questions. TAP on stdout. $1 or $STINT_TEST_SEED: the seed.
# $STINT_TEST_CONNINFO: a database with the schema. $STINT_TEST_HISTORIES: how many.
set -u
here=$(cd "$(dirname "$0")" && pwd)
psql=$("$here/../support/pg-cluster" client psql) || exit 1
twin=${STINT_TEST_TWIN:-$here/../../build/tests/sql/twin}
seed=${1:-${STINT_TEST_SEED:-20240229}}
histories=${STINT_TEST_HISTORIES:-10000}

echo 1..1
if [ ! -x "$twin" ]; then
	echo "not ok 1 - there is no $twin: make check-sql builds it"
	exit 1
fi

state='current_us bigint, ahead int, early int, servers bigint, servers_before bigint, counts int[]'
answers="$state, granted int, granted_next int, charged int, remaining int, span int, starts_in_us bigint, retry_us bigint, reset_us bigint, recallable int, changed boolean"
names() { sed -E "s/(^|, )([a-z_]+)[^,]*/\1$1\2/g"; }
script="
create temp table step (old_current_us bigint, old_sub_window_us bigint, old_ahead int, old_early int, old_servers bigint, old_servers_before bigint,
	old_counts int[], t_us bigint, phase_us bigint, host int, max_requests int, sub_window_us bigint, runs int, need int, least_need int,
	want int, span_most int, span_least int, next_want int, charge int, report_sub_1 bigint, unspent_1 int, spent_1 int, report_sub_2 bigint,
	unspent_2 int, spent_2 int, $answers);
copy step from stdin;
$("$twin" "$seed" "$histories")
\\.
select count(*) from step;
select s.*, r.* from step s cross join lateral stint.take(old_current_us, old_sub_window_us, old_ahead, old_early, old_servers,
	old_servers_before, old_counts, t_us, phase_us, host, max_requests, sub_window_us, runs, need, least_need, want, span_most, span_least,
	next_want, charge, report_sub_1, unspent_1, spent_1, report_sub_2, unspent_2, spent_2) r
where row($(names s. <<<"$answers")) is distinct from row($(names r. <<<"$answers"))
limit 3;
"
found=$("$psql" -XAtq -v ON_ERROR_STOP=1 "${STINT_TEST_CONNINFO:?}" -f - <<<"$script" 2>&1)
if [ "$found" = $((20 * histories)) ]; then
	echo "ok 1 - $histories histories of 20 steps, equal in C and in SQL (seed $seed)"
else
	echo "not ok 1 - equal in C and in SQL (seed $seed)"
	sed 's/^/# /' <<<"$found"
fi
