# What needs a database, and no agent.
# shellcheck shell=bash disable=SC2154

conninfo=$("$pg_cluster" start "$tmp/db" 2>/dev/null) || { echo "Bail out! no PostgreSQL: $("$pg_cluster" bindir 2>&1)"; exit 1; }
cleanups+=('"$pg_cluster" remove "$tmp/db"')
psql=$("$pg_cluster" client psql)
dsn_of() { sed "s/dbname=stint/dbname=$1/; s/user=postgres/user=${2:-postgres}/" <<<"$conninfo"; }
# What a test only prepares must succeed, too, or it tests nothing: counted at the end.
statement() { "$psql" -XAtq -v ON_ERROR_STOP=1 "$1" -c "$2" 2>>"$tmp/refused" || { echo "of: $2" >>"$tmp/refused"; return 1; }; }
# sql DATABASE STATEMENT...: each by itself, unaligned, as the superuser.
sql() {
	local database=$1 statement
	shift
	for statement in "$@"; do
		statement "$(dsn_of "$database")" "$statement" || return 1
	done
}
migrations=$("$stint" db sql | grep -cE '^-- Migration [0-9]+, ')
newest=$("$stint" db sql | sed -nE 's/^-- Migration ([0-9]+), .*/\1/p' | tail -1)

# ---- init: refused -------------------------------------------------------------

sql postgres "create database ascii encoding 'SQL_ASCII' template template0 locale 'C'" \
	'create role nobody login' 'create role maker login createrole' 'create role creator login' \
	'create database narrow' 'create database managed' 'create database foreign_schema' 'create database twice' \
	'create database by_hand' \
	'grant create on database managed to maker' 'grant create on database narrow to creator'
sql foreign_schema 'create schema stint'

expect 'init: wrong encoding' 1 'database "ascii" has the encoding SQL_ASCII, must be UTF8' \
	"$stint" --database "$(dsn_of ascii)" db init
said_once() { [[ $(wc -l <<<"$output") -eq 1 ]]; }
ok '... before anything is tried' "$(said_once; echo $?)" "$output"
expect 'init: no right to create' 1 'role "nobody" may not create a schema in the database "narrow"' \
	"$stint" --database "$(dsn_of narrow nobody)" db init
expect 'init: no right to create roles' 1 'role "creator" may not create roles' \
	"$stint" --database "$(dsn_of narrow creator)" db init
expect 'init: no such database' 4 'database "missing" does not exist' "$stint" --database "$(dsn_of missing)" db init
expect 'init: no such user' 4 'role "missing" does not exist' "$stint" --database "$(dsn_of stint missing)" db init
expect 'init: a schema of that name that is another' 1 'schema "stint" already exists' \
	"$stint" --database "$(dsn_of foreign_schema)" db init
expect 'status: before init' 1 '^schema +none; this program has version' "$stint" --database "$conninfo" db status
expect 'doctor: before init' 1 '^error +schema +there is none in this database; stint db init$' "$stint" --database "$conninfo" doctor
expect 'migrate: before init' 1 'there is no schema stint in the database "stint"; "stint db init"' \
	"$stint" --database "$conninfo" db migrate
expect 'policy list: before init' 1 '"stint db status" tells' "$stint" --database "$conninfo" policy list
expect 'policy drop: before init' 1 'schema "stint" does not exist; "stint db status" tells' "$stint" --database "$conninfo" policy drop a
expect 'policy drop: in a schema that is another' 1 'function stint.drop_policy.* does not exist.*; "stint db status" tells' \
	"$stint" --database "$(dsn_of foreign_schema)" policy drop a

# ---- init: done ------------------------------------------------------------------

export STINT_DATABASE=$conninfo
expect 'init' 0 '^migration 2, [a-z_]+: applied$' "$stint" db init
ok 'init: says how to make a login' "$(grep -q 'create role stintd login .* in role stint_agent' <<<"$output"; echo $?)" "$output"
ok 'init: says who else there is' "$(grep -q 'grant stint_operator to' <<<"$output" && grep -q 'stint_auditor to' <<<"$output"; echo $?)" "$output"
expect 'init again' 1 "the schema is already there, and at this program's version, $newest$" "$stint" db init
expect 'migrate with nothing to do' 0 "nothing to do: the schema has version $newest" "$stint" db migrate
expect 'status' 0 "^schema +version $newest; this program has version $newest" "$stint" db status
expect 'status: which agents will do' 0 '^agents +those made for version 2 or later can work with it$' "$stint" db status
expect 'status --json: which agents will do' 0 '"oldest_agent": 2,' "$stint" db status --json
expect 'status --json' 0 "\"schema_version\": $newest," "$stint" db status --json
# Any lock that whoever may connect can take is none for us. This one is held until the pipe is closed.
mkfifo "$tmp/lock"
"$psql" -XAtq "$(dsn_of managed nobody)" <"$tmp/lock" >"$tmp/locked" 2>&1 &
locker=$!
exec 8>"$tmp/lock"
echo "begin; select 'locked' from pg_advisory_xact_lock(495874305652);" >&8
ok 'somebody holds the lock' "$(wait_for 10 grep -q locked "$tmp/locked"; echo $?)" "$(cat "$tmp/locked")"
# Since PostgreSQL 16 who may create roles may only give away those that he made himself.
[[ $(sql postgres 'show server_version_num') -lt 160000 ]] || sql postgres 'grant stint_owner to maker'
expect 'init by a role that is no superuser, and nobody can hold it up' 0 ': applied' "$stint" --database "$(dsn_of managed maker)" db init
ok 'the lock was held meanwhile' "$(kill -0 "$locker"; echo $?)" "$(cat "$tmp/locked")"
exec 8>&-
wait "$locker"
expect 'status by that role' 0 "^schema +version $newest;" "$stint" --database "$(dsn_of managed maker)" db status
expect 'status without rights' 1 'permission denied for schema stint' "$stint" --database "$(dsn_of managed nobody)" db status
expect 'policy list without rights' 1 'permission denied .*; this needs the role stint_auditor: grant stint_auditor to "nobody"$' "$stint" --database "$(dsn_of managed nobody)" policy list

sql postgres 'grant stint_owner to creator'
expect 'init by who may not create roles, where all exist' 0 ': applied' "$stint" --database "$(dsn_of narrow creator)" db init

# What the server is, as the command asks for it: in this database the catalogue's own functions, which the planner puts in line, tell
# something else. (Only a superuser can do that. Functions and tables beside the catalogue tell it nothing.)
sql postgres 'create database pretended' 'create role heir login in role stint_operator' 'create role outsider login noinherit in role stint_operator'
"$stint" --database "$(dsn_of pretended)" db init >/dev/null
sql pretended "create function pg_catalog.real_setting(text) returns text language internal stable strict as 'show_config_by_name'"
# pretend VERSION STANDBY NAME STATUS PATTERN COMMAND...
pretend() {
	local version=$1 standby=$2
	shift 2
	sql pretended "create or replace function pg_catalog.current_setting(text) returns text language sql stable as \$\$
			select case \$1 when 'server_version_num' then '$version' when 'server_version' then 'as $version' else pg_catalog.real_setting(\$1) end \$\$" \
		"create or replace function pg_catalog.pg_is_in_recovery() returns bool language sql as 'select $standby'"
	expect "$1" "$2" "$3" "$stint" --database "$(dsn_of pretended)" "${@:4}"
}
pretend 149999 false 'init: an older server' 1 'the server is PostgreSQL as 149999, must be 15 or later$' db init
ok '... says that only' "$(said_once; echo $?)" "$output"
pretend 149999 false 'migrate: an older server' 1 'the server is PostgreSQL as 149999, must be 15 or later$' db migrate
ok '... says that only' "$(said_once; echo $?)" "$output"
pretend 150000 false 'init: the oldest server that will do' 1 'the schema is already there' db init
pretend 150000 true 'init: a standby' 1 'the server is a standby and takes no changes' db init
ok '... says that only' "$(said_once; echo $?)" "$output"
pretend 150000 true 'migrate: a standby' 1 'the server is a standby and takes no changes' db migrate
pretend 159999 false 'status: the server' 0 '^server +PostgreSQL as 159999, UTF8$' db status
ok '... the database, and who asks' "$(grep -qx 'database  pretended, as postgres' <<<"$output"; echo $?)" "$output"
pretend 150000 'pg_terminate_backend(pg_backend_pid())' 'a session that is ended' 4 'terminating connection' db status

expect 'status: who inherits' 0 '^stint_operator +heir +yes$' "$stint" --database "$conninfo" db status
ok '... or does not' "$(grep -qE '^stint_operator +outsider +no$' <<<"$output"; echo $?)" "$output"
# Since PostgreSQL 16 that is a matter of the membership, and there may be several.
if [[ $(sql postgres 'show server_version_num') -ge 160000 ]]; then
	sql postgres 'grant stint_operator to heir with inherit false' 'grant stint_operator to maker with admin true' \
		'set role maker; grant stint_operator to outsider with inherit true'
	expect 'status: who inherits, by the membership' 0 '^stint_operator +heir +no$' "$stint" --database "$conninfo" db status
	ok '... by one of two' "$([[ $(grep -cE '^stint_operator +outsider +yes$' <<<"$output") == 1 ]]; echo $?)" "$output"
	sql postgres 'revoke stint_operator from maker cascade'
fi

"$stint" --database "$(dsn_of twice)" db init >"$tmp/first" 2>&1 &
first=$!
"$stint" --database "$(dsn_of twice)" db init >"$tmp/second" 2>&1
wait $first
ok 'two inits at once: each migration is applied once' \
	"$([[ $(cat "$tmp/first" "$tmp/second" | grep -c ': applied') -eq $migrations ]]; echo $?)" "$(cat "$tmp/first" "$tmp/second")"
expect 'two inits at once: the schema is there' 0 "^schema +version $newest;" "$stint" --database "$(dsn_of twice)" db status

"$stint" db sql | "$psql" -Xq -v ON_ERROR_STOP=1 "$(dsn_of by_hand)" >"$tmp/by_hand" 2>&1
ok 'db sql: psql takes it' $? "$(cat "$tmp/by_hand")"
expect 'db sql: the same version' 0 "^schema +version $newest;" "$stint" --database "$(dsn_of by_hand)" db status
ok 'db sql: psql refuses it where it was applied' "$("$stint" db sql | "$psql" -Xq -v ON_ERROR_STOP=1 "$(dsn_of by_hand)" 2>&1 |
	grep -q 'schema "stint" already exists'; echo $?)"

# ---- restored dumps ----------------------------------------------------------------

# Into a cluster that has none of the roles, by who is no superuser.
# No pg_dump dumps what a newer server has: an older one's is moved to a newer server, then.
dumped=$conninfo
pg_dump=$("$pg_cluster" client pg_dump)
if [[ $("$pg_dump" --version | grep -oE '[0-9]+' | head -1) -lt $(($(sql postgres 'show server_version_num') / 10000)) ]]; then
	dumped=$(STINT_PG_BINDIR='' "$pg_cluster" start "$tmp/older" 2>/dev/null)
	cleanups+=('"$pg_cluster" remove "$tmp/older"')
	"$stint" --database "$dumped" db init >/dev/null
fi
"$pg_dump" -Fc "$dumped" -f "$tmp/dump"
ok 'a dump is made' $?
other=$("$pg_cluster" start "$tmp/other" 2>/dev/null)
cleanups+=('"$pg_cluster" remove "$tmp/other"')
other_sql() { statement "$other" "$1"; }
# What there is, whose it is and who may do what, in the form in which the schema looks at itself; and as PostgreSQL has it.
objects() { "$psql" -XAtq "$1" -c 'select kind, identity, owner, grants from stint.present_object order by 1, 2' \
	-c "select oid::regprocedure, proacl from pg_proc where pronamespace = 'stint'::regnamespace order by oid::regprocedure::text"; }
objects "$conninfo" >"$tmp/objects"
other_sql 'create role maker login createrole'
other_sql 'grant create on database stint to maker'
maker=${other/user=postgres/user=maker}
"$("$pg_cluster" client pg_restore)" -O -d "$maker" "$tmp/dump" 2>/dev/null
expect 'restored without roles: status' 1 '^role stint_agent: does not exist$' "$stint" --database "$maker" db status
ok 'restored without roles: whose it is' "$(grep -qx 'schema stint: belongs to maker, not to stint_owner' <<<"$output"; echo $?)" "$output"
ok 'restored without roles: who may' "$(grep -qE '^function stint.take_leases\(.*: rights are PUBLIC EXECUTE, should be stint_agent EXECUTE$' <<<"$output"; echo $?)" "$output"
expect 'restored without roles: status --json' 1 '"object": "role stint_agent",' "$stint" --database "$maker" db status --json
expect 'restored without roles: init' 1 'db migrate" puts them right' "$stint" --database "$maker" db init
expect 'restored without roles: migrate' 0 'schema stint: belongs to maker, not to stint_owner: put right' "$stint" --database "$maker" db migrate
ok 'restored without roles: tells which there were not' "$(grep -qx 'role stint_agent: does not exist: put right' <<<"$output"; echo $?)" "$output"
expect 'restored without roles: nothing is left to do' 0 "nothing to do: the schema has version $newest" "$stint" --database "$maker" db migrate
expect 'restored without roles: status afterwards' 0 '^objects +all are there, with their owner and rights$' "$stint" --database "$maker" db status
objects "$other" >"$tmp/mended"
ok 'restored without roles: all is as it was made' "$(cmp -s "$tmp/objects" "$tmp/mended"; echo $?)" "$(diff "$tmp/objects" "$tmp/mended")"
expect 'restored without roles: who is a member, once' 0 '^stint_owner +maker +yes$' "$stint" --database "$maker" db status
ok 'a member is listed once' "$([[ $(grep -c '^stint_owner ' <<<"$output") == 1 ]]; echo $?)" "$output"

# Whatever somebody does with owners and rights: chosen by a hash, so the same at each run.
for seed in 1 2 3; do
	other_sql "do \$\$
	declare
		o record;
		what text;
	begin
		for o in select * from stint.present_object where kind in ('schema', 'table', 'view', 'function', 'sequence') loop
			what := case o.kind when 'view' then 'table' else o.kind end || ' ' || o.identity;
			case mod(abs(hashtext(o.identity || '$seed')), 7)
				when 0 then if o.kind <> 'sequence' then execute format('alter %s %s owner to postgres', o.kind, o.identity); end if;
				when 1 then execute format('grant all on %s to public', what);
				when 2 then execute format('grant all on %s to stint_auditor with grant option', what);
				when 3 then execute format('revoke all on %s from stint_agent, stint_operator', what);
				else null;
			end case;
		end loop;
	end \$\$"
	expect "broken by chance, $seed: status" 1 '^Problems' "$stint" --database "$other" db status
	expect "broken by chance, $seed: migrate" 0 ': put right$' "$stint" --database "$other" db migrate
	objects "$other" >"$tmp/mended"
	ok "broken by chance, $seed: all is as it was made" "$(cmp -s "$tmp/objects" "$tmp/mended"; echo $?)" "$(diff "$tmp/objects" "$tmp/mended")"
done

# Rows without the sequences, as logical replication leaves them.
other_sql "insert into stint.agent_host (host_id, name, instance, version, state, state_since, started_at, seen_at) overriding system value
	values (41, 'replicated', 'i', 'v', 'stopped', now(), now(), now())"
expect 'a sequence is behind: status' 1 'sequence stint.agent_host_host_id_seq: is behind its table' "$stint" --database "$other" db status
expect 'a sequence is behind: migrate' 0 'put right$' "$stint" --database "$other" db migrate
ok 'a sequence is behind: the next number is free' "$([[ $(other_sql "select nextval('stint.agent_host_host_id_seq')") == 42 ]]; echo $?)"

# Rows that were not restored.
one_row_tables='stint.change_queue, stint.expiry, stint.fleet, stint.schema_identity'
for table in ${one_row_tables//,/}; do other_sql "delete from $table"; done
expect 'rows are missing: status' 1 'table stint.change_queue: has lost its row' "$stint" --database "$other" db status
expect 'rows are missing: migrate' 0 'table stint.schema_identity: has lost its row: put right' "$stint" --database "$other" db migrate
ok 'rows are missing: one of each is back' "$([[ $(other_sql "select count(*) from $one_row_tables") == 1 ]]; echo $?)"

# Who may see all and change nothing. (He is no member of stint_owner.)
other_sql 'create role reader login in role pg_read_all_data'
reader=${other/user=postgres/user=reader}
expect 'a reader: status' 0 '^objects +all are there' "$stint" --database "$reader" db status
expect 'a reader: migrate with nothing to do' 0 "nothing to do: the schema has version $newest" "$stint" --database "$reader" db migrate
other_sql 'grant select on stint.policy to public'
expect 'rights are wrong: doctor' 1 '^error +owners and rights +1 are not as they were made, such as table stint.policy: rights are PUBLIC SELECT.*; stint db migrate' \
	"$stint" --database "$other" doctor
expect 'rights are wrong: status' 1 '^table stint.policy: rights are PUBLIC SELECT' "$stint" --database "$reader" db status
expect 'a reader: migrate' 1 '(reader is not its member|permission denied)' "$stint" --database "$reader" db migrate
ok 'a reader: tells nothing else' "$(said_once; echo $?)" "$output"
other_sql 'alter table stint.counter owner to postgres'
expect 'an owner is wrong: migrate by who may not change that' 1 'must be owner of table counter$' "$stint" --database "$maker" db migrate
ok '... tells nothing else' "$(said_once; echo $?)" "$output"
expect 'an owner is wrong: it stays so' 1 '^table stint.counter: belongs to postgres, not to stint_owner$' "$stint" --database "$reader" db status
other_sql 'alter table stint.counter owner to stint_owner'
other_sql 'delete from stint.fleet'
other_sql 'alter table stint.fleet add column unknown int not null'
expect 'a row that can not be: migrate' 1 'null value in column "unknown"' "$stint" --database "$maker" db migrate
ok '... tells nothing else' "$(said_once; echo $?)" "$output"
expect '... and has done nothing' 1 '^table stint.policy: rights are PUBLIC SELECT' "$stint" --database "$maker" db status
other_sql 'alter table stint.fleet drop column unknown'
expect 'migrate, after all that' 0 'table stint.fleet: has lost its row: put right' "$stint" --database "$maker" db migrate
ok '... puts all right' "$(grep -q '^table stint.policy: rights .*: put right$' <<<"$output"; echo $?)" "$output"

# The schema's owner may fill its tables and make its views as he likes: nothing of that is run.
other_sql "update stint.schema_object set grants = array['stint_agent EXECUTE; create role intruder superuser; --'] where kind = 'function'"
other_sql "create or replace view stint.present_object as select 'function' as kind, 'x owner to maker; create role intruder; --' as identity,
	'maker'::name as owner, '{}'::text[] collate \"C\" as grants"
expect 'a hostile owner: migrate' 1 'rights are' "$stint" --database "$other" db migrate
ok 'a hostile owner: nothing of his is run' "$([[ $(other_sql "select count(*) from pg_roles where rolname = 'intruder'") == 0 ]]; echo $?)"

# A trigger of his would run when a row is put back, and might take a superuser's rights: see hostile.sh.
other_sql 'create table public.seen (who text)'
other_sql 'grant insert on public.seen to public'
other_sql 'create function public.see() returns trigger language plpgsql as $$ begin insert into public.seen values (current_user); return new; end $$'
other_sql 'create trigger z_see before insert on stint.fleet for each row execute function public.see()'
other_sql 'delete from stint.fleet'
expect 'a hostile owner: a trigger' 1 'table stint.fleet has a trigger, not by stint: ' "$stint" --database "$other" db migrate
ok 'a hostile owner: his trigger is not run' "$([[ $(other_sql 'select count(*) from public.seen') == 0 ]]; echo $?)"
other_sql 'drop trigger z_see on stint.fleet'

# What nobody can put right but who restores.
other_sql 'drop trigger c_record_update on stint.policy'
other_sql 'alter table stint.client_override disable trigger b_stamp'
expect 'something is missing: status' 1 '^trigger c_record_update on stint.policy: is missing' "$stint" --database "$other" db status
ok 'something is disabled: status' "$(grep -q '^trigger b_stamp on stint.client_override: is missing' <<<"$output"; echo $?)" "$output"
expect 'something is missing: migrate' 1 'trigger c_record_update on stint.policy: is missing' "$stint" --database "$other" db migrate
ok '... and is not put right' "$(! grep -q 'is missing.*: put right' <<<"$output"; echo $?)" "$output"
other_sql 'alter table stint.schema_object rename grants to given'
expect 'what is compared with is another: status' 1 'schema stint: column s.grants does not exist' "$stint" --database "$other" db status
other_sql 'drop table stint.schema_object'
expect 'what is compared with is missing: status' 1 'schema stint: relation "stint.schema_object" does not exist' "$stint" --database "$other" db status
"$pg_cluster" remove "$tmp/other"

# ---- policies -------------------------------------------------------------------

expect 'policy list: none' 0 '^\(none\)$' "$stint" policy list
expect 'policy list --json: none' 0 '^\[\]$' "$stint" policy list --json
expect 'policy set' 0 '^api: created: max_requests 100, time_window_ms 60000, fallback_max_requests 200 by default, .* by default, pinned$' \
	"$stint" policy set api --max-requests 100 --time-window-ms 60000 >/dev/null
expect 'policy set: the same again' 0 '^nothing has changed: it was like that$' "$stint" policy set api --max-requests 100
expect 'policy set: one of two' 0 '^api: max_requests 100 → 90, fallback_max_requests 200 → 180 by default$' "$stint" policy set api --max-requests 90
expect 'policy set: what has no default' 0 '^api: fallback_max_requests 180 → 5$' "$stint" policy set api --fallback-max-requests 5
expect 'policy set: ... stays' 0 '^api: max_requests 90 → 100$' "$stint" policy set api --max-requests 100
expect 'policy set: back to the default' 0 '^api: fallback_max_requests 5 → 200$' "$stint" policy set api --fallback-max-requests 200
expect 'policy set: a new name that may be a mistake' 0 'warning: "appi" is a new policy, beside "api"; .*"stint policy drop appi"' \
	"$stint" policy set appi --max-requests 1 --time-window-ms 1000 >/dev/null
expect 'policy drop: nothing goes with it' 0 '^appi: dropped: max_requests 1, ' "$stint" policy drop appi
expect 'policy set: half of a new one' 2 'there is no policy "appi"; did you mean "api"' "$stint" policy set appi --max-requests 1
ok '... says what it needs' "$(grep -q 'a new policy needs --max-requests and --time-window-ms' <<<"$output"; echo $?)" "$output"
expect 'policy list' 0 '^api +100 +60000 +200 +60000 +sliding_window +20 +strict +no +yes$' "$stint" policy list
expect 'policy set: all options' 0 '^api: max_requests 100 → 7, .*, resolution 20 → 30, mode strict → relaxed$' "$stint" policy set api --max-requests=7 --time-window-ms=5000 \
	--fallback-max-requests 8 --fallback-time-window-ms 6000 --algorithm fixed_window --resolution 30 --mode relaxed
expect 'policy list: all options' 0 '^api +7 +5000 +8 +6000 +fixed_window +30 +relaxed +no +yes$' "$stint" policy list
expect 'policy set: the largest numbers' 0 '^most: created: ' "$stint" policy set most --max-requests 1000000000 \
	--time-window-ms 2678400000 --fallback-max-requests 2000000000 --fallback-time-window-ms 2678400000 --resolution 60
expect 'policy set: the smallest numbers' 0 '^least: created: ' "$stint" policy set least --max-requests 1 --time-window-ms 100 \
	--fallback-max-requests 1 --fallback-time-window-ms 100 --resolution 10
expect 'policy set: a long name' 0 '^0+: created: ' "$stint" policy set "$(printf '%063d' 0)" --max-requests 1 --time-window-ms 1000
expect 'policy list --json' 0 '"fallback_max_requests": 2000000000,' "$stint" policy list --json
expect 'policy set: a shadow, and its limits stay' 0 '^api: shadow$' "$stint" policy set api --shadow
expect 'policy list: a shadow' 0 '^api +7 +5000 +8 +6000 +fixed_window +30 +relaxed +yes +yes$' "$stint" policy list
expect 'policy set: without a word it stays a shadow' 0 '^api: max_requests 7 → 9$' "$stint" policy set api --max-requests 9 --time-window-ms 5000
expect 'policy list: still a shadow' 0 '^api +9 +5000 +8 +6000 +fixed_window +30 +relaxed +yes +yes$' "$stint" policy list
expect 'policy set: no shadow any more' 0 '^api: max_requests 9 → 7, not shadow$' "$stint" policy set api --max-requests 7 --time-window-ms 5000 --no-shadow
expect 'policy list: no shadow any more' 0 '^api +7 +5000 .* +relaxed +no +yes$' "$stint" policy list

# Another of the same login, whose turn is before: both wait for a third.
mkfifo "$tmp/third"
"$psql" -XAtq "$conninfo" <"$tmp/third" >"$tmp/third.log" 2>&1 &
third=$!
exec 8>"$tmp/third"
echo "begin; select stint.set_policy('api', max_requests => 8); select 'is in the queue';" >&8
wait_for 10 grep -q 'in the queue' "$tmp/third.log"
wait_in_queue() { [[ $(sql stint "select count(*) from pg_stat_activity where wait_event_type = 'Lock'") = "$1" ]]; }
sql stint "select stint.set_policy('api', max_requests => 7)" >/dev/null &
before=$!
wait_for 10 wait_in_queue 1
"$stint" policy set api --resolution 31 >"$tmp/own.log" 2>&1 &
own=$!
wait_for 10 wait_in_queue 2
echo 'commit;' >&8
exec 8>&-
wait "$own" "$before" "$third"
ok 'policy set: what another has changed meanwhile is not told as its own' "$([[ $(cat "$tmp/own.log") = 'api: resolution 30 → 31' ]]; echo $?)" "$(cat "$tmp/own.log")"
"$stint" policy set api --resolution 30 >/dev/null
expect 'policy set: a new policy that is a shadow' 0 '^dark: created: .*, shadow, pinned$' "$stint" policy set dark --max-requests 7 --time-window-ms 5000 --shadow
expect 'policy list: it is one' 0 '^dark +7 .* +yes +yes$' "$stint" policy list
expect 'policy set: a shadow of no policy' 2 'policy set: there is no policy "missing"; "stint policy list" shows those that exist$' "$stint" policy set missing --no-shadow
expect 'policy unpin' 0 '^api: its limits stay until an app declares others, ' "$stint" policy unpin api
expect 'policy list: unpinned' 0 '^api .* no$' "$stint" policy list
expect 'policy unpin: none of that name' 2 'missing' "$stint" policy unpin missing
expect 'policy drop: none of that name' 2 'policy drop: there is no policy "missing"; "stint policy list" shows those that exist$' "$stint" policy drop missing

# ---- clients ------------------------------------------------------------------------

sql postgres 'create role auditor login in role stint_auditor'
hostile=$'a\'; drop schema stint cascade; --\n\e[31m'
override() { sql stint "select max_requests, blocked, note from stint.client_override where client_id = '$1'"; }
expect 'client block' 0 "^api bob: blocked, note \"it's abuse\"\$" "$stint" client block api bob --note "it's abuse"
ok 'client block: is there' "$([[ $(override bob) == "|t|it's abuse" ]]; echo $?)" "$(override bob)"
expect 'client limit' 0 '^api bob: not blocked, max_requests 3, no note$' "$stint" client limit api bob --max-requests 3
ok 'client limit: is there' "$([[ $(override bob) == 3\|* ]]; echo $?)" "$(override bob)"
expect 'client list' 0 '^api +bob +no +3 +- +20[0-9TZ:.-]+ +postgres +-$' "$stint" client list
# lasts CLIENT: for how many seconds it is limited, and blocked.
lasts() { sql stint "select round(extract(epoch from limited_until - changed_at)), round(extract(epoch from blocked_until - changed_at))
	from stint.client_override where client_id = '$1'"; }
expect 'client block: for a while' 0 '^api bob: blocked, blocked_until 20[^ ]+, note "calm down"$' "$stint" client block api bob --for 10m --note 'calm down'
ok 'client block: ... for so long' "$([[ $(lasts bob) == '|600' ]]; echo $?)" "$(lasts bob)"
expect 'client list: until when' 0 '^api +bob +yes +3 +20[0-9TZ:.-]+ +20[0-9TZ:.-]+ +postgres +calm down$' "$stint" client list
expect 'client list --json: until when' 0 '"until": "20[0-9-]{8}T[0-9:.]{12}Z"' "$stint" client list --json
expect 'client limit: for a while' 0 '^api bob: not blocked, no blocked_until, limited_until 20[^ ]+, no note$' "$stint" client limit api bob --max-requests 3 --for=2d
ok 'client limit: ... for so long' "$([[ $(lasts bob) == '172800|' ]]; echo $?)" "$(lasts bob)"
expect 'client list: until when a limit holds' 0 '^api +bob +no +3 +20[0-9TZ:.-]+ +20[0-9TZ:.-]+ +postgres +-$' "$stint" client list
for duration in 1s 45s 3h 365d; do
	"$stint" client block api timed --for $duration >/dev/null
	sql stint "select round(extract(epoch from blocked_until - changed_at)) from stint.client_override where client_id = 'timed'"
done >"$tmp/timed"
ok 'client block: of any unit' "$([[ $(paste -sd ' ' "$tmp/timed") == '1 45 10800 31536000' ]]; echo $?)" "$(cat "$tmp/timed")"
sql stint "update stint.client_override set blocked_until = now() where client_id = 'timed'"
ok 'client list: what has ended is not shown' "$("$stint" client list | grep -q timed; [[ $? == 1 ]]; echo $?)"
sql stint "select from stint.expire_counters(1)"
expect 'policy history: what has ended by itself' 0 ' ended +api +timed +blocked, blocked_until 20' "$stint" policy history api
expect 'client limit: without an end again' 0 '^api bob: no limited_until$' "$stint" client limit api bob --max-requests 3
expect 'client list: of one policy' 0 '^\(none\)$' "$stint" client list most
expect 'client list --json' 0 '"client_id": "bob"' "$stint" client list api --json
expect 'client clear' 0 '^api bob: cleared: max_requests 3$' "$stint" client clear api bob
ok 'client clear: is gone' "$([[ -z $(override bob) ]]; echo $?)" "$(override bob)"
expect 'client clear: none there' 2 "client 'bob' of policy 'api' has no block, and no limit of its own; \"stint client list api\"" "$stint" client clear api bob
"$stint" client block api bobby >/dev/null
expect 'client clear: nearly there' 2 'has no block, and no limit of its own; did you mean "bobby"\?$' "$stint" client clear api bobyb
"$stint" client clear api bobby >/dev/null
expect 'client list: no such policy' 2 '^stint client list: there is no policy "apl"; did you mean "api"\?$' "$stint" client list apl
expect 'client list --json: no such policy' 2 '^stint client list: there is no policy "missing"; ' "$stint" client list missing --json
expect 'client block: no such policy' 2 'missing' "$stint" client block missing bob
expect 'client block: no UTF-8' 2 'not UTF-8 from byte 1 on' "$stint" client block api $'\xff\xfe'
expect 'client block: the longest id' 0 '^api 0+: blocked$' "$stint" client block api "$(printf '%0255d' 0)"
expect 'client block: a hostile id' 0 '^api a.; drop schema stint cascade; --.x0a.x1b.31m: blocked$' "$stint" client block api "$hostile"
expect 'policy history: it is escaped' 0 '\\x0a\\x1b' "$stint" policy history api

# charged CLIENT RESOLUTION: 3 in this sub-window, 4 in the one before.
charged() {
	sql stint "insert into stint.counter (policy_id, client_id, current_us, sub_window_us, turn, servers, servers_before, max_requests, request, granted, granted_next,
		charged, early, ahead, resolution, span, counts) select policy_id, '$1', floor(extract(epoch from now()) - 10)::bigint * 1000000, 500000000, 1, 1, 0, 7, 1, 0, 0, 0, 0, 0, $2, 0, '{3,4}'
		from stint.policy where name = 'api'"
}
charged bob 0
charged carl 20
expect 'client show: the limit is used up' 0 '^verdict +denied: its limit is used up; 4 free again at 20[^ ]+Z, all at 20' "$stint" client show api carl
ok '... its limit' "$(grep -qE '^limit +7 in 5 s$' <<<"$output"; echo $?)" "$output"
ok '... what may be unspent' "$(grep -qE '^leases +up to 3 unspent, on 1 hosts, until 20' <<<"$output"; echo $?)" "$output"
ok '... what is charged when' "$([[ $(grep -cE '^20[^ ]+Z +20[^ ]+Z +[34] +20[^ ]+Z$' <<<"$output") == 2 ]]; echo $?)" "$output"
ok '... no agent' "$(grep -q "^This host's agent: " <<<"$output"; echo $?)" "$output"
expect 'client show: by an auditor' 0 '^verdict +denied' "$stint" --database "$(dsn_of stint auditor)" client show api carl
expect 'client show: a block' 0 '^verdict +denied: blocked, by postgres$' "$stint" client show api "$hostile"
ok '... the id is escaped' "$(grep -qF 'cascade; --\x0a\x1b[31m' <<<"$output"; echo $?)" "$output"
expect 'client show: nothing is known' 0 '^verdict +admitted: nothing of its limit is used$' "$stint" client show api new
expect 'client show: no such policy' 2 'there is no policy "apl"; did you mean "api"' "$stint" client show apl bob
expect 'client show --json' 0 '"remaining": 0,' "$stint" client show api carl --json

# A year's history may be long: to read all of it takes seconds, in which nobody else could change anything.
sql stint "insert into stint.change (at, changed_by, action, policy_id, policy_name, client_id)
	select now() - interval '1 day', 'app', 'blocked', 1, 'api', 'old ' || i from generate_series(1, 20000) i" 'analyze stint.change'
history_read() { sql stint "select pg_stat_get_tuples_returned('stint.change'::regclass)"; }
read_before=$(history_read)
expect 'a long history: client block' 0 '^api latest: blocked$' "$stint" client block api latest
expect '... that changes nothing' 0 '^nothing has changed' "$stint" client block api latest
expect '... client show' 0 'blocked' "$stint" client show api 'old 7'
ok '... is not read from end to end' "$([[ $(history_read) -eq $read_before ]]; echo $?)" "$read_before rows before, $(history_read) now"
sql stint "delete from stint.change where client_id like 'old %'" "select stint.clear_override('api', 'latest')" >/dev/null
expect 'client reset' 0 '^ *4 +3$' "$stint" client reset api bob
expect 'client reset --json' 0 '"forgotten": 0' "$stint" client reset api bob --json
expect 'client reset: one that was never counted' 0 '^ *0 +0$' "$stint" client reset api nobody
expect 'client reset: no such policy' 2 'there is no policy "missing"' "$stint" client reset missing bob

# ---- history ------------------------------------------------------------------------

expect 'policy history: of all' 0 'least' "$stint" policy history
expect 'policy history --json' 0 '"changed_by": "postgres"' "$stint" policy history api --json
ok 'policy history: of one only' "$(! grep -q least <<<"$output"; echo $?)" "$output"
expect 'policy history: ISO times' 0 '"at": "20[0-9-]{8}T[0-9:.]{12}Z"' "$stint" policy history api --json
expect 'policy history: none of that name' 2 '^stint policy history: there is no policy "missing"; ' "$stint" policy history missing
expect 'policy history --json: nearly one of that name' 2 '; did you mean "least"\?$' "$stint" policy history leats --json
expect 'policy history: what was set' 0 \
	' created +api +- +max_requests 100, time_window_ms 60000, fallback_max_requests 200, fallback_time_window_ms 60000, algorithm sliding_window, resolution 20, mode strict, pinned$' \
	"$stint" policy history api
changes() { grep -cE -- "$1" <<<"$output"; }
ok 'policy history: what was changed' "$([[ $(changes ' changed +api +- +max_requests 100 → 7, time_window_ms 60000 → 5000, fallback_max_requests 200 → 8, .*, algorithm sliding_window → fixed_window, resolution 20 → 30, mode strict → relaxed$') == 1 ]]; echo $?)" "$output"
ok 'policy history: a shadow' "$([[ $(changes ' changed +api +- +shadow$') == 1 ]]; echo $?)" "$output"
ok 'policy history: no shadow any more' "$([[ $(changes ' changed +api +- +max_requests 9 → 7, not shadow$') == 1 ]]; echo $?)" "$output"
ok 'policy history: unpinned' "$([[ $(changes ' unpinned +api +- +not pinned$') == 1 ]]; echo $?)" "$output"
ok 'policy history: blocked' "$([[ $(changes " blocked +api +bob +blocked, note \"it's abuse\"\$") == 1 ]]; echo $?)" "$output"
ok 'policy history: limited' "$([[ $(changes ' limited +api +bob +not blocked, max_requests 3, no note$') == 1 ]]; echo $?)" "$output"
ok 'policy history: blocked for a while' "$([[ $(changes ' blocked +api +bob +blocked, blocked_until 20[^ ,]+, note "calm down"$') == 1 ]]; echo $?)" "$output"
ok 'policy history: reset' "$([[ $(changes ' reset +api +bob +kept 3, forgotten 4$') == 1 ]]; echo $?)" "$output"
ok 'policy history: limited for a while' "$([[ $(changes ' limited +api +bob +not blocked, no blocked_until, limited_until 20[^ ,]+, no note$') == 1 ]]; echo $?)" "$output"
ok 'policy history: cleared' "$([[ $(changes ' cleared +api +bob +max_requests 3$') == 1 ]]; echo $?)" "$output"
ok 'policy history: no JSON' "$(! grep -q '[{}]' <<<"$output"; echo $?)" "$output"
expect 'policy history --json: the rows' 0 '"old": \{' "$stint" policy history api --json
expect 'policy history: by an auditor' 0 'least' "$stint" --database "$(dsn_of stint auditor)" policy history
expect 'db status: by an auditor' 0 "^schema +version $newest;" "$stint" --database "$(dsn_of stint auditor)" db status
expect 'policy list: by an auditor' 0 '^least ' "$stint" --database "$(dsn_of stint auditor)" policy list
expect 'client list: by an auditor' 0 '^api .* yes ' "$stint" --database "$(dsn_of stint auditor)" client list
expect 'client block: an auditor may not' 1 'permission denied .*; this needs the role stint_operator: grant stint_operator to "auditor"$' "$stint" --database "$(dsn_of stint auditor)" client block api bob
sql postgres 'create role agent login in role stint_agent'
as_agent=("$stint" --database "$(dsn_of stint agent)")
expect 'db status: by an agent' 0 "^schema +version $newest;" "${as_agent[@]}" db status
ok '... what it may not see' "$([[ $(grep -A1 -E '^(Problems|Hosts)' <<<"$output" | grep -cx '(not readable for this user)') == 2 ]]; echo $?)" "$output"
expect 'db status --json: by an agent' 0 '"problems": null,' "${as_agent[@]}" db status --json
sql postgres 'create role operator login in role stint_operator'
operator=("$stint" --database "$(dsn_of stint operator)")
expect 'client block: by an operator' 0 '^api eve: blocked, note "spam"$' "${operator[@]}" client block api eve --note spam
expect 'client list: by an operator' 0 '^api +eve +yes +- +- .* operator +spam$' "${operator[@]}" client list api
expect 'client unblock: by an operator' 0 '^api eve: cleared: blocked, note "spam"$' "${operator[@]}" client unblock api eve
expect 'client unblock: of nobody blocked' 2 "client 'eve' of policy 'api' is not blocked; \"stint client list api\" shows all exceptions" "${operator[@]}" client unblock api eve
expect 'client limit: by an operator' 0 '^api eve: max_requests 5$' "${operator[@]}" client limit api eve --max-requests 5
expect 'client reset: by an operator' 0 '^ *0 +0$' "${operator[@]}" client reset api eve
expect 'client reset: an auditor may not' 1 'permission denied' "$stint" --database "$(dsn_of stint auditor)" client reset api eve
expect 'client clear: by an operator' 0 '^api eve: cleared: max_requests 5$' "${operator[@]}" client clear api eve
expect 'policy set: by an operator' 0 '^theirs: created: ' "${operator[@]}" policy set theirs --max-requests 5 --time-window-ms 1000
expect 'policy unpin: by an operator' 0 '^theirs: not pinned$' "${operator[@]}" policy unpin theirs
expect 'policy list: by an operator' 0 '^theirs .* no$' "${operator[@]}" policy list
"${operator[@]}" client block theirs eve >/dev/null
expect 'policy drop: something would go with it' 1 "with policy 'theirs' would go 1 blocks and 0 limits of clients' own" "${operator[@]}" policy drop theirs
ok '... says how to' "$(grep -q 'if they may go, too: --yes' <<<"$output"; echo $?)" "$output"
expect 'policy drop: an auditor may not' 1 'permission denied' "$stint" --database "$(dsn_of stint auditor)" policy drop theirs
ok '... whatever he says' "$(! grep -q -e '--yes' <<<"$output"; echo $?)" "$output"
expect 'policy drop: by an operator' 0 '^theirs: with it 1 exceptions of clients; ' "${operator[@]}" policy drop theirs --yes
sql stint "select from stint.declare_policy('theirs', 5, 1000, 10, 1000, 'sliding_window', 10, 'strict', false, false)"
expect 'policy history: an app brings a dropped policy back' 0 ' brought back +theirs ' "${operator[@]}" policy history theirs
expect 'doctor: ... until it is set' 1 '^warning +dropped policies +brought back by apps that declare them: theirs \(by operator\); ' "${operator[@]}" doctor
ok '... and what an operator may not see' "$(grep -qE "^warning +owners and rights +can.t be looked at: permission denied" <<<"$output"; echo $?)" "$output"
"${operator[@]}" policy drop theirs >/dev/null
expect 'policy history: by an operator' 0 ' operator +dropped +theirs ' "${operator[@]}" policy history
expect 'policy set: an auditor may not' 1 'permission denied' \
	"$stint" --database "$(dsn_of stint auditor)" policy set api --max-requests 1 --time-window-ms 1000
expect 'policy set: by an owner who is no superuser' 0 '^api: created: ' \
	"$stint" --database "$(dsn_of managed maker)" policy set api --max-requests 1 --time-window-ms 1000
for command in 'policy list' 'policy history' 'db status' 'db status --json' 'policy list --json'; do
	# shellcheck disable=SC2086
	expect "$command to a full disk" 5 'No space left|written' bash -c '"$0" "$@" >/dev/full' "$stint" $command
done
expect 'policy drop' 0 '^api: with it 2 exceptions of clients; ' "$stint" policy drop api --yes
expect 'policy history: outlives the policy' 0 'api' "$stint" policy history api

# ---- versions, and a server that goes away -----------------------------------------------

sql twice "insert into stint.migration select (jsonb_populate_record(m, '{\"version\": 999}')).* from stint.migration m limit 1"
expect 'migrate: a schema that is newer' 1 "the schema has version 999, this program knows up to $newest" \
	"$stint" --database "$(dsn_of twice)" db migrate
expect 'init: a schema that is newer' 1 "already there, version 999, newer than this program, which knows up to $newest" \
	"$stint" --database "$(dsn_of twice)" db init
expect 'doctor: a schema that is newer' 1 "^warning +schema +version 999, this program has $newest; install" "$stint" --database "$(dsn_of twice)" doctor
expect 'status: a schema that is newer' 1 '^schema +version 999' "$stint" --database "$(dsn_of twice)" db status
expect 'status: a newer one that is breaking' 1 '^agents +those made for version 999 or later' \
	"$stint" --database "$(dsn_of twice)" db status
# In a container root may see less of others' processes.
if [[ $(id -u) -eq 0 ]]; then
	expect 'the server is found by root who may not trace' 0 '^[0-9]+$' \
		setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace "$pg_cluster" pid "$tmp/db"
fi
"$pg_cluster" pause "$tmp/db" 2>/dev/null
expect 'a server that is paused' 4 'no connection within 5000 ms' "$stint" policy list
"$pg_cluster" resume "$tmp/db"
"$pg_cluster" stop "$tmp/db"
expect 'a server that is down' 4 "can't connect to the database" "$stint" policy list
unset STINT_DATABASE
ok 'what the tests themselves asked for was done' "$(! grep -q '^of: ' "$tmp/refused"; echo $?)" "$(cat "$tmp/refused")"
