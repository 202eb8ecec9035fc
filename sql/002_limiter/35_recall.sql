-- Leases that are called back. A client that has used little of its limit has long leases on several hosts. When one
-- host then needs all of it, that host has the others return what they haven't spent.
--
-- A recall is a wish, not a fact: nothing depends on it. So it is kept in a table that a crash empties, and nobody waits
-- until it is on disk. The first one after a pause sends a notice. Whoever hears it reads what is called back, and
-- reads again until nothing is new. So a notice wakes all agents once, however many recalls follow. (One that is
-- committed after a later one may be missed.)

create unlogged table stint.recall (
	policy_id int not null,
	client_id text collate "C" not null,
	recall_id bigint generated always as identity,
	called_at timestamptz not null,
	servers   bigint not null,
	primary key (policy_id, client_id)
);

create index recall_recall_id_idx on stint.recall (recall_id);

comment on table stint.recall is 'The last time that a client''s leases were called back. A row goes with the client''s counter.';
comment on index stint.recall_recall_id_idx is 'What is new is found without reading the rest.';
comment on column stint.recall.policy_id is 'The policy.';
comment on column stint.recall.client_id is 'The client.';
comment on column stint.recall.recall_id is 'Another one with each recall, a higher one.';
comment on column stint.recall.called_at is 'When.';
comment on column stint.recall.servers is 'The hosts that may have leases of it, a bit each, as in stint.counter.';

create function stint.recall_leases(policy_ids int[], client_ids text[]) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set lock_timeout = '10ms' -- leases of this host wait behind it
as $$
declare
	now constant timestamptz := clock_timestamp();
	t_us constant bigint := (extract(epoch from now) * 1000000)::bigint;
	-- However many hosts ask, and however often: a client is called back once in a sub-window, which counts for half a
	-- second at least, and for six at most.
	pause_least_us constant bigint := 500000;
	pause_most_us constant bigint := 6000000;
	-- Agents read again after a little more than this, see agent/recalls.c.
	read_again constant interval := interval '100 milliseconds';
	is_heard constant boolean := exists (
		select from (select r.called_at from stint.recall r order by r.recall_id desc limit 1) l where l.called_at between now - read_again and now);
	called bigint;
begin
	if cardinality(policy_ids) is distinct from cardinality(client_ids) or cardinality(policy_ids) is null then
		raise exception 'stint: the arrays of a batch must have the same length' using errcode = '22023';
	end if;
	perform stint.commit_later();
	insert into stint.recall as r (policy_id, client_id, called_at, servers)
	select c.policy_id, c.client_id, now, c.servers | c.servers_before
	from (
		select distinct a.policy_id, a.client_id collate "C" as client_id from unnest(policy_ids, client_ids) as a (policy_id, client_id)
	) a
	join stint.counter c on c.policy_id = a.policy_id and c.client_id = a.client_id
	-- Something is charged to a sub-window that only long leases reach: see recallable in stint.take().
	where c.ahead - greatest((t_us - c.current_us) / c.sub_window_us, 0) >= 2 + greatest((c.resolution - 1) / 10, 0)
		and not exists (
			select from stint.recall k
			where k.policy_id = c.policy_id and k.client_id = c.client_id and now between k.called_at and k.called_at
				+ least(greatest(c.sub_window_us, pause_least_us), pause_most_us) * interval '1 microsecond')
	order by c.policy_id, c.client_id
	-- Another host may have been faster since then.
	on conflict (policy_id, client_id) do update set recall_id = default, called_at = excluded.called_at, servers = excluded.servers
	where excluded.called_at not between r.called_at and r.called_at + pause_least_us * interval '1 microsecond';
	get diagnostics called = row_count;
	if called > 0 and not is_heard then
		perform stint.tell_agents('recall');
	end if;
	return called;
end
$$;

comment on function stint.recall_leases(int[], text[]) is
	'For agents: these clients'' long leases are called back from the hosts that have them. Returns for how many that is so: a client without such leases is '
	'left alone, and so is one that was called back within the last sub-window.';
revoke execute on function stint.recall_leases(int[], text[]) from public;
grant execute on function stint.recall_leases(int[], text[]) to stint_agent;

create function stint.get_recalls(host int, since bigint) returns table (recall_id bigint, policy_id int, client_id text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set lock_timeout = '10ms'
as $$
declare
	now constant timestamptz := clock_timestamp();
	newest constant bigint := coalesce((select max(r.recall_id) from stint.recall r), 0);
begin
	return query
	select r.recall_id, r.policy_id, r.client_id
	from (
		select n.* from stint.recall n where n.recall_id > since and n.recall_id <= newest order by n.recall_id desc limit 1000
	) r
	where r.called_at between now - interval '5 seconds' and now + interval '5 seconds'
		and r.servers >> abs(mod(host, 63)) & 1 = 1
	order by r.recall_id;
	return query values (newest, null::int, null::text);
end
$$;

comment on function stint.get_recalls(int, bigint) is
	'For agents: which clients'' leases were called back after recall `since`, as far as this host may have such leases, of the last 1,000 and the '
	'last 5 s. The last row tells the newest recall, and no client.';
revoke execute on function stint.get_recalls(int, bigint) from public;
grant execute on function stint.get_recalls(int, bigint) to stint_agent;
