-- With a pooler in transaction mode an agent has no session: each of its transactions begins with this. What it sets
-- lasts until the transaction's end, in contrast to a SET clause of a function. statement_timeout is for the next
-- statement, as the server has begun to count for this one.

create function stint.begin_call(server_run text, statement_timeout_ms int, lock_timeout_ms int, commits text) returns void
language plpgsql volatile
as $$
begin
	perform pg_catalog.set_config('search_path', 'pg_catalog', true);
	if server_run is distinct from stint.get_server_run() then
		raise exception 'stint: this is not the server, or not its run, that the agent has met' using errcode = 'ST002';
	end if;
	perform set_config('statement_timeout', statement_timeout_ms::text, true), set_config('lock_timeout', lock_timeout_ms::text, true),
		set_config('plan_cache_mode', 'auto', true), set_config('enable_indexscan', 'on', true),
		set_config('enable_hashjoin', 'on', true), set_config('jit', 'off', true),
		set_config('standard_conforming_strings', 'on', true), set_config('log_parameter_max_length_on_error', '0', true),
		set_config('stint.synchronous_commit', commits, true);
	if has_parameter_privilege('log_parameter_max_length', 'set') then
		perform set_config('log_parameter_max_length', '0', true);
	end if;
	if current_setting('transaction_timeout', true) is not null then -- PostgreSQL 17 and later
		perform set_config('transaction_timeout', '0', true);
	end if;
end
$$;

comment on function stint.begin_call(text, int, int, text) is
	'For agents behind a pooler in transaction mode: the settings of the transaction, in which one more statement follows. Fails (ST002) where '
	'stint.get_server_run() is another. commits: see stint.secure_commit().';
revoke execute on function stint.begin_call(text, int, int, text) from public;
grant execute on function stint.begin_call(text, int, int, text) to stint_agent;
