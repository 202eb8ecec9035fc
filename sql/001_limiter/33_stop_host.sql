-- An agent says goodbye.

create function stint.stop_host(host_id int, instance text) returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
begin atomic
	update stint.agent_host h
	set state = 'stopped', state_since = clock_timestamp(), seen_at = clock_timestamp(), clients = 0, fallback_since = null
	where h.host_id = stop_host.host_id and h.instance = stop_host.instance;
end;

comment on function stint.stop_host(int, text) is
	'For agents, at their end: the host no longer counts for fair shares. Nothing happens if another instance has taken its place.';
revoke execute on function stint.stop_host(int, text) from public;
grant execute on function stint.stop_host(int, text) to stint_agent;
