-- An agent reports that it lives. The row belongs to the instance that registered last. Another instance with the
-- same name is noted beside it, and takes the row over when the owner is no longer heard of.

create function stint.heartbeat(
	host_id int, instance text, state text, clients bigint, fallback_ms bigint, pooled boolean default false, in_force bigint default null,
	mark int default null
)
returns table (now_us bigint, change_id bigint, live_hosts int, rival boolean, expires boolean, old_snapshot boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
	-- As in stint.count_hosts().
	patience constant interval := interval '15 seconds';
begin
	perform stint.commit_later();
	update stint.agent_host h set
		instance = heartbeat.instance,
		state = heartbeat.state,
		state_since = case when h.state = heartbeat.state then h.state_since else now end,
		seen_at = now,
		live = true,
		backend_pid = case when not pooled then pg_backend_pid() end,
		clients = heartbeat.clients,
		in_force = heartbeat.in_force,
		mark = heartbeat.mark,
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
	change_id := stint.get_newest_change();
	select c.live_hosts, coalesce(c.counted_by = heartbeat.host_id, false), c.old_snapshot into live_hosts, expires, old_snapshot
	from stint.count_hosts(host_id, false) c;
	return next;
end
$$;

comment on function stint.heartbeat(int, text, text, bigint, bigint, boolean, bigint, int) is
	'For agents, every 6 s and when their state changes: how it is, and what is new. in_force: the newest change that all its clients have met, null or negative: not known. mark: of its leases in stint.counter. rival: another live agent says it has this host''s name. '
	'expires: until the next heartbeat it is this one''s turn to call stint.expire_counters(). old_snapshot: an operator should know that there is one. No row: the host is not known any more and must '
	'register.';
revoke execute on function stint.heartbeat(int, text, text, bigint, bigint, boolean, bigint, int) from public;
grant execute on function stint.heartbeat(int, text, text, bigint, bigint, boolean, bigint, int) to stint_agent;

-- Many agents call this often; therefore it only reads.
create function stint.pulse() returns table (now_us bigint, change_id bigint, wal_end bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	now_us := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
	change_id := stint.get_newest_change();
	wal_end := stint.get_wal_end();
	return next;
end
$$;

comment on function stint.pulse() is 'For agents, between their heartbeats: this server''s clock, the newest change, and where the write-ahead log ends.';
revoke execute on function stint.pulse() from public;
grant execute on function stint.pulse() to stint_agent;
