-- Exceptions for one client: another limit, or none at all.

create function stint.check_client(client text) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
	if coalesce(octet_length(client) not between 1 and 255, true) then
		raise exception 'stint: the client has % bytes, must be 1 to 255', coalesce(octet_length(client), 0) using errcode = '22023';
	end if;
end
$$;

comment on function stint.check_client(text) is 'Raises 22023 if a client_id has not 1 to 255 bytes.';
revoke execute on function stint.check_client(text) from public;

create function stint.check_note(note text) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
	if octet_length(note) > 1000 then
		raise exception 'stint: the note has % bytes, must be 1000 at most', octet_length(note) using errcode = '22023';
	end if;
end
$$;

comment on function stint.check_note(text) is 'Raises 22023 if a note has more than 1000 bytes.';
revoke execute on function stint.check_note(text) from public;

create function stint.end_of(for_ms bigint) returns timestamptz
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
	if for_ms not between 1 and 31536000000 then
		raise exception 'stint: for_ms is %, must be 1 to 31536000000', for_ms using errcode = '22023';
	end if;
	return clock_timestamp() + for_ms * interval '1 millisecond';
end
$$;

comment on function stint.end_of(bigint) is 'When what begins now ends; null: never. Raises 22023 if that is not in 1 ms to 365 days.';
revoke execute on function stint.end_of(bigint) from public;

create function stint.set_override(policy text, client text, max_requests bigint, note text default null, for_ms bigint default null)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	perform stint.check_client(client), stint.check_note(note);
	if coalesce(max_requests not between 1 and 1000000000, true) then
		raise exception 'stint: max_requests is %, must be 1 to 1000000000', coalesce(max_requests::text, 'null')
			using errcode = '22023', hint = 'To admit nothing, use stint.block_client().';
	end if;
	perform stint.enter_queue();
	insert into stint.client_override as o (policy_id, client_id, max_requests, limited_until, note)
	values (stint.find_policy(policy), client, set_override.max_requests, stint.end_of(for_ms), nullif(set_override.note, ''))
	on conflict on constraint client_override_pkey do update
	set max_requests = excluded.max_requests, limited_until = excluded.limited_until, blocked = false, blocked_until = null,
		-- why it was blocked is not why it has a limit
		note = case when set_override.note is null and not o.blocked then o.note else excluded.note end;
end
$$;

comment on function stint.set_override(text, text, bigint, text, bigint) is
	'For operators: gives one client a limit of its own, and unblocks it. for_ms: for so long, then the policy''s limit holds again (1 to 31536000000); null: until '
	'it is cleared. note null: as it was, unless that was a block''s; empty: none.';
revoke execute on function stint.set_override(text, text, bigint, text, bigint) from public;
grant execute on function stint.set_override(text, text, bigint, text, bigint) to stint_operator;

create function stint.block_client(policy text, client text, note text default null, for_ms bigint default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	perform stint.check_client(client), stint.check_note(note), stint.enter_queue();
	insert into stint.client_override as o (policy_id, client_id, blocked, blocked_until, note)
	values (stint.find_policy(policy), client, true, stint.end_of(for_ms), nullif(block_client.note, ''))
	on conflict on constraint client_override_pkey do update
	set blocked = true, blocked_until = excluded.blocked_until,
		note = case when block_client.note is null then o.note else excluded.note end;
end
$$;

comment on function stint.block_client(text, text, text, bigint) is
	'For operators: admits nothing of one client any more. for_ms: for so long, then what held before holds again, or a limit of its own that it had (1 to '
	'31536000000); null: until it is cleared. note null: as it was; empty: none.';
revoke execute on function stint.block_client(text, text, text, bigint) from public;
grant execute on function stint.block_client(text, text, text, bigint) to stint_operator;

create function stint.unblock_client(policy text, client text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- A session makes its plans once, perhaps while there is little in the table.
set enable_seqscan = off
set jit = off
as $$
declare
	id int;
begin
	perform stint.enter_queue();
	id := stint.find_policy(policy);
	if not exists (
		select from stint.override_in_force o
		where o.policy_id = id and o.client_id = client collate "C" and o.blocked)
	then
		raise exception 'stint: client % of policy % is not blocked', quote_literal(left(client, 80)), quote_literal(policy)
			using errcode = 'P0002';
	end if;
	delete from stint.client_override o
	where o.policy_id = id and o.client_id = client collate "C" and (o.max_requests is null or o.limited_until <= clock_timestamp());
	update stint.client_override o set blocked = false, blocked_until = null
	where o.policy_id = id and o.client_id = client collate "C";
end
$$;

comment on function stint.unblock_client(text, text) is
	'For operators: ends a client''s block. A limit of its own that it has holds again, or else the policy''s.';
revoke execute on function stint.unblock_client(text, text) from public;
grant execute on function stint.unblock_client(text, text) to stint_operator;

create function stint.clear_override(policy text, client text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
begin
	perform stint.enter_queue();
	delete from stint.client_override o
	where o.policy_id = stint.find_policy(policy) and o.client_id = client collate "C";
	if not found then
		raise exception 'stint: client % of policy % has no block, and no limit of its own', quote_literal(left(client, 80)), quote_literal(policy)
			using errcode = 'P0002';
	end if;
end
$$;

comment on function stint.clear_override(text, text) is 'For operators: gives a client the policy''s limit again.';
revoke execute on function stint.clear_override(text, text) from public;
grant execute on function stint.clear_override(text, text) to stint_operator;

-- A grant heeds no override that has ended, by this server's clock. But hosts have what they were told: a block for a few
-- seconds, leases of a larger limit until they end. So what has ended is taken away, which tells them. A change is made
-- in a queue: who holds it up would hold up leases that wait behind this call, so it isn't waited for.
--
-- What was taken away stays in the index while somebody holds an old snapshot, and each look would pass over all of it.
-- So it begins where the last one ended, which is written down: while this transaction has the queue nobody has an
-- override that isn't committed, so none can come to stand before that. (By plain SQL one can be made that has
-- ended already. It stays, and nobody heeds it.)
create function stint.end_overrides(batch int) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
	now constant timestamptz := clock_timestamp();
	-- When nothing has ended: there may be entries of what was cleared before its end.
	patience constant interval := interval '1 minute';
	mark record;
	page record;
begin
	select e.override_until as until, e.override_policy_id as policy_id, e.override_client_id as client_id into mark
	from stint.expiry e
	for update skip locked;
	if not found then
		return 0;
	end if;
	if mark.until > now then -- the clock was set back
		mark.until := '-infinity';
	end if;
	if mark.until > now - patience and not exists (
		select from stint.client_override o
		where (least(o.limited_until, o.blocked_until), o.policy_id, o.client_id) > (mark.until, mark.policy_id, mark.client_id)
			and least(o.limited_until, o.blocked_until) <= now)
	then
		return 0;
	end if;
	perform from stint.change_queue for update skip locked;
	if not found then
		return 0;
	end if;
	with page as materialized (
		select o.ctid as place, least(o.limited_until, o.blocked_until) as until, o.policy_id, o.client_id
		from stint.client_override o
		where (least(o.limited_until, o.blocked_until), o.policy_id, o.client_id) > (mark.until, mark.policy_id, mark.client_id)
			and least(o.limited_until, o.blocked_until) <= now
		order by least(o.limited_until, o.blocked_until), o.policy_id, o.client_id
		limit batch
	),
	over as (
		select o.policy_id, o.client_id,
			case when o.limited_until <= now then null else o.max_requests end as max_requests,
			case when o.limited_until <= now then null else o.limited_until end as limited_until,
			o.blocked and (o.blocked_until <= now) is not true as blocked,
			case when o.blocked_until <= now then null else o.blocked_until end as blocked_until
		from page g
		join stint.client_override o on o.ctid = g.place
		for update of o skip locked
	),
	gone as (
		delete from stint.client_override o
		using over v
		where o.policy_id = v.policy_id and o.client_id = v.client_id and not v.blocked and v.max_requests is null
		returning 1
	),
	kept as (
		update stint.client_override o
		set max_requests = v.max_requests, limited_until = v.limited_until, blocked = v.blocked, blocked_until = v.blocked_until
		from over v
		where o.policy_id = v.policy_id and o.client_id = v.client_id and (v.blocked or v.max_requests is not null)
		returning 1
	)
	select n.found, n.ended, l.until, l.policy_id, l.client_id into page
	from (select (select count(*) from page) as found, (select count(*) from gone) + (select count(*) from kept) as ended) n
	left join lateral (
		select g.until, g.policy_id, g.client_id from page g order by g.until desc, g.policy_id desc, g.client_id desc limit 1
	) l on true;
	if page.found < batch then
		page.until := now;
		page.policy_id := 0;
		page.client_id := '';
	end if;
	if page.ended = page.found then -- what somebody has locked is looked for again
		update stint.expiry set override_until = page.until, override_policy_id = page.policy_id, override_client_id = page.client_id;
	end if;
	return page.ended;
end
$$;

comment on function stint.end_overrides(int) is
	'Takes away up to `batch` blocks and limits of clients'' own that have ended, and so tells the agents. Returns how many overrides that were.';
revoke execute on function stint.end_overrides(int) from public;
