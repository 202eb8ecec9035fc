-- Shows which clients are being denied now.

create view stint.limited as
select u.policy, u.client_id, u.used, u.max_requests, u.blocked, p.shadow, u.resets_at, null::text as note
from stint.usage u
join stint.policy p on p.name = u.policy
where u.remaining = 0 and not u.blocked
union all
select p.name, o.client_id, coalesce(u.used, 0), 0, true, p.shadow, o.blocked_until, o.note
from stint.override_in_force o
join stint.policy p on p.policy_id = o.policy_id
left join stint.usage u on u.policy = p.name and u.client_id = o.client_id
where o.blocked;

comment on view stint.limited is 'Clients that get nothing now: their limit is used up, or they are blocked.';
comment on column stint.limited.policy is 'The policy''s name.';
comment on column stint.limited.client_id is 'The client.';
comment on column stint.limited.used is 'What is charged to it now.';
comment on column stint.limited.max_requests is 'Its limit; 0: blocked.';
comment on column stint.limited.blocked is 'Whether an operator has blocked it.';
comment on column stint.limited.shadow is 'Whether the policy is a shadow: then it would get nothing, and is admitted all the same.';
comment on column stint.limited.resets_at is 'When the whole limit is free again; some of it is sooner. Of a blocked client: when the block ends; null: not by itself.';
comment on column stint.limited.note is 'Why it is blocked.';

grant select on stint.limited to stint_operator, stint_auditor;
