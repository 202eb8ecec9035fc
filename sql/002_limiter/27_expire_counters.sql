-- Takes away overrides that have ended, finishes resets, and deletes counters that no longer count anything, what has
-- expired in the cache, and history and decisions that are too old, a few rows at a time. Agents take turns, see stint.heartbeat().

create table stint.expiry (
	only_row  boolean primary key default true constraint expiry_only_row_check check (only_row),
	override_until timestamptz not null default '-infinity',
	override_policy_id int not null default 0,
	override_client_id text collate "C" not null default '',
	history_at timestamptz not null default '-infinity',
	decision_at timestamptz not null default '-infinity',
	decision_host_id int not null default 0,
	denial_at timestamptz not null default '-infinity',
	denial_host_id int not null default 0
);

insert into stint.expiry default values;

comment on table stint.expiry is
	'How far expire_counters() has come in what it does rarely. The session that has locked the row walks.';
comment on column stint.expiry.only_row is 'There is one row.';
comment on column stint.expiry.override_until is 'Up to then all overrides that ended have been taken away; or the end of the last one that was.';
comment on column stint.expiry.override_policy_id is 'The same override''s policy; 0: of all that ended then.';
comment on column stint.expiry.override_client_id is 'The same override''s client.';
comment on column stint.expiry.history_at is 'When history older than a year was deleted last, to its end.';
comment on column stint.expiry.decision_at is 'In a look that goes on, the last row of stint.host_decision that was deleted: its minute.';
comment on column stint.expiry.decision_host_id is 'The same row''s host.';
comment on column stint.expiry.denial_at is 'In a look that goes on, the last row of stint.host_denial that was deleted: its hour.';
comment on column stint.expiry.denial_host_id is 'The same row''s host.';
comment on constraint expiry_only_row_check on stint.expiry is 'There is one row.';

-- Calls are many, ten a second where there are many counters. Of a row, each would leave a version behind while somebody
-- holds an old snapshot, and each next one would pass over all of them. A sequence is overwritten in its place. What is
-- rolled back stays written: what was to be deleted then is met in the next round.
create sequence stint.expiry_walked_seq minvalue 0 owned by stint.expiry.only_row; -- so that it is dropped and given away with it

comment on sequence stint.expiry_walked_seq is
	'The place in stint.counter up to which counters have been examined in this round: 65536 times the page, and the row on it.';

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

-- By place and not by key. What was deleted stays while somebody holds an old snapshot. In an index any number of such
-- entries may stand between two keys, but on so many pages there are only so many rows.
create function stint.expire_idle(batch int, out examined bigint, out deleted bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
	-- A row is idle when even the newest sub-window that something is charged to has left the window.
	-- A grant's time may be 2 s old. The margin is longer, so that no grant can still count in a row that is
	-- deleted.
	margin_us constant bigint := 10000000;
	t_us constant bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
	pages constant bigint := 128; -- of some 20 rows
	size constant bigint := pg_relation_size('stint.counter') / current_setting('block_size')::int;
	before constant bigint := (select s.last_value from stint.expiry_walked_seq s);
	walked constant tid := format('(%s,%s)', before >> 16, before & 65535);
	next_page constant bigint := (before >> 16) + pages;
	beyond constant tid := format('(%s,0)', next_page);
	last tid;
	walked_to tid := '(0,0)'; -- at the end the next round begins
begin
	with page as materialized (
		select c.ctid as place from stint.counter c
		where c.ctid > walked and c.ctid < beyond
		limit batch
	),
	idle as (
		select c.ctid as place
		from page g
		join stint.counter c on c.ctid = g.place
		left join stint.policy p on p.policy_id = c.policy_id
		where p.policy_id is null
			or t_us - margin_us >= c.current_us + (c.ahead + c.resolution + 1) * c.sub_window_us
			-- The policy may have got a longer window meanwhile; a sub-window is at most a window long.
			and t_us - margin_us >= c.current_us + (c.ahead + 1) * c.sub_window_us + 2000 * p.time_window_ms
		for update of c skip locked
	),
	gone as (
		delete from stint.counter c
		using idle i
		where c.ctid = i.place
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
	select (select count(*) from page), (select count(*) from gone), (select max(g.place) from page g) into examined, deleted, last;
	if examined = batch then
		walked_to := last;
	elsif next_page < size then
		walked_to := beyond;
		examined := batch;
	end if;
	perform setval('stint.expiry_walked_seq', a.after)
	from (select (walked_to::text::point)[0]::bigint << 16 | (walked_to::text::point)[1]::bigint as after) a
	where a.after <> before;
end
$$;

comment on function stint.expire_idle(int) is
	'Examines up to `batch` counters, on 128 pages at most, from where the last call ended in the table, and deletes those whose charges no longer count, or whose '
	'policy is gone. Returns how many it has examined, `batch`, too, if it has looked at as many pages as it may; and how many it has deleted.';
revoke execute on function stint.expire_idle(int) from public;

create function stint.expire_counters(batch int) returns table (examined bigint, deleted bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
	lower stint.expiry;
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

	select e.examined, expire_counters.deleted + e.deleted into examined, deleted from stint.expire_idle(greatest(batch, 1)) e;

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

	update stint.expiry e set
		history_at = lower.history_at,
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
