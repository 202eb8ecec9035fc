-- An agent lives. The row is the instance's that registered last; another one that calls itself the same is noted
-- beside it, and takes the row over when its owner is heard of no more.

create function stint.heartbeat(host_id int, instance text, state text, clients bigint, fallback_ms bigint)
returns table (now_us bigint, live_hosts int, change_id bigint, rival boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
	-- Heartbeats come every second; five are missed before an instance is gone. Either side, as the clock may be set.
	patience constant interval := interval '5 seconds';
begin
	update stint.agent_host h set
		instance = heartbeat.instance,
		state = heartbeat.state,
		state_since = case when h.state = heartbeat.state then h.state_since else now end,
		seen_at = now,
		clients = heartbeat.clients,
		fallback_since = case when fallback_ms > 0 then now - fallback_ms * interval '1 millisecond' end
	where h.host_id = heartbeat.host_id
		and (h.instance = heartbeat.instance or h.state = 'stopped' or h.seen_at not between now - patience and now + patience)
	returning coalesce(h.rival_instance <> h.instance and h.rival_seen_at between now - patience and now + patience, false)
	into rival;
	if not found then
		update stint.agent_host h set rival_instance = heartbeat.instance, rival_seen_at = now
		where h.host_id = heartbeat.host_id
		returning true into rival;
	end if;
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
	'For agents, every second: how it is, and what is new. rival: another live agent says it has this host''s name. No row: the host is not '
	'known any more and must register.';
revoke execute on function stint.heartbeat(int, text, text, bigint, bigint) from public;
grant execute on function stint.heartbeat(int, text, text, bigint, bigint) to stint_agent;
