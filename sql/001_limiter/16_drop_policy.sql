-- The operator deletes a policy that no app uses any more.

create function stint.drop_policy(name text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	delete from stint.policy p where p.policy_id = stint.find_policy(drop_policy.name);
end
$$;

comment on function stint.drop_policy(text) is
	'For operators: deletes a policy and its overrides, and later, by expiry, its counters. An app that still uses it declares it anew.';
revoke execute on function stint.drop_policy(text) from public;
grant execute on function stint.drop_policy(text) to stint_operator;
