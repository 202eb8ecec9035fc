-- Exceptions for one client: another limit, or none at all.

create function stint.check_client(client text) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
	if coalesce(octet_length(client) not between 1 and 255, true) then
		raise exception 'stint: the client has % bytes, must be 1 to 255', coalesce(octet_length(client), 0) using errcode = '22023';
	end if;
end
$$;

comment on function stint.check_client(text) is 'Raises 22023 if a client_id has not 1 to 255 bytes.';
revoke execute on function stint.check_client(text) from public;

create function stint.set_override(policy text, client text, max_requests bigint, note text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	perform stint.check_client(client);
	if coalesce(max_requests not between 1 and 1000000000, true) then
		raise exception 'stint: max_requests is %, must be 1 to 1000000000', coalesce(max_requests::text, 'null')
			using errcode = '22023', hint = 'To admit nothing, use stint.block_client().';
	end if;
	insert into stint.client_override (policy_id, client_id, max_requests, note)
	values (stint.find_policy(policy), client, set_override.max_requests, set_override.note)
	on conflict on constraint client_override_pkey do update
	set max_requests = excluded.max_requests, blocked = false, note = excluded.note;
end
$$;

comment on function stint.set_override(text, text, bigint, text) is 'For operators: gives one client a limit of its own, and unblocks it.';
revoke execute on function stint.set_override(text, text, bigint, text) from public;
grant execute on function stint.set_override(text, text, bigint, text) to stint_operator;

create function stint.block_client(policy text, client text, note text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	perform stint.check_client(client);
	insert into stint.client_override (policy_id, client_id, blocked, note)
	values (stint.find_policy(policy), client, true, block_client.note)
	on conflict on constraint client_override_pkey do update set blocked = true, note = excluded.note;
end
$$;

comment on function stint.block_client(text, text, text) is 'For operators: admits nothing of one client any more.';
revoke execute on function stint.block_client(text, text, text) from public;
grant execute on function stint.block_client(text, text, text) to stint_operator;

create function stint.clear_override(policy text, client text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	delete from stint.client_override o
	where o.policy_id = stint.find_policy(policy) and o.client_id = client collate "C";
	if not found then
		raise exception 'stint: client % of policy % has no override', quote_literal(left(client, 80)), quote_literal(policy)
			using errcode = '22023';
	end if;
end
$$;

comment on function stint.clear_override(text, text) is 'For operators: gives a client the policy''s limit again.';
revoke execute on function stint.clear_override(text, text) from public;
grant execute on function stint.clear_override(text, text) to stint_operator;
