-- What agents call for credits: a batch of requests, one statement, one answer to each.
--
-- Every request is first worked out on the row as it can be read without a lock. One that changes nothing, a denial
-- above all, is answered from that and writes nothing. The others go into one upsert, in the order of the key, so
-- that batches never deadlock. Under its lock, a row of the same turn is still the one that was read, and takes the
-- result as it stands; another one has been granted from meanwhile, and the request is worked out again on
-- what is there now. So locks are held for a write, hardly ever for arithmetic.
--
-- A row that somebody else has locked is waited for; or, if `skips` says so, it is left alone, and its request is answered
-- `busy`. Which rows these are is seen as they are read. An upsert leaves its own transaction in a row's xmin and xmax; if
-- xmax is another one, somebody has locked or changed the row since, and perhaps is still about it. Only then can_lock_counter()
-- has to look. It does so when all rows before this one have been written: rows are locked in the order of the key, as
-- ever. What can't be skipped is a row that somebody is just inserting, which nobody else can see, or is locking just
-- after it was read: for that, a statement waits until lock_timeout.

create function stint.take_leases(
	host int, policy_ids int[], client_ids text[], needs int[], leasts int[], wants int[], spans int[], span_leasts int[],
	next_wants int[], charges int[], report_subs_1 bigint[], unspents_1 int[], spents_1 int[], report_subs_2 bigint[], unspents_2 int[],
	spents_2 int[], skips boolean default false
) returns table (
	request int, granted int, sub_window bigint, valid_us bigint, granted_next int, starts_in_us bigint, next_sub_window bigint,
	next_valid_us bigint, remaining int, retry_us bigint, reset_us bigint, max_requests int, charged int, next_is_open boolean,
	recallable int, busy boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- These settings give one plan, made once a session, that fits any size, even when it is made on an empty table
-- that gets a million rows before it is analysed: index scans on tables, nested loops only where they are needed
-- (lateral), hash joins between the batch's parts.
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
		and cardinality(spans) = size and cardinality(span_leasts) = size and cardinality(next_wants) = size and cardinality(charges) = size
		and cardinality(report_subs_1) = size and cardinality(unspents_1) = size and cardinality(spents_1) = size
		and cardinality(report_subs_2) = size and cardinality(unspents_2) = size and cardinality(spents_2) = size, false)
	then
		raise exception 'stint: the arrays of a batch must have the same length' using errcode = '22023';
	end if;
	if not stint.commits_safely() then
		perform stint.secure_commit();
	end if;

	return query
	with asked as materialized (
		select distinct on (a.policy_id, a.client_id collate "C")
			a.ordinal::int as request, a.policy_id, a.client_id collate "C" as client_id,
			a.need, greatest(least(a.least_need, a.need), 1) as least_need, a.want, a.span_most, a.span_least, a.next_want, a.charge,
			a.report_sub_1, a.unspent_1, a.spent_1, a.report_sub_2, a.unspent_2, a.spent_2, l.*,
			greatest(least(a.span_least, l.resolution), 0) as shortest
		from unnest(policy_ids, client_ids, needs, leasts, wants, spans, span_leasts, next_wants, charges, report_subs_1, unspents_1,
				spents_1, report_subs_2, unspents_2, spents_2)
			with ordinality
			as a (policy_id, client_id, need, least_need, want, span_most, span_least, next_want, charge, report_sub_1, unspent_1,
				spent_1, report_sub_2, unspent_2, spent_2, ordinal)
		cross join lateral stint.limit_of(a.policy_id, a.client_id, started_at) l
		where octet_length(a.client_id) between 1 and 255
			and a.need >= 0 and a.least_need >= 0 and a.want >= 0 and a.span_most >= 0 and a.span_least >= 0
			and a.next_want >= 0 and a.charge >= 0
		order by a.policy_id, a.client_id collate "C", a.ordinal
	),
	tried as materialized (
		select a.*, t.*, coalesce(c.turn + 1, stint.first_turn(a.client_id, t_us)) as turn, c.is_touched
		from asked a
		left join lateral (
			select r.current_us, r.sub_window_us, r.ahead, r.early, r.servers, r.servers_before, r.counts, r.turn,
				r.xmax <> '0' and r.xmax <> r.xmin as is_touched
			from stint.counter r
			where r.policy_id = a.policy_id and r.client_id = a.client_id
			offset 0
		) c on true
		cross join lateral (
			select stint.phase_us(a.policy_id, a.client_id, a.sub_window_us) as phase_us offset 0
		) s
		cross join lateral stint.take(
			c.current_us, c.sub_window_us, c.ahead, c.early, c.servers, c.servers_before, c.counts, t_us, s.phase_us, server,
			a.max_requests, a.sub_window_us, a.resolution, a.need, a.least_need, a.want, a.span_most, a.span_least, a.next_want, a.charge,
			a.report_sub_1, a.unspent_1, a.spent_1, a.report_sub_2, a.unspent_2, a.spent_2) t
	),
	written as (
		insert into stint.counter as c (
			current_us, sub_window_us, turn, servers, servers_before, policy_id, max_requests, request, granted, granted_next, charged,
			early, ahead, resolution, span, client_id, counts)
		select n.current_us, n.sub_window_us, n.turn, n.servers, n.servers_before, n.policy_id, n.max_requests, n.request, n.granted,
			n.granted_next, n.charged, n.early, n.ahead, n.resolution, n.span, n.client_id, n.counts
		from (
			select t.current_us, t.sub_window_us, t.turn, t.servers, t.servers_before, t.policy_id, t.max_requests, t.request, t.granted,
				t.granted_next, t.charged, t.early, t.ahead, t.resolution, t.span, t.client_id, t.counts, t.is_touched
			from tried t
			where t.changed
			order by t.policy_id, t.client_id
			offset 0
		) n
		where n.is_touched is not true or skips is not true or stint.can_lock_counter(n.policy_id, n.client_id)
		on conflict (policy_id, client_id) do update set
			sub_window_us = excluded.sub_window_us,
			turn = c.turn + 1,
			max_requests = excluded.max_requests,
			request = excluded.request,
			resolution = excluded.resolution,
			(current_us, servers, servers_before, granted, granted_next, charged, early, ahead, span, counts) = (
				select excluded.current_us, excluded.servers, excluded.servers_before, excluded.granted, excluded.granted_next,
					excluded.charged, excluded.early, excluded.ahead, excluded.span, excluded.counts
				where c.turn + 1 = excluded.turn
				union all
				select t.current_us, t.servers, t.servers_before, t.granted, t.granted_next, t.charged, t.early, t.ahead, t.span, t.counts
				from stint.take(
					c.current_us, c.sub_window_us, c.ahead, c.early, c.servers, c.servers_before, c.counts,
					t_us, mod(excluded.current_us, excluded.sub_window_us), server,
					excluded.max_requests, excluded.sub_window_us, excluded.resolution,
					needs[excluded.request], greatest(least(leasts[excluded.request], needs[excluded.request]), 1),
					wants[excluded.request], spans[excluded.request], span_leasts[excluded.request], next_wants[excluded.request],
					charges[excluded.request],
					report_subs_1[excluded.request], unspents_1[excluded.request], spents_1[excluded.request],
					report_subs_2[excluded.request], unspents_2[excluded.request], spents_2[excluded.request]) t
				where c.turn + 1 <> excluded.turn)
		returning c.request, c.turn, c.current_us, c.sub_window_us, c.early, c.ahead, c.span, c.counts, c.granted, c.granted_next, c.charged
	)
	select n.request, case when b.busy then 0 else n.granted end, n.current_us + n.shortest * n.sub_window_us,
		n.starts_in_us + n.shortest * n.sub_window_us, case when b.busy then 0 else n.granted_next end, n.starts_in_us,
		n.current_us + abs(n.span) * n.sub_window_us,
		n.starts_in_us + abs(n.span) * n.sub_window_us,
		n.remaining,
		case when n.max_requests = 0 then coalesce(stint.block_left_us(n.policy_id, n.client_id, started_at), n.retry_us) else n.retry_us end,
		n.reset_us, n.max_requests, case when b.busy then 0 else n.charged end, n.span > 0, n.recallable,
		b.busy
	from tried n
	left join written w on w.request = n.request
	cross join lateral (select n.changed and w.turn is null as busy) b
	where w.turn is null or w.turn = n.turn
	union all
	-- These requests were worked out again under the lock. The parts of the answer that the row doesn't hold come
	-- from a request for nothing. (A request that was refused is made once more, and refused once more.)
	select n.request, w.granted, t.current_us + n.shortest * n.sub_window_us, t.starts_in_us + n.shortest * n.sub_window_us,
		w.granted_next, t.starts_in_us,
		t.current_us + abs(w.span) * n.sub_window_us,
		t.starts_in_us + abs(w.span) * n.sub_window_us,
		t.remaining,
		case when n.max_requests = 0 then coalesce(stint.block_left_us(n.policy_id, n.client_id, started_at), t.retry_us) else t.retry_us end,
		t.reset_us, n.max_requests, w.charged, w.span > 0, t.recallable, false
	from tried n
	join written w on w.request = n.request
	cross join lateral stint.take(
		w.current_us, w.sub_window_us, w.ahead, w.early, 0, 0, w.counts, t_us, 0, server, n.max_requests, n.sub_window_us, n.resolution,
		case when w.granted < n.least_need then n.need else 0 end, n.least_need, 0, 0, n.span_least, 0, 0, 0, 0, 0, 0, 0, 0) t
	where w.turn <> n.turn;

	if clock_timestamp() < started_at or clock_timestamp() > started_at + interval '2 seconds' then
		raise exception 'stint: the grant took %', clock_timestamp() - started_at
			using errcode = 'ST001', hint = 'Rows were locked for too long, or the server''s clock was set. Nothing was granted.';
	end if;
end
$$;

comment on function stint.take_leases(int, int[], text[], int[], int[], int[], int[], int[], int[], int[], bigint[], int[], int[], bigint[], int[], int[], boolean) is
	'Grants a batch of leases to a host: element i of each array is request i. No row for a request whose policy or client is unknown or bad. '
	'skips: rows that others have locked are not waited for. Such a request is busy: nothing of it was done, and the rest of its answer means nothing.';
revoke execute on function stint.take_leases(int, int[], text[], int[], int[], int[], int[], int[], int[], int[], bigint[], int[], int[], bigint[], int[], int[], boolean)
	from public;
grant execute on function stint.take_leases(int, int[], text[], int[], int[], int[], int[], int[], int[], int[], bigint[], int[], int[], bigint[], int[], int[], boolean)
	to stint_agent;
