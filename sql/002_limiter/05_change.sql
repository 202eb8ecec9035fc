-- The history of every change of a policy or an override, also of those made by plain SQL, and the notice of it.

create table stint.change (
	change_id   bigint generated always as identity primary key,
	at          timestamptz not null,
	changed_by  text not null,
	action      text not null,
	policy_id   int not null,
	policy_name text,
	client_id   text,
	old         jsonb,
	new         jsonb
);

comment on table stint.change is
	'Every change of stint.policy and stint.client_override, and every reset, in the order in which they were committed; kept for a year.';
comment on column stint.change.change_id is 'Ascending in the order of commits: who has seen one has seen all below it.';
comment on column stint.change.at is 'When.';
comment on column stint.change.changed_by is 'Who: the role that was logged in.';
comment on column stint.change.action is
	'Of a policy: created, changed, pinned, unpinned, dropped; brought back: it was dropped, and an app has declared it again. Of an override: '
	'limited, blocked, unblocked, cleared, and ended: by itself, at its time. Of a client: reset; reset done: what it had kept is forgotten, too.';
comment on column stint.change.policy_id is 'The policy; it may be gone.';
comment on column stint.change.policy_name is 'Its name then.';
comment on column stint.change.client_id is 'The client of an override; null: the policy itself.';
comment on column stint.change.old is 'The row before; null: there was none.';
comment on column stint.change.new is 'The row after; null: there is none. Of a reset: how much was forgotten, and what is kept for a while.';

create index change_dropped_idx on stint.change (policy_name, change_id) where action = 'dropped';

create index change_client_idx on stint.change (client_id, change_id) where client_id is not null;

comment on index stint.change_client_idx is 'What has been changed for a client lately, without a look at a year of it.';
comment on index stint.change_dropped_idx is 'Whether a policy that an app declares was dropped before: see stint.declare_policy().';

-- A row is locked here, and not an advisory lock, which anybody who may connect could take and keep.
create table stint.change_queue (
	only_row boolean primary key default true constraint change_queue_only_row_check check (only_row)
);

insert into stint.change_queue default values;

comment on table stint.change_queue is 'Its row is locked by the transaction that is changing policies or overrides; the next one waits for it.';
comment on column stint.change_queue.only_row is 'There is one row.';
comment on constraint change_queue_only_row_check on stint.change_queue is 'There is one row.';

-- Who looks up what he is to change does this before: what he sees while he waits may be gone then.
create function stint.enter_queue() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
	perform from stint.change_queue for update;
	if not found then
		raise exception 'stint: the row of stint.change_queue is missing' using hint = 'insert into stint.change_queue default values';
	end if;
end
$$;

comment on function stint.enter_queue() is 'Waits until nobody else is changing policies or overrides; then nobody else does until the commit.';
revoke execute on function stint.enter_queue() from public;

-- Before any row is locked: who comes second waits here and not in the middle of his work, which could deadlock.
-- Held until the commit, so that change_id, drawn under it, ascends as the commits do.
create function stint.queue_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	if tg_op = 'TRUNCATE' then
		raise exception 'stint: % can''t be truncated, its history would have a gap; use delete', tg_table_name;
	end if;
	perform stint.secure_commit(); -- a client that was blocked stays blocked
	perform stint.enter_queue();
	return null;
end
$$;

comment on function stint.queue_change() is 'Trigger: changes of policies are made one transaction at a time.';
revoke execute on function stint.queue_change() from public;

create function stint.stamp_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	new.changed_at := clock_timestamp();
	new.changed_by := session_user;
	return new;
end
$$;

comment on function stint.stamp_change() is 'Trigger: keeps changed_at and changed_by true.';
revoke execute on function stint.stamp_change() from public;

-- Plain SQL, so that the planner inlines it. `offset 0`: both are made once for each row, not once for each use.
create function stint.describe_change(kind text, row_before jsonb, row_after jsonb)
returns table (action text, policy_id int, policy_name text, client_id text, old jsonb, new jsonb)
language sql stable
as $$
	select
		case
			when kind = 'client_override' and (c.becomes ->> 'max_requests' is null or c.becomes -> 'max_requests' = c.was -> 'max_requests')
				and ((c.was ->> 'blocked_until')::timestamptz <= clock_timestamp() and (c.becomes ->> 'blocked')::boolean is not true
					or (c.was ->> 'limited_until')::timestamptz <= clock_timestamp() and c.becomes ->> 'max_requests' is null) then 'ended'
			when kind = 'client_override' and c.becomes is null then 'cleared'
			when kind = 'client_override' and (c.becomes ->> 'blocked')::boolean then 'blocked'
			when kind = 'client_override' and (c.was ->> 'blocked')::boolean
				and (c.was -> 'max_requests', c.was -> 'limited_until') = (c.becomes -> 'max_requests', c.becomes -> 'limited_until') then 'unblocked'
			when kind = 'client_override' then 'limited'
			when c.was is null and c.changed ->> 'dropped_at' is not null then 'brought back'
			when c.was is null then 'created'
			when c.becomes is null then 'dropped'
			when c.was - 'pinned' <> c.becomes - 'pinned' then 'changed'
			when (c.becomes ->> 'pinned')::boolean then 'pinned'
			else 'unpinned'
		end,
		c.id,
		coalesce(c.changed ->> 'name', (select p.name from stint.policy p where p.policy_id = c.id)),
		c.changed ->> 'client_id', c.was, c.becomes
	from (
		select r.was, r.becomes, r.changed, (r.changed ->> 'policy_id')::int as id
		from (
			select row_before - '{changed_at,changed_by,replaced,dropped_at,dropped_by}'::text[] as was,
				row_after - '{changed_at,changed_by,replaced,dropped_at,dropped_by}'::text[] as becomes,
				coalesce(row_after, row_before) as changed
			offset 0
		) r
		where r.was is distinct from r.becomes
	) c
$$;

comment on function stint.describe_change(text, jsonb, jsonb) is
	'What stint.change holds of a row that was changed; nothing if that is of no interest. kind: policy or client_override.';
revoke execute on function stint.describe_change(text, jsonb, jsonb) from public;

-- Where some session, of any database, listens and doesn't read, the server's queue of notices may fill up, and then each
-- commit with a notice fails. Agents also ask, every three seconds. So no client stays unblocked, and nothing unexpired, for
-- want of a notice. The queue may fill up before the commit: hence some room.
create function stint.tell_agents(words text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
	if pg_notification_queue_usage() < 0.9 then
		perform pg_notify('stint', words);
	end if;
end
$$;

comment on function stint.tell_agents(text) is
	'Tells all agents (channel stint) that there is something to read, unless the server''s queue of notices is nearly full.';
revoke execute on function stint.tell_agents(text) from public;

-- Runs once for a statement, however many rows that has changed. The server keeps a statement's rows in the order in
-- which it changed them, the old ones and the new ones alike. So of an update, those of the same place belong together,
-- also where the key has changed. The plan is made once a session, perhaps for one row, and has to do for many: hence
-- no nested loop where both are joined.
create function stint.record_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_nestloop = off
set enable_memoize = off
set jit = off -- what is to be avoided counts as expensive, so each statement would be compiled
as $$
begin
	if tg_op = 'INSERT' then
		insert into stint.change (at, changed_by, action, policy_id, policy_name, client_id, old, new)
		select clock_timestamp(), session_user, d.*
		from new_rows n
		cross join lateral stint.describe_change(tg_table_name, null, to_jsonb(n)) d;
	elsif tg_op = 'DELETE' then
		insert into stint.change (at, changed_by, action, policy_id, policy_name, client_id, old, new)
		select clock_timestamp(), session_user, d.*
		from old_rows o
		cross join lateral stint.describe_change(tg_table_name, to_jsonb(o), null) d;
	else
		insert into stint.change (at, changed_by, action, policy_id, policy_name, client_id, old, new)
		select clock_timestamp(), session_user, d.*
		from (
			select o.row_before, n.row_after,
				-- Agents look for what has changed by these: what gets another one goes, and comes.
				exists (
					select from unnest('{policy_id,client_id,name}'::text[]) key
					where o.row_before -> key <> n.row_after -> key
				) as moves
			from (select to_jsonb(r) as row_before, row_number() over () as place from old_rows r) o
			join (select to_jsonb(r) as row_after, row_number() over () as place from new_rows r) n on n.place = o.place
			order by o.place
		) r
		cross join lateral (
			select r.row_before, r.row_after where not r.moves
			union all
			select r.row_before, null where r.moves
			union all
			select null, r.row_after where r.moves
		) c
		cross join lateral stint.describe_change(tg_table_name, c.row_before, c.row_after) d;
	end if;
	-- Of one transaction's notices with the same words the server sends one. They name nobody: any role may listen.
	if found then
		perform stint.tell_agents('');
	end if;
	return null;
end
$$;

comment on function stint.record_change() is
	'Trigger: writes stint.change and tells the agents that there is something to read.';
revoke execute on function stint.record_change() from public;

-- Not left to the foreign key, which would delete them when the policy's name can't be looked up any more.
create function stint.clear_overrides() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	delete from stint.client_override o where o.policy_id = old.policy_id;
	return old;
end
$$;

comment on function stint.clear_overrides() is 'Trigger: a policy''s overrides go before it does.';
revoke execute on function stint.clear_overrides() from public;

create trigger a_queue before insert or update or delete or truncate on stint.policy
	for each statement execute function stint.queue_change();
create trigger b_stamp before insert or update on stint.policy
	for each row execute function stint.stamp_change();
create trigger b_clear before delete on stint.policy
	for each row execute function stint.clear_overrides();
create trigger c_record_insert after insert on stint.policy referencing new table as new_rows
	for each statement execute function stint.record_change();
create trigger c_record_update after update on stint.policy referencing old table as old_rows new table as new_rows
	for each statement execute function stint.record_change();
create trigger c_record_delete after delete on stint.policy referencing old table as old_rows
	for each statement execute function stint.record_change();
create trigger a_queue before insert or update or delete or truncate on stint.client_override
	for each statement execute function stint.queue_change();
create trigger b_stamp before insert or update on stint.client_override
	for each row execute function stint.stamp_change();
create trigger c_record_insert after insert on stint.client_override referencing new table as new_rows
	for each statement execute function stint.record_change();
create trigger c_record_update after update on stint.client_override referencing old table as old_rows new table as new_rows
	for each statement execute function stint.record_change();
create trigger c_record_delete after delete on stint.client_override referencing old table as old_rows
	for each statement execute function stint.record_change();

comment on trigger a_queue on stint.policy is 'One change at a time; no truncate.';
comment on trigger b_stamp on stint.policy is 'Who and when.';
comment on trigger b_clear on stint.policy is 'Its overrides first.';
comment on trigger c_record_insert on stint.policy is 'History and notice.';
comment on trigger c_record_update on stint.policy is 'History and notice.';
comment on trigger c_record_delete on stint.policy is 'History and notice.';
comment on trigger a_queue on stint.client_override is 'One change at a time; no truncate.';
comment on trigger b_stamp on stint.client_override is 'Who and when.';
comment on trigger c_record_insert on stint.client_override is 'History and notice.';
comment on trigger c_record_update on stint.client_override is 'History and notice.';
comment on trigger c_record_delete on stint.client_override is 'History and notice.';

-- In PL/pgSQL, which keeps the plan: to make it takes as long as to read 500 changes, and all agents read them at the
-- same time. Between two of these calls an agent asks for leases.
--
-- An agent may read of a reset late, and has another clock: so it is told how long ago that was. It isn't told of one
-- that is yet to come, as the clock was set back; what clients owe on its host is kept then.
create function stint.get_changes(since bigint)
returns table (change_id bigint, policy_id int, policy_name text, client_id text, reset_age_us bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
	return query
	select c.change_id, c.policy_id, case when c.client_id is null then c.policy_name end, c.client_id,
		case when c.action = 'reset' and c.at <= clock_timestamp() then greatest((extract(epoch from clock_timestamp() - c.at) * 1000000)::bigint, 0) end
	from stint.change c
	where c.change_id > since
	order by c.change_id
	limit 1000;
end
$$;

comment on function stint.get_changes(bigint) is
	'For agents: what changed after change `since`, oldest first, at most 1,000; client_id null: the policy itself, and only then is its name told; '
	'reset_age_us: so long ago an operator had the client reset; null: nobody had.';
revoke execute on function stint.get_changes(bigint) from public;
grant execute on function stint.get_changes(bigint) to stint_agent;
