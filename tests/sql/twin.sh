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

answers='head_us bigint, counts int[], granted int, granted_next int, charged int, remaining int, sub_window bigint, valid_us bigint, retry_us bigint, reset_us bigint, changed boolean'
script="
create temp table step (old_head_us bigint, old_sub_window_us bigint, old_counts int[], t_us bigint, phase_us bigint, hosts int,
	max_requests int, sub_window_us bigint, runs int, need int, least_need int, want int, next_want int, charge int,
	return_sub bigint, return_first int, return_second int, $answers);
copy step from stdin;
$("$twin" "$seed" "$histories")
\\.
select count(*) from step;
select s.*, r.* from step s cross join lateral stint.take(old_head_us, old_sub_window_us, old_counts, t_us, phase_us, hosts, max_requests,
	sub_window_us, runs, need, least_need, want, next_want, charge, return_sub, return_first, return_second) r
where row(s.head_us, s.counts, s.granted, s.granted_next, s.charged, s.remaining, s.sub_window, s.valid_us, s.retry_us, s.reset_us, s.changed)
	is distinct from row(r.head_us, r.counts, r.granted, r.granted_next, r.charged, r.remaining, r.sub_window, r.valid_us, r.retry_us, r.reset_us, r.changed)
limit 3;
"
found=$("$psql" -XAtq -v ON_ERROR_STOP=1 "${STINT_TEST_CONNINFO:?}" -f - <<<"$script" 2>&1)
if [ "$found" = $((20 * histories)) ]; then
	echo "ok 1 - $histories histories of 20 steps, equal in C and in SQL (seed $seed)"
else
	echo "not ok 1 - equal in C and in SQL (seed $seed)"
	sed 's/^/# /' <<<"$found"
fi
