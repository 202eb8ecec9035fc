-- What agents call for clients of whom they know nothing, hence no debts either: each request is for credits from
-- now on, and nothing else. Mostly there is no row yet. Then one insert does all, at half the cost of take_leases().
-- A client that the database knows from another host is granted from its row, under the row's lock; that writes
-- the row even when nothing is granted. Rows are locked in the order of the key, as in take_leases(): batches of
-- either kind never deadlock.

create function stint.take_first_leases(
	host int, policy_ids int[], client_ids text[], needs int[], leasts int[], wants int[], spans int[], span_leasts int[]
) returns table (
	request int, granted int, sub_window bigint, valid_us bigint, granted_next int, starts_in_us bigint, next_sub_window bigint,
	next_valid_us bigint, remaining int, retry_us bigint, reset_us bigint, max_requests int, charged int, next_is_open boolean,
	recallable int
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
	server constant int := coalesce(abs(mod(host, 63)), 0); -- the host's bit in servers; whatever the host is, no batch fails for it
	size constant int := cardinality(policy_ids);
begin
	if not coalesce(
		cardinality(client_ids) = size and cardinality(needs) = size and cardinality(leasts) = size and cardinality(wants) = size
		and cardinality(spans) = size and cardinality(span_leasts) = size, false)
	then
		raise exception 'stint: the arrays of a batch must have the same length' using errcode = '22023';
	end if;
	if not stint.commits_safely() then
		perform stint.secure_commit();
	end if;

	return query
	with asked as (
		select distinct on (a.policy_id, a.client_id collate "C")
			a.ordinal::int as request, a.policy_id, a.client_id collate "C" as client_id,
			a.need, greatest(least(a.least_need, a.need), 1) as least_need, a.want, a.span_most, a.span_least, l.*
		from unnest(policy_ids, client_ids, needs, leasts, wants, spans, span_leasts) with ordinality
			as a (policy_id, client_id, need, least_need, want, span_most, span_least, ordinal)
		cross join lateral stint.limit_of(a.policy_id, a.client_id, started_at) l
		where octet_length(a.client_id) between 1 and 255
			and a.need >= 1 and a.least_need >= 0 and a.want >= 0 and a.span_most >= 0 and a.span_least >= 0
		order by a.policy_id, a.client_id collate "C", a.ordinal
	),
	written as (
		insert into stint.counter as c (
			current_us, sub_window_us, turn, servers, servers_before, policy_id, max_requests, request, granted, granted_next, charged,
			early, ahead, resolution, span, client_id, counts)
		select g.current_us, a.sub_window_us, stint.first_turn(a.client_id, t_us), case g.granted when 0 then 0 else 1::bigint << server end, 0,
			a.policy_id, a.max_requests, a.request, g.granted, g.granted_next, 0, 0, g.ahead, a.resolution, g.span, a.client_id, g.counts
		from asked a
		cross join lateral (
			select stint.phase_us(a.policy_id, a.client_id, a.sub_window_us) as phase_us offset 0
		) s
		cross join lateral stint.first_grant(
			t_us, s.phase_us, a.max_requests, a.sub_window_us, a.resolution, a.need, a.least_need, a.want, a.span_most, a.span_least) g
		order by a.policy_id, a.client_id
		on conflict (policy_id, client_id) do update set
			sub_window_us = excluded.sub_window_us,
			turn = c.turn + 1,
			max_requests = excluded.max_requests,
			request = excluded.request,
			resolution = excluded.resolution,
			(current_us, servers, servers_before, granted, granted_next, charged, early, ahead, span, counts) = (
				select t.current_us, t.servers, t.servers_before, t.granted, t.granted_next, t.charged, t.early, t.ahead, t.span, t.counts
				from stint.take(
					c.current_us, c.sub_window_us, c.ahead, c.early, c.servers, c.servers_before, c.counts,
					t_us, mod(excluded.current_us, excluded.sub_window_us), server,
					excluded.max_requests, excluded.sub_window_us, excluded.resolution,
					needs[excluded.request], greatest(least(leasts[excluded.request], needs[excluded.request]), 1),
					wants[excluded.request], spans[excluded.request], span_leasts[excluded.request], 0, 0, 0, 0, 0, 0, 0, 0) t)
		returning c.request, c.granted, c.granted_next, c.current_us, c.sub_window_us, c.early, c.ahead, c.span, c.counts, c.max_requests, c.resolution,
			greatest(least(span_leasts[c.request], c.resolution::int), 0) as shortest,
			c.turn = stint.first_turn(c.client_id, t_us) as is_new
	)
	select w.request, w.granted, t.current_us + w.shortest * w.sub_window_us, t.starts_in_us + w.shortest * w.sub_window_us,
		w.granted_next, t.starts_in_us,
		t.current_us + abs(w.span) * w.sub_window_us,
		t.starts_in_us + abs(w.span) * w.sub_window_us,
		t.remaining,
		case when w.max_requests = 0
			then coalesce(stint.block_left_us(policy_ids[w.request], client_ids[w.request], started_at), t.retry_us) else t.retry_us end,
		t.reset_us, w.max_requests, 0, w.span > 0, t.recallable
	from written w
	cross join lateral (
		select w.current_us, f.starts_in_us, f.remaining, f.retry_us, f.reset_us, 0 as recallable
		from stint.first_answer(t_us, w.current_us, w.max_requests, w.sub_window_us, w.resolution, w.granted + w.granted_next, w.shortest, w.ahead) f
		where w.is_new
		union all
		-- The parts of the answer that the row doesn't hold come from a request for nothing. (A request that was
		-- refused is made once more, and refused once more.)
		select t.current_us, t.starts_in_us, t.remaining, t.retry_us, t.reset_us, t.recallable
		from stint.take(
			w.current_us, w.sub_window_us, w.ahead, w.early, 0, 0, w.counts, t_us, 0, server, w.max_requests, w.sub_window_us, w.resolution,
			case when w.granted = 0 then needs[w.request] else 0 end,
			greatest(least(leasts[w.request], needs[w.request]), 1), 0, 0, span_leasts[w.request], 0, 0, 0, 0, 0, 0, 0, 0) t
		where not w.is_new
	) t;

	if clock_timestamp() < started_at or clock_timestamp() > started_at + interval '2 seconds' then
		raise exception 'stint: the grant took %', clock_timestamp() - started_at
			using errcode = 'ST001', hint = 'Rows were locked for too long, or the server''s clock was set. Nothing was granted.';
	end if;
end
$$;

comment on function stint.take_first_leases(int, int[], text[], int[], int[], int[], int[], int[]) is
	'take_leases() for clients that the agent knows nothing of. No row for a request whose policy or client is unknown or bad.';
revoke execute on function stint.take_first_leases(int, int[], text[], int[], int[], int[], int[], int[]) from public;
grant execute on function stint.take_first_leases(int, int[], text[], int[], int[], int[], int[], int[]) to stint_agent;
