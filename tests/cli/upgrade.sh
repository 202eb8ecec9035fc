# `stint db` across releases: from the first one's; this one's, one that has a migration more, and one that has two, of which the last is breaking.
# shellcheck shell=bash disable=SC2154

conninfo=$("$pg_cluster" start "$tmp/upgrade" 2>/dev/null) || { echo "Bail out! no PostgreSQL"; exit 1; }
cleanups+=('"$pg_cluster" remove "$tmp/upgrade"')
export STINT_DATABASE=$conninfo
next=$build/later-1/stint last=$build/later-2/stint
[[ -x $next && -x $last ]] || { echo 'Bail out! make later-releases builds what is missing'; exit 1; }
psql=$("$pg_cluster" client psql)
upgrade_sql() { "$psql" -XAtq -v ON_ERROR_STOP=1 "$conninfo" -c "$1"; }
# prints NAME LINE...: $output is exactly these lines.
prints() {
	local name=$1
	shift
	ok "$name" "$([[ $output == "$(printf '%s\n' "$@")" ]]; echo $?)" "$output"
}

"$stint" db init >/dev/null
expect 'a newer release: status' 1 '^schema +version 2; this program has version 4$' "$last" db status
ok '... tells what is pending, and what that means' \
	"$([[ $(grep -A3 '^agents' <<<"$output") == "agents    those made for version 2 or later can work with it
pending   3, note
pending   4, window: breaking, older agents must be updated with it
objects   all are there, with their owner and rights" ]]; echo $?)" "$output"
expect 'a newer release: status --json' 1 '"newest_version": 4,' "$last" db status --json
ok '... tells what is pending' "$(tr -d ' \n' <<<"$output" | grep -qF \
	'"pending":[{"version":3,"name":"note","breaking":false},{"version":4,"name":"window","breaking":true}],'; echo $?)" "$output"
expect 'a newer release: init' 1 'already there, version 2; "stint db migrate" brings it to version 4$' "$last" db init

expect 'migrate by one version' 0 '' "$next" db migrate
prints '... tells what is done, and which agents will do' 'migration 3, note: applied' \
	'agents made for version 2 or later can work with it; older ones must be updated now'
expect 'the version is the newest' 0 '^schema +version 3; this program has version 3$' "$next" db status
ok '... and nothing is pending' "$(! grep -q pending <<<"$output"; echo $?)" "$output"
expect 'an older release: status' 1 '^schema +version 3; this program has version 2$' "$stint" db status
ok '... sees nothing wrong' "$(grep -q '^objects   all are there' <<<"$output" && ! grep -q pending <<<"$output"; echo $?)" "$output"
expect 'an older release: migrate' 1 'version 3, this program knows up to 2: use a newer one$' "$stint" db migrate
expect 'an older release: init' 1 'version 3, newer than this program, which knows up to 2$' "$stint" db init
expect 'an older release: policies' 0 '^api: created: max_requests 5, time_window_ms 1000, ' "$stint" policy set api --max-requests 5 --time-window-ms 1000

# With something to put right first: both is done, and told.
upgrade_sql 'grant select on stint.later_note to public'
expect 'migrate to a breaking version' 0 '' "$last" db migrate
prints '... tells all that is done' \
	'view stint.later_note: rights are PUBLIC SELECT, stint_auditor SELECT, should be stint_auditor SELECT: put right' \
	'migration 4, window: applied' 'agents made for version 4 or later can work with it; older ones must be updated now'
expect 'migrate again' 0 '' "$last" db migrate
prints '... has nothing to do' 'nothing to do: the schema has version 4'
upgrade_sql 'grant select on stint.later_note to public'
expect 'migrate, to put right only' 0 '' "$last" db migrate
prints '... tells only that' \
	'view stint.later_note: rights are PUBLIC SELECT, stint_auditor SELECT, should be stint_auditor SELECT: put right'
expect 'the older release again: which agents will do' 1 '^agents +those made for version 4 or later' "$next" db status
ok 'the policy is as it was' "$([[ $(upgrade_sql 'select name, max_requests from stint.policy') == 'api|5' ]]; echo $?)"

# All at once, from nothing; and a migration that fails: those before it are kept.
upgrade_sql 'create database fresh'
upgrade_sql 'create database broken'
export STINT_DATABASE=${conninfo/dbname=stint/dbname=fresh}
expect 'nothing there: status' 1 '^schema +none; this program has version 4$' "$last" db status
ok '... nothing is pending, nothing wrong' "$(! grep -qE 'pending|agents|objects|Problems|Hosts' <<<"$output"; echo $?)" "$output"
expect 'nothing there: status --json' 1 '"pending": \[\],' "$last" db status --json
ok '... neither problems nor hosts are known' \
	"$(grep -q '"problems": null,' <<<"$output" && grep -q '"hosts": null' <<<"$output"; echo $?)" "$output"
expect 'init of all versions' 0 '' "$last" db init
ok '... tells of each' "$([[ $(head -3 <<<"$output") == 'migration 2, limiter: applied
migration 3, note: applied
migration 4, window: applied' ]]; echo $?)" "$output"
export STINT_DATABASE=${conninfo/dbname=stint/dbname=broken}
"$stint" db init >/dev/null
"$psql" -XAtq "$STINT_DATABASE" -c 'create table stint.later_note ()'
expect 'a migration that fails: migrate' 1 'relation "later_note" already exists' "$last" db migrate
ok '... tells nothing else' "$([[ $(wc -l <<<"$output") -eq 1 ]]; echo $?)" "$output"
expect 'a migration that fails: it is as it was' 1 '^schema +version 2; this program has version 4$' "$last" db status

# From 0.1.0, whose schema makes room for this one's; by a user who is no superuser.
export STINT_DATABASE=$conninfo
upgrade_sql "create role installer login createrole"
upgrade_sql 'create database first'
upgrade_sql 'grant create on database first to installer'
export STINT_DATABASE=${conninfo/dbname=stint user=postgres/dbname=first user=installer}
first_sql() { "$psql" -XAtq -v ON_ERROR_STOP=1 "$STINT_DATABASE" "$@"; }
# As an agent of 0.1.0 asks, for one client of one policy.
was_granted() { # $1 policy's number, $2 client, $3 need, $4 for the next sub-window
	first_sql -c "select granted, granted_next from stint.take_leases(1, '{$1}', '{$2}', '{$3}', '{1}', '{$3}', '{$4}', '{0}', '{0}', '{0}', '{0}')"
}
# As one of now asks: prints how many credits it gets.
is_granted() { # $1 policy's number, $2 client, $3 need
	first_sql -c "select coalesce(max(granted + granted_next), 0) from stint.take_leases(1, array[$1], array['$2'], array[$3], '{1}', array[$3], '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}')"
}
first_sql -1 -f tests/cli/earlier/001_limiter.sql
ok '0.1.0: two policies, a limit and a block of clients, leases' "$([[ $(
	first_sql -c "select stint.set_policy('api', 100, 3600000, 300, 60000)" -c "select stint.set_policy('month', 10, 2678400000, null, null, 'fixed_window')"
	first_sql -c "select stint.set_override('api', 'bob', 7, 'slow')" -c "select stint.block_client('api', 'eve', 'scraper')" | tr -d '\n'
	was_granted 1 alice 60 30
	was_granted 2 alice 10 0) == $'1\n2\n60|10\n10|0' ]]; echo $?)" "$output"
expect '0.1.0: status' 1 '^pending   2, limiter: breaking, older agents must be updated with it$' "$stint" db status
ok '... tells no problems, since it knows none of that schema' "$(! grep -qE 'Problems|objects' <<<"$output"; echo $?)" "$output"
expect '0.1.0: migrate' 0 '' "$stint" db migrate
prints '... tells what is done, and which agents will do' 'migration 2, limiter: applied' \
	'agents made for version 2 or later can work with it; older ones must be updated now'
expect '0.1.0, migrated: status' 0 '^objects   all are there, with their owner and rights$' "$stint" db status
ok '... has both migrations, and nothing beside the schema' "$([[ $(first_sql -c 'select version from stint.migration order by 1' \
	-c "select nspname from pg_namespace where nspname like 'stint%'") == $'1\n2\nstint' ]]; echo $?)"
expect '... has the policies' 0 '^api +100 +3600000 +300 +60000 +sliding_window +10 +strict +no +yes$' "$stint" policy list
ok '... all of them' "$(grep -qE '^month +10 +2678400000 +20 +2678400000 +fixed_window ' <<<"$output"; echo $?)" "$output"
expect '... and the clients with limits of their own' 0 '^api +bob +no +7 +- .* slow$' "$stint" client list
ok '... and those that are blocked' "$(grep -qE '^api +eve +yes +- +- .* scraper$' <<<"$output"; echo $?)" "$output"
ok '... and the history, as it was' "$([[ $(first_sql -c "select string_agg(action, ' ' order by change_id) from stint.policy_history") == \
	'created created limited blocked' ]]; echo $?)"
ok '... what was leased is charged' "$([[ $(is_granted 1 alice 100)-$(is_granted 1 alice 1)-$(is_granted 2 alice 1) == 30-0-0 ]]; echo $?)"
ok '... a new policy has a number that none had' "$([[ $("$stint" policy set more --max-requests 1 --time-window-ms 1000 >/dev/null
	first_sql -c "select policy_id from stint.policy where name = 'more'") -eq 3 ]]; echo $?)"

# What must not be lost, and who must not be trusted.
# from_first NAME: a database of that name, which has the schema of 0.1.0.
from_first() {
	export STINT_DATABASE=$conninfo
	upgrade_sql "create database $1"
	export STINT_DATABASE=${conninfo/dbname=stint/dbname=$1}
	first_sql -1 -f tests/cli/earlier/001_limiter.sql
	first_sql -c "select stint.set_policy('api', 100, 3600000)" >/dev/null
}
from_first granting
first_sql -1 -c "select granted from stint.take_leases(1, '{1}', '{alice}', '{90}', '{1}', '{90}', '{0}', '{0}', '{0}', '{0}', '{0}')" \
	-c 'select pg_sleep(2)' >"$tmp/granted" &
granting=$!
# Until it has its row.
for ((i = 0; i < 100; i++)); do
	[[ $(first_sql -c "select count(*) from pg_locks where relation = 'stint.counter'::regclass and mode = 'RowExclusiveLock'") -eq 0 ]] || break
	sleep 0.05
done
expect '0.1.0: migrate while something is granted' 0 '^migration 2, limiter: applied$' "$stint" db migrate
wait $granting
ok '... that is charged' "$([[ $(head -1 "$tmp/granted")-$(is_granted 1 alice 100) == 90-10 ]]; echo $?)" "$(cat "$tmp/granted")"

from_first extended
first_sql -c 'create schema grafana' -c 'create view grafana.use as select * from stint.usage' -c 'create table stint.mine ()'
expect '0.1.0: migrate, with a view on it and a table in it' 1 'not made by stint: ' "$stint" db migrate
ok '... names both' "$(grep -q 'view grafana.use' <<<"$output" && grep -q 'table stint.mine' <<<"$output"; echo $?)" "$output"
first_sql -c 'drop view grafana.use' -c 'alter table stint.mine set schema grafana' -c 'create schema stint_before'
expect '0.1.0: migrate, where its second name is taken' 1 'there is a schema stint_before' "$stint" db migrate
first_sql -c 'drop schema stint_before' -c 'begin' -c 'create role not_stint' -c 'alter schema stint owner to not_stint' -c 'commit'
expect '0.1.0: migrate, of another owner' 1 'the schema stint belongs to "not_stint", who is neither stint_owner nor a superuser: ' "$stint" db migrate
expect '0.1.0: the same by hand' 3 'the schema stint belongs to not_stint, and not to stint_owner' \
	bash -o pipefail -c '"$0" db sql | "$1" -Xq -v ON_ERROR_STOP=1 "$2"' "$stint" "$psql" "$STINT_DATABASE"
first_sql -c 'alter schema stint owner to stint_owner'
expect '0.1.0: migrate, after all' 0 '^migration 2, limiter: applied$' "$stint" db migrate

export STINT_DATABASE=$conninfo
upgrade_sql 'create database trapped'
export STINT_DATABASE=${conninfo/dbname=stint/dbname=trapped}
first_sql -c 'create schema stint_before authorization not_stint' -c 'create view stint_before.policy as select 1/0 as policy_id'
expect "init beside a schema of that name that isn't stint's" 0 '^migration 2, limiter: applied$' "$stint" db init

export STINT_DATABASE=${conninfo/dbname=stint/dbname=twice}
upgrade_sql 'create database twice'
first_sql -1 -f tests/cli/earlier/001_limiter.sql
"$stint" db migrate >"$tmp/first" 2>&1 &
first=$!
"$stint" db migrate >"$tmp/second" 2>&1
ok '0.1.0: two migrate at once' $? "$(cat "$tmp/second")"
wait $first
ok '... and both end well' $? "$(cat "$tmp/first")"
ok '... but one does it' "$([[ $(cat "$tmp/first" "$tmp/second" | grep -c ': applied') -eq 1 ]]; echo $?)" "$(cat "$tmp/first" "$tmp/second")"
unset STINT_DATABASE
