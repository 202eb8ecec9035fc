-- How agents find out whether somebody has locked a table or only rows: a statement that was refused for a lock
-- doesn't tell.

create function stint.await_tables() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	lock table stint.policy, stint.client_override in access share mode;
	lock table stint.counter in row exclusive mode;
end
$$;

comment on function stint.await_tables() is
	'For agents: returns when nobody keeps a lock that every grant would have to wait for, and fails after lock_timeout.';
revoke execute on function stint.await_tables() from public;
grant execute on function stint.await_tables() to stint_agent;
