-- Hosts, and what the audit views show.

begin;
select plan(106);

-- Hosts come, live, report and go.
select host_id, now_us, live_hosts, change_id, server, timeline, wal_end, longest_lease_us from stint.register_host('web-1', 'first', '0.1.0') \gset
select ok(abs(:now_us - extract(epoch from clock_timestamp()) * 1000000) < 5000000, 'register: the clock');
select is(:live_hosts, 1, 'register: one host lives');
select is(:change_id, 0, 'register: nothing has changed yet');
select matches(:'server'::text, '^[0-9a-f]{16}$', 'register: the server');
select matches(:'timeline'::text, '^[0-9A-F]{8}$', 'register: the timeline');
select ok(:wal_end between 1 and pg_current_wal_flush_lsn() - '0/0', 'register: where the log ends');
select is(:longest_lease_us, 0, 'register: there are no policies yet, hence no leases');
select is((select server_age_us from stint.register_host('web-1', 'first', '0.1.0')), null, 'register: the server is the first that was seen');
select is_empty('select * from stint.promotion', 'promotion: none yet');
insert into stint.server_timeline values (:'server', '00000000', clock_timestamp() - interval '2 hours');
select ok(server_age_us < 10000000, 'register: another timeline was seen before, so a standby was promoted; how long ago this one was seen')
	from stint.register_host('web-1', 'first', '0.1.0');
select results_eq('select what, server, timeline from stint.promotion', format($$ values ('standby promoted', %L, %L) $$, :'server', :'timeline'),
	'promotion: shows it');
update stint.server_timeline set server = 'elsewhere', timeline = :'timeline' where timeline = '00000000';
select ok(server_age_us < 10000000, 'register: so is another server of the same timeline') from stint.register_host('web-1', 'first', '0.1.0');
select results_eq('select what, server, timeline from stint.promotion', format($$ values ('another server', %L, %L) $$, :'server', :'timeline'),
	'promotion: shows which');
update stint.server_timeline set seen_at = seen_at - interval '1 hour';
select ok(server_age_us between 3600000000 and 3610000000, 'register: the age grows') from stint.register_host('web-1', 'first', '0.1.0');
update stint.server_timeline set seen_at = now();
select ok(server_age_us < 10000000, 'register: also where both were seen at the same moment') from stint.register_host('web-1', 'first', '0.1.0');

-- Who is new is counted at once; who connects again soon gives no reason to count.
savepoint count;
update stint.fleet set live_hosts = 77, counted_at = clock_timestamp();
select is((select live_hosts from stint.register_host('web-1', 'first', '0.1.0')), 77, 'register: a host that connects again is not counted at once');
select is((select live_hosts from stint.register_host('web-new', 'first', '0.1.0')), 2, 'register: a new one is');
update stint.fleet set live_hosts = 77, counted_at = clock_timestamp();
update stint.agent_host set seen_at = clock_timestamp() - interval '16 seconds' where name = 'web-1';
select is((select live_hosts from stint.register_host('web-1', 'first', '0.1.0')), 2, 'register: so is one that was not heard of for long');
update stint.fleet set live_hosts = 77, counted_at = clock_timestamp();
update stint.agent_host set live = false where name = 'web-1';
select is((select live_hosts from stint.register_host('web-1', 'first', '0.1.0')), 2, 'register: and one that had gone');
rollback to savepoint count;

-- Which server it is.
savepoint server;
delete from stint.schema_identity;
select matches(stint.get_server(), '^[0-9a-f]{16}$', 'even where the row was not restored');
rollback to server;
update stint.schema_identity set made_as = gen_random_uuid();
select isnt(stint.get_server(), :'server'::text, 'a schema that was made separately is another');
rollback to server;
alter table stint.counter rename to counter_old;
create table stint.counter (like stint.counter_old including all);
select isnt(stint.get_server(), :'server'::text, 'tables that were made again are others');
rollback to server;
select is(stint.get_server(), :'server'::text, 'these are the same');
revoke execute on function pg_control_system() from public;
discard plans; -- the right is looked at when an expression is prepared
set local role stint_owner;
select stint.get_server() as blind \gset
reset role;
select ok(:'blind' ~ '^[0-9a-f]{16}$' and :'blind' <> :'server', 'without the right to ask for the cluster: by what is left');
rollback to server;

select is((select host_id from stint.register_host('web-1', 'second', '0.1.0')), :host_id, 'the same host keeps its id');
select is((select live_hosts from stint.register_host('web-2', 'x', '0.1.0')), 2, 'another host');
select stint.set_policy('api', 10, 3600000, resolution => 10);
select is((select longest_lease_us from stint.register_host('web-1', 'second', '0.1.0')), 11 * 361800000::bigint, 'register: a lease lasts for a window and a sub-window at most');
select results_eq(format($$ select live_hosts, change_id = (select max(change_id) from stint.change) from stint.heartbeat(%s, 'second', 'in step', 5, 0) $$, :host_id),
	'values (2, true)', 'heartbeat: who lives, what is new');
select ok(wal_end between 1 and pg_current_wal_flush_lsn() - '0/0', 'pulse: where the log ends') from stint.pulse();
select results_eq('select change_id from stint.pulse()', 'select max(change_id) from stint.change', 'pulse: what is new');
select ok(abs(now_us - extract(epoch from clock_timestamp()) * 1000000) < 5000000, 'pulse: the clock') from stint.pulse();
select ok(abs(now_us - extract(epoch from clock_timestamp()) * 1000000) < 5000000, 'heartbeat: the clock') from stint.heartbeat(:host_id, 'second', 'in step', 5, 0);
select is_empty($$ select * from stint.heartbeat(999999, 'x', 'in step', 0, 0) $$, 'heartbeat of an unknown host: no row');
select throws_ok(format($$ select * from stint.heartbeat(%s, 'second', 'bored', 0, 0) $$, :host_id), '23514', null, 'an unknown state');
select results_eq($$ select name, state, version, clients, seen_ago < '5 s', fallback_since is null from stint.host order by name $$,
	$$ values ('web-1', 'in step', '0.1.0', 5::bigint, true, true), ('web-2', 'resync', '0.1.0', 0, true, true) $$, 'host: shows them');
select stint.heartbeat(:host_id, 'second', 'fallback', 7, 90000);
select ok(fallback_since between clock_timestamp() - interval '95 s' and clock_timestamp() - interval '90 s' and state = 'fallback' and state_since > now(),
	'host: since when it is on its own') from stint.host where name = 'web-1';
select state_since as since from stint.agent_host where name = 'web-1' \gset
select stint.heartbeat(:host_id, 'second', 'fallback', 7, 90000);
select is((select state_since from stint.agent_host where name = 'web-1'), :'since'::timestamptz, 'host: since when its state is what it is');
select stint.heartbeat(:host_id, 'second', 'resync', 7, 90000);
select ok((select state_since from stint.agent_host where name = 'web-1') > :'since'::timestamptz, '… which begins with each change');
select state_since as since from stint.agent_host where name = 'web-1' \gset
select stint.register_host('web-1', 'second', '0.1.0');
select ok(state = 'resync' and state_since > :'since'::timestamptz, '… and whenever it connects') from stint.agent_host where name = 'web-1';
select stint.heartbeat(:host_id, 'second', 'fallback', 7, 90000);
select stint.stop_host(:host_id, 'first');
select is((select state from stint.host where name = 'web-1'), 'fallback', 'an instance that was replaced can''t stop the host');
select stint.stop_host(:host_id, 'second');
select is((select state from stint.host where name = 'web-1'), 'stopped', 'the present one can');
select is((select live_hosts from stint.heartbeat((select host_id from stint.agent_host where name = 'web-2'), 'x', 'in step', 0, 0)), 1, 'who has stopped doesn''t live');
update stint.agent_host set seen_at = seen_at - interval '16 s' where name = 'web-2';
select is((select state from stint.host where name = 'web-2'), 'lost', 'host: not heard of for 15 s');
select is((select live_hosts from stint.register_host('web-3', 'x', '0.1.0')), 1, 'at least 1 lives');
update stint.agent_host set seen_at = seen_at - interval '31 days' where name = 'web-2';
update stint.fleet set counted_at = '-infinity';
select stint.count_hosts(0, false);
select stint.expire_counters(1);
select is((select count(*) from stint.host where name = 'web-2'), 0::bigint, 'after 30 days it is forgotten');
select stint.report_fallback(:host_id, 40000, 2000, 123, 4, 'connection refused');
select results_eq($$ select host, round(extract(epoch from lasted)), admitted, clients, reason, ended_at between clock_timestamp() - interval '4 s' and clock_timestamp() - interval '2 s'
	from stint.fallback_period $$, $$ values ('web-1', 40::numeric, 123::bigint, 4::bigint, 'connection refused', true) $$, 'fallback_period: what it did on its own');
select lives_ok($$ select stint.report_fallback(999999, 1, 1, 1, 1, 'x') $$, 'a report of an unknown host does no harm');

-- One agent counts for all, and has the turn of expiring counters.
select host_id as one from stint.register_host('one', 'x', '1') \gset
select host_id as two from stint.register_host('two', 'x', '1') \gset
create function pg_temp.beats(host int) returns text language sql volatile as $$
	select concat_ws(' ', h.live_hosts, h.expires) from stint.heartbeat(host, 'x', 'in step', 0, 0) h $$;
select is(pg_temp.beats(:one) || ', ' || pg_temp.beats(:two), '3 f, 3 t', 'who counted last expires');
update stint.agent_host set seen_at = seen_at - interval '16 s' where name = 'web-3';
select is(pg_temp.beats(:one) || ', ' || pg_temp.beats(:two), '3 f, 3 t', 'a count holds for some seconds');
select is((select old_snapshot from stint.heartbeat(:one, 'x', 'in step', 0, 0)), false, '… who doesn''t count knows of no old snapshot');
select results_eq('select old_snapshot from (values (1), (2)) n (n), lateral stint.count_hosts(n * 0, true)', 'values (false), (false)', '… nor who counts at once');
select pg_temp.beats(:two);
update stint.fleet set counted_by = :two, counted_at = counted_at - interval '5 s';
select is(pg_temp.beats(:one) || ', ' || pg_temp.beats(:two), '2 t, 2 f', '… then the next one counts, and has the turn');
update stint.fleet set counted_at = counted_at + interval '1 hour';
select is(pg_temp.beats(:two) || ', ' || pg_temp.beats(:one), '2 t, 2 f', '… even when the clock was set back');
update stint.agent_host set seen_at = seen_at + interval '1 hour' where name = 'two';
update stint.fleet set counted_at = '-infinity';
select is(pg_temp.beats(:one), '1 t', 'what was heard of later than now is dead as well');
select is((select live from stint.agent_host where name = 'two'), false, '… and no longer looked at');
select is(pg_temp.beats(:two), '1 f', 'unless it is heard of again');
update stint.fleet set counted_at = '-infinity';
select is(pg_temp.beats(:one), '2 t', '… then it is counted');
update stint.agent_host set backend_pid = 0 where name = 'two';
update stint.fleet set counted_at = '-infinity';
select is(pg_temp.beats(:one), '1 t', 'nor is one whose session has ended: a pod that was killed is not counted beside the one that has come for it');
select is(pg_temp.beats(:two), '1 f', 'unless it is heard of again');
update stint.fleet set counted_at = '-infinity';
select is(pg_temp.beats(:one), '2 t', '… over another one');
select stint.stop_host(:two, 'x');
select is(pg_temp.beats(:one), '1 t', 'who stops is counted no more: the next one counts');
select stint.register_host('one', 'y', '1');
select stint.heartbeat(:one, 'x', 'in step', 0, 0);
update stint.fleet set counted_at = '-infinity';
select results_eq(format($$ select live_hosts, rival from stint.heartbeat(%s, 'y', 'in step', 0, 0) $$, :one), 'values (2, true)', 'two of one name are two');
select stint.stop_host(:one, 'x'), stint.stop_host(:one, 'y');

-- Hosts that came and went cost nothing.
insert into stint.agent_host (name, instance, version, state, state_since, started_at, seen_at, live)
select 'pod-' || i, 'x', '1', 'in step', now(), now(), now() - interval '1 day', false from generate_series(1, 5000) i;
create temp table read_before as select seq_tup_read + idx_tup_fetch as n from pg_stat_xact_user_tables where relid = 'stint.agent_host'::regclass;
select stint.register_host('pod', 'x', '1');
update stint.fleet set counted_at = '-infinity';
select stint.heartbeat((select host_id from stint.agent_host where name = 'pod'), 'x', 'in step', 0, 0);
select ok(t.seq_tup_read + t.idx_tup_fetch - b.n < 100, 'neither to who comes, nor to who counts')
from pg_stat_xact_user_tables t, read_before b where relid = 'stint.agent_host'::regclass;
delete from stint.agent_host where name like 'pod%';

-- Two agents that call themselves the same.
select host_id as twin from stint.register_host('twin', 'first', '1') \gset
create function pg_temp.beat(instance text, state text default 'in step') returns boolean language sql volatile as $$
	select rival from stint.heartbeat((select host_id from stint.agent_host where name = 'twin'), instance, state, 1, 0) $$;
create function pg_temp.twin() returns text language sql volatile as $$
	select concat_ws(' ', h.instance, v.state, v.rival) from stint.host v join stint.agent_host h using (name) where name = 'twin' $$;
create function pg_temp.let_pass(span interval) returns void language sql volatile as $$
	update stint.agent_host set seen_at = seen_at - span, rival_seen_at = rival_seen_at - span where name = 'twin' $$;
select is(pg_temp.beat('first'), false, 'one agent has no rival');
select stint.register_host('twin', 'second', '1');
select is(pg_temp.beat('second'), false, 'a quick restart: who had the name before is no rival');
select is(pg_temp.beat('second', 'fallback'), false, '… nor later');
select is(pg_temp.twin(), 'second fallback', '… and is not shown');
select is(pg_temp.beat('first', 'resync'), true, 'the first one lives after all: it hears of the second');
select is(pg_temp.beat('second', 'fallback'), true, '… the second of the first');
select is(pg_temp.twin(), 'second fallback first', '… the view shows both, and the state of the one');
select stint.register_host('twin', 'first', '1');
select is(pg_temp.beat('first'), false, 'a reconnect makes nobody his own rival');
select is(pg_temp.beat('second'), true, '… the other one is told');
select is(pg_temp.beat('first'), true, '… and noted');
select stint.stop_host(:twin, 'first');
select is(pg_temp.twin(), 'second in step', 'the one that stops doesn''t stop the other');
select is(pg_temp.beat('second'), false, '… which is alone then');
select stint.stop_host(:twin, 'first');
select is(pg_temp.twin(), 'second in step', '… whom no word of the one that is gone stops');
select pg_temp.beat('first');
select stint.stop_host(:twin, 'a third one');
select is(pg_temp.twin(), 'second in step first', 'nor of one that is neither');
select host_id as other from stint.register_host('beside the twins', 'x', '1') \gset
create function pg_temp.hosts(host int) returns int language sql volatile as $$
	update stint.fleet set counted_at = '-infinity';
	select live_hosts from stint.heartbeat(host, 'x', 'in step', 0, 0) $$;
select pg_temp.hosts(:other) as with_both \gset
update stint.agent_host set rival_seen_at = rival_seen_at - interval '16 s' where name = 'twin';
select is(pg_temp.hosts(:other), :with_both - 1, 'a rival counts as long as it is heard of');
update stint.agent_host set rival_seen_at = rival_seen_at + interval '1 hour' where name = 'twin';
select is(pg_temp.hosts(:other), :with_both - 1, '… by a clock that has not been set back');
select stint.stop_host(:other, 'x');
select pg_temp.beat('first');
select stint.stop_host(:twin, 'first');
select is(pg_temp.twin(), 'second in step', 'nor if the other one had the row');
select is(pg_temp.beat('second'), false, '… and it is forgotten at once');
select pg_temp.beat('first');
select pg_temp.let_pass('16 s');
select is(pg_temp.beat('second'), false, 'a rival that is heard of no more is none, after some seconds');
select is(pg_temp.twin(), 'second in step', '… and is not shown');
select pg_temp.let_pass('16 s');
select is(pg_temp.beat('third'), false, 'who has the row and is heard of no more, loses it');
select is(pg_temp.twin(), 'third in step', '… to the one that lives');
select pg_temp.let_pass('-1 hour');
select is(pg_temp.beat('second'), false, 'the same after the clock was set back');
select stint.stop_host(:twin, 'second');
select is(pg_temp.twin(), 'second stopped', 'the last one stops the host');
select is(pg_temp.beat('first'), false, 'what has stopped is free');
select is(pg_temp.twin(), 'first in step', '… for the next');
select stint.stop_host(:twin, 'first');

-- Usage.
select is_empty('table stint.usage', 'nobody has used anything');
select test.lease('api', 'a', need => 4);
select test.lease('api', 'b', need => 7, next_want => 2);
select test.lease('api', 'b', need => 0, charge => 1);
select test.lease('api', 'full', need => 10);
select test.make_known('api', 'long', 9);
select test.lease('api', 'long', need => 0, want => 2, span => 9);
select stint.block_client('api', 'evil', 'abuse');
select stint.block_client('api', 'a');
select stint.set_override('api', 'b', 20);
select results_eq($$ select policy, client_id collate "C", used::int, max_requests, remaining::int, percent, blocked from stint.usage order by client_id $$,
	$$ values ('api', 'a' collate "C", 4, 0, 0, null::numeric, true), ('api', 'b', 10, 20, 10, 50.0, false), ('api', 'full', 10, 10, 0, 100.0, false),
		('api', 'long', 3, 10, 7, 30.0, false) $$, 'usage: what is leased counts, whenever it can be spent');
select ok(bool_and(resets_at between now() + interval '3600 s' and clock_timestamp() + interval '4342 s'), 'usage: until when') from stint.usage where client_id <> 'long';
select ok(resets_at between now() + interval '6874 s' and clock_timestamp() + interval '7237 s', '… a window after the last moment in which it can be spent')
	from stint.usage where client_id = 'long';
select results_eq($$ select policy, client_id collate "C", used::int, blocked, note, resets_at is null, shadow from stint.limited order by client_id $$,
	$$ values ('api', 'a' collate "C", 4, true, null, true, false), ('api', 'evil', 0, true, 'abuse', true, false), ('api', 'full', 10, false, null, false, false) $$,
	'limited');
update stint.policy set shadow = true where name = 'api';
select results_eq($$ select client_id collate "C", shadow from stint.limited order by client_id $$, $$ values ('a' collate "C", true), ('evil', true), ('full', true) $$,
	'limited: who would be, were the policy no shadow');
update stint.policy set shadow = false where name = 'api';
select results_eq($$ select rank::int, client_id collate "C", used::int from stint.top_client $$, $$ values (1, 'b' collate "C", 10), (1, 'full', 10), (3, 'a', 4), (4, 'long', 3) $$, 'top_client');
update stint.counter set current_us = current_us - 99 * sub_window_us / 10 where client_id in ('full', 'long');
update stint.counter set current_us = current_us - 12 * sub_window_us where client_id = 'b';
select results_eq($$ select client_id collate "C", used::int from stint.usage order by client_id $$, $$ values ('a' collate "C", 4), ('full', 10), ('long', 2) $$,
	'usage: what has left the window is gone');
update stint.counter set current_us = current_us - 101 * sub_window_us / 10 where client_id = 'long';
select is_empty($$ select from stint.usage where client_id = 'long' $$, '… also what could be spent for long');

-- The view counts as the grant does.
select setseed(0.3);
delete from stint.client_override;
delete from stint.counter;
select stint.set_policy('fixed', 1000, 600000, algorithm => 'fixed_window');
select stint.set_policy('wide', 1000, 600000, resolution => 60);
insert into stint.counter (policy_id, client_id, current_us, sub_window_us, turn, servers, servers_before, max_requests, request, granted, granted_next, charged,
	early, ahead, resolution, span, counts)
select policy_id, 'c' || i, (extract(epoch from clock_timestamp()) * 1000000)::bigint + s - (random() * s * (k + 3))::bigint, s, 1, 1, 0, 1000, 1, 0, 0, 0,
	case when i % 2 = 0 and a > 0 then 3 else 0 end, a, k, 0, array(select 3 + (random() * 5)::int + i * 0 from generate_series(1, a + k + 1))
from generate_series(1, 20) i, (select policy_id, case name when 'fixed' then 600000000 else 10000000 end as s, case name when 'fixed' then 0 else 60 end as k
	from stint.policy where name in ('fixed', 'wide')) p, lateral (select i % (least(k, 20) + 2) as a) a;
-- Both at one instant, as the statement's clock is volatile: what is left by the grant's own arithmetic, with a second look where a sub-window ended.
create function pg_temp.differences() returns bigint language sql volatile as $$
	select count(*) from stint.counter c join stint.policy p using (policy_id)
	left join stint.usage u on u.policy = p.name and u.client_id = c.client_id
	where p.name in ('fixed', 'wide') and 1000 - coalesce(u.used, 0) <> (select r.remaining
		from stint.take(c.current_us, c.sub_window_us, c.ahead, c.early, 0, 0, c.counts, (extract(epoch from clock_timestamp()) * 1000000)::bigint, 0, 1, 1000,
			c.sub_window_us, c.resolution, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) r) $$;
select ok(exists (select from generate_series(1, 20) where pg_temp.differences() = 0), 'usage counts as the grant does');

-- What is charged to a client by sub-window, and what of it may be unspent. Sub-windows of a minute; the present one began half a minute ago.
select stint.set_policy('charged', 100, 600000, resolution => 10) as charged, (extract(epoch from clock_timestamp()) * 1000000)::bigint - 30000000 as began \gset
insert into stint.counter (policy_id, client_id, current_us, sub_window_us, turn, servers, servers_before, max_requests, request, granted, granted_next,
	charged, early, ahead, resolution, span, counts)
values (:charged, 'c', :began, 60000000, 1, 5, 8, 100, 1, 0, 0, 0, 0, 2, 10, 0, '{7,0,5,3,0,0,0,0,0,0,0,0,2,1}'),
	(:charged, 'old', :began - 1200000000, 60000000, 1, 1, 0, 100, 1, 0, 0, 0, 0, 0, 10, 0, '{7}'),
	(:charged, 'spent', :began - 60000000, 60000000, 1, 1, 0, 100, 1, 0, 0, 0, 0, 0, 10, 0, '{7}'),
	(:charged, 'fixed', :began, 60000000, 1, 1, 0, 100, 1, 0, 0, 0, 0, 0, 0, 0, '{7,1}');
create function pg_temp.minutes(at timestamptz, began bigint) returns numeric language sql as $$
	select round((extract(epoch from at) * 1000000 - began) / 60000000, 1) $$;
select results_eq(format($$ select pg_temp.minutes(starts_at, %1$s), pg_temp.minutes(ends_at, %1$s), charged, pg_temp.minutes(counts_until, %1$s)
	from stint.client_charge where policy = 'charged' and client_id = 'c' order by starts_at desc $$, :began),
	'values (2.0, 3.0, 7, 13.0), (0.0, 1.0, 5, 11.0), (-1.0, 0.0, 3, 10.0), (-10.0, -9.0, 2, 1.0)', 'client_charge: what still counts, and until when');
select results_eq(format($$ select client_id collate "default", charged, pg_temp.minutes(counts_until, %1$s) from stint.client_charge
	where policy = 'charged' and client_id <> 'c' order by client_id $$, :began), $$ values ('fixed', 7, 1.0), ('spent', 7, 10.0) $$, 'client_charge: … of other clients');
select is((select sum(charged) from stint.client_charge where policy = 'charged' and client_id = 'c'), (select used from stint.usage where policy = 'charged' and client_id = 'c'),
	'client_charge: together it is what is used');
select is((select max(counts_until) from stint.client_charge where policy = 'charged' and client_id = 'c'), (select resets_at from stint.usage where policy = 'charged' and client_id = 'c'),
	'client_charge: … and free again when the client is');
-- Marks 0 and 2 are 5; 3 is 8.
insert into stint.agent_host (name, instance, version, state, state_since, started_at, seen_at, mark)
select concat_ws(' ', 'marked', m.mark), 'i', 'v', m.state, now(), now(), now(), m.mark
from (values (0, 'in step'), (1, 'in step'), (2, 'stopped'), (3, 'fallback'), (null, 'in step')) m (mark, state);
select results_eq($$ select host_names from stint.client_lease where policy = 'charged' order by client_id $$,
	$$ values ('{marked 0,marked 3}'::text[]), ('{marked 0}') $$, 'client_lease: the names of these hosts');
select stint.heartbeat(host_id, 'i', 'in step', 0, 0, mark => 4) from stint.agent_host where name = 'marked 0';
select is((select mark from stint.agent_host where name = 'marked 0'), 4, 'heartbeat: the mark');
select results_eq(format($$ select client_id collate "default", leased, hosts, pg_temp.minutes(leased_until, %1$s) from stint.client_lease where policy = 'charged' order by client_id $$, :began),
	$$ values ('c', 12::bigint, 3::bigint, 3.0), ('fixed', 7, 1, 1.0) $$, 'client_lease: what hosts may hold unspent');

select * from finish();
rollback;
