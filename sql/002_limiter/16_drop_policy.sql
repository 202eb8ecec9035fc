-- The operator deletes a policy that no app uses any more.

create function stint.drop_policy(name text, with_exceptions boolean default true) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	id int;
	blocks bigint;
	limits bigint;
begin
	perform stint.enter_queue(); -- so that nobody makes an exception meanwhile
	id := stint.find_policy(drop_policy.name);
	select count(*) filter (where o.blocked), count(*) filter (where o.max_requests is not null) into blocks, limits
	from stint.override_in_force o
	where o.policy_id = id;
	if blocks + limits > 0 and not with_exceptions then
		raise exception 'stint: with policy % would go % blocks and % limits of clients'' own', quote_literal(name), blocks, limits
			using errcode = '2BP01';
	end if;
	delete from stint.policy p where p.policy_id = id;
end
$$;

comment on function stint.drop_policy(text, boolean) is
	'For operators: deletes a policy and its overrides, and later, by expiry, its counters. with_exceptions false: raises 2BP01 if clients are blocked or have '
	'limits of their own. An app that still uses it brings it back with its next declaration: that is told in stint.policy_limit, stint.policy_history and '
	'the agent''s log.';
revoke execute on function stint.drop_policy(text, boolean) from public;
grant execute on function stint.drop_policy(text, boolean) to stint_operator;
