-- The operator makes a policy a shadow, or ends that, and pins it: an app's declaration would change it back.

create function stint.set_shadow(name text, shadow boolean) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	if set_shadow.shadow is null then
		raise exception 'stint: shadow is null, must be true or false' using errcode = '22023';
	end if;
	perform stint.enter_queue();
	update stint.policy p set shadow = set_shadow.shadow, pinned = true where p.policy_id = stint.find_policy(set_shadow.name);
end
$$;

comment on function stint.set_shadow(text, boolean) is
	'For operators: from now on a policy denies nobody, and apps are told who would be denied; or it is in force again. Its limits stay, and are pinned.';
revoke execute on function stint.set_shadow(text, boolean) from public;
grant execute on function stint.set_shadow(text, boolean) to stint_operator;
