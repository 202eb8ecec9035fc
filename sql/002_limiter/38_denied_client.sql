-- Which clients each host has denied most, hour by hour, as its agent hands it in: see stint.host_decision.

create table stint.host_denial (
	hour      timestamptz not null,
	denied    bigint not null
		constraint host_denial_denied_check check (denied >= 0),
	error     bigint not null
		constraint host_denial_error_check check (error >= 0),
	host_id   int not null,
	run       smallint not null,
	reason    smallint not null
		constraint host_denial_reason_check check (reason between 1 and 4),
	policy    text collate "C" not null
		constraint host_denial_policy_check check (octet_length(policy) between 1 and 63),
	client_id text collate "C" not null
		constraint host_denial_client_id_check check (octet_length(client_id) between 1 and 255),
	primary key (hour, host_id, run, policy, client_id, reason)
) with (fillfactor = 80);

comment on table stint.host_denial is
	'The clients that each host has denied most, by hour, policy and reason; kept for 30 days. Rows of the present hour are updated, so there is room '
	'on each page.';
comment on column stint.host_denial.hour is 'When the hour began.';
comment on column stint.host_denial.denied is 'How often: an estimate.';
comment on column stint.host_denial.error is 'By how much that may be wrong.';
comment on column stint.host_denial.host_id is 'The host.';
comment on column stint.host_denial.run is 'What was counted apart, see stint.host_decision.';
comment on column stint.host_denial.reason is 'Why: 1 the limit, 2 a block, 3 the limit of the fallback, 4 the database couldn''t get at the client''s row.';
comment on column stint.host_denial.policy is 'The policy''s name, which it keeps when it is dropped.';
comment on column stint.host_denial.client_id is 'The client.';
comment on constraint host_denial_denied_check on stint.host_denial is 'It is a count.';
comment on constraint host_denial_error_check on stint.host_denial is 'It is a distance.';
comment on constraint host_denial_reason_check on stint.host_denial is 'The reasons that there are.';
comment on constraint host_denial_policy_check on stint.host_denial is 'As for a policy.';
comment on constraint host_denial_client_id_check on stint.host_denial is 'As for any client.';

-- A client's count and its error grow together, so the larger count has the error that belongs to it.
create function stint.report_denials(
	host_id int, run int, hours bigint[], policies text[], client_ids text[], reasons int[], denied bigint[], errors bigint[]
) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
	now_hour constant bigint := extract(epoch from clock_timestamp()) / 3600;
begin
	perform stint.commit_later();
	insert into stint.host_denial as d (hour, denied, error, host_id, run, reason, policy, client_id)
	select timestamptz 'epoch' + r.hour * interval '1 hour', r.denied, r.error, report_denials.host_id, report_denials.run, r.reason, r.policy,
		r.client_id
	from unnest(hours, policies, client_ids, reasons, report_denials.denied, errors) as r (hour, policy, client_id, reason, denied, error)
	where r.hour between now_hour - 30 * 24 and now_hour + 1 and r.client_id is not null
	order by r.hour, r.policy collate "C", r.client_id collate "C", r.reason
	on conflict on constraint host_denial_pkey do update set denied = excluded.denied, error = excluded.error
	where excluded.denied > d.denied;
end
$$;

comment on function stint.report_denials(int, int, bigint[], text[], text[], int[], bigint[], bigint[]) is
	'For agents, every five minutes: which clients the host has denied most in these hours (since 1970), each element of the arrays a row of '
	'stint.host_denial. It may be repeated, and doesn''t wait for the disk. A client whose id is null is left out.';
revoke execute on function stint.report_denials(int, int, bigint[], text[], text[], int[], bigint[], bigint[]) from public;
grant execute on function stint.report_denials(int, int, bigint[], text[], text[], int[], bigint[], bigint[]) to stint_agent;

-- As stint.expire_decisions().
create function stint.expire_denials(batch int, since timestamptz, inout from_at timestamptz, inout from_host_id int, out deleted bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
	month_ago constant timestamptz := clock_timestamp() - interval '30 days';
begin
	if from_at not between since and month_ago then -- a look begins, or the clock was set
		from_at := since;
		from_host_id := 0;
	end if;
	with page as materialized (
		select o.ctid, o.hour, o.host_id from stint.host_denial o
		where (o.hour, o.host_id) >= (from_at, from_host_id) and o.hour < month_ago
		order by o.hour, o.host_id
		limit batch
		for update skip locked
	),
	gone as (
		delete from stint.host_denial d using page g where d.ctid = g.ctid
	)
	select coalesce(l.hour, from_at), coalesce(l.host_id, from_host_id), n.deleted
	into from_at, from_host_id, deleted
	from (select count(*) as deleted from page) n
	left join lateral (select g.hour, g.host_id from page g order by g.hour desc, g.host_id desc limit 1) l on true;
end
$$;

comment on function stint.expire_denials(int, timestamptz, timestamptz, int) is
	'Deletes up to `batch` rows of which clients were denied more than 30 days ago and not before `since`: from `from_at` and host `from_host_id` on, if that is '
	'within this time. Returns the hour and the host of the last one, and how many.';
revoke execute on function stint.expire_denials(int, timestamptz, timestamptz, int) from public;

create view stint.denied_client as
select d.hour, coalesce(h.name, '#' || d.host_id) as host, d.policy, d.client_id,
	(array['limit', 'block', 'fallback', 'database'])[d.reason] as reason, d.denied, d.error
from stint.host_denial d
left join stint.agent_host h on h.host_id = d.host_id;

comment on view stint.denied_client is
	'The clients that each host has denied most, by hour, policy and reason, in the last 30 days; of a shadow policy, those that it would have '
	'denied. Of the present hour a host tells every five minutes. What apps deny on their own, without their agent, is only in stint.decision.';
comment on column stint.denied_client.hour is 'When the hour began.';
comment on column stint.denied_client.host is 'The host''s name; # and a number: it was not heard of for 30 days.';
comment on column stint.denied_client.policy is 'The policy''s name.';
comment on column stint.denied_client.client_id is 'The client.';
comment on column stint.denied_client.reason is
	'Why: limit; block, an operator has blocked it; fallback, the limit of a host on its own; database, it couldn''t get at the client''s row.';
comment on column stint.denied_client.denied is 'How often. An estimate, where several clients are denied many times a second.';
comment on column stint.denied_client.error is 'By how much that may be wrong, in 19 of 20 cases.';

grant select on stint.denied_client to stint_operator, stint_auditor;
