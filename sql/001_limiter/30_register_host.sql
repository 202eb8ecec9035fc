-- An agent connects. On a read-only standby this fails, as it must: no lease may come from there.

create function stint.count_live_hosts() returns int
language sql volatile
begin atomic
	-- Heartbeats come every second; ten are missed before a host is dead. It only shapes fair shares.
	select greatest(count(*), 1)::int from stint.agent_host h
	where h.state <> 'stopped' and h.seen_at > clock_timestamp() - interval '10 seconds';
end;

comment on function stint.count_live_hosts() is 'Agents that were heard of in the last 10 s, at least 1.';
revoke execute on function stint.count_live_hosts() from public;

create function stint.get_newest_change() returns bigint
language sql volatile
begin atomic
	select coalesce(max(c.change_id), 0) from stint.change c;
end;

comment on function stint.get_newest_change() is 'The newest change of policies and overrides; 0: none yet.';
revoke execute on function stint.get_newest_change() from public;

-- A promoted standby may lack what the old primary committed last, so agents must know of it, and how long ago it was: the first of
-- them to come writes it down, for all.
create function stint.note_timeline(out timeline text, out age_us bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
begin
	begin
		timeline := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
	-- Servers that keep their log elsewhere (Aurora, say) have no such function, or refuse it, each in its own way.
	exception when others then
		return;
	end;
	insert into stint.server_timeline (timeline, seen_at) values (note_timeline.timeline, now)
	on conflict on constraint server_timeline_pkey do nothing;
	select greatest((extract(epoch from now - t.seen_at) * 1000000)::bigint, 0) into age_us
	from stint.server_timeline t
	where t.timeline = note_timeline.timeline
		and exists (select from stint.server_timeline o where o.timeline <> t.timeline and o.seen_at <= t.seen_at);
end
$$;

comment on function stint.note_timeline() is
	'The timeline of the write-ahead log, and how long it has been known, in microseconds; null: since agents have used this database. '
	'timeline null: this server doesn''t tell.';
revoke execute on function stint.note_timeline() from public;

create function stint.register_host(name text, instance text, version text)
returns table (host_id int, now_us bigint, live_hosts int, change_id bigint, timeline text, timeline_age_us bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
	now constant timestamptz := clock_timestamp();
begin
	insert into stint.agent_host as h (name, instance, version, state, state_since, started_at, seen_at)
	values (register_host.name, register_host.instance, register_host.version, 'resync', now, now, now)
	on conflict (name) do update set
		instance = excluded.instance,
		version = excluded.version,
		state = excluded.state,
		state_since = excluded.state_since,
		started_at = case when h.instance = excluded.instance then h.started_at else excluded.started_at end,
		seen_at = excluded.seen_at,
		-- Who had the row so far is a rival only if he is heard of again: most often this is a restart.
		rival_instance = nullif(h.rival_instance, excluded.instance)
	returning h.host_id into host_id;
	delete from stint.agent_host h where h.seen_at < now - interval '30 days';

	now_us := (extract(epoch from now) * 1000000)::bigint;
	live_hosts := stint.count_live_hosts();
	change_id := stint.get_newest_change();
	select t.timeline, t.age_us into timeline, timeline_age_us from stint.note_timeline() t;
	return next;
end
$$;

comment on function stint.register_host(text, text, text) is
	'For agents, after connecting: makes the host known, as this instance''s. now_us: this server''s clock; timeline: of its write-ahead log; '
	'timeline_age_us: since when, see stint.note_timeline().';
revoke execute on function stint.register_host(text, text, text) from public;
grant execute on function stint.register_host(text, text, text) to stint_agent;
