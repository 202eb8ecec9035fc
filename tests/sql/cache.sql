-- The cache: what is set, counted, and gone again. What several sessions do at once is in sessions.sh.

begin;
select plan(70);

-- Lets so much time pass for a key; negative: the key has more time.
create function pg_temp.let_pass(key text, span interval) returns void language sql volatile as $$
	update stint.cache c set expires_at = c.expires_at - span where c.key = let_pass.key $$;
create function pg_temp.expires(key text) returns timestamptz language sql volatile as $$ select c.expires_at from stint.cache c where c.key = expires.key $$;

-- Get and set.
select is(stint.cache_get('a'), null, 'no such key');
select stint.cache_set('a', 'one', 60000);
select is(stint.cache_get('a'), 'one', 'what was set');
select ok(pg_temp.expires('a') between now() + interval '60 s' and clock_timestamp() + interval '60 s', '… for so long');
select is(stint.cache_get('A'), null, 'another key');
select stint.cache_set('a', '', 1);
select is(value, '', 'set anew: the value') from stint.cache where key = 'a';
select ok(pg_temp.expires('a') <= clock_timestamp() + interval '1 ms', '… and the expiry');
select pg_temp.let_pass('a', '1 ms');
select is(stint.cache_get('a'), null, 'what has expired is not there');
select stint.cache_set('a', 'again', 1000);
select is(stint.cache_get('a'), 'again', '… and may be set again');
select stint.cache_set(repeat('ä', 256), repeat('€', 21845), 2678400000);
select is(stint.cache_get(repeat('ä', 256)), repeat('€', 21845), 'the longest key, the longest value but a byte, the longest time');

-- Counting.
select results_eq($$ select stint.cache_increment_and_get('n', 1000) from generate_series(1, 3) $$, 'values (1::bigint), (2::bigint), (3::bigint)', 'from 1 on');
select is(stint.cache_get('n'), '3', 'get gives what was counted');
select pg_temp.expires('n') as expires \gset
select is(stint.cache_increment_and_get('n', 2678400000), 4::bigint, 'one more, with another time');
select is(pg_temp.expires('n'), :'expires', '… doesn''t put off the end');
select is(stint.cache_decrement_and_get('n'), 3::bigint, 'down by one');
select is(pg_temp.expires('n'), :'expires', '… doesn''t put off the end, either');
select pg_temp.let_pass('n', '1 s');
select is(stint.cache_decrement_and_get('n'), 0::bigint, 'what has expired is 0');
select is(stint.cache_increment_and_get('n', 5000), 1::bigint, '… and begins anew');
select ok(pg_temp.expires('n') between now() + interval '5 s' and clock_timestamp() + interval '5 s', '… for the time that is asked for then');
select results_eq($$ select stint.cache_decrement_and_get('n') from generate_series(1, 2) $$, 'values (0::bigint), (0::bigint)', 'not below 0');
select is(stint.cache_increment_and_get('n', 1), 1::bigint, '… from where it is counted up again');
select is(stint.cache_decrement_and_get('none'), 0::bigint, 'no such key: 0');
select is_empty($$ select from stint.cache where key = 'none' $$, '… and none is made');
select stint.cache_set('n', '41', 1000);
select is(stint.cache_increment_and_get('n', 1), 42::bigint, 'what was set is counted on from');
select stint.cache_set('n', '-2', 1000);
select is(stint.cache_decrement_and_get('n'), -2::bigint, 'what was set below 0 stays where it is when it is taken from');
select is(stint.cache_increment_and_get('n', 1), -1::bigint, '… and is counted up');
select stint.cache_set('n', '-9223372036854775807', 1000);
select is(stint.cache_decrement_and_get('n'), -9223372036854775807, '… to the lowest');
select stint.cache_set('n', '9223372036854775806', 1000);
select is(stint.cache_increment_and_get('n', 1), 9223372036854775807, 'up to the largest');
select throws_ok($$ select stint.cache_increment_and_get('n', 1) $$, '22003', 'stint: the value is 9223372036854775807, the largest that can be counted to', '… and no further');
select is(stint.cache_decrement_and_get('n'), 9223372036854775806, '… but down again');
select throws_ok(format($$ select stint.cache_set('n', %L, 1000); select stint.cache_increment_and_get('n', 1) $$, value), '22P02',
	format('stint: the value is %L, must be a whole number from -9223372036854775807 to 9223372036854775807 to be counted with', left(value, 80)),
	'no number: ' || left(value, 20))
from unnest(array['one', '1.5', '', ' 1', '9223372036854775808', '-9223372036854775808', repeat('1', 100)]) value;
select stint.cache_set('n', 'none', 1000);
select throws_ok($$ select stint.cache_decrement_and_get('n') $$, '22P02', null, 'nor is that counted down');
select is(stint.cache_get('n'), 'none', '… and it is as it was');
select pg_temp.let_pass('n', '1 s');
select is(stint.cache_increment_and_get('n', 1000), 1::bigint, 'once it has expired, what it was is no matter');

-- What is refused, in words.
select throws_ok(format(call, key), '22023', format('stint: the key has %s bytes, must be 1 to 512', bytes), format(call, key))
from (values ('null', 0), ('''''', 0), ('repeat(''ä'', 256) || ''.''', 513)) k (key, bytes),
	unnest(array['select stint.cache_get(%s)', 'select stint.cache_set(%s, ''v'', 1)', 'select stint.cache_increment_and_get(%s, 1)', 'select stint.cache_decrement_and_get(%s)']) call;
select throws_ok(format(call, expiry), '22023', format('stint: expiry_ms is %s, must be 1 to 2678400000', expiry), call || ': ' || expiry)
from unnest(array['select stint.cache_set(''k'', ''v'', %s)', 'select stint.cache_increment_and_get(''k'', %s)']) call, unnest(array['null', '0', '2678400001']) expiry;
select throws_ok($$ select stint.cache_set('k', repeat('v', 65537), 1) $$, '22023', 'stint: the value has 65537 bytes, must be 0 to 65536 bytes', 'a value that is too long');
select throws_ok($$ select stint.cache_set('k', null, 1) $$, '22023', 'stint: the value is null, must be 0 to 65536 bytes', 'none');
select is_empty($$ select from stint.cache where key = 'k' $$, '… and nothing is set');

-- What has expired goes: when there are new keys, and when agents clear up.
delete from stint.cache;
select setseed(0.5);
insert into stint.cache select 'old ' || i, '1', clock_timestamp() - interval '1 ms' from generate_series(1, 3000) i;
insert into stint.cache select 'kept ' || i, '1', clock_timestamp() + interval '1 hour' from generate_series(1, 3000) i;
select count(stint.cache_increment_and_get('new ' || i % 2, 60000)) from generate_series(1, 3000) i;
select cmp_ok(count(*), '>', 2500::bigint, 'who counts on under the same key deletes hardly anything') from stint.cache where key like 'old %';
select count(stint.cache_increment_and_get('new ' || i, 60000)), count(stint.cache_set('set ' || i, '', 60000)) from generate_series(1, 1500) i;
select cmp_ok(count(*), '<', 1000::bigint, 'for each new key, some that have expired are deleted') from stint.cache where key like 'old %';
select is(count(*), 3000::bigint, '… and no others') from stint.cache where key like 'kept %';
create function pg_temp.is_cleared() returns boolean language plpgsql volatile as $$
begin
	for i in 1 .. 500 loop
		perform stint.expire_counters(1);
		exit when not exists (select from stint.cache where key like 'old %');
	end loop;
	return not exists (select from stint.cache where key like 'old %');
end $$;
select ok(pg_temp.is_cleared(), 'agents delete the rest, by and by');
select is(count(*), 3000::bigint, '… and no others') from stint.cache where key like 'kept %';
delete from stint.cache;
select lives_ok($$ select stint.expire_cache(16) $$, 'nothing is there');

-- A session's plans are made while there is little, and have to do for whatever comes.
truncate stint.cache;
select stint.cache_set('few ' || i, '5', 60000) from generate_series(1, 20) i;
analyze stint.cache;
select count(stint.cache_get('few 1') || stint.cache_decrement_and_get('few 2')) from generate_series(1, 10);
insert into stint.cache (key, value, expires_at) select 'more ' || i, '5', now() + interval '1 h' from generate_series(1, 5000) i;
create function pg_temp.read_by(call text) returns bigint language plpgsql volatile as $$
declare
	before constant bigint := pg_stat_get_xact_tuples_returned('stint.cache'::regclass);
begin
	execute call;
	return pg_stat_get_xact_tuples_returned('stint.cache'::regclass) - before;
end $$;
select is(pg_temp.read_by(c), 0::bigint, c || ': a key is found by its index') from unnest(array['select stint.cache_get(''more 1'')', 'select stint.cache_decrement_and_get(''more 1'')']) c;

-- How it is kept.
select is(relpersistence, 'u', 'it is not logged') from pg_class where oid = 'stint.cache'::regclass;
select indexes_are('stint', 'cache', array['cache_pkey'], 'an update touches no index');

select * from finish();
rollback;
