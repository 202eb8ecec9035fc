-- The id of a policy that must exist.

create function stint.find_policy(name text) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
	id int := (select p.policy_id from stint.policy p where p.name = find_policy.name);
begin
	if id is null then
		raise exception 'stint: no policy %', coalesce(quote_literal(left(name, 80)), 'null') using errcode = 'P0002';
	end if;
	return id;
end
$$;

comment on function stint.find_policy(text) is 'A policy''s id by its name; raises P0002 (no_data_found) if there is none.';
revoke execute on function stint.find_policy(text) from public;
