#!/bin/bash
# The database takes the same policies as lib/protocol/limits.h: stint.check_policy() and the table's own checks. TAP on stdout.
# $STINT_TEST_CONNINFO: a database with the schema. $STINT_TEST_LIMITS: the program that asks (limits.c).
set -u
here=$(cd "$(dirname "$0")" && pwd)
psql=$("$here/../support/pg-cluster" client psql) || exit 1
limits=${STINT_TEST_LIMITS:-$here/../../build/tests/sql/limits}

echo 1..2
if [ ! -x "$limits" ]; then
	echo "not ok 1 - there is no $limits: make check-sql builds it"
	exit 1
fi

# compare NUMBER NAME STATEMENT: a statement that fails when the policy q is not right.
compare() {
	local script found
	script="
create temp table question (what text, is_right bool, name text, max_requests bigint, time_window_ms bigint,
	fallback_max_requests bigint, fallback_time_window_ms bigint, algorithm text, resolution int, mode text);
copy question from stdin;
$("$limits")
\\.
create temp table copied (like stint.policy including constraints including defaults);
create function pg_temp.takes(q question) returns bool language plpgsql as \$\$
begin
	$3;
	return true;
exception when invalid_parameter_value or check_violation or numeric_value_out_of_range then
	return false;
end \$\$;
select count(*) filter (where is_right) > 1000 and count(*) filter (where not is_right) > 1000 from question;
select q.* from question q where pg_temp.takes(q) <> is_right limit 5;
"
	found=$("$psql" -XAtq -v ON_ERROR_STOP=1 "${STINT_TEST_CONNINFO:?}" -f - <<<"$script" 2>&1)
	if [ "$found" = t ]; then
		echo "ok $1 - $2"
	else
		echo "not ok $1 - $2"
		sed 's/^/# /' <<<"$found"
	fi
}

compare 1 'stint.check_policy() takes what the library takes, and nothing else' \
	'perform stint.check_policy(q.name, q.max_requests, q.time_window_ms, q.fallback_max_requests, q.fallback_time_window_ms,
		q.algorithm, q.resolution, q.mode)'
compare 2 'so does the table' \
	'insert into copied (policy_id, name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms, algorithm,
		resolution, mode) values (1, q.name, q.max_requests, q.time_window_ms, q.fallback_max_requests, q.fallback_time_window_ms,
		q.algorithm, q.resolution, q.mode)'
