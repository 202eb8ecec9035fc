-- A cache with counters, for limiters that count by get, set, increment and decrement alone, and have no agent: what
-- Redis is used for otherwise. It has nothing to do with the policies. Who may call it may do nothing else.
--
-- Each call is one statement on one row, found by its key, and reads no row before it writes it. So sessions that count
-- under the same key at once wait for one another's commits, and no count is lost. The clock is read under the row's
-- lock, so that of any number of sessions that find a window over, one begins the next.
--
-- What is cached may be lost, so the table isn't logged: no call writes to the log or waits for the disk. After a crash,
-- on a standby that was promoted, and in a restored physical backup it is empty, and on a standby it can't be read. How
-- the transaction commits is left as it is: it may be the app's, and have more in it.

create unlogged table stint.cache (
	key        text collate "C" primary key
		constraint cache_key_check check (octet_length(key) between 1 and 512),
	value      text not null
		constraint cache_value_check check (octet_length(value) <= 65536),
	expires_at timestamptz not null
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);

comment on table stint.cache is
	'What apps keep by cache_set() and count by cache_increment_and_get(). Not logged: empty after a crash. No index but the primary key, and room '
	'on each page: updates stay HOT.';
comment on column stint.cache.key is 'The key, as the app names it; collation "C" compares bytes.';
comment on column stint.cache.value is 'What was set, or the count in decimal digits.';
comment on column stint.cache.expires_at is 'From then on the key counts as absent, though the row may stay for a while.';
comment on constraint cache_key_check on stint.cache is 'As cache_set() says it: 1 to 512 bytes.';
comment on constraint cache_value_check on stint.cache is 'As cache_set() says it: up to 64 KiB.';

create function stint.check_cache_key(key text) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
	if coalesce(octet_length(key) not between 1 and 512, true) then
		raise exception 'stint: the key has % bytes, must be 1 to 512', coalesce(octet_length(key), 0) using errcode = '22023';
	end if;
end
$$;

comment on function stint.check_cache_key(text) is 'Raises 22023 if a key of the cache has not 1 to 512 bytes.';
revoke execute on function stint.check_cache_key(text) from public;

create function stint.check_cache_expiry(expiry_ms bigint) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
	if coalesce(expiry_ms not between 1 and 2678400000, true) then
		raise exception 'stint: expiry_ms is %, must be 1 to 2678400000', coalesce(expiry_ms::text, 'null') using errcode = '22023';
	end if;
end
$$;

comment on function stint.check_cache_expiry(bigint) is 'Raises 22023 if a time until the expiry is not 1 ms to 31 days.';
revoke execute on function stint.check_cache_expiry(bigint) from public;

create function stint.add_to_cached(value text, amount int) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
	most constant numeric := 9223372036854775807;
begin
	if value !~ '^-?[0-9]{1,19}$' or abs(value::numeric) > most then
		raise exception 'stint: the value is %, must be a whole number from -% to % to be counted with', quote_literal(left(value, 80)), most, most
			using errcode = '22P02';
	end if;
	if value::numeric + amount > most then
		raise exception 'stint: the value is %, the largest that can be counted to', value using errcode = '22003';
	end if;
	-- Down to zero, and not below; a value that was set below zero stays what it is.
	return case when amount < 0 then greatest(value::bigint + amount, least(value::bigint, 0)) else value::bigint + amount end;
end
$$;

comment on function stint.add_to_cached(text, int) is
	'A cached count plus an amount. Raises 22P02 if the value is no whole number, 22003 if it is the largest already.';
revoke execute on function stint.add_to_cached(text, int) from public;

-- Looks at a few pages of the table, wherever that is, and deletes what has expired there. So nobody has to keep where
-- a walk has come to, and nobody waits for whoever walks. However many versions of rows an old snapshot keeps, a look
-- takes no longer than a look at these pages.
create function stint.expire_cache(pages int) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
	size constant bigint := pg_relation_size('stint.cache') / current_setting('block_size')::int;
	page constant bigint := floor(random() * greatest(size - pages + 1, 1));
	first constant tid := format('(%s,0)', page);
	beyond constant tid := format('(%s,0)', page + pages);
	deleted bigint;
begin
	delete from stint.cache c
	where c.ctid = any (array(
		select o.ctid from stint.cache o
		where o.ctid >= first and o.ctid < beyond and o.expires_at <= clock_timestamp()
		for update skip locked));
	get diagnostics deleted = row_count;
	return deleted;
end
$$;

comment on function stint.expire_cache(int) is
	'Deletes what has expired on so many pages of stint.cache, one after the other from any one on. Returns how many rows that were.';
revoke execute on function stint.expire_cache(int) from public;

-- A page has some 30 to 80 rows. So four pages for each 16 new rows are ten times as many rows as there are new ones, and
-- a small part of all rows have expired. New rows take no longer for it, as far as can be measured: without it the table
-- grows instead. A transaction that sees one snapshot throughout could fail for rows that are not its own, and leaves it
-- to others.
create function stint.expire_cache_sometimes() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
	if random() < 0.0625 and current_setting('transaction_isolation') in ('read committed', 'read uncommitted') then
		perform stint.expire_cache(4);
	end if;
end
$$;

comment on function stint.expire_cache_sometimes() is 'For each new row of stint.cache: each sixteenth time or so, deletes what has expired on four pages.';
revoke execute on function stint.expire_cache_sometimes() from public;

create function stint.cache_get(key text) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off -- a session makes the plan once, perhaps while there is little in the table
as $$
begin
	perform stint.check_cache_key(key);
	return (select c.value from stint.cache c where c.key = cache_get.key collate "C" and c.expires_at > clock_timestamp());
end
$$;

comment on function stint.cache_get(text) is 'The value of a key (1 to 512 bytes); null: there is none, or it has expired.';
revoke execute on function stint.cache_get(text) from public;
grant execute on function stint.cache_get(text) to stint_cache;

create function stint.cache_set(key text, value text, expiry_ms bigint) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	is_new boolean;
begin
	perform stint.check_cache_key(key), stint.check_cache_expiry(expiry_ms);
	if coalesce(octet_length(value) > 65536, true) then
		raise exception 'stint: the value %, must be 0 to 65536 bytes', coalesce('has ' || octet_length(value) || ' bytes', 'is null')
			using errcode = '22023';
	end if;
	insert into stint.cache as c (key, value, expires_at)
	values (cache_set.key, cache_set.value, clock_timestamp() + cache_set.expiry_ms * interval '1 millisecond')
	on conflict on constraint cache_pkey do update
	set value = excluded.value, expires_at = clock_timestamp() + cache_set.expiry_ms * interval '1 millisecond'
	returning c.xmax = '0' into is_new;
	if is_new then
		perform stint.expire_cache_sometimes();
	end if;
end
$$;

comment on function stint.cache_set(text, text, bigint) is
	'Sets the value (up to 65536 bytes) of a key (1 to 512 bytes) for the next expiry_ms (1 to 2678400000), whatever it had before.';
revoke execute on function stint.cache_set(text, text, bigint) from public;
grant execute on function stint.cache_set(text, text, bigint) to stint_cache;

create function stint.cache_increment_and_get(key text, expiry_ms bigint) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	count bigint;
	is_new boolean;
begin
	perform stint.check_cache_key(key), stint.check_cache_expiry(expiry_ms);
	insert into stint.cache as c (key, value, expires_at)
	values (cache_increment_and_get.key, '1', clock_timestamp() + cache_increment_and_get.expiry_ms * interval '1 millisecond')
	on conflict on constraint cache_pkey do update
	set (value, expires_at) = (
		select case when c.expires_at > t.now then stint.add_to_cached(c.value, 1) else '1' end,
			case when c.expires_at > t.now then c.expires_at
				else t.now + cache_increment_and_get.expiry_ms * interval '1 millisecond' end
		from (select clock_timestamp() as now offset 0) t)
	returning c.value, c.xmax = '0' into count, is_new;
	if is_new then
		perform stint.expire_cache_sometimes();
	end if;
	return count;
end
$$;

comment on function stint.cache_increment_and_get(text, bigint) is
	'Adds 1 to the count of a key (1 to 512 bytes) and returns it. A key that there is not, or that has expired, begins with 1 and expires after expiry_ms '
	'(1 to 2678400000); one that there is expires when it would have.';
revoke execute on function stint.cache_increment_and_get(text, bigint) from public;
grant execute on function stint.cache_increment_and_get(text, bigint) to stint_cache;

create function stint.cache_decrement_and_get(key text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
	count bigint;
begin
	perform stint.check_cache_key(key);
	update stint.cache c set value = stint.add_to_cached(c.value, -1)
	where c.key = cache_decrement_and_get.key collate "C" and c.value <> '0' and c.expires_at > clock_timestamp()
	returning c.value into count;
	return coalesce(count, 0);
end
$$;

comment on function stint.cache_decrement_and_get(text) is
	'Takes 1 from the count of a key (1 to 512 bytes) and returns it: not below 0, and 0 if there is no such key, or it has expired; none is made then. When it '
	'expires stays.';
revoke execute on function stint.cache_decrement_and_get(text) from public;
grant execute on function stint.cache_decrement_and_get(text) to stint_cache;
