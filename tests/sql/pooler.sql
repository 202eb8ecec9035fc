-- stint.begin_call(), with which each transaction of an agent begins behind a pooler in transaction mode.

begin;
select plan(16);
select stint.set_policy('api', 100, 60000) as api \gset
create role an_agent in role stint_agent;
grant usage on schema tap, test to public;
select stint.get_server_run() as run \gset

create function test.shown() returns text language sql volatile as $$
	select concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('search_path'),
		current_setting('plan_cache_mode'), current_setting('enable_indexscan'), current_setting('enable_hashjoin'), current_setting('jit'),
		current_setting('log_parameter_max_length_on_error'), '<' || coalesce(current_setting('stint.synchronous_commit', true), '') || '>') $$;
grant execute on function test.shown() to public;

select matches(:'run'::text, '^[0-9]+\.[0-9]+/[0-9]+/[0-9]+$', 'a run is numbers: when the server was started, which database, which table');
select is(:'run'::text, concat_ws('/', extract(epoch from pg_postmaster_start_time()), d.oid, 'stint.counter'::regclass::oid), 'those of this one')
from pg_database d where d.datname = current_database();
select is(server_run, :'run'::text, 'it is what an agent is told') from stint.register_host('pooled', 'x', '1', true);

-- Whatever the role, the database or the server has set.
savepoint a_call;
set local plan_cache_mode = force_custom_plan;
set local enable_indexscan = off;
set local enable_hashjoin = off;
set local jit = on;
set local statement_timeout = 0;
set local role an_agent;
select stint.begin_call(:'run', 375, 125, 'keep');
reset role;
select test.shown() as shown, current_setting('log_parameter_max_length') as log \gset
rollback to a_call;
select is(:'shown'::text, '375ms 125ms pg_catalog auto on on off 0 <keep>', 'the settings of the transaction');
select is(:'log'::text, '-1', 'but that of the server''s log is not for everybody');
select is(current_setting('statement_timeout') || ' ' || current_setting('lock_timeout'), '0 0', 'nothing of them outlives it');

grant set on parameter log_parameter_max_length to an_agent;
savepoint a_call;
set local role an_agent;
select stint.begin_call(:'run', 375, 125, '');
select current_setting('log_parameter_max_length') as log \gset
rollback to a_call;
select is(:'log'::text, '0', 'who may keep clients out of the server''s log does');

-- A database of the same name on another server, or in the place of this one; a server that was started anew.
select throws_ok(format('select stint.begin_call(%L, 375, 125, '''')', r), 'ST002', null, what)
from (values
	(regexp_replace(:'run', '^[0-9]+\.', '1.'), 'another start of the server'),
	(regexp_replace(:'run', '/[0-9]+/', '/1/'), 'another database'),
	(regexp_replace(:'run', '/[0-9]+$', '/1'), 'tables that were made anew'),
	(null, 'none'), ('', 'nothing')) x (r, what);

-- Sessions of the pooler's tell nothing of agents.
create function pg_temp.backend() returns text language sql as $$
	select coalesce(h.backend_pid::text, 'none') from stint.agent_host h where h.name = 'pooled' $$;
select host_id as pooled from stint.register_host('pooled', 'x', '1', true) \gset
select is(pg_temp.backend(), 'none', 'of an agent behind a pooler no session is noted');
select stint.heartbeat(:pooled, 'x', 'in step', 0, 0, true);
select is(pg_temp.backend(), 'none', '… nor by its heartbeats');
update stint.fleet set counted_at = '-infinity';
select is((select live_hosts from stint.heartbeat(:pooled, 'x', 'in step', 0, 0, true)), 1, '… and it counts until it is no longer heard of');
select stint.heartbeat(:pooled, 'x', 'in step', 0, 0, false);
select is(pg_temp.backend(), pg_backend_pid()::text, 'of one that isn''t, it is');

select * from finish();
rollback;
