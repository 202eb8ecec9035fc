-- What hosts have decided, as their agents hand it in and auditors see it, and when it goes.

begin;
select plan(24);

select host_id from stint.register_host('web-1', 'first', '0.1.0') \gset
select host_id as other from stint.register_host('web-2', 'first', '0.1.0') \gset
select (extract(epoch from clock_timestamp()) / 60)::bigint - 1 as minute \gset

create function pg_temp.report(host int, run int, minute bigint, policy text, source int, allowed bigint, denied bigint default 0, shadow_denied bigint default 0)
returns void language sql volatile
begin atomic
	select stint.report_decisions(host, run, array[minute], array[policy], array[source], array[allowed], array[denied], array[shadow_denied]);
end;

select stint.report_decisions(:host_id, 1, array[:minute, :minute], '{api,api}', '{1,2}', '{100,5}', '{7,1}', '{0,3}');
select results_eq('select host, policy, source, allowed, denied, shadow_denied from stint.decision order by allowed desc',
	$$ values ('web-1', 'api' collate "C", 'lease', 100::bigint, 7::bigint, 0::bigint), ('web-1', 'api', 'database', 5, 1, 3) $$, 'what was handed in is seen');
select is((select distinct minute from stint.decision), timestamptz 'epoch' + :minute * interval '1 minute', 'at its minute');
select ctid as version from stint.host_decision where source = 1 \gset
select pg_temp.report(:host_id, 1, :minute, 'api', 1, 100, 7);
select is((select ctid from stint.host_decision where source = 1), :'version', 'what is handed in again writes nothing');
select pg_temp.report(:host_id, 1, :minute, 'api', 1, 120, 8);
select pg_temp.report(:host_id, 1, :minute, 'api', 1, 90, 9);
select results_eq('select allowed, denied from stint.decision where source = ''lease''', 'values (120::bigint, 9::bigint)', 'late or early, no count gets less');
select pg_temp.report(:host_id, 2, :minute, 'api', 1, 10), pg_temp.report(:other, 1, :minute, 'api', 1, 1), pg_temp.report(:host_id, 1, :minute + 1, 'api', 1, 1),
	pg_temp.report(:host_id, 1, :minute, 'web', 1, 1);
select is((select sum(allowed) from stint.decision where source = 'lease'), 133::numeric, 'another run, host, minute or policy is another row');
select is(current_setting('synchronous_commit'), 'off', 'no commit is waited for');
select stint.report_decisions(:host_id, 3, array_fill(:minute::bigint, '{5}'), array_fill('all'::text, '{5}'), '{1,2,3,4,5}', '{1,2,3,4,5}', '{0,0,0,0,0}', '{0,0,0,0,0}');
select results_eq($$ select source from stint.decision where policy = 'all' order by allowed $$, $$ values ('lease'), ('database'), ('fallback'), ('local'), ('advance') $$,
	'every source has its name');

-- What can't be is left out, and does no harm to what is beside it; what agents never send is an error.
select stint.report_decisions(:host_id, 4, array[:minute, :minute + 1000, 0, -1, 9223372036854775807], array_fill('far'::text, '{5}'), '{1,2,3,4,5}',
	'{1,1,1,1,1}', '{0,0,0,0,0}', '{0,0,0,0,0}');
select is((select count(*) from stint.decision where policy = 'far'), 1::bigint, 'minutes of a clock that was set are left out');
select lives_ok(format($$ select stint.report_decisions(%s, 1, '{}', '{}', '{}', '{}', '{}', '{}') $$, :host_id), 'no rows');
select throws_ok(format($$ select stint.report_decisions(%s, 1, '{%s}', '{p}', '{%s}', '{%s}', '{0}', '{0}') $$, :host_id, :minute, source, allowed), '23514', null,
	format('source %s, %s checks', source, allowed))
from (values (0, 1), (6, 1), (1, -1)) v (source, allowed);
select throws_ok(format($$ select stint.report_decisions(%s, 1, '{%s}', '{%s}', '{1}', '{1}', '{0}', '{0}') $$, :host_id, :minute, repeat('p', 64)), '23514', null, 'a name of 64 bytes');

-- A host that was forgotten has no name.
delete from stint.agent_host where name = 'web-2';
select is((select host from stint.decision where host not like 'web-%'), '#' || :other, 'a host that is forgotten keeps its number');

-- A month of it stays.
delete from stint.host_decision;
insert into stint.host_decision (minute, allowed, denied, shadow_denied, host_id, run, source, policy)
select date_trunc('minute', clock_timestamp()) - age - i * interval '1 minute', 1, 0, 0, :host_id, 1, 1, 'p'
from (values (interval '31 days', 12), (interval '29 days', 3)) v (age, n), generate_series(1, n) i;
select results_eq('select deleted from stint.expire_counters(5)', 'values (5::bigint)', 'what is older than 30 days goes, a batch at a time');
select is((select min(minute) from stint.host_decision), date_trunc('minute', now()) - interval '31 days 7 minutes', '… oldest first');
select stint.expire_counters(5), stint.expire_counters(5);
select is((select count(*) from stint.host_decision), 3::bigint, '… until only a month is left');
update stint.host_decision set minute = minute - interval '2 days';
select stint.expire_counters(5);
select is((select count(*) from stint.host_decision), 3::bigint, '… and then not for an hour');

-- Each look begins where the last one ended: entries of rows that are gone may still be there.
update stint.expiry set history_at = clock_timestamp() - interval '2 hours';
update stint.host_decision set minute = date_trunc('minute', clock_timestamp()) - interval '30 days 1 hour'
where minute = (select max(minute) from stint.host_decision);
select results_eq('select deleted from stint.expire_counters(5)', 'values (1::bigint)', 'what has come to its end since the last look goes');
select is((select count(*) from stint.host_decision), 2::bigint, '… and what lay before that look is not looked at');
update stint.expiry set history_at = clock_timestamp() - interval '2 hours';
insert into stint.host_decision (minute, allowed, denied, shadow_denied, host_id, run, source, policy)
values (date_trunc('minute', clock_timestamp()) - interval '30 days 3 hours', 1, 0, 0, :host_id, 1, 1, 'p');
select results_eq('select deleted from stint.expire_counters(5)', 'values (1::bigint)', '… but what somebody may have locked in the last look');

-- So does each batch, within a look: here a row before where it ended shows whether it looks there.
update stint.expiry set history_at = clock_timestamp() - interval '5 hours';
delete from stint.host_decision;
insert into stint.host_decision (minute, allowed, denied, shadow_denied, host_id, run, source, policy)
select date_trunc('minute', clock_timestamp()) - interval '30 days 1 hour', 1, 0, 0, host, 1, source, 'p' from generate_series(1, 20) host, generate_series(1, 2) source;
select results_eq('select deleted from stint.expire_counters(10)', 'values (10::bigint)', 'the first batch of a look');
update stint.host_decision set host_id = 1 where host_id = 20;
select results_eq('select deleted from stint.expire_counters(50)', 'values (28::bigint)', 'the next one begins where it ended');
update stint.expiry set history_at = clock_timestamp() - interval '2 hours';
select results_eq('select deleted from stint.expire_counters(50)', 'values (2::bigint)', '… and the next look finds what is left');

select * from finish();
rollback;
