-- The schema as 0.1.0 made it, without its comments: what an operator who updates has.

do $$
begin
	if current_setting('server_version_num')::int < 150000 then
		raise exception 'stint needs PostgreSQL 15 or later, this is %', current_setting('server_version');
	end if;
	if current_setting('server_encoding') <> 'UTF8' then
		raise exception 'stint needs a database with encoding UTF8, this one has %', current_setting('server_encoding')
			using hint = 'create database … encoding ''UTF8'' template template0';
	end if;
end
$$;
do $$
declare
	role text;
begin
	foreach role in array array['stint_owner', 'stint_agent', 'stint_operator', 'stint_auditor'] loop
		if not exists (select from pg_catalog.pg_roles where rolname = role) then
			begin
				execute format('create role %I nologin', role);
				execute format('comment on role %I is %L', role, case role
					when 'stint_owner' then 'Owns the schema stint; its members migrate it.'
					when 'stint_agent' then 'What stintd needs: may call the functions of the schema stint that agents call, and nothing else.'
					when 'stint_operator' then 'May set policies, limit and block clients, and read the views of the schema stint; nothing else.'
					else 'May read the views of the schema stint, and nothing else.' end);
			exception when duplicate_object or unique_violation then
				null;
			end;
		end if;
	end loop;
end
$$;
do $$
begin
	if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
		execute format('grant stint_owner to %I', current_user);
	end if;
exception when insufficient_privilege then
	if not pg_catalog.pg_has_role(current_user, 'stint_owner', 'member') then
		raise exception 'the role stint_owner exists and % is not its member', current_user
			using hint = format('let an administrator run: grant stint_owner to %I', current_user);
	end if;
when unique_violation then
	null;
end
$$;

create schema stint authorization stint_owner;
set local role stint_owner;

grant usage on schema stint to stint_agent, stint_operator, stint_auditor;

create table stint.policy (
	policy_id               int generated always as identity primary key,
	name                    text not null unique
		constraint policy_name_check check (name ~ '^[A-Za-z0-9_.:/-]{1,63}$'),
	max_requests            int not null
		constraint policy_max_requests_check check (max_requests between 1 and 1000000000),
	time_window_ms          bigint not null
		constraint policy_time_window_check check (time_window_ms between 100 and 2678400000),
	fallback_max_requests   bigint not null
		constraint policy_fallback_requests_check check (fallback_max_requests between 1 and 2000000000),
	fallback_time_window_ms bigint not null
		constraint policy_fallback_window_check check (fallback_time_window_ms between 100 and 2678400000),
	algorithm               text not null default 'sliding_window'
		constraint policy_algorithm_check check (algorithm in ('sliding_window', 'fixed_window')),
	resolution              smallint not null default 10
		constraint policy_resolution_check check (resolution between 1 and 60),
	mode                    text not null default 'strict'
		constraint policy_mode_check check (mode in ('strict', 'relaxed')),
	pinned                  boolean not null default false,
	changed_at              timestamptz not null default clock_timestamp(),
	changed_by              text not null default session_user,
	constraint policy_sub_window_check check (algorithm <> 'sliding_window' or time_window_ms > 9 * resolution)
);

create table stint.client_override (
	policy_id    int not null references stint.policy on delete cascade,
	client_id    text collate "C" not null
		constraint client_override_client_check check (octet_length(client_id) between 1 and 255),
	max_requests int
		constraint client_override_max_requests_check check (max_requests between 1 and 1000000000),
	blocked      boolean not null default false,
	note         text,
	changed_at   timestamptz not null default clock_timestamp(),
	changed_by   text not null default session_user,
	primary key (policy_id, client_id),
	constraint client_override_purpose_check check (blocked or max_requests is not null)
);

create table stint.counter (
	policy_id     int not null,
	client_id     text collate "C" not null,
	head_us       bigint not null,
	sub_window_us bigint not null,
	turn          bigint not null,
	max_requests  int not null,
	request       int not null,
	granted       int not null,
	granted_next  int not null,
	charged       int not null,
	resolution    smallint not null,
	counts        int[] not null,
	primary key (policy_id, client_id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);

create table stint.agent_host (
	host_id        int generated always as identity primary key,
	name           text not null unique
		constraint agent_host_name_check check (octet_length(name) between 1 and 255),
	instance       text not null,
	version        text not null,
	state          text not null
		constraint agent_host_state_check check (state in ('in step', 'fallback', 'resync', 'stopped')),
	state_since    timestamptz not null,
	started_at     timestamptz not null,
	seen_at        timestamptz not null,
	clients        bigint not null default 0,
	fallback_since timestamptz,
	rival_instance text,
	rival_seen_at  timestamptz
);

create table stint.host_fallback (
	host_id  int not null,
	host     text not null,
	began_at timestamptz not null,
	ended_at timestamptz not null,
	admitted bigint not null,
	clients  bigint not null,
	reason   text not null,
	primary key (host_id, began_at)
);

create index host_fallback_ended_at_idx on stint.host_fallback (ended_at);

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
create table stint.change_queue (
	only_row boolean primary key default true constraint change_queue_only_row_check check (only_row)
);

insert into stint.change_queue default values;
create function stint.queue_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	if tg_op = 'TRUNCATE' then
		raise exception 'stint: % can''t be truncated, its history would have a gap; use delete', tg_table_name;
	end if;
	perform from stint.change_queue for update;
	if not found then
		raise exception 'stint: the row of stint.change_queue is missing' using hint = 'insert into stint.change_queue default values';
	end if;
	return null;
end
$$;

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

revoke execute on function stint.stamp_change() from public;

create function stint.record_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	was jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) - '{changed_at,changed_by}'::text[] end;
	becomes jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) - '{changed_at,changed_by}'::text[] end;
	changed jsonb := coalesce(becomes, was);
	id int := changed ->> 'policy_id';
	number bigint;
begin
	if was = becomes then
		return null;
	end if;
	insert into stint.change (at, changed_by, action, policy_id, policy_name, client_id, old, new)
	select clock_timestamp(), session_user,
		case
			when tg_table_name = 'client_override' and becomes is null then 'cleared'
			when tg_table_name = 'client_override' and (becomes ->> 'blocked')::boolean then 'blocked'
			when tg_table_name = 'client_override' then 'limited'
			when was is null then 'created'
			when becomes is null then 'dropped'
			when was - 'pinned' <> becomes - 'pinned' then 'changed'
			when (becomes ->> 'pinned')::boolean then 'pinned'
			else 'unpinned'
		end,
		id,
		coalesce(changed ->> 'name', (select p.name from stint.policy p where p.policy_id = id),
			(select c.policy_name from stint.change c where c.policy_id = id order by c.change_id desc limit 1)),
		changed ->> 'client_id', was, becomes
	returning change_id into number;
	perform pg_notify('stint', number::text);
	return null;
end
$$;

revoke execute on function stint.record_change() from public;

create trigger a_queue before insert or update or delete or truncate on stint.policy
	for each statement execute function stint.queue_change();
create trigger b_stamp before insert or update on stint.policy
	for each row execute function stint.stamp_change();
create trigger c_record after insert or update or delete on stint.policy
	for each row execute function stint.record_change();
create trigger a_queue before insert or update or delete or truncate on stint.client_override
	for each statement execute function stint.queue_change();
create trigger b_stamp before insert or update on stint.client_override
	for each row execute function stint.stamp_change();
create trigger c_record after insert or update or delete on stint.client_override
	for each row execute function stint.record_change();

create function stint.get_changes(since bigint) returns table (change_id bigint, policy_id int, client_id text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
	select c.change_id, c.policy_id, c.client_id
	from stint.change c
	where c.change_id > since
	order by c.change_id
	limit 10000;
end;

revoke execute on function stint.get_changes(bigint) from public;
grant execute on function stint.get_changes(bigint) to stint_agent;

create table stint.migration (
	version    int primary key,
	name       text not null,
	breaking   boolean not null,
	applied_at timestamptz not null default clock_timestamp(),
	applied_by text not null default session_user
);

create function stint.schema_version() returns int
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
	select max(m.version) from stint.migration m;
end;

revoke execute on function stint.schema_version() from public;
grant execute on function stint.schema_version() to stint_agent;

create function stint.oldest_agent() returns int
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
	select max(m.version) from stint.migration m where m.breaking;
end;

revoke execute on function stint.oldest_agent() from public;
grant execute on function stint.oldest_agent() to stint_agent;

create function stint.check_policy(
	name text, max_requests bigint, time_window_ms bigint, fallback_max_requests bigint, fallback_time_window_ms bigint,
	algorithm text, resolution int, mode text
) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
	wrong text := case
		when coalesce(name !~ '^[A-Za-z0-9_.:/-]{1,63}$', true) then
			format('policy is %L, must be 1 to 63 characters of [A-Za-z0-9_.:/-]', left(name, 80))
		when coalesce(max_requests not between 1 and 1000000000, true) then
			format('max_requests is %s, must be 1 to 1000000000', coalesce(max_requests::text, 'null'))
		when coalesce(time_window_ms not between 100 and 2678400000, true) then
			format('time_window_ms is %s, must be 100 to 2678400000', coalesce(time_window_ms::text, 'null'))
		when coalesce(fallback_max_requests not between 1 and 2000000000, true) then
			format('fallback_max_requests is %s, must be 1 to 2000000000', coalesce(fallback_max_requests::text, 'null'))
		when coalesce(fallback_time_window_ms not between 100 and 2678400000, true) then
			format('fallback_time_window_ms is %s, must be 100 to 2678400000', coalesce(fallback_time_window_ms::text, 'null'))
		when coalesce(algorithm not in ('sliding_window', 'fixed_window'), true) then
			format('algorithm is %L, must be sliding_window or fixed_window', left(algorithm, 80))
		when coalesce(resolution not between 1 and 60, true) then
			format('resolution is %s, must be 1 to 60', coalesce(resolution::text, 'null'))
		when algorithm = 'sliding_window' and time_window_ms <= 9 * resolution then
			format('time_window_ms is %s and resolution is %s: a sub-window must be at least 10 ms', time_window_ms, resolution)
		when coalesce(mode not in ('strict', 'relaxed'), true) then
			format('mode is %L, must be strict or relaxed', left(mode, 80))
	end;
begin
	if wrong is not null then
		raise exception 'stint: %', wrong using errcode = '22023';
	end if;
end
$$;

revoke execute on function stint.check_policy(text, bigint, bigint, bigint, bigint, text, int, text) from public;

create function stint.find_policy(name text) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
	id int := (select p.policy_id from stint.policy p where p.name = find_policy.name);
begin
	if id is null then
		raise exception 'stint: no policy %', coalesce(quote_literal(left(name, 80)), 'null') using errcode = '22023';
	end if;
	return id;
end
$$;

revoke execute on function stint.find_policy(text) from public;

create function stint.declare_policy(
	name text, max_requests bigint, time_window_ms bigint, fallback_max_requests bigint, fallback_time_window_ms bigint,
	algorithm text, resolution int, mode text, again boolean
) returns table (status text, policy_id int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
	found stint.policy;
begin
	perform stint.check_policy(name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms,
		algorithm, resolution, mode);
	loop
		select p.* into found from stint.policy p where p.name = declare_policy.name;
		policy_id := found.policy_id;
		if policy_id is null then
			insert into stint.policy as p (name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms,
				algorithm, resolution, mode)
			values (declare_policy.name, declare_policy.max_requests, declare_policy.time_window_ms,
				declare_policy.fallback_max_requests, declare_policy.fallback_time_window_ms,
				declare_policy.algorithm, declare_policy.resolution, declare_policy.mode)
			on conflict do nothing
			returning p.policy_id into policy_id;
			status := 'created';
		elsif found.pinned then
			status := 'pinned';
		elsif again then
			status := 'kept';
		elsif (found.max_requests, found.time_window_ms, found.fallback_max_requests, found.fallback_time_window_ms,
				found.algorithm, found.resolution, found.mode)
			= (max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms, algorithm, resolution, mode) then
			status := 'unchanged';
		else
			update stint.policy as p
			set max_requests = declare_policy.max_requests, time_window_ms = declare_policy.time_window_ms,
				fallback_max_requests = declare_policy.fallback_max_requests,
				fallback_time_window_ms = declare_policy.fallback_time_window_ms,
				algorithm = declare_policy.algorithm, resolution = declare_policy.resolution, mode = declare_policy.mode
			where p.policy_id = found.policy_id and not p.pinned
			returning p.policy_id into policy_id;
			status := 'changed';
		end if;
		if policy_id is not null then
			return next;
			return;
		end if;
	end loop;
end
$$;

revoke execute on function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) from public;
grant execute on function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) to stint_agent;

create function stint.get_policies() returns table (
	policy_id int, name text, max_requests int, time_window_ms bigint, fallback_max_requests bigint, fallback_time_window_ms bigint,
	algorithm text, resolution int, mode text, pinned boolean
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
	select p.policy_id, p.name, p.max_requests, p.time_window_ms, p.fallback_max_requests, p.fallback_time_window_ms,
		p.algorithm, p.resolution::int, p.mode, p.pinned
	from stint.policy p
	order by p.policy_id;
end;

revoke execute on function stint.get_policies() from public;
grant execute on function stint.get_policies() to stint_agent;

create function stint.set_policy(
	name text, max_requests bigint, time_window_ms bigint, fallback_max_requests bigint default null,
	fallback_time_window_ms bigint default null, algorithm text default 'sliding_window', resolution int default 10,
	mode text default 'strict'
) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	fallback_requests bigint := coalesce(fallback_max_requests, 2 * max_requests);
	fallback_window_ms bigint := coalesce(fallback_time_window_ms, time_window_ms);
	id int;
begin
	perform stint.check_policy(name, max_requests, time_window_ms, fallback_requests, fallback_window_ms, algorithm, resolution, mode);
	insert into stint.policy as p (name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms,
		algorithm, resolution, mode, pinned)
	values (set_policy.name, set_policy.max_requests, set_policy.time_window_ms, fallback_requests, fallback_window_ms,
		set_policy.algorithm, set_policy.resolution, set_policy.mode, true)
	on conflict on constraint policy_name_key do update
	set max_requests = excluded.max_requests, time_window_ms = excluded.time_window_ms,
		fallback_max_requests = excluded.fallback_max_requests, fallback_time_window_ms = excluded.fallback_time_window_ms,
		algorithm = excluded.algorithm, resolution = excluded.resolution, mode = excluded.mode, pinned = true
	returning p.policy_id into id;
	return id;
end
$$;

revoke execute on function stint.set_policy(text, bigint, bigint, bigint, bigint, text, int, text) from public;
grant execute on function stint.set_policy(text, bigint, bigint, bigint, bigint, text, int, text) to stint_operator;

create function stint.unpin_policy(name text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	update stint.policy p set pinned = false where p.policy_id = stint.find_policy(unpin_policy.name);
end
$$;

revoke execute on function stint.unpin_policy(text) from public;
grant execute on function stint.unpin_policy(text) to stint_operator;

create function stint.drop_policy(name text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	delete from stint.policy p where p.policy_id = stint.find_policy(drop_policy.name);
end
$$;

revoke execute on function stint.drop_policy(text) from public;
grant execute on function stint.drop_policy(text) to stint_operator;

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

revoke execute on function stint.check_client(text) from public;

create function stint.set_override(policy text, client text, max_requests bigint, note text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	perform stint.check_client(client);
	if coalesce(max_requests not between 1 and 1000000000, true) then
		raise exception 'stint: max_requests is %, must be 1 to 1000000000', coalesce(max_requests::text, 'null')
			using errcode = '22023', hint = 'To admit nothing, use stint.block_client().';
	end if;
	insert into stint.client_override (policy_id, client_id, max_requests, note)
	values (stint.find_policy(policy), client, set_override.max_requests, set_override.note)
	on conflict on constraint client_override_pkey do update
	set max_requests = excluded.max_requests, blocked = false, note = excluded.note;
end
$$;

revoke execute on function stint.set_override(text, text, bigint, text) from public;
grant execute on function stint.set_override(text, text, bigint, text) to stint_operator;

create function stint.block_client(policy text, client text, note text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	perform stint.check_client(client);
	insert into stint.client_override (policy_id, client_id, blocked, note)
	values (stint.find_policy(policy), client, true, block_client.note)
	on conflict on constraint client_override_pkey do update set blocked = true, note = excluded.note;
end
$$;

revoke execute on function stint.block_client(text, text, text) from public;
grant execute on function stint.block_client(text, text, text) to stint_operator;

create function stint.clear_override(policy text, client text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
	delete from stint.client_override o
	where o.policy_id = stint.find_policy(policy) and o.client_id = client collate "C";
	if not found then
		raise exception 'stint: client % of policy % has no override', quote_literal(left(client, 80)), quote_literal(policy)
			using errcode = '22023';
	end if;
end
$$;

revoke execute on function stint.clear_override(text, text) from public;
grant execute on function stint.clear_override(text, text) to stint_operator;

create function stint.sub_window_us(algorithm text, time_window_ms bigint, resolution int) returns bigint
language sql immutable parallel safe
as $$
	select case algorithm
		when 'fixed_window' then time_window_ms * 1000
		else (time_window_ms + resolution - 1) / resolution * 1000
			+ (least(time_window_ms * 5, 10000) + resolution - 1) / resolution
	end
$$;

revoke execute on function stint.sub_window_us(text, bigint, int) from public;

create function stint.rewindow(
	head_us bigint, old_sub_window_us bigint, counts int[], new_head_us bigint, t_us bigint, sub_window_us bigint, keep int
) returns int[]
language plpgsql immutable parallel safe
as $$
declare
	moved int[] := array_fill(0, array[keep]);
	spent_us bigint;
	place bigint;
begin
	for i in 1 .. cardinality(counts) loop
		spent_us := least(head_us - (i - 1) * old_sub_window_us + old_sub_window_us - 1, t_us);
		place := case when spent_us >= new_head_us then 1 else 2 + (new_head_us - 1 - spent_us) / sub_window_us end;
		if place <= keep then
			moved[place] := least(moved[place]::bigint + counts[i], 2147483647);
		end if;
	end loop;
	return moved;
end
$$;

revoke execute on function stint.rewindow(bigint, bigint, int[], bigint, bigint, bigint, int) from public;

create function stint.retry_after(
	head_us bigint, counts int[], t_us bigint, current_us bigint, sub_window_us bigint, resolution int,
	max_requests int, least_need int
) returns bigint
language plpgsql immutable parallel safe
as $$
declare
	place int := 1 + ((head_us - current_us) / sub_window_us)::int;
	total bigint := 0;
begin
	if least_need > max_requests then
		return -1;
	end if;
	for i in greatest(place - 1, 1) .. place - 1 + resolution loop
		total := total + coalesce(counts[i], 0);
	end loop;
	for k in 1 .. resolution + 1 loop
		if max_requests - total >= least_need then
			return current_us + k * sub_window_us - t_us;
		end if;
		total := total - coalesce(counts[place + resolution - k], 0);
	end loop;
	return current_us + (resolution + 2) * sub_window_us - t_us;
end
$$;

revoke execute on function stint.retry_after(bigint, int[], bigint, bigint, bigint, int, int, int) from public;

create function stint.take(
	inout head_us bigint, old_sub_window_us bigint, inout counts int[],
	t_us bigint, phase_us bigint, hosts int,
	max_requests int, sub_window_us bigint, resolution int,
	need int, least_need int, want int, next_want int, charge int,
	return_sub_window bigint, return_first int, return_second int,
	out changed boolean, out granted int, out granted_next int, out charged int, out remaining int,
	out sub_window bigint, out valid_us bigint, out retry_us bigint, out reset_us bigint
) returns record
language plpgsql immutable parallel safe
as $$
declare
	clock_tolerance_us constant bigint := 2000000;
	keep constant int := resolution + 2;
	sliding constant boolean := resolution > 0;
	current_us bigint;
	place int;
	gap bigint;
	middle bigint := 0;
	oldest bigint;
	ahead bigint;
	available int;
begin
	changed := false;
	if head_us is null then
		head_us := t_us - mod(t_us - phase_us, sub_window_us);
		counts := '{}';
	else
		if t_us >= head_us - old_sub_window_us - clock_tolerance_us then
			t_us := greatest(t_us, head_us - old_sub_window_us);
		else
			head_us := t_us + old_sub_window_us;
			changed := true;
		end if;
		if old_sub_window_us <> sub_window_us then
			current_us := t_us - mod(t_us - phase_us, sub_window_us);
			counts := stint.rewindow(head_us, old_sub_window_us, counts, current_us, t_us, sub_window_us, keep);
			head_us := current_us;
		end if;
	end if;
	current_us := t_us - mod(t_us - head_us + sub_window_us, sub_window_us);
	if current_us > head_us then
		gap := (current_us - head_us) / sub_window_us;
		counts := case when gap >= keep then '{}' else array_fill(0, array[gap::int]) || counts end;
		head_us := current_us;
	end if;
	if cardinality(counts) > keep then
		counts := counts[:keep];
	end if;
	place := case when head_us > current_us then 2 else 1 end;
	if cardinality(counts) < place then
		counts := counts || array_fill(0, array[place - cardinality(counts)]);
	end if;
	if return_sub_window > 0 and mod(head_us - return_sub_window, sub_window_us) = 0 then
		gap := (head_us - return_sub_window) / sub_window_us + 1;
		if return_first > 0 and gap between 1 and cardinality(counts) and counts[gap::int] > 0 then
			counts[gap::int] := greatest(counts[gap::int] - return_first, 0);
			changed := true;
		end if;
		if return_second > 0 and gap - 1 between 1 and cardinality(counts) and counts[gap::int - 1] > 0 then
			counts[gap::int - 1] := greatest(counts[gap::int - 1] - return_second, 0);
			changed := true;
		end if;
	end if;
	for i in place .. least(place + resolution - 1, cardinality(counts)) loop
		middle := middle + counts[i];
	end loop;
	oldest := coalesce(counts[place + resolution], 0);
	ahead := case when place = 2 then counts[1] else 0 end;
	available := greatest(max_requests - middle - case when sliding then greatest(oldest, ahead) else oldest end, 0);
	charged := least(charge, available);
	available := available - charged;
	granted := case
		when need > 0 and available < least_need then 0
		when need > 0 then least(available, greatest(need, least(want, greatest(available / (4::bigint * hosts), 1))))
		else least(available, want, greatest(available / (4::bigint * hosts), 1))
	end;
	remaining := available - granted;
	counts[place] := counts[place] + charged + granted;
	if sliding then
		middle := middle + charged + granted;
	end if;

	available := greatest(max_requests - middle - ahead, 0);
	granted_next := least(available, next_want, greatest(available / (4::bigint * hosts), 1));
	if granted_next > 0 then
		if place = 1 then
			counts := granted_next || counts[:keep - 1];
			head_us := head_us + sub_window_us;
			place := 2;
		else
			counts[1] := counts[1] + granted_next;
		end if;
		if sliding then
			remaining := greatest(least(remaining, max_requests - middle - ahead - granted_next), 0);
		end if;
	end if;
	changed := changed or charged > 0 or granted > 0 or granted_next > 0;
	gap := cardinality(counts);
	while gap > 0 and counts[gap::int] = 0 loop
		gap := gap - 1;
	end loop;
	counts := counts[:gap::int];
	sub_window := current_us;
	valid_us := current_us + sub_window_us - t_us;
	retry_us := case
		when need > 0 and granted < least_need
			then stint.retry_after(head_us, counts, t_us, current_us, sub_window_us, resolution, max_requests, least_need)
		when remaining = 0 then stint.retry_after(head_us, counts, t_us, current_us, sub_window_us, resolution, max_requests, 1)
		else 0
	end;
	reset_us := 0;
	for i in 1 .. cardinality(counts) loop
		if counts[i] > 0 then
			reset_us := greatest(head_us + (resolution + 2 - i) * sub_window_us - t_us, 0);
			exit;
		end if;
	end loop;
end
$$;

revoke execute on function stint.take(bigint, bigint, int[], bigint, bigint, int, int, bigint, int, int, int, int, int, int, bigint, int, int)
	from public;

create function stint.take_leases(
	hosts int, policy_ids int[], client_ids text[], needs int[], leasts int[], wants int[], next_wants int[], charges int[],
	return_subs bigint[], return_firsts int[], return_seconds int[]
) returns table (
	request int, granted int, sub_window bigint, valid_us bigint, granted_next int, starts_in_us bigint, next_valid_us bigint,
	remaining int, retry_us bigint, reset_us bigint, max_requests int, charged int
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
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
		cardinality(client_ids) = size and cardinality(needs) = size and cardinality(leasts) = size and cardinality(wants) = size
		and cardinality(next_wants) = size and cardinality(charges) = size and cardinality(return_subs) = size
		and cardinality(return_firsts) = size and cardinality(return_seconds) = size, false)
	then
		raise exception 'stint: the arrays of a batch must have the same length' using errcode = '22023';
	end if;

	return query
	with asked as materialized (
		select distinct on (a.policy_id, a.client_id collate "C")
			a.ordinal::int as request, a.policy_id, a.client_id collate "C" as client_id,
			a.need, greatest(least(a.least_need, a.need), 1) as least_need, a.want, a.next_want, a.charge,
			a.return_sub, a.return_first, a.return_second,
			case when o.blocked then 0 else coalesce(o.max_requests, p.max_requests) end as max_requests,
			case p.algorithm when 'fixed_window' then 0 else p.resolution end as resolution,
			stint.sub_window_us(p.algorithm, p.time_window_ms, p.resolution) as sub_window_us
		from unnest(policy_ids, client_ids, needs, leasts, wants, next_wants, charges, return_subs, return_firsts, return_seconds)
			with ordinality
			as a (policy_id, client_id, need, least_need, want, next_want, charge, return_sub, return_first, return_second, ordinal)
		cross join lateral (
			select q.* from stint.policy q where q.policy_id = a.policy_id offset 0
		) p
		left join lateral (
			select q.* from stint.client_override q where q.policy_id = a.policy_id and q.client_id = a.client_id collate "C" offset 0
		) o on true
		where octet_length(a.client_id) between 1 and 255
			and a.need >= 0 and a.least_need >= 0 and a.want >= 0 and a.next_want >= 0 and a.charge >= 0
		order by a.policy_id, a.client_id collate "C", a.ordinal
	),
	tried as materialized (
		select a.*, t.*, coalesce(c.turn + 1, hashtextextended(a.client_id, t_us) & 4611686018427387903) as turn
		from asked a
		left join lateral (
			select r.head_us, r.sub_window_us, r.counts, r.turn
			from stint.counter r
			where r.policy_id = a.policy_id and r.client_id = a.client_id
			offset 0
		) c on true
		cross join lateral stint.take(
			c.head_us, c.sub_window_us, c.counts, t_us,
			mod(hashtextextended(a.client_id, (a.policy_id::bigint << 32) + a.sub_window_us / 1000) & 9223372036854775807, a.sub_window_us),
			host_count, a.max_requests, a.sub_window_us, a.resolution, a.need, a.least_need, a.want, a.next_want, a.charge,
			a.return_sub, a.return_first, a.return_second) t
	),
	written as (
		insert into stint.counter as c (
			policy_id, client_id, head_us, sub_window_us, turn, max_requests, request, granted, granted_next, charged,
			resolution, counts)
		select n.policy_id, n.client_id, n.head_us, n.sub_window_us, n.turn, n.max_requests, n.request, n.granted,
			n.granted_next, n.charged, n.resolution, n.counts
		from tried n
		where n.changed
		order by n.policy_id, n.client_id
		on conflict (policy_id, client_id) do update set
			sub_window_us = excluded.sub_window_us,
			turn = c.turn + 1,
			max_requests = excluded.max_requests,
			request = excluded.request,
			resolution = excluded.resolution,
			(head_us, granted, granted_next, charged, counts) = (
				select excluded.head_us, excluded.granted, excluded.granted_next, excluded.charged, excluded.counts
				where c.turn + 1 = excluded.turn
				union all
				select t.head_us, t.granted, t.granted_next, t.charged, t.counts
				from stint.take(
					c.head_us, c.sub_window_us, c.counts, t_us, mod(excluded.head_us, excluded.sub_window_us),
					host_count, excluded.max_requests, excluded.sub_window_us, excluded.resolution,
					needs[excluded.request], greatest(least(leasts[excluded.request], needs[excluded.request]), 1),
					wants[excluded.request], next_wants[excluded.request], charges[excluded.request],
					return_subs[excluded.request], return_firsts[excluded.request], return_seconds[excluded.request]) t
				where c.turn + 1 <> excluded.turn)
		returning c.request, c.turn, c.head_us, c.sub_window_us, c.counts, c.granted, c.granted_next, c.charged
	)
	select n.request, n.granted, n.sub_window, n.valid_us, n.granted_next, n.valid_us, n.valid_us + n.sub_window_us,
		n.remaining, n.retry_us, n.reset_us, n.max_requests, n.charged
	from tried n
	left join written w on w.request = n.request
	where w.turn is null or w.turn = n.turn
	union all
	select n.request, w.granted, t.sub_window, t.valid_us, w.granted_next, t.valid_us, t.valid_us + n.sub_window_us,
		t.remaining, t.retry_us, t.reset_us, n.max_requests, w.charged
	from tried n
	join written w on w.request = n.request
	cross join lateral stint.take(
		w.head_us, w.sub_window_us, w.counts, t_us, 0, host_count, n.max_requests, n.sub_window_us, n.resolution,
		case when w.granted < n.least_need then n.need else 0 end, n.least_need, 0, 0, 0, 0, 0, 0) t
	where w.turn <> n.turn;

	if clock_timestamp() < started_at or clock_timestamp() > started_at + interval '2 seconds' then
		raise exception 'stint: the grant took %', clock_timestamp() - started_at
			using errcode = 'ST001', hint = 'Rows were locked for too long, or the server''s clock was set. Nothing was granted.';
	end if;
end
$$;

revoke execute on function stint.take_leases(int, int[], text[], int[], int[], int[], int[], int[], bigint[], int[], int[]) from public;
grant execute on function stint.take_leases(int, int[], text[], int[], int[], int[], int[], int[], bigint[], int[], int[]) to stint_agent;

create table stint.expiry (
	only_row  boolean primary key default true constraint expiry_only_row_check check (only_row),
	policy_id int not null,
	client_id text collate "C" not null,
	history_at timestamptz not null default '-infinity'
);

insert into stint.expiry (policy_id, client_id) values (0, '');

create function stint.expire_history(batch int) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
	year_ago constant timestamptz := clock_timestamp() - interval '1 year';
	newest constant bigint := stint.get_newest_change();
	changes bigint;
	fallbacks bigint;
begin
	delete from stint.change c
	using (select o.change_id, o.at from stint.change o order by o.change_id limit batch) o
	where c.change_id = o.change_id and o.at < year_ago and o.change_id < newest;
	get diagnostics changes = row_count;
	delete from stint.host_fallback f
	using (select o.host_id, o.began_at from stint.host_fallback o where o.ended_at < year_ago order by o.ended_at limit batch) o
	where f.host_id = o.host_id and f.began_at = o.began_at;
	get diagnostics fallbacks = row_count;
	return greatest(changes, fallbacks) < batch;
end
$$;

revoke execute on function stint.expire_history(int) from public;

create function stint.expire_counters(batch int) returns table (examined bigint, deleted bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
	margin_us constant bigint := 10000000;
	t_us constant bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
	lower stint.expiry;
	upper stint.expiry;
begin
	examined := 0;
	deleted := 0;
	select * into lower from stint.expiry for update skip locked;
	if not found then
		return next;
		return;
	end if;

	select count(*) over (), page.policy_id, page.client_id
	into examined, upper.policy_id, upper.client_id
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
				and t_us - margin_us >= c.head_us + c.sub_window_us + 2000 * p.time_window_ms)
		for update of c skip locked
	)
	delete from stint.counter c
	using idle i
	where c.policy_id = i.policy_id and c.client_id = i.client_id;
	get diagnostics deleted = row_count;
	if clock_timestamp() not between lower.history_at and lower.history_at + interval '1 hour'
		and stint.expire_history(greatest(batch, 1)) then
		lower.history_at := clock_timestamp();
	end if;
	update stint.expiry e set
		history_at = lower.history_at,
		policy_id = case when examined < greatest(batch, 1) then 0 else upper.policy_id end,
		client_id = case when examined < greatest(batch, 1) then '' else upper.client_id end;
	return next;
end
$$;

revoke execute on function stint.expire_counters(int) from public;
grant execute on function stint.expire_counters(int) to stint_agent;

create function stint.count_live_hosts() returns int
language sql volatile
begin atomic
	select greatest(count(*), 1)::int from stint.agent_host h
	where h.state <> 'stopped' and h.seen_at > clock_timestamp() - interval '10 seconds';
end;

revoke execute on function stint.count_live_hosts() from public;

create function stint.get_newest_change() returns bigint
language sql volatile
begin atomic
	select coalesce(max(c.change_id), 0) from stint.change c;
end;

revoke execute on function stint.get_newest_change() from public;

create function stint.register_host(name text, instance text, version text)
returns table (host_id int, now_us bigint, live_hosts int, change_id bigint, timeline text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
	now constant timestamptz := clock_timestamp();
begin
	insert into stint.agent_host as h (name, instance, version, state, state_since, started_at, seen_at)
	values (register_host.name, register_host.instance, register_host.version, 'resync', now, now, now)
	on conflict (name) do update set
		instance = excluded.instance,
		version = excluded.version,
		state = excluded.state,
		state_since = excluded.state_since,
		started_at = case when h.instance = excluded.instance then h.started_at else excluded.started_at end,
		seen_at = excluded.seen_at,
		rival_instance = nullif(h.rival_instance, excluded.instance)
	returning h.host_id into host_id;
	delete from stint.agent_host h where h.seen_at < now - interval '30 days';

	now_us := (extract(epoch from now) * 1000000)::bigint;
	live_hosts := stint.count_live_hosts();
	change_id := stint.get_newest_change();
	timeline := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
	return next;
end
$$;

revoke execute on function stint.register_host(text, text, text) from public;
grant execute on function stint.register_host(text, text, text) to stint_agent;

create function stint.heartbeat(host_id int, instance text, state text, clients bigint, fallback_ms bigint)
returns table (now_us bigint, live_hosts int, change_id bigint, rival boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
	patience constant interval := interval '5 seconds';
begin
	update stint.agent_host h set
		instance = heartbeat.instance,
		state = heartbeat.state,
		state_since = case when h.state = heartbeat.state then h.state_since else now end,
		seen_at = now,
		clients = heartbeat.clients,
		fallback_since = case when fallback_ms > 0 then now - fallback_ms * interval '1 millisecond' end
	where h.host_id = heartbeat.host_id
		and (h.instance = heartbeat.instance or h.state = 'stopped' or h.seen_at not between now - patience and now + patience)
	returning coalesce(h.rival_instance <> h.instance and h.rival_seen_at between now - patience and now + patience, false)
	into rival;
	if not found then
		update stint.agent_host h set rival_instance = heartbeat.instance, rival_seen_at = now
		where h.host_id = heartbeat.host_id
		returning true into rival;
	end if;
	if not found then
		return;
	end if;
	now_us := (extract(epoch from now) * 1000000)::bigint;
	live_hosts := stint.count_live_hosts();
	change_id := stint.get_newest_change();
	return next;
end
$$;

revoke execute on function stint.heartbeat(int, text, text, bigint, bigint) from public;
grant execute on function stint.heartbeat(int, text, text, bigint, bigint) to stint_agent;

create function stint.report_fallback(
	host_id int, lasted_ms bigint, ended_ms_ago bigint, admitted bigint, clients bigint, reason text
) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	ended constant timestamptz := clock_timestamp() - greatest(ended_ms_ago, 0) * interval '1 millisecond';
begin
	insert into stint.host_fallback (host_id, host, began_at, ended_at, admitted, clients, reason)
	select h.host_id, h.name, ended - greatest(lasted_ms, 0) * interval '1 millisecond',
		ended, report_fallback.admitted, report_fallback.clients, report_fallback.reason
	from stint.agent_host h
	where h.host_id = report_fallback.host_id
	on conflict do nothing;
end
$$;

revoke execute on function stint.report_fallback(int, bigint, bigint, bigint, bigint, text) from public;
grant execute on function stint.report_fallback(int, bigint, bigint, bigint, bigint, text) to stint_agent;

create function stint.stop_host(host_id int, instance text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
begin
	update stint.agent_host h set
		instance = case when h.instance = stop_host.instance then h.rival_instance else h.instance end,
		rival_instance = null,
		rival_seen_at = null
	where h.host_id = stop_host.host_id
		and stop_host.instance in (h.instance, h.rival_instance) and h.rival_instance <> h.instance
		and h.rival_seen_at between now - interval '5 seconds' and now + interval '5 seconds';
	if not found then
		update stint.agent_host h
		set state = 'stopped', state_since = now, seen_at = now, clients = 0, fallback_since = null
		where h.host_id = stop_host.host_id and h.instance = stop_host.instance;
	end if;
end
$$;

revoke execute on function stint.stop_host(int, text) from public;
grant execute on function stint.stop_host(int, text) to stint_agent;

create view stint.usage as
select
	p.name as policy,
	c.client_id,
	u.used,
	l.max_requests,
	greatest(l.max_requests - u.used, 0) as remaining,
	round(100.0 * u.used / nullif(l.max_requests, 0), 1) as percent,
	coalesce(o.blocked, false) as blocked,
	timestamptz 'epoch' + (c.head_us + (c.resolution + 2 - u.newest) * c.sub_window_us) * interval '1 microsecond' as resets_at
from stint.counter c
join stint.policy p on p.policy_id = c.policy_id
left join stint.client_override o on o.policy_id = c.policy_id and o.client_id = c.client_id
cross join lateral (
	select case when o.blocked then 0 else coalesce(o.max_requests, p.max_requests) end as max_requests
) l
cross join lateral (
	select (greatest((extract(epoch from clock_timestamp()) * 1000000)::bigint - c.head_us, -c.sub_window_us) + c.sub_window_us)
		/ c.sub_window_us - 1 as age
) h
cross join lateral (
	select
		greatest(
			sum(n.count) filter (where h.age + n.place - 1 between 0 and c.resolution),
			sum(n.count) filter (where h.age + n.place - 1 between -1 and c.resolution - 1 and c.resolution > 0)) as used,
		min(n.place) filter (where n.count > 0) as newest
	from unnest(c.counts) with ordinality as n (count, place)
) u
where u.used > 0;

grant select on stint.usage to stint_operator, stint_auditor;

create view stint.limited as
select u.policy, u.client_id, u.used, u.max_requests, u.blocked, u.resets_at, null::text as note
from stint.usage u
where u.remaining = 0 and not u.blocked
union all
select p.name, o.client_id, coalesce(u.used, 0), 0, true, null, o.note
from stint.client_override o
join stint.policy p on p.policy_id = o.policy_id
left join stint.usage u on u.policy = p.name and u.client_id = o.client_id
where o.blocked;

grant select on stint.limited to stint_operator, stint_auditor;

create view stint.top_client as
select u.policy, rank() over (partition by u.policy order by u.used desc) as rank, u.client_id, u.used, u.max_requests, u.percent
from stint.usage u
order by u.policy, rank, u.client_id;

grant select on stint.top_client to stint_operator, stint_auditor;

create view stint.host as
select
	h.name,
	case when h.state <> 'stopped' and h.seen_at < clock_timestamp() - interval '10 seconds' then 'lost' else h.state end as state,
	h.version,
	h.clients,
	h.seen_at,
	date_trunc('milliseconds', clock_timestamp() - h.seen_at) as seen_ago,
	h.state_since,
	h.started_at,
	h.fallback_since,
	case when clock_timestamp() - h.rival_seen_at between interval '-5 seconds' and interval '5 seconds' then h.rival_instance end as rival,
	h.rival_seen_at
from stint.agent_host h;

grant select on stint.host to stint_operator, stint_auditor;

create view stint.fallback_period as
select f.host, f.began_at, f.ended_at, f.ended_at - f.began_at as lasted, f.admitted, f.clients, f.reason
from stint.host_fallback f;

grant select on stint.fallback_period to stint_operator, stint_auditor;

create view stint.policy_history as
select c.change_id, c.at, c.changed_by, c.action, c.policy_name as policy, c.client_id, c.old, c.new
from stint.change c;

grant select on stint.policy_history to stint_operator, stint_auditor;

create view stint.policy_limit as
select p.name as policy, p.max_requests, p.time_window_ms, p.fallback_max_requests, p.fallback_time_window_ms,
	p.algorithm, p.resolution, p.mode, p.pinned, p.changed_at, p.changed_by
from stint.policy p;

grant select on stint.policy_limit to stint_operator, stint_auditor;

create view stint.client_limit as
select p.name as policy, o.client_id, o.blocked, o.max_requests, o.changed_at, o.changed_by, o.note
from stint.client_override o
join stint.policy p on p.policy_id = o.policy_id;

grant select on stint.client_limit to stint_operator, stint_auditor;

insert into stint.migration (version, name, breaking) values (1, 'limiter', true);
revoke all on all tables in schema stint from public;
revoke all on all functions in schema stint from public;

reset role;
