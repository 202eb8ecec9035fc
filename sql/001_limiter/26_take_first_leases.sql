-- What agents call for clients of whom they know nothing, hence no debts either: each request is for credits for
-- now, and nothing else. Mostly there is no row yet. Then one insert does all, at half the cost of take_leases().
-- A client that the database knows from another host is granted from its row, under the row's lock; that writes
-- the row even when nothing is granted. Rows are locked in the order of the key, as in take_leases(): batches of
-- either kind never deadlock.

create function stint.take_first_leases(
	hosts int, policy_ids int[], client_ids text[], needs int[], leasts int[], wants int[]
) returns table (
	request int, granted int, sub_window bigint, valid_us bigint, granted_next int, starts_in_us bigint, next_valid_us bigint,
	remaining int, retry_us bigint, reset_us bigint, max_requests int, charged int
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- As for take_leases().
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_nestloop = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
	started_at constant timestamptz := clock_timestamp();
	t_us constant bigint := (extract(epoch from started_at) * 1000000)::bigint;
	host_count constant int := greatest(coalesce(hosts, 1), 1);
	size constant int := cardinality(policy_ids);
begin
	if not coalesce(
		cardinality(client_ids) = size and cardinality(needs) = size and cardinality(leasts) = size and cardinality(wants) = size, false)
	then
		raise exception 'stint: the arrays of a batch must have the same length' using errcode = '22023';
	end if;
	perform stint.secure_commit();

	return query
	with asked as (
		select distinct on (a.policy_id, a.client_id collate "C")
			a.ordinal::int as request, a.policy_id, a.client_id collate "C" as client_id,
			a.need, greatest(least(a.least_need, a.need), 1) as least_need, a.want, l.*
		from unnest(policy_ids, client_ids, needs, leasts, wants) with ordinality
			as a (policy_id, client_id, need, least_need, want, ordinal)
		cross join lateral stint.limit_of(a.policy_id, a.client_id) l
		where octet_length(a.client_id) between 1 and 255 and a.need >= 1 and a.least_need >= 0 and a.want >= 0
		order by a.policy_id, a.client_id collate "C", a.ordinal
	),
	written as (
		insert into stint.counter as c (
			policy_id, client_id, head_us, sub_window_us, turn, max_requests, request, granted, granted_next, charged,
			resolution, counts)
		select a.policy_id, a.client_id, g.head_us, a.sub_window_us, stint.first_turn(a.client_id, t_us), a.max_requests, a.request,
			g.granted, 0, 0, a.resolution, array_remove(array[g.granted], 0)
		from asked a
		cross join lateral (
			select stint.phase_us(a.policy_id, a.client_id, a.sub_window_us) as phase_us offset 0
		) s
		cross join lateral stint.first_grant(
			t_us, s.phase_us, host_count, a.max_requests, a.sub_window_us, a.need, a.least_need, a.want) g
		order by a.policy_id, a.client_id
		on conflict (policy_id, client_id) do update set
			sub_window_us = excluded.sub_window_us,
			turn = c.turn + 1,
			max_requests = excluded.max_requests,
			request = excluded.request,
			resolution = excluded.resolution,
			(head_us, granted, granted_next, charged, counts) = (
				select t.head_us, t.granted, t.granted_next, t.charged, t.counts
				from stint.take(
					c.head_us, c.sub_window_us, c.counts, t_us, mod(excluded.head_us, excluded.sub_window_us),
					host_count, excluded.max_requests, excluded.sub_window_us, excluded.resolution,
					needs[excluded.request], greatest(least(leasts[excluded.request], needs[excluded.request]), 1),
					wants[excluded.request], 0, 0, 0, 0, 0) t)
		returning c.request, c.granted, c.head_us, c.sub_window_us, c.counts, c.max_requests, c.resolution,
			c.turn = stint.first_turn(c.client_id, t_us) as is_new
	)
	select w.request, w.granted, t.sub_window, t.valid_us, 0, t.valid_us, t.valid_us + w.sub_window_us,
		t.remaining, t.retry_us, t.reset_us, w.max_requests, 0
	from written w
	cross join lateral (
		select f.remaining, f.sub_window, f.valid_us, f.retry_us, f.reset_us
		from stint.first_answer(t_us, w.head_us, w.max_requests, w.sub_window_us, w.resolution, w.granted) f
		where w.is_new
		union all
		-- The parts of the answer that the row doesn't hold come from a request for nothing. (A request that was
		-- refused is made once more, and refused once more.)
		select t.remaining, t.sub_window, t.valid_us, t.retry_us, t.reset_us
		from stint.take(
			w.head_us, w.sub_window_us, w.counts, t_us, 0, host_count, w.max_requests, w.sub_window_us, w.resolution,
			case when w.granted = 0 then needs[w.request] else 0 end,
			greatest(least(leasts[w.request], needs[w.request]), 1), 0, 0, 0, 0, 0, 0) t
		where not w.is_new
	) t;

	if clock_timestamp() < started_at or clock_timestamp() > started_at + interval '2 seconds' then
		raise exception 'stint: the grant took %', clock_timestamp() - started_at
			using errcode = 'ST001', hint = 'Rows were locked for too long, or the server''s clock was set. Nothing was granted.';
	end if;
end
$$;

comment on function stint.take_first_leases(int, int[], text[], int[], int[], int[]) is
	'take_leases() for clients that the agent knows nothing of. No row for a request whose policy or client is unknown or bad.';
revoke execute on function stint.take_first_leases(int, int[], text[], int[], int[], int[]) from public;
grant execute on function stint.take_first_leases(int, int[], text[], int[], int[], int[]) to stint_agent;
