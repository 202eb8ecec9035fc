-- Takes away overrides that have ended, finishes resets, and deletes counters that no longer count anything, what has
-- expired in the cache, and history and decisions that are too old, a few rows at a time. Agents take turns, see stint.heartbeat().

create table stint.expiry (
	only_row  boolean primary key default true constraint expiry_only_row_check check (only_row),
	policy_id int not null,
	client_id text collate "C" not null,
	history_at timestamptz not null default '-infinity',
	decision_at timestamptz not null default '-infinity',
	decision_host_id int not null default 0,
	denial_at timestamptz not null default '-infinity',
	denial_host_id int not null default 0
);

insert into stint.expiry (policy_id, client_id) values (0, '');

comment on table stint.expiry is
	'How far expire_counters() has come in its walks along primary keys. The session that has locked the row walks.';
comment on column stint.expiry.only_row is 'There is one row.';
comment on column stint.expiry.policy_id is 'The last counter examined: its policy.';
comment on column stint.expiry.client_id is 'The last counter examined: its client.';
comment on column stint.expiry.history_at is 'When history older than a year was deleted last, to its end.';
comment on column stint.expiry.decision_at is 'In a look that goes on, the last row of stint.host_decision that was deleted: its minute.';
comment on column stint.expiry.decision_host_id is 'The same row''s host.';
comment on column stint.expiry.denial_at is 'In a look that goes on, the last row of stint.host_denial that was deleted: its hour.';
comment on column stint.expiry.denial_host_id is 'The same row''s host.';
comment on constraint expiry_only_row_check on stint.expiry is 'There is one row.';

create function stint.expire_history(batch int) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
	year_ago constant timestamptz := clock_timestamp() - interval '1 year';
	month_ago constant timestamptz := clock_timestamp() - interval '30 days';
	newest constant bigint := stint.get_newest_change();
	changes bigint;
	fallbacks bigint;
	hosts bigint;
begin
	-- change_id ascends with time: old changes are at the beginning. The newest change stays, whatever its age,
	-- since agents count from it.
	delete from stint.change c
	using (select o.change_id, o.at from stint.change o order by o.change_id limit batch) o
	where c.change_id = o.change_id and o.at < year_ago and o.change_id < newest;
	get diagnostics changes = row_count;
	delete from stint.host_fallback f
	using (select o.host_id, o.began_at from stint.host_fallback o where o.ended_at < year_ago order by o.ended_at limit batch) o
	where f.host_id = o.host_id and f.began_at = o.began_at;
	get diagnostics fallbacks = row_count;
	delete from stint.agent_host h
	where h.host_id = any (array(
			select o.host_id from stint.agent_host o where not o.live and o.seen_at < month_ago limit batch))
		and h.seen_at < month_ago;
	get diagnostics hosts = row_count;
	return greatest(changes, fallbacks, hosts) < batch;
end
$$;

comment on function stint.expire_history(int) is
	'Deletes up to `batch` changes of policies, and as many fallback periods, that are older than a year, and as many hosts that were not heard '
	'of for 30 days. False: there may be more.';
revoke execute on function stint.expire_history(int) from public;

create function stint.expire_counters(batch int) returns table (examined bigint, deleted bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
	-- A row is idle when even the newest sub-window that something is charged to has left the window.
	-- A grant's time may be 2 s old. The margin is longer, so that no grant can still count in a row that is
	-- deleted.
	margin_us constant bigint := 10000000;
	t_us constant bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
	lower stint.expiry;
	upper stint.expiry;
	since timestamptz;
	decisions bigint;
	denials bigint;
begin
	-- Agents have to hear of each change, so one must not be lost that they have heard of already.
	deleted := stint.end_overrides(greatest(batch, 1)) + stint.finish_resets(greatest(batch, 1));
	if deleted = 0 then
		perform stint.commit_later();
	end if;
	examined := 0;
	select * into lower from stint.expiry for update skip locked;
	if not found then
		return next;
		return;
	end if;

	-- Each row is found by its key. Between two keys the server would look at all of the index that is behind the
	-- first.
	with page as materialized (
		select c.policy_id, c.client_id from stint.counter c
		where (c.policy_id, c.client_id) > (lower.policy_id, lower.client_id)
		order by c.policy_id, c.client_id
		limit greatest(batch, 1)
	),
	idle as (
		select c.policy_id, c.client_id
		from page g
		cross join stint.counter c
		left join stint.policy p on p.policy_id = c.policy_id
		where (c.policy_id, c.client_id) = (g.policy_id, g.client_id)
			and (p.policy_id is null
				or t_us - margin_us >= c.current_us + (c.ahead + c.resolution + 1) * c.sub_window_us
				-- The policy may have got a longer window meanwhile; a sub-window is at most a window long.
				and t_us - margin_us >= c.current_us + (c.ahead + 1) * c.sub_window_us + 2000 * p.time_window_ms)
		for update of c skip locked
	),
	gone as (
		delete from stint.counter c
		using idle i
		where c.policy_id = i.policy_id and c.client_id = i.client_id
		returning c.policy_id, c.client_id
	),
	forgotten as (
		delete from stint.recall r
		using (
			select k.policy_id, k.client_id
			from gone g
			join stint.recall k on k.policy_id = g.policy_id and k.client_id = g.client_id
			for update of k skip locked
		) k
		where r.policy_id = k.policy_id and r.client_id = k.client_id
	)
	select n.examined, n.deleted, l.policy_id, l.client_id
	into examined, deleted, upper.policy_id, upper.client_id
	from (select (select count(*) from page) as examined, deleted + (select count(*) from gone) as deleted) n
	left join lateral (select g.* from page g order by g.policy_id desc, g.client_id desc limit 1) l on true;

	perform stint.expire_cache(16); -- for when nobody adds anything to it

	-- History is kept for a year, and what was decided for a month, so an hourly look is enough. After a full batch the
	-- next call goes on; decisions are many, so that it comes soon.
	if clock_timestamp() not between lower.history_at and lower.history_at + interval '1 hour' then
		-- The last look that ended has left nothing of more than 30 days before it, but for what somebody had locked: so
		-- the hour before that is looked at once more.
		since := least(lower.history_at, clock_timestamp()) - interval '30 days 1 hour 10 minutes';
		select e.* into lower.decision_at, lower.decision_host_id, decisions
		from stint.expire_decisions(greatest(batch, 1), since, lower.decision_at, lower.decision_host_id) e;
		select e.* into lower.denial_at, lower.denial_host_id, denials
		from stint.expire_denials(greatest(batch, 1), since, lower.denial_at, lower.denial_host_id) e;
		deleted := deleted + greatest(decisions, denials);
		if stint.expire_history(greatest(batch, 1)) and greatest(decisions, denials) < greatest(batch, 1) then
			lower.history_at := clock_timestamp();
			lower.decision_at := '-infinity';
			lower.denial_at := '-infinity';
		end if;
	end if;

	-- At the end, the walk starts again. A walk that fits into one batch doesn't change the row, and so leaves no
	-- version of it behind.
	if examined < greatest(batch, 1) then
		upper.policy_id := 0;
		upper.client_id := '';
	end if;
	lower.policy_id := upper.policy_id;
	lower.client_id := upper.client_id;
	update stint.expiry e set
		policy_id = lower.policy_id, client_id = lower.client_id, history_at = lower.history_at,
		decision_at = lower.decision_at, decision_host_id = lower.decision_host_id,
		denial_at = lower.denial_at, denial_host_id = lower.denial_host_id
	where e <> lower;
	return next;
end
$$;

comment on function stint.expire_counters(int) is
	'For agents, every two seconds: takes away up to `batch` overrides that have ended, and finishes as many resets; examines the next `batch` counters and deletes those '
	'whose charges no longer count, or whose policy is gone. All are counted in deleted. It also looks for what has expired in the cache, and every hour for history that is too old, and for decisions and denials of more than 30 days ago, of which the greater number is counted, too. One session at a time; others do nothing.';
revoke execute on function stint.expire_counters(int) from public;
grant execute on function stint.expire_counters(int) to stint_agent;
