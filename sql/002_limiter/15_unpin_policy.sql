-- The operator lets the apps change the policy again.

create function stint.unpin_policy(name text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	perform stint.enter_queue();
	update stint.policy p set pinned = false where p.policy_id = stint.find_policy(unpin_policy.name);
end
$$;

comment on function stint.unpin_policy(text) is 'For operators: leaves a policy to the apps'' declarations again; it changes with the next one.';
revoke execute on function stint.unpin_policy(text) from public;
grant execute on function stint.unpin_policy(text) to stint_operator;
