-- The schema of 0.1.0 was migration 1. Where it is there it makes room, whole; see 98_take_over.sql. (Calls of its agents
-- fail from here on: each limits by its fallback, until it is updated. What they hold of leases stays charged.)

-- Whoever owns the database may have given it another, in which functions and operators of his are found first.
set local search_path = pg_catalog, pg_temp;

do $$
declare
	owner text := (select pg_get_userbyid(n.nspowner) from pg_catalog.pg_namespace n where n.nspname = 'stint' and exists (
		select from pg_catalog.pg_class c where c.relnamespace = n.oid and c.relname = 'migration'));
	made constant text[] := array['agent_host', 'change', 'client_limit', 'change_queue', 'client_override', 'counter', 'expiry', 'fallback_period', 'host',
		'host_fallback', 'limited', 'migration', 'policy', 'policy_history', 'policy_limit', 'top_client', 'usage'];
	other text;
begin
	if owner is null then
		return; -- there is no schema of that name, or it is another
	end if;
	if owner <> 'stint_owner' then
		raise exception 'the schema stint belongs to %, and not to stint_owner', owner
			using hint = 'if it was restored from a dump of 0.1.0 without the roles, restore these first';
	end if;
	if (select max(m.version) from stint.migration m) > 1 then
		return;
	end if;
	if to_regnamespace('stint_before') is not null then
		raise exception 'there is a schema stint_before, a name that this migration needs';
	end if;

	-- Nothing is granted, and no limit changed, between what is read of these and the end. Whoever has read them in a
	-- transaction that is still open would hold up all agents meanwhile.
	set local lock_timeout = '5s';
	lock table stint.policy, stint.client_override, stint.counter in access exclusive mode;

	-- What somebody else has added would be dropped with the rest.
	other := (select string_agg(format('%s %s', case when c.relkind in ('v', 'm') then 'view' else 'table' end, c.oid::regclass), ', ')
		from pg_catalog.pg_class c
		where c.relkind in ('r', 'p', 'f', 'v', 'm') and case when c.relnamespace = to_regnamespace('stint') then c.relname <> all (made)
			else exists (select from pg_catalog.pg_rewrite w
				join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
				join pg_catalog.pg_class u on d.refclassid = 'pg_catalog.pg_class'::regclass and u.oid = d.refobjid
				where w.ev_class = c.oid and u.relnamespace = to_regnamespace('stint')) end);
	if other is not null then
		raise exception 'in the schema stint, or reading it, and not made by stint: %', other
			using hint = 'drop views and make them again after the migration; move tables to another schema';
	end if;
	alter schema stint rename to stint_before;
end
$$;
