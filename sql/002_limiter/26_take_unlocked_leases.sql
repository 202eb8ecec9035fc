-- What agents call while somebody keeps rows locked, or after a batch was refused: it waits for no row for long,
-- and the fault of one row is not the others'.
--
-- Mostly that is take_leases(), which skips rows that are locked. When it fails all the same, each request is tried by
-- itself, in the order of the key. One that fails again is answered `busy`: its row is one that somebody is just
-- inserting, or something is wrong with it.

create function stint.is_fault_of_all(error text) returns boolean
language sql immutable parallel safe
as $$
	select left(error, 2) = any ('{08,0A,25,26,3F,42,53,57,58,ST,XX}') or error = '22023'
$$;

comment on function stint.is_fault_of_all(text) is
	'Whether an error with this SQLSTATE is of the server, the session, the schema or the call, so that no other row would fare better.';
revoke execute on function stint.is_fault_of_all(text) from public;

create function stint.take_unlocked_leases(
	host int, policy_ids int[], client_ids text[], needs int[], leasts int[], wants int[], spans int[], span_leasts int[],
	next_wants int[], charges int[], report_subs_1 bigint[], unspents_1 int[], spents_1 int[], report_subs_2 bigint[], unspents_2 int[],
	spents_2 int[]
) returns table (
	request int, granted int, sub_window bigint, valid_us bigint, granted_next int, starts_in_us bigint, next_sub_window bigint,
	next_valid_us bigint, remaining int, retry_us bigint, reset_us bigint, max_requests int, charged int, next_is_open boolean,
	recallable int, busy boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '10ms'
as $$
#variable_conflict use_column
declare
	enough_at constant timestamptz := clock_timestamp() + interval '100 milliseconds';
	i int;
begin
	begin
		return query select * from stint.take_leases(host, policy_ids, client_ids, needs, leasts, wants, spans, span_leasts, next_wants, charges,
			report_subs_1, unspents_1, spents_1, report_subs_2, unspents_2, spents_2, true);
		return;
	exception when others then
		if stint.is_fault_of_all(sqlstate) then
			raise;
		end if;
	end;

	perform stint.await_tables(); -- or each request would wait for the same lock
	for i in
		select distinct on (a.policy_id, a.client_id collate "C") a.ordinal
		from unnest(policy_ids, client_ids) with ordinality as a (policy_id, client_id, ordinal)
		order by a.policy_id, a.client_id collate "C", a.ordinal
	loop
		-- The rest is answered as if it were busy, and tried the next time: if many rows are just being inserted, those that
		-- come late in the order of the key may not have their turn before they are denied.
		if clock_timestamp() < enough_at then
			begin
				return query select i, t.granted, t.sub_window, t.valid_us, t.granted_next, t.starts_in_us, t.next_sub_window, t.next_valid_us,
					t.remaining, t.retry_us, t.reset_us, t.max_requests, t.charged, t.next_is_open, t.recallable, t.busy
				from stint.take_leases(host, policy_ids[i:i], client_ids[i:i], needs[i:i], leasts[i:i], wants[i:i], spans[i:i], span_leasts[i:i],
					next_wants[i:i], charges[i:i], report_subs_1[i:i], unspents_1[i:i], spents_1[i:i], report_subs_2[i:i], unspents_2[i:i],
					spents_2[i:i], true) t;
				continue;
			exception when others then
				if stint.is_fault_of_all(sqlstate) then
					raise;
				end if;
			end;
		end if;
		return query values (i, 0, 0::bigint, 0::bigint, 0, 0::bigint, 0::bigint, 0::bigint, 0, 0::bigint, 0::bigint, 0, 0, false, 0, true);
	end loop;
end
$$;

comment on function stint.take_unlocked_leases(int, int[], text[], int[], int[], int[], int[], int[], int[], int[], bigint[], int[], int[], bigint[], int[],
	int[]) is
	'take_leases() that waits for a lock for 10 ms at most: requests whose rows others have locked are answered busy, and so are those whose rows '
	'cause an error.';
revoke execute on function stint.take_unlocked_leases(int, int[], text[], int[], int[], int[], int[], int[], int[], int[], bigint[], int[], int[], bigint[],
	int[], int[]) from public;
grant execute on function stint.take_unlocked_leases(int, int[], text[], int[], int[], int[], int[], int[], int[], int[], bigint[], int[], int[], bigint[],
	int[], int[]) to stint_agent;
