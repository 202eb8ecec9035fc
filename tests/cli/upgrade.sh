# `stint db` across releases: this one's, one that has a migration more, and one that has two, of which the last is breaking.
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
expect 'a newer release: status' 1 '^schema +version 1; this program has version 3$' "$last" db status
ok '... tells what is pending, and what that means' \
	"$([[ $(grep -A3 '^agents' <<<"$output") == "agents    those made for version 1 or later can work with it
pending   2, note
pending   3, window: breaking, older agents must be updated with it
objects   all are there, with their owner and rights" ]]; echo $?)" "$output"
expect 'a newer release: status --json' 1 '"newest_version": 3,' "$last" db status --json
ok '... tells what is pending' "$(tr -d ' \n' <<<"$output" | grep -qF \
	'"pending":[{"version":2,"name":"note","breaking":false},{"version":3,"name":"window","breaking":true}],'; echo $?)" "$output"
expect 'a newer release: init' 1 'already there, version 1; "stint db migrate" brings it to version 3$' "$last" db init

expect 'migrate by one version' 0 '' "$next" db migrate
prints '... tells what is done, and which agents will do' 'migration 2, note: applied' \
	'agents made for version 1 or later can work with it; older ones must be updated now'
expect 'the version is the newest' 0 '^schema +version 2; this program has version 2$' "$next" db status
ok '... and nothing is pending' "$(! grep -q pending <<<"$output"; echo $?)" "$output"
expect 'an older release: status' 1 '^schema +version 2; this program has version 1$' "$stint" db status
ok '... sees nothing wrong' "$(grep -q '^objects   all are there' <<<"$output" && ! grep -q pending <<<"$output"; echo $?)" "$output"
expect 'an older release: migrate' 1 'version 2, this program knows up to 1: use a newer one$' "$stint" db migrate
expect 'an older release: init' 1 'version 2, newer than this program, which knows up to 1$' "$stint" db init
expect 'an older release: policies' 0 '^api: created: max_requests 5, time_window_ms 1000, ' "$stint" policy set api --max-requests 5 --time-window-ms 1000

# With something to put right first: both is done, and told.
upgrade_sql 'grant select on stint.later_note to public'
expect 'migrate to a breaking version' 0 '' "$last" db migrate
prints '... tells all that is done' \
	'view stint.later_note: rights are PUBLIC SELECT, stint_auditor SELECT, should be stint_auditor SELECT: put right' \
	'migration 3, window: applied' 'agents made for version 3 or later can work with it; older ones must be updated now'
expect 'migrate again' 0 '' "$last" db migrate
prints '... has nothing to do' 'nothing to do: the schema has version 3'
upgrade_sql 'grant select on stint.later_note to public'
expect 'migrate, to put right only' 0 '' "$last" db migrate
prints '... tells only that' \
	'view stint.later_note: rights are PUBLIC SELECT, stint_auditor SELECT, should be stint_auditor SELECT: put right'
expect 'the older release again: which agents will do' 1 '^agents +those made for version 3 or later' "$next" db status
ok 'the policy is as it was' "$([[ $(upgrade_sql 'select name, max_requests from stint.policy') == 'api|5' ]]; echo $?)"

# All at once, from nothing; and a migration that fails: those before it are kept.
upgrade_sql 'create database fresh'
upgrade_sql 'create database broken'
export STINT_DATABASE=${conninfo/dbname=stint/dbname=fresh}
expect 'nothing there: status' 1 '^schema +none; this program has version 3$' "$last" db status
ok '... nothing is pending, nothing wrong' "$(! grep -qE 'pending|agents|objects|Problems|Hosts' <<<"$output"; echo $?)" "$output"
expect 'nothing there: status --json' 1 '"pending": \[\],' "$last" db status --json
ok '... neither problems nor hosts are known' \
	"$(grep -q '"problems": null,' <<<"$output" && grep -q '"hosts": null' <<<"$output"; echo $?)" "$output"
expect 'init of all versions' 0 '' "$last" db init
ok '... tells of each' "$([[ $(head -3 <<<"$output") == 'migration 1, limiter: applied
migration 2, note: applied
migration 3, window: applied' ]]; echo $?)" "$output"
export STINT_DATABASE=${conninfo/dbname=stint/dbname=broken}
"$stint" db init >/dev/null
"$psql" -XAtq "$STINT_DATABASE" -c 'create table stint.later_note ()'
expect 'a migration that fails: migrate' 1 'relation "later_note" already exists' "$last" db migrate
ok '... tells nothing else' "$([[ $(wc -l <<<"$output") -eq 1 ]]; echo $?)" "$output"
expect 'a migration that fails: it is as it was' 1 '^schema +version 1; this program has version 3$' "$last" db status
unset STINT_DATABASE
