-- Which clients hosts have denied most, as their agents hand it in and auditors see it, and when it goes.

begin;
select plan(15);

select host_id from stint.register_host('web-1', 'first', '0.1.0') \gset
select (extract(epoch from clock_timestamp()) / 3600)::bigint - 1 as hour \gset

create function pg_temp.report(host int, run int, hour bigint, client text, reason int, denied bigint, error bigint default 0)
returns void language sql volatile
begin atomic
	select stint.report_denials(host, run, array[hour], '{api}', array[client], array[reason], array[denied], array[error]);
end;

select stint.report_denials(:host_id, 1, array_fill(:hour::bigint, '{4}'), array_fill('api'::text, '{4}'), '{a,b,c,d}', '{1,2,3,4}', '{40,30,20,10}', '{4,3,2,1}');
select results_eq('select host, policy, client_id, reason, denied, error from stint.denied_client order by denied desc',
	$$ values ('web-1', 'api' collate "C", 'a' collate "C", 'limit', 40::bigint, 4::bigint), ('web-1', 'api', 'b', 'block', 30, 3), ('web-1', 'api', 'c', 'fallback', 20, 2),
		('web-1', 'api', 'd', 'database', 10, 1) $$, 'who was denied, how often, and why');
select is((select distinct hour from stint.denied_client), timestamptz 'epoch' + :hour * interval '1 hour', 'in its hour');
select pg_temp.report(:host_id, 1, :hour, 'a', 1, 50, 9), pg_temp.report(:host_id, 1, :hour, 'a', 1, 45, 5);
select results_eq('select denied, error from stint.denied_client where client_id = ''a''', 'values (50::bigint, 9::bigint)', 'late or early, the larger count stays, with its error');
select ctid as version from stint.host_denial where client_id = 'a' \gset
select pg_temp.report(:host_id, 1, :hour, 'a', 1, 50, 9);
select is((select ctid from stint.host_denial where client_id = 'a'), :'version', 'what is handed in again writes nothing');
select pg_temp.report(:host_id, 2, :hour, 'a', 1, 1), pg_temp.report(:host_id, 1, :hour, 'a', 2, 1), pg_temp.report(:host_id, 1, :hour + 1, 'a', 1, 1);
select is((select count(*) from stint.denied_client where client_id = 'a'), 4::bigint, 'another run, reason or hour is another row');
select stint.report_denials(:host_id, 1, array[:hour, :hour, :hour + 100, 0], '{api,api,api,api}', '{e,null,f,g}', '{1,1,1,1}', '{1,1,1,1}', '{0,0,0,0}');
select is((select count(*) from stint.denied_client where client_id > 'd'), 1::bigint, 'ids that are no text, and hours of a clock that was set, are left out');
select is(current_setting('synchronous_commit'), 'off', 'no commit is waited for');
select throws_ok(format($$ select stint.report_denials(%s, 1, '{%s}', '{p}', '{%s}', '{%s}', '{%s}', '{%s}') $$, :host_id, :hour, client, reason, denied, error), '23514', null,
	format('reason %s, %s denials, error %s, id of %s bytes', reason, denied, error, length(client)))
from (values ('c', 0, 1, 0), ('c', 5, 1, 0), ('c', 1, 1, -1), (repeat('c', 256), 1, 1, 0)) v (client, reason, denied, error);

delete from stint.host_denial;
insert into stint.host_denial (hour, denied, error, host_id, run, reason, policy, client_id)
select date_trunc('hour', clock_timestamp()) - age, 1, 0, :host_id, 1, 1, 'p', 'c' || i from (values (interval '31 days', 7), (interval '29 days', 3)) v (age, n), generate_series(1, n) i;
select results_eq('select deleted from stint.expire_counters(5)', 'values (5::bigint)', 'what is older than 30 days goes, a batch at a time');
select stint.expire_counters(5);
select is((select count(*) from stint.host_denial), 3::bigint, '… until only a month is left');

-- Each batch begins where the one before it ended: see decision.sql.
update stint.expiry set history_at = clock_timestamp() - interval '5 hours';
delete from stint.host_denial;
insert into stint.host_denial (hour, denied, error, host_id, run, reason, policy, client_id)
select date_trunc('hour', clock_timestamp()) - interval '30 days 2 hours', 1, 0, host, 1, 1, 'p', 'c' || client from generate_series(1, 20) host, generate_series(1, 2) client;
select results_eq('select deleted from stint.expire_counters(10)', 'values (10::bigint)', 'the first batch of a look');
update stint.host_denial set host_id = 1, run = 2 where host_id = 20;
select results_eq('select deleted from stint.expire_counters(50)', 'values (28::bigint)', 'the next one begins where it ended');

select * from finish();
rollback;
