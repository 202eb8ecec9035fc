-- The history of changes by statements that change many rows, or do several things at once.

begin;
select plan(14);
select stint.set_policy('api', 10, 60000) as api, stint.set_policy('other', 10, 60000) as other \gset

-- What has been recorded since the last look: action, client, limit before and after; of a policy, its name.
create temp table seen as select max(change_id) as change_id from stint.change;
create function pg_temp.news() returns text language plpgsql volatile as $$
declare
	news constant text := (
		select string_agg(concat_ws(' ', c.action, coalesce(c.client_id, c.policy_name), c.old ->> 'max_requests', '>', c.new ->> 'max_requests'), ', '
			order by c.change_id)
		from stint.change c, pg_temp.seen s where c.change_id > s.change_id);
begin
	update pg_temp.seen set change_id = (select max(c.change_id) from stint.change c);
	return news;
end $$;

insert into stint.client_override (policy_id, client_id, max_requests) select :api, chr(96 + i), i from generate_series(3, 1, -1) i;
select is(pg_temp.news(), 'limited c > 3, limited b > 2, limited a > 1', 'many rows: in the order in which they were written');

update stint.client_override set max_requests = 9 where client_id = 'b';
select is(pg_temp.news(), 'limited b 2 > 9', 'one row');
update stint.client_override set max_requests = max_requests + 10;
select is(pg_temp.news(), 'limited c 3 > 13, limited a 1 > 11, limited b 9 > 19', 'what was before stands beside what is now');
update stint.client_override set max_requests = 13;
select is(pg_temp.news(), 'limited a 11 > 13, limited b 19 > 13', 'a row that stays as it was is no change');
update stint.client_override set max_requests = 13;
select is(pg_temp.news(), null, 'nor is a statement that changes nothing');

-- Each has the key that another one had: the key doesn't tell what belongs together.
update stint.client_override set client_id = 'x' || client_id, max_requests = ascii(client_id);
select is(pg_temp.news(), 'cleared c 13 >, limited xc > 99, cleared a 13 >, limited xa > 97, cleared b 13 >, limited xb > 98',
	'rows that get another key: each goes, and comes');
update stint.client_override set policy_id = :other where client_id = 'xb';
select is((select string_agg(concat_ws(' ', c.action, c.policy_name), ', ' order by c.change_id) from stint.change c, pg_temp.seen s where c.change_id > s.change_id),
	'cleared api, limited other', '… also of another policy, under whose name it comes');
select is(pg_temp.news(), 'cleared xb 98 >, limited xb > 98', '… and goes');

-- Statements that do several things.
insert into stint.client_override (policy_id, client_id, max_requests) values (:api, 'xa', 1), (:api, 'new', 2), (:api, 'xc', 3), (:api, 'newer', 4)
on conflict (policy_id, client_id) do update set max_requests = excluded.max_requests;
select is(pg_temp.news(), 'limited xa 97 > 1, limited xc 99 > 3, limited new > 2, limited newer > 4', 'an upsert: each row once, as what it was');

merge into stint.client_override o
using (values ('xa', 5), ('xc', null), ('merged', 6)) s (client_id, max_requests) on o.policy_id = :api and o.client_id = s.client_id collate "C"
when matched and s.max_requests is null then delete
when matched then update set max_requests = s.max_requests
when not matched then insert (policy_id, client_id, max_requests) values (:api, s.client_id, s.max_requests);
select set_eq(format('select x from regexp_split_to_table(%L, '', '') x', pg_temp.news()), array['limited xa 1 > 5', 'cleared xc 3 >', 'limited merged > 6'], 'a merge');

with a as (update stint.client_override set max_requests = 21 where client_id = 'xa'),
	b as (update stint.client_override set max_requests = 22 where client_id = 'new')
delete from stint.client_override where client_id = 'newer';
select set_eq(format('select x from regexp_split_to_table(%L, '', '') x', pg_temp.news()), array['limited xa 5 > 21', 'limited new 2 > 22', 'cleared newer 4 >'],
	'three changes in one statement');

-- The plan was made for one row.
insert into stint.client_override (policy_id, client_id, max_requests) select :api, 'many' || i, i from generate_series(1, 20000) i;
set local statement_timeout = '20s';
select lives_ok($$ update stint.client_override set max_requests = max_requests + 1 where client_id like 'many%' $$, 'many rows at once take no longer than many rows do');
set local statement_timeout = 0;
select is((select count(*) from stint.change c, pg_temp.seen s where c.change_id > s.change_id + 20000
	and c.client_id = 'many' || (c.old ->> 'max_requests') and (c.old ->> 'max_requests')::int + 1 = (c.new ->> 'max_requests')::int), 20000::bigint, '… each with its own');
select pg_temp.news() is null as none \gset

delete from stint.policy where name = 'other';
select is(pg_temp.news(), 'cleared xb 98 >, dropped other 10 >', 'a policy''s overrides go before it does');

select * from finish();
rollback;
