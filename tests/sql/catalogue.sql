-- What must hold for every object of the schema, also for those that later migrations add.

begin;
select plan(27);

select isnt_empty($$ select from pg_class where relnamespace = 'stint'::regnamespace $$, 'there is a schema');
select ok(obj_description('stint'::regnamespace) is not null, 'the schema has a comment');
select test.all_hold($$ select rolname, shobj_description(oid, 'pg_authid') is not null from pg_roles where rolname like 'stint\_%' $$, 'roles have comments');
select test.all_hold($$ select relname, obj_description(oid, 'pg_class') is not null from pg_class where relnamespace = 'stint'::regnamespace and relkind in ('r', 'v', 'm', 'f', 'p') $$,
	'tables and views have comments');
select test.all_hold($$ select c.relname || '.' || a.attname, col_description(c.oid, a.attnum) is not null from pg_class c join pg_attribute a on a.attrelid = c.oid
	and a.attnum > 0 and not a.attisdropped where c.relnamespace = 'stint'::regnamespace and c.relkind in ('r', 'v', 'm', 'f', 'p') $$, 'columns have comments');
select test.all_hold($$ select proname, obj_description(oid, 'pg_proc') is not null from pg_proc where pronamespace = 'stint'::regnamespace $$, 'functions have comments');
select test.all_hold($$ select c.relname || ': ' || t.tgname, obj_description(t.oid, 'pg_trigger') is not null from pg_trigger t join pg_class c on c.oid = t.tgrelid
	where c.relnamespace = 'stint'::regnamespace and not t.tgisinternal $$, 'triggers have comments');
select test.all_hold($$ select relname, obj_description(c.oid, 'pg_class') is not null from pg_class c where c.relnamespace = 'stint'::regnamespace and c.relkind = 'i'
	and not exists (select from pg_constraint where conindid = c.oid) $$, 'indices have comments');
select test.all_hold($$ select proname, prosrc !~* 'advisory' from pg_proc where pronamespace = 'stint'::regnamespace $$, 'no function takes a lock that anybody could take');
select is((select array_agg(proname::text) from pg_proc where pronamespace = 'stint'::regnamespace and prosrc like '%pg_notify(%'), array['tell_agents'],
	'a full queue of notices is looked for before each notice');
select test.all_hold($$ select conname, obj_description(oid, 'pg_constraint') is not null from pg_constraint where connamespace = 'stint'::regnamespace and contype = 'c' $$,
	'checks have comments');
select is_empty($$ select typname from pg_type where typnamespace = 'stint'::regnamespace and typtype in ('d', 'e', 'r') or typnamespace = 'stint'::regnamespace and typtype = 'c'
	and typrelid in (select oid from pg_class where relkind = 'c') $$, 'there are no other types');

select test.all_hold($$ select proname, proconfig @> array['search_path=pg_catalog, pg_temp'] from pg_proc where pronamespace = 'stint'::regnamespace and prosecdef $$,
	'what runs with the owner''s rights pins search_path');
select is_empty($$ select proname from pg_proc where pronamespace = 'stint'::regnamespace and (proacl is null or exists (select from aclexplode(proacl) where grantee = 0)) $$,
	'PUBLIC may call nothing');
select is_empty($$ select relname from pg_class where relnamespace = 'stint'::regnamespace and exists (select from aclexplode(relacl) where grantee = 0) $$, 'PUBLIC may read nothing');
select is_empty($$ select from pg_namespace where nspname = 'stint' and exists (select from aclexplode(nspacl) where grantee = 0) $$, 'PUBLIC may not look into the schema');
select is((select array_agg(proname::text order by proname) from pg_proc where pronamespace = 'stint'::regnamespace and provolatile = 'i'),
	array['add_to_cached', 'apply_report', 'check_cache_expiry', 'check_cache_key', 'check_client', 'check_note', 'check_policy', 'first_answer', 'first_grant', 'first_turn', 'is_fault_of_all', 'phase_us', 'retry_after', 'rewindow', 'sub_window_us', 'take'], 'the arithmetic is immutable');
select is((select array_agg(distinct lanname::text order by lanname::text) from pg_proc p join pg_language l on l.oid = p.prolang where pronamespace = 'stint'::regnamespace),
	array['plpgsql', 'sql'], 'nothing but plpgsql is required');
select indexes_are('stint', 'counter', array['counter_pkey'], 'an update of a counter touches no index');
select ok((select 'fillfactor=80' = any (reloptions) from pg_class where oid = 'stint.counter'::regclass), 'and finds room on its page');
select set_eq('select kind, identity, grants from stint.present_object', 'select kind, identity, grants from stint.schema_object',
	'the migrations have written down all that they made');
select is((select max(version) from stint.migration), stint.schema_version(), 'the version is the newest migration');
select is_empty($$ select from generate_series(2, stint.schema_version()) v where v not in (select version from stint.migration) $$, 'no migration is missing');

-- Which agents may work with it: those that know the newest migration that is breaking.
select ok(stint.oldest_agent() <= stint.schema_version(), 'agents of this version may work with it');
select max(version) as newest from stint.migration \gset
insert into stint.migration (version, name, breaking) values (:newest + 1, 'additive', false);
select is(stint.schema_version() - :newest, 1, 'a migration that breaks nothing …');
select ok(stint.oldest_agent() <= :newest, '… leaves the agents that there are');
insert into stint.migration (version, name, breaking) values (:newest + 2, 'breaking', true), (:newest + 3, 'additive', false);
select is(stint.oldest_agent() - :newest, 2, 'one that is breaking wants newer ones');

select * from finish();
rollback;
