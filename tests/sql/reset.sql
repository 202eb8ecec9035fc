-- What was counted for a client is forgotten: at once what nobody can spend any more, the rest when all hosts have heard.

begin;
select plan(71);

select stint.set_policy('api', 10, 3600000, resolution => 10) as api, stint.set_policy('fixed', 10, 3600000, algorithm => 'fixed_window') as fixed \gset
select host_id as one from stint.register_host('one', 'x', '1') \gset
select host_id as two from stint.register_host('two', 'x', '1') \gset
create function pg_temp.newest() returns bigint language sql volatile as $$ select max(change_id) from stint.change $$;
-- A host says that all changes up to this one are in force.
create function pg_temp.hears(host int, in_force bigint default null) returns void language sql volatile as $$
	select stint.heartbeat(host, 'x', 'in step', 0, 0, false, coalesce(in_force, pg_temp.newest())) $$;
create function pg_temp.used(client text, policy text default 'api') returns bigint language sql volatile as $$
	select coalesce(sum(n), 0) from stint.counter c join stint.policy p using (policy_id), unnest(c.counts) n where p.name = policy and c.client_id = client $$;
create function pg_temp.remaining(client text, policy text default 'api') returns int language sql volatile as $$
	select remaining from test.lease(policy, client, need => 0) $$;
-- Lets so many sub-windows pass for a client.
create function pg_temp.let_pass(client text, sub_windows numeric) returns void language sql volatile as $$
	update stint.counter c set current_us = c.current_us - (sub_windows * c.sub_window_us)::bigint where c.client_id = client;
	update stint.counter_reset r set newest_us = r.newest_us - (sub_windows * r.sub_window_us)::bigint,
		useless_at = r.useless_at - sub_windows * r.sub_window_us * interval '1 microsecond' where r.client_id = client $$;
create function pg_temp.pending() returns bigint language sql volatile as $$ select count(*) from stint.counter_reset $$;

-- Nothing there.
select results_eq($$ select * from stint.reset_client('api', 'nobody') $$, 'values (0::bigint, 0::bigint)', 'a client that was never counted');
select results_eq($$ select action, policy, client_id, new from stint.policy_history order by change_id desc limit 1 $$,
	$$ values ('reset', 'api', 'nobody', '{"forgotten": 0, "kept": 0}'::jsonb) $$, 'the history has it');
select results_eq('select client_id, reset_age_us between 0 and 600000000 from stint.get_changes(pg_temp.newest() - 1)', $$ values ('nobody', true) $$, 'agents are told');
update stint.change set at = at - interval '2 hours' where change_id = pg_temp.newest();
select results_eq('select client_id, reset_age_us between 7200000000 and 7800000000 from stint.get_changes(pg_temp.newest() - 1)', $$ values ('nobody', true) $$,
	'… how long ago it was, by this clock');
update stint.change set at = clock_timestamp() + interval '2 hours' where change_id = pg_temp.newest();
select results_eq('select client_id, reset_age_us from stint.get_changes(pg_temp.newest() - 1)', $$ values ('nobody', null::bigint) $$, '… unless that was set back: nobody knows');
select throws_ok($$ select stint.reset_client('none', 'a') $$, 'P0002', 'stint: no policy ''none''', 'no such policy');
select throws_ok($$ select stint.reset_client('api', '') $$, '22023', 'stint: the client has 0 bytes, must be 1 to 255', 'no such client');
select throws_ok($$ select stint.reset_client('api', null) $$, '22023', 'stint: the client has 0 bytes, must be 1 to 255', 'none');

-- What is charged to sub-windows that have ended is forgotten at once.
select test.lease('api', 'past', need => 10, host => :one);
select pg_temp.let_pass('past', 1.5);
select is(pg_temp.remaining('past'), 0, 'a client has used up its limit');
select results_eq($$ select * from stint.reset_client('api', 'past') $$, 'values (10::bigint, 0::bigint)', 'no lease of that can be out: all is forgotten');
select is(pg_temp.remaining('past'), 10, '… the whole limit is free');
select is(pg_temp.pending(), 0::bigint, '… and nothing is left to do');

-- What is charged to the present one may be unspent on a host.
select test.lease('api', 'now', need => 4, host => :one);
select pg_temp.let_pass('now', 1.5);
select test.lease('api', 'now', need => 3, host => :one);
select test.lease('api', 'now', need => 3, host => :two);
select results_eq($$ select * from stint.reset_client('api', 'now') $$, 'values (4::bigint, 6::bigint)', 'what hosts may hold is kept');
select is(pg_temp.remaining('now'), 4, '… and counts');
select is(stint.finish_resets(100), 0::bigint, 'no host has heard of it');
select pg_temp.hears(:one);
select is(stint.finish_resets(100), 0::bigint, 'one has not');
select pg_temp.hears(:two, pg_temp.newest() - 1);
select is(stint.finish_resets(100), 0::bigint, '… or only of what was before');
select pg_temp.hears(:two, null), pg_temp.hears(:one, -1);
select is(stint.finish_resets(100), 0::bigint, '… or doesn''t know any more');
select is(pg_temp.used('now'), 6::bigint, '… then it stays');
select pg_temp.hears(:one);
update stint.agent_host set rival_instance = 'y', rival_seen_at = clock_timestamp() where name = 'two';
select is(stint.finish_resets(100), 0::bigint, 'two call themselves the same: one may not have heard');
update stint.agent_host set rival_seen_at = rival_seen_at - interval '2 hours';
select results_eq('select deleted from stint.expire_counters(100)', 'values (1::bigint)', 'all have heard');
select is(pg_temp.remaining('now'), 10, '… the whole limit is free');
select is(pg_temp.pending(), 0::bigint, '… and nothing is left to do');
select results_eq($$ select action, client_id, new from stint.policy_history order by change_id desc limit 1 $$,
	$$ values ('reset done', 'now', '{"forgotten": 6, "kept": 0}'::jsonb) $$, '… the history has it');
select results_eq('select client_id, reset_age_us from stint.get_changes(pg_temp.newest() - 1)', $$ values ('now', null::bigint) $$,
	'… agents are told, but of no reset: what the client has come to owe them since the operator''s stays owed');
select is(current_setting('synchronous_commit'), 'on', '… which must not be lost');

-- Meanwhile hosts return and take.
select sub_window as before from test.lease('api', 'busy', need => 8, host => :one) \gset
select results_eq($$ select * from stint.reset_client('api', 'busy') $$, 'values (0::bigint, 8::bigint)', 'eight are leased');
select test.lease('api', 'busy', need => 0, report_sub => :before, unspent => 5, host => :one);
select is(pg_temp.used('busy'), 8::bigint, 'what is returned of it finds nothing to lower');
select test.lease('api', 'busy', need => 0, report_sub => :before, spent => 3, host => :one);
select is(pg_temp.used('busy'), 8::bigint, '… nor to move');
select granted as more, sub_window as after from test.lease('api', 'busy', need => 2, host => :two) \gset
select isnt(mod(:after - :before, 361800000), 0::bigint, 'the sub-windows begin anew');
select is(:more || ' ' || pg_temp.remaining('busy'), '2 0', 'two are left, and are granted');
select pg_temp.hears(:one), pg_temp.hears(:two);
select stint.finish_resets(100);
select is(pg_temp.used('busy'), 2::bigint, 'what was granted since then stays counted');
select is(pg_temp.remaining('busy'), 8, '… the rest is free');
select test.lease('api', 'busy', need => 0, report_sub => :after, unspent => 1, host => :two);
select is(pg_temp.used('busy'), 1::bigint, '… and can be returned');
select test.lease('api', 'busy', need => 0, report_sub => :before, unspent => 5, host => :one);
select is(pg_temp.used('busy'), 1::bigint, '… but not with what comes late of before');

-- The next sub-window begins before all have heard; another reset comes in between.
select test.lease('api', 'later', need => 5, host => :one), test.make_known('api', 'long', 9);
select test.lease('api', 'long', need => 0, want => 2, span => 9, host => :one);
select stint.reset_client('api', 'later'), stint.reset_client('api', 'long');
select pg_temp.let_pass('later', 1.2);
select test.lease('api', 'later', need => 1, host => :one);
select results_eq($$ select * from stint.reset_client('api', 'later') $$, 'values (5::bigint, 1::bigint)', 'a second one: the sub-window has ended meanwhile');
select pg_temp.let_pass('later', 1.2), pg_temp.let_pass('long', 2.3);
select test.lease('api', 'later', need => 1, host => :two), test.lease('api', 'long', need => 3, host => :two);
select is(pg_temp.used('later') || ' ' || pg_temp.used('long'), '2 5', 'what is kept, and what was granted since');
select pg_temp.hears(:one), pg_temp.hears(:two);
select is(stint.finish_resets(100), 2::bigint, 'all have heard');
select is(pg_temp.used('later') || ' ' || pg_temp.used('long'), '1 3', 'what was granted since stays');
select is(pg_temp.pending(), 0::bigint, '… and nothing is left to do');

-- Long leases are charged far ahead, no less for long than before.
select test.make_known('api', 'far', 9);
select ahead, current_us + ahead * sub_window_us as newest from (select (test.lease('api', 'far', need => 0, want => 2, span => 9, host => :one)).granted) l, stint.counter where client_id = 'far' \gset
select c.current_us + c.ahead * c.sub_window_us as newest, ahead from stint.counter c where client_id = 'far' \gset
select stint.reset_client('api', 'far');
select ok(current_us + ahead * sub_window_us between :newest and :newest + sub_window_us, 'each is charged to where its sub-window ends') from stint.counter where client_id = 'far';
select pg_temp.let_pass('far', 3);
select results_eq($$ select * from stint.reset_client('api', 'far') $$, 'values (0::bigint, 2::bigint)', 'what lasts for longer is kept');

-- A fixed window.
select test.lease('fixed', 'f', need => 10, host => :one);
select is(pg_temp.remaining('f', 'fixed'), 0, 'a fixed window is used up');
select results_eq($$ select * from stint.reset_client('fixed', 'f') $$, 'values (0::bigint, 10::bigint)', '… which is the present one');
select is(pg_temp.remaining('f', 'fixed'), 0, '… until all have heard');
select pg_temp.hears(:one), pg_temp.hears(:two);
select stint.finish_resets(100);
select is(pg_temp.remaining('f', 'fixed'), 10, 'then the whole limit is free');
select is((select granted_next from test.lease('fixed', 'g', need => 0, next_want => 4, host => :one)), 4, 'a lease of the next one');
select is((select granted from test.lease('fixed', 'g', need => 3, host => :one)), 3, '… and of this one');
select stint.reset_client('fixed', 'g');
select is((select counts from stint.counter where client_id = 'g'), '{4,3}', 'each in its own');

delete from stint.counter_reset;

-- A host that isn't heard of: it stays until no lease can be out any more.
select host_id as three from stint.register_host('three', 'x', '1') \gset
select test.lease('api', 'gone', need => 10, host => :three);
select stint.reset_client('api', 'gone');
select pg_temp.hears(:one), pg_temp.hears(:two);
select stint.finish_resets(100);
select is(pg_temp.remaining('gone'), 0, 'a host is not heard of');
update stint.agent_host set seen_at = seen_at - interval '71 minutes' where name = 'three';
select stint.finish_resets(100);
select is(pg_temp.remaining('gone'), 0, '… and may have leases');
savepoint gone;
update stint.agent_host set in_force = 1000000 where name = 'three';
select stint.finish_resets(100);
select is(pg_temp.remaining('gone'), 0, '… whatever it said before');
select pg_temp.hears(:three);
update stint.agent_host set rival_instance = null;
update stint.counter_reset set longest_us = longest_us * 700;
select stint.finish_resets(100);
select is(pg_temp.remaining('gone'), 0, '… leases of which some host may have been forgotten by now');
rollback to savepoint gone;
update stint.agent_host set seen_at = seen_at - interval '3 minutes', state = 'stopped' where name = 'three';
select stint.finish_resets(100);
select is(pg_temp.remaining('gone'), 10, '… until all of them have ended');
update stint.agent_host set seen_at = clock_timestamp() where name = 'three';
select stint.reset_client('api', 'gone') \gset
select test.lease('api', 'gone', need => 10, host => :three);
select stint.reset_client('api', 'gone');
select pg_temp.hears(:one), pg_temp.hears(:two), pg_temp.let_pass('gone', 11.1);
select is(pg_temp.remaining('gone'), 10, 'what has left the window counts no more');
select is(pg_temp.pending(), 1::bigint, '… while somebody is waited for');
select pg_temp.let_pass('gone', 1);
select stint.finish_resets(100);
select is(pg_temp.pending(), 0::bigint, '… who is no longer');
select pg_temp.hears(:three);
select stint.register_host('three', 'x', '1');
select is(in_force, null, 'who connects again may have heard it from another server') from stint.agent_host where name = 'three';
delete from stint.agent_host where name = 'three';

-- What has changed in between makes it stay.
create function pg_temp.begun(client text) returns void language sql volatile as $$
	select test.lease('api', client, need => 4), stint.reset_client('api', client);
	update stint.counter_reset r set longest_us = -1000000 where r.client_id = client $$;
select pg_temp.begun('a'), pg_temp.begun('b'), pg_temp.begun('c'), pg_temp.begun('d');
update stint.counter set current_us = current_us + 7 where client_id = 'a';
delete from stint.counter where client_id = 'b';
update stint.counter set sub_window_us = sub_window_us * 2 where client_id = 'c';
select is(stint.finish_resets(100), 4::bigint, 'counters that were anchored anew, are gone, have other sub-windows, or are as they were');
select is(concat_ws(' ', pg_temp.used('a'), pg_temp.used('b'), pg_temp.used('c'), pg_temp.used('d')), '4 0 4 0', '… only of the last is forgotten what was noted');
select pg_temp.begun('e');
select stint.set_policy('api', 20, 3600000, resolution => 10);
select stint.finish_resets(100);
select is(pg_temp.used('e'), 4::bigint, '… and not after a change of the policy');
select pg_temp.begun('f'), stint.drop_policy('api');
select lives_ok('select stint.finish_resets(100)', 'a policy that was dropped');

-- The clock was set back.
select stint.set_policy('api', 10, 3600000);
select test.lease('api', 'back', need => 4, host => :one);
update stint.counter set current_us = current_us + 7200000000 where client_id = 'back';
select results_eq($$ select * from stint.reset_client('api', 'back') $$, 'values (0::bigint, 4::bigint)', 'a clock that was set back: it is kept');
select is(pg_temp.remaining('back'), 6, '… and counts');

-- Many at once, a batch at a time.
select pg_temp.begun('m' || i) from generate_series(1, 5) i;
select is(stint.finish_resets(3) || ' ' || pg_temp.pending(), '3 3', 'a batch of three, though one before them has to wait');

-- By chance: hosts take, spend, return soon or late, and hear at any time; resets come in between. What can still be spent, and what each has
-- spent since it has heard of the last reset, is always in the counter, and within the limit. And in the end nothing else is.
create function pg_temp.play(client text, steps int, out wrong int, out resets int, out left_over bigint, out spent int) language plpgsql as $$
declare
	policy constant int := (select policy_id from stint.policy where name = 'api');
	hosts constant int[] := array(select host_id from stint.agent_host where name in ('one', 'two') order by 1);
	heard bigint[] := '{0,0}';
	sub bigint[] := '{0,0}'; -- of the one lease that each has
	unspent int[] := '{0,0}';
	used int[] := '{0,0}'; -- of it, not yet reported
	late_sub bigint[] := '{0,0}'; -- what it returns later
	late int[] := '{0,0}';
	told bigint := 0;
	h int;
	n int;
	l record;
begin
	wrong := 0; resets := 0; spent := 0;
	for i in 1 .. steps loop
		h := 1 + (random() < 0.5)::int;
		n := case when i > steps - 8 then 9 else floor(random() * 9) end;
		if n < 2 then -- takes, and returns what it has unspent
			select * into l from test.lease('api', client, need => 1 + floor(random() * 4)::int, host => hosts[h],
				report_sub => case when unspent[h] + used[h] > 0 then sub[h] else 0 end, unspent => unspent[h], spent => used[h]);
			sub[h] := l.sub_window; unspent[h] := l.granted; used[h] := 0;
		elsif n < 5 and unspent[h] > 0 then
			unspent[h] := unspent[h] - 1; used[h] := used[h] + 1;
			spent := spent + (heard[h] >= told)::int;
		elsif n = 5 and random() < 0.5 then
			perform stint.reset_client('api', client);
			told := pg_temp.newest(); spent := 0; resets := resets + 1;
		elsif n = 6 and heard[h] < told then -- hears, and drops what it has
			if late[h] > 0 then perform test.lease('api', client, need => 0, report_sub => late_sub[h], unspent => late[h], host => hosts[h]); end if;
			late_sub[h] := sub[h]; late[h] := unspent[h]; unspent[h] := 0; used[h] := 0; heard[h] := pg_temp.newest();
		elsif n = 7 then
			if late[h] > 0 then perform test.lease('api', client, need => 0, report_sub => late_sub[h], unspent => late[h], host => hosts[h]); end if;
			late[h] := 0;
			perform pg_temp.hears(hosts[h], heard[h]);
		elsif n >= 8 then
			perform stint.finish_resets(10);
		end if;
		wrong := wrong + (pg_temp.used(client) not between unspent[1] + unspent[2] + spent and 10)::int;
	end loop;
	perform pg_temp.hears(hosts[1], pg_temp.newest()), pg_temp.hears(hosts[2], pg_temp.newest());
	perform stint.reset_client('api', client);
	perform pg_temp.hears(hosts[1], pg_temp.newest()), pg_temp.hears(hosts[2], pg_temp.newest());
	perform stint.finish_resets(10);
	left_over := pg_temp.used(client);
end $$;
delete from stint.counter_reset;
select setseed(0.7);
create temp table played as select p.* from generate_series(1, 200) i, lateral pg_temp.play('chance ' || i, 120) p;
select is(sum(wrong), 0::bigint, 'by chance: what can be spent is counted, and within the limit') from played;
select is(sum(left_over), 0::numeric, '… and in the end all is forgotten') from played;
select cmp_ok(sum(resets), '>', 500::bigint, '… after many resets') from played;

-- A session's plans are made while there is little, and have to do for whatever comes: who calls these holds up others who change something.
truncate stint.counter, stint.counter_reset;
delete from stint.client_override;
select count(*) from generate_series(1, 5) i, lateral test.lease('api', 'few ' || i, need => 1);
select count(stint.block_client('api', 'few ' || i)::text) from generate_series(1, 40) i;
analyze stint.counter, stint.client_override;
select count(*) from generate_series(1, 20) i, lateral stint.reset_client('api', 'few 1');
select count(concat(stint.unblock_client('api', 'few ' || i), stint.clear_override('api', 'few ' || i + 20))) from generate_series(1, 20) i;
select count(*) from generate_series(1, 2000) i, lateral test.lease('api', 'more ' || i, need => 1);
insert into stint.client_override (policy_id, client_id, blocked) select policy_id, 'more ' || i, true from stint.policy, generate_series(1, 2000) i where name = 'api';
create function pg_temp.read_by(call text) returns bigint language plpgsql volatile as $$
declare
	before bigint;
begin
	select sum(pg_stat_get_xact_tuples_returned(r)) into before from unnest(array['stint.counter', 'stint.client_override']::regclass[]) r;
	execute call;
	return (select sum(pg_stat_get_xact_tuples_returned(r)) - before from unnest(array['stint.counter', 'stint.client_override']::regclass[]) r);
end $$;
select cmp_ok(pg_temp.read_by(c), '<', 100::bigint, c || ': the rows are found by their indices')
from unnest(array['select stint.reset_client(''api'', ''more 1'')', 'select stint.unblock_client(''api'', ''more 1'')', 'select stint.clear_override(''api'', ''more 2'')']) c;

select * from finish();
rollback;
