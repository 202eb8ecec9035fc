-- stint.take_unlocked_leases() without anybody else's locks: it grants what take_leases() does, and the fault of one row is not the
-- others'. What it does about locks is in locks.sh.

begin;
select plan(24);

select stint.set_policy('ten', 10, 3600000, resolution => 10) as ten \gset
select stint.set_policy('fixed', 100, 3600000, algorithm => 'fixed_window') as fixed \gset

-- Windows of an hour: hardly ever does a sub-window end in the middle of the test. The client is known, so that its lease may
-- be a long one; one credit of that is charged still.
select test.make_known('ten', 'b', 9);
select results_eq(
	format($$ select request, granted, granted_next, charged, max_requests, next_is_open, busy from stint.take_unlocked_leases(1, array[%1$s, %2$s, %1$s],
		'{b,b,a}', '{3,1,0}', '{3,1,0}', '{5,1,0}', '{4,0,0}', '{1,0,0}', '{0,2,0}', '{0,0,4}', '{0,0,0}', '{0,0,0}', '{0,0,0}', '{0,0,0}',
		'{0,0,0}', '{0,0,0}') order by request $$, :ten, :fixed),
	$$ values (1, 3, 2, 0, 10, true, false), (2, 1, 2, 0, 100, false, false), (3, 0, 0, 4, 10, false, false) $$, 'each request has its own policy and its own answer');
select results_eq($$ select granted, remaining, busy from test.unlocked_lease('ten', 'b', need => 2) $$, 'values (2, 2, false)', 'a row that was there');
select results_eq($$ select granted, remaining, busy from test.unlocked_lease('ten', 'b', need => 4) $$, 'values (0, 2, false)', 'a denial');
select is((select retry_us > 0 from test.unlocked_lease('ten', 'b', need => 4)), true, '… says until when');
select results_eq(
	format($$ select request, busy from stint.take_unlocked_leases(1, array[%1$s, 999999, null, %1$s, %1$s], array['g1', 'x', 'x', '', 'g2'],
		'{1,1,1,1,1}', '{1,1,1,1,1}', '{1,1,1,1,1}', '{0,0,0,0,0}', '{0,0,0,0,0}', '{0,0,0,0,0}', '{0,0,0,0,0}', '{0,0,0,0,0}', '{0,0,0,0,0}', '{0,0,0,0,0}',
		'{0,0,0,0,0}', '{0,0,0,0,0}', '{0,0,0,0,0}') order by request $$, :ten),
	'values (1, false), (5, false)', 'bad elements have no answer');
select throws_ok($$ select * from stint.take_unlocked_leases(1, '{1,2}', '{a}', '{1}', '{1}', '{1}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}') $$,
	'22023', 'stint: the arrays of a batch must have the same length', 'arrays of different lengths');
select is_empty($$ select * from stint.take_unlocked_leases(1, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}') $$, 'an empty batch');
select is((select busy from test.lease('ten', 'b')), false, 'take_leases() has nothing to skip');

-- A row that causes an error.
create table test.hurt (client_id text, error text);
create function test.hurts() returns trigger language plpgsql security definer set search_path = pg_catalog, test as $$
declare
	code text;
begin
	select h.error into code from test.hurt h where h.client_id = new.client_id;
	if found then
		raise exception using errcode = code;
	end if;
	return new;
end $$;
grant usage on schema test to public;
create trigger hurts before insert or update on stint.counter for each row execute function test.hurts();
create function test.unlocked_three() returns table (request int, granted int, charged int, busy boolean) language sql volatile as $$
	select l.request, l.granted, l.charged, l.busy
	from stint.take_unlocked_leases(1, array_fill((select p.policy_id from stint.policy p where p.name = 'ten'), array[3]), '{m,z,k}', '{1,1,1}', '{1,1,1}', '{1,1,1}',
		'{0,0,0}', '{0,0,0}', '{0,0,0}', '{1,0,0}', '{0,0,0}', '{0,0,0}', '{0,0,0}', '{0,0,0}', '{0,0,0}', '{0,0,0}') l order by 1
$$;

select results_eq('select * from test.unlocked_three()', 'values (1, 1, 1, false), (2, 1, 0, false), (3, 1, 0, false)', 'three without a fault');
insert into test.hurt values ('m', '40001');
select results_eq('select * from test.unlocked_three()', 'values (1, 0, 0, true), (2, 1, 0, false), (3, 1, 0, false)', 'one with a fault: the others have their answers');
select results_eq($$ select client_id, counts from stint.counter where client_id in ('k', 'm', 'z') order by 1 $$,
	$$ values ('k' collate "C", '{2}'::int[]), ('m', '{2}'), ('z', '{2}') $$, '… and nothing is charged twice, and nothing to that one');
select results_eq('select * from test.unlocked_three()', 'values (1, 0, 0, true), (2, 1, 0, false), (3, 1, 0, false)', '… each time');
update test.hurt set error = '22012';
select is((select array_agg(t.busy) from test.unlocked_three() t), '{t,f,f}', 'bad arithmetic is one row''s');
update test.hurt set error = '40P01';
select is((select array_agg(t.busy) from test.unlocked_three() t), '{t,f,f}', '… and so is a deadlock');
update test.hurt set error = '55P03';
select is((select array_agg(t.busy) from test.unlocked_three() t), '{t,f,f}', '… and a lock');
insert into test.hurt values ('z', 'P0001');
select is((select array_agg(t.busy) from test.unlocked_three() t), '{t,t,f}', 'two of three');
select is((select counts[1] from stint.counter where client_id = 'k'), 7, '… the third has its own');
create function test.all_hurt(error text) returns text language plpgsql as $$
begin
	update test.hurt h set error = all_hurt.error where h.client_id = 'm';
	return (select string_agg(t.busy::text, '') from test.unlocked_three() t);
exception when others then
	return sqlstate;
end $$;
select is(test.all_hurt(e), e, 'an error that is not of one row is told: ' || e) from unnest(array['53100', '42501', '25006', 'XX001', '57P01', 'ST001']) e;
delete from test.hurt;
select is((select array_agg(t.busy) from test.unlocked_three() t), '{f,f,f}', 'without the fault all is as before');

select * from finish();
rollback;
