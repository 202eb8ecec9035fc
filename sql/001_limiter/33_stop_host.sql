-- An agent reports that it stops.

create function stint.stop_host(host_id int, instance text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
begin
	-- If two agents have the same name, the other one has the row from now on.
	update stint.agent_host h set
		instance = case when h.instance = stop_host.instance then h.rival_instance else h.instance end,
		rival_instance = null,
		rival_seen_at = null
	where h.host_id = stop_host.host_id
		and stop_host.instance in (h.instance, h.rival_instance) and h.rival_instance <> h.instance
		and h.rival_seen_at between now - interval '15 seconds' and now + interval '15 seconds';
	if not found then
		update stint.agent_host h
		set state = 'stopped', state_since = now, seen_at = now, live = false, clients = 0, fallback_since = null
		where h.host_id = stop_host.host_id and h.instance = stop_host.instance;
	end if;
	perform stint.count_hosts(null, true);
end
$$;

comment on function stint.stop_host(int, text) is
	'For agents, at their end: the host no longer counts for fair shares. Nothing happens if another instance has taken its place, or lives.';
revoke execute on function stint.stop_host(int, text) from public;
grant execute on function stint.stop_host(int, text) to stint_agent;
