-- An agent reports that it stops.

create function stint.stop_host(host_id int, instance text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
	-- As in stint.count_hosts().
	patience constant interval := interval '15 seconds';
begin
	update stint.agent_host h
	set state = 'stopped', state_since = now, seen_at = now, live = false, clients = 0, fallback_since = null
	where h.host_id = stop_host.host_id and h.instance = stop_host.instance
		and (h.rival_instance <> h.instance and h.rival_seen_at between now - patience and now + patience) is not true;
	if not found then
		-- If two agents have the same name, the other one has the row from now on.
		update stint.agent_host h set
			instance = case when h.instance = stop_host.instance then h.rival_instance else h.instance end,
			rival_instance = null,
			rival_seen_at = null
		where h.host_id = stop_host.host_id
			and stop_host.instance in (h.instance, h.rival_instance) and h.rival_instance <> h.instance
			and h.rival_seen_at between now - patience and now + patience;
	end if;
	-- The next host that is heard of counts anew: most often it is the agent that takes this one's place. Who has
	-- locked the row is counting.
	update stint.fleet f set counted_at = '-infinity'
	where f.only_row = (select o.only_row from stint.fleet o for update skip locked);
end
$$;

comment on function stint.stop_host(int, text) is
	'For agents, at their end: the host no longer counts for fair shares. Nothing happens if another instance has taken its place, or lives.';
revoke execute on function stint.stop_host(int, text) from public;
grant execute on function stint.stop_host(int, text) to stint_agent;
