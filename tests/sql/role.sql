-- Who may do what: a matrix of every object and every role, and trying it.

begin;
select plan(123);

create role an_agent login in role stint_agent;
create role an_auditor login in role stint_auditor;
create role an_operator login in role stint_operator;
create role a_cache_user login in role stint_cache;
create role nobody_special login;

select is(rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication, false, rolname || ' is a role without rights of its own')
from pg_roles where rolname in ('stint_owner', 'stint_agent', 'stint_operator', 'stint_auditor', 'stint_cache');
select is((select count(*)::int from pg_roles where rolname like 'stint\_%'), 5, 'five roles');
select schema_owner_is('stint', 'stint_owner');
select test.all_hold($$ select relname, pg_get_userbyid(relowner) = 'stint_owner' from pg_class where relnamespace = 'stint'::regnamespace and relkind in ('r', 'v', 'S') $$,
	'tables, views and sequences belong to stint_owner');
select test.all_hold($$ select proname, pg_get_userbyid(proowner) = 'stint_owner' from pg_proc where pronamespace = 'stint'::regnamespace $$, 'functions belong to stint_owner');
select is(has_schema_privilege(r, 'stint', 'usage') || ' ' || has_schema_privilege(r, 'stint', 'create'), expected, r || ': the schema')
from (values ('stint_agent', 'true false'), ('stint_operator', 'true false'), ('stint_auditor', 'true false'), ('stint_cache', 'true false'), ('nobody_special', 'false false')) x (r, expected);

create temp table may_call (role text, name text);
insert into may_call select 'an_agent', unnest(array['schema_version', 'oldest_agent', 'register_host', 'heartbeat', 'pulse', 'declare_policy', 'get_policies', 'get_changes',
	'take_leases', 'take_first_leases', 'take_unlocked_leases', 'expire_counters', 'report_fallback', 'stop_host', 'await_tables', 'get_server_run', 'begin_call', 'recall_leases', 'get_recalls', 'report_decisions', 'report_denials']);
insert into may_call select 'an_operator', unnest(array['set_policy', 'set_shadow', 'unpin_policy', 'drop_policy', 'set_override', 'block_client', 'unblock_client', 'clear_override', 'reset_client']);
insert into may_call select role, name from unnest(array['an_operator', 'an_auditor']) role, unnest(array['schema_version', 'oldest_agent']) name;
insert into may_call select 'a_cache_user', unnest(array['cache_get', 'cache_set', 'cache_increment_and_get', 'cache_decrement_and_get']);
create temp table may_read (role text, name text);
insert into may_read select role, name from unnest(array['an_operator', 'an_auditor']) role, unnest(array['usage', 'limited', 'top_client', 'host', 'promotion', 'fallback_period',
	'policy_history', 'policy_limit', 'client_limit', 'client_charge', 'client_lease', 'decision', 'denied_client']) name;

select test.all_hold($$ select format('%s %s call %s()', r, case when expected then 'may' else 'may not' end, p.proname), has_function_privilege(r, p.oid, 'execute') = expected
	from pg_proc p, unnest(array['an_agent', 'an_operator', 'an_auditor', 'a_cache_user', 'nobody_special']) r, lateral (select exists (select from may_call where role = r and name = p.proname) as expected) x
	where p.pronamespace = 'stint'::regnamespace $$, 'who may call what');
select is((select count(*)::int from pg_proc where pronamespace = 'stint'::regnamespace and proname in (select name from may_call)), 34, 'agents call twenty-one functions, operators nine, users of the cache four');
select test.all_hold($$ select proname, prosecdef from pg_proc where pronamespace = 'stint'::regnamespace and proname in (select name from may_call) and proname <> 'begin_call' $$,
	'what they call runs with the owner''s rights, but for what sets their own transaction''s settings');

select test.all_hold($$ select format('%s %s %s', r, privilege, c.relname),
		has_table_privilege(r, c.oid, privilege) = (privilege = 'select' and exists (select from may_read where role = r and name = c.relname))
	from pg_class c, unnest(array['an_agent', 'an_operator', 'an_auditor', 'a_cache_user', 'nobody_special']) r, unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) privilege
	where c.relnamespace = 'stint'::regnamespace and c.relkind in ('r', 'v', 'm', 'f', 'p') $$, 'who may do what with tables and views');
select is((select count(*) from pg_attribute a join pg_class c on c.oid = a.attrelid where c.relnamespace = 'stint'::regnamespace and a.attacl is not null), 0::bigint,
	'no rights on columns');
select test.all_hold($$ select format('%s: %s', r, c.relname), not has_sequence_privilege(r, c.oid, 'usage, select, update')
	from pg_class c, unnest(array['an_agent', 'an_operator', 'an_auditor', 'a_cache_user', 'nobody_special']) r where c.relnamespace = 'stint'::regnamespace and c.relkind = 'S' $$, 'nobody may use a sequence');

-- Trying it.
grant usage on schema tap, test to public;
grant select on all tables in schema pg_temp to public;
select stint.set_policy('p', 10, 60000) as p \gset
set local role an_agent;
select lives_ok(call, 'an agent: ' || call) from unnest(array[
	'select * from stint.schema_version()', 'select * from stint.oldest_agent()', 'select * from stint.register_host(''h'', ''i'', ''v'')', 'select * from stint.heartbeat(1, ''i'', ''in step'', 0, 0)', 'select * from stint.pulse()',
	'select * from stint.declare_policy(''q'', 1, 1000, 1, 1000, ''sliding_window'', 10, ''strict'', false, false)', 'select * from stint.get_policies(''{}'')',
	'select * from stint.get_changes(0)', format('select * from stint.take_leases(1, ''{%s}'', ''{a}'', ''{1}'', ''{1}'', ''{1}'', ''{1}'', ''{0}'', ''{1}'', ''{0}'',
		''{0}'', ''{0}'', ''{0}'', ''{0}'', ''{0}'', ''{0}'')', :p),
	format('select * from stint.take_unlocked_leases(1, ''{%s}'', ''{a}'', ''{1}'', ''{1}'', ''{1}'', ''{1}'', ''{0}'', ''{1}'', ''{0}'',
		''{0}'', ''{0}'', ''{0}'', ''{0}'', ''{0}'', ''{0}'')', :p),
	format('select * from stint.take_first_leases(1, ''{%s}'', ''{a}'', ''{1}'', ''{1}'', ''{1}'', ''{1}'', ''{0}'')', :p), 'select * from stint.expire_counters(10)', 'select stint.report_fallback(1, 1, 1, 1, 1, ''x'')', 'select stint.stop_host(1, ''i'')', 'select stint.await_tables()', 'select stint.get_server_run()', format('select stint.recall_leases(''{%s}'', ''{a}'')', :p), 'select * from stint.get_recalls(1, 0)',
	'select stint.report_decisions(1, 1, ''{1}'', ''{p}'', ''{1}'', ''{1}'', ''{0}'', ''{0}'')', 'select stint.report_denials(1, 1, ''{1}'', ''{p}'', ''{c}'', ''{1}'', ''{0}'', ''{0}'')']) call;
select throws_ok(call, '42501', null, 'not an agent: ' || call) from unnest(array['select * from stint.counter', 'update stint.policy set max_requests = 1',
	'select * from stint.usage', 'select stint.set_policy(''p'', 1, 1000)', 'select stint.block_client(''p'', ''c'')', 'select stint.reset_client(''p'', ''c'')', 'create table stint.mine ()']) call;
reset role;
set session authorization an_operator;
select lives_ok(call, 'an operator: ' || call) from unnest(array['select stint.set_policy(''p'', 5, 1000)', 'select stint.set_shadow(''p'', true)', 'select stint.unpin_policy(''p'')',
	'select stint.block_client(''p'', ''c'', ''why'')', 'select stint.set_override(''p'', ''d'', 3)', 'select stint.clear_override(''p'', ''d'')', 'select * from stint.reset_client(''p'', ''a'')',
	'select stint.drop_policy(''q'')']) call;
select is((select changed_by || ' ' || client_id from stint.client_limit), 'an_operator c', 'an operator acts under his own name');
select is((select string_agg(distinct changed_by, ' ') from stint.policy_history where client_id is not null), 'an_operator', '… in the history, too');
select lives_ok(format('select * from stint.%I', name), 'an operator reads ' || name) from may_read where role = 'an_operator';
select throws_ok(call, '42501', null, 'not an operator: ' || call) from unnest(array['select * from stint.policy', 'select * from stint.counter',
	'insert into stint.client_override select 1, ''c'', 1', 'update stint.policy set max_requests = 1', 'delete from stint.change', 'select * from stint.change_queue for update',
	'select * from stint.expiry for update', 'lock table stint.change_queue', 'lock table stint.policy_history in share mode', 'select * from stint.expire_counters(1)',
	'select stint.find_policy(''p'')', 'create table stint.mine ()', 'set role stint_owner']) call;
reset session authorization;
set local role an_auditor;
select lives_ok(format('select * from stint.%I', name), 'an auditor reads ' || name) from may_read where role = 'an_auditor';
select is((select note from stint.client_limit where policy = 'p' and client_id = 'c'), 'why', 'an auditor sees who is blocked, and why');
select throws_ok(call, '42501', null, 'not an auditor: ' || call) from unnest(array['select * from stint.counter', 'select * from stint.get_policies(''{}'')',
	'delete from stint.change', 'select stint.pulse()', 'select stint.block_client(''p'', ''c'')', 'lock table stint.usage in exclusive mode']) call;
set local role a_cache_user;
select lives_ok(call, 'a user of the cache: ' || call) from unnest(array['select stint.cache_set(''k'', ''1'', 1000)', 'select stint.cache_get(''k'')',
	'select stint.cache_increment_and_get(''k'', 1000)', 'select stint.cache_decrement_and_get(''k'')']) call;
select throws_ok(call, '42501', null, 'not a user of the cache: ' || call) from unnest(array['select * from stint.cache', 'delete from stint.cache', 'lock table stint.cache',
	'select * from stint.usage', 'select stint.schema_version()', 'select stint.expire_cache(1)', 'select stint.block_client(''p'', ''c'')', 'create table stint.mine ()']) call;
set local role nobody_special;
select throws_ok('select * from stint.usage', '42501', null, 'nobody else reads');
select throws_ok('select stint.schema_version()', '42501', null, 'nobody else calls');
select throws_ok('select stint.cache_get(''k'')', '42501', null, 'not even this');
set local role installer;
select lives_ok(call, 'who installed, a member of stint_owner: ' || call) from unnest(array['select stint.set_policy(''p'', 1, 1000)', 'select stint.block_client(''p'', ''c'')',
	'update stint.policy set max_requests = 5', 'select * from stint.usage', 'select stint.drop_policy(''p'')']) call;
reset role;

select * from finish();
rollback;
