-- What hosts have decided, minute by minute, as their agents hand it in. An agent sends a row more than once, and it
-- may come late: so a row is what there is in all, and never gets less.

create table stint.host_decision (
	minute        timestamptz not null,
	allowed       bigint not null
		constraint host_decision_allowed_check check (allowed >= 0),
	denied        bigint not null
		constraint host_decision_denied_check check (denied >= 0),
	shadow_denied bigint not null
		constraint host_decision_shadow_denied_check check (shadow_denied >= 0),
	host_id       int not null,
	run           smallint not null,
	source        smallint not null
		constraint host_decision_source_check check (source between 1 and 5),
	policy        text collate "C" not null
		constraint host_decision_policy_check check (octet_length(policy) between 1 and 63),
	primary key (minute, host_id, run, source, policy)
);

comment on table stint.host_decision is 'How often each host has decided what, by minute, policy and source; kept for 30 days.';
comment on column stint.host_decision.minute is 'When the minute began.';
comment on column stint.host_decision.allowed is 'Checks that were admitted, without those that the next but one column counts.';
comment on column stint.host_decision.denied is 'Checks that were denied.';
comment on column stint.host_decision.shadow_denied is 'Checks that were admitted only because the policy is a shadow.';
comment on column stint.host_decision.host_id is 'The host.';
comment on column stint.host_decision.run is
	'What was counted apart: before an agent''s restart and after it, or before and after the clock was set. Such rows of a minute add up.';
comment on column stint.host_decision.source is
	'Who decided: 1 a lease or denial in the host''s table, 2 the database, 3 the fallback, 4 the app''s process, 5 an advance.';
comment on column stint.host_decision.policy is 'The policy''s name, which it keeps when it is dropped.';
comment on constraint host_decision_allowed_check on stint.host_decision is 'It is a count.';
comment on constraint host_decision_denied_check on stint.host_decision is 'It is a count.';
comment on constraint host_decision_shadow_denied_check on stint.host_decision is 'It is a count.';
comment on constraint host_decision_source_check on stint.host_decision is 'The sources that there are, see enum stint_source.';
comment on constraint host_decision_policy_check on stint.host_decision is 'As for a policy.';

-- A minute that can't be, since a clock was set, is left out: it would never be deleted, or at once.
create function stint.report_decisions(
	host_id int, run int, minutes bigint[], policies text[], sources int[], allowed bigint[], denied bigint[], shadow_denied bigint[]
) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
	now_minute constant bigint := extract(epoch from clock_timestamp()) / 60;
begin
	perform stint.commit_later();
	insert into stint.host_decision as d (minute, host_id, run, source, policy, allowed, denied, shadow_denied)
	select timestamptz 'epoch' + r.minute * interval '1 minute', report_decisions.host_id, report_decisions.run, r.source, r.policy,
		r.allowed, r.denied, r.shadow_denied
	from unnest(minutes, policies, sources, report_decisions.allowed, report_decisions.denied, report_decisions.shadow_denied)
		as r (minute, policy, source, allowed, denied, shadow_denied)
	where r.minute between now_minute - 30 * 1440 and now_minute + 60
	order by r.minute, r.source, r.policy collate "C"
	on conflict on constraint host_decision_pkey do update set
		allowed = greatest(d.allowed, excluded.allowed),
		denied = greatest(d.denied, excluded.denied),
		shadow_denied = greatest(d.shadow_denied, excluded.shadow_denied)
	where excluded.allowed > d.allowed or excluded.denied > d.denied or excluded.shadow_denied > d.shadow_denied;
end
$$;

comment on function stint.report_decisions(int, int, bigint[], text[], int[], bigint[], bigint[], bigint[]) is
	'For agents, every minute: what the host has decided in these minutes (since 1970), each element of the arrays a row of stint.host_decision. '
	'It may be repeated, and doesn''t wait for the disk.';
revoke execute on function stint.report_decisions(int, int, bigint[], text[], int[], bigint[], bigint[], bigint[]) from public;
grant execute on function stint.report_decisions(int, int, bigint[], text[], int[], bigint[], bigint[], bigint[]) to stint_agent;

-- What lies before the beginning is gone, but its index entries aren't while somebody holds an old snapshot: each call
-- would pass over all of them. A host's rows of one minute are few: the next call begins with these again.
create function stint.expire_decisions(batch int, since timestamptz, inout from_at timestamptz, inout from_host_id int, out deleted bigint)
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
		select o.ctid, o.minute, o.host_id from stint.host_decision o
		where (o.minute, o.host_id) >= (from_at, from_host_id) and o.minute < month_ago
		order by o.minute, o.host_id
		limit batch
		for update skip locked
	),
	gone as (
		delete from stint.host_decision d using page g where d.ctid = g.ctid
	)
	select coalesce(l.minute, from_at), coalesce(l.host_id, from_host_id), n.deleted
	into from_at, from_host_id, deleted
	from (select count(*) as deleted from page) n
	left join lateral (select g.minute, g.host_id from page g order by g.minute desc, g.host_id desc limit 1) l on true;
end
$$;

comment on function stint.expire_decisions(int, timestamptz, timestamptz, int) is
	'Deletes up to `batch` rows of what hosts decided more than 30 days ago and not before `since`: from `from_at` and host `from_host_id` on, if that is '
	'within this time. Returns the minute and the host of the last one, and how many.';
revoke execute on function stint.expire_decisions(int, timestamptz, timestamptz, int) from public;

create view stint.decision as
select d.minute, coalesce(h.name, '#' || d.host_id) as host, d.policy,
	(array['lease', 'database', 'fallback', 'local', 'advance'])[d.source] as source, d.allowed, d.denied, d.shadow_denied
from stint.host_decision d
left join stint.agent_host h on h.host_id = d.host_id;

comment on view stint.decision is
	'How often each host has decided what, by minute, in the last 30 days. A minute is there a minute after its end, or when the host reaches '
	'the database again. There may be several rows of a minute, which add up.';
comment on column stint.decision.minute is 'When the minute began.';
comment on column stint.decision.host is 'The host''s name; # and a number: it was not heard of for 30 days.';
comment on column stint.decision.policy is 'The policy''s name.';
comment on column stint.decision.source is
	'Who decided: lease, by a lease or a denial in the host''s table; database; fallback, the host on its own; local, the app''s process on its own; '
	'advance, admitted and to be charged later.';
comment on column stint.decision.allowed is 'Checks that were admitted.';
comment on column stint.decision.denied is 'Checks that were denied.';
comment on column stint.decision.shadow_denied is 'Checks that were admitted only because the policy is a shadow.';

grant select on stint.decision to stint_operator, stint_auditor;
