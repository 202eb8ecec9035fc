-- How many agents live. The count only shapes fair shares, so it may be some seconds old: one agent counts for
-- all, the first one that is heard of when the count is old. Until the next count, that agent also has another
-- duty, see stint.heartbeat(). So no work here grows with the square of the number of agents.

create function stint.count_hosts(host_id int, at_once boolean, out live_hosts int, out counted_by int, out old_snapshot boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
	now constant timestamptz := clock_timestamp();
	-- Heartbeats come every 6 s; a host that misses two counts as dead. Times are compared to both sides, as the
	-- clock may be set.
	patience constant interval := interval '15 seconds';
	turn constant interval := interval '5 seconds';
	counted timestamptz;
begin
	old_snapshot := false;
	select f.live_hosts, f.counted_by, f.counted_at into live_hosts, counted_by, counted from stint.fleet f;
	if counted between now - turn and now + turn and not at_once then
		return;
	end if;
	-- If another session has locked the row, that one is counting.
	perform from stint.fleet for update skip locked;
	if not found then
		return;
	end if;
	-- Two agents with the same name share one row: the rival counts, too.
	select greatest(count(*) + count(*) filter (
		where h.rival_instance <> h.instance and h.rival_seen_at between now - patience and now + patience), 1)
	into live_hosts
	from stint.agent_host h
	-- A killed agent, whose place another one with a new name may have taken, is gone when its session is gone.
	where h.live and h.seen_at between now - patience and now + patience
		and (h.backend_pid is null or h.backend_pid in (select pg_stat_get_backend_pid(b) from pg_stat_get_backend_idset() b));
	counted_by := count_hosts.host_id;
	update stint.fleet f set live_hosts = count_hosts.live_hosts, counted_at = now, counted_by = count_hosts.host_id;
	-- The rest is for heartbeats, whose host tells of an old snapshot.
	if at_once then
		return;
	end if;
	-- The condition stands here twice: if a host's row is locked by a heartbeat, the outer one is checked again
	-- when the row is free.
	update stint.agent_host h set live = false
	where h.host_id = any (array(
			select d.host_id from stint.agent_host d
			where d.live and d.seen_at not between now - 4 * patience and now + 4 * patience
			limit 1000))
		and h.seen_at not between now - 4 * patience and now + 4 * patience;
	old_snapshot := stint.find_old_snapshot();
end
$$;

comment on function stint.count_hosts(int, boolean) is
	'How many agents were heard of in the last 15 s and have a session that hasn''t ended, at least 1: as counted at most 5 s ago, or at once; and which host '
	'counted. old_snapshot: see stint.find_old_snapshot(); the host that counted tells of it.';
revoke execute on function stint.count_hosts(int, boolean) from public;

-- In PL/pgSQL, which keeps the plan: with each pulse it is half of what the server does.
create function stint.get_newest_change() returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
	return (select coalesce(max(c.change_id), 0) from stint.change c);
end
$$;

comment on function stint.get_newest_change() is 'The newest change of policies and overrides; 0: none yet.';
revoke execute on function stint.get_newest_change() from public;
