-- Deletes the counters that matter to nobody any more, a few at a time.

create table stint.expiry (
	only_row  boolean primary key default true constraint expiry_only_row_check check (only_row),
	policy_id int not null,
	client_id text collate "C" not null
);

insert into stint.expiry (policy_id, client_id) values (0, '');

comment on table stint.expiry is 'How far expire_counters() has come in its walk along the primary key of stint.counter.';
comment on column stint.expiry.only_row is 'There is one row.';
comment on column stint.expiry.policy_id is 'The last counter examined: its policy.';
comment on column stint.expiry.client_id is 'The last counter examined: its client.';
comment on constraint expiry_only_row_check on stint.expiry is 'There is one row.';

create function stint.expire_counters(batch int) returns table (examined bigint, deleted bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
	-- A grant's time may be 2 s old. Beyond that, nothing may be counted into a row that is gone.
	margin_us constant bigint := 10000000;
	t_us constant bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
	lower stint.expiry;
	upper stint.expiry;
begin
	examined := 0;
	deleted := 0;
	if not pg_try_advisory_xact_lock(hashtextextended('stint.expiry', 0)) then
		return next;
		return;
	end if;

	select * into strict lower from stint.expiry;
	select count(*) over (), true, page.policy_id, page.client_id
	into examined, upper.only_row, upper.policy_id, upper.client_id
	from (
		select c.policy_id, c.client_id from stint.counter c
		where (c.policy_id, c.client_id) > (lower.policy_id, lower.client_id)
		order by c.policy_id, c.client_id
		limit greatest(batch, 1)
	) page
	order by page.policy_id desc, page.client_id desc
	limit 1;
	examined := coalesce(examined, 0);

	with idle as (
		select c.policy_id, c.client_id
		from stint.counter c
		left join stint.policy p on p.policy_id = c.policy_id
		where (c.policy_id, c.client_id) > (lower.policy_id, lower.client_id)
			and (c.policy_id, c.client_id) <= (upper.policy_id, upper.client_id)
			and (p.policy_id is null
				or t_us - margin_us >= c.head_us + (c.resolution + 1) * c.sub_window_us
				-- The policy may have got a longer window meanwhile; a sub-window is at most a window long.
				and t_us - margin_us >= c.head_us + c.sub_window_us + 2000 * p.time_window_ms)
		for update of c skip locked
	)
	delete from stint.counter c
	using idle i
	where c.policy_id = i.policy_id and c.client_id = i.client_id;
	get diagnostics deleted = row_count;

	-- At the end, from the start again.
	update stint.expiry e set
		policy_id = case when examined < greatest(batch, 1) then 0 else upper.policy_id end,
		client_id = case when examined < greatest(batch, 1) then '' else upper.client_id end;
	return next;
end
$$;

comment on function stint.expire_counters(int) is
	'For agents, now and then: examines the next `batch` counters and deletes those whose charges no longer count, or whose policy is '
	'gone. One session at a time; others do nothing.';
revoke execute on function stint.expire_counters(int) from public;
grant execute on function stint.expire_counters(int) to stint_agent;
