#!/bin/bash
# Several sessions at once: no deadlock, no lost count, what waits too long grants nothing. TAP on stdout.
# $STINT_TEST_CONNINFO: a database with the schema and tests/sql/support.psql.
set -u
here=$(cd "$(dirname "$0")" && pwd)
client() { "$here/../support/pg-cluster" client "$1"; }
psql=$(client psql) && pgbench=$(client pgbench) || exit 1
conninfo=${STINT_TEST_CONNINFO:?}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export PGOPTIONS='-c client_min_messages=warning -c statement_timeout=20000'

sql() { "$psql" -XAtq -v ON_ERROR_STOP=1 "$conninfo" "$@"; }

tests=0
is() {
	tests=$((tests + 1))
	if [ "$1" = "$2" ]; then
		echo "ok $tests - $3"
	else
		printf 'not ok %s - %s\n#  have: %s\n#  want: %s\n' $tests "$3" "$1" "$2"
	fi
}

# Waits until the query $1 gives $2. That it doesn't within 20 s is a failure.
await() {
	local tries=0 have
	until have=$(sql -c "$1") && [ "$have" = "$2" ]; do
		tries=$((tries + 1))
		if [ $tries -ge 400 ]; then
			is "$have" "$2" "$3"
			return 1
		fi
		sleep 0.05
	done
}

await_waiters() {
	await "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and backend_type = 'client backend' and datname = current_database()" \
		"$1" "$1 sessions wait for a lock"
}

# Sessions that do one thing after the other, when they are told to. Their names are their application_name.
declare -A input session

# open NAME STATEMENT...: has done all of them. $connect: as whom.
connect=$conninfo
open() {
	local name=$1 fd
	mkfifo "$work/$name.in" || exit 1
	"$psql" -XAtq -v ON_ERROR_STOP=1 "$connect application_name=$name" <"$work/$name.in" >"$work/$name.out" 2>&1 &
	session[$name]=$!
	exec {fd}>"$work/$name.in"
	input[$name]=$fd
	shift
	printf '%s;\n' "$@" >&"$fd"
	await "select count(*) from pg_stat_activity where application_name = '$name' and state like 'idle%' and query = '${!#//\'/\'\'};'" 1 \
		"the session \"$name\" has done its part: $(cat "$work/$name.out")"
}

# Further statements, then the end.
finish() {
	local fd=${input[$1]} name=$1
	shift
	printf '%s;\n' "$@" '\q' >&"$fd"
	exec {fd}>&-
	wait "${session[$name]}"
	rm "$work/$name.in"
}

# change_time FUNCTION FROM TO: a time that is written in the function is another one from now on. Where it isn't what is tried, that of the
# product is too short for what a test does meanwhile: each program that it starts takes some hundred milliseconds on a busy machine.
change_time() {
	sql <<-END || is "$2" "$3" "the time in $1() is changed"
		do \$\$
		declare
			definition text := pg_get_functiondef('stint.$1'::regproc);
		begin
			assert definition like '%''$2''%', '$1() does not say "$2"';
			execute replace(definition, '''$2''', '''$3''');
		end
		\$\$
	END
}

# change_patience FROM TO: how long a grant may take.
change_patience() {
	change_time take_leases "$@"
	change_time take_first_leases "$@"
}

# ---- Hammering the same clients ---------------------------------------------

# $1 policy, $2 seconds: six sessions take, charge and return in batches of 64 of 80 clients, shuffled; every fourth batch is of clients
# that its host says it knows nothing of, and every fourth waits for no lock.
hammer() {
	local id
	id=$(sql -c "select policy_id from stint.policy where name = '$1'")
	cat >"$work/$1.pgbench" <<-END
		with batch as (
			select array_agg('k' || i order by random()) as clients, array_agg((random() * 3)::int) as needs, array_fill($id, array[64]) as ids,
				array_fill(0, array[64]) as zero, array_agg((random() * 2)::int) as nexts,
				array_agg((random() * 5)::int) as wants, array_agg((random() * 8)::int) as spans, array_agg(greatest((random() * 8)::int - 5, 0)) as leasts
			from (select i from generate_series(1, 80) i order by random() limit 64) x
		)
		insert into test.lease_log (policy_id, client_id, sub_window, granted, next_sub_window, granted_next, next_is_open, began, charged, remaining,
			retry_us, need)
		select $id, clients[l.request], l.sub_window, l.granted, l.next_sub_window, l.granted_next, l.next_is_open,
			l.sub_window + l.starts_in_us - l.valid_us, l.charged, l.remaining, l.retry_us, needs[l.request]
		from batch, lateral stint.take_leases(:client_id, ids, clients, needs, needs, wants, spans, leasts, nexts, needs, zero::bigint[], zero, zero,
			zero::bigint[], zero, zero) l;
	END
	sed -e 's/(random() \* 3)::int) as needs/1 + (random() * 2)::int) as needs/' \
		-e 's/stint.take_leases(.*/stint.take_first_leases(:client_id, ids, clients, needs, needs, wants, spans, leasts) l;/' -e '/^\s*zero::bigint/d' "$work/$1.pgbench" >"$work/$1.first.pgbench"
	sed -e 's/stint.take_leases/stint.take_unlocked_leases/' -e 's/ l;$/ l where not l.busy;/' "$work/$1.pgbench" >"$work/$1.unlocked.pgbench"
	timeout 30 "$pgbench" -n -c 6 -j 2 -T "$2" -f "$work/$1.pgbench@2" -f "$work/$1.first.pgbench@1" -f "$work/$1.unlocked.pgbench@1" "$conninfo" >"$work/$1.log" 2>&1
}

change_patience '2 seconds' '20 seconds'
sql -c 'create table test.lease_log (policy_id int, client_id text, sub_window bigint, granted int, next_sub_window bigint,
	granted_next int, next_is_open boolean, began bigint, charged int, remaining int, retry_us bigint, need int)'
sql -c "select stint.set_policy('wide', 150, 3600000)" -c "select stint.set_policy('narrow', 20, 1000, resolution => 5)" >/dev/null
for policy in wide narrow; do
	hammer $policy 3
	is $? 0 "$policy: six sessions, the same clients in any order: no deadlock"
	grep -q -i 'error' "$work/$policy.log" && sed 's/^/# /' "$work/$policy.log"
	is "$(sql -c "select count(distinct client_id) from test.lease_log join stint.policy using (policy_id) where name = '$policy'")" 80 "$policy: all were served"
done

charged='(select client_id, sum(granted + granted_next + charged) as charged from test.lease_log join stint.policy using (policy_id) where name = '"'wide'"' group by 1)'
is "$(sql -c "select max(charged) from $charged x")" 150 'wide: what all sessions got together is the limit, exactly'
is "$(sql -c "select count(*) from $charged x join stint.counter c using (client_id) join stint.policy p using (policy_id)
	where p.name = 'wide' and x.charged <> (select sum(n) from unnest(counts) n)")" 0 'wide: the counters hold what was answered, no more and no less'
is "$(sql -c "select count(*) from test.lease_log where (retry_us > 0) <> (need > 0 and granted < need or remaining = 0) or remaining < 0")" \
	0 'who was denied, or took the last, knows until when'
is "$(sql -c "
	with entry as (
		select l.* from test.lease_log l join stint.policy using (policy_id) where name = 'narrow'
	), charge as (
		select client_id, began, sub_window, granted as n from entry
		union all select client_id, began, began, charged from entry
		union all select client_id, case when next_is_open then began else began + 201000 end, next_sub_window, granted_next from entry)
	select max(total) from (
		select sum(c.n) as total from (select distinct client_id, sub_window as since from charge where n > 0) w
		join charge c on c.client_id = w.client_id and c.n > 0 and c.sub_window >= w.since and c.began <= w.since + 1010000
		group by w.client_id, w.since) x")" \
	20 'narrow: no run of sub-windows can see more than the limit spent, the fullest sees it exactly'

# ---- One after the other, under control -------------------------------------

# A new client, by two sessions at once: the second works it out again on what the first has left.
sql -c "select stint.set_policy('ten', 10, 3600000)" >/dev/null
open first 'begin' "select * from test.lease_all('ten', '{new,newer}', need => 6)"
sql -c "select granted, remaining, retry_us from test.lease('ten', 'new', need => 3)" >"$work/second" &
second=$!
sql -c "select granted, remaining, retry_us > 3600000000 from test.lease('ten', 'newer', need => 6)" >"$work/third" &
third=$!
await_waiters 2
finish first 'commit'
wait $second $third
is "$(cat "$work/second")" '3|1|0' 'a client that another session is just making: it gets of what is left'
is "$(cat "$work/third")" '0|4|t' '… or is denied, if that is too little'

# … also of leases for two sub-windows, from the next one on or from now on.
sql -c "select stint.set_policy('twenty', 10, 3600000, resolution => 20)" >/dev/null
open first 'begin' "select * from test.lease_all('twenty', '{later,now}')"
two='granted, granted_next, next_is_open, next_sub_window - sub_window, next_valid_us - starts_in_us'
sql -c "select $two from test.lease('twenty', 'later', need => 0, next_want => 3)" >"$work/second" &
second=$!
sql -c "select $two from test.lease('twenty', 'now', want => 3)" >"$work/third" &
third=$!
await_waiters 2
finish first 'commit'
wait $second $third
is "$(cat "$work/second")" '0|3|f|361800000|361800000' 'a lease ahead, worked out again'
is "$(cat "$work/third")" '1|2|t|180900000|180900000' '… and one that is brief'

# A lock that is held too long.
change_patience '20 seconds' '2 seconds'
open first 'begin' "update stint.counter set request = request where client_id = 'new'"
sql -v VERBOSITY=sqlstate -c "select * from test.lease('ten', 'new')" >"$work/second" 2>&1 &
second=$!
sql -v VERBOSITY=sqlstate -c "select * from test.first_lease('ten', 'new')" >"$work/third" 2>&1 &
third=$!
await_waiters 2
is "$(sql -v VERBOSITY=sqlstate -c "select * from test.lease('ten', 'new', need => 100)" | cut -d'|' -f2)" 0 'a denial waits for no lock'
sleep 2.1
finish first 'commit'
wait $second $third
is "$(grep -o 'ST001' "$work/second")" ST001 '… a grant that waited more than 2 s is refused'
is "$(grep -o 'ST001' "$work/third")" ST001 '… and one that its host knew nothing of'
is "$(sql -c "select sum(n) from stint.counter, unnest(counts) n where client_id = 'new'")" 9 '… and nothing was charged'
change_patience '2 seconds' '20 seconds'

# Rows that somebody else has locked, and statements that don't wait for them: each is over while the lock is still held.
sql -c "alter function stint.take_unlocked_leases set lock_timeout = '60s'" # one that waits would be canceled before that
sql -c "select stint.set_policy('hundred', 100, 3600000)" >/dev/null
# unlocked CLIENT...: asks for one credit for each. What each got: granted, or "busy".
unlocked() {
	local ids=$(IFS=,; echo "$*") n=$#
	sql -c "select string_agg(case when l.busy then 'busy' else l.granted::text end, ' ' order by l.request)
		from (select array_fill(0, array[$n]) as zero, array_fill(1, array[$n]) as one) n, stint.policy p,
		lateral stint.take_unlocked_leases(1, array_fill(p.policy_id, array[$n]), '{$ids}', one, one, one, zero, zero, zero, zero, zero::bigint[], zero,
			zero, zero::bigint[], zero, zero) l where p.name = 'hundred'"
}
charged() { sql -c "select sum(n) from stint.counter, unnest(counts) n where client_id = '$1'"; }
is "$(unlocked r1 r2 r3)" '1 1 1' 'nothing is locked'
for lock in "select from stint.counter where client_id = 'r2' for update" "select from stint.counter where client_id = 'r2' for share" \
	"update stint.counter set request = request where client_id = 'r2'" "delete from stint.counter where client_id = 'r2'" \
	"select from test.lease('hundred', 'r2')" "select from test.first_lease('hundred', 'r2')" "select from test.unlocked_lease('hundred', 'r2')"; do
	open first 'begin' "$lock"
	is "$(unlocked r3 r2 r1)" '1 busy 1' "locked by: $lock"
	is "$(unlocked r2)" busy '… alone, too'
	finish first 'rollback'
	is "$(unlocked r2)" 1 '… and no longer, when that is over'
done
is "$(charged r1) $(charged r2) $(charged r3)" '8 8 8' 'what is busy is charged nothing'

open first 'begin' "select from stint.counter where client_id = 'r2' for key share"
is "$(unlocked r1 r2)" '1 1' 'a lock that is in nobody''s way'
finish first 'commit'
open first 'begin' "select from stint.counter where client_id = 'r2' for share"
open second 'begin' "select from stint.counter where client_id = 'r2' for share"
is "$(unlocked r1 r2)" '1 busy' 'a lock that two share'
finish first 'commit'
is "$(unlocked r1 r2)" '1 busy' '… until both have let go'
finish second 'commit'
is "$(unlocked r1 r2)" '1 1' '… and then no more'

open first 'begin' "select from stint.counter where client_id = 'r2' for update"
is "$(sql -c "select granted, busy from test.unlocked_lease('hundred', 'r2', need => 101)")" '0|f' 'a denial needs no lock'
is "$(sql -c "select granted, granted_next, charged, busy from test.unlocked_lease('hundred', 'r2', need => 2, want => 3, charge => 1, span => 3)")" '0|0|0|t' \
	'what is busy is granted nothing'
is "$(sql -c "set lock_timeout = '50ms'" -c "select * from test.lease('hundred', 'r2')" 2>&1 | grep -c 'lock timeout')" 1 'take_leases() waits for it'
is "$(sql -c "set lock_timeout = '50ms'" -c "select * from test.first_lease('hundred', 'r2')" 2>&1 | grep -c 'lock timeout')" 1 '… and so does take_first_leases()'
finish first 'commit'

sql -c "alter function stint.take_unlocked_leases set lock_timeout = '10ms'"

# What nobody else can see can't be skipped, but others are held up for no longer than 10 ms by each, and 100 ms in all.
change_time take_unlocked_leases '100 milliseconds' '10 seconds'
open first 'begin' "select from test.lease('hundred', 's2')" "select from test.first_lease('hundred', 's4')"
is "$(unlocked s5 s4 s3 s2 s1)" '1 busy 1 busy 1' 'rows that another session is just making'
finish first 'commit'
is "$(unlocked s5 s4 s3 s2 s1)" '1 1 1 1 1' '… and when they are made'
is "$(for i in 1 2 3 4 5; do charged s$i; done | tr '\n' ' ')" '2 2 2 2 2 ' '… all is counted once'
change_time take_unlocked_leases '10 seconds' '100 milliseconds'

open first 'begin' "select count(*) from test.lease_all('hundred', array(select 'u' || i from generate_series(101, 120) i))"
is "$(unlocked v1 $(seq -f 'u%g' 101 120) | tr -s ' ' '\n' | sort | uniq -c | tr -s ' \n' ' ')" ' 21 busy ' 'many of them: the rest is not tried'
finish first 'rollback'
is "$(unlocked v1 u101 u102)" '1 1 1' '… until the next time'

# A row that is locked when it has been read, and before its turn: that is seen too late, and it is waited for.
sql -c "alter function stint.take_unlocked_leases set lock_timeout = '20s'"
is "$(unlocked t9)" 1 'a row'
open first 'begin' "select from test.lease('hundred', 't1')"
unlocked t1 t9 >"$work/second" &
second=$!
await_waiters 1
open third 'begin' "select from stint.counter where client_id = 't9' for update"
finish first 'commit'
await "select count(*) from pg_stat_activity a where wait_event_type = 'Lock' and exists (select from unnest(pg_blocking_pids(a.pid)) b
	join pg_stat_activity o on o.pid = b where o.application_name = 'third')" 1 'the statement waits for the second lock'
finish third 'commit'
wait $second
is "$(cat "$work/second")" '1 1' '… and then it has it'
sql -c "alter function stint.take_unlocked_leases set lock_timeout = '10ms'"

# Whole tables: that is said at once, for all.
open first 'begin' 'lock table stint.counter in share mode'
is "$(sql -v VERBOSITY=sqlstate -c "select * from test.unlocked_lease('hundred', 'r1')" 2>&1 | grep -o 55P03)" 55P03 'a table that is locked is no busy row'
finish first 'commit'

# Expiry.
open first 'begin' 'select * from stint.expire_counters(10)'
is "$(sql -c 'select * from stint.expire_counters(10)')" '0|0' 'expiry: one session at a time'
finish first 'commit'
sql -c "update stint.counter set current_us = 0 where client_id in ('k1', 'k2')"
open first 'begin' "select from stint.counter where client_id = 'k1' for update"
sql -c "set lock_timeout = '5s'" -c 'select test.expire_all()'
is "$(sql -c "select string_agg(client_id, ' ') from stint.counter where client_id in ('k1', 'k2')")" 'k1 k1' \
	'expiry: what is locked is left, and waits for nobody'
finish first 'commit'

# Overrides that have ended: who holds up changes, or one of them, isn't waited for.
sql -c "select stint.block_client('ten', 'b' || i, null, 1) from generate_series(1, 3) i" >/dev/null
await "select count(*) from stint.client_override where client_id like 'b_' and blocked_until <= clock_timestamp()" 3 'three blocks have ended'
open first 'begin' "select stint.block_client('ten', 'other')"
is "$(sql -c "set lock_timeout = '5s'" -c 'select stint.end_overrides(1)')" 0 'ended: while somebody changes something, nothing is taken away'
finish first 'commit'
open first 'begin' "select from stint.client_override where client_id = 'b2' for update"
is "$(sql -c "set lock_timeout = '5s'" -c 'select stint.end_overrides(100)')" 2 'ended: what is locked is left'
finish first 'commit'
is "$(sql -c 'select stint.end_overrides(100)')" 1 '… until it isn'"'"'t'

# A queue of notices that is full, since a session of anybody's listens and doesn't read: a commit with a notice would fail. (Here the call.)
told() { sql -c 'listen stint' "$@" -c 'select' 2>&1 | sed 's/ received from.*//' | grep .; }
block() { told -c "select stint.block_client('ten', 'told', null, 1)" -c "select from test.lease('ten', 'called', need => 1)" \
	-c "update stint.counter set ahead = 9 where client_id = 'called'" -c 'delete from stint.recall' -c "select stint.recall_leases('{$ten}', '{called}')"; }
ten=$(sql -c "select policy_id from stint.policy where name = 'ten'")
is "$(block)" $'Asynchronous notification "stint"\n1\nAsynchronous notification "stint" with payload "recall"' 'agents are told by notices'
sql -c 'alter function pg_catalog.pg_notify(text, text) rename to another_notify' \
	-c "create function pg_catalog.pg_notify(text, text) returns void language plpgsql as \$\$ begin raise exception 'the queue is full' using errcode = 54000; end \$\$" \
	-c 'alter function pg_catalog.pg_notification_queue_usage() rename to another_usage' \
	-c 'create function pg_catalog.pg_notification_queue_usage() returns double precision language sql as $$ select 0.97 $$'
is "$(block)" 1 'a full queue of notices: clients are blocked and leases called back without'
await "select count(*) from stint.client_override where client_id = 'told' and blocked_until <= clock_timestamp()" 1 'the block has ended'
is "$(told -c 'select stint.end_overrides(100)' -c "select max(c.change_id) > 0 from stint.change c where c.client_id = 'told' and c.action = 'ended'")" $'1\nt' \
	'… and the end is told to who asks'
is "$(told -c "select count(*) from stint.reset_client('ten', 'called')" \
	-c "update stint.counter_reset set useless_at = clock_timestamp() where client_id = 'called'" -c 'select stint.finish_resets(10)')" $'1\n1' \
	'… and they are reset'
sql -c 'drop function pg_catalog.pg_notify(text, text), pg_catalog.pg_notification_queue_usage()' \
	-c 'alter function pg_catalog.another_notify(text, text) rename to pg_notify' \
	-c 'alter function pg_catalog.another_usage() rename to pg_notification_queue_usage'
is "$(told -c "select stint.unblock_client('ten', 'other')")" 'Asynchronous notification "stint"' 'once it has room they are told again'

# To compile a plan takes a thousand times as long as to run it here, and others wait in the queue of changes meanwhile.
compiled() { sql -c "load 'auto_explain'" -c 'set auto_explain.log_min_duration = 0' -c 'set auto_explain.log_nested_statements = on' -c 'set auto_explain.log_analyze = on' \
	-c 'set jit = on' -c 'set client_min_messages = log' "$@" 2>&1 | grep -c 'JIT:\|ERROR'; }
calls=()
for call in "set_policy('plain', 5, 1000)" "set_policy('plain', 6, 1000)" "set_shadow('plain', true)" "unpin_policy('plain')" "block_client('plain', 'one')" \
	"unblock_client('plain', 'one')" "set_override('plain', 'one', 7)" "clear_override('plain', 'one')" "reset_client('plain', 'one')" "drop_policy('plain')" \
	"cache_set('plain', '1', 1000)" "cache_increment_and_get('plain', 1000)" "cache_decrement_and_get('plain')" "cache_get('plain')"; do
	calls+=(-c "select stint.$call")
done
! sql -c "load 'auto_explain'" 2>/dev/null || # a server that comes without it
	is "$(compiled "${calls[@]}")" 0 'no plan of what operators and apps call is compiled'

# Who waits until somebody else has changed something, changes what is there then, though the name is another policy's now.
sql -c "select stint.set_policy('remade', 5, 1000)" >/dev/null
open first 'begin' "select stint.drop_policy('remade')" "select stint.set_policy('remade', 5, 1000)"
remade=()
for call in "set_shadow('remade', true)" "block_client('remade', 'one')" "set_override('remade', 'two', 7)"; do
	sql -c "select stint.$call" >>"$work/remade" 2>&1 &
	remade+=($!)
done
await_waiters 3
finish first 'commit'
wait "${remade[@]}"
is "$(grep -c . "$work/remade") $(sql -c "select shadow, (select count(*) from stint.client_override o where o.policy_id = p.policy_id) from stint.policy p where name = 'remade'")" \
	'0 t|2' 'a policy that was dropped and made anew meanwhile'
open first 'begin' "select stint.drop_policy('remade')"
sql -v VERBOSITY=sqlstate -c "select stint.unpin_policy('remade')" >"$work/second" 2>&1 &
second=$!
sql -v VERBOSITY=sqlstate -c "select stint.reset_client('remade', 'one')" >"$work/third" 2>&1 &
third=$!
await_waiters 2
finish first 'commit'
wait $second $third
is "$(cat "$work/second" "$work/third" | grep -o P0002 | tr '\n' ' ')" 'P0002 P0002 ' 'one that was dropped: that is told'

# A reset, and a grant that has read the counter before: it is worked out again. And who holds a counter isn't waited for at the end.
sql -c "select from test.lease('ten', 'reset', need => 9)" -c "update stint.counter set current_us = current_us - 3 * sub_window_us / 2 where client_id = 'reset'" \
	-c "select from test.lease('hundred', 'reset', need => 60)"
open first 'begin' "select from stint.reset_client('ten', 'reset') t, stint.reset_client('hundred', 'reset') h"
sql -c "select charged, remaining from test.lease('ten', 'reset', need => 0, charge => 3)" >"$work/second" 2>&1 &
second=$!
sql -c "select charged, remaining from test.lease('hundred', 'reset', need => 0, charge => 3)" >"$work/third" 2>&1 &
third=$!
await_waiters 2
finish first 'commit'
wait $second $third
is "$(cat "$work/second" "$work/third" | tr '\n' ' ')" '3|7 3|37 ' 'reset: a grant that has waited is worked out on what is left'
is "$(sql -c "select counts from stint.counter join stint.policy using (policy_id) where client_id = 'reset' and name = 'hundred'")" '{63}' '… and charged to the sub-window that has begun'
sql -c "update stint.counter_reset set longest_us = -1000000"
open first 'begin' "select from stint.counter where client_id = 'reset' for update"
is "$(sql -c "set lock_timeout = '5s'" -c 'select stint.finish_resets(100)')" 0 'reset: what is locked is left for the next time'
is "$(sql -c "select from stint.reset_client('ten', 'reset')" 2>&1 | grep -c 'lock timeout')" 1 '… and a reset gives up after some seconds'
finish first 'commit'
is "$(sql -c 'select stint.finish_resets(100)' -c "select counts from stint.counter join stint.policy using (policy_id) where client_id = 'reset' and name = 'hundred'" | tr '\n' ' ')" '1 {3} ' '… when it is done'

# Whoever may connect can take any advisory lock: here all those whose keys the schema could mean.
sql -c 'create role stranger login'
connect=${conninfo/user=postgres/user=stranger}
open stranger "select pg_advisory_lock(hashtextextended(k, 0)) from unnest(array['stint.change', 'stint.expiry', 'stint']) k" \
	'select pg_advisory_lock(495874305652)'
is "$(sql -c "set lock_timeout = 500; select stint.set_policy('unhindered', 1, 1000) > 0" 2>&1)" t 'a stranger can not keep policies from being changed'
sql -c "select setval('stint.expiry_walked_seq', 0)" >/dev/null
is "$(sql -c 'select examined > 0 from stint.expire_counters(10)')" t '… nor counters from expiring'
is "$("$psql" -XAtq "$connect" -c 'select from stint.change_queue for update' 2>&1 | grep -c 'permission denied')" 1 '… nor take the lock that does'
finish stranger
connect=$conninfo

# Changes: numbered as they are committed, and heard of.
open listener 'listen stint'
open first 'begin' "select stint.set_policy('slow', 1, 1000)"
sql -c "select stint.set_policy('quick', 1, 1000), stint.block_client('quick', 'k1')" >/dev/null &
second=$!
await_waiters 1
is "$(sql -c 'select change_id = (select max(change_id) from stint.get_changes(0)) from stint.heartbeat((select host_id from stint.register_host(
	'"'h', 'i', 'v'"')), '"'i', 'in step'"', 0, 0)')" t 'a change that is not committed is not seen'
finish first 'commit'
wait $second
is "$(sql -c "select string_agg(policy_name, ' ' order by change_id) from stint.change where policy_name in ('slow', 'quick')")" 'slow quick quick' \
	'changes are numbered in the order of their commits'
sql -c 'update stint.client_override set note = note' -c 'update stint.policy set pinned = pinned' -c 'delete from stint.client_override where false'
finish listener 'select 1'
is "$(grep -c 'Asynchronous notification "stint" received' "$work/listener.out")" 2 'each is notified, once, nothing else is, and without a word that a stranger could hear'

is "$(sql -c "set default_transaction_read_only = on" -c 'select change_id = (select max(change_id) from stint.change) from stint.pulse()' | tail -1)" t 'a pulse writes nothing'

# A snapshot of somebody's: seen by what it does, without the right to see whose it is. Each step is as good as 6 s, and writes twice.
steps() { for i in {1..20}; do echo "update stint.horizon set written_at = '-infinity'; update stint.fleet set counted_at = '-infinity'; $1;"; done | sql; }
snapshots() { steps 'select old_snapshot from stint.count_hosts(0, false)' | grep -c t; }
is "$(snapshots)" 0 'nobody holds an old snapshot'
open first 'begin isolation level repeatable read' 'select count(*) from pg_class'
steps "select stint.stop_host(r.host_id, 'i') from stint.register_host('brief', 'i', 'v') r" >"$work/brief"
is "$(sql -c 'select told_at from stint.horizon')" -infinity 'somebody does: who comes and goes is not told, so that it stays news'
is "$(snapshots)" 1 '… until it is told, once in a while'
finish first 'commit'
sql -c "update stint.horizon set told_at = '-infinity'"
is "$(snapshots)" 0 '… and no longer, when it is over'

# Who holds these rows has the turn; nobody waits for it.
patient() { sql -c "set lock_timeout = '5s'" -c "$1" 2>&1; }
sql -c "update stint.fleet set live_hosts = 77" -c "update stint.horizon set written_at = '-infinity'"
open holder 'begin' 'select from stint.fleet for update' 'select from stint.horizon for update'
is "$(patient 'select live_hosts, old_snapshot from stint.count_hosts(0, true)')" '77|f' 'who counts: the others take the last count meanwhile'
is "$(patient "select stint.stop_host(0, 'x')")" '' '… and who stops does not wait either'
is "$(patient 'select is_news from stint.find_old_snapshot()')" f 'who looks for old snapshots: the others leave it to that one'
finish holder 'commit'

sql -c "select from stint.register_host('late', 'x', '1')" -c "update stint.agent_host set seen_at = now() - interval '2 minutes' where name = 'late'"
open late 'begin' "update stint.agent_host set seen_at = clock_timestamp() where name = 'late'"
sql -c "update stint.fleet set counted_at = '-infinity'"
sql -c 'select stint.count_hosts(0, false)' >"$work/counted" 2>&1 &
counter=$!
await_waiters 1
finish late 'commit'
wait $counter
is "$(sql -c "select live from stint.agent_host where name = 'late'")" t 'one that is heard of while the others are counted is not taken for dead'

# Where declare_policy() gives up waiting is no matter in what follows.
signature='stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean, boolean)'
sql -c "alter function $signature set lock_timeout = '20s'"

# Apps declare the same new policy at once.
sql -c 'create table test.gate (id int)'
open gate 'begin' 'lock table test.gate'
declarers=()
for i in 1 2 3 4 5 6; do
	sql -c 'select id from test.gate' -c "select status from stint.declare_policy('same', 5, 1000, 5, 1000, 'sliding_window', 10, 'strict', false, false)" >"$work/declared.$i" &
	declarers+=($!)
done
await_waiters 6
finish gate 'commit'
wait "${declarers[@]}"
is "$(sort "$work"/declared.* | uniq -c | tr -s ' \n' ' ')" ' 1 created 5 unchanged ' 'six declare at once: one makes it'

# Apps of different versions declare at once: the second is judged by what the first has left.
declare_limit() { echo "select status from stint.declare_policy('turns', $1, 1000, 5, 1000, 'sliding_window', 10, 'strict', false, false)"; }
limits() { sql -c "select max_requests, jsonb_path_query_array(replaced, '\$[*].limits[0]') from stint.policy where name = 'turns'"; }
for limit in 100 200 100; do
	sql -c "$(declare_limit $limit)" >"$work/declared"
done
# at_once FIRST SECOND: the second has read the policy before the first changes it.
at_once() {
	open first 'begin' 'select from stint.change_queue for update'
	sql -c "$(declare_limit "$2")" >"$work/second" 2>&1 &
	second=$!
	await_waiters 1
	finish first "$(declare_limit "$1")" 'commit'
	wait $second
}
at_once 300 200
is "$(cat "$work/second")" 'put off' 'limits that another session has just made the fourth in ten minutes are put off'
is "$(limits)" '300|[100, 200, 100]' '… and what it replaced is not forgotten'
at_once 400 500
is "$(cat "$work/second")" changed 'limits that are new win, also over those of a session that was faster'
is "$(limits)" '500|[400, 300, 100]' '… and those count as replaced'
at_once 600 600
is "$(cat "$work/second")" unchanged 'two say the same: one changes it'
sql -c "alter function $signature set lock_timeout = '20ms'"

# A pooler gives the session to others next.
is "$(sql -c 'begin' -c "select stint.begin_call(stint.get_server_run(), 375, 125, 'keep')" -c 'commit' \
	-c "select concat_ws(' ', current_setting('log_parameter_max_length'), current_setting('log_parameter_max_length_on_error'),
		current_setting('lock_timeout'), '<' || current_setting('stint.synchronous_commit') || '>')" | tail -1)" \
	'-1 0 0 <>' 'nothing of what a call sets outlives its transaction'

# ---- The cache --------------------------------------------------------------

# Eight sessions count under the same keys, up and at times down, while new keys come and clear away what has expired.
cat >"$work/cache.pgbench" <<'END'
\set key random(1, 3)
\set fresh random(1, 1000000000)
select stint.cache_increment_and_get('hot ' || :key, 3600000);
select stint.cache_increment_and_get('hot ' || :key, 3600000);
select stint.cache_decrement_and_get('hot ' || :key);
select stint.cache_increment_and_get('fresh ' || :fresh, 1);
END
timeout 60 "$pgbench" -n -c 8 -j 2 -t 250 -f "$work/cache.pgbench" "$conninfo" >"$work/cache.log" 2>&1
is $? 0 'cache: eight sessions, the same keys: no deadlock'
is "$(grep -ic error "$work/cache.log")" 0 '… and no error'
is "$(sql -c "select sum(value::bigint) from stint.cache where key like 'hot %'")" 2000 '… and no count is lost'
is "$(sql -c "select count(*) < 1500 from stint.cache where key like 'fresh %'")" t '… and what has expired goes meanwhile'

# A window is over, and sessions that wait for its row find that out: the first begins the next one, the others count in it.
sql -c "select stint.cache_increment_and_get('window', 3600000) from generate_series(1, 5)" >/dev/null
open first 'begin' "update stint.cache set expires_at = clock_timestamp() where key = 'window'"
counters=()
for i in 1 2 3 4 5 6; do
	sql -c "select stint.cache_increment_and_get('window', 3600000)" >"$work/counted.$i" &
	counters+=($!)
done
await_waiters 6
finish first 'commit'
wait "${counters[@]}"
is "$(cat "$work"/counted.? | sort | tr '\n' ' ')" '1 2 3 4 5 6 ' 'cache: a window ends while six wait: one begins the next, and all count in it'

# … also if its row is just being deleted.
sql -c "update stint.cache set expires_at = clock_timestamp() where key = 'window'"
open first 'begin' "delete from stint.cache where key = 'window'"
counters=()
for i in 1 2 3; do
	sql -c "select stint.cache_increment_and_get('window', 3600000)" >"$work/counted.$i" &
	counters+=($!)
done
await_waiters 3
finish first 'commit'
wait "${counters[@]}"
is "$(cat "$work"/counted.[123] | sort | tr '\n' ' ')" '1 2 3 ' 'cache: what has expired is deleted while three wait'

# A window that ends while a session waits is not counted on in: the clock is read under the lock.
sql -c "select stint.cache_increment_and_get('short', 400) from generate_series(1, 5)" >/dev/null
open first 'begin' "select from stint.cache where key = 'short' for update"
sql -c "select stint.cache_increment_and_get('short', 3600000)" >"$work/second" &
second=$!
await_waiters 1
await "select clock_timestamp() > expires_at from stint.cache where key = 'short'" t 'the window is over'
finish first 'commit'
wait $second
is "$(cat "$work/second")" 1 'cache: who has waited beyond the end begins the next window'

# What others have locked is left, and nobody waits for it.
sql -c "insert into stint.cache select 'gone ' || i, '1', clock_timestamp() from generate_series(1, 5) i"
open first 'begin' "select from stint.cache where key = 'gone 3' for update"
sql -c "set lock_timeout = '5s'" -c 'select stint.expire_cache(100000)' >/dev/null
is "$(sql -c "select string_agg(key, ' ') from stint.cache where key like 'gone %'")" 'gone 3' 'cache: what is locked is left'
finish first 'commit'

# One snapshot throughout: the calls don't fail for others' rows.
sql -c "insert into stint.cache select 'gone ' || i, '1', clock_timestamp() from generate_series(4, 500) i"
open first 'begin isolation level repeatable read' "select count(*) from stint.cache"
sql -c "update stint.cache set value = '2' where key like 'gone %'"
finish first "select count(stint.cache_increment_and_get('mine ' || i, 1000)) from generate_series(1, 1000) i" 'commit'
is "$(grep -c ERROR "$work/first.out")" 0 'cache: new keys of a transaction that is repeatable read'

echo "1..$tests"
