-- An agent lives.

create function stint.heartbeat(host_id int, instance text, state text, clients bigint, fallback_ms bigint)
returns table (now_us bigint, live_hosts int, change_id bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
begin
	update stint.agent_host h set
		instance = heartbeat.instance,
		state = heartbeat.state,
		state_since = case when h.state = heartbeat.state then h.state_since else now end,
		seen_at = now,
		clients = heartbeat.clients,
		fallback_since = case when fallback_ms > 0 then now - fallback_ms * interval '1 millisecond' end
	where h.host_id = heartbeat.host_id;
	if not found then
		return;
	end if;
	now_us := (extract(epoch from now) * 1000000)::bigint;
	live_hosts := stint.count_live_hosts();
	change_id := stint.get_newest_change();
	return next;
end
$$;

comment on function stint.heartbeat(int, text, text, bigint, bigint) is
	'For agents, every second: how it is, and what is new. No row: the host is not known any more and must register.';
revoke execute on function stint.heartbeat(int, text, text, bigint, bigint) from public;
grant execute on function stint.heartbeat(int, text, text, bigint, bigint) to stint_agent;
