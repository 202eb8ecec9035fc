-- Why what belongs to the schema must not be used by the user who asks, and what to do about it: the first reason of either kind. `stint` asks
-- this before it uses any of it, with pg_catalog alone in its search_path; so nothing is read here but the catalogue. tables_alone: it is
-- one only for who uses tables himself.
with relation as (
	select c.*
	from pg_class c
	join pg_namespace n on n.oid = c.relnamespace
	where n.nspname = 'stint'
), owned as (
	select 1 as step, 'pg_namespace'::regclass as class, n.oid, n.nspowner as owner
	from pg_namespace n
	where n.nspname = 'stint'
	union all
	select 2, 'pg_class'::regclass, c.oid, c.relowner
	from relation c
	where c.relkind not in ('i', 'I')
	union all
	select 2, 'pg_proc'::regclass, p.oid, p.proowner
	from pg_proc p
	join pg_namespace n on n.oid = p.pronamespace
	where n.nspname = 'stint'
), untrusted as (
	-- Who is a member of the user's role has his rights; a superuser is a member of all.
	select o.step, i.type || ' ' || i.identity as object, pg_get_userbyid(o.owner) as owner
	from owned o
	cross join lateral pg_identify_object(o.class, o.oid, 0) i
	where pg_get_userbyid(o.owner) <> 'stint_owner' and not pg_has_role(o.owner, current_user, 'member')
), used (name, gets_rows) as (
	-- What `stint db` reads itself, and what it puts a row into: one that is lost, see check.sql, or in a migration.
	values ('agent_host', false), ('change', false), ('policy', false), ('agent_host_host_id_seq', false), ('change_change_id_seq', false),
		('policy_policy_id_seq', false), ('migration', true), ('schema_object', true), ('change_queue', true), ('expiry', true), ('fleet', true),
		('schema_identity', true),
		-- Of 0.1.0, these too are taken over.
		('client_override', false), ('counter', false), ('host_fallback', false)
), part as (
	-- What may run with a table: defaults, constraints, indexes, rules, policies and triggers; and the types of its columns.
	select c.oid as relation, 'pg_class'::regclass as class, c.oid from relation c
	union all
	select x.indrelid, 'pg_class'::regclass, x.indexrelid from pg_index x
	union all
	select a.adrelid, 'pg_attrdef'::regclass, a.oid from pg_attrdef a
	union all
	select k.conrelid, 'pg_constraint'::regclass, k.oid from pg_constraint k
), unsafe as (
	select case
		when u.name like '%\_seq' and c.relkind <> 'S' then 'is no sequence'
		when u.name not like '%\_seq' and c.relkind <> 'r' then 'is no plain table'
		when exists (select from pg_rewrite w where w.ev_class = c.oid) then 'has a rule'
		when c.relrowsecurity then 'has row security'
		when exists (select from pg_inherits i where i.inhparent = c.oid) then 'is inherited by another'
		when u.gets_rows and exists (select from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal) then 'has a trigger'
		when exists (select from part p join pg_depend d on d.classid = p.class and d.objid = p.oid
			where p.relation = c.oid and d.refclassid in ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass))
			then 'uses functions or types of somebody''s own'
		-- Of the server's own functions, which are in no list of dependencies, some run any statement. Defaults of stint's have these.
		when u.gets_rows and exists (select from pg_attrdef a where a.adrelid = c.oid and a.adbin::text ~ 'FUNCEXPR'
				and pg_get_expr(a.adbin, a.adrelid) not in ('SESSION_USER', 'clock_timestamp()', 'gen_random_uuid()')
			union all select from pg_constraint k where k.conrelid = c.oid and k.conbin::text ~ 'FUNCEXPR')
			then 'has a default or a constraint that runs a function' end as fault, i.type || ' ' || i.identity as object
	from relation c
	join used u on u.name = c.relname
	cross join lateral pg_identify_object('pg_class'::regclass, c.oid, 0) i
)
select distinct on (tables_alone) reason, remedy, tables_alone
from (
	select false as tables_alone, u.step, u.object, format('the %s belongs to "%s", who is neither stint_owner nor a superuser: what is in it would run with the rights of "%s"',
			case u.step when 1 then 'schema stint' else u.object end, u.owner, current_user) as reason,
		case u.step
			when 1 then format('if it is stint''s, restored from a dump: stint db migrate as "%s"; else drop it, or rename it', u.owner)
			else format('alter %s owner to stint_owner, if it is stint''s; else drop it, or move it to another schema', u.object) end as remedy
	from untrusted u
	union all
	select true, 3, u.object, format('the %s %s, not by stint: what somebody has put there would run with the rights of "%s"', u.object, u.fault,
			current_user), 'undo that, or restore the schema'
	from unsafe u
	where u.fault is not null
) r
order by tables_alone, step, object
