-- Leases that are called back: stint.recall_leases() and stint.get_recalls(). That a notice is sent, and to whom, is in sessions.sh.

begin;
select plan(30);

select stint.set_policy('ten', 100, 1200000, resolution => 10) as ten \gset
select stint.set_policy('twenty', 100, 1200000, resolution => 20) as twenty \gset

-- A client with a lease of eight sub-windows on host 3, and one of one on host 64, which shares its bit with host 1.
select test.make_known('ten', 'long', 9);
select test.lease('ten', 'long', want => 9, span => 8, host => 3);
select test.lease('ten', 'long', host => 64);
select test.lease('ten', 'brief', want => 9, span => 8, host => 3);

-- ---- Who is called back --------------------------------------------------------------

select is(stint.recall_leases(array[:ten, :ten, :ten, :ten, null, :ten], array['long', 'brief', 'stranger', null, 'long', 'long']), 1::bigint,
	'a client with a long lease is called back, once; others, and who is not known, are not');
select results_eq('select policy_id, client_id, servers from stint.recall', format($$ values (%s, 'long' collate "C", 10::bigint) $$, :ten),
	'… from the hosts that serve it');
select is(stint.recall_leases(array[:ten], '{long}'), 0::bigint, '… and not again at once');
update stint.recall set called_at = called_at - interval '5 seconds';
select is(stint.recall_leases(array[:ten], '{long}'), 0::bigint, '… nor soon');
select is((select max(recall_id) from stint.recall), 1::bigint, '… and who was only asked for again takes no number');
update stint.recall set called_at = called_at - interval '2 seconds';
select is(stint.recall_leases(array[:ten], '{long}'), 1::bigint, '… but six seconds later, however long a sub-window is');
update stint.recall set called_at = called_at + interval '1 hour';
select is(stint.recall_leases(array[:ten], '{long}'), 1::bigint, '… or if the clock was set back meanwhile');
select is((select count(*) from stint.recall), 1::bigint, 'one row each');
select is(stint.recall_leases('{}', '{}'), 0::bigint, 'nobody');
select throws_ok($$ select stint.recall_leases('{1}', '{a,b}') $$, '22023', 'stint: the arrays of a batch must have the same length', 'arrays of different lengths');
select throws_ok($$ select stint.recall_leases(null, '{a}') $$, '22023', 'stint: the arrays of a batch must have the same length', 'an array that is null');
select is(current_setting('synchronous_commit'), 'off', 'nobody waits until a recall is on disk');

-- Which leases are long: those that reach further than a lease ahead of a tenth of the window does.
create function pg_temp.called(policy text, client text, charged_to int, passed int default 0) returns bigint language sql volatile as $$
	insert into stint.counter select c.current_us - passed * c.sub_window_us, c.sub_window_us, c.turn, 2, 4, p.policy_id, 100, 1, 1, 0, 0, 0, charged_to, p.resolution, 1,
		client, '{1}' from stint.counter c, stint.policy p where c.client_id = 'brief' and p.name = policy;
	select stint.recall_leases(array[(select p.policy_id from stint.policy p where p.name = policy)], array[client])
$$;
select is(array[pg_temp.called('ten', 'k10 1', 1), pg_temp.called('ten', 'k10 2', 2)], '{0,1}', 'long with 10 sub-windows: to the second one after the present');
select is(array[pg_temp.called('twenty', 'k20 2', 2), pg_temp.called('twenty', 'k20 3', 3)], '{0,1}', 'with 20: to the third');
select is(array[pg_temp.called('ten', 'passed 7', 9, 7), pg_temp.called('ten', 'passed 8', 9, 8)], '{1,0}', 'time has passed since the row was written');
select is((select servers from stint.recall where client_id = 'k10 2'), 6::bigint, 'hosts of this stretch of sub-windows and of the one before');

-- Once in a sub-window, of half a second at least.
select stint.set_policy('quick', 100, 1000, resolution => 10) as quick, stint.set_policy('second', 100, 20000, resolution => 20) as second \gset
create function pg_temp.later(policy text, by interval) returns bigint language plpgsql volatile as $$
begin
	insert into stint.counter select (extract(epoch from clock_timestamp()) * 1000000)::bigint, stint.sub_window_us('sliding_window', p.time_window_ms, p.resolution), 1, 2, 0,
		p.policy_id, 100, 1, 1, 0, 0, 0, 9, p.resolution, 1, 'again', '{1}' from stint.policy p where p.name = later.policy on conflict (policy_id, client_id) do update set current_us = excluded.current_us;
	delete from stint.recall where client_id = 'again';
	perform stint.recall_leases(array[(select p.policy_id from stint.policy p where p.name = later.policy)], '{again}');
	update stint.recall set called_at = called_at - by where client_id = 'again';
	return stint.recall_leases(array[(select p.policy_id from stint.policy p where p.name = later.policy)], '{again}');
end $$;
select is(array[pg_temp.later('quick', '300 milliseconds'), pg_temp.later('quick', '600 milliseconds')], '{0,1}', 'again after half a second, in a sub-window of a tenth');
select is(array[pg_temp.later('second', '600 milliseconds'), pg_temp.later('second', '1100 milliseconds')], '{0,1}', '… after a second, in one of a second');
select is(array[pg_temp.later('ten', '5 seconds'), pg_temp.later('ten', '6100 milliseconds')], '{0,1}', '… after six, in one of minutes');
delete from stint.recall where client_id = 'again';
delete from stint.counter where client_id = 'again';

-- ---- Who hears of it ------------------------------------------------------------------

select recall_id as newest from stint.recall order by 1 desc limit 1 \gset
select results_eq($$ select policy_id, client_id from stint.get_recalls(3, 0) $$, format($$ values (%s, 'long'), (null, null) $$, :ten), 'a host hears of the clients that it may have leases of');
select results_eq($$ select client_id from stint.get_recalls(64, 0) $$, $$ values ('long'), ('k10 2'), ('k20 3'), ('passed 7'), (null) $$, '… so do all that share its bit, in order');
select results_eq($$ select recall_id, client_id from stint.get_recalls(5, 0) $$, format('values (%s::bigint, null::text)', :newest), '… others hear that there is nothing');
select results_eq($$ select client_id from stint.get_recalls(1, (select recall_id from stint.recall where client_id = 'long')) $$, $$ values ('k10 2'), ('k20 3'), ('passed 7'), (null) $$,
	'what a host has heard isn''t told again');
select results_eq(format('select recall_id, client_id from stint.get_recalls(1, %s)', :newest), format('values (%s::bigint, null::text)', :newest), '… if it has heard all, nothing is');
select results_eq($$ select client_id from stint.get_recalls(1, 9223372036854775807) $$, 'values (null::text)', '… nor after a crash has emptied the table, until it knows the newest');
update stint.recall set called_at = called_at - interval '6 seconds' where client_id = 'long';
select is((select count(*) from stint.get_recalls(3, 0)), 1::bigint, 'what is older than 5 s is no news');
update stint.recall set recall_id = default where client_id = 'k20 3';
select results_eq($$ select client_id from stint.get_recalls(1, 0) $$, $$ values ('k10 2'), ('passed 7'), ('k20 3'), (null) $$, 'who is called back again comes last');

-- However many there are, an agent that has read nothing yet gets the newest thousand.
insert into stint.recall (policy_id, client_id, called_at, servers) select :ten, 'many ' || g, clock_timestamp(), 1 from generate_series(1, 2000) g;
select is((select row(count(*), min(client_id), max(client_id)) from stint.get_recalls(0, 0) where client_id is not null)::text,
	row(1000, 'many 1001', 'many 2000')::text, 'of many, the newest thousand');
delete from stint.recall where client_id like 'many %';

-- ---- The end of a recall ----------------------------------------------------------------

update stint.counter set current_us = current_us - 10000000000;
select test.expire_all();
select is((select count(*) from stint.recall), 0::bigint, 'a recall goes with the client''s counter');
select results_eq($$ select recall_id, client_id from stint.get_recalls(1, 0) $$, 'values (0::bigint, null::text)', '… then there is none');

select * from finish();
rollback;
