-- What a role, a database or a server may have set, and what the promise rests on: how transactions that grant are committed.

begin;
select plan(74);
select stint.set_policy('api', 100, 60000) as api \gset

create function test.commits_as(does text, value text, kept text default null) returns text language plpgsql as $$
declare
	became text;
begin
	perform set_config('synchronous_commit', value, true), set_config('stint.synchronous_commit', kept, true);
	execute does;
	became := current_setting('synchronous_commit');
	perform set_config('synchronous_commit', 'on', true), set_config('stint.synchronous_commit', '', true);
	return became;
end
$$;

create temp table grants (does text);
insert into grants values
	($$ select test.lease('api', 'a') $$),
	($$ select test.first_lease('api', 'b') $$),
	($$ select stint.set_policy('api', 99, 60000) $$),
	($$ select stint.block_client('api', 'c') $$),
	($$ select stint.declare_policy('mail', 5, 60000, 10, 60000, 'sliding_window', 10, 'strict', false, false) $$),
	($$ update stint.policy set max_requests = 98 where name = 'api' $$);

select is(test.commits_as(does, 'off'), 'on', 'off is raised, until the commit:' || does) from grants;
select is(test.commits_as(does, value), value, value || ' is the operator''s choice:' || does)
from grants, unnest(array['local', 'remote_write', 'on', 'remote_apply']) value;
select is(test.commits_as(does, 'off', 'keep'), 'off', 'so is off, said twice:' || does) from grants;
select is(test.commits_as('select test.lease(''api'', ''a'')', 'off', 'off'), 'on', 'but only the word means it');

-- What comes again anyway keeps no lease waiting.
select host_id from stint.register_host('h', 'i', 'v') \gset
select is(test.commits_as(does, value), 'off', 'a commit that nobody waits for:' || does)
from unnest(array['local', 'remote_write', 'on', 'remote_apply']) value,
	(values (format($$ select stint.heartbeat(%s, 'i', 'in step', 0, 0) $$, :host_id)), ($$ select stint.expire_counters(10) $$)) x (does);

-- The warning that a commit may not have reached its standby is one of the agents' sources.
set local client_min_messages = error;
select test.lease('api', 'a') is not null as granted \gset
select is(current_setting('client_min_messages'), 'warning', 'warnings of the commit are sent');
set local client_min_messages = debug1;
select test.lease('api', 'a') is not null as granted \gset
select is(current_setting('client_min_messages'), 'debug1', 'and no more is kept back than before');
set local client_min_messages = warning;

-- Neither planner nor formats nor modes of transactions change what is granted.
create function test.granted_under(name text, value text, policy text, client text) returns int language plpgsql as $$
declare
	granted int;
begin
	perform set_config(granted_under.name, value, true);
	granted := (select sum(l.granted) from test.first_lease(policy, client, 3) l) + (select sum(l.granted) from test.lease(policy, client, 4) l);
	return granted;
end
$$;
select is(test.granted_under(s.name, s.value, 'api', 'odd ' || s.name), 7, format('%s = %s', s.name, s.value))
from (values ('DateStyle', 'German'), ('IntervalStyle', 'sql_standard'), ('TimeZone', 'Asia/Kolkata'), ('bytea_output', 'escape'),
	('extra_float_digits', '-15'), ('standard_conforming_strings', 'off'), ('search_path', 'tap, public, pg_temp'), ('enable_indexscan', 'off'), ('enable_hashjoin', 'off'),
	('plan_cache_mode', 'force_custom_plan'), ('work_mem', '64kB'), ('array_nulls', 'off'), ('transform_null_equals', 'on'), ('row_security', 'off'),
	('constraint_exclusion', 'on'), ('session_replication_role', 'replica'), ('geqo', 'off'), ('from_collapse_limit', '1'), ('join_collapse_limit', '1')) s (name, value);

-- A server that doesn't say where its log is: the function is missing, or refused.
create function test.register() returns text language sql as $$ select coalesce(nullif(timeline, ''), 'none') || case when wal_end > 0 then '1' else '' end from stint.register_host('h', 'i', 'v') $$;
revoke execute on function pg_current_wal_lsn(), pg_current_wal_flush_lsn() from public;
select is(test.register(), 'none', 'who isn''t told goes without');
grant execute on function pg_current_wal_lsn(), pg_current_wal_flush_lsn() to public;
select matches(test.register(), '^[0-9A-F]{8}1$', 'others know the timeline, and the log''s end');

-- Why not is told, of whichever it is, and of nothing else.
create function test.fault() returns text language sql as $$ select server_fault from stint.register_host('h', 'i', 'v') $$;
select is(test.fault(), '', 'a server that tells all');
revoke execute on function pg_walfile_name(pg_lsn) from public;
discard plans; -- which have been allowed to call it
select is(test.register() || ' ' || test.fault(), 'none1 permission denied for function pg_walfile_name', 'one that keeps its timeline to itself: why');
grant execute on function pg_walfile_name(pg_lsn) to public;
revoke execute on function pg_current_wal_flush_lsn() from public;
discard plans;
select matches(test.register() || ' ' || test.fault(), '^[0-9A-F]{8} permission denied for function pg_current_wal_flush_lsn$', 'one that doesn''t tell its log''s end: why');
grant execute on function pg_current_wal_flush_lsn() to public;

-- What it could have told a moment later is no answer: it would be taken for another server. The agent tries again.
create function test.fails(name text, arguments text, result text) returns text language plpgsql as $$
begin
	execute format('alter function pg_catalog.%s(%s) rename to another', name, arguments);
	execute format('create function pg_catalog.%s(%s) returns %s language plpgsql as ''begin raise exception using errcode = 53200; end''',
		name, arguments, result);
	discard plans;
	return test.register();
exception when others then
	return sqlstate;
end
$$;
select is(test.fails(f.name, f.arguments, f.result), '53200', 'no memory for ' || f.name)
from (values ('pg_walfile_name', 'pg_lsn', 'text'), ('pg_current_wal_flush_lsn', '', 'pg_lsn'),
	('pg_control_system', '', 'table (system_identifier bigint, more int)')) f (name, arguments, result);

select * from finish();
rollback;
