-- Called when an agent connects. On a read-only standby this fails, as it must: no lease may come from there.

-- A hash that tells servers apart. When a dump is restored, into another cluster, another database, or over this
-- one, the rows are the same, but the cluster's and the tables' own numbers differ. A copy of the files has the
-- same numbers, but another timeline. (A snapshot of the disks that is put back has the same of both: there,
-- agents see that the write-ahead log ends before where it ended.)
create function stint.get_server() returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
	cluster bigint := 0;
begin
	begin
		cluster := (pg_control_system()).system_identifier;
	exception
		when insufficient_resources then
			raise; -- a moment later it tells: it must not be taken for another server meanwhile
		when others then -- hosted servers may refuse this, or not know it: the other numbers have to do
			null;
	end;
	return (
		select lpad(to_hex(hashtextextended(concat_ws('/', (select i.made_as from stint.schema_identity i), cluster, d.oid,
			'stint.counter'::regclass::oid) collate "C", 0)), 16, '0')
		from pg_database d
		where d.datname = current_database());
end
$$;

comment on function stint.get_server() is
	'Which tables on which server these are, 16 hexadecimal digits: a hash of the identity that the schema got when it was made, the cluster''s '
	'system identifier, and the object ids of the database and of stint.counter.';
revoke execute on function stint.get_server() from public;

create function stint.get_wal_end() returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
	return (pg_current_wal_flush_lsn() - '0/0')::bigint;
exception
	when insufficient_resources then
		raise;
	-- Servers that keep their log elsewhere (Aurora, for example) lack this function, or refuse it, each in its own
	-- way.
	when others then
		return 0;
end
$$;

comment on function stint.get_wal_end() is
	'Where the write-ahead log ends on disk: after a crash it never ends before that. 0: this server doesn''t tell.';
revoke execute on function stint.get_wal_end() from public;

-- Agents behind a pooler in transaction mode have no session whose end tells them that the server has gone. This
-- tells them, at little cost, in each of their transactions.
create function stint.get_server_run() returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	return (
		select concat_ws('/', extract(epoch from pg_postmaster_start_time()), d.oid, 'stint.counter'::regclass::oid)
		from pg_database d where d.datname = current_database());
end
$$;

comment on function stint.get_server_run() is
	'Another one whenever this server was started anew, or another server or database is in its place: when it was started, and the object ids '
	'of the database and of stint.counter. No secret.';
revoke execute on function stint.get_server_run() from public;
grant execute on function stint.get_server_run() to stint_agent;

-- A server that has taken another one's place may lack what the other committed last. So agents must know that
-- there is a new server, and since when: the first agent that connects writes it down, for all.
create function stint.note_server(out server text, out timeline text, out age_us bigint, out wal_end bigint, out fault text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
	since timestamptz; -- when this server was seen first
	other_since timestamptz; -- when any other one was
begin
	server := stint.get_server();
	wal_end := stint.get_wal_end();
	fault := '';
	begin
		timeline := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
		if wal_end = 0 then
			perform pg_current_wal_flush_lsn(); -- for its error
		end if;
	exception
		when insufficient_resources then
			raise;
		when others then -- as above
			timeline := coalesce(timeline, '');
			fault := translate(left(sqlerrm, 100), E'\n\r', '  ');
	end;
	loop
		select max(t.seen_at) filter (where t.server = note_server.server and t.timeline = note_server.timeline),
			min(t.seen_at) filter (where t.server <> note_server.server or t.timeline <> note_server.timeline)
		into since, other_since
		from stint.server_timeline t;
		exit when since is not null;
		insert into stint.server_timeline (server, timeline, seen_at) values (note_server.server, note_server.timeline, now)
		on conflict on constraint server_timeline_pkey do nothing;
	end loop;
	if other_since <= since then
		age_us := greatest((extract(epoch from now - since) * 1000000)::bigint, 0);
	end if;
end
$$;

comment on function stint.note_server() is
	'The server, the timeline of its write-ahead log, how long agents have known it, in microseconds (null: since they have used these tables), '
	'and where its log ends, see stint.get_wal_end(). fault: why it doesn''t tell its timeline, or where its log ends; else empty.';
revoke execute on function stint.note_server() from public;

-- For the server a restart of all agents is mostly the work of new sessions, which parse and plan all that they do. So
-- the statements here are few and simple, and what is rarely needed stands apart.
create function stint.register_host(name text, instance text, version text, pooled boolean default false)
returns table (host_id int, now_us bigint, live_hosts int, change_id bigint, server text, timeline text, server_age_us bigint, wal_end bigint,
	longest_lease_us bigint, server_run text, server_fault text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
	now constant timestamptz := clock_timestamp();
	is_known boolean;
begin
	select h.live and h.seen_at > now - interval '15 seconds' into is_known
	from stint.agent_host h
	where h.name = register_host.name;
	loop
		update stint.agent_host h set
			instance = register_host.instance,
			version = register_host.version,
			state = 'resync',
			state_since = now,
			started_at = case when h.instance = register_host.instance then h.started_at else now end,
			seen_at = now,
			live = true,
			backend_pid = case when not pooled then pg_backend_pid() end,
			in_force = null, -- this may be another server, which numbers changes anew
			-- The instance that had the row so far is a rival only if it is heard of again: most often this is a
			-- restart.
			rival_instance = nullif(h.rival_instance, register_host.instance)
		where h.name = register_host.name
		returning h.host_id into host_id;
		exit when found;
		insert into stint.agent_host (name, instance, version, state, state_since, started_at, seen_at, live)
		values (register_host.name, register_host.instance, register_host.version, 'resync', now, now, now, false)
		on conflict on constraint agent_host_name_key do nothing;
	end loop;

	now_us := (extract(epoch from now) * 1000000)::bigint;
	select c.live_hosts into live_hosts from stint.count_hosts(host_id, is_known is not true) c;
	change_id := stint.get_newest_change();
	select s.server, s.timeline, s.age_us, s.wal_end, s.fault into server, timeline, server_age_us, wal_end, server_fault
	from stint.note_server() s;
	-- A lease lasts at most for the current sub-window and `resolution` more; in a fixed window, for the next one.
	select coalesce(max(stint.sub_window_us(p.algorithm, p.time_window_ms, p.resolution)
		* case p.algorithm when 'fixed_window' then 2 else p.resolution + 1 end), 0)
	into longest_lease_us from stint.policy p;
	server_run := case when pooled then stint.get_server_run() else '' end;
	return next;
end
$$;

comment on function stint.register_host(text, text, text, boolean) is
	'For agents, after connecting: makes the host known, as this instance''s. now_us: this server''s clock; server, timeline, '
	'server_age_us, wal_end, server_fault: see stint.note_server(); longest_lease_us: how long a lease may last, of any policy; '
	'server_run: of a pooled one, see stint.get_server_run(), else empty. pooled: a pooler in transaction mode is in between, and the session tells nothing of the agent.';
revoke execute on function stint.register_host(text, text, text, boolean) from public;
grant execute on function stint.register_host(text, text, text, boolean) to stint_agent;
