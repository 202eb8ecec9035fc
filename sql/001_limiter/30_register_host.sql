-- An agent connects. On a read-only standby this fails, as it must: no lease may come from there.

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
	is_new constant boolean := not exists (
		select from stint.agent_host h where h.name = register_host.name and h.live and h.seen_at > now - interval '15 seconds');
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
		live = true,
		-- Who had the row so far is a rival only if he is heard of again: most often this is a restart.
		rival_instance = nullif(h.rival_instance, excluded.instance)
	returning h.host_id into host_id;

	now_us := (extract(epoch from now) * 1000000)::bigint;
	select c.live_hosts into live_hosts from stint.count_hosts(host_id, is_new) c;
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
