-- An operator forgets what was counted for a client: its whole limit is free again.
--
-- What hosts hold unspent must stay counted, or they could spend it on top of the limit that is free again. The counter
-- doesn't know what that is: it holds what was leased, spent or not. So it happens in two steps.
--
-- At once, what is charged to sub-windows that have ended is forgotten: no host can spend any of that. The rest is kept
-- for a while, and noted. The change is told as any other, so hosts drop their leases of the client, and what they had
-- denied. And the client's sub-windows begin anew at this moment. So what a host returns of leases from before finds
-- nothing to lower, as after a change of the policy's sub-windows: what was noted stays as it is in the counter, and
-- what is granted from now on is charged beside it.
--
-- When each host that may have such leases has said in a heartbeat that the change is in force, all that was noted is
-- spent, or gone. Then it is forgotten as well. If one doesn't say so, it stays until it has left the window.
--
-- So hosts together admit no more than the limit in any window of what comes after the change is in force on them.
--
-- What hosts admitted before this moment, and the database hasn't counted, they forget when they read of the change: see
-- core_client_reset(). What they admitted since then they keep, however late they read of it. What they charge until they
-- have read of it counts.

create table stint.counter_reset (
	policy_id     int not null,
	client_id     text collate "C" not null,
	change_id     bigint not null,
	reset_at      timestamptz not null,
	useless_at    timestamptz not null,
	longest_us    bigint not null,
	sub_window_us bigint not null,
	newest_us     bigint not null,
	counts        int[] not null,
	primary key (policy_id, client_id)
);

comment on table stint.counter_reset is 'What is to be forgotten of a counter as soon as no host has leases of it any more.';
comment on column stint.counter_reset.policy_id is 'The policy.';
comment on column stint.counter_reset.client_id is 'The client.';
comment on column stint.counter_reset.change_id is 'The change that tells the hosts.';
comment on column stint.counter_reset.reset_at is 'When it was made.';
comment on column stint.counter_reset.useless_at is 'From then on none of it counts any more.';
comment on column stint.counter_reset.longest_us is 'No lease lasts for longer.';
comment on column stint.counter_reset.sub_window_us is 'How long a sub-window was.';
comment on column stint.counter_reset.newest_us is 'When the sub-window starts that the first of counts was charged to: microseconds since 1970.';
comment on column stint.counter_reset.counts is 'What was charged to each sub-window, the newest first.';

create function stint.reset_client(policy text, client text) returns table (forgotten bigint, kept bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- Who waits for a counter that somebody has locked keeps others from changing anything.
set lock_timeout = '2s'
-- A session makes its plans once, perhaps while there is little in the tables.
set enable_seqscan = off
set jit = off
as $$
declare
	margin_us constant bigint := 1000000;
	id int;
	c stint.counter;
	now_us bigint;
	starts_us bigint; -- of the sub-window that begins now
	ends_us bigint;
	distance int;
	furthest int := 0;
	still int[] := '{}';
	told bigint;
begin
	perform stint.check_client(client), stint.secure_commit(), stint.enter_queue();
	id := stint.find_policy(policy);
	select k.* into c from stint.counter k where k.policy_id = id and k.client_id = client collate "C" for update;
	forgotten := 0;
	kept := 0;
	if found then
		now_us := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
		starts_us := greatest(now_us, c.current_us + 1);
		if mod(starts_us - c.current_us, c.sub_window_us) = 0 then
			starts_us := starts_us + 1;
		end if;
		-- As in stint.rewindow(): each is charged to the new sub-window that its own one ends in. The first of counts is the
		-- newest.
		for i in 1 .. cardinality(c.counts) loop
			ends_us := c.current_us + (c.ahead - i + 2) * c.sub_window_us;
			if ends_us + margin_us <= now_us then
				forgotten := forgotten + c.counts[i];
			elsif c.counts[i] > 0 then
				distance := greatest((ends_us - 1 - starts_us) / c.sub_window_us, 0);
				if kept = 0 then
					furthest := distance;
					still := array_fill(0, array[furthest + 1]);
				end if;
				still[furthest - distance + 1] := least(still[furthest - distance + 1]::bigint + c.counts[i], 2147483647);
				kept := kept + c.counts[i];
			end if;
		end loop;
		update stint.counter k
		set current_us = starts_us, ahead = furthest, early = 0, counts = still, turn = k.turn + 1
		where k.policy_id = id and k.client_id = client collate "C";
	end if;
	insert into stint.change (at, changed_by, action, policy_id, policy_name, client_id, new)
	values (clock_timestamp(), session_user, 'reset', id, policy, client, jsonb_build_object('forgotten', forgotten, 'kept', kept))
	returning change_id into told;
	perform stint.tell_agents('');
	delete from stint.counter_reset r where r.policy_id = id and r.client_id = client collate "C";
	if kept > 0 then
		insert into stint.counter_reset (policy_id, client_id, change_id, reset_at, useless_at, longest_us, sub_window_us, newest_us, counts)
		values (id, client, told, clock_timestamp(),
			clock_timestamp() + (furthest + c.resolution + 2) * c.sub_window_us * interval '1 microsecond',
			(c.resolution + 2) * c.sub_window_us, c.sub_window_us, starts_us + furthest * c.sub_window_us, still);
	end if;
	return next;
end
$$;

comment on function stint.reset_client(text, text) is
	'For operators: forgets what was counted for a client. kept: what hosts may have unspent leases of; that is forgotten when they have said that they '
	'have none any more, within ten seconds or so; what a host that doesn''t answer may have is counted until it has left the window.';
revoke execute on function stint.reset_client(text, text) from public;
grant execute on function stint.reset_client(text, text) to stint_operator;

-- A host that was not heard of since the reset may have leases until the longest of them has ended. Hosts are forgotten
-- after 30 days, so of longer ones nobody knows who has them. Of two agents with the same name, the one that doesn't have
-- the row may not have heard of the reset. What a host has said to another server, before a failover, doesn't count.
create function stint.get_heard(longest_us bigint, out change_id bigint, out said_at timestamptz)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
	since constant timestamptz := clock_timestamp() - longest_us * interval '1 microsecond';
begin
	select coalesce(min(case when r.is_seen then -1 else coalesce(h.in_force, -1) end), 9223372036854775807),
		coalesce(min(h.seen_at), 'infinity')
	into change_id, said_at
	from stint.agent_host h
	cross join lateral (select coalesce(h.rival_instance <> h.instance and h.rival_seen_at >= since, false) as is_seen) r
	where h.seen_at >= since or r.is_seen;
	if longest_us >= 29 * 86400000000 then
		change_id := -1;
	end if;
end
$$;

comment on function stint.get_heard(bigint) is
	'Up to which change, if it was made by said_at, all is in force on all hosts that may have leases, of which none is longer; -1: nobody knows.';
revoke execute on function stint.get_heard(bigint) from public;

create function stint.finish_resets(batch int) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
	r stint.counter_reset;
	c stint.counter;
	place bigint;
	credits int;
	forgotten bigint;
	finished bigint := 0;
begin
	if not exists (select from stint.counter_reset) then
		return 0;
	end if;
	perform from stint.change_queue for update skip locked; -- as in stint.end_overrides()
	if not found then
		return 0;
	end if;
	-- As many as a batch may wait for a host that is gone; none waits for these.
	for r in
		select o.*
		from (select distinct q.longest_us from stint.counter_reset q) l
		cross join lateral stint.get_heard(l.longest_us) h
		join stint.counter_reset o on o.longest_us = l.longest_us
		where o.useless_at <= clock_timestamp() or o.change_id <= h.change_id and o.reset_at <= h.said_at
		order by o.change_id limit batch
		for update of o skip locked
	loop
		select k.* into c from stint.counter k where k.policy_id = r.policy_id and k.client_id = r.client_id for update skip locked;
		continue when not found and exists (select from stint.counter k where k.policy_id = r.policy_id and k.client_id = r.client_id);
		forgotten := 0;
		-- The sub-windows are still those that were noted, unless the policy was changed, the clock was set back, or the
		-- counter is another one.
		if found and r.useless_at > clock_timestamp() and c.sub_window_us = r.sub_window_us
			and mod(r.newest_us - c.current_us, c.sub_window_us) = 0
			and exists (select from stint.policy p where p.policy_id = r.policy_id and p.changed_at < r.reset_at) then
			for i in 1 .. cardinality(r.counts) loop
				place := c.ahead - (r.newest_us - (i - 1) * r.sub_window_us - c.current_us) / c.sub_window_us + 1;
				if place between 1 and cardinality(c.counts) then
					credits := least(r.counts[i], c.counts[place]);
					c.counts[place] := c.counts[place] - credits;
					forgotten := forgotten + credits;
				end if;
			end loop;
		end if;
		if forgotten > 0 then
			update stint.counter k set counts = c.counts, turn = k.turn + 1, early = 0
			where k.policy_id = r.policy_id and k.client_id = r.client_id;
			-- What hosts have denied meanwhile they needn't deny any longer. It is no reset to them: what the client has come to
			-- owe since the operator's stays owed.
			insert into stint.change (at, changed_by, action, policy_id, policy_name, client_id, new)
			select clock_timestamp(), session_user, 'reset done', r.policy_id, p.name, r.client_id, jsonb_build_object('forgotten', forgotten, 'kept', 0)
			from stint.policy p where p.policy_id = r.policy_id;
		end if;
		delete from stint.counter_reset o where o.policy_id = r.policy_id and o.client_id = r.client_id;
		finished := finished + 1;
	end loop;
	if finished > 0 then
		perform stint.secure_commit();
		perform stint.tell_agents('');
	end if;
	return finished;
end
$$;

comment on function stint.finish_resets(int) is
	'Forgets up to `batch` times what a reset had kept, if no host has leases of it any more, and tells the agents. Returns how many resets are done.';
revoke execute on function stint.finish_resets(int) from public;
