-- Every object of the schema, with everything that anybody but its owner may do with it: one line each. An object that has no line,
-- or a right that its line doesn't name, fails. Then: what a hostile role puts in the way of names is never called with the owner's rights.

begin;
select plan(13);

-- ---- The matrix --------------------------------------------------------------------

create temp table expected (kind text, name text, may text);
insert into expected
select 'function', unnest(string_to_array('await_tables begin_call declare_policy expire_counters get_changes get_policies get_recalls get_server_run heartbeat pulse recall_leases register_host report_decisions report_denials report_fallback '
	'stop_host take_first_leases take_leases take_unlocked_leases', ' ')), 'stint_agent EXECUTE'
union all
select 'function', unnest(string_to_array('block_client clear_override drop_policy reset_client set_override set_policy set_shadow unblock_client unpin_policy', ' ')), 'stint_operator EXECUTE'
union all
select 'function', unnest(string_to_array('oldest_agent schema_version', ' ')), 'stint_agent EXECUTE, stint_auditor EXECUTE, stint_operator EXECUTE'
union all
select 'function', unnest(string_to_array('cache_decrement_and_get cache_get cache_increment_and_get cache_set', ' ')), 'stint_cache EXECUTE'
union all
select 'function', unnest(string_to_array('add_to_cached apply_report block_left_us can_lock_counter check_cache_expiry check_cache_key check_client check_note check_policy clear_overrides commit_later commits_safely count_hosts describe_change end_of end_overrides enter_queue expire_cache expire_cache_sometimes expire_decisions expire_denials expire_history expire_idle find_old_snapshot find_policy finish_resets first_answer first_grant first_turn '
	'get_heard get_newest_change get_server get_wal_end is_fault_of_all limit_of note_server phase_us queue_change record_change retry_after rewindow secure_commit stamp_change sub_window_us take tell_agents', ' ')), ''
union all
select 'view', unnest(string_to_array('client_charge client_lease client_limit decision denied_client fallback_period host limited policy_history policy_limit promotion top_client usage', ' ')),
	'stint_auditor SELECT, stint_operator SELECT'
union all
select 'table', unnest(string_to_array('agent_host cache change change_queue client_override counter counter_reset expiry fleet horizon host_decision host_denial host_fallback migration policy recall schema_identity schema_object server_timeline', ' ')), ''
union all
select 'sequence', unnest(string_to_array('agent_host_host_id_seq change_change_id_seq expiry_walked_seq policy_policy_id_seq recall_recall_id_seq', ' ')), ''
union all
values ('view', 'present_object', ''), ('view', 'override_in_force', ''), ('schema', 'stint', 'stint_agent USAGE, stint_auditor USAGE, stint_cache USAGE, stint_operator USAGE');

-- aclexplode() of what was granted, or of what holds when nothing was. Grants to the owner are left out.
create temp view actual as
with granted as (
	select case c.relkind when 'v' then 'view' when 'm' then 'view' when 'S' then 'sequence' else 'table' end as kind, c.relname::text as name,
		c.relowner as owner, coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's'::"char" else 'r'::"char" end, c.relowner)) as acl
	from pg_class c where c.relnamespace = 'stint'::regnamespace and c.relkind in ('r', 'v', 'm', 'f', 'p', 'S')
	union all
	select 'function', p.proname, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) from pg_proc p where p.pronamespace = 'stint'::regnamespace
	union all
	select 'schema', n.nspname, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)) from pg_namespace n where n.nspname = 'stint'
)
select g.kind, g.name, coalesce(string_agg(case a.grantee when 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end || ' ' || a.privilege_type
	|| case when a.is_grantable then ' WITH GRANT OPTION' else '' end, ', ' order by pg_get_userbyid(a.grantee), a.privilege_type), '') as may
from granted g left join lateral aclexplode(g.acl) a on a.grantee <> g.owner
group by g.kind, g.name;

select set_eq('select * from actual', 'select * from expected', 'every object of the schema, and who may do what with it');
select is_empty($$ select p.proname from pg_proc p where p.pronamespace = 'stint'::regnamespace group by 1 having count(*) > 1 $$, 'a function''s name says which it is');
select is_empty($$ select r.rolname, m.rolname from pg_auth_members a join pg_roles r on r.oid = a.roleid join pg_roles m on m.oid = a.member
	where m.rolname like 'stint\_%' $$, 'the roles are members of nothing');
select set_eq($$ select m.rolname::text from pg_auth_members a join pg_roles r on r.oid = a.roleid join pg_roles m on m.oid = a.member
	where r.rolname = 'stint_owner' $$, array['installer'], 'nobody but who installed is a member of the owner');
select is_empty($$ select defaclrole from pg_default_acl where defaclnamespace in (0, 'stint'::regnamespace) $$, 'no default privileges are left behind');
-- A row's trigger, a rule or a policy of somebody else's would run with the rights of whoever writes.
select is_empty($$ select tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_proc p on p.oid = t.tgfoid
	where c.relnamespace = 'stint'::regnamespace and not t.tgisinternal and p.pronamespace <> 'stint'::regnamespace $$, 'triggers call functions of the schema only');
select is_empty($$ select rulename from pg_rewrite r join pg_class c on c.oid = r.ev_class where c.relnamespace = 'stint'::regnamespace and rulename <> '_RETURN' $$,
	'there are no rules');

-- ---- Names in the way ---------------------------------------------------------------

-- A schema of its own in front of all others, with a function or operator for every name of pg_catalog's that the functions use
-- without saying where it is from: each notes whose rights it was called with.
create role an_attacker login in role stint_agent, stint_operator, stint_auditor, stint_cache;
create schema trap authorization an_attacker;
set local role an_attacker;
create table trap.caught (name text, who text, session text);
grant usage on schema trap to public;
grant insert on trap.caught to public;

do $$
declare
	f record;
	arguments text;
begin
	for f in
		select distinct p.proname, p.prorettype::regtype as result, p.proargtypes, p.pronargs, p.prokind
		from pg_proc p
		where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f' and not p.proretset and p.provariadic = 0 and p.prorettype not in
			('internal'::regtype, 'trigger'::regtype, 'cstring'::regtype, 'anyelement'::regtype)
			and p.proname in ('array_fill', 'array_remove', 'cardinality', 'ceil', 'clock_timestamp', 'current_setting', 'date_trunc', 'format', 'hashtextextended', 'left', 'mod', 'now',
				'octet_length', 'pg_relation_size', 'random', 'floor', 'greatest', 'pg_current_wal_lsn', 'pg_has_role', 'pg_notify', 'pg_notification_queue_usage', 'pg_walfile_name', 'quote_literal', 'round', 'substr', 'to_jsonb')
			and not exists (select from unnest(p.proargtypes) t where t in ('internal'::regtype, 'cstring'::regtype))
	loop
		execute format('create function trap.%I(%s) returns %s language plpgsql as $f$ begin insert into trap.caught values (%L, current_user, session_user); return %s; end $f$',
			f.proname, array_to_string(array(select t::regtype::text from unnest(f.proargtypes) t), ', '),
			f.result, f.proname || '()', case f.result when 'void'::regtype then '' else 'null' end);
	end loop;
	for f in
		select o.oprname, o.oprleft::regtype as l, o.oprright::regtype as r, o.oprresult::regtype as result
		from pg_operator o
		where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprname in ('+', '-', '*', '/', '%', '=', '<>', '<', '>', '<=', '>=', '||', '->>', '->')
			and o.oprleft in ('int4'::regtype, 'int8'::regtype, 'text'::regtype, 'timestamptz'::regtype, 'interval'::regtype, 'jsonb'::regtype, 'numeric'::regtype, 'bool'::regtype)
			and o.oprright in ('int4'::regtype, 'int8'::regtype, 'text'::regtype, 'timestamptz'::regtype, 'interval'::regtype, 'jsonb'::regtype, 'numeric'::regtype, 'bool'::regtype)
	loop
		arguments := format('%s, %s', f.l, f.r);
		execute format('create function trap.%I(%s) returns %s language plpgsql as $f$ begin insert into trap.caught values (%L, current_user, session_user); return null; end $f$',
			'op ' || f.oprname, arguments, f.result, f.oprname);
		execute format('create operator trap.%s (function = trap.%I, leftarg = %s, rightarg = %s)', f.oprname, 'op ' || f.oprname, f.l, f.r);
	end loop;
end
$$;
-- Tables of the names, too, where PostgreSQL looks first of all.
create temp table counter (policy_id int, client_id text, current_us bigint);
create temp table policy (policy_id int, name text);
create temp table change (change_id bigint);
create temp table agent_host (host_id int);
create temp table cache (key text, value text);
reset role;

select (extract(epoch from clock_timestamp()) / 60)::bigint as minute, (extract(epoch from clock_timestamp()) / 3600)::bigint as hour \gset
select stint.set_policy('p', 10, 60000) as p, stint.set_policy('q', 10, 60000) as q \gset
select cmp_ok(count(*), '>', 100::bigint, 'traps are set') from pg_proc where pronamespace = 'trap'::regnamespace;

-- Without pgTAP, which would be caught itself.
set session authorization an_attacker;
set local search_path = trap, pg_temp, pg_catalog;
\o /dev/null
select clock_timestamp(), 1::bigint + 1::bigint;
select * from stint.schema_version(), stint.oldest_agent();
select * from stint.register_host('h', 'i', 'v') \gset
select * from stint.heartbeat(:host_id, 'i', 'in step', 0, 0);
select * from stint.heartbeat(:host_id, 'j', 'in step', 0, 0);
select * from stint.pulse();
select * from stint.declare_policy('r', 1, 1000, 1, 1000, 'sliding_window', 10, 'strict', false, false);
select * from stint.declare_policy('r', 2, 1000, 1, 1000, 'sliding_window', 10, 'strict', false, false);
select * from stint.get_policies('{}');
select * from stint.get_changes(0);
select stint.recall_leases(array[:p]::int[], '{a}');
select * from stint.get_recalls(1, 0);
select * from stint.take_first_leases(1, array[:p]::int[], '{a}', '{1}', '{1}', '{1}', '{1}', '{0}');
select * from stint.take_first_leases(1, array[:p]::int[], '{a}', '{1}', '{1}', '{1}', '{1}', '{0}');
select * from stint.take_leases(1, array[:p, :q]::int[], '{a,b}', '{1,1}', '{1,1}', '{1,1}', '{0,1}', '{0,0}', '{1,1}', '{0,1}', '{1,0}', '{1,0}', '{1,0}', '{0,0}', '{0,0}', '{0,0}');
select * from stint.take_leases(1, array[:p, :q]::int[], '{a,b}', '{20,1}', '{20,1}', '{1,1}', '{0,0}', '{0,0}', '{1,1}', '{0,0}', '{0,0}', '{0,0}', '{0,0}', '{0,0}', '{0,0}', '{0,0}');
select * from stint.take_unlocked_leases(1, array[:p, :q]::int[], '{a,b}', '{1,1}', '{1,1}', '{1,1}', '{0,1}', '{0,0}', '{1,1}', '{0,1}', '{1,0}', '{1,0}', '{1,0}', '{0,0}', '{0,0}', '{0,0}');
select * from stint.expire_counters(10);
select stint.report_fallback(:host_id, 1, 1, 1, 1, 'x');
select stint.report_decisions(:host_id, 1, array[:minute]::bigint[], '{p}', '{1}', '{1}', '{0}', '{0}') from generate_series(1, 2);
select stint.report_denials(:host_id, 1, array[:hour]::bigint[], '{p}', '{c}', '{1}', array[i]::bigint[], '{0}') from generate_series(1, 2) i;
select stint.await_tables();
select stint.stop_host(:host_id, 'i');
select stint.begin_call(stint.get_server_run(), 1000, 1000, '');
set local search_path = trap, pg_temp, pg_catalog;
select stint.set_policy('p', 20, 30000);
select stint.unpin_policy('p');
select stint.set_override('p', 'c', 3);
select stint.block_client('p', 'd', 'why');
select stint.clear_override('p', 'd');
select * from stint.reset_client('p', 'a');
select stint.drop_policy('q');
select * from stint.usage, stint.limited, stint.top_client, stint.host, stint.fallback_period, stint.policy_history, stint.policy_limit, stint.client_limit, stint.client_charge, stint.client_lease,
	stint.promotion;
select stint.cache_set('k' || i, '1', 1000) from generate_series(1, 200) i;
select stint.cache_get('k1');
select stint.cache_increment_and_get('k1', 1000);
select stint.cache_decrement_and_get('k1');
reset session authorization;
-- Whoever may write the tables has triggers run for him.
set local role installer;
set local search_path = trap, pg_temp, pg_catalog;
update stint.policy set max_requests = 11;
update stint.client_override set note = 'other';
delete from stint.client_override;
delete from stint.policy;
reset role;
\o
set local search_path = tap, public, pg_catalog;

select set_eq('select distinct name from trap.caught where who = ''an_attacker''', array['clock_timestamp()', '+'], 'traps catch who set them');
select is_empty('select name, who from trap.caught where who <> ''an_attacker''', 'and nothing is called with another''s rights');
select is((select count(*) from pg_temp.counter), 0::bigint, 'nor are temporary tables taken for the schema''s');
select isnt_empty('select from stint.change where changed_by = ''an_attacker''', 'the calls were real ones');

-- ---- What would have to be trusted ------------------------------------------------------

select is_empty($$ select proname from pg_proc where pronamespace = 'stint'::regnamespace and prosrc ~* '\mexecute\M|set_config|\mcopy\M|dblink|pg_read|lo_import'
	and proname not in ('secure_commit', 'commit_later') and (proname <> 'begin_call' or prosecdef) $$,
	'no function builds SQL from text, sets settings (but two, to constants, and one with its caller''s rights), or touches files');

select * from finish();
rollback;
