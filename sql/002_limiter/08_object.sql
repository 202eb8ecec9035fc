-- What belongs to the schema, and who may do what with it. Each migration ends by writing down what it has made.
-- `stint db status` compares that with what is there; `stint db migrate` puts right what a restored dump lacks,
-- or what somebody has changed by hand.

create table stint.schema_object (
	kind     text not null,
	identity text not null,
	grants   text[] not null,
	primary key (kind, identity)
);

comment on table stint.schema_object is 'All that the migrations have made, and the rights that they have granted, as of stint.present_object.';
comment on column stint.schema_object.kind is 'What it is: schema, table, view, sequence, index, function, trigger, constraint.';
comment on column stint.schema_object.identity is 'Its name, as SQL takes it; of a function with the types of its arguments.';
comment on column stint.schema_object.grants is 'Who may do what with it: role and privilege.';

-- The view leaves out rights of roles that are not the schema's own, since an administrator may grant more, and
-- NOT NULLs, which are constraints only since PostgreSQL 18. A disabled trigger counts as missing.
create view stint.present_object as
select o.kind, i.identity, pg_get_userbyid(o.owner) as owner, array(
	select a.grantee_name || ' ' || a.privilege_type || case when a.is_grantable then ' WITH GRANT OPTION' else '' end
	from (
		select case e.grantee when 0 then 'PUBLIC' else pg_get_userbyid(e.grantee)::text end as grantee_name, e.*
		from aclexplode(o.acl) e
		where e.grantee <> o.owner
	) a
	where a.grantee_name in ('PUBLIC', 'stint_owner', 'stint_agent', 'stint_operator', 'stint_auditor', 'stint_cache')
	order by 1
) as grants
from (
	select 'schema' as kind, 'pg_namespace'::regclass as class, n.oid as object, n.nspowner as owner,
		coalesce(n.nspacl, acldefault('n', n.nspowner)) as acl
	from pg_namespace n
	where n.nspname = 'stint'
	union all
	select case c.relkind when 'v' then 'view' when 'S' then 'sequence' when 'i' then 'index' else 'table' end, 'pg_class'::regclass, c.oid,
		c.relowner, case c.relkind when 'i' then null when 'S' then coalesce(c.relacl, acldefault('s', c.relowner))
			else coalesce(c.relacl, acldefault('r', c.relowner)) end
	from pg_class c
	where c.relnamespace = 'stint'::regnamespace and c.relkind in ('r', 'v', 'S', 'i')
	union all
	select 'function', 'pg_proc'::regclass, p.oid, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
	from pg_proc p
	where p.pronamespace = 'stint'::regnamespace
	union all
	select 'trigger', 'pg_trigger'::regclass, t.oid, c.relowner, null
	from pg_trigger t
	join pg_class c on c.oid = t.tgrelid
	where c.relnamespace = 'stint'::regnamespace and not t.tgisinternal and t.tgenabled in ('O', 'A')
	union all
	select 'constraint', 'pg_constraint'::regclass, k.oid, c.relowner, null
	from pg_constraint k
	join pg_class c on c.oid = k.conrelid
	where k.connamespace = 'stint'::regnamespace and k.contype in ('c', 'f', 'p', 'u')
) o
cross join lateral pg_identify_object(o.class, o.object, 0) i;

comment on view stint.present_object is 'All that is in the schema now, its owner, and the rights that everybody and the schema''s roles have.';
comment on column stint.present_object.kind is 'As in stint.schema_object.';
comment on column stint.present_object.identity is 'As in stint.schema_object.';
comment on column stint.present_object.owner is 'Whose it is; of triggers and constraints, whose their table is.';
comment on column stint.present_object.grants is 'As in stint.schema_object.';
