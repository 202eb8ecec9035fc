-- Shows which clients have a limit of their own, or are blocked.

create view stint.client_limit as
select p.name as policy, o.client_id, o.blocked, o.blocked_until, o.max_requests, o.limited_until, o.changed_at, o.changed_by, o.note
from stint.override_in_force o
join stint.policy p on p.policy_id = o.policy_id;

comment on view stint.client_limit is 'Each exception from a policy for one client: another limit, or none at all.';
comment on column stint.client_limit.policy is 'The policy''s name.';
comment on column stint.client_limit.client_id is 'The client.';
comment on column stint.client_limit.blocked is 'Nothing of it is admitted, whatever max_requests says.';
comment on column stint.client_limit.blocked_until is 'Until when; null: until that is cleared.';
comment on column stint.client_limit.max_requests is 'Its limit instead of the policy''s; null: it has none of its own.';
comment on column stint.client_limit.limited_until is 'Until when its limit holds; null: until it is cleared.';
comment on column stint.client_limit.changed_at is 'When that was changed last.';
comment on column stint.client_limit.changed_by is 'Who changed it last: the role that was logged in.';
comment on column stint.client_limit.note is 'Why.';

grant select on stint.client_limit to stint_operator, stint_auditor;
