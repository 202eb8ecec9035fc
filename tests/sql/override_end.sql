-- Blocks and limits of clients' own that end: at which moment, how hosts hear of it, and what is shown.

begin;
select plan(55);
select setval('stint.expiry_walked_seq', 0);

select stint.set_policy('api', 10, 3600000) as api \gset
-- Lets so much time pass for one client's override.
create function pg_temp.let_pass(client text, span interval) returns void language sql volatile as $$
	update stint.client_override o set limited_until = o.limited_until - span, blocked_until = o.blocked_until - span where o.client_id = client $$;
create function pg_temp.row(client text) returns text language sql volatile as $$
	select concat_ws(' ', coalesce(o.max_requests::text, '-'), o.limited_until is not null, o.blocked, o.blocked_until is not null)
	from stint.client_override o where o.client_id = client $$;
create temp table seen as select max(change_id) as change_id from stint.change;
create function pg_temp.news() returns text language plpgsql volatile as $$
declare
	news constant text := (select string_agg(concat_ws(' ', c.action, c.client_id), ', ' order by c.change_id)
		from stint.change c, pg_temp.seen s where c.change_id > s.change_id);
begin
	update pg_temp.seen set change_id = (select max(c.change_id) from stint.change c);
	return news;
end $$;
create function pg_temp.limits(client text) returns text language sql volatile as $$
	select concat_ws(' ', (select max_requests from test.lease('api', client, need => 1)),
		(select max_requests from test.first_lease('api', client)), (select max_requests from test.unlocked_lease('api', client, need => 1))) $$;

-- What is written.
select stint.block_client('api', 'b', 'why', 60000);
select ok(blocked and note = 'why' and blocked_until between now() + interval '1 min' and clock_timestamp() + interval '1 min', 'a block that ends: until when')
	from stint.client_override where client_id = 'b';
select stint.set_override('api', 'l', 3, 'why', 31536000000);
select ok(max_requests = 3 and limited_until between now() + interval '365 days' and clock_timestamp() + interval '365 days', 'a limit that ends: until when')
	from stint.client_override where client_id = 'l';
select is(pg_temp.news(), 'blocked b, limited l', 'the history has both');
select is((select new ->> 'blocked_until' is not null from stint.policy_history where client_id = 'b'), true, '… and until when');
select throws_ok(format(call, for_ms), '22023', format('stint: for_ms is %s, must be 1 to 31536000000', for_ms), format(call, for_ms))
from unnest(array['select stint.block_client(''api'', ''x'', null, %s)', 'select stint.set_override(''api'', ''x'', 3, null, %s)']) call,
	unnest(array['0', '31536000001']) for_ms;
select throws_ok(format('update stint.client_override set %s = now() where client_id = %L', n, c), '23514', null, 'what isn''t there doesn''t end: ' || n)
from (values ('limited_until', 'b'), ('blocked_until', 'l')) x (n, c);

-- The last word holds.
select stint.block_client('api', 'b');
select is(pg_temp.row('b'), '- f t f', 'a block without an end, after one with');
select stint.block_client('api', 'b', null, 1000);
select is(pg_temp.row('b'), '- f t t', '… and the other way round');
select stint.set_override('api', 'b', 5);
select is(pg_temp.row('b'), '5 f f f', 'a limit unblocks');
select stint.block_client('api', 'b', null, 1000);
select is(pg_temp.row('b'), '5 f t t', 'a block leaves the client''s limit');
select stint.set_override('api', 'b', 6, null, 1000);
select is(pg_temp.row('b'), '6 t f f', 'a limit that ends unblocks as well');
select stint.clear_override('api', 'b');
select is(pg_temp.row('b'), null, 'both are cleared by one');
select pg_temp.news() is null as none \gset

-- Grants heed it to the end, and no longer.
select stint.block_client('api', 'g', null, 60000);
select is(pg_temp.limits('g'), '0 0 0', 'a client is blocked');
select pg_temp.let_pass('g', '59 s');
select is(pg_temp.limits('g'), '0 0 0', '… to the end');
select pg_temp.let_pass('g', '1 s');
select is(pg_temp.limits('g'), '10 10 10', '… and then no longer, though the row is still there');
select stint.set_override('api', 'h', 99, null, 60000);
select is(pg_temp.limits('h'), '99 99 99', 'a limit of its own');
select pg_temp.let_pass('h', '1 min');
select is(pg_temp.limits('h'), '10 10 10', '… until it ends');
select stint.set_override('api', 'i', 5), stint.block_client('api', 'i', null, 60000);
select is(pg_temp.limits('i'), '0 0 0', 'one with a limit of its own is blocked');
select pg_temp.let_pass('i', '1 min');
select is(pg_temp.limits('i'), '5 5 5', '… and has it again afterwards');
select stint.set_override('api', 'j', 5, null, 60000), stint.block_client('api', 'j');
select pg_temp.let_pass('j', '1 min');
select is(pg_temp.limits('j'), '0 0 0', 'its limit ends, but not the block');

-- Whoever is denied hears when the block ends: a year at most, and never that it has ended.
create function pg_temp.retries(client text) returns text language sql volatile as $$
	select concat_ws(' ', (select round(retry_us / 60e6, 1) from test.lease('api', client, need => 1)),
		(select round(retry_us / 60e6, 1) from test.first_lease('api', client)), (select round(retry_us / 60e6, 1) from test.unlocked_lease('api', client, need => 1))) $$;
select stint.block_client('api', 'retries', null, 90000000);
select is(pg_temp.retries('retries'), '1500.0 1500.0 1500.0', 'blocked for 25 hours');
select is((select retry_us <= 90000000000 and retry_us > 89000000000 from test.lease('api', 'retries', need => 1)), true, '… by the microsecond');
select stint.set_override('api', 'retries', 7), stint.block_client('api', 'retries');
select is((select string_agg(retry_us::text, ' ') from (select retry_us from test.lease('api', 'retries', need => 1) union all select retry_us from test.first_lease('api', 'retries')) r),
	'-1 -1', 'a block without an end');
update stint.client_override set blocked_until = 'infinity' where client_id = 'retries';
select is((select retry_us from test.lease('api', 'retries', need => 1)), -1::bigint, '… nor has this one');
update stint.client_override set blocked_until = '294276-12-31' where client_id = 'retries';
select is((select retry_us from test.lease('api', 'retries', need => 1)), 31536000000000, 'one that ends in 290,000 years');
delete from stint.client_override where client_id = 'retries';
select pg_temp.news() is null as none \gset

-- What has ended is shown no more.
select is_empty($$ select from stint.client_limit where client_id in ('g', 'h') $$, 'client_limit: not what has ended');
select results_eq($$ select client_id collate "C", blocked, max_requests, limited_until is null and blocked_until is null from stint.client_limit where client_id in ('i', 'j') order by 1 $$,
	$$ values ('i' collate "C", false, 5, true), ('j', true, null, true) $$, '… but what is left of it');
select results_eq($$ select client_id collate "C", max_requests, blocked from stint.usage where client_id in ('g', 'h', 'i') order by 1 $$,
	$$ values ('g' collate "C", 10, false), ('h', 10, false), ('i', 5, false) $$, 'usage: the limit that holds');
select is_empty($$ select from stint.limited where client_id = 'g' $$, 'limited: not who was blocked');
select stint.block_client('api', 'shown', null, 60000), stint.set_override('api', 'shown too', 7, null, 60000);
select ok((select blocked_until > now() from stint.client_limit where client_id = 'shown') and (select limited_until > now() from stint.client_limit where client_id = 'shown too'),
	'client_limit: until when');
select is((select resets_at from stint.limited where client_id = 'shown'), (select blocked_until from stint.client_limit where client_id = 'shown'), 'limited: until when it is blocked');
select pg_temp.news() is null as none \gset

-- Agents take it away, and so hear of it.
select results_eq('select * from stint.expire_counters(3)', 'values (3::bigint, 3::bigint)', 'three of four that have ended');
select is(current_setting('synchronous_commit'), 'on', '… which must not be lost');
select results_eq('select deleted from stint.expire_counters(3)', 'values (1::bigint)', '… and the last');
select set_eq(format('select x from regexp_split_to_table(%L, '', '') x', pg_temp.news()), array['ended g', 'ended h', 'ended i', 'ended j'],
	'the history says what has ended');
select is(concat_ws(', ', pg_temp.row('g'), pg_temp.row('h'), pg_temp.row('i'), pg_temp.row('j')), '5 f f f, - f t f', 'what is left');
select is((select count(*)::int from stint.client_override where client_id like 'shown%'), 2, '… and what has not ended');
select results_eq('select deleted from stint.expire_counters(3)', 'values (0::bigint)', 'no more');
select is(pg_temp.news(), null, '… and no news');
select is(pg_temp.limits('g') || ', ' || pg_temp.limits('i') || ', ' || pg_temp.limits('j'), '10 10 10, 5 5 5, 0 0 0', 'the limits are the same');

-- Who clears, or sets anew, what has ended but is still there.
select stint.block_client('api', 'k', null, 60000), stint.block_client('api', 'm', null, 60000), pg_temp.let_pass('k', '1 min'), pg_temp.let_pass('m', '1 min');
select pg_temp.news() is null as none \gset
select stint.clear_override('api', 'k'), stint.set_override('api', 'm', 4);
select is(pg_temp.news(), 'ended k, limited m', 'it had ended; what comes after it is a change of its own');

-- All that has ended is found by its index.
insert into stint.client_override (policy_id, client_id, max_requests, limited_until) select :api, 'many ' || i, 1, now() + interval '1 day' from generate_series(1, 20000) i;
analyze stint.client_override;
create temp table read_before as select pg_stat_get_xact_tuples_fetched('stint.client_override'::regclass) + pg_stat_get_xact_tuples_returned('stint.client_override'::regclass) as n;
select stint.end_overrides(500);
select cmp_ok(pg_stat_get_xact_tuples_fetched('stint.client_override'::regclass) + pg_stat_get_xact_tuples_returned('stint.client_override'::regclass) - n, '<', 100::bigint,
	'a look reads nothing of what has not ended') from read_before;

-- What was taken away stays in the index while somebody holds an old snapshot (here this transaction does). No look passes over
-- it twice, though much of it has ended at the same time, and no batch over what the one before has taken away.
create function pg_temp.blocks() returns bigint language sql volatile as $$
	select sum(pg_stat_get_xact_blocks_fetched(r))::bigint from unnest(array['stint.client_override', 'stint.client_override_until_idx']::regclass[]) r $$;
create function pg_temp.blocks_of(call text) returns bigint language plpgsql volatile as $$
declare
	before constant bigint := pg_temp.blocks();
begin
	execute call;
	return pg_temp.blocks() - before;
end $$;
insert into stint.client_override (policy_id, client_id, max_requests, limited_until)
select :api, 'ended ' || i, 1, now() - interval '1 h' from generate_series(1, 10000) i;
update stint.expiry set override_until = default, override_policy_id = default, override_client_id = default;
select is(stint.end_overrides(10000), 10000::bigint, 'many that ended together');
insert into stint.client_override (policy_id, client_id, max_requests, limited_until) select :api, 'one', 1, clock_timestamp();
select cmp_ok(pg_temp.blocks_of('select stint.end_overrides(500)'), '<', 40::bigint, '… are passed over by no later look');
select is(pg_temp.row('one'), null, '… which finds what has ended since');
insert into stint.client_override (policy_id, client_id, max_requests, limited_until)
select :api, 'again ' || i, 1, clock_timestamp() from generate_series(1, 9000) i;
update stint.client_override set limited_until = statement_timestamp() where client_id like 'again %';
select stint.end_overrides(8000);
select cmp_ok(pg_temp.blocks_of('select stint.end_overrides(10)'), '<', 200::bigint, '… nor by the next batch');
select is((select count(*)::int from stint.client_override where client_id like 'again %'), 990, '… which goes on where that one ended');

-- Nor what an operator has cleared before its end.
insert into stint.client_override (policy_id, client_id, max_requests, limited_until)
select :api, 'cleared ' || i, 1, clock_timestamp() from generate_series(1, 10000) i;
delete from stint.client_override where client_id like 'cleared %' or client_id like 'again %';
update stint.expiry set override_until = override_until - interval '2 min';
select stint.end_overrides(500);
select cmp_ok(pg_temp.blocks_of('select stint.end_overrides(500)'), '<', 40::bigint, 'what was cleared is passed over once a minute at most');
select ctid as version from stint.expiry \gset
select stint.end_overrides(500);
select is((select ctid from stint.expiry), :'version', '… and so often is written down how far that is');

-- The clock was set back.
update stint.expiry set override_until = clock_timestamp() + interval '1 h';
select stint.block_client('api', 'back', null, 1), pg_temp.let_pass('back', '1 s');
select is(stint.end_overrides(500), 1::bigint, 'after the clock was set back all that has ended is looked for');
select ok(override_until <= clock_timestamp(), '… once') from stint.expiry;

select * from finish();
rollback;
