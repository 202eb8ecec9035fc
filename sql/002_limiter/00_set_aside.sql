-- The schema of 0.1.0 was migration 1. Where it is there it makes room, whole; see 98_take_over.sql. (Its agents find no
-- function from here on: each limits by its fallback, until it is updated. What they hold of leases stays charged.)

do $$
begin
	if not exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
			where n.nspname = 'stint' and c.relname = 'migration') then
		return; -- there is none, or another of that name
	end if;
	if (select max(m.version) from stint.migration m) = 1 then
		-- Nothing is granted, and no limit changed, between what is read of these and the end.
		lock table stint.policy, stint.client_override, stint.counter in access exclusive mode;
		alter schema stint rename to stint_before;
	end if;
end
$$;
