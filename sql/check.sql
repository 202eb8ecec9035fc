-- What of the schema is not as the migrations made it, and the statement that puts it right, in the order to run them in: `stint db status`
-- shows it, `stint db migrate` runs it. mend null: nothing can here. as_owner: to be run as stint_owner, after the others.
--
-- A superuser may run it, the schema's owner need not be one: what a statement is made of comes from the catalogue itself, as sql/embed
-- writes stint.present_object's query here, and not from tables and views that the owner may fill as he likes. That the tables run nothing of
-- his when they are read or written here, trust.sql has looked.
with present as (
@present_object@
)
select object, problem, mend, as_owner
from (
	select 1 as step, 'role ' || r.name as object, 'does not exist' as problem, null as mend, false as as_owner
	from unnest(array['stint_owner', 'stint_agent', 'stint_operator', 'stint_auditor', 'stint_cache']) r (name)
	where not exists (select from pg_catalog.pg_roles p where p.rolname = r.name)
	union all
	select 2, s.kind || ' ' || s.identity, 'is missing, or disabled: the dump was restored in part', null, false
	from stint.schema_object s
	where not exists (select from present p where p.kind = s.kind and p.identity = s.identity)
	union all
	-- Sequences, indexes and the like belong to whom their table belongs.
	select case p.kind when 'schema' then 3 else 4 end, p.kind || ' ' || p.identity, 'belongs to ' || p.owner || ', not to stint_owner',
		format('alter %s %s owner to stint_owner', p.kind, p.identity), false
	from stint.schema_object s
	join present p on p.kind = s.kind and p.identity = s.identity
	where p.kind in ('schema', 'table', 'view', 'function') and p.owner <> 'stint_owner'
	union all
	select 5, p.kind || ' ' || p.identity,
		format('rights are %s, should be %s', coalesce(nullif(array_to_string(p.grants, ', '), ''), 'nobody''s'),
			coalesce(nullif(array_to_string(s.grants, ', '), ''), 'nobody''s')),
		concat_ws('; ', format('revoke all on %s %s from public, stint_agent, stint_operator, stint_auditor, stint_cache', w.kind, p.identity),
			(select string_agg(format('grant %s on %s %s to %I', split_part(g, ' ', 2), w.kind, p.identity, split_part(g, ' ', 1)), '; ')
			from unnest(s.grants) g
			where g ~ '^stint_(agent|operator|auditor|cache) (SELECT|EXECUTE|USAGE)$')),
		true
	from stint.schema_object s
	join present p on p.kind = s.kind and p.identity = s.identity
	cross join lateral (select case p.kind when 'view' then 'table' else p.kind end as kind) w
	where p.grants <> s.grants
	union all
	-- Logical replication copies rows, and not where the numbers of the next ones begin.
	select 6, 'sequence ' || q.name, 'is behind its table', format('select pg_catalog.setval(%L, %L)', q.name, q.newest), true
	from (
		select 'stint.agent_host_host_id_seq' as name, last_value, (select max(host_id) from stint.agent_host) as newest
		from stint.agent_host_host_id_seq
		union all
		select 'stint.change_change_id_seq', last_value, (select max(change_id) from stint.change) from stint.change_change_id_seq
		union all
		select 'stint.policy_policy_id_seq', last_value, (select max(policy_id) from stint.policy) from stint.policy_policy_id_seq
	) q
	where q.newest > q.last_value
	union all
	-- Tables of one row, which their functions don't do without.
	select 7, 'table ' || t.name, 'has lost its row', t.mend, true
	from (
		select 'stint.change_queue' as name, 'insert into stint.change_queue default values' as mend,
			exists (select from stint.change_queue) as found
		union all
		select 'stint.expiry', 'insert into stint.expiry default values', exists (select from stint.expiry)
		union all
		select 'stint.fleet', 'insert into stint.fleet (live_hosts, counted_at) values (1, ''-infinity'')', exists (select from stint.fleet)
		union all
		select 'stint.schema_identity', 'insert into stint.schema_identity default values', exists (select from stint.schema_identity)
	) t
	where not t.found
	union all
	select 8, 'table stint.schema_object', 'is empty: the dump was restored in part', null, false
	where not exists (select from stint.schema_object)
) p
order by step, object
