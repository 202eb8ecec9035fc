# A schema that somebody else made, or may change, and a search_path of his: a superuser who runs `stint` runs nothing of it.
# shellcheck shell=bash disable=SC2154

conninfo=$("$pg_cluster" start "$tmp/hostile" 2>/dev/null) || { echo "Bail out! no PostgreSQL: $("$pg_cluster" bindir 2>&1)"; exit 1; }
cleanups+=('"$pg_cluster" remove "$tmp/hostile"')
psql=$("$pg_cluster" client psql)
of() { sed "s/dbname=stint/dbname=$1/; s/user=postgres/user=${2:-postgres}/" <<<"$conninfo"; } # DATABASE [USER]
# hostile_sql DATABASE USER STATEMENT...: what can't be prepared tests nothing, so it is counted at the end.
hostile_sql() {
	local dsn statement
	dsn=$(of "$1" "$2")
	shift 2
	for statement in "$@"; do
		PGOPTIONS='-c client_min_messages=warning' "$psql" -XAtq -v ON_ERROR_STOP=1 "$dsn" -c "$statement" 2>>"$tmp/unprepared" || echo "of: $statement" >>"$tmp/unprepared"
	done
}
# Also in a transaction that changes nothing a function can say who runs it.
runs() { grep -c 'mallory runs as postgres' "$tmp/hostile/pg/log"; }
# harmless NAME STATUS PATTERN COMMAND...
harmless() {
	local before
	before=$(runs)
	expect "$@"
	ok "... $1: nothing of his has run" "$([[ $(runs) -eq $before ]]; echo $?)" "$output"
}
# hostile_database NAME: mallory may create in it, and has functions there that betray who runs them.
hostile_database() {
	hostile_sql postgres postgres "create database $1" "grant create on database $1 to mallory"
	hostile_sql "$1" mallory 'create schema mallory' 'grant usage on schema mallory to public' \
		"create function mallory.run() returns int language plpgsql as \$\$ begin raise log 'mallory runs as %', current_user; return 2; end \$\$" \
		"create function mallory.fire() returns trigger language plpgsql as \$\$ begin perform mallory.run(); return new; end \$\$"
}
hostile_sql postgres postgres 'create role mallory login'

# ---- A schema that is there before stint's --------------------------------------------------

hostile_database before
hostile_sql before mallory 'create schema stint' 'grant usage on schema stint to public' \
	"create function stint.schema_version() returns int language sql as 'select mallory.run()'" \
	"create function stint.oldest_agent() returns int language sql as 'select mallory.run()'" \
	"create view stint.migration as select mallory.run() as version, true as breaking, 'x' as name" \
	"create view stint.schema_object as select 'schema' as kind, 'stint' as identity, array[mallory.run()::text] as grants" \
	"create view stint.policy_limit as select mallory.run() as policy" \
	"create view stint.host as select 'h' as name, mallory.run()::text as state" \
	"create view stint.usage as select mallory.run()::text as policy" \
	"create function stint.drop_policy(text) returns int language sql as 'select mallory.run()'" \
	'grant select on all tables in schema stint to public'
whose='the schema stint belongs to "mallory", .*'
for command in 'db init' 'db migrate' 'db status' 'db status --json' 'policy list' 'policy drop a' 'client list' 'audit policies'; do
	# shellcheck disable=SC2086
	harmless "a schema of another's: $command" 1 "$whose" "$stint" --database "$(of before)" $command
done
harmless "a schema of another's: doctor" 1 "^error +schema +$whose" "$stint" --database "$(of before)" doctor
harmless "a schema of another's: top" 3 "$whose" "$stint" --database "$(of before)" --socket "$tmp/none" top --once
hostile_sql before mallory 'drop view stint.migration'
harmless "a schema of another's, with the function alone" 1 "$whose" "$stint" --database "$(of before)" db init
expect 'who made it is told what else is wrong' 1 'the view stint.schema_object is no plain table, ' "$stint" --database "$(of before mallory)" db status

# ---- A schema of stint's, in which somebody else may create ---------------------------------

hostile_database within
"$stint" --database "$(of within)" db init >/dev/null
hostile_sql within postgres 'grant create, usage on schema stint to mallory'
hostile_sql within mallory "create function stint.drop_policy(name) returns int language sql as 'select mallory.run()'"
harmless "a function of another's: policy drop" 1 'function stint.drop_policy\(pg_catalog.name\) belongs to "mallory", ' \
	"$stint" --database "$(of within)" policy drop a
hostile_sql within mallory 'drop function stint.drop_policy(name)'
hostile_sql within postgres 'alter table stint.schema_object rename to moved'
hostile_sql within mallory "create view stint.schema_object as select 'schema' as kind, 'stint' as identity, array[mallory.run()::text] as grants"
for command in 'db status' 'db migrate' doctor; do
	# shellcheck disable=SC2086
	harmless "a view of another's: $command" 1 'view stint.schema_object belongs to "mallory", ' "$stint" --database "$(of within)" $command
done

# ---- Names that are found first ---------------------------------------------------------------

hostile_database path
hostile_sql path mallory "create function mallory.current_setting(text) returns text language plpgsql as
	\$\$ begin perform mallory.run(); return pg_catalog.current_setting(\$1); end \$\$" \
	"create function mallory.json_agg(record) returns json language plpgsql as \$\$ begin perform mallory.run(); return '[]'; end \$\$" \
	"create function mallory.equal(name, text) returns bool language plpgsql as \$\$ begin perform mallory.run(); return \$1::text operator(pg_catalog.=) \$2; end \$\$" \
	'create operator mallory.= (leftarg = name, rightarg = text, function = mallory.equal)'
hostile_sql path postgres 'alter database path owner to mallory'
hostile_sql path mallory 'alter database path set search_path = mallory, pg_catalog'
harmless 'a search_path: db status' 1 '^schema +none' "$stint" --database "$(of path)" db status
harmless 'a search_path: doctor' 1 '^error +schema +there is none' "$stint" --database "$(of path)" doctor
harmless 'a search_path: db init' 0 ': applied$' "$stint" --database "$(of path)" db init
hostile_sql path postgres 'revoke create on database path from public'
harmless 'a search_path: db migrate' 0 'nothing to do' "$stint" --database "$(of path)" db migrate
harmless 'a search_path: policy set' 0 '^api: created' "$stint" --database "$(of path)" policy set api --max-requests 5 --time-window-ms 1000
harmless 'a search_path: policy list' 0 '^api ' "$stint" --database "$(of path)" policy list
harmless 'a search_path: top' 0 '^\(none\)$' "$stint" --database "$(of path)" --socket "$tmp/none" top --once
hostile_sql path postgres 'drop schema stint cascade'
harmless 'a search_path: db sql, and psql' 0 '' bash -o pipefail -c '"$0" db sql | "$1" -Xq -v ON_ERROR_STOP=1 "$2"' "$stint" "$psql" "$(of path)"

# ---- Who is a member of stint_owner ------------------------------------------------------------

hostile_database owner
"$stint" --database "$(of owner)" db init >/dev/null
hostile_sql postgres postgres 'grant stint_owner to mallory'
# What a function of his does when it runs by another role than his own: "set role" keeps nobody in.
hostile_sql owner mallory "create or replace function mallory.run() returns int language plpgsql as
		\$\$ begin reset role; raise log 'mallory runs as %', current_user; return 2; end \$\$" \
	"create function mallory.index() returns int language plpgsql immutable as 'begin return 1; end'" \
	'grant usage on schema mallory to stint_owner'
# owner_does FAULT STATEMENT UNDO: as stint_owner. (Of an index, the planner computes what seems to be constant.)
owner_does() {
	local command
	hostile_sql owner mallory "set role stint_owner; $2"
	for command in 'db status' 'db init' doctor 'db migrate'; do
		# shellcheck disable=SC2086
		harmless "stint_owner's members: $1: $command" 1 "stint.[a-z_]+ $1, not by stint: " "$stint" --database "$(of owner)" $command
	done
	hostile_sql owner mallory "set role stint_owner; $3"
}
owner_does 'is no plain table' \
	"alter table stint.migration rename to kept; create view stint.migration as select version, breaking, mallory.run() as x, name from stint.kept where mallory.run() > 0" \
	'drop view stint.migration; alter table stint.kept rename to migration'
owner_does 'has a trigger' 'create trigger z before insert on stint.fleet for each row execute function mallory.fire(); delete from stint.fleet' \
	'drop trigger z on stint.fleet; insert into stint.fleet (live_hosts, counted_at) values (1, now())'
owner_does 'has a rule' 'create rule z as on insert to stint.fleet do also select mallory.run(); delete from stint.fleet' \
	'drop rule z on stint.fleet; insert into stint.fleet (live_hosts, counted_at) values (1, now())'
owner_does "uses functions or types of somebody's own" 'alter table stint.change_queue add column z int default mallory.run(); delete from stint.change_queue' \
	'alter table stint.change_queue drop column z; insert into stint.change_queue default values'
owner_does "uses functions or types of somebody's own" \
	"create index z on stint.migration (version) where mallory.index() = 1; reset role; create or replace function mallory.index() returns int
		language plpgsql immutable as \$\$ begin perform mallory.run(); return 1; end \$\$" 'drop index stint.z'
owner_does "uses functions or types of somebody's own" 'alter table stint.policy add constraint z check (policy_id <> mallory.run()) not valid' \
	'alter table stint.policy drop constraint z'
owner_does 'has row security' 'alter table stint.schema_object enable row level security; create policy z on stint.schema_object using (mallory.run() > 0)' \
	'drop policy z on stint.schema_object; alter table stint.schema_object disable row level security'
owner_does 'has a trigger' 'create trigger z before insert on stint.migration for each row execute function mallory.fire()' 'drop trigger z on stint.migration'
owner_does 'has a trigger' 'create trigger z before delete on stint.schema_object for each row execute function mallory.fire()' \
	'drop trigger z on stint.schema_object'
# The server's own functions run statements, too.
owner_does 'has a default or a constraint that runs a function' "alter table stint.fleet add column z xml;
	alter table stint.fleet alter z set default query_to_xml('select mallory.run()', false, false, ''); delete from stint.fleet" \
	'alter table stint.fleet drop column z; insert into stint.fleet (live_hosts, counted_at) values (1, now())'
owner_does 'has a default or a constraint that runs a function' "alter table stint.fleet add constraint z
	check (query_to_xml('select mallory.run()', false, false, '') is not null) not valid; delete from stint.fleet" \
	'alter table stint.fleet drop constraint z; insert into stint.fleet (live_hosts, counted_at) values (1, now())'
owner_does 'is no sequence' "alter sequence stint.change_change_id_seq rename to kept;
	create view stint.change_change_id_seq as select mallory.run()::bigint as last_value" \
	'drop view stint.change_change_id_seq; alter sequence stint.kept rename to change_change_id_seq'
owner_does 'is inherited by another' 'create table stint.z () inherits (stint.schema_object)' 'drop table stint.z'
harmless 'all that undone: status' 0 '^objects +all are there' "$stint" --database "$(of owner)" db status
harmless 'all that undone: migrate' 0 'nothing to do' "$stint" --database "$(of owner)" db migrate

hostile_database first
"$psql" -XAtq1 -v ON_ERROR_STOP=1 "$(of first)" -f tests/cli/earlier/001_limiter.sql
hostile_sql first mallory 'grant usage on schema mallory to stint_owner' "set role stint_owner; drop table stint.client_override cascade;
	create view stint.client_override as select 1 as policy_id, 'x'::text as client_id,
		mallory.run()::bigint as max_requests, false as blocked, ''::text as note, now() as changed_at, 'x'::text as changed_by"
harmless 'of 0.1.0, its table is a view of his: migrate' 1 'stint.client_override is no plain table, not by stint: ' "$stint" --database "$(of first)" db migrate
hostile_sql postgres postgres 'revoke stint_owner from mallory'

# ---- Roles that are there before stint's ---------------------------------------------------------

# of stint's own: roles are the cluster's, so these have rights for a while that they shouldn't.
hostile_sql postgres postgres 'create database roles' 'alter role stint_owner login'
expect 'the owner may log in: init' 1 'the role stint_owner exists, and has rights that stint would not give it .*nobypassrls nologin; else rename it' \
	"$stint" --database "$(of roles)" db init
hostile_sql postgres postgres 'alter role stint_owner nologin' 'alter role stint_cache createrole'
expect 'another role may create roles: init' 1 'the role stint_cache exists, and has rights that .*nobypassrls; else rename it' \
	"$stint" --database "$(of roles)" db init
hostile_sql postgres postgres 'alter role stint_cache nocreaterole' 'grant stint_owner, stint_agent to mallory'
expect 'roles have members: init' 0 '^the role stint_agent was there before, with its members: mallory$' "$stint" --database "$(of roles)" db init
ok '... all of them are told' "$(grep -q '^the role stint_owner was there before, with its members: mallory$' <<<"$output"; echo $?)" "$output"

ok 'what the tests themselves asked for was done' "$([[ ! -s $tmp/unprepared ]]; echo $?)" "$(cat "$tmp/unprepared")"
